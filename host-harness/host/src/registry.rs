//! In-memory state of the running host: source loops and the supervisor write it, the admin
//! server reads it. `heartbeat` stores what `status` needs from outside the process.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use source_outputs::{OutputStatus, Outputs};
use source_runtime::store::{Heartbeat, State, StoredSource, epoch_ms};
use tokio::sync::Notify;

use crate::counts::Counts;
use crate::report::{
    BlockedBy, FleetReport, HostReport, HostSnapshot, OutputReport, PausedBy, RunState,
    SourceReport, SourceRuntimeState, StoredHost, Time,
};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A delivery or request without a response is shown after this time: most responses come sooner, and
/// time limits end later.
const UNANSWERED_SHOWN_AFTER: Duration = Duration::from_secs(10);

/// All sources and outputs of a running host. Clones share the same state.
#[derive(Clone)]
pub struct Registry {
    shared: Arc<Shared>,
}

struct Shared {
    started_at: SystemTime,
    is_ready: AtomicBool,
    sources: RwLock<BTreeMap<String, SourceEntry>>,
    outputs: RwLock<Vec<Arc<Outputs>>>,
    observer: OnceLock<Arc<dyn MetricsObserver>>,
    fleet: RwLock<Option<FleetReport>>,
}

/// Returns a text about how long there has been no response to something, if that is long.
fn unanswered_text(what: &str, since: Option<SystemTime>, now: SystemTime) -> Option<String> {
    let since = since?;
    let age = now.duration_since(since).unwrap_or_default();
    let is_shown = age >= UNANSWERED_SHOWN_AFTER;
    is_shown.then(|| format!("{what} has had no response since {}", Time::of(since)))
}

fn output_report(status: OutputStatus, now: SystemTime) -> OutputReport {
    let unanswered_for = status
        .unresponsive_since
        .map(|since| Time::of(since).age(now));
    let unanswered = unanswered_text("what is delivered", status.unresponsive_since, now);
    let state = match (&status.blocked, status.last_success_at) {
        (Some(_), _) => State::Blocked,
        (None, Some(_)) => State::Active,
        (None, None) => State::Starting,
    };
    OutputReport {
        output: status.name,
        output_type: status.output_type,
        state,
        detail: status.blocked.or(unanswered).unwrap_or_default(),
        unanswered_seconds: unanswered_for.unwrap_or_default().as_secs(),
        last_success_at: status.last_success_at.map(Time::of),
        retries: status.retries,
        blocked_seconds: status.blocked_for.as_secs(),
        events: status.events,
        batches: status.batches,
        waiting_sources: status.waiting_sources,
    }
}

/// Observes durations of polls and deliveries, and the results of requests, for metrics.
pub trait MetricsObserver: Send + Sync {
    /// A poll of a source has ended.
    fn polled(&self, source: &str, took: Duration);

    /// A delivery of a source was accepted by every output.
    fn delivered(&self, source: &str, took: Duration);

    /// A request of a source was answered with an HTTP status; `None` where no response came.
    fn request_completed(&self, source: &str, status: Option<u16>);
}

/// The state of one source. Clones share the same state.
#[derive(Clone)]
pub struct SourceEntry {
    name: Arc<str>,
    state: Arc<Mutex<EntryState>>,
    wake: Arc<Notify>,
}

struct EntryState {
    /// Without the checkpoint, which may be large.
    source_state: Option<StoredSource>,
    checkpoint_bytes: Option<usize>,
    /// Its counts in the first stored state.
    counts_at_start: Option<Counts>,
    runtime_state: SourceRuntimeState,
    /// Why something of it cannot be stored, by what that is.
    storage_errors: BTreeMap<&'static str, String>,
    /// How many of its requests have no response yet, by when they began.
    pending_requests: BTreeMap<SystemTime, usize>,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self
            .entries()
            .iter()
            .map(|it| it.name.to_string())
            .collect();
        f.debug_struct("Registry")
            .field("sources", &names)
            .finish_non_exhaustive()
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self::new()
    }
}

impl Registry {
    /// Creates an empty registry for a host that starts now.
    #[must_use]
    pub fn new() -> Self {
        Self {
            shared: Arc::new(Shared {
                started_at: SystemTime::now(),
                is_ready: AtomicBool::new(false),
                sources: RwLock::default(),
                outputs: RwLock::default(),
                observer: OnceLock::new(),
                fleet: RwLock::default(),
            }),
        }
    }

