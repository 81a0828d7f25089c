//! Audit events: what administrators and users did, in prose.

use serde_json::{Value, json};

use crate::random::Random;
use crate::records::{FieldGenerator, PEOPLE, ip};
use crate::response::SimulatedResponse;
use crate::time::UtcTime;

/// Generates an audit event.
pub(crate) fn event(generator: &mut FieldGenerator) -> Value {
    let (number, at_ms, odd_shapes) = (generator.number, generator.at_ms, generator.odd_shapes);
    let random = &mut generator.random;
    let time = UtcTime::new(at_ms);
    let (audit_type, category, text) = random.pick(TYPES);
    let (name, mailbox) = random.pick(PEOPLE);
    let user = format!("{mailbox}@harbour.example");
    let unpadded = odd_shapes && random.chance(60);
    let time = if unpadded {
        time.iso_with_utc_offset_unpadded()
    } else {
        time.iso_with_utc_offset()
    };
    let info = text
        .replace("{user}", &user)
        .replace("{last, first}", &last_first(name))
        .replace("{ip}", &ip_or_null(random, odd_shapes))
        .replace("{when}", &when(random, at_ms, odd_shapes))
        .replace("{n}", &number.to_string());
    let without_user = audit_type == "Completed Directory Sync";
    json!({
        "id": format!("eNoVzb0{}{number:06}", random.token(36)),
        "auditType": audit_type,
        "user": if without_user { String::new() } else { user },
        "eventTime": time,
        "eventInfo": info,
        "category": category,
    })
}

/// Returns the categories, as `get-categories` lists them.
pub(crate) fn categories() -> SimulatedResponse {
    let mut codes: Vec<&str> = TYPES.iter().map(|(_, category, _)| *category).collect();
    codes.sort_unstable();
    codes.dedup();
    let category = |code: &&str| {
        let name = code.replace('_', " ");
        json!({"code": code, "id": format!("category-{code}"), "name": name})
    };
    let categories: Vec<Value> = codes.iter().map(category).collect();
    let meta = json!({"status": 200, "pagination": {"pageSize": categories.len()}});
    SimulatedResponse::json(
        200,
        &json!({"meta": meta, "data": [{"categories": categories}], "fail": []}),
    )
}

fn last_first(name: &str) -> String {
    match name.split_once(' ') {
        Some((first, last)) if !name.contains(',') => format!("{last}, {first}"),
        _ => name.to_owned(),
    }
}

fn ip_or_null(random: &mut Random, odd_shapes: bool) -> String {
    if odd_shapes && random.chance(60) {
        "null".to_owned()
    } else {
        ip(random, "Inbound", odd_shapes)
    }
}

/// Formats date and time in the actor's zone, which is not reliable.
fn when(random: &mut Random, at_ms: i64, odd_shapes: bool) -> String {
    let zones = if odd_shapes { ZONES } else { &[("+0000", 0)] };
    let (zone, hours) = random.pick(zones);
    let local = UtcTime::new(at_ms + hours * 3_600_000);
    format!("Date: {}, Time: {} {zone}", local.date(), local.clock())
}

/// The names that zones have in the prose, and their hours.
const ZONES: &[(&str, i64)] = &[
    ("+0000", 0),
    ("GMT", 0),
    ("GMT-04:00", -4),
    ("BST", 1),
    ("AEDT", 11),
];

/// Type, category and prose.
const TYPES: &[(&str, &str, &str)] = &[
    (
        "User Logged On",
        "authentication_logs",
        "Successful authentication for {user} <{last, first}>, {when}, IP: {ip}, Application: Administration Console, Method: Cloud, 2FA: TOTP",
    ),
    (
        "User Logged On",
        "authentication_logs",
        "Successful SSO into MimecastCentral for {user}, {when}, IP :{ip}, Application: Personal Portal, Method: SAML",
    ),
    (
        "User Logged On",
        "authentication_logs",
        "{user} enrolled user for user device enrollment, {when}, IP: {ip}",
    ),
    (
        "Logon Requires Challenge",
        "authentication_logs",
        "Intermediate authentication for {user}, {when}, IP: {ip}, Application: mimecast-case-review, Method: Cloud",
    ),
    (
        "Logon Authentication Failed",
        "authentication_logs",
        "Failed authentication for {user} <{last, first}>, {when}, IP: {ip}, Application: Administration Console, Method: Cloud, Reason: Invalid Password",
    ),
    (
        "Logon Authentication Failed",
        "authentication_logs",
        "{user} does not have the required permissions, {when}, IP: :{ip}, application : Outlook",
    ),
    (
        "Mimecast Support Login",
        "mimecast_access_logs",
        "Support access by {user}, {when}, Remote IP is {ip}",
    ),
    (
        "User Password Changed",
        "user_account_and_role_logs",
        "Password reset for emailAddress={user}, {when}, IP Address : {ip}, Application: Administration Console",
    ),
    (
        "Folder Log Entry",
        "profile_group_logs",
        "Removed group Warehouse {n} by {user}, {when}, IP: {ip}, Application: Administration Console",
    ),
    (
        "Folder Log Entry",
        "profile_group_logs",
        "Added {user} to group \"Finance, all\", {when}, IP: {ip}",
    ),
    (
        "Connectors Management",
        "integrations_and_apis",
        "Created connector Warehouse sync {n}, {when}, IP: {ip}, Application: Administration Console",
    ),
    (
        "Existing Archive Task Changed",
        "archive_service_logs",
        "Changed task Export {n}, {when}, remote IP : {ip}",
    ),
    (
        "Custom Report Definition Created",
        "reporting_logs",
        "Created report Weekly figures {n} <{last, first}>, {when}, IP: {ip}",
    ),
    (
        "Remediation Incident Adjustment",
        "account_logs",
        "Incident TR-CSIM1-{n}-M created: hash in 3 messages, {when}, IP: {ip}",
    ),
    (
        "Completed Directory Sync",
        "account_logs",
        "Completed sync of connection {n}: 12 added, 0 changed, 1 removed",
    ),
    (
        "Message Action",
        "case_review_logs",
        "Viewed message {n} in case Harbour v. Quince, {when}, IP: {ip}",
    ),
    (
        "Case Action",
        "case_review_logs",
        "Opened case Harbour v. Quince, {when}, IP: {ip}",
    ),
    (
        "Review Set Action",
        "case_review_logs",
        "Opened review set {n}, {when}, IP: {ip}",
    ),
    (
        "Search Action",
        "case_review_logs",
        "Searched for \"pallets AND (price OR cost)\" in case {n}, {when}, IP: {ip}",
    ),
    (
        "Page Data Exports",
        "account_logs",
        "Exported page Message Tracking, {when}, IP: {ip}, Application: Administration Console",
    ),
    (
        "Archive Mailbox Export Download",
        "archive_service_logs",
        "Downloaded export {n}.zip of {user}, {when}, IP: {ip}",
    ),
    (
        "Threat Intel Feed Download",
        "reporting_logs",
        "Downloaded feed malware_customer as stix, {when}, IP: {ip}",
    ),
    (
        "Archive Mailbox Restore",
        "archive_service_logs",
        "Restored mailbox of {user} from {n}, {when}, IP: {ip}",
    ),
    (
        "Lighthouse Lamp Adjusted",
        "lighthouse_logs",
        "Nobody documented this type \u{2013} {n}, {when}, IP: {ip}",
    ),
];
