//! OCSF for the logs behind POST endpoints: data leak prevention, targeted threat protection,
//! held, released and rejected messages, and the archive.

use super::super::convert::{ip, joined, long, message_id, port, reason, user, verbatim};
use super::super::ecs::logs::{
    ALLOW, CLEAN_OR_UNSCANNED_URL, CLEAN_WORDS, DETECTION_WORDS, HAS_ACTIONS, MALICIOUS_URL,
    MALICIOUS_WORDS, NONE_FAILED, REJECTED_BY, RELEASED, VIRUS_WORDS,
};
use super::super::table::{
    Computed, FieldMapping, Test, by_row, computed, constant, row, text, value,
};
use super::super::unmapped::UNMAPPED_LOG_FIELDS;
use super::super::{address_lists, objects};
use super::classes::{self, Class, Classification, Rule, Variant, rule};
use super::convert::{
    action_and_disposition, analytic, direction, feature_analytic, info_urls, millis, no_direction,
    original_time, signatures, url, urls,
};
use super::{
    GATEWAY_PRODUCT, HEAD, SECURITY_CONTROL_AND_HOST_PROFILES, SECURITY_CONTROL_PROFILE, TAIL,
};
use crate::field::{self, FieldName};

const fn variant(
    when: &'static [Test],
    class: Class,
    rows: &'static [&'static [FieldMapping]],
    rules: &'static [Rule],
) -> Variant {
    Variant {
        when,
        class,
        rows,
        unmapped: &[UNMAPPED_LOG_FIELDS],
        activity: None,
        rules,
    }
}

/// Creates the last variant of a stream: a base event, for records that lack what its class needs.
const fn base(
    rows: &'static [&'static [FieldMapping]],
    rules: &'static [Rule],
    name: &'static str,
) -> Variant {
    Variant {
        activity: Some((99, name)),
        ..variant(&[], classes::BASE, rows, rules)
    }
}

pub(super) const DLP: &[Variant] = &[variant(
    &[],
    classes::DATA_SECURITY,
    &[
        HEAD,
        GATEWAY_PRODUCT,
        SECURITY_CONTROL_PROFILE,
        DLP_ROWS,
        TAIL,
    ],
    DLP_RULES,
)];

#[rustfmt::skip]
const DLP_ROWS: &[FieldMapping] = &[
    row("metadata.original_time",                     &[field::EVENT_TIME],        by_row(original_time)),
    computed("finding_info.uid",                      Computed::Id),
    computed("finding_info.created_time",             Computed::OccurredMillis),
    constant("finding_info.title",                    "\"Data leak prevention policy applied\""),
    row("finding_info.analytic",                      &[field::POLICY],            text(analytic).or(feature_analytic)),
    constant("data_security.detection_system_id",     "6"),
    constant("data_security.data_lifecycle_state_id", "2"),
    row("data_security.policy.name",                  &[field::POLICY],            text(verbatim)),
    row("policy.name",                                &[field::POLICY],            text(verbatim)),
    row("actor.user.name",                            &[field::SENDER_ADDRESS],    value(address_lists::first_address)),
    row("actor.user.email_addr",                      &[field::SENDER_ADDRESS],    value(address_lists::first_address_with_ascii_domain)),
    row("resources",                                  &[field::RECIPIENT_ADDRESS], value(address_lists::resources)),
    row("{action_id,disposition_id}",                 &[field::ACTION],            by_row(action_and_disposition::<3, 15>)),
];

#[rustfmt::skip]
const DLP_RULES: &[Rule] = &[
    rule(&[Test::Contains(&[field::ACTION], &["hold", "bounce", "delete", "block"])], Classification::finding(3)),
    rule(&[],                                                            Classification::finding(2)),
];

const URL_ADDRESSES: &[FieldName] = &[field::FROM_USER_EMAIL_ADDRESS, field::USER_EMAIL_ADDRESS];
const TTP_ADDRESSES: &[FieldName] = &[field::SENDER_ADDRESS, field::RECIPIENT_ADDRESS];

