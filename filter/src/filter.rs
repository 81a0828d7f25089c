//! One record in, one JSON object out.

use std::borrow::Cow;

use mimecast_source::batch::{RecordNormalizer, RecordProcessor};
use mimecast_source::decode::json::{Kind, Member, scan_object, scan_repaired};
use mimecast_source::decode::unescape::unescape_into;
use mimecast_source::encode::push_quoted;
use mimecast_source::normalize::{Format, Options};
use mimecast_source::stream::Stream;
use mimecast_source::time::Timestamp;
use serde::de::IgnoredAny;

/// The member that names the stream of a record whose tag does not. It is removed before the record
/// is normalized, so that the record has the id that it has elsewhere.
pub const STREAM_MEMBER: &str = "mimecast_stream";

/// The member with the reason why a record was not normalized.
pub const ERROR_MEMBER: &str = "mimecast_filter_error";

const TAG_PREFIX: &str = "mimecast.";

/// The member in which Fluent Bit puts a line that no parser has read.
const LINE_MEMBER: &str = "log";

/// The member for input that is not a JSON object, which Fluent Bit never passes, and for an object from which
/// an older [`ERROR_MEMBER`] cannot be removed. It makes sure that neither is lost.
const TEXT_MEMBER: &str = "record";

const NO_STREAM: &str = "neither the tag nor the member mimecast_stream names a stream";

/// Where the output buffer is larger than this, the filter is created again before the next record.
const BUFFER_BYTES_RETAINED_MAX: usize = 1024 * 1024;

/// Turns records into events of one format. Its buffers are reused for every record.
pub struct Filter {
    format: Format,
    normalizer: RecordNormalizer,
    output: Vec<u8>,
}

impl Filter {
    /// Creates a filter for one format.
    #[must_use]
    pub fn new(format: Format) -> Self {
        let processor = RecordProcessor::new(format, Options::default());
        Self {
            format,
            normalizer: RecordNormalizer::new(processor),
            output: Vec::new(),
        }
    }

    /// Returns the format of the events.
    #[must_use]
    pub const fn format(&self) -> Format {
        self.format
    }

    /// Returns the event of a record, or the record with the reason why there is none: always one
    /// JSON object, in which NULs are escaped, with a NUL after it. `record` is `None` where the
    /// caller had no memory for it.
    pub fn process(&mut self, tag: &[u8], timestamp: Timestamp, record: Option<&[u8]>) -> &[u8] {
        if self.output.capacity() > BUFFER_BYTES_RETAINED_MAX {
            *self = Self::new(self.format);
        }
        self.output.clear();
        match record {
            Some(record) => self.normalize(tag, timestamp, record),
            None => push_error_object(
                &mut self.output,
                "",
                "no memory was left to pass the record to the filter",
            ),
        }
        self.output.push(0);
        &self.output
    }

    fn normalize(&mut self, tag: &[u8], timestamp: Timestamp, record: &[u8]) {
        let tag_stream = stream_of_tag(tag);
        let envelope =
            (tag_stream.is_none() || may_be_unparsed_line(record)).then(|| Envelope::of(record));
        let envelope = envelope.unwrap_or_default();
        let result = match tag_stream.map_or(envelope.stream, Ok) {
            Ok(stream) => {
                let inner = envelope.record.as_deref();
                let record = inner.map_or(record, str::as_bytes);
                self.normalizer.normalize(stream, record, timestamp)
            }
            Err(reason) => Err(reason),
        };
        match result {
            Ok(event) => self.output.extend_from_slice(event.as_bytes()),
            Err(reason) => push_record_with_error(&mut self.output, record, reason),
        }
    }
}

/// Returns the stream in `mimecast.STREAM`. The HTTP input of Fluent Bit makes `_` of `-`.
fn stream_of_tag(tag: &[u8]) -> Option<Stream> {
    let name = core::str::from_utf8(tag).ok()?.strip_prefix(TAG_PREFIX)?;
    Stream::from_name(name).or_else(|| Stream::from_name(&name.replace('_', "-")))
}

/// Returns whether the record may be a line that no parser has read.
fn may_be_unparsed_line(record: &[u8]) -> bool {
    let members = record.strip_prefix(b"{").unwrap_or_default();
    members.trim_ascii_start().starts_with(b"\"log\"")
}

