//! Lines of `key=value|key=value`, as API 1.0 writes its SIEM files (`mimecast-api.md` §7.4).
//!
//! No rule for a `|` inside a value is documented. So a value ends only where a `|` is followed by
//! a key and `=`; one that begins with a backslash ends at a backslash, and one that begins as
//! JSON ends where the JSON does.

use super::json::nested_prefix_len;
use crate::encode::push_quoted;

/// A longer key is not a key; the longest documented one has 29 characters.
const KEY_BYTES_MAX: usize = 64;

/// A line with more pairs is not a record; real ones have 30. This also bounds the search for value
/// ends.
const PAIRS_MAX: usize = 1000;

/// Appends the line as a JSON object whose values are all texts. Returns whether it is such a line;
/// nothing is appended if not.
#[must_use]
pub fn push_object(line: &str, out: &mut String) -> bool {
    let start = out.len();
    out.push('{');
    let mut rest = line;
    let mut pairs = 0_usize;
    let mut unclosed = UnclosedValues::default();
    while !rest.is_empty() {
        let Some((key, after)) = key(rest).filter(|_| pairs < PAIRS_MAX) else {
            out.truncate(start);
            return false;
        };
        let (value, next_pair) = value(after, &mut unclosed);
        if pairs > 0 {
            out.push(',');
        }
        pairs = pairs.saturating_add(1);
        push_quoted(out, key);
        out.push(':');
        push_quoted(out, value);
        rest = next_pair;
    }
    if pairs == 0 {
        out.truncate(start);
        return false;
    }
    out.push('}');
    true
}

/// Returns the key that the text begins with, and the text after its `=`.
fn key(text: &str) -> Option<(&str, &str)> {
    let ends = text
        .bytes()
        .take(KEY_BYTES_MAX + 1)
        .position(|byte| byte == b'=')?;
    let (key, after) = text.split_at_checked(ends)?;
    let after = after.strip_prefix('=')?;
    let is_key = key.starts_with(|c: char| c.is_ascii_alphabetic())
        && key
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    is_key.then_some((key, after))
}

/// The values of a line whose end was searched for in vain. Each such search reads to the end of the
/// line, so that only a few are allowed.
#[derive(Default)]
struct UnclosedValues {
    /// A value began with a backslash and no later one ends it. So none ends a later value either.
    backslash_quoted: bool,
    /// How many values began as JSON that has no end.
    json: usize,
}

/// How many values of a line may begin as JSON that has no end; later ones are plain text.
const UNCLOSED_JSON_MAX: usize = 16;

/// Returns the value that the text begins with, and what follows the `|` after it.
fn value<'t>(text: &'t str, unclosed: &mut UnclosedValues) -> (&'t str, &'t str) {
    let ended = match text.as_bytes() {
        [b'\\', ..] if !unclosed.backslash_quoted => {
            let backslash_quoted = backslash_quoted(text);
            unclosed.backslash_quoted = backslash_quoted.is_none();
            backslash_quoted
        }
        [b'{' | b'[', ..] if unclosed.json < UNCLOSED_JSON_MAX => {
            let json = json_value(text);
            unclosed.json = unclosed.json.saturating_add(usize::from(json.is_none()));
            json
        }
        _ => None,
    };
    ended.unwrap_or_else(|| plain_value(text))
}

/// Returns the text between two backslashes that the text begins with, and what follows the `|`
/// after them.
fn backslash_quoted(text: &str) -> Option<(&str, &str)> {
    let inner = text.strip_prefix('\\')?;
    let ends = inner.match_indices('\\').map(|(at, _)| at);
    for at in ends {
        let (value, after) = inner.split_at_checked(at)?;
        if let Some(next_pair) = next_pair(after.strip_prefix('\\')?) {
            return Some((value, next_pair));
        }
    }
    None
}

/// Returns the object or list that the text begins with, and what follows the `|` after it.
fn json_value(text: &str) -> Option<(&str, &str)> {
    let (value, after) = text.split_at_checked(nested_prefix_len(text)?)?;
    Some((value, next_pair(after)?))
}

/// Splits at the first `|` that a key follows.
fn plain_value(text: &str) -> (&str, &str) {
    for (at, _) in text.match_indices('|') {
        if let Some((value, after)) = text.split_at_checked(at)
            && let Some(next_pair) = next_pair(after)
        {
            return (value, next_pair);
        }
    }
    (text, "")
}

