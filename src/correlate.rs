//! Correlates two records about one message: Cloud Integrated reports what it found and how the
//! message was authenticated in separate streams. The second record gets members of the first.
//!
//! No event is delayed or merged: each record stays one event with its own identity. The members of a
//! record are in one of [`SLOTS`] slots, by message, until another message takes the slot, so a
//! counterpart that never comes costs nothing.

use crate::decode::json::Kind;
use crate::field::{self, FieldName};
use crate::record::Record;
use crate::stream::Stream;

/// By stream: the other stream, and the members copied to the records of the other.
#[rustfmt::skip]
const COPIED_FIELDS: [(Stream, Stream, &[FieldName]); 2] = [
    (Stream::CiEntities, Stream::CiMailflow,
        &[field::DIRECTION, field::RECIPIENT, field::RECIPIENTS, field::SENDER_ENVELOPE, field::SENDER_HEADER, field::SENDER_IP, field::SUBJECT]),
    (Stream::CiMailflow, Stream::CiEntities,
        &[field::AUTH_RESULTS]),
];

/// How many records are remembered at most.
pub const SLOTS: usize = 4_096;

/// The most bytes of the members of a record; records with hundreds of recipients exceed it.
const MEMBERS_BYTES_MAX: usize = 2 * 1024;

/// The most bytes of the id of a message; those of Mimecast have fewer than 200.
const ID_BYTES_MAX: usize = 256;

/// The members of the records of the last messages.
pub struct Correlation {
    slots: Vec<CorrelationEntry>,
}

/// The members that one record contributes.
#[derive(Clone, Default)]
struct CorrelationEntry {
    /// The id of the message.
    id: String,
    members: String,
}

impl Default for Correlation {
    fn default() -> Self {
        Self {
            slots: vec![CorrelationEntry::default(); SLOTS],
        }
    }
}

impl Correlation {
    /// Stores the members of a record that its counterpart will need, and returns those that the
    /// counterpart has stored, if any.
    pub fn exchange_members(&mut self, record: &Record<'_>) -> Option<&str> {
        let (stream, other, names) = COPIED_FIELDS
            .iter()
            .find(|(stream, ..)| *stream == record.stream())?;
        let id = record.get(field::AGGREGATE_ID)?;
        if id.kind != Kind::String || !(1..=ID_BYTES_MAX).contains(&id.text.len()) {
            return None;
        }
        let members = members(record, names);
        if !members.is_empty() && members.len() <= MEMBERS_BYTES_MAX {
            *self.slots.get_mut(slot_of(*stream, id.text))? = CorrelationEntry {
                id: id.text.to_owned(),
                members,
            };
        }
        let counterpart = self.slots.get(slot_of(*other, id.text))?;
        (counterpart.id == id.text).then_some(counterpart.members.as_str())
    }
}

/// Returns the slot of a message in a stream, by FNV-1a. Each stream has every other slot.
fn slot_of(stream: Stream, id: &str) -> usize {
    let hash = id.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    let offset = usize::from(stream == Stream::CiEntities);
    usize::try_from(hash).unwrap_or(0) % (SLOTS / 2) * 2 + offset
}

