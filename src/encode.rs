//! Pieces of single-line JSON.

use crate::scan::plain_prefix_len;

/// Appends text as the contents of a JSON string, escaped the way `serde_json` does it.
pub fn push_escaped(out: &mut String, text: &str) {
    let mut rest = text;
    while let Some((plain, tail)) = rest.split_at_checked(plain_prefix_len(rest.as_bytes()).0) {
        out.push_str(plain);
        if tail.is_empty() {
            return;
        }
        let mut chars = tail.chars();
        match chars.next() {
            Some('\u{8}') => out.push_str("\\b"),
            Some('\t') => out.push_str("\\t"),
            Some('\n') => out.push_str("\\n"),
            Some('\u{c}') => out.push_str("\\f"),
            Some('\r') => out.push_str("\\r"),
            Some(quoted @ ('"' | '\\')) => {
                out.push('\\');
                out.push(quoted);
            }
            Some(control) => {
                out.push_str("\\u00");
                let code = u32::from(control);
                out.extend(
                    [code >> 4, code & 15]
                        .iter()
                        .filter_map(|&n| char::from_digit(n, 16)),
                );
            }
            None => {}
        }
        rest = chars.as_str();
    }
}

/// Appends text with ASCII letters in lower case.
pub fn push_ascii_lowercase(out: &mut String, text: &str) {
    let start = out.len();
    out.push_str(text);
    if let Some(written) = out.get_mut(start..) {
        written.make_ascii_lowercase();
    }
}

/// Returns text in lower case, letter by letter. Smaller than `str::to_lowercase`, which writes a sigma
/// at the end of a word in another way; domain names do not have that.
#[must_use]
pub fn lowercase(text: &str) -> String {
    text.chars().flat_map(char::to_lowercase).collect()
}

/// Appends text as a JSON string.
pub fn push_quoted(out: &mut String, text: &str) {
    out.push('"');
    push_escaped(out, text);
    out.push('"');
}

/// Appends JSON text as part of a line: line breaks between tokens become spaces. In strings there
/// are none, since JSON has escapes for them.
pub fn push_single_line(out: &mut String, json: &str) {
    if memchr::memchr2(b'\n', b'\r', json.as_bytes()).is_none() {
        out.push_str(json);
        return;
    }
    out.extend(
        json.chars()
            .map(|c| if matches!(c, '\n' | '\r') { ' ' } else { c }),
    );
}

/// Writes escapes in place of those characters after the first `start` bytes that some readers
/// take for the end of a line: U+0085, U+2028 and U+2029. They can only be in strings.
pub fn escape_line_breaks(out: &mut String, start: usize) {
    let line = out.get(start..).unwrap_or_default();
    let mut escaped = String::new();
    let mut done = 0;
    for at in memchr::memchr2_iter(0xC2, 0xE2, line.as_bytes()) {
        let (escape, length) = match line.as_bytes().get(at..).unwrap_or_default() {
            [0xC2, 0x85, ..] => ("\\u0085", 2),
            [0xE2, 0x80, 0xA8, ..] => ("\\u2028", 3),
            [0xE2, 0x80, 0xA9, ..] => ("\\u2029", 3),
            _ => continue,
        };
        escaped.push_str(line.get(done..at).unwrap_or_default());
        escaped.push_str(escape);
        done = at + length;
    }
    if done > 0 {
        escaped.push_str(line.get(done..).unwrap_or_default());
        out.truncate(start);
        out.push_str(&escaped);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn breaks_become_escapes(text in "([\u{85}\u{2028}\u{2029}é€\u{84}]|\\PC){0,30}") {
            let mut out = "before".to_owned();
            out.push_str(&text);
            escape_line_breaks(&mut out, "before".len());
            let expected = text
                .replace('\u{85}', "\\u0085")
                .replace('\u{2028}', "\\u2028")
                .replace('\u{2029}', "\\u2029");
            prop_assert_eq!(out, format!("before{expected}"));
        }

        #[test]
        fn escapes_as_serde_json_does(text in "([\\x00-\\x1f\"\\\\]|\\PC){0,30}") {
            let mut out = String::new();
            push_quoted(&mut out, &text);
            prop_assert_eq!(out, serde_json::to_string(&text).unwrap());
        }
    }
}
