//! NDJSON in a file, or in a file for each source, stream or kind: appended, and on the disk before
//! it is accepted.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use source_common::disk::{self, blocking};
use source_common::exit::Failure;
use source_common::section::{Section, SettingsErrors};
use tracing::{info, warn};

use super::compress::Encoding;
use super::parts::PartSettings;
use super::rotate::{self, Rotation};
use super::template::PathTemplate;
use super::worker_pool::{SendError, Worker, WorkerPool};
use super::{Delivery, Event, Output, OutputConfig, OutputError};

/// Step size of the backward search for the last line feed.
const TAIL_BYTES: usize = 64 * 1024;
/// Maximum number of tries to open a file that is renamed between opening and locking.
const OPEN_TRIES_MAX: u32 = 5;
/// Files of one output that are open at a time: enough for all streams of several sources.
const OPEN_FILES_MAX: usize = 256;

#[derive(Clone, Debug)]
struct FileOutputConfig {
    path: PathTemplate,
    rotation: Option<Rotation>,
}

/// Parses the settings of `type = "file"`.
pub(super) fn parse(mut section: Section<'_>) -> Result<Box<dyn OutputConfig>, Failure> {
    let mut errors = SettingsErrors::default();
    let path = errors.ok_or_push(read_path(&mut section));
    let rotate = [
        section.number("rotate_mib", 1..=1_000_000),
        section.number("rotate_hours", 1..=8_760),
    ];
    let rotates = !matches!(rotate, [Ok(None), Ok(None)]);
    let [mib, hours] = rotate.map(|number| errors.ok_or_push(number).flatten());
    let compression = errors.ok_or_push(Encoding::read(&mut section));
    let compression = compression.unwrap_or(Encoding::Plain);
    let closed_files_max = errors
        .ok_or_push(section.number("keep", 1..=100_000))
        .flatten();
    if !rotates {
        for (key, set) in [
            ("compression", compression != Encoding::Plain),
            ("keep", closed_files_max.is_some()),
        ] {
            if set {
                let reason = "applies to closed files; set rotate_mib or rotate_hours as well";
                errors.push(section.error(key, reason));
            }
        }
    }
    errors.ok_or_push(section.finish());
    let rotation = (mib.is_some() || hours.is_some()).then(|| Rotation {
        bytes_max: mib.map(|mib| mib.saturating_mul(1024 * 1024)),
        age_max: hours.map(|hours| Duration::from_secs(hours.saturating_mul(3_600))),
        compression,
        closed_files_max: closed_files_max
            .map(|count| usize::try_from(count).unwrap_or(usize::MAX)),
    });
    errors.into_value(
        path.map(|path| -> Box<dyn OutputConfig> { Box::new(FileOutputConfig { path, rotation }) }),
    )
}

fn read_path(section: &mut Section<'_>) -> Result<PathTemplate, Failure> {
    let text = section.required_string("path")?;
    if text.is_empty() {
        return Err(section.error("path", "is empty"));
    }
    PathTemplate::parse(&section.resolve(""), &text)
        .map_err(|reason| section.error("path", &reason))
}

#[async_trait]
impl OutputConfig for FileOutputConfig {
    async fn open(&self) -> Result<Box<dyn Output>, Failure> {
        let name = self.name();
        let failure =
            |path: &Path, error: &io::Error| Failure::failed(disk::error_message(path, error));
        let Some(path) = self.path.fixed() else {
            let directory = self.path.directory();
            let checked_path = directory.clone();
            blocking(move || disk::check_can_create_in(&checked_path))
                .await
                .map_err(|error| failure(&directory, &error))?;
            let part_settings = PartSettings {
                bytes_max: usize::MAX,
                events_max: usize::MAX,
                partition_by: Some(self.path.template().clone()),
            };
            let writer = FileWriter::new(self.clone());
            return Ok(Box::new(WorkerPool::new(name, vec![writer], part_settings)));
        };
        let checked_path = path.clone();
        let appender = match blocking(move || check_writable(&checked_path)).await {
            Ok(()) => open_appender(path.clone(), self.rotation.clone()).await,
            Err(error) => Err(error),
        };
        Ok(Box::new(FileOutput {
            name,
            appender: Some(appender.map_err(|error| failure(&path, &error))?),
            path,
            rotation: self.rotation.clone(),
        }))
    }

    async fn test(&self) -> Result<String, OutputError> {
        let config = self.clone();
        blocking(move || config.check_path())
            .await
            .map_err(|error| {
                OutputError::Retry(disk::error_message(&self.directory_or_file(), &error).into())
            })?;
        Ok(self.name())
    }

