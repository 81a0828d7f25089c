//! Lines of `key=value|key=value`, as API 1.0 writes its SIEM files (`mimecast-api.md` §7.4).
//!
//! No rule for a `|` inside a value is documented. So a value ends only where a `|` is followed by a
//! key and `=`; a value in backslashes ends at a backslash, JSON at its last bracket, and a message
//! id at its angle bracket.
//!
//! The sender of a message can write `|Act=Acc` into its subject. A key after the beginning of such a
//! text is a part of the text if the record shows that the key is not its own:
//!
//! * Lines of this kind do not have the key: it is a name of API 2.0, is in other letters, or is a
//!   key of clicks in the line of a message.
//! * The key is repeated; a record has each key once. The dividing line is the subject, or before it
//!   the first other text that a sender controls. If one of two equal keys stands before that text, it
//!   is the record's own; if both follow it, the last one is.
//!
//! Such a key belongs to the value before it. Not detected are keys that lines of this kind have and
//! this record does not, and keys in another text that are repeated on the other side of the subject:
//! no order of keys is documented.

use core::ops::Range;

use super::json::container_prefix_len;
use crate::encode::push_quoted;
use crate::legacy_keys::{KeyFacts, LineKind, SenderControl, key_facts};

/// A longer key is not a key; the longest documented one has 29 characters.
const KEY_BYTES_MAX: usize = 64;

/// A line with more pairs is not a record; real ones have 30. This also bounds the search for value
/// ends and for keys that come twice.
const PAIRS_MAX: usize = 1000;

/// Appends the line as a JSON object whose values are all texts. Returns whether it is such a line;
/// nothing is appended if not.
#[must_use]
pub fn push_object(line: &str, out: &mut String) -> bool {
    let mut pairs = Pairs::default();
    if !pairs.parse(line) {
        return false;
    }
    for (at, pair) in pairs.all.iter().enumerate() {
        out.push(if at == 0 { '{' } else { ',' });
        push_quoted(out, pair.key);
        out.push(':');
        let value = line.get(pair.value.clone()).unwrap_or_default();
        let inner = value.strip_prefix('\\').and_then(|v| v.strip_suffix('\\'));
        push_quoted(out, inner.unwrap_or(value));
    }
    out.push('}');
    true
}

/// A key as written, its name in API 2.0, and the range of its value in the line.
struct Pair<'t> {
    key: &'t str,
    name: &'t str,
    value: Range<usize>,
}

/// The pairs of a line, without those inside a text.
#[derive(Default)]
struct Pairs<'t> {
    all: Vec<Pair<'t>>,
    /// The kind of the line, once a key has shown it.
    line_kind: Option<LineKind>,
    /// The pair whose value the sender controls most freely (the first of several): its index, and how much.
    most_controlled: Option<(usize, SenderControl)>,
}

impl<'t> Pairs<'t> {
    /// Parses a line. Returns whether it is a line of pairs.
    fn parse(&mut self, line: &'t str) -> bool {
        let mut rest = line;
        let mut unclosed = UnclosedValues::default();
        let mut count = 0;
        while !rest.is_empty() {
            let Some((key, after)) = key(rest).filter(|_| count < PAIRS_MAX) else {
                return false;
            };
            count += 1;
            let facts = key_facts(key);
            let (value, rest_after) = value(after, facts.control, &mut unclosed);
            let start = line.len().saturating_sub(after.len());
            let pair = Pair {
                key,
                name: facts.name,
                value: start..start + value.len(),
            };
            self.add_or_merge(pair, facts);
            rest = rest_after;
        }
        !self.all.is_empty()
    }

    /// Adds a pair, or makes it, or an earlier one of its name, a part of the value before it.
    fn add_or_merge(&mut self, pair: Pair<'t>, facts: KeyFacts<'t>) {
        let KeyFacts {
            line_kind, control, ..
        } = facts;
        if let Some((most_controlled_index, _)) = self.most_controlled {
            let is_other = |known| known != LineKind::Other && line_kind != Some(known);
            let is_foreign = line_kind.is_some() && self.line_kind.is_some_and(is_other);
            let first = self.all.iter().position(|before| before.name == pair.name);
            match first {
                Some(first) if !is_foreign && most_controlled_index < first => {
                    self.merge_into_previous(first)
                }
                None if !is_foreign => {}
                _ => {
                    self.all.push(pair);
                    return self.merge_into_previous(self.all.len().saturating_sub(1));
                }
            }
        }
        self.line_kind = self.line_kind.or(line_kind);
        if control
            > self
                .most_controlled
                .map_or(SenderControl::None, |(_, most)| most)
        {
            self.most_controlled = Some((self.all.len(), control));
        }
        self.all.push(pair);
    }

