//! Logs that are asked for by windows of time (`mimecast-api.md` §5.1 to §5.10).
//!
//! A window is fixed when it is begun. The bound moves only when all pages of the window are
//! read; the next window reaches back by the overlap, and what it finds again is told by its
//! identity (design §3.5). An endpoint that knows no dates is read the same way: newest first,
//! down to where the window begins.

use crate::batch::{Builder, Intake, NoticeKind, Offer, RecordLine};
use crate::checkpoint::WindowPosition;
use crate::remembered::Remembered;
use crate::stream::{Post, Stream};
use crate::streams::pages::{self, Ask, Page};
use crate::streams::{Context, Unusable, Want, hours_ms};
use crate::time::Timestamp;

/// A caught-up stream is asked again after this. Nothing is published about the quota of these
/// endpoints (`mimecast-api.md` §6.3); a call a minute is far below any that was seen.
const POLL_INTERVAL_MS: i64 = 60_000;

/// The feed of one windowed log.
pub struct Windows {
    stream: Stream,
    post: &'static Post,
    position: WindowPosition,
    remembered: Remembered,
    page: Option<Page>,
    /// The record that was looked at last is older than the window: only where the endpoint knows
    /// no dates.
    below_window: bool,
}

impl Windows {
    /// The feed of a stream, from its position or from `start`.
    #[must_use]
    pub fn open(
        stream: Stream,
        post: &'static Post,
        position: Option<&WindowPosition>,
        (start, capacity): (Timestamp, usize),
    ) -> Self {
        let fresh = || WindowPosition {
            bound: start,
            to: None,
            page_token: None,
            read_at: None,
            first: true,
            page_done: None,
            remembered: String::new(),
        };
        let position = position.cloned().unwrap_or_else(fresh);
        let remembered = Remembered::from_text(&position.remembered, capacity);
        let remembered = remembered.unwrap_or_else(|| Remembered::new(capacity));
        Self {
            stream,
            post,
            position,
            remembered,
            page: None,
            below_window: false,
        }
    }

    /// The position for a checkpoint.
    #[must_use]
    pub fn position(&self) -> WindowPosition {
        let page_done = match &self.page {
            Some(page) => page.done(),
            None => self.position.page_done.clone(),
        };
        WindowPosition {
            remembered: self.remembered.to_text(),
            page_done,
            ..self.position.clone()
        }
    }

    /// The time, by the upstream's clock, up to which its records are known to be collected.
    #[must_use]
    pub const fn collected_until(&self) -> Timestamp {
        self.position.bound
    }

    /// When the feed next wants something, and whether it is caught up until then.
    #[must_use]
    pub fn due(&self, context: Context<'_>) -> (Timestamp, bool) {
        let inside = self.page.is_some() || self.position.to.is_some();
        let Some(read_at) = self.position.read_at.filter(|_| !inside) else {
            return (context.now, false);
        };
        let due = context.due_again(read_at, POLL_INTERVAL_MS);
        (due, true)
    }

    /// Whether the next want is a page.
    #[must_use]
    pub const fn wants_call(&self) -> bool {
        self.page.is_none()
    }

    /// What to do next.
    pub fn next(&mut self, context: Context<'_>, batch: &mut Builder) -> Want {
        if self.page.is_some() {
            return Want::Records;
        }
        let (due, caught_up) = self.due(context);
        if caught_up && due > context.now {
            return Want::Nothing(due);
        }
        if self.position.to.is_none() {
            self.begin_window(context, batch);
        }
        let to = self.position.to.unwrap_or(context.upstream_now);
        let ask = Ask {
            window: (self.from(context), to),
            page_records: self.post.page_records,
            token: self.position.page_token.as_deref(),
        };
        Want::Call(pages::call(self.stream, self.post, context, &ask))
    }

    /// Where the window begins: it reaches back, except for the first one.
    fn from(&self, context: Context<'_>) -> Timestamp {
        let overlap_ms = if self.position.first {
            0
        } else {
            context.settings.overlap_ms
        };
        self.position.bound.plus_ms(overlap_ms.saturating_neg())
    }

