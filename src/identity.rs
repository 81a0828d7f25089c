//! The identity of a record: a hash of its stream and its canonical form.

use crate::field::FieldName;
use core::fmt;
use std::borrow::Cow;

use crate::decode::json::{self, Kind, Member};
use crate::decode::unescape::unescape_into;
use crate::encode::push_escaped;
use crate::record::Record;
use crate::stream::Stream;

/// The identity of a record: 128 bits of BLAKE3 over the name of the stream, a line feed and the
/// canonical record. Prints as 32 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId([u8; 16]);

/// The id of the event that a record becomes. Prints as 32 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct EventId([u8; 16]);

/// The members that describe the transport of a record and not its contents.
const TRANSPORT: [&str; 2] = ["_offset", "_partition"];

impl RecordId {
    /// Returns the identity with these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Returns the id of the event that a record becomes.
    ///
    /// `occurrence` counts, from 1, equal records of one page; `tenant` is the setting of that
    /// name. Without a tenant the first occurrence keeps the identity of the record.
    #[must_use]
    pub fn to_event_id(&self, occurrence: u32, tenant: Option<&str>) -> EventId {
        EventId(self.derive(occurrence, tenant))
    }

    /// Returns the identity of an occurrence of this record, counted from 1: that of the first is
    /// the record's own.
    #[must_use]
    pub fn of_occurrence(&self, occurrence: u32) -> Self {
        Self(self.derive(occurrence, None))
    }

    fn derive(&self, occurrence: u32, tenant: Option<&str>) -> [u8; 16] {
        if occurrence == 1 && tenant.is_none() {
            return self.0;
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.0);
        hasher.update(&occurrence.to_le_bytes());
        hasher.update(tenant.unwrap_or_default().as_bytes());
        first_128_bits(&hasher.finalize())
    }

    /// Returns the bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Returns a hash of bytes as they are, for records that were repaired and for what is no record.
    #[must_use]
    pub fn hash_bytes(stream: Stream, bytes: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(stream.name().as_bytes());
        hasher.update(b"\n\xff");
        hasher.update(bytes);
        Self(first_128_bits(&hasher.finalize()))
    }

    /// Appends the 32 digits.
    pub fn write(&self, out: &mut String) {
        push_digits(&self.0, out);
    }
}

/// Returns the first 128 bits of a hash.
fn first_128_bits(hash: &blake3::Hash) -> [u8; 16] {
    hash.as_bytes().first_chunk().copied().unwrap_or_default()
}

impl EventId {
    /// Appends the 32 digits.
    pub fn write(&self, out: &mut String) {
        push_digits(&self.0, out);
    }
}

fn push_digits(bytes: &[u8; 16], out: &mut String) {
    let mut digits = [0; 32];
    let (words, _) = bytes.as_chunks();
    for (to, word) in digits.as_chunks_mut().0.iter_mut().zip(words) {
        *to = hex_digits(u32::from_be_bytes(*word)).to_be_bytes();
    }
    out.push_str(str::from_utf8(&digits).unwrap_or_default());
}

/// Returns the eight digits of a number, one in each byte. All at once: digit by digit it takes
/// five times as many instructions.
fn hex_digits(number: u32) -> u64 {
    let spread = u64::from(number);
    let spread = (spread | spread << 16) & 0x0000_ffff_0000_ffff;
    let spread = (spread | spread << 8) & 0x00ff_00ff_00ff_00ff;
    let nibbles = (spread | spread << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    // One in each byte whose digit is a letter: 10 and 6 make 16.
    let letters = (nibbles + 0x0606_0606_0606_0606) >> 4 & 0x0101_0101_0101_0101;
    nibbles + 0x3030_3030_3030_3030 + letters * u64::from(b'a' - b'0' - 10)
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&EventId(self.0), f)
    }
}

