//! Conversions that only OCSF needs.

use core::net::IpAddr;

use super::super::convert::{push_number, push_text_member};
use super::super::distinct::VALUES_MAX;
use super::super::mapping::FieldStep;
use super::super::observables;
use super::super::prose::{self, ProsePart};
use super::super::table::ConvertFn;
use super::super::values::{UnescapedText, contains_ignore_case, is_placeholder};
use super::super::writer::EventWriter;
use super::super::{stix, url};
use super::actions;
use crate::encode::{lowercase, push_ascii_lowercase, push_quoted};
use crate::field::FieldName;
use crate::record::Value;
use crate::time::Timestamp;

/// Writes `action_id` and `disposition_id` by the words of [`actions::ACTIONS`]; the two parameters
/// if there is no word.
pub(super) fn action_and_disposition<const ACTION: u8, const DISPOSITION: u8>(
    writer: &mut EventWriter<'_, '_>,
    row: &FieldStep,
) {
    write_action(writer, row, (ACTION, DISPOSITION));
}

fn write_action(writer: &mut EventWriter<'_, '_>, row: &FieldStep, default: (u8, u8)) {
    // Of two fields with actions, one with a placeholder such as `none` counts after the other.
    let record = writer.record;
    let has_placeholder = |name: &&FieldName| {
        let says_nothing = |value: Value<'_>| is_placeholder(value.text.trim_ascii());
        record.get(**name).is_some_and(says_nothing)
    };
    let first = row.from.iter().filter(|name| !has_placeholder(name));
    let is_written = first
        .chain(row.from.iter().filter(has_placeholder))
        .any(|name| writer.push_field_as(row, *name, ConvertFn::TextOrPlaceholder(push_action)));
    if !is_written {
        actions::push_members(writer.out, default.0, default.1);
        writer.out.push(',');
    }
}

/// Writes the numbers for a known word, and the field is unmapped as well, since several words have the
/// same number; else 99 and the word itself.
fn push_action(writer: &mut EventWriter<'_, '_>, plain: UnescapedText<'_>) -> bool {
    let known = actions::find(plain.text);
    if let Some((action, disposition)) = known {
        actions::push_members(writer.out, action, disposition);
        writer.is_also_unmapped = true;
    } else {
        writer
            .out
            .push_str("\"action_id\":99,\"disposition_id\":99");
        for key in [",\"action\":\"", ",\"disposition\":\""] {
            writer.out.push_str(key);
            plain.append_escaped_as_needed(plain.text, writer.out);
            writer.out.push('"');
        }
    }
    true
}

/// Writes malware for each signature in `[engine.name, engine.name]`.
pub(super) fn signatures(writer: &mut EventWriter<'_, '_>, plain: UnescapedText<'_>) -> bool {
    writer.out.push('[');
    let start = writer.out.len();
    let inner = plain.text.trim_matches(['[', ']']);
    for (at, name) in inner.split([',', ';']).enumerate() {
        if at == VALUES_MAX {
            writer.is_truncated = true;
            break;
        }
        let name = name.trim_matches(['[', ']', ' ']);
        if !is_placeholder(name) {
            push_malware(
                writer,
                UnescapedText {
                    text: name,
                    ..plain
                },
            );
            writer.out.push(',');
        }
    }
    let is_written = writer.out.len() > start;
    if is_written {
        writer.out.pop();
    }
    writer.out.push(']');
    writer.is_also_unmapped = true;
    is_written
}

/// Writes the name of a rule as the analytic of a finding.
pub(super) fn analytic(writer: &mut EventWriter<'_, '_>, plain: UnescapedText<'_>) -> bool {
    push_named(writer, plain, "{\"name\":\"", "\",\"type_id\":1}")
}

