//! Values with an inner structure: lists of files, URLs, checks of a message.

use core::net::IpAddr;
use std::borrow::Cow;
use std::collections::BTreeSet;

use super::convert::{push_text_member, push_verdict, quoted_and_related};
use super::distinct::VALUES_MAX;
use super::mapping::FieldStep;
use super::table::Related;
use super::values::{self, UnescapedText, is_absent};
use super::writer::EventWriter;
use super::{files, url};
use crate::decode::json::{self, Kind, Member};
use crate::decode::unescape::unescape_into;
use crate::encode::{lowercase, push_ascii_lowercase, push_single_line};
use crate::record::Value;

/// How many times a JSON text may be wrapped into a JSON string.
const WRAPPED_MAX: u32 = 3;

/// The checks of a message whose verdicts are extracted.
pub(super) const AUTH_METHODS: [&str; 3] = ["spf", "dkim", "dmarc"];

/// Returns the text of a JSON object that may come as text itself, wrapped [`WRAPPED_MAX`] times at
/// the most. Valid JSON, but there may be line breaks between its tokens.
pub(super) fn decode<'v>(value: Value<'v>, buffers: &'v mut [String; 2]) -> Option<&'v str> {
    unwrap_object(value, buffers, &mut Vec::new())
}

/// Like [`decode`]. Fills `wrapped_members` with the members of an object that came as text; it stays
/// empty for an object that was not wrapped.
fn unwrap_object<'v>(
    value: Value<'v>,
    buffers: &'v mut [String; 2],
    wrapped_members: &mut Vec<Member>,
) -> Option<&'v str> {
    wrapped_members.clear();
    match value.kind {
        Kind::Object => return Some(value.text),
        Kind::String => {}
        Kind::Array | Kind::False | Kind::Null | Kind::Number | Kind::True => return None,
    }
    let [text, other] = buffers;
    text.clear();
    unescape_into(value.text, text);
    for _ in 0..WRAPPED_MAX {
        if text.trim_ascii_start().starts_with('{') {
            // Members are found from the brace on.
            let text = text.trim_ascii_start();
            let scanned = json::scan_object(text, wrapped_members).ok()?;
            return Some(scanned.span.of(text));
        }
        let element = json::scan_value(text).ok()?;
        if element.kind != Kind::String {
            return None;
        }
        other.clear();
        unescape_into(element.value.of(text), other);
        core::mem::swap(text, other);
    }
    None
}

/// Writes the object, and its verdicts as `auth` after it.
pub(super) fn spam_detail(writer: &mut EventWriter<'_, '_>, value: Value<'_>) -> bool {
    with_object(writer, value, |writer, object, members| {
        push_single_line(writer.out, object);
        let start = writer.out.len();
        writer.out.push_str(",\"auth\":{");
        if push_object_verdicts(writer, object, members) {
            writer.out.pop();
            writer.out.push('}');
        } else {
            writer.out.truncate(start);
        }
    })
}

/// Writes the verdicts in the gateway's check of a message (`{"spf":{"info":…},…}`, perhaps as text) as
/// members, each with a comma after it.
pub(super) fn push_verdicts(writer: &mut EventWriter<'_, '_>, value: Value<'_>) {
    with_object(writer, value, |writer, object, members| {
        push_object_verdicts(writer, object, members);
    });
}

/// Calls `write` with the object in a value and its members, if there is one.
fn with_object<'r, 'b>(
    writer: &mut EventWriter<'r, 'b>,
    value: Value<'_>,
    write: impl FnOnce(&mut EventWriter<'r, 'b>, &str, &[Member]),
) -> bool {
    let mut decoded = core::mem::take(&mut writer.buffers.decoded);
    let mut members = core::mem::take(&mut writer.buffers.members);
    let object = unwrap_object(value, &mut decoded, &mut members).filter(|object| {
        // An object that was not wrapped was validated with its record: only its members are read here.
        value.kind != Kind::Object || json::scan_object(object, &mut members).is_ok()
    });
    if let Some(object) = object {
        write(writer, object, &members);
    }
    let is_object = object.is_some();
    writer.buffers.decoded = decoded;
    writer.buffers.members = members;
    is_object
}

fn push_object_verdicts(
    writer: &mut EventWriter<'_, '_>,
    object: &str,
    members: &[Member],
) -> bool {
    let before = writer.out.len();
    for check in AUTH_METHODS {
        let found = members
            .iter()
            .rfind(|member| member.key.of(object) == check);
        if let Some(member) = found.filter(|member| member.kind == Kind::Object) {
            push_check_verdict(writer, check, member.value.of(object));
        }
    }
    writer.out.len() > before
}

fn push_check_verdict(writer: &mut EventWriter<'_, '_>, check: &str, result: &str) {
    let mut members = core::mem::take(&mut writer.buffers.nested_members);
    let mut text = core::mem::take(&mut writer.buffers.plain);
    text.clear();
    if json::scan_object(result, &mut members).is_ok() {
        let info = members
            .iter()
            .rfind(|member| member.key.of(result) == "info");
        if let Some(info) = info.filter(|member| member.kind == Kind::String) {
            unescape_into(info.value.of(result), &mut text);
        }
    }
    let word = text.trim();
    if !word.is_empty() {
        push_verdict(writer, check, word);
    }
    writer.buffers.nested_members = members;
    writer.buffers.plain = text;
}

/// Writes a list of attachments, from the text that names them or from a list of names, as [`files()`] reads
/// the row.
pub(super) fn attachments(writer: &mut EventWriter<'_, '_>, row: &FieldStep) {
    files(writer, row, push_attachment);
}

