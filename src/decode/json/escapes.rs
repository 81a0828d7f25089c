//! Removes escapes that JSON does not need.

use crate::decode::unescape::unicode;
use crate::encode::push_escaped;

/// Returns a scanned text with characters in place of those escapes that are not needed, such as
/// `\/`, `\u003c` and `\u00fc`; `None` where it has no `\/` and no `\u` escape.
///
/// Writers of JSON differ in what they escape, and values are compared as they stand.
#[cold]
#[inline(never)]
pub fn without_needless_escapes(json: &str) -> Option<String> {
    let mut out = String::with_capacity(json.len());
    let mut rest = json;
    let mut is_changed = false;
    while let Some(at) = rest.find('\\') {
        let (plain, escape) = rest.split_at_checked(at)?;
        out.push_str(plain);
        rest = if let Some(digits) = escape.strip_prefix("\\u") {
            let (character, after) = unicode(digits);
            push_escaped(&mut out, character.encode_utf8(&mut [0; 4]));
            is_changed = true;
            after
        } else if let Some(after) = escape.strip_prefix("\\/") {
            out.push('/');
            is_changed = true;
            after
        } else {
            let (escape, after) = escape.split_at_checked(2)?;
            out.push_str(escape);
            after
        };
    }
    out.push_str(rest);
    is_changed.then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    #[test]
    fn only_needless_escapes_are_removed() {
        for (json, expected) in [
            (r#"{"a":"x"}"#, None),
            (r#"{"a":"\"\\\n"}"#, None),
            (r#"{"a":"\u0001"}"#, Some(r#"{"a":"\u0001"}"#)),
            (r#"{"a":"\/"}"#, Some(r#"{"a":"/"}"#)),
            (r#"{"\u0061":"\\\u003c\u003E"}"#, Some(r#"{"a":"\\<>"}"#)),
            (r#"{"a":"\u0022\u005c\u0009"}"#, Some(r#"{"a":"\"\\\t"}"#)),
            (
                r#"{"a":["\ud83d\ude00é\u00e9"]}"#,
                Some("{\"a\":[\"😀éé\"]}"),
            ),
        ] {
            assert_eq!(
                without_needless_escapes(json).as_deref(),
                expected,
                "{json}"
            );
        }
    }

    proptest! {
        #[test]
        fn the_value_is_the_same(text in any::<String>(), escaped in any::<u64>()) {
            let mut json = String::from("\"");
            for (at, unit) in text.encode_utf16().enumerate() {
                let plain = char::from_u32(u32::from(unit)).filter(|c| c.is_ascii_alphanumeric());
                match plain.filter(|_| escaped >> (at % 64) & 1 == 0) {
                    Some(plain) => json.push(plain),
                    None => json.push_str(&format!("\\u{unit:04x}")),
                }
            }
            json.push('"');
            let value: Value = serde_json::from_str(&json).unwrap();
            let plain = without_needless_escapes(&json).unwrap_or(json);
            prop_assert_eq!(&serde_json::from_str::<Value>(&plain).unwrap(), &value);
            let again = without_needless_escapes(&plain).unwrap_or_else(|| plain.clone());
            prop_assert_eq!(again, plain);
        }
    }
}