/// Writes the feature of the product as the analytic of a finding.
pub(super) fn feature_analytic(writer: &mut EventWriter<'_, '_>, row: &FieldStep) {
    writer.out.push_str(&row.key);
    writer.out.push_str("{\"name\":\"");
    writer.out.push_str(writer.record.stream().feature());
    writer
        .out
        .push_str("\",\"type_id\":99,\"type\":\"Product feature\"},");
}

/// Writes a list of one malware of that name.
pub(super) fn malware(writer: &mut EventWriter<'_, '_>, plain: UnescapedText<'_>) -> bool {
    writer.out.push('[');
    push_malware(writer, plain);
    writer.out.push(']');
    true
}

fn push_malware(writer: &mut EventWriter<'_, '_>, plain: UnescapedText<'_>) {
    push_named(
        writer,
        plain,
        "{\"classification_ids\":[0],\"name\":\"",
        "\",\"provider\":\"Mimecast\"}",
    );
}

fn push_named(
    writer: &mut EventWriter<'_, '_>,
    plain: UnescapedText<'_>,
    open: &str,
    close: &str,
) -> bool {
    writer.out.push_str(open);
    plain.append_escaped_as_needed(plain.text, writer.out);
    writer.out.push_str(close);
    true
}

/// Writes `direction_id` and `direction`.
pub(super) fn direction(writer: &mut EventWriter<'_, '_>, plain: UnescapedText<'_>) -> bool {
    let words = ["inbound", "outbound", "internal"];
    let known = words
        .iter()
        .position(|word| word.eq_ignore_ascii_case(plain.text));
    writer.out.push_str("\"direction_id\":");
    match known {
        Some(at) => {
            push_number(writer.out, i64::try_from(at + 1).unwrap_or(0));
            let caption = ["Inbound", "Outbound", "Internal"].get(at).copied();
            writer.out.push_str(",\"direction\":\"");
            writer.out.push_str(caption.unwrap_or_default());
            writer.out.push('"');
        }
        None => {
            writer.out.push_str("99,\"direction\":\"");
            plain.append_escaped_as_needed(plain.text, writer.out);
            writer.out.push('"');
        }
    }
    true
}

/// Writes `direction_id` and `direction` of a message that names none.
pub(super) fn no_direction(writer: &mut EventWriter<'_, '_>, _row: &FieldStep) {
    writer
        .out
        .push_str("\"direction_id\":0,\"direction\":\"Unknown\",");
}

/// Writes `auth_protocol_id` and `auth_protocol` from the prose of an audit event: SAML is known to
/// OCSF, the upstream's other methods are its own.
pub(super) fn auth_protocol(writer: &mut EventWriter<'_, '_>, plain: UnescapedText<'_>) -> bool {
    let Some(method) = prose::find(
        &mut writer.buffers.prose_cache,
        plain.text,
        ProsePart::Method,
    ) else {
        return false;
    };
    if contains_ignore_case(method, "saml") {
        writer.out.push_str("\"auth_protocol_id\":5");
    } else {
        writer
            .out
            .push_str("\"auth_protocol_id\":99,\"auth_protocol\":");
        push_quoted(writer.out, method);
    }
    writer.is_also_unmapped = true;
    true
}

/// Second factors: what their names contain, and `factor_type_id`.
const FACTORS: &[(&str, i64)] = &[
    ("sms", 1),
    ("push", 5),
    ("totp", 7),
    ("otp", 7),
    ("mail", 8),
];

/// Writes `is_mfa` and `auth_factors` from the prose of an audit event.
pub(super) fn mfa(writer: &mut EventWriter<'_, '_>, plain: UnescapedText<'_>) -> bool {
    let Some(factor) = prose::find(&mut writer.buffers.prose_cache, plain.text, ProsePart::Mfa)
    else {
        return false;
    };
    writer
        .out
        .push_str("\"is_mfa\":true,\"auth_factors\":[{\"factor_type_id\":");
    let known = FACTORS
        .iter()
        .find(|(word, _)| contains_ignore_case(factor, word));
    match known {
        Some((word, number)) => {
            push_number(writer.out, *number);
            if *word == "totp" {
                writer.out.push_str(",\"is_totp\":true");
            }
        }
        None => {
            writer.out.push_str("99,\"factor_type\":");
            push_quoted(writer.out, factor);
        }
    }
    writer.out.push_str("}]");
    writer.is_also_unmapped = true;
    true
}

