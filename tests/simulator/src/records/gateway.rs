//! Data leak prevention, and messages that were held, released or rejected.

use serde_json::{Value, json};

use super::FieldGenerator;

/// Generates a message that a data leak prevention policy acted on. There is no id, and one
/// message can have two rows of the same second.
pub(crate) fn dlp(builder: &mut FieldGenerator) -> Value {
    let (policy, action) = builder.pick(&[
        ("Card numbers", "hold"),
        ("Card numbers", "notification"),
        ("Passport scans, \"strict\"", "bounce"),
        ("Source code", "delete"),
        ("Salary lists", "smart_folder"),
        ("Outgoing drawings", "hold, notification"),
        ("Outgoing drawings", "none"),
    ]);
    json!({
        "senderAddress": builder.sender(), "recipientAddress": builder.mailbox(),
        "subject": builder.subject(), "eventTime": builder.time(), "route": builder.route(),
        "policy": policy, "action": action, "messageId": builder.message_id(),
    })
}

/// Generates a held message. Each has a unique id, and the same row is returned on every request.
pub(crate) fn held_message(builder: &mut FieldGenerator) -> Value {
    let (reason, id) = builder.pick(&[
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
    let (name, to) = builder.person();
    let from = json!({"emailAddress": builder.sender(), "displayableName": ""});
    let header = if builder.odd_shape_occurs(60) {
        Value::Null
    } else {
        json!({"emailAddress": builder.sender(), "displayableName": name})
    };
    let to = if builder.odd_shape_occurs(80) {
        json!([{"emailAddress": to}, {"emailAddress": builder.mailbox()}])
    } else {
        json!({"emailAddress": to, "displayableName": ""})
    };
    json!({
        "id": format!("eNoVzb0{}{:06}", builder.random.token(48), builder.number),
        "reason": reason, "reasonId": id, "reasonCode": id.to_lowercase(),
        "from": from, "fromHeader": header, "to": to, "subject": builder.subject(),
        "route": builder.route().to_uppercase(), "hasAttachments": builder.random.chance(300),
        "size": builder.random.below(90_000), "dateReceived": builder.at().iso_with_utc_offset(),
        "policyInfo": builder.text_or_nothing("Inbound spam"),
    })
}

/// Generates a held message that was released or rejected. The operator is an object or a
/// text, and the date can be missing.
pub(crate) fn held_release(builder: &mut FieldGenerator) -> Value {
    let status = builder.pick(&["released", "released", "rejected"]);
    let operator = builder.mailbox();
    let operator = match (builder.odd_shape_occurs(250), builder.odd_shape_occurs(40)) {
        (_, true) => Value::Null,
        (true, false) => json!(operator),
        (false, false) => json!({"emailAddress": operator}),
    };
    let (name, to) = builder.person();
    let verdict = if builder.odd_shape_occurs(500) {
        "spamVerdict"
    } else {
        "verdict"
    };
    let detail = json!({
        "spf": {"info": "SPF_FAIL", "allow": builder.random.chance(500)},
        "dkim": {"info": "ALLOW", "allow": true}, "greyEmail": builder.random.chance(200),
        verdict: {"risk": builder.pick(&["high", "negligible"]), "categories": []},
    });
    let mut record = json!({
        "id": format!("eNoVzb1{}{:06}", builder.random.token(30), builder.number),
        "status": status, "heldReason": builder.pick(&["Spam policy", "Attachment", "Content"]),
        "heldGroup": "Spam", "messageInfo": builder.text_or_nothing("Spam signature"),
        "operator": operator, "fromEnv": {"emailAddress": builder.sender()},
        "fromHdr": {"displayableName": name, "emailAddress": builder.sender()},
        "to": [{"emailAddress": to}], "subject": builder.subject(),
        "attachments": builder.random.chance(300), "route": builder.route(),
        "size": builder.random.below(90_000), "policy": "Spam",
        "spamScore": builder.random.below(30),
        "detectionLevel": builder.pick(&["relaxed", "moderate", "aggressive"]),
        "spamProcessingDetail": detail,
    });
    let time = match (builder.odd_shape_occurs(30), builder.odd_shape_occurs(200)) {
        (true, _) => None,
        (false, true) => Some(
            builder
                .at()
                .iso_with_utc_offset()
                .replace("+0000", "+00:00"),
        ),
        (false, false) => Some(builder.time()),
    };
    if let Some(time) = time {
        put(&mut record, "released", json!(time));
    }
    if status == "rejected" && !builder.odd_shape_occurs(100) {
        put(&mut record, "rejectReason", json!("Not wanted"));
    }
    record
}

/// Generates a message that was rejected before it was accepted.
pub(crate) fn rejection(builder: &mut FieldGenerator) -> Value {
    let (kind, info) = builder.pick(&[
        ("Manual Envelope Rejection", "Envelope blocked - User Entry"),
        ("IP Found in RBL", "192.0.2.44 blocked by rbl.test"),
        ("Virus Signature Detection", "EICAR-Test-File"),
        ("Invalid Recipient Address", "recipient unknown"),
        ("Anti-Spoofing Lockout", ""),
    ]);
    let to = builder.mailbox();
    let ip = if builder.odd_shape_occurs(50) {
        "Internal IP".to_owned()
    } else {
        builder.external_ip()
    };
    let host = builder.pick(&["mx1.lumen.test", "mail.quince.test", "unknown", ""]);
    let score = builder.random.below(30);
    let score = if builder.odd_shape_occurs(100) {
        json!(score.to_string())
    } else {
        json!(score)
    };
    json!({
        "id": format!("eNoVzb2{}{:06}", builder.random.token(30), builder.number),
        "created": builder.time(), "description": "Rejected by policy",
        "detectionLevel": builder.pick(&["relaxed", "moderate", ""]),
        "fromAddress": builder.sender(), "info": info, "ipAddress": ip,
        "manageRecipient": builder.random.chance(500), "remoteEhlo": host, "remoteName": host,
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
