//! Lists of current items: held messages, people in the awareness training, and remediation incidents
//! (`mimecast-api.md` §5.7, §5.12, §15.1).
//!
//! A list has no cursor, so its position is the items that were on it. A reading covers all pages;
//! an item that was not on the list before becomes an event. An item that two readings in a row
//! do not find has left the list: a single reading may miss it, because items move between pages
//! while they are read.

use crate::batch::{Builder, NoticeKind, OfferResult, RawRecord, RecordProcessor};
use crate::checkpoint::{ListPosition, StreamPosition};
use crate::encode::push_quoted;
use crate::identity::{EventId, RecordId};
use crate::request::Call;
use crate::response::Head;
use crate::settings::SnapshotMode;
use crate::stream::{PostEndpoint, Stream};
use crate::streams::list_items::{Item, ListItems};
use crate::streams::paged::{
    Cursor, EmptyPagePolicy, FinishedPage, PageRecord, PagingStrategy, ProcessResult,
};
use crate::streams::pages::{self, Page, PageRequest, page_progress};
use crate::streams::{CLOCK_TOLERANCE_MS, Context, InvalidResponse, hours_ms};
use crate::time::Timestamp;

/// A list that does not fit into the checkpoint is read less often by this factor, because each
/// reading repeats what is not remembered.
const OVERFLOW_FACTOR: i64 = 12;

/// The time after which a reading is repeated whose window came from a wrong clock.
const WRONG_CLOCK_RETRY_MS: i64 = 60_000;

/// How far a window reaches back before the last reading, because an item may not have been listed
/// yet at that time.
const OVERLAP_MS: i64 = 24 * 3_600_000;

/// How far ahead of the upstream's clock a window may end.
const AHEAD_MS_MAX: i64 = 24 * 3_600_000;

/// The bytes of an identity in a list whose removals are reported: with the id of the first event,
/// which needs the whole identity.
const KEY_BYTES: usize = 16;

/// The bytes of an identity in other lists: 64 of 128 bits distinguish their items. Among 100,000
/// items, two collide about once in 4 billion readings.
pub(super) const SHORT_KEY_BYTES: usize = 8;

/// How a list is read, from its row in the table of streams.
#[derive(Clone, Copy)]
pub struct ListConfig {
    /// The request and the response.
    pub post: &'static PostEndpoint,
    /// Whether an event is emitted when an item is no longer there.
    pub reports_removals: bool,
    /// The interval between two readings, in minutes.
    pub interval_minutes: u32,
    /// How far back the window reaches, in hours.
    pub lookback_hours: u32,
}

/// The paging strategy of one list.
pub struct List {
    stream: Stream,
    config: ListConfig,
    position: ListPosition,
    /// The items while the list is being read; otherwise they are a text in the position.
    items: Option<ListItems>,
    /// How many characters the items may have in the checkpoint.
    chars_max: usize,
}

impl List {
    /// Creates the reading of a list, from its position.
    #[must_use]
    pub fn open(
        stream: Stream,
        config: ListConfig,
        position: Option<&ListPosition>,
        chars_max: usize,
    ) -> Self {
        Self {
            stream,
            config,
            position: position.cloned().unwrap_or_default(),
            items: None,
            chars_max,
        }
    }

    /// Returns the items, parsed from the text of the position when they are first needed.
    fn items(&mut self) -> &mut ListItems {
        let text = &mut self.position.items;
        let (reports_removals, chars_max) = (self.config.reports_removals, self.chars_max);
        self.items.get_or_insert_with(|| {
            let key_bytes = if reports_removals {
                KEY_BYTES
            } else {
                SHORT_KEY_BYTES
            };
            ListItems::parse(&core::mem::take(text), key_bytes, chars_max)
        })
    }

    /// Marks an item as found by the current reading.
    fn mark_seen(&mut self, id: &RecordId, upstream_id: Option<String>, batch: &mut Builder) {
        if let Some(item) = self.items().get_mut(id) {
            item.seen = true;
            item.missed = false;
            return;
        }
        let item = Item {
            seen: true,
            missed: false,
            upstream_id,
        };
        if !self.items().add(id, item) {
            self.position.current_reading_overflows = true;
            let stream = self.stream;
            let capacity = self.items().len();
            add_overflow_notice(stream, capacity, self.config.reports_removals, batch);
        }
    }

    /// Returns whether the window of the reading ended at the upstream's time when the reading began,
    /// as far as that clock is known now.
    fn window_was_accurate(&self, context: Context<'_>) -> bool {
        let (Some(to), Some(begun_at)) = (self.position.to, self.position.begun_at) else {
            return true;
        };
        let begun_at = context.to_upstream(begun_at);
        // A window that ends too late only leaves out items at its beginning, which expired long ago.
        let accurate = begun_at.plus_ms(-CLOCK_TOLERANCE_MS)..=begun_at.plus_ms(AHEAD_MS_MAX);
        self.config.post.window_members.is_none() || accurate.contains(&to)
    }

