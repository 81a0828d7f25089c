//! The batch that one poll returns, and the builder that keeps it within the limits.

mod normalize_all;

use std::borrow::Cow;

pub use normalize_all::{Normalized, RecordNormalizer, normalize_all};

use crate::correlate::Correlation;
use crate::decode::json::{Repaired, repair};
use crate::identity::RecordId;
use crate::normalize::severity::Severities;
use crate::normalize::{Format, Normalizer, Options, OriginalRecord};
use crate::record::{ParseError, Parser, Record, Rewriter};
use crate::redact::redact;
use crate::seen_ids::{Deduplication, SeenIds};
use crate::stream::Stream;
use crate::time::Timestamp;

/// Upper bounds of one poll, as `pipeline:source` defines them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The greatest number of events and rejected records together.
    pub max_events: u32,
    /// The greatest total of the bytes of events and of rejected originals.
    pub max_bytes: u64,
    /// The greatest number of HTTP requests.
    pub max_requests: u32,
}

/// The most bytes of a batch: the offsets of the index have 32 bits, and a batch has to fit into the
/// component's memory.
const BATCH_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// The most notices in one batch; further ones are dropped.
const NOTICES_MAX: usize = 200;

/// The most bytes of the original that a rejected record has.
const ORIGINAL_BYTES_MAX: usize = 64 * 1024;

/// The entry of one event in the index of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The offset just after the event's line break.
    pub end: u32,
    /// When the event happened.
    pub occurred_at: Timestamp,
    /// The stream; its name is also the kind of the event.
    pub stream: Stream,
}

/// An upstream record that could not become an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// The stream it belongs to.
    pub stream: Stream,
    /// Where it was, without credentials.
    pub locator: String,
    /// Why it was rejected.
    pub reason: String,
    /// The record, or its first part.
    pub original: Vec<u8>,
}

/// The kinds of [`Notice`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoticeKind {
    /// Something was read in another way than configured.
    Adjusted,
    /// Records are no longer available.
    Gap,
    /// The credentials do not permit the stream.
    NotPermitted,
    /// The stream failed for now.
    Postponed,
}

/// Something an operator should know about one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The stream it is about.
    pub stream: Stream,
    /// Its kind.
    pub kind: NoticeKind,
    /// What happened and what to do.
    pub detail: String,
}

/// What a poll did for one stream. `received = events + rejected + duplicates`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// HTTP requests made for the stream.
    pub requests: u32,
    /// Bytes of response bodies, as received.
    pub received_bytes: u64,
    /// Records read.
    pub received: u64,
    /// Records that became events.
    pub events: u64,
    /// Records that were rejected.
    pub rejected: u64,
    /// Records left out because they were delivered before, or are left to the event endpoint.
    pub duplicates: u64,
    /// Whether the stream is caught up: the upstream has no more for now, no file is set aside, no reading is
    /// to be repeated because of a wrong clock, and the stream does not back off.
    pub caught_up: bool,
    /// The newest time of an event.
    pub newest: Option<Timestamp>,
    /// The oldest time of an event that has a time of its own.
    pub oldest: Option<Timestamp>,
}

/// When to poll again, in milliseconds from now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextPoll {
    /// Every stream that can be read is caught up.
    CaughtUp(u64),
    /// A stream fails for now and nothing else is waiting.
    Failing(u64),
    /// More is waiting.
    Now,
    /// More may be waiting, but a rate limit holds it back.
    Throttled(u64),
}

/// The result of a poll.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// One JSON object a line.
    pub events: String,
    /// One entry a line of `events`.
    pub index: Vec<Entry>,
    /// Records that could not become events.
    pub rejected: Vec<Rejected>,
    /// What an operator should know.
    pub notices: Vec<Notice>,
    /// The position after the last record.
    pub checkpoint: String,
    /// When to poll again.
    pub next: NextPoll,
    /// The counts of the streams that did something.
    pub stats: Vec<(Stream, Stats)>,
}

