//! Stores rejected records and the checkpoint. A full disk may have room again later, so failures
//! are retried; the source waits meanwhile, and the others continue.

use std::sync::Arc;
use std::time::Instant;

use source_common::backoff::Backoff;
use source_common::delivery::{Delivery, UndeliverableEvent};
use source_common::exit::Failure;
use tokio::time::sleep;
use tracing::{info, warn};

use super::delivering::{Deliverer, index};
use super::{FAILURES_MAX_ONCE, RunningLoop, SourceExit, SourceLoop};
use crate::bindings::{Batch, RejectedRecord};
use crate::event_sink::{EventSink, StoreRejectedError};
use crate::shutdown::Shutdown;
use crate::store::StoreError;

impl Deliverer {
    /// Stores rejected records: those of a batch, and its events that an output can never accept.
    pub(super) async fn store_rejected(
        &self,
        rejected: [&[RejectedRecord]; 2],
    ) -> Result<(), SourceExit> {
        if rejected.iter().all(|records| records.is_empty()) {
            return Ok(());
        }
        let source = &self.source;
        let failed = |reason| Failure::failed(format!("rejected records: {reason}"));
        for records in rejected {
            let mut retry = RetryState::new(
                REJECTED_RECORDS,
                &source.name,
                &self.sink,
                self.once,
                &self.shutdown,
            );
            loop {
                match self.sink.store_rejected(&source.name, records).await {
                    Ok(()) => break,
                    Err(StoreRejectedError::Disk(reason)) => retry
                        .wait_before_retry(reason)
                        .await
                        .map_err(|reason| SourceExit::Failed(failed(reason)))?,
                    Err(StoreRejectedError::Closed) => return Err(SourceExit::OutputClosed),
                    Err(StoreRejectedError::Output(reason)) => {
                        return Err(SourceExit::OutputFailed(failed(reason)));
                    }
                }
            }
            retry.log_recovery();
        }
        Ok(())
    }

    /// Converts events that an output can never accept to rejected records.
    pub(super) fn to_rejected_records(
        &self,
        batch: &Batch,
        undeliverable_events: &[UndeliverableEvent],
    ) -> Vec<RejectedRecord> {
        if undeliverable_events.is_empty() {
            return Vec::new();
        }
        let source = &self.source;
        let delivery = Delivery {
            source: &source.name,
            namespace: &source.description.namespace,
            events: &batch.events,
            index: &index(batch),
            kinds: &source.kinds,
        };
        let events: Vec<_> = delivery.iter().collect();
        undeliverable_events
            .iter()
            .filter_map(|undeliverable| {
                let event = events.get(undeliverable.index)?;
                Some(RejectedRecord {
                    stream: event.stream.to_owned(),
                    locator: format!("event of kind {}", event.kind),
                    reason: undeliverable.reason.clone(),
                    original: event.body.as_bytes().to_vec(),
                })
            })
            .collect()
    }
}

/// Estimates the size of rejected records as stored.
pub(super) fn rejected_bytes(records: &[RejectedRecord]) -> usize {
    records.iter().map(stored_bytes).sum()
}

impl RunningLoop {
    /// Starts to store the state, while the next poll runs. In the loop this is the
    /// only place where a checkpoint is stored, after every output has accepted
    /// the events before it.
    pub(super) fn start_storing(&mut self) {
        self.context
            .source_state
            .stamp(&self.context.source.description);
        self.context.sink.state_changed(&self.context.source_state);
        let source_state = Arc::new(self.context.source_state.clone());
        let store = Arc::clone(&self.context.store);
        let SourceLoop {
            source,
            sink,
            once,
            shutdown,
            ..
        } = &self.context;
        let mut retry = RetryState::new(CHECKPOINT, &source.name, sink, *once, shutdown);
        self.last_stored = Some(Instant::now());
        self.has_unstored_changes = false;
        self.storing = Some(tokio::spawn(async move {
            loop {
                match Arc::clone(&store).store(Arc::clone(&source_state)).await {
                    Ok(()) => break,
                    Err(StoreError::Superseded) => return Err(StoreError::Superseded),
                    Err(StoreError::Unavailable(reason)) => retry
                        .wait_before_retry(reason)
                        .await
                        .map_err(StoreError::Unavailable)?,
                }
            }
            retry.log_recovery();
            Ok(())
        }));
    }

    /// Waits until the store has the state durably.
    pub(super) async fn finish_storing(&mut self) -> Result<(), SourceExit> {
        let Some(storing) = self.storing.take() else {
            return Ok(());
        };
        let stored = storing.await;
        let stored = stored.unwrap_or_else(|error| {
            Err(StoreError::Unavailable(format!(
                "its store, which has a bug: {error}"
            )))
        });
        stored.map_err(|error| match error {
            StoreError::Superseded => SourceExit::LeaseLost,
            StoreError::Unavailable(reason) => SourceExit::Failed(Failure::failed(format!(
                "the checkpoint cannot be stored in {reason}"
            ))),
        })
    }
}

