//! From the settings of one source to its loop. What cannot start is the
//! failure of that source alone: it is logged, shown by `status` and in the
//! exit code, and tried again where another try can help.

use std::sync::Arc;

use async_trait::async_trait;
use source_common::backoff::Backoff;
use source_common::disk::blocking;
use source_common::exit::{Exit, Failure};
use source_common::secret::Secret;
use source_runtime::outgoing::RequestObserver;
use source_runtime::shutdown::Shutdown;
use source_runtime::source::{ComponentLoader, NetworkAccess, Source};
use source_runtime::source_loop::{SettingsReloader, SourceExit, SourceLoop};
use source_runtime::store::{RenameOutcome, State, StateDir, StoredSource, state_path};
use tokio::sync::{Notify, watch};
use tokio::time::sleep;
use tracing::{debug, error, info, warn};

use super::{HostContext, RunSettings, Shared};
use crate::connection_check::STREAMS_KEY;
use crate::destination::{Destination, RequestReporter};
use crate::progress::SourceProgressBar;
use crate::registry::SourceEntry;
use crate::report::RunState;
use crate::settings::SourceSettings;
use crate::source;

/// Starts one source, again where that can help, and runs it until it ends.
pub(super) struct SourceRunner {
    /// The state of the supervisor, with the context that all sources share.
    pub(super) shared: Arc<Shared>,
    /// Its settings.
    pub(super) run_settings: Arc<RunSettings>,
    /// Its entry in the registry, to which its state is reported.
    pub(super) entry: SourceEntry,
    /// The request to stop this source.
    pub(super) shutdown: Shutdown,
    /// Ends the wait before the next try.
    pub(super) retry: Arc<Notify>,
    /// The first attempt of a source that the run began with.
    pub(super) startup: Option<StartupAttempt>,
}

/// A source that is ready to run, and its stored state.
type PreparedSource = (Source, StoredSource);

/// Why a source was not prepared.
enum PrepareError {
    Failed(Failure),
    /// It is to stop.
    Stopped,
}

impl From<Failure> for PrepareError {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl SourceRunner {
    /// Starts the source and runs it until it ends.
    pub(super) async fn run(self) -> (SourceExit, StoredSource) {
        let entry = self.entry.clone();
        let ended = self.run_until_end().await;
        entry.set_run_state(RunState::Ended);
        ended
    }

    async fn run_until_end(mut self) -> (SourceExit, StoredSource) {
        let mut backoff = Backoff::default();
        let bars = &self.context().bars;
        let progress = bars.add_source(self.name(), &self.empty_state());
        loop {
            // Boxed, so that its memory is freed afterwards: the task lives for as long as the source.
            let prepared = Box::pin(self.prepare()).await;
            let failure = match prepared {
                Ok((source, source_state)) => {
                    return self.run_prepared(source, source_state, progress).await;
                }
                Err(PrepareError::Failed(failure)) => failure,
                Err(PrepareError::Stopped) => return (SourceExit::Stopped, self.empty_state()),
            };
            self.entry.note_start_error(&failure.message);
            backoff.fail();
            let failures = backoff.failures();
            let may_try_again = !self.context().once && failure.is_retryable;
            if !may_try_again {
                return (SourceExit::Failed(failure), self.empty_state());
            }
            // Dropping it counts the first attempt as failed.
            let is_startup = self.startup.take().is_some() && failures == 1;
            if is_startup && self.has_startup_failed().await {
                // Whoever started the host may start it again: another try can help.
                let exit = Exit::Failed;
                let failure = Failure { exit, ..failure };
                return (SourceExit::Failed(failure), self.empty_state());
            }
            let wait = backoff.delay();
            let seconds = wait.as_secs_f64();
            error!(source = %self.name(), failures, "{failure}; next try in {seconds:.1} s");
            progress.start_failed(&failure.message, wait);
            tokio::select! {
                () = sleep(wait) => {}
                () = self.retry.notified() => {}
                _ = self.shutdown.requested() => return (SourceExit::Failed(failure), self.empty_state()),
            }
        }
    }

