//! Properties of every event, whatever its record contains.

mod event;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use mimecast_source::normalize::Format;
use mimecast_source::stream::{STREAMS, Stream};
use proptest::prelude::*;
use serde_json::{Value, json};

fn event(stream: Stream, format: Format, record: &Value) -> Value {
    event::event(stream, format, &record.to_string())
}

/// The event without ids and `message`, and with `#` for each copy of `text`.
fn without_ids_and_text(event: &Value, text: &str) -> Value {
    let mut event = event.clone();
    for pointer in ["/event", "/metadata", "/finding_info"] {
        if let Some(Value::Object(members)) = event.pointer_mut(pointer) {
            members.remove("id");
            members.remove("uid");
        }
    }
    if let Value::Object(members) = &mut event {
        members.remove("message");
    }
    replace(&mut event, text);
    event
}

fn replace(value: &mut Value, text: &str) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(|value| replace(value, text)),
        Value::Object(members) => members.values_mut().for_each(|value| replace(value, text)),
        Value::String(found) if !text.is_empty() && found.contains(text) => {
            *found = found.replace(text, "#");
        }
        Value::Bool(_) | Value::Null | Value::Number(_) | Value::String(_) => {}
    }
}

/// Texts that look like evidence.
const MISLEADING_PHRASES: &[&str] = &[
    "IP: 192.0.2.66",
    ", IP: 192.0.2.66, Application: Nothing",
    "Remote IP is 192.0.2.66",
    "Reason: none at all",
    "Application: Nothing, Reason: x",
    "for mallory@example.net <Mallory>",
    "by mallory@example.net<Mallory>",
    "user: mallory@example.net",
    "User mallory@example.net added to role Super Administrator",
    "Success: false",
    "Success: true",
    "Url: [https://evil.example.net/x]",
    "Type: [Malware]",
    "<mallory@example.net>",
    "mallory@example.net; eve@example.net",
    "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210",
    "Malicious QRCode Detection",
    "Virus Signature Detection",
    "failed",
    "blocked",
    "https://evil.example.net/x",
    "192.0.2.66:25",
];

fn text() -> impl Strategy<Value = String> {
    (
        "[a-zA-Z ]{0,8}",
        prop::sample::select(MISLEADING_PHRASES),
        "[ ,;:|<>\"'\\[\\]]{0,3}",
        prop::sample::select(MISLEADING_PHRASES),
    )
        .prop_map(|(before, one, between, other)| {
            format!("{before}{one}{between}{other}~").trim().to_owned()
        })
}

/// Records with a text that an outsider writes in place of `#`.
fn records_with_text() -> Vec<(Stream, Value)> {
    let message = json!({"timestamp": 1_772_360_430_000_i64, "action": "Acc", "subject": "#",
        "senderEnvelope": "eve@example.net", "recipients": "bob@example.com", "senderIp": "198.51.100.9"});
    let mut records: Vec<(Stream, Value)> = STREAMS
        .iter()
        .filter(|row| row.name.starts_with("siem") || row.name.starts_with("ci."))
        .map(|row| (row.stream, message.clone()))
        .collect();
    records.extend([
        (Stream::Audit, json!({"auditType": "Message Action", "user": "alice@example.com", "eventTime": "2026-03-01T10:20:30+0000",
            "eventInfo": "Viewed Message - From: <#> eve@example.net, Subject: #, Processed: 2026-03-01, IP: 198.51.100.21, Application: mimecast-case-review"})),
        (Stream::TtpUrl, json!({"userEmailAddress": "bob@example.com", "url": "http://pay.example.net/", "scanResult": "clean",
            "action": "allow", "subject": "#", "date": "2026-03-01T10:20:30+0000"})),
        (Stream::TtpAttachment, json!({"senderAddress": "eve@example.net", "recipientAddress": "bob@example.com", "fileName": "a.pdf",
            "result": "safe", "subject": "#", "date": "2026-03-01T10:20:30+0000"})),
        (Stream::TtpImpersonation, json!({"senderAddress": "eve@example.net", "recipientAddress": "bob@example.com",
            "action": "none", "subject": "#", "eventTime": "2026-03-01T10:20:30+0000"})),
        (Stream::Dlp, json!({"senderAddress": "eve@example.net", "recipientAddress": "bob@example.com", "policy": "Cards",
            "action": "hold", "subject": "#", "eventTime": "2026-03-01T10:20:30+0000"})),
        (Stream::HeldMessages, json!({"id": "h1", "from": {"emailAddress": "eve@example.net", "displayableName": "#"},
            "to": {"emailAddress": "bob@example.com"}, "subject": "#", "dateReceived": "2026-03-01T10:20:30+0000"})),
        (Stream::ArchiveView, json!({"viewer": "alice@example.com", "from": "eve@example.net", "to": "bob@example.com", "subject": "#",
            "createTime": "2026-03-01T10:20:30+0000"})),
    ]);
    records
}