    /// Returns when the host started.
    #[must_use]
    pub fn started_at(&self) -> SystemTime {
        self.shared.started_at
    }

    /// Adds a source, replacing one of the same name. It is `starting` until it is updated.
    pub fn add_source(&self, name: &str, outputs: Vec<String>) -> SourceEntry {
        let entry = SourceEntry::new(name, outputs);
        let sources = self.shared.sources.write();
        let mut sources = sources.unwrap_or_else(PoisonError::into_inner);
        sources.insert(name.to_owned(), entry.clone());
        entry
    }

    /// Adds a source again that was removed. What another host counted in the meantime is not counted
    /// here: its counts begin with the next state.
    pub(crate) fn restore_source(&self, entry: &SourceEntry) {
        let sources = self.shared.sources.write();
        let mut sources = sources.unwrap_or_else(PoisonError::into_inner);
        let present = sources.get(entry.name());
        if present.is_none_or(|present| !Arc::ptr_eq(&present.state, &entry.state)) {
            entry.lock().counts_at_start = None;
            sources.insert(entry.name().to_owned(), entry.clone());
        }
    }

    /// Removes a source.
    pub fn remove_source(&self, name: &str) {
        let sources = self.shared.sources.write();
        let mut sources = sources.unwrap_or_else(PoisonError::into_inner);
        sources.remove(name);
    }

    /// Returns the source of that name.
    #[must_use]
    pub fn entry(&self, name: &str) -> Option<SourceEntry> {
        let sources = self.shared.sources.read();
        let sources = sources.unwrap_or_else(PoisonError::into_inner);
        sources.get(name).cloned()
    }

    /// Adds the outputs of the run.
    pub fn add_outputs(&self, outputs: Arc<Outputs>) {
        let all = self.shared.outputs.write();
        let mut all = all.unwrap_or_else(PoisonError::into_inner);
        all.push(outputs);
    }

    /// Records whether every source was loaded, or failed to be.
    pub fn set_ready(&self, is_ready: bool) {
        self.shared.is_ready.store(is_ready, Ordering::Relaxed);
    }

