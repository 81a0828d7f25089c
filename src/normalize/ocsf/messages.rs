//! OCSF for what happens to messages: receipt, process, delivery, journal, spam, and the records of
//! Cloud Integrated about messages.

use super::super::convert::{code, host, ip, long, message_id, port, reason, verbatim};
use super::super::ecs::logs;
use super::super::ecs::messages::{ACCEPTED, HELD_OR_DELETED, REJECTED, UNMAPPED_MESSAGE_FIELDS};
use super::super::table::{FieldMapping, Test, by_row, constant, row, text, value};
use super::super::unmapped::UNMAPPED_LOG_FIELDS;
use super::super::{address_lists, objects};
use super::classes::{self, Classification, Rule, Variant, rule};
use super::convert::{action_and_disposition, direction, info_urls, malware, no_direction};
use super::{
    GATEWAY_PRODUCT, HEAD, INTEGRATED_PRODUCT, SECURITY_CONTROL_PROFILE, SIEM, TAIL,
    UNMAPPED_OVERRIDES,
};
use crate::field::{self, FieldName};

/// The fields that have the addresses of a message.
pub(super) const ADDRESSES: &[FieldName] = &[
    field::SENDER_ENVELOPE,
    field::SENDER_HEADER,
    field::RECIPIENTS,
    field::RECIPIENT,
];

/// A message with an address; one without is recognized by its empty sender, or is a base event.
macro_rules! message {
    ($rules:expr, $base_activity:literal, $product:expr, $unmapped:expr, [$($rows:expr),*], [$($shared_rows:expr),*]) => {
        [
            Variant {
                when: &[Test::Email(ADDRESSES)],
                class: classes::EMAIL,
                rows: &[HEAD, $product, SECURITY_CONTROL_PROFILE, SIEM, MESSAGE, SENDER, $($rows,)* $($shared_rows,)* TAIL],
                unmapped: $unmapped,
                activity: None,
                rules: $rules,
            },
            Variant {
                when: &[Test::NullSender(field::SENDER_ENVELOPE)],
                class: classes::EMAIL,
                rows: &[HEAD, $product, SECURITY_CONTROL_PROFILE, SIEM, MESSAGE, BOUNCE, $($rows,)* $($shared_rows,)* TAIL],
                unmapped: $unmapped,
                activity: None,
                rules: $rules,
            },
            Variant {
                when: &[],
                class: classes::BASE,
                rows: &[HEAD, $product, SECURITY_CONTROL_PROFILE, SIEM, $($shared_rows,)* TAIL],
                unmapped: $unmapped,
                activity: Some((99, $base_activity)),
                rules: $rules,
            },
        ]
    };
}

const UNMAPPED_SIEM_FIELDS: &[&[(FieldName, super::UnmappedOutput)]] =
    &[UNMAPPED_MESSAGE_FIELDS, UNMAPPED_OVERRIDES];
const UNMAPPED_CI_FIELDS: &[&[(FieldName, super::UnmappedOutput)]] = &[
    UNMAPPED_MESSAGE_FIELDS,
    UNMAPPED_LOG_FIELDS,
    UNMAPPED_OVERRIDES,
];

