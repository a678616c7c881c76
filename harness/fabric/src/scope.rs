//! Which packets a fault covers.

use halfopen_core::HostId;
use halfopen_core::event::Direction;

use crate::fault::{Scope, Target};

/// The hosts between whom a packet goes, as far as they are known: a packet to a NAT that has no entry for it goes to
/// nobody, and what a router says comes from nobody.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Ends {
    pub from: Option<HostId>,
    pub to: Option<HostId>,
}

impl Ends {
    /// Those of an answer.
    pub(crate) fn reverse(self) -> Ends {
        Ends { from: self.to, to: self.from }
    }
}

/// A packet's passage through a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Passage {
    pub ends: Ends,
    pub route: usize,
    pub direction: Direction,
    /// It meets no link before this one.
    pub first_link: bool,
}

/// A [`Scope`] made ready for the question that every packet asks.
#[derive(Debug)]
pub(crate) enum Reach {
    Everything,
    /// The groups are in order.
    Pairs {
        first: Vec<HostId>,
        second: Vec<HostId>,
        direction: Option<Direction>,
    },
    Route {
        route: usize,
        direction: Option<Direction>,
    },
    /// One link, by its name.
    Element {
        direction: Option<Direction>,
    },
}

impl Reach {
    pub(crate) fn new(scope: &Scope) -> Reach {
        let direction = scope.direction;
        let sorted = |group: &[HostId]| {
            let mut group = group.to_vec();
            group.sort_unstable();
            group
        };
        match &scope.target {
            Target::Everything => Reach::Everything,
            Target::Pairs(first, second) => Reach::Pairs { first: sorted(first), second: sorted(second), direction },
            Target::Route(route) => Reach::Route { route: route.index(), direction },
            Target::Element(_) => Reach::Element { direction },
        }
    }

    /// Whether the fault is for a packet that passes so.
    pub(crate) fn covers(&self, passage: &Passage) -> bool {
        let this_way = |wanted: &Option<Direction>| wanted.is_none_or(|wanted| wanted == passage.direction);
        match self {
            Reach::Element { direction } => this_way(direction),
            _ if !passage.first_link => false,
            Reach::Everything => true,
            Reach::Route { route, direction } => *route == passage.route && this_way(direction),
            Reach::Pairs { first, second, direction } => {
                let Ends { from, to } = passage.ends;
                let forward = *direction != Some(Direction::Backward) && has(first, from) && has(second, to);
                let backward = *direction != Some(Direction::Forward) && has(second, from) && has(first, to);
                // At least one end must be known, or every fault would cover what nobody sent to nobody.
                (from.is_some() || to.is_some()) && (forward || backward)
            }
        }
    }

    /// Whether any packet between these two groups could be covered.
    pub(crate) fn touches(&self, route: usize, groups: (&[HostId], &[HostId])) -> bool {
        match self {
            Reach::Everything => true,
            Reach::Element { .. } => false,
            Reach::Route { route: wanted, .. } => *wanted == route,
            Reach::Pairs { first, second, .. } => {
                let meet = |a: &[HostId], b: &[HostId]| a.iter().any(|host| b.binary_search(host).is_ok());
                (meet(groups.0, first) && meet(groups.1, second)) || (meet(groups.0, second) && meet(groups.1, first))
            }
        }
    }

    /// Whether a flow between these hosts is meant by a fault of boxes.
    pub(crate) fn covers_flow(&self, inner: Option<HostId>, remote: Option<HostId>) -> bool {
        match self {
            Reach::Pairs { first, second, .. } => {
                (has(first, inner) && has(second, remote)) || (has(second, inner) && has(first, remote))
            }
            Reach::Everything | Reach::Route { .. } | Reach::Element { .. } => true,
        }
    }
}

/// Whether the host is in the group; one that is not known may be.
fn has(group: &[HostId], host: Option<HostId>) -> bool {
    host.is_none_or(|host| group.binary_search(&host).is_ok())
}
