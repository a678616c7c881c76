//! The outage review: the questions that a good review asks, answered from what the run shows and from nothing else.

use halfopen_core::event::OpErrorKind;
use halfopen_core::{SimDuration, SimTime};
use serde::{Deserialize, Serialize};

use crate::figures::{decimals, instant, nanos, plural};
use crate::ops::{Op, Outcome};
use crate::phase::{Phase, Scope, View};
use crate::summary::Summary;

/// One question of the review with its answer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Answer {
    /// The question.
    pub question: String,
    /// `yes`, `no` or `not seen`: the run had nothing that could answer it.
    pub answer: String,
    /// The figures behind the answer.
    pub evidence: String,
}

/// What passes by itself within this time after the fault is no reason for a restart, which takes as long.
const RESTART_WORTH: SimDuration = SimDuration::from_secs(5);

/// Retries add load if in some second they come to more than this share of the busiest second before the fault (and
/// of what was retried then).
const ADDED_LOAD_PERCENT: u64 = 20;

/// An answer before it is given its question: `None` is "not seen".
type Finding = (Option<bool>, String);
/// What is asked, and who knows.
type Question = (&'static str, fn(&Summary) -> Finding);

/// Asks all questions.
pub fn review(summary: &Summary) -> Vec<Answer> {
    let questions: [Question; 7] = [
        ("Did retries add load after the upstream became slow?", retries),
        ("Did the pool saturate before the service was unavailable?", pool),
        ("Did clients keep using old DNS answers?", names),
        ("Did idle connections outlive a NAT or balancer timeout?", idle),
        ("Did packet size decide success?", size),
        ("Is waiting for the pool told apart from waiting for the upstream?", waiting),
        ("Would a restart have healed it?", restart),
    ];
    let answer = |finding: Option<bool>| match finding {
        Some(true) => "yes",
        Some(false) => "no",
        None => "not seen",
    };
    let asked = questions.into_iter().map(|(question, ask)| {
        let (finding, evidence) = ask(summary);
        Answer { question: question.to_owned(), answer: answer(finding).to_owned(), evidence }
    });
    asked.collect()
}

fn count(summary: &Summary, metric: &str, view: &View) -> u64 {
    summary.in_view(metric, view).figure().unwrap_or(0.0) as u64
}

/// The view before the first fault, and the view from it on; `None` if there was no fault.
fn around_first_fault(summary: &Summary) -> Option<(View, View, SimTime)> {
    let first = summary.faults().iter().min_by_key(|span| span.from)?;
    let before = summary.view(&Scope::All, &Phase::Before(first.name.clone()))?;
    let mut since = summary.whole();
    since.segments = before.segments.iter().map(|earlier| !earlier).collect();
    since.spans = vec![(first.from, summary.run_end())];
    Some((before, since, first.from))
}

/// The end of the last fault: what is still wrong after it, the client does to itself.
fn faults_over(summary: &Summary) -> SimTime {
    summary.faults().iter().map(|span| span.to.unwrap_or(span.from)).max().unwrap_or(SimTime::ZERO)
}

fn retries(summary: &Summary) -> Finding {
    let Some((before, since, at)) = around_first_fault(summary) else {
        return (None, "no fault began".to_owned());
    };
    let (ops, attempts) = (count(summary, "ops.total", &since), count(summary, "attempts.total", &since));
    if attempts == 0 || ops == 0 {
        return (None, "no request was seen at an upstream after the fault began".to_owned());
    }
    let usual = summary.in_view("attempts.amplification", &before).figure();
    let amplification = attempts as f64 / ops as f64;
    let retries = count(summary, "attempts.retries", &since);
    let usual = usual.map_or(String::new(), |usual| format!(" (before: {})", decimals(usual, 2)));
    let busiest = count(summary, "attempts.peak_rate", &since);
    let usual_busiest = count(summary, "attempts.peak_rate", &before);
    let worst = summary.fold.ops.retries_peak(&since);
    let added = worst.saturating_sub(summary.fold.ops.retries_peak(&before));
    let evidence = format!(
        "from {} on {} came to {}, {retries} of them retries, up to {worst} a second: {} for each op{usual}; the \
         busiest second had {busiest}, before the fault {usual_busiest}",
        instant(at),
        plural(ops, "op", "ops"),
        plural(attempts, "attempt", "attempts"),
        decimals(amplification, 2),
    );
    (Some(added * 100 > usual_busiest * ADDED_LOAD_PERCENT), evidence)
}

fn pool(summary: &Summary) -> Finding {
    let fold = &summary.fold;
    let whole = summary.whole();
    let hosts = fold.gauges.pool_hosts(&whole);
    if hosts.is_empty() {
        return (None, "no client reports a pool".to_owned());
    }
    let stretches = hosts.iter().flat_map(|host| fold.gauges.saturations(*host, fold.now));
    let stretches: Vec<_> = stretches.filter(|(from, to)| from < to).collect();
    let Some(first) = stretches.iter().map(|(from, _)| *from).min() else {
        let in_use = count(summary, "pool.in_use", &whole);
        return (Some(false), format!("nobody waited for a full pool; {in_use} connections were in use at most"));
    };
    let longest = stretches.iter().map(|(from, to)| to.since(*from).as_nanos()).max().unwrap_or(0);
    let evidence = format!(
        "all connections were in use with somebody waiting from {} on, for {} at the longest",
        instant(first),
        nanos(longest)
    );
    let failed = |op: &Op| match op.ended {
        Some((_, Outcome::Ok)) => None,
        Some((at, Outcome::Failed(_) | Outcome::FailedSilently)) => Some(at),
        None => Some(op.started),
    };
    match fold.ops.ops.iter().filter_map(failed).min() {
        Some(failure) => (Some(first < failure), format!("{evidence}; the first op failed at {}", instant(failure))),
        None => (Some(false), format!("{evidence}; no op failed")),
    }
}

fn names(summary: &Summary) -> Finding {
    let names = &summary.fold.names;
    let Some(moved) = names.moves.first() else {
        return (None, "no DNS record moved away from an address".to_owned());
    };
    let worst = names.stale.iter().max_by_key(|stale| stale.last.since(stale.from));
    let Some(worst) = worst else {
        let evidence = format!("a record moved at {}; nobody used the old address past its TTL", instant(*moved));
        return (Some(false), evidence);
    };
    let connections = count(summary, "dns.stale_connections", &summary.whole());
    let evidence = format!(
        "{} used {} for {} until {}, {} after its TTL had run out; {} in all",
        summary.fold.host_name(worst.host),
        worst.address,
        worst.name,
        instant(worst.last),
        nanos(worst.last.since(worst.from).as_nanos()),
        plural(connections, "connection", "connections"),
    );
    (Some(true), evidence)
}

fn idle(summary: &Summary) -> Finding {
    let whole = summary.whole();
    if count(summary, "nat.created", &whole) + count(summary, "nat.evicted", &whole) == 0 {
        return (None, "no NAT, firewall or balancer stood on the way".to_owned());
    }
    let losses = &summary.fold.connections.idle_losses;
    let Some(first) = losses.first() else {
        let made = count(summary, "nat.created", &whole);
        return (Some(false), format!("none of {} expired under a connection", plural(made, "entry", "entries")));
    };
    let longest = summary.in_view("half_open.longest", &whole).figure().unwrap_or(0.0);
    let count = losses.len() as u64;
    let evidence = format!(
        "{} forgotten after {} without a packet, first at {}, while an end still believed in {}; the longest such \
         belief lasted {}",
        if count == 1 { "1 connection was".to_owned() } else { format!("{count} connections were") },
        nanos(first.idle.as_nanos()),
        instant(first.at),
        if count == 1 { "it" } else { "them" },
        crate::figures::seconds(longest),
    );
    (Some(true), evidence)
}

fn size(summary: &Summary) -> Finding {
    let whole = summary.whole();
    let silent = count(summary, "packets.dropped.too-big-silent", &whole);
    let dropped = count(summary, "mtu.dropped", &whole);
    if dropped == 0 {
        return (None, "no packet was too big for its path".to_owned());
    }
    let sizes = summary.fold.sizes;
    let learned = count(summary, "mtu.learned", &whole);
    let range = match (sizes.smallest_dropped, sizes.largest_dropped) {
        (smallest, largest) if smallest == largest => largest.to_string(),
        (smallest, largest) => format!("{smallest} to {largest}"),
    };
    let evidence = format!(
        "{} of {range} bytes did not fit, {silent} without an ICMP answer; since then up to {} bytes got through, and \
         a smaller path MTU was learned {}",
        plural(dropped, "packet", "packets"),
        sizes.largest_delivered,
        plural(learned, "time", "times"),
    );
    if summary.fold.ops.ops.iter().all(Op::is_ok) {
        return (Some(false), format!("{evidence}; no op failed"));
    }
    (Some(silent > 0), evidence)
}

fn waiting(summary: &Summary) -> Finding {
    let fold = &summary.fold;
    let whole = summary.whole();
    if fold.gauges.pool_hosts(&whole).is_empty() && fold.gauges.wait_count(&whole) == 0 {
        return (None, "no client reports a pool".to_owned());
    }
    let waits = fold.gauges.wait_count(&whole);
    let pool_timeouts = count(summary, &format!("errors.{}", OpErrorKind::PoolTimeout.name()), &whole);
    let figure = |metric: &str| summary.in_view(metric, &whole).figure();
    let shown = |metric: &str| figure(metric).map_or("none".to_owned(), crate::figures::seconds);
    if waits == 0 && pool_timeouts == 0 {
        let waited = figure("pool.waiting").unwrap_or(0.0) > 0.0;
        let deadline = count(summary, "errors.deadline", &whole);
        let evidence = "no wait for the pool was measured and no error names the pool";
        return match waited {
            true => (Some(false), format!("{evidence}, though ops waited for it; {deadline} ran into their deadline")),
            false => (None, "nobody waited for the pool".to_owned()),
        };
    }
    let errors = if pool_timeouts == 1 { "1 error names".to_owned() } else { format!("{pool_timeouts} errors name") };
    let measured = match waits {
        0 => "no wait for the pool was measured".to_owned(),
        _ => format!(
            "{} for the pool, 99% of them over within {}",
            plural(waits, "measured wait", "measured waits"),
            shown("pool.wait.p99")
        ),
    };
    let evidence = format!("{measured}; 99% of ops within {}; {errors} the pool", shown("ops.latency.p99"));
    (Some(true), evidence)
}

fn restart(summary: &Summary) -> Finding {
    let fold = &summary.fold;
    let over = faults_over(summary);
    let since = match summary.faults().is_empty() {
        true => "in the run".to_owned(),
        false => format!("after the last fault had ended at {}", instant(over)),
    };
    let trouble = |op: &&Op| op.is_hung() || (op.is_failed() && op.started >= over);
    let trouble: Vec<&Op> = fold.ops.ops.iter().filter(trouble).collect();
    let hung = trouble.iter().filter(|op| op.is_hung()).count();
    let failed = trouble.len() - hung;
    if trouble.is_empty() {
        return (None, format!("no op failed or hung {since}"));
    }
    let mut dropped: Vec<String> = Vec::new();
    let lasting = |from: SimTime, to: SimTime| to.since(from.max(over)) > RESTART_WORTH;
    let half_open = fold.connections.half_open.iter();
    let half_open = half_open.filter(|found| found.to.is_none_or(|to| lasting(found.from, to))).count();
    if half_open > 0 {
        dropped.push(plural(half_open as u64, "half-open connection", "half-open connections"));
    }
    let stale = fold.names.stale.iter().filter(|stale| lasting(stale.from, stale.last)).count();
    if stale > 0 {
        dropped.push(plural(stale as u64, "stale DNS answer", "stale DNS answers"));
    }
    let hosts = fold.gauges.pool_hosts(&summary.whole());
    let full = hosts.iter().flat_map(|host| fold.gauges.saturations(*host, fold.now));
    let full = full.filter(|(from, to)| lasting(*from, *to)).map(|(from, to)| to.since(from.max(over)).as_nanos());
    if let Some(longest) = full.max() {
        dropped.push(format!("a pool that stayed full for {}", nanos(longest)));
    }
    let each = [(failed, "failed"), (hung, "hung")].into_iter().filter(|(count, _)| *count > 0);
    let each: Vec<String> = each.map(|(count, what)| format!("{} {what}", plural(count as u64, "op", "ops"))).collect();
    let evidence = format!("{} {since}", each.join(" and "));
    match dropped.is_empty() {
        true => (Some(false), format!("{evidence}, but nothing was seen that a restart would have dropped")),
        false => (Some(true), format!("{evidence}; a restart would have dropped {}", dropped.join(", "))),
    }
}
