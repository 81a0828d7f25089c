//! Points in time: a tolerant parser for the upstream's formats, and writers for ours.
//!
//! The calendar and the dates of HTTP are those of `chrono`. Written by hand are the parser of the
//! upstream's forms, since no strict format covers them, and the writer of RFC 3339, which runs
//! several times for each event.

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, Timelike as _};

use crate::decode::number::without_exponent;

/// Milliseconds since the Unix epoch, in UTC.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl core::fmt::Display for Timestamp {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(&self.to_rfc3339())
    }
}

/// Below this number an epoch time is taken for seconds: as milliseconds it would lie before
/// March 1973, long before there was anything to log.
const EPOCH_SECONDS_MAX: i64 = 100_000_000_000;

/// The first and the last millisecond of the years 0 to 9999, which are those of RFC 3339.
const RFC3339_MS: (i64, i64) = (-62_167_219_200_000, 253_402_300_799_999);

const DAY_MS: i64 = 86_400_000;

impl Timestamp {
    /// Creates the time that many milliseconds after the epoch.
    #[must_use]
    pub const fn from_millis(ms: i64) -> Self {
        Self(ms)
    }

    /// Returns milliseconds since the epoch.
    #[must_use]
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// Returns the time that many milliseconds later, or earlier where the number is negative.
    #[must_use]
    pub const fn plus_ms(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Returns the beginning of the second that the time is in.
    #[must_use]
    pub const fn floor_second(self) -> Self {
        Self(self.0.saturating_sub(self.0.rem_euclid(1000)))
    }

    /// Parses any of the forms the upstream uses: epoch milliseconds (or seconds) as an integer or
    /// a decimal fraction, with or without an exponent, and ISO 8601 with `Z`, `+0000`, `+00:00`,
    /// `+01` or no offset, with an hour of one digit, with or without a fraction of a second and
    /// with or without blanks beside its colons.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim_ascii();
        Self::parse_epoch(text)
            .or_else(|| Self::parse_iso(text))
            .or_else(|| Self::parse_epoch(&without_exponent(text)?))
            .or_else(|| Self::parse_iso(&without_blanks_at_colons(text)?))
    }

    /// Parses an HTTP date: `Sun, 06 Nov 1994 08:49:37 GMT`, and the two obsolete forms that
    /// RFC 9110 §5.6.7 requires recipients to accept. `UTC` in place of `GMT` is accepted too.
    #[must_use]
    pub fn parse_http(text: &str) -> Option<Self> {
        let text = text.trim_ascii();
        // The day of the week is optional in RFC 2822, so it is left out: it may be wrong.
        let date = text.split_once(',').map_or(text, |(_, date)| date);
        // Its names of time zones are `GMT` and `UT`.
        let utc_as_ut = date.strip_suffix('C').filter(|rest| rest.ends_with(" UT"));
        let read = |date: &str| DateTime::parse_from_rfc2822(date).ok();
        read(utc_as_ut.unwrap_or(date))
            .or_else(|| read(&in_rfc2822_order(text)?))
            .map(|time| Self(time.timestamp_millis()))
    }

    /// Appends RFC 3339 with milliseconds and `Z`: `2026-02-03T04:05:06.789Z`. It has no years
    /// but 0 to 9999; a time beyond them is written as the nearest it has.
    pub fn write_rfc3339(self, out: &mut String) {
        let (first, last) = RFC3339_MS;
        let time = self.0.clamp(first, last);
        let (year, month, day) = date(time.div_euclid(DAY_MS));
        let ms = u32::try_from(time.rem_euclid(DAY_MS)).unwrap_or_default();
        let seconds = ms / 1000;
        let [y1, y2] = two_digits(year / 100);
        let [y3, y4] = two_digits(year % 100);
        let [m1, m2] = two_digits(month);
        let [d1, d2] = two_digits(day);
        let [h1, h2] = two_digits(seconds / 3600);
        let [n1, n2] = two_digits(seconds / 60 % 60);
        let [s1, s2] = two_digits(seconds % 60);
        let [f1, f2] = two_digits(ms / 10);
        let [_, f3] = two_digits(ms);
        let text = [
            y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2, b'T', h1, h2, b':', n1, n2, b':', s1, s2,
            b'.', f1, f2, f3, b'Z',
        ];
        out.push_str(str::from_utf8(&text).unwrap_or_default());
    }

    /// Returns the same text as a new string.
    #[must_use]
    pub fn to_rfc3339(self) -> String {
        let mut out = String::with_capacity(24);
        self.write_rfc3339(&mut out);
        out
    }

    /// Formats only the day: `2026-02-03`.
    #[must_use]
    pub fn to_day(self) -> String {
        self.rfc3339_prefix(10)
    }

