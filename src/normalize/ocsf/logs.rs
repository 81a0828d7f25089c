//! OCSF for the logs behind POST endpoints: data leak prevention, targeted threat protection,
//! held, released and rejected messages, and the archive.

use super::super::ecs::logs::{
    ALLOW, BLOCK, CLEAN, DETECTION, DONE, HARMLESS_URL, MALICIOUS_URL, REJECTED_BY, RELEASED,
    UNSAFE, VIRUS,
};
use super::super::kept::LOGS;
use super::super::table::Computed;
use super::super::table::{Keep, More, Row, Shape, Test, computed, constant, row};
use super::classes::{self, Class, Is, Rule, Variant, rule};
use super::{CONTROL, CONTROL_AND_HOST, GATEWAY, HEAD, TAIL};
use crate::field::{self, Name};

const KEPT: &[&[(Name, Keep)]] = &[LOGS];

const fn variant(
    when: &'static [Test],
    class: Class,
    rows: &'static [&'static [Row]],
    rules: &'static [Rule],
) -> Variant {
    Variant {
        when,
        class,
        rows,
        kept: KEPT,
        activity: None,
        rules,
    }
}

/// A record of such a log that has no address, and so is no e-mail activity.
const fn base(
    rows: &'static [&'static [Row]],
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
    &[HEAD, GATEWAY, CONTROL, DLP_ROWS, TAIL],
    DLP_RULES,
)];

#[rustfmt::skip]
const DLP_ROWS: &[Row] = &[
    row("metadata.original_time",              &[field::EVENT_TIME],       Shape::More(More::OriginalTime)),
    computed("finding_info.uid",               Computed::Id),
    computed("finding_info.created_time", Computed::OccurredMillis),
    constant("finding_info.title",             "\"Data leak prevention policy applied\""),
    row("finding_info.analytic",               &[field::POLICY],          Shape::More(More::Analytic)),
    constant("data_security.detection_system_id",     "6"),
    constant("data_security.data_lifecycle_state_id", "2"),
    row("data_security.policy.name",           &[field::POLICY],          Shape::Text),
    row("policy.name",                         &[field::POLICY],          Shape::Text),
    row("actor.user.name",                     &[field::SENDER_ADDRESS],   Shape::More(More::Person)),
    row("actor.user.email_addr",               &[field::SENDER_ADDRESS],   Shape::More(More::Email)),
    row("resources",                           &[field::RECIPIENT_ADDRESS],Shape::More(More::Resources)),
    row("",                                    &[field::ACTION],          Shape::More(More::Acts(3, 15))),
];

#[rustfmt::skip]
const DLP_RULES: &[Rule] = &[
    rule(&[Test::Has(&[field::ACTION], &["hold", "bounce", "delete", "block"])], Is::found(3)),
    rule(&[],                                                            Is::found(2)),
];

const CLICK_ADDRESSES: &[Name] = &[field::FROM_USER_EMAIL_ADDRESS, field::USER_EMAIL_ADDRESS];
const TTP_ADDRESSES: &[Name] = &[field::SENDER_ADDRESS, field::RECIPIENT_ADDRESS];

/// A clean link is an activity; all others are findings. Who the link was for is the user, who
/// is an actor only after a click.
#[rustfmt::skip]
pub(super) const TTP_URL: &[Variant] = &[
    variant(&[HARMLESS_URL, Test::Email(CLICK_ADDRESSES), Test::Is(field::CREATION_METHOD, &["user click"])],
        classes::EMAIL, &[HEAD, GATEWAY, CONTROL_AND_HOST, DATE, CLICKED, CLICKER, TAIL],
        &[rule(&[], Is::fine(3, "Scan"))]),
    variant(&[HARMLESS_URL, Test::Email(CLICK_ADDRESSES)],
        classes::EMAIL, &[HEAD, GATEWAY, CONTROL, DATE, CLICKED, TAIL],
        &[rule(&[], Is::fine(3, "Scan"))]),
    variant(&[HARMLESS_URL],
        classes::BASE, &[HEAD, GATEWAY, CONTROL, DATE, TAIL],
        &[rule(&[], Is::fine(99, "Scan"))]),
    variant(&[MALICIOUS_URL, Test::Email(CLICK_ADDRESSES)],
        classes::DETECTION, &[HEAD, GATEWAY, CONTROL, DATE, MALICIOUS_TITLE, URL_FINDING, URL_MESSAGE, TAIL],
        URL_RULES),
    variant(&[MALICIOUS_URL],
        classes::DETECTION, &[HEAD, GATEWAY, CONTROL, DATE, MALICIOUS_TITLE, URL_FINDING, TAIL],
        URL_RULES),
    variant(&[Test::Email(CLICK_ADDRESSES)],
        classes::DETECTION, &[HEAD, GATEWAY, CONTROL, DATE, SUSPICIOUS_TITLE, URL_FINDING, URL_MESSAGE, TAIL],
        URL_RULES),
    variant(&[],
        classes::DETECTION, &[HEAD, GATEWAY, CONTROL, DATE, SUSPICIOUS_TITLE, URL_FINDING, TAIL],
        URL_RULES),
];

