//! Feeds of threat indicators: one file after another, by token (`mimecast-api.md` §5.11).
//!
//! The token of the feed is the position. A file is STIX or CSV, zipped or not, and is told by
//! what it is and not by what was asked for.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::batch::{Builder, Intake, NoticeKind, Offer, RecordLine};
use crate::checkpoint::FeedPosition;
use crate::decode::{csv, zip};
use crate::encode::push_quoted;
use crate::paging::{Paging, Stall};
use crate::remembered::Remembered;
use crate::request::Request;
use crate::response::Head;
use crate::settings::ThreatFeed;
use crate::stream::Stream;
use crate::streams::pages::{Page, ranges};
use crate::streams::{Context, Unusable, Want, hours_ms};
use crate::time::Timestamp;

/// A caught-up feed is asked again after this: indicators are lists for firewalls, not alarms.
const POLL_INTERVAL_MS: i64 = 15 * 60_000;

/// What a zipped file may inflate to.
const FILE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// The header with the position of the next file.
const NEXT_TOKEN: &str = "x-mc-threat-feed-next-token";

/// One feed.
pub struct ThreatFeeds {
    stream: Stream,
    feed_type: &'static str,
    position: FeedPosition,
    remembered: Remembered,
    page: Option<Page>,
    /// Whether the file has given an event.
    has_news: bool,
    stall: Option<(Stall, u32)>,
}

#[derive(Deserialize)]
struct Bundle<'a> {
    #[serde(borrow)]
    objects: Option<Vec<&'a RawValue>>,
    /// Of the envelope that other endpoints answer with.
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

impl ThreatFeeds {
    /// The feed of a stream, from its position or from `start`.
    #[must_use]
    pub fn open(
        stream: Stream,
        feed_type: &'static str,
        position: Option<&FeedPosition>,
        (start, capacity): (Timestamp, usize),
    ) -> Self {
        let fresh = || FeedPosition {
            since: start,
            ..FeedPosition::default()
        };
        let position = position.cloned().unwrap_or_else(fresh);
        let remembered = Remembered::from_text(&position.remembered, capacity);
        Self {
            stream,
            feed_type,
            position,
            remembered: remembered.unwrap_or_else(|| Remembered::new(capacity)),
            page: None,
            has_news: false,
            stall: None,
        }
    }

    /// The position for a checkpoint.
    #[must_use]
    pub fn position(&self) -> FeedPosition {
        FeedPosition {
            remembered: self.remembered.to_text(),
            page_done: match &self.page {
                Some(page) => page.done(),
                None => self.position.page_done.clone(),
            },
            ..self.position.clone()
        }
    }

    /// The time, by the upstream's clock, up to which its records are known to be collected.
    #[must_use]
    pub fn collected_until(&self, context: Context<'_>) -> Timestamp {
        let at = self.position.read_at.map(|at| context.to_upstream(at));
        at.into_iter()
            .chain(self.position.read_to)
            .fold(self.position.since, Timestamp::max)
    }

    /// When the feed next wants something, and whether it is caught up until then.
    #[must_use]
    pub fn due(&self, context: Context<'_>) -> (Timestamp, bool) {
        let Some(read_at) = self.position.read_at.filter(|_| self.page.is_none()) else {
            return (context.now, false);
        };
        let due = context.due_again(read_at, POLL_INTERVAL_MS);
        (due, true)
    }

