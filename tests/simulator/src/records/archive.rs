//! Who searched the archive, and who looked at what in it.

use serde_json::{Value, json};

use super::LogRecordBuilder;
use crate::time::{DAY_MS, UtcTime};

/// A search.
pub(crate) fn archive_search(sketch: &mut LogRecordBuilder) -> Value {
    let who = if sketch.odd(60) {
        "<>".to_owned()
    } else {
        sketch.mailbox()
    };
    let text = sketch.pick(&["from:bruno AND pallets", "{'query': 'contract'}", "quince"]);
    let reason = sketch.text_or_nothing("Complaint of a customer");
    let mut record = json!({
        "createTime": sketch.time(), "emailAddr": who,
        "source": sketch.pick(&["archive", "outlook", "case_review"]),
        "searchText": format!("{text} {}", sketch.number), "searchReason": reason,
        "description": "Message search",
    });
    // The newer form of the log says more.
    if sketch.odd(200)
        && let Some(record) = record.as_object_mut()
    {
        record.insert("searchPath".to_owned(), json!("/inbox"));
        record.insert("isAdmin".to_owned(), json!("true"));
        record.insert("museQuery".to_owned(), json!("<xmlquery trace=\"iql\"/>"));
    }
    record
}

/// Generates a search of `archive.search-log`.
pub(crate) fn archive_search_log(sketch: &mut LogRecordBuilder) -> Value {
    let mut record = archive_search(sketch);
    if let Some(record) = record.as_object_mut() {
        let path = sketch.pick(&["/inbox", "/archive/sent"]);
        record.insert("searchPath".to_owned(), json!(path));
        let is_admin = sketch.random.chance(500);
        record.insert("isAdmin".to_owned(), json!(is_admin.to_string()));
        record.insert("museQuery".to_owned(), json!("<xmlquery trace=\"iql\"/>"));
    }
    record
}

/// A look at a message.
pub(crate) fn archive_view(sketch: &mut LogRecordBuilder) -> Value {
    let days = i64::try_from(sketch.random.below(900)).unwrap_or(0);
    let written = UtcTime::new(sketch.at_ms - days * DAY_MS).offset_form();
    let flag = sketch.random.chance(500);
    let flag = if sketch.odd(100) {
        json!(flag.to_string())
    } else {
        json!(flag)
    };
    json!({
        "viewer": sketch.mailbox(), "source": sketch.pick(&["Archive", "Case Review"]),
        "viewed": sketch.time(), "from": sketch.sender(), "to": sketch.mailbox(),
        "subject": sketch.subject(), "messageDate": written, "contentViewed": flag,
        "discoveryCase": sketch.random.chance(100),
    })
}
