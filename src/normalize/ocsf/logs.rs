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

const KEPT: &[&[(&str, Keep)]] = &[LOGS];

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
    row("metadata.original_time",              &["eventTime"],       Shape::More(More::OriginalTime)),
    computed("finding_info.uid",               Computed::Id),
    computed("finding_info.created_time", Computed::OccurredMillis),
    constant("finding_info.title",             "\"Data leak prevention policy applied\""),
    row("finding_info.analytic",               &["policy"],          Shape::More(More::Analytic)),
    constant("data_security.detection_system_id",     "6"),
    constant("data_security.data_lifecycle_state_id", "2"),
    row("data_security.policy.name",           &["policy"],          Shape::Text),
    row("policy.name",                         &["policy"],          Shape::Text),
    row("actor.user.name",                     &["senderAddress"],   Shape::More(More::Person)),
    row("actor.user.email_addr",               &["senderAddress"],   Shape::More(More::Email)),
    row("resources",                           &["recipientAddress"],Shape::More(More::Resources)),
    row("",                                    &["action"],          Shape::More(More::Acts(3, 15))),
];

#[rustfmt::skip]
const DLP_RULES: &[Rule] = &[
    rule(&[Test::Has(&["action"], &["hold", "bounce", "delete", "block"])], Is::found(3)),
    rule(&[],                                                            Is::found(2)),
];

const CLICK_ADDRESSES: &[&str] = &["fromUserEmailAddress", "userEmailAddress"];
const TTP_ADDRESSES: &[&str] = &["senderAddress", "recipientAddress"];

