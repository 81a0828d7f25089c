//! ECS for the logs behind POST endpoints: data leak prevention, targeted threat protection,
//! held, released and rejected messages, and the archive.

use super::super::kept::LOGS;
use super::super::table::{Class, More, Row, Rule, Shape, Tables, Test, constant, row};
use super::{HEAD, TAIL};

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
    row("event.action",              &["action"],           Shape::Action("policy-applied")),
    row("email.message_id",          &["messageId"],        Shape::MessageId),
    row("email.sender.address",      &["senderAddress"],    Shape::More(More::Person)),
    row("email.from.address",        &["senderAddress"],    Shape::More(More::People)),
    row("email.to.address",          &["recipientAddress"], Shape::More(More::People)),
    row("email.subject",             &["subject"],          Shape::Text),
    row("email.direction",           &["route"],            Shape::Direction),
    row("user.name",                 &["senderAddress"],    Shape::More(More::Person)),
    row("user.email",                &["senderAddress"],    Shape::More(More::Person)),
    row("user.domain",               &["senderAddress"],    Shape::Domain),
    row("rule.name",                 &["policy"],           Shape::Text),
    row("mimecast.null_sender",      &["senderAddress"],    Shape::NullSender),
];

#[rustfmt::skip]
const DLP_RULES: &[Rule] = &[
    Rule { when: &[Test::Has(&["action"], &["hold", "bounce", "delete", "block"])],
        class: ALERT },
    Rule { when: &[],
        class: Class { severity: 2, ..ALERT } },
];

#[rustfmt::skip]
const HELD: &[Row] = &[
    row("event.action",              &["event"],            Shape::Action("held")),
    row("event.code",                &["reasonCode"],       Shape::Text),
    row("event.reason",              &["reason"],           Shape::Reason),
    row("email.local_id",            &["id"],               Shape::Text),
    row("email.sender.address",      &["from"],             Shape::More(More::Person)),
    row("email.from.address",        &["fromHeader", "from"], Shape::More(More::People)),
    row("email.to.address",          &["to"],               Shape::More(More::People)),
    row("email.subject",             &["subject"],          Shape::Text),
    row("email.direction",           &["route"],            Shape::Direction),
    row("rule.name",                 &["policyInfo"],       Shape::Text),
    row("mimecast.email_size",       &["size"],             Shape::Long),
];

#[rustfmt::skip]
const HELD_RULES: &[Rule] = &[
    Rule { when: &[Test::Given(&["event"])],
        class: EMAIL },
    Rule { when: &[],
        class: Class { outcome: Some("failure"), severity: 2, ..EMAIL } },
];

#[rustfmt::skip]
const RELEASE: &[Row] = &[
    row("event.action",              &["status"],           Shape::Action("released")),
    row("event.reason",              &["rejectReason", "heldReason"], Shape::Reason),
    row("email.local_id",            &["id"],               Shape::Text),
    row("email.sender.address",      &["fromEnv"],          Shape::More(More::Person)),
    row("email.from.address",        &["fromHdr", "fromEnv"], Shape::More(More::People)),
    row("email.to.address",          &["to"],               Shape::More(More::People)),
    row("email.subject",             &["subject"],          Shape::Text),
    row("email.direction",           &["route"],            Shape::Direction),
    row("rule.name",                 &["policy"],           Shape::Text),
    row("user.name",                 &["operator"], Shape::More(More::Person)),
    row("user.email",                &["operator"],         Shape::More(More::Person)),
    row("user.domain",               &["operator"], Shape::Domain),
    row("mimecast.auth",             &["spamProcessingDetail"], Shape::More(More::Auth)),
    row("mimecast.email_size",       &["size"],             Shape::Long),
];

#[rustfmt::skip]
const RELEASE_RULES: &[Rule] = &[
    Rule { when: &[Test::Is("status", &["rejected"])],
        class: Class { outcome: Some("failure"), severity: 2, ..EMAIL } },
    Rule { when: &[Test::Is("status", RELEASED)],
        class: Class { outcome: Some("success"), ..EMAIL } },
    Rule { when: &[],
        class: Class { outcome: Some("unknown"), ..EMAIL } },
];

/// Words for that a held message was let go. Those that expired are in the log as well.
pub(in super::super) const RELEASED: &[&str] = &["released", "release", "permit", "permitted"];

