//! The state of the host, in the form that `status`, the API, the metrics and the
//! status page share. One function computes each part, from the stored state and the state of the
//! running host, so that all of them say the same.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, SystemTime};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use source_common::exit::Exit;
use source_common::timestamp::time_text;
use source_runtime::store::{
    Heartbeat, State, StatusMessage, StoredSource, StoredStream, epoch_ms,
};
use source_runtime::waits::{Wait, waits};

use crate::settings::DEAD_LETTER_OUTPUT;

/// A host polls every source at least hourly, so one that stored nothing for this long collects
/// nothing.
const STALE_AFTER: Duration = Duration::from_secs(2 * 3_600);

/// What to do about an output of rejected records that does not accept. Nothing may be lost, so its
/// sources wait.
pub(crate) const DEAD_LETTER_ADVICE: &str = "the source waits for it: repair it, or leave [dead_letter] out and restart source-host to keep \
     rejected records in files";

/// A time in milliseconds since the epoch. It is serialized as RFC 3339 text.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Time {
    /// Milliseconds since the epoch.
    pub epoch_ms: u64,
}

impl Time {
    /// Converts from a [`SystemTime`].
    #[must_use]
    pub fn of(time: SystemTime) -> Self {
        Self {
            epoch_ms: epoch_ms(time),
        }
    }

    /// Parses RFC 3339 text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        humantime::parse_rfc3339_weak(text).ok().map(Self::of)
    }

    fn of_signed(epoch_ms: i64) -> Option<Self> {
        u64::try_from(epoch_ms)
            .ok()
            .map(|epoch_ms| Self { epoch_ms })
    }

    /// Returns the time elapsed until `now`; zero if the time is in the future.
    #[must_use]
    pub fn age(self, now: SystemTime) -> Duration {
        Duration::from_millis(epoch_ms(now).saturating_sub(self.epoch_ms))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&time_text(self.epoch_ms))
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| D::Error::custom("no RFC 3339 time"))
    }
}

/// The complete report of a host.
#[derive(Clone, Debug, Serialize)]
pub struct HostReport {
    /// The host process.
    pub host: HostStatus,
    /// The sources, by name.
    pub sources: Vec<SourceReport>,
    /// Its outputs, in the order of the settings.
    pub outputs: Vec<OutputReport>,
    /// Its part in a fleet, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fleet: Option<FleetReport>,
}

/// What a host of a fleet has done with its leases, and how large the fleet is.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct FleetReport {
    /// Its name among the hosts.
    pub host: String,
    /// Hosts that run.
    pub hosts: u64,
    /// Tenants of the fleet.
    pub tenants: u64,
    /// Tenants that this host works on now.
    pub leases: usize,
    /// How many it works on at most.
    pub leases_max: usize,
    /// Leases that it has taken.
    pub taken: u64,
    /// Leases that ended before the work did.
    pub expired: u64,
    /// Leases that this host gave up before it claimed the tenant, because they had expired or a later
    /// lease existed.
    pub fenced: u64,
    /// The longest delay with which this host recently took a due tenant.
    pub late_seconds: u64,
    /// The whole fleet, once it has been read.
    pub overview: Option<FleetOverview>,
}

/// All hosts and tenants of a fleet, as NATS has them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FleetOverview {
    /// When it was read.
    pub at: Time,
    /// What each host reports of itself.
    pub hosts: Vec<FleetHostReport>,
    /// Tenants of the fleet.
    pub tenants: usize,
    /// Tenants by state.
    pub states: BTreeMap<&'static str, usize>,
    /// Tenants that no host has had yet.
    pub never_polled: usize,
    /// Tenants that the hosts work on now.
    pub leases: usize,
    /// The tenant that is overdue for longest, where one is.
    pub oldest_due: Option<OldestDue>,
}

/// What a host of a fleet reports of itself.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct FleetHostReport {
    /// Its name among the hosts.
    pub host: String,
    /// The version of `source-host`.
    pub version: String,
    /// When the process started, in milliseconds since the epoch.
    pub started_at_ms: u64,
    /// When it reported this, in milliseconds since the epoch.
    pub written_at_ms: u64,
    /// Tenants that it works on.
    pub leases: usize,
    /// How many it works on at most.
    pub leases_max: usize,
    /// Leases that it has taken.
    pub taken: u64,
    /// Leases that ended before the work did.
    pub expired: u64,
    /// Leases that this host gave up before it claimed the tenant, because they had expired or a later
    /// lease existed.
    pub fenced: u64,
    /// The longest delay with which this host recently took a due tenant.
    pub late_ms: u64,
}

