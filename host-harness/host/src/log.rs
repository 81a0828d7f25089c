//! The host's own words: on standard error, or in a file, as text or JSON.
//! Events never come here.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use clap::ValueEnum;
use indicatif::MultiProgress;
use source_common::exit::Failure;
use tracing::{Level, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// The variable that sets the level by module, such as `debug` or
/// `source_runtime::outgoing=debug,info`.
pub const LEVEL_VARIABLE: &str = "SOURCE_HOST_LOG";

/// wasmtime's own words are for its developers.
const LEVEL_DEFAULT: &str =
    "info,wasmtime=warn,wasmtime_wasi=warn,wasmtime_wasi_http=error,rustls=warn";

/// How a line of the log is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Begin to log. Called once, by the command line.
pub fn init(format: Format, file: Option<&Path>) -> Result<(), Failure> {
    let level = std::env::var(LEVEL_VARIABLE).unwrap_or_else(|_| LEVEL_DEFAULT.to_owned());
    let filter = EnvFilter::try_new(&level)
        .map_err(|error| Failure::settings(format!("{LEVEL_VARIABLE}: {error}")))?;
    let file = match file {
        None => None,
        Some(path) => Some(open(path).map_err(|error| {
            Failure::settings(format!("--log-file {}: {error}", path.display()))
        })?),
    };
    let ansi = file.is_none() && io::stderr().is_terminal();
    let writer = Writer(file);
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_ansi(ansi)
        .with_writer(writer);
    let quiet = filter_fn(|of| !is_wasmtime_trace(of));
    let started = match format {
        Format::Json => builder
            .json()
            .flatten_event(true)
            .finish()
            .with(quiet)
            .try_init(),
        Format::Text => builder.finish().with(quiet).try_init(),
    };
    // A second start within one process, as in tests, keeps the first.
    drop(started);
    Ok(())
}

/// Open a log file to append to. A new one can be read by the host's user and
/// group only: errors may repeat what an upstream says about mail.
fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o640);
    options.open(path)
}

/// At its lowest level wasmtime writes down each value that a component passes
/// to the host, and so the headers and the links of every request. No setting
/// of the level brings that into a log.
fn is_wasmtime_trace(of: &Metadata<'_>) -> bool {
    *of.level() == Level::TRACE && of.target().starts_with("wasmtime")
}

/// Lines of the log are written above these, not through them.
pub(crate) fn draw_around(bars: &MultiProgress) {
    let mut drawn = DRAWN.lock().unwrap_or_else(PoisonError::into_inner);
    *drawn = Some(bars.clone());
}

static DRAWN: Mutex<Option<MultiProgress>> = Mutex::new(None);

struct Writer(Option<File>);

/// One event of the log, written in one piece.
struct Line<'a> {
    file: Option<&'a File>,
}

impl<'a> MakeWriter<'a> for Writer {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line {
            file: self.0.as_ref(),
        }
    }
}

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.file {
            Some(mut file) => file.write_all(bytes)?,
            None => {
                let drawn = DRAWN.lock().unwrap_or_else(PoisonError::into_inner).clone();
                match drawn {
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
