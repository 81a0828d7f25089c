//! A strict scanner that splits one JSON object into its members without copying anything.
//!
//! It accepts what `serde_json` accepts as an object, to a depth of [`DEPTH_MAX`]. Whatever it
//! accepts can be copied into other JSON as it stands.

use crate::scan::plain_prefix_len;

use deep_values::stringify_deep_values;
pub use escapes::without_needless_escapes;
use keys::KeyOrder;
pub use keys::KeyTracker;
pub use nesting::{Nesting, container_prefix_len};
pub use parts::{Element, Error, Kind, Member, ScannedObject, Span};
pub use repair::{Repaired, repair, repair_response, scan_repaired};

mod deep_values;
mod escapes;
mod keys;
mod nesting;
mod parts;
mod repair;

/// How deep arrays and objects may be nested, the outermost object included. Records are two or
/// three levels deep; the limit keeps hostile input from using up the stack.
pub const DEPTH_MAX: u32 = 64;

const TOO_DEEP: &str = "nested deeper than 64 levels";
const CONTROL_CHARACTER: &str = "control character in a string";
const LONE_SURROGATE: &str = "half of a surrogate pair";

/// Splits `text`, which must be one object and white space around it, into members, in the order
/// in which they stand. `members` is cleared first.
pub fn scan_object(text: &str, members: &mut Vec<Member>) -> Result<ScannedObject, Error> {
    scan_object_with(text, members, &mut KeyOrder::default())
}

/// Splits `text` like [`scan_object`], and passes its names to `keys`, which may predict the next one.
pub fn scan_object_with<'t>(
    text: &'t str,
    members: &mut Vec<Member>,
    keys: &mut impl KeyTracker<'t>,
) -> Result<ScannedObject, Error> {
    members.clear();
    let mut scanner = Scanner::new(text)?;
    scanner.skip_whitespace();
    scanner.compact = true;
    scanner.multiline = false;
    let start = scanner.position;
    scanner.expect(b'{', "expected an object")?;
    let mut canonical = true;
    scanner.members(1, keys, |member| {
        canonical &= member.canonical;
        members.push(member);
    })?;
    let span = scanner.span(start, scanner.position);
    let compact = scanner.compact;
    scanner.finish()?;
    let sorted = keys.is_sorted();
    Ok(ScannedObject {
        span,
        sorted,
        canonical: canonical && compact && sorted,
        multiline: scanner.multiline,
        is_unescaped_ascii: !scanner.has_non_ascii && !scanner.has_escapes,
        may_have_needless_escapes: scanner.may_have_needless_escapes,
    })
}

/// Calls `each` for every element of `text`, which must be one array.
pub fn scan_array(text: &str, each: impl FnMut(Element)) -> Result<(), Error> {
    let mut scanner = Scanner::new(text)?;
    scanner.skip_whitespace();
    scanner.expect(b'[', "expected an array")?;
    scanner.elements(1, each)?;
    scanner.finish()
}

/// Reads `text` as one value of any kind.
pub fn scan_value(text: &str) -> Result<Element, Error> {
    let mut scanner = Scanner::new(text)?;
    scanner.skip_whitespace();
    let element = scanner.value(1)?;
    scanner.finish()?;
    Ok(element)
}

struct Scanner<'a> {
    text: &'a str,
    bytes: &'a [u8],
    position: usize,
    /// A string may have characters that are not ASCII.
    has_non_ascii: bool,
    has_escapes: bool,
    /// A string has `\/` or a `\u` escape, which may be needless.
    may_have_needless_escapes: bool,
    compact: bool,
    multiline: bool,
}

struct ScannedString {
    span: Span,
    escaped: bool,
    canonical: bool,
}

impl<'a> Scanner<'a> {
    fn new(text: &'a str) -> Result<Self, Error> {
        if u32::try_from(text.len()).is_err() {
            return Err(Error {
                reason: "longer than 4 GiB",
                offset: 0,
            });
        }
        let bytes = text.as_bytes();
        Ok(Self {
            text,
            bytes,
            position: 0,
            has_non_ascii: false,
            has_escapes: false,
            may_have_needless_escapes: false,
            compact: true,
            multiline: false,
        })
    }

    fn span(&self, start: usize, end: usize) -> Span {
        debug_assert!(start <= end && end <= self.bytes.len());
        // `new` has checked that every position fits.
        Span {
            start: u32::try_from(start).unwrap_or_default(),
            end: u32::try_from(end).unwrap_or_default(),
        }
    }

