//! The binary `halfopen`: the command line with the clients under test linked in.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    halfopen::cli::main(halfopen_clients::all())
}
