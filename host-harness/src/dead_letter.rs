//! Records that could not become events, and events that no output can take:
//! one JSON object a line, on the disk before the position moves.

use std::io;
use std::path::PathBuf;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use crate::bindings::RejectedRecord;
use crate::output::{Appender, blocking};

/// A file of rejected records. It is made with the first of them.
#[derive(Debug)]
pub struct DeadLetter {
    path: PathBuf,
    appender: Option<Appender>,
}

impl DeadLetter {
    /// The file at `path`.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self {
            path,
            appender: None,
        }
    }

    /// Write records of one source to the end of the file; they are on the
    /// disk when it returns.
    pub async fn keep(&mut self, source: &str, records: &[RejectedRecord]) -> io::Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        let mut text = String::new();
        for record in records {
            text.push_str(&line(source, record));
            text.push('\n');
        }
        let path = self.path.clone();
        let appender = self.appender.take();
        let appender = blocking(move || {
            let mut appender = match appender {
                Some(appender) => appender,
                None => Appender::open(&path, None)?,
            };
            appender.append(text.as_bytes(), SystemTime::now())?;
            Ok(appender)
        })
        .await?;
        self.appender = Some(appender);
        Ok(())
    }
}

#[derive(Serialize)]
struct Line<'a> {
    source: &'a str,
    stream: &'a str,
    locator: &'a str,
    reason: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    original: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    original_base64: Option<String>,
}

/// A rejected record as one JSON object. Bytes that are not UTF-8 are given
/// in base64, under another name.
#[must_use]
pub fn line(source: &str, record: &RejectedRecord) -> String {
    let original = std::str::from_utf8(&record.original).ok();
    let line = Line {
        source,
        stream: &record.stream,
        locator: &record.locator,
        reason: &record.reason,
        original,
        original_base64: match original {
            Some(_) => None,
            None => Some(STANDARD.encode(&record.original)),
        },
    };
    // Texts in a flat structure always serialize.
    serde_json::to_string(&line).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn record(original: &[u8]) -> RejectedRecord {
        RejectedRecord {
            stream: "siem.receipt".to_owned(),
            locator: "file a, line 3".to_owned(),
            reason: "not a JSON object".to_owned(),
            original: original.to_vec(),
        }
    }

    #[test]
    fn text_is_kept_as_text_and_other_bytes_in_base64() {
        assert_eq!(
            line("acme", &record(b"{\"a\":")),
            r#"{"source":"acme","stream":"siem.receipt","locator":"file a, line 3","reason":"not a JSON object","original":"{\"a\":"}"#
        );
        assert!(line("acme", &record(b"\xff\x00")).ends_with(r#","original_base64":"/wA="}"#));
    }

    #[tokio::test]
    async fn records_are_appended_and_a_torn_line_is_cut_off() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("acme.rejected.ndjson");
        std::fs::write(&path, "{\"torn").unwrap();
        let mut dead_letter = DeadLetter::new(path.clone());
        dead_letter.keep("acme", &[]).await.unwrap();
        dead_letter
            .keep("acme", &[record(b"a"), record(b"b")])
            .await
            .unwrap();
        dead_letter.keep("acme", &[record(b"c")]).await.unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let originals: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["original"].clone())
            .collect();
        assert_eq!(originals, ["a", "b", "c"]);
    }
}
