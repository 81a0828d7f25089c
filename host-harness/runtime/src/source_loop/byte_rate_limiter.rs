//! Limits the rate at which one source writes rejected records: a budget in bytes per
//! second, with a burst of some seconds.

use std::time::{Duration, Instant};

/// The rate limiter of one source.
#[derive(Clone, Debug)]
pub(super) struct ByteRateLimiter {
    bytes_per_second: u32,
    burst: Duration,
    /// The time by which everything written would have been written at the permitted rate.
    spent_until: Option<Instant>,
}

impl ByteRateLimiter {
    /// Creates a limiter with a full burst.
    pub(super) fn new(bytes_per_second: u32, burst: Duration) -> Self {
        Self {
            bytes_per_second,
            burst,
            spent_until: None,
        }
    }

    /// Charges written bytes, whatever is left of the budget.
    pub(super) fn spend(&mut self, bytes: usize, now: Instant) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let ns = bytes.saturating_mul(1_000_000_000) / u64::from(self.bytes_per_second.max(1));
        let from = self.spent_until.map_or(now, |until| until.max(now));
        self.spent_until = from.checked_add(Duration::from_nanos(ns));
    }

    /// Returns how long to wait until there is budget again; zero if there is some.
    pub(super) fn delay(&self, now: Instant) -> Duration {
        let ahead = self
            .spent_until
            .map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        ahead.saturating_sub(self.burst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_held_to_the_rate_after_the_burst() {
        let mut limiter = ByteRateLimiter::new(1_000, Duration::from_secs(10));
        let started_at = Instant::now();
        let mut now = started_at;
        let mut written = 0;
        while now - started_at < Duration::from_secs(100) {
            limiter.spend(500, now);
            written += 500;
            now += limiter.delay(now);
        }
        assert!((109_000..=112_000).contains(&written), "{written}");
    }

    #[test]
    fn writes_within_the_rate_never_wait() {
        let mut limiter = ByteRateLimiter::new(1_000, Duration::from_secs(1));
        let mut now = Instant::now();
        for _ in 0..1_000 {
            limiter.spend(1_000, now);
            assert_eq!(limiter.delay(now), Duration::ZERO);
            now += Duration::from_secs(1);
        }
    }
}
