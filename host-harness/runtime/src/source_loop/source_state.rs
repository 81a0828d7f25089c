//! Updates the stored state of a source after a batch or an error.

use std::time::SystemTime;

use source_common::timestamp::{EPOCH_MS_MAX, time_text};

use crate::bindings::{Batch, Description, NoticeKind};
use crate::store::{StatusMessage, StoredSource, epoch_ms};
use crate::untrusted_text::{DETAIL_BYTES_MAX, Sanitizer};

/// What an accepted batch changed in the stored state.
pub(super) struct BatchChanges {
    /// Notices that have not been logged yet.
    pub(super) notices: Vec<NewNotice>,
    /// Whether anything but times, positions, the requests and their bytes, and the remaining quota has
    /// changed.
    pub(super) is_worth_storing: bool,
}

/// A notice that differs from the last one of its stream.
pub(super) struct NewNotice {
    pub(super) stream: String,
    pub(super) kind: &'static str,
    pub(super) detail: String,
    pub(super) is_warning: bool,
}

impl StoredSource {
    pub(super) fn note_memory(&mut self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.memory_bytes_peak = self.memory_bytes_peak.max(bytes);
    }

    /// Records that a poll has ended, however it ended.
    pub(super) fn note_poll_end(&mut self) {
        self.polled_at_ms = Some(epoch_ms(SystemTime::now()));
    }

    /// Records an error of the source as a whole, and drops the time of the next poll, which the caller sets
    /// afterwards where there is one.
    pub(super) fn note_error(&mut self, kind: &str, detail: &str) {
        self.last_error = Some(status_message(kind, detail));
        self.next_poll_at_ms = None;
    }

    /// Counts a batch that has been accepted.
    pub(super) fn note_batch(
        &mut self,
        batch: &Batch,
        description: &Description,
        undeliverable: usize,
    ) -> BatchChanges {
        let undeliverable = u64::try_from(undeliverable).unwrap_or(u64::MAX);
        self.undeliverable = self.undeliverable.saturating_add(undeliverable);
        let component = format!("{} {}", description.name, description.version);
        let mut is_worth_storing =
            undeliverable > 0 || self.last_error.is_some() || self.component != component;
        self.last_error = None;
        self.component = component;
        self.succeeded_at_ms = Some(epoch_ms(SystemTime::now()));
        let now = now();
        for stats in &batch.stats {
            let stream = self.streams.entry(stats.stream.clone()).or_default();
            is_worth_storing |= stats.received > 0
                || stream.caught_up != stats.caught_up
                || stream.last_error.is_some();
            stream.requests = stream.requests.saturating_add(u64::from(stats.requests));
            stream.received_bytes = stream.received_bytes.saturating_add(stats.received_bytes);
            stream.received = stream.received.saturating_add(stats.received);
            stream.events = stream.events.saturating_add(stats.events);
            stream.rejected = stream.rejected.saturating_add(stats.rejected);
            stream.duplicates = stream.duplicates.saturating_add(stats.duplicates);
            stream.caught_up = stats.caught_up;
            stream.newest_ms = stream.newest_ms.max(stats.newest.map(bounded_ms));
            stream.last_accepted_at = Some(now.clone());
            stream.last_error = None;
        }
        for status in &batch.status {
            let stream = self.streams.entry(status.stream.clone()).or_default();
            let state = status.state.into();
            is_worth_storing |= stream.state != state || stream.state_detail != status.detail;
            stream.state = state;
            stream.until_ms = status.until.map(bounded_ms);
            stream.collected_until_ms = Some(bounded_ms(status.collected_until));
            stream.quota_remaining = status.quota_remaining;
            stream.state_detail.clone_from(&status.detail);
        }
        let mut notices = Vec::new();
        for notice in &batch.notices {
            let kind = notice_name(notice.kind);
            let stream = self.streams.entry(notice.stream.clone()).or_default();
            let known = stream
                .last_notice
                .as_ref()
                .is_some_and(|last| last.kind == kind && last.detail == notice.detail);
            is_worth_storing |= !known || notice.kind == NoticeKind::Gap;
            if notice.kind == NoticeKind::Gap {
                stream.gaps = stream.gaps.saturating_add(1);
            }
            let message = status_message(kind, &notice.detail);
            if matches!(
                notice.kind,
                NoticeKind::NotPermitted | NoticeKind::Postponed
            ) {
                stream.last_error = Some(message.clone());
            }
            stream.last_notice = Some(message);
            if !known {
                notices.push(NewNotice {
                    stream: notice.stream.clone(),
                    kind,
                    detail: notice.detail.clone(),
                    is_warning: notice.kind != NoticeKind::Adjusted,
                });
            }
        }
        BatchChanges {
            notices,
            is_worth_storing,
        }
    }