    /// Emits events for items that have left, and ends the reading.
    fn finish_reading(
        &mut self,
        processor: &mut RecordProcessor,
        context: Context<'_>,
        batch: &mut Builder,
    ) -> OfferResult {
        let is_accurate = self.window_was_accurate(context);
        let gone = self
            .items()
            .ids(|item| is_accurate && !item.seen && item.missed);
        let reports_removals =
            self.config.reports_removals && context.settings.snapshot == SnapshotMode::Changes;
        for id in gone {
            if reports_removals {
                if !batch.has_room() {
                    return OfferResult::BatchFull;
                }
                let item = self.items().get_mut(&id);
                let upstream_id = item.and_then(|item| item.upstream_id.clone());
                let first = id.to_event_id(1, context.settings.tenant.as_deref());
                let record = removal_record(&first, upstream_id.as_deref());
                let record = RawRecord::new(self.stream, record.as_bytes());
                let locator = || format!("{} released-or-expired", self.stream);
                let now = context.upstream_now;
                if batch.offer(processor, record, None, now, &locator) == OfferResult::BatchFull {
                    return OfferResult::BatchFull;
                }
            }
            self.items().remove(&id);
        }
        for item in self.items().iter_mut() {
            item.missed = !item.seen && (is_accurate || item.missed);
            item.seen = false;
        }
        let items = self.items.take().map(|items| items.to_text());
        self.position = ListPosition {
            read_at: Some(context.now),
            began_by_wrong_clock: !is_accurate,
            last_reading_overflowed: self.position.current_reading_overflows,
            items: items.unwrap_or_default(),
            ..ListPosition::default()
        };
        OfferResult::Consumed
    }
}

impl PagingStrategy for List {
    const EMPTY_PAGES: EmptyPagePolicy = EmptyPagePolicy::Follow("list");

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

    fn due(&self, _has_page: bool, context: Context<'_>) -> (Timestamp, bool) {
        due(&self.position, self.config.interval_minutes, context)
    }

    /// Returns when the last complete reading was.
    fn collected_until(&self, context: Context<'_>) -> Option<Timestamp> {
        self.position.read_at.map(|at| context.to_upstream(at))
    }

    fn call(&mut self, context: Context<'_>, _batch: &mut Builder) -> Call {
        let to = match self.position.to {
            Some(to) => to,
            None => {
                self.position.begun_at = Some(context.now);
                context.upstream_now.floor_second()
            }
        };
        self.position.to = Some(to);
        let back_ms = hours_ms(self.config.lookback_hours);
        let from = to.plus_ms(back_ms.saturating_neg());
        // After a long pause, up to the last reading, so that it leaves no gap.
        let read_at = self.position.read_at.map(|at| context.to_upstream(at));
        let from = read_at.map_or(from, |at| from.min(at.floor_second().plus_ms(-OVERLAP_MS)));
        let request = PageRequest {
            window: (from, to),
            page_records: self.config.post.page_records,
            token: self.position.page_token.as_deref(),
        };
        pages::call(self.stream, self.config.post, &request)
    }

    fn read(
        &mut self,
        (_, body): (&Head, Vec<u8>),
        _: Context<'_>,
    ) -> Result<Page, InvalidResponse> {
        let token = self.position.page_token.as_deref();
        Page::read(body, self.config.post.records_member, token)
    }

    /// Offers an item, which is new if this reading had not found it before.
    fn process(
        &mut self,
        found: PageRecord<'_>,
        processor: &mut RecordProcessor,
        context: Context<'_>,
        batch: &mut Builder,
    ) -> ProcessResult {
        let stream = self.stream;
        let locator = || format!("{stream} list record {}", found.number);
        let record = RawRecord::new(stream, found.bytes);
        let (id, offered) = offer_item(self.items(), record, &locator, processor, context, batch);
        if let Some(id) = id
            && offered != ProcessResult::BatchFull
        {
            let upstream_id = upstream_id(found.bytes).filter(|_| self.config.reports_removals);
            self.mark_seen(&id, upstream_id, batch);
        }
        offered
    }

    fn advance(&mut self, page: FinishedPage, _context: Context<'_>) -> bool {
        self.position.page_token = page.next_token;
        self.position.page_token.is_some()
    }

    fn handle_last_page(&mut self, _context: Context<'_>, _batch: &mut Builder) {
        self.position.pages_done = true;
    }

    fn restart_reading(&mut self) {
        self.position.page_token = None;
    }

    /// Reads the list again from its beginning, if the call had a page token. A token that an empty page gave
    /// leads nowhere, and the reading ends there.
    fn handle_refusal(&mut self, _context: Context<'_>, batch: &mut Builder) -> bool {
        if self.position.page_token.take().is_none() {
            return false;
        }
        if self.position.stall_detector.empty_pages > 0 {
            // A token that an empty page gave leads nowhere.
            self.position.pages_done = true;
            return true;
        }
        self.position.page_progress = None;
        let detail = "Mimecast refused the page token; the list is read again from its beginning";
        batch.notice(self.stream, NoticeKind::Adjusted, detail.to_owned());
        true
    }

