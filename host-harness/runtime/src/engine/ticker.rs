//! The epoch ticker: a busy component is interrupted at every tick,
//! and the scheduler decides which call continues.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use wasmtime::Engine;

/// Length of an epoch: short compared with any time-out, long compared with the cost of a yield.
const TICK: Duration = Duration::from_millis(10);

/// A thread that ends when this value is dropped. It is not an async task, because
/// that cannot run while every worker executes a component.
pub(super) struct Ticker {
    stopped: Arc<AtomicBool>,
    thread: Thread,
}

/// The slices that are executing. The ticker sleeps while there are none: a host with a thousand
/// idle sources executes components for a few milliseconds per second.
#[derive(Debug, Default)]
pub(super) struct ExecutingTimeSlices {
    count: AtomicUsize,
    /// Whether the ticker waits for a slice: a wake-up while it waits for the end of a tick would cost
    /// two switches of threads for nothing.
    is_awaited: AtomicBool,
    ticker: OnceLock<Thread>,
}

/// A slice that is executed until this value is dropped.
pub(super) struct ExecutingTimeSlice<'a>(&'a ExecutingTimeSlices);

impl ExecutingTimeSlices {
    /// Counts a slice, and wakes the ticker if it waits for one.
    pub(super) fn begin(&self) -> ExecutingTimeSlice<'_> {
        if self.count.fetch_add(1, Ordering::SeqCst) == 0
            && self.is_awaited.swap(false, Ordering::SeqCst)
            && let Some(ticker) = self.ticker.get()
        {
            ticker.unpark();
        }
        ExecutingTimeSlice(self)
    }

    fn is_empty(&self) -> bool {
        self.count.load(Ordering::SeqCst) == 0
    }

    /// Parks the ticker's thread while there is no slice and it is not stopped.
    fn wait_until_nonempty(&self, is_stopped: &AtomicBool) {
        loop {
            // Before the count is read: a slice that begins after that wakes this thread.
            self.is_awaited.store(true, Ordering::SeqCst);
            if !self.is_empty() || is_stopped.load(Ordering::SeqCst) {
                self.is_awaited.store(false, Ordering::SeqCst);
                return;
            }
            thread::park();
        }
    }
}

impl Drop for ExecutingTimeSlice<'_> {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Ticker {
    pub(super) fn start(engine: &Engine, slices: &Arc<ExecutingTimeSlices>) -> io::Result<Self> {
        let stopped = Arc::new(AtomicBool::new(false));
        let is_stopped = Arc::clone(&stopped);
        let executing = Arc::clone(slices);
        let engine = engine.weak();
        let handle = thread::Builder::new()
            .name("epoch".to_owned())
            .spawn(move || {
                loop {
                    executing.wait_until_nonempty(&is_stopped);
                    park_for(TICK);
                    if is_stopped.load(Ordering::SeqCst) {
                        return;
                    }
                    match engine.upgrade() {
                        Some(engine) => engine.increment_epoch(),
                        None => return,
                    }
                }
            })?;
        let thread = handle.thread().clone();
        // Set once, since each engine has one ticker.
        slices.ticker.get_or_init(|| thread.clone());
        // A slice may have begun before.
        thread.unpark();
        Ok(Self { stopped, thread })
    }
}

/// Parks the thread for a time. An earlier wake-up does not end the wait.
fn park_for(time: Duration) {
    let started_at = Instant::now();
    loop {
        let left = time.saturating_sub(started_at.elapsed());
        if left.is_zero() {
            return;
        }
        thread::park_timeout(left);
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        self.thread.unpark();
    }
}

#[cfg(test)]
mod tests {
    use wasmtime::{Config, Module, Store};

    use super::*;

    /// Two functions, in binary:
    ///
    /// ```wat
    /// (module
    ///   (func (export "endless") (loop (br 0)))
    ///   (func (export "long") (local i32)
    ///     (loop (br_if 0 (i32.lt_u
    ///       (local.tee 0 (i32.add (local.get 0) (i32.const 1)))
    ///       (i32.const 200000000))))))
    /// ```
    #[rustfmt::skip]
    const MODULE: &[u8] = &[
        0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00, 0x01, 0x04, 0x01, 0x60, 0x00, 0x00, 0x03, 0x03,
        0x02, 0x00, 0x00, 0x07, 0x12, 0x02, 0x07, 0x65, 0x6e, 0x64, 0x6c, 0x65, 0x73, 0x73, 0x00, 0x00,
        0x04, 0x6c, 0x6f, 0x6e, 0x67, 0x00, 0x01, 0x0a, 0x21, 0x02, 0x07, 0x00, 0x03, 0x40, 0x0c, 0x00,
        0x0b, 0x0b, 0x17, 0x01, 0x01, 0x7f, 0x03, 0x40, 0x20, 0x00, 0x41, 0x01, 0x6a, 0x22, 0x00, 0x41,
        0x80, 0x84, 0xaf, 0xdf, 0x00, 0x49, 0x0d, 0x00, 0x0b, 0x0b,
    ];

    /// Calls a function. Fails if `epochs` epochs begin meanwhile.
    fn call(engine: &Engine, name: &str, epochs: u64) -> wasmtime::Result<()> {
        let module = Module::new(engine, MODULE)?;
        let mut store = Store::new(engine, ());
        store.set_epoch_deadline(epochs);
        let instance = wasmtime::Instance::new(&mut store, &module, &[])?;
        let run = instance.get_typed_func::<(), ()>(&mut store, name)?;
        run.call(&mut store, ())
    }

    #[test]
    fn epochs_interrupt_an_endless_slice_and_do_not_advance_without_one() {
        let engine = Engine::new(Config::new().epoch_interruption(true)).unwrap();
        let slices = Arc::new(ExecutingTimeSlices::default());
        let ticker = Ticker::start(&engine, &slices).unwrap();
        for _ in 0..3 {
            let slice = slices.begin();
            call(&engine, "endless", 1).unwrap_err();
            drop(slice);
        }
        // It takes many ticks. The one that was under way when the last slice ended may come.
        call(&engine, "long", 3).unwrap();
        // The thread ends with its ticker, also while it sleeps.
        let stopped = Arc::clone(&ticker.stopped);
        drop(ticker);
        while Arc::strong_count(&stopped) > 1 {
            thread::yield_now();
        }
    }
}
