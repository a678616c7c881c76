//! Captures, read by somebody else: what `--pcap` writes is opened in tshark.
//!
//! No packet is malformed; no checksum is wrong but those of packets that the run corrupted on purpose; the frames that a
//! host sent are those that the event log says it sent, one by one; and tshark's TCP analysis of them agrees with the log:
//!
//! - A frame that tshark calls a retransmission, a fast or spurious one, or out of order, is one that the log calls a
//!   retransmission, and the other way round. (At its sender's interface nothing is out of order unless it is sent again:
//!   tshark goes by the time since the last segment.)
//! - A frame that tshark calls a keepalive is a probe of the log's, of keepalive or of a zero window (on Linux the same
//!   segment), and the other way round. Only a repeated segment of at most one byte may look like one, too.
//!
//! Each host's interface is read on its own: in the whole file each packet stands twice, as it left and as it arrived.
//!
//! Without tshark the test says that it was skipped; under `HALFOPEN_TSHARK=1` that is a failure.
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods)] // A test, which may look at its environment.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use tempfile::TempDir;

/// Scenarios and their variants.
const RUNS: [(&str, Option<&str>); 10] = [
    (CAPTURED, None),
    ("scenarios/blips/short-requests.yaml", Some("retries")),
    ("scenarios/blips/transfer-through-relay.yaml", Some("naive")),
    ("scenarios/dns/cached-forever.yaml", Some("ttl")),
    ("scenarios/mtu/black-hole.yaml", Some("probing")),
    ("scenarios/mtu/icmp-allowed.yaml", Some("discovery")),
    ("scenarios/nat/idle-eviction-drop.yaml", Some("keepalive")),
    ("scenarios/nat/idle-eviction-drop.yaml", Some("outlives-nat")),
    ("scenarios/nat/idle-eviction-reset.yaml", Some("outlives-nat")),
    ("scenarios/upstreams/crash-and-restart.yaml", Some("retries")),
];

/// The scenario that has some of everything.
const CAPTURED: &str = "tests/scenarios/captured.yaml";

/// What that scenario must show, so that the test tests something: a filter of tshark's for each.
const SHOWN: [&str; 10] = [
    "ip.flags.mf == 1",
    "icmp.code == 4",
    "ipv6 && tcp.analysis.retransmission",
    "tcp.analysis.fast_retransmission",
    "tcp.analysis.keep_alive",
    "tcp.flags.reset == 1",
    "tcp.flags.syn == 1 && tcp.analysis.retransmission",
    "tcp.options.sack_le",
    "tcp.checksum.status == \"Bad\"",
    "dns.flags.response == 1",
];

/// tshark takes checksums for right unless told to look. It is not to put streams together: a segment that is sent again
/// in other pieces is an error to its reassembly, and it is no error in TCP.
const PREFERENCES: [&str; 4] =
    ["ip.check_checksum:TRUE", "tcp.check_checksum:TRUE", "udp.check_checksum:TRUE", "tcp.desegment_tcp_streams:FALSE"];

/// What is asked of each frame, in the order of [`Frame`]'s reading.
const FIELDS: [&str; 18] = [
    "frame.number",
    "ip.src",
    "ipv6.src",
    "ip.proto",
    "ipv6.nxt",
    "tcp.srcport",
    "tcp.dstport",
    "tcp.seq_raw",
    "tcp.len",
    "tcp.analysis.retransmission",
    "tcp.analysis.out_of_order",
    "tcp.analysis.keep_alive",
    "_ws.malformed",
    "ip.checksum.status",
    "tcp.checksum.status",
    "udp.checksum.status",
    "icmp.checksum.status",
    "icmpv6.checksum.status",
];

/// How tshark writes that a checksum is bad, or illegal (none at all, where there must be one).
const BAD: [&str; 2] = ["0", "4"];

/// How many frames a failure names.
const TOLD_MAX: usize = 10;

