//! The receive side: bytes in order, bytes beyond a gap, and the window that is offered.
//!
//! A share of the buffer is offered as window (Linux's `scaling_ratio`): half at first, so the default `tcp_rmem` of
//! 128 KiB gives the 64240 and 65160 that Linux shows (the SYN and SYN-ACK of every fidelity case); then as much as
//! segments of the peer's size leave after the memory around them. The window only ever shrinks by being used. What is
//! queued takes of the buffer what the packets that brought it take of memory.

use std::collections::VecDeque;

use bytes::Bytes;
use halfopen_core::{SimDuration, SimTime};

use super::reassembly::Reassembly;
use super::space::{ORIGIN, Space};
use crate::memory::{DESCRIPTOR, RECEIVED_AROUND};

/// Largest window scale (RFC 7323).
const WINDOW_SCALE_MAX: u32 = 14;
/// First guess of the peer's segment size (Linux TCP_MSS_DEFAULT).
const MSS_DEFAULT: u32 = 536;
/// Least guess of the peer's segment size (Linux TCP_MIN_MSS).
const MSS_MIN: u32 = 88;
/// Whole of a share of the buffer (Linux TCP_RMEM_TO_WIN_SCALE: 8 bits).
const RATIO_WHOLE: u64 = 256;
/// The share before a segment was seen (Linux TCP_DEFAULT_SCALING_RATIO).
const RATIO_INITIAL: u64 = RATIO_WHOLE / 2;
/// Segments smaller than this do not let the window grow (Linux tcp_event_data_recv).
const GROWTH_SEGMENT_MIN: usize = 128;

/// Headers of a segment with timestamps.
const HEADERS: u64 = 52;
/// How much of its data fits into a page, and what that takes: so is what does not fit packed together (tcp_collapse).
const PAGE: u64 = 4096;

/// The block of kmalloc's in which a received segment lies.
fn block(payload: usize) -> u64 {
    (payload as u64 + HEADERS + RECEIVED_AROUND).next_power_of_two()
}

/// What a received segment takes of memory (Linux alloc_skb and SKB_TRUESIZE). Measured with a TUN device: 1448 bytes
/// take 2304, and the window goes to 160/256 of the buffer (fidelity case flow/slow-start).
fn true_size(payload: usize) -> u64 {
    block(payload) + DESCRIPTOR
}

/// Bytes in order that nobody has read yet.
#[derive(Clone, Debug)]
struct Chunk {
    data: Bytes,
    /// What is free when its last byte is read. A packet whose data lies in the room behind another's goes with it.
    memory: u64,
    /// Room behind it, in its block.
    room: u64,
}

/// What the receiver keeps.
#[derive(Clone, Debug)]
pub(super) struct Receiver {
    pub space: Space,
    /// Next position expected.
    pub nxt: u64,
    /// `nxt` at the time of the last window update sent.
    pub wup: u64,
    /// The window that was last offered.
    pub wnd: u64,
    /// Scale of the windows that are offered.
    pub scale: u8,
    /// SO_RCVBUF as it now is.
    buffer: u64,
    locked: bool,
    buffer_max: u64,
    /// How much of the buffer is window, in parts of [`RATIO_WHOLE`].
    ratio: u64,
    /// Most that is ever offered.
    clamp: u64,
    /// The offered window grows to this as segments arrive (Linux rcv_ssthresh).
    threshold: u64,
    pub advertised_mss: u32,
    /// Guess of the peer's segment size, to know full segments.
    pub peer_mss: u32,
    queue: VecDeque<Chunk>,
    queued: usize,
    /// What the queue takes of the buffer (Linux sk_rmem_alloc).
    memory: u64,
    pub reassembly: Reassembly,
    /// Position of the peer's FIN, once seen.
    pub fin: Option<u64>,
    /// The FIN's turn came: it takes a place in the sequence but not in the buffer.
    fin_taken: bool,
    /// A duplicate to report with the next ACK.
    pub duplicate: Option<(u64, u64)>,
    tuning: Tuning,
}

/// What a segment told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Noted {
    /// It is as large as the peer's segments get.
    pub full: bool,
    /// The offered window may grow.
    pub window_grew: bool,
}

/// Dynamic right-sizing of the buffer.
#[derive(Clone, Default, Debug)]
struct Tuning {
    enabled: bool,
    /// Eightfold RTT in microseconds, as a receiver sees it.
    rtt8: u64,
    /// Bytes that the program took in the last round trip.
    space: u64,
    /// Where and when the current round trip began.
    copied: u64,
    since: SimTime,
    /// A window's worth of data is being timed.
    timed: Option<(u64, SimTime)>,
    last_echo: u32,
    /// How much came in order at the latest instant at which any did.
    arrived: (SimTime, usize),
}

