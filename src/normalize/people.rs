//! Addresses of people: bare, with names, in objects, in lists of all these.

use super::address;
use super::distinct::{Distinct, VALUES_MAX};
use super::line::Line;
use super::shape::noted;
use super::table::Related;
use super::values::{Plain, is_absent, is_placeholder};
use crate::decode::json::{self, Kind};
use crate::record::Value;

/// The member of an object that has the address.
const MEMBERS: [&str; 2] = ["emailAddress", "email"];

/// Calls `each` for every text in which addresses may stand; says whether that is all there is.
fn texts(value: Value<'_>, each: &mut dyn FnMut(Value<'_>)) -> bool {
    match value.kind {
        Kind::String => {
            each(value);
            true
        }
        Kind::Array => {
            let mut is_all = true;
            let _scanned_before = json::scan_array(value.text, |element| {
                let inner = Value {
                    kind: element.kind,
                    text: element.value.of(value.text),
                    escaped: element.escaped,
                };
                if inner.kind != Kind::Array {
                    is_all &= is_absent(&inner) || texts(inner, each);
                } else {
                    is_all = false;
                }
            });
            is_all
        }
        Kind::Object => {
            let mut members = Vec::new();
            if json::scan_object(value.text, &mut members).is_err() {
                return false;
            }
            let member = members
                .iter()
                .rfind(|member| MEMBERS.contains(&member.key.of(value.text)));
            if let Some(member) = member.filter(|member| member.kind == Kind::String) {
                each(Value {
                    kind: Kind::String,
                    text: member.value.of(value.text),
                    escaped: member.escaped,
                });
            }
            members.len() == 1 && member.is_some()
        }
        Kind::False | Kind::Null | Kind::Number | Kind::True => false,
    }
}

/// Calls `each` for every address in the value; says whether that is all there is.
fn addresses(value: Value<'_>, is_fit: fn(&str) -> bool, each: &mut dyn FnMut(&str)) -> bool {
    let mut is_all = true;
    let mut buffer = String::new();
    is_all &= texts(value, &mut |text| {
        let Some(plain) = Plain::new(text, &mut buffer) else {
            return;
        };
        if let Some(found) = address::bare(plain.text) {
            if is_fit(found) {
                each(found);
            } else {
                is_all = false;
            }
            return;
        }
        for part in address::split(plain.text) {
            match address::bare(part).filter(|found| is_fit(found)) {
                Some(found) => each(found),
                None => is_all &= is_placeholder(part),
            }
        }
    });
    is_all
}

/// Whether an address has the form of OCSF's `email_t`: ASCII, and a domain with a dot.
pub(super) fn is_email(address: &str) -> bool {
    let is_local =
        |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+,-./=?^_`{|}~".contains(&byte);
    let is_domain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    let Some((local, domain)) = address.split_once('@') else {
        return false;
    };
    let dot = domain.find('.');
    !local.is_empty()
        && local.bytes().all(is_local)
        && domain.bytes().all(is_domain)
        && dot.is_some_and(|at| at > 0 && at + 1 < domain.len())
}

/// Whether the value has an address of that form.
pub(super) fn has_email(value: Value<'_>) -> bool {
    let mut found = false;
    addresses(value, is_email, &mut |_| found = true);
    found
}

/// Writes the first address that fits; the field is kept if there is more in it.
fn first(line: &mut Line<'_, '_>, value: Value<'_>, is_fit: fn(&str) -> bool) -> bool {
    let mut count = 0_u32;
    let is_all = addresses(value, is_fit, &mut |address| {
        count = count.saturating_add(1);
        if count == 1 {
            quote(line, address);
        }
    });
    line.is_partial |= !is_all || count > 1;
    count > 0
}

/// Writes every address that fits, each once.
fn all(line: &mut Line<'_, '_>, value: Value<'_>, is_fit: fn(&str) -> bool) -> bool {
    let mut seen = core::mem::take(&mut line.buffers.list);
    seen.clear();
    line.out.push('[');
    let is_all = addresses(value, is_fit, &mut |address| {
        push_once(line, &mut seen, |line| quote(line, address));
    });
    line.out.push(']');
    line.is_partial |= !is_all;
    let is_written = !seen.values().is_empty();
    line.buffers.list = seen;
    is_written
}

/// Writes a value of a list, with a comma before it where it is not the first, unless it stands in
/// the list or the list is full.
pub(super) fn push_once<'r, 'b>(
    line: &mut Line<'r, 'b>,
    seen: &mut Distinct<(usize, usize)>,
    push: impl FnOnce(&mut Line<'r, 'b>),
) {
    if seen.is_full() {
        line.is_cut = true;
        line.is_partial = true;
        return;
    }
    let before = line.out.len();
    if !seen.values().is_empty() {
        line.out.push(',');
    }
    let start = line.out.len();
    push(line);
    if !seen.add(line.out, (start, line.out.len())) {
        line.out.truncate(before);
    }
}

/// A bare address needs no escapes.
fn quote(line: &mut Line<'_, '_>, address: &str) {
    let plain = Plain {
        text: address,
        unescaped: false,
    };
    noted(line, plain, address, Related::User);
}

/// One address of OCSF's form.
pub(super) fn email(line: &mut Line<'_, '_>, value: Value<'_>) -> bool {
    first(line, value, is_email)
}

/// All addresses of OCSF's form.
pub(super) fn emails(line: &mut Line<'_, '_>, value: Value<'_>) -> bool {
    all(line, value, is_email)
}

/// One address.
pub(super) fn person(line: &mut Line<'_, '_>, value: Value<'_>) -> bool {
    first(line, value, |_| true)
}

/// All addresses.
pub(super) fn people(line: &mut Line<'_, '_>, value: Value<'_>) -> bool {
    all(line, value, |_| true)
}

/// Mailboxes that something was meant for. The addresses stand elsewhere as well, so the field
/// is not used up.
pub(super) fn resources(line: &mut Line<'_, '_>, value: Value<'_>) -> bool {
    line.out.push('[');
    let start = line.out.len();
    let mut count = 0_usize;
    addresses(value, |_| true, &mut |address| {
        count = count.saturating_add(1);
        if count > VALUES_MAX {
            line.is_cut = true;
            return;
        }
        line.out.push_str("{\"name\":\"");
        line.out.push_str(address);
        line.out.push_str("\",\"type\":\"Mailbox\",\"role_id\":1},");
    });
    let written = line.out.len() > start;
    line.out.pop();
    line.out.push(']');
    line.is_partial = true;
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
    fn only_ascii_addresses_with_a_dot_in_the_domain_fit() {
        for address in ["ann@example.com", "a+b'c@mail.example.test", "x@1.2"] {
            assert!(is_email(address), "{address}");
        }
        for address in [
            "ann@localhost",
            "änn@example.com",
            "@a.b",
            "a@.b",
            "a@b.",
            "a b@c.d",
            "a@b@c.d",
        ] {
            assert!(!is_email(address), "{address}");
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
        assert!(has_email(value("Ann <a@b.test>, x", Kind::String)));
        assert!(!has_email(value(r#"{"name":"a@b.test"}"#, Kind::Object)));
        assert!(!has_email(value("1", Kind::Number)));
    }
}
