//! A Forward frame: events in MessagePack in PackedForward mode, with the chunk id that the
//! receiver acknowledges.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rmp::encode;
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::compress::gzip;
use crate::{Event, UndeliverableEvent};

/// The extension type of an event time.
const EVENT_TIME: [u8; 2] = [0xd7, 0x00]; // fixext 8, type 0
const ARRAY_16: u8 = 0xdc;
const ARRAY_32: u8 = 0xdd;
const MAP_16: u8 = 0xde;
const MAP_32: u8 = 0xdf;
/// Length of a chunk id: 16 bytes of a hash are as unique as 16 random bytes.
const CHUNK_ID_BYTES: usize = 16;

/// A serialized frame.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) bytes: Vec<u8>,
    /// The chunk id, which the receiver's acknowledgement repeats. It depends on the tag and
    /// the events alone, so a retry has the same.
    pub(super) chunk_id: String,
}

/// Packs events with a tag. Events that are larger than `event_bytes_max` or not JSON objects are left
/// out and returned, with their indexes.
pub(super) fn pack(
    tag: &str,
    events: &[Event<'_>],
    event_bytes_max: usize,
    compress: bool,
) -> std::io::Result<(Frame, Vec<UndeliverableEvent>)> {
    let bytes: usize = events.iter().map(|event| event.body.len() + 16).sum();
    let mut entries = Vec::with_capacity(bytes);
    let mut undeliverable_events = Vec::new();
    for (index, event) in events.iter().enumerate() {
        let begin = entries.len();
        let bytes = event.body.len();
        let packed = if bytes > event_bytes_max {
            Err(format!(
                "it has {bytes} bytes; event_kib_max stands for {event_bytes_max}"
            ))
        } else {
            pack_event(&mut entries, event)
        };
        if let Err(reason) = packed {
            entries.truncate(begin);
            undeliverable_events.push(UndeliverableEvent { index, reason });
        }
    }
    let count = events.len().saturating_sub(undeliverable_events.len());
    let chunk_id = chunk_id(tag, &entries);
    if compress {
        entries = gzip(&entries)?;
    }
    let bytes = frame(tag, &entries, count, &chunk_id, compress)?;
    Ok((Frame { bytes, chunk_id }, undeliverable_events))
}

fn chunk_id(tag: &str, entries: &[u8]) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(tag.as_bytes());
    hasher.update(&[0]);
    hasher.update(entries);
    let digest = hasher.finalize();
    STANDARD.encode(digest.as_bytes().get(..CHUNK_ID_BYTES).unwrap_or_default())
}

/// Writes `[tag, entries, {chunk, size, compressed}]`.
fn frame(
    tag: &str,
    entries: &[u8],
    count: usize,
    chunk_id: &str,
    compressed: bool,
) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(entries.len() + tag.len() + 96);
    encode::write_array_len(&mut bytes, 3)?;
    encode::write_str(&mut bytes, tag)?;
    encode::write_bin(&mut bytes, entries)?;
    encode::write_map_len(&mut bytes, if compressed { 3 } else { 2 })?;
    encode::write_str(&mut bytes, "chunk")?;
    encode::write_str(&mut bytes, chunk_id)?;
    encode::write_str(&mut bytes, "size")?;
    encode::write_uint(&mut bytes, u64::try_from(count).unwrap_or(u64::MAX))?;
    if compressed {
        encode::write_str(&mut bytes, "compressed")?;
        encode::write_str(&mut bytes, "gzip")?;
    }
    Ok(bytes)
}

/// Writes `[time, record]`.
fn pack_event(out: &mut Vec<u8>, event: &Event<'_>) -> Result<(), String> {
    out.push(0x92); // an array of two
    out.extend_from_slice(&EVENT_TIME);
    let seconds = event.occurred_at.div_euclid(1_000);
    let nanoseconds = event.occurred_at.rem_euclid(1_000) * 1_000_000;
    // Event times cover 1970 to 2106; others are clamped.
    let seconds = u32::try_from(seconds.max(0)).unwrap_or(u32::MAX);
    let nanoseconds = u32::try_from(nanoseconds).unwrap_or(0);
    out.extend_from_slice(&seconds.to_be_bytes());
    out.extend_from_slice(&nanoseconds.to_be_bytes());
    let begin = out.len();
    let mut json = serde_json::Deserializer::from_str(event.body);
    Transcode(out)
        .deserialize(&mut json)
        .and_then(|()| json.end())
        .map_err(|error| format!("it is not JSON: {error}"))?;
    // Fluentd and Fluent Bit accept only maps as records.
    match out.get(begin) {
        Some(&(MAP_16 | MAP_32)) => Ok(()),
        _ => Err("it is not a JSON object".to_owned()),
    }
}

