//! ECS for the logs behind POST endpoints: data leak prevention, targeted threat protection,
//! held, released and rejected messages, and the archive.

use super::super::kept::LOGS;
use super::super::table::{Class, More, Row, Rule, Shape, Tables, Test, constant, row};
use super::{HEAD, TAIL};
use crate::field::{self, Name};

pub(super) const INTRUSION: &[&str] = &["email", "intrusion_detection"];
pub(super) const MALWARE: &[&str] = &["email", "malware"];
pub(super) const DENIED: &[&str] = &["info", "denied"];
pub(super) const ALLOWED: &[&str] = &["info", "allowed"];

/// Something happened to a message.
pub(super) const EMAIL: Class = Class {
    kind: "event",
    category: &["email"],
    types: &["info"],
    outcome: None,
    severity: 1,
};

/// Something was found in a message.
pub(super) const ALERT: Class = Class {
    kind: "alert",
    severity: 3,
    ..EMAIL
};

/// Somebody looked at something.
const ACCESS: Class = Class {
    category: &["api"],
    types: &["access"],
    outcome: Some("success"),
    ..EMAIL
};

/// Declares the tables of a log: its name, its rows, its rules.
macro_rules! log {
    ($($table:ident = $name:literal, $rows:ident, $rules:expr;)+) => {
        $(pub(super) const $table: Tables = Tables {
            rows: &[
                HEAD,
                &[
                    constant("event.dataset", concat!("\"mimecast.", $name, "\"")),
                    constant("event.provider", concat!("\"", $name, "\"")),
                ],
                OBSERVER,
                $rows,
                TAIL,
            ],
            kept: LOGS,
            rules: $rules,
        };)+
    };
}

log! {
    ARCHIVE_SEARCH = "archive_search", SEARCH, &[Rule { when: &[], class: ACCESS }];
    ARCHIVE_VIEW = "archive_view", VIEW, &[Rule { when: &[], class: ACCESS }];
    DLP = "dlp", DLP_ROWS, DLP_RULES;
    HELD_MESSAGES = "held_messages", HELD, HELD_RULES;
    HELD_RELEASE = "held_release", RELEASE, RELEASE_RULES;
    REJECTIONS = "rejections", REJECTION, REJECTION_RULES;
    TTP_ATTACHMENT = "ttp_attachment", ATTACHMENT, ATTACHMENT_RULES;
    TTP_IMPERSONATION = "ttp_impersonation", IMPERSONATION, IMPERSONATION_RULES;
    TTP_URL = "ttp_url", CLICK, CLICK_RULES;
}

#[rustfmt::skip]
const OBSERVER: &[Row] = &[
    constant("observer.vendor",      "\"Mimecast\""),
    constant("observer.product",     "\"Mimecast Email Security\""),
    constant("observer.type",        "\"email-gateway\""),
];

#[rustfmt::skip]
const DLP_ROWS: &[Row] = &[
    row("event.action",              &[field::ACTION],           Shape::Action("policy-applied")),
    row("email.message_id",          &[field::MESSAGE_ID],        Shape::MessageId),
    row("email.sender.address",      &[field::SENDER_ADDRESS],    Shape::More(More::Person)),
    row("email.from.address",        &[field::SENDER_ADDRESS],    Shape::More(More::People)),
    row("email.to.address",          &[field::RECIPIENT_ADDRESS], Shape::More(More::People)),
    row("email.subject",             &[field::SUBJECT],          Shape::Text),
    row("email.direction",           &[field::ROUTE],            Shape::Direction),
    row("user.name",                 &[field::SENDER_ADDRESS],    Shape::More(More::Person)),
    row("user.email",                &[field::SENDER_ADDRESS],    Shape::More(More::Person)),
    row("user.domain",               &[field::SENDER_ADDRESS],    Shape::Domain),
    row("rule.name",                 &[field::POLICY],           Shape::Text),
    row("mimecast.null_sender",      &[field::SENDER_ADDRESS],    Shape::NullSender),
];

