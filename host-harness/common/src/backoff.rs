//! Exponential backoff with jitter: how long to wait after consecutive failures, so that not all
//! sources retry at the same moment.

use std::time::Duration;

/// Upper bound of the default backoff's delay after the first failure.
const FIRST: Duration = Duration::from_secs(1);
/// Upper bound of every delay of the default backoff.
const MAX: Duration = Duration::from_secs(300);

/// A count of consecutive failures, and the delay that follows from it.
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
    /// Creates a backoff whose bound of the delay begins at `first` and doubles up to `max`; see [`Self::delay`].
    #[must_use]
    pub const fn new(first: Duration, max: Duration) -> Self {
        Self {
            failures: 0,
            first,
            max,
        }
    }

    /// Counts a failure.
    pub const fn fail(&mut self) {
        self.failures = self.failures.saturating_add(1);
    }

    /// Resets the count after a success.
    pub const fn reset(&mut self) {
        self.failures = 0;
    }

    /// Returns the number of consecutive failures.
    #[must_use]
    pub const fn failures(self) -> u32 {
        self.failures
    }

    /// Returns how long to wait now: a random duration between half of the
    /// current bound and the bound itself.
    #[must_use]
    pub fn delay(self) -> Duration {
        self.delay_with(fastrand::f64())
    }

    /// Returns `None` up to `failures_without_delay` failures, and after them the delay as if only the
    /// failures beyond those had been counted.
    #[must_use]
    pub fn delay_beyond(self, failures_without_delay: u32) -> Option<Duration> {
        let failures = self
            .failures
            .checked_sub(failures_without_delay)
            .filter(|over| *over > 0)?;
        Some(Self { failures, ..self }.delay())
    }

    /// Returns the delay for a given jitter; `jitter` is from 0 to 1.
    fn delay_with(self, jitter: f64) -> Duration {
        let doublings = self.failures.saturating_sub(1).min(16);
        let bound = self.first.saturating_mul(1 << doublings).min(self.max);
        bound.mul_f64(0.5 + jitter / 2.0)
    }
}

/// Returns the wait extended by a random part of it, of at most `fraction`.
#[must_use]
pub fn add_jitter(wait: Duration, fraction: f64) -> Duration {
    wait.saturating_add(wait.mul_f64(fraction * fastrand::f64()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_maximum_and_are_reset() {
        let mut backoff = Backoff::default();
        let waits: Vec<u64> = (0..10)
            .map(|_| {
                backoff.fail();
                backoff.delay_with(1.0).as_secs()
            })
            .collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]);
        backoff.failures = u32::MAX;
        backoff.fail();
        assert_eq!(backoff.delay_with(1.0), MAX);
        backoff.reset();
        backoff.fail();
        assert_eq!((backoff.failures(), backoff.delay_with(1.0)), (1, FIRST));
    }

    #[test]
    fn other_bounds_are_respected() {
        let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
        let mut backoff = Backoff::new(minutes(5), minutes(60));
        for expected in [5, 10, 20, 40, 60, 60] {
            backoff.fail();
            assert_eq!(backoff.delay_with(1.0), minutes(expected));
        }
    }

    #[test]
    fn the_jitter_takes_at_most_half() {
        let backoff = Backoff {
            failures: 3,
            ..Backoff::default()
        };
        assert_eq!(backoff.delay_with(0.0), Duration::from_secs(2));
        assert_eq!(backoff.delay_with(0.5), Duration::from_secs(3));
        assert_eq!(backoff.delay_beyond(3), None);
        assert!(backoff.delay_beyond(2).is_some_and(|wait| wait <= FIRST));
        let wait = backoff.delay();
        assert!(wait >= Duration::from_secs(2) && wait <= Duration::from_secs(4));
    }

    #[test]
    fn a_wait_with_jitter_is_never_shorter_and_differs_from_others() {
        let wait = Duration::from_secs(60);
        let waits: Vec<Duration> = (0..100).map(|_| add_jitter(wait, 0.025)).collect();
        let longest = Duration::from_millis(61_500);
        assert!(waits.iter().all(|it| (wait..=longest).contains(it)));
        assert!(waits.iter().any(|it| *it != waits[0]));
    }
}
