//! Logs that are asked for by windows of time (`mimecast-api.md` §5.1, §5.2).
//!
//! A window is fixed when it is begun. The bound moves only when all pages of the window are
//! read; the next window reaches back by the overlap, and what it finds again is told by its
//! identity (design §3.5).

use core::ops::Range;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::batch::{Builder, Intake, NoticeKind, Offer, RecordLine};
use crate::checkpoint::WindowPosition;
use crate::remembered::Remembered;
use crate::request::Request;
use crate::stream::Stream;
use crate::streams::{Context, Unusable, Want, hours_ms};
use crate::time::Timestamp;

/// Records on a page: used in production by others (`mimecast-api.md` §5.1).
const PAGE_RECORDS: u32 = 500;

/// A window is at most this long, so that reading one again costs little.
const WINDOW_MS_MAX: i64 = 6 * 3_600_000;

/// A caught-up stream is asked again after this. Nothing is published about the quota of these
/// endpoints (`mimecast-api.md` §6.3); a call a minute is far below any that was seen.
const POLL_INTERVAL_MS: i64 = 60_000;

/// Identities that are remembered: more than a page, so that a page that is read in parts or
/// twice repeats nothing. 24 bytes each in the checkpoint.
const REMEMBERED_MAX: usize = 1000;

/// A page token goes into the checkpoint, so it is bounded.
const PAGE_TOKEN_BYTES_MAX: usize = 2048;

/// A page in memory. A checkpoint does not hold it.
struct Page {
    body: Vec<u8>,
    records: Vec<Range<usize>>,
    at: usize,
    next_token: Option<String>,
}

/// The feed of one windowed log.
pub struct Windows {
    stream: Stream,
    position: WindowPosition,
    remembered: Remembered,
    page: Option<Page>,
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    data: Option<Vec<&'a RawValue>>,
    meta: Option<Meta>,
}

#[derive(Deserialize)]
struct Meta {
    pagination: Option<Pagination>,
}

#[derive(Deserialize)]
struct Pagination {
    next: Option<String>,
}

impl Windows {
    /// The feed of a stream, from its position or from `start`.
    #[must_use]
    pub fn open(stream: Stream, position: Option<&WindowPosition>, start: Timestamp) -> Self {
        let fresh = || WindowPosition {
            bound: start,
            to: None,
            page_token: None,
            read_at: None,
            first: true,
            remembered: String::new(),
        };
        let position = position.cloned().unwrap_or_else(fresh);
        let remembered = Remembered::from_text(&position.remembered, REMEMBERED_MAX);
        let remembered = remembered.unwrap_or_else(|| Remembered::new(REMEMBERED_MAX));
        Self {
            stream,
            position,
            remembered,
            page: None,
        }
    }

    /// The position for a checkpoint.
    #[must_use]
    pub fn position(&self) -> WindowPosition {
        WindowPosition {
            remembered: self.remembered.to_text(),
            ..self.position.clone()
        }
    }

    /// When the feed next wants something, and whether it is caught up until then.
    #[must_use]
    pub fn due(&self, context: Context<'_>) -> (Timestamp, bool) {
        let inside = self.page.is_some() || self.position.to.is_some();
        let Some(read_at) = self.position.read_at.filter(|_| !inside) else {
            return (context.now, false);
        };
        // A window that was read ahead of now was read by a clock that has since been set back.
        let due = if read_at > context.now {
            context.now
        } else {
            read_at.plus_ms(POLL_INTERVAL_MS)
        };
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
        let token = self.position.page_token.as_deref();
        Want::Call(call(
            self.stream,
            context,
            self.from(context),
            to,
            PAGE_RECORDS,
            token,
        ))
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
        let hours = self.stream.row().retention_hours.unwrap_or(u32::MAX);
        let oldest = context
            .upstream_now
            .plus_ms(hours_ms(hours).saturating_neg());
        let position = &mut self.position;
        if position.bound < oldest {
            let days = hours / 24;
            if position.first {
                let detail = format!(
                    "collection begins at {oldest}, because Mimecast keeps {days} days, and not at {}",
                    position.bound
                );
                batch.notice(self.stream, NoticeKind::Adjusted, detail);
            } else {
                let detail = format!(
                    "records between {} and {oldest} are older than the {days} days that Mimecast keeps and can no longer be had",
                    position.bound
                );
                batch.notice(self.stream, NoticeKind::Gap, detail);
            }
            position.bound = oldest;
        }
        // The API takes whole seconds (§5.1), so the bound is one.
        let to = position
            .bound
            .plus_ms(WINDOW_MS_MAX)
            .min(context.upstream_now)
            .floor_second();
        // A clock that was set back must not turn the window around.
        let to = to.max(position.bound);
        position.to = Some(to);
        position.page_token = None;
    }

