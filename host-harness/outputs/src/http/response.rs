//! A receiver's HTTP response, and what its status means for the events of the request.

use std::time::{Duration, SystemTime};

use hyper::header::RETRY_AFTER;
use hyper::{HeaderMap, StatusCode};
use source_common::escape::escape;
use source_common::secret::Redactor;

use crate::worker_pool::SendError;

/// Upper bound of `Retry-After`: one header must not block an output for more than an hour.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3_600);
/// Length of a quoted body: enough for an error message, too short to leak events into the log.
const EXCERPT_CHARS: usize = 200;
/// How much of a body is searched for the start of an HTML page.
const HTML_BYTES: usize = 512;

/// The response to one request.
#[derive(Debug)]
pub(crate) struct ReceiverResponse<'a> {
    /// Name of the output, for messages.
    pub(crate) name: &'a str,
    pub(crate) status: StatusCode,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) body: &'a [u8],
    /// Redacts credentials from the receiver's text.
    pub(crate) redactor: &'a Redactor,
    /// When the response arrived.
    pub(crate) received_at: SystemTime,
}

impl ReceiverResponse<'_> {
    /// Returns the output's name, the status and the start of the body, sanitized for logs.
    pub(crate) fn message(&self) -> String {
        let text = String::from_utf8_lossy(self.body);
        let words: Vec<&str> = text.split_whitespace().collect();
        let (name, status) = (self.name, self.status.as_str());
        match self.excerpt(&words.join(" "), EXCERPT_CHARS).as_str() {
            "" => format!("{name} answers {status}"),
            excerpt => format!("{name} answers {status} {excerpt}"),
        }
    }

    /// Returns the start of a receiver's text, sanitized for logs.
    pub(crate) fn excerpt(&self, text: &str, chars_max: usize) -> String {
        // Redacted before cutting: part of a secret would not be recognized.
        let text = self.redactor.redact(text);
        escape(&text.chars().take(chars_max).collect::<String>()).into_owned()
    }

    /// Returns a retryable error; `Retry-After` is respected.
    pub(crate) fn retry_error(&self, reason: String) -> SendError {
        match self.retry_after() {
            Some(wait) => SendError::Throttled {
                reason: reason.into(),
                wait,
            },
            None => SendError::Retry(reason.into()),
        }
    }

    /// Returns the error for a success status with an unexpected body, which accepts nothing.
    pub(crate) fn unexpected_body_error(&self, wanted: &str) -> SendError {
        self.retry_error(format!(
            "{}; that is not {wanted}, so nothing counts as accepted; check the endpoint",
            self.message()
        ))
    }

    /// Returns whether the status accepts a request if no response body is documented. Not 203
    /// (modified by a proxy), 206 and 207 (partial), and HTML: those are login or proxy pages,
    /// never a receiver of events.
    pub(crate) fn is_plain_success(&self) -> bool {
        matches!(self.status.as_u16(), 200 | 201 | 202 | 204) && !self.is_html()
    }

    fn is_html(&self) -> bool {
        let begin = self.body.get(..HTML_BYTES).unwrap_or(self.body);
        let begin = String::from_utf8_lossy(begin).to_ascii_lowercase();
        let begin =
            begin.trim_start_matches(|char: char| char.is_whitespace() || char == '\u{feff}');
        begin.starts_with('<') && (begin.starts_with("<!doctype html") || begin.contains("<html"))
    }

    /// Returns the error for a status other than success, for any receiver.
    pub(super) fn status_error(&self) -> SendError {
        let message = self.message();
        match self.status.as_u16() {
            400 | 413 | 422 => SendError::PartRejected {
                reason: message,
                suspect: None,
            },
            401 | 403 | 407 => {
                SendError::ActionRequired(format!("the credentials are refused: {message}").into())
            }
            408 | 425 | 429 | 500..=599 => self.retry_error(message),
            _ => SendError::ActionRequired(
                format!("{message}; check the endpoint and the format").into(),
            ),
        }
    }

    /// Parses `Retry-After`: seconds, or a date.
    fn retry_after(&self) -> Option<Duration> {
        let text = self.headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
        let wait = match text.parse::<u64>() {
            Ok(seconds) => Duration::from_secs(seconds),
            Err(_) => httpdate::parse_http_date(text)
                .ok()?
                .duration_since(self.received_at)
                .unwrap_or_default(),
        };
        Some(wait.min(RETRY_AFTER_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_response<T>(
        status: u16,
        after: Option<&str>,
        body: &[u8],
        inspect: impl Fn(&ReceiverResponse<'_>) -> T,
    ) -> T {
        let mut headers = HeaderMap::new();
        if let Some(after) = after {
            headers.insert(RETRY_AFTER, after.parse().unwrap());
        }
        inspect(&ReceiverResponse {
            name: "http x",
            status: StatusCode::from_u16(status).unwrap(),
            headers: &headers,
            body,
            redactor: &Redactor::new(["hunter22".to_owned()]),
            received_at: SystemTime::UNIX_EPOCH,
        })
    }

    fn refused(status: u16, after: Option<&str>) -> SendError {
        with_response(status, after, b"no\n good", |response| {
            response.status_error()
        })
    }

    #[test]
    fn each_status_has_its_consequence() {
        assert!(
            matches!(refused(400, None), SendError::PartRejected { reason, .. } if reason == "http x answers 400 no good")
        );
        assert!(matches!(refused(413, None), SendError::PartRejected { .. }));
        for status in [401, 403, 407] {
            assert!(
                matches!(refused(status, None), SendError::ActionRequired(reason) if reason.contains("credentials")),
                "{status}"
            );
        }
        assert!(matches!(refused(404, None), SendError::ActionRequired(_)));
        assert!(matches!(refused(301, None), SendError::ActionRequired(_)));
        for status in [408, 429, 500, 502, 503] {
            assert!(
                matches!(refused(status, None), SendError::Retry(_)),
                "{status}"
            );
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_and_at_most_an_hour() {
        let asked = |after: &str| {
            let SendError::Throttled { wait, .. } = refused(429, Some(after)) else {
                panic!("429 with Retry-After");
            };
            wait.as_secs()
        };
        assert_eq!(asked("7"), 7);
        assert_eq!(asked("Thu, 01 Jan 1970 00:01:00 GMT"), 60);
        assert_eq!(asked("999999999"), 3_600);
        assert!(matches!(refused(503, Some("soon")), SendError::Retry(_)));
    }

    #[test]
    fn a_success_is_one_of_four_statuses_and_no_html() {
        let succeeds = |status, body: &[u8]| {
            with_response(status, None, body, |response| response.is_plain_success())
        };
        for status in [200, 201, 202, 204] {
            assert!(succeeds(status, b""), "{status}");
        }
        for status in [203, 205, 206, 207, 226] {
            assert!(!succeeds(status, b""), "{status}");
        }
        assert!(succeeds(200, b"{\"text\":\"<html>\"}"));
        assert!(succeeds(200, b"<ok/>"));
        for page in [
            "<!DOCTYPE html><title>Log in</title>",
            "\n <html lang=\"en\">",
            "\u{feff}<?xml version=\"1.0\"?><HTML>",
        ] {
            assert!(!succeeds(200, page.as_bytes()), "{page}");
        }
    }

    #[test]
    fn a_message_has_no_secret_no_line_feed_and_no_control_character() {
        let body = b"your token hunter22 is\r\n\x1b[31mwrong\xe2\x80\xae";
        let message = with_response(500, None, body, |response| response.message());
        assert_eq!(
            message,
            "http x answers 500 your token [redacted] is \\u{1b}[31mwrong\\u{202e}"
        );
        // Also where the cut would go through it.
        let long = format!("{}hunter22", "x".repeat(EXCERPT_CHARS - 4));
        let message = with_response(500, None, long.as_bytes(), |response| response.message());
        assert!(!message.contains("hunt"), "{message}");
    }
}
