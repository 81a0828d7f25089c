//! Delivers one batch: every output accepts its events, and those that an output can never accept are
//! stored with its rejected records.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use source_common::delivery::{Delivery, DeliveryError, Entry, Reservation, UndeliverableEvent};
use source_common::exit::Failure;

use super::persist::rejected_bytes;
use super::{DELIVERY_GRACE, SourceExit, SourceLoop};
use crate::bindings::Batch;
use crate::event_sink::EventSink;
use crate::shutdown::Shutdown;
use crate::source::Source;

/// The delivery of a batch. It advances only while `result` is polled, and is cancelled when this is dropped.
pub(super) struct InFlightDelivery {
    /// The position after it.
    pub(super) checkpoint: String,
    pub(super) result: Pin<Box<dyn Future<Output = Result<AcceptedBatch, SourceExit>> + Send>>,
}

/// A batch of which every output has accepted what it can.
pub(super) struct AcceptedBatch {
    pub(super) batch: Batch,
    /// The events that an output can never accept.
    pub(super) undeliverable_events: Vec<UndeliverableEvent>,
    /// Their size as stored with the rejected records.
    pub(super) undeliverable_bytes: usize,
}

/// Delivers batches of one source.
pub(super) struct Deliverer {
    pub(super) source: Arc<Source>,
    pub(super) sink: Arc<dyn EventSink>,
    pub(super) once: bool,
    pub(super) shutdown: Shutdown,
}

impl Deliverer {
    pub(super) fn new(context: &SourceLoop) -> Self {
        Self {
            source: Arc::clone(&context.source),
            sink: Arc::clone(&context.sink),
            once: context.once,
            shutdown: context.shutdown.clone(),
        }
    }

    pub(super) fn start(self, batch: Batch, reservation: Option<Reservation>) -> InFlightDelivery {
        InFlightDelivery {
            checkpoint: batch.checkpoint.clone(),
            result: Box::pin(self.run(batch, reservation)),
        }
    }

    async fn run(
        self,
        batch: Batch,
        reservation: Option<Reservation>,
    ) -> Result<AcceptedBatch, SourceExit> {
        let mut shutdown = self.shutdown.clone();
        let lease = self.source.lease();
        // Rejected records may go to an output too, which may refuse for as long as any other.
        let (undeliverable_events, undeliverable_bytes) = tokio::select! {
            biased;
            () = lease.revoked() => return Err(SourceExit::LeaseLost),
            accepted = self.deliver_all(&batch, reservation) => accepted?,
            () = shutdown.grace_elapsed(DELIVERY_GRACE) => return Err(SourceExit::Stopped),
        };
        Ok(AcceptedBatch {
            batch,
            undeliverable_events,
            undeliverable_bytes,
        })
    }

    /// Delivers the events of a batch, then stores its rejected records. Unless both succeed, the batch
    /// is not accepted, and is fetched again. Returns the events that an output can never accept, and
    /// their size as stored.
    async fn deliver_all(
        &self,
        batch: &Batch,
        reservation: Option<Reservation>,
    ) -> Result<(Vec<UndeliverableEvent>, usize), SourceExit> {
        let undeliverable_events = if batch.index.is_empty() {
            drop(reservation);
            Vec::new()
        } else {
            self.deliver(batch, reservation).await?
        };
        let undeliverable = self.to_rejected_records(batch, &undeliverable_events);
        self.store_rejected([&batch.rejected, &undeliverable])
            .await?;
        Ok((undeliverable_events, rejected_bytes(&undeliverable)))
    }

    async fn deliver(
        &self,
        batch: &Batch,
        reservation: Option<Reservation>,
    ) -> Result<Vec<UndeliverableEvent>, SourceExit> {
        let reservation = match reservation {
            Some(mut reservation) => {
                reservation.shrink_to(batch.events.len());
                reservation
            }
            None => self.sink.reserve(batch.events.len()).await,
        };
        let index = index(batch);
        let delivery = Delivery {
            source: &self.source.name,
            namespace: &self.source.description.namespace,
            events: &batch.events,
            index: &index,
            kinds: &self.source.kinds,
        };
        let started_at = Instant::now();
        let accepted = self.sink.accept(&delivery, reservation).await;
        if accepted.is_ok() {
            self.sink.delivered(started_at.elapsed());
        }
        accepted.map_err(|error| match error {
            DeliveryError::Closed => SourceExit::OutputClosed,
            DeliveryError::Failed(reason) => {
                SourceExit::OutputFailed(Failure::failed(format!("output: {reason}")))
            }
        })
    }
}

/// Converts the index of a batch to that of a delivery.
pub(super) fn index(batch: &Batch) -> Vec<Entry> {
    let entries = batch.index.iter();
    entries
        .map(|entry| Entry {
            end: entry.end,
            occurred_at: entry.occurred_at,
            kind: entry.kind,
        })
        .collect()
}
