//! A disk that is full, and one that cannot be written.

use std::collections::BTreeSet;
use std::fs;

use mimecast_simulator::{Config, Effect, Endpoint, Fault, Matcher, When};
use serde_json::Value;

use crate::setup::{
    HostProcess, Setup, assert_success, count_lines, events_of, events_so_far, ids_of_stream,
    small_config, wait_until,
};
use crate::small_disk::Disk;

const RAW_AT_HIGH_CALL_RATE: &str = "siem_calls_per_15_min = 100000\nformat = \"raw\"";
const KIB: u64 = 1024;

/// Two sources of one host: the first has the batch files, the second the audit events. `more`
/// is inserted between them.
fn write_two_sources(setup: &Setup, state_dir: &str, output: &str, more: &str) {
    let audit = format!("{RAW_AT_HIGH_CALL_RATE}\nstreams = [\"audit\"]");
    setup.write_source("max_events = 100", &audit, "");
    let second = setup.source_table_renamed("other");
    let siem = format!("{RAW_AT_HIGH_CALL_RATE}\nstreams = [\"siem\"]");
    setup.write_source("max_events = 100", &siem, output);
    let first = fs::read_to_string(setup.path("host.toml")).unwrap();
    let first = first.replace("\"state\"", &format!("\"{state_dir}\""));
    let text = format!("{first}\n{more}{second}");
    fs::write(setup.path("host.toml"), text).unwrap();
}

fn tenant() -> Config {
    Config {
        log_records: 0,
        ..small_config()
    }
}

/// Asserts that no record of either source is missing.
fn assert_complete(setup: &Setup, events: &[(String, String)]) {
    let of_both = |stream: &&str| stream.starts_with("siem.") || *stream == "audit";
    let ledger = setup.simulator.ledger();
    for stream in ledger.streams().filter(of_both) {
        let tenant = if stream == "audit" { "other" } else { "acme" };
        let ledger = ledger.with_event_ids(tenant);
        let ids: BTreeSet<&str> = ids_of_stream(events, stream)
            .map(|id| ledger.original(stream, id))
            .collect();
        let missing = ledger.missing(stream, ids.iter().copied());
        assert!(
            missing.is_empty(),
            "{stream}: {} are missing",
            missing.len()
        );
    }
}

#[test]
fn an_output_without_room_is_waited_for_and_nothing_is_torn_or_repeated() {
    let setup = Setup::new(tenant(), RAW_AT_HIGH_CALL_RATE);
    let Some(disk) = Disk::new(setup.path("small"), 32) else {
        return;
    };
    write_two_sources(
        &setup,
        "state",
        "type = \"file\"\npath = \"small/events.ndjson\"",
        "",
    );
    disk.fill_except(200 * KIB);
    let mut host = HostProcess::start(disk.command_in_namespace(&setup.command("run")));
    let line = host.wait_for("No space left on device");
    assert!(line.contains("small/events.ndjson"), "{line}");
    assert!(line.contains("; make room there"), "{line}");
    assert!(host.is_running());
    disk.make_room();
    host.wait_for("the output accepts again");
    let (status, log) = host.stop();
    assert_eq!(status.code(), Some(0), "{log}");

    let again = disk
        .command_in_namespace(&setup.command("run"))
        .arg("--once")
        .output();
    assert_success(&again.unwrap());
    let events = events_of(&disk.path_outside_namespace().join("events.ndjson"));
    assert_complete(&setup, &events);
    let distinct: BTreeSet<_> = events.iter().collect();
    assert_eq!(distinct.len(), events.len(), "something was repeated");
}

/// The same without any privilege: every write to this device finds it full.
#[test]
fn a_full_output_does_not_move_the_checkpoint() {
    let setup = Setup::new(tenant(), RAW_AT_HIGH_CALL_RATE);
    write_two_sources(&setup, "state", "type = \"file\"\npath = \"/dev/full\"", "");
    let mut host = HostProcess::start(setup.command("run"));
    host.wait_for("No space left on device");
    let (status, log) = host.stop();
    assert_eq!(status.code(), Some(0), "{log}");
    for source in ["acme", "other"] {
        let state = setup.path(&format!("state/{source}.checkpoint.json"));
        let state = fs::read_to_string(state).unwrap_or_default();
        assert!(!state.contains("\"checkpoint\": \""), "{state}");
    }
    write_two_sources(
        &setup,
        "state",
        "type = \"file\"\npath = \"events.ndjson\"",
        "",
    );
    assert_success(&setup.run_once());
    assert_complete(&setup, &setup.events());
}

/// No file of the first source can be fetched; the source asks again every second.
fn files_unavailable() -> Fault {
    Fault {
        matcher: Matcher {
            endpoint: Endpoint::File,
            stream: None,
            when: When::Always,
        },
        effect: Effect::Respond {
            status: 503,
            headers: vec![("retry-after", "1".to_owned())],
            body: String::new(),
        },
    }
}

