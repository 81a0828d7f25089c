//! The event types that follow a message: receipt, process, delivery, journal.

use serde_json::Value;

use super::spam_detail::{in_some_shape, spam_detail};
use super::{RecordBuilder, words};

/// Accepted or rejected at the door.
pub(super) fn receipt(draft: &mut RecordBuilder<'_>) {
    let action = draft.random.pick(&[
        "Acc", "Acc", "Acc", "Acc", "Acc", "Acc", "Acc", "Rej", "Rej", "Ign", "Bnc",
    ]);
    let direction = draft
        .message
        .direction_as_written(&mut draft.random, draft.generator.traps);
    draft.subtype(Some(action));
    draft.put("action", action);
    draft.put("direction", direction);
    draft.addresses();
    draft.put("senderHeader", draft.message.sender_header.clone());
    draft.put("senderIp", draft.message.ip.clone());
    draft.put("numberAttachments", draft.message.files.len().to_string());
    tls(draft);
    if action == "Rej" {
        rejection(draft);
    } else {
        for key in [
            "rejectionType",
            "rejectionCode",
            "rejectionInfo",
            "receiptErrors",
            "virusFound",
        ] {
            draft.nothing(key);
        }
    }
    let score = draft.number(30);
    draft.put("spamScore", score);
    let level = draft.random.pick(&["0", "7", "28"]);
    draft.put("spamDetectionLevel", level);
    let info = if draft.odd(100) {
        Value::Null
    } else {
        Value::from("[]")
    };
    draft.put("spamInfo", info);
    transport(draft);
    // The last category goes beyond the goal, by half of itself on average.
    let goal = draft.goal_bytes().saturating_sub(75);
    let missing = goal.saturating_sub(draft.record.line_bytes());
    if missing < 90 {
        draft.put("spamProcessingDetail", Value::Null);
        return;
    }
    // Quotes that are escaped once or twice take their own room.
    let detail = spam_detail(&mut draft.random, missing.saturating_sub(380) * 3 / 4);
    let detail = in_some_shape(&mut draft.random, detail, draft.generator.traps);
    draft.put("spamProcessingDetail", detail);
}

fn rejection(draft: &mut RecordBuilder<'_>) {
    let (kind, code, info, error, virus) = draft.random.pick(REJECTIONS);
    draft.put("rejectionType", kind);
    draft.put("rejectionCode", code);
    draft.put("rejectionInfo", info);
    if draft.odd(300) {
        draft.record.remove("receiptErrors");
    } else {
        draft.put_or_nothing("receiptErrors", (!error.is_empty()).then_some(error));
    }
    if virus.is_empty() {
        draft.nothing("virusFound");
    } else {
        draft.put("virusFound", virus);
    }
    // A message refused before its data has neither a subject nor a header.
    if draft.odd(400) {
        for key in ["subject", "messageId", "senderHeader"] {
            draft.put(key, Value::Null);
        }
        if draft.odd(300) {
            draft.put("senderEnvelope", Value::Null);
        }
    }
}

/// What the gateway did with the message.
pub(super) fn process(draft: &mut RecordBuilder<'_>) {
    let action = draft.random.pick(&[
        "Acc", "Acc", "Acc", "Acc", "Acc", "Hld", "Sdbx", "Bnc", "Rty", "Allow",
    ]);
    draft.subtype(Some(action));
    draft.put("action", action);
    let held = action == "Hld" || draft.odd(30);
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
    let reason = held.then(|| draft.random.pick(&reasons));
    draft.put_or_nothing("holdReason", reason);
    let bytes = if action == "Sdbx" {
        "0".to_owned()
    } else {
        draft.message.bytes.to_string()
    };
    draft.put("emailSize", bytes);
    draft.addresses();
    draft.record.remove("recipients");
    if draft.odd(80) {
        for key in [
            "ipNewDomain",
            "ipReplyMismatch",
            "ipSimilarDomain",
            "ipThreatDictionary",
            "ipUserName",
        ] {
            let hit = draft.boolean(200);
            draft.put(key, hit);
        }
    }
    transport(draft);
    let goal = draft.goal_bytes();
    let missing = goal.saturating_sub(draft.record.line_bytes() + 90);
    attachments(draft, missing);
}