    /// Whether the next want is a file.
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
        self.skip_what_expired(context, batch);
        let from = match &self.position.token {
            Some(token) => From::Token(token),
            None => From::Time(self.position.since),
        };
        Want::Call(call(self.stream, self.feed_type, context, &from))
    }

    /// Says what the feed no longer has: after an outage longer than the retention, or at a start
    /// that lies before it.
    fn skip_what_expired(&mut self, context: Context<'_>, batch: &mut Builder) {
        let hours = self.stream.row().retention_hours.unwrap_or(u32::MAX);
        let days = hours / 24;
        // By the earlier clock: what a wrong one takes for expired may still be there.
        let oldest = context.earlier().plus_ms(hours_ms(hours).saturating_neg());
        let position = &mut self.position;
        match position.asked_at {
            Some(asked_at) if asked_at < oldest => {
                let detail = format!(
                    "indicators between {asked_at} and {oldest} are older than the {days} days that Mimecast keeps and can no longer be had"
                );
                batch.notice(self.stream, NoticeKind::Gap, detail);
                position.asked_at = Some(oldest);
            }
            None if position.token.is_none() && position.since < oldest => {
                let detail = format!(
                    "the feed begins at {oldest}, because Mimecast keeps {days} days, and not at {}",
                    position.since
                );
                batch.notice(self.stream, NoticeKind::Adjusted, detail);
            }
            Some(_) | None => {}
        }
        // A time that has not come yet was named by a clock that was wrong.
        position.since = position.since.min(context.earlier()).max(oldest);
    }

    /// Takes the answer to a call: the whole body is one file.
    ///
    /// # Errors
    ///
    /// The file is neither STIX nor CSV, or its archive is broken.
    pub fn handle_answer(
        &mut self,
        body: Vec<u8>,
        head: &Head,
        context: Context<'_>,
    ) -> Result<(), Unusable> {
        let token = self.position.token.as_deref();
        let next = head.header(NEXT_TOKEN).map(str::trim);
        let next = next.filter(|next| !next.is_empty() && Some(*next) != token);
        let next = next.map(str::to_owned);
        if body.is_empty() && next.is_none() {
            return Err(Unusable("there is neither a file nor a token".to_owned()));
        }
        let mut page = if zip::is_zip(&body) {
            let files =
                zip::files(&body, FILE_BYTES_MAX).map_err(|error| Unusable(error.0.to_owned()))?;
            let mut lines = Vec::new();
            for (_, file) in files {
                let page = read_file(file, None)?;
                lines.extend(records(page));
            }
            of_lines(&lines, next)?
        } else {
            read_file(body, next)?
        };
        page.resume(self.position.page_done.as_ref());
        self.position.asked_at = Some(context.earlier());
        self.has_news = false;
        self.page = Some(page);
        Ok(())
    }

    /// The token was refused: the feed begins again by date.
    pub fn handle_refusal(&mut self, context: Context<'_>, batch: &mut Builder) -> bool {
        if self.position.token.take().is_none() {
            return false;
        }
        // The newest indicator says where the token stood; an hour back costs repeats.
        let newest = self.position.newest.unwrap_or(self.position.since);
        self.position.since = newest
            .plus_ms(-3_600_000)
            .max(self.position.since)
            .min(context.earlier());
        self.position.page_done = None;
        let detail = format!(
            "Mimecast refused the token of the feed; it begins again at {} and may repeat indicators with the same ids",
            self.position.since
        );
        batch.notice(self.stream, NoticeKind::Adjusted, detail);
        true
    }

    /// Makes events of the file in memory until it is done or the batch is full.
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
            let record = RecordLine {
                stream: self.stream,
                bytes,
            };
            let locator = || format!("{} file record {}", self.stream, page.number());
            let remembered = Some(&mut self.remembered);
            let now = context.upstream_now;
            if batch.offer(intake, record, remembered, now, &locator) == Offer::NoRoom {
                return Offer::NoRoom;
            }
            self.has_news |= batch.stats(self.stream).events > events_before;
            self.position.newest = self.position.newest.max(intake.time(record));
            page.advance();
        }
        let next_token = page.next_token.take();
        let digest = page.whole_digest();
        self.page = None;
        let paging = &mut self.position.paging;
        if next_token.is_some() {
            let stall = paging.follow(&digest, self.has_news);
            self.stall = stall.map(|stall| (stall, paging.tries()));
        } else {
            *paging = Paging::default();
        }
        self.position.page_done = None;
        // Without a further token there is no more for now, and this one is asked again.
        self.position.read_at = next_token.is_none().then_some(context.now);
        if next_token.is_none() {
            self.position.read_to = Some(context.upstream_now);
        }
        match next_token {
            Some(token) => self.position.token = Some(token),
            // Indicators may be written late, as events are.
            None if self.position.token.is_none() => {
                let overlap_ms = context.settings.overlap_ms;
                let asked_at = self.position.asked_at;
                self.position.since = asked_at.map_or(self.position.since, |asked_at| {
                    asked_at
                        .plus_ms(overlap_ms.saturating_neg())
                        .max(self.position.since)
                });
            }
            None => {}
        }
        Offer::Taken
    }
}

