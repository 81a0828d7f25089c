//! Transcodes JSON text to protobuf's `AnyValue`, in one pass and without a tree of values.

use std::fmt;

use prost::bytes::BufMut as _;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// Maximum number of names of one object that are compared with each other. Objects of events have
/// 40 at most.
const NAMES_MAX: usize = 64;

/// A hash of a name. If two names of an object have the same hash, the event is parsed to a tree
/// instead, so the hash need not be a good one.
type NameHash = u64;

/// Appends a length-delimited field: its key, the length of what `write` appends, and that.
pub(super) fn message<T>(body: &mut Vec<u8>, tag: u32, write: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    encode_key(tag, WireType::LengthDelimited, body);
    // Most messages are shorter than 128 bytes, so that their length takes one byte. Longer ones are
    // moved.
    let start = body.len();
    body.push(0);
    let result = write(body);
    let length = u64::try_from(body.len() - start - 1).unwrap_or(u64::MAX);
    match (u8::try_from(length), body.get_mut(start)) {
        (Ok(length), Some(byte)) if length < 0x80 => *byte = length,
        _ => {
            let mut bytes = Vec::with_capacity(encoded_len_varint(length));
            encode_varint(length, &mut bytes);
            body.splice(start..=start, bytes);
        }
    }
    result
}

/// Appends a field with a text.
pub(super) fn string_field(body: &mut Vec<u8>, tag: u32, text: &str) {
    encode_key(tag, WireType::LengthDelimited, body);
    encode_varint(u64::try_from(text.len()).unwrap_or(u64::MAX), body);
    body.extend_from_slice(text.as_bytes());
}

/// Appends a text as the fields of an `AnyValue`.
pub(super) fn string_value(body: &mut Vec<u8>, value: &str) {
    string_field(body, STRING, value);
}

/// Appends an event as an `AnyValue`, or as its text if it is not JSON. Returns whether
/// `event.kind` is `alert`.
pub(super) fn write_event(body: &mut Vec<u8>, tag: u32, json: &str) -> bool {
    message(body, tag, |body| {
        let start = body.len();
        if let Some(is_alert) = write_in_one_pass(body, json) {
            return is_alert;
        }
        body.truncate(start);
        // Of members with the same name the last one counts, and only that one is in the tree.
        if let Ok(value) = serde_json::from_str::<Value>(json) {
            let mut is_alert = false;
            let writer = Writer {
                names_are_unique: true,
                ..Writer::new(body, &mut is_alert)
            };
            if writer.deserialize(value).is_ok() {
                return is_alert;
            }
            body.truncate(start);
        }
        string_field(body, STRING, json);
        false
    })
}

/// Appends an event like [`write_event`]; `None` if it is not JSON, or if an object
/// has a name twice (by its hash) or more than `NAMES_MAX` names.
fn write_in_one_pass(body: &mut Vec<u8>, json: &str) -> Option<bool> {
    let mut is_alert = false;
    let mut reader = serde_json::Deserializer::from_str(json);
    let writer = Writer::new(body, &mut is_alert);
    writer.deserialize(&mut reader).ok()?;
    reader.end().ok()?;
    Some(is_alert)
}

// The fields of `AnyValue`.
const STRING: u32 = 1;
const BOOL: u32 = 2;
const INT: u32 = 3;
const DOUBLE: u32 = 4;
const ARRAY: u32 = 5;
const KEY_VALUES: u32 = 6;

/// The field of the elements in `ArrayValue` and `KeyValueList`.
const VALUES: u32 = 1;

// The fields of `KeyValue`.
pub(super) const KEY: u32 = 1;
pub(super) const VALUE: u32 = 2;

/// The path of a value in an event, as far as it is needed to find `event.kind`.
#[derive(Clone, Copy, PartialEq)]
enum JsonPath {
    Root,
    Event,
    EventKind,
    Other,
}

