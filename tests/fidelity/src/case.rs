//! A case: two hosts, what lies between them, what breaks and when, and what each host does.
//!
//! Cases are written as text, many to a file; the file's name is the family. One line says one thing:
//!
//! ```text
//! case lost-syn-ack
//! about the first SYN-ACK is lost: a second later all is well
//! path link latency=25ms                       elements from a to b, in order; `link`, `nat`, `firewall`
//! sysctl both net.ipv4.tcp_retries2=3          on `a`, `b` or `both`
//! fault 10ms..60ms loss b->a                   `loss`, `mtu=1400`, `nat.flush`, ...; `at` alone or `from..to`
//! fault 1s..3s power b                         a host without power; what follows `b boot` runs when it has it again
//! ipv6                                         the hosts have IPv6 addresses, too
//! silent                                       `a` has an Ethernet, too, on which nobody answers
//! a 0s    connect c b:7000                     host, time of the call (`-`: when the last one is done), call
//! b 0s    listen l 7000
//! b -     accept l c
//! until 5s
//! slow                                         runs on the real kernel only when asked for
//! differs because of this and that             a known difference: its reason and what it means to a user
//! ```
//!
//! A case may be a table of cases. Each row gives a case of its own, in which `{NAME}` is what stands in the row below
//! that name; several tables give one case for each choice of their rows:
//!
//! ```text
//! case blip-{blip}-{rtt}
//! for blip end = 500ms 1500ms | 2s 3s
//! for rtt latency = 10ms 5ms | 50ms 25ms | 200ms 100ms
//! path link latency={latency}
//! fault 1s..{end} loss
//! ```
//!
//! Host `a` has 10.0.0.1, `b` has 10.0.0.2, a NAT has 10.0.9.1, and nobody has 10.0.0.99 (`nobody`). With `ipv6` the
//! hosts are fd00::1 (`a6`) and fd00::2 (`b6`) as well, and nobody is fd00::99 (`nobody6`); `a46` and `b46` are the IPv4
//! addresses as IPv6 sockets name them, ::ffff:10.0.0.1 and so on. With `silent`, `a` is 10.77.0.1 on that link, and
//! 10.77.0.99 (`silent`) would be a neighbour if there were one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use halfopen_core::event::Direction;
use halfopen_core::id::RouteId;
use halfopen_core::{HostId, Ratio, SimDuration, SimTime};
use halfopen_fabric::config::{
    ClampMss, Delay, ElementConfig, ElementKind, FabricConfig, FirewallConfig, GilbertElliott, IcmpPolicy, LatePacket,
    LinkConfig, NatConfig, OnExpiry, Opens, PortPolicy, RouteConfig, Side, StrayPacket, Timeouts, Tracking,
};
use halfopen_fabric::fault::{FaultKind, NetFault, Scope, Target};
use halfopen_live::Change;

/// The hosts' names; also their numbers.
pub const HOSTS: [&str; 2] = ["a", "b"];
/// The hosts' addresses.
pub const ADDRESSES: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2)];
/// Their IPv6 addresses, where they have any.
pub const ADDRESSES_V6: [Ipv6Addr; 2] =
    [Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1), Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2)];
/// The external address of a NAT.
pub const NAT_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 9, 1);
/// An address that nobody has.
pub const NOBODY: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 99);
/// An IPv6 address that nobody has.
pub const NOBODY_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0x99);
/// The address of `a` on the Ethernet on which nobody answers.
pub const ON_SILENT_LINK: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// An address of that Ethernet that nobody has.
pub const SILENT: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 99);

/// One case.
#[derive(Clone, Debug)]
pub struct Case {
    /// `family/name`.
    pub name: String,
    /// What it is about, in a sentence.
    pub about: String,
    /// The elements between `a` and `b`.
    pub path: Vec<ElementConfig>,
    /// Settings of each host's kernel, by host.
    pub sysctls: [Vec<(String, String)>; 2],
    /// Changes of the network, in the order of their times.
    pub changes: Vec<(SimTime, Change)>,
    /// What each host does, by host. [`Case::lives`] says when.
    pub scripts: [Vec<Line>; 2],
    /// When it is over.
    pub until: SimTime,
    /// The hosts have IPv6 addresses.
    pub ipv6: bool,
    /// `a` has an Ethernet on which nobody answers.
    pub silent: bool,
    /// Takes long on the real kernel.
    pub slow: bool,
    /// Why halfopen is known to differ here, and what that means to a user; `None` where it must not.
    pub differs: Option<String>,
}

