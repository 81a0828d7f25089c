//! What makes a record the same record: a reference implementation, apart from the component's.

use std::fmt::Write as _;

use serde_json::Value;

use crate::records::remediation;

/// The first 16 bytes of BLAKE3 over the stream's name and the canonical record.
pub(crate) type Identity = [u8; 16];

/// Returns the identity of a record of a stream, in lower-case hexadecimal; `None` when it is no
/// object.
///
/// The first 16 bytes of BLAKE3 over the name of the stream, a line feed and the canonical JSON of the
/// record as a collector keeps it: codes of `remediation` redacted, keys sorted at every depth, no white space, no top-level `_offset` and `_partition`.
#[must_use]
pub fn identity(stream: &str, record: &Value) -> Option<String> {
    let record = remediation::without_codes(stream, record);
    let object = record.as_object()?;
    let mut text = Vec::new();
    write_object(
        &mut text,
        object.iter().map(|(key, value)| (key.as_str(), value)),
        true,
    );
    Some(hex(&of_canonical(stream, &text)))
}

/// Returns the identity of a record whose canonical JSON is known.
pub(crate) fn of_canonical(stream: &str, canonical: &[u8]) -> Identity {
    let mut hasher = blake3::Hasher::new();
    hasher.update(stream.as_bytes());
    hasher.update(b"\n");
    hasher.update(canonical);
    let mut identity = Identity::default();
    for (to, from) in identity.iter_mut().zip(hasher.finalize().as_bytes()) {
        *to = *from;
    }
    identity
}

/// Returns the id of the first event of a record, by its identity in hexadecimal, for a tenant.
#[must_use]
pub fn first_event_id(identity: &str, tenant: &str) -> String {
    let digits = identity.as_bytes().as_chunks::<2>().0;
    let byte = |pair: &[u8; 2]| {
        let text = core::str::from_utf8(pair).unwrap_or_default();
        u8::from_str_radix(text, 16).unwrap_or_default()
    };
    let mut bytes: Vec<u8> = digits.iter().map(byte).collect();
    bytes.extend(1_u32.to_le_bytes());
    bytes.extend(tenant.as_bytes());
    let hash = blake3::hash(&bytes);
    hex(hash.as_bytes().split_at(16).0)
}

/// Formats bytes as lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Returns whether a top-level key is about the transport of a record, and not about the record.
pub(crate) fn is_transport_key(key: &str) -> bool {
    key == "_offset" || key == "_partition"
}

/// Writes a value with sorted keys and without white space.
pub(crate) fn write_canonical(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Object(object) => {
            write_object(
                out,
                object.iter().map(|(key, value)| (key.as_str(), value)),
                false,
            );
        }
        Value::Array(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_canonical(out, item);
            }
            out.push(b']');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            // A scalar has nothing that could fail, nor has writing to a Vec.
            let _ = serde_json::to_writer(out, value);
        }
    }
}

fn write_object<'a>(
    out: &mut Vec<u8>,
    fields: impl Iterator<Item = (&'a str, &'a Value)>,
    top: bool,
) {
    let mut fields: Vec<_> = fields
        .filter(|(key, _)| !(top && is_transport_key(key)))
        .collect();
    fields.sort_unstable_by_key(|(key, _)| *key);
    out.push(b'{');
    for (index, (key, value)) in fields.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        // As above.
        let _ = serde_json::to_writer(&mut *out, key);
        out.push(b':');
        write_canonical(out, value);
    }
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_white_space_and_transport_fields_do_not_matter() {
        let one = r#"{"b":{"y":1,"x":[{"d":2,"c":"\u00e9"}]},"a":null,"_offset":7,"_partition":1}"#;
        let two = r#"{ "a" : null, "b" : { "x" : [ { "c" : "é", "d" : 2 } ], "y" : 1 } }"#;
        let parse = |text| serde_json::from_str::<Value>(text).unwrap();
        assert_eq!(
            identity("siem.receipt", &parse(one)),
            identity("siem.receipt", &parse(two))
        );
        assert_ne!(
            identity("siem.receipt", &parse(one)),
            identity("siem.av", &parse(two))
        );
    }

    #[test]
    fn it_is_blake3_over_the_name_and_the_canonical_text() {
        let record = serde_json::json!({"timestamp": 1, "a": "x", "_offset": 3});
        let expected = blake3::hash(b"audit\n{\"a\":\"x\",\"timestamp\":1}");
        assert_eq!(
            identity("audit", &record).unwrap(),
            expected.to_hex().get(..32).unwrap()
        );
    }
}
