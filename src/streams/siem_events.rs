//! SIEM records one by one, from the event endpoint (`mimecast-api.md` §3.3).
//!
//! The endpoint serves one day. What is older, at the first start or after an outage, is read
//! from batch files first, up to a time two hours before; from then on the endpoint is read. The
//! two write the same record in different words, so the border is drawn by the time of a record.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::batch::{Builder, Intake, NoticeKind, Offer, RecordLine};
use crate::checkpoint::{EventsPosition, FilesPosition};
use crate::decode::json::readable;
use crate::decode::lenient;
use crate::identity::EventId;
use crate::paging::{Paging, Stall};
use crate::remembered::Remembered;
use crate::request::{Call, percent_encode};
use crate::stream::{Stream, Way};
use crate::streams::batch_files::BatchFiles;
use crate::streams::pages::{Page, ranges};
use crate::streams::{CLOCKS_AGREE_MS, Context, Unusable, Want, hours_ms};
use crate::time::Timestamp;

/// The greatest page the API gives.
const PAGE_RECORDS: u32 = 100;

/// The documented quota of the endpoint, per application.
pub const CALLS_PER_HOUR: u32 = 300;

/// How far back the endpoint is trusted: an hour less than it serves, as others do.
const SERVED_HOURS: u32 = 23;

/// After this a batch file with a record of some time has surely appeared: eight times what is
/// usual.
const FILES_LATE_MS: i64 = 2 * 3_600_000;

/// How far the host's clock may be behind before the upstream's alone counts: the endpoint serves
/// a day.
const BORDER_MS_MAX: i64 = 18 * 3_600_000;

/// A caught-up stream is asked again after this at the earliest.
const POLL_INTERVAL_MS: i64 = 60_000;

/// The feed of one event type.
pub struct SiemEvents {
    stream: Stream,
    position: EventsPosition,
    remembered: Remembered,
    page: Option<Page>,
    /// Whether the page has given an event.
    has_news: bool,
    stall: Option<(Stall, u32)>,
    /// The batch files that come before the endpoint.
    pub files: Option<BatchFiles>,
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    value: Option<Vec<&'a RawValue>>,
    #[serde(
        rename = "@nextPage",
        default,
        deserialize_with = "lenient::optional_text"
    )]
    next_page: Option<String>,
    #[serde(
        rename = "isCaughtUp",
        default,
        deserialize_with = "lenient::optional_boolean"
    )]
    is_caught_up: Option<bool>,
}

impl SiemEvents {
    /// The feed of a stream, from its position or from `start`.
    #[must_use]
    pub fn open(
        stream: Stream,
        (position, files): (Option<&EventsPosition>, Option<&FilesPosition>),
        (start, capacity): (Timestamp, usize),
    ) -> Self {
        // Batch files that were read before the setting changed: their last listing is where the
        // endpoint takes over.
        let since = files.and_then(|files| files.listed_at).unwrap_or(start);
        let fresh = || EventsPosition {
            since,
            ..EventsPosition::default()
        };
        let had_position = position.is_some();
        let mut position = position.cloned().unwrap_or_else(fresh);
        // Files that are set aside are read to their end before the endpoint takes over.
        if !had_position && files.is_some_and(|files| !files.set_aside.is_empty()) {
            position.since = files.map_or(since, |files| files.since);
            position.until = Some(since);
        }
        let remembered = Remembered::from_text(&position.remembered, capacity);
        let files = files.filter(|_| position.until.is_some());
        Self {
            stream,
            files: files.map(|files| BatchFiles::open(stream, Some(files), position.since)),
            position,
            remembered: remembered.unwrap_or_else(|| Remembered::new(capacity)),
            page: None,
            has_news: false,
            stall: None,
        }
    }

    /// The position for a checkpoint.
    #[must_use]
    pub fn position(&self) -> (EventsPosition, Option<FilesPosition>) {
        let events = EventsPosition {
            remembered: self.remembered.to_text(),
            page_done: match &self.page {
                Some(page) => page.done(),
                None => self.position.page_done.clone(),
            },
            ..self.position.clone()
        };
        (events, self.files.as_ref().map(BatchFiles::position))
    }

