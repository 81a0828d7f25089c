//! Verifies that a batch satisfies the contract. One that does not is
//! never delivered, because its checkpoint could not be trusted either.

use std::collections::BTreeSet;

use serde::de::IgnoredAny;
use source_common::delivery::to_usize;
use source_common::secret::Redactor;

use crate::bindings::{Batch, Description, Limits};
use crate::store::CHECKPOINT_BYTES_MAX;

/// Maximum number of notices; a component has a few per stream, and the host keeps each in the log
/// and the state file.
const NOTICES_MAX: usize = 1_000;
/// How many bytes beyond `max-bytes` the texts of notices, statuses and rejected records may add.
const TEXT_BYTES_ALLOWANCE: u64 = 512 * 1024;
/// How many bytes more the locator and the reason of each rejected record may add, since a component
/// of `pipeline:source` counts its original only.
const REJECTED_BYTES_ALLOWANCE: u64 = 512;
/// Maximum of requests, records or bytes of a poll. Sums over many polls stay far
/// below `u64::MAX`.
const COUNT_MAX: u64 = 1 << 40;

/// Verifies a batch whose texts have been sanitized. The error is a clause
/// about the component. No checkpoint may contain a secret that `credential_detector` detects.
pub fn verify(
    batch: &Batch,
    description: &Description,
    limits: Limits,
    credential_detector: &Redactor,
) -> Result<(), String> {
    verify_limits(batch, limits)?;
    verify_streams(batch, description)?;
    verify_index(batch, description)?;
    verify_events(batch)?;
    verify_stats(batch)?;
    if credential_detector.contains_secret(&batch.checkpoint) {
        return Err("the checkpoint contains a secret of the source".to_owned());
    }
    Ok(())
}

/// Verifies the streams. The host keeps counts and the last notice of each described stream,
/// so other streams are invalid.
fn verify_streams(batch: &Batch, description: &Description) -> Result<(), String> {
    let streams = description.streams.iter();
    let described: BTreeSet<&str> = streams.map(|stream| stream.name.as_str()).collect();
    let rejected = batch.rejected.iter().map(|record| record.stream.as_str());
    let notices = batch.notices.iter().map(|notice| notice.stream.as_str());
    let stats = batch.stats.iter().map(|stats| stats.stream.as_str());
    let statuses = batch.status.iter().map(|status| status.stream.as_str());
    let mut named = rejected
        .chain(notices)
        .chain(stats.clone())
        .chain(statuses.clone());
    if let Some(stream) = named.find(|stream| !described.contains(stream)) {
        return Err(format!("the stream `{stream}` is not described"));
    }
    if let Some(stream) = repeated(statuses) {
        return Err(format!("the status of stream `{stream}` is returned twice"));
    }
    if let Some(stream) = repeated(stats) {
        return Err(format!("the stream `{stream}` is counted twice"));
    }
    Ok(())
}

/// Returns the first name that occurs twice.
fn repeated<'a>(mut names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let mut seen = BTreeSet::new();
    names.find(|name| !seen.insert(*name))
}

fn verify_index(batch: &Batch, description: &Description) -> Result<(), String> {
    let text = batch.events.as_bytes();
    let mut begin = 0;
    for entry in &batch.index {
        let end = to_usize(entry.end);
        // A line has at least `{}` and its `\n`.
        if end < begin + 3 || end.checked_sub(1).and_then(|last| text.get(last)) != Some(&b'\n') {
            return Err(format!(
                "the index entry that ends at {end} is not the end of a line"
            ));
        }
        if usize::from(entry.kind) >= description.kinds.len() {
            return Err(format!("the kind {} is not described", entry.kind));
        }
        begin = end;
    }
    let lines = memchr::memchr_iter(b'\n', text).count();
    if begin != text.len() || lines != batch.index.len() {
        return Err(format!(
            "{lines} lines in {} bytes, but an index of {} entries up to byte {begin}",
            text.len(),
            batch.index.len()
        ));
    }
    Ok(())
}

