//! Targeted Threat Protection: links, attachments, impersonation.

use serde_json::{Value, json};

use super::{FieldGenerator, words};

/// Generates a link that was clicked or scanned.
pub(crate) fn ttp_url(generator: &mut FieldGenerator) -> Value {
    let (result, action, actions) = generator.pick(&[
        ("clean", "allow", "Allow"),
        ("clean", "allow", "None"),
        ("malicious", "block", "Block"),
        ("malicious", "allow", "Allow"),
        ("suspicious", "warn", "None"),
    ]);
    let (category, domain) = match result {
        "clean" => (
            "Search Engines & Portals",
            generator.pick(words::OUTSIDE_DOMAINS),
        ),
        _ => ("Phishing & Fraud", generator.pick(words::BAD_DOMAINS)),
    };
    let url = format!("https://{domain}{}", generator.pick(words::URL_PATHS));
    // If no address is known, the field has a text instead.
    let ip = if generator.odd_shape_occurs(150) {
        "Internal IP".to_owned()
    } else {
        generator.external_ip()
    };
    let (clicked, awareness) = generator.pick(&[
        ("User Click", "N/A"),
        ("User Click", "Continue"),
        ("Entry Scan", "N/A"),
    ]);
    // The real API invents the keys below for each message.
    let key = generator.pick(&["Inspect:FileExts", "ContentCheck:Login", "Reputation:Age"]);
    let tags = if generator.odd_shape_occurs(300) {
        json!({})
    } else {
        json!({key: {"Status": ["ok"], "Type": []}})
    };
    json!({
        "userEmailAddress": generator.mailbox(), "fromUserEmailAddress": generator.sender(), "url": url,
        "ttpDefinition": generator.pick(&["Inbound links", "Default URL \"strict\""]),
        "subject": generator.subject(), "action": action, "adminOverride": "N/A",
        "userOverride": "None", "scanResult": result, "category": category, "sendingIp": ip,
        "userAwarenessAction": awareness, "date": generator.time(), "actions": actions,
        "route": generator.route(), "creationMethod": clicked,
        "emailPartsDescription": [generator.pick(&["Body", "Subject"])],
        "messageId": generator.message_id(), "tagMap": tags,
    })
}

/// Generates an attachment that was opened in the sandbox.
pub(crate) fn ttp_attachment(generator: &mut FieldGenerator) -> Value {
    let (result, action) = generator.pick(&[
        ("safe", "none, none"),
        ("safe", "user release, none"),
        ("malicious", "hold, none"),
        ("unsafe", "hold"),
        ("timeout", "none, none"),
        ("error", "none, none"),
    ]);
    let (file, _, media_type) = generator.file();
    // The word is padded with blanks.
    let details = format!(
        "{:<50}\r\nTime taken: 0 hrs, 0 min, {} sec",
        "Safe",
        generator.random.below(60)
    );
    json!({
        "senderAddress": generator.sender(), "recipientAddress": generator.mailbox(),
        "fileName": file, "fileType": media_type, "result": result, "actionTriggered": action,
        "date": generator.time(), "details": details, "route": generator.route(),
        "messageId": generator.message_id(), "subject": generator.subject(),
        "fileHash": generator.random.hex(64), "definition": "Inbound files",
    })
}

/// Generates an impersonating message. Two events in a row carry the same id.
pub(crate) fn ttp_impersonation(generator: &mut FieldGenerator) -> Value {
    let sources = [
        "similar_internal_domain",
        "newly_observed_domain",
        "internal_user_name",
        "reply_address_mismatch",
        "targeted_threat_dictionary",
        "custom_name_list",
    ];
    let hits = 1 + generator.random.below(3);
    let found: Vec<&str> = (0..hits).map(|_| generator.pick(&sources)).collect();
    let results: Vec<Value> = found
        .iter()
        .map(|source| {
            json!({"impersonationDomainSource": source, "similarDomain": "Bruno",
            "stringSimilarToDomain": "bruno", "checkerResult": "hit"})
        })
        .collect();
    json!({
        "id": format!("MTOKEN:eNoVzb3{:08}", generator.number / 2),
        "senderAddress": generator.sender(), "recipientAddress": generator.mailbox(),
        "subject": generator.subject(), "definition": "Impersonation: default", "hits": hits,
        "identifiers": found, "action": generator.pick(&["hold", "bounce", "none"]),
        "taggedExternal": generator.random.chance(500), "taggedMalicious": generator.random.chance(500),
        "senderIpAddress": generator.external_ip(), "eventTime": generator.time(),
        "impersonationResults": results, "messageId": generator.message_id(),
    })
}