impl Record<'_> {
    /// Returns the identity of this record. Neither the order of members, nor white space, nor the
    /// way strings are escaped, nor the transport fields make a difference.
    ///
    /// The canonical form is JSON with the names of every object sorted by their bytes, without
    /// white space, with strings as `serde_json` writes them and numbers as they stand; of
    /// members with one name the last counts.
    #[must_use]
    pub fn id(&self) -> RecordId {
        let hash = if self.scanned_object().canonical {
            let [a, b, c] = self.parts_without_transport();
            hash_pieces([self.stream().name(), "\n", a, b, c])
        } else {
            let name = self.stream().name();
            let mut out = String::with_capacity(name.len() + 1 + self.text().len());
            out.push_str(name);
            out.push('\n');
            let (input, members) = (self.input(), self.members());
            match self.canonical_order() {
                // White space or nested objects only: no member has to move.
                _ if self.scanned_object().sorted => {
                    let transport = FieldName::TRANSPORT.map(|name| self.position(name));
                    let members = members.iter().enumerate();
                    let others = members.filter(|(at, _)| !transport.contains(&Some(*at)));
                    push_sorted_object(&mut out, input, others.map(|(_, member)| *member));
                }
                Some(places) => {
                    let in_order = places.iter().filter_map(|at| members.get(usize::from(*at)));
                    push_sorted_object(&mut out, input, in_order.copied());
                }
                None => push_object(&mut out, input, members, true),
            }
            blake3::hash(out.as_bytes())
        };
        RecordId(first_128_bits(&hash))
    }

    /// Returns the parts of the text, which is canonical, between the transport fields.
    fn parts_without_transport(&self) -> [&str; 3] {
        let (input, members) = (self.input(), self.members());
        // The position of a name's opening quote; a comma or the brace is before it.
        let quote_at = |member: &Member| member.key.start().saturating_sub(1);
        let end = self.scanned_object().span.start() + self.text().len();
        let mut start = self.scanned_object().span.start();
        let mut parts_without_transport = [""; 3];
        for (part, name) in parts_without_transport.iter_mut().zip(FieldName::TRANSPORT) {
            let Some(at) = self.position(name) else {
                continue;
            };
            *part = members
                .get(at)
                .and_then(|member| input.get(start..quote_at(member)))
                .unwrap_or_default();
            start = members.get(at + 1).map_or(end, |next| next.key.start());
            start = start.saturating_sub(1);
        }
        let [first, second, last] = &mut parts_without_transport;
        *last = input.get(start..end).unwrap_or_default();
        if *last == "}" {
            let before = if second.is_empty() { first } else { second };
            *before = before.strip_suffix(',').unwrap_or(before);
        }
        parts_without_transport
    }
}

/// How many bytes BLAKE3 takes at once. Records mostly have fewer, and then one call costs less
/// than a hasher with a state.
const CHUNK_BYTES: usize = 1024;

/// Returns the hash of the pieces put together.
fn hash_pieces(pieces: [&str; 5]) -> blake3::Hash {
    let mut chunk = [0; CHUNK_BYTES];
    let mut length = 0;
    for piece in pieces {
        let end = length + piece.len();
        let Some(to) = chunk.get_mut(length..end) else {
            let mut hasher = blake3::Hasher::new();
            for piece in pieces {
                hasher.update(piece.as_bytes());
            }
            return hasher.finalize();
        };
        to.copy_from_slice(piece.as_bytes());
        length = end;
    }
    blake3::hash(chunk.get(..length).unwrap_or_default())
}

/// Appends an object in canonical form whose members come in the order of their names, each once,
/// and whose names have no escapes.
fn push_sorted_object(out: &mut String, text: &str, members: impl Iterator<Item = Member>) {
    out.push('{');
    let mut is_first = true;
    for member in members {
        if !core::mem::replace(&mut is_first, false) {
            out.push(',');
        }
        let (key, value) = (member.key, member.value);
        let quote_bytes = usize::from(member.kind == Kind::String);
        // Nothing but quotes and a colon between name and value.
        if member.canonical && value.start() == key.end() + 2 + quote_bytes {
            let whole = text.get(key.start().saturating_sub(1)..value.end() + quote_bytes);
            out.push_str(whole.unwrap_or_default());
        } else {
            out.push('"');
            out.push_str(key.of(text));
            out.push_str("\":");
            push_value(out, member.kind, value.of(text), member.canonical);
        }
    }
    out.push('}');
}

