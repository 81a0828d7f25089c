//! The stored state of each source between runs: its checkpoint, and what `status`
//! shows.
//!
//! One JSON file per source, replaced atomically: written to a temporary file, synced, renamed, and
//! the directory synced. A database would bring a format that nobody can read, a
//! lock that outlives a crash and a dependency that must never break its own
//! files; what has to be kept is one value of at most 768 KiB that is replaced
//! as a whole, and for that a rename is atomic on every file system.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use source_common::disk::{self, blocking};
use source_common::exit::Failure;

use crate::bindings::StreamState;

/// The version of the file format. A newer one is rejected, never guessed at.
const FORMAT_VERSION: u32 = 1;

/// Suffix of a source's state file.
pub const STATE_FILE_SUFFIX: &str = ".checkpoint.json";

/// Name of the file that is locked while a host uses the directory.
pub const LOCK_FILE: &str = "lock";

/// Name of the [`Heartbeat`] file.
pub const HEARTBEAT_FILE: &str = "heartbeat.json";

/// Name of the file with what the host stores besides the source states.
pub const HOST_STATE_FILE: &str = "host.json";

/// Maximum size of a checkpoint, as the contract defines it.
pub const CHECKPOINT_BYTES_MAX: usize = 768 * 1024;

/// Stores the state of sources durably.
#[async_trait]
pub trait CheckpointStore: Send + Sync {
    /// Replaces the stored state of a source. It is durable when this returns.
    async fn store(self: Arc<Self>, source_state: Arc<StoredSource>) -> Result<(), StoreError>;

    /// Returns what an operator does to make a source begin again at `start`, as a clause.
    fn discard_advice(&self, source: &str) -> String;
}

/// Why a source state was not stored.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum StoreError {
    /// Another process works on the source by now, so the state of this one is discarded.
    Superseded,
    /// A retry may succeed. The clause begins with the place.
    Unavailable(String),
}

/// The outcome of [`StateDir::rename`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RenameOutcome {
    /// The state has the new name.
    Moved,
    /// The new name has a checkpoint of its own; both states are unchanged.
    TargetHasCheckpoint,
    /// There was no state to rename, or only one without a checkpoint while the new name has one.
    NothingToRename,
}

/// A state directory, locked by this process.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    /// Held while this value lives; the system releases it if
    /// the process is killed.
    _lock: File,
}

/// The stored state of one source.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct StoredSource {
    version: u32,
    /// Name of the source.
    pub source: String,
    /// The checkpoint after the last batch that every output has accepted.
    pub checkpoint: Option<String>,
    /// When this state was written, in RFC 3339.
    pub stored_at: String,
    /// When the last poll ended, in milliseconds since the epoch.
    #[serde(rename = "polled_ms", default, skip_serializing_if = "Option::is_none")]
    pub polled_at_ms: Option<u64>,
    /// When the last batch was accepted by every output, in milliseconds since the epoch.
    #[serde(
        rename = "succeeded_ms",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub succeeded_at_ms: Option<u64>,
    /// When the next poll is due, in milliseconds since the epoch.
    #[serde(
        rename = "next_poll_ms",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub next_poll_at_ms: Option<u64>,
    /// The component that the source ran with when the loop last stored or counted something, as
    /// `name version`.
    #[serde(default)]
    pub component: String,
    /// The last error of the source as a whole, until it recovers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<StatusMessage>,
    /// Peak memory of an instance.
    #[serde(default)]
    pub memory_bytes_peak: u64,
    /// Number of refusals of events by outputs that can never accept them; an event counts once for each
    /// such output.
    #[serde(default)]
    pub undeliverable: u64,
    /// The state of each stream, by name.
    #[serde(default)]
    pub streams: BTreeMap<String, StoredStream>,
}