    /// Returns whether every source was loaded, or failed to be.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.shared.is_ready.load(Ordering::Relaxed)
    }

    /// Sets the observer of polls, deliveries and requests. Later calls are ignored.
    pub fn set_observer(&self, observer: Arc<dyn MetricsObserver>) {
        let _ = self.shared.observer.set(observer);
    }

    /// Returns the observer of polls, deliveries and requests.
    #[must_use]
    pub fn observer(&self) -> Option<&Arc<dyn MetricsObserver>> {
        self.shared.observer.get()
    }

    /// Returns a report of the whole host.
    #[must_use]
    pub fn report(&self, now: SystemTime) -> HostReport {
        let host = self.host_snapshot(now);
        HostReport {
            host: host.status(),
            sources: self
                .entries()
                .iter()
                .map(|entry| self.build_source_report(entry, &host))
                .collect(),
            outputs: self.output_reports(now),
            fleet: self.fleet(),
        }
    }

    /// Changes what is reported of this host's part in a fleet.
    pub(crate) fn update_fleet(&self, change: impl FnOnce(&mut FleetReport)) {
        let fleet = self.shared.fleet.write();
        let mut fleet = fleet.unwrap_or_else(PoisonError::into_inner);
        change(fleet.get_or_insert_default());
    }

    /// Returns whether the sources are tenants of a fleet.
    pub(crate) fn is_fleet(&self) -> bool {
        let fleet = self.shared.fleet.read();
        fleet.unwrap_or_else(PoisonError::into_inner).is_some()
    }

    fn fleet(&self) -> Option<FleetReport> {
        let fleet = self.shared.fleet.read();
        fleet.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reports one source.
    #[must_use]
    pub fn source_report(&self, name: &str, now: SystemTime) -> Option<SourceReport> {
        let entry = self.entry(name)?;
        Some(self.build_source_report(&entry, &self.host_snapshot(now)))
    }

    /// Returns a report of the outputs.
    #[must_use]
    pub fn output_reports(&self, now: SystemTime) -> Vec<OutputReport> {
        let outputs = self.outputs();
        let reports = outputs.iter().flat_map(|outputs| outputs.report());
        reports.map(|status| output_report(status, now)).collect()
    }

    /// Returns what is stored for `status` besides the source states.
    #[must_use]
    pub fn to_stored_host(&self) -> StoredHost {
        let now = SystemTime::now();
        let sources = self.entries().into_iter().filter_map(|entry| {
            let runtime_state = self.runtime_state(entry.name(), &entry.lock(), now);
            let name = entry.name().to_owned();
            runtime_state
                .needs_storing()
                .then_some((name, runtime_state))
        });
        StoredHost {
            version: Some(VERSION.to_owned()),
            ready: self.is_ready(),
            sources: sources.collect(),
            outputs: self.output_reports(now),
        }
    }

    fn entries(&self) -> Vec<SourceEntry> {
        let sources = self.shared.sources.read();
        let sources = sources.unwrap_or_else(PoisonError::into_inner);
        sources.values().cloned().collect()
    }

    fn outputs(&self) -> Vec<Arc<Outputs>> {
        let outputs = self.shared.outputs.read();
        let outputs = outputs.unwrap_or_else(PoisonError::into_inner);
        outputs.clone()
    }

    fn build_source_report(&self, entry: &SourceEntry, host: &HostSnapshot) -> SourceReport {
        let name = entry.name();
        let entry = entry.lock();
        let runtime_state = self.runtime_state(name, &entry, host.now);
        let (source_state, checkpoint_bytes) =
            (entry.source_state.as_ref(), entry.checkpoint_bytes);
        SourceReport::new(name, source_state, checkpoint_bytes, &runtime_state, host)
    }

    /// Returns the runtime state of a source, with what it waits for.
    fn runtime_state(&self, name: &str, entry: &EntryState, now: SystemTime) -> SourceRuntimeState {
        let outputs = self.outputs();
        let blocking_output = || {
            let blocked = outputs
                .iter()
                .find_map(|outputs| outputs.blocking_output(name));
            blocked.map(|(output, reason)| BlockedBy {
                output: Some(output),
                reason,
            })
        };
        let blocking_host = || {
            let (what, reason) = entry.storage_errors.first_key_value()?;
            Some(BlockedBy {
                output: None,
                reason: format!(
                    "its {what} cannot be stored: {reason}; fix that, and it continues by itself"
                ),
            })
        };
        let unanswered = outputs
            .iter()
            .find_map(|outputs| outputs.unresponsive_output(name));
        let unanswered_delivery = unanswered.and_then(|(output, since)| {
            unanswered_text(
                &format!("the delivery to output {output}"),
                Some(since),
                now,
            )
        });
        let oldest_request = entry.pending_requests.keys().next().copied();
        let unanswered_request = unanswered_text("a request to the upstream", oldest_request, now);
        SourceRuntimeState {
            blocked: blocking_output().or_else(blocking_host),
            unanswered: [unanswered_request, unanswered_delivery]
                .into_iter()
                .flatten()
                .collect(),
            ..entry.runtime_state.clone()
        }
    }

    /// Returns a snapshot of this process, which is running by definition.
    fn host_snapshot(&self, now: SystemTime) -> HostSnapshot {
        HostSnapshot {
            heartbeat: Some(Heartbeat {
                pid: process::id(),
                started_at_ms: epoch_ms(self.shared.started_at),
                written_at_ms: epoch_ms(now),
                has_ended: false,
            }),
            is_ready: self.is_ready(),
            version: Some(VERSION.to_owned()),
            now,
        }
    }
}

impl SourceEntry {
    fn new(name: &str, outputs: Vec<String>) -> Self {
        let state = EntryState {
            source_state: None,
            checkpoint_bytes: None,
            counts_at_start: None,
            storage_errors: BTreeMap::new(),
            pending_requests: BTreeMap::new(),
            runtime_state: SourceRuntimeState {
                outputs,
                run: RunState::Starting,
                ..SourceRuntimeState::default()
            },
        };
        Self {
            name: name.into(),
            state: Arc::new(Mutex::new(state)),
            wake: Arc::default(),
        }
    }

    /// Returns the name of the source.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Ends the present wait of the source, which then reads its secrets again and is polled. If it
    /// does not wait now, its next wait ends at once.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// Returns the signal that [`Self::wake`] notifies.
    pub(crate) fn wake_signal(&self) -> Arc<Notify> {
        Arc::clone(&self.wake)
    }

    fn lock(&self) -> MutexGuard<'_, EntryState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces the stored state: counts and the states of the streams.
    pub fn update(&self, source_state: &StoredSource) {
        let checkpoint_bytes = source_state.checkpoint.as_ref().map(String::len);
        let source_state = source_state.without_checkpoint();
        let mut entry = self.lock();
        entry.checkpoint_bytes = checkpoint_bytes;
        entry
            .counts_at_start
            .get_or_insert_with(|| Counts::of_source_state(&source_state));
        entry.source_state = Some(source_state);
    }

