//! How unmapped fields are written in the tables that name these lists, and which of them are observables.

use super::table::UnmappedOutput;
use crate::field::{self, FieldName};

/// How these fields are written where no row uses them, in the tables that name this list; SIEM's tables
/// have `UNMAPPED_MESSAGE_FIELDS`. All others are written as text.
#[rustfmt::skip]
pub(super) const UNMAPPED_LOG_FIELDS: &[(FieldName, UnmappedOutput)] = &[
    (field::OFFSET,               UnmappedOutput::Omit),
    (field::PARTITION,            UnmappedOutput::Omit),
    (field::ATTACHMENTS,           UnmappedOutput::Json),
    (field::AUTH_RESULTS,           UnmappedOutput::Json),
    (field::CONTENT_VIEWED,         UnmappedOutput::Boolean),
    (field::CREATE_TIME,            UnmappedOutput::Unparsed),
    (field::DATE,                  UnmappedOutput::Unparsed),
    (field::DATE_RECEIVED,          UnmappedOutput::Unparsed),
    (field::DETECTION_LEVEL,        UnmappedOutput::Json),
    (field::DISCOVERY_CASE,         UnmappedOutput::Boolean),
    (field::EMAIL_PARTS_DESCRIPTION, UnmappedOutput::Json),
    (field::EVENT_TIME,             UnmappedOutput::Unparsed),
    (field::FAILED, UnmappedOutput::Long),
    (field::FROM,                  UnmappedOutput::Json),
    (field::FROM_ENV,               UnmappedOutput::Json),
    (field::FROM_HDR,               UnmappedOutput::Json),
    (field::FROM_HEADER,            UnmappedOutput::Json),
    (field::HAS_ATTACHMENTS,        UnmappedOutput::Boolean),
    (field::HISTORICAL_MAIL,        UnmappedOutput::Boolean),
    (field::HITS,                  UnmappedOutput::Long),
    (field::IDENTIFIED, UnmappedOutput::Long),
    (field::IDENTIFIERS,           UnmappedOutput::Json),
    (field::IMPERSONATION_RESULTS,  UnmappedOutput::Json),
    (field::IS_ADMIN,               UnmappedOutput::Boolean),
    (field::LABELS,                UnmappedOutput::Json),
    (field::MANAGE_RECIPIENT,       UnmappedOutput::Boolean),
    (field::NUM_CAMPAIGNS_CLICKED, UnmappedOutput::Long),
    (field::NUM_CAMPAIGNS_SENT, UnmappedOutput::Long),
    (field::NUM_CORRECT,            UnmappedOutput::Long),
    (field::NUM_CORRECT_ANSWERS, UnmappedOutput::Long),
    (field::NUM_INCORRECT,          UnmappedOutput::Long),
    (field::NUM_INCORRECT_ANSWERS, UnmappedOutput::Long),
    (field::NUM_NOT_WATCHED,         UnmappedOutput::Long),
    (field::NUM_TRAINING_MODULES_ASSIGNED, UnmappedOutput::Long),
    (field::OPERATOR,              UnmappedOutput::Json),
    (field::POLICIES_APPLIED,       UnmappedOutput::Json),
    (field::POLICY,                UnmappedOutput::Json),
    (field::POLICY_INFO,            UnmappedOutput::Json),
    (field::REACTION_TIME, UnmappedOutput::Long),
    (field::RECIPIENTS,            UnmappedOutput::Json),
    (field::RESTORED, UnmappedOutput::Long),
    (field::SEARCH_CRITERIA, UnmappedOutput::Object),
    (field::SIZE,                  UnmappedOutput::Long),
    (field::SPAM_PROCESSING_DETAIL,  UnmappedOutput::Object),
    (field::SPAM_SCORE,             UnmappedOutput::Long),
    (field::SUCCESSFUL, UnmappedOutput::Long),
    (field::TAG_MAP,                UnmappedOutput::Object),
    (field::TAGGED_EXTERNAL,        UnmappedOutput::Boolean),
    (field::TAGGED_MALICIOUS,       UnmappedOutput::Boolean),
    (field::TAGS,                  UnmappedOutput::Json),
    (field::TIMESTAMP,             UnmappedOutput::Unparsed),
    (field::TO,                    UnmappedOutput::Json),
    (field::USER_DETAILS,           UnmappedOutput::Json),
    (field::VIEWED,                UnmappedOutput::Unparsed),
    (field::WATCHLIST_COUNT,        UnmappedOutput::Long),
];

/// Fields whose values are observables where no row of a table writes them, and the type of the
/// observable. The schema has no path below `unmapped`, so such an observable has no name.
pub(super) const OBSERVABLE_FIELDS: &[(FieldName, u8)] = &[
    (field::CLICKED_IP, 2),
    (field::CUSTOMER_IP, 2),
    (field::DESTINATION_IP, 2),
    (field::IP_ADDRESS, 2),
    (field::SENDING_IP, 2),
    (field::SENDER_IP, 2),
    (field::SENDER_IP_ADDRESS, 2),
    (field::SOURCE_IP, 2),
    (field::EMAIL_ADDR, 5),
    (field::EMAIL_ADDRESS, 5),
    (field::FROM_USER_EMAIL_ADDRESS, 5),
    (field::INTERNAL_USER_NAME, 5),
    (field::OPERATOR, 5),
    (field::RECIPIENT, 5),
    (field::RECIPIENT_ADDRESS, 5),
    (field::SENDER_ADDRESS, 5),
    (field::USER, 5),
    (field::USER_EMAIL_ADDRESS, 5),
    (field::VIEWER, 5),
    (field::ORIGINAL_URL, 6),
    (field::URL, 6),
    (field::FILE_HASH, 8),
    (field::MD5, 8),
    (field::SHA1, 8),
    (field::SHA256, 8),
];

/// Returns whether a text has the form of an observable of that type.
pub(super) fn matches_observable_type(text: &str, type_id: u8) -> bool {
    match type_id {
        2 => text.parse::<core::net::IpAddr>().is_ok(),
        5 => {
            let is_address = super::address::bare(text).is_some_and(|address| address == text);
            is_address && !super::prose::is_java_object(text)
        }
        6 => super::url::host(text).is_some(),
        8 => super::objects::hash_algorithm_id(text).is_some(),
        _ => false,
    }
}
