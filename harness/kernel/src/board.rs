//! The board: named values that the timeline posts and the programs of halfopen itself (upstreams, the DNS server)
//! read and wait for.

use std::collections::BTreeMap;
use std::task::Poll;

use crate::scheduler::{WaitFor, WaitKey};
use crate::{Call, Kernel, Outcome};

#[derive(Debug)]
struct Entry {
    key: String,
    /// How often it was posted.
    version: u64,
    value: String,
}

/// All entries, numbered in the order in which somebody first named them.
#[derive(Debug, Default)]
pub(crate) struct Board {
    entries: Vec<Entry>,
    numbers: BTreeMap<String, usize>,
}

impl Board {
    fn number(&mut self, key: &str) -> usize {
        if let Some(number) = self.numbers.get(key) {
            return *number;
        }
        let number = self.entries.len();
        self.entries.push(Entry { key: key.to_owned(), version: 0, value: String::new() });
        self.numbers.insert(key.to_owned(), number);
        number
    }

    pub(crate) fn key(&self, number: usize) -> &str {
        &self.entries[number].key
    }
}

impl Kernel {
    /// An entry of the board: how often it was posted, and its value (`None` if never).
    pub fn board(&self, key: &str) -> (u64, Option<String>) {
        match self.board.numbers.get(key).map(|number| &self.board.entries[*number]) {
            Some(entry) if entry.version > 0 => (entry.version, Some(entry.value.clone())),
            _ => (0, None),
        }
    }

    /// Posts a value: whoever waits for the entry looks again.
    pub fn post(&mut self, key: &str, value: String) {
        let number = self.board.number(key);
        let entry = &mut self.board.entries[number];
        entry.version += 1;
        entry.value = value;
        self.wake_all(WaitKey::Board(number));
    }

    /// Waits until the entry is newer than `seen` (0: never seen).
    ///
    /// # Errors
    /// None.
    pub fn board_wait(&mut self, key: &str, seen: u64, call: &mut Call) -> Outcome<(u64, String)> {
        self.count_call();
        let number = self.board.number(key);
        let entry = &self.board.entries[number];
        if entry.version > seen {
            return Poll::Ready(Ok((entry.version, entry.value.clone())));
        }
        self.block(call, &[WaitKey::Board(number)], WaitFor::Board(number))
    }
}
