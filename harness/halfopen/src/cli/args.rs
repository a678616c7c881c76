//! The words of the command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

use super::seeds::{Seeds, seed, seeds};

/// Longest real time that a run can be given, in seconds: a week.
const WALL_LIMIT_S_MAX: u64 = 7 * 24 * 60 * 60;

/// Run real clients against a deterministic simulated network, break it, and be told what went wrong.
#[derive(Parser, Debug)]
#[command(name = "halfopen", version, about, max_term_width = 100)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Subcommand, Debug)]
pub(super) enum Command {
    /// Run scenarios and judge them. Exit status: 0 all expectations hold, 1 one failed, 2 the input was wrong or a
    /// run could not be completed.
    Run(Run),
    /// Check scenarios and run nothing.
    Check(Check),
    /// List the clients, upstreams, presets, faults and metrics that scenarios can name.
    List,
    /// Print the JSON Schema of the scenario language, for editors.
    Schema,
}

/// How threads hand over to each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum Way {
    /// In the kernel, which works everywhere.
    Futex,
    /// In user space, where the machine can.
    User,
}

#[derive(clap::Args, Debug)]
pub(super) struct Run {
    /// Scenario files, or folders of them.
    #[arg(default_value = "scenarios", value_name = "PATH")]
    pub(super) paths: Vec<PathBuf>,
    /// Use this seed instead of the scenarios' own.
    #[arg(long, value_name = "N", value_parser = seed)]
    pub(super) seed: Option<u64>,
    /// Run each scenario with every seed from A to before B, and report those that fail.
    #[arg(long, value_name = "A..B", value_parser = seeds, conflicts_with_all = ["seed", "pcap"])]
    pub(super) seeds: Option<Seeds>,
    /// Begin no more runs after one that does not pass; those under way are finished.
    #[arg(long)]
    pub(super) fail_fast: bool,
    /// Run this variant only.
    #[arg(long, value_name = "NAME")]
    pub(super) variant: Option<String>,
    /// What to print.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub(super) format: Format,
    /// Runs at once; as many as there are processors by default.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(super) jobs: Option<u32>,
    /// Run each scenario twice and show the first event that differs, if any.
    #[arg(long)]
    pub(super) twice: bool,
    /// Write a packet capture of each run into this folder.
    #[arg(long, value_name = "DIR")]
    pub(super) pcap: Option<PathBuf>,
    /// Put these `tracing` events of clients into the event log (`info`, `hyper=debug`, ...), and print the log.
    #[arg(long, value_name = "FILTER")]
    pub(super) log: Option<String>,
    /// Show the full report of every run, not only of those that failed.
    #[arg(long)]
    pub(super) report: bool,
    /// End a run that takes longer than this many seconds of real time.
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = crate::child::WALL_LIMIT.as_secs(),
        value_parser = clap::value_parser!(u64).range(1..=WALL_LIMIT_S_MAX)
    )]
    pub(super) wall_limit: u64,
    /// Diagnostic: how threads hand over to each other, which no result may depend on.
    #[arg(long, value_enum, default_value_t = Way::User, hide = true)]
    pub(super) handover: Way,
}

#[derive(clap::Args, Debug)]
pub(super) struct Check {
    /// Scenario files, or folders of them.
    #[arg(default_value = "scenarios", value_name = "PATH")]
    pub(super) paths: Vec<PathBuf>,
}

/// What `run` prints.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum Format {
    /// Text for people.
    Human,
    /// One JSON object a line for each run, and nothing else.
    Json,
    /// JUnit XML, for CI.
    Junit,
    /// GitHub Actions annotations.
    Github,
}
