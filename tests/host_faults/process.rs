//! A host that is suspended, and a name that does not resolve.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use mimecast_simulator::Config;

use crate::running::{Running, wait_until};
use crate::setup::{Setup, assert_success, events_of, of, small};

#[test]
fn a_host_that_is_suspended_and_continued_goes_on_and_loses_nothing() {
    let config = Config {
        records_per_file: 1000,
        ..small()
    };
    let settings = "siem_calls_per_15_min = 100000\nformat = \"raw\"";
    let setup = Setup::new(config, settings);
    // Every time-out of a call ends while the host is suspended.
    let output = "type = \"file\"\npath = \"events.ndjson\"";
    setup.write_source("poll_timeout_secs = 1\nmax_events = 500", settings, output);
    let mut command = setup.command("run");
    command.arg("--once");
    let mut host = Running::start(command);
    wait_until("begun", || setup.path("events.ndjson").exists());
    for pause_ms in [1_500, 0, 1_500, 10, 1_500] {
        host.signal("-STOP");
        std::thread::park_timeout(Duration::from_millis(pause_ms));
        assert!(host.is_running());
        host.signal("-CONT");
        std::thread::park_timeout(Duration::from_millis(70));
    }
    let (status, said) = host.end();
    assert_eq!(status.code(), Some(0), "{said}");
    let events = setup.events();
    setup.assert_complete(&events);
    let distinct: BTreeSet<_> = events.iter().collect();
    assert_eq!(distinct.len(), events.len(), "something was repeated");
}

/// No label of a name is longer than 63 letters, so nobody is asked for it.
#[test]
fn a_name_that_does_not_resolve_is_said_and_stops_no_other_source() {
    let setup = Setup::new(small(), "");
    let nowhere = format!("http://{}.invalid:1", "n".repeat(64));
    let settings = "format = \"raw\"\nstreams = [\"audit\"]";
    setup.write_settings(settings, "type = \"file\"\npath = \"events.ndjson\"");
    let good = fs::read_to_string(setup.path("host.toml")).unwrap();
    let (_, source) = good.split_once("[[source]]").unwrap();
    let (source, _) = source.split_once("[[output]]").unwrap();
    let lost = source
        .replace("acme", "lost")
        .replace(&setup.simulator.api_url(), &nowhere);
    fs::write(setup.path("host.toml"), format!("{good}\n[[source]]{lost}")).unwrap();

    let check = setup.command("check").output().unwrap();
    let said = String::from_utf8_lossy(&check.stdout).into_owned();
    assert_eq!(check.status.code(), Some(1), "{said}");
    assert!(
        said.contains("its name does not resolve; check it"),
        "{said}"
    );

    let mut host = Running::start(setup.command("run"));
    let said = host.wait_for("unavailable");
    assert!(
        said.contains("source=lost") && said.contains("its name does not resolve; check it"),
        "{said}"
    );
    wait_until("that the other source is done", || {
        of(&events_of(&setup.path("events.ndjson")), "audit").count() == 300
    });
    let (status, said) = host.stop();
    assert_eq!(status.code(), Some(0), "{said}");

    // The name resolves again.
    let text = fs::read_to_string(setup.path("host.toml")).unwrap();
    let text = text.replace(&nowhere, &setup.simulator.api_url());
    fs::write(setup.path("host.toml"), text).unwrap();
    assert_success(&setup.run_once());
    let events = setup.events();
    let ids: BTreeSet<_> = of(&events, "audit").collect();
    assert_eq!((ids.len(), events.len()), (300, 600), "once by each source");
}
