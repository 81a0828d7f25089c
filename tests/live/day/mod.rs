//! A day of an operator with 200 tenants, shortened: tenants are added, changed, paused and removed,
//! and the systems around them fail. The other tenants are not affected.

mod environment;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use self::environment::DayEnvironment;
use crate::host_fixture::{Host, HostFixture, TOKEN};
use crate::setup::{WAIT_TIMEOUT, hard_link_machine_code, wait_until};

const TENANTS: usize = 200;
const CONTROL_TENANTS: usize = 20;
/// How much longer than without faults a due poll, or the delivery of its records, may be delayed.
const LATE_MAX: Duration = Duration::from_secs(2);

// Each of these tenants is named for what happens to it.
const CHANGED: &str = "t001";
const PAUSED: &str = "t002";
const REMOVED: &str = "t003";
const ROTATED: &str = "t004";
const CHECKPOINT_TRUNCATED: &str = "t005";
const UNAVAILABLE: &str = "t006";
/// The tenants of the receiver that is down for a while.
const TENANTS_OF_SECOND_RECEIVER: [&str; 3] = ["t007", "t008", "t009"];
const ADDED: &str = "t999";

/// The word of the state of each source, and of `output NAME`.
type States = BTreeMap<String, String>;

struct Day {
    environment: DayEnvironment,
    fixture: HostFixture,
    /// A second host that nothing happens to, beside the first one: it shows what a busy machine adds.
    control: HostFixture,
}

impl Day {
    fn new() -> Self {
        let environment = DayEnvironment::start();
        let fixture = HostFixture::new(&[]);
        let port = environment.port;
        let text = format!(
            "state_dir = \"state\"\nsources_dir = \"sources\"\n\
             [admin]\nlisten = \"127.0.0.1:0\"\ntoken = \"{TOKEN}\"\nmetrics_detail = \"source\"\n\
             [[output]]\nname = \"main\"\ntype = \"http\"\nformat = \"ndjson\"\n\
             endpoint = \"http://127.0.0.1:{port}/main\"\n\
             [[output]]\nname = \"second\"\ntype = \"http\"\nformat = \"ndjson\"\n\
             endpoint = \"http://127.0.0.1:{port}/second\"\n"
        );
        fs::write(fixture.path("host.toml"), text).unwrap();
        hard_link_machine_code(&fixture.path("state/cache"));
        let control = HostFixture::new(&[]);
        let text = format!(
            "state_dir = \"state\"\nsources_dir = \"sources\"\n\
             [admin]\nlisten = \"127.0.0.1:0\"\ntoken = \"{TOKEN}\"\n\
             [[output]]\nname = \"main\"\ntype = \"http\"\nformat = \"ndjson\"\n\
             endpoint = \"http://127.0.0.1:{port}/main\"\n"
        );
        fs::write(control.path("host.toml"), text).unwrap();
        let day = Self {
            environment,
            fixture,
            control,
        };
        for name in names() {
            day.write(&name, "");
        }
        for name in control_names() {
            day.write_source(&day.control, &name, "main", "");
        }
        day
    }

    /// Writes the file of a source and that of its secret; `more` are lines at the top.
    fn write(&self, name: &str, more: &str) {
        let output = if TENANTS_OF_SECOND_RECEIVER.contains(&name) {
            "second"
        } else {
            "main"
        };
        self.write_source(&self.fixture, name, output, more);
    }

    fn write_source(&self, fixture: &HostFixture, name: &str, output: &str, more: &str) {
        let port = self.environment.port;
        let text = format!(
            "outputs = [\"{output}\"]\n{more}\n[settings]\nbase_url = \"http://127.0.0.1:{port}\"\n\
             client_id = \"{name}\"\nclient_secret = {{ file = \"{name}.secret\" }}\n\
             streams = [\"audit\"]\nformat = \"raw\"\n"
        );
        self.write_secret(fixture, name);
        fixture.write_source_text(name, &text);
    }

