//! Which sources an operator has paused, kept in the state directory so that a restart does not
//! resume them.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use source_common::disk;
use source_common::exit::Failure;
use tracing::warn;

use crate::settings::PAUSED_FILE;

/// The names of paused sources.
#[derive(Debug)]
pub(super) struct Pauses {
    path: PathBuf,
    names: Mutex<BTreeSet<String>>,
}

/// Returns the names of the paused sources of a state directory.
pub(crate) fn paused_sources(state_dir: &Path) -> Result<BTreeSet<String>, Failure> {
    Ok(Pauses::read(state_dir)?.lock().clone())
}

impl Pauses {
    /// Reads the names that are stored in the state directory.
    pub(super) fn read(state_dir: &Path) -> Result<Self, Failure> {
        let path = state_dir.join(PAUSED_FILE);
        let unusable = |reason: &dyn std::fmt::Display| {
            Failure::failed(format!(
                "{}: the list of paused sources cannot be read: {reason}; repair the file, or remove \
                 it to resume all of them",
                path.display()
            ))
        };
        let names = match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).map_err(|error| unusable(&error))?,
            Err(error) if error.kind() == ErrorKind::NotFound => BTreeSet::new(),
            Err(error) => return Err(unusable(&error)),
        };
        let names = Mutex::new(names);
        Ok(Self { path, names })
    }

    pub(super) fn contains(&self, source: &str) -> bool {
        self.lock().contains(source)
    }

    /// Moves the pause of a source to its new name.
    pub(super) fn rename(&self, from: &str, to: &str) {
        if self.contains(from) {
            let moved = self.change(|names| {
                names.remove(from);
                names.insert(to.to_owned());
            });
            if let Err(error) = moved {
                let path = self.path.display();
                warn!(source = %to, "its pause was not stored in {path}: {error}");
                // The pause applies to this run at least.
                self.lock().insert(to.to_owned());
            }
        }
    }

    /// Stores whether a source is paused. It is on the disk when this returns.
    pub(super) fn set(&self, source: &str, is_paused: bool) -> io::Result<()> {
        self.change(|names| {
            if is_paused {
                names.insert(source.to_owned());
            } else {
                names.remove(source);
            }
        })
    }

    /// Forgets the pauses of all other sources.
    pub(super) fn retain(&self, sources: &BTreeSet<String>) -> io::Result<()> {
        self.change(|names| names.retain(|name| sources.contains(name)))
    }

    fn change(&self, change: impl FnOnce(&mut BTreeSet<String>)) -> io::Result<()> {
        let mut names = self.lock();
        let mut changed = names.clone();
        change(&mut changed);
        if changed != *names {
            let text = serde_json::to_vec_pretty(&changed)?;
            disk::replace(&self.path, ".paused-", &text)?;
            *names = changed;
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_kept_until_it_is_taken_back() {
        let directory = tempfile::tempdir().unwrap();
        let pauses = Pauses::read(directory.path()).unwrap();
        pauses.set("acme", true).unwrap();
        pauses.set("other", true).unwrap();
        pauses.set("other", false).unwrap();
        pauses.set("unknown", false).unwrap();
        let again = Pauses::read(directory.path()).unwrap();
        assert!(again.contains("acme") && !again.contains("other"));
    }

    #[test]
    fn a_damaged_file_is_an_error_and_resumes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(PAUSED_FILE);
        fs::write(&path, "[\"acme\"").unwrap();
        let failure = Pauses::read(directory.path()).unwrap_err();
        assert!(failure.message.contains("remove it to resume"), "{failure}");
    }

    #[test]
    fn a_pause_that_cannot_be_stored_does_not_hold() {
        let directory = tempfile::tempdir().unwrap();
        let pauses = Pauses::read(&directory.path().join("none")).unwrap();
        assert!(pauses.set("acme", true).is_err());
        assert!(!pauses.contains("acme"));
    }
}
