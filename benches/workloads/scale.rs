//! W6: a client that says something once a second, among hosts that do nothing.

use std::time::Duration;

use tokio::io::AsyncWriteExt;

use super::echo::round_trip;
use crate::net::{Instant, TcpStream, sleep};

/// A message there and back every second, so often.
pub async fn client(server: &str, beats: u64) {
    let began = Instant::now();
    let mut stream = TcpStream::connect(server).await.expect("a connection");
    for beat in 1..=beats {
        round_trip(&mut stream).await;
        sleep(Duration::from_secs(beat).saturating_sub(began.elapsed())).await;
    }
    let _ = stream.shutdown().await;
}
