//! From a checked plan to a kernel that is ready to run: hosts, network, timeline.

use std::net::IpAddr;

use halfopen_core::event::EndReason;
use halfopen_core::id::FaultId;
use halfopen_core::{Event, EventSink, HostId, SimDuration, SimTime};
use halfopen_fabric::fabric::Fabric;
use halfopen_fabric::fault::FaultKind as NetFaultKind;
use halfopen_kernel::{HostConfig, HostsFile, Kernel, KernelConfig, Scheduling, Step, Trigger};
use halfopen_scenario::plan::{self, FaultKind, FaultPlan, HostPlan, Plan, Role, When};

use crate::condition;
use crate::dns;

/// Makes the kernel of a run. Every host is declared to the log first, then every record of the zone. Where no program
/// says that it is done (`ends_by_itself` is false), the run ends with the load.
pub(crate) fn kernel(plan: &Plan, fabric: Fabric, sink: Box<dyn EventSink>, ends_by_itself: bool) -> Kernel {
    let config = KernelConfig {
        seed: plan.seed,
        epoch_nanos: plan.epoch_nanos,
        cpus: plan.cpus,
        scheduling: match plan.scheduling {
            plan::Scheduling::Fifo => Scheduling::Fifo,
            plan::Scheduling::Shuffle => Scheduling::Shuffle,
        },
        time_limit: SimTime::ZERO + plan.time_limit,
    };
    let mut kernel = Kernel::new(config, fabric, sink);
    let hosts_file = HostsFile::from(plan.hosts_file());
    for host in &plan.hosts {
        let id = kernel.add_host(host_config(host, hosts_file.clone()));
        assert_eq!(id, host.id, "hosts are numbered in the order of the plan");
        kernel.emit(Event::HostDeclared {
            host: id,
            name: host.name.clone(),
            addresses: host.addresses.clone(),
            upstream: host.role == Role::Upstream,
        });
    }
    for record in plan.dns.iter().flat_map(|dns| &dns.records) {
        let (name, addresses, ttl) = (record.name.clone(), record.addresses.clone(), record.ttl);
        kernel.emit(Event::DnsRecord { name, addresses, ttl });
    }
    start_hosts(&mut kernel, plan);
    for fault in &plan.faults {
        schedule(&mut kernel, plan, fault);
    }
    if !ends_by_itself && let Some(end) = plan.end_of_load {
        kernel.add_step(end, Step::End(EndReason::Done));
    }
    kernel
}

/// Servers start before clients that start at the same instant.
fn start_hosts(kernel: &mut Kernel, plan: &Plan) {
    for role in [Role::Dns, Role::Bare, Role::Upstream, Role::Client] {
        for host in plan.hosts.iter().filter(|host| host.role == role) {
            kernel.add_step(host.start_at, Step::StartHost(host.id));
        }
    }
}

fn host_config(host: &HostPlan, hosts_file: HostsFile) -> HostConfig {
    HostConfig {
        name: host.name.clone(),
        addresses: host.addresses.clone(),
        interface_mtu: host.interface_mtu,
        silent_link: None,
        sysctls: host.sysctls.clone(),
        resolver: host.resolver.clone(),
        hosts_file,
        clock_offset_nanos: host.clock_offset_nanos,
        fd_limit: host.fd_limit,
    }
}

/// What a fault does at its beginning and at its end.
struct Steps {
    begin: Vec<Step>,
    end: Vec<Step>,
    /// Over as soon as it has begun, unless it has a duration.
    instant: bool,
}

fn schedule(kernel: &mut Kernel, plan: &Plan, fault: &FaultPlan) {
    let Steps { begin, end, instant } = steps(plan, fault);
    let told = |event: fn(FaultId, String) -> Event| Step::Tell(event(fault.id, fault.name.clone()));
    let mut timed: Vec<(SimDuration, Step)> =
        vec![(SimDuration::ZERO, told(|fault, name| Event::FaultStarted { fault, name }))];
    timed.extend(begin.into_iter().map(|step| (SimDuration::ZERO, step)));
    let over = fault.duration.or(instant.then_some(SimDuration::ZERO));
    if let Some(duration) = fault.duration {
        timed.extend(end.into_iter().map(|step| (duration, step)));
    }
    if let Some(over) = over {
        timed.push((over, told(|fault, name| Event::FaultEnded { fault, name })));
    }
    match fault.when.clone() {
        When::At(at) => timed.into_iter().for_each(|(after, step)| kernel.add_step(at + after, step)),
        When::Every { first, period, count } => {
            for round in 0..u64::from(count) {
                for (after, step) in timed.clone() {
                    kernel.add_step(first + period * round + after, step);
                }
            }
        }
        When::Trigger { counter, at_least, after } => {
            let steps = timed.into_iter().map(|(later, step)| (after + later, step)).collect();
            kernel.add_trigger(Trigger { counter, at_least, steps });
        }
    }
}

