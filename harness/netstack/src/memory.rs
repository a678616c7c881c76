//! What packets take of memory on Linux (x86-64): a socket's buffers fill by it, not by the bytes that they carry.

/// The descriptor of a packet (sk_buff), in bytes.
pub(crate) const DESCRIPTOR: u64 = 256;
/// The bookkeeping behind a packet's bytes (skb_shared_info).
const SHARED_INFO: u64 = 320;
/// Room for headers in front of what TCP sends (MAX_TCP_HEADER).
pub(crate) const SENT_HEADROOM: u64 = 256;
/// What a buffer to be sent takes besides its data and descriptor.
pub(crate) const SENT_AROUND: u64 = SENT_HEADROOM + SHARED_INFO;
/// What a received packet takes besides its bytes and descriptor: room in front (NET_SKB_PAD) and bookkeeping behind.
pub(crate) const RECEIVED_AROUND: u64 = 64 + SHARED_INFO;

/// What Linux adds to a datagram's bytes before it allocates: headers, headroom and bookkeeping. This and the two
/// constants below reproduce how many datagrams of each size a receive queue holds on Linux 6.18 (loopback).
const DATAGRAM_EXTRA: u64 = 379;
/// Smallest allocation for a datagram; the next are powers of two from 1024 to [`DATAGRAM_BLOCK_MAX`].
const DATAGRAM_BLOCK_MIN: u64 = 576;
const DATAGRAM_BLOCK_MAX: u64 = 16_384;

/// What a queued datagram of `len` bytes takes of SO_RCVBUF (Linux truesize).
pub(crate) fn datagram(len: usize) -> usize {
    let len = len as u64;
    let block = match len + DATAGRAM_EXTRA {
        small if small <= DATAGRAM_BLOCK_MIN => DATAGRAM_BLOCK_MIN,
        medium if medium <= DATAGRAM_BLOCK_MAX => medium.next_power_of_two(),
        // Larger ones lie in pages, with little slack.
        _ => len + DATAGRAM_BLOCK_MIN,
    };
    (block + DESCRIPTOR) as usize
}
