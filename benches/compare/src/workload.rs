//! What is compared: the workloads, as the scenarios of halfopen tell them, and the commands that run them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::figures::Sample;
use crate::measure;
use crate::peer::Peer;
use crate::root;

/// A row of the table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Workload {
    /// Ten clients that echo.
    Echo10,
    /// A hundred clients that echo.
    Echo100,
    /// hyper against axum's router.
    Http,
    /// reqwest against `axum::serve`.
    Web,
    /// Two hours of silence.
    Idle,
    /// A transfer in large writes.
    Bulk,
    /// A transfer in small writes.
    BulkSmall,
    /// One connection after another.
    Churn,
    /// A thousand idle hosts.
    Scale,
    /// Fifty idle hosts.
    Scale50,
    /// What more hosts cost W6's run phase. On halfopen alone, with the table of its own that [`Scaling`] is.
    Scaling,
}

impl Workload {
    /// All of them, in the order of the table's rows.
    pub const ALL: [Workload; 11] = [
        Workload::Echo10,
        Workload::Echo100,
        Workload::Http,
        Workload::Web,
        Workload::Idle,
        Workload::Bulk,
        Workload::BulkSmall,
        Workload::Churn,
        Workload::Scale,
        Workload::Scale50,
        Workload::Scaling,
    ];

    /// Its name on the command line and in the table.
    pub fn name(self) -> &'static str {
        match self {
            Workload::Echo10 => "W1-10",
            Workload::Echo100 => "W1-100",
            Workload::Http => "W2",
            Workload::Web => "W2r",
            Workload::Idle => "W3",
            Workload::Bulk => "W4",
            Workload::BulkSmall => "W4b",
            Workload::Churn => "W5",
            Workload::Scale => "W6",
            Workload::Scale50 => "W6-50",
            Workload::Scaling => "scaling",
        }
    }

    /// What it is, in a few words.
    pub fn title(self) -> &'static str {
        match self {
            Workload::Echo10 => "echo, 10 clients x 100 requests",
            Workload::Echo100 => "echo, 100 clients x 100 requests",
            Workload::Http => "HTTP, hyper and axum's router, 20 clients x 50 requests",
            Workload::Web => "HTTP, reqwest and `axum::serve`, 20 clients x 50 requests",
            Workload::Idle => "2 hours idle, 10 hosts",
            Workload::Bulk => "64 MiB in writes of 32 KiB",
            Workload::BulkSmall => "64 MiB in writes of 1,460 bytes",
            Workload::Churn => "5,000 connections, one after another",
            Workload::Scale => "1,000 idle hosts and 10 active, 60 s",
            Workload::Scale50 => "50 idle hosts and 10 active, 60 s",
            Workload::Scaling => "W6's run phase",
        }
    }

    /// The scenarios that tell it to halfopen (files of `scenarios/` without their ending), each with a variant if it has
    /// any.
    fn scenarios(self) -> Vec<(&'static str, Option<&'static str>)> {
        let file = match self {
            Workload::Echo10 => "echo-10",
            Workload::Echo100 => "echo-100",
            Workload::Http => "http",
            Workload::Web => "web",
            Workload::Idle => "idle",
            Workload::Bulk => "bulk",
            Workload::BulkSmall => "bulk-small",
            Workload::Churn => "churn",
            Workload::Scale => "scale",
            Workload::Scale50 => "scale-50",
            Workload::Scaling => return Scaling::ALL.iter().flat_map(|scaling| scaling.scenarios()).collect(),
        };
        vec![(file, None)]
    }

    /// Why it is not run on a peer, if it is not.
    pub fn not_on(self, peer: Peer) -> Option<&'static str> {
        let turmoil = matches!(peer, Peer::Turmoil | Peer::Turmoil10);
        match self {
            Workload::Web if !matches!(peer, Peer::Halfopen | Peer::Loopback) => Some("cannot [5]"),
            Workload::Idle if peer == Peer::Loopback => Some("2 hours"),
            Workload::Scale | Workload::Scale50 if peer == Peer::Loopback => Some("one host"),
            Workload::Scale if turmoil => Some("not run: days [6]"),
            Workload::Scaling if peer != Peer::Halfopen => Some("halfopen only"),
            _ => None,
        }
    }

    /// The number of the footnote that says what the peer does differently here.
    pub fn note(self, peer: Peer) -> Option<&'static str> {
        let turmoil = matches!(peer, Peer::Turmoil | Peer::Turmoil10);
        match self {
            Workload::Bulk | Workload::BulkSmall if turmoil || peer == Peer::Madsim => Some("[7]"),
            Workload::Echo100 if turmoil => Some("[8]"),
            Workload::Http if peer == Peer::Madsim => Some("[9]"),
            Workload::Churn if turmoil || peer == Peer::Madsim => Some("[10]"),
            _ => None,
        }
    }
}

