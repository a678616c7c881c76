//! What must look random to the network and yet be the same in every run: keyed hashes of tuples, as Linux has them.

use std::net::{IpAddr, SocketAddr};

use halfopen_core::{SimTime, Stream};
use halfopen_fabric::packet::SeqNum;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::flows::Tuple;

/// Initial sequence numbers advance by one every 64 ns (Linux `seq_scale`), so that a tuple that is used again starts
/// beyond what it had.
const ISN_TICK_SHIFT: u32 = 6;

/// The stack's random stream and the key that it drew first.
#[derive(Debug)]
pub(super) struct Secrets {
    key: u64,
    random: Stream,
    /// Moves the start of `connect`'s port scan on with each use (Linux `table_perturb`).
    port_perturbation: u32,
}

impl Secrets {
    pub fn new(mut random: Stream) -> Secrets {
        Secrets { key: random.next_u64(), random, port_perturbation: 0 }
    }

    /// A hash of both ends that nobody outside can guess.
    pub fn tuple_hash(&self, purpose: &str, local: SocketAddr, remote: SocketAddr) -> u64 {
        let mut bytes = Vec::with_capacity(64);
        bytes.extend_from_slice(purpose.as_bytes());
        for end in [local, remote] {
            match end.ip() {
                IpAddr::V4(ip) => bytes.extend_from_slice(&ip.octets()),
                IpAddr::V6(ip) => bytes.extend_from_slice(&ip.octets()),
            }
            bytes.extend_from_slice(&end.port().to_be_bytes());
        }
        xxh3_64_with_seed(&bytes, self.key)
    }

    /// RFC 6528: a clock plus a keyed hash of the tuple.
    pub fn initial_sequence(&self, now: SimTime, tuple: Tuple) -> SeqNum {
        let clock = (now.as_nanos() >> ISN_TICK_SHIFT) as u32;
        SeqNum((self.tuple_hash("isn", tuple.local, tuple.remote) as u32).wrapping_add(clock))
    }

    /// The same for all connections between two addresses, so that timestamps grow from one to the next (Linux
    /// `secure_tcp_ts_off`).
    pub fn timestamp_offset(&self, tuple: Tuple) -> u32 {
        let portless = |end: SocketAddr| SocketAddr::new(end.ip(), 0);
        self.tuple_hash("timestamp", portless(tuple.local), portless(tuple.remote)) as u32
    }

    pub fn first_ip_id(&self, tuple: Tuple) -> u16 {
        self.tuple_hash("ip-id", tuple.local, tuple.remote) as u16
    }

    /// Where `connect`'s scan of `count` ports towards `remote` begins: even. One draw.
    pub fn connect_scan_start(&mut self, local: IpAddr, remote: SocketAddr, count: u32) -> u32 {
        let hash = self.tuple_hash("port", SocketAddr::new(local, 0), remote) as u32;
        let start = hash.wrapping_add(self.port_perturbation) % count.max(1);
        self.port_perturbation = self.port_perturbation.wrapping_add(2 * self.random.below(8) as u32 + 2);
        start & !1
    }

    /// Where `bind`'s scan of `count` ports begins. One draw.
    pub fn bind_scan_start(&mut self, count: u32) -> u32 {
        self.random.below(u64::from(count)) as u32
    }
}
