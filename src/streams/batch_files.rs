//! SIEM batch: pages of presigned files (`mimecast-api.md` §3.1, §3.2).
//!
//! The position is the page token, the name of the file being read and its line. A link is never
//! part of it: on resume the page is listed again for fresh ones. A file that cannot
//! be fetched or read is set aside, and its page is listed again for it later.

use std::collections::VecDeque;

use crate::batch::{Builder, NoticeKind};
use crate::checkpoint::{
    FileFailureCause, FilePosition, FilesPosition, SetAsideFile, SetAsidePage, StreamPosition,
};
use crate::request::{Call, Request, percent_encode};
use crate::response::Head;
use crate::stream::{FetchKind, Stream};
use crate::streams::done_files::DoneFiles;
use crate::streams::quota::QuotaKind;
use crate::streams::retention::Retention;
use crate::streams::siem_events::LineFilter;
use crate::streams::siem_pages::{self, PageStart};
use crate::streams::{Context, InvalidResponse, ReaderAction, StreamReader, add_unreadable_notice};
use crate::time::Timestamp;

use listing::{File, Listing, SeenFiles, find_all};
pub use set_aside::FileFailure;
use set_aside::lost_file_detail;

mod listing;
mod set_aside;

/// The greatest page the API gives (`mimecast-api.md` §3.1): fewest calls for the quota.
const PAGE_FILES: u32 = 100;

/// Files whose keys are remembered: a page may list one twice, and the next page may list it
/// again (`mimecast-api.md` §3.1).
const DONE_FILES_MAX: usize = 128;

/// The poll interval of a caught-up stream; new files appear every 15 minutes
/// (`mimecast-api.md` §3.1).
const POLL_INTERVAL_MS: i64 = 5 * 60_000;

/// A link that expires within this is no longer used.
const LINK_EXPIRY_MARGIN_MS: i64 = 10_000;

/// The links of a listing that is younger than this are used whatever their expiry.
const FRESH_LISTING_MS: i64 = 30_000;

/// Tries of a file that is refused, broken or not there; the second uses a fresh link. Only a line that
/// is read resets the count, so that failures that alternate come to an end.
const TRIES_MAX: u32 = 2;

/// The same where the storage failed, could not be reached or was too slow: the stream backs off between
/// these tries, because other files would fail as well.
const UNAVAILABLE_TRIES_MAX: u32 = 4;

/// How often in a row a page is listed again immediately because one of its files was refused, broken or
/// not there. Each
/// time costs a call of the quota.
const RELISTS_MAX: u32 = 3;

/// Listings in a row that lack the file that is being read, or the link of a file, before that file
/// counts as gone: a page may have been incomplete.
const INCOMPLETE_LISTINGS_MAX: u32 = 3;

/// The page in memory. A checkpoint does not hold it.
#[derive(Clone, Debug)]
struct Page {
    waiting: VecDeque<File>,
    next_token: Option<String>,
    caught_up: bool,
    /// Whether the page is listed again when its files are done.
    must_relist: bool,
    listed_at: Timestamp,
}

impl Page {
    fn is_stale(&self, context: Context<'_>) -> bool {
        is_stale(self.waiting.front(), self.listed_at, context)
    }
}

/// A page that is listed again for files that are set aside.
#[derive(Clone, Debug)]
struct Retry {
    /// The index of the page among those with such files.
    page_index: usize,
    listing: Option<RetryListing>,
}

/// The listing of a page with files that are set aside.
#[derive(Clone, Debug)]
struct RetryListing {
    /// The files with the names under which they were set aside.
    waiting: VecDeque<(String, File)>,
    listed_at: Timestamp,
}

impl Retry {
    fn front(&self) -> Option<&(String, File)> {
        self.listing.as_ref()?.waiting.front()
    }

    fn is_stale(&self, context: Context<'_>) -> bool {
        let front = self.front().map(|(_, file)| file);
        let listed_at = self.listing.as_ref().map(|listing| listing.listed_at);
        listed_at.is_some_and(|listed_at| is_stale(front, listed_at, context))
    }
}

