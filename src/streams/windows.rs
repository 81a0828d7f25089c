//! Logs that are requested by windows of time (`mimecast-api.md` §5.1 to §5.10).
//!
//! A window is fixed when it is begun. `collected_until` moves only when all pages of the window are
//! read. The next window reaches back by the overlap, and repeated records are recognized by their
//! identities. An endpoint that takes no dates is read the same way: newest first, down to the
//! beginning of the window.

use crate::batch::{Builder, NoticeKind, OfferResult, RawRecord, RecordProcessor};
use crate::checkpoint::{StreamPosition, WindowPosition};
use crate::request::Call;
use crate::response::Head;
use crate::seen_ids::{Deduplication, Occurrences, SeenIds};
use crate::stall::StallDetector;
use crate::stream::{PostEndpoint, Stream};
use crate::streams::paged::{
    Cursor, EmptyPagePolicy, FinishedPage, PageRecord, PagingStrategy, ProcessResult,
};
use crate::streams::pages::{self, Page, PageRequest, page_progress};
use crate::streams::retention::Retention;
use crate::streams::{CLOCK_TOLERANCE_MS, Context, InvalidResponse, hours_ms};
use crate::time::Timestamp;

/// The poll interval of a caught-up stream. Nothing is published about the quota of these
/// endpoints (`mimecast-api.md` §6.3); a call a minute is far below any that was seen.
const POLL_INTERVAL_MS: i64 = 60_000;

/// The longest token that is remembered because it leads nowhere: such a token is a word, not a
/// position.
const DEAD_TOKEN_BYTES_MAX: usize = 64;

/// A token that is refused within this time after it was received has not expired: it was never valid.
const TOKEN_FRESH_MS: u64 = 60_000;

/// How far a stream goes back at most because of a wrong clock, where only one of the two clocks shows
/// it.
const READ_AGAIN_MS_MAX: i64 = 24 * 3_600_000;

/// The paging strategy of one log that is read by windows.
pub struct Windows {
    stream: Stream,
    post: &'static PostEndpoint,
    position: WindowPosition,
    seen_ids: SeenIds,
    /// How often each record occurs on the finished part of the page; `None` before the records of a
    /// page are counted.
    occurrences: Option<Occurrences>,
    /// Whether the last record is older than the window, which only happens where the endpoint takes
    /// no dates.
    is_before_window: bool,
}

impl Windows {
    /// Creates the reading of a stream, from its position or from `start`.
    #[must_use]
    pub fn open(
        stream: Stream,
        post: &'static PostEndpoint,
        position: Option<&WindowPosition>,
        (start, capacity): (Timestamp, usize),
    ) -> Self {
        let fresh = || WindowPosition {
            collected_until: start,
            to: None,
            page_token: None,
            read_at: None,
            is_first: true,
            page_progress: None,
            last_response_at: None,
            begun_at: None,
            dead_token: None,
            empty_page_at: None,
            is_second_reading: false,
            confirmed_until: None,
            began_by_wrong_clock: false,
            evicted_overlap_id_count: 0,
            stall_detector: StallDetector::default(),
            seen_ids: String::new(),
        };
        let position = position.cloned().unwrap_or_else(fresh);
        let seen_ids = SeenIds::from_text(&position.seen_ids, capacity);
        let seen_ids = seen_ids.unwrap_or_else(|| SeenIds::new(capacity));
        Self {
            stream,
            post,
            position,
            seen_ids,
            occurrences: None,
            is_before_window: false,
        }
    }

    /// Returns the beginning of the window, which reaches back into the last one unless it is the first.
    fn window_start(&self, context: Context<'_>) -> Timestamp {
        let overlap_ms = if self.position.is_first {
            0
        } else {
            context.settings.overlap_ms
        };
        self.position
            .collected_until
            .plus_ms(overlap_ms.saturating_neg())
    }

    /// Returns how long a caught-up stream waits: longer the more records could not be remembered, because
    /// every window that overlaps the last one repeats them.
    fn interval_ms(&self, context: Context<'_>) -> i64 {
        let evicted_overlap_id_count = i64::from(self.position.evicted_overlap_id_count);
        let remembered = i64::try_from(self.seen_ids.len()).unwrap_or(i64::MAX);
        let all = evicted_overlap_id_count.saturating_add(remembered).max(1);
        (context
            .settings
            .overlap_ms
            .saturating_mul(evicted_overlap_id_count)
            / all)
            .max(POLL_INTERVAL_MS)
    }