#[rustfmt::skip]
const DLP_RULES: &[Rule] = &[
    Rule { when: &[Test::Has(&[field::ACTION], &["hold", "bounce", "delete", "block"])],
        class: ALERT },
    Rule { when: &[],
        class: Class { severity: 2, ..ALERT } },
];

#[rustfmt::skip]
const HELD: &[Row] = &[
    row("event.action",              &[field::EVENT],            Shape::Action("held")),
    row("event.code",                &[field::REASON_CODE],       Shape::Text),
    row("event.reason",              &[field::REASON],           Shape::Reason),
    row("email.local_id",            &[field::ID],               Shape::Text),
    row("email.sender.address",      &[field::FROM],             Shape::More(More::Person)),
    row("email.from.address",        &[field::FROM_HEADER, field::FROM], Shape::More(More::People)),
    row("email.to.address",          &[field::TO],               Shape::More(More::People)),
    row("email.subject",             &[field::SUBJECT],          Shape::Text),
    row("email.direction",           &[field::ROUTE],            Shape::Direction),
    row("rule.name",                 &[field::POLICY_INFO],       Shape::Text),
    row("mimecast.email_size",       &[field::SIZE],             Shape::Long),
];

#[rustfmt::skip]
const HELD_RULES: &[Rule] = &[
    Rule { when: &[Test::Given(&[field::EVENT])],
        class: EMAIL },
    Rule { when: &[],
        class: Class { outcome: Some("failure"), severity: 2, ..EMAIL } },
];

#[rustfmt::skip]
const RELEASE: &[Row] = &[
    row("event.action",              &[field::STATUS],           Shape::Action("released")),
    row("event.reason",              &[field::REJECT_REASON, field::HELD_REASON], Shape::Reason),
    row("email.local_id",            &[field::ID],               Shape::Text),
    row("email.sender.address",      &[field::FROM_ENV],          Shape::More(More::Person)),
    row("email.from.address",        &[field::FROM_HDR, field::FROM_ENV], Shape::More(More::People)),
    row("email.to.address",          &[field::TO],               Shape::More(More::People)),
    row("email.subject",             &[field::SUBJECT],          Shape::Text),
    row("email.direction",           &[field::ROUTE],            Shape::Direction),
    row("rule.name",                 &[field::POLICY],           Shape::Text),
    row("user.name",                 &[field::OPERATOR], Shape::More(More::Person)),
    row("user.email",                &[field::OPERATOR],         Shape::More(More::Person)),
    row("user.domain",               &[field::OPERATOR], Shape::Domain),
    row("mimecast.auth",             &[field::SPAM_PROCESSING_DETAIL], Shape::More(More::Auth)),
    row("mimecast.email_size",       &[field::SIZE],             Shape::Long),
];

#[rustfmt::skip]
const RELEASE_RULES: &[Rule] = &[
    Rule { when: &[Test::Is(field::STATUS, &["rejected"])],
        class: Class { outcome: Some("failure"), severity: 2, ..EMAIL } },
    Rule { when: &[Test::Is(field::STATUS, RELEASED)],
        class: Class { outcome: Some("success"), ..EMAIL } },
    Rule { when: &[],
        class: Class { outcome: Some("unknown"), ..EMAIL } },
];

/// Words for that a held message was let go. Those that expired are in the log as well.
pub(in super::super) const RELEASED: &[&str] = &["released", "release", "permit", "permitted"];

