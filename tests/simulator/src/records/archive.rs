//! Searches of the archive, and views of its messages.

use serde_json::{Value, json};

use super::FieldGenerator;
use crate::time::{DAY_MS, UtcTime};

/// Generates a search of `archive.search`.
pub(crate) fn archive_search(builder: &mut FieldGenerator) -> Value {
    let searcher = if builder.odd_shape_occurs(60) {
        "<>".to_owned()
    } else {
        builder.mailbox()
    };
    let text = builder.pick(&["from:bruno AND pallets", "{'query': 'contract'}", "quince"]);
    let reason = builder.text_or_nothing("Complaint of a customer");
    let mut record = json!({
        "createTime": builder.time(), "emailAddr": searcher,
        "source": builder.pick(&["archive", "outlook", "case_review"]),
        "searchText": format!("{text} {}", builder.number), "searchReason": reason,
        "description": "Message search",
    });
    // The newer form of the log has more fields.
    if builder.odd_shape_occurs(200)
        && let Some(record) = record.as_object_mut()
    {
        record.insert("searchPath".to_owned(), json!("/inbox"));
        record.insert("isAdmin".to_owned(), json!("true"));
        record.insert("museQuery".to_owned(), json!("<xmlquery trace=\"iql\"/>"));
    }
    record
}

/// Generates a search of `archive.search-log`.
pub(crate) fn archive_search_log(builder: &mut FieldGenerator) -> Value {
    let mut record = archive_search(builder);
    if let Some(record) = record.as_object_mut() {
        let path = builder.pick(&["/inbox", "/archive/sent"]);
        record.insert("searchPath".to_owned(), json!(path));
        let is_admin = builder.random.chance(500);
        record.insert("isAdmin".to_owned(), json!(is_admin.to_string()));
        record.insert("museQuery".to_owned(), json!("<xmlquery trace=\"iql\"/>"));
    }
    record
}

/// Generates the view of a message.
pub(crate) fn archive_view(builder: &mut FieldGenerator) -> Value {
    let days = i64::try_from(builder.random.below(900)).unwrap_or(0);
    let written = UtcTime::new(builder.at_ms - days * DAY_MS).iso_with_utc_offset();
    let flag = builder.random.chance(500);
    let flag = if builder.odd_shape_occurs(100) {
        json!(flag.to_string())
    } else {
        json!(flag)
    };
    json!({
        "viewer": builder.mailbox(), "source": builder.pick(&["Archive", "Case Review"]),
        "viewed": builder.time(), "from": builder.sender(), "to": builder.mailbox(),
        "subject": builder.subject(), "messageDate": written, "contentViewed": flag,
        "discoveryCase": builder.random.chance(100),
    })
}
