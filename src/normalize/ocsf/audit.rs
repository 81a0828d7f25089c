//! OCSF for audit events: who logged on, what was changed, and who looked at what.

use super::super::audit_people::{ACCESSES, LOGONS};
use super::super::convert::verbatim;
use super::super::ecs::audit::{
    CHANGED, CHANGES_MEMBERS, CREATED, DELETED, DOES_CHANGE, DOES_CREATE, DOES_DELETE, DONE,
    IS_ACCOUNT_LOG, IS_GROUP_LOG, NAMES_TARGET, TEXT_MENTIONS_GROUP, TEXT_MENTIONS_ROLE,
    TYPE_MENTIONS_ROLE,
};
use super::super::table::{FieldMapping, Test, by_row, constant, row, text};
use super::super::unmapped::UNMAPPED_LOG_FIELDS;
use super::super::{audit, audit_people};
use super::classes::{self, Class, Classification, Rule, Variant, rule};
use super::convert::{
    auth_protocol, default_service, entity_type, mfa, original_time, other_entity, service,
};
use super::{
    GATEWAY_PRODUCT, HEAD, SECURITY_CONTROL_AND_HOST_PROFILES, SECURITY_CONTROL_PROFILE, TAIL,
};
use crate::field::{self, FieldName};

const HAS_USER: Test = Test::HasUser(field::USER);
const fn variant(
    when: &'static [Test],
    class: Class,
    rows: &'static [&'static [FieldMapping]],
    rules: &'static [Rule],
) -> Variant {
    Variant {
        when,
        class,
        rows,
        unmapped: &[UNMAPPED_LOG_FIELDS],
        activity: None,
        rules,
    }
}

/// The prose names a person. Variants with this test come after those for events with a user.
const NAMES_PERSON: Test = Test::NamesPerson(field::EVENT_INFO);
const PASSWORD: Test = Test::HasWordPrefix(&[field::AUDIT_TYPE], &["password"]);

/// The user is the account that was changed, and the actor is who changed it.
const ACCOUNT_ROWS: &[&[FieldMapping]] = &[
    HEAD,
    GATEWAY_PRODUCT,
    SECURITY_CONTROL_PROFILE,
    AUDIT_ROWS,
    TARGET_OR_ACTOR,
    ACTOR,
    UNMAPPED_PROSE,
    TAIL,
];
const PRIVILEGE_ROWS: &[&[FieldMapping]] = &[
    HEAD,
    GATEWAY_PRODUCT,
    SECURITY_CONTROL_PROFILE,
    AUDIT_ROWS,
    TARGET_OR_ACTOR,
    PRIVILEGES,
    ACTOR,
    UNMAPPED_PROSE,
    TAIL,
];
const LOGON_ROWS: &[&[FieldMapping]] = &[
    HEAD,
    GATEWAY_PRODUCT,
    SECURITY_CONTROL_PROFILE,
    AUDIT_ROWS,
    USER_ROWS,
    LOGON,
    TAIL,
];

const ENTITY_ROWS: &[&[FieldMapping]] = &[
    HEAD,
    GATEWAY_PRODUCT,
    SECURITY_CONTROL_PROFILE,
    AUDIT_ROWS,
    ACTOR,
    ENTITY,
    UNMAPPED_PROSE,
    TAIL,
];
const ROLE_ROWS: &[&[FieldMapping]] = &[
    HEAD,
    GATEWAY_PRODUCT,
    SECURITY_CONTROL_PROFILE,
    AUDIT_ROWS,
    ACTOR,
    ROLE,
    UNMAPPED_PROSE,
    TAIL,
];
const GROUP_ROWS: &[&[FieldMapping]] = &[
    HEAD,
    GATEWAY_PRODUCT,
    SECURITY_CONTROL_PROFILE,
    AUDIT_ROWS,
    TARGET,
    ACTOR,
    PROFILE_GROUP,
    UNMAPPED_PROSE,
    TAIL,
];