/// A tenant that is overdue.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OldestDue {
    /// Its name.
    pub tenant: String,
    /// When it was due.
    pub since: Time,
    /// For how long it has been.
    pub seconds: u64,
}

/// The state of the host process.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HostStatus {
    /// Whether the process is running.
    pub running: bool,
    /// The process id, or that of the last run.
    pub pid: Option<u32>,
    /// The version of `source-host`.
    pub version: Option<String>,
    /// When the process started.
    pub started_at: Option<Time>,
    /// When the process last wrote its heartbeat.
    pub last_seen: Option<Time>,
    /// Whether the last run ended cleanly; false if it was killed.
    pub has_ended: bool,
    /// Whether every source was loaded, or failed to be.
    pub ready: bool,
}

/// The state of one source.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SourceReport {
    /// Name of the source.
    pub source: String,
    /// State of the source.
    pub state: State,
    /// Why it does not collect, and what to do; empty while it does.
    pub detail: String,
    /// What it waits for while it collects: one text for each limit, with its streams and the end of
    /// the wait, one for the oldest request and one for a delivery that has been unanswered for long.
    pub waits: Vec<String>,
    /// Whether nothing was stored for so long that it cannot be collecting; false where it is paused.
    pub stale: bool,
    /// What pauses the source.
    pub paused_by: Option<PausedBy>,
    /// The component that collects, as `name version`.
    pub component: String,
    /// The names of the outputs for its events.
    pub outputs: Vec<String>,
    /// Whether a checkpoint is stored.
    pub has_checkpoint: bool,
    /// Size of the checkpoint.
    pub checkpoint_bytes: usize,
    /// When the checkpoint was last stored.
    pub stored_at: Option<Time>,
    /// When the last poll ended.
    pub last_poll_at: Option<Time>,
    /// When a batch was last accepted by every output.
    pub last_success_at: Option<Time>,
    /// When the next poll is due.
    pub next_poll_at: Option<Time>,
    /// Lag of the stream that is furthest behind; one that is not permitted counts only if there is no
    /// other. Where nothing is known, the time since the host started. `None` only where no host has ever
    /// run.
    pub lag_seconds: Option<u64>,
    /// Peak memory of a component instance.
    pub memory_bytes_peak: u64,
    /// Number of events that an output could never accept.
    pub undeliverable: u64,
    /// Why the current settings are not used.
    pub settings_error: Option<String>,
    /// The last error of the source as a whole, until it recovers.
    pub last_error: Option<StatusMessage>,
    /// The streams, by name.
    pub streams: BTreeMap<String, StreamReport>,
}

/// The state of one stream.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StreamReport {
    /// State of the stream.
    pub state: State,
    /// Why it does not collect, and what to do; empty while it does, and where the state is that of its
    /// source.
    pub detail: String,
    /// When the stream is tried again, if it waits.
    pub until: Option<Time>,
    /// The time up to which its records are known to be collected.
    pub collected_until: Option<Time>,
    /// Seconds from `collected_until` to now; where that is not known, from the start of the host. `None` only
    /// where no host has ever run either.
    pub lag_seconds: Option<u64>,
    /// Whether the upstream had no more when it was last asked.
    pub caught_up: bool,
    /// When the last batch with counts of the stream was accepted.
    #[serde(rename = "last_poll_at")]
    pub last_accepted_at: Option<Time>,
    /// The time of the newest event.
    pub newest_at: Option<Time>,
    /// Records read; always `events` + `rejected` + `duplicates`.
    pub received: u64,
    /// Records that became events.
    pub events: u64,
    /// Records that were rejected.
    pub rejected: u64,
    /// Records that had been delivered before.
    pub duplicates: u64,
    /// Number of requests.
    pub requests: u64,
    /// Bytes of response bodies, before decompression.
    pub received_bytes: u64,
    /// Number of gaps, each a range of lost records.
    pub gaps: u64,
    /// Remaining calls of its quota, where known.
    pub quota_remaining: Option<u32>,
    /// The last failure, until the stream works again.
    pub last_error: Option<StatusMessage>,
    /// The last notice about it.
    pub last_notice: Option<StatusMessage>,
}

