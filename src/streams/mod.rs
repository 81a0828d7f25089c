//! The stream readers: one small state machine for each way in which the API returns records.
//!
//! A [`StreamReader`] has its position and returns the next action. It makes no request, reads no clock
//! and does not retry requests: the session does. Readers of pages of records share [`paged`]; to add
//! a way of paging, write a [`paged::PagingStrategy`] and name it in
//! [`open`] and [`probe`].

pub mod batch_files;
pub mod budget;
pub mod campaigns;
pub mod done_files;
pub mod list_items;
pub mod lists;
pub mod log_files;
pub mod paged;
pub mod pages;
pub mod quota;
pub mod retention;
pub mod siem_events;
mod siem_pages;
pub mod threat_feed;
pub mod windows;

use crate::api::ApiClient;
use crate::batch::{Builder, NoticeKind, OfferResult, RecordProcessor};
use crate::checkpoint::StreamPosition;
use crate::decode::lenient;
use crate::request::{Call, Request};
use crate::response::Head;
use crate::settings::{Settings, SiemEndpoint};
use crate::stall::Stall;
use crate::stream::{FetchKind, Stream};
use crate::time::Timestamp;
use batch_files::BatchFilesReader;
use log_files::LogFilesReader;
use paged::PagedReader;
use quota::QuotaKind;
use siem_events::LineFilter;

/// The settings and clocks that a reader works with.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The settings of the source.
    pub settings: &'a Settings,
    /// The host's clock.
    pub now: Timestamp,
    /// The upstream's clock, estimated from several responses.
    pub upstream_now: Timestamp,
    /// The upstream's clock, estimated from its last response alone.
    pub upstream_now_by_last_response: Timestamp,
}

/// How far apart two clocks may be and still count as agreeing.
const CLOCK_TOLERANCE_MS: i64 = 2 * 60_000;

impl<'a> Context<'a> {
    /// Creates the context from the settings, and from the clocks at the client's last call.
    #[must_use]
    pub fn new(settings: &'a Settings, client: &ApiClient) -> Self {
        Self {
            settings,
            now: client.now(),
            upstream_now: client.upstream_now(),
            upstream_now_by_last_response: client.upstream_now_by_last_response(),
        }
    }

    /// Converts a time by the host's clock to the upstream's clock.
    pub(crate) const fn to_upstream(self, at: Timestamp) -> Timestamp {
        let ahead_ms = self.now.millis().saturating_sub(self.upstream_now.millis());
        at.plus_ms(ahead_ms.saturating_neg())
    }

    /// Returns the time up to which a stream is collected, by the upstream's clock: the latest of
    /// `since`, the time of its last complete reading by the host's clock, and `collected_until`.
    pub(crate) fn collected_until(
        self,
        since: Timestamp,
        read_at: Option<Timestamp>,
        collected_until: Option<Timestamp>,
    ) -> Timestamp {
        let read_at = read_at.map(|at| self.to_upstream(at));
        since.max(read_at.max(collected_until).unwrap_or(since))
    }

    /// Returns the time by the clock that is behind: it has certainly come. After a jump of the host's
    /// clock only the last response shows it.
    pub(crate) fn earliest_now(self) -> Timestamp {
        self.now
            .min(self.upstream_now)
            .min(self.upstream_now_by_last_response)
    }

    /// Returns when something that was done at `done_at` is due again.
    ///
    /// A `done_at` in the future comes from a clock that has since been set back: it is due now.
    pub(crate) const fn due_again(self, done_at: Timestamp, interval_ms: i64) -> Timestamp {
        if done_at.millis() > self.now.millis() {
            self.now
        } else {
            done_at.plus_ms(interval_ms)
        }
    }
}

/// The next action of a reader.
#[derive(Debug, PartialEq, Eq)]
pub enum ReaderAction {
    /// Make an API call; its response goes to `handle_response`.
    Call(Call),
    /// Fetch a batch file; the session reads its lines.
    Download(Request),
    /// Records are in memory, or a reading is to be completed: call `offer_records`.
    Records,
    /// There is nothing to do before this time; if it has come, ask for the next action again.
    Idle(Timestamp),
}

/// Why a response could not be used. The text is a clause for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidResponse(pub String);

