//! The feeds: one small state machine per way in which the API hands out records.
//!
//! A feed knows its position and what it wants next. It makes no request, keeps no time and
//! decides nothing about retries of a request: that is the session's part.

pub mod batch_files;
pub mod done_files;
pub mod list_items;
pub mod lists;
pub mod log_files;
pub mod pages;
pub mod quota;
pub mod room;
pub mod siem_events;
pub mod threat_feed;
pub mod windows;

use crate::api::ApiClient;
use crate::batch::{Builder, Intake, Offer};
use crate::checkpoint::StreamPosition;
use crate::decode::log_files::LogFileReader;
use crate::paging::Stall;
use crate::request::{Call, Request};
use crate::response::Head;
use crate::settings::{Settings, SiemEndpoint};
use crate::stream::{Stream, Way};
use crate::time::Timestamp;
use batch_files::BatchFiles;
use quota::Meter;

/// What a feed needs to know of its surroundings.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The settings of the source.
    pub settings: &'a Settings,
    /// The host's clock.
    pub now: Timestamp,
    /// The upstream's clock, by several answers.
    pub upstream_now: Timestamp,
    /// The upstream's clock, by its last answer alone.
    pub last_upstream_now: Timestamp,
}

/// How far two clocks may be apart and still be taken to agree.
const CLOCKS_AGREE_MS: i64 = 2 * 60_000;

impl<'a> Context<'a> {
    /// What is known at the time that the client was told last.
    #[must_use]
    pub fn new(settings: &'a Settings, client: &ApiClient) -> Self {
        Self {
            settings,
            now: client.now(),
            upstream_now: client.upstream_now(),
            last_upstream_now: client.last_upstream_now(),
        }
    }

    /// A time by the host's clock as the upstream's clock has it.
    pub(crate) const fn to_upstream(self, at: Timestamp) -> Timestamp {
        let ahead_ms = self.now.millis().saturating_sub(self.upstream_now.millis());
        at.plus_ms(ahead_ms.saturating_neg())
    }

    /// The earlier of the two clocks: a time that has surely come. After a jump of the host's clock
    /// only the last answer shows it.
    pub(crate) fn earlier(self) -> Timestamp {
        self.now.min(self.upstream_now).min(self.last_upstream_now)
    }

    /// When something that was done at `done_at` is due again.
    ///
    /// What was done ahead of now was done by a clock that has since been set back: it is due.
    pub(crate) const fn due_again(self, done_at: Timestamp, interval_ms: i64) -> Timestamp {
        if done_at.millis() > self.now.millis() {
            self.now
        } else {
            done_at.plus_ms(interval_ms)
        }
    }
}

/// What a feed wants next.
#[derive(Debug, PartialEq, Eq)]
pub enum Want {
    /// An API call; its answer goes to `handle_answer`.
    Call(Call),
    /// A batch file; its lines go to `take_line`.
    Download(Request),
    /// Records are in memory: call `take_records`.
    Records,
    /// Nothing before this time. The feed is caught up.
    Nothing(Timestamp),
}

/// Why an answer could not be used. The text is a clause for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unusable(pub String);

/// Hours in milliseconds.
#[must_use]
pub fn hours_ms(hours: u32) -> i64 {
    i64::from(hours).saturating_mul(3_600_000)
}

/// One of the feeds.
pub enum Feed {
    /// Pages of batch files.
    BatchFiles(BatchFiles),
    /// A list of what is there now.
    Lists(lists::Lists),
    /// Log files of API 1.0.
    LogFiles(Box<log_files::LogFiles>),
    /// Single SIEM events, after batch files where that is needed.
    SiemEvents(Box<siem_events::SiemEvents>),
    /// Files of threat indicators.
    ThreatFeeds(threat_feed::ThreatFeeds),
    /// Windows of time over a POST endpoint.
    Windows(windows::Windows),
}

impl Feed {
    /// The feed of a stream, from its position or from the start that the settings name.
    #[must_use]
    pub fn open(
        stream: Stream,
        position: Option<&StreamPosition>,
        (start, settings): (Timestamp, &Settings),
    ) -> Self {
        let begin = (start, room::identities(stream, settings));
        match &stream.row().way {
            Way::Feed { feed_type } => {
                let position = position.and_then(|position| position.feed.as_ref());
                let feed = threat_feed::ThreatFeeds::open(stream, feed_type, position, begin);
                Self::ThreatFeeds(feed)
            }
            Way::Files { .. } => {
                let files = position.and_then(|position| position.files.as_ref());
                let events = position.and_then(|position| position.events.as_ref());
                if settings.siem_endpoint == SiemEndpoint::Events {
                    let position = (events, files);
                    return Self::SiemEvents(Box::new(siem_events::SiemEvents::open(
                        stream, position, begin,
                    )));
                }
                // After the setting changed back, files are listed from where events ended.
                let covered = events.filter(|_| files.is_none());
                let covered = covered.map(|events| events.covered.unwrap_or(events.since));
                let start = covered.unwrap_or(start);
                Self::BatchFiles(BatchFiles::open(stream, files, start))
            }
            Way::List {
                post,
                departures,
                every_minutes,
                back_hours,
            } => {
                let reading = lists::Reading {
                    post,
                    departures: *departures,
                    every_minutes: *every_minutes,
                    back_hours: *back_hours,
                };
                let position = position.and_then(|position| position.list.as_ref());
                let room = room::bytes(stream, settings);
                Self::Lists(lists::Lists::open(stream, reading, position, room))
            }
            Way::LogFiles => {
                let position = position.and_then(|position| position.log_files.as_ref());
                let feed = log_files::LogFiles::open(stream, position, begin);
                Self::LogFiles(Box::new(feed))
            }
            Way::Windows(post) => {
                let position = position.and_then(|position| position.window.as_ref());
                Self::Windows(windows::Windows::open(stream, post, position, begin))
            }
        }
    }