/// Returns whether a link expires before it could be used. Links of a fresh listing never do, or a
/// wrong clock would cause listings without end.
fn is_stale(file: Option<&File>, listed_at: Timestamp, context: Context<'_>) -> bool {
    let expires_soon = |file: &File| {
        let use_until = file
            .expiry
            .map(|expiry| expiry.plus_ms(-LINK_EXPIRY_MARGIN_MS));
        use_until.is_some_and(|use_until| use_until <= context.upstream_now)
    };
    listed_at.plus_ms(FRESH_LISTING_MS) < context.now && file.is_some_and(expires_soon)
}

/// The next step after a file could not be fetched or read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterFailure {
    /// Continue with a fresh link of the same file, or with another file.
    Continue,
    /// Back off, then try the same file. The payload is how often it has failed in this way.
    BackOff(u32),
    /// Back off, because the file should be set aside and there is no room for it. The payload is the
    /// same.
    BackOffWithoutRoom(u32),
}

/// The reader of one event type.
pub struct BatchFilesReader {
    stream: Stream,
    position: FilesPosition,
    done: DoneFiles,
    page: Option<Page>,
    /// Whether the next listing is only for fresh links of the current page.
    fresh_links_only: bool,
    /// How often the page was listed again at once because one of its files was
    /// refused, broken or not there.
    relists: u32,
    /// Files that are set aside and tried again now.
    retry: Option<Retry>,
}

impl BatchFilesReader {
    /// Creates the reader of a stream, from its position or from `start`.
    #[must_use]
    pub fn open(stream: Stream, position: Option<&FilesPosition>, start: Timestamp) -> Self {
        let fresh = || FilesPosition {
            since: start,
            ..FilesPosition::default()
        };
        let position = position.cloned().unwrap_or_else(fresh);
        let done = DoneFiles::from_text(&position.done_files, DONE_FILES_MAX);
        let fresh_links_only = position.file.is_some();
        Self {
            stream,
            position,
            done,
            page: None,
            fresh_links_only,
            relists: 0,
            retry: None,
        }
    }

    /// Returns when the next page is due, and whether everything but files that are set aside is
    /// collected.
    pub fn page_due(&self, context: Context<'_>) -> (Timestamp, bool) {
        if !self.position.caught_up || self.page.is_some() {
            return (context.now, false);
        }
        let listed_at = self.position.listed_at.unwrap_or(context.now);
        let due = context.due_again(listed_at, interval_ms(context));
        (due, true)
    }

    /// Returns when the newest page was listed, by the host's clock; after a gap or a refused token, see
    /// [`FilesPosition::listed_at`].
    #[must_use]
    pub const fn listed_at(&self) -> Option<Timestamp> {
        self.position.listed_at
    }

    /// Returns the files that are set aside.
    #[must_use]
    pub fn set_aside(&self) -> &[SetAsidePage] {
        &self.position.set_aside
    }

    /// Returns whether a page is listed, or one of its files read, for files that are set aside.
    #[must_use]
    pub const fn is_retrying(&self) -> bool {
        self.retry.is_some()
    }

    /// Returns `until`, or the time since which the oldest file is set aside, whichever is earlier: up to
    /// it everything is collected.
    #[must_use]
    pub fn bounded_by_set_aside(&self, until: Timestamp, context: Context<'_>) -> Timestamp {
        let files = self.position.set_aside.iter().flat_map(|page| &page.files);
        let since = files.map(|file| context.to_upstream(file.since)).min();
        since.map_or(until, |since| until.min(since))
    }

    /// Returns when files that are set aside are tried again.
    pub fn retry_due(&self, context: Context<'_>) -> Option<Timestamp> {
        if self.retry.is_some() {
            return Some(context.now);
        }
        let position = &self.position;
        set_aside::due(&position.set_aside, position.retry_after, context.now)
    }

    /// Returns the next action for files that are set aside, where some are due.
    pub fn next_retry(
        &mut self,
        context: Context<'_>,
        batch: &mut Builder,
    ) -> Option<ReaderAction> {
        if self.retry.is_none() && self.page.is_none() {
            self.begin_retry(context, batch);
        }
        let retry = self.retry.as_mut()?;
        if retry.is_stale(context) {
            retry.listing = None;
        }
        if let Some((_, file)) = retry.front() {
            return Some(ReaderAction::Download(Request::get(file.url.clone())));
        }
        if let Some(page) = self.position.set_aside.get(retry.page_index) {
            let (token, since) = (page.page_token.as_ref(), page.list_from);
            return Some(ReaderAction::Call(self.list_call(token, since, context)));
        }
        self.retry = None;
        None
    }

