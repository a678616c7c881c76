//! A system whose name servers follow a script. Packets take no time, so that what is left is the resolver's own.

use std::collections::{BTreeMap, VecDeque};

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, SOA};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use super::*;
use crate::Fd;

/// What a server does with one query.
#[derive(Clone, Debug)]
pub(super) enum Reaction {
    /// Addresses; their TTL is 60 s.
    Addresses(Vec<&'static str>),
    /// An alias, then addresses under its target.
    Alias(&'static str, Vec<&'static str>),
    Code(ResponseCode),
    /// NOERROR without records, with an SOA whose MINIMUM is 30 s.
    NoData,
    /// A referral: neither authoritative nor recursive.
    Lame,
    Silence,
    /// The first so many times silence.
    SilentFirst(u32, Box<Reaction>),
    /// TC over UDP, this over TCP.
    Truncated(Box<Reaction>),
    /// Resets the TCP connection once, then this.
    ResetFirst(Box<Reaction>),
    /// A message with another identity, then this.
    StrayFirst(Box<Reaction>),
}

/// A name server.
#[derive(Clone, Debug)]
pub(super) enum Server {
    Dead,
    /// Nobody listens: an ICMP port unreachable for each query.
    ClosedPort,
    /// No neighbour of that address: EHOSTUNREACH after 3.06 s.
    NoNeighbour,
    /// No route: `connect` fails.
    NoRoute,
    /// No descriptor is left.
    NoDescriptors,
    /// Answers each query by its type.
    Serves {
        a: Reaction,
        aaaa: Reaction,
    },
    /// Knows one name, which has an A record; NXDOMAIN for any other.
    Only(&'static str),
    /// Does this with these names, whatever the type; NXDOMAIN for any other.
    ByName(Vec<(&'static str, Reaction)>),
}

struct Socket {
    server: usize,
    number: usize,
    stream: bool,
    inbox: VecDeque<(SimTime, Result<Vec<u8>, Errno>)>,
}

pub(super) struct FakeSystem {
    pub(super) now: SimTime,
    pub(super) config: ResolverConfig,
    pub(super) hosts: Vec<(IpAddr, String)>,
    pub(super) locals: Vec<IpAddr>,
    pub(super) state: HostState,
    pub(super) thread: ThreadState,
    pub(super) servers: Vec<Server>,
    pub(super) events: Vec<Event>,
    /// When, what, of which server (from 1), from which socket (in the order of their opening, from 1).
    queries: Vec<(SimTime, String, String)>,
    sockets: BTreeMap<Fd, Socket>,
    opened: usize,
    ids: u16,
    reset_done: bool,
    seen: BTreeMap<RecordType, u32>,
}

pub(super) fn server_address(index: usize) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 9, 0, 2 + index as u8))
}

impl FakeSystem {
    /// A host with one IPv4 address besides loopback, whose resolv.conf lists these servers.
    pub(super) fn new(servers: Vec<Server>) -> FakeSystem {
        FakeSystem {
            now: SimTime::ZERO,
            config: ResolverConfig {
                nameservers: (0..servers.len()).map(server_address).collect(),
                ..ResolverConfig::default()
            },
            hosts: Vec::new(),
            locals: ["127.0.0.1", "::1", "10.9.0.1"].map(|ip| ip.parse().unwrap()).to_vec(),
            state: HostState::default(),
            thread: ThreadState::default(),
            servers,
            events: Vec::new(),
            queries: Vec::new(),
            sockets: BTreeMap::new(),
            opened: 0,
            ids: 0,
            reset_done: false,
            seen: BTreeMap::new(),
        }
    }

    /// The options line of resolv.conf(5), and `search:a,b`.
    pub(super) fn with_options(mut self, options: &str) -> FakeSystem {
        for option in options.split_whitespace() {
            match option.split_once(':') {
                None if option == "rotate" => self.config.rotate = true,
                None if option == "single-request" => self.config.single_request = true,
                None if option == "single-request-reopen" => self.config.single_request_reopen = true,
                None if option == "use-vc" => self.config.use_vc = true,
                Some(("timeout", n)) => self.config.timeout = secs(n.parse().unwrap()),
                Some(("attempts", n)) => self.config.attempts = n.parse().unwrap(),
                Some(("ndots", n)) => self.config.ndots = n.parse().unwrap(),
                Some(("search", list)) => self.config.search = list.split(',').map(str::to_owned).collect(),
                _ => panic!("no such option: {option}"),
            }
        }
        self
    }

    /// Looks a name up for a stream socket.
    pub(super) fn lookup(&mut self, host: &str, family: i32) -> Result<Vec<AddrInfo>, GaiError> {
        let result = getaddrinfo(self, &stream_query(host, family));
        assert!(self.sockets.is_empty(), "a lookup leaves no socket open");
        result
    }

    /// The queries so far by second: `0: A@1#1 AAAA@1#1; 5: ...`; TCP with a `t` after the socket's number.
    pub(super) fn queries_by_time(&self) -> String {
        self.grouped(|(_, what, _)| what.clone())
    }

