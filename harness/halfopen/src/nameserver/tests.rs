//! The server on a real loopback, with messages made by hand; and its cache in made-up time.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, RecordType};

use super::shared::now;
use super::*;

/// How long a test waits for an answer that must come.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a test waits for an answer that must not come.
const SILENCE: Duration = Duration::from_millis(300);

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn ips(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn zone() -> Zone {
    let mut zone = Zone::new();
    zone.set_addresses("db.internal", ips(&["10.0.0.1", "10.0.0.2", "2001:db8::1"]), secs(300)).unwrap();
    zone.set_addresses("v4.internal.", ips(&["10.0.0.3"]), secs(60)).unwrap();
    zone.set_alias("www.internal", "cdn.internal", secs(20)).unwrap();
    zone.set_alias("cdn.internal", "v4.internal", secs(10)).unwrap();
    zone.set_alias("dangling.internal", "nowhere.internal", secs(20)).unwrap();
    zone.set_alias("loop.internal", "loop.internal", secs(20)).unwrap();
    zone
}

/// A server that runs on threads of its own.
struct Fixture {
    address: SocketAddr,
    shared: Arc<Shared>,
    told: Arc<Mutex<Vec<Answered>>>,
}

impl Fixture {
    fn start(zone: Zone, settings: Settings) -> Fixture {
        let shared = Arc::new(Shared::new(zone, settings));
        let server = Server::bind((Ipv4Addr::LOCALHOST, 0).into(), Arc::clone(&shared)).unwrap();
        let address = server.local_addr().unwrap();
        let told = Arc::new(Mutex::new(Vec::new()));
        let tell = Arc::clone(&told);
        std::thread::spawn(move || server.run(move |answered| tell.lock().unwrap().push(answered.clone())));
        Fixture { address, shared, told }
    }

    fn udp(&self) -> UdpSocket {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.connect(self.address).unwrap();
        socket
    }

    fn tcp(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Sends bytes over UDP; the answer, if one comes in time.
    fn exchange(&self, bytes: &[u8], patience: Duration) -> Option<Message> {
        let socket = self.udp();
        socket.send(bytes).unwrap();
        receive(&socket, patience)
    }

    /// Asks over UDP and shows the answer.
    fn ask(&self, name: &str, record_type: RecordType) -> String {
        show(&self.exchange(&question(7, name, record_type).to_vec().unwrap(), PATIENCE).expect("an answer"))
    }

    fn ask_over_tcp(&self, name: &str, record_type: RecordType) -> String {
        let mut stream = self.tcp();
        stream.write_all(&framed(&question(7, name, record_type))).unwrap();
        show(&read_framed(&mut stream))
    }
}

fn question(id: u16, name: &str, record_type: RecordType) -> Message {
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    let mut name = Name::from_ascii(name).unwrap();
    name.set_fqdn(true);
    message.add_query(Query::query(name, record_type));
    message
}

fn framed(message: &Message) -> Vec<u8> {
    let bytes = message.to_vec().unwrap();
    [&u16::try_from(bytes.len()).unwrap().to_be_bytes(), bytes.as_slice()].concat()
}

fn read_framed(stream: &mut TcpStream) -> Message {
    let mut length = [0; 2];
    stream.read_exact(&mut length).unwrap();
    let mut bytes = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut bytes).unwrap();
    Message::from_vec(&bytes).unwrap()
}

fn receive(socket: &UdpSocket, patience: Duration) -> Option<Message> {
    socket.set_read_timeout(Some(patience)).unwrap();
    let mut buffer = vec![0; 65_535];
    let length = socket.recv(&mut buffer).ok()?;
    Some(Message::from_vec(&buffer[..length]).unwrap())
}

/// `NOERROR tc 300 A 10.0.0.1, ...`: code, TC, then each record of the answer and authority sections; owners where
/// they are not the name asked for.
fn show(message: &Message) -> String {
    assert_eq!(message.metadata.message_type, MessageType::Response);
    assert!(message.metadata.recursion_available, "a server without recursion would count as lame");
    let mut text = match message.metadata.response_code {
        ResponseCode::NoError => "NOERROR".to_owned(),
        ResponseCode::NXDomain => "NXDOMAIN".to_owned(),
        ResponseCode::ServFail => "SERVFAIL".to_owned(),
        ResponseCode::Refused => "REFUSED".to_owned(),
        other => format!("{other:?}"),
    };
    if message.metadata.truncation {
        text.push_str(" tc");
    }
    let asked = message.queries.first().map(|query| query.name().clone());
    let records: Vec<String> = message
        .answers
        .iter()
        .chain(&message.authorities)
        .map(|record| {
            let owner = if Some(&record.name) == asked.as_ref() { String::new() } else { format!("{} ", record.name) };
            let data = match &record.data {
                RData::A(ip) => format!("A {ip}"),
                RData::AAAA(ip) => format!("AAAA {ip}"),
                RData::CNAME(target) => format!("CNAME {}", target.0),
                RData::SOA(soa) => format!("SOA {}", soa.minimum),
                other => format!("{other:?}"),
            };
            format!("{owner}{} {data}", record.ttl)
        })
        .collect();
    match records.is_empty() {
        true => text,
        false => format!("{text} {}", records.join(", ")),
    }
}

#[test]
fn the_zone_answers_alike_over_udp_and_tcp() {
    use RecordType::{A, AAAA, CNAME, MX};
    let no_data = "NOERROR internal. 30 SOA 30";
    let no_name = "NXDOMAIN internal. 30 SOA 30";
    let table = [
        ("db.internal", A, "NOERROR 300 A 10.0.0.1, 300 A 10.0.0.2"),
        ("db.internal", AAAA, "NOERROR 300 AAAA 2001:db8::1"),
        ("DB.Internal", AAAA, "NOERROR 300 AAAA 2001:db8::1"),
        ("db.internal", MX, no_data),
        ("v4.internal", AAAA, no_data),
        ("internal", A, "NOERROR 30 SOA 30"),
        ("gone.internal", A, no_name),
        ("x.db.internal", A, no_name),
        (
            "www.internal",
            A,
            "NOERROR 20 CNAME cdn.internal., cdn.internal. 10 CNAME v4.internal., v4.internal. 60 A 10.0.0.3",
        ),
        (
            "www.internal",
            AAAA,
            "NOERROR 20 CNAME cdn.internal., cdn.internal. 10 CNAME v4.internal., internal. 30 SOA 30",
        ),
        ("www.internal", CNAME, "NOERROR 20 CNAME cdn.internal."),
        ("dangling.internal", A, "NXDOMAIN 20 CNAME nowhere.internal., internal. 30 SOA 30"),
    ];
    let server = Fixture::start(zone(), Settings { cache: CachePolicy::None, ..Settings::default() });
    for (name, record_type, expected) in table {
        assert_eq!(server.ask(name, record_type), expected, "{name} {record_type} over UDP");
        assert_eq!(server.ask_over_tcp(name, record_type), expected, "{name} {record_type} over TCP");
    }
    assert!(server.ask("loop.internal", A).starts_with("SERVFAIL"));
}

#[test]
fn behaviours() {
    let good = "NOERROR 60 A 10.0.0.3";
    let table = [
        (Behaviour::Answer, Some(good), Some(good)),
        (Behaviour::Delay(Duration::from_millis(20)), Some(good), Some(good)),
        (Behaviour::ServFail, Some("SERVFAIL"), Some("SERVFAIL")),
        (Behaviour::NxDomain, Some("NXDOMAIN internal. 30 SOA 30"), Some("NXDOMAIN internal. 30 SOA 30")),
        (Behaviour::Refused, Some("REFUSED"), Some("REFUSED")),
        (Behaviour::Silence, None, None),
        (Behaviour::Truncate, Some("NOERROR tc"), Some(good)),
    ];
    for (behaviour, over_udp, over_tcp) in table {
        for name in [None, Some("V4.internal")] {
            let server = Fixture::start(zone(), Settings { cache: CachePolicy::None, ..Settings::default() });
            server.shared.set_behaviour(name, behaviour).unwrap();
            let bytes = question(7, "v4.internal", RecordType::A).to_vec().unwrap();
            let patience = if over_udp.is_some() { PATIENCE } else { SILENCE };
            let answer = server.exchange(&bytes, patience).map(|message| show(&message));
            assert_eq!(answer.as_deref(), over_udp, "{behaviour:?} {name:?} over UDP");
            match over_tcp {
                Some(expected) => assert_eq!(server.ask_over_tcp("v4.internal", RecordType::A), expected),
                None => {
                    let mut stream = server.tcp();
                    stream.set_read_timeout(Some(SILENCE)).unwrap();
                    stream.write_all(&framed(&question(7, "v4.internal", RecordType::A))).unwrap();
                    assert!(stream.read_exact(&mut [0]).is_err(), "{behaviour:?} over TCP");
                }
            }
            // A behaviour of one name leaves the others alone; an answering one takes it back.
            if name.is_some() {
                assert_eq!(server.ask("db.internal", RecordType::AAAA), "NOERROR 300 AAAA 2001:db8::1");
            }
            server.shared.set_behaviour(name, Behaviour::Answer).unwrap();
            assert_eq!(server.ask("v4.internal", RecordType::A), good, "{behaviour:?} taken back");
        }
    }
}

#[test]
fn a_name_of_its_own_behaviour_goes_before_all() {
    let server = Fixture::start(zone(), Settings::default());
    server.shared.set_behaviour(None, Behaviour::Refused).unwrap();
    server.shared.set_behaviour(Some("db.internal"), Behaviour::ServFail).unwrap();
    assert_eq!(server.ask("db.internal", RecordType::A), "SERVFAIL");
    assert_eq!(server.ask("v4.internal", RecordType::A), "REFUSED");
}

#[test]
fn a_delay_holds_nobody_else_up() {
    let delay = Duration::from_millis(300);
    let server = Fixture::start(zone(), Settings { latency: delay, ..Settings::default() });
    assert_eq!(server.ask("db.internal", RecordType::A), "NOERROR 300 A 10.0.0.1, 300 A 10.0.0.2");
    // The first is not in the cache, the second is.
    let socket = server.udp();
    let began = now();
    socket.send(&question(1, "v4.internal", RecordType::A).to_vec().unwrap()).unwrap();
    socket.send(&question(2, "db.internal", RecordType::A).to_vec().unwrap()).unwrap();
    let ids: Vec<u16> = (0..2).map(|_| receive(&socket, PATIENCE).unwrap().metadata.id).collect();
    assert_eq!(ids, [2, 1]);
    assert!(now() - began >= delay);
}

#[test]
fn large_answers_are_truncated_to_what_the_asker_takes() {
    let addresses = |count: u8| (1..=count).map(|n| IpAddr::from([10, 0, 0, n])).collect::<Vec<_>>();
    let mut zone = Zone::new();
    zone.set_addresses("forty.test", addresses(40), secs(60)).unwrap();
    zone.set_addresses("hundred.test", addresses(100), secs(60)).unwrap();
    let server = Fixture::start(zone, Settings::default());
    // Name, EDNS0 size, whether truncated and how many addresses come.
    for (name, edns, expected) in [
        ("forty.test", None, (true, 0)),
        ("forty.test", Some(512), (true, 0)),
        ("forty.test", Some(4096), (false, 40)),
        ("hundred.test", Some(4096), (true, 0)),
    ] {
        let mut message = question(7, name, RecordType::A);
        if let Some(size) = edns {
            message.set_edns(Edns::new().set_max_payload(size).clone());
        }
        let answer = server.exchange(&message.to_vec().unwrap(), PATIENCE).unwrap();
        assert_eq!((answer.metadata.truncation, answer.answers.len()), expected, "{name} {edns:?}");
        assert_eq!(answer.edns.is_some(), edns.is_some(), "an OPT is answered by an OPT, and only then");
    }
    let mut stream = server.tcp();
    stream.write_all(&framed(&question(7, "hundred.test", RecordType::A))).unwrap();
    assert_eq!(read_framed(&mut stream).answers.len(), 100);
}

#[test]
fn messages_that_are_no_questions() {
    let server = Fixture::start(zone(), Settings::default());
    let code = |bytes: &[u8], patience| server.exchange(bytes, patience).map(|message| message.metadata.response_code);
    let good = || question(7, "db.internal", RecordType::A);
    let change = |edit: &dyn Fn(&mut Message)| {
        let mut message = good();
        edit(&mut message);
        message.to_vec().unwrap()
    };
    let mut garbage = good().to_vec().unwrap();
    garbage[12] = 0xff;
    assert_eq!(code(&garbage, PATIENCE), Some(ResponseCode::FormErr));
    assert_eq!(code(&change(&|m| m.queries.clear()), PATIENCE), Some(ResponseCode::FormErr));
    assert_eq!(code(&change(&|m| m.metadata.op_code = OpCode::Status), PATIENCE), Some(ResponseCode::NotImp));
    let chaos = change(&|m| {
        m.queries[0].set_query_class(DNSClass::CH);
    });
    assert_eq!(code(&chaos, PATIENCE), Some(ResponseCode::Refused));
    let version_1 = change(&|m| {
        m.set_edns(Edns::new().set_version(1).clone());
    });
    // BADVERS and BADSIG are one number.
    assert_eq!(code(&version_1, PATIENCE).map(u16::from), Some(ResponseCode::BADVERS.into()));
    assert_eq!(code(&good().to_vec().unwrap()[..11], SILENCE), None);
    assert_eq!(code(&good().into_response().to_vec().unwrap(), SILENCE), None);
    assert!(server.told.lock().unwrap().is_empty(), "none of them was a question");
}

#[test]
fn a_connection_takes_many_questions_in_any_pieces() {
    let server = Fixture::start(zone(), Settings::default());
    let mut stream = server.tcp();
    let bytes: Vec<u8> = (1..=3).flat_map(|id| framed(&question(id, "v4.internal", RecordType::A))).collect();
    for piece in bytes.chunks(7) {
        stream.write_all(piece).unwrap();
    }
    let ids: Vec<u16> = (0..3).map(|_| read_framed(&mut stream).metadata.id).collect();
    assert_eq!(ids, [1, 2, 3]);
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap(), 0, "the server closes when the asker does");
}