/// Writes the text of the field from which the time of the event comes.
pub(super) fn original_time(writer: &mut EventWriter<'_, '_>, row: &FieldStep) {
    for name in row.from {
        // Only the field that was read as the time of the event is used up.
        let is_time = writer.used.contains(*name);
        let Some(value) = writer.record.get(*name).filter(|_| is_time) else {
            continue;
        };
        let mut buffer = String::new();
        if let Some(plain) = UnescapedText::new(value, &mut buffer) {
            writer.out.push_str(&row.key);
            writer.out.push('"');
            plain.append_escaped_as_needed(plain.text, writer.out);
            writer.out.push_str("\",");
        }
        return;
    }
}

/// Writes `type_id` and `value` of a threat indicator.
pub(super) fn osint(writer: &mut EventWriter<'_, '_>, plain: UnescapedText<'_>) -> bool {
    let Some((type_id, value)) = stix::osint(plain.text) else {
        return false;
    };
    writer.out.push_str("\"type_id\":");
    push_number(writer.out, type_id);
    let start = writer.out.len() + ",\"value\":\"".len();
    push_text_member(writer, ",\"value\":\"", &value);
    writer.out.pop();
    let end = writer.out.len() - 1;
    // From the type of the indicator to that of the observable.
    let observable = match type_id {
        1 => 2,
        2 => 1,
        4 => 8,
        5 => 6,
        9 => 5,
        _ => 0,
    };
    if observable != 0 {
        observables::add_text(writer, observable, "osint[].value", (start, end));
    }
    writer.is_also_unmapped |= value != plain.text;
    true
}

/// Writes milliseconds since the epoch, from any plausible time that can be read.
pub(super) fn millis(writer: &mut EventWriter<'_, '_>, plain: UnescapedText<'_>) -> bool {
    let time = Timestamp::parse(plain.text).map(Timestamp::millis);
    let Some(millis) = time.filter(|millis| super::super::PLAUSIBLE_TIME_MS.contains(millis))
    else {
        return false;
    };
    push_number(writer.out, millis);
    true
}

/// Writes the application that the prose of an audit event names, or `Mimecast`.
pub(super) fn service(writer: &mut EventWriter<'_, '_>, plain: UnescapedText<'_>) -> bool {
    let name = prose::find(
        &mut writer.buffers.prose_cache,
        plain.text,
        ProsePart::Application,
    )
    .unwrap_or("Mimecast");
    push_quoted(writer.out, name);
    writer.is_also_unmapped = true;
    true
}

/// Writes `Mimecast` as the application.
pub(super) fn default_service(writer: &mut EventWriter<'_, '_>, row: &FieldStep) {
    writer.out.push_str(&row.key);
    writer.out.push_str("\"Mimecast\",");
}

/// Words of a category, with `entity.type_id` and its caption.
const ENTITIES: &[(&str, i64, &str)] = &[
    ("polic", 5, "Policy"),
    ("group", 3, "Group"),
    ("user", 2, "User"),
];

/// Writes `type_id` and `type` of an entity by the words of a category; where a word is known, the field is
/// unmapped as well.
pub(super) fn entity_type(writer: &mut EventWriter<'_, '_>, plain: UnescapedText<'_>) -> bool {
    let mut words = ENTITIES.iter();
    let known = words.find(|(word, ..)| contains_ignore_case(plain.text, word));
    writer.out.push_str("\"type_id\":");
    match known {
        Some((_, type_id, caption)) => {
            push_number(writer.out, *type_id);
            writer.out.push_str(",\"type\":\"");
            writer.out.push_str(caption);
            writer.is_also_unmapped = true;
        }
        None => {
            writer.out.push_str("99,\"type\":\"");
            plain.append_escaped_as_needed(plain.text, writer.out);
        }
    }
    writer.out.push('"');
    true
}

