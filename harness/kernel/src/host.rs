//! Hosts: their life (start, crash, restart, pause), and the way of packets between their stacks and the fabric.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use halfopen_core::event::DropReason;
use halfopen_core::id::Tid;
use halfopen_core::{Event, HostId, SimTime, Stream};
use halfopen_fabric::packet::Packet;
use halfopen_netstack::Netstack;
use halfopen_netstack::socket::SocketId;
use halfopen_netstack::stack::StackConfig;

use crate::config::HostConfig;
use crate::fd::{Fd, FdTable};
use crate::file::{FileId, FileKind};
use crate::scheduler::WaitKey;
use crate::timeline::{Due, TimerId};
use crate::{Kernel, ResolverConfig};

/// How much of a host is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Power {
    /// Not started, or without power: packets to it are lost.
    Off,
    /// Its kernel works, but its process is gone: it answers RST.
    KernelOnly,
    /// Its process runs.
    On,
}

/// One host.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) config: HostConfig,
    pub(crate) netstack: Netstack,
    pub(crate) fds: FdTable,
    /// The description behind each socket of the stack.
    pub(crate) sockets: BTreeMap<SocketId, FileId>,
    /// Closed sockets whose `close` waits (SO_LINGER).
    pub(crate) lingering: Vec<SocketId>,
    /// Unix-domain names that are bound.
    pub(crate) unix_names: BTreeMap<Vec<u8>, FileId>,
    /// The next automatic abstract name.
    pub(crate) unix_autobind: u32,
    /// getrandom, /dev/urandom.
    pub(crate) random: Stream,
    pub(crate) clock_offset_nanos: i64,
    pub(crate) started_at: SimTime,
    /// Where its stack stands in the timeline: never later than its deadline (see [`Kernel::next_due`]).
    pub(crate) timer: Option<TimerId>,
    /// Threads that have not ended.
    pub(crate) threads: BTreeSet<Tid>,
    pub(crate) paused: bool,
    /// Threads that are ready while the host is paused.
    pub(crate) parked: Vec<Tid>,
    /// What was already reported as unsupported.
    pub(crate) unsupported: BTreeSet<String>,
    power: Power,
    /// How often it lost its power: each time gives its stack other random numbers.
    power_losses: u64,
    started_before: bool,
    /// Whether it stands in the list of hosts to pump.
    dirty: bool,
}

/// The random stream of a host's stack: one for each time it was switched on.
fn stack_random(seed: u64, host: HostId, power_losses: u64) -> Stream {
    Stream::new(seed, "netstack", (power_losses << 32) | host.index() as u64)
}

impl Kernel {
    /// Adds a host, switched off until [`Step::StartHost`](crate::Step::StartHost). Hosts are numbered from 0.
    pub fn add_host(&mut self, config: HostConfig) -> HostId {
        let host = HostId::new(self.hosts.len() as u32);
        self.fabric.add_host(host, &config.addresses);
        let netstack = self.new_stack(host, &config, 0);
        self.hosts.push(Host {
            netstack,
            fds: FdTable::new(host.index()),
            sockets: BTreeMap::new(),
            lingering: Vec::new(),
            unix_names: BTreeMap::new(),
            unix_autobind: 0,
            random: Stream::new(self.config.seed, "entropy", host.index() as u64),
            clock_offset_nanos: config.clock_offset_nanos,
            started_at: SimTime::ZERO,
            timer: None,
            threads: BTreeSet::new(),
            paused: false,
            parked: Vec::new(),
            unsupported: BTreeSet::new(),
            power: Power::Off,
            power_losses: 0,
            started_before: false,
            dirty: false,
            config,
        });
        host
    }

    fn new_stack(&self, host: HostId, config: &HostConfig, power_losses: u64) -> Netstack {
        let mut netstack = Netstack::new(StackConfig {
            host,
            addresses: config.addresses.clone(),
            interface_mtu: config.interface_mtu,
            sysctls: config.sysctls.clone(),
            random: stack_random(self.config.seed, host, power_losses),
        });
        if let Some(silent) = config.silent_link {
            netstack.set_silent_link(silent);
        }
        netstack
    }

    /// The host of the current thread.
    pub(crate) fn host(&self) -> &Host {
        &self.hosts[self.current_host().index()]
    }

    pub(crate) fn host_mut(&mut self) -> &mut Host {
        let host = self.current_host();
        &mut self.hosts[host.index()]
    }

    /// A host's name.
    pub fn host_name(&self, host: HostId) -> &str {
        &self.hosts[host.index()].config.name
    }

    /// The addresses of a host's interface.
    pub fn addresses(&self, host: HostId) -> &[IpAddr] {
        &self.hosts[host.index()].config.addresses
    }

    /// The host with this name.
    pub fn host_by_name(&self, name: &str) -> Option<HostId> {
        self.hosts.iter().position(|host| host.config.name == name).map(|index| HostId::new(index as u32))
    }

    /// How a host resolves names.
    pub fn resolver(&self, host: HostId) -> &ResolverConfig {
        &self.hosts[host.index()].config.resolver
    }

