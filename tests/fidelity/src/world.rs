//! The two sides on which a case runs. Each run has a process of its own: see [`Side::run`].

use std::net::IpAddr;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use halfopen_core::event::EventSink;
use halfopen_core::id::FaultId;
use halfopen_core::{Event, HostId, SimDuration, SimTime};
use halfopen_fabric::fabric::Fabric;
use halfopen_interpose::{Handover, Main, Setup};
use halfopen_kernel::{HostConfig, Kernel, KernelConfig, Scheduling, Step};
use halfopen_live::Change;
use halfopen_netstack::Sysctls;
use halfopen_netstack::stack::SilentLink;

use crate::case::{ADDRESSES, ADDRESSES_V6, Case, HOSTS, Life, ON_SILENT_LINK};
use crate::script::{self, Call, CallLog};
use crate::trace::{Trace, assemble};

/// Tells a child which side it is to run; the case is its first argument.
pub const CHILD: &str = "HALFOPEN_FIDELITY_SIDE";

/// How much longer than the case the real side may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The exit status of a child on a machine that allows no namespaces.
const NOT_ALLOWED_STATUS: i32 = 77;

/// One of the two sides.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// The real kernel, in real time.
    Linux,
    /// halfopen's.
    Simulated,
}

/// What a run gave.
#[derive(Clone, Debug)]
pub struct Run {
    /// What happened.
    pub trace: Trace,
    /// By how much the run was late at worst; nothing in virtual time.
    pub late: SimDuration,
}

/// Why a side gave no trace.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NoTrace {
    /// This machine allows no namespaces.
    NotAllowed(String),
    /// It failed.
    Failed(String),
}

impl Side {
    const fn name(self) -> &'static str {
        match self {
            Side::Linux => "linux",
            Side::Simulated => "simulated",
        }
    }

    /// Runs a case in a fresh process of this program, whose `main` must call [`child`] first.
    ///
    /// # Errors
    /// If it gave no trace.
    pub fn run(self, case: &Case) -> Result<Run, NoTrace> {
        let failed = |what: String| NoTrace::Failed(format!("{} ({}): {what}", case.name, self.name()));
        let program = std::env::current_exe().map_err(|error| failed(error.to_string()))?;
        let mut command = Command::new(program);
        command.arg(&case.name).env(CHILD, self.name()).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        halfopen_interpose::child::prepare(&mut command);
        let output = command.output().map_err(|error| failed(error.to_string()))?;
        let errors = String::from_utf8_lossy(&output.stderr);
        match output.status.code() {
            Some(0) => read_run(&String::from_utf8_lossy(&output.stdout)).map_err(failed),
            Some(NOT_ALLOWED_STATUS) => Err(NoTrace::NotAllowed(errors.trim().to_owned())),
            _ => Err(failed(format!("{}\n{errors}", output.status))),
        }
    }
}

/// What stands before a child's trace: by how much it was late, in nanoseconds.
const LATE: &str = "# late ";

fn read_run(text: &str) -> Result<Run, String> {
    let late = text.lines().next().and_then(|line| line.strip_prefix(LATE)?.parse().ok());
    let late = late.ok_or("a child does not say how late it was")?;
    Ok(Run { trace: Trace::parse(text)?, late: SimDuration::from_nanos(late) })
}

/// If this process is a child of [`Side::run`]: runs the case, prints its trace and ends.
pub fn child(cases: &[Case]) {
    let Ok(side) = std::env::var(CHILD) else { return };
    let name = std::env::args().nth(1).unwrap_or_default();
    let case = cases.iter().find(|case| case.name == name).expect("the parent knows the same cases");
    let run = match side.as_str() {
        "simulated" => Ok(Run { trace: simulated(case), late: SimDuration::ZERO }),
        _ => linux(case),
    };
    match run {
        Ok(Run { trace, late }) => {
            print!("{LATE}{}\n{trace}", late.as_nanos());
            let _ = std::io::Write::flush(&mut std::io::stdout());
            halfopen_interpose::child::exit_now(0);
        }
        Err(error) => {
            eprintln!("{error}");
            let not_allowed = matches!(error, halfopen_live::LiveError::NotAllowed(_));
            halfopen_interpose::child::exit_now(if not_allowed { NOT_ALLOWED_STATUS } else { 1 });
        }
    }
}

type Packets = Arc<Mutex<Vec<(SimTime, usize, Vec<u8>)>>>;

/// A host's lives, and what is called in each of them.
type Lives = Vec<(Life, CallLog)>;

fn lives(case: &Case) -> [Lives; 2] {
    [0, 1].map(|host| case.lives(host).into_iter().map(|life| (life, CallLog::default())).collect())
}

fn finish(case: &Case, packets: &Packets, lives: &[Lives; 2]) -> Trace {
    let packets = packets.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let calls = lives.each_ref().map(|lives| lives.iter().flat_map(|(life, log)| calls_of(life, log)).collect());
    assemble(&packets, calls, case.until)
}

/// What was called in a life. Real threads outlive their host's power; what they do then is no part of it.
fn calls_of(life: &Life, log: &CallLog) -> Vec<Call> {
    let mut calls = log.calls();
    calls.retain(|call| call.since < life.to);
    for call in &mut calls {
        call.result.take_if(|(at, _)| *at >= life.to);
    }
    calls
}

/// What a run of halfopen shows of its packets.
struct Sink(Packets);