/// The state of one output.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct OutputReport {
    /// Name of the output.
    pub output: String,
    /// Type of the output, such as `file`.
    #[serde(rename = "type")]
    pub output_type: String,
    /// `starting`, `active`, `blocked` or `stopped`.
    pub state: State,
    /// Why the output does not accept, or since when it has not answered; empty while it does.
    pub detail: String,
    /// For how long it has something to take and has neither accepted nor refused anything; 0 once it
    /// is blocked.
    #[serde(default)]
    pub unanswered_seconds: u64,
    /// When the output last accepted a delivery.
    pub last_success_at: Option<Time>,
    /// Number of retries of deliveries.
    pub retries: u64,
    /// Total time during which it did not accept.
    pub blocked_seconds: u64,
    /// Events that it has accepted.
    pub events: u64,
    /// Deliveries of which it accepted at least one event.
    pub batches: u64,
    /// Number of sources that wait for it to accept.
    #[serde(rename = "backlog_sources")]
    pub waiting_sources: usize,
}

/// What pauses a source.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PausedBy {
    /// The setting `enabled = false`.
    Settings,
    /// An operator, through the API.
    Api,
}

/// The state of a host at one time, besides its sources and outputs.
#[derive(Clone, Debug)]
pub struct HostSnapshot {
    /// The last heartbeat; `None` if no host has ever run.
    pub heartbeat: Option<Heartbeat>,
    /// Whether every source was loaded, or failed to be.
    pub is_ready: bool,
    /// The version of `source-host`.
    pub version: Option<String>,
    /// The time of the report.
    pub now: SystemTime,
}

impl HostSnapshot {
    /// Returns whether the host is running.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        let heartbeat = self.heartbeat.as_ref();
        heartbeat.is_some_and(|heartbeat| heartbeat.is_alive(self.now))
    }

    fn started_at(&self) -> Option<Time> {
        let epoch_ms = self.heartbeat.as_ref()?.started_at_ms;
        Some(Time { epoch_ms })
    }

    /// Returns the reported state of the host.
    #[must_use]
    pub fn status(&self) -> HostStatus {
        let heartbeat = self.heartbeat.as_ref();
        HostStatus {
            running: self.is_alive(),
            pid: heartbeat.map(|it| it.pid),
            version: self.version.clone(),
            started_at: self.started_at(),
            last_seen: heartbeat.map(|it| Time {
                epoch_ms: it.written_at_ms,
            }),
            has_ended: heartbeat.is_some_and(|it| it.has_ended),
            ready: self.is_alive() && self.is_ready,
        }
    }
}

/// What is known of a source while a host runs it, besides its stored state.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct SourceRuntimeState {
    /// The names of the outputs for its events.
    #[serde(default)]
    pub outputs: Vec<String>,
    /// What pauses the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_by: Option<PausedBy>,
    /// Why the current settings are not used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings_error: Option<String>,
    /// What does not take what the source has collected, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocked: Option<BlockedBy>,
    /// What has had no response for long, one text each, with the time since when.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unanswered: Vec<String>,
    /// Whether a host runs the source.
    #[serde(default)]
    pub run: RunState,
}

/// What does not take what a source has collected.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct BlockedBy {
    /// The name of the output; `None` if the host itself cannot store something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// Why it does not take it.
    pub reason: String,
}

impl BlockedBy {
    /// Returns what blocks the source, and what to do if the reason does not tell.
    fn detail(&self) -> String {
        let reason = &self.reason;
        match self.output.as_deref() {
            None => reason.clone(),
            Some(DEAD_LETTER_OUTPUT) => format!(
                "the output of [dead_letter] does not accept its rejected records: {reason}; \
                 {DEAD_LETTER_ADVICE}"
            ),
            Some(output) => format!("output {output}: {reason}"),
        }
    }
}

/// Whether a host runs a source.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RunState {
    /// The source is being loaded.
    Starting,
    /// The source is being polled.
    #[default]
    Running,
    /// The source has ended while the host keeps running.
    Ended,
}

/// What a host stores besides the source states, so that `status` can report it from
/// outside.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct StoredHost {
    /// The version of `source-host`.
    pub version: Option<String>,
    /// Whether every source was loaded, or failed to be.
    #[serde(default)]
    pub ready: bool,
    /// The outputs.
    #[serde(default)]
    pub outputs: Vec<OutputReport>,
    /// The runtime states that have to be stored, by name of the source.
    #[serde(default)]
    pub sources: BTreeMap<String, SourceRuntimeState>,
}

impl SourceRuntimeState {
    /// Returns whether it has to be stored, since it differs from what the stored state and the
    /// settings imply.
    #[must_use]
    pub fn needs_storing(&self) -> bool {
        let plain = Self {
            outputs: self.outputs.clone(),
            ..Self::default()
        };
        *self != plain
    }
}