    /// The time, by the upstream's clock, up to which its records are known to be collected.
    #[must_use]
    pub fn collected_until(&self, context: Context<'_>) -> Timestamp {
        match &self.files {
            Some(files) => files.collected_until(context),
            None => self.position.covered.unwrap_or(self.position.since),
        }
    }

    /// When the feed next wants something, and whether it is caught up until then.
    #[must_use]
    pub fn due(&self, context: Context<'_>) -> (Timestamp, bool) {
        if let Some(files) = &self.files {
            let (due, caught_up) = files.due(context);
            // Files that are caught up end that part; more is waiting behind it.
            return (if caught_up { context.now } else { due }, false);
        }
        let read_at = self.position.read_at.filter(|_| self.page.is_none());
        let Some(read_at) = read_at.filter(|_| !self.position.behind) else {
            return (context.now, false);
        };
        let due = context.due_again(read_at, interval_ms(context));
        (due, true)
    }

    /// Whether the next want is a call of the API.
    #[must_use]
    pub fn wants_call(&self, context: Context<'_>) -> bool {
        match &self.files {
            Some(files) => files.wants_call(context) && !files.due(context).1,
            None => self.page.is_none(),
        }
    }

    /// Whether a page of events is in memory.
    #[must_use]
    pub const fn has_records(&self) -> bool {
        self.page.is_some()
    }

    /// What to do next.
    pub fn next(&mut self, context: Context<'_>, batch: &mut Builder) -> Want {
        let (due, caught_up) = self.due(context);
        if caught_up && due > context.now {
            return Want::Nothing(due);
        }
        if self.page.is_some() {
            return Want::Records;
        }
        if self.choose(context, batch) {
            // The other endpoint has another quota, and may be the first to need a token.
            return Want::Nothing(context.now);
        }
        match &mut self.files {
            Some(files) => files.next(context, batch),
            None => Want::Call(self.call()),
        }
    }

    /// Moves between the batch files and the endpoint; says whether it did.
    fn choose(&mut self, context: Context<'_>, batch: &mut Builder) -> bool {
        let files = self.files.as_ref();
        let caught_up = files.is_some_and(|files| files.due(context).1);
        if caught_up {
            self.files = None;
            let until = self.position.until.take().unwrap_or(self.position.since);
            self.position.since = until.min(border(context));
        }
        if self.files.is_some() {
            return false;
        }
        self.come_back_from_the_future(context, batch);
        let served = context
            .upstream_now
            .plus_ms(hours_ms(SERVED_HOURS).saturating_neg());
        // Up to when everything is read: the last reading, or the start.
        let covered = self.position.covered.unwrap_or(self.position.since);
        if covered >= served {
            return caught_up;
        }
        let overlap_ms = self
            .position
            .covered
            .map_or(0, |_| context.settings.overlap_ms);
        let since = covered.plus_ms(overlap_ms.saturating_neg());
        let since = self.skip_what_expired(since, context, batch);
        self.position = EventsPosition {
            since,
            until: Some(border(context)),
            ..EventsPosition::default()
        };
        self.files = Some(BatchFiles::open(self.stream, None, since));
        true
    }

    /// A border that has not come yet was drawn by a clock that was wrong: what is older than it was
    /// taken for a record of the batch files.
    fn come_back_from_the_future(&mut self, context: Context<'_>, batch: &mut Builder) {
        let since = self.position.since;
        if since <= context.upstream_now.plus_ms(CLOCKS_AGREE_MS) || since <= context.now {
            return;
        }
        self.position.since = border(context);
        let detail = format!(
            "the clock of Mimecast was ahead; reading begins again at {}, and records before {since} \
             may be missing",
            self.position.since
        );
        batch.notice(self.stream, NoticeKind::Gap, detail);
    }

