//! How long to wait after failures in a row: longer each time, and never at
//! the same moment as everyone else.

use std::time::Duration;

/// The wait after the first failure.
pub const FIRST: Duration = Duration::from_secs(1);
/// No wait is longer, unless the upstream asks for it.
pub const MAX: Duration = Duration::from_secs(300);

/// The wait after so many failures in a row. `spread` is a random number from
/// 0 to 1; the wait lies between half and the whole of its bound.
#[must_use]
pub fn wait(failures: u32, spread: f64) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let bound = FIRST.saturating_mul(1 << doublings).min(MAX);
    let fraction = 0.5 + spread.clamp(0.0, 1.0) / 2.0;
    bound.mul_f64(fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_greatest() {
        assert_eq!(wait(1, 1.0), Duration::from_secs(1));
        assert_eq!(wait(2, 1.0), Duration::from_secs(2));
        assert_eq!(wait(5, 1.0), Duration::from_secs(16));
        assert_eq!(wait(10, 1.0), MAX);
        assert_eq!(wait(u32::MAX, 1.0), MAX);
    }

    #[test]
    fn the_spread_takes_at_most_half() {
        assert_eq!(wait(3, 0.0), Duration::from_secs(2));
        assert_eq!(wait(3, 0.5), Duration::from_secs(3));
    }
}
