//! `source-host`: parses the command line, runs the command, exits with its code.

use std::process::ExitCode;

fn main() -> ExitCode {
    source_host::cli::main()
}