    /// What is older than the batch files reach is lost, and it is said.
    fn skip_what_expired(
        &self,
        since: Timestamp,
        context: Context<'_>,
        batch: &mut Builder,
    ) -> Timestamp {
        let hours = self.stream.row().retention_hours.unwrap_or(u32::MAX);
        // By the earlier clock: what a wrong one takes for expired may still be there.
        let oldest = context.earlier().plus_ms(hours_ms(hours).saturating_neg());
        if since >= oldest || self.position.covered.is_none() {
            return since;
        }
        let detail = format!(
            "records between {since} and {oldest} are older than the {} days that Mimecast keeps and can no longer be had",
            hours / 24
        );
        batch.notice(self.stream, NoticeKind::Gap, detail);
        oldest
    }

    fn call(&self) -> Call {
        let mut path = endpoint(self.stream, PAGE_RECORDS);
        match &self.position.page_token {
            Some(token) => {
                path.push_str("&nextPage=");
                percent_encode(token, &mut path);
            }
            None => {
                path.push_str("&dateRangeStartsAt=");
                percent_encode(&self.position.since.to_rfc3339(), &mut path);
            }
        }
        Call::get(path)
    }

    /// Takes the answer to a call.
    ///
    /// # Errors
    ///
    /// The body is not a page.
    pub fn handle_answer(
        &mut self,
        body: Vec<u8>,
        context: Context<'_>,
        batch: &mut Builder,
    ) -> Result<(), Unusable> {
        if let Some(files) = &mut self.files {
            // The border may have been drawn by the first answer alone, whose clock was wrong.
            let border = border(context);
            self.position.until = self.position.until.map(|until| until.min(border));
            return files.handle_answer(&body, context, batch);
        }
        let body = readable(body);
        let answer: Answer<'_> = serde_json::from_slice(&body)
            .map_err(|_| Unusable("the page is not the documented JSON".to_owned()))?;
        if answer.value.is_none() && answer.next_page.is_none() && answer.is_caught_up.is_none() {
            return Err(Unusable("the page has none of its members".to_owned()));
        }
        let next = answer.next_page.filter(|token| !token.is_empty());
        let caught_up = answer.is_caught_up.unwrap_or(false) || next.is_none();
        let records = ranges(&body, &answer.value.unwrap_or_default());
        // An empty answer whose token does not move is the end, whatever it says.
        let stuck = records.is_empty() && next == self.position.page_token;
        let mut page = Page::of(body, records, next)?;
        self.has_news = false;
        page.resume(self.position.page_done.as_ref());
        self.position.behind = !(caught_up || stuck);
        self.position.read_at = Some(context.now);
        if caught_up || stuck {
            self.position.covered_next = Some(context.upstream_now);
        }
        self.page = Some(page);
        Ok(())
    }

    /// The page token was refused: goes on by date, where everything is known to be read.
    pub fn handle_refusal(&mut self, context: Context<'_>, batch: &mut Builder) -> bool {
        if let Some(files) = &mut self.files {
            return files.handle_refusal(context, batch);
        }
        if self.position.page_token.take().is_none() {
            return false;
        }
        if let Some(covered) = self.position.covered {
            let from = covered.plus_ms(context.settings.overlap_ms.saturating_neg());
            self.position.since = self.position.since.max(from);
        }
        self.position.page_done = None;
        let detail = format!(
            "Mimecast refused the page token; reading begins again at {} and may repeat events with the same ids",
            self.position.since
        );
        batch.notice(self.stream, NoticeKind::Adjusted, detail);
        true
    }

    /// Which lines of the batch files become events.
    #[must_use]
    pub fn line_filter(&self) -> LineFilter {
        LineFilter {
            bounds: self
                .position
                .until
                .map(|until| (self.position.since, until)),
            remembered: self.remembered.clone(),
        }
    }

