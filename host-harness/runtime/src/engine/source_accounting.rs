//! What all instances of one source share, so that a new instance does not reset it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::scheduler::VirtualRuntime;
use crate::rate_limit::{LogRateLimiter, Rate};

/// Rate limit of standard error: enough for a panic message with context, and for debugging by
/// standard error; a flood is limited to 40 KiB/s.
const STDERR_RATE: Rate = Rate {
    lines_per_second: 20,
    bytes_per_second: 40 * 1024,
    burst: Duration::from_secs(5),
};

/// The charged CPU time of one source, and the rate limit of its standard error; shared by its instances.
#[derive(Clone, Debug)]
pub struct SourceAccounting {
    pub(super) virtual_runtime: Arc<VirtualRuntime>,
    stderr_limiter: Arc<Mutex<LogRateLimiter>>,
}

impl Default for SourceAccounting {
    fn default() -> Self {
        Self {
            virtual_runtime: Arc::default(),
            stderr_limiter: Arc::new(Mutex::new(LogRateLimiter::new(STDERR_RATE))),
        }
    }
}

impl SourceAccounting {
    pub(super) fn stderr_limiter(&self) -> MutexGuard<'_, LogRateLimiter> {
        self.stderr_limiter
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
