//! SIEM records one by one, from the event endpoint (`mimecast-api.md` §3.3).
//!
//! The endpoint serves one day. Older records, at the first start or after an outage, are read from
//! batch files first, up to a time two hours ago; from then on the endpoint is read. Files that are set
//! aside by then are retried beside it. Files and endpoint name the members of a record differently. The
//! time of a record decides from which of them it is taken, and its identity uses the names in the
//! files.

use crate::batch::{Builder, NoticeKind, OfferResult, RawRecord, RecordProcessor};
use crate::checkpoint::{EventsPosition, FilesPosition, StreamPosition};
use crate::decode::json::repair_response;
use crate::identity::RecordId;
use crate::request::{Call, percent_encode};
use crate::response::Head;
use crate::seen_ids::SeenIds;
use crate::stall::Stall;
use crate::stream::{FetchKind, Stream};
use crate::streams::batch_files::BatchFilesReader;
use crate::streams::paged::{
    Cursor, EmptyPagePolicy, FinishedPage, PageRecord, PagedReader, PagingStrategy, ProcessResult,
};
use crate::streams::pages::{Page, page_progress, ranges};
use crate::streams::quota::QuotaKind;
use crate::streams::retention::Retention;
use crate::streams::siem_pages::{self, PageStart, SiemPage};
use crate::streams::{
    CLOCK_TOLERANCE_MS, Context, InvalidResponse, ReaderAction, StreamReader, hours_ms,
};
use crate::time::Timestamp;

/// The greatest page the API gives.
const PAGE_RECORDS: u32 = 100;

/// The documented quota of the endpoint, per application.
pub const CALLS_PER_HOUR: u32 = 300;

/// How far back the endpoint is trusted: an hour less than the day that it serves.
const TRUSTED_HOURS: u32 = 23;

/// The time after which a batch file with a record has certainly appeared: eight times the usual
/// delay.
const FILE_DELAY_MS_MAX: i64 = 2 * 3_600_000;

/// How far the host's clock may be behind; beyond that only the upstream's counts, because the endpoint
/// serves a day.
const HOST_CLOCK_LAG_MS_MAX: i64 = 18 * 3_600_000;

/// The poll interval of a caught-up stream.
const POLL_INTERVAL_MS: i64 = 60_000;

/// The reader of one event type: batch files, then the endpoint.
pub struct SiemEvents {
    endpoint_reader: PagedReader<EventEndpoint>,
    /// The batch files that come before the endpoint; once it has taken over, only those that are set aside.
    files: Option<BatchFilesReader>,
}

/// The paging strategy of the event endpoint.
struct EventEndpoint {
    stream: Stream,
    position: EventsPosition,
    seen_ids: SeenIds,
}

impl SiemEvents {
    /// Creates the reader of a stream, from its position or from `start`.
    #[must_use]
    pub fn open(
        stream: Stream,
        (position, files): (Option<&EventsPosition>, Option<&FilesPosition>),
        (start, capacity): (Timestamp, usize),
    ) -> Self {
        // Batch files that were read before the setting changed are read up to the handover, which is
        // set when the clocks are known. None of their lines is left out as too old.
        let fresh = || EventsPosition {
            since: files.map_or(start, |_| Timestamp::default()),
            ..EventsPosition::default()
        };
        let position = position.cloned().unwrap_or_else(fresh);
        let seen_ids = SeenIds::from_text(&position.seen_ids, capacity);
        Self {
            files: files.map(|files| BatchFilesReader::open(stream, Some(files), position.since)),
            endpoint_reader: PagedReader::new(EventEndpoint {
                stream,
                position,
                seen_ids: seen_ids.unwrap_or_else(|| SeenIds::new(capacity)),
            }),
        }
    }

    /// Returns whether batch files are being read, and the endpoint not yet.
    const fn is_reading_files(&self) -> bool {
        self.files.is_some() && !self.endpoint_reader.strategy.position.handed_over
    }

