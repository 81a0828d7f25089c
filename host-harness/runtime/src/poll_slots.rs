//! How many polls of all sources go on at once. Each has an instance of a component, and with it
//! memory and mappings, so their number does not grow with that of the sources.
//!
//! Most polls wait for their upstream most of the time. One that has waited for long gives its slot
//! to another, so that slow upstreams do not hold up the sources of quick ones, and counts among the
//! slow ones from then on, of which many more may be under way: what they have in memory is little
//! until an answer comes.

use std::future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::engine::{self, Activity};

/// Enough for thousands of sources whose upstream takes its time, and no more than a few hundred
/// MiB of memory on a small machine.
const SLOTS_PER_PROCESSOR: usize = 32;
/// Including the slow polls. These end: an upstream may be silent for a minute at most.
const POLLS_PER_PROCESSOR_MAX: usize = 256;
/// How often a poll that holds a slot is looked at. One that waits for its upstream then has done
/// so for long, since the others share the processors for a few milliseconds each.
const SLOW_AFTER: Duration = Duration::from_millis(250);

/// Returns how many polls of a process go on at once at most.
#[must_use]
pub fn polls_max() -> usize {
    engine::processors().saturating_mul(POLLS_PER_PROCESSOR_MAX)
}

/// The slots of all sources of a process. Clones are the same slots.
#[derive(Clone, Debug)]
pub(crate) struct PollSlots {
    slots: Arc<Semaphore>,
    polls: Arc<Semaphore>,
}

/// What a poll holds while it goes on.
#[derive(Debug)]
pub(crate) struct PollSlot {
    slot: Option<OwnedSemaphorePermit>,
    _poll: OwnedSemaphorePermit,
}

impl PollSlots {
    /// Creates as many slots as suit the number of processors.
    pub(crate) fn new() -> Self {
        let slots = engine::processors().saturating_mul(SLOTS_PER_PROCESSOR);
        Self::with(slots, polls_max())
    }

    fn with(slots: usize, polls: usize) -> Self {
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
    /// Waits until the poll is slow, and gives its slot to another then. Never returns for one that
    /// is slow already.
    pub(crate) async fn give_up_when_slow(&mut self, activity: &Activity) {
        if self.slot.is_none() {
            future::pending::<()>().await;
        }
        loop {
            tokio::time::sleep(SLOW_AFTER).await;
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
        let slots = PollSlots::with(1, 2);
        let mut slow = slots.acquire().await;
        assert!(!is_free(&slots).await);
        slow.give_up_when_slow(&Activity::waiting()).await;
        let other = slots.acquire().await;
        assert!(!is_free(&slots).await);
        drop(other);
        assert!(is_free(&slots).await);
    }

    #[tokio::test]
    async fn a_poll_that_executes_keeps_its_slot() {
        let slots = PollSlots::with(1, 2);
        let mut busy = slots.acquire().await;
        let activity = Activity::executing();
        let given_up = busy.give_up_when_slow(&activity);
        let long = SLOW_AFTER * 3;
        assert!(tokio::time::timeout(long, given_up).await.is_err());
        assert!(!is_free(&slots).await);
    }

    #[tokio::test]
    async fn there_are_no_more_polls_than_memory_permits_however_many_are_slow() {
        let slots = PollSlots::with(1, 3);
        let mut slow = Vec::new();
        for _ in 0..3 {
            let mut slot = slots.acquire().await;
            slot.give_up_when_slow(&Activity::waiting()).await;
            slow.push(slot);
        }
        assert!(!is_free(&slots).await);
        slow.pop();
        assert!(is_free(&slots).await);
    }
}
