//! Standard input of `normalize` with lines that are no records.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::thread;

use serde_json::Value;

use crate::setup::machine_code;

#[test]
fn a_line_that_is_too_long_for_normalize_is_rejected_and_the_next_one_is_an_event() {
    const MIB: usize = 1024 * 1024;
    let good = |number| format!("{{\"processingId\":\"{number}\"}}\n");
    // More than one chunk, so that later lines are counted on.
    let many: String = (0..20_000).map(good).collect();
    let mut input = many.into_bytes();
    // With a line longer than the limit, and one that takes more memory than an instance has.
    for long in [vec![b'x'; 17 * MIB], b"\\u0001".repeat(31 * MIB / 12)] {
        input.extend_from_slice(b"{\"subject\":\"");
        input.extend(long);
        input.extend_from_slice(b"\"}\n");
        input.extend_from_slice(good(20_000).as_bytes());
        input.extend_from_slice(b"no record\n");
    }
    let mut child = Command::new(env!("CARGO_BIN_EXE_source-host"))
        .args(["normalize", "--stream", "siem.receipt", "--format", "ecs"])
        .env("XDG_CACHE_HOME", machine_code::cache_home())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let writer = thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    let events = String::from_utf8(output.stdout).unwrap();
    assert_eq!(events.lines().count(), 20_002);
    let rejected: Vec<Value> = stderr
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let expected = [
        ("siem.receipt line 20001", "the line is longer than 16 MiB"),
        (
            "siem.receipt line 20003",
            "not a JSON object: expected an object at byte 0",
        ),
        (
            "siem.receipt line 20004",
            "the component needs more than its 64 MiB of memory for the line",
        ),
        (
            "siem.receipt line 20006",
            "not a JSON object: expected an object at byte 0",
        ),
    ];
    let found: Vec<_> = rejected
        .iter()
        .map(|record| (record["locator"].as_str(), record["reason"].as_str()))
        .collect();
    let expected = expected.map(|(locator, reason)| (Some(locator), Some(reason)));
    assert_eq!(found, expected);
    for record in &rejected {
        let original = record["original"].as_str().unwrap();
        assert!(original.len() <= 16 * 1024, "{}", original.len());
    }
    assert!(stderr.contains("4 records were rejected"), "{stderr}");
}
