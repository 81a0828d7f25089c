//! ECS for audit events: what administrators and users changed, and who logged on.

use super::super::account::ACCESSES;
use super::super::table::{
    Account, Class, Keep, More, Part, Prose, Row, Rule, Shape, Tables, Test, constant, row,
};
use super::{HEAD, TAIL};

pub(super) const TABLES: Tables = Tables {
    rows: &[HEAD, ROWS, TAIL],
    kept: KEPT,
    rules: RULES,
};

/// Who acted, whose account it was: the fields that [`More::Account`] reads.
const PEOPLE: &[&str] = &["user", "eventInfo", "auditType"];

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
    row("file.name",             &["eventInfo"], Shape::Prose(Prose::File)),
    row("file.extension",        &["eventInfo"], Shape::Prose(Prose::FileExtension)),
    row("file.size",             &["eventInfo"], Shape::Prose(Prose::FileSize)),
    row("file.hash.md5",         &["eventInfo"], Shape::Prose(Prose::Hash(32))),
    row("file.hash.sha1",        &["eventInfo"], Shape::Prose(Prose::Hash(40))),
    row("file.hash.sha256",      &["eventInfo"], Shape::Prose(Prose::Hash(64))),
    row("group.name",            &["eventInfo", "auditType", "category"], Shape::More(More::Group)),
    row("service.name",          &["eventInfo"], Shape::Prose(Prose::Application)),
    row("source.ip",             &["eventInfo"], Shape::Prose(Prose::Ip)),
    row("source.port",           &["eventInfo"], Shape::Prose(Prose::Port)),
    row("user.name",             PEOPLE,         Shape::More(More::Account(Account::Actor, Part::Name))),
    row("user.email",            PEOPLE,         Shape::More(More::Account(Account::Actor, Part::Email))),
    row("user.domain",           PEOPLE,         Shape::More(More::Account(Account::Actor, Part::Domain))),
    row("user.full_name",        &["eventInfo"], Shape::Prose(Prose::FullName)),
    row("user.target.name",      PEOPLE,         Shape::More(More::Account(Account::Target, Part::Name))),
    row("user.target.email",     PEOPLE,         Shape::More(More::Account(Account::Target, Part::Email))),
    row("user.target.domain",    PEOPLE,         Shape::More(More::Account(Account::Target, Part::Domain))),
    row("user.target.roles",     &["eventInfo"], Shape::More(More::Roles)),
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

/// What the last word of a type says of an act that is done.
pub(in super::super) const DONE: &[&str] = &[
    "logged o", "complet", "export", "download", "restored", "viewed",
];

/// Roles and permissions, and the accounts that have them.
pub(in super::super) const ROLES: &[&str] = &["role", "permission", "privilege"];
pub(in super::super) const ACCOUNTS: Test = Test::Is("category", &["user_account_and_role_logs"]);

const UNKNOWN: Option<&str> = Some("unknown");

#[rustfmt::skip]
const RULES: &[Rule] = &[
    rule(&[Test::Is("auditType", &["User Logged On"]), Test::Says("eventInfo", &["enroll"])],
        class(IAM, &["creation", "user"])),
    rule(&[Test::Is("auditType", &["User Logged On"])],
        class(AUTHENTICATION, &["start"])),
    rule(&[Test::Is("auditType", &["Logon Requires Challenge"])],
        Class { outcome: UNKNOWN, ..class(AUTHENTICATION, &["info"]) }),
    rule(&[Test::Is("auditType", &["Logon Authentication Failed"])],
        Class { outcome: Some("failure"), severity: 2, ..class(AUTHENTICATION, &["start"]) }),
    rule(&[Test::Is("auditType", &["Mimecast Support Login"])],
        Class { severity: 3, ..class(AUTHENTICATION, &["start"]) }),
    rule(&[Test::Is("auditType", &["Completed Directory Sync"])],
        class(CONFIGURATION, &["info"])),
    rule(&[Test::Is("auditType", ACCESSES)],
        class(API, &["access"])),
    rule(&[Test::Has(&["auditType"], ROLES)],            class(IAM, &["admin", "change"])),
    rule(&[ACCOUNTS, Test::Says("eventInfo", ROLES)], class(IAM, &["admin", "change"])),
    rule(&[Test::Has(&["auditType"], &["password"])],    class(IAM, &["user", "change"])),
    rule(&[ACCOUNTS, Test::Has(&["auditType"], DELETED)],class(IAM, &["user", "deletion"])),
    rule(&[ACCOUNTS, Test::Has(&["auditType"], CREATED)],class(IAM, &["user", "creation"])),
    rule(&[ACCOUNTS, Test::Has(&["auditType"], CHANGED)],class(IAM, &["user", "change"])),
    rule(&[ACCOUNTS, Test::Says("eventInfo", DELETED)],class(IAM, &["user", "deletion"])),
    rule(&[ACCOUNTS, Test::Says("eventInfo", CREATED)],class(IAM, &["user", "creation"])),
    rule(&[ACCOUNTS, Test::Says("eventInfo", CHANGED)],class(IAM, &["user", "change"])),
    rule(&[ACCOUNTS],                                 Class { outcome: UNKNOWN, ..class(IAM, &["user", "change"]) }),
    rule(&[Test::Is("auditType", &["Folder Log Entry"]), Test::Says("eventInfo", DELETED)],
        class(IAM, &["group", "deletion"])),
    rule(&[Test::Is("auditType", &["Folder Log Entry"]), Test::Says("eventInfo", CREATED)],
        class(IAM, &["group", "creation"])),
    rule(&[Test::Is("auditType", &["Folder Log Entry"])],
        class(IAM, &["group", "change"])),
    rule(&[Test::Has(&["auditType"], DELETED)], class(CONFIGURATION, &["deletion"])),
    rule(&[Test::Has(&["auditType"], CREATED)], class(CONFIGURATION, &["creation"])),
    rule(&[Test::Has(&["auditType"], CHANGED)], class(CONFIGURATION, &["change"])),
    rule(&[Test::Has(&["auditType"], DONE)],    class(CONFIGURATION, &["info"])),
    rule(&[Test::Says("eventInfo", DELETED)], class(CONFIGURATION, &["deletion"])),
    rule(&[Test::Says("eventInfo", CREATED)], class(CONFIGURATION, &["creation"])),
    rule(&[Test::Says("eventInfo", CHANGED)], class(CONFIGURATION, &["change"])),
    // A type that is not known and states no act.
    rule(&[Test::Denied("eventInfo")],
        Class { outcome: Some("failure"), severity: 2, ..class(CONFIGURATION, &["info"]) }),
    rule(&[], Class { outcome: UNKNOWN, ..class(CONFIGURATION, &["info"]) }),
];
