//! The C side of name resolution and of the list of interfaces. `lookup` finds the addresses; this file lays them out
//! as C wants them.
//!
//! All memory that is handed out comes from libc's `malloc`, block by block as glibc itself does it, so that glibc's own
//! `freeaddrinfo` and `freeifaddrs` take it back.

use std::ffi::{CString, c_char, c_int, c_uint, c_void};
use std::mem::MaybeUninit;
use std::net::IpAddr;
use std::ptr;

use halfopen_core::Errno;
use libc::{addrinfo, hostent, ifaddrs};

use crate::abi::{In, Out, set_errno};
use crate::calls::{kernel, sockaddr};
use crate::lookup::{self, Entry, Query};
use crate::world::{in_libc, me};

/// Bytes from libc's allocator, aligned for everything.
///
/// # Errors
/// ENOMEM if there are none.
fn allocate(len: usize) -> Result<*mut u8, Errno> {
    // SAFETY: asks for zeroed memory of any size.
    let block = in_libc(|| unsafe { libc::calloc(1, len.max(1)) });
    if block.is_null() { Err(Errno::ENOMEM) } else { Ok(block.cast()) }
}

fn text(value: In<c_char>) -> Option<String> {
    value.text().ok().map(|text| text.to_string_lossy().into_owned())
}

pub(crate) fn getaddrinfo(
    node: In<c_char>,
    service: In<c_char>,
    hints: In<addrinfo>,
    list: Out<*mut addrinfo>,
) -> c_int {
    let (host, service) = (text(node), text(service));
    let query = match hints.optional() {
        Some(hints) => Query {
            host,
            service,
            flags: hints.ai_flags,
            family: hints.ai_family,
            socktype: hints.ai_socktype,
            protocol: hints.ai_protocol,
        },
        // glibc, unlike POSIX, takes no hints for these two flags.
        None => Query { host, service, flags: libc::AI_V4MAPPED | libc::AI_ADDRCONFIG, ..Query::default() },
    };
    let made = match lookup::addresses(&query) {
        Ok(entries) => addrinfo_list(&entries),
        Err(failure) => {
            if let Some(errno) = failure.errno {
                set_errno(errno);
            }
            return failure.code;
        }
    };
    match made.and_then(|first| list.write(first)) {
        Ok(()) => 0,
        Err(_) => libc::EAI_MEMORY,
    }
}

fn addrinfo_list(entries: &[Entry]) -> Result<*mut addrinfo, Errno> {
    let mut first = ptr::null_mut();
    for entry in entries.iter().rev() {
        let address = sockaddr::encode(&halfopen_kernel::Address::Inet(entry.address));
        let block = allocate(size_of::<addrinfo>() + address.len())?;
        // SAFETY: the block is as long as both, one after the other, and nobody else's yet.
        let place = unsafe {
            let place = block.add(size_of::<addrinfo>());
            ptr::copy_nonoverlapping(address.as_ptr(), place, address.len());
            place
        };
        let node = addrinfo {
            ai_flags: 0,
            ai_family: if entry.address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 },
            ai_socktype: entry.socktype,
            ai_protocol: entry.protocol,
            ai_addrlen: address.len() as u32,
            ai_addr: place.cast(),
            ai_canonname: entry.canonical_name.as_deref().map_or(Ok(ptr::null_mut()), c_copy)?,
            ai_next: first,
        };
        first = block.cast::<addrinfo>();
        // SAFETY: as above; malloc aligns for every type.
        unsafe { first.write(node) };
    }
    Ok(first)
}

/// A NUL-terminated copy in a block of its own.
fn c_copy(text: &str) -> Result<*mut c_char, Errno> {
    let text = CString::new(text).map_err(|_| Errno::EINVAL)?;
    let bytes = text.as_bytes_with_nul();
    let block = allocate(bytes.len())?;
    // SAFETY: the block is as long as the text.
    unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), block, bytes.len()) };
    Ok(block.cast())
}