    /// Begins a retry of files that are set aside, where some are due.
    fn begin_retry(&mut self, context: Context<'_>, batch: &mut Builder) {
        let pages = &mut self.position.set_aside;
        set_aside::give_up_expired(self.stream, pages, context, batch);
        if self
            .retry_due(context)
            .is_some_and(|due| due <= context.now)
        {
            let page = set_aside::next_page(&self.position.set_aside);
            self.retry = page.map(|page_index| Retry {
                page_index,
                listing: None,
            });
        }
    }

    /// After an outage longer than the retention, or at a start before it, adds a notice and begins again at
    /// the oldest data.
    fn skip_expired(&mut self, context: Context<'_>, batch: &mut Builder) {
        let Some(retention) = Retention::of(self.stream, context) else {
            return;
        };
        let oldest = retention.oldest;
        let position = &mut self.position;
        let listed_at = match position.listed_at {
            // While listing fails, the next gap begins where this one ends.
            Some(listed_at) if listed_at < oldest => {
                retention.add_gap_notice("records", listed_at, batch);
                Some(oldest)
            }
            // Files are listed by whole days, so the day of `oldest` is still there.
            None if position.page_token.is_none() && position.since.to_day() < oldest.to_day() => {
                retention.add_start_notice("collection", position.since, batch);
                None
            }
            Some(_) | None => return,
        };
        *position = FilesPosition {
            since: oldest,
            listed_at,
            relist_from: position.relist_from,
            set_aside: core::mem::take(&mut position.set_aside),
            retry_after: position.retry_after,
            ..FilesPosition::default()
        };
        self.page = None;
        self.fresh_links_only = false;
    }

    /// Returns the call that lists a page. With a page token no dates are sent
    /// (`mimecast-api.md` §3.1).
    fn list_call(
        &self,
        page_token: Option<&String>,
        since: Timestamp,
        context: Context<'_>,
    ) -> Call {
        // A day that is no longer available may be refused.
        let oldest = Retention::of(self.stream, context).map(|retention| retention.oldest);
        let since = oldest.map_or(since, |oldest| since.max(oldest));
        let start = match page_token {
            Some(token) => PageStart::Token(token),
            None => PageStart::Date(since.to_day()),
        };
        siem_pages::call(endpoint(self.stream, PAGE_FILES), start)
    }

    /// Counts a page that lists files without a usable link. It is listed again after its other files,
    /// because it may have been incomplete; when that does not help, these files are a gap. Returns
    /// whether the page is to be listed again.
    fn check_missing_links(
        &mut self,
        without_link: usize,
        waiting: &VecDeque<File>,
        batch: &mut Builder,
    ) -> Result<bool, InvalidResponse> {
        if without_link == 0 {
            self.position.listings_without_link = 0;
            return Ok(false);
        }
        self.position.listings_without_link = self.position.listings_without_link.saturating_add(1);
        if self.position.listings_without_link < INCOMPLETE_LISTINGS_MAX {
            return if waiting.is_empty() {
                Err(InvalidResponse(
                    "the page lists a file without a usable url".to_owned(),
                ))
            } else {
                Ok(true)
            };
        }
        self.position.listings_without_link = 0;
        let (files, are) = if without_link == 1 {
            ("file", "is")
        } else {
            ("files", "are")
        };
        let detail = format!(
            "{without_link} {files} {are} lost: {INCOMPLETE_LISTINGS_MAX} listings of the page had no usable url"
        );
        batch.notice(self.stream, NoticeKind::Gap, detail);
        Ok(false)
    }