/// The envelope around the upstream's record.
struct Envelope {
    /// The stream that [`STREAM_MEMBER`] names, or why there is none.
    stream: Result<Stream, &'static str>,
    /// The record without the envelope; nothing where there is no envelope.
    record: Option<String>,
}

impl Default for Envelope {
    fn default() -> Self {
        Self {
            stream: Err(NO_STREAM),
            record: None,
        }
    }
}

impl Envelope {
    fn of(record: &[u8]) -> Self {
        let mut members = Vec::new();
        // Repaired first, so that its envelope is recognized. Its event then does not list the repaired
        // fields in `parse_errors`.
        let Some(text) = scan_repaired(record, &mut members) else {
            return Self::default();
        };
        let is_stream =
            |member: &&Member| member.key.of(&text) == STREAM_MEMBER && member.kind == Kind::String;
        let named = members.iter().rfind(is_stream);
        let stream = named.map_or(Err(NO_STREAM), |member| {
            Stream::from_name(member.value.of(&text))
                .ok_or("the member mimecast_stream names a stream that does not exist")
        });
        let mut rest = members.iter().filter(|member| !is_stream(member));
        let record = match (rest.next(), rest.next()) {
            (Some(line), None)
                if line.key.of(&text) == LINE_MEMBER && line.kind == Kind::String =>
            {
                let mut out = String::new();
                unescape_into(line.value.of(&text), &mut out);
                Some(out)
            }
            _ if named.is_some() => {
                let mut out = String::from("{");
                let others: Vec<_> = members.iter().filter(|member| !is_stream(member)).collect();
                push_members(&mut out, &text, &others);
                out.push('}');
                Some(out)
            }
            _ => None,
        };
        Self { stream, record }
    }
}

/// Appends the record as it was and [`ERROR_MEMBER`] after its members.
fn push_record_with_error(out: &mut Vec<u8>, record: &[u8], reason: &str) {
    let text = String::from_utf8_lossy(record);
    let object = text.trim_ascii();
    let members = object
        .strip_prefix('{')
        .and_then(|rest| rest.strip_suffix('}'));
    // Nothing is built from the value, so that its depth costs nothing.
    let members = members
        .filter(|_| serde_json::from_str::<IgnoredAny>(object).is_ok())
        .and_then(|members| {
            if members.contains(ERROR_MEMBER) {
                return without_error_member(object).map(Cow::Owned);
            }
            Some(Cow::Borrowed(members.trim_ascii()))
        });
    match members {
        Some(members) => push_error_object(out, &members, reason),
        None => {
            let mut member = String::new();
            push_quoted(&mut member, TEXT_MEMBER);
            member.push(':');
            push_quoted(&mut member, &text);
            push_error_object(out, &member, reason);
        }
    }
}

/// Returns the members of an object except [`ERROR_MEMBER`], which another filter may have added; nothing
/// where the scanner does not accept the object, as when it is nested too deeply.
fn without_error_member(object: &str) -> Option<String> {
    let mut members = Vec::new();
    scan_object(object, &mut members).ok()?;
    let mut out = String::new();
    let is_other = |member: &&Member| member.key.of(object) != ERROR_MEMBER;
    let others: Vec<_> = members.iter().filter(is_other).collect();
    push_members(&mut out, object, &others);
    Some(out)
}

/// Appends members of an object with commas between them.
fn push_members(out: &mut String, object: &str, members: &[&Member]) {
    for (at, member) in members.iter().enumerate() {
        let separator = if at == 0 { "" } else { "," };
        let quote = member.kind.quote();
        let (key, value) = (member.key.of(object), member.value.of(object));
        for piece in [separator, "\"", key, "\":", quote, value, quote] {
            out.push_str(piece);
        }
    }
}

/// Appends an object of these members and [`ERROR_MEMBER`].
fn push_error_object(out: &mut Vec<u8>, members: &str, reason: &str) {
    let separator = if members.is_empty() { "" } else { "," };
    let mut error = String::new();
    push_quoted(&mut error, reason);
    for piece in [
        "{",
        members,
        separator,
        "\"",
        ERROR_MEMBER,
        "\":",
        &error,
        "}",
    ] {
        out.extend_from_slice(piece.as_bytes());
    }
}
