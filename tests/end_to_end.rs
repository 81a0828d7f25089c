//! The built component under the real host, against the simulated tenant.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "helpers of tests fail fast"
)]

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use mimecast_simulator::{Config, Effect, Endpoint, EventType, Fault, Matcher, When};
use serde_json::Value;

mod setup;

use setup::{
    Process, Setup, assert_success, ids_of_stream, small_config, stream_and_id, wait_until,
};

const FILE_OUTPUT: &str = "type = \"file\"\npath = \"events.ndjson\"";

#[test]
fn a_tenant_of_305_000_records_is_delivered_exactly_once_in_both_formats() {
    let setup = Setup::new(
        Config {
            batch_quota_calls: 200,
            ..Config::default()
        },
        "",
    );
    for format in ["raw", "ecs"] {
        setup.delete_checkpoint_and_events();
        let file = "type = \"file\"\npath = \"events.ndjson\"";
        let settings =
            format!("streams = [\"siem\", \"audit\"]\nstart = \"2d\"\nformat = \"{format}\"");
        setup.write_settings(&settings, file);
        assert_success(&setup.run_once());
        let events = setup.events();
        assert_eq!(events.len(), 10 * 3 * 5 * 2000 + 5000, "{format}");
        setup.assert_complete(&events);
        let status = setup.command("status").arg("--json").output().unwrap();
        assert_eq!(status.status.code(), Some(3), "nothing runs any more");
        assert_counts(&String::from_utf8(status.stdout).unwrap());
    }
    assert_eq!(setup.simulator.requests().bearer_violations, 0);
}

/// `received = events + rejected + duplicates`, for each stream of a status.
fn assert_counts(status: &str) {
    let status: Value = serde_json::from_str(status).unwrap();
    let streams = find(&status, "streams").expect("a status lists streams");
    let streams: Vec<&Value> = match streams {
        Value::Array(list) => list.iter().collect(),
        Value::Object(map) => map.values().collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => panic!("{streams}"),
    };
    assert_eq!(streams.len(), 11);
    for stream in streams {
        let count = |name: &str| find(stream, name).and_then(Value::as_u64).unwrap();
        assert_eq!(
            count("received"),
            count("events") + count("rejected") + count("duplicates")
        );
        assert!(count("received") > 0);
    }
}

