//! A host: a network namespace of its own, with one TUN device in it.

use std::net::Ipv4Addr;
use std::{fs, io};

use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Gid, Uid};
use tun::AbstractDevice;

use crate::{Host, LiveError};

/// The name of the device inside its namespace.
const DEVICE_NAME: &str = "halfopen";

/// All of 10.0.0.0/8: every address that a network of ours gives out.
const NETMASK: Ipv4Addr = Ipv4Addr::new(255, 0, 0, 0);

/// Makes this process one that may make network namespaces: root, or root of a user namespace of its own.
pub(crate) fn become_privileged() -> Result<(), LiveError> {
    let (uid, gid) = (Uid::effective(), Gid::effective());
    if uid.is_root() {
        return Ok(());
    }
    let refused = |what: &str, error: &dyn std::fmt::Display| LiveError::NotAllowed(format!("{what}: {error}"));
    unshare(CloneFlags::CLONE_NEWUSER).map_err(|error| refused("unshare(CLONE_NEWUSER)", &error))?;
    for (file, text) in [
        ("/proc/self/setgroups", "deny".to_owned()),
        ("/proc/self/uid_map", format!("0 {uid} 1")),
        ("/proc/self/gid_map", format!("0 {gid} 1")),
    ] {
        fs::write(file, text).map_err(|error| refused(file, &error))?;
    }
    Ok(())
}

/// Takes the calling thread into a new namespace and gives its device up and with an address.
pub(crate) fn enter(host: &Host) -> Result<tun::Device, LiveError> {
    unshare(CloneFlags::CLONE_NEWNET)
        .map_err(|error| LiveError::NotAllowed(format!("unshare(CLONE_NEWNET): {error}")))?;
    for (name, value) in &host.sysctls {
        set_sysctl(name, value).map_err(|error| LiveError::Broken(format!("{name}={value}: {error}")))?;
    }
    let mut configuration = tun::Configuration::default();
    configuration.tun_name(DEVICE_NAME).address(host.address).netmask(NETMASK).mtu(host.mtu).up();
    let device = tun::create(&configuration)
        .map_err(|error| LiveError::NotAllowed(format!("a TUN device: {error} (is /dev/net/tun there?)")))?;
    assert_eq!(device.mtu().ok(), Some(host.mtu), "a device has the MTU that it was given");
    Ok(device)
}

/// /proc/sys/net shows the namespace of the thread that opens it.
fn set_sysctl(name: &str, value: &str) -> io::Result<()> {
    fs::write(format!("/proc/sys/{}", name.replace('.', "/")), value)
}