    /// Fixes the next window.
    fn begin_window(&mut self, context: Context<'_>, batch: &mut Builder) {
        self.skip_what_expired(context, batch);
        let longest_ms = if self.post.window.is_some() {
            hours_ms(self.post.window_hours)
        } else {
            i64::MAX
        };
        let position = &mut self.position;
        // The API takes whole seconds (§5.1), so the bound is one.
        let to = position
            .bound
            .plus_ms(longest_ms)
            .min(context.upstream_now)
            .floor_second();
        // A clock that was set back must not turn the window around.
        let to = to.max(position.bound);
        position.to = Some(to);
        position.page_token = None;
        position.page_done = None;
    }

    /// After an outage longer than the retention, says what is lost and goes on behind it.
    fn skip_what_expired(&mut self, context: Context<'_>, batch: &mut Builder) {
        let Some(hours) = self.stream.row().retention_hours else {
            return;
        };
        let oldest = context
            .upstream_now
            .plus_ms(hours_ms(hours).saturating_neg());
        let bound = self.position.bound;
        if bound >= oldest {
            return;
        }
        let days = hours / 24;
        let (kind, detail) = if self.position.first {
            let detail = format!(
                "collection begins at {oldest}, because Mimecast keeps {days} days, and not at {bound}"
            );
            (NoticeKind::Adjusted, detail)
        } else {
            let detail = format!(
                "records between {bound} and {oldest} are older than the {days} days that Mimecast keeps and can no longer be had"
            );
            (NoticeKind::Gap, detail)
        };
        batch.notice(self.stream, kind, detail);
        self.position.bound = oldest;
    }

    /// Takes the answer to a page's call.
    ///
    /// # Errors
    ///
    /// The body is not a page.
    pub fn handle_answer(&mut self, body: Vec<u8>) -> Result<(), Unusable> {
        let token = self.position.page_token.as_deref();
        let mut page = Page::read(body, self.post.list, token)?;
        page.resume(self.position.page_done.as_ref());
        self.below_window = false;
        self.page = Some(page);
        Ok(())
    }

    /// The call was refused: if it had a page token, the window is read again without one.
    pub fn handle_refusal(&mut self, batch: &mut Builder) -> bool {
        if self.position.page_token.take().is_none() {
            return false;
        }
        self.position.page_done = None;
        let detail = "Mimecast refused the page token; the window is read again, and what was \
                      delivered is left out or repeated with the same ids";
        batch.notice(self.stream, NoticeKind::Adjusted, detail.to_owned());
        true
    }

    /// Makes events of the page in memory until it is done or the batch is full.
    pub fn take_records(
        &mut self,
        intake: &mut Intake,
        context: Context<'_>,
        batch: &mut Builder,
    ) -> Offer {
        let from = self.from(context);
        let to = self.position.to.unwrap_or(self.position.bound);
        let overlap_ms = context.settings.overlap_ms;
        let next_from = to.plus_ms(overlap_ms.saturating_neg());
        self.remembered.spare(self.position.bound, next_from);
        let dated = self.post.window.is_some();
        let Some(page) = &mut self.page else {
            return Offer::Taken;
        };
        while let Some(bytes) = page.record() {
            if !batch.has_room() {
                return Offer::NoRoom;
            }
            let record = RecordLine {
                stream: self.stream,
                bytes,
            };
            self.below_window = !dated && intake.time(record).is_some_and(|at| at < from);
            if !self.below_window {
                let locator = || format!("{} page record {}", self.stream, page.number());
                let remembered = Some(&mut self.remembered);
                let now = context.upstream_now;
                if batch.offer(intake, record, remembered, now, locator) == Offer::NoRoom {
                    return Offer::NoRoom;
                }
            }
            page.advance();
        }
        let next_token = page.next_token.take();
        self.page = None;
        self.position.page_done = None;
        self.position.page_token = next_token.filter(|_| !self.below_window);
        if self.position.page_token.is_none() {
            self.finish_window(context);
        }
        Offer::Taken
    }

    /// All pages are read: the bound moves.
    fn finish_window(&mut self, context: Context<'_>) {
        let Some(to) = self.position.to.take() else {
            return;
        };
        self.position.bound = to;
        self.position.first = false;
        // A window that was cut at its greatest length leaves more to read.
        let is_last = context.upstream_now < to.plus_ms(POLL_INTERVAL_MS);
        self.position.read_at = is_last.then_some(context.now);
        self.remembered
            .forget_before(to.plus_ms(context.settings.overlap_ms.saturating_neg()));
    }
}
