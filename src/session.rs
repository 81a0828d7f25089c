//! The scheduler of one source: chooses the next stream within token and quota.
//!
//! `next(now)` returns the next action; the driver carries it out and passes the outcome to one of the
//! `handle_*` functions. A failure is either that of one stream, which then backs off while the others
//! continue, or that of the poll.

mod file_failures;
mod lines;
mod log_files;
mod machine_impl;
mod responses;
mod schedule;
pub mod status;
#[cfg(test)]
mod tests;

use crate::api::ApiClient;
use crate::api::incoming::IncomingResponse;
use crate::batch::{Batch, Builder, Limits, NoticeKind, OfferResult, RecordProcessor};
use crate::checkpoint::{Backoff, BackoffCause, Checkpoint, StreamPosition};
use crate::decode::lines::LineReader;
use crate::decode::log_files::LogFileDecoder;
use crate::machine::Action;
use crate::normalize::Options;
pub use crate::poll_error::{Failure, PollError};
use crate::request::Request;
use crate::response::TransportError;
use crate::retry;
use crate::saved_session::SavedSession;
use crate::settings::Settings;
use crate::stall::Stall;
use crate::stream::Stream;
use crate::streams::quota::{
    BATCH_FILES_QUOTA_WINDOW_S, EVENT_ENDPOINT_QUOTA_WINDOW_S, Quota, QuotaKind,
};
use crate::streams::siem_events::CALLS_PER_HOUR;
use crate::streams::{self, Context, ReaderAction, StreamReader};
use crate::time::Timestamp;

/// The time after which a poll returns what it has, so that a slow upstream does not exceed the host's
/// limit before the position has moved. Hosts set limits of a few seconds and more.
const POLL_MS_MAX: i64 = 5_000;

/// After so many sessions in a row that ended in the middle of a response of one stream, a poll reads the
/// stream's responses to their end: a host that drops the instance after each poll loses the rest each
/// time.
const INTERRUPTED_RESPONSES_MAX: u32 = 3;

/// The next action of the driver of a poll.
pub type PollAction = Action<Result<Batch, PollError>>;

/// One stream with its reader.
struct StreamSlot {
    stream: Stream,
    reader: Box<dyn StreamReader>,
    backoff: Option<Backoff>,
    /// The message of the failure that it backs off from.
    detail: String,
    /// The turn in which the stream was last scheduled.
    turn: u64,
    /// How many sessions in a row, before this one, ended in the middle of a response of the stream.
    interrupted_responses: u32,
}

/// The purpose of a request in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// To get what the credentials need first: a token, or the region.
    Preflight,
    Call {
        slot_index: usize,
        is_retry: bool,
    },
    File {
        slot_index: usize,
    },
}

/// A request and the part of its response that has arrived.
struct InFlight {
    purpose: Purpose,
    incoming: IncomingResponse,
    body_reader: BodyReader,
}

/// How a body is read.
enum BodyReader {
    /// As a whole, when it is complete.
    Whole,
    /// A batch file, line by line.
    Lines(Lines),
    /// The log files of API 1.0, record by record.
    LogFiles(LogFileDecoder),
}

impl InFlight {
    /// Returns whether the body is read record by record, while it arrives.
    const fn is_streamed(&self) -> bool {
        !matches!(self.body_reader, BodyReader::Whole)
    }
}

/// The lines of a batch file.
struct Lines {
    reader: LineReader,
    /// How many lines were read before, and are skipped.
    skip: u64,
    name: String,
}

/// The state machine that collects one source, over any number of polls.
pub struct Session {
    settings: Settings,
    client: ApiClient,
    slots: Vec<StreamSlot>,
    /// Positions of streams that the settings do not select.
    unselected: Vec<(String, StreamPosition)>,
    batch_files_quota: Quota,
    event_endpoint_quota: Quota,
    processor: RecordProcessor,
    in_flight: Option<InFlight>,
    /// The slot whose call is retried, with a fresh token for example. Its quota permits the call.
    retry_slot: Option<usize>,
    poll: Option<Poll>,
    turns: u64,
}

/// The state of one poll.
struct Poll {
    batch: Builder,
    limits: Limits,
    requests: u32,
    began_at: Timestamp,
    /// The slot that the last request was made for.
    last_slot: Option<usize>,
    error: Option<PollError>,
}

