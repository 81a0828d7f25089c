//! How the value of a field is written, for each shape that only some streams or one format need.

use super::compound;
use super::distinct::VALUES_MAX;
use super::line::Line;
use super::plan::Leaf;
use super::shape::push_escaped_word;
use super::table::{More, Prose, Related, Stix};
use super::values::{Plain, contains_ignore_case, is_absent, is_placeholder};
use super::{account, objects, ocsf, people, prose, stix, url};
use crate::decode::json::{self, Kind};
use crate::encode::{push_escaped, push_lowercase, push_quoted};
use crate::field::Name;
use crate::record::Value;
use crate::time::Timestamp;

/// Writes the row: the first field with a value that fits, or what the row has for none.
pub(super) fn write(line: &mut Line<'_, '_>, leaf: &Leaf, shape: More) {
    if let More::Extension = shape {
        return objects::extension(line, leaf);
    } else if let More::File = shape {
        return objects::file(line, leaf);
    } else if let More::Files = shape {
        return compound::files(line, leaf, objects::push_email_file);
    } else if let More::OriginalTime = shape {
        return original_time(line, leaf);
    } else if let More::Account(account, part) = shape {
        return account::person(line, leaf, account, part);
    } else if let More::Object = shape {
        return account::object(line, leaf);
    } else if let More::Group = shape {
        return account::group(line, leaf);
    } else if let More::GroupOr(name) = shape {
        return account::group_or(line, leaf, name);
    } else if let More::Roles = shape {
        return account::roles(line, leaf);
    }
    // Of two fields with actions, one that says `none` leaves it to the other.
    let record = line.record;
    let is_put_off = |name: &&Name| {
        let says_nothing = |value: Value<'_>| is_placeholder(value.text.trim_ascii());
        matches!(shape, More::Acts(..)) && record.get(**name).is_some_and(says_nothing)
    };
    let first = leaf.from.iter().filter(|name| !is_put_off(name));
    for name in first.chain(leaf.from.iter().filter(is_put_off)) {
        let Some(value) = record.get(*name).filter(|value| !is_absent(value)) else {
            continue;
        };
        let start = line.out.len();
        line.out.push_str(&leaf.key);
        if push(line, leaf, value, shape) {
            line.out.push(',');
            line.finish_field(*name);
            return;
        }
        line.forget_field();
        line.out.truncate(start);
    }
    if let More::Acts(action, disposition) = shape {
        acts_numbers(line, action, disposition);
        line.out.push(',');
    } else if let More::Direction = shape {
        line.out
            .push_str("\"direction_id\":0,\"direction\":\"Unknown\",");
    } else if let More::Analytic = shape {
        line.out.push_str(&leaf.key);
        push_feature_analytic(line);
    } else if let More::EntityType = shape {
        line.out.push_str("\"type_id\":99,\"type\":\"Other\",");
    } else if let More::Service = shape {
        line.out.push_str(&leaf.key);
        line.out.push_str("\"Mimecast\",");
    }
}

fn push(line: &mut Line<'_, '_>, leaf: &Leaf, value: Value<'_>, shape: More) -> bool {
    if let More::Auth = shape {
        return objects::auth(line, value);
    } else if let More::Email = shape {
        return people::email(line, value);
    } else if let More::Emails = shape {
        return people::emails(line, value);
    } else if let More::Joined = shape {
        return joined(line, value);
    } else if let More::List = shape {
        return list(line, value);
    } else if let More::Mailbox = shape {
        return people::mailbox(line, value);
    } else if let More::Part(member) = shape {
        return objects::part(line, value, member);
    } else if let More::People = shape {
        return people::people(line, value);
    } else if let More::Person = shape {
        return people::person(line, value);
    } else if let More::Resources = shape {
        return people::resources(line, value);
    }
    let mut buffer = String::new();
    match Plain::new(value, &mut buffer) {
        Some(plain) if matches!(shape, More::Acts(..)) || !is_placeholder(plain.text) => {
            plain_text(line, leaf, plain, shape)
        }
        Some(_) | None => false,
    }
}

