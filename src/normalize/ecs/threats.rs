//! ECS for what was found in messages: av, attachment, impersonation, internal email and URL
//! protect.

use super::super::convert::{domain, hash, long, reason, verbatim};
use super::super::table::{
    EcsClassification, EcsRule, EcsTables, FieldMapping, Test, by_row, constant,
    constant_and_mark_used, row, text, value, verbatim_or,
};
use super::super::{address_lists, compound, objects};
use super::logs::{self, ALERT, ALLOWED_TYPES, DENIED_TYPES, INTRUSION, STOPPED};
use super::messages::{MESSAGE, ROUTE, UNMAPPED_MESSAGE_FIELDS};
use super::{HEAD, TAIL};
use crate::field;

pub(super) const AV: EcsTables = EcsTables {
    rows: &[HEAD, MESSAGE, ROUTE, AV_ROWS, FILE, TAIL],
    unmapped: UNMAPPED_MESSAGE_FIELDS,
    rules: MALWARE_RULES,
};

pub(super) const ATTACHMENT_PROTECT: EcsTables = EcsTables {
    rows: &[HEAD, MESSAGE, ROUTE, ATTACHMENT_ROWS, FILE, TAIL],
    unmapped: UNMAPPED_MESSAGE_FIELDS,
    rules: MALWARE_RULES,
};

pub(super) const IMPERSONATION_PROTECT: EcsTables = EcsTables {
    rows: &[HEAD, MESSAGE, ROUTE, IMPERSONATION_ROWS, TAIL],
    unmapped: UNMAPPED_MESSAGE_FIELDS,
    rules: logs::IMPERSONATION_RULES,
};

pub(super) const INTERNAL_EMAIL_PROTECT: EcsTables = EcsTables {
    rows: &[HEAD, MESSAGE, ROUTE, INTERNAL_ROWS, TAIL],
    unmapped: UNMAPPED_MESSAGE_FIELDS,
    rules: INTERNAL_RULES,
};

pub(super) const URL_PROTECT: EcsTables = EcsTables {
    rows: &[HEAD, MESSAGE, ROUTE, URL_ROWS, TAIL],
    unmapped: UNMAPPED_MESSAGE_FIELDS,
    rules: URL_RULES,
};

#[rustfmt::skip]
const FILE: &[FieldMapping] = &[
    row("email.attachments[].file.name",        &[field::FILE_NAME],                        text(verbatim)),
    row("email.attachments[].file.extension",   &[field::FILE_EXTENSION, field::FILE_NAME], by_row(objects::extension)),
    row("email.attachments[].file.mime_type",   &[field::FILE_MIME],                        text(verbatim)),
    row("email.attachments[].file.size",        &[field::SIZE_ATTACHMENT],                  text(long)),
    row("email.attachments[].file.hash.md5",    &[field::MD5],                              text(hash::<32>)),
    row("email.attachments[].file.hash.sha1",   &[field::SHA1],                             text(hash::<40>)),
    row("email.attachments[].file.hash.sha256", &[field::SHA256],                           text(hash::<64>)),
];

#[rustfmt::skip]
const AV_ROWS: &[FieldMapping] = &[
    row("event.provider", &[field::TYPE, field::EVENT_TYPE], constant_and_mark_used("av")),
    row("event.action",   &[field::ACTION],                  verbatim_or("virus-found")),
];

#[rustfmt::skip]
const ATTACHMENT_ROWS: &[FieldMapping] = &[
    row("event.provider", &[field::TYPE, field::EVENT_TYPE], constant_and_mark_used("attachment protect")),
    row("event.action",   &[field::ACTION],                  verbatim_or("malicious-attachment-found")),
];

#[rustfmt::skip]
const IMPERSONATION_ROWS: &[FieldMapping] = &[
    row("event.provider",     &[field::TYPE, field::EVENT_TYPE], constant_and_mark_used("impersonation protect")),
    row("event.action",       &[field::ACTION],                  verbatim_or("impersonation-found")),
    row("rule.name",          &[field::POLICY_DEFINITION],       text(verbatim)),
    constant("rule.category", "\"impersonation\""),
];

#[rustfmt::skip]
const INTERNAL_ROWS: &[FieldMapping] = &[
    row("event.provider", &[field::TYPE, field::EVENT_TYPE], constant_and_mark_used("internal email protect")),
    row("event.action",   &[field::ACTION],                  verbatim_or("internal-threat-found")),
    row("url",            &[field::URL],                     text(compound::url)),
    row("event.reason",   &[field::SCAN_RESULTS],            text(reason)),
];

/// `sourceIp`, which becomes `source.ip`, is the server that sent the message and not the user
/// who clicked.
#[rustfmt::skip]
const URL_ROWS: &[FieldMapping] = &[
    row("event.provider", &[field::TYPE, field::EVENT_TYPE],      constant_and_mark_used("url protect")),
    row("event.action",   &[field::ACTION],                       verbatim_or("malicious-url-found")),
    row("event.reason",   &[field::BLOCK_REASON, field::REASON],  text(reason)),
    row("url",            &[field::URL],                          text(compound::url)),
    row("user.name",      &[field::RECIPIENTS, field::RECIPIENT], value(address_lists::first_address)),
    row("user.email",     &[field::RECIPIENTS, field::RECIPIENT], value(address_lists::first_address)),
    row("user.domain",    &[field::RECIPIENTS, field::RECIPIENT], text(domain)),
];

const THREAT_CLASSIFICATION: EcsClassification = EcsClassification {
    category: INTRUSION,
    ..ALERT
};

const MALWARE_RULES: &[EcsRule] = &[EcsRule {
    when: &[],
    classification: EcsClassification {
        category: logs::MALWARE,
        severity: 4,
        ..THREAT_CLASSIFICATION
    },
}];

const INTERNAL_RULES: &[EcsRule] = &[EcsRule {
    when: &[],
    classification: EcsClassification {
        severity: 4,
        ..THREAT_CLASSIFICATION
    },
}];

/// The user reached the page.
pub(in super::super) const CLICK_ALLOWED: Test =
    Test::Is(field::ACTION, &["none", "allow", "allowed"]);

const URL_RULES: &[EcsRule] = &[
    EcsRule {
        when: &[STOPPED],
        classification: EcsClassification {
            types: DENIED_TYPES,
            ..THREAT_CLASSIFICATION
        },
    },
    EcsRule {
        when: &[CLICK_ALLOWED],
        classification: EcsClassification {
            types: ALLOWED_TYPES,
            severity: 4,
            ..THREAT_CLASSIFICATION
        },
    },
    EcsRule {
        when: &[],
        classification: THREAT_CLASSIFICATION,
    },
];
