//! A link: what a line does to the packets that enter it.
//!
//! What the settings leave to chance is drawn for every packet. Where they leave nothing, nothing is drawn: each stream
//! belongs to one purpose of one direction of one link, whose settings never change, so that nobody can tell.
//!
//! Decide, then do: [`Link::judge`] draws all luck and says what becomes of a packet; [`Link::carry`] queues it and
//! says when it arrives. The caller moves packets and keeps them while they are under way.
//!
//! The books count here and nowhere else. Each packet that enters is `offered` (of a packet that is cut, each
//! fragment); it ends as `delivered`, as `dropped` for a reason, or still under way.

use std::collections::VecDeque;
use std::sync::Arc;

use halfopen_core::event::{Direction, DropReason, LinkBooks};
use halfopen_core::id::FaultId;
use halfopen_core::{Ratio, SimDuration, SimTime, Stream};

use crate::config::{ClampMss, GilbertElliott, IcmpPolicy, LinkConfig, MTU_MIN, QueueLimit};
use crate::delay::Sampler;
use crate::fault::FaultKind;
use crate::packet::{Body, IcmpMessage, Packet, TcpFlags, ip_header_len};
use crate::scope::{Passage, Reach};

/// One link with both its directions.
#[derive(Debug)]
pub(crate) struct Link {
    config: LinkConfig,
    sampler: Sampler,
    forward: Lane,
    backward: Lane,
}

/// One direction of a link.
#[derive(Debug)]
struct Lane {
    luck: LuckStreams,
    /// The state of the burst-loss model.
    bad: bool,
    /// When the last packet will have left the queue.
    free_at: SimTime,
    /// Departure and size of what is queued, in order.
    queue: VecDeque<(SimTime, u32)>,
    queued_bytes: u64,
    /// When the last packet arrives that was not held back.
    last_arrival: SimTime,
    strikes: Vec<Strike>,
    books: Books,
}

/// A fault that is at work on one direction of a link.
#[derive(Debug)]
struct Strike {
    fault: FaultId,
    reach: Arc<Reach>,
    kind: FaultKind,
    /// Of the faults that change latency.
    sampler: Option<Sampler>,
    begun: SimTime,
    stream: Stream,
    /// Of a changed route: its own order of arrivals.
    last_arrival: SimTime,
}

/// The random streams of one direction: one for each purpose.
#[derive(Debug)]
struct LuckStreams {
    loss: Stream,
    burst: Stream,
    latency: Stream,
    duplicate: Stream,
    reorder: Stream,
    corrupt: Stream,
}

#[derive(Debug, Default)]
struct Books {
    offered: u64,
    duplicated: u64,
    delivered: u64,
    dropped: [u64; DropReason::ALL.len()],
}

/// What becomes of a packet at the entrance of a link, and on the way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Judgement {
    /// It is lost before it reaches the narrow place of the line.
    pub lost_early: Option<DropReason>,
    /// It is lost later.
    pub lost_late: Option<DropReason>,
    /// The largest packet that fits, and whether the sender of a larger one is told.
    pub mtu: (u32, IcmpPolicy),
    /// A router sends it back with this ICMP code.
    pub unreachable: Option<u8>,
    pub duplicated: bool,
    pub corrupted: bool,
    /// How long the line takes, beyond queueing.
    latency: SimDuration,
    /// What faults add to that.
    extra: SimDuration,
    /// Held back by so long, out of order.
    held_back: Option<SimDuration>,
    bandwidth: Option<u64>,
    /// Index of the strike whose order of arrivals counts, if the route was changed.
    detour: Option<usize>,
}

impl Link {
    /// A link; `label` names its random streams.
    pub(crate) fn new(config: &LinkConfig, sampler: Sampler, seed: u64, label: &str) -> Link {
        let lane = |direction: &str| Lane {
            luck: LuckStreams::new(seed, &format!("{label}.{direction}")),
            bad: false,
            free_at: SimTime::ZERO,
            queue: VecDeque::new(),
            queued_bytes: 0,
            last_arrival: SimTime::ZERO,
            strikes: Vec::new(),
            books: Books::default(),
        };
        Link { config: config.clone(), sampler, forward: lane("forward"), backward: lane("backward") }
    }

    fn lane(&mut self, direction: Direction) -> &mut Lane {
        match direction {
            Direction::Forward => &mut self.forward,
            Direction::Backward => &mut self.backward,
        }
    }

    /// How long an ICMP error from the narrow place of the line takes: half way there, half way back.
    pub(crate) fn icmp_delay(&self) -> SimDuration {
        self.sampler.median()
    }

