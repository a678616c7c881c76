//! Between the hosts: packets, links, routes, NAT, firewalls, MTU, and the faults that break them.
//!
//! Suggested reading order: [`packet`], [`wire`], [`config`], [`preset`], [`fault`], [`fabric`]; then, inside, `topology`,
//! `link`, `middlebox`, `tracker`, `conntrack`.
//!
//! Sans-IO: a [`Fabric`](fabric::Fabric) is *told* the time and *asked* for its next deadline.
//!
//! **Invariant:** nothing here knows a clock, a thread, a socket or a file, and nothing here runs a TCP: middleboxes
//! read ports, flags and numbers, as real ones do, and no more.
#![forbid(unsafe_code)]

mod answer;
pub mod config;
mod conntrack;
pub mod delay;
pub mod fabric;
pub mod fault;
mod flight;
mod link;
mod middlebox;
pub mod packet;
pub mod preset;
pub mod reassembly;
mod scope;
mod strike;
mod topology;
mod tracker;
pub mod wire;
