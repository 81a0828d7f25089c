//! Data leak prevention, and messages that were held, released or rejected.

use serde_json::{Value, json};

use super::FieldGenerator;

/// Generates a message that a data leak prevention policy acted on. There is no id, and one
/// message can have two rows of the same second.
pub(crate) fn dlp(generator: &mut FieldGenerator) -> Value {
    let (policy, action) = generator.pick(&[
        ("Card numbers", "hold"),
        ("Card numbers", "notification"),
        ("Passport scans, \"strict\"", "bounce"),
        ("Source code", "delete"),
        ("Salary lists", "smart_folder"),
        ("Outgoing drawings", "hold, notification"),
        ("Outgoing drawings", "none"),
    ]);
    json!({
        "senderAddress": generator.sender(), "recipientAddress": generator.mailbox(),
        "subject": generator.subject(), "eventTime": generator.time(), "route": generator.route(),
        "policy": policy, "action": action, "messageId": generator.message_id(),
    })
}

/// Generates a held message. Each has a unique id, and the same row is returned on every request.
pub(crate) fn held_message(generator: &mut FieldGenerator) -> Value {
    let (reason, id) = generator.pick(&[
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
    let (name, to) = generator.person();
    let from = json!({"emailAddress": generator.sender(), "displayableName": ""});
    let header = if generator.odd_shape_occurs(60) {
        Value::Null
    } else {
        json!({"emailAddress": generator.sender(), "displayableName": name})
    };
    let to = if generator.odd_shape_occurs(80) {
        json!([{"emailAddress": to}, {"emailAddress": generator.mailbox()}])
    } else {
        json!({"emailAddress": to, "displayableName": ""})
    };
    json!({
        "id": format!("eNoVzb0{}{:06}", generator.random.token(48), generator.number),
        "reason": reason, "reasonId": id, "reasonCode": id.to_lowercase(),
        "from": from, "fromHeader": header, "to": to, "subject": generator.subject(),
        "route": generator.route().to_uppercase(), "hasAttachments": generator.random.chance(300),
        "size": generator.random.below(90_000), "dateReceived": generator.at().iso_with_utc_offset(),
        "policyInfo": generator.text_or_nothing("Inbound spam"),
    })
}

/// Generates a held message that was released or rejected. The operator is an object or a
/// text, and the date can be missing.
pub(crate) fn held_release(generator: &mut FieldGenerator) -> Value {
    let status = generator.pick(&["released", "released", "rejected"]);
    let operator = generator.mailbox();
    let operator = match (
        generator.odd_shape_occurs(250),
        generator.odd_shape_occurs(40),
    ) {
        (_, true) => Value::Null,
        (true, false) => json!(operator),
        (false, false) => json!({"emailAddress": operator}),
    };
    let (name, to) = generator.person();
    let verdict = if generator.odd_shape_occurs(500) {
        "spamVerdict"
    } else {
        "verdict"
    };
    let detail = json!({
        "spf": {"info": "SPF_FAIL", "allow": generator.random.chance(500)},
        "dkim": {"info": "ALLOW", "allow": true}, "greyEmail": generator.random.chance(200),
        verdict: {"risk": generator.pick(&["high", "negligible"]), "categories": []},
    });
    let mut record = json!({
        "id": format!("eNoVzb1{}{:06}", generator.random.token(30), generator.number),
        "status": status, "heldReason": generator.pick(&["Spam policy", "Attachment", "Content"]),
        "heldGroup": "Spam", "messageInfo": generator.text_or_nothing("Spam signature"),
        "operator": operator, "fromEnv": {"emailAddress": generator.sender()},
        "fromHdr": {"displayableName": name, "emailAddress": generator.sender()},
        "to": [{"emailAddress": to}], "subject": generator.subject(),
        "attachments": generator.random.chance(300), "route": generator.route(),
        "size": generator.random.below(90_000), "policy": "Spam",
        "spamScore": generator.random.below(30),
        "detectionLevel": generator.pick(&["relaxed", "moderate", "aggressive"]),
        "spamProcessingDetail": detail,
    });
    let time = match (
        generator.odd_shape_occurs(30),
        generator.odd_shape_occurs(200),
    ) {
        (true, _) => None,
        (false, true) => Some(
            generator
                .at()
                .iso_with_utc_offset()
                .replace("+0000", "+00:00"),
        ),
        (false, false) => Some(generator.time()),
    };
    if let Some(time) = time {
        put(&mut record, "released", json!(time));
    }
    if status == "rejected" && !generator.odd_shape_occurs(100) {
        put(&mut record, "rejectReason", json!("Not wanted"));
    }
    record
}

/// Generates a message that was rejected before it was accepted.
pub(crate) fn rejection(generator: &mut FieldGenerator) -> Value {
    let (kind, info) = generator.pick(&[
        ("Manual Envelope Rejection", "Envelope blocked - User Entry"),
        ("IP Found in RBL", "192.0.2.44 blocked by rbl.test"),
        ("Virus Signature Detection", "EICAR-Test-File"),
        ("Invalid Recipient Address", "recipient unknown"),
        ("Anti-Spoofing Lockout", ""),
    ]);
    let to = generator.mailbox();
    let ip = if generator.odd_shape_occurs(50) {
        "Internal IP".to_owned()
    } else {
        generator.external_ip()
    };
    let host = generator.pick(&["mx1.lumen.test", "mail.quince.test", "unknown", ""]);
    let score = generator.random.below(30);
    let score = if generator.odd_shape_occurs(100) {
        json!(score.to_string())
    } else {
        json!(score)
    };
    json!({
        "id": format!("eNoVzb2{}{:06}", generator.random.token(30), generator.number),
        "created": generator.time(), "description": "Rejected by policy",
        "detectionLevel": generator.pick(&["relaxed", "moderate", ""]),
        "fromAddress": generator.sender(), "info": info, "ipAddress": ip,
        "manageRecipient": generator.random.chance(500), "remoteEhlo": host, "remoteName": host,
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
