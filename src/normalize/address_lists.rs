//! Addresses: bare, with names, in objects, in lists of all these.

use super::address;
use super::convert::quoted_and_related;
use super::distinct::{Distinct, VALUES_MAX};
use super::table::Related;
use super::values::{UnescapedText, is_absent, is_placeholder};
use super::writer::EventWriter;
use crate::decode::json::{self, Kind};
use crate::encode::push_escaped;
use crate::record::Value;

/// The members of an object that may have the address; the first there is counts.
const MEMBERS: [&str; 3] = ["emailAddress", "email", "address"];

/// Calls `each` for every text that may contain addresses. Returns whether the value contains nothing
/// else.
fn for_each_text(value: Value<'_>, each: &mut dyn FnMut(Value<'_>)) -> bool {
    match value.kind {
        Kind::String => {
            each(value);
            true
        }
        Kind::Array => {
            let mut has_nothing_else = true;
            let _already_validated = json::scan_array(value.text, |element| {
                let inner = Value {
                    kind: element.kind,
                    text: element.value.of(value.text),
                    escaped: element.escaped,
                };
                if inner.kind != Kind::Array {
                    has_nothing_else &= is_absent(&inner) || for_each_text(inner, each);
                } else {
                    has_nothing_else = false;
                }
            });
            has_nothing_else
        }
        Kind::Object => {
            let mut members = Vec::new();
            if json::scan_object(value.text, &mut members).is_err() {
                return false;
            }
            let named = |name: &str| {
                let mut members = members.iter();
                members.rfind(|member| member.key.of(value.text) == name)
            };
            let member = MEMBERS.into_iter().find_map(named);
            if let Some(member) = member.filter(|member| member.kind == Kind::String) {
                each(Value {
                    kind: Kind::String,
                    text: member.value.of(value.text),
                    escaped: member.escaped,
                });
            }
            members.len() == 1 && member.is_some_and(|member| member.kind == Kind::String)
        }
        Kind::False | Kind::Null | Kind::Number | Kind::True => false,
    }
}

/// Calls `each` for every address in the value. Returns whether the value contains nothing else.
fn for_each_address(value: Value<'_>, each: &mut dyn FnMut(&str)) -> bool {
    let mut has_nothing_else = true;
    let mut buffer = String::new();
    has_nothing_else &= for_each_text(value, &mut |text| {
        let Some(plain) = UnescapedText::new(text, &mut buffer) else {
            return;
        };
        if let Some(found) = address::bare(plain.text) {
            has_nothing_else &= address::is_alone(found, plain.text);
            each(found);
            return;
        }
        for part in address::split(plain.text) {
            match address::bare(part) {
                Some(found) => {
                    has_nothing_else &= address::is_alone(found, part);
                    each(found);
                }
                None => has_nothing_else &= is_placeholder(part),
            }
        }
    });
    has_nothing_else
}

/// Returns whether the value has an address.
pub(super) fn has_email(value: Value<'_>) -> bool {
    let mut found = false;
    for_each_address(value, &mut |_| found = true);
    found
}

/// Writes the first address that fits; a field with anything else in it is unmapped as well.
fn first(writer: &mut EventWriter<'_, '_>, value: Value<'_>, form: Form) -> bool {
    let mut count = 0_u32;
    let mut is_verbatim = true;
    let has_nothing_else = for_each_address(value, &mut |address| {
        count = count.saturating_add(1);
        if count == 1 {
            is_verbatim &= push_address(writer, address, form);
        }
    });
    writer.is_also_unmapped |= !has_nothing_else || !is_verbatim || count > 1;
    count > 0
}

/// Writes every address that fits, each once.
fn all(writer: &mut EventWriter<'_, '_>, value: Value<'_>, form: Form) -> bool {
    // Most lists are one address, which needs no look for repetitions.
    let mut buffer = String::new();
    let text = UnescapedText::new(value, &mut buffer).filter(|_| value.kind == Kind::String);
    if let Some(address) = text.and_then(|plain| address::bare(plain.text)) {
        writer.out.push('[');
        let is_verbatim = push_address(writer, address, form);
        writer.out.push(']');
        let is_alone = text.is_some_and(|plain| address::is_alone(address, plain.text));
        writer.is_also_unmapped |= !is_verbatim || !is_alone;
        return true;
    }
    let mut seen = core::mem::take(&mut writer.buffers.list);
    seen.clear();
    writer.out.push('[');
    let mut is_verbatim = true;
    let has_nothing_else = for_each_address(value, &mut |address| {
        push_once(writer, &mut seen, |writer| {
            is_verbatim &= push_address(writer, address, form);
        });
    });
    writer.out.push(']');
    writer.is_also_unmapped |= !has_nothing_else || !is_verbatim;
    let is_written = !seen.values().is_empty();
    writer.buffers.list = seen;
    is_written
}