    /// Returns the batch files where they are being read, and not the endpoint.
    fn current_files(&self) -> Option<&BatchFilesReader> {
        let files = self.files.as_ref();
        files.filter(|files| self.is_reading_files() || files.is_retrying())
    }

    /// Returns the same, mutably.
    fn current_files_mut(&mut self) -> Option<&mut BatchFilesReader> {
        let is_reading = self.is_reading_files();
        let files = self.files.as_mut();
        files.filter(|files| is_reading || files.is_retrying())
    }

    /// Returns whether the batch files have been read up to the handover.
    fn has_reached_handover(&self, context: Context<'_>) -> bool {
        let handover = self.endpoint_reader.strategy.position.handover;
        let files = self.files.as_ref();
        self.is_reading_files()
            && files.is_some_and(|files| files.page_due(context).1)
            && handover.is_some_and(|handover| handover <= handover_time(context))
    }

    /// Switches between the batch files and the endpoint where that is due. Returns whether it did.
    fn switch_endpoint(&mut self, context: Context<'_>, batch: &mut Builder) -> bool {
        let reached_handover = self.has_reached_handover(context);
        let position = &mut self.endpoint_reader.strategy.position;
        if reached_handover {
            position.since = position.handover.unwrap_or(position.since);
            position.handed_over = true;
        } else if let Some(files) = self.files.as_ref().filter(|_| !position.handed_over) {
            let listed_at = files.listed_at().map(|at| context.to_upstream(at));
            let latest = handover_time(context);
            let is_future = |at: &Timestamp| *at > context.upstream_now.max(context.now);
            // Files that were read before the setting changed gave events up to their listing.
            position.handover = position
                .handover
                .filter(|at| !is_future(at))
                .or_else(|| listed_at.filter(|at| !is_future(at)).max(Some(latest)));
            return false;
        }
        if self
            .files
            .as_ref()
            .is_some_and(|files| files.set_aside().is_empty())
        {
            self.files = None;
            (position.handover, position.handed_over) = (None, false);
        }
        let endpoint = &mut self.endpoint_reader.strategy;
        endpoint.reset_future_start(context, batch);
        let served = served_from(context);
        // The time up to which everything is read: that of the last reading, or the start.
        let collected_until = endpoint
            .position
            .collected_until
            .unwrap_or(endpoint.position.since);
        if collected_until >= served {
            return reached_handover;
        }
        let overlap_ms = endpoint
            .position
            .collected_until
            .map_or(0, |_| context.settings.overlap_ms);
        let since = collected_until.plus_ms(overlap_ms.saturating_neg());
        let since = endpoint.skip_expired(since, context, batch);
        let set_aside = self.files.take().map(|files| files.set_aside().to_vec());
        let files = FilesPosition {
            since,
            set_aside: set_aside.unwrap_or_default(),
            ..FilesPosition::default()
        };
        // No line of a file that is set aside is left out as too old.
        let has_set_aside = !files.set_aside.is_empty();
        let was_read = endpoint.position.collected_until.is_some();
        endpoint.position = EventsPosition {
            earlier_records_delivered: was_read || endpoint.position.earlier_records_delivered,
            since: if has_set_aside {
                Timestamp::default()
            } else {
                since
            },
            handover: Some(handover_time(context)),
            ..EventsPosition::default()
        };
        self.files = Some(BatchFilesReader::open(endpoint.stream, Some(&files), since));
        true
    }
}

impl StreamReader for SiemEvents {
    fn next(&mut self, context: Context<'_>, batch: &mut Builder) -> ReaderAction {
        let (due, caught_up) = self.due(context);
        if caught_up && due > context.now {
            return ReaderAction::Idle(due);
        }
        if self.has_records() {
            return ReaderAction::Records;
        }
        if self.switch_endpoint(context, batch) {
            // The other endpoint has another quota, and may be the first to need a token.
            return ReaderAction::Idle(context.now);
        }
        if self.is_reading_files()
            && let Some(files) = &mut self.files
        {
            return files.next(context, batch);
        }
        let retry = self
            .files
            .as_mut()
            .and_then(|files| files.next_retry(context, batch));
        retry.unwrap_or_else(|| self.endpoint_reader.next(context, batch))
    }

