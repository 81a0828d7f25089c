//! The meaning of words and short texts: absent values, booleans, numbers, directions, verdicts.

use std::borrow::Cow;

use crate::decode::json::Kind;
use crate::decode::number::without_exponent;
use crate::decode::unescape::unescape_into;
use crate::encode::push_escaped;
use crate::record::Value;

/// Words that mean yes.
pub const YES: &[&str] = &["true", "yes", "hit"];
/// Words that mean no.
pub const NO: &[&str] = &["false", "no", "no hit"];
/// Directions of mail that ECS knows.
pub const DIRECTIONS: &[&str] = &["inbound", "outbound", "internal", "external", "unknown"];
/// Words that say nothing in a field that is not an action.
pub const PLACEHOLDERS: &[&str] = &[
    "none",
    "n/a",
    "na",
    "null",
    "undefined",
    "-",
    "<>",
    "[]",
    "{}",
];
/// Verdicts of SPF, DKIM and DMARC by what the upstream's word contains, the first that fits.
pub const VERDICTS: &[(&str, &str)] = &[
    ("soft", "softfail"),
    ("fail", "fail"),
    ("allow", "pass"),
    ("pass", "pass"),
    ("unknown", "none"),
    ("none", "none"),
];

/// Returns whether the value means that there is none: `null`, nothing, or a word for it. `none` is
/// a value: it is what an action can be.
#[inline]
pub(super) fn is_absent(value: &Value<'_>) -> bool {
    match value.kind {
        Kind::Null => true,
        Kind::String => {
            value.text.len() <= 4 && matches!(value.text.trim_ascii(), "" | "null" | "N/A" | "[]")
        }
        Kind::Array | Kind::False | Kind::Number | Kind::Object | Kind::True => false,
    }
}

/// Returns whether a text is a placeholder for a missing value.
#[inline]
pub(super) fn is_placeholder(text: &str) -> bool {
    match text.as_bytes() {
        [] => true,
        // What each of them begins with. Nearly all texts begin with something else.
        [b'n' | b'N' | b'u' | b'U' | b'-' | b'<' | b'[' | b'{', ..] if text.len() <= 9 => {
            let mut words = PLACEHOLDERS.iter();
            words.any(|word| text.eq_ignore_ascii_case(word))
        }
        _ => false,
    }
}

/// Returns the text without white space around it. Mostly there is none.
#[inline]
fn trim(text: &str) -> &str {
    match text.as_bytes() {
        [b'!'..=b'~', .., b'!'..=b'~'] => text,
        _ => text.trim(),
    }
}

/// The text of a value, without escapes.
#[derive(Clone, Copy)]
pub(super) struct UnescapedText<'a> {
    /// The text, without white space around it.
    pub(super) text: &'a str,
    /// Whether it is escaped when it is written: it had escapes, which were resolved, or it may contain
    /// what needs one.
    pub(super) needs_escaping: bool,
}

impl<'a> UnescapedText<'a> {
    /// Returns the text of a scalar. `buffer` takes it where it has escapes.
    #[inline]
    pub(super) fn new(value: Value<'a>, buffer: &'a mut String) -> Option<Self> {
        match value.kind {
            Kind::String if value.escaped => {
                buffer.clear();
                unescape_into(value.text, buffer);
                Some(Self {
                    text: buffer.trim(),
                    needs_escaping: true,
                })
            }
            Kind::String => Some(Self {
                text: trim(value.text),
                needs_escaping: false,
            }),
            Kind::False | Kind::Number | Kind::True => Some(Self {
                text: value.text,
                needs_escaping: false,
            }),
            Kind::Array | Kind::Null | Kind::Object => None,
        }
    }

    /// Appends a text that was read from this one, escaped if this one needs it.
    #[inline]
    pub(super) fn append_escaped_as_needed(&self, part: &str, out: &mut String) {
        if self.needs_escaping {
            push_escaped(out, part);
        } else {
            out.push_str(part);
        }
    }
}

/// Returns whether a text contains a word, without regard to case.
pub(super) fn contains_ignore_case(text: &str, word: &str) -> bool {
    contains_word(text, word, true)
}

/// Returns whether a text contains a word, without regard to case: anywhere, or where a word begins.
pub(super) fn contains_word(text: &str, word: &str, is_anywhere: bool) -> bool {
    positions_ignore_case(text, word).any(|at| {
        let before = text.as_bytes().get(at.wrapping_sub(1));
        is_anywhere || !before.is_some_and(u8::is_ascii_alphanumeric)
    })
}

