//! Redacts the codes with which anyone could restore messages, so that no code is collected.

use std::borrow::Cow;

use memchr::memmem;

use crate::decode::unescape::unescape_into;
use crate::encode::push_escaped;
use crate::stream::Stream;

/// The keys, or the ends of the keys, of those members of a remediation incident that permit its
/// messages to be restored (`mimecast-api.md` §15.1).
const CODE_KEYS: [&str; 2] = ["unremediateCode", "restoreCode"];

/// The text that replaces a code, without its quotes.
const REDACTED: &[u8] = b"[redacted]";

/// In how many levels of JSON that is wrapped into a string escaped keys are looked for.
const NESTED_JSON_DEPTH_MAX: u32 = 3;

/// Returns the record without codes. It need not be valid JSON: a rejected record is delivered as
/// well.
#[must_use]
pub fn redact(stream: Stream, record: &[u8]) -> Cow<'_, [u8]> {
    if stream == Stream::Remediation {
        redact_codes(record, NESTED_JSON_DEPTH_MAX)
    } else {
        Cow::Borrowed(record)
    }
}

/// Returns the text without codes; escaped keys are looked for in `depth` levels of JSON that is wrapped into
/// a string.
fn redact_codes(text: &[u8], depth: u32) -> Cow<'_, [u8]> {
    let mut redacted = Cow::Borrowed(text);
    for key in CODE_KEYS {
        if let Some(redacted_codes) = redact_member(&redacted, key.as_bytes()) {
            redacted = Cow::Owned(redacted_codes);
        }
    }
    if let Some(redacted_codes) = redact_escaped_members(&redacted, depth) {
        redacted = Cow::Owned(redacted_codes);
    }
    redacted
}

/// Returns the text without the values of a member; `None` where it has no such member.
fn redact_member(text: &[u8], key: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(at) = memmem::find(rest, key) {
        let (before, after) = rest.split_at_checked(at.saturating_add(key.len()))?;
        out.extend_from_slice(before);
        rest = push_without_value(after, &mut out);
    }
    if out.is_empty() {
        return None;
    }
    out.extend_from_slice(rest);
    Some(out)
}

/// Returns the text without the values of members whose keys are written with escapes, also in JSON that is
/// wrapped into a string; `None` where it has no such member.
fn redact_escaped_members(text: &[u8], depth: u32) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut rest = text;
    let mut is_redacted = false;
    while let Some(at) = memmem::find(rest, b"\"") {
        let string = rest.get(at.saturating_add(1)..)?;
        let end = quote_in(string, 0).unwrap_or(string.len());
        let (string, after) = string.split_at_checked(end)?;
        let mut unescaped = String::new();
        if string.contains(&b'\\') {
            unescape_into(&String::from_utf8_lossy(string), &mut unescaped);
        }
        let is_code = CODE_KEYS.iter().any(|code| unescaped.ends_with(code));
        out.extend_from_slice(rest.get(..=at)?);
        // Without such an escape nothing is hidden in JSON that is wrapped.
        let may_hide = depth > 0 && memmem::find(string, b"\\u").is_some();
        let nested = may_hide.then(|| redact_codes(unescaped.as_bytes(), depth.saturating_sub(1)));
        match nested.filter(|nested| **nested != *unescaped.as_bytes()) {
            Some(nested) => {
                let mut wrapped = String::new();
                push_escaped(&mut wrapped, &String::from_utf8_lossy(&nested));
                out.extend_from_slice(wrapped.as_bytes());
                is_redacted = true;
            }
            None => out.extend_from_slice(string),
        }
        if after.is_empty() {
            rest = after;
            break;
        }
        let rest_after = if is_code {
            push_without_value(after, &mut out)
        } else {
            after
        };
        // Where nothing was replaced, the closing quote is next.
        rest = if rest_after.len() == after.len() {
            out.extend_from_slice(b"\"");
            after.get(1..)?
        } else {
            is_redacted = true;
            rest_after
        };
    }
    if !is_redacted {
        return None;
    }
    out.extend_from_slice(rest);
    Some(out)
}