/// A clean link is an activity; all others are findings. Who the link was for is the user, who
/// is an actor only after a click.
#[rustfmt::skip]
pub(super) const TTP_URL: &[Variant] = &[
    variant(&[CLEAN_OR_UNSCANNED_URL, Test::Email(URL_ADDRESSES), Test::Is(field::CREATION_METHOD, &["user click"])],
        classes::EMAIL, &[HEAD, GATEWAY_PRODUCT, SECURITY_CONTROL_AND_HOST_PROFILES, DATE, URL_ACTIVITY, CLICKER, TAIL],
        &[rule(&[], Classification::activity(3, "Scan"))]),
    variant(&[CLEAN_OR_UNSCANNED_URL, Test::Email(URL_ADDRESSES)],
        classes::EMAIL, &[HEAD, GATEWAY_PRODUCT, SECURITY_CONTROL_PROFILE, DATE, URL_ACTIVITY, TAIL],
        &[rule(&[], Classification::activity(3, "Scan"))]),
    variant(&[CLEAN_OR_UNSCANNED_URL],
        classes::BASE, &[HEAD, GATEWAY_PRODUCT, SECURITY_CONTROL_PROFILE, DATE, TAIL],
        &[rule(&[], Classification::activity(99, "Scan"))]),
    variant(&[MALICIOUS_URL, Test::Email(URL_ADDRESSES)],
        classes::DETECTION, &[HEAD, GATEWAY_PRODUCT, SECURITY_CONTROL_PROFILE, DATE, MALICIOUS_TITLE, URL_FINDING, URL_MESSAGE, TAIL],
        URL_RULES),
    variant(&[MALICIOUS_URL],
        classes::DETECTION, &[HEAD, GATEWAY_PRODUCT, SECURITY_CONTROL_PROFILE, DATE, MALICIOUS_TITLE, URL_FINDING, TAIL],
        URL_RULES),
    variant(&[Test::Email(URL_ADDRESSES)],
        classes::DETECTION, &[HEAD, GATEWAY_PRODUCT, SECURITY_CONTROL_PROFILE, DATE, SUSPICIOUS_TITLE, URL_FINDING, URL_MESSAGE, TAIL],
        URL_RULES),
    variant(&[],
        classes::DETECTION, &[HEAD, GATEWAY_PRODUCT, SECURITY_CONTROL_PROFILE, DATE, SUSPICIOUS_TITLE, URL_FINDING, TAIL],
        URL_RULES),
];

#[rustfmt::skip]
const MALICIOUS_TITLE: &[FieldMapping] = &[
    constant("finding_info.title", "\"Malicious URL found\""),
    constant("finding_info.types", "[\"Malicious URL\"]"),
];

#[rustfmt::skip]
const SUSPICIOUS_TITLE: &[FieldMapping] = &[
    constant("finding_info.title", "\"Suspicious URL\""),
];

#[rustfmt::skip]
const DATE: &[FieldMapping] = &[
    row("metadata.original_time", &[field::DATE], by_row(original_time)),
];

#[rustfmt::skip]
const URL_ACTIVITY: &[FieldMapping] = &[
    row("email.from",                 &[field::FROM_USER_EMAIL_ADDRESS], value(address_lists::first_address_with_ascii_domain)),
    row("email.from_mailbox",         &[field::FROM_USER_EMAIL_ADDRESS], value(address_lists::first_address_if_idn)),
    row("email.to",                   &[field::USER_EMAIL_ADDRESS],      value(address_lists::all_addresses_with_ascii_domain)),
    row("email.subject",              &[field::SUBJECT],                 text(verbatim)),
    row("email.message_uid",          &[field::MESSAGE_ID],              text(message_id)),
    row("email.urls",                 &[field::URL],                     text(urls)),
    row("src_endpoint.ip",            &[field::SENDING_IP],              text(ip)),
    row("src_endpoint.port",          &[field::SENDING_IP],              by_row(port)),
    row("policy.name",                &[field::TTP_DEFINITION],          text(verbatim)),
    row("status_detail",              &[field::CATEGORY],                text(reason)),
    row("{direction_id}",             &[field::ROUTE],                   text(direction).or(no_direction)),
    row("{action_id,disposition_id}", &[field::ACTIONS, field::ACTION],  by_row(action_and_disposition::<1, 1>)),
];

