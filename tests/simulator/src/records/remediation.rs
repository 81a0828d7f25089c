//! Incidents in which messages were removed after their delivery.

use std::borrow::Cow;

use serde_json::{Value, json};

use super::FieldGenerator;

/// The members of `searchCriteria` that permit messages to be restored. A collector redacts them.
const CODES: [&str; 2] = ["unremediateCode", "restoreCode"];

/// Generates an incident.
pub(crate) fn incident(generator: &mut FieldGenerator) -> Value {
    let number = generator.number;
    let found = 1 + generator.random.below(40);
    let failed = if generator.random.chance(200) {
        generator.random.below(found)
    } else {
        0
    };
    let kind = generator.pick(&["automatic", "manual", "notify_only", "restored"]);
    let restored = if kind == "restored" { found } else { 0 };
    let mut criteria = json!({
        "from": generator.sender(), "to": generator.mailbox(),
        "messageId": format!("<{number}.mail@harbour.example>"),
        "fileHash": format!("{:064x}", 7919 * (number + 1)),
        "start": generator.time(), "end": generator.time(),
        "unremediateCode": format!("UN-{number:06}"),
    });
    if let Some(criteria) = criteria.as_object_mut()
        && kind != "notify_only"
    {
        criteria.insert("restoreCode".to_owned(), json!(format!("RE-{number:06}")));
    }
    // The documentation writes the type of the counts in quotes.
    let identified = if generator.odd_shape_occurs(50) {
        json!(found.to_string())
    } else {
        json!(found)
    };
    json!({
        "id": format!("incident-{number}"), "code": format!("TR-{number:05}"), "type": kind,
        "reason": generator.text_or_nothing("Reported as phishing by several people"),
        "create": generator.time(), "modified": generator.time(),
        "identified": identified, "successful": found - failed, "failed": failed,
        "restored": restored, "searchCriteria": criteria,
    })
}

/// Returns the record of a stream as a collector keeps it, with redacted codes.
pub(crate) fn without_codes<'r>(stream: &str, record: &'r Value) -> Cow<'r, Value> {
    if stream != "remediation" {
        return Cow::Borrowed(record);
    }
    let mut record = record.clone();
    if let Some(criteria) = record.get_mut("searchCriteria") {
        for code in CODES {
            if let Some(value) = criteria.get_mut(code) {
                *value = json!("[redacted]");
            }
        }
    }
    Cow::Owned(record)
}
