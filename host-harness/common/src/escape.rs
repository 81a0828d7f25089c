//! Escapes untrusted text so that it fits on one line of a log or a terminal.

use std::borrow::Cow;

/// Escapes every character that ends a line, moves the cursor or changes the text direction:
/// LF becomes `\n`, ESC `\u{1b}`.
#[must_use]
pub fn escape(text: &str) -> Cow<'_, str> {
    if !text.contains(needs_escape) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if needs_escape(character) {
            escaped.extend(character.escape_default());
        } else {
            escaped.push(character);
        }
    }
    Cow::Owned(escaped)
}

/// Returns whether a character is a control character, a line or paragraph separator, or a mark,
/// embedding, override or isolate of bidirectional text.
#[must_use]
pub fn needs_escape(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{61c}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_and_bidirectional_characters_are_escaped() {
        for character in ('\u{0}'..='\u{1f}')
            .chain('\u{7f}'..='\u{9f}')
            .chain(['\u{61c}', '\u{200e}', '\u{200f}'])
            .chain('\u{2028}'..='\u{202e}')
            .chain('\u{2066}'..='\u{2069}')
        {
            let escaped = escape(&character.to_string()).into_owned();
            assert!(escaped.starts_with('\\') && escaped.is_ascii(), "{escaped}");
        }
    }

    #[test]
    fn other_text_is_unchanged() {
        let text = "grüße 🎉, 100 % — \"C:\\temp\" 漢字";
        assert!(matches!(escape(text), Cow::Borrowed(same) if same == text));
    }
}
