//! Files that could not be fetched or read: they are stored in the checkpoint and tried again for as long
//! as Mimecast retains them, while the stream continues.

use crate::batch::{Builder, NoticeKind};
use crate::checkpoint::{FileFailureCause, FilePosition, SetAsideFile, SetAsidePage};
use crate::stream::Stream;
use crate::streams::{Context, budget, hours_ms};
use crate::time::Timestamp;

/// The first wait before a page is listed again for its files, and the longest: each try makes the
/// wait four times as long.
const FIRST_WAIT_MS: i64 = 2 * 60_000;
const LONGEST_WAIT_MS: i64 = 4 * 3_600_000;

/// Tries of a file that is not there, or not listed: the last one is some three hours after the
/// first. A file that the storage has lost does not come back, and a late one appears by then.
const GONE_TRIES_MAX: u32 = 4;

/// Tries of a file that was fetched and could not be read: the last one is some ten minutes after the
/// first.
const UNREADABLE_TRIES_MAX: u32 = 2;

/// The retention of a log for which Mimecast documents none.
const DEFAULT_RETENTION_HOURS: u32 = 7 * 24;

/// The most files that are named in one notice.
const NAMED_FILES_MAX: usize = 20;

/// Why a file could not be fetched or read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileFailure {
    /// Its category.
    pub cause: FileFailureCause,
    /// The same as a short clause for people, without the file and without a secret.
    pub why: String,
    /// The first unreadable bytes.
    pub original: Vec<u8>,
}

/// Returns the wait before a page is listed again after so many tries.
pub(super) fn wait_ms(tries: u32) -> i64 {
    let factor = 4_i64.checked_pow(tries.min(16)).unwrap_or(i64::MAX);
    FIRST_WAIT_MS.saturating_mul(factor).min(LONGEST_WAIT_MS)
}

/// Returns when the first of the pages is listed again.
///
/// A time that is further ahead than the longest wait was written by a clock that has since been set
/// back: then it is due now.
pub(super) fn due(
    pages: &[SetAsidePage],
    after: Option<Timestamp>,
    now: Timestamp,
) -> Option<Timestamp> {
    let soonest = pages.iter().map(|page| page.next_try).min()?;
    let due = after.map_or(soonest, |after| after.max(soonest));
    Some(if due > now.plus_ms(LONGEST_WAIT_MS) {
        now
    } else {
        due
    })
}

/// Returns the page to list now: the one that has waited longest.
pub(super) fn next_page(pages: &[SetAsidePage]) -> Option<usize> {
    let waiting = pages.iter().enumerate();
    let next = waiting.min_by_key(|(_, page)| page.next_try)?;
    Some(next.0)
}

/// Adds a file, where there is room for it in the checkpoint. Returns whether there was.
#[must_use]
pub(super) fn add(
    pages: &mut Vec<SetAsidePage>,
    (page_token, list_from): (Option<&String>, Timestamp),
    file: SetAsideFile,
    context: Context<'_>,
) -> bool {
    let listed_by =
        |page: &&mut SetAsidePage| page.page_token.as_ref() == page_token && !page.searching;
    let mut extended = pages.clone();
    match extended.iter_mut().find(listed_by) {
        Some(page) => page.files.push(file),
        None => extended.push(SetAsidePage {
            page_token: page_token.cloned(),
            list_from,
            searching: false,
            next_try: context.now.plus_ms(wait_ms(0)),
            tries: 0,
            files: vec![file],
        }),
    }
    let bytes = serde_json::to_string(&extended).map_or(usize::MAX, |text| text.len());
    let fits = bytes <= budget::set_aside_bytes_max(context.settings);
    if fits {
        *pages = extended;
    }
    fits
}

/// Counts a failure of a file that was tried again. Returns whether it is tried once more.
pub(super) fn count_failure(file: &mut SetAsideFile, failure: &FileFailure) -> bool {
    if file.cause != failure.cause {
        file.cause = failure.cause;
        file.position.tries = 0;
    }
    file.position.tries = file.position.tries.saturating_add(1);
    file.why.clone_from(&failure.why);
    match file.cause {
        FileFailureCause::Gone => file.position.tries < GONE_TRIES_MAX,
        FileFailureCause::Unreadable => file.position.tries < UNREADABLE_TRIES_MAX,
        FileFailureCause::Refused | FileFailureCause::Unavailable => true,
    }
}

