//! The end of a poll, and when to poll again.

use crate::batch::{NextPoll, NoticeKind};
use crate::checkpoint::{BackoffCause, Checkpoint, StreamPosition};
use crate::machine::Action;
use crate::session::{Failure, InFlight, PollAction, PollError, Purpose, Session, StreamSlot};
use crate::streams::Context;
use crate::time::Timestamp;

/// Whether a stream can be scheduled now, or when it can and why not before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Readiness {
    At(Timestamp, WaitReason),
    Now,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WaitReason {
    Idle,
    Failing,
    Throttled,
}

/// The most calls of one quota in a checkpoint. Mimecast allows 50 or 300 in a window.
const CALLS_MAX: usize = 500;

/// The longest interval between two polls, even while every stream waits longer, since the host's clock may
/// have been set: a poll corrects the waits, and makes no request while they last.
const POLL_INTERVAL_MS_MAX: i64 = 60 * 60_000;

impl Session {
    /// Returns whether the stream can be scheduled now.
    pub(super) fn is_ready(&self, index: usize) -> bool {
        self.slots
            .get(index)
            .is_some_and(|slot| self.readiness(slot) == Readiness::Now)
    }

    fn readiness(&self, slot: &StreamSlot) -> Readiness {
        let now = self.client.now();
        if let Some(backoff) = slot.backoff.filter(|backoff| backoff.until > now) {
            let reason = match backoff.cause {
                BackoffCause::Failing => WaitReason::Failing,
                BackoffCause::NotPermitted => WaitReason::Idle,
                BackoffCause::Throttled => WaitReason::Throttled,
            };
            return Readiness::At(backoff.until, reason);
        }
        let context = Context::new(&self.settings, &self.client);
        let (due, caught_up) = slot.reader.due(context);
        if due > now {
            // A stream that is due later and not caught up waits for files that are set aside, or reads
            // again what a wrong clock cut short.
            let reason = if caught_up {
                WaitReason::Idle
            } else {
                WaitReason::Failing
            };
            return Readiness::At(due, reason);
        }
        let quota_kind = slot
            .reader
            .quota_kind()
            .filter(|_| slot.reader.wants_call(context));
        let free_at = quota_kind.map_or(now, |quota_kind| self.quota(quota_kind).free_at(now));
        match (free_at > now, caught_up) {
            (false, _) => Readiness::Now,
            (true, true) => Readiness::At(free_at, WaitReason::Idle),
            (true, false) => Readiness::At(free_at, WaitReason::Throttled),
        }
    }

    /// Returns when to poll again.
    fn next_poll(&self) -> NextPoll {
        let now = self.client.now();
        let readiness: Vec<Readiness> =
            self.slots.iter().map(|slot| self.readiness(slot)).collect();
        if self.in_flight.is_some()
            || self.retry_slot.is_some()
            || readiness.contains(&Readiness::Now)
        {
            return NextPoll::Now;
        }
        let soonest = |wanted: &[WaitReason]| {
            let at = readiness.iter().filter_map(|readiness| match readiness {
                Readiness::At(at, reason) if wanted.contains(reason) => Some(at.millis()),
                Readiness::At(..) | Readiness::Now => None,
            });
            let wait_ms = at.min()?.saturating_sub(now.millis());
            let wait_ms = wait_ms.clamp(1, POLL_INTERVAL_MS_MAX);
            u64::try_from(wait_ms).ok()
        };
        let wait_ms = soonest(&[WaitReason::Idle, WaitReason::Failing, WaitReason::Throttled])
            .unwrap_or(60_000);
        if soonest(&[WaitReason::Throttled]).is_some() {
            NextPoll::Throttled(wait_ms)
        } else if soonest(&[WaitReason::Failing]).is_some() {
            NextPoll::Failing(wait_ms)
        } else {
            NextPoll::CaughtUp(wait_ms)
        }
    }

    /// Corrects every backoff for the clock of this poll, which may have been set back.
    pub(super) fn adjust_backoffs(&mut self) {
        let now = self.client.now();
        for slot in &mut self.slots {
            slot.backoff = slot.backoff.map(|backoff| backoff.adjusted_to(now));
        }
    }

