//! The rules of `docs/detections.md`: each matches the event of a record that it is meant for, in
//! both formats, and not the event of one that looks like it.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may fail fast and says what is wrong"
)]

#[path = "../event/mod.rs"]
mod event;
mod query;

use std::fs;
use std::path::Path;

use event::event;
use mimecast_source::normalize::Format;
use mimecast_source::stream::STREAMS;
use query::{Dialect, Query};
use serde::Deserialize;
use serde_json::Value;

/// How many rules the page has at least.
const RULES_MIN: usize = 15;

/// A rule of the page.
struct Rule {
    title: String,
    kql: Query,
    spl: Query,
}

/// Records for one rule.
#[derive(Deserialize)]
struct Case {
    rule: String,
    stream: String,
    matches: Vec<Value>,
    non_matches: Vec<Value>,
    /// The stream of `non_matches`, where it is another one.
    non_match_stream: Option<String>,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The rules, in the order of the page.
fn rules() -> Vec<Rule> {
    let page = fs::read_to_string(root().join("docs/detections.md")).unwrap();
    let sections = page.split("\n## ").skip(1);
    let rules = sections.filter_map(|section| {
        let title = section.lines().next().unwrap().to_owned();
        let block = |language: &str| {
            let (_, rest) = section.split_once(&format!("```{language}\n"))?;
            Some(rest.split_once("```").unwrap().0.to_owned())
        };
        let (kql, spl) = (block("kql")?, block("spl")?);
        let read = |dialect, text: &str| {
            Query::parse(dialect, text).unwrap_or_else(|error| panic!("{title}: {error}: {text}"))
        };
        Some(Rule {
            kql: read(Dialect::Kql, &kql),
            spl: read(Dialect::Spl, &spl),
            title,
        })
    });
    rules.collect()
}

fn event_of(stream: &str, format: Format, record: &Value) -> Value {
    let row = STREAMS.iter().find(|row| row.name == stream).unwrap();
    event(row.stream, format, &record.to_string())
}

#[test]
fn each_rule_matches_what_it_is_for_and_nothing_that_looks_like_it() {
    let text = fs::read_to_string(root().join("tests/detections/cases.json")).unwrap();
    let cases: Vec<Case> = serde_json::from_str(&text).unwrap();
    let rules = rules();
    assert!(rules.len() >= RULES_MIN, "{} rules", rules.len());
    let mut failures = Vec::new();
    for rule in &rules {
        let of_rule: Vec<&Case> = cases
            .iter()
            .filter(|case| case.rule == rule.title)
            .collect();
        assert!(!of_rule.is_empty(), "no case for `{}`", rule.title);
        for case in of_rule {
            assert!(!case.matches.is_empty() && !case.non_matches.is_empty());
            let non_match_stream = case.non_match_stream.as_ref().unwrap_or(&case.stream);
            for (records, stream, wanted) in [
                (&case.matches, &case.stream, true),
                (&case.non_matches, non_match_stream, false),
            ] {
                for record in records {
                    for (format, query) in [(Format::Ecs, &rule.kql), (Format::Ocsf, &rule.spl)] {
                        let event = event_of(stream, format, record);
                        if query.matches(&event) != wanted {
                            let verb = if wanted { "misses" } else { "matches" };
                            failures.push(format!("{} {verb} {event}", rule.title));
                        }
                    }
                }
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    for case in &cases {
        assert!(
            rules.iter().any(|rule| rule.title == case.rule),
            "no rule is called `{}`",
            case.rule
        );
    }
}
