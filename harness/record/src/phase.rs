//! When and where: the phases that faults cut a run into, and the hosts that a question is about.
//!
//! Every start and end of a fault begins a new *segment*. What happens is counted in the segment in which it happens
//! (an op, with all that becomes of it, in the one in which it began), so that a phase is a set of whole segments and
//! the order of events at one instant decides, not their time stamps.

use std::collections::BTreeSet;

use halfopen_core::event::Event;
use halfopen_core::id::FaultId;
use halfopen_core::{HostId, SimTime};

/// Which part of a run.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Phase {
    /// All of it.
    #[default]
    Whole,
    /// Until the fault of this name first began.
    Before(String),
    /// While a fault of this name was on. One that never ended was on until the run ended.
    During(String),
    /// From the last end of a fault of this name on. Empty if it never ended.
    After(String),
}

/// Which hosts.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Scope {
    /// All of them, and the network between.
    #[default]
    All,
    /// The hosts with these names; a name also stands for its instances (`app` for `app-1`, `app-2`, ...).
    Hosts(Vec<String>),
}

/// One time that a fault was on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FaultSpan {
    /// The fault of the timeline.
    pub fault: FaultId,
    /// Its name in the scenario.
    pub name: String,
    /// When it began.
    pub from: SimTime,
    /// When it ended, if it did.
    pub to: Option<SimTime>,
    first_segment: usize,
    end_segment: Option<usize>,
}

/// The segments of a run and the faults that cut it.
#[derive(Clone, Debug)]
pub(crate) struct Timeline {
    /// When each segment began; each lasts until the next one or the end of the run.
    starts: Vec<SimTime>,
    faults: Vec<FaultSpan>,
}

impl Timeline {
    pub(crate) fn new() -> Timeline {
        Timeline { starts: vec![SimTime::ZERO], faults: Vec::new() }
    }

    /// The segment that is going on.
    pub(crate) fn current(&self) -> usize {
        self.starts.len() - 1
    }

    pub(crate) fn faults(&self) -> &[FaultSpan] {
        &self.faults
    }

    /// When the first fault began.
    pub(crate) fn first_fault(&self) -> Option<SimTime> {
        self.faults.iter().map(|span| span.from).min()
    }

    pub(crate) fn on_event(&mut self, at: SimTime, event: &Event) {
        match event {
            Event::FaultStarted { fault, name } => {
                let first_segment = self.cut(at);
                let (fault, name) = (*fault, name.clone());
                self.faults.push(FaultSpan { fault, name, from: at, to: None, first_segment, end_segment: None });
            }
            Event::FaultEnded { fault, .. } => {
                let end_segment = self.cut(at);
                let open = self.faults.iter_mut().find(|span| span.fault == *fault && span.to.is_none());
                if let Some(span) = open {
                    span.to = Some(at);
                    span.end_segment = Some(end_segment);
                }
            }
            _ => {}
        }
    }

    fn cut(&mut self, at: SimTime) -> usize {
        self.starts.push(at);
        self.current()
    }

    /// Which segments a phase consists of; `None` if no fault of that name ever began.
    pub(crate) fn segments(&self, phase: &Phase) -> Option<Vec<bool>> {
        let count = self.starts.len();
        let named = |name: &str| -> Option<Vec<&FaultSpan>> {
            let spans: Vec<_> = self.faults.iter().filter(|span| span.name == name).collect();
            if spans.is_empty() { None } else { Some(spans) }
        };
        let end = |span: &FaultSpan| span.end_segment.unwrap_or(count);
        Some(match phase {
            Phase::Whole => vec![true; count],
            Phase::Before(name) => {
                let first = named(name)?.iter().map(|span| span.first_segment).min()?;
                (0..count).map(|segment| segment < first).collect()
            }
            Phase::During(name) => {
                let spans = named(name)?;
                let on = |segment| spans.iter().any(|span| (span.first_segment..end(span)).contains(&segment));
                (0..count).map(on).collect()
            }
            Phase::After(name) => {
                let last = named(name)?.iter().map(|span| end(span)).max()?;
                (0..count).map(|segment| segment >= last).collect()
            }
        })
    }

    /// The stretches of time that these segments cover, neighbours joined.
    pub(crate) fn spans(&self, segments: &[bool], run_end: SimTime) -> Vec<(SimTime, SimTime)> {
        let mut spans: Vec<(SimTime, SimTime)> = Vec::new();
        for (index, _) in segments.iter().enumerate().filter(|(_, wanted)| **wanted) {
            let from = self.starts[index];
            let to = self.starts.get(index + 1).copied().unwrap_or(run_end).max(from);
            match spans.last_mut() {
                Some(last) if last.1 == from => last.1 = to,
                _ => spans.push((from, to)),
            }
        }
        spans
    }
}

/// A question's phase and scope, resolved for one run.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) segments: Vec<bool>,
    pub(crate) spans: Vec<(SimTime, SimTime)>,
    /// `None`: all hosts, and what belongs to no host.
    pub(crate) hosts: Option<BTreeSet<HostId>>,
    /// The fault whose end recovery is counted from; `None`: the last of all.
    pub(crate) fault: Option<String>,
}

impl View {
    pub(crate) fn has_host(&self, host: HostId) -> bool {
        self.hosts.as_ref().is_none_or(|hosts| hosts.contains(&host))
    }

    pub(crate) fn has_segment(&self, segment: usize) -> bool {
        self.segments.get(segment).copied().unwrap_or(false)
    }

    /// The nanoseconds that all spans last together.
    pub(crate) fn length(&self) -> u64 {
        self.spans.iter().map(|(from, to)| to.since(*from).as_nanos()).sum()
    }

    /// The parts of a stretch of time that lie inside, as nanoseconds each.
    pub(crate) fn clip(&self, from: SimTime, to: SimTime) -> impl Iterator<Item = u64> {
        self.spans.iter().filter_map(move |(start, end)| {
            let (from, to) = (from.max(*start), to.min(*end));
            (from < to).then(|| to.since(from).as_nanos())
        })
    }
}

/// Whether `host` is called `name` or is one of its instances (`app-3` of `app`).
pub(crate) fn is_instance_of(host: &str, name: &str) -> bool {
    let Some(rest) = host.strip_prefix(name) else { return false };
    let number = rest.strip_prefix(['-', '.', '#', '/']);
    rest.is_empty() || number.is_some_and(|n| !n.is_empty() && n.bytes().all(|byte| byte.is_ascii_digit()))
}
