//! The people of an audit event: who acted, whose account it was, and what was acted on.

use super::address;
use super::convert::quoted_and_related;
use super::mapping::FieldStep;
use super::prose::{self, ProsePart};
use super::table::Related;
use super::values::{UnescapedText, is_placeholder};
use super::writer::EventWriter;
use crate::encode::push_escaped;

/// Types of audit events for a logon or an attempt at one.
pub(super) const LOGONS: &[&str] = &[
    "User Logged On",
    "Logon Requires Challenge",
    "Logon Authentication Failed",
    "Mimecast Support Login",
];

/// Types of audit events for data that was viewed, exported or restored.
pub(super) const ACCESSES: &[&str] = &[
    "Message Action",
    "Case Action",
    "Review Set Action",
    "Search Action",
    "Page Data Exports",
    "Archive Mailbox Export Download",
    "Threat Intel Feed Download",
    "Archive Mailbox Restore",
];

/// Which person of an audit event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PersonRole {
    /// Who acted: the user; where there is none, the person whom the prose of a logon names, else the
    /// one after "by".
    Actor,
    /// Whose account was changed, as the prose names it.
    Target,
    /// The target, or the actor where no other is named.
    TargetOrActor,
}

/// What is written of a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// The name, which mostly is an address.
    Name,
    /// The address.
    Email,
    /// The part of the address after the `@`.
    Domain,
    /// The display name, which follows the address in the prose.
    FullName,
}

/// Writes the name of who acted.
pub(super) fn actor_name(writer: &mut EventWriter<'_, '_>, row: &FieldStep) {
    person(writer, row, PersonRole::Actor, Part::Name);
}

/// Writes the address of who acted.
pub(super) fn actor_email(writer: &mut EventWriter<'_, '_>, row: &FieldStep) {
    person(writer, row, PersonRole::Actor, Part::Email);
}

/// Writes the domain of who acted.
pub(super) fn actor_domain(writer: &mut EventWriter<'_, '_>, row: &FieldStep) {
    person(writer, row, PersonRole::Actor, Part::Domain);
}

/// Writes the display name of who acted.
pub(super) fn actor_full_name(writer: &mut EventWriter<'_, '_>, row: &FieldStep) {
    person(writer, row, PersonRole::Actor, Part::FullName);
}

/// Writes the name of whose account was changed.
pub(super) fn target_name(writer: &mut EventWriter<'_, '_>, row: &FieldStep) {
    person(writer, row, PersonRole::Target, Part::Name);
}

/// Writes the address of whose account was changed.
pub(super) fn target_email(writer: &mut EventWriter<'_, '_>, row: &FieldStep) {
    person(writer, row, PersonRole::Target, Part::Email);
}

/// Writes the domain of whose account was changed.
pub(super) fn target_domain(writer: &mut EventWriter<'_, '_>, row: &FieldStep) {
    person(writer, row, PersonRole::Target, Part::Domain);
}

/// Writes the display name of whose account was changed.
pub(super) fn target_full_name(writer: &mut EventWriter<'_, '_>, row: &FieldStep) {
    person(writer, row, PersonRole::Target, Part::FullName);
}

/// Writes the name of whose account was changed, or who acted where no other is named.
pub(super) fn target_or_actor_name(writer: &mut EventWriter<'_, '_>, row: &FieldStep) {
    person(writer, row, PersonRole::TargetOrActor, Part::Name);
}

/// Writes the address of whose account was changed, or who acted where no other is named.
pub(super) fn target_or_actor_email(writer: &mut EventWriter<'_, '_>, row: &FieldStep) {
    person(writer, row, PersonRole::TargetOrActor, Part::Email);
}

/// Writes the domain of whose account was changed, or who acted where no other is named.
pub(super) fn target_or_actor_domain(writer: &mut EventWriter<'_, '_>, row: &FieldStep) {
    person(writer, row, PersonRole::TargetOrActor, Part::Domain);
}

/// Returns the user that the field `user` names: its text, or the address in it where the upstream wrote
/// a Java object in place of a user.
pub(super) fn user(text: &str) -> &str {
    let is_object = matches!(text.bytes().last(), Some(b'}' | b']' | b')')) && text.contains('=')
        || prose::is_java_object(text);
    if is_object {
        prose::address_in_object(text).unwrap_or_default()
    } else {
        text
    }
}

