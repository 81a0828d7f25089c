//! OCSF for audit events: who logged on, what was changed, and who looked at what.

use super::super::ecs::audit::{CHANGED, CREATED, DELETED};
use super::super::kept::LOGS;
use super::super::table::{Keep, More, Prose, Row, Shape, Test, constant, row};
use super::classes::{self, Class, Is, Rule, Variant, rule};
use super::{CONTROL, CONTROL_AND_HOST, GATEWAY, HEAD, TAIL};

const USER: Test = Test::Given(&["user"]);
const KEPT: &[&[(&str, Keep)]] = &[LOGS];

const fn variant(
    when: &'static [Test],
    class: Class,
    rows: &'static [&'static [Row]],
    rules: &'static [Rule],
) -> Variant {
    Variant {
        when,
        class,
        rows,
        kept: KEPT,
        activity: None,
        rules,
    }
}

/// Types of audit events and their classes; all others are changes to something that is managed.
#[rustfmt::skip]
pub(super) const AUDIT: &[Variant] = &[
    variant(&[Test::Is("auditType", &["User Logged On"]), Test::Has("eventInfo", &["enroll"])],
        classes::ENTITY, &[HEAD, GATEWAY, CONTROL, AUDIT_ROWS, ACTOR, DEVICE, TAIL],
        &[rule(&[], Is::fine(6, "Enroll"))]),
    variant(&[Test::Is("auditType", LOGONS), USER],
        classes::AUTHENTICATION, &[HEAD, GATEWAY, CONTROL, AUDIT_ROWS, USER_ROWS, LOGON, TAIL],
        LOGON_RULES),
    variant(&[Test::Is("auditType", &["User Password Changed"]), USER],
        classes::ACCOUNT_CHANGE, &[HEAD, GATEWAY, CONTROL, AUDIT_ROWS, USER_ROWS, TAIL],
        &[rule(&[Test::Has("eventInfo", &["reset"])], Is::fine(4, "Password Reset")),
          rule(&[], Is::fine(3, "Password Change"))]),
    variant(&[Test::Is("auditType", &["Folder Log Entry"])],
        classes::GROUP, &[HEAD, GATEWAY, CONTROL, AUDIT_ROWS, ACTOR, PROFILE_GROUP, TAIL],
        &[rule(&[Test::Has("eventInfo", DELETED)], Is::fine(5, "Delete")),
          rule(&[Test::Has("eventInfo", CREATED)], Is::fine(6, "Create")),
          rule(&[], Is::fine(99, "Folder Log Entry"))]),
    variant(&[Test::Is("auditType", ACCESSES)],
        classes::WEB_RESOURCES, &[HEAD, GATEWAY, CONTROL_AND_HOST, AUDIT_ROWS, ACTOR, RESOURCE, TAIL],
        ACCESS_RULES),
    variant(&[Test::Given(&["auditType"])],
        classes::ENTITY, &[HEAD, GATEWAY, CONTROL, AUDIT_ROWS, ACTOR, ENTITY, TAIL],
        CHANGE_RULES),
    variant(&[],
        classes::BASE, &[HEAD, GATEWAY, CONTROL, AUDIT_BASE, TAIL],
        &[rule(&[], Is::fine(99, "Audit"))]),
];

const LOGONS: &[&str] = &[
    "User Logged On",
    "Logon Requires Challenge",
    "Logon Authentication Failed",
    "Mimecast Support Login",
];

const READS: &[&str] = &["Message Action", "Case Action", "Review Set Action"];
const EXPORTS: &[&str] = &[
    "Page Data Exports",
    "Archive Mailbox Export Download",
    "Threat Intel Feed Download",
];
const ACCESSES: &[&str] = &[
    "Message Action",
    "Case Action",
    "Review Set Action",
    "Search Action",
    "Page Data Exports",
    "Archive Mailbox Export Download",
    "Threat Intel Feed Download",
    "Archive Mailbox Restore",
];

#[rustfmt::skip]
const AUDIT_BASE: &[Row] = &[
    row("metadata.event_code",         &["auditType"], Shape::Text),
    row("metadata.original_event_uid", &["id"],        Shape::Text),
    row("metadata.original_time",      &["eventTime"], Shape::More(More::OriginalTime)),
    row("message",                     &["eventInfo"], Shape::Text),
    row("status_detail",               &["eventInfo"], Shape::Prose(Prose::Reason)),
];

