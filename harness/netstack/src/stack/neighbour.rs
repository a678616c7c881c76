//! Neighbours of the host's own link that nobody is: packets to them wait for an answer that does not come.
//!
//! Everybody else is reached through a router that is known, as it is with a point-to-point device or in a cloud whose
//! hypervisor answers ARP for every address. So there is one thing that a neighbour entry does here: it fails (Linux
//! net/core/neighbour.c, NUD_INCOMPLETE to NUD_FAILED).

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};

use halfopen_core::event::DropReason;
use halfopen_core::{SimDuration, SimTime};
use halfopen_fabric::packet::{IcmpError, Packet};

use super::icmp::{CODE_HOST, quote};
use super::{Netstack, Timer};
use crate::memory;

/// How often a neighbour is asked for (Linux `net.ipv4.neigh.default.mcast_solicit`).
const QUESTIONS: u64 = 3;
/// How long after each question (Linux `net.ipv4.neigh.default.retrans_time_ms`).
const QUESTION_GAP: SimDuration = SimDuration::from_secs(1);
/// What may wait for one neighbour, in bytes of memory; then the oldest goes (Linux
/// `net.ipv4.neigh.default.unres_qlen_bytes`).
const WAITING_BYTES_MAX: usize = 212_992;

/// A part of the host's own link in which no address has an owner.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SilentLink {
    /// Any address of it.
    pub address: Ipv4Addr,
    /// Bits of its prefix, 0 to 32.
    pub prefix_len: u8,
}

impl SilentLink {
    fn contains(self, ip: IpAddr) -> bool {
        let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix_len)).unwrap_or(0);
        matches!(ip, IpAddr::V4(v4) if (v4.to_bits() ^ self.address.to_bits()) & mask == 0)
    }
}

/// What waits for whom.
#[derive(Debug, Default)]
pub(super) struct Neighbours {
    pub silent: Option<SilentLink>,
    waiting: BTreeMap<IpAddr, VecDeque<Packet>>,
}

impl Neighbours {
    /// Whether packets to this address wait in vain.
    pub fn is_silent(&self, ip: IpAddr) -> bool {
        self.silent.is_some_and(|silent| silent.contains(ip))
    }

    /// A packet waits. Gives whether its neighbour must be asked for, and what has to go to make room.
    fn wait(&mut self, packet: Packet) -> (bool, Vec<Packet>) {
        let cost = |packet: &Packet| memory::datagram(packet.wire_len());
        let first = !self.waiting.contains_key(&packet.dst);
        let queue = self.waiting.entry(packet.dst).or_default();
        let mut dropped = Vec::new();
        while queue.iter().map(cost).sum::<usize>() + cost(&packet) > WAITING_BYTES_MAX
            && let Some(oldest) = queue.pop_front()
        {
            dropped.push(oldest);
        }
        queue.push_back(packet);
        (first, dropped)
    }

    pub fn clear(&mut self) {
        self.waiting.clear();
    }
}

impl Netstack {
    /// Takes a packet to a silent address: the first begins to ask.
    pub(super) fn await_neighbour(&mut self, now: SimTime, packet: Packet) {
        let neighbour = packet.dst;
        let (first, dropped) = self.neighbours.wait(packet);
        for packet in dropped {
            self.report_drop(DropReason::NoRoute, packet.info());
        }
        if first {
            self.timers.insert((now + QUESTION_GAP * QUESTIONS, Timer::Neighbour(neighbour)));
        }
    }

    /// Nobody has answered: the host tells itself that the neighbour is unreachable, of each packet that waited (Linux
    /// `arp_error_report`). The next packet asks anew.
    pub(super) fn give_up_neighbour(&mut self, now: SimTime, neighbour: IpAddr) {
        for packet in self.neighbours.waiting.remove(&neighbour).unwrap_or_default() {
            self.report_drop(DropReason::NoRoute, packet.info());
            self.on_icmp_error(now, IcmpError::Unreachable { code: CODE_HOST }, &quote(&packet));
        }
    }
}
