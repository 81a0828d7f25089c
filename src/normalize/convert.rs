//! How the value of a field is written, for each [`Shape`].

use super::line::Line;
use super::plan::Leaf;
use super::table::{Prose, Related, Shape};
use super::values::{self, Plain, is_absent, is_placeholder};
use super::{address, compound, more, prose};
use crate::decode::json::Kind;
use crate::encode::{push_escaped, push_lowercase};
use crate::record::Value;

/// Writes the row: the first field with a value that fits, or what the row has for none.
pub(super) fn write(line: &mut Line<'_, '_>, leaf: &Leaf) {
    let shape = leaf.shape;
    if let Shape::Files = shape {
        return compound::files(line, leaf, compound::push_attachment);
    } else if let Shape::NullSender = shape {
        return null_sender(line, leaf);
    } else if let Shape::OccurredIfTrue = shape {
        return occurred_if_true(line, leaf);
    } else if let Shape::Port = shape {
        return port(line, leaf);
    } else if let Shape::Word(word) = shape {
        return constant(line, leaf, word);
    } else if let Shape::More(shape) = shape {
        return more::write(line, leaf, shape);
    }
    if let (Shape::Tenant, Some(tenant)) = (shape, line.tenant) {
        line.out.push_str(&leaf.key);
        line.out.push_str(tenant);
        line.out.push(',');
        return;
    }
    for name in leaf.from {
        let Some(value) = line.record.get(*name) else {
            continue;
        };
        if is_absent(&value) {
            continue;
        }
        let start = line.out.len();
        line.out.push_str(&leaf.key);
        if push(line, value, shape) {
            line.out.push(',');
            line.finish_field(*name);
            return;
        }
        line.forget_field();
        line.out.truncate(start);
    }
    if let Shape::Action(word) = shape
        && !word.is_empty()
    {
        push_word(line, leaf, word);
    }
}

/// Writes a value in its shape, if it fits; what is written otherwise is taken back.
fn push(line: &mut Line<'_, '_>, value: Value<'_>, shape: Shape) -> bool {
    if let Shape::Boolean = shape {
        return push_boolean(line, value);
    } else if let Shape::Object = shape {
        return push_object(line, value);
    } else if let Shape::SpamDetail = shape {
        return compound::spam_detail(line, value);
    }
    let mut buffer = String::new();
    match Plain::new(value, &mut buffer) {
        Some(plain) if matches!(shape, Shape::Action(_)) || !is_placeholder(plain.text) => {
            push_plain(line, plain, shape)
        }
        Some(_) | None => false,
    }
}