    /// Waits until a source that the run began with has started, or each has failed to, and returns whether
    /// none has started: such a run ends, so that whoever started it notices.
    async fn has_startup_failed(&self) -> bool {
        let context = self.context();
        !context.runs_without_sources && !context.startup_tracker.any_started().await
    }

    fn context(&self) -> &HostContext {
        &self.shared.context
    }

    fn name(&self) -> &str {
        &self.run_settings.settings.name
    }

    /// Loads the stored state of the source, its component and its settings. Gives up at a stop, but
    /// not while it writes: a late write would overwrite what the next run or a reset stores.
    async fn prepare(&self) -> Result<PreparedSource, PrepareError> {
        self.take_over_checkpoint().await?;
        let mut source_state = self.context().state_dir.load(self.name())?;
        match self.unless_stopped(self.prepare_source()).await? {
            Ok(source) => Ok((source, source_state)),
            Err(failure) => {
                source_state.note_start_error(&failure.message);
                self.entry.update(&source_state);
                self.store(source_state).await;
                Err(PrepareError::Failed(failure))
            }
        }
    }

    /// Awaits `work`; returns `Stopped` if the source is to stop first.
    async fn unless_stopped<T>(&self, work: impl Future<Output = T>) -> Result<T, PrepareError> {
        let mut shutdown = self.shutdown.clone();
        tokio::select! {
            biased;
            _ = shutdown.requested() => Err(PrepareError::Stopped),
            done = work => Ok(done),
        }
    }

    /// Takes over the checkpoint that the source has under its former name, once the source of that
    /// name has stopped.
    async fn take_over_checkpoint(&self) -> Result<(), PrepareError> {
        let settings = &self.run_settings.settings;
        let Some(former) = settings.renamed_from.clone() else {
            return Ok(());
        };
        let (file, name) = (settings.file.display().to_string(), self.name().to_owned());
        let failed = |failure: Failure| Failure {
            message: format!("{file}: source `{name}`: {failure}"),
            ..failure
        };
        let removed = self.shared.wait_for_stop_of_removed(&former);
        self.unless_stopped(removed).await?.map_err(failed)?;
        // A reset of it that is under way reads and writes the checkpoint too.
        let suspension = self.shared.suspend(&former);
        let _suspension = self.unless_stopped(suspension).await?;
        let (state_dir, to) = (Arc::clone(&self.context().state_dir), name.clone());
        let from = former.clone();
        let moved = blocking(move || Ok(state_dir.rename(&from, &to))).await;
        let moved = moved.map_err(|error| failed(Failure::failed(error.to_string())))?;
        match moved.map_err(failed)? {
            RenameOutcome::Moved => {
                info!(source = %name, "took over the checkpoint of `{former}`, its former name");
            }
            RenameOutcome::TargetHasCheckpoint => {
                let own = state_path(self.context().state_dir.path(), &name);
                warn!(
                    source = %name,
                    "the checkpoint of `{former}` is not moved to this source, which has one of \
                     its own; leave `renamed_from` out, or stop the host and move {} away to \
                     continue where `{former}` was",
                    own.display()
                );
            }
            RenameOutcome::NothingToRename => {}
        }
        Ok(())
    }

    async fn prepare_source(&self) -> Result<Source, Failure> {
        let settings = &self.run_settings.settings;
        self.run_settings.files.note_read();
        let components = &self.context().components;
        let source = source::prepare(components, settings, NetworkAccess::Online).await?;
        // Settings that the component refuses end the source here. One that
        // fails in another way is run, and its loop tries it again.
        if let Err(error) = source::try_settings(&source, settings, 0).await? {
            debug!(source = %source.name, "settings were not checked: {error}");
        }
        Ok(source)
    }

    /// Stores the state, so that `status` shows it. A failure to do so is only logged.
    async fn store(&self, source_state: StoredSource) {
        let state_dir = Arc::clone(&self.context().state_dir);
        if let Err(error) = blocking(move || state_dir.store(&source_state)).await {
            let directory = self.context().state_dir.path().display();
            warn!(source = %self.name(), "its failure was not stored in {directory}: {error}");
        }
    }

