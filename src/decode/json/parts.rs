//! The types of a scanned object: its span and form, its members and their values.

use core::fmt;

/// The type of a JSON value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `[…]`
    Array,
    /// `false`
    False,
    /// `null`
    Null,
    /// Any number.
    Number,
    /// `{…}`
    Object,
    /// `"…"`
    String,
    /// `true`
    True,
}

impl Kind {
    /// Returns the quote around a value of this kind, or nothing: spans of strings are without their
    /// quotes.
    #[must_use]
    pub const fn quote(self) -> &'static str {
        match self {
            Self::String => "\"",
            Self::Array | Self::False | Self::Null | Self::Number | Self::Object | Self::True => "",
        }
    }
}

/// A range of bytes of the scanned text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    pub(super) start: u32,
    pub(super) end: u32,
}

impl Span {
    /// Returns the text of the range.
    #[inline]
    #[must_use]
    pub fn of(self, text: &str) -> &str {
        text.get(index(self.start)..index(self.end))
            .unwrap_or_default()
    }

    /// Returns the number of bytes.
    #[must_use]
    pub const fn len(self) -> u32 {
        self.end - self.start
    }

    /// Returns whether it is empty.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.start == self.end
    }

    /// Returns where it begins.
    #[must_use]
    pub fn start(self) -> usize {
        index(self.start)
    }

    /// Returns the offset just after the last byte.
    #[must_use]
    pub fn end(self) -> usize {
        index(self.end)
    }
}

/// One member of an object.
#[derive(Clone, Copy, Debug)]
pub struct Member {
    /// The name, without quotes, escapes as they stand.
    pub key: Span,
    /// The value: for a string its contents without quotes, else the whole text.
    pub value: Span,
    /// The kind of the value.
    pub kind: Kind,
    /// The name has escapes.
    pub key_escaped: bool,
    /// A string value has escapes.
    pub escaped: bool,
    /// The value is in canonical form: no white space, no `\/` or `\u` escape, names sorted.
    pub canonical: bool,
}

/// The properties of an object as a whole.
#[derive(Clone, Copy, Debug)]
pub struct ScannedObject {
    /// The object from brace to brace.
    pub span: Span,
    /// The names are in strictly ascending order, so none occurs twice.
    pub sorted: bool,
    /// All of it is in canonical form, as in [`Member::canonical`].
    pub canonical: bool,
    /// A line break stands between two tokens.
    pub multiline: bool,
    /// All strings are ASCII without escapes.
    pub is_unescaped_ascii: bool,
    /// A string has `\/` or a `\u` escape, which may be needless.
    pub may_have_needless_escapes: bool,
}

/// Why a text cannot be scanned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error {
    /// What is wrong, as a clause.
    pub reason: &'static str,
    /// The byte at which it was noticed.
    pub offset: usize,
}

impl Error {
    /// Returns whether the error is of a kind that a [repair](mod@super::repair) removes; the text may have
    /// others.
    #[must_use]
    pub fn is_repairable(&self) -> bool {
        [
            super::CONTROL_CHARACTER,
            super::LONE_SURROGATE,
            super::TOO_DEEP,
        ]
        .contains(&self.reason)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", self.reason, self.offset)
    }
}

impl core::error::Error for Error {}

/// One element of an array, or any value that stands by itself.
#[derive(Clone, Copy, Debug)]
pub struct Element {
    /// As in [`Member::value`].
    pub value: Span,
    /// The kind of the value.
    pub kind: Kind,
    /// A string value has escapes.
    pub escaped: bool,
    /// As in [`Member::canonical`].
    pub canonical: bool,
}

/// Returns a position as an index. Lossless: no supported machine has narrower indexes.
#[inline]
pub(super) fn index(position: u32) -> usize {
    usize::try_from(position).unwrap_or(usize::MAX)
}
