//! Every stream through the built component under the real host, reconciled by identity with the
//! records of the simulated tenant.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "helpers of tests fail fast"
)]

mod setup;

use mimecast_simulator::{
    Config, Effect, Endpoint, EventType, Fault, Matcher, StreamRefusal, When, streams,
};
use mimecast_source::stream::{Stream, UNDOCUMENTED_PERMISSION};
use setup::{Setup, assert_success, small_config, wait_until};

const FILE_OUTPUT: &str = "type = \"file\"\npath = \"events.ndjson\"";

/// Every stream, with few records: one page with one batch file for each SIEM type, two pages for each other log.
fn one_page_config() -> Config {
    Config {
        pages: 1,
        files_per_page: 1,
        records_per_file: 20,
        audit_events: 20,
        log_records: 20,
        page_records_max: 10,
        ..small_config()
    }
}

#[test]
fn a_run_over_all_streams_delivers_every_record_exactly_once() {
    let setup = Setup::new(small_config(), "");
    for format in ["ecs", "raw"] {
        setup.delete_checkpoint_and_events();
        setup.write_settings(
            &format!("start = \"25h\"\nformat = \"{format}\""),
            FILE_OUTPUT,
        );
        assert_success(&setup.run_once());
        setup.assert_exactly_once(&setup.events());
        let status = setup.stream_status();
        for stream in streams() {
            let count = |name: &str| status[stream][name].as_u64().unwrap();
            let sum = count("events") + count("rejected") + count("duplicates");
            assert_eq!(count("received"), sum, "{stream}");
            assert!(count("events") > 0, "{stream}");
            assert_eq!(status[stream]["caught_up"], true, "{stream}");
        }
    }
    assert_eq!(setup.simulator.requests().bearer_violations, 0);
    assert_eq!(setup.simulator.requests().answered(400), 0);
}

#[test]
fn a_clock_that_is_two_hours_off_costs_no_record() {
    for skew_ms in [-7_200_000, 7_200_000] {
        let config = Config {
            skew_ms,
            ..one_page_config()
        };
        let setup = Setup::new(config, "start = \"30h\"\nformat = \"raw\"");
        assert_success(&setup.run_once());
        setup.assert_exactly_once(&setup.events());
    }
}

#[test]
fn the_event_endpoint_and_csv_deliver_the_same_records() {
    let settings =
        "siem_endpoint = \"events\"\nthreat_feed = \"csv\"\nstart = \"25h\"\nformat = \"raw\"";
    let setup = Setup::new(one_page_config(), settings);
    assert_success(&setup.run_once());
    setup.assert_exactly_once(&setup.events());
    let requests = setup.simulator.requests();
    assert!(
        requests.finished_count(Endpoint::Events) >= 13,
        "{:?}",
        requests.finished_by_endpoint
    );
    assert!(
        requests.finished_count(Endpoint::Batch) >= 13,
        "{:?}",
        requests.finished_by_endpoint
    );
}

#[test]
fn a_run_that_is_killed_at_page_boundaries_loses_nothing_and_repeats_what_was_in_flight() {
    // Enough pages that one is left for each kill, however far the run before has come.
    let config = Config {
        pages: 6,
        files_per_page: 8,
        log_records: 400,
        general_quota_calls: 1_000_000,
        ..one_page_config()
    };
    let setup = Setup::new(config, "");
    // Each poll asks for one page or file, so that there is a checkpoint at each boundary.
    let settings = "siem_calls_per_15_min = 1000\nstart = \"25h\"\nformat = \"raw\"";
    setup.write_source("max_requests = 2", settings, FILE_OUTPUT);
    let mut killed = 0;
    for (endpoint, nth) in [
        (Endpoint::Post, 1),
        (Endpoint::Batch, 2),
        (Endpoint::Batch, 1),
        (Endpoint::Post, 5),
        (Endpoint::Post, 3),
        (Endpoint::Post, 7),
        (Endpoint::Post, 4),
        (Endpoint::Post, 6),
        (Endpoint::Post, 2),
        (Endpoint::File, 2),
        (Endpoint::File, 3),
        (Endpoint::File, 1),
    ] {
        // The host waits for this page, with all before it delivered, when it is killed.
        let effect = Effect::Stall { ms: 60_000 };
        let before = setup.simulator.requests().begun_count(endpoint);
        let matcher = Matcher {
            endpoint,
            stream: None,
            when: When::Nth(nth),
        };
        setup.simulator.script(Fault { matcher, effect });
        let mut host = setup.start("run --once");
        wait_until(&format!("{endpoint:?} {nth}"), || {
            assert_eq!(host.try_wait().unwrap(), None, "before {endpoint:?} {nth}");
            setup.simulator.requests().begun_count(endpoint) >= before + nth
        });
        host.kill().unwrap();
        host.wait().unwrap();
        setup.simulator.clear_faults();
        killed += 1;
    }
    assert_success(&setup.run_once());
    let events = setup.events();
    setup.assert_complete(&events);
    let repeated = events.len() - setup.distinct_count(&events);
    println!(
        "{killed} kills: {repeated} of {} events came again",
        events.len()
    );
    // What was in flight may come again: a page or a file for each kill.
    assert!(repeated <= killed * 20, "{repeated}");
}

