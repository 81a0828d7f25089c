//! Conversions that both formats use: functions that read a value and write it in another form.

use super::distinct::VALUES_MAX;
use super::mapping::FieldStep;
use super::table::{ConvertFn, Related};
use super::values::{self, UnescapedText, is_absent, is_placeholder};
use super::writer::EventWriter;
use super::{address, compound};
use crate::decode::json::{self, Kind};
use crate::encode::{lowercase, push_ascii_lowercase, push_escaped};
use crate::record::Value;

/// Writes text unchanged.
pub(super) fn verbatim(writer: &mut EventWriter<'_, '_>, plain: UnescapedText<'_>) -> bool {
    quoted(writer, plain, plain.text)
}

/// Writes one bare e-mail address.
pub(super) fn address(writer: &mut EventWriter<'_, '_>, plain: UnescapedText<'_>) -> bool {
    let found = address::bare(plain.text);
    found.is_some_and(|found| {
        writer.is_also_unmapped |= !address::is_alone(found, plain.text);
        quoted_and_related(writer, plain, found, Related::User)
    })
}

/// Writes the part of an e-mail address after the `@`.
pub(super) fn domain(writer: &mut EventWriter<'_, '_>, plain: UnescapedText<'_>) -> bool {
    let Some(found) = address::bare(plain.text) else {
        return false;
    };
    writer.is_also_unmapped |= !address::is_alone(found, plain.text);
    address::domain(found).is_some_and(|domain| quoted(writer, plain, domain))
}

/// Writes the name of a user.
pub(super) fn user(writer: &mut EventWriter<'_, '_>, plain: UnescapedText<'_>) -> bool {
    quoted_and_related(writer, plain, plain.text, Related::User)
}

/// Writes the name of a host.
pub(super) fn host(writer: &mut EventWriter<'_, '_>, plain: UnescapedText<'_>) -> bool {
    !plain.text.contains(char::is_whitespace)
        && quoted_and_related(writer, plain, plain.text, Related::Hosts)
}

/// Writes an IP address, without the port that may stand after it.
pub(super) fn ip(writer: &mut EventWriter<'_, '_>, plain: UnescapedText<'_>) -> bool {
    let found = address::endpoint(plain.text);
    found.is_some_and(|(ip, _)| quoted_and_related(writer, plain, ip, Related::Ip))
}

/// Writes a code that is not zero, as text.
pub(super) fn code(writer: &mut EventWriter<'_, '_>, plain: UnescapedText<'_>) -> bool {
    plain.text != "0" && quoted(writer, plain, plain.text)
}

/// Writes text of digits only.
pub(super) fn digits(writer: &mut EventWriter<'_, '_>, plain: UnescapedText<'_>) -> bool {
    is_digits(plain.text) && quoted(writer, plain, plain.text)
}

/// Writes text that is not a number.
pub(super) fn not_digits(writer: &mut EventWriter<'_, '_>, plain: UnescapedText<'_>) -> bool {
    !is_digits(plain.text) && quoted(writer, plain, plain.text)
}

/// Writes a whole number, from a number or its digits.
pub(super) fn long(writer: &mut EventWriter<'_, '_>, plain: UnescapedText<'_>) -> bool {
    push_whole_number(writer, plain.text)
}

/// Writes a message id without its angle brackets.
pub(super) fn message_id(writer: &mut EventWriter<'_, '_>, plain: UnescapedText<'_>) -> bool {
    let id = plain.text.trim_matches(['<', '>', ' ']);
    !is_placeholder(id) && quoted(writer, plain, id)
}

/// Writes a hexadecimal hash of that many digits, in lower case.
pub(super) fn hash<const DIGITS: usize>(
    writer: &mut EventWriter<'_, '_>,
    plain: UnescapedText<'_>,
) -> bool {
    push_hash(writer, plain.text, DIGITS)
}

/// Writes the name of the tenant; where none is set, the text of the field.
pub(super) fn tenant(writer: &mut EventWriter<'_, '_>, row: &FieldStep) {
    if let Some(tenant) = writer.tenant_json {
        writer.out.push_str(&row.key);
        writer.out.push_str(tenant);
        writer.out.push(',');
        return;
    }
    let read = ConvertFn::Text(verbatim);
    let _is_written = row
        .from
        .iter()
        .any(|name| writer.push_field_as(row, *name, read));
}

fn is_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Writes text with one space for each run of white space; the word `unknown` is no reason.
pub(super) fn reason(writer: &mut EventWriter<'_, '_>, plain: UnescapedText<'_>) -> bool {
    if plain.text.eq_ignore_ascii_case("unknown") {
        return false;
    }
    let is_padded = plain.text.contains("  ") || plain.text.contains(['\r', '\n', '\t']);
    if !is_padded {
        return quoted(writer, plain, plain.text);
    }
    let words: Vec<&str> = plain.text.split_whitespace().collect();
    quoted(writer, plain, &words.join(" "))
}

/// Writes text, which was read from `source`, in quotes.
#[inline(never)]
pub(super) fn quoted(
    writer: &mut EventWriter<'_, '_>,
    source: UnescapedText<'_>,
    text: &str,
) -> bool {
    writer.out.push('"');
    source.append_escaped_as_needed(text, writer.out);
    writer.out.push('"');
    true
}

