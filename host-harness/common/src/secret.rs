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
    pub fn expose(&self) -> &str {
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
    /// A redactor for these secrets, as they are and as they stand in a JSON
    /// string.
    pub fn new(secrets: impl IntoIterator<Item = String>) -> Self {
        let mut secrets: Vec<String> = secrets
            .into_iter()
            .filter(|secret| secret.len() >= REDACTED_BYTES_MIN)
            .flat_map(|secret| [in_json(&secret), secret])
            .collect();
        // A secret that holds another one is taken out as a whole.
        secrets.sort_by(|one, other| other.len().cmp(&one.len()).then_with(|| one.cmp(other)));
        secrets.dedup();
        Self {
            secrets: secrets.into(),
        }
    }

    /// The text without the secrets.
    #[must_use]
    pub fn redact(&self, text: &str) -> String {
        let mut redacted = text.to_owned();
        for secret in self.secrets.iter() {
            if redacted.contains(secret) {
                redacted = redacted.replace(secret, REDACTED);
            }
        }
        redacted
    }

    /// Whether a secret is in the text.
    #[must_use]
    pub fn contains_secret(&self, text: &str) -> bool {
        self.secrets.iter().any(|secret| text.contains(secret))
    }
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Redactor({} secrets)", self.secrets.len())
    }
}

/// A text between the quotes of a JSON string.
fn in_json(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    let inner = quoted
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    inner.unwrap_or(text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_also_found_as_it_stands_in_json() {
        let redactor = Redactor::new(["pass\"word\\1".to_owned()]);
        let json = serde_json::json!({ "key": "pass\"word\\1" }).to_string();
        assert!(redactor.contains_secret(&json));
        assert_eq!(redactor.redact(&json), r#"{"key":"[redacted]"}"#);
        assert!(!redactor.contains_secret("password1"));
    }

    #[test]
    fn of_two_secrets_of_which_one_holds_the_other_nothing_is_left() {
        let redactor = Redactor::new(["hunter".to_owned(), "hunter22".to_owned()]);
        assert_eq!(redactor.redact("hunter22 hunter"), "[redacted] [redacted]");
    }

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
