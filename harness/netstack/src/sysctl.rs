//! Per-host kernel settings under their Linux names, with the defaults of Linux 6.18.

use halfopen_core::SimDuration;

macro_rules! sysctls {
    ($($(#[$doc:meta])* $field:ident: $kind:ty = $default:expr, $name:literal;)*) => {
        /// The settings of one host. Fields carry the units of the sysctl unless they are a `SimDuration`.
        #[derive(Clone, PartialEq, Eq, Debug)]
        pub struct Sysctls { $($(#[$doc])* pub $field: $kind,)* }

        impl Default for Sysctls {
            fn default() -> Sysctls { Sysctls { $($field: $default,)* } }
        }

        impl Sysctls {
            /// The Linux names of all settings, in the order of the struct.
            pub const NAMES: &'static [&'static str] = &[$($name,)*];

            /// Sets the one with this Linux name from its text, as `sysctl -w` does.
            ///
            /// # Errors
            /// Says what is wrong with the name or the value.
            pub fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
                match name {
                    $($name => self.$field = Parse::parse(name, value)?,)*
                    _ => return Err(format!("unknown sysctl `{name}`")),
                }
                Ok(())
            }

            /// The text of the one with this Linux name, as `sysctl -n` prints it.
            pub fn get(&self, name: &str) -> Option<String> {
                match name {
                    $($name => Some(Parse::print(name, &self.$field)),)*
                    _ => None,
                }
            }
        }
    };
}

trait Parse: Sized {
    fn parse(name: &str, value: &str) -> Result<Self, String>;
    fn print(name: &str, value: &Self) -> String;
}

fn number(name: &str, value: &str) -> Result<u64, String> {
    value.trim().parse().map_err(|_| format!("`{name}` takes a whole number, not `{value}`"))
}

impl Parse for u32 {
    fn parse(name: &str, value: &str) -> Result<u32, String> {
        u32::try_from(number(name, value)?).map_err(|_| format!("`{name}` is too large: `{value}`"))
    }
    fn print(_: &str, value: &u32) -> String {
        value.to_string()
    }
}

impl Parse for bool {
    fn parse(name: &str, value: &str) -> Result<bool, String> {
        match value.trim() {
            "0" | "false" => Ok(false),
            "1" | "true" => Ok(true),
            _ => Err(format!("`{name}` takes 0 or 1, not `{value}`")),
        }
    }
    fn print(_: &str, value: &bool) -> String {
        u8::from(*value).to_string()
    }
}

/// The unit follows the name, as in Linux: `_us`, `_ms`, else whole seconds.
impl Parse for SimDuration {
    fn parse(name: &str, value: &str) -> Result<SimDuration, String> {
        let n = number(name, value)?;
        Ok(match name {
            _ if name.ends_with("_us") => SimDuration::from_micros(n),
            _ if name.ends_with("_ms") => SimDuration::from_millis(n),
            _ => SimDuration::from_secs(n),
        })
    }
    fn print(name: &str, value: &SimDuration) -> String {
        match name {
            _ if name.ends_with("_us") => value.as_micros().to_string(),
            _ if name.ends_with("_ms") => value.as_millis().to_string(),
            _ => (value.as_millis() / 1000).to_string(),
        }
    }
}

impl<const N: usize> Parse for [u32; N] {
    fn parse(name: &str, value: &str) -> Result<[u32; N], String> {
        let parts: Vec<u32> =
            value.split_whitespace().map(|part| u32::parse(name, part)).collect::<Result<_, String>>()?;
        <[u32; N]>::try_from(parts).map_err(|_| format!("`{name}` takes {N} numbers, not `{value}`"))
    }
    fn print(_: &str, value: &[u32; N]) -> String {
        value.map(|n| n.to_string()).join("\t")
    }
}

// Source of every default: `sysctl -a` in a fresh network namespace of Linux 6.18, checked with
// Documentation/networking/ip-sysctl.rst of 6.12.
sysctls! {
    /// Retransmissions of a SYN in the exponential phase.
    tcp_syn_retries: u32 = 6, "net.ipv4.tcp_syn_retries";
    /// SYN retransmissions at 1 s each before the exponential phase (Linux 6.5 and later).
    tcp_syn_linear_timeouts: u32 = 4, "net.ipv4.tcp_syn_linear_timeouts";
    /// Retransmissions of a SYN-ACK.
    tcp_synack_retries: u32 = 5, "net.ipv4.tcp_synack_retries";
    /// Retransmissions before the path is suspected (black-hole detection).
    tcp_retries1: u32 = 3, "net.ipv4.tcp_retries1";
    /// Retransmissions, as a model of time, before an established connection is given up.
    tcp_retries2: u32 = 15, "net.ipv4.tcp_retries2";
    /// The same for a connection that nobody owns any more; 0 behaves as 8.
    tcp_orphan_retries: u32 = 0, "net.ipv4.tcp_orphan_retries";
    /// Idle time before the first keepalive probe.
    tcp_keepalive_time: SimDuration = SimDuration::from_secs(7200), "net.ipv4.tcp_keepalive_time";
    /// Time between keepalive probes.
    tcp_keepalive_intvl: SimDuration = SimDuration::from_secs(75), "net.ipv4.tcp_keepalive_intvl";
    /// Unanswered keepalive probes before the connection is given up.
    tcp_keepalive_probes: u32 = 9, "net.ipv4.tcp_keepalive_probes";
    /// How long an orphan stays in FIN-WAIT-2.
    tcp_fin_timeout: SimDuration = SimDuration::from_secs(60), "net.ipv4.tcp_fin_timeout";
    /// 0 off, 1 on, 2 for loopback only: new connections may take ports from TIME-WAIT.
    tcp_tw_reuse: u32 = 2, "net.ipv4.tcp_tw_reuse";
    /// How old a TIME-WAIT must be to be reused.
    tcp_tw_reuse_delay: SimDuration = SimDuration::from_millis(1000), "net.ipv4.tcp_tw_reuse_delay_ms";
    /// Most sockets in TIME-WAIT.
    tcp_max_tw_buckets: u32 = 131_072, "net.ipv4.tcp_max_tw_buckets";
    /// First and last ephemeral port.
    ip_local_port_range: [u32; 2] = [32768, 60999], "net.ipv4.ip_local_port_range";
    /// Upper bound of `listen`'s backlog.
    somaxconn: u32 = 4096, "net.core.somaxconn";
    /// Half-open connections per listener without SYN cookies.
    tcp_max_syn_backlog: u32 = 2048, "net.ipv4.tcp_max_syn_backlog";
    /// Reset instead of dropping when the accept queue overflows.
    tcp_abort_on_overflow: bool = false, "net.ipv4.tcp_abort_on_overflow";
    /// Minimum, initial and maximum receive buffer.
    tcp_rmem: [u32; 3] = [4096, 131_072, 33_554_432], "net.ipv4.tcp_rmem";
    /// Minimum, initial and maximum send buffer.
    tcp_wmem: [u32; 3] = [4096, 16384, 4_194_304], "net.ipv4.tcp_wmem";
    /// Largest SO_RCVBUF that a program may ask for.
    rmem_max: u32 = 4_194_304, "net.core.rmem_max";
    /// Largest SO_SNDBUF that a program may ask for.
    wmem_max: u32 = 4_194_304, "net.core.wmem_max";
    /// Receive buffer of a UDP socket.
    rmem_default: u32 = 212_992, "net.core.rmem_default";
    /// Send buffer of a UDP socket.
    wmem_default: u32 = 212_992, "net.core.wmem_default";
    /// Selective acknowledgements.
    tcp_sack: bool = true, "net.ipv4.tcp_sack";
    /// Duplicate SACKs.
    tcp_dsack: bool = true, "net.ipv4.tcp_dsack";
    /// Timestamps.
    tcp_timestamps: bool = true, "net.ipv4.tcp_timestamps";
    /// Window scaling.
    tcp_window_scaling: bool = true, "net.ipv4.tcp_window_scaling";
    /// Bit 0: RACK loss detection.
    tcp_recovery: u32 = 1, "net.ipv4.tcp_recovery";
    /// 3 enables tail loss probes, 0 turns them off.
    tcp_early_retrans: u32 = 3, "net.ipv4.tcp_early_retrans";
    /// Forward RTO recovery (RFC 5682).
    tcp_frto: u32 = 2, "net.ipv4.tcp_frto";
    /// Initial reordering tolerance in segments.
    tcp_reordering: u32 = 3, "net.ipv4.tcp_reordering";
    /// Congestion window falls back after idling for an RTO.
    tcp_slow_start_after_idle: bool = true, "net.ipv4.tcp_slow_start_after_idle";
    /// Receive buffer tunes itself.
    tcp_moderate_rcvbuf: bool = true, "net.ipv4.tcp_moderate_rcvbuf";
    /// Least variance term of the RTO.
    tcp_rto_min: SimDuration = SimDuration::from_millis(200), "net.ipv4.tcp_rto_min_us";
    /// Largest RTO.
    tcp_rto_max: SimDuration = SimDuration::from_secs(120), "net.ipv4.tcp_rto_max_ms";
    /// Least time between ACKs that answer out-of-window segments.
    tcp_invalid_ratelimit: SimDuration = SimDuration::from_millis(500), "net.ipv4.tcp_invalid_ratelimit_ms";
    /// 0 off, 1 after a black hole is suspected, 2 always: packetization-layer path-MTU discovery.
    tcp_mtu_probing: u32 = 0, "net.ipv4.tcp_mtu_probing";
    /// MSS that probing starts from.
    tcp_base_mss: u32 = 1024, "net.ipv4.tcp_base_mss";
    /// MSS that probing never goes below.
    tcp_mtu_probe_floor: u32 = 48, "net.ipv4.tcp_mtu_probe_floor";
    /// Time between upward MTU probes.
    tcp_probe_interval: SimDuration = SimDuration::from_secs(600), "net.ipv4.tcp_probe_interval";
    /// Size difference below which upward probing stops.
    tcp_probe_threshold: u32 = 8, "net.ipv4.tcp_probe_threshold";
    /// Smallest path MTU that is believed.
    min_pmtu: u32 = 552, "net.ipv4.route.min_pmtu";
    /// How long a learned path MTU is kept.
    mtu_expires: SimDuration = SimDuration::from_secs(600), "net.ipv4.route.mtu_expires";
    /// Smallest MSS that is advertised.
    min_adv_mss: u32 = 256, "net.ipv4.route.min_adv_mss";
    /// Never discover path MTUs.
    ip_no_pmtu_disc: u32 = 0, "net.ipv4.ip_no_pmtu_disc";
    /// Time to live of packets sent.
    ip_default_ttl: u32 = 64, "net.ipv4.ip_default_ttl";
    /// Programs may bind to addresses that the host does not have.
    ip_nonlocal_bind: bool = false, "net.ipv4.ip_nonlocal_bind";
    /// Least milliseconds between two ICMP errors to one destination, on average; 0 is no limit.
    icmp_ratelimit: u32 = 1000, "net.ipv4.icmp_ratelimit";
    /// Most ICMP errors of the host in a second.
    icmp_msgs_per_sec: u32 = 1000, "net.ipv4.icmp_msgs_per_sec";
    /// Most ICMP errors of the host at once.
    icmp_msgs_burst: u32 = 50, "net.ipv4.icmp_msgs_burst";
    /// Largest unsent backlog at which a socket is still writable.
    tcp_notsent_lowat: u32 = u32::MAX, "net.ipv4.tcp_notsent_lowat";
    /// Ignore resets that arrive in TIME-WAIT.
    tcp_rfc1337: bool = false, "net.ipv4.tcp_rfc1337";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_setting_prints_what_it_parses() {
        let mut sysctls = Sysctls::default();
        for name in Sysctls::NAMES {
            let text = sysctls.get(name).unwrap();
            sysctls.set(name, &text).unwrap();
            assert_eq!(sysctls.get(name).unwrap(), text, "{name}");
        }
        assert_eq!(sysctls, Sysctls::default());
    }

    #[test]
    fn mistakes_are_told() {
        let mut sysctls = Sysctls::default();
        for (name, value, says) in [
            ("net.ipv4.tcp_retries", "3", "unknown sysctl `net.ipv4.tcp_retries`"),
            ("net.ipv4.tcp_sack", "yes", "`net.ipv4.tcp_sack` takes 0 or 1, not `yes`"),
            ("net.ipv4.tcp_rmem", "1 2", "`net.ipv4.tcp_rmem` takes 3 numbers, not `1 2`"),
            ("net.ipv4.tcp_retries2", "-1", "`net.ipv4.tcp_retries2` takes a whole number, not `-1`"),
        ] {
            assert_eq!(sysctls.set(name, value).unwrap_err(), says);
        }
    }
}