impl Session {
    /// Creates a session that resumes from `resume`, or begins at the start of the settings.
    ///
    /// `random` seeds request ids and the spread of the waits after failures.
    ///
    /// # Errors
    ///
    /// There is no checkpoint and the start of the settings is in the future, or the checkpoint is not
    /// one of this component.
    pub fn open(
        settings: Settings,
        resume: Option<&str>,
        now: Timestamp,
        random: u64,
    ) -> Result<Self, PollError> {
        // With a checkpoint the start does not matter, and the clock may be wrong.
        if resume.is_none() {
            settings.check_start(now).map_err(PollError::Settings)?;
        }
        let checkpoint = resume.map(Checkpoint::parse).transpose();
        let mut checkpoint = checkpoint
            .map_err(PollError::UnusableCheckpoint)?
            .unwrap_or_default();
        let mut client = ApiClient::new(&settings.credentials, now, random);
        client.restore_region(checkpoint.region.as_deref());
        let start = settings.start.resolve(now);
        let slot = |stream: &Stream| {
            let position = checkpoint.streams.remove(stream.name());
            let reader = streams::open(*stream, position.as_ref(), (start, &settings));
            StreamSlot {
                stream: *stream,
                reader,
                interrupted_responses: position.as_ref().map_or(0, |p| p.interrupted_responses),
                backoff: position.and_then(|p| p.backoff),
                detail: String::new(),
                turn: 0,
            }
        };
        let mut slots: Vec<StreamSlot> = settings.streams.iter().map(slot).collect();
        let last = checkpoint.last_stream.as_deref();
        let last = slots
            .iter()
            .position(|slot| Some(slot.stream.name()) == last);
        let (done, waiting) = slots.split_at_mut(last.map_or(0, |last| last.saturating_add(1)));
        let mut turns: u64 = 0;
        for slot in waiting.iter_mut().chain(done) {
            slot.turn = turns;
            turns = turns.saturating_add(1);
        }
        let options = Options {
            include_original: settings.include_original,
            attack: settings.attack,
        };
        let mut processor =
            RecordProcessor::with_severities(settings.format, options, &settings.severities)
                .with_tenant(settings.tenant.as_deref());
        if settings.correlate {
            processor.enable_correlation();
        }
        Ok(Self {
            processor,
            batch_files_quota: Quota::new(
                settings.siem_calls_per_15_min,
                BATCH_FILES_QUOTA_WINDOW_S,
                &checkpoint.batch_file_call_times_s,
                checkpoint.batch_files_quota_wait,
            ),
            event_endpoint_quota: Quota::new(
                CALLS_PER_HOUR,
                EVENT_ENDPOINT_QUOTA_WINDOW_S,
                &checkpoint.event_endpoint_call_times_s,
                checkpoint.event_endpoint_quota_wait,
            ),
            unselected: checkpoint.streams.into_iter().collect(),
            client,
            settings,
            slots,
            in_flight: None,
            retry_slot: None,
            poll: None,
            turns,
        })
    }

    /// Takes over the state of the API client (token, region, clock skew, waits) of another session with
    /// the same settings.
    pub fn inherit(&mut self, other: Self) {
        self.client.inherit(other.client);
    }

    /// Returns the saved session for the next poll: see [`crate::saved_session`].
    #[must_use]
    pub fn save_session(&mut self, now: Timestamp) -> Option<String> {
        self.client.set_now(now);
        let mut saved = SavedSession::new(&self.settings.credentials);
        saved.token = self.client.export_token();
        saved.skew_ms = self.client.confirmed_skew_ms();
        saved.to_text()
    }

    /// Restores the saved session of an earlier poll with the same credentials. Any other text is
    /// ignored.
    pub fn restore_session(&mut self, text: &str, now: Timestamp) {
        self.client.set_now(now);
        let Some(saved) = SavedSession::parse(text, &self.settings.credentials) else {
            return;
        };
        if let Some(skew_ms) = saved.skew_ms {
            self.client.restore_skew(skew_ms);
        }
        if let Some(token) = saved.token {
            self.client.restore_token(token);
        }
    }

    /// Begins a poll.
    pub fn begin(&mut self, limits: Limits, now: Timestamp) {
        self.client.set_now(now);
        self.adjust_backoffs();
        let batch = Builder::new(limits);
        self.poll = Some(Poll {
            batch,
            limits,
            requests: 0,
            began_at: now,
            last_slot: None,
            error: None,
        });
    }

    /// Returns whether a poll may end here.
    ///
    /// Between two calls it may, unless a stream still has records in memory. Inside a response it may as
    /// well, since the next poll reads on. Two kinds of responses are read to their end: those to a preflight
    /// request, because all calls wait for them, and those of a stream in the middle of whose responses the
    /// last [`INTERRUPTED_RESPONSES_MAX`] sessions ended, because a host that drops the instance after each
    /// poll would never receive one whole.
    fn may_stop_here(&self) -> bool {
        let must_continue = |slot: &StreamSlot| {
            slot.reader.has_records()
                || (slot.interrupted_responses >= INTERRUPTED_RESPONSES_MAX
                    && slot.reader.has_buffered_response())
        };
        match self.in_flight.as_ref().map(|in_flight| in_flight.purpose) {
            None => !self.slots.iter().any(must_continue),
            Some(Purpose::Preflight) => false,
            Some(Purpose::Call { slot_index, .. } | Purpose::File { slot_index }) => self
                .slots
                .get(slot_index)
                .is_none_or(|slot| slot.interrupted_responses < INTERRUPTED_RESPONSES_MAX),
        }
    }

