//! Targeted Threat Protection: links, attachments, impersonation.

use serde_json::{Value, json};

use super::{LogRecordBuilder, words};

/// Generates a link that was clicked or scanned.
pub(crate) fn ttp_url(sketch: &mut LogRecordBuilder) -> Value {
    let (result, action, actions) = sketch.pick(&[
        ("clean", "allow", "Allow"),
        ("clean", "allow", "None"),
        ("malicious", "block", "Block"),
        ("malicious", "allow", "Allow"),
        ("suspicious", "warn", "None"),
    ]);
    let (category, domain) = match result {
        "clean" => (
            "Search Engines & Portals",
            sketch.pick(words::OUTSIDE_DOMAINS),
        ),
        _ => ("Phishing & Fraud", sketch.pick(words::BAD_DOMAINS)),
    };
    let url = format!("https://{domain}{}", sketch.pick(words::URL_PATHS));
    // Where no address is known a text stands in its place.
    let ip = if sketch.odd(150) {
        "Internal IP".to_owned()
    } else {
        sketch.address()
    };
    let (clicked, awareness) = sketch.pick(&[
        ("User Click", "N/A"),
        ("User Click", "Continue"),
        ("Entry Scan", "N/A"),
    ]);
    // The keys below are made up for each message.
    let key = sketch.pick(&["Inspect:FileExts", "ContentCheck:Login", "Reputation:Age"]);
    let tags = if sketch.odd(300) {
        json!({})
    } else {
        json!({key: {"Status": ["ok"], "Type": []}})
    };
    json!({
        "userEmailAddress": sketch.mailbox(), "fromUserEmailAddress": sketch.sender(), "url": url,
        "ttpDefinition": sketch.pick(&["Inbound links", "Default URL \"strict\""]),
        "subject": sketch.subject(), "action": action, "adminOverride": "N/A",
        "userOverride": "None", "scanResult": result, "category": category, "sendingIp": ip,
        "userAwarenessAction": awareness, "date": sketch.time(), "actions": actions,
        "route": sketch.route(), "creationMethod": clicked,
        "emailPartsDescription": [sketch.pick(&["Body", "Subject"])],
        "messageId": sketch.message_id(), "tagMap": tags,
    })
}

/// Generates an attachment that was opened in the sandbox.
pub(crate) fn ttp_attachment(sketch: &mut LogRecordBuilder) -> Value {
    let (result, action) = sketch.pick(&[
        ("safe", "none, none"),
        ("safe", "user release, none"),
        ("malicious", "hold, none"),
        ("unsafe", "hold"),
        ("timeout", "none, none"),
        ("error", "none, none"),
    ]);
    let (file, _, media_type) = sketch.file();
    // The word is padded with blanks.
    let details = format!(
        "{:<50}\r\nTime taken: 0 hrs, 0 min, {} sec",
        "Safe",
        sketch.random.below(60)
    );
    json!({
        "senderAddress": sketch.sender(), "recipientAddress": sketch.mailbox(),
        "fileName": file, "fileType": media_type, "result": result, "actionTriggered": action,
        "date": sketch.time(), "details": details, "route": sketch.route(),
        "messageId": sketch.message_id(), "subject": sketch.subject(),
        "fileHash": sketch.random.hex(64), "definition": "Inbound files",
    })
}

/// Generates an impersonating message. Two events in a row carry the same id.
pub(crate) fn ttp_impersonation(sketch: &mut LogRecordBuilder) -> Value {
    let sources = [
        "similar_internal_domain",
        "newly_observed_domain",
        "internal_user_name",
        "reply_address_mismatch",
        "targeted_threat_dictionary",
        "custom_name_list",
    ];
    let hits = 1 + sketch.random.below(3);
    let found: Vec<&str> = (0..hits).map(|_| sketch.pick(&sources)).collect();
    let results: Vec<Value> = found
        .iter()
        .map(|source| {
            json!({"impersonationDomainSource": source, "similarDomain": "Bruno",
            "stringSimilarToDomain": "bruno", "checkerResult": "hit"})
        })
        .collect();
    json!({
        "id": format!("MTOKEN:eNoVzb3{:08}", sketch.number / 2),
        "senderAddress": sketch.sender(), "recipientAddress": sketch.mailbox(),
        "subject": sketch.subject(), "definition": "Impersonation: default", "hits": hits,
        "identifiers": found, "action": sketch.pick(&["hold", "bounce", "none"]),
        "taggedExternal": sketch.random.chance(500), "taggedMalicious": sketch.random.chance(500),
        "senderIpAddress": sketch.address(), "eventTime": sketch.time(),
        "impersonationResults": results, "messageId": sketch.message_id(),
    })
}
