//! What all instances of one source use together, so that a fresh instance
//! does not begin with fresh allowances.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::scheduler::CpuTimeAccount;
use crate::rate_limit::{LogRateLimiter, Rate};

/// A panic message with its context is a few lines; debugging by standard
/// error is possible; a flood is 40 KiB a second.
const STDERR_RATE: Rate = Rate {
    lines_per_second: 20,
    bytes_per_second: 40 * 1024,
    burst: Duration::from_secs(5),
};

/// The allowances of one source. Clones are the same allowances.
#[derive(Clone, Debug)]
pub struct SourceBudget {
    pub(super) cpu: Arc<CpuTimeAccount>,
    stderr: Arc<Mutex<LogRateLimiter>>,
}

impl Default for SourceBudget {
    fn default() -> Self {
        Self {
            cpu: Arc::default(),
            stderr: Arc::new(Mutex::new(LogRateLimiter::new(STDERR_RATE))),
        }
    }
}

impl SourceBudget {
    pub(super) fn stderr(&self) -> MutexGuard<'_, LogRateLimiter> {
        self.stderr.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
