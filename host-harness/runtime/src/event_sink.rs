//! The interface through which the loop delivers events and rejected records.

use std::time::Duration;

use async_trait::async_trait;
use source_common::delivery::{Delivery, DeliveryError, Reservation, UndeliverableEvent};

use crate::bindings::RejectedRecord;
use crate::store::StoredSource;

/// Receives what a source collects. The checkpoint of the source is stored after
/// [`accept`](Self::accept) has returned `Ok`, so what it accepted must survive a crash.
#[async_trait]
pub trait EventSink: Send + Sync {
    /// Waits until there is room for this many bytes of events. The loop reserves it before a poll,
    /// and fetches nothing while it waits. A slow poll gives it back; the loop then reserves room for
    /// the batch before it delivers. By default there is always room.
    async fn reserve(&self, _bytes: usize) -> Reservation {
        Reservation::default()
    }

    /// Accepts every event of a batch, with as many tries as that takes, and releases what is
    /// reserved for it. Returns the events that can never be accepted; the loop passes them to
    /// [`store_rejected`](Self::store_rejected).
    ///
    /// The future may be dropped at any await point when the source has to stop; the events are then
    /// collected again.
    async fn accept(
        &self,
        delivery: &Delivery<'_>,
        reservation: Reservation,
    ) -> Result<Vec<UndeliverableEvent>, DeliveryError>;

    /// Stores records of a source that could not become events, and events that
    /// can never be accepted.
    ///
    /// Like that of [`accept`](Self::accept), the future may be dropped at any await point; the records
    /// are then collected again.
    async fn store_rejected(
        &self,
        source: &str,
        records: &[RejectedRecord],
    ) -> Result<(), StoreRejectedError>;

    /// Reports why something of the source cannot be stored, such as `rejected records`. The source
    /// waits until it is stored, or gives up; either is reported with `None`. Does nothing by default.
    fn storage_error_changed(&self, _what: &'static str, _reason: Option<&str>) {}

    /// Reports the state of the source, whenever it has changed. Does nothing by default.
    fn state_changed(&self, _source_state: &StoredSource) {}

    /// Reports how long a poll took. Does nothing by default.
    fn polled(&self, _took: Duration) {}

    /// Reports how long a delivery took until it was accepted. Does nothing by default.
    fn delivered(&self, _took: Duration) {}
}

/// Why rejected records were not stored.
#[derive(Debug)]
pub enum StoreRejectedError {
    /// A file could not be written; a retry may help.
    Disk(String),
    /// The output for them is standard output, which is closed.
    Closed,
    /// The retry limit of the output for them was reached.
    Output(String),
}