#[rustfmt::skip]
const MALICIOUS_TITLE: &[Row] = &[
    constant("finding_info.title",             "\"Malicious URL found\""),
    constant("finding_info.types",             "[\"Malicious URL\"]"),
];

#[rustfmt::skip]
const SUSPICIOUS_TITLE: &[Row] = &[
    constant("finding_info.title",             "\"Suspicious URL\""),
];

#[rustfmt::skip]
const DATE: &[Row] = &[
    row("metadata.original_time",              &[field::DATE],            Shape::More(More::OriginalTime)),
];

#[rustfmt::skip]
const CLICKED: &[Row] = &[
    row("email.from",                          &[field::FROM_USER_EMAIL_ADDRESS], Shape::More(More::Email)),
    row("email.from_mailbox", &[field::FROM_USER_EMAIL_ADDRESS], Shape::More(More::Mailbox)),
    row("email.to",                            &[field::USER_EMAIL_ADDRESS],Shape::More(More::Emails)),
    row("email.subject",                       &[field::SUBJECT],         Shape::Text),
    row("email.message_uid",                   &[field::MESSAGE_ID],       Shape::MessageId),
    row("email.urls",                          &[field::URL],             Shape::More(More::Urls)),
    row("src_endpoint.ip",                     &[field::SENDING_IP],       Shape::Ip),
    row("src_endpoint.port",                   &[field::SENDING_IP],       Shape::Port),
    row("policy.name",                         &[field::TTP_DEFINITION],   Shape::Text),
    row("status_detail",                       &[field::CATEGORY],        Shape::Reason),
    row("",                                    &[field::ROUTE],           Shape::More(More::Direction)),
    row("",                                    &[field::ACTIONS, field::ACTION], Shape::More(More::Acts(1, 1))),
];

#[rustfmt::skip]
const CLICKER: &[Row] = &[
    row("actor.user.name",                     &[field::USER_EMAIL_ADDRESS],Shape::More(More::Person)),
    row("actor.user.email_addr",               &[field::USER_EMAIL_ADDRESS],Shape::More(More::Email)),
];

#[rustfmt::skip]
const URL_FINDING: &[Row] = &[
    computed("finding_info.uid",               Computed::Id),
    computed("finding_info.created_time", Computed::OccurredMillis),
    row("finding_info.desc",                   &[field::CATEGORY],        Shape::Reason),
    row("finding_info.analytic",               &[field::TTP_DEFINITION],   Shape::More(More::Analytic)),
    row("policy.name",                         &[field::TTP_DEFINITION],   Shape::Text),
    row("evidences[].url",                     &[field::URL],             Shape::More(More::Url)),
    row("evidences[].src_endpoint.ip",         &[field::SENDING_IP],       Shape::Ip),
    row("evidences[].src_endpoint.port",       &[field::SENDING_IP],       Shape::Port),
    row("evidences[].user.name",               &[field::USER_EMAIL_ADDRESS],Shape::More(More::Person)),
    row("evidences[].user.email_addr",         &[field::USER_EMAIL_ADDRESS],Shape::More(More::Email)),
    row("resources",                           &[field::USER_EMAIL_ADDRESS],Shape::More(More::Resources)),
    row("",                                    &[field::ACTIONS, field::ACTION], Shape::More(More::Acts(3, 15))),
];

#[rustfmt::skip]
const URL_MESSAGE: &[Row] = &[
    row("evidences[].email.from",              &[field::FROM_USER_EMAIL_ADDRESS], Shape::More(More::Email)),
    row("evidences[].email.from_mailbox", &[field::FROM_USER_EMAIL_ADDRESS], Shape::More(More::Mailbox)),
    row("evidences[].email.to",                &[field::USER_EMAIL_ADDRESS],Shape::More(More::Emails)),
    row("evidences[].email.subject",           &[field::SUBJECT],         Shape::Text),
    row("evidences[].email.message_uid",       &[field::MESSAGE_ID],       Shape::MessageId),
];

