//! The vocabulary of the mapping tables: what a row can say.

/// One row: where a value goes, where it comes from, and what happens on the way.
///
/// Rows stand in the order of the output. In a path, dots separate objects and `[]` marks an
/// array of one object.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Where the value goes.
    pub path: &'static str,
    /// The upstream fields it may come from: the first that has a usable value wins.
    pub from: &'static [&'static str],
    /// What is written.
    pub with: With,
}

/// What a row writes.
#[derive(Clone, Copy, Debug)]
pub enum With {
    /// Something the engine works out from the whole record.
    Computed(Computed),
    /// A constant, as JSON.
    Json(&'static str),
    /// The value of a field, in that shape. Values that do not fit are not written.
    Shaped(Shape),
}

/// A value that no single field holds.
#[derive(Clone, Copy, Debug)]
pub enum Computed {
    /// Kind, category, type, outcome and severity by the first rule that holds.
    Class,
    /// The identity of the record.
    Id,
    /// Every field that no row has used, under its own name; then `unparsed` and `parse_errors`.
    Kept,
    /// When it happened.
    Occurred,
    /// The text of the record, on request.
    Original,
    /// Everything of that sort that was written before, each once.
    Related(Related),
}

/// The sorts of values that `related.*` gathers.
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

/// How a value is read and written.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    /// Text as it stands, `none` included; the word given here if there is none.
    Action(&'static str),
    /// One bare e-mail address.
    Address,
    /// A list of bare e-mail addresses, from a list or from text.
    Addresses,
    /// `true` or `false`, from the words in [`super::values::YES`] and [`super::values::NO`].
    Boolean,
    /// A code that is not zero, as text.
    Code,
    /// The part of an e-mail address after the `@`.
    Domain,
    /// `inbound`, `outbound`, `internal`, `external` or `unknown`.
    Direction,
    /// A list of attachments, from the text that names them or a list.
    Files,
    /// A hexadecimal hash of that many digits, in lower case.
    Hash(usize),
    /// The name of a host.
    Host,
    /// An IP address.
    Ip,
    /// Text in lower case with hyphens between the words.
    Kebab,
    /// A whole number, from a number or its digits.
    Long,
    /// A message id without its angle brackets.
    MessageId,
    /// Milliseconds, written as nanoseconds.
    Milliseconds,
    /// `true` if the sender is given and empty: a bounce.
    NullSender,
    /// When it happened, if the field says yes.
    OccurredIfTrue,
    /// A JSON object, perhaps as text, perhaps as text twice over.
    Object,
    /// A part of the prose of an audit event.
    Prose(Prose),
    /// The gateway's check of a message: the object, and its SPF, DKIM and DMARC verdicts as
    /// `auth` beside it.
    SpamDetail,
    /// Text without white space around it.
    Text,
    /// The name of a TLS version, `tls`.
    TlsProtocol,
    /// The number of a TLS version, `1.3`.
    TlsVersion,
    /// The name of a user.
    User,
    /// An object with the URL and its parts.
    Url,
    /// That constant; the field is used up if it says the same.
    Word(&'static str),
}

/// What can be found in the prose of an audit event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prose {
    /// The application that was used.
    Application,
    /// The display name in angle brackets.
    FullName,
    /// Where the user came from.
    Ip,
    /// How the user was authenticated.
    Method,
    /// The second factor.
    Mfa,
    /// Why something failed.
    Reason,
}

/// How a field is written that no row uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// As [`Shape::Boolean`].
    Boolean,
    /// Not at all.
    Drop,
    /// As [`Shape::Long`].
    Long,
    /// As [`Shape::Object`].
    Object,
    /// As text. This is how every known field is kept that no table names.
    Text,
    /// Only as something that could not be read.
    Unparsed,
}

/// One rule of classification: the first whose tests all hold decides.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// All of these must hold.
    pub when: &'static [Test],
    /// The class of the event.
    pub class: Class,
}

/// How an event is classified.
#[derive(Clone, Copy, Debug)]
pub struct Class {
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

/// A test of one field. Case makes no difference.
#[derive(Clone, Copy, Debug)]
pub enum Test {
    /// The text contains one of the words.
    Has(&'static str, &'static [&'static str]),
    /// The text is one of the words.
    Is(&'static str, &'static [&'static str]),
}

/// All tables of one stream.
#[derive(Clone, Copy, Debug)]
pub struct Tables {
    /// The rows of this stream, in the order of the output when put after one another; rows of
    /// one object are brought together.
    pub rows: &'static [&'static [Row]],
    /// How fields are kept.
    pub kept: &'static [(&'static str, Keep)],
    /// The rules of classification.
    pub rules: &'static [Rule],
}

/// A row that takes the first usable of these fields.
#[must_use]
pub const fn row(path: &'static str, from: &'static [&'static str], shape: Shape) -> Row {
    Row {
        path,
        from,
        with: With::Shaped(shape),
    }
}

/// A row that always writes the same JSON.
#[must_use]
pub const fn constant(path: &'static str, json: &'static str) -> Row {
    Row {
        path,
        from: &[],
        with: With::Json(json),
    }
}

/// A row that the engine works out.
#[must_use]
pub const fn computed(path: &'static str, what: Computed) -> Row {
    Row {
        path,
        from: &[],
        with: With::Computed(what),
    }
}