    /// What to do next.
    pub fn next(&mut self, context: Context<'_>, batch: &mut Builder) -> Want {
        match self {
            Self::BatchFiles(feed) => feed.next(context, batch),
            Self::Lists(feed) => feed.next(context),
            Self::LogFiles(feed) => feed.next(context, batch),
            Self::SiemEvents(feed) => feed.next(context, batch),
            Self::ThreatFeeds(feed) => feed.next(context, batch),
            Self::Windows(feed) => feed.next(context, batch),
        }
    }

    /// When the feed next wants something, and whether it is caught up until then.
    #[must_use]
    pub fn due(&self, context: Context<'_>) -> (Timestamp, bool) {
        match self {
            Self::BatchFiles(feed) => feed.due(context),
            Self::Lists(feed) => feed.due(context),
            Self::LogFiles(feed) => feed.due(context),
            Self::SiemEvents(feed) => feed.due(context),
            Self::ThreatFeeds(feed) => feed.due(context),
            Self::Windows(feed) => feed.due(context),
        }
    }

    /// The time, by the upstream's clock, up to which its records are known to be collected;
    /// `start` where nothing was collected and the position does not say where it begins.
    #[must_use]
    pub fn collected_until(&self, context: Context<'_>, start: Timestamp) -> Timestamp {
        match self {
            Self::BatchFiles(feed) => feed.collected_until(context),
            Self::Lists(feed) => feed.collected_until(context).unwrap_or(start),
            Self::LogFiles(feed) => feed.collected_until(context),
            Self::SiemEvents(feed) => feed.collected_until(context),
            Self::ThreatFeeds(feed) => feed.collected_until(context),
            Self::Windows(feed) => feed.collected_until(),
        }
    }

    /// Whether the next want is an API call, which a quota may hold back.
    #[must_use]
    pub fn wants_call(&self, context: Context<'_>) -> bool {
        match self {
            Self::BatchFiles(feed) => feed.wants_call(context),
            Self::Lists(feed) => feed.wants_call(),
            Self::LogFiles(_) => true,
            Self::SiemEvents(feed) => feed.wants_call(context),
            Self::ThreatFeeds(feed) => feed.wants_call(),
            Self::Windows(feed) => feed.wants_call(),
        }
    }

    /// Whether records are in memory that would have to be asked for again.
    #[must_use]
    pub const fn has_records(&self) -> bool {
        match self {
            Self::BatchFiles(_) | Self::LogFiles(_) => false,
            Self::Lists(feed) => !feed.wants_call(),
            Self::SiemEvents(feed) => feed.has_records(),
            Self::ThreatFeeds(feed) => !feed.wants_call(),
            Self::Windows(feed) => !feed.wants_call(),
        }
    }

    /// The files that are set aside, as a clause for people, and when they are fetched again.
    #[must_use]
    pub fn set_aside(&self) -> Option<(String, Timestamp)> {
        match self {
            Self::BatchFiles(feed) => feed.set_aside(),
            Self::SiemEvents(feed) => feed.files.as_ref()?.set_aside(),
            Self::Lists(_) | Self::LogFiles(_) | Self::ThreatFeeds(_) | Self::Windows(_) => None,
        }
    }

    /// Whether an answer is in memory that would have to be asked for again.
    #[must_use]
    pub fn holds_answer(&self) -> bool {
        match self {
            Self::BatchFiles(feed) => feed.holds_page(),
            Self::SiemEvents(feed) => {
                feed.has_records() || feed.files.as_ref().is_some_and(BatchFiles::holds_page)
            }
            Self::Lists(_) | Self::LogFiles(_) | Self::ThreatFeeds(_) | Self::Windows(_) => {
                self.has_records()
            }
        }
    }

    /// The quota that the feed's calls count against, where one is documented.
    #[must_use]
    pub const fn meter(&self) -> Option<Meter> {
        match self {
            Self::BatchFiles(_) => Some(Meter::Batch),
            Self::SiemEvents(feed) if feed.files.is_some() => Some(Meter::Batch),
            Self::SiemEvents(_) => Some(Meter::Events),
            Self::Lists(_) | Self::LogFiles(_) | Self::ThreatFeeds(_) | Self::Windows(_) => None,
        }
    }

