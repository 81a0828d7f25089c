//! The shapes in which the API says that something failed (`mimecast-api.md` §6.1).

use serde::Deserialize;

/// An error body, read as far as it could be. A body without any of the shapes is `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamError {
    /// Mimecast's error code, or the empty text.
    pub code: String,
    /// Mimecast's words, or the empty text.
    pub message: String,
}

/// A text from outside is cut to this many characters before it is shown to a person.
const SHOWN_CHARS_MAX: usize = 200;

#[derive(Deserialize)]
struct Body {
    #[serde(default)]
    fail: Vec<Fail>,
    error: Option<Top>,
    detail: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Fail {
    Nested { errors: Vec<Flat> },
    Flat(Flat),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Top {
    Text(String),
    Flat(Flat),
}

#[derive(Deserialize)]
struct Flat {
    #[serde(default)]
    code: Option<String>,
    #[serde(default)]
    message: Option<String>,
}

impl From<Flat> for UpstreamError {
    fn from(flat: Flat) -> Self {
        Self {
            code: shown(&flat.code.unwrap_or_default()),
            message: shown(&flat.message.unwrap_or_default()),
        }
    }
}

/// Reads the first error that a body names, in any of its shapes.
///
/// A body of a successful answer must be read too: HTTP 200 with a `fail` is real.
#[must_use]
pub fn read(body: &[u8]) -> Option<UpstreamError> {
    let body: Body = serde_json::from_slice(body).ok()?;
    match body.fail.into_iter().next() {
        Some(Fail::Flat(flat)) => return Some(flat.into()),
        Some(Fail::Nested { errors }) => {
            let first = errors.into_iter().next();
            return Some(first.map_or_else(UpstreamError::unnamed, Into::into));
        }
        None => {}
    }
    match (body.error, body.detail) {
        (Some(Top::Flat(flat)), _) => Some(flat.into()),
        (Some(Top::Text(text)), _) | (None, Some(text)) => Some(UpstreamError {
            code: String::new(),
            message: shown(&text),
        }),
        (None, None) => None,
    }
}

impl UpstreamError {
    const fn unnamed() -> Self {
        Self {
            code: String::new(),
            message: String::new(),
        }
    }
}

/// A text from outside on one line, without control characters, and not too long.
#[must_use]
pub fn shown(text: &str) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().take(SHOWN_CHARS_MAX).map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both(body: &str) -> Option<(String, String)> {
        read(body.as_bytes()).map(|error| (error.code, error.message))
    }

    fn pair(code: &str, message: &str) -> (String, String) {
        (code.to_owned(), message.to_owned())
    }

    #[test]
    fn every_documented_shape_is_read() {
        let nested = r#"{"meta":{"status":401},"data":[],"fail":[{"errors":[{"code":"token_expired","message":"m","retryable":false}]}]}"#;
        assert_eq!(both(nested).unwrap(), pair("token_expired", "m"));
        let keyed = r#"{"fail":[{"key":{"a":1},"errors":[{"code":"err_validation_null","message":"n","field":"x"}]}]}"#;
        assert_eq!(both(keyed).unwrap(), pair("err_validation_null", "n"));
        let flat = r#"{"fail":[{"code":"app_forbidden","message":"Forbidden"}]}"#;
        assert_eq!(both(flat).unwrap(), pair("app_forbidden", "Forbidden"));
        assert_eq!(
            both(r#"{"fail":[{"code":"unauthorized"}]}"#).unwrap(),
            pair("unauthorized", "")
        );
        assert_eq!(
            both(r#"{"error":{"message":"too old"}}"#).unwrap(),
            pair("", "too old")
        );
        assert_eq!(
            both(r#"{"detail":"Over throttling limit"}"#).unwrap(),
            pair("", "Over throttling limit")
        );
    }

    #[test]
    fn an_answer_without_an_error_is_none() {
        assert_eq!(both(r#"{"meta":{"status":200},"data":[],"fail":[]}"#), None);
        assert_eq!(
            both(r#"{"value":[],"@nextPage":"x","isCaughtUp":true}"#),
            None
        );
        assert_eq!(both("<html>"), None);
        assert_eq!(both("[]"), None);
    }

    #[test]
    fn a_text_from_outside_is_shown_on_one_short_line() {
        assert_eq!(shown("a\nb\u{1b}[31m"), "a b [31m");
        assert_eq!(shown(&"x".repeat(1000)).len(), SHOWN_CHARS_MAX);
    }
}
