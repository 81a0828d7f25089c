//! The commands, one module each.

pub mod check;
pub mod describe;
pub mod export;
pub mod fields;
pub mod fleet;
pub mod migrate;
pub mod normalize;
pub mod reset;
pub mod run;
pub mod status;
mod table;
pub mod validate;

use std::io::{self, Write};
use std::path::PathBuf;

use serde::Serialize;
use source_common::exit::Failure;
use source_runtime::store;

pub(crate) use self::table::{Table, terminal_size, terminal_width};
use crate::settings::{CACHE_DIR, Settings};

/// Returns the directory for compiled components: that in the state directory if a run of this user has
/// created it, otherwise the user's ([`user_cache_dir`]). Read-only commands must not create the state
/// directory, nor files in it that the user of the host cannot read.
pub(crate) fn cache_dir(settings: &Settings) -> Option<PathBuf> {
    let state_dir = &settings.state_dir;
    if state_dir.is_dir() && store::check_same_user(state_dir).is_ok() {
        Some(state_dir.join(CACHE_DIR))
    } else {
        user_cache_dir()
    }
}

/// Returns the user's directory for compiled components: `$XDG_CACHE_HOME/source-host`
/// or `~/.cache/source-host`.
pub(crate) fn user_cache_dir() -> Option<PathBuf> {
    let absolute = |path: &PathBuf| path.is_absolute();
    let xdg = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || Some(std::env::home_dir()?.join(".cache"));
    let base = xdg.filter(absolute).or_else(home).filter(absolute)?;
    Some(base.join("source-host"))
}

/// Writes a value to standard output as an indented JSON document.
pub(crate) fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let json = serde_json::to_string_pretty(value)
        .map_err(|error| Failure::failed(format!("the result as JSON: {error}")))?;
    print(&(json + "\n"))
}

/// Writes to standard output with a single write.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
        .map_err(|error| Failure::failed(format!("stdout: {error}")))
}
