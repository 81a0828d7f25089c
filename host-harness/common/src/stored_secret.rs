//! A secret that a long-running program reads again when its file changes.

use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use tracing::warn;

use crate::indirect::{ValueReference, resolve_reference};
use crate::secret::Secret;

/// A secret of the settings file. One that is kept in a file of its own can be replaced there
/// while the program runs.
#[derive(Debug)]
pub struct StoredSecret {
    file: Option<SecretFile>,
    last: Mutex<Version>,
}

#[derive(Debug)]
struct SecretFile {
    settings_file: PathBuf,
    reference: ValueReference,
    path: PathBuf,
}

#[derive(Clone, Debug)]
struct Version {
    stamp: Stamp,
    secret: Secret,
}

/// When a file was last changed, and its length.
type Stamp = Option<(SystemTime, u64)>;

impl StoredSecret {
    /// One that never changes.
    #[must_use]
    pub fn fixed(secret: Secret) -> Self {
        let stamp = None;
        Self {
            file: None,
            last: Mutex::new(Version { stamp, secret }),
        }
    }

    /// One that may be in a file. `secret` is its present value.
    #[must_use]
    pub(crate) fn new(
        secret: Secret,
        reference: Option<ValueReference>,
        settings_file: PathBuf,
    ) -> Self {
        let file = match reference {
            Some(ValueReference::File(name)) => {
                let directory = settings_file.parent();
                Some(SecretFile {
                    path: directory.map_or_else(|| PathBuf::from(&name), |it| it.join(&name)),
                    reference: ValueReference::File(name),
                    settings_file,
                })
            }
            Some(ValueReference::Env(_)) | None => None,
        };
        let stamp = file.as_ref().and_then(SecretFile::stamp);
        Self {
            file,
            last: Mutex::new(Version { stamp, secret }),
        }
    }

    /// Its present value. The last one, where its file cannot be read.
    #[must_use]
    pub fn current(&self) -> Secret {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = &self.file {
            let stamp = file.stamp();
            if stamp != last.stamp {
                last.stamp = stamp;
                match resolve_reference(&file.reference, &file.settings_file, &|_| None) {
                    Ok(text) => last.secret = Secret::new(text),
                    Err(reason) => warn!("a changed secret {reason}; the last one stays valid"),
                }
            }
        }
        last.secret.clone()
    }
}

impl SecretFile {
    fn stamp(&self) -> Stamp {
        let metadata = fs::metadata(&self.path).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn in_file(settings: &Path, name: &str, now: &str) -> StoredSecret {
        let reference = ValueReference::File(name.to_owned());
        let secret = Secret::new(now.to_owned());
        StoredSecret::new(secret, Some(reference), settings.to_owned())
    }

    #[test]
    fn a_secret_is_read_again_when_its_file_changes_and_kept_when_it_is_missing() {
        let directory = tempfile::tempdir().unwrap();
        let settings = directory.path().join("host.toml");
        let path = directory.path().join("token");
        fs::write(&path, "first\n").unwrap();
        let secret = in_file(&settings, "token", "first");
        assert_eq!(secret.current().expose(), "first");
        fs::write(&path, "the second\n").unwrap();
        assert_eq!(secret.current().expose(), "the second");
        fs::remove_file(&path).unwrap();
        assert_eq!(secret.current().expose(), "the second");
        fs::write(&path, "third").unwrap();
        assert_eq!(secret.current().expose(), "third");
    }

    #[test]
    fn a_secret_of_the_environment_stays() {
        let reference = ValueReference::Env("TOKEN".to_owned());
        let secret = Secret::new("first".to_owned());
        let secret = StoredSecret::new(secret, Some(reference), PathBuf::from("host.toml"));
        assert_eq!(secret.current().expose(), "first");
    }
}
