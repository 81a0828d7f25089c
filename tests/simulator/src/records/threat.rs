//! The event types that report a finding.

use serde_json::{Value, json};

use super::mail::transport;
use super::{RecordBuilder, words};

/// A virus in a message.
pub(super) fn av(draft: &mut RecordBuilder<'_>) {
    draft.subtype(None);
    draft.addresses();
    file(draft);
    let virus = draft.random.pick(words::VIRUSES);
    draft.put("virusFound", virus);
    draft.put("emailSize", draft.message.bytes.to_string());
    route_and_sender(draft);
    let internal = draft.boolean(100);
    draft.put("senderDomainInternal", internal);
    transport(draft);
}

/// A message found to be spam.
pub(super) fn spam(draft: &mut RecordBuilder<'_>) {
    draft.subtype(None);
    draft.addresses();
    draft.put("senderHeader", draft.message.sender_header.clone());
    route_and_sender(draft);
    if draft.odd(30) {
        let (external, malicious) = (draft.boolean(500), draft.boolean(200));
        draft.put("taggedExternal", external);
        draft.put("taggedMalicious", malicious);
    }
    transport(draft);
}

/// A threat in an internal or outbound message.
pub(super) fn internal_email_protect(draft: &mut RecordBuilder<'_>) {
    let (category, result) = draft.random.pick(&[
        ("Compromised", "Blocked URL Category"),
        (
            "Dangerous file extension",
            "Restricted File Type - Found executable extension: dll",
        ),
        ("Phishing & Fraud", "Blocked URL Category"),
    ]);
    draft.subtype(None);
    draft.addresses();
    // Whoever sends here is one of the tenant's own.
    let sender = draft.random.pick(words::PEOPLE).1;
    draft.put("senderEnvelope", format!("{sender}@harbour.example"));
    draft.put("urlCategory", category);
    draft.put("scanResults", result);
    draft.put("route", "Internal");
    for key in ["monitoredDomainSource", "similarDomain"] {
        let domain = draft
            .random
            .chance(300)
            .then(|| draft.random.pick(words::BAD_DOMAINS));
        draft.put_or_nothing(key, domain);
    }
    transport(draft);
}

/// A message that impersonates somebody.
pub(super) fn impersonation_protect(draft: &mut RecordBuilder<'_>) {
    let action = draft.random.pick(&["Hold", "Hold", "None", "Bounce"]);
    draft.subtype(Some(action));
    draft.addresses();
    draft.put("action", action);
    let policy = draft
        .random
        .pick(&["Impersonation: default", "Directors, \"strict\"", "Finance"]);
    draft.put("policyDefinition", policy);
    let items = 1 + draft.random.below(4);
    draft.put("itemsDetected", items.to_string());
    for key in IMPERSONATION_FLAGS {
        let documented = draft.odd(50);
        let hit = draft.boolean(250);
        let hit = match hit {
            "true" if documented => "Hit",
            "false" if documented => "No Hit",
            plain => plain,
        };
        draft.put(key, hit);
    }
    route_and_sender(draft);
    draft.record.remove("senderDomain");
    transport(draft);
}

/// A malicious link, found or clicked.
pub(super) fn url_protect(draft: &mut RecordBuilder<'_>) {
    let scheme = draft.random.pick(&["https", "http"]);
    let domain = draft.random.pick(words::BAD_DOMAINS);
    let path = draft.random.pick(words::URL_PATHS);
    draft.subtype(None);
    draft.addresses();
    draft.put("url", format!("{scheme}://{domain}{path}"));
    let category = draft.random.pick(&[
        "Phishing & Fraud",
        "Malware",
        "Compromised",
        "Uncategorised",
    ]);
    draft.put("urlCategory", category);
    draft.put("action", "Block");
    let reason = draft.random.pick(&[
        "malicious",
        "Malicious",
        "Suspicious",
        "Unknown",
        "File Detected",
    ]);
    draft.put("blockReason", reason);
    let analysis = if draft.random.chance(600) {
        "null".to_owned()
    } else {
        let tags = if draft.random.chance(300) {
            json!(["login form"])
        } else {
            json!([])
        };
        json!({"Status": ["Scanned"], "CredentialTheftEvidence": [], "CredentialTheftTags": tags})
            .to_string()
    };
    draft.put("analysis", analysis);
    let ip = (!draft.odd(150)).then(|| draft.message.ip.clone());
    draft.put_or_nothing("sourceIp", ip);
    route_and_sender(draft);
    draft.record.remove("senderIp");
    transport(draft);
}

/// A malicious attachment.
pub(super) fn attachment_protect(draft: &mut RecordBuilder<'_>) {
    draft.subtype(None);
    let media_type = file(draft);
    if draft.odd(200) {
        // Live records can carry names, hashes and ids and nothing else.
        transport(draft);
        return;
    }
    draft.addresses();
    if draft.odd(400) {
        draft.record.remove("recipients");
        draft.put("recipient", draft.message.recipient.clone());
    }
    draft.put("fileMime", media_type);
    let bytes = draft.number(200_000);
    draft.put("sizeAttachment", bytes);
    let customer = super::ip(&mut draft.random, "Inbound", false);
    draft.put("customerIp", customer);
    route_and_sender(draft);
    transport(draft);
}

fn route_and_sender(draft: &mut RecordBuilder<'_>) {
    let route = draft
        .message
        .direction_as_written(&mut draft.random, draft.generator.traps);
    draft.put("route", route);
    draft.put("senderDomain", draft.message.sender_domain);
    let ip = (!draft.odd(30)).then(|| draft.message.ip.clone());
    draft.put_or_nothing("senderIp", ip);
}

/// Adds a file, and says its media type.
fn file(draft: &mut RecordBuilder<'_>) -> &'static str {
    let (name, extension, media_type) = first_file(draft);
    draft.put("fileName", name);
    draft.put("fileExtension", extension);
    for (key, chars) in [("md5", 32), ("sha1", 40), ("sha256", 64)] {
        let hash = draft.random.hex(chars);
        let hash = if draft.odd(100) {
            hash.to_uppercase()
        } else {
            hash
        };
        let value = if draft.odd(30) {
            Value::Null
        } else {
            Value::from(hash)
        };
        draft.put(key, value);
    }
    media_type
}

fn first_file(draft: &mut RecordBuilder<'_>) -> (&'static str, &'static str, &'static str) {
    let first = draft.message.files.first().copied();
    first.unwrap_or_else(|| draft.random.pick(words::FILES))
}

const IMPERSONATION_FLAGS: [&str; 11] = [
    "newDomain",
    "internalUserName",
    "replyMismatch",
    "customThreatDictionary",
    "mimecastThreatDictionary",
    "customNameMatch",
    "similarInternalDomain",
    "similarCustomExternalDomain",
    "similarMimecastExternalDomain",
    "taggedExternal",
    "taggedMalicious",
];