    /// Begins the next window and fixes its end.
    fn begin_window(&mut self, context: Context<'_>, batch: &mut Builder) {
        self.skip_expired(context, batch);
        let longest_ms = if self.post.window_members.is_some() {
            hours_ms(self.post.window_hours)
        } else {
            i64::MAX
        };
        let position = &mut self.position;
        // The API takes whole seconds (`mimecast-api.md` §5.1), so the end is one.
        let to = position
            .collected_until
            .plus_ms(longest_ms)
            .min(context.upstream_now)
            .floor_second();
        // After a clock was set back, the window must not end before it begins.
        let to = to.max(position.collected_until);
        position.to = Some(to);
        position.begun_at = Some(context.now);
        position.last_response_at = None;
        position.page_token = None;
        position.page_progress = None;
        position.empty_page_at = None;
        position.is_second_reading = false;
    }

    /// After an outage longer than the retention, or at a start before it, adds a notice and continues at
    /// the oldest data.
    fn skip_expired(&mut self, context: Context<'_>, batch: &mut Builder) {
        let collected_until = self.position.collected_until;
        let retention = Retention::of(self.stream, context);
        let Some(retention) = retention.filter(|retention| collected_until < retention.oldest)
        else {
            return;
        };
        if self.position.is_first {
            retention.add_start_notice("collection", collected_until, batch);
        } else {
            retention.add_gap_notice("records", collected_until, batch);
        }
        self.position.collected_until = retention.oldest;
    }

    /// Finishes the window after all its pages: moves `collected_until`, but never beyond the upstream's
    /// clock when the window was begun and at its responses.
    fn finish_window(&mut self, context: Context<'_>, batch: &mut Builder) {
        let from = self.window_start(context);
        let Some(to) = self.position.to.take() else {
            return;
        };
        let overlap_ms = context.settings.overlap_ms;
        let position = &mut self.position;
        let begun_at = position.begun_at.take().unwrap_or(context.now);
        let last_response_at = position.last_response_at.take();
        let last_response_at = last_response_at.unwrap_or_else(|| context.earliest_now());
        let previous_collected_until = position.collected_until;
        let was_first = core::mem::take(&mut position.is_first);
        position.stall_detector = StallDetector::default();
        // Records that were written after the window was begun may have moved others from a page that
        // was still to be read to one that was done.
        let upstream_began_at = last_response_at.min(context.to_upstream(begun_at));
        position.collected_until = to
            .min(upstream_began_at.floor_second())
            .max(previous_collected_until);
        let restart_at = restart_time(position, (from, last_response_at), was_first, context);
        if let Some(restart_at) = restart_at {
            let detail = format!(
                "the clocks of Mimecast and of this host did not agree; everything from {restart_at} on is \
                 read again, and what was delivered is left out or repeated with the same ids"
            );
            batch.notice(self.stream, NoticeKind::Adjusted, detail);
            position.collected_until = restart_at;
            // Nothing has been read yet where the start was in the future.
            position.is_first = was_first;
            position.confirmed_until = None;
            position.read_at = None;
            return;
        }
        let collected_until = position.collected_until;
        let confirmed = collected_until.min(begun_at);
        position.confirmed_until = match position.confirmed_until {
            Some(confirmed_until) if confirmed_until < from => {
                Some(confirmed_until.max(confirmed.plus_ms(READ_AGAIN_MS_MAX.saturating_neg())))
            }
            Some(_) | None => {
                (confirmed.plus_ms(CLOCK_TOLERANCE_MS) < collected_until).then_some(confirmed)
            }
        };
        // A window that was cut at its greatest length leaves more to read. An empty window although the
        // upstream's clock is far from its end was begun by a wrong clock, and is tried again after a wait.
        let has_more = last_response_at >= collected_until.plus_ms(POLL_INTERVAL_MS);
        let is_ahead = last_response_at.plus_ms(CLOCK_TOLERANCE_MS) < collected_until;
        position.began_by_wrong_clock =
            collected_until == previous_collected_until && (has_more || is_ahead);
        position.read_at = (!has_more || position.began_by_wrong_clock).then_some(context.now);
        self.seen_ids
            .forget_before(collected_until.plus_ms(overlap_ms.saturating_neg()));
        let evicted_overlap_id_count = self.seen_ids.take_evicted_overlap_id_count();
        if evicted_overlap_id_count > 0 && self.position.evicted_overlap_id_count == 0 {
            let detail = format!(
                "the next window repeats more records than can be remembered; {evicted_overlap_id_count} are \
                 repeated with the same ids, and the stream is polled less often"
            );
            batch.notice(self.stream, NoticeKind::Adjusted, detail);
        }
        self.position.evicted_overlap_id_count = evicted_overlap_id_count;
    }
}

