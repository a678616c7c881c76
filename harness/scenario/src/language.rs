//! The language: every mapping and every key of a scenario, with what it takes and what it means. The reader, the error
//! messages and the JSON Schema all come from these tables.

use crate::read::{Key, Kind, OpenKeys, Table, key, required};

use Kind::{
    Address, Bandwidth, Bool, Choice, Count, Distribution, Duration, Form, Hosts, Instant, List, Named, Open, Pair,
    Places, Share, SignedDuration, Text, Timestamp,
};

/// The most instances of one group, and the most hosts of a scenario.
pub(crate) const HOSTS_MAX: u64 = 10_000;
/// The most ops that a scenario may ask for: a slip of a unit should not run for hours.
pub(crate) const OPS_MAX: u64 = 10_000_000;
const MTU: Kind = Count(68, 65_535);
const U32: u64 = u32::MAX as u64;

pub(crate) const SCENARIO: Table = Table {
    name: "a scenario",
    keys: &[
        required("scenario", Text, "its name, in kebab-case"),
        key("summary", Text, "what happens, in one sentence"),
        key("sources", List(&Text), "where the incident behind it is told"),
        key("seed", Count(0, u64::MAX), "what every random stream starts from (default 1)"),
        key("epoch", Timestamp, "the wall clock at the start, in UTC (default 2026-01-01T00:00:00Z)"),
        key("time_limit", Duration, "when the run ends at the latest (default 1h)"),
        key("cpus", Count(1, 1_024), "what CPU counts say on every host (default 2)"),
        key("scheduling", Choice(&["fifo", "shuffle"]), "who runs next among ready threads (default fifo)"),
        required("hosts", Named(&Kind::Table(&HOST)), "the hosts, by name"),
        key("network", Kind::Table(&NETWORK), "what lies between the hosts"),
        key("dns", Kind::Table(&DNS), "the DNS zone and its server"),
        key("load", List(&Kind::Table(&PHASE)), "what clients are asked to do, one phase after another"),
        key("faults", List(&Kind::Table(&FAULT)), "what breaks, and when"),
        key("expect", List(&EXPECTATION), "what must hold, each a comparison of a metric with a figure"),
        key("variants", Named(&Open(OpenKeys::Variant)), "runs side by side: changes to hosts, by the variant's name"),
    ],
};

const EXPECTATION: Kind =
    Form("[HOST.]METRIC (< | <= | > | >= | == | !=) FIGURE [before FAULT | during FAULT | after FAULT]");

pub(crate) const HOST: Table = Table {
    name: "a host",
    keys: &[
        key("run", Text, "the registered client or upstream that it runs; `halfopen list` shows them"),
        key("with", Open(OpenKeys::Params), "settings of what it runs"),
        key("count", Count(1, HOSTS_MAX), "how many instances, named app-1, app-2, ... (default 1: app)"),
        key("addresses", List(&Address), "its addresses (default: the next free 10.0.0.N and fd00::N)"),
        key("mtu", MTU, "MTU of its interface in bytes (default 1500)"),
        key("sysctls", Open(OpenKeys::Sysctls), "its kernel's settings, under their Linux names"),
        key("resolver", Kind::Table(&RESOLVER), "how it looks names up"),
        key("clock_offset", SignedDuration, "how far its wall clock is off"),
        key("start_at", Duration, "when it starts (default: at once)"),
        key("fd_limit", Count(16, 1_048_576), "descriptors that its process may have (default 1024)"),
    ],
};

pub(crate) const RESOLVER: Table = Table {
    name: "a resolver",
    keys: &[
        key("cache", Form("none | ttl | forever | DURATION"), "what the host remembers of answers (default none)"),
        key("nameservers", Places, "the servers to ask (default: the scenario's DNS server)"),
        key("search", List(&Text), "domains to append to short names"),
        key("ndots", Count(0, 15), "names with fewer dots are tried with the search list first (default 1)"),
        key("timeout", Duration, "how long to wait for one server (default 5s)"),
        key("attempts", Count(1, 5), "how often to go through the servers (default 2)"),
        key("rotate", Bool, "servers take turns"),
        key("single_request", Bool, "A and AAAA are asked one after the other"),
        key("single_request_reopen", Bool, "the second question gets a new socket"),
        key("use_vc", Bool, "questions go over TCP"),
    ],
};

