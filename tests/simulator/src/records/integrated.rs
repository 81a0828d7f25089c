//! The event types of Cloud Integrated. Here lists are lists and truth values are truth values.

use serde_json::{Value, json};

use super::mail::transport;
use super::{RecordBuilder, words};

/// A message, and what was found in it.
pub(super) fn entities(draft: &mut RecordBuilder<'_>) {
    let (kind, state, action) = draft.random.pick(&[
        ("NO_DETECTIONS", "DELIVERED", "DO_NOTHING"),
        ("NO_DETECTIONS", "DELIVERY_IN_PROGRESS", "DO_NOTHING"),
        ("MALWARE", "BLOCKED", "BLOCK"),
        ("SPAM", "BLOCKED", "BLOCK"),
        ("PHISHING", "BLOCKED", "BLOCK"),
        ("MALWARE", "DELIVERED", ""),
        ("POLICIES_DISABLED", "DELIVERED", ""),
    ]);
    draft.subtype(Some(kind));
    draft.put("threatType", kind);
    draft.put("threatState", state);
    let direction = draft.message.direction.to_uppercase();
    let documented = draft.odd(150);
    let direction = if documented {
        draft.message.direction.to_owned()
    } else {
        direction
    };
    draft.put("direction", direction);
    let tags = match kind {
        "MALWARE" | "SPAM" => json!([kind]),
        "PHISHING" => json!(["UNTRUSTWORTHY"]),
        _ if draft.odd(300) => json!([]),
        _ => Value::Null,
    };
    draft.put("tags", tags);
    let action = (!action.is_empty()).then_some(action);
    let mode = (!draft.odd(100)).then_some("ACTIVE");
    draft.put(
        "policiesApplied",
        json!([{"action": action, "mode": mode, "name": "Default policy"}]),
    );
    let other = format!("{}@quince.test", draft.random.pick(words::PEOPLE).1);
    let recipients = if draft.odd(200) {
        json!([draft.message.recipient, other])
    } else {
        json!([draft.message.recipient])
    };
    draft.put("recipients", recipients);
    let names: Vec<&str> = draft.message.files.iter().map(|file| file.0).collect();
    draft.put("attachments", json!(names));
    // What says that a message could not be delivered has no sender.
    let bounce = draft.odd(40);
    let sender = if bounce {
        String::new()
    } else {
        draft.message.sender.clone()
    };
    draft.put("senderEnvelope", sender);
    draft.put("senderHeader", draft.message.sender_header.clone());
    draft.put("senderIp", draft.message.ip.clone());
    draft.put("source", "OFFICE_365_MAIL");
    let historical = draft.random.chance(50);
    draft.put("historicalMail", historical);
    draft.put_or_nothing("subject", draft.message.subject.clone());
    draft.put_or_nothing("messageId", draft.message.message_id.clone());
    transport(draft);
}

/// What SPF, DKIM and DMARC said of a message.
pub(super) fn mailflow(draft: &mut RecordBuilder<'_>) {
    draft.subtype(None);
    let mut results = Vec::new();
    for name in ["SPF", "DKIM", "DMARC"] {
        let result = draft.random.pick(&["pass", "pass", "fail", "none"]);
        let aligned = (result != "none").then_some(result == "pass");
        results.push(json!({"type": name, "result": result, "aligned": aligned}));
    }
    if draft.odd(50) {
        results.clear();
    }
    draft.put("authResults", Value::Array(results));
    draft.put_or_nothing("messageId", draft.message.message_id.clone());
    transport(draft);
}

/// A click that was blocked. No sample is public: what is documented of it.
pub(super) fn urlclick(draft: &mut RecordBuilder<'_>) {
    draft.subtype(None);
    draft.put("action", "BLOCKED");
    let (domain, path) = (
        draft.random.pick(words::BAD_DOMAINS),
        draft.random.pick(words::URL_PATHS),
    );
    draft.put("originalUrl", format!("https://{domain}{path}"));
    draft.put("redirectUrl", "https://warn.quince.test/blocked");
    let ip = (!draft.odd(100)).then(|| draft.message.ip.clone());
    draft.put_or_nothing("sourceIp", ip);
    draft.put_or_nothing("messageId", draft.message.message_id.clone());
    transport(draft);
}