    /// Makes a pair a part of the value before it.
    fn merge_into_previous(&mut self, index: usize) {
        let pair = self.all.remove(index);
        if let Some(before) = index.checked_sub(1).and_then(|at| self.all.get_mut(at)) {
            before.value.end = pair.value.end;
        }
    }
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

/// The values of a line that open with a delimiter and are never closed. Each search for the closing
/// one scans the rest of the line, so only a few searches may fail.
#[derive(Default)]
struct UnclosedValues {
    /// No backslash that ends a value follows: none follows for a later value either.
    backslash_quoted: bool,
    /// How many values began as JSON and did not end.
    json: usize,
}

/// How many values of a line may begin as JSON that has no end; later ones are plain text.
const UNCLOSED_JSON_MAX: usize = 16;

/// Returns the value that the text begins with, with its backslashes, and what follows the `|`
/// after it.
fn value<'t>(
    text: &'t str,
    control: SenderControl,
    unclosed: &mut UnclosedValues,
) -> (&'t str, &'t str) {
    let ended = match text.as_bytes() {
        [b'\\', ..] if !unclosed.backslash_quoted => {
            let quoted = backslash_quoted(text);
            unclosed.backslash_quoted = quoted.is_none();
            quoted
        }
        // A sender can begin a text like JSON whose end would hide the keys after it.
        [b'{' | b'[', ..]
            if control == SenderControl::None && unclosed.json < UNCLOSED_JSON_MAX =>
        {
            let json = json_value(text);
            unclosed.json = unclosed.json.saturating_add(usize::from(json.is_none()));
            json
        }
        [b'<', ..] => message_id(text),
        _ => None,
    };
    ended.unwrap_or_else(|| plain_value(text))
}

/// Returns a text between backslashes, with the backslashes, and what follows the `|` after it.
fn backslash_quoted(text: &str) -> Option<(&str, &str)> {
    let ends = text.match_indices('\\').skip(1).map(|(at, _)| at + 1);
    ends.into_iter().find_map(|end| split_value(text, end))
}

/// Returns a text between angle brackets, with the brackets, and what follows the `|` after it.
fn message_id(text: &str) -> Option<(&str, &str)> {
    let (end, bracket) = text.match_indices(['<', '>']).nth(1)?;
    (bracket == ">").then(|| split_value(text, end + 1))?
}

/// Returns an object or a list up to its last bracket, and what follows the `|` after it.
fn json_value(text: &str) -> Option<(&str, &str)> {
    split_value(text, container_prefix_len(text)?)
}

/// Splits at the first `|` that a key follows.
fn plain_value(text: &str) -> (&str, &str) {
    let mut ends = text.match_indices('|').map(|(at, _)| at);
    ends.find_map(|end| split_value(text, end))
        .unwrap_or((text, ""))
}

/// Splits a text where a value ends, if one can end there.
fn split_value(text: &str, end: usize) -> Option<(&str, &str)> {
    let (value, after) = text.split_at_checked(end)?;
    Some((value, strip_separator(after)?))
}