pub(crate) const NETWORK: Table = Table {
    name: "a network",
    keys: &[
        key("default", Kind::Table(&LINK), "the link between hosts for whom there is no route"),
        key("routes", List(&Kind::Table(&ROUTE)), "what lies between two groups of hosts"),
    ],
};

pub(crate) const ROUTE: Table = Table {
    name: "a route",
    keys: &[
        required("between", Pair, "the two groups of hosts at its ends"),
        required("via", List(&Kind::NameOr(&ELEMENT)), "its elements, from the first group's end to the second's"),
    ],
};

pub(crate) const ELEMENT: Table = Table {
    name: "an element",
    keys: &[
        NAME,
        key("link", Kind::Table(&LINK), "a line: latency, loss, bandwidth, MTU"),
        key("nat", Kind::Table(&NAT), "a source NAT"),
        key("firewall", Kind::Table(&FIREWALL), "a stateful firewall"),
    ],
};

/// Stands beside an element's kind or within it.
const NAME: Key = key("name", Text, "what faults call it; on another route the name alone means this same box");

pub(crate) const LINK: Table = Table {
    name: "a link",
    keys: &[
        NAME,
        key("preset", Text, "a line of a known kind; the other keys override it"),
        key("latency", Distribution, "one way (default 1ms)"),
        key("jitter", Duration, "each packet's latency moves by up to this much either way; packets stay in order"),
        key("loss", Share, "of the packets, each on its own"),
        key("burst", Kind::Table(&BURST), "loss in bursts (Gilbert-Elliott), besides `loss`"),
        key("duplicate", Share, "of the packets arrive twice"),
        key("reorder", Kind::Table(&REORDER), "packets held back, so that later ones overtake them"),
        key("corrupt", Share, "of the packets have flipped bits"),
        key("bandwidth", Bandwidth, "how much fits through (default: without limit)"),
        key("queue", Form("PACKETS | SIZE"), "how much may wait (default 1000 packets)"),
        key("mtu", MTU, "the largest packet in bytes, IP header included (default 1500)"),
        key("icmp", Choice(&["allowed", "blocked"]), "whether ICMP errors are sent and carried (default allowed)"),
        key("clamp_mss", Form("off | mtu | BYTES"), "rewrites the MSS of SYNs, never upwards (default off)"),
    ],
};

pub(crate) const BURST: Table = Table {
    name: "a burst",
    keys: &[
        required("to_bad", Share, "chance at each packet that the line turns bad"),
        required("to_good", Share, "chance at each packet that it turns good again"),
        key("loss_bad", Share, "lost while bad (default 100%)"),
        key("loss_good", Share, "lost while good (default 0%)"),
    ],
};

pub(crate) const REORDER: Table = Table {
    name: "a reordering",
    keys: &[required("share", Share, "of the packets are held back"), required("by", Duration, "how long")],
};

/// Keys that every box with a flow table has; [`NAT`] and [`FIREWALL`] repeat them.
const PRESET: Key = key("preset", Text, "a box of a known make; the other keys override it");
const IDLE: Key = key("idle_timeout", Duration, "how long an idle flow is remembered, TCP and UDP");
const TIMEOUTS: Key = key("timeouts", Kind::Table(&TIMEOUT), "the same by protocol and state");
const REFRESH: Key = key("refresh", Choice(&["both", "outbound", "inbound"]), "which packets keep a flow alive");
const ON_EXPIRY: Key =
    key("on_expiry", Choice(&["silent", "reset-inner", "reset-both"]), "what happens when a TCP flow is forgotten");
const LATE: Key = key(
    "late",
    Choice(&["drop", "reset", "pick-up", "remap", "forward"]),
    "what becomes of a TCP packet of a forgotten flow",
);
const STRAY: Key = key("stray", Choice(&["drop", "reset"]), "what becomes of a packet that nobody asked for");
const TABLE_SIZE: Key = key("table_size", Count(1, 262_144), "the most flows at one time");

