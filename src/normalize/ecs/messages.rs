//! ECS for what happens to messages: receipt, process, delivery, journal, spam.

use super::super::convert::{
    address, code, host, ip, long, message_id, millis_to_nanos, null_sender, occurred_if_true,
    port, push_boolean, reason, verbatim,
};
use super::super::table::{
    EcsClassification, EcsRule, EcsTables, FieldMapping, Test, UnmappedOutput, by_row, constant,
    constant_and_mark_used, row, text, text_or_placeholder, value, verbatim_or,
};
use super::super::{address_lists, compound};
use super::convert::{direction, info_url, tls_protocol, tls_version};
use super::logs::{ALERT, DETECTION_WORDS, EMAIL, INTRUSION, MALWARE, VIRUS_WORDS};
use super::{HEAD, TAIL};
use crate::field::{self, FieldName};

pub(super) const RECEIPT: EcsTables = EcsTables {
    rows: &[HEAD, MESSAGE, ROUTE, RECEIPT_ROWS, REJECTION, TAIL],
    unmapped: UNMAPPED_MESSAGE_FIELDS,
    rules: RECEIPT_RULES,
};

pub(super) const PROCESS: EcsTables = EcsTables {
    rows: &[HEAD, MESSAGE, ROUTE, PROCESS_ROWS, TAIL],
    unmapped: UNMAPPED_MESSAGE_FIELDS,
    rules: PROCESS_RULES,
};

pub(super) const DELIVERY: EcsTables = EcsTables {
    rows: &[HEAD, MESSAGE, DELIVERY_ROWS, REJECTION, TAIL],
    unmapped: UNMAPPED_MESSAGE_FIELDS,
    rules: DELIVERY_RULES,
};

pub(super) const JOURNAL: EcsTables = EcsTables {
    rows: &[HEAD, MESSAGE, ROUTE, JOURNAL_ROWS, TAIL],
    unmapped: UNMAPPED_MESSAGE_FIELDS,
    rules: MESSAGE_RULES,
};

/// A record of API 1.0 whose type is unknown.
pub(super) const UNKNOWN: EcsTables = EcsTables {
    rows: &[HEAD, MESSAGE, ROUTE, UNKNOWN_ROWS, TAIL],
    unmapped: UNMAPPED_MESSAGE_FIELDS,
    rules: MESSAGE_RULES,
};

pub(super) const SPAM: EcsTables = EcsTables {
    rows: &[HEAD, MESSAGE, ROUTE, SPAM_ROWS, TAIL],
    unmapped: UNMAPPED_MESSAGE_FIELDS,
    rules: SPAM_RULES,
};

/// The rows of every record about a message. ECS has no field for the envelope's sender, so it
/// is written to `email.sender` and below `mimecast`.
#[rustfmt::skip]
pub(super) const MESSAGE: &[FieldMapping] = &[
    constant("event.dataset",       "\"mimecast.siem\""),
    constant("observer.vendor",     "\"Mimecast\""),
    constant("observer.product",    "\"Mimecast Email Security\""),
    constant("observer.type",       "\"email-gateway\""),
    row("organization.id",          &[field::ACCOUNT_ID],                            text(verbatim)),
    row("email.local_id",           &[field::AGGREGATE_ID],                          text(verbatim)),
    row("email.message_id",         &[field::MESSAGE_ID],                            text(message_id)),
    row("email.sender.address",     &[field::SENDER_ENVELOPE],                       text(address)),
    row("email.from.address",       &[field::SENDER_HEADER, field::SENDER_ENVELOPE], value(address_lists::all_addresses)),
    row("email.to.address",         &[field::RECIPIENTS, field::RECIPIENT],          value(address_lists::all_addresses)),
    row("email.subject",            &[field::SUBJECT],                               text(verbatim)),
    row("source.ip",                &[field::SENDER_IP, field::SOURCE_IP],           text(ip)),
    row("source.port",              &[field::SENDER_IP, field::SOURCE_IP],           by_row(port)),
    row("tls.version",              &[field::TLS_VERSION],                           text(tls_version)),
    row("tls.version_protocol",     &[field::TLS_VERSION],                           text(tls_protocol)),
    row("tls.cipher",               &[field::TLS_CIPHER],                            text(verbatim)),
    row("tls.established",          &[field::TLS_USED],                              value(push_boolean)),
    row("mimecast.subtype",         &[field::SUBTYPE, field::SUB_TYPE],              text_or_placeholder(verbatim)),
    row("mimecast.sender_envelope", &[field::SENDER_ENVELOPE],                       text(address)),
    row("mimecast.null_sender",     &[field::SENDER_ENVELOPE],                       by_row(null_sender)),
    row("mimecast.senderDomain",    &[field::SENDER_DOMAIN],                         text(host)),
    row("mimecast.email_size",      &[field::EMAIL_SIZE],                            text(long)),
];

#[rustfmt::skip]
const REJECTION: &[FieldMapping] = &[
    row("error.type", &[field::REJECTION_TYPE], text(verbatim)),
    row("error.code", &[field::REJECTION_CODE], text(code)),
];

