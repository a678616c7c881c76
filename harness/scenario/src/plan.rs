//! A checked scenario, ready to run: everything named is found, everything measured has its unit, every time lies
//! inside the run. A [`Plan`] is a plain value; whoever runs it need not look at the file again.

use std::net::IpAddr;

use halfopen_core::id::FaultId;
use halfopen_core::{HostId, Ratio, ResolverConfig, SimDuration, SimTime, Stream};
use halfopen_fabric::config::FabricConfig;
use halfopen_fabric::fault::NetFault;
use halfopen_netstack::Sysctls;

use crate::value::{Distribution, Params, Rate};

/// One run of one variant of one scenario.
#[derive(Clone, PartialEq, Debug)]
pub struct Plan {
    /// The scenario's name, in kebab-case.
    pub scenario: String,
    /// The variant's name; `None` where the scenario has no variants.
    pub variant: Option<String>,
    /// The file as it was named to the parser.
    pub file: String,
    /// What the scenario is about; the variant's own words where it has any.
    pub summary: String,
    /// Where the incident behind it is told.
    pub sources: Vec<String>,
    /// What every random stream of the run starts from.
    pub seed: u64,
    /// The wall clock at the start: nanoseconds since 1970-01-01T00:00:00Z.
    pub epoch_nanos: u64,
    /// When the run ends at the latest.
    pub time_limit: SimDuration,
    /// What CPU counts say on every host.
    pub cpus: u32,
    /// Who runs next among ready threads.
    pub scheduling: Scheduling,
    /// All hosts, instance by instance, in the order of the file; the DNS server, if there is one, is the last.
    /// `hosts[i].id.index() == i`.
    pub hosts: Vec<HostPlan>,
    /// What lies between the hosts. Every element has a name: the file's, or one such as `app-db.nat`.
    pub network: FabricConfig,
    /// The DNS zone and its server; `None` where the scenario has no `dns:`.
    pub dns: Option<DnsPlan>,
    /// The phases of the load, one after another.
    pub load: Vec<PhasePlan>,
    /// When the last phase of the load ends; `None` if that depends on clients or chance, or there is no load.
    pub end_of_load: Option<SimTime>,
    /// The timeline, in the order of the file: `faults[i].id.index() == i`.
    pub faults: Vec<FaultPlan>,
    /// What must hold.
    pub expect: Vec<Expectation>,
}

/// Who runs next among ready threads.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Scheduling {
    /// In the order in which they became ready.
    #[default]
    Fifo,
    /// A choice drawn from the seed, to explore interleavings.
    Shuffle,
}

/// What a host is there for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Role {
    /// Runs a registered client; the load can name it.
    Client,
    /// Runs a registered upstream.
    Upstream,
    /// Runs the DNS server of the scenario.
    Dns,
    /// Runs nothing: an address that refuses every connection. (Or one that a library user brings the code for.)
    Bare,
}

/// One host: one process, one kernel, one set of addresses.
#[derive(Clone, PartialEq, Debug)]
pub struct HostPlan {
    /// Its number.
    pub id: HostId,
    /// `app`, or `app-1`, `app-2`, ... where the group has a `count` above one.
    pub name: String,
    /// The name in the file.
    pub group: String,
    /// Its number in the group, from 1.
    pub instance: u32,
    /// What it is there for.
    pub role: Role,
    /// The registration it runs.
    pub run: Option<String>,
    /// The registration's settings: all of them, defaults included.
    pub params: Params,
    /// Its addresses, at least one.
    pub addresses: Vec<IpAddr>,
    /// Its kernel's settings.
    pub sysctls: Sysctls,
    /// MTU of its one interface besides loopback, in bytes.
    pub interface_mtu: u32,
    /// How it looks names up.
    pub resolver: ResolverConfig,
    /// How far its wall clock is off, in nanoseconds; negative is late.
    pub clock_offset_nanos: i64,
    /// When its main begins to run.
    pub start_at: SimTime,
    /// Descriptors its process may have (RLIMIT_NOFILE).
    pub fd_limit: u32,
}