/// Writes text in its shape, if it fits.
#[inline]
fn push_plain(line: &mut Line<'_, '_>, plain: Plain<'_>, shape: Shape) -> bool {
    let text = plain.text;
    match shape {
        Shape::Action(_) | Shape::Tenant | Shape::Text => quoted(line, plain, text),
        Shape::Address => match address::bare(text) {
            Some(text) => noted(line, plain, text, Related::User),
            None => false,
        },
        Shape::Code => text != "0" && quoted(line, plain, text),
        Shape::Direction => match values::direction(text) {
            Some(word) => quoted(line, plain, word),
            None => false,
        },
        Shape::Domain => match address::bare(text).and_then(|text| text.rsplit_once('@')) {
            Some((_, domain)) => quoted(line, plain, domain),
            None => false,
        },
        Shape::Hash(digits) => hash(line, text, digits),
        Shape::Host => {
            !text.contains(char::is_whitespace) && noted(line, plain, text, Related::Hosts)
        }
        Shape::Ip => match address::endpoint(text) {
            Some((ip, _)) => noted(line, plain, ip, Related::Ip),
            None => false,
        },
        Shape::Kebab => kebab(line, text),
        Shape::Reason => reason(line, plain),
        Shape::Digits => is_digits(text) && quoted(line, plain, text),
        Shape::Words => !is_digits(text) && quoted(line, plain, text),
        Shape::Long => push_digits(line, text),
        Shape::MessageId => {
            let id = text.trim_matches(['<', '>', ' ']);
            !is_placeholder(id) && quoted(line, plain, id)
        }
        Shape::Milliseconds => milliseconds(line, text),
        Shape::Prose(part) => match prose::find(text, part) {
            Some(found) if part == Prose::Ip => noted(line, plain, found, Related::Ip),
            Some(found) if matches!(part, Prose::FileSize | Prose::Port) => {
                line.out.push_str(found);
                true
            }
            Some(found) if let Prose::Hash(digits) = part => hash(line, found, digits),
            Some(found) if part == Prose::FileExtension => {
                line.out.push('"');
                push_lowercase(line.out, found);
                line.out.push('"');
                true
            }
            Some(found) => quoted(line, plain, found),
            None => false,
        },
        Shape::TlsProtocol => match values::tls_version(text) {
            Some((protocol, _)) => quoted(line, plain, protocol),
            None => false,
        },
        Shape::TlsVersion => match values::tls_version(text) {
            Some((_, number)) => quoted(line, plain, number),
            None => false,
        },
        Shape::Url => compound::url(line, plain),
        Shape::User => noted(line, plain, text, Related::User),
        // These do not come as text and are written elsewhere.
        Shape::Boolean
        | Shape::Files
        | Shape::More(_)
        | Shape::NullSender
        | Shape::Object
        | Shape::OccurredIfTrue
        | Shape::Port
        | Shape::SpamDetail
        | Shape::Word(_) => false,
    }
}

fn is_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Writes text with one blank for each run of white space, unless it is the word `unknown`.
fn reason(line: &mut Line<'_, '_>, plain: Plain<'_>) -> bool {
    if plain.text.eq_ignore_ascii_case("unknown") {
        return false;
    }
    let is_padded = plain.text.contains("  ") || plain.text.contains(['\r', '\n', '\t']);
    if !is_padded {
        return quoted(line, plain, plain.text);
    }
    let words: Vec<&str> = plain.text.split_whitespace().collect();
    quoted(line, plain, &words.join(" "))
}

#[inline]
fn quoted(line: &mut Line<'_, '_>, plain: Plain<'_>, text: &str) -> bool {
    line.out.push('"');
    plain.push(text, line.out);
    line.out.push('"');
    true
}

/// Writes text in quotes and remembers it for `related`.
#[inline]
pub(super) fn noted(line: &mut Line<'_, '_>, plain: Plain<'_>, text: &str, sort: Related) -> bool {
    line.out.push('"');
    let start = line.out.len();
    plain.push(text, line.out);
    line.note(sort, start);
    if let (Related::User, Some(domain)) = (sort, address::domain(text)) {
        // A domain has no escapes. One in brackets is an address of a host, and no name.
        if !domain.starts_with('[') {
            line.note(Related::Hosts, line.out.len().saturating_sub(domain.len()));
        }
    }
    line.out.push('"');
    true
}

fn push_word(line: &mut Line<'_, '_>, leaf: &Leaf, word: &str) {
    line.out.push_str(&leaf.key);
    line.out.push('"');
    line.out.push_str(word);
    line.out.push_str("\",");
}

fn constant(line: &mut Line<'_, '_>, leaf: &Leaf, word: &str) {
    push_word(line, leaf, word);
    for name in leaf.from {
        if line
            .record
            .get(*name)
            .is_some_and(|value| value.text.eq_ignore_ascii_case(word))
        {
            line.mark_used(*name);
        }
    }
}

fn null_sender(line: &mut Line<'_, '_>, leaf: &Leaf) {
    for name in leaf.from {
        let value = line
            .record
            .get(*name)
            .filter(|value| value.kind == Kind::String);
        if value.is_some_and(|value| matches!(value.text.trim_ascii(), "" | "<>")) {
            line.out.push_str(&leaf.key);
            line.out.push_str("true,");
            line.mark_used(*name);
        }
    }
}

