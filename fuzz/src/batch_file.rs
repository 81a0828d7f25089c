//! The body of a batch file, from gzip to events.

use std::cell::RefCell;
use std::io::Write as _;

use mimecast_source::decode::lines::{Line, LineReader};
use mimecast_source::normalize::{Format, Normalizer, Options};
use mimecast_source::record::Parser;
use mimecast_source::stream::{STREAMS, Stream};
use mimecast_source::time::Timestamp;
use serde_json::Value;

use crate::normalize::is_empty_line;

const NOW: Timestamp = Timestamp::from_millis(1_770_100_000_000);

/// The first byte chooses the stream, the second the size of the chunks; the rest is the body,
/// as it came or to be packed first.
pub fn batch_file(data: &[u8]) {
    let [stream, step, rest @ ..] = data else {
        return;
    };
    let stream = STREAMS[usize::from(*stream) % STREAMS.len()].stream;
    let compressed = if step & 0x80 == 0 {
        gzip(rest)
    } else {
        rest.to_vec()
    };
    let step = usize::from(step & 0x7f) + 1;

    let in_pieces = read(compressed.chunks(step));
    let at_once = read([compressed.as_slice()].into_iter());
    assert_eq!(in_pieces, at_once, "how a body is cut must not matter");

    let mut parser = Parser::new();
    NORMALIZERS.with_borrow_mut(|normalizers| {
        for line in at_once
            .iter()
            .filter_map(|line| line.strip_prefix("whole "))
        {
            normalize(stream, line, &mut parser, normalizers);
        }
    });
    assert_index(stream, Format::Raw, rest);
}

std::thread_local! {
    /// They are shared, since compiling their tables costs far more than using them.
    static NORMALIZERS: RefCell<Vec<Normalizer>> = RefCell::new(normalizers());
}

/// The lines of a body do not depend on how it is cut. The first byte is the size of the chunks and
/// determines whether the rest is compressed first.
pub fn lines(data: &[u8]) {
    let Some((step, rest)) = data.split_first() else {
        return;
    };
    let body = if step & 0x80 == 0 {
        rest.to_vec()
    } else {
        gzip(rest)
    };
    let in_pieces = read(body.chunks(usize::from(step & 0x7f) + 1));
    assert_eq!(in_pieces, read([body.as_slice()].into_iter()));
}

/// What the reader finds, in a form that can be compared. Lines that are not UTF-8 are named
/// by their length.
fn read<'a>(mut chunks: impl Iterator<Item = &'a [u8]>) -> Vec<String> {
    let mut reader = LineReader::new();
    let mut found = Vec::new();
    loop {
        match reader.next_line() {
            Line::Whole(bytes) => found.push(match core::str::from_utf8(bytes) {
                Ok(text) => format!("whole {text}"),
                Err(_) => format!("bytes {}", bytes.len()),
            }),
            Line::TooLong(bytes) => found.push(format!("long {}", bytes.len())),
            Line::NeedsInput => match chunks.next() {
                Some(chunk) => reader.push(chunk.to_vec()),
                None => reader.finish(),
            },
            Line::End => return found,
            Line::Broken(broken) => {
                found.push(format!("broken {broken:?}"));
                return found;
            }
        }
    }
}

/// A record becomes one line of JSON in each format, twice the same, with its id in it.
fn normalize(stream: Stream, line: &str, parser: &mut Parser, normalizers: &mut [Normalizer]) {
    let Ok(record) = parser.parse(stream, line) else {
        return;
    };
    let id = record.id().to_event_id(1, None);
    let mut id_text = String::new();
    id.write(&mut id_text);
    for normalizer in normalizers {
        let mut event = String::new();
        let at = normalizer.write(&record, &id, NOW, &mut event);
        let mut again = String::new();
        assert_eq!(normalizer.write(&record, &id, NOW, &mut again), at);
        assert_eq!(again, event);
        assert_eq!(event.find('\n'), Some(event.len() - 1), "{event:?}");
        assert!(event.contains(&id_text), "{event:?}");
        check_json(&event, line);
    }
}

/// Each format, with and without the original.
fn normalizers() -> Vec<Normalizer> {
    let both = [false, true].map(|include_original| Options {
        include_original,
        attack: include_original,
    });
    [Format::Ecs, Format::Ocsf, Format::Raw]
        .into_iter()
        .flat_map(|format| both.map(|options| Normalizer::new(format, options)))
        .collect()
}

/// What is copied as it stands may hold numbers that no `f64` holds; all else must be readable.
fn check_json(event: &str, line: &str) {
    if let Err(problem) = serde_json::from_str::<Value>(event) {
        let parsed_record = serde_json::from_str::<Value>(line);
        assert!(
            parsed_record
                .is_err_and(|parsed_record| parsed_record.classify() == problem.classify()),
            "{problem}: {event:?}"
        );
    }
}

/// The index says where the events are, and every line is counted.
fn assert_index(stream: Stream, format: Format, records: &[u8]) {
    let result = crate::normalize::normalized(stream, format, records);
    assert_eq!(result.events.matches('\n').count(), result.index.len());
    let mut at = 0;
    for entry in &result.index {
        let end = usize::try_from(entry.end).unwrap();
        assert!(result.events[at..end].ends_with('\n'));
        at = end;
    }
    assert_eq!(at, result.events.len());
    let lines = records
        .split(|byte| *byte == b'\n')
        .filter(|line| !is_empty_line(line));
    assert_eq!(lines.count(), result.index.len() + result.rejected.len());
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
