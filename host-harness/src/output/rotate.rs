//! When a file of events is full, and what becomes of it.

use std::fs::{self, File};
use std::io::{self, BufReader, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use flate2::Compression;
use flate2::write::GzEncoder;
use tracing::warn;

use super::file::sync_directory;

/// When to close a file and begin another.
#[derive(Clone, Debug)]
pub(crate) struct Rotation {
    /// Before it would grow past this; a batch is never split.
    pub(crate) bytes_max: Option<u64>,
    /// When it is this old.
    pub(crate) age_max: Option<Duration>,
    /// Whether closed files are compressed.
    pub(crate) gzip: bool,
    /// How many closed files stay; without it, all.
    pub(crate) keep: Option<usize>,
}

impl Rotation {
    pub(super) fn is_due(&self, bytes: u64, begun: SystemTime, now: SystemTime) -> bool {
        let full = self.bytes_max.is_some_and(|max| bytes >= max);
        let age = now.duration_since(begun).unwrap_or_default();
        let old = self.age_max.is_some_and(|max| age >= max);
        bytes > 0 && (full || old)
    }
}

/// The name of a file that is closed now: `events-20261122T101500.123Z.ndjson`.
pub(super) fn closed_path(path: &Path, now: SystemTime) -> PathBuf {
    let time = humantime::format_rfc3339_millis(now)
        .to_string()
        .replace(['-', ':'], "");
    let (stem, extension) = parts(path);
    path.with_file_name(format!("{stem}-{time}{extension}"))
}

/// Compress the closed file and remove the oldest. Neither may stop the
/// delivery: on an error the file stays as it is.
pub(super) fn finish(path: &Path, closed: &Path, rotation: &Rotation) {
    if rotation.gzip
        && let Err(error) = compress(closed)
    {
        warn!(file = %closed.display(), %error, "a closed file is not compressed");
    }
    if let Some(keep) = rotation.keep
        && let Err(error) = remove_oldest(path, keep)
    {
        warn!(file = %path.display(), %error, "old files are not removed");
    }
}

fn compress(closed: &Path) -> io::Result<()> {
    let mut name = closed.as_os_str().to_owned();
    name.push(".gz");
    let target = PathBuf::from(name);
    let directory = closed.parent().unwrap_or_else(|| Path::new("."));
    let aside = tempfile::NamedTempFile::new_in(directory)?;
    let mut encoder = GzEncoder::new(aside, Compression::default());
    io::copy(&mut BufReader::new(File::open(closed)?), &mut encoder)?;
    let mut aside = encoder.finish()?;
    aside.flush()?;
    aside.as_file().sync_all()?;
    aside.persist(&target)?;
    sync_directory(&target)?;
    fs::remove_file(closed)
}

fn remove_oldest(path: &Path, keep: usize) -> io::Result<()> {
    let (stem, extension) = parts(path);
    let prefix = format!("{stem}-");
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let mut closed = Vec::new();
    for entry in fs::read_dir(directory.unwrap_or_else(|| Path::new(".")))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let time = name.strip_prefix(&prefix).and_then(|rest| {
            let rest = rest.strip_suffix(".gz").unwrap_or(rest);
            rest.strip_suffix(extension.as_str())
        });
        if time.is_some_and(is_time) {
            closed.push(entry.path());
        }
    }
    closed.sort(); // the time in the name sorts as text
    let surplus = closed.len().saturating_sub(keep);
    closed
        .into_iter()
        .take(surplus)
        .try_for_each(fs::remove_file)
}

/// `20261122T101500.123Z`, so that no file of another origin is ever removed.
fn is_time(text: &str) -> bool {
    text.len() == 20
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 => byte == b'T',
            15 => byte == b'.',
            19 => byte == b'Z',
            _ => byte.is_ascii_digit(),
        })
}

/// The name without its extension, and the extension with its dot.
fn parts(path: &Path) -> (String, String) {
    let text = |part: Option<&std::ffi::OsStr>| {
        part.map(|part| part.to_string_lossy().into_owned())
            .unwrap_or_default()
    };
    let extension = text(path.extension());
    let dotted = if extension.is_empty() {
        extension
    } else {
        format!(".{extension}")
    };
    (text(path.file_stem()), dotted)
}