    /// Formats to the second with a numeric offset: `2026-02-03T04:05:06+0000`.
    #[must_use]
    pub fn to_iso8601_with_offset(self) -> String {
        self.rfc3339_prefix(19) + "+0000"
    }

    /// Formats as in a signature of API 1.0: `Fri, 31 May 2024 10:15:30 UTC`.
    #[must_use]
    pub fn to_signature_date(self) -> String {
        let date = self.date_time().and_utc().to_rfc2822();
        // RFC 2822 leaves out the zero of a day, and has `+0000`.
        let (weekday, rest) = date.split_once(", ").unwrap_or_default();
        let zero = if rest.find(' ') == Some(1) { "0" } else { "" };
        [weekday, ", ", zero, rest].concat().replace("+0000", "UTC")
    }

    /// Returns the first `length` characters of the RFC 3339 text.
    fn rfc3339_prefix(self, length: usize) -> String {
        let mut text = self.to_rfc3339();
        text.truncate(length);
        text
    }

    /// Returns the date and time of day; the nearest one with a year from 0 to 9999.
    fn date_time(self) -> NaiveDateTime {
        let (first, last) = RFC3339_MS;
        DateTime::from_timestamp_millis(self.0.clamp(first, last))
            .unwrap_or_default()
            .naive_utc()
    }

    fn parse_epoch(text: &str) -> Option<Self> {
        let dot = text.bytes().position(|byte| byte == b'.');
        let parts = dot.and_then(|at| Some((text.get(..at)?, text.get(at + 1..)?)));
        let (whole, fraction) = parts.unwrap_or((text, "0"));
        let bare = whole.strip_prefix('-').unwrap_or(whole);
        let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !is_digits(bare) || !is_digits(fraction) {
            return None;
        }
        let value: i64 = whole.parse().ok()?;
        if value.checked_abs()? >= EPOCH_SECONDS_MAX {
            return Some(Self(value));
        }
        let ms = i64::from(fraction_ms(fraction)?);
        let ms = if bare == whole { ms } else { -ms };
        Some(Self(value.checked_mul(1000)?.checked_add(ms)?))
    }

    fn parse_iso(text: &str) -> Option<Self> {
        let (day, rest) = text.split_at_checked(10)?;
        let mut parts = day.split('-');
        let year = i32::try_from(number(parts.next()?, 4, 4)?).ok()?;
        let month = number(parts.next()?, 2, 2)?;
        let day = NaiveDate::from_ymd_opt(year, month, number(parts.next()?, 2, 2)?)?;
        if rest.is_empty() {
            let midnight = day.and_time(NaiveTime::MIN).and_utc();
            return Some(Self(midnight.timestamp_millis()));
        }
        let rest = rest.strip_prefix(['T', 't', ' '])?;
        let zone_at = rest.find(['Z', 'z', '+', '-', ' ']).unwrap_or(rest.len());
        let (clock, zone) = rest.split_at_checked(zone_at)?;
        let (clock, fraction) = clock.split_once(['.', ',']).unwrap_or((clock, "0"));
        let mut parts = clock.split(':');
        let hour = number(parts.next()?, 1, 2)?;
        let minute = number(parts.next()?, 2, 2)?;
        let second = parts.next().map_or(Some(0), |part| number(part, 2, 2))?;
        parts.next().is_none().then_some(())?;
        let ms = fraction_ms(fraction)?;
        // chrono keeps a leap second as a second 59 of more than 1000 ms. As a count of
        // milliseconds it is the first second of the next minute.
        let (second, ms) = match second {
            60 => (59, ms + 1000),
            _ => (second, ms),
        };
        let time = day.and_time(NaiveTime::from_hms_milli_opt(hour, minute, second, ms)?);
        let offset = offset_ms(zone.trim_ascii())?;
        Some(Self(time.and_utc().timestamp_millis() - offset))
    }
}

/// Returns a decimal number of that many digits.
fn number(text: &str, min_digits: usize, max_digits: usize) -> Option<u32> {
    if !(min_digits..=max_digits).contains(&text.len()) {
        return None;
    }
    text.bytes().try_fold(0, |sum: u32, byte| {
        byte.is_ascii_digit()
            .then(|| sum * 10 + u32::from(byte - b'0'))
    })
}

/// Returns a time with blanks beside its colons, as in `10: 20:30`, without them.
fn without_blanks_at_colons(text: &str) -> Option<String> {
    let has_blank = text.contains(": ") || text.contains(" :");
    let tight = || text.split(':').map(str::trim).collect::<Vec<_>>().join(":");
    (has_blank && text.len() <= 64).then(tight)
}

