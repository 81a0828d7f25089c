//! Runs all sources of a settings file: each with its own task, store, memory
//! and checkpoint, so that the failure of one never stops another.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use source_common::exit::{Exit, Failure};
use source_outputs::{OutputError, Outputs};
use source_runtime::shutdown::{Shutdown, Stopper};
use source_runtime::source_loop::SourceExit;
use source_runtime::store::{self, SourceState, StateDir};
use tokio::sync::Mutex;
use tokio::task::{Id, JoinSet};
use tracing::{error, info};

use crate::admin::{AdminHost, AdminServer};
use crate::dead_letter::DeadLetterSink;
use crate::descriptor_limit;
use crate::hourly::HourlyLog;
use crate::liveness::Liveness;
use crate::progress::Bars;
use crate::registry::Registry;
use crate::report::PausedBy;
use crate::service_manager;
use crate::settings::{DeadLetterSettings, STATE_CACHE, Settings};
use crate::source;
use crate::start::{SourceStarter, StartupTracker};

/// With `--once`: deliveries in a row that an output may put off.
const OUTPUT_TRIES_MAX_ONCE: u32 = 8;
/// How long a stop may take; a service manager kills the process after five seconds.
const STOP_MAX: Duration = Duration::from_millis(4_700);

const STDOUT_CLOSED: &str = "standard output was closed by its reader";

/// How to run.
#[derive(Debug)]
pub struct Options {
    /// Whether to end when every source is caught up.
    pub once: bool,
    /// Whether to show progress on standard error, if it is a terminal.
    pub progress: bool,
    /// Where machine code is kept; by default `cache` in the state directory.
    pub cache_dir: Option<PathBuf>,
    /// Asks for a stop; also used from within when an output is gone.
    pub stopper: Stopper,
    /// Receives the request to stop.
    pub shutdown: Shutdown,
}

/// The result of a run.
#[derive(Debug)]
pub struct Summary {
    /// The result of each source, in the order of the settings file.
    pub sources: Vec<SourceSummary>,
}

/// How one source has ended.
#[derive(Debug)]
pub struct SourceSummary {
    /// Its name.
    pub name: String,
    /// How it ended.
    pub end: SourceExit,
    /// What is kept of it.
    pub record: SourceState,
}

impl Summary {
    /// The exit code that stands for all sources: the gravest of them.
    #[must_use]
    pub fn exit(&self) -> Exit {
        let of = |end: &SourceExit| match end {
            SourceExit::CaughtUp | SourceExit::Stopped => Exit::Done,
            SourceExit::Failed(failure) | SourceExit::Output(Some(failure)) => failure.exit,
            SourceExit::LeaseLost | SourceExit::Output(None) => Exit::Failed,
        };
        self.sources
            .iter()
            .map(|source| of(&source.end))
            .max()
            .unwrap_or(Exit::Done)
    }
}

/// Run every source until all have ended.
pub async fn run(settings: &Settings, options: Options) -> Result<Summary, Failure> {
    if settings.sources.iter().all(|source| !source.enabled) {
        return Err(Failure::settings(format!(
            "{}: every source is paused by `enabled = false`; nothing would be collected",
            settings.file.display()
        )));
    }
    descriptor_limit::warn_if_few(settings.sources.len(), settings.outputs.len());
    let state = Arc::new(StateDir::open(&settings.state_dir)?);
    let registry = Registry::new();
    let _liveness = Liveness::start(Arc::clone(&state), registry.clone());
    let _hourly = HourlyLog::start(registry.clone());
    let admin = match &settings.admin {
        Some(admin) => Some(AdminServer::bind(admin).await?),
        None => None,
    };
    let cache_dir = options.cache_dir.clone();
    let cache_dir = cache_dir.unwrap_or_else(|| state.path().join(STATE_CACHE));
    let components = source::components(settings, Some(cache_dir))?;
    let admin = admin.map(|server| {
        server.start(AdminHost {
            registry: registry.clone(),
            control: None,
            components: components.clone(),
            settings_file: settings.file.clone(),
            state_dir: state.path().to_owned(),
        })
    });
    let tries_max = options.once.then_some(OUTPUT_TRIES_MAX_ONCE);
    let outputs = Arc::new(Outputs::open(settings.named_outputs(), tries_max).await?);
    registry.add_outputs(Arc::clone(&outputs));
    let dead_letters = DeadLetterSinks::open(settings, &state, tries_max).await?;
    if let Some(output) = &dead_letters.output {
        registry.add_outputs(Arc::clone(output));
    }
    let bars = Arc::new(Bars::new(options.progress, settings.sources.len()));
    let enabled = settings.sources.iter().filter(|source| source.enabled);
    let starts = StartupTracker::new(enabled.count());

    let mut tasks = JoinSet::new();
    let mut running = BTreeMap::new();
    for (place, source) in settings.sources.iter().enumerate() {
        let chosen = source.outputs.clone();
        let chosen = chosen.unwrap_or_else(|| settings.output_names());
        let entry = registry.add_source(&source.name, chosen);
        if !source.enabled {
            entry.set_paused(Some(PausedBy::Settings));
            info!(source = %source.name, "paused by `enabled = false`; its position is kept");
            continue;
        }
        let name = source.name.clone();
        let start = SourceStarter {
            settings: source.clone(),
            components: components.clone(),
            state: Arc::clone(&state),
            outputs: Arc::clone(&outputs),
            dead_letter: dead_letters.of(&name),
            bars: Arc::clone(&bars),
            once: options.once,
            shutdown: options.shutdown.clone(),
            starts: starts.clone(),
            registry: registry.clone(),
            entry,
        };
        let task = tasks.spawn(start.run());
        let kept = SourceState::new(&name);
        running.insert(task.id(), (place, name, kept));
    }
    let _service = service_manager::report(options.shutdown.clone());
    let stdout = tokio::spawn(stop_without_reader(
        Arc::clone(&outputs),
        options.stopper.clone(),
    ));
    let readiness = tokio::spawn({
        let registry = registry.clone();
        async move {
            starts.all_decided().await;
            registry.set_ready(true);
        }
    });
    let sources = wait_for_all(tasks, running, &options).await;
    let reader_gone = stdout.is_finished();
    stdout.abort();
    readiness.abort();
    bars.clear();
    for closed in [outputs.close().await, dead_letters.close().await] {
        closed.map_err(|error| Failure::failed(format!("output: {error}")))?;
    }
    if let Some(admin) = admin {
        admin.stop().await;
    }
    let is_cut_off = |source: &SourceSummary| matches!(source.end, SourceExit::Stopped);
    if reader_gone && sources.iter().any(is_cut_off) {
        return Err(Failure::failed(STDOUT_CLOSED));
    }
    Ok(Summary { sources })
}