    fn check_files(&self) -> Result<(), String> {
        let path = self.directory_or_file();
        match self.check_path() {
            Ok(()) => Ok(()),
            // The user who checks may not be the one who runs the host.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                warn!(
                    "path {}: {error} for this user; the one that runs source-host must be able to write \
                     there",
                    path.display()
                );
                Ok(())
            }
            Err(error) => Err(format!("path {}", disk::error_message(&path, &error))),
        }
    }

    fn file(&self) -> Option<&PathTemplate> {
        Some(&self.path)
    }
}

impl FileOutputConfig {
    fn name(&self) -> String {
        format!("file {}", self.path)
    }

    /// Returns the file, or the directory that contains all files of a template.
    fn directory_or_file(&self) -> PathBuf {
        self.path.fixed().unwrap_or_else(|| self.path.directory())
    }

    fn check_path(&self) -> io::Result<()> {
        match self.path.fixed() {
            Some(path) => check_writable(&path),
            None => disk::check_can_create_in(&self.path.directory()),
        }
    }
}

async fn open_appender(path: PathBuf, rotation: Option<Rotation>) -> io::Result<Appender> {
    blocking(move || Appender::with_rotation(&path, rotation)).await
}

/// Appends on a thread for blocking operations. Returns the appender also after an error.
async fn append(mut appender: Appender, text: String) -> io::Result<(Appender, io::Result<()>)> {
    blocking(move || {
        let result = appender.append(text.as_bytes(), SystemTime::now());
        Ok((appender, result))
    })
    .await
}

/// Checks that a file can be appended to or created, without creating it.
fn check_writable(path: &Path) -> io::Result<()> {
    // To write a pipe without a reader would wait for one; to read and write it does not.
    match OpenOptions::new().read(true).append(true).open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        opened => return opened.map(drop),
    }
    disk::check_can_create_in(path.parent().unwrap_or(path))
}

/// One file.
struct FileOutput {
    name: String,
    path: PathBuf,
    rotation: Option<Rotation>,
    /// `None` during a write, and after one was cancelled.
    appender: Option<Appender>,
}

#[async_trait]
impl Output for FileOutput {
    fn name(&self) -> &str {
        &self.name
    }

    async fn accept(&mut self, delivery: &Delivery<'_>) -> Result<(), OutputError> {
        // A full disk may have room again.
        let retry =
            |error: &io::Error| OutputError::Retry(disk::error_message(&self.path, error).into());
        let appender = match self.appender.take() {
            Some(appender) => appender,
            // Fails while a cancelled write is still running, since that holds the lock.
            None => open_appender(self.path.clone(), self.rotation.clone())
                .await
                .map_err(|error| retry(&error))?,
        };
        let (appender, result) = append(appender, delivery.events.to_owned())
            .await
            .map_err(|error| retry(&error))?;
        self.appender = Some(appender);
        result.map_err(|error| OutputError::Retry(disk::error_message(&self.path, &error).into()))
    }

    async fn close(&mut self) -> Result<(), OutputError> {
        // Every accepted batch is on the disk already.
        self.appender = None;
        Ok(())
    }
}

/// Writes to files whose paths are rendered from events. All events of a part go to the same file.
struct FileWriter {
    config: FileOutputConfig,
    open_files: BTreeMap<PathBuf, OpenFile>,
    /// Number of parts that were written, or that could not be.
    writes: u64,
}

/// An open file.
struct OpenFile {
    appender: Appender,
    /// The number of the last write to it.
    last_write: u64,
}

impl FileWriter {
    fn new(config: FileOutputConfig) -> Self {
        Self {
            config,
            open_files: BTreeMap::new(),
            writes: 0,
        }
    }

    /// Removes and returns the open file at a path, or opens it. If too many are open, the least
    /// recently written one is closed first, but one that must still be truncated only if all must.
    async fn take_or_open(&mut self, path: &Path) -> io::Result<Appender> {
        if let Some(open) = self.open_files.remove(path) {
            return Ok(open.appender);
        }
        while self.open_files.len() >= OPEN_FILES_MAX {
            let least_recent = self
                .open_files
                .iter()
                .min_by_key(|(_, open)| (open.appender.truncate_to.is_some(), open.last_write));
            let Some(path) = least_recent.map(|(path, _)| path.clone()) else {
                break;
            };
            self.open_files.remove(&path);
        }
        open_appender(path.to_owned(), self.config.rotation.clone()).await
    }
}