#[test]
fn every_question_is_told() {
    let server = Fixture::start(zone(), Settings::default());
    server.ask("WWW.internal", RecordType::A);
    server.ask_over_tcp("gone.internal", RecordType::AAAA);
    let told = server.told.lock().unwrap();
    let shown: Vec<_> = told
        .iter()
        .map(|a| format!("{:?} {} {} {} {:?} {}", a.transport, a.name, a.record_type, a.code, a.addresses, a.truncated))
        .collect();
    assert_eq!(shown, ["Udp www.internal A NOERROR [10.0.0.3] false", "Tcp gone.internal AAAA NXDOMAIN [] false"]);
}

// ---- the cache, in made-up time ----

/// A server's state whose name `db.test` moves from 10.0.0.1 (TTL 60 s) to 10.0.0.2 (TTL 60 s) at second 10.
struct Moving {
    shared: Shared,
    began: Instant,
}

impl Moving {
    fn new(settings: Settings) -> Moving {
        let mut zone = Zone::new();
        zone.set_addresses("db.test", ips(&["10.0.0.1"]), secs(60)).unwrap();
        Moving { shared: Shared::new(zone, settings), began: now() }
    }

    fn ask(&self, second: u64) -> (String, u64) {
        let name = zone::parse_name("db.test").unwrap();
        let resolution = self.shared.resolve(&name, RecordType::A, self.began + secs(second));
        let addresses: Vec<String> = resolution.addresses.iter().map(IpAddr::to_string).collect();
        (addresses.join(" "), resolution.ttl.as_secs())
    }

