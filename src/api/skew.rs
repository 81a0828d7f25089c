//! Measures the difference between the host's clock and Mimecast's.

use std::collections::VecDeque;

use crate::response::Head;
use crate::time::Timestamp;

/// The most responses from which the skew is computed.
const SKEW_SAMPLES_MAX: usize = 5;

/// How far the host's clock is ahead of the upstream's, from the last few responses. One odd `Date`
/// changes nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ClockSkew {
    /// The oldest first.
    samples: VecDeque<i64>,
}

impl ClockSkew {
    /// Creates a skew that several earlier responses have shown.
    #[must_use]
    pub(super) fn known(ms: i64) -> Self {
        Self {
            samples: VecDeque::from([ms, ms]),
        }
    }

    /// Notes the `Date` of a response that came at `now`.
    pub(super) fn note(&mut self, head: &Head, now: Timestamp) {
        if let Some(skew_ms) = skew_ms(head, now) {
            self.samples.push_back(skew_ms);
        }
        while self.samples.len() > SKEW_SAMPLES_MAX {
            self.samples.pop_front();
        }
    }

    /// Returns the median of the last responses, in milliseconds; with fewer than two the clocks are
    /// taken to agree. Between two it is the one that is nearer to the host's clock.
    #[must_use]
    pub(super) fn ms(&self) -> i64 {
        if self.samples.len() < 2 {
            return 0;
        }
        let upper = self.ranked(self.samples.len() / 2).unwrap_or(0);
        let lower = self.ranked(self.samples.len().saturating_sub(1) / 2);
        lower
            .filter(|lower| lower.unsigned_abs() < upper.unsigned_abs())
            .unwrap_or(upper)
    }

    /// Returns the sample at a rank. There are too few samples to justify the code size of a sort.
    fn ranked(&self, rank: usize) -> Option<i64> {
        let count = |predicate: &dyn Fn(i64) -> bool| {
            let samples = self.samples.iter();
            samples.filter(|sample| predicate(**sample)).count()
        };
        let mut samples = self.samples.iter().copied();
        samples.find(|sample| {
            let below = count(&|other| other < *sample);
            let up_to = count(&|other| other <= *sample);
            (below..up_to).contains(&rank)
        })
    }

    /// Returns the skew by the last response alone.
    #[must_use]
    pub(super) fn last_ms(&self) -> Option<i64> {
        self.samples.back().copied()
    }

    /// Drops all samples but the last and takes that one as confirmed, after the upstream refused a call
    /// because of its time.
    pub(super) fn trust_last(&mut self) {
        if let Some(last) = self.last_ms() {
            *self = Self::known(last);
        }
    }

    /// Returns the skew to sign a request with: one response is enough, because the upstream refuses
    /// a signature whose time is wrong.
    #[must_use]
    pub(super) fn signing_ms(&self) -> i64 {
        match self.last_ms() {
            Some(only) if self.samples.len() == 1 => only,
            Some(_) | None => self.ms(),
        }
    }

    /// Returns the skew for another session, where more than one response has shown it.
    #[must_use]
    pub(super) fn confirmed_ms(&self) -> Option<i64> {
        (self.samples.len() > 1).then(|| self.ms())
    }
}

/// Returns how far `now` is ahead of the `Date` of a response, in milliseconds.
#[must_use]
fn skew_ms(head: &Head, now: Timestamp) -> Option<i64> {
    let date = head.date()?;
    // `Date` has whole seconds; on average it is half a second behind.
    Some(
        now.millis()
            .saturating_sub(date.millis())
            .saturating_sub(500),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_odd_date_changes_nothing_and_a_clock_that_jumps_is_followed() {
        let now = Timestamp::parse("2026-02-03T04:05:06Z").unwrap();
        let mut skew = ClockSkew::default();
        let mut note = |upstream_ahead_ms: i64| {
            let date = crate::testing::http_date(now.plus_ms(upstream_ahead_ms));
            let head = Head {
                status: 200,
                headers: vec![("date".to_owned(), date)],
            };
            skew.note(&head, now);
            // To the second, as an HTTP date.
            -(skew.ms() + 500)
        };
        const DAY_MS: i64 = 86_400_000;
        assert_eq!(note(DAY_MS), -500, "one response is not believed");
        assert_eq!(note(0), 0, "the nearer one of two");
        assert_eq!(note(0), 0);
        assert_eq!(note(-DAY_MS), 0);
        assert_eq!(note(0), 0);
        assert_eq!([note(3000), note(3000), note(3000)], [0, 0, 3000]);
        let none = Head::default();
        skew.note(&none, now);
        assert_eq!(-(skew.ms() + 500), 3000);
    }

    #[test]
    fn what_is_known_outweighs_one_response() {
        let mut skew = ClockSkew::known(-7_200_000);
        assert_eq!((skew.ms(), ClockSkew::default().ms()), (-7_200_000, 0));
        skew.samples.push_back(9);
        assert_eq!(skew.ms(), -7_200_000);
        skew.trust_last();
        assert_eq!((skew.ms(), skew.last_ms()), (9, Some(9)));
    }
}