/// One call of a script.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line {
    /// Not before this instant.
    pub at: SimTime,
    /// The call and its arguments.
    pub words: Vec<String>,
}

/// What a host does while it has power.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Life {
    /// When it gets power.
    pub from: SimTime,
    /// When it loses it, or the case is over.
    pub to: SimTime,
    /// What it does.
    pub lines: Vec<Line>,
}

impl Case {
    /// A host's lives: one, and another each time it has power again. A life does what stands behind its `boot`.
    pub fn lives(&self, host: usize) -> Vec<Life> {
        let host_id = HostId::new(host as u32);
        let times =
            |wanted: Change| self.changes.iter().filter(move |(_, change)| *change == wanted).map(|(at, _)| *at);
        let mut ends = times(Change::PowerOff(host_id));
        let mut scripts = self.scripts[host].split(Line::is_boot);
        let starts = [SimTime::ZERO].into_iter().chain(times(Change::PowerOn(host_id)));
        let life = |from| Life {
            from,
            to: ends.next().unwrap_or(self.until),
            lines: scripts.next().unwrap_or_default().to_vec(),
        };
        let lives = starts.map(life).collect();
        assert_eq!(scripts.next(), None, "{}: a host boots when it has power again", self.name);
        lives
    }

    /// The network of the case.
    pub fn fabric(&self) -> FabricConfig {
        let between = (vec![HostId::new(0)], vec![HostId::new(1)]);
        let route = RouteConfig { between, via: self.path.clone() };
        FabricConfig { seed: 1, default_link: LinkConfig::default(), routes: vec![route] }
    }
}

impl Line {
    fn is_boot(&self) -> bool {
        self.words == ["boot"]
    }
}

/// The cases of a file.
///
/// # Errors
/// What is wrong, with the number of the line.
pub fn parse(family: &str, text: &str) -> Result<Vec<Case>, String> {
    let mut cases: Vec<Case> = Vec::new();
    for block in blocks(text) {
        for lines in rows(block).map_err(|what| format!("{family}, {what}"))? {
            for (number, line) in lines {
                let at_line = |what: String| format!("{family}, line {number}: {what}");
                let (first, rest) = line.split_once(char::is_whitespace).unwrap_or((&line, ""));
                if first == "case" {
                    cases.push(new_case(&format!("{family}/{}", rest.trim())));
                    continue;
                }
                let case = cases.last_mut().ok_or_else(|| at_line("a file begins with a case".to_owned()))?;
                read_line(case, first, rest.trim()).map_err(at_line)?;
            }
        }
    }
    for case in &mut cases {
        if case.path.is_empty() {
            case.path.push(element("link latency=10ms")?);
        }
        // Faults are lifted by the index at which they began: sort keeps both in step.
        sort_changes(&mut case.changes);
    }
    Ok(cases)
}

/// A line and its number.
type Numbered = (usize, String);

/// The lines of each case, without comments.
fn blocks(text: &str) -> Vec<Vec<Numbered>> {
    let mut blocks: Vec<Vec<Numbered>> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.split_once('#').map_or(line, |(before, _)| before).trim();
        if line.starts_with("case ") || blocks.is_empty() {
            blocks.push(Vec::new());
        }
        if !line.is_empty() {
            blocks.last_mut().expect("there is one").push((index + 1, line.to_owned()));
        }
    }
    blocks
}

/// A block as often as its tables say: `for NAME... = VALUE... | VALUE...`.
fn rows(block: Vec<Numbered>) -> Result<Vec<Vec<Numbered>>, String> {
    let (tables, lines): (Vec<Numbered>, Vec<Numbered>) =
        block.into_iter().partition(|(_, line)| line.starts_with("for "));
    let mut copies = vec![lines];
    for (number, table) in tables {
        let (names, values) = table["for ".len()..]
            .split_once('=')
            .ok_or_else(|| format!("line {number}: for NAME... = VALUE... | VALUE..."))?;
        let names: Vec<String> = names.split_whitespace().map(|name| format!("{{{name}}}")).collect();
        let rows: Vec<Vec<&str>> = values.split('|').map(|row| row.split_whitespace().collect()).collect();
        if rows.iter().any(|row| row.len() != names.len()) {
            return Err(format!("line {number}: a row has as many values as there are names"));
        }
        let filled = |line: &str, row: &[&str]| {
            names.iter().zip(row).fold(line.to_owned(), |line, (name, value)| line.replace(name, value))
        };
        let copy = |lines: &Vec<Numbered>, row: &Vec<&str>| -> Vec<Numbered> {
            lines.iter().map(|(number, line)| (*number, filled(line, row))).collect()
        };
        copies = copies.iter().flat_map(|lines| rows.iter().map(|row| copy(lines, row))).collect();
    }
    Ok(copies)
}