    fn move_away(&self) {
        self.shared.set_record("db.test", ips(&["10.0.0.2"]), secs(60)).unwrap();
    }
}

#[test]
fn a_change_is_seen_when_the_copy_runs_out() {
    let clamp = |least, most| CachePolicy::Clamp { least: secs(least), most: secs(most) };
    // Policy, TTL at second 0 and at second 9, and when the new address is first seen (asked each second).
    for (policy, first_ttl, later_ttl, seen) in [
        (CachePolicy::Honour, 60, 51, Some(60)),
        (CachePolicy::None, 60, 60, Some(10)),
        (CachePolicy::Ignore, 60, 60, None),
        (clamp(0, 30), 30, 21, Some(30)),
        (clamp(300, 3600), 300, 291, Some(300)),
        (clamp(0, 0), 0, 0, Some(10)),
    ] {
        let moving = Moving::new(Settings { cache: policy, ..Settings::default() });
        let mut ttls = Vec::new();
        for second in 0..10 {
            let (address, ttl) = moving.ask(second);
            assert_eq!(address, "10.0.0.1", "{policy:?} at {second} s");
            ttls.push(ttl);
        }
        moving.move_away();
        let first_seen = (10..1000).find(|second| moving.ask(*second).0 == "10.0.0.2");
        assert_eq!((ttls[0], ttls[9], first_seen), (first_ttl, later_ttl, seen), "{policy:?}");
    }
}

