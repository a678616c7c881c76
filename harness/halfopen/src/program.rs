//! What a host runs: an ordinary function of an [`Env`], blocking or async.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use halfopen_scenario::registry::Registration;

use crate::env::Env;
use crate::op::OpError;

/// What a host runs. Called anew at each start of the host; says why it failed, if it did.
#[derive(Clone)]
pub struct Program(Arc<dyn Fn(Env) -> Result<(), String> + Send + Sync>);

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Program")
    }
}

impl Program {
    pub(crate) fn call(&self, env: Env) -> Result<(), String> {
        (self.0)(env)
    }
}

/// What a program may return: nothing, or a result.
pub trait Returned {
    /// Why it failed, if it did.
    fn failure(self) -> Option<String>;
}

impl Returned for () {
    fn failure(self) -> Option<String> {
        None
    }
}

impl<T, E: Into<OpError>> Returned for Result<T, E> {
    fn failure(self) -> Option<String> {
        self.err().map(|error| error.into().to_string())
    }
}

fn program<R: Returned>(run: impl Fn(Env) -> Result<R, String> + Send + Sync + 'static) -> Program {
    Program(Arc::new(move |env| match run(env)?.failure() {
        None => Ok(()),
        Some(reason) => Err(reason),
    }))
}

/// A program that is a plain function. It may start threads and runtimes of its own, as any program may.
pub fn run_blocking<R: Returned + 'static>(main: impl Fn(Env) -> R + Send + Sync + 'static) -> Program {
    program(move |env| Ok(main(env)))
}

/// A program that is an async function: runs on tokio's multi-threaded runtime, as under `#[tokio::main]`.
pub fn run_async<F>(main: impl Fn(Env) -> F + Send + Sync + 'static) -> Program
where
    F: Future,
    F::Output: Returned + 'static,
{
    program(move |env| {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(|error| format!("no runtime: {error}"))?;
        Ok(runtime.block_on(main(env)))
    })
}

/// A client or an upstream that scenarios can name in `run:`.
#[derive(Clone, Debug)]
pub struct Client {
    /// Its name, its ops and its parameters.
    pub registration: Registration,
    /// What it runs.
    pub program: Program,
}

impl Client {
    /// Puts the two together. Usually `#[halfopen::client]` does it.
    pub fn new(registration: Registration, program: Program) -> Client {
        Client { registration, program }
    }
}
