//! Sanitizes text that a component returns, for logs, terminals and files: removes
//! the secrets of its source and characters that could forge or hide a line,
//! and bounds the length.
//!
//! [`Sanitizer`] is applied where values enter the host, in
//! [`crate::engine::Instance`], so that no other code sees unsanitized text.
//! Events and the originals of rejected records are data and stay unchanged;
//! so do the checkpoint and the session, which only their component reads.

use serde_json::Value;
use source_common::escape::{escape, needs_escape};
use source_common::secret::Redactor;

use crate::bindings::{
    Batch, CheckOutcome, CheckResult, Description, Normalized, NotPermitted, PollError,
    RejectedRecord, SettingsError,
};

/// Maximum length of names of components, streams, kinds and formats, versions and origins.
pub const NAME_BYTES_MAX: usize = 256;
/// Maximum length of a rejected record's locator and reason.
pub const REASON_BYTES_MAX: usize = 1024;
/// Maximum length of text for people: notices, errors, summaries, check results. Such a
/// text is in one line of the log and in the state file.
pub const DETAIL_BYTES_MAX: usize = 2048;

/// Sanitizes text of one source's component.
#[derive(Clone, Debug, Default)]
pub struct Sanitizer {
    redactor: Redactor,
}

impl Sanitizer {
    /// Creates a sanitizer that also redacts the secrets of the redactor.
    #[must_use]
    pub fn new(redactor: Redactor) -> Self {
        Self { redactor }
    }

    /// Returns the text without secrets, with control characters escaped, and truncated
    /// if it is longer than `bytes_max`.
    #[must_use]
    pub fn text(&self, text: &str, bytes_max: usize) -> String {
        // Redacted first: truncation could leave half of a secret.
        let redacted = self.redactor.redact(text);
        let truncated = truncate(&redacted, bytes_max);
        let escaped = escape(truncated);
        let shown = truncate(&escaped, bytes_max);
        if truncated.len() == redacted.len() && shown.len() == escaped.len() {
            return escaped.into_owned();
        }
        format!("{shown}… (cut, {} bytes)", redacted.len())
    }

    fn apply(&self, text: &mut String, bytes_max: usize) {
        *text = self.text(text, bytes_max);
    }

    /// Sanitizes every text of a batch except its events, originals, checkpoint and session.
    pub fn batch(&self, batch: &mut Batch) {
        self.rejected(&mut batch.rejected);
        for notice in &mut batch.notices {
            self.apply(&mut notice.stream, NAME_BYTES_MAX);
            self.apply(&mut notice.detail, DETAIL_BYTES_MAX);
        }
        for stats in &mut batch.stats {
            self.apply(&mut stats.stream, NAME_BYTES_MAX);
        }
        for status in &mut batch.status {
            self.apply(&mut status.stream, NAME_BYTES_MAX);
            self.apply(&mut status.detail, DETAIL_BYTES_MAX);
        }
    }

    /// Sanitizes every text of a `normalize` result except its events and originals.
    pub fn normalized(&self, normalized: &mut Normalized) {
        self.rejected(&mut normalized.rejected);
    }

    fn rejected(&self, records: &mut [RejectedRecord]) {
        for record in records {
            self.apply(&mut record.stream, NAME_BYTES_MAX);
            self.apply(&mut record.locator, REASON_BYTES_MAX);
            self.apply(&mut record.reason, REASON_BYTES_MAX);
        }
    }

    /// Sanitizes every text of an error.
    pub fn poll_error(&self, error: &mut PollError) {
        match error {
            PollError::Denied(origin) => self.apply(origin, NAME_BYTES_MAX),
            PollError::Internal(detail)
            | PollError::Unauthorized(detail)
            | PollError::UnusableCheckpoint(detail) => self.apply(detail, DETAIL_BYTES_MAX),
            PollError::Protocol(failure)
            | PollError::Throttled(failure)
            | PollError::Unavailable(failure) => self.apply(&mut failure.detail, DETAIL_BYTES_MAX),
            PollError::Settings(error) => self.settings_error(error),
        }
    }

    /// Sanitizes every text of an error about settings.
    pub fn settings_error(&self, error: &mut SettingsError) {
        self.apply(&mut error.setting, NAME_BYTES_MAX);
        self.apply(&mut error.detail, DETAIL_BYTES_MAX);
    }