fn new_case(name: &str) -> Case {
    Case {
        name: name.to_owned(),
        about: String::new(),
        path: Vec::new(),
        sysctls: [Vec::new(), Vec::new()],
        changes: Vec::new(),
        scripts: [Vec::new(), Vec::new()],
        until: SimTime::ZERO + SimDuration::from_secs(2),
        ipv6: false,
        silent: false,
        slow: false,
        differs: None,
    }
}

fn read_line(case: &mut Case, first: &str, rest: &str) -> Result<(), String> {
    match first {
        "about" => case.about = rest.to_owned(),
        "path" => case.path.push(element(rest)?),
        "until" => case.until = SimTime::ZERO + duration(rest)?,
        "ipv6" => case.ipv6 = true,
        "silent" => case.silent = true,
        "slow" => case.slow = true,
        "differs" => case.differs = Some(rest.to_owned()),
        "sysctl" => {
            let (who, setting) = rest.split_once(' ').ok_or("sysctl HOST NAME=VALUE")?;
            let (name, value) = setting.trim().split_once('=').ok_or("sysctl HOST NAME=VALUE")?;
            for (host, sysctls) in HOSTS.iter().zip(&mut case.sysctls) {
                if who == *host || who == "both" {
                    sysctls.push((name.trim().to_owned(), value.trim().to_owned()));
                }
            }
        }
        "fault" => fault(case, rest)?,
        "a" | "b" => {
            let host = usize::from(first == "b");
            let rest = if rest == "boot" { "- boot" } else { rest };
            let (at, call) = rest.split_once(char::is_whitespace).ok_or("a call has a time")?;
            let at = if at == "-" { SimTime::ZERO } else { SimTime::ZERO + duration(at)? };
            case.scripts[host].push(Line { at, words: call.split_whitespace().map(str::to_owned).collect() });
        }
        _ => return Err(format!("what is `{first}`?")),
    }
    Ok(())
}

/// `250ms`, `1.5s`, `2m`.
///
/// # Errors
/// If it is nothing like that.
pub fn duration(text: &str) -> Result<SimDuration, String> {
    let text = text.trim();
    let split = text.find(|c: char| c.is_alphabetic()).ok_or_else(|| format!("`{text}` has no unit"))?;
    let (number, unit) = text.split_at(split);
    let nanos = match unit {
        "us" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        "m" => 6e10,
        _ => return Err(format!("`{text}` has no unit that is known")),
    };
    let number: f64 = number.parse().map_err(|_| format!("`{text}` is no duration"))?;
    Ok(SimDuration::from_nanos((number * nanos) as u64))
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("`{text}` is no number"))
}

fn settings(words: &[&str]) -> Result<Vec<(String, String)>, String> {
    let setting = |word: &&str| {
        let (key, value) = word.split_once('=').ok_or_else(|| format!("`{word}` is no KEY=VALUE"))?;
        Ok((key.to_owned(), value.to_owned()))
    };
    words.iter().map(setting).collect()
}

/// An element of the path: its kind, an optional name after a colon, and its settings.
fn element(text: &str) -> Result<ElementConfig, String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let (kind, rest) = words.split_first().ok_or("what element?")?;
    let (kind, name) = match kind.split_once(':') {
        Some((kind, name)) => (kind, Some(name.to_owned())),
        None => (*kind, None),
    };
    let settings = settings(rest)?;
    let kind = match kind {
        "link" => ElementKind::Link(link(&settings)?),
        "nat" => {
            let mut ports = PortPolicy::default();
            let tracking = tracking(&settings, |key, value| match key {
                "ports" => {
                    ports.keep = value == "keep";
                    if let Some((first, last)) = value.split_once('-') {
                        (ports.first, ports.last) = (number(first)?, number(last)?);
                    }
                    Ok(())
                }
                _ => Err(format!("a NAT has no `{key}`")),
            })?;
            ElementKind::Nat(NatConfig { addresses: vec![NAT_ADDRESS.into()], inner: Side::First, ports, tracking })
        }
        "firewall" => {
            let tracking = tracking(&settings, |key, _| Err(format!("a firewall has no `{key}`")))?;
            ElementKind::Firewall(FirewallConfig { opens: Opens::First, tracking })
        }
        _ => return Err(format!("`{kind}` is no element")),
    };
    Ok(ElementConfig { name, kind })
}

