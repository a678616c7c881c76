//! What sockets of every kind have in common: identities, options, and the ways to shut one down.

use halfopen_core::SimDuration;
use halfopen_core::slots::Key;

/// A socket of one host's stack. Never used again within a run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SocketId(pub(crate) Key);

impl SocketId {
    /// How many sockets the stack had made before this one.
    pub const fn serial(self) -> u64 {
        self.0.serial()
    }
}

/// Address family of a socket.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Family {
    /// AF_INET.
    V4,
    /// AF_INET6; with IPV6_V6ONLY off it speaks IPv4 too.
    V6,
}

/// Kind of a socket.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kind {
    /// SOCK_STREAM.
    Tcp,
    /// SOCK_DGRAM.
    Udp,
}

/// `shutdown(2)`'s second argument.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Shutdown {
    /// SHUT_RD.
    Read,
    /// SHUT_WR.
    Write,
    /// SHUT_RDWR.
    Both,
}

/// `IP_MTU_DISCOVER` / `IPV6_MTU_DISCOVER`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum MtuDiscover {
    /// Never set DF.
    Dont,
    /// Set DF where the path's MTU allows it, fragment locally what is known to be too large (Linux's default).
    #[default]
    Want,
    /// Always set DF; larger is EMSGSIZE.
    Do,
    /// Set DF but ignore what path-MTU discovery learned.
    Probe,
}

/// The options of a socket that change what its stack does, with Linux's defaults.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SocketOptions {
    /// SO_REUSEADDR.
    pub reuse_addr: bool,
    /// SO_REUSEPORT.
    pub reuse_port: bool,
    /// SO_KEEPALIVE.
    pub keepalive: bool,
    /// TCP_KEEPIDLE; `None` follows the sysctl.
    pub keepalive_idle: Option<SimDuration>,
    /// TCP_KEEPINTVL; `None` follows the sysctl.
    pub keepalive_interval: Option<SimDuration>,
    /// TCP_KEEPCNT; `None` follows the sysctl.
    pub keepalive_count: Option<u32>,
    /// TCP_USER_TIMEOUT; zero is off.
    pub user_timeout: SimDuration,
    /// TCP_SYNCNT; `None` follows the sysctl.
    pub syn_count: Option<u32>,
    /// TCP_NODELAY.
    pub no_delay: bool,
    /// TCP_CORK.
    pub cork: bool,
    /// TCP_QUICKACK as last set.
    pub quick_ack: Option<bool>,
    /// TCP_MAXSEG as set by the user.
    pub max_segment: Option<u16>,
    /// SO_LINGER with a time: `Some(0)` resets on close.
    pub linger: Option<SimDuration>,
    /// SO_SNDBUF as set (already doubled, as Linux doubles it); `None` tunes itself within tcp_wmem.
    pub send_buffer: Option<u32>,
    /// SO_RCVBUF as set (already doubled); `None` tunes itself within tcp_rmem.
    pub receive_buffer: Option<u32>,
    /// IPV6_V6ONLY.
    pub only_v6: bool,
    /// IP_MTU_DISCOVER.
    pub mtu_discover: MtuDiscover,
    /// IP_TTL; 64 by default.
    pub ttl: u8,
    /// SO_BROADCAST.
    pub broadcast: bool,
}

impl Default for SocketOptions {
    fn default() -> SocketOptions {
        SocketOptions {
            reuse_addr: false,
            reuse_port: false,
            keepalive: false,
            keepalive_idle: None,
            keepalive_interval: None,
            keepalive_count: None,
            user_timeout: SimDuration::ZERO,
            syn_count: None,
            no_delay: false,
            cork: false,
            quick_ack: None,
            max_segment: None,
            linger: None,
            send_buffer: None,
            receive_buffer: None,
            only_v6: false,
            mtu_discover: MtuDiscover::Want,
            ttl: 64,
            broadcast: false,
        }
    }
}
