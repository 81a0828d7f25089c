//! Where events go: the contract of an output, and the table of those there
//! are.
//!
//! One output, one file. To add one, write its file and add a line to
//! `KINDS`.

mod compress;
mod elasticsearch;
mod event_id;
mod file;
mod forward;
mod http;
mod lanes;
mod nats;
mod otlp;
mod outputs;
mod parts;
mod rotate;
mod splunk;
mod stdout;
mod template;
mod tls;

use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;

use crate::bindings::{Entry, Kind};
use crate::exit::Failure;
use crate::settings::{Section, nearest};

pub(crate) use self::file::{Appender, blocking};
pub use self::outputs::{Outputs, Undelivered};
pub use self::stdout::lines;

/// The outputs there are, by the name that `type` has in the settings file.
const KINDS: [(&str, Planner); 8] = [
    ("elasticsearch", elasticsearch::plan),
    ("file", file::plan),
    ("forward", forward::plan),
    ("http", http::plan),
    ("nats", nats::plan),
    ("otlp", otlp::plan),
    ("splunk", splunk::plan),
    ("stdout", stdout::plan),
];

type Planner = fn(Section<'_>) -> Result<Box<dyn Plan>, Failure>;

/// Somewhere that events are delivered to.
///
/// An output that has returned `Ok` from [`Output::accept`] has taken the
/// events for good: the position of the source moves after that.
#[async_trait]
pub trait Output: Send {
    /// A name for logs, such as `stdout` or `file /var/log/events.ndjson`.
    fn name(&self) -> &str;

    /// Takes every event of a delivery, durably, or returns why not.
    ///
    /// The future may be dropped at any await point, when the host has to
    /// stop; the delivery is then repeated by the next run.
    async fn accept(&mut self, delivery: &Delivery<'_>) -> Result<(), OutputError>;

    /// Flush and let go. Nothing is accepted after it.
    async fn close(&mut self) -> Result<(), OutputError>;
}

/// An output as the settings file describes it: checked, not yet opened.
#[async_trait]
pub trait Plan: fmt::Debug + Send + Sync {
    /// Opens it. An error ends the host before anything is collected.
    async fn open(&self) -> Result<Box<dyn Output>, Failure>;

    /// Find out whether it can be opened and its receiver be reached. This
    /// delivers nothing, changes nothing, and may be done while another
    /// process delivers to it. Returns its name.
    async fn test(&self) -> Result<String, OutputError>;

    /// Whether it writes to standard output, which only one may.
    fn is_stdout(&self) -> bool {
        false
    }

    /// The file that it writes to, which nothing else may write to.
    fn file(&self) -> Option<&Path> {
        None
    }
}

/// The events of one batch of one source.
#[derive(Clone, Copy, Debug)]
pub struct Delivery<'a> {
    /// The name of the source.
    pub source: &'a str,
    /// One JSON object a line, each line ended by `\n`; never empty.
    pub events: &'a str,
    /// One entry for each line, in the same order.
    pub index: &'a [Entry],
    /// What `Entry::kind` points to.
    pub kinds: &'a [Kind],
}

/// One event of a delivery.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// The JSON object, without its `\n`.
    pub body: &'a str,
    /// When it happened, in milliseconds since the epoch.
    pub occurred_at: i64,
    /// Its kind, such as `siem.receipt`; empty where the component named none.
    pub kind: &'a str,
    /// The stream it comes from.
    pub stream: &'a str,
}

