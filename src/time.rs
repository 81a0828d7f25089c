//! Points in time: one tolerant parser for what the upstream writes, and the few forms we write.

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

const MS_PER_DAY: i64 = 86_400_000;

/// Below this number an epoch time is taken for seconds: as milliseconds it would lie before
/// March 1973, long before there was anything to log.
const EPOCH_SECONDS_MAX: i64 = 100_000_000_000;

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

const WEEKDAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];

impl Timestamp {
    /// The time that many milliseconds after the epoch.
    #[must_use]
    pub const fn from_millis(ms: i64) -> Self {
        Self(ms)
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// The time that many milliseconds later, or earlier where the number is negative.
    #[must_use]
    pub const fn plus_ms(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// The whole second that the time lies in.
    #[must_use]
    pub const fn floor_second(self) -> Self {
        Self(self.0.saturating_sub(self.0.rem_euclid(1000)))
    }

    /// Reads any of the forms the upstream uses: epoch milliseconds (or seconds) as an integer or
    /// a decimal fraction, and ISO 8601 with `Z`, `+0000`, `+00:00`, `+01` or no offset, with an
    /// hour of one digit, with or without a fraction of a second.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim_ascii();
        Self::parse_epoch(text).or_else(|| Self::parse_iso(text))
    }

    /// Reads an HTTP date such as `Sun, 06 Nov 1994 08:49:37 GMT`.
    #[must_use]
    pub fn parse_http(text: &str) -> Option<Self> {
        let (_, rest) = text.trim_ascii().split_once(',')?;
        let mut words = rest.split_ascii_whitespace();
        let day = number(words.next()?, 1, 2)?;
        let month_name = words.next()?;
        let month = MONTHS
            .iter()
            .position(|name| name.eq_ignore_ascii_case(month_name))?;
        let month = i64::try_from(month).ok()?.checked_add(1)?;
        let year = number(words.next()?, 4, 4)?;
        let mut clock = words.next()?.split(':');
        let hour = number(clock.next()?, 2, 2)?;
        let minute = number(clock.next()?, 2, 2)?;
        let second = number(clock.next()?, 2, 2)?;
        matches!(words.next()?, "GMT" | "UTC" | "+0000").then_some(())?;
        (clock.next().is_none() && words.next().is_none()).then_some(())?;
        Some(Self(
            date(year, month, day)? + clock_ms(hour, minute, second)?,
        ))
    }

    /// Appends RFC 3339 with milliseconds and `Z`: `2026-02-03T04:05:06.789Z`. It has no years
    /// but 0 to 9999; a time beyond them is written as the nearest it has.
    pub fn write_rfc3339(self, out: &mut String) {
        let within = Self(self.0.clamp(-62_167_219_200_000, 253_402_300_799_999));
        let (days, clock) = within.parts();
        let (year, month, day) = civil(days);
        let (Ok(year), Ok(clock)) = (u32::try_from(year), u32::try_from(clock)) else {
            return;
        };
        let mut text = *b"0000-00-00T00:00:00.000Z";
        let [
            y1,
            y2,
            y3,
            y4,
            _,
            m1,
            m2,
            _,
            d1,
            d2,
            _,
            h1,
            h2,
            _,
            n1,
            n2,
            _,
            s1,
            s2,
            _,
            f1,
            f2,
            f3,
            _,
        ] = &mut text;
        let seconds = clock / 1000;
        [*y1, *y2] = two_digits(year / 100);
        [*y3, *y4] = two_digits(year % 100);
        [*m1, *m2] = two_digits(month);
        [*d1, *d2] = two_digits(day);
        [*h1, *h2] = two_digits(seconds / 3600);
        [*n1, *n2] = two_digits(seconds / 60 % 60);
        [*s1, *s2] = two_digits(seconds % 60);
        [*f1, *f2] = two_digits(clock % 1000 / 10);
        [_, *f3] = two_digits(clock % 10);
        out.push_str(str::from_utf8(&text).unwrap_or_default());
    }

    /// The same as a new string.
    #[must_use]
    pub fn to_rfc3339(self) -> String {
        let mut out = String::with_capacity(24);
        self.write_rfc3339(&mut out);
        out
    }

    /// Only the day: `2026-02-03`.
    #[must_use]
    pub fn to_day(self) -> String {
        self.cut(10)
    }

    /// To the second with a numeric offset: `2026-02-03T04:05:06+0000`.
    #[must_use]
    pub fn to_upstream(self) -> String {
        self.cut(19) + "+0000"
    }

    /// As a signature of API 1.0 has it: `Fri, 31 May 2024 10:15:30 UTC`.
    #[must_use]
    pub fn to_signed_date(self) -> String {
        let (days, clock) = self.parts();
        let (year, month, day) = civil(days);
        // 1970 began on a Thursday.
        let weekday = usize::try_from(days.saturating_add(4).rem_euclid(7)).unwrap_or(0);
        let month = usize::try_from(month.saturating_sub(1)).unwrap_or(0);
        let name = |names: &[&'static str], at: usize| names.get(at).copied().unwrap_or_default();
        let seconds = clock / 1000;
        format!(
            "{}, {day:02} {} {year} {:02}:{:02}:{:02} UTC",
            name(&WEEKDAYS, weekday),
            name(&MONTHS, month),
            seconds / 3600,
            seconds / 60 % 60,
            seconds % 60
        )
    }

    /// The beginning of RFC 3339.
    fn cut(self, length: usize) -> String {
        let mut text = self.to_rfc3339();
        text.truncate(length);
        text
    }

    /// Days since the epoch, and milliseconds of that day.
    const fn parts(self) -> (i64, i64) {
        (self.0.div_euclid(MS_PER_DAY), self.0.rem_euclid(MS_PER_DAY))
    }

    fn parse_epoch(text: &str) -> Option<Self> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let bare = whole.strip_prefix('-').unwrap_or(whole);
        let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !is_digits(bare) || !is_digits(fraction) {
            return None;
        }
        let value: i64 = whole.parse().ok()?;
        if value.checked_abs()? >= EPOCH_SECONDS_MAX {
            return Some(Self(value));
        }
        let ms = number(fraction.get(..3).unwrap_or(fraction), 1, 3)?;
        let scale = match fraction.len() {
            1 => 100,
            2 => 10,
            _ => 1,
        };
        Some(Self(value.checked_mul(1000)?.checked_add(ms * scale)?))
    }

    fn parse_iso(text: &str) -> Option<Self> {
        let (day, rest) = text.split_at_checked(10)?;
        let mut parts = day.split('-');
        let year = number(parts.next()?, 4, 4)?;
        let month = number(parts.next()?, 2, 2)?;
        let midnight = date(year, month, number(parts.next()?, 2, 2)?)?;
        if rest.is_empty() {
            return Some(Self(midnight));
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
        let time = midnight + clock_ms(hour, minute, second)? + fraction_ms(fraction)?;
        Some(Self(time - offset_ms(zone.trim_ascii())?))
    }
}

/// A decimal number of that many digits.
fn number(text: &str, min_digits: usize, max_digits: usize) -> Option<i64> {
    if !(min_digits..=max_digits).contains(&text.len()) {
        return None;
    }
    text.bytes().try_fold(0, |sum: i64, byte| {
        byte.is_ascii_digit()
            .then(|| sum * 10 + i64::from(byte - b'0'))
    })
}

fn fraction_ms(text: &str) -> Option<i64> {
    let valid = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    valid.then(|| {
        text.bytes()
            .chain(*b"00")
            .take(3)
            .fold(0, |sum, byte| sum * 10 + i64::from(byte - b'0'))
    })
}

fn clock_ms(hour: i64, minute: i64, second: i64) -> Option<i64> {
    // 60 is a leap second; it becomes the first second of the next minute.
    (hour < 24 && minute < 60 && second <= 60)
        .then_some(((hour * 60 + minute) * 60 + second) * 1000)
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
    Some(sign * clock_ms(number(hours, 2, 2)?, minutes, 0)?)
}

/// Milliseconds from the epoch to the midnight a day begins with; no such day, no answer.
fn date(year: i64, month: i64, day: i64) -> Option<i64> {
    let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let days_in_month = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => return None,
    };
    if !(1..=days_in_month).contains(&day) {
        return None;
    }
    // Years counted from March, so that the leap day is the last: eras of 400 years.
    let shifted = if month > 2 { year } else { year - 1 };
    let era = shifted.div_euclid(400);
    let year_of_era = shifted.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Some((era * 146_097 + day_of_era - 719_468) * MS_PER_DAY)
}

/// Year, month and day of a count of days since the epoch.
fn civil(days: i64) -> (i64, u32, u32) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (
        year,
        u32::try_from(month).unwrap_or_default(),
        u32::try_from(day).unwrap_or_default(),
    )
}

