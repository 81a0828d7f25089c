//! The event types of Cloud Integrated. In contrast to others, they have lists and booleans as
//! such.

use serde_json::{Value, json};

use super::mail::add_log_position;
use super::{RecordBuilder, words};

/// Generates a message, and what was found in it.
pub(super) fn entities(builder: &mut RecordBuilder<'_>) {
    let (kind, state, action) = builder.random.pick(&[
        ("NO_DETECTIONS", "DELIVERED", "DO_NOTHING"),
        ("NO_DETECTIONS", "DELIVERY_IN_PROGRESS", "DO_NOTHING"),
        ("MALWARE", "BLOCKED", "BLOCK"),
        ("SPAM", "BLOCKED", "BLOCK"),
        ("PHISHING", "BLOCKED", "BLOCK"),
        ("MALWARE", "DELIVERED", ""),
        ("POLICIES_DISABLED", "DELIVERED", ""),
    ]);
    builder.add_subtype(Some(kind));
    builder.put("threatType", kind);
    builder.put("threatState", state);
    let direction = builder.message.direction.to_uppercase();
    let uses_documented_spelling = builder.odd_shape_occurs(150);
    let direction = if uses_documented_spelling {
        builder.message.direction.to_owned()
    } else {
        direction
    };
    builder.put("direction", direction);
    let tags = match kind {
        "MALWARE" | "SPAM" => json!([kind]),
        "PHISHING" => json!(["UNTRUSTWORTHY"]),
        _ if builder.odd_shape_occurs(300) => json!([]),
        _ => Value::Null,
    };
    builder.put("tags", tags);
    let action = (!action.is_empty()).then_some(action);
    let mode = (!builder.odd_shape_occurs(100)).then_some("ACTIVE");
    builder.put(
        "policiesApplied",
        json!([{"action": action, "mode": mode, "name": "Default policy"}]),
    );
    let other = format!("{}@quince.test", builder.random.pick(words::PEOPLE).1);
    let recipients = if builder.odd_shape_occurs(200) {
        json!([builder.message.recipient, other])
    } else {
        json!([builder.message.recipient])
    };
    builder.put("recipients", recipients);
    let names: Vec<&str> = builder.message.files.iter().map(|file| file.0).collect();
    builder.put("attachments", json!(names));
    // A bounce has no sender.
    let bounce = builder.odd_shape_occurs(40);
    let sender = if bounce {
        String::new()
    } else {
        builder.message.sender.clone()
    };
    builder.put("senderEnvelope", sender);
    builder.put("senderHeader", builder.message.sender_header.clone());
    builder.put("senderIp", builder.message.ip.clone());
    builder.put("source", "OFFICE_365_MAIL");
    let historical = builder.random.chance(50);
    builder.put("historicalMail", historical);
    builder.put_value_or_empty("subject", builder.message.subject.clone());
    builder.put_value_or_empty("messageId", builder.message.message_id.clone());
    add_log_position(builder);
}

/// Generates the results of SPF, DKIM and DMARC for a message.
pub(super) fn mailflow(builder: &mut RecordBuilder<'_>) {
    builder.add_subtype(None);
    let mut results = Vec::new();
    for name in ["SPF", "DKIM", "DMARC"] {
        let result = builder.random.pick(&["pass", "pass", "fail", "none"]);
        let aligned = (result != "none").then_some(result == "pass");
        results.push(json!({"type": name, "result": result, "aligned": aligned}));
    }
    if builder.odd_shape_occurs(50) {
        results.clear();
    }
    builder.put("authResults", Value::Array(results));
    builder.put_value_or_empty("messageId", builder.message.message_id.clone());
    add_log_position(builder);
}

/// Generates a click that was blocked, with the documented fields, as no sample is public.
pub(super) fn urlclick(builder: &mut RecordBuilder<'_>) {
    builder.add_subtype(None);
    builder.put("action", "BLOCKED");
    let (domain, path) = (
        builder.random.pick(words::BAD_DOMAINS),
        builder.random.pick(words::URL_PATHS),
    );
    builder.put("originalUrl", format!("https://{domain}{path}"));
    builder.put("redirectUrl", "https://warn.quince.test/blocked");
    let ip = (!builder.odd_shape_occurs(100)).then(|| builder.message.ip.clone());
    builder.put_value_or_empty("sourceIp", ip);
    builder.put_value_or_empty("messageId", builder.message.message_id.clone());
    add_log_position(builder);
}
