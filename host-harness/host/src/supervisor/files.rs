//! Sources that files describe: the settings file, and those of its `sources_dir`. They are read
//! again when that is asked for, and what has changed is applied source by source.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use source_common::exit::Failure;
use source_common::secret::Secret;
use tokio::sync::{Mutex, MutexGuard};
use tokio::task::spawn_blocking;
use tracing::{error, info, warn};

use super::{ChangeOutcome, RunSettings, SourceChange, Supervisor};
use crate::settings::{
    FaultySource, InheritedSettings, RestartOnlySettings, Settings, SourceSettings, WrittenFiles,
    source_file_path,
};
use crate::source;

/// Reads the settings files, and applies them to the supervisor, whenever that is asked for.
pub(crate) struct SettingsManager {
    supervisor: Supervisor,
    /// The settings file.
    file: PathBuf,
    /// Locked from before files are read or written until the change is applied, so that what was
    /// read first is also applied first.
    loaded: Mutex<LoadedSettings>,
    /// The files that the outputs of the run write to.
    written_files: WrittenFiles,
}

/// The settings file as it was last read, except its sources.
pub(super) struct LoadedSettings {
    pub(super) sources_dir: Option<PathBuf>,
    /// The names of the sources that are in the file itself.
    pub(super) main_file_sources: BTreeSet<String>,
    /// The URL of the proxy of sources that name none of their own.
    proxy: Option<Secret>,
    /// The file that contains this URL, if it is in one.
    pub(super) proxy_file: Option<PathBuf>,
    /// The files of settings that could not be used when they were last read.
    pub(super) refused: BTreeSet<PathBuf>,
    /// The settings that need a restart, as the run began with them: not replaced when the file is read again.
    restart_only: RestartOnlySettings,
}

/// Counts of sources by the outcome of their change.
#[derive(Debug, Default)]
struct ChangeCounts {
    added: usize,
    changed: usize,
    removed: usize,
    refused: usize,
    unchanged: usize,
}

impl ChangeCounts {
    fn count(&mut self, outcome: ChangeOutcome) {
        let count = match outcome {
            ChangeOutcome::Added => &mut self.added,
            ChangeOutcome::Changed => &mut self.changed,
            ChangeOutcome::Refused => &mut self.refused,
            ChangeOutcome::Removed => &mut self.removed,
            ChangeOutcome::Unchanged => &mut self.unchanged,
        };
        *count = count.saturating_add(1);
    }
}

/// Returns the files of sources of `sources_dir` that cannot be used.
fn refused_files(settings: &Settings) -> BTreeSet<PathBuf> {
    let directory = settings.sources_dir.iter();
    let files = directory.flat_map(|directory| {
        let faulty = settings.faulty_sources.iter();
        faulty.map(move |faulty| source_file_path(directory, &faulty.name))
    });
    files.collect()
}

impl SettingsManager {
    /// Creates the manager of a run from the settings that it began with.
    pub(crate) fn new(supervisor: Supervisor, settings: &Settings) -> Arc<Self> {
        Arc::new(Self {
            supervisor,
            file: settings.file.clone(),
            loaded: Mutex::new(LoadedSettings {
                sources_dir: settings.sources_dir.clone(),
                main_file_sources: settings.main_file_source_names(),
                proxy: settings.proxy.clone(),
                proxy_file: settings.proxy_file.clone(),
                refused: refused_files(settings),
                restart_only: settings.restart_only.clone(),
            }),
            written_files: WrittenFiles::of(settings),
        })
    }

    /// Starts the sources that a run begins with.
    pub(crate) fn start(&self, sources: Vec<SourceSettings>, faulty: Vec<FaultySource>) {
        for source in sources {
            self.supervisor.apply(SourceChange::Set(Box::new(source)));
        }
        for faulty in faulty {
            self.supervisor.apply(SourceChange::Faulty(faulty));
        }
    }

    pub(super) fn supervisor(&self) -> &Supervisor {
        &self.supervisor
    }

    /// Returns the settings file.
    pub(super) fn main_file(&self) -> &Path {
        &self.file
    }