pub(crate) const NAT: Table = Table {
    name: "a NAT",
    keys: &[
        NAME,
        PRESET,
        key("inner", Hosts, "on which side of the route the private addresses are (default: the first)"),
        key(
            "addresses",
            List(&Address),
            "its external addresses (default: the next free 198.51.100.N and 2001:db8::N)",
        ),
        key("ports", Form("FIRST..LAST"), "the external ports that it gives"),
        key("keep_port", Bool, "keeps the inner port if it is free"),
        IDLE,
        TIMEOUTS,
        REFRESH,
        ON_EXPIRY,
        LATE,
        STRAY,
        TABLE_SIZE,
    ],
};

pub(crate) const FIREWALL: Table = Table {
    name: "a firewall",
    keys: &[
        NAME,
        PRESET,
        key("opens", Form("HOSTS | both"), "which side of the route may begin a flow (default: the first)"),
        IDLE,
        TIMEOUTS,
        REFRESH,
        ON_EXPIRY,
        LATE,
        STRAY,
        TABLE_SIZE,
    ],
};

pub(crate) const TIMEOUT: Table = Table {
    name: "a table of timeouts",
    keys: &[
        key("tcp_syn_sent", Duration, "a SYN was seen"),
        key("tcp_syn_recv", Duration, "a SYN-ACK was seen"),
        key("tcp_established", Duration, "the handshake is complete"),
        key("tcp_fin_wait", Duration, "one FIN was seen"),
        key("tcp_close_wait", Duration, "the FIN was acknowledged"),
        key("tcp_last_ack", Duration, "both FINs were seen"),
        key("tcp_time_wait", Duration, "both FINs were acknowledged"),
        key("tcp_close", Duration, "an RST was seen"),
        key("tcp_max_retrans", Duration, "upper limit while segments come again and again"),
        key("tcp_unacknowledged", Duration, "upper limit while data is not acknowledged"),
        key("udp", Duration, "UDP without an answer so far"),
        key("udp_stream", Duration, "UDP both ways"),
        key("icmp", Duration, "ICMP echo"),
    ],
};

pub(crate) const DNS: Table = Table {
    name: "the DNS",
    keys: &[
        key("records", List(&Kind::Table(&RECORD)), "the zone at the start"),
        key("server", Kind::Table(&DNS_SERVER), "the server: a recursive cache before the zone"),
    ],
};

pub(crate) const RECORD: Table = Table {
    name: "a DNS record",
    keys: &[
        required("name", Text, "the name, such as db.internal"),
        required("to", Places, "hosts or addresses that it leads to"),
        key("ttl", Duration, "how long an answer may be kept, in whole seconds (default 60s)"),
    ],
};

pub(crate) const DNS_SERVER: Table = Table {
    name: "a DNS server",
    keys: &[
        key("cache", Choice(&["honour", "ignore", "none"]), "what its cache does with TTLs (default honour)"),
        key("min_ttl", Duration, "keeps answers at least so long"),
        key("max_ttl", Duration, "keeps answers at most so long"),
        key("latency", Duration, "how long it takes to ask the zone when its cache does not know (default 0s)"),
        key("negative_ttl", Duration, "how long it remembers that a name does not exist (default 30s)"),
    ],
};

pub(crate) const PHASE: Table = Table {
    name: "a phase of the load",
    keys: &[
        key("on", Hosts, "the clients that get the work"),
        key("op", Text, "the kind of work"),
        key("rate", Kind::Rate, "how many ops begin in a time on each host, however long each takes"),
        key("concurrency", Count(1, 1_000_000), "how many ops are under way at once on each host"),
        key("arrivals", Choice(&["uniform", "poisson"]), "how a rate is spread (default uniform)"),
        key("for", Duration, "how long the phase lasts"),
        key("count", Count(1, OPS_MAX), "how many ops each host gets, instead of `for`"),
        key("deadline", Duration, "how long each op may take (default: without limit)"),
        key("idle", Duration, "nothing to do for so long"),
    ],
};

