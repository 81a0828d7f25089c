//! SIEM batch: pages of presigned files (`mimecast-api.md` §3.1, §3.2).
//!
//! The position is the page token, the name of the file being read and its line. A link is never
//! part of it: on resume the page is listed again for fresh ones (design §3.4).

use std::collections::VecDeque;

use crate::batch::{Builder, NoticeKind};
use crate::checkpoint::{FilePosition, FilesPosition};
use crate::request::{Request, percent_encode};
use crate::stream::{Stream, Way};
use crate::streams::done_files::DoneFiles;
use crate::streams::{Context, Unusable, Want, hours_ms, pages};
use crate::time::Timestamp;

use listing::{File, Listing, file};

mod listing;

/// The greatest page the API gives (`mimecast-api.md` §3.1): fewest calls for the quota.
const PAGE_FILES: u32 = 100;

/// Files whose names are remembered: a page may list one twice, and the next page may list it
/// again (`mimecast-api.md` §3.1).
const DONE_FILES_MAX: usize = 128;

/// A caught-up stream is asked again after this; new files appear every 15 minutes
/// (`mimecast-api.md` §3.1).
const POLL_INTERVAL_MS: i64 = 5 * 60_000;

/// A link that ends within this is not used any more.
const LINK_RESERVE_MS: i64 = 10_000;

/// The links of a listing that is younger than this are taken as they are, whatever they say.
const FRESH_LISTING_MS: i64 = 30_000;

/// Tries of a file with a fresh link each, before it is given up.
const FILE_TRIES_MAX: u32 = 3;

/// The page in memory. A checkpoint does not hold it.
#[derive(Clone, Debug)]
struct Page {
    waiting: VecDeque<File>,
    next_token: Option<String>,
    caught_up: bool,
    listed_at: Timestamp,
}

impl Page {
    /// Whether the link of the file at hand ends before it could be used. Links of a listing that
    /// was just made are taken as they are, or a wrong clock would list for ever.
    fn is_stale(&self, context: Context<'_>) -> bool {
        let ends_soon = |file: &File| {
            let ends = file.expiry.map(|expiry| expiry.plus_ms(-LINK_RESERVE_MS));
            ends.is_some_and(|ends| ends <= context.upstream_now)
        };
        self.listed_at.plus_ms(FRESH_LISTING_MS) < context.now
            && self.waiting.front().is_some_and(ends_soon)
    }
}

/// The feed of one event type.
pub struct BatchFiles {
    stream: Stream,
    position: FilesPosition,
    done: DoneFiles,
    page: Option<Page>,
    /// Whether the next listing is only for fresh links of the page at hand.
    relisting: bool,
}

impl BatchFiles {
    /// The feed of a stream, from its position or from `start`.
    #[must_use]
    pub fn open(stream: Stream, position: Option<&FilesPosition>, start: Timestamp) -> Self {
        let fresh = || FilesPosition {
            since: start,
            ..FilesPosition::default()
        };
        let position = position.cloned().unwrap_or_else(fresh);
        let done = DoneFiles::from_text(&position.done, DONE_FILES_MAX);
        let relisting = position.file.is_some();
        Self {
            stream,
            position,
            done,
            page: None,
            relisting,
        }
    }

    /// The position for a checkpoint.
    #[must_use]
    pub fn position(&self) -> FilesPosition {
        FilesPosition {
            done: self.done.to_text(),
            ..self.position.clone()
        }
    }

    /// The time, by the upstream's clock, up to which its records are known to be collected.
    #[must_use]
    pub fn collected_until(&self, context: Context<'_>) -> Timestamp {
        let at = self.position.listed_at.filter(|_| self.position.caught_up);
        at.map(|at| context.to_upstream(at))
            .into_iter()
            .chain(self.position.newest)
            .chain(self.position.read_to)
            .fold(self.position.since, Timestamp::max)
    }

    /// When the feed next wants something, and whether it is caught up until then.
    #[must_use]
    pub fn due(&self, context: Context<'_>) -> (Timestamp, bool) {
        if !self.position.caught_up || self.page.is_some() {
            return (context.now, false);
        }
        let listed_at = self.position.listed_at.unwrap_or(context.now);
        let due = context.due_again(listed_at, interval_ms(context));
        (due, true)
    }

