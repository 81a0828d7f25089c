//! ECS for audit events: what administrators and users changed, and who logged on.

use super::super::table::{Class, Keep, Prose, Row, Rule, Shape, Tables, Test, constant, row};
use super::{HEAD, TAIL};

pub(super) const TABLES: Tables = Tables {
    rows: &[HEAD, ROWS, TAIL],
    kept: KEPT,
    rules: RULES,
};

#[rustfmt::skip]
const ROWS: &[Row] = &[
    constant("event.dataset",    "\"mimecast.audit\""),
    constant("event.provider",   "\"audit\""),
    row("event.action",          &["auditType"], Shape::Kebab),
    row("event.code",            &["category"],  Shape::Text),
    row("event.reason",          &["eventInfo"], Shape::Prose(Prose::Reason)),
    row("message",               &["eventInfo"], Shape::Text),
    constant("observer.vendor",  "\"Mimecast\""),
    constant("observer.product", "\"Mimecast Email Security\""),
    constant("observer.type",    "\"email-gateway\""),
    row("service.name",          &["eventInfo"], Shape::Prose(Prose::Application)),
    row("source.ip",             &["eventInfo"], Shape::Prose(Prose::Ip)),
    row("source.port",           &["eventInfo"], Shape::Prose(Prose::Port)),
    row("user.name",             &["user"],      Shape::User),
    row("user.email",            &["user"],      Shape::Address),
    row("user.domain",           &["user"],      Shape::Domain),
    row("user.full_name",        &["eventInfo"], Shape::Prose(Prose::FullName)),
    row("mimecast.audit_id",     &["id"],        Shape::Text),
    row("mimecast.auditType",    &["auditType"], Shape::Text),
    row("mimecast.category",     &["category"],  Shape::Text),
    row("mimecast.method",       &["eventInfo"], Shape::Prose(Prose::Method)),
    row("mimecast.mfa",          &["eventInfo"], Shape::Prose(Prose::Mfa)),
];

#[rustfmt::skip]
const KEPT: &[(&str, Keep)] = &[
    ("eventTime", Keep::Unparsed),
];

/// A type of audit event, and what its text says where the type is not enough.
const fn rule(when: &'static [Test], class: Class) -> Rule {
    Rule { when, class }
}

const fn class(category: &'static [&'static str], types: &'static [&'static str]) -> Class {
    Class {
        kind: "event",
        category,
        types,
        outcome: Some("success"),
        severity: 1,
    }
}

const AUTHENTICATION: &[&str] = &["authentication"];
const CONFIGURATION: &[&str] = &["configuration"];
const API: &[&str] = &["api"];
const IAM: &[&str] = &["iam"];

/// The verbs that types and texts use.
pub(in super::super) const CREATED: &[&str] = &["creat", "new ", "added"];
pub(in super::super) const DELETED: &[&str] = &["delet", "remov"];
pub(in super::super) const CHANGED: &[&str] = &["chang", "updat", "edit"];

#[rustfmt::skip]
const RULES: &[Rule] = &[
    rule(&[Test::Is("auditType", &["User Logged On"]), Test::Has("eventInfo", &["enroll"])],
        class(IAM, &["creation", "user"])),
    rule(&[Test::Is("auditType", &["User Logged On"])],
        class(AUTHENTICATION, &["start"])),
    rule(&[Test::Is("auditType", &["Logon Requires Challenge"])],
        Class { outcome: Some("unknown"), ..class(AUTHENTICATION, &["info"]) }),
    rule(&[Test::Is("auditType", &["Logon Authentication Failed"])],
        Class { outcome: Some("failure"), severity: 2, ..class(AUTHENTICATION, &["start"]) }),
    rule(&[Test::Is("auditType", &["Mimecast Support Login"])],
        Class { severity: 3, ..class(AUTHENTICATION, &["start"]) }),
    rule(&[Test::Is("auditType", &["User Password Changed"])],
        class(IAM, &["user", "change"])),
    rule(&[Test::Is("auditType", &["Folder Log Entry"]), Test::Has("eventInfo", DELETED)],
        class(IAM, &["group", "deletion"])),
    rule(&[Test::Is("auditType", &["Folder Log Entry"]), Test::Has("eventInfo", CREATED)],
        class(IAM, &["group", "creation"])),
    rule(&[Test::Is("auditType", &["Folder Log Entry"])],
        class(IAM, &["group", "change"])),
    rule(&[Test::Is("auditType", &["Completed Directory Sync"])],
        class(CONFIGURATION, &["info"])),
    rule(&[Test::Is("auditType", &[
            "Message Action", "Case Action", "Review Set Action", "Search Action",
            "Page Data Exports", "Archive Mailbox Export Download", "Threat Intel Feed Download",
            "Archive Mailbox Restore",
        ])],
        class(API, &["access"])),
    rule(&[Test::Has("auditType", DELETED)], class(CONFIGURATION, &["deletion"])),
    rule(&[Test::Has("auditType", CREATED)], class(CONFIGURATION, &["creation"])),
    rule(&[Test::Has("auditType", CHANGED)], class(CONFIGURATION, &["change"])),
    rule(&[Test::Has("eventInfo", DELETED)], class(CONFIGURATION, &["deletion"])),
    rule(&[Test::Has("eventInfo", CREATED)], class(CONFIGURATION, &["creation"])),
    rule(&[Test::Has("eventInfo", CHANGED)], class(CONFIGURATION, &["change"])),
    rule(&[], class(CONFIGURATION, &["info"])),
];