#[rustfmt::skip]
const REJECTION: &[Row] = &[
    constant("event.action",         "\"rejected\""),
    row("event.reason",              &[field::INFO, field::DESCRIPTION], Shape::Reason),
    row("url",                       &[field::INFO],             Shape::More(More::InfoUrl)),
    row("error.type",                &[field::TYPE, field::DESCRIPTION], Shape::Words),
    row("error.code",                &[field::TYPE],             Shape::Digits),
    row("email.local_id",            &[field::ID],               Shape::Text),
    row("email.sender.address",      &[field::FROM_ADDRESS],      Shape::More(More::Person)),
    row("email.from.address",        &[field::FROM_ADDRESS],      Shape::More(More::People)),
    row("email.to.address",          &[field::TO_ADDRESS],        Shape::More(More::People)),
    row("email.direction",           &[field::ROUTE],            Shape::Direction),
    row("source.ip",                 &[field::IP_ADDRESS],        Shape::Ip),
    row("source.port",               &[field::IP_ADDRESS],        Shape::Port),
    row("source.domain",             &[field::REMOTE_NAME],       Shape::Host),
    row("mimecast.null_sender",      &[field::FROM_ADDRESS],      Shape::NullSender),
];

#[rustfmt::skip]
const REJECTION_RULES: &[Rule] = &[
    Rule { when: &[Test::Has(REJECTED_BY, VIRUS)],
        class: Class { category: MALWARE, outcome: Some("failure"), severity: 4, ..ALERT } },
    Rule { when: &[Test::Has(REJECTED_BY, DETECTION)],
        class: Class { category: INTRUSION, outcome: Some("failure"), ..ALERT } },
    Rule { when: &[],
        class: Class { outcome: Some("failure"), severity: 2, ..EMAIL } },
];

/// What was done stands in `actions`, unless that says nothing.
#[rustfmt::skip]
const CLICK: &[Row] = &[
    row("event.action",              &[field::ACTIONS, field::ACTION], Shape::Text),
    row("event.reason",              &[field::CATEGORY],         Shape::Reason),
    row("email.message_id",          &[field::MESSAGE_ID],        Shape::MessageId),
    row("email.from.address",        &[field::FROM_USER_EMAIL_ADDRESS], Shape::More(More::People)),
    row("email.to.address",          &[field::USER_EMAIL_ADDRESS], Shape::More(More::People)),
    row("email.subject",             &[field::SUBJECT],          Shape::Text),
    row("email.direction",           &[field::ROUTE],            Shape::Direction),
    row("rule.name",                 &[field::TTP_DEFINITION],    Shape::Text),
    row("source.ip",                 &[field::SENDING_IP],        Shape::Ip),
    row("source.port",               &[field::SENDING_IP],        Shape::Port),
    row("url",                       &[field::URL],              Shape::Url),
    row("user.name",                 &[field::USER_EMAIL_ADDRESS], Shape::More(More::Person)),
    row("user.email",                &[field::USER_EMAIL_ADDRESS], Shape::More(More::Person)),
    row("user.domain",               &[field::USER_EMAIL_ADDRESS], Shape::Domain),
    row("mimecast.action",           &[field::ACTION],           Shape::Action("")),
    row("mimecast.actions",          &[field::ACTIONS],          Shape::Action("")),
    row("mimecast.scanResult",       &[field::SCAN_RESULT],       Shape::Text),
];

/// Where a rejection says what rejected it: `type` may be a number.
pub(in super::super) const REJECTED_BY: &[Name] = &[field::TYPE, field::DESCRIPTION];
/// Words of rejections by a virus scanner.
pub(in super::super) const VIRUS: &[&str] = &["virus", "malware"];
/// Words of rejections by another detection.
pub(in super::super) const DETECTION: &[&str] = &[
    "qrcode",
    "qr code",
    "dangerous",
    "impersonation",
    "phishing",
    "malicious",
];
pub(in super::super) const BLOCK: &[&str] = &["block", "blocked"];
pub(in super::super) const ALLOW: &[&str] = &["allow", "allowed"];
/// What was done stands in `actions`, unless that says nothing: then in `action`.
pub(in super::super) const DONE: Test = Test::Given(&[field::ACTIONS]);
/// What is not scanned has no verdict against it.
pub(in super::super) const HARMLESS_URL: Test = Test::IsOrMissing(field::SCAN_RESULT, CLEAN);
pub(in super::super) const MALICIOUS_URL: Test = Test::Is(field::SCAN_RESULT, UNSAFE);
/// Words for that something is malicious.
pub(in super::super) const UNSAFE: &[&str] = &["malicious", "unsafe"];
pub(in super::super) const CLEAN: &[&str] = &["clean", "safe"];

