//! How much of something one source may have at a time.

use std::future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A number of places. Clones are the same places.
#[derive(Clone, Debug)]
pub(super) struct Limit {
    places: Arc<Semaphore>,
    has_refused: Arc<AtomicBool>,
}

/// One of the places, until it is dropped.
#[derive(Debug)]
pub(super) struct Permit(
    #[expect(dead_code, reason = "dropping it is its use")] OwnedSemaphorePermit,
);

impl Limit {
    pub(super) fn new(places: usize) -> Self {
        Self {
            places: Arc::new(Semaphore::new(places)),
            has_refused: Arc::default(),
        }
    }

    /// Waits for a place, in the order of the calls.
    pub(super) async fn acquire(&self) -> Permit {
        match Arc::clone(&self.places).acquire_owned().await {
            Ok(permit) => Permit(permit),
            // Only a closed semaphore refuses, and nothing closes this one.
            Err(_) => future::pending().await,
        }
    }

    /// Whether no place is free.
    pub(super) fn is_used_up(&self) -> bool {
        self.free() == 0
    }

    /// How many places are free.
    pub(super) fn free(&self) -> usize {
        self.places.available_permits()
    }

    /// Whether nothing was refused before: the log says it once.
    pub(super) fn is_first_refusal(&self) -> bool {
        !self.has_refused.swap(true, Ordering::Relaxed)
    }
}