/// Sizes that a receiver starts from.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReceiverConfig {
    /// SO_RCVBUF if the program set it.
    pub locked_buffer: Option<u32>,
    /// tcp_rmem.
    pub rmem: [u32; 3],
    /// rmem_max.
    pub rmem_max: u32,
    pub window_scaling: bool,
    pub moderate: bool,
    /// MSS that the window is rounded to.
    pub rounding_mss: u32,
    /// MSS that we advertise, without options.
    pub advertised_mss: u32,
}

impl Receiver {
    pub fn new(config: ReceiverConfig) -> Receiver {
        let buffer = u64::from(config.locked_buffer.unwrap_or(config.rmem[1]));
        let mut clamp = 65_535u64 << WINDOW_SCALE_MAX;
        if config.locked_buffer.is_some() {
            clamp = clamp.min(buffer / 2);
        }
        let mss = u64::from(config.rounding_mss);
        let space = (buffer / 2).min(clamp);
        let mut window = if space > mss { space / mss * mss } else { space };
        let mut scale = 0;
        if config.window_scaling {
            let largest = space.max(u64::from(config.rmem[2])).max(u64::from(config.rmem_max)).min(clamp);
            scale = largest.max(1).ilog2().saturating_sub(15).min(WINDOW_SCALE_MAX) as u8;
        } else {
            window = window.min(65_535);
            clamp = clamp.min(65_535);
        }
        Receiver {
            space: Space::new(halfopen_fabric::packet::SeqNum(0)),
            nxt: ORIGIN,
            wup: ORIGIN,
            wnd: window,
            scale,
            buffer,
            locked: config.locked_buffer.is_some(),
            buffer_max: u64::from(config.rmem[2]),
            ratio: RATIO_INITIAL,
            clamp: clamp.min(buffer / 2),
            threshold: window,
            advertised_mss: config.advertised_mss,
            peer_mss: MSS_DEFAULT.min(config.advertised_mss),
            queue: VecDeque::new(),
            queued: 0,
            memory: 0,
            reassembly: Reassembly::default(),
            fin: None,
            fin_taken: false,
            duplicate: None,
            tuning: Tuning { enabled: config.moderate && config.locked_buffer.is_none(), ..Tuning::default() },
        }
    }

    /// The peer's SYN came: its sequence space begins.
    pub fn begin(&mut self, now: SimTime, space: Space) {
        self.space = space;
        self.nxt = ORIGIN + 1;
        self.wup = self.nxt;
        self.tuning.space = self.threshold.min(self.wnd).min(10 * u64::from(self.advertised_mss));
        self.tuning.copied = self.nxt;
        self.tuning.since = now;
    }

    /// The peer does not scale windows.
    pub fn stop_scaling(&mut self) {
        self.scale = 0;
        self.wnd = self.wnd.min(65_535);
        self.clamp = self.clamp.min(65_535);
        self.threshold = self.threshold.min(65_535);
    }

    /// SO_RCVBUF was set.
    pub fn set_buffer(&mut self, bytes: u32) {
        self.buffer = u64::from(bytes);
        self.locked = true;
        self.tuning.enabled = false;
        self.clamp = self.full_space();
    }

    /// Bytes ready to be read.
    pub fn queued(&self) -> usize {
        self.queued
    }

    /// How much of the offered window is left.
    pub fn window_left(&self) -> u64 {
        (self.wup + self.wnd).saturating_sub(self.nxt)
    }

    /// Position of the next byte that the program will read.
    pub fn copied(&self) -> u64 {
        self.nxt - self.queued as u64 - u64::from(self.fin_taken)
    }

    /// Takes the FIN if it is its turn. Says so only once.
    pub fn take_fin(&mut self) -> bool {
        let due = self.fin == Some(self.nxt) && !self.fin_taken;
        if due {
            self.nxt += 1;
            self.fin_taken = true;
        }
        due
    }

    fn full_space(&self) -> u64 {
        self.window_from(self.buffer)
    }

    fn window_from(&self, space: u64) -> u64 {
        space * self.ratio / RATIO_WHOLE
    }

    fn free_space(&self) -> u64 {
        let space = self.window_from(self.buffer.saturating_sub(self.memory));
        space.saturating_sub(self.reassembly.bytes() as u64)
    }

    /// Bytes in order come at this instant.
    pub fn note_arrival(&mut self, now: SimTime, len: usize) {
        let (instant, before) = self.tuning.arrived;
        self.tuning.arrived = (now, if instant == now { before + len } else { len });
    }

