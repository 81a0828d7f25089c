//! The machine code of the built-in component, which the tests share: compiling it takes a program
//! of the development profile longer than most tests.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    dead_code,
    clippy::allow_attributes,
    reason = "each test uses what it needs"
)]

use std::fs::{self, DirBuilder};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use tempfile::TempDir;

const HOST: &str = env!("CARGO_BIN_EXE_source-host");

/// Returns the value of `XDG_CACHE_HOME` with which commands find the machine code, or store it.
pub(crate) fn cache_home() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("machine-code")
}

/// Returns the directory that the program caches machine code in below [`cache_home`].
pub(crate) fn cache_dir() -> PathBuf {
    cache_home().join("source-host")
}

/// Has the component compiled at the first call of a process, which blocks for as long as that takes, and
/// links its machine code into the cache of a state directory, which it creates. That of another build is never
/// used: its name is a hash.
pub(crate) fn hard_link_machine_code(cache: &Path) {
    static COMPILED: OnceLock<()> = OnceLock::new();
    COMPILED.get_or_init(compile);
    // The host takes machine code only from where nobody else can write.
    let mut directory = DirBuilder::new();
    directory.recursive(true).mode(0o700).create(cache).unwrap();
    for entry in fs::read_dir(cache_dir()).unwrap() {
        let entry = entry.unwrap();
        match fs::hard_link(entry.path(), cache.join(entry.file_name())) {
            Ok(()) => {}
            // `NotFound`: another test program has removed what is too old.
            Err(error)
                if matches!(error.kind(), ErrorKind::AlreadyExists | ErrorKind::NotFound) => {}
            Err(error) => panic!("{}: {error}", cache.display()),
        }
    }
}

/// Has the program compile the component, if it has not yet.
fn compile() {
    let folder = TempDir::new().unwrap();
    let settings = folder.path().join("host.toml");
    let text = "state_dir = \"none\"\n[[source]]\nname = \"a\"\n[source.settings]\n\
                client_id = \"a\"\nclient_secret = \"a\"\n[[output]]\ntype = \"stdout\"\n";
    fs::write(&settings, text).unwrap();
    let validated = Command::new(HOST)
        .arg("validate")
        .arg(settings)
        .env("XDG_CACHE_HOME", cache_home())
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&validated.stderr);
    assert!(validated.status.success(), "{errors}");
}
