//! The task of one source: it runs the source while that is wanted, and stops it when it is not, or
//! before it runs with other settings.

use std::sync::Arc;

use source_common::exit::Failure;
use source_runtime::shutdown;
use source_runtime::source_loop::SourceExit;
use source_runtime::store::StoredSource;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tracing::error;

use super::start::{SourceRunner, StartupAttempt};
use super::{RunSettings, Shared, Target};
use crate::report::RunState;

/// What the task of a source does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Phase {
    /// The source has ended: by itself, or because the host stops.
    Ended,
    /// It is not running, and is not meant to.
    Idle,
    /// It is being started, runs, or is being stopped.
    Running,
}

pub(super) struct Worker {
    pub(super) shared: Arc<Shared>,
    pub(super) name: String,
    pub(super) target: watch::Receiver<Target>,
    pub(super) phase: watch::Sender<Phase>,
    /// Ends the wait before the next try.
    pub(super) retry: Arc<Notify>,
    /// The attempt that the first run of the source counts as.
    pub(super) startup: Option<StartupAttempt>,
}

impl Worker {
    pub(super) async fn run(mut self) {
        let mut shutdown = self.shared.context.shutdown.clone();
        while !shutdown.is_requested() {
            let target = self.adopt_target();
            match target.runnable() {
                Some(run_settings) => self.run_source(&target, run_settings).await,
                None if target.is_removed && self.shared.forget_if_removed(&self.name) => return,
                None => self.startup = None,
            }
            tokio::select! {
                changed = self.target.changed() => if changed.is_err() { return },
                _ = shutdown.requested() => return,
            }
        }
    }

    /// Returns what the source should do now. Sets the matching phase before the target can change
    /// again, so that whoever changes it can wait for the phase.
    fn adopt_target(&mut self) -> Target {
        let target = self.target.borrow_and_update();
        let phase = match target.runnable() {
            Some(_) => Phase::Running,
            None => Phase::Idle,
        };
        self.phase.send_replace(phase);
        target.clone()
    }

    /// Runs the source until it ends, or until its target requires another run or none.
    async fn run_source(&mut self, target: &Target, run_settings: &Arc<RunSettings>) {
        let (shutdown_trigger, shutdown) = shutdown::channel();
        let runner = SourceRunner {
            shared: Arc::clone(&self.shared),
            run_settings: Arc::clone(run_settings),
            entry: target.entry.clone(),
            shutdown,
            retry: Arc::clone(&self.retry),
            startup: self.startup.take(),
        };
        target.entry.set_run_state(RunState::Starting);
        // A set, so that the run is aborted if this task is.
        let mut task = JoinSet::new();
        task.spawn(runner.run());
        let generation = target.generation;
        let is_replaced = |now: &Target| now.generation != generation || now.runnable().is_none();
        let mut host_shutdown = self.shared.context.shutdown.clone();
        let ended = tokio::select! {
            joined = task.join_next() => Some(joined),
            _ = self.target.wait_for(is_replaced) => None,
            _ = host_shutdown.requested() => None,
        };
        if let Some(joined) = ended {
            return self.handle_exit(joined);
        }
        shutdown_trigger.stop();
        // Without a time limit: a late write would overwrite what the next run stores.
        let joined = task.join_next().await;
        if host_shutdown.is_requested() {
            self.handle_exit(joined);
        } else {
            // The changed target that it was stopped for is handled next.
            self.target.mark_changed();
        }
    }

    fn handle_exit(&self, joined: Option<Joined>) {
        let (end, source_state) = match joined {
            Some(Ok(ended)) => ended,
            Some(Err(error)) => {
                error!(source = %self.name, "a source ended with an internal error: {error}");
                self.fault()
            }
            None => self.fault(),
        };
        self.shared.handle_exit(&self.name, end, source_state);
        self.phase.send_replace(Phase::Ended);
    }

    fn fault(&self) -> (SourceExit, StoredSource) {
        let fault = format!("source `{}`: internal error", self.name);
        let end = SourceExit::Failed(Failure::failed(fault));
        (end, StoredSource::new(&self.name))
    }
}

type Joined = Result<(SourceExit, StoredSource), tokio::task::JoinError>;
