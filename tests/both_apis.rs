//! The same message through both APIs: equal ECS documents, but for the fields that
//! `docs/migrating-to-api-2.md` lists with the reason.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail fast"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use mimecast_source::batch::{RecordProcessor, normalize_all};
use mimecast_source::normalize::{Format, Options};
use mimecast_source::record::legacy::stream_of_record;
use mimecast_source::stream::{FetchKind, STREAMS, Stream};
use mimecast_source::time::Timestamp;
use serde_json::Value;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Returns the rows of the table: a path, and the streams in which it may differ.
fn listed_differences() -> Vec<(String, Vec<String>)> {
    let page = fs::read_to_string(Path::new(ROOT).join("docs/migrating-to-api-2.md")).unwrap();
    let (_, table) = page.split_once("| Field | Events of | Why |").unwrap();
    let rows = table
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    let rows = rows.map(|line| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, path, streams, why, _] = cells.as_slice() else {
            panic!("{line}");
        };
        assert!(why.len() > 20, "no reason: {line}");
        let streams = streams
            .split(", ")
            .map(|name| name.trim_matches('`').to_owned());
        (path.trim_matches('`').to_owned(), streams.collect())
    });
    rows.collect()
}

/// Collects every value of an event under its path. Lists of plain values are values; lists of objects
/// are flattened under `path[index]`.
fn flatten(value: &Value, path: &str, out: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                let path = if path.is_empty() {
                    name.clone()
                } else {
                    format!("{path}.{name}")
                };
                flatten(value, &path, out);
            }
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            for (index, item) in items.iter().enumerate() {
                flatten(item, &format!("{path}[{index}]"), out);
            }
        }
        Value::Array(_) | Value::Bool(_) | Value::Null | Value::Number(_) | Value::String(_) => {
            out.insert(path.to_owned(), value.clone());
        }
    }
}

/// Returns a path as the table has it: with `[]` for each index.
fn listed_path(path: &str) -> String {
    let mut parts = path.split('[');
    let mut listed = parts.next().unwrap().to_owned();
    for part in parts {
        let (_index, rest) = part.split_once(']').unwrap();
        listed.push_str("[]");
        listed.push_str(rest);
    }
    listed
}

fn event(stream: Stream, record: &str) -> BTreeMap<String, Value> {
    let now = Timestamp::from_millis(1_770_100_000_000);
    let mut processor = RecordProcessor::new(Format::Ecs, Options::default());
    let normalized = normalize_all(&mut processor, stream, record.as_bytes(), now);
    assert!(normalized.rejected.is_empty(), "{:?}", normalized.rejected);
    let mut flattened = BTreeMap::new();
    let event = serde_json::from_str(&normalized.events).unwrap();
    flatten(&event, "", &mut flattened);
    flattened
}

#[test]
fn every_object_of_a_list_is_compared() {
    let flattened = |text: &str| {
        let mut flattened = BTreeMap::new();
        flatten(&serde_json::from_str(text).unwrap(), "", &mut flattened);
        flattened
    };
    let event = flattened(r#"{"a":[{"b":[{"c":1}]},{"b":[{"c":2}]}]}"#);
    assert_ne!(
        event,
        flattened(r#"{"a":[{"b":[{"c":9}]},{"b":[{"c":2}]}]}"#)
    );
    assert_ne!(
        event,
        flattened(r#"{"a":[{"b":[{"c":2}]},{"b":[{"c":1}]}]}"#)
    );
    let paths: Vec<String> = event.keys().map(|path| listed_path(path)).collect();
    assert_eq!(paths, ["a[].b[].c", "a[].b[].c"]);
}

#[test]
fn both_apis_give_equal_events_but_for_what_is_listed() {
    let listed_differences = listed_differences();
    let mut found_rows = BTreeSet::new();
    let types = STREAMS.iter().filter(|row| {
        matches!(row.fetch, FetchKind::Files { .. }) && row.stream.family() == "siem"
    });
    let mut count = 0;
    let mut unlisted = Vec::new();
    for row in types {
        let path = format!("{ROOT}/tests/fixtures/both-apis/{}.ndjson", row.name);
        let text = fs::read_to_string(&path).unwrap();
        let [v2, json, pairs] = text.lines().collect::<Vec<_>>()[..] else {
            panic!("{path} has not three lines");
        };
        assert_eq!(stream_of_record(json.as_bytes()), row.stream, "{json}");
        let expected = event(row.stream, v2);
        for record in [json, pairs] {
            // The type is determined by the fields, as in a file whose name does not have it.
            let actual = event(Stream::Siem, record);
            let names: BTreeSet<&String> = expected.keys().chain(actual.keys()).collect();
            for name in names {
                if expected.get(name) == actual.get(name) {
                    continue;
                }
                let listed = listed_path(name);
                let found = listed_differences.iter().position(|(path, streams)| {
                    *path == listed && streams.iter().any(|one| one == "all" || one == row.name)
                });
                if let Some(found) = found {
                    found_rows.insert(found);
                } else {
                    let values = (expected.get(name), actual.get(name));
                    unlisted.push(format!("{}: {name}: {values:?}", row.name));
                }
            }
            count += 1;
        }
    }
    assert!(unlisted.is_empty(), "{unlisted:#?}");
    assert_eq!(count, 20);
    for (at, row) in listed_differences.iter().enumerate() {
        assert!(found_rows.contains(&at), "nothing differs in {row:?}");
    }
}
