//! The formats of time that the API uses, and the upstream's clock.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, NaiveDate, NaiveTime, Utc};

/// The upstream's clock, which runs with real time from a given start and can be moved.
#[derive(Debug)]
pub(crate) struct Clock {
    start_ms: i64,
    started: Instant,
    moved_ms: AtomicI64,
}

impl Clock {
    /// Creates a clock that shows `now_ms` (the wall clock when not given) plus the skew.
    pub(crate) fn new(now_ms: Option<i64>, skew_ms: i64) -> Self {
        let start_ms = now_ms.unwrap_or_else(wall_ms).saturating_add(skew_ms);
        Self {
            start_ms,
            started: Instant::now(),
            moved_ms: AtomicI64::new(0),
        }
    }

    /// Returns what the clock showed at the start.
    pub(crate) fn start_ms(&self) -> i64 {
        self.start_ms
    }

    /// Returns what the clock shows now.
    pub(crate) fn now_ms(&self) -> i64 {
        let elapsed = i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX);
        let moved = self.moved_ms.load(Ordering::SeqCst);
        self.start_ms.saturating_add(elapsed).saturating_add(moved)
    }

    /// Moves the clock.
    pub(crate) fn advance(&self, ms: i64) {
        self.moved_ms.fetch_add(ms, Ordering::SeqCst);
    }
}

fn wall_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// A point in time and the forms in which the API writes it, in UTC.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UtcTime(DateTime<Utc>);

impl UtcTime {
    /// Returns the time that many milliseconds after the epoch.
    pub(crate) fn new(epoch_ms: i64) -> Self {
        Self(DateTime::from_timestamp_millis(epoch_ms).unwrap_or_default())
    }

    /// Formats as `2026-11-22`.
    pub(crate) fn date(&self) -> String {
        self.format("%Y-%m-%d")
    }

    /// Formats as `09:05:31`.
    pub(crate) fn clock(&self) -> String {
        self.format("%H:%M:%S")
    }

    /// Formats as `2026-11-22T09:05:31.250Z`.
    pub(crate) fn iso_ms(&self) -> String {
        self.format("%Y-%m-%dT%H:%M:%S%.3fZ")
    }

    /// Formats as `2026-11-22T09:05:31+0000`.
    pub(crate) fn iso_with_utc_offset(&self) -> String {
        self.format("%Y-%m-%dT%H:%M:%S+0000")
    }

    /// Formats as `2026-11-22T9:05:31+0000`: an hour without its zero, as the API sometimes writes.
    pub(crate) fn iso_with_utc_offset_unpadded(&self) -> String {
        self.format("%Y-%m-%dT%-H:%M:%S+0000")
    }

    /// Formats as `20261122T090531Z`.
    pub(crate) fn basic(&self) -> String {
        self.format("%Y%m%dT%H%M%SZ")
    }

    /// Formats as `Sun, 22 Nov 2026 09:05:31 GMT`.
    pub(crate) fn http(&self) -> String {
        self.format("%a, %d %b %Y %H:%M:%S GMT")
    }

    fn format(self, format: &str) -> String {
        self.0.format(format).to_string()
    }
}

/// Returns the milliseconds of the epoch at which a day of the form `2026-11-22` begins.
pub(crate) fn parse_date(text: &str) -> Option<i64> {
    let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
    // chrono also reads a day without its zero; the API does not.
    (date.to_string() == text).then(|| date.and_time(NaiveTime::MIN).and_utc().timestamp_millis())
}

/// Returns the milliseconds of the epoch of a date and time with `Z` or an offset such as `+0100` or `+01:00`.
pub(crate) fn parse_date_time(text: &str) -> Option<i64> {
    let text = text
        .strip_suffix('Z')
        .map_or_else(|| text.to_owned(), |local| format!("{local}+0000"));
    ["%Y-%m-%dT%H:%M:%S%.f%z", "%Y-%m-%dT%H:%M%z"]
        .into_iter()
        .find_map(|form| DateTime::parse_from_str(&text, form).ok())
        .map(|time| time.timestamp_millis())
}

/// One day.
pub(crate) const DAY_MS: i64 = 86_400_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_time_is_read_as_the_same_time() {
        let ms = 1_795_331_131_000;
        let time = UtcTime::new(ms);
        assert_eq!(time.iso_ms(), "2026-11-22T07:05:31.000Z");
        assert_eq!(time.http(), "Sun, 22 Nov 2026 07:05:31 GMT");
        assert_eq!(
            time.iso_with_utc_offset_unpadded(),
            "2026-11-22T7:05:31+0000"
        );
        for text in [
            time.iso_ms(),
            time.iso_with_utc_offset(),
            time.iso_with_utc_offset_unpadded(),
            "2026-11-22T07:05:31+00:00".to_owned(),
            "2026-11-22T08:05:31+0100".to_owned(),
            "2026-11-22T02:35:31.000-0430".to_owned(),
        ] {
            assert_eq!(parse_date_time(&text), Some(ms), "{text}");
        }
    }

    #[test]
    fn a_day_that_does_not_exist_is_refused() {
        assert_eq!(parse_date("1970-01-02"), Some(DAY_MS));
        for text in [
            "2026-02-29",
            "2026-13-01",
            "2026-1-01",
            "2026-11-22T00:00:00Z",
            "",
        ] {
            assert_eq!(parse_date(text), None, "{text}");
        }
    }
}
