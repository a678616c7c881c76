//! W4: a transfer. A length in 8 bytes, so many bytes, and the count of them as the answer.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::net::{TcpListener, TcpStream, spawn};

/// Bytes of the reader's buffer.
const READ_BYTES: usize = 64 << 10;

/// Reads what is announced, and says how much it was.
pub async fn server(port: u16) {
    let listener = TcpListener::bind(("0.0.0.0", port)).await.expect("the port is free");
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        spawn(answer(stream));
    }
}

async fn answer(mut stream: TcpStream) {
    let announced = stream.read_u64().await.expect("a length");
    let mut buffer = vec![0; READ_BYTES];
    let mut received = 0;
    while received < announced {
        let count = stream.read(&mut buffer).await.expect("bytes");
        assert!(count > 0, "the end after {received} of {announced} bytes");
        received += count as u64;
    }
    stream.write_u64(received).await.expect("the client reads");
    stream.flush().await.expect("the client reads");
    // Until the client closes.
    let _ = stream.read(&mut buffer).await;
    let _ = stream.shutdown().await;
}

/// Sends so many bytes in writes of `chunk` bytes, and waits until the server has them.
pub async fn client(server: &str, bytes: u64, chunk: usize) {
    let mut stream = TcpStream::connect(server).await.expect("a connection");
    stream.write_u64(bytes).await.expect("the server reads");
    let data = vec![7; chunk];
    let mut left = bytes;
    while left > 0 {
        let count = left.min(chunk as u64);
        stream.write_all(&data[..count as usize]).await.expect("the server reads");
        stream.flush().await.expect("the server reads");
        left -= count;
    }
    assert_eq!(stream.read_u64().await.expect("a count"), bytes);
    let _ = stream.shutdown().await;
}
