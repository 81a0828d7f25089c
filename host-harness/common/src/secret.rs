//! Secret text, which prints as `[redacted]`, and the redactor that removes it from text for people.

use std::fmt;
use std::sync::Arc;

/// Replacement text for a secret.
const REDACTED: &str = "[redacted]";

/// Minimum length of a redacted secret; a shorter one would match parts of unrelated words.
const REDACTED_BYTES_MIN: usize = 6;

/// Text that holds a secret. It has no `Display`, and its `Debug` does not
/// show it.
#[derive(Clone, Eq, PartialEq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// Returns the secret text. Call it only where the secret is used.
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

/// Removes known secrets from text.
#[derive(Clone, Default)]
pub struct Redactor {
    secrets: Arc<[String]>,
}

impl Redactor {
    /// Creates a redactor for these secrets, in plain and in JSON-escaped
    /// form. One shorter than 6 bytes is ignored, since it would match parts
    /// of unrelated words.
    pub fn new(secrets: impl IntoIterator<Item = String>) -> Self {
        let mut secrets: Vec<String> = secrets
            .into_iter()
            .filter(|secret| secret.len() >= REDACTED_BYTES_MIN)
            .flat_map(|secret| [escape_json(&secret), secret])
            .collect();
        // Longest first, so that a secret that contains another is redacted as a whole.
        secrets.sort_by(|one, other| other.len().cmp(&one.len()).then_with(|| one.cmp(other)));
        secrets.dedup();
        Self {
            secrets: secrets.into(),
        }
    }

    /// Returns a redactor for these secrets as well.
    #[must_use]
    pub fn with(&self, more: impl IntoIterator<Item = String>) -> Self {
        Self::new(self.secrets.iter().cloned().chain(more))
    }

    /// Returns a redactor that also finds these secrets in lower case.
    #[must_use]
    pub fn with_lower_case(&self) -> Self {
        let secrets = self.secrets.iter();
        self.with(secrets.map(|secret| secret.to_ascii_lowercase()))
    }

    /// Returns the text with all of them replaced.
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

    /// Returns whether the text contains one of them.
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

/// Returns the text as it appears inside the quotes of a JSON string.
fn escape_json(text: &str) -> String {
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
    fn a_secret_is_also_found_in_its_json_escaped_form() {
        let redactor = Redactor::new(["pass\"word\\1".to_owned()]);
        let json = serde_json::json!({ "key": "pass\"word\\1" }).to_string();
        assert!(redactor.contains_secret(&json));
        assert_eq!(redactor.redact(&json), r#"{"key":"[redacted]"}"#);
        assert!(!redactor.contains_secret("password1"));
    }

    #[test]
    fn a_secret_that_contains_another_is_redacted_as_a_whole() {
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
    fn every_occurrence_of_a_secret_is_redacted() {
        let redactor = Redactor::new(["hunter22".to_owned(), "s3cr3t!".to_owned()]);
        assert_eq!(
            redactor.redact("hunter22 and hunter22, s3cr3t!"),
            "[redacted] and [redacted], [redacted]"
        );
    }

    #[test]
    fn a_very_short_secret_is_not_redacted() {
        assert_eq!(Redactor::new(["a".to_owned()]).redact("banana"), "banana");
    }
}