    /// Appends bytes in order.
    pub fn append(&mut self, data: Bytes) {
        self.nxt += data.len() as u64;
        self.queued += data.len();
        if data.is_empty() {
            return;
        }
        let len = data.len() as u64;
        // By its bytes and not by what they take, so that a small buffer is of use (Linux tcp_can_ingest).
        if self.memory > self.buffer {
            self.make_room();
        }
        let chunk = match self.queue.back_mut() {
            // Copied into the room behind the last one (Linux tcp_try_coalesce).
            Some(last) if last.room >= len => {
                let (memory, room) = (std::mem::take(&mut last.memory), std::mem::take(&mut last.room));
                Chunk { data, memory, room: room - len }
            }
            _ => {
                let memory = true_size(data.len());
                self.memory += memory;
                Chunk { memory, room: block(data.len()) - RECEIVED_AROUND - HEADERS - len, data }
            }
        };
        self.queue.push_back(chunk);
    }

    /// Packets take more than the buffer: it grows as far as it may; else the window is cut. What is not full is packed
    /// together, from the first such packet on (Linux tcp_prune_queue, tcp_clamp_window, tcp_collapse; it drops what does
    /// not fit even so).
    fn make_room(&mut self) {
        if !self.locked && self.buffer < self.buffer_max {
            self.buffer = self.memory.min(self.buffer_max);
        }
        if self.memory > self.buffer {
            self.threshold = self.clamp.min(2 * u64::from(self.advertised_mss));
        }
        let loose = |chunk: &Chunk| self.window_from(chunk.memory) > chunk.data.len() as u64;
        let Some(first) = self.queue.iter().position(loose) else { return };
        for chunk in self.queue.iter_mut().skip(first) {
            (chunk.memory, chunk.room) = (chunk.data.len() as u64 * (PAGE + DESCRIPTOR) / (PAGE - RECEIVED_AROUND), 0);
        }
        self.memory = self.queue.iter().map(|chunk| chunk.memory).sum();
    }

    /// Moves what is now in order out of the reassembly queue. Says whether anything moved.
    pub fn drain_reassembly(&mut self) -> bool {
        let before = self.nxt;
        while let Some(piece) = self.reassembly.pop(self.nxt) {
            self.append(piece);
        }
        self.reassembly.advance(self.nxt);
        self.nxt != before
    }

    /// Copies to the program; consumes unless it only peeks.
    pub fn read(&mut self, now: SimTime, buffer: &mut [u8], peek: bool) -> usize {
        if peek {
            let mut done = 0;
            for chunk in &self.queue {
                let part = chunk.data.len().min(buffer.len() - done);
                buffer[done..done + part].copy_from_slice(&chunk.data[..part]);
                done += part;
            }
            return done;
        }
        let mut done = 0;
        while done < buffer.len() {
            let Some(chunk) = self.queue.front_mut() else { break };
            let part = chunk.data.split_to(chunk.data.len().min(buffer.len() - done));
            buffer[done..done + part.len()].copy_from_slice(&part);
            done += part.len();
            self.queued -= part.len();
            if chunk.data.is_empty() {
                self.memory -= chunk.memory;
                self.queue.pop_front();
            }
            self.tune(now);
        }
        done
    }

    /// Throws unread bytes away.
    pub fn discard(&mut self) {
        self.queue.clear();
        self.queued = 0;
        self.memory = 0;
    }

    /// A segment with data arrived: what is learned of the peer's segments, and the window that may grow.
    pub fn note_segment(&mut self, len: usize) -> Noted {
        let full = len as u32 >= self.peer_mss;
        if full {
            if len as u32 != self.peer_mss {
                self.adapt_ratio(len);
            }
            self.peer_mss = (len as u32).min(self.advertised_mss).max(MSS_MIN);
        }
        let mut room = 0;
        if len >= GROWTH_SEGMENT_MIN {
            room = self.clamp.min(self.free_space()).saturating_sub(self.threshold);
            let growth = (2 * u64::from(self.peer_mss)).max(2 * len as u64);
            self.threshold += room.min(growth);
        }
        Noted { full, window_grew: room > 0 }
    }

    /// Takes data beyond a gap. Gives the part that was here before, if any. The buffer makes room for what is still to
    /// come before it (Linux tcp_data_queue_ofo).
    pub fn take_early(&mut self, start: u64, data: Bytes) -> Option<(u64, u64)> {
        let duplicate = self.reassembly.insert(start, data);
        self.grow_buffer(self.tuning.space);
        duplicate
    }

