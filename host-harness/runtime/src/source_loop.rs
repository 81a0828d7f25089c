//! The loop of one source: poll, verify, deliver, store, wait.
//!
//! ```text
//! poll 1 ─► deliver 1 ─► store 1
//!           poll 2 ────► deliver 2 ─► store 2
//!                        poll 3 ────► deliver 3 …
//! ```
//!
//! At most one batch is fetched ahead of the one that is being delivered. It is delivered after that
//! one is accepted, and dropped if that one is given up.

mod byte_rate_limiter;
mod delivering;
mod persist;
mod polling;
mod source_state;
mod turns;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use source_common::backoff::{Backoff, add_jitter};
use source_common::delivery::{Reservation, UndeliverableEvent};
use source_common::exit::Failure;
use source_common::secret::Secret;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tracing::{debug, error, info, warn};

use self::byte_rate_limiter::ByteRateLimiter;
use self::delivering::{AcceptedBatch, Deliverer, InFlightDelivery};
use self::persist::rejected_bytes;
use self::polling::{FinishedPoll, PollRequest};
use self::source_state::NewNotice;
pub use self::turns::{ResumableSourceLoop, TurnEnd};
use crate::batch;
use crate::bindings::{Batch, NextPoll, PollError, RejectedRecord, StreamState};
use crate::engine::Instance;
use crate::event_sink::EventSink;
use crate::rate_limit::{Admission, LogRateLimiter, Rate};
use crate::shutdown::Shutdown;
use crate::source::Source;
use crate::store::{CheckpointStore, StoreError, StoredSource, epoch_ms};
use crate::waits::{FAILING, THROTTLED, Wait, waits};

/// How long a poll may continue after a stop was requested.
const POLL_GRACE: Duration = Duration::from_secs(3);
/// How long a delivery may continue after a stop was requested; one second is left for the checkpoint.
const DELIVERY_GRACE: Duration = Duration::from_secs(4);
/// How long an instance is kept while the source has to wait before a poll that would continue with
/// it: it holds memory, and the responses that it has begun to read.
const INSTANCE_IDLE_MAX: Duration = Duration::from_secs(3);
/// How old the stored position may be while nothing is collected. A restart reads that span of time
/// again, and finds nothing that it would deliver again.
const IDLE_STORE_INTERVAL: Duration = Duration::from_secs(5 * 60);
/// How much longer than requested a wait is at most, as a fraction. So sources that were started
/// together drift apart, and do not all poll in the same second of each minute.
const WAIT_JITTER: f64 = 0.025;
/// Minimum wait where the component requests one.
const WAIT_MIN: Duration = Duration::from_secs(1);
/// Maximum wait that a component can request: 100 years, which can be added to any time. A fleet passes
/// the wait to the server in nanoseconds of 64 bits.
const WAIT_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);
/// Minimum wait before refused credentials are tried again: earlier tries may lock the account.
const REFUSED_WAIT_MIN: Duration = Duration::from_secs(5 * 60);
/// Maximum wait before refused credentials are tried again.
const REFUSED_WAIT_MAX: Duration = Duration::from_secs(60 * 60);
/// How often changed credentials are looked for meanwhile.
const CREDENTIALS_RELOAD_INTERVAL: Duration = Duration::from_secs(5);
/// With `--once`: maximum number of consecutive failures.
const FAILURES_MAX_ONCE: u32 = 5;
/// With `--once`: a failing stream whose next try is further ahead is not waited for. Files that a
/// component has set aside are tried again after minutes and hours.
const FAILING_WAIT_MAX_ONCE: Duration = Duration::from_secs(60);
/// The kind of the stored error when the credentials are refused.
const UNAUTHORIZED: &str = "unauthorized";
/// Minimum remaining wait of a stream that is logged; a shorter one is over before anyone reads the line.
const WAIT_LOGGED_MIN: Duration = Duration::from_secs(30);
/// Maximum number of consecutive polls that did nothing and requested another at once, before the
/// source waits.
const EMPTY_POLLS_MAX: u32 = 20;

