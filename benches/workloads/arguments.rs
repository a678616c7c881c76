//! What the binaries of the peers take: the name of a work, and figures as `key=value`.

use std::collections::BTreeMap;

/// The arguments of this process.
#[derive(Clone, Debug)]
pub struct Arguments {
    /// The name of the work.
    pub work: String,
    figures: BTreeMap<String, u64>,
}

impl Arguments {
    /// Reads them.
    ///
    /// # Panics
    /// If there is no work, or a figure that is none.
    pub fn read() -> Arguments {
        let mut words = std::env::args().skip(1);
        let work = words.next().expect("the name of a work, then key=value ...");
        let figure = |word: String| {
            let (key, value) = word.split_once('=').expect("key=value");
            (key.to_owned(), value.parse().expect("a whole number"))
        };
        Arguments { work, figures: words.map(figure).collect() }
    }

    /// The figure of this name.
    ///
    /// # Panics
    /// If it was not given.
    pub fn figure(&self, name: &str) -> u64 {
        *self.figures.get(name).unwrap_or_else(|| panic!("`{}` needs {name}=N", self.work))
    }
}

/// Prints what a peer says of a run, as one line of JSON: how long the slowest client took by its own clock, and how long
/// the run took in real time, without what comes before it in its process.
pub fn report(client: std::time::Duration, run: std::time::Duration) {
    println!(r#"{{"client_s":{:.9},"run_s":{:.9}}}"#, client.as_secs_f64(), run.as_secs_f64());
}
