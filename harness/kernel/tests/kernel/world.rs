//! A front end without threads: each simulated thread is a future, and a kernel call that says `Pending` is an `await`
//! that waits. So a test reads like the program that it plays.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use halfopen_core::event::EndReason;
use halfopen_core::id::Tid;
use halfopen_core::{Errno, Event, EventSink, HostId, SimDuration, SimTime};
use halfopen_fabric::config::FabricConfig;
use halfopen_fabric::fabric::Fabric;
use halfopen_kernel::{
    Address, Call, EpollEvent, EpollOp, Fd, HostConfig, Kernel, KernelConfig, Message, MsgFlags, Next, Outcome, PollFd,
    ResolverConfig, Scheduling, Step,
};

type Body = Pin<Box<dyn Future<Output = ()>>>;
type Main = Rc<dyn Fn(Sys) -> Body>;

/// A packet as it passed an interface: when, whose, and its bytes.
pub type Captured = (SimTime, HostId, Vec<u8>);

/// Remembers every event, and every packet if it is told to.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<(SimTime, Event)>>>, Arc<Mutex<Option<Vec<Captured>>>>);

impl EventSink for Log {
    fn event(&mut self, at: SimTime, event: &Event) {
        self.0.lock().unwrap().push((at, event.clone()));
    }

    fn wants_packets(&self) -> bool {
        self.1.lock().unwrap().is_some()
    }

    fn packet(&mut self, at: SimTime, host: HostId, bytes: &[u8]) {
        self.1.lock().unwrap().as_mut().unwrap().push((at, host, bytes.to_vec()));
    }
}

impl Log {
    pub fn events(&self) -> Vec<(SimTime, Event)> {
        self.0.lock().unwrap().clone()
    }

    /// From now on packets are wanted.
    pub fn want_packets(&self) {
        *self.1.lock().unwrap() = Some(Vec::new());
    }

    pub fn packets(&self) -> Vec<Captured> {
        self.1.lock().unwrap().clone().unwrap_or_default()
    }
}

struct Shared {
    kernel: RefCell<Kernel>,
    /// Threads that were spawned and not yet taken up.
    spawned: RefCell<Vec<(Tid, Body)>>,
    said: RefCell<Vec<String>>,
}

/// A run: hosts, their mains, and what they said.
pub struct World {
    shared: Rc<Shared>,
    mains: BTreeMap<HostId, Main>,
    threads: BTreeMap<Tid, (Body, Option<HostId>)>,
    pub log: Log,
}

/// What a simulated thread has in hand.
#[derive(Clone)]
pub struct Sys {
    shared: Rc<Shared>,
    pub host: HostId,
}

pub fn host_config(name: &str, addresses: &[&str]) -> HostConfig {
    let (nameservers, search) = (vec![IpAddr::from([10, 0, 0, 53])], vec!["internal".to_owned()]);
    HostConfig {
        resolver: ResolverConfig { nameservers, search, ..ResolverConfig::default() },
        ..HostConfig::new(name, addresses.iter().map(|address| address.parse().unwrap()).collect())
    }
}

pub fn kernel_config() -> KernelConfig {
    KernelConfig {
        seed: 1,
        epoch_nanos: 1_700_000_000_000_000_000,
        cpus: 2,
        scheduling: Scheduling::Fifo,
        time_limit: SimTime::from_nanos(3_600_000_000_000),
    }
}

pub const fn millis(n: u64) -> SimDuration {
    SimDuration::from_millis(n)
}

impl World {
    pub fn new() -> World {
        World::with(kernel_config())
    }

    pub fn with(config: KernelConfig) -> World {
        let log = Log::default();
        let fabric = Fabric::new(&FabricConfig::default()).unwrap();
        let kernel = Kernel::new(config, fabric, Box::new(log.clone()));
        let shared = Shared { kernel: RefCell::new(kernel), spawned: RefCell::default(), said: RefCell::default() };
        World { shared: Rc::new(shared), mains: BTreeMap::new(), threads: BTreeMap::new(), log }
    }