    async fn run_prepared(
        mut self,
        source: Source,
        source_state: StoredSource,
        mut progress: SourceProgressBar,
    ) -> (SourceExit, StoredSource) {
        progress.begin(&source_state);
        if let Some(startup) = self.startup.take() {
            startup.started();
        }
        self.entry.update(&source_state);
        self.entry.set_run_state(RunState::Running);
        let description = &source.description;
        info!(
            source = %source.name,
            component = %description.name,
            version = %description.version,
            "started"
        );
        let context = &self.shared.context;
        let reloader = Reloader {
            run_settings: Arc::clone(&self.run_settings),
            components: context.components.clone(),
            request_observer: Arc::new(RequestReporter {
                entry: self.entry.clone(),
                registry: context.registry.clone(),
            }),
        };
        source.observe_requests(Arc::clone(&reloader.request_observer));
        let wake = self.entry.wake_signal();
        let destination = Destination {
            progress,
            outputs: Arc::clone(&context.outputs),
            output_names: self.run_settings.settings.outputs.clone(),
            namespace: description.namespace.clone(),
            dead_letter: context.dead_letters.sink_for(&source.name),
            entry: self.entry,
            registry: context.registry.clone(),
        };
        let source_loop = SourceLoop {
            source: Arc::new(source),
            source_state,
            store: Arc::<StateDir>::clone(&context.state_dir),
            sink: Arc::new(destination),
            once: context.once,
            wake,
            reloader: Some(Arc::new(reloader)),
            shutdown: self.shutdown,
        };
        let (end, source_state) = source_loop.run().await;
        match (
            end,
            missing_permissions(&self.run_settings.settings, &source_state),
        ) {
            (SourceExit::CaughtUp, Some(refused)) => (SourceExit::Failed(refused), source_state),
            (end, _) => (end, source_state),
        }
    }