/// Rate at which a source may write rejected records. They must not be dropped, so a source that
/// exceeds it waits. After an overnight change of the upstream's format
/// every record may be rejected, and the disk has to hold them until the morning.
const REJECTED_BYTES_PER_SECOND: u32 = 1024 * 1024;
const REJECTED_BURST: Duration = Duration::from_secs(16);
/// Rate limit of a source's log lines about notices, waits and rejected records.
const NOTICE_RATE: Rate = Rate {
    lines_per_second: 10,
    bytes_per_second: 4 * 1024,
    burst: Duration::from_secs(60),
};

/// The parts of a source's loop.
pub struct SourceLoop {
    /// The source.
    pub source: Arc<Source>,
    /// Its stored state.
    pub source_state: StoredSource,
    /// Where its state is stored: a state directory, or the bucket of a fleet.
    pub store: Arc<dyn CheckpointStore>,
    /// Where its events and its rejected records go.
    pub sink: Arc<dyn EventSink>,
    /// Whether to end instead of waiting: when it is caught up or its credentials are refused, and also
    /// after a few consecutive failures, or when only streams remain whose next try is too far ahead.
    pub once: bool,
    /// Ends its current wait: its settings are read again, and it is polled.
    pub wake: Arc<Notify>,
    /// Reads its settings again; without it they stay.
    pub reloader: Option<Arc<dyn SettingsReloader>>,
    /// The request to stop.
    pub shutdown: Shutdown,
}

/// Reads the settings of a source again, of which secrets may have changed.
#[async_trait]
pub trait SettingsReloader: Send + Sync {
    /// Returns the source with its current settings; `None` where `current` has them already.
    async fn reload(&self, current: &Source) -> Result<Option<Source>, Failure>;
}

/// How a source has ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SourceExit {
    /// With `--once`: it is caught up.
    CaughtUp,
    /// It ended with an error. Whether a retry may help is in the failure.
    Failed(Failure),
    /// Another process works on it, or may by now.
    LeaseLost,
    /// Standard output is closed, so no source can continue.
    OutputClosed,
    /// An output did not accept a batch within the retry limit of `--once`.
    OutputFailed(Failure),
    /// A stop was requested.
    Stopped,
}

enum Step {
    Exit(SourceExit),
    Poll,
    Wait(Duration),
}

struct RunningLoop {
    context: SourceLoop,
    instance: Option<Instance>,
    /// The session that the last poll returned for the next one. It holds a credential, so it is
    /// neither stored nor shown.
    session: Option<Secret>,
    delivering: Option<InFlightDelivery>,
    /// When storing the state was last started.
    last_stored: Option<Instant>,
    /// Whether a batch has been accepted since then whose position is not stored yet.
    has_unstored_changes: bool,
    storing: Option<JoinHandle<Result<(), StoreError>>>,
    backoff: Backoff,
    /// Counts consecutive refusals of the credentials.
    refused_backoff: Backoff,
    empty_poll_backoff: Backoff,
    /// Limits the rate of rejected records, with the events that an output can never accept.
    rejected_limiter: ByteRateLimiter,
    /// Limits the log lines about notices, waits and rejected records.
    notice_limiter: LogRateLimiter,
    /// The waits that have been logged and have not ended.
    logged_waits: Vec<Wait>,
    /// The last logged reason why the settings could not be read again.
    reload_error: Option<String>,
}

impl SourceLoop {
    /// Runs the loop until it ends. Returns the reason and the stored state at the end.
    pub async fn run(self) -> (SourceExit, StoredSource) {
        let mut running = RunningLoop::new(self);
        let end = running.drive().await;
        let end = match (running.complete(&end).await, end) {
            // The cause of the end takes precedence over its consequences.
            (_, end @ (SourceExit::Failed(_) | SourceExit::OutputFailed(_))) | (Ok(()), end) => end,
            (Err(end), _) => end,
        };
        (end, running.context.source_state)
    }
}