/// The state of a stream, source or output, in every report.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It collects, or has collected everything there is for now.
    Active,
    /// It has not run yet, or has not stored anything yet.
    #[default]
    Starting,
    /// A quota or a rate limit holds it back.
    Waiting,
    /// The credentials are valid but do not permit the stream.
    NotPermitted,
    /// It failed and is tried again.
    Failing,
    /// The credentials are refused.
    Unauthorized,
    /// An output does not accept its events, or those of a source.
    Blocked,
    /// Paused by its settings or an operator.
    Paused,
    /// No host is running it.
    Stopped,
}

impl State {
    /// Every state, sorted by name.
    pub const ALL: [Self; 9] = [
        Self::Active,
        Self::Blocked,
        Self::Failing,
        Self::NotPermitted,
        Self::Paused,
        Self::Starting,
        Self::Stopped,
        Self::Unauthorized,
        Self::Waiting,
    ];

    /// Returns the name of the state.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Blocked => "blocked",
            Self::Starting => "starting",
            Self::Waiting => "waiting",
            Self::NotPermitted => "not-permitted",
            Self::Failing => "failing",
            Self::Unauthorized => "unauthorized",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }
}

impl From<StreamState> for State {
    fn from(state: StreamState) -> Self {
        match state {
            StreamState::Active => Self::Active,
            StreamState::Waiting => Self::Waiting,
            StreamState::NotPermitted => Self::NotPermitted,
            StreamState::Failing => Self::Failing,
        }
    }
}

/// The heartbeat of a host, in its state directory. Times are in milliseconds since the epoch.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Heartbeat {
    /// Process id.
    pub pid: u32,
    /// When the process started.
    pub started_at_ms: u64,
    /// When this heartbeat was written.
    pub written_at_ms: u64,
    /// Whether the host has ended cleanly since.
    pub has_ended: bool,
}

/// Interval at which a host writes its [`Heartbeat`].
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(5);

/// A host whose heartbeat is older has died or hangs.
const HEARTBEAT_AGE_MAX: Duration = Duration::from_secs(30);

impl Heartbeat {
    /// Returns whether the host was alive at `now`; false if the heartbeat is more than
    /// `HEARTBEAT_AGE_MAX` from `now`, in either direction.
    #[must_use]
    pub fn is_alive(&self, now: SystemTime) -> bool {
        let age_ms = epoch_ms(now).abs_diff(self.written_at_ms);
        !self.has_ended && Duration::from_millis(age_ms) <= HEARTBEAT_AGE_MAX
    }
}

