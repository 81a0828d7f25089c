//! Targeted Threat Protection: links, attachments, impersonation.

use serde_json::{Value, json};

use super::{FieldGenerator, words};

/// Generates a link that was clicked or scanned.
pub(crate) fn ttp_url(builder: &mut FieldGenerator) -> Value {
    let (result, action, actions) = builder.pick(&[
        ("clean", "allow", "Allow"),
        ("clean", "allow", "None"),
        ("malicious", "block", "Block"),
        ("malicious", "allow", "Allow"),
        ("suspicious", "warn", "None"),
    ]);
    let (category, domain) = match result {
        "clean" => (
            "Search Engines & Portals",
            builder.pick(words::OUTSIDE_DOMAINS),
        ),
        _ => ("Phishing & Fraud", builder.pick(words::BAD_DOMAINS)),
    };
    let url = format!("https://{domain}{}", builder.pick(words::URL_PATHS));
    // If no address is known, the field has a text instead.
    let ip = if builder.odd_shape_occurs(150) {
        "Internal IP".to_owned()
    } else {
        builder.external_ip()
    };
    let (clicked, awareness) = builder.pick(&[
        ("User Click", "N/A"),
        ("User Click", "Continue"),
        ("Entry Scan", "N/A"),
    ]);
    // The real API invents the keys below for each message.
    let key = builder.pick(&["Inspect:FileExts", "ContentCheck:Login", "Reputation:Age"]);
    let tags = if builder.odd_shape_occurs(300) {
        json!({})
    } else {
        json!({key: {"Status": ["ok"], "Type": []}})
    };
    json!({
        "userEmailAddress": builder.mailbox(), "fromUserEmailAddress": builder.sender(), "url": url,
        "ttpDefinition": builder.pick(&["Inbound links", "Default URL \"strict\""]),
        "subject": builder.subject(), "action": action, "adminOverride": "N/A",
        "userOverride": "None", "scanResult": result, "category": category, "sendingIp": ip,
        "userAwarenessAction": awareness, "date": builder.time(), "actions": actions,
        "route": builder.route(), "creationMethod": clicked,
        "emailPartsDescription": [builder.pick(&["Body", "Subject"])],
        "messageId": builder.message_id(), "tagMap": tags,
    })
}

/// Generates an attachment that was opened in the sandbox.
pub(crate) fn ttp_attachment(builder: &mut FieldGenerator) -> Value {
    let (result, action) = builder.pick(&[
        ("safe", "none, none"),
        ("safe", "user release, none"),
        ("malicious", "hold, none"),
        ("unsafe", "hold"),
        ("timeout", "none, none"),
        ("error", "none, none"),
    ]);
    let (file, _, media_type) = builder.file();
    // The word is padded with blanks.
    let details = format!(
        "{:<50}\r\nTime taken: 0 hrs, 0 min, {} sec",
        "Safe",
        builder.random.below(60)
    );
    json!({
        "senderAddress": builder.sender(), "recipientAddress": builder.mailbox(),
        "fileName": file, "fileType": media_type, "result": result, "actionTriggered": action,
        "date": builder.time(), "details": details, "route": builder.route(),
        "messageId": builder.message_id(), "subject": builder.subject(),
        "fileHash": builder.random.hex(64), "definition": "Inbound files",
    })
}

/// Generates an impersonating message. Two events in a row carry the same id.
pub(crate) fn ttp_impersonation(builder: &mut FieldGenerator) -> Value {
    let sources = [
        "similar_internal_domain",
        "newly_observed_domain",
        "internal_user_name",
        "reply_address_mismatch",
        "targeted_threat_dictionary",
        "custom_name_list",
    ];
    let hits = 1 + builder.random.below(3);
    let found: Vec<&str> = (0..hits).map(|_| builder.pick(&sources)).collect();
    let results: Vec<Value> = found
        .iter()
        .map(|source| {
            json!({"impersonationDomainSource": source, "similarDomain": "Bruno",
            "stringSimilarToDomain": "bruno", "checkerResult": "hit"})
        })
        .collect();
    json!({
        "id": format!("MTOKEN:eNoVzb3{:08}", builder.number / 2),
        "senderAddress": builder.sender(), "recipientAddress": builder.mailbox(),
        "subject": builder.subject(), "definition": "Impersonation: default", "hits": hits,
        "identifiers": found, "action": builder.pick(&["hold", "bounce", "none"]),
        "taggedExternal": builder.random.chance(500), "taggedMalicious": builder.random.chance(500),
        "senderIpAddress": builder.external_ip(), "eventTime": builder.time(),
        "impersonationResults": results, "messageId": builder.message_id(),
    })
}