    fn write_secret(&self, fixture: &HostFixture, name: &str) {
        let file = fixture.path(&format!("sources/{name}.secret"));
        fs::write(file, self.environment.secret(name)).unwrap();
    }
}

fn names() -> impl Iterator<Item = String> {
    (0..TENANTS).map(|number| format!("t{number:03}"))
}

/// The tenants of the second host.
fn control_names() -> impl Iterator<Item = String> {
    (0..CONTROL_TENANTS).map(|number| format!("c{number:03}"))
}

/// All are active, but those that are named.
fn states(exceptions: &[(&str, &str)]) -> States {
    let outputs = ["main", "second"].map(|name| format!("output {name}"));
    let mut states: States = names()
        .chain(outputs)
        .map(|name| (name, "active".to_owned()))
        .collect();
    for (name, state) in exceptions {
        if *state == "removed" {
            states.remove(*name);
        } else {
            states.insert((*name).to_owned(), (*state).to_owned());
        }
    }
    states
}

/// Returns the word of a state. A source that waits for a few seconds counts as active.
fn state_ignoring_waits(state: &Value) -> String {
    match state.as_str().unwrap() {
        "waiting" => "active",
        other => other,
    }
    .to_owned()
}

/// What `status --json` and the API report.
fn reported(report: &Value) -> States {
    let rows = |key: &'static str| report[key].as_array().unwrap().iter();
    let sources = rows("sources").map(|row| (row["source"].as_str().unwrap().to_owned(), row));
    let outputs =
        rows("outputs").map(|row| (format!("output {}", row["output"].as_str().unwrap()), row));
    let all = sources.chain(outputs);
    all.map(|(name, row)| (name, state_ignoring_waits(&row["state"])))
        .collect()
}

/// What the metrics say of sources, and how many sources are in each state.
fn states_of_metrics(text: &str) -> (States, BTreeMap<String, usize>) {
    let label = |series: &str, name: &str| {
        let (_, rest) = series.split_once(&format!("{name}=\""))?;
        Some(rest.split_once('"')?.0.to_owned())
    };
    let (mut states, mut counts) = (States::new(), BTreeMap::new());
    for (series, value) in text.lines().filter_map(|line| line.rsplit_once(' ')) {
        let Some(state) = label(series, "state") else {
            continue;
        };
        let state = state_ignoring_waits(&Value::from(state));
        let value: f64 = value.parse().unwrap();
        if series.starts_with("source_host_sources{") {
            *counts.entry(state).or_default() += format!("{value:.0}").parse::<usize>().unwrap();
        } else if series.starts_with("source_host_state{") && value != 0.0 {
            states.insert(label(series, "source").unwrap(), state);
        }
    }
    counts.retain(|_, count| *count > 0);
    (states, counts)
}

fn counts(states: &States) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for (_, state) in states
        .iter()
        .filter(|(name, _)| !name.starts_with("output "))
    {
        *counts.entry(state.clone()).or_default() += 1;
    }
    counts
}

/// Waits until that is reported, and fails with what is different.
fn wait_for(what: &str, expected: &States, read_states: impl Fn() -> States) {
    let begun = Instant::now();
    loop {
        let found = read_states();
        if found == *expected {
            return;
        }
        let names: BTreeSet<&String> = found.keys().chain(expected.keys()).collect();
        let differ = names
            .into_iter()
            .filter(|name| found.get(*name) != expected.get(*name));
        let differ: Vec<_> = differ
            .map(|name| (name, found.get(name), expected.get(name)))
            .collect();
        assert!(
            begun.elapsed() < WAIT_TIMEOUT,
            "{what}: found, expected: {differ:#?}"
        );
        std::thread::park_timeout(Duration::from_millis(250));
    }
}