/// Converts to milliseconds since the epoch.
#[must_use]
pub fn epoch_ms(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

/// Reads the last heartbeat of the host that uses a state directory, if there is one.
#[must_use]
pub fn read_heartbeat(state_dir: &Path) -> Option<Heartbeat> {
    let text = fs::read(state_dir.join(HEARTBEAT_FILE)).ok()?;
    serde_json::from_slice(&text).ok()
}

/// Reads what the host stored in a state directory besides the source states, if it is there.
#[must_use]
pub fn read_host_state<T: DeserializeOwned>(state_dir: &Path) -> Option<T> {
    let text = fs::read(state_dir.join(HOST_STATE_FILE)).ok()?;
    serde_json::from_slice(&text).ok()
}

/// Checks that this user, who may not be the host's, can read the files of a state
/// directory. A missing directory is not a failure.
pub fn check_readable(state_dir: &Path) -> Result<(), Failure> {
    let read =
        fs::read_dir(state_dir).and_then(|_| match File::open(state_dir.join(HEARTBEAT_FILE)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            opened => opened.map(drop),
        });
    match read {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        read => read.map_err(|error| not_readable(state_dir, &error)),
    }
}

/// Refuses a state directory that another user's host uses: that host could not read the files that
/// this process replaces in it. A missing directory is not a failure.
#[cfg(unix)]
pub fn check_same_user(state_dir: &Path) -> Result<(), Failure> {
    check_user(state_dir, rustix::process::geteuid().as_raw())
}

/// Always succeeds: on these systems files have no owner to compare.
#[cfg(not(unix))]
pub fn check_same_user(_: &Path) -> Result<(), Failure> {
    Ok(())
}

#[cfg(unix)]
fn check_user(state_dir: &Path, user: u32) -> Result<(), Failure> {
    use std::os::unix::fs::MetadataExt;

    // The host replaces its heartbeat all the time; the directory may be one that was made for it.
    let used = fs::metadata(state_dir.join(HEARTBEAT_FILE)).or_else(|_| fs::metadata(state_dir));
    match used.map(|used| used.uid()) {
        Ok(owner) if owner != user => Err(Failure::failed(format!(
            "state directory {}: it is used by the user {owner}; run the command as that user, with \
             `sudo -u '#{owner}'` before it",
            state_dir.display()
        ))),
        Ok(_) | Err(_) => Ok(()),
    }
}

fn not_readable(path: &Path, error: &io::Error) -> Failure {
    let path = path.display();
    let hint = if error.kind() == io::ErrorKind::PermissionDenied {
        "; run the command as the user that runs source-host"
    } else {
        ""
    };
    Failure::failed(format!("{path} cannot be read: {error}{hint}"))
}

/// The stored state of one stream.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct StoredStream {
    /// Number of requests.
    #[serde(default)]
    pub requests: u64,
    /// Bytes of response bodies, before decompression.
    #[serde(default)]
    pub received_bytes: u64,
    /// Records read; always `events` + `rejected` + `duplicates`.
    #[serde(default)]
    pub received: u64,
    /// Records that became events.
    #[serde(default)]
    pub events: u64,
    /// Records that were rejected.
    #[serde(default)]
    pub rejected: u64,
    /// Records that had been delivered before.
    #[serde(default)]
    pub duplicates: u64,
    /// Number of `gap` notices, each a range of lost records.
    #[serde(default)]
    pub gaps: u64,
    /// Whether the upstream reported at the last request that there is no
    /// more for now.
    #[serde(default)]
    pub caught_up: bool,
    /// The time of the newest event, in milliseconds since the epoch.
    #[serde(default)]
    pub newest_ms: Option<i64>,
    /// When the last batch with counts of the stream was accepted, in RFC 3339.
    #[serde(rename = "asked_at", default)]
    pub last_accepted_at: Option<String>,
    /// The state at the end of the last poll.
    #[serde(default)]
    pub state: State,
    /// When the stream is tried again, where that is known: it waits or fails. In milliseconds since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<i64>,
    /// The time up to which its records are known to be collected, in
    /// milliseconds since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collected_until_ms: Option<i64>,
    /// Remaining calls of its quota, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota_remaining: Option<u32>,
    /// Why the stream does not collect, and what to do.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub state_detail: String,
    /// The last failure of this stream, until it works again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<StatusMessage>,
    /// The last notice about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_notice: Option<StatusMessage>,
}

/// A message and its time.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct StatusMessage {
    /// When it occurred, in RFC 3339.
    pub at: String,
    /// The kind of message, such as `gap` or `unavailable`.
    pub kind: String,
    /// The text for people; never contains a secret.
    pub detail: String,
}

