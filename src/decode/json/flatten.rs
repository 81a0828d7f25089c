//! What becomes of values that are nested deeper than the scanner goes.

use super::DEPTH_MAX;
use crate::encode::push_escaped;

/// The text with every value below [`DEPTH_MAX`] levels as a string of its JSON, behind a
/// replacement character.
pub fn flatten(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut depth = 0_u32;
    let mut copied = 0;
    let mut in_string = false;
    let mut is_escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        if in_string {
            in_string = is_escaped || byte != b'"';
            is_escaped = !is_escaped && byte == b'\\';
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'{' | b'[' => {
                depth = depth.saturating_add(1);
                if depth == DEPTH_MAX + 1 {
                    out.push_str(text.get(copied..at).unwrap_or_default());
                    copied = at;
                }
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                if depth == DEPTH_MAX {
                    out.push('"');
                    out.push(char::REPLACEMENT_CHARACTER);
                    push_escaped(&mut out, text.get(copied..=at).unwrap_or_default());
                    out.push('"');
                    copied = at + 1;
                }
            }
            _ => {}
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
        let text = flatten(&nested(1000));
        let error = scan_object(&nested(1000), &mut Vec::new()).unwrap_err();
        assert!(error.is_depth(), "{error}");
        assert!(scan_object(&text, &mut Vec::new()).is_ok(), "{text}");
        assert!(text.ends_with(r#","c":[2]}"#), "{text}");
        assert_eq!(text.matches(char::REPLACEMENT_CHARACTER).count(), 1);
    }

    #[test]
    fn what_is_not_too_deep_stays() {
        for levels in [0, 1, 50] {
            assert_eq!(flatten(&nested(levels)), nested(levels));
        }
    }
}