/// What the host stores, as named in the log and in reports.
const CHECKPOINT: &str = "checkpoint";
const REJECTED_RECORDS: &str = "rejected records";

/// Counts the tries to store something, and reports their error to the sink. Dropping it reports
/// that there is none any more.
struct RetryState {
    what: &'static str,
    source: String,
    sink: Arc<dyn EventSink>,
    backoff: Backoff,
    tries_max: Option<u32>,
    shutdown: Shutdown,
}

impl RetryState {
    fn new(
        what: &'static str,
        source: &str,
        sink: &Arc<dyn EventSink>,
        once: bool,
        shutdown: &Shutdown,
    ) -> Self {
        Self {
            what,
            source: source.to_owned(),
            sink: Arc::clone(sink),
            backoff: Backoff::default(),
            tries_max: once.then_some(FAILURES_MAX_ONCE),
            shutdown: shutdown.clone(),
        }
    }

    /// Waits before the next try. Returns the reason as the error if there is no next try:
    /// after the last one, and when a stop was requested.
    async fn wait_before_retry(&mut self, reason: String) -> Result<(), String> {
        self.backoff.fail();
        let tries = self.backoff.failures();
        if self.tries_max.is_some_and(|max| tries >= max) {
            return Err(reason);
        }
        let (what, wait) = (self.what, self.backoff.delay());
        self.sink.storage_error_changed(what, Some(&reason));
        warn!(
            source = %self.source,
            tries,
            "{what} not stored, next try in {:.1} s: {reason}",
            wait.as_secs_f64()
        );
        tokio::select! {
            () = sleep(wait) => Ok(()),
            _ = self.shutdown.requested() => Err(reason),
        }
    }

    /// Logs that the operation has succeeded, if it failed before.
    fn log_recovery(&self) {
        let (what, tries) = (self.what, self.backoff.failures());
        if tries > 0 {
            info!(source = %self.source, tries, "{what} stored again");
        }
    }
}

impl Drop for RetryState {
    fn drop(&mut self) {
        if self.backoff.failures() > 0 {
            self.sink.storage_error_changed(self.what, None);
        }
    }
}

/// Estimates the size of a rejected record as stored.
fn stored_bytes(record: &RejectedRecord) -> usize {
    const OVERHEAD_BYTES: usize = 100;
    [
        record.stream.len(),
        record.locator.len(),
        record.reason.len(),
        record.original.len(),
    ]
    .into_iter()
    .fold(OVERHEAD_BYTES, usize::saturating_add)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;
    use source_common::delivery::{DeliveryError, Reservation};

    use super::*;
    use crate::shutdown;

    /// Records the reports about what cannot be stored.
    #[derive(Default)]
    struct RecordingSink(Mutex<Vec<String>>);

    #[async_trait]
    impl EventSink for RecordingSink {
        async fn accept(
            &self,
            _: &Delivery<'_>,
            _: Reservation,
        ) -> Result<Vec<UndeliverableEvent>, DeliveryError> {
            Ok(Vec::new())
        }

        async fn store_rejected(
            &self,
            _: &str,
            _: &[RejectedRecord],
        ) -> Result<(), StoreRejectedError> {
            Ok(())
        }

        fn storage_error_changed(&self, what: &'static str, reason: Option<&str>) {
            let reason = reason.unwrap_or("no longer");
            self.0.lock().unwrap().push(format!("{what}: {reason}"));
        }
    }

    #[tokio::test]
    async fn what_cannot_be_stored_is_reported_until_it_is_stored_or_given_up() {
        let recording = Arc::new(RecordingSink::default());
        let sink: Arc<dyn EventSink> = recording.clone();
        let (shutdown_trigger, shutdown) = shutdown::channel();
        let tries = || RetryState::new(REJECTED_RECORDS, "acme", &sink, false, &shutdown);
        let reports = || std::mem::take(&mut *recording.0.lock().unwrap());
        drop(tries());
        assert!(reports().is_empty(), "it was stored at once");
        let mut stored = tries();
        tokio::select! {
            biased;
            tried = stored.wait_before_retry("disk full".to_owned()) => panic!("no wait: {tried:?}"),
            () = std::future::ready(()) => {}
        }
        assert_eq!(reports(), ["rejected records: disk full"]);
        stored.log_recovery();
        drop(stored);
        assert_eq!(reports(), ["rejected records: no longer"]);
        let mut given_up = tries();
        shutdown_trigger.stop();
        let stopped = given_up.wait_before_retry("disk full".to_owned()).await;
        assert!(stopped.is_err(), "a stop does not wait for the next try");
        drop(given_up);
        assert_eq!(
            reports(),
            ["rejected records: disk full", "rejected records: no longer"]
        );
    }
}
