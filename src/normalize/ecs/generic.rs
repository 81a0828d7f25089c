//! ECS for streams without tables of their own: the envelope, a class, and every field kept.

use super::super::table::{Class, Row, Rule, Tables, constant};
use super::{HEAD, TAIL};

/// Declares the generic tables of streams.
macro_rules! generic {
    ($($table:ident = $name:literal, $class:expr;)+) => {
        $(pub(super) const $table: Tables = Tables {
            rows: &[
                HEAD,
                &[
                    constant("event.dataset", concat!("\"mimecast.", $name, "\"")),
                    constant("event.provider", concat!("\"", $name, "\"")),
                ],
                OBSERVER,
                TAIL,
            ],
            kept: &[],
            rules: &[Rule { when: &[], class: $class }],
        };)+
    };
}

#[rustfmt::skip]
const OBSERVER: &[Row] = &[
    constant("observer.vendor",  "\"Mimecast\""),
    constant("observer.product", "\"Mimecast Email Security\""),
    constant("observer.type",    "\"email-gateway\""),
];

const MESSAGE: Class = Class {
    kind: "event",
    category: &["email"],
    types: &["info"],
    outcome: None,
    severity: 1,
};
const ACCESS: Class = Class {
    category: &["api"],
    types: &["access"],
    ..MESSAGE
};
const INDICATOR: Class = Class {
    kind: "enrichment",
    category: &["threat"],
    types: &["indicator"],
    ..MESSAGE
};
const PERSON: Class = Class {
    kind: "state",
    category: &["iam"],
    types: &["user", "info"],
    ..MESSAGE
};

generic! {
    ARCHIVE_SEARCH = "archive.search", ACCESS;
    ARCHIVE_VIEW = "archive.view", ACCESS;
    CI_ENTITIES = "ci.entities", MESSAGE;
    CI_MAILFLOW = "ci.mailflow", MESSAGE;
    CI_URLCLICK = "ci.urlclick", MESSAGE;
    DLP = "dlp", MESSAGE;
    HELD_MESSAGES = "held-messages", MESSAGE;
    HELD_RELEASE = "held-release", MESSAGE;
    REJECTIONS = "rejections", MESSAGE;
    THREAT_INTEL_CUSTOMER = "threat-intel.customer", INDICATOR;
    THREAT_INTEL_GRID = "threat-intel.grid", INDICATOR;
    TRAINING_PERFORMANCE = "training.performance", PERSON;
    TRAINING_SAFE_SCORE = "training.safe-score", PERSON;
    TRAINING_WATCHLIST = "training.watchlist", PERSON;
    TTP_ATTACHMENT = "ttp.attachment", MESSAGE;
    TTP_IMPERSONATION = "ttp.impersonation", MESSAGE;
    TTP_URL = "ttp.url", MESSAGE;
}