/// Stops the host when the reader of standard output has gone away.
async fn stop_without_reader(outputs: Arc<Outputs>, stopper: Stopper) {
    outputs.reader_gone().await;
    stopper.stop();
}

type Running = BTreeMap<Id, (usize, String, SourceState)>;

async fn wait_for_all(
    mut tasks: JoinSet<(SourceExit, SourceState)>,
    mut running: Running,
    options: &Options,
) -> Vec<SourceSummary> {
    let mut shutdown = options.shutdown.clone();
    let mut ended = BTreeMap::new();
    loop {
        let joined = tokio::select! {
            joined = tasks.join_next_with_id() => joined,
            () = shutdown.requested_since(STOP_MAX) => break,
        };
        let (id, result) = match joined {
            None => break,
            Some(Ok((id, (end, record)))) => (id, Some((end, record))),
            Some(Err(error)) => {
                error!("a source ended in a fault of the host: {error}");
                (error.id(), None)
            }
        };
        let Some((place, name, kept)) = running.remove(&id) else {
            continue;
        };
        let (end, record) = result.unwrap_or_else(|| {
            let fault = Failure::failed(format!("source `{name}`: a fault of the host"));
            (SourceExit::Failed(fault), kept)
        });
        report(&name, &end);
        if matches!(end, SourceExit::Output(None)) {
            // No other source can deliver either.
            options.stopper.stop();
        }
        ended.insert(place, SourceSummary { name, end, record });
    }
    // What has not ended by now is cut off; its position has not moved.
    for (place, name, record) in running.into_values() {
        let end = SourceExit::Stopped;
        ended.insert(place, SourceSummary { name, end, record });
    }
    ended.into_values().collect()
}

fn report(name: &str, end: &SourceExit) {
    match end {
        SourceExit::CaughtUp => info!(source = %name, "caught up"),
        SourceExit::Failed(failure) | SourceExit::Output(Some(failure)) => {
            error!(source = %name, "{failure}")
        }
        SourceExit::LeaseLost => info!(source = %name, "left to another host"),
        SourceExit::Output(None) => {
            error!(source = %name, "{STDOUT_CLOSED}")
        }
        SourceExit::Stopped => info!(source = %name, "stopped"),
    }
}

/// Where rejected records go: a file for each source, a file for all, or an
/// output for all.
struct DeadLetterSinks {
    shared: Option<Arc<Mutex<DeadLetterSink>>>,
    output: Option<Arc<Outputs>>,
    directory: PathBuf,
}

impl DeadLetterSinks {
    async fn open(
        settings: &Settings,
        state: &StateDir,
        tries_max: Option<u32>,
    ) -> Result<Self, Failure> {
        let mut letters = Self {
            shared: None,
            output: None,
            directory: state.path().to_owned(),
        };
        match &settings.dead_letter {
            None => {}
            Some(DeadLetterSettings::File(path)) => {
                letters.shared = Some(Arc::new(Mutex::new(DeadLetterSink::new(path.clone()))));
            }
            Some(DeadLetterSettings::Output(config)) => {
                let outputs = Outputs::open([("dead_letter", &**config)], tries_max).await?;
                letters.output = Some(Arc::new(outputs));
            }
        }
        Ok(letters)
    }

    fn of(&self, source: &str) -> Arc<Mutex<DeadLetterSink>> {
        if let Some(shared) = &self.shared {
            return Arc::clone(shared);
        }
        let path = store::rejected_path(&self.directory, source);
        Arc::new(Mutex::new(match &self.output {
            None => DeadLetterSink::new(path),
            Some(output) => DeadLetterSink::with_output(path, Arc::clone(output)),
        }))
    }

    async fn close(&self) -> Result<(), OutputError> {
        match &self.output {
            None => Ok(()),
            Some(output) => output.close().await,
        }
    }
}