/// Returns the text after a separator, if the separator ends a value.
fn next_pair(after: &str) -> Option<&str> {
    if after.is_empty() {
        return Some("");
    }
    let next_pair = after.strip_prefix('|')?;
    (next_pair.is_empty() || key(next_pair).is_some()).then_some(next_pair)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    fn object(line: &str) -> Value {
        let mut out = String::new();
        assert!(push_object(line, &mut out), "{line}");
        serde_json::from_str(&out).unwrap()
    }

    #[test]
    fn the_documented_line_is_read() {
        let line = r#"datetime=2017-05-26T16:47:41+0100|aCode=7O7I7MvGP1mj8plHRDuHEA|acc=C0A0|SpamLimit=0|IP=127.0.0.1|Dir=Internal|MsgId=<81ce15$8r2j59@mail01.example.com>|Subject=\message subject\|headerFrom=from@example.com|SpamInfo=[]|Act=Acc|TlsVer=TLSv1|Cphr=TLS_DHE_RSA_WITH_AES_256_CBC_SHA|SpamProcessingDetail={"spf":{"info":"a|b=c}","allow":true}}|SpamScore=1"#;
        let read = object(line);
        assert_eq!(read["datetime"], "2017-05-26T16:47:41+0100");
        assert_eq!(read["Subject"], "message subject");
        assert_eq!(read["SpamInfo"], "[]");
        assert_eq!(
            read["SpamProcessingDetail"],
            r#"{"spf":{"info":"a|b=c}","allow":true}}"#
        );
        assert_eq!(read["SpamScore"], "1");
        assert_eq!(read.as_object().unwrap().len(), 15);
    }

    #[test]
    fn values_end_where_a_key_follows() {
        for (line, key, value) in [
            ("a=1|2|b=3", "a", "1|2"),
            ("a=|b=3", "a", ""),
            ("b=3|a=", "a", ""),
            ("b=3|a", "b", "3|a"),
            (r"a=\x|b=y\|c=z", "a", "x|b=y"),
            (r"a=\x\y\|c=z", "a", r"x\y"),
            (r"c=z|a=\x|y\", "a", "x|y"),
            (r"a=\x|c=z", "a", r"\x"),
            (r"a=\\|c=z", "a", ""),
            ("a={x|c=z", "a", "{x"),
            ("a=[1,\"|c=\"]|c=z", "a", "[1,\"|c=\"]"),
            ("a=x=y|c=z", "a", "x=y"),
            ("a=1|", "a", "1"),
        ] {
            assert_eq!(object(line)[key], value, "{line}");
        }
    }

    #[test]
    fn values_without_an_end_take_linear_time() {
        for start in ["\\x", "{x", "[\"x"] {
            let mut line = String::new();
            for number in 0..900 {
                line.push_str(&format!("k{number}={start}|"));
            }
            line.push_str("z=");
            line.push_str(&"\\y".repeat(400_000));
            let read = object(&line);
            assert_eq!(read["k0"], start);
            assert_eq!(read["k899"], start);
        }
    }

    #[test]
    fn what_is_no_line_appends_nothing() {
        for line in ["", "<html>", "{\"a\":1}", "=x", "1a=x", "key", "a b=c"] {
            let mut out = "before".to_owned();
            assert!(!push_object(line, &mut out), "{line}");
            assert_eq!(out, "before");
        }
    }

    /// A pair as the upstream writes it, and the text that it stands for.
    fn pair() -> impl Strategy<Value = (String, String, bool)> {
        let key = "[A-Za-z][A-Za-z0-9]{0,9}";
        let plain_value = "([ -{}~é€]|\\|[ ,.;]){0,20}"
            .prop_filter("does not begin otherwise", |text| {
                !text.starts_with(['\\', '{', '['])
            });
        // A key after a separator is text here.
        let backslash_quoted = "([ -\\[\\]-~é€]|\\|[a-z]{1,3}=){0,20}";
        prop_oneof![
            (key, plain_value).prop_map(|(key, text)| (key, text, false)),
            (key, backslash_quoted).prop_map(|(key, text)| (key, text, true)),
            (key, "[a-z|=\"\\\\{}]{0,9}").prop_map(|(key, text)| {
                let json = serde_json::json!({ "info": [text] }).to_string();
                (key, json, false)
            }),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(pairs in prop::collection::vec(pair(), 1..9)) {
            let written: Vec<String> = pairs
                .iter()
                .map(|(key, text, wrap)| {
                    let wrap = if *wrap { "\\" } else { "" };
                    format!("{key}={wrap}{text}{wrap}")
                })
                .collect();
            let read = object(&written.join("|"));
            // If a key comes twice, the last one counts.
            let expected: std::collections::BTreeMap<&str, &str> =
                pairs.iter().map(|(key, text, _)| (key.as_str(), text.as_str())).collect();
            prop_assert_eq!(read, serde_json::json!(expected), "{}", written.join("|"));
        }

        #[test]
        fn any_line_is_survived(line in "[a-z=|\\\\{}\"é\\[\\] ]{0,60}") {
            let mut out = String::new();
            if push_object(&line, &mut out) {
                prop_assert!(serde_json::from_str::<Value>(&out).is_ok(), "{}", out);
            } else {
                prop_assert!(out.is_empty());
            }
        }
    }
}
