//! ECS for the logs behind POST endpoints: data leak prevention, targeted threat protection,
//! held, released and rejected messages, and the archive.

use super::super::convert::{
    address, digits, domain, hash, host, ip, joined, long, message_id, not_digits, null_sender,
    port, reason, user, verbatim,
};
use super::super::ocsf::actions;
use super::super::table::{
    EcsClassification, EcsRule, EcsTables, FieldMapping, Test, by_row, constant, row, text,
    text_or_placeholder, value, verbatim_or,
};
use super::super::unmapped::UNMAPPED_LOG_FIELDS;
use super::super::{address_lists, compound, objects};
use super::convert::{date, direction, info_url};
use super::{HEAD, TAIL};
use crate::field::{self, FieldName};

pub(super) const INTRUSION: &[&str] = &["email", "intrusion_detection"];
pub(super) const MALWARE: &[&str] = &["email", "malware"];
pub(super) const DENIED_TYPES: &[&str] = &["info", "denied"];
pub(super) const ALLOWED_TYPES: &[&str] = &["info", "allowed"];

/// Something happened to a message.
pub(super) const EMAIL: EcsClassification = EcsClassification {
    kind: "event",
    category: &["email"],
    types: &["info"],
    outcome: None,
    severity: 1,
};

/// Something was found in a message.
pub(super) const ALERT: EcsClassification = EcsClassification {
    kind: "alert",
    severity: 3,
    ..EMAIL
};

/// Somebody looked at something.
const ACCESS: EcsClassification = EcsClassification {
    category: &["api"],
    types: &["access"],
    outcome: Some("success"),
    ..EMAIL
};

/// Declares the tables of a log: its name, its rows, its rules.
macro_rules! log_tables {
    ($($table:ident = $name:literal, $rows:ident, $rules:expr;)+) => {
        $(pub(super) const $table: EcsTables = EcsTables {
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
            unmapped: UNMAPPED_LOG_FIELDS,
            rules: $rules,
        };)+
    };
}

log_tables! {
    ARCHIVE_SEARCH = "archive_search", SEARCH, &[EcsRule { when: &[], classification: ACCESS }];
    ARCHIVE_SEARCH_LOG = "archive_search_log", SEARCH, &[EcsRule { when: &[], classification: ACCESS }];
    ARCHIVE_VIEW = "archive_view", VIEW, &[EcsRule { when: &[], classification: ACCESS }];
    DLP = "dlp", DLP_ROWS, DLP_RULES;
    HELD_MESSAGES = "held_messages", HELD_ROWS, HELD_RULES;
    HELD_RELEASE = "held_release", RELEASE, RELEASE_RULES;
    REJECTIONS = "rejections", REJECTION, REJECTION_RULES;
    REMEDIATION = "remediation", INCIDENT, INCIDENT_RULES;
    TTP_ATTACHMENT = "ttp_attachment", ATTACHMENT, ATTACHMENT_RULES;
    TTP_IMPERSONATION = "ttp_impersonation", IMPERSONATION, IMPERSONATION_RULES;
    TTP_URL = "ttp_url", URL_ROWS, URL_RULES;
}

#[rustfmt::skip]
const OBSERVER: &[FieldMapping] = &[
    constant("observer.vendor",  "\"Mimecast\""),
    constant("observer.product", "\"Mimecast Email Security\""),
    constant("observer.type",    "\"email-gateway\""),
];

#[rustfmt::skip]
const DLP_ROWS: &[FieldMapping] = &[
    row("event.action",         &[field::ACTION],            verbatim_or("policy-applied")),
    row("email.message_id",     &[field::MESSAGE_ID],        text(message_id)),
    row("email.sender.address", &[field::SENDER_ADDRESS],    value(address_lists::first_address)),
    row("email.from.address",   &[field::SENDER_ADDRESS],    value(address_lists::all_addresses)),
    row("email.to.address",     &[field::RECIPIENT_ADDRESS], value(address_lists::all_addresses)),
    row("email.subject",        &[field::SUBJECT],           text(verbatim)),
    row("email.direction",      &[field::ROUTE],             text(direction)),
    row("user.name",            &[field::SENDER_ADDRESS],    value(address_lists::first_address)),
    row("user.email",           &[field::SENDER_ADDRESS],    value(address_lists::first_address)),
    row("user.domain",          &[field::SENDER_ADDRESS],    text(domain)),
    row("rule.name",            &[field::POLICY],            text(verbatim)),
    row("mimecast.null_sender", &[field::SENDER_ADDRESS],    by_row(null_sender)),
];

