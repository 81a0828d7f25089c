//! The sources that a host runs. Each has a task of its own that starts it, stops it and starts it
//! again, so that a change of one source waits for that source and for no other.
//!
//! The supervisor does not know where sources come from. Its callers pass one [`SourceChange`] for
//! each source that was added, changed or removed to [`Supervisor::apply`], and wait with
//! [`Supervisor::stopped`] until a source no longer runs.

mod control;
mod files;
mod pauses;
mod settings_watch;
mod start;
mod suspensions;
mod worker;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use source_common::disk::{FileVersion, blocking};
use source_common::exit::Failure;
use source_outputs::Outputs;
use source_runtime::shutdown::{Shutdown, ShutdownTrigger};
use source_runtime::source::ComponentLoader;
use source_runtime::source_loop::SourceExit;
use source_runtime::store::{StateDir, StoredSource};
use tokio::sync::{Notify, OwnedMutexGuard, watch};
use tokio::task::JoinSet;
use tokio::time::error::Elapsed;
use tokio::time::timeout;
use tracing::{Level, error, event_enabled, info, warn};

pub(crate) use self::control::FileControl;
pub(crate) use self::files::SettingsManager;
use self::pauses::Pauses;
pub(crate) use self::pauses::paused_sources;
pub(crate) use self::settings_watch::SettingsWatch;
pub(crate) use self::start::StartupTracker;
use self::suspensions::Suspensions;
use self::worker::{Phase, Worker};
use crate::dead_letter::DeadLetterSinks;
use crate::log;
use crate::progress::ProgressBars;
use crate::registry::{Registry, SourceEntry};
use crate::report::{PausedBy, RunState};
use crate::settings::{FaultySource, InheritedSettings, SourceSettings};

pub(crate) const STDOUT_CLOSED: &str = "standard output was closed by its reader";

/// What all sources share.
pub(crate) struct HostContext {
    /// Loads components.
    pub(crate) components: ComponentLoader,
    /// Where checkpoints are kept.
    pub(crate) state_dir: Arc<StateDir>,
    /// Where events go.
    pub(crate) outputs: Arc<Outputs>,
    /// The settings that a file of `sources_dir` inherits from the settings file.
    pub(crate) inherited: InheritedSettings,
    /// Where rejected records go.
    pub(crate) dead_letters: DeadLetterSinks,
    /// The progress on a terminal.
    pub(crate) bars: Arc<ProgressBars>,
    /// The state that is reported.
    pub(crate) registry: Registry,
    /// Whether a source ends when it is caught up.
    pub(crate) once: bool,
    /// Whether the run continues when every source has ended, since others may be added.
    pub(crate) runs_without_sources: bool,
    /// Tracks the first attempts of the sources that the run begins with.
    pub(crate) startup_tracker: StartupTracker,
    /// Requests a stop of the host, when one source finds that none can continue.
    pub(crate) shutdown_trigger: ShutdownTrigger,
    /// The request to stop.
    pub(crate) shutdown: Shutdown,
}

/// A change of one source, from the settings files or from the admin server.
#[derive(Debug)]
pub(crate) enum SourceChange {
    /// The source is there, with these settings. A source that runs with the same settings is not
    /// changed; one that has ended, or waits to be started again, is started.
    Set(Box<SourceSettings>),
    /// The source is there, and its settings cannot be used. If it runs, it continues with the last
    /// ones that could.
    Faulty(FaultySource),
    /// The source is no longer there. Its checkpoint is kept.
    Remove(String),
}

/// The outcome of a change.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum ChangeOutcome {
    Added,
    Changed,
    Refused,
    Removed,
    Unchanged,
}

/// How one source has ended.
#[derive(Clone, Debug)]
pub struct SourceSummary {
    /// Its name.
    pub name: String,
    /// How it ended.
    pub exit: SourceExit,
    /// Its stored state.
    pub source_state: StoredSource,
}

/// Owns the sources that run. Clones share them.
#[derive(Clone)]
pub(crate) struct Supervisor {
    shared: Arc<Shared>,
}

struct Shared {
    context: HostContext,
    pauses: Pauses,
    sources: Mutex<Sources>,
    /// Notified whenever a source has ended.
    ended: watch::Sender<()>,
}

#[derive(Default)]
struct Sources {
    by_name: BTreeMap<String, SupervisedSource>,
    suspensions: Suspensions,
    tasks: JoinSet<()>,
    /// How many were ever added.
    added: usize,
}

/// One source: its state, and the channels to its task.
struct SupervisedSource {
    /// Its index in the order in which sources were added.
    index: usize,
    target: watch::Sender<Target>,
    phase: watch::Receiver<Phase>,
    retry: Arc<Notify>,
    /// How it last ended.
    end: Option<(SourceExit, StoredSource)>,
}

impl SupervisedSource {
    /// Notes why the present settings are not used. A source with settings that could be used keeps
    /// them.
    fn note_settings_error(&self, failure: &Failure) {
        self.target.send_if_modified(|target| {
            let message = failure.message.clone();
            target.entry.set_settings_error(Some(message));
            if let Err(earlier) = &mut target.run_settings {
                earlier.clone_from(failure);
            }
            // Its task does the same for one reason as for another.
            false
        });
    }
}

