//! Limits the rate of one source's log lines: a token bucket over
//! lines and bytes that counts what it suppresses.
//!
//! The bucket is represented as a time, as in the generic cell rate algorithm (GCRA): every
//! line adds the time that it takes at the permitted rate, and lines pass
//! while the accumulated time is no further ahead of the clock than the
//! burst.

use std::fmt;
use std::time::{Duration, Instant};

/// A rate with a burst.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rate {
    /// Lines per second.
    pub lines_per_second: u32,
    /// Bytes per second.
    pub bytes_per_second: u32,
    /// How many seconds' worth may be written at once.
    pub burst: Duration,
}

impl Rate {
    /// Returns how long a line takes at this rate.
    fn cost(self, bytes: usize) -> Duration {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let at = |count: u64, per_second: u32| {
            let ns = count.saturating_mul(1_000_000_000) / u64::from(per_second.max(1));
            Duration::from_nanos(ns)
        };
        at(1, self.lines_per_second).max(at(bytes, self.bytes_per_second))
    }
}

/// A rate limiter, with the suppressed lines that are not yet reported.
#[derive(Clone, Debug)]
pub struct LogRateLimiter {
    rate: Rate,
    /// The time by which everything that passed would have passed at the rate.
    spent_until: Option<Instant>,
    suppressed: Suppressed,
}

/// Whether a line may be logged.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Admission {
    /// Log it, after one line that reports earlier suppressed lines, if any.
    Pass(Option<Suppressed>),
    /// Do not log it; it is counted.
    Suppress,
}

/// Counts of suppressed output.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Suppressed {
    /// Lines.
    pub lines: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl fmt::Display for Suppressed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} lines ({} bytes) suppressed by the rate limit",
            self.lines, self.bytes
        )
    }
}

impl LogRateLimiter {
    /// Creates a limiter with a full burst.
    #[must_use]
    pub fn new(rate: Rate) -> Self {
        Self {
            rate,
            spent_until: None,
            suppressed: Suppressed::default(),
        }
    }

    /// Counts a line of `bytes` bytes, and decides whether it may be logged.
    ///
    /// Once something was suppressed, nothing passes until half of the burst
    /// is free again. So a flood is logged as a few runs of whole lines with
    /// one report each, and not as single lines with as many reports.
    pub fn admit(&mut self, bytes: usize, now: Instant) -> Admission {
        if !self.is_open(now) {
            self.suppressed.lines = self.suppressed.lines.saturating_add(1);
            let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
            self.suppressed.bytes = self.suppressed.bytes.saturating_add(bytes);
            return Admission::Suppress;
        }
        let from = self.spent_until.map_or(now, |spent| spent.max(now));
        self.spent_until = from.checked_add(self.rate.cost(bytes));
        Admission::Pass(self.take_suppressed())
    }

    /// Returns what was suppressed, if lines would pass again. Called when a flood may
    /// have ended, so that its report does not wait for the next line.
    pub fn take_suppressed_if_open(&mut self, now: Instant) -> Option<Suppressed> {
        if self.is_open(now) {
            self.take_suppressed()
        } else {
            None
        }
    }

    /// Returns what was suppressed and not yet reported, and resets the counts.
    pub fn take_suppressed(&mut self) -> Option<Suppressed> {
        let suppressed = std::mem::take(&mut self.suppressed);
        (suppressed.lines > 0).then_some(suppressed)
    }

