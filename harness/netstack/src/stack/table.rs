//! The socket table: what a socket is, apart from the connection or the datagrams behind it.

use super::address::LocalScope;
use super::flows::FlowId;
use super::listener::Listener;
use super::udp::Udp;
use crate::socket::{Family, Kind, SocketOptions};

/// A local port and the addresses on which it is held.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Bound {
    pub scope: LocalScope,
    /// As `bind` set it; `connect` of UDP narrows the scope until it is undone.
    pub requested: LocalScope,
    pub port: u16,
    /// By `bind`: `connect(AF_UNSPEC)` keeps it. Otherwise the stack picked it and takes it back.
    pub by_program: bool,
}

/// What `connect` said last of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// EINPROGRESS: the program has not yet been told how it ended.
    Connecting,
    /// Ok.
    Connected,
}

/// What a TCP socket stands for.
#[derive(Debug)]
pub(super) enum TcpRole {
    /// Neither connected nor listening.
    Idle,
    Listening(Listener),
    Stream {
        flow: FlowId,
        phase: Phase,
    },
}

impl TcpRole {
    pub const fn connected(flow: FlowId) -> TcpRole {
        TcpRole::Stream { flow, phase: Phase::Connected }
    }
}

#[derive(Debug)]
pub(super) enum Role {
    Tcp(TcpRole),
    Udp(Udp),
}

#[derive(Debug)]
pub(super) struct Socket {
    pub family: Family,
    pub options: SocketOptions,
    pub bound: Option<Bound>,
    /// An ICMP error ended a connection attempt: it stands in the error queue (Linux `ip_icmp_error`), which nobody
    /// reads, and shows in poll's ERR for good.
    pub icmp_queued: bool,
    pub role: Role,
}

impl Socket {
    pub const fn kind(&self) -> Kind {
        match self.role {
            Role::Tcp(_) => Kind::Tcp,
            Role::Udp(_) => Kind::Udp,
        }
    }

    /// The connection behind it.
    pub const fn flow(&self) -> Option<FlowId> {
        match self.role {
            Role::Tcp(TcpRole::Stream { flow, .. }) => Some(flow),
            _ => None,
        }
    }

    pub const fn is_listening(&self) -> bool {
        matches!(self.role, Role::Tcp(TcpRole::Listening(_)))
    }
}