impl StateDir {
    /// Creates the directory if it is missing, locks it, and checks that a
    /// checkpoint can be stored: otherwise every batch would be delivered again
    /// after each start.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        let failure = |reason: String| Failure::failed(format!("state directory {reason}"));
        let cannot = |error: &io::Error| failure(disk::error_message(path, error));
        create_state_dir(path).map_err(|error| cannot(&error))?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.join(LOCK_FILE))
            .map_err(|error| cannot(&error))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => failure(format!(
                "{}: another source-host is using it; wait for it to end or stop it",
                path.display()
            )),
            TryLockError::Error(error) => cannot(&error),
        })?;
        check_writable(path, CHECKPOINT_BYTES_MAX).map_err(|error| cannot(&error))?;
        Ok(Self {
            path: path.to_owned(),
            _lock: lock,
        })
    }

    /// Returns the path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Loads the stored state of a source; a new state if there is none.
    pub fn load(&self, source: &str) -> Result<StoredSource, Failure> {
        Ok(read(&self.path, source)?.unwrap_or_else(|| StoredSource::new(source)))
    }

    /// Renames the stored state of a source, unless the new name has a checkpoint already. A state
    /// without one, as a source has that could not start, is replaced.
    pub fn rename(&self, from: &str, to: &str) -> Result<RenameOutcome, Failure> {
        let failed = |error: &io::Error| {
            let reason = disk::error_message(&self.path, error);
            Failure::failed(format!(
                "the checkpoint of `{from}` cannot be moved: {reason}"
            ))
        };
        let target_checkpoint = read(&self.path, to)?.and_then(|target| target.checkpoint);
        let former = match read(&self.path, from) {
            Ok(former) => former,
            // A source with a checkpoint needs no other, and starts.
            Err(_) if target_checkpoint.is_some() => return Ok(RenameOutcome::TargetHasCheckpoint),
            Err(failure) => return Err(failure),
        };
        let Some(mut source_state) = former else {
            return Ok(RenameOutcome::NothingToRename);
        };
        if target_checkpoint.is_none() {
            to.clone_into(&mut source_state.source);
            // In this order, so that a host that is killed in between has it under one name at
            // least.
            self.store(&source_state).map_err(|error| failed(&error))?;
        } else if source_state.checkpoint.is_none() {
            return Ok(RenameOutcome::NothingToRename);
        } else if source_state.checkpoint != target_checkpoint {
            return Ok(RenameOutcome::TargetHasCheckpoint);
        }
        // Where they are equal, a host was killed in between.
        let former = state_path(&self.path, from);
        fs::remove_file(&former)
            .and_then(|()| disk::sync_directory(&former))
            .map_err(|error| failed(&error))?;
        Ok(RenameOutcome::Moved)
    }

    /// Replaces the heartbeat. It need not survive a crash of the system.
    pub fn write_heartbeat(&self, heartbeat: &Heartbeat) -> io::Result<()> {
        self.replace(HEARTBEAT_FILE, &serde_json::to_vec(heartbeat)?)
    }

    /// Replaces what the host stores, as JSON text, for [`read_host_state`]. It
    /// need not survive a crash of the system.
    pub fn write_host_state(&self, json: &[u8]) -> io::Result<()> {
        self.replace(HOST_STATE_FILE, json)
    }

    fn replace(&self, name: &str, text: &[u8]) -> io::Result<()> {
        let temp_file = tempfile::NamedTempFile::with_prefix_in(format!(".{name}-"), &self.path)?;
        fs::write(temp_file.path(), text)?;
        disk::persist(temp_file, &self.path.join(name))
    }

    /// Replaces the stored state of a source. It is on the disk when this returns.
    pub fn store(&self, source_state: &StoredSource) -> io::Result<()> {
        let target = state_path(&self.path, &source_state.source);
        let mut text = serde_json::to_vec_pretty(source_state)?;
        text.push(b'\n');
        disk::replace(&target, ".checkpoint-", &text)
    }
}

#[async_trait]
impl CheckpointStore for StateDir {
    async fn store(self: Arc<Self>, source_state: Arc<StoredSource>) -> Result<(), StoreError> {
        let path = self.path.clone();
        let stored = blocking(move || Self::store(&self, &source_state)).await;
        stored.map_err(|error| StoreError::Unavailable(disk::error_message(&path, &error)))
    }

    fn discard_advice(&self, source: &str) -> String {
        format!("move {} away", state_path(&self.path, source).display())
    }
}

impl StoredSource {
    /// Creates the state of a source that has never been read.
    #[must_use]
    pub fn new(source: &str) -> Self {
        Self {
            version: FORMAT_VERSION,
            source: source.to_owned(),
            ..Self::default()
        }
    }

    /// Returns a copy without the checkpoint, which may be large.
    #[must_use]
    pub fn without_checkpoint(&self) -> Self {
        Self {
            version: self.version,
            source: self.source.clone(),
            checkpoint: None,
            stored_at: self.stored_at.clone(),
            polled_at_ms: self.polled_at_ms,
            succeeded_at_ms: self.succeeded_at_ms,
            next_poll_at_ms: self.next_poll_at_ms,
            component: self.component.clone(),
            last_error: self.last_error.clone(),
            memory_bytes_peak: self.memory_bytes_peak,
            undeliverable: self.undeliverable,
            streams: self.streams.clone(),
        }
    }