#[rustfmt::skip]
const CLICKER: &[FieldMapping] = &[
    row("actor.user.name",       &[field::USER_EMAIL_ADDRESS], value(address_lists::first_address)),
    row("actor.user.email_addr", &[field::USER_EMAIL_ADDRESS], value(address_lists::first_address_with_ascii_domain)),
];

#[rustfmt::skip]
const URL_FINDING: &[FieldMapping] = &[
    computed("finding_info.uid",          Computed::Id),
    computed("finding_info.created_time", Computed::OccurredMillis),
    row("finding_info.desc",              &[field::CATEGORY],               text(reason)),
    row("finding_info.analytic",          &[field::TTP_DEFINITION],         text(analytic).or(feature_analytic)),
    row("policy.name",                    &[field::TTP_DEFINITION],         text(verbatim)),
    row("evidences[].url",                &[field::URL],                    text(url)),
    row("evidences[].src_endpoint.ip",    &[field::SENDING_IP],             text(ip)),
    row("evidences[].src_endpoint.port",  &[field::SENDING_IP],             by_row(port)),
    row("evidences[].user.name",          &[field::USER_EMAIL_ADDRESS],     value(address_lists::first_address)),
    row("evidences[].user.email_addr",    &[field::USER_EMAIL_ADDRESS],     value(address_lists::first_address_with_ascii_domain)),
    row("resources",                      &[field::USER_EMAIL_ADDRESS],     value(address_lists::resources)),
    row("{action_id,disposition_id}",     &[field::ACTIONS, field::ACTION], by_row(action_and_disposition::<3, 15>)),
];

#[rustfmt::skip]
const URL_MESSAGE: &[FieldMapping] = &[
    row("evidences[].email.from",         &[field::FROM_USER_EMAIL_ADDRESS], value(address_lists::first_address_with_ascii_domain)),
    row("evidences[].email.from_mailbox", &[field::FROM_USER_EMAIL_ADDRESS], value(address_lists::first_address_if_idn)),
    row("evidences[].email.to",           &[field::USER_EMAIL_ADDRESS],      value(address_lists::all_addresses_with_ascii_domain)),
    row("evidences[].email.subject",      &[field::SUBJECT],                 text(verbatim)),
    row("evidences[].email.message_uid",  &[field::MESSAGE_ID],              text(message_id)),
];

/// A malicious link that was let through weighs more than one that was stopped.
#[rustfmt::skip]
const URL_RULES: &[Rule] = &[
    rule(&[MALICIOUS_URL, Test::Is(field::ACTIONS, ALLOW)],         Classification::finding(4)),
    rule(&[HAS_ACTIONS],                                       Classification::finding(3)),
    rule(&[MALICIOUS_URL, Test::Is(field::ACTION, ALLOW)],          Classification::finding(4)),
    rule(&[],                                                  Classification::finding(3)),
];

const CLEAN_FILE: Test = Test::Is(field::RESULT, CLEAN_WORDS);
const MALICIOUS_FILE: Test = Test::Is(field::RESULT, MALICIOUS_WORDS);
const SCANNED: Test = Test::HasValue(&[field::RESULT]);