/// The classes of audit events, by their type and what they say. An event of any other type is a change of
/// a managed entity.
#[rustfmt::skip]
pub(super) const AUDIT: &[Variant] = &[
    variant(&[Test::Is(field::AUDIT_TYPE, &["User Logged On"]), Test::SentenceHasWordPrefix(field::EVENT_INFO, &["enroll"])],
        classes::ENTITY, &[HEAD, GATEWAY_PRODUCT, SECURITY_CONTROL_PROFILE, AUDIT_ROWS, ACTOR, DEVICE, UNMAPPED_PROSE, TAIL],
        &[rule(&[], Classification::activity(6, "Enroll"))]),
    variant(&[Test::Is(field::AUDIT_TYPE, LOGONS), HAS_USER], classes::AUTHENTICATION, LOGON_ROWS, LOGON_RULES),
    variant(&[Test::Is(field::AUDIT_TYPE, LOGONS), NAMES_PERSON], classes::AUTHENTICATION, LOGON_ROWS, LOGON_RULES),
    variant(&[TYPE_MENTIONS_ROLE, Test::NamesRoleAndTarget(field::EVENT_INFO)],            classes::USER_ACCESS, PRIVILEGE_ROWS, PRIVILEGE_RULES),
    variant(&[IS_ACCOUNT_LOG, TEXT_MENTIONS_ROLE, Test::NamesRoleAndTarget(field::EVENT_INFO)],  classes::USER_ACCESS, PRIVILEGE_ROWS, PRIVILEGE_RULES),
    variant(&[TYPE_MENTIONS_ROLE, NAMES_TARGET],           classes::ACCOUNT_CHANGE, ACCOUNT_ROWS, ROLE_ASSIGNMENT_RULES),
    variant(&[TYPE_MENTIONS_ROLE],                     classes::ENTITY, ROLE_ROWS, CHANGE_RULES),
    variant(&[IS_ACCOUNT_LOG, TEXT_MENTIONS_ROLE, NAMES_TARGET], classes::ACCOUNT_CHANGE, ACCOUNT_ROWS, ROLE_ASSIGNMENT_RULES),
    variant(&[IS_ACCOUNT_LOG, TEXT_MENTIONS_ROLE],           classes::ENTITY, ROLE_ROWS, CHANGE_RULES),
    variant(&[IS_ACCOUNT_LOG, CHANGES_MEMBERS, TEXT_MENTIONS_GROUP], classes::GROUP, GROUP_ROWS, GROUP_RULES),
    variant(&[PASSWORD, HAS_USER],             classes::ACCOUNT_CHANGE, ACCOUNT_ROWS, ACCOUNT_RULES),
    variant(&[PASSWORD, NAMES_PERSON],            classes::ACCOUNT_CHANGE, ACCOUNT_ROWS, ACCOUNT_RULES),
    variant(&[IS_ACCOUNT_LOG, HAS_USER],             classes::ACCOUNT_CHANGE, ACCOUNT_ROWS, ACCOUNT_RULES),
    variant(&[IS_ACCOUNT_LOG, NAMES_PERSON],            classes::ACCOUNT_CHANGE, ACCOUNT_ROWS, ACCOUNT_RULES),
    variant(&[IS_GROUP_LOG],                        classes::GROUP, GROUP_ROWS, GROUP_RULES),
    variant(&[Test::Is(field::AUDIT_TYPE, ACCESSES)],
        classes::WEB_RESOURCES, &[HEAD, GATEWAY_PRODUCT, SECURITY_CONTROL_AND_HOST_PROFILES, AUDIT_ROWS, ACTOR, RESOURCE, UNMAPPED_PROSE, TAIL],
        RESOURCE_RULES),
    variant(&[Test::HasValue(&[field::AUDIT_TYPE])], classes::ENTITY, ENTITY_ROWS, CHANGE_RULES),
    variant(&[],
        classes::BASE, &[HEAD, GATEWAY_PRODUCT, SECURITY_CONTROL_PROFILE, BASE_EVENT_ROWS, UNMAPPED_PROSE, TAIL],
        &[rule(&[], Classification::activity(99, "Audit").status(Some(0)))]),
];

const READS: &[&str] = &["Message Action", "Case Action", "Review Set Action"];
const EXPORTS: &[&str] = &[
    "Page Data Exports",
    "Archive Mailbox Export Download",
    "Threat Intel Feed Download",
];