#[rustfmt::skip]
const REJECTION: &[Row] = &[
    constant("event.action",         "\"rejected\""),
    row("event.reason",              &["info", "description"], Shape::Reason),
    row("url",                       &["info"],             Shape::More(More::InfoUrl)),
    row("error.type",                &["type", "description"], Shape::Words),
    row("error.code",                &["type"],             Shape::Digits),
    row("email.local_id",            &["id"],               Shape::Text),
    row("email.sender.address",      &["fromAddress"],      Shape::More(More::Person)),
    row("email.from.address",        &["fromAddress"],      Shape::More(More::People)),
    row("email.to.address",          &["toAddress"],        Shape::More(More::People)),
    row("email.direction",           &["route"],            Shape::Direction),
    row("source.ip",                 &["ipAddress"],        Shape::Ip),
    row("source.port",               &["ipAddress"],        Shape::Port),
    row("source.domain",             &["remoteName"],       Shape::Host),
    row("mimecast.null_sender",      &["fromAddress"],      Shape::NullSender),
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
    row("event.action",              &["actions", "action"], Shape::Text),
    row("event.reason",              &["category"],         Shape::Reason),
    row("email.message_id",          &["messageId"],        Shape::MessageId),
    row("email.from.address",        &["fromUserEmailAddress"], Shape::More(More::People)),
    row("email.to.address",          &["userEmailAddress"], Shape::More(More::People)),
    row("email.subject",             &["subject"],          Shape::Text),
    row("email.direction",           &["route"],            Shape::Direction),
    row("rule.name",                 &["ttpDefinition"],    Shape::Text),
    row("source.ip",                 &["sendingIp"],        Shape::Ip),
    row("source.port",               &["sendingIp"],        Shape::Port),
    row("url",                       &["url"],              Shape::Url),
    row("user.name",                 &["userEmailAddress"], Shape::More(More::Person)),
    row("user.email",                &["userEmailAddress"], Shape::More(More::Person)),
    row("user.domain",               &["userEmailAddress"], Shape::Domain),
    row("mimecast.action",           &["action"],           Shape::Action("")),
    row("mimecast.actions",          &["actions"],          Shape::Action("")),
    row("mimecast.scanResult",       &["scanResult"],       Shape::Text),
];

/// Where a rejection says what rejected it: `type` may be a number.
pub(in super::super) const REJECTED_BY: &[&str] = &["type", "description"];
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
pub(in super::super) const DONE: Test = Test::Given(&["actions"]);
/// What is not scanned has no verdict against it.
pub(in super::super) const HARMLESS_URL: Test = Test::IsOrMissing("scanResult", CLEAN);
pub(in super::super) const MALICIOUS_URL: Test = Test::Is("scanResult", UNSAFE);
/// Words for that something is malicious.
pub(in super::super) const UNSAFE: &[&str] = &["malicious", "unsafe"];
pub(in super::super) const CLEAN: &[&str] = &["clean", "safe"];

/// A malicious link that was let through weighs more than one that was stopped.
#[rustfmt::skip]
const CLICK_RULES: &[Rule] = &[
    Rule { when: &[HARMLESS_URL],
        class: EMAIL },
    Rule { when: &[Test::Is("actions", BLOCK)],
        class: Class { category: INTRUSION, types: DENIED, ..ALERT } },
    Rule { when: &[MALICIOUS_URL, Test::Is("actions", ALLOW)],
        class: Class { category: INTRUSION, types: ALLOWED, severity: 4, ..ALERT } },
    Rule { when: &[Test::Is("actions", ALLOW)],
        class: Class { category: INTRUSION, types: ALLOWED, ..ALERT } },
    Rule { when: &[DONE],
        class: Class { category: INTRUSION, ..ALERT } },
    Rule { when: &[Test::Is("action", BLOCK)],
        class: Class { category: INTRUSION, types: DENIED, ..ALERT } },
    Rule { when: &[MALICIOUS_URL, Test::Is("action", ALLOW)],
        class: Class { category: INTRUSION, types: ALLOWED, severity: 4, ..ALERT } },
    Rule { when: &[Test::Is("action", ALLOW)],
        class: Class { category: INTRUSION, types: ALLOWED, ..ALERT } },
    Rule { when: &[],
        class: Class { category: INTRUSION, ..ALERT } },
];