impl HostReport {
    /// Returns the exit code of `status`: whether an operator needs to act.
    #[must_use]
    pub fn exit(&self) -> Exit {
        let host = if self.host.running {
            Exit::Done
        } else {
            Exit::Unhealthy
        };
        let mut outputs = self.outputs.iter();
        let outputs = if outputs.any(|output| output.state == State::Blocked) {
            Exit::Failed
        } else {
            Exit::Done
        };
        let sources = self.sources.iter().map(SourceReport::exit);
        sources.chain([outputs]).fold(host, Exit::max)
    }
}

impl SourceReport {
    /// Creates the report of a source from its stored state; `checkpoint_bytes` is the size of the
    /// checkpoint.
    #[must_use]
    pub fn new(
        name: &str,
        source_state: Option<&StoredSource>,
        checkpoint_bytes: Option<usize>,
        runtime_state: &SourceRuntimeState,
        host: &HostSnapshot,
    ) -> Self {
        let blank = StoredSource::new(name);
        let stored = source_state.unwrap_or(&blank);
        let state = state_of_source(source_state, runtime_state, host);
        let stored_at = Time::parse(&stored.stored_at);
        let time = |ms: Option<u64>| ms.map(|epoch_ms| Time { epoch_ms });
        let streams = stored
            .streams
            .iter()
            .map(|(name, stream)| (name.clone(), StreamReport::new(stream, state, stored, host)));
        let streams: BTreeMap<_, _> = streams.collect();
        // Excludes the first minutes of a run, before anything could be stored.
        let active_at = stored_at.max(host.started_at());
        let is_old = active_at.is_some_and(|at| at.age(host.now) > STALE_AFTER);
        let is_at_rest = matches!(state, State::Paused | State::Stopped);
        let is_working = matches!(state, State::Active | State::Failing | State::Waiting);
        let mut waits: Vec<String> = if is_working {
            waits(stored).iter().map(Wait::to_string).collect()
        } else {
            Vec::new()
        };
        if !is_at_rest {
            waits.extend_from_slice(&runtime_state.unanswered);
        }
        Self {
            source: name.to_owned(),
            detail: source_detail(state, stored, runtime_state),
            stale: is_old && state != State::Paused,
            state,
            waits,
            paused_by: runtime_state.paused_by,
            component: stored.component.clone(),
            outputs: runtime_state.outputs.clone(),
            has_checkpoint: checkpoint_bytes.is_some(),
            checkpoint_bytes: checkpoint_bytes.unwrap_or_default(),
            stored_at,
            last_poll_at: time(stored.polled_at_ms),
            last_success_at: time(stored.succeeded_at_ms),
            next_poll_at: time(stored.next_poll_at_ms).filter(|_| !is_at_rest),
            lag_seconds: source_lag_seconds(stored, &streams)
                .or_else(|| host.started_at().map(|at| at.age(host.now).as_secs())),
            memory_bytes_peak: stored.memory_bytes_peak,
            undeliverable: stored.undeliverable,
            settings_error: runtime_state.settings_error.clone(),
            last_error: stored.last_error.clone(),
            streams,
        }
    }

    /// Creates the report of a source whose stored state cannot be read, with the reason.
    #[must_use]
    pub fn unusable(
        name: &str,
        reason: &str,
        runtime_state: &SourceRuntimeState,
        host: &HostSnapshot,
    ) -> Self {
        let mut source_state = StoredSource::new(name);
        source_state.last_error = Some(StatusMessage {
            at: Time::of(host.now).to_string(),
            kind: "state".to_owned(),
            detail: reason.to_owned(),
        });
        Self {
            state: State::Failing,
            detail: reason.to_owned(),
            ..Self::new(name, Some(&source_state), None, runtime_state, host)
        }
    }

    /// Returns the exit code of `status` for this source.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self.state {
            State::Paused => Exit::Done,
            _ if self.settings_error.is_some() => Exit::Failed,
            State::Failing | State::Unauthorized | State::Blocked | State::NotPermitted => {
                Exit::Failed
            }
            State::Stopped if self.last_error.is_some() => Exit::Failed,
            State::Stopped => Exit::Unhealthy,
            State::Active | State::Starting | State::Waiting if self.stale => Exit::Unhealthy,
            State::Active | State::Starting | State::Waiting => Exit::Done,
        }
    }

    /// Returns the sum of a count over all streams.
    #[must_use]
    pub fn sum(&self, count: fn(&StreamReport) -> u64) -> u64 {
        let counts = self.streams.values().map(count);
        counts.fold(0, u64::saturating_add)
    }
}