/// Keys of a fault besides the one that says what it does.
const FAULT_COMMON: [Key; 6] = [
    key("name", Text, "what phases of expectations call it (default: its kind)"),
    key("at", Instant, "when it begins: `2m`, or `10s..60s` to draw it from the seed"),
    key("when", Form("COUNTER == NUMBER"), "what it waits for, instead of `at`: `ops.started == 500`"),
    key("after", Duration, "how long after `when` it begins (default: at once)"),
    key("every", Duration, "begins again and again, so far apart"),
    key("times", Count(1, 100_000), "how often, with `every` (default: to the end of the load)"),
];
const FOR: Key = key("for", Duration, "how long it lasts (default: to the end)");
const BETWEEN: Key = key("between", Pair, "the two groups of hosts whose packets are hit");
const DIRECTION: Key =
    key("direction", Choice(&["both", "forward", "backward"]), "seen from the first group (default both)");
const ON_ELEMENT: Key = key("on", Text, "the name of an element of a route, instead of `between`");
const ON_NAT: Key = key("on", Text, "the name of the NAT, if there are several");
const ON_HOSTS: Key = required("on", Hosts, "the hosts that are hit");
const OF_REQUESTS: Key = key("share", Share, "of the requests (default 100%)");
const OF_PACKETS: Key = required("share", Share, "of the packets");

macro_rules! fault_kinds {
    ($($konst:ident $name:literal $article:literal $doc:literal [$($key:expr),* $(,)?];)*) => {
        $(pub(crate) const $konst: Table = Table { name: $article, keys: &[$($key),*] };)*

        /// The faults: name, keys and meaning.
        pub(crate) const FAULT_KINDS: &[(&str, &Table, &str)] = &[$(($name, &$konst, $doc)),*];

        pub(crate) const FAULT: Table = Table {
            name: "a fault",
            keys: &{
                let [name, at, when, after, every, times] = FAULT_COMMON;
                [name, at, when, after, every, times, FOR, $(key($name, Kind::Table(&$konst), $doc)),*]
            },
        };
    };
}