    fn empty_state(&self) -> StoredSource {
        StoredSource::new(self.name())
    }
}

/// Returns the failure for streams that the settings name and that are not permitted: whoever names
/// a stream wants it.
fn missing_permissions(settings: &SourceSettings, source_state: &StoredSource) -> Option<Failure> {
    let wanted = settings
        .component_settings
        .table
        .get(STREAMS_KEY)?
        .as_array()?;
    // A stream by its name, or by that of its family.
    let is_wanted = |stream: &str| {
        let names = wanted.iter().filter_map(toml::Value::as_str);
        let mut rest = names.filter_map(|name| stream.strip_prefix(name));
        rest.any(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    let refused = source_state.streams.iter();
    let refused =
        refused.filter(|(name, stream)| stream.state == State::NotPermitted && is_wanted(name));
    let (names, details): (Vec<&str>, Vec<&str>) = refused
        .map(|(name, stream)| (name.as_str(), stream.state_detail.as_str()))
        .unzip();
    let detail = details.first()?;
    Some(Failure::failed(format!(
        "source `{}`: named in `{STREAMS_KEY}` but not permitted: {}: {detail}",
        settings.name,
        names.join(", ")
    )))
}

/// Reads the files again that the settings of a source refer to.
struct Reloader {
    run_settings: Arc<RunSettings>,
    components: ComponentLoader,
    request_observer: Arc<dyn RequestObserver>,
}

#[async_trait]
impl SettingsReloader for Reloader {
    async fn reload(&self, current: &Source) -> Result<Option<Source>, Failure> {
        self.prepare_if_changed(current.settings()).await
    }
}

impl Reloader {
    /// Prepares the source again if its settings differ from `current`. Only then its files count
    /// as read: a changed file that does not change the settings, such as `ca_file`, is used by the
    /// next run.
    async fn prepare_if_changed(&self, current: &Secret) -> Result<Option<Source>, Failure> {
        let (settings, access) = (&self.run_settings.settings, NetworkAccess::Online);
        let versions = self.run_settings.files.current_versions();
        let read = source::prepare_if_changed(&self.components, settings, access, current).await?;
        if let Some(source) = &read {
            self.run_settings.files.note_read_versions(versions);
            source.observe_requests(Arc::clone(&self.request_observer));
        }
        Ok(read)
    }
}

/// Tracks the first attempts to start the sources that a run begins with. Clones share the state.
#[derive(Clone, Debug)]
pub(crate) struct StartupTracker {
    counts: watch::Sender<StartCounts>,
}

#[derive(Clone, Copy, Debug, Default)]
struct StartCounts {
    started: usize,
    pending: usize,
    /// Whether every source that the run begins with is counted.
    is_closed: bool,
}

impl StartCounts {
    fn are_finished(self) -> bool {
        self.is_closed && self.pending == 0
    }
}

/// The first attempt to start one source, which counts as failed when this is dropped.
#[derive(Debug)]
pub(super) struct StartupAttempt {
    counts: watch::Sender<StartCounts>,
}

impl StartupTracker {
    /// Creates a tracker without sources.
    pub(crate) fn new() -> Self {
        Self {
            counts: watch::Sender::default(),
        }
    }

    /// Counts a source, if the run begins with it.
    pub(super) fn add(&self) -> Option<StartupAttempt> {
        let is_first = self.counts.send_if_modified(|counts| {
            if !counts.is_closed {
                counts.pending = counts.pending.saturating_add(1);
            }
            !counts.is_closed
        });
        is_first.then(|| StartupAttempt {
            counts: self.counts.clone(),
        })
    }

    /// Notes that every source that the run begins with has been added.
    pub(crate) fn close(&self) {
        self.counts.send_modify(|counts| counts.is_closed = true);
    }

    /// Waits until every source has started or failed to.
    pub(crate) async fn all_finished(&self) {
        let mut counts = self.counts.subscribe();
        // `self` holds a sender, so this does not fail.
        let _ = counts.wait_for(|counts| counts.are_finished()).await;
    }

    /// Waits until a source has started, or none can. Returns whether one has.
    async fn any_started(&self) -> bool {
        let mut counts = self.counts.subscribe();
        let finished = counts.wait_for(|counts| counts.started > 0 || counts.are_finished());
        finished.await.is_ok_and(|counts| counts.started > 0)
    }
}

impl StartupAttempt {
    fn started(self) {
        self.counts.send_modify(|counts| {
            counts.started = counts.started.saturating_add(1);
        });
    }
}

impl Drop for StartupAttempt {
    fn drop(&mut self) {
        self.counts.send_modify(|counts| {
            counts.pending = counts.pending.saturating_sub(1);
        });
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::sync::mpsc;
    use std::time::{Duration, SystemTime};

    use source_runtime::shutdown::{self, ShutdownTrigger};
    use source_runtime::store;
    use tokio::task::{spawn_blocking, yield_now};
    use tokio::time::timeout;

    use super::*;
    use crate::registry::Registry;
    use crate::settings::Settings;
    use crate::supervisor::Supervisor;
    use crate::supervisor::tests::{poll_is_pending, supervisor};

    /// How long a test waits for what takes milliseconds.
    const DEADLINE: Duration = Duration::from_secs(60);
    /// How often a test yields: more often than any step here needs.
    const TURNS: usize = 100;

    /// Runs a test with one thread for blocking operations, which [`block_disk`] can occupy.
    fn with_one_disk_thread(test: impl Future<Output = ()>) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.max_blocking_threads(1).enable_all().build();
        runtime.unwrap().block_on(test);
    }

    /// Has every write wait until the returned value is dropped.
    fn block_disk() -> mpsc::Sender<()> {
        let (disk_blocker, freed) = mpsc::channel();
        drop(spawn_blocking(move || freed.recv()));
        disk_blocker
    }

    /// The runner of a source that cannot start, as its component does not exist.
    fn runner(supervisor: &Supervisor, directory: &Path) -> (SourceRunner, ShutdownTrigger) {
        let text = "[[source]]\nname = \"acme\"\ncomponent = \"none.wasm\"\nrenamed_from = \"old\"\n\
                    [[output]]\ntype = \"stdout\"\n";
        let mut settings = Settings::parse(text, &directory.join("host.toml")).unwrap();
        let (stop, shutdown) = shutdown::channel();
        let runner = SourceRunner {
            shared: Arc::clone(&supervisor.shared),
            run_settings: RunSettings::new(settings.sources.remove(0)),
            entry: supervisor.context().registry.add_source("acme", Vec::new()),
            shutdown,
            retry: Arc::default(),
            startup: None,
        };
        (runner, stop)
    }

    /// Asserts that a run that writes waits for that after a request to stop. Otherwise the late write
    /// could replace what a reset stores as soon as the source counts as stopped.
    async fn assert_stops_after_writing<F: Future + Unpin>(
        running: &mut F,
        stop: &ShutdownTrigger,
        disk_blocker: mpsc::Sender<()>,
    ) {
        stop.stop();
        for _ in 0..TURNS {
            assert!(poll_is_pending(running).await, "before the write has ended");
            yield_now().await;
        }
        drop(disk_blocker);
        assert!(timeout(DEADLINE, running).await.is_ok());
    }

    #[test]
    fn a_source_that_is_stopped_while_its_failure_is_stored_ends_after_that() {
        with_one_disk_thread(async {
            let directory = tempfile::tempdir().unwrap();
            let supervisor = supervisor(directory.path()).await;
            let state_dir = supervisor.context().state_dir.path();
            let (runner, stop) = runner(&supervisor, directory.path());
            let entry = runner.entry.clone();
            let mut running = Box::pin(runner.run());
            let has_failed = || {
                let registry = &supervisor.context().registry;
                let report = registry.source_report(entry.name(), SystemTime::now());
                report.unwrap().detail.contains("none.wasm")
            };
            let failed = timeout(DEADLINE, async {
                let mut disk_blocker = None;
                while !has_failed() {
                    drop(disk_blocker.take());
                    for _ in 0..TURNS {
                        yield_now().await;
                    }
                    disk_blocker = Some(block_disk());
                    assert!(poll_is_pending(&mut running).await);
                }
                disk_blocker.unwrap()
            });
            let disk_blocker = failed.await.unwrap();
            assert!(store::read(state_dir, "acme").unwrap().is_none());
            assert_stops_after_writing(&mut running, &stop, disk_blocker).await;
            assert!(store::read(state_dir, "acme").unwrap().is_some());
        });
    }

    #[test]
    fn a_source_that_is_stopped_while_it_takes_over_a_checkpoint_ends_after_that() {
        with_one_disk_thread(async {
            let directory = tempfile::tempdir().unwrap();
            let supervisor = supervisor(directory.path()).await;
            let state_dir = &supervisor.context().state_dir;
            let mut former = StoredSource::new("old");
            former.checkpoint = Some("{}".to_owned());
            state_dir.store(&former).unwrap();
            let (runner, stop) = runner(&supervisor, directory.path());
            let mut running = Box::pin(runner.run());
            let disk_blocker = block_disk();
            for _ in 0..TURNS {
                assert!(poll_is_pending(&mut running).await);
                yield_now().await;
            }
            assert_stops_after_writing(&mut running, &stop, disk_blocker).await;
            let taken_over = state_dir.load("acme").unwrap();
            assert_eq!(taken_over.checkpoint, former.checkpoint);
        });
    }

    #[tokio::test]
    async fn a_changed_file_that_no_new_run_has_read_still_counts_as_changed() {
        let directory = tempfile::tempdir().unwrap();
        let ca_file = directory.path().join("ca.pem");
        fs::write(&ca_file, "one").unwrap();
        let text = "[[source]]\nname = \"acme\"\ncomponent = \"none.wasm\"\nca_file = \"ca.pem\"\n\
                    [[output]]\ntype = \"stdout\"\n";
        let mut settings = Settings::parse(text, &directory.path().join("host.toml")).unwrap();
        let registry = Registry::new();
        let reloader = Reloader {
            run_settings: RunSettings::new(settings.sources.remove(0)),
            components: ComponentLoader::new(None, 0).unwrap(),
            request_observer: Arc::new(RequestReporter {
                entry: registry.add_source("acme", Vec::new()),
                registry,
            }),
        };
        assert!(!reloader.run_settings.files.have_changed());
        fs::write(&ca_file, "another").unwrap();
        let read = reloader
            .prepare_if_changed(&Secret::new("{}".to_owned()))
            .await;
        assert!(read.is_err(), "there is no component");
        assert!(reloader.run_settings.files.have_changed());
    }
}