#[rustfmt::skip]
const DLP_RULES: &[EcsRule] = &[
    EcsRule { when: &[Test::Contains(&[field::ACTION], &["hold", "bounce", "delete", "block"])],
        classification: ALERT },
    EcsRule { when: &[],
        classification: EcsClassification { severity: 2, ..ALERT } },
];

#[rustfmt::skip]
const HELD_ROWS: &[FieldMapping] = &[
    row("event.action",         &[field::EVENT],                    verbatim_or("held")),
    row("event.code",           &[field::REASON_CODE],              text(verbatim)),
    row("event.reason",         &[field::REASON],                   text(reason)),
    row("email.local_id",       &[field::ID],                       text(verbatim)),
    row("email.sender.address", &[field::FROM],                     value(address_lists::first_address)),
    row("email.from.address",   &[field::FROM_HEADER, field::FROM], value(address_lists::all_addresses)),
    row("email.to.address",     &[field::TO],                       value(address_lists::all_addresses)),
    row("email.subject",        &[field::SUBJECT],                  text(verbatim)),
    row("email.direction",      &[field::ROUTE],                    text(direction)),
    row("rule.name",            &[field::POLICY_INFO],              text(verbatim)),
    row("mimecast.email_size",  &[field::SIZE],                     text(long)),
];

#[rustfmt::skip]
const HELD_RULES: &[EcsRule] = &[
    EcsRule { when: &[Test::HasValue(&[field::EVENT])],
        classification: EMAIL },
    EcsRule { when: &[],
        classification: EcsClassification { outcome: Some("failure"), severity: 2, ..EMAIL } },
];

#[rustfmt::skip]
const RELEASE: &[FieldMapping] = &[
    row("event.action",         &[field::STATUS],                            verbatim_or("released")),
    row("event.reason",         &[field::REJECT_REASON, field::HELD_REASON], text(reason)),
    row("email.local_id",       &[field::ID],                                text(verbatim)),
    row("email.sender.address", &[field::FROM_ENV],                          value(address_lists::first_address)),
    row("email.from.address",   &[field::FROM_HDR, field::FROM_ENV],         value(address_lists::all_addresses)),
    row("email.to.address",     &[field::TO],                                value(address_lists::all_addresses)),
    row("email.subject",        &[field::SUBJECT],                           text(verbatim)),
    row("email.direction",      &[field::ROUTE],                             text(direction)),
    row("rule.name",            &[field::POLICY],                            text(verbatim)),
    row("user.name",            &[field::OPERATOR],                          value(address_lists::first_address)),
    row("user.email",           &[field::OPERATOR],                          value(address_lists::first_address)),
    row("user.domain",          &[field::OPERATOR],                          text(domain)),
    row("mimecast.auth",        &[field::SPAM_PROCESSING_DETAIL],            value(objects::auth)),
    row("mimecast.email_size",  &[field::SIZE],                              text(long)),
];

#[rustfmt::skip]
const RELEASE_RULES: &[EcsRule] = &[
    EcsRule { when: &[Test::Is(field::STATUS, &["rejected"])],
        classification: EcsClassification { outcome: Some("failure"), severity: 2, ..EMAIL } },
    EcsRule { when: &[Test::Is(field::STATUS, RELEASED)],
        classification: EcsClassification { outcome: Some("success"), ..EMAIL } },
    EcsRule { when: &[],
        classification: EcsClassification { outcome: Some("unknown"), ..EMAIL } },
];

/// Words that mean a held message was released. Expired messages are in the log as well.
pub(in super::super) const RELEASED: &[&str] = &["released", "release", "permit", "permitted"];

#[rustfmt::skip]
const REJECTION: &[FieldMapping] = &[
    constant("event.action",    "\"rejected\""),
    row("event.reason",         &[field::INFO, field::DESCRIPTION], text(reason)),
    row("url",                  &[field::INFO],                     text(info_url)),
    row("error.type",           &[field::TYPE, field::DESCRIPTION], text(not_digits)),
    row("error.code",           &[field::TYPE],                     text(digits)),
    row("email.local_id",       &[field::ID],                       text(verbatim)),
    row("email.sender.address", &[field::FROM_ADDRESS],             value(address_lists::first_address)),
    row("email.from.address",   &[field::FROM_ADDRESS],             value(address_lists::all_addresses)),
    row("email.to.address",     &[field::TO_ADDRESS],               value(address_lists::all_addresses)),
    row("email.direction",      &[field::ROUTE],                    text(direction)),
    row("source.ip",            &[field::IP_ADDRESS],               text(ip)),
    row("source.port",          &[field::IP_ADDRESS],               by_row(port)),
    row("source.domain",        &[field::REMOTE_NAME],              text(host)),
    row("mimecast.null_sender", &[field::FROM_ADDRESS],             by_row(null_sender)),
];