/// The API, the data of the page, the metrics and `status` agree on the states.
fn assert_agreed(step: &str, host: &Host<'_>, exceptions: &[(&str, &str)]) {
    let expected = states(exceptions);
    wait_for(&format!("{step}: the API"), &expected, || {
        reported(&host.ask("GET", "status", "").1)
    });
    // The page asks for a part of the sources, and shows how many are in each state.
    wait_for(&format!("{step}: the page"), &expected, || {
        let first = host.ask("GET", "sources?limit=150", "").1;
        let rest = host.ask("GET", "sources?limit=150&offset=150", "").1;
        let mut found = reported(&first);
        found.append(&mut reported(&rest));
        let mut count_by_state = BTreeMap::new();
        for (state, count) in first["states"].as_object().unwrap() {
            let count = usize::try_from(count.as_u64().unwrap()).unwrap();
            *count_by_state
                .entry(state_ignoring_waits(&Value::from(state.as_str())))
                .or_default() += count;
        }
        assert_eq!(
            count_by_state.values().sum::<usize>(),
            counts(&expected).values().sum::<usize>()
        );
        found
    });
    let mut source_states = expected.clone();
    source_states.retain(|name, _| !name.starts_with("output "));
    wait_for(&format!("{step}: the metrics"), &source_states, || {
        let (found, count_by_state) = states_of_metrics(&host.metrics());
        assert_eq!(count_by_state, counts(&found), "{step}: the metrics");
        found
    });
    wait_for(&format!("{step}: status"), &expected, || {
        let status = Command::new(env!("CARGO_BIN_EXE_source-host"))
            .args(["status", "host.toml", "--json"])
            .current_dir(host.fixture.folder.path())
            .output()
            .unwrap();
        reported(&serde_json::from_slice(&status.stdout).unwrap())
    });
}

#[test]
fn on_a_day_of_changes_and_faults_the_other_tenants_are_never_late_and_nothing_is_lost() {
    let day = Day::new();
    let (environment, fixture) = (&day.environment, &day.fixture);
    let begun = Instant::now();
    let log_progress = |step: &str| eprintln!("{:5.1} s: {step}", begun.elapsed().as_secs_f64());
    let mut host = fixture.start(&[]);
    let control = day.control.start(&[]);
    assert_agreed("all are active", &host, &[]);
    log_progress("all are active");
    // A busy machine delays polls without any fault as well: those of this host before the faults,
    // and those of the second host at any time.
    environment.begin();
    wait_until(
        "a delivery of every tenant after a poll that was due",
        || {
            undisturbed_tenants().chain(control_names()).all(|name| {
                environment.poll_lateness(&name).poll_count > 0
                    && environment.delivery_delay_max(&name).is_some()
            })
        },
    );
    let baseline = lateness(environment, undisturbed_tenants());
    log_progress(&format!("the others before the faults: {baseline:?}"));
    environment.begin();

    begin_faults(&day, &mut host);
    let mut blocked = TENANTS_OF_SECOND_RECEIVER
        .map(|name| (name, "blocked"))
        .to_vec();
    blocked.push(("output second", "blocked"));
    let faults = [
        (ADDED, "active"),
        (PAUSED, "paused"),
        (CHECKPOINT_TRUNCATED, "paused"),
        (ROTATED, "unauthorized"),
        (UNAVAILABLE, "failing"),
    ];
    assert_agreed("faults", &host, &[&faults[..], &blocked].concat());
    log_progress("faults");

    // A checkpoint is cut, a tenant leaves, and the new secret is known.
    let checkpoint = fixture.path(&format!("state/{CHECKPOINT_TRUNCATED}.checkpoint.json"));
    let whole = fs::read(&checkpoint).unwrap();
    fs::write(&checkpoint, &whole[..whole.len() / 2]).unwrap();
    assert_eq!(
        host.ask(
            "POST",
            &format!("sources/{CHECKPOINT_TRUNCATED}/resume"),
            ""
        )
        .0,
        200
    );
    fs::remove_file(fixture.source_file(REMOVED)).unwrap();
    let line = host.reload();
    assert!(line.contains("added=0 changed=0 removed=1"), "{line}");
    day.write_secret(fixture, ROTATED);
    let faults = [
        (ADDED, "active"),
        (PAUSED, "paused"),
        (CHECKPOINT_TRUNCATED, "failing"),
        (REMOVED, "removed"),
        (UNAVAILABLE, "failing"),
    ];
    assert_agreed("more faults", &host, &[&faults[..], &blocked].concat());
    log_progress("more faults");

    // All is well again.
    environment.set_receiver_down(false);
    environment.set_unavailable(UNAVAILABLE, false);
    fs::write(&checkpoint, whole).unwrap();
    day.write(REMOVED, "");
    let line = host.reload();
    assert!(line.contains("added=1"), "{line}");
    assert_eq!(
        host.ask("POST", &format!("sources/{PAUSED}/resume"), "").0,
        200
    );
    assert_agreed("all is well", &host, &[(ADDED, "active")]);
    log_progress("all is well");

    // The end of the day: what every tenant was given has come to its receiver.
    environment.end();
    let all = || names().chain(control_names()).chain([ADDED.to_owned()]);
    wait_until("the last page of every tenant", || {
        environment.are_caught_up(all())
    });
    wait_until("every record at its receiver", || {
        all().all(|name| environment.has_received_all(&name))
    });
    log_progress("the end");
    for name in all() {
        assert!(
            environment.answered_every_page(&name),
            "{name}: a page was left out"
        );
    }
    let late = lateness(environment, undisturbed_tenants());
    let control_lateness = lateness(environment, control_names());
    let summary =
        format!("{late:?}, second host {control_lateness:?}, before the faults {baseline:?}");
    log_progress(&format!("the others on the day: {summary}"));
    let poll_max = LATE_MAX + baseline.poll_delay_max.max(control_lateness.poll_delay_max);
    let delivery_max = LATE_MAX
        + baseline
            .delivery_delay_max
            .max(control_lateness.delivery_delay_max);
    assert!(late.poll_delay_max <= poll_max, "{summary}");
    assert!(late.delivery_delay_max <= delivery_max, "{summary}");
    control.process.stop();
    let (status, log) = host.process.stop();
    assert_eq!(status.code(), Some(0), "{log}");
}