    /// Whether the next want is a listing.
    #[must_use]
    pub fn wants_call(&self, context: Context<'_>) -> bool {
        self.page.as_ref().is_none_or(|page| page.is_stale(context))
    }

    /// What to do next.
    pub fn next(&mut self, context: Context<'_>, batch: &mut Builder) -> Want {
        let (due, caught_up) = self.due(context);
        if caught_up && due > context.now {
            return Want::Nothing(due);
        }
        self.skip_what_expired(context, batch);
        if self
            .page
            .as_ref()
            .is_some_and(|page| page.is_stale(context))
        {
            self.relist();
        }
        match self.page.as_ref().and_then(|page| page.waiting.front()) {
            Some(file) => Want::Download(Request::get(file.url.clone())),
            None => Want::Call(self.listing(context)),
        }
    }

    /// After an outage longer than the retention, says what is lost and begins anew.
    fn skip_what_expired(&mut self, context: Context<'_>, batch: &mut Builder) {
        let Some(hours) = self.stream.row().retention_hours else {
            return;
        };
        // By the earlier clock: what a wrong one takes for expired may still be there.
        let oldest = context.earlier().plus_ms(hours_ms(hours).saturating_neg());
        let days = hours / 24;
        let position = &mut self.position;
        match position.listed_at {
            Some(listed_at) if listed_at < oldest => {
                let detail = format!(
                    "records between {listed_at} and {oldest} are older than the {days} days that Mimecast keeps and can no longer be had"
                );
                batch.notice(self.stream, NoticeKind::Gap, detail);
            }
            // Files are listed by whole days, so the day of `oldest` is still there.
            None if position.page_token.is_none() && position.since.to_day() < oldest.to_day() => {
                let detail = format!(
                    "collection begins at {oldest}, because Mimecast keeps {days} days, and not at {}",
                    position.since
                );
                batch.notice(self.stream, NoticeKind::Adjusted, detail);
            }
            Some(_) | None => return,
        }
        *position = FilesPosition {
            since: oldest,
            newest: position.newest,
            ..FilesPosition::default()
        };
        self.page = None;
    }

    /// The call that lists the page. With a page token no dates are sent
    /// (`mimecast-api.md` §3.1).
    fn listing(&self, context: Context<'_>) -> Request {
        let mut url = endpoint(self.stream, context, PAGE_FILES);
        match &self.position.page_token {
            Some(token) => {
                url.push_str("&nextPage=");
                percent_encode(token, &mut url);
            }
            None => {
                url.push_str("&dateRangeStartsAt=");
                url.push_str(&self.position.since.to_day());
            }
        }
        Request::get(url)
    }

    /// Takes the answer to a listing.
    ///
    /// # Errors
    ///
    /// The body is not a listing.
    pub fn handle_answer(
        &mut self,
        body: &[u8],
        context: Context<'_>,
        batch: &mut Builder,
    ) -> Result<(), Unusable> {
        let listing: Listing<'_> = serde_json::from_slice(body)
            .map_err(|_| Unusable("the page is not the documented JSON".to_owned()))?;
        if listing.value.is_none() && listing.next_page.is_none() && listing.is_caught_up.is_none()
        {
            return Err(Unusable("the page has none of its members".to_owned()));
        }
        let next_token = listing.next_page.filter(|token| !token.is_empty());
        if next_token
            .as_ref()
            .is_some_and(|token| pages::is_too_long(token))
        {
            return Err(pages::too_long());
        }
        let listed = listing.value.unwrap_or_default();
        let was_empty = listed.is_empty();
        let mut waiting: VecDeque<File> = VecDeque::new();
        for item in &listed {
            match file(self.stream, item) {
                Some(file) => {
                    let again = waiting.iter().any(|other| other.key == file.key);
                    if !again && !self.done.contains(&file.key) {
                        waiting.push_back(file);
                    }
                }
                None => {
                    let detail = "a file is lost: the page lists it without a usable url";
                    batch.notice(self.stream, NoticeKind::Gap, detail.to_owned());
                }
            }
        }
        let caught_up = listing.is_caught_up.unwrap_or(false) || next_token.is_none();
        if !caught_up && was_empty && next_token == self.position.page_token {
            return Err(Unusable(
                "the page is empty and its token does not move".to_owned(),
            ));
        }
        if self.relisting && self.misses_file(&waiting) {
            return Err(Unusable(
                "the page does not list the file that is being read".to_owned(),
            ));
        }
        self.position.read_to = Some(self.collected_until(context));
        self.position.listed_at = Some(context.now);
        self.position.caught_up = false;
        self.page = Some(Page {
            waiting,
            next_token,
            caught_up,
            listed_at: context.now,
        });
        if core::mem::take(&mut self.relisting) {
            self.find_file_again(batch);
        }
        self.finish_page_if_done();
        Ok(())
    }

