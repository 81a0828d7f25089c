//! Measures how fast a response arrives, and decides when it is too slow.
//!
//! Only the time that is spent waiting for bytes counts, not the time between two polls or the time
//! that is spent processing bytes.

use crate::time::Timestamp;

/// The minimum rate: 1 KiB/s, averaged over 30 s. A page of 100 files has 50 KiB and a common
/// batch file a few KiB, so a slower connection is a broken one; other streams would wait for it.
const WINDOW_MS: i64 = 30_000;
const WINDOW_BYTES_MIN: u64 = 30 * 1024;

/// How long a response that is buffered as a whole may take: the 60 s that a host allows for its head, and
/// half a minute for its body.
const RESPONSE_MS_MAX: i64 = 90_000;

/// How long a file may take that is read while it arrives: 600 MiB at 1 MiB/s.
const FILE_MS_MAX: i64 = 10 * 60_000;

/// The time spent waiting for one response.
#[derive(Clone, Debug, Default)]
pub(super) struct Transfer {
    waiting_since: Option<Timestamp>,
    waited_ms: i64,
    /// Whether the head has arrived: before that there is no rate.
    has_head: bool,
    window_ms: i64,
    window_bytes: u64,
    is_below_rate: bool,
}

impl Transfer {
    /// Starts a wait for more of the response.
    pub(super) const fn begin_wait(&mut self, now: Timestamp) {
        self.waiting_since = Some(now);
    }

    /// Ends the wait, which brought this many bytes.
    pub(super) fn end_wait(&mut self, now: Timestamp, bytes: usize) {
        let since = self.waiting_since.take().unwrap_or(now);
        let ms = now.millis().saturating_sub(since.millis()).max(0);
        self.waited_ms = self.waited_ms.saturating_add(ms);
        if !self.has_head {
            return;
        }
        self.window_ms = self.window_ms.saturating_add(ms);
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.window_bytes = self.window_bytes.saturating_add(bytes);
        if self.window_ms >= WINDOW_MS {
            self.is_below_rate = self.window_bytes < WINDOW_BYTES_MIN;
            self.window_ms = 0;
            self.window_bytes = 0;
        }
    }

    /// Records that the head has arrived.
    pub(super) fn handle_head(&mut self, now: Timestamp) {
        self.end_wait(now, 0);
        self.has_head = true;
    }

    /// Returns why the transfer is given up, as a clause.
    pub(super) fn timeout_reason(&self, is_streamed: bool) -> Option<String> {
        let limit_ms = if is_streamed {
            FILE_MS_MAX
        } else {
            RESPONSE_MS_MAX
        };
        if self.is_below_rate {
            return Some("the response came at less than 1 KiB/s for 30 s".to_owned());
        }
        let seconds = limit_ms / 1000;
        (self.waited_ms > limit_ms)
            .then(|| format!("the response was not complete after {seconds} s of waiting"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000 + ms)
    }

    /// A transfer that gets `bytes` bytes every `every_ms` for `for_ms`.
    fn transfer(bytes: usize, every_ms: i64, for_ms: i64) -> Transfer {
        let mut transfer = Transfer::default();
        transfer.begin_wait(at(0));
        transfer.handle_head(at(20));
        let mut now = 20;
        while now < for_ms && transfer.timeout_reason(true).is_none() {
            transfer.begin_wait(at(now));
            now += every_ms;
            transfer.end_wait(at(now), bytes);
        }
        transfer
    }

    #[test]
    fn less_than_a_kibibyte_a_second_is_too_slow_after_half_a_minute() {
        assert!(transfer(1, 1_000, 29_000).timeout_reason(true).is_none());
        assert!(transfer(1, 1_000, 31_000).timeout_reason(true).is_some());
        assert!(transfer(0, 1_000, 31_000).timeout_reason(true).is_some());
        assert!(
            transfer(1_100, 1_000, 500_000)
                .timeout_reason(true)
                .is_none()
        );
        // A fast start does not offset a slow remainder.
        let mut burst = transfer(1 << 20, 30_000, 30_001);
        for second in 0..31 {
            burst.begin_wait(at(100_000 + second * 1_000));
            burst.end_wait(at(101_000 + second * 1_000), 1);
        }
        assert!(burst.timeout_reason(true).is_some());
    }

    #[test]
    fn a_response_has_a_time_limit_and_a_file_a_longer_one() {
        let long = transfer(1 << 20, 1_000, 95_000);
        assert!(long.timeout_reason(false).is_some());
        assert!(long.timeout_reason(true).is_none());
        let longer = transfer(1 << 20, 1_000, 700_000);
        assert!(longer.timeout_reason(true).is_some());
    }

    #[test]
    fn time_between_two_polls_and_a_clock_that_is_set_back_do_not_count() {
        let mut transfer = transfer(10, 1_000, 5_000);
        transfer.end_wait(at(3_600_000), 0);
        assert!(transfer.timeout_reason(false).is_none());
        transfer.begin_wait(at(7_200_000));
        transfer.end_wait(at(0), 1);
        assert!(transfer.timeout_reason(false).is_none());
    }
}