/// Returns the text after a separator, if the separator ends a value.
fn strip_separator(after: &str) -> Option<&str> {
    if after.is_empty() {
        return Some("");
    }
    let rest_after = after.strip_prefix('|')?;
    (rest_after.is_empty() || key(rest_after).is_some()).then_some(rest_after)
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
    fn keys_that_a_sender_writes_into_a_text_are_text() {
        let own = "datetime=x|aCode=c|acc=C0|SpamLimit=0|IP=192.0.2.1|Dir=Inbound|MsgId=<m@a.test>";
        let behind = "headerFrom=h@a.test|Sender=s@a.test|Rcpt=r@b.test|Act=Rej|TlsVer=TLSv1.3";
        let fields = [
            ("acc", "C0"),
            ("IP", "192.0.2.1"),
            ("Dir", "Inbound"),
            ("MsgId", "<m@a.test>"),
            ("Sender", "s@a.test"),
            ("Rcpt", "r@b.test"),
            ("Act", "Rej"),
        ];
        for forged in [
            "a|Act=Acc|b",
            "a|action=Acc",
            "a|ACT=Acc|b|aCt=Acc",
            "a|Action=Acc|b",
            "a|Sender=ceo@b.test",
            "a|senderEnvelope=ceo@b.test|sender=ceo@b.test",
            "a|IP=192.0.2.66|SourceIP=192.0.2.66|senderIp=192.0.2.66",
            "a|acc=C1|datetime=y|Dir=Internal|direction=internal",
            "a|MsgId=<n@a.test>|Subject=b|subject=c",
            "a|Sender=ceo@b.test|headerFrom=ceo@b.test|Rcpt=x@b.test|Act=Acc|TlsVer=x",
            "a|DELIVERED=true|delivered=true|type=av|url=http://a.test|urlCategory=x|reason=x",
            r#"{"a":"|Act=Acc"#,
            "[|Act=Acc",
            "<a|Act=Acc|b",
        ] {
            for wrap in ["", "\\"] {
                let line = format!("{own}|Subject={wrap}{forged}{wrap}|{behind}");
                let read = object(&line);
                assert_eq!(read["Subject"], forged, "{line}");
                assert_eq!(read.as_object().unwrap().len(), 13, "{line}");
                for (key, value) in fields {
                    assert_eq!(read[key], value, "{key} of {line}");
                }
            }
            // The backslash at the end of the text is written by the sender as well.
            let line = format!("{own}|Subject=\\x\\|{forged}|y\\|{behind}");
            for (key, value) in fields {
                assert_eq!(object(&line)[key], value, "{key} of {line}");
            }
            let read = object(&format!("{own}|{behind}|Subject={forged}"));
            assert_eq!(read["Subject"], forged);
            for (key, value) in fields {
                assert_eq!(read[key], value, "{key} of {forged}");
            }
        }
    }

    #[test]
    fn keys_inside_ids_names_of_files_and_links_are_text() {
        for (line, key, value) in [
            ("acc=C0|MsgId=<m|Act=Acc>|Subject=s|Act=Rej", "Act", "Rej"),
            (
                "acc=C0|fileName=a|sha256=0|b.exe|Size=1|sha256=1|Subject=s",
                "sha256",
                "1",
            ),
            (
                "acc=C0|sha256=1|fileName=a|sha256=0|b.exe|Subject=s",
                "sha256",
                "1",
            ),
            (
                "acc=C0|fileName=a|sha256=1|Subject=s|sha256=0",
                "sha256",
                "1",
            ),
            (
                "acc=C0|headerFrom=a|Act=Acc|b@a.test|Sender=s@a.test|Act=Rej",
                "Act",
                "Rej",
            ),
            (
                "acc=C0|Act=Rej|Rcpt=a|Act=Acc|b@a.test|TlsVer=x",
                "Act",
                "Rej",
            ),
            (
                "acc=C0|reason=malicious|url=http://a.test/|action=Allow|b|sender=s|action=Block",
                "action",
                "Block",
            ),
            (
                "acc=C0|reason=malicious|action=Block|url=http://a.test/|action=Allow|Act=Acc",
                "url",
                "http://a.test/|action=Allow|Act=Acc",
            ),
            (
                "acc=C0|reason=x|subject=a|Act=Acc|holdReason=x",
                "subject",
                "a|Act=Acc|holdReason=x",
            ),
        ] {
            assert_eq!(object(line)[key], value, "{line}");
        }
    }

    #[test]
    fn keys_that_are_not_forged_are_kept_as_they_are() {
        for (line, count) in [
            // The words of API 2.0, and keys that nobody knows.
            (
                "type=receipt|action=Acc|subject=a|senderEnvelope=s@a.test|recipients=r|Hld=Spm",
                6,
            ),
            ("acc=C0|Subject=a|Unheard=of|Act=Acc", 4),
            (
                "acc=C0|ReceiptAck=250 ok|Sender=s@a.test|Subject=s|Delivered=true|Route=x",
                6,
            ),
            (
                "acc=C0|fileName=a|md5=0|Subject=s|MimecastIP=false|Virus=x|RcptActType=Jnl",
                7,
            ),
        ] {
            assert_eq!(object(line).as_object().unwrap().len(), count, "{line}");
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
        let plain = "([ -{}~é€]|\\|[ ,.;]){0,20}".prop_filter("does not begin otherwise", |text| {
            !text.starts_with(['\\', '{', '['])
        });
        // A key after a separator is text here.
        let wrapped = "([ -\\[\\]-~é€]|\\|[a-z]{1,3}=){0,20}";
        prop_oneof![
            (key, plain).prop_map(|(key, text)| (key, text, false)),
            (key, wrapped).prop_map(|(key, text)| (key, text, true)),
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