#[async_trait]
impl Worker for FileWriter {
    async fn send(&mut self, source: &str, part: &[Event<'_>]) -> Result<(), SendError> {
        let Some(first) = part.first() else {
            return Ok(());
        };
        let path = self.config.path.render(first, source);
        let retry = |error: &io::Error| SendError::Retry(disk::error_message(&path, error).into());
        let bytes = part.iter().map(|event| event.body.len() + 1).sum();
        let mut text = String::with_capacity(bytes);
        for event in part {
            text.push_str(event.body);
            text.push('\n');
        }
        let appender = self
            .take_or_open(&path)
            .await
            .map_err(|error| retry(&error))?;
        let (appender, result) = append(appender, text)
            .await
            .map_err(|error| retry(&error))?;
        self.writes += 1;
        let open = OpenFile {
            appender,
            last_write: self.writes,
        };
        // Also after an error: the file may still have to be truncated.
        self.open_files.insert(path.clone(), open);
        result.map_err(|error| retry(&error))
    }

    async fn close(&mut self) {
        self.open_files.clear();
    }
}

/// A file of whole lines that only this process writes to: it is locked
/// while it is open, and so is the file that replaces it after rotation.
#[derive(Debug)]
pub struct Appender {
    path: PathBuf,
    file: File,
    bytes: u64,
    /// Length to which the file must be truncated, after a failed append.
    truncate_to: Option<u64>,
    created_at: SystemTime,
    rotation: Option<Rotation>,
}

impl Appender {
    /// Opens or creates the file, and truncates a partial last line left by a
    /// crash: its event was not accepted and will be delivered again.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::with_rotation(path, None)
    }

    /// Opens the file like [`Self::open`], with rotation by size or age.
    pub(crate) fn with_rotation(path: &Path, rotation: Option<Rotation>) -> io::Result<Self> {
        create_parent_directories(path)?;
        let is_new = !path.exists();
        let mut file = open_locked(path)?;
        let length = file.metadata()?.len();
        let bytes = whole_lines_length(&mut file, length)?;
        if bytes < length {
            warn!(
                file = %path.display(),
                bytes = length - bytes,
                "cut off an unfinished line; its event is delivered again"
            );
            disk::truncate(&file, path, bytes)?;
            disk::sync(&file, path)?;
        }
        match disk::sync_directory(path) {
            // The user may lack read permission on the directory.
            Err(error) if is_new || error.kind() != ErrorKind::PermissionDenied => {
                return Err(error);
            }
            // Also for an existing file: a crash may have prevented this sync.
            Ok(()) | Err(_) => {}
        }
        let metadata = file.metadata()?;
        let created_at = metadata.created().or_else(|_| metadata.modified())?;
        Ok(Self {
            path: path.to_owned(),
            file,
            bytes,
            truncate_to: None,
            created_at,
            // A device or a pipe is not rotated.
            rotation: rotation.filter(|_| metadata.is_file()),
        })
    }

    /// Appends whole lines, and fsyncs. After an error the
    /// file is truncated to its former length, at the latest before the next
    /// append.
    pub fn append(&mut self, text: &[u8], now: SystemTime) -> io::Result<()> {
        if let Some(length) = self.truncate_to {
            disk::truncate(&self.file, &self.path, length)?;
            self.truncate_to = None;
        }
        self.reopen_if_moved()?;
        self.rotate_if_due(now)?;
        // Not the counted length: another program may have truncated the file.
        let before = self.file.metadata()?.len();
        let written = disk::write_all(&self.file, &self.path, text)
            .and_then(|()| disk::sync(&self.file, &self.path));
        match written {
            Ok(()) => {
                self.bytes = before + u64::try_from(text.len()).unwrap_or(0);
                Ok(())
            }
            Err(error) => {
                self.bytes = before;
                self.truncate_to = disk::truncate(&self.file, &self.path, before)
                    .is_err()
                    .then_some(before);
                Err(error)
            }
        }
    }

    /// Reopens the file if another program has renamed or removed it, as
    /// logrotate does: nobody would read what is written to it from now on.
    fn reopen_if_moved(&mut self) -> io::Result<()> {
        if disk::is_same_file(&self.path, &self.file)? {
            return Ok(());
        }
        warn!(file = %self.path.display(), "the file was moved or removed by another program; creating it again");
        *self = Self::with_rotation(&self.path, self.rotation.clone())?;
        Ok(())
    }

