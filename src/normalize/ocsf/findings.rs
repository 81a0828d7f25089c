//! OCSF for what was found in messages: av, attachment, impersonation, internal email and URL
//! protect, and blocked clicks.

use super::super::ecs::messages::KEPT;
use super::super::kept::LOGS;
use super::super::table::{Computed, Keep, More, Row, Shape, Test, computed, constant, row};
use super::classes::{self, Is, Rule, Variant, rule};
use super::messages::{ADDRESSES, MALWARE};
use super::{CONTROL, GATEWAY, HEAD, INTEGRATED, SIEM, TAIL, UNMAPPED};

/// A finding; the message is evidence if it has an address.
macro_rules! finding {
    ($rules:expr, $product:expr, [$($rows:expr),*]) => {
        &[
            Variant {
                when: &[Test::Email(ADDRESSES)],
                class: classes::DETECTION,
                rows: &[HEAD, $product, CONTROL, SIEM, FINDING, MESSAGE, $($rows,)* TAIL],
                kept: FINDING_KEPT,
                activity: None,
                rules: $rules,
            },
            Variant {
                when: &[],
                class: classes::DETECTION,
                rows: &[HEAD, $product, CONTROL, SIEM, FINDING, $($rows,)* TAIL],
                kept: FINDING_KEPT,
                activity: None,
                rules: $rules,
            },
        ]
    };
}

const FINDING_KEPT: &[&[(&str, Keep)]] = &[KEPT, LOGS, UNMAPPED];

pub(super) const AV: &[Variant] = finding!(HIGH, GATEWAY, [AV_ROWS, MALWARE, FILE, ACTION]);

pub(super) const ATTACHMENT_PROTECT: &[Variant] =
    finding!(HIGH, GATEWAY, [ATTACHMENT_ROWS, FILE, ACTION]);

pub(super) const IMPERSONATION_PROTECT: &[Variant] =
    finding!(IMPERSONATION_RULES, GATEWAY, [IMPERSONATION_ROWS, ACTION]);

pub(super) const INTERNAL_EMAIL_PROTECT: &[Variant] =
    finding!(HIGH, GATEWAY, [INTERNAL_ROWS, ACTION]);

pub(super) const URL_PROTECT: &[Variant] =
    finding!(&[rule(&[], Is::found(3))], GATEWAY, [URL_ROWS, ACTION]);

pub(super) const CI_URLCLICK: &[Variant] = finding!(
    &[rule(&[], Is::found(3))],
    INTEGRATED,
    [CLICK_ROWS, CLICK_ACTION]
);

/// What every finding has.
#[rustfmt::skip]
pub(super) const FINDING: &[Row] = &[
    computed("finding_info.uid",              Computed::Id),
    computed("finding_info.created_time", Computed::OccurredMillis),
    row("evidences[].src_endpoint.ip",        &["senderIp", "sourceIp"],           Shape::Ip),
    row("evidences[].src_endpoint.port",      &["senderIp", "sourceIp"],           Shape::Port),
    row("resources",                          &["recipients", "recipient"],        Shape::More(More::Resources)),
];

/// The message, where it has an address.
#[rustfmt::skip]
const MESSAGE: &[Row] = &[
    row("evidences[].email.from",             &["senderHeader", "senderEnvelope"], Shape::More(More::Email)),
    row("evidences[].email.from_mailbox", &["senderHeader", "senderEnvelope"], Shape::More(More::Mailbox)),
    row("evidences[].email.to",               &["recipients", "recipient"],        Shape::More(More::Emails)),
    row("evidences[].email.return_path",      &["senderEnvelope"],                 Shape::More(More::Email)),
    row("evidences[].email.subject",          &["subject"],                        Shape::Text),
    row("evidences[].email.message_uid",      &["messageId"],                      Shape::MessageId),
    row("evidences[].email.size",             &["emailSize"],                      Shape::Long),
];

#[rustfmt::skip]
const FILE: &[Row] = &[
    row("evidences[].file", &["fileName", "fileExtension", "fileMime", "sizeAttachment",
                              "md5", "sha1", "sha256"],                            Shape::More(More::File)),
];

/// Without a word for what was done, something was detected.
#[rustfmt::skip]
const ACTION: &[Row] = &[
    row("",                                   &["action"],                         Shape::More(More::Acts(3, 15))),
];

#[rustfmt::skip]
const AV_ROWS: &[Row] = &[
    constant("finding_info.title",            "\"Virus found in a message\""),
    constant("finding_info.types",            "[\"Malware\"]"),
];

#[rustfmt::skip]
const ATTACHMENT_ROWS: &[Row] = &[
    constant("finding_info.title",            "\"Malicious attachment found\""),
    constant("finding_info.types",            "[\"Malware\"]"),
];

#[rustfmt::skip]
const IMPERSONATION_ROWS: &[Row] = &[
    constant("finding_info.title",            "\"Impersonation found\""),
    constant("finding_info.types",            "[\"Impersonation\"]"),
    row("finding_info.analytic",              &["policyDefinition"],               Shape::More(More::Analytic)),
    row("policy.name",                        &["policyDefinition"],               Shape::Text),
];

#[rustfmt::skip]
const INTERNAL_ROWS: &[Row] = &[
    constant("finding_info.title",            "\"Threat found in an internal message\""),
    constant("finding_info.types",            "[\"Internal threat\"]"),
    row("finding_info.desc",                  &["scanResults"],                    Shape::Reason),
    row("evidences[].url",                    &["url"],                            Shape::More(More::Url)),
];

/// The source of a record about a URL is the server that sent the message, not who clicked.
#[rustfmt::skip]
const URL_ROWS: &[Row] = &[
    constant("finding_info.title",            "\"Malicious URL found\""),
    constant("finding_info.types",            "[\"Malicious URL\"]"),
    row("finding_info.desc",                  &["blockReason", "reason"],          Shape::Reason),
    row("evidences[].url",                    &["url"],                            Shape::More(More::Url)),
    row("evidences[].user.name",              &["recipients", "recipient"],        Shape::More(More::Person)),
    row("evidences[].user.email_addr",        &["recipients", "recipient"],        Shape::More(More::Email)),
];

#[rustfmt::skip]
const CLICK_ROWS: &[Row] = &[
    constant("finding_info.title",            "\"Click on a malicious URL blocked\""),
    constant("finding_info.types",            "[\"Malicious URL\"]"),
    row("evidences[].url",                    &["originalUrl", "url"],             Shape::More(More::Url)),
    row("evidences[].user.name",              &["recipients", "recipient"],        Shape::More(More::Person)),
    row("evidences[].user.email_addr",        &["recipients", "recipient"],        Shape::More(More::Email)),
];

/// Only blocked clicks are logged.
#[rustfmt::skip]
const CLICK_ACTION: &[Row] = &[
    row("",                                   &["action"],                         Shape::More(More::Acts(2, 2))),
];

const HIGH: &[Rule] = &[rule(&[], Is::found(4))];

#[rustfmt::skip]
const IMPERSONATION_RULES: &[Rule] = &[
    rule(&[Test::Is("taggedMalicious", &["true", "yes"])], Is::found(4)),
    rule(&[],                                              Is::found(3)),
];
