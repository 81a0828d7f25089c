//! One state for each source, stream and output, in the same words wherever it is reported.

use std::collections::BTreeMap;
use std::fs;
use std::time::Instant;

use serde_json::Value;

use crate::admin::{get, get_text};
use crate::setup::{HostProcess, Setup, WAIT_TIMEOUT, small_config, wait_until};

/// `source/stream`, `source` or `output NAME` to the word of its state.
type States = BTreeMap<String, String>;

/// What the status of the host has, as `status --json` and the API give it.
fn states_of(report: &Value) -> States {
    let word = |value: &Value| value["state"].as_str().unwrap().to_owned();
    let mut states = States::new();
    for source in report["sources"].as_array().unwrap() {
        let name = source["source"].as_str().unwrap();
        states.insert(name.to_owned(), word(source));
        for (stream, status) in source["streams"].as_object().unwrap() {
            states.insert(format!("{name}/{stream}"), word(status));
        }
    }
    for output in report["outputs"].as_array().unwrap() {
        let name = output["output"].as_str().unwrap();
        states.insert(format!("output {name}"), word(output));
    }
    states
}

/// The states of streams in the metrics, and of the sources that have no stream there; and how many sources are
/// in each state.
fn states_of_metrics(metrics: &str) -> (States, BTreeMap<String, f64>) {
    let label = |line: &str, name: &str| {
        let (_, rest) = line.split_once(&format!("{name}=\""))?;
        Some(rest.split_once('"')?.0.to_owned())
    };
    let (mut states, mut sources) = (States::new(), BTreeMap::new());
    for line in metrics.lines() {
        let Some((series, value)) = line.rsplit_once(' ') else {
            continue;
        };
        let Some(word) = label(series, "state") else {
            continue;
        };
        // A gauge is written as `1.0`.
        let value: f64 = value.parse().unwrap();
        if series.starts_with("source_host_sources{") {
            sources.insert(word, value);
        } else if series.starts_with("source_host_state{") && value != 0.0 {
            let source = label(series, "source").unwrap();
            let name = match label(series, "stream") {
                Some(stream) => format!("{source}/{stream}"),
                None => source,
            };
            assert_eq!(states.insert(name, word), None, "two states: {line}");
        }
    }
    (states, sources)
}

/// Asserts that the text of `status` shows each name with its state.
fn assert_shown(text: &str, states: &States) {
    for (name, word) in states {
        let is_shown = match name.split_once('/') {
            Some((_, stream)) => text.lines().any(|line| {
                let mut cells = line.split_whitespace();
                cells.next() == Some(stream) && cells.next() == Some(word)
            }),
            None => match name.strip_prefix("output ") {
                Some(output) => text.lines().any(|line| {
                    let mut cells = line.split_whitespace();
                    cells.next() == Some(output) && cells.nth(1) == Some(word)
                }),
                None => text.contains(&format!("source `{name}`: {word},")),
            },
        };
        assert!(is_shown, "{name} is {word}:\n{text}");
    }
}