/// Returns the positions of an ASCII word in a text, without regard to case.
pub(super) fn positions_ignore_case(text: &str, word: &str) -> impl Iterator<Item = usize> {
    let (first, rest) = word.as_bytes().split_first().unwrap_or((&0, &[]));
    let text = text.as_bytes();
    memchr::memchr2_iter(first.to_ascii_lowercase(), first.to_ascii_uppercase(), text).filter(
        move |at| {
            let tail = text.get(at + 1..).and_then(|tail| tail.get(..rest.len()));
            tail.is_some_and(|tail| tail.eq_ignore_ascii_case(rest))
        },
    )
}

/// Returns the boolean that a word means, if it is a word for yes or no.
pub(super) fn boolean(text: &str) -> Option<bool> {
    let is_in = |words: &[&str]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    if is_in(YES) {
        return Some(true);
    }
    is_in(NO).then_some(false)
}

/// Returns the digits of a whole number, as in JSON. A fraction of zero is left out.
pub(super) fn long(text: &str) -> Option<Cow<'_, str>> {
    match whole_number(text) {
        Some(digits) => Some(Cow::Borrowed(digits)),
        None => {
            let plain = without_exponent(text)?;
            whole_number(&plain).map(|digits| Cow::Owned(digits.to_owned()))
        }
    }
}

fn whole_number(text: &str) -> Option<&str> {
    let whole = match text.bytes().position(|byte| byte == b'.') {
        Some(dot) => {
            let (whole, fraction) = text.split_at_checked(dot)?;
            let is_whole = fraction.bytes().skip(1).all(|byte| byte == b'0');
            is_whole.then_some(whole)?
        }
        None => text,
    };
    let digits = whole.strip_prefix('-').unwrap_or(whole);
    let is_number = !digits.is_empty()
        && digits.len() <= 18
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && (digits == "0" || !digits.starts_with('0'));
    is_number.then_some(whole)
}

/// Returns the word for a direction.
pub(super) fn direction(text: &str) -> Option<&'static str> {
    DIRECTIONS
        .iter()
        .find(|word| word.eq_ignore_ascii_case(text))
        .copied()
}

/// Returns name and number of a TLS version such as `TLSv1.3`.
pub(super) fn tls_version(text: &str) -> Option<(&'static str, &str)> {
    let (name, rest) = text.split_at_checked(3)?;
    let protocol = ["tls", "ssl"]
        .into_iter()
        .find(|word| word.eq_ignore_ascii_case(name))?;
    let begin = rest.bytes().position(|byte| !b"vV _".contains(&byte))?;
    let number = rest.get(begin..)?;
    let is_number = number
        .as_bytes()
        .split(|byte| *byte == b'.')
        .all(|part| (1..=2).contains(&part.len()) && part.iter().all(u8::is_ascii_digit));
    is_number.then_some((protocol, number))
}

/// Returns the verdict that the result of a check means, if it is one of those that ECS users
/// know.
pub(super) fn verdict(text: &str) -> Option<&'static str> {
    let found = VERDICTS
        .iter()
        .find(|(word, _)| contains_ignore_case(text, word))?;
    Some(found.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_are_what_json_takes() {
        for (text, expected) in [
            ("21", Some("21")),
            ("0", Some("0")),
            ("-3", Some("-3")),
            ("5.0", Some("5")),
            ("007", None),
            ("", None),
            ("-", None),
            ("5.5", None),
            ("1e3", Some("1000")),
            ("1.5E3", Some("1500")),
            ("15e-1", None),
            ("1e30", None),
            ("٣", None),
            ("9999999999999999999", None),
        ] {
            assert_eq!(long(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn a_word_begins_after_anything_but_a_letter_or_digit() {
        for (text, expected) in [
            ("Changed", true),
            ("Exchange, policy-change", true),
            ("role_CHANGES", true),
            ("Exchange", false),
            ("", false),
        ] {
            assert_eq!(contains_word(text, "chang", false), expected, "{text}");
        }
    }

    #[test]
    fn verdicts_follow_the_result() {
        for (text, expected) in [
            ("SPF_FAIL", Some("fail")),
            ("SPF_SOFT_FAIL", Some("softfail")),
            ("ALLOW", Some("pass")),
            ("pass", Some("pass")),
            ("DMARC_UNKNOWN", Some("none")),
            ("NONE", Some("none")),
            ("neutral", None),
            ("", None),
        ] {
            assert_eq!(verdict(text), expected, "{text}");
        }
    }

    #[test]
    fn tls_versions_are_split() {
        assert_eq!(tls_version("TLSv1.3"), Some(("tls", "1.3")));
        assert_eq!(tls_version("tls 1.2"), Some(("tls", "1.2")));
        assert_eq!(tls_version("SSLv3"), Some(("ssl", "3")));
        assert_eq!(tls_version("TLS"), None);
        assert_eq!(tls_version("é1"), None);
    }
}
