//! One upstream record: its members as the upstream wrote them.

use crate::field::{FieldName, NAMES};
use core::fmt;

use crate::decode::json::{self, Kind, Member, ScannedObject};
use crate::stream::Stream;
use dictionary::{KeyPredictor, KnownKeyTracker, SORTED_NAMES};

mod dictionary;
mod feed;
pub mod legacy;

/// A value as it is in the record.
#[derive(Clone, Copy, Debug)]
pub struct Value<'a> {
    /// The kind of the value.
    pub kind: Kind,
    /// The contents of a string without quotes, or the whole text of anything else.
    pub text: &'a str,
    /// Whether it is a string with escapes.
    pub escaped: bool,
}

/// One member of a record.
#[derive(Clone, Copy, Debug)]
pub struct Field<'a> {
    /// The name, if it is a known one.
    pub name: Option<FieldName>,
    /// The name as it is in the record, without quotes and with its escapes.
    pub key: &'a str,
    /// The value.
    pub value: Value<'a>,
}

/// One upstream JSON object.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    stream: Stream,
    /// The text that was parsed; the members are ranges of it.
    input: &'a str,
    scanned_object: ScannedObject,
    members: &'a [Member],
    names: &'a [Option<FieldName>],
    member_positions: &'a MemberPositionsFromOne,
    canonical_order: Option<&'a [u16]>,
}

/// For every known name the position of its last member, counted from one, or zero.
type MemberPositionsFromOne = [u16; NAMES.len()];

/// Why a text is not a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError(json::Error);

impl ParseError {
    /// Returns whether the error is of a kind that a [repair](json::repair) removes; the text may have others.
    #[must_use]
    pub fn is_repairable(&self) -> bool {
        self.0.is_repairable()
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not a JSON object: {}", self.0)
    }
}

impl core::error::Error for ParseError {}

/// Parses records one after another, with buffers that all of them share.
pub struct Parser {
    predictor: KeyPredictor,
    members: Vec<Member>,
    names: Vec<Option<FieldName>>,
    member_positions: MemberPositionsFromOne,
    canonical_order: CanonicalOrder,
}

/// The indexes of a record's members in the order of their names. Most records of a stream have the
/// same names at the same indexes, so the order of the previous record is used again.
#[derive(Default)]
struct CanonicalOrder {
    /// The names in the record for which it was computed.
    names: Vec<Option<FieldName>>,
    /// The indexes of the members, without the transport fields and without
    /// those whose name occurs again later.
    indexes: Vec<u16>,
}

impl CanonicalOrder {
    /// Returns the indexes of the members of a record whose names are all known.
    fn of(
        &mut self,
        names: &[Option<FieldName>],
        member_positions: &MemberPositionsFromOne,
    ) -> &[u16] {
        if self.names != names {
            self.names.clear();
            self.names.extend(names);
            self.indexes.clear();
            let ranked = SORTED_NAMES
                .iter()
                .filter(|name| !FieldName::TRANSPORT.contains(name));
            let member_positions = ranked.filter_map(|name| member_positions.get(name.index()));
            self.indexes
                .extend(member_positions.filter_map(|slot| slot.checked_sub(1)));
        }
        &self.indexes
    }
}

/// The greatest number of members a record may have. Real ones have 50 at the most.
const MEMBERS_MAX: usize = 10_000;

impl Default for Parser {
    fn default() -> Self {
        Self::new()
    }
}

impl Parser {
    /// Creates a parser with empty buffers.
    #[must_use]
    #[inline(never)]
    pub fn new() -> Self {
        Self {
            predictor: KeyPredictor::new(),
            members: Vec::new(),
            names: Vec::new(),
            member_positions: [0; NAMES.len()],
            canonical_order: CanonicalOrder::default(),
        }
    }