    fn due(&self, context: Context<'_>) -> (Timestamp, bool) {
        let Some(files) = &self.files else {
            return self.endpoint_reader.due(context);
        };
        // Where the endpoint takes over, there is more to read.
        if self.has_reached_handover(context) {
            return (context.now, false);
        }
        let (due, caught_up) = if self.is_reading_files() {
            files.due(context)
        } else {
            self.endpoint_reader.due(context)
        };
        let due = files.retry_due(context).map_or(due, |retry| retry.min(due));
        (due, caught_up && files.set_aside().is_empty())
    }

    fn collected_until(&self, context: Context<'_>) -> Option<Timestamp> {
        let Some(files) = &self.files else {
            return self.endpoint_reader.collected_until(context);
        };
        if self.is_reading_files() {
            return files.collected_until(context);
        }
        let until = self.endpoint_reader.collected_until(context)?;
        Some(files.bounded_by_set_aside(until, context))
    }

    fn wants_call(&self, context: Context<'_>) -> bool {
        match self.current_files() {
            Some(files) => files.wants_call(context) && !self.has_reached_handover(context),
            None => self.endpoint_reader.wants_call(context),
        }
    }

    fn has_records(&self) -> bool {
        self.endpoint_reader.has_records()
    }

    fn has_buffered_response(&self) -> bool {
        self.has_records()
            || self
                .files
                .as_ref()
                .is_some_and(StreamReader::has_buffered_response)
    }

    fn quota_kind(&self) -> Option<QuotaKind> {
        match self.current_files() {
            Some(files) => files.quota_kind(),
            None => Some(QuotaKind::EventEndpoint),
        }
    }

    fn handle_response(
        &mut self,
        response: (&Head, Vec<u8>),
        context: Context<'_>,
        batch: &mut Builder,
    ) -> Result<(), InvalidResponse> {
        match self.current_files_mut() {
            Some(files) => files.handle_response(response, context, batch),
            None => self
                .endpoint_reader
                .handle_response(response, context, batch),
        }
    }

    fn handle_refusal(&mut self, context: Context<'_>, batch: &mut Builder) -> bool {
        match self.current_files_mut() {
            Some(files) => files.handle_refusal(context, batch),
            None => self.endpoint_reader.handle_refusal(context, batch),
        }
    }

    fn offer_records(
        &mut self,
        processor: &mut RecordProcessor,
        context: Context<'_>,
        batch: &mut Builder,
    ) -> OfferResult {
        self.endpoint_reader
            .offer_records(processor, context, batch)
    }

    fn take_stall(&mut self) -> Option<(Stall, u32)> {
        self.endpoint_reader.take_stall()
    }

    fn set_aside_summary(&self) -> Option<(String, Timestamp)> {
        self.files.as_ref()?.set_aside_summary()
    }

    fn batch_files(&mut self) -> Option<(&mut BatchFilesReader, LineFilter<'_>)> {
        let endpoint = &self.endpoint_reader.strategy;
        let handover = endpoint.position.handover;
        // No line of a file that is set aside is left out as too old.
        let begin = if endpoint.position.handed_over {
            Timestamp::default()
        } else {
            endpoint.position.since
        };
        let filter = LineFilter {
            bounds: handover.map(|handover| (begin, handover)),
            earlier_records_delivered: endpoint.position.earlier_records_delivered,
            seen_ids: Some(&endpoint.seen_ids),
        };
        Some((self.files.as_mut()?, filter))
    }

    fn save(&self, position: &mut StreamPosition) {
        self.endpoint_reader.save(position);
        if let Some(files) = &self.files {
            files.save(position);
        }
    }
}

