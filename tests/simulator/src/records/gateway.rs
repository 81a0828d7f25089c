//! Data leak prevention, and messages that were held, released or rejected.

use serde_json::{Value, json};

use super::LogRecordBuilder;

/// Generates a message that a data leak prevention policy acted on. There is no id, and one
/// message can have two rows of the same second.
pub(crate) fn dlp(sketch: &mut LogRecordBuilder) -> Value {
    let (policy, action) = sketch.pick(&[
        ("Card numbers", "hold"),
        ("Card numbers", "notification"),
        ("Passport scans, \"strict\"", "bounce"),
        ("Source code", "delete"),
        ("Salary lists", "smart_folder"),
        ("Outgoing drawings", "hold, notification"),
        ("Outgoing drawings", "none"),
    ]);
    json!({
        "senderAddress": sketch.sender(), "recipientAddress": sketch.mailbox(),
        "subject": sketch.subject(), "eventTime": sketch.time(), "route": sketch.route(),
        "policy": policy, "action": action, "messageId": sketch.message_id(),
    })
}

/// Generates a held message. Its id is its own, and the row is the same each time.
pub(crate) fn held_message(sketch: &mut LogRecordBuilder) -> Value {
    let (reason, id) = sketch.pick(&[
        (
            "Message Hold Applied - Spam Signature policy",
            "SPAM_SIGNATURE",
        ),
        ("Message Hold Applied - Attachment policy", "ATTACHMENT"),
        (
            "Message Hold Applied - Content Policy: Card numbers",
            "CONTENT",
        ),
        ("Message Hold Applied - Impersonation", "IMPERSONATION"),
        ("Suspected Malware", "SUSPECTED_MALWARE"),
    ]);
    let (name, to) = sketch.person();
    let from = json!({"emailAddress": sketch.sender(), "displayableName": ""});
    let header = if sketch.odd(60) {
        Value::Null
    } else {
        json!({"emailAddress": sketch.sender(), "displayableName": name})
    };
    let to = if sketch.odd(80) {
        json!([{"emailAddress": to}, {"emailAddress": sketch.mailbox()}])
    } else {
        json!({"emailAddress": to, "displayableName": ""})
    };
    json!({
        "id": format!("eNoVzb0{}{:06}", sketch.random.token(48), sketch.number),
        "reason": reason, "reasonId": id, "reasonCode": id.to_lowercase(),
        "from": from, "fromHeader": header, "to": to, "subject": sketch.subject(),
        "route": sketch.route().to_uppercase(), "hasAttachments": sketch.random.chance(300),
        "size": sketch.random.below(90_000), "dateReceived": sketch.at().offset_form(),
        "policyInfo": sketch.text_or_nothing("Inbound spam"),
    })
}

/// Generates a held message that was released or rejected. The operator is an object or a
/// text, and the date can be missing.
pub(crate) fn held_release(sketch: &mut LogRecordBuilder) -> Value {
    let status = sketch.pick(&["released", "released", "rejected"]);
    let operator = sketch.mailbox();
    let operator = match (sketch.odd(250), sketch.odd(40)) {
        (_, true) => Value::Null,
        (true, false) => json!(operator),
        (false, false) => json!({"emailAddress": operator}),
    };
    let (name, to) = sketch.person();
    let verdict = if sketch.odd(500) {
        "spamVerdict"
    } else {
        "verdict"
    };
    let detail = json!({
        "spf": {"info": "SPF_FAIL", "allow": sketch.random.chance(500)},
        "dkim": {"info": "ALLOW", "allow": true}, "greyEmail": sketch.random.chance(200),
        verdict: {"risk": sketch.pick(&["high", "negligible"]), "categories": []},
    });
    let mut record = json!({
        "id": format!("eNoVzb1{}{:06}", sketch.random.token(30), sketch.number),
        "status": status, "heldReason": sketch.pick(&["Spam policy", "Attachment", "Content"]),
        "heldGroup": "Spam", "messageInfo": sketch.text_or_nothing("Spam signature"),
        "operator": operator, "fromEnv": {"emailAddress": sketch.sender()},
        "fromHdr": {"displayableName": name, "emailAddress": sketch.sender()},
        "to": [{"emailAddress": to}], "subject": sketch.subject(),
        "attachments": sketch.random.chance(300), "route": sketch.route(),
        "size": sketch.random.below(90_000), "policy": "Spam",
        "spamScore": sketch.random.below(30),
        "detectionLevel": sketch.pick(&["relaxed", "moderate", "aggressive"]),
        "spamProcessingDetail": detail,
    });
    let time = match (sketch.odd(30), sketch.odd(200)) {
        (true, _) => None,
        (false, true) => Some(sketch.at().offset_form().replace("+0000", "+00:00")),
        (false, false) => Some(sketch.time()),
    };
    if let Some(time) = time {
        put(&mut record, "released", json!(time));
    }
    if status == "rejected" && !sketch.odd(100) {
        put(&mut record, "rejectReason", json!("Not wanted"));
    }
    record
}

/// Generates a message that was rejected before it was accepted.
pub(crate) fn rejection(sketch: &mut LogRecordBuilder) -> Value {
    let (kind, info) = sketch.pick(&[
        ("Manual Envelope Rejection", "Envelope blocked - User Entry"),
        ("IP Found in RBL", "192.0.2.44 blocked by rbl.test"),
        ("Virus Signature Detection", "EICAR-Test-File"),
        ("Invalid Recipient Address", "recipient unknown"),
        ("Anti-Spoofing Lockout", ""),
    ]);
    let to = sketch.mailbox();
    let ip = if sketch.odd(50) {
        "Internal IP".to_owned()
    } else {
        sketch.address()
    };
    let host = sketch.pick(&["mx1.lumen.test", "mail.quince.test", "unknown", ""]);
    let score = sketch.random.below(30);
    let score = if sketch.odd(100) {
        json!(score.to_string())
    } else {
        json!(score)
    };
    json!({
        "id": format!("eNoVzb2{}{:06}", sketch.random.token(30), sketch.number),
        "created": sketch.time(), "description": "Rejected by policy",
        "detectionLevel": sketch.pick(&["relaxed", "moderate", ""]),
        "fromAddress": sketch.sender(), "info": info, "ipAddress": ip,
        "manageRecipient": sketch.random.chance(500), "remoteEhlo": host, "remoteName": host,
        "spamScore": score, "toAddress": to, "toAddressPostCheck": to, "toAddressPreCheck": to,
        "type": kind,
    })
}

/// Adds a member to a record.
fn put(record: &mut Value, name: &str, value: Value) {
    if let Some(record) = record.as_object_mut() {
        record.insert(name.to_owned(), value);
    }
}