    /// Parses `input`, which must be one JSON object with optional white space around it.
    pub fn parse<'a>(
        &'a mut self,
        stream: Stream,
        input: &'a str,
    ) -> Result<Record<'a>, ParseError> {
        let (names, member_positions) = (&mut self.names, &mut self.member_positions);
        let mut reader = KnownKeyTracker::new(stream, &mut self.predictor, names, member_positions);
        let scanned_object =
            json::scan_object_with(input, &mut self.members, &mut reader).map_err(ParseError)?;
        let are_all_known = reader.are_all_known();
        let is_ambiguous = reader.is_ambiguous();
        if self.members.len() > MEMBERS_MAX {
            let offset = self
                .members
                .get(MEMBERS_MAX)
                .map_or(0, |member| member.key.start());
            return Err(ParseError(json::Error {
                reason: "more than 10000 members",
                offset,
            }));
        }
        if is_ambiguous {
            dictionary::resolve_spellings(
                stream,
                input,
                &self.members,
                &mut self.names,
                &mut self.member_positions,
            );
        }
        let canonical_order = (are_all_known && !scanned_object.sorted)
            .then(|| self.canonical_order.of(&self.names, &self.member_positions));
        Ok(Record {
            stream,
            input,
            scanned_object,
            members: &self.members,
            names: &self.names,
            member_positions: &self.member_positions,
            canonical_order,
        })
    }
}

/// Parses records again after a change of their text.
#[derive(Default)]
pub struct Rewriter {
    parser: Parser,
    text: String,
}

impl Rewriter {
    /// Returns the record without escapes that JSON does not need; `None` where it has no `\/` and no `\u`
    /// escape.
    pub fn without_needless_escapes<'a>(&'a mut self, record: &Record<'_>) -> Option<Record<'a>> {
        if !record.scanned_object.may_have_needless_escapes {
            return None;
        }
        self.text = json::without_needless_escapes(record.text())?;
        self.parse(record.stream)
    }

    #[cold]
    #[inline(never)]
    fn parse(&mut self, stream: Stream) -> Option<Record<'_>> {
        self.parser.parse(stream, &self.text).ok()
    }

    /// Returns the record with these members before its own, each with a comma after it; nothing where
    /// there are none. Of two members with one name the record's own counts, since it is the last.
    pub fn prepend_members<'a>(
        &'a mut self,
        record: &Record<'_>,
        members: &str,
    ) -> Option<Record<'a>> {
        let own = record.text().strip_prefix('{')?;
        if members.is_empty() {
            return None;
        }
        self.text.clear();
        for piece in ["{", members, own] {
            self.text.push_str(piece);
        }
        self.parse(record.stream)
    }
}

impl<'a> Record<'a> {
    /// Returns the stream it came from.
    #[must_use]
    pub const fn stream(&self) -> Stream {
        self.stream
    }

