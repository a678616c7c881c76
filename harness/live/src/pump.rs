//! The loop between devices and fabric: it sleeps until a packet comes or the fabric has work. A thread per device
//! reads, blocking, and stamps each packet as it comes.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use halfopen_core::id::FaultId;
use halfopen_core::{HostId, SimTime};
use halfopen_fabric::fabric::Fabric;
use halfopen_fabric::wire;

use crate::punctual::Late;
use crate::{Change, LiveError};

/// The largest IP packet.
const PACKET_BYTES_MAX: usize = 65_535;

/// What the loop works on.
pub(crate) struct Pump {
    pub(crate) fabric: Fabric,
    /// By host.
    pub(crate) devices: Vec<tun::Device>,
    /// In the order of their times.
    pub(crate) changes: Vec<(SimTime, Change)>,
    pub(crate) until: SimTime,
    pub(crate) zero: Instant,
}

/// What a host's kernel has sent.
struct Sent {
    at: SimTime,
    host: HostId,
    bytes: Vec<u8>,
}

/// Runs until the end that was set, and notes how late it was.
pub(crate) fn run(pump: Pump, late: &Late, mut on_packet: impl FnMut(SimTime, HostId, &[u8])) -> Result<(), LiveError> {
    let Pump { mut fabric, devices, changes, until, zero } = pump;
    let devices: Vec<Arc<tun::Device>> = devices.into_iter().map(Arc::new).collect();
    let (sender, inbox) = mpsc::channel();
    for (number, device) in devices.iter().enumerate() {
        let (device, sender) = (Arc::clone(device), sender.clone());
        std::thread::spawn(move || read(HostId::new(number as u32), &device, zero, &sender));
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
            }
            changes_done += 1;
        }
        fabric.on_timer(now);
        deliver(&mut fabric, &devices, zero, &mut on_packet)?;
        if now >= until {
            return Ok(());
        }
        let next_change = changes.get(changes_done).map(|&(at, _)| at);
        let deadlines = [fabric.next_deadline(), next_change, Some(until)];
        let deadline = deadlines.into_iter().flatten().min().expect("a run has an end");
        for Sent { at, host, bytes } in wait(&inbox, Duration::from(deadline.since(since(zero))))? {
            // Anything that is not TCP, UDP or ICMP (router solicitations, multicast reports) is no part of a run.
            let Ok(packet) = wire::parse(&bytes) else { continue };
            if packet.dst.is_multicast() || packet.src.is_ipv6() {
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

/// Reads what a host's kernel sends until the run is over or the device is gone.
fn read(host: HostId, device: &tun::Device, zero: Instant, sender: &Sender<Sent>) {
    let mut buffer = vec![0; PACKET_BYTES_MAX];
    while let Ok(len) = device.recv(&mut buffer) {
        let sent = Sent { at: since(zero), host, bytes: buffer[..len].to_vec() };
        if sender.send(sent).is_err() {
            return;
        }
    }
}

/// What has been sent, in the order of its times; nothing if nothing is sent for so long.
fn wait(inbox: &Receiver<Sent>, span: Duration) -> Result<Vec<Sent>, LiveError> {
    let first = match inbox.recv_timeout(span) {
        Ok(first) => first,
        Err(RecvTimeoutError::Timeout) => return Ok(Vec::new()),
        Err(RecvTimeoutError::Disconnected) => return Err(LiveError::Broken("all devices are gone".to_owned())),
    };
    let mut sent = vec![first];
    sent.extend(inbox.try_iter());
    sent.sort_by_key(|sent| sent.at);
    Ok(sent)
}

/// Writes what has arrived to the devices of its hosts.
fn deliver(
    fabric: &mut Fabric,
    devices: &[Arc<tun::Device>],
    zero: Instant,
    on_packet: &mut impl FnMut(SimTime, HostId, &[u8]),
) -> Result<(), LiveError> {
    while fabric.poll_event().is_some() {}
    while let Some(delivery) = fabric.poll_delivery() {
        let bytes = wire::emit(&delivery.packet);
        on_packet(since(zero), delivery.host, &bytes);
        let written = devices[delivery.host.index()].send(&bytes);
        written.map_err(|error| LiveError::Broken(format!("writing to the device of {}: {error}", delivery.host)))?;
    }
    Ok(())
}
