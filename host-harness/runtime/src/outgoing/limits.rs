//! Limits the concurrent requests of a source, and the connections of a pool.

use std::future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A limited number of permits. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct ConcurrencyLimit {
    semaphore: Arc<Semaphore>,
    /// The number of removed permits that were in use. As many are forgotten when they are released.
    excess: Arc<AtomicUsize>,
}

/// A permit, released on drop.
#[derive(Debug)]
pub(super) struct Permit {
    /// `None` only while it is dropped.
    permit: Option<OwnedSemaphorePermit>,
    excess: Arc<AtomicUsize>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let is_excess = take_up_to(&self.excess, 1) == 1;
        if let Some(permit) = self.permit.take().filter(|_| is_excess) {
            permit.forget();
        }
    }
}

/// Subtracts up to `max` from a number. Returns by how much it is less.
fn take_up_to(number: &AtomicUsize, max: usize) -> usize {
    let before = number.fetch_update(Ordering::AcqRel, Ordering::Acquire, |number| {
        Some(number.saturating_sub(max))
    });
    before.unwrap_or(0).min(max)
}

impl ConcurrencyLimit {
    pub(super) fn new(permits: usize) -> Self {
        Self {
            semaphore: Arc::new(Semaphore::new(permits)),
            excess: Arc::default(),
        }
    }

    /// Adds permits.
    pub(super) fn add_permits(&self, permits: usize) {
        let kept = take_up_to(&self.excess, permits);
        self.semaphore.add_permits(permits.saturating_sub(kept));
    }

    /// Removes permits; those in use as soon as they are released.
    pub(super) fn remove_permits(&self, permits: usize) {
        let forgotten = self.semaphore.forget_permits(permits);
        let in_use = permits.saturating_sub(forgotten);
        self.excess.fetch_add(in_use, Ordering::AcqRel);
    }

    /// Waits for a permit, first come, first served.
    pub(super) async fn acquire(&self) -> Permit {
        match Arc::clone(&self.semaphore).acquire_owned().await {
            Ok(permit) => Permit {
                permit: Some(permit),
                excess: Arc::clone(&self.excess),
            },
            // Fails only on a closed semaphore, and nothing closes this one.
            Err(_) => future::pending().await,
        }
    }
}

#[cfg(test)]
impl ConcurrencyLimit {
    /// Returns whether no permit is free.
    pub(super) fn is_used_up(&self) -> bool {
        self.available_permits() == 0
    }

    /// Returns the number of available permits.
    pub(super) fn available_permits(&self) -> usize {
        self.semaphore.available_permits()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn removed_permits_that_are_in_use_do_not_come_back() {
        let limit = ConcurrencyLimit::new(1);
        limit.add_permits(2);
        let first = limit.acquire().await;
        let second = limit.acquire().await;
        limit.remove_permits(2);
        assert_eq!(limit.available_permits(), 0);
        drop(first);
        assert_eq!(limit.available_permits(), 0);
        drop(second);
        assert_eq!(limit.available_permits(), 1);
        // Permits that are added meanwhile are those that would be forgotten.
        let only = limit.acquire().await;
        limit.remove_permits(1);
        limit.add_permits(1);
        drop(only);
        assert_eq!(limit.available_permits(), 1);
    }
}
