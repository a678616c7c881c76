//! W3: a connection that is silent for hours, and hosts that nobody calls.

use std::time::Duration;

use tokio::io::AsyncWriteExt;

use super::echo::round_trip;
use crate::net::{TcpListener, TcpStream, sleep};

/// Listens, and is never called.
pub async fn host(port: u16) {
    let listener = TcpListener::bind(("0.0.0.0", port)).await.expect("the port is free");
    let called = listener.accept().await;
    panic!("an idle host was called: {:?}", called.map(|(_, from)| from));
}

/// A message, a silence, a message.
pub async fn client(server: &str, gap: Duration) {
    let mut stream = TcpStream::connect(server).await.expect("a connection");
    round_trip(&mut stream).await;
    sleep(gap).await;
    round_trip(&mut stream).await;
    let _ = stream.shutdown().await;
}