impl PagingStrategy for Windows {
    const EMPTY_PAGES: EmptyPagePolicy = EmptyPagePolicy::Follow("window");

    fn stream(&self) -> Stream {
        self.stream
    }

    fn cursor(&mut self) -> Cursor<'_> {
        Cursor {
            token: &mut self.position.page_token,
            page_progress: &mut self.position.page_progress,
            stall_detector: &mut self.position.stall_detector,
        }
    }

    fn due(&self, has_page: bool, context: Context<'_>) -> (Timestamp, bool) {
        let inside = has_page || self.position.to.is_some();
        let Some(read_at) = self.position.read_at.filter(|_| !inside) else {
            return (context.now, false);
        };
        let due = context.due_again(read_at, self.interval_ms(context));
        (due, !self.position.began_by_wrong_clock)
    }

    fn collected_until(&self, _context: Context<'_>) -> Option<Timestamp> {
        Some(self.position.collected_until)
    }

    fn call(&mut self, context: Context<'_>, batch: &mut Builder) -> Call {
        if self.position.to.is_none() {
            self.begin_window(context, batch);
        }
        let to = self.position.to.unwrap_or(context.upstream_now);
        let request = PageRequest {
            window: (self.window_start(context), to),
            page_records: self.post.page_records,
            token: self.position.page_token.as_deref(),
        };
        pages::call(self.stream, self.post, &request)
    }

    fn read(
        &mut self,
        (head, body): (&Head, Vec<u8>),
        _: Context<'_>,
    ) -> Result<Page, InvalidResponse> {
        let token = self.position.page_token.as_deref();
        let page = Page::read(body, self.post.records_member, token)?;
        self.position.last_response_at = self.position.last_response_at.max(head.date());
        self.occurrences = None;
        self.is_before_window = false;
        Ok(page)
    }

    fn prepare(&mut self, page: &Page, processor: &mut RecordProcessor, context: Context<'_>) {
        let to = self.position.to.unwrap_or(self.position.collected_until);
        let overlap_ms = context.settings.overlap_ms;
        let next_from = to.plus_ms(overlap_ms.saturating_neg());
        self.seen_ids
            .set_evictable(self.position.collected_until, next_from);
        let stream = self.stream;
        self.occurrences.get_or_insert_with(|| {
            let mut done = Occurrences::default();
            for bytes in page.done_records() {
                if let Some(base) = processor.id(RawRecord::new(stream, bytes)) {
                    done.count(base);
                }
            }
            done
        });
    }

    fn process(
        &mut self,
        found: PageRecord<'_>,
        processor: &mut RecordProcessor,
        context: Context<'_>,
        batch: &mut Builder,
    ) -> ProcessResult {
        let stream = self.stream;
        let record = RawRecord::new(stream, found.bytes);
        let from = self.window_start(context);
        let takes_dates = self.post.window_members.is_some();
        self.is_before_window = !takes_dates && processor.time(record).is_some_and(|at| at < from);
        if self.is_before_window {
            return ProcessResult::Consumed;
        }
        let locator = || format!("{stream} page record {}", found.number);
        let deduplication = Deduplication {
            seen_ids: Some(&mut self.seen_ids),
            occurrences: self.occurrences.as_mut(),
        };
        match batch.offer_as(
            stream,
            processor,
            record,
            deduplication,
            context.upstream_now,
            &locator,
        ) {
            OfferResult::BatchFull => ProcessResult::BatchFull,
            OfferResult::Consumed => ProcessResult::Consumed,
        }
    }

    fn advance(&mut self, page: FinishedPage, _context: Context<'_>) -> bool {
        let sent = self.position.page_token.take();
        let is_dead = page.is_empty && page.next_token == self.position.dead_token;
        let next = page
            .next_token
            .filter(|_| !self.is_before_window && !is_dead);
        if next.is_none() && page.is_empty && self.position.stall_detector.empty_pages > 0 {
            self.position.dead_token = sent.filter(|token| is_short(token));
        }
        self.position.page_token = next;
        self.position.page_token.is_some()
    }

    fn handle_last_page(&mut self, context: Context<'_>, batch: &mut Builder) {
        self.finish_window(context, batch);
    }

    fn handle_empty_page(&mut self, context: Context<'_>) {
        self.position.empty_page_at = Some(context.now);
    }

    /// Reads the window again from its first page, with the records that were written in the meantime.
    fn restart_reading(&mut self) {
        self.position.page_token = None;
        self.position.to = None;
    }

    /// Reads the window again from its first page, if the call had a page token. A token that an empty
    /// page has just returned leads nowhere, and the window ends there; an older one may have expired,
    /// so the window is read once more.
    fn handle_refusal(&mut self, context: Context<'_>, batch: &mut Builder) -> bool {
        let Some(token) = self.position.page_token.take() else {
            return false;
        };
        let empty_page_at = self.position.empty_page_at.take();
        if self.position.stall_detector.empty_pages > 0 {
            let age_ms = empty_page_at.map(|at| at.millis().abs_diff(context.now.millis()));
            let is_fresh = age_ms.is_some_and(|age_ms| age_ms <= TOKEN_FRESH_MS);
            if is_fresh || self.position.is_second_reading {
                if !is_fresh {
                    let detail = "Mimecast refused the page token of an empty page twice; the window \
                                  ends there";
                    batch.notice(self.stream, NoticeKind::Adjusted, detail.to_owned());
                }
                self.position.dead_token = Some(token).filter(|token| is_short(token));
                self.finish_window(context, batch);
                return true;
            }
            self.position.is_second_reading = true;
            self.position.stall_detector.empty_pages = 0;
        }
        self.position.page_progress = None;
        let detail = "Mimecast refused the page token; the window is read again, and what was \
                      delivered is left out or repeated with the same ids";
        batch.notice(self.stream, NoticeKind::Adjusted, detail.to_owned());
        true
    }

    fn save(&self, page: Option<&Page>, position: &mut StreamPosition) {
        position.window = Some(WindowPosition {
            seen_ids: self.seen_ids.to_text(),
            page_progress: page_progress(page, self.position.page_progress.as_ref()),
            ..self.position.clone()
        });
    }
}

