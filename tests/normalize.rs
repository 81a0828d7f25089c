//! Every fixture becomes exactly the events beside it. `BLESS=1` writes them anew.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests may fail fast, as tests do"
)]

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use mimecast_source::batch::{Normalized, RecordProcessor, normalize_all};
use mimecast_source::decode::json::{scan_array, scan_object};
use mimecast_source::field::NAMES;
use mimecast_source::normalize::table::RowOutput;
use mimecast_source::normalize::{Format, Normalizer, Options};
use mimecast_source::normalize::{ecs, ocsf};
use mimecast_source::record::Parser;
use mimecast_source::stream::{STREAMS, Stream};
use mimecast_source::time::Timestamp;
use proptest::prelude::*;
use serde_json::Value;

/// What the fixtures take for the present.
const NOW: Timestamp = Timestamp::from_millis(1_770_100_000_000);

/// All that normalizing these lines gives.
fn normalized(stream: Stream, format: Format, records: &[u8]) -> Normalized {
    let mut processor = RecordProcessor::new(format, Options::default());
    normalize_all(&mut processor, stream, records, NOW)
}

#[test]
fn fixtures_become_the_events_beside_them() {
    let mut count = 0;
    for (stream, path) in fixtures() {
        let upstream = fs::read(&path).unwrap();
        for (format, name) in [(Format::Ecs, "ecs"), (Format::Ocsf, "ocsf")] {
            let actual = normalized(stream, format, &upstream);
            assert!(actual.rejected.is_empty(), "{}", path.display());
            count += actual.index.len();
            assert_or_bless(&path, name, &actual.events);
        }
    }
    assert!(count >= 400, "only {count} events");
}

/// Compares with the file beside the fixture, or writes it.
fn assert_or_bless(path: &Path, format: &str, actual: &str) {
    let expected_path = path
        .to_string_lossy()
        .replace(".upstream.", &format!(".expected.{format}."));
    if std::env::var_os("BLESS").is_some() {
        fs::write(&expected_path, actual).unwrap();
    }
    let expected = fs::read_to_string(&expected_path).unwrap_or_default();
    for (number, (actual, expected)) in actual.lines().zip(expected.lines()).enumerate() {
        assert_eq!(actual, expected, "{expected_path}:{}", number + 1);
    }
    let lines = (actual.lines().count(), expected.lines().count());
    assert_eq!(lines.0, lines.1, "{expected_path}");
}

/// All files of upstream records; every stream has one.
fn fixtures() -> Vec<(Stream, PathBuf)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let mut fixtures = Vec::new();
    for row in STREAMS {
        let mut paths: Vec<_> = fs::read_dir(root.join(row.name))
            .unwrap_or_else(|_| panic!("no fixtures for {}", row.name))
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.to_string_lossy().ends_with(".upstream.ndjson"))
            .collect();
        paths.sort();
        assert!(!paths.is_empty(), "no fixture for {}", row.name);
        fixtures.extend(paths.into_iter().map(|path| (row.stream, path)));
    }
    fixtures
}

/// A row that takes its value from fields: the path, and the fields.
type TableRow = (&'static str, Vec<&'static str>);

#[test]
fn every_row_of_the_tables_is_exercised_by_a_fixture() {
    let mut missing: BTreeSet<(&str, TableRow)> = BTreeSet::new();
    let mut written: BTreeSet<(&str, TableRow)> = BTreeSet::new();
    for (stream, path) in fixtures() {
        let upstream = fs::read(&path).unwrap();
        for (format, name) in [(Format::Ecs, "ecs"), (Format::Ocsf, "ocsf")] {
            let events = normalized(stream, format, &upstream).events;
            let events: Vec<Value> = events.lines().map(parse).collect();
            for row in rows(stream, format) {
                let is_written = events.iter().any(|event| has_path(event, row.0));
                if is_written {
                    &mut written
                } else {
                    &mut missing
                }
                .insert((name, row));
            }
        }
    }
    let never: Vec<_> = missing.difference(&written).collect();
    assert!(never.is_empty(), "{never:#?}");
}

/// The rows of a stream that have a path of their own.
fn rows(stream: Stream, format: Format) -> Vec<TableRow> {
    let rows = match format {
        Format::Ecs => ecs::tables(stream).rows.concat(),
        Format::Ocsf => ocsf::variants(stream)
            .iter()
            .flat_map(|variant| variant.rows.concat())
            .collect(),
        Format::Raw => Vec::new(),
    };
    rows.into_iter()
        .filter(|row| matches!(row.output, RowOutput::Field(_)))
        // The tenant comes from the settings; a test of its own covers every stream.
        .filter(|row| !matches!(row.path, "organization.name" | "metadata.tenant_uid"))
        .filter(|row| !row.path.is_empty() && !row.path.ends_with(['.', '}']))
        .map(|row| {
            (
                row.path,
                row.from.iter().map(|name| name.spelling()).collect(),
            )
        })
        .collect()
}

/// Whether the event has something at a path; `[]` is the first of a list.
fn has_path(event: &Value, path: &str) -> bool {
    let mut at = event;
    for step in path.split('.') {
        let (name, is_list) = step
            .strip_suffix("[]")
            .map_or((step, false), |name| (name, true));
        at = &at[name];
        if is_list {
            at = &at[0];
        }
    }
    !at.is_null()
}

fn parse(line: &str) -> Value {
    serde_json::from_str(line).unwrap()
}

#[test]
fn no_input_makes_the_normalizer_fail() {
    let huge = "x".repeat(1 << 20);
    let deep = format!("{}1{}", "[".repeat(60), "]".repeat(60));
    for row in STREAMS {
        for value in [
            "null",
            "7",
            "true",
            "[]",
            "{}",
            "[[]]",
            "\"\"",
            "[null,{\"emailAddress\":7}]",
            &deep,
            &format!("\"{huge}\""),
        ] {
            let members: Vec<_> = NAMES
                .iter()
                .map(|name| format!("\"{name}\":{value}"))
                .collect();
            let members = if value.len() > 1000 {
                &members[..2]
            } else {
                &members[..]
            };
            let record = format!("{{{}}}", members.join(","));
            for format in [Format::Ecs, Format::Ocsf, Format::Raw] {
                let result = normalized(row.stream, format, record.as_bytes());
                assert_eq!(
                    result.index.len(),
                    1,
                    "{} {}",
                    row.name,
                    value.get(..40).unwrap_or(value)
                );
                parse_single_line(&result.events);
            }
        }
    }
}