/// The names of the attachments, all in one text, of about that many bytes.
fn attachments(draft: &mut RecordBuilder<'_>, bytes: usize) {
    let mut names: Vec<String> = draft
        .message
        .files
        .iter()
        .map(|file| file.0.to_owned())
        .collect();
    let mut length: usize = names.iter().map(|name| name.len() + 6).sum();
    while length + 20 < bytes {
        let name = draft.random.pick(words::FILES).0;
        let name = format!("{}-{name}", draft.random.hex(8));
        length += name.len() + 6;
        names.push(name);
    }
    let quoted: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
    // The count can say 0 although names are listed, and a single name can stand unquoted.
    let count = if draft.odd(60) { 0 } else { names.len() };
    draft.put("numberAttachments", count.to_string());
    let total = names.len() * 1153;
    draft.put("totalSizeAttachments", total.to_string());
    match names.as_slice() {
        [] => draft.nothing("attachments"),
        [name] if draft.odd(300) => draft.put("attachments", name.clone()),
        _ => draft.put("attachments", quoted.join(", ")),
    }
}

/// An attempt to deliver the message to its next hop.
pub(super) fn delivery(draft: &mut RecordBuilder<'_>) {
    let delivered = draft.boolean(900);
    let direction = draft
        .message
        .direction_as_written(&mut draft.random, draft.generator.traps);
    draft.subtype(Some(delivered));
    draft.put("delivered", delivered);
    draft.put("direction", direction);
    draft.addresses();
    let attempts = 1 + draft.random.below(3);
    draft.put("deliveryAttempts", attempts.to_string());
    let long = draft.odd(20);
    let time = draft.random.below(if long { 11_000_000 } else { 4000 });
    draft.put("deliveryTime", time.to_string());
    let ip = super::ip(&mut draft.random, "Inbound", draft.generator.traps);
    draft.put("destinationIp", ip);
    let host = (!draft.odd(100)).then(|| draft.random.pick(words::HOSTS));
    draft.put_or_nothing("Hostname", host);
    let route = draft.random.pick(words::ROUTES);
    draft.put("route", route);
    draft.put("emailSize", draft.message.bytes.to_string());
    draft.put(
        "totalSizeAttachments",
        (draft.message.files.len() * 1153).to_string(),
    );
    draft.put("numberAttachments", draft.message.files.len().to_string());
    tls(draft);
    let used = if draft.odd(100) { "true" } else { "Yes" };
    let used = if draft.random.chance(900) { used } else { "No" };
    draft.put("tlsUsed", used);
    let refused = delivered == "false";
    let errors = refused.then_some("452 4.2.2 mailbox is full");
    draft.put_or_nothing("deliveryErrors", errors);
    draft.put_or_nothing(
        "rejectionType",
        refused.then_some("Recipient server refused"),
    );
    draft.put_or_nothing("rejectionCode", refused.then_some("452"));
    draft.put_or_nothing(
        "rejectionInfo",
        refused.then_some("4.2.2 over \"quota\", try later"),
    );
    transport(draft);
}

/// Taken into the journal.
pub(super) fn journal(draft: &mut RecordBuilder<'_>) {
    let direction = draft
        .message
        .direction_as_written(&mut draft.random, draft.generator.traps);
    draft.subtype(None);
    draft.put("direction", direction);
    draft.put("recipients", draft.message.recipient.clone());
    draft.put("senderEnvelope", draft.message.sender.clone());
    if draft.odd(200) {
        draft.put_or_nothing("subject", draft.message.subject.clone());
    }
    transport(draft);
}

fn tls(draft: &mut RecordBuilder<'_>) {
    if draft.odd(80) {
        draft.nothing("tlsVersion");
        draft.nothing("tlsCipher");
        return;
    }
    let (version, cipher) = draft.random.pick(words::CIPHERS);
    draft.put("tlsVersion", version);
    draft.put("tlsCipher", cipher);
}

/// The position in the upstream's own log, which is missing in the newer files. The file fills
/// in the numbers.
pub(super) fn transport(draft: &mut RecordBuilder<'_>) {
    if !draft.odd(250) {
        draft.put("_offset", 0);
        draft.put("_partition", 0);
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