    /// Takes the answer to a page's call.
    ///
    /// # Errors
    ///
    /// The body is not a page.
    pub fn handle_answer(&mut self, body: Vec<u8>, _context: Context<'_>) -> Result<(), Unusable> {
        let answer: Answer<'_> = serde_json::from_slice(&body)
            .map_err(|_| Unusable("the page is not the documented JSON".to_owned()))?;
        let start = body.as_ptr().addr();
        let range = |record: &RawValue| {
            let from = record.get().as_ptr().addr().saturating_sub(start);
            from..from.saturating_add(record.get().len())
        };
        let records: Vec<_> = answer
            .data
            .unwrap_or_default()
            .into_iter()
            .map(range)
            .collect();
        let next = answer
            .meta
            .and_then(|meta| meta.pagination)
            .and_then(|page| page.next);
        // An empty page ends the window whatever its `next` says (`mimecast-api.md` §5.1).
        let next_token = next.filter(|token| {
            !records.is_empty()
                && !token.is_empty()
                && Some(token) != self.position.page_token.as_ref()
        });
        if next_token
            .as_ref()
            .is_some_and(|token| token.len() > PAGE_TOKEN_BYTES_MAX)
        {
            return Err(Unusable(format!(
                "the page token is longer than {PAGE_TOKEN_BYTES_MAX} bytes"
            )));
        }
        self.page = Some(Page {
            body,
            records,
            at: 0,
            next_token,
        });
        Ok(())
    }

    /// The call was refused: if it had a page token, the window is read again without one.
    pub fn handle_refusal(&mut self, batch: &mut Builder) -> bool {
        if self.position.page_token.take().is_none() {
            return false;
        }
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
        let Some(page) = &mut self.page else {
            return Offer::Taken;
        };
        let to = self.position.to.unwrap_or(self.position.bound);
        let overlap_ms = context.settings.overlap_ms;
        let next_from = to.plus_ms(overlap_ms.saturating_neg());
        self.remembered.spare(self.position.bound, next_from);
        while let Some(range) = page.records.get(page.at) {
            if !batch.has_room() {
                return Offer::NoRoom;
            }
            let bytes = page.body.get(range.clone()).unwrap_or_default();
            let record = RecordLine {
                stream: self.stream,
                bytes,
            };
            let locator = || format!("{} page record {}", self.stream, page.at.saturating_add(1));
            let remembered = Some(&mut self.remembered);
            let now = context.upstream_now;
            if batch.offer(intake, record, remembered, now, locator) == Offer::NoRoom {
                return Offer::NoRoom;
            }
            page.at = page.at.saturating_add(1);
        }
        let next_token = page.next_token.take();
        self.page = None;
        self.position.page_token = next_token;
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

/// The smallest page of a stream.
#[must_use]
pub fn probe(stream: Stream, context: Context<'_>) -> Request {
    let from = context.upstream_now.plus_ms(-60_000);
    call(stream, context, from, context.upstream_now, 1, None)
}

fn call(
    stream: Stream,
    context: Context<'_>,
    from: Timestamp,
    to: Timestamp,
    page_records: u32,
    token: Option<&str>,
) -> Request {
    let mut pagination = serde_json::json!({ "pageSize": page_records });
    if let (Some(token), Some(map)) = (token, pagination.as_object_mut()) {
        map.insert("pageToken".to_owned(), token.into());
    }
    let body = serde_json::json!({
        "meta": { "pagination": pagination },
        // The window is sent again with the token (`mimecast-api.md` §5.1).
        "data": [{ "startDateTime": from.to_upstream(), "endDateTime": to.to_upstream() }],
    });
    let url = format!("{}{}", context.settings.base_url, stream.row().endpoint);
    Request::post_json(url, body.to_string())
}
