//! Decides which calls run now: start-time fair queueing of component execution time,
//! as a pure data structure.
//!
//! Each source has a virtual runtime: the execution time of its calls; what a call executes beyond
//! [`LONG_CALL`] counts [`LONG_CALL_CHARGE_FACTOR`] times. A permit goes to the waiting call whose
//! source has the least. A source that was idle keeps an advantage of at most [`IDLE_CREDIT_MAX`],
//! however long it was idle: its short call runs before calls that have run for long, but it cannot
//! accumulate credit and starve the others later.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Maximum advantage of a source that was idle: the time
/// of one or two short polls.
const IDLE_CREDIT_MAX: Duration = Duration::from_millis(50);
/// How much more time a running call must have used than a new one, to be preempted
/// for it. Well above the cost of a preemption.
const PREEMPTION_THRESHOLD: Duration = Duration::from_millis(1);
/// Minimum charge for a slice: the cost of switching to it. Otherwise
/// a component could preempt the others endlessly by running for very
/// short times.
const SLICE_COST_MIN: Duration = Duration::from_micros(20);

/// How long a call may run before it is charged more. A poll of a well-behaved source
/// runs for a fraction of it.
const LONG_CALL: Duration = Duration::from_secs(2);
/// Factor by which time is charged after that: a call that does not end
/// gets a quarter of the share of one that does.
const LONG_CALL_CHARGE_FACTOR: u64 = 4;

/// The virtual runtime of one source, in nanoseconds: its charged CPU time, but never far below
/// that of the others. Only the queue changes it.
#[derive(Debug, Default)]
pub(in crate::engine) struct VirtualRuntime(AtomicU64);

/// Identifies a call while it lasts.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct CallId(u64);

/// The position of a waiting call in the order.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Rank {
    virtual_runtime: u64,
    /// Breaks ties: first come, first served.
    arrival: u64,
}

/// The running and the waiting calls. `W` wakes a waiting call.
#[derive(Debug)]
pub(super) struct FairQueue<W> {
    permits: usize,
    running: Vec<RunningCall>,
    waiting: BTreeMap<Rank, WaitingCall<W>>,
    /// The position of each waiting call in the order.
    ranks: BTreeMap<CallId, Rank>,
    /// Minimum virtual runtime among the calls that run or wait. It never decreases.
    virtual_time: u64,
    counter: u64,
}

#[derive(Debug)]
struct RunningCall {
    call: CallId,
    virtual_runtime: Arc<VirtualRuntime>,
    since: Instant,
    is_preempted: bool,
}

#[derive(Debug)]
struct WaitingCall<W> {
    call: CallId,
    virtual_runtime: Arc<VirtualRuntime>,
    wake: W,
}

/// The result of [`FairQueue::enter`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum EnterOutcome {
    /// The call has a permit.
    Runs,
    /// The call waits. With `preempts` the running calls should yield
    /// early, since one of them has used more time.
    Waits {
        /// Whether the running calls should be preempted.
        preempts: bool,
    },
}

impl<W> FairQueue<W> {
    pub(super) fn new(permits: usize) -> Self {
        Self {
            permits: permits.max(1),
            running: Vec::new(),
            waiting: BTreeMap::new(),
            ranks: BTreeMap::new(),
            virtual_time: 0,
            counter: 0,
        }
    }

    /// Registers a call that neither runs nor waits yet.
    pub(super) fn register(&mut self) -> CallId {
        CallId(self.next_number())
    }

    /// Requests a permit for a call. Unless it waits already, it gets a permit or a
    /// position in the order.
    pub(super) fn enter(
        &mut self,
        call: CallId,
        virtual_runtime: &Arc<VirtualRuntime>,
        wake: W,
        now: Instant,
    ) -> EnterOutcome {
        if let Some(running) = self.running.iter_mut().find(|one| one.call == call) {
            // It got a permit while it waited; its slice starts now.
            running.since = now;
            return EnterOutcome::Runs;
        }
        if let Some(waiting) = self
            .ranks
            .get(&call)
            .and_then(|rank| self.waiting.get_mut(rank))
        {
            waiting.wake = wake;
            return EnterOutcome::Waits { preempts: false };
        }
        self.advance_virtual_time(now);
        let least = self.virtual_time.saturating_sub(nanos(IDLE_CREDIT_MAX));
        let at_entry = virtual_runtime.get().max(least);
        virtual_runtime.set(at_entry);
        if self.running.len() < self.permits {
            self.mark_running(call, Arc::clone(virtual_runtime), now);
            return EnterOutcome::Runs;
        }
        let preempts = self.running.iter().any(|running| {
            !running.is_preempted
                && running.virtual_runtime_at(now)
                    > at_entry.saturating_add(nanos(PREEMPTION_THRESHOLD))
        });
        if preempts {
            // A preemption concerns all running calls; those that are still
            // first in the order get their permit back.
            for running in &mut self.running {
                running.is_preempted = true;
            }
        }
        self.enqueue(call, Arc::clone(virtual_runtime), wake);
        EnterOutcome::Waits { preempts }
    }