impl RunningLoop {
    fn new(context: SourceLoop) -> Self {
        Self {
            context,
            instance: None,
            session: None,
            delivering: None,
            last_stored: None,
            has_unstored_changes: false,
            storing: None,
            backoff: Backoff::default(),
            refused_backoff: Backoff::new(REFUSED_WAIT_MIN, REFUSED_WAIT_MAX),
            empty_poll_backoff: Backoff::default(),
            rejected_limiter: ByteRateLimiter::new(REJECTED_BYTES_PER_SECOND, REJECTED_BURST),
            notice_limiter: LogRateLimiter::new(NOTICE_RATE),
            logged_waits: Vec::new(),
            reload_error: None,
        }
    }

    async fn drive(&mut self) -> SourceExit {
        loop {
            if self.context.shutdown.is_requested() {
                return SourceExit::Stopped;
            }
            // Allocated for each step, since thousands of sources wait between two steps.
            match Box::pin(self.step()).await {
                Step::Exit(end) => return end,
                Step::Poll => {}
                Step::Wait(wait) => {
                    if let Err(end) = self.await_delivery().await {
                        return end;
                    }
                    if let Err(end) = self.finish_storing().await {
                        return end;
                    }
                    let wait = add_jitter(wait, WAIT_JITTER);
                    if wait > INSTANCE_IDLE_MAX {
                        self.instance = None;
                    }
                    self.note_next_poll(wait);
                    self.context.sink.state_changed(&self.context.source_state);
                    if self.wait(wait).await {
                        return SourceExit::Stopped;
                    }
                }
            }
        }
    }

    fn note_next_poll(&mut self, wait: Duration) {
        let next_poll = SystemTime::now().checked_add(wait);
        self.context.source_state.next_poll_at_ms = next_poll.map(epoch_ms);
    }

    /// Waits before the next poll, until it is woken, or until the refused credentials have changed.
    /// Returns whether a stop was requested.
    async fn wait(&mut self, wait: Duration) -> bool {
        let started_at = tokio::time::Instant::now();
        loop {
            let left = wait.saturating_sub(started_at.elapsed());
            let has_refused_credentials = self.has_refused_credentials();
            let step = if has_refused_credentials {
                left.min(CREDENTIALS_RELOAD_INTERVAL)
            } else {
                left
            };
            let is_woken = tokio::select! {
                () = sleep(step) => false,
                () = self.context.wake.notified() => true,
                _ = self.context.shutdown.requested() => return true,
            };
            let has_changed = (is_woken || has_refused_credentials) && self.reload().await;
            if is_woken || has_changed || step == left {
                return false;
            }
        }
    }

    /// Returns whether the current credentials are refused.
    fn has_refused_credentials(&self) -> bool {
        self.refused_backoff.failures() > 0
    }

    /// Reads the settings again. Returns whether they have changed.
    async fn reload(&mut self) -> bool {
        let Some(reloader) = self.context.reloader.clone() else {
            return false;
        };
        let name = &self.context.source.name;
        let read = reloader.reload(&self.context.source).await;
        let unreadable = read.as_ref().err().map(|failure| failure.message.clone());
        let before = std::mem::replace(&mut self.reload_error, unreadable);
        match read {
            Ok(None) => false,
            Ok(Some(source)) => {
                info!(source = %name, "its secrets have changed; trying again");
                // The session and the instance belong to the former secrets.
                self.session = None;
                self.instance = None;
                self.refused_backoff.reset();
                source.require_same_lease(&self.context.source);
                self.context.source = Arc::new(source);
                true
            }
            // A file that is being replaced may be missing for a moment.
            Err(failure) => {
                if self.reload_error != before {
                    warn!(source = %name, "its settings cannot be read again: {failure}");
                }
                false
            }
        }
    }

    /// Waits for the delivery in progress, and stores what is not stored yet.
    async fn complete(&mut self, end: &SourceExit) -> Result<(), SourceExit> {
        let settled = self.await_delivery().await;
        self.finish_storing().await?;
        settled?;
        if self.has_unstored_changes && !matches!(end, SourceExit::LeaseLost) {
            self.start_storing();
            self.finish_storing().await?;
        }
        Ok(())
    }

