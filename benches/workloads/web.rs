//! W2r: `axum::serve` and reqwest, exactly as an application has them. For what runs tokio's own sockets: the others
//! would need another application.

use std::time::Duration;

use axum::Router;
use axum::routing::post;
use bytes::Bytes;
use tokio::net::TcpListener;
use tokio::time::Instant;

/// Bytes of a request's body, and of its answer's.
const MESSAGE_BYTES: usize = 100;

/// Answers `POST /echo` with the request's body.
pub async fn server(port: u16) {
    let app = Router::new().route("/echo", post(|body: Bytes| async move { body }));
    let listener = TcpListener::bind(("0.0.0.0", port)).await.expect("the port is free");
    axum::serve(listener, app).await.expect("the server serves");
}

/// So many POSTs of 100 bytes with one client, one after another; says how long that took.
pub async fn client(server: &str, requests: u64) -> Duration {
    let began = Instant::now();
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let url = format!("http://{server}/echo");
    for _ in 0..requests {
        let response = client.post(&url).body(vec![7; MESSAGE_BYTES]).send().await.expect("a response");
        assert_eq!(response.bytes().await.expect("a body").len(), MESSAGE_BYTES);
    }
    began.elapsed()
}
