//! The library form: a function of a crate as a host's program, under plain `cargo test` and nextest.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use halfopen_record::Verdict;
use halfopen_scenario::plan::Plan;

use crate::child::{self, Ended, Request};
use crate::program::{Client, Program};
use crate::run::Run;
use crate::single;

/// What libtest prints when no test has the name that it was given.
const NO_TEST: &str = "running 0 tests";

/// A scenario file with a program of one's own in it, ready to run. `#[halfopen::test]` makes one.
///
/// Each run happens in a process of its own: the test binary starts itself again for this one test, and does the run
/// where the first process only waits. So whatever the test function does before [`Scenario::run`] happens in both, and
/// a test runs one file once.
#[derive(Debug)]
pub struct Scenario {
    /// The test's full name, crate first.
    test: String,
    file: PathBuf,
    own: Vec<(String, Program)>,
    clients: Vec<Client>,
    variant: Option<String>,
    seed: Option<u64>,
}

impl Scenario {
    /// The scenario in `file`, which counts from `folder`, for the test with this full name (crate first, as
    /// `module_path!` begins). Use [`scenario!`](crate::scenario) instead: it fills in the first two.
    pub fn new(test: impl Into<String>, folder: impl AsRef<Path>, file: impl AsRef<Path>) -> Scenario {
        Scenario {
            test: test.into(),
            file: folder.as_ref().join(file),
            own: Vec::new(),
            clients: Vec::new(),
            variant: None,
            seed: None,
        }
    }

    /// The program of this host, or of every host of this group.
    #[must_use]
    pub fn program(mut self, host: impl Into<String>, program: Program) -> Scenario {
        self.own.push((host.into(), program));
        self
    }

    /// What `run:` can name in the file.
    #[must_use]
    pub fn clients(mut self, clients: Vec<Client>) -> Scenario {
        self.clients = clients;
        self
    }

    /// Runs this variant only.
    #[must_use]
    pub fn variant(mut self, variant: impl Into<String>) -> Scenario {
        self.variant = Some(variant.into());
        self
    }

    /// Runs with this seed instead of the file's.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Scenario {
        self.seed = Some(seed);
        self
    }

    /// Runs every variant, or the one that was asked for, and returns what came of it.
    ///
    /// # Panics
    /// If the file is wrong: with every mistake, and how to mend it.
    pub fn run(self) -> Vec<Run> {
        if let Some(request) = Request::of_this_process()
            && request.test.as_deref() == Some(self.test.as_str())
            && request.file == self.file
        {
            single::serve(&request, &self.clients, &self.own);
        }
        let plans =
            single::plans(&self.file, &self.clients, &self.own).unwrap_or_else(|mistakes| panic!("\n{mistakes}"));
        let wanted = |plan: &&Plan| self.variant.is_none() || plan.variant == self.variant;
        let runs: Vec<Run> = plans.iter().filter(wanted).map(|plan| self.launch(plan)).collect();
        assert!(!runs.is_empty(), "{} has no variant `{}`", self.file.display(), self.variant.unwrap_or_default());
        runs
    }

    fn launch(&self, plan: &Plan) -> Run {
        let folder = tempfile::tempdir().expect("a folder for the result of a run");
        let request = Request {
            file: self.file.clone(),
            variant: plan.variant.clone(),
            seed: self.seed,
            result: folder.path().join("result.json"),
            events: None,
            pcap: None,
            log: None,
            futex: false,
            test: Some(self.test.clone()),
        };
        // libtest's names leave the crate out.
        let name = self.test.split_once("::").map_or(self.test.as_str(), |(_, name)| name);
        let arguments = [name, "--exact", "--nocapture", "--test-threads=1"].map(OsString::from);
        let program = std::env::current_exe().expect("a running program has a file");
        match child::launch(&program, &arguments, &request, child::WALL_LIMIT) {
            Ok(Ended::Result(result)) => Run::new(*result),
            Ok(Ended::Died { output, wall, .. }) if output.contains(NO_TEST) => self.failed(
                plan,
                &format!(
                    "there is no test `{name}`, so its run could not be started\n\
                     help: `halfopen::scenario!` stands in the test function itself, not in one that it calls"
                ),
                wall,
            ),
            Ok(Ended::Died { how, output, wall }) => self.failed(plan, &format!("{how}\n{output}"), wall),
            Err(error) => self.failed(plan, &format!("cannot start the run: {error}"), Duration::ZERO),
        }
    }

    fn failed(&self, plan: &Plan, how: &str, wall: Duration) -> Run {
        Run::new(single::died(plan, Some(&self.test), how, wall))
    }

    /// Panics with the reports of the runs that did not pass.
    pub fn assert_pass(runs: &[Run]) {
        let failed: Vec<String> = runs.iter().filter(|run| run.verdict() != Verdict::Pass).map(Run::report).collect();
        assert!(failed.is_empty(), "\n{}", failed.join("\n"));
    }
}
