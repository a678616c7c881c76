//! W2: an axum router behind hyper, and hyper's client: HTTP/1.1 over whatever stream a peer has.

use axum::Router;
use axum::routing::post;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1 as http_client;
use hyper::server::conn::http1 as http_server;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;

use super::echo::MESSAGE_BYTES;
use crate::net::{TcpListener, TcpStream, spawn};

/// Answers `POST /echo` with the request's body.
pub async fn server(port: u16) {
    let app = Router::new().route("/echo", post(|body: Bytes| async move { body }));
    let listener = TcpListener::bind(("0.0.0.0", port)).await.expect("the port is free");
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        spawn(answer(stream, app.clone()));
    }
}

async fn answer(stream: TcpStream, app: Router) {
    stream.set_nodelay(true).expect("TCP_NODELAY");
    let service = TowerToHyperService::new(app);
    // A client that goes away is no mistake.
    let _ = http_server::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// So many POSTs of 100 bytes over one connection, one after another.
pub async fn client(server: &str, requests: u64) {
    let stream = TcpStream::connect(server).await.expect("a connection");
    stream.set_nodelay(true).expect("TCP_NODELAY");
    let (mut sender, connection) = http_client::handshake(TokioIo::new(stream)).await.expect("HTTP");
    spawn(async move {
        let _ = connection.await;
    });
    let body = Bytes::from_static(&[7; MESSAGE_BYTES]);
    for _ in 0..requests {
        let request = Request::post("/echo").header("host", "server").body(Full::new(body.clone()));
        let response = sender.send_request(request.expect("a request")).await.expect("a response");
        assert_eq!(response.status(), StatusCode::OK);
        let answer = response.into_body().collect().await.expect("a body").to_bytes();
        assert_eq!(answer.len(), MESSAGE_BYTES);
    }
}
