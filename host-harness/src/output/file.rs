//! NDJSON in a file: appended, and on the disk before it is accepted.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use tracing::{info, warn};

use super::compress::Encoding;
use super::rotate::{self, Rotation};
use super::{Delivery, Output, OutputError, Plan};
use crate::disk;
use crate::exit::Failure;
use crate::settings::Section;

/// How much of the end is looked at in one step for the last line's begin.
const TAIL_BYTES: usize = 64 * 1024;

#[derive(Clone, Debug)]
struct FilePlan {
    path: PathBuf,
    rotation: Option<Rotation>,
}

/// Understand `type = "file"`.
pub(super) fn plan(mut section: Section<'_>) -> Result<Box<dyn Plan>, Failure> {
    let path = section.required_path("path")?;
    let mib = section.number("rotate_mib", 1..=1_000_000)?;
    let hours = section.number("rotate_hours", 1..=8_760)?;
    let compression = Encoding::read(&mut section)?;
    let keep = section.number("keep", 1..=100_000)?;
    if mib.is_none() && hours.is_none() {
        for (key, set) in [
            ("compression", compression != Encoding::Plain),
            ("keep", keep.is_some()),
        ] {
            if set {
                let reason = "is about closed files; set rotate_mib or rotate_hours as well";
                return Err(section.error(key, reason));
            }
        }
    }
    section.finish()?;
    let rotation = (mib.is_some() || hours.is_some()).then(|| Rotation {
        bytes_max: mib.map(|mib| mib.saturating_mul(1024 * 1024)),
        age_max: hours.map(|hours| Duration::from_secs(hours.saturating_mul(3_600))),
        compression,
        keep: keep.map(|keep| usize::try_from(keep).unwrap_or(usize::MAX)),
    });
    Ok(Box::new(FilePlan { path, rotation }))
}

#[async_trait]
impl Plan for FilePlan {
    async fn open(&self) -> Result<Box<dyn Output>, OutputError> {
        let plan = self.clone();
        let appender = blocking(move || Appender::open(&plan.path, plan.rotation))
            .await
            .map_err(|error| OutputError::Fatal(disk::failed(&self.path, &error)))?;
        Ok(Box::new(FileOutput {
            name: format!("file {}", self.path.display()),
            path: self.path.clone(),
            appender: Some(appender),
        }))
    }
}

struct FileOutput {
    name: String,
    path: PathBuf,
    /// `None` while a write is under way, and after one was abandoned.
    appender: Option<Appender>,
}

#[async_trait]
impl Output for FileOutput {
    fn name(&self) -> &str {
        &self.name
    }

    async fn accept(&mut self, delivery: &Delivery<'_>) -> Result<(), OutputError> {
        let Some(mut appender) = self.appender.take() else {
            return Err(OutputError::Fatal(format!("{} is not open", self.name)));
        };
        let text = delivery.events.to_owned();
        let (appender, result) = blocking(move || {
            let result = appender.append(text.as_bytes(), SystemTime::now());
            Ok((appender, result))
        })
        .await
        .map_err(|error| OutputError::Fatal(format!("{}: {error}", self.name)))?;
        self.appender = Some(appender);
        // A full disk may have room again.
        result.map_err(|error| OutputError::Retry(disk::failed(&self.path, &error)))
    }

    async fn close(&mut self) -> Result<(), OutputError> {
        // Every accepted batch is on the disk.
        self.appender = None;
        Ok(())
    }
}

/// A file of whole lines.
#[derive(Debug)]
pub(crate) struct Appender {
    path: PathBuf,
    file: File,
    bytes: u64,
    /// Whether there may be something behind these bytes that is to be cut off.
    is_torn: bool,
    begun: SystemTime,
    rotation: Option<Rotation>,
}

impl Appender {
    /// Open or make the file, and cut off a line that a crash has left
    /// unfinished: its event was not accepted and comes again.
    pub(crate) fn open(path: &Path, rotation: Option<Rotation>) -> io::Result<Self> {
        if let Some(directory) = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
        {
            fs::create_dir_all(directory)?;
        }
        let new = !path.exists();
        let mut file = open_private(path)?;
        let length = file.metadata()?.len();
        let bytes = whole_lines(&mut file, length)?;
        if bytes < length {
            warn!(
                file = %path.display(),
                bytes = length - bytes,
                "cut off an unfinished line; its event is delivered again"
            );
            file.set_len(bytes)?;
            file.sync_all()?;
        }
        if new {
            sync_directory(path)?;
        }
        let metadata = file.metadata()?;
        let begun = metadata.created().or_else(|_| metadata.modified())?;
        Ok(Self {
            path: path.to_owned(),
            file,
            bytes,
            is_torn: false,
            begun,
            rotation,
        })
    }

