//! Threat indicators, as STIX objects.

use serde_json::{Value, json};

use super::{FieldGenerator, words};

/// Generates an indicator. The other objects of a file are no records.
pub(crate) fn indicator(generator: &mut FieldGenerator) -> Value {
    let at = generator.at().iso_ms();
    json!({
        "type": "indicator",
        "id": format!("indicator--{}", generator.random.uuid()),
        "created": at,
        "modified": at,
        "labels": ["malicious-activity"],
        "pattern": pattern(generator),
        "valid_from": at,
    })
}

fn pattern(generator: &mut FieldGenerator) -> String {
    let (md5, sha1, sha256) = (
        generator.random.hex(32),
        generator.random.hex(40),
        generator.random.hex(64),
    );
    match if generator.odd_shapes {
        generator.random.below(12)
    } else {
        0
    } {
        0..=5 => format!("[file:hashes.'SHA-256' = '{sha256}']"),
        6 => format!("[file:hashes.MD5 = '{md5}']"),
        7 => format!("[file:hashes.'SHA-1' = '{sha1}' OR file:hashes.'SHA-256' = '{sha256}']"),
        8 => format!(
            "[url:value = 'https://{}/a']",
            generator.pick(words::BAD_DOMAINS)
        ),
        9 => format!(
            "[domain-name:value = '{}']",
            generator.pick(words::BAD_DOMAINS)
        ),
        10 => "[ipv4-addr:value = '203.0.113.9']".to_owned(),
        _ => format!(
            "[email-addr:value = 'pay@{}']",
            generator.pick(words::BAD_DOMAINS)
        ),
    }
}
