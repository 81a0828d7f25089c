//! A host that is suspended, a name that does not resolve, and rejected records that no output accepts.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use mimecast_simulator::{Config, Endpoint};
use serde_json::Value;

use crate::setup::{
    HostProcess, Setup, assert_success, events_so_far, ids_of_stream, small_config, wait_until,
};

/// Each pause is longer than every time-out of a call. The run is not `--once`, which gives up after
/// five polls in a row that fail: on a busy machine a poll between two pauses may fail as well.
#[test]
fn a_host_that_is_suspended_and_continued_loses_nothing() {
    const PAUSE: Duration = Duration::from_millis(2_500);
    let config = Config {
        records_per_file: 200,
        ..small_config()
    };
    let settings = "siem_calls_per_15_min = 100000\nformat = \"raw\"";
    let setup = Setup::new(config, settings);
    let output = "type = \"file\"\npath = \"events.ndjson\"";
    setup.write_source("poll_timeout_secs = 2\nmax_events = 100", settings, output);
    let mut host = HostProcess::start(setup.command("run"));
    for pause in 0..3 {
        let before = setup.line_count();
        wait_until(&format!("progress before pause {pause}"), || {
            setup.line_count() > before
        });
        host.signal("-STOP");
        std::thread::park_timeout(PAUSE);
        assert!(host.is_running());
        host.signal("-CONT");
    }
    let expected_count = setup.expected_count();
    assert!(
        setup.line_count() < expected_count,
        "there was nothing left to go on with"
    );
    wait_until("end of the records", || {
        setup.line_count() >= expected_count
    });
    let (status, log) = host.stop();
    assert_eq!(status.code(), Some(0), "{log}");
    setup.assert_exactly_once(&setup.events());
}

/// The run has no other source that would keep the process alive. A refused secret is tried again
/// after five minutes, and at once when it changes.
#[test]
fn a_secret_that_is_corrected_is_used_without_a_restart() {
    let setup = Setup::new(small_config(), "");
    let settings = "format = \"raw\"\nstreams = [\"audit\"]";
    setup.write_settings(settings, "type = \"file\"\npath = \"events.ndjson\"");
    let secret = fs::read_to_string(setup.path("secret")).unwrap();
    fs::write(setup.path("secret"), "wrong-secret-1").unwrap();
    let mut host = HostProcess::start(setup.command("run"));
    let line = host.wait_for("unauthorized: the credentials are refused: ");
    assert!(line.contains("InvalidClientIdentifier"), "{line}");
    assert!(line.contains("next try in 300.0 s"), "{line}");
    // It waits, and `status` reports it.
    let has_state = |state: &str| setup.source_status().1["state"] == state;
    wait_until("the state in the status", || has_state("unauthorized"));
    let (code, source) = setup.source_status();
    assert_eq!(code, Some(1), "{source:#}");
    assert!(source["next_poll_at"].is_string(), "{source:#}");
    assert_eq!(source["last_error"]["kind"], "unauthorized", "{source:#}");
    let tries = setup.simulator.requests().finished_count(Endpoint::Token);
    assert!(host.is_running());

    fs::write(setup.path("secret"), &secret).unwrap();
    host.wait_for("its secrets have changed; trying again");
    wait_until("the events", || setup.line_count() >= 300);
    wait_until("the state in the status", || has_state("active"));
    let (status, log) = host.stop();
    assert_eq!(status.code(), Some(0), "{log}");
    assert_eq!(tries, 1, "the wrong secret was tried once");
    let events = setup.events();
    let ids: BTreeSet<_> = ids_of_stream(&events, "audit").collect();
    assert_eq!((ids.len(), events.len()), (300, 300), "each once");
}

