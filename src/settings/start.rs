//! Where a source without a checkpoint begins.

use super::{SettingsError, error};
use crate::time::Timestamp;

/// Where collection begins without a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// This many milliseconds before the first poll.
    Ago(i64),
    /// At a point in time.
    At(Timestamp),
}

impl Start {
    /// Returns the point in time, for a first poll at `now`.
    #[must_use]
    pub const fn resolve(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Ago(ms) => Timestamp::from_millis(now.millis().saturating_sub(ms)),
            Self::At(at) => at,
        }
    }
}

/// Parses a duration before the first poll, or a time.
pub(super) fn parse_start(text: &str) -> Result<Start, SettingsError> {
    if let Some(ms) = parse_duration(text) {
        return Ok(Start::Ago(ms));
    }
    Timestamp::parse(text)
        .filter(|_| text.contains('T'))
        .map(Start::At)
        .ok_or_else(|| {
            error(
                "start",
                "must be a duration like \"24h\" or a time like \"2026-01-31T00:00:00Z\"",
            )
        })
}

/// Parses `90s`, `15m`, `24h` or `7d` into milliseconds.
pub(super) fn parse_duration(text: &str) -> Option<i64> {
    let unit_at = text.len().checked_sub(1)?;
    let (number, unit) = text.split_at_checked(unit_at)?;
    let unit_ms: i64 = match unit {
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    let number: u32 = number.parse().ok()?;
    i64::from(number).checked_mul(unit_ms)
}