/// The DNS zone and the server for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DnsPlan {
    /// The host that the server runs on; its role is [`Role::Dns`].
    pub host: HostId,
    /// The zone at the start, in the order of the file.
    pub records: Vec<DnsRecord>,
    /// What the recursive cache before the zone does with TTLs.
    pub cache: RecursiveCache,
    /// How long the recursive cache takes to ask the zone on a miss.
    pub latency: SimDuration,
    /// How long it remembers that a name does not exist (RFC 2308).
    pub negative_ttl: SimDuration,
}

/// One name of the zone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DnsRecord {
    /// The name, lower case, without a dot at the end.
    pub name: String,
    /// A and AAAA together, in the order of the answer.
    pub addresses: Vec<IpAddr>,
    /// How long an answer may be kept.
    pub ttl: SimDuration,
}

/// What a recursive cache does with the TTL of a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum RecursiveCache {
    /// Keeps answers for their TTL.
    #[default]
    Honour,
    /// Keeps nothing: every question reaches the zone.
    None,
    /// Keeps answers for ever, and says the full TTL each time.
    Ignore,
    /// Keeps answers for their TTL, but at least and at most so long.
    Clamp {
        /// At least.
        min: SimDuration,
        /// At most.
        max: SimDuration,
    },
}

/// One phase of the load.
#[derive(Clone, PartialEq, Debug)]
pub enum PhasePlan {
    /// Work for clients.
    Load(LoadPlan),
    /// Nothing to do for a while.
    Idle(SimDuration),
}

/// Work for clients.
#[derive(Clone, PartialEq, Debug)]
pub struct LoadPlan {
    /// The clients that get it; never empty. Each gets the whole of `arrival`.
    pub hosts: Vec<HostId>,
    /// The name of the op.
    pub op: String,
    /// When ops begin.
    pub arrival: Arrival,
    /// When the phase ends.
    pub extent: Extent,
    /// How long each op may take; `None` is no limit.
    pub deadline: Option<SimDuration>,
}

/// When the ops of one host begin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Arrival {
    /// Open loop: so many in a time, however long each takes.
    Rate {
        /// How many in what time.
        rate: Rate,
        /// How they are spread.
        spread: Spread,
    },
    /// Closed loop: so many at once; the next begins when one ends.
    Concurrency(u32),
}

/// How the arrivals of an open loop are spread.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Spread {
    /// Evenly.
    #[default]
    Uniform,
    /// As independent callers would come: exponential gaps, drawn from the seed.
    Poisson,
}

/// When a phase ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Extent {
    /// After this time; ops still under way go on.
    For(SimDuration),
    /// After so many ops for each host. An open loop goes on to the next phase when the last has begun, a closed loop
    /// when the last has ended.
    Count(u64),
}

/// One fault of the timeline.
#[derive(Clone, PartialEq, Debug)]
pub struct FaultPlan {
    /// Its number, in the order of the file.
    pub id: FaultId,
    /// What phases of expectations call it: its `name:`, or else its kind (`blip`).
    pub name: String,
    /// What it does.
    pub kind: FaultKind,
    /// When it begins.
    pub when: When,
    /// The range that the instant was drawn from, if the file gives one: first and last.
    pub drawn_from: Option<(SimTime, SimTime)>,
    /// How long it lasts; `None`: to the end of the run, or it is over in an instant.
    pub duration: Option<SimDuration>,
}

/// When a fault begins.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum When {
    /// At this instant (drawn from the seed where the file gives a range).
    At(SimTime),
    /// Again and again.
    Every {
        /// The first time.
        first: SimTime,
        /// From one beginning to the next; longer than the fault lasts.
        period: SimDuration,
        /// How often, at least once.
        count: u32,
    },
    /// When a counter of the event log gets there.
    Trigger {
        /// `ops.started`, `ops.ok`, `ops.failed`, `attempts.started`, or a gauge such as `transfer.progress`
        /// (in percent).
        counter: String,
        /// The least value that sets it off.
        at_least: i64,
        /// How long after that it begins.
        after: SimDuration,
    },
}

