//! `source-host`: parse the command line, do what it says, exit with its code.

use std::process::ExitCode;

fn main() -> ExitCode {
    source_host::cli::main()
}
