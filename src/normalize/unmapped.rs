//! How unmapped fields of the POST logs are written.

use super::table::Keep;
use crate::field::{self, FieldName};

/// How the fields of the POST logs are kept that are not kept as text.
#[rustfmt::skip]
pub(super) const LOG_FIELDS_KEPT: &[(FieldName, Keep)] = &[
    (field::OFFSET,               Keep::Omit),
    (field::PARTITION,            Keep::Omit),
    (field::ATTACHMENTS,           Keep::Json),
    (field::AUTH_RESULTS,           Keep::Json),
    (field::CONTENT_VIEWED,         Keep::Boolean),
    (field::CREATE_TIME,            Keep::Unparsed),
    (field::DATE,                  Keep::Unparsed),
    (field::DATE_RECEIVED,          Keep::Unparsed),
    (field::DETECTION_LEVEL,        Keep::Json),
    (field::DISCOVERY_CASE,         Keep::Boolean),
    (field::EMAIL_PARTS_DESCRIPTION, Keep::Json),
    (field::EVENT_TIME,             Keep::Unparsed),
    (field::FAILED, Keep::Long),
    (field::FROM,                  Keep::Json),
    (field::FROM_ENV,               Keep::Json),
    (field::FROM_HDR,               Keep::Json),
    (field::FROM_HEADER,            Keep::Json),
    (field::HAS_ATTACHMENTS,        Keep::Boolean),
    (field::HISTORICAL_MAIL,        Keep::Boolean),
    (field::HITS,                  Keep::Long),
    (field::IDENTIFIED, Keep::Long),
    (field::IDENTIFIERS,           Keep::Json),
    (field::IMPERSONATION_RESULTS,  Keep::Json),
    (field::IS_ADMIN,               Keep::Boolean),
    (field::LABELS,                Keep::Json),
    (field::MANAGE_RECIPIENT,       Keep::Boolean),
    (field::NUM_CAMPAIGNS_CLICKED, Keep::Long),
    (field::NUM_CAMPAIGNS_SENT, Keep::Long),
    (field::NUM_CORRECT,            Keep::Long),
    (field::NUM_CORRECT_ANSWERS, Keep::Long),
    (field::NUM_INCORRECT,          Keep::Long),
    (field::NUM_INCORRECT_ANSWERS, Keep::Long),
    (field::NUM_NOT_WATCHED,         Keep::Long),
    (field::NUM_TRAINING_MODULES_ASSIGNED, Keep::Long),
    (field::OPERATOR,              Keep::Json),
    (field::POLICIES_APPLIED,       Keep::Json),
    (field::POLICY,                Keep::Json),
    (field::POLICY_INFO,            Keep::Json),
    (field::REACTION_TIME, Keep::Long),
    (field::RECIPIENTS,            Keep::Json),
    (field::RESTORED, Keep::Long),
    (field::SEARCH_CRITERIA, Keep::Object),
    (field::SIZE,                  Keep::Long),
    (field::SPAM_PROCESSING_DETAIL,  Keep::Object),
    (field::SPAM_SCORE,             Keep::Long),
    (field::SUCCESSFUL, Keep::Long),
    (field::TAG_MAP,                Keep::Object),
    (field::TAGGED_EXTERNAL,        Keep::Boolean),
    (field::TAGGED_MALICIOUS,       Keep::Boolean),
    (field::TAGS,                  Keep::Json),
    (field::TIMESTAMP,             Keep::Unparsed),
    (field::TO,                    Keep::Json),
    (field::USER_DETAILS,           Keep::Json),
    (field::VIEWED,                Keep::Unparsed),
    (field::WATCHLIST_COUNT,        Keep::Long),
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
