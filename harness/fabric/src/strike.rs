//! Faults set to work, and lifted.

use std::collections::BTreeSet;
use std::sync::Arc;

use halfopen_core::id::FaultId;
use halfopen_core::{SimTime, Stream};

use crate::delay::Sampler;
use crate::fabric::{ActiveFault, Fabric};
use crate::fault::{FaultKind, NetFault, Target};
use crate::scope::Reach;
use crate::topology::{Element, Kind, Owner};
use crate::tracker::Flow;

impl Fabric {
    /// A fault begins. One that is at work already is lifted first.
    ///
    /// `NatEvict` and `NatFlush` are done at once; the others last until they are lifted.
    pub fn apply(&mut self, now: SimTime, fault: FaultId, what: &NetFault) {
        self.on_timer(now);
        self.lift(now, fault);
        let NetFault { scope, kind } = what;
        let begun = self.begun.entry(fault).or_default();
        let time = *begun;
        *begun += 1;
        let reach = Arc::new(Reach::new(scope));
        if is_of_boxes(kind) {
            for index in self.boxes_hit(&scope.target, &reach) {
                self.strike_box(now, index, fault, kind, &reach);
            }
            return;
        }
        let sampler = match kind {
            FaultKind::Latency { add: latency } | FaultKind::RouteChange { latency, .. } => {
                Some(Sampler::new(*latency))
            }
            _ => None,
        };
        let active = ActiveFault { kind: kind.clone(), reach, sampler, time, begun: now };
        for index in self.links_hit(&scope.target, &active.reach) {
            strike_link(self.seed, &mut self.topology.elements[index], fault, &active);
        }
        self.active.insert(fault, active);
    }

    /// A fault ends. One that is not at work is none of anybody's business.
    pub fn lift(&mut self, now: SimTime, fault: FaultId) {
        self.on_timer(now);
        self.active.remove(&fault);
        for element in &mut self.topology.elements {
            match &mut element.kind {
                Kind::Link(link) => link.unstrike(fault),
                Kind::Middlebox(middlebox) => middlebox.restore(fault),
            }
        }
    }

    /// A link was made for two hosts: the faults at work hit it too.
    pub(crate) fn strike_new_route(&mut self, route: usize) {
        let groups = (&self.topology.routes[route].first[..], &self.topology.routes[route].second[..]);
        let hits = self.active.iter().filter(|(_, active)| active.reach.touches(route, groups));
        for (&fault, active) in hits {
            for &index in &self.topology.routes[route].via {
                strike_link(self.seed, &mut self.topology.elements[index], fault, active);
            }
        }
    }

    /// The elements on the routes that a fault touches, or the one that is named; each once, in order.
    fn elements_hit(&self, target: &Target, reach: &Reach) -> Vec<usize> {
        if let Target::Element(name) = target {
            let named = |element: &Element| element.name.as_deref() == Some(name);
            return self.topology.elements.iter().position(named).into_iter().collect();
        }
        let touched = self
            .topology
            .routes
            .iter()
            .enumerate()
            .filter(|(number, route)| reach.touches(*number, (&route.first, &route.second)));
        let mut hit: Vec<usize> = touched.flat_map(|(_, route)| route.via.iter().copied()).collect();
        hit.sort_unstable();
        hit.dedup();
        hit
    }

    fn links_hit(&self, target: &Target, reach: &Reach) -> Vec<usize> {
        let mut hit = self.elements_hit(target, reach);
        hit.retain(|&index| matches!(self.topology.elements[index].kind, Kind::Link(_)));
        hit
    }

    fn boxes_hit(&self, target: &Target, reach: &Reach) -> Vec<usize> {
        let mut hit = self.elements_hit(target, reach);
        hit.retain(|&index| matches!(self.topology.elements[index].kind, Kind::Middlebox(_)));
        hit
    }

    fn strike_box(&mut self, now: SimTime, index: usize, fault: FaultId, kind: &FaultKind, reach: &Reach) {
        let owner_of = |address| match self.topology.owner(address) {
            Some(Owner::Host(host)) => Some(host),
            _ => None,
        };
        // Who the ends of the flows are is asked before the table is changed.
        let meant = |flow: &Flow| reach.covers_flow(owner_of(flow.inner.ip()), owner_of(flow.remote.ip()));
        let ids: BTreeSet<_> = match &self.topology.elements[index].kind {
            Kind::Middlebox(middlebox) => middlebox.flows().filter(|(_, flow)| meant(flow)).map(|(id, _)| id).collect(),
            Kind::Link(_) => return,
        };
        let Kind::Middlebox(middlebox) = &mut self.topology.elements[index].kind else { return };
        match kind {
            FaultKind::NatEvict { flows } => middlebox.evict(now, *flows, &ids, &mut self.events),
            FaultKind::NatFlush => middlebox.flush(now, &mut self.events),
            FaultKind::NatReboot => {
                middlebox.flush(now, &mut self.events);
                middlebox.switch_off(fault);
            }
            FaultKind::NatFull => middlebox.refuse(fault),
            _ => {}
        }
        self.arm(index);
    }
}

/// Whether a fault is one of boxes with tables; the others are of links.
const fn is_of_boxes(kind: &FaultKind) -> bool {
    match kind {
        FaultKind::NatEvict { .. } | FaultKind::NatFlush | FaultKind::NatReboot | FaultKind::NatFull => true,
        FaultKind::Loss { .. }
        | FaultKind::Latency { .. }
        | FaultKind::Bandwidth { .. }
        | FaultKind::Duplicate { .. }
        | FaultKind::Reorder { .. }
        | FaultKind::Corrupt { .. }
        | FaultKind::Mtu { .. }
        | FaultKind::Unreachable { .. }
        | FaultKind::RouteChange { .. } => false,
    }
}

/// Each fault has a stream of its own at each direction of each link, and another one each time it begins.
fn strike_link(seed: u64, element: &mut Element, fault: FaultId, active: &ActiveFault) {
    let ActiveFault { kind, reach, sampler, time, begun } = active;
    let label = &element.label;
    let streams = |direction: &str| Stream::new(seed, &format!("fault.{}.{label}.{direction}", fault.index()), *time);
    if let Kind::Link(link) = &mut element.kind {
        link.strike(*begun, fault, kind, sampler.as_ref(), reach, streams);
    }
}
