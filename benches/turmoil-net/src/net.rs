//! What the workloads take from the network.
//!
//! turmoil-net knows which host runs only while it polls a host's first future, so a task on tokio's own queue would run
//! on whichever host was polled last. What is spawned is therefore polled within that first future, by [`Host`].

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use futures_util::future::LocalBoxFuture;
use futures_util::stream::{FuturesUnordered, Stream};
pub use tokio::time::{Instant, sleep};
pub use turmoil_net::shim::tokio::net::{TcpListener, TcpStream};

/// What a host has spawned and not polled yet.
type Spawned = Rc<RefCell<Vec<LocalBoxFuture<'static, ()>>>>;

thread_local! {
    /// That of the host which is polled now.
    static SPAWNED: RefCell<Spawned> = RefCell::default();
}

/// Runs a future on its own, on the host which calls.
pub fn spawn(future: impl Future<Output = ()> + 'static) {
    SPAWNED.with_borrow(|spawned| spawned.borrow_mut().push(Box::pin(future)));
}

/// A host's first future, with all that it spawns.
pub struct Host<T> {
    first: LocalBoxFuture<'static, T>,
    others: FuturesUnordered<LocalBoxFuture<'static, ()>>,
    spawned: Spawned,
}

impl<T> Host<T> {
    /// Has nothing but its first future yet.
    pub fn new(first: impl Future<Output = T> + 'static) -> Host<T> {
        Host { first: Box::pin(first), others: FuturesUnordered::new(), spawned: Spawned::default() }
    }
}

impl<T> Future for Host<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let host = &mut *self;
        SPAWNED.set(Rc::clone(&host.spawned));
        if let Poll::Ready(value) = host.first.as_mut().poll(context) {
            return Poll::Ready(value);
        }
        loop {
            host.others.extend(host.spawned.borrow_mut().drain(..));
            let one_ended = matches!(Pin::new(&mut host.others).poll_next(context), Poll::Ready(Some(())));
            if !one_ended && host.spawned.borrow().is_empty() {
                return Poll::Pending;
            }
        }
    }
}
