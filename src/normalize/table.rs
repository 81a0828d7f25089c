//! The types of the mapping tables.

use core::fmt;

use super::convert;
use super::mapping::FieldStep;
use super::values::UnescapedText;
use super::writer::EventWriter;
use crate::field::FieldName;
use crate::record::Value;

/// One row: the path of a value, the fields that it may come from, and its conversion.
///
/// Rows have the order of the output. In a path, dots separate objects and `[]` marks an
/// array of one object. A row that writes several members has their names in braces, mostly
/// without the captions beside the ids.
#[derive(Clone, Copy, Debug)]
pub struct FieldMapping {
    /// Where the value goes.
    pub path: &'static str,
    /// The upstream fields it is made from: the first that has a usable value wins, unless the conversion reads
    /// the fields of the row itself ([`by_row`]).
    pub from: &'static [FieldName],
    /// What is written.
    pub output: RowOutput,
}

/// What a row writes.
#[derive(Clone, Copy, Debug)]
pub enum RowOutput {
    /// A value that the engine computes from the whole record.
    Computed(Computed),
    /// A constant, as JSON.
    Json(&'static str),
    /// The value of a field, converted. Values that do not fit are not written.
    Field(Convert),
}

/// A value that no single field holds.
#[derive(Clone, Copy, Debug)]
pub enum Computed {
    /// The MITRE ATT&CK techniques that the rules find for the record.
    Techniques,
    /// The time of collection.
    Collected,
    /// The time of collection, in milliseconds since the epoch.
    CollectedMillis,
    /// The feature of the product that wrote it.
    Feature,
    /// One sentence for people.
    Message,
    /// What the first rule that holds says of the event, such as its category and severity.
    Classification,
    /// The id of the event.
    Id,
    /// Every field that no row has used, under its own name; then `unparsed` and `parse_errors`.
    Unmapped,
    /// Every value that the table of observables names, each once.
    Observables,
    /// The time of the event.
    Occurred,
    /// The time of the event, in milliseconds since the epoch.
    OccurredMillis,
    /// The text of the record, on request.
    Original,
    /// The name of the stream.
    Stream,
    /// Every value of that kind that was written before, each once.
    Related(Related),
}

/// The kinds of values that `related.*` gathers.
#[derive(Clone, Copy, Debug)]
pub enum Related {
    /// Hashes of files.
    Hash,
    /// Names of hosts.
    Hosts,
    /// IP addresses.
    Ip,
    /// E-mail addresses and names of users.
    User,
}

/// How the value of a row is read and written, and what is written where there is none.
#[derive(Clone, Copy)]
pub struct Convert {
    pub(super) function: ConvertFn,
    /// Writes the value where no field has one that fits.
    pub(super) otherwise: Option<fn(&mut EventWriter<'_, '_>, &FieldStep)>,
    /// The constant that the row writes, or writes where no field has a value that fits.
    pub(super) constant: &'static str,
}

/// The function of a row, by its argument. Functions that write one value return whether it fits.
#[derive(Clone, Copy)]
pub(super) enum ConvertFn {
    /// The row: the function reads the fields itself.
    Row(fn(&mut EventWriter<'_, '_>, &FieldStep)),
    /// The value of a field, whatever it is.
    Value(fn(&mut EventWriter<'_, '_>, Value<'_>) -> bool),
    /// The text of a value that is not a placeholder.
    Text(fn(&mut EventWriter<'_, '_>, UnescapedText<'_>) -> bool),
    /// The text of a value, including words for "no value" such as `none`.
    TextOrPlaceholder(fn(&mut EventWriter<'_, '_>, UnescapedText<'_>) -> bool),
}

impl Convert {
    const fn new(function: ConvertFn) -> Self {
        Self {
            function,
            otherwise: None,
            constant: "",
        }
    }

    /// Adds a function that writes what the path gets where no value fits.
    pub(super) const fn or(self, otherwise: fn(&mut EventWriter<'_, '_>, &FieldStep)) -> Self {
        Self {
            otherwise: Some(otherwise),
            ..self
        }
    }
}

impl fmt::Debug for Convert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Convert").finish_non_exhaustive()
    }
}

/// Returns a conversion of the text of a value that is not a placeholder.
pub(super) const fn text(push: fn(&mut EventWriter<'_, '_>, UnescapedText<'_>) -> bool) -> Convert {
    Convert::new(ConvertFn::Text(push))
}

/// Returns a conversion of the text of a value, including words for "no value" such as `none`.
pub(super) const fn text_or_placeholder(
    push: fn(&mut EventWriter<'_, '_>, UnescapedText<'_>) -> bool,
) -> Convert {
    Convert::new(ConvertFn::TextOrPlaceholder(push))
}

/// Returns a conversion of a value, whatever it is.
pub(super) const fn value(push: fn(&mut EventWriter<'_, '_>, Value<'_>) -> bool) -> Convert {
    Convert::new(ConvertFn::Value(push))
}

/// Returns a conversion that reads the fields of its row itself.
pub(super) const fn by_row(write: fn(&mut EventWriter<'_, '_>, &FieldStep)) -> Convert {
    Convert::new(ConvertFn::Row(write))
}

/// Returns a conversion that writes the text, also the text `none`, and `other` where the field has
/// no value.
pub(super) const fn verbatim_or(other: &'static str) -> Convert {
    let convert = Convert {
        constant: other,
        ..text_or_placeholder(convert::verbatim)
    };
    convert.or(convert::push_constant)
}

/// Returns a conversion that always writes that constant, and marks a field with the same text as used.
pub(super) const fn constant_and_mark_used(constant: &'static str) -> Convert {
    Convert {
        constant,
        ..by_row(convert::push_constant_and_mark_used)
    }
}

/// How a field is written that no row has used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnmappedOutput {
    /// `true` or `false`, from a boolean or a word for one.
    Boolean,
    /// As a boolean where it is one, else as text.
    BooleanOrText,
    /// Not at all.
    Omit,
    /// As it is, but a list without its `null` elements.
    Json,
    /// As a whole number, from a number or its digits.
    Long,
    /// As a JSON object, from one or from the text of one.
    Object,
    /// As text; the default of known fields.
    Text,
    /// Below `unparsed`, with the values that could not be read.
    Unparsed,
}

/// One rule of classification for ECS: the first whose tests all hold decides.
#[derive(Clone, Copy, Debug)]
pub struct EcsRule {
    /// All of these must hold.
    pub when: &'static [Test],
    /// How the event is classified.
    pub classification: EcsClassification,
}

/// How ECS classifies an event.
#[derive(Clone, Copy, Debug)]
pub struct EcsClassification {
    /// `event.kind`
    pub kind: &'static str,
    /// `event.category`
    pub category: &'static [&'static str],
    /// `event.type`
    pub types: &'static [&'static str],
    /// `event.outcome`, or nothing.
    pub outcome: Option<&'static str>,
    /// `event.severity`: 1 information, 2 low, 3 medium, 4 high.
    pub severity: u8,
}

/// A test of a record by one field, or by any of several. Case makes no difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Test {
    /// One of the fields has an e-mail address.
    Email(&'static [FieldName]),
    /// One of the fields has a scalar value other than a placeholder.
    HasValue(&'static [FieldName]),
    /// The sender is given and empty: a bounce.
    NullSender(FieldName),
    /// One of the fields is a hash, or a STIX pattern that can be parsed.
    HasIndicator(&'static [FieldName]),
    /// The text of one of the fields contains one of the words.
    Contains(&'static [FieldName], &'static [&'static str]),
    /// A word of the text of one of the fields begins with one of these.
    HasWordPrefix(&'static [FieldName], &'static [&'static str]),
    /// The text is one of the words.
    Is(FieldName, &'static [&'static str]),
    /// The text is a word of the table of actions with this `action_id`.
    HasActionId(FieldName, u8),
    /// The text is one of the words, or the field has no value.
    IsOrMissing(FieldName, &'static [&'static str]),
    /// The prose of an audit event says that something was not done.
    ReportsFailure(FieldName),
    /// The prose of an audit event names a person.
    NamesPerson(FieldName),
    /// The prose of an audit event names a role and a person who did not act.
    NamesRoleAndTarget(FieldName),
    /// The prose of an audit event names a person who did not act.
    NamesTarget(FieldName),
    /// The user of an audit event has a name.
    HasUser(FieldName),
    /// The verb for what an audit event says was done begins with one of these.
    ActionIs(FieldName, &'static [&'static str]),
    /// A verb for what an audit event says was done begins with one of these, also where a verb for changing
    /// comes before it (`Role was changed, Editor removed`).
    ActionIsAlsoAfterChange(FieldName, &'static [&'static str]),
    /// The prose of an audit event says that a group got or lost a member.
    ChangesMembers(FieldName),
    /// A word of the sentence of an audit event, without labels and quotations, begins with one of these.
    SentenceHasWordPrefix(FieldName, &'static [&'static str]),
}

impl Test {
    /// Returns the fields that it tests.
    #[must_use]
    pub const fn fields(&self) -> &[FieldName] {
        match self {
            Self::Email(fields)
            | Self::HasValue(fields)
            | Self::Contains(fields, _)
            | Self::HasWordPrefix(fields, _)
            | Self::HasIndicator(fields) => fields,
            Self::ReportsFailure(field)
            | Self::Is(field, _)
            | Self::HasActionId(field, _)
            | Self::IsOrMissing(field, _)
            | Self::NamesPerson(field)
            | Self::NullSender(field)
            | Self::NamesRoleAndTarget(field)
            | Self::NamesTarget(field)
            | Self::HasUser(field)
            | Self::ActionIs(field, _)
            | Self::ActionIsAlsoAfterChange(field, _)
            | Self::ChangesMembers(field)
            | Self::SentenceHasWordPrefix(field, _) => core::slice::from_ref(field),
        }
    }
}

/// All tables of one stream for ECS.
#[derive(Clone, Copy, Debug)]
pub struct EcsTables {
    /// The rows of this stream, in the order of the output when put after one another; rows of
    /// one object are brought together.
    pub rows: &'static [&'static [FieldMapping]],
    /// How the fields are written that no row uses.
    pub unmapped: &'static [(FieldName, UnmappedOutput)],
    /// The rules of classification.
    pub rules: &'static [EcsRule],
}

/// Returns a row that takes the first usable of these fields, or whose conversion reads them itself.
#[must_use]
pub const fn row(path: &'static str, from: &'static [FieldName], convert: Convert) -> FieldMapping {
    FieldMapping {
        path,
        from,
        output: RowOutput::Field(convert),
    }
}

/// Returns a row that always writes the same JSON.
#[must_use]
pub const fn constant(path: &'static str, json: &'static str) -> FieldMapping {
    FieldMapping {
        path,
        from: &[],
        output: RowOutput::Json(json),
    }
}

/// Returns a row whose value the engine computes.
#[must_use]
pub const fn computed(path: &'static str, what: Computed) -> FieldMapping {
    FieldMapping {
        path,
        from: &[],
        output: RowOutput::Computed(what),
    }
}
