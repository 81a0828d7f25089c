//! Conversions that only ECS needs.

use super::super::convert::quoted;
use super::super::stix::{self, StixPart};
use super::super::table::Related;
use super::super::values::{self, UnescapedText};
use super::super::writer::EventWriter;
use super::super::{PLAUSIBLE_TIME_MS, compound, url};
use crate::encode::{push_ascii_lowercase, push_escaped};
use crate::time::Timestamp;

/// Writes an RFC 3339 time, from any plausible time that can be read.
pub(super) fn date(writer: &mut EventWriter<'_, '_>, plain: UnescapedText<'_>) -> bool {
    let time = Timestamp::parse(plain.text);
    let Some(time) = time.filter(|time| PLAUSIBLE_TIME_MS.contains(&time.millis())) else {
        return false;
    };
    writer.out.push('"');
    time.write_rfc3339(writer.out);
    writer.out.push('"');
    true
}

/// Writes `inbound`, `outbound`, `internal`, `external` or `unknown`.
pub(super) fn direction(writer: &mut EventWriter<'_, '_>, plain: UnescapedText<'_>) -> bool {
    values::direction(plain.text).is_some_and(|word| quoted(writer, plain, word))
}

/// Writes the name of a TLS version, `tls`.
pub(super) fn tls_protocol(writer: &mut EventWriter<'_, '_>, plain: UnescapedText<'_>) -> bool {
    let found = values::tls_version(plain.text);
    found.is_some_and(|(protocol, _)| quoted(writer, plain, protocol))
}

/// Writes the number of a TLS version, `1.3`.
pub(super) fn tls_version(writer: &mut EventWriter<'_, '_>, plain: UnescapedText<'_>) -> bool {
    let found = values::tls_version(plain.text);
    found.is_some_and(|(_, number)| quoted(writer, plain, number))
}

/// Writes the URL that the details of a rejection give as `Url: […]`. The field is unmapped as well.
pub(super) fn info_url(writer: &mut EventWriter<'_, '_>, plain: UnescapedText<'_>) -> bool {
    let Some(found) = url::in_rejection_info(plain.text) else {
        return false;
    };
    writer.is_also_unmapped = true;
    let found = UnescapedText {
        text: found,
        ..plain
    };
    compound::url(writer, found)
}

/// Writes the type of an indicator, in the words of ECS.
pub(super) fn indicator_type(writer: &mut EventWriter<'_, '_>, plain: UnescapedText<'_>) -> bool {
    pattern(writer, plain, StixPart::EcsType, |writer, found| {
        push_escaped(writer.out, found)
    })
}

/// Writes the e-mail address of an indicator.
pub(super) fn indicator_email(writer: &mut EventWriter<'_, '_>, plain: UnescapedText<'_>) -> bool {
    pattern(writer, plain, StixPart::Email, |writer, found| {
        push_escaped(writer.out, found)
    })
}

/// Writes the URL of an indicator.
pub(super) fn indicator_url(writer: &mut EventWriter<'_, '_>, plain: UnescapedText<'_>) -> bool {
    pattern(writer, plain, StixPart::Url, |writer, found| {
        push_escaped(writer.out, found)
    })
}

/// Writes the MD5 hash of an indicator.
pub(super) fn indicator_md5(writer: &mut EventWriter<'_, '_>, plain: UnescapedText<'_>) -> bool {
    pattern(writer, plain, StixPart::Md5, push_hash)
}

/// Writes the SHA-1 hash of an indicator.
pub(super) fn indicator_sha1(writer: &mut EventWriter<'_, '_>, plain: UnescapedText<'_>) -> bool {
    pattern(writer, plain, StixPart::Sha1, push_hash)
}

/// Writes the SHA-256 hash of an indicator.
pub(super) fn indicator_sha256(writer: &mut EventWriter<'_, '_>, plain: UnescapedText<'_>) -> bool {
    pattern(writer, plain, StixPart::Sha256, push_hash)
}

/// Writes the IP address of an indicator.
pub(super) fn indicator_ip(writer: &mut EventWriter<'_, '_>, plain: UnescapedText<'_>) -> bool {
    pattern(writer, plain, StixPart::Ip, |writer, found| {
        let start = writer.out.len();
        writer.out.push_str(found);
        writer.add_related(Related::Ip, start);
    })
}

/// Writes the domain of an indicator.
pub(super) fn indicator_domain(writer: &mut EventWriter<'_, '_>, plain: UnescapedText<'_>) -> bool {
    pattern(writer, plain, StixPart::Domain, |writer, found| {
        let start = writer.out.len();
        push_escaped(writer.out, found);
        writer.add_related(Related::Hosts, start);
    })
}

fn push_hash(writer: &mut EventWriter<'_, '_>, hash: &str) {
    let start = writer.out.len();
    push_ascii_lowercase(writer.out, hash);
    writer.add_related(Related::Hash, start);
}

/// Writes a part of the pattern of an indicator; a pattern with more parts is unmapped as well.
#[inline(never)]
fn pattern(
    writer: &mut EventWriter<'_, '_>,
    plain: UnescapedText<'_>,
    part: StixPart,
    push: fn(&mut EventWriter<'_, '_>, &str),
) -> bool {
    let Some(found) = stix::find(plain.text, part) else {
        return false;
    };
    writer.out.push('"');
    push(writer, &found);
    writer.out.push('"');
    writer.is_also_unmapped |= found != plain.text;
    true
}