#[rustfmt::skip]
pub(super) const TTP_ATTACHMENT: &[Variant] = &[
    variant(&[CLEAN_FILE, Test::Email(TTP_ADDRESSES)],
        classes::EMAIL, &[HEAD, GATEWAY_PRODUCT, SECURITY_CONTROL_PROFILE, DATE, ATTACHMENT_ACTIVITY, TAIL],
        &[rule(&[], Classification::activity(3, "Scan").action_disposition(1, 1))]),
    variant(&[CLEAN_FILE],
        classes::BASE, &[HEAD, GATEWAY_PRODUCT, SECURITY_CONTROL_PROFILE, DATE, TAIL],
        &[rule(&[], Classification::activity(99, "Scan").action_disposition(1, 1))]),
    variant(&[MALICIOUS_FILE, Test::Email(TTP_ADDRESSES)],
        classes::DETECTION, &[HEAD, GATEWAY_PRODUCT, SECURITY_CONTROL_PROFILE, DATE, MALICIOUS_FILE_TITLE, FILE_FINDING, TTP_MESSAGE, TAIL],
        &[rule(&[], Classification::finding(4))]),
    variant(&[MALICIOUS_FILE],
        classes::DETECTION, &[HEAD, GATEWAY_PRODUCT, SECURITY_CONTROL_PROFILE, DATE, MALICIOUS_FILE_TITLE, FILE_FINDING, TAIL],
        &[rule(&[], Classification::finding(4))]),
    variant(&[SCANNED, Test::Email(TTP_ADDRESSES)],
        classes::DETECTION, &[HEAD, GATEWAY_PRODUCT, SECURITY_CONTROL_PROFILE, DATE, SUSPICIOUS_FILE_TITLE, FILE_FINDING, TTP_MESSAGE, TAIL],
        &[rule(&[], Classification::finding(3))]),
    variant(&[SCANNED],
        classes::DETECTION, &[HEAD, GATEWAY_PRODUCT, SECURITY_CONTROL_PROFILE, DATE, SUSPICIOUS_FILE_TITLE, FILE_FINDING, TAIL],
        &[rule(&[], Classification::finding(3))]),
    variant(&[Test::Email(TTP_ADDRESSES)],
        classes::EMAIL, &[HEAD, GATEWAY_PRODUCT, SECURITY_CONTROL_PROFILE, DATE, ATTACHMENT_ACTIVITY, ATTACHMENT_ACTION, TAIL],
        &[rule(&[], Classification::activity(3, "Scan"))]),
    variant(&[],
        classes::BASE, &[HEAD, GATEWAY_PRODUCT, SECURITY_CONTROL_PROFILE, DATE, ATTACHMENT_ACTION, TAIL],
        &[rule(&[], Classification::activity(99, "Scan"))]),
];

#[rustfmt::skip]
const ATTACHMENT_ACTION: &[FieldMapping] = &[
    row("{action_id,disposition_id}", &[field::ACTION_TRIGGERED], by_row(action_and_disposition::<3, 15>)),
];

#[rustfmt::skip]
const MALICIOUS_FILE_TITLE: &[FieldMapping] = &[
    constant("finding_info.title", "\"Malicious attachment found\""),
    constant("finding_info.types", "[\"Malware\"]"),
];

#[rustfmt::skip]
const SUSPICIOUS_FILE_TITLE: &[FieldMapping] = &[
    constant("finding_info.title", "\"Suspicious attachment\""),
];

/// The fields in the order that `objects::file` expects; these logs mostly have neither extension nor
/// size.
const ATTACHMENT: &[FieldName] = &[
    field::FILE_NAME,
    field::FILE_EXTENSION,
    field::FILE_TYPE,
    field::SIZE_ATTACHMENT,
    field::FILE_HASH,
];

#[rustfmt::skip]
const ATTACHMENT_ACTIVITY: &[FieldMapping] = &[
    row("email.from",         &[field::SENDER_ADDRESS],    value(address_lists::first_address_with_ascii_domain)),
    row("email.from_mailbox", &[field::SENDER_ADDRESS],    value(address_lists::first_address_if_idn)),
    row("email.to",           &[field::RECIPIENT_ADDRESS], value(address_lists::all_addresses_with_ascii_domain)),
    row("email.subject",      &[field::SUBJECT],           text(verbatim)),
    row("email.message_uid",  &[field::MESSAGE_ID],        text(message_id)),
    row("email.files",        ATTACHMENT,                  by_row(objects::file)),
    row("policy.name",        &[field::DEFINITION],        text(verbatim)),
    row("status_detail",      &[field::DETAILS],           text(reason)),
    row("{direction_id}",     &[field::ROUTE],             text(direction).or(no_direction)),
];