/// Of W6's run phase: which hosts there are more of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scaling {
    /// As many as in W6.
    Base,
    /// Twice the idle ones.
    Idle,
    /// Twice the active ones.
    Active,
}

impl Scaling {
    /// All of them.
    pub const ALL: [Scaling; 3] = [Scaling::Base, Scaling::Idle, Scaling::Active];

    /// Its scenario.
    fn file(self) -> &'static str {
        match self {
            Scaling::Base => "scaling",
            Scaling::Idle => "scaling-idle",
            Scaling::Active => "scaling-active",
        }
    }

    fn scenarios(self) -> [(&'static str, Option<&'static str>); 2] {
        ["short", "long"].map(|variant| (self.file(), Some(variant)))
    }

    /// The names under which the figures of its variants are kept: with few beats, and with many.
    pub fn keys(self) -> [String; 2] {
        self.scenarios().map(|(file, variant)| key(Workload::Scaling, Peer::Halfopen, file, variant))
    }
}

/// The name under which figures are kept.
fn key(workload: Workload, peer: Peer, file: &str, variant: Option<&str>) -> String {
    match variant {
        Some(variant) => format!("{} {} {file} {variant}", workload.name(), peer.name()),
        None => key_of(workload, peer),
    }
}

/// The name under which the figures of a cell of the table are kept.
pub fn key_of(workload: Workload, peer: Peer) -> String {
    format!("{} {}", workload.name(), peer.name())
}

/// One workload on one peer.
#[derive(Debug)]
pub struct Case {
    workload: Workload,
    peer: Peer,
    file: &'static str,
    variant: Option<&'static str>,
    scenario: Scenario,
}

impl Case {
    /// What there is to run: every peer does a workload before the next workload's turn.
    ///
    /// # Errors
    /// If a scenario cannot be read.
    pub fn all(workloads: &[Workload], peers: &[Peer]) -> Result<Vec<Case>, String> {
        let mut cases = Vec::new();
        for &workload in workloads {
            for &peer in peers {
                if workload.not_on(peer).is_some() {
                    continue;
                }
                for (file, variant) in workload.scenarios() {
                    cases.push(Case { workload, peer, file, variant, scenario: Scenario::read(file)? });
                }
            }
        }
        Ok(cases)
    }

    /// The name under which its figures are kept.
    pub fn key(&self) -> String {
        key(self.workload, self.peer, self.file, self.variant)
    }

    /// Runs it once.
    ///
    /// # Errors
    /// If it fails: figures of a run that did not do its work are none.
    pub fn run(&self, target: &Path) -> Result<Sample, String> {
        let binary = self.peer.binary(target);
        let mut command = vec![binary.display().to_string()];
        match self.peer {
            Peer::Halfopen => {
                command.extend(["run".to_owned(), path(self.file).display().to_string()]);
                command.extend(["--format", "json", "--jobs", "1"].map(str::to_owned));
                command.extend(self.variant.into_iter().flat_map(|name| ["--variant".to_owned(), name.to_owned()]));
            }
            _ => {
                command.extend(self.scenario.arguments());
                command.extend(self.peer.settings().iter().map(|&word| word.to_owned()));
            }
        }
        let measured = measure::run(&command)?;
        let said = match self.peer {
            Peer::Halfopen => of_halfopen(&measured.output),
            _ => serde_json::from_str(&measured.output).map_err(|error| error.to_string()),
        };
        let said: Said = said.map_err(|error| format!("{error}:\n{}", measured.output))?;
        Ok(Sample {
            wall_s: measured.wall_s,
            user_s: measured.user_s,
            system_s: measured.system_s,
            peak_mib: measured.peak_mib,
            run_s: said.run_s,
            client_s: said.client_s,
        })
    }
}

