//! Events of single records, for tests of their contents.

use mimecast_source::batch::{RecordProcessor, normalize_all};
use mimecast_source::normalize::{Format, Options};
use mimecast_source::stream::Stream;
use mimecast_source::time::Timestamp;
use serde_json::Value;

/// The event of a record: a JSON object, or a line of another form that the stream has.
#[expect(clippy::unwrap_used, reason = "a test may fail fast")]
pub(crate) fn event(stream: Stream, format: Format, record: &str) -> Value {
    let mut processor = RecordProcessor::new(format, Options::default());
    let now = Timestamp::from_millis(1_772_400_000_000);
    let normalized = normalize_all(&mut processor, stream, record.as_bytes(), now);
    assert!(normalized.rejected.is_empty(), "{record}");
    serde_json::from_str(&normalized.events).unwrap()
}