#[rustfmt::skip]
const FILE_FINDING: &[FieldMapping] = &[
    computed("finding_info.uid",          Computed::Id),
    computed("finding_info.created_time", Computed::OccurredMillis),
    row("finding_info.desc",              &[field::DETAILS],           text(reason)),
    row("finding_info.analytic",          &[field::DEFINITION],        text(analytic).or(feature_analytic)),
    row("policy.name",                    &[field::DEFINITION],        text(verbatim)),
    row("evidences[].file",               ATTACHMENT,                  by_row(objects::file)),
    row("resources",                      &[field::RECIPIENT_ADDRESS], value(address_lists::resources)),
    row("{action_id,disposition_id}",     &[field::ACTION_TRIGGERED],  by_row(action_and_disposition::<3, 15>)),
];

#[rustfmt::skip]
const TTP_MESSAGE: &[FieldMapping] = &[
    row("evidences[].email.from",         &[field::SENDER_ADDRESS],    value(address_lists::first_address_with_ascii_domain)),
    row("evidences[].email.from_mailbox", &[field::SENDER_ADDRESS],    value(address_lists::first_address_if_idn)),
    row("evidences[].email.to",           &[field::RECIPIENT_ADDRESS], value(address_lists::all_addresses_with_ascii_domain)),
    row("evidences[].email.subject",      &[field::SUBJECT],           text(verbatim)),
    row("evidences[].email.message_uid",  &[field::MESSAGE_ID],        text(message_id)),
];

#[rustfmt::skip]
pub(super) const TTP_IMPERSONATION: &[Variant] = &[
    variant(&[Test::Email(TTP_ADDRESSES)],
        classes::DETECTION, &[HEAD, GATEWAY_PRODUCT, SECURITY_CONTROL_PROFILE, IMPERSONATION, TTP_MESSAGE, TAIL],
        IMPERSONATION_RULES),
    variant(&[],
        classes::DETECTION, &[HEAD, GATEWAY_PRODUCT, SECURITY_CONTROL_PROFILE, IMPERSONATION, TAIL],
        IMPERSONATION_RULES),
];

#[rustfmt::skip]
const IMPERSONATION: &[FieldMapping] = &[
    row("metadata.original_time",         &[field::EVENT_TIME],        by_row(original_time)),
    row("metadata.original_event_uid",    &[field::ID],                text(verbatim)),
    computed("finding_info.uid",          Computed::Id),
    computed("finding_info.created_time", Computed::OccurredMillis),
    constant("finding_info.title",        "\"Impersonation found\""),
    row("finding_info.desc",              &[field::IDENTIFIERS],       value(joined)),
    constant("finding_info.types",        "[\"Impersonation\"]"),
    row("finding_info.analytic",          &[field::DEFINITION],        text(analytic).or(feature_analytic)),
    row("policy.name",                    &[field::DEFINITION],        text(verbatim)),
    row("evidences[].src_endpoint.ip",    &[field::SENDER_IP_ADDRESS], text(ip)),
    row("evidences[].src_endpoint.port",  &[field::SENDER_IP_ADDRESS], by_row(port)),
    row("resources",                      &[field::RECIPIENT_ADDRESS], value(address_lists::resources)),
    row("{action_id,disposition_id}",     &[field::ACTION],            by_row(action_and_disposition::<3, 15>)),
];

#[rustfmt::skip]
const IMPERSONATION_RULES: &[Rule] = &[
    rule(&[Test::Is(field::TAGGED_MALICIOUS, &["true", "yes"])], Classification::finding(4)),
    rule(&[],                                              Classification::finding(3)),
];

/// A message that is held, or is no longer held: then only its id is known.
#[rustfmt::skip]
pub(super) const HELD_MESSAGES: &[Variant] = &[
    variant(&[Test::Email(&[field::FROM, field::FROM_HEADER, field::TO])],
        classes::EMAIL, &[HEAD, GATEWAY_PRODUCT, SECURITY_CONTROL_PROFILE, HELD_SHARED_ROWS, HELD_ROWS, TAIL],
        &[rule(&[], Classification::activity(3, "Scan").severity(2).action_disposition(2, 3))]),
    variant(&[],
        classes::BASE, &[HEAD, GATEWAY_PRODUCT, SECURITY_CONTROL_PROFILE, HELD_SHARED_ROWS, TAIL],
        &[rule(&[Test::HasValue(&[field::EVENT])], Classification::activity(99, "Departure")),
          rule(&[], Classification::activity(99, "Hold").severity(2).action_disposition(2, 3))]),
];