#[test]
fn a_frozen_cache_answers_past_its_time() {
    for (policy, asked_before) in [(CachePolicy::Honour, true), (CachePolicy::Honour, false), (CachePolicy::None, true)]
    {
        let moving = Moving::new(Settings { cache: policy, ..Settings::default() });
        if asked_before {
            moving.ask(0);
        }
        moving.shared.freeze(true);
        moving.move_away();
        // RFC 8767: an answer past its time has a TTL of 30 s.
        assert_eq!(moving.ask(500), ("10.0.0.1".to_owned(), 30), "{policy:?}");
        let unknown = zone::parse_name("new.test").unwrap();
        moving.shared.set_record("new.test", ips(&["10.0.0.9"]), secs(60)).unwrap();
        let resolution = moving.shared.resolve(&unknown, RecordType::A, moving.began + secs(500));
        assert_eq!(resolution.code, ResponseCode::NXDomain, "nothing new is learned");
        moving.shared.freeze(false);
        assert_eq!(moving.ask(501), ("10.0.0.2".to_owned(), 60), "{policy:?}");
    }
}

#[test]
fn negative_answers_are_kept_as_well() {
    let moving = Moving::new(Settings { negative_ttl: secs(20), ..Settings::default() });
    assert_eq!(moving.shared.remove("DB.test."), Ok(true));
    assert_eq!(moving.shared.remove("db.test"), Ok(false));
    assert_eq!(moving.ask(0), (String::new(), 20));
    moving.move_away();
    assert_eq!(moving.ask(19), (String::new(), 1));
    assert_eq!(moving.ask(20).0, "10.0.0.2");
}

