//! How the room of a checkpoint is shared out, so that all streams together stay within it.

use crate::settings::Settings;
use crate::stream::Stream;

/// The room for identities: half of a checkpoint. Batch files need a fourth for the names of
/// files, and page tokens and times have the rest.
const ROOM_BYTES: usize = 32 * 1024;

/// More than a page, so that a page that is read twice repeats nothing; more would only be read
/// and written at every poll.
const IDENTITIES_MAX: usize = 1000;

/// The characters that one identity takes at most.
const IDENTITY_CHARS: usize = 24;

/// How many bytes of a checkpoint the identities of a stream may take.
#[must_use]
pub fn bytes(stream: Stream, settings: &Settings) -> usize {
    let share = |stream: &Stream| {
        // Batch files are remembered by their names.
        let share = if settings.reads_files(*stream) {
            0
        } else {
            stream.row().memory
        };
        usize::try_from(share).unwrap_or(0)
    };
    let all: usize = settings.streams.iter().map(share).sum();
    ROOM_BYTES.saturating_mul(share(&stream)) / all.max(1)
}

/// How many identities a stream may remember.
#[must_use]
pub fn identities(stream: Stream, settings: &Settings) -> usize {
    (bytes(stream, settings) / IDENTITY_CHARS).min(IDENTITIES_MAX)
}
