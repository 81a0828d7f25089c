//! Batch files: gzip NDJSON, generated once and kept.

use std::io::{Read as _, Write as _};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::fault::Effect;
use crate::huge;
use crate::identity::Identity;
use crate::line::{self, LineKind};
use crate::random::Random;
use crate::records::{RecordFormat, RecordGenerator};

/// Consecutive records of a list, spread evenly over some time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RecordRange {
    /// The number of the first record.
    pub(crate) first: u64,
    /// How many there are.
    pub(crate) records: u32,
    /// The time of the first.
    pub(crate) from_ms: i64,
    /// The time after the last.
    pub(crate) to_ms: i64,
}

impl RecordRange {
    /// Returns the time of the record of that number.
    pub(crate) fn at_ms(&self, number: u64) -> i64 {
        let index = i64::try_from(number.saturating_sub(self.first)).unwrap_or(0);
        let records = i64::from(self.records).max(1);
        self.from_ms + (self.to_ms - self.from_ms) * index / records
    }

    /// Returns the number after the last.
    pub(crate) fn end(&self) -> u64 {
        self.first + u64::from(self.records)
    }
}

/// What a file consists of, from which it is generated.
#[derive(Clone, Debug)]
pub(crate) struct FileSpec {
    /// The position of the file in its list.
    pub(crate) index: u64,
    /// Its records.
    pub(crate) range: RecordRange,
    /// The records of the file before, some of which come again here, and how many.
    pub(crate) repeats: Option<(RecordRange, u32)>,
    /// How many malformed lines come with a thousand records.
    pub(crate) malformed_per_mille: u32,
    /// Instead of the records: about how many MiB the file has.
    pub(crate) huge_mib: Option<u32>,
    /// The compression level, from 0 to 9.
    pub(crate) gzip_level: u32,
}

/// One object of the storage origin.
#[derive(Debug)]
pub(crate) struct BatchFile {
    /// The path of its URL.
    pub(crate) path: String,
    /// What it consists of.
    pub(crate) spec: FileSpec,
    /// Generates its records.
    pub(crate) record_generator: RecordGenerator,
    content: OnceLock<Content>,
    /// Set by the first response and never changed after it: the modified file if a fault added a
    /// line, else `None`.
    modification: OnceLock<Option<ModifiedFile>>,
    served: AtomicU64,
    faults: AtomicU64,
    deleted: AtomicBool,
}

/// A file to which a line was added.
#[derive(Debug)]
struct ModifiedFile {
    gzip: Bytes,
    line_kind: LineKind,
}

/// The bytes of a file, and what is in them.
#[derive(Debug)]
pub(crate) struct Content {
    /// The compressed bytes.
    pub(crate) gzip: Bytes,
    /// The identity of each record.
    pub(crate) identities: Vec<Identity>,
    /// How many lines are no records.
    pub(crate) malformed: u64,
    /// How many of these are malformed only because of invalid UTF-8.
    pub(crate) invalid_utf8: u64,
}

impl BatchFile {
    /// Creates a file that is generated when its content is first asked for.
    pub(crate) fn new(path: String, spec: FileSpec, generator: RecordGenerator) -> Self {
        Self {
            path,
            spec,
            record_generator: generator,
            content: OnceLock::new(),
            modification: OnceLock::new(),
            served: AtomicU64::new(0),
            faults: AtomicU64::new(0),
            deleted: AtomicBool::new(false),
        }
    }

    /// Returns the content. The first call takes as long as it takes to generate it.
    pub(crate) fn content(&self) -> &Content {
        self.content.get_or_init(|| match self.spec.huge_mib {
            Some(mib) => huge::generate(&self.record_generator, &self.spec, mib),
            None => generate(&self.record_generator, &self.spec),
        })
    }

    /// Returns the bytes of a response. If the effect of the first one adds a line to
    /// the file, it stays there for all later responses.
    pub(crate) fn response_bytes(&self, effect: Option<&Effect>) -> Bytes {
        let modified = self.modification.get_or_init(|| {
            let line = line::for_effect(effect?, self.record_generator.event_type)?;
            Some(ModifiedFile {
                gzip: line.insert_into(&self.content().gzip).into(),
                line_kind: line.kind,
            })
        });
        let modified = modified.as_ref().map(|modified| &modified.gzip);
        modified.unwrap_or_else(|| &self.content().gzip).clone()
    }

    /// Returns whether a response with this file was built before, so that its lines can no longer change.
    pub(crate) fn is_content_fixed(&self) -> bool {
        self.modification.get().is_some()
    }

    /// Returns the kind of the line that a fault has added to it.
    pub(crate) fn injected_line(&self) -> Option<&LineKind> {
        let modified = self.modification.get()?.as_ref()?;
        Some(&modified.line_kind)
    }

    /// Notes that a fault applies to a response.
    pub(crate) fn note_fault(&self) {
        self.faults.fetch_add(1, Ordering::SeqCst);
    }