#[rustfmt::skip]
const HELD_SHARED_ROWS: &[FieldMapping] = &[
    row("metadata.original_time",      &[field::DATE_RECEIVED],        by_row(original_time)),
    row("metadata.original_event_uid", &[field::ID],                   text(verbatim)),
    row("status_detail",               &[field::REASON, field::EVENT], text(reason)),
    row("status_code",                 &[field::REASON_CODE],          text(verbatim)),
];

#[rustfmt::skip]
const HELD_ROWS: &[FieldMapping] = &[
    row("from",               &[field::FROM],                     value(address_lists::first_address_with_ascii_domain)),
    row("to",                 &[field::TO],                       value(address_lists::all_addresses_with_ascii_domain)),
    row("email.from",         &[field::FROM_HEADER, field::FROM], value(address_lists::first_address_with_ascii_domain)),
    row("email.from_mailbox", &[field::FROM_HEADER, field::FROM], value(address_lists::first_address_if_idn)),
    row("email.to",           &[field::TO],                       value(address_lists::all_addresses_with_ascii_domain)),
    row("email.subject",      &[field::SUBJECT],                  text(verbatim)),
    row("email.size",         &[field::SIZE],                     text(long)),
    row("policy.name",        &[field::POLICY_INFO],              text(verbatim)),
    row("{direction_id}",     &[field::ROUTE],                    text(direction).or(no_direction)),
];

#[rustfmt::skip]
pub(super) const HELD_RELEASE: &[Variant] = &[
    variant(&[Test::Email(&[field::FROM_ENV, field::FROM_HDR, field::TO])],
        classes::EMAIL, &[HEAD, GATEWAY_PRODUCT, SECURITY_CONTROL_AND_HOST_PROFILES, RELEASE_SHARED_ROWS, RELEASE, TAIL],
        RELEASE_RULES),
    base(&[HEAD, GATEWAY_PRODUCT, SECURITY_CONTROL_AND_HOST_PROFILES, RELEASE_SHARED_ROWS, TAIL], RELEASE_RULES, "Release"),
];

#[rustfmt::skip]
const RELEASE_SHARED_ROWS: &[FieldMapping] = &[
    row("metadata.original_time",      &[field::RELEASED],                          by_row(original_time)),
    row("metadata.original_event_uid", &[field::ID],                                text(verbatim)),
    row("status_detail",               &[field::REJECT_REASON, field::HELD_REASON], text(reason)),
    row("actor.user.name",             &[field::OPERATOR],                          value(address_lists::first_address)),
    row("actor.user.email_addr",       &[field::OPERATOR],                          value(address_lists::first_address_with_ascii_domain)),
    row("policy.name",                 &[field::POLICY],                            text(verbatim)),
    row("{action_id,disposition_id}",  &[field::STATUS],                            by_row(action_and_disposition::<4, 9>)),
];

#[rustfmt::skip]
const RELEASE: &[FieldMapping] = &[
    row("from",               &[field::FROM_ENV],                  value(address_lists::first_address_with_ascii_domain)),
    row("to",                 &[field::TO],                        value(address_lists::all_addresses_with_ascii_domain)),
    row("email.from",         &[field::FROM_HDR, field::FROM_ENV], value(address_lists::first_address_with_ascii_domain)),
    row("email.from_mailbox", &[field::FROM_HDR, field::FROM_ENV], value(address_lists::first_address_if_idn)),
    row("email.to",           &[field::TO],                        value(address_lists::all_addresses_with_ascii_domain)),
    row("email.subject",      &[field::SUBJECT],                   text(verbatim)),
    row("email.size",         &[field::SIZE],                      text(long)),
    row("email_auth",         &[field::SPAM_PROCESSING_DETAIL],    value(objects::auth)),
    row("{direction_id}",     &[field::ROUTE],                     text(direction).or(no_direction)),
];

#[rustfmt::skip]
const RELEASE_RULES: &[Rule] = &[
    rule(&[Test::Is(field::STATUS, &["rejected"])], Classification::activity(99, "Release").severity(2)),
    rule(&[Test::Is(field::STATUS, RELEASED)],      Classification::activity(99, "Release")),
    rule(&[],                                  Classification::activity(99, "Release").status(Some(0))),
];