/// A host with sources that are active, unauthorized, failing, paused and blocked, and with streams that wait or
/// are not permitted.
#[test]
fn status_api_metrics_and_log_have_the_same_word_for_each_source_stream_and_output() {
    let setup = Setup::new(
        small_config(),
        "streams = [\"siem.receipt\", \"siem.process\", \"siem.av\", \"audit\", \"dlp\"]\n\
         siem_calls_per_15_min = 3",
    );
    setup.simulator.set_permitted("dlp", false);
    // Nothing listens there; a port that was free a moment ago may be another test's by now.
    let closed = "http://127.0.0.1:1";
    let api = setup.simulator.api_url();
    let source_with = |name: &str, from: &str, to: &str| {
        let source = setup.source_table_renamed(name);
        assert!(source.contains(from), "{from}: {source}");
        let streams =
            "streams = [\"siem.receipt\", \"siem.process\", \"siem.av\", \"audit\", \"dlp\"]";
        source
            .replace(from, to)
            .replace(streams, "streams = [\"audit\"]")
    };
    let source_with_line = |name: &str, line: &str| {
        let head = format!("name = \"{name}\"\n");
        source_with(name, &head, &format!("{head}{line}\n"))
    };
    fs::write(setup.path("wrong"), "wrong-secret-1").unwrap();
    let sources = [
        source_with("unauthorized", "\"secret\"", "\"wrong\""),
        source_with("failing", &api, closed),
        source_with("no-secret", "\"secret\"", "\"missing\""),
        source_with_line("paused", "enabled = false"),
        source_with_line("blocked", "outputs = [\"down\"]"),
    ];
    let down = format!("[[output]]\nname = \"down\"\ntype = \"http\"\nendpoint = \"{closed}\"\n");
    let text = fs::read_to_string(setup.path("host.toml")).unwrap();
    let text = text.replace(
        "name = \"acme\"\n",
        "name = \"acme\"\noutputs = [\"file\"]\n",
    );
    let text = text.replace("[[output]]\n", "[[output]]\nname = \"file\"\n");
    let admin = "[admin]\nlisten = \"127.0.0.1:0\"\n";
    fs::write(
        setup.path("host.toml"),
        text + &down + &sources.concat() + admin,
    )
    .unwrap();

    let begun = Instant::now();
    let mut host = HostProcess::start(setup.command("run"));
    let line = host.wait_for("admin server at http://");
    let address = line.rsplit("http://").next().unwrap().trim().to_owned();
    let expected: States = [
        ("acme", "active"),
        ("acme/audit", "active"),
        ("acme/dlp", "not-permitted"),
        ("acme/siem.av", "waiting"),
        ("acme/siem.process", "waiting"),
        ("acme/siem.receipt", "waiting"),
        ("blocked", "blocked"),
        ("failing", "failing"),
        ("output down", "blocked"),
        ("output file", "active"),
        ("paused", "paused"),
        ("no-secret", "failing"),
        ("unauthorized", "unauthorized"),
    ]
    .map(|(name, word)| (name.to_owned(), word.to_owned()))
    .into();
    let of_api = || states_of(&get(&address, "/api/v1/status"));
    let reported = loop {
        let reported = of_api();
        let missing = |(name, word): &(&String, &String)| reported.get(*name) != Some(*word);
        if !expected.iter().any(|state| missing(&state)) {
            break reported;
        }
        assert!(begun.elapsed() < WAIT_TIMEOUT, "{reported:#?}");
        std::thread::yield_now();
    };

    // The file of a running host is some seconds old.
    let status = || {
        let output = setup.command("status --json").output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    wait_until("the same states in `status --json`", || {
        states_of(&status()) == reported
    });
    let text = setup.command("status").output().unwrap();
    let text = String::from_utf8(text.stdout).unwrap();
    assert_shown(&text, &reported);

    let (streams, counts) = states_of_metrics(&get_text(&address, "/metrics"));
    for (name, word) in &streams {
        assert_eq!(reported.get(name), Some(word), "{name} in the metrics");
    }
    for (word, count) in &counts {
        let page = get(&address, &format!("/api/v1/sources?state={word}&limit=1"));
        assert_eq!(
            page["total"].as_f64(),
            Some(*count),
            "sources that are {word}"
        );
        assert_eq!(page["states"][word].as_f64().unwrap_or_default(), *count);
    }
    assert_eq!(counts.values().sum::<f64>(), 6.0);
    assert_eq!(of_api(), reported, "nothing has changed meanwhile");

    // The limit, the streams and the end are the same in the log, in the API and in `status`.
    let acme = get(&address, "/api/v1/sources/acme");
    let wait = acme["waits"][0].as_str().unwrap().to_owned();
    let (head, reason) = wait.split_once("Z, ").unwrap();
    assert!(head.starts_with("waiting until 20"), "{wait}");
    assert_eq!(
        reason,
        "streams siem.av, siem.process, siem.receipt: the rate limit of 3 requests in 15 minutes \
         for SIEM batch files is used up; lower siem_calls_per_15_min only where other programs \
         share Mimecast's limit"
    );
    assert!(text.contains(&wait), "{text}");
    let (ended, log) = host.stop();
    assert_eq!(ended.code(), Some(78), "one has no secret: {log}");
    let waits: Vec<&str> = log.lines().filter(|line| line.contains(head)).collect();
    let (_, limit) = reason.split_once(": ").unwrap();
    // Once for each wait, with the streams that had begun to wait by then.
    assert!(matches!(waits[..], [wait] if wait.contains(limit)), "{log}");
    for words in ["unauthorized: ", "unavailable: ", "cannot deliver to"] {
        assert!(log.contains(words), "{words}:\n{log}");
    }
    let ended = setup.command("status").output().unwrap();
    let text = String::from_utf8(ended.stdout).unwrap();
    assert!(text.contains("source `acme`: stopped,"), "{text}");
}
