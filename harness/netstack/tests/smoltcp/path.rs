//! A path that loses, delays, reorders and doubles packets, and is narrower than its ends.

use std::collections::BTreeMap;

use halfopen_core::{SimDuration, SimTime, Stream};
use halfopen_fabric::packet::{IcmpError, Packet};

use crate::common::about;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Direction {
    ToStack,
    ToPeer,
}

#[derive(Clone, Debug)]
pub struct PathConfig {
    pub loss_permille: u32,
    pub duplicate_permille: u32,
    /// One way.
    pub latency: SimDuration,
    /// Up to this much more, drawn for each packet: later packets overtake earlier ones.
    pub jitter: SimDuration,
    /// Larger packets with DF are answered with an ICMP error towards the netstack; others are lost.
    pub mtu: u32,
    /// The MTU of netstack's interface.
    pub stack_mtu: u32,
    /// What smoltcp believes the MTU to be.
    pub peer_mtu: usize,
    /// From when and for how long everything is lost.
    pub outage: Option<(SimTime, SimDuration)>,
}

pub struct Path {
    config: PathConfig,
    healed: SimTime,
    random: Stream,
    in_flight: BTreeMap<(SimTime, u64), (Direction, Packet)>,
    sequence: u64,
}

impl Path {
    /// A path that is hostile until `healed`.
    pub fn new(config: PathConfig, healed: SimTime, seed: u64) -> Path {
        Path { config, healed, random: Stream::new(seed, "path", 0), in_flight: BTreeMap::new(), sequence: 0 }
    }

    pub fn send(&mut self, now: SimTime, direction: Direction, packet: Packet) {
        let lost = self.random.below(1000) < u64::from(self.config.loss_permille);
        let doubled = self.random.below(1000) < u64::from(self.config.duplicate_permille);
        let jitters = [(); 2].map(|()| SimDuration::from_nanos(self.random.below(self.config.jitter.as_nanos() + 1)));
        let out = self.config.outage.is_some_and(|(from, span)| now >= from && now < from + span);
        if (lost || out) && now < self.healed {
            return;
        }
        if packet.wire_len() > self.config.mtu as usize {
            if direction == Direction::ToPeer && packet.dont_fragment {
                let answer = about(&packet, IcmpError::TooBig { mtu: self.config.mtu });
                self.schedule(now + jitters[0], Direction::ToStack, answer);
            }
            return;
        }
        if doubled {
            self.schedule(now + jitters[1], direction, packet.clone());
        }
        self.schedule(now + jitters[0], direction, packet);
    }

    fn schedule(&mut self, leaves: SimTime, direction: Direction, packet: Packet) {
        self.sequence += 1;
        self.in_flight.insert((leaves + self.config.latency, self.sequence), (direction, packet));
    }

    pub fn next_arrival(&self) -> Option<SimTime> {
        self.in_flight.keys().next().map(|&(at, _)| at)
    }

    /// The next packet that has arrived.
    pub fn arrive(&mut self, now: SimTime) -> Option<(Direction, Packet)> {
        let entry = self.in_flight.first_entry()?;
        (entry.key().0 <= now).then(|| entry.remove())
    }
}
