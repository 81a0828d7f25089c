//! The vocabulary of the mapping tables: what a row can say.

pub use super::account::Part;
use crate::field::Name;

/// One row: where a value goes, where it comes from, and what happens on the way.
///
/// Rows stand in the order of the output. In a path, dots separate objects and `[]` marks an
/// array of one object.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Where the value goes.
    pub path: &'static str,
    /// The upstream fields it may come from: the first that has a usable value wins.
    pub from: &'static [Name],
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
    /// The techniques of ATT&CK that the record names.
    Attack,
    /// When it was collected.
    Collected,
    /// The same, in milliseconds since the epoch.
    CollectedMillis,
    /// The feature of the product that wrote it.
    Feature,
    /// One sentence for people.
    Message,
    /// Kind, category, type, outcome and severity by the first rule that holds.
    Class,
    /// The identity of the record.
    Id,
    /// Every field that no row has used, under its own name; then `unparsed` and `parse_errors`.
    Kept,
    /// Every value that the table of observables names, each once.
    Observables,
    /// When it happened.
    Occurred,
    /// When it happened, in milliseconds since the epoch.
    OccurredMillis,
    /// The text of the record, on request.
    Original,
    /// The name of the stream.
    Stream,
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
    /// `true` or `false`, from the words in [`super::values::YES`] and [`super::values::NO`].
    Boolean,
    /// A code that is not zero, as text.
    Code,
    /// Text of digits only.
    Digits,
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
    /// An IP address, without the port that may stand behind it.
    Ip,
    /// Text in lower case with hyphens between the words.
    Kebab,
    /// A whole number, from a number or its digits.
    Long,
    /// One of the shapes beyond the common ones.
    More(More),
    /// A message id without its angle brackets.
    MessageId,
    /// Milliseconds, written as nanoseconds.
    Milliseconds,
    /// `true` if the sender is given and empty: a bounce.
    NullSender,
    /// When it happened, if the field says yes.
    OccurredIfTrue,
    /// Text with one blank for each run of white space; the word `unknown` is no reason.
    Reason,
    /// A JSON object, perhaps as text, perhaps as text twice over.
    Object,
    /// The port behind an IP address.
    Port,
    /// A part of the prose of an audit event.
    Prose(Prose),
    /// The gateway's check of a message: the object, and its SPF, DKIM and DMARC verdicts as
    /// `auth` beside it.
    SpamDetail,
    /// The name of the tenant; where none is set, text.
    Tenant,
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
    /// Text that is not a number.
    Words,
    /// That constant; the field is used up if it says the same.
    Word(&'static str),
}

/// Shapes that only some streams or only one format need.
#[derive(Clone, Copy, Debug)]
pub enum More {
    /// `action_id` and `disposition_id` by the words of [`super::ocsf::actions::ACTIONS`]; these
    /// two if there is no word.
    Acts(u8, u8),
    /// An object with the name of a rule.
    Analytic,
    /// SPF, DKIM and DMARC verdicts as an object, from the gateway's check of a message or from
    /// a list of results. The field is kept besides.
    Auth,
    /// An RFC 3339 time, from any time that can be read.
    Date,
    /// `direction_id`, and `direction` where that is another.
    Direction,
    /// One address of the form that OCSF takes.
    Email,
    /// A list of such addresses, each once.
    Emails,
    /// A person of an audit event, from the fields `user`, `eventInfo` and `auditType`.
    Account(Account, Part),
    /// The name of what an audit event acted on, from its prose, else from the next field.
    Object,
    /// The name of the group that an audit event acted on.
    Group,
    /// The same, or that name where none is found.
    GroupOr(&'static str),
    /// The role that an audit event names, as a list.
    Roles,
    /// The extension of a file in lower case, from a field that is one, else from the name of the
    /// file in the next field.
    Extension,
    /// A file, from its name, extension, media type, size and hashes.
    File,
    /// `auth_protocol_id` and `auth_protocol` from the prose of an audit event.
    AuthProtocol,
    /// A list of files, from the text that names them or a list.
    Files,
    /// The texts of a list in one, with commas between them. The list is kept besides.
    Joined,
    /// A list of texts.
    List,
    /// `is_mfa` and `auth_factors` from the prose of an audit event.
    Mfa,
    /// Milliseconds since the epoch, from any time that can be read.
    Millis,
    /// The URL that the details of a rejection give as `Url: […]`, as `url` of ECS or `email.urls`
    /// of OCSF.
    InfoUrl,
    /// The address as the upstream gives it, where OCSF's `email_t` asks for another form.
    Mailbox,
    /// `entity.type_id` by the words of a category.
    EntityType,
    /// Malware of that name.
    Malware,
    /// A list of malware, from a list of signatures in brackets. The field is kept besides.
    Signatures,
    /// The text of the field from which the time of the event comes.
    OriginalTime,
    /// The member of that name in an object, or in the first object of a list.
    Part(&'static str),
    /// Somebody's address, from text or from an object with `emailAddress`.
    Person,
    /// The addresses of several.
    People,
    /// A list of mailboxes that something was meant for.
    Resources,
    /// The application that the prose of an audit event names, or `Mimecast`.
    Service,
    /// A part of the pattern of a threat indicator.
    Stix(Stix),
    /// A URL as an object, as OCSF divides it.
    Url,
    /// A list of one such URL.
    Urls,
}

/// What can be found in the pattern of a threat indicator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stix {
    /// The MD5 hash of a file.
    Md5,
    /// The SHA-1 hash of a file.
    Sha1,
    /// The SHA-256 hash of a file.
    Sha256,
    /// The type of the indicator, in the words of ECS.
    EcsType,
    /// The type of the indicator as the number and the value of OCSF's `osint`.
    Osint,
    /// The IP address.
    Ip,
    /// The e-mail address.
    Email,
    /// The URL.
    Url,
    /// The domain.
    Domain,
}

/// Whose account it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Account {
    /// Who acted. Where a logon has no user, whom its prose names.
    Actor,
    /// Whose account was changed, as the prose names it.
    Target,
    /// The target, or the actor where no other is named.
    Subject,
}

