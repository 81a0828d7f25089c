//! The waits before retries, and their bounds.

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// The longest wait; parser, scheduler and checkpoint share this bound.
/// Mimecast retains batch files for seven days, so nothing is gained by waiting longer.
pub const WAIT_MS_MAX: i64 = 7 * 24 * 3_600_000;

/// The longest wait in a checkpoint of an older release, which has no beginnings of waits.
const OLD_WAIT_MS_MAX: i64 = 24 * 3_600_000 + 3_600_000;

/// Returns a wait within the bounds.
#[must_use]
pub fn bounded_ms(wait_ms: i64) -> i64 {
    wait_ms.clamp(0, WAIT_MS_MAX)
}

/// A wait by the host's clock. It records when it began, because a clock may be set back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wait {
    /// When it began; checkpoints of older releases do not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// When it ends.
    pub until: Timestamp,
}

impl Wait {
    /// Creates a wait that begins now.
    #[must_use]
    pub fn begin(now: Timestamp, wait_ms: i64) -> Self {
        Self {
            since: Some(now),
            until: now.plus_ms(bounded_ms(wait_ms)),
        }
    }

    /// Returns the wait at `now`. When the clock was set back to before its beginning,
    /// the time that has passed is unknown: the wait begins again, with its own length.
    #[must_use]
    pub fn adjusted_to(self, now: Timestamp) -> Self {
        match self.since {
            Some(since) => {
                let length_ms = self.until.millis().saturating_sub(since.millis());
                Self::begin(since.min(now), length_ms)
            }
            None if self.until > now.plus_ms(OLD_WAIT_MS_MAX) => Self::begin(now, 0),
            None => self,
        }
    }
}

/// How the waits before retries grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryPolicy {
    /// The connection failed, the body stalled or the server answered with 5xx.
    Unavailable,
    /// The server answered with 429.
    Throttled,
    /// The credentials are good and do not permit the stream; the permission may be granted later.
    NotPermitted,
    /// Page after page was read without a new record.
    NoProgress,
    /// The response was not in its documented form, or a token was refused twice.
    Protocol,
}

/// One row: the first wait and the greatest, in milliseconds; each try doubles the wait.
const TABLE: [(RetryPolicy, i64, i64); 5] = [
    (RetryPolicy::Unavailable, 1_000, 5 * 60_000),
    (RetryPolicy::Throttled, 15_000, 15 * 60_000),
    (RetryPolicy::NoProgress, 60_000, 15 * 60_000),
    (RetryPolicy::NotPermitted, 60 * 60_000, 60 * 60_000),
    (RetryPolicy::Protocol, 5_000, 10 * 60_000),
];

/// Returns the wait before the next try, in milliseconds: what the table says after `previous_failures`
/// earlier failures in a row, and no less than the upstream asks for.
///
/// Where a throttling upstream asks for a wait, that wait is enough the first time. If it refuses
/// again, the waits grow as after other failures, however short the waits that it asks for.
///
/// `random` is a number from the driver's randomness; the wait of the table is spread by up to a quarter, so
/// that sources that failed together do not retry together. A longer wait that the upstream asks for is
/// taken as it is.
#[must_use]
pub fn wait_ms(
    policy: RetryPolicy,
    previous_failures: u32,
    requested_ms: Option<i64>,
    random: u64,
) -> i64 {
    let policy = match (policy, requested_ms) {
        (RetryPolicy::Throttled, Some(_)) => RetryPolicy::Unavailable,
        (policy, _) => policy,
    };
    let row = TABLE.iter().find(|row| row.0 == policy);
    let (first, longest) = row.map_or((1_000, 60_000), |row| (row.1, row.2));
    let doubled = first.saturating_mul(
        1_i64
            .checked_shl(previous_failures.min(20))
            .unwrap_or(i64::MAX),
    );
    let wait = doubled.min(longest);
    let quarter = u64::try_from(wait / 4).unwrap_or(0);
    let jitter_ms = random.checked_rem(quarter).unwrap_or(0);
    let jitter_ms = i64::try_from(jitter_ms).unwrap_or(0);
    bounded_ms(
        wait.saturating_add(jitter_ms)
            .max(requested_ms.unwrap_or(0)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_doubles_up_to_its_bound() {
        assert_eq!(wait_ms(RetryPolicy::Unavailable, 0, None, 0), 1_000);
        assert_eq!(wait_ms(RetryPolicy::Unavailable, 3, None, 0), 8_000);
        assert_eq!(
            wait_ms(RetryPolicy::Unavailable, 4_000_000, None, 0),
            300_000
        );
    }

    #[test]
    fn what_the_upstream_asks_for_is_enough_once() {
        assert_eq!(wait_ms(RetryPolicy::Throttled, 0, None, 0), 15_000);
        assert_eq!(wait_ms(RetryPolicy::Throttled, 0, Some(4_851), 0), 4_851);
        assert_eq!(wait_ms(RetryPolicy::Throttled, 0, Some(0), 0), 1_000);
        assert_eq!(wait_ms(RetryPolicy::Throttled, 9, Some(0), 0), 300_000);
    }

    #[test]
    fn no_wait_is_longer_than_the_bound() {
        for asked in [WAIT_MS_MAX, WAIT_MS_MAX + 1, i64::MAX] {
            let wait = wait_ms(RetryPolicy::Unavailable, 0, Some(asked), 7);
            assert_eq!(wait, WAIT_MS_MAX, "{asked}");
        }
        assert_eq!(
            wait_ms(RetryPolicy::Unavailable, 0, Some(i64::MIN), 0),
            1_000
        );
    }

    #[test]
    fn a_wait_begins_again_when_the_clock_is_set_back_to_before_its_beginning() {
        let at = |ms| Timestamp::from_millis(ms);
        let wait = Wait::begin(at(1_000_000), 60_000);
        assert_eq!(wait.adjusted_to(at(1_030_000)).until, at(1_060_000));
        assert_eq!(wait.adjusted_to(at(9_000_000)).until, at(1_060_000));
        assert_eq!(wait.adjusted_to(at(500_000)).until, at(560_000));
        let endless = Wait {
            since: Some(at(0)),
            until: at(i64::MAX),
        };
        assert_eq!(endless.adjusted_to(at(7)).until, at(WAIT_MS_MAX));
        // Of a release that did not write the beginning.
        let old = |ms| Wait {
            since: None,
            until: at(ms),
        };
        assert_eq!(old(600_000).adjusted_to(at(0)).until, at(600_000));
        assert_eq!(old(i64::MAX).adjusted_to(at(7)).until, at(7));
    }

    #[test]
    fn the_jitter_adds_less_than_a_quarter() {
        for jitter in [1, 249, 250, u64::MAX] {
            assert!((1_000..1_250).contains(&wait_ms(RetryPolicy::Unavailable, 0, None, jitter)));
        }
    }
}