/// A malicious link that was let through weighs more than one that was stopped.
#[rustfmt::skip]
const URL_RULES: &[Rule] = &[
    rule(&[Test::Is(field::ACTIONS, BLOCK)],                        Is::found(3)),
    rule(&[MALICIOUS_URL, Test::Is(field::ACTIONS, ALLOW)],         Is::found(4)),
    rule(&[DONE],                                              Is::found(3)),
    rule(&[MALICIOUS_URL, Test::Is(field::ACTION, ALLOW)],          Is::found(4)),
    rule(&[],                                                  Is::found(3)),
];

const SAFE: Test = Test::Is(field::RESULT, CLEAN);
const MALICIOUS_FILE: Test = Test::Is(field::RESULT, UNSAFE);
const SCANNED: Test = Test::Given(&[field::RESULT]);

#[rustfmt::skip]
pub(super) const TTP_ATTACHMENT: &[Variant] = &[
    variant(&[SAFE, Test::Email(TTP_ADDRESSES)],
        classes::EMAIL, &[HEAD, GATEWAY, CONTROL, DATE, OPENED, TAIL],
        &[rule(&[], Is::fine(3, "Scan").acts(1, 1))]),
    variant(&[SAFE],
        classes::BASE, &[HEAD, GATEWAY, CONTROL, DATE, TAIL],
        &[rule(&[], Is::fine(99, "Scan").acts(1, 1))]),
    variant(&[MALICIOUS_FILE, Test::Email(TTP_ADDRESSES)],
        classes::DETECTION, &[HEAD, GATEWAY, CONTROL, DATE, MALICIOUS_FILE_TITLE, FILE_FINDING, TTP_MESSAGE, TAIL],
        &[rule(&[], Is::found(4))]),
    variant(&[MALICIOUS_FILE],
        classes::DETECTION, &[HEAD, GATEWAY, CONTROL, DATE, MALICIOUS_FILE_TITLE, FILE_FINDING, TAIL],
        &[rule(&[], Is::found(4))]),
    variant(&[SCANNED, Test::Email(TTP_ADDRESSES)],
        classes::DETECTION, &[HEAD, GATEWAY, CONTROL, DATE, SUSPICIOUS_FILE_TITLE, FILE_FINDING, TTP_MESSAGE, TAIL],
        &[rule(&[], Is::found(3))]),
    variant(&[SCANNED],
        classes::DETECTION, &[HEAD, GATEWAY, CONTROL, DATE, SUSPICIOUS_FILE_TITLE, FILE_FINDING, TAIL],
        &[rule(&[], Is::found(3))]),
    variant(&[Test::Email(TTP_ADDRESSES)],
        classes::EMAIL, &[HEAD, GATEWAY, CONTROL, DATE, OPENED, OPENED_ACTION, TAIL],
        &[rule(&[], Is::fine(3, "Scan"))]),
    variant(&[],
        classes::BASE, &[HEAD, GATEWAY, CONTROL, DATE, OPENED_ACTION, TAIL],
        &[rule(&[], Is::fine(99, "Scan"))]),
];

#[rustfmt::skip]
const OPENED_ACTION: &[Row] = &[
    row("",                                    &[field::ACTION_TRIGGERED], Shape::More(More::Acts(3, 15))),
];

#[rustfmt::skip]
const MALICIOUS_FILE_TITLE: &[Row] = &[
    constant("finding_info.title",             "\"Malicious attachment found\""),
    constant("finding_info.types",             "[\"Malware\"]"),
];

#[rustfmt::skip]
const SUSPICIOUS_FILE_TITLE: &[Row] = &[
    constant("finding_info.title",             "\"Suspicious attachment\""),
];

/// Name, extension, type, size and hash of the attachment; there is no size, and the extension
/// is in the name.
const ATTACHMENT: &[Name] = &[
    field::FILE_NAME,
    field::FILE_EXTENSION,
    field::FILE_TYPE,
    field::SIZE_ATTACHMENT,
    field::FILE_HASH,
];

