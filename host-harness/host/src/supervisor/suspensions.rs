//! The sources that must not run, since what is stored of them is read and written.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::Mutex;

/// The sources that are suspended, by name. They need not be there: one that is added meanwhile must
/// not run either.
#[derive(Default)]
pub(super) struct Suspensions {
    by_name: BTreeMap<String, Suspension>,
}

/// Why one source is suspended: commands that work on what is stored of it, one at a time.
#[derive(Default)]
struct Suspension {
    /// How many work on it, or wait for their turn.
    count: usize,
    /// Is locked by the one whose turn it is.
    turn: Arc<Mutex<()>>,
}

impl Suspensions {
    /// Returns whether a source must not run.
    pub(super) fn contains(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// Adds one who suspends a source. Returns what to lock before anything of it is read or written.
    pub(super) fn add(&mut self, name: &str) -> Arc<Mutex<()>> {
        let suspension = self.by_name.entry(name.to_owned()).or_default();
        suspension.count = suspension.count.saturating_add(1);
        Arc::clone(&suspension.turn)
    }

    /// Removes one who suspended a source, or waited for it.
    pub(super) fn remove(&mut self, name: &str) {
        if let Some(suspension) = self.by_name.get_mut(name) {
            suspension.count = suspension.count.saturating_sub(1);
            if suspension.count == 0 {
                self.by_name.remove(name);
            }
        }
    }
}