    async fn step(&mut self) -> Step {
        let mut polling = self.take_poll_request().start();
        let mut shutdown = self.context.shutdown.clone();
        let lease = self.context.source.lease();
        let polled = loop {
            tokio::select! {
                // The lease comes first: after a suspension all are ready, and it may have expired.
                biased;
                () = lease.revoked() => return Step::Exit(SourceExit::LeaseLost),
                polled = &mut polling.0 => break polled,
                accepted = delivery_result(&mut self.delivering) => {
                    if let Err(end) = self.handle_accepted(accepted).await {
                        return Step::Exit(end);
                    }
                }
                // Nothing is lost: the position has not moved.
                () = shutdown.grace_elapsed(POLL_GRACE) => {
                    return Step::Exit(SourceExit::Stopped);
                }
            }
        };
        self.context.source_state.note_poll_end();
        let Ok(polled) = polled else {
            let name = &self.context.source.name;
            let fault = Failure::failed(format!("source `{name}`: internal error"));
            return Step::Exit(SourceExit::Failed(fault));
        };
        let FinishedPoll {
            result,
            instance,
            memory_bytes_peak,
            reservation,
        } = polled;
        self.instance = instance;
        self.context.source_state.note_memory(memory_bytes_peak);
        // An output may take long to accept the batch.
        self.context.sink.state_changed(&self.context.source_state);
        // This batch waits until the one before is accepted and its position is stored: no more than
        // one batch is delivered again after a kill.
        if let Err(end) = self.await_delivery().await {
            return Step::Exit(end);
        }
        if let Err(end) = self.finish_storing().await {
            return Step::Exit(end);
        }
        match result {
            Ok(Ok(batch)) => self.handle_batch(batch, reservation).await,
            Ok(Err(error)) => self.handle_poll_error(error).await,
            Err(error) => {
                let detail = format!("{error}; {}", error.advice());
                self.retry_after_failure("component", &detail, Duration::ZERO)
                    .await
            }
        }
    }

    /// Returns the request for the poll after the batch that was fetched last, with the instance.
    fn take_poll_request(&mut self) -> PollRequest {
        let delivering = self.delivering.as_ref();
        let ahead = delivering.map(|delivering| delivering.checkpoint.clone());
        PollRequest {
            source: Arc::clone(&self.context.source),
            sink: Arc::clone(&self.context.sink),
            instance: self.instance.take(),
            checkpoint: ahead.or_else(|| self.context.source_state.checkpoint.clone()),
            session: self.session.clone(),
        }
    }

    /// Verifies a batch, begins its delivery, and decides what comes next.
    async fn handle_batch(&mut self, mut batch: Batch, reservation: Option<Reservation>) -> Step {
        let source = &self.context.source;
        let verified = batch::verify(
            &batch,
            &source.description,
            source.limits,
            &source.credential_detector,
        );
        if let Err(reason) = verified {
            self.instance = None;
            let reason = format!("the component broke the contract: {reason}");
            return self
                .retry_after_failure("component", &reason, Duration::ZERO)
                .await;
        }
        self.refused_backoff.reset();
        self.rejected_limiter
            .spend(rejected_bytes(&batch.rejected), Instant::now());
        self.session = batch.session.take().map(Secret::new);
        let is_empty_poll = batch.stats.is_empty() && batch.index.is_empty();
        let is_empty_poll = is_empty_poll
            && self.context.source_state.checkpoint.as_ref() == Some(&batch.checkpoint);
        let next = batch.next;
        let retry_at = first_retry(&batch);
        let has_nothing_to_deliver = batch.index.is_empty() && batch.rejected.is_empty();
        self.delivering = Some(Deliverer::new(&self.context).start(batch, reservation));
        let polls_ahead = matches!(next, NextPoll::Now) && !has_nothing_to_deliver;
        if !polls_ahead && let Err(end) = self.await_delivery().await {
            return Step::Exit(end);
        }
        let step = self.next_step(next, is_empty_poll, retry_at).await;
        self.delay_for_rejected(step)
    }

