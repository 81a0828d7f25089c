//! The host's log: on standard error or in a file, as text or JSON.
//! Events never come here.
//!
//! A log file that another program moves or removes, as logrotate does, is opened again at the next
//! line, and at `SIGUSR1`, which some are set up to send.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use clap::ValueEnum;
use indicatif::MultiProgress;
use source_common::disk;
use source_common::exit::Failure;
use tracing::{Level, Metadata, info};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// The variable that sets the level by module, such as `debug` or
/// `source_runtime::outgoing=debug,info`.
pub const LEVEL_VARIABLE: &str = "SOURCE_HOST_LOG";

/// Levels for libraries, whose logs are for their developers.
const LIBRARY_LEVELS: &str =
    "wasmtime=warn,wasmtime_wasi=warn,wasmtime_wasi_http=error,rustls=warn";

/// How much is logged.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Verbosity {
    /// What the variable says; without it, what an operator wants to know.
    #[default]
    Normal,
    /// Warnings and errors.
    Quiet,
    /// Each poll as well.
    Verbose,
    /// Everything.
    Trace,
}

impl Verbosity {
    /// Returns the verbosity for the flags `-q` and `-v`, the second of which may be repeated.
    #[must_use]
    pub const fn of(quiet: bool, verbose: u8) -> Self {
        match (quiet, verbose) {
            (true, _) => Self::Quiet,
            (false, 0) => Self::Normal,
            (false, 1) => Self::Verbose,
            (false, _) => Self::Trace,
        }
    }

    /// Returns the levels. `variable` is the value of [`LEVEL_VARIABLE`], which a flag overrides.
    fn levels(self, variable: Option<String>) -> String {
        let level = match self {
            Self::Normal => match variable {
                Some(levels) => return levels,
                None => "info",
            },
            Self::Quiet => "warn",
            Self::Verbose => "debug",
            Self::Trace => "trace",
        };
        format!("{level},{LIBRARY_LEVELS}")
    }
}

/// How a line of the log is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts logging. Called once, by the command line.
pub fn init(format: Format, verbosity: Verbosity, file: Option<&Path>) -> Result<(), Failure> {
    let level = verbosity.levels(std::env::var(LEVEL_VARIABLE).ok());
    let filter = EnvFilter::try_new(&level)
        .map_err(|error| Failure::settings(format!("{LEVEL_VARIABLE}: {error}")))?;
    let file = match file {
        None => None,
        Some(path) => Some(Arc::new(LogFile::open(path).map_err(|error| {
            Failure::settings(format!("--log-file {}: {error}", path.display()))
        })?)),
    };
    // https://no-color.org
    let wants_color = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let ansi = file.is_none() && wants_color && io::stderr().is_terminal();
    if let Some(file) = &file {
        // A second start within one process, as in tests, keeps the first.
        let _ = LOG_FILE.set(Arc::clone(file));
    }
    let writer = MakeLogWriter(file);
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_ansi(ansi)
        .with_writer(writer);
    let without_wasmtime_trace = filter_fn(|metadata| !is_wasmtime_trace(metadata));
    let started = match format {
        Format::Json => builder
            .json()
            .flatten_event(true)
            .finish()
            .with(without_wasmtime_trace)
            .try_init(),
        Format::Text => builder.finish().with(without_wasmtime_trace).try_init(),
    };
    // A second start within one process, as in tests, keeps the first.
    drop(started);
    Ok(())
}

/// Writes an error that ends the process to standard error, besides the log.
pub(crate) fn write_to_stderr(error: &str) {
    let mut stderr = io::stderr().lock();
    for line in error.lines() {
        // Without standard error there is only the exit code.
        drop(writeln!(stderr, "error: {line}"));
    }
}

/// Opens a log file to append to. A new one can be read by the host's user and
/// group only: errors may repeat what an upstream says about mail.
fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o640);
    options.open(path)
}

/// Returns whether an event is one of wasmtime's trace events. They contain each value that a
/// component passes to the host, and so the headers and links of every request. No setting of the
/// level brings them into a log.
fn is_wasmtime_trace(metadata: &Metadata<'_>) -> bool {
    *metadata.level() == Level::TRACE && metadata.target().starts_with("wasmtime")
}

/// Has the lines of the log written above these bars, not through them.
pub(crate) fn set_progress_bars(bars: &MultiProgress) {
    let mut progress_bars = PROGRESS_BARS.lock().unwrap_or_else(PoisonError::into_inner);
    *progress_bars = Some(bars.clone());
}

static PROGRESS_BARS: Mutex<Option<MultiProgress>> = Mutex::new(None);

