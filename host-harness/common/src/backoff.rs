//! How long to wait after failures in a row: longer each time, and never at
//! the same moment as everyone else.

use std::time::Duration;

/// The wait after the first failure.
const FIRST: Duration = Duration::from_secs(1);
/// No wait is longer, unless the upstream asks for it.
const MAX: Duration = Duration::from_secs(300);

/// Failures in a row, and the wait that follows each.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    failures: u32,
    first: Duration,
    max: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self::new(FIRST, MAX)
    }
}

impl Backoff {
    /// Waits from `first` on, which double up to `max`.
    #[must_use]
    pub const fn new(first: Duration, max: Duration) -> Self {
        Self {
            failures: 0,
            first,
            max,
        }
    }

    /// Count a failure.
    pub const fn fail(&mut self) {
        self.failures = self.failures.saturating_add(1);
    }

    /// Forget all failures.
    pub const fn reset(&mut self) {
        self.failures = 0;
    }

    /// How many failures there were in a row.
    #[must_use]
    pub const fn failures(self) -> u32 {
        self.failures
    }

    /// How long to wait now, by chance between half and the whole of its
    /// bound.
    #[must_use]
    pub fn wait(self) -> Duration {
        self.wait_with(fastrand::f64())
    }

    /// The same where so many failures are free; `None` for those.
    #[must_use]
    pub fn wait_beyond(self, free: u32) -> Option<Duration> {
        let failures = self.failures.checked_sub(free).filter(|over| *over > 0)?;
        Some(Self { failures, ..self }.wait())
    }

    /// The same; `spread` is from 0 to 1.
    fn wait_with(self, spread: f64) -> Duration {
        let doublings = self.failures.saturating_sub(1).min(16);
        let bound = self.first.saturating_mul(1 << doublings).min(self.max);
        bound.mul_f64(0.5 + spread / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_greatest_and_begin_anew() {
        let mut backoff = Backoff::default();
        let waits: Vec<u64> = (0..10)
            .map(|_| {
                backoff.fail();
                backoff.wait_with(1.0).as_secs()
            })
            .collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]);
        backoff.failures = u32::MAX;
        backoff.fail();
        assert_eq!(backoff.wait_with(1.0), MAX);
        backoff.reset();
        backoff.fail();
        assert_eq!((backoff.failures(), backoff.wait_with(1.0)), (1, FIRST));
    }

    #[test]
    fn other_bounds_are_kept() {
        let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
        let mut backoff = Backoff::new(minutes(5), minutes(60));
        for expected in [5, 10, 20, 40, 60, 60] {
            backoff.fail();
            assert_eq!(backoff.wait_with(1.0), minutes(expected));
        }
    }

    #[test]
    fn the_spread_takes_at_most_half() {
        let backoff = Backoff {
            failures: 3,
            ..Backoff::default()
        };
        assert_eq!(backoff.wait_with(0.0), Duration::from_secs(2));
        assert_eq!(backoff.wait_with(0.5), Duration::from_secs(3));
        assert_eq!(backoff.wait_beyond(3), None);
        assert!(backoff.wait_beyond(2).is_some_and(|wait| wait <= FIRST));
        let wait = backoff.wait();
        assert!(wait >= Duration::from_secs(2) && wait <= Duration::from_secs(4));
    }
}