/// The first member of that name, at any depth.
fn find<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    match value {
        Value::Object(map) => map
            .get(name)
            .or_else(|| map.values().find_map(|inner| find(inner, name))),
        Value::Array(list) => list.iter().find_map(|inner| find(inner, name)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

/// `KILLS=50` is the long form. Each kill comes while a batch is written or after it, at a line
/// that is counted, so that every run makes progress on a machine of any speed.
#[test]
fn kills_between_and_within_batches_lose_nothing_and_every_repeat_has_its_id() {
    const BATCH_EVENTS: usize = 200;
    let kills: usize = std::env::var("KILLS").map_or(12, |kills| kills.parse().unwrap());
    let config = Config {
        // 52 files, so that there are more than 600 records for each kill.
        records_per_file: u32::try_from(13 * kills).unwrap(),
        ..small_config()
    };
    let setup = Setup::new(config, "");
    setup.write_source(
        &format!("max_events = {BATCH_EVENTS}"),
        "siem_calls_per_15_min = 100000\nformat = \"raw\"",
        FILE_OUTPUT,
    );
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for kill in 0..kills {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        // A checkpoint moves at least once every two batches.
        let more = 1 + usize::try_from(random % 400).unwrap();
        let wanted = setup.line_count() + more;
        let mut host = setup.start("run");
        wait_until(&format!("line {wanted} before kill {kill}"), || {
            assert!(host.try_wait().unwrap().is_none(), "the host has ended");
            setup.line_count() >= wanted
        });
        host.kill().unwrap();
        host.wait().unwrap();
    }
    assert_success(&setup.run_once());
    let events = setup.events();
    setup.assert_complete(&events);
    let repeated = events.len() - setup.distinct_count(&events);
    println!(
        "{kills} kills: {repeated} of {} events were repeated",
        events.len()
    );
    assert!(repeated <= kills * BATCH_EVENTS, "{repeated}");
}

#[test]
fn a_missing_permission_is_named_by_check_and_stops_no_other_stream() {
    let setup = Setup::new(small_config(), "");
    setup.simulator.set_permitted("siem.receipt", false);
    setup.simulator.set_permitted("audit", false);
    let check = setup.command("check").output().unwrap();
    let text = String::from_utf8_lossy(&check.stdout).into_owned();
    assert!(text.contains("Account | Logs | Read"), "{text}");
    assert!(
        text.contains("Threat and Security Events (SIEM) | Read"),
        "{text}"
    );
    assert!(
        text.lines()
            .any(|l| l.contains("dlp") && l.contains("readable")),
        "{text}"
    );
    assert_success(&setup.run_once());
    let events = setup.events();
    let ledger = setup.ledger();
    for stream in ledger.streams() {
        let refused = stream == "siem.receipt" || stream == "audit";
        let expected = if refused {
            0
        } else {
            ledger.expected(stream).len()
        };
        assert_eq!(ids_of_stream(&events, stream).count(), expected, "{stream}");
    }
}

/// Each response 429 ends a poll with a wait, before which the instance is dropped.
#[test]
fn a_run_asks_for_one_token_however_often_it_waits() {
    const WAITS: u64 = 3;
    let settings = "streams = [\"audit\"]\nstart = \"2d\"";
    let setup = Setup::new(small_config(), settings);
    for nth in 1..=WAITS {
        setup.simulator.script(Fault {
            matcher: Matcher {
                endpoint: Endpoint::Post,
                stream: None,
                when: When::Nth(2 * nth),
            },
            effect: Effect::throttled(Some(1)),
        });
    }
    assert_success(&setup.run_once());
    let requests = setup.simulator.requests();
    assert_eq!(requests.answered(429), WAITS, "{:?}", requests.log);
    assert_eq!(
        requests.finished_count(Endpoint::Token),
        1,
        "{:?}",
        requests.log
    );
}

#[test]
fn check_ends_with_connection_successful_and_the_time() {
    let setup = Setup::new(small_config(), "");
    let check = setup.command("check").output().unwrap();
    assert_success(&check);
    let text = String::from_utf8_lossy(&check.stdout).into_owned();
    assert_eq!(text.matches("readable").count(), 31, "{text}");
    let last = text.lines().last().unwrap();
    let time = last.strip_prefix("Connection successful ").unwrap();
    let time = mimecast_source::time::Timestamp::parse(time).unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = i64::try_from(now.unwrap().as_millis()).unwrap();
    assert!((now - 600_000..=now).contains(&time.millis()), "{last}");
}

#[test]
fn check_with_json_prints_one_document_with_the_same_exit_codes() {
    let setup = Setup::new(small_config(), "");
    let check = |arguments: &[&str]| {
        let mut command = setup.command("check");
        let output = command.arg("--json").args(arguments).output().unwrap();
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.code(), report)
    };
    setup.simulator.set_permitted("dlp", false);
    let (code, report) = check(&[]);
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(report["successful"], true);
    let at = report["at"].as_str().unwrap();
    assert!(mimecast_source::time::Timestamp::parse(at).is_some());
    let [source] = report["sources"].as_array().unwrap().as_slice() else {
        panic!("{report}")
    };
    assert_eq!(source["source"], "acme");
    assert!(source["seconds"].as_f64().unwrap() > 0.0);
    let streams = source["streams"].as_array().unwrap();
    assert_eq!(streams.len(), 31);
    for stream in streams {
        let is_dlp = stream["stream"] == "dlp";
        let expected = if is_dlp { "not-permitted" } else { "readable" };
        assert_eq!(stream["outcome"], expected, "{stream}");
        let permission = stream["permission"].as_str().unwrap();
        assert_eq!(
            is_dlp,
            permission == "Monitoring | Data Leak Prevention | Read"
        );
    }
    let [output] = report["outputs"].as_array().unwrap().as_slice() else {
        panic!("{report}")
    };
    assert_eq!(output["output"], "file");
    assert_eq!(output["outcome"], "reachable");

    // Whoever names a stream wants it.
    let (code, report) = check(&["--stream", "dlp"]);
    assert_eq!(
        (code, &report["successful"]),
        (Some(1), &Value::from(false))
    );
    assert_eq!(report["outputs"], Value::Null, "they were not tested");

    std::fs::write(setup.path("secret"), "wrong-secret-1").unwrap();
    let (code, report) = check(&["--stream", "audit"]);
    assert_eq!(code, Some(77), "{report}");
    let stream = &report["sources"][0]["streams"][0];
    assert_eq!(stream["outcome"], "unauthorized", "{report}");
    assert!(!report.to_string().contains("wrong-secret-1"));

    setup.write_settings(
        "streams = [\"audit\"]",
        "type = \"forward\"\naddress = \"127.0.0.1:1\"", // nothing listens there
    );
    let (_, report) = check(&[]);
    let output = &report["outputs"][0];
    assert_eq!(output["type"], "forward");
    assert_eq!(output["outcome"], "failing");
    assert!(output["detail"].as_str().unwrap().contains("127.0.0.1:1"));

    std::fs::remove_file(setup.path("secret")).unwrap();
    let (code, report) = check(&[]);
    assert_eq!(code, Some(78), "{report}");
    let detail = report["sources"][0]["detail"].as_str().unwrap();
    assert!(detail.contains("secret"), "{report}");
}

#[test]
fn refused_credentials_exit_77_and_say_status_code_and_request_id() {
    let setup = Setup::new(small_config(), "");
    std::fs::write(setup.path("secret"), "wrong-secret-1").unwrap();
    for verb in ["check", "run"] {
        let mut command = setup.command(verb);
        if verb == "run" {
            command.arg("--once");
        }
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(77), "{verb}");
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        assert!(
            text.contains("401") && text.contains("request id"),
            "{verb}: {text}"
        );
        assert!(!text.contains("wrong-secret-1"), "{verb}: {text}");
    }
}