    /// Returns whether any count is set: counts are stored with the checkpoint after
    /// the records they count, and never without one.
    fn has_counts(&self) -> bool {
        let counts = |stream: &StoredStream| {
            [
                stream.requests,
                stream.received_bytes,
                stream.received,
                stream.events,
                stream.rejected,
                stream.duplicates,
                stream.gaps,
            ]
        };
        let counts = self.streams.values().flat_map(counts);
        counts.chain([self.undeliverable]).any(|count| count > 0)
    }
}

/// Reads the stored state of a source, without a lock: for `status`, which may run
/// while a host runs. `None` if nothing is stored under this name. The file may be
/// repaired while the host runs, so the failure is retryable.
pub fn read(state_dir: &Path, source: &str) -> Result<Option<StoredSource>, Failure> {
    let path = state_path(state_dir, source);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            return Err(not_readable(&path, &error));
        }
        Err(error) => return Err(unusable(&path, &format!("cannot be read: {error}"))),
    };
    let version = serde_json::from_str::<Version>(&text)
        .map_err(|error| {
            unusable(
                &path,
                &format!("is not a checkpoint file or is truncated: {error}"),
            )
        })?
        .version;
    if version != FORMAT_VERSION {
        let reason =
            format!("has layout {version}; this source-host knows layout {FORMAT_VERSION}");
        return Err(unusable(&path, &reason));
    }
    let source_state: StoredSource = serde_json::from_str(&text).map_err(|error| {
        unusable(
            &path,
            &format!("is not a checkpoint file or is truncated: {error}"),
        )
    })?;
    if source_state.source != source {
        let reason = format!("belongs to the source `{}`", source_state.source);
        return Err(unusable(&path, &reason));
    }
    if source_state.checkpoint.is_none() && source_state.has_counts() {
        return Err(unusable(&path, "counts records but has no checkpoint"));
    }
    Ok(Some(source_state))
}

/// Returns the path of a source's state file.
#[must_use]
pub fn state_path(state_dir: &Path, source: &str) -> PathBuf {
    state_dir.join(format!("{source}{STATE_FILE_SUFFIX}"))
}

/// Returns the default path of a source's rejected records.
#[must_use]
pub fn rejected_path(state_dir: &Path, source: &str) -> PathBuf {
    state_dir.join(format!("{source}.rejected.ndjson"))
}

#[derive(Deserialize)]
struct Version {
    version: u32,
}

fn unusable(path: &Path, reason: &str) -> Failure {
    Failure::settings(format!(
        "{} {reason}; restore it from a copy, or move it away to begin again at `start` (events \
         already delivered then come again, with the same ids)",
        path.display()
    ))
    .retryable()
}

/// Checks that `bytes` bytes can be written in a directory, with a temporary file.
pub fn check_writable(directory: &Path, bytes: usize) -> io::Result<()> {
    tempfile::tempfile_in(directory)?.write_all(&vec![0; bytes])
}