/// Appends what follows a key, from its closing quote on, with `[redacted]` in place of the value.
/// Appends nothing where no value follows or it is null. Returns what comes after what was appended. The
/// quotes of JSON that is wrapped into a string are escaped.
fn push_without_value<'t>(after_key: &'t [u8], out: &mut Vec<u8>) -> &'t [u8] {
    let backslashes = after_key.iter().take_while(|byte| **byte == b'\\').count();
    let quote = after_key.get(..=backslashes).unwrap_or_default();
    let colon = after_key.get(quote.len()..).unwrap_or_default();
    let value = colon.trim_ascii_start().strip_prefix(b":");
    let value = value.map(<[u8]>::trim_ascii_start);
    let is_key = quote.ends_with(b"\"");
    let Some(value) = value.filter(|value| is_key && !value.starts_with(b"null")) else {
        return after_key;
    };
    for piece in [quote, b":", quote, REDACTED] {
        out.extend_from_slice(piece);
    }
    let (length, is_complete) = value_len(value, quote);
    if is_complete {
        out.extend_from_slice(quote);
    }
    value.get(length..).unwrap_or_default()
}

/// Returns the length of the value that the text begins with, and whether it is complete. `quote` is how
/// a quote is written there.
fn value_len(text: &[u8], quote: &[u8]) -> (usize, bool) {
    let backslashes = quote.len().saturating_sub(1);
    let string_end = |start: usize| {
        let end = quote_in(text.get(start..)?, backslashes)?;
        Some(start.saturating_add(end).saturating_add(1))
    };
    if text.starts_with(quote) {
        return string_end(quote.len()).map_or((text.len(), false), |end| (end, true));
    }
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        let is_quote = *byte == b'"';
        match byte {
            b'[' | b'{' => depth = depth.saturating_add(1),
            b']' | b'}' | b',' | b'\n' if depth == 0 => return (at, true),
            b']' | b'}' if depth == 1 => return (at.saturating_add(1), true),
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        at = if is_quote {
            let Some(end) = string_end(at.saturating_add(1)) else {
                break;
            };
            end
        } else {
            at.saturating_add(1)
        };
    }
    (text.len(), depth == 0)
}