pub(super) const RECEIPT: &[Variant] = &{
    let [message, bounce, base] = message!(
        RECEIPT_RULES,
        "Receive",
        GATEWAY_PRODUCT,
        UNMAPPED_SIEM_FIELDS,
        [ROUTE, AUTH],
        [RECEIPT_ROWS, ACTION]
    );
    let virus = Variant {
        when: &[REJECTED, REJECTED_FOR_VIRUS, Test::Email(ADDRESSES)],
        rows: &[
            HEAD,
            GATEWAY_PRODUCT,
            SECURITY_CONTROL_PROFILE,
            SIEM,
            MESSAGE,
            SENDER,
            ROUTE,
            AUTH,
            MALWARE_ROWS,
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
    GATEWAY_PRODUCT,
    UNMAPPED_SIEM_FIELDS,
    [ROUTE, FILES],
    [PROCESS_ROWS, ACTION]
);

pub(super) const DELIVERY: &[Variant] = &message!(
    DELIVERY_RULES,
    "Send",
    GATEWAY_PRODUCT,
    UNMAPPED_SIEM_FIELDS,
    [DIRECTION, DELIVERY_ROWS],
    [DELIVERY_STATUS]
);

pub(super) const JOURNAL: &[Variant] = &message!(
    &[rule(&[], Classification::activity(99, "Journal"))],
    "Journal",
    GATEWAY_PRODUCT,
    UNMAPPED_SIEM_FIELDS,
    [ROUTE],
    []
);

/// A record of API 1.0 whose type is unknown.
pub(super) const UNKNOWN: &[Variant] = &message!(
    &[rule(&[], Classification::activity(99, "Unknown"))],
    "Unknown",
    GATEWAY_PRODUCT,
    UNMAPPED_SIEM_FIELDS,
    [ROUTE],
    []
);

pub(super) const SPAM: &[Variant] = &message!(
    SPAM_RULES,
    "Scan",
    GATEWAY_PRODUCT,
    UNMAPPED_SIEM_FIELDS,
    [ROUTE],
    [RECEIPT_ROWS, SPAM_ACTION]
);

/// Without a word for what was done, something was detected.
#[rustfmt::skip]
const SPAM_ACTION: &[FieldMapping] = &[
    row("{action_id,disposition_id}", &[field::ACTION], by_row(action_and_disposition::<3, 15>)),
];

#[rustfmt::skip]
const SPAM_RULES: &[Rule] = &[
    rule(&[REJECTED],        Classification::activity(3, "Scan").severity(2).status(Some(2))),
    rule(&[HELD_OR_DELETED], Classification::activity(3, "Scan").severity(2)),
    rule(&[],                Classification::activity(3, "Scan").severity(2).status(None)),
];

pub(super) const CI_ENTITIES: &[Variant] = &message!(
    CI_RULES,
    "Scan",
    INTEGRATED_PRODUCT,
    UNMAPPED_CI_FIELDS,
    [ROUTE, FILES, CI_AUTH],
    [THREAT]
);

pub(super) const CI_MAILFLOW: &[Variant] = &message!(
    &[rule(&[], Classification::activity(3, "Scan"))],
    "Mail flow",
    INTEGRATED_PRODUCT,
    UNMAPPED_CI_FIELDS,
    [ROUTE, CI_AUTH],
    []
);

/// What every record about a message has.
#[rustfmt::skip]
const MESSAGE: &[FieldMapping] = &[
    row("message_trace_uid",  &[field::AGGREGATE_ID],                 text(verbatim)),
    row("to",                 &[field::RECIPIENTS, field::RECIPIENT], value(address_lists::all_addresses_with_ascii_domain)),
    row("email.to",           &[field::RECIPIENTS, field::RECIPIENT], value(address_lists::all_addresses_with_ascii_domain)),
    row("email.subject",      &[field::SUBJECT],                      text(verbatim)),
    row("email.message_uid",  &[field::MESSAGE_ID],                   text(message_id)),
    row("email.size",         &[field::EMAIL_SIZE],                   text(long)),
    row("src_endpoint.ip",    &[field::SENDER_IP, field::SOURCE_IP],  text(ip)),
    row("src_endpoint.port",  &[field::SENDER_IP, field::SOURCE_IP],  by_row(port)),
    constant("protocol_name", "\"SMTP\""),
];

/// The envelope's sender stands beside the message, the header's in it.
#[rustfmt::skip]
const SENDER: &[FieldMapping] = &[
    row("from",               &[field::SENDER_ENVELOPE],                       value(address_lists::first_address_with_ascii_domain)),
    row("email.from",         &[field::SENDER_HEADER, field::SENDER_ENVELOPE], value(address_lists::first_address_with_ascii_domain)),
    row("email.from_mailbox", &[field::SENDER_HEADER, field::SENDER_ENVELOPE], value(address_lists::first_address_if_idn)),
];

/// A bounce of which no recipient is given has only its empty sender.
#[rustfmt::skip]
const BOUNCE: &[FieldMapping] = &[
    constant("email.from", "\"<>\""),
];

/// The route is a direction everywhere but in a delivery.
#[rustfmt::skip]
const ROUTE: &[FieldMapping] = &[
    row("{direction_id}", &[field::DIRECTION, field::ROUTE], text(direction).or(no_direction)),
];

#[rustfmt::skip]
const DIRECTION: &[FieldMapping] = &[
    row("{direction_id}", &[field::DIRECTION], text(direction).or(no_direction)),
];

#[rustfmt::skip]
const ACTION: &[FieldMapping] = &[
    row("{action_id,disposition_id}", &[field::ACTION], by_row(action_and_disposition::<3, 17>)),
];

#[rustfmt::skip]
const AUTH: &[FieldMapping] = &[
    row("email_auth", &[field::SPAM_PROCESSING_DETAIL], value(objects::auth)),
];

#[rustfmt::skip]
const CI_AUTH: &[FieldMapping] = &[
    row("email_auth", &[field::AUTH_RESULTS], value(objects::auth)),
];

#[rustfmt::skip]
const RECEIPT_ROWS: &[FieldMapping] = &[
    row("status_code",   &[field::REJECTION_CODE], text(code)),
    row("status_detail", &[field::REJECTION_INFO, field::RECEIPT_ERRORS, field::REJECTION_TYPE], text(reason)),
    row("email.urls",    &[field::REJECTION_INFO], text(info_urls)),
];

/// `virusFound` also carries texts about block lists: only the type of a rejection says virus.
#[rustfmt::skip]
pub(super) const MALWARE_ROWS: &[FieldMapping] = &[
    row("malware", &[field::VIRUS_FOUND], text(malware)),
];

#[rustfmt::skip]
const PROCESS_ROWS: &[FieldMapping] = &[
    row("status_detail", &[field::HOLD_REASON], text(reason)),
];

#[rustfmt::skip]
const FILES: &[FieldMapping] = &[
    row("email.files", &[field::ATTACHMENTS, field::NUMBER_ATTACHMENTS], by_row(objects::email_files)),
];

#[rustfmt::skip]
const DELIVERY_ROWS: &[FieldMapping] = &[
    row("dst_endpoint.ip",       &[field::DESTINATION_IP],                    text(ip)),
    row("dst_endpoint.port",     &[field::DESTINATION_IP],                    by_row(port)),
    row("dst_endpoint.hostname", &[field::HOSTNAME_CAPITAL, field::HOSTNAME], text(host)),
    row("duration",              &[field::DELIVERY_TIME],                     text(long)),
    row("attempt",               &[field::DELIVERY_ATTEMPTS],                 text(long)),
];

#[rustfmt::skip]
const DELIVERY_STATUS: &[FieldMapping] = &[
    row("status_code",   &[field::REJECTION_CODE], text(code)),
    row("status_detail", &[field::DELIVERY_ERRORS, field::REJECTION_INFO, field::REJECTION_TYPE], text(reason)),
];

#[rustfmt::skip]
const THREAT: &[FieldMapping] = &[
    row("{action_id,disposition_id}", &[field::THREAT_STATE],     by_row(action_and_disposition::<3, 15>)),
    row("policy.name",                &[field::POLICIES_APPLIED], value(objects::name)),
    row("status_detail",              &[field::THREAT_TYPE],      text(reason)),
];

const REJECTED_FOR_VIRUS: Test = Test::Contains(&[field::REJECTION_TYPE], logs::VIRUS_WORDS);
const REJECTED_BY_DETECTION: Test = Test::Contains(&[field::REJECTION_TYPE], logs::DETECTION_WORDS);

#[rustfmt::skip]
const RECEIPT_RULES: &[Rule] = &[
    rule(&[REJECTED, REJECTED_FOR_VIRUS],                 Classification::activity(2, "Receive").severity(4).status(Some(2)).alert()),
    rule(&[REJECTED, REJECTED_BY_DETECTION],             Classification::activity(2, "Receive").severity(3).status(Some(2)).alert()),
    rule(&[REJECTED],                        Classification::activity(2, "Receive").severity(2).status(Some(2))),
    rule(&[HELD_OR_DELETED],                            Classification::activity(2, "Receive").severity(2)),
    rule(&[ACCEPTED],                        Classification::activity(2, "Receive")),
    rule(&[],                                Classification::activity(2, "Receive").status(Some(0))),
];

#[rustfmt::skip]
const PROCESS_RULES: &[Rule] = &[
    rule(&[HELD_OR_DELETED],      Classification::activity(3, "Scan").severity(2)),
    rule(&[REJECTED],  Classification::activity(3, "Scan").severity(2).status(Some(2))),
    rule(&[ACCEPTED],  Classification::activity(3, "Scan")),
    rule(&[],          Classification::activity(3, "Scan").status(Some(0))),
];

/// If the next hop refuses a message, that is not a decision of a security control.
#[rustfmt::skip]
const DELIVERY_RULES: &[Rule] = &[
    rule(&[Test::Is(field::DELIVERED, &["true", "yes"])],  Classification::activity(1, "Send").action_disposition(1, 1)),
    rule(&[Test::Is(field::DELIVERED, &["false", "no"])],  Classification::activity(1, "Send").status(Some(2)).action_disposition(0, 27)),
    rule(&[],                                         Classification::activity(1, "Send").status(Some(0))),
];

/// Words that mean no threat was found.
pub(in super::super) const NO_THREAT: &[&str] =
    &["no_detections", "policies_disabled", "none", "clean"];

#[rustfmt::skip]
const CI_RULES: &[Rule] = &[
    rule(&[Test::Contains(&[field::THREAT_TYPE], &["malware"])], Classification::activity(3, "Scan").severity(4).alert()),
    rule(&[Test::Is(field::THREAT_TYPE, NO_THREAT)],     Classification::activity(3, "Scan")),
    rule(&[Test::HasValue(&[field::THREAT_TYPE])],          Classification::activity(3, "Scan").severity(3).alert()),
    rule(&[],                                      Classification::activity(3, "Scan").status(Some(0))),
];