/// The target state of one source, which its task brings about.
#[derive(Clone)]
struct Target {
    entry: SourceEntry,
    /// The settings to run it with, or why no version of them can be used.
    run_settings: Result<Arc<RunSettings>, Failure>,
    /// A run that began with another number is replaced.
    generation: u64,
    paused_by: Option<PausedBy>,
    /// Whether its checkpoint is being changed.
    is_suspended: bool,
    is_removed: bool,
}

impl Target {
    /// Requests that the current run is ended and another one begun.
    fn request_restart(&mut self) {
        self.generation = self.generation.wrapping_add(1);
    }

    /// Returns the settings to run the source with now; `None` where it should not run.
    fn runnable(&self) -> Option<&Arc<RunSettings>> {
        let may_run = self.paused_by.is_none() && !self.is_suspended && !self.is_removed;
        self.run_settings.as_ref().ok().filter(|_| may_run)
    }
}

/// The settings that a source runs with, and the files that they refer to.
struct RunSettings {
    settings: SourceSettings,
    files: ReferencedFiles,
}

impl RunSettings {
    fn new(settings: SourceSettings) -> Arc<Self> {
        let files = ReferencedFiles::new(settings.referenced_files());
        Arc::new(Self { settings, files })
    }

    /// Returns whether a run with these settings would be the same, and its files are unchanged.
    fn is_up_to_date(&self, settings: &SourceSettings) -> bool {
        self.settings.is_equivalent(settings) && !self.files.have_changed()
    }
}

/// Files that are read at the start of a source, such as those of secrets.
struct ReferencedFiles {
    paths: Vec<PathBuf>,
    /// Their versions when they were last read.
    read_versions: Mutex<Vec<FileVersion>>,
}

impl ReferencedFiles {
    fn new(paths: Vec<PathBuf>) -> Self {
        let read_versions = Mutex::new(versions(&paths));
        Self {
            paths,
            read_versions,
        }
    }

    /// Notes that they are read now.
    fn note_read(&self) {
        self.note_read_versions(self.current_versions());
    }

    /// Returns their present versions, for [`Self::note_read_versions`].
    fn current_versions(&self) -> Vec<FileVersion> {
        versions(&self.paths)
    }

    /// Notes that they were read when they had these versions, or later.
    fn note_read_versions(&self, versions: Vec<FileVersion>) {
        *self.lock() = versions;
    }

    /// Returns the files with their versions when they were last read.
    fn files_with_read_versions(&self) -> Vec<(PathBuf, FileVersion)> {
        let versions = self.lock();
        self.paths
            .iter()
            .cloned()
            .zip(versions.iter().copied())
            .collect()
    }

