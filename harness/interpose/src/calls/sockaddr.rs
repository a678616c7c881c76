//! Socket addresses, as C lays them out and as the kernel takes them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use halfopen_core::Errno;
use halfopen_kernel::Address;

use crate::abi::{In, Out};

/// `sa_family`, first in every address.
const FAMILY_BYTES: usize = 2;
/// Up to and including `sin_addr`; `sin_zero` may be left out on the way in.
const INET_BYTES: usize = 16;
/// RFC 2133's address, without the scope that RFC 2553 added: Linux still takes it.
const INET6_MIN_BYTES: usize = 24;
const INET6_BYTES: usize = 28;
/// `sun_path`.
const UNIX_PATH_BYTES: usize = 108;

/// Reads an address out of `bytes`. Bound and connected addresses are read alike.
///
/// # Errors
/// EINVAL if it is too short for its family, EAFNOSUPPORT for a family that is not there.
pub(crate) fn decode(bytes: &[u8]) -> Result<Address, Errno> {
    let family: [u8; FAMILY_BYTES] = bytes.get(..FAMILY_BYTES).and_then(|b| b.try_into().ok()).ok_or(Errno::EINVAL)?;
    match i32::from(u16::from_ne_bytes(family)) {
        libc::AF_UNSPEC => Ok(Address::Unspecified),
        libc::AF_INET => decode_v4(bytes).map(|address| Address::Inet(address.into())),
        libc::AF_INET6 => decode_v6(bytes).map(|address| Address::Inet(address.into())),
        libc::AF_UNIX => decode_unix(&bytes[FAMILY_BYTES..]),
        _ => Err(Errno::EAFNOSUPPORT),
    }
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    std::array::from_fn(|i| bytes[at + i])
}

fn decode_v4(bytes: &[u8]) -> Result<SocketAddrV4, Errno> {
    if bytes.len() < INET_BYTES {
        return Err(Errno::EINVAL);
    }
    Ok(SocketAddrV4::new(Ipv4Addr::from(field::<4>(bytes, 4)), u16::from_be_bytes(field(bytes, 2))))
}

fn decode_v6(bytes: &[u8]) -> Result<SocketAddrV6, Errno> {
    if bytes.len() < INET6_MIN_BYTES {
        return Err(Errno::EINVAL);
    }
    let port = u16::from_be_bytes(field(bytes, 2));
    let flow = u32::from_be_bytes(field(bytes, 4));
    let scope = if bytes.len() >= INET6_BYTES { u32::from_ne_bytes(field(bytes, 24)) } else { 0 };
    Ok(SocketAddrV6::new(Ipv6Addr::from(field::<16>(bytes, 8)), port, flow, scope))
}

/// unix(7): a path ends at its NUL, an abstract name (leading NUL) has the address's length.
fn decode_unix(path: &[u8]) -> Result<Address, Errno> {
    if path.len() > UNIX_PATH_BYTES {
        return Err(Errno::EINVAL);
    }
    let len = match path.first() {
        Some(0) => path.len(),
        _ => path.iter().position(|byte| *byte == 0).unwrap_or(path.len()),
    };
    Ok(Address::Unix(path[..len].to_vec()))
}

/// The address as C lays it out.
pub(crate) fn encode(address: &Address) -> Vec<u8> {
    let family = |family: i32| (family as u16).to_ne_bytes();
    let mut bytes = Vec::with_capacity(INET6_BYTES);
    match address {
        Address::Unspecified => bytes.extend(family(libc::AF_UNSPEC)),
        Address::Inet(SocketAddr::V4(v4)) => {
            bytes.extend(family(libc::AF_INET));
            bytes.extend(v4.port().to_be_bytes());
            bytes.extend(v4.ip().octets());
            bytes.resize(INET_BYTES, 0);
        }
        Address::Inet(SocketAddr::V6(v6)) => {
            bytes.extend(family(libc::AF_INET6));
            bytes.extend(v6.port().to_be_bytes());
            bytes.extend(v6.flowinfo().to_be_bytes());
            bytes.extend(v6.ip().octets());
            bytes.extend(v6.scope_id().to_ne_bytes());
        }
        Address::Unix(path) => {
            bytes.extend(family(libc::AF_UNIX));
            bytes.extend(path);
            if path.first().is_some_and(|first| *first != 0) {
                bytes.push(0);
            }
        }
    }
    bytes
}

