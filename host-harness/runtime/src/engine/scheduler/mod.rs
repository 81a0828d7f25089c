//! Schedules the calls of all sources' components on the processors.
//!
//! A call runs component code only with a permit, for a slice at a time: until
//! it waits for the host, ends, or an epoch interrupts it. There are as many
//! permits as processors and fewer than worker threads, so that the tasks of
//! the host (requests, delivery, the store) always have a worker of their own.
//! [`fair_queue`] decides who gets a permit.

mod fair_queue;

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use wasmtime::EngineWeak;

pub(super) use self::fair_queue::VirtualRuntime;
use self::fair_queue::{CallId, EnterOutcome, FairQueue};
use super::ticker::ExecutingTimeSlices;

/// Number of worker threads that no component occupies.
const HOST_WORKERS: usize = 2;

/// Returns the number of worker threads that a runtime for components should have.
#[must_use]
pub fn worker_threads() -> usize {
    processors().saturating_add(HOST_WORKERS)
}

/// Returns how many processors this process may use.
pub(crate) fn processors() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Returns the number of permits: one per processor, fewer than the workers, and at least one.
fn permits() -> usize {
    let workers = Handle::try_current().map_or(usize::MAX, |handle| handle.metrics().num_workers());
    processors().min(workers.saturating_sub(1)).max(1)
}

/// What the call of an instance is doing.
#[derive(Debug, Default)]
pub(super) struct CallState {
    interrupted: AtomicBool,
    waits_for_host: AtomicBool,
}

impl CallState {
    /// Records that an epoch makes the call yield.
    pub(super) fn note_interrupted(&self) {
        self.interrupted.store(true, Ordering::Relaxed);
    }

    #[cfg(test)]
    pub(super) fn set_waits_for_host(&self) {
        self.waits_for_host.store(true, Ordering::Relaxed);
    }

    /// Returns whether the call waits for the host, such as for a response of its upstream, and not for
    /// a permit.
    pub(super) fn waits_for_host(&self) -> bool {
        self.waits_for_host.load(Ordering::Relaxed)
    }
}

/// The permits of one engine.
pub(super) struct Scheduler {
    queue: Mutex<FairQueue<Waker>>,
    engine: EngineWeak,
    executing: Arc<ExecutingTimeSlices>,
}

impl Scheduler {
    pub(super) fn new(engine: EngineWeak, executing: Arc<ExecutingTimeSlices>) -> Self {
        Self::with_permits(permits(), engine, executing)
    }

    fn with_permits(
        permits: usize,
        engine: EngineWeak,
        executing: Arc<ExecutingTimeSlices>,
    ) -> Self {
        Self {
            queue: Mutex::new(FairQueue::new(permits)),
            engine,
            executing,
        }
    }

    /// Runs a call within `limit`. The time that it waits for a permit does
    /// not count, since other components cause it. Returns `None` if
    /// it took too long.
    ///
    /// The epoch callback of the store sets `interrupted` in `state` whenever it makes the
    /// call yield.
    pub(super) async fn run<T>(
        &self,
        virtual_runtime: &Arc<VirtualRuntime>,
        state: &CallState,
        limit: Duration,
        call: impl Future<Output = T>,
    ) -> Option<T> {
        let mut call = pin!(call);
        let mut scheduled = ScheduledCall {
            scheduler: self,
            virtual_runtime,
            state,
            call: self.queue().register(),
            executed: Duration::ZERO,
            waits_for_permit_since: None,
            waited_for_permit: Duration::ZERO,
        };
        let started_at = Instant::now();
        let mut deadline = pin!(tokio::time::sleep(limit));
        let mut result = None;
        std::future::poll_fn(|cx| {
            if result.is_some() {
                return Poll::Ready(result.take());
            }
            let slice = scheduled.poll(cx, |cx| call.as_mut().poll(cx));
            if let Poll::Ready(value) = slice.result {
                if slice.woke_another {
                    // The other call is polled next on this thread. It does not wait
                    // until this call's result is verified and delivered.
                    result = Some(value);
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                return Poll::Ready(Some(value));
            }
            while deadline.as_mut().poll(cx).is_ready() {
                let left = scheduled
                    .waited_for_permit()
                    .saturating_add(limit)
                    .saturating_sub(started_at.elapsed());
                if left.is_zero() {
                    return Poll::Ready(None);
                }
                let until = tokio::time::Instant::now().checked_add(left);
                match until {
                    Some(until) => deadline.as_mut().reset(until),
                    None => break,
                }
            }
            Poll::Pending
        })
        .await
    }

    fn queue(&self) -> MutexGuard<'_, FairQueue<Waker>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A registered call. Dropping it passes its permit to the next call.
struct ScheduledCall<'a> {
    scheduler: &'a Scheduler,
    virtual_runtime: &'a Arc<VirtualRuntime>,
    state: &'a CallState,
    call: CallId,
    /// How long the call has executed.
    executed: Duration,
    waits_for_permit_since: Option<Instant>,
    waited_for_permit: Duration,
}

/// The result of polling a call for one slice.
struct SliceOutcome<T> {
    result: Poll<T>,
    woke_another: bool,
}

impl ScheduledCall<'_> {
    fn poll<T>(
        &mut self,
        cx: &mut Context<'_>,
        call: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> SliceOutcome<T> {
        let now = Instant::now();
        self.state.waits_for_host.store(false, Ordering::Relaxed);
        let entered = {
            let mut queue = self.scheduler.queue();
            queue.enter(self.call, self.virtual_runtime, cx.waker().clone(), now)
        };
        if let EnterOutcome::Waits { preempts } = entered {
            self.waits_for_permit_since.get_or_insert(now);
            if preempts && let Some(engine) = self.scheduler.engine.upgrade() {
                engine.increment_epoch();
            }
            return SliceOutcome {
                result: Poll::Pending,
                woke_another: false,
            };
        }
        if let Some(since) = self.waits_for_permit_since.take() {
            self.waited_for_permit = self.waited_for_permit.saturating_add(now - since);
        }
        self.state.interrupted.store(false, Ordering::Relaxed);
        let executing = self.scheduler.executing.begin();
        let result = call(cx);
        drop(executing);
        let was_interrupted = self.state.interrupted.load(Ordering::Relaxed);
        let requeue = (result.is_pending() && was_interrupted).then(|| cx.waker().clone());
        let waits_for_host = result.is_pending() && !was_interrupted;
        let state = self.state;
        state
            .waits_for_host
            .store(waits_for_host, Ordering::Relaxed);
        let end = Instant::now();
        self.executed = self.executed.saturating_add(end - now);
        let next = {
            let mut queue = self.scheduler.queue();
            queue.end_slice(self.call, self.executed, requeue, end)
        };
        let woke_another = next.is_some();
        if let Some(next) = next {
            next.wake();
        }
        SliceOutcome {
            result,
            woke_another,
        }
    }

    fn waited_for_permit(&self) -> Duration {
        let waits = self
            .waits_for_permit_since
            .map_or(Duration::ZERO, |since| since.elapsed());
        self.waited_for_permit.saturating_add(waits)
    }
}

impl Drop for ScheduledCall<'_> {
    fn drop(&mut self) {
        let next = {
            let mut queue = self.scheduler.queue();
            queue.leave(self.call, Instant::now())
        };
        if let Some(next) = next {
            next.wake();
        }
    }
}

#[cfg(test)]
mod tests;