    /// Returns the object from brace to brace, byte for byte.
    #[must_use]
    pub fn text(&self) -> &'a str {
        self.scanned_object.span.of(self.input)
    }

    /// Returns whether there is a line break between two tokens.
    #[must_use]
    pub const fn is_multiline(&self) -> bool {
        self.scanned_object.multiline
    }

    /// Returns the value of a known name; of the last, if it occurs more than once.
    #[inline]
    #[must_use]
    pub fn get(&self, name: FieldName) -> Option<Value<'a>> {
        let member = self.members.get(self.position(name)?)?;
        Some(self.value(member))
    }

    /// Returns the index of the last member of a known name among all members.
    pub(crate) fn position(&self, name: FieldName) -> Option<usize> {
        usize::from(*self.member_positions.get(name.index())?).checked_sub(1)
    }

    /// Returns all members in the order of the record. Of several members with the same known name only
    /// the last is returned.
    pub fn fields(&self) -> impl Iterator<Item = Field<'a>> {
        let record = *self;
        (0..record.members.len()).filter_map(move |at| record.effective_field(at, |_| false))
    }

    /// Returns how many members there are.
    pub(crate) const fn len(&self) -> usize {
        self.members.len()
    }

    /// Returns the member at that index, unless its name is known and is to be skipped or occurs
    /// again later.
    #[inline]
    pub(crate) fn effective_field(
        &self,
        at: usize,
        is_skipped: impl Fn(FieldName) -> bool,
    ) -> Option<Field<'a>> {
        let name = *self.names.get(at)?;
        if let Some(known) = name {
            let is_last = self
                .member_positions
                .get(known.index())
                .is_some_and(|s| usize::from(*s) == at + 1);
            if !is_last || is_skipped(known) {
                return None;
            }
        }
        let member = self.members.get(at)?;
        Some(Field {
            name,
            key: member.key.of(self.input),
            value: self.value(member),
        })
    }

    /// Returns `true` only if it is certain that no name occurs twice in [`Record::fields`].
    pub(crate) const fn has_unique_names(&self) -> bool {
        self.scanned_object.sorted || self.canonical_order.is_some()
    }

    /// Returns the indexes of the members in the order of their names, as a canonical form has them,
    /// if they are not sorted and all names are known.
    pub(crate) const fn canonical_order(&self) -> Option<&'a [u16]> {
        self.canonical_order
    }

    pub(crate) const fn scanned_object(&self) -> ScannedObject {
        self.scanned_object
    }

    pub(crate) const fn members(&self) -> &'a [Member] {
        self.members
    }

    pub(crate) const fn input(&self) -> &'a str {
        self.input
    }

    #[inline]
    fn value(&self, member: &Member) -> Value<'a> {
        Value {
            kind: member.kind,
            text: member.value.of(self.input),
            escaped: member.escaped,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_the_record_before_does_not_change_the_result() {
        let lines = [
            r#"{"user":"a","x":1,"id":"b","category":"c"}                                       "#,
            r#"{"user":"a","id":"b","category":"c"}                                             "#,
            r#"{"category":"c","id":"a","user":"b"}                                             "#,
            r#"{"category":"c","idx":"a","user":"b","x":1,"id":"d"}                             "#,
            r#"{"category":"c","id":"a","id":"b"}                                               "#,
            r#"{"category":"c","h":1,"id":"a"}                                                  "#,
            r#"{"category":"c","j":1,"id":"a"}                                                  "#,
        ];
        let mut used = Parser::new();
        for line in lines.iter().chain(&lines) {
            let mut new = Parser::new();
            let expected = new.parse(Stream::Audit, line).unwrap();
            let actual = used.parse(Stream::Audit, line).unwrap();
            assert_eq!(actual.names, expected.names, "{line}");
            assert_eq!(actual.member_positions, expected.member_positions, "{line}");
            assert_eq!(
                actual.scanned_object().sorted,
                expected.scanned_object().sorted,
                "{line}"
            );
            let keys = |record: Record<'_>| {
                let fields = record.fields();
                fields.map(|field| field.key.to_owned()).collect::<Vec<_>>()
            };
            assert_eq!(keys(actual), keys(expected), "{line}");
            let names: Vec<_> = actual.members().iter().map(|m| m.key.of(line)).collect();
            assert_eq!(
                actual.scanned_object().sorted,
                names.is_sorted_by(|a, b| a < b),
                "{line}"
            );
        }
    }

    #[test]
    fn the_last_of_two_members_with_one_name_counts() {
        let mut parser = Parser::new();
        let record = parser
            .parse(Stream::Audit, r#"{"user":"a","x":1,"user":"b"}"#)
            .unwrap();
        assert_eq!(record.get(crate::field::USER).unwrap().text, "b");
        assert_eq!(
            record.fields().map(|field| field.key).collect::<Vec<_>>(),
            ["x", "user"]
        );
    }

    #[test]
    fn transport_fields_come_first() {
        assert_eq!(
            FieldName::TRANSPORT.map(|name| NAMES[name.index()]),
            ["_offset", "_partition"]
        );
    }

    #[test]
    fn a_parse_error_gives_the_position() {
        let mut parser = Parser::new();
        let reject = parser
            .parse(Stream::Audit, r#"{"user":"a" "x":1}"#)
            .unwrap_err();
        assert_eq!(
            reject.to_string(),
            "not a JSON object: expected a comma or a closing brace at byte 12"
        );
    }
}