fn main() {
    let arguments = Arguments::from_args();
    let tshark = Command::new("tshark").arg("--version").stdin(Stdio::null()).output();
    let missing = tshark.err().map(|error| format!("skipped: tshark cannot be run here: {error}"));
    let required = std::env::var("HALFOPEN_TSHARK").is_ok_and(|value| value == "1");
    let trial = |(file, variant): (&'static str, Option<&'static str>)| {
        let missing = missing.clone();
        let name = format!("{file}{}", variant.map_or(String::new(), |variant| format!("/{variant}")));
        Trial::ignorable_test(name, move || match missing {
            Some(why) if required => Err(why.into()),
            Some(why) => Ok(Completion::ignored_with(why)),
            None => captured(file, variant).map(|()| Completion::Completed),
        })
    };
    let trials = RUNS.into_iter().map(trial).collect();
    libtest_mimic::run(&arguments, trials).exit();
}

/// A packet that the log says a host sent.
struct Sent {
    time: String,
    /// `tcp`, `udp` or `icmp`.
    protocol: String,
    /// Of a TCP segment: ports, sequence number, bytes.
    segment: Option<(u16, u16, u32, u32)>,
    retransmit: bool,
    probe: bool,
}

/// What the log says a host is about to send.
#[derive(Debug)]
struct Due {
    host: String,
    /// The local end and the remote one.
    ends: [String; 2],
    /// Sequence number and bytes of what is sent again; `None` for a probe.
    again: Option<(u32, u32)>,
}

impl Due {
    fn new(host: &str, ends: [&str; 2], again: Option<(u32, u32)>) -> Due {
        Due { host: host.to_owned(), ends: ends.map(str::to_owned), again }
    }

    /// Whether this is it.
    fn is(&self, host: &str, ends: [&str; 2], segment: Option<(u16, u16, u32, u32)>) -> bool {
        let fits = segment.is_some_and(|(_, _, seq, len)| self.again.map_or(len == 0, |again| again == (seq, len)));
        self.host == host && self.ends.each_ref().map(String::as_str) == ends && fits
    }
}

/// What the log says of one host.
#[derive(Default)]
struct Host {
    addresses: Vec<String>,
    sent: Vec<Sent>,
}

fn captured(file: &str, variant: Option<&str>) -> Result<(), Failed> {
    let folder = TempDir::new()?;
    let (hosts, bad_checksums) = run(file, variant, folder.path())?;
    let capture = fs::read_dir(folder.path())?.next().ok_or("no capture was written")??.path();
    let capture = fs::read(capture)?;
    let mut wrong = Vec::new();
    let (mut bad_frames, mut repeated) = (0, 0);
    let mut pieces = Vec::new();
    for (number, name) in interfaces(&capture).into_iter().enumerate() {
        let piece = folder.path().join(format!("{name}.one.pcapng"));
        fs::write(&piece, only(&capture, number as u32))?;
        let frames = read(&piece)?;
        let host = hosts.get(&name).ok_or_else(|| format!("the log knows no host {name}"))?;
        wrong.extend(compare(&name, host, &frames)?);
        bad_frames += frames.iter().filter(|frame| frame.bad_checksum).count();
        repeated += frames.iter().filter(|frame| frame.retransmission).count();
        pieces.push(piece);
    }
    if !wrong.is_empty() {
        let told: Vec<String> = wrong.iter().take(TOLD_MAX).cloned().collect();
        return Err(format!("{} frames are not as the log says:\n{}", wrong.len(), told.join("\n")).into());
    }
    if bad_frames != bad_checksums {
        return Err(format!("{bad_frames} frames with a bad checksum, {bad_checksums} corrupted packets").into());
    }
    if repeated == 0 && file == CAPTURED {
        return Err("nothing was sent again".into());
    }
    match SHOWN.iter().find(|filter| file == CAPTURED && !pieces.iter().any(|piece| shows(piece, filter))) {
        Some(filter) => Err(format!("no frame shows `{filter}`").into()),
        None => Ok(()),
    }
}