/// Returns whether a token is short enough to be remembered.
fn is_short(token: &str) -> bool {
    token.len() <= DEAD_TOKEN_BYTES_MAX
}

/// Returns the time from which everything has to be read again, because a clock was ahead or was set
/// back when time was marked as read. `from` is the beginning of the last window, and `last_response_at` the
/// upstream's clock at its responses.
fn restart_time(
    position: &WindowPosition,
    (from, last_response_at): (Timestamp, Timestamp),
    was_first: bool,
    context: Context<'_>,
) -> Option<Timestamp> {
    let collected_until = position.collected_until;
    let agrees = |at: Timestamp| {
        let apart_ms = at.millis().abs_diff(last_response_at.millis());
        apart_ms <= CLOCK_TOLERANCE_MS.unsigned_abs()
    };
    let collected_is_ahead_of = |at: Timestamp| at.plus_ms(CLOCK_TOLERANCE_MS) < collected_until;
    // `collected_until` is in the future, by this response and by those before it.
    if collected_is_ahead_of(last_response_at) && collected_is_ahead_of(context.upstream_now) {
        let upstream_now = last_response_at.min(context.upstream_now).floor_second();
        if was_first {
            // The start was set by the host's clock: it is as far back by the upstream's.
            let behind_ms = context
                .upstream_now
                .millis()
                .saturating_sub(context.now.millis());
            return Some(collected_until.plus_ms(behind_ms).min(upstream_now));
        }
        let back_ms = collected_until
            .millis()
            .saturating_sub(upstream_now.millis());
        if back_ms <= READ_AGAIN_MS_MAX || collected_is_ahead_of(context.now) {
            let confirmed_until = position.confirmed_until.unwrap_or(upstream_now);
            return Some(confirmed_until.min(upstream_now));
        }
        return None;
    }
    // The clocks did not agree and now they do: one of them was wrong.
    let confirmed_until = position
        .confirmed_until
        .filter(|confirmed_until| *confirmed_until < from)?;
    (agrees(context.now) && agrees(context.upstream_now)).then_some(confirmed_until)
}