#[test]
fn each_stream_in_turn_can_be_refused_while_the_others_complete() {
    let refusals = [
        StreamRefusal::Forbidden,
        StreamRefusal::FailWithStatus200,
        StreamRefusal::EndpointMissing,
    ];
    let setup = Setup::new(one_page_config(), "start = \"25h\"\nformat = \"raw\"");
    for (stream, refusal) in streams().into_iter().zip(refusals.into_iter().cycle()) {
        setup.delete_checkpoint_and_events();
        setup.simulator.refuse(stream, refusal);
        assert_success(&setup.run_once());
        setup.assert_complete_without(stream, &setup.events());
        let info = Stream::from_name(stream).unwrap().info();
        let status = setup.stream_status();
        let notice = &status[stream]["last_notice"];
        let detail = notice["detail"].as_str().unwrap();
        assert_eq!(notice["kind"], "not-permitted", "{stream}: {detail}");
        assert!(detail.contains(info.product), "{stream}: {detail}");
        if info.permission != UNDOCUMENTED_PERMISSION {
            assert!(detail.contains(info.permission), "{stream}: {detail}");
        }
        assert_eq!(status[stream]["events"], 0, "{stream}");
        setup.simulator.set_permitted(stream, true);
    }
}

#[test]
fn check_and_status_name_the_console_path_of_every_stream_that_is_refused() {
    let setup = Setup::new(one_page_config(), "");
    for stream in streams() {
        setup.simulator.set_permitted(stream, false);
    }
    let check = setup.command("check").output().unwrap();
    let checked = String::from_utf8(check.stdout).unwrap();
    assert_success(&setup.run_once());
    let status = setup.command("status").output().unwrap();
    let status = String::from_utf8(status.stdout).unwrap();
    for (what, text) in [("check", checked), ("status", status)] {
        for stream in streams() {
            let info = Stream::from_name(stream).unwrap().info();
            let is_row_of_stream = |line: &&str| line.split_whitespace().next() == Some(stream);
            let line = text
                .lines()
                .find(is_row_of_stream)
                .unwrap_or_else(|| panic!("{what} {stream}: {text}"));
            let path = info.permission;
            assert!(
                path == UNDOCUMENTED_PERMISSION || line.contains(path),
                "{what}: {line}"
            );
            assert!(line.contains(info.product), "{what}: {line}");
        }
    }
    assert_eq!(EventType::ALL.len() + 18, streams().len());
}

#[test]
fn the_categories_of_audit_events_are_described_where_they_are_permitted() {
    let setup = Setup::new(one_page_config(), "streams = [\"audit\", \"dlp\"]");
    for is_permitted in [true, false] {
        setup
            .simulator
            .set_permitted("audit.categories", is_permitted);
        let described = setup.command("describe --online").output().unwrap();
        let text = String::from_utf8(described.stdout).unwrap();
        let line = text
            .lines()
            .find(|line| line.starts_with("audit "))
            .unwrap();
        assert!(line.contains("readable"), "{text}");
        assert_eq!(
            line.contains("categories: account_logs, "),
            is_permitted,
            "{text}"
        );
    }
}
