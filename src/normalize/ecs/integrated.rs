//! ECS for the records of Cloud Integrated about messages and clicks.

use super::super::convert::{
    address, domain, ip, list, message_id, null_sender, port, reason, verbatim,
};
use super::super::ocsf::NO_THREAT;
use super::super::table::{
    EcsClassification, EcsRule, EcsTables, FieldMapping, Test, by_row, constant,
    constant_and_mark_used, row, text, text_or_placeholder, value, verbatim_or,
};
use super::super::unmapped::UNMAPPED_LOG_FIELDS;
use super::super::{address_lists, compound, objects};
use super::convert::direction;
use super::logs::{ALERT, ALLOWED_TYPES, DENIED_TYPES, EMAIL, INTRUSION, MALWARE};
use super::threats::CLICK_ALLOWED;
use super::{HEAD, TAIL};
use crate::field;

pub(super) const ENTITIES: EcsTables = EcsTables {
    rows: &[HEAD, INTEGRATED, MESSAGE, ENTITY, TAIL],
    unmapped: UNMAPPED_LOG_FIELDS,
    rules: ENTITY_RULES,
};

pub(super) const MAILFLOW: EcsTables = EcsTables {
    rows: &[HEAD, INTEGRATED, MESSAGE, FLOW, TAIL],
    unmapped: UNMAPPED_LOG_FIELDS,
    rules: &[EcsRule {
        when: &[],
        classification: EMAIL,
    }],
};

pub(super) const URLCLICK: EcsTables = EcsTables {
    rows: &[HEAD, INTEGRATED, MESSAGE, CLICK, TAIL],
    unmapped: UNMAPPED_LOG_FIELDS,
    rules: CLICK_RULES,
};

#[rustfmt::skip]
const INTEGRATED: &[FieldMapping] = &[
    constant("event.dataset",    "\"mimecast.ci\""),
    constant("observer.vendor",  "\"Mimecast\""),
    constant("observer.product", "\"Mimecast Email Security Cloud Integrated\""),
    constant("observer.type",    "\"email-gateway\""),
];

#[rustfmt::skip]
const MESSAGE: &[FieldMapping] = &[
    row("organization.id",          &[field::ACCOUNT_ID],                            text(verbatim)),
    row("email.local_id",           &[field::AGGREGATE_ID],                          text(verbatim)),
    row("email.message_id",         &[field::MESSAGE_ID],                            text(message_id)),
    row("email.sender.address",     &[field::SENDER_ENVELOPE],                       text(address)),
    row("email.from.address",       &[field::SENDER_HEADER, field::SENDER_ENVELOPE], value(address_lists::all_addresses)),
    row("email.to.address",         &[field::RECIPIENTS, field::RECIPIENT],          value(address_lists::all_addresses)),
    row("email.subject",            &[field::SUBJECT],                               text(verbatim)),
    row("email.direction",          &[field::DIRECTION, field::ROUTE],               text(direction)),
    row("source.ip",                &[field::SENDER_IP, field::SOURCE_IP],           text(ip)),
    row("source.port",              &[field::SENDER_IP, field::SOURCE_IP],           by_row(port)),
    row("mimecast.subtype",         &[field::SUBTYPE, field::SUB_TYPE],              text_or_placeholder(verbatim)),
    row("mimecast.sender_envelope", &[field::SENDER_ENVELOPE],                       text(address)),
    row("mimecast.null_sender",     &[field::SENDER_ENVELOPE],                       by_row(null_sender)),
];

#[rustfmt::skip]
const ENTITY: &[FieldMapping] = &[
    row("event.provider",       &[field::TYPE, field::EVENT_TYPE], constant_and_mark_used("entities")),
    row("event.action",         &[field::THREAT_STATE],            verbatim_or("scanned")),
    row("event.reason",         &[field::THREAT_TYPE],             text(reason)),
    row("rule.name",            &[field::POLICIES_APPLIED],        value(objects::name)),
    row("email.attachments",    &[field::ATTACHMENTS],             by_row(compound::attachments)),
    row("tags",                 &[field::TAGS],                    value(list)),
    row("mimecast.auth",        &[field::AUTH_RESULTS],            value(objects::auth)),
    row("mimecast.threatState", &[field::THREAT_STATE],            text(verbatim)),
    row("mimecast.threatType",  &[field::THREAT_TYPE],             text(verbatim)),
];

#[rustfmt::skip]
const FLOW: &[FieldMapping] = &[
    row("event.provider", &[field::TYPE, field::EVENT_TYPE], constant_and_mark_used("mailflow")),
    row("event.action",   &[field::ACTION],                  verbatim_or("authentication-results")),
    row("mimecast.auth",  &[field::AUTH_RESULTS],            value(objects::auth)),
];

#[rustfmt::skip]
const CLICK: &[FieldMapping] = &[
    row("event.provider", &[field::TYPE, field::EVENT_TYPE],  constant_and_mark_used("urlclick")),
    row("event.action",   &[field::ACTION],                   verbatim_or("click-blocked")),
    row("url",            &[field::ORIGINAL_URL, field::URL], text(compound::url)),
    row("user.name",      &[field::RECIPIENTS, field::RECIPIENT], value(address_lists::first_address)),
    row("user.email",     &[field::RECIPIENTS, field::RECIPIENT], value(address_lists::first_address)),
    row("user.domain",    &[field::RECIPIENTS, field::RECIPIENT], text(domain)),
];

/// Nearly all clicks that are logged were blocked.
#[rustfmt::skip]
const CLICK_RULES: &[EcsRule] = &[
    EcsRule { when: &[CLICK_ALLOWED],
        classification: EcsClassification { category: INTRUSION, types: ALLOWED_TYPES, severity: 4, ..ALERT } },
    EcsRule { when: &[],
        classification: EcsClassification { category: INTRUSION, types: DENIED_TYPES, ..ALERT } },
];

#[rustfmt::skip]
const ENTITY_RULES: &[EcsRule] = &[
    EcsRule { when: &[Test::Contains(&[field::THREAT_TYPE], &["malware"])],
        classification: EcsClassification { category: MALWARE, severity: 4, ..ALERT } },
    EcsRule { when: &[Test::Is(field::THREAT_TYPE, NO_THREAT)],
        classification: EMAIL },
    EcsRule { when: &[Test::HasValue(&[field::THREAT_TYPE]), Test::Is(field::THREAT_STATE, &["blocked"])],
        classification: EcsClassification { category: INTRUSION, types: DENIED_TYPES, ..ALERT } },
    EcsRule { when: &[Test::HasValue(&[field::THREAT_TYPE]), Test::HasWordPrefix(&[field::THREAT_STATE], &["deliver"])],
        classification: EcsClassification { category: INTRUSION, types: &["info", "allowed"], ..ALERT } },
    EcsRule { when: &[Test::HasValue(&[field::THREAT_TYPE])],
        classification: EcsClassification { category: INTRUSION, ..ALERT } },
    EcsRule { when: &[],
        classification: EMAIL },
];
