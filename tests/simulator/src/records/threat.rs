//! The event types that report a finding.

use serde_json::{Value, json};

use super::mail::add_log_position;
use super::{RecordBuilder, words};

/// Generates the fields of a virus in a message.
pub(super) fn av(builder: &mut RecordBuilder<'_>) {
    builder.add_subtype(None);
    builder.add_message_fields();
    add_file(builder);
    let virus = builder.random.pick(words::VIRUSES);
    builder.put("virusFound", virus);
    builder.put("emailSize", builder.message.bytes.to_string());
    add_route_and_sender(builder);
    let internal = builder.boolean(100);
    builder.put("senderDomainInternal", internal);
    add_log_position(builder);
}

/// Generates the fields of a message found to be spam.
pub(super) fn spam(builder: &mut RecordBuilder<'_>) {
    builder.add_subtype(None);
    builder.add_message_fields();
    builder.put("senderHeader", builder.message.sender_header.clone());
    add_route_and_sender(builder);
    if builder.odd_shape_occurs(30) {
        let (external, malicious) = (builder.boolean(500), builder.boolean(200));
        builder.put("taggedExternal", external);
        builder.put("taggedMalicious", malicious);
    }
    add_log_position(builder);
}

/// Generates the fields of a threat in an internal or outbound message.
pub(super) fn internal_email_protect(builder: &mut RecordBuilder<'_>) {
    let (category, result) = builder.random.pick(&[
        ("Compromised", "Blocked URL Category"),
        (
            "Dangerous file extension",
            "Restricted File Type - Found executable extension: dll",
        ),
        ("Phishing & Fraud", "Blocked URL Category"),
    ]);
    builder.add_subtype(None);
    builder.add_message_fields();
    // The sender is one of the tenant's own people.
    let sender = builder.random.pick(words::PEOPLE).1;
    builder.put("senderEnvelope", format!("{sender}@harbour.example"));
    builder.put("urlCategory", category);
    builder.put("scanResults", result);
    builder.put("route", "Internal");
    for key in ["monitoredDomainSource", "similarDomain"] {
        let domain = builder
            .random
            .chance(300)
            .then(|| builder.random.pick(words::BAD_DOMAINS));
        builder.put_value_or_empty(key, domain);
    }
    add_log_position(builder);
}

/// Generates the fields of a message that impersonates someone.
pub(super) fn impersonation_protect(builder: &mut RecordBuilder<'_>) {
    let action = builder.random.pick(&["Hold", "Hold", "None", "Bounce"]);
    builder.add_subtype(Some(action));
    builder.add_message_fields();
    builder.put("action", action);
    let policy =
        builder
            .random
            .pick(&["Impersonation: default", "Directors, \"strict\"", "Finance"]);
    builder.put("policyDefinition", policy);
    let items = 1 + builder.random.below(4);
    builder.put("itemsDetected", items.to_string());
    for key in IMPERSONATION_FLAGS {
        let uses_documented_spelling = builder.odd_shape_occurs(50);
        let hit = builder.boolean(250);
        let hit = match hit {
            "true" if uses_documented_spelling => "Hit",
            "false" if uses_documented_spelling => "No Hit",
            plain => plain,
        };
        builder.put(key, hit);
    }
    add_route_and_sender(builder);
    builder.record.remove("senderDomain");
    add_log_position(builder);
}

/// Generates the fields of a malicious link, found or clicked.
pub(super) fn url_protect(builder: &mut RecordBuilder<'_>) {
    let scheme = builder.random.pick(&["https", "http"]);
    let domain = builder.random.pick(words::BAD_DOMAINS);
    let path = builder.random.pick(words::URL_PATHS);
    builder.add_subtype(None);
    builder.add_message_fields();
    builder.put("url", format!("{scheme}://{domain}{path}"));
    let category = builder.random.pick(&[
        "Phishing & Fraud",
        "Malware",
        "Compromised",
        "Uncategorised",
    ]);
    builder.put("urlCategory", category);
    builder.put("action", "Block");
    let reason = builder.random.pick(&[
        "malicious",
        "Malicious",
        "Suspicious",
        "Unknown",
        "File Detected",
    ]);
    builder.put("blockReason", reason);
    let analysis = if builder.random.chance(600) {
        "null".to_owned()
    } else {
        let tags = if builder.random.chance(300) {
            json!(["login form"])
        } else {
            json!([])
        };
        json!({"Status": ["Scanned"], "CredentialTheftEvidence": [], "CredentialTheftTags": tags})
            .to_string()
    };
    builder.put("analysis", analysis);
    let ip = (!builder.odd_shape_occurs(150)).then(|| builder.message.ip.clone());
    builder.put_value_or_empty("sourceIp", ip);
    add_route_and_sender(builder);
    builder.record.remove("senderIp");
    add_log_position(builder);
}

/// Generates the fields of a malicious attachment.
pub(super) fn attachment_protect(builder: &mut RecordBuilder<'_>) {
    builder.add_subtype(None);
    let media_type = add_file(builder);
    if builder.odd_shape_occurs(200) {
        // Live records can carry names, hashes and ids and nothing else.
        add_log_position(builder);
        return;
    }
    builder.add_message_fields();
    if builder.odd_shape_occurs(400) {
        builder.record.remove("recipients");
        builder.put("recipient", builder.message.recipient.clone());
    }
    builder.put("fileMime", media_type);
    let bytes = builder.decimal_text(200_000);
    builder.put("sizeAttachment", bytes);
    let customer = super::ip(&mut builder.random, "Inbound", false);
    builder.put("customerIp", customer);
    add_route_and_sender(builder);
    add_log_position(builder);
}

fn add_route_and_sender(builder: &mut RecordBuilder<'_>) {
    let route = builder
        .message
        .direction_as_written(&mut builder.random, builder.generator.odd_shapes);
    builder.put("route", route);
    builder.put("senderDomain", builder.message.sender_domain);
    let ip = (!builder.odd_shape_occurs(30)).then(|| builder.message.ip.clone());
    builder.put_value_or_empty("senderIp", ip);
}

/// Adds the fields of a file, and returns its media type.
fn add_file(builder: &mut RecordBuilder<'_>) -> &'static str {
    let (name, extension, media_type) = first_file(builder);
    builder.put("fileName", name);
    builder.put("fileExtension", extension);
    for (key, chars) in [("md5", 32), ("sha1", 40), ("sha256", 64)] {
        let hash = builder.random.hex(chars);
        let hash = if builder.odd_shape_occurs(100) {
            hash.to_uppercase()
        } else {
            hash
        };
        let value = if builder.odd_shape_occurs(30) {
            Value::Null
        } else {
            Value::from(hash)
        };
        builder.put(key, value);
    }
    media_type
}

fn first_file(builder: &mut RecordBuilder<'_>) -> (&'static str, &'static str, &'static str) {
    let first = builder.message.files.first().copied();
    first.unwrap_or_else(|| builder.random.pick(words::FILES))
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
