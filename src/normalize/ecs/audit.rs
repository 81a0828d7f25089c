//! ECS for audit events: what administrators and users changed, and who logged on.

use super::super::audit_people::ACCESSES;
use super::super::convert::{kebab, verbatim};
use super::super::table::{
    EcsClassification, EcsRule, EcsTables, FieldMapping, Test, UnmappedOutput, by_row, constant,
    row, text,
};
use super::super::{audit, audit_people};
use super::{HEAD, TAIL};
use crate::field::{self, FieldName};

pub(super) const TABLES: EcsTables = EcsTables {
    rows: &[HEAD, ROWS, TAIL],
    unmapped: UNMAPPED_AUDIT_FIELDS,
    rules: RULES,
};

/// Who acted, whose account it was: the fields that they are read from.
const PEOPLE: &[FieldName] = &[field::USER, field::EVENT_INFO, field::AUDIT_TYPE];

#[rustfmt::skip]
const ROWS: &[FieldMapping] = &[
    constant("event.dataset",    "\"mimecast.audit\""),
    constant("event.provider",   "\"audit\""),
    row("event.action",          &[field::AUDIT_TYPE],                                     text(kebab)),
    row("event.code",            &[field::CATEGORY],                                       text(verbatim)),
    row("event.reason",          &[field::EVENT_INFO],                                     text(audit::reason)),
    row("message",               &[field::EVENT_INFO],                                     text(verbatim)),
    constant("observer.vendor",  "\"Mimecast\""),
    constant("observer.product", "\"Mimecast Email Security\""),
    constant("observer.type",    "\"email-gateway\""),
    row("file.name",             &[field::EVENT_INFO],                                     text(audit::file)),
    row("file.extension",        &[field::EVENT_INFO],                                     text(audit::file_extension)),
    row("file.size",             &[field::EVENT_INFO],                                     text(audit::file_size)),
    row("file.hash.md5",         &[field::EVENT_INFO],                                     text(audit::hash::<32>)),
    row("file.hash.sha1",        &[field::EVENT_INFO],                                     text(audit::hash::<40>)),
    row("file.hash.sha256",      &[field::EVENT_INFO],                                     text(audit::hash::<64>)),
    row("group.name",            &[field::EVENT_INFO, field::AUDIT_TYPE, field::CATEGORY], by_row(audit_people::group)),
    row("service.name",          &[field::EVENT_INFO],                                     text(audit::application)),
    row("source.ip",             &[field::EVENT_INFO],                                     text(audit::ip)),
    row("source.port",           &[field::EVENT_INFO],                                     text(audit::port)),
    row("user.name",             PEOPLE,                                                   by_row(audit_people::actor_name)),
    row("user.email",            PEOPLE,                                                   by_row(audit_people::actor_email)),
    row("user.domain",           PEOPLE,                                                   by_row(audit_people::actor_domain)),
    row("user.full_name",        PEOPLE,                                                   by_row(audit_people::actor_full_name)),
    row("user.target.name",      PEOPLE,                                                   by_row(audit_people::target_name)),
    row("user.target.email",     PEOPLE,                                                   by_row(audit_people::target_email)),
    row("user.target.domain",    PEOPLE,                                                   by_row(audit_people::target_domain)),
    row("user.target.full_name", PEOPLE,                                                   by_row(audit_people::target_full_name)),
    row("user.target.roles",     &[field::EVENT_INFO],                                     by_row(audit_people::roles)),
    row("mimecast.audit_id",     &[field::ID],                                             text(verbatim)),
    row("mimecast.auditType",    &[field::AUDIT_TYPE],                                     text(verbatim)),
    row("mimecast.category",     &[field::CATEGORY],                                       text(verbatim)),
    row("mimecast.method",       &[field::EVENT_INFO],                                     text(audit::method)),
    row("mimecast.mfa",          &[field::EVENT_INFO],                                     text(audit::mfa)),
];