/// Returns the members of these names as they are in the record, each with a comma after it.
fn members(record: &Record<'_>, names: &[FieldName]) -> String {
    let mut members = String::new();
    for &name in names {
        let Some(value) = record.get(name) else {
            continue;
        };
        if value.kind == Kind::Null {
            continue;
        }
        let quote = value.kind.quote();
        for piece in ["\"", name.spelling(), "\":", quote, value.text, quote, ","] {
            members.push_str(piece);
        }
    }
    members
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::batch::{Batch, Builder, Limits, NextPoll, OfferResult, RawRecord, RecordProcessor};
    use crate::normalize::{Format, Options};
    use crate::record::Parser;
    use crate::testing::{API, Host, Upstream};
    use crate::time::Timestamp;

    const ENTITIES: &str = r#"{"aggregateId":"m1_1","type":"entities","timestamp":1770091506789,"senderHeader":"ann@example.com","senderEnvelope":"ann@example.com","recipients":["bob@corp.example.test"],"subject":"say \"hi\"","threatType":"MALWARE"}"#;
    const MAILFLOW: &str = r#"{"aggregateId":"m1_1","type":"mailflow","timestamp":1770091506790,"authResults":[{"type":"SPF","result":"pass","aligned":true},{"type":"DKIM","result":"fail","aligned":null}]}"#;
    const ENTITIES_FIRST: [(Stream, &str); 2] = [
        (Stream::CiEntities, ENTITIES),
        (Stream::CiMailflow, MAILFLOW),
    ];
    const MAILFLOW_FIRST: [(Stream, &str); 2] = [ENTITIES_FIRST[1], ENTITIES_FIRST[0]];

    fn batch_of(format: Format, correlates: bool, records: &[(Stream, &str)]) -> Batch {
        let options = Options {
            include_original: true,
            ..Options::default()
        };
        let mut processor = RecordProcessor::new(format, options);
        if correlates {
            processor.enable_correlation();
        }
        let mut batch = Builder::new(Limits {
            max_events: 1_000,
            max_bytes: 1 << 20,
            max_requests: 1,
        });
        for (stream, text) in records {
            let record = RawRecord::new(*stream, text.as_bytes());
            let now = Timestamp::from_millis(1_770_091_600_000);
            let offer = batch.offer(&mut processor, record, None, now, &String::new);
            assert_eq!(offer, OfferResult::Consumed);
        }
        batch.finish(String::new(), NextPoll::Now)
    }

    fn events(batch: &Batch) -> Vec<Value> {
        let events = batch.events.lines();
        events
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    #[test]
    fn the_second_record_of_a_message_gets_members_of_the_first() {
        let ecs = events(&batch_of(Format::Ecs, true, &MAILFLOW_FIRST));
        assert_eq!(ecs[1]["mimecast"]["auth"]["dkim"], "fail");
        assert_eq!(ecs[1]["event"]["original"], ENTITIES);
        let ecs = events(&batch_of(Format::Ecs, true, &ENTITIES_FIRST));
        assert_eq!(ecs[1]["email"]["from"]["address"][0], "ann@example.com");
        assert_eq!(ecs[1]["email"]["subject"], "say \"hi\"");
        assert_eq!(ecs[1]["event"]["original"], MAILFLOW);
        let ocsf = events(&batch_of(Format::Ocsf, true, &MAILFLOW_FIRST));
        assert!(ocsf[1]["email_auth"]["spf"].is_string(), "{}", ocsf[1]);
        // With a sender it describes a message.
        let ocsf = events(&batch_of(Format::Ocsf, true, &ENTITIES_FIRST));
        assert_eq!(ocsf[1]["class_uid"], 4009);
    }

    #[test]
    fn correlation_changes_neither_identities_nor_counts() {
        for format in [Format::Ecs, Format::Ocsf, Format::Raw] {
            for records in [ENTITIES_FIRST, MAILFLOW_FIRST] {
                let (with, without) = (
                    batch_of(format, true, &records),
                    batch_of(format, false, &records),
                );
                let id = |event: &Value| {
                    let places = ["/event/id", "/metadata/uid", "/id"];
                    let found = places.iter().find_map(|place| event.pointer(place));
                    found.unwrap().clone()
                };
                let ids = |batch: &Batch| events(batch).iter().map(id).collect::<Vec<_>>();
                assert_eq!(ids(&with), ids(&without));
                assert_eq!(with.stats, without.stats);
                let times = |batch: &Batch| {
                    let entries = batch.index.iter();
                    entries.map(|entry| entry.occurred_at).collect::<Vec<_>>()
                };
                assert_eq!(times(&with), times(&without));
                assert_eq!(with.events == without.events, format == Format::Raw);
            }
        }
    }

    #[test]
    fn records_of_other_messages_and_streams_are_left_alone() {
        let other = MAILFLOW.replace("m1_1", "m2_1");
        let nameless = MAILFLOW.replace("\"m1_1\"", "null");
        let records = [
            (Stream::CiMailflow, other.as_str()),
            (Stream::CiMailflow, nameless.as_str()),
            (Stream::SiemReceipt, MAILFLOW),
            (Stream::CiEntities, ENTITIES),
        ];
        let with = batch_of(Format::Ecs, true, &records);
        assert_eq!(with.events, batch_of(Format::Ecs, false, &records).events);
    }

    #[test]
    fn what_is_remembered_is_bounded_and_the_last_is_there() {
        let mut correlation = Correlation::default();
        let mut parser = Parser::new();
        // The ids of every eighth message are too long.
        let id_padding = |message| "x".repeat(if message % 8 == 5 { ID_BYTES_MAX } else { 200 });
        for message in 0..20_000 {
            let padding = "x".repeat(message % 4 * 1_000);
            let id_padding = id_padding(message);
            let text = format!(
                r#"{{"aggregateId":"m{message}{id_padding}","authResults":[{{"type":"SPF","result":"{padding}"}}]}}"#
            );
            let record = parser.parse(Stream::CiMailflow, &text).unwrap();
            assert!(correlation.exchange_members(&record).is_none());
        }
        let lengths = correlation.slots.iter().map(|entry| entry.members.len());
        assert_eq!(lengths.clone().count(), SLOTS);
        assert!((2_000..=MEMBERS_BYTES_MAX).contains(&lengths.max().unwrap()));
        let id_lengths = correlation.slots.iter().map(|entry| entry.id.len());
        assert!((200..=ID_BYTES_MAX).contains(&id_lengths.max().unwrap()));
        let mut is_known = |message| {
            let id_padding = id_padding(message);
            let text = format!(
                r#"{{"aggregateId":"m{message}{id_padding}","subject":"one of the last"}}"#
            );
            let record = parser.parse(Stream::CiEntities, &text).unwrap();
            correlation.exchange_members(&record).is_some()
        };
        assert!(is_known(19_998));
        // The members of every fourth message are too long as well.
        let is_too_long = |message: &usize| message % 4 == 3 || message % 8 == 5;
        for message in (19_900..20_000).filter(is_too_long) {
            assert!(!is_known(message), "{message}");
        }
        let last = (19_900..20_000).filter(|message| !is_too_long(message));
        assert!(last.filter(|message| is_known(*message)).count() > 55);
        assert!(!is_known(20_000) && !is_known(1));
    }

    #[test]
    fn a_source_correlates_only_with_the_setting() {
        for (setting, expected) in [("", 0), (r#","correlate":true"#, 1)] {
            let mut upstream = Upstream::new();
            upstream.add_file("entities", 1);
            upstream.add_file("mailflow", 1);
            for (file, record) in [("entities", ENTITIES), ("mailflow", MAILFLOW)] {
                upstream.files.get_mut(file).unwrap()[0] = record.to_owned();
            }
            let mut host = Host::with_settings(format!(
                r#"{{"base_url":"{API}","client_id":"id-9","client_secret":"hush-9","streams":["ci"]{setting}}}"#
            ));
            let mut both = 0;
            for _ in 0..9 {
                let batch = host.poll_without_storing(&mut upstream).unwrap();
                let events = events(&batch).into_iter();
                both += events
                    .filter(|event| {
                        event["mimecast"]["auth"].is_object() && event["email"]["from"].is_object()
                    })
                    .count();
            }
            assert_eq!(both, expected, "{setting}");
        }
    }
}
