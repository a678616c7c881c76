//! One exchange with the name servers: one or two queries (A and AAAA) go out, their answers come back, or the reason
//! why not. Which server is asked when, over what, and for how long: as `__res_nsend` of glibc 2.36 does it.
//!
//! - Both queries go out back to back from ONE socket; each server has its own, kept from try to try, so that a late
//!   answer to an earlier try still counts.
//! - Every server is asked in turn, and the whole turn is repeated `attempts` times. The first server may take
//!   `timeout`, server n >= 1 `timeout * 2^n / servers` in whole seconds.
//! - SERVFAIL, REFUSED, NOTIMP, a lame answer and an error from ICMP go on to the next server at once.
//! - If one of two queries was answered when time is up, the server is asked again one query after the other, then
//!   again from a socket for each, and then the one answer must do: this is where "15 seconds" comes from.
//! - A truncated answer moves both queries to TCP, on which no time-out is set.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use halfopen_core::{Errno, SimDuration, SimTime};
use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};

use super::cache::with_state;
use super::{DNS_PORT, ResolverSystem};
use crate::{Fd, ResolverConfig};

/// Name servers that glibc takes from resolv.conf; more are ignored (MAXNS of `<resolv.h>`).
const SERVERS_MAX: usize = 3;
/// Seconds that `options timeout:` can reach (RES_MAXRETRANS).
const TIMEOUT_SECONDS_MAX: u64 = 30;
/// What `options attempts:` can reach (RES_MAXRETRY).
const ATTEMPTS_MAX: u32 = 5;
/// A DNS message's header in bytes (RFC 1035, section 4.1.1): anything shorter is no answer.
const HEADER_BYTES: usize = 12;
/// The largest DNS message in bytes (a stream's length prefix has 16 bits).
const MESSAGE_BYTES_MAX: usize = 65_535;

/// A query, encoded once: every try and every server sees the same identity.
pub(super) struct Question {
    id: u16,
    query: Query,
    wire: Vec<u8>,
}

impl Question {
    pub(super) fn new(id: u16, name: &Name, record_type: RecordType) -> Question {
        let query = Query::query(name.clone(), record_type);
        let mut message = Message::new(id, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        message.add_query(query.clone());
        let wire = message.to_vec().expect("a query of one valid name fits any message");
        Question { id, query, wire }
    }

    pub(super) fn id(&self) -> u16 {
        self.id
    }

    fn is_answered_by(&self, reply: &Message) -> bool {
        self.id == reply.metadata.id && reply.queries.first() == Some(&self.query)
    }
}

/// Why no server gave an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NoAnswer {
    /// Nobody was there: each server refused (by ICMP) or could not be reached.
    Refused,
    /// Nobody answered in time, or each answer was a failure of the server.
    TimedOut,
    /// No socket could be made.
    NoSocket(Errno),
}

/// What one server made of the queries.
enum Verdict {
    /// The answers that count, in order of arrival; at least one.
    Answers(Vec<Message>),
    /// The same server, but over TCP.
    Truncated,
    NextServer,
}

/// How one round of datagrams with one server ended.
enum Round {
    Over(Verdict),
    /// Time was up when only this answer had come.
    HalfAnswered(Message),
}

/// An exchange in progress.
pub(super) struct Exchange<'a> {
    system: &'a mut dyn ResolverSystem,
    questions: &'a [Question],
    servers: Vec<SocketAddr>,
    sockets: Vec<Option<Fd>>,
    timeout_seconds: u64,
    attempts: u32,
    single_request: bool,
    single_request_reopen: bool,
    over_stream: bool,
    /// Whether any server answered or at least kept its silence (glibc's `gotsomewhere`).
    got_somewhere: bool,
    /// How the last stream failed.
    stream_error: Errno,
    /// The response code of the last message that came first: failures included (see `search`).
    last_first_code: Option<ResponseCode>,
    buffer: Vec<u8>,
}

/// The answers, in order of arrival, or why there are none; and the response code of the last message that was the
/// first to arrive, which the search list looks at.
pub(super) type Outcome = (Result<Vec<Message>, NoAnswer>, Option<ResponseCode>);

