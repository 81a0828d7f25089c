//! Rotation of event files.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use source_common::disk;
use tracing::warn;

use super::compress::Encoding;

/// Minimum difference of the times in the names of closed files.
const NAME_STEP: Duration = Duration::from_millis(1);
/// The start of the year 10000, since the epoch.
const YEAR_10000: Duration = Duration::from_secs(253_402_300_800);

/// When to close a file and start another, and what to do with closed files.
#[derive(Clone, Debug)]
pub(crate) struct Rotation {
    /// Size from which the file is closed before the next batch is written; it may be larger by one batch.
    pub(crate) bytes_max: Option<u64>,
    /// Age from which it is closed before the next batch is written; a file that gets none stays open.
    pub(crate) age_max: Option<Duration>,
    /// Compression of closed files.
    pub(super) compression: Encoding,
    /// Maximum number of closed files, of which the oldest are removed; `None` for no limit.
    pub(crate) closed_files_max: Option<usize>,
}

impl Rotation {
    pub(super) fn is_due(&self, bytes: u64, created_at: SystemTime, now: SystemTime) -> bool {
        let full = self.bytes_max.is_some_and(|max| bytes >= max);
        let age = now.duration_since(created_at).unwrap_or_default();
        let old = self.age_max.is_some_and(|max| age >= max);
        bytes > 0 && (full || old)
    }
}

/// Returns the name for a file that is closed now: `events-20261122T101500.123Z.ndjson`. It is later
/// than that of every closed file, also where the clock was set back or two files are closed at the
/// same time: the oldest ones are removed by their names, and no file is replaced.
pub(super) fn closed_path(path: &Path, now: SystemTime) -> PathBuf {
    // A directory that cannot be read is reported by `process_closed_files`.
    let closed = closed_files(path).unwrap_or_default();
    let times: BTreeSet<SystemTime> = closed.iter().filter_map(|file| file.time).collect();
    let later = times.iter().map(|time| *time + NAME_STEP);
    // A name has four digits for the year, and no name follows the last one.
    let later = later.filter(|later| *later < UNIX_EPOCH + YEAR_10000 && !times.contains(later));
    let later = later.max();
    let mut time = later.map_or(now, |later| later.max(now));
    let mut named = path_at(path, time);
    while named.exists() {
        time += NAME_STEP;
        named = path_at(path, time);
    }
    named
}

#[expect(
    clippy::disallowed_methods,
    reason = "the time is one of the clock, or earlier than the year 10000"
)]
fn path_at(path: &Path, time: SystemTime) -> PathBuf {
    let time = humantime::format_rfc3339_millis(time)
        .to_string()
        .replace(['-', ':'], "");
    let (stem, extension) = split_file_name(path);
    path.with_file_name(format!("{stem}-{time}{extension}"))
}

/// Removes the oldest closed files, and compresses the others, including those
/// left by a crash. Errors do not stop delivery; the file is left
/// unchanged.
pub(super) fn process_closed_files(path: &Path, rotation: &Rotation) {
    let finished = closed_files(path).and_then(|mut closed| {
        let surplus = closed
            .len()
            .saturating_sub(rotation.closed_files_max.unwrap_or(usize::MAX));
        // Removed first, since a full disk has no room for a compressed copy.
        for file in closed.drain(..surplus) {
            fs::remove_file(&file.path)?;
        }
        for file in &closed {
            compress(file, rotation.compression)?;
        }
        Ok(())
    });
    if let Err(error) = finished {
        warn!(file = %path.display(), %error, "closed files cannot be compressed or removed");
    }
}

struct ClosedFile {
    path: PathBuf,
    is_plain: bool,
    /// The time in its name, if it is a valid time.
    time: Option<SystemTime>,
}

