//! The people of an audit event: who acted, whose account it was, and what was acted on.

use super::address;
use super::line::Line;
use super::plan::Leaf;
use super::prose;
use super::shape::noted;
use super::table::{Account, Prose, Related};
use super::values::{Plain, is_absent, is_placeholder};
use crate::encode::push_escaped;
use crate::field::Name;

/// Types of audit events that say who logged on, or tried to.
pub(super) const LOGONS: &[&str] = &[
    "User Logged On",
    "Logon Requires Challenge",
    "Logon Authentication Failed",
    "Mimecast Support Login",
];

/// Types of audit events that say what was looked at, exported or restored.
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

/// What is written of a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The name, which mostly is an address.
    Name,
    /// The address.
    Email,
    /// The part of the address behind the `@`.
    Domain,
}

/// Writes a person, from the fields `user`, `eventInfo` and `auditType` in this order.
pub(super) fn person(line: &mut Line<'_, '_>, leaf: &Leaf, account: Account, part: Part) {
    let [user, prose, kind] = [0, 1, 2].map(|at| text(line, leaf.from.get(at)));
    let is_one_of = |types: &[&str]| types.iter().any(|word| word.eq_ignore_ascii_case(&kind));
    let named = || {
        let mut people = prose::people(&prose);
        people
            .find(|person| !person.eq_ignore_ascii_case(&user))
            .or_else(|| prose::people(&prose).next())
    };
    let target = || named().filter(|_| !is_one_of(LOGONS) && !is_one_of(ACCESSES));
    let actor = || {
        let tried = || named().filter(|_| is_one_of(LOGONS));
        Some(user.as_str())
            .filter(|user| !user.is_empty())
            .or_else(tried)
    };
    let found = match account {
        Account::Actor => actor(),
        Account::Target => target(),
        Account::Subject => target().or_else(actor),
    };
    let address = found.and_then(address::bare);
    let (text, is_noted) = match part {
        Part::Name => (found, true),
        Part::Email => (address, true),
        Part::Domain => (address.and_then(address::domain), false),
    };
    let Some(text) = text else {
        return;
    };
    line.out.push_str(&leaf.key);
    let plain = Plain {
        text,
        unescaped: true,
    };
    if is_noted {
        noted(line, plain, text, Related::User);
    } else {
        line.out.push('"');
        plain.push(text, line.out);
        line.out.push('"');
    }
    line.out.push(',');
    let is_user = found.is_some_and(|found| core::ptr::eq(found, user.as_str()));
    if let (true, Some(name)) = (is_user, leaf.from.first()) {
        line.mark_used(*name);
    }
}

/// Writes the name of what was acted on: from the prose in the first field, else the text of the
/// second.
pub(super) fn object(line: &mut Line<'_, '_>, leaf: &Leaf) {
    let [prose, kind] = [0, 1].map(|at| text(line, leaf.from.get(at)));
    let found = prose::find(&prose, Prose::Object).or_else(|| prose::find(&prose, Prose::File));
    let name = found.unwrap_or(&kind);
    if !name.is_empty() {
        push_text(line, &leaf.key, name);
    }
}

/// Writes the name of a group, from the prose in the first field, where the type in the second or
/// the category in the third says that it is about one.
pub(super) fn group(line: &mut Line<'_, '_>, leaf: &Leaf) {
    let [prose, kind, category] = [0, 1, 2].map(|at| text(line, leaf.from.get(at)));
    let is_group = kind.eq_ignore_ascii_case("Folder Log Entry")
        || category.eq_ignore_ascii_case("profile_group_logs");
    if let Some(name) = prose::find(&prose, Prose::Object).filter(|_| is_group) {
        push_text(line, &leaf.key, name);
    }
}

/// The same for prose that is about a group, or the name given here.
pub(super) fn group_or(line: &mut Line<'_, '_>, leaf: &Leaf, name: &str) {
    let prose = text(line, leaf.from.first());
    let found = prose::find(&prose, Prose::Object);
    push_text(line, &leaf.key, found.unwrap_or(name));
}

/// Writes the role that the prose names, as a list, where it names a person as well.
pub(super) fn roles(line: &mut Line<'_, '_>, leaf: &Leaf) {
    let prose = text(line, leaf.from.first());
    let role = prose::find(&prose, Prose::Role);
    if let (Some(role), Some(_)) = (role, prose::people(&prose).next()) {
        line.out.push_str(&leaf.key);
        line.out.push_str("[\"");
        push_escaped(line.out, role);
        line.out.push_str("\"],");
    }
}

fn push_text(line: &mut Line<'_, '_>, key: &str, text: &str) {
    line.out.push_str(key);
    line.out.push('"');
    push_escaped(line.out, text);
    line.out.push_str("\",");
}

/// The text of a field; empty if it says nothing.
fn text(line: &Line<'_, '_>, name: Option<&Name>) -> String {
    let value = name.and_then(|name| line.record.get(*name));
    let mut buffer = String::new();
    value
        .filter(|value| !is_absent(value))
        .and_then(|value| Plain::new(value, &mut buffer))
        .filter(|plain| !is_placeholder(plain.text))
        .map_or_else(String::new, |plain| plain.text.to_owned())
}