    /// A host that runs `main` from the beginning.
    pub fn host<F: Future<Output = ()> + 'static>(
        &mut self,
        name: &str,
        address: &str,
        main: impl Fn(Sys) -> F + 'static,
    ) -> HostId {
        self.host_with(host_config(name, &[address]), main)
    }

    pub fn host_with<F: Future<Output = ()> + 'static>(
        &mut self,
        config: HostConfig,
        main: impl Fn(Sys) -> F + 'static,
    ) -> HostId {
        let host = self.kernel(|kernel| kernel.add_host(config));
        self.mains.insert(host, Rc::new(move |sys| Box::pin(main(sys))));
        self.step(SimDuration::ZERO, Step::StartHost(host));
        host
    }

    pub fn step(&self, at: SimDuration, step: Step) {
        self.kernel(|kernel| kernel.add_step(SimTime::ZERO + at, step));
    }

    pub fn kernel<T>(&self, act: impl FnOnce(&mut Kernel) -> T) -> T {
        act(&mut self.shared.kernel.borrow_mut())
    }

    /// Runs until the run ends; says how it ended.
    pub fn run(&mut self) -> EndReason {
        let mut context = Context::from_waker(Waker::noop());
        loop {
            let next = self.kernel(Kernel::schedule);
            match next {
                Next::Finished => return self.kernel(|kernel| kernel.end_reason().unwrap().clone()),
                Next::StartMain(host) => {
                    let thread = self.kernel(|kernel| kernel.register_thread(host));
                    let body = self.mains[&host](Sys { shared: self.shared.clone(), host });
                    self.threads.insert(thread, (body, Some(host)));
                }
                Next::Run(thread) => {
                    let (body, main) = self.threads.get_mut(&thread).expect("a thread that was made");
                    if body.as_mut().poll(&mut context).is_ready() {
                        if let Some(host) = *main {
                            self.kernel(|kernel| kernel.main_returned(host, None));
                        }
                        self.threads.remove(&thread);
                        self.kernel(Kernel::exit_thread);
                    }
                    for (thread, body) in self.shared.spawned.borrow_mut().drain(..) {
                        self.threads.insert(thread, (body, None));
                    }
                }
            }
        }
    }

    /// Everything that threads said, a line each.
    pub fn said(&self) -> String {
        self.shared.said.borrow().join("\n")
    }
}

/// Plays one host with this main and gives what it said.
pub fn check<F: Future<Output = ()> + 'static>(main: impl Fn(Sys) -> F + 'static) -> String {
    let mut world = World::new();
    world.host("h", "10.0.0.1", main);
    let reason = world.run();
    assert_eq!(reason, EndReason::Done, "{}", world.said());
    world.said()
}

/// Plays one host until it deadlocks and gives who waits for what.
pub fn check_deadlock<F: Future<Output = ()> + 'static>(main: impl Fn(Sys) -> F + 'static) -> String {
    let mut world = World::new();
    world.host("h", "10.0.0.1", main);
    match world.run() {
        EndReason::Deadlock { waiting } => waiting.join("\n"),
        reason => panic!("{reason:?}"),
    }
}

impl Sys {
    /// A call that cannot wait.
    pub fn k<T>(&self, act: impl FnOnce(&mut Kernel) -> T) -> T {
        act(&mut self.shared.kernel.borrow_mut())
    }

    /// A call that may wait.
    pub async fn call<T>(&self, mut act: impl FnMut(&mut Kernel, &mut Call) -> Outcome<T>) -> Result<T, Errno> {
        let mut call = Call::default();
        std::future::poll_fn(|_| act(&mut self.shared.kernel.borrow_mut(), &mut call)).await
    }

    /// A call that must not wait.
    pub fn now<T>(&self, act: impl FnOnce(&mut Kernel, &mut Call) -> Outcome<T>) -> Result<T, Errno> {
        match act(&mut self.shared.kernel.borrow_mut(), &mut Call::default()) {
            Poll::Ready(result) => result,
            Poll::Pending => panic!("a call waits"),
        }
    }

    pub fn say(&self, text: impl std::fmt::Display) {
        let now = self.k(|kernel| kernel.now());
        self.shared.said.borrow_mut().push(format!("{now} {text}"));
    }

