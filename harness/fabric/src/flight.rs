//! Packets under way.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use halfopen_core::event::Direction;
use halfopen_core::{HostId, SimTime};

use crate::packet::Packet;
use crate::scope::Ends;

/// A packet and where it is.
#[derive(Debug)]
pub(crate) struct Flight {
    pub packet: Box<Packet>,
    pub ends: Ends,
    pub place: Place,
    /// The link that it is in, and its direction there: its books wait for the packet to come out.
    pub inside: Option<(usize, Direction)>,
    /// It has met a link before.
    pub met_link: bool,
}

/// Where a packet is between elements.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// On a route, before the element number `cursor` seen forward: that many elements lie between it and the first
    /// end.
    OnRoute { route: usize, cursor: usize, direction: Direction },
    /// On no route: straight to this host.
    Direct(HostId),
}

/// All packets under way, in the order in which they arrive; those that arrive at one instant in the order in which
/// they set out.
#[derive(Debug, Default)]
pub(crate) struct Sky {
    arrivals: BinaryHeap<Reverse<(SimTime, u64, usize)>>,
    /// By slot; a heap of whole packets would move them about.
    flights: Vec<Option<Flight>>,
    free: Vec<usize>,
    sequence: u64,
}

impl Sky {
    pub(crate) fn launch(&mut self, arrival: SimTime, flight: Flight) {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.flights.push(None);
                self.flights.len() - 1
            }
        };
        let empty = self.flights[slot].replace(flight);
        assert!(empty.is_none(), "a free slot holds nothing");
        self.arrivals.push(Reverse((arrival, self.sequence, slot)));
        self.sequence += 1;
    }

    /// When the next packet arrives; `None` if that is never.
    pub(crate) fn next_arrival(&self) -> Option<SimTime> {
        self.arrivals.peek().map(|&Reverse((arrival, ..))| arrival).filter(|&arrival| arrival < SimTime::FAR_FUTURE)
    }

    /// The next packet that arrives by `now`.
    pub(crate) fn land(&mut self, now: SimTime) -> Option<Flight> {
        let &Reverse((arrival, _, slot)) = self.arrivals.peek()?;
        if arrival > now {
            return None;
        }
        self.arrivals.pop();
        self.free.push(slot);
        let flight = self.flights[slot].take();
        assert!(flight.is_some(), "every arrival has a packet");
        flight
    }

    /// All packets under way, in no order of meaning.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Flight> {
        self.flights.iter().flatten()
    }
}