    /// The smallest call that shows whether the stream can be read.
    #[must_use]
    pub fn probe(stream: Stream, context: Context<'_>) -> Call {
        match &stream.row().way {
            Way::Feed { feed_type } => threat_feed::probe(stream, feed_type, context),
            Way::Files { .. } if context.settings.siem_endpoint == SiemEndpoint::Events => {
                siem_events::probe(stream, context)
            }
            Way::Files { .. } => batch_files::probe(stream, context),
            Way::LogFiles => log_files::probe(stream, context),
            Way::List { post, .. } | Way::Windows(post) => pages::probe(stream, post, context),
        }
    }

    /// Takes a successful answer to a [`Want::Call`].
    ///
    /// # Errors
    ///
    /// The body is not in its documented form.
    pub fn handle_answer(
        &mut self,
        (head, body): (&Head, Vec<u8>),
        context: Context<'_>,
        batch: &mut Builder,
    ) -> Result<(), Unusable> {
        match self {
            Self::BatchFiles(feed) => feed.handle_answer(&body, context, batch),
            Self::Lists(feed) => feed.handle_answer(body),
            Self::LogFiles(feed) => feed.handle_answer(&body, context),
            Self::SiemEvents(feed) => feed.handle_answer(body, context, batch),
            Self::ThreatFeeds(feed) => feed.handle_answer(body, head, context),
            Self::Windows(feed) => feed.handle_answer(body, head),
        }
    }

    /// The upstream refused the call as such. Returns whether the feed has another way to ask.
    pub fn handle_refusal(&mut self, context: Context<'_>, batch: &mut Builder) -> bool {
        match self {
            Self::BatchFiles(feed) => feed.handle_refusal(context, batch),
            Self::Lists(feed) => feed.handle_refusal(batch),
            Self::LogFiles(feed) => feed.handle_refusal(batch),
            Self::SiemEvents(feed) => feed.handle_refusal(context, batch),
            Self::ThreatFeeds(feed) => feed.handle_refusal(context, batch),
            Self::Windows(feed) => feed.handle_refusal(context, batch),
        }
    }

    /// Makes events of records in memory until there are no more or the batch is full.
    pub fn take_records(
        &mut self,
        intake: &mut Intake,
        context: Context<'_>,
        batch: &mut Builder,
    ) -> Offer {
        match self {
            Self::BatchFiles(_) | Self::LogFiles(_) => Offer::Taken,
            Self::Lists(feed) => feed.take_records(intake, context, batch),
            Self::SiemEvents(feed) => feed.take_records(intake, context, batch),
            Self::ThreatFeeds(feed) => feed.take_records(intake, context, batch),
            Self::Windows(feed) => feed.take_records(intake, context, batch),
        }
    }

    /// Why the reading rests after the page that was done last, and how often it has rested in a
    /// row before.
    pub fn take_stall(&mut self) -> Option<(Stall, u32)> {
        match self {
            Self::BatchFiles(_) => None,
            Self::Lists(feed) => feed.take_stall(),
            Self::LogFiles(feed) => feed.take_stall(),
            Self::SiemEvents(feed) => feed.take_stall(),
            Self::ThreatFeeds(feed) => feed.take_stall(),
            Self::Windows(feed) => feed.take_stall(),
        }
    }

    /// Which lines of a batch file become events.
    #[must_use]
    pub fn line_filter(&self) -> siem_events::LineFilter {
        match self {
            Self::SiemEvents(feed) => feed.line_filter(),
            Self::BatchFiles(_)
            | Self::Lists(_)
            | Self::LogFiles(_)
            | Self::ThreatFeeds(_)
            | Self::Windows(_) => siem_events::LineFilter::default(),
        }
    }

    /// The batch files, where the feed reads some.
    pub const fn batch_files(&mut self) -> Option<&mut BatchFiles> {
        match self {
            Self::BatchFiles(feed) => Some(feed),
            Self::SiemEvents(feed) => feed.files.as_mut(),
            Self::Lists(_) | Self::LogFiles(_) | Self::ThreatFeeds(_) | Self::Windows(_) => None,
        }
    }

    /// The log files, where the feed reads some.
    pub fn log_files(&mut self) -> Option<&mut log_files::LogFiles> {
        match self {
            Self::LogFiles(feed) => Some(feed),
            Self::BatchFiles(_)
            | Self::Lists(_)
            | Self::SiemEvents(_)
            | Self::ThreatFeeds(_)
            | Self::Windows(_) => None,
        }
    }

    /// A reader for the body of a successful answer that holds log files.
    pub fn begin_files(&mut self, head: &Head) -> Option<LogFileReader> {
        self.log_files()?.begin(head)
    }

    /// Writes the position.
    pub fn save(&self, position: &mut StreamPosition) {
        match self {
            Self::BatchFiles(feed) => position.files = Some(feed.position()),
            Self::Lists(feed) => position.list = Some(feed.position()),
            Self::LogFiles(feed) => position.log_files = Some(feed.position()),
            Self::SiemEvents(feed) => {
                let (events, files) = feed.position();
                position.events = Some(events);
                position.files = files;
            }
            Self::ThreatFeeds(feed) => position.feed = Some(feed.position()),
            Self::Windows(feed) => position.window = Some(feed.position()),
        }
    }
}