    /// Continues with the response in flight.
    fn continue_in_flight(&mut self) -> Step {
        let Some(in_flight) = &mut self.in_flight else {
            return Step::LoopAgain;
        };
        let is_streamed = in_flight.is_streamed();
        in_flight.incoming.end_wait(self.client.now(), 0);
        if let Some(why) = in_flight.incoming.timeout_reason(is_streamed) {
            self.handle_no_response(TransportError::Failed(why));
            return Step::LoopAgain;
        }
        match in_flight.body_reader {
            BodyReader::Lines(_) => self.offer_lines(),
            BodyReader::LogFiles(_) => self.offer_log_files(),
            BodyReader::Whole if !in_flight.incoming.has_ended() => Step::Read,
            BodyReader::Whole => {
                self.handle_whole_response();
                Step::LoopAgain
            }
        }
    }

    /// Starts the next step: a call to retry, then records in memory that would be requested again if the
    /// poll ended now, then the stream whose turn was longest ago.
    fn start_next(&mut self) -> Step {
        let ready = |index: &usize| self.is_ready(*index);
        // Streams whose last sessions were interrupted come last: their poll reads to the end of the response,
        // and the host may abort it.
        let loses_responses =
            |slot: &StreamSlot| slot.interrupted_responses >= INTERRUPTED_RESPONSES_MAX;
        let turn = |index: &usize| {
            self.slots
                .get(*index)
                .map(|slot| (loses_responses(slot), slot.turn))
        };
        let longest_ago = || (0..self.slots.len()).filter(ready).min_by_key(turn);
        let has_records = |index: &usize| {
            let slot = self.slots.get(*index);
            slot.is_some_and(|slot| slot.reader.has_records()) && ready(index)
        };
        let in_memory = || (0..self.slots.len()).find(has_records);
        let next = self.retry_slot.or_else(in_memory).or_else(longest_ago);
        let Some(mut index) = next else {
            return Step::Stop;
        };
        // A stream whose last sessions were interrupted shares its poll with no other, so that the
        // responses of others are not lost with its own. Once it has a poll, it continues: each poll lists
        // its page again, and the files of the page must be read in that poll.
        let last_slot = self.poll.as_ref().and_then(|poll| poll.last_slot);
        if let Some(last) = last_slot.filter(|last| *last != index)
            && self.slots.get(index).is_some_and(loses_responses)
        {
            if !(self.slots.get(last).is_some_and(loses_responses) && ready(&last)) {
                return Step::Stop;
            }
            index = last;
        }
        let context = Context::new(&self.settings, &self.client);
        let (Some(poll), Some(slot)) = (&mut self.poll, self.slots.get_mut(index)) else {
            return Step::Stop;
        };
        // `StreamReader::next` may add notices, so a poll that may send no request stops before it.
        if poll.limits.max_requests == 0 {
            return Step::Stop;
        }
        // The credentials come first: their response also has the upstream's clock.
        if slot.reader.wants_call(context) && !self.client.is_ready() {
            return self.preflight();
        }
        match slot.reader.next(context, &mut poll.batch) {
            ReaderAction::Idle(_) => {
                self.retry_slot = None;
                Step::LoopAgain
            }
            ReaderAction::Records => {
                poll.batch.include_stats(slot.stream);
                let offer =
                    slot.reader
                        .offer_records(&mut self.processor, context, &mut poll.batch);
                if offer == OfferResult::Consumed {
                    slot.interrupted_responses = 0;
                }
                let stall = slot.reader.take_stall();
                self.back_off_if_stalled(index, stall);
                match offer {
                    OfferResult::Consumed => Step::LoopAgain,
                    OfferResult::BatchFull => Step::Stop,
                }
            }
            ReaderAction::Call(call) => {
                // Before each call, since a reader that seemed to need none may list again after an outage.
                if !self.client.is_ready() {
                    return self.preflight();
                }
                let is_retry = self.retry_slot.is_some();
                match self.client.authorize(call) {
                    Some(request) => self.send(
                        Purpose::Call {
                            slot_index: index,
                            is_retry,
                        },
                        request,
                    ),
                    None => self.preflight(),
                }
            }
            ReaderAction::Download(request) => {
                self.send(Purpose::File { slot_index: index }, request)
            }
        }
    }