fn occurred_if_true(line: &mut Line<'_, '_>, leaf: &Leaf) {
    let mut values = leaf.from.iter().filter_map(|name| line.record.get(*name));
    if values.any(|value| values::boolean(value.text) == Some(true)) {
        line.out.push_str(&leaf.key);
        line.out.push('"');
        line.occurred.write_rfc3339(line.out);
        line.out.push_str("\",");
    }
}

/// The port of the IP address that the row of the address takes: the first there is.
fn port(line: &mut Line<'_, '_>, leaf: &Leaf) {
    let record = line.record;
    let values = leaf.from.iter().filter_map(|name| record.get(*name));
    let mut buffer = String::new();
    for value in values.filter(|value| !is_absent(value)) {
        let found = Plain::new(value, &mut buffer).and_then(|plain| address::endpoint(plain.text));
        if let Some((_, port)) = found {
            if let Some(port) = port {
                line.out.push_str(&leaf.key);
                line.out.push_str(port);
                line.out.push(',');
            }
            return;
        }
    }
}

fn hash(line: &mut Line<'_, '_>, text: &str, digits: usize) -> bool {
    if text.len() != digits || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return false;
    }
    line.out.push('"');
    let start = line.out.len();
    push_lowercase(line.out, text);
    line.note(Related::Hash, start);
    line.out.push('"');
    true
}

fn kebab(line: &mut Line<'_, '_>, text: &str) -> bool {
    line.out.push('"');
    let start = line.out.len();
    for word in text
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
    {
        if line.out.len() > start {
            line.out.push('-');
        }
        line.out.extend(word.chars().flat_map(char::to_lowercase));
    }
    let written = line.out.len() > start;
    line.out.push('"');
    written
}

fn push_digits(line: &mut Line<'_, '_>, text: &str) -> bool {
    let Some(digits) = values::long(text) else {
        return false;
    };
    line.out
        .push_str(if digits == "-0" { "0" } else { &digits });
    true
}

fn milliseconds(line: &mut Line<'_, '_>, text: &str) -> bool {
    match values::long(text).as_deref() {
        Some("0") => line.out.push('0'),
        // Twelve digits are thirty years; nanoseconds of that still fit.
        Some(digits) if digits.len() <= 12 && !digits.starts_with('-') => {
            line.out.push_str(digits);
            line.out.push_str("000000");
        }
        Some(_) | None => return false,
    }
    true
}

/// Writes `true` or `false` for a boolean or a word for it.
pub(super) fn push_boolean(line: &mut Line<'_, '_>, value: Value<'_>) -> bool {
    let known = match value.kind {
        Kind::True => Some(true),
        Kind::False => Some(false),
        Kind::String => values::boolean(value.text.trim_ascii()),
        Kind::Array | Kind::Null | Kind::Number | Kind::Object => None,
    };
    line.out.push_str(match known {
        Some(true) => "true",
        Some(false) => "false",
        None => return false,
    });
    true
}

/// Writes a whole number for a number or its digits.
pub(super) fn push_long(line: &mut Line<'_, '_>, value: Value<'_>) -> bool {
    let is_scalar = matches!(value.kind, Kind::Number | Kind::String);
    is_scalar && push_digits(line, value.text.trim_ascii())
}

/// Writes a scalar as a string.
pub(super) fn push_text(line: &mut Line<'_, '_>, value: Value<'_>) -> bool {
    if matches!(value.kind, Kind::Array | Kind::Object | Kind::Null) {
        return false;
    }
    line.out.push('"');
    line.out.push_str(value.text);
    line.out.push('"');
    true
}

/// Writes a JSON object, also one that comes as text.
pub(super) fn push_object(line: &mut Line<'_, '_>, value: Value<'_>) -> bool {
    let Some(object) = compound::decode(value, &mut line.buffers.decoded) else {
        return false;
    };
    crate::encode::push_line(line.out, object);
    true
}

/// Writes text in quotes, escaped.
pub(super) fn push_escaped_word(line: &mut Line<'_, '_>, key: &str, text: &str) {
    line.out.push_str(key);
    push_escaped(line.out, text);
    line.out.push_str("\",");
}