    pub(super) async fn lock(&self) -> MutexGuard<'_, LoadedSettings> {
        self.loaded.lock().await
    }

    /// Returns what a file of `sources_dir` inherits from the settings file as it was last read.
    /// The outputs are those that the run began with.
    pub(super) fn inherited(&self, loaded: &LoadedSettings) -> InheritedSettings {
        InheritedSettings {
            outputs: self.supervisor.context().inherited.outputs.clone(),
            proxy: loaded.proxy.clone(),
        }
    }

    /// Reads the files again and applies what has changed.
    pub(crate) async fn reload(&self) {
        let mut loaded = self.loaded.lock().await;
        let file = self.file.clone();
        let read = spawn_blocking(move || Settings::read(&file)).await;
        let read = read.unwrap_or_else(|error| Err(Failure::failed(error.to_string())));
        let settings = match read {
            Ok(settings) => settings,
            Err(failure) => {
                loaded.refused = BTreeSet::from([self.file.clone()]);
                self.supervisor.note_settings_error(&failure);
                error!("{failure}; every source keeps its last good settings");
                return;
            }
        };
        let changed = loaded.restart_only.changed_keys(&settings.restart_only);
        for key in &changed {
            let file = self.file.display();
            if key == "proxy" {
                info!(
                    "{file}: `proxy` has changed: sources use it from now on, outputs after a restart"
                );
            } else {
                warn!("{file}: `{key}` has changed; restart source-host to apply it");
            }
        }
        loaded.sources_dir.clone_from(&settings.sources_dir);
        loaded.main_file_sources = settings.main_file_source_names();
        loaded.proxy.clone_from(&settings.proxy);
        loaded.proxy_file.clone_from(&settings.proxy_file);
        loaded.refused = refused_files(&settings);
        let counts = self.apply_all(settings, &mut loaded.refused).await;
        info!(
            added = counts.added,
            changed = counts.changed,
            removed = counts.removed,
            unchanged = counts.unchanged,
            with_errors = counts.refused,
            "settings read again"
        );
    }

    /// Applies the settings of all sources. Adds the files of sources that are refused to
    /// `refused`.
    async fn apply_all(&self, settings: Settings, refused: &mut BTreeSet<PathBuf>) -> ChangeCounts {
        let mut counts = ChangeCounts::default();
        let sources = settings.sources.iter().map(|source| &source.name);
        let faulty = settings.faulty_sources.iter().map(|faulty| &faulty.name);
        let present: BTreeSet<&String> = sources.chain(faulty).collect();
        let names = self.supervisor.names().into_iter();
        let removed: Vec<String> = names.filter(|name| !present.contains(name)).collect();
        // First, as another source may take over the checkpoint of a removed one.
        for name in removed {
            counts.count(self.supervisor.apply(SourceChange::Remove(name)));
        }
        for faulty in settings.faulty_sources {
            counts.count(self.supervisor.apply(SourceChange::Faulty(faulty)));
        }
        for source in settings.sources {
            let file = source.file.clone();
            let outcome = self.set(source).await;
            if outcome == ChangeOutcome::Refused {
                refused.insert(file);
            }
            counts.count(outcome);
        }
        // A refused source may be a removed one under a new name.
        if counts.refused == 0 {
            self.supervisor.forget_pauses_of_absent().await;
        }
        counts
    }

    /// Checks settings that were read, and applies them or the error. The component checks them here only
    /// if they would replace others that can be used; otherwise it does so when the source starts.
    pub(super) async fn set(&self, settings: SourceSettings) -> ChangeOutcome {
        let validated = if self.supervisor.would_replace(&settings) {
            self.validate(&settings).await
        } else {
            self.check_outputs(&settings)
        };
        let change = match validated {
            Ok(()) => SourceChange::Set(Box::new(settings)),
            Err(failure) => SourceChange::Faulty(FaultySource {
                name: settings.name,
                failure,
            }),
        };
        self.supervisor.apply(change)
    }

    /// Refuses a source whose file would be refused when it is read again: for a file that has
    /// another writer, or a name that another source has or had.
    pub(super) async fn refuse_conflicts_with_others(
        self: &Arc<Self>,
        settings: &SourceSettings,
    ) -> Result<(), Failure> {
        let others = self.supervisor.usable_run_settings();
        let others = others
            .into_iter()
            .filter(|other| other.settings.name != settings.name);
        let others: Vec<Arc<RunSettings>> = others.collect();
        let names = self.supervisor.names();
        let (settings_manager, settings) = (Arc::clone(self), settings.clone());
        // It reads the metadata of files of every source.
        let checked = spawn_blocking(move || {
            let others: Vec<&SourceSettings> = others.iter().map(|other| &other.settings).collect();
            settings.refuse_conflicting_names(&names, &others)?;
            settings_manager
                .written_files
                .refuse_files_shared_by(&settings, &others)
        });
        let checked = checked.await;
        checked.unwrap_or_else(|error| Err(Failure::failed(error.to_string())))
    }

    /// Checks that a source can be run with settings that were not tried yet. The component checks
    /// them without the network.
    pub(super) async fn validate(&self, settings: &SourceSettings) -> Result<(), Failure> {
        self.check_outputs(settings)?;
        source::validate(&self.supervisor.context().components, settings).await
    }

    /// Checks the outputs of a source against those that the run began with.
    fn check_outputs(&self, settings: &SourceSettings) -> Result<(), Failure> {
        let outputs = &self.supervisor.context().inherited.outputs;
        settings.check_outputs(outputs).map_err(|failure| Failure {
            message: format!("{failure} (a new output is used after a restart)"),
            ..failure
        })
    }
}