/// A malicious link that was let through weighs more than one that was stopped.
#[rustfmt::skip]
const CLICK_RULES: &[Rule] = &[
    Rule { when: &[HARMLESS_URL],
        class: EMAIL },
    Rule { when: &[Test::Is(field::ACTIONS, BLOCK)],
        class: Class { category: INTRUSION, types: DENIED, ..ALERT } },
    Rule { when: &[MALICIOUS_URL, Test::Is(field::ACTIONS, ALLOW)],
        class: Class { category: INTRUSION, types: ALLOWED, severity: 4, ..ALERT } },
    Rule { when: &[Test::Is(field::ACTIONS, ALLOW)],
        class: Class { category: INTRUSION, types: ALLOWED, ..ALERT } },
    Rule { when: &[DONE],
        class: Class { category: INTRUSION, ..ALERT } },
    Rule { when: &[Test::Is(field::ACTION, BLOCK)],
        class: Class { category: INTRUSION, types: DENIED, ..ALERT } },
    Rule { when: &[MALICIOUS_URL, Test::Is(field::ACTION, ALLOW)],
        class: Class { category: INTRUSION, types: ALLOWED, severity: 4, ..ALERT } },
    Rule { when: &[Test::Is(field::ACTION, ALLOW)],
        class: Class { category: INTRUSION, types: ALLOWED, ..ALERT } },
    Rule { when: &[],
        class: Class { category: INTRUSION, ..ALERT } },
];

#[rustfmt::skip]
const ATTACHMENT: &[Row] = &[
    row("event.action",              &[field::ACTION_TRIGGERED],  Shape::Action("attachment-scanned")),
    row("event.reason",              &[field::DETAILS],          Shape::Reason),
    row("email.message_id",          &[field::MESSAGE_ID],        Shape::MessageId),
    row("email.sender.address",      &[field::SENDER_ADDRESS],    Shape::More(More::Person)),
    row("email.from.address",        &[field::SENDER_ADDRESS],    Shape::More(More::People)),
    row("email.to.address",          &[field::RECIPIENT_ADDRESS], Shape::More(More::People)),
    row("email.subject",             &[field::SUBJECT],          Shape::Text),
    row("email.direction",           &[field::ROUTE],            Shape::Direction),
    row("email.attachments[].file.name",        &[field::FILE_NAME], Shape::Text),
    row("email.attachments[].file.extension",   &[field::FILE_EXTENSION, field::FILE_NAME], Shape::More(More::Extension)),
    row("email.attachments[].file.mime_type",   &[field::FILE_TYPE], Shape::Text),
    row("email.attachments[].file.hash.md5",    &[field::FILE_HASH], Shape::Hash(32)),
    row("email.attachments[].file.hash.sha1",   &[field::FILE_HASH], Shape::Hash(40)),
    row("email.attachments[].file.hash.sha256", &[field::FILE_HASH], Shape::Hash(64)),
    row("rule.name",                 &[field::DEFINITION],       Shape::Text),
    row("mimecast.null_sender",      &[field::SENDER_ADDRESS],    Shape::NullSender),
    row("mimecast.result",           &[field::RESULT],           Shape::Text),
];

#[rustfmt::skip]
const ATTACHMENT_RULES: &[Rule] = &[
    Rule { when: &[Test::IsOrMissing(field::RESULT, CLEAN)],
        class: EMAIL },
    Rule { when: &[Test::Is(field::RESULT, UNSAFE)],
        class: Class { category: MALWARE, severity: 4, ..ALERT } },
    // A timeout, an error or an unknown word is no verdict.
    Rule { when: &[],
        class: Class { category: INTRUSION, ..ALERT } },
];

