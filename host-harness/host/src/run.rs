//! Runs all sources of a settings file: each with its own task, store, memory
//! and checkpoint, so that the failure of one never stops another.

use std::mem;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use source_common::exit::{Exit, Failure};
use source_outputs::Outputs;
use source_runtime::shutdown::{Shutdown, ShutdownTrigger};
use source_runtime::source_loop::SourceExit;
use source_runtime::store::StateDir;
use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet};

use crate::admin::{AdminContext, AdminServer, RunningAdminServer};
use crate::dead_letter::DeadLetterSinks;
use crate::descriptor_limit;
use crate::heartbeat::HeartbeatWriter;
use crate::hourly::HourlyLog;
use crate::progress::ProgressBars;
use crate::registry::Registry;
use crate::service_manager::{self, Notification};
use crate::settings::{CACHE_DIR, Settings};
use crate::source;
pub use crate::supervisor::SourceSummary;
use crate::supervisor::{
    FileControl, HostContext, STDOUT_CLOSED, SettingsManager, SettingsWatch, StartupTracker,
    Supervisor, report_unlogged_failures,
};

/// With `--once`: tries of a delivery until an output fails.
const OUTPUT_TRIES_MAX_ONCE: u32 = 8;
/// How long the sources may take to stop; a stop is documented to take less than five seconds.
const STOP_TIMEOUT: Duration = Duration::from_millis(4_700);

/// How to run.
#[derive(Debug)]
pub struct Options {
    /// Whether to end when every source is caught up.
    pub once: bool,
    /// Whether to show progress on standard error, if it is a terminal.
    pub progress: bool,
    /// Where machine code is kept; by default `cache` in the state directory.
    pub cache_dir: Option<PathBuf>,
    /// Notified when the settings are to be read again; `None` if they never are.
    pub reload: Option<Arc<Notify>>,
    /// If set, the settings are read again when one of their files changes. A time just before they
    /// were first read.
    pub watch_since: Option<SystemTime>,
    /// Asks for a stop; also used from within when an output is gone.
    pub shutdown_trigger: ShutdownTrigger,
    /// Receives the request to stop.
    pub shutdown: Shutdown,
}

/// The result of a run.
#[derive(Debug)]
pub struct Summary {
    /// How each source that was to run ended, in the order in which they were added.
    pub sources: Vec<SourceSummary>,
}

impl Summary {
    /// Returns the exit code for all sources: the most severe one.
    #[must_use]
    pub fn exit(&self) -> Exit {
        let of = |end: &SourceExit| match end {
            SourceExit::CaughtUp | SourceExit::Stopped => Exit::Done,
            SourceExit::Failed(failure) | SourceExit::OutputFailed(failure) => failure.exit,
            SourceExit::LeaseLost | SourceExit::OutputClosed => Exit::Failed,
        };
        self.sources
            .iter()
            .map(|source| of(&source.exit))
            .max()
            .unwrap_or(Exit::Done)
    }
}