/// Runs a scenario with a capture; gives what the log says of each host, and how many packets had a bad checksum.
fn run(file: &str, variant: Option<&str>, folder: &Path) -> Result<(BTreeMap<String, Host>, usize), Failed> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_halfopen"));
    command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."));
    command.args(["run", file, "--log", "packets,tcp,hosts", "--pcap"]).arg(folder);
    command.args(variant.map(|variant| ["--variant", variant]).into_iter().flatten());
    let output = command.output()?;
    let log = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        let tail: Vec<&str> = log.lines().rev().take(TOLD_MAX).collect();
        return Err(
            format!("{}\n{}\n{}", output.status, tail.join("\n"), String::from_utf8_lossy(&output.stderr)).into()
        );
    }
    let mut hosts: BTreeMap<String, Host> = BTreeMap::new();
    let mut bad_checksums = 0;
    let mut due: Vec<Due> = Vec::new();
    for line in log.lines() {
        let Some((time, rest)) = line.split_once("  ") else { continue };
        let Some((host, what)) = rest.split_once("  ") else { continue };
        let words: Vec<&str> = what.split_whitespace().collect();
        match words[..] {
            ["is", _, "with", ref addresses @ ..] => {
                let addresses = addresses.iter().map(|address| address.trim_end_matches(',').to_owned());
                hosts.entry(host.to_owned()).or_default().addresses = addresses.collect();
            }
            ["dropped", "(bad-checksum)", ..] => bad_checksums += 1,
            ["tcp", local, ">", remote, "retransmit", _, "seq", seq, "len", len] => {
                due.push(Due::new(host, [local, remote], Some((seq.parse()?, len.parse()?))));
            }
            ["tcp", local, ">", remote, _, "probe"] => due.push(Due::new(host, [local, remote], None)),
            ["sent", protocol, src, ">", dst, ref rest @ ..] => {
                let segment = match rest {
                    [_, "seq", seq, "ack", _, "len", len, ..] => {
                        Some((port(src), port(dst), seq.parse()?, len.parse()?))
                    }
                    _ => None,
                };
                let place = due.iter().position(|due| due.is(host, [src, dst], segment));
                let again = place.map(|place| due.remove(place).again.is_some());
                hosts.entry(host.to_owned()).or_default().sent.push(Sent {
                    time: time.to_owned(),
                    protocol: protocol.to_owned(),
                    segment,
                    retransmit: again == Some(true),
                    probe: again == Some(false),
                });
            }
            _ => {}
        }
    }
    match due.first() {
        None => Ok((hosts, bad_checksums)),
        Some(due) => Err(format!("the log says that this was sent, and it never was: {due:?}").into()),
    }
}

fn port(end: &str) -> u16 {
    end.rsplit(':').next().and_then(|port| port.parse().ok()).expect("the log shows ports")
}

/// A frame as tshark sees it.
struct Frame {
    number: String,
    src: String,
    protocol: String,
    segment: Option<(u16, u16, u32, u32)>,
    retransmission: bool,
    keep_alive: bool,
    malformed: bool,
    bad_checksum: bool,
}

