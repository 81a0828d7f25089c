//! The end of a poll, and when to poll again.

use crate::batch::{Next, NoticeKind};
use crate::checkpoint::{Checkpoint, RestCause, StreamPosition};
use crate::machine::Action;
use crate::session::{Failure, Flight, PollAction, PollError, Purpose, Session, Slot};
use crate::streams::Context;
use crate::time::Timestamp;

/// When a stream wants its next turn, and what holds it until then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    At(Timestamp, Hold),
    Now,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hold {
    CaughtUp,
    Failing,
    Throttled,
}

/// So many calls are kept in a checkpoint: ten times what Mimecast allows.
const CALLS_MAX: usize = 500;

/// A host polls at least so often, also while every stream waits longer: a stream may be granted
/// or a clock set meanwhile. Such a poll makes no request.
const POLL_INTERVAL_MS_MAX: i64 = 60 * 60_000;

impl Session {
    /// Whether the stream can be given a turn now.
    pub(super) fn is_ready(&self, index: usize) -> bool {
        self.slots
            .get(index)
            .is_some_and(|slot| self.turn(slot) == Turn::Now)
    }

    fn turn(&self, slot: &Slot) -> Turn {
        let now = self.client.now();
        if let Some(rest) = slot.rest.filter(|rest| rest.until > now) {
            let hold = match rest.cause {
                RestCause::Failing => Hold::Failing,
                RestCause::NotPermitted => Hold::CaughtUp,
                RestCause::Throttled => Hold::Throttled,
            };
            return Turn::At(rest.until, hold);
        }
        let context = Context::new(&self.settings, &self.client);
        let (due, caught_up) = slot.feed.due(context);
        if due > now {
            // What is due later and is not caught up are files that are set aside.
            let hold = if caught_up {
                Hold::CaughtUp
            } else {
                Hold::Failing
            };
            return Turn::At(due, hold);
        }
        let meter = slot.feed.meter().filter(|_| slot.feed.wants_call(context));
        let free_at = meter.map_or(now, |meter| self.quota(meter).free_at(now));
        match (free_at > now, caught_up) {
            (false, _) => Turn::Now,
            (true, true) => Turn::At(free_at, Hold::CaughtUp),
            (true, false) => Turn::At(free_at, Hold::Throttled),
        }
    }

    /// When to poll again.
    fn outlook(&self) -> Next {
        let now = self.client.now();
        let turns: Vec<Turn> = self.slots.iter().map(|slot| self.turn(slot)).collect();
        if self.flight.is_some() || self.repeat.is_some() || turns.contains(&Turn::Now) {
            return Next::Now;
        }
        let soonest = |wanted: &[Hold]| {
            let at = turns.iter().filter_map(|turn| match turn {
                Turn::At(at, hold) if wanted.contains(hold) => Some(at.millis()),
                Turn::At(..) | Turn::Now => None,
            });
            let wait_ms = at.min()?.saturating_sub(now.millis());
            let wait_ms = wait_ms.clamp(1, POLL_INTERVAL_MS_MAX);
            u64::try_from(wait_ms).ok()
        };
        let wait_ms = soonest(&[Hold::CaughtUp, Hold::Failing, Hold::Throttled]).unwrap_or(60_000);
        if soonest(&[Hold::Throttled]).is_some() {
            Next::Throttled(wait_ms)
        } else if soonest(&[Hold::Failing]).is_some() {
            Next::Failing(wait_ms)
        } else {
            Next::CaughtUp(wait_ms)
        }
    }

    /// Looks at every rest with the clock of this poll, which may have been set back.
    pub(super) fn see_rests(&mut self) {
        let now = self.client.now();
        for slot in &mut self.slots {
            slot.rest = slot.rest.map(|rest| rest.seen_at(now));
        }
    }

    /// When to poll again after a poll that failed behind some events. A stream may be ready, and
    /// what it needs first is not to be had yet.
    fn outlook_after(&self, error: Option<&PollError>) -> Next {
        let wait = |failure: &Failure| {
            let most = u64::try_from(POLL_INTERVAL_MS_MAX).unwrap_or(u64::MAX);
            failure.retry_after_ms.clamp(1, most)
        };
        match error {
            Some(PollError::Throttled(failure)) => Next::Throttled(wait(failure)),
            Some(PollError::Protocol(failure) | PollError::Unavailable(failure)) => {
                Next::Failing(wait(failure))
            }
            Some(
                PollError::Denied(_)
                | PollError::Settings(_)
                | PollError::Unauthorized(_)
                | PollError::UnusableCheckpoint(_),
            )
            | None => self.outlook(),
        }
    }

    /// Ends the poll with its batch, or with its error where it got nothing.
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
        self.see_rests();
        let context = Context::new(&self.settings, &self.client);
        for slot in &self.slots {
            if let Some((detail, _)) = slot.feed.set_aside() {
                poll.batch
                    .notice(slot.stream, NoticeKind::Postponed, detail);
            }
            let (_, caught_up) = slot.feed.due(context);
            if let Some(stats) = poll.batch.stats_if_any(slot.stream) {
                stats.caught_up = caught_up && slot.rest.is_none();
            }
        }
        let checkpoint = self.checkpoint();
        let next = self.outlook_after(error.as_ref());
        Action::Yield(Ok(poll.batch.finish(checkpoint, next)))
    }

    /// The position after the last record.
    fn checkpoint(&self) -> String {
        let now = self.client.now();
        let mut checkpoint = Checkpoint::default();
        let latest = |mut calls: Vec<i64>| {
            let first = calls.len().saturating_sub(CALLS_MAX);
            calls.split_off(first)
        };
        checkpoint.siem_calls = latest(self.batch_quota.made(now));
        checkpoint.event_calls = latest(self.events_quota.made(now));
        checkpoint.siem_blocked = self.batch_quota.blocked(now);
        checkpoint.events_blocked = self.events_quota.blocked(now);
        checkpoint.region = self.client.found_region().map(str::to_owned);
        let last = self.slots.iter().max_by_key(|slot| slot.turn);
        checkpoint.last_turn = last.map(|slot| slot.stream.name().to_owned());
        checkpoint.streams.extend(self.others.iter().cloned());
        for (index, slot) in self.slots.iter().enumerate() {
            let is_open = |flight: &Flight| match flight.purpose {
                Purpose::Ask => false,
                Purpose::Call { slot, .. } | Purpose::File { slot } => slot == index,
            };
            let is_open = self.flight.as_ref().is_some_and(is_open) || slot.feed.holds_answer();
            let is_open = u32::from(is_open);
            let mut position = StreamPosition {
                rest: slot.rest,
                lost_answers: slot.lost_answers.saturating_add(is_open),
                ..StreamPosition::default()
            };
            slot.feed.save(&mut position);
            checkpoint
                .streams
                .insert(slot.stream.name().to_owned(), position);
        }
        checkpoint.to_bounded_text()
    }
}
