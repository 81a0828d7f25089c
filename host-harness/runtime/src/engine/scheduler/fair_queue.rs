//! Which calls execute now: start-time fair queueing of the execution time of
//! components, as a pure data structure.
//!
//! A source's CPU time is the execution time that its calls have had; in a
//! call that executes for long it counts several times. A permit goes to the
//! waiting call whose source has had the least. A source
//! that was idle keeps an advantage of at most [`IDLE_CREDIT_MAX`], however long it was
//! idle: its short call goes ahead of calls that have executed for long, and
//! it cannot save up time to hold back the others later.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What an idle source may be behind the others when it comes back: the time
/// of one or two short polls.
const IDLE_CREDIT_MAX: Duration = Duration::from_millis(50);
/// How far a running call must be ahead of one that arrives to be interrupted
/// for it. Well above what the interruption costs.
const PREEMPTION_GAIN: Duration = Duration::from_millis(1);
/// The least that a slice is charged: what it costs to switch to it. Otherwise
/// a component could interrupt the others without end by executing for a
/// moment at a time.
const SLICE_COST_MIN: Duration = Duration::from_micros(20);

/// How long a call may execute at the plain price. A poll of an honest source
/// executes for a fraction of it.
const LONG_CALL: Duration = Duration::from_secs(2);
/// How much dearer the execution is from there on: a call that does not end
/// has a quarter of the share of one that does.
const LONG_CALL_CHARGE: u64 = 4;

/// The CPU time of one source so far, in nanoseconds. Only the queue changes
/// it.
#[derive(Debug, Default)]
pub(in crate::engine) struct CpuTimeAccount(AtomicU64);

/// One call, as long as it lasts.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Ticket(u64);

/// The order in which calls wait.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Rank {
    cpu_time: u64,
    /// Of equals the one that came first.
    arrival: u64,
}

/// Calls that execute and calls that wait. `W` is what wakes a waiting one.
#[derive(Debug)]
pub(super) struct FairQueue<W> {
    permits: usize,
    running: Vec<RunningCall>,
    waiting: BTreeMap<Rank, Waiting<W>>,
    /// Where each waiting call is in the order.
    ranks: BTreeMap<Ticket, Rank>,
    /// The least CPU time among the calls that want to execute. It only grows.
    virtual_time: u64,
    counter: u64,
}

#[derive(Debug)]
struct RunningCall {
    ticket: Ticket,
    account: Arc<CpuTimeAccount>,
    since: Instant,
    is_interrupted: bool,
}

#[derive(Debug)]
struct Waiting<W> {
    ticket: Ticket,
    account: Arc<CpuTimeAccount>,
    wake: W,
}

