//! Divides the space of a checkpoint among the streams, so that all together stay within it.
//!
//! Of 768 KiB, lists have 600, the identities of other streams 64 and files that are set aside 24.
//! The remainder is for names of files, page tokens and times.

use crate::settings::Settings;
use crate::stream::{FetchKind, Stream};

/// The room for the items of lists. With every stream selected, `held-messages` has 72 hundredths of
/// it, which is enough for 20,000 messages.
const LISTS_BYTES: usize = 600 * 1024;

/// The room for the identities of other streams.
const IDENTITIES_BYTES: usize = 64 * 1024;

/// The room for files that are set aside, of all streams.
const SET_ASIDE_BYTES: usize = 24 * 1024;

/// The most identities of one stream: more than a page, so that a page that is read twice repeats
/// nothing. Still more would only be read and written at every poll.
const IDENTITIES_MAX: usize = 1000;

/// The characters that one identity takes at most.
const IDENTITY_CHARS: usize = 24;

/// Returns how many bytes of a checkpoint the identities or items of a stream may take.
#[must_use]
pub fn stream_bytes_max(stream: Stream, settings: &Settings) -> usize {
    let is_list = is_list(stream);
    let share = |stream: &Stream| {
        // Batch files are remembered by their keys, in the remainder.
        let share = if settings.reads_only_batch_files(*stream) {
            0
        } else {
            stream.info().checkpoint_share
        };
        usize::try_from(share).unwrap_or(0)
    };
    let same_kind = settings
        .streams
        .iter()
        .filter(|other| self::is_list(**other) == is_list);
    let shares: usize = same_kind.map(share).sum();
    let room = if is_list {
        LISTS_BYTES
    } else {
        IDENTITIES_BYTES
    };
    room.saturating_mul(share(&stream)) / shares.max(1)
}

fn is_list(stream: Stream) -> bool {
    matches!(
        stream.info().fetch,
        FetchKind::Campaigns { .. } | FetchKind::List { .. }
    )
}

/// Returns how many bytes of a checkpoint the files that a stream has set aside may take.
#[must_use]
pub fn set_aside_bytes_max(settings: &Settings) -> usize {
    let has_files = |stream: &&Stream| stream.has_batch_files();
    let streams = settings.streams.iter().filter(has_files).count();
    SET_ASIDE_BYTES / streams.max(1)
}

/// Returns how many identities a stream may remember.
#[must_use]
pub fn identities_max(stream: Stream, settings: &Settings) -> usize {
    (stream_bytes_max(stream, settings) / IDENTITY_CHARS).min(IDENTITIES_MAX)
}
