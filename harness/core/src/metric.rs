//! The names and units of what is measured: the catalogue behind `expect`, `halfopen list` and the reports.
//!
//! `scenario` checks names against it, `record` computes what it lists.
//!
//! Counts are totals over the phase and the hosts asked for. Where a metric has nothing to say (a percentile of no
//! values, a recovery without a fault) it has no number at all, and an expectation on it fails: nothing measured is
//! not the same as nothing wrong.

/// What a metric's number means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    /// A whole number of things.
    Count,
    /// Seconds of virtual time.
    Seconds,
    /// A plain quotient.
    Quotient,
    /// Yes (1) or no (0).
    Flag,
}

/// One metric of the catalogue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Metric {
    /// The name in `expect` and in the JSON output.
    pub name: &'static str,
    /// The unit of its number.
    pub unit: Unit,
    /// If the metric may be compared with a share (`ops.failed <= 1%`): the metric that makes up the whole.
    pub whole: Option<&'static str>,
    /// What it says, in one sentence.
    pub meaning: &'static str,
}

/// A row of the catalogue: `name unit [of whole] "meaning"`.
macro_rules! metrics {
    ($($name:literal $unit:ident $(of $whole:literal)? $meaning:literal)*) => {
        &[$(Metric {
            name: $name,
            unit: Unit::$unit,
            whole: metrics!(@whole $($whole)?),
            meaning: $meaning,
        }),*]
    };
    (@whole) => { None };
    (@whole $whole:literal) => { Some($whole) };
}