/// What a fault does.
#[derive(Clone, PartialEq, Debug)]
pub enum FaultKind {
    /// To the network between hosts.
    Net(NetFault),
    /// Changes or removes (no addresses) a record of the zone. At its end, if it has one, the old record comes back.
    DnsSet {
        /// The name.
        name: String,
        /// Its new addresses.
        addresses: Vec<IpAddr>,
        /// Its new TTL.
        ttl: SimDuration,
    },
    /// The server fails questions.
    DnsFail {
        /// For this name only; `None`: for all.
        name: Option<String>,
        /// How.
        failure: DnsFailure,
    },
    /// The recursive cache goes on answering what it knows and learns nothing new.
    DnsStale,
    /// These hosts stop for ever, or, if the fault has a duration, start again at its end.
    Crash {
        /// Which.
        hosts: Vec<HostId>,
        /// The kernel forgets in silence; otherwise the process is killed and its kernel closes its sockets.
        power_loss: bool,
    },
    /// These hosts' processes are killed and start again at once.
    Restart {
        /// Which.
        hosts: Vec<HostId>,
    },
    /// These hosts are not scheduled; their kernels' TCP still answers.
    Pause {
        /// Which.
        hosts: Vec<HostId>,
    },
    /// These hosts' wall clocks jump (and jump back at the end, if there is one).
    Clock {
        /// Which.
        hosts: Vec<HostId>,
        /// How far, in nanoseconds; negative is back.
        by_nanos: i64,
    },
    /// What these upstreams do to requests.
    Upstream {
        /// Which.
        hosts: Vec<HostId>,
        /// What.
        condition: Condition,
    },
    /// RST into the established flows.
    Reset {
        /// At these hosts.
        hosts: Vec<HostId>,
        /// With these peers; empty: with all.
        peers: Vec<HostId>,
    },
}

/// How DNS questions fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DnsFailure {
    /// The server answers SERVFAIL.
    ServFail,
    /// The server answers NXDOMAIN.
    NxDomain,
    /// The server answers REFUSED.
    Refused,
    /// The server says nothing.
    Silence,
    /// The server sets TC on UDP answers: the question must come again over TCP.
    Truncate,
}

/// What an upstream does to requests while a fault lasts.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Condition {
    /// It takes this much longer for a share of the requests.
    Slow {
        /// Added to the service time.
        by: Distribution,
        /// Of the requests.
        share: Ratio,
    },
    /// It closes its listener: connections are refused.
    Refuse,
    /// It accepts a share of the requests and never answers them.
    Hang {
        /// Of the requests.
        share: Ratio,
    },
    /// It answers a share of the requests with an error at once.
    Error {
        /// Of the requests.
        share: Ratio,
        /// HTTP status, where the protocol has one.
        status: u16,
    },
    /// It works on so many requests at once.
    Capacity {
        /// At once.
        workers: u32,
    },
}

/// One line of `expect`.
#[derive(Clone, PartialEq, Debug)]
pub struct Expectation {
    /// The expectation as it stands in the file.
    pub text: String,
    /// The line of the file where it stands, from 1.
    pub line: u32,
    /// The name of the metric.
    pub metric: String,
    /// Whose; `None`: over all hosts.
    pub scope: Option<Scope>,
    /// When; `None`: over the whole run.
    pub phase: Option<PhaseOf>,
    /// How to compare.
    pub comparison: Comparison,
    /// What to compare with.
    pub value: Threshold,
    /// The variant is a known-bad client and this must not hold.
    pub must_fail: bool,
}

