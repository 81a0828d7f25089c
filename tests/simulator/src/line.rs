//! Lines that faults add to files.

use serde_json::json;

use crate::batch_file::{gzip, inflate};
use crate::event_type::EventType;
use crate::fault::Effect;
use crate::identity::identity;

/// A line that a fault adds to a file.
#[derive(Debug)]
pub(crate) struct Line {
    bytes: Vec<u8>,
    pub(crate) kind: LineKind,
}

/// The kind of an added line, by which the ledger counts it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum LineKind {
    /// A line that is no record.
    Malformed,
    /// A line that is malformed only because of invalid UTF-8.
    InvalidUtf8,
    /// A record without a timestamp: its identity, in hexadecimal.
    Untimed(String),
}

/// Returns the line that an effect adds to a file; `None` if it adds none.
pub(crate) fn for_effect(effect: &Effect, event_type: EventType) -> Option<Line> {
    let line = |bytes: Vec<u8>, kind| Some(Line { bytes, kind });
    if let Effect::InvalidUtf8Line = effect {
        let bytes = b"{\"type\":\"receipt\",\"subject\":\"\xc3\x28\",\"timestamp\":1795338331000}";
        line(bytes.to_vec(), LineKind::InvalidUtf8)
    } else if let Effect::LongLine = effect {
        let subject = "long ".repeat(LONG_LINE_BYTES / 5);
        let record =
            json!({"type": "receipt", "subject": subject, "timestamp": 1_795_338_331_000_u64});
        line(record.to_string().into_bytes(), LineKind::Malformed)
    } else if let Effect::MalformedLine = effect {
        let bytes = b"{\"type\":\"receipt\",\"subject\":\"cut of";
        line(bytes.to_vec(), LineKind::Malformed)
    } else if let Effect::UntimedLine = effect {
        let record = json!({"type": event_type.name(), "subtype": null, "accountId": "C0A0",
            "processingId": "no-timestamp", "aggregateId": "no-timestamp"});
        let identity = identity(event_type.stream(), &record).unwrap_or_default();
        line(record.to_string().into_bytes(), LineKind::Untimed(identity))
    } else {
        None
    }
}

impl Line {
    /// Returns the file with this line inserted after its first line.
    pub(crate) fn insert_into(&self, file: &[u8]) -> Vec<u8> {
        let plain = inflate(file);
        let at = plain
            .iter()
            .position(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        let (head, tail) = plain.split_at_checked(at).unwrap_or_default();
        gzip(&[head, &self.bytes, b"\n", tail].concat(), 1)
    }
}

/// Longer than a reader must accept. No real record is nearly as long.
const LONG_LINE_BYTES: usize = 1_200_000;
