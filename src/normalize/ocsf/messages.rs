//! OCSF for what happens to messages: receipt, process, delivery, journal, spam, and what Cloud
//! Integrated says of messages.

use super::super::ecs::logs;
use super::super::ecs::messages::{ACCEPTED, HELD, KEPT, REJECTED};
use super::super::kept::LOGS;
use super::super::table::{More, Row, Shape, Test, constant, row};
use super::classes::{self, Is, Rule, Variant, rule};
use super::{CONTROL, GATEWAY, HEAD, INTEGRATED, SIEM, TAIL, UNMAPPED};

/// The fields that have the addresses of a message.
pub(super) const ADDRESSES: &[&str] =
    &["senderEnvelope", "senderHeader", "recipients", "recipient"];

/// A message with an address; one without is told by its empty sender, or is only a base event.
macro_rules! message {
    ($rules:expr, $base:literal, $product:expr, $kept:expr, [$($rows:expr),*], [$($plain:expr),*]) => {
        [
            Variant {
                when: &[Test::Email(ADDRESSES)],
                class: classes::EMAIL,
                rows: &[HEAD, $product, CONTROL, SIEM, MESSAGE, SENDER, $($rows,)* $($plain,)* TAIL],
                kept: $kept,
                activity: None,
                rules: $rules,
            },
            Variant {
                when: &[Test::NullSender("senderEnvelope")],
                class: classes::EMAIL,
                rows: &[HEAD, $product, CONTROL, SIEM, MESSAGE, BOUNCE, $($rows,)* $($plain,)* TAIL],
                kept: $kept,
                activity: None,
                rules: $rules,
            },
            Variant {
                when: &[],
                class: classes::BASE,
                rows: &[HEAD, $product, CONTROL, SIEM, $($plain,)* TAIL],
                kept: $kept,
                activity: Some((99, $base)),
                rules: $rules,
            },
        ]
    };
}

const SIEM_KEPT: &[&[(&str, super::Keep)]] = &[KEPT, UNMAPPED];
const CI_KEPT: &[&[(&str, super::Keep)]] = &[KEPT, LOGS, UNMAPPED];

pub(super) const RECEIPT: &[Variant] = &{
    let [message, bounce, base] = message!(
        RECEIPT_RULES,
        "Receive",
        GATEWAY,
        SIEM_KEPT,
        [ROUTE, AUTH],
        [RECEIPT_ROWS, ACTION]
    );
    let virus = Variant {
        when: &[REJECTED, VIRUS, Test::Email(ADDRESSES)],
        rows: &[
            HEAD,
            GATEWAY,
            CONTROL,
            SIEM,
            MESSAGE,
            SENDER,
            ROUTE,
            AUTH,
            MALWARE,
            RECEIPT_ROWS,
            ACTION,
            TAIL,
        ],
        ..message
    };
    [virus, message, bounce, base]
};

pub(super) const PROCESS: &[Variant] = &message!(
    PROCESS_RULES,
    "Scan",
    GATEWAY,
    SIEM_KEPT,
    [ROUTE, FILES],
    [PROCESS_ROWS, ACTION]
);

pub(super) const DELIVERY: &[Variant] = &message!(
    DELIVERY_RULES,
    "Send",
    GATEWAY,
    SIEM_KEPT,
    [DIRECTION, DELIVERY_ROWS],
    [DELIVERY_STATUS]
);

pub(super) const JOURNAL: &[Variant] = &message!(
    &[rule(&[], Is::fine(99, "Journal"))],
    "Journal",
    GATEWAY,
    SIEM_KEPT,
    [ROUTE],
    []
);

/// A record of API 1.0 whose type cannot be told.
pub(super) const UNKNOWN: &[Variant] = &message!(
    &[rule(&[], Is::fine(99, "Unknown"))],
    "Unknown",
    GATEWAY,
    SIEM_KEPT,
    [ROUTE],
    []
);

pub(super) const SPAM: &[Variant] = &message!(
    SPAM_RULES,
    "Scan",
    GATEWAY,
    SIEM_KEPT,
    [ROUTE],
    [RECEIPT_ROWS]
);

#[rustfmt::skip]
const SPAM_RULES: &[Rule] = &[
    rule(&[REJECTED], Is::fine(3, "Scan").severity(2).status(Some(2)).acts(2, 2)),
    rule(&[],         Is::fine(3, "Scan").severity(2).status(None).acts(3, 15)),
];

pub(super) const CI_ENTITIES: &[Variant] = &message!(
    CI_RULES,
    "Scan",
    INTEGRATED,
    CI_KEPT,
    [ROUTE, FILES, CI_AUTH],
    [THREAT]
);

pub(super) const CI_MAILFLOW: &[Variant] = &message!(
    &[rule(&[], Is::fine(3, "Scan"))],
    "Mail flow",
    INTEGRATED,
    CI_KEPT,
    [ROUTE, CI_AUTH],
    []
);

/// What every record about a message has.
#[rustfmt::skip]
const MESSAGE: &[Row] = &[
    row("message_trace_uid",  &["aggregateId"],                    Shape::Text),
    row("to",                 &["recipients", "recipient"],        Shape::More(More::Emails)),
    row("email.to",           &["recipients", "recipient"],        Shape::More(More::Emails)),
    row("email.subject",      &["subject"],                        Shape::Text),
    row("email.message_uid",  &["messageId"],                      Shape::MessageId),
    row("email.size",         &["emailSize"],                      Shape::Long),
    row("src_endpoint.ip",    &["senderIp", "sourceIp"],           Shape::Ip),
    row("src_endpoint.port",  &["senderIp", "sourceIp"],           Shape::Port),
    constant("protocol_name", "\"SMTP\""),
];