    fn is_open(&self, now: Instant) -> bool {
        let ahead = self
            .spent_until
            .map_or(Duration::ZERO, |spent| spent.saturating_duration_since(now));
        let burst = self.rate.burst;
        if self.suppressed.lines == 0 {
            ahead < burst
        } else {
            ahead <= burst / 2
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate {
        lines_per_second: 10,
        bytes_per_second: 1_000,
        burst: Duration::from_secs(2),
    };

    /// Offers a line of this size every `step` for `span`. Returns the lines
    /// and bytes that passed, and what was reported as suppressed.
    fn offer(limit: &mut LogRateLimiter, bytes: usize, step: Duration, span: Duration) -> Outcome {
        let begin = Instant::now();
        let mut outcome = Outcome::default();
        let mut at = Duration::ZERO;
        while at < span {
            outcome.offered += 1;
            if let Admission::Pass(report) = limit.admit(bytes, begin + at) {
                outcome.lines += 1;
                outcome.bytes += bytes;
                outcome.reports += usize::from(report.is_some());
                outcome.suppressed += report.map_or(0, |report| report.lines);
            }
            at += step;
        }
        outcome.suppressed += limit.take_suppressed().map_or(0, |report| report.lines);
        outcome
    }

    #[derive(Debug, Default)]
    struct Outcome {
        offered: u64,
        lines: u64,
        bytes: usize,
        reports: usize,
        suppressed: u64,
    }

    #[test]
    fn a_flood_of_short_lines_passes_at_the_rate_of_lines_after_the_burst() {
        let mut limit = LogRateLimiter::new(RATE);
        let outcome = offer(
            &mut limit,
            1,
            Duration::from_micros(100),
            Duration::from_secs(100),
        );
        assert!((1_000..=1_020).contains(&outcome.lines), "{outcome:?}");
        assert_eq!(
            outcome.lines + outcome.suppressed,
            outcome.offered,
            "each line passes or is reported"
        );
    }

    #[test]
    fn a_flood_of_long_lines_passes_at_the_rate_of_bytes() {
        let mut limit = LogRateLimiter::new(RATE);
        let outcome = offer(
            &mut limit,
            500,
            Duration::from_millis(1),
            Duration::from_secs(100),
        );
        assert!((99_000..=102_500).contains(&outcome.bytes), "{outcome:?}");
    }

    #[test]
    fn a_flood_is_reported_once_for_each_half_of_the_burst() {
        let mut limit = LogRateLimiter::new(RATE);
        let outcome = offer(
            &mut limit,
            1,
            Duration::from_micros(100),
            Duration::from_secs(100),
        );
        assert!((85..=100).contains(&outcome.reports), "{outcome:?}");
    }

    #[test]
    fn lines_within_the_rate_all_pass() {
        let mut limit = LogRateLimiter::new(RATE);
        let outcome = offer(
            &mut limit,
            100,
            Duration::from_millis(100),
            Duration::from_secs(1_000),
        );
        assert_eq!(outcome.lines, outcome.offered);
        assert_eq!(outcome.suppressed, 0);
    }

    #[test]
    fn what_was_suppressed_is_reported_when_the_flood_has_ended() {
        let mut limit = LogRateLimiter::new(RATE);
        let now = Instant::now();
        while limit.admit(10, now) != Admission::Suppress {}
        assert_eq!(limit.take_suppressed_if_open(now), None);
        let later = now + RATE.burst;
        let report = limit.take_suppressed_if_open(later).unwrap();
        assert_eq!((report.lines, report.bytes), (1, 10));
        assert_eq!(limit.take_suppressed_if_open(later), None);
        assert_eq!(limit.admit(10, later), Admission::Pass(None));
    }

    #[test]
    fn a_clock_that_goes_back_and_a_line_of_any_length_are_no_panic() {
        let mut limit = LogRateLimiter::new(RATE);
        let now = Instant::now() + Duration::from_secs(10);
        assert_eq!(limit.admit(usize::MAX, now), Admission::Pass(None));
        assert_eq!(
            limit.admit(1, now - Duration::from_secs(5)),
            Admission::Suppress
        );
        let none = Rate {
            lines_per_second: 0,
            bytes_per_second: 0,
            ..RATE
        };
        assert_eq!(
            LogRateLimiter::new(none).admit(1, now),
            Admission::Pass(None)
        );
    }
}