#[rustfmt::skip]
const RECEIPT_ROWS: &[FieldMapping] = &[
    row("event.provider",                &[field::TYPE, field::EVENT_TYPE],               constant_and_mark_used("receipt")),
    row("event.action",                  &[field::ACTION],                                verbatim_or("receipt")),
    row("event.reason",                  &[field::REJECTION_INFO, field::RECEIPT_ERRORS], text(reason)),
    row("url",                           &[field::REJECTION_INFO],                        text(info_url)),
    row("mimecast.spamProcessingDetail", &[field::SPAM_PROCESSING_DETAIL],                value(compound::spam_detail)),
];

#[rustfmt::skip]
const PROCESS_ROWS: &[FieldMapping] = &[
    row("event.provider",    &[field::TYPE, field::EVENT_TYPE],                constant_and_mark_used("process")),
    row("event.action",      &[field::ACTION],                                 verbatim_or("process")),
    row("event.reason",      &[field::HOLD_REASON],                            text(reason)),
    row("email.attachments", &[field::ATTACHMENTS, field::NUMBER_ATTACHMENTS], by_row(compound::attachments)),
];

/// The route is a direction everywhere but in a delivery.
#[rustfmt::skip]
pub(super) const ROUTE: &[FieldMapping] = &[
    row("email.direction", &[field::DIRECTION, field::ROUTE], text(direction)),
];

#[rustfmt::skip]
const DELIVERY_ROWS: &[FieldMapping] = &[
    row("event.provider",           &[field::TYPE, field::EVENT_TYPE],                constant_and_mark_used("delivery")),
    row("event.action",             &[field::ACTION],                                 verbatim_or("delivery")),
    row("event.reason",             &[field::DELIVERY_ERRORS, field::REJECTION_INFO], text(reason)),
    row("email.direction",          &[field::DIRECTION],                              text(direction)),
    row("rule.name",                &[field::ROUTE],                                  text(verbatim)),
    row("event.duration",           &[field::DELIVERY_TIME],                          text(millis_to_nanos)),
    row("email.delivery_timestamp", &[field::DELIVERED],                              by_row(occurred_if_true)),
    row("destination.address",      &[field::HOSTNAME_CAPITAL, field::HOSTNAME],      text(host)),
    row("destination.domain",       &[field::HOSTNAME_CAPITAL, field::HOSTNAME],      text(host)),
    row("destination.ip",           &[field::DESTINATION_IP],                         text(ip)),
    row("destination.port",         &[field::DESTINATION_IP],                         by_row(port)),
];

#[rustfmt::skip]
const JOURNAL_ROWS: &[FieldMapping] = &[
    row("event.provider", &[field::TYPE, field::EVENT_TYPE], constant_and_mark_used("journal")),
    row("event.action",   &[field::ACTION],                  verbatim_or("journal")),
];

#[rustfmt::skip]
const UNKNOWN_ROWS: &[FieldMapping] = &[
    constant("event.provider", "\"siem\""),
    row("event.action",        &[field::ACTION], verbatim_or("unknown")),
];

#[rustfmt::skip]
const SPAM_ROWS: &[FieldMapping] = &[
    row("event.provider", &[field::TYPE, field::EVENT_TYPE], constant_and_mark_used("spam")),
    row("event.action",   &[field::ACTION],                  verbatim_or("spam-detected")),
    row("event.reason",   &[field::REJECTION_INFO],          text(reason)),
    row("error.type",     &[field::REJECTION_TYPE],          text(verbatim)),
    row("error.code",     &[field::REJECTION_CODE],          text(code)),
];

/// How these fields are written where no row uses them. The upstream sends numbers and booleans as text.
#[rustfmt::skip]
pub(in super::super) const UNMAPPED_MESSAGE_FIELDS: &[(FieldName, UnmappedOutput)] = &[
    (field::OFFSET,                       UnmappedOutput::Omit),
    (field::PARTITION,                    UnmappedOutput::Omit),
    (field::ANALYSIS,                      UnmappedOutput::Object),
    (field::CUSTOM_NAME,                    UnmappedOutput::Boolean),
    (field::CUSTOM_NAME_MATCH,               UnmappedOutput::Boolean),
    (field::CUSTOM_THREAT_DICTIONARY,        UnmappedOutput::Boolean),
    (field::DELIVERED,                     UnmappedOutput::Boolean),
    (field::DELIVERY_ATTEMPTS,              UnmappedOutput::Long),
    (field::DELIVERY_TIME,                  UnmappedOutput::Long),
    (field::EMAIL_SIZE,                     UnmappedOutput::Unparsed),
    (field::INTERNAL_USER_NAME,              UnmappedOutput::BooleanOrText),
    (field::IP_NEW_DOMAIN,                   UnmappedOutput::Boolean),
    (field::IP_REPLY_MISMATCH,               UnmappedOutput::Boolean),
    (field::IP_SIMILAR_DOMAIN,               UnmappedOutput::Boolean),
    (field::IP_THREAT_DICTIONARY,            UnmappedOutput::Boolean),
    (field::IP_USER_NAME,                    UnmappedOutput::Boolean),
    (field::ITEMS_DETECTED,                 UnmappedOutput::Long),
    (field::MIMECAST_THREAT_DICTIONARY,      UnmappedOutput::Boolean),
    (field::NEW_DOMAIN,                     UnmappedOutput::Boolean),
    (field::NUMBER_ATTACHMENTS,             UnmappedOutput::Long),
    (field::REPLY_MISMATCH,                 UnmappedOutput::Boolean),
    (field::SENDER_DOMAIN_INTERNAL,          UnmappedOutput::Boolean),
    (field::SIMILAR_CUSTOM_EXTERNAL_DOMAIN,   UnmappedOutput::Boolean),
    (field::SIMILAR_INTERNAL_DOMAIN,         UnmappedOutput::Boolean),
    (field::SIMILAR_MIMECAST_EXTERNAL_DOMAIN, UnmappedOutput::Boolean),
    (field::SIZE_ATTACHMENT,                UnmappedOutput::Unparsed),
    (field::SPAM_DETECTION_LEVEL,            UnmappedOutput::Long),
    (field::SPAM_PROCESSING_DETAIL,          UnmappedOutput::Object),
    (field::SPAM_SCORE,                     UnmappedOutput::Long),
    (field::TAGGED_EXTERNAL,                UnmappedOutput::Boolean),
    (field::TAGGED_MALICIOUS,               UnmappedOutput::Boolean),
    (field::TIMESTAMP,                     UnmappedOutput::Unparsed),
    (field::TLS_USED,                       UnmappedOutput::Unparsed),
    (field::TOTAL_SIZE_ATTACHMENTS,          UnmappedOutput::Long),
];

