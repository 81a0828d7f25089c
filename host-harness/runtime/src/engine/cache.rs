//! Caches compiled components, because compiling takes longer than most
//! runs.
//!
//! The cache contains code that is executed without validation, so it is used only
//! if nobody else can write to it: a directory of mode 0700 that belongs to the
//! user of this process. Each file contains a hash of its content, and is
//! written to a temporary file and renamed, so that a truncated one is never loaded.

use std::fs;
use std::hash::{Hash, Hasher};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Once;

use tracing::{debug, warn};
use wasmtime::Engine;
use wasmtime::component::Component;

const HASH_BYTES: usize = blake3::OUT_LEN;

/// Loads the component from the cache, or compiles and caches it.
pub(super) fn load_or_compile(
    engine: &Engine,
    wasm: &[u8],
    cache_dir: Option<&Path>,
) -> wasmtime::Result<Component> {
    let Some(directory) = cache_dir else {
        return Component::new(engine, wasm);
    };
    let file = match ensure_private_dir(directory) {
        Ok(()) => directory.join(format!("{}.cwasm", key(engine, wasm))),
        Err(error) => {
            static ONCE: Once = Once::new();
            ONCE.call_once(|| {
                let directory = directory.display();
                warn!("machine code is not kept in {directory}, so starts take longer: {error}");
            });
            return Component::new(engine, wasm);
        }
    };
    if let Some(code) = read(&file) {
        match deserialize(engine, &code) {
            Ok(component) => return Ok(component),
            Err(error) => {
                debug!(file = %file.display(), %error, "cached machine code is not usable")
            }
        }
    }
    let component = Component::new(engine, wasm)?;
    let stored = component
        .serialize()
        .and_then(|code| write(directory, &file, &code).map_err(Into::into));
    if let Err(error) = stored {
        debug!(file = %file.display(), %error, "machine code is not cached");
    }
    Ok(component)
}

/// Returns the cache key: all that the machine code depends on, that is, the component, wasmtime's
/// version, the processor and the configuration.
fn key(engine: &Engine, wasm: &[u8]) -> String {
    let mut hasher = KeyHasher(blake3::Hasher::new());
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hasher.0.update(blake3::hash(wasm).as_bytes());
    hasher.0.finalize().to_hex().to_string()
}

struct KeyHasher(blake3::Hasher);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        0 // unused: the whole hash is read from the inner hasher
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }
}

/// Returns the machine code of a file if its hash is correct.
fn read(file: &Path) -> Option<Vec<u8>> {
    let mut content = fs::read(file).ok()?;
    let (hash, code) = content.split_at_checked(HASH_BYTES)?;
    if blake3::hash(code).as_bytes() != hash {
        return None;
    }
    content.drain(..HASH_BYTES);
    Some(content)
}

fn write(directory: &Path, file: &Path, code: &[u8]) -> io::Result<()> {
    let mut temp_file = tempfile::NamedTempFile::new_in(directory)?;
    temp_file.write_all(blake3::hash(code).as_bytes())?;
    temp_file.write_all(code)?;
    temp_file.persist(file)?;
    remove_others(directory, file);
    Ok(())
}

/// Removes machine code of other versions, except the newest few files. A run that was about to
/// read a removed file compiles the component instead.
fn remove_others(directory: &Path, current: &Path) {
    const OTHER_FILES_MAX: usize = 8;
    let mut files: Vec<(std::time::SystemTime, PathBuf)> = fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .filter(|(_, path)| path != current && path.extension().is_some_and(|kind| kind == "cwasm"))
        .collect();
    files.sort();
    let surplus = files.len().saturating_sub(OTHER_FILES_MAX);
    for (_, path) in files.into_iter().take(surplus) {
        // Best effort: a file that stays only uses space.
        drop(fs::remove_file(path));
    }
}

/// Creates the directory, and ensures that only this user can write to it.
#[cfg(unix)]
fn ensure_private_dir(directory: &Path) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, MetadataExt};

    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)?;
    let metadata = fs::symlink_metadata(directory)?;
    if !metadata.is_dir() || metadata.mode() & 0o077 != 0 {
        return Err(io::Error::other("the directory is not private (mode 0700)"));
    }
    let ours = tempfile::tempfile_in(directory)?.metadata()?.uid();
    if metadata.uid() != ours {
        return Err(io::Error::other("the directory belongs to another user"));
    }
    Ok(())
}

/// Always fails: on this system there is no such check, so nothing is cached.
#[cfg(not(unix))]
fn ensure_private_dir(_: &Path) -> io::Result<()> {
    Err(io::Error::other("no private directories on this system"))
}

#[expect(
    unsafe_code,
    reason = "machine code is trusted as this program is: `ensure_private_dir` checks that nobody \
              else can write there, and `read` that the file is complete"
)]
fn deserialize(engine: &Engine, code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: the bytes are the output of `Component::serialize` in a process
    // of this user; see the module documentation.
    unsafe { Component::deserialize(engine, code) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_or_changed_file_is_not_read() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a.cwasm");
        write(directory.path(), &file, b"machine code").unwrap();
        assert_eq!(read(&file).as_deref(), Some(&b"machine code"[..]));

        let whole = fs::read(&file).unwrap();
        fs::write(&file, &whole[..whole.len() - 1]).unwrap();
        assert_eq!(read(&file), None);
        fs::write(&file, b"short").unwrap();
        assert_eq!(read(&file), None);
    }

    #[cfg(unix)]
    #[test]
    fn a_directory_that_others_can_write_to_is_not_used() {
        use std::os::unix::fs::PermissionsExt;

        let directory = tempfile::tempdir().unwrap();
        let cache = directory.path().join("cache");
        ensure_private_dir(&cache).unwrap();
        assert_eq!(
            fs::metadata(&cache).unwrap().permissions().mode() & 0o777,
            0o700
        );
        fs::set_permissions(&cache, fs::Permissions::from_mode(0o770)).unwrap();
        assert!(ensure_private_dir(&cache).is_err());
    }
}