#[rustfmt::skip]
const OPENED: &[Row] = &[
    row("email.from",                          &[field::SENDER_ADDRESS],   Shape::More(More::Email)),
    row("email.from_mailbox", &[field::SENDER_ADDRESS], Shape::More(More::Mailbox)),
    row("email.to",                            &[field::RECIPIENT_ADDRESS],Shape::More(More::Emails)),
    row("email.subject",                       &[field::SUBJECT],         Shape::Text),
    row("email.message_uid",                   &[field::MESSAGE_ID],       Shape::MessageId),
    row("email.files",                         ATTACHMENT,           Shape::More(More::File)),
    row("policy.name",                         &[field::DEFINITION],      Shape::Text),
    row("status_detail",                       &[field::DETAILS],         Shape::Reason),
    row("",                                    &[field::ROUTE],           Shape::More(More::Direction)),
];

#[rustfmt::skip]
const FILE_FINDING: &[Row] = &[
    computed("finding_info.uid",               Computed::Id),
    computed("finding_info.created_time", Computed::OccurredMillis),
    row("finding_info.desc",                   &[field::DETAILS],         Shape::Reason),
    row("finding_info.analytic",               &[field::DEFINITION],      Shape::More(More::Analytic)),
    row("policy.name",                         &[field::DEFINITION],      Shape::Text),
    row("evidences[].file",                    ATTACHMENT,           Shape::More(More::File)),
    row("resources",                           &[field::RECIPIENT_ADDRESS],Shape::More(More::Resources)),
    row("",                                    &[field::ACTION_TRIGGERED], Shape::More(More::Acts(3, 15))),
];

#[rustfmt::skip]
const TTP_MESSAGE: &[Row] = &[
    row("evidences[].email.from",              &[field::SENDER_ADDRESS],   Shape::More(More::Email)),
    row("evidences[].email.from_mailbox", &[field::SENDER_ADDRESS], Shape::More(More::Mailbox)),
    row("evidences[].email.to",                &[field::RECIPIENT_ADDRESS],Shape::More(More::Emails)),
    row("evidences[].email.subject",           &[field::SUBJECT],         Shape::Text),
    row("evidences[].email.message_uid",       &[field::MESSAGE_ID],       Shape::MessageId),
];

#[rustfmt::skip]
pub(super) const TTP_IMPERSONATION: &[Variant] = &[
    variant(&[Test::Email(TTP_ADDRESSES)],
        classes::DETECTION, &[HEAD, GATEWAY, CONTROL, IMPERSONATION, TTP_MESSAGE, TAIL],
        IMPERSONATION_RULES),
    variant(&[],
        classes::DETECTION, &[HEAD, GATEWAY, CONTROL, IMPERSONATION, TAIL],
        IMPERSONATION_RULES),
];

#[rustfmt::skip]
const IMPERSONATION: &[Row] = &[
    row("metadata.original_time",              &[field::EVENT_TIME],       Shape::More(More::OriginalTime)),
    row("metadata.original_event_uid",         &[field::ID],              Shape::Text),
    computed("finding_info.uid",               Computed::Id),
    computed("finding_info.created_time", Computed::OccurredMillis),
    constant("finding_info.title",             "\"Impersonation found\""),
    row("finding_info.desc",                   &[field::IDENTIFIERS],     Shape::More(More::Joined)),
    constant("finding_info.types",             "[\"Impersonation\"]"),
    row("finding_info.analytic",               &[field::DEFINITION],      Shape::More(More::Analytic)),
    row("policy.name",                         &[field::DEFINITION],      Shape::Text),
    row("evidences[].src_endpoint.ip",         &[field::SENDER_IP_ADDRESS], Shape::Ip),
    row("evidences[].src_endpoint.port",       &[field::SENDER_IP_ADDRESS], Shape::Port),
    row("resources",                           &[field::RECIPIENT_ADDRESS],Shape::More(More::Resources)),
    row("",                                    &[field::ACTION],          Shape::More(More::Acts(3, 15))),
];

#[rustfmt::skip]
const IMPERSONATION_RULES: &[Rule] = &[
    rule(&[Test::Is(field::TAGGED_MALICIOUS, &["true", "yes"])], Is::found(4)),
    rule(&[],                                              Is::found(3)),
];

/// A message that is held, or that is no longer: then only its id is known.
#[rustfmt::skip]
pub(super) const HELD_MESSAGES: &[Variant] = &[
    variant(&[Test::Email(&[field::FROM, field::FROM_HEADER, field::TO])],
        classes::EMAIL, &[HEAD, GATEWAY, CONTROL, HELD_IDS, HELD, TAIL],
        &[rule(&[], Is::fine(3, "Scan").severity(2).acts(2, 3))]),
    base(&[HEAD, GATEWAY, CONTROL, HELD_IDS, TAIL],
        &[rule(&[Test::Given(&[field::EVENT])], Is::fine(99, "Departure")),
          rule(&[], Is::fine(99, "Hold").severity(2).acts(2, 3))], "Hold"),
];