/// How these fields are written where no row uses them.
#[rustfmt::skip]
const UNMAPPED_AUDIT_FIELDS: &[(FieldName, UnmappedOutput)] = &[
    (field::EVENT_TIME, UnmappedOutput::Unparsed),
];

/// Returns a rule: how the audit events are classified for which all tests hold.
const fn rule(when: &'static [Test], classification: EcsClassification) -> EcsRule {
    EcsRule {
        when,
        classification,
    }
}

const fn classification(
    category: &'static [&'static str],
    types: &'static [&'static str],
) -> EcsClassification {
    EcsClassification {
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

/// The beginnings of the words for creating, deleting and changing that types and texts use.
pub(in super::super) const CREATED: &[&str] = &["creat", "new ", "added"];
pub(in super::super) const DELETED: &[&str] = &["delet", "remov"];
pub(in super::super) const CHANGED: &[&str] = &["chang", "updat", "edit", "modif"];

/// Stems in an event type that say that the action was completed.
pub(in super::super) const DONE: &[&str] = &[
    "logged o", "complet", "export", "download", "restored", "viewed",
];

/// Words for roles and permissions.
pub(in super::super) const ROLES: &[&str] = &["role", "permission", "privilege"];
pub(in super::super) const IS_ACCOUNT_LOG: Test =
    Test::Is(field::CATEGORY, &["user_account_and_role_logs"]);

/// The type is about roles.
pub(in super::super) const TYPE_MENTIONS_ROLE: Test =
    Test::HasWordPrefix(&[field::AUDIT_TYPE], ROLES);
/// The text is about roles.
pub(in super::super) const TEXT_MENTIONS_ROLE: Test =
    Test::SentenceHasWordPrefix(field::EVENT_INFO, ROLES);
/// The prose names the person whose account it is.
pub(in super::super) const NAMES_TARGET: Test = Test::NamesTarget(field::EVENT_INFO);

/// The event is about a group of addresses, or about members that were added to it or removed from it.
pub(in super::super) const IS_GROUP_LOG: Test = Test::Contains(
    &[field::AUDIT_TYPE, field::CATEGORY],
    &["folder log entry", "profile_group_logs"],
);
pub(in super::super) const CHANGES_MEMBERS: Test = Test::ChangesMembers(field::EVENT_INFO);
pub(in super::super) const TEXT_MENTIONS_GROUP: Test =
    Test::SentenceHasWordPrefix(field::EVENT_INFO, &["group"]);

/// What the text says was done.
pub(in super::super) const DOES_CREATE: Test = Test::ActionIs(field::EVENT_INFO, CREATED);
pub(in super::super) const DOES_DELETE: Test = Test::ActionIs(field::EVENT_INFO, DELETED);
pub(in super::super) const DOES_CHANGE: Test = Test::ActionIs(field::EVENT_INFO, CHANGED);

const UNKNOWN: Option<&str> = Some("unknown");

#[rustfmt::skip]
const RULES: &[EcsRule] = &[
    rule(&[Test::Is(field::AUDIT_TYPE, &["User Logged On"]), Test::SentenceHasWordPrefix(field::EVENT_INFO, &["enroll"])],
        classification(IAM, &["creation", "user"])),
    rule(&[Test::Is(field::AUDIT_TYPE, &["User Logged On"])],
        classification(AUTHENTICATION, &["start"])),
    rule(&[Test::Is(field::AUDIT_TYPE, &["Logon Requires Challenge"])],
        EcsClassification { outcome: UNKNOWN, ..classification(AUTHENTICATION, &["info"]) }),
    rule(&[Test::Is(field::AUDIT_TYPE, &["Logon Authentication Failed"])],
        EcsClassification { outcome: Some("failure"), severity: 2, ..classification(AUTHENTICATION, &["start"]) }),
    rule(&[Test::Is(field::AUDIT_TYPE, &["Mimecast Support Login"])],
        EcsClassification { severity: 3, ..classification(AUTHENTICATION, &["start"]) }),
    rule(&[Test::Is(field::AUDIT_TYPE, &["Completed Directory Sync"])],
        classification(CONFIGURATION, &["info"])),
    rule(&[Test::Is(field::AUDIT_TYPE, ACCESSES)],
        classification(API, &["access"])),
    rule(&[TYPE_MENTIONS_ROLE, Test::HasWordPrefix(&[field::AUDIT_TYPE], &["delet"])], classification(IAM, &["admin", "deletion"])),
    rule(&[TYPE_MENTIONS_ROLE, Test::HasWordPrefix(&[field::AUDIT_TYPE], &["creat"])], classification(IAM, &["admin", "creation"])),
    rule(&[TYPE_MENTIONS_ROLE], classification(IAM, &["admin", "change"])),
    rule(&[IS_ACCOUNT_LOG, TEXT_MENTIONS_ROLE], classification(IAM, &["admin", "change"])),
    rule(&[Test::HasWordPrefix(&[field::AUDIT_TYPE], &["password"])],    classification(IAM, &["user", "change"])),
    rule(&[IS_ACCOUNT_LOG, CHANGES_MEMBERS, TEXT_MENTIONS_GROUP], classification(IAM, &["group", "change"])),
    rule(&[IS_ACCOUNT_LOG, Test::HasWordPrefix(&[field::AUDIT_TYPE], DELETED)], classification(IAM, &["user", "deletion"])),
    rule(&[IS_ACCOUNT_LOG, Test::HasWordPrefix(&[field::AUDIT_TYPE], CREATED)], classification(IAM, &["user", "creation"])),
    rule(&[IS_ACCOUNT_LOG, Test::HasWordPrefix(&[field::AUDIT_TYPE], CHANGED)], classification(IAM, &["user", "change"])),
    rule(&[IS_ACCOUNT_LOG, DOES_DELETE], classification(IAM, &["user", "deletion"])),
    rule(&[IS_ACCOUNT_LOG, DOES_CREATE], classification(IAM, &["user", "creation"])),
    rule(&[IS_ACCOUNT_LOG, DOES_CHANGE], classification(IAM, &["user", "change"])),
    rule(&[IS_ACCOUNT_LOG],                                 EcsClassification { outcome: UNKNOWN, ..classification(IAM, &["user", "change"]) }),
    rule(&[IS_GROUP_LOG, CHANGES_MEMBERS], classification(IAM, &["group", "change"])),
    rule(&[IS_GROUP_LOG, DOES_DELETE], classification(IAM, &["group", "deletion"])),
    rule(&[IS_GROUP_LOG, DOES_CREATE], classification(IAM, &["group", "creation"])),
    rule(&[IS_GROUP_LOG], classification(IAM, &["group", "change"])),
    rule(&[Test::HasWordPrefix(&[field::AUDIT_TYPE], DELETED)], classification(CONFIGURATION, &["deletion"])),
    rule(&[Test::HasWordPrefix(&[field::AUDIT_TYPE], CREATED)], classification(CONFIGURATION, &["creation"])),
    rule(&[Test::HasWordPrefix(&[field::AUDIT_TYPE], CHANGED)], classification(CONFIGURATION, &["change"])),
    rule(&[Test::HasWordPrefix(&[field::AUDIT_TYPE], DONE)],    classification(CONFIGURATION, &["info"])),
    rule(&[DOES_DELETE], classification(CONFIGURATION, &["deletion"])),
    rule(&[DOES_CREATE], classification(CONFIGURATION, &["creation"])),
    rule(&[DOES_CHANGE], classification(CONFIGURATION, &["change"])),
    // A type that is not known and states no act.
    rule(&[Test::ReportsFailure(field::EVENT_INFO)],
        EcsClassification { outcome: Some("failure"), severity: 2, ..classification(CONFIGURATION, &["info"]) }),
    rule(&[], EcsClassification { outcome: UNKNOWN, ..classification(CONFIGURATION, &["info"]) }),
];
