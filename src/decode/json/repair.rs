//! Repairs a text that is JSON except for errors in its strings and for its depth.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::{Member, scan_object, stringify_deep_values};
use crate::decode::lines::BYTE_ORDER_MARK;
use crate::encode::push_escaped;

/// A text after a repair.
#[derive(Debug, PartialEq, Eq)]
pub struct Repaired {
    /// The text, with a replacement character for each half of a surrogate pair, an escape for
    /// each control character in a string, and what is nested too deeply
    /// [as a string](super::stringify_deep_values).
    pub text: String,
    /// The offsets in `text` at which strings were repaired, in ascending order.
    pub offsets: Vec<usize>,
}

/// The bytes of one `\u` escape.
const ESCAPE_BYTES: usize = 6;

/// Repairs what keeps the scanner from reading a text: a text that was cut inside a surrogate
/// pair, control characters that were not escaped, values that are nested too deeply.
pub fn repair(text: &str) -> Repaired {
    repair_with(text, LoneSurrogates::Replace)
}

/// What is done with half of a surrogate pair.
#[derive(Clone, Copy, PartialEq, Eq)]
enum LoneSurrogates {
    Keep,
    Replace,
}

#[inline(never)]
fn repair_with(text: &str, lone_surrogates: LoneSurrogates) -> Repaired {
    let text = stringify_deep_values(text);
    let bytes = text.as_bytes();
    let mut repaired = Repaired {
        text: String::with_capacity(text.len()),
        offsets: Vec::new(),
    };
    let (mut at, mut copied, mut in_string) = (0_usize, 0_usize, false);
    while let Some(&byte) = bytes.get(at) {
        let length = match byte {
            b'"' => {
                in_string = !in_string;
                1
            }
            b'\\' if in_string => match escape_at(bytes, at) {
                Escape::LoneSurrogate if lone_surrogates == LoneSurrogates::Keep => ESCAPE_BYTES,
                Escape::LoneSurrogate => {
                    repaired.push(text.get(copied..at), "\u{fffd}");
                    copied = at + ESCAPE_BYTES;
                    ESCAPE_BYTES
                }
                Escape::Unchanged(length) => length,
            },
            0..=0x1f if in_string => {
                let mut escaped = String::new();
                push_escaped(&mut escaped, text.get(at..=at).unwrap_or_default());
                repaired.push(text.get(copied..at), &escaped);
                copied = at + 1;
                1
            }
            _ => 1,
        };
        at += length;
    }
    repaired
        .text
        .push_str(text.get(copied..).unwrap_or_default());
    repaired
}

/// Makes a response parsable as JSON: unchanged if possible, otherwise without a byte order mark, with
/// control characters escaped, values that are nested too deeply as strings, and invalid UTF-8 replaced.
/// Halves of surrogate pairs stay: they are repaired when their record is read, which also names the
/// repaired fields.
#[must_use]
pub fn repair_response(body: Vec<u8>) -> Vec<u8> {
    if serde_json::from_slice::<&RawValue>(&body).is_ok() {
        return body;
    }
    let text = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&body);
    repair_with(&String::from_utf8_lossy(text), LoneSurrogates::Keep)
        .text
        .into_bytes()
}

/// Splits a record into members, after a repair where it needs one. Returns the text of the members;
/// `None` where the record is no object.
pub fn scan_repaired<'t>(record: &'t [u8], members: &mut Vec<Member>) -> Option<Cow<'t, str>> {
    let mut text = String::from_utf8_lossy(record);
    while let Err(error) = scan_object(&text, members) {
        let repaired = error.is_repairable().then(|| repair(&text).text);
        text = Cow::Owned(repaired.filter(|repaired| *repaired != *text)?);
    }
    Some(text)
}

impl Repaired {
    /// Appends unchanged text, and a replacement for the text that could not be read.
    fn push(&mut self, plain: Option<&str>, repair: &str) {
        self.text.push_str(plain.unwrap_or_default());
        self.offsets.push(self.text.len());
        self.text.push_str(repair);
    }

    /// Returns whether a string between two offsets was repaired; a value that was nested too deeply does not
    /// count.
    #[must_use]
    pub fn has_repair_between(&self, start: usize, end: usize) -> bool {
        let first = self.offsets.partition_point(|place| *place < start);
        self.offsets.get(first).is_some_and(|place| *place < end)
    }
}

