//! `source-host`: parse the command line, do what it says, exit with its code.

use std::process::ExitCode;

fn main() -> ExitCode {
    host_harness::cli::main()
}