fault_kinds! {
    BLIP "blip" "a blip" "all or part of the packets are lost" [
        BETWEEN, ON_ELEMENT, DIRECTION, FOR, key("loss", Share, "of the packets (default 100%)"),
    ];
    PARTITION "partition" "a partition" "no packet passes" [BETWEEN, ON_ELEMENT, DIRECTION, FOR];
    LATENCY "latency" "a latency fault" "packets take longer" [
        BETWEEN, ON_ELEMENT, DIRECTION, FOR, required("add", Distribution, "how much longer"),
    ];
    BANDWIDTH "bandwidth" "a bandwidth fault" "less fits through" [
        BETWEEN, ON_ELEMENT, DIRECTION, FOR, required("limit", Bandwidth, "how much fits through"),
    ];
    LOSS "loss" "a loss fault" "part of the packets are lost" [BETWEEN, ON_ELEMENT, DIRECTION, FOR, OF_PACKETS];
    DUPLICATE "duplicate" "a duplication fault" "part of the packets arrive twice" [
        BETWEEN, ON_ELEMENT, DIRECTION, FOR, OF_PACKETS,
    ];
    REORDERING "reorder" "a reordering fault" "part of the packets are overtaken" [
        BETWEEN, ON_ELEMENT, DIRECTION, FOR, OF_PACKETS, required("by", Duration, "how long they are held back"),
    ];
    CORRUPT "corrupt" "a corruption fault" "bits flip in part of the packets" [
        BETWEEN, ON_ELEMENT, DIRECTION, FOR, OF_PACKETS,
    ];
    NAT_EVICT "nat.evict" "an eviction" "a NAT forgets the flows that were idle longest" [
        ON_NAT, key("flows", Count(1, U32), "how many (default 1)"),
    ];
    NAT_FLUSH "nat.flush" "a flush" "a NAT forgets all flows" [ON_NAT];
    NAT_REBOOT "nat.reboot" "a reboot" "a NAT forgets all flows and passes nothing for a while" [ON_NAT, FOR];
    NAT_FULL "nat.full" "a full table" "a NAT takes no new flows" [ON_NAT, FOR];
    MTU_FAULT "mtu" "an MTU fault" "only smaller packets fit" [
        BETWEEN, ON_ELEMENT, DIRECTION, FOR, required("mtu", MTU, "the largest packet in bytes"),
        key("icmp", Choice(&["allowed", "blocked"]), "whether the sender is told (default allowed)"),
    ];
    UNREACHABLE "unreachable" "an unreachability" "a router sends packets back to where they came from" [
        BETWEEN, ON_ELEMENT, DIRECTION, FOR,
        key("says", Choice(&["network", "host", "port", "prohibited"]), "what the router finds (default host)"),
    ];
    ROUTE_CHANGE "route" "a change of route" "packets take another path" [
        BETWEEN, ON_ELEMENT, DIRECTION, FOR, required("latency", Distribution, "of the new path"),
        key("gap", Duration, "nothing passes for so long first (default 0s)"),
    ];
    DNS_SET "dns.set" "a change of DNS" "a record leads elsewhere" [
        required("name", Text, "the name of the record"),
        required("to", Places, "hosts or addresses that it leads to now; an empty list removes it"),
        key("ttl", Duration, "its new TTL (default: as before)"), FOR,
    ];
    DNS_FAIL "dns.fail" "a failure of DNS" "questions to the DNS server fail" [
        key("name", Text, "only questions for this name"),
        key("with", Choice(&["servfail", "nxdomain", "refused", "silence", "truncate"]), "how (default servfail)"), FOR,
    ];
    DNS_STALE "dns.stale" "a frozen DNS cache" "the DNS server's cache learns nothing new" [FOR];
    CRASH "crash" "a crash" "hosts stop; with `for` they start again at its end" [
        ON_HOSTS, key("power_loss", Bool, "the kernel stops too, in silence (default false: the process is killed)"), FOR,
    ];
    RESTART "restart" "a restart" "hosts' processes are killed and start again" [ON_HOSTS];
    PAUSE "pause" "a pause" "hosts' threads do not run; their kernels' TCP still answers" [ON_HOSTS, FOR];
    CLOCK "clock" "a jump of the clock" "hosts' wall clocks jump" [
        ON_HOSTS, required("by", SignedDuration, "how far; negative is back"), FOR,
    ];
    SLOW "slow" "a slow upstream" "requests take longer" [
        ON_HOSTS, required("by", Distribution, "how much longer"), OF_REQUESTS, FOR,
    ];
    REFUSE "refuse" "a refusing upstream" "connections are refused" [ON_HOSTS, FOR];
    HANG "hang" "a hanging upstream" "requests are never answered" [ON_HOSTS, OF_REQUESTS, FOR];
    ERROR "error" "a failing upstream" "requests are answered with an error" [
        ON_HOSTS, OF_REQUESTS, key("status", Count(400, 599), "HTTP status, where there is one (default 503)"), FOR,
    ];
    CAPACITY "capacity" "a smaller upstream" "fewer requests are worked on at once" [
        ON_HOSTS, required("workers", Count(0, U32), "how many at once; 0: all wait"), FOR,
    ];
    RESET "reset" "a reset" "established connections get an RST" [
        BETWEEN, key("on", Hosts, "all connections of these hosts, instead of `between`"),
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All tables that a scenario leads to.
    fn tables(kind: Kind, found: &mut Vec<&'static Table>) {
        match kind {
            Kind::Table(table) | Kind::NameOr(table) => {
                found.push(table);
                table.keys.iter().for_each(|key| tables(key.kind, found));
            }
            Kind::List(inner) | Kind::Named(inner) => tables(*inner, found),
            _ => {}
        }
    }

    #[test]
    fn every_key_stands_once_and_says_what_it_means() {
        let mut found = Vec::new();
        tables(Kind::Table(&SCENARIO), &mut found);
        assert!(found.len() > 40);
        for table in found {
            for (index, key) in table.keys.iter().enumerate() {
                assert!(!key.doc.is_empty(), "{}: {}", table.name, key.name);
                assert!(table.keys[..index].iter().all(|other| other.name != key.name), "{}: {}", table.name, key.name);
            }
        }
    }
}
