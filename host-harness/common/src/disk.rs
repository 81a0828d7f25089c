//! Durable file operations (write, fsync, rename), and messages for those that fail.
//!
//! A missing fsync shows only after a power failure, so tests check the operations against a
//! log that `operation_log` keeps of them.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tempfile::NamedTempFile;

/// Writes all bytes to the file at `path`.
pub fn write_all(mut file: &File, path: &Path, bytes: &[u8]) -> io::Result<()> {
    file.write_all(bytes)?;
    record("write", path);
    Ok(())
}

/// Checks whether a file can be created in a directory, or the directory itself where it is missing.
/// Leaves nothing behind. An absolute path whose first directory does not exist is an error: it is probably mistyped.
pub fn check_can_create_in(directory: &Path) -> io::Result<()> {
    let directories = directory.ancestors().map(|directory| {
        if directory.as_os_str().is_empty() {
            Path::new(".")
        } else {
            directory
        }
    });
    let mut has_missing = false;
    for directory in directories {
        match fs::metadata(directory) {
            Ok(found) if !found.is_dir() => return Err(ErrorKind::NotADirectory.into()),
            Ok(_) if has_missing && directory.parent().is_none() => {
                let reason = "its first directory does not exist; make it, or correct the path";
                return Err(io::Error::new(ErrorKind::NotFound, reason));
            }
            // A file without a name, which is gone when it is closed.
            Ok(_) => return tempfile::tempfile_in(directory).map(drop),
            Err(error) if error.kind() == ErrorKind::NotFound => has_missing = true,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Syncs the data of the file at `path` to the disk. Does nothing for a device or a pipe, which stores
/// nothing.
pub fn sync(file: &File, path: &Path) -> io::Result<()> {
    match file.sync_data() {
        Err(error) if error.kind() == ErrorKind::InvalidInput && !file.metadata()?.is_file() => {}
        synced => synced?,
    }
    record("sync", path);
    Ok(())
}

/// Truncates the file at `path` to `length`. A shorter file stays
/// as it is: another program has truncated it meanwhile.
pub fn truncate(file: &File, path: &Path, length: u64) -> io::Result<()> {
    if file.metadata()?.len() > length {
        file.set_len(length)?;
        record("cut", path);
    }
    Ok(())
}

/// Returns whether the path still refers to the open file.
#[cfg(unix)]
pub fn is_same_file(path: &Path, file: &File) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;

    let open = file.metadata()?;
    match fs::metadata(path) {
        Ok(named) => Ok((named.dev(), named.ino()) == (open.dev(), open.ino())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Returns whether the path exists. On these systems another program cannot rename or remove an open file.
#[cfg(not(unix))]
pub fn is_same_file(path: &Path, _: &File) -> io::Result<bool> {
    Ok(path.exists())
}

/// Renames a file. The new name is durable only after [`sync_directory`].
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    record("rename to", to);
    Ok(())
}

/// Renames a temporary file to `to`, replacing any file of that name.
pub fn persist(file: NamedTempFile, to: &Path) -> io::Result<()> {
    file.persist(to)?;
    record("rename to", to);
    Ok(())
}

/// Renames a temporary file to `to`, unless there is a file of that name.
fn persist_new(file: NamedTempFile, to: &Path) -> io::Result<()> {
    file.persist_noclobber(to)?;
    record("rename to", to);
    Ok(())
}

/// Fsyncs the directory of a file, which makes the file's name durable.
pub fn sync_directory(path: &Path) -> io::Result<()> {
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let directory = parent.unwrap_or_else(|| Path::new("."));
    if cfg!(unix) {
        File::open(directory)?.sync_all()?;
    }
    record("sync the directory of", path);
    Ok(())
}

/// Atomically and durably replaces the file at `target` with one that holds `bytes`.
/// Until the rename, the bytes are in a temporary file beside it whose name begins with `prefix`.
pub fn replace(target: &Path, prefix: &str, bytes: &[u8]) -> io::Result<()> {
    persist(temp_file(target, prefix, bytes)?, target)?;
    sync_directory(target)
}

/// Does the same as [`replace`] where there is no file at `target`; else fails with
/// [`io::ErrorKind::AlreadyExists`].
pub fn create(target: &Path, prefix: &str, bytes: &[u8]) -> io::Result<()> {
    persist_new(temp_file(target, prefix, bytes)?, target)?;
    sync_directory(target)
}

/// Writes a temporary file beside `target`, durably.
fn temp_file(target: &Path, prefix: &str, bytes: &[u8]) -> io::Result<NamedTempFile> {
    let directory = target
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let directory = directory.unwrap_or_else(|| Path::new("."));
    let temp_file = NamedTempFile::with_prefix_in(prefix, directory)?; // of mode 0600
    write_all(temp_file.as_file(), temp_file.path(), bytes)?;
    sync(temp_file.as_file(), temp_file.path())?;
    Ok(temp_file)
}

/// Detects that a file has changed, by its modification time and length, and by the time at which its
/// permissions or its owner last changed, so that one that is made readable counts as changed. `None`
/// where its metadata cannot be read.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct FileVersion(Option<(SystemTime, u64, ChangeTime)>);

/// The time of the last change of a file's status, in seconds and nanoseconds.
type ChangeTime = (i64, i64);

impl FileVersion {
    /// Returns the current version of the file at `path`.
    #[must_use]
    pub fn of(path: &Path) -> Self {
        let metadata = fs::metadata(path).ok();
        Self(metadata.and_then(|it| Some((it.modified().ok()?, it.len(), change_time(&it)))))
    }

    /// Returns whether the file, its permissions or its owner may have changed since a time. File systems
    /// round the times of files, so a change up to two seconds before it counts as well.
    #[must_use]
    pub fn may_have_changed_since(self, time: SystemTime) -> bool {
        const ROUNDING: Duration = Duration::from_secs(2);
        self.0.is_some_and(|(modified, _, (seconds, _))| {
            let changed = u64::try_from(seconds).unwrap_or(0);
            let changed = UNIX_EPOCH.checked_add(Duration::from_secs(changed));
            let latest = changed.map_or(modified, |changed| changed.max(modified));
            let latest = latest.checked_add(ROUNDING);
            latest.is_none_or(|latest| latest >= time)
        })
    }
}

#[cfg(unix)]
fn change_time(metadata: &fs::Metadata) -> ChangeTime {
    use std::os::unix::fs::MetadataExt;

    (metadata.ctime(), metadata.ctime_nsec())
}

/// Always zero: these systems do not report it.
#[cfg(not(unix))]
fn change_time(_: &fs::Metadata) -> ChangeTime {
    (0, 0)
}

/// Runs blocking file operations on a thread pool, off the async workers.
pub async fn blocking<T: Send + 'static>(
    operation: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(operation)
        .await
        .map_err(io::Error::other)?
}

#[cfg(not(feature = "operation-log"))]
fn record(_: &str, _: &Path) {}

#[cfg(feature = "operation-log")]
use self::operation_log::record;

#[cfg(feature = "operation-log")]
pub mod operation_log {
    //! A log of the disk operations in a directory, for tests.

    use std::collections::BTreeMap;
    use std::path::{Path, PathBuf};
    use std::sync::{Mutex, PoisonError};

    /// Recorded operations by directory, for the directories that a test of this process watches.
    static OPERATIONS: Mutex<BTreeMap<PathBuf, Vec<String>>> = Mutex::new(BTreeMap::new());

    pub(super) fn record(what: &str, path: &Path) {
        let mut watched = OPERATIONS.lock().unwrap_or_else(PoisonError::into_inner);
        for (directory, operations) in watched.iter_mut() {
            if path.starts_with(directory) {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                operations.push(format!("{what} {name}"));
            }
        }
    }

    /// Starts recording the operations in a directory.
    pub fn watch(directory: &Path) {
        let mut watched = OPERATIONS.lock().unwrap_or_else(PoisonError::into_inner);
        watched.insert(directory.to_owned(), Vec::new());
    }

    /// Returns and clears the operations recorded in a watched directory.
    #[must_use]
    pub fn take(directory: &Path) -> Vec<String> {
        let mut watched = OPERATIONS.lock().unwrap_or_else(PoisonError::into_inner);
        watched
            .get_mut(directory)
            .map(std::mem::take)
            .unwrap_or_default()
    }
}

/// Formats a failure: the path, the system's message, and what to do about it.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the kinds of the standard library, of which few say what to do"
)]
pub fn error_message(path: &Path, error: &io::Error) -> String {
    let advice = match error.kind() {
        ErrorKind::FileTooLarge | ErrorKind::QuotaExceeded | ErrorKind::StorageFull => {
            "; make room there"
        }
        ErrorKind::ResourceBusy => "; stop that one, or give each a file of its own",
        ErrorKind::IsADirectory => "; name a file in that directory",
        ErrorKind::AlreadyExists | ErrorKind::NotADirectory => {
            "; part of the path is a file, not a directory: choose another path in the settings file"
        }
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            "; let the user that runs source-host write there, or choose another path in the \
             settings file"
        }
        _ => "",
    };
    format!("{}: {error}{advice}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_a_full_disk_and_an_unwritable_place_advise_what_to_do() {
        let message = |kind: ErrorKind| error_message(Path::new("/there"), &kind.into());
        assert!(message(ErrorKind::StorageFull).ends_with("; make room there"));
        assert!(message(ErrorKind::ReadOnlyFilesystem).ends_with("in the settings file"));
        assert!(message(ErrorKind::IsADirectory).ends_with("; name a file in that directory"));
        assert!(
            message(ErrorKind::AlreadyExists)
                .contains("part of the path is a file, not a directory")
        );
        assert_eq!(message(ErrorKind::TimedOut), "/there: timed out");
    }

    #[test]
    fn a_file_has_changed_since_a_time_up_to_two_seconds_after_its_own() {
        let version = |modified| FileVersion(Some((modified, 0, (0, 0))));
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_770_000_000);
        let second = Duration::from_secs(1);
        assert!(version(time).may_have_changed_since(time + 2 * second));
        assert!(!version(time).may_have_changed_since(time + 3 * second));
        // A file that was made readable counts, however old its content is.
        let made_readable = FileVersion(Some((SystemTime::UNIX_EPOCH, 0, (1_770_000_000, 0))));
        assert!(made_readable.may_have_changed_since(time + 2 * second));
        assert!(!made_readable.may_have_changed_since(time + 3 * second));
        // The times of a file may be any.
        let mut latest = time;
        for bit in (0..63).rev() {
            let later = latest.checked_add(Duration::from_secs(1 << bit));
            latest = later.unwrap_or(latest);
        }
        assert_eq!(latest.checked_add(2 * second), None);
        assert!(version(latest).may_have_changed_since(time));
        assert!(version(latest).may_have_changed_since(latest));
    }

    /// One that could not be read is read again then, though its content is the same.
    #[cfg(unix)]
    #[test]
    fn a_file_whose_permissions_change_has_another_version() {
        use std::os::unix::fs::PermissionsExt;
        use std::time::Instant;

        let file = NamedTempFile::new().unwrap();
        let before = FileVersion::of(file.path());
        let begun = Instant::now();
        // The clock of a file system advances every few milliseconds.
        while FileVersion::of(file.path()) == before {
            assert!(begun.elapsed() < Duration::from_secs(60));
            fs::set_permissions(file.path(), fs::Permissions::from_mode(0o640)).unwrap();
        }
    }
}
