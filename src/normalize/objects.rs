//! Files, verdicts on a message, and single members of JSON objects.

use super::convert::{self, push_number, push_text_member, push_verdict};
use super::mapping::FieldStep;
use super::observables;
use super::values::{self, UnescapedText, is_absent, is_placeholder};
use super::writer::EventWriter;
use super::{address_lists, compound, files};
use crate::decode::json::{self, Kind};
use crate::decode::unescape::unescape_into;
use crate::encode::push_ascii_lowercase;
use crate::field::FieldName;
use crate::record::Value;

/// Returns OCSF's number of the algorithm that makes hashes of that length.
pub(super) fn hash_algorithm_id(hash: &str) -> Option<i64> {
    if !hash.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    match hash.len() {
        32 => Some(1),
        40 => Some(2),
        64 => Some(3),
        _ => None,
    }
}

/// Returns the text of a field, if it has a value other than a placeholder.
fn text(writer: &EventWriter<'_, '_>, name: Option<&FieldName>) -> Option<String> {
    let value = writer
        .record
        .get(*name?)
        .filter(|value| !is_absent(value))?;
    let mut buffer = String::new();
    let plain = UnescapedText::new(value, &mut buffer)?;
    (!is_placeholder(plain.text)).then(|| plain.text.to_owned())
}

/// Writes the extension of a file in lower case: the first field is one, the second a name.
pub(super) fn extension(writer: &mut EventWriter<'_, '_>, row: &FieldStep) {
    let whole: fn(&str) -> Option<&str> = |text| Some(text.trim_start_matches('.'));
    let is_extension =
        |text: &&str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    for (name, read) in row.from.iter().zip([whole, files::extension]) {
        let Some(text) = text(writer, Some(name)) else {
            continue;
        };
        if let Some(extension) = read(&text).filter(is_extension) {
            writer.out.push_str(&row.key);
            writer.out.push('"');
            push_ascii_lowercase(writer.out, extension);
            writer.out.push_str("\",");
            writer.finish_field(*name);
            return;
        }
    }
}

/// Writes a file: its name, extension, media type, size and hashes, in this order in the row. A
/// file without a name is known by its hash.
pub(super) fn file(writer: &mut EventWriter<'_, '_>, row: &FieldStep) {
    let mut fields = row.from.iter();
    let (name, ext, mime, size) = (fields.next(), fields.next(), fields.next(), fields.next());
    let hashes: Vec<(FieldName, i64, String)> = fields
        .filter_map(|name| {
            let hash = text(writer, Some(name))?;
            Some((*name, hash_algorithm_id(&hash)?, hash.to_ascii_lowercase()))
        })
        .collect();
    let own_name = text(writer, name);
    let best_hash = hashes.iter().max_by_key(|(_, algorithm, _)| *algorithm);
    let Some(shown) = own_name
        .as_ref()
        .or_else(|| best_hash.map(|(.., hash)| hash))
    else {
        return;
    };
    let (name_path, hash_path) = match row.path {
        "email.files" => ("email.files[].name", "email.files[].hashes[].value"),
        _ => ("evidences[].file.name", "evidences[].file.hashes[].value"),
    };
    let is_list = row.path == "email.files";
    writer.out.push_str(&row.key);
    writer.out.push_str(if is_list { "[{" } else { "{" });
    let start = writer.out.len() + "\"name\":\"".len();
    push_text_member(writer, "\"name\":\"", shown);
    let end = writer.out.len() - "\",".len();
    if let (Some(name), Some(_)) = (name, &own_name) {
        writer.mark_used(*name);
        observables::add_text(writer, 7, name_path, (start, end));
    }
    writer.out.push_str("\"type_id\":1,");
    let extension = text(writer, ext)
        .map(|text| text.trim_start_matches('.').to_ascii_lowercase())
        .filter(|extension| !extension.is_empty());
    if let (Some(name), Some(extension)) = (ext, extension) {
        push_text_member(writer, "\"ext\":\"", &extension);
        writer.mark_used(*name);
    } else if let Some(extension) = own_name.as_deref().and_then(files::extension) {
        push_text_member(writer, "\"ext\":\"", &extension.to_ascii_lowercase());
    }
    if let (Some(name), Some(text)) = (mime, text(writer, mime)) {
        push_text_member(writer, "\"mime_type\":\"", &text);
        writer.mark_used(*name);
    }
    if let (Some(name), Some(text)) = (size, text(writer, size))
        && let Some(digits) = values::long(&text).filter(|digits| !digits.starts_with('-'))
    {
        writer.out.push_str("\"size\":");
        writer.out.push_str(&digits);
        writer.out.push(',');
        writer.mark_used(*name);
    }
    push_hashes(writer, &hashes, hash_path);
    writer.out.pop();
    writer.out.push_str(if is_list { "}]," } else { "}," });
}

fn push_hashes(
    writer: &mut EventWriter<'_, '_>,
    hashes: &[(FieldName, i64, String)],
    path: &'static str,
) {
    if hashes.is_empty() {
        return;
    }
    writer.out.push_str("\"hashes\":[");
    for (name, algorithm, hash) in hashes {
        writer.out.push_str("{\"algorithm_id\":");
        push_number(writer.out, *algorithm);
        writer.out.push_str(",\"value\":\"");
        let start = writer.out.len();
        writer.out.push_str(hash);
        let end = writer.out.len();
        writer.out.push_str("\"},");
        observables::add_text(writer, 8, path, (start, end));
        writer.mark_used(*name);
    }
    writer.out.pop();
    writer.out.push_str("],");
}