    /// Whether a host's process runs.
    pub fn is_running(&self, host: HostId) -> bool {
        self.hosts[host.index()].power == Power::On
    }

    pub(crate) fn start_host(&mut self, host: HostId, restart: bool) {
        if self.hosts[host.index()].power == Power::On {
            return;
        }
        // What the last thread of a process did after its main is forgotten, too.
        self.end_process(host, None);
        let now = self.now;
        let entry = &mut self.hosts[host.index()];
        entry.power = Power::On;
        entry.started_at = now;
        entry.started_before = true;
        self.starts.push_back(host);
        self.tell(&Event::HostStarted { host, restart });
    }

    pub(crate) fn restart_host(&mut self, host: HostId) {
        if self.hosts[host.index()].power == Power::On {
            self.crash_host(host, false);
        }
        let restart = self.hosts[host.index()].started_before;
        self.start_host(host, restart);
    }

    pub(crate) fn crash_host(&mut self, host: HostId, power_loss: bool) {
        let entry = &mut self.hosts[host.index()];
        let was = std::mem::replace(&mut entry.power, if power_loss { Power::Off } else { Power::KernelOnly });
        if was == Power::Off || (was == Power::KernelOnly && !power_loss) {
            entry.power = was;
            return;
        }
        self.starts.retain(|start| *start != host);
        self.end_process(host, None);
        if power_loss {
            self.forget_stack(host);
        }
        self.tell(&Event::HostCrashed { host, power_loss });
    }

    /// The stack of a host without power: a new one, which knows nothing.
    fn forget_stack(&mut self, host: HostId) {
        let entry = &mut self.hosts[host.index()];
        entry.power_losses += 1;
        if let Some(timer) = entry.timer.take() {
            self.timeline.cancel(timer);
        }
        let entry = &self.hosts[host.index()];
        let netstack = self.new_stack(host, &entry.config, entry.power_losses);
        self.hosts[host.index()].netstack = netstack;
    }

    /// The process of a host is over: its threads (but `survivor`) never run again, and its kernel, if it still has
    /// power, closes its sockets.
    fn end_process(&mut self, host: HostId, survivor: Option<Tid>) {
        let threads: Vec<Tid> = self.hosts[host.index()].threads.iter().copied().collect();
        for thread in threads {
            if Some(thread) != survivor {
                self.end_thread(thread);
            }
        }
        let entry = &mut self.hosts[host.index()];
        assert!(entry.power != Power::On, "a process that is over does not run");
        if entry.power == Power::KernelOnly {
            entry.netstack.kill_all(self.now);
        }
        let descriptors: Vec<(Fd, FileId)> = entry.fds.iter().collect();
        for (fd, file) in descriptors {
            if !self.is_plumbing(file) {
                let removed = self.remove_descriptor(fd);
                assert_eq!(removed, Ok(file), "an open descriptor stands for its file");
                self.drop_reference(file);
            }
        }
        self.hosts[host.index()].fds.inherit();
        // Whatever another host holds of the sockets is of no use any more.
        let sockets = std::mem::take(&mut self.hosts[host.index()].sockets);
        for file in sockets.into_values() {
            self.files.get_mut(file).kind = FileKind::Gone;
            self.notify_all(file);
        }
        let entry = &mut self.hosts[host.index()];
        entry.unix_names.clear();
        entry.lingering.clear();
        entry.paused = false;
        entry.parked.clear();
        self.touch(host);
    }

    /// Whether a description only connects threads of the program with each other. Such a one outlives the process: it
    /// may belong to a static (tokio's signal pipe), which the next process of this host, and every other host, finds
    /// made already. Nobody can see from outside that it is still there.
    fn is_plumbing(&self, file: FileId) -> bool {
        match &self.files.get(file).kind {
            FileKind::Unix(socket) => socket.is_pair(),
            FileKind::PipeReader(_) | FileKind::PipeWriter(_) | FileKind::EventFd(_) | FileKind::Random => true,
            FileKind::Inet(_) | FileKind::TimerFd(_) | FileKind::Epoll(_) | FileKind::Gone => false,
        }
    }

    /// The main of a host returned (or panicked): the process is over, as on Linux, with all its other threads and
    /// descriptors.
    pub fn main_returned(&mut self, host: HostId, error: Option<String>) {
        self.count_call();
        let entry = &mut self.hosts[host.index()];
        if entry.power != Power::On {
            return;
        }
        entry.power = Power::KernelOnly;
        let current = self.current();
        let survivor = (self.host_of(current) == host).then_some(current);
        self.end_process(host, survivor);
        self.emit(Event::HostExited { host, error });
        self.pump();
    }

    pub(crate) fn pause_host(&mut self, host: HostId) {
        let entry = &mut self.hosts[host.index()];
        if entry.power != Power::On || std::mem::replace(&mut entry.paused, true) {
            return;
        }
        self.tell(&Event::HostPaused { host });
    }

    pub(crate) fn resume_host(&mut self, host: HostId) {
        let entry = &mut self.hosts[host.index()];
        if !std::mem::replace(&mut entry.paused, false) {
            return;
        }
        let parked = std::mem::take(&mut entry.parked);
        self.unpark(parked);
        self.tell(&Event::HostResumed { host });
    }