fn link(settings: &[(String, String)]) -> Result<LinkConfig, String> {
    let mut link = LinkConfig { latency: Delay::Fixed(SimDuration::from_millis(10)), ..LinkConfig::default() };
    for (key, value) in settings {
        match key.as_str() {
            "latency" => link.latency = Delay::Fixed(duration(value)?),
            "mtu" => link.mtu = number(value)?,
            "icmp" => link.icmp = if value == "blocked" { IcmpPolicy::Blocked } else { IcmpPolicy::Allowed },
            "bandwidth" => link.bandwidth = Some(number(value)?),
            "burst" => link.burst = Some(burst(value)?),
            "clamp" if value == "mtu" => link.clamp_mss = ClampMss::ToMtu,
            "clamp" => link.clamp_mss = ClampMss::To(number(value)?),
            _ => return Err(format!("a link has no `{key}`")),
        }
    }
    Ok(link)
}

/// Gilbert's model, `TO_BAD/TO_GOOD` in percent: nothing is lost while the line is good, everything while it is bad.
fn burst(value: &str) -> Result<GilbertElliott, String> {
    let (to_bad, to_good) = value.split_once('/').ok_or("burst=TO_BAD/TO_GOOD")?;
    let percent = |text| Ok::<_, String>(Ratio::from_percent(number(text)?));
    let (to_bad, to_good) = (percent(to_bad)?, percent(to_good)?);
    Ok(GilbertElliott { to_bad, to_good, loss_bad: Ratio::ONE, loss_good: Ratio::ZERO })
}

fn tracking(
    settings: &[(String, String)],
    mut other: impl FnMut(&str, &str) -> Result<(), String>,
) -> Result<Tracking, String> {
    let mut tracking = Tracking { timeouts: Timeouts::LINUX, ..Tracking::default() };
    for (key, value) in settings {
        match (key.as_str(), value.as_str()) {
            ("idle", _) => tracking.timeouts.tcp_established = duration(value)?,
            ("udp-idle", _) => {
                tracking.timeouts.udp = duration(value)?;
                tracking.timeouts.udp_stream = duration(value)?;
            }
            ("late", "drop") => tracking.late = LatePacket::Drop,
            ("late", "reset") => tracking.late = LatePacket::Reset,
            ("late", "pickup") => tracking.late = LatePacket::PickUp,
            ("late", "remap") => tracking.late = LatePacket::Remap,
            ("late", "untranslated") => tracking.late = LatePacket::ForwardUntranslated,
            ("stray", "drop") => tracking.stray = StrayPacket::Drop,
            ("stray", "reset") => tracking.stray = StrayPacket::Reset,
            ("expiry", "silent") => tracking.on_expiry = OnExpiry::Silent,
            ("expiry", "reset-inner") => tracking.on_expiry = OnExpiry::ResetInner,
            ("expiry", "reset-both") => tracking.on_expiry = OnExpiry::ResetBoth,
            _ => other(key, value)?,
        }
    }
    Ok(tracking)
}

/// `FROM[..TO] KIND [a->b|b->a] [on NAME]`, `FROM[..TO] power HOST`.
fn fault(case: &mut Case, text: &str) -> Result<(), String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let [when, what, rest @ ..] = &words[..] else { return Err("fault FROM..TO KIND".to_owned()) };
    let (from, to) = match when.split_once("..") {
        Some((from, "")) => (duration(from)?, None),
        Some((from, to)) => (duration(from)?, Some(duration(to)?)),
        None => (duration(when)?, None),
    };
    if let ("power", [host]) = (*what, rest) {
        let host = HOSTS.iter().position(|name| name == host).ok_or("power of which host?")?;
        let host = HostId::new(host as u32);
        case.changes.push((SimTime::ZERO + from, Change::PowerOff(host)));
        case.changes.extend(to.map(|to| (SimTime::ZERO + to, Change::PowerOn(host))));
        return Ok(());
    }
    let mut scope = Scope { target: Target::Route(RouteId::new(0)), direction: None };
    let mut words = rest.iter();
    while let Some(word) = words.next() {
        match *word {
            "a->b" => scope.direction = Some(Direction::Forward),
            "b->a" => scope.direction = Some(Direction::Backward),
            "on" => scope.target = Target::Element((*words.next().ok_or("on what?")?).to_owned()),
            _ => return Err(format!("what is `{word}`?")),
        }
    }
    let (name, value) = what.split_once('=').unwrap_or((what, ""));
    let kind = match name {
        "loss" => FaultKind::Loss { share: Ratio::ONE },
        "duplicate" => FaultKind::Duplicate { share: Ratio::ONE },
        "corrupt" => FaultKind::Corrupt { share: Ratio::ONE },
        "reorder" => FaultKind::Reorder { share: Ratio::ONE, by: duration(value)? },
        "latency" => FaultKind::Latency { add: Delay::Fixed(duration(value)?) },
        "mtu" => FaultKind::Mtu { mtu: number(value)?, icmp: IcmpPolicy::Allowed },
        "mtu-silent" => FaultKind::Mtu { mtu: number(value)?, icmp: IcmpPolicy::Blocked },
        "unreachable" => FaultKind::Unreachable { code: number(value)? },
        "nat.flush" => FaultKind::NatFlush,
        _ => return Err(format!("`{name}` is no fault")),
    };
    let begun = case.changes.len();
    case.changes.push((SimTime::ZERO + from, Change::Apply(NetFault { scope, kind })));
    if let Some(to) = to {
        case.changes.push((SimTime::ZERO + to, Change::Lift(begun)));
    }
    Ok(())
}