    /// Waits until the batch that is being delivered is accepted.
    async fn await_delivery(&mut self) -> Result<(), SourceExit> {
        while self.delivering.is_some() {
            tokio::select! {
                accepted = delivery_result(&mut self.delivering) => {
                    return self.handle_accepted(accepted).await;
                }
                // An output may refuse for hours, and many sources may wait for it.
                () = sleep(INSTANCE_IDLE_MAX), if self.instance.is_some() => self.instance = None,
            }
        }
        Ok(())
    }

    /// Counts a batch that is accepted, and stores the position after it.
    async fn handle_accepted(
        &mut self,
        accepted: Result<AcceptedBatch, SourceExit>,
    ) -> Result<(), SourceExit> {
        self.delivering = None;
        let AcceptedBatch {
            batch,
            undeliverable_events,
            undeliverable_bytes,
        } = accepted?;
        // They are written to the same place.
        self.rejected_limiter
            .spend(undeliverable_bytes, Instant::now());
        self.finish_storing().await?;
        self.log_rejected(&batch.rejected, &undeliverable_events);
        let is_worth_storing = self.record_batch(&batch, undeliverable_events.len());
        self.context.source_state.next_poll_at_ms = None;
        if let Some(wait) = requested_wait(batch.next) {
            self.note_next_poll(wait);
        }
        self.log_waits(SystemTime::now());
        self.context.source_state.checkpoint = Some(batch.checkpoint);
        let is_due = self
            .last_stored
            .is_none_or(|stored| stored.elapsed() >= IDLE_STORE_INTERVAL);
        if is_worth_storing || !batch.index.is_empty() || is_due {
            self.start_storing();
        } else {
            self.has_unstored_changes = true;
            self.context.sink.state_changed(&self.context.source_state);
        }
        Ok(())
    }

    /// Delays the next step until the rate limit of rejected records allows the next.
    fn delay_for_rejected(&self, step: Step) -> Step {
        let least = self.rejected_limiter.delay(Instant::now());
        match step {
            Step::Exit(end) => Step::Exit(end),
            Step::Poll if least.is_zero() => Step::Poll,
            Step::Poll => Step::Wait(least),
            Step::Wait(wait) => Step::Wait(wait.max(least)),
        }
    }

    /// Counts a batch and logs its notices. Returns whether the state should be stored at once.
    fn record_batch(&mut self, batch: &Batch, undeliverable: usize) -> bool {
        let source = &self.context.source;
        for stats in &batch.stats {
            debug!(
                source = %source.name,
                stream = %stats.stream,
                requests = stats.requests,
                received_bytes = stats.received_bytes,
                received = stats.received,
                events = stats.events,
                rejected = stats.rejected,
                duplicates = stats.duplicates,
                caught_up = stats.caught_up,
                newest = stats.newest,
                "polled"
            );
        }
        let changes =
            self.context
                .source_state
                .note_batch(batch, &source.description, undeliverable);
        for notice in changes.notices {
            self.log_notice(&notice);
        }
        changes.is_worth_storing
    }

    fn log_notice(&mut self, notice: &NewNotice) {
        let detail = &notice.detail;
        if !self.admit_log_line(notice.stream.len().saturating_add(detail.len())) {
            return;
        }
        let (source, stream) = (&self.context.source.name, &notice.stream);
        let kind = notice.kind;
        if notice.is_warning {
            warn!(%source, %stream, kind, "{kind}: {detail}");
        } else {
            info!(%source, %stream, kind, "{kind}: {detail}");
        }
    }

    /// Logs each wait of the streams once.
    fn log_waits(&mut self, now: SystemTime) {
        let waits = waits(&self.context.source_state);
        let logged = std::mem::take(&mut self.logged_waits);
        self.logged_waits = log_new_waits(waits, &logged, now, |wait| {
            let is_admitted = self.admit_log_line(wait.reason.len());
            if is_admitted {
                info!(source = %self.context.source.name, "{wait}");
            }
            is_admitted
        });
    }