    pub(crate) fn shift_clock(&mut self, host: HostId, by_nanos: i64) {
        let entry = &mut self.hosts[host.index()];
        entry.clock_offset_nanos = entry.clock_offset_nanos.saturating_add(by_nanos);
        self.wake_all(WaitKey::ClockSet(host));
        self.rearm_realtime_timers(host);
    }

    pub(crate) fn reset_flows(&mut self, host: HostId, remote: Option<HostId>) {
        let now = self.now;
        let remotes: Vec<Option<IpAddr>> = match remote {
            None => vec![None],
            Some(remote) => self.hosts[remote.index()].config.addresses.iter().copied().map(Some).collect(),
        };
        for remote in remotes {
            self.hosts[host.index()].netstack.reset_flows(now, remote);
        }
        self.touch(host);
    }

    // ---- packets ----

    /// Something was put into this host's stack: [`Kernel::pump`] will look at it.
    pub(crate) fn touch(&mut self, host: HostId) {
        if !std::mem::replace(&mut self.hosts[host.index()].dirty, true) {
            self.dirty.push_back(host);
        }
    }

    /// Brings everything out of the stacks that were touched: packets to the fabric, events to the log, wake-ups to
    /// threads and epoll instances.
    pub(crate) fn pump(&mut self) {
        while !self.dirty.is_empty() || self.fabric_touched {
            while let Some(host) = self.dirty.pop_front() {
                self.hosts[host.index()].dirty = false;
                self.pump_host(host);
            }
            if std::mem::take(&mut self.fabric_touched) {
                self.pump_fabric();
            }
        }
    }

    /// What comes out of the fabric: events to the log, packets (those that need no time at all) to their hosts.
    fn pump_fabric(&mut self) {
        while let Some(event) = self.fabric.poll_event() {
            self.tell(&event);
        }
        while let Some(delivery) = self.fabric.poll_delivery() {
            self.deliver(delivery.host, delivery.packet);
        }
        let deadline = self.fabric.next_deadline().map(|at| at.max(self.now));
        self.timeline.rearm_fabric(deadline);
    }

    fn pump_host(&mut self, host: HostId) {
        let (now, index) = (self.now, host.index());
        while let Some(packet) = self.hosts[index].netstack.poll_transmit(now) {
            // The fabric tells the log that it was sent.
            self.capture(host, &packet);
            self.fabric.send(now, host, packet);
            self.fabric_touched = true;
        }
        while let Some(event) = self.hosts[index].netstack.poll_event() {
            self.tell(&event);
        }
        while let Some(socket) = self.hosts[index].netstack.poll_wakeup() {
            if let Some(&file) = self.hosts[index].sockets.get(&socket) {
                self.notify_all(file);
            }
        }
        if !self.hosts[index].lingering.is_empty() {
            self.end_lingering(host);
        }
        // An entry of the timeline that comes too early stays there: see `next_due`.
        let entry = &mut self.hosts[index];
        let quiet_until = entry.netstack.quiet_until().map(|at| at.max(now));
        if quiet_until.is_some_and(|until| entry.timer.is_none_or(|timer| until < timer.at)) {
            self.timeline.rearm(&mut entry.timer, quiet_until, || Due::Netstack(host));
        }
    }

    /// When something is due next. Time must not move for nothing, so a stack that is first in the timeline is asked when
    /// it really has something to do.
    pub(crate) fn next_due(&mut self) -> Option<SimTime> {
        while let Some(host) = self.timeline.first_stack() {
            let entry = &mut self.hosts[host.index()];
            let deadline = entry.netstack.next_deadline().map(|at| at.max(self.now));
            if entry.timer.map(|timer| timer.at) == deadline {
                break;
            }
            self.timeline.rearm(&mut entry.timer, deadline, || Due::Netstack(host));
        }
        self.timeline.next_at()
    }

    fn end_lingering(&mut self, host: HostId) {
        let entry = &mut self.hosts[host.index()];
        let netstack = &entry.netstack;
        let over: Vec<SocketId> = entry.lingering.extract_if(.., |socket| !netstack.is_lingering(*socket)).collect();
        for socket in over {
            self.wake_all(WaitKey::Linger(host, socket));
        }
    }

    /// The fabric has something to do: usually packets that arrive.
    pub(crate) fn fabric_due(&mut self) {
        self.fabric.on_timer(self.now);
        self.fabric_touched = true;
    }

    fn deliver(&mut self, host: HostId, packet: Box<Packet>) {
        let info = packet.info();
        if self.hosts[host.index()].power == Power::Off {
            let reason = DropReason::HostDown;
            return self.tell(&Event::PacketDropped { element: None, direction: None, reason, packet: info });
        }
        self.tell(&Event::PacketDelivered { host, packet: info });
        self.capture(host, &packet);
        self.hosts[host.index()].netstack.on_packet(self.now, packet);
        self.touch(host);
    }

    fn capture(&mut self, host: HostId, packet: &Packet) {
        if self.sink.wants_packets() {
            self.sink.packet(self.now, host, &halfopen_fabric::wire::emit(packet));
        }
    }
}
