//! Normalizes records that a host passes in, one a line.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::{Builder, Entry, Limits, OfferResult, RawRecord, RecordProcessor, Rejected};
use crate::decode::json::{self, Kind, Member};
use crate::decode::key_value;
use crate::decode::lines::BYTE_ORDER_MARK;
use crate::record::legacy;
use crate::redact::redact;
use crate::seen_ids::Deduplication;
use crate::stream::Stream;
use crate::time::Timestamp;

/// The result of [`normalize_all`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Normalized {
    /// One JSON object a line.
    pub events: String,
    /// One entry a line of `events`.
    pub index: Vec<Entry>,
    /// Lines that could not become events.
    pub rejected: Vec<Rejected>,
}

/// Normalizes records that a host passes in, one a line. Empty lines are skipped, and so is a byte order
/// mark at the beginning of a line. A record whose event makes the events too large for one result is
/// rejected.
#[must_use]
pub fn normalize_all(
    processor: &mut RecordProcessor,
    stream: Stream,
    records: &[u8],
    now: Timestamp,
) -> Normalized {
    normalize_within(MAX_LIMITS, processor, stream, records, now)
}

fn normalize_within(
    limits: Limits,
    processor: &mut RecordProcessor,
    stream: Stream,
    records: &[u8],
    now: Timestamp,
) -> Normalized {
    let mut batch = Builder::new(limits);
    let mut start = 0;
    let mut object_buffer = String::new();
    for (index, end) in memchr::memchr_iter(b'\n', records)
        .chain([records.len()])
        .enumerate()
    {
        let line = records.get(start..end).unwrap_or_default();
        let bytes = without_mark_and_blanks(line);
        start = end.saturating_add(1);
        if !bytes.is_empty() {
            let locator = || format!("{stream} line {}", index.saturating_add(1));
            offer_line(
                &mut batch,
                processor,
                &mut object_buffer,
                (stream, bytes),
                now,
                &locator,
            );
        }
    }
    Normalized {
        events: batch.events,
        index: batch.index,
        rejected: batch.rejected,
    }
}

/// Normalizes records one by one, with buffers that are reused.
pub struct RecordNormalizer {
    processor: RecordProcessor,
    batch: Builder,
    object_buffer: String,
}

impl RecordNormalizer {
    /// Creates a normalizer with empty buffers.
    #[must_use]
    pub fn new(processor: RecordProcessor) -> Self {
        Self {
            processor,
            batch: Builder::new(MAX_LIMITS),
            object_buffer: String::new(),
        }
    }

    /// Returns the event of one record, without a line break, as [`normalize_all`] makes it.
    ///
    /// # Errors
    ///
    /// The reason why the record was rejected.
    pub fn normalize(
        &mut self,
        stream: Stream,
        record: &[u8],
        now: Timestamp,
    ) -> Result<&str, &str> {
        let Self {
            processor,
            batch,
            object_buffer,
        } = self;
        batch.events.clear();
        batch.index.clear();
        batch.rejected.clear();
        batch.rejected_bytes = 0;
        let line = (stream, without_mark_and_blanks(record));
        offer_line(batch, processor, object_buffer, line, now, &String::new);
        match batch.rejected.first() {
            None => Ok(batch.events.trim_ascii_end()),
            Some(rejected) => Err(&rejected.reason),
        }
    }
}

/// Returns a line without a byte order mark and blanks around it. Concatenated files have a mark before
/// lines in the middle as well.
fn without_mark_and_blanks(line: &[u8]) -> &[u8] {
    line.strip_prefix(BYTE_ORDER_MARK)
        .unwrap_or(line)
        .trim_ascii()
}

/// No limits but those of every batch: [`Builder::new`] lowers `max_bytes`.
const MAX_LIMITS: Limits = Limits {
    max_events: u32::MAX,
    max_bytes: u64::MAX,
    max_requests: 0,
};

