//! The sign of life that a run leaves in its state directory, so that `status` tells from outside
//! whether anything collects.

use std::process;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use source_runtime::store::{HEARTBEAT_INTERVAL, Heartbeat, StateDir, epoch_ms};
use tokio::task::{self, JoinHandle};
use tracing::debug;

/// Writes a heartbeat for as long as it lives, and at its end that the run has ended.
#[derive(Debug)]
pub(crate) struct Liveness {
    heartbeats: Arc<Heartbeats>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Heartbeats {
    state: Arc<StateDir>,
    started_at_ms: u64,
    /// Held while one is written, so that none follows the last one.
    has_ended: Mutex<bool>,
}

impl Liveness {
    /// Writes the first heartbeat and begins with the others.
    #[must_use]
    pub(crate) fn start(state: Arc<StateDir>, started_at: SystemTime) -> Self {
        let heartbeats = Arc::new(Heartbeats {
            state,
            started_at_ms: epoch_ms(started_at),
            has_ended: Mutex::new(false),
        });
        heartbeats.write(false);
        let writer = Arc::clone(&heartbeats);
        let task = task::spawn(async move {
            loop {
                tokio::time::sleep(HEARTBEAT_INTERVAL).await;
                let writer = Arc::clone(&writer);
                // A disk that hangs must hang this task alone.
                if task::spawn_blocking(move || writer.write(false))
                    .await
                    .is_err()
                {
                    return;
                }
            }
        });
        Self { heartbeats, task }
    }
}

impl Drop for Liveness {
    fn drop(&mut self) {
        self.task.abort();
        self.heartbeats.write(true);
    }
}

impl Heartbeats {
    /// Without a heartbeat `status` says that nothing runs; a full disk is reported by what it
    /// stops.
    fn write(&self, is_last: bool) {
        let mut has_ended = self
            .has_ended
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if *has_ended {
            return;
        }
        *has_ended = is_last;
        let heartbeat = Heartbeat {
            pid: process::id(),
            started_at_ms: self.started_at_ms,
            written_at_ms: epoch_ms(SystemTime::now()),
            has_ended: is_last,
        };
        if let Err(error) = self.state.write_heartbeat(&heartbeat) {
            debug!("the heartbeat is not written: {error}");
        }
    }
}