    fn rotate_if_due(&mut self, now: SystemTime) -> io::Result<()> {
        let due = self
            .rotation
            .as_ref()
            .is_some_and(|rotation| rotation.is_due(self.bytes, self.created_at, now));
        if !due {
            return Ok(());
        }
        let closed = rotate::closed_path(&self.path, now);
        disk::rename(&self.path, &closed)?;
        disk::sync_directory(&self.path)?;
        *self = Self {
            created_at: now,
            ..Self::with_rotation(&self.path, self.rotation.clone())?
        };
        info!(file = %closed.display(), "closed a file of events");
        if let Some(rotation) = &self.rotation {
            rotate::process_closed_files(&self.path, rotation);
        }
        Ok(())
    }
}

/// Creates the missing parent directories of a file, and fsyncs their
/// parents.
fn create_parent_directories(path: &Path) -> io::Result<()> {
    let Some(directory) = path.parent() else {
        return Ok(());
    };
    let missing: Vec<&Path> = directory
        .ancestors()
        .take_while(|directory| !directory.as_os_str().is_empty() && !directory.exists())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    fs::create_dir_all(directory)?;
    missing.into_iter().try_for_each(disk::sync_directory)
}

/// Opens the file at a path and locks it, so that no other process or output
/// truncates it or interleaves lines. The system releases
/// the lock when the file is closed, also by a kill.
fn open_locked(path: &Path) -> io::Result<File> {
    for _ in 0..OPEN_TRIES_MAX {
        let file = open_or_create(path)?;
        lock(path, &file)?;
        // Another process may have renamed it before it was locked.
        if disk::is_same_file(path, &file)? {
            return Ok(file);
        }
    }
    Err(io::Error::new(
        ErrorKind::ResourceBusy,
        "another program keeps replacing it",
    ))
}

#[cfg(unix)]
fn lock(path: &Path, file: &File) -> io::Result<()> {
    let kind = file.metadata()?.file_type();
    if std::os::unix::fs::FileTypeExt::is_char_device(&kind) {
        // A device such as /dev/null belongs to all processes and keeps no lines.
        return Ok(());
    }
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(io::Error::new(
            ErrorKind::ResourceBusy,
            "another source-host or another output is writing to it",
        )),
        Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => {
            warn!(file = %path.display(), "its file system has no locks; see to it that no other process writes to it");
            Ok(())
        }
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Does nothing: on this system a lock would keep readers away too.
#[cfg(not(unix))]
fn lock(_: &Path, _: &File) -> io::Result<()> {
    Ok(())
}

/// Opens a file, and creates it with mode 0640: events and rejected records are confidential, and
/// the receiver that tails them is in the group.
fn open_or_create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o640);
    options.open(path)
}

