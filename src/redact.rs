//! Redacts codes in records that permit anyone to restore messages: they are not collected.

use std::borrow::Cow;

use memchr::memmem;

use crate::stream::Stream;

/// The members of a remediation incident that permit its messages to be restored
/// (`mimecast-api.md` §15.1), as their keys end in the text.
const CODES: [&[u8]; 2] = [b"unremediateCode\"", b"restoreCode\""];

/// The text that replaces a code.
const REDACTED: &[u8] = b"\"[redacted]\"";

/// Returns the record without codes. It need not be valid JSON: a rejected record is delivered as
/// well.
#[must_use]
pub fn redact(stream: Stream, record: &[u8]) -> Cow<'_, [u8]> {
    let mut redacted = Cow::Borrowed(record);
    if stream == Stream::Remediation {
        for code in CODES {
            if let Some(without_code) = without_member(&redacted, code) {
                redacted = Cow::Owned(without_code);
            }
        }
    }
    redacted
}

/// Returns the text without the values of a member; `None` where it has no such member.
fn without_member(text: &[u8], key: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(at) = memmem::find(rest, key) {
        let (before, after) = rest.split_at_checked(at.saturating_add(key.len()))?;
        out.extend_from_slice(before);
        let value = after.trim_ascii_start();
        let value = value.strip_prefix(b":").map(<[u8]>::trim_ascii_start);
        match value {
            Some(value) if !value.starts_with(b"null") => {
                out.push(b':');
                out.extend_from_slice(REDACTED);
                rest = value.get(value_len(value)..).unwrap_or_default();
            }
            Some(_) | None => rest = after,
        }
    }
    if out.is_empty() {
        return None;
    }
    out.extend_from_slice(rest);
    Some(out)
}

/// Returns the length of the value that the text begins with: of a string up to its closing quote, of
/// any other value up to the delimiter after it.
fn value_len(text: &[u8]) -> usize {
    let Some(string) = text.strip_prefix(b"\"") else {
        let end = text.iter().position(|byte| b",}]\n".contains(byte));
        return end.unwrap_or(text.len());
    };
    let mut is_escaped = false;
    let end = string.iter().position(|byte| {
        let is_end = *byte == b'"' && !is_escaped;
        is_escaped = *byte == b'\\' && !is_escaped;
        is_end
    });
    end.map_or(text.len(), |end| end.saturating_add(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redacted(record: &str) -> String {
        String::from_utf8(redact(Stream::Remediation, record.as_bytes()).into_owned()).unwrap()
    }

    #[test]
    fn no_code_is_left_and_everything_else_is() {
        for (record, expected) in [
            (
                r#"{"id":"a","searchCriteria":{"unremediateCode":"UN-1","restoreCode" : "RE\"2","from":"b"}}"#,
                r#"{"id":"a","searchCriteria":{"unremediateCode":"[redacted]","restoreCode":"[redacted]","from":"b"}}"#,
            ),
            (
                r#"[{"restoreCode":12},{"restoreCode":null},{"restoreCode":34}]"#,
                r#"[{"restoreCode":"[redacted]"},{"restoreCode":null},{"restoreCode":"[redacted]"}]"#,
            ),
            // What is cut or broken is redacted as far as it goes.
            (r#"{"restoreCode":"RE-3"#, r#"{"restoreCode":"[redacted]""#),
            (
                r#"{"reason":"a restoreCode"}"#,
                r#"{"reason":"a restoreCode"}"#,
            ),
        ] {
            assert_eq!(redacted(record), expected);
        }
    }

    #[test]
    fn other_streams_keep_their_bytes() {
        let record = br#"{"restoreCode":"RE-1"}"#;
        assert!(matches!(redact(Stream::Audit, record), Cow::Borrowed(_)));
    }
}