fn with_text(record: &Value, text: &str) -> Value {
    let mut record = record.clone();
    let mut open = vec![&mut record];
    while let Some(value) = open.pop() {
        match value {
            Value::Object(members) => open.extend(members.values_mut()),
            Value::Array(values) => open.extend(values.iter_mut()),
            Value::String(found) if found.contains('#') => *found = found.replace('#', text),
            Value::Bool(_) | Value::Null | Value::Number(_) | Value::String(_) => {}
        }
    }
    record
}

/// Words that no table has.
fn unknown_word() -> impl Strategy<Value = String> {
    "zq[a-z]{2,8}"
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Text that an outsider controls decides no fact.
    #[test]
    fn misleading_phrases_in_a_text_change_no_other_field(text in text()) {
        for (stream, record) in records_with_text() {
            for format in [Format::Ecs, Format::Ocsf] {
                let plain = without_ids_and_text(&event(stream, format, &with_text(&record, "hello~")), "hello~");
                let labelled = without_ids_and_text(&event(stream, format, &with_text(&record, &text)), &text);
                prop_assert_eq!(plain, labelled, "{} {:?}", stream, text);
            }
        }
    }

    /// A word outside the tables is neither a success nor malicious.
    #[test]
    fn a_word_that_no_table_has_is_unknown(word in unknown_word()) {
        let base_record = json!({"senderEnvelope": "eve@example.net", "recipients": "bob@example.com",
            "senderAddress": "eve@example.net", "recipientAddress": "bob@example.com",
            "userEmailAddress": "bob@example.com", "url": "https://pay.example.net/", "fileName": "a.pdf"});
        for (stream, fields) in [
            (Stream::SiemReceipt, &["action"][..]),
            (Stream::SiemProcess, &["action"]),
            (Stream::SiemDelivery, &["delivered"]),
            (Stream::SiemUrlProtect, &["action"]),
            (Stream::SiemImpersonationProtect, &["action"]),
            (Stream::TtpUrl, &["scanResult", "action", "actions"]),
            (Stream::TtpAttachment, &["result", "actionTriggered"]),
            (Stream::TtpImpersonation, &["action"]),
            (Stream::Dlp, &["action"]),
            (Stream::HeldRelease, &["status"]),
            (Stream::CiEntities, &["threatState"]),
        ] {
            let mut record = base_record.clone();
            for field in fields {
                record[*field] = Value::from(word.clone());
            }
            let ecs = event(stream, Format::Ecs, &record);
            let outcome = ecs["event"]["outcome"].as_str();
            prop_assert!(matches!(outcome, None | Some("unknown")), "{} {}", stream, ecs);
            let types = ecs["event"]["type"].to_string();
            prop_assert!(!types.contains("allowed") && !types.contains("denied"), "{} {}", stream, ecs);
            let category = ecs["event"]["category"].to_string();
            prop_assert!(!category.contains("malware"), "{} {}", stream, ecs);
            let ocsf = event(stream, Format::Ocsf, &record);
            let status = ocsf["status_id"].as_u64();
            let is_finding = ocsf["category_uid"] == 2;
            prop_assert!(is_finding || matches!(status, None | Some(0)), "{} {}", stream, ocsf);
            let title = ocsf["finding_info"]["title"].to_string();
            prop_assert!(!["ttp.url", "ttp.attachment"].contains(&stream.name()) || !title.contains("Malicious"), "{}", ocsf);
        }
    }
}

/// The fields whose values are email addresses, in all streams.
const ADDRESSES: &[&str] = &[
    "senderEnvelope",
    "senderHeader",
    "recipients",
    "recipient",
    "senderAddress",
    "recipientAddress",
    "userEmailAddress",
    "fromUserEmailAddress",
    "fromAddress",
    "toAddress",
    "emailAddress",
    "email",
    "operator",
    "viewer",
    "user",
    "emailAddr",
];
const IPS: &[&str] = &[
    "senderIp",
    "sourceIp",
    "destinationIp",
    "senderIpAddress",
    "sendingIp",
    "ipAddress",
    "customerIp",
];
const HASHES: &[&str] = &["md5", "sha1", "sha256", "fileHash"];
const URLS: &[&str] = &["url", "originalUrl"];

