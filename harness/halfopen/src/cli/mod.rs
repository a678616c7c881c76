//! The command line, as a function: a team can build it with its own clients linked in.
//!
//! ```no_run
//! use std::process::ExitCode;
//!
//! fn main() -> ExitCode {
//!     halfopen::cli::main(vec![/* your clients and upstreams */])
//! }
//! ```

mod args;
mod input;
mod list;
mod progress;
mod run;
mod seeds;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::Parser;

use crate::program::Client;
use crate::zygote;
use args::{Arguments, Command};

/// All expectations hold.
const PASSED: u8 = 0;
/// An expectation failed.
const FAILED: u8 = 1;
/// The input was wrong, or a run could not be completed.
const ERROR: u8 = 2;

/// Does what the process's arguments say, with these clients and upstreams to run. The exit status is for `main` to
/// return.
pub fn main(clients: Vec<Client>) -> ExitCode {
    if let Some(file) = zygote::of_this_process() {
        zygote::serve(&file, &clients);
    }
    // clap prints what is wrong with the arguments, or the help, and ends the process with status 2, or 0.
    let arguments = Arguments::parse();
    let status = match arguments.command {
        Command::Run(run) => run::run(&run, &clients),
        Command::Check(check) => run::check(&check, &clients),
        Command::List => print(&list::list(&clients)),
        Command::Schema => print(&list::schema(&clients)),
    };
    ExitCode::from(status)
}

/// Prints to standard output. A reader that has had enough (`| head`) is no mistake.
fn print(text: &str) -> u8 {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Ok(()) => PASSED,
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => PASSED,
        Err(error) => {
            eprintln!("error: cannot write to standard output: {error}");
            ERROR
        }
    }
}

/// Colour is for terminals, and for nobody who asked for none (`NO_COLOR`, see no-color.org).
fn colour(stream: &impl IsTerminal) -> bool {
    #[expect(clippy::disallowed_methods, reason = "the command line may ask the environment what its user likes")]
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    stream.is_terminal() && !refused
}
