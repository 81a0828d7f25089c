//! Runs one poll as a task of its own, concurrently with the delivery of the batch before.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use source_common::delivery::Reservation;
use source_common::secret::Secret;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::INSTANCE_IDLE_MAX;
use crate::bindings::{Batch, NextPoll, PollError};
use crate::engine::{CallError, Instance};
use crate::event_sink::EventSink;
use crate::poll_slots::PollSlot;
use crate::source::Source;

/// The parameters of a poll.
pub(super) struct PollRequest {
    pub(super) source: Arc<Source>,
    pub(super) sink: Arc<dyn EventSink>,
    /// The instance of the poll before, where it was kept.
    pub(super) instance: Option<Instance>,
    pub(super) checkpoint: Option<String>,
    pub(super) session: Option<Secret>,
}

/// A poll that has ended.
pub(super) struct FinishedPoll {
    pub(super) result: Result<Result<Batch, PollError>, CallError>,
    /// The instance, where it is kept for the next poll.
    pub(super) instance: Option<Instance>,
    pub(super) memory_bytes_peak: usize,
    /// Room for the batch. `None` if the poll was slow and released it to others, or if no instance could be created.
    pub(super) reservation: Option<Reservation>,
}

/// Returns whether the instance is kept for the next poll. A new instance gets the token from the
/// session, and an idle one takes memory and mappings, which a process with many sources cannot spare.
/// An instance that is about to retry a file is kept, because it still has the link, and a new link
/// would cost a call of the quota.
fn keeps_instance(next: NextPoll) -> bool {
    match next {
        NextPoll::CaughtUp(_) | NextPoll::Throttled(_) => false,
        NextPoll::Failing(ms) => Duration::from_millis(ms) <= INSTANCE_IDLE_MAX,
        NextPoll::Now => true,
    }
}

/// A running poll. It is aborted when this is dropped.
pub(super) struct PollTask(pub(super) JoinHandle<FinishedPoll>);

impl Drop for PollTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl PollRequest {
    pub(super) fn start(self) -> PollTask {
        PollTask(tokio::spawn(self.run()))
    }

    async fn run(mut self) -> FinishedPoll {
        let (reservation, slot) = self.wait_for_capacity().await;
        // Allocated now: thousands of sources may wait for their turn, each in a task of the size of
        // the largest future in it.
        Box::pin(self.poll(reservation, slot)).await
    }

    async fn poll(mut self, reservation: Reservation, mut slot: PollSlot) -> FinishedPoll {
        let mut reservation = Some(reservation);
        let started_at = Instant::now();
        let instance = match self.instance.take() {
            Some(instance) => Ok(instance),
            None => self.source.new_instance().await,
        };
        let mut instance = match instance {
            Ok(instance) => instance,
            Err(error) => {
                return FinishedPoll {
                    result: Err(error),
                    instance: None,
                    memory_bytes_peak: 0,
                    reservation: None,
                };
            }
        };
        let activity = instance.activity();
        let checkpoint = self.checkpoint.take();
        let result = {
            let mut polling = pin!(instance.poll(
                self.source.settings(),
                checkpoint.as_deref(),
                self.session.as_ref(),
                self.source.limits,
            ));
            tokio::select! {
                biased;
                polled = &mut polling => polled,
                () = slot.release_when_slow(&activity) => {
                    reservation = None;
                    polling.await
                }
            }
        };
        drop(slot);
        self.sink.polled(started_at.elapsed());
        let memory_bytes_peak = instance.memory_bytes_peak();
        let is_kept = matches!(&result, Ok(Ok(batch)) if keeps_instance(batch.next));
        FinishedPoll {
            result,
            instance: is_kept.then_some(instance),
            memory_bytes_peak,
            reservation,
        }
    }

    /// Waits until the outputs have room for a batch, and then for a slot. Drops the instance if that
    /// takes long.
    async fn wait_for_capacity(&mut self) -> (Reservation, PollSlot) {
        let bytes = self.source.limits.max_bytes;
        let (sink, source) = (Arc::clone(&self.sink), Arc::clone(&self.source));
        let mut capacity = pin!(async move {
            let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
            let reservation = sink.reserve(bytes).await;
            (reservation, source.poll_slots().acquire().await)
        });
        match timeout(INSTANCE_IDLE_MAX, &mut capacity).await {
            Ok(capacity) => capacity,
            Err(_) => {
                self.instance = None;
                capacity.await
            }
        }
    }
}