#[rustfmt::skip]
pub(super) const REJECTIONS: &[Variant] = &[
    variant(&[Test::Contains(REJECTED_BY, VIRUS_WORDS), Test::Email(&[field::FROM_ADDRESS, field::TO_ADDRESS])],
        classes::EMAIL, &[HEAD, GATEWAY_PRODUCT, SECURITY_CONTROL_PROFILE, REJECTION_SHARED_ROWS, REJECTION, SIGNATURES, TAIL],
        REJECTION_RULES),
    variant(&[Test::Email(&[field::FROM_ADDRESS, field::TO_ADDRESS])],
        classes::EMAIL, &[HEAD, GATEWAY_PRODUCT, SECURITY_CONTROL_PROFILE, REJECTION_SHARED_ROWS, REJECTION, TAIL],
        REJECTION_RULES),
    base(&[HEAD, GATEWAY_PRODUCT, SECURITY_CONTROL_PROFILE, REJECTION_SHARED_ROWS, TAIL], REJECTION_RULES, "Receive"),
];

const REFUSED: Classification = Classification::activity(2, "Receive")
    .status(Some(2))
    .action_disposition(2, 2);

#[rustfmt::skip]
const REJECTION_RULES: &[Rule] = &[
    rule(&[Test::Contains(REJECTED_BY, VIRUS_WORDS)],     REFUSED.severity(4).alert()),
    rule(&[Test::Contains(REJECTED_BY, DETECTION_WORDS)], REFUSED.severity(3).alert()),
    rule(&[],                                  REFUSED.severity(2)),
];

#[rustfmt::skip]
const SIGNATURES: &[FieldMapping] = &[
    row("malware", &[field::INFO], text(signatures)),
];

#[rustfmt::skip]
const REJECTION_SHARED_ROWS: &[FieldMapping] = &[
    row("metadata.original_time",      &[field::CREATED],                  by_row(original_time)),
    row("metadata.original_event_uid", &[field::ID],                       text(verbatim)),
    row("metadata.event_code",         &[field::TYPE],                     text(verbatim)),
    row("status_detail",               &[field::INFO, field::DESCRIPTION], text(reason)),
];

#[rustfmt::skip]
const REJECTION: &[FieldMapping] = &[
    row("from",               &[field::FROM_ADDRESS], value(address_lists::first_address_with_ascii_domain)),
    row("to",                 &[field::TO_ADDRESS],   value(address_lists::all_addresses_with_ascii_domain)),
    row("email.from",         &[field::FROM_ADDRESS], value(address_lists::first_address_with_ascii_domain)),
    row("email.from_mailbox", &[field::FROM_ADDRESS], value(address_lists::first_address_if_idn)),
    row("email.to",           &[field::TO_ADDRESS],   value(address_lists::all_addresses_with_ascii_domain)),
    row("email.urls",         &[field::INFO],         text(info_urls)),
    row("src_endpoint.ip",    &[field::IP_ADDRESS],   text(ip)),
    row("src_endpoint.port",  &[field::IP_ADDRESS],   by_row(port)),
    row("src_endpoint.name",  &[field::REMOTE_NAME],  text(verbatim)),
    row("command",            &[field::REMOTE_EHLO],  text(verbatim)),
    constant("protocol_name", "\"SMTP\""),
    row("{direction_id}",     &[field::ROUTE],        text(direction).or(no_direction)),
];

pub(super) const ARCHIVE_SEARCH: &[Variant] = &[variant(
    &[],
    classes::WEB_RESOURCES,
    &[
        HEAD,
        GATEWAY_PRODUCT,
        SECURITY_CONTROL_AND_HOST_PROFILES,
        SEARCH,
        TAIL,
    ],
    &[rule(&[], Classification::activity(5, "Search"))],
)];