    #[cold]
    fn error<T>(&self, reason: &'static str) -> Result<T, Error> {
        Err(Error {
            reason,
            offset: self.position,
        })
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.position).copied()
    }

    #[inline]
    fn expect(&mut self, byte: u8, reason: &'static str) -> Result<(), Error> {
        if self.peek() == Some(byte) {
            self.position += 1;
            return Ok(());
        }
        self.error(reason)
    }

    #[inline]
    fn skip_whitespace(&mut self) {
        if self.peek().is_some_and(|byte| byte <= b' ') {
            self.skip_nonempty_whitespace();
        }
    }

    /// Skips white space, of which there is some. Most writers of JSON put one space after a colon
    /// and a comma.
    #[inline]
    fn skip_nonempty_whitespace(&mut self) {
        if self.peek() == Some(b' ') {
            self.compact = false;
            self.position += 1;
        }
        if self.peek().is_some_and(|byte| byte <= b' ') {
            self.skip_whitespace_slowly();
        }
    }

    #[cold]
    fn skip_whitespace_slowly(&mut self) {
        while let Some(byte @ (b' ' | b'\t' | b'\n' | b'\r')) = self.peek() {
            self.compact = false;
            self.multiline |= matches!(byte, b'\n' | b'\r');
            self.position += 1;
        }
    }

    fn finish(&mut self) -> Result<(), Error> {
        let multiline = self.multiline;
        self.skip_whitespace();
        self.multiline = multiline;
        if self.position == self.bytes.len() {
            Ok(())
        } else {
            self.error("text after the end")
        }
    }

    /// Scans the members after an opening brace.
    #[inline]
    fn members(
        &mut self,
        depth: u32,
        keys: &mut impl KeyTracker<'a>,
        mut each: impl FnMut(Member),
    ) -> Result<(), Error> {
        self.skip_whitespace();
        if self.peek() == Some(b'}') {
            self.position += 1;
            return Ok(());
        }
        loop {
            let (key, key_escaped) = self.key(keys)?;
            self.skip_whitespace();
            let element = self.value(depth)?;
            each(Member {
                key,
                value: element.value,
                kind: element.kind,
                key_escaped,
                escaped: element.escaped,
                canonical: element.canonical,
            });
            self.skip_whitespace();
            match self.peek() {
                Some(b',') => self.position += 1,
                Some(b'}') => {
                    self.position += 1;
                    return Ok(());
                }
                _ => return self.error("expected a comma or a closing brace"),
            }
            self.skip_whitespace();
        }
    }

    /// Scans a name and the colon after it. Returns whether the name has escapes.
    #[inline]
    fn key(&mut self, keys: &mut impl KeyTracker<'a>) -> Result<(Span, bool), Error> {
        let rest = self.bytes.get(self.position..).unwrap_or_default();
        if let Some(length) = keys.match_expected(rest) {
            let start = self.position + 1;
            self.position = start + length + 2;
            return Ok((self.span(start, start + length), false));
        }
        self.expect(b'"', "expected a name in quotes")?;
        let key = self.string()?;
        self.skip_whitespace();
        self.expect(b':', "expected a colon")?;
        keys.push_unexpected(key.span.of(self.text), key.escaped);
        Ok((key.span, key.escaped))
    }

    /// Scans the elements after an opening bracket.
    fn elements(&mut self, depth: u32, mut each: impl FnMut(Element)) -> Result<(), Error> {
        self.skip_whitespace();
        if self.peek() == Some(b']') {
            self.position += 1;
            return Ok(());
        }
        loop {
            each(self.value(depth)?);
            self.skip_whitespace();
            match self.peek() {
                Some(b',') => self.position += 1,
                Some(b']') => {
                    self.position += 1;
                    return Ok(());
                }
                _ => return self.error("expected a comma or a closing bracket"),
            }
            self.skip_whitespace();
        }
    }

    #[inline]
    fn value(&mut self, depth: u32) -> Result<Element, Error> {
        match self.peek() {
            Some(b'"') => {
                self.position += 1;
                let ScannedString {
                    span,
                    escaped,
                    canonical,
                } = self.string()?;
                Ok(Element {
                    value: span,
                    kind: Kind::String,
                    escaped,
                    canonical,
                })
            }
            Some(b'n') => self.literal("null", Kind::Null),
            Some(b't') => self.literal("true", Kind::True),
            Some(b'f') => self.literal("false", Kind::False),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b'{' | b'[') => self.nested(depth + 1),
            _ => self.error("expected a value"),
        }
    }

    fn literal(&mut self, literal: &'static str, kind: Kind) -> Result<Element, Error> {
        let start = self.position;
        if !self
            .bytes
            .get(start..)
            .is_some_and(|rest| rest.starts_with(literal.as_bytes()))
        {
            return self.error("expected null, true or false");
        }
        self.position += literal.len();
        Ok(self.element(start, kind, true))
    }

    fn element(&self, start: usize, kind: Kind, canonical: bool) -> Element {
        let value = self.span(start, self.position);
        Element {
            value,
            kind,
            escaped: false,
            canonical,
        }
    }

    /// Scans an array or object inside another. The calls are as deep as the value,
    /// [`DEPTH_MAX`] at the most.
    fn nested(&mut self, depth: u32) -> Result<Element, Error> {
        if depth > DEPTH_MAX {
            return self.error(TOO_DEEP);
        }
        let start = self.position;
        let is_object = self.peek() == Some(b'{');
        self.position += 1;
        let outer = core::mem::replace(&mut self.compact, true);
        let mut canonical = true;
        if is_object {
            let mut order = KeyOrder::default();
            self.members(depth, &mut order, |member| canonical &= member.canonical)?;
            canonical &= order.is_sorted();
        } else {
            self.elements(depth, |element| canonical &= element.canonical)?;
        }
        canonical &= self.compact;
        self.compact &= outer;
        let kind = if is_object { Kind::Object } else { Kind::Array };
        Ok(self.element(start, kind, canonical))
    }

    fn digits(&mut self) -> Result<(), Error> {
        let start = self.position;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.position += 1;
        }
        if self.position == start {
            self.error("expected a digit")
        } else {
            Ok(())
        }
    }

    fn number(&mut self) -> Result<Element, Error> {
        let start = self.position;
        if self.peek() == Some(b'-') {
            self.position += 1;
        }
        if self.peek() == Some(b'0') {
            self.position += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.position += 1;
            self.digits()?;
        }
        let has_exponent = matches!(self.peek(), Some(b'e' | b'E'));
        if has_exponent {
            self.position += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.position += 1;
            }
            self.digits()?;
        }
        let element = self.element(start, Kind::Number, true);
        // A reader of the output would refuse what does not fit a double: 10^308 and a bit.
        if has_exponent || element.value.len() > 300 {
            let text = element.value.of(self.text);
            if !text.parse::<f64>().is_ok_and(f64::is_finite) {
                self.position = start;
                return self.error("number out of range");
            }
        }
        Ok(element)
    }

    /// Scans the rest of a string after its opening quote.
    #[inline]
    fn string(&mut self) -> Result<ScannedString, Error> {
        let start = self.position;
        self.skip_plain();
        if self.peek() == Some(b'"') {
            let span = self.span(start, self.position);
            self.position += 1;
            return Ok(ScannedString {
                span,
                escaped: false,
                canonical: true,
            });
        }
        self.string_slowly(start)
    }

    /// Scans the rest of a string from the first byte that needs inspection.
    #[cold]
    fn string_slowly(&mut self, start: usize) -> Result<ScannedString, Error> {
        let mut escaped = false;
        let mut canonical = true;
        loop {
            match self.peek() {
                Some(b'"') => {
                    let span = self.span(start, self.position);
                    self.position += 1;
                    self.has_escapes |= escaped;
                    self.may_have_needless_escapes |= !canonical;
                    return Ok(ScannedString {
                        span,
                        escaped,
                        canonical,
                    });
                }
                Some(b'\\') => {
                    escaped = true;
                    canonical &= self.escape()?;
                }
                Some(byte) if byte < b' ' => return self.error(CONTROL_CHARACTER),
                Some(_) => self.position += 1,
                None => return self.error("string without an end"),
            }
            self.skip_plain();
        }
    }

    /// Moves on to the next quote, backslash or control character, or to the end.
    #[inline]
    fn skip_plain(&mut self) {
        let rest = self.bytes.get(self.position..).unwrap_or_default();
        let (length, has_non_ascii) = plain_prefix_len(rest);
        self.position += length;
        self.has_non_ascii |= has_non_ascii;
    }

    /// Scans one escape. Returns whether canonical JSON certainly writes the same.
    fn escape(&mut self) -> Result<bool, Error> {
        self.position += 1;
        match self.peek() {
            Some(b'"' | b'\\' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.position += 1;
                Ok(true)
            }
            Some(b'/') => {
                self.position += 1;
                Ok(false)
            }
            Some(b'u') => {
                self.position += 1;
                match self.hex()? {
                    0xD800..=0xDBFF => {
                        self.expect(b'\\', LONE_SURROGATE)?;
                        self.expect(b'u', LONE_SURROGATE)?;
                        if !matches!(self.hex()?, 0xDC00..=0xDFFF) {
                            return self.error(LONE_SURROGATE);
                        }
                    }
                    0xDC00..=0xDFFF => return self.error(LONE_SURROGATE),
                    _ => {}
                }
                Ok(false)
            }
            _ => self.error("unknown escape"),
        }
    }

    fn hex(&mut self) -> Result<u32, Error> {
        let mut value = 0;
        for _ in 0..4 {
            let Some(digit) = self.peek().and_then(|byte| char::from(byte).to_digit(16)) else {
                return self.error("expected four hexadecimal digits");
            };
            value = value * 16 + digit;
            self.position += 1;
        }
        Ok(value)
    }
}

#[cfg(test)]
mod tests;