#[test]
fn a_run_with_once_ends_with_1_where_a_stream_that_is_named_is_not_permitted() {
    for (settings, code) in [
        ("streams = [\"audit\", \"dlp\"]", 1),
        ("streams = [\"audit\", \"ttp\"]", 1),
        // Without a choice, what may not be read is reported and skipped.
        ("", 0),
    ] {
        let setup = Setup::new(small_config(), settings);
        for stream in ["dlp", "ttp.url"] {
            setup.simulator.set_permitted(stream, false);
        }
        let ended = setup.run_once();
        let output_text = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(code), "{settings}: {output_text}");
        let is_named = output_text.contains("named in `streams` but not permitted: ");
        assert_eq!(is_named, code == 1, "{settings}: {output_text}");
        // The others are collected.
        let audit = setup
            .events()
            .into_iter()
            .filter(|(stream, _)| stream == "audit");
        assert!(audit.count() >= 300, "{settings}");
    }
}

#[test]
fn a_run_with_once_ends_with_1_and_names_the_file_that_is_set_aside() {
    let setup = Setup::new(
        small_config(),
        "streams = [\"siem\", \"audit\", \"dlp\"]\nstart = \"2d\"",
    );
    assert!(setup.simulator.delete_file(0).is_some());
    let ended = setup.run_once();
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    let ledger = setup.ledger();
    let mut deleted = ledger.streams().flat_map(|stream| ledger.deleted(stream));
    let (path, lost) = deleted.next().expect("a file is deleted");
    let output_text = String::from_utf8(ended.stderr).unwrap();
    let last = output_text.trim_end().lines().last().unwrap();
    assert!(
        last.contains("set aside") && last.contains(path),
        "{output_text}"
    );
    assert!(!output_text.contains(" gap: "), "{output_text}");
    let events = setup.events();
    let siem = ledger
        .streams()
        .filter(|stream| stream.starts_with("siem."));
    let missing: usize = siem
        .map(|stream| ledger.missing(stream, ids_of_stream(&events, stream)).len())
        .sum();
    assert_eq!(missing, lost.len(), "{output_text}");
    // The next run finds nothing else to do, and reports the same.
    let again = setup.run_once();
    assert_eq!(again.status.code(), Some(1), "{again:?}");
    let output_text = String::from_utf8(again.stderr).unwrap();
    assert!(output_text.contains(path), "{output_text}");
}

#[test]
fn every_bad_settings_file_exits_78_with_one_clear_line() {
    let setup = Setup::new(small_config(), "");
    let good = std::fs::read_to_string(setup.path("host.toml")).unwrap();
    let start = "client_id =";
    let cases = [
        (
            good.replace(start, "fromat = \"ecs\"\nclient_id ="),
            "format",
        ),
        (
            good.replace("{ file = \"secret\" }", "{ env = \"NO_SUCH_VARIABLE_7\" }"),
            "NO_SUCH_VARIABLE_7",
        ),
        (
            good.replace("{ file = \"secret\" }", "{ file = \"no-such-file\" }"),
            "no-such-file",
        ),
        (
            good.replace("base_url = \"http", "base_url = \"gopher"),
            "base_url",
        ),
        (
            good.replace(start, "start = \"2999-01-01T00:00:00Z\"\nclient_id ="),
            "start",
        ),
        ("this is not toml".to_owned(), "toml"),
    ];
    for (text, named) in cases {
        std::fs::write(setup.path("host.toml"), &text).unwrap();
        for verb in ["validate", "run"] {
            let output = setup.command(verb).output().unwrap();
            let output_text = String::from_utf8_lossy(&output.stderr).into_owned();
            // A file may be written later, and the host started again.
            let is_repairable = verb == "run" && named == "no-such-file";
            let code = if is_repairable { 1 } else { 78 };
            assert_eq!(
                output.status.code(),
                Some(code),
                "{verb} {named}: {output_text}"
            );
            assert!(output_text.contains(named), "{verb} {named}: {output_text}");
            assert_eq!(
                output_text.trim_end().lines().count(),
                1,
                "{verb} {named}: {output_text}"
            );
        }
    }
    assert_eq!(
        setup.simulator.requests().log.len(),
        0,
        "something was asked of the upstream"
    );
}