#[rustfmt::skip]
const SEARCH: &[FieldMapping] = &[
    row("metadata.original_time",    &[field::CREATE_TIME],   by_row(original_time)),
    row("actor.user.name",           &[field::EMAIL_ADDR],    text(user)),
    row("actor.user.email_addr",     &[field::EMAIL_ADDR],    value(address_lists::first_address_with_ascii_domain)),
    constant("web_resources[].name", "\"Archive\""),
    constant("web_resources[].type", "\"Archive\""),
    row("web_resources[].desc",      &[field::SEARCH_TEXT],   text(verbatim)),
    row("status_detail",             &[field::SEARCH_REASON], text(reason)),
    row("message",                   &[field::DESCRIPTION],   text(verbatim)),
];

pub(super) const ARCHIVE_VIEW: &[Variant] = &[variant(
    &[],
    classes::WEB_RESOURCES,
    &[
        HEAD,
        GATEWAY_PRODUCT,
        SECURITY_CONTROL_AND_HOST_PROFILES,
        VIEW,
        TAIL,
    ],
    &[rule(&[], Classification::activity(2, "Read"))],
)];

#[rustfmt::skip]
const VIEW: &[FieldMapping] = &[
    row("metadata.original_time",    &[field::VIEWED],  by_row(original_time)),
    row("actor.user.name",           &[field::VIEWER],  text(user)),
    row("actor.user.email_addr",     &[field::VIEWER],  value(address_lists::first_address_with_ascii_domain)),
    constant("web_resources[].name", "\"Archived message\""),
    constant("web_resources[].type", "\"Archive\""),
    row("web_resources[].desc",      &[field::SUBJECT], text(verbatim)),
];

/// The class needs `command_uid`, the id of the incident; an incident without an id is a base event.
#[rustfmt::skip]
pub(super) const REMEDIATION: &[Variant] = &[
    variant(&[Test::HasValue(&[field::ID])],
        classes::REMEDIATION, &[HEAD, GATEWAY_PRODUCT, SECURITY_CONTROL_PROFILE, INCIDENT_SHARED_ROWS, INCIDENT, TAIL],
        INCIDENT_RULES),
    base(&[HEAD, GATEWAY_PRODUCT, SECURITY_CONTROL_PROFILE, INCIDENT_SHARED_ROWS, TAIL],
        INCIDENT_RULES, "Remediation"),
];

#[rustfmt::skip]
const INCIDENT_SHARED_ROWS: &[FieldMapping] = &[
    row("metadata.original_time",      &[field::MODIFIED, field::CREATE], by_row(original_time)),
    row("metadata.original_event_uid", &[field::ID],                      text(verbatim)),
    row("metadata.event_code",         &[field::TYPE],                    text(verbatim)),
    row("status_detail",               &[field::REASON],                  text(reason)),
];

#[rustfmt::skip]
const INCIDENT: &[FieldMapping] = &[
    row("command_uid",      &[field::ID],     text(verbatim)),
    row("start_time",       &[field::CREATE], text(millis)),
    row("remediation.desc", &[field::REASON], text(verbatim)),
];

const EVICTED: Test = Test::Is(field::TYPE, &["automatic", "manual"]);
const RESTORED: Test = Test::Is(field::TYPE, &["restored"]);
const NOTIFIED_ONLY: Test = Test::Is(field::TYPE, &["notify_only"]);

const EVICT: Classification = Classification::activity(2, "Evict").severity(2);
const RESTORE: Classification = Classification::activity(3, "Restore").severity(2);
const DETECT: Classification = Classification::activity(5, "Detect").severity(2);
const OTHER: Classification = Classification::activity(99, "Remediation").severity(2);

#[rustfmt::skip]
const INCIDENT_RULES: &[Rule] = &[
    rule(&[EVICTED, NONE_FAILED],  EVICT),
    rule(&[EVICTED],               EVICT.severity(3).status(Some(2)).alert()),
    rule(&[RESTORED, NONE_FAILED], RESTORE),
    rule(&[RESTORED],              RESTORE.severity(3).status(Some(2)).alert()),
    rule(&[NOTIFIED_ONLY, NONE_FAILED], DETECT),
    rule(&[NOTIFIED_ONLY],         DETECT.severity(3).status(Some(2)).alert()),
    rule(&[NONE_FAILED],           OTHER),
    rule(&[],                      OTHER.severity(3).status(Some(2)).alert()),
];