/// What became of a call that wants to execute.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Entered {
    /// It has a permit.
    Runs,
    /// It waits. With `interrupts` the calls that run should give up their
    /// permits early, since one of them has had more than this one.
    Waits {
        /// Whether to interrupt.
        interrupts: bool,
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

    /// A call that neither executes nor waits yet.
    pub(super) fn ticket(&mut self) -> Ticket {
        Ticket(self.count())
    }

    /// A call wants to execute. Unless it waits already it gets a permit, or a
    /// place in the order.
    pub(super) fn enter(
        &mut self,
        ticket: Ticket,
        account: &Arc<CpuTimeAccount>,
        wake: W,
        now: Instant,
    ) -> Entered {
        if let Some(running) = self.running.iter_mut().find(|one| one.ticket == ticket) {
            // It was given a permit while it waited; its slice begins now.
            running.since = now;
            return Entered::Runs;
        }
        if let Some(waiting) = self
            .ranks
            .get(&ticket)
            .and_then(|rank| self.waiting.get_mut(rank))
        {
            waiting.wake = wake;
            return Entered::Waits { interrupts: false };
        }
        self.advance_virtual_time(now);
        let least = self.virtual_time.saturating_sub(nanos(IDLE_CREDIT_MAX));
        let cpu_time = account.cpu_time().max(least);
        account.set_cpu_time(cpu_time);
        if self.running.len() < self.permits {
            self.run(ticket, Arc::clone(account), now);
            return Entered::Runs;
        }
        let interrupts = self.running.iter().any(|running| {
            !running.is_interrupted
                && running.cpu_time(now) > cpu_time.saturating_add(nanos(PREEMPTION_GAIN))
        });
        if interrupts {
            // An interruption concerns all that run; those that are still
            // first in the order get their permit back.
            for running in &mut self.running {
                running.is_interrupted = true;
            }
        }
        self.wait(ticket, Arc::clone(account), wake);
        Entered::Waits { interrupts }
    }

    /// A slice has ended of a call that has executed so long. With `again` it
    /// wants to go on executing; else it has ended or waits for the host.
    /// Returns what wakes the call that has the permit now, if it is another
    /// one.
    pub(super) fn end_slice(
        &mut self,
        ticket: Ticket,
        executed: Duration,
        again: Option<W>,
        now: Instant,
    ) -> Option<W> {
        let place = self.running.iter().position(|one| one.ticket == ticket)?;
        let running = self.running.swap_remove(place);
        // The one for which it was interrupted pays for that.
        let least = if running.is_interrupted {
            Duration::ZERO
        } else {
            SLICE_COST_MIN
        };
        let slice = now.saturating_duration_since(running.since).max(least);
        let price = if executed < LONG_CALL {
            1
        } else {
            LONG_CALL_CHARGE
        };
        running.account.charge(nanos(slice).saturating_mul(price));
        if let Some(wake) = again {
            self.wait(ticket, running.account, wake);
        }
        let (next, wake) = self.run_next(now)?;
        (next != ticket).then_some(wake)
    }

    /// A call has ended, wherever it is. Returns what wakes the call that has
    /// its permit now.
    pub(super) fn leave(&mut self, ticket: Ticket, now: Instant) -> Option<W> {
        if let Some(rank) = self.ranks.remove(&ticket) {
            self.waiting.remove(&rank);
            return None;
        }
        self.end_slice(ticket, Duration::ZERO, None, now)
    }

    fn run_next(&mut self, now: Instant) -> Option<(Ticket, W)> {
        if self.running.len() >= self.permits {
            return None;
        }
        let (_, next) = self.waiting.pop_first()?;
        self.ranks.remove(&next.ticket);
        self.run(next.ticket, next.account, now);
        Some((next.ticket, next.wake))
    }

    fn run(&mut self, ticket: Ticket, account: Arc<CpuTimeAccount>, since: Instant) {
        self.running.push(RunningCall {
            ticket,
            account,
            since,
            is_interrupted: false,
        });
    }

    fn wait(&mut self, ticket: Ticket, account: Arc<CpuTimeAccount>, wake: W) {
        let rank = Rank {
            cpu_time: account.cpu_time(),
            arrival: self.count(),
        };
        self.ranks.insert(ticket, rank);
        let waiting = Waiting {
            ticket,
            account,
            wake,
        };
        self.waiting.insert(rank, waiting);
    }

    fn advance_virtual_time(&mut self, now: Instant) {
        let running = self.running.iter().map(|running| running.cpu_time(now));
        let waiting = self
            .waiting
            .first_key_value()
            .map(|(rank, _)| rank.cpu_time);
        if let Some(least) = running.chain(waiting).min() {
            self.virtual_time = self.virtual_time.max(least);
        }
    }

    fn count(&mut self) -> u64 {
        self.counter = self.counter.wrapping_add(1);
        self.counter
    }
}

impl RunningCall {
    fn cpu_time(&self, now: Instant) -> u64 {
        let slice = now.saturating_duration_since(self.since);
        self.account.cpu_time().saturating_add(nanos(slice))
    }
}

impl CpuTimeAccount {
    // Nothing needs an order between accounts: the queue has a lock.

    fn cpu_time(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn set_cpu_time(&self, cpu_time: u64) {
        self.0.store(cpu_time, Ordering::Relaxed);
    }

    fn charge(&self, ns: u64) {
        self.set_cpu_time(self.cpu_time().saturating_add(ns));
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
