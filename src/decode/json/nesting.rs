//! The nesting depth of a position in JSON, tracked byte by byte.

/// Tracks brackets and strings of JSON as its bytes come.
///
/// The strict scanner needs a whole object and refuses what is not JSON. This finds the end of a value
/// also in a text that is incomplete, or JSON only up to there.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nesting {
    depth: u32,
    quoted: bool,
    escaped: bool,
}

impl Nesting {
    /// Takes the next byte.
    pub const fn push(&mut self, byte: u8) {
        match byte {
            _ if self.escaped => self.escaped = false,
            b'\\' if self.quoted => self.escaped = true,
            b'"' => self.quoted = !self.quoted,
            b'{' | b'[' if !self.quoted => self.depth = self.depth.saturating_add(1),
            b'}' | b']' if !self.quoted => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
    }

    /// Returns how many objects and arrays are open after the last byte.
    #[must_use]
    pub const fn depth(self) -> u32 {
        self.depth
    }

    /// Returns whether the next byte is inside a string, or is the quote that ends it.
    #[must_use]
    pub const fn in_string(self) -> bool {
        self.quoted
    }
}

/// Returns the length of the object or array that the text begins with; none if the text does not
/// begin with one, or ends before it does.
#[must_use]
pub fn container_prefix_len(text: &str) -> Option<usize> {
    text.starts_with(['{', '[']).then_some(())?;
    let mut nesting = Nesting::default();
    let last = text.bytes().position(|byte| {
        nesting.push(byte);
        nesting.depth() == 0
    })?;
    last.checked_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn brackets_in_strings_do_not_count() {
        for (text, length) in [
            (r"{}x", Some(2)),
            (r#"["]",{"a\"]":"\\"}]]"#, Some(19)),
            (r#"{"a":"}"#, None),
            ("[[]", None),
            ("", None),
            ("x[]", None),
        ] {
            assert_eq!(container_prefix_len(text), length, "{text}");
        }
    }

    proptest! {
        #[test]
        fn json_ends_where_its_serializer_ended(text in ".{0,20}", after in ".{0,9}") {
            let json = serde_json::json!([{ text.clone(): [text, 1] }, {}]).to_string();
            prop_assert_eq!(container_prefix_len(&format!("{json}{after}")), Some(json.len()));
        }
    }
}