    /// Whether the file that was being read is not among these and the page is to be listed again:
    /// perhaps it was not whole.
    fn misses_file(&mut self, waiting: &VecDeque<File>) -> bool {
        let Some(file) = &mut self.position.file else {
            return false;
        };
        if waiting.iter().any(|other| other.name == file.name) {
            return false;
        }
        file.tries = file.tries.saturating_add(1);
        file.tries < FILE_TRIES_MAX
    }

    /// Puts the file that was being read first, or says that it is gone.
    fn find_file_again(&mut self, batch: &mut Builder) {
        let (Some(file), Some(page)) = (&self.position.file, &mut self.page) else {
            return;
        };
        match page
            .waiting
            .iter()
            .position(|other| other.name == file.name)
        {
            Some(at) => page.waiting.rotate_left(at),
            None => {
                let detail = lost_file(file, "is no longer listed");
                batch.notice(self.stream, NoticeKind::Gap, detail);
                self.position.file = None;
            }
        }
    }

    /// The page token was refused: begins again by date, at the last file that was read.
    pub fn handle_refusal(&mut self, context: Context<'_>, batch: &mut Builder) -> bool {
        if self.position.page_token.is_none() {
            return false;
        }
        // A file may hold events of the hours before it; an hour back costs repeats, not records.
        let newest = self.position.newest.unwrap_or(self.position.since);
        let since = newest
            .plus_ms(-3_600_000)
            .max(self.position.since)
            .min(context.now);
        let detail = format!(
            "Mimecast refused the page token; listing begins again at {} and repeats events with the same ids",
            since.to_day()
        );
        batch.notice(self.stream, NoticeKind::Adjusted, detail);
        let newest = self.position.newest;
        self.position = FilesPosition {
            since,
            newest,
            listed_at: Some(context.now),
            ..FilesPosition::default()
        };
        self.page = None;
        true
    }

    /// How many lines of the file at hand are done, and its name.
    pub fn file_at_hand(&mut self) -> FilePosition {
        let front = self.page.as_ref().and_then(|page| page.waiting.front());
        let name = front.map(|file| file.name.clone()).unwrap_or_default();
        match &self.position.file {
            Some(position) if position.name == name => position.clone(),
            Some(_) | None => {
                let position = FilePosition {
                    name,
                    line: 0,
                    tries: 0,
                    oldest: None,
                };
                self.position.file = Some(position.clone());
                position
            }
        }
    }

    /// Whether the file at hand may have no bytes.
    #[must_use]
    pub fn may_be_empty(&self) -> bool {
        let front = self.page.as_ref().and_then(|page| page.waiting.front());
        front.is_some_and(|file| file.is_empty)
    }

    /// How many lines of the file at hand are done.
    #[must_use]
    pub fn lines_done(&self) -> u64 {
        self.position.file.as_ref().map_or(0, |file| file.line)
    }

    /// One more line of the file at hand is done.
    pub const fn finish_line(&mut self) {
        if let Some(file) = &mut self.position.file {
            file.line = file.line.saturating_add(1);
        }
    }

