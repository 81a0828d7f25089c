//! The filter, called as Fluent Bit calls it: every record is answered, and with the events of
//! `source-host normalize`.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "helpers of tests fail fast, and figures are for the log of a run"
)]

mod fluent_bit;
#[path = "../setup/machine_code.rs"]
mod machine_code;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Instant;

use fluent_bit::{FluentBit, MODULE};
use mimecast_source::stream::STREAMS;
use serde_json::Value;
use wasmparser::{Parser, Payload, Validator, WasmFeatures};

/// What the fixtures take for the present, in seconds.
const NOW: u32 = 1_770_100_000;

const FORMATS: [&str; 2] = ["ecs", "ocsf"];

/// Size budget of the module, which Fluent Bit reads and translates when it starts.
const MODULE_BYTES_MAX: usize = 640 * 1024;

/// Budget of one record of about 800 bytes, in WebAssembly instructions: Fluent Bit interprets
/// each of them.
const INSTRUCTIONS_MAX: u64 = 200_000;

/// The imports of Rust's standard library. None of them is called.
const IMPORTS: [&str; 4] = ["environ_get", "environ_sizes_get", "fd_write", "proc_exit"];

/// The lines of all fixtures of a stream, and the events beside them.
fn fixtures(stream: &str, format: &str) -> Vec<(PathBuf, Vec<u8>, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures")
        .join(stream);
    let mut found = Vec::new();
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.to_str().unwrap();
        if let Some(stem) = name.strip_suffix(".upstream.ndjson") {
            let expected = fs::read_to_string(format!("{stem}.expected.{format}.ndjson")).unwrap();
            let lines: Vec<_> = lines(&fs::read(&path).unwrap());
            assert_eq!(lines.len(), expected.lines().count(), "{name}");
            for (line, event) in lines.into_iter().zip(expected.lines()) {
                found.push((path.clone(), line, event.to_owned()));
            }
        }
    }
    assert!(!found.is_empty(), "no fixture for {stream}");
    found
}

fn lines(text: &[u8]) -> Vec<Vec<u8>> {
    text.split(|byte| *byte == b'\n')
        .filter(|line| !line.trim_ascii().is_empty())
        .map(<[u8]>::to_vec)
        .collect()
}

/// The record that Fluent Bit makes of a line without a parser.
fn record_of_raw_line(line: &[u8]) -> Option<Vec<u8>> {
    let line = str::from_utf8(line).ok()?;
    Some(serde_json::json!({ "log": line }).to_string().into_bytes())
}

#[test]
fn every_fixture_becomes_the_event_beside_it() {
    let mut events = 0;
    for format in FORMATS {
        let mut fluent_bit = FluentBit::start(&format!("mimecast_{format}"));
        for row in STREAMS {
            let tag = format!("mimecast.{}", row.name);
            for (path, line, event) in fixtures(row.name, format) {
                let is_object = line.trim_ascii().starts_with(b"{");
                let records = [is_object.then(|| line.clone()), record_of_raw_line(&line)];
                for record in records.into_iter().flatten() {
                    let response = fluent_bit.filter(tag.as_bytes(), NOW, &record);
                    assert_eq!(response, event, "{}", path.display());
                    events += 1;
                }
            }
        }
    }
    assert!(events >= 1_500, "only {events} events");
}

/// For each fixture, the filter gives the id that `source-host normalize` gives.
#[test]
fn the_ids_are_those_of_source_host_normalize() {
    for format in FORMATS {
        let mut fluent_bit = FluentBit::start(&format!("mimecast_{format}"));
        for row in STREAMS {
            let mut input = Vec::new();
            let mut actual = Vec::new();
            for (_, line, _) in fixtures(row.name, format) {
                let tag = format!("mimecast.{}", row.name);
                let record = record_of_raw_line(&line).unwrap_or_else(|| line.clone());
                actual.push(id(&fluent_bit.filter(tag.as_bytes(), NOW, &record)));
                input.extend(line);
                input.push(b'\n');
            }
            let events = normalize(row.name, format, input);
            let expected: Vec<_> = events.lines().map(id).collect();
            assert_eq!(actual, expected, "{} {format}", row.name);
        }
    }
}

