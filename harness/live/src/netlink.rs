//! What devices are told over rtnetlink(7): IPv6 addresses, which the classic ioctls do not know, and that loopback is up.

use std::io;
use std::net::Ipv6Addr;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::address::{AddressAttribute, AddressHeader, AddressHeaderFlags, AddressMessage};
use netlink_packet_route::link::{LinkFlags, LinkMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

/// Room for the answer to one request: an error with the request quoted.
const ANSWER_BYTES_MAX: usize = 4096;

/// Gives the device of this index, in the namespace of the calling thread, an address that may be used at once: nobody
/// else has it, so nobody is asked (IFA_F_NODAD, RFC 4862 section 5.4).
pub(crate) fn add_address(device: u32, address: Ipv6Addr, prefix_len: u8) -> io::Result<()> {
    let mut message = AddressMessage::default();
    let (family, flags) = (AddressFamily::Inet6, AddressHeaderFlags::Nodad);
    message.header = AddressHeader { family, prefix_len, flags, index: device, ..AddressHeader::default() };
    message.attributes = vec![AddressAttribute::Local(address.into()), AddressAttribute::Address(address.into())];
    ask(NLM_F_CREATE | NLM_F_EXCL, RouteNetlinkMessage::NewAddress(message))
}

/// The index of `lo` in every namespace (Linux net/core/dev.c, LOOPBACK_IFINDEX).
const LOOPBACK: u32 = 1;

/// Turns loopback on, over which a host also tells itself of ICMP errors.
pub(crate) fn loopback_up() -> io::Result<()> {
    let mut message = LinkMessage::default();
    message.header.index = LOOPBACK;
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
    ask(0, RouteNetlinkMessage::SetLink(message))
}

/// Sends one request to the kernel and waits for its word.
fn ask(flags: u16, message: RouteNetlinkMessage) -> io::Result<()> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
    let mut request = NetlinkMessage::new(header, NetlinkPayload::from(message));
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];
    request.serialize(&mut bytes);
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.send(&bytes, 0)?;
    let mut answer = Vec::with_capacity(ANSWER_BYTES_MAX);
    socket.recv(&mut answer, 0)?;
    let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer).map_err(io::Error::other)?;
    match answer.payload {
        // An acknowledgement is an error without a code.
        NetlinkPayload::Error(error) if error.code.is_some() => Err(error.to_io()),
        _ => Ok(()),
    }
}