    /// A packet enters: draws all its luck, whatever the settings, and says what becomes of it.
    pub(crate) fn judge(&mut self, now: SimTime, packet: &Packet, passage: &Passage) -> Judgement {
        let Link { config, sampler, forward, backward } = self;
        let lane = if passage.direction == Direction::Forward { forward } else { backward };
        let mut judgement = lane.draw(config, sampler);
        if config.icmp == IcmpPolicy::Blocked && matches!(packet.body, Body::Icmp(IcmpMessage::Error { .. })) {
            judgement.lost_early = Some(DropReason::IcmpBlocked);
        }
        for (index, strike) in lane.strikes.iter_mut().enumerate() {
            if strike.reach.covers(passage) {
                strike.hit(now, index, &mut judgement);
            }
        }
        judgement
    }

    /// A packet was offered.
    pub(crate) fn count_offered(&mut self, direction: Direction) {
        self.lane(direction).books.offered += 1;
    }

    /// A packet was dropped.
    pub(crate) fn count_dropped(&mut self, direction: Direction, reason: DropReason) {
        self.lane(direction).books.dropped[reason as usize] += 1;
    }

    /// A packet came out at the other end.
    pub(crate) fn count_delivered(&mut self, direction: Direction) {
        self.lane(direction).books.delivered += 1;
    }

    /// Sends a packet of `size` bytes down the line: when it arrives, or why not. If it is duplicated, both copies
    /// arrive then.
    pub(crate) fn carry(
        &mut self,
        now: SimTime,
        direction: Direction,
        size: u32,
        judgement: &Judgement,
    ) -> Result<SimTime, DropReason> {
        let limit = self.config.queue;
        let lane = self.lane(direction);
        let departure = match judgement.bandwidth {
            None => now,
            Some(bits_per_second) => lane.enqueue(now, size, bits_per_second, limit)?,
        };
        if judgement.duplicated {
            lane.books.duplicated += 1;
        }
        let own = departure + judgement.latency + judgement.extra;
        if let Some(by) = judgement.held_back {
            return Ok(own + by);
        }
        let last = match judgement.detour {
            Some(strike) => &mut lane.strikes[strike].last_arrival,
            None => &mut lane.last_arrival,
        };
        *last = own.max(*last);
        Ok(*last)
    }

    /// Rewrites the MSS option of a SYN, if this link does so.
    pub(crate) fn clamp_mss(&self, packet: &mut Packet) {
        let headers = ip_header_len(packet.src) as u32 + 20;
        let limit = match self.config.clamp_mss {
            ClampMss::Off => return,
            ClampMss::ToMtu => u16::try_from(self.config.mtu.saturating_sub(headers)).unwrap_or(u16::MAX),
            ClampMss::To(mss) => mss,
        };
        if let Body::Tcp(segment) = &mut packet.body
            && segment.flags.has(TcpFlags::SYN)
            && let Some(mss) = &mut segment.options.mss
        {
            *mss = limit.min(*mss);
        }
    }

    /// A fault sets to work; `streams` gives it a stream for each direction.
    pub(crate) fn strike(
        &mut self,
        now: SimTime,
        fault: FaultId,
        kind: &FaultKind,
        sampler: Option<&Sampler>,
        reach: &Arc<Reach>,
        streams: impl Fn(&str) -> Stream,
    ) {
        for (lane, name) in [(&mut self.forward, "forward"), (&mut self.backward, "backward")] {
            lane.strikes.push(Strike {
                fault,
                reach: Arc::clone(reach),
                kind: kind.clone(),
                sampler: sampler.cloned(),
                begun: now,
                stream: streams(name),
                last_arrival: SimTime::ZERO,
            });
        }
    }

    /// A fault is over.
    pub(crate) fn unstrike(&mut self, fault: FaultId) {
        for lane in [&mut self.forward, &mut self.backward] {
            lane.strikes.retain(|strike| strike.fault != fault);
        }
    }

    /// The books of one direction, with so many packets still under way.
    pub(crate) fn books(&mut self, direction: Direction, in_flight: u64) -> LinkBooks {
        let Books { offered, duplicated, delivered, dropped } = &self.lane(direction).books;
        let counted = DropReason::ALL.into_iter().zip(dropped.iter().copied()).filter(|&(_, count)| count > 0);
        LinkBooks {
            offered: *offered,
            duplicated: *duplicated,
            delivered: *delivered,
            dropped: counted.collect(),
            in_flight,
        }
    }
}

impl LuckStreams {
    fn new(seed: u64, label: &str) -> LuckStreams {
        let stream = |purpose: &str| Stream::new(seed, &format!("link.{purpose}.{label}"), 0);
        LuckStreams {
            loss: stream("loss"),
            burst: stream("burst"),
            latency: stream("latency"),
            duplicate: stream("duplicate"),
            reorder: stream("reorder"),
            corrupt: stream("corrupt"),
        }
    }
}

