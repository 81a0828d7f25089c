//! Whether a batch keeps the promises of the contract. One that does not is
//! never delivered: its position could not be trusted either.

use crate::bindings::{Batch, Description, Limits};
use crate::output::to_usize;
use crate::store::CHECKPOINT_BYTES_MAX;

/// Check a batch. The error is a clause about the component.
pub fn verify(batch: &Batch, description: &Description, limits: Limits) -> Result<(), String> {
    verify_index(batch, description)?;
    verify_stats(batch)?;
    verify_limits(batch, limits)
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

fn verify_stats(batch: &Batch) -> Result<(), String> {
    let mut events = 0_u64;
    let mut rejected = 0_u64;
    for stats in &batch.stats {
        let accounted = stats
            .events
            .saturating_add(stats.rejected)
            .saturating_add(stats.duplicates);
        if stats.received != accounted {
            return Err(format!(
                "stream {}: {} records received, but {} events + {} rejected + {} duplicates",
                stats.stream, stats.received, stats.events, stats.rejected, stats.duplicates
            ));
        }
        events = events.saturating_add(stats.events);
        rejected = rejected.saturating_add(stats.rejected);
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
    if batch.checkpoint.len() > CHECKPOINT_BYTES_MAX {
        let bytes = batch.checkpoint.len();
        return Err(format!(
            "a checkpoint of {bytes} bytes; the limit is {CHECKPOINT_BYTES_MAX}"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bindings::{Entry, Kind, NextPoll, StreamStats};

    const LIMITS: Limits = Limits {
        max_events: 10,
        max_bytes: 1_000,
        max_requests: 1,
    };

    fn description() -> Description {
        Description {
            name: "test".to_owned(),
            version: "0.0.0".to_owned(),
            settings_schema: "{}".to_owned(),
            streams: Vec::new(),
            kinds: vec![Kind {
                name: "a.b".to_owned(),
                stream: "a".to_owned(),
            }],
            formats: Vec::new(),
            origins: Vec::new(),
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
        }
    }

    fn entry(end: u32) -> Entry {
        Entry {
            end,
            occurred_at: 0,
            kind: 0,
        }
    }

    fn reason(change: impl FnOnce(&mut Batch)) -> String {
        let mut batch = batch();
        change(&mut batch);
        verify(&batch, &description(), LIMITS).unwrap_err()
    }

    #[test]
    fn a_batch_that_keeps_its_promises_passes() {
        verify(&batch(), &description(), LIMITS).unwrap();
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
        assert!(reason(|batch| batch.checkpoint = "x".repeat(65_537)).contains("65537 bytes"));
        let mut narrow = LIMITS;
        narrow.max_events = 1;
        assert!(verify(&batch(), &description(), narrow).is_err());
        narrow = LIMITS;
        narrow.max_bytes = 10;
        assert!(verify(&batch(), &description(), narrow).is_err());
    }
}
