//! The client under a blip, against a little server of its own.
use std::io::{BufRead, BufReader, Write};
use std::time::Duration;

use halfopen::{Client, Env};

/// Answers every line with itself.
#[halfopen::client("echo", upstream)]
fn echo(env: Env) -> std::io::Result<()> {
    for stream in std::net::TcpListener::bind("0.0.0.0:7000")?.incoming() {
        let (mut stream, attempt) = (stream?, env.attempt(None));
        std::thread::spawn(move || {
            let mut line = String::new();
            BufReader::new(stream.try_clone()?).read_line(&mut line)?;
            attempt.succeed();
            stream.write_all(line.as_bytes())
        });
    }
    Ok(())
}

fn servers() -> Vec<Client> {
    vec![echo()]
}

#[halfopen::test("scenarios/blip.yaml", host = "app", clients = servers)]
fn survives_a_blip(env: Env) {
    env.drive_blocking(4, |op| own_client::ask("server:7000", &op.key(), Duration::from_millis(500), 5));
}