/// The address of a bare IP, port 0.
pub(crate) fn of_ip(ip: IpAddr, port: u16) -> Vec<u8> {
    encode(&Address::Inet(SocketAddr::new(ip, port)))
}

/// Reads the address of a call.
pub(crate) fn read(address: In<u8>, len: u32) -> Result<Address, Errno> {
    decode(address.slice(len as usize)?)
}

/// Stores an address for the caller, cut to its room, and its whole length; nothing if the caller did not ask.
///
/// # Errors
/// EINVAL if the room has a negative length, EFAULT if there is room of no told length.
pub(crate) fn store(address: &Address, mut room: Out<u8>, len: Out<u32>) -> Result<(), Errno> {
    if room.is_null() {
        return Ok(());
    }
    let space = len.read()?;
    if i32::try_from(space).is_err() {
        return Err(Errno::EINVAL);
    }
    let bytes = encode(address);
    let cut = bytes.len().min(space as usize);
    room.slice(cut)?.copy_from_slice(&bytes[..cut]);
    len.write(bytes.len() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_round_trip(address: Address) {
        assert_eq!(decode(&encode(&address)), Ok(address));
    }

    #[test]
    fn addresses_survive_the_way_to_c_and_back() {
        check_round_trip(Address::Inet("10.1.2.3:8080".parse().unwrap()));
        check_round_trip(Address::Inet("[fd00::1]:53".parse().unwrap()));
        check_round_trip(Address::Inet(SocketAddrV6::new(Ipv6Addr::LOCALHOST, 1, 0x12345, 3).into()));
        check_round_trip(Address::Unix(b"/tmp/socket".to_vec()));
        check_round_trip(Address::Unix(b"\0abstract\0name".to_vec()));
        check_round_trip(Address::Unix(Vec::new()));
        check_round_trip(Address::Unspecified);
    }

    #[test]
    fn the_layout_is_that_of_c() {
        let v4 = encode(&Address::Inet("1.2.3.4:258".parse().unwrap()));
        assert_eq!(v4, [2, 0, 1, 2, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(encode(&Address::Inet("[::1]:1".parse().unwrap())).len(), size_of::<libc::sockaddr_in6>());
        assert_eq!(v4.len(), size_of::<libc::sockaddr_in>());
    }

    #[test]
    fn what_is_too_short_or_strange_is_refused() {
        assert_eq!(decode(&[]), Err(Errno::EINVAL));
        assert_eq!(decode(&[2, 0, 0, 80]), Err(Errno::EINVAL));
        assert_eq!(decode(&[10, 0, 0, 80]), Err(Errno::EINVAL));
        assert_eq!(decode(&[16, 0, 0, 0]), Err(Errno::EAFNOSUPPORT), "netlink");
        let mut long = vec![1, 0];
        long.resize(2 + UNIX_PATH_BYTES + 1, b'x');
        assert_eq!(decode(&long), Err(Errno::EINVAL));
    }

    #[test]
    fn an_address_is_cut_to_the_room_but_its_length_is_told() {
        let address = Address::Inet("1.2.3.4:258".parse().unwrap());
        let (mut room, mut len) = ([0xffu8; 16], 4u32);
        // SAFETY: both point to locals of this test that outlive the values.
        let (out, out_len) = unsafe { (Out::new(room.as_mut_ptr() as usize), Out::new(&raw mut len as usize)) };
        assert_eq!(store(&address, out, out_len), Ok(()));
        assert_eq!((room[..5].to_vec(), len), (vec![2, 0, 1, 2, 0xff], 16));
    }
}
