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

use super::{ChangeOutcome, SourceChange, Supervisor};
use crate::settings::{
    FaultySource, Inherited, RestartOnlySettings, Settings, SourceSettings, WrittenFiles,
    source_file,
};
use crate::source;

/// The files, and whom they are applied to.
pub(crate) struct SettingsFiles {
    supervisor: Supervisor,
    /// The settings file.
    file: PathBuf,
    /// Held from before files are read or written until that is applied, so that what was read
    /// first is also applied first.
    known: Mutex<LoadedSettings>,
    /// What the outputs of the run write to.
    written: WrittenFiles,
}

/// What is known of the settings file, besides its sources.
pub(super) struct LoadedSettings {
    pub(super) sources_dir: Option<PathBuf>,
    /// The names of the sources of the file itself.
    pub(super) of_main_file: BTreeSet<String>,
    /// The URL of the proxy of sources that name none of their own.
    proxy: Option<Secret>,
    /// The file that this URL is in, where it is in one.
    pub(super) proxy_file: Option<PathBuf>,
    /// The files of settings that could not be used when they were last read.
    pub(super) refused: BTreeSet<PathBuf>,
    restart_only: RestartOnlySettings,
}

/// How many sources something was done to.
#[derive(Debug, Default)]
struct ChangeCounts {
    added: usize,
    changed: usize,
    removed: usize,
    refused: usize,
    unchanged: usize,
}

impl ChangeCounts {
    fn count(&mut self, applied: ChangeOutcome) {
        let count = match applied {
            ChangeOutcome::Added => &mut self.added,
            ChangeOutcome::Changed => &mut self.changed,
            ChangeOutcome::Refused => &mut self.refused,
            ChangeOutcome::Removed => &mut self.removed,
            ChangeOutcome::Unchanged => &mut self.unchanged,
        };
        *count = count.saturating_add(1);
    }
}

/// The files of sources of `sources_dir` that cannot be used.
fn refused_files(settings: &Settings) -> BTreeSet<PathBuf> {
    let directory = settings.sources_dir.iter();
    let files = directory.flat_map(|directory| {
        let faulty = settings.faulty_sources.iter();
        faulty.map(move |faulty| source_file(directory, &faulty.name))
    });
    files.collect()
}

impl SettingsFiles {
    /// The files of settings that were read.
    pub(crate) fn new(supervisor: Supervisor, settings: &Settings) -> Arc<Self> {
        Arc::new(Self {
            supervisor,
            file: settings.file.clone(),
            known: Mutex::new(LoadedSettings {
                sources_dir: settings.sources_dir.clone(),
                of_main_file: settings.sources_of_file(),
                proxy: settings.proxy.clone(),
                proxy_file: settings.proxy_file.clone(),
                refused: refused_files(settings),
                restart_only: settings.restart_only.clone(),
            }),
            written: WrittenFiles::of(settings),
        })
    }

    /// Starts the sources that a run begins with.
    pub(crate) fn start(&self, sources: Vec<SourceSettings>, faulty: Vec<FaultySource>) {
        for source in sources {
            self.supervisor.apply(SourceChange::Set(Box::new(source)));
        }
        for faulty in faulty {
            self.supervisor.apply(SourceChange::Refuse(faulty));
        }
    }

    pub(super) fn supervisor(&self) -> &Supervisor {
        &self.supervisor
    }

    /// The settings file.
    pub(super) fn main_file(&self) -> &Path {
        &self.file
    }