    /// Makes events of the page in memory until it is done or the batch is full.
    pub fn take_records(
        &mut self,
        intake: &mut Intake,
        context: Context<'_>,
        batch: &mut Builder,
    ) -> Offer {
        let Some(page) = &mut self.page else {
            return Offer::Taken;
        };
        let events_before = batch.stats(self.stream).events;
        while let Some(bytes) = page.record() {
            if !batch.has_room() {
                return Offer::NoRoom;
            }
            let record = RecordLine::new(self.stream, bytes);
            let at = intake.time(record);
            let id = same_words(record, intake);
            let known = id.is_some_and(|id| self.remembered.contains(&id));
            // What is older than the border came from the batch files.
            if known || at.is_some_and(|at| at < self.position.since) {
                batch.count_duplicate(self.stream);
            } else {
                let locator = || format!("{} page record {}", self.stream, page.number());
                let now = context.upstream_now;
                if batch.offer(intake, record, None, now, &locator) == Offer::NoRoom {
                    return Offer::NoRoom;
                }
                self.has_news |= batch.stats(self.stream).events > events_before;
                if let Some(id) = id {
                    self.remembered.insert(&id, at.unwrap_or(now));
                }
            }
            page.advance();
        }
        let paging = &mut self.position.paging;
        if self.position.behind {
            // The quota bounds empty pages.
            if !page.is_empty() {
                let stall = paging.follow(&page.whole_digest(), self.has_news);
                self.stall = stall.map(|stall| (stall, paging.tries()));
            }
        } else {
            *paging = Paging::default();
        }
        // Without a token the old one stays good.
        if let Some(token) = page.next_token.take() {
            self.position.page_token = Some(token);
        }
        self.page = None;
        self.position.page_done = None;
        self.position.covered = self.position.covered_next.or(self.position.covered);
        Offer::Taken
    }
}

impl SiemEvents {
    /// Why the reading rests, after a page that was done.
    pub const fn take_stall(&mut self) -> Option<(Stall, u32)> {
        self.stall.take()
    }
}

/// Up to when batch files are read before the endpoint is: by the earlier clock, as far as the
/// endpoint serves that.
fn border(context: Context<'_>) -> Timestamp {
    let served = context.upstream_now.plus_ms(BORDER_MS_MAX.saturating_neg());
    let now = context.earlier().max(served);
    now.plus_ms(FILES_LATE_MS.saturating_neg()).floor_second()
}

/// Says which lines of batch files become events: those before the border that were not read
/// from the endpoint before. Without bounds it is every line.
#[derive(Default)]
pub struct LineFilter {
    bounds: Option<(Timestamp, Timestamp)>,
    remembered: Remembered,
}

impl LineFilter {
    /// Whether the line is no event of this part.
    pub fn passes_over(&self, record: RecordLine<'_>, intake: &mut Intake) -> bool {
        let Some((since, until)) = self.bounds else {
            return false;
        };
        let outside = |at: Timestamp| at < since || at >= until;
        intake.time(record).is_some_and(outside)
            || same_words(record, intake).is_some_and(|id| self.remembered.contains(&id))
    }
}

/// The identity of a record with the names that batch files use.
fn same_words(record: RecordLine<'_>, intake: &mut Intake) -> Option<EventId> {
    let text = core::str::from_utf8(record.bytes).ok()?;
    let text = text
        .replace("\"eventType\":", "\"type\":")
        .replace("\"subType\":", "\"subtype\":");
    intake.id(RecordLine::new(record.stream, text.as_bytes()))
}

fn endpoint(stream: Stream, page_records: u32) -> String {
    let Way::Files { event_type, events } = stream.row().way else {
        return String::new();
    };
    let mut path = format!("{events}?types=");
    percent_encode(event_type, &mut path);
    path.push_str(&format!("&pageSize={page_records}"));
    path
}

/// The smallest call of a stream.
#[must_use]
pub fn probe(stream: Stream, context: Context<'_>) -> Call {
    let mut path = endpoint(stream, 1);
    path.push_str("&dateRangeStartsAt=");
    percent_encode(
        &context.upstream_now.plus_ms(-60_000).to_rfc3339(),
        &mut path,
    );
    Call::get(path)
}

/// How long a caught-up stream rests: so long that all streams together use three fifths of the
/// quota.
fn interval_ms(context: Context<'_>) -> i64 {
    let streams = context.settings.streams.iter();
    let streams = streams.filter(|stream| stream.is_batch()).count();
    let streams = i64::try_from(streams).unwrap_or(i64::MAX);
    let by_quota = streams.saturating_mul(3_600_000 * 5) / (i64::from(CALLS_PER_HOUR) * 3);
    by_quota.max(POLL_INTERVAL_MS)
}
