//! The keys of API 1.0: their names in API 2.0, and the kinds of lines that have them
//! (`mimecast-api.md` §7.5 to §7.7).
//!
//! A record is not rewritten; only its names are translated when they are looked up. So the same
//! tables make events of the records of both APIs.

use crate::field::{self, FieldName, NAMES};
use crate::stream::Stream;

/// The spelling of API 1.0, sorted, and that of API 2.0.
#[rustfmt::skip]
const ALIASES: &[(&str, FieldName)] = &[
    ("Act",                           field::ACTION),
    ("Action",                        field::ACTION),
    ("AttCnt",                        field::NUMBER_ATTACHMENTS),
    ("AttNames",                      field::ATTACHMENTS),
    ("AttSize",                       field::TOTAL_SIZE_ATTACHMENTS),
    ("Attempt",                       field::DELIVERY_ATTEMPTS),
    ("Cphr",                          field::TLS_CIPHER),
    ("CustomName",                    field::CUSTOM_NAME_MATCH),
    ("CustomThreatDictionary",        field::CUSTOM_THREAT_DICTIONARY),
    ("CustomerIP",                    field::CUSTOMER_IP),
    ("Definition",                    field::POLICY_DEFINITION),
    ("Delivered",                     field::DELIVERED),
    ("Dir",                           field::DIRECTION),
    ("Err",                           field::DELIVERY_ERRORS),
    ("Error",                         field::RECEIPT_ERRORS),
    ("Hits",                          field::ITEMS_DETECTED),
    ("Hld",                           field::HOLD_REASON),
    ("IP",                            field::SENDER_IP),
    ("IPInternalName",                field::IP_USER_NAME),
    ("IPNewDomain",                   field::IP_NEW_DOMAIN),
    ("IPReplyMismatch",               field::IP_REPLY_MISMATCH),
    ("IPSimilarDomain",               field::IP_SIMILAR_DOMAIN),
    ("IPThreadDict",                  field::IP_THREAT_DICTIONARY),
    ("IPThreatDict",                  field::IP_THREAT_DICTIONARY),
    ("InternalName",                  field::INTERNAL_USER_NAME),
    ("Latency",                       field::DELIVERY_TIME),
    ("MsgId",                         field::MESSAGE_ID),
    ("MsgSize",                       field::EMAIL_SIZE),
    ("NewDomain",                     field::NEW_DOMAIN),
    ("Rcpt",                          field::RECIPIENTS),
    ("Recipient",                     field::RECIPIENTS),
    ("RejCode",                       field::REJECTION_CODE),
    ("RejInfo",                       field::REJECTION_INFO),
    ("RejType",                       field::REJECTION_TYPE),
    ("ReplyMismatch",                 field::REPLY_MISMATCH),
    ("Route",                         field::ROUTE),
    ("ScanResultInfo",                field::SCAN_RESULTS),
    ("Sender",                        field::SENDER_ENVELOPE),
    ("SenderDomain",                  field::SENDER_DOMAIN),
    ("SenderDomainInternal",          field::SENDER_DOMAIN_INTERNAL),
    ("SimilarCustomExternalDomain",   field::SIMILAR_CUSTOM_EXTERNAL_DOMAIN),
    ("SimilarInternalDomain",         field::SIMILAR_INTERNAL_DOMAIN),
    ("SimilarMimecastExternalDomain", field::SIMILAR_MIMECAST_EXTERNAL_DOMAIN),
    ("Size",                          field::SIZE_ATTACHMENT),
    ("Snt",                           field::EMAIL_SIZE),
    ("SourceIP",                      field::SENDER_IP),
    ("SpamInfo",                      field::SPAM_INFO),
    ("SpamLimit",                     field::SPAM_DETECTION_LEVEL),
    ("SpamProcessingDetail",          field::SPAM_PROCESSING_DETAIL),
    ("SpamScore",                     field::SPAM_SCORE),
    ("Subject",                       field::SUBJECT),
    ("TaggedExternal",                field::TAGGED_EXTERNAL),
    ("TaggedMalicious",               field::TAGGED_MALICIOUS),
    ("ThreatDictionary",              field::MIMECAST_THREAT_DICTIONARY),
    ("TlsVer",                        field::TLS_VERSION),
    ("URL",                           field::URL),
    ("UrlCategory",                   field::URL_CATEGORY),
    ("UseTls",                        field::TLS_USED),
    ("Virus",                         field::VIRUS_FOUND),
    ("aCode",                         field::AGGREGATE_ID),
    ("acc",                           field::ACCOUNT_ID),
    ("credentialTheft",               field::ANALYSIS),
    ("datetime",                      field::TIMESTAMP),
    ("fileExt",                       field::FILE_EXTENSION),
    ("headerFrom",                    field::SENDER_HEADER),
    ("msgid",                         field::MESSAGE_ID),
    ("sender",                        field::SENDER_ENVELOPE),
];

/// The alias for deliveries alone: there it is where the message went, and not where it came from.
const DELIVERY_IP: (&str, FieldName) = ("IP", field::DESTINATION_IP);