    /// The oldest time of an event of this poll.
    pub fn note_oldest(&mut self, oldest: Option<Timestamp>) {
        if let (Some(file), Some(oldest)) = (&mut self.position.file, oldest) {
            file.oldest = Some(file.oldest.map_or(oldest, |before| before.min(oldest)));
        }
    }

    /// The file at hand is read to its end.
    pub fn finish_file(&mut self) {
        let oldest = self.position.file.take().and_then(|file| file.oldest);
        self.position.newest = self.position.newest.max(oldest);
        let Some(file) = self.page.as_mut().and_then(|page| page.waiting.pop_front()) else {
            return;
        };
        self.done.push(file.key);
        self.finish_page_if_done();
    }

    /// The file at hand could not be had although its link was fresh (403, 404, 410). It is
    /// listed again, or given up as lost.
    pub fn handle_missing(&mut self, why: &str, batch: &mut Builder) {
        if self.count_try() < FILE_TRIES_MAX {
            return;
        }
        let file = self.position.file.clone().unwrap_or_default();
        let detail = lost_file(
            &file,
            &format!("could not be had with {FILE_TRIES_MAX} fresh links: {why}"),
        );
        batch.notice(self.stream, NoticeKind::Gap, detail);
        self.finish_file();
    }

    /// The body of the file at hand is broken. It is fetched again, or the rest is rejected.
    pub fn handle_broken(&mut self, why: &str, batch: &mut Builder) {
        if self.count_try() < FILE_TRIES_MAX {
            return;
        }
        let file = self.position.file.clone().unwrap_or_default();
        let locator = format!("{} {} after line {}", self.stream, file.name, file.line);
        batch.reject(
            self.stream,
            locator,
            format!("the rest of the file is rejected: {why}"),
            b"",
        );
        self.finish_file();
    }

    /// Counts a try of the file at hand and asks for a fresh link.
    fn count_try(&mut self) -> u32 {
        let mut file = self.file_at_hand();
        file.tries = file.tries.saturating_add(1);
        let tries = file.tries;
        self.position.file = Some(file);
        if tries < FILE_TRIES_MAX {
            self.relist();
        }
        tries
    }

    /// Lists the page again for a fresh link of the file at hand.
    pub fn relist(&mut self) {
        self.page = None;
        self.relisting = true;
    }

    /// Moves the position behind the page when all its files are done.
    fn finish_page_if_done(&mut self) {
        let Some(page) = self.page.take_if(|page| page.waiting.is_empty()) else {
            return;
        };
        if let Some(token) = page.next_token {
            self.position.page_token = Some(token);
        }
        self.position.caught_up = page.caught_up;
    }
}

/// The smallest listing of a stream.
#[must_use]
pub fn probe(stream: Stream, context: Context<'_>) -> Request {
    let mut url = endpoint(stream, context, 1);
    url.push_str("&dateRangeStartsAt=");
    url.push_str(&context.upstream_now.to_day());
    Request::get(url)
}

fn endpoint(stream: Stream, context: Context<'_>, page_files: u32) -> String {
    let row = stream.row();
    let mut url = format!("{}{}?type=", context.settings.base_url, row.endpoint);
    if let Way::Files { event_type, .. } = row.way {
        percent_encode(event_type, &mut url);
    }
    url.push_str(&format!("&pageSize={page_files}"));
    url
}

/// How long a caught-up stream rests: so long that all streams together use three fifths of the
/// quota, and the rest is left for the pages of those that are behind.
fn interval_ms(context: Context<'_>) -> i64 {
    let batch = |stream: &&Stream| stream.is_batch();
    let streams = context.settings.streams.iter().filter(batch).count();
    let streams = i64::try_from(streams).unwrap_or(i64::MAX);
    let calls = i64::from(context.settings.siem_calls_per_15_min).max(1);
    let by_quota = streams.saturating_mul(15 * 60_000).saturating_mul(5) / calls.saturating_mul(3);
    by_quota.max(POLL_INTERVAL_MS)
}

fn lost_file(file: &FilePosition, what: &str) -> String {
    format!(
        "1 file is lost: {} from line {} on {what}",
        file.name,
        file.line.saturating_add(1)
    )
}
