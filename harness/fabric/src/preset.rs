//! Real boxes and real lines by name, with their published figures.
//!
//! The figures come from the vendors' and the kernel's own words; each preset says where. Where a source leaves a
//! figure open, Linux's is taken ([`Timeouts::LINUX`]).

use halfopen_core::SimDuration;

use crate::config::{
    ClampMss, Delay, FirewallConfig, IcmpPolicy, LatePacket, LinkConfig, NatConfig, OnExpiry, Opens, PortPolicy,
    Refresh, Side, StrayPacket, TABLE_SIZE_MAX, Timeouts, Tracking,
};

/// One preset.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Preset {
    /// Its name in scenarios.
    pub name: &'static str,
    /// What it is, in one sentence.
    pub summary: &'static str,
    /// Where the figures come from.
    pub source: &'static str,
    /// The figures.
    pub kind: PresetKind,
}

/// What a preset sets.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(clippy::large_enum_variant)] // A short static list.
pub enum PresetKind {
    /// A box that keeps a table of flows; it can stand in a route as a NAT or as a firewall.
    Middlebox {
        /// How it keeps track of flows.
        tracking: Tracking,
        /// Which ports it gives, as a NAT.
        ports: PortPolicy,
    },
    /// A line.
    Link(LinkConfig),
}

/// All presets: middleboxes first, then lines, each by name.
pub fn presets() -> Vec<Preset> {
    let mut all = middleboxes();
    all.extend(links());
    all
}

/// The preset with this name.
pub fn find(name: &str) -> Option<Preset> {
    presets().into_iter().find(|preset| preset.name == name)
}

impl Preset {
    /// A NAT of this make, with private addresses on the first side. It has no external address yet. `None` if the
    /// preset is a line.
    pub fn nat(&self) -> Option<NatConfig> {
        match self.kind {
            PresetKind::Middlebox { tracking, ports } => {
                Some(NatConfig { addresses: Vec::new(), inner: Side::First, ports, tracking })
            }
            PresetKind::Link(_) => None,
        }
    }

    /// A firewall of this make that lets the first side begin flows. `None` if the preset is a line.
    pub fn firewall(&self) -> Option<FirewallConfig> {
        match self.kind {
            PresetKind::Middlebox { tracking, ports: _ } => Some(FirewallConfig { opens: Opens::First, tracking }),
            PresetKind::Link(_) => None,
        }
    }

    /// A link of this make. `None` if the preset is a middlebox.
    pub fn link(&self) -> Option<LinkConfig> {
        match &self.kind {
            PresetKind::Link(link) => Some(link.clone()),
            PresetKind::Middlebox { .. } => None,
        }
    }
}

const fn secs(n: u64) -> SimDuration {
    SimDuration::from_secs(n)
}

/// One timeout for TCP in every state that can last, and one for UDP: all that most vendors publish.
const fn flat(tcp: u64, udp: u64) -> Timeouts {
    Timeouts {
        tcp_established: secs(tcp),
        // Linux's lower limits for flows in doubt are no vendor's.
        tcp_max_retrans: secs(tcp),
        tcp_unacknowledged: secs(tcp),
        udp: secs(udp),
        udp_stream: secs(udp),
        ..Timeouts::LINUX
    }
}

const fn tracking(timeouts: Timeouts, late: LatePacket, stray: StrayPacket) -> Tracking {
    Tracking { timeouts, refresh: Refresh::Both, on_expiry: OnExpiry::Silent, late, stray, table_size: TABLE_SIZE_MAX }
}

/// Masquerading as Linux does it by default.
const KEEP: PortPolicy = PortPolicy { keep: true, first: 1024, last: 65_535 };
/// A new port for each flow (`--random-fully`, and most cloud NATs).
const ANY: PortPolicy = PortPolicy { keep: false, first: 1024, last: 65_535 };