    /// As above with names instead of servers and sockets.
    pub(super) fn names_by_time(&self) -> String {
        self.grouped(|(_, what, name)| format!("{} {name}", what.split('@').next().unwrap()))
    }

    fn grouped(&self, show: impl Fn(&(SimTime, String, String)) -> String) -> String {
        let mut groups: Vec<(SimTime, Vec<String>)> = Vec::new();
        for query in &self.queries {
            match groups.last_mut() {
                Some((at, group)) if *at == query.0 => group.push(show(query)),
                _ => groups.push((query.0, vec![show(query)])),
            }
        }
        let lines = groups.iter().map(|(at, group)| {
            let millis = at.as_millis();
            let fraction = if millis % 1000 == 0 { String::new() } else { format!(".{:03}", millis % 1000) };
            format!("{}{fraction}: {}", millis / 1000, group.join(" "))
        });
        lines.collect::<Vec<_>>().join("; ")
    }

    fn open(&mut self, server: SocketAddr, stream: bool) -> Fd {
        assert_eq!(server.port(), DNS_PORT);
        let index = (0..self.servers.len()).find(|index| server_address(*index) == server.ip());
        self.opened += 1;
        let fd = Fd(crate_fd_base() + self.opened as i32);
        // A server that is not on the list (127.0.0.1) is a closed port.
        let server = index.unwrap_or(usize::MAX);
        self.sockets.insert(fd, Socket { server, number: self.opened, stream, inbox: VecDeque::new() });
        fd
    }

    fn server(&self, index: usize) -> Server {
        self.servers.get(index).cloned().unwrap_or(Server::ClosedPort)
    }

    /// One query arrives; what the server puts into the socket's inbox.
    fn serve(&mut self, socket: Fd, query: &Message) {
        let (server, number, stream) = {
            let socket = &self.sockets[&socket];
            (socket.server, socket.number, socket.stream)
        };
        let question = query.queries[0].clone();
        assert!(query.metadata.recursion_desired, "a stub wants recursion");
        let mark = if stream { "t" } else { "" };
        let what = format!("{}@{}#{number}{mark}", question.query_type(), server.wrapping_add(1));
        let name = answer::dotted(question.name());
        self.queries.push((self.now, what, name.clone()));
        let reaction = match self.server(server) {
            Server::Dead => Reaction::Silence,
            Server::ClosedPort => return self.put(socket, self.now, Err(Errno::ECONNREFUSED)),
            Server::NoNeighbour => {
                return self.put(socket, self.now + SimDuration::from_millis(3060), Err(Errno::EHOSTUNREACH));
            }
            Server::NoRoute | Server::NoDescriptors => unreachable!("no socket"),
            Server::Serves { a, aaaa } if question.query_type() == RecordType::A => {
                let _ = aaaa;
                a
            }
            Server::Serves { aaaa, .. } => aaaa,
            Server::ByName(table) => {
                let row = table.into_iter().find(|(known, _)| *known == name);
                row.map_or(Reaction::Code(ResponseCode::NXDomain), |(_, reaction)| reaction)
            }
            Server::Only(known) if name != known => Reaction::Code(ResponseCode::NXDomain),
            Server::Only(_) if question.query_type() == RecordType::A => Reaction::Addresses(vec!["10.9.0.10"]),
            Server::Only(_) => Reaction::NoData,
        };
        self.react(socket, query, &reaction);
    }

    fn react(&mut self, socket: Fd, query: &Message, reaction: &Reaction) {
        let stream = self.sockets[&socket].stream;
        let record_type = query.queries[0].query_type();
        let reply = match reaction {
            Reaction::Silence => return,
            Reaction::SilentFirst(count, then) => {
                let seen = self.seen.entry(record_type).or_default();
                *seen += 1;
                match *seen <= *count {
                    true => return,
                    false => return self.react(socket, query, then),
                }
            }
            Reaction::Truncated(then) if stream => return self.react(socket, query, then),
            Reaction::ResetFirst(then) => {
                if stream && !self.reset_done {
                    self.reset_done = true;
                    return self.put(socket, self.now, Err(Errno::ECONNRESET));
                }
                return self.react(socket, query, then);
            }
            Reaction::StrayFirst(then) => {
                let mut stray = reply_to(query, &Reaction::Code(ResponseCode::NXDomain));
                stray.metadata.id = stray.metadata.id.wrapping_add(77);
                self.put(socket, self.now, Ok(stray.to_vec().unwrap()));
                return self.react(socket, query, then);
            }
            reaction => reply_to(query, reaction),
        };
        let mut bytes = reply.to_vec().unwrap();
        if stream {
            bytes.splice(0..0, u16::try_from(bytes.len()).unwrap().to_be_bytes());
        }
        self.put(socket, self.now, Ok(bytes));
    }

