//! Reads the settings again when one of their files changes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use source_common::disk::FileVersion;
use source_common::exit::Failure;
use tokio::sync::Notify;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};
use tracing::warn;

use super::SettingsManager;
use crate::settings::{referenced_files, source_files};

/// Wait after an event: programs write a file in several steps, and some write several files.
const DEBOUNCE: Duration = Duration::from_millis(500);
/// The same wait with many files, whose scan takes longer: it bounds how often they are scanned
/// while they change all the time.
const DEBOUNCE_MANY_FILES: Duration = Duration::from_secs(2);
/// Number of files up to which a scan takes a few milliseconds only.
const FEW_FILES_MAX: usize = 1_000;
/// Interval of scans without an event: a link to a file of another directory, a directory that is
/// replaced, and some network file systems send no events.
const SCAN_INTERVAL: Duration = Duration::from_secs(30);

/// The files of the settings with their versions, and the directories that hold them.
#[derive(Default)]
struct FilesSnapshot {
    /// The settings file, and those of `sources_dir`.
    settings: BTreeMap<PathBuf, FileVersion>,
    /// The files that the settings refer to, such as files of secrets. Invalid settings may refer
    /// to a file that does not exist yet.
    referenced: BTreeMap<PathBuf, FileVersion>,
    directories: BTreeSet<PathBuf>,
}

impl FilesSnapshot {
    /// Returns whether the files differ from those in `seen`, so that the settings may have changed. A
    /// file that is no longer referenced does not count as a change.
    fn has_changed_since(&self, seen: &Self) -> bool {
        let mut referenced = self.referenced.iter();
        self.settings != seen.settings
            || referenced.any(|(path, version)| seen.referenced.get(path) != Some(version))
    }

    /// Leaves out the settings files that may have been written since a time, so that they count as changed.
    fn forget_written_since(&mut self, since: SystemTime) {
        self.settings
            .retain(|_, version| !version.may_have_changed_since(since));
    }
}

/// Watches the files for as long as it lives.
pub(crate) struct SettingsWatch {
    settings_manager: Arc<SettingsManager>,
    watcher: RecommendedWatcher,
    changed: Arc<Notify>,
    /// The files as they were when the settings were last read, or earlier.
    seen: FilesSnapshot,
    /// When the settings were last read: the time at which that began.
    read_at: SystemTime,
    /// Directories that cannot be watched, for which a warning was logged.
    unwatched: BTreeSet<PathBuf>,
}

impl SettingsWatch {
    /// Creates a watch of the files of settings that were read at `read_at` or later. It begins with
    /// [`Self::begin`].
    pub(crate) fn new(
        settings_manager: Arc<SettingsManager>,
        read_at: SystemTime,
    ) -> Result<Self, Failure> {
        let changed = Arc::new(Notify::new());
        let on_event = Arc::clone(&changed);
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            // Reading a file does not change it. An error may hide a change.
            if event.is_ok_and(|event| matches!(event.kind, EventKind::Access(_))) {
                return;
            }
            on_event.notify_one();
        });
        let watcher = watcher.map_err(|error| {
            Failure::failed(format!(
                "--watch-config: files cannot be watched: {error}; raise the limits \
                 fs.inotify.max_user_instances and fs.inotify.max_user_watches, or leave it out and \
                 reload with SIGHUP"
            ))
        })?;
        Ok(Self {
            settings_manager,
            watcher,
            changed,
            seen: FilesSnapshot::default(),
            read_at,
            unwatched: BTreeSet::new(),
        })
    }

    /// Notes the files of the settings, after the sources that a run begins with were started.
    pub(crate) async fn begin(&mut self) {
        self.seen = self.scan().await;
        self.seen.forget_written_since(self.read_at);
        self.seen.referenced.clear();
        self.end_reading().await;
    }

    /// Waits until a file has changed since the settings were read.
    pub(crate) async fn changed(&mut self) {
        loop {
            self.watch_directories();
            let now = self.scan().await;
            if now.has_changed_since(&self.seen) {
                return;
            }
            self.seen.directories = now.directories;
            // Both an event and the timeout are reasons to scan.
            let _ = timeout(SCAN_INTERVAL, self.changed.notified()).await;
            let are_few = now.settings.len() + now.referenced.len() < FEW_FILES_MAX;
            sleep(if are_few {
                DEBOUNCE
            } else {
                DEBOUNCE_MANY_FILES
            })
            .await;
        }
    }

    /// Notes that the settings are about to be read.
    pub(crate) async fn begin_reading(&mut self) {
        self.read_at = SystemTime::now();
        self.seen = self.scan().await;
    }

    /// Notes that the settings were read, and adds newly referenced files to `seen`: with the version that
    /// the supervisor read, else with the current one. A file that the supervisor has not read and that
    /// may have been written since [`Self::begin_reading`] is left out, so that it counts as changed.
    pub(crate) async fn end_reading(&mut self) {
        let mut referenced = self.scan().await.referenced;
        referenced.retain(|_, version| !version.may_have_changed_since(self.read_at));
        referenced.extend(self.settings_manager.supervisor().referenced_files());
        for (path, version) in referenced {
            let directory = directory_of(&path);
            self.seen.directories.insert(directory.to_owned());
            self.seen.referenced.entry(path).or_insert(version);
        }
    }

    /// Reads the version of every file.
    async fn scan(&self) -> FilesSnapshot {
        let main_file = self.settings_manager.main_file().to_owned();
        let (sources_dir, proxy_file, refused) = {
            let loaded = self.settings_manager.lock().await;
            let (proxy_file, refused) = (loaded.proxy_file.clone(), loaded.refused.clone());
            (loaded.sources_dir.clone(), proxy_file, refused)
        };
        let referenced_by_sources = self.settings_manager.supervisor().referenced_files();
        let scanned = spawn_blocking(move || {
            let directory_files = sources_dir.iter().flat_map(|directory| {
                // A directory that cannot be read is an error when the settings are read.
                source_files(&main_file, directory).unwrap_or_default()
            });
            let settings: Vec<PathBuf> = [main_file.clone()]
                .into_iter()
                .chain(directory_files)
                .collect();
            let referenced_by_refused = refused.iter().flat_map(|file| referenced_files(file));
            let referenced: BTreeSet<PathBuf> = referenced_by_sources
                .into_keys()
                .chain(proxy_file)
                .chain(referenced_by_refused)
                .collect();
            let files = settings.iter().chain(&referenced);
            let directories = files.map(|file| directory_of(file).to_owned());
            FilesSnapshot {
                directories: directories.chain(sources_dir.clone()).collect(),
                settings: versions(settings),
                referenced: versions(referenced),
            }
        });
        scanned.await.unwrap_or_default()
    }

    /// Watches the directories of the files. A directory that is watched already is watched again,
    /// as it may have been replaced.
    fn watch_directories(&mut self) {
        for directory in &self.seen.directories {
            match self.watcher.watch(directory, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.unwatched.remove(directory);
                }
                Err(error) if self.unwatched.insert(directory.to_owned()) => {
                    let seconds = SCAN_INTERVAL.as_secs();
                    warn!(
                        "{} cannot be watched: {error}; its files are checked every {seconds} s",
                        directory.display()
                    );
                }
                Err(_) => {}
            }
        }
    }
}

