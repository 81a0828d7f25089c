//! Replaces values that are nested deeper than the scanner reads by their text.

use super::{DEPTH_MAX, Nesting};
use crate::encode::push_escaped;

/// The depth of the deepest values that stay as they are.
const DEEPEST: u32 = DEPTH_MAX;
const TOO_DEEP: u32 = DEPTH_MAX + 1;

/// Returns the text with every value nested deeper than [`DEPTH_MAX`] replaced by a string: a replacement
/// character, then the value's JSON.
pub(super) fn stringify_deep_values(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut nesting = Nesting::default();
    let mut copied = 0;
    for (at, byte) in text.bytes().enumerate() {
        let outer = nesting.depth();
        nesting.push(byte);
        match (outer, nesting.depth()) {
            (DEEPEST, TOO_DEEP) => {
                out.push_str(text.get(copied..at).unwrap_or_default());
                copied = at;
            }
            (TOO_DEEP, DEEPEST) => {
                out.push('"');
                out.push(char::REPLACEMENT_CHARACTER);
                push_escaped(&mut out, text.get(copied..=at).unwrap_or_default());
                out.push('"');
                copied = at.saturating_add(1);
            }
            (_, _) => {}
        }
    }
    out.push_str(text.get(copied..).unwrap_or_default());
    out
}

#[cfg(test)]
mod tests {
    use super::super::scan_object;
    use super::*;

    fn nested(levels: usize) -> String {
        let (open, close) = ("[".repeat(levels), "]".repeat(levels));
        format!(r#"{{"a":{open}"]\\",{{"b":[1]}}{close},"c":[2]}}"#)
    }

    #[test]
    fn what_is_too_deep_becomes_text() {
        let text = stringify_deep_values(&nested(1000));
        let error = scan_object(&nested(1000), &mut Vec::new()).unwrap_err();
        assert!(error.is_repairable(), "{error}");
        assert!(scan_object(&text, &mut Vec::new()).is_ok(), "{text}");
        assert!(text.ends_with(r#","c":[2]}"#), "{text}");
        assert_eq!(text.matches(char::REPLACEMENT_CHARACTER).count(), 1);
    }

    #[test]
    fn what_is_not_too_deep_stays() {
        for levels in [0, 1, 50] {
            assert_eq!(stringify_deep_values(&nested(levels)), nested(levels));
        }
    }
}
