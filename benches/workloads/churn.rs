//! W5: connections that carry one byte each way.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::net::{TcpListener, TcpStream, spawn};

/// Sends one byte back, and closes when the client has.
pub async fn server(port: u16) {
    let listener = TcpListener::bind(("0.0.0.0", port)).await.expect("the port is free");
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        spawn(answer(stream));
    }
}

async fn answer(mut stream: TcpStream) {
    let mut byte = [0];
    stream.read_exact(&mut byte).await.expect("a byte");
    stream.write_all(&byte).await.expect("the client reads");
    stream.flush().await.expect("the client reads");
    let _ = stream.read(&mut byte).await;
    let _ = stream.shutdown().await;
}

/// Opens a connection, sends a byte and gets it back, closes; so often.
pub async fn client(server: &str, connections: u64) {
    for _ in 0..connections {
        let mut stream = TcpStream::connect(server).await.expect("a connection");
        let mut byte = [7];
        stream.write_all(&byte).await.expect("the server reads");
        stream.flush().await.expect("the server reads");
        stream.read_exact(&mut byte).await.expect("a byte");
        let _ = stream.shutdown().await;
    }
}
