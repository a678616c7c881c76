//! A long upload over one connection, as a nightly backup does it: the naive way, and the way that survives a blip.

use std::time::Duration;

use halfopen::{Env, Op, OpError, OpErrorKind, OpSpec, Param, ParamKind, Params};
use socket2::SockRef;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

const OPS: &[OpSpec] = &[OpSpec { name: "upload", doc: "Upload one archive of `size` bytes.", effect: true }];

const PARAMS: &[Param] = &[
    Param {
        name: "target",
        kind: ParamKind::Text,
        default: "store:9000",
        doc: "Host and port of the store, or of a relay to it.",
    },
    Param { name: "size", kind: ParamKind::Size, default: "8MiB", doc: "Size of an archive." },
    Param { name: "chunk", kind: ParamKind::Size, default: "32KiB", doc: "Bytes handed to the socket at once." },
    Param {
        name: "resume",
        kind: ParamKind::Bool,
        default: "false",
        doc: "After a failure, ask for the remote size and go on from there.",
    },
    Param {
        name: "verify",
        kind: ParamKind::Bool,
        default: "false",
        doc: "Ask for the remote size afterwards, and believe only that.",
    },
    Param {
        name: "report",
        kind: ParamKind::Bool,
        default: "false",
        doc: "Tell of a failure: the trap that logs and alerts. Without it a failed script just ends.",
    },
    Param { name: "attempts", kind: ParamKind::Count, default: "8", doc: "With `resume`: how often to try." },
    Param {
        name: "retry_wait",
        kind: ParamKind::Duration,
        default: "5s",
        doc: "With `resume`: how long to wait before another try.",
    },
    Param {
        name: "stall_timeout",
        kind: ParamKind::OptionalDuration,
        default: "none",
        doc: "Give a connection up that takes no more bytes for so long.",
    },
];

/// A long upload through one connection: naive, or resuming, verifying and reporting.
#[halfopen::client("transfer/upload", ops = OPS, params = PARAMS)]
pub async fn upload(env: Env) -> Result<(), OpError> {
    let settings = env.params().clone();
    env.drive(|op| {
        let (env, settings) = (env.clone(), settings.clone());
        async move { backup(&env, &settings, &op).await }
    })
    .await;
    Ok(())
}

async fn backup(env: &Env, settings: &Params, op: &Op) -> Result<(), OpError> {
    let archive = format!("backup-{}", op.id());
    let total = settings.size("size");
    let mut result = send(env, settings, &archive, 0, total).await;
    if settings.flag("resume") {
        for _ in 1..settings.count("attempts") {
            if result.is_ok() {
                break;
            }
            tokio::time::sleep(settings.duration("retry_wait").into()).await;
            result = match remote_size(settings, &archive).await {
                Ok(size) if size >= total => Ok(()),
                Ok(size) => send(env, settings, &archive, size, total).await,
                Err(error) => Err(error),
            };
        }
    }
    if result.is_ok() && settings.flag("verify") {
        let size = remote_size(settings, &archive).await?;
        if size != total {
            result = Err(OpError::new(OpErrorKind::Protocol, format!("the remote file has {size} of {total} bytes")));
        }
    }
    match result {
        Err(error) if !settings.flag("report") => Err(OpError::silent(error)),
        result => result,
    }
}

async fn connect(settings: &Params) -> Result<BufReader<TcpStream>, OpError> {
    let stream = TcpStream::connect(settings.text("target")).await?;
    SockRef::from(&stream).set_keepalive(true)?;
    Ok(BufReader::new(stream))
}

/// Sends the archive from `offset` on and waits for the store's word.
async fn send(env: &Env, settings: &Params, archive: &str, offset: u64, total: u64) -> Result<(), OpError> {
    let mut stream = connect(settings).await?;
    stream.write_all(format!("PUT {archive} {offset} {total}\n").as_bytes()).await?;
    let chunk = vec![b'x'; settings.size("chunk").max(1) as usize];
    let mut sent = offset;
    while sent < total {
        let size = chunk.len().min((total - sent) as usize);
        in_time(settings, stream.write_all(&chunk[..size])).await??;
        sent += size as u64;
        env.gauge("transfer.progress", (sent * 100 / total) as i64);
    }
    answer(settings, &mut stream).await.map(drop)
}

async fn remote_size(settings: &Params, archive: &str) -> Result<u64, OpError> {
    let mut stream = connect(settings).await?;
    stream.write_all(format!("SIZE {archive}\n").as_bytes()).await?;
    answer(settings, &mut stream).await
}

async fn answer(settings: &Params, stream: &mut BufReader<TcpStream>) -> Result<u64, OpError> {
    let mut line = String::new();
    if in_time(settings, stream.read_line(&mut line)).await?? == 0 {
        return Err(OpError::new(OpErrorKind::Reset, "the connection closed before the answer"));
    }
    let size = line.trim().strip_prefix("OK ").and_then(|size| size.parse().ok());
    size.ok_or_else(|| OpError::new(OpErrorKind::Protocol, format!("not an answer: {line:?}")))
}

async fn in_time<F: Future>(settings: &Params, work: F) -> Result<F::Output, OpError> {
    match settings.optional_duration("stall_timeout").map(Duration::from) {
        None => Ok(work.await),
        Some(limit) => tokio::time::timeout(limit, work)
            .await
            .map_err(|_| OpError::new(OpErrorKind::ReadTimeout, format!("the connection stood still for {limit:?}"))),
    }
}
