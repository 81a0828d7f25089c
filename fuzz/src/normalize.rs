//! Records of any kind, to events of one format.

use std::cell::RefCell;

use mimecast_source::batch::{Normalized, RecordProcessor, normalize_all};
use mimecast_source::decode::json::DEPTH_MAX;
use mimecast_source::decode::lines::BYTE_ORDER_MARK;
use mimecast_source::normalize::{Format, Options};
use mimecast_source::stream::{STREAMS, Stream};
use mimecast_source::time::Timestamp;

const NOW: Timestamp = Timestamp::from_millis(1_770_100_000_000);

/// Returns whether the normalizer skips a line.
pub(crate) fn is_empty_line(line: &[u8]) -> bool {
    let line = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line);
    line.trim_ascii().is_empty()
}

/// The first byte chooses the stream; the rest are records, one a line. Every line becomes an
/// event or is rejected, and every event is one line of JSON.
pub fn normalize(format: Format, data: &[u8]) {
    let [stream, records @ ..] = data else {
        return;
    };
    let stream = STREAMS[usize::from(*stream) % STREAMS.len()].stream;
    let normalized = normalized(stream, format, records);
    let lines = records.split(|byte| *byte == b'\n');
    let given = lines.filter(|line| !is_empty_line(line)).count();
    assert_eq!(given, normalized.index.len() + normalized.rejected.len());
    assert_eq!(normalized.events.lines().count(), normalized.index.len());
    let mut start = 0;
    for entry in &normalized.index {
        let end = usize::try_from(entry.end).unwrap();
        let event = &normalized.events[start..end];
        start = end;
        // Values stand deeper in an event than in their record.
        assert!(depth(event) <= DEPTH_MAX + 4, "{event}");
        // A name that `serde_json` keeps for itself is none to its `Value`.
        if depth(event) < 120 && !event.contains("$serde_json::private") {
            let event: serde_json::Value = serde_json::from_str(event).expect(event);
            assert!(event.is_object());
        }
    }
    for rejected in &normalized.rejected {
        assert!(!rejected.reason.is_empty() && !rejected.locator.is_empty());
    }
}

std::thread_local! {
    /// They are shared, since compiling their tables costs far more than using them.
    static PROCESSORS: RefCell<[RecordProcessor; 3]> = RefCell::new(
        [Format::Ecs, Format::Ocsf, Format::Raw].map(|format| RecordProcessor::new(format, Options::default())),
    );
}

/// All that normalizing these lines gives.
pub(crate) fn normalized(stream: Stream, format: Format, records: &[u8]) -> Normalized {
    PROCESSORS.with_borrow_mut(|processors| {
        let processor = processors
            .iter_mut()
            .find(|processor| processor.format() == format);
        normalize_all(processor.unwrap(), stream, records, NOW)
    })
}

/// How deep a text of JSON is nested.
pub(crate) fn depth(json: &str) -> u32 {
    let (mut depth, mut most, mut in_string, mut is_escaped) = (0_u32, 0, false, false);
    for byte in json.bytes() {
        if in_string {
            in_string = is_escaped || byte != b'"';
            is_escaped = !is_escaped && byte == b'\\';
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        most = most.max(depth);
    }
    most
}
