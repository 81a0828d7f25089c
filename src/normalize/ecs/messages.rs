//! ECS for what happens to messages: receipt, process, delivery, journal, spam.

use super::super::table::{Class, Keep, More, Row, Rule, Shape, Tables, Test, constant, row};
use super::logs::{ALERT, DETECTION, EMAIL, INTRUSION, MALWARE, VIRUS};
use super::{HEAD, TAIL};

pub(super) const RECEIPT: Tables = Tables {
    rows: &[HEAD, MESSAGE, ROUTE, RECEIPT_ROWS, REJECTION, TAIL],
    kept: KEPT,
    rules: RECEIPT_RULES,
};

pub(super) const PROCESS: Tables = Tables {
    rows: &[HEAD, MESSAGE, ROUTE, PROCESS_ROWS, TAIL],
    kept: KEPT,
    rules: PROCESS_RULES,
};

pub(super) const DELIVERY: Tables = Tables {
    rows: &[HEAD, MESSAGE, DELIVERY_ROWS, REJECTION, TAIL],
    kept: KEPT,
    rules: DELIVERY_RULES,
};

pub(super) const JOURNAL: Tables = Tables {
    rows: &[HEAD, MESSAGE, ROUTE, JOURNAL_ROWS, TAIL],
    kept: KEPT,
    rules: MESSAGE_RULES,
};

/// A record of API 1.0 whose type cannot be told.
pub(super) const UNKNOWN: Tables = Tables {
    rows: &[HEAD, MESSAGE, ROUTE, UNKNOWN_ROWS, TAIL],
    kept: KEPT,
    rules: MESSAGE_RULES,
};

pub(super) const SPAM: Tables = Tables {
    rows: &[HEAD, MESSAGE, ROUTE, SPAM_ROWS, TAIL],
    kept: KEPT,
    rules: SPAM_RULES,
};

/// What every record about a message has. ECS has no field for the envelope's sender, so it
/// stands in `email.sender` and under `mimecast`.
#[rustfmt::skip]
pub(super) const MESSAGE: &[Row] = &[
    constant("event.dataset",                "\"mimecast.siem\""),
    constant("observer.vendor",              "\"Mimecast\""),
    constant("observer.product",             "\"Mimecast Email Security\""),
    constant("observer.type",                "\"email-gateway\""),
    row("organization.id",                   &["accountId"],                   Shape::Text),
    row("email.local_id",                    &["aggregateId"],                 Shape::Text),
    row("email.message_id",                  &["messageId"],                   Shape::MessageId),
    row("email.sender.address",              &["senderEnvelope"],              Shape::Address),
    row("email.from.address",                &["senderHeader", "senderEnvelope"], Shape::More(More::People)),
    row("email.to.address",                  &["recipients", "recipient"],     Shape::More(More::People)),
    row("email.subject",                     &["subject"],                     Shape::Text),
    row("source.ip",                         &["senderIp", "sourceIp"],        Shape::Ip),
    row("source.port",                       &["senderIp", "sourceIp"],        Shape::Port),
    row("tls.version",                       &["tlsVersion"],                  Shape::TlsVersion),
    row("tls.version_protocol",              &["tlsVersion"],                  Shape::TlsProtocol),
    row("tls.cipher",                        &["tlsCipher"],                   Shape::Text),
    row("tls.established",                   &["tlsUsed"],                     Shape::Boolean),
    row("mimecast.subtype",                  &["subtype", "subType"],          Shape::Action("")),
    row("mimecast.sender_envelope",          &["senderEnvelope"],              Shape::Address),
    row("mimecast.null_sender",              &["senderEnvelope"],              Shape::NullSender),
    row("mimecast.senderDomain",             &["senderDomain"],                Shape::Host),
    row("mimecast.email_size",               &["emailSize"],                   Shape::Long),
];

#[rustfmt::skip]
const REJECTION: &[Row] = &[
    row("error.type",                        &["rejectionType"],               Shape::Text),
    row("error.code",                        &["rejectionCode"],               Shape::Code),
];

