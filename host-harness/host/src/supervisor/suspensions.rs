//! The sources that must not run because an operation (a reset through the API, or the takeover of a
//! checkpoint) reads and writes what is stored of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::Mutex;

/// The suspended sources, by name. A source need not exist: one that is added meanwhile must not
/// run either.
#[derive(Default)]
pub(super) struct Suspensions {
    by_name: BTreeMap<String, Suspension>,
}

/// The suspension of one source by operations that use what is stored of it, one at a time.
#[derive(Default)]
struct Suspension {
    /// How many operations use it, or wait to do so.
    count: usize,
    /// Locked by the operation that uses it.
    access: Arc<Mutex<()>>,
}

impl Suspensions {
    /// Returns whether a source must not run.
    pub(super) fn contains(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// Adds a suspension of a source. Returns the mutex to lock before anything stored of it is
    /// read or written.
    pub(super) fn add(&mut self, name: &str) -> Arc<Mutex<()>> {
        let suspension = self.by_name.entry(name.to_owned()).or_default();
        suspension.count = suspension.count.saturating_add(1);
        Arc::clone(&suspension.access)
    }

    /// Removes a suspension of a source, also one that still waited for access.
    pub(super) fn remove(&mut self, name: &str) {
        if let Some(suspension) = self.by_name.get_mut(name) {
            suspension.count = suspension.count.saturating_sub(1);
            if suspension.count == 0 {
                self.by_name.remove(name);
            }
        }
    }
}
