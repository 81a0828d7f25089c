//! ECS for Cloud Integrated: what it says of messages, and the clicks it blocked.

use super::super::kept::LOGS;
use super::super::ocsf::NO_THREAT;
use super::super::table::{Class, More, Row, Rule, Shape, Tables, Test, constant, row};
use super::logs::{ALERT, DENIED, EMAIL, INTRUSION, MALWARE};
use super::messages::KEPT;
use super::{HEAD, TAIL};
use crate::field;

pub(super) const ENTITIES: Tables = Tables {
    rows: &[HEAD, INTEGRATED, MESSAGE, ENTITY, TAIL],
    kept: LOGS,
    rules: ENTITY_RULES,
};

pub(super) const MAILFLOW: Tables = Tables {
    rows: &[HEAD, INTEGRATED, MESSAGE, FLOW, TAIL],
    kept: LOGS,
    rules: &[Rule {
        when: &[],
        class: EMAIL,
    }],
};

pub(super) const URLCLICK: Tables = Tables {
    rows: &[HEAD, INTEGRATED, MESSAGE, CLICK, TAIL],
    kept: KEPT,
    rules: &[Rule {
        when: &[],
        class: Class {
            category: INTRUSION,
            types: DENIED,
            ..ALERT
        },
    }],
};

#[rustfmt::skip]
const INTEGRATED: &[Row] = &[
    constant("event.dataset",       "\"mimecast.ci\""),
    constant("observer.vendor",     "\"Mimecast\""),
    constant("observer.product",    "\"Mimecast Email Security Cloud Integrated\""),
    constant("observer.type",       "\"email-gateway\""),
];

#[rustfmt::skip]
const MESSAGE: &[Row] = &[
    row("organization.id",          &[field::ACCOUNT_ID],                      Shape::Text),
    row("email.local_id",           &[field::AGGREGATE_ID],                    Shape::Text),
    row("email.message_id",         &[field::MESSAGE_ID],                      Shape::MessageId),
    row("email.sender.address",     &[field::SENDER_ENVELOPE],                 Shape::Address),
    row("email.from.address",       &[field::SENDER_HEADER, field::SENDER_ENVELOPE], Shape::More(More::People)),
    row("email.to.address",         &[field::RECIPIENTS, field::RECIPIENT],        Shape::More(More::People)),
    row("email.subject",            &[field::SUBJECT],                        Shape::Text),
    row("email.direction",          &[field::DIRECTION, field::ROUTE],             Shape::Direction),
    row("source.ip",                &[field::SENDER_IP, field::SOURCE_IP],           Shape::Ip),
    row("source.port",              &[field::SENDER_IP, field::SOURCE_IP],           Shape::Port),
    row("mimecast.subtype",         &[field::SUBTYPE, field::SUB_TYPE],             Shape::Action("")),
    row("mimecast.sender_envelope", &[field::SENDER_ENVELOPE],                 Shape::Address),
    row("mimecast.null_sender",     &[field::SENDER_ENVELOPE],                 Shape::NullSender),
];

#[rustfmt::skip]
const ENTITY: &[Row] = &[
    row("event.provider",           &[field::TYPE, field::EVENT_TYPE],              Shape::Word("entities")),
    row("event.action",             &[field::THREAT_STATE],                    Shape::Action("scanned")),
    row("event.reason",             &[field::THREAT_TYPE],                     Shape::Reason),
    row("rule.name",                &[field::POLICIES_APPLIED],                Shape::More(More::Part("name"))),
    row("email.attachments",        &[field::ATTACHMENTS],                    Shape::Files),
    row("tags",                     &[field::TAGS],                           Shape::More(More::List)),
    row("mimecast.auth",            &[field::AUTH_RESULTS],                    Shape::More(More::Auth)),
    row("mimecast.threatState",     &[field::THREAT_STATE],                    Shape::Text),
    row("mimecast.threatType",      &[field::THREAT_TYPE],                     Shape::Text),
];

#[rustfmt::skip]
const FLOW: &[Row] = &[
    row("event.provider",           &[field::TYPE, field::EVENT_TYPE],              Shape::Word("mailflow")),
    row("event.action",             &[field::ACTION],                         Shape::Action("authentication-results")),
    row("mimecast.auth",            &[field::AUTH_RESULTS],                    Shape::More(More::Auth)),
];

#[rustfmt::skip]
const CLICK: &[Row] = &[
    row("event.provider",           &[field::TYPE, field::EVENT_TYPE],              Shape::Word("urlclick")),
    row("event.action",             &[field::ACTION],                         Shape::Action("click-blocked")),
    row("url",                      &[field::ORIGINAL_URL, field::URL],             Shape::Url),
];

#[rustfmt::skip]
const ENTITY_RULES: &[Rule] = &[
    Rule { when: &[Test::Has(&[field::THREAT_TYPE], &["malware"])],
        class: Class { category: MALWARE, severity: 4, ..ALERT } },
    Rule { when: &[Test::Is(field::THREAT_TYPE, NO_THREAT)],
        class: EMAIL },
    Rule { when: &[Test::Given(&[field::THREAT_TYPE]), Test::Is(field::THREAT_STATE, &["blocked"])],
        class: Class { category: INTRUSION, types: DENIED, ..ALERT } },
    Rule { when: &[Test::Given(&[field::THREAT_TYPE]), Test::Has(&[field::THREAT_STATE], &["deliver"])],
        class: Class { category: INTRUSION, types: &["info", "allowed"], ..ALERT } },
    Rule { when: &[Test::Given(&[field::THREAT_TYPE])],
        class: Class { category: INTRUSION, ..ALERT } },
    Rule { when: &[],
        class: EMAIL },
];
