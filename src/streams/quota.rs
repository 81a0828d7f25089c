//! A quota of calls in a sliding window, shared by several streams and stored across restarts.

use std::collections::VecDeque;

use crate::retry::Wait;
use crate::time::Timestamp;

/// The window of the batch endpoints' quota (`mimecast-api.md` §3.1).
pub const BATCH_FILES_QUOTA_WINDOW_S: i64 = 15 * 60;
/// The window of the event endpoint's quota (`mimecast-api.md` §3.3).
pub const EVENT_ENDPOINT_QUOTA_WINDOW_S: i64 = 60 * 60;

/// Which quota a call counts against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuotaKind {
    /// The quota of the batch endpoints.
    BatchFiles,
    /// The quota of the event endpoints.
    EventEndpoint,
}

/// A quota of at most `calls_max` calls in any window.
#[derive(Clone, Debug)]
pub struct Quota {
    calls_max: usize,
    window_s: i64,
    /// When calls were made, in seconds, the oldest first.
    call_times_s: VecDeque<i64>,
    /// The wait during which the upstream allows no call.
    blocked: Option<Wait>,
}

impl Quota {
    /// Creates a quota with the calls and the wait that a checkpoint remembers.
    #[must_use]
    pub fn new(calls_max: u32, window_s: i64, call_times_s: &[i64], blocked: Option<Wait>) -> Self {
        let calls_max = usize::try_from(calls_max).unwrap_or(usize::MAX);
        Self {
            calls_max,
            window_s,
            call_times_s: call_times_s.iter().copied().collect(),
            blocked,
        }
    }

    /// Returns when the next call may be made; `now` or earlier means at once.
    #[must_use]
    pub fn free_at(&self, now: Timestamp) -> Timestamp {
        let used = self.counted_call_times_s(now);
        let by_calls = if used.len() < self.calls_max {
            now
        } else {
            let oldest = used.get(used.len().saturating_sub(self.calls_max));
            let free_s = oldest
                .copied()
                .unwrap_or_else(|| now.millis().div_euclid(1000))
                .saturating_add(self.window_s.saturating_add(1));
            Timestamp::from_millis(free_s.saturating_mul(1000))
        };
        self.blocked(now)
            .map_or(by_calls, |blocked| by_calls.max(blocked.until))
    }

    /// Returns how many calls may be made at `now`.
    #[must_use]
    pub fn remaining(&self, now: Timestamp) -> u32 {
        if self.blocked(now).is_some() {
            return 0;
        }
        let used = self.counted_call_times_s(now).len();
        u32::try_from(self.calls_max.saturating_sub(used)).unwrap_or(u32::MAX)
    }

    /// Counts a call.
    pub fn count(&mut self, now: Timestamp) {
        let now_s = now.millis().div_euclid(1000);
        self.call_times_s.push_back(now_s);
        while self.call_times_s.len() > self.calls_max
            || self
                .call_times_s
                .front()
                .is_some_and(|made| *made < now_s.saturating_sub(self.window_s))
        {
            self.call_times_s.pop_front();
        }
    }

    /// Blocks calls for `wait_ms`, as the upstream asked.
    pub fn block(&mut self, now: Timestamp, wait_ms: i64) {
        self.blocked = Some(Wait::begin(now, wait_ms));
    }

    /// Returns the wait that the upstream asked for, where it is not over. A wait that begins in the
    /// future is left out: the clock was set back, and the next call shows whether the block holds.
    #[must_use]
    pub fn blocked(&self, now: Timestamp) -> Option<Wait> {
        self.blocked
            .filter(|wait| wait.since.is_none_or(|since| since <= now))
            .filter(|wait| now < wait.until)
    }

    /// Returns the times of the calls that still count, or will, in seconds, for a checkpoint.
    #[must_use]
    pub fn recent_call_times_s(&self, now: Timestamp) -> Vec<i64> {
        let since = now.millis().div_euclid(1000).saturating_sub(self.window_s);
        let times = self.call_times_s.iter().copied();
        times.filter(|made| *made >= since).collect()
    }

    /// Returns the times of the calls that count at `now`, in seconds. A call that lies in the future was
    /// made by a clock that has since been set back, and does not count.
    fn counted_call_times_s(&self, now: Timestamp) -> Vec<i64> {
        let now_s = now.millis().div_euclid(1000);
        let mut times = self.recent_call_times_s(now);
        times.retain(|made| *made <= now_s);
        times
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: i64) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000 + s * 1000)
    }

    #[test]
    fn no_window_of_15_minutes_holds_more_calls_than_the_quota() {
        let mut quota = Quota::new(50, BATCH_FILES_QUOTA_WINDOW_S, &[], None);
        let mut made = Vec::new();
        let mut now = 0;
        while made.len() < 500 {
            let free = quota.free_at(at(now));
            if free <= at(now) {
                quota.count(at(now));
                made.push(now);
                now += 3;
            } else {
                now += 1;
            }
        }
        for (index, start) in made.iter().enumerate() {
            let inside = made[index..]
                .iter()
                .take_while(|t| **t <= start + 900)
                .count();
            assert!(
                inside <= 50,
                "{inside} calls in the 15 minutes after {start}"
            );
        }
        assert!(
            made.last().unwrap() < &(11 * 905),
            "the quota is used up, not avoided"
        );
    }

    #[test]
    fn the_quota_outlives_a_restart_and_a_clock_that_was_set_back() {
        let mut quota = Quota::new(2, BATCH_FILES_QUOTA_WINDOW_S, &[], None);
        quota.count(at(0));
        quota.count(at(10));
        let again = Quota::new(
            2,
            BATCH_FILES_QUOTA_WINDOW_S,
            &quota.recent_call_times_s(at(20)),
            None,
        );
        assert_eq!(again.free_at(at(20)), at(901));
        assert_eq!(again.free_at(at(-5000)), at(-5000));
        assert_eq!(
            (again.remaining(at(20)), again.remaining(at(-5000))),
            (0, 2)
        );
    }

    #[test]
    fn a_block_by_the_upstream_counts_even_if_calls_are_left() {
        let mut quota = Quota::new(50, BATCH_FILES_QUOTA_WINDOW_S, &[], None);
        quota.block(at(0), 30_000);
        assert_eq!(quota.free_at(at(0)), at(30));
        assert_eq!(quota.free_at(at(31)), at(31));
        let again = Quota::new(50, BATCH_FILES_QUOTA_WINDOW_S, &[], quota.blocked(at(10)));
        assert_eq!(again.free_at(at(10)), at(30));
        assert_eq!(again.free_at(at(-86_400)), at(-86_400));
        assert_eq!(again.blocked(at(30)), None);
    }
}