impl Lane {
    /// The luck of one packet by the link's own settings: for every packet as many draws from each stream.
    fn draw(&mut self, config: &LinkConfig, sampler: &Sampler) -> Judgement {
        let lost = chance(&mut self.luck.loss, config.loss);
        let burst_lost = self.draw_burst(config);
        let latency = self.draw_latency(config, sampler);
        let lost_late = match (lost, burst_lost) {
            (true, _) => Some(DropReason::Loss),
            (false, true) => Some(DropReason::BurstLoss),
            (false, false) => None,
        };
        Judgement {
            lost_early: None,
            lost_late,
            mtu: (config.mtu, config.icmp),
            unreachable: None,
            duplicated: chance(&mut self.luck.duplicate, config.duplicate),
            corrupted: chance(&mut self.luck.corrupt, config.corrupt),
            latency,
            extra: SimDuration::ZERO,
            held_back: chance(&mut self.luck.reorder, config.reorder.share).then_some(config.reorder.by),
            bandwidth: config.bandwidth,
            detour: None,
        }
    }

    /// How long the line takes: two draws.
    fn draw_latency(&mut self, config: &LinkConfig, sampler: &Sampler) -> SimDuration {
        if let Some(always) = sampler.always()
            && config.jitter.is_zero()
        {
            return always;
        }
        let latency = sampler.draw(&mut self.luck.latency);
        let sway = self.luck.latency.below(config.jitter.as_nanos().saturating_mul(2).saturating_add(1));
        (latency + SimDuration::from_nanos(sway)).saturating_sub(config.jitter)
    }

    /// Whether the burst model loses the packet: two draws.
    fn draw_burst(&mut self, config: &LinkConfig) -> bool {
        let Some(GilbertElliott { to_bad, to_good, loss_bad, loss_good }) = config.burst else { return false };
        self.bad ^= self.luck.burst.chance(if self.bad { to_good } else { to_bad });
        self.luck.burst.chance(if self.bad { loss_bad } else { loss_good })
    }

    /// Puts a packet into the queue: when its last bit has left, or that there is no room.
    fn enqueue(
        &mut self,
        now: SimTime,
        size: u32,
        bits_per_second: u64,
        limit: QueueLimit,
    ) -> Result<SimTime, DropReason> {
        while let Some(&(departure, left)) = self.queue.front()
            && departure <= now
        {
            self.queue.pop_front();
            self.queued_bytes -= u64::from(left);
        }
        let full = match limit {
            QueueLimit::Bytes(bytes) => self.queued_bytes + u64::from(size) > bytes,
            QueueLimit::Packets(packets) => self.queue.len() >= packets as usize,
        };
        if full && !self.queue.is_empty() {
            return Err(DropReason::QueueFull);
        }
        let departure = self.free_at.max(now) + serialisation(size, bits_per_second);
        self.free_at = departure;
        self.queue.push_back((departure, size));
        self.queued_bytes += u64::from(size);
        Ok(departure)
    }
}

/// Whether something of this probability happens: one draw, unless it never does.
fn chance(stream: &mut Stream, share: Ratio) -> bool {
    share != Ratio::ZERO && stream.chance(share)
}

/// How long `size` bytes take to leave at this rate, rounded up; for ever at none.
fn serialisation(size: u32, bits_per_second: u64) -> SimDuration {
    if bits_per_second == 0 {
        return SimDuration::MAX;
    }
    let nanos = (u128::from(size) * 8 * 1_000_000_000).div_ceil(u128::from(bits_per_second));
    SimDuration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

impl Strike {
    /// What the fault does to one packet: always one draw.
    fn hit(&mut self, now: SimTime, index: usize, judgement: &mut Judgement) {
        match self.kind {
            FaultKind::Loss { share } => {
                if self.stream.chance(share) {
                    judgement.lost_early = Some(DropReason::Fault);
                }
            }
            FaultKind::Latency { .. } => judgement.extra += self.draw_latency(),
            FaultKind::Bandwidth { bits_per_second } => {
                judgement.bandwidth = Some(judgement.bandwidth.map_or(bits_per_second, |own| own.min(bits_per_second)));
            }
            FaultKind::Duplicate { share } => judgement.duplicated |= self.stream.chance(share),
            FaultKind::Reorder { share, by } => {
                if self.stream.chance(share) {
                    judgement.held_back = Some(judgement.held_back.map_or(by, |own| own.max(by)));
                }
            }
            FaultKind::Corrupt { share } => judgement.corrupted |= self.stream.chance(share),
            FaultKind::Mtu { mtu, icmp } => {
                let mtu = mtu.max(MTU_MIN);
                if mtu < judgement.mtu.0 {
                    judgement.mtu = (mtu, icmp);
                }
            }
            FaultKind::Unreachable { code } => judgement.unreachable = Some(code),
            FaultKind::RouteChange { gap, .. } => {
                judgement.latency = self.draw_latency();
                judgement.detour = Some(index);
                if now < self.begun + gap {
                    judgement.lost_early = Some(DropReason::RouteChange);
                }
            }
            FaultKind::NatEvict { .. } | FaultKind::NatFlush | FaultKind::NatReboot | FaultKind::NatFull => {}
        }
    }

    fn draw_latency(&mut self) -> SimDuration {
        self.sampler.as_ref().map_or(SimDuration::ZERO, |sampler| sampler.draw(&mut self.stream))
    }
}