    /// Returns the files of a page that are not done, not listed twice and not set aside. Moves files that
    /// are set aside, and are listed here, to an entry for this page.
    fn select_new_files(
        &mut self,
        files: impl Iterator<Item = File>,
        context: Context<'_>,
    ) -> VecDeque<File> {
        let mut seen = SeenFiles::new(self.done.iter());
        let mut waiting: VecDeque<File> = files.filter(|file| seen.insert(file)).collect();
        let pages = self.position.set_aside.iter();
        let set_aside = pages.flat_map(|page| &page.files);
        let names: Vec<String> = set_aside.map(|file| file.position.name.clone()).collect();
        let found = find_all(&waiting, &names);
        let name_if_found = |(name, at): (&String, &Option<usize>)| at.map(|_| name.clone());
        let listed: Vec<String> = names.iter().zip(&found).filter_map(name_if_found).collect();
        if !listed.is_empty() {
            let mut keep = vec![true; waiting.len()];
            for at in found.into_iter().flatten() {
                if let Some(keep) = keep.get_mut(at) {
                    *keep = false;
                }
            }
            let mut keep = keep.into_iter();
            waiting.retain(|_| keep.next().unwrap_or(true));
            let since = self.restart_time(context);
            let page = (self.position.page_token.as_ref(), since);
            let is_listed = |name: &str| listed.iter().any(|listed| listed == name);
            set_aside::regroup(&mut self.position.set_aside, is_listed, page);
        }
        waiting
    }

    /// Moves the file that was being read to the front. Where the page does not list it, the page is
    /// listed again, because it may have been incomplete; when that does not help, the file is set
    /// aside.
    fn put_current_file_first(
        &mut self,
        mut waiting: VecDeque<File>,
        context: Context<'_>,
    ) -> Result<VecDeque<File>, InvalidResponse> {
        let Some(file) = self.position.file.clone() else {
            return Ok(waiting);
        };
        let found = find_all(&waiting, core::slice::from_ref(&file.name));
        if let Some(at) = found.into_iter().flatten().next() {
            waiting.rotate_left(at);
            if let (Some(front), Some(file)) = (waiting.front(), &mut self.position.file) {
                file.name = front.name();
            }
            self.position.listings_without_file = 0;
            return Ok(waiting);
        }
        let listings = self.position.listings_without_file.saturating_add(1);
        self.position.listings_without_file = listings;
        let failure = FileFailure {
            cause: FileFailureCause::Gone,
            why: "it is no longer listed".to_owned(),
            original: Vec::new(),
        };
        if listings >= INCOMPLETE_LISTINGS_MAX && self.add_set_aside(file, &failure, context) {
            return Ok(waiting);
        }
        Err(InvalidResponse(
            "the page does not list the file that is being read".to_owned(),
        ))
    }

    /// Handles the listing of a page with files that are set aside.
    fn handle_retry_listing(
        &mut self,
        listing: Listing,
        context: Context<'_>,
        batch: &mut Builder,
    ) {
        let Some(retry) = &mut self.retry else {
            return;
        };
        let files: VecDeque<File> = listing.files.into_iter().flatten().collect();
        let page = self.position.set_aside.get_mut(retry.page_index);
        let mut waiting = VecDeque::new();
        let mut missing = Vec::new();
        let names = page.iter().flat_map(|page| &page.files);
        let names: Vec<String> = names.map(|file| file.position.name.clone()).collect();
        let found = find_all(&files, &names);
        for (name, at) in names.into_iter().zip(found) {
            match at.and_then(|at| files.get(at)) {
                Some(found) => waiting.push_back((name, found.clone())),
                None => missing.push(name),
            }
        }
        retry.listing = Some(RetryListing {
            waiting,
            listed_at: context.now,
        });
        let next = listing.next_token.filter(|_| !listing.is_caught_up);
        match page.filter(|page| page.searching) {
            // They may be on one of the pages after this one.
            Some(page) if !missing.is_empty() && next.is_some() && next != page.page_token => {
                page.page_token = next;
            }
            page => {
                if let Some(page) = page {
                    page.page_token = None;
                }
                let failure = FileFailure {
                    cause: FileFailureCause::Gone,
                    why: "it is no longer listed".to_owned(),
                    original: Vec::new(),
                };
                for name in missing {
                    self.count_retry_failure(&name, &failure, batch);
                }
            }
        }
        self.finish_retry_if_done(context);
    }

    /// Returns the time from which files that are not done are listed where no token is usable: an hour
    /// before the newest file, because going back repeats records and loses none.
    fn restart_time(&self, context: Context<'_>) -> Timestamp {
        let relist_from = self.position.relist_from.unwrap_or(self.position.since);
        relist_from
            .plus_ms(-3_600_000)
            .max(self.position.since)
            .min(context.now)
    }