/// Returns the position of the first quote that is written with this many backslashes before it. One that
/// is inside a string of that level has more.
fn quote_in(text: &[u8], backslashes: usize) -> Option<usize> {
    let escaped_backslash_len = backslashes.saturating_add(1).saturating_mul(2);
    let mut run = 0_usize;
    text.iter().position(|byte| {
        let is_end = *byte == b'"' && run.checked_rem(escaped_backslash_len) == Some(backslashes);
        run = if *byte == b'\\' {
            run.saturating_add(1)
        } else {
            0
        };
        is_end
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
            (r#"{"restoreCode":"RE-3"#, r#"{"restoreCode":"[redacted]"#),
            (r#"{"restoreCode":["RE-3"#, r#"{"restoreCode":"[redacted]"#),
            (
                r#"{"restoreCode":["RE-1","RE-2]",{"x":"}"}],"from":"b"}"#,
                r#"{"restoreCode":"[redacted]","from":"b"}"#,
            ),
            (
                r#"{"restoreCode":{"a":"RE-1","b":["RE-2"]},"b":["restoreCode","unremediateCode"]}"#,
                r#"{"restoreCode":"[redacted]","b":["restoreCode","unremediateCode"]}"#,
            ),
            (
                r#"{"restore\u0043ode":"RE-1","a\n":"b\\","\u0075nremediateCode":[1,2]}"#,
                r#"{"restore\u0043ode":"[redacted]","a\n":"b\\","\u0075nremediateCode":"[redacted]"}"#,
            ),
            (
                r#"{"restore\u0043ode":null,"unremediate\u0043ode":"UN-1"}"#,
                r#"{"restore\u0043ode":null,"unremediate\u0043ode":"[redacted]"}"#,
            ),
            // A code as long as what replaces it.
            (
                r#"{"restore\u0043ode":"RE-1234567"}"#,
                r#"{"restore\u0043ode":"[redacted]"}"#,
            ),
            (
                r#"{"reason":"a restore\u0043ode","restore\u0043ode":"RE-1"}"#,
                r#"{"reason":"a restore\u0043ode","restore\u0043ode":"[redacted]"}"#,
            ),
            (
                r#"{"searchCriteria":"{\"restoreCode\": \"RE\\\"1\\\\\",\"from\":\"b\"}","c":1}"#,
                r#"{"searchCriteria":"{\"restoreCode\":\"[redacted]\",\"from\":\"b\"}","c":1}"#,
            ),
            // The same in JSON that is wrapped into a string, whatever is escaped in it.
            (
                r#"{"a":"\u0041","searchCriteria":"{\"restore\\u0043ode\":\"RE-1\",\"from\":\"\\u0062\"}","c":1}"#,
                r#"{"a":"\u0041","searchCriteria":"{\"restore\\u0043ode\":\"[redacted]\",\"from\":\"\\u0062\"}","c":1}"#,
            ),
            (
                r#"{"searchCriteria":"{\u0022restoreCode\u0022:\u0022RE-1\u0022}","restoreCode":1}"#,
                r#"{"searchCriteria":"{\"restoreCode\":\"[redacted]\"}","restoreCode":"[redacted]"}"#,
            ),
            (
                r#"{"searchCriteria":"{\"restore\\u0043ode\":\"RE-1"#,
                r#"{"searchCriteria":"{\"restore\\u0043ode\":\"[redacted]"#,
            ),
            (
                r#"{"searchCriteria":"{\"restore\\u0043ode\":null,\"a\":\"\/\"}"}"#,
                r#"{"searchCriteria":"{\"restore\\u0043ode\":null,\"a\":\"\/\"}"}"#,
            ),
            (
                r#"{"reason":"a restoreCode"}"#,
                r#"{"reason":"a restoreCode"}"#,
            ),
        ] {
            assert_eq!(redacted(record), expected);
        }
    }

    proptest! {
        #[test]
        fn no_code_is_left_wherever_it_is(code in "RE-[a-z0-9\"\\\\,\\]}é]{1,9}", levels in 0_usize..3) {
            let hidden = serde_json::json!({ "restoreCode": code, "other": code.len() });
            let mut criteria = hidden.to_string();
            for _ in 0..levels {
                criteria = serde_json::Value::String(criteria).to_string();
            }
            let record = redacted(&format!("{{\"id\":\"a\",\"searchCriteria\":{criteria}}}"));
            let mut value: serde_json::Value = serde_json::from_str(&record).unwrap();
            value = value["searchCriteria"].take();
            for _ in 0..levels {
                value = serde_json::from_str(value.as_str().unwrap()).unwrap();
            }
            prop_assert_eq!(value, serde_json::json!({ "restoreCode": "[redacted]", "other": code.len() }));
        }

        #[test]
        fn no_code_is_left_under_an_escaped_key(
            code in "RE-[a-z0-9\"\\\\,\\]}é]{1,9}",
            at in 0_usize..11,
            levels in 0_u32..=NESTED_JSON_DEPTH_MAX,
        ) {
            let (before, rest) = "restoreCode".split_at(at);
            let (letter, after) = rest.split_at(1);
            let key = format!("{before}\\u{:04x}{after}", letter.as_bytes()[0]);
            let code = serde_json::Value::String(code);
            let mut record = format!("{{\"{key}\":{code},\"other\":1}}");
            for _ in 0..levels {
                record = serde_json::json!({ "searchCriteria": record }).to_string();
            }
            let mut value: serde_json::Value = serde_json::from_str(&redacted(&record)).unwrap();
            for _ in 0..levels {
                value = serde_json::from_str(value["searchCriteria"].as_str().unwrap()).unwrap();
            }
            prop_assert_eq!(value, serde_json::json!({ "restoreCode": "[redacted]", "other": 1 }));
        }

        #[test]
        fn any_text_is_redacted_or_unchanged(text in "([\\[\\]{}:,\"\\\\ ]|restoreCode|null|é){0,30}") {
            let once = redacted(&text);
            prop_assert_eq!(&redacted(&once), &once);
            prop_assert!(text.contains("restoreCode") || once == text);
        }
    }

    #[test]
    fn other_streams_keep_their_bytes() {
        let record = br#"{"restoreCode":"RE-1"}"#;
        assert!(matches!(redact(Stream::Audit, record), Cow::Borrowed(_)));
    }
}
