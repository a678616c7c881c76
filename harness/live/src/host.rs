//! A host: a network namespace of its own, with one TUN device in it; and, if it is asked for, an Ethernet without
//! neighbours.

use std::net::Ipv4Addr;
use std::{fs, io};

use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Gid, Uid};
use tun::{AbstractDevice, Layer};

use crate::{Host, LiveError, netlink};

/// The name of the device inside its namespace.
const DEVICE_NAME: &str = "halfopen";

/// The name of the Ethernet on which nobody answers.
const SILENT_NAME: &str = "silent";

/// All of 10.0.0.0/8: every address that a network of ours gives out.
const NETMASK: Ipv4Addr = Ipv4Addr::new(255, 0, 0, 0);

/// All of fd00::/16, likewise.
const PREFIX_LEN_V6: u8 = 16;

/// The Ethernet on which nobody answers has 254 addresses.
const SILENT_NETMASK: Ipv4Addr = Ipv4Addr::new(255, 255, 255, 0);

/// A host's devices. Both are there for as long as this is.
pub(crate) struct Devices {
    pub(crate) network: tun::Device,
    /// Nobody reads what comes here.
    pub(crate) _silent: Option<tun::Device>,
}

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

/// Takes the calling thread into a new namespace and gives its devices up and with addresses.
pub(crate) fn enter(host: &Host) -> Result<Devices, LiveError> {
    unshare(CloneFlags::CLONE_NEWNET)
        .map_err(|error| LiveError::NotAllowed(format!("unshare(CLONE_NEWNET): {error}")))?;
    for (name, value) in &host.sysctls {
        set_sysctl(name, value).map_err(|error| LiveError::Broken(format!("{name}={value}: {error}")))?;
    }
    netlink::loopback_up().map_err(|error| LiveError::Broken(format!("lo: {error}")))?;
    let network = device(DEVICE_NAME, Layer::L3, host.address, NETMASK, host.mtu)?;
    if let Some(own) = host.address_v6 {
        let index = network.tun_index().map_err(|error| LiveError::Broken(error.to_string()))?;
        let added = netlink::add_address(index as u32, own, PREFIX_LEN_V6);
        added.map_err(|error| LiveError::Broken(format!("{own}: {error}")))?;
    }
    let silent = host.silent.map(|own| device(SILENT_NAME, Layer::L2, own, SILENT_NETMASK, host.mtu)).transpose()?;
    Ok(Devices { network, _silent: silent })
}

fn device(name: &str, layer: Layer, own: Ipv4Addr, netmask: Ipv4Addr, mtu: u16) -> Result<tun::Device, LiveError> {
    let mut configuration = tun::Configuration::default();
    configuration.tun_name(name).layer(layer).address(own).netmask(netmask).mtu(mtu).up();
    let device = tun::create(&configuration)
        .map_err(|error| LiveError::NotAllowed(format!("a TUN device: {error} (is /dev/net/tun there?)")))?;
    assert_eq!(device.mtu().ok(), Some(mtu), "a device has the MTU that it was given");
    Ok(device)
}

/// /proc/sys/net shows the namespace of the thread that opens it.
fn set_sysctl(name: &str, value: &str) -> io::Result<()> {
    fs::write(format!("/proc/sys/{}", name.replace('.', "/")), value)
}