fn plain_text(line: &mut Line<'_, '_>, leaf: &Leaf, plain: Plain<'_>, shape: More) -> bool {
    let text = plain.text;
    match shape {
        More::Acts(..) => acts(line, plain),
        More::Analytic => named(line, plain, "{\"name\":\"", "\",\"type_id\":1}"),
        More::Date => match Timestamp::parse(text) {
            Some(time) => {
                line.out.push('"');
                time.write_rfc3339(line.out);
                line.out.push('"');
                true
            }
            None => false,
        },
        More::InfoUrl => {
            let Some(found) = url::bracketed(text) else {
                return false;
            };
            let plain = Plain {
                text: found,
                ..plain
            };
            line.is_partial = true;
            if line.plan.observes {
                line.out.push('[');
                let written = ocsf_url(line, leaf, plain);
                line.out.push(']');
                written
            } else {
                compound::url(line, plain)
            }
        }
        More::EntityType => {
            let words = [
                ("polic", 5, "Policy"),
                ("group", 3, "Group"),
                ("user", 2, "User"),
                ("account", 2, "User"),
            ];
            let known = words
                .iter()
                .find(|(word, ..)| contains_ignore_case(text, word));
            line.out.push_str("\"type_id\":");
            match known {
                Some((_, type_id, caption)) => {
                    push_number(line.out, *type_id);
                    line.out.push_str(",\"type\":\"");
                    line.out.push_str(caption);
                    line.is_partial = true;
                }
                None => {
                    line.out.push_str("99,\"type\":\"");
                    plain.push(text, line.out);
                }
            }
            line.out.push('"');
            true
        }
        More::AuthProtocol => auth_protocol(line, text),
        More::Direction => direction(line, plain),
        More::Malware => {
            line.out.push('[');
            malware(line, plain);
            line.out.push(']');
            true
        }
        More::Signatures => signatures(line, plain),
        More::Mfa => mfa(line, text),
        More::Millis => match Timestamp::parse(text) {
            Some(time) if super::OCCURRED_MS.contains(&time.millis()) => {
                push_number(line.out, time.millis());
                true
            }
            Some(_) | None => false,
        },
        More::Service => {
            let name = prose::find(text, Prose::Application).unwrap_or("Mimecast");
            push_quoted(line.out, name);
            line.is_partial = true;
            true
        }
        More::Stix(part) => pattern(line, text, part),
        More::Url => ocsf_url(line, leaf, plain),
        More::Urls => {
            line.out.push('[');
            let written = ocsf_url(line, leaf, plain);
            line.out.push(']');
            written
        }
        // These do not come as text and are written elsewhere.
        More::Account(..)
        | More::Auth
        | More::Email
        | More::Emails
        | More::Extension
        | More::File
        | More::Files
        | More::Group
        | More::GroupOr(_)
        | More::Joined
        | More::Mailbox
        | More::List
        | More::Object
        | More::OriginalTime
        | More::Part(_)
        | More::People
        | More::Person
        | More::Resources
        | More::Roles => false,
    }
}