/// Verifies that each line is a JSON object. Receivers reject a whole request for one that
/// is not, and with it the events of other sources.
fn verify_events(batch: &Batch) -> Result<(), String> {
    let mut lines = batch.events.lines().enumerate();
    match lines.find(|(_, line)| !is_json_object(line)) {
        None => Ok(()),
        Some((place, _)) => Err(format!(
            "line {} of the events is not a JSON object",
            place + 1
        )),
    }
}

fn is_json_object(line: &str) -> bool {
    let is_object = line.trim_start_matches([' ', '\t']).starts_with('{');
    is_object && serde_json::from_str::<IgnoredAny>(line).is_ok()
}

fn verify_stats(batch: &Batch) -> Result<(), String> {
    let mut events = 0_u64;
    let mut rejected = 0_u64;
    for stats in &batch.stats {
        let counts = [
            u64::from(stats.requests),
            stats.received_bytes,
            stats.received,
            stats.events,
            stats.rejected,
            stats.duplicates,
        ];
        if let Some(count) = counts.into_iter().find(|count| *count > COUNT_MAX) {
            return Err(format!(
                "stream {}: a count of {count}; no poll has more than {COUNT_MAX}",
                stats.stream
            ));
        }
        let accounted = sum([stats.events, stats.rejected, stats.duplicates]);
        if Some(stats.received) != accounted {
            return Err(format!(
                "stream {}: {} records received, but {} events + {} rejected + {} duplicates",
                stats.stream, stats.received, stats.events, stats.rejected, stats.duplicates
            ));
        }
        let overflow = || format!("stream {}: the counts of the batch overflow", stats.stream);
        events = sum([events, stats.events]).ok_or_else(overflow)?;
        rejected = sum([rejected, stats.rejected]).ok_or_else(overflow)?;
    }
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    if events != count(batch.index.len()) || rejected != count(batch.rejected.len()) {
        return Err(format!(
            "{events} events and {rejected} rejected records counted, but {} and {} returned",
            batch.index.len(),
            batch.rejected.len()
        ));
    }
    Ok(())
}

fn sum<const N: usize>(counts: [u64; N]) -> Option<u64> {
    counts.into_iter().try_fold(0, u64::checked_add)
}

fn verify_limits(batch: &Batch, limits: Limits) -> Result<(), String> {
    let records = batch.index.len().saturating_add(batch.rejected.len());
    let originals: usize = batch
        .rejected
        .iter()
        .map(|record| record.original.len())
        .sum();
    let bytes = batch.events.len().saturating_add(originals);
    if records > to_usize(limits.max_events) {
        let max = limits.max_events;
        return Err(format!(
            "{records} events and rejected records; the limit is {max}"
        ));
    }
    if u64::try_from(bytes).unwrap_or(u64::MAX) > limits.max_bytes {
        let max = limits.max_bytes;
        return Err(format!(
            "{bytes} bytes of events and rejected records; the limit is {max}"
        ));
    }
    let texts = bytes_of_texts(batch);
    let all = u64::try_from(bytes.saturating_add(texts)).unwrap_or(u64::MAX);
    let rejected = u64::try_from(batch.rejected.len()).unwrap_or(u64::MAX);
    let all_max = limits
        .max_bytes
        .saturating_add(TEXT_BYTES_ALLOWANCE)
        .saturating_add(rejected.saturating_mul(REJECTED_BYTES_ALLOWANCE));
    if all > all_max {
        return Err(format!(
            "{all} bytes with the texts of rejected records and notices; the limit is {all_max}"
        ));
    }
    if batch.notices.len() > NOTICES_MAX {
        let notices = batch.notices.len();
        return Err(format!("{notices} notices; the limit is {NOTICES_MAX}"));
    }
    if batch.checkpoint.len() > CHECKPOINT_BYTES_MAX {
        let bytes = batch.checkpoint.len();
        return Err(format!(
            "a checkpoint of {bytes} bytes; the limit is {CHECKPOINT_BYTES_MAX}"
        ));
    }
    let session = batch.session.as_ref().map_or(0, String::len);
    if session > SESSION_BYTES_MAX {
        return Err(format!(
            "a session of {session} bytes; the limit is {SESSION_BYTES_MAX}"
        ));
    }
    Ok(())
}

/// Upper bound that `pipeline:source` defines.
const SESSION_BYTES_MAX: usize = 16 * 1024;

