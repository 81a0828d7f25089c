//! What must hold for events of certain records: `tests/facts.json` has the records and the facts.
//!
//! A key is a path; a number in it is a place in a list. `null` is absent, `"*"` is there with any
//! value, and a key that ends in `[]` names a list that has at least these values.

mod event;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use event::event;
use mimecast_source::normalize::Format;
use mimecast_source::stream::STREAMS;
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct Case {
    /// What the record shows.
    description: String,
    stream: String,
    /// A JSON object, or a line of another form.
    record: Value,
    #[serde(default)]
    ecs: BTreeMap<String, Value>,
    #[serde(default)]
    ocsf: BTreeMap<String, Value>,
}

fn at<'v>(event: &'v Value, path: &str) -> Option<&'v Value> {
    let mut value = event;
    for part in path.split('.') {
        value = match part.parse::<usize>() {
            Ok(place) if value.is_array() => value.get(place)?,
            Ok(_) | Err(_) => value.get(part)?,
        };
    }
    Some(value)
}

/// Describes the difference from one fact, if it does not hold.
fn mismatch(event: &Value, key: &str, wanted: &Value) -> Option<String> {
    if let Some(path) = key.strip_suffix("[]") {
        let found = at(event, path).and_then(Value::as_array);
        let missing = wanted.as_array().into_iter().flatten();
        let missing: Vec<_> = missing
            .filter(|value| !found.is_some_and(|found| found.contains(value)))
            .collect();
        return (!missing.is_empty()).then(|| format!("{key} has no {missing:?} but {found:?}"));
    }
    let found = at(event, key);
    let holds = if wanted.is_null() {
        found.is_none()
    } else if wanted == "*" {
        found.is_some()
    } else {
        found == Some(wanted)
    };
    (!holds).then(|| format!("{key} is {found:?} and should be {wanted}"))
}

#[test]
fn the_events_of_certain_records_say_what_they_must() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/facts.json");
    let cases: Vec<Case> = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    let mut failures = Vec::new();
    for case in &cases {
        let row = STREAMS.iter().find(|row| row.name == case.stream).unwrap();
        let line = case.record.as_str().map(str::to_owned);
        let text = line.unwrap_or_else(|| case.record.to_string());
        for (format, facts) in [(Format::Ecs, &case.ecs), (Format::Ocsf, &case.ocsf)] {
            let event = event(row.stream, format, &text);
            let mismatch = facts
                .iter()
                .filter_map(|(key, value)| mismatch(&event, key, value));
            failures.extend(mismatch.map(|mismatch| format!("{}: {mismatch}", case.description)));
        }
    }
    assert!(cases.len() > 50, "{} cases", cases.len());
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
