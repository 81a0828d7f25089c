//! What each command does.

pub mod check;
pub mod describe;
pub mod normalize;
pub mod run;
pub mod status;
mod table;
pub mod validate;

use std::io::{self, Write};

use crate::exit::Failure;

pub(crate) use self::table::Table;

/// Write to standard output, in one piece.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
        .map_err(|error| Failure::failed(format!("stdout: {error}")))
}
