//! Severities that the user sets in place of those of the tables.

use crate::stream::{STREAMS, Stream};

/// Returns the severity that replaces that of a rule, given whether the rule makes an alert.
pub(super) type SeverityOverride<'s> = &'s dyn Fn(bool) -> Option<u8>;

/// The names of the severities, which are those of OCSF; a severity is its place here.
pub const NAMES: [&str; 7] = [
    "unknown",
    "informational",
    "low",
    "medium",
    "high",
    "critical",
    "fatal",
];

/// The name for all events that are alerts.
pub const ALERT: &str = "alert";

/// Severities by stream, by family of streams, or for all alerts; the closest counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Severities(Vec<(String, u8)>);

impl Severities {
    /// Creates severities from pairs of a name and a severity, by name or number.
    ///
    /// # Errors
    ///
    /// Describes the first pair with an unknown name or severity.
    pub fn new<'p>(pairs: impl IntoIterator<Item = (&'p str, &'p str)>) -> Result<Self, String> {
        let mut severities = Vec::new();
        for (name, severity) in pairs {
            let is_known = name == ALERT
                || STREAMS
                    .iter()
                    .any(|row| row.name == name || row.stream.family() == name);
            if !is_known {
                return Err(format!(
                    "{name:?} is neither a stream, nor a family of streams, nor {ALERT:?}"
                ));
            }
            let number = NAMES
                .iter()
                .position(|word| word.eq_ignore_ascii_case(severity))
                .or_else(|| severity.parse().ok())
                .filter(|number| (1..NAMES.len()).contains(number))
                .and_then(|number| u8::try_from(number).ok());
            let Some(number) = number else {
                let names = NAMES.get(1..).unwrap_or_default().join(", ");
                return Err(format!(
                    "the severity of {name} is one of {names} or 1 to 6, and not {severity:?}"
                ));
            };
            severities.push((name.to_owned(), number));
        }
        Ok(Self(severities))
    }

    /// Returns the severity that is set for events of a stream, if one is.
    #[must_use]
    pub fn of(&self, stream: Stream, is_alert: bool) -> Option<u8> {
        let find = |name: &str| self.0.iter().find(|(key, _)| key == name);
        let (_, severity) = find(stream.name())
            .or_else(|| find(stream.family()))
            .or_else(|| find(ALERT).filter(|_| is_alert))?;
        Some(*severity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closest_name_counts() {
        let set = Severities::new([("siem", "low"), ("siem.av", "6"), ("alert", "Critical")]);
        let set = set.unwrap();
        assert_eq!(set.of(Stream::SiemAv, true), Some(6));
        assert_eq!(set.of(Stream::SiemReceipt, true), Some(2));
        assert_eq!(set.of(Stream::Dlp, true), Some(5));
        assert_eq!(set.of(Stream::Dlp, false), None);
    }

    #[test]
    fn what_means_nothing_is_refused() {
        for (name, severity) in [
            ("siem.none", "low"),
            ("audit", "7"),
            ("audit", "unknown"),
            ("audit", ""),
        ] {
            assert!(
                Severities::new([(name, severity)]).is_err(),
                "{name} {severity}"
            );
        }
    }
}
