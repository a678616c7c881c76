//! W1: messages of 100 bytes there and back, over one connection for each client.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::net::{TcpListener, TcpStream, spawn};

/// Bytes of a request, and of its answer.
pub const MESSAGE_BYTES: usize = 100;

/// Sends every message back, until the other side closes.
pub async fn server(port: u16) {
    let listener = TcpListener::bind(("0.0.0.0", port)).await.expect("the port is free");
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        spawn(answer(stream));
    }
}

async fn answer(mut stream: TcpStream) {
    stream.set_nodelay(true).expect("TCP_NODELAY");
    let mut message = [0; MESSAGE_BYTES];
    while stream.read_exact(&mut message).await.is_ok() {
        stream.write_all(&message).await.expect("the client reads");
        stream.flush().await.expect("the client reads");
    }
    // The client may have gone already.
    let _ = stream.shutdown().await;
}

/// So many messages, each sent when the answer to the one before is there.
pub async fn client(server: &str, requests: u64) {
    let mut stream = TcpStream::connect(server).await.expect("a connection");
    stream.set_nodelay(true).expect("TCP_NODELAY");
    for _ in 0..requests {
        round_trip(&mut stream).await;
    }
    let _ = stream.shutdown().await;
}

/// One message there and back.
pub async fn round_trip(stream: &mut TcpStream) {
    let mut message = [7; MESSAGE_BYTES];
    stream.write_all(&message).await.expect("the server reads");
    // Some peers send at a flush only.
    stream.flush().await.expect("the server reads");
    stream.read_exact(&mut message).await.expect("an answer");
}
