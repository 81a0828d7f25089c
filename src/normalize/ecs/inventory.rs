//! ECS for what is known of threats and of people.

use super::super::kept::LOGS;
use super::super::table::{Class, More, Row, Rule, Shape, Stix, Tables, constant, row};
use super::{HEAD, TAIL};
use crate::field::{self, Name};

/// Declares the tables of an inventory: its name, its rows, its class.
macro_rules! inventory {
    ($($table:ident = $name:literal, $rows:expr, $class:expr;)+) => {
        $(pub(super) const $table: Tables = Tables {
            rows: &[
                HEAD,
                &[
                    constant("event.dataset", concat!("\"mimecast.", $name, "\"")),
                    constant("event.provider", concat!("\"", $name, "\"")),
                    constant("observer.vendor", "\"Mimecast\""),
                ],
                $rows,
                TAIL,
            ],
            kept: LOGS,
            rules: &[Rule { when: &[], class: $class }],
        };)+
    };
}

inventory! {
    THREAT_INTEL_CUSTOMER = "threat_intel_customer", INDICATOR, INDICATION;
    THREAT_INTEL_GRID = "threat_intel_grid", INDICATOR, INDICATION;
    TRAINING_PERFORMANCE = "training_performance", PERSON, STATE;
    TRAINING_SAFE_SCORE = "training_safe_score", PERSON, STATE;
    TRAINING_WATCHLIST = "training_watchlist", PERSON, STATE;
}

const INDICATION: Class = Class {
    kind: "enrichment",
    category: &["threat"],
    types: &["indicator"],
    outcome: None,
    severity: 1,
};

/// No category fits what somebody knows; accounts and their owners come closest.
const STATE: Class = Class {
    kind: "state",
    category: &["iam"],
    types: &["user", "info"],
    ..INDICATION
};

#[rustfmt::skip]
const INDICATOR: &[Row] = &[
    row("tags",                                &[field::LABELS],      Shape::More(More::List)),
    constant("threat.feed.name",               "\"Mimecast Threat Intelligence\""),
    constant("threat.indicator.provider",      "\"Mimecast\""),
    row("threat.indicator.id",                 &[field::ID],          Shape::More(More::List)),
    row("threat.indicator.type",               &[field::PATTERN, field::SHA256, field::SHA1, field::MD5], Shape::More(More::Stix(Stix::EcsType))),
    row("threat.indicator.name",               &[field::NAME],        Shape::Text),
    row("threat.indicator.description",        &[field::DESCRIPTION], Shape::Text),
    row("threat.indicator.first_seen",         &[field::VALID_FROM],  Shape::More(More::Date)),
    row("threat.indicator.modified_at",        &[field::MODIFIED],    Shape::More(More::Date)),
    row("threat.software.name",                &[field::MALWARE_NAME], Shape::Text),
    row("threat.indicator.file.name",          &[field::FILE_NAME],    Shape::Text),
    row("threat.indicator.file.hash.md5",      &[field::PATTERN, field::MD5], Shape::More(More::Stix(Stix::Md5))),
    row("threat.indicator.file.hash.sha1",     &[field::PATTERN, field::SHA1], Shape::More(More::Stix(Stix::Sha1))),
    row("threat.indicator.file.hash.sha256",   &[field::PATTERN, field::SHA256], Shape::More(More::Stix(Stix::Sha256))),
    row("threat.indicator.ip",                 &[field::PATTERN],     Shape::More(More::Stix(Stix::Ip))),
    row("threat.indicator.email.address",      &[field::PATTERN],     Shape::More(More::Stix(Stix::Email))),
    row("threat.indicator.url.original",       &[field::PATTERN],     Shape::More(More::Stix(Stix::Url))),
    row("threat.indicator.url.domain",         &[field::PATTERN],     Shape::More(More::Stix(Stix::Domain))),
];

const EMAIL: &[Name] = &[field::EMAIL_ADDRESS, field::EMAIL];

#[rustfmt::skip]
const PERSON: &[Row] = &[
    row("user.name",                           EMAIL,            Shape::More(More::Person)),
    row("user.email",                          EMAIL,            Shape::More(More::Person)),
    row("user.domain",                         EMAIL,            Shape::Domain),
    row("user.full_name",                      &[field::NAME],        Shape::Text),
];
