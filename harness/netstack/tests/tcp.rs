//! One TCP connection against another over a scripted path: tests that read like packet traces.
//!
//! Expected times come from measurements of Linux 6.18. Nominal timers are compared with measured
//! ones within the kernel's timer wheel: a measured time may be later by 6.25 % and one step of the wheel, never earlier.

#[path = "tcp/black_holes.rs"]
mod black_holes;
#[path = "tcp/closing.rs"]
mod closing;
#[path = "tcp/handshake.rs"]
mod handshake;
#[path = "tcp/hostile.rs"]
mod hostile;
#[path = "tcp/keepalive.rs"]
mod keepalive;
#[path = "tcp/loss.rs"]
mod loss;
#[path = "tcp/net.rs"]
mod net;
#[path = "tcp/path_mtu.rs"]
mod path_mtu;
#[path = "tcp/sending.rs"]
mod sending;
#[path = "tcp/zero_window.rs"]
mod zero_window;