/// Runs every source until all have ended.
pub async fn run(mut settings: Settings, options: Options) -> Result<Summary, Failure> {
    let runs_without_sources = settings.sources_dir.is_some() && !options.once;
    let is_idle = settings.sources.iter().all(|source| !source.enabled);
    if is_idle && settings.faulty_sources.is_empty() && !runs_without_sources {
        return Err(Failure::settings(format!(
            "{}: every source is paused by `enabled = false`; nothing would be collected",
            settings.file.display()
        )));
    }
    descriptor_limit::warn_if_limit_is_low(
        &descriptor_limit::sources_per_connection_group(&settings.sources),
        settings.outputs.len(),
    );
    let state_dir = Arc::new(StateDir::open(&settings.state_dir)?);
    let registry = Registry::new();
    let _heartbeat_writer = HeartbeatWriter::start(Arc::clone(&state_dir), registry.clone());
    let _hourly = HourlyLog::start(registry.clone());
    let admin = match &settings.admin {
        Some(admin) => Some(AdminServer::bind(admin).await?),
        None => None,
    };
    let cache_dir = options.cache_dir.clone();
    let cache_dir = cache_dir.unwrap_or_else(|| state_dir.path().join(CACHE_DIR));
    let components = source::component_loader(&settings, Some(cache_dir))?;
    let tries_max = options.once.then_some(OUTPUT_TRIES_MAX_ONCE);
    let outputs = Arc::new(Outputs::open(settings.named_outputs(), tries_max).await?);
    registry.add_outputs(Arc::clone(&outputs));
    let dead_letters = DeadLetterSinks::open(&settings, &state_dir, tries_max).await?;
    let rejected_records_output = dead_letters.output.clone();
    if let Some(output) = &rejected_records_output {
        registry.add_outputs(Arc::clone(output));
    }
    let bars = Arc::new(ProgressBars::new(options.progress, settings.sources.len()));
    let startup_tracker = StartupTracker::new();
    let supervisor = Supervisor::new(HostContext {
        components: components.clone(),
        state_dir: Arc::clone(&state_dir),
        outputs: Arc::clone(&outputs),
        inherited: settings.inherited(),
        dead_letters,
        bars: Arc::clone(&bars),
        registry: registry.clone(),
        once: options.once,
        runs_without_sources,
        startup_tracker: startup_tracker.clone(),
        shutdown_trigger: options.shutdown_trigger.clone(),
        shutdown: options.shutdown.clone(),
    })?;
    let settings_manager = SettingsManager::new(supervisor.clone(), &settings);
    // Before anything is started that an error would have to stop.
    let watch_since = options.watch_since.filter(|_| options.reload.is_some());
    let watch =
        watch_since.map(|read_at| SettingsWatch::new(Arc::clone(&settings_manager), read_at));
    let mut watch = watch.transpose()?;
    let admin = admin.map(|server| {
        server.start(AdminContext {
            registry: registry.clone(),
            control: Some(Arc::new(FileControl::new(Arc::clone(&settings_manager)))),
            components,
            settings_file: settings.file.clone(),
            state_dir: state_dir.path().to_owned(),
        })
    });
    // Moved, because the settings of thousands of sources would be in memory twice.
    settings_manager.start(
        mem::take(&mut settings.sources),
        mem::take(&mut settings.faulty_sources),
    );
    startup_tracker.close();
    let _notifier = service_manager::Notifier::start(options.shutdown.clone());
    let stdout = StdoutWatch::start(Arc::clone(&outputs), options.shutdown_trigger.clone());
    let readiness = tokio::spawn(async move {
        startup_tracker.all_finished().await;
        registry.set_ready(true);
    });
    let mut reload_tasks = JoinSet::new();
    if let Some(requests) = options.reload {
        if let Some(watch) = &mut watch {
            watch.begin().await;
        }
        reload_tasks.spawn(reload_on(requests, watch, settings_manager));
    }
    let mut shutdown = options.shutdown.clone();
    tokio::select! {
        () = supervisor.all_ended() => {}
        _ = shutdown.requested() => {}
    }
    reload_tasks.abort_all();
    let sources = supervisor.finish(STOP_TIMEOUT).await;
    let is_stdout_closed = stdout.finish();
    readiness.abort();
    bars.clear();
    report_unlogged_failures(&sources);
    close(&outputs, rejected_records_output.as_deref(), admin).await?;
    let is_cut_off = |source: &SourceSummary| matches!(source.exit, SourceExit::Stopped);
    if is_stdout_closed && sources.iter().any(is_cut_off) {
        return Err(Failure::failed(STDOUT_CLOSED));
    }
    Ok(Summary { sources })
}

/// Reads the settings again whenever that is requested, or one of their files has changed.
async fn reload_on(
    requests: Arc<Notify>,
    mut watch: Option<SettingsWatch>,
    settings_manager: Arc<SettingsManager>,
) {
    loop {
        if let Some(watch) = &mut watch {
            tokio::select! {
                () = requests.notified() => {}
                () = watch.changed() => {}
            }
            watch.begin_reading().await;
        } else {
            requests.notified().await;
        }
        service_manager::notify(&Notification::Reloading);
        settings_manager.reload().await;
        service_manager::notify(&Notification::Ready);
        if let Some(watch) = &mut watch {
            watch.end_reading().await;
        }
    }
}

