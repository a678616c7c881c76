//! The run's event sink: fingerprint, log, capture and record in one pass.

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use halfopen_core::event::{Event, EventSink};
use halfopen_core::{HostId, SimTime};

use crate::capture::Capture;
use crate::fingerprint::Fingerprint;
use crate::fold::Fold;
use crate::log::{self, LogFilter};
use crate::summary::Summary;

/// The most events that one run may have. Beyond it nothing is recorded and the run is an error: at some 100 bytes of
/// record for the busiest kinds, this is what a machine with 8 GB bears.
pub const EVENTS_MAX: u64 = 50_000_000;

/// What a recorder writes beside the record itself.
#[derive(Default)]
pub struct Config {
    /// The names of ops whose work an upstream reports as [`Event::Effect`]. Names for which an effect was seen need
    /// not be listed; this is for the run in which *all* of them are lost.
    pub effectful: BTreeSet<String>,
    /// Where the event log goes as text, and which of its events.
    pub log: Option<(LogFilter, Box<dyn Write + Send>)>,
    /// Where packets go.
    pub capture: Option<Capture>,
    /// A lower cap than [`EVENTS_MAX`].
    pub events_max: Option<u64>,
}

/// Takes the events of one run. See the crate's own description.
pub struct Recorder {
    fold: Fold,
    fingerprint: Fingerprint,
    log: Option<(LogFilter, Box<dyn Write + Send>)>,
    capture: Option<Capture>,
    events: u64,
    events_max: u64,
}

impl Recorder {
    /// A recorder for a run that begins.
    pub fn new(config: Config) -> Recorder {
        let Config { effectful, log, capture, events_max } = config;
        Recorder {
            fold: Fold::new(&effectful),
            fingerprint: Fingerprint::new(),
            log,
            capture,
            events: 0,
            events_max: events_max.unwrap_or(EVENTS_MAX).min(EVENTS_MAX),
        }
    }

    /// Events so far.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Whether the cap is reached: the run may as well be stopped.
    pub fn is_full(&self) -> bool {
        self.events > self.events_max
    }

    /// The run is over, or will not go on.
    pub fn finish(mut self) -> Summary {
        if let Some((_, writer)) = &mut self.log
            && let Err(error) = writer.flush()
        {
            self.fold.note(format!("the log could not be written: {error}"));
        }
        if let Some(error) = self.capture.and_then(|capture| capture.finish().err()) {
            self.fold.note(format!("the capture could not be written: {error}"));
        }
        let limit = (self.events > self.events_max).then(|| {
            let shown = self.events_max;
            format!("the run has more than {shown} events; shorten the load or the run (the cap is EVENTS_MAX)")
        });
        Summary::new(self.fold, self.fingerprint.digest(), limit)
    }
}

impl EventSink for Recorder {
    fn event(&mut self, at: SimTime, event: &Event) {
        if self.is_full() {
            return;
        }
        self.events += 1;
        if self.is_full() {
            return;
        }
        self.fingerprint.update(at, event);
        self.fold.event(at, event);
        if let Some(capture) = &mut self.capture
            && let Event::HostDeclared { host, name, addresses: _, upstream: _ } = event
        {
            capture.declare(*host, name);
        }
        let Some((filter, writer)) = &mut self.log else { return };
        if filter.wants(event, &|host| self.fold.host_name(host))
            && let Err(error) = writeln!(writer, "{at}  {}", log::line(event, &|host| self.fold.host_name(host)))
        {
            self.fold.note(format!("the log could not be written: {error}"));
            self.log = None;
        }
    }

    fn wants_packets(&self) -> bool {
        self.capture.is_some()
    }

    fn packet(&mut self, at: SimTime, host: HostId, bytes: &[u8]) {
        if let Some(capture) = &mut self.capture {
            capture.packet(at, host, bytes);
        }
    }
}

/// A recorder that can be given to a run and still be asked afterwards: clones share it. In a run one thread at a time
/// records, so that the lock is never waited for.
#[derive(Clone)]
pub struct SharedRecorder {
    recorder: Arc<Mutex<Option<Recorder>>>,
    /// What [`EventSink::wants_packets`] says: asked for every packet, so that it takes no lock.
    captures: bool,
}

impl SharedRecorder {
    /// Shares this recorder.
    pub fn new(recorder: Recorder) -> SharedRecorder {
        SharedRecorder { captures: recorder.wants_packets(), recorder: Arc::new(Mutex::new(Some(recorder))) }
    }

    /// The summary of what was recorded; `None` if it was taken before. Later events are forgotten.
    pub fn finish(&self) -> Option<Summary> {
        self.with(Option::take).map(Recorder::finish)
    }

    /// Whether the cap on events is reached.
    pub fn is_full(&self) -> bool {
        self.with(|recorder| recorder.as_ref().is_some_and(Recorder::is_full))
    }

    fn with<T>(&self, action: impl FnOnce(&mut Option<Recorder>) -> T) -> T {
        action(&mut self.recorder.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl EventSink for SharedRecorder {
    fn is_full(&self) -> bool {
        SharedRecorder::is_full(self)
    }

    fn event(&mut self, at: SimTime, event: &Event) {
        self.with(|recorder| recorder.as_mut().map(|recorder| recorder.event(at, event)));
    }

    fn wants_packets(&self) -> bool {
        self.captures
    }

    fn packet(&mut self, at: SimTime, host: HostId, bytes: &[u8]) {
        self.with(|recorder| recorder.as_mut().map(|recorder| recorder.packet(at, host, bytes)));
    }
}
