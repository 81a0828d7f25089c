//! Runs a component until it is caught up and prints its events.
//!
//! ```text
//! embed-rust COMPONENT STATE_DIR [ORIGIN ..] < settings.json
//! ```
//!
//! The settings are the JSON object that the component gets; it may reach the
//! origins that it describes, those in its settings, and those named here.

use std::env::args;
use std::io::{self, Read as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use source_common::delivery::{Delivery, DeliveryError, Reservation, UndeliverableEvent};
use source_common::exit::Failure;
use source_common::secret::Secret;
use source_runtime::allow_list::AllowSetting;
use source_runtime::bindings::RejectedRecord;
use source_runtime::event_sink::{EventSink, StoreRejectedError};
use source_runtime::shutdown;
use source_runtime::source::{
    ComponentLoader, ComponentLocation, MEMORY_BYTES_MAX_DEFAULT, NetworkAccess, Source,
    SourceOptions,
};
use source_runtime::source_loop::{SourceExit, SourceLoop};
use source_runtime::store::StateDir;

/// Prints events to standard output, and rejected records to standard error.
struct Print;

#[async_trait]
impl EventSink for Print {
    async fn accept(
        &self,
        delivery: &Delivery<'_>,
        _: Reservation,
    ) -> Result<Vec<UndeliverableEvent>, DeliveryError> {
        let mut stdout = io::stdout().lock();
        let written = stdout.write_all(delivery.events.as_bytes());
        // The checkpoint is stored after this has returned.
        let flushed = written.and_then(|()| stdout.flush());
        flushed.map_err(|_| DeliveryError::Closed)?;
        Ok(Vec::new())
    }

    async fn store_rejected(
        &self,
        _source: &str,
        records: &[RejectedRecord],
    ) -> Result<(), StoreRejectedError> {
        let mut stderr = io::stderr().lock();
        for record in records {
            // The original need not be text.
            let line = json!({
                "stream": record.stream,
                "locator": record.locator,
                "reason": record.reason,
                "original": STANDARD.encode(&record.original),
            });
            writeln!(stderr, "{line}")
                .map_err(|error| StoreRejectedError::Disk(error.to_string()))?;
        }
        Ok(())
    }
}

async fn run() -> Result<SourceExit, Failure> {
    let usage = || Failure::settings("usage: embed-rust COMPONENT STATE_DIR [ORIGIN ..]");
    let mut arguments = args().skip(1);
    let component = PathBuf::from(arguments.next().ok_or_else(usage)?);
    let state_dir = StateDir::open(&PathBuf::from(arguments.next().ok_or_else(usage)?))?;
    let mut settings = String::new();
    io::stdin()
        .read_to_string(&mut settings)
        .map_err(|error| Failure::failed(format!("stdin: {error}")))?;

    let cache_dir = state_dir.path().join("cache");
    let loader = ComponentLoader::new(Some(cache_dir), MEMORY_BYTES_MAX_DEFAULT)?;
    let component = loader
        .get_or_load(&ComponentLocation::File(component))
        .await?;
    let options = SourceOptions {
        allow: AllowSetting::Extend(arguments.collect()),
        ..SourceOptions::new(&component, "embedded".to_owned(), Secret::new(settings))?
    };
    let (_trigger, shutdown) = shutdown::channel();
    let source_loop = SourceLoop {
        source: Arc::new(Source::new(&component, options, NetworkAccess::Online)?),
        source_state: state_dir.load("embedded")?,
        store: Arc::new(state_dir),
        sink: Arc::new(Print),
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
        Ok(SourceExit::OutputClosed) => Failure::failed("standard output is closed"),
        Ok(SourceExit::Failed(failure) | SourceExit::OutputFailed(failure)) | Err(failure) => {
            failure
        }
    };
    drop(writeln!(io::stderr(), "error: {failure}"));
    failure.exit.into()
}
