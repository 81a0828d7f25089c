//! OCSF for what is known of threats and of people.

use super::super::kept::LOGS;
use super::super::table::{More, Row, Shape, Stix, Test, constant, row};
use super::classes::{self, Is, Variant, rule};
use super::{CONTROL, GATEWAY, HEAD, TAIL};
use crate::field::{self, Name};

/// What says what to look for: a pattern, or hashes, of which the strongest comes first.
const INDICATES: &[Name] = &[field::PATTERN, field::SHA256, field::SHA1, field::MD5];

/// Only indicators with a pattern that can be read say what to look for.
pub(super) const THREAT_INTEL: &[Variant] = &[
    Variant {
        when: &[Test::Pattern(&[field::PATTERN])],
        class: classes::OSINT_INVENTORY,
        rows: &[HEAD, GATEWAY, CONTROL, FEED, OSINT, PATTERN, TAIL],
        kept: &[LOGS],
        activity: None,
        rules: &[rule(&[], Is::fine(2, "Collect"))],
    },
    Variant {
        when: &[Test::Pattern(INDICATES)],
        class: classes::OSINT_INVENTORY,
        rows: &[HEAD, GATEWAY, CONTROL, FEED, OSINT, TAIL],
        kept: &[LOGS],
        activity: None,
        rules: &[rule(&[], Is::fine(2, "Collect"))],
    },
    Variant {
        when: &[],
        class: classes::BASE,
        rows: &[HEAD, GATEWAY, CONTROL, FEED, TAIL],
        kept: &[LOGS],
        activity: None,
        rules: &[rule(&[], Is::fine(99, "Threat intelligence"))],
    },
];

#[rustfmt::skip]
const FEED: &[Row] = &[
    row("metadata.original_event_uid",       &[field::ID],         Shape::Text),
    row("metadata.event_code",               &[field::TYPE],       Shape::Text),
    row("metadata.original_time",            &[field::MODIFIED, field::CREATED, field::CREATION_DATE, field::TIMESTAMP], Shape::More(More::OriginalTime)),
];

#[rustfmt::skip]
const OSINT: &[Row] = &[
    row("osint[].",                          INDICATES,       Shape::More(More::Stix(Stix::Osint))),
    row("osint[].uid",                       &[field::ID],         Shape::Text),
    row("osint[].name",                      &[field::NAME],       Shape::Text),
    row("osint[].desc",                      &[field::DESCRIPTION],Shape::Text),
    row("osint[].labels",                    &[field::LABELS],     Shape::More(More::List)),
    row("osint[].created_time",              &[field::CREATED],    Shape::More(More::Millis)),
    row("osint[].modified_time",             &[field::MODIFIED],   Shape::More(More::Millis)),
    row("osint[].uploaded_time",             &[field::VALID_FROM], Shape::More(More::Millis)),
    row("osint[].malware",                   &[field::MALWARE_NAME], Shape::More(More::Malware)),
    constant("osint[].vendor_name",          "\"Mimecast\""),
];

#[rustfmt::skip]
const PATTERN: &[Row] = &[
    row("osint[].detection_pattern",         &[field::PATTERN],    Shape::Text),
    constant("osint[].detection_pattern_type_id", "1"),
];

const EMAIL: &[Name] = &[field::EMAIL_ADDRESS, field::EMAIL];

pub(super) const TRAINING: &[Variant] = &[
    Variant {
        when: &[Test::Email(EMAIL)],
        class: classes::USER_INVENTORY,
        rows: &[HEAD, TRAINING_PRODUCT, CONTROL, PERSON, TAIL],
        kept: &[LOGS],
        activity: None,
        rules: &[rule(&[], Is::fine(2, "Collect"))],
    },
    Variant {
        when: &[],
        class: classes::BASE,
        rows: &[HEAD, TRAINING_PRODUCT, CONTROL, TAIL],
        kept: &[LOGS],
        activity: None,
        rules: &[rule(&[], Is::fine(99, "Awareness training"))],
    },
];

#[rustfmt::skip]
const TRAINING_PRODUCT: &[Row] = &[
    constant("metadata.product.name",        "\"Mimecast Awareness Training\""),
];

#[rustfmt::skip]
const PERSON: &[Row] = &[
    row("user.name",                         EMAIL,           Shape::More(More::Email)),
    row("user.email_addr",                   EMAIL,           Shape::More(More::Email)),
    row("user.full_name",                    &[field::NAME],       Shape::Text),
];
