//! A relay host: every connection is passed on to a target, as a jump host or a TCP proxy does.

use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

use halfopen::{Env, OpError, Param, ParamKind};
use socket2::SockRef;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

const PARAMS: &[Param] = &[
    Param { name: "port", kind: ParamKind::Count, default: "2222", doc: "Where it listens." },
    Param {
        name: "target",
        kind: ParamKind::Text,
        default: "store:9000",
        doc: "Host and port that it passes connections on to.",
    },
    Param {
        name: "user_timeout",
        kind: ParamKind::OptionalDuration,
        default: "30s",
        doc: "TCP_USER_TIMEOUT on both sides: how long sent data may stay unacknowledged.",
    },
];

/// A TCP relay (jump host): when one side of a connection dies, it closes the other.
#[halfopen::client("upstream/relay", params = PARAMS, upstream)]
pub async fn relay(env: Env) -> Result<(), OpError> {
    let settings = env.params().clone();
    let user_timeout = settings.optional_duration("user_timeout").map(Duration::from);
    let port = settings.count("port") as u16;
    let listener = TcpListener::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))).await?;
    loop {
        let (mut inbound, _) = listener.accept().await?;
        let target = settings.text("target").to_owned();
        tokio::spawn(async move {
            let mut outbound = TcpStream::connect(target).await?;
            SockRef::from(&inbound).set_tcp_user_timeout(user_timeout)?;
            SockRef::from(&outbound).set_tcp_user_timeout(user_timeout)?;
            copy_bidirectional(&mut inbound, &mut outbound).await
        });
    }
}