/// The envelope's sender stands beside the message, the header's in it.
#[rustfmt::skip]
const SENDER: &[Row] = &[
    row("from",               &["senderEnvelope"],                 Shape::More(More::Email)),
    row("email.from",         &["senderHeader", "senderEnvelope"], Shape::More(More::Email)),
    row("email.from_mailbox", &["senderHeader", "senderEnvelope"], Shape::More(More::Mailbox)),
];

/// A bounce of which no recipient is given has only its empty sender.
#[rustfmt::skip]
const BOUNCE: &[Row] = &[
    constant("email.from",    "\"<>\""),
];

/// The route is a direction everywhere but in a delivery.
#[rustfmt::skip]
const ROUTE: &[Row] = &[
    row("",                   &["direction", "route"],             Shape::More(More::Direction)),
];

#[rustfmt::skip]
const DIRECTION: &[Row] = &[
    row("",                   &["direction"],                      Shape::More(More::Direction)),
];

#[rustfmt::skip]
const ACTION: &[Row] = &[
    row("",                   &["action"],                         Shape::More(More::Acts(3, 17))),
];

#[rustfmt::skip]
const AUTH: &[Row] = &[
    row("email_auth",         &["spamProcessingDetail"],           Shape::More(More::Auth)),
];

#[rustfmt::skip]
const CI_AUTH: &[Row] = &[
    row("email_auth",         &["authResults"],                    Shape::More(More::Auth)),
];

#[rustfmt::skip]
const RECEIPT_ROWS: &[Row] = &[
    row("status_code",        &["rejectionCode"],                  Shape::Code),
    row("status_detail",      &["rejectionInfo", "receiptErrors", "rejectionType"], Shape::Reason),
    row("email.urls",         &["rejectionInfo"],                  Shape::More(More::InfoUrl)),
];

/// `virusFound` also carries texts about block lists: only the type of a rejection says virus.
#[rustfmt::skip]
pub(super) const MALWARE: &[Row] = &[
    row("malware",            &["virusFound"],                     Shape::More(More::Malware)),
];

#[rustfmt::skip]
const PROCESS_ROWS: &[Row] = &[
    row("status_detail",      &["holdReason"],                     Shape::Reason),
];

#[rustfmt::skip]
const FILES: &[Row] = &[
    row("email.files",        &["attachments", "numberAttachments"], Shape::More(More::Files)),
];

#[rustfmt::skip]
const DELIVERY_ROWS: &[Row] = &[
    row("dst_endpoint.ip",       &["destinationIp"],               Shape::Ip),
    row("dst_endpoint.port",     &["destinationIp"],               Shape::Port),
    row("dst_endpoint.hostname", &["Hostname", "hostname"],        Shape::Host),
    row("duration",              &["deliveryTime"],                Shape::Long),
    row("attempt",               &["deliveryAttempts"],            Shape::Long),
];

#[rustfmt::skip]
const DELIVERY_STATUS: &[Row] = &[
    row("status_code",        &["rejectionCode"],                  Shape::Code),
    row("status_detail",      &["deliveryErrors", "rejectionInfo", "rejectionType"], Shape::Reason),
];

#[rustfmt::skip]
const THREAT: &[Row] = &[
    row("",                   &["threatState"],                    Shape::More(More::Acts(3, 15))),
    row("policy.name",        &["policiesApplied"],                Shape::More(More::Part("name"))),
    row("status_detail",      &["threatType"],                     Shape::Reason),
];

const VIRUS: Test = Test::Has(&["rejectionType"], logs::VIRUS);
const DETECTION: Test = Test::Has(&["rejectionType"], logs::DETECTION);

#[rustfmt::skip]
const RECEIPT_RULES: &[Rule] = &[
    rule(&[REJECTED, VIRUS],                 Is::fine(2, "Receive").severity(4).status(Some(2)).alert()),
    rule(&[REJECTED, DETECTION],             Is::fine(2, "Receive").severity(3).status(Some(2)).alert()),
    rule(&[REJECTED],                        Is::fine(2, "Receive").severity(2).status(Some(2))),
    rule(&[HELD],                            Is::fine(2, "Receive").severity(2)),
    rule(&[ACCEPTED],                        Is::fine(2, "Receive")),
    rule(&[],                                Is::fine(2, "Receive").status(Some(0))),
];

#[rustfmt::skip]
const PROCESS_RULES: &[Rule] = &[
    rule(&[HELD],      Is::fine(3, "Scan").severity(2)),
    rule(&[REJECTED],  Is::fine(3, "Scan").severity(2)),
    rule(&[ACCEPTED],  Is::fine(3, "Scan")),
    rule(&[],          Is::fine(3, "Scan").status(Some(0))),
];

/// That the next hop refuses a message is no decision of a security control.
#[rustfmt::skip]
const DELIVERY_RULES: &[Rule] = &[
    rule(&[Test::Is("delivered", &["true", "yes"])],  Is::fine(1, "Send").acts(1, 1)),
    rule(&[Test::Is("delivered", &["false", "no"])],  Is::fine(1, "Send").status(Some(2)).acts(0, 27)),
    rule(&[],                                         Is::fine(1, "Send").status(Some(0))),
];

/// Words for that no threat was found.
pub(in super::super) const NO_THREAT: &[&str] =
    &["no_detections", "policies_disabled", "none", "clean"];

#[rustfmt::skip]
const CI_RULES: &[Rule] = &[
    rule(&[Test::Has(&["threatType"], &["malware"])], Is::fine(3, "Scan").severity(4).alert()),
    rule(&[Test::Is("threatType", NO_THREAT)],     Is::fine(3, "Scan")),
    rule(&[Test::Given(&["threatType"])],          Is::fine(3, "Scan").severity(3).alert()),
    rule(&[],                                      Is::fine(3, "Scan").status(Some(0))),
];
