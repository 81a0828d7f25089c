//! From the settings of one source to its loop. What cannot start is the
//! failure of that source alone: it is logged, shown by `status` and in the
//! exit code, and tried again where another try can help.

use std::sync::Arc;

use async_trait::async_trait;
use source_common::backoff::Backoff;
use source_common::disk::blocking;
use source_common::exit::Failure;
use source_outputs::Outputs;
use source_runtime::outgoing::RequestObserver;
use source_runtime::shutdown::Shutdown;
use source_runtime::source::{Components, NetworkAccess, Source};
use source_runtime::source_loop::{SourceExit, SourceLoop, SourceReader};
use source_runtime::store::{SourceState, StateDir};
use tokio::sync::{Mutex, watch};
use tokio::time::sleep;
use tracing::{debug, error, info, warn};

use crate::dead_letter::DeadLetterSink;
use crate::destination::{Destination, ObservedRequests};
use crate::progress::Bars;
use crate::registry::{Registry, SourceEntry};
use crate::report::RunState;
use crate::settings::SourceSettings;
use crate::source;

/// All that a source needs to start, and to start again.
pub(crate) struct SourceStarter {
    /// What the settings say of it.
    pub(crate) settings: SourceSettings,
    /// Where its component is loaded.
    pub(crate) components: Components,
    /// Where its checkpoint is kept.
    pub(crate) state: Arc<StateDir>,
    /// Where its events go.
    pub(crate) outputs: Arc<Outputs>,
    /// Where its rejected records go.
    pub(crate) dead_letter: Arc<Mutex<DeadLetterSink>>,
    /// What a person at a terminal sees.
    pub(crate) bars: Arc<Bars>,
    /// Whether to end when it is caught up.
    pub(crate) once: bool,
    /// The request to stop.
    pub(crate) shutdown: Shutdown,
    /// What the first tries of all sources have come to.
    pub(crate) starts: StartupTracker,
    /// What runs.
    pub(crate) registry: Registry,
    /// What is reported of it.
    pub(crate) entry: SourceEntry,
}

/// A source that is ready, and what is kept of it.
type PreparedSource = (Source, SourceState);

impl SourceStarter {
    /// Start the source and run it until the end.
    pub(crate) async fn run(self) -> (SourceExit, SourceState) {
        let entry = self.entry.clone();
        let ended = self.run_until_end().await;
        entry.set_run(RunState::Ended);
        ended
    }

    async fn run_until_end(mut self) -> (SourceExit, SourceState) {
        let mut backoff = Backoff::default();
        loop {
            let mut shutdown = self.shutdown.clone();
            let readied = tokio::select! {
                readied = self.ready() => readied,
                _ = shutdown.requested() => return (SourceExit::Stopped, self.blank()),
            };
            let failure = match readied {
                Ok((source, record)) => {
                    self.starts.record_started();
                    return self.start(source, record).await;
                }
                Err(failure) => failure,
            };
            backoff.fail();
            let failures = backoff.failures();
            if failures == 1 {
                self.starts.record_failed();
            }
            // A run of which no source has started ends, so that whoever
            // started it learns of that.
            if self.once || !failure.is_retryable || !self.starts.any_started().await {
                return (SourceExit::Failed(failure), self.blank());
            }
            let wait = backoff.wait();
            let seconds = wait.as_secs_f64();
            error!(source = %self.settings.name, failures, "{failure}; next try in {seconds:.1} s");
            tokio::select! {
                () = sleep(wait) => {}
                _ = self.shutdown.requested() => return (SourceExit::Failed(failure), self.blank()),
            }
        }
    }

    /// Load what is kept of the source, its component and its settings.
    async fn ready(&self) -> Result<PreparedSource, Failure> {
        let mut record = self.state.load(&self.settings.name)?;
        match self.source().await {
            Ok(source) => Ok((source, record)),
            Err(failure) => {
                record.note_start_error(&failure.message);
                self.entry.update(&record);
                self.store(record).await;
                Err(failure)
            }
        }
    }