    /// Returns when to poll again after a batch, which may have ended with an error: a stream may be ready
    /// while its token cannot be fetched yet.
    fn next_poll_after(&self, error: Option<&PollError>) -> NextPoll {
        let wait = |failure: &Failure| {
            let longest_ms = u64::try_from(POLL_INTERVAL_MS_MAX).unwrap_or(u64::MAX);
            failure.retry_after_ms.clamp(1, longest_ms)
        };
        match error {
            Some(PollError::Throttled(failure)) => NextPoll::Throttled(wait(failure)),
            Some(PollError::Protocol(failure) | PollError::Unavailable(failure)) => {
                NextPoll::Failing(wait(failure))
            }
            Some(
                PollError::Denied(_)
                | PollError::Settings(_)
                | PollError::Unauthorized(_)
                | PollError::UnusableCheckpoint(_),
            )
            | None => self.next_poll(),
        }
    }

    /// Ends the poll with its batch, or with its error where the batch is empty.
    pub(super) fn finish(&mut self) -> PollAction {
        let Some(mut poll) = self.poll.take() else {
            return Action::Yield(Err(PollError::Unavailable(Failure::new(
                "no poll was begun",
            ))));
        };
        let error = poll.error.take();
        if let Some(error) = error.clone().filter(|_| poll.batch.is_empty()) {
            return Action::Yield(Err(error));
        }
        self.adjust_backoffs();
        let context = Context::new(&self.settings, &self.client);
        for slot in &self.slots {
            if let Some((detail, _)) = slot.reader.set_aside_summary() {
                poll.batch
                    .notice(slot.stream, NoticeKind::Postponed, detail);
            }
            let (_, caught_up) = slot.reader.due(context);
            if let Some(stats) = poll.batch.stats_mut(slot.stream) {
                stats.caught_up = caught_up && slot.backoff.is_none();
            }
        }
        let checkpoint = self.checkpoint();
        let next = self.next_poll_after(error.as_ref());
        Action::Yield(Ok(poll.batch.finish(checkpoint, next)))
    }

    /// Returns the checkpoint after the last record.
    fn checkpoint(&self) -> String {
        let now = self.client.now();
        let mut checkpoint = Checkpoint::default();
        let latest = |mut calls: Vec<i64>| {
            let first = calls.len().saturating_sub(CALLS_MAX);
            calls.split_off(first)
        };
        checkpoint.batch_file_call_times_s =
            latest(self.batch_files_quota.recent_call_times_s(now));
        checkpoint.event_endpoint_call_times_s =
            latest(self.event_endpoint_quota.recent_call_times_s(now));
        checkpoint.batch_files_quota_wait = self.batch_files_quota.blocked(now);
        checkpoint.event_endpoint_quota_wait = self.event_endpoint_quota.blocked(now);
        checkpoint.region = self.client.discovered_base_url().map(str::to_owned);
        let last = self.slots.iter().max_by_key(|slot| slot.turn);
        checkpoint.last_stream = last.map(|slot| slot.stream.name().to_owned());
        checkpoint.streams.extend(self.unselected.iter().cloned());
        for (index, slot) in self.slots.iter().enumerate() {
            let is_of_slot = |in_flight: &InFlight| match in_flight.purpose {
                Purpose::Preflight => false,
                Purpose::Call { slot_index, .. } | Purpose::File { slot_index } => {
                    slot_index == index
                }
            };
            let is_interrupted = self.in_flight.as_ref().is_some_and(is_of_slot)
                || slot.reader.has_buffered_response();
            let interrupted = u32::from(is_interrupted);
            let mut position = StreamPosition {
                backoff: slot.backoff,
                interrupted_responses: slot.interrupted_responses.saturating_add(interrupted),
                ..StreamPosition::default()
            };
            slot.reader.save(&mut position);
            checkpoint
                .streams
                .insert(slot.stream.name().to_owned(), position);
        }
        checkpoint.into_bounded_text()
    }
}
