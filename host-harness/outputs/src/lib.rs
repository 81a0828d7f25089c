//! The outputs: the [`Output`] trait, and the table of implementations.
//!
//! Each output is a module. To add one, write it and add a line to `OUTPUT_TYPES`.

#![cfg_attr(
    not(all(
        feature = "elasticsearch",
        feature = "forward",
        feature = "nats",
        feature = "otlp",
        feature = "splunk"
    )),
    allow(dead_code, reason = "shared code that only some of the outputs use")
)]

mod compress;
#[cfg(feature = "elasticsearch")]
mod elasticsearch;
#[cfg(any(feature = "elasticsearch", feature = "nats"))]
mod event_id;
mod file;
#[cfg(feature = "forward")]
mod forward;
#[cfg(feature = "http")]
mod http;
#[cfg(feature = "nats")]
mod nats;
#[cfg(feature = "nats")]
mod nats_connection;
#[cfg(feature = "otlp")]
mod otlp;
mod outputs;
mod parts;
mod reason;
mod rotate;
#[cfg(feature = "splunk")]
mod splunk;
mod statistics;
mod stdout;
mod template;
#[cfg(feature = "receiver")]
mod tls;
mod worker_pool;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use source_common::exit::Failure;
use source_common::section::Section;
use source_common::suggestion::nearest;

pub use self::file::Appender;
#[cfg(feature = "nats")]
pub use self::nats_connection::NatsConnectionSettings;
pub use self::outputs::Outputs;
pub use self::reason::Reason;
pub use self::statistics::OutputStatus;
pub use self::stdout::ndjson_output;
pub use self::template::{PATTERN_WILDCARD, PathTemplate};
pub use source_common::delivery::{
    Delivery, DeliveryError, Entry, Event, Kind, UndeliverableEvent,
};

/// The output types, by their name in the setting `type`.
const OUTPUT_TYPES: &[(&str, ParseConfig)] = &[
    #[cfg(feature = "elasticsearch")]
    ("elasticsearch", elasticsearch::parse),
    ("file", file::parse),
    #[cfg(feature = "forward")]
    ("forward", forward::parse),
    #[cfg(feature = "http")]
    ("http", http::parse),
    #[cfg(feature = "nats")]
    ("nats", nats::parse),
    #[cfg(feature = "otlp")]
    ("otlp", otlp::parse),
    #[cfg(feature = "splunk")]
    ("splunk", splunk::parse),
    ("stdout", stdout::parse),
];

type ParseConfig = fn(Section<'_>) -> Result<Box<dyn OutputConfig>, Failure>;

/// A destination for events.
///
/// An output that has returned `Ok` from [`Output::accept`] has taken the
/// events for good: the position of the source moves after that.
#[async_trait]
pub trait Output: Send {
    /// Returns a name for logs: the type and the destination, such as `stdout` or
    /// `file /var/log/events.ndjson`.
    fn name(&self) -> &str;

    /// Durably accepts every event of a delivery, or returns why not.
    ///
    /// The future may be dropped at any await point, when the host has to
    /// stop; the next run repeats the delivery.
    async fn accept(&mut self, delivery: &Delivery<'_>) -> Result<(), OutputError>;

    /// Makes [`Self::accept`] return the events of a delivery as undeliverable from now on, even if the
    /// receiver refuses every one of them, instead of blocking: for records that can be stored elsewhere.
    fn disable_blocking_on_refusal(&mut self) {}

    /// Flushes and closes the output. Nothing may be accepted after it.
    async fn close(&mut self) -> Result<(), OutputError>;
}

/// The validated configuration of an output that is not yet open.
#[async_trait]
pub trait OutputConfig: fmt::Debug + Send + Sync {
    /// Opens the output. An error ends the host before anything is collected.
    async fn open(&self) -> Result<Box<dyn Output>, Failure>;

    /// Tests whether the output can be opened and its receiver reached. This
    /// delivers nothing, changes nothing, and may be done while another
    /// process delivers to it. Returns the output's name.
    async fn test(&self) -> Result<String, OutputError>;

    /// Returns whether it writes to standard output, which only one output may.
    fn is_stdout(&self) -> bool {
        false
    }

    /// Returns the path of the file or files that it writes to, which nothing else may write to.
    fn file(&self) -> Option<&PathTemplate> {
        None
    }

    /// Checks the files and directories that the settings name, without the network. The error is
    /// a clause that begins with the setting.
    fn check_files(&self) -> Result<(), String> {
        Ok(())
    }
}

/// Why an output has not accepted a delivery; determines what the host does next.
#[derive(Debug)]
pub enum OutputError {
    /// Standard output is closed. The host stops; the position does not move.
    Closed,
    /// The receiver refuses until an operator changes something there or in
    /// the settings: credentials, the endpoint, every event. The host keeps
    /// the events, reports the output as blocked and retries with backoff.
    ActionRequired(Reason),
    /// These events can never be accepted; `index` is that in the delivery. Every
    /// other event of the delivery has been accepted. The host stores them with
    /// the rejected records and continues.
    Undeliverable(Vec<UndeliverableEvent>),
    /// As `Retry`, but some events were accepted or refused for good, so that
    /// the backoff is reset.
    RetryAfterProgress(Reason),
    /// The host repeats the delivery after a while. Its source fetches at most one
    /// batch ahead meanwhile.
    Retry(Reason),
    /// As `Retry`, with a minimum wait that the receiver asked for.
    Throttled {
        /// The reason the receiver gave.
        reason: Reason,
        /// The minimum wait.
        wait: Duration,
    },
}

impl fmt::Display for OutputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the other end is closed"),
            Self::ActionRequired(reason)
            | Self::RetryAfterProgress(reason)
            | Self::Retry(reason)
            | Self::Throttled { reason, .. } => f.write_str(reason),
            Self::Undeliverable(events) => {
                write!(f, "{} events can never be accepted", events.len())
            }
        }
    }
}

impl std::error::Error for OutputError {}

/// Parses one `[[output]]`.
pub fn parse_output(mut section: Section<'_>) -> Result<Box<dyn OutputConfig>, Failure> {
    let output_type = section.required_string("type")?;
    let names: Vec<&str> = OUTPUT_TYPES.iter().map(|(name, _)| *name).collect();
    match OUTPUT_TYPES.iter().find(|(name, _)| *name == output_type) {
        Some((_, parse)) => parse(section),
        None => {
            let reason = match nearest(&output_type, names.iter().copied()) {
                Some(meant) => format!("is `{output_type}`; did you mean `{meant}`?"),
                None => format!(
                    "is `{output_type}`; it must be one of: {}",
                    names.join(", ")
                ),
            };
            Err(section.error("type", &reason))
        }
    }
}
