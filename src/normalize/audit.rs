//! What the prose of an audit event says, for the rows of both formats.

use super::convert::{push_hash, quoted, quoted_and_related};
use super::prose::{self, ProsePart};
use super::table::Related;
use super::values::UnescapedText;
use super::writer::EventWriter;
use crate::encode::push_ascii_lowercase;

/// Writes a part of the prose in quotes.
fn part(writer: &mut EventWriter<'_, '_>, plain: UnescapedText<'_>, part: ProsePart) -> bool {
    prose::find(&mut writer.buffers.prose_cache, plain.text, part)
        .is_some_and(|found| quoted(writer, plain, found))
}

/// Writes a part of the prose that is a number.
fn number(writer: &mut EventWriter<'_, '_>, plain: UnescapedText<'_>, part: ProsePart) -> bool {
    let found = prose::find(&mut writer.buffers.prose_cache, plain.text, part);
    writer.out.push_str(found.unwrap_or_default());
    found.is_some()
}

/// Writes the application that was used.
pub(super) fn application(writer: &mut EventWriter<'_, '_>, plain: UnescapedText<'_>) -> bool {
    part(writer, plain, ProsePart::Application)
}

/// Writes the name of a file.
pub(super) fn file(writer: &mut EventWriter<'_, '_>, plain: UnescapedText<'_>) -> bool {
    part(writer, plain, ProsePart::File)
}

/// Writes the extension of that name, in lower case.
pub(super) fn file_extension(writer: &mut EventWriter<'_, '_>, plain: UnescapedText<'_>) -> bool {
    let Some(found) = prose::find(
        &mut writer.buffers.prose_cache,
        plain.text,
        ProsePart::FileExtension,
    ) else {
        return false;
    };
    writer.out.push('"');
    push_ascii_lowercase(writer.out, found);
    writer.out.push('"');
    true
}

/// Writes the size of a file in bytes.
pub(super) fn file_size(writer: &mut EventWriter<'_, '_>, plain: UnescapedText<'_>) -> bool {
    number(writer, plain, ProsePart::FileSize)
}

/// Writes a hexadecimal hash of that many digits.
pub(super) fn hash<const DIGITS: usize>(
    writer: &mut EventWriter<'_, '_>,
    plain: UnescapedText<'_>,
) -> bool {
    let found = prose::find(
        &mut writer.buffers.prose_cache,
        plain.text,
        ProsePart::Hash(DIGITS),
    );
    found.is_some_and(|found| push_hash(writer, found, DIGITS))
}

/// Writes the address that the user came from.
pub(super) fn ip(writer: &mut EventWriter<'_, '_>, plain: UnescapedText<'_>) -> bool {
    let found = prose::find(&mut writer.buffers.prose_cache, plain.text, ProsePart::Ip);
    found.is_some_and(|found| quoted_and_related(writer, plain, found, Related::Ip))
}

/// Writes how the user was authenticated.
pub(super) fn method(writer: &mut EventWriter<'_, '_>, plain: UnescapedText<'_>) -> bool {
    part(writer, plain, ProsePart::Method)
}

/// Writes the second factor.
pub(super) fn mfa(writer: &mut EventWriter<'_, '_>, plain: UnescapedText<'_>) -> bool {
    part(writer, plain, ProsePart::Mfa)
}

/// Writes the port from which the user came.
pub(super) fn port(writer: &mut EventWriter<'_, '_>, plain: UnescapedText<'_>) -> bool {
    number(writer, plain, ProsePart::Port)
}

/// Writes why something failed.
pub(super) fn reason(writer: &mut EventWriter<'_, '_>, plain: UnescapedText<'_>) -> bool {
    part(writer, plain, ProsePart::Reason)
}
