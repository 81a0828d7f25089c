//! OCSF for what was found in messages: av, attachment, impersonation, internal email and URL
//! protect, and clicks.

use super::super::convert::{ip, long, message_id, port, reason, verbatim};
use super::super::ecs::messages::UNMAPPED_MESSAGE_FIELDS;
use super::super::ecs::threats::CLICK_ALLOWED;
use super::super::table::{
    Computed, FieldMapping, Test, UnmappedOutput, by_row, computed, constant, row, text, value,
};
use super::super::unmapped::UNMAPPED_LOG_FIELDS;
use super::super::{address_lists, objects};
use super::classes::{self, Classification, Rule, Variant, rule};
use super::convert::{action_and_disposition, analytic, feature_analytic, url};
use super::messages::{ADDRESSES, MALWARE_ROWS};
use super::{
    GATEWAY_PRODUCT, HEAD, INTEGRATED_PRODUCT, SECURITY_CONTROL_PROFILE, SIEM, TAIL,
    UNMAPPED_OVERRIDES,
};
use crate::field::{self, FieldName};

/// A finding; the message is evidence if it has an address.
macro_rules! finding {
    ($rules:expr, $product:expr, [$($rows:expr),*]) => {
        &[
            Variant {
                when: &[Test::Email(ADDRESSES)],
                class: classes::DETECTION,
                rows: &[HEAD, $product, SECURITY_CONTROL_PROFILE, SIEM, FINDING, MESSAGE, $($rows,)* TAIL],
                unmapped: UNMAPPED_FINDING_FIELDS,
                activity: None,
                rules: $rules,
            },
            Variant {
                when: &[],
                class: classes::DETECTION,
                rows: &[HEAD, $product, SECURITY_CONTROL_PROFILE, SIEM, FINDING, $($rows,)* TAIL],
                unmapped: UNMAPPED_FINDING_FIELDS,
                activity: None,
                rules: $rules,
            },
        ]
    };
}

const UNMAPPED_FINDING_FIELDS: &[&[(FieldName, UnmappedOutput)]] = &[
    UNMAPPED_MESSAGE_FIELDS,
    UNMAPPED_LOG_FIELDS,
    UNMAPPED_OVERRIDES,
];

pub(super) const AV: &[Variant] =
    finding!(HIGH, GATEWAY_PRODUCT, [AV_ROWS, MALWARE_ROWS, FILE, ACTION]);

pub(super) const ATTACHMENT_PROTECT: &[Variant] =
    finding!(HIGH, GATEWAY_PRODUCT, [ATTACHMENT_ROWS, FILE, ACTION]);

pub(super) const IMPERSONATION_PROTECT: &[Variant] = finding!(
    IMPERSONATION_RULES,
    GATEWAY_PRODUCT,
    [IMPERSONATION_ROWS, ACTION]
);

pub(super) const INTERNAL_EMAIL_PROTECT: &[Variant] =
    finding!(HIGH, GATEWAY_PRODUCT, [INTERNAL_ROWS, ACTION]);

pub(super) const URL_PROTECT: &[Variant] =
    finding!(CLICK_RULES, GATEWAY_PRODUCT, [URL_ROWS, ACTION]);

pub(super) const CI_URLCLICK: &[Variant] =
    finding!(CLICK_RULES, INTEGRATED_PRODUCT, [CLICK_ROWS, CLICK_ACTION]);

/// What every finding has.
#[rustfmt::skip]
pub(super) const FINDING: &[FieldMapping] = &[
    computed("finding_info.uid",          Computed::Id),
    computed("finding_info.created_time", Computed::OccurredMillis),
    row("evidences[].src_endpoint.ip",    &[field::SENDER_IP, field::SOURCE_IP],  text(ip)),
    row("evidences[].src_endpoint.port",  &[field::SENDER_IP, field::SOURCE_IP],  by_row(port)),
    row("resources",                      &[field::RECIPIENTS, field::RECIPIENT], value(address_lists::resources)),
];

/// The message, where it has an address.
#[rustfmt::skip]
const MESSAGE: &[FieldMapping] = &[
    row("evidences[].email.from",         &[field::SENDER_HEADER, field::SENDER_ENVELOPE], value(address_lists::first_address_with_ascii_domain)),
    row("evidences[].email.from_mailbox", &[field::SENDER_HEADER, field::SENDER_ENVELOPE], value(address_lists::first_address_if_idn)),
    row("evidences[].email.to",           &[field::RECIPIENTS, field::RECIPIENT],          value(address_lists::all_addresses_with_ascii_domain)),
    row("evidences[].email.return_path",  &[field::SENDER_ENVELOPE],                       value(address_lists::first_address_with_ascii_domain)),
    row("evidences[].email.subject",      &[field::SUBJECT],                               text(verbatim)),
    row("evidences[].email.message_uid",  &[field::MESSAGE_ID],                            text(message_id)),
    row("evidences[].email.size",         &[field::EMAIL_SIZE],                            text(long)),
];