/// Returns the length of the file up to and including its last `\n`.
fn whole_lines_length(file: &mut File, length: u64) -> io::Result<u64> {
    let mut end = length;
    let mut buffer = vec![0; TAIL_BYTES];
    while end > 0 {
        let begin = end.saturating_sub(u64::try_from(TAIL_BYTES).unwrap_or(u64::MAX));
        let count = usize::try_from(end - begin).unwrap_or(TAIL_BYTES);
        let Some(piece) = buffer.get_mut(..count) else {
            break;
        };
        file.seek(SeekFrom::Start(begin))?;
        file.read_exact(piece)?;
        if let Some(at) = memchr::memrchr(b'\n', piece) {
            return Ok(begin + u64::try_from(at).unwrap_or(0) + 1);
        }
        end = begin;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use source_common::delivery::{Entry, Kind};

    fn batch() -> (&'static str, [Entry; 1]) {
        let entry = Entry {
            end: 3,
            occurred_at: 0,
            kind: 0,
        };
        ("{}\n", [entry])
    }

    fn delivery<'a>(batch: &'a (&'static str, [Entry; 1])) -> Delivery<'a> {
        Delivery {
            source: "acme",
            namespace: "test",
            events: batch.0,
            index: &batch.1,
            kinds: &[],
        }
    }

    /// A pipe that nobody reads could keep the start of the host waiting.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_pipe_without_a_reader_is_opened_without_a_wait() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(made.unwrap().success());
        config(&path).check_path().unwrap();
        config(&path).open().await.unwrap();
    }

    fn config(path: &Path) -> FileOutputConfig {
        FileOutputConfig {
            path: PathTemplate::parse(Path::new(""), path.to_str().unwrap()).unwrap(),
            rotation: None,
        }
    }

    fn delivery_of<'a>(
        source: &'a str,
        events: &'a str,
        index: &'a [Entry],
        kinds: &'a [Kind],
    ) -> Delivery<'a> {
        Delivery {
            source,
            namespace: "test",
            events,
            index,
            kinds,
        }
    }

    /// Events `{"n":0}` and so on, each of a stream of its own.
    fn events(streams: &[&str]) -> (String, Vec<Entry>, Vec<Kind>) {
        let mut text = String::new();
        let mut index = Vec::new();
        for place in 0..streams.len() {
            text.push_str(&format!("{{\"n\":{place}}}\n"));
            index.push(Entry {
                end: u32::try_from(text.len()).unwrap(),
                occurred_at: 0,
                kind: u16::try_from(place).unwrap(),
            });
        }
        let kinds = streams.iter().map(|stream| Kind {
            name: (*stream).to_owned(),
            stream: (*stream).to_owned(),
        });
        (text, index, kinds.collect())
    }

    #[tokio::test]
    async fn each_stream_of_each_source_has_a_file() {
        let directory = tempfile::tempdir().unwrap();
        let mut output = config(&directory.path().join("out/{source}/{stream}.ndjson"))
            .open()
            .await
            .unwrap();
        assert!(!directory.path().join("out").exists());
        let (text, index, kinds) = events(&["audit", "../dlp", "audit"]);
        for source in ["acme", "globex"] {
            output
                .accept(&delivery_of(source, &text, &index, &kinds))
                .await
                .unwrap();
        }
        for source in ["acme", "globex"] {
            let file = |name: &str| written(&directory.path().join("out").join(source).join(name));
            assert_eq!(file("audit.ndjson"), "{\"n\":0}\n{\"n\":2}\n");
            assert_eq!(file("%2E.%2Fdlp.ndjson"), "{\"n\":1}\n");
        }
        // Each is locked until the output is closed.
        let path = directory.path().join("out/acme/audit.ndjson");
        assert!(Appender::open(&path).is_err());
        output.close().await.unwrap();
        Appender::open(&path).unwrap();
    }

    #[tokio::test]
    async fn what_is_written_before_another_file_fails_is_not_written_again() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let mut output = config(&at("{stream}")).open().await.unwrap();
        let held = Appender::open(&at("b")).unwrap();
        let (text, index, kinds) = events(&["a", "b", "c"]);
        let delivery = delivery_of("acme", &text, &index, &kinds);
        let error = output.accept(&delivery).await.unwrap_err();
        assert!(
            matches!(&error, OutputError::RetryAfterProgress(reason) if reason.contains("another source-host")),
            "{error}"
        );
        let error = output.accept(&delivery).await.unwrap_err();
        assert!(matches!(error, OutputError::Retry(_)), "{error}");
        drop(held);
        output.accept(&delivery).await.unwrap();
        for (name, line) in [
            ("a", "{\"n\":0}\n"),
            ("b", "{\"n\":1}\n"),
            ("c", "{\"n\":2}\n"),
        ] {
            assert_eq!(written(&at(name)), line, "{name}");
        }
    }

    #[tokio::test]
    async fn files_that_were_not_written_to_for_long_are_closed() {
        let directory = tempfile::tempdir().unwrap();
        let rotation = Rotation {
            bytes_max: Some(1),
            age_max: None,
            compression: Encoding::Plain,
            closed_files_max: None,
        };
        let mut writer = FileWriter::new(FileOutputConfig {
            rotation: Some(rotation),
            ..config(&directory.path().join("{source}"))
        });
        let event = Event {
            body: "{}",
            occurred_at: 0,
            kind: "",
            stream: "",
            namespace: "test",
        };
        for number in 0..OPEN_FILES_MAX + 3 {
            writer.send(&format!("s{number}"), &[event]).await.unwrap();
            assert!(writer.open_files.len() <= OPEN_FILES_MAX);
        }
        assert_eq!(writer.open_files.len(), OPEN_FILES_MAX);
        assert!(!writer.open_files.contains_key(&directory.path().join("s0")));
        // It is opened again, and each has a rotation of its own.
        writer.send("s0", &[event]).await.unwrap();
        let names: Vec<String> = fs::read_dir(directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        assert_eq!(names.len(), OPEN_FILES_MAX + 4);
        assert_eq!(
            names.iter().filter(|name| name.starts_with("s0-")).count(),
            1
        );
        writer.close().await;
        assert!(writer.open_files.is_empty());
    }

    #[tokio::test]
    async fn a_truncation_that_failed_is_made_up_for_before_the_next_write() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s0");
        let mut writer = FileWriter::new(config(&directory.path().join("{source}")));
        let event = |body| Event {
            body,
            occurred_at: 0,
            kind: "",
            stream: "",
            namespace: "test",
        };
        writer.send("s0", &[event("{\"n\":0}")]).await.unwrap();
        // A write that failed after a whole line, and so did the truncation.
        let open = writer.open_files.get_mut(&path).unwrap();
        open.appender.truncate_to = Some(fs::metadata(&path).unwrap().len());
        open.appender.file = File::open(&path).unwrap();
        fs::write(&path, "{\"n\":0}\n{\"n\":1}\n").unwrap();
        let part = [event("{\"n\":1}"), event("{\"n\":2}")];
        writer.send("s0", &part).await.unwrap_err();
        // Other files are closed rather than this one.
        for number in 1..=OPEN_FILES_MAX {
            let source = format!("s{number}");
            writer.send(&source, &[event("{}")]).await.unwrap();
        }
        let open = writer.open_files.get_mut(&path).unwrap();
        open.appender.file = OpenOptions::new().append(true).open(&path).unwrap();
        writer.send("s0", &part).await.unwrap();
        assert_eq!(written(&path), "{\"n\":0}\n{\"n\":1}\n{\"n\":2}\n");
    }

    /// A kill does not show whether a step is missing: what a process has
    /// written outlives it, but not a power failure.
    #[tokio::test]
    async fn events_and_the_name_of_their_file_are_on_the_disk_when_they_are_accepted() {
        let directory = tempfile::tempdir().unwrap();
        disk::operation_log::watch(directory.path());
        let path = directory.path().join("new").join("events.ndjson");
        let mut output = config(&path).open().await.unwrap();
        assert_eq!(
            disk::operation_log::take(directory.path()),
            [
                "sync the directory of new",
                "sync the directory of events.ndjson"
            ]
        );
        let batch = batch();
        output.accept(&delivery(&batch)).await.unwrap();
        assert_eq!(
            disk::operation_log::take(directory.path()),
            ["write events.ndjson", "sync events.ndjson"]
        );
    }

    #[test]
    fn a_closed_file_and_the_next_one_have_their_names_on_the_disk() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events.ndjson");
        let rotation = Rotation {
            bytes_max: Some(1),
            age_max: None,
            compression: Encoding::Gzip,
            closed_files_max: None,
        };
        let mut appender = Appender::with_rotation(&path, Some(rotation)).unwrap();
        appender.append(b"{}\n", SystemTime::UNIX_EPOCH).unwrap();
        disk::operation_log::watch(directory.path());
        appender.append(b"{}\n", SystemTime::UNIX_EPOCH).unwrap();
        let closed = "events-19700101T000000.000Z.ndjson";
        assert_eq!(
            disk::operation_log::take(directory.path()),
            [
                &*format!("rename to {closed}"),
                "sync the directory of events.ndjson",
                // The new one.
                "sync the directory of events.ndjson",
                &*format!("sync {closed}.part"),
                &*format!("rename to {closed}.gz"),
                &*format!("sync the directory of {closed}.gz"),
                "write events.ndjson",
                "sync events.ndjson",
            ]
        );
    }

    #[test]
    fn a_file_that_another_one_writes_to_is_refused_until_that_one_ends() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events.ndjson");
        let first = Appender::open(&path).unwrap();
        let error = Appender::open(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ResourceBusy);
        let message = disk::error_message(&path, &error);
        assert!(message.contains("another source-host"), "{message}");
        assert!(message.contains("a file of its own"), "{message}");
        drop(first);
        Appender::open(&path).unwrap();
    }

    #[test]
    #[cfg(unix)]
    fn what_goes_to_a_device_is_accepted() {
        let rotation = Rotation {
            bytes_max: Some(1),
            age_max: None,
            compression: Encoding::Plain,
            closed_files_max: None,
        };
        let path = Path::new("/dev/null");
        let mut appender = Appender::with_rotation(path, Some(rotation)).unwrap();
        assert!(appender.rotation.is_none(), "the device would be renamed");
        appender.append(b"{}\n", SystemTime::now()).unwrap();
        appender.append(b"{}\n", SystemTime::now()).unwrap();
    }

    #[test]
    #[cfg(unix)]
    fn a_device_is_not_locked() {
        let path = Path::new("/dev/null");
        let _first = Appender::open(path).unwrap();
        Appender::open(path).unwrap();
    }

    #[test]
    fn the_lock_follows_the_name_over_rotations_and_moves() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events.ndjson");
        let is_locked = || Appender::open(&path).is_err();
        let rotation = Rotation {
            bytes_max: Some(1),
            age_max: None,
            compression: Encoding::Plain,
            closed_files_max: None,
        };
        let mut appender = Appender::with_rotation(&path, Some(rotation)).unwrap();
        let at = |second| SystemTime::UNIX_EPOCH + Duration::from_secs(second);
        for second in 1..=3 {
            appender.append(b"{\"n\":1}\n", at(second)).unwrap();
            assert!(is_locked(), "after {second} writes");
        }
        // As logrotate does, with and without `create`.
        fs::rename(&path, directory.path().join("events.1")).unwrap();
        fs::write(&path, "").unwrap();
        appender.append(b"{\"n\":2}\n", at(4)).unwrap();
        assert!(is_locked());
        fs::remove_file(&path).unwrap();
        appender.append(b"{\"n\":3}\n", at(5)).unwrap();
        assert!(is_locked());
        assert_eq!(written(&path), "{\"n\":3}\n");
        // Another process was faster to make the next file: nothing is written to it.
        fs::rename(&path, directory.path().join("events.2")).unwrap();
        let other = Appender::open(&path).unwrap();
        let error = appender.append(b"{\"n\":4}\n", at(6)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ResourceBusy);
        drop(other);
        appender.append(b"{\"n\":4}\n", at(7)).unwrap();
        assert_eq!(written(&path), "{\"n\":4}\n");
    }

    #[test]
    fn a_file_that_another_program_has_changed_is_never_cut_below_its_length() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events.ndjson");
        let mut appender = Appender::open(&path).unwrap();
        appender.append(b"{\"n\":1}\n", SystemTime::now()).unwrap();
        // One that takes no lock appends to it, and then our write fails.
        let mut other = OpenOptions::new().append(true).open(&path).unwrap();
        io::Write::write_all(&mut other, b"{\"other\":1}\n").unwrap();
        appender.file = File::open(&path).unwrap();
        appender
            .append(b"{\"n\":2}\n", SystemTime::now())
            .unwrap_err();
        assert_eq!(written(&path), "{\"n\":1}\n{\"other\":1}\n");
        appender.file = OpenOptions::new().append(true).open(&path).unwrap();
        appender.append(b"{\"n\":2}\n", SystemTime::now()).unwrap();
        assert_eq!(written(&path), "{\"n\":1}\n{\"other\":1}\n{\"n\":2}\n");
        // As logrotate's copytruncate: nothing is filled up with zeros.
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(0)
            .unwrap();
        appender.file = File::open(&path).unwrap();
        appender
            .append(b"{\"n\":3}\n", SystemTime::now())
            .unwrap_err();
        assert_eq!(written(&path), "");
    }

    #[tokio::test]
    async fn an_abandoned_write_does_not_close_the_output() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events.ndjson");
        let mut output = config(&path).open().await.unwrap();
        let batch = batch();
        // Polled once, so that the write is under way, and dropped.
        let delivery = delivery(&batch);
        let accepting = output.accept(&delivery);
        drop(futures_util::future::select(accepting, std::future::ready(())).await);
        let accepted = async {
            while let Err(error) = output.accept(&delivery).await {
                assert!(matches!(error, OutputError::Retry(_)), "{error:?}");
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), accepted)
            .await
            .unwrap();
        assert!(written(&path).ends_with("{}\n"));
    }

    #[test]
    fn a_file_that_could_not_be_opened_is_opened_later() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events.ndjson");
        let rotation = Rotation {
            bytes_max: Some(1),
            age_max: None,
            compression: Encoding::Plain,
            closed_files_max: None,
        };
        let mut appender = Appender::with_rotation(&path, Some(rotation)).unwrap();
        let at = |second| SystemTime::UNIX_EPOCH + Duration::from_secs(second);
        appender.append(b"{\"n\":1}\n", at(1)).unwrap();
        // Neither can the file be renamed, nor can another be created there.
        let gone = directory.path().with_extension("gone");
        fs::rename(directory.path(), &gone).unwrap();
        fs::write(directory.path(), "").unwrap();
        appender.append(b"{\"n\":2}\n", at(2)).unwrap_err();
        fs::remove_file(directory.path()).unwrap();
        fs::rename(&gone, directory.path()).unwrap();
        // Only the rename succeeded.
        fs::rename(&path, directory.path().join("aside")).unwrap();
        appender.append(b"{\"n\":2}\n", at(3)).unwrap();
        assert_eq!(written(&path), "{\"n\":2}\n");
        appender.append(b"{\"n\":3}\n", at(4)).unwrap();
        assert_eq!(written(&path), "{\"n\":3}\n", "it is still rotated");
    }

    fn written(path: &Path) -> String {
        fs::read_to_string(path).unwrap()
    }

    #[test]
    fn a_torn_last_line_is_cut_off() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events.ndjson");
        fs::write(&path, "{\"a\":1}\n{\"b\":").unwrap();
        let mut appender = Appender::open(&path).unwrap();
        assert_eq!(written(&path), "{\"a\":1}\n");
        appender.append(b"{\"b\":2}\n", SystemTime::now()).unwrap();
        assert_eq!(written(&path), "{\"a\":1}\n{\"b\":2}\n");
    }

    #[test]
    fn a_torn_line_longer_than_one_step_is_cut_off_too() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events.ndjson");
        let torn = "x".repeat(TAIL_BYTES * 3);
        fs::write(&path, format!("{{}}\n{torn}")).unwrap();
        Appender::open(&path).unwrap();
        assert_eq!(written(&path), "{}\n");
        fs::write(&path, torn).unwrap();
        Appender::open(&path).unwrap();
        assert_eq!(written(&path), "");
    }

    #[test]
    fn a_whole_file_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deep").join("events.ndjson");
        Appender::open(&path)
            .unwrap()
            .append(b"{}\n", SystemTime::now())
            .unwrap();
        Appender::open(&path).unwrap();
        assert_eq!(written(&path), "{}\n");
    }

    #[test]
    fn a_file_that_is_moved_or_removed_by_another_program_is_opened_again() {
        let directory = tempfile::tempdir().unwrap();
        let (path, moved) = (directory.path().join("events"), directory.path().join("1"));
        let mut appender = Appender::open(&path).unwrap();
        appender.append(b"{\"n\":1}\n", SystemTime::now()).unwrap();
        fs::rename(&path, &moved).unwrap();
        appender.append(b"{\"n\":2}\n", SystemTime::now()).unwrap();
        assert_eq!(written(&moved), "{\"n\":1}\n");
        assert_eq!(written(&path), "{\"n\":2}\n");
        fs::remove_file(&path).unwrap();
        appender.append(b"{\"n\":3}\n", SystemTime::now()).unwrap();
        assert_eq!(written(&path), "{\"n\":3}\n");
    }

    #[test]
    fn a_full_file_is_closed_and_a_new_one_opened() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events.ndjson");
        let rotation = Rotation {
            bytes_max: Some(4),
            age_max: None,
            compression: Encoding::Zstd,
            closed_files_max: Some(1),
        };
        let mut appender = Appender::with_rotation(&path, Some(rotation)).unwrap();
        for second in 1..=3 {
            let now = SystemTime::UNIX_EPOCH + Duration::from_secs(second);
            appender.append(b"{\"n\":1}\n", now).unwrap();
        }
        assert_eq!(written(&path), "{\"n\":1}\n");
        let closed: Vec<String> = fs::read_dir(directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != "events.ndjson")
            .collect();
        assert_eq!(closed, ["events-19700101T000003.000Z.ndjson.zst"]);
    }

    #[test]
    fn the_newest_closed_files_stay_also_where_the_clock_was_set_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events.ndjson");
        let rotation = Rotation {
            bytes_max: Some(1),
            age_max: None,
            compression: Encoding::Plain,
            closed_files_max: Some(2),
        };
        let mut appender = Appender::with_rotation(&path, Some(rotation)).unwrap();
        // Each closes the file of the one before it, two of them at the same time.
        for (number, second) in [(1, 100), (2, 100), (3, 50), (4, 50)] {
            let now = SystemTime::UNIX_EPOCH + Duration::from_secs(second);
            let line = format!("{{\"n\":{number}}}\n");
            appender.append(line.as_bytes(), now).unwrap();
        }
        assert_eq!(written(&path), "{\"n\":4}\n");
        for (millis, line) in [("001", "{\"n\":2}\n"), ("002", "{\"n\":3}\n")] {
            let name = format!("events-19700101T000140.{millis}Z.ndjson");
            assert_eq!(written(&directory.path().join(name)), line);
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 3);
    }
}