/// Moves the files that the page of `page_token` lists to that page: its token is newer.
pub(super) fn regroup(
    pages: &mut Vec<SetAsidePage>,
    is_listed: impl Fn(&str) -> bool,
    (page_token, list_from): (Option<&String>, Timestamp),
) {
    let mut moved: Option<SetAsidePage> = None;
    for page in pages
        .iter_mut()
        .filter(|page| page.page_token.as_ref() != page_token || page.searching)
    {
        let (moving, staying): (Vec<_>, Vec<_>) = core::mem::take(&mut page.files)
            .into_iter()
            .partition(|file| is_listed(&file.position.name));
        page.files = staying;
        if moving.is_empty() {
            continue;
        }
        let to = moved.get_or_insert_with(|| SetAsidePage {
            page_token: page_token.cloned(),
            list_from,
            searching: false,
            next_try: page.next_try,
            tries: page.tries,
            files: Vec::new(),
        });
        to.files.extend(moving);
    }
    pages.retain(|page| !page.files.is_empty());
    if let Some(moved) = moved {
        let same =
            |page: &&mut SetAsidePage| page.page_token == moved.page_token && !page.searching;
        match pages.iter_mut().find(same) {
            Some(page) => page.files.extend(moved.files),
            None => pages.push(moved),
        }
    }
}

/// Gives up files that Mimecast no longer retains.
pub(super) fn give_up_expired(
    stream: Stream,
    pages: &mut Vec<SetAsidePage>,
    context: Context<'_>,
    batch: &mut Builder,
) {
    let hours = stream
        .info()
        .retention_hours
        .unwrap_or(DEFAULT_RETENTION_HOURS);
    // By the clock that is behind: a file that a wrong one counts as expired may still be there.
    let oldest = context
        .earliest_now()
        .plus_ms(hours_ms(hours).saturating_neg());
    for page in pages.iter_mut() {
        page.files.retain(|file| {
            let is_recent = file.since > oldest;
            if !is_recent {
                let days = hours / 24;
                let what = format!(
                    "could not be fetched in the {days} days that Mimecast keeps it: {}",
                    file.why
                );
                batch.notice(
                    stream,
                    NoticeKind::Gap,
                    lost_file_detail(&file.position, &what),
                );
            }
            is_recent
        });
    }
    pages.retain(|page| !page.files.is_empty());
}

/// Returns the files that are set aside, as a clause for people, and when they are fetched again;
/// nothing where there are none.
///
/// The text is the same until something changes, so that it is not reported again at each poll.
pub(super) fn summary(pages: &[SetAsidePage]) -> Option<(String, Timestamp)> {
    let files = || pages.iter().flat_map(|page| &page.files);
    let count = files().count();
    let next_try = pages.iter().map(|page| page.next_try).min()?;
    let name = |file: &SetAsideFile| {
        let line = file.position.line.saturating_add(1);
        format!("{} from line {line} on ({})", file.position.name, file.why)
    };
    let mut names: Vec<String> = files().take(NAMED_FILES_MAX).map(name).collect();
    if count > NAMED_FILES_MAX {
        names.push(format!(
            "and {} more",
            count.saturating_sub(NAMED_FILES_MAX)
        ));
    }
    let is = if count == 1 { "file is" } else { "files are" };
    let detail = format!(
        "{count} {is} set aside and fetched again from {next_try} on: {}",
        names.join(", ")
    );
    Some((detail, next_try))
}

/// Returns that a file can no longer be fetched, and why, as a clause for people.
pub(super) fn lost_file_detail(file: &FilePosition, what: &str) -> String {
    format!(
        "1 file is lost: {} from line {} on {what}",
        file.name,
        file.line.saturating_add(1)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_waits_grow_to_hours() {
        let waits: Vec<i64> = (0..6).map(|tries| wait_ms(tries) / 60_000).collect();
        assert_eq!(waits, [2, 8, 32, 128, 240, 240]);
        assert_eq!(wait_ms(u32::MAX), LONGEST_WAIT_MS);
    }
}
