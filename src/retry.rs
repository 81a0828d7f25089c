//! How long to wait after what: every retry and its bounds in one table.

/// Why something is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The connection failed, the body stalled or the server answered with 5xx.
    Unavailable,
    /// The server answered with 429 and did not say how long to wait.
    Throttled,
    /// The credentials are good and do not permit the stream; somebody may grant it meanwhile.
    NotPermitted,
    /// The answer was not in its documented form, or a token was refused twice.
    Protocol,
}

/// One row: the first wait and the greatest, in milliseconds; each try doubles the wait.
const TABLE: [(Cause, i64, i64); 4] = [
    (Cause::Unavailable, 1_000, 5 * 60_000),
    (Cause::Throttled, 15_000, 15 * 60_000),
    (Cause::NotPermitted, 60 * 60_000, 60 * 60_000),
    (Cause::Protocol, 5_000, 10 * 60_000),
];

/// The wait before try `tries + 1`, in milliseconds: what the table says, and no less than the
/// upstream asks for.
///
/// Where a throttling upstream says how long, that is long enough the first time. If it refuses
/// all the same, however short the wait it asks for, the waits grow as after other failures.
///
/// `jitter` is a number from the driver's randomness; the wait is spread by up to a quarter, so
/// that many sources that failed together do not come back together.
#[must_use]
pub fn wait_ms(cause: Cause, tries: u32, asked_ms: Option<i64>, jitter: u64) -> i64 {
    let cause = match (cause, asked_ms) {
        (Cause::Throttled, Some(_)) => Cause::Unavailable,
        (cause, _) => cause,
    };
    let row = TABLE.iter().find(|row| row.0 == cause);
    let (first, most) = row.map_or((1_000, 60_000), |row| (row.1, row.2));
    let doubled = first.saturating_mul(1_i64.checked_shl(tries.min(20)).unwrap_or(i64::MAX));
    let wait = doubled.min(most);
    let quarter = u64::try_from(wait / 4).unwrap_or(0);
    let spread = jitter.checked_rem(quarter).unwrap_or(0);
    let spread = i64::try_from(spread).unwrap_or(0);
    wait.saturating_add(spread).max(asked_ms.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_doubles_up_to_its_bound() {
        assert_eq!(wait_ms(Cause::Unavailable, 0, None, 0), 1_000);
        assert_eq!(wait_ms(Cause::Unavailable, 3, None, 0), 8_000);
        assert_eq!(wait_ms(Cause::Unavailable, 4_000_000, None, 0), 300_000);
    }

    #[test]
    fn what_the_upstream_asks_for_is_enough_once() {
        assert_eq!(wait_ms(Cause::Throttled, 0, None, 0), 15_000);
        assert_eq!(wait_ms(Cause::Throttled, 0, Some(4_851), 0), 4_851);
        assert_eq!(wait_ms(Cause::Throttled, 0, Some(0), 0), 1_000);
        assert_eq!(wait_ms(Cause::Throttled, 9, Some(0), 0), 300_000);
    }

    #[test]
    fn the_jitter_adds_less_than_a_quarter() {
        for jitter in [1, 249, 250, u64::MAX] {
            assert!((1_000..1_250).contains(&wait_ms(Cause::Unavailable, 0, None, jitter)));
        }
    }
}
