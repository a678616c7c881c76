//! Files that programs must find different from the machine's own.

use std::fmt::Write as _;

use halfopen_core::HostId;

use crate::Kernel;
use crate::ResolverConfig;
use crate::{hosts_file, resolver};

/// /etc/nsswitch.conf: what getaddrinfo here does.
const NSSWITCH: &str =
    "passwd: files\ngroup: files\nhosts: files dns\nnetworks: files\nprotocols: files\nservices: files\n";
impl Kernel {
    /// The contents of a file that programs must find different from the machine's own: /etc/resolv.conf, /etc/hosts,
    /// /etc/nsswitch.conf, /etc/hostname, /proc/sys/net/..., cgroup CPU limits. `None`: not one of them.
    pub fn virtual_file(&self, host: HostId, path: &str) -> Option<Vec<u8>> {
        let config = &self.hosts[host.index()].config;
        let text = match path {
            "/etc/resolv.conf" => resolv_conf(&config.resolver),
            "/etc/hosts" => hosts_file::text(config),
            "/etc/nsswitch.conf" => NSSWITCH.to_owned(),
            "/etc/hostname" | "/proc/sys/kernel/hostname" => format!("{}\n", config.name),
            "/etc/gai.conf" => String::new(),
            "/etc/services" => resolver::services_file(),
            "/proc/cpuinfo" => cpuinfo(self.config.cpus),
            "/sys/devices/system/cpu/online" => cpu_range(self.config.cpus),
            // The C library and std count CPUs by affinity, which the front end sets; a cgroup without a limit agrees.
            "/proc/self/cgroup" => "0::/\n".to_owned(),
            "/sys/fs/cgroup/cpu.max" => "max 100000\n".to_owned(),
            _ => {
                let name = path.strip_prefix("/proc/sys/")?.replace('/', ".");
                format!("{}\n", config.sysctls.get(&name)?)
            }
        };
        Some(text.into_bytes())
    }
}

fn cpu_range(cpus: u32) -> String {
    match cpus {
        0 | 1 => "0\n".to_owned(),
        _ => format!("0-{}\n", cpus - 1),
    }
}

fn cpuinfo(cpus: u32) -> String {
    let mut text = String::new();
    for cpu in 0..cpus {
        let _ = write!(text, "processor\t: {cpu}\nphysical id\t: 0\ncore id\t\t: {cpu}\ncpu cores\t: {cpus}\n\n");
    }
    text
}

/// resolv.conf(5).
fn resolv_conf(resolver: &ResolverConfig) -> String {
    let mut text = String::new();
    for server in &resolver.nameservers {
        let _ = writeln!(text, "nameserver {server}");
    }
    if !resolver.search.is_empty() {
        let _ = writeln!(text, "search {}", resolver.search.join(" "));
    }
    let seconds = resolver.timeout.as_millis().div_ceil(1000);
    let _ = write!(text, "options ndots:{} timeout:{seconds} attempts:{}", resolver.ndots, resolver.attempts);
    for (set, name) in [
        (resolver.rotate, "rotate"),
        (resolver.single_request, "single-request"),
        (resolver.single_request_reopen, "single-request-reopen"),
        (resolver.use_vc, "use-vc"),
    ] {
        if set {
            let _ = write!(text, " {name}");
        }
    }
    text.push('\n');
    text
}
