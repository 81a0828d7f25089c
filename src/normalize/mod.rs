//! Normalizes records to events: the tables, and the engine that executes them.

mod address;
mod address_lists;
pub mod attack;
mod audit;
mod audit_people;
mod compound;
mod convert;
mod distinct;
pub mod ecs;
pub mod field_reference;
mod files;
mod mapping;
mod message_parts;
mod objects;
mod observables;
pub mod ocsf;
mod prose;
pub mod severity;
mod stix;
pub mod table;
mod unmapped;
mod url;
pub mod values;
mod writer;

use crate::field::{self, FieldName};
use core::cell::OnceCell;

use mapping::{CompiledMapping, StreamOptions, all_hold};
use severity::Severities;
use table::Test;
use writer::{Buffers, CollectionTime, EventWriter};

use crate::decode::unescape::unescape_into;
use crate::encode::escape_line_breaks;
use crate::encode::{push_quoted, push_single_line};
use crate::identity::EventId;
use crate::record::{Record, Rewriter};
use crate::stream::{STREAMS, Stream};
use crate::time::Timestamp;

/// The format of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Elastic Common Schema 9.4.0, nested objects.
    Ecs,
    /// OCSF 1.8.0.
    Ocsf,
    /// The upstream record, untouched, in an envelope.
    Raw,
}

impl Format {
    /// Returns the format of that name, as settings have it.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "ecs" => Some(Self::Ecs),
            "ocsf" => Some(Self::Ocsf),
            "raw" => Some(Self::Raw),
            _ => None,
        }
    }
}

/// What to put into an event beside the mapped fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Put the text of the record into `event.original` or `raw_data`.
    pub include_original: bool,
    /// Name the MITRE ATT&CK techniques that the record shows.
    pub attack: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            include_original: false,
            attack: true,
        }
    }
}

/// A record before members were added to it, and what had to be repaired in it.
#[derive(Clone, Copy, Debug)]
pub struct OriginalRecord<'a> {
    /// The record, after its repair if it needed one, for `event.original` or `raw_data`.
    pub text: &'a str,
    /// The names of the fields that had to be repaired to be read, as they stand in the record.
    pub repaired: &'a [&'a str],
}

/// Writes events: the tables of one format, compiled, and buffers that are used again.
pub struct Normalizer {
    options: Options,
    /// The name of the tenant as a JSON string.
    tenant_json: Option<String>,
    tables: CompiledTables,
    buffers: Buffers,
    collected: CollectionTime,
    /// Parses records again whose escapes are not those that the tables expect.
    rewriter: Rewriter,
}

/// The tables of one format.
struct CompiledTables {
    format: Format,
    severities: Severities,
    attack: bool,
    /// By the index of the stream; compiled when its first record comes.
    streams: [OnceCell<StreamMappings>; STREAMS.len()],
}

/// The mappings of one stream, and the fields that have the time of its records.
struct StreamMappings {
    /// The fields that may have the time; the first that can be read counts.
    time_fields: &'static [FieldName],
    /// The first whose conditions hold counts. Empty for formats that have no tables.
    choices: Vec<ConditionalMapping>,
}

/// A mapping, and the tests that select its records.
struct ConditionalMapping {
    when: &'static [Test],
    mapping: CompiledMapping,
}

/// The years in which events can have happened. Anything else is a mistake of a clock or of a
/// unit, and stores refuse it.
const PLAUSIBLE_TIME_MS: core::ops::Range<i64> = 946_684_800_000..4_102_444_800_000;

impl Normalizer {
    /// Creates a normalizer for one format.
    #[must_use]
    pub fn new(format: Format, options: Options) -> Self {
        Self::with_severities(format, options, &Severities::default())
    }

    /// Creates a normalizer whose events have other severities than those of the tables.
    #[must_use]
    pub fn with_severities(format: Format, options: Options, severities: &Severities) -> Self {
        Self {
            options,
            tenant_json: None,
            tables: CompiledTables {
                format,
                severities: severities.clone(),
                attack: options.attack,
                streams: [const { OnceCell::new() }; STREAMS.len()],
            },
            buffers: Buffers::default(),
            collected: CollectionTime::default(),
            rewriter: Rewriter::default(),
        }
    }

    /// Puts the name of the tenant into every event.
    #[must_use]
    pub fn with_tenant(mut self, tenant: Option<&str>) -> Self {
        self.tenant_json = tenant.map(|name| {
            let mut quoted = String::new();
            push_quoted(&mut quoted, name);
            // Escaped here, since an event is searched for line breaks only where the text of its record
            // is not plain ASCII.
            escape_line_breaks(&mut quoted, 0);
            quoted
        });
        self
    }

    /// Appends one event as one line that ends in `\n`, and returns when it happened: `now` where
    /// the record has no time that can be read.
    pub fn write(
        &mut self,
        record: &Record<'_>,
        id: &EventId,
        now: Timestamp,
        out: &mut String,
    ) -> Timestamp {
        let original = OriginalRecord {
            text: record.text(),
            repaired: &[],
        };
        self.write_with_original(&original, record, id, now, out)
    }