    /// Returns the number of responses that a fault applied to.
    pub(crate) fn fault_count(&self) -> u64 {
        self.faults.load(Ordering::SeqCst)
    }

    /// Deletes the file, while its page still lists it.
    pub(crate) fn delete(&self) {
        self.deleted.store(true, Ordering::SeqCst);
    }

    /// Returns whether it was deleted.
    pub(crate) fn is_deleted(&self) -> bool {
        self.deleted.load(Ordering::SeqCst)
    }

    /// Notes that the file went out whole.
    pub(crate) fn note_served(&self) {
        self.served.fetch_add(1, Ordering::SeqCst);
    }

    /// Returns how often the file went out whole.
    pub(crate) fn served_count(&self) -> u64 {
        self.served.load(Ordering::SeqCst)
    }
}

/// Compresses a whole body.
pub(crate) fn gzip(plain: &[u8], level: u32) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(level.min(9)));
    // Writing to a Vec cannot fail.
    let _ = encoder.write_all(plain);
    encoder.finish().unwrap_or_default()
}

/// Decompresses a file that [`gzip`] has made.
pub(crate) fn inflate(file: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    // Reading from a slice cannot fail, and the bytes are valid.
    let _ = flate2::read::GzDecoder::new(file).read_to_end(&mut plain);
    plain
}

fn generate(generator: &RecordGenerator, spec: &FileSpec) -> Content {
    let stream = generator.event_type.stream();
    let mut random = Random::new(
        generator.seed,
        "file",
        &[generator.event_type.index(), spec.index],
    );
    let mut plain = Vec::new();
    let mut identities = Vec::new();
    let (mut malformed, mut invalid_utf8) = (0, 0);
    let end: &[u8] = if generator.odd_shapes && spec.index % 5 == 3 {
        b"\r\n"
    } else {
        b"\n"
    };
    let blank_at = (generator.odd_shapes && spec.index % 7 == 4).then_some(spec.range.first + 2);
    for (number, is_repeat) in order(spec, generator.odd_shapes) {
        let range = match (is_repeat, spec.repeats) {
            (true, Some((before, _))) => before,
            _ => spec.range,
        };
        if random.chance(spec.malformed_per_mille) {
            let line = random.pick(MALFORMED);
            plain.extend_from_slice(line);
            plain.extend_from_slice(end);
            malformed += 1;
            invalid_utf8 += u64::from(std::str::from_utf8(line).is_err());
        }
        if blank_at == Some(number) {
            plain.extend_from_slice(end);
        }
        let mut record = generator.record(number, &range);
        if record.value("_offset").is_some() {
            let shift = if is_repeat { 10_000_000 } else { 4_000_000 };
            record.put("_offset", shift + number / PARTITIONS);
            record.put("_partition", number % PARTITIONS);
        }
        let format = if generator.odd_shapes {
            record_format(&mut random, is_repeat)
        } else {
            RecordFormat::default()
        };
        identities.push(record.write(&mut plain, format, stream));
        plain.extend_from_slice(end);
    }
    if generator.odd_shapes && spec.index % 4 == 2 {
        plain.truncate(plain.len().saturating_sub(end.len()));
    }
    Content {
        gzip: gzip(&plain, spec.gzip_level).into(),
        identities,
        malformed,
        invalid_utf8,
    }
}

/// Returns the numbers of the records in the order of writing, and whether each is a repeat: first
/// the repeated records, then runs of one partition after another.
fn order(spec: &FileSpec, odd_shapes: bool) -> Vec<(u64, bool)> {
    let mut order = Vec::new();
    if let Some((before, count)) = spec.repeats {
        let first = before
            .end()
            .saturating_sub(u64::from(count))
            .max(before.first);
        order.extend((first..before.end()).map(|number| (number, true)));
    }
    let mut numbers: Vec<u64> = (spec.range.first..spec.range.end()).collect();
    if odd_shapes {
        for run in numbers.chunks_mut(RUN_RECORDS) {
            run.sort_by_key(|number| number % PARTITIONS);
        }
    }
    order.extend(numbers.into_iter().map(|number| (number, false)));
    order
}

fn record_format(random: &mut Random, is_repeat: bool) -> RecordFormat {
    RecordFormat {
        reversed: random.chance(100) != is_repeat,
        spaced: random.chance(40),
        ascii: random.chance(100),
    }
}

/// How many partitions the upstream's own log has.
const PARTITIONS: u64 = 3;
/// How many records of all partitions follow each other before the first partition comes again.
const RUN_RECORDS: usize = 48;

/// Lines that no reader can take for a record.
pub(crate) const MALFORMED: &[&[u8]] = &[
    b"{\"type\":\"receipt\",\"timestamp\":1795338331000,\"subject\":\"cut of",
    b"want_more",
    b"{ \"type\" : \"MTA\", \"data\" : ",
    b"{\"type\":\"process\",\"subject\":\"\xc3\x28 \xff\",\"timestamp\":1795338331000}",
    b"{\"a\":1,}",
];
