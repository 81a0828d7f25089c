//! The event types that follow a message: receipt, process, delivery, journal.

use serde_json::Value;

use super::spam_detail::{in_random_shape, spam_detail};
use super::{RecordBuilder, words};

/// Generates the fields of a message that is accepted or rejected on receipt.
pub(super) fn receipt(builder: &mut RecordBuilder<'_>) {
    let action = builder.random.pick(&[
        "Acc", "Acc", "Acc", "Acc", "Acc", "Acc", "Acc", "Rej", "Rej", "Ign", "Bnc",
    ]);
    let direction = builder
        .message
        .direction_as_written(&mut builder.random, builder.generator.odd_shapes);
    builder.add_subtype(Some(action));
    builder.put("action", action);
    builder.put("direction", direction);
    builder.add_message_fields();
    builder.put("senderHeader", builder.message.sender_header.clone());
    builder.put("senderIp", builder.message.ip.clone());
    builder.put("numberAttachments", builder.message.files.len().to_string());
    add_tls(builder);
    if action == "Rej" {
        add_rejection(builder);
    } else {
        for key in [
            "rejectionType",
            "rejectionCode",
            "rejectionInfo",
            "receiptErrors",
            "virusFound",
        ] {
            builder.put_empty_value(key);
        }
    }
    let score = builder.decimal_text(30);
    builder.put("spamScore", score);
    let level = builder.random.pick(&["0", "7", "28"]);
    builder.put("spamDetectionLevel", level);
    let info = if builder.odd_shape_occurs(100) {
        Value::Null
    } else {
        Value::from("[]")
    };
    builder.put("spamInfo", info);
    add_log_position(builder);
    // The last category exceeds the target, by half of its length on average.
    let target = builder.target_bytes().saturating_sub(75);
    let missing = target.saturating_sub(builder.record.line_bytes());
    if missing < 90 {
        builder.put("spamProcessingDetail", Value::Null);
        return;
    }
    // Allows for quotes that are escaped once or twice.
    let detail = spam_detail(&mut builder.random, missing.saturating_sub(380) * 3 / 4);
    let detail = in_random_shape(&mut builder.random, detail, builder.generator.odd_shapes);
    builder.put("spamProcessingDetail", detail);
}

fn add_rejection(builder: &mut RecordBuilder<'_>) {
    let (kind, code, info, error, virus) = builder.random.pick(REJECTIONS);
    builder.put("rejectionType", kind);
    builder.put("rejectionCode", code);
    builder.put("rejectionInfo", info);
    if builder.odd_shape_occurs(300) {
        builder.record.remove("receiptErrors");
    } else {
        builder.put_value_or_empty("receiptErrors", (!error.is_empty()).then_some(error));
    }
    if virus.is_empty() {
        builder.put_empty_value("virusFound");
    } else {
        builder.put("virusFound", virus);
    }
    // A message refused before its data has neither a subject nor a header.
    if builder.odd_shape_occurs(400) {
        for key in ["subject", "messageId", "senderHeader"] {
            builder.put(key, Value::Null);
        }
        if builder.odd_shape_occurs(300) {
            builder.put("senderEnvelope", Value::Null);
        }
    }
}

/// Generates the fields of what the gateway did with a message.
pub(super) fn process(builder: &mut RecordBuilder<'_>) {
    let action = builder.random.pick(&[
        "Acc", "Acc", "Acc", "Acc", "Acc", "Hld", "Sdbx", "Bnc", "Rty", "Allow",
    ]);
    builder.add_subtype(Some(action));
    builder.put("action", action);
    let held = action == "Hld" || builder.odd_shape_occurs(30);
    let reasons = [
        "Spm",
        "Att",
        "RcptLimit",
        "Exp",
        "Imp",
        "Sbx",
        "Oth",
        "Url",
        "Ctnt",
        "Dpp",
        "RBL",
    ];
    let reason = held.then(|| builder.random.pick(&reasons));
    builder.put_value_or_empty("holdReason", reason);
    let bytes = if action == "Sdbx" {
        "0".to_owned()
    } else {
        builder.message.bytes.to_string()
    };
    builder.put("emailSize", bytes);
    builder.add_message_fields();
    builder.record.remove("recipients");
    if builder.odd_shape_occurs(80) {
        for key in [
            "ipNewDomain",
            "ipReplyMismatch",
            "ipSimilarDomain",
            "ipThreatDictionary",
            "ipUserName",
        ] {
            let hit = builder.boolean(200);
            builder.put(key, hit);
        }
    }
    add_log_position(builder);
    let target = builder.target_bytes();
    let missing = target.saturating_sub(builder.record.line_bytes() + 90);
    add_attachments(builder, missing);
}