/// Adds notices about optional members of a response that cannot be read.
fn add_unreadable_notice(stream: Stream, members: &[Option<&'static str>], batch: &mut Builder) {
    for member in members.iter().flatten() {
        batch.notice(
            stream,
            NoticeKind::Adjusted,
            lenient::describe_unreadable(member),
        );
    }
}

/// Converts hours to milliseconds.
#[must_use]
pub fn hours_ms(hours: u32) -> i64 {
    i64::from(hours).saturating_mul(3_600_000)
}

/// The state machine that reads one stream.
pub trait StreamReader {
    /// Returns the next action.
    fn next(&mut self, context: Context<'_>, batch: &mut Builder) -> ReaderAction;

    /// Returns when the stream is due next, and whether it is caught up until that time.
    fn due(&self, context: Context<'_>) -> (Timestamp, bool);

    /// Returns the time, by the upstream's clock, up to which its records are known to be
    /// collected; nothing where nothing was collected and the position does not say where it
    /// begins.
    fn collected_until(&self, context: Context<'_>) -> Option<Timestamp>;

    /// Returns whether the next action, once the stream is due, is an API call, which a quota may hold back.
    fn wants_call(&self, context: Context<'_>) -> bool;

    /// Returns whether `offer_records` has work: records in memory, or a reading to complete.
    fn has_records(&self) -> bool {
        false
    }

    /// Returns whether a response is in memory that would have to be fetched again; by default also while a
    /// reading is to be completed.
    fn has_buffered_response(&self) -> bool {
        self.has_records()
    }

    /// Returns the quota that the reader's calls count against, where one is documented.
    fn quota_kind(&self) -> Option<QuotaKind> {
        None
    }

    /// Handles a successful response to a [`ReaderAction::Call`].
    ///
    /// # Errors
    ///
    /// The body is not in its documented form.
    fn handle_response(
        &mut self,
        response: (&Head, Vec<u8>),
        context: Context<'_>,
        batch: &mut Builder,
    ) -> Result<(), InvalidResponse>;

    /// Handles a call that the upstream refused as such. Returns whether the reader goes on at once;
    /// otherwise the stream backs off.
    fn handle_refusal(&mut self, context: Context<'_>, batch: &mut Builder) -> bool;

    /// Makes events of records in memory until there are no more or the batch is full.
    fn offer_records(
        &mut self,
        _processor: &mut RecordProcessor,
        _context: Context<'_>,
        _batch: &mut Builder,
    ) -> OfferResult {
        OfferResult::Consumed
    }

    /// Returns whether the current call is for one of several parts that the endpoint has listed: a
    /// refusal then concerns only that part.
    fn is_call_for_listed_item(&self) -> bool {
        false
    }

    /// Returns why the reading stalled after the last page, and how often it had stalled
    /// before; `None` where it did not stall.
    fn take_stall(&mut self) -> Option<(Stall, u32)> {
        None
    }

    /// Returns the files that are set aside, as a clause for people, and when they are fetched
    /// again.
    fn set_aside_summary(&self) -> Option<(String, Timestamp)> {
        None
    }

    /// Returns the batch files, where the reader reads some, and which of their lines become events.
    fn batch_files(&mut self) -> Option<(&mut BatchFilesReader, LineFilter<'_>)> {
        None
    }

    /// Returns the log files, where the reader reads some.
    fn log_files(&mut self) -> Option<&mut LogFilesReader> {
        None
    }

    /// Writes the reader's position into `position`.
    fn save(&self, position: &mut StreamPosition);
}

/// Creates the reader of a stream, at its position or at the start that the settings name.
#[must_use]
pub fn open(
    stream: Stream,
    position: Option<&StreamPosition>,
    (start, settings): (Timestamp, &Settings),
) -> Box<dyn StreamReader> {
    let start_and_capacity = (start, budget::identities_max(stream, settings));
    match &stream.info().fetch {
        FetchKind::Campaigns {
            people_post,
            people_endpoint,
            interval_minutes,
        } => {
            let position = position.and_then(|position| position.list.as_ref());
            let room = budget::stream_bytes_max(stream, settings);
            let config = (people_post, *people_endpoint, *interval_minutes);
            let campaigns = campaigns::Campaigns::open(stream, config, position, (start, room));
            Box::new(PagedReader::new(campaigns))
        }
        FetchKind::ThreatFeed { feed_type } => {
            let position = position.and_then(|position| position.feed.as_ref());
            let feed =
                threat_feed::ThreatFeed::open(stream, feed_type, position, start_and_capacity);
            Box::new(PagedReader::new(feed))
        }
        FetchKind::Files { .. } => {
            let files = position.and_then(|position| position.files.as_ref());
            let events = position.and_then(|position| position.events.as_ref());
            if settings.siem_endpoint == SiemEndpoint::Events {
                let position = (events, files);
                return Box::new(siem_events::SiemEvents::open(
                    stream,
                    position,
                    start_and_capacity,
                ));
            }
            let after_events =
                events.map(|events| siem_events::files_position_after(events, files));
            let files = after_events.as_ref().or(files);
            Box::new(BatchFilesReader::open(stream, files, start))
        }
        FetchKind::List {
            post,
            reports_removals,
            interval_minutes,
            lookback_hours,
        } => {
            let config = lists::ListConfig {
                post,
                reports_removals: *reports_removals,
                interval_minutes: *interval_minutes,
                lookback_hours: *lookback_hours,
            };
            let position = position.and_then(|position| position.list.as_ref());
            let room = budget::stream_bytes_max(stream, settings);
            let list = lists::List::open(stream, config, position, room);
            Box::new(PagedReader::new(list))
        }
        FetchKind::LogFiles => {
            let position = position.and_then(|position| position.log_files.as_ref());
            Box::new(LogFilesReader::open(stream, position, start_and_capacity))
        }
        FetchKind::Windows(post) => {
            let position = position.and_then(|position| position.window.as_ref());
            let windows = windows::Windows::open(stream, post, position, start_and_capacity);
            Box::new(PagedReader::new(windows))
        }
    }
}

/// Returns the smallest call that shows whether a stream can be read.
#[must_use]
pub fn probe(stream: Stream, context: Context<'_>) -> Call {
    match &stream.info().fetch {
        FetchKind::Campaigns { .. } => campaigns::probe(stream),
        FetchKind::ThreatFeed { feed_type } => threat_feed::probe(stream, feed_type, context),
        FetchKind::Files { .. } if context.settings.siem_endpoint == SiemEndpoint::Events => {
            siem_events::probe(stream, context)
        }
        FetchKind::Files { .. } => batch_files::probe(stream, context),
        FetchKind::LogFiles => log_files::probe(stream, context),
        FetchKind::List { post, .. } | FetchKind::Windows(post) => {
            pages::probe(stream, post, context)
        }
    }
}
