//! `tracing` events of simulated programs, into the event log.

use std::fmt::{self, Write};

use halfopen_core::Event;
use halfopen_interpose::{current_host, with_kernel};
use halfopen_record::log::LogFilter;
use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::{EnvFilter, Registry};

/// Puts what `filter` selects of `tracing`'s events into the event log, from now on, for this process.
///
/// # Errors
/// If a target of the filter cannot be read; says why.
pub(crate) fn install(filter: &LogFilter) -> Result<(), String> {
    let terms: Vec<String> = filter
        .levels()
        .map(|(target, level)| if target.is_empty() { level.to_owned() } else { format!("{target}={level}") })
        .collect();
    if terms.is_empty() {
        return Ok(());
    }
    let terms = terms.join(",");
    let filter = terms.parse::<EnvFilter>().map_err(|error| format!("--log {terms}: {error}"))?;
    let subscriber = Registry::default().with(filter).with(IntoLog);
    tracing::subscriber::set_global_default(subscriber).map_err(|error| error.to_string())
}

struct IntoLog;

impl<S: tracing::Subscriber> Layer<S> for IntoLog {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let Some(host) = current_host() else { return };
        let mut line = Line::default();
        event.record(&mut line);
        let metadata = event.metadata();
        let level = metadata.level().as_str();
        let target = metadata.target().to_owned();
        with_kernel(|kernel| kernel.emit(Event::Log { host, level, target, message: line.0 }));
    }
}

/// An event's fields on one line, the message first.
#[derive(Default)]
struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a String cannot fail.
        if field.name() == "message" {
            let rest = std::mem::take(&mut self.0);
            let _ = write!(self.0, "{value:?}{rest}");
        } else {
            let _ = write!(self.0, " {}={value:?}", field.name());
        }
    }
}