#[test]
fn what_is_nested_too_deeply_is_kept_as_text_and_named() {
    let deep = format!("{}7{}", "[".repeat(1000), "]".repeat(1000));
    let record = format!(
        r#"{{"type":"receipt","timestamp":1770091506789,"subject":"s","spamInfo":{deep},"extra":{deep}}}"#
    );
    for (format, unmapped_object) in [(Format::Ecs, "mimecast"), (Format::Ocsf, "unmapped")] {
        let result = normalized(Stream::SiemReceipt, format, record.as_bytes());
        let event = parse_single_line(&result.events);
        let errors = serde_json::json!(["spamInfo", "extra"]);
        assert_eq!(event[unmapped_object]["parse_errors"], errors, "{event}");
        assert!(result.events.contains("[7]"));
    }
}

#[test]
fn every_event_of_every_format_names_its_tenant_and_has_an_id_of_its_own() {
    let name = "Acme \"North\" é\u{2028}\u{85}";
    for row in STREAMS {
        let stream = row.stream;
        let record = br#"{"accountId":"C0A0","id":"1","type":"x","a":1}"#;
        for format in [Format::Ecs, Format::Ocsf, Format::Raw] {
            let path = match format {
                Format::Ecs => "/organization/name",
                Format::Ocsf => "/metadata/tenant_uid",
                Format::Raw => "/tenant",
            };
            let id = match format {
                Format::Ecs => "/event/id",
                Format::Ocsf => "/metadata/uid",
                Format::Raw => "/id",
            };
            let event = |tenant| {
                let mut processor =
                    RecordProcessor::new(format, Options::default()).with_tenant(tenant);
                parse_single_line(&normalize_all(&mut processor, stream, record, NOW).events)
            };
            // Some readers take these characters for the end of a line, whatever the record has.
            let mut processor =
                RecordProcessor::new(format, Options::default()).with_tenant(Some(name));
            let line = normalize_all(&mut processor, stream, record, NOW).events;
            assert!(!line.contains(['\u{2028}', '\u{85}']), "{line}");
            let (plain, acme, other) = (event(None), event(Some(name)), event(Some("other")));
            assert_eq!(acme.pointer(path).unwrap(), name, "{acme}");
            if format != Format::Ocsf {
                assert_eq!(plain.pointer(path), None, "{plain}");
            }
            let ids = [&plain, &acme, &other].map(|event| event.pointer(id).unwrap());
            assert!(ids[0] != ids[1] && ids[1] != ids[2], "{ids:?}");
            // The account of the record is kept beside it.
            assert!(acme.to_string().contains("C0A0"), "{acme}");
        }
    }
}

#[test]
fn bytes_that_are_no_text_are_replaced_and_named() {
    let record = b"{\"type\":\"receipt\",\"timestamp\":1770091506789,\"subject\":\"caf\xe9\",\"extra\":\"\xff\"}";
    for (format, unmapped_object) in [(Format::Ecs, "mimecast"), (Format::Ocsf, "unmapped")] {
        let result = normalized(Stream::SiemReceipt, format, record);
        let event = parse_single_line(&result.events);
        let errors = serde_json::json!(["subject", "extra"]);
        assert_eq!(event[unmapped_object]["parse_errors"], errors, "{event}");
        assert!(result.events.contains("caf\u{fffd}"));
    }
    let ids = [&b"{\"a\":\"\xff\"}"[..], b"{\"a\":\"\xfe\"}"].map(|record| {
        let events = normalized(Stream::SiemReceipt, Format::Raw, record).events;
        parse_single_line(&events)["id"].clone()
    });
    assert_ne!(ids[0], ids[1]);
}

#[test]
fn half_of_a_surrogate_pair_and_control_characters_are_repaired_and_named() {
    for (subject, expected) in [
        (r"party \ud83d", "party \u{fffd}"),
        (r"\uDE00 party \ud83d\ude00", "\u{fffd} party \u{1f600}"),
        (r"\ud83dA", "\u{fffd}A"),
        ("one\ttwo", "one\ttwo"),
        ("one\u{1}two", "one\u{1}two"),
    ] {
        let record = format!(
            r#"{{"type":"receipt","timestamp":1770091506789,"extra":{{"a":["{subject}"]}},"messageId":"<m1>","recipients":"ann@example.com","subject":"{subject}"}}"#
        );
        for (format, unmapped_object) in [(Format::Ecs, "mimecast"), (Format::Ocsf, "unmapped")] {
            let result = normalized(Stream::SiemReceipt, format, record.as_bytes());
            assert_eq!(result.rejected, [], "{subject}");
            let event = parse_single_line(&result.events);
            assert_eq!(event["email"]["subject"], expected);
            assert_eq!(event[unmapped_object]["extra"]["a"][0], expected);
            let errors = serde_json::json!(["extra", "subject"]);
            assert_eq!(event[unmapped_object]["parse_errors"], errors, "{event}");
        }
        let raw = normalized(Stream::SiemReceipt, Format::Raw, record.as_bytes());
        let event = parse_single_line(&raw.events);
        assert_eq!(event["record"]["subject"], expected);
        assert_eq!(event["record"]["messageId"], "<m1>");
    }
    let ids = [
        r#"{"a":"\ud83d"}"#,
        r#"{"a":"\ud83e"}"#,
        "{\"a\":\"\t\"}",
        r#"{"a":"\t"}"#,
    ];
    let ids: BTreeSet<String> = ids
        .iter()
        .map(|record| {
            let events = normalized(Stream::SiemReceipt, Format::Raw, record.as_bytes()).events;
            parse_single_line(&events)["id"].to_string()
        })
        .collect();
    assert_eq!(ids.len(), 4);
}

#[test]
fn a_byte_order_mark_before_a_line_costs_no_record() {
    let input = "\u{feff}{\"subject\":\"a\"}\n\u{feff}acc=C0A0|Subject=b\r\n\u{feff}\n";
    for format in [Format::Ecs, Format::Ocsf, Format::Raw] {
        let result = normalized(Stream::SiemReceipt, format, input.as_bytes());
        assert_eq!((result.index.len(), result.rejected.len()), (2, 0));
    }
}