/// No label of a name is longer than 63 letters, so no name server is asked for it.
#[test]
fn a_name_that_does_not_resolve_is_reported_and_stops_no_other_source() {
    let setup = Setup::new(small_config(), "");
    let nowhere = format!("http://{}.invalid:1", "n".repeat(64));
    let settings = "format = \"raw\"\nstreams = [\"audit\"]";
    setup.write_settings(settings, "type = \"file\"\npath = \"events.ndjson\"");
    let good = fs::read_to_string(setup.path("host.toml")).unwrap();
    let lost = setup.source_table_renamed("lost");
    let lost = lost.replace(&setup.simulator.api_url(), &nowhere);
    fs::write(setup.path("host.toml"), good + &lost).unwrap();

    let check = setup.command("check").output().unwrap();
    let output_text = String::from_utf8_lossy(&check.stdout).into_owned();
    assert_eq!(check.status.code(), Some(1), "{output_text}");
    assert!(
        output_text.contains("its name does not resolve; check it"),
        "{output_text}"
    );

    let mut host = HostProcess::start(setup.command("run"));
    let line = host.wait_for("unavailable");
    assert!(
        line.contains("source=lost") && line.contains("its name does not resolve; check it"),
        "{line}"
    );
    wait_until("end of the other source", || {
        ids_of_stream(&events_so_far(&setup.path("events.ndjson")), "audit").count() == 300
    });
    let (status, log) = host.stop();
    assert_eq!(status.code(), Some(0), "{log}");

    // The name resolves again.
    let text = fs::read_to_string(setup.path("host.toml")).unwrap();
    let text = text.replace(&nowhere, &setup.simulator.api_url());
    fs::write(setup.path("host.toml"), text).unwrap();
    assert_success(&setup.run_once());
    let events = setup.events();
    let ids: BTreeSet<_> = ids_of_stream(&events, "audit").collect();
    // The id of an event names its tenant: one for each source.
    assert_eq!((ids.len(), events.len()), (600, 600), "once by each source");
}

#[test]
fn a_source_that_waits_for_the_output_of_rejected_records_can_be_changed_and_loses_nothing() {
    let config = Config {
        malformed_per_mille: 20,
        ..small_config()
    };
    let settings = "siem_calls_per_15_min = 100000\nformat = \"raw\"\nstreams = [\"siem\"]";
    let setup = Setup::new(config, settings);
    let write = |source: &str, more: &str| {
        let output = format!("type = \"file\"\npath = \"events.ndjson\"\n{more}");
        setup.write_source(source, settings, &output);
    };
    // Nothing listens there.
    let dead_letter = "[dead_letter]\ntype = \"http\"\nendpoint = \"http://127.0.0.1:1/in\"";
    write("max_events = 100", dead_letter);
    let mut host = HostProcess::start(setup.command("run"));
    host.wait_for("cannot deliver to");
    write("max_events = 90", dead_letter);
    host.signal("-HUP");
    host.wait_for("started source=acme");
    host.wait_for("cannot deliver to");
    let (status, log) = host.stop();
    assert_eq!(status.code(), Some(0), "{log}");

    // No batch with them was committed.
    write("max_events = 90", "");
    assert_success(&setup.run_once());
    let (events, ledger) = (setup.events(), setup.ledger());
    for stream in ledger.streams().filter(|it| it.starts_with("siem.")) {
        let ids: BTreeSet<&str> = ids_of_stream(&events, stream)
            .map(|id| ledger.original(stream, id))
            .collect();
        let missing = ledger.missing(stream, ids.iter().copied());
        assert!(missing.is_empty(), "{stream}: {missing:?}");
    }
    let rejected_text = fs::read_to_string(setup.path("state/acme.rejected.ndjson")).unwrap();
    let locators: BTreeSet<String> = rejected_text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["locator"].to_string())
        .collect();
    let streams = setup.stream_status();
    let rejected = streams.as_object().unwrap().values();
    let rejected: u64 = rejected
        .map(|stream| stream["rejected"].as_u64().unwrap())
        .sum();
    assert!(rejected > 0);
    assert_eq!(u64::try_from(locators.len()).unwrap(), rejected);
}