    /// Notes why the source could not be started. Its streams and counts stay those of the last
    /// state, which may be one that can no longer be read from the disk.
    pub fn note_start_error(&self, reason: &str) {
        let mut entry = self.lock();
        let blank = || StoredSource::new(&self.name);
        let state = entry.source_state.get_or_insert_with(blank);
        state.note_start_error(reason);
    }

    /// Returns its counts in the first stored state; `None` if there is none yet.
    pub(crate) fn counts_at_start(&self) -> Option<Counts> {
        self.lock().counts_at_start
    }

    /// Sets whether the host runs it.
    pub fn set_run_state(&self, run: RunState) {
        self.lock().runtime_state.run = run;
    }

    /// Returns whether the host runs it.
    pub(crate) fn run_state(&self) -> RunState {
        self.lock().runtime_state.run
    }

    /// Sets what pauses the source; `None` for nothing.
    pub fn set_paused(&self, paused_by: Option<PausedBy>) {
        self.lock().runtime_state.paused_by = paused_by;
    }

    /// Sets why the current settings are not used; `None` if they are.
    pub fn set_settings_error(&self, error: Option<String>) {
        self.lock().runtime_state.settings_error = error;
    }

    /// Sets the outputs for the source's events.
    pub fn set_outputs(&self, outputs: Vec<String>) {
        self.lock().runtime_state.outputs = outputs;
    }

    /// Notes a request to the upstream that has no response yet.
    pub(crate) fn request_begun(&self, begun_at: SystemTime) {
        let mut entry = self.lock();
        let count = entry.pending_requests.entry(begun_at).or_default();
        *count = count.saturating_add(1);
    }

    /// Notes that a request that began then has a response, or is given up.
    pub(crate) fn request_ended(&self, begun_at: SystemTime) {
        let mut entry = self.lock();
        if let Entry::Occupied(mut count) = entry.pending_requests.entry(begun_at) {
            *count.get_mut() = count.get().saturating_sub(1);
            if *count.get() == 0 {
                count.remove();
            }
        }
    }