    /// Sanitizes every text of a check result.
    pub fn check_result(&self, result: &mut CheckResult) {
        self.apply(&mut result.stream, NAME_BYTES_MAX);
        for text in [&mut result.account, &mut result.remark]
            .into_iter()
            .flatten()
        {
            self.apply(text, DETAIL_BYTES_MAX);
        }
        match &mut result.outcome {
            CheckOutcome::Failed(error) => self.poll_error(error),
            CheckOutcome::NotPermitted(NotPermitted {
                permission,
                product,
                detail,
            }) => {
                for text in [permission, product, detail] {
                    self.apply(text, DETAIL_BYTES_MAX);
                }
            }
            CheckOutcome::Readable => {}
        }
    }

    /// Sanitizes every text of a description. Texts inside the settings schema, keys and
    /// values, are only escaped: truncation would make it another schema.
    pub fn description(&self, description: &mut Description) {
        let Description {
            name,
            namespace,
            version,
            settings_schema,
            streams,
            kinds,
            formats,
            origins,
        } = description;
        if let Ok(schema) = serde_json::from_str::<Value>(settings_schema)
            && contains_unsafe_chars(&schema)
        {
            *settings_schema = escape_all(schema).to_string();
        }
        for text in [name, namespace, version]
            .into_iter()
            .chain(formats)
            .chain(origins)
        {
            self.apply(text, NAME_BYTES_MAX);
        }
        for stream in streams {
            self.apply(&mut stream.name, NAME_BYTES_MAX);
            for text in [
                &mut stream.summary,
                &mut stream.endpoint,
                &mut stream.permission,
                &mut stream.product,
                &mut stream.identity,
            ] {
                self.apply(text, DETAIL_BYTES_MAX);
            }
        }
        for kind in kinds {
            self.apply(&mut kind.name, NAME_BYTES_MAX);
            self.apply(&mut kind.stream, NAME_BYTES_MAX);
        }
    }
}

fn truncate(text: &str, bytes_max: usize) -> &str {
    let end = text.floor_char_boundary(bytes_max);
    text.get(..end).unwrap_or(text)
}

/// Returns whether a text in a value has characters that [`escape_all`] escapes.
fn contains_unsafe_chars(value: &Value) -> bool {
    match value {
        Value::Array(values) => values.iter().any(contains_unsafe_chars),
        Value::Bool(_) | Value::Null | Value::Number(_) => false,
        Value::Object(members) => members
            .iter()
            .any(|(key, value)| key.contains(needs_escape) || contains_unsafe_chars(value)),
        Value::String(text) => text.contains(needs_escape),
    }
}

