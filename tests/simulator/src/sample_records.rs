//! Records of every stream without a server, to look at or check many of them.

use serde_json::Value;

use crate::batch_file::RecordRange;
use crate::config::Config;
use crate::event_type::EventType;
use crate::items;
use crate::post;
use crate::siem::record_generator;

/// Returns the names of all streams.
#[must_use]
pub fn streams() -> Vec<&'static str> {
    let event_types = EventType::ALL.iter().map(|event_type| event_type.stream());
    let logs = post::record_endpoints().map(|post_endpoint| post_endpoint.stream);
    event_types.chain(logs).collect()
}

/// Generates `count` records of a stream, as a tenant of this configuration has them, spread over its
/// history; none for an unknown stream. A simulator of the same configuration need not serve the same ones.
#[must_use]
pub fn sample_records(config: &Config, stream: &str, count: u32) -> Vec<Value> {
    let to_ms = config.now_ms.unwrap_or(NOW_MS);
    let from_ms = to_ms - config.history_ms;
    if let Some(post_endpoint) = post::post_endpoint_of_stream(stream) {
        let window = (from_ms, to_ms);
        let items = items::generate_spread(
            post_endpoint,
            (config.seed, config.odd_shapes),
            count,
            window,
        );
        return items.into_iter().map(|item| item.record).collect();
    }
    let Some(event_type) = EventType::from_stream(stream) else {
        return Vec::new();
    };
    let generator = record_generator(config, event_type);
    let range = RecordRange {
        first: 0,
        records: count,
        from_ms,
        to_ms,
    };
    let record = |number| {
        let record = generator.record(number, &range);
        let fields = record.fields();
        fields
            .map(|(key, value)| (key.to_owned(), value.clone()))
            .collect()
    };
    (0..u64::from(count))
        .map(|number| Value::Object(record(number)))
        .collect()
}

/// A fixed time, so that the records are the same every day.
const NOW_MS: i64 = 1_795_331_131_000;