#[test]
fn a_checkpoint_without_room_is_stored_when_there_is_some() {
    let setup = Setup::new(tenant(), RAW_AT_HIGH_CALL_RATE);
    let Some(disk) = Disk::new(setup.path("small"), 64) else {
        return;
    };
    let output = "type = \"file\"\npath = \"events.ndjson\"";
    write_two_sources(&setup, "small/state", output, "");
    let state = disk
        .path_outside_namespace()
        .join("state/other.checkpoint.json");
    // Without files the first source has nothing to store until the disk is full.
    setup.simulator.script(files_unavailable());
    let mut host = HostProcess::start(disk.command_in_namespace(&setup.command("run")));
    wait_until("stored checkpoint", || state.exists());
    disk.fill_except(0);
    setup.simulator.clear_faults();
    let line = host.wait_for("checkpoint not stored");
    assert!(
        line.contains("small/state: No space left on device"),
        "{line}"
    );
    assert!(line.contains("; make room there"), "{line}");
    let stored: Value = serde_json::from_slice(&fs::read(&state).unwrap()).unwrap();
    assert!(stored["checkpoint"].is_string(), "what was stored is whole");
    setup.simulator.script(files_unavailable());
    disk.make_room();
    host.wait_for("checkpoint stored again");
    disk.fill_except(0);
    setup.simulator.clear_faults();
    host.wait_for("checkpoint not stored");
    let (status, log) = host.stop();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("the checkpoint cannot be stored in "), "{log}");

    // Now it is full from the start, which is found before anything is delivered.
    let delivered = setup.events().len();
    let full = disk
        .command_in_namespace(&setup.command("run"))
        .output()
        .unwrap();
    let output_text = String::from_utf8(full.stderr).unwrap();
    assert_eq!(full.status.code(), Some(1), "{output_text}");
    assert!(
        output_text.contains("state directory ") && output_text.contains("make room there"),
        "{output_text}"
    );
    assert_eq!(setup.events().len(), delivered);

    disk.make_room();
    let again = disk
        .command_in_namespace(&setup.command("run"))
        .arg("--once")
        .output();
    assert_success(&again.unwrap());
    assert_complete(&setup, &setup.events());
}

#[test]
fn rejected_records_without_room_hold_back_their_source_and_no_other() {
    let config = Config {
        malformed_per_mille: 20,
        ..tenant()
    };
    let setup = Setup::new(config, RAW_AT_HIGH_CALL_RATE);
    let Some(disk) = Disk::new(setup.path("small"), 16) else {
        return;
    };
    disk.fill_except(0);
    let output = "type = \"file\"\npath = \"events.ndjson\"";
    let dead_letter = "[dead_letter]\npath = \"small/rejected.ndjson\"\n";
    write_two_sources(&setup, "state", output, dead_letter);
    let mut host = HostProcess::start(disk.command_in_namespace(&setup.command("run")));
    let line = host.wait_for("rejected records not stored");
    assert!(
        line.contains("small/rejected.ndjson: No space left"),
        "{line}"
    );
    wait_until("end of the other source", || {
        ids_of_stream(&events_so_far(&setup.path("events.ndjson")), "audit").count() == 300
    });
    assert_eq!(
        count_lines(&disk.path_outside_namespace().join("rejected.ndjson")),
        0
    );
    disk.make_room();
    host.wait_for("rejected records stored again");
    let (status, log) = host.stop();
    assert_eq!(status.code(), Some(0), "{log}");

    let again = disk
        .command_in_namespace(&setup.command("run"))
        .arg("--once")
        .output();
    assert_success(&again.unwrap());
    assert_complete(&setup, &setup.events());
    let rejected_records =
        fs::read_to_string(disk.path_outside_namespace().join("rejected.ndjson")).unwrap();
    let rejected_records: BTreeSet<String> = rejected_records
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["locator"].to_string())
        .collect();
    let streams = setup.stream_status();
    let rejected: u64 = streams
        .as_object()
        .unwrap()
        .values()
        .map(|stream| stream["rejected"].as_u64().unwrap())
        .sum();
    assert!(rejected > 20, "{rejected}");
    assert_eq!(u64::try_from(rejected_records.len()).unwrap(), rejected);
}

#[test]
fn a_state_directory_that_cannot_be_written_ends_the_run_before_anything_is_asked() {
    let setup = Setup::new(tenant(), RAW_AT_HIGH_CALL_RATE);
    let output = "type = \"file\"\npath = \"events.ndjson\"";
    // Nobody makes a directory below a file, not even root.
    write_two_sources(&setup, "secret/state", output, "");
    assert_refused(&setup, &setup.run_once(), "Not a directory");
    let Some(disk) = Disk::new(setup.path("small"), 1) else {
        return;
    };
    write_two_sources(&setup, "small/state", output, "");
    disk.make_read_only();
    let run = disk
        .command_in_namespace(&setup.command("run"))
        .output()
        .unwrap();
    assert_refused(&setup, &run, "Read-only file system");
}

fn assert_refused(setup: &Setup, run: &std::process::Output, reason: &str) {
    let output_text = String::from_utf8_lossy(&run.stderr).into_owned();
    assert_eq!(run.status.code(), Some(1), "{output_text}");
    assert_eq!(output_text.trim_end().lines().count(), 1, "{output_text}");
    assert!(
        output_text.contains("state directory ") && output_text.contains(reason),
        "{output_text}"
    );
    assert!(output_text.contains("choose another path"), "{output_text}");
    assert!(setup.simulator.requests().log.is_empty());
    assert!(!setup.path("events.ndjson").exists());
}