impl EventEndpoint {
    /// Resets a start that is in the future: a handover under a wrong clock set it. Older records were
    /// left out because they seemed to be in the batch files.
    fn reset_future_start(&mut self, context: Context<'_>, batch: &mut Builder) {
        let since = self.position.since;
        if since <= context.upstream_now.plus_ms(CLOCK_TOLERANCE_MS) || since <= context.now {
            return;
        }
        self.position.since = handover_time(context);
        self.position.accept_from = None;
        let detail = format!(
            "the clock of Mimecast was ahead; reading begins again at {}, and records before {since} \
             may be missing",
            self.position.since
        );
        batch.notice(self.stream, NoticeKind::Gap, detail);
    }

    /// Returns the later of `since` and the beginning of the batch files, where something was collected
    /// before, with a notice about the records in between, which are lost. Otherwise returns `since`: the
    /// reader of the batch files skips what has expired.
    fn skip_expired(
        &self,
        since: Timestamp,
        context: Context<'_>,
        batch: &mut Builder,
    ) -> Timestamp {
        let retention = Retention::of(self.stream, context);
        let retention = retention.filter(|_| self.position.collected_until.is_some());
        match retention.filter(|retention| since < retention.oldest) {
            Some(retention) => {
                retention.add_gap_notice("records", since, batch);
                retention.oldest
            }
            None => since,
        }
    }
}

impl PagingStrategy for EventEndpoint {
    /// Empty pages need no bound of their own: the quota bounds them.
    const EMPTY_PAGES: EmptyPagePolicy = EmptyPagePolicy::Ignore;

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
        let read_at = self.position.read_at.filter(|_| !has_page);
        let Some(read_at) = read_at.filter(|_| !self.position.has_more) else {
            return (context.now, false);
        };
        (context.due_again(read_at, interval_ms(context)), true)
    }

    fn collected_until(&self, _context: Context<'_>) -> Option<Timestamp> {
        Some(self.position.collected_until.unwrap_or(self.position.since))
    }

    fn call(&mut self, context: Context<'_>, _batch: &mut Builder) -> Call {
        let start = match &self.position.page_token {
            Some(token) => PageStart::Token(token),
            // Where no response had a token, the date may be too old by now, and would be refused.
            None => PageStart::Date(self.position.since.max(served_from(context)).to_rfc3339()),
        };
        siem_pages::call(endpoint(self.stream, PAGE_RECORDS), start)
    }

    fn read(
        &mut self,
        (_, body): (&Head, Vec<u8>),
        context: Context<'_>,
    ) -> Result<Page, InvalidResponse> {
        let body = repair_response(body);
        let SiemPage {
            items,
            next_token,
            is_caught_up,
            unreadable_members,
        } = SiemPage::parse(&body)?;
        let records = ranges(&body, &items);
        // An empty response whose token does not move is the end, whatever its members are.
        let is_stuck = records.is_empty() && next_token == self.position.page_token;
        let page = Page::of(body, records, next_token)?.with_unreadable_members(unreadable_members);
        let is_end = is_caught_up || is_stuck;
        self.position.has_more = !is_end;
        self.position.read_at = Some(context.now);
        if is_end {
            self.position.next_collected_until = Some(context.upstream_now);
        }
        Ok(page)
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
        let at = processor.time(record);
        let id = record_id_with_batch_names(record, processor);
        let record = RawRecord {
            id_override: id,
            ..record
        };
        let known = id.is_some_and(|id| self.seen_ids.contains(&id));
        // Older records came from the batch files.
        let accept_from = self.position.accept_from.unwrap_or(self.position.since);
        if known || at.is_some_and(|at| at < accept_from) {
            batch.count_duplicate(stream);
            return ProcessResult::Consumed;
        }
        let locator = || format!("{stream} page record {}", found.number);
        let now = context.upstream_now;
        if batch.offer(processor, record, None, now, &locator) == OfferResult::BatchFull {
            return ProcessResult::BatchFull;
        }
        if let Some(id) = id {
            self.seen_ids.insert(&id, at.unwrap_or(now));
        }
        ProcessResult::Consumed
    }

    fn advance(&mut self, page: FinishedPage, _context: Context<'_>) -> bool {
        // Without a new token the old one stays valid.
        if let Some(token) = page.next_token {
            self.position.page_token = Some(token);
        }
        self.position.collected_until = self
            .position
            .next_collected_until
            .or(self.position.collected_until);
        self.position.has_more
    }

    /// Handles a refused page token: continues by date, from where everything is known to be read.
    fn handle_refusal(&mut self, context: Context<'_>, batch: &mut Builder) -> bool {
        if self.position.page_token.take().is_none() {
            return false;
        }
        if let Some(collected_until) = self.position.collected_until {
            let from = collected_until.plus_ms(context.settings.overlap_ms.saturating_neg());
            let since = self.position.since;
            // A late record may be older than the records that are listed from now on, and still be new.
            self.position.accept_from = self.position.accept_from.or(Some(since));
            self.position.since = since.max(from);
        }
        self.position.page_progress = None;
        let detail = format!(
            "Mimecast refused the page token; reading begins again at {} and may repeat events with the same ids",
            self.position.since
        );
        batch.notice(self.stream, NoticeKind::Adjusted, detail);
        true
    }

    fn save(&self, page: Option<&Page>, position: &mut StreamPosition) {
        position.events = Some(EventsPosition {
            seen_ids: self.seen_ids.to_text(),
            page_progress: page_progress(page, self.position.page_progress.as_ref()),
            ..self.position.clone()
        });
    }
}