fn steps(plan: &Plan, fault: &FaultPlan) -> Steps {
    let lasting = |begin, end| Steps { begin, end, instant: false };
    let momentary = |begin, end| Steps { begin, end, instant: true };
    let each = |hosts: &[HostId], step: &dyn Fn(HostId) -> Step| -> Vec<Step> {
        hosts.iter().map(|&host| step(host)).collect()
    };
    match &fault.kind {
        FaultKind::Net(net) => {
            let begin = vec![Step::ApplyNetFault(fault.id, net.clone())];
            let end = vec![Step::LiftNetFault(fault.id)];
            match net.kind {
                NetFaultKind::NatEvict { .. } | NetFaultKind::NatFlush | NetFaultKind::NatReboot => {
                    momentary(begin, end)
                }
                _ => lasting(begin, end),
            }
        }
        FaultKind::DnsSet { name, addresses, ttl } => {
            let change = |addresses: &Vec<IpAddr>, ttl: SimDuration| {
                let told = Event::DnsRecord { name: name.clone(), addresses: addresses.clone(), ttl };
                vec![Step::Tell(told), dns::set_record(fault.id, name, addresses, ttl)]
            };
            let before = plan.dns.iter().flat_map(|dns| &dns.records).find(|record| record.name == *name);
            let end = before.map_or_else(|| change(&Vec::new(), *ttl), |record| change(&record.addresses, record.ttl));
            momentary(change(addresses, *ttl), end)
        }
        FaultKind::DnsFail { name, failure } => {
            lasting(vec![dns::fail(fault.id, name.as_deref(), *failure)], vec![dns::heal(fault.id, name.as_deref())])
        }
        FaultKind::DnsStale => lasting(vec![dns::freeze(fault.id, true)], vec![dns::freeze(fault.id, false)]),
        FaultKind::Crash { hosts, power_loss } => {
            let power_loss = *power_loss;
            momentary(each(hosts, &|host| Step::Crash { host, power_loss }), each(hosts, &Step::Restart))
        }
        FaultKind::Restart { hosts } => {
            let kill = each(hosts, &|host| Step::Crash { host, power_loss: false });
            momentary(kill.into_iter().chain(each(hosts, &Step::Restart)).collect(), Vec::new())
        }
        FaultKind::Pause { hosts } => lasting(each(hosts, &Step::Pause), each(hosts, &Step::Resume)),
        FaultKind::Clock { hosts, by_nanos } => {
            let by_nanos = *by_nanos;
            momentary(
                each(hosts, &|host| Step::ShiftClock { host, by_nanos }),
                each(hosts, &|host| Step::ShiftClock { host, by_nanos: -by_nanos }),
            )
        }
        FaultKind::Upstream { hosts, condition } => {
            let kind = condition::kind(condition);
            let post = |value: String| -> Vec<Step> {
                hosts
                    .iter()
                    .flat_map(|&host| {
                        let name = &plan.host(host).name;
                        [kind, condition::CHANGED]
                            .map(|kind| Step::Post { key: condition::key(name, kind), value: value.clone() })
                    })
                    .collect()
            };
            lasting(post(fault.id.index().to_string()), post(String::new()))
        }
        FaultKind::Reset { hosts, peers } => {
            let begin = hosts
                .iter()
                .flat_map(|&host| match peers.as_slice() {
                    [] => vec![Step::ResetFlows { host, remote: None }],
                    peers => peers.iter().map(|&peer| Step::ResetFlows { host, remote: Some(peer) }).collect(),
                })
                .collect();
            momentary(begin, Vec::new())
        }
    }
}