    /// Handles a failed call: if it was for files that are set aside, their next try is postponed, so
    /// that the next call is for the next page.
    pub fn postpone_retry(&mut self, now: Timestamp) {
        if self
            .retry
            .as_ref()
            .is_some_and(|retry| retry.listing.is_none())
            && let Some(retry) = self.retry.take()
            && let Some(page) = self.position.set_aside.get_mut(retry.page_index)
        {
            schedule_next_try(page, now);
        }
    }

    /// Returns the position in the current file, which begins at its first line where none of it is done.
    pub fn begin_or_resume_file(&mut self) -> FilePosition {
        if let Some(file) = self.retried_file() {
            return file.position.clone();
        }
        let front = self.page.as_ref().and_then(|page| page.waiting.front());
        let name = front.map(File::name).unwrap_or_default();
        match &self.position.file {
            Some(position) if position.name == name => position.clone(),
            Some(_) | None => {
                let position = FilePosition {
                    name,
                    ..FilePosition::default()
                };
                self.position.file = Some(position.clone());
                self.position.unavailable_tries = 0;
                self.position.listings_without_file = 0;
                position
            }
        }
    }

    /// Returns the file that is set aside and tried again now.
    fn retried_file(&mut self) -> Option<&mut SetAsideFile> {
        let retry = self.retry.as_ref()?;
        let (name, _) = retry.front()?;
        let page = self.position.set_aside.get_mut(retry.page_index)?;
        page.files
            .iter_mut()
            .find(|file| file.position.name == *name)
    }

    /// Returns the position in the current file, where it is begun.
    fn current_position_mut(&mut self) -> Option<&mut FilePosition> {
        if self.retry.is_some() {
            return self.retried_file().map(|file| &mut file.position);
        }
        self.position.file.as_mut()
    }

    /// Returns whether the current file may have no bytes.
    #[must_use]
    pub fn may_be_empty(&self) -> bool {
        let front = match &self.retry {
            Some(retry) => retry.front().map(|(_, file)| file),
            None => self.page.as_ref().and_then(|page| page.waiting.front()),
        };
        front.is_some_and(|file| file.is_empty)
    }

    /// Returns how many lines of the current file are done.
    #[must_use]
    pub fn lines_done(&mut self) -> u64 {
        self.current_position_mut().map_or(0, |file| file.line)
    }

    /// Counts one more finished line of the current file and resets its tries. `occurred_at` is the time
    /// of the line's event, if it has one.
    pub fn finish_line(&mut self, occurred_at: Option<Timestamp>) {
        if let Some(file) = self.current_position_mut() {
            file.line = file.line.saturating_add(1);
            file.tries = 0;
            if let Some(at) = occurred_at {
                file.oldest = Some(file.oldest.map_or(at, |oldest| oldest.min(at)));
            }
        }
        if self.retry.is_none() {
            self.position.unavailable_tries = 0;
        }
    }

    /// Finishes the current file.
    pub fn finish_file(&mut self, context: Context<'_>) {
        let oldest = self.current_position_mut().and_then(|file| file.oldest);
        self.position.relist_from = self.position.relist_from.max(oldest);
        if self.retry.is_some() {
            if let Some((name, file)) = self.take_retried_file() {
                self.done.push(file.key);
                self.remove_set_aside(&name);
            }
            self.finish_retry_if_done(context);
            return;
        }
        self.position.file = None;
        let Some(file) = self.page.as_mut().and_then(|page| page.waiting.pop_front()) else {
            return;
        };
        self.done.push(file.key);
        self.finish_page_if_done();
    }