/// Stops the host when the reader of standard output has gone away.
pub(crate) struct StdoutWatch {
    task: JoinHandle<()>,
    is_gone: Arc<AtomicBool>,
}

impl StdoutWatch {
    pub(crate) fn start(outputs: Arc<Outputs>, shutdown_trigger: ShutdownTrigger) -> Self {
        let is_gone = Arc::new(AtomicBool::new(false));
        let gone_flag = Arc::clone(&is_gone);
        let task = tokio::spawn(async move {
            outputs.stdout_closed().await;
            // Before the stop: the run may be over before this task is.
            gone_flag.store(true, Ordering::SeqCst);
            shutdown_trigger.stop();
        });
        Self { task, is_gone }
    }

    /// Stops watching. Returns whether the reader was gone.
    pub(crate) fn finish(self) -> bool {
        self.task.abort();
        self.is_gone.load(Ordering::SeqCst)
    }
}

/// Flushes and closes the outputs, and stops the admin server, also where an output fails.
pub(crate) async fn close(
    outputs: &Outputs,
    rejected: Option<&Outputs>,
    admin: Option<RunningAdminServer>,
) -> Result<(), Failure> {
    let closed = outputs.close().await;
    let rejected = match rejected {
        Some(rejected) => rejected.close().await,
        None => Ok(()),
    };
    if let Some(admin) = admin {
        admin.stop().await;
    }
    closed
        .and(rejected)
        .map_err(|error| Failure::failed(format!("output: {error}")))
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use source_outputs::{Delivery, Output, OutputConfig, OutputError};
    use source_runtime::source::ComponentLoader;
    use tokio::net::TcpStream;

    use super::*;

    /// Cannot be closed, and records the tries.
    #[derive(Clone, Debug, Default)]
    struct Unclosable(Arc<AtomicBool>);

    #[async_trait]
    impl OutputConfig for Unclosable {
        async fn open(&self) -> Result<Box<dyn Output>, Failure> {
            Ok(Box::new(self.clone()))
        }

        async fn test(&self) -> Result<String, OutputError> {
            Ok("file x".to_owned())
        }
    }

    #[async_trait]
    impl Output for Unclosable {
        fn name(&self) -> &str {
            "file x"
        }

        async fn accept(&mut self, _: &Delivery<'_>) -> Result<(), OutputError> {
            Ok(())
        }

        async fn close(&mut self) -> Result<(), OutputError> {
            self.0.store(true, Ordering::SeqCst);
            Err(OutputError::Closed)
        }
    }

    #[tokio::test]
    async fn an_output_that_cannot_be_closed_keeps_nothing_else_open() {
        let configs = [Unclosable::default(), Unclosable::default()];
        let mut opened = Vec::new();
        for config in &configs {
            let config: &dyn OutputConfig = config;
            opened.push(Outputs::open([("x", config)], None).await.unwrap());
        }
        let directory = tempfile::tempdir().unwrap();
        let text = "state_dir = \"state\"\nsources_dir = \".\"\n[[output]]\ntype = \"stdout\"\n\
                    [admin]\nlisten = \"127.0.0.1:0\"\n";
        let file = directory.path().join("host.toml");
        let settings = Settings::parse(text, &file).unwrap();
        let admin = AdminServer::bind(settings.admin.as_ref().unwrap());
        let admin = admin.await.unwrap().start(AdminContext {
            registry: Registry::new(),
            control: None,
            components: ComponentLoader::new(None, 0).unwrap(),
            settings_file: file,
            state_dir: settings.state_dir,
        });
        let address = admin.address();
        TcpStream::connect(address).await.unwrap();

        let closed = close(&opened[0], Some(&opened[1]), Some(admin)).await;
        assert!(closed.unwrap_err().message.starts_with("output: "));
        for config in &configs {
            assert!(config.0.load(Ordering::SeqCst));
        }
        assert!(TcpStream::connect(address).await.is_err());
    }
}