/// Writes text, which was read from `source`, in quotes, and remembers it for `related`; of an e-mail address
/// also its domain, as a host.
#[inline(never)]
pub(super) fn quoted_and_related(
    writer: &mut EventWriter<'_, '_>,
    source: UnescapedText<'_>,
    text: &str,
    kind: Related,
) -> bool {
    writer.out.push('"');
    let start = writer.out.len();
    source.append_escaped_as_needed(text, writer.out);
    writer.add_related(kind, start);
    if let (Related::User, Some(domain)) = (kind, address::domain(text)) {
        // One in brackets is an address of a host, and no name.
        if !domain.starts_with('[') {
            writer.add_related(
                Related::Hosts,
                writer.out.len().saturating_sub(domain.len()),
            );
        }
    }
    writer.out.push('"');
    true
}

/// Writes the constant of the row.
pub(super) fn push_constant(writer: &mut EventWriter<'_, '_>, row: &FieldStep) {
    writer.out.push_str(&row.key);
    writer.out.push('"');
    writer.out.push_str(row.convert.constant);
    writer.out.push_str("\",");
}

/// Writes the constant of the row, and marks a field with the same text as used.
pub(super) fn push_constant_and_mark_used(writer: &mut EventWriter<'_, '_>, row: &FieldStep) {
    push_constant(writer, row);
    let constant = row.convert.constant;
    for name in row.from {
        if writer
            .record
            .get(*name)
            .is_some_and(|value| value.text.eq_ignore_ascii_case(constant))
        {
            writer.mark_used(*name);
        }
    }
}

/// Writes `true` if the sender is given and empty: a bounce.
pub(super) fn null_sender(writer: &mut EventWriter<'_, '_>, row: &FieldStep) {
    for name in row.from {
        let value = writer
            .record
            .get(*name)
            .filter(|value| value.kind == Kind::String);
        if value.is_some_and(|value| matches!(value.text.trim_ascii(), "" | "<>")) {
            writer.out.push_str(&row.key);
            writer.out.push_str("true,");
            writer.mark_used(*name);
        }
    }
}

/// Writes when the event happened, if the field is true.
pub(super) fn occurred_if_true(writer: &mut EventWriter<'_, '_>, row: &FieldStep) {
    let mut values = row.from.iter().filter_map(|name| writer.record.get(*name));
    if values.any(|value| values::boolean(value.text) == Some(true)) {
        writer.out.push_str(&row.key);
        writer.out.push('"');
        writer.occurred.write_rfc3339(writer.out);
        writer.out.push_str("\",");
    }
}

/// Writes the port of the first IP address among the fields, which is the one that the row of the
/// address takes.
pub(super) fn port(writer: &mut EventWriter<'_, '_>, row: &FieldStep) {
    let record = writer.record;
    let values = row.from.iter().filter_map(|name| record.get(*name));
    let mut buffer = String::new();
    for value in values.filter(|value| !is_absent(value)) {
        let found =
            UnescapedText::new(value, &mut buffer).and_then(|plain| address::endpoint(plain.text));
        if let Some((_, port)) = found {
            if let Some(port) = port {
                writer.out.push_str(&row.key);
                writer.out.push_str(port);
                writer.out.push(',');
            }
            return;
        }
    }
}

/// Writes a hexadecimal hash of that many digits, in lower case.
pub(super) fn push_hash(writer: &mut EventWriter<'_, '_>, text: &str, digits: usize) -> bool {
    if text.len() != digits || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return false;
    }
    writer.out.push('"');
    let start = writer.out.len();
    push_ascii_lowercase(writer.out, text);
    writer.add_related(Related::Hash, start);
    writer.out.push('"');
    true
}

/// Writes text in lower case with hyphens between the words.
pub(super) fn kebab(writer: &mut EventWriter<'_, '_>, plain: UnescapedText<'_>) -> bool {
    writer.out.push('"');
    let start = writer.out.len();
    for word in plain
        .text
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
    {
        if writer.out.len() > start {
            writer.out.push('-');
        }
        writer.out.extend(word.chars().flat_map(char::to_lowercase));
    }
    let written = writer.out.len() > start;
    writer.out.push('"');
    written
}

fn push_whole_number(writer: &mut EventWriter<'_, '_>, text: &str) -> bool {
    let Some(digits) = values::long(text) else {
        return false;
    };
    writer
        .out
        .push_str(if digits == "-0" { "0" } else { &digits });
    true
}

/// Writes milliseconds as nanoseconds.
pub(super) fn millis_to_nanos(writer: &mut EventWriter<'_, '_>, plain: UnescapedText<'_>) -> bool {
    match values::long(plain.text).as_deref() {
        Some("0") => writer.out.push('0'),
        // Twelve digits are thirty years; nanoseconds of that still fit.
        Some(digits) if digits.len() <= 12 && !digits.starts_with('-') => {
            writer.out.push_str(digits);
            writer.out.push_str("000000");
        }
        Some(_) | None => return false,
    }
    true
}