/// A receiver fails, an upstream refuses, a secret is replaced, and an operator is at work.
fn begin_faults(day: &Day, host: &mut Host<'_>) {
    day.environment.set_receiver_down(true);
    day.environment.set_unavailable(UNAVAILABLE, true);
    day.environment.rotate(ROTATED);
    day.write(ADDED, "");
    day.write(CHANGED, "poll_timeout_secs = 50");
    let line = host.reload();
    assert!(line.contains("added=1 changed=1 removed=0"), "{line}");
    for name in [PAUSED, CHECKPOINT_TRUNCATED] {
        let path = format!("sources/{name}/pause");
        assert_eq!(host.ask("POST", &path, "").0, 200);
    }
}

/// The greatest delays of polls and of deliveries of some tenants.
#[derive(Debug)]
struct Lateness {
    poll_count: u32,
    poll_delay_max: Duration,
    delivery_delay_max: Duration,
}

fn lateness(environment: &DayEnvironment, tenants: impl Iterator<Item = String>) -> Lateness {
    let mut lateness = Lateness {
        poll_count: 0,
        poll_delay_max: Duration::ZERO,
        delivery_delay_max: Duration::ZERO,
    };
    for name in tenants {
        let polls = environment.poll_lateness(&name);
        assert!(polls.poll_count > 0, "{name} was not polled");
        let delay = environment.delivery_delay_max(&name).unwrap();
        lateness.poll_count += polls.poll_count;
        lateness.poll_delay_max = lateness.poll_delay_max.max(polls.delay_max);
        lateness.delivery_delay_max = lateness.delivery_delay_max.max(delay);
    }
    lateness
}

/// Returns the tenants without changes or faults.
fn undisturbed_tenants() -> impl Iterator<Item = String> {
    let disturbed = [
        CHANGED,
        PAUSED,
        REMOVED,
        ROTATED,
        CHECKPOINT_TRUNCATED,
        UNAVAILABLE,
    ];
    names().filter(move |name| {
        !disturbed.contains(&name.as_str()) && !TENANTS_OF_SECOND_RECEIVER.contains(&name.as_str())
    })
}
