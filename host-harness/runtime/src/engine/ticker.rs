//! The epoch ticker: a busy component is interrupted at every tick,
//! and the scheduler decides which call continues.

use std::io;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use wasmtime::Engine;

/// Short compared with any time-out, long compared with the cost of a yield.
const TICK: Duration = Duration::from_millis(10);

/// A thread that ends when this value is dropped. It is not an async task, because
/// that cannot run while every worker executes a component.
pub(super) struct Ticker {
    _stop: mpsc::Sender<()>,
}

impl Ticker {
    pub(super) fn start(engine: &Engine) -> io::Result<Self> {
        let (stop, stopped) = mpsc::channel();
        let engine = engine.weak();
        thread::Builder::new()
            .name("epoch".to_owned())
            .spawn(move || {
                while stopped.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                    match engine.upgrade() {
                        Some(engine) => engine.increment_epoch(),
                        None => break,
                    }
                }
            })?;
        Ok(Self { _stop: stop })
    }
}
