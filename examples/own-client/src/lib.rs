//! A little client of a little protocol: one line there, one line back. It knows nothing of halfopen.

use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Asks `server` and tries again, `tries` times in all, each within `patience`.
pub fn ask(server: &str, question: &str, patience: Duration, tries: u32) -> io::Result<String> {
    let mut result = ask_once(server, question, patience);
    for _ in 1..tries {
        if result.is_ok() {
            break;
        }
        result = ask_once(server, question, patience);
    }
    result
}

fn ask_once(server: &str, question: &str, patience: Duration) -> io::Result<String> {
    let mut stream = TcpStream::connect(server)?;
    stream.set_read_timeout(Some(patience))?;
    writeln!(stream, "{question}")?;
    let mut answer = String::new();
    match BufReader::new(stream).read_line(&mut answer)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(answer.trim_end().to_owned()),
    }
}