#[test]
fn only_a_miss_costs_the_latency() {
    let latency = Duration::from_millis(40);
    let moving = Moving::new(Settings { latency, ..Settings::default() });
    moving.shared.set_alias("alias.test", "db.test", secs(10)).unwrap();
    let alias = zone::parse_name("alias.test").unwrap();
    let cost = |second| moving.shared.latency(&alias, RecordType::A, moving.began + secs(second));
    assert_eq!(cost(0), latency);
    moving.shared.resolve(&alias, RecordType::A, moving.began);
    assert_eq!([cost(0), cost(9), cost(10)], [Duration::ZERO, Duration::ZERO, latency]);
}

#[test]
fn addresses_take_turns_if_told_to() {
    let all = ips(&["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
    let firsts = |round_robin| {
        let mut zone = Zone::new();
        zone.set_addresses("db.test", all.clone(), secs(60)).unwrap();
        let shared = Shared::new(zone, Settings { round_robin, ..Settings::default() });
        let name = zone::parse_name("db.test").unwrap();
        let answers: Vec<_> = (0..4).map(|_| shared.resolve(&name, RecordType::A, now()).addresses).collect();
        assert!(answers.iter().all(|answer| answer.iter().collect::<BTreeSet<_>>() == all.iter().collect()));
        answers.iter().map(|answer| answer[0].to_string()).collect::<Vec<_>>()
    };
    assert_eq!(firsts(false), ["10.0.0.1"; 4]);
    assert_eq!(firsts(true), ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.1"]);
}

#[test]
fn names_that_cannot_be_are_refused() {
    let long = "x".repeat(64);
    let mut zone = Zone::new();
    for name in ["", "a..b", long.as_str()] {
        let refused = Err(InvalidName(name.to_owned()));
        assert_eq!(zone.set_addresses(name, Vec::new(), secs(1)), refused);
        assert_eq!(zone.set_alias("ok.test", name, secs(1)), refused);
    }
    assert_eq!(zone, Zone::new());
}
