//! Which sources must not run, since what is stored of them is read and written.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::Mutex;

/// The sources that are held, by name. They need not be there: one that is added meanwhile must not
/// run either.
#[derive(Default)]
pub(super) struct Holds {
    by_name: BTreeMap<String, Hold>,
}

/// Those who hold one source, or wait for their turn.
#[derive(Default)]
struct Hold {
    count: usize,
    /// Is locked by the one whose turn it is.
    turn: Arc<Mutex<()>>,
}

impl Holds {
    /// Returns whether a source must not run.
    pub(super) fn contains(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// Adds one who holds a source. Returns what to lock before anything of it is read or written.
    pub(super) fn add(&mut self, name: &str) -> Arc<Mutex<()>> {
        let hold = self.by_name.entry(name.to_owned()).or_default();
        hold.count = hold.count.saturating_add(1);
        Arc::clone(&hold.turn)
    }

    /// Removes one who held a source, or waited for it.
    pub(super) fn remove(&mut self, name: &str) {
        if let Some(hold) = self.by_name.get_mut(name) {
            hold.count = hold.count.saturating_sub(1);
            if hold.count == 0 {
                self.by_name.remove(name);
            }
        }
    }
}
