//! `run` and `check`.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::num::NonZero;
use std::ops::Range;
use std::path::Path;
use std::sync::mpsc;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use halfopen_record::log::LogFilter;
use halfopen_record::report::{Style, report};
use halfopen_record::{RunResult, Verdict, github, json, junit};
use halfopen_scenario::Plan;

use super::args::{Check, Format, Run, Way};
use super::seeds::{self, Todo};
use super::{ERROR, FAILED, PASSED, colour, input, print, progress};
use crate::child::{Ended, Request};
use crate::program::Client;
use crate::single;
use crate::zygote::Worker;

/// Checks scenarios, says how many are good.
pub(super) fn check(arguments: &Check, clients: &[Client]) -> u8 {
    match input::load(&arguments.paths, &single::registry(clients), colour(&std::io::stderr())) {
        Ok(plans) => {
            let scenarios: std::collections::BTreeSet<&str> = plans.iter().map(|plan| plan.file.as_str()).collect();
            print(&format!("{} scenarios with {} runs: all good\n", scenarios.len(), plans.len()))
        }
        Err(mistakes) => {
            eprint!("{mistakes}");
            ERROR
        }
    }
}

/// Runs scenarios and judges them.
pub(super) fn run(arguments: &Run, clients: &[Client]) -> u8 {
    let plans = match plans(arguments, clients) {
        Ok(plans) => plans,
        Err(mistakes) => {
            eprint!("{mistakes}");
            return ERROR;
        }
    };
    let todo = Todo { plans: &plans, seeds: arguments.seeds };
    match run_all(arguments, todo) {
        Ok(results) => finish(arguments, results, todo.len()),
        Err(error) => {
            eprintln!("error: {error}");
            ERROR
        }
    }
}

/// Everything that can be wrong is found before anything runs.
fn plans(arguments: &Run, clients: &[Client]) -> Result<Vec<Plan>, String> {
    let mut plans = input::load(&arguments.paths, &single::registry(clients), colour(&std::io::stderr()))?;
    if let Some(filter) = &arguments.log {
        LogFilter::parse(filter).map_err(|mistake| format!("error: --log: {mistake}\n"))?;
    }
    if let Some(wanted) = &arguments.variant {
        let known: Vec<String> = plans.iter().filter_map(|plan| plan.variant.clone()).collect();
        plans.retain(|plan| plan.variant.as_ref() == Some(wanted));
        if plans.is_empty() {
            return Err(format!(
                "error: no scenario has a variant `{wanted}`\n  help: there are {}\n",
                known.join(", ")
            ));
        }
    }
    for plan in &plans {
        single::everybody_has_a_program(plan, &[])?;
    }
    if let Some(seed) = arguments.seed {
        plans = plans.into_iter().map(|plan| plan.with_seed(seed)).collect();
    }
    if let Some(folder) = &arguments.pcap {
        captures_have_names_of_their_own(&plans)?;
        fs::create_dir_all(folder).map_err(|error| format!("error: --pcap {}: {error}\n", folder.display()))?;
    }
    Ok(plans)
}

/// Captures are named after scenario and variant: two scenarios of one name would overwrite each other's.
fn captures_have_names_of_their_own(plans: &[Plan]) -> Result<(), String> {
    let mut files = BTreeMap::new();
    for plan in plans {
        let file = files.entry(&plan.scenario).or_insert(&plan.file);
        if *file != &plan.file {
            return Err(format!(
                "error: --pcap: {file} and {} are both scenario `{}`, and so would be their captures\n  help: give one \
                 of them another name\n",
                plan.file, plan.scenario
            ));
        }
    }
    Ok(())
}

/// Does all runs, some at once, and shows each result in the order of the runs as soon as its turn comes.
#[expect(clippy::disallowed_methods, reason = "what the runs cost is told in real time")]
fn run_all(arguments: &Run, todo: Todo) -> Result<Vec<RunResult>, String> {
    let began = Instant::now();
    let folder = tempfile::tempdir().map_err(|error| format!("no folder for results: {error}"))?;
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    let jobs = arguments.jobs.map_or(processors, |jobs| jobs as usize).clamp(1, todo.len().max(1));
    let next = Mutex::new(0..todo.len());
    let bar = progress::bar(todo.len(), arguments.format == Format::Human);
    let (tell, told) = mpsc::channel();
    let results = std::thread::scope(|scope| {
        for job in 0..jobs {
            // As long as every other's: not even the length of a name may get into a run.
            let (tell, next, folder) = (tell.clone(), &next, folder.path().join(format!("{job:04}")));
            scope.spawn(move || work(arguments, todo, next, &folder, &tell));
        }
        drop(tell);
        let mut waiting = BTreeMap::new();
        let mut results = Vec::new();
        for (index, done) in told {
            waiting.insert(index, done);
            bar.inc(1);
            while let Some(done) = waiting.remove(&results.len()) {
                let (result, log) = done?;
                if show_now(arguments, &result, &results) {
                    bar.suspend(|| show(arguments, &result, &log));
                }
                // JUnit's document comes at the end, with every figure.
                let is_counted = arguments.seeds.is_some() && arguments.format != Format::Junit;
                results.push(if is_counted { seeds::counted(result) } else { result });
            }
        }
        bar.finish_and_clear();
        Ok::<_, String>(results)
    })?;
    if arguments.format == Format::Human && arguments.seeds.is_some() {
        print(&format!("{}{}\n", seeds::summary(&results), seeds::cost(results.len(), began.elapsed(), jobs)));
    }
    Ok(results)
}

fn show_now(arguments: &Run, result: &RunResult, before: &[RunResult]) -> bool {
    let all = arguments.seeds.is_none() || arguments.report || arguments.format != Format::Human;
    all || seeds::is_shown(result, before)
}