/// Sorts by time; what lifts a fault follows it to its new place.
fn sort_changes(changes: &mut Vec<(SimTime, Change)>) {
    let mut order: Vec<usize> = (0..changes.len()).collect();
    order.sort_by_key(|&index| changes[index].0);
    let place = |old: usize| order.iter().position(|&index| index == old).expect("an index of the list");
    let sorted = order.iter().map(|&index| match &changes[index] {
        (at, Change::Lift(begun)) => (*at, Change::Lift(place(*begun))),
        other => other.clone(),
    });
    *changes = sorted.collect();
}

/// `b:7000`, `nobody:80`.
///
/// # Errors
/// If it is nothing like that.
pub fn address(text: &str) -> Result<(IpAddr, u16), String> {
    let (host, port) = text.split_once(':').ok_or_else(|| format!("`{text}` is no HOST:PORT"))?;
    let address: IpAddr = match host {
        "a" => ADDRESSES[0].into(),
        "b" => ADDRESSES[1].into(),
        "a6" => ADDRESSES_V6[0].into(),
        "b6" => ADDRESSES_V6[1].into(),
        "a46" => ADDRESSES[0].to_ipv6_mapped().into(),
        "b46" => ADDRESSES[1].to_ipv6_mapped().into(),
        "nat" => NAT_ADDRESS.into(),
        "nobody" => NOBODY.into(),
        "nobody6" => NOBODY_V6.into(),
        "silent" => SILENT.into(),
        _ => return Err(format!("`{host}` is no host")),
    };
    Ok((address, number(port)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_gives_a_case_for_each_choice_of_rows() {
        let text = "case {blip}-{rtt}\nfor blip end = 500ms 1500ms | 2s 3s\nfor rtt half = 10ms 5ms | 50ms 25ms\n\
            path link latency={half}\nfault 1s..{end} loss\nuntil {end}\ncase plain\n";
        let cases = parse("f", text).unwrap();
        let names: Vec<&str> = cases.iter().map(|case| case.name.as_str()).collect();
        assert_eq!(names, ["f/500ms-10ms", "f/500ms-50ms", "f/2s-10ms", "f/2s-50ms", "f/plain"]);
        assert_eq!(cases[3].until, SimTime::ZERO + SimDuration::from_secs(3));
        assert_eq!(cases[3].path, [element("link latency=25ms").unwrap()]);
        for (wrong, told) in [
            ("case c\nfor a b = 1\n", "f, line 2: a row has as many values as there are names"),
            ("case c\nfor a\n", "f, line 2: for NAME... = VALUE... | VALUE..."),
            ("case c\nuntil {a}\n", "f, line 2: `{a}` has no unit that is known"),
        ] {
            assert_eq!(parse("f", wrong).map(|_| ()), Err(told.to_owned()), "{wrong}");
        }
    }

    #[test]
    fn a_host_has_a_life_for_each_time_it_has_power() {
        let text = "case c\nfault 1s..3s power b\nfault 4s..5s power b\nuntil 9s\n\
            b 0s listen l 7000\nb boot\nb - listen l 7000\nb - accept l c\n";
        let case = &parse("f", text).unwrap()[0];
        let spans = |host: usize| -> Vec<(u64, u64, usize)> {
            let seconds = |at: SimTime| at.as_nanos() / 1_000_000_000;
            case.lives(host).iter().map(|life| (seconds(life.from), seconds(life.to), life.lines.len())).collect()
        };
        assert_eq!(spans(0), [(0, 9, 0)]);
        assert_eq!(spans(1), [(0, 1, 1), (3, 4, 2), (5, 9, 0)]);
    }
}
