//! Where the events and the rejected records of one source go.

use std::sync::Arc;

use async_trait::async_trait;
use source_common::delivery::{Delivery, RejectedEvent, Undelivered};
use source_outputs::Outputs;
use source_runtime::bindings::RejectedRecord;
use source_runtime::deliver::{Deliver, NotKept};
use source_runtime::store::Record;
use tokio::sync::Mutex;

use crate::dead_letter::DeadLetter;
use crate::progress::Progress;

/// All outputs, a place for rejected records, and a line on the terminal.
pub(crate) struct Destination {
    pub(crate) outputs: Arc<Outputs>,
    /// That of the component of the source.
    pub(crate) namespace: String,
    pub(crate) dead_letter: Arc<Mutex<DeadLetter>>,
    pub(crate) progress: Progress,
}

#[async_trait]
impl Deliver for Destination {
    async fn accept(&self, delivery: &Delivery<'_>) -> Result<Vec<RejectedEvent>, Undelivered> {
        self.outputs.accept(delivery).await
    }

    async fn keep(&self, source: &str, records: &[RejectedRecord]) -> Result<(), NotKept> {
        // Other sources take their turn between two tries.
        let mut dead_letter = self.dead_letter.lock().await;
        dead_letter.keep(source, &self.namespace, records).await
    }

    fn progress(&self, record: &Record) {
        self.progress.update(record);
    }
}