/// Every metric there is, in the order in which reports show them.
#[rustfmt::skip]
pub const METRICS: &[Metric] = metrics! {
    // ---- what the load asked for, and what came of it ----
    "ops.total" Count "Ops that began."
    "ops.ok" Count of "ops.total" "Ops that the client reported as done."
    "ops.failed" Count of "ops.total" "Ops that ended without success, reported or not."
    "ops.hung" Count of "ops.total" "Ops without any outcome when the run ended."
    "ops.silent" Count of "ops.total" "Ops reported as done that the upstream never did, and failures that nobody reported."
    "ops.latency.p50" Seconds "Time an op took, median; a hung op counts with the time it has hung so far."
    "ops.latency.p90" Seconds "Time an op took, 90th percentile."
    "ops.latency.p99" Seconds "Time an op took, 99th percentile."
    "ops.latency.p999" Seconds "Time an op took, 99.9th percentile."
    "ops.latency.max" Seconds "Time that the slowest op took."
    "ops.latency.mean" Seconds "Time an op took, mean."
    "errors.connect-timeout" Count of "ops.total" "Ops that failed because connecting took too long."
    "errors.tls-timeout" Count of "ops.total" "Ops that failed because the TLS handshake took too long."
    "errors.read-timeout" Count of "ops.total" "Ops that failed because the answer took too long."
    "errors.pool-timeout" Count of "ops.total" "Ops that failed because no connection of the pool came free in time."
    "errors.deadline" Count of "ops.total" "Ops that ran out of their deadline as a whole."
    "errors.refused" Count of "ops.total" "Ops that failed because the connection was refused."
    "errors.reset" Count of "ops.total" "Ops that failed because the connection was reset or closed under them."
    "errors.unreachable" Count of "ops.total" "Ops that failed because no route led to the upstream."
    "errors.dns" Count of "ops.total" "Ops that failed because a name could not be resolved."
    "errors.protocol" Count of "ops.total" "Ops that failed because the answer made no sense."
    "errors.rejected" Count of "ops.total" "Ops that a breaker or limiter turned away before any attempt."
    "errors.upstream" Count of "ops.total" "Ops that the upstream answered with an error."
    "errors.other" Count of "ops.total" "Ops that failed for a reason of no other kind."

    // ---- what reached the upstream ----
    "attempts.total" Count "Requests that reached an upstream."
    "attempts.ok" Count of "attempts.total" "Requests that an upstream answered with success."
    "attempts.failed" Count of "attempts.total" "Requests that an upstream answered with an error or gave up."
    "attempts.unfinished" Count of "attempts.total" "Requests that an upstream was not done with when the run ended."
    "attempts.retries" Count of "attempts.total" "Requests whose op had reached an upstream before."
    "attempts.amplification" Quotient "Attempts for each op that began."
    "attempts.amplification.peak" Quotient "Attempts for each op, in the worst second in which an op began."
    "attempts.peak" Quotient "Attempts in the busiest second against the mean second before the first fault."
    "attempts.peak_rate" Count "Attempts in the busiest second."
    "attempts.synchrony" Quotient "How far attempts bunch together: variance over mean of attempts in 100 ms; 1 is Poisson, evenly spaced is less."
    "attempts.retries.synchrony" Quotient "How far retries alone bunch together, whatever the rhythm of the load; as attempts.synchrony."

    // ---- pools, breakers, transfers ----
    "pool.size" Count "Connections of all pools together, at most."
    "pool.in_use" Count "Connections in use in all pools together, at most."
    "pool.idle" Count "Idle connections in all pools together, at most."
    "pool.waiting" Count "Ops waiting for a connection in all pools together, at most."
    "pool.saturated" Seconds "Longest time that one host's pool had all connections in use and somebody waiting."
    "pool.wait.count" Count "Waits for a pool that were measured."
    "pool.wait.p50" Seconds "Time waited for a pool, median."
    "pool.wait.p99" Seconds "Time waited for a pool, 99th percentile."
    "pool.wait.max" Seconds "Longest time waited for a pool."
    "breaker.opened" Count "Times that a circuit breaker opened."
    "breaker.open_time" Seconds "Time that circuit breakers were open, over all hosts."
    "transfer.progress" Count "The furthest that a transfer got, in the unit in which the workload reports it."
    "transfer.stalled" Seconds "Longest time that a transfer which had begun made no progress."
    "transfer.restarts" Count "Times that a transfer went back to an earlier point."
    "effects.total" Count "Pieces of work that the upstream did."
    "effects.lost" Count of "ops.total" "Ops reported as done whose work the upstream does not have."
    "effects.duplicated" Count of "ops.total" "Ops whose work the upstream did more than once."

    // ---- recovery ----
    "recovery.time" Seconds "From the end of the last fault until service is, and stays, as good as before the first."
    "recovery.first_success" Seconds "From the end of the last fault until the first op that succeeded."

    // ---- broken beliefs ----
    "half_open.count" Count "Connections that only one side believed in, for longer than a close needs to travel."
    "half_open.longest" Seconds "Longest time that only one side believed in a connection."
    "half_open.at_end" Count "Connections that only one side believed in when the run ended."
    "dns.stale" Seconds "Longest time that an address was still used after its record had moved and its TTL had run out."
    "dns.stale_connections" Count "Connections used on an address whose record had moved and whose TTL had run out."
    "dns.lookups" Count "Names that hosts looked up."
    "dns.failures" Count of "dns.lookups" "Look-ups that failed."

    // ---- TCP ----
    "tcp.connects" Count "Connections that a host began to open."
    "tcp.established" Count "Connections that a host opened."
    "tcp.failed" Count "Connections that ended with an error."
    "tcp.retransmits" Count "Segments sent again, whatever the reason."
    "tcp.retransmits.handshake" Count of "tcp.retransmits" "SYN and SYN-ACK segments sent again."
    "tcp.retransmits.timeout" Count of "tcp.retransmits" "Segments sent again by the retransmission timer."
    "tcp.retransmits.fast" Count of "tcp.retransmits" "Segments sent again by fast retransmit."
    "tcp.retransmits.tail-loss-probe" Count of "tcp.retransmits" "Segments sent again as tail loss probes."
    "tcp.retransmits.path-mtu" Count of "tcp.retransmits" "Segments sent again in a smaller size after path-MTU discovery."
    "tcp.probes" Count "Keepalive and zero-window probes."
    "tcp.probes.keepalive" Count of "tcp.probes" "Keepalive probes."
    "tcp.probes.zero-window" Count of "tcp.probes" "Zero-window probes."
    "tcp.listen_overflows" Count "Connections that found a full accept queue."

    // ---- the network ----
    "nat.created" Count "Entries that NATs and firewalls made."
    "nat.evicted" Count "Entries that NATs and firewalls forgot though their flow had not closed."
    "nat.evicted.idle" Count of "nat.evicted" "Entries forgotten because they were idle for too long."
    "mtu.dropped" Count of "packets.sent" "Packets dropped because they were too big, with or without an ICMP answer."
    "mtu.learned" Count "Times that a host learned of a smaller path MTU."
    "packets.sent" Count "Packets that hosts handed to the network."
    "packets.delivered" Count of "packets.sent" "Packets that the network handed to hosts."
    "packets.duplicated" Count of "packets.sent" "Second copies that links made."
    "packets.corrupted" Count of "packets.sent" "Packets in which a link changed bits."
    "packets.dropped" Count of "packets.sent" "Packets that went no further, whatever the reason."
    "packets.dropped.loss" Count of "packets.sent" "Packets lost independently on a link."
    "packets.dropped.burst-loss" Count of "packets.sent" "Packets lost in a burst on a link."
    "packets.dropped.fault" Count of "packets.sent" "Packets lost to a blip, a partition or a loss fault."
    "packets.dropped.queue-full" Count of "packets.sent" "Packets that found a full queue."
    "packets.dropped.too-big" Count of "packets.sent" "Packets above the MTU, answered by ICMP."
    "packets.dropped.too-big-silent" Count of "packets.sent" "Packets above the MTU of a link that blocks ICMP: a black hole."
    "packets.dropped.icmp-blocked" Count of "packets.sent" "ICMP errors that a link refused to carry."
    "packets.dropped.nat-no-entry" Count of "packets.sent" "Packets for which a NAT had no entry."
    "packets.dropped.nat-full" Count of "packets.sent" "Packets for which a NAT had no port or no room left."
    "packets.dropped.nat-refusing" Count of "packets.sent" "Packets of new flows that a NAT refused for a while."
    "packets.dropped.firewall-no-entry" Count of "packets.sent" "Packets for which a firewall had no entry."
    "packets.dropped.ttl-expired" Count of "packets.sent" "Packets whose time to live ran out."
    "packets.dropped.no-route" Count of "packets.sent" "Packets for which there was no route."
    "packets.dropped.host-down" Count of "packets.sent" "Packets for a host that was down."
    "packets.dropped.bad-checksum" Count of "packets.sent" "Packets that arrived corrupted."
    "packets.dropped.reassembly-timeout" Count of "packets.sent" "Fragments whose other parts never came."
    "packets.dropped.route-change" Count of "packets.sent" "Packets lost while the route changed."

    // ---- the run ----
    "hosts.crashed" Count "Crashes of hosts."
    "hosts.restarted" Count "Restarts of hosts."
    "hosts.panicked" Count "Panics of threads."
    "calls.unsupported" Count "System calls that halfopen does not support and refused."
    "load.idle" Seconds "Time that the load was told to be idle."
    "run.time" Seconds "Virtual time from the beginning to the end of the phase or run."
};

/// The metric with this name.
pub fn find(name: &str) -> Option<&'static Metric> {
    METRICS.iter().find(|metric| metric.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{DropReason, OpErrorKind};

    #[test]
    fn names_are_unique_and_wholes_exist() {
        for (index, metric) in METRICS.iter().enumerate() {
            assert!(METRICS[..index].iter().all(|other| other.name != metric.name), "{} twice", metric.name);
            if let Some(whole) = metric.whole {
                let whole = find(whole).unwrap_or_else(|| panic!("{}: no metric {whole}", metric.name));
                assert_eq!(whole.unit, Unit::Count);
                assert_eq!(metric.unit, Unit::Count, "{}: only counts have a whole", metric.name);
            }
            assert!(metric.meaning.ends_with('.'), "{}: a sentence ends with a full stop", metric.name);
        }
    }

    #[test]
    fn every_error_kind_and_drop_reason_has_its_metric() {
        for kind in OpErrorKind::ALL {
            assert!(find(&format!("errors.{}", kind.name())).is_some(), "{kind:?}");
        }
        for reason in DropReason::ALL {
            assert!(find(&format!("packets.dropped.{}", reason.name())).is_some(), "{reason:?}");
        }
        assert_eq!(find("ops.totl"), None);
    }
}
