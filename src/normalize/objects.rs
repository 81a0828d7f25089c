//! Objects that are written whole or not at all: files, verdicts, parts of other objects.

use super::line::Line;
use super::more::{push_number, push_verdict};
use super::observe;
use super::plan::Leaf;
use super::shape::push_escaped_word;
use super::values::{self, Plain, is_absent, is_placeholder};
use super::{compound, files};
use crate::decode::json::{self, Kind};
use crate::decode::unescape::unescape_into;
use crate::encode::push_lowercase;
use crate::field::Name;
use crate::record::Value;

/// OCSF's number of the algorithm that makes hashes of that length.
pub(super) fn algorithm(hash: &str) -> Option<i64> {
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

/// The text of a field, if it says something.
fn text(line: &Line<'_, '_>, name: Option<&Name>) -> Option<String> {
    let value = line.record.get(*name?).filter(|value| !is_absent(value))?;
    let mut buffer = String::new();
    let plain = Plain::new(value, &mut buffer)?;
    (!is_placeholder(plain.text)).then(|| plain.text.to_owned())
}

/// Writes the extension of a file in lower case: the first field is one, the second a name.
pub(super) fn extension(line: &mut Line<'_, '_>, leaf: &Leaf) {
    let whole: fn(&str) -> Option<&str> = |text| Some(text.trim_start_matches('.'));
    let is_extension =
        |text: &&str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    for (name, read) in leaf.from.iter().zip([whole, files::extension]) {
        let Some(text) = text(line, Some(name)) else {
            continue;
        };
        if let Some(extension) = read(&text).filter(is_extension) {
            line.out.push_str(&leaf.key);
            line.out.push('"');
            push_lowercase(line.out, extension);
            line.out.push_str("\",");
            line.finish_field(*name);
            return;
        }
    }
}

/// Writes a file: its name, extension, media type, size and hashes, in this order in the row. A
/// file without a name is known by its hash.
pub(super) fn file(line: &mut Line<'_, '_>, leaf: &Leaf) {
    let mut fields = leaf.from.iter();
    let (name, ext, mime, size) = (fields.next(), fields.next(), fields.next(), fields.next());
    let hashes: Vec<(Name, i64, String)> = fields
        .filter_map(|name| {
            let hash = text(line, Some(name))?;
            Some((*name, algorithm(&hash)?, hash.to_ascii_lowercase()))
        })
        .collect();
    let own_name = text(line, name);
    let best_hash = hashes.iter().max_by_key(|(_, algorithm, _)| *algorithm);
    let Some(shown) = own_name
        .as_ref()
        .or_else(|| best_hash.map(|(.., hash)| hash))
    else {
        return;
    };
    let (name_path, hash_path) = match leaf.observable.0 {
        "email.files" => ("email.files[].name", "email.files[].hashes[].value"),
        _ => ("evidences[].file.name", "evidences[].file.hashes[].value"),
    };
    let is_list = leaf.observable.0 == "email.files";
    line.out.push_str(&leaf.key);
    line.out.push_str(if is_list { "[{" } else { "{" });
    let start = line.out.len() + "\"name\":\"".len();
    push_escaped_word(line, "\"name\":\"", shown);
    let end = line.out.len() - "\",".len();
    if let (Some(name), Some(_)) = (name, &own_name) {
        line.mark_used(*name);
        observe::note_text(line, 7, name_path, (start, end));
    }
    line.out.push_str("\"type_id\":1,");
    if let (Some(name), Some(text)) = (ext, text(line, ext)) {
        let extension = text.trim_start_matches('.').to_ascii_lowercase();
        push_escaped_word(line, "\"ext\":\"", &extension);
        line.mark_used(*name);
    } else if let Some(extension) = own_name.as_deref().and_then(files::extension) {
        push_escaped_word(line, "\"ext\":\"", &extension.to_ascii_lowercase());
    }
    if let (Some(name), Some(text)) = (mime, text(line, mime)) {
        push_escaped_word(line, "\"mime_type\":\"", &text);
        line.mark_used(*name);
    }
    if let (Some(name), Some(text)) = (size, text(line, size))
        && let Some(digits) = values::long(&text).filter(|digits| !digits.starts_with('-'))
    {
        line.out.push_str("\"size\":");
        line.out.push_str(&digits);
        line.out.push(',');
        line.mark_used(*name);
    }
    push_hashes(line, &hashes, hash_path);
    line.out.pop();
    line.out.push_str(if is_list { "}]," } else { "}," });
}

fn push_hashes(line: &mut Line<'_, '_>, hashes: &[(Name, i64, String)], path: &'static str) {
    if hashes.is_empty() {
        return;
    }
    line.out.push_str("\"hashes\":[");
    for (name, algorithm, hash) in hashes {
        line.out.push_str("{\"algorithm_id\":");
        push_number(line.out, *algorithm);
        line.out.push_str(",\"value\":\"");
        let start = line.out.len();
        line.out.push_str(hash);
        let end = line.out.len();
        line.out.push_str("\"},");
        observe::note_text(line, 8, path, (start, end));
        line.mark_used(*name);
    }
    line.out.pop();
    line.out.push_str("],");
}

/// Writes an element of `email.files`; each name is written once.
pub(super) fn push_email_file(line: &mut Line<'_, '_>, name: &str, is_repeat: bool) {
    if is_repeat {
        return;
    }
    let start = line.out.len() + "{\"name\":\"".len();
    push_escaped_word(line, "{\"name\":\"", name);
    let end = line.out.len() - "\",".len();
    observe::note_text(line, 7, "email.files[].name", (start, end));
    line.out.push_str("\"type_id\":1,");
    compound::push_extension(line, "\"ext\":\"", name);
    line.out.pop();
    line.out.push_str("},");
}

/// Writes the verdicts on a message: from the gateway's check, or from a list of results.
pub(super) fn auth(line: &mut Line<'_, '_>, value: Value<'_>) -> bool {
    line.out.push('{');
    let start = line.out.len();
    if value.kind == Kind::Array {
        let mut left = compound::CHECKS.to_vec();
        let _scanned_before = json::scan_array(value.text, |element| {
            let text = element.value.of(value.text);
            let check = member(text, "type").unwrap_or_default();
            // The first result of a check counts: a name must not come twice.
            let place = left
                .iter()
                .position(|name| check.eq_ignore_ascii_case(name));
            if let Some(place) = place
                && let Some(result) = member(text, "result")
            {
                push_verdict(line, left.swap_remove(place), result.trim());
            }
        });
    } else {
        compound::push_verdicts(line, value);
    }
    let written = line.out.len() > start;
    line.out.pop();
    line.out.push('}');
    line.is_partial = true;
    written
}

/// The text of a member of an object.
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

/// Writes the text of a member of an object, or of the first object of a list. The rest is kept.
pub(super) fn part(line: &mut Line<'_, '_>, value: Value<'_>, name: &str) -> bool {
    let mut found = None;
    match value.kind {
        Kind::Object => found = member(value.text, name),
        Kind::Array => {
            let _scanned_before = json::scan_array(value.text, |element| {
                if found.is_none() {
                    found = member(element.value.of(value.text), name);
                }
            });
        }
        Kind::False | Kind::Null | Kind::Number | Kind::String | Kind::True => {}
    }
    let Some(text) = found.filter(|text| !is_placeholder(text.trim())) else {
        return false;
    };
    crate::encode::push_quoted(line.out, text.trim());
    line.is_partial = true;
    true
}