#[rustfmt::skip] // One preset, one paragraph.
fn middleboxes() -> Vec<Preset> {
    use LatePacket as Late;
    use StrayPacket as Stray;
    let preset = |name, summary, source, tracking, ports| Preset {
        name, summary, source, kind: PresetKind::Middlebox { tracking, ports },
    };
    vec![
        preset("aws-nat-gateway",
            "350 s idle; a later packet from inside is answered with an RST; 55000 flows to one destination",
            "docs.aws.amazon.com vpc/latest/userguide/vpc-nat-comparison.html and nat-gateway-basics.html",
            tracking(flat(350, 350), Late::Reset, Stray::Drop),
            // 55000 ports: the limit of simultaneous flows to one destination.
            PortPolicy { keep: false, first: 1024, last: 56_023 }),
        preset("aws-network-firewall",
            "TCP 350 s idle; later packets vanish until a new SYN",
            "AWS Network Firewall API, FlowTimeouts",
            tracking(flat(350, 120), Late::Drop, Stray::Drop), KEEP),
        preset("aws-nlb",
            "TCP 350 s, UDP 120 s idle; whoever sends later gets an RST",
            "docs.aws.amazon.com elasticloadbalancing/latest/network/update-idle-timeout.html",
            tracking(flat(350, 120), Late::Reset, Stray::Reset), ANY),
        preset("aws-security-group",
            "connection tracking of an interface: TCP 432000 s, UDP 30 s and 180 s; silent",
            "AWS EC2 API, ConnectionTrackingSpecification",
            tracking(Timeouts { udp_stream: secs(180), ..Timeouts::LINUX }, Late::Drop, Stray::Drop), KEEP),
        preset("azure-lb",
            "4 min idle, then silence",
            "MicrosoftDocs/azure-docs load-balancer-tcp-idle-timeout.md",
            tracking(flat(240, 240), Late::Drop, Stray::Drop), ANY),
        preset("azure-lb-reset",
            "4 min idle, then an RST to both ends (`TCP reset on idle`)",
            "MicrosoftDocs/azure-docs load-balancer-tcp-reset.md",
            Tracking { on_expiry: OnExpiry::ResetBoth, ..tracking(flat(240, 240), Late::Drop, Stray::Drop) }, ANY),
        preset("azure-nat",
            "4 min idle; whoever sends later gets an RST; ports rest 65 s after a FIN, 16 s after an RST",
            "MicrosoftDocs/azure-docs nat-gateway-resource.md",
            tracking(
                Timeouts {
                    tcp_syn_sent: secs(30), tcp_syn_recv: secs(30), tcp_fin_wait: secs(65), tcp_close_wait: secs(65),
                    tcp_last_ack: secs(65), tcp_time_wait: secs(65), tcp_close: secs(16), ..flat(240, 240)
                },
                Late::Reset, Stray::Reset),
            ANY),
        preset("carrier-nat",
            "the least that RFCs ask of a NAT: TCP 2 h 4 min, UDP 5 min",
            "RFC 5382 REQ-5, RFC 4787 REQ-5",
            tracking(
                Timeouts {
                    tcp_syn_sent: secs(240), tcp_syn_recv: secs(240), tcp_fin_wait: secs(240),
                    tcp_close_wait: secs(240), tcp_last_ack: secs(240), udp: secs(120), ..flat(7_440, 300)
                },
                Late::Drop, Stray::Drop),
            ANY),
        preset("cisco-asa",
            "TCP 1 h, half-closed 10 min, UDP 2 min; silent",
            "Cisco ASA/FTD platform settings, default global timeouts (docs.defenseorchestrator.com)",
            tracking(
                Timeouts { tcp_fin_wait: secs(600), tcp_close_wait: secs(600), ..flat(3_600, 120) },
                Late::Drop, Stray::Drop),
            KEEP),
        preset("dlink-dfl",
            "TCP 262144 s, SYN 60 s, FIN 80 s, UDP 130 s; silent",
            "D-Link DFL series user manual",
            tracking(
                Timeouts {
                    tcp_syn_sent: secs(60), tcp_fin_wait: secs(80), tcp_close_wait: secs(80), tcp_last_ack: secs(80),
                    ..flat(262_144, 130)
                },
                Late::Drop, Stray::Drop),
            KEEP),
        preset("gcp-nat",
            "TCP 1200 s established and 30 s in transition, UDP 30 s; silent",
            "Google Compute API, RouterNat (tcpEstablishedIdleTimeoutSec and its siblings)",
            tracking(
                Timeouts {
                    tcp_syn_sent: secs(30), tcp_syn_recv: secs(30), tcp_fin_wait: secs(30), tcp_close_wait: secs(30),
                    tcp_last_ack: secs(30), tcp_time_wait: secs(120), ..flat(1_200, 30)
                },
                Late::Drop, Stray::Drop),
            ANY),
        preset("gcp-vpc-firewall",
            "10 min idle; then packets from outside vanish until one goes out",
            "cloud.google.com/compute/docs/troubleshooting",
            tracking(flat(600, 600), Late::PickUp, Stray::Drop), KEEP),
        preset("home-router",
            "TCP 1 h, UDP 30 s and 3 min; silent (medians of 34 devices)",
            "Hatonen et al., An Experimental Study of Home Gateway Characteristics, IMC 2010",
            tracking(Timeouts { udp: secs(30), ..flat(3_600, 180) }, Late::Drop, Stray::Drop), KEEP),
        preset("home-router-short",
            "TCP 4 min, UDP 30 s; silent (the worst of 34 devices)",
            "Hatonen et al., An Experimental Study of Home Gateway Characteristics, IMC 2010",
            tracking(flat(240, 30), Late::Drop, Stray::Drop), KEEP),
        preset("kube-ipvs",
            "kube-proxy in IPVS mode: TCP 900 s, after a FIN 120 s, UDP 300 s; a later packet gets an RST from the node",
            "Linux net/netfilter/ipvs/ip_vs_proto_{tcp,udp}.c",
            tracking(
                Timeouts { tcp_close_wait: secs(120), tcp_last_ack: secs(120), ..flat(900, 300) },
                Late::Reset, Stray::Reset),
            KEEP),
        preset("kube-proxy",
            "kube-proxy in iptables mode: conntrack with TCP 24 h and CLOSE_WAIT 1 h",
            "kube-proxy --conntrack-tcp-timeout-established, --conntrack-tcp-timeout-close-wait",
            tracking(
                Timeouts { tcp_established: secs(86_400), tcp_close_wait: secs(3_600), ..Timeouts::LINUX },
                Late::PickUp, Stray::Reset),
            KEEP),
        preset("linux-conntrack",
            "masquerading by Linux: 5 days; a forgotten flow is picked up, and survives if it keeps its port",
            "Linux net/netfilter/nf_conntrack_proto_*.c; measured on 6.18",
            tracking(Timeouts::LINUX, Late::PickUp, Stray::Reset), KEEP),
        preset("linux-conntrack-leaky",
            "nf_conntrack_tcp_loose=0 without such a rule: late packets leave with their private source address",
            "Linux nf_conntrack-sysctl; measured on 6.18",
            tracking(Timeouts::LINUX, Late::ForwardUntranslated, Stray::Reset), KEEP),
        preset("linux-conntrack-random",
            "masquerading by Linux with --random-fully: a forgotten flow comes back on another port, and is reset",
            "Linux net/netfilter/nf_nat_core.c; measured on 6.18",
            tracking(Timeouts::LINUX, Late::PickUp, Stray::Reset), ANY),
        preset("linux-conntrack-strict",
            "nf_conntrack_tcp_loose=0 with a rule that drops INVALID: a forgotten flow is dead in silence",
            "Linux nf_conntrack-sysctl; measured on 6.18",
            tracking(Timeouts::LINUX, Late::Drop, Stray::Reset), KEEP),
    ]
}

