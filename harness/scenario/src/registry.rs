//! What a scenario's `run:` can name: the registered clients under test and upstreams, each with its ops and its
//! settings (`with:`). The checks, `halfopen list` and the JSON Schema all read the same tables.

/// Which side of the conversation a registration plays.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A client under test: the load gives it ops.
    Client,
    /// What clients talk to: servers, and relays in the middle.
    Upstream,
}

/// One kind of work that the load can ask a client for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OpSpec {
    /// The name in `load: { op: ... }`.
    pub name: &'static str,
    /// What it does, in one sentence.
    pub doc: &'static str,
    /// Whether the upstream tells when it has done it (`Env::effect`), so that an op reported as done which the
    /// upstream never did is found out.
    pub effect: bool,
}

/// What a setting's value looks like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ParamKind {
    /// A span of time: `2s`, `150ms`.
    Duration,
    /// A span of time, or `none`.
    OptionalDuration,
    /// A whole number from 0 up.
    Count,
    /// A whole number from 0 up, or `none`.
    OptionalCount,
    /// A part of a whole: `10%`, `0.1`.
    Share,
    /// `true` or `false`.
    Bool,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Events in a time: `20/s`, `3/min`.
    Rate,
    /// Bytes: `64KiB`, `1500B`.
    Size,
    /// Any text.
    Text,
    /// A URL with a scheme and a host.
    Url,
    /// How long something takes: `5ms`, `{ uniform: 2ms..8ms }`, `{ lognormal: { median: 5ms, p99: 50ms } }`, ...
    Distribution,
}

/// One setting of a registration.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Param {
    /// The key in `with:`.
    pub name: &'static str,
    /// What its value looks like.
    pub kind: ParamKind,
    /// The value where the scenario gives none, written as in YAML (a text setting's default is taken as it stands).
    pub default: &'static str,
    /// What it does, in one sentence.
    pub doc: &'static str,
}

/// One client under test or upstream that a scenario can name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Registration {
    /// The name in `run:`, for example `http/reqwest`.
    pub name: &'static str,
    /// What it is, in one sentence.
    pub summary: &'static str,
    /// Which side it plays.
    pub kind: Kind,
    /// The ops it can do; empty for an upstream.
    pub ops: &'static [OpSpec],
    /// Its settings.
    pub params: &'static [Param],
}

impl Registration {
    /// Its setting with this name.
    pub fn param(&self, name: &str) -> Option<&'static Param> {
        self.params.iter().find(|param| param.name == name)
    }
}

/// Everything that `run:` can name, in the order of registration.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Registry {
    entries: Vec<Registration>,
}

impl Registry {
    /// A registry with nothing in it.
    pub fn new() -> Registry {
        Registry::default()
    }

    /// Adds one.
    ///
    /// # Panics
    /// If the name is taken, or a default does not fit its setting: both are mistakes in a program, not in a scenario.
    pub fn add(&mut self, registration: Registration) {
        assert!(self.find(registration.name).is_none(), "`{}` is registered twice", registration.name);
        for param in registration.params {
            if let Err(reason) = crate::value::default_of(param) {
                panic!("default of `{}` in `{}`: {reason}", param.name, registration.name);
            }
        }
        self.entries.push(registration);
    }

    /// The one with this name.
    pub fn find(&self, name: &str) -> Option<&Registration> {
        self.entries.iter().find(|entry| entry.name == name)
    }

    /// All of them, in the order of registration.
    pub fn iter(&self) -> impl Iterator<Item = &Registration> {
        self.entries.iter()
    }
}

impl FromIterator<Registration> for Registry {
    fn from_iter<I: IntoIterator<Item = Registration>>(registrations: I) -> Registry {
        let mut registry = Registry::new();
        registrations.into_iter().for_each(|registration| registry.add(registration));
        registry
    }
}
