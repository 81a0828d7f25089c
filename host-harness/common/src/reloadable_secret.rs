//! A secret that a long-running program reads again when its file changes.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use tracing::warn;

use crate::disk::FileVersion;
use crate::secret::Secret;
use crate::value_reference::{ValueReference, resolve_reference};

/// A secret of the settings file. One that is stored in a separate file can be rotated while the
/// program runs.
#[derive(Debug)]
pub struct ReloadableSecret {
    file: Option<SecretFile>,
    last: Mutex<(Option<FileVersion>, Secret)>,
}

#[derive(Debug)]
struct SecretFile {
    settings_file: PathBuf,
    reference: ValueReference,
    path: PathBuf,
}

impl ReloadableSecret {
    /// Creates a secret that never changes.
    #[must_use]
    pub fn fixed(secret: Secret) -> Self {
        Self {
            file: None,
            last: Mutex::new((None, secret)),
        }
    }

    /// Creates a secret that may be stored in a file, with the value that `read` returns.
    pub(crate) fn read<E>(
        reference: Option<ValueReference>,
        settings_file: &Path,
        read: impl FnOnce() -> Result<Secret, E>,
    ) -> Result<Self, E> {
        let file = match reference {
            Some(ValueReference::File(name)) => {
                let directory = settings_file.parent();
                Some(SecretFile {
                    path: directory.map_or_else(|| PathBuf::from(&name), |it| it.join(&name)),
                    reference: ValueReference::File(name),
                    settings_file: settings_file.to_owned(),
                })
            }
            Some(ValueReference::Env(_)) | None => None,
        };
        // First: a file that is replaced while it is read has another version after that.
        let version = file.as_ref().map(|file| FileVersion::of(&file.path));
        let secret = read()?;
        Ok(Self {
            file,
            last: Mutex::new((version, secret)),
        })
    }

    /// Returns the current value, or the last one where the file cannot be read.
    #[must_use]
    pub fn current(&self) -> Secret {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let (version, secret) = &mut *last;
        if let Some(file) = &self.file {
            let new_version = Some(FileVersion::of(&file.path));
            if new_version != *version {
                *version = new_version;
                match resolve_reference(&file.reference, &file.settings_file, &|_| None) {
                    Ok(text) => *secret = Secret::new(text),
                    Err(reason) => {
                        warn!("a changed secret {reason}; the previous one stays in use")
                    }
                }
            }
        }
        secret.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;
    use std::fs;

    fn read_secret(
        reference: ValueReference,
        settings: &Path,
        read: impl FnOnce() -> String,
    ) -> ReloadableSecret {
        let read = || Ok::<_, Infallible>(Secret::new(read()));
        ReloadableSecret::read(Some(reference), settings, read).unwrap()
    }

    fn in_file(settings: &Path, name: &str, value: &str) -> ReloadableSecret {
        let reference = ValueReference::File(name.to_owned());
        read_secret(reference, settings, || value.to_owned())
    }

    #[test]
    fn a_file_that_is_replaced_while_it_is_read_is_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        fs::write(&path, "first").unwrap();
        let reference = ValueReference::File("token".to_owned());
        let secret = read_secret(reference, &directory.path().join("host.toml"), || {
            let text = fs::read_to_string(&path).unwrap();
            fs::write(&path, "the second").unwrap();
            text
        });
        assert_eq!(secret.current().expose(), "the second");
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
        let secret = read_secret(reference, Path::new("host.toml"), || "first".to_owned());
        assert_eq!(secret.current().expose(), "first");
    }
}
