//! Values with an inner structure: lists of addresses and files, URLs, checks of a message.

use core::net::IpAddr;

use super::line::Line;
use super::plan::Leaf;
use super::shape::{noted, push_escaped_word};
use super::table::Related;
use super::values::{self, Plain, is_absent};
use super::{address, files, url};
use crate::decode::json::{self, Kind};
use crate::decode::unescape::unescape_into;
use crate::encode::push_line;
use crate::record::{Name, Value};

/// How many times a JSON text may be wrapped into a JSON string.
const WRAPPED_MAX: u32 = 3;

/// The checks of a message whose verdicts are lifted out.
const CHECKS: [&str; 3] = ["spf", "dkim", "dmarc"];

/// The text of a JSON object that may come as text itself, wrapped [`WRAPPED_MAX`] times at the
/// most. Valid JSON, but there may be line breaks between its tokens.
pub(super) fn decode<'v>(value: Value<'v>, buffers: &'v mut [String; 2]) -> Option<&'v str> {
    match value.kind {
        Kind::Object => return Some(value.text),
        Kind::String => {}
        Kind::Array | Kind::False | Kind::Null | Kind::Number | Kind::True => return None,
    }
    let [text, other] = buffers;
    text.clear();
    unescape_into(value.text, text);
    for _ in 0..WRAPPED_MAX {
        let element = json::scan_value(text).ok()?;
        match element.kind {
            Kind::Object => return Some(element.value.of(text)),
            Kind::String => {
                other.clear();
                unescape_into(element.value.of(text), other);
                core::mem::swap(text, other);
            }
            Kind::Array | Kind::False | Kind::Null | Kind::Number | Kind::True => return None,
        }
    }
    None
}

/// Writes the object, and its verdicts as `auth` behind it.
pub(super) fn spam_detail(line: &mut Line<'_, '_>, value: Value<'_>) -> bool {
    let mut decoded = core::mem::take(&mut line.buffers.decoded);
    let written = match decode(value, &mut decoded) {
        Some(object) => {
            push_line(line.out, object);
            verdicts(line, object);
            true
        }
        None => false,
    };
    line.buffers.decoded = decoded;
    written
}

fn verdicts(line: &mut Line<'_, '_>, object: &str) {
    let mut members = core::mem::take(&mut line.buffers.members);
    let start = line.out.len();
    line.out.push_str(",\"auth\":{");
    let empty = line.out.len();
    if json::scan_object(object, &mut members).is_ok() {
        for check in CHECKS {
            let member = members
                .iter()
                .rfind(|member| member.key.of(object) == check);
            let Some(member) = member.filter(|member| member.kind == Kind::Object) else {
                continue;
            };
            verdict(line, check, member.value.of(object));
        }
    }
    if line.out.len() == empty {
        line.out.truncate(start);
    } else {
        line.out.pop();
        line.out.push('}');
    }
    line.buffers.members = members;
}

fn verdict(line: &mut Line<'_, '_>, check: &str, result: &str) {
    let mut members = Vec::new();
    if json::scan_object(result, &mut members).is_err() {
        return;
    }
    let info = members
        .iter()
        .rfind(|member| member.key.of(result) == "info");
    let Some(info) = info.filter(|member| member.kind == Kind::String) else {
        return;
    };
    let mut text = String::new();
    unescape_into(info.value.of(result), &mut text);
    let word = text.trim();
    if word.is_empty() {
        return;
    }
    let key = format!("\"{check}\":\"");
    match values::verdict(word) {
        Some(word) => push_escaped_word(line, &key, word),
        None => push_escaped_word(line, &key, &word.to_lowercase()),
    }
}

/// Writes a list of bare addresses from text or from a list of texts. Where only a part reads
/// as addresses, the field is kept besides.
pub(super) fn addresses(line: &mut Line<'_, '_>, value: Value<'_>) -> bool {
    let mut list = List {
        begun: false,
        complete: true,
        first: (0, 0),
        others: Vec::new(),
    };
    line.out.push('[');
    match value.kind {
        Kind::Array => {
            let _scanned_before = json::scan_array(value.text, |element| {
                let text = element.value.of(value.text);
                let inner = Value {
                    kind: element.kind,
                    text,
                    escaped: element.escaped,
                };
                list.add(line, inner);
            });
        }
        Kind::False | Kind::Null | Kind::Number | Kind::Object | Kind::True => return false,
        Kind::String => list.add(line, value),
    }
    line.out.push(']');
    line.is_partial |= !list.complete;
    list.begun
}

struct List {
    begun: bool,
    complete: bool,
    first: (usize, usize),
    others: Vec<(usize, usize)>,
}

impl List {
    fn add(&mut self, line: &mut Line<'_, '_>, value: Value<'_>) {
        let mut buffer = core::mem::take(&mut line.buffers.plain);
        if let Some(plain) = Plain::new(value, &mut buffer) {
            match address::bare(plain.text) {
                Some(text) => self.push(line, plain, text),
                None => {
                    for part in address::split(plain.text) {
                        match address::bare(part) {
                            Some(text) => self.push(line, plain, text),
                            None => self.complete = false,
                        }
                    }
                }
            }
        } else if !is_absent(&value) {
            self.complete = false;
        }
        line.buffers.plain = buffer;
    }