#[rustfmt::skip]
const REJECTION_RULES: &[EcsRule] = &[
    EcsRule { when: &[Test::Contains(REJECTED_BY, VIRUS_WORDS)],
        classification: EcsClassification { category: MALWARE, outcome: Some("failure"), severity: 4, ..ALERT } },
    EcsRule { when: &[Test::Contains(REJECTED_BY, DETECTION_WORDS)],
        classification: EcsClassification { category: INTRUSION, outcome: Some("failure"), ..ALERT } },
    EcsRule { when: &[],
        classification: EcsClassification { outcome: Some("failure"), severity: 2, ..EMAIL } },
];

/// The action is in `actions`, unless that is empty or a placeholder.
#[rustfmt::skip]
const URL_ROWS: &[FieldMapping] = &[
    row("event.action",        &[field::ACTIONS, field::ACTION],  text(verbatim)),
    row("event.reason",        &[field::CATEGORY],                text(reason)),
    row("email.message_id",    &[field::MESSAGE_ID],              text(message_id)),
    row("email.from.address",  &[field::FROM_USER_EMAIL_ADDRESS], value(address_lists::all_addresses)),
    row("email.to.address",    &[field::USER_EMAIL_ADDRESS],      value(address_lists::all_addresses)),
    row("email.subject",       &[field::SUBJECT],                 text(verbatim)),
    row("email.direction",     &[field::ROUTE],                   text(direction)),
    row("rule.name",           &[field::TTP_DEFINITION],          text(verbatim)),
    row("source.ip",           &[field::SENDING_IP],              text(ip)),
    row("source.port",         &[field::SENDING_IP],              by_row(port)),
    row("url",                 &[field::URL],                     text(compound::url)),
    row("user.name",           &[field::USER_EMAIL_ADDRESS],      value(address_lists::first_address)),
    row("user.email",          &[field::USER_EMAIL_ADDRESS],      value(address_lists::first_address)),
    row("user.domain",         &[field::USER_EMAIL_ADDRESS],      text(domain)),
    row("mimecast.action",     &[field::ACTION],                  text_or_placeholder(verbatim)),
    row("mimecast.actions",    &[field::ACTIONS],                 text_or_placeholder(verbatim)),
    row("mimecast.scanResult", &[field::SCAN_RESULT],             text(verbatim)),
];

/// The fields with the detection that rejected a message: `type` may be a number.
pub(in super::super) const REJECTED_BY: &[FieldName] = &[field::TYPE, field::DESCRIPTION];
/// Words of rejections by a virus scanner.
pub(in super::super) const VIRUS_WORDS: &[&str] = &["virus", "malware"];
/// Words of rejections by another detection.
pub(in super::super) const DETECTION_WORDS: &[&str] = &[
    "qrcode",
    "qr code",
    "dangerous",
    "impersonation",
    "phishing",
    "malicious",
];
pub(in super::super) const ALLOW: &[&str] = &["allow", "allowed"];
/// Whether the action is in `actions`; otherwise it is in `action`.
pub(in super::super) const HAS_ACTIONS: Test = Test::HasValue(&[field::ACTIONS]);
/// A URL without a scan result counts as clean.
pub(in super::super) const CLEAN_OR_UNSCANNED_URL: Test =
    Test::IsOrMissing(field::SCAN_RESULT, CLEAN_WORDS);
pub(in super::super) const MALICIOUS_URL: Test = Test::Is(field::SCAN_RESULT, MALICIOUS_WORDS);
/// Words that mean something is malicious.
pub(in super::super) const MALICIOUS_WORDS: &[&str] = &["malicious", "unsafe"];
pub(in super::super) const CLEAN_WORDS: &[&str] = &["clean", "safe"];