/// Returns the position in the batch files after the setting has changed back: where the endpoint
/// ended. Lines after the handover were left to the endpoint, so files that were being read or are set
/// aside are read again.
#[must_use]
pub fn files_position_after(
    events: &EventsPosition,
    files: Option<&FilesPosition>,
) -> FilesPosition {
    let mut after = FilesPosition {
        since: events.collected_until.unwrap_or(events.since),
        ..FilesPosition::default()
    };
    let Some(files) = files else {
        return after;
    };
    let handover = events.handover.filter(|_| !events.handed_over);
    match (handover, events.handed_over) {
        // No line was left to the endpoint yet.
        (None, false) => return files.clone(),
        (None, true) => {}
        (Some(handover), _) => {
            let relist_from = files.relist_from.unwrap_or(files.since);
            after.since = handover.min(relist_from.plus_ms(hours_ms(1).saturating_neg()));
        }
    }
    after.set_aside.clone_from(&files.set_aside);
    for file in after.set_aside.iter_mut().flat_map(|page| &mut page.files) {
        file.position.line = 0;
    }
    after
}

/// Returns the time from which the endpoint serves records.
fn served_from(context: Context<'_>) -> Timestamp {
    let back_ms = hours_ms(TRUSTED_HOURS).saturating_neg();
    context.upstream_now.plus_ms(back_ms)
}

/// Returns the time up to which batch files are read first: by the clock that is behind, as far as the
/// endpoint serves that time.
fn handover_time(context: Context<'_>) -> Timestamp {
    let earliest_host_now = context
        .upstream_now
        .plus_ms(HOST_CLOCK_LAG_MS_MAX.saturating_neg());
    let now = context.earliest_now().max(earliest_host_now);
    now.plus_ms(FILE_DELAY_MS_MAX.saturating_neg())
        .floor_second()
}

/// Selects the lines of batch files that become events: those between the start and the handover that
/// were not read from the endpoint. Without bounds every line does.
#[derive(Default)]
pub struct LineFilter<'a> {
    bounds: Option<(Timestamp, Timestamp)>,
    /// Whether records from before the first bound were delivered.
    earlier_records_delivered: bool,
    seen_ids: Option<&'a SeenIds>,
}