/// Writes a value of a list, with a comma before it where it is not the first, unless it stands in
/// the list or the list is full.
pub(super) fn push_once<'r, 'b>(
    writer: &mut EventWriter<'r, 'b>,
    seen: &mut Distinct<(usize, usize)>,
    push: impl FnOnce(&mut EventWriter<'r, 'b>),
) {
    if seen.is_full() {
        writer.is_truncated = true;
        writer.is_also_unmapped = true;
        return;
    }
    let before = writer.out.len();
    if !seen.values().is_empty() {
        writer.out.push(',');
    }
    let start = writer.out.len();
    push(writer);
    if !seen.add(writer.out, (start, writer.out.len())) {
        writer.out.truncate(before);
    }
}

/// How an address is written.
#[derive(Clone, Copy)]
enum Form {
    /// As the upstream wrote it.
    Verbatim,
    /// With a domain of ASCII, as OCSF's `email_t` has it.
    AsciiDomain,
}

/// Writes an address. Returns whether it is as the upstream wrote it.
fn push_address(writer: &mut EventWriter<'_, '_>, address: &str, form: Form) -> bool {
    let plain = UnescapedText {
        text: address,
        // Only a quoted local part has something to escape.
        needs_escaping: address.starts_with('"'),
    };
    let ascii = match form {
        Form::AsciiDomain => address::with_ascii_domain(address),
        Form::Verbatim => None,
    };
    match ascii {
        Some(ascii) => {
            quoted_and_related(writer, plain, &ascii, Related::User);
            false
        }
        None => {
            quoted_and_related(writer, plain, address, Related::User);
            true
        }
    }
}

/// Writes one address in OCSF's form.
pub(super) fn first_address_with_ascii_domain(
    writer: &mut EventWriter<'_, '_>,
    value: Value<'_>,
) -> bool {
    first(writer, value, Form::AsciiDomain)
}

/// Writes all addresses in OCSF's form.
pub(super) fn all_addresses_with_ascii_domain(
    writer: &mut EventWriter<'_, '_>,
    value: Value<'_>,
) -> bool {
    all(writer, value, Form::AsciiDomain)
}

/// Writes the first address as the upstream gives it, if OCSF's form differs. The address stands
/// elsewhere as well, so the field is not used up.
pub(super) fn first_address_if_idn(writer: &mut EventWriter<'_, '_>, value: Value<'_>) -> bool {
    let mut count = 0_u32;
    let mut is_written = false;
    for_each_address(value, &mut |address| {
        count = count.saturating_add(1);
        if count == 1 && address::with_ascii_domain(address).is_some() {
            writer.out.push('"');
            push_escaped(writer.out, address);
            writer.out.push('"');
            is_written = true;
        }
    });
    writer.is_also_unmapped = true;
    is_written
}

/// Writes one address as the upstream gives it.
pub(super) fn first_address(writer: &mut EventWriter<'_, '_>, value: Value<'_>) -> bool {
    first(writer, value, Form::Verbatim)
}

/// Writes all addresses as the upstream gives them.
pub(super) fn all_addresses(writer: &mut EventWriter<'_, '_>, value: Value<'_>) -> bool {
    all(writer, value, Form::Verbatim)
}

/// Writes the mailboxes that something was meant for. This does not use up the field: it is unmapped as
/// well, unless another row uses it.
pub(super) fn resources(writer: &mut EventWriter<'_, '_>, value: Value<'_>) -> bool {
    writer.out.push('[');
    let start = writer.out.len();
    let mut count = 0_usize;
    for_each_address(value, &mut |address| {
        count = count.saturating_add(1);
        if count > VALUES_MAX {
            writer.is_truncated = true;
            return;
        }
        writer.out.push_str("{\"name\":\"");
        let start = writer.out.len();
        push_escaped(writer.out, address);
        let end = writer.out.len();
        // The schema takes a name there for that of a resource, and this is an address.
        super::observables::add_text(writer, 5, "", (start, end));
        writer
            .out
            .push_str("\",\"type\":\"Mailbox\",\"role_id\":1},");
    });
    let written = writer.out.len() > start;
    writer.out.pop();
    writer.out.push(']');
    writer.is_also_unmapped = true;
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str, kind: Kind) -> Value<'_> {
        Value {
            kind,
            text,
            escaped: false,
        }
    }

    #[test]
    fn addresses_are_found_in_objects_and_lists() {
        assert!(has_email(value(
            r#"{"emailAddress":"a@b.test"}"#,
            Kind::Object
        )));
        assert!(has_email(value(
            r#"[null,{"displayableName":"A","emailAddress":"a@b.test"}]"#,
            Kind::Array
        )));
        assert!(has_email(value(
            r#"{"address":"a@b.test","domain":"b.test"}"#,
            Kind::Object
        )));
        assert!(has_email(value(
            r#"{"emailAddress":"a@b.test","address":"1 Main Street"}"#,
            Kind::Object
        )));
        assert!(has_email(value("Ann <a@b.test>, x", Kind::String)));
        assert!(!has_email(value(r#"{"name":"a@b.test"}"#, Kind::Object)));
        assert!(!has_email(value("1", Kind::Number)));
    }
}