fn texts(value: &Value) -> BTreeSet<String> {
    let mut texts = BTreeSet::new();
    let mut open = vec![value];
    while let Some(value) = open.pop() {
        match value {
            Value::Array(values) => open.extend(values),
            Value::Object(members) => open.extend(members.values()),
            Value::String(text) => {
                texts.insert(text.to_lowercase());
            }
            Value::Bool(_) | Value::Null | Value::Number(_) => {}
        }
    }
    texts
}

fn is_plain_address(text: &str) -> bool {
    let plain = |it: char| it.is_ascii_alphanumeric() || ".-_+".contains(it);
    text.split_once('@').is_some_and(|(local, domain)| {
        !local.is_empty()
            && domain.contains('.')
            && local.chars().all(plain)
            && domain.chars().all(plain)
            && !domain.starts_with('.')
            && !domain.ends_with('.')
            && !local.starts_with('.')
            && !local.ends_with('.')
            && !text.contains("..")
    })
}

/// Values that are searched for across events are in the fields for it: ECS's `related` and OCSF's
/// `observables`.
#[test]
fn every_address_host_hash_and_url_of_a_record_is_found_in_one_place() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let mut seen = 0;
    let mut missing = Vec::new();
    for row in STREAMS {
        let Ok(folder) = fs::read_dir(fixtures.join(row.name)) else {
            continue;
        };
        for file in folder.map(|entry| entry.unwrap().path()) {
            if !file.to_string_lossy().ends_with(".upstream.ndjson") {
                continue;
            }
            for line in fs::read_to_string(&file).unwrap().lines() {
                let Ok(record) = serde_json::from_str::<Value>(line) else {
                    continue;
                };
                let ecs = texts(&event(row.stream, Format::Ecs, &record)["related"]);
                let ocsf = texts(&event(row.stream, Format::Ocsf, &record)["observables"]);
                let mut check = |value: &str, field: &str| {
                    seen += 1;
                    for (format, found) in [("ecs", &ecs), ("ocsf", &ocsf)] {
                        if !found.contains(&value.to_lowercase()) {
                            missing.push(format!("{} {format}: {field} {value}", row.name));
                        }
                    }
                };
                let text = |field: &str| record.get(field).and_then(Value::as_str).map(str::trim);
                for field in ADDRESSES {
                    if let Some(address) = text(field).filter(|text| is_plain_address(text)) {
                        check(address, field);
                    }
                }
                for field in IPS {
                    if let Some(ip) =
                        text(field).filter(|text| text.parse::<std::net::IpAddr>().is_ok())
                    {
                        check(ip, field);
                    }
                }
                for field in HASHES {
                    let is_hash = |text: &&str| {
                        [32, 40, 64].contains(&text.len())
                            && text.bytes().all(|it| it.is_ascii_hexdigit())
                    };
                    if let Some(hash) = text(field).filter(is_hash) {
                        check(hash, field);
                    }
                }
                // In ECS the host of a URL, in OCSF the URL.
                for field in URLS {
                    let Some(url) = text(field).filter(|url| url.starts_with("http")) else {
                        continue;
                    };
                    let host = url.split("://").nth(1).unwrap();
                    let host = host.split(['/', '?', '#']).next().unwrap();
                    let host = host.rsplit('@').next().unwrap();
                    let is_plain = |it: char| it.is_ascii_alphanumeric() || ".-".contains(it);
                    if host.contains('.') && host.chars().all(is_plain) {
                        seen += 1;
                        if !ecs.contains(&host.to_lowercase()) {
                            missing.push(format!("{} ecs: {field} {host}", row.name));
                        }
                        if !ocsf.contains(&url.to_lowercase()) {
                            missing.push(format!("{} ocsf: {field} {url}", row.name));
                        }
                    }
                }
            }
        }
    }
    assert!(seen > 300, "{seen} values");
    assert!(
        missing.is_empty(),
        "{} of {seen} are missing:\n{}",
        missing.len(),
        missing.join("\n")
    );
}
