//! How fields of the logs behind POST endpoints are kept that no row has used.

use super::table::Keep;

/// Numbers, booleans, lists and objects; all else is text.
#[rustfmt::skip]
pub(super) const LOGS: &[(&str, Keep)] = &[
    ("_offset",               Keep::Drop),
    ("_partition",            Keep::Drop),
    ("attachments",           Keep::Json),
    ("authResults",           Keep::Json),
    ("contentViewed",         Keep::Boolean),
    ("createTime",            Keep::Unparsed),
    ("date",                  Keep::Unparsed),
    ("dateReceived",          Keep::Unparsed),
    ("detectionLevel",        Keep::Json),
    ("discoveryCase",         Keep::Boolean),
    ("emailPartsDescription", Keep::Json),
    ("eventTime",             Keep::Unparsed),
    ("from",                  Keep::Json),
    ("fromEnv",               Keep::Json),
    ("fromHdr",               Keep::Json),
    ("fromHeader",            Keep::Json),
    ("hasAttachments",        Keep::Boolean),
    ("historicalMail",        Keep::Boolean),
    ("hits",                  Keep::Long),
    ("identifiers",           Keep::Json),
    ("impersonationResults",  Keep::Json),
    ("isAdmin",               Keep::Boolean),
    ("labels",                Keep::Json),
    ("manageRecipient",       Keep::Boolean),
    ("numCorrect",            Keep::Long),
    ("numIncorrect",          Keep::Long),
    ("numNotWatched",         Keep::Long),
    ("operator",              Keep::Json),
    ("policiesApplied",       Keep::Json),
    ("policy",                Keep::Json),
    ("policyInfo",            Keep::Json),
    ("recipients",            Keep::Json),
    ("size",                  Keep::Long),
    ("spamProcessingDetail",  Keep::Object),
    ("spamScore",             Keep::Long),
    ("tagMap",                Keep::Object),
    ("taggedExternal",        Keep::Boolean),
    ("taggedMalicious",       Keep::Boolean),
    ("tags",                  Keep::Json),
    ("timestamp",             Keep::Unparsed),
    ("to",                    Keep::Json),
    ("userDetails",           Keep::Json),
    ("viewed",                Keep::Unparsed),
    ("watchlistCount",        Keep::Long),
];

/// Fields that hold a thing to look for, where no row of a table writes them, and the sort of
/// observable. The schema knows no path below `unmapped`, so such an observable has no name.
pub(super) const LOOKED_FOR: &[(&str, u8)] = &[
    ("customerIp", 2),
    ("destinationIp", 2),
    ("ipAddress", 2),
    ("sendingIp", 2),
    ("senderIp", 2),
    ("senderIpAddress", 2),
    ("sourceIp", 2),
    ("emailAddr", 5),
    ("emailAddress", 5),
    ("fromUserEmailAddress", 5),
    ("operator", 5),
    ("recipient", 5),
    ("recipientAddress", 5),
    ("senderAddress", 5),
    ("user", 5),
    ("userEmailAddress", 5),
    ("viewer", 5),
    ("originalUrl", 6),
    ("url", 6),
    ("fileHash", 8),
    ("md5", 8),
    ("sha1", 8),
    ("sha256", 8),
];

/// Whether a text is a thing of that sort.
pub(super) fn is_of_sort(text: &str, sort: u8) -> bool {
    match sort {
        2 => text.parse::<core::net::IpAddr>().is_ok(),
        5 => super::address::bare(text).is_some_and(|address| address == text),
        6 => super::url::host(text).is_some(),
        8 => super::objects::algorithm(text).is_some(),
        _ => false,
    }
}
