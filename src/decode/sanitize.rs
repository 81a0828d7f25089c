//! Untrusted text made safe to show: on one line, without invisible characters, of bounded length.

/// A text from outside is cut to this many characters before it is shown to a person.
const SHOWN_CHARS_MAX: usize = 200;

/// Sanitizes untrusted text: one line, no invisible characters, bounded length.
#[must_use]
pub fn sanitize(text: &str) -> String {
    sanitize_within(text, SHOWN_CHARS_MAX)
}

/// Sanitizes untrusted text to at most so many characters.
#[must_use]
pub fn sanitize_within(text: &str, chars_max: usize) -> String {
    let plain = |c: char| if is_invisible(c) { ' ' } else { c };
    text.chars().take(chars_max).map(plain).collect()
}

/// Sanitizes untrusted text to at most so many bytes.
#[must_use]
pub fn sanitize_within_bytes(text: &str, bytes_max: usize) -> String {
    let cut = text.floor_char_boundary(bytes_max);
    sanitize_within(text.get(..cut).unwrap_or_default(), bytes_max)
}

/// Returns whether a character is invisible and affects how others are displayed, or ends a line:
/// control characters, line separators, marks and embeddings of the direction of writing.
#[must_use]
pub fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{61c}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{2069}'
                | '\u{feff}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_from_outside_is_shown_on_one_short_line() {
        assert_eq!(sanitize("a\nb\u{1b}[31m"), "a b [31m");
        assert_eq!(sanitize("a\u{202e}b\u{2066}c\u{2028}d\u{85}e"), "a b c d e");
        assert_eq!(sanitize("héllo – 日本 😀"), "héllo – 日本 😀");
        assert_eq!(sanitize(&"x".repeat(1000)).len(), SHOWN_CHARS_MAX);
        assert_eq!(sanitize_within("é\nx", 2), "é ");
        assert_eq!(sanitize_within_bytes("éé\nx", 3), "é");
        assert_eq!(sanitize_within_bytes("é\u{2028}x", 99), "é x");
    }
}
