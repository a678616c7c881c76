//! The loop between devices and fabric: it sleeps until a packet comes or the fabric has work. A thread per device
//! reads, blocking, and stamps each packet as it comes.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use halfopen_core::id::FaultId;
use halfopen_core::{HostId, SimTime};
use halfopen_fabric::fabric::Fabric;
use halfopen_fabric::wire;

use crate::host::Devices;
use crate::punctual::Late;
use crate::{Change, LiveError};

/// The largest IP packet.
const PACKET_BYTES_MAX: usize = 65_535;

/// For how long a reader waits before it looks whether its host still has power.
const READ_PATIENCE: Duration = Duration::from_millis(100);

/// A host from the moment it has power until it loses it: a namespace of its own.
pub(crate) struct Life {
    pub(crate) device: Arc<Devices>,
    /// Told the start of the run, its script begins.
    pub(crate) start: Sender<Instant>,
}

/// What the loop works on.
pub(crate) struct Pump {
    pub(crate) fabric: Fabric,
    /// Each host's lives, in their order. The first has power from the start.
    pub(crate) hosts: Vec<VecDeque<Life>>,
    /// In the order of their times.
    pub(crate) changes: Vec<(SimTime, Change)>,
    pub(crate) until: SimTime,
    pub(crate) zero: Instant,
}

/// The hosts as they are at some time of the run.
struct Hosts {
    /// By host; `None` where there is no power.
    devices: Vec<Option<Arc<Devices>>>,
    /// The lives that are still to come.
    to_come: Vec<VecDeque<Life>>,
    zero: Instant,
    inbox: Sender<Sent>,
}

impl Hosts {
    fn power_on(&mut self, host: HostId) {
        let Some(Life { device, start }) = self.to_come[host.index()].pop_front() else { return };
        let (weak, zero, inbox) = (Arc::downgrade(&device), self.zero, self.inbox.clone());
        std::thread::spawn(move || read(host, &weak, zero, &inbox));
        let _ = start.send(zero);
        self.devices[host.index()] = Some(device);
    }

    /// The namespace loses its device as soon as nobody reads there any more. Its script is left where it is.
    fn power_off(&mut self, host: HostId) {
        self.devices[host.index()] = None;
    }

    /// Whether this is the device of a host that has power.
    fn is_on(&self, host: HostId, device: &Weak<Devices>) -> bool {
        self.devices[host.index()].as_ref().is_some_and(|current| Arc::as_ptr(current) == device.as_ptr())
    }
}

/// What a host's kernel has sent.
struct Sent {
    at: SimTime,
    host: HostId,
    device: Weak<Devices>,
    bytes: Vec<u8>,
}

/// Runs until the end that was set, and notes how late it was.
pub(crate) fn run(pump: Pump, late: &Late, mut on_packet: impl FnMut(SimTime, HostId, &[u8])) -> Result<(), LiveError> {
    let Pump { mut fabric, hosts, changes, until, zero } = pump;
    let (sender, inbox) = mpsc::channel();
    let mut hosts = Hosts { devices: vec![None; hosts.len()], to_come: hosts, zero, inbox: sender };
    for number in 0..hosts.devices.len() {
        hosts.power_on(HostId::new(number as u32));
    }
    let mut changes_done = 0;
    loop {
        let now = since(zero);
        let mut latest = now;
        let next_change = changes.get(changes_done).map(|&(at, _)| at);
        late.note([fabric.next_deadline(), next_change].into_iter().flatten().min(), now);
        while let Some((at, change)) = changes.get(changes_done)
            && *at <= now
        {
            match change {
                Change::Apply(fault) => fabric.apply(now, FaultId::new(changes_done as u32), fault),
                Change::Lift(index) => fabric.lift(now, FaultId::new(*index as u32)),
                Change::PowerOff(host) => hosts.power_off(*host),
                Change::PowerOn(host) => hosts.power_on(*host),
            }
            changes_done += 1;
        }
        fabric.on_timer(now);
        deliver(&mut fabric, &hosts, &mut on_packet)?;
        if now >= until {
            return Ok(());
        }
        let next_change = changes.get(changes_done).map(|&(at, _)| at);
        let deadlines = [fabric.next_deadline(), next_change, Some(until)];
        let deadline = deadlines.into_iter().flatten().min().expect("a run has an end");
        for Sent { at, host, device, bytes } in wait(&inbox, Duration::from(deadline.since(since(zero)))) {
            // Anything that is not TCP, UDP or ICMP (router solicitations, multicast reports) is no part of a run.
            let Ok(packet) = wire::parse(&bytes) else { continue };
            if packet.dst.is_multicast() || !hosts.is_on(host, &device) {
                continue;
            }
            on_packet(at, host, &bytes);
            // Readers stamp on their own; the fabric's time never goes back.
            latest = latest.max(at);
            fabric.send(latest, host, packet);
        }
    }
}

fn since(zero: Instant) -> SimTime {
    SimTime::from_nanos(u64::try_from(zero.elapsed().as_nanos()).unwrap_or(u64::MAX))
}

/// Reads what a host's kernel sends until the host has no power any more or the run is over.
fn read(host: HostId, device: &Weak<Devices>, zero: Instant, inbox: &Sender<Sent>) {
    let mut buffer = vec![0; PACKET_BYTES_MAX];
    while let Some(open) = device.upgrade() {
        let len = match open.network.recv_timeout(&mut buffer, READ_PATIENCE) {
            Ok(len) => len,
            Err(error) if matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock) => continue,
            Err(_) => return,
        };
        let sent = Sent { at: since(zero), host, device: Weak::clone(device), bytes: buffer[..len].to_vec() };
        if inbox.send(sent).is_err() {
            return;
        }
    }
}

/// What has been sent, in the order of its times; nothing if nothing is sent for so long.
fn wait(inbox: &Receiver<Sent>, span: Duration) -> Vec<Sent> {
    let mut sent: Vec<Sent> = inbox.recv_timeout(span).into_iter().chain(inbox.try_iter()).collect();
    sent.sort_by_key(|sent| sent.at);
    sent
}

/// Writes what has arrived to the devices of its hosts; what is for a host without power is lost.
fn deliver(
    fabric: &mut Fabric,
    hosts: &Hosts,
    on_packet: &mut impl FnMut(SimTime, HostId, &[u8]),
) -> Result<(), LiveError> {
    while fabric.poll_event().is_some() {}
    while let Some(delivery) = fabric.poll_delivery() {
        let Some(device) = &hosts.devices[delivery.host.index()] else { continue };
        let bytes = wire::emit(&delivery.packet);
        on_packet(since(hosts.zero), delivery.host, &bytes);
        let written = device.network.send(&bytes);
        written.map_err(|error| LiveError::Broken(format!("writing to the device of {}: {error}", delivery.host)))?;
    }
    Ok(())
}