/// Transcodes the deserialized JSON value to MessagePack in one pass.
struct Transcode<'a>(&'a mut Vec<u8>);

impl<'de> DeserializeSeed<'de> for Transcode<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// Starts a collection. MessagePack has the length at the start, and JSON reveals it only at the end,
/// so a 16-bit length, which may have leading zeros, is reserved and filled in afterwards.
fn begin_collection(out: &mut Vec<u8>, marker: u8) -> usize {
    out.extend_from_slice(&[marker, 0, 0]);
    out.len()
}

/// Fills in the length of a collection whose members begin at `begin`. If there are
/// more than 65,535 of them, room for a 32-bit length is inserted.
fn end_collection<E: de::Error>(
    out: &mut Vec<u8>,
    begin: usize,
    wide_marker: u8,
    count: usize,
) -> Result<(), E> {
    let room = begin.saturating_sub(2)..begin;
    if let Ok(length) = u16::try_from(count) {
        out.splice(room, length.to_be_bytes());
        return Ok(());
    }
    let length = u32::try_from(count)
        .map_err(|_| E::custom("more than 4,294,967,295 members in one collection"))?;
    out.splice(room, length.to_be_bytes());
    if let Some(marker) = out.get_mut(begin.saturating_sub(3)) {
        *marker = wide_marker;
    }
    Ok(())
}

/// Converts the result of a write to memory, which cannot fail for less than 4 GiB.
fn write_result<T, E: de::Error>(result: Result<T, impl fmt::Display>) -> Result<(), E> {
    result.map(|_| ()).map_err(E::custom)
}