#[rustfmt::skip]
const RECEIPT_ROWS: &[Row] = &[
    row("event.provider",                    &["type", "eventType"],           Shape::Word("receipt")),
    row("event.action",                      &["action"],                      Shape::Action("receipt")),
    row("event.reason",                      &["rejectionInfo", "receiptErrors"], Shape::Reason),
    row("url",                               &["rejectionInfo"],               Shape::More(More::InfoUrl)),
    row("mimecast.spamProcessingDetail",     &["spamProcessingDetail"],        Shape::SpamDetail),
];

#[rustfmt::skip]
const PROCESS_ROWS: &[Row] = &[
    row("event.provider",                    &["type", "eventType"],           Shape::Word("process")),
    row("event.action",                      &["action"],                      Shape::Action("process")),
    row("event.reason",                      &["holdReason"],                  Shape::Reason),
    row("email.attachments",                 &["attachments", "numberAttachments"], Shape::Files),
];

/// The route is a direction everywhere but in a delivery.
#[rustfmt::skip]
pub(super) const ROUTE: &[Row] = &[
    row("email.direction",                   &["direction", "route"],          Shape::Direction),
];

#[rustfmt::skip]
const DELIVERY_ROWS: &[Row] = &[
    row("event.provider",                    &["type", "eventType"],           Shape::Word("delivery")),
    row("event.action",                      &["action"],                      Shape::Action("delivery")),
    row("event.reason",                      &["deliveryErrors", "rejectionInfo"], Shape::Reason),
    row("email.direction",                   &["direction"],                   Shape::Direction),
    row("rule.name",                         &["route"],                       Shape::Text),
    row("event.duration",                    &["deliveryTime"],                Shape::Milliseconds),
    row("email.delivery_timestamp",          &["delivered"],                   Shape::OccurredIfTrue),
    row("destination.address",               &["Hostname", "hostname"],        Shape::Host),
    row("destination.domain",                &["Hostname", "hostname"],        Shape::Host),
    row("destination.ip",                    &["destinationIp"],               Shape::Ip),
    row("destination.port",                  &["destinationIp"],               Shape::Port),
];

#[rustfmt::skip]
const JOURNAL_ROWS: &[Row] = &[
    row("event.provider",                    &["type", "eventType"],           Shape::Word("journal")),
    row("event.action",                      &["action"],                      Shape::Action("journal")),
];

#[rustfmt::skip]
const UNKNOWN_ROWS: &[Row] = &[
    constant("event.provider",               "\"siem\""),
    row("event.action",                      &["action"],                      Shape::Action("unknown")),
];

#[rustfmt::skip]
const SPAM_ROWS: &[Row] = &[
    row("event.provider",                    &["type", "eventType"],           Shape::Word("spam")),
    row("event.action",                      &["action"],                      Shape::Action("spam-detected")),
    row("event.reason",                      &["rejectionInfo"],               Shape::Reason),
    row("error.type",                        &["rejectionType"],               Shape::Text),
    row("error.code",                        &["rejectionCode"],               Shape::Code),
];