    /// Ends a slice of a call, which has executed for `executed` in all. With `requeue`, its waker, it
    /// is to continue; otherwise it has ended or waits for the host.
    /// Returns the waker of the call that gets the permit, if it is another
    /// one.
    pub(super) fn end_slice(
        &mut self,
        call: CallId,
        executed: Duration,
        requeue: Option<W>,
        now: Instant,
    ) -> Option<W> {
        let place = self.running.iter().position(|one| one.call == call)?;
        let running = self.running.swap_remove(place);
        // The call that caused the preemption pays for it.
        let least = if running.is_preempted {
            Duration::ZERO
        } else {
            SLICE_COST_MIN
        };
        let slice = now.saturating_duration_since(running.since).max(least);
        let charge_factor = if executed < LONG_CALL {
            1
        } else {
            LONG_CALL_CHARGE_FACTOR
        };
        running
            .virtual_runtime
            .charge(nanos(slice).saturating_mul(charge_factor));
        if let Some(wake) = requeue {
            self.enqueue(call, running.virtual_runtime, wake);
        }
        let (next, wake) = self.run_next(now)?;
        (next != call).then_some(wake)
    }

    /// Removes a call in any state. Returns the waker of the call that gets
    /// its permit.
    pub(super) fn leave(&mut self, call: CallId, now: Instant) -> Option<W> {
        if let Some(rank) = self.ranks.remove(&call) {
            self.waiting.remove(&rank);
            return None;
        }
        self.end_slice(call, Duration::ZERO, None, now)
    }

    fn run_next(&mut self, now: Instant) -> Option<(CallId, W)> {
        if self.running.len() >= self.permits {
            return None;
        }
        let (_, next) = self.waiting.pop_first()?;
        self.ranks.remove(&next.call);
        self.mark_running(next.call, next.virtual_runtime, now);
        Some((next.call, next.wake))
    }

    fn mark_running(&mut self, call: CallId, virtual_runtime: Arc<VirtualRuntime>, since: Instant) {
        self.running.push(RunningCall {
            call,
            virtual_runtime,
            since,
            is_preempted: false,
        });
    }

    fn enqueue(&mut self, call: CallId, virtual_runtime: Arc<VirtualRuntime>, wake: W) {
        let rank = Rank {
            virtual_runtime: virtual_runtime.get(),
            arrival: self.next_number(),
        };
        self.ranks.insert(call, rank);
        let waiting = WaitingCall {
            call,
            virtual_runtime,
            wake,
        };
        self.waiting.insert(rank, waiting);
    }

    fn advance_virtual_time(&mut self, now: Instant) {
        let running = self
            .running
            .iter()
            .map(|running| running.virtual_runtime_at(now));
        let waiting = self
            .waiting
            .first_key_value()
            .map(|(rank, _)| rank.virtual_runtime);
        if let Some(least) = running.chain(waiting).min() {
            self.virtual_time = self.virtual_time.max(least);
        }
    }

    fn next_number(&mut self) -> u64 {
        self.counter = self.counter.wrapping_add(1);
        self.counter
    }
}

impl RunningCall {
    fn virtual_runtime_at(&self, now: Instant) -> u64 {
        let slice = now.saturating_duration_since(self.since);
        self.virtual_runtime.get().saturating_add(nanos(slice))
    }
}

impl VirtualRuntime {
    // `Relaxed` suffices: the queue is behind a lock.

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn set(&self, nanos: u64) {
        self.0.store(nanos, Ordering::Relaxed);
    }

    fn charge(&self, ns: u64) {
        self.set(self.get().saturating_add(ns));
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
