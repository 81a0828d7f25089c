//! ECS for Cloud Integrated: what it says of messages, and the clicks it blocked.

use super::super::kept::LOGS;
use super::super::ocsf::NO_THREAT;
use super::super::table::{Class, More, Row, Rule, Shape, Tables, Test, constant, row};
use super::logs::{ALERT, DENIED, EMAIL, INTRUSION, MALWARE};
use super::messages::KEPT;
use super::{HEAD, TAIL};

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
    row("organization.id",          &["accountId"],                      Shape::Text),
    row("email.local_id",           &["aggregateId"],                    Shape::Text),
    row("email.message_id",         &["messageId"],                      Shape::MessageId),
    row("email.sender.address",     &["senderEnvelope"],                 Shape::Address),
    row("email.from.address",       &["senderHeader", "senderEnvelope"], Shape::More(More::People)),
    row("email.to.address",         &["recipients", "recipient"],        Shape::More(More::People)),
    row("email.subject",            &["subject"],                        Shape::Text),
    row("email.direction",          &["direction", "route"],             Shape::Direction),
    row("source.ip",                &["senderIp", "sourceIp"],           Shape::Ip),
    row("source.port",              &["senderIp", "sourceIp"],           Shape::Port),
    row("mimecast.subtype",         &["subtype", "subType"],             Shape::Action("")),
    row("mimecast.sender_envelope", &["senderEnvelope"],                 Shape::Address),
    row("mimecast.null_sender",     &["senderEnvelope"],                 Shape::NullSender),
];

#[rustfmt::skip]
const ENTITY: &[Row] = &[
    row("event.provider",           &["type", "eventType"],              Shape::Word("entities")),
    row("event.action",             &["threatState"],                    Shape::Action("scanned")),
    row("event.reason",             &["threatType"],                     Shape::Reason),
    row("rule.name",                &["policiesApplied"],                Shape::More(More::Part("name"))),
    row("email.attachments",        &["attachments"],                    Shape::Files),
    row("tags",                     &["tags"],                           Shape::More(More::List)),
    row("mimecast.auth",            &["authResults"],                    Shape::More(More::Auth)),
    row("mimecast.threatState",     &["threatState"],                    Shape::Text),
    row("mimecast.threatType",      &["threatType"],                     Shape::Text),
];

#[rustfmt::skip]
const FLOW: &[Row] = &[
    row("event.provider",           &["type", "eventType"],              Shape::Word("mailflow")),
    row("event.action",             &["action"],                         Shape::Action("authentication-results")),
    row("mimecast.auth",            &["authResults"],                    Shape::More(More::Auth)),
];

#[rustfmt::skip]
const CLICK: &[Row] = &[
    row("event.provider",           &["type", "eventType"],              Shape::Word("urlclick")),
    row("event.action",             &["action"],                         Shape::Action("click-blocked")),
    row("url",                      &["originalUrl", "url"],             Shape::Url),
];

#[rustfmt::skip]
const ENTITY_RULES: &[Rule] = &[
    Rule { when: &[Test::Has(&["threatType"], &["malware"])],
        class: Class { category: MALWARE, severity: 4, ..ALERT } },
    Rule { when: &[Test::Is("threatType", NO_THREAT)],
        class: EMAIL },
    Rule { when: &[Test::Given(&["threatType"]), Test::Is("threatState", &["blocked"])],
        class: Class { category: INTRUSION, types: DENIED, ..ALERT } },
    Rule { when: &[Test::Given(&["threatType"]), Test::Has(&["threatState"], &["deliver"])],
        class: Class { category: INTRUSION, types: &["info", "allowed"], ..ALERT } },
    Rule { when: &[Test::Given(&["threatType"])],
        class: Class { category: INTRUSION, ..ALERT } },
    Rule { when: &[],
        class: EMAIL },
];
