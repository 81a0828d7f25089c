//! The items of the POST logs, lists and threat feeds, and their times.

use crate::identity::{Identity, of_canonical, write_canonical};
use crate::post::PostEndpoint;
use crate::random::Random;
use crate::records::{FieldGenerator, remediation};

use serde_json::Value;

/// One item of a log.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) at_ms: i64,
    pub(crate) record: Value,
    pub(crate) identity: Identity,
    /// How often it was served.
    pub(crate) served: u64,
    /// Whether it was removed from the list.
    pub(crate) is_removed: bool,
    /// Its index in the order in which items were added.
    pub(crate) arrival_index: usize,
}

impl Item {
    /// Creates an item that was not served yet.
    pub(crate) fn new(stream: &str, at_ms: i64, record: Value) -> Self {
        Self {
            at_ms,
            identity: record_identity(stream, &record),
            record,
            served: 0,
            is_removed: false,
            arrival_index: 0,
        }
    }
}

/// Generates records that are spread over the time before now, several of them in the same second.
pub(crate) fn generate_spread(
    post_endpoint: &'static PostEndpoint,
    (seed, odd_shapes): (u64, bool),
    count: u32,
    (from_ms, now_ms): (i64, i64),
) -> Vec<Item> {
    let groups = i64::from(count / GROUP_RECORDS + 1);
    let step_ms = (now_ms - from_ms).max(0) / groups;
    // Groups are shifted by two records, so a page boundary at a multiple of 10 always falls inside a
    // group.
    let group = |number: u32| i64::from((number + GROUP_RECORDS / 2) / GROUP_RECORDS);
    let at_ms = |number: u32| now_ms - 1000 - step_ms * group(number);
    (0..count)
        .map(|number| {
            item(
                post_endpoint,
                (seed, odd_shapes),
                u64::from(number),
                at_ms(number),
            )
        })
        .collect()
}

/// Returns the item of that number.
pub(crate) fn item(
    post_endpoint: &'static PostEndpoint,
    (seed, odd_shapes): (u64, bool),
    number: u64,
    at_ms: i64,
) -> Item {
    let at_ms = at_ms.div_euclid(1000) * 1000;
    let mut generator = FieldGenerator {
        random: Random::new(seed, post_endpoint.stream, &[number]),
        number,
        at_ms,
        odd_shapes,
    };
    Item::new(
        post_endpoint.stream,
        at_ms,
        (post_endpoint.generate_record)(&mut generator),
    )
}

/// Returns the identity of a record that has no transport fields, so that its text is the canonical
/// one. Codes of `remediation` are redacted first.
pub(crate) fn record_identity(stream: &str, record: &Value) -> Identity {
    let mut text = Vec::new();
    write_canonical(&mut text, &remediation::without_codes(stream, record));
    of_canonical(stream, &text)
}

/// How many records share a second.
const GROUP_RECORDS: u32 = 5;
