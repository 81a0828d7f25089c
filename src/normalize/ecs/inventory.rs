//! ECS for inventories: threat indicators, and people in trainings.

use super::super::address_lists;
use super::super::convert::{domain, ip, list, port, verbatim};
use super::super::table::{
    EcsClassification, EcsRule, EcsTables, FieldMapping, Test, by_row, constant, row, text, value,
};
use super::super::unmapped::UNMAPPED_LOG_FIELDS;
use super::convert::{
    date, indicator_domain, indicator_email, indicator_ip, indicator_md5, indicator_sha1,
    indicator_sha256, indicator_type, indicator_url,
};
use super::{HEAD, TAIL};
use crate::field::{self, FieldName};

/// Declares the tables of an inventory: its name, its rows, its rules.
macro_rules! inventory_tables {
    ($($table:ident = $name:literal, $rows:expr, $rules:expr;)+) => {
        $(pub(super) const $table: EcsTables = EcsTables {
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
            unmapped: UNMAPPED_LOG_FIELDS,
            rules: $rules,
        };)+
    };
}

inventory_tables! {
    THREAT_INTEL_CUSTOMER = "threat_intel_customer", INDICATOR, &[EcsRule { when: &[], classification: INDICATOR_CLASSIFICATION }];
    THREAT_INTEL_GRID = "threat_intel_grid", INDICATOR, &[EcsRule { when: &[], classification: INDICATOR_CLASSIFICATION }];
    TRAINING_PERFORMANCE = "training_performance", PERSON, &[EcsRule { when: &[], classification: TRAINING_CLASSIFICATION }];
    TRAINING_PHISHING = "training_phishing", PHISHING_CAMPAIGN_ROWS, PHISHING_CAMPAIGN_RULES;
    TRAINING_SAFE_SCORE = "training_safe_score", PERSON, &[EcsRule { when: &[], classification: TRAINING_CLASSIFICATION }];
    TRAINING_WATCHLIST = "training_watchlist", PERSON, &[EcsRule { when: &[], classification: TRAINING_CLASSIFICATION }];
}

const INDICATOR_CLASSIFICATION: EcsClassification = EcsClassification {
    kind: "enrichment",
    category: &["threat"],
    types: &["indicator"],
    outcome: None,
    severity: 1,
};

/// No category fits the training of a person; accounts and their owners come closest.
const TRAINING_CLASSIFICATION: EcsClassification = EcsClassification {
    kind: "state",
    category: &["iam"],
    types: &["user", "info"],
    ..INDICATOR_CLASSIFICATION
};

#[rustfmt::skip]
const INDICATOR: &[FieldMapping] = &[
    row("tags",                              &[field::LABELS],                                          value(list)),
    constant("threat.feed.name",             "\"Mimecast Threat Intelligence\""),
    constant("threat.indicator.provider",    "\"Mimecast\""),
    row("threat.indicator.id",               &[field::ID],                                              value(list)),
    row("threat.indicator.type",             &[field::PATTERN, field::SHA256, field::SHA1, field::MD5], text(indicator_type)),
    row("threat.indicator.name",             &[field::NAME],                                            text(verbatim)),
    row("threat.indicator.description",      &[field::DESCRIPTION],                                     text(verbatim)),
    row("threat.indicator.first_seen",       &[field::VALID_FROM],                                      text(date)),
    row("threat.indicator.modified_at",      &[field::MODIFIED],                                        text(date)),
    row("threat.software.name",              &[field::MALWARE_NAME],                                    text(verbatim)),
    row("threat.indicator.file.name",        &[field::FILE_NAME],                                       text(verbatim)),
    row("threat.indicator.file.hash.md5",    &[field::PATTERN, field::MD5],                             text(indicator_md5)),
    row("threat.indicator.file.hash.sha1",   &[field::PATTERN, field::SHA1],                            text(indicator_sha1)),
    row("threat.indicator.file.hash.sha256", &[field::PATTERN, field::SHA256],                          text(indicator_sha256)),
    row("threat.indicator.ip",               &[field::PATTERN],                                         text(indicator_ip)),
    row("threat.indicator.email.address",    &[field::PATTERN],                                         text(indicator_email)),
    row("threat.indicator.url.original",     &[field::PATTERN],                                         text(indicator_url)),
    row("threat.indicator.url.domain",       &[field::PATTERN],                                         text(indicator_domain)),
];

const EMAIL_FIELDS: &[FieldName] = &[field::EMAIL_ADDRESS, field::EMAIL];

#[rustfmt::skip]
const PERSON: &[FieldMapping] = &[
    row("user.name",      EMAIL_FIELDS,   value(address_lists::first_address)),
    row("user.email",     EMAIL_FIELDS,   value(address_lists::first_address)),
    row("user.domain",    EMAIL_FIELDS,   text(domain)),
    row("user.full_name", &[field::NAME], text(verbatim)),
];

#[rustfmt::skip]
const PHISHING_CAMPAIGN_ROWS: &[FieldMapping] = &[
    row("event.action",   &[field::STATUS],      text(verbatim)),
    row("event.start",    &[field::LAUNCH_DATE], text(date)),
    row("source.ip",      &[field::CLICKED_IP],  text(ip)),
    row("source.port",    &[field::CLICKED_IP],  by_row(port)),
    row("user.name",      EMAIL_FIELDS,          value(address_lists::first_address)),
    row("user.email",     EMAIL_FIELDS,          value(address_lists::first_address)),
    row("user.domain",    EMAIL_FIELDS,          text(domain)),
    row("user.full_name", &[field::NAME],        text(verbatim)),
];

/// Words that mean that a person fell for a message. How Mimecast spells each of them is not known.
pub(in super::super) const CLICKED_OR_SUBMITTED: Test =
    Test::Is(field::STATUS, &["clicked", "submitted"]);

#[rustfmt::skip]
const PHISHING_CAMPAIGN_RULES: &[EcsRule] = &[
    EcsRule { when: &[CLICKED_OR_SUBMITTED], classification: EcsClassification { severity: 2, ..TRAINING_CLASSIFICATION } },
    EcsRule { when: &[],     classification: TRAINING_CLASSIFICATION },
];