/// The number of a run, and what came of it.
type Told = (usize, Result<(RunResult, String), String>);

/// What one job does: one run after another, until none is left.
fn work(arguments: &Run, todo: Todo, next: &Mutex<Range<usize>>, folder: &Path, tell: &mpsc::Sender<Told>) {
    let lock = || next.lock().unwrap_or_else(PoisonError::into_inner);
    let mut worker = Worker::default();
    loop {
        let Some(index) = lock().next() else { break };
        let done = one(arguments, &mut worker, &todo.plan(index), folder);
        let is_last = match &done {
            Ok((result, _)) => arguments.fail_fast && result.verdict != Verdict::Pass,
            Err(_) => true,
        };
        if is_last {
            *lock() = 0..0;
        }
        // Whoever listens has gone only if the others are not wanted any more.
        let _ = tell.send((index, done));
    }
}

/// One run, or two where each must be the same as the other. Says its log, too, if one is wanted.
fn one(arguments: &Run, worker: &mut Worker, plan: &Plan, folder: &Path) -> Result<(RunResult, String), String> {
    let wants_log = arguments.log.is_some() || arguments.twice;
    // Names of one length: not even that may differ between two runs that must be the same.
    let [first, second] = ["1", "2"].map(|name| folder.join(name));
    let log = first.join("events");
    let mut result = launch(arguments, worker, plan, &first, wants_log.then_some(log.as_path()))?;
    if arguments.twice && result.verdict != Verdict::Error {
        let second_log = second.join("events");
        let again = launch(arguments, worker, plan, &second, Some(&second_log))?;
        if again.fingerprint != result.fingerprint {
            result.verdict = Verdict::Error;
            result.error = Some(first_difference(&log, &second_log));
        }
    }
    let text = match &arguments.log {
        Some(_) => fs::read_to_string(&log).map_err(|error| format!("cannot read the log of a run: {error}"))?,
        None => String::new(),
    };
    // Logs can be large, and there may be many runs.
    fs::remove_dir_all(folder).map_err(|error| format!("cannot clear a folder of results: {error}"))?;
    Ok((result, text))
}

fn launch(
    arguments: &Run,
    worker: &mut Worker,
    plan: &Plan,
    folder: &Path,
    events: Option<&Path>,
) -> Result<RunResult, String> {
    fs::create_dir_all(folder).map_err(|error| format!("no folder for a result: {error}"))?;
    let request = Request {
        file: plan.file.clone().into(),
        variant: plan.variant.clone(),
        seed: Some(plan.seed),
        result: folder.join("result.json"),
        events: events.map(Path::to_owned),
        pcap: arguments.pcap.clone(),
        log: arguments.log.clone(),
        futex: arguments.handover == Way::Futex,
        test: None,
    };
    match worker.run(&request, Duration::from_secs(arguments.wall_limit)) {
        Ok(Ended::Result(result)) => Ok(*result),
        Ok(Ended::Died { how, output, wall }) => Ok(single::died(plan, None, &format!("{how}\n{output}"), wall)),
        Err(error) => Err(format!("cannot start a run: {error}")),
    }
}

/// The first line in which two event logs differ.
fn first_difference(first: &Path, second: &Path) -> String {
    let lines = |path: &Path| fs::File::open(path).map(|file| BufReader::new(file).lines());
    let (mut first, mut second) = match (lines(first), lines(second)) {
        (Ok(first), Ok(second)) => (first, second),
        (Err(error), _) | (_, Err(error)) => return format!("two runs differ, and their logs cannot be read: {error}"),
    };
    let mut number = 0_u64;
    loop {
        number += 1;
        let end = || "(the end of the log)".to_owned();
        match (first.next().and_then(Result::ok), second.next().and_then(Result::ok)) {
            (None, None) => return "two runs have different fingerprints but the same log lines".to_owned(),
            (one, other) if one == other => {}
            (one, other) => {
                return format!(
                    "two runs with the same seed differ from event {number} on\n  first:  {}\n  second: {}",
                    one.unwrap_or_else(end),
                    other.unwrap_or_else(end)
                );
            }
        }
    }
}

fn show(arguments: &Run, result: &RunResult, log: &str) {
    match arguments.format {
        Format::Human => {
            let style = Style { colour: colour(&std::io::stdout()), table: arguments.report };
            print(&format!("{log}{}", report(result, style)));
        }
        Format::Json => {
            print(&format!("{}\n", json::line(result).trim_end()));
        }
        Format::Github => {
            print(&github::annotations(result));
        }
        // One document for all.
        Format::Junit => {}
    }
    // Machines read standard output; the log is for people.
    if arguments.format != Format::Human && !log.is_empty() {
        eprint!("{log}");
    }
}

fn finish(arguments: &Run, results: Vec<RunResult>, wanted: usize) -> u8 {
    let has = |verdict| results.iter().any(|result| result.verdict == verdict);
    let status = match (has(Verdict::Error), has(Verdict::Fail)) {
        (true, _) => ERROR,
        (false, true) => FAILED,
        (false, false) => PASSED,
    };
    match arguments.format {
        Format::Human => {
            let left = match wanted - results.len() {
                0 => String::new(),
                left => format!(", {left} not begun"),
            };
            print(&format!("{}{left}\n", seeds::counts(&results)));
        }
        Format::Junit => {
            match junit::document(&if arguments.seeds.is_some() { seeds::named(results) } else { results }) {
                Ok(document) => {
                    print(&document);
                }
                Err(error) => {
                    eprintln!("error: cannot write JUnit XML: {error}");
                    return ERROR;
                }
            }
        }
        Format::Json | Format::Github => {}
    }
    status
}