    fn put(&mut self, socket: Fd, at: SimTime, what: Result<Vec<u8>, Errno>) {
        self.sockets.get_mut(&socket).unwrap().inbox.push_back((at, what));
    }
}

fn crate_fd_base() -> i32 {
    1 << 20
}

fn record(name: &Name, ip: &str) -> Record {
    let data = match ip.parse().unwrap() {
        IpAddr::V4(v4) => RData::A(A(v4)),
        IpAddr::V6(v6) => RData::AAAA(AAAA(v6)),
    };
    Record::from_rdata(name.clone(), 60, data)
}

fn reply_to(query: &Message, reaction: &Reaction) -> Message {
    let mut reply = query.clone().into_response();
    reply.metadata.recursion_available = true;
    let name = query.queries[0].name().clone();
    match reaction {
        Reaction::Addresses(ips) => {
            reply.add_answers(ips.iter().map(|ip| record(&name, ip)));
        }
        Reaction::Alias(target, ips) => {
            let target = Name::from_ascii(format!("{target}.")).unwrap();
            reply.add_answer(Record::from_rdata(name, 20, RData::CNAME(CNAME(target.clone()))));
            reply.add_answers(ips.iter().map(|ip| record(&target, ip)));
        }
        Reaction::Code(code) => reply.metadata.response_code = *code,
        Reaction::NoData => {}
        Reaction::Lame => reply.metadata.recursion_available = false,
        Reaction::Truncated(_) => reply.metadata.truncation = true,
        other => unreachable!("not a reply: {other:?}"),
    }
    if reply.answers.is_empty() && !matches!(reaction, Reaction::Lame) {
        let zone = Name::from_ascii("test.").unwrap();
        let soa = SOA::new(zone.clone(), zone.clone(), 1, 3600, 600, 86400, 30);
        reply.add_authority(Record::from_rdata(zone, 900, RData::SOA(soa)));
    }
    reply
}

impl ResolverSystem for FakeSystem {
    fn now(&mut self) -> SimTime {
        self.now
    }

    fn host(&mut self) -> HostId {
        HostId::new(0)
    }

    fn config(&mut self) -> ResolverConfig {
        self.config.clone()
    }

    fn hosts_by_name(&mut self, name: &str) -> Vec<IpAddr> {
        let lines = self.hosts.iter().filter(|(_, other)| other.eq_ignore_ascii_case(name));
        lines.map(|(address, _)| *address).collect()
    }

    fn hosts_by_address(&mut self, address: IpAddr) -> Option<String> {
        let line = self.hosts.iter().find(|(other, _)| *other == address);
        line.map(|(_, name)| name.clone())
    }

    fn local_addresses(&mut self) -> Vec<IpAddr> {
        self.locals.clone()
    }

    fn open_datagram(&mut self, server: SocketAddr) -> Result<Fd, Errno> {
        let fd = self.open(server, false);
        match self.server(self.sockets[&fd].server) {
            Server::NoRoute => {
                self.close(fd);
                Err(Errno::ENETUNREACH)
            }
            Server::NoDescriptors => {
                self.close(fd);
                Err(Errno::EMFILE)
            }
            _ => Ok(fd),
        }
    }

    fn open_stream(&mut self, server: SocketAddr) -> Result<Fd, Errno> {
        let fd = self.open(server, true);
        match self.server(self.sockets[&fd].server) {
            Server::Serves { .. } | Server::Only(_) => Ok(fd),
            _ => {
                self.close(fd);
                Err(Errno::ECONNREFUSED)
            }
        }
    }

    fn send(&mut self, socket: Fd, bytes: &[u8]) -> Result<(), Errno> {
        if !self.sockets[&socket].stream {
            self.serve(socket, &Message::from_vec(bytes).unwrap());
            return Ok(());
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            let length = usize::from(u16::from_be_bytes([rest[0], rest[1]]));
            self.serve(socket, &Message::from_vec(&rest[2..2 + length]).unwrap());
            rest = &rest[2 + length..];
        }
        Ok(())
    }

    fn receive(&mut self, socket: Fd, buffer: &mut [u8], until: SimTime) -> Result<usize, Errno> {
        let sock = self.sockets.get_mut(&socket).unwrap();
        let Some((at, what)) = sock.inbox.front_mut() else {
            assert!(until < SimTime::FAR_FUTURE, "waits for ever");
            self.now = until;
            return Err(Errno::EAGAIN);
        };
        if *at >= until {
            self.now = until;
            return Err(Errno::EAGAIN);
        }
        self.now = self.now.max(*at);
        match what {
            Ok(bytes) => {
                let length = bytes.len().min(buffer.len());
                buffer[..length].copy_from_slice(&bytes[..length]);
                match sock.stream && length < bytes.len() {
                    true => drop(bytes.drain(..length)),
                    false => drop(sock.inbox.pop_front()),
                }
                Ok(length)
            }
            Err(errno) => {
                let errno = *errno;
                sock.inbox.pop_front();
                Err(errno)
            }
        }
    }

    fn close(&mut self, socket: Fd) {
        assert!(self.sockets.remove(&socket).is_some(), "closed twice");
    }

    fn random_u16(&mut self) -> u16 {
        self.ids = self.ids.wrapping_add(1000);
        self.ids
    }

    fn with_host_state(&mut self, f: &mut dyn FnMut(&mut HostState)) {
        f(&mut self.state);
    }

    fn thread_state(&mut self) -> &mut ThreadState {
        &mut self.thread
    }

    fn emit(&mut self, event: Event) {
        self.events.push(event);
    }
}