    /// Makes the preflight request, unless the wait after its last failure is not over.
    fn preflight(&mut self) -> Step {
        match self.client.preflight_request() {
            Ok(request) => self.send(Purpose::Preflight, request),
            Err(error) => {
                self.fail(error);
                Step::LoopAgain
            }
        }
    }

    /// Sends a request, if the poll may make one more.
    fn send(&mut self, purpose: Purpose, request: Request) -> Step {
        let now = self.client.now();
        let Some(poll) = &mut self.poll else {
            return Step::Stop;
        };
        if poll.requests >= poll.limits.max_requests {
            return Step::Stop;
        }
        poll.requests = poll.requests.saturating_add(1);
        self.turns = self.turns.saturating_add(1);
        let slot = match purpose {
            Purpose::Call { slot_index, .. } | Purpose::File { slot_index } => {
                self.slots.get_mut(slot_index)
            }
            Purpose::Preflight => None,
        };
        if let Purpose::Call { slot_index, .. } | Purpose::File { slot_index } = purpose {
            poll.last_slot = Some(slot_index);
        }
        if let Some(slot) = slot {
            slot.turn = self.turns;
            poll.batch.update_stats(slot.stream, |stats| {
                stats.requests = stats.requests.saturating_add(1);
            });
            if let (Purpose::Call { .. }, Some(quota_kind)) = (purpose, slot.reader.quota_kind()) {
                self.quota_mut(quota_kind).count(now);
            }
        }
        if matches!(purpose, Purpose::Call { .. }) {
            self.retry_slot = None;
        }
        self.in_flight = Some(InFlight {
            purpose,
            incoming: IncomingResponse::default(),
            body_reader: BodyReader::Whole,
        });
        Step::Send(request)
    }

    const fn quota(&self, kind: QuotaKind) -> &Quota {
        match kind {
            QuotaKind::BatchFiles => &self.batch_files_quota,
            QuotaKind::EventEndpoint => &self.event_endpoint_quota,
        }
    }

    const fn quota_mut(&mut self, kind: QuotaKind) -> &mut Quota {
        match kind {
            QuotaKind::BatchFiles => &mut self.batch_files_quota,
            QuotaKind::EventEndpoint => &mut self.event_endpoint_quota,
        }
    }

    /// Backs off from a stream whose reading has stalled.
    fn back_off_if_stalled(&mut self, index: usize, stall: Option<(Stall, u32)>) {
        let stream = self.slots.get(index).map(|slot| slot.stream);
        if let (Some((stall, previous_stalls)), Some(stream)) = (stall, stream) {
            let failure = StreamFailure::no_progress(
                format!("{stream}: {}", stall.detail()),
                previous_stalls,
            );
            self.back_off(index, failure);
        }
    }

    /// Backs off after a failure of a stream, with a notice.
    fn back_off(&mut self, index: usize, failure: StreamFailure) {
        let now = self.client.now();
        let random = self.client.next_random();
        let (Some(slot), Some(poll)) = (self.slots.get_mut(index), &mut self.poll) else {
            return;
        };
        if let Some((files, _)) = slot.reader.batch_files() {
            files.postpone_retry(now);
        }
        slot.interrupted_responses = 0;
        let backoffs = slot.backoff.map_or(0, |backoff| backoff.tries);
        let previous_failures = failure.previous_failures.unwrap_or(backoffs);
        let wait_ms = retry::wait_ms(
            failure.retry_policy,
            previous_failures,
            failure.requested_wait_ms,
            random,
        );
        slot.backoff = Some(Backoff {
            since: Some(now),
            until: now.plus_ms(wait_ms),
            cause: failure.backoff_cause,
            tries: previous_failures.saturating_add(1),
        });
        let detail = match failure.notice {
            NoticeKind::NotPermitted => failure.detail,
            NoticeKind::Adjusted | NoticeKind::Gap | NoticeKind::Postponed => {
                format!("{}; next try in {} s", failure.detail, wait_ms / 1000)
            }
        };
        slot.detail.clone_from(&detail);
        poll.batch.notice(slot.stream, failure.notice, detail);
    }
}

/// The result of a step of the loop.
enum Step {
    /// The next step follows at once.
    LoopAgain,
    /// Returns to the driver, which calls again at once.
    ReturnToDriver,
    /// Returns to the driver, which reads more of the response.
    Read,
    /// Returns to the driver, which sends a request.
    Send(Request),
    /// The poll ends.
    Stop,
}

/// The failure of one stream.
struct StreamFailure {
    retry_policy: retry::RetryPolicy,
    backoff_cause: BackoffCause,
    notice: NoticeKind,
    detail: String,
    requested_wait_ms: Option<i64>,
    /// How many failures in a row preceded this one, where that differs from the number of backoffs.
    previous_failures: Option<u32>,
}