/// Makes an event of one line, or rejects it.
fn offer_line(
    batch: &mut Builder,
    processor: &mut RecordProcessor,
    object_buffer: &mut String,
    (stream, bytes): (Stream, &[u8]),
    now: Timestamp,
    locator: &dyn Fn() -> String,
) {
    object_buffer.clear();
    let unwrapped = unwrapped(bytes);
    let (record_stream, bytes) =
        stream_and_record(stream, unwrapped.as_deref().unwrap_or(bytes), object_buffer);
    let record = RawRecord::new(record_stream, bytes);
    let deduplication = Deduplication::default();
    match batch.offer_as(stream, processor, record, deduplication, now, locator) {
        OfferResult::Consumed => {}
        OfferResult::BatchFull => {
            let reason = format!(
                "the events are larger than {} bytes together; pass fewer records at a time",
                batch.limits.max_bytes
            );
            batch.reject(
                stream,
                locator(),
                reason,
                &redact(record.stream, record.bytes),
            );
        }
    }
}

/// Returns the record that a webhook wraps in a member, `{"mimecast_body":{…}}`, with the members
/// beside it; `None` where the line has no such member.
fn unwrapped(line: &[u8]) -> Option<Vec<u8>> {
    const BODY: &str = "mimecast_body";
    // Building a finder costs as much as searching many records.
    static FINDER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(BODY.as_bytes()));
    FINDER.find(line)?;
    let line = std::str::from_utf8(line).ok()?;
    let mut members = Vec::new();
    json::scan_object(line, &mut members).ok()?;
    let is_body = |member: &&Member| member.key.of(line) == BODY && member.kind == Kind::Object;
    let body = members.iter().rfind(is_body)?.value.of(line);
    let mut record = String::from("{");
    for member in members.iter().filter(|member| !is_body(member)) {
        let quote = member.kind.quote();
        let (key, value) = (member.key.of(line), member.value.of(line));
        for piece in ["\"", key, "\":", quote, value, quote, ","] {
            record.push_str(piece);
        }
    }
    // The members of the body are last, so they take precedence.
    let inner = body.strip_prefix('{')?.trim_start();
    if inner.starts_with('}') && record.len() > 1 {
        record.pop();
    }
    record.push_str(inner);
    Some(record.into_bytes())
}

/// Returns the type and the record of a line. API 1.0 also writes lines of SIEM logs as key=value and
/// without their types.
fn stream_and_record<'a>(
    stream: Stream,
    line: &'a [u8],
    object: &'a mut String,
) -> (Stream, &'a [u8]) {
    let may_be_pairs = stream.is_gateway_siem() && !line.starts_with(b"{");
    let is_pairs = may_be_pairs && key_value::push_object(&String::from_utf8_lossy(line), object);
    let record = if is_pairs { object.as_bytes() } else { line };
    let record_stream = if stream == Stream::Siem {
        legacy::stream_of_record(record)
    } else {
        stream
    };
    (record_stream, record)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::normalize::{Format, Options};

    #[test]
    fn a_byte_order_mark_before_a_record_changes_nothing() {
        let now = Timestamp::from_millis(1_770_000_000_000);
        let marked = b"\xef\xbb\xbf {\"id\":\"1\"} ";
        let mut processor = RecordProcessor::new(Format::Ecs, Options::default());
        let all = normalize_all(&mut processor, Stream::Audit, marked, now);
        let mut normalizer =
            RecordNormalizer::new(RecordProcessor::new(Format::Ecs, Options::default()));
        let one = normalizer.normalize(Stream::Audit, marked, now);
        assert_eq!(one, Ok(all.events.trim_ascii_end()));
        assert!(all.rejected.is_empty());
    }

    #[test]
    fn records_that_no_longer_fit_are_rejected_and_none_is_lost() {
        let records = (0..50).map(|n| format!("{{\"id\":\"{n}\",\"restoreCode\":\"hush\"}}\n"));
        let records: String = records.collect();
        let mut processor = RecordProcessor::new(Format::Ecs, Options::default());
        let limits = Limits {
            max_bytes: 4096,
            ..MAX_LIMITS
        };
        let now = Timestamp::from_millis(1_770_000_000_000);
        let stream = Stream::Remediation;
        let result = normalize_within(limits, &mut processor, stream, records.as_bytes(), now);
        assert!(result.events.len() <= 4096 && !result.index.is_empty());
        assert_eq!(result.index.len() + result.rejected.len(), 50);
        for rejected in &result.rejected {
            assert!(rejected.reason.contains("pass fewer records at a time"));
            assert!(!rejected.original.windows(4).any(|part| part == b"hush"));
        }
        let last = result.rejected.last().unwrap();
        assert_eq!(last.locator, "remediation line 50");
    }
}