/// Asks the servers of `config` one or two questions.
pub(super) fn exchange(system: &mut dyn ResolverSystem, config: &ResolverConfig, questions: &[Question]) -> Outcome {
    assert!(matches!(questions.len(), 1 | 2), "A, AAAA or both");
    let mut exchange = Exchange::new(system, config, questions);
    let result = exchange.run(config.rotate);
    exchange.close_all();
    assert!(result.as_ref().map_or(true, |answers| matches!(answers.len(), 1 | 2)));
    (result, exchange.last_first_code)
}

impl<'a> Exchange<'a> {
    fn new(system: &'a mut dyn ResolverSystem, config: &ResolverConfig, questions: &'a [Question]) -> Exchange<'a> {
        let mut servers: Vec<IpAddr> = config.nameservers.iter().copied().take(SERVERS_MAX).collect();
        if servers.is_empty() {
            // resolv.conf(5): without one, the server is on this very machine.
            servers.push(Ipv4Addr::LOCALHOST.into());
        }
        let remembered = *system.thread_state();
        let single_request_reopen = config.single_request_reopen || remembered.single_request_reopen;
        Exchange {
            system,
            questions,
            sockets: vec![None; servers.len()],
            servers: servers.into_iter().map(|ip| SocketAddr::new(ip, DNS_PORT)).collect(),
            timeout_seconds: (config.timeout.as_nanos() / 1_000_000_000).clamp(1, TIMEOUT_SECONDS_MAX),
            attempts: config.attempts.clamp(1, ATTEMPTS_MAX),
            single_request: config.single_request || remembered.single_request || single_request_reopen,
            single_request_reopen,
            over_stream: config.use_vc,
            got_somewhere: false,
            stream_error: Errno(0),
            last_first_code: None,
            buffer: vec![0; MESSAGE_BYTES_MAX],
        }
    }

    fn run(&mut self, rotate: bool) -> Result<Vec<Message>, NoAnswer> {
        let count = self.servers.len();
        let offset = if rotate { self.rotation() % count } else { 0 };
        for _ in 0..self.attempts {
            for turn in 0..count {
                let server = (turn + offset) % count;
                let verdict = match self.over_stream {
                    true => self.ask_over_stream(server)?,
                    false => self.ask_by_datagram(server)?,
                };
                let verdict = match verdict {
                    Verdict::Truncated => self.ask_over_stream(server)?,
                    verdict => verdict,
                };
                match verdict {
                    Verdict::Answers(answers) => return Ok(answers),
                    Verdict::NextServer => {}
                    Verdict::Truncated => unreachable!("a stream truncates nothing"),
                }
            }
            // A stream is tried once at each server.
            if self.over_stream {
                break;
            }
        }
        let refused = if self.over_stream { self.stream_error == Errno::ECONNREFUSED } else { !self.got_somewhere };
        Err(if refused { NoAnswer::Refused } else { NoAnswer::TimedOut })
    }

    /// `options rotate`: each exchange of a process begins with the server after the one before, the first anywhere.
    fn rotation(&mut self) -> usize {
        let fresh = self.system.random_u16();
        with_state(self.system, |state| state.next_rotation(fresh))
    }

    fn time_for(&self, server: usize) -> SimDuration {
        let seconds = self.timeout_seconds << server;
        let seconds = if server == 0 { seconds } else { seconds / self.servers.len() as u64 };
        SimDuration::from_secs(seconds.max(1))
    }

    // ---- datagrams ----

    fn ask_by_datagram(&mut self, server: usize) -> Result<Verdict, NoAnswer> {
        loop {
            let somewhere_before = self.got_somewhere;
            let answer = match self.round(server)? {
                Round::Over(verdict) => return Ok(verdict),
                Round::HalfAnswered(answer) => answer,
            };
            // Some servers and firewalls cannot cope with two queries from one port, so glibc asks more carefully,
            // and remembers it for the thread.
            if !self.single_request {
                self.single_request = true;
                self.system.thread_state().single_request = true;
            } else if !self.single_request_reopen {
                self.single_request_reopen = true;
                self.system.thread_state().single_request_reopen = true;
                self.close_all();
            } else {
                return Ok(Verdict::Answers(vec![answer]));
            }
            self.got_somewhere = somewhere_before;
        }
    }

    /// Sends the queries to one server and waits for its answers once.
    fn round(&mut self, server: usize) -> Result<Round, NoAnswer> {
        if !self.open(server)? {
            return Ok(Round::Over(Verdict::NextServer));
        }
        let deadline = self.system.now() + self.time_for(server);
        let together = if self.single_request { 1 } else { self.questions.len() };
        for question in 0..together {
            if !self.send(server, question) {
                return Ok(self.give_up_on_server());
            }
        }
        let mut answered = vec![false; self.questions.len()];
        let mut answers: Vec<Message> = Vec::new();
        loop {
            let Some(length) = self.receive(server, deadline) else { return Ok(self.give_up_on_server()) };
            if length == 0 {
                self.got_somewhere |= answers.is_empty();
                return Ok(match answers.pop() {
                    Some(answer) => Round::HalfAnswered(answer),
                    None => Round::Over(Verdict::NextServer),
                });
            }
            self.got_somewhere = true;
            if length < HEADER_BYTES {
                return Ok(self.give_up_on_server());
            }
            let Some((question, reply)) = self.match_reply(length, &answered) else { continue };
            let first = !answered.contains(&true);
            if first {
                self.last_first_code = Some(reply.metadata.response_code);
            }
            match judge(&reply) {
                // The other answer counts, if there is one. (A second query that was not yet sent is not waited for:
                // glibc bug 30081, mended in 2.38 and in the 2.36 of Debian 12.)
                Judgement::ServerFailed if first && together == 2 => answered[question] = true,
                Judgement::ServerFailed if first => return Ok(self.give_up_on_server()),
                Judgement::ServerFailed => {
                    let verdict = if answers.is_empty() { Verdict::NextServer } else { Verdict::Answers(answers) };
                    return Ok(Round::Over(verdict));
                }
                Judgement::Truncated => {
                    self.close_all();
                    self.over_stream = true;
                    return Ok(Round::Over(Verdict::Truncated));
                }
                Judgement::Answer => {
                    answered[question] = true;
                    answers.push(reply);
                    if !answered.contains(&false) {
                        return Ok(Round::Over(Verdict::Answers(answers)));
                    }
                    if self.single_request && !self.send_second(server)? {
                        return Ok(self.give_up_on_server());
                    }
                }
            }
        }
    }

    /// The second query to a server that is asked one after the other.
    fn send_second(&mut self, server: usize) -> Result<bool, NoAnswer> {
        if self.single_request_reopen {
            self.close_all();
            if !self.open(server)? {
                return Ok(false);
            }
        }
        Ok(self.send(server, 1))
    }

    /// Which open question the message in the buffer answers. `None`: it is none of ours and is ignored.
    fn match_reply(&self, length: usize, answered: &[bool]) -> Option<(usize, Message)> {
        let reply = Message::from_vec(&self.buffer[..length]).ok()?;
        let question = self.questions.iter().position(|question| question.is_answered_by(&reply))?;
        (!answered[question]).then_some((question, reply))
    }

    fn give_up_on_server(&mut self) -> Round {
        self.close_all();
        Round::Over(Verdict::NextServer)
    }

    // ---- streams ----

    /// Both queries over TCP, one after the other on one connection. A connection that was reset is made once more.
    fn ask_over_stream(&mut self, server: usize) -> Result<Verdict, NoAnswer> {
        for second_try in [false, true] {
            match self.stream_round(server) {
                Ok(answers) => return Ok(Verdict::Answers(answers)),
                Err(errno) if is_fatal(errno) => return Err(NoAnswer::NoSocket(errno)),
                Err(errno) => {
                    self.stream_error = errno;
                    self.close_all();
                    if errno != Errno::ECONNRESET || second_try {
                        break;
                    }
                }
            }
        }
        Ok(Verdict::NextServer)
    }

    fn stream_round(&mut self, server: usize) -> Result<Vec<Message>, Errno> {
        let socket = self.system.open_stream(self.servers[server])?;
        let result = self.converse(socket);
        self.system.close(socket);
        result
    }

    fn converse(&mut self, socket: Fd) -> Result<Vec<Message>, Errno> {
        let mut bytes = Vec::new();
        for question in self.questions {
            let length = u16::try_from(question.wire.len()).expect("a query of one name is short");
            bytes.extend_from_slice(&length.to_be_bytes());
            bytes.extend_from_slice(&question.wire);
        }
        self.system.send(socket, &bytes)?;
        let mut answered = vec![false; self.questions.len()];
        let mut answers = Vec::new();
        while answered.contains(&false) {
            self.receive_all(socket, 2)?;
            let length = usize::from(u16::from_be_bytes([self.buffer[0], self.buffer[1]]));
            if length < HEADER_BYTES {
                return Err(Errno::EMSGSIZE);
            }
            self.receive_all(socket, length)?;
            let Some((question, reply)) = self.match_reply(length, &answered) else { continue };
            if answers.is_empty() {
                self.last_first_code = Some(reply.metadata.response_code);
            }
            answered[question] = true;
            answers.push(reply);
        }
        Ok(answers)
    }

    /// Fills the first `length` bytes of the buffer; the end of the stream is no error to C, so its number is 0.
    fn receive_all(&mut self, socket: Fd, length: usize) -> Result<(), Errno> {
        let mut filled = 0;
        while filled < length {
            match self.system.receive(socket, &mut self.buffer[filled..length], SimTime::FAR_FUTURE)? {
                0 => return Err(Errno(0)),
                more => filled += more,
            }
        }
        Ok(())
    }

    // ---- sockets ----

    /// Makes sure that the server has its socket. `false`: it cannot be reached.
    fn open(&mut self, server: usize) -> Result<bool, NoAnswer> {
        if self.sockets[server].is_some() {
            return Ok(true);
        }
        match self.system.open_datagram(self.servers[server]) {
            Ok(socket) => {
                self.sockets[server] = Some(socket);
                Ok(true)
            }
            Err(errno) if is_fatal(errno) => Err(NoAnswer::NoSocket(errno)),
            Err(_) => {
                self.close_all();
                Ok(false)
            }
        }
    }

    fn socket(&self, server: usize) -> Fd {
        self.sockets[server].expect("opened before use")
    }

    fn send(&mut self, server: usize, question: usize) -> bool {
        self.system.send(self.socket(server), &self.questions[question].wire).is_ok()
    }

    /// The length of the next datagram; `Some(0)` when time is up; `None` on an error.
    fn receive(&mut self, server: usize, deadline: SimTime) -> Option<usize> {
        match self.system.receive(self.socket(server), &mut self.buffer, deadline) {
            // An empty datagram is an error to glibc too.
            Ok(0) => None,
            Ok(length) => Some(length),
            Err(Errno::EAGAIN) => Some(0),
            Err(_) => None,
        }
    }

    fn close_all(&mut self) {
        for socket in self.sockets.iter_mut().filter_map(Option::take) {
            self.system.close(socket);
        }
    }
}

/// Errors that say that this process can make no socket, rather than that a server is out of reach.
fn is_fatal(errno: Errno) -> bool {
    [Errno::EMFILE, Errno::ENFILE, Errno::ENOBUFS, Errno::ENOMEM].contains(&errno)
}

/// What a datagram means for how to go on.
enum Judgement {
    Answer,
    /// The server could not or would not, or it is lame: it knows nothing and will not ask others.
    ServerFailed,
    Truncated,
}

fn judge(reply: &Message) -> Judgement {
    let header = &reply.metadata;
    let additionals = reply.additionals.len() + usize::from(reply.edns.is_some());
    let empty = reply.answers.is_empty() && additionals == 0;
    match header.response_code {
        ResponseCode::ServFail | ResponseCode::NotImp | ResponseCode::Refused => Judgement::ServerFailed,
        ResponseCode::NoError if empty && !header.authoritative && !header.recursion_available => {
            Judgement::ServerFailed
        }
        _ if header.truncation => Judgement::Truncated,
        _ => Judgement::Answer,
    }
}