#[rustfmt::skip]
const AUDIT_ROWS: &[Row] = &[
    row("metadata.event_code",         &["auditType"], Shape::Text),
    row("metadata.original_event_uid", &["id"],        Shape::Text),
    row("metadata.original_time",      &["eventTime"], Shape::More(More::OriginalTime)),
    row("message",                     &["eventInfo"], Shape::Text),
    row("status_detail",               &["eventInfo"], Shape::Prose(Prose::Reason)),
    row("src_endpoint.ip",             &["eventInfo"], Shape::Prose(Prose::Ip)),
    row("src_endpoint.port",           &["eventInfo"], Shape::Prose(Prose::Port)),
];

#[rustfmt::skip]
const USER_ROWS: &[Row] = &[
    row("user.name",                   &["user"],      Shape::User),
    row("user.email_addr",             &["user"],      Shape::More(More::Email)),
    row("user.domain",                 &["user"],      Shape::Domain),
    row("user.full_name",              &["eventInfo"], Shape::Prose(Prose::FullName)),
];

#[rustfmt::skip]
const ACTOR: &[Row] = &[
    row("actor.user.name",             &["user"],      Shape::User),
    row("actor.user.email_addr",       &["user"],      Shape::More(More::Email)),
];

#[rustfmt::skip]
const LOGON: &[Row] = &[
    row("service.name",                &["eventInfo"], Shape::More(More::Service)),
    row("",                            &["eventInfo"], Shape::More(More::AuthProtocol)),
    row("",                            &["eventInfo"], Shape::More(More::Mfa)),
];

#[rustfmt::skip]
const DEVICE: &[Row] = &[
    constant("entity.name",            "\"User device\""),
    constant("entity.type_id",         "1"),
];

#[rustfmt::skip]
const ENTITY: &[Row] = &[
    row("entity.name",                 &["auditType"], Shape::Text),
    row("entity.type",                 &["category"],  Shape::Text),
];

#[rustfmt::skip]
const PROFILE_GROUP: &[Row] = &[
    constant("group.name",             "\"Profile group\""),
    row("group.type",                  &["category"],  Shape::Text),
];

#[rustfmt::skip]
const RESOURCE: &[Row] = &[
    row("web_resources[].name",        &["auditType"], Shape::Text),
    row("web_resources[].type",        &["category"],  Shape::Text),
];

#[rustfmt::skip]
const LOGON_RULES: &[Rule] = &[
    rule(&[Test::Is("auditType", &["Logon Requires Challenge"])],    Is::fine(6, "Preauth").status(Some(0))),
    rule(&[Test::Is("auditType", &["Logon Authentication Failed"]),
           Test::Has("eventInfo", &["required permissions"])],       Is::fine(1, "Logon").severity(2).status(Some(2)).acts(2, 26)),
    rule(&[Test::Is("auditType", &["Logon Authentication Failed"])], Is::fine(1, "Logon").severity(2).status(Some(2))),
    rule(&[Test::Is("auditType", &["Mimecast Support Login"])],      Is::fine(1, "Logon").severity(3).alert()),
    rule(&[],                                                        Is::fine(1, "Logon")),
];

#[rustfmt::skip]
const ACCESS_RULES: &[Rule] = &[
    rule(&[Test::Is("auditType", READS)],             Is::fine(2, "Read")),
    rule(&[Test::Is("auditType", &["Search Action"])],Is::fine(5, "Search")),
    rule(&[Test::Is("auditType", EXPORTS)],           Is::fine(7, "Export")),
    rule(&[],                                         Is::fine(6, "Import")),
];

#[rustfmt::skip]
const CHANGE_RULES: &[Rule] = &[
    rule(&[Test::Is("auditType", &["Completed Directory Sync"])], Is::fine(99, "Completed Directory Sync")),
    rule(&[Test::Is("auditType", &["Logon Authentication Failed"])], Is::fine(99, "Logon").severity(2).status(Some(2))),
    rule(&[Test::Has("auditType", DELETED)],          Is::fine(4, "Delete")),
    rule(&[Test::Has("auditType", CREATED)],          Is::fine(1, "Create")),
    rule(&[Test::Has("auditType", CHANGED)],          Is::fine(3, "Update")),
    rule(&[Test::Has("eventInfo", DELETED)],          Is::fine(4, "Delete")),
    rule(&[Test::Has("eventInfo", CREATED)],          Is::fine(1, "Create")),
    rule(&[Test::Has("eventInfo", CHANGED)],          Is::fine(3, "Update")),
    rule(&[],                                         Is::fine(99, "Audit")),
];