    pub fn spawn<F: Future<Output = ()> + 'static>(&self, body: impl FnOnce(Sys) -> F) -> Tid {
        let thread = self.k(|kernel| kernel.register_thread(self.host));
        self.shared.spawned.borrow_mut().push((thread, Box::pin(body(self.clone()))));
        thread
    }

    pub async fn join(&self, thread: Tid) {
        self.call(|kernel, call| kernel.join_thread(thread, call)).await.unwrap();
    }

    pub async fn sleep(&self, span: SimDuration) {
        self.call(|kernel, call| kernel.sleep(span, call)).await.unwrap();
    }

    pub async fn read(&self, fd: Fd, size: usize) -> Result<Vec<u8>, Errno> {
        let mut buffer = vec![0; size];
        let len = self.call(|kernel, call| kernel.read(fd, &mut buffer, call)).await?;
        buffer.truncate(len);
        Ok(buffer)
    }

    pub async fn write(&self, fd: Fd, data: &[u8]) -> Result<usize, Errno> {
        self.call(|kernel, call| kernel.write(fd, data, call)).await
    }

    pub async fn recv(&self, fd: Fd, size: usize, flags: MsgFlags) -> Result<(Vec<u8>, Message), Errno> {
        let mut buffer = vec![0; size];
        let message = self.call(|kernel, call| kernel.recv(fd, &mut buffer, flags, call)).await?;
        buffer.truncate(message.len);
        Ok((buffer, message))
    }

    pub async fn send(&self, fd: Fd, data: &[u8], to: Option<&Address>) -> Result<usize, Errno> {
        self.call(|kernel, call| kernel.send(fd, data, to, &[], MsgFlags::default(), call)).await
    }

    pub async fn close(&self, fd: Fd) -> Result<(), Errno> {
        self.call(|kernel, call| kernel.close(fd, call)).await
    }

    pub fn epoll_add(&self, epoll: Fd, fd: Fd, events: u32, data: u64) -> Result<(), Errno> {
        self.k(|kernel| kernel.epoll_ctl(epoll, EpollOp::Add, fd, EpollEvent { events, data }))
    }

    pub fn epoll_modify(&self, epoll: Fd, fd: Fd, events: u32, data: u64) -> Result<(), Errno> {
        self.k(|kernel| kernel.epoll_ctl(epoll, EpollOp::Modify, fd, EpollEvent { events, data }))
    }

    pub fn epoll_delete(&self, epoll: Fd, fd: Fd) -> Result<(), Errno> {
        self.k(|kernel| kernel.epoll_ctl(epoll, EpollOp::Delete, fd, EpollEvent { events: 0, data: 0 }))
    }

    /// What epoll tells, as `data:EVENTS` words; empty at the timeout.
    pub async fn epoll_wait(&self, epoll: Fd, max: usize, timeout: Option<SimDuration>) -> Result<String, Errno> {
        let mut out = Vec::new();
        self.call(|kernel, call| kernel.epoll_wait(epoll, max, timeout, &mut out, call)).await?;
        Ok(out.iter().map(|event| format!("{}:{}", event.data, names(event.events))).collect::<Vec<_>>().join(" "))
    }

    /// What epoll tells without waiting.
    pub async fn epoll_now(&self, epoll: Fd) -> String {
        self.epoll_wait(epoll, 100, Some(SimDuration::ZERO)).await.unwrap()
    }

    pub async fn poll(&self, fds: &[(Fd, u32)], timeout: Option<SimDuration>) -> (usize, String) {
        let mut entries: Vec<PollFd> =
            fds.iter().map(|(fd, events)| PollFd { fd: Some(*fd), events: *events, revents: 0 }).collect();
        let count = self.call(|kernel, call| kernel.poll(&mut entries, timeout, call)).await.unwrap();
        (count, entries.iter().map(|entry| names(entry.revents)).collect::<Vec<_>>().join(" "))
    }

    pub fn eventfd(&self) -> Fd {
        self.k(|kernel| kernel.eventfd(0, false, true, true)).unwrap()
    }
}

pub const IN: u32 = 1;
pub const OUT: u32 = 4;
pub const RDHUP: u32 = 0x2000;

/// Readable names of poll and epoll bits.
pub fn names(events: u32) -> String {
    let known = [(1, "IN"), (4, "OUT"), (8, "ERR"), (0x10, "HUP"), (0x20, "NVAL"), (0x2000, "RDHUP")];
    let names: Vec<&str> = known.iter().filter(|(bit, _)| events & bit != 0).map(|(_, name)| *name).collect();
    if names.is_empty() { "-".to_owned() } else { names.join("|") }
}

/// `fd` as its distance from the first number of its host.
pub fn number(fd: Fd) -> i32 {
    (fd.0 - halfopen_kernel::FD_BASE) % halfopen_kernel::FDS_PER_HOST as i32
}