    fn log_rejected(&mut self, rejected: &[RejectedRecord], undeliverable: &[UndeliverableEvent]) {
        let first = rejected.first();
        let first_reason = first.map(|record| record.reason.as_str());
        let first_reason =
            first_reason.or_else(|| undeliverable.first().map(|event| event.reason.as_str()));
        let Some(first_reason) = first_reason else {
            return;
        };
        if !self.admit_log_line(first_reason.len()) {
            return;
        }
        let streams: BTreeSet<&str> = rejected
            .iter()
            .map(|record| record.stream.as_str())
            .collect();
        let streams = streams.into_iter().collect::<Vec<_>>().join(", ");
        warn!(
            source = %self.context.source.name,
            streams = (!streams.is_empty()).then_some(streams),
            rejected = rejected.len(),
            undeliverable = undeliverable.len(),
            "records that cannot become events, or that an output can never accept, are kept with the \
             rejected records; the first one: {first_reason}"
        );
    }

    /// Charges a line with `bytes` bytes of text to the rate limit of the source; its time and fields are
    /// added. Returns whether it may be logged.
    fn admit_log_line(&mut self, bytes: usize) -> bool {
        const FIELDS_BYTES: usize = 100;
        let bytes = bytes.saturating_add(FIELDS_BYTES);
        match self.notice_limiter.admit(bytes, Instant::now()) {
            Admission::Pass(suppressed) => {
                if let Some(suppressed) = suppressed {
                    warn!(source = %self.context.source.name, "notices: {suppressed}");
                }
                true
            }
            Admission::Suppress => false,
        }
    }

    /// Returns the next step. `retry_at` is when the first failing stream is tried again, if known.
    async fn next_step(
        &mut self,
        next: NextPoll,
        is_empty_poll: bool,
        retry_at: Option<SystemTime>,
    ) -> Step {
        let wait = requested_wait(next).unwrap_or_default();
        match next {
            NextPoll::CaughtUp(_) => {
                self.backoff.reset();
                if self.context.once {
                    Step::Exit(SourceExit::CaughtUp)
                } else {
                    Step::Wait(wait)
                }
            }
            NextPoll::Failing(_) => {
                let detail = self.context.source_state.failing_detail();
                // Others, which are caught up, may be due before that.
                let retry_in = retry_at
                    .map(|at| at.duration_since(SystemTime::now()).unwrap_or_default())
                    .map_or(wait, |retry_in| retry_in.max(wait));
                if self.context.once && retry_in > FAILING_WAIT_MAX_ONCE {
                    return self.exit_with_failing_streams(&detail, retry_in).await;
                }
                self.retry_after_failure(FAILING, &detail, wait).await
            }
            NextPoll::Now => {
                self.backoff.reset();
                if is_empty_poll {
                    self.empty_poll_backoff.fail();
                } else {
                    self.empty_poll_backoff.reset();
                }
                let wait = self.empty_poll_backoff.delay_beyond(EMPTY_POLLS_MAX);
                wait.map_or(Step::Poll, Step::Wait)
            }
            NextPoll::Throttled(_) => {
                self.backoff.reset();
                Step::Wait(wait)
            }
        }
    }