#[rustfmt::skip]
const IMPERSONATION: &[Row] = &[
    row("event.action",              &[field::ACTION],           Shape::Action("impersonation-found")),
    row("event.reason",              &[field::IDENTIFIERS],      Shape::More(More::Joined)),
    row("email.local_id",            &[field::ID],               Shape::Text),
    row("email.message_id",          &[field::MESSAGE_ID],        Shape::MessageId),
    row("email.sender.address",      &[field::SENDER_ADDRESS],    Shape::More(More::Person)),
    row("email.from.address",        &[field::SENDER_ADDRESS],    Shape::More(More::People)),
    row("email.to.address",          &[field::RECIPIENT_ADDRESS], Shape::More(More::People)),
    row("email.subject",             &[field::SUBJECT],          Shape::Text),
    row("rule.name",                 &[field::DEFINITION],       Shape::Text),
    constant("rule.category",        "\"impersonation\""),
    row("source.ip",                 &[field::SENDER_IP_ADDRESS],  Shape::Ip),
    row("source.port",               &[field::SENDER_IP_ADDRESS],  Shape::Port),
    row("mimecast.null_sender",      &[field::SENDER_ADDRESS],    Shape::NullSender),
];

const STOPPED: Test = Test::Is(field::ACTION, &["hold", "bounce", "block", "reject"]);
/// A word that is not known says neither that it was stopped nor that it was let through.
const LET_THROUGH: Test = Test::Is(
    field::ACTION,
    &["none", "allow", "allowed", "acc", "tag", "tagged"],
);
pub(super) const MALICIOUS: Test = Test::Is(field::TAGGED_MALICIOUS, &["true", "yes"]);

#[rustfmt::skip]
const IMPERSONATION_RULES: &[Rule] = &[
    Rule { when: &[STOPPED, MALICIOUS],
        class: Class { category: INTRUSION, types: DENIED, severity: 4, ..ALERT } },
    Rule { when: &[STOPPED],
        class: Class { category: INTRUSION, types: DENIED, ..ALERT } },
    Rule { when: &[MALICIOUS, LET_THROUGH],
        class: Class { category: INTRUSION, types: ALLOWED, severity: 4, ..ALERT } },
    Rule { when: &[MALICIOUS],
        class: Class { category: INTRUSION, severity: 4, ..ALERT } },
    Rule { when: &[LET_THROUGH],
        class: Class { category: INTRUSION, types: ALLOWED, ..ALERT } },
    Rule { when: &[],
        class: Class { category: INTRUSION, ..ALERT } },
];

#[rustfmt::skip]
const SEARCH: &[Row] = &[
    constant("event.action",         "\"archive-search\""),
    row("event.reason",              &[field::SEARCH_REASON],     Shape::Reason),
    row("message",                   &[field::DESCRIPTION],      Shape::Text),
    row("user.name",                 &[field::EMAIL_ADDR],        Shape::User),
    row("user.email",                &[field::EMAIL_ADDR],        Shape::Address),
];

#[rustfmt::skip]
const VIEW: &[Row] = &[
    constant("event.action",         "\"archive-view\""),
    row("email.from.address",        &[field::FROM],             Shape::More(More::People)),
    row("email.to.address",          &[field::TO],               Shape::More(More::People)),
    row("email.subject",             &[field::SUBJECT],          Shape::Text),
    row("email.origination_timestamp", &[field::MESSAGE_DATE],    Shape::More(More::Date)),
    row("user.name",                 &[field::VIEWER],           Shape::User),
    row("user.email",                &[field::VIEWER],           Shape::Address),
    row("mimecast.null_sender",      &[field::FROM],             Shape::NullSender),
];
