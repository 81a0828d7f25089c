//! `demo`: collects from a simulated tenant on loopback, through the same code
//! path as `run --once`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use clap::Args;
use mimecast_simulator::{Config, EventType, Simulator};
use serde_json::Value;
use source_common::exit::{Exit, Failure};
use source_common::line_numbers::KeyLineNumbers;
use source_outputs::{Delivery, Output, OutputConfig, OutputError};
use source_runtime::shutdown;
use source_runtime::store::StoredStream;

use crate::command::{self, Table};
use crate::run::{self, Options, Summary};
use crate::settings::{OutputSettings, Settings};

/// The size of the simulated tenant, and the destination of its events.
#[derive(Args, Clone, Debug)]
pub struct DemoOptions {
    /// Random seed of the simulated data
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Pages of batch files for each event type
    #[arg(long, default_value_t = 3)]
    pub pages: u32,
    /// Batch files on a page
    #[arg(long, default_value_t = 2)]
    pub files: u32,
    /// Records in a file
    #[arg(long, default_value_t = 500)]
    pub records: u32,
    /// Audit events
    #[arg(long, default_value_t = 500)]
    pub audit: u32,
    /// Records of each of the other logs, lists and feeds
    #[arg(long, default_value_t = 100)]
    pub logs: u32,
    /// The format of the events: ecs, ocsf or raw
    #[arg(long, default_value = "ecs")]
    pub format: String,
    /// Keep the events in this file; `-` is standard output
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Print the first event of each stream
    #[arg(long)]
    pub show: bool,
}

/// Runs the demo.
pub async fn demo(options: DemoOptions) -> Result<Exit, Failure> {
    let failed = |error: io::Error| Failure::failed(format!("demo: {error}"));
    let directory = tempfile::tempdir().map_err(failed)?;
    let simulator = Simulator::start(tenant(&options)).await.map_err(failed)?;
    let file = write_settings(directory.path(), &simulator, &options).map_err(failed)?;
    let mut settings = Settings::read(&file)?;
    let first_events = FirstEvents::default();
    if options.show {
        settings.outputs.push(OutputSettings {
            name: "first-events".to_owned(),
            output_type: "demo".to_owned(),
            location: String::new(),
            lines: KeyLineNumbers::default(),
            config: Box::new(first_events.clone()),
        });
    }

    let begun = Instant::now();
    let (shutdown_trigger, shutdown) = shutdown::channel();
    tokio::spawn(shutdown::on_signal(shutdown_trigger.clone(), None));
    let run = Options {
        once: true,
        progress: true,
        cache_dir: command::user_cache_dir(),
        reload: None,
        watch_since: None,
        shutdown_trigger,
        shutdown,
    };
    let summary = run::run(settings, run).await?;
    let elapsed = begun.elapsed();

    let mut text = first_events.render();
    text.push_str(&report(&summary, &simulator, elapsed));
    if let Some(path) = options.output.as_ref().filter(|path| !is_stdout(path)) {
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "the events are in {}", path.display());
    }
    if options.output.as_deref().is_some_and(is_stdout) {
        io::stderr()
            .lock()
            .write_all(text.as_bytes())
            .map_err(failed)?;
    } else {
        command::print(&text)?;
    }
    Ok(summary.exit())
}

fn tenant(options: &DemoOptions) -> Config {
    let defaults = Config::default();
    Config {
        seed: options.seed,
        types: EventType::ALL.to_vec(),
        pages: options.pages,
        files_per_page: options.files,
        records_per_file: options.records,
        audit_events: options.audit,
        log_records: options.logs,
        // The default quota would delay a large demo.
        batch_quota_calls: quota(options),
        ..defaults
    }
}

/// Returns the quota: twice the calls that the pages of all event types need, and at least the default.
fn quota(options: &DemoOptions) -> u32 {
    let event_types = u32::try_from(EventType::ALL.len()).unwrap_or(u32::MAX);
    let calls = options.pages.saturating_add(3).saturating_mul(event_types);
    calls
        .saturating_mul(2)
        .max(Config::default().batch_quota_calls)
}