    async fn handle_poll_error(&mut self, error: PollError) -> Step {
        let name = self.context.source.name.clone();
        let (kind, detail, wait_ms) = match error {
            PollError::Denied(origin) => {
                let source = &self.context.source;
                let detail = source.denial_advice(&origin);
                if !source.allows(&origin) {
                    return self.give_up("denied", &detail, Failure::settings);
                }
                ("denied", detail, 0)
            }
            PollError::Internal(detail) => ("component", detail, 0),
            PollError::Protocol(failure) => ("protocol", failure.detail, failure.retry_after_ms),
            PollError::Settings(error) => {
                let detail = settings_error(&name, &error.setting, &error.detail);
                return self.give_up("settings", &detail, Failure::settings);
            }
            PollError::Throttled(failure) => {
                return self
                    .handle_throttled(&failure.detail, failure.retry_after_ms)
                    .await;
            }
            PollError::Unauthorized(detail) => {
                return self.handle_refused_credentials(&detail).await;
            }
            PollError::Unavailable(failure) => {
                ("unavailable", failure.detail, failure.retry_after_ms)
            }
            PollError::UnusableCheckpoint(detail) => {
                let advice = self.context.store.discard_advice(&name);
                let detail = format!(
                    "its checkpoint cannot be used: {detail}; {advice} to begin again at `start`"
                );
                return self.give_up("checkpoint", &detail, Failure::settings);
            }
        };
        let wait_min = Duration::from_millis(wait_ms).min(WAIT_MAX);
        self.retry_after_failure(kind, &detail, wait_min).await
    }

    /// Handles a rate limit on the source as a whole by waiting.
    async fn handle_throttled(&mut self, detail: &str, wait_ms: u64) -> Step {
        if let Err(end) = self.finish_storing().await {
            return Step::Exit(end);
        }
        let wait = Duration::from_millis(wait_ms).clamp(WAIT_MIN, WAIT_MAX);
        self.context.source_state.note_error(THROTTLED, detail);
        self.note_next_poll(wait);
        self.log_waits(SystemTime::now());
        self.start_storing();
        Step::Wait(wait)
    }

    /// Handles refused credentials: polls again at once if they have changed meanwhile, and waits
    /// otherwise.
    async fn handle_refused_credentials(&mut self, detail: &str) -> Step {
        if self.reload().await {
            return Step::Poll;
        }
        let detail = format!("the credentials are refused: {detail}");
        if self.context.once {
            return self.give_up(UNAUTHORIZED, &detail, Failure::unauthorized);
        }
        self.refused_backoff.fail();
        let wait = self.refused_backoff.delay().max(REFUSED_WAIT_MIN);
        self.retry_after_failure(UNAUTHORIZED, &detail, wait).await
    }

    /// Ends a run with `--once` if everything is collected except streams that keep failing.
    async fn exit_with_failing_streams(&mut self, detail: &str, wait: Duration) -> Step {
        if let Err(end) = self.finish_storing().await {
            return Step::Exit(end);
        }
        self.context.source_state.note_error(FAILING, detail);
        self.start_storing();
        let name = &self.context.source.name;
        let seconds = wait.as_secs();
        Step::Exit(SourceExit::Failed(Failure::failed(format!(
            "source `{name}`: failing: {detail} (next try in {seconds} s, which --once does not wait for)"
        ))))
    }

    /// Handles a permanent failure. It is stored for `status`.
    fn give_up(&mut self, kind: &str, detail: &str, failure: fn(String) -> Failure) -> Step {
        self.context.source_state.note_error(kind, detail);
        self.start_storing();
        let name = &self.context.source.name;
        Step::Exit(SourceExit::Failed(failure(format!(
            "source `{name}`: {detail}"
        ))))
    }

    /// Handles a failure that may pass. It is stored for `status`.
    async fn retry_after_failure(&mut self, kind: &str, detail: &str, wait_min: Duration) -> Step {
        self.backoff.fail();
        let failures = self.backoff.failures();
        if let Err(end) = self.finish_storing().await {
            return Step::Exit(end);
        }
        // Failing streams have a retry time of their own; the others must not wait longer.
        let wait = if kind == FAILING {
            wait_min
        } else {
            self.backoff.delay().max(wait_min)
        };
        self.context.source_state.note_error(kind, detail);
        self.note_next_poll(wait);
        self.start_storing();
        let name = &self.context.source.name;
        if self.context.once && failures >= FAILURES_MAX_ONCE {
            return Step::Exit(SourceExit::Failed(Failure::failed(format!(
                "source `{name}`: {kind}: {detail} (given up after {FAILURES_MAX_ONCE} tries)"
            ))));
        }
        let seconds = wait.as_secs_f64();
        if kind == "component" {
            error!(source = %name, failures, kind, "{detail}; next try in {seconds:.1} s");
        } else if kind == UNAUTHORIZED {
            error!(
                source = %name,
                failures,
                kind,
                "{kind}: {detail}; next try in {seconds:.1} s, or as soon as the secret changes"
            );
        } else {
            warn!(source = %name, failures, kind, "{kind}: {detail}; next try in {seconds:.1} s");
        }
        Step::Wait(wait)
    }
}

