//! Times as RFC 3339 text. Its years have four digits, so a time after the year 9999 is formatted as the
//! last second of that year: a time may come from a component, a certificate or a stored file.

use std::time::{Duration, UNIX_EPOCH};

/// The last second that RFC 3339 text expresses, in milliseconds since the epoch.
pub const EPOCH_MS_MAX: u64 = 253_402_300_799_000;

/// Formats milliseconds since the epoch as RFC 3339 text, to the second.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "the time is no later than can be formatted"
)]
pub fn time_text(epoch_ms: u64) -> String {
    let time = UNIX_EPOCH.checked_add(Duration::from_millis(epoch_ms.min(EPOCH_MS_MAX)));
    humantime::format_rfc3339_seconds(time.unwrap_or(UNIX_EPOCH)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_after_the_year_9999_is_formatted_as_its_end() {
        assert_eq!(time_text(0), "1970-01-01T00:00:00Z");
        assert_eq!(time_text(1_770_000_000_999), "2026-02-02T02:40:00Z");
        for epoch_ms in [EPOCH_MS_MAX, 253_402_300_800_000, u64::MAX] {
            assert_eq!(time_text(epoch_ms), "9999-12-31T23:59:59Z");
        }
    }
}