fn compress(closed: &ClosedFile, encoding: Encoding) -> io::Result<()> {
    let Some(suffix) = encoding.suffix().filter(|_| closed.is_plain) else {
        return Ok(());
    };
    let named = |suffix: &str| {
        let mut name = closed.path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let (target, partial) = (named(suffix), named(".part"));
    let copied = compressed_copy(&closed.path, &partial, encoding);
    if let Err(error) = copied.and_then(|()| disk::rename(&partial, &target)) {
        // Frees the space of the partial copy.
        drop(fs::remove_file(&partial));
        return Err(error);
    }
    disk::sync_directory(&target)?;
    fs::remove_file(&closed.path)
}

fn compressed_copy(from: &Path, path: &Path, encoding: Encoding) -> io::Result<()> {
    let (from, to) = (File::open(from)?, File::create(path)?);
    to.set_permissions(from.metadata()?.permissions())?;
    encoding.compress_file(&from, &to)?;
    disk::sync(&to, path)
}

/// Returns the closed files that belong to a path, oldest first.
fn closed_files(path: &Path) -> io::Result<Vec<ClosedFile>> {
    let (stem, extension) = split_file_name(path);
    let prefix = format!("{stem}-");
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let mut closed = Vec::new();
    for entry in fs::read_dir(directory.unwrap_or_else(|| Path::new(".")))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(rest) = name.strip_prefix(&prefix) else {
            continue;
        };
        // The path itself may end like a compressed file, so each way to read the name is tried.
        let plain_names = [
            Some(rest),
            rest.strip_suffix(".gz"),
            rest.strip_suffix(".zst"),
        ];
        let mut times = plain_names.into_iter().flatten().filter_map(|plain| {
            let time = plain.strip_suffix(extension.as_str())?;
            is_time(time).then_some((plain, time))
        });
        if let Some((plain, time)) = times.next() {
            closed.push(ClosedFile {
                path: entry.path(),
                is_plain: plain == rest,
                time: parse_time(time),
            });
        }
    }
    // Timestamps in the names sort chronologically.
    closed.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(closed)
}

/// Returns whether text is like `20261122T101500.123Z`, so that no unrelated file is removed.
fn is_time(text: &str) -> bool {
    text.len() == 20
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 => byte == b'T',
            15 => byte == b'.',
            19 => byte == b'Z',
            _ => byte.is_ascii_digit(),
        })
}

/// Parses a time like `20261122T101500.123Z`.
fn parse_time(text: &str) -> Option<SystemTime> {
    let (date, time) = text.split_once('T')?;
    let (year, month, day) = (date.get(..4)?, date.get(4..6)?, date.get(6..)?);
    let (hour, minute, second) = (time.get(..2)?, time.get(2..4)?, time.get(4..)?);
    let time = format!("{year}-{month}-{day}T{hour}:{minute}:{second}");
    humantime::parse_rfc3339(&time).ok()
}