fn id(event: &str) -> String {
    let event: Value = serde_json::from_str(event).unwrap();
    let id = ["/event/id", "/metadata/uid"]
        .into_iter()
        .find_map(|path| event.pointer(path)?.as_str());
    id.unwrap_or_else(|| panic!("no id in {event}")).to_owned()
}

fn normalize(stream: &str, format: &str, input: Vec<u8>) -> String {
    let mut child = Command::new(env!("CARGO_BIN_EXE_source-host"))
        .args(["normalize", "--stream", stream, "--format", format])
        .env("XDG_CACHE_HOME", machine_code::cache_home())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let writer = thread::spawn(move || stdin.write_all(&input).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success(), "{stream} {format}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_member_names_the_stream_where_the_tag_does_not() {
    let mut fluent_bit = FluentBit::start("mimecast_ecs");
    for (_, line, event) in fixtures("siem.receipt", "ecs") {
        let record = str::from_utf8(&line).unwrap();
        let Some(members) = record.strip_prefix('{').filter(|rest| *rest != "}") else {
            continue;
        };
        let first = format!(r#"{{"mimecast_stream":"siem.receipt",{members}"#);
        let members = record.strip_suffix('}').unwrap();
        let last = format!(r#"{members},"mimecast_stream":"siem.receipt"}}"#);
        let line = Value::from(record);
        let of_line = format!(r#"{{"log":{line},"mimecast_stream":"siem.receipt"}}"#);
        for record in [first, last, of_line] {
            let response = fluent_bit.filter(b"http.0", NOW, record.as_bytes());
            assert_eq!(response, event, "{record}");
        }
    }
}

#[test]
fn a_tag_may_have_underscores_for_hyphens() {
    let mut fluent_bit = FluentBit::start("mimecast_ecs");
    let (_, line, event) = fixtures("siem.url-protect", "ecs").remove(0);
    let response = fluent_bit.filter(b"mimecast.siem.url_protect", NOW, &line);
    assert_eq!(response, event);
}

const ERROR: &str = "mimecast_filter_error";

#[test]
fn what_cannot_be_normalized_comes_back_with_the_reason() {
    let mut fluent_bit = FluentBit::start("mimecast_ecs");
    let deep = format!("{}1{}", r#"{"a":"#.repeat(100), "}".repeat(100));
    let record = r#"{"aggregateId":"a","action":"Acc"}"#;
    let unknown = r#"{"mimecast_stream":"siem.nothing","a":1}"#;
    for (tag, record, reason) in [
        ("kernel", record, "neither the tag nor the member"),
        ("mimecast.siem.receipts", record, "neither the tag nor"),
        ("mimecast.", record, "neither the tag nor the member"),
        ("", record, "neither the tag nor the member"),
        ("kernel", "{}", "neither the tag nor the member"),
        ("kernel", r#"{"log":"a line"}"#, "neither the tag nor"),
        ("kernel", unknown, "names a stream that does not exist"),
        ("mimecast.siem.receipt", r#"{"log":"no record"}"#, ""),
        ("kernel", &deep, "neither the tag nor the member"),
    ] {
        let response = fluent_bit.filter(tag.as_bytes(), NOW, record.as_bytes());
        let start = record.strip_suffix('}').unwrap();
        assert!(response.starts_with(start), "{tag} {record}: {response}");
        let marker = response
            .strip_prefix(start)
            .unwrap()
            .trim_start_matches(',');
        let marker: Value = serde_json::from_str(&format!("{{{marker}")).unwrap();
        let found = marker[ERROR].as_str().unwrap();
        assert!(found.contains(reason), "{tag} {record}: {found}");
        assert!(!found.is_empty());
    }
}

#[test]
fn a_reason_of_another_filter_is_replaced() {
    let mut fluent_bit = FluentBit::start("mimecast_ecs");
    let deep = format!("{}1{}", "[".repeat(100), "]".repeat(100));
    for (members, kept) in [
        (
            r#""a":1,"mimecast_filter_error":"x","b":"y""#,
            r#""a":1,"b":"y","#,
        ),
        (r#""mimecast_filter_error":"x""#, ""),
    ] {
        let record = format!("{{{members}}}");
        let response = fluent_bit.filter(b"kernel", NOW, record.as_bytes());
        assert!(
            response.starts_with(&format!("{{{kept}\"{ERROR}\":\"neither")),
            "{response}"
        );
        assert_eq!(response.matches(ERROR).count(), 1, "{response}");
    }
    let record = format!(r#"{{"a":{deep},"mimecast_filter_error":"x"}}"#);
    let response = fluent_bit.filter(b"kernel", NOW, record.as_bytes());
    let read: Value = serde_json::from_str(&response).unwrap();
    assert!(
        read[ERROR].as_str().unwrap().starts_with("neither"),
        "{response}"
    );
    assert!(response.contains(&deep));
}

#[test]
fn a_record_that_needs_a_repair_keeps_its_envelope() {
    let mut fluent_bit = FluentBit::start("mimecast_ecs");
    let record = r#"{"mimecast_stream":"audit","id":"1","user":"a \ud83d"}"#;
    let response = fluent_bit.filter(b"kernel", NOW, record.as_bytes());
    let read: Value = serde_json::from_str(&response).unwrap();
    assert_eq!(read["event"]["dataset"], "mimecast.audit");
    assert_eq!(read["user"]["name"], "a \u{fffd}");
}

/// Fluent Bit passes nothing of this, and it is not lost either.
#[test]
fn whatever_comes_is_answered_by_one_object() {
    let deep = format!("{}1{}", r#"{"a":"#.repeat(5_000), "}".repeat(5_000));
    let array = format!(r#"{{"a":{}}}"#, "[".repeat(5_000));
    let long = format!(r#"{{"aggregateId":"{}"}}"#, "x".repeat(20_000_000));
    let many: String = (0..100_000).map(|n| format!(r#""k{n}":{n},"#)).collect();
    let many = format!("{{{many}\"z\":0}}");
    let records: [&[u8]; 17] = [
        b"",
        b" ",
        b"{",
        b"}",
        b"{}",
        b"[]",
        b"null",
        b"no record",
        b"{\"a\":\xff\xfe}",
        b"{\"aggregateId\":\"\xff\xfe\"}",
        b"{\"a\":\"\0\"}",
        b"{\"a\":1}\0{\"b\":2}",
        b"{\"a\":1,\n\"b\":2}",
        deep.as_bytes(),
        array.as_bytes(),
        long.as_bytes(),
        many.as_bytes(),
    ];
    let tags: [&[u8]; 7] = [
        b"",
        b"a",
        b"kern",
        b"mimecast",
        b"mimecast.siem.receipt",
        b"mimecast.siem.receipt\xff",
        &[b'x'; 70_000],
    ];
    for format in FORMATS {
        let mut fluent_bit = FluentBit::start(&format!("mimecast_{format}"));
        for tag in tags {
            for record in records {
                let response = fluent_bit.filter(tag, NOW, record);
                // One that normalizes is an event; all else has the reason in it.
                let is_event =
                    response.contains(r#""observer":"#) || response.contains(r#""class_uid":"#);
                assert!(is_event || response.contains(ERROR), "{response:.300}");
            }
        }
        // The greatest and the first of all moments that a time can hold.
        for seconds in [0, u32::MAX] {
            let response = fluent_bit.filter(b"mimecast.audit", seconds, b"{\"id\":\"1\"}");
            assert!(!response.contains(ERROR), "{response}");
        }
    }
}

/// Where Fluent Bit has no memory for an argument, its pointer is null.
#[test]
fn arguments_without_memory_are_answered() {
    let mut fluent_bit = FluentBit::start("mimecast_ecs");
    let response = fluent_bit.filter_unallocated(None, Some(b"{\"a\":1}"));
    assert!(response.starts_with(r#"{"a":1,"#) && response.contains(ERROR));
    let response = fluent_bit.filter_unallocated(Some(b"mimecast.audit"), None);
    assert!(response.contains("no memory was left"), "{response}");
}

/// Fluent Bit continues with the same instance after a trap.
#[test]
fn a_call_that_is_cut_off_does_not_affect_the_next() {
    let mut fluent_bit = FluentBit::start("mimecast_ecs");
    let (_, line, event) = fixtures("siem.receipt", "ecs").remove(0);
    for instructions in [100, 2_000, 20_000] {
        fluent_bit.trap_within(instructions, b"mimecast.siem.receipt", &line);
        let response = fluent_bit.filter(b"mimecast.siem.receipt", NOW, &line);
        assert_eq!(response, event);
    }
}

/// A record of about 800 bytes with many members, as the simulator's tenants have them.
fn typical_records() -> Vec<Vec<u8>> {
    let config = mimecast_simulator::Config::default();
    mimecast_simulator::sample_records(&config, "siem.process", 1_000)
        .into_iter()
        .map(|record| record.to_string().into_bytes())
        .collect()
}

#[test]
fn memory_does_not_grow_with_records_and_a_record_costs_its_budget() {
    let records = typical_records();
    let bytes = records.iter().map(Vec::len).sum::<usize>() / records.len();
    for (format, rounds) in [("ecs", 100), ("ocsf", 10)] {
        let mut fluent_bit = FluentBit::start(&format!("mimecast_{format}"));
        let mut filter_all = || {
            for record in &records {
                let response = fluent_bit.filter(b"mimecast.siem.process", NOW, record);
                assert!(!response.contains(ERROR), "{response}");
            }
            (fluent_bit.memory_bytes(), fluent_bit.instructions())
        };
        let (memory, before) = filter_all();
        let started = Instant::now();
        let mut last = (0, 0);
        for _ in 0..rounds {
            last = filter_all();
        }
        let count = rounds * u64::try_from(records.len()).unwrap();
        let nanos = started.elapsed().as_nanos() / u128::from(count);
        let instructions = (last.1 - before) / count;
        eprintln!(
            "{format}: {bytes} bytes a record, {instructions} instructions, {nanos} ns compiled, \
             {memory} bytes of memory"
        );
        assert_eq!(last.0, memory, "{format}: the memory grew");
        assert!(memory <= 4 * 1024 * 1024, "{memory} bytes of memory");
        assert!(instructions <= INSTRUCTIONS_MAX, "{format}: {instructions}");
    }
}

/// The example fits the module, and avoids what loses records.
#[test]
fn the_example_configuration_fits_the_module() {
    let example = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../examples/fluent-bit/filter.yaml"
    );
    let example = fs::read_to_string(example).unwrap();
    let settings: BTreeSet<&str> = example.lines().map(str::trim).collect();
    for wanted in [
        "function_name: mimecast_ecs",
        "event_format: json",
        // The default of 8 KiB makes calls fail, and a call that fails drops its record.
        "wasm_stack_size: 128K",
        // The default drops a chunk after one retry.
        "retry_limit: no_limits",
        // The default reads no more of a file with a line that is too long.
        "skip_long_lines: true",
    ] {
        assert!(settings.contains(wanted), "{wanted}");
    }
    // Fluent Bit does not start with a directory that is not there.
    let mut paths = settings
        .iter()
        .filter_map(|line| line.strip_prefix("accessible_paths: "));
    let path = paths.next().unwrap();
    assert!(fs::metadata(path).unwrap().is_dir(), "{path}");
    FluentBit::start("mimecast_ecs");
    let tag = example.split("tag: mimecast.").nth(1).unwrap();
    let stream = tag.lines().next().unwrap();
    assert!(STREAMS.iter().any(|row| row.name == stream), "{stream}");
}

#[test]
fn the_module_is_one_that_fluent_bit_loads() {
    let bytes = MODULE.len();
    eprintln!("mimecast_filter.wasm: {bytes} bytes");
    assert!(bytes <= MODULE_BYTES_MAX, "{bytes} bytes");
    // Its runtime is built without vectors.
    let features = WasmFeatures::WASM2 - WasmFeatures::SIMD;
    Validator::new_with_features(features)
        .validate_all(&MODULE)
        .unwrap();
    let mut imports = BTreeSet::new();
    let mut exports = BTreeSet::new();
    for payload in Parser::new(0).parse_all(&MODULE) {
        let payload = payload.unwrap();
        if let Payload::ImportSection(section) = &payload {
            for import in section.clone().into_imports() {
                let import = import.unwrap();
                assert_eq!(import.module, "wasi_snapshot_preview1");
                imports.insert(import.name);
            }
        }
        if let Payload::ExportSection(section) = payload {
            exports.extend(section.into_iter().map(|export| export.unwrap().name));
        }
    }
    assert_eq!(imports, BTreeSet::from(IMPORTS));
    // With `malloc` and `free` a record may be as large as memory allows.
    for name in ["memory", "malloc", "free", "mimecast_ecs", "mimecast_ocsf"] {
        assert!(exports.contains(name), "{name} is not in {exports:?}");
    }
}
