//! Where uploads go: a server that keeps what it gets under a name, complete or not.
//!
//! The protocol is a line and then bytes. `PUT name offset total` is followed by the bytes from `offset` to `total`
//! and answered with `OK size` once the server has them all; `SIZE name` is answered with `OK size` (0 if there is no such file).

use std::collections::BTreeMap;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use halfopen::{Env, OpError, OpErrorKind, Param, ParamKind};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

const PARAMS: &[Param] = &[Param { name: "port", kind: ParamKind::Count, default: "9000", doc: "Where it listens." }];

/// Bytes read from a connection at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// A store for uploads: keeps what arrived, also of an upload that broke off.
#[halfopen::client("upstream/store", params = PARAMS, upstream)]
pub async fn store(env: Env) -> Result<(), OpError> {
    let port = env.params().count("port") as u16;
    let listener = TcpListener::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))).await?;
    let files = Arc::new(Files::default());
    loop {
        let (stream, _) = listener.accept().await?;
        let (env, files) = (env.clone(), Arc::clone(&files));
        tokio::spawn(async move { converse(&env, &files, stream).await });
    }
}

/// How many bytes of each file are there. What they are does not matter here.
#[derive(Default)]
struct Files(Mutex<BTreeMap<String, u64>>);

impl Files {
    fn size(&self, name: &str) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(name).copied().unwrap_or(0)
    }

    fn set(&self, name: &str, size: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), size);
    }
}

async fn converse(env: &Env, files: &Files, stream: TcpStream) -> Result<(), OpError> {
    let mut stream = BufReader::with_capacity(CHUNK_BYTES, stream);
    let mut line = String::new();
    while stream.read_line(&mut line).await? > 0 {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["SIZE", name] => stream.write_all(format!("OK {}\n", files.size(name)).as_bytes()).await?,
            ["PUT", name, offset, total] => {
                let (offset, total) = (offset.parse()?, total.parse()?);
                let attempt = env.attempt(op_of(name));
                receive(files, name, offset, total, &mut stream).await?;
                stream.write_all(format!("OK {}\n", files.size(name)).as_bytes()).await?;
                op_of(name).into_iter().for_each(|op| env.effect(op));
                attempt.succeed();
            }
            _ => return Err(OpError::new(OpErrorKind::Protocol, format!("not a request: {line:?}"))),
        }
        line.clear();
    }
    Ok(())
}

/// The op that a file belongs to: `backup-17` is op 17's.
fn op_of(name: &str) -> Option<u64> {
    name.rsplit_once('-')?.1.parse().ok()
}

async fn receive(
    files: &Files,
    name: &str,
    offset: u64,
    total: u64,
    stream: &mut BufReader<TcpStream>,
) -> Result<(), OpError> {
    // Like scp, a new upload makes the file at once, empty.
    files.set(name, offset);
    let mut size = offset;
    let mut chunk = vec![0; CHUNK_BYTES];
    while size < total {
        let wanted = chunk.len().min((total - size) as usize);
        let read = stream.read(&mut chunk[..wanted]).await?;
        if read == 0 {
            return Err(OpError::new(OpErrorKind::Reset, format!("{name} broke off at {size} of {total}")));
        }
        size += read as u64;
        files.set(name, size);
    }
    Ok(())
}
