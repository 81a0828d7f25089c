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

use super::start::{SourceStarter, Startup};
use super::{RunSettings, Shared, Target};
use crate::report::RunState;

/// What the task does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Phase {
    /// The source has ended by itself.
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
    /// Of its first run.
    pub(super) startup: Option<Startup>,
}

impl Worker {
    pub(super) async fn run(mut self) {
        let mut shutdown = self.shared.context.shutdown.clone();
        while !shutdown.is_requested() {
            let target = self.next_target();
            match target.runnable() {
                Some(run) => self.run_source(&target, run).await,
                None if target.is_removed && self.shared.forget(&self.name) => return,
                None => self.startup = None,
            }
            tokio::select! {
                changed = self.target.changed() => if changed.is_err() { return },
                _ = shutdown.requested() => return,
            }
        }
    }

    /// What the source should do now. The phase is that of it before anyone can change it again,
    /// so that who changes it can wait for the phase.
    fn next_target(&mut self) -> Target {
        let target = self.target.borrow_and_update();
        let phase = match target.runnable() {
            Some(_) => Phase::Running,
            None => Phase::Idle,
        };
        self.phase.send_replace(phase);
        target.clone()
    }

    /// Runs the source until it ends, or should no longer run like this.
    async fn run_source(&mut self, target: &Target, run: &Arc<RunSettings>) {
        let (stopper, shutdown) = shutdown::channel();
        let starter = SourceStarter {
            shared: Arc::clone(&self.shared),
            run: Arc::clone(run),
            entry: target.entry.clone(),
            shutdown,
            retry: Arc::clone(&self.retry),
            startup: self.startup.take(),
        };
        target.entry.set_run(RunState::Starting);
        // A set, so that what runs is aborted where this is.
        let mut task = JoinSet::new();
        task.spawn(starter.run());
        let generation = target.generation;
        let is_other = |now: &Target| now.generation != generation || now.runnable().is_none();
        let mut host_shutdown = self.shared.context.shutdown.clone();
        let ended = tokio::select! {
            joined = task.join_next() => Some(joined),
            _ = self.target.wait_for(is_other) => None,
            _ = host_shutdown.requested() => None,
        };
        if let Some(joined) = ended {
            return self.note_end(joined);
        }
        stopper.stop();
        // Without a time limit: a late write would overwrite what the next run stores.
        let joined = task.join_next().await;
        if host_shutdown.is_requested() {
            self.note_end(joined);
        } else {
            // The target that it was stopped for is the next one.
            self.target.mark_changed();
        }
    }

    fn note_end(&self, joined: Option<Joined>) {
        let (end, source_state) = match joined {
            Some(Ok(ended)) => ended,
            Some(Err(error)) => {
                error!(source = %self.name, "a source ended in a fault of the host: {error}");
                self.fault()
            }
            None => self.fault(),
        };
        self.shared.note_end(&self.name, end, source_state);
        self.phase.send_replace(Phase::Ended);
    }

    fn fault(&self) -> (SourceExit, StoredSource) {
        let fault = format!("source `{}`: a fault of the host", self.name);
        let end = SourceExit::Failed(Failure::failed(fault));
        (end, StoredSource::new(&self.name))
    }
}

type Joined = Result<(SourceExit, StoredSource), tokio::task::JoinError>;