/// Returns the first three digits after the decimal point.
fn fraction_ms(text: &str) -> Option<u32> {
    let valid = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    valid.then(|| {
        text.bytes()
            .chain(*b"00")
            .take(3)
            .fold(0, |sum, byte| sum * 10 + u32::from(byte - b'0'))
    })
}

fn offset_ms(zone: &str) -> Option<i64> {
    if matches!(zone, "" | "Z" | "z") {
        return Some(0);
    }
    let (sign, digits) = match zone.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    let (hours, minutes) = match digits.split_once(':') {
        Some(parts) => parts,
        None => digits.split_at_checked(2)?,
    };
    let minutes = if minutes.is_empty() {
        0
    } else {
        number(minutes, 2, 2)?
    };
    let offset = NaiveTime::from_hms_opt(number(hours, 2, 2)?, minutes, 0)?;
    Some(sign * 1000 * i64::from(offset.num_seconds_from_midnight()))
}

/// Returns the year, the month and the day of a day since 1970-01-01, for years from 0 to 9999.
///
/// Howard Hinnant's `civil_from_days`: with the first of March as the first day of a year, the extra
/// day of a leap year is the last, and lengths of months follow a formula. It gives the same result as
/// chrono in a third of the instructions, and runs once or twice for each event.
fn date(day: i64) -> (u32, u32, u32) {
    const DAYS_IN_400_YEARS: u32 = 146_097;
    /// From 400 years before the first of March of year 0.
    const EPOCH_OFFSET_DAYS: i64 = 719_468 + 146_097;
    let days = u32::try_from(day + EPOCH_OFFSET_DAYS).unwrap_or_default();
    let day_of_cycle = days % DAYS_IN_400_YEARS;
    let leap_days = day_of_cycle / 1460 - day_of_cycle / 36_524 + day_of_cycle / 146_096;
    let year = (day_of_cycle - leap_days) / 365;
    let day_of_year = day_of_cycle - (365 * year + year / 4 - year / 100);
    let months_since_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * months_since_march + 2) / 5 + 1;
    let month = (months_since_march + 2) % 12 + 1;
    let year = year + days / DAYS_IN_400_YEARS * 400 + u32::from(month <= 2);
    (year.saturating_sub(400), month, day)
}

/// Returns the last two decimal digits.
fn two_digits(value: u32) -> [u8; 2] {
    [value / 10 % 10, value % 10].map(|digit| b'0' + u8::try_from(digit).unwrap_or_default())
}