fn create_state_dir(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o750);
    builder.create(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled() -> StoredSource {
        let mut source_state = StoredSource::new("acme");
        source_state.checkpoint = Some("{\"v\":1}".to_owned());
        source_state.streams.insert(
            "siem".to_owned(),
            StoredStream {
                received: 3,
                events: 2,
                rejected: 1,
                newest_ms: Some(1_700_000_000_000),
                ..StoredStream::default()
            },
        );
        source_state
    }

    #[test]
    fn what_is_stored_is_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let state_dir = StateDir::open(directory.path()).unwrap();
        assert_eq!(state_dir.load("acme").unwrap(), StoredSource::new("acme"));
        state_dir.store(&filled()).unwrap();
        assert_eq!(state_dir.load("acme").unwrap(), filled());
        assert_eq!(read(directory.path(), "other").unwrap(), None);
    }

    #[cfg(unix)]
    #[test]
    fn a_directory_of_another_user_is_refused_with_what_to_run() {
        use std::os::unix::fs::MetadataExt;

        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let owner = fs::metadata(path).unwrap().uid();
        assert_eq!(check_same_user(path), Ok(()));
        assert_eq!(check_user(&path.join("none"), owner), Ok(()));
        let failure = check_user(path, owner + 1).unwrap_err();
        let advice = format!("`sudo -u '#{owner}'`");
        assert!(failure.message.contains(&advice), "{failure}");
        assert_eq!(failure.exit.code(), 1);
    }

    /// A kill does not show whether a step is missing: what a process has
    /// written outlives it, but not a power failure.
    #[test]
    fn a_checkpoint_is_on_the_disk_under_its_name_when_it_is_stored() {
        let directory = tempfile::tempdir().unwrap();
        let state_dir = StateDir::open(directory.path()).unwrap();
        disk::operation_log::watch(directory.path());
        for _ in 0..2 {
            state_dir.store(&filled()).unwrap();
            let steps = disk::operation_log::take(directory.path());
            let temp_file = steps[0].strip_prefix("write ").unwrap();
            assert!(temp_file.starts_with(".checkpoint-"), "{steps:?}");
            assert_eq!(
                steps[1..],
                [
                    &*format!("sync {temp_file}"),
                    "rename to acme.checkpoint.json",
                    "sync the directory of acme.checkpoint.json",
                ]
            );
        }
    }

    #[test]
    fn nothing_but_the_state_file_and_the_lock_stays_in_the_directory() {
        let directory = tempfile::tempdir().unwrap();
        let state_dir = StateDir::open(directory.path()).unwrap();
        state_dir.store(&filled()).unwrap();
        state_dir.store(&filled()).unwrap();
        let mut names: Vec<_> = fs::read_dir(directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        assert_eq!(names, ["acme.checkpoint.json", "lock"]);
    }

    #[test]
    fn a_renamed_source_has_the_stored_state_of_its_former_name_unless_it_has_its_own() {
        let directory = tempfile::tempdir().unwrap();
        let state_dir = StateDir::open(directory.path()).unwrap();
        assert_eq!(
            state_dir.rename("acme", "new").unwrap(),
            RenameOutcome::NothingToRename
        );
        state_dir.store(&filled()).unwrap();
        assert_eq!(
            state_dir.rename("acme", "new").unwrap(),
            RenameOutcome::Moved
        );
        let mut renamed = filled();
        renamed.source = "new".to_owned();
        assert_eq!(state_dir.load("new").unwrap(), renamed);
        assert_eq!(read(directory.path(), "acme").unwrap(), None);
        // The former name is that of another source now.
        let mut other = filled();
        other.checkpoint = Some("other".to_owned());
        state_dir.store(&other).unwrap();
        assert_eq!(
            state_dir.rename("acme", "new").unwrap(),
            RenameOutcome::TargetHasCheckpoint
        );
        assert_eq!(state_dir.load("new").unwrap(), renamed);
        assert_eq!(state_dir.load("acme").unwrap(), other);
        // What cannot be read is not needed.
        fs::write(state_path(directory.path(), "acme"), "hello").unwrap();
        assert_eq!(
            state_dir.rename("acme", "new").unwrap(),
            RenameOutcome::TargetHasCheckpoint
        );
    }

    #[test]
    fn a_renamed_source_that_could_not_start_has_the_checkpoint_of_its_former_name() {
        let directory = tempfile::tempdir().unwrap();
        let state_dir = StateDir::open(directory.path()).unwrap();
        // As it is stored where its component or a secret is missing.
        let mut failed = StoredSource::new("new");
        failed.last_error = Some(StatusMessage {
            at: String::new(),
            kind: "start".to_owned(),
            detail: "no secret".to_owned(),
        });
        state_dir.store(&failed).unwrap();
        state_dir.store(&filled()).unwrap();
        assert_eq!(
            state_dir.rename("acme", "new").unwrap(),
            RenameOutcome::Moved
        );
        let mut renamed = filled();
        renamed.source = "new".to_owned();
        assert_eq!(state_dir.load("new").unwrap(), renamed);
        assert_eq!(read(directory.path(), "acme").unwrap(), None);
        // A host was killed before the former name was removed.
        state_dir.store(&filled()).unwrap();
        assert_eq!(
            state_dir.rename("acme", "new").unwrap(),
            RenameOutcome::Moved
        );
        assert_eq!(state_dir.load("new").unwrap(), renamed);
        assert_eq!(read(directory.path(), "acme").unwrap(), None);
    }

    #[test]
    fn a_cut_file_is_an_error_at_every_length_and_never_a_fresh_start() {
        let directory = tempfile::tempdir().unwrap();
        let state_dir = StateDir::open(directory.path()).unwrap();
        state_dir.store(&filled()).unwrap();
        let path = state_path(directory.path(), "acme");
        let whole = fs::read(&path).unwrap();
        for length in 0..whole.len() - 2 {
            fs::write(&path, &whole[..length]).unwrap();
            let failure = state_dir.load("acme").unwrap_err();
            assert_eq!(failure.exit.code(), 78);
            assert!(failure.message.contains("move it away"), "{failure}");
        }
    }

    #[test]
    fn a_file_of_another_format_is_an_error_and_never_a_fresh_start() {
        let directory = tempfile::tempdir().unwrap();
        let state_dir = StateDir::open(directory.path()).unwrap();
        let path = state_path(directory.path(), "acme");
        for (text, reason) in [
            ("hello", "is not a checkpoint file"),
            ("{}", "is not a checkpoint file"),
            ("\u{0}", "is not a checkpoint file"),
            ("{\"version\":2}", "has layout 2"),
            (
                "{\"version\":1,\"source\":\"other\",\"checkpoint\":null,\"stored_at\":\"\"}",
                "belongs to the source `other`",
            ),
        ] {
            fs::write(&path, text).unwrap();
            let failure = state_dir.load("acme").unwrap_err();
            assert_eq!(failure.exit.code(), 78);
            assert!(failure.message.contains(reason), "{failure}");
        }
        fs::write(&path, b"\xff\xfe").unwrap();
        assert!(state_dir.load("acme").is_err());
    }

    #[test]
    fn counts_without_a_checkpoint_are_an_error_and_never_a_fresh_start() {
        let directory = tempfile::tempdir().unwrap();
        let state_dir = StateDir::open(directory.path()).unwrap();
        let path = state_path(directory.path(), "acme");
        let whole = serde_json::to_value(filled()).unwrap();
        let mut without = whole.clone();
        without.as_object_mut().unwrap().remove("checkpoint");
        let mut null = whole;
        null["checkpoint"] = serde_json::Value::Null;
        for record in [without, null] {
            fs::write(&path, record.to_string()).unwrap();
            let failure = state_dir.load("acme").unwrap_err();
            assert_eq!(failure.exit.code(), 78);
            assert!(failure.message.contains("has no checkpoint"), "{failure}");
        }
        // A source that has failed before its first batch has neither.
        let mut fresh = StoredSource::new("acme");
        fresh.last_error = Some(StatusMessage {
            at: String::new(),
            kind: "component".to_owned(),
            detail: "trapped".to_owned(),
        });
        state_dir.store(&fresh).unwrap();
        assert_eq!(state_dir.load("acme").unwrap(), fresh);
    }

    #[test]
    fn two_runs_cannot_have_the_same_directory() {
        let directory = tempfile::tempdir().unwrap();
        let first = StateDir::open(directory.path()).unwrap();
        let failure = StateDir::open(directory.path()).unwrap_err();
        assert_eq!(failure.exit.code(), 1);
        assert!(failure.message.contains("another source-host"), "{failure}");
        drop(first);
        StateDir::open(directory.path()).unwrap();
    }
}