/// Whose metric.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Scope {
    /// The name as written: a group or one of its instances.
    pub name: String,
    /// The hosts behind the name.
    pub hosts: Vec<HostId>,
}

/// A part of the run that a fault marks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PhaseOf {
    /// Which part.
    pub phase: Phase,
    /// The fault's name.
    pub fault: String,
    /// The faults of that name.
    pub ids: Vec<FaultId>,
}

/// Which part of the run, seen from a fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// From the start of the run to the first beginning of the fault.
    Before,
    /// While it lasts.
    During,
    /// From its last end to the end of the run.
    After,
}

/// A comparison of a metric with a figure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Comparison {
    /// `<`
    Lt,
    /// `<=`
    Le,
    /// `>`
    Gt,
    /// `>=`
    Ge,
    /// `==`
    Eq,
    /// `!=`
    Ne,
}

impl Comparison {
    /// As it is written.
    pub const fn symbol(self) -> &'static str {
        match self {
            Comparison::Lt => "<",
            Comparison::Le => "<=",
            Comparison::Gt => ">",
            Comparison::Ge => ">=",
            Comparison::Eq => "==",
            Comparison::Ne => "!=",
        }
    }

    /// Whether `actual` stands so to `wanted`. Nothing holds of NaN but `!=`.
    pub fn holds(self, actual: f64, wanted: f64) -> bool {
        match self {
            Comparison::Lt => actual < wanted,
            Comparison::Le => actual <= wanted,
            Comparison::Gt => actual > wanted,
            Comparison::Ge => actual >= wanted,
            Comparison::Eq => actual == wanted,
            Comparison::Ne => actual != wanted,
        }
    }
}

/// The figure that a metric is compared with; its kind fits the metric's unit.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Threshold {
    /// A count or a quotient.
    Number(f64),
    /// A share of the metric's whole (`ops.failed <= 1%`: of `ops.total`).
    Share(Ratio),
    /// A span of virtual time.
    Duration(SimDuration),
    /// Yes or no.
    Flag(bool),
}

impl Plan {
    /// The host with this number.
    ///
    /// # Panics
    /// If it is another plan's.
    pub fn host(&self, id: HostId) -> &HostPlan {
        &self.hosts[id.index()]
    }

    /// The same plan for another seed: times that the file gives as a range are drawn anew.
    pub fn with_seed(mut self, seed: u64) -> Plan {
        self.seed = seed;
        self.network.seed = seed;
        for fault in &mut self.faults {
            if let Some(range) = fault.drawn_from {
                fault.when = When::At(draw(seed, fault.id, range));
            }
        }
        self
    }

    /// The host or hosts behind a name of the file: `app-3` is one, `app` is all instances of the group.
    pub fn hosts_named(&self, name: &str) -> Vec<HostId> {
        self.hosts.iter().filter(|host| host.name == name || host.group == name).map(|host| host.id).collect()
    }

    /// /etc/hosts of every host, besides localhost: each host under its name, each group under its own. Names of the
    /// DNS zone are left out, so that asking for them reaches the server.
    pub fn hosts_file(&self) -> Vec<(IpAddr, String)> {
        let in_zone = |name: &str| self.dns.iter().flat_map(|dns| &dns.records).any(|record| record.name == name);
        let mut lines = Vec::new();
        for host in &self.hosts {
            let group = (host.group != host.name).then_some(&host.group);
            for name in [Some(&host.name), group].into_iter().flatten().filter(|name| !in_zone(name)) {
                lines.extend(host.addresses.iter().map(|address| (*address, name.clone())));
            }
        }
        lines
    }
}

/// An instant of a range, both ends included, from the seed and the fault's number alone.
pub(crate) fn draw(seed: u64, fault: FaultId, (first, last): (SimTime, SimTime)) -> SimTime {
    let span = last.since(first).as_nanos();
    let mut stream = Stream::new(seed, "fault-time", fault.index() as u64);
    first + SimDuration::from_nanos(stream.below(span.saturating_add(1)))
}
