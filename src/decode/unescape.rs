//! The contents of JSON strings as text.

/// Appends the contents of a scanned JSON string with its escapes resolved. In a text that no scanner
/// has accepted, wrong escapes are replaced or left out.
pub fn unescape_into(contents: &str, out: &mut String) {
    let mut rest = contents;
    // Where there are escapes, they are close together: a plain loop finds the next one sooner
    // than a search that has to be set up.
    while let Some(at) = rest.bytes().position(|byte| byte == b'\\') {
        let (plain, escape) = rest.split_at_checked(at).unwrap_or((rest, ""));
        out.push_str(plain);
        let mut chars = escape.chars();
        chars.next();
        match chars.next() {
            Some('b') => out.push('\u{8}'),
            Some('f') => out.push('\u{c}'),
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('t') => out.push('\t'),
            Some('u') => {
                let (character, after) = unicode(chars.as_str());
                out.push(character);
                rest = after;
                continue;
            }
            Some(other) => out.push(other),
            None => {}
        }
        rest = chars.as_str();
    }
    out.push_str(rest);
}

/// Returns the character of one `\u` escape, or of two that make a pair, and what follows.
pub(super) fn unicode(text: &str) -> (char, &str) {
    let Some((first, rest)) = hex(text) else {
        return (char::REPLACEMENT_CHARACTER, text);
    };
    if let Some(character) = char::from_u32(first) {
        return (character, rest);
    }
    let pair = rest
        .strip_prefix("\\u")
        .and_then(hex)
        .and_then(|(second, after)| {
            let low = second.checked_sub(0xDC00)?;
            let high = first.checked_sub(0xD800)?;
            Some((char::from_u32(0x10000 + (high << 10) + low)?, after))
        });
    pair.unwrap_or((char::REPLACEMENT_CHARACTER, rest))
}

fn hex(text: &str) -> Option<(u32, &str)> {
    let (digits, rest) = text.split_at_checked(4)?;
    // The parser also takes a sign.
    let number = u32::from_str_radix(digits, 16).ok();
    Some((number.filter(|_| !digits.starts_with('+'))?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_serde_json_escapes_is_read_back(text in any::<String>()) {
            let json = serde_json::to_string(&text).unwrap();
            let mut out = String::new();
            unescape_into(json.strip_prefix('"').unwrap().strip_suffix('"').unwrap(), &mut out);
            prop_assert_eq!(out, text);
        }

        #[test]
        fn any_text_is_survived(text in "(\\\\|u|d8|dc|0|\\PC){0,20}") {
            unescape_into(&text, &mut String::new());
        }
    }

    #[test]
    fn surrogate_pairs_become_one_character() {
        let mut out = String::new();
        unescape_into(r"\u00e9\/\ud83d\ude00\n", &mut out);
        assert_eq!(out, "é/😀\n");
    }

    #[test]
    fn a_sign_is_no_hexadecimal_digit() {
        for text in [r"\u+0ab", r"\ud83d\u+e00"] {
            let mut out = String::new();
            unescape_into(text, &mut out);
            assert!(out.starts_with('\u{fffd}'), "{text} became {out}");
        }
    }
}