    pub(super) async fn lock(&self) -> MutexGuard<'_, LoadedSettings> {
        self.known.lock().await
    }

    /// What a file of `sources_dir` takes from the settings file as it was last read. Outputs are
    /// those that the run began with.
    pub(super) fn inherited(&self, known: &LoadedSettings) -> Inherited {
        Inherited {
            outputs: self.supervisor.context().inherited.outputs.clone(),
            proxy: known.proxy.clone(),
        }
    }

    /// Reads the files again and applies what has changed.
    pub(crate) async fn reload(&self) {
        let mut known = self.known.lock().await;
        let file = self.file.clone();
        let read = spawn_blocking(move || Settings::read(&file)).await;
        let read = read.unwrap_or_else(|error| Err(Failure::failed(error.to_string())));
        let settings = match read {
            Ok(settings) => settings,
            Err(failure) => {
                known.refused = BTreeSet::from([self.file.clone()]);
                self.supervisor.note_settings_error(&failure.message);
                error!("{failure}; every source goes on with its last good settings");
                return;
            }
        };
        let changed = known.restart_only.changed_keys(&settings.restart_only);
        for key in &changed {
            let file = self.file.display();
            if key == "proxy" {
                info!(
                    "{file}: `proxy` has changed: sources use it from now on, outputs after a restart"
                );
            } else {
                warn!("{file}: `{key}` has changed; restart source-host to use that");
            }
        }
        known.sources_dir.clone_from(&settings.sources_dir);
        known.of_main_file = settings.sources_of_file();
        known.proxy.clone_from(&settings.proxy);
        known.proxy_file.clone_from(&settings.proxy_file);
        known.refused = refused_files(&settings);
        let counts = self.apply_all(settings, &mut known.refused).await;
        info!(
            added = counts.added,
            changed = counts.changed,
            removed = counts.removed,
            unchanged = counts.unchanged,
            with_errors = counts.refused,
            "settings read again"
        );
    }

    /// Adds the files of sources that are refused to `refused`.
    async fn apply_all(&self, settings: Settings, refused: &mut BTreeSet<PathBuf>) -> ChangeCounts {
        let mut counts = ChangeCounts::default();
        let sources = settings.sources.iter().map(|source| &source.name);
        let faulty = settings.faulty_sources.iter().map(|faulty| &faulty.name);
        let present: BTreeSet<&String> = sources.chain(faulty).collect();
        let names = self.supervisor.names().into_iter();
        let gone: Vec<String> = names.filter(|name| !present.contains(name)).collect();
        // First, as another source may have the checkpoint of one that is gone.
        for name in gone {
            counts.count(self.supervisor.apply(SourceChange::Remove(name)));
        }
        for faulty in settings.faulty_sources {
            counts.count(self.supervisor.apply(SourceChange::Refuse(faulty)));
        }
        for source in settings.sources {
            let file = source.file.clone();
            let applied = self.set(source).await;
            if applied == ChangeOutcome::Refused {
                refused.insert(file);
            }
            counts.count(applied);
        }
        // A source that is refused may be one that is gone, under another name.
        if counts.refused == 0 {
            self.supervisor.forget_pauses_of_absent().await;
        }
        counts
    }

    /// Applies settings that were read, where they can be used.
    pub(super) async fn set(&self, settings: SourceSettings) -> ChangeOutcome {
        let usable = if self.supervisor.would_replace(&settings) {
            self.usable(&settings).await
        } else {
            self.check_outputs(&settings)
        };
        let change = match usable {
            Ok(()) => SourceChange::Set(Box::new(settings)),
            Err(failure) => SourceChange::Refuse(FaultySource {
                name: settings.name,
                failure,
            }),
        };
        self.supervisor.apply(change)
    }

    /// Refuses a source whose events or files would get into a file that has another writer.
    pub(super) fn refuse_shared_files(&self, settings: &SourceSettings) -> Result<(), Failure> {
        self.written.refuse_shared_by(settings)
    }

    /// Whether a source can be run with settings that were not yet tried: the component is asked,
    /// without the network.
    pub(super) async fn usable(&self, settings: &SourceSettings) -> Result<(), Failure> {
        self.check_outputs(settings)?;
        source::validate(&self.supervisor.context().components, settings).await
    }

    /// The outputs are those that the run began with.
    fn check_outputs(&self, settings: &SourceSettings) -> Result<(), Failure> {
        let running = &self.supervisor.context().inherited.outputs;
        settings.check_outputs(running).map_err(|failure| Failure {
            message: format!("{failure} (a new output is used after a restart)"),
            ..failure
        })
    }
}