/// Returns the parts of the obsolete forms of HTTP dates in the order of RFC 2822, which has names
/// for days and months: `Sunday, 06-Nov-94 08:49:37 GMT` and `Sun Nov  6 08:49:37 1994`.
fn in_rfc2822_order(text: &str) -> Option<String> {
    if let Some((_, date)) = text.split_once(", ") {
        return Some(date.replace('-', " "));
    }
    let mut parts = text.split_ascii_whitespace().skip(1);
    let (month, day) = (parts.next()?, parts.next()?);
    let (time, year) = (parts.next()?, parts.next()?);
    let is_end = parts.next().is_none();
    is_end.then(|| [day, " ", month, " ", year, " ", time, " GMT"].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::{Datelike as _, FixedOffset, SecondsFormat};
    use proptest::prelude::*;

    fn iso(text: &str) -> Option<String> {
        Timestamp::parse(text).map(Timestamp::to_rfc3339)
    }

    #[test]
    fn exponents_and_blanks_beside_colons_are_read() {
        for text in [
            "1.770091506E12",
            "1.770091506e+9",
            "1770091506000E0",
            "2026-02-03T04: 05:06Z",
            "2026-02-03 04 :05: 06 +0000",
            "2026-02-03T04: 05:06+0000",
        ] {
            assert_eq!(
                iso(text).as_deref(),
                Some("2026-02-03T04:05:06.000Z"),
                "{text}"
            );
        }
        assert_eq!(iso("1e400"), None);
    }

    #[test]
    fn the_fraction_has_the_sign_of_the_seconds() {
        for (text, ms) in [
            ("-1.5", -1500),
            ("-0.5", -500),
            ("-15e-1", -1500),
            ("-1", -1000),
            ("0.5", 500),
            ("1.5", 1500),
        ] {
            let time = Timestamp::parse(text).map(Timestamp::millis);
            assert_eq!(time, Some(ms), "{text}");
        }
    }

    #[test]
    fn every_form_of_the_upstream_is_read() {
        for text in [
            "2026-02-03T04:05:06+0000",
            "2026-02-03T04:05:06+00:00",
            "2026-02-03T04:05:06Z",
            "2026-02-03T04:05:06.000Z",
            "2026-02-03T4:05:06+0000",
            "2026-02-03T05:05:06+0100",
            "2026-02-02T23:35:06-0430",
            "2026-02-03T05:05:06+01",
            "2026-02-03 04:05:06",
            "1770091506000",
            "1770091506000.0",
            "1770091506",
        ] {
            assert_eq!(
                iso(text).as_deref(),
                Some("2026-02-03T04:05:06.000Z"),
                "{text}"
            );
        }
        assert_eq!(
            iso("2026-02-03T04:05:06.5Z").as_deref(),
            Some("2026-02-03T04:05:06.500Z")
        );
        assert_eq!(
            iso("2026-02-03T04:05:06.1239Z").as_deref(),
            Some("2026-02-03T04:05:06.123Z")
        );
        assert_eq!(
            iso("1770091506.25").as_deref(),
            Some("2026-02-03T04:05:06.250Z")
        );
        assert_eq!(
            iso("2024-02-29").as_deref(),
            Some("2024-02-29T00:00:00.000Z")
        );
    }

    #[test]
    fn what_is_no_time_is_not_read() {
        for text in [
            "",
            "null",
            "-",
            "2026-02-30",
            "2026-13-01",
            "2026-02-03T25:00:00Z",
            "2026-02-03T04",
            "2026-02-03T04:05:06+1",
            "2026-02-03T04:05:06 BST",
            "é026-02-03",
            "20é6-02-03",
        ] {
            assert_eq!(iso(text), None, "{text}");
        }
    }

    #[test]
    fn http_dates_are_read() {
        let time = Some(Timestamp::from_millis(784_111_777_000));
        for text in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Mon, 06 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 UTC",
            "Sun, 06 Nov 1994 08:49:37 +0000",
            " Sun, 6 Nov 1994 09:49:37 +0100 ",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
        ] {
            assert_eq!(Timestamp::parse_http(text), time, "{text}");
        }
        for text in [
            "Sun, 06 Nov 1994 08:49:37 CET",
            "Sun, 31 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 24:49:37 GMT",
            "Sunday",
            "120",
            "",
        ] {
            assert_eq!(Timestamp::parse_http(text), None, "{text}");
        }
    }

    #[test]
    fn a_leap_second_is_the_first_of_the_next_minute() {
        for text in ["2016-12-31T23:59:60Z", "2016-12-31T23:59:60.25Z"] {
            let expected = DateTime::parse_from_rfc3339(text).unwrap();
            let found = Timestamp::parse(text).map(Timestamp::millis);
            assert_eq!(found, Some(expected.timestamp_millis()), "{text}");
        }
        assert_eq!(iso("2016-12-31T23:59:61Z"), None);
    }

    #[test]
    fn the_written_forms() {
        let time = Timestamp::from_millis(1_770_091_506_789);
        assert_eq!(time.to_day(), "2026-02-03");
        assert_eq!(time.to_iso8601_with_offset(), "2026-02-03T04:05:06+0000");
        assert_eq!(time.to_rfc3339(), "2026-02-03T04:05:06.789Z");
        assert_eq!(time.to_signature_date(), "Tue, 03 Feb 2026 04:05:06 UTC");
        assert_eq!(
            Timestamp::from_millis(0).to_signature_date(),
            "Thu, 01 Jan 1970 00:00:00 UTC"
        );
        assert_eq!(
            Timestamp::from_millis(-1).to_rfc3339(),
            "1969-12-31T23:59:59.999Z"
        );
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(ms in -62_167_219_200_000_i64..253_402_300_799_999) {
            let time = Timestamp::from_millis(ms);
            prop_assert_eq!(Timestamp::parse(&time.to_rfc3339()), Some(time));
        }

        /// The reader and the writer made by hand agree with those of chrono.
        #[test]
        fn chrono_reads_and_writes_the_same(
            ms in -62_167_219_200_000_i64..253_402_300_799_999,
            offset in -86_399_i32..86_400,
        ) {
            let time = Timestamp::from_millis(ms);
            let theirs = DateTime::from_timestamp_millis(ms).unwrap();
            let written = theirs.to_rfc3339_opts(SecondsFormat::Millis, true);
            prop_assert_eq!(time.to_rfc3339(), written);
            // RFC 3339 has offsets of whole minutes.
            let offset = FixedOffset::east_opt(offset / 60 * 60).unwrap();
            let local = theirs.with_timezone(&offset);
            prop_assume!((0..=9999).contains(&local.year()));
            prop_assert_eq!(Timestamp::parse(&local.to_rfc3339()), Some(time));
            let http = theirs.to_rfc2822();
            prop_assert_eq!(Timestamp::parse_http(&http), Some(time.floor_second()));
        }

        #[test]
        fn any_text_is_parsed_without_a_panic(text in "\\PC{0,40}") {
            let _ = Timestamp::parse(&text);
            let _ = Timestamp::parse_http(&text);
        }
    }
}
