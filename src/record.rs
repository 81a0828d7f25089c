//! One upstream record: its members in the upstream's words, nothing decided, nothing lost.

use core::fmt;

use crate::decode::json::{self, Kind, Member, Outline};
use crate::stream::Stream;

/// The names the upstream is known to use, in all its spellings. A [`Name`] is a position in
/// this list. Names that are not in it are kept as they are.
#[rustfmt::skip]
pub const NAMES: &[&str] = &[
    // transport
    "_offset", "_partition",
    // every SIEM record
    "accountId", "aggregateId", "eventType", "logType", "Logtype", "processingId", "subType",
    "subtype", "timestamp", "type",
    // messages
    "action", "direction", "emailSize", "messageId", "numberAttachments", "recipient",
    "recipients", "route", "senderDomain", "senderEnvelope", "senderHeader", "senderIp", "subject",
    "tlsCipher", "tlsUsed", "tlsVersion", "totalSizeAttachments",
    // receipt
    "receiptErrors", "rejectionCode", "rejectionInfo", "rejectionType", "spamDetectionLevel",
    "spamInfo", "spamProcessingDetail", "spamScore", "virusFound",
    // process
    "attachments", "holdReason", "ipNewDomain", "ipReplyMismatch", "ipSimilarDomain",
    "ipThreatDictionary", "ipUserName",
    // delivery
    "Hostname", "delivered", "deliveryAttempts", "deliveryErrors", "deliveryTime",
    "destinationIp", "hostname",
    // files
    "customerIp", "fileExtension", "fileMime", "fileName", "md5", "senderDomainInternal", "sha1",
    "sha256", "sizeAttachment",
    // impersonation and internal email protect
    "customName", "customNameMatch", "customThreatDictionary", "internalUserName",
    "itemsDetected", "mimecastThreatDictionary", "monitoredDomainSource", "newDomain",
    "policyDefinition", "replyMismatch", "scanResults", "similarCustomExternalDomain",
    "similarDomain", "similarInternalDomain", "similarMimecastExternalDomain", "taggedExternal",
    "taggedMalicious", "urlCategory",
    // url protect
    "analysis", "blockReason", "sourceIp", "url",
    // audit
    "auditType", "category", "eventInfo", "eventTime", "id", "user",
    // times of other logs
    "CreationDate", "createTime", "created", "date", "dateReceived", "modified", "released",
    "viewed",
    // cloud integrated
    "authResults", "historicalMail", "originalUrl", "policiesApplied", "redirectUrl", "source",
    "tags", "threatState", "threatType",
    // dlp and targeted threat protection
    "actionTriggered", "actions", "adminOverride", "creationMethod", "definition", "details",
    "emailPartsDescription", "fileHash", "fileType", "fromUserEmailAddress", "hits",
    "identifiers", "impersonationResults", "policy", "recipientAddress", "result", "scanResult",
    "senderAddress", "senderIpAddress", "sendingIp", "tagMap", "ttpDefinition",
    "userAwarenessAction", "userEmailAddress", "userOverride",
    // held and rejected messages
    "description", "detectionLevel", "event", "firstEventId", "from", "fromAddress", "fromEnv",
    "fromHdr", "fromHeader", "hasAttachments", "heldGroup", "heldReason", "info", "ipAddress",
    "manageRecipient", "messageInfo", "operator", "policyInfo", "reason", "reasonCode",
    "reasonId", "rejectReason", "remoteEhlo", "remoteName", "size", "status", "to", "toAddress",
    "toAddressPostCheck", "toAddressPreCheck",
    // archive
    "contentViewed", "discoveryCase", "emailAddr", "isAdmin", "messageDate", "museQuery",
    "searchPath", "searchReason", "searchText", "viewer",
    // threat intelligence and awareness training
    "department", "email", "emailAddress", "engagement", "humanError", "knowledge", "labels",
    "name", "numCorrect", "numIncorrect", "numNotWatched", "pattern", "risk", "sentiment",
    "userDetails", "userState", "valid_from", "watchlistCount",
];

/// A known name: its position in [`NAMES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name(u8);

