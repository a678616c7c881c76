//! /etc/hosts: found by name and by address, however long it is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use halfopen_core::{HostId, Index};

use crate::Kernel;
use crate::config::HostConfig;

/// What every host's file begins with.
const LOOPBACK: [(IpAddr, &[&str]); 2] = [
    (IpAddr::V4(Ipv4Addr::LOCALHOST), &["localhost"]),
    (IpAddr::V6(Ipv6Addr::LOCALHOST), &["localhost", "ip6-localhost", "ip6-loopback"]),
];

/// The lines that a scenario adds to /etc/hosts. Cheap to clone: hosts share it.
#[derive(Clone, Debug)]
pub struct HostsFile(Arc<Lines>);

#[derive(Debug)]
struct Lines {
    lines: Vec<(IpAddr, String)>,
    /// By name in lower case: the addresses of its lines, in order.
    by_name: Index<String, Vec<IpAddr>>,
    /// The first line of each address.
    by_address: Index<IpAddr, usize>,
}

impl From<Vec<(IpAddr, String)>> for HostsFile {
    fn from(lines: Vec<(IpAddr, String)>) -> HostsFile {
        let (mut by_name, mut by_address) = (Index::default(), Index::default());
        for (index, (address, name)) in lines.iter().enumerate() {
            by_name.get_or_insert_with(name.to_ascii_lowercase(), Vec::new).push(*address);
            by_address.get_or_insert_with(*address, || index);
        }
        HostsFile(Arc::new(Lines { lines, by_name, by_address }))
    }
}

impl<const N: usize> From<[(IpAddr, String); N]> for HostsFile {
    fn from(lines: [(IpAddr, String); N]) -> HostsFile {
        HostsFile::from(Vec::from(lines))
    }
}

impl Kernel {
    /// The addresses of all lines of a host's /etc/hosts that have this name, upper or lower case, in their order.
    pub fn hosts_by_name(&self, host: HostId, name: &str) -> Vec<IpAddr> {
        let HostConfig { name: own, addresses, hosts_file: HostsFile(file), .. } = &self.hosts[host.index()].config;
        let has_name = |names: &[&str]| names.iter().any(|other| other.eq_ignore_ascii_case(name));
        let loopback = LOOPBACK.iter().filter(|(_, names)| has_name(names)).map(|(address, _)| *address);
        let itself = addresses.iter().copied().filter(|_| own.eq_ignore_ascii_case(name));
        let others = file.by_name.get(&name.to_ascii_lowercase()).into_iter().flatten().copied();
        loopback.chain(itself).chain(others).collect()
    }

    /// The first name of the first line of a host's /etc/hosts with this address.
    pub fn hosts_by_address(&self, host: HostId, address: IpAddr) -> Option<&str> {
        let HostConfig { name: own, addresses, hosts_file: HostsFile(file), .. } = &self.hosts[host.index()].config;
        if let Some((_, names)) = LOOPBACK.iter().find(|(loopback, _)| *loopback == address) {
            return Some(names[0]);
        }
        if addresses.contains(&address) {
            return Some(own);
        }
        file.by_address.get(&address).map(|&line| file.lines[line].1.as_str())
    }
}

/// hosts(5): localhost, the host itself, and what the scenario adds.
pub(crate) fn text(config: &HostConfig) -> String {
    let loopback = LOOPBACK.iter().map(|(address, names)| (*address, names.join(" ")));
    let itself = config.addresses.iter().map(|address| (*address, config.name.clone()));
    let others = config.hosts_file.0.lines.iter().cloned();
    loopback.chain(itself).chain(others).map(|(address, names)| format!("{address}\t{names}\n")).collect()
}