/// The last two decimal digits.
fn two_digits(value: u32) -> [u8; 2] {
    [value / 10 % 10, value % 10].map(|digit| b'0' + u8::try_from(digit).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn iso(text: &str) -> Option<String> {
        Timestamp::parse(text).map(Timestamp::to_rfc3339)
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
            "1e12",
            "é026-02-03",
            "20é6-02-03",
        ] {
            assert_eq!(iso(text), None, "{text}");
        }
    }

    #[test]
    fn http_dates_are_read() {
        let time = Timestamp::parse_http("Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(time, Some(Timestamp::from_millis(784_111_777_000)));
        assert_eq!(Timestamp::parse_http("Sun, 06 Nov 1994 08:49:37 CET"), None);
        assert_eq!(Timestamp::parse_http("Sunday"), None);
    }

    #[test]
    fn the_written_forms() {
        let time = Timestamp::from_millis(1_770_091_506_789);
        assert_eq!(time.to_day(), "2026-02-03");
        assert_eq!(time.to_upstream(), "2026-02-03T04:05:06+0000");
        assert_eq!(time.to_rfc3339(), "2026-02-03T04:05:06.789Z");
        assert_eq!(time.to_signed_date(), "Tue, 03 Feb 2026 04:05:06 UTC");
        assert_eq!(
            Timestamp::from_millis(0).to_signed_date(),
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

        #[test]
        fn any_text_is_survived(text in "\\PC{0,40}") {
            let _ = Timestamp::parse(&text);
            let _ = Timestamp::parse_http(&text);
        }
    }
}