/// The fields from which the people of an event are read.
const PEOPLE: &[FieldName] = &[field::USER, field::EVENT_INFO, field::AUDIT_TYPE];

/// Parts of the prose for which only the class Authentication has fields; events of the other classes
/// have them below `unmapped`.
#[rustfmt::skip]
const UNMAPPED_PROSE: &[FieldMapping] = &[
    row("unmapped.application", &[field::EVENT_INFO], text(audit::application)),
    row("unmapped.method",      &[field::EVENT_INFO], text(audit::method)),
    row("unmapped.mfa",         &[field::EVENT_INFO], text(audit::mfa)),
];

#[rustfmt::skip]
const TARGET_OR_ACTOR: &[FieldMapping] = &[
    row("user.name",       PEOPLE, by_row(audit_people::target_or_actor_name)),
    row("user.email_addr", PEOPLE, by_row(audit_people::target_or_actor_email)),
    row("user.domain",     PEOPLE, by_row(audit_people::target_or_actor_domain)),
];

/// Who was added to a group or removed from it.
#[rustfmt::skip]
const TARGET: &[FieldMapping] = &[
    row("user.name",       PEOPLE, by_row(audit_people::target_name)),
    row("user.email_addr", PEOPLE, by_row(audit_people::target_email)),
    row("user.domain",     PEOPLE, by_row(audit_people::target_domain)),
];

#[rustfmt::skip]
const PRIVILEGES: &[FieldMapping] = &[
    row("privileges", &[field::EVENT_INFO], by_row(audit_people::roles)),
];

#[rustfmt::skip]
const BASE_EVENT_ROWS: &[FieldMapping] = &[
    row("metadata.event_code",         &[field::AUDIT_TYPE], text(verbatim)),
    row("metadata.original_event_uid", &[field::ID],         text(verbatim)),
    row("metadata.original_time",      &[field::EVENT_TIME], by_row(original_time)),
    row("message",                     &[field::EVENT_INFO], text(verbatim)),
    row("status_detail",               &[field::EVENT_INFO], text(audit::reason)),
];

#[rustfmt::skip]
const AUDIT_ROWS: &[FieldMapping] = &[
    row("metadata.event_code",         &[field::AUDIT_TYPE], text(verbatim)),
    row("metadata.original_event_uid", &[field::ID],         text(verbatim)),
    row("metadata.original_time",      &[field::EVENT_TIME], by_row(original_time)),
    row("message",                     &[field::EVENT_INFO], text(verbatim)),
    row("status_detail",               &[field::EVENT_INFO], text(audit::reason)),
    row("src_endpoint.ip",             &[field::EVENT_INFO], text(audit::ip)),
    row("src_endpoint.port",           &[field::EVENT_INFO], text(audit::port)),
];

#[rustfmt::skip]
const USER_ROWS: &[FieldMapping] = &[
    row("user.name",       PEOPLE,               by_row(audit_people::actor_name)),
    row("user.email_addr", PEOPLE,               by_row(audit_people::actor_email)),
    row("user.domain",     PEOPLE,               by_row(audit_people::actor_domain)),
    row("user.full_name",  PEOPLE,               by_row(audit_people::actor_full_name)),
];

#[rustfmt::skip]
const ACTOR: &[FieldMapping] = &[
    row("actor.user.name",       PEOPLE, by_row(audit_people::actor_name)),
    row("actor.user.email_addr", PEOPLE, by_row(audit_people::actor_email)),
];

#[rustfmt::skip]
const LOGON: &[FieldMapping] = &[
    row("service.name",            &[field::EVENT_INFO], text(service).or(default_service)),
    row("{auth_protocol_id}",      &[field::EVENT_INFO], text(auth_protocol)),
    row("{is_mfa,auth_factors[]}", &[field::EVENT_INFO], text(mfa)),
];

#[rustfmt::skip]
const DEVICE: &[FieldMapping] = &[
    constant("entity.name",    "\"User device\""),
    constant("entity.type_id", "1"),
];

