//! halfopen beside its peers: builds all of them, runs every workload on each in turn, and writes what came of it into
//! docs/performance.md.
//!
//! `cargo run --release -p compare` in `benches/` does all of it. Figures are kept between calls, so that a peer or a
//! workload can be measured again by itself (`--only`, `--workload`), or an interrupted comparison be taken up again
//! (`--resume`).
#![allow(clippy::disallowed_methods, reason = "real time is what is measured")]

mod acceptance;
mod build;
mod figures;
mod machine;
mod measure;
mod page;
mod peer;
mod workload;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use figures::Figures;
use peer::Peer;
use workload::{Case, Workload};

/// Compares halfopen with its peers, and writes docs/performance.md.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Args)]
struct Options {
    /// Measure these peers only, comma-separated: halfopen, loopback, turmoil, turmoil-10ms, turmoil-net, madsim.
    #[arg(long, value_name = "PEERS", value_delimiter = ',')]
    only: Vec<String>,
    /// Measure these workloads only, comma-separated: W1-10, W1-100, W2, W2r, W3, W4, W4b, W5, W6, W6-50, scaling.
    #[arg(long, value_name = "WORKLOADS", value_delimiter = ',')]
    workload: Vec<String>,
    /// Keep the figures that there are, and measure only what is missing.
    #[arg(long)]
    resume: bool,
    /// Repeat what takes more than 20 s as often as everything else. (Adds ten minutes.)
    #[arg(long)]
    long: bool,
    /// Run each once only, to see that everything works.
    #[arg(long, conflicts_with = "long")]
    quick: bool,
    /// Take the binaries as they are.
    #[arg(long)]
    no_build: bool,
    /// Measure nothing: write the page from the figures that there are.
    #[arg(long)]
    page: bool,
    /// Where the page goes, instead of docs/performance.md.
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Runs one command and prints what it cost, as JSON. Its own process, so that nobody else's memory counts.
    #[command(hide = true)]
    Measure {
        /// The program and its arguments.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        command: Vec<String>,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match &arguments.command {
        Some(Command::Measure { command }) => measure::child(command),
        None => compare(&arguments.options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The workspace `benches`.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a member of a workspace")
}

fn compare(options: &Options) -> Result<(), String> {
    let peers = chosen(&options.only, &Peer::ALL, Peer::name)?;
    let workloads = chosen(&options.workload, &Workload::ALL, Workload::name)?;
    let target = build::target()?;
    if !options.no_build && !options.page {
        build::all(&target, &peers)?;
    }
    let mut figures = Figures::load(&target.join("compare.json"))?;
    let mut failed = BTreeSet::new();
    if !options.page {
        let cases = Case::all(&workloads, &peers)?;
        if !options.resume {
            cases.iter().for_each(|case| figures.forget(&case.key()));
        }
        figures.machine = machine::describe();
        failed = measure_all(&cases, options, &target, &mut figures)?;
    }
    let file = options.to.clone().unwrap_or_else(|| root().join("../docs/performance.md"));
    page::write(&file, &figures)?;
    let missed = print(&figures);
    println!("\n{} is written", file.display());
    match (failed.len(), missed) {
        (0, 0) => Ok(()),
        (0, _) => Err(format!("{missed} of the marks are missed")),
        _ => Err(format!("these failed: {}", failed.into_iter().collect::<Vec<_>>().join(", "))),
    }
}

/// Those of `all` that are named; all if none is.
fn chosen<T: Copy>(names: &[String], all: &[T], name_of: impl Fn(T) -> &'static str) -> Result<Vec<T>, String> {
    if names.is_empty() {
        return Ok(all.to_vec());
    }
    let find = |name: &String| {
        let known: Vec<&str> = all.iter().map(|one| name_of(*one)).collect();
        let found = all.iter().copied().find(|one| name_of(*one) == name);
        found.ok_or_else(|| format!("there is no `{name}`; there are {}", known.join(", ")))
    };
    names.iter().map(find).collect()
}

/// Runs everything in rounds, so that whatever else the machine does hits all alike. Keeps what it has after each run. What
/// fails is not run again; says what that was.
fn measure_all(
    cases: &[Case],
    options: &Options,
    target: &Path,
    figures: &mut Figures,
) -> Result<BTreeSet<String>, String> {
    let mut failed = BTreeSet::new();
    for round in 1..=figures::ROUNDS_MAX {
        for case in cases {
            let key = case.key();
            let wanted = if options.quick { 1 } else { figures.repeats(&key, options.long) };
            if figures.count(&key) >= wanted.min(round) || failed.contains(&key) {
                continue;
            }
            match case.run(target) {
                Ok(sample) => {
                    println!("round {round}  {key:<40} {:9.3} s", sample.wall_s);
                    figures.add(&key, sample)?;
                }
                Err(error) => {
                    eprintln!("round {round}  {key:<40} FAILED: {error}");
                    failed.insert(key);
                }
            }
        }
    }
    Ok(failed)
}

/// Prints the tables. Says how many marks are missed.
fn print(figures: &Figures) -> usize {
    print!("\n{}", page::figures(figures));
    acceptance::rows(figures).iter().filter(|row| row.met == Some(false)).count()
}