impl EventSink for Sink {
    fn event(&mut self, _: SimTime, _: &Event) {}

    fn wants_packets(&self) -> bool {
        true
    }

    fn packet(&mut self, at: SimTime, host: HostId, bytes: &[u8]) {
        let mut packets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        packets.push((at, host.index(), bytes.to_vec()));
    }
}

/// For how long in real time a script may run without a call.
const WATCHDOG: Duration = Duration::from_secs(20);

fn simulated(case: &Case) -> Trace {
    let (packets, lives) = (Packets::default(), lives(case));
    let fabric = Fabric::new(&case.fabric()).expect("a case describes a network");
    let config = KernelConfig {
        seed: 1,
        epoch_nanos: 1_767_225_600_000_000_000,
        cpus: 2,
        scheduling: Scheduling::Fifo,
        time_limit: case.until,
    };
    let mut kernel = Kernel::new(config, fabric, Box::new(Sink(Arc::clone(&packets))));
    let mut mains: Vec<Main> = Vec::new();
    for (number, lives) in lives.iter().enumerate() {
        let host = kernel.add_host(host_config(case, number));
        kernel.add_step(SimTime::ZERO, Step::StartHost(host));
        let (to_come, until) = (Mutex::new(lives.clone().into_iter()), case.until);
        mains.push(Arc::new(move || {
            let life = to_come.lock().unwrap_or_else(PoisonError::into_inner).next();
            let (life, log) = life.expect("a host has a life for each time it has power");
            let zero = Instant::now() - Duration::from(life.from.since(SimTime::ZERO));
            script::run(&life.lines, zero, until, &log);
        }));
    }
    for (index, (at, change)) in case.changes.iter().enumerate() {
        let step = match change {
            Change::Apply(fault) => Step::ApplyNetFault(FaultId::new(index as u32), fault.clone()),
            Change::Lift(begun) => Step::LiftNetFault(FaultId::new(*begun as u32)),
            Change::PowerOff(host) => Step::Crash { host: *host, power_loss: true },
            Change::PowerOn(host) => Step::StartHost(*host),
        };
        kernel.add_step(*at, step);
    }
    let on_stuck = Box::new(|report| panic!("stuck: {report:?}"));
    halfopen_interpose::run(Setup { kernel, mains, watchdog: WATCHDOG, on_stuck, handover: Handover::default() });
    finish(case, &packets, &lives)
}

fn host_config(case: &Case, number: usize) -> HostConfig {
    let mut sysctls = Sysctls::default();
    for (name, value) in &case.sysctls[number] {
        sysctls.set(name, value).expect("a case names settings that there are");
    }
    let silent_link = (case.silent && number == 0).then_some(SilentLink { address: ON_SILENT_LINK, prefix_len: 24 });
    HostConfig { sysctls, silent_link, ..HostConfig::new(HOSTS[number], addresses(case, number)) }
}

fn addresses(case: &Case, number: usize) -> Vec<IpAddr> {
    let v6 = case.ipv6.then_some(IpAddr::from(ADDRESSES_V6[number]));
    [Some(IpAddr::from(ADDRESSES[number])), v6].into_iter().flatten().collect()
}

/// Set in every namespace without IPv6: nothing but the case is to be seen on the wire.
const WITHOUT_IPV6: &[(&str, &str)] = &[("net.ipv6.conf.all.disable_ipv6", "1")];

fn linux(case: &Case) -> Result<Run, halfopen_live::LiveError> {
    let (packets, lives) = (Packets::default(), lives(case));
    kill_after(Duration::from(case.until.since(SimTime::ZERO)) + PATIENCE);
    let hosts = (0..HOSTS.len()).map(|number| {
        let fixed = if case.ipv6 { &[] } else { WITHOUT_IPV6 };
        let fixed = fixed.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let host = halfopen_live::Host {
            address: ADDRESSES[number],
            address_v6: case.ipv6.then_some(ADDRESSES_V6[number]),
            silent: (case.silent && number == 0).then_some(ON_SILENT_LINK),
            mtu: 1500,
            sysctls: fixed.chain(case.sysctls[number].iter().cloned()).collect(),
        };
        let script = |(life, log): (Life, CallLog)| -> halfopen_live::Script {
            let until = case.until;
            Box::new(move |zero| script::run(&life.lines, zero, until, &log))
        };
        (host, lives[number].iter().cloned().map(script).collect())
    });
    let setup = halfopen_live::Setup {
        fabric: case.fabric(),
        hosts: hosts.collect(),
        changes: case.changes.clone(),
        until: case.until,
    };
    let seen = Arc::clone(&packets);
    let late = halfopen_live::run(setup, |at, host, bytes| {
        seen.lock().unwrap_or_else(PoisonError::into_inner).push((at, host.index(), bytes.to_vec()));
    })?;
    let late_script = |(life, log): &(Life, CallLog)| script::lateness(life.from, &life.lines, &calls_of(life, log));
    let late = lives.iter().flatten().map(late_script).fold(late, SimDuration::max);
    Ok(Run { trace: finish(case, &packets, &lives), late })
}

/// Whatever happens, the process ends. Called before there is another thread, it must make none: a user namespace is
/// for processes of one thread. So the alarm clock of the kernel is used.
fn kill_after(span: Duration) {
    nix::unistd::alarm::set(u32::try_from(span.as_secs()).unwrap_or(u32::MAX).max(1));
}