/// Writes a list of files, from the text that names them or from a list of names, as [`compound::files`]
/// reads the row.
pub(super) fn email_files(writer: &mut EventWriter<'_, '_>, row: &FieldStep) {
    compound::files(writer, row, push_email_file);
}

/// Writes an element of `email.files`; each name is written once.
fn push_email_file(writer: &mut EventWriter<'_, '_>, name: &str, is_repeat: bool) {
    if is_repeat {
        return;
    }
    let start = writer.out.len() + "{\"name\":\"".len();
    push_text_member(writer, "{\"name\":\"", name);
    let end = writer.out.len() - "\",".len();
    observables::add_text(writer, 7, "email.files[].name", (start, end));
    writer.out.push_str("\"type_id\":1,");
    compound::push_extension(writer, "\"ext\":\"", name);
    writer.out.pop();
    writer.out.push_str("},");
}

/// Writes the verdicts on a message, from the gateway's check or from a list of results. The field is
/// unmapped as well.
pub(super) fn auth(writer: &mut EventWriter<'_, '_>, value: Value<'_>) -> bool {
    writer.out.push('{');
    let start = writer.out.len();
    if value.kind == Kind::Array {
        let mut left = compound::AUTH_METHODS.to_vec();
        let _already_validated = json::scan_array(value.text, |element| {
            let text = element.value.of(value.text);
            let check = member(text, "type").unwrap_or_default();
            // The first result of a check counts: a name must not come twice.
            let place = left
                .iter()
                .position(|name| check.eq_ignore_ascii_case(name));
            if let Some(place) = place
                && let Some(result) = member(text, "result")
            {
                push_verdict(writer, left.swap_remove(place), result.trim());
            }
        });
    } else {
        compound::push_verdicts(writer, value);
    }
    let written = writer.out.len() > start;
    writer.out.pop();
    writer.out.push('}');
    writer.is_also_unmapped = true;
    written
}

/// Returns the text of a member of an object.
fn member(object: &str, name: &str) -> Option<String> {
    let mut members = Vec::new();
    json::scan_object(object, &mut members).ok()?;
    let member = members
        .iter()
        .rfind(|member| member.key.of(object) == name)
        .filter(|member| member.kind == Kind::String)?;
    let mut text = String::new();
    unescape_into(member.value.of(object), &mut text);
    Some(text)
}

/// Writes the member `name` of an object, or of the first object of a list that has one. The field is
/// unmapped as well.
pub(super) fn name(writer: &mut EventWriter<'_, '_>, value: Value<'_>) -> bool {
    let mut found = None;
    match value.kind {
        Kind::Object => found = member(value.text, "name"),
        Kind::Array => {
            let _already_validated = json::scan_array(value.text, |element| {
                if found.is_none() {
                    found = member(element.value.of(value.text), "name");
                }
            });
        }
        Kind::False | Kind::Null | Kind::Number | Kind::String | Kind::True => {}
    }
    let Some(text) = found.filter(|text| !is_placeholder(text.trim())) else {
        return false;
    };
    crate::encode::push_quoted(writer.out, text.trim());
    writer.is_also_unmapped = true;
    true
}

/// Writes the message id in the search criteria of an incident.
pub(super) fn searched_message(writer: &mut EventWriter<'_, '_>, value: Value<'_>) -> bool {
    push_criterion(writer, value, "messageId", |writer, value| {
        let mut buffer = String::new();
        let plain = UnescapedText::new(value, &mut buffer);
        plain.is_some_and(|plain| convert::message_id(writer, plain))
    })
}

/// Writes the senders in the search criteria of an incident.
pub(super) fn searched_sender(writer: &mut EventWriter<'_, '_>, value: Value<'_>) -> bool {
    push_criterion(writer, value, "from", address_lists::all_addresses)
}

/// Writes the recipients in the search criteria of an incident.
pub(super) fn searched_recipient(writer: &mut EventWriter<'_, '_>, value: Value<'_>) -> bool {
    push_criterion(writer, value, "to", address_lists::all_addresses)
}

/// Writes the hash of that many digits in the search criteria of an incident.
pub(super) fn searched_hash<const DIGITS: usize>(
    writer: &mut EventWriter<'_, '_>,
    value: Value<'_>,
) -> bool {
    push_criterion(writer, value, "fileHash", |writer, value| {
        convert::push_hash(writer, value.text.trim(), DIGITS)
    })
}

/// Writes a member of the search criteria of an incident; all criteria are unmapped as well.
fn push_criterion(
    writer: &mut EventWriter<'_, '_>,
    value: Value<'_>,
    name: &str,
    push: impl FnOnce(&mut EventWriter<'_, '_>, Value<'_>) -> bool,
) -> bool {
    writer.is_also_unmapped = true;
    let mut members = Vec::new();
    if value.kind != Kind::Object || json::scan_object(value.text, &mut members).is_err() {
        return false;
    }
    let found = members
        .iter()
        .rfind(|member| member.key.of(value.text) == name);
    found.is_some_and(|member| {
        let found = Value {
            kind: member.kind,
            text: member.value.of(value.text),
            escaped: member.escaped,
        };
        !is_absent(&found) && push(writer, found)
    })
}