/// Writes a settings file like a user's, with the same handling of secrets.
fn write_settings(
    directory: &Path,
    simulator: &Simulator,
    options: &DemoOptions,
) -> io::Result<PathBuf> {
    std::fs::write(directory.join("secret"), simulator.client_secret())?;
    let quoted = |text: &str| toml::Value::from(text).to_string();
    let output = match &options.output {
        Some(path) if is_stdout(path) => "type = \"stdout\"".to_owned(),
        Some(path) => {
            let absolute = std::path::absolute(path)?;
            format!(
                "type = \"file\"\npath = {}",
                quoted(&absolute.to_string_lossy())
            )
        }
        None => "type = \"file\"\npath = \"events.ndjson\"".to_owned(),
    };
    let api = quoted(&simulator.api_url());
    let text = format!(
        "state_dir = \"state\"\n\n\
         [[source]]\nname = \"demo\"\nallow = [{api}, {}]\n\n\
         [source.settings]\nbase_url = {api}\nclient_id = {}\n\
         client_secret = {{ file = \"secret\" }}\nformat = {}\nstart = \"25h\"\n\
         siem_calls_per_15_min = {}\n\n\
         [[output]]\n{output}\n",
        quoted(&simulator.storage_url()),
        quoted(&simulator.client_id()),
        quoted(&options.format),
        quota(options),
    );
    let file = directory.join("demo.toml");
    std::fs::write(&file, text)?;
    Ok(file)
}

fn is_stdout(path: impl AsRef<Path>) -> bool {
    path.as_ref() == Path::new("-")
}

/// Formats a table by stream, compared with what the simulator served.
fn report(summary: &Summary, simulator: &Simulator, elapsed: Duration) -> String {
    let ledger = simulator.ledger().with_event_ids("demo");
    let mut table = Table::new(&[
        "stream",
        "received",
        "events",
        "rejected",
        "duplicates",
        "served",
    ]);
    let mut total = StoredStream::default();
    let mut served_total = 0;
    for (name, stream) in summary
        .sources
        .iter()
        .flat_map(|source| &source.source_state.streams)
    {
        let served = ledger.served(name).count();
        served_total += served;
        total.received += stream.received;
        total.events += stream.events;
        total.rejected += stream.rejected;
        total.duplicates += stream.duplicates;
        table.row(row(name, stream, served));
    }
    table.row(row("total", &total, served_total));

    // Writing to a `String` cannot fail.
    let mut text = table.render_within(None);
    let seconds = elapsed.as_secs_f64().max(0.001);
    let rate = f64::from(u32::try_from(total.events).unwrap_or(u32::MAX)) / seconds;
    let _ = writeln!(
        text,
        "{} events in {seconds:.1} s, {rate:.0} a second",
        total.events
    );
    let served = u64::try_from(served_total).unwrap_or(u64::MAX);
    let _ = if served == total.events {
        writeln!(
            text,
            "all {served} records of the tenant were delivered exactly once"
        )
    } else {
        writeln!(
            text,
            "the tenant served {served} different records; {} were delivered and {} rejected",
            total.events, total.rejected
        )
    };
    text
}

fn row(name: &str, stream: &StoredStream, served: usize) -> Vec<String> {
    vec![
        name.to_owned(),
        stream.received.to_string(),
        stream.events.to_string(),
        stream.rejected.to_string(),
        stream.duplicates.to_string(),
        served.to_string(),
    ]
}

/// An output that keeps the first event of each stream.
#[derive(Clone, Debug, Default)]
struct FirstEvents {
    bodies: Arc<Mutex<BTreeMap<String, String>>>,
}

impl FirstEvents {
    fn render(&self) -> String {
        let bodies = self.bodies.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        for (stream, body) in bodies.iter() {
            // Writing to a `String` cannot fail.
            let _ = match serde_json::from_str::<Value>(body) {
                Ok(value) => writeln!(text, "{stream}: {value:#}\n"),
                Err(_) => writeln!(text, "{stream}: {body}\n"),
            };
        }
        text
    }
}

#[async_trait]
impl OutputConfig for FirstEvents {
    async fn open(&self) -> Result<Box<dyn Output>, Failure> {
        Ok(Box::new(self.clone()))
    }

    async fn test(&self) -> Result<String, OutputError> {
        Ok(self.name().to_owned())
    }
}

#[async_trait]
impl Output for FirstEvents {
    fn name(&self) -> &str {
        "first events"
    }

    async fn accept(&mut self, delivery: &Delivery<'_>) -> Result<(), OutputError> {
        let mut bodies = self.bodies.lock().unwrap_or_else(PoisonError::into_inner);
        for event in delivery.iter() {
            if !bodies.contains_key(event.stream) {
                bodies.insert(event.stream.to_owned(), event.body.to_owned());
            }
        }
        Ok(())
    }

    async fn close(&mut self) -> Result<(), OutputError> {
        Ok(())
    }
}