#[rustfmt::skip]
const ENTITY: &[FieldMapping] = &[
    row("entity.name",           &[field::EVENT_INFO, field::AUDIT_TYPE], by_row(audit_people::object)),
    row("entity.{type_id,type}", &[field::CATEGORY],                      text(entity_type).or(other_entity)),
];

/// A role that was created, changed or deleted.
#[rustfmt::skip]
const ROLE: &[FieldMapping] = &[
    row("entity.name",         &[field::EVENT_INFO, field::AUDIT_TYPE], by_row(audit_people::object)),
    constant("entity.type_id", "99"),
    constant("entity.type",    "\"Role\""),
];

#[rustfmt::skip]
const PROFILE_GROUP: &[FieldMapping] = &[
    row("group.name", &[field::EVENT_INFO], by_row(audit_people::profile_group)),
    row("group.type", &[field::CATEGORY],   text(verbatim)),
];

#[rustfmt::skip]
const RESOURCE: &[FieldMapping] = &[
    row("web_resources[].name", &[field::EVENT_INFO, field::AUDIT_TYPE], by_row(audit_people::object)),
    row("web_resources[].type", &[field::CATEGORY],                      text(verbatim)),
];

#[rustfmt::skip]
const LOGON_RULES: &[Rule] = &[
    rule(&[Test::Is(field::AUDIT_TYPE, &["Logon Requires Challenge"])],    Classification::activity(6, "Preauth").status(Some(0))),
    rule(&[Test::Is(field::AUDIT_TYPE, &["Logon Authentication Failed"]),
           Test::SentenceHasWordPrefix(field::EVENT_INFO, &["required permission"])],       Classification::activity(1, "Logon").severity(2).status(Some(2)).action_disposition(2, 26)),
    rule(&[Test::Is(field::AUDIT_TYPE, &["Logon Authentication Failed"])], Classification::activity(1, "Logon").severity(2).status(Some(2))),
    rule(&[Test::Is(field::AUDIT_TYPE, &["Mimecast Support Login"])],      Classification::activity(1, "Logon").severity(3).alert()),
    rule(&[],                                                        Classification::activity(1, "Logon")),
];

#[rustfmt::skip]
const RESOURCE_RULES: &[Rule] = &[
    rule(&[Test::Is(field::AUDIT_TYPE, READS)],             Classification::activity(2, "Read")),
    rule(&[Test::Is(field::AUDIT_TYPE, &["Search Action"])],Classification::activity(5, "Search")),
    rule(&[Test::Is(field::AUDIT_TYPE, EXPORTS)],           Classification::activity(7, "Export")),
    rule(&[],                                         Classification::activity(6, "Import")),
];

#[rustfmt::skip]
const GROUP_RULES: &[Rule] = &[
    rule(&[CHANGES_MEMBERS, Test::ActionIsAlsoAfterChange(field::EVENT_INFO, DELETED)],
        Classification::activity(4, "Remove User")),
    rule(&[CHANGES_MEMBERS],                                                    Classification::activity(3, "Add User")),
    rule(&[DOES_DELETE],                                                Classification::activity(5, "Delete")),
    rule(&[DOES_CREATE],                                                Classification::activity(6, "Create")),
    rule(&[],                                                           Classification::activity(99, "Folder Log Entry")),
];

#[rustfmt::skip]
const PRIVILEGE_RULES: &[Rule] = &[
    rule(&[Test::ActionIsAlsoAfterChange(field::EVENT_INFO, REVOKED)],           Classification::activity(2, "Revoke Privileges")),
    rule(&[],                                         Classification::activity(1, "Assign Privileges")),
];

#[rustfmt::skip]
const ROLE_ASSIGNMENT_RULES: &[Rule] = &[
    rule(&[Test::ActionIsAlsoAfterChange(field::EVENT_INFO, REVOKED)],           Classification::activity(8, "Detach Policy")),
    rule(&[Test::HasWordPrefix(&[field::AUDIT_TYPE], REVOKED)],            Classification::activity(8, "Detach Policy")),
    rule(&[],                                         Classification::activity(7, "Attach Policy")),
];

/// How a role is taken from an account.
const REVOKED: &[&str] = &["remov", "revok", "delet", "taken", "unassign"];