/// The log file of the process, where it has one.
static LOG_FILE: OnceLock<Arc<LogFile>> = OnceLock::new();

struct MakeLogWriter(Option<Arc<LogFile>>);

/// A file that the log is appended to.
#[derive(Debug)]
struct LogFile {
    path: PathBuf,
    file: Mutex<File>,
}

impl LogFile {
    fn open(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            file: Mutex::new(open(path)?),
        })
    }

    /// Writes a line, into a new file where the present one is no longer at its path.
    fn write_all(&self, line: &[u8]) -> io::Result<()> {
        self.reopen_if_moved().write_all(line)
    }

    /// Opens a new file where the present one is no longer at its path. Returns the one to write
    /// to.
    fn reopen_if_moved(&self) -> MutexGuard<'_, File> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        // If the check or the opening fails, the present file still receives the lines.
        if matches!(disk::is_same_file(&self.path, &file), Ok(false))
            && let Ok(new) = open(&self.path)
        {
            *file = new;
        }
        file
    }
}

/// Writes one line of the log.
struct LogWriter<'a> {
    file: Option<&'a LogFile>,
}

impl<'a> MakeWriter<'a> for MakeLogWriter {
    type Writer = LogWriter<'a>;

    fn make_writer(&'a self) -> LogWriter<'a> {
        LogWriter {
            file: self.0.as_deref(),
        }
    }
}

impl Write for LogWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.file {
            Some(file) => file.write_all(bytes)?,
            None => {
                let progress_bars = PROGRESS_BARS
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .clone();
                match progress_bars {
                    Some(bars) => bars.suspend(|| io::stderr().lock().write_all(bytes))?,
                    None => io::stderr().lock().write_all(bytes)?,
                }
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reopens a log file that was moved, at each `SIGUSR1`, and writes a line. Without a handler the
/// signal would end the process.
#[cfg(unix)]
pub(crate) async fn reopen_at_signal() -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut signals = signal(SignalKind::user_defined1())?;
    while signals.recv().await.is_some() {
        // Reopened here, because the line below is filtered out where only warnings are logged.
        if let Some(file) = LOG_FILE.get() {
            drop(file.reopen_if_moved());
        }
        info!("SIGUSR1: the log continues here");
    }
    Ok(())
}

#[cfg(not(unix))]
pub(crate) async fn reopen_at_signal() -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_log_file_that_was_moved_or_removed_is_opened_again() {
        let folder = tempfile::tempdir().unwrap();
        let (path, moved) = (folder.path().join("log"), folder.path().join("log.1"));
        let log = LogFile::open(&path).unwrap();
        let text = |path: &Path| fs::read_to_string(path).unwrap();
        log.write_all(b"one\n").unwrap();
        fs::rename(&path, &moved).unwrap();
        log.write_all(b"two\n").unwrap();
        assert_eq!(
            (text(&moved), text(&path)),
            ("one\n".into(), "two\n".into())
        );
        fs::remove_file(&path).unwrap();
        log.write_all(b"three\n").unwrap();
        log.write_all(b"four\n").unwrap();
        assert_eq!(text(&path), "three\nfour\n");
        // copytruncate
        fs::write(&path, "").unwrap();
        log.write_all(b"five\n").unwrap();
        assert_eq!(text(&path), "five\n");
    }

    #[test]
    fn a_line_is_not_lost_while_no_file_can_be_made() {
        let folder = tempfile::tempdir().unwrap();
        let (path, aside) = (folder.path().join("a/log"), folder.path().join("b"));
        fs::create_dir(folder.path().join("a")).unwrap();
        let log = LogFile::open(&path).unwrap();
        fs::rename(folder.path().join("a"), &aside).unwrap();
        log.write_all(b"one\n").unwrap();
        assert_eq!(fs::read_to_string(aside.join("log")).unwrap(), "one\n");
    }

    #[test]
    fn flags_go_over_the_variable_and_libraries_stay_silent() {
        let variable = || Some("source_runtime=trace".to_owned());
        let levels = |quiet, verbose| Verbosity::of(quiet, verbose).levels(variable());
        assert_eq!(levels(false, 0), "source_runtime=trace");
        assert!(levels(true, 0).starts_with("warn,wasmtime=warn,"));
        assert!(levels(false, 1).starts_with("debug,wasmtime=warn,"));
        assert!(levels(false, 3).starts_with("trace,wasmtime=warn,"));
        assert!(
            Verbosity::Normal
                .levels(None)
                .starts_with("info,wasmtime=warn,")
        );
    }
}