/// A clean link is an activity; all others are findings. Who the link was for is the user, who
/// is an actor only after a click.
#[rustfmt::skip]
pub(super) const TTP_URL: &[Variant] = &[
    variant(&[HARMLESS_URL, Test::Email(CLICK_ADDRESSES), Test::Is("creationMethod", &["user click"])],
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
    row("metadata.original_time",              &["date"],            Shape::More(More::OriginalTime)),
];

#[rustfmt::skip]
const CLICKED: &[Row] = &[
    row("email.from",                          &["fromUserEmailAddress"], Shape::More(More::Email)),
    row("email.from_mailbox", &["fromUserEmailAddress"], Shape::More(More::Mailbox)),
    row("email.to",                            &["userEmailAddress"],Shape::More(More::Emails)),
    row("email.subject",                       &["subject"],         Shape::Text),
    row("email.message_uid",                   &["messageId"],       Shape::MessageId),
    row("email.urls",                          &["url"],             Shape::More(More::Urls)),
    row("src_endpoint.ip",                     &["sendingIp"],       Shape::Ip),
    row("src_endpoint.port",                   &["sendingIp"],       Shape::Port),
    row("policy.name",                         &["ttpDefinition"],   Shape::Text),
    row("status_detail",                       &["category"],        Shape::Reason),
    row("",                                    &["route"],           Shape::More(More::Direction)),
    row("",                                    &["actions", "action"], Shape::More(More::Acts(1, 1))),
];

#[rustfmt::skip]
const CLICKER: &[Row] = &[
    row("actor.user.name",                     &["userEmailAddress"],Shape::More(More::Person)),
    row("actor.user.email_addr",               &["userEmailAddress"],Shape::More(More::Email)),
];

#[rustfmt::skip]
const URL_FINDING: &[Row] = &[
    computed("finding_info.uid",               Computed::Id),
    computed("finding_info.created_time", Computed::OccurredMillis),
    row("finding_info.desc",                   &["category"],        Shape::Reason),
    row("finding_info.analytic",               &["ttpDefinition"],   Shape::More(More::Analytic)),
    row("policy.name",                         &["ttpDefinition"],   Shape::Text),
    row("evidences[].url",                     &["url"],             Shape::More(More::Url)),
    row("evidences[].src_endpoint.ip",         &["sendingIp"],       Shape::Ip),
    row("evidences[].src_endpoint.port",       &["sendingIp"],       Shape::Port),
    row("evidences[].user.name",               &["userEmailAddress"],Shape::More(More::Person)),
    row("evidences[].user.email_addr",         &["userEmailAddress"],Shape::More(More::Email)),
    row("resources",                           &["userEmailAddress"],Shape::More(More::Resources)),
    row("",                                    &["actions", "action"], Shape::More(More::Acts(3, 15))),
];

#[rustfmt::skip]
const URL_MESSAGE: &[Row] = &[
    row("evidences[].email.from",              &["fromUserEmailAddress"], Shape::More(More::Email)),
    row("evidences[].email.from_mailbox", &["fromUserEmailAddress"], Shape::More(More::Mailbox)),
    row("evidences[].email.to",                &["userEmailAddress"],Shape::More(More::Emails)),
    row("evidences[].email.subject",           &["subject"],         Shape::Text),
    row("evidences[].email.message_uid",       &["messageId"],       Shape::MessageId),
];

/// A malicious link that was let through weighs more than one that was stopped.
#[rustfmt::skip]
const URL_RULES: &[Rule] = &[
    rule(&[Test::Is("actions", BLOCK)],                        Is::found(3)),
    rule(&[MALICIOUS_URL, Test::Is("actions", ALLOW)],         Is::found(4)),
    rule(&[DONE],                                              Is::found(3)),
    rule(&[MALICIOUS_URL, Test::Is("action", ALLOW)],          Is::found(4)),
    rule(&[],                                                  Is::found(3)),
];

const SAFE: Test = Test::Is("result", CLEAN);
const MALICIOUS_FILE: Test = Test::Is("result", UNSAFE);
const SCANNED: Test = Test::Given(&["result"]);

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
    row("",                                    &["actionTriggered"], Shape::More(More::Acts(3, 15))),
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
const ATTACHMENT: &[&str] = &[
    "fileName",
    "fileExtension",
    "fileType",
    "sizeAttachment",
    "fileHash",
];

#[rustfmt::skip]
const OPENED: &[Row] = &[
    row("email.from",                          &["senderAddress"],   Shape::More(More::Email)),
    row("email.from_mailbox", &["senderAddress"], Shape::More(More::Mailbox)),
    row("email.to",                            &["recipientAddress"],Shape::More(More::Emails)),
    row("email.subject",                       &["subject"],         Shape::Text),
    row("email.message_uid",                   &["messageId"],       Shape::MessageId),
    row("email.files",                         ATTACHMENT,           Shape::More(More::File)),
    row("policy.name",                         &["definition"],      Shape::Text),
    row("status_detail",                       &["details"],         Shape::Reason),
    row("",                                    &["route"],           Shape::More(More::Direction)),
];

#[rustfmt::skip]
const FILE_FINDING: &[Row] = &[
    computed("finding_info.uid",               Computed::Id),
    computed("finding_info.created_time", Computed::OccurredMillis),
    row("finding_info.desc",                   &["details"],         Shape::Reason),
    row("finding_info.analytic",               &["definition"],      Shape::More(More::Analytic)),
    row("policy.name",                         &["definition"],      Shape::Text),
    row("evidences[].file",                    ATTACHMENT,           Shape::More(More::File)),
    row("resources",                           &["recipientAddress"],Shape::More(More::Resources)),
    row("",                                    &["actionTriggered"], Shape::More(More::Acts(3, 15))),
];

#[rustfmt::skip]
const TTP_MESSAGE: &[Row] = &[
    row("evidences[].email.from",              &["senderAddress"],   Shape::More(More::Email)),
    row("evidences[].email.from_mailbox", &["senderAddress"], Shape::More(More::Mailbox)),
    row("evidences[].email.to",                &["recipientAddress"],Shape::More(More::Emails)),
    row("evidences[].email.subject",           &["subject"],         Shape::Text),
    row("evidences[].email.message_uid",       &["messageId"],       Shape::MessageId),
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
    row("metadata.original_time",              &["eventTime"],       Shape::More(More::OriginalTime)),
    row("metadata.original_event_uid",         &["id"],              Shape::Text),
    computed("finding_info.uid",               Computed::Id),
    computed("finding_info.created_time", Computed::OccurredMillis),
    constant("finding_info.title",             "\"Impersonation found\""),
    row("finding_info.desc",                   &["identifiers"],     Shape::More(More::Joined)),
    constant("finding_info.types",             "[\"Impersonation\"]"),
    row("finding_info.analytic",               &["definition"],      Shape::More(More::Analytic)),
    row("policy.name",                         &["definition"],      Shape::Text),
    row("evidences[].src_endpoint.ip",         &["senderIpAddress"], Shape::Ip),
    row("evidences[].src_endpoint.port",       &["senderIpAddress"], Shape::Port),
    row("resources",                           &["recipientAddress"],Shape::More(More::Resources)),
    row("",                                    &["action"],          Shape::More(More::Acts(3, 15))),
];

#[rustfmt::skip]
const IMPERSONATION_RULES: &[Rule] = &[
    rule(&[Test::Is("taggedMalicious", &["true", "yes"])], Is::found(4)),
    rule(&[],                                              Is::found(3)),
];

/// A message that is held, or that is no longer: then only its id is known.
#[rustfmt::skip]
pub(super) const HELD_MESSAGES: &[Variant] = &[
    variant(&[Test::Email(&["from", "fromHeader", "to"])],
        classes::EMAIL, &[HEAD, GATEWAY, CONTROL, HELD_IDS, HELD, TAIL],
        &[rule(&[], Is::fine(3, "Scan").severity(2).acts(2, 3))]),
    base(&[HEAD, GATEWAY, CONTROL, HELD_IDS, TAIL],
        &[rule(&[Test::Given(&["event"])], Is::fine(99, "Departure")),
          rule(&[], Is::fine(99, "Hold").severity(2).acts(2, 3))], "Hold"),
];

#[rustfmt::skip]
const HELD_IDS: &[Row] = &[
    row("metadata.original_time",              &["dateReceived"],    Shape::More(More::OriginalTime)),
    row("metadata.original_event_uid",         &["id"],              Shape::Text),
    row("status_detail",                       &["reason", "event"], Shape::Reason),
    row("status_code",                         &["reasonCode"],      Shape::Text),
];

#[rustfmt::skip]
const HELD: &[Row] = &[
    row("from",                                &["from"],            Shape::More(More::Email)),
    row("to",                                  &["to"],              Shape::More(More::Emails)),
    row("email.from",                          &["fromHeader", "from"], Shape::More(More::Email)),
    row("email.from_mailbox", &["fromHeader", "from"], Shape::More(More::Mailbox)),
    row("email.to",                            &["to"],              Shape::More(More::Emails)),
    row("email.subject",                       &["subject"],         Shape::Text),
    row("email.size",                          &["size"],            Shape::Long),
    row("policy.name",                         &["policyInfo"],      Shape::Text),
    row("",                                    &["route"],           Shape::More(More::Direction)),
];

#[rustfmt::skip]
pub(super) const HELD_RELEASE: &[Variant] = &[
    variant(&[Test::Email(&["fromEnv", "fromHdr", "to"])],
        classes::EMAIL, &[HEAD, GATEWAY, CONTROL_AND_HOST, RELEASE_IDS, RELEASE, TAIL],
        RELEASE_RULES),
    base(&[HEAD, GATEWAY, CONTROL_AND_HOST, RELEASE_IDS, TAIL], RELEASE_RULES, "Release"),
];

#[rustfmt::skip]
const RELEASE_IDS: &[Row] = &[
    row("metadata.original_time",              &["released"],        Shape::More(More::OriginalTime)),
    row("metadata.original_event_uid",         &["id"],              Shape::Text),
    row("status_detail",                       &["rejectReason", "heldReason"], Shape::Reason),
    row("actor.user.name",                     &["operator"],        Shape::More(More::Person)),
    row("actor.user.email_addr",               &["operator"],        Shape::More(More::Email)),
    row("policy.name",                         &["policy"],          Shape::Text),
    row("",                                    &["status"],          Shape::More(More::Acts(4, 9))),
];

#[rustfmt::skip]
const RELEASE: &[Row] = &[
    row("from",                                &["fromEnv"],         Shape::More(More::Email)),
    row("to",                                  &["to"],              Shape::More(More::Emails)),
    row("email.from",                          &["fromHdr", "fromEnv"], Shape::More(More::Email)),
    row("email.from_mailbox", &["fromHdr", "fromEnv"], Shape::More(More::Mailbox)),
    row("email.to",                            &["to"],              Shape::More(More::Emails)),
    row("email.subject",                       &["subject"],         Shape::Text),
    row("email.size",                          &["size"],            Shape::Long),
    row("email_auth",                          &["spamProcessingDetail"], Shape::More(More::Auth)),
    row("",                                    &["route"],           Shape::More(More::Direction)),
];

#[rustfmt::skip]
const RELEASE_RULES: &[Rule] = &[
    rule(&[Test::Is("status", &["rejected"])], Is::fine(99, "Release").severity(2)),
    rule(&[Test::Is("status", RELEASED)],      Is::fine(99, "Release")),
    rule(&[],                                  Is::fine(99, "Release").status(Some(0))),
];

#[rustfmt::skip]
pub(super) const REJECTIONS: &[Variant] = &[
    variant(&[Test::Has(REJECTED_BY, VIRUS), Test::Email(&["fromAddress", "toAddress"])],
        classes::EMAIL, &[HEAD, GATEWAY, CONTROL, REJECTION_IDS, REJECTION, SIGNATURES, TAIL],
        REJECTION_RULES),
    variant(&[Test::Email(&["fromAddress", "toAddress"])],
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
    row("malware",                             &["info"],            Shape::More(More::Signatures)),
];

#[rustfmt::skip]
const REJECTION_IDS: &[Row] = &[
    row("metadata.original_time",              &["created"],         Shape::More(More::OriginalTime)),
    row("metadata.original_event_uid",         &["id"],              Shape::Text),
    row("metadata.event_code",                 &["type"],            Shape::Text),
    row("status_detail",                       &["info", "description"], Shape::Reason),
];

#[rustfmt::skip]
const REJECTION: &[Row] = &[
    row("from",                                &["fromAddress"],     Shape::More(More::Email)),
    row("to",                                  &["toAddress"],       Shape::More(More::Emails)),
    row("email.from",                          &["fromAddress"],     Shape::More(More::Email)),
    row("email.from_mailbox", &["fromAddress"], Shape::More(More::Mailbox)),
    row("email.to",                            &["toAddress"],       Shape::More(More::Emails)),
    row("email.urls",                          &["info"],            Shape::More(More::InfoUrl)),
    row("src_endpoint.ip",                     &["ipAddress"],       Shape::Ip),
    row("src_endpoint.port",                   &["ipAddress"],       Shape::Port),
    row("src_endpoint.name",                   &["remoteName"],      Shape::Text),
    row("command",                             &["remoteEhlo"],      Shape::Text),
    constant("protocol_name",                  "\"SMTP\""),
    row("",                                    &["route"],           Shape::More(More::Direction)),
];

pub(super) const ARCHIVE_SEARCH: &[Variant] = &[variant(
    &[],
    classes::WEB_RESOURCES,
    &[HEAD, GATEWAY, CONTROL_AND_HOST, SEARCH, TAIL],
    &[rule(&[], Is::fine(5, "Search"))],
)];

#[rustfmt::skip]
const SEARCH: &[Row] = &[
    row("metadata.original_time",              &["createTime"],      Shape::More(More::OriginalTime)),
    row("actor.user.name",                     &["emailAddr"],       Shape::User),
    row("actor.user.email_addr",               &["emailAddr"],       Shape::More(More::Email)),
    constant("web_resources[].name",           "\"Archive\""),
    constant("web_resources[].type",           "\"Archive\""),
    row("web_resources[].desc",                &["searchText"],      Shape::Text),
    row("status_detail",                       &["searchReason"],    Shape::Reason),
    row("message",                             &["description"],     Shape::Text),
];

pub(super) const ARCHIVE_VIEW: &[Variant] = &[variant(
    &[],
    classes::WEB_RESOURCES,
    &[HEAD, GATEWAY, CONTROL_AND_HOST, VIEW, TAIL],
    &[rule(&[], Is::fine(2, "Read"))],
)];

#[rustfmt::skip]
const VIEW: &[Row] = &[
    row("metadata.original_time",              &["viewed"],          Shape::More(More::OriginalTime)),
    row("actor.user.name",                     &["viewer"],          Shape::User),
    row("actor.user.email_addr",               &["viewer"],          Shape::More(More::Email)),
    constant("web_resources[].name",           "\"Archived message\""),
    constant("web_resources[].type",           "\"Archive\""),
    row("web_resources[].desc",                &["subject"],         Shape::Text),
];