#[rustfmt::skip]
const FILE: &[FieldMapping] = &[
    row("evidences[].file", &[field::FILE_NAME, field::FILE_EXTENSION, field::FILE_MIME, field::SIZE_ATTACHMENT, field::MD5, field::SHA1, field::SHA256], by_row(objects::file)),
];

/// Without a word for what was done, something was detected.
#[rustfmt::skip]
const ACTION: &[FieldMapping] = &[
    row("{action_id,disposition_id}", &[field::ACTION], by_row(action_and_disposition::<3, 15>)),
];

#[rustfmt::skip]
const AV_ROWS: &[FieldMapping] = &[
    constant("finding_info.title", "\"Virus found in a message\""),
    constant("finding_info.types", "[\"Malware\"]"),
    row("finding_info.analytic",   &[], by_row(feature_analytic)),
];

#[rustfmt::skip]
const ATTACHMENT_ROWS: &[FieldMapping] = &[
    constant("finding_info.title", "\"Malicious attachment found\""),
    constant("finding_info.types", "[\"Malware\"]"),
    row("finding_info.analytic",   &[], by_row(feature_analytic)),
];

#[rustfmt::skip]
const IMPERSONATION_ROWS: &[FieldMapping] = &[
    constant("finding_info.title", "\"Impersonation found\""),
    constant("finding_info.types", "[\"Impersonation\"]"),
    row("finding_info.analytic",   &[field::POLICY_DEFINITION], text(analytic).or(feature_analytic)),
    row("policy.name",             &[field::POLICY_DEFINITION], text(verbatim)),
];

#[rustfmt::skip]
const INTERNAL_ROWS: &[FieldMapping] = &[
    constant("finding_info.title", "\"Threat found in an internal message\""),
    constant("finding_info.types", "[\"Internal threat\"]"),
    row("finding_info.analytic",   &[],                    by_row(feature_analytic)),
    row("finding_info.desc",       &[field::SCAN_RESULTS], text(reason)),
    row("evidences[].url",         &[field::URL],          text(url)),
];

/// The source of a record about a URL is the server that sent the message, not who clicked.
#[rustfmt::skip]
const URL_ROWS: &[FieldMapping] = &[
    constant("finding_info.title",     "\"Malicious URL found\""),
    constant("finding_info.types",     "[\"Malicious URL\"]"),
    row("finding_info.analytic",       &[],                                    by_row(feature_analytic)),
    row("finding_info.desc",           &[field::BLOCK_REASON, field::REASON],  text(reason)),
    row("evidences[].url",             &[field::URL],                          text(url)),
    row("evidences[].user.name",       &[field::RECIPIENTS, field::RECIPIENT], value(address_lists::first_address)),
    row("evidences[].user.email_addr", &[field::RECIPIENTS, field::RECIPIENT], value(address_lists::first_address_with_ascii_domain)),
];

#[rustfmt::skip]
const CLICK_ROWS: &[FieldMapping] = &[
    constant("finding_info.title",     "\"Click on a malicious URL\""),
    constant("finding_info.types",     "[\"Malicious URL\"]"),
    row("finding_info.analytic",       &[],                                    by_row(feature_analytic)),
    row("evidences[].url",             &[field::ORIGINAL_URL, field::URL],     text(url)),
    row("evidences[].user.name",       &[field::RECIPIENTS, field::RECIPIENT], value(address_lists::first_address)),
    row("evidences[].user.email_addr", &[field::RECIPIENTS, field::RECIPIENT], value(address_lists::first_address_with_ascii_domain)),
];

/// Without a word for what was done, the click was blocked.
#[rustfmt::skip]
const CLICK_ACTION: &[FieldMapping] = &[
    row("{action_id,disposition_id}", &[field::ACTION], by_row(action_and_disposition::<2, 2>)),
];

const HIGH: &[Rule] = &[rule(&[], Classification::finding(4))];

/// A malicious link that was let through weighs more than one that was stopped.
const CLICK_RULES: &[Rule] = &[
    rule(&[CLICK_ALLOWED], Classification::finding(4)),
    rule(&[], Classification::finding(3)),
];

#[rustfmt::skip]
const IMPERSONATION_RULES: &[Rule] = &[
    rule(&[Test::Is(field::TAGGED_MALICIOUS, &["true", "yes"])], Classification::finding(4)),
    rule(&[],                                              Classification::finding(3)),
];