/// The result of offering a record to the [`Builder`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OfferResult {
    /// It is consumed: it became an event, was rejected, was a duplicate or was left out.
    Consumed,
    /// It does not fit; offer it again to the next batch.
    BatchFull,
}

/// The parser, the normalizer and the state with which [`Builder::offer`] turns records into events. Its
/// buffers live as long as the session.
pub struct RecordProcessor {
    /// Parses bytes into records.
    pub parser: Parser,
    /// Turns records into events.
    pub normalizer: Normalizer,
    correlation: Option<Correlation>,
    tenant: Option<String>,
    /// Parses a record together with members from other records.
    rewriter: Rewriter,
}

impl RecordProcessor {
    /// Creates a processor for one format.
    #[must_use]
    pub fn new(format: Format, options: Options) -> Self {
        Self::with_severities(format, options, &Severities::default())
    }

    /// Creates a processor with severities in place of those of the tables.
    #[must_use]
    pub fn with_severities(format: Format, options: Options, severities: &Severities) -> Self {
        Self {
            parser: Parser::new(),
            normalizer: Normalizer::with_severities(format, options, severities),
            correlation: None,
            tenant: None,
            rewriter: Rewriter::default(),
        }
    }

    /// Puts the name of the tenant into every event and its id.
    #[must_use]
    pub fn with_tenant(self, tenant: Option<&str>) -> Self {
        Self {
            normalizer: self.normalizer.with_tenant(tenant),
            tenant: tenant.map(str::to_owned),
            ..self
        }
    }

    /// Enables correlation: records about one message get members of earlier ones. The
    /// records themselves are unchanged.
    pub fn enable_correlation(&mut self) {
        if self.format() != Format::Raw {
            self.correlation = Some(Correlation::default());
        }
    }

    /// Returns the format of the events.
    #[must_use]
    pub const fn format(&self) -> Format {
        self.normalizer.format()
    }

    /// Returns the identity of a record, or `None` where it is not a record.
    pub fn id(&mut self, record: RawRecord<'_>) -> Option<RecordId> {
        let bytes = redact(record.stream, record.bytes);
        let record = record.with_bytes(&bytes);
        with_record(&mut self.parser, record, |parsed, repaired| {
            Some(id(record, &parsed.ok()?, repaired.is_some()))
        })
    }

    /// Returns the time of a record, or `None` where it has none or is not a record.
    pub fn time(&mut self, record: RawRecord<'_>) -> Option<Timestamp> {
        with_record(&mut self.parser, record, |parsed, _| {
            self.normalizer.event_time(&parsed.ok()?).map(|(_, at)| at)
        })
    }
}

/// Parses a record, repairs it where that is necessary, and passes it to `use_record` with what was
/// repaired.
fn with_record<T>(
    parser: &mut Parser,
    raw: RawRecord<'_>,
    use_record: impl FnOnce(Result<Record<'_>, ParseError>, Option<&Repaired>) -> T,
) -> T {
    // Most records are valid UTF-8, so that is checked before anything is searched.
    let text = core::str::from_utf8(raw.bytes)
        .map_or_else(|_| String::from_utf8_lossy(raw.bytes), Cow::Borrowed);
    let is_text = matches!(text, Cow::Borrowed(_));
    let parsed = parser.parse(raw.stream, &text);
    if is_text && !matches!(&parsed, Err(reason) if reason.is_repairable()) {
        return use_record(parsed, None);
    }
    let repaired = repair(&text);
    use_record(parser.parse(raw.stream, &repaired.text), Some(&repaired))
}

/// Returns the identity of a record. After a repair it is that of the original bytes, because replaced
/// bytes are no longer in the record but still distinguish it from others.
fn id(raw: RawRecord<'_>, record: &Record<'_>, is_repaired: bool) -> RecordId {
    if is_repaired {
        RecordId::hash_bytes(raw.stream, raw.bytes)
    } else {
        record.id()
    }
}

/// Returns the names of the fields in which something was repaired.
fn repaired_fields<'a>(record: &Record<'a>, repaired: &Repaired) -> Vec<&'a str> {
    let input = record.input();
    let is_repaired = |text: &str| text.contains(char::REPLACEMENT_CHARACTER);
    let members = record.members().iter();
    members
        .filter(|member| {
            repaired.has_repair_between(member.key.start(), member.value.end())
                || is_repaired(member.key.of(input))
                || is_repaired(member.value.of(input))
        })
        .map(|member| member.key.of(input))
        .collect()
}

