//! Text from outside, made fit for one line of a log or a terminal.

use std::borrow::Cow;

/// The text with every character escaped that ends a line, moves a cursor or
/// changes the direction of text: LF becomes `\n`, ESC `\u{1b}`.
#[must_use]
pub fn escape(text: &str) -> Cow<'_, str> {
    if !text.contains(is_control) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if is_control(character) {
            escaped.extend(character.escape_default());
        } else {
            escaped.push(character);
        }
    }
    Cow::Owned(escaped)
}

/// Whether a character is a control character, the separators of lines and paragraphs, and the marks,
/// embeddings, overrides and isolates of bidirectional text.
#[must_use]
pub fn is_control(character: char) -> bool {
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
    fn other_text_stays_as_it_is() {
        let text = "grüße 🎉, 100 % — \"C:\\temp\" 漢字";
        assert!(matches!(escape(text), Cow::Borrowed(same) if same == text));
    }
}
