//! What identifies a run: its fingerprint, its log, its capture.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use halfopen_core::event::{Event, EventSink};
use halfopen_core::{HostId, SimTime};
use halfopen_record::capture::Capture;
use halfopen_record::fingerprint::Fingerprint;
use halfopen_record::log::LogFilter;
use halfopen_record::{Config, Recorder, SharedRecorder};
use pcap_file::DataLink;
use pcap_file::pcapng::PcapNgReader;
use pcap_file::pcapng::blocks::block_common::Block;

use crate::events::{parse, run};
use crate::fixture::storm;

/// A writer whose bytes can be read afterwards.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Shared {
    fn bytes(&self) -> Vec<u8> {
        self.0.lock().expect("not poisoned").clone()
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("not poisoned").extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn logged(text: &str, filter: &str) -> String {
    let output = Shared::default();
    let filter = LogFilter::parse(filter).expect("a filter");
    let log: Option<(LogFilter, Box<dyn Write + Send>)> = Some((filter, Box::new(output.clone())));
    let mut recorder = Recorder::new(Config { log, ..Config::default() });
    for (at, event) in parse(text) {
        recorder.event(at, &event);
    }
    recorder.finish();
    String::from_utf8(output.bytes()).expect("text")
}

/// One of each event that there is.
const ALL: &str = "
    0s host app 10.0.0.1
    0s host db 10.0.9.9,fd00::9 upstream
    0s record db.internal 10.0.9.9 5m
    0s load get
    0.5s listening db [fd00::9]:80
    1s answered db db.internal SERVFAIL
    1s resolved app db.internal 10.0.9.9 server
    1s resolved app gone.internal - server
    1.25s op 1 app get
    1.25s wait app 2ms
    1.25s gauge app pool.in_use 1
    1.25s tcp app 10.0.0.1:40000 10.0.9.9:80 CLOSED SYN-SENT
    1.25s sent app 10.0.0.1:40000 10.0.9.9:80 40
    1.3s nat 2 10.0.0.1:40000 203.0.113.1:700 10.0.9.9:80
    1.3s received db 203.0.113.1:700 10.0.9.9:80 40
    2s attempt 1 db of 1
    2s attempt 1 db failed
    2s effect 1 db
    3s fault blip begins
    3s dropped fault 10.0.0.1:40000 10.0.9.9:80 1500
    3s duplicated 2 10.0.0.1:40000 10.0.9.9:80 1500
    3s corrupted 2 10.0.0.1:40000 10.0.9.9:80 1500
    3s pause db
    3.5s resume db
    3.5s overflow db 10.0.9.9:80
    4s retransmit app 10.0.0.1:40000 10.0.9.9:80
    4s keepalive app 10.0.0.1:40000 10.0.9.9:80
    5s mtu app 10.0.9.9 1400
    6s fault blip ends
    7s panic app
    7s unsupported app io_uring_setup
    7s op 1 failed read-timeout
    7s op 2 app get
    7.5s op 2 silent
    7.5s log app warn app::pool exhausted
    7.5s exit app
    8s nat 2 10.0.0.1:40000 203.0.113.1:700 10.0.9.9:80 idle 5s
    8s crash db
    9s restart db
    9s exit db port-in-use
    9s load idle
    12s link 2 10 8 2
    12.034567s end deadlock
";

#[test]
fn the_log_has_one_readable_line_for_each_event() {
    let text = logged(ALL, "all");
    assert_eq!(text.lines().count(), parse(ALL).len());
    assert!(!text.contains('{'), "an event has no words of its own");
    insta::assert_snapshot!("log", text);
}

#[test]
fn a_filter_selects_groups_and_hosts() {
    let whole = parse(ALL).len();
    for (filter, lines) in [
        ("all", whole),
        ("", whole),
        ("ops", 7),
        ("dns,nat", 6),
        // What happens at no host passes: 12 events of 25.
        ("@db", 25),
        ("@app,ops", 4),
        ("debug", 1),
        ("error", 0),
    ] {
        assert_eq!(logged(ALL, filter).lines().count(), lines, "{filter}");
    }
    for (filter, complaint) in
        [("opps", "`opps` is neither `all`, nor one of packets"), ("x=loud", "`loud` in `x=loud`")]
    {
        let error = LogFilter::parse(filter).expect_err(filter);
        assert!(error.starts_with(complaint), "{error}");
    }
}

#[test]
fn log_lines_are_filtered_by_target_and_level() {
    let line = |level, target: &str| Event::Log {
        host: HostId::new(0),
        level,
        target: target.to_owned(),
        message: "pool\nexhausted".to_owned(),
    };
    let name = |_| "app".to_owned();
    let wants = |filter: &str, level, target: &str| {
        LogFilter::parse(filter).expect("a filter").wants(&line(level, target), &name)
    };
    for (filter, level, target, wanted) in [
        ("info", "INFO", "reqwest", true),
        ("info", "debug", "reqwest", false),
        ("reqwest=debug", "debug", "reqwest::connect", true),
        ("reqwest=debug", "debug", "reqwest_retry", false),
        ("reqwest=debug", "debug", "hyper", false),
        ("error,reqwest=trace", "trace", "reqwest", true),
        ("error,reqwest=trace", "warn", "hyper", false),
        ("logs", "trace", "hyper", true),
        ("tcp", "error", "hyper", false),
    ] {
        assert_eq!(wants(filter, level, target), wanted, "{filter}: {level} {target}");
    }
    let text = halfopen_record::log::line(&line("WARN", "app::pool"), &name);
    assert_eq!(text, "app  WARN app::pool: pool\\nexhausted");
}

/// The fingerprint is a promise: a change of these figures is a change of the encoding, and of its `VERSION`.
#[test]
fn fingerprints_are_golden() {
    let empty = format!("{:016x}", Fingerprint::new().digest());
    let found = [empty, run(ALL).fingerprint(), run(&storm()).fingerprint()];
    assert_eq!(found, ["e26501e641bcb278", "1e0cc020d921428d", "06acd952a01a0cb8"]);
}

#[test]
fn every_event_and_its_time_count() {
    let lines: Vec<&str> = ALL.lines().filter(|line| !line.trim().is_empty()).collect();
    let whole = run(ALL).fingerprint();
    // The script needs its hosts and the beginning of the fault; lines of logs do not count.
    for left_out in 2..lines.len() {
        if lines[left_out].contains("fault blip begins") || lines[left_out].contains(" log ") {
            continue;
        }
        let rest: Vec<&str> = lines.iter().enumerate().filter(|(n, _)| *n != left_out).map(|(_, line)| *line).collect();
        assert_ne!(run(&rest.join("\n")).fingerprint(), whole, "{}", lines[left_out]);
    }
    assert_ne!(run(&ALL.replace("12.034567s", "12.034568s")).fingerprint(), whole);
}

#[test]
fn logs_and_captures_leave_the_fingerprint_alone() {
    let mut plain = Fingerprint::new();
    let empty = plain.digest();
    let log = Event::Log { host: HostId::new(0), level: "info", target: String::new(), message: "hello".to_owned() };
    plain.update(SimTime::ZERO, &log);
    assert_eq!(plain.digest(), empty);

    let mut recorder =
        Recorder::new(Config { capture: Some(Capture::new(Box::new(Shared::default()), 0)), ..Config::default() });
    for (at, event) in parse(ALL) {
        recorder.event(at, &event);
        recorder.packet(at, HostId::new(0), &[0x45; 20]);
    }
    assert_eq!(recorder.finish().fingerprint(), run(ALL).fingerprint());
}

#[test]
fn a_capture_can_be_read_by_others() {
    const EPOCH_NS: u64 = 1_700_000_000_000_000_000;
    let output = Shared::default();
    let capture = Some(Capture::new(Box::new(output.clone()), EPOCH_NS));
    let mut recorder = Recorder::new(Config { capture, ..Config::default() });
    assert!(recorder.wants_packets());
    for (at, event) in parse("0s host app 10.0.0.1\n0s host db 10.0.0.2") {
        recorder.event(at, &event);
    }
    let packets = [(1_000_000_007, 1, vec![0x45; 41]), (2_000_000_000, 0, vec![0x60; 44]), (3_000_000_000, 5, vec![1])];
    for (at, host, bytes) in &packets {
        recorder.packet(SimTime::from_nanos(*at), HostId::new(*host), bytes);
    }
    recorder.finish();

    let bytes = output.bytes();
    let mut reader = PcapNgReader::new(&bytes[..]).expect("a section header");
    let (mut names, mut found) = (Vec::new(), Vec::new());
    while let Some(block) = reader.next_block() {
        match block.expect("a block").0.into_owned() {
            Block::InterfaceDescription(interface) => {
                assert_eq!(interface.linktype, DataLink::RAW);
                names.push(format!("{:?}", interface.options));
            }
            Block::EnhancedPacket(packet) => {
                assert_eq!(packet.original_len as usize, packet.data.len());
                found.push((packet.timestamp, packet.interface_id, packet.data.into_owned()));
            }
            other => panic!("unexpected block {other:?}"),
        }
    }
    let at = |nanos: u64| Duration::from_nanos(EPOCH_NS + nanos);
    let [first, second, third] = packets;
    assert_eq!(found, [(at(first.0), 1, first.2), (at(second.0), 0, second.2), (at(third.0), 2, third.2)]);
    assert!(names[0].contains("app") && names[1].contains("db") && names[2].contains("h5"), "{names:?}");
}

#[test]
fn a_shared_recorder_outlives_the_run() {
    let recorder = SharedRecorder::new(Recorder::new(Config::default()));
    let mut sink: Box<dyn EventSink> = Box::new(recorder.clone());
    for (at, event) in parse(ALL) {
        sink.event(at, &event);
    }
    assert!(!sink.wants_packets());
    drop(sink);
    assert_eq!(recorder.finish().expect("the first summary").fingerprint(), run(ALL).fingerprint());
    assert!(recorder.finish().is_none());
}

#[test]
fn the_cap_on_events_is_an_error_that_names_itself() {
    let mut recorder = Recorder::new(Config { events_max: Some(10), ..Config::default() });
    for (at, event) in parse(ALL) {
        recorder.event(at, &event);
    }
    assert!(recorder.is_full());
    assert_eq!(
        recorder.finish().error().as_deref(),
        Some("the run has more than 10 events; shorten the load or the run (the cap is EVENTS_MAX)")
    );
}
