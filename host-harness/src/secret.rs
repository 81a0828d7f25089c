//! Text that must not be seen: it prints as `[redacted]`, and it is taken out
//! of whatever a component says.

use std::fmt;
use std::sync::Arc;

/// What stands in the place of a secret.
const REDACTED: &str = "[redacted]";

/// Shorter ones would take out parts of innocent words.
const REDACTED_BYTES_MIN: usize = 6;

/// Text that holds a secret. It has no `Display`, and its `Debug` does not
/// show it.
#[derive(Clone, Eq, PartialEq)]
pub struct Secret(String);

impl Secret {
    /// Take a secret in.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself, for the one place that needs it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

/// Takes known secrets out of text.
#[derive(Clone, Default)]
pub struct Redactor {
    secrets: Arc<[String]>,
}

impl Redactor {
    /// A redactor for these secrets.
    pub fn new(secrets: impl IntoIterator<Item = String>) -> Self {
        Self {
            secrets: secrets
                .into_iter()
                .filter(|secret| secret.len() >= REDACTED_BYTES_MIN)
                .collect(),
        }
    }

    /// The text without the secrets.
    #[must_use]
    pub fn redact(&self, text: &str) -> String {
        self.secrets.iter().fold(text.to_owned(), |text, secret| {
            text.replace(secret, REDACTED)
        })
    }
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Redactor({} secrets)", self.secrets.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_print() {
        assert_eq!(
            format!("{:?}", Secret::new("hunter22".to_owned())),
            "[redacted]"
        );
        let redactor = Redactor::new(["hunter22".to_owned()]);
        assert_eq!(format!("{redactor:?}"), "Redactor(1 secrets)");
    }

    #[test]
    fn every_occurrence_of_a_secret_is_taken_out() {
        let redactor = Redactor::new(["hunter22".to_owned(), "s3cr3t!".to_owned()]);
        assert_eq!(
            redactor.redact("hunter22 and hunter22, s3cr3t!"),
            "[redacted] and [redacted], [redacted]"
        );
    }

    #[test]
    fn a_very_short_secret_takes_nothing_out() {
        assert_eq!(Redactor::new(["a".to_owned()]).redact("banana"), "banana");
    }
}
