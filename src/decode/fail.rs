//! The shapes in which the API says that something failed (`mimecast-api.md` §6.1).

use serde::Deserialize;
use serde_json::value::RawValue;

use super::lenient;

/// An error body, read as far as it could be. A body without any of the shapes is `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamError {
    /// Mimecast's error code, or the empty text.
    pub code: String,
    /// Mimecast's message, or the empty text.
    pub message: String,
}

/// A text from outside is cut to this many characters before it is shown to a person.
const SHOWN_CHARS_MAX: usize = 200;

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow, default)]
    fail: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
    #[serde(default, deserialize_with = "lenient::text_or_absent")]
    detail: Option<String>,
}

/// A failure, flat or as a list of errors.
#[derive(Deserialize)]
struct Fail<'a> {
    #[serde(borrow, default)]
    errors: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Flat {
    #[serde(default, deserialize_with = "lenient::text_or_absent")]
    code: Option<String>,
    #[serde(default, deserialize_with = "lenient::text_or_absent")]
    message: Option<String>,
}

impl From<Flat> for UpstreamError {
    fn from(flat: Flat) -> Self {
        Self {
            code: sanitize(&flat.code.unwrap_or_default()),
            message: sanitize(&flat.message.unwrap_or_default()),
        }
    }
}

/// Reads the first error that a body names, in any of its shapes.
///
/// A body of a successful answer must be read too: HTTP 200 with a `fail` is real.
#[must_use]
pub fn read(body: &[u8]) -> Option<UpstreamError> {
    let body: Body<'_> = serde_json::from_slice(body).ok()?;
    let named = |value: &&RawValue| !matches!(value.get(), "{}" | "\"\"" | "false");
    if let Some(first) = body.fail.filter(named).and_then(first) {
        return Some(of_fail(first));
    }
    if let Some(error) = body.error.filter(named) {
        return Some(of_value(error));
    }
    body.detail.map(|text| UpstreamError {
        code: String::new(),
        message: sanitize(&text),
    })
}

/// Returns the first element of a list, or the value itself; nothing where the list is empty.
fn first(value: &RawValue) -> Option<&RawValue> {
    match serde_json::from_str::<Vec<&RawValue>>(value.get()) {
        Ok(list) => list.into_iter().next(),
        Err(_) => Some(value),
    }
}

fn of_fail(value: &RawValue) -> UpstreamError {
    let nested = serde_json::from_str::<Fail<'_>>(value.get());
    match nested.ok().and_then(|fail| fail.errors) {
        Some(errors) => first(errors).map_or_else(UpstreamError::unnamed, of_value),
        None => of_value(value),
    }
}

/// Returns an error that is an object or a text; any other value is an error without details.
fn of_value(value: &RawValue) -> UpstreamError {
    if let Some(text) = lenient::text(value) {
        return UpstreamError {
            code: String::new(),
            message: sanitize(&text),
        };
    }
    serde_json::from_str::<Flat>(value.get()).map_or_else(|_| UpstreamError::unnamed(), Into::into)
}

impl UpstreamError {
    const fn unnamed() -> Self {
        Self {
            code: String::new(),
            message: String::new(),
        }
    }
}

/// Sanitizes untrusted text: one line, no invisible characters, bounded length.
#[must_use]
pub fn sanitize(text: &str) -> String {
    sanitize_within(text, SHOWN_CHARS_MAX)
}

/// Sanitizes untrusted text to at most so many characters.
#[must_use]
pub fn sanitize_within(text: &str, chars_max: usize) -> String {
    let plain = |c: char| if is_invisible(c) { ' ' } else { c };
    text.chars().take(chars_max).map(plain).collect()
}

/// Sanitizes untrusted text to at most so many bytes.
#[must_use]
pub fn sanitize_bytes(text: &str, bytes_max: usize) -> String {
    let cut = text.floor_char_boundary(bytes_max);
    sanitize_within(text.get(..cut).unwrap_or_default(), bytes_max)
}

/// Returns whether a character is invisible and affects how others are displayed, or ends a line:
/// control characters, line separators, marks and embeddings of the direction of writing.
#[must_use]
pub fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{61c}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{2069}'
                | '\u{feff}'
        )
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
    fn an_error_whose_members_have_another_type_is_an_error_all_the_same() {
        for (body, code, message) in [
            (
                r#"{"data":[],"fail":[{"code":403,"message":"no"}]}"#,
                "403",
                "no",
            ),
            (r#"{"fail":[{"errors":[{"code":7}]}]}"#, "7", ""),
            (r#"{"fail":[{"errors":{"code":"c"}}]}"#, "c", ""),
            (r#"{"fail":{"code":"c","message":null}}"#, "c", ""),
            (r#"{"fail":["why"]}"#, "", "why"),
            (r#"{"fail":[7]}"#, "", "7"),
            (r#"{"fail":[{"errors":null,"code":["x"]}]}"#, "", ""),
            (r#"{"error":{"message":{"a":1}}}"#, "", ""),
            (r#"{"fail":null,"error":"why"}"#, "", "why"),
        ] {
            assert_eq!(both(body).unwrap(), pair(code, message), "{body}");
        }
        for none in ["null", "{}", "\"\"", "false"] {
            let body = format!(r#"{{"data":[],"fail":{none},"error":{none}}}"#);
            assert_eq!(both(&body), None, "{body}");
        }
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
        assert_eq!(sanitize("a\nb\u{1b}[31m"), "a b [31m");
        assert_eq!(sanitize("a\u{202e}b\u{2066}c\u{2028}d\u{85}e"), "a b c d e");
        assert_eq!(sanitize("héllo – 日本 😀"), "héllo – 日本 😀");
        assert_eq!(sanitize(&"x".repeat(1000)).len(), SHOWN_CHARS_MAX);
        assert_eq!(sanitize_within("é\nx", 2), "é ");
        assert_eq!(sanitize_bytes("éé\nx", 3), "é");
        assert_eq!(sanitize_bytes("é\u{2028}x", 99), "é x");
    }
}
