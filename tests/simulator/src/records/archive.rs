//! Searches of the archive, and views of its messages.

use serde_json::{Value, json};

use super::FieldGenerator;
use crate::time::{DAY_MS, UtcTime};

/// Generates a search of `archive.search`.
pub(crate) fn archive_search(generator: &mut FieldGenerator) -> Value {
    let searcher = if generator.odd_shape_occurs(60) {
        "<>".to_owned()
    } else {
        generator.mailbox()
    };
    let text = generator.pick(&["from:bruno AND pallets", "{'query': 'contract'}", "quince"]);
    let reason = generator.text_or_nothing("Complaint of a customer");
    let mut record = json!({
        "createTime": generator.time(), "emailAddr": searcher,
        "source": generator.pick(&["archive", "outlook", "case_review"]),
        "searchText": format!("{text} {}", generator.number), "searchReason": reason,
        "description": "Message search",
    });
    // The newer form of the log has more fields.
    if generator.odd_shape_occurs(200)
        && let Some(record) = record.as_object_mut()
    {
        record.insert("searchPath".to_owned(), json!("/inbox"));
        record.insert("isAdmin".to_owned(), json!("true"));
        record.insert("museQuery".to_owned(), json!("<xmlquery trace=\"iql\"/>"));
    }
    record
}

/// Generates a search of `archive.search-log`.
pub(crate) fn archive_search_log(generator: &mut FieldGenerator) -> Value {
    let mut record = archive_search(generator);
    if let Some(record) = record.as_object_mut() {
        let path = generator.pick(&["/inbox", "/archive/sent"]);
        record.insert("searchPath".to_owned(), json!(path));
        let is_admin = generator.random.chance(500);
        record.insert("isAdmin".to_owned(), json!(is_admin.to_string()));
        record.insert("museQuery".to_owned(), json!("<xmlquery trace=\"iql\"/>"));
    }
    record
}

/// Generates the view of a message.
pub(crate) fn archive_view(generator: &mut FieldGenerator) -> Value {
    let days = i64::try_from(generator.random.below(900)).unwrap_or(0);
    let written = UtcTime::new(generator.at_ms - days * DAY_MS).iso_with_utc_offset();
    let flag = generator.random.chance(500);
    let flag = if generator.odd_shape_occurs(100) {
        json!(flag.to_string())
    } else {
        json!(flag)
    };
    json!({
        "viewer": generator.mailbox(), "source": generator.pick(&["Archive", "Case Review"]),
        "viewed": generator.time(), "from": generator.sender(), "to": generator.mailbox(),
        "subject": generator.subject(), "messageDate": written, "contentViewed": flag,
        "discoveryCase": generator.random.chance(100),
    })
}
