//! Runs a component until it is caught up and prints its events.
//!
//! ```text
//! embed-rust COMPONENT STATE_DIR [ORIGIN ..] < settings.json
//! ```
//!
//! The settings are the JSON object that the component gets; it may reach the
//! origins that it describes, those in its settings, and those named here.
//! Rejected records are kept in the state directory.

use std::env::args;
use std::fs::OpenOptions;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use source_common::delivery::{Delivery, DeliveryError, Reservation, UndeliverableEvent};
use source_common::disk;
use source_common::exit::Failure;
use source_common::secret::Secret;
use source_runtime::allow_list::AllowSetting;
use source_runtime::bindings::RejectedRecord;
use source_runtime::event_sink::{EventSink, StoreRejectedError};
use source_runtime::shutdown;
use source_runtime::source::{
    ComponentLocation, Components, MEMORY_BYTES_MAX_DEFAULT, NetworkAccess, Source, SourceOptions,
};
use source_runtime::source_loop::{SourceExit, SourceLoop};
use source_runtime::store::StateDir;

/// Events to standard output, rejected records to a file.
struct PrintingSink {
    rejected: PathBuf,
}

#[async_trait]
impl EventSink for PrintingSink {
    async fn accept(
        &self,
        delivery: &Delivery<'_>,
        _: Reservation,
    ) -> Result<Vec<UndeliverableEvent>, DeliveryError> {
        let mut stdout = io::stdout().lock();
        let written = stdout.write_all(delivery.events.as_bytes());
        // The checkpoint moves when this has returned.
        let flushed = written.and_then(|()| stdout.flush());
        flushed.map_err(|_| DeliveryError::Closed)?;
        Ok(Vec::new())
    }

    async fn store_rejected(
        &self,
        _source: &str,
        records: &[RejectedRecord],
    ) -> Result<(), StoreRejectedError> {
        let lines: String = records.iter().map(rejected_line).collect();
        let path = &self.rejected;
        keep(path, lines.as_bytes())
            .map_err(|error| StoreRejectedError::Disk(format!("{}: {error}", path.display())))
    }
}

/// A rejected record as one line of JSON. Its original need not be text.
fn rejected_line(record: &RejectedRecord) -> String {
    let line = json!({
        "stream": record.stream,
        "locator": record.locator,
        "reason": record.reason,
        "original": STANDARD.encode(&record.original),
    });
    format!("{line}\n")
}

/// Appends lines to a file of this user alone. They are on the disk when this returns; after a
/// failure the file is what it was, and the loop tries again.
fn keep(path: &Path, lines: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path)?;
    let length = file.metadata()?.len();
    let kept = disk::write_all(&file, path, lines).and_then(|()| disk::sync(&file, path));
    if kept.is_err() {
        disk::truncate(&file, path, length)?;
    }
    kept
}

async fn run() -> Result<SourceExit, Failure> {
    let usage = || Failure::settings("usage: embed-rust COMPONENT STATE_DIR [ORIGIN ..]");
    let mut arguments = args().skip(1);
    let component = PathBuf::from(arguments.next().ok_or_else(usage)?);
    let state = StateDir::open(&PathBuf::from(arguments.next().ok_or_else(usage)?))?;
    let mut settings = String::new();
    io::stdin()
        .read_to_string(&mut settings)
        .map_err(|error| Failure::failed(format!("stdin: {error}")))?;

    let cache = state.path().join("cache");
    let components = Components::new(Some(cache), MEMORY_BYTES_MAX_DEFAULT)?;
    let component = components.get(&ComponentLocation::File(component)).await?;
    let options = SourceOptions {
        allow: AllowSetting::Extend(arguments.collect()),
        ..SourceOptions::new(&component, "embedded".to_owned(), Secret::new(settings))?
    };
    let sink = PrintingSink {
        rejected: state.path().join("rejected.ndjson"),
    };
    let (_stopper, shutdown) = shutdown::channel();
    let source_loop = SourceLoop {
        source: Arc::new(Source::new(&component, options, NetworkAccess::Online)?),
        source_state: state.load("embedded")?,
        store: Arc::new(state),
        sink: Arc::new(sink),
        once: true,
        wake: Arc::default(),
        reloader: None,
        shutdown,
    };
    Ok(source_loop.run().await.0)
}

#[tokio::main]
async fn main() -> ExitCode {
    let failure = match run().await {
        Ok(SourceExit::CaughtUp | SourceExit::Stopped) => return ExitCode::SUCCESS,
        Ok(SourceExit::LeaseLost) => Failure::failed("another process works on the source"),
        Ok(SourceExit::Output(None)) => Failure::failed("standard output is closed"),
        Ok(SourceExit::Failed(failure) | SourceExit::Output(Some(failure))) | Err(failure) => {
            failure
        }
    };
    drop(writeln!(io::stderr(), "error: {failure}"));
    failure.exit.into()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn a_rejected_record_that_is_no_text_is_kept_with_all_its_bytes() {
        let original = b"\xff\x1b[2J\n".to_vec();
        let record = RejectedRecord {
            stream: "audit".to_owned(),
            locator: "page 1".to_owned(),
            reason: "not JSON".to_owned(),
            original: original.clone(),
        };
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("rejected.ndjson");
        for _ in 0..2 {
            keep(&path, rejected_line(&record).as_bytes()).unwrap();
        }
        let kept = std::fs::read_to_string(&path).unwrap();
        assert_eq!(kept.lines().count(), 2);
        for line in kept.lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            let encoded = line["original"].as_str().unwrap();
            assert_eq!(STANDARD.decode(encoded).unwrap(), original);
        }
    }
}