impl<'a> Delivery<'a> {
    /// The events one by one.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Event<'a>> + use<'a> {
        let delivery = *self;
        let mut begin = 0;
        self.index.iter().map(move |entry| {
            let range = begin..to_usize(entry.end);
            begin = range.end;
            delivery.event(entry, range)
        })
    }

    /// The text of the events in a range of the index, each with its `\n`.
    #[must_use]
    pub fn text(&self, entries: Range<usize>) -> &'a str {
        let offset = |count: usize| match count.checked_sub(1) {
            None => 0,
            Some(last) => self
                .index
                .get(last)
                .map_or(self.events.len(), |entry| to_usize(entry.end)),
        };
        self.events
            .get(offset(entries.start)..offset(entries.end))
            .unwrap_or_default()
    }

    fn event(&self, entry: &Entry, range: Range<usize>) -> Event<'a> {
        let line = self.events.get(range).unwrap_or_default();
        let kind = self.kinds.get(usize::from(entry.kind));
        Event {
            body: line.strip_suffix('\n').unwrap_or(line),
            occurred_at: entry.occurred_at,
            kind: kind.map_or("", |kind| kind.name.as_str()),
            stream: kind.map_or("", |kind| kind.stream.as_str()),
        }
    }
}

/// Why an output has not accepted a delivery, by what the host does next.
#[derive(Debug)]
pub enum OutputError {
    /// Standard output is closed. The host stops; the position does not move.
    Closed,
    /// The receiver refuses until an operator changes something there or in
    /// the settings: credentials, the endpoint, every event. The host keeps
    /// the events, reports the output as blocked and retries with backoff.
    Blocked(String),
    /// These events can never be accepted, by their place in the index. Every
    /// other event of the delivery has been accepted. The host keeps them with
    /// the rejected records and goes on.
    Poison(Vec<Poison>),
    /// As `Retry`, and this try has made some progress: there is no reason to
    /// wait longer than after a first failure.
    Partly(String),
    /// The host repeats the delivery after a while and fetches nothing
    /// meanwhile.
    Retry(String),
    /// As `Retry`, and the other end has said how long to wait at least.
    Throttled {
        /// What it said.
        reason: String,
        /// How long it wants to be left alone.
        wait: Duration,
    },
}

/// An event that an output can never accept.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Poison {
    /// Its place in the index of the delivery.
    pub event: usize,
    /// Why not.
    pub reason: String,
}

impl fmt::Display for OutputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the other end is closed"),
            Self::Blocked(reason)
            | Self::Partly(reason)
            | Self::Retry(reason)
            | Self::Throttled { reason, .. } => f.write_str(reason),
            Self::Poison(events) => write!(f, "{} events can never be accepted", events.len()),
        }
    }
}

impl std::error::Error for OutputError {}

/// Understand one `[[output]]`.
pub fn plan(mut section: Section<'_>) -> Result<Box<dyn Plan>, Failure> {
    let kind = section.required_string("type")?;
    let names = KINDS.map(|(name, _)| name);
    match KINDS.iter().find(|(name, _)| *name == kind) {
        Some((_, planner)) => planner(section),
        None => {
            let reason = match nearest(&kind, names) {
                Some(meant) => format!("is `{kind}`; did you mean `{meant}`?"),
                None => format!("is `{kind}`; it must be one of: {}", names.join(", ")),
            };
            Err(section.error("type", &reason))
        }
    }
}

/// A `u32` always fits where this program runs.
pub(crate) fn to_usize(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_knows_its_events_and_their_text() {
        let kinds = [Kind {
            name: "siem.receipt".to_owned(),
            stream: "siem".to_owned(),
        }];
        let entry = |end, kind| Entry {
            end,
            occurred_at: 7,
            kind,
        };
        let index = [entry(3, 0), entry(8, 9)];
        let delivery = Delivery {
            source: "acme",
            events: "{}\n{\"a\"\n",
            index: &index,
            kinds: &kinds,
        };
        let bodies: Vec<_> = delivery
            .iter()
            .map(|event| (event.body, event.kind))
            .collect();
        assert_eq!(bodies, [("{}", "siem.receipt"), ("{\"a\"", "")]);
        assert_eq!(delivery.text(0..1), "{}\n");
        assert_eq!(delivery.text(1..2), "{\"a\"\n");
        assert_eq!(delivery.text(0..2), delivery.events);
        assert_eq!(delivery.text(1..1), "");
    }
}
