//! The error bodies of the API, in all their formats (`mimecast-api.md` §6.1).

use serde::Deserialize;
use serde_json::value::RawValue;

use super::sanitize::sanitize;
use super::{lenient, parse_json};

/// An error that the API reports. What cannot be read of it is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamError {
    /// Mimecast's error code, or the empty text.
    pub code: String,
    /// Mimecast's message, or the empty text.
    pub message: String,
}

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
struct ErrorObject {
    #[serde(default, deserialize_with = "lenient::text_or_absent")]
    code: Option<String>,
    #[serde(default, deserialize_with = "lenient::text_or_absent")]
    message: Option<String>,
}

impl From<ErrorObject> for UpstreamError {
    fn from(error: ErrorObject) -> Self {
        Self {
            code: sanitize(&error.code.unwrap_or_default()),
            message: sanitize(&error.message.unwrap_or_default()),
        }
    }
}

/// Returns the first error that a body names, in any format; `None` for a body of none of the formats.
///
/// The body of a successful response must be checked as well: HTTP 200 with a `fail` occurs.
#[must_use]
pub fn read(body: &[u8]) -> Option<UpstreamError> {
    let body: Body<'_> = serde_json::from_slice(body).ok()?;
    let is_not_empty = |value: &&RawValue| !matches!(value.get(), "{}" | "\"\"" | "false");
    if let Some(first) = body.fail.filter(is_not_empty).and_then(first) {
        return Some(error_from_fail(first));
    }
    if let Some(error) = body.error.filter(is_not_empty) {
        return Some(error_from_value(error));
    }
    body.detail.map(|text| UpstreamError {
        code: String::new(),
        message: sanitize(&text),
    })
}

/// Returns the first element of a list, or the value itself; nothing where the list is empty.
fn first(value: &RawValue) -> Option<&RawValue> {
    match parse_json::<Vec<&RawValue>>(value.get()) {
        Ok(list) => list.into_iter().next(),
        Err(_) => Some(value),
    }
}

fn error_from_fail(value: &RawValue) -> UpstreamError {
    let nested = parse_json::<Fail<'_>>(value.get());
    match nested.ok().and_then(|fail| fail.errors) {
        Some(errors) => first(errors).map_or_else(UpstreamError::without_details, error_from_value),
        None => error_from_value(value),
    }
}

/// Returns an error that is an object or a text; any other value is an error without details.
fn error_from_value(value: &RawValue) -> UpstreamError {
    if let Some(text) = lenient::text(value) {
        return UpstreamError {
            code: String::new(),
            message: sanitize(&text),
        };
    }
    parse_json::<ErrorObject>(value.get())
        .map_or_else(|_| UpstreamError::without_details(), Into::into)
}

impl UpstreamError {
    const fn without_details() -> Self {
        Self {
            code: String::new(),
            message: String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code_and_message(body: &str) -> Option<(String, String)> {
        read(body.as_bytes()).map(|error| (error.code, error.message))
    }

    fn pair(code: &str, message: &str) -> (String, String) {
        (code.to_owned(), message.to_owned())
    }

    #[test]
    fn every_documented_shape_is_read() {
        let nested = r#"{"meta":{"status":401},"data":[],"fail":[{"errors":[{"code":"token_expired","message":"m","retryable":false}]}]}"#;
        assert_eq!(
            code_and_message(nested).unwrap(),
            pair("token_expired", "m")
        );
        let keyed = r#"{"fail":[{"key":{"a":1},"errors":[{"code":"err_validation_null","message":"n","field":"x"}]}]}"#;
        assert_eq!(
            code_and_message(keyed).unwrap(),
            pair("err_validation_null", "n")
        );
        let flat = r#"{"fail":[{"code":"app_forbidden","message":"Forbidden"}]}"#;
        assert_eq!(
            code_and_message(flat).unwrap(),
            pair("app_forbidden", "Forbidden")
        );
        assert_eq!(
            code_and_message(r#"{"fail":[{"code":"unauthorized"}]}"#).unwrap(),
            pair("unauthorized", "")
        );
        assert_eq!(
            code_and_message(r#"{"error":{"message":"too old"}}"#).unwrap(),
            pair("", "too old")
        );
        assert_eq!(
            code_and_message(r#"{"detail":"Over throttling limit"}"#).unwrap(),
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
            assert_eq!(
                code_and_message(body).unwrap(),
                pair(code, message),
                "{body}"
            );
        }
        for none in ["null", "{}", "\"\"", "false"] {
            let body = format!(r#"{{"data":[],"fail":{none},"error":{none}}}"#);
            assert_eq!(code_and_message(&body), None, "{body}");
        }
    }

    #[test]
    fn a_response_without_an_error_is_none() {
        assert_eq!(
            code_and_message(r#"{"meta":{"status":200},"data":[],"fail":[]}"#),
            None
        );
        assert_eq!(
            code_and_message(r#"{"value":[],"@nextPage":"x","isCaughtUp":true}"#),
            None
        );
        assert_eq!(code_and_message("<html>"), None);
        assert_eq!(code_and_message("[]"), None);
    }
}