#[rustfmt::skip]
const ATTACHMENT: &[Row] = &[
    row("event.action",              &["actionTriggered"],  Shape::Action("attachment-scanned")),
    row("event.reason",              &["details"],          Shape::Reason),
    row("email.message_id",          &["messageId"],        Shape::MessageId),
    row("email.sender.address",      &["senderAddress"],    Shape::More(More::Person)),
    row("email.from.address",        &["senderAddress"],    Shape::More(More::People)),
    row("email.to.address",          &["recipientAddress"], Shape::More(More::People)),
    row("email.subject",             &["subject"],          Shape::Text),
    row("email.direction",           &["route"],            Shape::Direction),
    row("email.attachments[].file.name",        &["fileName"], Shape::Text),
    row("email.attachments[].file.extension",   &["fileExtension", "fileName"], Shape::More(More::Extension)),
    row("email.attachments[].file.mime_type",   &["fileType"], Shape::Text),
    row("email.attachments[].file.hash.md5",    &["fileHash"], Shape::Hash(32)),
    row("email.attachments[].file.hash.sha1",   &["fileHash"], Shape::Hash(40)),
    row("email.attachments[].file.hash.sha256", &["fileHash"], Shape::Hash(64)),
    row("rule.name",                 &["definition"],       Shape::Text),
    row("mimecast.null_sender",      &["senderAddress"],    Shape::NullSender),
    row("mimecast.result",           &["result"],           Shape::Text),
];

#[rustfmt::skip]
const ATTACHMENT_RULES: &[Rule] = &[
    Rule { when: &[Test::IsOrMissing("result", CLEAN)],
        class: EMAIL },
    Rule { when: &[Test::Is("result", UNSAFE)],
        class: Class { category: MALWARE, severity: 4, ..ALERT } },
    // A timeout, an error or an unknown word is no verdict.
    Rule { when: &[],
        class: Class { category: INTRUSION, ..ALERT } },
];

#[rustfmt::skip]
const IMPERSONATION: &[Row] = &[
    row("event.action",              &["action"],           Shape::Action("impersonation-found")),
    row("event.reason",              &["identifiers"],      Shape::More(More::Joined)),
    row("email.local_id",            &["id"],               Shape::Text),
    row("email.message_id",          &["messageId"],        Shape::MessageId),
    row("email.sender.address",      &["senderAddress"],    Shape::More(More::Person)),
    row("email.from.address",        &["senderAddress"],    Shape::More(More::People)),
    row("email.to.address",          &["recipientAddress"], Shape::More(More::People)),
    row("email.subject",             &["subject"],          Shape::Text),
    row("rule.name",                 &["definition"],       Shape::Text),
    constant("rule.category",        "\"impersonation\""),
    row("source.ip",                 &["senderIpAddress"],  Shape::Ip),
    row("source.port",               &["senderIpAddress"],  Shape::Port),
    row("mimecast.null_sender",      &["senderAddress"],    Shape::NullSender),
];

const STOPPED: Test = Test::Is("action", &["hold", "bounce", "block", "reject"]);
/// A word that is not known says neither that it was stopped nor that it was let through.
const LET_THROUGH: Test = Test::Is(
    "action",
    &["none", "allow", "allowed", "acc", "tag", "tagged"],
);
pub(super) const MALICIOUS: Test = Test::Is("taggedMalicious", &["true", "yes"]);

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
    row("event.reason",              &["searchReason"],     Shape::Reason),
    row("message",                   &["description"],      Shape::Text),
    row("user.name",                 &["emailAddr"],        Shape::User),
    row("user.email",                &["emailAddr"],        Shape::Address),
];

#[rustfmt::skip]
const VIEW: &[Row] = &[
    constant("event.action",         "\"archive-view\""),
    row("email.from.address",        &["from"],             Shape::More(More::People)),
    row("email.to.address",          &["to"],               Shape::More(More::People)),
    row("email.subject",             &["subject"],          Shape::Text),
    row("email.origination_timestamp", &["messageDate"],    Shape::More(More::Date)),
    row("user.name",                 &["viewer"],           Shape::User),
    row("user.email",                &["viewer"],           Shape::Address),
    row("mimecast.null_sender",      &["from"],             Shape::NullSender),
];
