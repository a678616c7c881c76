//! A small simulation for tests, and a fresh child process for each: a run leaves its process full of parked threads.
#![allow(dead_code)]

use std::net::{IpAddr, Ipv4Addr};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use halfopen_core::event::{EndReason, EventSink};
use halfopen_core::{Event, SimDuration, SimTime};
use halfopen_fabric::config::FabricConfig;
use halfopen_fabric::fabric::Fabric;
use halfopen_interpose::{Handover, Main, Setup, StuckReport};
use halfopen_kernel::{HostConfig, Kernel, KernelConfig, ResolverConfig, Scheduling, Step};

/// Tells a child which test it is.
const CHILD: &str = "HALFOPEN_INTERPOSE_CHILD";

/// How long a child may take in real time.
const CHILD_PATIENCE: Duration = Duration::from_secs(60);

/// 2026-01-01T00:00:00Z.
pub const EPOCH_NANOS: u64 = 1_767_225_600_000_000_000;

/// Tells a child how its threads hand over.
const HANDOVER: &str = "HALFOPEN_INTERPOSE_HANDOVER";

/// Both ways to hand over, by which all tests must pass, as [`HANDOVER`] names them.
pub const WAYS: [(&str, Handover); 2] = [("futex", Handover::Futex), ("user-space", Handover::UserSpace)];

/// How this process's threads hand over.
#[allow(clippy::disallowed_methods)] // The environment says how to test; no run reads it.
fn handover() -> Handover {
    let asked = std::env::var(HANDOVER).unwrap_or_default();
    WAYS.iter().find(|(name, _)| *name == asked.trim_end()).map_or(Handover::default(), |&(_, way)| way)
}

/// Runs `body` in a fresh process for each way to hand over; both must succeed and, if `body` prints a line that begins
/// with `hash`, print the same one. `test` is the name of the calling test.
#[track_caller]
pub fn isolated(test: &str, body: impl FnOnce()) {
    let Some(outputs) = in_children(test, body) else { return };
    for output in &outputs {
        assert!(output.status.success(), "{}\n{}", output.status, text(output));
    }
    let hashes = outputs.each_ref().map(|output| {
        let lines = text(output);
        lines.lines().find(|line| line.starts_with("hash")).map(str::to_owned)
    });
    assert_eq!(hashes[0], hashes[1], "both ways to hand over give the same log");
}

/// Runs `body` in a fresh process for each of [`WAYS`]; in the parent, what became of them.
pub fn in_children(test: &str, body: impl FnOnce()) -> Option<[Output; WAYS.len()]> {
    run_if_child(test, body);
    Some(WAYS.map(|(way, _)| launch(test, Some(way))))
}

/// Runs `body` in a fresh process; in the parent, what became of it.
pub fn in_child(test: &str, body: impl FnOnce()) -> Option<Output> {
    run_if_child(test, body);
    Some(launch(test, None))
}

#[allow(clippy::disallowed_methods)] // The environment says whether this is the child; no run reads it.
fn run_if_child(test: &str, body: impl FnOnce()) {
    if std::env::var(CHILD).is_ok_and(|name| name == test) {
        // What libtest printed before has no end of line.
        println!();
        body();
        halfopen_interpose::child::exit_now(0);
    }
}

fn launch(test: &str, way: Option<&str>) -> Output {
    let program = std::env::current_exe().expect("a test knows its program");
    let mut command = Command::new(program);
    // Exactly as long for each way: the environment lies on the stack, and addresses may get into hashes.
    let way = way.map(|way| (HANDOVER, format!("{way:10}"))).into_iter();
    command.args([test, "--exact", "--nocapture", "--test-threads=1"]).env(CHILD, test).envs(way);
    halfopen_interpose::child::prepare(&mut command);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().expect("the test's program starts");
    let pid = child.id() as libc::pid_t;
    let (over, patience) = mpsc::channel::<()>();
    let killer = std::thread::spawn(move || {
        if patience.recv_timeout(CHILD_PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
            // SAFETY: a signal to the child, which has not been waited for.
            unsafe { libc::kill(pid, libc::SIGKILL) };
        }
    });
    let output = child.wait_with_output().expect("a child ends");
    drop(over);
    killer.join().expect("the killer does not panic");
    output
}