/// Appends an object in canonical form.
fn push_object(out: &mut String, text: &str, members: &[Member], is_record: bool) {
    let mut names = Vec::with_capacity(members.len());
    for (at, member) in members.iter().enumerate() {
        let name = key(member, text);
        if !(is_record && TRANSPORT.contains(&name.as_ref())) {
            names.push((name, at, member));
        }
    }
    names.sort_unstable_by(|(a, a_at, _), (b, b_at, _)| a.cmp(b).then(a_at.cmp(b_at)));
    out.push('{');
    let mut rest = names.iter().peekable();
    let mut is_first = true;
    while let Some((name, _, member)) = rest.next() {
        if rest.peek().is_some_and(|(next, _, _)| next == name) {
            continue;
        }
        if !core::mem::replace(&mut is_first, false) {
            out.push(',');
        }
        out.push('"');
        match name {
            // It is copied from the text, where nothing in it needs an escape.
            Cow::Borrowed(name) => out.push_str(name),
            Cow::Owned(name) => push_escaped(out, name),
        }
        out.push_str("\":");
        push_value(out, member.kind, member.value.of(text), member.canonical);
    }
    out.push('}');
}

/// Returns the name of a member, copied only where it has escapes.
fn key<'t>(member: &Member, text: &'t str) -> Cow<'t, str> {
    let key = member.key.of(text);
    if !member.key_escaped {
        return Cow::Borrowed(key);
    }
    let mut name = String::new();
    unescape_into(key, &mut name);
    Cow::Owned(name)
}