    /// Segments have another size than was thought: so has the window (Linux tcp_measure_rcv_mss,
    /// tcp_set_window_clamp).
    fn adapt_ratio(&mut self, len: usize) {
        let ratio = (len as u64 * RATIO_WHOLE / true_size(len)).max(1);
        if std::mem::replace(&mut self.ratio, ratio) == ratio {
            return;
        }
        self.clamp = if self.scale > 0 { self.full_space() } else { self.full_space().min(65_535) };
        self.threshold = match self.clamp < self.threshold {
            true => self.clamp,
            false => self.threshold.max(self.wnd.min(self.clamp)),
        };
        self.tuning.space = self.tuning.space.min(self.clamp);
    }

    /// Whether less than half of the buffer is free.
    pub fn is_tight(&self) -> bool {
        self.free_space() < self.full_space().min(self.clamp) / 2
    }

    /// What would be offered now (Linux __tcp_select_window, without the rule against shrinking).
    pub fn fresh_window(&self) -> u64 {
        let full = self.full_space().min(self.clamp);
        let mss = u64::from(self.peer_mss).min(full);
        if mss == 0 {
            return 0;
        }
        let unit = 1u64 << self.scale;
        let mut free = self.free_space();
        if self.is_tight() {
            free = free / unit * unit;
            // Silly window avoidance: nothing rather than a little.
            if free < self.full_space() / 16 || free < mss {
                return 0;
            }
        }
        free = free.min(self.threshold);
        if self.scale > 0 {
            return free.div_ceil(unit) * unit;
        }
        let window = self.wnd;
        if window + mss <= free || window > free {
            free / mss * mss
        } else if mss == full && free > window + full / 2 {
            free
        } else {
            window
        }
    }

    /// Chooses the window for a segment that is about to go out, and gives it as it stands on the wire.
    pub fn advertise(&mut self) -> u16 {
        let left = self.window_left();
        let unit = 1u64 << self.scale;
        let mut window = self.fresh_window();
        if window < left {
            window = left.div_ceil(unit) * unit;
        }
        window = window.min(65_535 * unit);
        self.wnd = window;
        self.wup = self.nxt;
        (window >> self.scale) as u16
    }

    /// Whether reading opened the window enough to tell the peer (Linux tcp_cleanup_rbuf).
    pub fn should_update_window(&self) -> bool {
        let left = self.window_left();
        if 2 * left > self.clamp {
            return false;
        }
        let fresh = self.fresh_window();
        fresh > 0 && fresh >= 2 * left
    }

    /// The timestamp echo of a full segment times a round trip. One of less than a tick of that clock says nothing.
    pub fn note_echo(&mut self, clock: u32, echo: u32, len: usize) {
        if echo != self.tuning.last_echo && len as u32 >= self.peer_mss {
            self.tuning.last_echo = echo;
            let delta = clock.wrapping_sub(echo);
            if (1..u32::MAX / 2).contains(&delta) {
                self.sample_rtt(u64::from(delta) * 1000, false);
            }
        }
    }

    /// Without timestamps a window's worth of data times a round trip, from above.
    pub fn note_progress(&mut self, now: SimTime) {
        match self.tuning.timed {
            Some((end, _)) if self.nxt < end => return,
            Some((_, since)) => self.sample_rtt(now.since(since).as_micros().max(1), true),
            None => {}
        }
        self.tuning.timed = Some((self.nxt + self.wnd, now));
    }

    /// Falls at once, and rises only while the program keeps up (Linux tcp_rcv_rtt_update).
    fn sample_rtt(&mut self, rtt: u64, upper_bound: bool) {
        let old = self.tuning.rtt8;
        if old == 0 || rtt << 3 < old {
            self.tuning.rtt8 = rtt << 3;
        } else if !upper_bound && self.queued == 0 {
            self.tuning.rtt8 = old - (old >> 3) + rtt;
        }
    }

    /// The program read a packet: if it reads faster than the window allows, the buffer grows (Linux
    /// tcp_rcv_space_adjust).
    fn tune(&mut self, now: SimTime) {
        let rtt = SimDuration::from_micros(self.tuning.rtt8 >> 3);
        if rtt.is_zero() || now.since(self.tuning.since) < rtt {
            return;
        }
        // What waits to be read was not taken as fast as it came. What came at this very instant does not wait: a
        // reader on another processor would be taking it while it comes.
        let (instant, fresh) = self.tuning.arrived;
        let waiting = if instant == now { self.queued.saturating_sub(fresh) } else { self.queued };
        let copied = (self.copied() - self.tuning.copied).saturating_sub(waiting as u64);
        if copied > self.tuning.space {
            self.grow_buffer(copied);
        }
        self.tuning.copied = self.copied();
        self.tuning.since = now;
    }