impl ThreatFeeds {
    /// Why the reading rests, after a file that was done.
    pub const fn take_stall(&mut self) -> Option<(Stall, u32)> {
        self.stall.take()
    }
}

/// Where a call begins.
enum From<'a> {
    Token(&'a str),
    Time(Timestamp),
}

/// The smallest call of a stream.
#[must_use]
pub fn probe(stream: Stream, feed_type: &str, context: Context<'_>) -> Request {
    let from = From::Time(context.upstream_now.plus_ms(-60_000));
    call(stream, feed_type, context, &from)
}

fn call(stream: Stream, feed_type: &str, context: Context<'_>, from: &From<'_>) -> Request {
    let file_type = match context.settings.threat_feed {
        ThreatFeed::Csv => "csv",
        ThreatFeed::Stix => "stix",
    };
    let mut body = format!(
        "{{\"data\":[{{\"feedType\":\"{feed_type}\",\"fileType\":\"{file_type}\",\"compress\":true,"
    );
    match from {
        // The token stands for the dates (`mimecast-api.md` §5.11).
        From::Token(token) => {
            body.push_str("\"token\":");
            push_quoted(&mut body, token);
        }
        From::Time(from) => {
            let (from, to) = (from.to_upstream(), context.upstream_now.to_upstream());
            body.push_str(&format!("\"start\":\"{from}\",\"end\":\"{to}\""));
        }
    }
    body.push_str("}]}");
    let url = format!("{}{}", context.settings.base_url, stream.row().endpoint);
    Request::post_json(url, body)
}

/// Reads one file: STIX, CSV, or the envelope of an answer without a file.
fn read_file(file: Vec<u8>, next_token: Option<String>) -> Result<Page, Unusable> {
    let first = file.iter().find(|byte| !byte.is_ascii_whitespace());
    if first == Some(&b'{') {
        let bundle: Bundle<'_> = serde_json::from_slice(&file)
            .map_err(|_| Unusable("the file is not the documented STIX".to_owned()))?;
        if bundle.objects.is_none() && bundle.data.is_none() {
            return Err(Unusable("the file has no objects".to_owned()));
        }
        let records = ranges(&file, &bundle.objects.unwrap_or_default());
        return Page::of(file, records, next_token);
    }
    if matches!(first, Some(b'<' | b'[')) {
        return Err(Unusable("the file is neither STIX nor CSV".to_owned()));
    }
    let text = String::from_utf8_lossy(&file);
    of_lines(&csv::objects(&text), next_token)
}

fn of_lines(lines: &[String], next_token: Option<String>) -> Result<Page, Unusable> {
    let mut body = Vec::new();
    let mut records = Vec::new();
    for line in lines {
        let start = body.len();
        body.extend_from_slice(line.as_bytes());
        records.push(start..body.len());
    }
    Page::of(body, records, next_token)
}

fn records(mut page: Page) -> Vec<String> {
    let mut records = Vec::new();
    while let Some(record) = page.record() {
        records.push(String::from_utf8_lossy(record).into_owned());
        page.advance();
    }
    records
}