/// A malicious link that was let through weighs more than one that was stopped.
#[rustfmt::skip]
const URL_RULES: &[EcsRule] = &[
    EcsRule { when: &[CLEAN_OR_UNSCANNED_URL],
        classification: EMAIL },
    EcsRule { when: &[Test::HasActionId(field::ACTIONS, actions::DENIED)],
        classification: EcsClassification { category: INTRUSION, types: DENIED_TYPES, ..ALERT } },
    EcsRule { when: &[MALICIOUS_URL, Test::Is(field::ACTIONS, ALLOW)],
        classification: EcsClassification { category: INTRUSION, types: ALLOWED_TYPES, severity: 4, ..ALERT } },
    EcsRule { when: &[Test::Is(field::ACTIONS, ALLOW)],
        classification: EcsClassification { category: INTRUSION, types: ALLOWED_TYPES, ..ALERT } },
    EcsRule { when: &[HAS_ACTIONS],
        classification: EcsClassification { category: INTRUSION, ..ALERT } },
    EcsRule { when: &[STOPPED],
        classification: EcsClassification { category: INTRUSION, types: DENIED_TYPES, ..ALERT } },
    EcsRule { when: &[MALICIOUS_URL, Test::Is(field::ACTION, ALLOW)],
        classification: EcsClassification { category: INTRUSION, types: ALLOWED_TYPES, severity: 4, ..ALERT } },
    EcsRule { when: &[Test::Is(field::ACTION, ALLOW)],
        classification: EcsClassification { category: INTRUSION, types: ALLOWED_TYPES, ..ALERT } },
    EcsRule { when: &[],
        classification: EcsClassification { category: INTRUSION, ..ALERT } },
];

#[rustfmt::skip]
const ATTACHMENT: &[FieldMapping] = &[
    row("event.action",                         &[field::ACTION_TRIGGERED],                 verbatim_or("attachment-scanned")),
    row("event.reason",                         &[field::DETAILS],                          text(reason)),
    row("email.message_id",                     &[field::MESSAGE_ID],                       text(message_id)),
    row("email.sender.address",                 &[field::SENDER_ADDRESS],                   value(address_lists::first_address)),
    row("email.from.address",                   &[field::SENDER_ADDRESS],                   value(address_lists::all_addresses)),
    row("email.to.address",                     &[field::RECIPIENT_ADDRESS],                value(address_lists::all_addresses)),
    row("email.subject",                        &[field::SUBJECT],                          text(verbatim)),
    row("email.direction",                      &[field::ROUTE],                            text(direction)),
    row("email.attachments[].file.name",        &[field::FILE_NAME],                        text(verbatim)),
    row("email.attachments[].file.extension",   &[field::FILE_EXTENSION, field::FILE_NAME], by_row(objects::extension)),
    row("email.attachments[].file.mime_type",   &[field::FILE_TYPE],                        text(verbatim)),
    row("email.attachments[].file.hash.md5",    &[field::FILE_HASH],                        text(hash::<32>)),
    row("email.attachments[].file.hash.sha1",   &[field::FILE_HASH],                        text(hash::<40>)),
    row("email.attachments[].file.hash.sha256", &[field::FILE_HASH],                        text(hash::<64>)),
    row("rule.name",                            &[field::DEFINITION],                       text(verbatim)),
    row("mimecast.null_sender",                 &[field::SENDER_ADDRESS],                   by_row(null_sender)),
    row("mimecast.result",                      &[field::RESULT],                           text(verbatim)),
];

#[rustfmt::skip]
const ATTACHMENT_RULES: &[EcsRule] = &[
    EcsRule { when: &[Test::IsOrMissing(field::RESULT, CLEAN_WORDS)],
        classification: EMAIL },
    EcsRule { when: &[Test::Is(field::RESULT, MALICIOUS_WORDS)],
        classification: EcsClassification { category: MALWARE, severity: 4, ..ALERT } },
    // A timeout, an error or an unknown word is no verdict.
    EcsRule { when: &[],
        classification: EcsClassification { category: INTRUSION, ..ALERT } },
];

#[rustfmt::skip]
const IMPERSONATION: &[FieldMapping] = &[
    row("event.action",         &[field::ACTION],            verbatim_or("impersonation-found")),
    row("event.reason",         &[field::IDENTIFIERS],       value(joined)),
    row("email.local_id",       &[field::ID],                text(verbatim)),
    row("email.message_id",     &[field::MESSAGE_ID],        text(message_id)),
    row("email.sender.address", &[field::SENDER_ADDRESS],    value(address_lists::first_address)),
    row("email.from.address",   &[field::SENDER_ADDRESS],    value(address_lists::all_addresses)),
    row("email.to.address",     &[field::RECIPIENT_ADDRESS], value(address_lists::all_addresses)),
    row("email.subject",        &[field::SUBJECT],           text(verbatim)),
    row("rule.name",            &[field::DEFINITION],        text(verbatim)),
    constant("rule.category",   "\"impersonation\""),
    row("source.ip",            &[field::SENDER_IP_ADDRESS], text(ip)),
    row("source.port",          &[field::SENDER_IP_ADDRESS], by_row(port)),
    row("mimecast.null_sender", &[field::SENDER_ADDRESS],    by_row(null_sender)),
];