/// Writes a person, from the fields `user`, `eventInfo` and `auditType` in this order.
fn person(writer: &mut EventWriter<'_, '_>, row: &FieldStep, role: PersonRole, part: Part) {
    let mut buffers = [const { String::new() }; 3];
    let [user_text, prose, audit_type] = texts(writer, row, &mut buffers);
    let user = user(user_text);
    let is_one_of = |types: &[&str]| {
        types
            .iter()
            .any(|word| word.eq_ignore_ascii_case(audit_type))
    };
    let cache = &mut writer.buffers.prose_cache;
    let (prose_target, prose_actor) = prose::target_and_actor(cache, prose, user);
    let target = || prose_target.filter(|_| !is_one_of(LOGONS) && !is_one_of(ACCESSES));
    let actor = || {
        let fallback_actor = || prose_target.filter(|_| is_one_of(LOGONS)).or(prose_actor);
        Some(user)
            .filter(|user| !user.is_empty())
            .or_else(fallback_actor)
    };
    let found = match role {
        PersonRole::Actor => actor(),
        PersonRole::Target => target(),
        PersonRole::TargetOrActor => target().or_else(actor),
    };
    let address = found.and_then(address::bare);
    let (text, is_related) = match part {
        Part::Name => (found, true),
        Part::Email => (address, true),
        Part::Domain => (address.and_then(address::domain), false),
        Part::FullName => {
            let name = address.and_then(|it| prose::full_name(cache, prose, it));
            (name, false)
        }
    };
    let Some(text) = text else {
        return;
    };
    writer.out.push_str(&row.key);
    let plain = UnescapedText {
        text,
        needs_escaping: true,
    };
    if is_related {
        quoted_and_related(writer, plain, text, Related::User);
    } else {
        writer.out.push('"');
        plain.append_escaped_as_needed(text, writer.out);
        writer.out.push('"');
    }
    writer.out.push(',');
    let is_user = found.is_some_and(|found| core::ptr::eq(found, user_text));
    if let (true, Some(name)) = (is_user && part != Part::FullName, row.from.first()) {
        writer.mark_used(*name);
    }
}

/// Writes the name of what was acted on: from the prose in the first field, else the text of the
/// second.
pub(super) fn object(writer: &mut EventWriter<'_, '_>, row: &FieldStep) {
    let mut buffers = [const { String::new() }; 2];
    let [prose, audit_type] = texts(writer, row, &mut buffers);
    let mut find = |part| prose::find(&mut writer.buffers.prose_cache, prose, part);
    let found = find(ProsePart::Object).or_else(|| find(ProsePart::File));
    let name = found.unwrap_or(audit_type);
    if !name.is_empty() {
        push_text(writer, &row.key, name);
    }
}

/// Writes the name of a group, from the prose in the first field, where the type in the second or
/// the category in the third says that it is about one.
pub(super) fn group(writer: &mut EventWriter<'_, '_>, row: &FieldStep) {
    let mut buffers = [const { String::new() }; 3];
    let [prose, audit_type, category] = texts(writer, row, &mut buffers);
    let is_group = audit_type.eq_ignore_ascii_case("Folder Log Entry")
        || category.eq_ignore_ascii_case("profile_group_logs");
    let found =
        is_group.then(|| prose::find(&mut writer.buffers.prose_cache, prose, ProsePart::Object));
    if let Some(name) = found.flatten() {
        push_text(writer, &row.key, name);
    }
}

/// Writes the name of a group where the prose is known to be about one; a group without a name is a
/// `Profile group`.
pub(super) fn profile_group(writer: &mut EventWriter<'_, '_>, row: &FieldStep) {
    let mut buffers = [const { String::new() }];
    let [prose] = texts(writer, row, &mut buffers);
    let found = prose::find(&mut writer.buffers.prose_cache, prose, ProsePart::Object);
    push_text(writer, &row.key, found.unwrap_or("Profile group"));
}

/// Writes the role that the prose names, as a list, where it also names a person who did not act.
pub(super) fn roles(writer: &mut EventWriter<'_, '_>, row: &FieldStep) {
    let mut buffers = [const { String::new() }];
    let [prose] = texts(writer, row, &mut buffers);
    let role = prose::find(&mut writer.buffers.prose_cache, prose, ProsePart::Role);
    let has_target = prose::names_target(&mut writer.buffers.prose_cache, prose);
    if let Some(role) = role.filter(|_| has_target) {
        writer.out.push_str(&row.key);
        writer.out.push_str("[\"");
        push_escaped(writer.out, role);
        writer.out.push_str("\"],");
    }
}

fn push_text(writer: &mut EventWriter<'_, '_>, key: &str, text: &str) {
    writer.out.push_str(key);
    writer.out.push('"');
    push_escaped(writer.out, text);
    writer.out.push_str("\",");
}

/// Returns the texts of the first fields of a row; an empty one for each field without a value.
fn texts<'t, const COUNT: usize>(
    writer: &EventWriter<'t, '_>,
    row: &FieldStep,
    buffers: &'t mut [String; COUNT],
) -> [&'t str; COUNT] {
    let mut texts = [""; COUNT];
    let fields = row.from.iter().zip(buffers).zip(&mut texts);
    for ((name, buffer), text) in fields {
        let value = writer.value(*name);
        let plain = value.and_then(|value| UnescapedText::new(value, buffer));
        if let Some(plain) = plain.filter(|plain| !is_placeholder(plain.text)) {
            *text = plain.text;
        }
    }
    texts
}