impl StreamReport {
    fn new(
        stream: &StoredStream,
        state_of_source: State,
        stored: &StoredSource,
        host: &HostSnapshot,
    ) -> Self {
        let applies_to_all = applies_to_all_streams(state_of_source, stored);
        let runs = !matches!(state_of_source, State::Paused | State::Stopped);
        let state = if applies_to_all && !(runs && stream.state == State::NotPermitted) {
            state_of_source
        } else {
            stream.state
        };
        let is_own = state == stream.state;
        let collected_until = stream
            .collected_until_ms
            // Older releases recorded the newest event only.
            .or(stream.newest_ms)
            .and_then(Time::of_signed);
        let since = collected_until.or_else(|| host.started_at());
        let until = stream.until_ms.filter(|_| is_own);
        Self {
            state,
            detail: Some(&stream.state_detail)
                .filter(|_| is_own)
                .cloned()
                .unwrap_or_default(),
            until: until.and_then(Time::of_signed),
            collected_until,
            lag_seconds: since.map(|since| since.age(host.now).as_secs()),
            caught_up: stream.caught_up,
            last_accepted_at: stream.last_accepted_at.as_deref().and_then(Time::parse),
            newest_at: stream.newest_ms.and_then(Time::of_signed),
            received: stream.received,
            events: stream.events,
            rejected: stream.rejected,
            duplicates: stream.duplicates,
            requests: stream.requests,
            received_bytes: stream.received_bytes,
            gaps: stream.gaps,
            quota_remaining: stream.quota_remaining,
            last_error: stream.last_error.clone(),
            last_notice: stream.last_notice.clone(),
        }
    }
}

/// Returns whether the state of the source applies to each of its streams.
fn applies_to_all_streams(state: State, stored: &StoredSource) -> bool {
    match state {
        State::Paused | State::Stopped | State::Blocked | State::Unauthorized | State::Starting => {
            true
        }
        // `failing` streams report the failure themselves.
        State::Failing | State::Waiting => {
            let error = stored.last_error.as_ref();
            error.is_some_and(|error| error.kind != "failing")
        }
        State::Active | State::NotPermitted => false,
    }
}

/// Computes the state of a source: what blocks all of it, else the first of failing, active, waiting and not permitted that one of its streams is in.
fn state_of_source(
    source_state: Option<&StoredSource>,
    runtime_state: &SourceRuntimeState,
    host: &HostSnapshot,
) -> State {
    if runtime_state.paused_by.is_some() {
        return State::Paused;
    }
    if !host.is_alive() {
        return State::Stopped;
    }
    // Nothing is tried again, whatever the reason. A source that could not start, and is tried again,
    // has not ended.
    if runtime_state.run == RunState::Ended {
        return State::Stopped;
    }
    if runtime_state.settings_error.is_some() && runtime_state.run != RunState::Running {
        return State::Failing;
    }
    if runtime_state.blocked.is_some() {
        return State::Blocked;
    }
    let Some(source_state) = source_state else {
        return State::Starting;
    };
    // Compared in seconds, the resolution of the stored state. An older state is of an earlier run,
    // unless the clock was set back since the host started.
    let seconds = |time: Time| time.epoch_ms / 1000;
    let stored_at = Time::parse(&source_state.stored_at).map(seconds);
    let started_at = host.started_at().filter(|at| *at <= Time::of(host.now));
    if stored_at < started_at.map(seconds) {
        return State::Starting;
    }
    match source_state.last_error.as_ref() {
        Some(error) if error.kind == "unauthorized" => return State::Unauthorized,
        Some(error) if error.kind == "throttled" => return State::Waiting,
        Some(_) => return State::Failing,
        None => {}
    }
    // A failing stream comes first; a waiting one does not block the others.
    let by_weight = [
        State::Failing,
        State::Active,
        State::Waiting,
        State::NotPermitted,
    ];
    let is_any = |state: &State| {
        source_state
            .streams
            .values()
            .any(|stream| stream.state == *state)
    };
    let found = by_weight.into_iter().find(is_any);
    found.unwrap_or(State::Starting)
}

/// Returns why a source is in its state; empty where that needs no reason.
fn source_detail(
    state: State,
    source_state: &StoredSource,
    runtime_state: &SourceRuntimeState,
) -> String {
    let error = || {
        let error = source_state.last_error.as_ref()?;
        Some(format!("{}: {}", error.kind, error.detail))
    };
    let stream_detail = || {
        let mut streams = source_state.streams.values();
        let stream = streams.find(|stream| stream.state == state)?;
        Some(stream.state_detail.clone())
    };
    let settings_error = || {
        let error = runtime_state.settings_error.clone();
        error.filter(|_| runtime_state.run != RunState::Running)
    };
    let detail = match state {
        State::Active | State::Starting => None,
        State::Blocked => runtime_state.blocked.as_ref().map(BlockedBy::detail),
        State::Paused => Some(
            match runtime_state.paused_by {
                Some(PausedBy::Api) => "paused by an operator; resume it to collect again",
                Some(PausedBy::Settings) | None => "paused by `enabled = false`",
            }
            .to_owned(),
        ),
        State::Stopped => error(),
        State::Waiting => waits(source_state).first().map(Wait::to_string),
        State::Failing | State::Unauthorized | State::NotPermitted => {
            settings_error().or_else(error).or_else(stream_detail)
        }
    };
    detail.unwrap_or_default()
}