    fn push(&mut self, line: &mut Line<'_, '_>, plain: Plain<'_>, text: &str) {
        let before = line.out.len();
        if self.begun {
            line.out.push(',');
        }
        let start = line.out.len();
        noted(line, plain, text, Related::User);
        let range = (start, line.out.len());
        let written = line.out.get(range.0..range.1);
        if !core::mem::replace(&mut self.begun, true) {
            self.first = range;
            return;
        }
        let mut earlier = core::iter::once(&self.first).chain(&self.others);
        if earlier.any(|(from, to)| line.out.get(*from..*to) == written) {
            line.out.truncate(before);
            return;
        }
        self.others.push(range);
    }
}

/// The names of the files that the first field of the row names, and the field.
pub(super) fn file_names(line: &Line<'_, '_>, leaf: &Leaf) -> Option<(Name, Vec<String>)> {
    let mut from = leaf.from.iter().copied();
    let field = from.next()?;
    let count = from
        .next()
        .and_then(|name| line.record.get(name))
        .map(|value| value.text);
    let value = line.record.get(field).filter(|value| !is_absent(value))?;
    let mut names = match value.kind {
        Kind::Array => listed_names(value.text)?,
        Kind::False | Kind::Null | Kind::Number | Kind::Object | Kind::True => return None,
        Kind::String => {
            let mut text = String::new();
            unescape_into(value.text, &mut text);
            files::names(text.trim(), count)
        }
    };
    names.retain(|name| !values::is_placeholder(name));
    Some((field, names))
}

/// Writes `email.attachments` from the text that names them, or from a list of names.
pub(super) fn files(line: &mut Line<'_, '_>, leaf: &Leaf) {
    let Some((field, names)) = file_names(line, leaf) else {
        return;
    };
    line.mark_used(field);
    if names.is_empty() {
        return;
    }
    line.out.push_str(&leaf.key);
    line.out.push('[');
    for name in &names {
        line.out.push_str("{\"file\":{");
        push_escaped_word(line, "\"name\":\"", name);
        if let Some(extension) = files::extension(name) {
            push_escaped_word(line, "\"extension\":\"", &extension);
        }
        line.out.pop();
        line.out.push_str("}},");
    }
    line.out.pop();
    line.out.push_str("],");
}

/// The verdict that a word stands for.
pub(super) fn verdict_of(word: &str) -> Option<&'static str> {
    values::verdict(word)
}

/// The strings of a list; nothing if it holds anything else.
fn listed_names(list: &str) -> Option<Vec<String>> {
    let mut names = Vec::new();
    let mut is_plain = true;
    let _scanned_before = json::scan_array(list, |element| {
        let mut name = String::new();
        unescape_into(element.value.of(list), &mut name);
        is_plain &= element.kind == Kind::String;
        names.push(name.trim().to_owned());
    });
    is_plain.then_some(names)
}

/// Writes an object with the URL and, where it is absolute, its parts.
pub(super) fn url(line: &mut Line<'_, '_>, plain: Plain<'_>) -> bool {
    let text = plain.text;
    line.out.push_str("{\"original\":\"");
    plain.push(text, line.out);
    line.out.push('"');
    if let Some(parts) = url::split(text) {
        line.out.push_str(",\"full\":\"");
        plain.push(text, line.out);
        line.out.push_str("\",\"scheme\":\"");
        line.out
            .extend(parts.scheme.chars().map(|c| c.to_ascii_lowercase()));
        line.out.push_str("\",\"domain\":");
        let host = parts.host.to_lowercase();
        let bare = host.trim_matches(['[', ']']);
        let is_ip = bare.parse::<IpAddr>().is_ok();
        noted_host(line, plain, &host, (is_ip, bare));
        for (key, part) in [
            (",\"path\":\"", parts.path),
            (",\"query\":\"", parts.query),
            (",\"fragment\":\"", parts.fragment),
            (",\"extension\":\"", parts.extension),
            (",\"username\":\"", parts.username),
        ] {
            if !part.is_empty() && !values::is_placeholder(part) {
                line.out.push_str(key);
                plain.push(part, line.out);
                line.out.push('"');
            }
        }
        if !parts.port.is_empty() {
            line.out.push_str(",\"port\":");
            line.out.push_str(parts.port);
        }
    }
    line.out.push('}');
    true
}

/// Writes the host of a URL; an address in it is related as an address, without brackets.
fn noted_host(line: &mut Line<'_, '_>, plain: Plain<'_>, host: &str, (is_ip, bare): (bool, &str)) {
    if !is_ip {
        noted(line, plain, host, Related::Hosts);
        return;
    }
    line.out.push('"');
    if host == bare {
        let start = line.out.len();
        line.out.push_str(bare);
        line.note(Related::Ip, start);
    } else {
        line.out.push('[');
        let start = line.out.len();
        line.out.push_str(bare);
        line.note(Related::Ip, start);
        line.out.push(']');
    }
    line.out.push('"');
}