/// Adds the names of the attachments, all in one text of about that many bytes.
fn add_attachments(builder: &mut RecordBuilder<'_>, bytes: usize) {
    let mut names: Vec<String> = builder
        .message
        .files
        .iter()
        .map(|file| file.0.to_owned())
        .collect();
    let mut length: usize = names.iter().map(|name| name.len() + 6).sum();
    while length + 20 < bytes {
        let name = builder.random.pick(words::FILES).0;
        let name = format!("{}-{name}", builder.random.hex(8));
        length += name.len() + 6;
        names.push(name);
    }
    let quoted: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
    // The count can be 0 although names are listed, and a single name can be unquoted.
    let count = if builder.odd_shape_occurs(60) {
        0
    } else {
        names.len()
    };
    builder.put("numberAttachments", count.to_string());
    let total = names.len() * 1153;
    builder.put("totalSizeAttachments", total.to_string());
    match names.as_slice() {
        [] => builder.put_empty_value("attachments"),
        [name] if builder.odd_shape_occurs(300) => builder.put("attachments", name.clone()),
        _ => builder.put("attachments", quoted.join(", ")),
    }
}

/// Generates the fields of an attempt to deliver a message to its next hop.
pub(super) fn delivery(builder: &mut RecordBuilder<'_>) {
    let delivered = builder.boolean(900);
    let direction = builder
        .message
        .direction_as_written(&mut builder.random, builder.generator.odd_shapes);
    builder.add_subtype(Some(delivered));
    builder.put("delivered", delivered);
    builder.put("direction", direction);
    builder.add_message_fields();
    let attempts = 1 + builder.random.below(3);
    builder.put("deliveryAttempts", attempts.to_string());
    let long = builder.odd_shape_occurs(20);
    let time = builder.random.below(if long { 11_000_000 } else { 4000 });
    builder.put("deliveryTime", time.to_string());
    let ip = super::ip(&mut builder.random, "Inbound", builder.generator.odd_shapes);
    builder.put("destinationIp", ip);
    let host = (!builder.odd_shape_occurs(100)).then(|| builder.random.pick(words::HOSTS));
    builder.put_value_or_empty("Hostname", host);
    let route = builder.random.pick(words::ROUTES);
    builder.put("route", route);
    builder.put("emailSize", builder.message.bytes.to_string());
    builder.put(
        "totalSizeAttachments",
        (builder.message.files.len() * 1153).to_string(),
    );
    builder.put("numberAttachments", builder.message.files.len().to_string());
    add_tls(builder);
    let used = if builder.odd_shape_occurs(100) {
        "true"
    } else {
        "Yes"
    };
    let used = if builder.random.chance(900) {
        used
    } else {
        "No"
    };
    builder.put("tlsUsed", used);
    let refused = delivered == "false";
    let errors = refused.then_some("452 4.2.2 mailbox is full");
    builder.put_value_or_empty("deliveryErrors", errors);
    builder.put_value_or_empty(
        "rejectionType",
        refused.then_some("Recipient server refused"),
    );
    builder.put_value_or_empty("rejectionCode", refused.then_some("452"));
    builder.put_value_or_empty(
        "rejectionInfo",
        refused.then_some("4.2.2 over \"quota\", try later"),
    );
    add_log_position(builder);
}

/// Generates the fields of a message that is added to the journal.
pub(super) fn journal(builder: &mut RecordBuilder<'_>) {
    let direction = builder
        .message
        .direction_as_written(&mut builder.random, builder.generator.odd_shapes);
    builder.add_subtype(None);
    builder.put("direction", direction);
    builder.put("recipients", builder.message.recipient.clone());
    builder.put("senderEnvelope", builder.message.sender.clone());
    if builder.odd_shape_occurs(200) {
        builder.put_value_or_empty("subject", builder.message.subject.clone());
    }
    add_log_position(builder);
}

fn add_tls(builder: &mut RecordBuilder<'_>) {
    if builder.odd_shape_occurs(80) {
        builder.put_empty_value("tlsVersion");
        builder.put_empty_value("tlsCipher");
        return;
    }
    let (version, cipher) = builder.random.pick(words::CIPHERS);
    builder.put("tlsVersion", version);
    builder.put("tlsCipher", cipher);
}

/// Adds the position in the upstream's own log, which newer files do not have. The file fills in
/// the numbers.
pub(super) fn add_log_position(builder: &mut RecordBuilder<'_>) {
    if !builder.odd_shape_occurs(250) {
        builder.put("_offset", 0);
        builder.put("_partition", 0);
    }
}

type Rejection = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
);

/// Type, code, detail, error and virus.
const REJECTIONS: &[Rejection] = &[
    (
        "Manual Envelope Rejection",
        "550",
        "Envelope blocked - User Entry",
        "",
        "",
    ),
    (
        "IP Found in RBL",
        "550",
        "192.0.2.44 blocked by rbl.test",
        "IP Found in RBL",
        "rbl.test Blocked by list, see https://rbl.test/why?ip=192.0.2.44",
    ),
    (
        "Malicious QRCode Detection",
        "554",
        "[Type: [Phishing & Fraud],Url: [https://parcel-fee.test/q?id=7],UrlBlock: [true]]",
        "Malicious QRCode detected in email: UrlReputationScan",
        "",
    ),
    (
        "Header Rejected",
        "550",
        "header From: not aligned",
        "Header Rejected",
        "Header Rejected by policy",
    ),
    (
        "Virus Signature Detection",
        "554",
        "EICAR-Test-File",
        "Virus found",
        "EICAR-Test-File",
    ),
    (
        "Invalid Recipient Address",
        "0",
        "recipient unknown",
        "",
        "",
    ),
];
