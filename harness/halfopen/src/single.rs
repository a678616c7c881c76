//! One run in this process: from a file to a result. This is what a child does.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use halfopen_core::HostId;
use halfopen_core::event::EndReason;
use halfopen_fabric::fabric::Fabric;
use halfopen_interpose::{Handover, Main, Setup, StuckReport, with_kernel};
use halfopen_record::capture::Capture;
use halfopen_record::log::LogFilter;
use halfopen_record::result::Identity;
use halfopen_record::{Config, Recorder, RunResult, SharedRecorder};
use halfopen_scenario::plan::{HostPlan, LoadPlan, PhasePlan, Plan, Role};
use halfopen_scenario::{Registry, parse, render};

use crate::child::{Request, SPIN_LIMIT};
use crate::env::Env;
use crate::load::{Loader, Progress};
use crate::mailbox::Mailbox;
use crate::program::{Client, Program};
use crate::{checks, dns, logs, lower};

/// Programs of one's own, by the host or the group that they are for.
pub(crate) type Own = [(String, Program)];

/// What `run:` can name.
pub(crate) fn registry(clients: &[Client]) -> Registry {
    clients.iter().map(|client| client.registration).collect()
}

/// The checked plans of a file, one for each variant.
///
/// # Errors
/// Every mistake, rendered.
pub(crate) fn plans(file: &Path, clients: &[Client], own: &Own) -> Result<Vec<Plan>, String> {
    let name = file.display().to_string();
    let text = fs::read_to_string(file).map_err(|error| format!("error: cannot read {name}: {error}\n"))?;
    let plans = match parse(&name, &text, &registry(clients)) {
        (Some(plans), diagnostics) if diagnostics.is_empty() => plans,
        (_, diagnostics) => return Err(render(&name, &text, &diagnostics, false)),
    };
    for plan in &plans {
        everybody_has_a_program(plan, own)?;
    }
    Ok(plans)
}

/// A host that gets load must have something that does it.
///
/// # Errors
/// Names the host that has none.
pub(crate) fn everybody_has_a_program(plan: &Plan, own: &Own) -> Result<(), String> {
    for (group, _) in own {
        if plan.hosts_named(group).is_empty() {
            return Err(format!("error: {} has no host `{group}` for the program of that name\n", plan.file));
        }
    }
    for phase in &plan.load {
        let PhasePlan::Load(load) = phase else { continue };
        for host in load.hosts.iter().map(|&id| plan.host(id)) {
            if host.role == Role::Bare && own_program(host, own).is_none() {
                return Err(format!(
                    "error: {}: host `{}` gets load but runs nothing\n  help: give it a client with `run:`; \
                     `halfopen list` names them\n",
                    plan.file, host.group
                ));
            }
        }
    }
    Ok(())
}

fn own_program<'a>(host: &HostPlan, own: &'a Own) -> Option<&'a Program> {
    own.iter().find(|(name, _)| *name == host.name || *name == host.group).map(|(_, program)| program)
}

/// Which run a result is about, and how to have it again.
pub(crate) fn identity(plan: &Plan, test: Option<&str>) -> Identity {
    let variant = plan.variant.as_ref().map(|variant| format!(" --variant {}", quoted(variant))).unwrap_or_default();
    let replay = match test {
        Some(test) => {
            let name = test.split_once("::").map_or(test, |(_, name)| name);
            format!("cargo test -- --exact {name}")
        }
        None => format!("halfopen run {} --seed {}{variant}", quoted(&plan.file), plan.seed),
    };
    Identity {
        scenario: plan.scenario.clone(),
        variant: plan.variant.clone(),
        file: plan.file.clone(),
        seed: plan.seed,
        replay,
    }
}

