//! OCSF for inventories: threat indicators, and people in trainings.

use super::super::address_lists;
use super::super::convert::{list, verbatim};
use super::super::ecs::inventory::CLICKED_OR_SUBMITTED;
use super::super::table::{FieldMapping, Test, by_row, constant, row, text, value};
use super::super::unmapped::UNMAPPED_LOG_FIELDS;
use super::classes::{self, Classification, Rule, Variant, rule};
use super::convert::{malware, millis, original_time, osint};
use super::{GATEWAY_PRODUCT, HEAD, SECURITY_CONTROL_PROFILE, TAIL};
use crate::field::{self, FieldName};
use crate::stream::PHISHING_TIME_FIELDS;

/// The fields of an indicator: a pattern, or hashes, of which the strongest comes first.
const INDICATOR_FIELDS: &[FieldName] = &[field::PATTERN, field::SHA256, field::SHA1, field::MD5];

/// Indicators with a pattern or a hash that can be read are OSINT; all others are base events.
pub(super) const THREAT_INTEL: &[Variant] = &[
    Variant {
        when: &[Test::HasIndicator(&[field::PATTERN])],
        class: classes::OSINT_INVENTORY,
        rows: &[
            HEAD,
            GATEWAY_PRODUCT,
            SECURITY_CONTROL_PROFILE,
            FEED,
            OSINT,
            PATTERN,
            TAIL,
        ],
        unmapped: &[UNMAPPED_LOG_FIELDS],
        activity: None,
        rules: &[rule(&[], Classification::activity(2, "Collect"))],
    },
    Variant {
        when: &[Test::HasIndicator(INDICATOR_FIELDS)],
        class: classes::OSINT_INVENTORY,
        rows: &[
            HEAD,
            GATEWAY_PRODUCT,
            SECURITY_CONTROL_PROFILE,
            FEED,
            OSINT,
            TAIL,
        ],
        unmapped: &[UNMAPPED_LOG_FIELDS],
        activity: None,
        rules: &[rule(&[], Classification::activity(2, "Collect"))],
    },
    Variant {
        when: &[],
        class: classes::BASE,
        rows: &[HEAD, GATEWAY_PRODUCT, SECURITY_CONTROL_PROFILE, FEED, TAIL],
        unmapped: &[UNMAPPED_LOG_FIELDS],
        activity: None,
        rules: &[rule(
            &[],
            Classification::activity(99, "Threat intelligence"),
        )],
    },
];

#[rustfmt::skip]
const FEED: &[FieldMapping] = &[
    row("metadata.original_event_uid", &[field::ID],   text(verbatim)),
    row("metadata.event_code",         &[field::TYPE], text(verbatim)),
    row("metadata.original_time",      &[field::MODIFIED, field::CREATED, field::CREATION_DATE, field::TIMESTAMP], by_row(original_time)),
];

#[rustfmt::skip]
const OSINT: &[FieldMapping] = &[
    row("osint[].{type_id,value}",  INDICATOR_FIELDS,       text(osint)),
    row("osint[].uid",              &[field::ID],           text(verbatim)),
    row("osint[].name",             &[field::NAME],         text(verbatim)),
    row("osint[].desc",             &[field::DESCRIPTION],  text(verbatim)),
    row("osint[].labels",           &[field::LABELS],       value(list)),
    row("osint[].created_time",     &[field::CREATED],      text(millis)),
    row("osint[].modified_time",    &[field::MODIFIED],     text(millis)),
    row("osint[].uploaded_time",    &[field::VALID_FROM],   text(millis)),
    row("osint[].malware",          &[field::MALWARE_NAME], text(malware)),
    constant("osint[].vendor_name", "\"Mimecast\""),
];

#[rustfmt::skip]
const PATTERN: &[FieldMapping] = &[
    row("osint[].detection_pattern",              &[field::PATTERN], text(verbatim)),
    constant("osint[].detection_pattern_type_id", "1"),
];

const EMAIL_FIELDS: &[FieldName] = &[field::EMAIL_ADDRESS, field::EMAIL];

pub(super) const TRAINING: &[Variant] = &[
    Variant {
        when: &[Test::Email(EMAIL_FIELDS)],
        class: classes::USER_INVENTORY,
        rows: &[
            HEAD,
            TRAINING_PRODUCT,
            SECURITY_CONTROL_PROFILE,
            PERSON,
            TAIL,
        ],
        unmapped: &[UNMAPPED_LOG_FIELDS],
        activity: None,
        rules: &[rule(&[], Classification::activity(2, "Collect"))],
    },
    Variant {
        when: &[],
        class: classes::BASE,
        rows: &[HEAD, TRAINING_PRODUCT, SECURITY_CONTROL_PROFILE, TAIL],
        unmapped: &[UNMAPPED_LOG_FIELDS],
        activity: None,
        rules: &[rule(
            &[],
            Classification::activity(99, "Awareness training"),
        )],
    },
];

/// Severity 2 where a person fell for the message.
const PHISHING_CAMPAIGN_RULES: &[Rule] = &[
    rule(
        &[CLICKED_OR_SUBMITTED],
        Classification::activity(2, "Collect").severity(2),
    ),
    rule(&[], Classification::activity(2, "Collect")),
];

pub(super) const TRAINING_PHISHING: &[Variant] = &[
    Variant {
        when: &[Test::Email(EMAIL_FIELDS)],
        class: classes::USER_INVENTORY,
        rows: &[
            HEAD,
            TRAINING_PRODUCT,
            SECURITY_CONTROL_PROFILE,
            PHISHING_CAMPAIGN_ROWS,
            PERSON,
            TAIL,
        ],
        unmapped: &[UNMAPPED_LOG_FIELDS],
        activity: None,
        rules: PHISHING_CAMPAIGN_RULES,
    },
    Variant {
        when: &[],
        class: classes::BASE,
        rows: &[
            HEAD,
            TRAINING_PRODUCT,
            SECURITY_CONTROL_PROFILE,
            PHISHING_CAMPAIGN_ROWS,
            TAIL,
        ],
        unmapped: &[UNMAPPED_LOG_FIELDS],
        activity: Some((99, "Awareness training")),
        rules: PHISHING_CAMPAIGN_RULES,
    },
];

#[rustfmt::skip]
const PHISHING_CAMPAIGN_ROWS: &[FieldMapping] = &[
    row("metadata.event_code",    &[field::STATUS],      text(verbatim)),
    row("metadata.original_time", PHISHING_TIME_FIELDS,         by_row(original_time)),
    row("start_time",             &[field::LAUNCH_DATE], text(millis)),
];

#[rustfmt::skip]
const TRAINING_PRODUCT: &[FieldMapping] = &[
    constant("metadata.product.name", "\"Mimecast Awareness Training\""),
];

#[rustfmt::skip]
const PERSON: &[FieldMapping] = &[
    row("user.name",       EMAIL_FIELDS,   value(address_lists::first_address_with_ascii_domain)),
    row("user.email_addr", EMAIL_FIELDS,   value(address_lists::first_address_with_ascii_domain)),
    row("user.full_name",  &[field::NAME], text(verbatim)),
];