const MENTIONS_MFA: Test = Test::SentenceHasWordPrefix(
    field::EVENT_INFO,
    &["2fa", "mfa", "two-factor", "multi-factor", "second factor"],
);

#[rustfmt::skip]
const ACCOUNT_RULES: &[Rule] = &[
    rule(&[Test::SentenceHasWordPrefix(field::EVENT_INFO, &["reset"])],      Classification::activity(4, "Password Reset")),
    rule(&[PASSWORD],                                 Classification::activity(3, "Password Change")),
    rule(&[MENTIONS_MFA, Test::SentenceHasWordPrefix(field::EVENT_INFO, &["disabl"])], Classification::activity(11, "MFA Factor Disable")),
    rule(&[MENTIONS_MFA, Test::SentenceHasWordPrefix(field::EVENT_INFO, &["enabl"])],  Classification::activity(10, "MFA Factor Enable")),
    rule(&[Test::SentenceHasWordPrefix(field::EVENT_INFO, &["unlock"])],     Classification::activity(12, "Unlock")),
    rule(&[Test::SentenceHasWordPrefix(field::EVENT_INFO, &["locked"])],     Classification::activity(9, "Lock")),
    rule(&[Test::SentenceHasWordPrefix(field::EVENT_INFO, &["disabl"])],     Classification::activity(5, "Disable")),
    rule(&[Test::SentenceHasWordPrefix(field::EVENT_INFO, &["enabl"])],      Classification::activity(2, "Enable")),
    rule(&[Test::HasWordPrefix(&[field::AUDIT_TYPE], DELETED)],          Classification::activity(6, "Delete")),
    rule(&[Test::HasWordPrefix(&[field::AUDIT_TYPE], CREATED)],          Classification::activity(1, "Create")),
    rule(&[Test::HasWordPrefix(&[field::AUDIT_TYPE], CHANGED)],          Classification::activity(99, "Account Change")),
    rule(&[DOES_DELETE],         Classification::activity(6, "Delete")),
    rule(&[DOES_CREATE],         Classification::activity(1, "Create")),
    rule(&[DOES_CHANGE],         Classification::activity(99, "Account Change")),
    rule(&[],                                         Classification::activity(99, "Account Change").status(Some(0))),
];

#[rustfmt::skip]
const CHANGE_RULES: &[Rule] = &[
    rule(&[Test::Is(field::AUDIT_TYPE, &["Completed Directory Sync"])], Classification::activity(99, "Completed Directory Sync")),
    rule(&[Test::Is(field::AUDIT_TYPE, &["Logon Authentication Failed"])], Classification::activity(99, "Logon").severity(2).status(Some(2))),
    rule(&[Test::Is(field::AUDIT_TYPE, &["Logon Requires Challenge"])], Classification::activity(99, "Logon").status(Some(0))),
    rule(&[Test::Is(field::AUDIT_TYPE, &["Mimecast Support Login"])], Classification::activity(99, "Logon").severity(3).alert()),
    rule(&[Test::Is(field::AUDIT_TYPE, LOGONS)],            Classification::activity(99, "Logon")),
    rule(&[Test::HasWordPrefix(&[field::AUDIT_TYPE], DELETED)],          Classification::activity(4, "Delete")),
    rule(&[Test::HasWordPrefix(&[field::AUDIT_TYPE], CREATED)],          Classification::activity(1, "Create")),
    rule(&[Test::HasWordPrefix(&[field::AUDIT_TYPE], CHANGED)],          Classification::activity(3, "Update")),
    rule(&[Test::HasWordPrefix(&[field::AUDIT_TYPE], DONE)],             Classification::activity(99, "Audit")),
    rule(&[DOES_DELETE],         Classification::activity(4, "Delete")),
    rule(&[DOES_CREATE],         Classification::activity(1, "Create")),
    rule(&[DOES_CHANGE],         Classification::activity(3, "Update")),
    rule(&[Test::ReportsFailure(field::EVENT_INFO)],                Classification::activity(99, "Audit").severity(2).status(Some(2))),
    rule(&[],                                         Classification::activity(99, "Audit").status(Some(0))),
];
