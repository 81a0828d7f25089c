//! The forms of time that the API speaks, and the upstream's clock.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The upstream's clock: runs with real time from where it was set, and can be moved.
#[derive(Debug)]
pub(crate) struct Clock {
    start_ms: i64,
    started: Instant,
    moved_ms: AtomicI64,
}

impl Clock {
    /// A clock that shows `now_ms` (the wall clock when not given) plus the skew.
    pub(crate) fn new(now_ms: Option<i64>, skew_ms: i64) -> Self {
        let start_ms = now_ms.unwrap_or_else(wall_ms).saturating_add(skew_ms);
        Self {
            start_ms,
            started: Instant::now(),
            moved_ms: AtomicI64::new(0),
        }
    }

    /// What the clock showed at the start.
    pub(crate) fn start_ms(&self) -> i64 {
        self.start_ms
    }

    /// What the clock shows now.
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

/// A time in the proleptic Gregorian calendar, UTC.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Civil {
    year: i64,
    month: i64,
    day: i64,
    weekday: i64,
    hour: i64,
    minute: i64,
    second: i64,
    ms: i64,
}

impl Civil {
    /// The time that many milliseconds after the epoch.
    pub(crate) fn new(epoch_ms: i64) -> Self {
        let days = epoch_ms.div_euclid(DAY_MS);
        let rest = epoch_ms.rem_euclid(DAY_MS);
        // After Howard Hinnant's `civil_from_days`: years begin in March, eras have 400 of them.
        let shifted = days + 719_468;
        let era = shifted.div_euclid(146_097);
        let day_of_era = shifted.rem_euclid(146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let month = if shifted_month < 10 {
            shifted_month + 3
        } else {
            shifted_month - 9
        };
        Self {
            year: year_of_era + era * 400 + i64::from(month <= 2),
            month,
            day: day_of_year - (153 * shifted_month + 2) / 5 + 1,
            weekday: (days + 4).rem_euclid(7),
            hour: rest / 3_600_000,
            minute: rest / 60_000 % 60,
            second: rest / 1000 % 60,
            ms: rest % 1000,
        }
    }

    /// `2026-11-22`.
    pub(crate) fn date(&self) -> String {
        format!("{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }

    /// `09:05:31`.
    pub(crate) fn clock(&self) -> String {
        format!("{:02}:{:02}:{:02}", self.hour, self.minute, self.second)
    }

    /// `2026-11-22T09:05:31.250Z`.
    pub(crate) fn iso_ms(&self) -> String {
        format!("{}T{}.{:03}Z", self.date(), self.clock(), self.ms)
    }

    /// `2026-11-22T09:05:31+0000`.
    pub(crate) fn offset_form(&self) -> String {
        format!("{}T{}+0000", self.date(), self.clock())
    }

    /// `2026-11-22T9:05:31+0000`: an hour without its zero, as the API sometimes writes.
    pub(crate) fn offset_form_unpadded(&self) -> String {
        let (date, hour) = (self.date(), self.hour);
        format!("{date}T{hour}:{:02}:{:02}+0000", self.minute, self.second)
    }

    /// `20261122T090531Z`.
    pub(crate) fn basic(&self) -> String {
        format!(
            "{}T{}Z",
            self.date().replace('-', ""),
            self.clock().replace(':', "")
        )
    }

    /// `Sun, 22 Nov 2026 09:05:31 GMT`.
    pub(crate) fn http(&self) -> String {
        let weekday = named(&WEEKDAYS, self.weekday);
        let month = named(&MONTHS, self.month - 1);
        format!(
            "{weekday}, {:02} {month} {:04} {} GMT",
            self.day,
            self.year,
            self.clock()
        )
    }
}

/// The milliseconds of the epoch at which a day of the form `2026-11-22` begins.
pub(crate) fn parse_date(text: &str) -> Option<i64> {
    let mut parts = text.split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || (year.len(), month.len(), day.len()) != (4, 2, 2) {
        return None;
    }
    let (year, month, day) = (digits(year)?, digits(month)?, digits(day)?);
    let epoch_ms = days_from_civil(year, month, day) * DAY_MS;
    // A day that does not exist comes back as another one.
    (Civil::new(epoch_ms).date() == text).then_some(epoch_ms)
}

/// The milliseconds of the epoch of a date and time with `Z`, `+0000` or `+00:00`.
pub(crate) fn parse_date_time(text: &str) -> Option<i64> {
    let (date, rest) = text.split_once('T')?;
    let at = rest.find(['Z', '+', '-'])?;
    let (clock, zone) = rest.split_at_checked(at)?;
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let mut parts = clock.split(':');
    let (hour, minute) = (digits(parts.next()?)?, digits(parts.next()?)?);
    let second = parts.next().map_or(Some(0), digits)?;
    let fraction: String = fraction.chars().chain("000".chars()).take(3).collect();
    let clock_ms = ((hour * 60 + minute) * 60 + second) * 1000 + digits(&fraction)?;
    Some(parse_date(date)? + clock_ms - zone_ms(zone)?)
}

fn zone_ms(zone: &str) -> Option<i64> {
    if zone == "Z" {
        return Some(0);
    }
    let (sign, rest) = match zone.strip_prefix('+') {
        Some(rest) => (1, rest),
        None => (-1, zone.strip_prefix('-')?),
    };
    let rest = rest.replace(':', "");
    let (hours, minutes) = rest.split_at_checked(2)?;
    Some(sign * (digits(hours)? * 60 + digits(minutes)?) * 60_000)
}

fn digits(text: &str) -> Option<i64> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())
        .flatten()
}

fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let shifted_month = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * shifted_month + 2) / 5 + day - 1;
    let year_of_era = year.rem_euclid(400);
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    year.div_euclid(400) * 146_097 + day_of_era - 719_468
}

fn named(names: &[&'static str], index: i64) -> &'static str {
    usize::try_from(index)
        .ok()
        .and_then(|index| names.get(index))
        .copied()
        .unwrap_or_default()
}

/// One day.
pub(crate) const DAY_MS: i64 = 86_400_000;
const WEEKDAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_time_is_read_as_the_same_time() {
        let ms = 1_795_331_131_000;
        let civil = Civil::new(ms);
        assert_eq!(civil.iso_ms(), "2026-11-22T07:05:31.000Z");
        assert_eq!(civil.http(), "Sun, 22 Nov 2026 07:05:31 GMT");
        assert_eq!(civil.offset_form_unpadded(), "2026-11-22T7:05:31+0000");
        for text in [
            civil.iso_ms(),
            civil.offset_form(),
            civil.offset_form_unpadded(),
            "2026-11-22T07:05:31+00:00".to_owned(),
            "2026-11-22T08:05:31+0100".to_owned(),
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