/// Returns the lag of the stream that is furthest behind. A stream without permission falls behind
/// for as long as that lasts, so it counts only if there is no other.
fn source_lag_seconds(
    source_state: &StoredSource,
    streams: &BTreeMap<String, StreamReport>,
) -> Option<u64> {
    let is_permitted = |name: &String| {
        let stream = source_state.streams.get(name);
        stream.is_some_and(|stream| stream.state != State::NotPermitted)
    };
    let permitted = streams.iter().filter(|(name, _)| is_permitted(name));
    let furthest = permitted.filter_map(|(_, stream)| stream.lag_seconds).max();
    let any = || {
        let streams = streams.values();
        streams.filter_map(|stream| stream.lag_seconds).max()
    };
    furthest.or_else(any)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: u64 = 1_770_100_000_000;

    fn host(age_secs: u64, has_ended: bool) -> HostSnapshot {
        HostSnapshot {
            heartbeat: Some(Heartbeat {
                pid: 7,
                started_at_ms: NOW_MS - 86_400_000,
                written_at_ms: NOW_MS - age_secs * 1000,
                has_ended,
            }),
            is_ready: true,
            version: None,
            now: SystemTime::UNIX_EPOCH + Duration::from_millis(NOW_MS),
        }
    }

    /// A source whose streams are in these states, stored so many seconds ago.
    fn stored_source(states: &[State], age_secs: u64) -> StoredSource {
        let mut source_state = StoredSource::new("acme");
        source_state.stored_at = time_text(NOW_MS - age_secs * 1000);
        for ((number, state), behind) in states.iter().enumerate().zip(0_i64..) {
            let stream = StoredStream {
                state: *state,
                collected_until_ms: Some(NOW_MS.cast_signed() - 90_000 * (1 + behind)),
                state_detail: format!("{}: reason", state.name()),
                ..StoredStream::default()
            };
            source_state
                .streams
                .insert(format!("stream-{number}"), stream);
        }
        source_state
    }

    fn error(kind: &str) -> StatusMessage {
        StatusMessage {
            at: String::new(),
            kind: kind.to_owned(),
            detail: "reason".to_owned(),
        }
    }

    fn report(
        source_state: &StoredSource,
        runtime_state: &SourceRuntimeState,
        host: &HostSnapshot,
    ) -> SourceReport {
        SourceReport::new("acme", Some(source_state), None, runtime_state, host)
    }

    fn state(states: &[State], host: &HostSnapshot, age_secs: u64) -> (State, Exit) {
        let report = report(
            &stored_source(states, age_secs),
            &SourceRuntimeState::default(),
            host,
        );
        (report.state, report.exit())
    }

    #[test]
    fn a_source_is_what_its_streams_are_and_one_that_fails_comes_first() {
        use State::{Active, Failing, NotPermitted, Starting, Waiting};
        let alive = host(3, false);
        for (states, expected, exit) in [
            (&[Active, Active][..], Active, Exit::Done),
            (&[Active, Waiting, NotPermitted], Active, Exit::Done),
            (&[Waiting, NotPermitted], Waiting, Exit::Done),
            (&[NotPermitted], NotPermitted, Exit::Failed),
            (&[Active, Failing], Failing, Exit::Failed),
            (&[], Starting, Exit::Done),
        ] {
            assert_eq!(state(states, &alive, 5), (expected, exit), "{states:?}");
        }
    }

    #[test]
    fn what_holds_back_a_source_holds_back_each_of_its_streams() {
        use State::{Active, Blocked, Failing, NotPermitted, Paused, Unauthorized, Waiting};
        let alive = host(3, false);
        let mut source_state = stored_source(&[Active, NotPermitted], 5);
        let of = |report: &SourceReport| {
            let streams: Vec<State> = report.streams.values().map(|it| it.state).collect();
            (report.state, streams, report.exit())
        };
        let mut runtime_state = SourceRuntimeState::default();
        for (kind, state, exit) in [
            ("unauthorized", Unauthorized, Exit::Failed),
            ("throttled", Waiting, Exit::Done),
            ("unavailable", Failing, Exit::Failed),
        ] {
            source_state.last_error = Some(error(kind));
            let report = report(&source_state, &runtime_state, &alive);
            assert_eq!(
                of(&report),
                (state, vec![state, NotPermitted], exit),
                "{kind}"
            );
            let detail = match kind {
                "throttled" => "waiting: reason".to_owned(),
                _ => format!("{kind}: reason"),
            };
            assert_eq!(report.detail, detail);
            assert_eq!(report.streams["stream-0"].detail, "", "not its own state");
        }
        // Of this one the streams say themselves which of them fail.
        source_state.last_error = Some(error("failing"));
        let failing = report(&source_state, &runtime_state, &alive);
        assert_eq!(
            of(&failing),
            (Failing, vec![Active, NotPermitted], Exit::Failed)
        );
        source_state.last_error = None;

        runtime_state.blocked = Some(BlockedBy {
            output: Some("siem".to_owned()),
            reason: "connection refused".to_owned(),
        });
        let blocked = report(&source_state, &runtime_state, &alive);
        assert_eq!(
            of(&blocked),
            (Blocked, vec![Blocked, NotPermitted], Exit::Failed)
        );
        runtime_state.paused_by = Some(PausedBy::Api);
        let paused = report(&source_state, &runtime_state, &alive);
        assert_eq!(of(&paused), (Paused, vec![Paused, Paused], Exit::Done));
        assert_eq!(paused.next_poll_at, None);
    }

    #[test]
    fn what_the_streams_wait_for_is_reported_while_the_source_is_at_work() {
        let mut source_state = stored_source(&[State::Active, State::Waiting, State::Waiting], 5);
        for stream in source_state.streams.values_mut() {
            stream.until_ms = Some(NOW_MS.cast_signed() + 60_000);
            stream.state_detail = "the limit is used up".to_owned();
        }
        let mut runtime_state = SourceRuntimeState::default();
        let expected = "waiting until 2026-02-03T06:27:40Z, streams stream-1, stream-2: the limit \
                        is used up";
        let active = report(&source_state, &runtime_state, &host(3, false));
        assert_eq!((active.state, active.detail.as_str()), (State::Active, ""));
        assert_eq!(active.waits, [expected]);
        source_state.last_error = Some(error("failing"));
        let failing = report(&source_state, &runtime_state, &host(3, false));
        assert_eq!(failing.state, State::Failing);
        assert_eq!(
            failing.waits,
            [expected],
            "one stream fails, the others wait"
        );
        source_state.last_error = None;
        source_state.streams.remove("stream-0");
        let waiting = report(&source_state, &runtime_state, &host(3, false));
        assert_eq!(
            (waiting.state, waiting.detail.as_str()),
            (State::Waiting, expected)
        );
        runtime_state.paused_by = Some(PausedBy::Api);
        assert!(
            report(&source_state, &runtime_state, &host(3, false))
                .waits
                .is_empty()
        );
    }

    #[test]
    fn without_a_host_that_lives_every_source_is_stopped() {
        let never = HostSnapshot {
            heartbeat: None,
            ..host(0, false)
        };
        for dead in [
            host(31, false),
            host(3, true),
            host(3 * 86_400, false),
            never,
        ] {
            let expected = (State::Stopped, Exit::Unhealthy);
            assert_eq!(state(&[State::Active], &dead, 5), expected);
            assert!(!dead.status().running);
            let mut failed = stored_source(&[State::Active], 5);
            failed.last_error = Some(error("settings"));
            let failed = report(&failed, &SourceRuntimeState::default(), &dead);
            assert_eq!(
                (failed.state, failed.exit()),
                (State::Stopped, Exit::Failed)
            );
            assert_eq!(failed.detail, "settings: reason");
        }
        assert_eq!(
            state(&[State::Active], &host(29, false), 5).0,
            State::Active
        );
    }

    #[test]
    fn a_source_that_has_not_been_polled_since_the_host_started_is_starting() {
        let mut alive = host(3, false);
        if let Some(heartbeat) = &mut alive.heartbeat {
            heartbeat.started_at_ms = NOW_MS - 60_000;
        }
        assert_eq!(state(&[State::Failing], &alive, 59).0, State::Failing);
        let before = state(&[State::Failing], &alive, 3 * 86_400);
        assert_eq!(before, (State::Starting, Exit::Done), "nor is it stale yet");
        let runtime_state = SourceRuntimeState {
            run: RunState::Ended,
            ..SourceRuntimeState::default()
        };
        let ended = report(&stored_source(&[State::Active], 5), &runtime_state, &alive);
        assert_eq!(
            (ended.state, ended.exit()),
            (State::Stopped, Exit::Unhealthy)
        );
    }

    #[test]
    fn a_source_that_has_ended_for_good_is_stopped_and_one_that_is_tried_again_is_failing() {
        let alive = host(3, false);
        let of = |kind: &str, run, settings_error: Option<&str>| {
            let mut source_state = stored_source(&[State::Active], 5);
            source_state.last_error = Some(error(kind));
            let runtime_state = SourceRuntimeState {
                run,
                settings_error: settings_error.map(str::to_owned),
                ..SourceRuntimeState::default()
            };
            let report = report(&source_state, &runtime_state, &alive);
            let stream = report.streams["stream-0"].state;
            (report.state, stream, report.exit(), report.detail)
        };
        for kind in ["settings", "denied", "checkpoint", "start"] {
            let detail = format!("{kind}: reason");
            for settings_error in [None, Some("sources/acme.toml: unknown key")] {
                assert_eq!(
                    of(kind, RunState::Ended, settings_error),
                    (State::Stopped, State::Stopped, Exit::Failed, detail.clone())
                );
            }
        }
        let retried = of("start", RunState::Starting, None);
        assert_eq!((retried.0, retried.2), (State::Failing, Exit::Failed));
    }

    #[test]
    fn a_clock_that_is_set_back_during_the_run_makes_no_source_starting() {
        let mut alive = host(0, false);
        if let Some(heartbeat) = &mut alive.heartbeat {
            heartbeat.started_at_ms = NOW_MS + 3_600_000;
        }
        assert_eq!(
            state(&[State::Active], &alive, 5),
            (State::Active, Exit::Done)
        );
        assert_eq!(state(&[State::Failing], &alive, 5).0, State::Failing);
    }

    #[test]
    fn a_source_that_stores_nothing_for_hours_is_stale_and_its_lag_is_a_number() {
        let alive = host(3, false);
        assert_eq!(state(&[State::Active], &alive, 7_199).1, Exit::Done);
        assert_eq!(state(&[State::Active], &alive, 7_201).1, Exit::Unhealthy);
        let mut source_state = stored_source(&[State::Active, State::NotPermitted], 7_201);
        let runtime_state = SourceRuntimeState::default();
        let stale = report(&source_state, &runtime_state, &alive);
        assert!(stale.stale);
        assert_eq!(
            stale.lag_seconds,
            Some(90),
            "the other one is not permitted"
        );
        assert_eq!(stale.streams["stream-1"].lag_seconds, Some(180));
        // Nothing is known of the first one: it is behind by at least the time of this run.
        let blank = StoredStream::default();
        source_state.streams.insert("stream-0".to_owned(), blank);
        let lag = report(&source_state, &runtime_state, &alive).lag_seconds;
        assert_eq!(lag, Some(86_400));
        let unknown = SourceReport::new("acme", None, None, &runtime_state, &alive);
        assert_eq!(unknown.lag_seconds, Some(86_400));
    }

    #[test]
    fn the_exit_code_is_that_of_what_is_worst() {
        let output = |state| OutputReport {
            output: "siem".to_owned(),
            output_type: "http".to_owned(),
            state,
            detail: String::new(),
            last_success_at: Some(Time { epoch_ms: NOW_MS }),
            retries: 0,
            unanswered_seconds: 0,
            blocked_seconds: 0,
            events: 0,
            batches: 0,
            waiting_sources: 0,
        };
        let exit = |host: &HostSnapshot, age_secs, output_state| {
            let source_state = stored_source(&[State::Active], age_secs);
            let report = HostReport {
                host: host.status(),
                sources: vec![report(&source_state, &SourceRuntimeState::default(), host)],
                outputs: vec![output(output_state)],
                fleet: None,
            };
            report.exit().code()
        };
        let (alive, dead) = (host(3, false), host(31, false));
        assert_eq!(exit(&alive, 5, State::Active), 0);
        assert_eq!(exit(&alive, 5, State::Blocked), 1);
        assert_eq!(exit(&alive, 7_201, State::Active), 3);
        assert_eq!(exit(&alive, 7_201, State::Blocked), 1);
        assert_eq!(exit(&dead, 5, State::Stopped), 3);
        // What is stored of an output is read as it was written.
        let text = serde_json::to_string(&output(State::Blocked)).unwrap();
        assert_eq!(
            serde_json::from_str::<OutputReport>(&text).unwrap(),
            output(State::Blocked)
        );
    }
}