    /// The program takes `copied` bytes in a round trip: the buffer is to hold twice as much, and more while that grows,
    /// since it is seen a round trip late (Linux 6.18 tcp_rcvbuf_grow).
    fn grow_buffer(&mut self, copied: u64) {
        let before = std::mem::replace(&mut self.tuning.space, copied).max(1);
        if !self.tuning.enabled || self.locked {
            return;
        }
        let growth = u128::from(2 * copied) * u128::from(copied.saturating_sub(before)) / u128::from(before);
        let window = (2 * copied).saturating_add(2 * u64::try_from(growth).unwrap_or(u64::MAX / 4));
        let window = window.saturating_add(self.reassembly.end().saturating_sub(self.nxt));
        let buffer = (window.saturating_mul(RATIO_WHOLE) / self.ratio).min(self.buffer_max);
        if buffer > self.buffer {
            self.buffer = buffer;
            self.clamp = if self.scale > 0 { self.full_space() } else { self.full_space().min(65_535) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(locked_buffer: Option<u32>, rounding_mss: u32) -> ReceiverConfig {
        ReceiverConfig {
            locked_buffer,
            rmem: [4096, 131_072, 33_554_432],
            rmem_max: 4_194_304,
            window_scaling: true,
            moderate: true,
            rounding_mss,
            advertised_mss: 1448,
        }
    }

    #[test]
    fn initial_windows_are_those_of_linux() {
        // Measured on Linux 6.18; the last row is a server with SO_RCVBUF of 8 KiB (doubled).
        for (locked, mss, window, scale) in
            [(None, 1460, 64240, 10), (None, 1448, 65160, 10), (Some(16_384), 1448, 7240, 0)]
        {
            let receiver = Receiver::new(config(locked, mss));
            assert_eq!((receiver.wnd, receiver.scale), (window, scale), "{locked:?} {mss}");
        }
    }

    #[test]
    fn a_reader_that_stops_closes_the_window_and_never_shrinks_it() {
        let mut receiver = Receiver::new(config(Some(16_384), 1448));
        receiver.begin(SimTime::ZERO, receiver.space);
        let mut edge = 0;
        while receiver.window_left() >= 1448 {
            receiver.note_segment(1448);
            receiver.append(Bytes::from(vec![0; 1448]));
            receiver.advertise();
            assert!(receiver.wup + receiver.wnd >= edge, "the right edge never moves back");
            edge = receiver.wup + receiver.wnd;
        }
        assert_eq!(receiver.fresh_window(), 0);
        assert!(!receiver.should_update_window());
        let mut sink = vec![0; 8192];
        receiver.read(SimTime::ZERO, &mut sink, false);
        assert!(receiver.should_update_window());
    }

    #[test]
    fn a_packet_takes_memory_until_its_last_byte_is_read() {
        // SO_RCVBUF of 8 KiB, of which three packets take 6912 bytes: what is left is too little to offer, and half a packet
        // that was read does not add to it.
        let mut receiver = Receiver::new(config(Some(8_192), 1448));
        receiver.begin(SimTime::ZERO, receiver.space);
        for _ in 0..3 {
            receiver.note_segment(1448);
            receiver.append(Bytes::from(vec![0; 1448]));
        }
        for (read, window) in [(0, 0), (1000, 0), (448, 1448), (1448, 2896)] {
            assert_eq!(receiver.read(SimTime::ZERO, &mut vec![0; read], false), read);
            assert_eq!(receiver.fresh_window(), window, "{read} bytes more");
        }
    }

    #[test]
    fn small_packets_share_the_room_behind_the_first() {
        let mut receiver = Receiver::new(config(None, 1448));
        receiver.begin(SimTime::ZERO, receiver.space);
        // A block of 1024 has room for 588 bytes of data.
        for _ in 0..5 {
            receiver.append(Bytes::from(vec![0; 100]));
        }
        assert_eq!(receiver.memory, 1024 + 256);
        receiver.append(Bytes::from(vec![0; 100]));
        assert_eq!(receiver.memory, 2 * (1024 + 256));
        receiver.read(SimTime::ZERO, &mut [0; 499], false);
        assert_eq!(receiver.memory, 2 * (1024 + 256), "not before the last byte");
        receiver.read(SimTime::ZERO, &mut [0; 1], false);
        assert_eq!(receiver.memory, 1024 + 256);
    }
}