fn escape_all(value: Value) -> Value {
    match value {
        Value::Array(values) => values.into_iter().map(escape_all).collect(),
        Value::Object(members) => members
            .into_iter()
            .map(|(key, value)| (escape(&key).into_owned(), escape_all(value)))
            .collect(),
        Value::String(text) => Value::String(escape(&text).into_owned()),
        Value::Bool(_) | Value::Null | Value::Number(_) => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bindings::{
        Failure, NextPoll, Notice, NoticeKind, Order, StreamDescription, StreamState, StreamStats,
        StreamStatus,
    };

    const HOSTILE: &str = "a hunter22\r\n\u{1b}[2J\u{202e}\u{2066}\u{200f}\u{2028}\u{85}\u{7f}b";
    const HARMLESS: &str =
        "a [redacted]\\r\\n\\u{1b}[2J\\u{202e}\\u{2066}\\u{200f}\\u{2028}\\u{85}\\u{7f}b";

    fn sanitizer() -> Sanitizer {
        Sanitizer::new(Redactor::new(["hunter22".to_owned()]))
    }

    fn hostile() -> String {
        HOSTILE.to_owned()
    }

    /// Asserts that `shown` has `texts` sanitized texts and no secret.
    fn assert_sanitized(shown: &str, texts: usize) {
        // Formatted with `Debug`, its backslashes are doubled.
        let harmless = HARMLESS.replace('\\', r"\\");
        assert_eq!(shown.matches(&harmless).count(), texts, "{shown}");
        assert!(!shown.contains("hunter22"), "{shown}");
    }

    #[test]
    fn control_and_bidirectional_characters_are_escaped() {
        assert_eq!(sanitizer().text(HOSTILE, 1000), HARMLESS);
    }

    #[test]
    fn a_long_text_is_cut_between_characters_and_never_inside_a_secret() {
        assert_eq!(sanitizer().text("äöü", 3), "ä… (cut, 6 bytes)");
        assert_eq!(sanitizer().text("äöü", 6), "äöü");
        assert_eq!(sanitizer().text("\n\n", 3), "\\n\\… (cut, 2 bytes)");
        let text = format!("{}hunter22", "x".repeat(10));
        assert!(!sanitizer().text(&text, 14).contains("hunt"));
    }

    #[test]
    fn no_text_of_a_batch_is_left_out() {
        let mut batch = Batch {
            events: "{}\n".to_owned(),
            index: Vec::new(),
            rejected: vec![RejectedRecord {
                stream: hostile(),
                locator: hostile(),
                reason: hostile(),
                original: HOSTILE.as_bytes().to_vec(),
            }],
            notices: vec![Notice {
                stream: hostile(),
                kind: NoticeKind::Gap,
                detail: hostile(),
            }],
            checkpoint: hostile(),
            next: NextPoll::Now,
            stats: vec![StreamStats {
                stream: hostile(),
                requests: 0,
                received_bytes: 0,
                received: 0,
                events: 0,
                rejected: 0,
                duplicates: 0,
                caught_up: false,
                newest: None,
            }],
            session: Some("a session".to_owned()),
            status: vec![StreamStatus {
                stream: hostile(),
                state: StreamState::Active,
                until: None,
                collected_until: 0,
                quota_remaining: None,
                detail: hostile(),
            }],
        };
        sanitizer().batch(&mut batch);
        assert_eq!(batch.checkpoint, HOSTILE, "it is checked, not changed");
        assert_eq!(batch.rejected[0].original, HOSTILE.as_bytes());
        batch.checkpoint.clear();
        batch.rejected[0].original.clear();
        assert_sanitized(&format!("{batch:?}"), 8);
    }

    #[test]
    fn no_text_of_an_error_a_check_or_a_description_is_left_out() {
        let failure = || Failure {
            detail: hostile(),
            retry_after_ms: 0,
        };
        for mut error in [
            PollError::Denied(hostile()),
            PollError::Internal(hostile()),
            PollError::Protocol(failure()),
            PollError::Settings(SettingsError {
                setting: hostile(),
                detail: hostile(),
            }),
            PollError::Throttled(failure()),
            PollError::Unauthorized(hostile()),
            PollError::Unavailable(failure()),
            PollError::UnusableCheckpoint(hostile()),
        ] {
            sanitizer().poll_error(&mut error);
            let texts = 1 + usize::from(matches!(error, PollError::Settings(_)));
            assert_sanitized(&format!("{error:?}"), texts);
            let mut result = CheckResult {
                stream: hostile(),
                // Sanitized already, which changes nothing now.
                outcome: CheckOutcome::Failed(error),
                clock_skew_ms: None,
                account: Some(hostile()),
                remark: Some(hostile()),
            };
            sanitizer().check_result(&mut result);
            assert_sanitized(&format!("{result:?}"), texts + 3);
        }
        let mut description = Description {
            name: hostile(),
            namespace: hostile(),
            version: hostile(),
            settings_schema: r#"{"properties":{"a\u001bb":{"description":"c\u001bd"}}}"#.to_owned(),
            streams: vec![StreamDescription {
                name: hostile(),
                summary: hostile(),
                endpoint: hostile(),
                permission: hostile(),
                product: hostile(),
                retention_hours: None,
                order: Order::AsWritten,
                identity: hostile(),
            }],
            kinds: Vec::new(),
            formats: vec![hostile()],
            origins: vec![hostile()],
        };
        sanitizer().description(&mut description);
        assert_sanitized(&format!("{description:?}"), 11);
        let schema: Value = serde_json::from_str(&description.settings_schema).unwrap();
        assert_eq!(
            schema["properties"]["a\\u{1b}b"]["description"],
            "c\\u{1b}d"
        );
    }
}
