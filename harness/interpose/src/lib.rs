//! libc symbols -> the virtual kernel: how ordinary programs, compiled unchanged, come to live in it.
//!
//! A program that links this crate has our `connect`, `epoll_wait`, `clock_gettime`, `pthread_create` and so on in
//! front of libc's. Each of them asks one question first: is the calling thread a *simulated* thread, and is it running
//! the program's own code? If so the call is served by [`halfopen_kernel::Kernel`]; if not it goes on to libc.
//!
//! Suggested reading order: [`run`](run()) (what a run is), `world` (who may touch the kernel, and when), `switch` and
//! `threads` (the baton), `abi` (how C's arguments become Rust's), `symbols` (the table of what is overridden),
//! `calls` (what each call does), `resolve` and `lookup` (names), `dispatch` (the same by system call number), `traps`
//! (what escapes the symbols).
//!
//! **Invariant:** exactly one simulated thread runs at a time, the one with the *baton*; nobody else touches the
//! kernel, so no lock guards it.
//! **Invariant:** `unsafe` stands in this crate alone, each block with its reason.

#[cfg(not(all(target_os = "linux", target_env = "gnu", any(target_arch = "x86_64", target_arch = "aarch64"))))]
compile_error!(
    "halfopen overrides libc's symbols and runs on Linux with glibc on x86-64 and aarch64 only. Elsewhere, run it in a \
     container: docker run --rm -v \"$PWD\":/src -w /src rust:1 cargo test"
);

#[cfg(target_feature = "crt-static")]
compile_error!("halfopen needs the shared libc: build without `-C target-feature=+crt-static`");

mod abi;
mod calls;
pub mod child;
mod dispatch;
mod lookup;
mod real;
mod resolve;
mod run;
mod switch;
mod symbols;
mod threads;
mod traps;
mod watchdog;
mod world;

pub use run::{Finished, Main, Setup, run};
pub use switch::Handover;
pub use watchdog::{STUCK_STATUS, StuckReport};
pub use world::{blocking, current_host, is_simulated, with_kernel};