/// Reads a capture with tshark.
fn read(capture: &Path) -> Result<Vec<Frame>, Failed> {
    let mut command = tshark(capture);
    command.args(["-T", "fields", "-E", "occurrence=f"]);
    command.args(FIELDS.iter().flat_map(|field| ["-e", field]));
    let output = command.output()?;
    if !output.status.success() {
        return Err(format!("tshark: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    String::from_utf8_lossy(&output.stdout).lines().map(frame).collect()
}

fn tshark(capture: &Path) -> Command {
    let mut command = Command::new("tshark");
    command.args(["-n", "-r"]).arg(capture).stdin(Stdio::null());
    command.args(PREFERENCES.iter().flat_map(|preference| ["-o", preference]));
    command
}

fn frame(line: &str) -> Result<Frame, Failed> {
    let fields: Vec<&str> = line.split('\t').collect();
    let [
        number,
        v4,
        v6,
        proto,
        next,
        src_port,
        dst_port,
        seq,
        len,
        retransmission,
        out_of_order,
        keep_alive,
        malformed,
        ref checksums @ ..,
    ] = fields[..]
    else {
        return Err(format!("tshark: {line}").into());
    };
    let protocol = match (proto, next) {
        ("6", _) | (_, "6") => "tcp",
        ("17", _) | (_, "17") => "udp",
        _ => "icmp",
    };
    let segment = match protocol == "tcp" && !seq.is_empty() {
        true => Some((src_port.parse()?, dst_port.parse()?, seq.parse()?, len.parse()?)),
        false => None,
    };
    Ok(Frame {
        number: number.to_owned(),
        src: format!("{v4}{v6}"),
        protocol: protocol.to_owned(),
        segment,
        retransmission: !retransmission.is_empty() || !out_of_order.is_empty(),
        keep_alive: !keep_alive.is_empty(),
        malformed: !malformed.is_empty(),
        bad_checksum: checksums.iter().any(|status| BAD.contains(status)),
    })
}

/// Whether a filter finds anything in a capture.
fn shows(capture: &Path, filter: &str) -> bool {
    let output = tshark(capture).args(["-Y", filter]).output();
    output.is_ok_and(|output| output.status.success() && !output.stdout.is_empty())
}

/// Where tshark and the log differ about one host, frame by frame.
fn compare(name: &str, host: &Host, frames: &[Frame]) -> Result<Vec<String>, Failed> {
    let mut wrong: Vec<String> = Vec::new();
    let malformed = frames.iter().filter(|frame| frame.malformed);
    wrong.extend(malformed.map(|frame| format!("{name}, frame {}: malformed", frame.number)));
    let ours: Vec<&Frame> = frames.iter().filter(|frame| host.addresses.contains(&frame.src)).collect();
    if ours.len() != host.sent.len() {
        return Err(format!("{name} sent {} frames, by the log {}", ours.len(), host.sent.len()).into());
    }
    for (frame, sent) in ours.into_iter().zip(&host.sent) {
        let Frame { number, src: _, protocol, segment, retransmission, keep_alive, .. } = frame;
        let mut tell = |what: &str| {
            let segment = sent.segment;
            wrong.push(format!("{name}, frame {number}, {} {protocol} {segment:?}: {what}", sent.time));
        };
        let looks_like_a_probe = segment.is_some_and(|(_, _, _, len)| len <= 1);
        if (protocol, segment) != (&sent.protocol, &sent.segment) {
            tell(&format!("tshark sees {protocol} {segment:?}"));
        }
        match (retransmission, sent.retransmit) {
            (true, false) => tell("tshark says that it is sent again, the log does not"),
            (false, true) if !(*keep_alive && looks_like_a_probe) => {
                tell("the log says that it is sent again, tshark does not")
            }
            _ => {}
        }
        match (keep_alive, sent.probe) {
            (true, false) if !sent.retransmit => tell("tshark says that it is a probe, the log does not"),
            (false, true) => tell("the log says that it is a probe, tshark does not"),
            _ => {}
        }
    }
    Ok(wrong)
}

/// Block types of pcapng (draft-ietf-opsawg-pcapng, section 4).
const INTERFACE_DESCRIPTION: u32 = 1;
const ENHANCED_PACKET: u32 = 6;
const OPTION_NAME: u16 = 2;

/// The blocks of a capture: type, and all their bytes.
fn blocks(capture: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    let mut rest = capture;
    std::iter::from_fn(move || {
        let word =
            |at: usize| rest.get(at..at + 4).map(|bytes| u32::from_le_bytes(bytes.try_into().expect("four bytes")));
        let (kind, length) = (word(0)?, word(4)? as usize);
        let (block, after) = rest.split_at_checked(length)?;
        rest = after;
        Some((kind, block))
    })
}

/// The names of the interfaces, in their order: one for each host.
fn interfaces(capture: &[u8]) -> Vec<String> {
    let descriptions = blocks(capture).filter(|(kind, _)| *kind == INTERFACE_DESCRIPTION);
    // A block's type and length, the link type and the snap length; then options, the name first.
    let name = |block: &[u8]| {
        let half = |at: usize| u16::from_le_bytes([block[at], block[at + 1]]);
        assert_eq!(half(16), OPTION_NAME, "an interface has a name");
        String::from_utf8_lossy(&block[20..20 + usize::from(half(18))]).into_owned()
    };
    descriptions.map(|(_, block)| name(block)).collect()
}

/// The capture with the packets of one interface only.
fn only(capture: &[u8], interface: u32) -> Vec<u8> {
    let wanted = |&(kind, block): &(u32, &[u8])| kind != ENHANCED_PACKET || block[8..12] == interface.to_le_bytes();
    blocks(capture).filter(wanted).flat_map(|(_, block)| block.iter().copied()).collect()
}