/// What a peer says of its run.
#[derive(Deserialize)]
struct Said {
    /// How long it took without process start, in seconds of real time.
    run_s: f64,
    /// How long it took by the slowest client's own clock, in seconds.
    client_s: f64,
}

fn of_halfopen(line: &str) -> Result<Said, String> {
    #[derive(Deserialize)]
    struct Line {
        verdict: String,
        wall_s: f64,
        metrics: BTreeMap<String, Option<f64>>,
    }
    let line: Line = serde_json::from_str(line).map_err(|error| error.to_string())?;
    if line.verdict != "pass" {
        return Err(format!("the verdict is {}", line.verdict));
    }
    let slowest = line.metrics.get("ops.latency.max").copied().flatten();
    Ok(Said { run_s: line.wall_s, client_s: slowest.ok_or("no client did anything")? })
}

fn path(file: &str) -> PathBuf {
    root().join("scenarios").join(file).with_extension("yaml")
}

/// What the peers get to know of a scenario.
#[derive(PartialEq, Debug, Deserialize)]
struct Scenario {
    hosts: Hosts,
    load: Vec<Load>,
}

#[derive(PartialEq, Debug, Deserialize)]
struct Hosts {
    client: Group,
    idle: Option<Group>,
}

#[derive(PartialEq, Debug, Deserialize)]
struct Group {
    #[serde(default = "one")]
    count: u64,
    #[serde(default)]
    with: BTreeMap<String, u64>,
}

fn one() -> u64 {
    1
}

#[derive(PartialEq, Debug, Deserialize)]
struct Load {
    op: String,
}

impl Scenario {
    fn read(file: &str) -> Result<Scenario, String> {
        let path = path(file);
        let text = fs::read_to_string(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        Scenario::parse(&text).map_err(|error| format!("{}: {error}", path.display()))
    }

    fn parse(text: &str) -> Result<Scenario, String> {
        serde_saphyr::from_str(text).map_err(|error| error.to_string())
    }

    /// The same for the binaries of the peers.
    fn arguments(&self) -> Vec<String> {
        let Hosts { client, idle } = &self.hosts;
        let mut words: Vec<String> = self.load.iter().map(|load| load.op.clone()).collect();
        words.push(format!("clients={}", client.count));
        words.push(format!("idle={}", idle.as_ref().map_or(0, |group| group.count)));
        words.extend(client.with.iter().map(|(name, figure)| format!("{name}={figure}")));
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_told_what_the_scenarios_say() {
        let told = |(file, _)| Scenario::read(file).unwrap().arguments().join(" ");
        let lines: Vec<String> = Workload::ALL.iter().flat_map(|workload| workload.scenarios()).map(told).collect();
        insta::assert_snapshot!(lines.join("\n"), @r"
    echo clients=10 idle=0 requests=100
    echo clients=100 idle=0 requests=100
    http clients=20 idle=0 requests=50
    web clients=20 idle=0 requests=50
    idle clients=1 idle=8 gap_s=7200
    bulk clients=1 idle=0 chunk=32768 mib=64
    bulk clients=1 idle=0 chunk=1460 mib=64
    churn clients=1 idle=0 requests=5000
    scale clients=10 idle=1000 requests=60
    scale clients=10 idle=50 requests=60
    scale clients=10 idle=1000 requests=1
    scale clients=10 idle=1000 requests=1
    scale clients=10 idle=2000 requests=1
    scale clients=10 idle=2000 requests=1
    scale clients=20 idle=1000 requests=1
    scale clients=20 idle=1000 requests=1
    ");
    }

    #[test]
    fn a_run_that_did_not_pass_has_no_figures() {
        let line = r#"{"verdict":"fail","wall_s":1.0,"metrics":{"ops.latency.max":2.02}}"#;
        assert_eq!(of_halfopen(line).err().as_deref(), Some("the verdict is fail"));
        assert!(of_halfopen(&line.replace("fail", "pass")).is_ok_and(|said| said.client_s == 2.02));
    }
}