pub(crate) fn getnameinfo(
    address: In<u8>,
    len: u32,
    (host, host_len): (Out<u8>, u32),
    (service, service_len): (Out<u8>, u32),
    flags: c_int,
) -> c_int {
    let Ok(halfopen_kernel::Address::Inet(address)) = sockaddr::read(address, len) else {
        return libc::EAI_FAMILY;
    };
    match lookup::names(address, flags) {
        Ok((host_name, service_name)) => {
            let stored = put_text(host, host_len, &host_name) && put_text(service, service_len, &service_name);
            if stored { 0 } else { libc::EAI_OVERFLOW }
        }
        Err(failure) => failure.code,
    }
}

/// Stores a text with its NUL, if it is asked for and fits.
fn put_text(mut room: Out<u8>, len: u32, text: &str) -> bool {
    if room.is_null() || len == 0 {
        return true;
    }
    if text.len() >= len as usize {
        return false;
    }
    room.slice(text.len() + 1).is_ok_and(|room| {
        room[..text.len()].copy_from_slice(text.as_bytes());
        room[text.len()] = 0;
        true
    })
}

// ---- gethostbyname and its relatives ----

// `h_errno` of <netdb.h>.
const HOST_NOT_FOUND: c_int = 1;
const TRY_AGAIN: c_int = 2;

/// Lays out a `hostent` in a caller's buffer.
struct Room {
    next: usize,
    end: usize,
}

