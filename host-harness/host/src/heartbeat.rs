//! Heartbeats and host status, written to the state directory while a host runs, so that `status`
//! can report from outside whether anything collects, and what the outputs do.

use std::process;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use source_runtime::store::{HEARTBEAT_INTERVAL, Heartbeat, StateDir, epoch_ms};
use tokio::task::{self, JoinHandle};
use tracing::debug;

use crate::registry::Registry;

/// Writes heartbeats and the status of the host until it is dropped, and then a final heartbeat that
/// marks the run as ended.
#[derive(Debug)]
pub(crate) struct HeartbeatWriter {
    state: Arc<WriterState>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct WriterState {
    state_dir: Arc<StateDir>,
    registry: Registry,
    /// Locked while a heartbeat is written, so that none follows the final one.
    last_written: Mutex<LastWritten>,
}

#[derive(Debug, Default)]
struct LastWritten {
    has_ended: bool,
    /// The `StoredHost` as it was last written, as JSON.
    host_json: Vec<u8>,
}

impl HeartbeatWriter {
    /// Writes the first heartbeat and starts the others.
    #[must_use]
    pub(crate) fn start(state_dir: Arc<StateDir>, registry: Registry) -> Self {
        let state = Arc::new(WriterState {
            state_dir,
            registry,
            last_written: Mutex::default(),
        });
        state.write(false);
        let task_state = Arc::clone(&state);
        let task = task::spawn(async move {
            loop {
                tokio::time::sleep(HEARTBEAT_INTERVAL).await;
                let state = Arc::clone(&task_state);
                // Spawned as blocking, so that a hung disk blocks only this task.
                if task::spawn_blocking(move || state.write(false))
                    .await
                    .is_err()
                {
                    return;
                }
            }
        });
        Self { state, task }
    }
}

impl Drop for HeartbeatWriter {
    fn drop(&mut self) {
        self.task.abort();
        self.state.write(true);
    }
}

impl WriterState {
    /// Writes a heartbeat. Errors are only logged: without it `status` reports that nothing
    /// runs.
    fn write(&self, is_last: bool) {
        let mut written = self
            .last_written
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if written.has_ended {
            return;
        }
        written.has_ended = is_last;
        let now = SystemTime::now();
        // Written before the heartbeat, which makes it valid.
        match serde_json::to_vec(&self.registry.to_stored_host()) {
            Ok(text) if text != written.host_json => match self.state_dir.write_host_state(&text) {
                Ok(()) => written.host_json = text,
                Err(error) => debug!("the status of the host was not written: {error}"),
            },
            Ok(_) => {}
            Err(error) => debug!("the status of the host cannot be written: {error}"),
        }
        let heartbeat = Heartbeat {
            pid: process::id(),
            started_at_ms: epoch_ms(self.registry.started_at()),
            written_at_ms: epoch_ms(now),
            has_ended: is_last,
        };
        if let Err(error) = self.state_dir.write_heartbeat(&heartbeat) {
            debug!("the heartbeat was not written: {error}");
        }
    }
}