    fn have_changed(&self) -> bool {
        *self.lock() != self.current_versions()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<FileVersion>> {
        self.read_versions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn versions(paths: &[PathBuf]) -> Vec<FileVersion> {
    paths.iter().map(|path| FileVersion::of(path)).collect()
}

/// Keeps a source suspended until it is dropped.
struct SuspensionGuard {
    shared: Arc<Shared>,
    name: String,
    /// Exclusive access to what is stored of the source. `None` while this waits for it.
    access: Option<OwnedMutexGuard<()>>,
}

impl Drop for SuspensionGuard {
    fn drop(&mut self) {
        let mut sources = self.shared.lock();
        drop(self.access.take());
        sources.suspensions.remove(&self.name);
        sources.update_suspension(&self.name);
    }
}

impl Supervisor {
    /// Creates a supervisor without sources.
    pub(crate) fn new(context: HostContext) -> Result<Self, Failure> {
        let pauses = Pauses::read(context.state_dir.path())?;
        Ok(Self {
            shared: Arc::new(Shared {
                context,
                pauses,
                sources: Mutex::default(),
                ended: watch::Sender::new(()),
            }),
        })
    }

    /// Returns what all sources share.
    pub(crate) fn context(&self) -> &HostContext {
        &self.shared.context
    }

    /// Carries out a change. Returns at once: a source that has to stop for it stops meanwhile.
    pub(crate) fn apply(&self, change: SourceChange) -> ChangeOutcome {
        match change {
            SourceChange::Set(settings) => self.set(*settings),
            SourceChange::Faulty(faulty) => self.set_faulty(faulty),
            SourceChange::Remove(name) => self.remove(&name),
        }
    }

    fn set(&self, settings: SourceSettings) -> ChangeOutcome {
        let name = settings.name.clone();
        let outputs = settings.outputs.clone();
        let outputs = outputs.unwrap_or_else(|| self.context().inherited.outputs.clone());
        // Written before the lock is taken, which every other source needs.
        if let Some(former) = &settings.renamed_from
            && self.shared.lock().unremoved_mut(former).is_none()
        {
            self.shared.pauses.rename(former, &name);
        }
        let mut sources = self.shared.lock();
        let paused_by = self.shared.paused_by(&settings);
        let Some(source) = sources.unremoved_mut(&name) else {
            let entry = self.context().registry.add_source(&name, outputs);
            entry.set_paused(paused_by);
            if paused_by.is_some() {
                log_pause(&name, paused_by);
            }
            let run_settings = Ok(RunSettings::new(settings));
            self.add(&mut sources, entry, run_settings, paused_by);
            return ChangeOutcome::Added;
        };
        let target = source.target.borrow().clone();
        target.entry.set_settings_error(None);
        target.entry.set_outputs(outputs);
        target.entry.set_paused(paused_by);
        // The former name counts until the source has started: its checkpoint is taken over then.
        let has_started = target.entry.run_state() == RunState::Running;
        let is_same_run = target.run_settings.is_ok_and(|run_settings| {
            let is_same_former_name = run_settings.settings.renamed_from == settings.renamed_from;
            (has_started || is_same_former_name) && run_settings.is_up_to_date(&settings)
        });
        let is_same_pause = target.paused_by == paused_by;
        let has_ended = *source.phase.borrow() == Phase::Ended;
        if is_same_run && is_same_pause && !has_ended {
            source.retry.notify_waiters();
            return ChangeOutcome::Unchanged;
        }
        if !is_same_pause {
            log_pause(&name, paused_by);
        }
        source.end = None;
        source.target.send_modify(|target| {
            target.paused_by = paused_by;
            // The new settings may differ only in whether they pause the source.
            if !is_same_run || !is_same_pause {
                target.run_settings = Ok(RunSettings::new(settings));
            }
            if !is_same_run || has_ended {
                target.request_restart();
            }
        });
        ChangeOutcome::Changed
    }

    fn set_faulty(&self, faulty: FaultySource) -> ChangeOutcome {
        let FaultySource { name, failure } = faulty;
        let mut sources = self.shared.lock();
        if let Some(source) = sources.unremoved_mut(&name) {
            if source.target.borrow().run_settings.is_ok() {
                error!(source = %name, "{failure}; it keeps its last good settings");
            } else {
                error!(source = %name, "{failure}");
            }
            source.note_settings_error(&failure);
        } else {
            let entry = self.context().registry.add_source(&name, Vec::new());
            entry.set_settings_error(Some(failure.message.clone()));
            error!(source = %name, "{failure}");
            self.add(&mut sources, entry, Err(failure), None);
        }
        ChangeOutcome::Refused
    }

    fn remove(&self, name: &str) -> ChangeOutcome {
        let mut sources = self.shared.lock();
        let Some(source) = sources.unremoved_mut(name) else {
            return ChangeOutcome::Unchanged;
        };
        source.target.send_modify(|target| target.is_removed = true);
        self.context().registry.remove_source(name);
        info!(source = %name, "removed; its checkpoint is kept");
        ChangeOutcome::Removed
    }

    /// Returns the names of the sources that are not removed.
    fn names(&self) -> Vec<String> {
        let sources = self.shared.lock();
        let present = sources.by_name.iter();
        let present = present.filter(|(_, source)| !source.target.borrow().is_removed);
        present.map(|(name, _)| name.clone()).collect()
    }

    /// Returns the settings that a source runs with, or why it cannot run; `None` where there is no
    /// such source.
    fn run_settings(&self, name: &str) -> Option<Result<Arc<RunSettings>, Failure>> {
        let mut sources = self.shared.lock();
        let source = sources.unremoved_mut(name)?;
        let run_settings = source.target.borrow().run_settings.clone();
        Some(run_settings)
    }

    /// Returns the settings of the sources whose settings can be used.
    fn usable_run_settings(&self) -> Vec<Arc<RunSettings>> {
        let sources = self.shared.lock();
        let sources = sources.by_name.values();
        let usable = sources.filter_map(|source| {
            let target = source.target.borrow();
            let run_settings = target.run_settings.clone().ok();
            run_settings.filter(|_| !target.is_removed)
        });
        usable.collect()
    }

    /// Returns the files that the settings of sources refer to, with their versions when they were
    /// last read.
    fn referenced_files(&self) -> BTreeMap<PathBuf, FileVersion> {
        let usable = self.usable_run_settings();
        let files = usable
            .iter()
            .flat_map(|run_settings| run_settings.files.files_with_read_versions());
        files.collect()
    }

    /// Returns whether these settings would replace others that can be used.
    fn would_replace(&self, settings: &SourceSettings) -> bool {
        match self.run_settings(&settings.name) {
            Some(Ok(run_settings)) => !run_settings.is_up_to_date(settings),
            Some(Err(_)) | None => false,
        }
    }

    /// Notes for every source why the present settings are not used.
    fn note_settings_error(&self, failure: &Failure) {
        for source in self.shared.lock().by_name.values() {
            source.note_settings_error(failure);
        }
    }

    /// Pauses a source until it is resumed, also across a restart, or resumes it.
    async fn set_pause(&self, name: &str, is_paused: bool) -> io::Result<()> {
        let (shared, source) = (Arc::clone(&self.shared), name.to_owned());
        blocking(move || shared.pauses.set(&source, is_paused)).await?;
        if let Some(source) = self.shared.lock().unremoved_mut(name) {
            // The settings may pause it as well, since a moment ago.
            let run_settings = source.target.borrow().run_settings.clone();
            let paused_by = match &run_settings {
                Ok(run_settings) => self.shared.paused_by(&run_settings.settings),
                Err(_) => is_paused.then_some(PausedBy::Api),
            };
            let is_changed = source.target.send_if_modified(|target| {
                let is_changed = target.paused_by != paused_by;
                target.paused_by = paused_by;
                target.entry.set_paused(paused_by);
                is_changed
            });
            if is_changed {
                source.end = None;
                log_pause(name, paused_by);
            }
        }
        Ok(())
    }

    /// Forgets the pause of a source that was removed.
    async fn forget_pause(&self, name: &str) {
        let (shared, source) = (Arc::clone(&self.shared), name.to_owned());
        if let Err(error) = blocking(move || shared.pauses.set(&source, false)).await {
            let directory = self.context().state_dir.path().display();
            warn!(source = %name, "its pause was not removed from {directory}: {error}");
        }
    }

    /// Forgets the pauses of all sources that do not exist.
    async fn forget_pauses_of_absent(&self) {
        let shared = Arc::clone(&self.shared);
        let present: BTreeSet<String> = self.names().into_iter().collect();
        if let Err(error) = blocking(move || shared.pauses.retain(&present)).await {
            let directory = self.context().state_dir.path().display();
            warn!("the pauses of sources that are gone were not removed from {directory}: {error}");
        }
    }

    /// Stops a source and keeps it suspended until the guard is dropped. Concurrent calls for the
    /// same source succeed one after the other. The error is that the source has not stopped in
    /// time.
    async fn suspend(&self, name: &str, stop_max: Duration) -> Result<SuspensionGuard, Elapsed> {
        let suspension = self.shared.suspend(name).await;
        timeout(stop_max, self.stopped(name)).await?;
        Ok(suspension)
    }

    /// Waits until a source does not run: it is paused, suspended, removed, or has ended.
    pub(crate) async fn stopped(&self, name: &str) {
        if let Some(mut phase) = self.shared.phase(name) {
            // Its task drops the sender when the source is removed.
            let _ = phase.wait_for(|phase| *phase != Phase::Running).await;
        }
    }

    /// Adds a source, and its task.
    fn add(
        &self,
        sources: &mut Sources,
        entry: SourceEntry,
        run_settings: Result<Arc<RunSettings>, Failure>,
        paused_by: Option<PausedBy>,
    ) {
        let name = entry.name().to_owned();
        let target = Target {
            entry,
            run_settings,
            generation: 0,
            paused_by,
            is_suspended: sources.suspensions.contains(&name),
            is_removed: false,
        };
        if let Some(removed) = sources.by_name.get_mut(&name) {
            // It was removed, and has not yet stopped: its task starts it again then.
            removed.end = None;
            removed.target.send_modify(|present| {
                let generation = present.generation.wrapping_add(1);
                *present = Target {
                    generation,
                    ..target
                };
            });
            return;
        }
        let startup_tracker = &self.context().startup_tracker;
        let startup = target.runnable().and_then(|_| startup_tracker.add());
        let (target, target_receiver) = watch::channel(target);
        let (phase_sender, phase) = watch::channel(Phase::Idle);
        let retry = Arc::new(Notify::new());
        let worker = Worker {
            shared: Arc::clone(&self.shared),
            name: name.clone(),
            target: target_receiver,
            phase: phase_sender,
            retry: Arc::clone(&retry),
            startup,
        };
        // Removes tasks that have ended.
        while sources.tasks.try_join_next().is_some() {}
        sources.tasks.spawn(worker.run());
        let source = SupervisedSource {
            index: sources.added,
            target,
            phase,
            retry,
            end: None,
        };
        sources.added = sources.added.saturating_add(1);
        sources.by_name.insert(name, source);
    }

    /// Waits until no source runs or may be resumed, as [`Sources::have_ended`] determines; forever if the run
    /// continues without sources.
    pub(crate) async fn all_ended(&self) {
        let mut ended = self.shared.ended.subscribe();
        loop {
            if !self.context().runs_without_sources
                && self.shared.lock().have_ended(self.context().once)
            {
                return;
            }
            if ended.changed().await.is_err() {
                return;
            }
        }
    }

    /// Waits until the sources have stopped, if a stop was requested, and at most `stop_max` after
    /// the request. Returns how they ended, in the order in which they were added.
    pub(crate) async fn finish(self, stop_max: Duration) -> Vec<SourceSummary> {
        let mut shutdown = self.context().shutdown.clone();
        let mut tasks = std::mem::take(&mut self.shared.lock().tasks);
        if shutdown.is_requested() {
            loop {
                tokio::select! {
                    joined = tasks.join_next() => if joined.is_none() { break },
                    // A source that has not ended by now is aborted; its position has not moved.
                    () = shutdown.grace_elapsed(stop_max) => break,
                }
            }
        }
        tasks.shutdown().await;
        let by_name = std::mem::take(&mut self.shared.lock().by_name);
        let mut sources: Vec<(String, SupervisedSource)> = by_name.into_iter().collect();
        sources.sort_by_key(|(_, source)| source.index);
        let once = self.context().once;
        let summaries = sources.into_iter().filter_map(|(name, source)| {
            let target = source.target.borrow();
            let (end, source_state) = match (source.end, &target.run_settings) {
                (Some(ended), _) => ended,
                (None, Ok(_)) if target.runnable().is_some() => {
                    (SourceExit::Stopped, StoredSource::new(&name))
                }
                (None, Err(failure)) if once => {
                    let end = SourceExit::Failed(failure.clone());
                    (end, StoredSource::new(&name))
                }
                (None, Ok(_) | Err(_)) => return None,
            };
            Some(SourceSummary {
                name,
                exit: end,
                source_state,
            })
        });
        summaries.collect()
    }
}

impl Sources {
    /// Returns a source, unless it is being removed.
    fn unremoved_mut(&mut self, name: &str) -> Option<&mut SupervisedSource> {
        let source = self.by_name.get_mut(name);
        source.filter(|source| !source.target.borrow().is_removed)
    }

    /// Stops a source that is suspended, and lets it run again if it no longer is.
    fn update_suspension(&mut self, name: &str) {
        let is_suspended = self.suspensions.contains(name);
        if let Some(source) = self.by_name.get_mut(name) {
            let is_changed = source.target.send_if_modified(|target| {
                let is_changed = target.is_suspended != is_suspended;
                target.is_suspended = is_suspended;
                is_changed
            });
            if is_changed && !is_suspended {
                source.end = None; // it runs again
            }
        }
    }

    /// Returns whether no source runs or may be resumed, and at least one has ended by itself: a run whose
    /// sources are all paused by the settings continues. With `--once` none need have ended, and operators
    /// are not waited for.
    fn have_ended(&self, once: bool) -> bool {
        let mut ends = self.by_name.values().map(|source| {
            let target = source.target.borrow();
            let is_inactive = target.run_settings.is_err()
                || target.paused_by == Some(PausedBy::Settings)
                || (once && target.paused_by.is_some());
            (source.end.is_some(), is_inactive)
        });
        let has_any = once || self.by_name.values().any(|source| source.end.is_some());
        has_any && ends.all(|(has_ended, is_inactive)| has_ended || is_inactive)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Sources> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Suspends a source until the guard is dropped, and waits until nobody else suspends it. When
    /// this returns, the source may still be stopping.
    async fn suspend(self: &Arc<Self>, name: &str) -> SuspensionGuard {
        let access = {
            let mut sources = self.lock();
            let access = sources.suspensions.add(name);
            sources.update_suspension(name);
            access
        };
        // Created before the wait, so that the suspension ends also if the wait is cancelled.
        let mut suspension = SuspensionGuard {
            shared: Arc::clone(self),
            name: name.to_owned(),
            access: None,
        };
        suspension.access = Some(access.lock_owned().await);
        suspension
    }

    /// Logs how a source has ended, keeps it, and notifies those who wait for the end of sources. If
    /// standard output is closed, stops the host.
    fn handle_exit(&self, name: &str, end: SourceExit, source_state: StoredSource) {
        match &end {
            SourceExit::CaughtUp => info!(source = %name, "caught up"),
            SourceExit::Failed(failure) | SourceExit::OutputFailed(failure) => {
                error!(source = %name, "{failure}");
            }
            SourceExit::LeaseLost => info!(source = %name, "left to another host"),
            SourceExit::OutputClosed => {
                error!(source = %name, "{STDOUT_CLOSED}");
                // No other source can deliver either.
                self.context.shutdown_trigger.stop();
            }
            SourceExit::Stopped => info!(source = %name, "stopped"),
        }
        if let Some(source) = self.lock().by_name.get_mut(name) {
            source.end = Some((end, source_state));
        }
        self.ended.send_replace(());
    }

    /// Forgets a source that was removed and has stopped. Returns whether it is still removed.
    fn forget_if_removed(&self, name: &str) -> bool {
        let mut sources = self.lock();
        let source = sources.by_name.get(name);
        let is_removed = source.is_none_or(|source| source.target.borrow().is_removed);
        if is_removed {
            sources.by_name.remove(name);
        }
        is_removed
    }

    /// Waits until a source that was removed has stopped. The error is that it is not removed.
    async fn wait_for_stop_of_removed(&self, name: &str) -> Result<(), Failure> {
        let is_removed = {
            let sources = self.lock();
            let source = sources.by_name.get(name);
            source.is_none_or(|source| source.target.borrow().is_removed)
        };
        if !is_removed {
            let reason = "which is a source too; remove that one, or leave `renamed_from` out";
            let reason = format!("`renamed_from` is `{name}`, {reason}");
            return Err(Failure::settings(reason).retryable());
        }
        if let Some(mut phase) = self.phase(name) {
            // Its task drops the sender when it ends.
            while phase.changed().await.is_ok() {}
        }
        Ok(())
    }

    /// Returns a receiver for what the task of a source does.
    fn phase(&self, name: &str) -> Option<watch::Receiver<Phase>> {
        let sources = self.lock();
        sources.by_name.get(name).map(|source| source.phase.clone())
    }

    /// Returns what pauses a source with these settings.
    fn paused_by(&self, settings: &SourceSettings) -> Option<PausedBy> {
        if !settings.enabled {
            Some(PausedBy::Settings)
        } else if self.pauses.contains(&settings.name) {
            Some(PausedBy::Api)
        } else {
            None
        }
    }
}

/// Writes why sources have failed to standard error, where the levels of the log leave errors out.
pub(crate) fn report_unlogged_failures(sources: &[SourceSummary]) {
    if event_enabled!(Level::ERROR) {
        return;
    }
    for source in sources {
        if let SourceExit::Failed(failure) | SourceExit::OutputFailed(failure) = &source.exit {
            log::write_to_stderr(&format!("source `{}`: {failure}", source.name));
        }
    }
}

fn log_pause(source: &str, paused_by: Option<PausedBy>) {
    match paused_by {
        None => info!(%source, "resumed"),
        Some(PausedBy::Api) => {
            info!(%source, "paused by an operator; its position is kept until it is resumed");
        }
        Some(PausedBy::Settings) => {
            info!(%source, "paused by `enabled = false`; its position is kept");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::task::Poll;
    use std::time::SystemTime;

    use serde_json::json;
    use source_common::line_numbers::KeyLineNumbers;
    use source_runtime::shutdown;

    use super::*;
    use crate::admin::{Control, ControlError, PutMode};
    use crate::settings::Settings;

    const STOP_MAX: Duration = Duration::from_secs(60);
    const HOST: &str = "state_dir = \"state\"\nsources_dir = \"sources\"\n\
                        [[output]]\ntype = \"file\"\npath = \"events.ndjson\"\n";

    pub(super) async fn supervisor(directory: &Path) -> Supervisor {
        fs::create_dir(directory.join("sources")).unwrap();
        fs::write(directory.join("host.toml"), HOST).unwrap();
        let settings = Settings::read(&directory.join("host.toml")).unwrap();
        let state_dir = Arc::new(StateDir::open(&settings.state_dir).unwrap());
        let outputs = Outputs::open(settings.named_outputs(), None).await.unwrap();
        let dead_letters = DeadLetterSinks::open(&settings, &state_dir, None).await;
        let (shutdown_trigger, shutdown) = shutdown::channel();
        Supervisor::new(HostContext {
            components: ComponentLoader::new(None, 0).unwrap(),
            state_dir,
            outputs: Arc::new(outputs),
            inherited: settings.inherited(),
            dead_letters: dead_letters.unwrap(),
            bars: Arc::new(ProgressBars::new(false, 0)),
            registry: Registry::new(),
            once: false,
            runs_without_sources: true,
            startup_tracker: StartupTracker::new(),
            shutdown_trigger,
            shutdown,
        })
        .unwrap()
    }

    /// Adds a source that cannot run.
    fn add(supervisor: &Supervisor) {
        let failure = Failure::settings("cannot be used");
        supervisor.apply(SourceChange::Faulty(FaultySource {
            name: "acme".to_owned(),
            failure,
        }));
    }

    /// Settings of the source `acme`. Nothing of it runs before the next `await`.
    fn set(supervisor: &Supervisor, directory: &Path, text: &str) -> ChangeOutcome {
        let path = directory.join("sources/acme.toml");
        let (table, lines) = (text.parse().unwrap(), KeyLineNumbers::default());
        let inherited = &supervisor.context().inherited;
        let settings = SourceSettings::from_table(&path, "acme", table, &lines, inherited);
        supervisor.apply(SourceChange::Set(Box::new(settings.unwrap())))
    }

    fn paused_by(supervisor: &Supervisor) -> Option<PausedBy> {
        let sources = supervisor.shared.lock();
        let target = sources.by_name["acme"].target.borrow();
        target.paused_by
    }

    fn is_suspended(supervisor: &Supervisor) -> bool {
        let sources = supervisor.shared.lock();
        let target = sources.by_name["acme"].target.borrow();
        target.is_suspended
    }

    pub(super) async fn poll_is_pending<F: Future + Unpin>(future: &mut F) -> bool {
        let mut future = std::pin::Pin::new(future);
        std::future::poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_pending())).await
    }

    /// Each of them reads the checkpoint, changes it and writes it.
    #[tokio::test]
    async fn two_resets_of_a_source_come_one_after_the_other_and_it_runs_after_both() {
        let directory = tempfile::tempdir().unwrap();
        let supervisor = supervisor(directory.path()).await;
        add(&supervisor);
        let first = supervisor.suspend("acme", STOP_MAX).await.unwrap();
        assert!(is_suspended(&supervisor));
        let mut second = Box::pin(supervisor.suspend("acme", STOP_MAX));
        assert!(poll_is_pending(&mut second).await);
        // Another source is not waited for.
        drop(supervisor.suspend("other", STOP_MAX).await.unwrap());
        drop(first);
        assert!(is_suspended(&supervisor), "between the two");
        let second = second.await.unwrap();
        assert!(is_suspended(&supervisor));
        drop(second);
        assert!(!is_suspended(&supervisor));
        assert!(!supervisor.shared.lock().suspensions.contains("acme"));
    }

    #[tokio::test]
    async fn a_source_that_ended_counts_as_running_again_after_a_reset() {
        let directory = tempfile::tempdir().unwrap();
        let supervisor = supervisor(directory.path()).await;
        set(&supervisor, directory.path(), "[settings]\n");
        let failed = SourceExit::Failed(Failure::failed("it cannot continue".to_owned()));
        supervisor
            .shared
            .handle_exit("acme", failed, StoredSource::default());
        assert!(supervisor.shared.lock().have_ended(false));
        drop(supervisor.suspend("acme", STOP_MAX).await.unwrap());
        assert!(!supervisor.shared.lock().have_ended(false));
    }

    #[tokio::test]
    async fn a_source_that_returns_while_it_is_reset_does_not_run_before_the_end_of_that() {
        let directory = tempfile::tempdir().unwrap();
        let supervisor = supervisor(directory.path()).await;
        add(&supervisor);
        let suspension = supervisor.suspend("acme", STOP_MAX).await.unwrap();
        supervisor.apply(SourceChange::Remove("acme".to_owned()));
        add(&supervisor);
        assert!(is_suspended(&supervisor), "before its task has noticed");
        supervisor.apply(SourceChange::Remove("acme".to_owned()));
        let forgotten = timeout(STOP_MAX, async {
            while supervisor.shared.phase("acme").is_some() {
                tokio::task::yield_now().await;
            }
        });
        forgotten.await.unwrap();
        add(&supervisor);
        assert!(is_suspended(&supervisor));
        drop(suspension);
        assert!(!is_suspended(&supervisor));
    }

    #[tokio::test]
    async fn a_former_name_that_is_corrected_counts_until_the_source_has_started() {
        let directory = tempfile::tempdir().unwrap();
        let supervisor = supervisor(directory.path()).await;
        let set = |text| set(&supervisor, directory.path(), text);
        let former = || {
            let run_settings = supervisor.run_settings("acme").unwrap().unwrap();
            run_settings.settings.renamed_from.clone()
        };
        assert_eq!(set("renamed_from = \"odl\""), ChangeOutcome::Added);
        assert_eq!(set("renamed_from = \"old\""), ChangeOutcome::Changed);
        assert_eq!(former().as_deref(), Some("old"));
        assert_eq!(set(""), ChangeOutcome::Changed);
        assert_eq!(former(), None);
        let entry = supervisor.context().registry.entry("acme").unwrap();
        entry.set_run_state(RunState::Running);
        assert_eq!(set("renamed_from = \"old\""), ChangeOutcome::Unchanged);
    }

    #[tokio::test]
    async fn the_api_does_not_resume_what_the_settings_have_paused_meanwhile() {
        let directory = tempfile::tempdir().unwrap();
        let supervisor = supervisor(directory.path()).await;
        set(&supervisor, directory.path(), "");
        let changed = set(&supervisor, directory.path(), "enabled = false");
        assert_eq!(changed, ChangeOutcome::Changed);
        let run_settings = supervisor.run_settings("acme").unwrap().unwrap();
        assert!(!run_settings.settings.enabled);
        supervisor.set_pause("acme", false).await.unwrap();
        assert_eq!(paused_by(&supervisor), Some(PausedBy::Settings));
        supervisor.set_pause("acme", true).await.unwrap();
        assert_eq!(paused_by(&supervisor), Some(PausedBy::Settings));
        // The operator's pause is there when that of the settings ends.
        set(&supervisor, directory.path(), "");
        assert_eq!(paused_by(&supervisor), Some(PausedBy::Api));
    }

    #[tokio::test]
    async fn a_pause_outlives_a_rename_with_a_mistake_and_ends_with_its_source() {
        let directory = tempfile::tempdir().unwrap();
        let supervisor = supervisor(directory.path()).await;
        let file = directory.path().join("host.toml");
        let source = |name: &str| directory.path().join("sources").join(name);
        let pauses = &supervisor.shared.pauses;
        let settings_manager =
            SettingsManager::new(supervisor.clone(), &Settings::read(&file).unwrap());
        pauses.set("old", true).unwrap();
        fs::write(source("old.toml"), "").unwrap();
        settings_manager.reload().await;
        fs::remove_file(source("old.toml")).unwrap();
        let text = "renamed_from = \"old\"\nenabeld = true\n";
        fs::write(source("new.toml"), text).unwrap();
        settings_manager.reload().await;
        assert!(pauses.contains("old"));
        fs::write(source("new.toml"), "renamed_from = \"old\"\n").unwrap();
        settings_manager.reload().await;
        assert!(pauses.contains("new") && !pauses.contains("old"));

        // The other order of a rename: the new file, then the removal of the old one.
        fs::write(source("last.toml"), "renamed_from = \"new\"\n").unwrap();
        settings_manager.reload().await;
        assert!(pauses.contains("new"));
        fs::remove_file(source("new.toml")).unwrap();
        settings_manager.reload().await;
        assert!(pauses.contains("last") && !pauses.contains("new"));

        fs::remove_file(source("last.toml")).unwrap();
        settings_manager.reload().await;
        assert!(!pauses.contains("last"));
    }

    #[tokio::test]
    async fn a_refused_source_of_the_settings_file_is_not_changed_by_the_api() {
        let directory = tempfile::tempdir().unwrap();
        let supervisor = supervisor(directory.path()).await;
        let file = directory.path().join("host.toml");
        let settings_manager =
            SettingsManager::new(supervisor.clone(), &Settings::read(&file).unwrap());
        // An output that the run does not have.
        let more = "[[output]]\nname = \"new\"\ntype = \"file\"\npath = \"new.ndjson\"\n\
                    [[source]]\nname = \"main\"\noutputs = [\"new\"]\n";
        fs::write(&file, format!("{HOST}{more}")).unwrap();
        settings_manager.reload().await;
        assert!(supervisor.run_settings("main").unwrap().is_err());
        let control = FileControl::new(settings_manager);
        let put = control
            .put("main", json!({}), PutMode::CreateOrReplace)
            .await;
        for refused in [put, control.delete("main").await] {
            let Err(ControlError::Conflict(text)) = &refused else {
                panic!("{refused:?}");
            };
            assert!(text.contains("host.toml; change it there"), "{text}");
        }
        assert_eq!(control.settings_file("main").await.unwrap(), file);
        assert!(supervisor.run_settings("main").is_some());
    }

    #[tokio::test]
    async fn the_api_does_not_add_a_source_whose_file_is_there_but_not_loaded() {
        let directory = tempfile::tempdir().unwrap();
        let supervisor = supervisor(directory.path()).await;
        let settings = Settings::read(&directory.path().join("host.toml")).unwrap();
        let control = FileControl::new(SettingsManager::new(supervisor.clone(), &settings));
        let file = directory.path().join("sources/beta.toml");
        fs::write(&file, "enabled = false\n").unwrap();
        let refused = control.put("beta", json!({}), PutMode::Create).await;
        assert_eq!(refused, Err(ControlError::already_exists("beta")));
        assert_eq!(fs::read_to_string(&file).unwrap(), "enabled = false\n");
        assert!(supervisor.run_settings("beta").is_none());
    }

    #[tokio::test]
    async fn a_source_that_cannot_run_has_the_error_of_the_present_settings() {
        let directory = tempfile::tempdir().unwrap();
        let supervisor = supervisor(directory.path()).await;
        let host_file = directory.path().join("host.toml");
        let source_file = directory.path().join("sources/acme.toml");
        let settings_manager =
            SettingsManager::new(supervisor.clone(), &Settings::read(&host_file).unwrap());
        let control = FileControl::new(Arc::clone(&settings_manager));
        for (file, text, reason) in [
            (&source_file, "enabeld = true", "unknown key `enabeld`"),
            (&source_file, "alow = []", "unknown key `alow`"),
            (&host_file, "state_dri = \"x\"", "unknown key `state_dri`"),
            (&host_file, HOST, "unknown key `alow`"),
        ] {
            fs::write(file, text).unwrap();
            settings_manager.reload().await;
            let registry = &supervisor.context().registry;
            let report = registry.source_report("acme", SystemTime::now()).unwrap();
            let Err(ControlError::Conflict(refused)) = control.check("acme").await else {
                panic!("it has no good settings");
            };
            assert!(report.detail.contains(reason), "{}", report.detail);
            assert!(refused.contains(reason), "{refused}");
        }
    }

    #[tokio::test]
    async fn a_source_that_conflicts_with_others_is_refused_as_its_file_would_be() {
        let directory = tempfile::tempdir().unwrap();
        let supervisor = supervisor(directory.path()).await;
        let file = directory.path().join("host.toml");
        let more = "[[output]]\ntype = \"file\"\npath = \"{source}-x\"\n\
                    [[output]]\ntype = \"file\"\npath = \"{source}\"\n";
        fs::write(&file, format!("{HOST}{more}")).unwrap();
        let settings_manager =
            SettingsManager::new(supervisor.clone(), &Settings::read(&file).unwrap());
        let text = "enabled = false\nrenamed_from = \"old\"";
        set(&supervisor, directory.path(), text);
        let refusal = async |name: &str, text: &str| {
            let path = directory.path().join(format!("sources/{name}.toml"));
            let (table, lines) = (text.parse().unwrap(), KeyLineNumbers::default());
            let inherited = &supervisor.context().inherited;
            let source = SourceSettings::from_table(&path, name, table, &lines, inherited).unwrap();
            let refused = settings_manager.refuse_conflicts_with_others(&source).await;
            refused.err().map(|failure| failure.message)
        };
        assert_eq!(refusal("beta", "").await, None);
        assert_eq!(
            refusal("acme", "renamed_from = \"old\"").await,
            None,
            "as it is"
        );
        for (name, text, reason) in [
            ("acme-x", "", "can be a file of [[output]] number 2 too"),
            (
                "old",
                "",
                "acme.toml: source `acme`: `renamed_from` is `old`",
            ),
            (
                "beta",
                "renamed_from = \"acme\"",
                "`renamed_from` is `acme`",
            ),
        ] {
            let message = refusal(name, text).await.unwrap();
            assert!(message.contains(reason), "{message}");
        }
        // Removed sources do not count.
        supervisor.apply(SourceChange::Remove("acme".to_owned()));
        assert_eq!(refusal("acme-x", "").await, None);
    }

    #[tokio::test]
    async fn a_reset_that_is_given_up_while_it_waits_holds_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let supervisor = supervisor(directory.path()).await;
        add(&supervisor);
        let first = supervisor.suspend("acme", STOP_MAX).await.unwrap();
        let mut second = Box::pin(supervisor.suspend("acme", STOP_MAX));
        assert!(poll_is_pending(&mut second).await);
        drop(second);
        assert!(is_suspended(&supervisor));
        drop(first);
        assert!(!is_suspended(&supervisor));
    }
}