    /// Append whole lines, on the disk when it returns. After an error the
    /// file ends where it ended before, at the latest when it is appended to
    /// again.
    pub(crate) fn append(&mut self, text: &[u8], now: SystemTime) -> io::Result<()> {
        if self.is_torn {
            self.file.set_len(self.bytes)?;
            self.is_torn = false;
        }
        self.follow_the_name()?;
        self.rotate_if_due(now)?;
        let written = self
            .file
            .write_all(text)
            .and_then(|()| self.file.sync_data());
        match written {
            Ok(()) => {
                self.bytes += u64::try_from(text.len()).unwrap_or(0);
                Ok(())
            }
            Err(error) => {
                self.is_torn = self.file.set_len(self.bytes).is_err();
                Err(error)
            }
        }
    }

    /// Begin the file again if somebody else has renamed or removed it, as
    /// logrotate does: what went into it from now on would be read by nobody.
    fn follow_the_name(&mut self) -> io::Result<()> {
        if is_at(&self.path, &self.file)? {
            return Ok(());
        }
        warn!(file = %self.path.display(), "the file was moved or removed by another program; begin it again");
        *self = Self::open(&self.path, self.rotation.clone())?;
        Ok(())
    }

    fn rotate_if_due(&mut self, now: SystemTime) -> io::Result<()> {
        let due = self
            .rotation
            .as_ref()
            .is_some_and(|rotation| rotation.is_due(self.bytes, self.begun, now));
        if !due {
            return Ok(());
        }
        let closed = rotate::closed_path(&self.path, now);
        fs::rename(&self.path, &closed)?;
        sync_directory(&self.path)?;
        *self = Self {
            begun: now,
            ..Self::open(&self.path, self.rotation.clone())?
        };
        info!(file = %closed.display(), "closed a file of events");
        if let Some(rotation) = &self.rotation {
            rotate::finish(&self.path, rotation);
        }
        Ok(())
    }
}

/// Events and rejected records are nobody else's business.
fn open_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o640);
    options.open(path)
}

/// Whether the path still leads to the open file.
#[cfg(unix)]
fn is_at(path: &Path, file: &File) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;

    let open = file.metadata()?;
    match fs::metadata(path) {
        Ok(named) => Ok((named.dev(), named.ino()) == (open.dev(), open.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Elsewhere an open file cannot be renamed or removed by another program.
#[cfg(not(unix))]
fn is_at(path: &Path, _: &File) -> io::Result<bool> {
    Ok(path.exists())
}

/// The length of the file up to and with its last `\n`.
fn whole_lines(file: &mut File, length: u64) -> io::Result<u64> {
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

/// A new name is on the disk only when its directory is.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let directory = parent.unwrap_or_else(|| Path::new("."));
    if cfg!(unix) {
        File::open(directory)?.sync_all()?;
    }
    Ok(())
}

/// Run file operations where they hold nobody up.
pub(crate) async fn blocking<T: Send + 'static>(
    act: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(act)
        .await
        .map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_could_not_be_begun_is_begun_later() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events.ndjson");
        let rotation = Rotation {
            bytes_max: Some(1),
            age_max: None,
            compression: Encoding::Plain,
            keep: None,
        };
        let mut appender = Appender::open(&path, Some(rotation)).unwrap();
        let at = |second| SystemTime::UNIX_EPOCH + Duration::from_secs(second);
        appender.append(b"{\"n\":1}\n", at(1)).unwrap();
        // Neither can the file be put aside, nor can one be begun there.
        let gone = directory.path().with_extension("gone");
        fs::rename(directory.path(), &gone).unwrap();
        fs::write(directory.path(), "").unwrap();
        appender.append(b"{\"n\":2}\n", at(2)).unwrap_err();
        fs::remove_file(directory.path()).unwrap();
        fs::rename(&gone, directory.path()).unwrap();
        // It was put aside, and no more.
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
        let mut appender = Appender::open(&path, None).unwrap();
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
        Appender::open(&path, None).unwrap();
        assert_eq!(written(&path), "{}\n");
        fs::write(&path, torn).unwrap();
        Appender::open(&path, None).unwrap();
        assert_eq!(written(&path), "");
    }

    #[test]
    fn a_whole_file_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deep").join("events.ndjson");
        Appender::open(&path, None)
            .unwrap()
            .append(b"{}\n", SystemTime::now())
            .unwrap();
        Appender::open(&path, None).unwrap();
        assert_eq!(written(&path), "{}\n");
    }

    #[test]
    fn a_file_that_is_moved_or_removed_by_another_program_is_begun_again() {
        let directory = tempfile::tempdir().unwrap();
        let (path, moved) = (directory.path().join("events"), directory.path().join("1"));
        let mut appender = Appender::open(&path, None).unwrap();
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
    fn a_full_file_is_closed_and_a_new_one_begun() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events.ndjson");
        let rotation = Rotation {
            bytes_max: Some(4),
            age_max: None,
            compression: Encoding::Zstd,
            keep: Some(1),
        };
        let mut appender = Appender::open(&path, Some(rotation)).unwrap();
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
}