/// Everything that a child printed.
pub fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The log of a run, shared with the test.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<(SimTime, Event)>>>);

impl EventSink for Log {
    fn event(&mut self, at: SimTime, event: &Event) {
        self.0.lock().unwrap().push((at, event.clone()));
    }
}

/// What a run left behind.
pub struct Report {
    pub reason: EndReason,
    pub log: Vec<(SimTime, Event)>,
    pub end: SimTime,
}

impl Report {
    /// FNV-1a over the whole log.
    pub fn hash(&self) -> u64 {
        let text = format!("{:?}", self.log);
        text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
    }

    pub fn unsupported(&self) -> Vec<String> {
        let call = |(_, event): &(SimTime, Event)| match event {
            Event::Unsupported { call, .. } => Some(call.to_string()),
            _ => None,
        };
        self.log.iter().filter_map(call).collect()
    }

    /// The run must have come to its natural end.
    #[track_caller]
    pub fn done(self) -> Report {
        assert_eq!(self.reason, EndReason::Done, "{:#?}", self.log);
        self
    }
}

/// Hosts `a`, `b`, ... at 10.0.0.1, 10.0.0.2, ..., and what each runs.
pub struct Sim {
    pub seed: u64,
    pub scheduling: Scheduling,
    pub watchdog: Duration,
    pub steps: Vec<(SimTime, Step)>,
    pub nameservers: Vec<IpAddr>,
    pub handover: Handover,
    mains: Vec<Main>,
}

impl Sim {
    pub fn new() -> Sim {
        let watchdog = Duration::from_secs(20);
        Sim {
            seed: 1,
            scheduling: Scheduling::Fifo,
            watchdog,
            steps: Vec::new(),
            nameservers: Vec::new(),
            handover: handover(),
            mains: Vec::new(),
        }
    }

    pub fn host(mut self, main: impl Fn() + Send + Sync + 'static) -> Sim {
        self.mains.push(Arc::new(main));
        self
    }

    pub fn run(self) -> Report {
        self.run_watched(|report| panic!("stuck: {report:?}"))
    }

    pub fn run_watched(self, on_stuck: impl FnOnce(StuckReport) + Send + 'static) -> Report {
        let log = Log::default();
        let config = KernelConfig {
            seed: self.seed,
            epoch_nanos: EPOCH_NANOS,
            cpus: 2,
            scheduling: self.scheduling,
            time_limit: SimTime::ZERO + SimDuration::from_secs(100 * 3600),
        };
        let fabric = Fabric::new(&FabricConfig { seed: self.seed, ..FabricConfig::default() }).unwrap();
        let mut kernel = Kernel::new(config, fabric, Box::new(log.clone()));
        for number in 0..self.mains.len() {
            let host = kernel.add_host(host(number, &self.nameservers));
            kernel.add_step(SimTime::ZERO, Step::StartHost(host));
        }
        for (at, step) in self.steps {
            kernel.add_step(at, step);
        }
        let setup = Setup {
            kernel,
            mains: self.mains,
            watchdog: self.watchdog,
            on_stuck: Box::new(on_stuck),
            handover: self.handover,
        };
        let finished = halfopen_interpose::run(setup);
        let reason = finished.kernel.end_reason().expect("a finished run has ended").clone();
        let end = finished.kernel.now();
        let log = std::mem::take(&mut *log.0.lock().unwrap());
        Report { reason, log, end }
    }
}

/// The address of host `number`.
pub fn address(number: usize) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, number as u8 + 1).into()
}

fn host(number: usize, nameservers: &[IpAddr]) -> HostConfig {
    let name = char::from(b'a' + number as u8).to_string();
    HostConfig {
        resolver: ResolverConfig { nameservers: nameservers.to_vec(), ..ResolverConfig::default() },
        hosts_file: [(address(number), "myself".to_owned())].into(),
        ..HostConfig::new(&name, vec![address(number)])
    }
}
