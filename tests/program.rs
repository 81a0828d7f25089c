//! The program that the tests and the benchmark of a fleet run.

use std::ffi::OsString;

/// Returns the path of the program that was built with the test; of another build of it where
/// `SOURCE_HOST` names one.
pub(crate) fn program() -> OsString {
    let named = std::env::var_os("SOURCE_HOST");
    named.unwrap_or_else(|| env!("CARGO_BIN_EXE_source-host").into())
}