impl Name {
    /// The known name that is spelt so.
    #[must_use]
    pub fn new(spelling: &str) -> Option<Self> {
        let at = NAMES.iter().position(|name| *name == spelling)?;
        u8::try_from(at).ok().map(Self)
    }

    /// The position in [`NAMES`].
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// A value as it stands in the record.
#[derive(Clone, Copy, Debug)]
pub struct Value<'a> {
    /// What sort of value it is.
    pub kind: Kind,
    /// The contents of a string without quotes, or the whole text of anything else.
    pub text: &'a str,
    /// A string has escapes in it.
    pub escaped: bool,
}

/// One member of a record.
#[derive(Clone, Copy, Debug)]
pub struct Field<'a> {
    /// Which known name it is.
    pub name: Option<Name>,
    /// The name without quotes, escapes as they stand.
    pub key: &'a str,
    /// The value.
    pub value: Value<'a>,
}

/// One upstream JSON object.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    stream: Stream,
    line: &'a str,
    outline: Outline,
    members: &'a [Member],
    names: &'a [Option<Name>],
    slots: &'a Slots,
}

/// For every known name one more than the index of its last member, or zero.
type Slots = [u16; NAMES.len()];

/// Why a text is not a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject(json::Error);

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not a JSON object: {}", self.0)
    }
}

impl core::error::Error for Reject {}

/// Reads records, one after the other, into buffers it uses again.
pub struct Parser {
    dictionary: Dictionary,
    members: Vec<Member>,
    names: Vec<Option<Name>>,
    slots: Slots,
}

/// The greatest number of members a record may have. Real ones have 50 at the most.
const MEMBERS_MAX: usize = 10_000;

impl Default for Parser {
    fn default() -> Self {
        Self::new()
    }
}

impl Parser {
    /// A parser with empty buffers.
    #[must_use]
    pub fn new() -> Self {
        Self {
            dictionary: Dictionary::new(),
            members: Vec::new(),
            names: Vec::new(),
            slots: [0; NAMES.len()],
        }
    }

    /// Reads `line`, which must be one JSON object and white space around it.
    pub fn parse<'a>(&'a mut self, stream: Stream, line: &'a str) -> Result<Record<'a>, Reject> {
        let outline = json::scan_object(line, &mut self.members).map_err(Reject)?;
        if self.members.len() > MEMBERS_MAX {
            let offset = self
                .members
                .get(MEMBERS_MAX)
                .map_or(0, |member| member.key.start());
            return Err(Reject(json::Error {
                what: "more than 10000 members",
                offset,
            }));
        }
        self.names.clear();
        self.slots.fill(0);
        for (at, member) in self.members.iter().enumerate() {
            let name = if member.key_escaped {
                None
            } else {
                self.dictionary.look_up(member.prefix, member.key.of(line))
            };
            self.names.push(name);
            if let Some(slot) = name.and_then(|name| self.slots.get_mut(name.index())) {
                *slot = u16::try_from(at + 1).unwrap_or(0);
            }
        }
        Ok(Record {
            stream,
            line,
            outline,
            members: &self.members,
            names: &self.names,
            slots: &self.slots,
        })
    }
}

impl<'a> Record<'a> {
    /// The stream it came from.
    #[must_use]
    pub const fn stream(&self) -> Stream {
        self.stream
    }