/// What becomes of a line of a batch file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineSelection {
    /// It is left out, because it is older than the start of the stream.
    BeforeStart,
    /// It is left out: it was delivered before, or is left to the event endpoint.
    Duplicate,
    /// It becomes an event.
    Selected,
}

impl LineFilter<'_> {
    /// Returns what becomes of a line.
    pub fn select(&self, record: RawRecord<'_>, processor: &mut RecordProcessor) -> LineSelection {
        let Some((since, handover)) = self.bounds else {
            return LineSelection::Selected;
        };
        let is_known = |id: RecordId| self.seen_ids.is_some_and(|known| known.contains(&id));
        match processor.time(record) {
            Some(at) if at < since && !self.earlier_records_delivered => LineSelection::BeforeStart,
            Some(at) if at < since || at >= handover => LineSelection::Duplicate,
            _ if record_id_with_batch_names(record, processor).is_some_and(is_known) => {
                LineSelection::Duplicate
            }
            _ => LineSelection::Selected,
        }
    }
}

/// Returns the identity that the record has with the member names of batch files.
fn record_id_with_batch_names(
    record: RawRecord<'_>,
    processor: &mut RecordProcessor,
) -> Option<RecordId> {
    let text = core::str::from_utf8(record.bytes).ok()?;
    let text = with_member_renamed(text, "\"eventType\"", "\"type\"");
    let text = with_member_renamed(&text, "\"subType\"", "\"subtype\"");
    processor.id(RawRecord::new(record.stream, text.as_bytes()))
}

/// Returns the JSON with another key, which is in quotes, in place of `from`.
fn with_member_renamed(json: &str, from: &str, to: &str) -> String {
    let mut renamed = String::with_capacity(json.len());
    let mut rest = json;
    while let Some((before, after)) = rest.split_once(from) {
        renamed.push_str(before);
        let is_key = after.trim_start().starts_with(':');
        renamed.push_str(if is_key { to } else { from });
        rest = after;
    }
    renamed.push_str(rest);
    renamed
}

fn endpoint(stream: Stream, page_records: u32) -> String {
    let FetchKind::Files {
        event_type,
        events_endpoint,
    } = stream.info().fetch
    else {
        return String::new();
    };
    let mut path = format!("{events_endpoint}?types=");
    percent_encode(event_type, &mut path);
    path.push_str(&format!("&pageSize={page_records}"));
    path
}

/// Returns the smallest call for a stream.
#[must_use]
pub fn probe(stream: Stream, context: Context<'_>) -> Call {
    let a_minute_ago = context.upstream_now.plus_ms(-60_000);
    let start = PageStart::Date(a_minute_ago.to_rfc3339());
    siem_pages::call(endpoint(stream, 1), start)
}

/// Returns how long a caught-up stream waits before its next poll: long enough that all streams
/// together use at most three fifths of the quota.
fn interval_ms(context: Context<'_>) -> i64 {
    let streams = context.settings.streams.iter();
    let streams = streams.filter(|stream| stream.has_batch_files()).count();
    let streams = i64::try_from(streams).unwrap_or(i64::MAX);
    let by_quota = streams.saturating_mul(3_600_000 * 5) / (i64::from(CALLS_PER_HOUR) * 3);
    by_quota.max(POLL_INTERVAL_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_renamed_whatever_the_spaces_and_a_value_is_not() {
        let rename = |json| with_member_renamed(json, "\"eventType\"", "\"type\"");
        assert_eq!(rename(r#"{"eventType":"a"}"#), r#"{"type":"a"}"#);
        assert_eq!(
            rename("{\"a\":\"eventType\", \"eventType\" \n: \"eventType\"}"),
            "{\"a\":\"eventType\", \"type\" \n: \"eventType\"}"
        );
        assert_eq!(
            rename(r#"{"a":"\"eventType\": b"}"#),
            r#"{"a":"\"eventType\": b"}"#
        );
    }
}