/// Writes `type_id` and `type` of an entity without a category.
pub(super) fn other_entity(writer: &mut EventWriter<'_, '_>, _row: &FieldStep) {
    writer.out.push_str("\"type_id\":99,\"type\":\"Other\",");
}

/// The paths of a URL and of its host.
type UrlPaths = (&'static str, &'static str);

const EMAIL_URL_PATHS: UrlPaths = ("email.urls[].url_string", "email.urls[].hostname");
const EVIDENCE_URL_PATHS: UrlPaths = ("evidences[].url.url_string", "evidences[].url.hostname");

/// Writes the URL of an evidence as an object.
pub(super) fn url(writer: &mut EventWriter<'_, '_>, plain: UnescapedText<'_>) -> bool {
    push_url(writer, plain, EVIDENCE_URL_PATHS)
}

/// Writes a list of one URL of a message.
pub(super) fn urls(writer: &mut EventWriter<'_, '_>, plain: UnescapedText<'_>) -> bool {
    writer.out.push('[');
    let is_written = push_url(writer, plain, EMAIL_URL_PATHS);
    writer.out.push(']');
    is_written
}

/// Writes a list of the URL that the details of a rejection give as `Url: […]`. The field is
/// unmapped as well.
pub(super) fn info_urls(writer: &mut EventWriter<'_, '_>, plain: UnescapedText<'_>) -> bool {
    let Some(found) = url::in_rejection_info(plain.text) else {
        return false;
    };
    writer.is_also_unmapped = true;
    let found = UnescapedText {
        text: found,
        ..plain
    };
    urls(writer, found)
}

/// Writes a URL with `%20` for each white space, and its parts; where it is not absolute or has white space, its
/// host alone, if it has one.
fn push_url(writer: &mut EventWriter<'_, '_>, plain: UnescapedText<'_>, paths: UrlPaths) -> bool {
    let text = plain.text;
    let has_blank = text.contains(char::is_whitespace);
    // A text without a host is a sentence and no URL.
    if has_blank && url::host(text).is_none() {
        return false;
    }
    writer.out.push_str("{\"url_string\":\"");
    let start = writer.out.len();
    if has_blank {
        plain.append_escaped_as_needed(&text.replace(char::is_whitespace, "%20"), writer.out);
        writer.is_also_unmapped = true;
    } else {
        plain.append_escaped_as_needed(text, writer.out);
    }
    let end = writer.out.len();
    observables::add_text(writer, 6, paths.0, (start, end));
    writer.out.push('"');
    if let Some(parts) = url::split(text) {
        writer.out.push_str(",\"scheme\":\"");
        push_ascii_lowercase(writer.out, parts.scheme);
        writer.out.push('"');
        push_hostname(writer, parts.host, paths.1);
        for (key, part) in [
            (",\"path\":\"", parts.path),
            (",\"query_string\":\"", parts.query),
        ] {
            if !part.is_empty() && !is_placeholder(part) {
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
        push_hostname(writer, host, paths.1);
    }
    writer.out.push('}');
    true
}

fn push_hostname(writer: &mut EventWriter<'_, '_>, host: &str, path: &'static str) {
    let host = lowercase(host);
    let host = host.trim_matches(['[', ']']);
    writer.out.push_str(",\"hostname\":");
    let start = writer.out.len() + 1;
    push_quoted(writer.out, host);
    let end = writer.out.len() - 1;
    // The schema takes that path for the name of a host, so an address has no name.
    let (type_id, path) = if host.parse::<IpAddr>().is_ok() {
        (2, "")
    } else {
        (1, path)
    };
    observables::add_text(writer, type_id, path, (start, end));
}