/// Writes a list of files, whose elements `push` writes with a comma after each. The last argument of
/// `push` is whether the file was named before. The first field of the row names the files; the second, if
/// there is one, has their number, by which a list is told from one name with commas.
pub(super) fn files(
    writer: &mut EventWriter<'_, '_>,
    row: &FieldStep,
    push: fn(&mut EventWriter<'_, '_>, &str, bool),
) {
    let mut from = row.from.iter().copied();
    let mut next = || {
        from.next()
            .and_then(|name| Some((name, writer.record.get(name)?)))
    };
    let Some((field, value)) = next().filter(|(_, value)| !is_absent(value)) else {
        return;
    };
    let count = next().map(|(_, value)| value.text);
    let mut text = core::mem::take(&mut writer.buffers.plain);
    let names = match value.kind {
        Kind::Array => listed_names(value.text),
        Kind::False | Kind::Null | Kind::Number | Kind::Object | Kind::True => None,
        Kind::String => {
            text.clear();
            unescape_into(value.text, &mut text);
            Some(files::names(text.trim(), count))
        }
    };
    if let Some(mut names) = names {
        let given = names.len();
        names.retain(|name| !values::is_placeholder(name));
        // A file beside others may have a name that is a word for none.
        writer.is_also_unmapped |= !names.is_empty() && names.len() < given;
        if names.len() > VALUES_MAX {
            names.truncate(VALUES_MAX);
            writer.is_truncated = true;
            writer.is_also_unmapped = true;
        }
        // A word for no file is no list, and is unmapped as a text is.
        if !names.is_empty() || given == 0 {
            push_files(writer, row, &names, push);
            writer.finish_field(field);
        }
    }
    writer.buffers.plain = text;
}

fn push_files(
    writer: &mut EventWriter<'_, '_>,
    row: &FieldStep,
    names: &[Cow<'_, str>],
    push: fn(&mut EventWriter<'_, '_>, &str, bool),
) {
    if names.is_empty() {
        return;
    }
    writer.out.push_str(&row.key);
    writer.out.push('[');
    let mut known = BTreeSet::new();
    for name in names {
        push(writer, name, !known.insert(&**name));
    }
    writer.out.pop();
    writer.out.push_str("],");
}

/// Writes an element of `email.attachments`.
fn push_attachment(writer: &mut EventWriter<'_, '_>, name: &str, _is_repeat: bool) {
    writer.out.push_str("{\"file\":{");
    push_text_member(writer, "\"name\":\"", name);
    push_extension(writer, "\"extension\":\"", name);
    writer.out.pop();
    writer.out.push_str("}},");
}

/// Writes the extension of a file's name, in lower case, if it has one.
pub(super) fn push_extension(writer: &mut EventWriter<'_, '_>, key_and_quote: &str, name: &str) {
    if let Some(extension) = files::extension(name) {
        writer.out.push_str(key_and_quote);
        push_ascii_lowercase(writer.out, extension);
        writer.out.push_str("\",");
    }
}

/// Returns the strings of a list; nothing if it holds anything else.
fn listed_names(list: &str) -> Option<Vec<Cow<'_, str>>> {
    let mut names = Vec::new();
    let mut all_strings = true;
    let _already_validated = json::scan_array(list, |element| {
        let mut name = String::new();
        unescape_into(element.value.of(list), &mut name);
        all_strings &= element.kind == Kind::String;
        names.push(Cow::Owned(files::strip_quotes(&name).to_owned()));
    });
    all_strings.then_some(names)
}

/// Writes an object with the URL and its parts; where it is not absolute, with its host alone, if it has one.
pub(super) fn url(writer: &mut EventWriter<'_, '_>, plain: UnescapedText<'_>) -> bool {
    let text = plain.text;
    writer.out.push_str("{\"original\":\"");
    plain.append_escaped_as_needed(text, writer.out);
    writer.out.push('"');
    if let Some(parts) = url::split(text) {
        writer.out.push_str(",\"full\":\"");
        plain.append_escaped_as_needed(text, writer.out);
        writer.out.push_str("\",\"scheme\":\"");
        push_ascii_lowercase(writer.out, parts.scheme);
        writer.out.push_str("\",\"domain\":");
        quoted_host(writer, plain, parts.host);
        let extension = parts.extension.to_ascii_lowercase();
        for (key, part) in [
            (",\"path\":\"", parts.path),
            (",\"query\":\"", parts.query),
            (",\"fragment\":\"", parts.fragment),
            (",\"extension\":\"", &*extension),
            (",\"username\":\"", parts.username),
        ] {
            if !part.is_empty() && !values::is_placeholder(part) {
                writer.out.push_str(key);
                plain.append_escaped_as_needed(part, writer.out);
                writer.out.push('"');
            }
        }
        if !parts.port.is_empty() {
            writer.out.push_str(",\"port\":");
            writer.out.push_str(parts.port);
        }
    } else if let Some(host) = url::host(text) {
        writer.out.push_str(",\"domain\":");
        quoted_host(writer, plain, host);
    }
    writer.out.push('}');
    true
}

/// Writes the host of a URL in lower case; an address in it is related as an address, without
/// brackets.
fn quoted_host(writer: &mut EventWriter<'_, '_>, plain: UnescapedText<'_>, host: &str) {
    let host = lowercase(host);
    let bare = host.trim_matches(['[', ']']);
    if bare.parse::<IpAddr>().is_err() {
        quoted_and_related(writer, plain, &host, Related::Hosts);
        return;
    }
    writer.out.push('"');
    if host == bare {
        let start = writer.out.len();
        writer.out.push_str(bare);
        writer.add_related(Related::Ip, start);
    } else {
        writer.out.push('[');
        let start = writer.out.len();
        writer.out.push_str(bare);
        writer.add_related(Related::Ip, start);
        writer.out.push(']');
    }
    writer.out.push('"');
}