/// Returns the name in API 2.0 of the field `key` of API 1.0 in a record of the stream.
pub(crate) fn look_up(stream: Stream, key: &str) -> Option<FieldName> {
    if stream == Stream::SiemDelivery && key == DELIVERY_IP.0 {
        return Some(DELIVERY_IP.1);
    }
    let at = ALIASES
        .binary_search_by_key(&key, |(alias, _)| alias)
        .ok()?;
    ALIASES.get(at).map(|(_, name)| *name)
}

/// The kind of a key=value line, by its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LineKind {
    /// A click on a link.
    Click,
    /// A message or a file.
    Message,
    /// Not a line of API 1.0: the key is a name of API 2.0, or a key in different letter case.
    Other,
}

/// How freely a person outside chooses a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum SenderControl {
    /// Mimecast writes the value.
    None,
    /// The value has a format, such as an address or an id.
    Formatted,
    /// Any text, such as the name of a file.
    Text,
    /// The subject.
    Subject,
}

/// The facts about a key of a key=value line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyFacts<'t> {
    /// The name in API 2.0, or the key itself.
    pub name: &'t str,
    /// The kind of lines that have the key; `None` if all may have it, or it is not known.
    pub line_kind: Option<LineKind>,
    pub control: SenderControl,
}

const CLICK: Option<LineKind> = Some(LineKind::Click);
const MESSAGE: Option<LineKind> = Some(LineKind::Message);

/// The keys whose facts differ from the default, or that are not in [`ALIASES`]. By default, a key of
/// [`ALIASES`] belongs to messages, and Mimecast writes its value (`mimecast-api.md` §7.5).
#[rustfmt::skip]
const KEY_FACTS: &[(&str, Option<LineKind>, SenderControl)] = &[
    ("AttNames",        MESSAGE, SenderControl::Text),
    ("Err",             MESSAGE, SenderControl::Text),
    ("Error",           MESSAGE, SenderControl::Text),
    ("MimecastIP",      MESSAGE, SenderControl::None),
    ("MsgId",           MESSAGE, SenderControl::Formatted),
    ("Rcpt",            MESSAGE, SenderControl::Formatted),
    ("RcptActType",     MESSAGE, SenderControl::None),
    ("RcptHdrType",     MESSAGE, SenderControl::None),
    ("ReceiptAck",      MESSAGE, SenderControl::Text),
    ("Recipient",       MESSAGE, SenderControl::Formatted),
    ("RejInfo",         MESSAGE, SenderControl::Text),
    ("Sender",          MESSAGE, SenderControl::Formatted),
    ("Subject",         MESSAGE, SenderControl::Subject),
    ("URL",             MESSAGE, SenderControl::Text),
    ("aCode",           None,    SenderControl::None),
    ("acc",             None,    SenderControl::None),
    ("action",          CLICK,   SenderControl::None),
    ("credentialTheft", CLICK,   SenderControl::None),
    ("datetime",        None,    SenderControl::None),
    ("fileMime",        MESSAGE, SenderControl::None),
    ("fileName",        MESSAGE, SenderControl::Text),
    ("headerFrom",      MESSAGE, SenderControl::Text),
    ("md5",             MESSAGE, SenderControl::None),
    ("msgid",           CLICK,   SenderControl::Formatted),
    ("reason",          CLICK,   SenderControl::None),
    ("recipient",       CLICK,   SenderControl::Formatted),
    ("route",           CLICK,   SenderControl::None),
    ("sender",          CLICK,   SenderControl::Formatted),
    ("senderDomain",    CLICK,   SenderControl::None),
    ("sha1",            MESSAGE, SenderControl::None),
    ("sha256",          MESSAGE, SenderControl::None),
    ("sourceIp",        CLICK,   SenderControl::None),
    ("subject",         CLICK,   SenderControl::Subject),
    ("url",             CLICK,   SenderControl::Text),
    ("urlCategory",     CLICK,   SenderControl::None),
];

/// Returns the facts about a key of a key=value line.
#[inline(never)]
pub(crate) fn key_facts(key: &str) -> KeyFacts<'_> {
    let alias = look_up(Stream::Siem, key);
    let (line_kind, control) = match KEY_FACTS.iter().find(|(known, ..)| *known == key) {
        Some((_, line_kind, control)) => (*line_kind, *control),
        None if alias.is_some() => (MESSAGE, SenderControl::None),
        None => {
            let is_spelling_of = |name: &str| name.eq_ignore_ascii_case(key);
            let is_known = ALIASES.iter().any(|(alias, _)| is_spelling_of(alias))
                || NAMES.iter().any(|name| is_spelling_of(name));
            (is_known.then_some(LineKind::Other), SenderControl::None)
        }
    };
    let name = alias.map_or(key, |name| name.spelling());
    KeyFacts {
        name,
        line_kind,
        control,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aliases_are_sorted_and_are_no_names_of_their_own() {
        assert!(ALIASES.is_sorted_by(|a, b| a.0 < b.0));
        for (alias, _) in ALIASES.iter().chain([&DELIVERY_IP]) {
            assert!(!NAMES.contains(alias), "{alias} has a meaning of its own");
        }
    }

    #[test]
    fn the_keys_of_the_facts_are_sorted() {
        assert!(KEY_FACTS.is_sorted_by(|a, b| a.0 < b.0));
    }
}