    /// The object from brace to brace, byte for byte.
    #[must_use]
    pub fn text(&self) -> &'a str {
        self.outline.span.of(self.line)
    }

    /// A line break stands between two tokens.
    #[must_use]
    pub const fn is_multiline(&self) -> bool {
        self.outline.multiline
    }

    /// The value of a known name; of the last, if it occurs more than once.
    #[inline]
    #[must_use]
    pub fn get(&self, name: Name) -> Option<Value<'a>> {
        let slot = self.slots.get(name.index())?;
        let member = self.members.get(usize::from(slot.checked_sub(1)?))?;
        Some(self.value(member))
    }

    /// All members in the order in which they stand. Of members with one known name only the
    /// last is given.
    pub fn fields(&self) -> impl Iterator<Item = Field<'a>> {
        let record = *self;
        (0..record.members.len()).filter_map(move |at| record.field_unless(at, |_| false))
    }

    /// How many members there are.
    pub(crate) const fn len(&self) -> usize {
        self.members.len()
    }

    /// The member at that place, unless its name is known and is to be skipped or comes again.
    #[inline]
    pub(crate) fn field_unless(
        &self,
        at: usize,
        is_skipped: impl Fn(Name) -> bool,
    ) -> Option<Field<'a>> {
        let name = *self.names.get(at)?;
        if let Some(known) = name {
            let is_last = self
                .slots
                .get(known.index())
                .is_some_and(|s| usize::from(*s) == at + 1);
            if !is_last || is_skipped(known) {
                return None;
            }
        }
        let member = self.members.get(at)?;
        Some(Field {
            name,
            key: member.key.of(self.line),
            value: self.value(member),
        })
    }

    /// No name occurs twice: known without a look at each when they are in order.
    #[must_use]
    pub const fn is_sorted(&self) -> bool {
        self.outline.sorted
    }

    pub(crate) const fn outline(&self) -> Outline {
        self.outline
    }

    pub(crate) const fn members(&self) -> &'a [Member] {
        self.members
    }

    pub(crate) const fn line(&self) -> &'a str {
        self.line
    }

    #[inline]
    fn value(&self, member: &Member) -> Value<'a> {
        Value {
            kind: member.kind,
            text: member.value.of(self.line),
            escaped: member.escaped,
        }
    }
}

/// Known names by hash: open addressing in a table that is never more than a quarter full.
struct Dictionary {
    table: Box<[u8; TABLE_LEN]>,
}

const TABLE_LEN: usize = 1024;
const EMPTY: u8 = u8::MAX;

impl Dictionary {
    fn new() -> Self {
        let mut table = Box::new([EMPTY; TABLE_LEN]);
        for (at, name) in NAMES.iter().enumerate() {
            let padded = name.bytes().chain([0; 8]).take(8);
            let prefix = padded.fold(0, |sum, byte| sum << 8 | u64::from(byte));
            let mut place = Self::hash(prefix, name);
            while let Some(cell) = table.get_mut(place) {
                if *cell == EMPTY {
                    *cell = u8::try_from(at).unwrap_or(EMPTY);
                    break;
                }
                place = (place + 1) % TABLE_LEN;
            }
        }
        Self { table }
    }

    #[inline]
    fn look_up(&self, prefix: u64, key: &str) -> Option<Name> {
        let mut place = Self::hash(prefix, key);
        loop {
            let candidate = *self.table.get(place)?;
            // The empty mark is no position in the list, so this ends at an empty cell.
            let name = NAMES.get(usize::from(candidate))?;
            if *name == key {
                return Some(Name(candidate));
            }
            place = (place + 1) % TABLE_LEN;
        }
    }

    /// Mixes the first eight bytes, the last four and the length.
    #[inline]
    fn hash(prefix: u64, key: &str) -> usize {
        let tail = key
            .as_bytes()
            .last_chunk::<4>()
            .map_or(0, |tail| u32::from_le_bytes(*tail));
        let mixed = (prefix ^ u64::from(tail).rotate_left(29)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        usize::try_from(mixed >> 54).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_name_is_found_and_no_other() {
        let dictionary = Dictionary::new();
        assert!(NAMES.len() * 4 <= TABLE_LEN && NAMES.len() < usize::from(EMPTY));
        for (at, name) in NAMES.iter().enumerate() {
            let mut parser = Parser::new();
            let line = format!("{{\"{name}\":{at}}}");
            let record = parser.parse(Stream::Audit, &line).unwrap();
            let value = record.get(Name::new(name).unwrap()).unwrap();
            assert_eq!(value.text, at.to_string());
        }
        assert_eq!(dictionary.look_up(0, ""), None);
        assert_eq!(Name::new("senderip"), None);
    }

    #[test]
    fn the_last_of_two_members_with_one_name_counts() {
        let mut parser = Parser::new();
        let record = parser
            .parse(Stream::Audit, r#"{"user":"a","x":1,"user":"b"}"#)
            .unwrap();
        assert_eq!(record.get(Name::new("user").unwrap()).unwrap().text, "b");
        assert_eq!(
            record.fields().map(|field| field.key).collect::<Vec<_>>(),
            ["x", "user"]
        );
    }

    #[test]
    fn a_reject_says_where() {
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