pub(in super::super) const REJECTED: Test =
    Test::Is(field::ACTION, &["rej", "bnc", "block", "blocked"]);
pub(in super::super) const HELD_OR_DELETED: Test = Test::Is(
    field::ACTION,
    &["hld", "hold", "held", "del", "delete", "deleted"],
);
pub(in super::super) const ACCEPTED: Test = Test::Is(
    field::ACTION,
    &["acc", "accept", "accepted", "allow", "allowed"],
);

/// A message that went through.
const PASSED_CLASSIFICATION: EcsClassification = EcsClassification {
    outcome: Some("success"),
    ..EMAIL
};

/// A message that was stopped by policy.
const STOPPED_CLASSIFICATION: EcsClassification = EcsClassification {
    outcome: Some("failure"),
    severity: 2,
    ..EMAIL
};

const IF_REJECTED: EcsRule = EcsRule {
    when: &[REJECTED],
    classification: STOPPED_CLASSIFICATION,
};
const IF_HELD_OR_DELETED: EcsRule = EcsRule {
    when: &[HELD_OR_DELETED],
    classification: STOPPED_CLASSIFICATION,
};
const IF_ACCEPTED: EcsRule = EcsRule {
    when: &[ACCEPTED],
    classification: PASSED_CLASSIFICATION,
};
/// The rule for messages whose outcome is unknown: the message waits, or the word for it is unknown.
const ELSE_UNKNOWN: EcsRule = EcsRule {
    when: &[],
    classification: EcsClassification {
        outcome: Some("unknown"),
        ..EMAIL
    },
};

/// `virusFound` also carries texts about block lists: only the type of a rejection says virus.
const RECEIPT_RULES: &[EcsRule] = &[
    EcsRule {
        when: &[
            REJECTED,
            Test::Contains(&[field::REJECTION_TYPE], VIRUS_WORDS),
        ],
        classification: EcsClassification {
            category: MALWARE,
            outcome: Some("failure"),
            severity: 4,
            ..ALERT
        },
    },
    EcsRule {
        when: &[
            REJECTED,
            Test::Contains(&[field::REJECTION_TYPE], DETECTION_WORDS),
        ],
        classification: EcsClassification {
            category: INTRUSION,
            outcome: Some("failure"),
            ..ALERT
        },
    },
    IF_REJECTED,
    IF_HELD_OR_DELETED,
    IF_ACCEPTED,
    ELSE_UNKNOWN,
];

const PROCESS_RULES: &[EcsRule] = &[IF_HELD_OR_DELETED, IF_REJECTED, IF_ACCEPTED, ELSE_UNKNOWN];

const DELIVERY_RULES: &[EcsRule] = &[
    EcsRule {
        when: &[Test::Is(field::DELIVERED, &["true", "yes"])],
        classification: PASSED_CLASSIFICATION,
    },
    EcsRule {
        when: &[Test::Is(field::DELIVERED, &["false", "no"])],
        classification: EcsClassification {
            outcome: Some("failure"),
            ..PASSED_CLASSIFICATION
        },
    },
    ELSE_UNKNOWN,
];

const MESSAGE_RULES: &[EcsRule] = &[EcsRule {
    when: &[],
    classification: EcsClassification {
        outcome: None,
        ..PASSED_CLASSIFICATION
    },
}];

const SPAM_RULES: &[EcsRule] = &[
    IF_REJECTED,
    IF_HELD_OR_DELETED,
    EcsRule {
        when: &[],
        classification: EcsClassification {
            outcome: None,
            severity: 2,
            ..PASSED_CLASSIFICATION
        },
    },
];