/// Builds a batch within the limits of a poll.
pub struct Builder {
    limits: Limits,
    events: String,
    index: Vec<Entry>,
    rejected: Vec<Rejected>,
    rejected_bytes: u64,
    notices: Vec<Notice>,
    /// In the order of the streams.
    stats: Vec<(Stream, Stats)>,
    /// How many records were left out for being older than the start.
    before_start: Vec<(Stream, u64)>,
}

impl Builder {
    /// Creates an empty batch.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let limits = Limits {
            max_bytes: limits.max_bytes.min(BATCH_BYTES_MAX),
            ..limits
        };
        Self {
            limits,
            events: String::new(),
            index: Vec::new(),
            rejected: Vec::new(),
            rejected_bytes: 0,
            notices: Vec::new(),
            stats: Vec::new(),
            before_start: Vec::new(),
        }
    }

    /// Returns the number of events and rejected records so far.
    #[must_use]
    pub const fn record_count(&self) -> usize {
        self.index.len().saturating_add(self.rejected.len())
    }

    /// Returns whether the batch has no event, rejected record or notice.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.record_count() == 0 && self.notices.is_empty()
    }

    /// Returns whether one more record may be offered.
    #[must_use]
    pub fn has_room(&self) -> bool {
        let max_events = usize::try_from(self.limits.max_events).unwrap_or(usize::MAX);
        self.record_count() < max_events && self.bytes() < self.limits.max_bytes
    }

    fn bytes(&self) -> u64 {
        u64::try_from(self.events.len())
            .unwrap_or(u64::MAX)
            .saturating_add(self.rejected_bytes)
    }

    /// Returns the number of events so far.
    #[must_use]
    pub const fn event_count(&self) -> usize {
        self.index.len()
    }

    /// Returns the time of the last event if more than `events_before` events are in the batch. `None` if
    /// that time is not before `now`, as for a record without a time of its own.
    #[must_use]
    pub fn last_occurred_at(&self, events_before: usize, now: Timestamp) -> Option<Timestamp> {
        let added = self.index.get(events_before..)?.last()?;
        Some(added.occurred_at).filter(|at| *at < now)
    }

    /// Updates the counts of a stream, which are created if there are none.
    pub fn update_stats(&mut self, stream: Stream, update: impl FnOnce(&mut Stats)) {
        if let Some(stats) = self.stats_mut(stream) {
            update(stats);
            return;
        }
        let mut stats = Stats::default();
        update(&mut stats);
        let at = self.stats.partition_point(|(other, _)| *other < stream);
        self.stats.insert(at, (stream, stats));
    }

    /// Includes the counts of a stream in this batch, also where no record of it came.
    pub fn include_stats(&mut self, stream: Stream) {
        self.update_stats(stream, |_| {});
    }

    /// Returns the counts of a stream that did something in this poll.
    pub fn stats_mut(&mut self, stream: Stream) -> Option<&mut Stats> {
        // A batch has few streams.
        let mut all = self.stats.iter_mut();
        all.find_map(|(of, stats)| (*of == stream).then_some(stats))
    }

    /// Adds a notice, unless the batch has the same one.
    pub fn notice(&mut self, stream: Stream, kind: NoticeKind, detail: String) {
        let notice = Notice {
            stream,
            kind,
            detail,
        };
        if self.notices.len() < NOTICES_MAX && !self.notices.contains(&notice) {
            self.notices.push(notice);
        }
    }

    /// Counts a record that is left out because it is older than the start of its stream. It does not
    /// count as received; a notice has the number.
    pub fn count_before_start(&mut self, stream: Stream) {
        match self.before_start.iter_mut().find(|(of, _)| *of == stream) {
            Some((_, before_start)) => *before_start = before_start.saturating_add(1),
            None => self.before_start.push((stream, 1)),
        }
    }

    /// Adds a rejected record. The caller has checked that there is room.
    pub fn reject(&mut self, stream: Stream, locator: String, reason: String, original: &[u8]) {
        let left = self.limits.max_bytes.saturating_sub(self.bytes());
        let left = usize::try_from(left)
            .unwrap_or(usize::MAX)
            .min(ORIGINAL_BYTES_MAX);
        let original = original.get(..left).unwrap_or(original).to_vec();
        let bytes = u64::try_from(original.len()).unwrap_or(u64::MAX);
        self.rejected_bytes = self.rejected_bytes.saturating_add(bytes);
        self.rejected.push(Rejected {
            stream,
            locator,
            reason,
            original,
        });
        self.update_stats(stream, |stats| {
            stats.received = stats.received.saturating_add(1);
            stats.rejected = stats.rejected.saturating_add(1);
        });
    }

    /// Makes an event of one raw record, or counts it as rejected or as a duplicate.
    ///
    /// `seen_ids` has the records of this stream that may come again; a record in it is a duplicate.
    /// `locator` is only called when the record is rejected.
    pub fn offer(
        &mut self,
        processor: &mut RecordProcessor,
        record: RawRecord<'_>,
        seen_ids: Option<&mut SeenIds>,
        now: Timestamp,
        locator: &dyn Fn() -> String,
    ) -> OfferResult {
        let deduplication = Deduplication {
            seen_ids,
            occurrences: None,
        };
        self.offer_as(
            record.stream,
            processor,
            record,
            deduplication,
            now,
            locator,
        )
    }

    /// Offers a record that is counted for `counted_stream`, whatever the stream of its event.
    pub fn offer_as(
        &mut self,
        counted_stream: Stream,
        processor: &mut RecordProcessor,
        record: RawRecord<'_>,
        deduplication: Deduplication<'_>,
        now: Timestamp,
        locator: &dyn Fn() -> String,
    ) -> OfferResult {
        let bytes = redact(record.stream, record.bytes);
        let record = record.with_bytes(&bytes);
        let RecordProcessor {
            parser,
            normalizer,
            correlation,
            tenant,
            rewriter,
        } = processor;
        with_record(parser, record, |parsed, repaired| {
            let record_id = match (&parsed, record.id_override) {
                (_, Some(id)) => id,
                (Ok(parsed), None) => id(record, parsed, repaired.is_some()),
                // What is read again in an overlap is rejected once.
                (Err(_), None) => RecordId::hash_bytes(record.stream, record.bytes),
            };
            let occurrence = deduplication.next_occurrence(&record_id);
            // Remembered identities do not depend on the tenant.
            let occurrence_id = record_id.of_occurrence(occurrence);
            if deduplication.is_known(&occurrence_id) {
                self.count_duplicate(counted_stream);
                deduplication.count_occurrence(record_id);
                return OfferResult::Consumed;
            }
            let parsed = match parsed {
                Ok(parsed) => parsed,
                Err(reason) => {
                    self.reject(counted_stream, locator(), reason.to_string(), record.bytes);
                    deduplication.remember(record_id, &occurrence_id, now);
                    return OfferResult::Consumed;
                }
            };
            let fields = repaired.map(|repaired| repaired_fields(&parsed, repaired));
            let original = OriginalRecord {
                text: parsed.text(),
                repaired: fields.as_deref().unwrap_or_default(),
            };
            // The record, its identity and its original are unchanged.
            let extra_members = match correlation {
                _ if normalizer.format() == Format::Raw => None,
                Some(correlation) if record.extra_members.is_empty() => {
                    correlation.exchange_members(&parsed)
                }
                Some(_) | None => Some(record.extra_members),
            };
            let joined =
                extra_members.and_then(|members| rewriter.prepend_members(&parsed, members));
            let joined = joined.unwrap_or(parsed);
            let start = self.events.len();
            let event_id = record_id.to_event_id(occurrence, tenant.as_deref());
            let at = normalizer.write_with_original(
                &original,
                &joined,
                &event_id,
                now,
                &mut self.events,
            );
            if self.bytes() > self.limits.max_bytes {
                let is_only_record = self.index.is_empty() && self.rejected.is_empty();
                self.events.truncate(start);
                if !is_only_record {
                    return OfferResult::BatchFull;
                }
                let reason = format!("the event is larger than {} bytes", self.limits.max_bytes);
                self.reject(counted_stream, locator(), reason, record.bytes);
                deduplication.remember(record_id, &occurrence_id, at);
                return OfferResult::Consumed;
            }
            deduplication.remember(record_id, &occurrence_id, at);
            self.add_event((counted_stream, record.stream), at, now);
            OfferResult::Consumed
        })
    }

    /// Counts a record that is left out because it was delivered before, or is left to the event endpoint.
    pub fn count_duplicate(&mut self, stream: Stream) {
        self.update_stats(stream, |stats| {
            stats.received = stats.received.saturating_add(1);
            stats.duplicates = stats.duplicates.saturating_add(1);
        });
    }

    /// Counts the event that was just written.
    fn add_event(
        &mut self,
        (counted_stream, stream): (Stream, Stream),
        occurred_at: Timestamp,
        now: Timestamp,
    ) {
        let end = u32::try_from(self.events.len()).unwrap_or(u32::MAX);
        self.index.push(Entry {
            end,
            occurred_at,
            stream,
        });
        self.update_stats(counted_stream, |stats| {
            stats.received = stats.received.saturating_add(1);
            stats.events = stats.events.saturating_add(1);
            stats.newest = stats.newest.max(Some(occurred_at));
            // A record without a time has the time at which it was read.
            if occurred_at < now {
                let oldest = stats.oldest.unwrap_or(occurred_at);
                stats.oldest = Some(oldest.min(occurred_at));
            }
        });
    }

    /// Completes the batch.
    #[must_use]
    pub fn finish(mut self, checkpoint: String, next: NextPoll) -> Batch {
        for (stream, before_start) in std::mem::take(&mut self.before_start) {
            let detail = format!(
                "records older than `start` that were left out, and are not counted as received: \
                 {before_start}"
            );
            self.notice(stream, NoticeKind::Adjusted, detail);
        }
        Batch {
            events: self.events,
            index: self.index,
            rejected: self.rejected,
            notices: self.notices,
            checkpoint,
            next,
            stats: self.stats,
        }
    }
}

/// One record of a stream before it is parsed.
#[derive(Clone, Copy, Debug)]
pub struct RawRecord<'a> {
    /// The stream it belongs to.
    pub stream: Stream,
    /// Its bytes, which should be one JSON object.
    pub bytes: &'a [u8],
    /// Members from other objects of its file, as JSON with a comma after each of them.
    pub extra_members: &'a str,
    /// The identity to use instead of its own: that of the same record with the member
    /// names of batch files.
    pub id_override: Option<RecordId>,
}

impl<'a> RawRecord<'a> {
    /// Creates a record without members from elsewhere.
    #[must_use]
    pub const fn new(stream: Stream, bytes: &'a [u8]) -> Self {
        Self {
            stream,
            bytes,
            extra_members: "",
            id_override: None,
        }
    }

    /// Returns the record with other bytes.
    const fn with_bytes<'b>(self, bytes: &'b [u8]) -> RawRecord<'b>
    where
        'a: 'b,
    {
        RawRecord { bytes, ..self }
    }
}