impl Room {
    /// So many bytes, aligned for pointers.
    fn take(&mut self, len: usize) -> Result<usize, Errno> {
        let start = self.next.next_multiple_of(align_of::<*const c_void>());
        self.next = start.checked_add(len).filter(|next| *next <= self.end).ok_or(Errno::ERANGE)?;
        Ok(start)
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<*mut c_char, Errno> {
        let place = self.take(bytes.len())?;
        // SAFETY: within the caller's buffer, which it vouches for.
        let mut out: Out<u8> = unsafe { Out::new(place) };
        out.slice(bytes.len())?.copy_from_slice(bytes);
        Ok(place as *mut c_char)
    }

    /// A list of pointers with a null one at its end.
    fn pointers(&mut self, pointers: &[*mut c_char]) -> Result<*mut *mut c_char, Errno> {
        let place = self.take((pointers.len() + 1) * size_of::<*mut c_char>())?;
        // SAFETY: within the caller's buffer, aligned by `take`.
        let mut out: Out<*mut c_char> = unsafe { Out::new(place) };
        let room = out.slice(pointers.len() + 1)?;
        room[..pointers.len()].copy_from_slice(pointers);
        room[pointers.len()] = ptr::null_mut();
        Ok(place as *mut *mut c_char)
    }
}

fn lay_out(name: &str, family: c_int, addresses: &[IpAddr], room: &mut Room) -> Result<hostent, Errno> {
    let mut pointers = Vec::new();
    for address in addresses {
        pointers.push(match address {
            IpAddr::V4(v4) => room.bytes(&v4.octets())?,
            IpAddr::V6(v6) => room.bytes(&v6.octets())?,
        });
    }
    let name = CString::new(name).map_err(|_| Errno::EINVAL)?;
    Ok(hostent {
        h_name: room.bytes(name.as_bytes_with_nul())?,
        h_aliases: room.pointers(&[])?,
        h_addrtype: family,
        h_length: if family == libc::AF_INET { 4 } else { 16 },
        h_addr_list: room.pointers(&pointers)?,
    })
}

/// Returns 0 or an error number; `error` is `h_errno`.
pub(crate) fn gethostbyname_r(
    name: In<c_char>,
    family: c_int,
    entry: Out<hostent>,
    (buffer, len): (Out<u8>, usize),
    result: Out<*mut hostent>,
    error: Out<c_int>,
) -> c_int {
    result.put(ptr::null_mut());
    let host = text(name);
    let query = Query { host: host.clone(), family, socktype: libc::SOCK_STREAM, ..Query::default() };
    let entries = match lookup::addresses(&query) {
        Ok(entries) => entries,
        Err(failure) if failure.code == libc::EAI_AGAIN => {
            error.put(TRY_AGAIN);
            return Errno::EAGAIN.0;
        }
        Err(_) => {
            error.put(HOST_NOT_FOUND);
            return 0;
        }
    };
    let addresses: Vec<IpAddr> = entries.iter().map(|entry| entry.address.ip()).collect();
    let mut room = Room { next: buffer.address(), end: buffer.address().saturating_add(len) };
    match lay_out(host.as_deref().unwrap_or(""), family, &addresses, &mut room) {
        Ok(laid_out) => {
            entry.put(laid_out);
            result.put(entry.pointer());
            0
        }
        Err(errno) => errno.0,
    }
}

/// The static memory that `gethostbyname` answers in, as it does in C: good until the next call.
struct Static {
    entry: MaybeUninit<hostent>,
    buffer: [u8; 8192],
}

pub(crate) fn gethostbyname(name: In<c_char>, family: c_int) -> Result<*mut hostent, Errno> {
    static mut ANSWER: Static = Static { entry: MaybeUninit::uninit(), buffer: [0; 8192] };
    let answer = &raw mut ANSWER;
    let (mut result, mut error) = (ptr::null_mut(), 0);
    // SAFETY: the static is touched by the thread with the baton only, and by programs as C lets them; the locals
    // outlive the call.
    unsafe {
        let entry = Out::new(&raw mut (*answer).entry as usize);
        let buffer = Out::new(&raw mut (*answer).buffer as usize);
        let (result, error) = (Out::new(&raw mut result as usize), Out::new(&raw mut error as usize));
        gethostbyname_r(name, family, entry, (buffer, 8192), result, error);
    }
    // SAFETY: glibc says where the calling thread's h_errno is.
    unsafe { *__h_errno_location() = error };
    Ok(result)
}

unsafe extern "C" {
    fn __h_errno_location() -> *mut c_int;
}

// ---- interfaces ----

/// The interfaces that every host has, by index from 1.
const INTERFACES: [&str; 2] = ["lo", "eth0"];

pub(crate) fn if_nametoindex(name: In<c_char>) -> c_uint {
    let index = text(name).and_then(|name| INTERFACES.iter().position(|known| *known == name));
    index.map_or_else(
        || {
            set_errno(Errno::ENODEV);
            0
        },
        |index| index as c_uint + 1,
    )
}

pub(crate) fn if_indextoname(index: c_uint, name: Out<u8>) -> Result<*mut c_char, Errno> {
    let known = (index as usize).checked_sub(1).and_then(|index| INTERFACES.get(index));
    // Linux says ENXIO here, which halfopen knows no name for.
    let known = known.ok_or(Errno(libc::ENXIO))?;
    put_text(name, libc::IF_NAMESIZE as u32, known);
    Ok(name.pointer().cast())
}

/// One address of one interface.
struct Interface {
    index: usize,
    address: IpAddr,
    prefix: u32,
}

fn interfaces() -> Vec<Interface> {
    let own = kernel(|kernel| kernel.addresses(me().host).to_vec());
    let loopback = [("127.0.0.1", 8), ("::1", 128)].map(|(address, prefix)| Interface {
        index: 0,
        address: address.parse().expect("an address"),
        prefix,
    });
    let eth0 = own.into_iter().filter(|address| !address.is_loopback()).map(|address| {
        // How wide the host's network is makes no difference here: everything is reached by routes.
        Interface { index: 1, address, prefix: if address.is_ipv4() { 24 } else { 64 } }
    });
    loopback.into_iter().chain(eth0).collect()
}

fn netmask(address: IpAddr, prefix: u32) -> IpAddr {
    match address {
        IpAddr::V4(_) => IpAddr::from((u32::MAX << (32 - prefix)).to_be_bytes()),
        IpAddr::V6(_) => IpAddr::from((u128::MAX << (128 - prefix)).to_be_bytes()),
    }
}

/// One block for the whole list, as glibc makes it.
pub(crate) fn getifaddrs(list: Out<*mut ifaddrs>) -> Result<(), Errno> {
    const ADDRESS_ROOM: usize = 32;
    const NAME_ROOM: usize = 8;
    const NODE: usize = size_of::<ifaddrs>() + NAME_ROOM + 2 * ADDRESS_ROOM;
    let interfaces = interfaces();
    let block = allocate(NODE * interfaces.len())?;
    let mut next: *mut ifaddrs = ptr::null_mut();
    for (number, interface) in interfaces.iter().enumerate().rev() {
        let start = block as usize + number * NODE;
        let mut room = Room { next: start + size_of::<ifaddrs>(), end: start + NODE };
        let name = CString::new(INTERFACES[interface.index]).expect("a name without NUL");
        let up = libc::IFF_UP | libc::IFF_RUNNING;
        let flags = up | if interface.index == 0 { libc::IFF_LOOPBACK } else { libc::IFF_BROADCAST };
        let node = ifaddrs {
            ifa_next: next,
            ifa_name: room.bytes(name.as_bytes_with_nul())?,
            ifa_flags: flags as c_uint,
            ifa_addr: room.bytes(&sockaddr::of_ip(interface.address, 0))?.cast(),
            ifa_netmask: room.bytes(&sockaddr::of_ip(netmask(interface.address, interface.prefix), 0))?.cast(),
            ifa_ifu: ptr::null_mut(),
            ifa_data: ptr::null_mut(),
        };
        next = start as *mut ifaddrs;
        // SAFETY: within the block, aligned since NODE is a multiple of 8.
        unsafe { next.write(node) };
    }
    list.write(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn glibc_takes_an_address_list_of_ours_back() {
        let entry = |address: &str, canonical_name: Option<&str>| Entry {
            socktype: libc::SOCK_STREAM,
            protocol: libc::IPPROTO_TCP,
            address: address.parse().unwrap(),
            canonical_name: canonical_name.map(str::to_owned),
        };
        let entries = [entry("10.0.0.1:80", Some("web.internal")), entry("[fd00::2]:80", None)];
        let first = addrinfo_list(&entries).unwrap();
        // SAFETY: the list was just made; glibc frees it once.
        unsafe {
            let second = (*first).ai_next;
            assert_eq!((*first).ai_family, libc::AF_INET);
            assert_eq!(In::<c_char>::new((*first).ai_canonname as usize).str(), Ok("web.internal"));
            assert_eq!((*second).ai_addrlen as usize, size_of::<libc::sockaddr_in6>());
            assert!((*second).ai_next.is_null() && (*second).ai_canonname.is_null());
            let address: In<u8> = In::new((*second).ai_addr as usize);
            assert_eq!(sockaddr::read(address, 28), Ok(halfopen_kernel::Address::Inet(entries[1].address)));
            libc::freeaddrinfo(first);
        }
    }

    #[test]
    fn host_entries_fit_or_say_erange() {
        let addresses = ["10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap()];
        let mut buffer = [0usize; 16];
        let start = buffer.as_mut_ptr() as usize;
        let room = |len| lay_out("db", libc::AF_INET, &addresses, &mut Room { next: start, end: start + len });
        assert!(matches!(room(32), Err(Errno::ERANGE)));
        let entry = room(128).unwrap();
        // SAFETY: laid out in `buffer`, which is still there.
        let (name, second) = unsafe { (In::<c_char>::new(entry.h_name as usize), *entry.h_addr_list.add(1)) };
        assert_eq!(name.str(), Ok("db"));
        // SAFETY: as above.
        assert_eq!(unsafe { In::<u8>::new(second as usize) }.slice(4), Ok(&[10, 0, 0, 2][..]));
    }

    #[test]
    fn masks_have_the_prefix() {
        for (address, prefix, mask) in [
            ("10.0.0.1", 24, "255.255.255.0"),
            ("127.0.0.1", 8, "255.0.0.0"),
            ("::1", 128, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ] {
            assert_eq!(netmask(address.parse().unwrap(), prefix).to_string(), mask);
        }
    }
}
