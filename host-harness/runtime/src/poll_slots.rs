//! Limits how many polls of all sources run at once. Each has an instance of a component, and with it
//! memory and mappings, so their number must not grow with that of the sources.
//!
//! Most polls wait for their upstream most of the time. One that has waited for long releases its
//! slot to another, so that slow upstreams do not hold up the sources of quick ones. It counts as
//! slow from then on; many more slow polls are allowed, since they need little memory until a
//! response arrives.

use std::future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::engine::{self, Activity};

/// Number of slots: enough for thousands of sources with a slow upstream, and no more than a few
/// hundred MiB of memory on a small machine.
const SLOTS_PER_PROCESSOR: usize = 32;
/// Maximum number of polls, including the slow ones. These end: an upstream may be silent for a
/// minute at most.
const POLLS_PER_PROCESSOR_MAX: usize = 256;
/// How often a poll that holds a slot is checked. If it waits for its upstream then, it has probably
/// waited for long, since the others execute for a few milliseconds each.
const SLOW_CHECK_INTERVAL: Duration = Duration::from_millis(250);

/// Returns how many polls of a process run at once at most.
#[must_use]
pub fn polls_max() -> usize {
    engine::processors().saturating_mul(POLLS_PER_PROCESSOR_MAX)
}

/// The slots of all sources of a process. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct PollSlots {
    slots: Arc<Semaphore>,
    polls: Arc<Semaphore>,
}

/// The permits that a poll holds while it runs.
#[derive(Debug)]
pub(crate) struct PollSlot {
    slot: Option<OwnedSemaphorePermit>,
    _poll: OwnedSemaphorePermit,
}

impl PollSlots {
    /// Creates as many slots as suit the number of processors.
    pub(crate) fn new() -> Self {
        let slots = engine::processors().saturating_mul(SLOTS_PER_PROCESSOR);
        Self::with_limits(slots, polls_max())
    }

    fn with_limits(slots: usize, polls: usize) -> Self {
        Self {
            slots: Arc::new(Semaphore::new(slots)),
            polls: Arc::new(Semaphore::new(polls)),
        }
    }

    /// Waits for a slot, in the order of the calls.
    pub(crate) async fn acquire(&self) -> PollSlot {
        let slot = permit(&self.slots).await;
        PollSlot {
            slot: Some(slot),
            _poll: permit(&self.polls).await,
        }
    }
}

impl PollSlot {
    /// Waits until the poll is slow, and then releases its slot to another. Never returns for one that
    /// is slow already.
    pub(crate) async fn release_when_slow(&mut self, activity: &Activity) {
        if self.slot.is_none() {
            future::pending::<()>().await;
        }
        loop {
            tokio::time::sleep(SLOW_CHECK_INTERVAL).await;
            if activity.waits_for_host() {
                self.slot = None;
                return;
            }
        }
    }
}

async fn permit(semaphore: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    match Arc::clone(semaphore).acquire_owned().await {
        Ok(permit) => permit,
        // Only a closed semaphore refuses, and nothing closes these.
        Err(_) => future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a slot is available at once.
    async fn is_free(slots: &PollSlots) -> bool {
        let slot = tokio::time::timeout(Duration::ZERO, slots.acquire());
        slot.await.is_ok()
    }

    #[tokio::test]
    async fn a_poll_that_waits_for_its_upstream_gives_its_slot_to_another() {
        let slots = PollSlots::with_limits(1, 2);
        let mut slow = slots.acquire().await;
        assert!(!is_free(&slots).await);
        slow.release_when_slow(&Activity::waiting()).await;
        let other = slots.acquire().await;
        assert!(!is_free(&slots).await);
        drop(other);
        assert!(is_free(&slots).await);
    }

    #[tokio::test]
    async fn a_poll_that_executes_keeps_its_slot() {
        let slots = PollSlots::with_limits(1, 2);
        let mut busy = slots.acquire().await;
        let activity = Activity::executing();
        let released = busy.release_when_slow(&activity);
        let long = SLOW_CHECK_INTERVAL * 3;
        assert!(tokio::time::timeout(long, released).await.is_err());
        assert!(!is_free(&slots).await);
    }

    #[tokio::test]
    async fn there_are_no_more_polls_than_memory_permits_however_many_are_slow() {
        let slots = PollSlots::with_limits(1, 3);
        let mut slow = Vec::new();
        for _ in 0..3 {
            let mut slot = slots.acquire().await;
            slot.release_when_slow(&Activity::waiting()).await;
            slow.push(slot);
        }
        assert!(!is_free(&slots).await);
        slow.pop();
        assert!(is_free(&slots).await);
    }
}