    /// Handles a failure to fetch or read the current file: it is tried again, or set aside.
    pub fn handle_failure(
        &mut self,
        failure: &FileFailure,
        context: Context<'_>,
        batch: &mut Builder,
    ) -> AfterFailure {
        if self.retry.is_some() {
            if let Some((name, _)) = self.take_retried_file() {
                self.count_retry_failure(&name, failure, batch);
            }
            self.finish_retry_if_done(context);
            return AfterFailure::Continue;
        }
        let mut file = self.begin_or_resume_file();
        let is_unavailable = failure.cause == FileFailureCause::Unavailable;
        let tries = if is_unavailable {
            &mut self.position.unavailable_tries
        } else {
            &mut file.tries
        };
        *tries = tries.saturating_add(1);
        let tries = *tries;
        self.position.file = Some(file.clone());
        if is_unavailable {
            if tries < UNAVAILABLE_TRIES_MAX {
                return AfterFailure::BackOff(tries);
            }
        } else if tries < TRIES_MAX && self.may_relist(context) {
            self.relists = self.relists.saturating_add(1);
            self.relist();
            return AfterFailure::Continue;
        }
        if self.add_set_aside(file, failure, context) {
            if let Some(page) = &mut self.page {
                page.waiting.pop_front();
            }
            self.finish_page_if_done();
            return AfterFailure::Continue;
        }
        self.relist();
        AfterFailure::BackOffWithoutRoom(tries)
    }

    /// Returns whether a fresh link may help: a link that is older than a few seconds may have expired.
    /// Where fresh links are refused, so are all others of their page, which is listed again only a few
    /// times.
    fn may_relist(&self, context: Context<'_>) -> bool {
        let listed_at = self.page.as_ref().map(|page| page.listed_at);
        let is_old = |at: Timestamp| at.plus_ms(FRESH_LISTING_MS) < context.now;
        self.relists < RELISTS_MAX || listed_at.is_none_or(is_old)
    }

    /// Sets aside the file that was being read. Returns whether there was room.
    fn add_set_aside(
        &mut self,
        file: FilePosition,
        failure: &FileFailure,
        context: Context<'_>,
    ) -> bool {
        let since = self.restart_time(context);
        let file = SetAsideFile {
            position: FilePosition { tries: 0, ..file },
            since: context.now,
            cause: failure.cause,
            why: failure.why.clone(),
        };
        let page = (self.position.page_token.as_ref(), since);
        let added = set_aside::add(&mut self.position.set_aside, page, file, context);
        if added {
            self.position.file = None;
        }
        added
    }

    /// Removes the file that is tried again from the queue, and returns it.
    fn take_retried_file(&mut self) -> Option<(String, File)> {
        let listing = self.retry.as_mut()?.listing.as_mut()?;
        listing.waiting.pop_front()
    }

    /// Counts a failed retry of a file that is set aside, and gives the file up after the last one.
    fn count_retry_failure(&mut self, name: &str, failure: &FileFailure, batch: &mut Builder) {
        let stream = self.stream;
        let page = self.retry.as_ref().map(|retry| retry.page_index);
        let page = page.and_then(|page| self.position.set_aside.get_mut(page));
        let file = page.and_then(|page| {
            page.files
                .iter_mut()
                .find(|file| file.position.name == name)
        });
        let Some(file) = file else {
            return;
        };
        if set_aside::count_failure(file, failure) {
            return;
        }
        if failure.cause == FileFailureCause::Unreadable {
            let locator = format!("{stream} {name} after line {}", file.position.line);
            let why = format!("the rest of the file is rejected: {}", failure.why);
            batch.reject(stream, locator, why, &failure.original);
        } else {
            let what = format!(
                "could not be fetched in {} tries over several hours: {}",
                file.position.tries, failure.why
            );
            batch.notice(
                stream,
                NoticeKind::Gap,
                lost_file_detail(&file.position, &what),
            );
        }
        self.remove_set_aside(name);
    }

    fn remove_set_aside(&mut self, name: &str) {
        let page = self.retry.as_ref().map(|retry| retry.page_index);
        if let Some(page) = page.and_then(|page| self.position.set_aside.get_mut(page)) {
            page.files.retain(|file| file.position.name != name);
        }
    }

    /// Ends the retry of a page when all its files were tried.
    fn finish_retry_if_done(&mut self, context: Context<'_>) {
        if self
            .retry
            .as_ref()
            .is_none_or(|retry| retry.front().is_some())
        {
            return;
        }
        let Some(retry) = self.retry.take() else {
            return;
        };
        self.position.retry_after = Some(context.now.plus_ms(retry_interval_ms(context)));
        if let Some(page) = self.position.set_aside.get_mut(retry.page_index) {
            // A search continues with its next page as soon as the quota allows.
            if !(page.searching && page.page_token.is_some()) {
                schedule_next_try(page, context.now);
            }
        }
        let pages = &mut self.position.set_aside;
        pages.retain(|page| !page.files.is_empty());
        if pages.is_empty() {
            self.position.retry_after = None;
        }
    }