/// Splits a file name into stem, and extension with its dot.
fn split_file_name(path: &Path) -> (String, String) {
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

#[cfg(test)]
mod tests {
    use super::*;

    const RECORDS: &str = "{\"n\":1}\n{\"n\":2}\n";

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn rotation(compression: Encoding, closed_files_max: Option<usize>) -> Rotation {
        Rotation {
            bytes_max: Some(100),
            age_max: Some(Duration::from_secs(3_600)),
            compression,
            closed_files_max,
        }
    }

    #[test]
    fn a_file_is_closed_when_it_is_full_or_old_and_not_while_it_is_empty() {
        let rotation = rotation(Encoding::Plain, None);
        let created_at = SystemTime::UNIX_EPOCH;
        let after = |secs| created_at + Duration::from_secs(secs);
        assert!(!rotation.is_due(99, created_at, after(3_599)));
        assert!(rotation.is_due(100, created_at, after(1)));
        assert!(rotation.is_due(1, created_at, after(3_600)));
        assert!(!rotation.is_due(0, created_at, after(9_999)));
        // The clock was set back meanwhile.
        assert!(!rotation.is_due(1, after(9_999), created_at));
    }

    #[test]
    fn files_left_by_a_crash_are_compressed_and_unrelated_files_are_unchanged() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events.ndjson");
        for name in [
            "events-20260101T000000.000Z.ndjson",
            "events-20260102T000000.000Z.ndjson",
            "events-20260102T000000.000Z.ndjson.part",
            "events-of-last-year.ndjson",
            "events.ndjson",
        ] {
            fs::write(directory.path().join(name), RECORDS).unwrap();
        }
        process_closed_files(&path, &rotation(Encoding::Gzip, None));
        assert_eq!(
            names(directory.path()),
            [
                "events-20260101T000000.000Z.ndjson.gz",
                "events-20260102T000000.000Z.ndjson.gz",
                "events-of-last-year.ndjson",
                "events.ndjson",
            ]
        );
        let packed = directory
            .path()
            .join("events-20260102T000000.000Z.ndjson.gz");
        let unpacked = flate2::read::GzDecoder::new(File::open(packed).unwrap());
        assert_eq!(io::read_to_string(unpacked).unwrap(), RECORDS);
        process_closed_files(&path, &rotation(Encoding::Gzip, Some(1)));
        assert_eq!(names(directory.path()).len(), 3);
    }

    #[test]
    fn closed_files_of_a_path_that_ends_like_a_compressed_file_are_found() {
        let directory = tempfile::tempdir().unwrap();
        for name in [
            "events-20260101T000000.000Z.gz",
            "events-20260102T000000.000Z.gz",
        ] {
            fs::write(directory.path().join(name), RECORDS).unwrap();
        }
        let path = directory.path().join("events.gz");
        process_closed_files(&path, &rotation(Encoding::Plain, Some(1)));
        assert_eq!(names(directory.path()), ["events-20260102T000000.000Z.gz"]);
    }

    #[test]
    fn the_name_of_a_closed_file_is_later_than_that_of_every_other() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events.ndjson");
        let now = humantime::parse_rfc3339("2026-01-01T00:00:00.5004Z").unwrap();
        let name = || {
            let closed = closed_path(&path, now);
            closed.file_name().unwrap().to_str().unwrap().to_owned()
        };
        let write = |name: &str| fs::write(directory.path().join(name), RECORDS).unwrap();
        assert_eq!(name(), "events-20260101T000000.500Z.ndjson");
        write("events-20251231T235959.999Z.ndjson");
        assert_eq!(name(), "events-20260101T000000.500Z.ndjson");
        // In the same millisecond, also where that one is compressed already.
        write("events-20260101T000000.500Z.ndjson.gz");
        assert_eq!(name(), "events-20260101T000000.501Z.ndjson");
        // The clock was set back.
        write("events-20261231T235959.999Z.ndjson.zst");
        assert_eq!(name(), "events-20270101T000000.000Z.ndjson");
        // There is no name after this one, and no such time.
        write("events-99991231T235959.999Z.ndjson");
        write("events-20279999T000000.000Z.ndjson");
        assert_eq!(name(), "events-20270101T000000.000Z.ndjson");
        // Nor between these two.
        write("events-99991231T235959.998Z.ndjson.gz");
        assert_eq!(name(), "events-20270101T000000.000Z.ndjson");
    }

    #[test]
    fn a_file_compressed_with_zstd_is_decompressed_unchanged() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events.ndjson");
        let closed = directory.path().join("events-20260101T000000.000Z.ndjson");
        fs::write(&closed, RECORDS).unwrap();
        process_closed_files(&path, &rotation(Encoding::Zstd, None));
        assert!(!closed.exists());
        let packed = File::open(
            directory
                .path()
                .join("events-20260101T000000.000Z.ndjson.zst"),
        );
        let unpacked = zstd::stream::decode_all(packed.unwrap()).unwrap();
        assert_eq!(unpacked, RECORDS.as_bytes());
    }
}