/// Records whose lists have `count` values, all of them different.
fn long_records(count: usize) -> Vec<(&'static str, Stream, String)> {
    let list = |value: &dyn Fn(usize) -> String, separator: &str| {
        (0..count).map(value).collect::<Vec<_>>().join(separator)
    };
    let address = |n: usize| format!("user{n}@example.com");
    let quoted = |n: usize| format!("\"user{n}@example.com\"");
    let object = |n: usize| format!("{{\"emailAddress\":\"user{n}@example.com\"}}");
    let file = |n: usize| format!("\\\"file{n}.pdf\\\"");
    let result = |n: usize| format!("{{\"type\":\"SPF\",\"result\":\"fail {n}\"}}");
    vec![
        (
            "addresses in a text",
            Stream::SiemReceipt,
            format!(r#"{{"recipients":"{}"}}"#, list(&address, ";")),
        ),
        (
            "addresses in a list",
            Stream::SiemReceipt,
            format!(r#"{{"recipients":[{}]}}"#, list(&quoted, ",")),
        ),
        (
            "addresses in objects",
            Stream::HeldMessages,
            format!(r#"{{"to":[{}]}}"#, list(&object, ",")),
        ),
        (
            "attachments",
            Stream::SiemProcess,
            format!(
                r#"{{"attachments":"{}","numberAttachments":"{count}"}}"#,
                list(&file, ", ")
            ),
        ),
        (
            "results of checks",
            Stream::CiMailflow,
            format!(r#"{{"authResults":[{}]}}"#, list(&result, ",")),
        ),
        (
            "fields that were repaired",
            Stream::SiemReceipt,
            format!(
                "{{{}}}",
                (0..count.min(9_000))
                    .map(|n| format!("\"field{n}\":\"\\ud83d\""))
                    .collect::<Vec<_>>()
                    .join(",")
            ),
        ),
        (
            "patterns",
            Stream::ThreatIntelGrid,
            format!(
                r#"{{"pattern":"[{} = 'x']"}}"#,
                "file:hashes ".repeat(count)
            ),
        ),
    ]
}

#[test]
fn records_with_forty_thousand_values_take_linear_time() {
    let begun = std::time::Instant::now();
    for (name, stream, record) in long_records(40_000) {
        for format in [Format::Ecs, Format::Ocsf, Format::Raw] {
            let result = normalized(stream, format, record.as_bytes());
            assert_eq!(result.index.len(), 1, "{name}");
            parse_single_line(&result.events);
        }
    }
    // A quadratic search takes minutes for each of them.
    assert!(begun.elapsed().as_secs() < 60, "{:?}", begun.elapsed());
}

#[test]
fn a_list_ends_after_ten_thousand_values_and_its_field_is_kept_and_named() {
    for (name, field, path) in [
        ("addresses in a text", "recipients", "/email/to/address"),
        ("addresses in a list", "recipients", "/email/to/address"),
        ("addresses in objects", "to", "/email/to/address"),
        ("attachments", "attachments", "/email/attachments"),
    ] {
        for (count, is_cut) in [(10_000, false), (10_001, true)] {
            let records = long_records(count);
            let (_, stream, record) = records.iter().find(|record| record.0 == name).unwrap();
            let events = normalized(*stream, Format::Ecs, record.as_bytes()).events;
            let event = parse_single_line(&events);
            let list = event.pointer(path).and_then(Value::as_array);
            assert_eq!(list.map(Vec::len), Some(10_000), "{name}");
            let errors = event.pointer("/mimecast/parse_errors");
            let errors = errors.and_then(Value::as_array);
            let is_named = errors.is_some_and(|errors| errors.contains(&field.into()));
            assert_eq!(is_named, is_cut, "{name}");
            let unmapped = event["mimecast"].to_string();
            let number = count - 1;
            let last = match name {
                "attachments" => format!("file{number}."),
                _ => format!("user{number}@"),
            };
            assert!(record.contains(&last), "{name}");
            assert_eq!(unmapped.contains(&last), is_cut, "{name}");
        }
    }
}

#[test]
fn more_than_ten_thousand_signatures_end_the_list_and_name_the_field() {
    for (count, errors) in [(10_000, Value::Null), (10_001, serde_json::json!(["info"]))] {
        let names: Vec<_> = (0..count).map(|at| format!("engine.name{at}")).collect();
        let names = names.join(",");
        let record = format!(
            r#"{{"type":"Virus","created":"2026-02-03T04:05:06+0000","fromAddress":"ann@example.com","info":"[{names}]"}}"#
        );
        let events = normalized(Stream::Rejections, Format::Ocsf, record.as_bytes()).events;
        let event = parse_single_line(&events);
        let malware = event["malware"].as_array();
        assert_eq!(malware.map(Vec::len), Some(10_000));
        assert_eq!(event["unmapped"]["parse_errors"], errors);
    }
}

thread_local! {
    static NORMALIZERS: RefCell<Vec<Normalizer>> = RefCell::new({
        let options = Options { include_original: true, ..Options::default() };
        [Format::Ecs, Format::Ocsf, Format::Raw].map(|format| Normalizer::new(format, options)).into()
    });
}

/// One record as an event of each format.
fn events(stream: Stream, line: &str) -> [String; 3] {
    let mut parser = Parser::new();
    let record = parser.parse(stream, line).unwrap();
    let id = record.id().to_event_id(1, None);
    [Format::Ecs, Format::Ocsf, Format::Raw].map(|format| {
        let mut event = String::new();
        NORMALIZERS.with_borrow_mut(|normalizers| {
            let normalizer = normalizers.iter_mut().find(|n| n.format() == format);
            normalizer.unwrap().write(&record, &id, NOW, &mut event);
        });
        event
    })
}

/// Parses a text that is one line and ends with its line feed, which is asserted.
fn parse_single_line(text: &str) -> Value {
    let line = text.strip_suffix('\n').unwrap();
    assert!(!line.contains(['\n', '\r']), "{line}");
    serde_json::from_str(line).unwrap()
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<i32>().prop_map(|number| Value::from(f64::from(number) / 8.0)),
        any::<String>().prop_map(Value::from),
        "(ann|<)?@?[a-z.]{0,5}[,;<>@\" ]{0,2}[a-z0-9:./]{0,9}".prop_map(Value::from),
        r#"(https?://|ann@|"Li" <|\[|User )?[a-z0-9.@:/<>;,"\\ \t\[\]{}]{0,14}"#
            .prop_map(Value::from),
        prop::sample::select(&SPECIAL_VALUES[..]).prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("(spf|info|[a-z]{0,4})", inner.clone(), 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
            inner.prop_map(|value| Value::from(value.to_string())),
        ]
    })
}

/// A stream and fields of it, most of which its tables read.
fn stream_and_fields() -> impl Strategy<Value = (Stream, BTreeMap<&'static str, Value>)> {
    prop::sample::select(STREAMS).prop_flat_map(|row| {
        let name = prop_oneof![
            3 => prop::sample::select(names_read(row.stream)),
            1 => prop::sample::select(NAMES),
        ];
        let fields = prop::collection::btree_map(name, any_json(), 0..12);
        (Just(row.stream), fields)
    })
}

/// The names of the fields that the tables of a stream read.
fn names_read(stream: Stream) -> Vec<&'static str> {
    let of_ecs = ecs::tables(stream).rows.concat();
    let of_ocsf = ocsf::variants(stream).iter();
    let rows = of_ocsf
        .flat_map(|variant| variant.rows.concat())
        .chain(of_ecs);
    let names: BTreeSet<_> = rows
        .flat_map(|row| row.from.iter().map(|name| name.spelling()))
        .collect();
    names.into_iter().collect()
}

const SPECIAL_VALUES: [&str; 16] = [
    "",
    "<>",
    "null",
    "N/A",
    "[]",
    "{}",
    "none",
    "Rej",
    "Hold",
    "true",
    "No",
    "1770091506789",
    "TLSv1.2",
    "2001:db8::1",
    "https://ann@[2001:db8::1]:80/a.b?c#d",
    "{\"spf\":{\"info\":\"x\"}}",
];

#[test]
fn no_reader_of_lines_finds_a_break_inside_an_event() {
    let breaks = ['\u{85}', '\u{2028}', '\u{2029}'];
    for line in [
        "{\"senderEnvelope\":\"a\u{85}b\",\"subject\":\"one\u{2028}two é\u{2029}€\",\"x\u{2028}\":[\"\u{85}\"]}",
        r#"{"senderEnvelope":"a\u0085b","subject":"one\u2028two é\u2029€","x\u2028":["\u0085"]}"#,
    ] {
        let mut parser = Parser::new();
        let record = parser.parse(Stream::SiemReceipt, line).unwrap();
        let mut out = String::new();
        Normalizer::new(
            Format::Ecs,
            Options {
                include_original: true,
                ..Options::default()
            },
        )
        .write(&record, &record.id().to_event_id(1, None), NOW, &mut out);
        assert!(!out.contains(breaks), "{out}");
        let event: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(event["email"]["subject"], "one\u{2028}two é\u{2029}€");
        assert_eq!(event["mimecast"]["x\u{2028}"][0], "\u{85}");
        assert_eq!(event["event"]["original"], line);
        let mut raw = String::new();
        Normalizer::new(Format::Raw, Options::default()).write(
            &record,
            &record.id().to_event_id(1, None),
            NOW,
            &mut raw,
        );
        assert!(raw.contains(&format!("\"record\":{line}}}")), "{raw}");
    }
}

/// Each field that a stream's tables read has the same text, so that every conversion gets it.
#[test]
fn text_with_escapes_gives_valid_events_in_every_field() {
    let start = ["", "a@", "Ann <a@", "https://a@", "[\"", "{\"a\":\""];
    let escaped = ["\"", "\\", "\u{1}", "\t", "\u{2028}é", "\\u0022"];
    let end = ["", "b", ">", "\"@b", "/c.d?e"];
    for row in STREAMS {
        let names = names_read(row.stream);
        for start in start {
            for (at, escaped) in escaped.iter().enumerate() {
                let end = end[(at + start.len()) % end.len()];
                let text = Value::from(format!("{start}{escaped}{end}"));
                let record: BTreeMap<_, _> = names.iter().map(|name| (name, &text)).collect();
                let line = serde_json::to_string(&record).unwrap();
                for event in events(row.stream, &line) {
                    let read = parse_single_line(&event).to_string();
                    assert_eq!(
                        member_count(event.trim_end()),
                        member_count(&read),
                        "{event}"
                    );
                }
            }
        }
    }
}

/// Writers of JSON differ in what they escape.
#[test]
fn escapes_that_json_does_not_need_change_no_event() {
    let mut count = 0;
    for (stream, path) in fixtures() {
        let upstream = fs::read(path).unwrap();
        for line in String::from_utf8_lossy(&upstream).lines() {
            if serde_json::from_str::<Value>(line).is_err() {
                continue;
            }
            let escaped = all_escaped(line);
            let mut parser = Parser::new();
            let record = parser.parse(stream, line).unwrap();
            let id = record.id().to_event_id(1, None);
            for format in [Format::Ecs, Format::Ocsf] {
                let mut normalizer = Normalizer::new(format, Options::default());
                let mut expected = String::new();
                normalizer.write(&record, &id, NOW, &mut expected);
                let mut parser = Parser::new();
                let record = parser.parse(stream, &escaped).unwrap();
                assert_eq!(record.id().to_event_id(1, None), id, "{line}");
                let mut event = String::new();
                normalizer.write(&record, &id, NOW, &mut event);
                assert_eq!(
                    parse_single_line(&event),
                    parse_single_line(&expected),
                    "{line}"
                );
                count += 1;
            }
        }
    }
    assert!(count > 400, "only {count} events");
}

/// The same JSON with escapes for all characters of its strings.
fn all_escaped(json: &str) -> String {
    let mut out = String::new();
    let mut in_string = false;
    let mut characters = json.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => in_string = !in_string,
            '\\' => {
                out.push('\\');
                let escape = characters.next().unwrap();
                out.push(escape);
                if escape == 'u' {
                    out.extend(characters.by_ref().take(4));
                }
                continue;
            }
            _ if in_string => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
                continue;
            }
            _ => {}
        }
        out.push(character);
    }
    out
}