/// Writes `true` or `false` for a boolean or a word for it.
pub(super) fn push_boolean(writer: &mut EventWriter<'_, '_>, value: Value<'_>) -> bool {
    let known = match value.kind {
        Kind::True => Some(true),
        Kind::False => Some(false),
        Kind::String => values::boolean(value.text.trim_ascii()),
        Kind::Array | Kind::Null | Kind::Number | Kind::Object => None,
    };
    writer.out.push_str(match known {
        Some(true) => "true",
        Some(false) => "false",
        None => return false,
    });
    true
}

/// Writes a whole number for a number or its digits.
pub(super) fn push_long(writer: &mut EventWriter<'_, '_>, value: Value<'_>) -> bool {
    let is_scalar = matches!(value.kind, Kind::Number | Kind::String);
    is_scalar && push_whole_number(writer, value.text.trim_ascii())
}

/// Writes a scalar as a string.
pub(super) fn push_text(writer: &mut EventWriter<'_, '_>, value: Value<'_>) -> bool {
    if matches!(value.kind, Kind::Array | Kind::Object | Kind::Null) {
        return false;
    }
    writer.out.push('"');
    writer.out.push_str(value.text);
    writer.out.push('"');
    true
}

/// Writes a JSON object, also one that comes as text.
pub(super) fn push_object(writer: &mut EventWriter<'_, '_>, value: Value<'_>) -> bool {
    let Some(object) = compound::decode(value, &mut writer.buffers.decoded) else {
        return false;
    };
    crate::encode::push_single_line(writer.out, object);
    true
}

/// Writes a member with an escaped text, and a comma. The key comes with all up to the opening quote of
/// the text.
pub(super) fn push_text_member(writer: &mut EventWriter<'_, '_>, key_and_quote: &str, text: &str) {
    writer.out.push_str(key_and_quote);
    push_escaped(writer.out, text);
    writer.out.push_str("\",");
}

/// Writes the texts of a list in one, with commas between them. The list is unmapped as well.
pub(super) fn joined(writer: &mut EventWriter<'_, '_>, value: Value<'_>) -> bool {
    let start = writer.out.len();
    writer.out.push('"');
    let all_strings = match value.kind {
        Kind::Array => {
            writer.is_also_unmapped = true;
            let mut all_strings = true;
            let scanned = json::scan_array(value.text, |element| {
                all_strings &= element.kind == Kind::String;
                if writer.out.len() > start + 1 {
                    writer.out.push_str(", ");
                }
                writer.out.push_str(element.value.of(value.text));
            });
            all_strings && scanned.is_ok()
        }
        Kind::String => {
            writer.out.push_str(value.text);
            true
        }
        Kind::False | Kind::Null | Kind::Number | Kind::Object | Kind::True => false,
    };
    writer.out.push('"');
    all_strings && writer.out.len() > start + 2
}

/// Writes a list of texts, or one text as a list.
pub(super) fn list(writer: &mut EventWriter<'_, '_>, value: Value<'_>) -> bool {
    writer.out.push('[');
    let start = writer.out.len();
    let mut all_strings = true;
    match value.kind {
        Kind::Array => {
            let mut count = 0_usize;
            let _already_validated = json::scan_array(value.text, |element| {
                let text = element.value.of(value.text);
                all_strings &= element.kind == Kind::String;
                count = count.saturating_add(1);
                if count > VALUES_MAX {
                    writer.is_truncated = true;
                    writer.is_also_unmapped = true;
                    return;
                }
                writer.out.push('"');
                writer.out.push_str(text);
                writer.out.push_str("\",");
            });
        }
        Kind::String => {
            writer.out.push('"');
            writer.out.push_str(value.text);
            writer.out.push_str("\",");
        }
        Kind::False | Kind::Null | Kind::Number | Kind::Object | Kind::True => return false,
    }
    let written = writer.out.len() > start && all_strings;
    writer.out.pop();
    writer.out.push(']');
    written
}

/// Appends a number.
pub(super) fn push_number(out: &mut String, number: i64) {
    if let Some(digit) = u32::try_from(number)
        .ok()
        .and_then(|digit| char::from_digit(digit, 10))
    {
        // Most numbers are ids of one digit.
        return out.push(digit);
    }
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    let mut left = number.unsigned_abs();
    loop {
        at = at.saturating_sub(1);
        if let Some(digit) = digits.get_mut(at) {
            *digit = b'0' + u8::try_from(left % 10).unwrap_or(0);
        }
        left /= 10;
        if left == 0 {
            break;
        }
    }
    if number < 0 {
        out.push('-');
    }
    out.push_str(core::str::from_utf8(digits.get(at..).unwrap_or_default()).unwrap_or("0"));
}

/// Writes the verdict of one check as a member.
pub(super) fn push_verdict(writer: &mut EventWriter<'_, '_>, check: &str, word: &str) {
    writer.out.push('"');
    writer.out.push_str(check);
    writer.out.push_str("\":\"");
    match values::verdict(word) {
        Some(word) => writer.out.push_str(word),
        None => push_escaped(writer.out, &lowercase(word)),
    }
    writer.out.push_str("\",");
}