/// Appends a number.
pub(super) fn push_number(out: &mut String, number: i64) {
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

fn acts_numbers(line: &mut Line<'_, '_>, action: u8, disposition: u8) {
    ocsf::actions::push_members(line.out, action, disposition);
}

/// The numbers for a word, or 99 and the word itself. The word is kept besides: the same number
/// stands for several.
fn acts(line: &mut Line<'_, '_>, plain: Plain<'_>) -> bool {
    let known = ocsf::actions::find(plain.text);
    if let Some((action, disposition)) = known {
        acts_numbers(line, action, disposition);
        line.is_partial = true;
    } else {
        line.out.push_str("\"action_id\":99,\"disposition_id\":99");
        for key in [",\"action\":\"", ",\"disposition\":\""] {
            line.out.push_str(key);
            plain.push(plain.text, line.out);
            line.out.push('"');
        }
    }
    true
}

/// Writes an entry for each signature in `[engine.name, engine.name]`.
fn signatures(line: &mut Line<'_, '_>, plain: Plain<'_>) -> bool {
    line.out.push('[');
    let start = line.out.len();
    let inner = plain.text.trim_matches(['[', ']']);
    for name in inner.split([',', ';']).take(VALUES_MAX) {
        let name = name.trim_matches(['[', ']', ' ']);
        if !is_placeholder(name) {
            malware(
                line,
                Plain {
                    text: name,
                    ..plain
                },
            );
            line.out.push(',');
        }
    }
    let is_written = line.out.len() > start;
    if is_written {
        line.out.pop();
    }
    line.out.push(']');
    line.is_partial = true;
    is_written
}

/// Writes the feature of the product as what found something, and a comma.
pub(super) fn push_feature_analytic(line: &mut Line<'_, '_>) {
    line.out.push_str("{\"name\":\"");
    line.out
        .push_str(super::about::feature(line.record.stream()));
    line.out
        .push_str("\",\"type_id\":99,\"type\":\"Product feature\"},");
}

/// Writes malware of that name.
fn malware(line: &mut Line<'_, '_>, plain: Plain<'_>) {
    named(
        line,
        plain,
        "{\"classification_ids\":[0],\"name\":\"",
        "\",\"provider\":\"Mimecast\"}",
    );
}

fn named(line: &mut Line<'_, '_>, plain: Plain<'_>, open: &str, close: &str) -> bool {
    line.out.push_str(open);
    plain.push(plain.text, line.out);
    line.out.push_str(close);
    true
}

fn direction(line: &mut Line<'_, '_>, plain: Plain<'_>) -> bool {
    let words = ["inbound", "outbound", "internal"];
    let known = words
        .iter()
        .position(|word| word.eq_ignore_ascii_case(plain.text));
    line.out.push_str("\"direction_id\":");
    match known {
        Some(at) => {
            push_number(line.out, i64::try_from(at + 1).unwrap_or(0));
            let caption = ["Inbound", "Outbound", "Internal"].get(at).copied();
            line.out.push_str(",\"direction\":\"");
            line.out.push_str(caption.unwrap_or_default());
            line.out.push('"');
        }
        None => {
            line.out.push_str("99,\"direction\":\"");
            plain.push(plain.text, line.out);
            line.out.push('"');
        }
    }
    true
}

/// SAML is known to OCSF; the upstream's other methods are its own.
fn auth_protocol(line: &mut Line<'_, '_>, text: &str) -> bool {
    let Some(method) = prose::find(text, Prose::Method) else {
        return false;
    };
    if contains_ignore_case(method, "saml") {
        line.out.push_str("\"auth_protocol_id\":5");
    } else {
        line.out
            .push_str("\"auth_protocol_id\":99,\"auth_protocol\":");
        push_quoted(line.out, method);
    }
    line.is_partial = true;
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

fn mfa(line: &mut Line<'_, '_>, text: &str) -> bool {
    let Some(factor) = prose::find(text, Prose::Mfa) else {
        return false;
    };
    line.out
        .push_str("\"is_mfa\":true,\"auth_factors\":[{\"factor_type_id\":");
    let known = FACTORS
        .iter()
        .find(|(word, _)| contains_ignore_case(factor, word));
    match known {
        Some((word, number)) => {
            push_number(line.out, *number);
            if *word == "totp" {
                line.out.push_str(",\"is_totp\":true");
            }
        }
        None => {
            line.out.push_str("99,\"factor_type\":");
            push_quoted(line.out, factor);
        }
    }
    line.out.push_str("}]");
    line.is_partial = true;
    true
}

/// The texts of a list, or one text, as one text.
fn joined(line: &mut Line<'_, '_>, value: Value<'_>) -> bool {
    let start = line.out.len();
    line.out.push('"');
    let is_plain = match value.kind {
        Kind::Array => {
            line.is_partial = true;
            let mut is_plain = true;
            let scanned = json::scan_array(value.text, |element| {
                is_plain &= element.kind == Kind::String;
                if line.out.len() > start + 1 {
                    line.out.push_str(", ");
                }
                line.out.push_str(element.value.of(value.text));
            });
            is_plain && scanned.is_ok()
        }
        Kind::String => {
            line.out.push_str(value.text);
            true
        }
        Kind::False | Kind::Null | Kind::Number | Kind::Object | Kind::True => false,
    };
    line.out.push('"');
    is_plain && line.out.len() > start + 2
}

/// A list of texts, or one text as a list.
fn list(line: &mut Line<'_, '_>, value: Value<'_>) -> bool {
    line.out.push('[');
    let start = line.out.len();
    let mut is_plain = true;
    match value.kind {
        Kind::Array => {
            let mut count = 0_usize;
            let _scanned_before = json::scan_array(value.text, |element| {
                let text = element.value.of(value.text);
                is_plain &= element.kind == Kind::String;
                count = count.saturating_add(1);
                if count > VALUES_MAX {
                    line.is_cut = true;
                    line.is_partial = true;
                    return;
                }
                line.out.push('"');
                line.out.push_str(text);
                line.out.push_str("\",");
            });
        }
        Kind::String => {
            line.out.push('"');
            line.out.push_str(value.text);
            line.out.push_str("\",");
        }
        Kind::False | Kind::Null | Kind::Number | Kind::Object | Kind::True => return false,
    }
    let written = line.out.len() > start && is_plain;
    line.out.pop();
    line.out.push(']');
    written
}

fn original_time(line: &mut Line<'_, '_>, leaf: &Leaf) {
    for name in leaf.from {
        // Only the field that was read as the time of the event is used up.
        let is_time = line.used.get(name.index()).copied().unwrap_or_default();
        let Some(value) = line.record.get(*name).filter(|_| is_time) else {
            continue;
        };
        let mut buffer = String::new();
        if let Some(plain) = Plain::new(value, &mut buffer) {
            line.out.push_str(&leaf.key);
            line.out.push('"');
            plain.push(plain.text, line.out);
            line.out.push_str("\",");
        }
        return;
    }
}

fn pattern(line: &mut Line<'_, '_>, text: &str, part: Stix) -> bool {
    if part == Stix::Osint {
        let Some((type_id, value)) = stix::osint(text) else {
            return false;
        };
        line.out.push_str("\"type_id\":");
        push_number(line.out, type_id);
        let start = line.out.len() + ",\"value\":\"".len();
        push_escaped_word(line, ",\"value\":\"", value);
        line.out.pop();
        let end = line.out.len() - 1;
        // Sorts of indicators as sorts of observables.
        let observable = match type_id {
            1 => 2,
            2 => 1,
            4 => 8,
            5 => 6,
            9 => 5,
            _ => 0,
        };
        if observable != 0 {
            super::observe::note_text(line, observable, "osint[].value", (start, end));
        }
        line.is_partial |= value != text;
        return true;
    }
    let Some(found) = stix::find(text, part) else {
        return false;
    };
    line.out.push('"');
    let start = line.out.len();
    match part {
        Stix::Md5 | Stix::Sha1 | Stix::Sha256 => {
            push_lowercase(line.out, found);
            line.note(Related::Hash, start);
        }
        Stix::Ip => {
            line.out.push_str(found);
            line.note(Related::Ip, start);
        }
        Stix::Domain => {
            push_escaped(line.out, found);
            line.note(Related::Hosts, start);
        }
        Stix::EcsType | Stix::Email | Stix::Osint | Stix::Url => push_escaped(line.out, found),
    }
    line.out.push('"');
    line.is_partial |= found != text;
    true
}

/// A URL without white space, and its parts where it is absolute.
fn ocsf_url(line: &mut Line<'_, '_>, leaf: &Leaf, plain: Plain<'_>) -> bool {
    let text = plain.text;
    let has_blank = text.contains(char::is_whitespace);
    // A text without a host is a sentence and no URL.
    if has_blank && url::host(text).is_none() {
        return false;
    }
    line.out.push_str("{\"url_string\":\"");
    let start = line.out.len();
    if has_blank {
        plain.push(&text.replace(char::is_whitespace, "%20"), line.out);
        line.is_partial = true;
    } else {
        plain.push(text, line.out);
    }
    let end = line.out.len();
    let path = match leaf.observable.0 {
        "email.urls" => "email.urls[].url_string",
        _ => "evidences[].url.url_string",
    };
    super::observe::note_text(line, 6, path, (start, end));
    line.out.push('"');
    if let Some(parts) = url::split(text) {
        line.out.push_str(",\"scheme\":\"");
        push_lowercase(line.out, parts.scheme);
        line.out.push_str("\",\"hostname\":");
        let start = line.out.len() + 1;
        push_quoted(line.out, parts.host.to_lowercase().trim_matches(['[', ']']));
        let end = line.out.len() - 1;
        let path = match leaf.observable.0 {
            "email.urls" => "email.urls[].hostname",
            _ => "evidences[].url.hostname",
        };
        super::observe::note_text(line, 1, path, (start, end));
        for (key, part) in [
            (",\"path\":\"", parts.path),
            (",\"query_string\":\"", parts.query),
        ] {
            if !part.is_empty() && !is_placeholder(part) {
                line.out.push_str(key);
                plain.push(part, line.out);
                line.out.push('"');
            }
        }
        if !parts.port.is_empty() {
            line.out.push_str(",\"port\":");
            line.out.push_str(parts.port);
        }
    } else if let Some(host) = url::host(text) {
        line.out.push_str(",\"hostname\":");
        push_quoted(line.out, host.to_lowercase().trim_matches(['[', ']']));
    }
    line.out.push('}');
    true
}

/// Writes the verdict of one check as a member.
pub(super) fn push_verdict(line: &mut Line<'_, '_>, check: &str, word: &str) {
    line.out.push('"');
    line.out.push_str(check);
    line.out.push_str("\":\"");
    match super::values::verdict(word) {
        Some(word) => line.out.push_str(word),
        None => push_escaped(line.out, &word.to_lowercase()),
    }
    line.out.push_str("\",");
}