#[rustfmt::skip]
const HELD_IDS: &[Row] = &[
    row("metadata.original_time",              &[field::DATE_RECEIVED],    Shape::More(More::OriginalTime)),
    row("metadata.original_event_uid",         &[field::ID],              Shape::Text),
    row("status_detail",                       &[field::REASON, field::EVENT], Shape::Reason),
    row("status_code",                         &[field::REASON_CODE],      Shape::Text),
];

#[rustfmt::skip]
const HELD: &[Row] = &[
    row("from",                                &[field::FROM],            Shape::More(More::Email)),
    row("to",                                  &[field::TO],              Shape::More(More::Emails)),
    row("email.from",                          &[field::FROM_HEADER, field::FROM], Shape::More(More::Email)),
    row("email.from_mailbox", &[field::FROM_HEADER, field::FROM], Shape::More(More::Mailbox)),
    row("email.to",                            &[field::TO],              Shape::More(More::Emails)),
    row("email.subject",                       &[field::SUBJECT],         Shape::Text),
    row("email.size",                          &[field::SIZE],            Shape::Long),
    row("policy.name",                         &[field::POLICY_INFO],      Shape::Text),
    row("",                                    &[field::ROUTE],           Shape::More(More::Direction)),
];

#[rustfmt::skip]
pub(super) const HELD_RELEASE: &[Variant] = &[
    variant(&[Test::Email(&[field::FROM_ENV, field::FROM_HDR, field::TO])],
        classes::EMAIL, &[HEAD, GATEWAY, CONTROL_AND_HOST, RELEASE_IDS, RELEASE, TAIL],
        RELEASE_RULES),
    base(&[HEAD, GATEWAY, CONTROL_AND_HOST, RELEASE_IDS, TAIL], RELEASE_RULES, "Release"),
];

#[rustfmt::skip]
const RELEASE_IDS: &[Row] = &[
    row("metadata.original_time",              &[field::RELEASED],        Shape::More(More::OriginalTime)),
    row("metadata.original_event_uid",         &[field::ID],              Shape::Text),
    row("status_detail",                       &[field::REJECT_REASON, field::HELD_REASON], Shape::Reason),
    row("actor.user.name",                     &[field::OPERATOR],        Shape::More(More::Person)),
    row("actor.user.email_addr",               &[field::OPERATOR],        Shape::More(More::Email)),
    row("policy.name",                         &[field::POLICY],          Shape::Text),
    row("",                                    &[field::STATUS],          Shape::More(More::Acts(4, 9))),
];

#[rustfmt::skip]
const RELEASE: &[Row] = &[
    row("from",                                &[field::FROM_ENV],         Shape::More(More::Email)),
    row("to",                                  &[field::TO],              Shape::More(More::Emails)),
    row("email.from",                          &[field::FROM_HDR, field::FROM_ENV], Shape::More(More::Email)),
    row("email.from_mailbox", &[field::FROM_HDR, field::FROM_ENV], Shape::More(More::Mailbox)),
    row("email.to",                            &[field::TO],              Shape::More(More::Emails)),
    row("email.subject",                       &[field::SUBJECT],         Shape::Text),
    row("email.size",                          &[field::SIZE],            Shape::Long),
    row("email_auth",                          &[field::SPAM_PROCESSING_DETAIL], Shape::More(More::Auth)),
    row("",                                    &[field::ROUTE],           Shape::More(More::Direction)),
];

#[rustfmt::skip]
const RELEASE_RULES: &[Rule] = &[
    rule(&[Test::Is(field::STATUS, &["rejected"])], Is::fine(99, "Release").severity(2)),
    rule(&[Test::Is(field::STATUS, RELEASED)],      Is::fine(99, "Release")),
    rule(&[],                                  Is::fine(99, "Release").status(Some(0))),
];

#[rustfmt::skip]
pub(super) const REJECTIONS: &[Variant] = &[
    variant(&[Test::Has(REJECTED_BY, VIRUS), Test::Email(&[field::FROM_ADDRESS, field::TO_ADDRESS])],
        classes::EMAIL, &[HEAD, GATEWAY, CONTROL, REJECTION_IDS, REJECTION, SIGNATURES, TAIL],
        REJECTION_RULES),
    variant(&[Test::Email(&[field::FROM_ADDRESS, field::TO_ADDRESS])],
        classes::EMAIL, &[HEAD, GATEWAY, CONTROL, REJECTION_IDS, REJECTION, TAIL],
        REJECTION_RULES),
    base(&[HEAD, GATEWAY, CONTROL, REJECTION_IDS, TAIL], REJECTION_RULES, "Receive"),
];