/// Appends a value in canonical form. The calls are as deep as the value, which the scanner
/// limits.
fn push_value(out: &mut String, kind: Kind, text: &str, canonical: bool) {
    match kind {
        Kind::String => {
            out.push('"');
            if canonical {
                out.push_str(text);
            } else {
                let mut plain = String::with_capacity(text.len());
                unescape_into(text, &mut plain);
                push_escaped(out, &plain);
            }
            out.push('"');
        }
        Kind::Object if !canonical => {
            let mut members = Vec::new();
            // It has been scanned before, as part of the record.
            match json::scan_object(text, &mut members) {
                Ok(scanned_object) if scanned_object.sorted => {
                    push_sorted_object(out, text, members.iter().copied())
                }
                Ok(_) => push_object(out, text, &members, false),
                Err(_) => {}
            }
        }
        Kind::Array if !canonical => {
            out.push('[');
            let mut is_first = true;
            let _already_validated = json::scan_array(text, |element| {
                if !core::mem::replace(&mut is_first, false) {
                    out.push(',');
                }
                push_value(out, element.kind, element.value.of(text), element.canonical);
            });
            out.push(']');
        }
        Kind::Array | Kind::False | Kind::Null | Kind::Number | Kind::Object | Kind::True => {
            out.push_str(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::NAMES;
    use crate::record::Parser;
    use crate::stream::Stream;
    use proptest::prelude::*;
    use serde_json::Value;

    fn id(line: &str) -> RecordId {
        Parser::new().parse(Stream::SiemReceipt, line).unwrap().id()
    }

    /// The definition, by way of `serde_json`, whose maps are sorted.
    fn reference(line: &str) -> RecordId {
        let mut value: serde_json::Map<String, Value> = serde_json::from_str(line).unwrap();
        value.retain(|name, _| !TRANSPORT.contains(&name.as_str()));
        let text = format!("siem.receipt\n{}", Value::from(value));
        let mut id = [0; 16];
        id.copy_from_slice(&blake3::hash(text.as_bytes()).as_bytes()[..16]);
        RecordId(id)
    }

    #[test]
    fn only_what_the_record_says_makes_a_difference() {
        let plain = id(r#"{"_offset":1,"_partition":2,"a":"é/","b":{"c":1,"d":[2]}}"#);
        for same in [
            r#"{"a":"é/","b":{"c":1,"d":[2]}}"#,
            r#"{"a":"\u00e9\/","b":{"c":1,"d":[2]},"_offset":77}"#,
            r#" { "b" : { "d":[ 2], "c":1 } , "a":"é/","_partition":null } "#,
            r#"{"a":"first","\u0061":"é/","b":{"c":0,"c":1,"d":[2]}}"#,
        ] {
            assert_eq!(id(same), plain, "{same}");
            assert_eq!(reference(same), plain, "{same}");
        }
        for other in [
            r#"{"a":"é/","b":{"c":1,"d":[2],"_offset":1}}"#,
            r#"{"a":"é/","b":{"c":1,"d":["2"]}}"#,
        ] {
            assert_ne!(id(other), plain, "{other}");
            assert_eq!(reference(other), id(other), "{other}");
        }
        let other_stream = Parser::new()
            .parse(Stream::SiemSpam, r#"{"a":1}"#)
            .unwrap()
            .id();
        assert_ne!(other_stream, id(r#"{"a":1}"#));
    }

    #[test]
    fn transport_fields_are_left_out_wherever_they_stand() {
        let lines = [
            r#"{"_offset":1}"#,
            r#"{"_offset":1,"_partition":2}"#,
            r#"{"A":1,"_offset":1,"_partition":2}"#,
            r#"{"A":1,"_offset":1,"_p":3,"_partition":2,"z":0}"#,
            r#"{"A":1,"_partition":2}"#,
            r#"{"A":1,"_offset":1,"_partition":2,"z":0}"#,
            r#"{"A":1}"#,
            "{}",
        ];
        for line in lines {
            assert_eq!(id(line), reference(line), "{line}");
        }
        for length in 990..1030 {
            let line = format!(r#"{{"A":"{}","_offset":1}}"#, "x".repeat(length));
            assert_eq!(id(&line), reference(&line), "{length}");
        }
    }

    #[test]
    fn an_event_id_differs_by_occurrence_and_tenant() {
        let base = id(r#"{"a":1}"#);
        assert_eq!(base.to_event_id(1, None), EventId(base.0));
        assert_eq!(base.of_occurrence(1), base);
        assert_eq!(EventId(base.of_occurrence(2).0), base.to_event_id(2, None));
        let mut bytes = base.as_bytes().to_vec();
        bytes.extend([2, 0, 0, 0]);
        bytes.extend(b"acme");
        let expected = EventId(first_128_bits(&blake3::hash(&bytes)));
        assert_eq!(base.to_event_id(2, Some("acme")), expected);
        let ids = [
            base.to_event_id(1, None),
            base.to_event_id(2, None),
            base.to_event_id(1, Some("acme")),
            base.to_event_id(1, Some("acmf")),
            expected,
        ];
        let distinct: std::collections::BTreeSet<_> = ids.iter().map(|id| id.0).collect();
        assert_eq!(distinct.len(), ids.len());
    }

    #[test]
    fn an_event_id_prints_as_digits() {
        let id = EventId([0xab, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 0xff]);
        let mut out = String::new();
        id.write(&mut out);
        assert_eq!(out, "ab0102030405060708090a0b0c0d0eff");
        assert_eq!(id.to_string(), out);
    }

    proptest! {
        #[test]
        fn known_names_make_no_difference_by_their_order(
            members in prop::collection::vec((0..NAMES.len(), json()), 0..40),
            style in any::<bool>(),
        ) {
            let members = members.iter().map(|(name, value)| {
                let value = if style { restyled(value) } else { value.to_string() };
                format!("\"{}\":{value}", NAMES[*name])
            });
            let line = format!("{{{}}}", members.collect::<Vec<_>>().join(","));
            prop_assert_eq!(id(&line), reference(&line), "{}", line);
        }
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-c_é\\\\/]{0,3}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    /// The same JSON written another way: other order, other escapes, white space.
    fn restyled(value: &Value) -> String {
        match value {
            Value::Object(map) => {
                let members = map.iter().rev().map(|(key, value)| {
                    format!(
                        "{} :\t{}",
                        restyled(&Value::from(key.as_str())),
                        restyled(value)
                    )
                });
                format!("{{ {} }}", members.collect::<Vec<_>>().join(" , "))
            }
            Value::Array(list) => {
                format!(
                    "[ {} ]",
                    list.iter().map(restyled).collect::<Vec<_>>().join("\n,")
                )
            }
            Value::String(text) => {
                let units = text.encode_utf16().map(|unit| format!("\\u{unit:04X}"));
                format!("\"{}\"", units.collect::<String>())
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition(
            map in prop::collection::btree_map("(_offset|_partition|[a-c]{0,10})", json(), 0..6)
        ) {
            let value = Value::Object(map.into_iter().collect());
            let line = value.to_string();
            prop_assert_eq!(id(&line), reference(&line));
            prop_assert_eq!(id(&restyled(&value)), reference(&line));
        }
    }
}