    /// Lists the page again for a fresh link of the current file.
    pub fn relist(&mut self) {
        self.page = None;
        self.fresh_links_only = true;
    }

    /// Moves the position past the page when all its files are done.
    fn finish_page_if_done(&mut self) {
        let Some(page) = self.page.take_if(|page| page.waiting.is_empty()) else {
            return;
        };
        if page.must_relist {
            return;
        }
        if let Some(token) = page.next_token {
            self.position.page_token = Some(token);
        }
        self.position.caught_up = page.caught_up;
        self.relists = 0;
    }
}

impl StreamReader for BatchFilesReader {
    /// Returns the next action: the page in memory, then files that are set aside and due, then the
    /// next page. After each listing for such files there is a pause in which only new pages are
    /// listed.
    fn next(&mut self, context: Context<'_>, batch: &mut Builder) -> ReaderAction {
        let (due, _) = self.due(context);
        if due > context.now {
            return ReaderAction::Idle(due);
        }
        self.skip_expired(context, batch);
        let stale = |page: &Page| page.is_stale(context);
        if self.page.as_ref().is_some_and(stale) {
            self.relist();
        }
        if let Some(action) = self.next_retry(context, batch) {
            return action;
        }
        let (due, _) = self.page_due(context);
        if due > context.now {
            return ReaderAction::Idle(due);
        }
        match self.page.as_ref().and_then(|page| page.waiting.front()) {
            Some(file) => ReaderAction::Download(Request::get(file.url.clone())),
            None => {
                let token = self.position.page_token.as_ref();
                ReaderAction::Call(self.list_call(token, self.position.since, context))
            }
        }
    }

    /// Returns when the next page or the next try of files that are set aside is due, whichever is earlier. A
    /// stream with such files is not caught up.
    fn due(&self, context: Context<'_>) -> (Timestamp, bool) {
        let (due, caught_up) = self.page_due(context);
        match self.retry_due(context) {
            Some(retry_due) => (due.min(retry_due), false),
            None => (due, caught_up),
        }
    }

    fn collected_until(&self, context: Context<'_>) -> Option<Timestamp> {
        let at = self.position.listed_at.filter(|_| self.position.caught_up);
        let collected_until = self.position.collected_until.max(self.position.relist_from);
        let until = context.collected_until(self.position.since, at, collected_until);
        Some(self.bounded_by_set_aside(until, context))
    }

    fn wants_call(&self, context: Context<'_>) -> bool {
        match (&self.retry, &self.page) {
            (Some(retry), _) => retry.front().is_none() || retry.is_stale(context),
            (None, Some(page)) => page.is_stale(context),
            (None, None) => true,
        }
    }

    fn has_buffered_response(&self) -> bool {
        let is_listed = |retry: &Retry| retry.listing.is_some();
        self.page.is_some() || self.retry.as_ref().is_some_and(is_listed)
    }

    fn quota_kind(&self) -> Option<QuotaKind> {
        Some(QuotaKind::BatchFiles)
    }

    fn handle_response(
        &mut self,
        (_, body): (&Head, Vec<u8>),
        context: Context<'_>,
        batch: &mut Builder,
    ) -> Result<(), InvalidResponse> {
        let listing = Listing::read(self.stream, &body)?;
        add_unreadable_notice(self.stream, &listing.unreadable_members, batch);
        if self.retry.is_some() {
            self.handle_retry_listing(listing, context, batch);
            return Ok(());
        }
        let was_empty = listing.files.is_empty();
        let without_link = listing.files.iter().filter(|file| file.is_none()).count();
        let waiting = self.select_new_files(listing.files.into_iter().flatten(), context);
        let caught_up = listing.is_caught_up;
        if !caught_up && was_empty && listing.next_token == self.position.page_token {
            return Err(InvalidResponse(
                "the page is empty and its token does not change".to_owned(),
            ));
        }
        let waiting = if self.fresh_links_only {
            self.put_current_file_first(waiting, context)?
        } else {
            waiting
        };
        self.fresh_links_only = false;
        let must_relist = self.check_missing_links(without_link, &waiting, batch)?;
        self.position.collected_until = self.collected_until(context);
        self.position.listed_at = Some(context.now);
        self.position.caught_up = false;
        self.page = Some(Page {
            waiting,
            next_token: listing.next_token,
            caught_up,
            must_relist,
            listed_at: context.now,
        });
        self.finish_page_if_done();
        Ok(())
    }