/// The escape that begins with a backslash.
enum Escape {
    /// Half of a surrogate pair.
    LoneSurrogate,
    /// An escape that stays, and the number of its bytes.
    Unchanged(usize),
}

fn escape_at(bytes: &[u8], at: usize) -> Escape {
    match code_unit_at(bytes, at) {
        Some(0xD800..=0xDBFF) => match code_unit_at(bytes, at + ESCAPE_BYTES) {
            Some(0xDC00..=0xDFFF) => Escape::Unchanged(2 * ESCAPE_BYTES),
            Some(_) | None => Escape::LoneSurrogate,
        },
        Some(0xDC00..=0xDFFF) => Escape::LoneSurrogate,
        Some(_) => Escape::Unchanged(ESCAPE_BYTES),
        None => Escape::Unchanged(2),
    }
}

/// Returns the UTF-16 code unit of the `\u` escape at that position, if there is one.
fn code_unit_at(bytes: &[u8], at: usize) -> Option<u32> {
    let digits = bytes
        .get(at..at + ESCAPE_BYTES)?
        .strip_prefix(b"\\u")?
        .iter();
    digits.copied().try_fold(0, |unit, digit| {
        Some(unit * 16 + char::from(digit).to_digit(16)?)
    })
}

#[cfg(test)]
mod tests {
    use super::super::scan_object;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn halves_and_control_characters_are_replaced_and_their_places_kept() {
        for (text, expected, places) in [
            (r#"{"a":"x \ud83d"}"#, "{\"a\":\"x \u{fffd}\"}", &[8][..]),
            (
                r#"{"a":"\ude00\uD83D\uDE00y","b":"\\ud83d"}"#,
                "{\"a\":\"\u{fffd}\\uD83D\\uDE00y\",\"b\":\"\\\\ud83d\"}",
                &[6],
            ),
            (
                r#"{"\ud800A":"\ud800\ud800"}"#,
                "{\"\u{fffd}A\":\"\u{fffd}\u{fffd}\"}",
                &[2, 9, 12],
            ),
            (
                "{\"a\":\"x\ty\u{0}\",\t\"b\":1}",
                "{\"a\":\"x\\ty\\u0000\",\t\"b\":1}",
                &[7, 10],
            ),
            (r#"{"a":"\ud83"}"#, r#"{"a":"\ud83"}"#, &[]),
        ] {
            let repaired = repair(text);
            assert_eq!(
                (repaired.text.as_str(), &*repaired.offsets),
                (expected, places)
            );
        }
    }

    #[test]
    fn a_bad_string_on_a_page_changes_no_other_record() {
        let half = r#"{"a":"x \ud83d"}"#;
        let page = format!("[{half},{{\"b\":\"y\u{1}\"}}]");
        let read = String::from_utf8(repair_response(page.into_bytes())).unwrap();
        assert_eq!(read, format!("[{half},{{\"b\":\"y\\u0001\"}}]"));
    }

    #[test]
    fn a_place_is_found_between_two_offsets() {
        let repaired = repair(r#"{"a":"x","b":"\ud83d"}"#);
        assert!(!repaired.has_repair_between(0, 14) && repaired.has_repair_between(14, 17));
        assert!(!repaired.has_repair_between(15, 20) && !repaired.has_repair_between(17, 99));
    }

    proptest! {
        #[test]
        fn every_string_can_be_read_after_its_repair(
            pieces in prop::collection::vec(
                prop_oneof!["\\\\ud8[0-9a-f]{2}", "\\\\uD[c-f][0-9]{2}", "[\\x00-\\x1f]", "\\\\n", "\\PC"]
                    .prop_filter("ends the string", |piece| !matches!(&**piece, "\"" | "\\")),
                0..20,
            )
        ) {
            let text = format!("{{\"a\":\"{}\"}}", pieces.concat());
            let repaired = repair(&text);
            prop_assert!(scan_object(&repaired.text, &mut Vec::new()).is_ok(), "{}", repaired.text);
            prop_assert_eq!(repair(&repaired.text).text, repaired.text);
        }
    }
}