fn bytes_of_texts(batch: &Batch) -> usize {
    let rejected = batch.rejected.iter();
    let rejected = rejected.flat_map(|one| [one.stream.len(), one.locator.len(), one.reason.len()]);
    let notices = batch.notices.iter();
    let notices = notices.flat_map(|one| [one.stream.len(), one.detail.len()]);
    let status = batch.status.iter();
    let status = status.flat_map(|one| [one.stream.len(), one.detail.len()]);
    let texts = rejected.chain(notices).chain(status);
    texts.fold(0, usize::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bindings::{
        Entry, Kind, NextPoll, Notice, NoticeKind, Order, RejectedRecord, StreamDescription,
        StreamStats,
    };

    const LIMITS: Limits = Limits {
        max_events: 10,
        max_bytes: 1_000,
        max_requests: 1,
    };

    fn description() -> Description {
        Description {
            name: "test".to_owned(),
            namespace: "test".to_owned(),
            version: "0.0.0".to_owned(),
            settings_schema: "{}".to_owned(),
            streams: ["a", "b"].map(stream).to_vec(),
            kinds: vec![Kind {
                name: "a.b".to_owned(),
                stream: "a".to_owned(),
            }],
            formats: Vec::new(),
            origins: Vec::new(),
        }
    }

    fn stream(name: &str) -> StreamDescription {
        StreamDescription {
            name: name.to_owned(),
            summary: String::new(),
            endpoint: String::new(),
            permission: String::new(),
            product: String::new(),
            retention_hours: None,
            order: Order::AsWritten,
            identity: String::new(),
        }
    }

    fn batch() -> Batch {
        Batch {
            events: "{}\n{\"a\":1}\n".to_owned(),
            index: vec![entry(3), entry(11)],
            rejected: Vec::new(),
            notices: Vec::new(),
            checkpoint: "x".to_owned(),
            next: NextPoll::Now,
            stats: vec![StreamStats {
                stream: "a".to_owned(),
                requests: 1,
                received_bytes: 100,
                received: 3,
                events: 2,
                rejected: 0,
                duplicates: 1,
                caught_up: false,
                newest: None,
            }],
            session: None,
            status: Vec::new(),
        }
    }

    fn entry(end: u32) -> Entry {
        Entry {
            end,
            occurred_at: 0,
            kind: 0,
        }
    }

    fn check(batch: &Batch, limits: Limits) -> Result<(), String> {
        let credentials = Redactor::new(["hunter\"22".to_owned()]);
        verify(batch, &description(), limits, &credentials)
    }

    fn reason(change: impl FnOnce(&mut Batch)) -> String {
        let mut batch = batch();
        change(&mut batch);
        check(&batch, LIMITS).unwrap_err()
    }

    fn notice(stream: &str, detail: &str) -> Notice {
        Notice {
            stream: stream.to_owned(),
            kind: NoticeKind::Gap,
            detail: detail.to_owned(),
        }
    }

    #[test]
    fn every_event_must_be_a_json_object() {
        for line in [
            "not json",
            "[1,2,3]",
            "\"text\"",
            "1234567",
            "nullnull",
            "{\"a\":}",
            "{\"a\":1",
            "{}{}",
            "{} {}",
            "{\"a\":1}x",
            "{\"a\u{1}\":1}",
            "{'a':1}",
        ] {
            let reason = reason(|batch| {
                batch.events = format!("{{}}\n{line}\n");
                batch.index[1] = entry(u32::try_from(batch.events.len()).unwrap());
            });
            assert_eq!(
                reason, "line 2 of the events is not a JSON object",
                "{line}"
            );
        }
        let deep = format!("{{\"a\":{}{}}}\n", "[".repeat(10_000), "]".repeat(10_000));
        let mut good = batch();
        good.events = deep;
        good.index = vec![entry(u32::try_from(good.events.len()).unwrap())];
        good.stats[0].events = 1;
        good.stats[0].duplicates = 2;
        let limits = Limits {
            max_bytes: 100_000,
            ..LIMITS
        };
        check(&good, limits).unwrap();
    }

    #[test]
    fn only_described_streams_are_accepted_and_each_is_counted_once() {
        assert!(reason(|batch| batch.stats[0].stream = "c".to_owned()).contains("`c`"));
        assert!(reason(|batch| batch.notices.push(notice("c", ""))).contains("`c`"));
        let rejected = reason(|batch| {
            batch.stats[0].rejected = 1;
            batch.stats[0].duplicates = 0;
            batch.rejected.push(RejectedRecord {
                stream: "c".to_owned(),
                locator: String::new(),
                reason: String::new(),
                original: Vec::new(),
            });
        });
        assert!(rejected.contains("the stream `c` is not described"));
        let twice = reason(|batch| {
            let stats = batch.stats[0].clone();
            batch.stats.push(stats);
        });
        assert_eq!(twice, "the stream `a` is counted twice");
    }

    #[test]
    fn all_texts_count_and_so_do_notices() {
        let many = |count: usize, bytes: usize| {
            move |batch: &mut Batch| {
                batch.notices = vec![notice("b", &"x".repeat(bytes)); count];
            }
        };
        assert!(reason(many(300, 2_048)).contains("the limit is 525288"));
        assert_eq!(reason(many(1_001, 1)), "1001 notices; the limit is 1000");
    }

    #[test]
    fn counts_that_overflow_are_a_violation_and_so_are_those_that_no_poll_can_have() {
        for (received, rejected, duplicates) in [
            (u64::MAX, 0, u64::MAX),
            (1, u64::MAX, 0),
            (1, 0, u64::MAX),
            (COUNT_MAX + 3, 0, COUNT_MAX + 1),
        ] {
            let reason = reason(|batch| {
                batch.stats[0].received = received;
                batch.stats[0].rejected = rejected;
                batch.stats[0].duplicates = duplicates;
            });
            assert!(reason.contains("no poll has more"), "{reason}");
        }
        assert!(reason(|batch| batch.stats[0].received_bytes = u64::MAX).contains("no poll"));
        assert_eq!(sum([u64::MAX, 1]), None);
    }

    #[test]
    fn a_checkpoint_with_a_secret_is_a_violation_in_each_form_that_json_has() {
        for checkpoint in ["x hunter\"22 y", r#"{"a":"hunter\"22"}"#] {
            let reason = reason(|batch| batch.checkpoint = checkpoint.to_owned());
            assert_eq!(reason, "the checkpoint contains a secret of the source");
        }
    }

    #[test]
    fn a_valid_batch_passes() {
        check(&batch(), LIMITS).unwrap();
    }

    #[test]
    fn every_record_received_must_be_accounted_for() {
        let reason = reason(|batch| batch.stats[0].received = 4);
        assert_eq!(
            reason,
            "stream a: 4 records received, but 2 events + 0 rejected + 1 duplicates"
        );
    }

    #[test]
    fn the_counts_must_be_those_of_the_batch() {
        let reason = reason(|batch| {
            batch.stats[0].events = 3;
            batch.stats[0].duplicates = 0;
        });
        assert!(
            reason.contains("3 events and 0 rejected records counted, but 2 and 0"),
            "{reason}"
        );
    }

    #[test]
    fn the_index_must_fit_the_text() {
        assert!(reason(|batch| batch.index[0].end = 4).contains("not the end of a line"));
        assert!(reason(|batch| batch.index[1].end = 99).contains("not the end of a line"));
        assert!(reason(|batch| batch.index[0].kind = 1).contains("kind 1"));
        assert!(reason(|batch| batch.events.push_str("{}\n")).contains("3 lines in 14 bytes"));
        assert!(reason(|batch| batch.events.replace_range(4..5, "\n")).contains("3 lines"));
    }

    #[test]
    fn the_limits_must_be_kept() {
        let bytes = CHECKPOINT_BYTES_MAX + 1;
        let long = reason(|batch| batch.checkpoint = "x".repeat(bytes));
        assert!(long.contains(&format!("{bytes} bytes")), "{long}");
        let mut narrow = LIMITS;
        narrow.max_events = 1;
        assert!(check(&batch(), narrow).is_err());
        narrow = LIMITS;
        narrow.max_bytes = 10;
        assert!(check(&batch(), narrow).is_err());
    }
}