    fn is_awaiting_completion(&self) -> bool {
        self.position.pages_done
    }

    fn complete_reading(
        &mut self,
        processor: &mut RecordProcessor,
        context: Context<'_>,
        batch: &mut Builder,
    ) -> OfferResult {
        self.finish_reading(processor, context, batch)
    }

    fn save(&self, page: Option<&Page>, position: &mut StreamPosition) {
        position.list = Some(position_to_save(&self.position, self.items.as_ref(), page));
    }
}

/// Returns the position with the progress in its page and the current items, and without campaigns.
/// Items that were not needed yet are still in the text of the position.
pub(super) fn position_to_save(
    position: &ListPosition,
    items: Option<&ListItems>,
    page: Option<&Page>,
) -> ListPosition {
    ListPosition {
        items: items.map_or_else(|| position.items.clone(), ListItems::to_text),
        page_progress: page_progress(page, position.page_progress.as_ref()),
        // Each field by its name, so that the text of the items is not copied twice.
        read_at: position.read_at,
        began_by_wrong_clock: position.began_by_wrong_clock,
        to: position.to,
        begun_at: position.begun_at,
        page_token: position.page_token.clone(),
        pages_done: position.pages_done,
        last_reading_overflowed: position.last_reading_overflowed,
        current_reading_overflows: position.current_reading_overflows,
        stall_detector: position.stall_detector.clone(),
        campaigns: None,
    }
}

/// Returns when a list is read again, and whether everything is collected until then.
pub(super) fn due(
    position: &ListPosition,
    interval_minutes: u32,
    context: Context<'_>,
) -> (Timestamp, bool) {
    let Some(read_at) = position.read_at.filter(|_| position.to.is_none()) else {
        return (context.now, false);
    };
    if position.began_by_wrong_clock {
        return (context.due_again(read_at, WRONG_CLOCK_RETRY_MS), false);
    }
    let factor = if position.last_reading_overflowed {
        OVERFLOW_FACTOR
    } else {
        1
    };
    let interval_ms = i64::from(interval_minutes).saturating_mul(60_000 * factor);
    (context.due_again(read_at, interval_ms), true)
}

/// Adds a notice that a list has more items than can be remembered.
pub(super) fn add_overflow_notice(
    stream: Stream,
    capacity: usize,
    reports_removals: bool,
    batch: &mut Builder,
) {
    let release = if reports_removals {
        ", and their release is not reported"
    } else {
        ""
    };
    let detail = format!(
        "{stream} has more than {capacity} items: the rest are sent again at every reading with the same \
         event id{release}"
    );
    batch.notice(stream, NoticeKind::Adjusted, detail);
}

/// Makes an event of an item: with `snapshot` `changes` where it is not known, with `full` where this
/// reading had not found it before. Otherwise counts it as a duplicate. Returns its identity, which the
/// caller marks as found, and whether this reading found it for the first time.
pub(super) fn offer_item(
    items: &mut ListItems,
    record: RawRecord<'_>,
    locator: &dyn Fn() -> String,
    processor: &mut RecordProcessor,
    context: Context<'_>,
    batch: &mut Builder,
) -> (Option<RecordId>, ProcessResult) {
    let full = context.settings.snapshot == SnapshotMode::Full;
    let id = processor.id(record);
    let known = id.and_then(|id| items.get_mut(&id));
    let is_new = known.as_ref().is_none_or(|item| !item.seen);
    if known.is_some_and(|item| item.seen || !full) {
        batch.count_duplicate(record.stream);
    } else {
        let now = context.upstream_now;
        if batch.offer(processor, record, None, now, locator) == OfferResult::BatchFull {
            return (id, ProcessResult::BatchFull);
        }
    }
    let processed = if is_new {
        ProcessResult::FirstInReading
    } else {
        ProcessResult::Consumed
    };
    (id, processed)
}

/// Returns the record of the removal of an item. It names the item by the id of its first event, and
/// by its own id where that is remembered. It has no time, so that it is the same whenever the removal
/// is noticed.
fn removal_record(id: &EventId, upstream_id: Option<&str>) -> String {
    let mut record = "{\"event\":\"released-or-expired\",\"firstEventId\":\"".to_owned();
    id.write(&mut record);
    record.push('"');
    if let Some(upstream_id) = upstream_id {
        record.push_str(",\"id\":");
        push_quoted(&mut record, upstream_id);
    }
    record.push('}');
    record
}

/// Returns the item's own id, if it fits into the text of a position.
fn upstream_id(record: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Identified {
        id: Option<String>,
    }
    let id = serde_json::from_slice::<Identified>(record).ok()?.id?;
    let fits = !id.is_empty() && id.len() <= 200 && id.bytes().all(|b| b.is_ascii_graphic());
    fits.then_some(id)
}