#[test]
fn unread_members_are_kept() {
    for (stream, line, words) in [
        (
            Stream::HeldMessages,
            r#"{"id":"1","to":[{"emailAddress":"a@b.test"},{"emailAddress":["c@d.test"]}]}"#,
            &["a@b.test", "c@d.test"][..],
        ),
        (
            Stream::SiemReceipt,
            r#"{"senderHeader":"CEO Jane Roe <x@evil.test>","senderEnvelope":"x@evil.test"}"#,
            &["CEO Jane Roe", "x@evil.test"],
        ),
        (
            Stream::SiemProcess,
            r#"{"attachments":"\"n/a\", \"a.pdf\"","numberAttachments":"2"}"#,
            &["n/a", "a.pdf"],
        ),
        (
            Stream::TrainingPhishing,
            r#"{"email":"a@b.test","clickedIp":"192.0.2.1:443"}"#,
            &["192.0.2.1", "443"],
        ),
        (
            Stream::SiemReceipt,
            r#"{"Subject":"first","subject":"second"}"#,
            &["first", "second"],
        ),
    ] {
        let [ecs, ocsf, _] = events(stream, line).map(|event| parse_single_line(&event));
        for mut event in [ecs, ocsf] {
            for (object, original) in [("/event", "original"), ("", "raw_data")] {
                let object = event.pointer_mut(object).and_then(Value::as_object_mut);
                object.map(|object| object.remove(original));
            }
            let event = event.to_string();
            for word in words {
                assert!(event.contains(word), "{word} is not in {event}");
            }
        }
    }
}