pub(super) const STOPPED: Test = Test::HasActionId(field::ACTION, actions::DENIED);
/// Words for a message that was let through. An unknown word means neither that nor that it was stopped.
const LET_THROUGH: Test = Test::Is(
    field::ACTION,
    &["none", "allow", "allowed", "acc", "tag", "tagged"],
);
const MALICIOUS: Test = Test::Is(field::TAGGED_MALICIOUS, &["true", "yes"]);

#[rustfmt::skip]
pub(super) const IMPERSONATION_RULES: &[EcsRule] = &[
    EcsRule { when: &[STOPPED, MALICIOUS],
        classification: EcsClassification { category: INTRUSION, types: DENIED_TYPES, severity: 4, ..ALERT } },
    EcsRule { when: &[STOPPED],
        classification: EcsClassification { category: INTRUSION, types: DENIED_TYPES, ..ALERT } },
    EcsRule { when: &[MALICIOUS, LET_THROUGH],
        classification: EcsClassification { category: INTRUSION, types: ALLOWED_TYPES, severity: 4, ..ALERT } },
    EcsRule { when: &[MALICIOUS],
        classification: EcsClassification { category: INTRUSION, severity: 4, ..ALERT } },
    EcsRule { when: &[LET_THROUGH],
        classification: EcsClassification { category: INTRUSION, types: ALLOWED_TYPES, ..ALERT } },
    EcsRule { when: &[],
        classification: EcsClassification { category: INTRUSION, ..ALERT } },
];

#[rustfmt::skip]
const SEARCH: &[FieldMapping] = &[
    constant("event.action", "\"archive-search\""),
    row("event.reason",      &[field::SEARCH_REASON], text(reason)),
    row("message",           &[field::DESCRIPTION],   text(verbatim)),
    row("user.name",         &[field::EMAIL_ADDR],    text(user)),
    row("user.email",        &[field::EMAIL_ADDR],    text(address)),
];

#[rustfmt::skip]
const VIEW: &[FieldMapping] = &[
    constant("event.action",           "\"archive-view\""),
    row("email.from.address",          &[field::FROM],         value(address_lists::all_addresses)),
    row("email.to.address",            &[field::TO],           value(address_lists::all_addresses)),
    row("email.subject",               &[field::SUBJECT],      text(verbatim)),
    row("email.origination_timestamp", &[field::MESSAGE_DATE], text(date)),
    row("user.name",                   &[field::VIEWER],       text(user)),
    row("user.email",                  &[field::VIEWER],       text(address)),
    row("mimecast.null_sender",        &[field::FROM],         by_row(null_sender)),
];

/// The rows of an incident. The removed messages are described by the criteria of the search.
#[rustfmt::skip]
const INCIDENT: &[FieldMapping] = &[
    row("event.action",       &[field::TYPE],            verbatim_or("remediated")),
    row("event.reason",       &[field::REASON],          text(reason)),
    row("event.start",        &[field::CREATE],          text(date)),
    row("email.message_id",   &[field::SEARCH_CRITERIA], value(objects::searched_message)),
    row("email.from.address", &[field::SEARCH_CRITERIA], value(objects::searched_sender)),
    row("email.to.address",   &[field::SEARCH_CRITERIA], value(objects::searched_recipient)),
    row("file.hash.md5",      &[field::SEARCH_CRITERIA], value(objects::searched_hash::<32>)),
    row("file.hash.sha1",     &[field::SEARCH_CRITERIA], value(objects::searched_hash::<40>)),
    row("file.hash.sha256",   &[field::SEARCH_CRITERIA], value(objects::searched_hash::<64>)),
];

/// No message failed: an incident with failures left messages where they should not be.
pub(in super::super) const NONE_FAILED: Test = Test::IsOrMissing(field::FAILED, &["0"]);

#[rustfmt::skip]
const INCIDENT_RULES: &[EcsRule] = &[
    EcsRule { when: &[NONE_FAILED],
        classification: EcsClassification { outcome: Some("success"), severity: 2, ..EMAIL } },
    EcsRule { when: &[],
        classification: EcsClassification { outcome: Some("failure"), ..ALERT } },
];
