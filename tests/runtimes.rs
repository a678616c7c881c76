//! Clients exactly as published, on any runtime: the same echo through std, tokio (both kinds), smol, and mio-less
//! blocking threads under an executor that is nobody's.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use halfopen::program::{run_async, run_blocking};
use halfopen::{Env, OpError, Program, Scenario};

const SERVER: &str = "server:7000";

/// Answers every connection's bytes with themselves, a thread for each.
fn std_server(_: Env) -> io::Result<()> {
    for stream in TcpListener::bind("0.0.0.0:7000")?.incoming() {
        let mut stream = stream?;
        std::thread::spawn(move || io::copy(&mut stream.try_clone()?, &mut stream));
    }
    Ok(())
}

async fn tokio_server(_: Env) -> io::Result<()> {
    let listener = tokio::net::TcpListener::bind("0.0.0.0:7000").await?;
    loop {
        let (mut stream, _) = listener.accept().await?;
        tokio::spawn(async move {
            let (mut reader, mut writer) = stream.split();
            tokio::io::copy(&mut reader, &mut writer).await
        });
    }
}

async fn smol_server(_: Env) -> io::Result<()> {
    let listener = smol::net::TcpListener::bind("0.0.0.0:7000").await?;
    loop {
        let (stream, _) = listener.accept().await?;
        smol::spawn(async move { smol::io::copy(stream.clone(), stream).await }).detach();
    }
}

fn same(sent: &[u8], got: &[u8]) -> Result<(), OpError> {
    if sent == got { Ok(()) } else { Err(io::Error::other(format!("sent {sent:?}, got {got:?}")).into()) }
}

fn std_client(env: Env) {
    env.drive_blocking(8, |op| -> Result<(), OpError> {
        let question = op.key().into_bytes();
        let mut stream = TcpStream::connect(SERVER)?;
        stream.write_all(&question)?;
        let mut answer = vec![0; question.len()];
        stream.read_exact(&mut answer)?;
        same(&question, &answer)
    });
}

async fn tokio_client(env: Env) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    env.drive(|op| async move {
        let question = op.key().into_bytes();
        let mut stream = tokio::net::TcpStream::connect(SERVER).await?;
        stream.write_all(&question).await?;
        let mut answer = vec![0; question.len()];
        stream.read_exact(&mut answer).await?;
        // Some of the work on tokio's pool for blocking calls.
        tokio::task::spawn_blocking(move || same(&question, &answer)).await?
    })
    .await;
}

async fn smol_client(env: Env) {
    use smol::io::{AsyncReadExt, AsyncWriteExt};
    env.drive(|op| async move {
        let question = op.key().into_bytes();
        let mut stream = smol::net::TcpStream::connect(SERVER).await?;
        stream.write_all(&question).await?;
        let mut answer = vec![0; question.len()];
        stream.read_exact(&mut answer).await?;
        smol::unblock(move || same(&question, &answer)).await
    })
    .await;
}

/// On tokio's current-thread runtime.
fn alone<F: Future>(main: impl Fn(Env) -> F + Send + Sync + 'static) -> Program {
    run_blocking(move |env| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(main(env));
    })
}

fn check(scenario: Scenario, client: Program, server: Program) {
    let runs = scenario.program("app", client).program("server", server).run();
    Scenario::assert_pass(&runs);
}

macro_rules! echo {
    () => {
        halfopen::scenario!("scenarios/echo.yaml")
    };
}

#[test]
fn std_threads() {
    check(echo!(), run_blocking(std_client), run_blocking(std_server));
}

#[test]
fn tokio_on_many_threads() {
    check(echo!(), run_async(tokio_client), run_async(tokio_server));
}

#[test]
fn tokio_on_one_thread() {
    check(echo!(), alone(tokio_client), alone(tokio_server));
}

#[test]
fn smol_with_raw_system_calls() {
    let smol = |env| smol::block_on(smol_client(env));
    check(echo!(), run_blocking(smol), run_blocking(|env| smol::block_on(smol_server(env))));
}

#[test]
fn each_speaks_with_the_others() {
    check(echo!(), run_async(tokio_client), run_blocking(|env| smol::block_on(smol_server(env))));
}

#[test]
fn an_executor_that_is_nobodys() {
    let client = run_blocking(|env: Env| {
        let env = Arc::new(env);
        futures_lite::future::block_on(smol_client((*env).clone()));
    });
    check(echo!(), client, run_blocking(std_server));
}