    async fn source(&self) -> Result<Source, Failure> {
        let source = source::ready(&self.components, &self.settings, NetworkAccess::Online).await?;
        // Settings that the component refuses end the source here. One that
        // fails in another way is run, and its loop tries it again.
        if let Err(error) = source::try_settings(&source, &self.settings.file, 0).await? {
            debug!(source = %source.name, "settings are not checked: {error}");
        }
        Ok(source)
    }

    /// Best effort: `status` shows what is stored, and the log has it too.
    async fn store(&self, record: SourceState) {
        let state = Arc::clone(&self.state);
        if let Err(error) = blocking(move || state.store(&record)).await {
            let directory = self.state.path().display();
            warn!(source = %self.settings.name, "its failure is not stored in {directory}: {error}");
        }
    }

    async fn start(self, source: Source, record: SourceState) -> (SourceExit, SourceState) {
        self.entry.update(&record);
        self.entry.set_run(RunState::Running);
        let description = &source.description;
        info!(
            source = %source.name,
            component = %description.name,
            version = %description.version,
            "started"
        );
        let reader = Reader {
            settings: self.settings.clone(),
            components: self.components,
            requests: Arc::new(ObservedRequests {
                entry: self.entry.clone(),
                registry: self.registry.clone(),
            }),
        };
        source.observe_requests(Arc::clone(&reader.requests));
        let wake = self.entry.wake_signal();
        let destination = Destination {
            progress: self.bars.source(&source.name, &record),
            outputs: self.outputs,
            chosen: self.settings.outputs,
            namespace: description.namespace.clone(),
            dead_letter: self.dead_letter,
            entry: self.entry,
            registry: self.registry,
        };
        let looped = SourceLoop {
            source,
            record,
            state: self.state,
            sink: Arc::new(destination),
            once: self.once,
            wake,
            reader: Some(Arc::new(reader)),
            shutdown: self.shutdown,
        };
        looped.run().await
    }

    fn blank(&self) -> SourceState {
        SourceState::new(&self.settings.name)
    }
}

/// Reads what the settings of a source refer to again.
struct Reader {
    settings: SourceSettings,
    components: Components,
    requests: Arc<dyn RequestObserver>,
}

#[async_trait]
impl SourceReader for Reader {
    async fn read_again(&self, current: &Source) -> Result<Option<Source>, Failure> {
        let access = NetworkAccess::Online;
        let read =
            source::ready_again(&self.components, &self.settings, access, current.settings())
                .await?;
        if let Some(source) = &read {
            source.observe_requests(Arc::clone(&self.requests));
        }
        Ok(read)
    }
}

/// What the first tries of all sources have come to. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct StartupTracker {
    counts: watch::Sender<Counts>,
}

#[derive(Clone, Copy, Debug)]
struct Counts {
    started: usize,
    undecided: usize,
}

impl StartupTracker {
    /// So many sources, of which none has been tried.
    pub(crate) fn new(sources: usize) -> Self {
        let counts = Counts {
            started: 0,
            undecided: sources,
        };
        Self {
            counts: watch::Sender::new(counts),
        }
    }

    fn record_started(&self) {
        self.counts.send_modify(|counts| {
            counts.started = counts.started.saturating_add(1);
            counts.undecided = counts.undecided.saturating_sub(1);
        });
    }

    fn record_failed(&self) {
        self.counts
            .send_modify(|counts| counts.undecided = counts.undecided.saturating_sub(1));
    }

    /// Waits until every source has started or failed to.
    pub(crate) async fn all_decided(&self) {
        let mut counts = self.counts.subscribe();
        // The sender is one of this.
        let _ = counts.wait_for(|counts| counts.undecided == 0).await;
    }

    /// Wait until a source has started, or none can. Whether one has.
    async fn any_started(&self) -> bool {
        let mut counts = self.counts.subscribe();
        let decided = counts.wait_for(|counts| counts.started > 0 || counts.undecided == 0);
        decided.await.is_ok_and(|counts| counts.started > 0)
    }
}