/// A word as a POSIX shell takes it: as it is where that is safe, else in single quotes.
fn quoted(word: &str) -> String {
    let safe = |c: char| c.is_ascii_alphanumeric() || "-_./,:=+@%".contains(c);
    if !word.is_empty() && word.chars().all(safe) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// Does what this process was started for, and ends it.
pub(crate) fn serve(request: &Request, clients: &[Client], own: &Own) -> ! {
    match plans(&request.file, clients, own) {
        Ok(plans) => perform(&plans, request, clients, own),
        Err(mistakes) => refuse(&mistakes),
    }
}

/// Does the run that is requested of these plans, and ends the process.
pub(crate) fn perform(plans: &[Plan], request: &Request, clients: &[Client], own: &Own) -> ! {
    let Some(plan) = plans.iter().find(|plan| plan.variant == request.variant).cloned() else {
        refuse("error: the file changed while it was run");
    };
    let plan = match request.seed {
        Some(seed) => plan.with_seed(seed),
        None => plan,
    };
    write_result(request, &execute(plan, request, clients, own));
    halfopen_interpose::child::exit_now(0)
}

fn refuse(mistakes: &str) -> ! {
    eprintln!("{mistakes}");
    halfopen_interpose::child::exit_now(2)
}

fn write_result(request: &Request, result: &RunResult) {
    if let Err(error) = fs::write(&request.result, result.to_wire()) {
        eprintln!("error: cannot write the result to {}: {error}", request.result.display());
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "how long a run takes in real time is part of its result, not of the run"
)]
fn execute(plan: Plan, request: &Request, clients: &[Client], own: &Own) -> RunResult {
    let began = Instant::now();
    let identity = identity(&plan, request.test.as_deref());
    let failed = |error: String| RunResult::failed(identity.clone(), error, began.elapsed());
    let recorder = match recorder(&plan, request, clients) {
        Ok(recorder) => SharedRecorder::new(recorder),
        Err(error) => return failed(error),
    };
    let fabric = match Fabric::new(&plan.network) {
        Ok(fabric) => fabric,
        Err(error) => return failed(format!("the network cannot be built: {error}")),
    };
    let ends_by_itself = plan.hosts.iter().any(|host| counts(host, &plan, own));
    let kernel = lower::kernel(&plan, fabric, Box::new(recorder.clone()), ends_by_itself);
    let plan = Arc::new(plan);
    let mains = mains(&plan, clients, own);
    let stuck = {
        let (request, identity, plan) = (request.clone(), identity.clone(), Arc::clone(&plan));
        move |report: StuckReport| {
            let error = stuck_text(&plan, &report);
            write_result(&request, &RunResult::failed(identity, error, began.elapsed()));
        }
    };
    let handover = if request.futex { Handover::Futex } else { Handover::default() };
    let setup = Setup { kernel, mains, watchdog: SPIN_LIMIT, on_stuck: Box::new(stuck), handover };
    halfopen_interpose::run(setup);
    match recorder.finish() {
        Some(summary) => RunResult::judged(identity, &summary, &checks::checks(&plan), began.elapsed()),
        None => failed("the run left no record".to_owned()),
    }
}

fn stuck_text(plan: &Plan, report: &StuckReport) -> String {
    format!(
        "host `{}` ran for {SPIN_LIMIT:?} of real time without a system call: an endless loop?\n{}",
        plan.host(report.host).name,
        report.stack
    )
}

/// The recorder, with a log and a capture where they are wanted.
fn recorder(plan: &Plan, request: &Request, clients: &[Client]) -> Result<Recorder, String> {
    let mut config = Config { effectful: effectful(plan, clients), ..Config::default() };
    if let Some(path) = &request.events {
        let filter = match &request.log {
            Some(filter) => LogFilter::parse(filter)?,
            None => LogFilter::all(),
        };
        if request.log.is_some() {
            logs::install(&filter)?;
        }
        let file = File::create(path).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        config.log = Some((filter, Box::new(BufWriter::new(file))));
    }
    if let Some(folder) = &request.pcap {
        let name = match &plan.variant {
            Some(variant) => format!("{}.{variant}.pcapng", plan.scenario),
            None => format!("{}.pcapng", plan.scenario),
        };
        let path = folder.join(name);
        let file = File::create(&path).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        config.capture = Some(Capture::new(Box::new(BufWriter::new(file)), plan.epoch_nanos));
    }
    Ok(Recorder::new(config))
}

/// The names of the load's ops whose upstreams tell when they have done them.
fn effectful(plan: &Plan, clients: &[Client]) -> BTreeSet<String> {
    let loads = plan.load.iter().filter_map(|phase| match phase {
        PhasePlan::Load(load) => Some(load),
        PhasePlan::Idle(_) => None,
    });
    let has_effect = |load: &&LoadPlan| {
        let runs = load.hosts.iter().filter_map(|&host| plan.host(host).run.as_deref());
        runs.filter_map(|run| clients.iter().find(|client| client.registration.name == run))
            .flat_map(|client| client.registration.ops)
            .any(|op| op.name == load.op && op.effect)
    };
    loads.filter(has_effect).map(|load| load.op.clone()).collect()
}

/// What every host runs, indexed by host.
fn mains(plan: &Arc<Plan>, clients: &[Client], own: &Own) -> Vec<Main> {
    let progress = Arc::new(Progress::default());
    let working: Vec<HostId> = plan.hosts.iter().filter(|host| counts(host, plan, own)).map(|host| host.id).collect();
    let left = Arc::new(Left(Mutex::new(working)));
    plan.hosts
        .iter()
        .map(|host| -> Main {
            let program = own_program(host, own).cloned().or_else(|| {
                let name = host.run.as_deref()?;
                clients.iter().find(|client| client.registration.name == name).map(|client| client.program.clone())
            });
            let (plan, progress, left) = (Arc::clone(plan), Arc::clone(&progress), Arc::clone(&left));
            let id = host.id;
            match (program, &plan.dns) {
                (None, Some(dns)) if dns.host == id => {
                    let dns = dns.clone();
                    Arc::new(move || {
                        if let Err(error) = dns::serve(&plan, &dns) {
                            fail(&plan, id, &error);
                        }
                    })
                }
                (None, _) => Arc::new(|| {}),
                (Some(program), _) => Arc::new(move || {
                    let outcome = run_program(&plan, id, &program, &progress);
                    if let Err(error) = outcome {
                        fail(&plan, id, &error);
                    }
                    left.done(id);
                }),
            }
        })
        .collect()
}

/// Whether the run waits for this host's main to return.
fn counts(host: &HostPlan, plan: &Plan, own: &Own) -> bool {
    let has_load =
        plan.load.iter().any(|phase| matches!(phase, PhasePlan::Load(load) if load.hosts.contains(&host.id)));
    match host.role {
        Role::Client => true,
        Role::Bare => has_load && own_program(host, own).is_some(),
        Role::Upstream | Role::Dns => false,
    }
}

fn run_program(plan: &Arc<Plan>, host: HostId, program: &Program, progress: &Arc<Progress>) -> Result<(), String> {
    let mailbox = Arc::new(Mailbox::default());
    let env = Env::new(plan.host(host), Arc::clone(plan), Arc::clone(&mailbox));
    if plan.host(host).role != Role::Upstream {
        let loader = Loader::new(host, mailbox, Arc::clone(plan), Arc::clone(progress));
        std::thread::Builder::new()
            .name("load".to_owned())
            .spawn(move || loader.run())
            .map_err(|error| format!("no thread for the load: {error}"))?;
    }
    program.call(env)
}

/// A program that fails ends the run: whatever would be measured from then on is not what the scenario is about.
fn fail(plan: &Plan, host: HostId, error: &str) {
    let message = format!("host `{}` failed: {error}", plan.host(host).name);
    with_kernel(|kernel| kernel.end(EndReason::Aborted { message }));
}

/// The hosts whose mains have not returned yet. The run is done when there are none.
struct Left(Mutex<Vec<HostId>>);

impl Left {
    fn done(&self, host: HostId) {
        let mut hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = hosts.len();
        hosts.retain(|&other| other != host);
        if before > 0 && hosts.is_empty() {
            drop(hosts);
            with_kernel(|kernel| kernel.end(EndReason::Done));
        }
    }
}

/// A result for a run whose process died.
pub(crate) fn died(plan: &Plan, test: Option<&str>, how: &str, wall: Duration) -> RunResult {
    RunResult::failed(identity(plan, test), how.trim_end().to_owned(), wall)
}
