//! `component`, `completions` and `man`: files that belong to an installation.

use std::fs;
use std::path::Path;

use clap_complete::Shell;
use source_common::exit::{Exit, Failure};

use super::print;
use crate::source::BUILT_IN_COMPONENT;

const PROGRAM: &str = "source-host";

/// Writes the built-in component to a file, for another host.
pub fn component(output: &Path) -> Result<Exit, Failure> {
    let failed = |error| Failure::failed(format!("{}: {error}", output.display()));
    fs::write(output, BUILT_IN_COMPONENT).map_err(failed)?;
    Ok(Exit::Done)
}

/// Prints the completions of a shell.
pub fn completions(mut command: clap::Command, shell: Shell) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, PROGRAM, &mut script);
    print(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}

/// Writes a manual page for each command into a directory, which is created if
/// it does not exist.
pub fn man(command: clap::Command, directory: &Path) -> Result<Exit, Failure> {
    let failed = |error| Failure::failed(format!("{}: {error}", directory.display()));
    fs::create_dir_all(directory).map_err(failed)?;
    clap_mangen::generate_to(command, directory).map_err(failed)?;
    Ok(Exit::Done)
}
