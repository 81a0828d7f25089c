//! The destination of one source's events and rejected records.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use source_common::delivery::{Delivery, DeliveryError, Reservation, UndeliverableEvent};
use source_outputs::Outputs;
use source_runtime::bindings::RejectedRecord;
use source_runtime::event_sink::{EventSink, StoreRejectedError};
use source_runtime::outgoing::RequestObserver;
use source_runtime::store::StoredSource;
use tokio::sync::Mutex;

use crate::dead_letter::DeadLetterSink;
use crate::progress::SourceProgressBar;
use crate::registry::{Registry, SourceEntry};

/// Outputs, the sink for rejected records, and the progress line of the terminal.
pub(crate) struct Destination {
    pub(crate) outputs: Arc<Outputs>,
    /// Names of the outputs for the source's events; `None` means all.
    pub(crate) output_names: Option<Vec<String>>,
    /// Namespace of the source's component.
    pub(crate) namespace: String,
    pub(crate) dead_letter: Arc<Mutex<DeadLetterSink>>,
    pub(crate) progress: SourceProgressBar,
    /// Registry entry to which the source's state is reported.
    pub(crate) entry: SourceEntry,
    pub(crate) registry: Registry,
}

#[async_trait]
impl EventSink for Destination {
    async fn reserve(&self, bytes: usize) -> Reservation {
        let output_names = self.output_names.as_deref();
        self.outputs
            .reserve(self.entry.name(), output_names, bytes)
            .await
    }

    async fn accept(
        &self,
        delivery: &Delivery<'_>,
        reservation: Reservation,
    ) -> Result<Vec<UndeliverableEvent>, DeliveryError> {
        let output_names = self.output_names.as_deref();
        self.outputs
            .accept(delivery, output_names, reservation)
            .await
    }

    async fn store_rejected(
        &self,
        source: &str,
        records: &[RejectedRecord],
    ) -> Result<(), StoreRejectedError> {
        // Locked for one try only: the caller retries, and other sources may share the sink.
        let mut dead_letter = self.dead_letter.lock().await;
        dead_letter
            .store_rejected(source, &self.namespace, records)
            .await
    }

    fn storage_error_changed(&self, what: &'static str, reason: Option<&str>) {
        self.entry.set_storage_error(what, reason);
    }

    fn state_changed(&self, source_state: &StoredSource) {
        self.progress.update(source_state);
        self.entry.update(source_state);
    }

    fn polled(&self, took: Duration) {
        if let Some(observer) = self.registry.observer() {
            observer.polled(self.entry.name(), took);
        }
    }

    fn delivered(&self, took: Duration) {
        if let Some(observer) = self.registry.observer() {
            observer.delivered(self.entry.name(), took);
        }
    }
}

/// Reports a source's requests to its registry entry, and their outcomes to the registry's observer.
pub(crate) struct RequestReporter {
    pub(crate) entry: SourceEntry,
    pub(crate) registry: Registry,
}

impl fmt::Debug for RequestReporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestReporter({})", self.entry.name())
    }
}

impl RequestObserver for RequestReporter {
    fn begun(&self, begun_at: SystemTime) {
        self.entry.request_begun(begun_at);
    }

    fn ended(&self, begun_at: SystemTime) {
        self.entry.request_ended(begun_at);
    }

    fn outcome(&self, status: Option<u16>) {
        if let Some(observer) = self.registry.observer() {
            observer.request_completed(self.entry.name(), status);
        }
    }
}