#[rustfmt::skip] // One preset, one paragraph.
fn links() -> Vec<Preset> {
    let preset = |name, summary, source, link| Preset { name, summary, source, kind: PresetKind::Link(link) };
    let mtu = |mtu| LinkConfig { mtu, ..LinkConfig::default() };
    let ms = SimDuration::from_millis;
    vec![
        preset("aws-transit-gateway",
            "MTU 8500; larger packets vanish without ICMP; TCP's MSS is clamped",
            "docs.aws.amazon.com vpc/latest/tgw/transit-gateway-quotas.html",
            LinkConfig { icmp: IcmpPolicy::Blocked, clamp_mss: ClampMss::ToMtu, ..mtu(8_500) }),
        preset("aws-vpc", "jumbo frames within a VPC: MTU 9001",
            "docs.aws.amazon.com AWSEC2/latest/UserGuide/network_mtu.html", mtu(9_001)),
        preset("gcp-vpc", "Google's default: MTU 1460",
            "cloud.google.com/network-connectivity/docs/interconnect", mtu(1_460)),
        preset("geneve", "Geneve without options on 1500: MTU 1450", "Linux include/net/geneve.h", mtu(1_450)),
        preset("geo-satellite", "one hop over a geostationary satellite: 260 ms one way",
            "RFC 2488, section 2: 239.6 to 279.0 ms",
            LinkConfig { latency: Delay::Uniform { min: ms(240), max: ms(280) }, ..LinkConfig::default() }),
        preset("gre", "GRE on 1500: MTU 1476", "RFC 2784: 20 bytes of IP and 4 of GRE", mtu(1_476)),
        preset("ipip", "IP in IP on 1500: MTU 1480", "projectcalico/calico networking/mtu.md", mtu(1_480)),
        preset("ipsec", "ESP tunnel on 1500, the largest overhead that Cilium allows for: MTU 1423",
            "cilium/cilium pkg/mtu/mtu.go", mtu(1_423)),
        preset("pppoe", "PPPoE on 1500: MTU 1492", "RFC 2516, section 7", mtu(1_492)),
        preset("vxlan", "VXLAN over IPv4 on 1500: MTU 1450", "Linux include/net/vxlan.h; measured on 6.18", mtu(1_450)),
        preset("vxlan-ipv6", "VXLAN over IPv6 on 1500: MTU 1430", "Linux include/net/vxlan.h; measured on 6.18",
            mtu(1_430)),
        preset("wireguard", "WireGuard as Linux sets it up, fit for IPv6 outside: MTU 1420",
            "Linux drivers/net/wireguard/device.c", mtu(1_420)),
        preset("wireguard-ipv4", "WireGuard over IPv4 alone: MTU 1440", "projectcalico/calico networking/mtu.md",
            mtu(1_440)),
    ]
}