/// How fields are kept that no row has used. The upstream writes numbers and booleans as text.
#[rustfmt::skip]
pub(in super::super) const KEPT: &[(&str, Keep)] = &[
    ("_offset",                       Keep::Drop),
    ("_partition",                    Keep::Drop),
    ("analysis",                      Keep::Object),
    ("customName",                    Keep::Boolean),
    ("customNameMatch",               Keep::Boolean),
    ("customThreatDictionary",        Keep::Boolean),
    ("delivered",                     Keep::Boolean),
    ("deliveryAttempts",              Keep::Long),
    ("deliveryTime",                  Keep::Long),
    ("emailSize",                     Keep::Unparsed),
    ("internalUserName",              Keep::Boolean),
    ("ipNewDomain",                   Keep::Boolean),
    ("ipReplyMismatch",               Keep::Boolean),
    ("ipSimilarDomain",               Keep::Boolean),
    ("ipThreatDictionary",            Keep::Boolean),
    ("ipUserName",                    Keep::Boolean),
    ("itemsDetected",                 Keep::Long),
    ("mimecastThreatDictionary",      Keep::Boolean),
    ("newDomain",                     Keep::Boolean),
    ("numberAttachments",             Keep::Long),
    ("replyMismatch",                 Keep::Boolean),
    ("senderDomainInternal",          Keep::Boolean),
    ("similarCustomExternalDomain",   Keep::Boolean),
    ("similarInternalDomain",         Keep::Boolean),
    ("similarMimecastExternalDomain", Keep::Boolean),
    ("sizeAttachment",                Keep::Unparsed),
    ("spamDetectionLevel",            Keep::Long),
    ("spamProcessingDetail",          Keep::Object),
    ("spamScore",                     Keep::Long),
    ("taggedExternal",                Keep::Boolean),
    ("taggedMalicious",               Keep::Boolean),
    ("timestamp",                     Keep::Unparsed),
    ("tlsUsed",                       Keep::Unparsed),
    ("totalSizeAttachments",          Keep::Long),
];

pub(in super::super) const REJECTED: Test = Test::Is("action", &["rej", "bnc", "block", "blocked"]);
pub(in super::super) const HELD: Test = Test::Is(
    "action",
    &["hld", "hold", "held", "del", "delete", "deleted"],
);
pub(in super::super) const ACCEPTED: Test =
    Test::Is("action", &["acc", "accept", "accepted", "allow", "allowed"]);

/// A message that went through.
const PASSED: Class = Class {
    outcome: Some("success"),
    ..EMAIL
};

/// A message that was stopped by policy.
const STOPPED: Class = Class {
    outcome: Some("failure"),
    severity: 2,
    ..EMAIL
};

const IF_REJECTED: Rule = Rule {
    when: &[REJECTED],
    class: STOPPED,
};
const IF_HELD: Rule = Rule {
    when: &[HELD],
    class: STOPPED,
};
const IF_ACCEPTED: Rule = Rule {
    when: &[ACCEPTED],
    class: PASSED,
};
/// What became of the message is open: it waits, or the word for it is not known.
const ELSE_OPEN: Rule = Rule {
    when: &[],
    class: Class {
        outcome: Some("unknown"),
        ..EMAIL
    },
};

/// `virusFound` also carries texts about block lists: only the type of a rejection says virus.
const RECEIPT_RULES: &[Rule] = &[
    Rule {
        when: &[REJECTED, Test::Has(&["rejectionType"], VIRUS)],
        class: Class {
            category: MALWARE,
            outcome: Some("failure"),
            severity: 4,
            ..ALERT
        },
    },
    Rule {
        when: &[REJECTED, Test::Has(&["rejectionType"], DETECTION)],
        class: Class {
            category: INTRUSION,
            outcome: Some("failure"),
            ..ALERT
        },
    },
    IF_REJECTED,
    IF_HELD,
    IF_ACCEPTED,
    ELSE_OPEN,
];

const PROCESS_RULES: &[Rule] = &[IF_HELD, IF_REJECTED, IF_ACCEPTED, ELSE_OPEN];

const DELIVERY_RULES: &[Rule] = &[
    Rule {
        when: &[Test::Is("delivered", &["true", "yes"])],
        class: PASSED,
    },
    Rule {
        when: &[Test::Is("delivered", &["false", "no"])],
        class: Class {
            outcome: Some("failure"),
            ..PASSED
        },
    },
    ELSE_OPEN,
];

const MESSAGE_RULES: &[Rule] = &[Rule {
    when: &[],
    class: Class {
        outcome: None,
        ..PASSED
    },
}];

const SPAM_RULES: &[Rule] = &[
    IF_REJECTED,
    Rule {
        when: &[],
        class: Class {
            outcome: None,
            severity: 2,
            ..PASSED
        },
    },
];
