//! Concurrency limits of one source.

use std::future;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A limited number of permits. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct ConcurrencyLimit {
    semaphore: Arc<Semaphore>,
}

/// A permit, released on drop.
#[derive(Debug)]
pub(super) struct Permit(
    #[expect(dead_code, reason = "dropping it is its use")] OwnedSemaphorePermit,
);

impl ConcurrencyLimit {
    pub(super) fn new(permits: usize) -> Self {
        Self {
            semaphore: Arc::new(Semaphore::new(permits)),
        }
    }

    /// Adds permits.
    pub(super) fn add(&self, permits: usize) {
        self.semaphore.add_permits(permits);
    }

    /// Waits for a permit, first come, first served.
    pub(super) async fn acquire(&self) -> Permit {
        match Arc::clone(&self.semaphore).acquire_owned().await {
            Ok(permit) => Permit(permit),
            // Fails only on a closed semaphore, and nothing closes this one.
            Err(_) => future::pending().await,
        }
    }

    /// Returns whether no permit is free.
    pub(super) fn is_used_up(&self) -> bool {
        self.free() == 0
    }

    /// Returns the number of free permits.
    pub(super) fn free(&self) -> usize {
        self.semaphore.available_permits()
    }
}