    /// Writes like [`Self::write`], for a record whose text differs from what the upstream sent.
    pub fn write_with_original(
        &mut self,
        original: &OriginalRecord<'_>,
        record: &Record<'_>,
        id: &EventId,
        now: Timestamp,
        out: &mut String,
    ) -> Timestamp {
        self.collected.set(now);
        self.buffers.prose_cache.clear();
        let parsed_record = record;
        let simplified = match self.tables.format {
            Format::Ecs | Format::Ocsf => self.rewriter.without_needless_escapes(parsed_record),
            Format::Raw => None,
        };
        let record = simplified.as_ref().unwrap_or(parsed_record);
        let mappings = self.tables.of(record.stream());
        let (time_field, occurred) = match mappings.and_then(|mappings| mappings.event_time(record))
        {
            Some((name, time)) => (Some(name), time),
            None => (None, now),
        };
        let choice = mappings.and_then(|mappings| {
            let mut choices = mappings.choices.iter();
            choices.find(|choice| all_hold(choice.when, record, &mut self.buffers.prose_cache))
        });
        let Some(ConditionalMapping { mapping, .. }) = choice else {
            write_raw(
                parsed_record,
                id,
                occurred,
                self.tenant_json.as_deref(),
                out,
            );
            return occurred;
        };
        let start = out.len();
        let original_text = self.options.include_original.then_some(original.text);
        let mut writer = EventWriter::new(
            mapping,
            original_text,
            *record,
            (id, occurred, &self.collected),
            out,
            &mut self.buffers,
        );
        writer.repaired = original.repaired;
        writer.unreadable_time = match time_field {
            Some(_) => None,
            // A record that the collector itself writes about a message that is gone has no time.
            None if record.stream() == Stream::HeldMessages
                && record.get(field::EVENT).is_some() =>
            {
                None
            }
            None => record.stream().info().time_fields.first().copied(),
        };
        writer.tenant_json = self.tenant_json.as_deref();
        if let Some(name) = time_field {
            writer.mark_used(name);
        }
        writer.write();
        if !record.scanned_object().is_unescaped_ascii {
            escape_line_breaks(out, start);
        }
        occurred
    }

    /// Returns the time of the event in the record, and the member that has it.
    #[must_use]
    pub fn event_time(&self, record: &Record<'_>) -> Option<(FieldName, Timestamp)> {
        self.tables.of(record.stream())?.event_time(record)
    }

    /// Returns the format it writes.
    #[must_use]
    pub const fn format(&self) -> Format {
        self.tables.format
    }
}

impl CompiledTables {
    #[inline]
    fn of(&self, stream: Stream) -> Option<&StreamMappings> {
        let cell = self.streams.get(stream.index())?;
        Some(cell.get_or_init(|| StreamMappings::new(self, stream)))
    }
}

impl StreamMappings {
    #[cold]
    fn new(tables: &CompiledTables, stream: Stream) -> Self {
        let options = StreamOptions {
            severity: &|is_alert| tables.severities.of(stream, is_alert),
            failure_test: (stream == Stream::Audit)
                .then_some(Test::ReportsFailure(field::EVENT_INFO)),
            attack_stream: tables.attack.then_some(stream),
        };
        let choices = match tables.format {
            Format::Ecs => vec![ConditionalMapping {
                when: &[],
                mapping: CompiledMapping::for_ecs(ecs::tables(stream), &options),
            }],
            Format::Ocsf => {
                let choice = |variant: &ocsf::Variant| ConditionalMapping {
                    when: variant.when,
                    mapping: variant.mapping(&options),
                };
                ocsf::variants(stream).iter().map(choice).collect()
            }
            Format::Raw => Vec::new(),
        };
        Self {
            time_fields: stream.info().time_fields,
            choices,
        }
    }

    /// Returns the time of the event in the record, and the member that has it.
    fn event_time(&self, record: &Record<'_>) -> Option<(FieldName, Timestamp)> {
        self.time_fields.iter().find_map(|name| {
            let value = record.get(*name)?;
            let mut buffer = String::new();
            let text = if value.escaped {
                unescape_into(value.text, &mut buffer);
                &buffer
            } else {
                value.text
            };
            let time = Timestamp::parse(text)?;
            PLAUSIBLE_TIME_MS
                .contains(&time.millis())
                .then_some((*name, time))
        })
    }
}

fn write_raw(
    record: &Record<'_>,
    id: &EventId,
    occurred: Timestamp,
    tenant_json: Option<&str>,
    out: &mut String,
) {
    out.push_str("{\"id\":\"");
    id.write(out);
    out.push_str("\",\"stream\":\"");
    out.push_str(record.stream().name());
    out.push('"');
    if let Some(tenant) = tenant_json {
        out.push_str(",\"tenant\":");
        out.push_str(tenant);
    }
    out.push_str(",\"timestamp\":\"");
    occurred.write_rfc3339(out);
    out.push_str("\",\"record\":");
    if record.is_multiline() {
        push_single_line(out, record.text());
    } else {
        out.push_str(record.text());
    }
    out.push_str("}\n");
}