    /// Handles a refused page token: lists again by date, from an hour before the newest file that was
    /// read. The page of set-aside files is searched for from its day.
    fn handle_refusal(&mut self, context: Context<'_>, batch: &mut Builder) -> bool {
        if let Some(retry) = &self.retry {
            let page = self.position.set_aside.get_mut(retry.page_index);
            return page.is_some_and(|page| {
                let had_token = page.page_token.take().is_some();
                page.searching = true;
                had_token
            });
        }
        if self.position.page_token.is_none() {
            return false;
        }
        let since = self.restart_time(context);
        let detail = format!(
            "Mimecast refused the page token; listing begins again at {} and repeats events with the same ids",
            since.to_day()
        );
        batch.notice(self.stream, NoticeKind::Adjusted, detail);
        let relist_from = self.position.relist_from;
        self.position = FilesPosition {
            since,
            relist_from,
            listed_at: Some(context.now),
            set_aside: core::mem::take(&mut self.position.set_aside),
            retry_after: self.position.retry_after,
            ..FilesPosition::default()
        };
        self.page = None;
        self.fresh_links_only = false;
        true
    }

    fn set_aside_summary(&self) -> Option<(String, Timestamp)> {
        set_aside::summary(&self.position.set_aside)
    }

    fn batch_files(&mut self) -> Option<(&mut BatchFilesReader, LineFilter<'_>)> {
        Some((self, LineFilter::default()))
    }

    fn save(&self, position: &mut StreamPosition) {
        position.files = Some(FilesPosition {
            done_files: self.done.to_text(),
            ..self.position.clone()
        });
    }
}

/// Counts a try of a page with files that are set aside, and schedules the next one.
fn schedule_next_try(page: &mut SetAsidePage, now: Timestamp) {
    page.tries = page.tries.saturating_add(1);
    page.next_try = now.plus_ms(set_aside::wait_ms(page.tries));
}

/// Returns the call for the smallest listing of a stream.
#[must_use]
pub fn probe(stream: Stream, context: Context<'_>) -> Call {
    let start = PageStart::Date(context.upstream_now.to_day());
    siem_pages::call(endpoint(stream, 1), start)
}

fn endpoint(stream: Stream, page_files: u32) -> String {
    let info = stream.info();
    let mut path = format!("{}?type=", info.endpoint);
    if let FetchKind::Files { event_type, .. } = info.fetch {
        percent_encode(event_type, &mut path);
    }
    path.push_str(&format!("&pageSize={page_files}"));
    path
}

/// Returns how long a caught-up stream waits: long enough that all streams together use three fifths
/// of the quota, and the rest is left for the streams that are behind.
fn interval_ms(context: Context<'_>) -> i64 {
    call_interval_ms(context, (3, 5)).max(POLL_INTERVAL_MS)
}

/// Returns the pause after a listing for files that are set aside: long enough that all streams
/// together use a fifth of the quota for them.
fn retry_interval_ms(context: Context<'_>) -> i64 {
    call_interval_ms(context, (1, 5))
}

/// Returns the least interval between the calls of a stream with which all streams together use no
/// more than this share of the quota.
fn call_interval_ms(context: Context<'_>, (part, of): (i64, i64)) -> i64 {
    let has_files = |stream: &&Stream| stream.has_batch_files();
    let streams = context.settings.streams.iter().filter(has_files).count();
    let streams = i64::try_from(streams).unwrap_or(i64::MAX);
    let calls = i64::from(context.settings.siem_calls_per_15_min).max(1);
    let per_window = calls.saturating_mul(part).max(1);
    streams.saturating_mul(15 * 60_000).saturating_mul(of) / per_window
}