impl JsonPath {
    /// Returns the path of the value of a member.
    fn member(self, name: &str) -> Self {
        match (self, name) {
            (Self::Root, "event") => Self::Event,
            (Self::Event, "kind") => Self::EventKind,
            _ => Self::Other,
        }
    }
}

/// Writes the value that a deserializer reads as the fields of an `AnyValue`.
struct Writer<'b> {
    body: &'b mut Vec<u8>,
    is_alert: &'b mut bool,
    path: JsonPath,
    /// Whether no object has a name twice, so that names need not be compared.
    names_are_unique: bool,
}

impl<'b> Writer<'b> {
    fn new(body: &'b mut Vec<u8>, is_alert: &'b mut bool) -> Self {
        Self {
            body,
            is_alert,
            path: JsonPath::Root,
            names_are_unique: false,
        }
    }

    fn varint(self, tag: u32, value: u64) {
        encode_key(tag, WireType::Varint, self.body);
        encode_varint(value, self.body);
    }
}

impl<'de> DeserializeSeed<'de> for Writer<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Writer<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, on: bool) -> Result<(), E> {
        self.varint(BOOL, u64::from(on));
        Ok(())
    }

    fn visit_f64<E>(self, number: f64) -> Result<(), E> {
        encode_key(DOUBLE, WireType::SixtyFourBit, self.body);
        self.body.put_f64_le(number);
        Ok(())
    }

    fn visit_i64<E>(self, number: i64) -> Result<(), E> {
        self.varint(INT, number.cast_unsigned());
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let Self {
            body,
            is_alert,
            path,
            names_are_unique,
        } = self;
        message(body, KEY_VALUES, |body| {
            let mut names: [NameHash; NAMES_MAX] = [0; NAMES_MAX];
            let mut count = 0;
            loop {
                let start = body.len();
                let is_member = message(body, VALUES, |body| {
                    let key = KeyWriter { body, path };
                    let Some((name, path)) = members.next_key_seed(key)? else {
                        return Ok(false);
                    };
                    if !names_are_unique {
                        let is_repeated = names.iter().take(count).any(|earlier| *earlier == name);
                        match names.get_mut(count) {
                            Some(slot) if !is_repeated => *slot = name,
                            _ => return Err(A::Error::custom("a name twice, or too many")),
                        }
                        count += 1;
                    }
                    message(body, VALUE, |body| {
                        members.next_value_seed(Writer {
                            body,
                            is_alert: &mut *is_alert,
                            path,
                            names_are_unique,
                        })
                    })?;
                    Ok(true)
                })?;
                if !is_member {
                    body.truncate(start);
                    return Ok(());
                }
            }
        })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        let Self {
            body,
            is_alert,
            path: _,
            names_are_unique,
        } = self;
        message(body, ARRAY, |body| {
            loop {
                let start = body.len();
                let element = message(body, VALUES, |body| {
                    elements.next_element_seed(Writer {
                        body,
                        is_alert: &mut *is_alert,
                        path: JsonPath::Other,
                        names_are_unique,
                    })
                })?;
                if element.is_none() {
                    body.truncate(start);
                    return Ok(());
                }
            }
        })
    }

    fn visit_str<E>(self, value: &str) -> Result<(), E> {
        if self.path == JsonPath::EventKind {
            *self.is_alert = value == "alert";
        }
        string_field(self.body, STRING, value);
        Ok(())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<(), E> {
        match i64::try_from(number) {
            Ok(number) => self.visit_i64(number),
            // Too large for an integer of `AnyValue`.
            Err(_) => self.visit_f64(Value::from(number).as_f64().unwrap_or(f64::NAN)),
        }
    }

    /// Writes nothing: null is an `AnyValue` without a field.
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// Writes the name of a member. Returns its hash, and the path of its value.
struct KeyWriter<'b> {
    body: &'b mut Vec<u8>,
    path: JsonPath,
}

impl<'de> DeserializeSeed<'de> for KeyWriter<'_> {
    type Value = (NameHash, JsonPath);

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Self::Value, D::Error> {
        reader.deserialize_str(self)
    }
}