impl<'de> Visitor<'de> for Transcode<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<(), E> {
        write_result(encode::write_bool(self.0, value))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<(), E> {
        write_result(encode::write_f64(self.0, value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<(), E> {
        write_result(encode::write_sint(self.0, value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<(), E> {
        write_result(encode::write_uint(self.0, value))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<(), E> {
        write_result(encode::write_str(self.0, value))
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        write_result(encode::write_nil(self.0))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let begin = begin_collection(self.0, MAP_16);
        let mut count = 0;
        while map.next_key_seed(Transcode(self.0))?.is_some() {
            map.next_value_seed(Transcode(self.0))?;
            count += 1;
        }
        end_collection(self.0, begin, MAP_32, count)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let begin = begin_collection(self.0, ARRAY_16);
        let mut count = 0;
        while list.next_element_seed(Transcode(self.0))?.is_some() {
            count += 1;
        }
        end_collection(self.0, begin, ARRAY_32, count)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use proptest::prelude::*;
    use rmpv::Value;

    use super::*;

    fn event(body: &str) -> Event<'_> {
        Event {
            body,
            occurred_at: 1_770_091_506_789,
            kind: "",
            stream: "",
            namespace: "test",
        }
    }

    fn read(bytes: &[u8]) -> Value {
        rmpv::decode::read_value(&mut &*bytes).unwrap()
    }

    fn to_json(value: &Value) -> serde_json::Value {
        match value {
            Value::Map(pairs) => pairs
                .iter()
                .map(|(key, value)| (key.as_str().unwrap().to_owned(), to_json(value)))
                .collect(),
            Value::Array(values) => values.iter().map(to_json).collect(),
            Value::Nil => serde_json::Value::Null,
            Value::Boolean(on) => (*on).into(),
            Value::String(text) => text.as_str().unwrap().into(),
            Value::F64(number) => (*number).into(),
            Value::Integer(number) => match number.as_u64() {
                Some(number) => number.into(),
                None => number.as_i64().unwrap().into(),
            },
            Value::Binary(_) | Value::Ext(..) | Value::F32(_) => panic!("{value:?}"),
        }
    }

    #[test]
    fn a_frame_is_packed_forward_with_chunk_and_size() {
        let events = [event("{\"a\":1}"), event("{}")];
        let (packed, undeliverable_events) = pack("test.siem", &events, usize::MAX, false).unwrap();
        assert!(undeliverable_events.is_empty());
        let value = read(&packed.bytes);
        let [tag, entries, option] = value.as_array().unwrap().as_slice() else {
            panic!("{value:?}");
        };
        assert_eq!(tag.as_str(), Some("test.siem"));
        assert_eq!(option["chunk"].as_str(), Some(packed.chunk_id.as_str()));
        assert_eq!(option["size"].as_u64(), Some(2));
        let mut entries = entries.as_slice().unwrap();
        let first = rmpv::decode::read_value(&mut entries).unwrap();
        assert_eq!(first[1]["a"].as_u64(), Some(1));
        let (kind, time) = first[0].as_ext().unwrap();
        assert_eq!(kind, 0);
        assert_eq!(time[..4], 1_770_091_506_u32.to_be_bytes());
        assert_eq!(time[4..], 789_000_000_u32.to_be_bytes());
        rmpv::decode::read_value(&mut entries).unwrap();
        assert!(entries.is_empty());
    }

    #[test]
    fn the_same_events_have_the_same_chunk_and_others_another() {
        let chunk_id = |tag, body, compress| {
            pack(tag, &[event(body)], usize::MAX, compress)
                .unwrap()
                .0
                .chunk_id
        };
        let first = chunk_id("a", "{}", false);
        assert_eq!(STANDARD.decode(&first).unwrap().len(), 16);
        assert_eq!(first, chunk_id("a", "{}", true));
        assert_ne!(first, chunk_id("b", "{}", false));
        assert_ne!(first, chunk_id("a", "{\"a\":1}", false));
    }

    #[test]
    fn a_compressed_frame_is_marked_as_compressed() {
        let (packed, _) = pack("a", &[event("{\"a\":1}")], usize::MAX, true).unwrap();
        let value = read(&packed.bytes);
        assert_eq!(value[2]["compressed"].as_str(), Some("gzip"));
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(value[1].as_slice().unwrap())
            .read_to_end(&mut plain)
            .unwrap();
        assert_eq!(read(&plain)[1]["a"].as_u64(), Some(1));
    }

    #[test]
    fn what_is_no_record_is_left_out_and_named() {
        let events = ["[1]", "{}", "{\"a\":", "7"].map(event);
        let (packed, undeliverable_events) = pack("a", &events, usize::MAX, false).unwrap();
        let places: Vec<usize> = undeliverable_events
            .iter()
            .map(|undeliverable| undeliverable.index)
            .collect();
        assert_eq!(places, [0, 2, 3]);
        assert_eq!(read(&packed.bytes)[2]["size"].as_u64(), Some(1));
    }

    #[test]
    fn collections_of_any_number_of_members_are_packed() {
        for count in [65_535_u32, 65_536, 70_000] {
            let list: serde_json::Value = (0..count).collect();
            let map: serde_json::Map<_, _> = (0..count)
                .map(|number| (format!("k{number}"), number.into()))
                .collect();
            // Nested, so that a length that is widened moves what stands around it.
            let body = serde_json::json!({ "a": [list, { "b": map }], "z": 1 });
            let text = body.to_string();
            let (packed, undeliverable_events) =
                pack("a", &[event(&text)], usize::MAX, false).unwrap();
            assert!(undeliverable_events.is_empty(), "{undeliverable_events:?}");
            let entries = read(&packed.bytes);
            assert_eq!(to_json(&read(entries[1].as_slice().unwrap())[1]), body);
        }
        // And the record itself.
        let record: serde_json::Map<_, _> = (0..65_536)
            .map(|number| (format!("k{number}"), number.into()))
            .collect();
        let body = serde_json::Value::from(record);
        let mut out = Vec::new();
        pack_event(&mut out, &event(&body.to_string())).unwrap();
        assert_eq!(to_json(&read(&out)[1]), body);
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(serde_json::Value::from),
            any::<i64>().prop_map(serde_json::Value::from),
            any::<u64>().prop_map(serde_json::Value::from),
            any::<i32>().prop_map(|number| serde_json::Value::from(f64::from(number) / 16.0)),
            ".{0,40}".prop_map(serde_json::Value::from),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(serde_json::Value::from),
                prop::collection::btree_map(".{0,9}", inner, 0..6)
                    .prop_map(|members| members.into_iter().collect::<serde_json::Value>()),
            ]
        })
    }

    proptest! {
        #[test]
        fn every_record_arrives_as_it_was(record in json()) {
            let body = serde_json::json!({ "record": record });
            let mut out = Vec::new();
            pack_event(&mut out, &event(&body.to_string())).unwrap();
            prop_assert_eq!(to_json(&read(&out)[1]), body);
        }
    }
}