const REFUSED: Is = Is::fine(2, "Receive").status(Some(2)).acts(2, 2);

#[rustfmt::skip]
const REJECTION_RULES: &[Rule] = &[
    rule(&[Test::Has(REJECTED_BY, VIRUS)],     REFUSED.severity(4).alert()),
    rule(&[Test::Has(REJECTED_BY, DETECTION)], REFUSED.severity(3).alert()),
    rule(&[],                                  REFUSED.severity(2)),
];

#[rustfmt::skip]
const SIGNATURES: &[Row] = &[
    row("malware",                             &[field::INFO],            Shape::More(More::Signatures)),
];

#[rustfmt::skip]
const REJECTION_IDS: &[Row] = &[
    row("metadata.original_time",              &[field::CREATED],         Shape::More(More::OriginalTime)),
    row("metadata.original_event_uid",         &[field::ID],              Shape::Text),
    row("metadata.event_code",                 &[field::TYPE],            Shape::Text),
    row("status_detail",                       &[field::INFO, field::DESCRIPTION], Shape::Reason),
];

#[rustfmt::skip]
const REJECTION: &[Row] = &[
    row("from",                                &[field::FROM_ADDRESS],     Shape::More(More::Email)),
    row("to",                                  &[field::TO_ADDRESS],       Shape::More(More::Emails)),
    row("email.from",                          &[field::FROM_ADDRESS],     Shape::More(More::Email)),
    row("email.from_mailbox", &[field::FROM_ADDRESS], Shape::More(More::Mailbox)),
    row("email.to",                            &[field::TO_ADDRESS],       Shape::More(More::Emails)),
    row("email.urls",                          &[field::INFO],            Shape::More(More::InfoUrl)),
    row("src_endpoint.ip",                     &[field::IP_ADDRESS],       Shape::Ip),
    row("src_endpoint.port",                   &[field::IP_ADDRESS],       Shape::Port),
    row("src_endpoint.name",                   &[field::REMOTE_NAME],      Shape::Text),
    row("command",                             &[field::REMOTE_EHLO],      Shape::Text),
    constant("protocol_name",                  "\"SMTP\""),
    row("",                                    &[field::ROUTE],           Shape::More(More::Direction)),
];

pub(super) const ARCHIVE_SEARCH: &[Variant] = &[variant(
    &[],
    classes::WEB_RESOURCES,
    &[HEAD, GATEWAY, CONTROL_AND_HOST, SEARCH, TAIL],
    &[rule(&[], Is::fine(5, "Search"))],
)];

#[rustfmt::skip]
const SEARCH: &[Row] = &[
    row("metadata.original_time",              &[field::CREATE_TIME],      Shape::More(More::OriginalTime)),
    row("actor.user.name",                     &[field::EMAIL_ADDR],       Shape::User),
    row("actor.user.email_addr",               &[field::EMAIL_ADDR],       Shape::More(More::Email)),
    constant("web_resources[].name",           "\"Archive\""),
    constant("web_resources[].type",           "\"Archive\""),
    row("web_resources[].desc",                &[field::SEARCH_TEXT],      Shape::Text),
    row("status_detail",                       &[field::SEARCH_REASON],    Shape::Reason),
    row("message",                             &[field::DESCRIPTION],     Shape::Text),
];

pub(super) const ARCHIVE_VIEW: &[Variant] = &[variant(
    &[],
    classes::WEB_RESOURCES,
    &[HEAD, GATEWAY, CONTROL_AND_HOST, VIEW, TAIL],
    &[rule(&[], Is::fine(2, "Read"))],
)];

#[rustfmt::skip]
const VIEW: &[Row] = &[
    row("metadata.original_time",              &[field::VIEWED],          Shape::More(More::OriginalTime)),
    row("actor.user.name",                     &[field::VIEWER],          Shape::User),
    row("actor.user.email_addr",               &[field::VIEWER],          Shape::More(More::Email)),
    constant("web_resources[].name",           "\"Archived message\""),
    constant("web_resources[].type",           "\"Archive\""),
    row("web_resources[].desc",                &[field::SUBJECT],         Shape::Text),
];