/// What can be found in the prose of an audit event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prose {
    /// The application that was used.
    Application,
    /// The name of a file.
    File,
    /// The extension of that name, in lower case.
    FileExtension,
    /// The size of a file in bytes.
    FileSize,
    /// The display name behind the address of who acted.
    FullName,
    /// A hexadecimal hash of that many digits.
    Hash(usize),
    /// Where the user came from.
    Ip,
    /// How the user was authenticated.
    Method,
    /// The second factor.
    Mfa,
    /// What was acted on.
    Object,
    /// The port from which the user came.
    Port,
    /// Why something failed.
    Reason,
    /// The role that was given or taken.
    Role,
}

/// How a field is written that no row uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// As [`Shape::Boolean`].
    Boolean,
    /// Not at all.
    Drop,
    /// As it stands, whatever it is.
    Json,
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
    /// One of the fields has an address of the form that OCSF takes.
    Email(&'static [Name]),
    /// One of the fields has a value.
    Given(&'static [Name]),
    /// The sender is given and empty: a bounce.
    NullSender(Name),
    /// One of the fields is the pattern of a threat indicator that can be read, or a hash.
    Pattern(&'static [Name]),
    /// The text of one of the fields contains one of the words.
    Has(&'static [Name], &'static [&'static str]),
    /// The text is one of the words.
    Is(Name, &'static [&'static str]),
    /// The text is one of the words, or the field has no value.
    IsOrMissing(Name, &'static [&'static str]),
    /// The prose of an audit event says that something was not done.
    Denied(Name),
    /// The prose of an audit event names a person.
    Names(Name),
    /// The prose of an audit event names a person and a role.
    Role(Name),
    /// The sentence of an audit event, without labels and quotations, contains one of the words.
    Says(Name, &'static [&'static str]),
    /// One of the parts of the text, with commas or semicolons between them, is one of the words.
    Any(Name, &'static [&'static str]),
}

impl Test {
    /// The fields that it looks at.
    #[must_use]
    pub const fn fields(&self) -> &[Name] {
        match self {
            Self::Email(fields)
            | Self::Given(fields)
            | Self::Has(fields, _)
            | Self::Pattern(fields) => fields,
            Self::Any(field, _)
            | Self::Denied(field)
            | Self::Is(field, _)
            | Self::IsOrMissing(field, _)
            | Self::Names(field)
            | Self::NullSender(field)
            | Self::Role(field)
            | Self::Says(field, _) => core::slice::from_ref(field),
        }
    }
}

/// All tables of one stream.
#[derive(Clone, Copy, Debug)]
pub struct Tables {
    /// The rows of this stream, in the order of the output when put after one another; rows of
    /// one object are brought together.
    pub rows: &'static [&'static [Row]],
    /// How fields are kept.
    pub kept: &'static [(Name, Keep)],
    /// The rules of classification.
    pub rules: &'static [Rule],
}

/// A row that takes the first usable of these fields.
#[must_use]
pub const fn row(path: &'static str, from: &'static [Name], shape: Shape) -> Row {
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