    /// Sets why something of the source, such as `rejected records`, cannot be stored; `None` if the
    /// source no longer waits for it.
    pub fn set_storage_error(&self, what: &'static str, reason: Option<&str>) {
        let mut entry = self.lock();
        match reason {
            Some(reason) => drop(entry.storage_errors.insert(what, reason.to_owned())),
            None => drop(entry.storage_errors.remove(what)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use source_runtime::store::StoredStream;

    fn stored_source(now: SystemTime, state: State) -> StoredSource {
        let mut source_state = StoredSource::new("acme");
        source_state.stored_at = Time::of(now).to_string();
        source_state.checkpoint = Some("{\"v\":1}".to_owned());
        let stream = StoredStream {
            state,
            received: 7,
            events: 7,
            ..StoredStream::default()
        };
        source_state.streams.insert("audit".to_owned(), stream);
        source_state
    }

    #[test]
    fn a_source_is_reported_from_its_addition_to_its_removal() {
        let registry = Registry::new();
        let now = SystemTime::now();
        let entry = registry.add_source("acme", vec!["siem".to_owned()]);
        let state = |registry: &Registry| registry.source_report("acme", now).map(|it| it.state);
        assert_eq!(state(&registry), Some(State::Starting));
        entry.set_run_state(RunState::Running);
        entry.update(&stored_source(now, State::Active));
        let report = registry.source_report("acme", now).unwrap();
        assert_eq!(report.state, State::Active);
        assert_eq!((report.has_checkpoint, report.checkpoint_bytes), (true, 7));
        assert_eq!(report.outputs, ["siem"]);
        assert_eq!(report.streams["audit"].events, 7);

        entry.set_paused(Some(PausedBy::Api));
        assert_eq!(state(&registry), Some(State::Paused));
        entry.set_paused(None);
        entry.set_storage_error("rejected records", Some("/x: no space left on device"));
        entry.set_storage_error("checkpoint", Some("/y: no space left on device"));
        entry.set_storage_error("checkpoint", None);
        let report = registry.source_report("acme", now).unwrap();
        assert_eq!(report.state, State::Blocked);
        assert_eq!(
            report.detail,
            "its rejected records cannot be stored: /x: no space left on device; fix that, and \
             it continues by itself"
        );
        assert_eq!(report.streams["audit"].state, State::Blocked);
        // `status`, which reads it from outside, reports the same.
        assert!(registry.to_stored_host().sources["acme"].blocked.is_some());
        entry.set_storage_error("rejected records", None);
        assert_eq!(state(&registry), Some(State::Active));
        assert!(registry.to_stored_host().sources.is_empty());
        registry.remove_source("acme");
        assert_eq!(state(&registry), None);
    }

    #[test]
    fn a_source_that_is_restored_counts_from_then_on() {
        let registry = Registry::new();
        let now = SystemTime::now();
        let entry = registry.add_source("acme", Vec::new());
        entry.set_run_state(RunState::Running);
        let mut source_state = stored_source(now, State::Active);
        entry.update(&source_state);
        registry.remove_source("acme");
        assert!(registry.report(now).sources.is_empty());
        // Another host has worked on it.
        for events in [1_000, 2_000] {
            source_state.streams.get_mut("audit").unwrap().events = events;
            registry.restore_source(&entry);
            entry.update(&source_state);
            let report = registry.source_report("acme", now).unwrap();
            assert_eq!(report.streams["audit"].events, events);
            // The second time it is still registered, so nothing is reset.
            assert_eq!(entry.counts_at_start().unwrap().events, 1_000);
        }
    }

    #[test]
    fn a_request_that_has_no_response_for_long_is_shown_until_it_has_one() {
        let registry = Registry::new();
        let entry = registry.add_source("acme", Vec::new());
        entry.set_run_state(RunState::Running);
        let begun_at = SystemTime::now();
        let at = |seconds: u64| begun_at + Duration::from_secs(seconds);
        let waits = |seconds: u64| registry.source_report("acme", at(seconds)).unwrap().waits;
        entry.request_begun(at(0));
        assert!(waits(5).is_empty(), "most responses take a moment");
        // Also of the first poll, which has no state yet.
        let oldest = |since: u64| {
            let since = Time::of(at(since));
            [format!(
                "a request to the upstream has had no response since {since}"
            )]
        };
        assert_eq!(waits(11), oldest(0));
        entry.set_paused(Some(PausedBy::Api));
        assert!(waits(20).is_empty());
        entry.set_paused(None);
        // Others that begin and end do not hide it.
        entry.request_begun(at(0));
        entry.request_begun(at(12));
        entry.request_begun(at(15));
        entry.request_ended(at(0));
        entry.request_ended(at(12));
        assert_eq!(waits(20), oldest(0));
        entry.request_ended(at(0));
        assert!(waits(20).is_empty(), "the last one waits since then only");
        assert_eq!(waits(25), oldest(15));
        entry.request_ended(at(15));
        assert!(waits(30).is_empty());
        assert!(entry.lock().pending_requests.is_empty());
    }

    #[test]
    fn a_settings_error_fails_a_source_only_where_no_good_version_of_it_runs() {
        let registry = Registry::new();
        let now = SystemTime::now();
        let entry = registry.add_source("acme", Vec::new());
        entry.set_settings_error(Some("sources/acme.toml: unknown key".to_owned()));
        let report = registry.source_report("acme", now).unwrap();
        assert_eq!(report.state, State::Failing);
        assert_eq!(report.detail, "sources/acme.toml: unknown key");
        entry.set_run_state(RunState::Running);
        entry.update(&stored_source(now, State::Active));
        let report = registry.source_report("acme", now).unwrap();
        assert_eq!(report.state, State::Active);
        assert!(report.settings_error.is_some());
        assert_eq!(report.exit(), source_common::exit::Exit::Failed);
    }

    #[test]
    fn sources_are_reported_by_name_with_the_process_that_runs_them() {
        let registry = Registry::new();
        for name in ["b", "c", "a"] {
            registry.add_source(name, Vec::new());
        }
        let report = registry.report(SystemTime::now());
        let names = report.sources.iter().map(|it| it.source.as_str());
        assert_eq!(names.collect::<Vec<_>>(), ["a", "b", "c"]);
        assert!(report.host.running && !report.host.ready);
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["host"]["pid"], process::id());
        assert_eq!(json["sources"][0]["state"], "starting");
        assert!(json["sources"][0]["lag_seconds"].is_u64(), "{json}");
        assert_eq!(
            json["sources"][0]["settings_error"],
            serde_json::Value::Null
        );
        registry.set_ready(true);
        assert!(registry.report(SystemTime::now()).host.ready);
    }
}