impl Visitor<'_> for KeyWriter<'_> {
    type Value = (NameHash, JsonPath);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        string_field(self.body, KEY, name);
        // FNV-1a.
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Ok((hash, self.path.member(name)))
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
    use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, KeyValueList};
    use prost::Message as _;

    use super::*;

    /// The message that a tree of values becomes.
    fn any(value: Value) -> AnyValue {
        let value = match value {
            Value::Array(values) => Some(Any::ArrayValue(ArrayValue {
                values: values.into_iter().map(any).collect(),
            })),
            Value::Bool(on) => Some(Any::BoolValue(on)),
            Value::Null => None,
            Value::Number(number) => Some(match number.as_i64() {
                Some(whole) => Any::IntValue(whole),
                None => Any::DoubleValue(number.as_f64().unwrap()),
            }),
            Value::Object(members) => {
                let pair = |(key, value)| KeyValue {
                    key,
                    value: Some(any(value)),
                    ..KeyValue::default()
                };
                Some(Any::KvlistValue(KeyValueList {
                    values: members.into_iter().map(pair).collect(),
                }))
            }
            Value::String(text) => Some(Any::StringValue(text)),
        };
        AnyValue { value }
    }

    fn written(json: &str) -> (AnyValue, bool) {
        let mut body = Vec::new();
        let is_alert = write_event(&mut body, 5, json);
        let (tag, message) = body.split_first().unwrap();
        assert_eq!(*tag, 5 << 3 | 2);
        (
            AnyValue::decode_length_delimited(message).unwrap(),
            is_alert,
        )
    }

    #[test]
    fn every_event_is_the_message_of_its_values() {
        let long = "x".repeat(20_000);
        let many: Vec<String> = (0..200).map(|n| format!("\"n{n:03}\":{n}")).collect();
        for json in [
            r#"{"a":[1,-1,2.5,null,true,false,18446744073709551615,9223372036854775808,1e3]}"#,
            r#"{"":"","b":{"c":{"d":[[],{},[{}]]}},"e":"\u00e9\n\"\ud83d\ude00"}"#,
            r#" {"a" : 1 } "#,
            &format!(r#"{{"a":"{long}","b":{{"c":"{long}","d":["{long}"]}},"e":1}}"#),
            &format!("{{{}}}", many.join(",")),
            r#""text""#,
            "7",
            "null",
            "[]",
        ] {
            let value: Value = serde_json::from_str(json).unwrap();
            assert_eq!(written(json).0, any(value), "{json}");
        }
    }

    #[test]
    fn the_last_of_two_members_with_one_name_counts() {
        let (value, is_alert) =
            written(r#"{"event":{"kind":"event","kind":"alert"},"a":{"b":1,"\u0062":2}}"#);
        let expected = serde_json::json!({"a": {"b": 2}, "event": {"kind": "alert"}});
        assert_eq!(value, any(expected));
        assert!(is_alert);
    }

    #[test]
    fn what_is_no_json_is_a_text() {
        let deep = "[".repeat(1_000);
        for text in ["", "not JSON", r#"{"a":1"#, r#"{"a":1} {"#, "1e999", &deep] {
            let (value, is_alert) = written(text);
            assert_eq!(value.value, Some(Any::StringValue(text.to_owned())));
            assert!(!is_alert);
        }
    }

    #[test]
    fn only_the_kind_of_the_event_makes_an_alert() {
        assert!(written(r#"{"x":0,"event":{"id":"1","kind":"alert"}}"#).1);
        for json in [
            r#"{"event":{"kind":"event"}}"#,
            r#"{"event":{"x":{"kind":"alert"}}}"#,
            r#"{"x":{"event":{"kind":"alert"}},"kind":"alert"}"#,
            r#"{"event":[{"kind":"alert"}]}"#,
            r#"{"event":{"kind":["alert"]}}"#,
        ] {
            assert!(!written(json).1, "{json}");
        }
    }
}