#[test]
fn sigterm_ends_a_run_within_five_seconds_and_the_next_one_continues() {
    let setup = Setup::new(
        Config {
            records_per_file: 1000,
            ..small_config()
        },
        "",
    );
    let mut host = setup.start("run");
    wait_until("an event", || setup.line_count() > 0);
    let begun = Instant::now();
    terminate(host.id());
    assert_eq!(host.wait().unwrap().code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert_success(&setup.run_once());
    let events = setup.events();
    setup.assert_complete(&events);
    let distinct: BTreeSet<_> = events.iter().collect();
    assert_eq!(
        distinct.len(),
        events.len(),
        "an orderly end repeats nothing"
    );
}

/// A collector that was killed is not healthy, whatever it had collected.
#[test]
fn status_distinguishes_a_host_that_runs_from_one_that_has_ended_and_one_that_was_killed() {
    let setup = Setup::new(small_config(), "");
    let status = || {
        let output = setup.command("status").output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        (output.status.code(), text)
    };
    assert_eq!(status().0, Some(3), "no run has been");

    let mut host = setup.start("run");
    wait_until("the end of what there is", || {
        let (code, text) = status();
        code == Some(0) && text.contains("source `acme`: active, lag ")
    });
    assert!(status().1.contains("\nhost: running since "));
    host.kill().unwrap();
    host.wait().unwrap();
    // As if half a minute had passed.
    let path = setup.path("state/heartbeat.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let mut heartbeat: Value = serde_json::from_str(&text).unwrap();
    let written_at = heartbeat["written_at_ms"].as_u64().unwrap();
    heartbeat["written_at_ms"] = (written_at - 31_000).into();
    std::fs::write(&path, heartbeat.to_string()).unwrap();
    let (code, text) = status();
    assert_eq!(code, Some(3), "{text}");
    assert!(text.contains(" was last active at "), "{text}");
    assert!(text.contains("source `acme`: stopped, lag "), "{text}");

    let mut host = setup.start("run");
    wait_until("the next run", || status().0 == Some(0));
    terminate(host.id());
    host.wait().unwrap();
    let (code, text) = status();
    assert_eq!(code, Some(3), "{text}");
    assert!(
        text.contains("\nhost: not running; the last run ended at "),
        "{text}"
    );
}

/// What is collected again is the same, and only of the streams that were asked for.
#[test]
fn a_reset_collects_a_stream_again_with_the_same_ids_and_leaves_the_others() {
    let setup = Setup::new(small_config(), "");
    let reset = |arguments: &[&str]| {
        let output = setup.command("reset").args(arguments).output().unwrap();
        let text = [output.stdout, output.stderr].map(|it| String::from_utf8(it).unwrap());
        (output.status.code(), text.concat())
    };
    let (code, text) = reset(&["--source", "acme", "--from", "30d"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.contains("has collected nothing yet; set `start`"),
        "{text}"
    );

    assert_success(&setup.run_once());
    let before = setup.events();
    for (arguments, reason) in [
        (
            ["--source", "acne", "--from", "30d"],
            "did you mean `acme`?",
        ),
        (["--source", "acme", "--from", "soon"], "like 24h"),
    ] {
        let (code, text) = reset(&arguments);
        assert_eq!(code, Some(78), "{text}");
        assert!(text.contains(reason), "{text}");
    }
    let stream = [
        "--source",
        "acme",
        "--stream",
        "siem.receipt",
        "--from",
        "30d",
    ];
    let (code, text) = reset(&stream);
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains("the next run collects siem.receipt again from "),
        "{text}"
    );
    assert_success(&setup.run_once());

    let all = setup.events();
    let again = &all[before.len()..];
    let receipts = |events: &[(String, String)]| -> BTreeSet<String> {
        let receipts = events.iter().filter(|(stream, _)| stream == "siem.receipt");
        receipts.map(|(_, id)| id.clone()).collect()
    };
    assert_eq!(
        receipts(again),
        receipts(&before),
        "the same events with the same ids"
    );
    assert_eq!(receipts(again).len(), again.len(), "and no others");
    assert!(!again.is_empty());

    // A host that runs stores its own checkpoint.
    let mut host = setup.start("run");
    wait_until("the host", || {
        setup.command("status").output().unwrap().status.success()
    });
    let (code, text) = reset(&stream);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("another source-host is using it"), "{text}");
    terminate(host.id());
    host.wait().unwrap();
}

#[test]
fn a_paused_source_collects_nothing_and_continues_where_it_was() {
    let setup = Setup::new(small_config(), "");
    assert_success(&setup.run_once());
    let before = setup.line_count();
    let enabled = std::fs::read_to_string(setup.path("host.toml")).unwrap();
    let paused = enabled.replacen("name = \"acme\"", "name = \"acme\"\nenabled = false", 1);
    std::fs::write(setup.path("host.toml"), paused).unwrap();
    let run = setup.run_once();
    assert_eq!(run.status.code(), Some(78), "it is the only source");
    let other =
        setup
            .source_table_renamed("other")
            .replacen("enabled = false", "enabled = true", 1);
    let mut both = std::fs::OpenOptions::new()
        .append(true)
        .open(setup.path("host.toml"))
        .unwrap();
    writeln!(both, "{other}").unwrap();
    assert_success(&setup.run_once());
    let status = setup.command("status").output().unwrap();
    let text = String::from_utf8(status.stdout).unwrap();
    assert!(text.contains("source `acme`: paused, lag "), "{text}");
    assert!(text.contains("source `other`: stopped, lag "), "{text}");
    let both_count = setup.line_count();
    assert_eq!(both_count, 2 * before, "the other has collected the same");

    std::fs::write(setup.path("host.toml"), enabled).unwrap();
    assert_success(&setup.run_once());
    assert_eq!(setup.line_count(), both_count, "its position was kept");
}

fn terminate(pid: u32) {
    assert!(
        Command::new("kill")
            .args(["-TERM", &pid.to_string()])
            .status()
            .unwrap()
            .success()
    );
}

/// One stream, whose first batch is larger than a pipe (64 KiB): the output cannot have accepted it
/// when the reader closes, so the second run delivers every event.
#[test]
fn a_closed_pipe_does_not_move_the_checkpoint() {
    let config = Config {
        types: vec![EventType::Receipt],
        records_per_file: 1000,
        audit_events: 0,
        log_records: 0,
        ..small_config()
    };
    let setup = Setup::new(config, "");
    setup.write_settings("streams = [\"siem.receipt\"]", "type = \"stdout\"");
    let mut command = setup.command("run");
    command
        .arg("--once")
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut host = Process(command.spawn().unwrap());
    let mut stdout = host.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 1000]).unwrap();
    drop(stdout);
    assert_eq!(host.wait().unwrap().code(), Some(1));
    let output = setup.run_once();
    assert_success(&output);
    let text = String::from_utf8(output.stdout).unwrap();
    let events: Vec<_> = text.lines().map(stream_and_id).collect();
    assert_eq!(setup.expected_count(), 4000);
    setup.assert_exactly_once(&events);
}

#[test]
fn two_runs_over_one_state_do_not_overlap() {
    let setup = Setup::new(small_config(), "");
    let mut first = setup.start("run");
    wait_until("an event", || setup.line_count() > 0);
    let second = setup.run_once();
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(said.contains("another source-host is using it"), "{said}");
    terminate(first.id());
    first.wait().unwrap();
}

#[test]
fn an_origin_that_is_not_allowed_is_refused_with_the_line_that_would_allow_it() {
    let setup = Setup::new(small_config(), "");
    let text = std::fs::read_to_string(setup.path("host.toml")).unwrap();
    let storage = setup.simulator.storage_url();
    let text = text.replace(&format!(", \"{storage}\""), "");
    std::fs::write(setup.path("host.toml"), text).unwrap();
    let output = setup.run_once();
    assert_eq!(output.status.code(), Some(1));
    let output_text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output_text.contains("allow = [") && output_text.contains(&storage),
        "{output_text}"
    );
    assert_eq!(
        ids_of_stream(&setup.events(), "audit").count(),
        300,
        "audit needs no storage"
    );
}