/// Logs the waits that are not among the `logged` ones. Those of single streams are left out where they are
/// short or have no known end; a wait of the whole source never is. Returns those that have been logged by now. `log`
/// returns whether it has logged a wait; otherwise that is tried again the next time.
fn log_new_waits(
    waits: Vec<Wait>,
    logged: &[Wait],
    now: SystemTime,
    mut log: impl FnMut(&Wait) -> bool,
) -> Vec<Wait> {
    let mut waits = waits;
    waits.retain(|wait| {
        let is_whole_source = wait.streams.is_empty();
        if !is_whole_source && wait.remaining(now) < WAIT_LOGGED_MIN {
            return false;
        }
        // A source that is refused again and again has one wait.
        let is_logged = logged.iter().any(|before| {
            before.reason == wait.reason && (is_whole_source || before.until_ms == wait.until_ms)
        });
        is_logged || log(wait)
    });
    waits
}

/// Returns the wait that a component requests; `None` where it requests a poll at once.
fn requested_wait(next: NextPoll) -> Option<Duration> {
    match next {
        NextPoll::CaughtUp(ms) | NextPoll::Failing(ms) | NextPoll::Throttled(ms) => {
            Some(Duration::from_millis(ms).clamp(WAIT_MIN, WAIT_MAX))
        }
        NextPoll::Now => None,
    }
}

/// Formats the error about a setting that the component cannot use, as one clause.
#[must_use]
pub fn settings_error(source: &str, setting: &str, detail: &str) -> String {
    match setting {
        "" => format!("[source.settings] of `{source}`: {detail}"),
        _ => format!("[source.settings] of `{source}`: `{setting}`: {detail}"),
    }
}

/// Waits for the result of the delivery in progress; never returns if there is none.
async fn delivery_result(
    delivering: &mut Option<InFlightDelivery>,
) -> Result<AcceptedBatch, SourceExit> {
    match delivering {
        Some(delivering) => delivering.result.as_mut().await,
        None => std::future::pending().await,
    }
}

/// Returns when the first of the failing streams is tried again.
fn first_retry(batch: &Batch) -> Option<SystemTime> {
    let failing = batch
        .status
        .iter()
        .filter(|status| status.state == StreamState::Failing);
    let first_ms = failing.filter_map(|status| status.until).min()?;
    UNIX_EPOCH.checked_add(Duration::from_millis(first_ms.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_that_the_rate_limit_suppresses_is_logged_later_and_once() {
        let wait = |reason: &str| Wait {
            until_ms: Some(60_000),
            streams: vec!["audit".to_owned()],
            reason: reason.to_owned(),
        };
        let both = || vec![wait("quota"), wait("files")];
        let log = |logged: &[Wait], admitted: &str| {
            let mut lines = Vec::new();
            let logged = log_new_waits(both(), logged, UNIX_EPOCH, |wait| {
                let is_admitted = admitted.contains(&*wait.reason);
                lines.extend(is_admitted.then(|| wait.reason.clone()));
                is_admitted
            });
            (logged, lines)
        };
        let (logged, lines) = log(&[], "quota");
        assert_eq!(lines, ["quota"]);
        let (logged, lines) = log(&logged, "quota files");
        assert_eq!(lines, ["files"]);
        let (logged, lines) = log(&logged, "quota files");
        assert_eq!((logged.len(), lines.len()), (2, 0));
        let short = UNIX_EPOCH + Duration::from_secs(59);
        let none = log_new_waits(both(), &[], short, |_| panic!("it is over soon"));
        assert!(none.is_empty());
    }
}