fn versions(paths: impl IntoIterator<Item = PathBuf>) -> BTreeMap<PathBuf, FileVersion> {
    let paths = paths.into_iter();
    paths
        .map(|path| {
            let version = FileVersion::of(&path);
            (path, version)
        })
        .collect()
}

fn directory_of(path: &Path) -> &Path {
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    parent.unwrap_or_else(|| Path::new("."))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::settings::Settings;
    use crate::supervisor::tests::supervisor;

    const GOOD: &str = "state_dir = \"state\"\nsources_dir = \"sources\"\n\
                        proxy = { file = \"proxy.url\" }\n\
                        [[output]]\ntype = \"file\"\npath = \"events.ndjson\"\n";

    /// Reads the settings again.
    async fn reload(watch: &mut SettingsWatch) {
        watch.begin_reading().await;
        watch.settings_manager.reload().await;
        watch.end_reading().await;
        assert!(!has_changed(watch).await);
    }

    async fn has_changed(watch: &SettingsWatch) -> bool {
        watch.scan().await.has_changed_since(&watch.seen)
    }

    #[tokio::test]
    async fn a_file_that_refused_settings_lack_and_that_of_a_proxy_count_when_they_are_written() {
        let directory = tempfile::tempdir().unwrap();
        let supervisor = supervisor(directory.path()).await;
        let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
        write("proxy.url", "none");
        write("host.toml", GOOD);
        let settings = Settings::read(&directory.path().join("host.toml")).unwrap();
        let settings_manager = SettingsManager::new(supervisor, &settings);
        let mut watch = SettingsWatch::new(settings_manager, SystemTime::now()).unwrap();
        watch.begin().await;
        reload(&mut watch).await;
        write("proxy.url", "http://127.0.0.1:3128");
        assert!(has_changed(&watch).await);
        reload(&mut watch).await;

        // Of a source with a mistake in its file.
        let secret = "client_secret = { file = \"acme.secret\" }\n";
        write("sources/acme.toml", &format!("x = 1\n[settings]\n{secret}"));
        assert!(has_changed(&watch).await);
        reload(&mut watch).await;
        write("sources/acme.secret", "secret");
        assert!(has_changed(&watch).await);

        // Of the host itself.
        let admin = "[admin]\nlisten = \"127.0.0.1:0\"\ntoken = { file = \"admin.token\" }\n";
        write("host.toml", &format!("{GOOD}{admin}"));
        reload(&mut watch).await;
        write("admin.token", "0123456789abcdef0123456789abcdef");
        assert!(has_changed(&watch).await);
    }

    #[test]
    fn a_file_that_was_written_while_the_settings_were_read_counts_as_changed() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("acme.toml");
        fs::write(&file, "enabled = true").unwrap();
        let snapshot = || FilesSnapshot {
            settings: versions([file.clone()]),
            ..FilesSnapshot::default()
        };
        let written = fs::metadata(&file).unwrap().modified().unwrap();
        for (read_at, is_change) in [
            (written, true),
            (written + Duration::from_secs(1), true),
            (written + Duration::from_secs(3), false),
        ] {
            let mut seen = snapshot();
            seen.forget_written_since(read_at);
            assert_eq!(
                snapshot().has_changed_since(&seen),
                is_change,
                "{read_at:?}"
            );
        }
    }

    #[test]
    fn a_new_or_changed_file_is_a_change_and_one_that_is_no_longer_referenced_is_none() {
        let snapshot = |paths: &[&str]| FilesSnapshot {
            referenced: versions(paths.iter().map(PathBuf::from)),
            ..FilesSnapshot::default()
        };
        let (one, both) = (
            snapshot(&["/dev/null"]),
            snapshot(&["/dev/null", "/dev/zero"]),
        );
        assert!(both.has_changed_since(&one));
        assert!(!one.has_changed_since(&both));
        let mut other = snapshot(&["/dev/null"]);
        let missing = FileVersion::of(Path::new("/nonexistent"));
        other.referenced.insert("/dev/null".into(), missing);
        assert!(one.has_changed_since(&other));
    }
}