    /// Formats which streams fail, and why.
    pub(super) fn failing_detail(&self) -> String {
        let failing: Vec<String> = self
            .streams
            .iter()
            .filter_map(|(name, stream)| {
                let error = stream.last_error.as_ref()?;
                (error.kind == "postponed").then(|| format!("{name}: {}", error.detail))
            })
            .collect();
        if failing.is_empty() {
            "a stream fails for now".to_owned()
        } else {
            Sanitizer::default().text(&failing.join("; "), DETAIL_BYTES_MAX)
        }
    }

    /// Records an error before the source has run, and drops the time of the next poll. The checkpoint, the
    /// counts and the streams are kept.
    pub fn note_start_error(&mut self, detail: &str) {
        self.note_error("start", detail);
        self.stored_at = now();
    }

    /// Sets when and by which component the state was written.
    pub(super) fn stamp(&mut self, description: &Description) {
        self.stored_at = now();
        self.component = format!("{} {}", description.name, description.version);
    }
}

fn notice_name(kind: NoticeKind) -> &'static str {
    match kind {
        NoticeKind::Adjusted => "adjusted",
        NoticeKind::Gap => "gap",
        NoticeKind::NotPermitted => "not-permitted",
        NoticeKind::Postponed => "postponed",
    }
}

fn status_message(kind: &str, detail: &str) -> StatusMessage {
    StatusMessage {
        at: now(),
        kind: kind.to_owned(),
        detail: detail.to_owned(),
    }
}

/// Returns a time that a component gave, no later than one that can be formatted.
fn bounded_ms(epoch_ms: i64) -> i64 {
    epoch_ms.min(EPOCH_MS_MAX.cast_signed())
}

fn now() -> String {
    time_text(epoch_ms(SystemTime::now()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bindings::{NextPoll, StreamState, StreamStats, StreamStatus};
    use crate::waits::waits;

    const YEAR_10000_MS: i64 = 253_402_300_800_000;

    fn description() -> Description {
        Description {
            name: "test".to_owned(),
            namespace: "test".to_owned(),
            version: "1".to_owned(),
            settings_schema: String::new(),
            streams: Vec::new(),
            kinds: Vec::new(),
            formats: Vec::new(),
            origins: Vec::new(),
        }
    }

    /// A batch of one stream that waits, with times that cannot be formatted.
    fn batch() -> Batch {
        Batch {
            events: String::new(),
            index: Vec::new(),
            rejected: Vec::new(),
            notices: Vec::new(),
            checkpoint: "c".to_owned(),
            next: NextPoll::Now,
            stats: vec![StreamStats {
                stream: "audit".to_owned(),
                requests: 1,
                received_bytes: 0,
                received: 0,
                events: 0,
                rejected: 0,
                duplicates: 0,
                caught_up: false,
                newest: Some(i64::MAX),
            }],
            session: None,
            status: vec![StreamStatus {
                stream: "audit".to_owned(),
                state: StreamState::Waiting,
                until: Some(YEAR_10000_MS),
                collected_until: YEAR_10000_MS,
                quota_remaining: None,
                detail: "audit: the quota is used up".to_owned(),
            }],
        }
    }

    #[test]
    fn only_the_end_of_a_poll_is_the_time_of_the_last_poll() {
        let mut source_state = StoredSource::new("acme");
        source_state.note_start_error("no component");
        assert_eq!(source_state.polled_at_ms, None);
        source_state.note_poll_end();
        let polled_at_ms = source_state.polled_at_ms;
        assert!(polled_at_ms.is_some());
        while Some(epoch_ms(SystemTime::now())) <= polled_at_ms {}
        source_state.note_batch(&batch(), &description(), 0);
        assert!(source_state.succeeded_at_ms > polled_at_ms);
        source_state.note_error("unavailable", "no answer");
        source_state.note_start_error("no component");
        assert_eq!(source_state.polled_at_ms, polled_at_ms);
    }

    #[test]
    fn no_time_of_a_component_is_stored_that_cannot_be_formatted() {
        let batch = batch();
        let mut source_state = StoredSource::new("acme");
        source_state.note_batch(&batch, &description(), 0);
        let stream = source_state.streams.get("audit").unwrap();
        let last_ms = Some(YEAR_10000_MS - 1_000);
        assert_eq!(stream.until_ms, last_ms);
        assert_eq!(stream.collected_until_ms, last_ms);
        assert_eq!(stream.newest_ms, last_ms);
        let waits: Vec<String> = waits(&source_state)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            waits,
            ["waiting until 9999-12-31T23:59:59Z, stream audit: the quota is used up"]
        );
    }
}