/// A stream, a record, and what stands at places of its events: below `ecs` and `ocsf`.
type EventCase = (
    Stream,
    &'static str,
    &'static [(&'static str, &'static str)],
);

fn assert_events(table: &[EventCase]) {
    for (stream, line, expected) in table {
        let [ecs, ocsf, _] = events(*stream, line).map(|event| parse_single_line(&event));
        let both = serde_json::json!({ "ecs": ecs, "ocsf": ocsf });
        for (path, json) in *expected {
            let found = both.pointer(path).unwrap_or(&Value::Null);
            let json: Value = serde_json::from_str(json).unwrap();
            assert_eq!(found, &json, "{path} of {line}");
        }
    }
}

#[test]
fn audit_events_say_what_was_done_whatever_addresses_and_names_contain() {
    assert_events(&[
        (
            Stream::Audit,
            r#"{"auditType":"Connectors Management","user":"ann@example.com","category":"integrations_and_apis","eventInfo":"Connector creation for Microsoft O365\nName: Sync - 365, Description: null\nSuccess: false, Date: 2026-03-01, Time: 08:47:53+0000, IP: 192.0.2.15, Application: Console"}"#,
            &[
                ("/ecs/event/outcome", r#""failure""#),
                ("/ecs/event/severity", "2"),
                ("/ocsf/status_id", "2"),
            ],
        ),
        (
            Stream::Audit,
            r#"{"auditType":"User Password Changed","category":"user_account_and_role_logs","user":"admin@example.com","eventInfo":"Password reset for user: carole@example.com, Date: 2026-03-01, Time: 10:20:30+0000, IP: 192.0.2.1"}"#,
            &[
                ("/ecs/event/type", r#"["user","change"]"#),
                ("/ecs/user/target/roles", "null"),
                ("/ocsf/class_uid", "3001"),
            ],
        ),
        (
            Stream::Audit,
            r#"{"auditType":"Account Unlocked","category":"user_account_and_role_logs","user":"admin@example.com","eventInfo":"Account of removals@example.com was unlocked, Date: 2026-03-01, Time: 10:20:30+0000"}"#,
            &[("/ecs/event/type", r#"["user","change"]"#)],
        ),
        (
            Stream::Audit,
            r#"{"auditType":"Logon Authentication Failed","category":"authentication_logs","user":"ann@example.com","eventInfo":"User ann@example.com attempted to access the console but does not have the required permissions to do so, Date : 2026-03-01, Time: 10:20:30+0000"}"#,
            &[("/ecs/user/target/roles", "null")],
        ),
        (
            Stream::Audit,
            r#"{"auditType":"Search Action","category":"archive_service_logs","user":"ann@example.com","eventInfo":"Search Criteria: {\"keywords\":\"payment was not received\",\"status\":\"failed\"}, Date: 2026-03-01, Time: 10:20:30+0000"}"#,
            &[("/ecs/event/outcome", r#""success""#)],
        ),
        (
            Stream::Audit,
            r#"{"auditType":"Folder Log Entry","category":"profile_group_logs","user":"ann@example.com","eventInfo":"Action Performed - Edited New Folder by ann@example.com, Date: 2026-03-01, Time: 10:20:30+0000"}"#,
            &[("/ecs/event/type", r#"["group","change"]"#)],
        ),
        (
            Stream::Audit,
            r#"{"auditType":"Remediation Incident Adjustment","category":"account_logs","user":"ann@example.com","eventInfo":"Remediation incident created, Date: 2026-03-01, Time: 10:20:30+0000"}"#,
            &[("/ocsf/entity/type_id", "99")],
        ),
        (
            Stream::Audit,
            r#"{"auditType":"Policy Log Entry","user":"ann@example.com","category":"account_logs","eventInfo":"Policy 7 was updated and two rules were removed"}"#,
            &[
                ("/ecs/event/type", r#"["change"]"#),
                ("/ocsf/activity_id", "3"),
            ],
        ),
        (
            Stream::Audit,
            r#"{"auditType":"Exchange Undelete","user":"ann@example.com","category":"account_logs","eventInfo":"Unseen"}"#,
            &[
                ("/ecs/event/type", r#"["info"]"#),
                ("/ocsf/activity_id", "99"),
            ],
        ),
        (
            Stream::Audit,
            r#"{"auditType":"Folder Log Entry","user":"ann@example.com","category":"profile_group_logs","eventInfo":"The group VIP was updated, member bob@example.com removed"}"#,
            &[("/ocsf/activity_id", "4")],
        ),
        (
            Stream::CiEntities,
            r#"{"threatType":"PHISHING","threatState":"UNDELIVERED"}"#,
            &[("/ecs/event/type", r#"["info"]"#)],
        ),
    ]);
}

#[test]
fn audit_events_say_who_was_affected_and_by_whom() {
    assert_events(&[
        (
            Stream::Audit,
            r#"{"auditType":"Case Action","user":"ann@example.com","category":"case_review_logs","eventInfo":"Viewed Case - Case: Goods were not delivered, Date: 2026-03-01, Time: 10:20:30+0000, IP: 192.0.2.15"}"#,
            &[
                ("/ecs/event/outcome", r#""success""#),
                ("/ocsf/status_id", "1"),
                (
                    "/ocsf/web_resources/0/name",
                    r#""Goods were not delivered""#,
                ),
            ],
        ),
        (
            Stream::Audit,
            r#"{"auditType":"Folder Log Entry","user":"ann@example.com","category":"profile_group_logs","eventInfo":"Action Performed - Removed bob@example.com from VIP by ann@example.com<Li, Ann>"}"#,
            &[
                ("/ecs/event/type", r#"["group","change"]"#),
                ("/ecs/user/target/email", r#""bob@example.com""#),
                ("/ecs/user/full_name", r#""Li, Ann""#),
                ("/ocsf/activity_id", "4"),
                ("/ocsf/user/name", r#""bob@example.com""#),
                ("/ocsf/actor/user/name", r#""ann@example.com""#),
            ],
        ),
        (
            Stream::Audit,
            r#"{"auditType":"Group Member Added","user":"ann@example.com","category":"profile_group_logs","eventInfo":"bob@example.com added to VIP"}"#,
            &[
                ("/ecs/event/type", r#"["group","change"]"#),
                ("/ocsf/activity_id", "3"),
            ],
        ),
        (
            Stream::Audit,
            r#"{"auditType":"User Settings Changed","user":"ann@example.com","category":"user_account_and_role_logs","eventInfo":"User bob@example.com added to group VIP"}"#,
            &[
                ("/ecs/event/type", r#"["group","change"]"#),
                ("/ocsf/class_uid", "3006"),
                ("/ocsf/activity_id", "3"),
            ],
        ),
        (
            Stream::Audit,
            r#"{"auditType":"Logon Authentication Failed","user":"com.example.User@1a2b3c4d","category":"authentication_logs","eventInfo":"Failed authentication, emailAddress :com.example.Address@4a3bcd11[emailAddress=bob@example.com,aliases={}] remote IP : 192.0.2.4 application : LFS"}"#,
            &[
                ("/ecs/user/name", r#""bob@example.com""#),
                ("/ecs/related/user", r#"["bob@example.com"]"#),
                ("/ecs/source/ip", r#""192.0.2.4""#),
                ("/ecs/mimecast/user", r#""com.example.User@1a2b3c4d""#),
                ("/ocsf/user/name", r#""bob@example.com""#),
                ("/ocsf/class_uid", "3002"),
            ],
        ),
        (
            Stream::Audit,
            r#"{"auditType":"Policy Changed","user":"User{id=7, emailAddress='ann@example.com'}","category":"account_logs","eventInfo":"Policy changed"}"#,
            &[
                ("/ecs/user/email", r#""ann@example.com""#),
                ("/ocsf/actor/user/name", r#""ann@example.com""#),
            ],
        ),
        (
            Stream::Audit,
            r#"{"auditType":"User Password Changed","user":"admin@example.com","category":"user_account_and_role_logs","eventInfo":"Password reset for bob@example.com <Doe, Bob>"}"#,
            &[
                ("/ecs/user/name", r#""admin@example.com""#),
                ("/ecs/user/full_name", "null"),
                ("/ecs/user/target/full_name", r#""Doe, Bob""#),
                ("/ecs/user/target/name", r#""bob@example.com""#),
            ],
        ),
        (
            Stream::Audit,
            r#"{"auditType":"User Settings Changed","user":"","category":"user_account_and_role_logs","eventInfo":"Account of bob@example.com was locked by ann@example.com <Li, Ann>"}"#,
            &[
                ("/ecs/user/name", r#""ann@example.com""#),
                ("/ecs/user/full_name", r#""Li, Ann""#),
                ("/ecs/user/target/name", r#""bob@example.com""#),
                ("/ocsf/user/name", r#""bob@example.com""#),
                ("/ocsf/actor/user/name", r#""ann@example.com""#),
            ],
        ),
        (
            Stream::Audit,
            r#"{"auditType":"Policy Changed","user":"system","category":"account_logs","eventInfo":"Policy x edited by ann@example.com"}"#,
            &[("/ecs/user/target", "null")],
        ),
        (
            Stream::Audit,
            r#"{"auditType":"Role Created","user":"ann@example.com","category":"user_account_and_role_logs","eventInfo":"Role Help Desk created by ann@example.com, IP: 192.0.2.15"}"#,
            &[
                ("/ecs/event/type", r#"["admin","creation"]"#),
                ("/ecs/user/target", "null"),
                ("/ocsf/class_uid", "3004"),
                ("/ocsf/activity_id", "1"),
                ("/ocsf/entity/name", r#""Help Desk""#),
                ("/ocsf/entity/type_id", "99"),
                ("/ocsf/actor/user/name", r#""ann@example.com""#),
            ],
        ),
        (
            Stream::Audit,
            r#"{"auditType":"Account Settings Changed","user":"ann@example.com","category":"user_account_and_role_logs","eventInfo":"Role 'Help Desk' deleted"}"#,
            &[
                ("/ecs/event/type", r#"["admin","change"]"#),
                ("/ocsf/class_uid", "3004"),
                ("/ocsf/entity/name", r#""Help Desk""#),
            ],
        ),
    ]);
}

#[test]
fn events_say_what_was_done() {
    assert_events(&[
        (
            Stream::SiemImpersonationProtect,
            r#"{"action":"Bounce","taggedMalicious":true}"#,
            &[
                ("/ecs/event/type", r#"["info","denied"]"#),
                ("/ecs/event/severity", "4"),
            ],
        ),
        (
            Stream::SiemImpersonationProtect,
            r#"{"action":"Hold, Notify","taggedMalicious":true}"#,
            &[("/ecs/event/type", r#"["info","denied"]"#)],
        ),
        (
            Stream::SiemImpersonationProtect,
            r#"{"action":null,"taggedMalicious":true}"#,
            &[
                ("/ecs/event/type", r#"["info"]"#),
                ("/ecs/event/severity", "4"),
            ],
        ),
        (
            Stream::TtpImpersonation,
            r#"{"action":"Hold, Notify"}"#,
            &[("/ecs/event/type", r#"["info","denied"]"#)],
        ),
        (
            Stream::SiemUrlProtect,
            r#"{"action":"Allow"}"#,
            &[("/ecs/event/severity", "4"), ("/ocsf/severity_id", "4")],
        ),
        (
            Stream::SiemUrlProtect,
            r#"{"action":"None"}"#,
            &[("/ecs/event/severity", "4"), ("/ocsf/severity_id", "4")],
        ),
        (
            Stream::SiemUrlProtect,
            r#"{"action":"Block"}"#,
            &[("/ecs/event/severity", "3"), ("/ocsf/severity_id", "3")],
        ),
        (
            Stream::CiUrlclick,
            r#"{"action":"ALLOWED"}"#,
            &[
                ("/ecs/event/type", r#"["info","allowed"]"#),
                ("/ecs/event/severity", "4"),
                ("/ocsf/severity_id", "4"),
                ("/ocsf/finding_info/title", r#""Click on a malicious URL""#),
            ],
        ),
        (
            Stream::CiUrlclick,
            r#"{"recipients":["bob@example.test"]}"#,
            &[
                ("/ecs/event/type", r#"["info","denied"]"#),
                ("/ecs/user/email", r#""bob@example.test""#),
                ("/ocsf/severity_id", "3"),
            ],
        ),
        (
            Stream::TtpUrl,
            r#"{"scanResult":"malicious","actions":"Browser Isolation"}"#,
            &[
                ("/ecs/event/type", r#"["info","denied"]"#),
                ("/ocsf/disposition_id", "4"),
            ],
        ),
        (
            Stream::TtpUrl,
            r#"{"scanResult":"malicious","actions":"Allow","creationMethod":"Entry Scan"}"#,
            &[("/ecs/threat/technique/subtechnique/id", r#"["T1566.002"]"#)],
        ),
        (
            Stream::TtpUrl,
            r#"{"scanResult":["malicious"]}"#,
            &[
                ("/ecs/event/kind", r#""alert""#),
                ("/ocsf/is_alert", "true"),
            ],
        ),
        (
            Stream::Remediation,
            r#"{"type":"notify_only","failed":2}"#,
            &[
                ("/ecs/event/severity", "3"),
                ("/ecs/event/outcome", r#""failure""#),
                ("/ocsf/severity_id", "3"),
                ("/ocsf/status_id", "2"),
            ],
        ),
        (
            Stream::Audit,
            r#"{"auditType":"Mimecast Support Login","eventInfo":"Support logged in, IP: 198.51.100.7"}"#,
            &[("/ecs/event/severity", "3"), ("/ocsf/severity_id", "3")],
        ),
        (
            Stream::SiemInternalEmailProtect,
            r#"{"route":"Outbound"}"#,
            &[("/ecs/threat", "null"), ("/ocsf/attacks", "null")],
        ),
        (
            Stream::SiemInternalEmailProtect,
            r#"{"Route":"outbound","direction":null}"#,
            &[("/ecs/threat", "null"), ("/ocsf/attacks", "null")],
        ),
        (
            Stream::SiemInternalEmailProtect,
            r#"{"direction":"External"}"#,
            &[("/ecs/threat", "null"), ("/ocsf/attacks", "null")],
        ),
        (
            Stream::SiemInternalEmailProtect,
            r#"{"subject":"s"}"#,
            &[("/ecs/threat/technique/id", r#"["T1534"]"#)],
        ),
        (
            Stream::SiemInternalEmailProtect,
            r#"{"route":"Internal"}"#,
            &[("/ecs/threat/technique/id", r#"["T1534"]"#)],
        ),
        (
            Stream::SiemReceipt,
            r#"{"action":"Rej","rejectionType":"Phishing Link Detection"}"#,
            &[("/ecs/threat/technique/subtechnique/id", r#"["T1566.002"]"#)],
        ),
        (
            Stream::SiemSpam,
            r#"{"action":"Hld"}"#,
            &[
                ("/ecs/event/outcome", r#""failure""#),
                ("/ocsf/status_id", "1"),
                ("/ocsf/action_id", "2"),
                ("/ocsf/disposition_id", "3"),
            ],
        ),
        (
            Stream::SiemProcess,
            r#"{"action":"Hld"}"#,
            &[("/ocsf/status_id", "1"), ("/ocsf/disposition_id", "3")],
        ),
        (
            Stream::SiemSpam,
            r#"{"action":"Bnc"}"#,
            &[("/ocsf/status_id", "2"), ("/ocsf/disposition_id", "25")],
        ),
        (
            Stream::SiemSpam,
            r#"{"subject":"s"}"#,
            &[
                ("/ecs/event/outcome", "null"),
                ("/ocsf/action_id", "3"),
                ("/ocsf/disposition_id", "15"),
            ],
        ),
        (
            Stream::HeldMessages,
            r#"{"event":"released-or-expired","id":"x"}"#,
            &[
                ("/ocsf/activity_name", r#""Departure""#),
                ("/ecs/mimecast/parse_errors", "null"),
                ("/ocsf/unmapped/parse_errors", "null"),
            ],
        ),
        (
            Stream::HeldMessages,
            r#"{"id":"x"}"#,
            &[
                ("/ocsf/activity_name", r#""Hold""#),
                ("/ocsf/unmapped/parse_errors", r#"["dateReceived"]"#),
            ],
        ),
        (
            Stream::Remediation,
            r#"{"id":"x","type":"manual","failed":2}"#,
            &[
                ("/ecs/event/kind", r#""alert""#),
                ("/ocsf/severity_id", "3"),
                ("/ocsf/is_alert", "true"),
            ],
        ),
    ]);
}

#[test]
fn the_same_action_of_the_gateway_has_the_same_outcome_in_every_stream() {
    for (action, outcome, status_id) in [
        ("Rej", "failure", 2),
        ("Bnc", "failure", 2),
        ("Block", "failure", 2),
        // A message that is held was processed as it should be.
        ("Hld", "failure", 1),
        ("Del", "failure", 1),
    ] {
        for stream in [Stream::SiemReceipt, Stream::SiemProcess, Stream::SiemSpam] {
            let record = format!(
                r#"{{"action":"{action}","senderEnvelope":"ann@example.com","recipients":"bob@example.test"}}"#
            );
            let [ecs, ocsf, _] = events(stream, &record).map(|event| parse(&event));
            assert_eq!(ecs["event"]["outcome"], outcome, "{stream} {action}");
            assert_eq!(ocsf["status_id"], status_id, "{stream} {action}");
        }
    }
}

#[test]
fn hosts_and_people_are_found_where_they_stand() {
    assert_events(&[
        (
            Stream::SiemUrlProtect,
            r#"{"url":"pay.example.net/login?next=https://www.example.com/home"}"#,
            &[
                ("/ecs/url/domain", r#""pay.example.net""#),
                (
                    "/ocsf/observables/1",
                    r#"{"type_id":1,"name":"evidences[].url.hostname","value":"pay.example.net"}"#,
                ),
            ],
        ),
        (
            Stream::SiemUrlProtect,
            r#"{"url":"https://evil.example\\@good.example/x"}"#,
            &[
                ("/ecs/url/domain", r#""evil.example""#),
                ("/ocsf/evidences/0/url/hostname", r#""evil.example""#),
            ],
        ),
        (
            Stream::SiemUrlProtect,
            r#"{"url":"https://192.0.2.7/a.PDF"}"#,
            &[
                ("/ecs/url/extension", r#""pdf""#),
                (
                    "/ocsf/observables/1",
                    r#"{"type_id":2,"value":"192.0.2.7"}"#,
                ),
            ],
        ),
        (
            Stream::SiemImpersonationProtect,
            r#"{"timestamp":1770091506789,"internalUserName":"alice@example.com"}"#,
            &[
                ("/ecs/mimecast/internalUserName", r#""alice@example.com""#),
                ("/ecs/mimecast/parse_errors", "null"),
                ("/ecs/related/user", r#"["alice@example.com"]"#),
            ],
        ),
        (
            Stream::HeldMessages,
            r#"{"id":"x","to":[{"address":"a@b.test","domain":"b.test"}]}"#,
            &[
                ("/ecs/email/to/address", r#"["a@b.test"]"#),
                ("/ocsf/to", r#"["a@b.test"]"#),
            ],
        ),
    ]);
}

#[test]
fn a_name_is_given_once_however_it_is_spelt() {
    for (stream, line) in [
        (
            Stream::SiemReceipt,
            r#"{"spamScore":"3","\u0073pamScore":"5"}"#,
        ),
        (
            Stream::Audit,
            r#"{"eventInfo":"Done by x, Method: Cloud","\u006dethod":"x"}"#,
        ),
        (
            Stream::SiemReceipt,
            r#"{"spamScore":"x","\u0075nparsed":"5"}"#,
        ),
    ] {
        for event in events(stream, line) {
            let read = parse_single_line(&event).to_string();
            let is_raw = event.contains("\"record\":");
            assert!(
                is_raw || member_count(event.trim_end()) == member_count(&read),
                "{event}"
            );
        }
    }
}

#[test]
fn the_text_after_an_at_sign_in_the_name_of_a_user_may_be_no_host() {
    for (user, hosts) in [
        ("ann@example.com", serde_json::json!(["example.com"])),
        ("ann@\"", Value::Null),
        ("ann@\"b", Value::Null),
        ("ann@b\\c", Value::Null),
        ("ann@b\u{1}c", Value::Null),
        ("ann@b\tc", Value::Null),
        (
            "Ann at <ann@example.com>",
            serde_json::json!(["example.com"]),
        ),
        ("Ann <ann@example.com> (\"away\")", Value::Null),
    ] {
        let line = serde_json::json!({ "emailAddr": user, "createTime": "2026-02-03T04:05:06Z" });
        let [ecs, ocsf, _] = events(Stream::ArchiveSearchLog, &line.to_string());
        let event = parse_single_line(&ecs);
        assert_eq!(event["user"]["name"], user);
        assert_eq!(event["related"]["hosts"], hosts, "{user}");
        parse_single_line(&ocsf);
    }
}

proptest! {
    #[test]
    fn known_names_with_any_value_give_one_valid_line(
        (stream, fields) in stream_and_fields(),
        pretty in any::<bool>(),
    ) {
        let record = Value::Object(fields.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect());
        let line = if pretty { format!("{record:#}") } else { record.to_string() };
        let [ecs, ocsf, raw] = events(stream, &line);
        let event = parse_single_line(&ecs);
        prop_assert_eq!(event.pointer("/event/original"), Some(&Value::from(line.as_str())));
        prop_assert_eq!(event.pointer("/ecs/version"), Some(&Value::from("9.4.0")));
        prop_assert_eq!(&parse_single_line(&raw)["record"], &record);
        if !pretty {
            prop_assert!(raw.contains(&line), "{}", raw);
        }
        let event = parse_single_line(&ocsf);
        prop_assert_eq!(event.pointer("/raw_data"), Some(&Value::from(line.as_str())));
        prop_assert_eq!(event.pointer("/metadata/version"), Some(&Value::from("1.8.0")));
        for text in [&ecs, &ocsf] {
            let text = text.trim_end();
            let canonical: Value = serde_json::from_str(text).unwrap();
            prop_assert_eq!(member_count(text), member_count(&canonical.to_string()), "a name twice");
        }
    }

    #[test]
    fn unknown_fields_are_found_again(
        name in "[a-z\"\\\\é]{1,12}",
        value in any_json(),
        stream in prop::sample::select(STREAMS),
    ) {
        let known = NAMES.contains(&name.as_str());
        let absent = value.is_null()
            || value.as_str().is_some_and(|text| matches!(text.trim(), "" | "null" | "N/A" | "[]"));
        prop_assume!(!known && !absent && !["auth", "method", "mfa"].contains(&name.as_str()));
        let line = serde_json::json!({ &name: &value }).to_string();
        let [ecs, ocsf, _] = events(stream.stream, &line);
        prop_assert_eq!(&parse_single_line(&ecs)["mimecast"][&name], &value);
        prop_assert_eq!(&parse_single_line(&ocsf)["unmapped"][&name], &value);
    }
}

/// How many members there are in all objects of a JSON text.
fn member_count(json: &str) -> usize {
    let mut members = Vec::new();
    let mut open = vec![json.to_owned()];
    let mut count = 0;
    while let Some(text) = open.pop() {
        if scan_object(&text, &mut members).is_ok() {
            count += members.len();
            open.extend(
                members
                    .iter()
                    .map(|member| member.value.of(&text).to_owned()),
            );
        } else {
            let _ = scan_array(&text, |element| {
                open.push(element.value.of(&text).to_owned())
            });
        }
    }
    count
}

#[test]
fn what_no_field_of_the_schema_can_hold_is_kept_below_the_upstreams_name() {
    assert_events(&[
        // A word for no file is no list of files.
        (
            Stream::SiemProcess,
            r#"{"type":"process","attachments":"none"}"#,
            &[
                ("/ecs/email/attachments", "null"),
                ("/ecs/mimecast/attachments", r#""none""#),
                ("/ocsf/email/files", "null"),
                ("/ocsf/unmapped/attachments", r#""none""#),
            ],
        ),
        // Microseconds are no time that can be right.
        (
            Stream::TrainingPhishing,
            r#"{"id":"a","launchDate":1770091586789000}"#,
            &[
                ("/ecs/event/start", "null"),
                ("/ecs/mimecast/launchDate", r#""1770091586789000""#),
                ("/ocsf/unmapped/launchDate", r#""1770091586789000""#),
            ],
        ),
        (
            Stream::CiUrlclick,
            r#"{"timestamp":1770091506789,"tags":["VIP"],"policiesApplied":[{"name":"p"}]}"#,
            &[
                ("/ecs/mimecast/parse_errors", "null"),
                ("/ecs/mimecast/tags", r#"["VIP"]"#),
                ("/ocsf/unmapped/tags", r#"["VIP"]"#),
            ],
        ),
    ]);
}
