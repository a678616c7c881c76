//! Two stacks on a scripted wire: ports, datagrams, ICMP, connecting, listening, loopback, path MTUs, resets,
//! neighbours that nobody is.

mod common;
#[path = "stack/connect.rs"]
mod connect;
#[path = "stack/hostile.rs"]
mod hostile;
#[path = "stack/listen.rs"]
mod listen;
#[path = "stack/loopback.rs"]
mod loopback;
#[path = "stack/neighbour.rs"]
mod neighbour;
#[path = "stack/path_mtu.rs"]
mod path_mtu;
#[path = "stack/ports.rs"]
mod ports;
#[path = "stack/resets.rs"]
mod resets;
#[path = "stack/udp.rs"]
mod udp;
