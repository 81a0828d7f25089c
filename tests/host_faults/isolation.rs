//! A fault of one source, component or state file affects its source alone: the others run, and what
//! the host keeps, shows and logs is bounded, without a secret and without a line that a component
//! has forged.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Instant;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::compile::compile_file;
use crate::server::{Server, response};
use crate::setup::{HostProcess, Setup, assert_success, count_lines, small_config, wait_until};

const MIB: u64 = 1024 * 1024;
const SECRET: &str = "mark+component/secret=Lw5Xc8Rt";

/// Compiles `scripted_component.rs` with a fault of its `describe`, or with none.
fn compile_scripted(folder: &Path, fault: &str) -> PathBuf {
    compile_file("scripted_component.rs", folder, fault)
}

/// A source whose component does what `behavior` names.
fn source(name: &str, component: &Path, behavior: &str) -> String {
    format!(
        "[[source]]\nname = \"{name}\"\ncomponent = \"{}\"\n[source.settings]\nbehavior = \"{behavior}\"\n",
        component.display()
    )
}

/// Adds text to the settings file.
fn append_settings(setup: &Setup, text: &str) {
    let mut settings = fs::read_to_string(setup.path("host.toml")).unwrap();
    settings.push_str(text);
    fs::write(setup.path("host.toml"), settings).unwrap();
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn bytes_of(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

/// Returns the report of a source in `status --json`.
fn status_of(status: &Value, name: &str) -> Value {
    let sources = status["sources"].as_array().unwrap();
    let found = sources.iter().find(|source| source["source"] == name);
    found.unwrap_or_else(|| panic!("{name}: {status}")).clone()
}

/// Each source that cannot start, and words of the reason.
const CANNOT_START: [(&str, &str); 9] = [
    ("describe-traps", "the component trapped"),
    ("bad-schema", "settings schema is not JSON"),
    ("any-origin", "`*` would allow every origin"),
    ("refuses", "`behavior`: is refused"),
    (
        "denied",
        "https://denied.example.com is not on the allow-list",
    ),
    ("no-component", "no-such-component.wasm"),
    ("truncated", "is not a checkpoint file or is truncated"),
    ("no-variable", "NO_SUCH_VARIABLE_9"),
    ("no-secret-file", "no-such-secret"),
];

fn add_sources_that_cannot_start(setup: &Setup) {
    let folder = setup.folder.path();
    let good = compile_scripted(folder, "none");
    for (name, _) in CANNOT_START {
        let text = match name {
            "describe-traps" | "bad-schema" | "any-origin" => {
                let component = compile_scripted(folder, &name.replace('-', " "));
                source(name, &component, "nothing")
            }
            "no-component" => source(name, Path::new("no-such-component.wasm"), "nothing"),
            "no-variable" => {
                let secret = "secret = { env = \"NO_SUCH_VARIABLE_9\" }\n";
                source(name, &good, "nothing") + secret
            }
            "no-secret-file" => {
                let secret = "secret = { file = \"no-such-secret\" }\n";
                source(name, &good, "nothing") + secret
            }
            "truncated" => source(name, &good, "nothing"),
            behavior => source(name, &good, behavior),
        };
        append_settings(setup, &text);
    }
    fs::create_dir_all(setup.path("state")).unwrap();
    fs::write(
        setup.path("state/truncated.checkpoint.json"),
        "{\"version\":1,\"sou",
    )
    .unwrap();
}

#[test]
fn a_source_that_cannot_start_stops_no_other_and_each_is_reported() {
    let setup = Setup::new(small_config(), "");
    add_sources_that_cannot_start(&setup);

    let validated = setup.command("validate").output().unwrap();
    let output_text = stderr(&validated);
    assert_eq!(validated.status.code(), Some(78), "{output_text}");
    let run = setup.run_once();
    let logged = stderr(&run);
    assert_eq!(run.status.code(), Some(78), "{logged}");
    setup.assert_exactly_once(&setup.events());

    let status = setup.command("status").arg("--json").output().unwrap();
    assert_eq!(status.status.code(), Some(1), "{status:?}");
    let status: Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(status_of(&status, "acme")["state"], "stopped");
    for (name, reason) in CANNOT_START {
        if name != "truncated" {
            assert!(
                output_text.contains(reason),
                "validate, {name}: {output_text}"
            );
        }
        assert!(logged.contains(reason), "run, {name}: {logged}");
        let source = status_of(&status, name);
        let state = if name == "truncated" {
            "failing"
        } else {
            "stopped"
        };
        assert_eq!(source["state"], state, "{source}");
        let detail = source["last_error"]["detail"].as_str().unwrap();
        assert!(detail.contains(reason), "status, {name}: {detail}");
    }
    let truncated = fs::read_to_string(setup.path("state/truncated.checkpoint.json")).unwrap();
    assert_eq!(truncated, "{\"version\":1,\"sou", "it is not overwritten");
    let text = setup.command("status").output().unwrap();
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(
        text.contains("\nhost: not running; the last run ended at "),
        "{text}"
    );
    assert!(text.contains("source `acme`: stopped, lag "), "{text}");
    assert!(text.contains("source `truncated`: failing"), "{text}");
}

#[test]
fn a_source_whose_files_are_repaired_is_started_while_the_others_run() {
    let setup = Setup::new(small_config(), "");
    let component = compile_scripted(setup.folder.path(), "none");
    append_settings(&setup, &source("late", Path::new("late.wasm"), "nothing"));
    append_settings(&setup, &source("truncated", &component, "nothing"));
    fs::create_dir_all(setup.path("state")).unwrap();
    let truncated = setup.path("state/truncated.checkpoint.json");
    fs::write(&truncated, "{").unwrap();
    let mut host = HostProcess::start(setup.command("run"));
    for name in ["late", "truncated"] {
        let words = format!("source={name} failures=1");
        if !host.log.contains(&words) {
            let line = host.wait_for(&words);
            assert!(line.contains("next try in"), "{line}");
        }
    }
    fs::rename(&component, setup.path("late.wasm")).unwrap();
    fs::remove_file(&truncated).unwrap();
    let state = setup.path("state/late.checkpoint.json");
    wait_until("started", || {
        fs::read_to_string(&state).is_ok_and(|text| text.contains("\"checkpoint\": \"c\""))
    });
    let (status, log) = host.stop();
    // The other component file was moved away, so that source still failed.
    assert!(matches!(status.code(), Some(0 | 78)), "{log}");
    assert!(log.contains("started source=late"), "{log}");
}

/// This happens, for example, when a captive portal resolves the name to a private address.
#[test]
fn an_allowed_origin_that_is_refused_is_tried_again_and_ends_no_source() {
    let setup = Setup::new(small_config(), "");
    let component = compile_scripted(setup.folder.path(), "none");
    let allow = "allow = [\"https://denied.example.com\"]\n[source.settings]";
    let text = source("denied", &component, "denied").replace("[source.settings]", allow);
    append_settings(&setup, &text);
    let mut host = HostProcess::start(setup.command("run"));
    let line = host.wait_for("source=denied failures=2");
    assert!(
        line.contains("denied: https://denied.example.com is on the allow-list"),
        "{line}"
    );
    assert!(line.contains("next try in"), "{line}");
    let (status, log) = host.stop();
    assert_eq!(status.code(), Some(0), "{log}");
}

#[test]
fn a_source_is_not_polled_before_the_time_that_it_asked_for() {
    const WAITS: [&str; 3] = [
        "caught up for 60 s",
        "failing for 60 s",
        "throttled for 60 s",
    ];
    let setup = Setup::new(small_config(), "");
    let component = compile_scripted(setup.folder.path(), "none");
    for behavior in WAITS.iter().chain(&["caught up for 1 s"]) {
        append_settings(
            &setup,
            &source(&behavior.replace(' ', "-"), &component, behavior),
        );
    }
    let mut host = HostProcess::start(setup.command("run"));
    for behavior in WAITS {
        let started = format!("started source={}", behavior.replace(' ', "-"));
        if !host.log.contains(&started) {
            host.wait_for(&started);
        }
    }
    // The clock of this test is a source that is polled every second.
    host.wait_for("poll 6,");
    let (status, log) = host.stop();
    assert_eq!(status.code(), Some(0), "{log}");
    assert_eq!(log.matches("poll 1,").count(), 4, "{log}");
    assert_eq!(log.matches("poll 2,").count(), 1, "{log}");
    let failures: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("failing: "))
        .collect();
    assert_eq!(failures.len(), 1, "{log}");
    assert!(failures[0].contains("source=failing-for-60-s"), "{log}");

    // With `--once`, of these sources only those that are caught up end.
    fs::remove_dir_all(setup.path("state")).unwrap();
    let mut host = HostProcess::start(setup.command("run --once"));
    for line in [
        "caught up source=caught-up-for-60-s",
        "caught up source=caught-up-for-1-s",
        "poll 1, 1 of its instance source=throttled-for-60-s",
    ] {
        if !host.log.contains(line) {
            host.wait_for(line);
        }
    }
    let (_, log) = host.stop();
    assert!(!log.contains("caught up source=throttled"), "{log}");
    assert!(!log.contains("caught up source=failing"), "{log}");
}

#[test]
fn a_wait_beyond_every_date_is_shown_and_ends_no_source() {
    let setup = Setup::new(small_config(), "");
    let component = compile_scripted(setup.folder.path(), "none");
    append_settings(&setup, &source("waits", &component, "waits for ever"));
    append_settings(
        &setup,
        &source("throttled", &component, "throttled for ever"),
    );
    let mut host = HostProcess::start(setup.command("run"));
    for line in [
        "the quota is used up source=waits",
        "HTTP 429 source=throttled",
    ] {
        if !host.log.contains(line) {
            host.wait_for(line);
        }
    }
    let waits = |name: &str| {
        let status = setup.command("status").arg("--json").output().unwrap();
        let status: Value = serde_json::from_slice(&status.stdout).unwrap();
        status_of(&status, name)["waits"][0]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    wait_until("both are stored", || {
        !waits("waits").is_empty() && !waits("throttled").is_empty()
    });
    assert_eq!(
        waits("waits"),
        "waiting until 9999-12-31T23:59:59Z, stream s: the quota is used up"
    );
    assert!(
        waits("throttled").ends_with("Z: HTTP 429"),
        "{}",
        waits("throttled")
    );
    let (status, log) = host.stop();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(!log.contains("internal error"), "{log}");
}

#[test]
fn an_instance_is_dropped_when_nothing_is_left_to_poll_and_its_session_is_kept() {
    let setup = Setup::new(small_config(), "");
    let component = compile_scripted(setup.folder.path(), "none");
    append_settings(&setup, &source("waits", &component, "caught up for 1 s"));
    let mut host = HostProcess::start(setup.command("run"));
    for poll in 1..=3 {
        let words = format!("poll {poll}, ");
        let line = host.wait_for(&words);
        assert!(line.contains(", 1 of its instance"), "{line}");
    }
    host.stop();
}

#[test]
fn a_run_of_which_no_source_can_start_ends() {
    let setup = Setup::new(small_config(), "");
    let good = fs::read_to_string(setup.path("host.toml")).unwrap();
    // After code 1 systemd starts the host again, as the file may be written later; after 78 it does not.
    for (reference, code) in [
        ("{ file = \"no-such-secret\" }", 1),
        ("{ env = \"NO_SUCH_VARIABLE_9\" }", 78),
    ] {
        let text = good.replace("{ file = \"secret\" }", reference);
        fs::write(setup.path("host.toml"), text).unwrap();
        let run = setup.command("run").output().unwrap();
        assert_eq!(run.status.code(), Some(code), "{}", stderr(&run));
    }
}

#[test]
fn no_flood_of_texts_fills_memory_state_log_or_disk_or_stops_another_source() {
    const FLOODS: [&str; 7] = [
        "new streams",
        "new counts",
        "long notices",
        "many notices",
        "rejected",
        "long events",
        "long error",
    ];
    let receiver = Server::start(|head| {
        let length = head.split_once("content-length: ").unwrap().1;
        let length: usize = length.split("\r\n").next().unwrap().parse().unwrap();
        response(if length > 1_000 { 413 } else { 200 }, "")
    });
    let setup = Setup::new(small_config(), "");
    setup.write_source(
        "outputs = [\"file\"]",
        "",
        "type = \"file\"\npath = \"events.ndjson\"",
    );
    let output = format!(
        "[[output]]\ntype = \"http\"\nformat = \"ndjson\"\ncompression = \"none\"\nendpoint = \"{}\"\n",
        receiver.url()
    );
    append_settings(&setup, &output);
    let component = compile_scripted(setup.folder.path(), "none");
    for behavior in FLOODS {
        let name = behavior.replace(' ', "-");
        let more = "memory_mib = 128\nmax_bytes = 4194304\noutputs = [\"http\"]\n[source.settings]";
        let text = source(&name, &component, behavior).replace("[source.settings]", more);
        append_settings(&setup, &text);
    }
    let mut command = setup.command("run");
    command.args(["--log-file", "log"]);
    let host = HostProcess::start(command);
    let begun = Instant::now();
    let log = setup.path("log");
    // Long enough to use up each burst.
    // Of events that are refused, one more batch is fetched before they are counted.
    let rejected = [("rejected", 18), ("long-events", 24)]
        .map(|(name, mib)| (setup.path(&format!("state/{name}.rejected.ndjson")), mib));
    wait_until("that the floods go on", || {
        rejected.iter().all(|(file, _)| bytes_of(file) > 16 * MIB)
            && fs::read_to_string(&log)
                .is_ok_and(|text| text.contains("notices: ") && text.contains("suppressed by"))
    });
    wait_until("that the other source is done", || {
        count_lines(&setup.path("events.ndjson")) == setup.expected_count()
    });
    let peak = fs::read_to_string(format!("/proc/{}/status", host.id())).unwrap();
    let peak = peak
        .lines()
        .find(|line| line.starts_with("VmHWM"))
        .unwrap()
        .to_owned();
    let (status, log_text) = host.stop();
    let seconds = begun.elapsed().as_secs() + 1;
    assert_eq!(status.code(), Some(0), "{log_text}");
    setup.assert_exactly_once(&setup.events());

    let kib: u64 = peak.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(kib < 800 * 1024, "{peak}");
    // The sources that log notices or rejected records may log two bursts of 240 KiB each,
    // then 4 KiB per second; there are four of them, and the errors of all.
    assert!(
        bytes_of(&log) < 2 * MIB + seconds * 16 * 1024,
        "{}",
        bytes_of(&log)
    );
    for (file, mib) in rejected {
        let bytes = bytes_of(&file);
        assert!(bytes < (mib + seconds) * MIB, "{}: {bytes}", file.display());
    }
    let text = fs::read_to_string(&log).unwrap();
    for behavior in FLOODS {
        let name = behavior.replace(' ', "-");
        let state = setup.path(&format!("state/{name}.checkpoint.json"));
        assert!(bytes_of(&state) < 64 * 1024, "{name}");
        assert!(
            text.contains(&format!("source={name}")),
            "{name} was polled"
        );
    }
    for name in ["new-streams", "new-counts"] {
        let state = fs::read_to_string(setup.path(&format!("state/{name}.checkpoint.json")));
        let state = state.unwrap();
        assert!(state.contains("broke the contract"), "{state}");
    }
}

#[test]
fn events_that_are_no_json_and_counts_that_overflow_stop_their_source_only() {
    let receiver = Server::start(|_| response(200, "{}"));
    let setup = Setup::new(small_config(), "");
    let output = format!(
        "type = \"file\"\npath = \"events.ndjson\"\n[[output]]\ntype = \"http\"\nendpoint = \"{}\"",
        receiver.url()
    );
    setup.write_settings("", &output);
    let component = compile_scripted(setup.folder.path(), "none");
    append_settings(&setup, &source("no-json", &component, "no json"));
    append_settings(&setup, &source("overflow", &component, "overflow"));
    let run = setup.run_once();
    let output_text = stderr(&run);
    assert_eq!(run.status.code(), Some(1), "{output_text}");
    setup.assert_exactly_once(&setup.events());
    for (line, source) in [
        (
            "the component broke the contract: line 1 of the events is not a JSON object",
            "source=no-json failures=1",
        ),
        (
            "the component broke the contract: stream s: a count of 18446744073709551615",
            "source=overflow failures=1",
        ),
    ] {
        let is_logged = |log: &str| log.contains(line) && log.contains(source);
        assert!(output_text.lines().any(is_logged), "{output_text}");
    }
    let received = receiver.received();
    assert!(memchr::memmem::find(&received, b"not json").is_none());
}

/// Writes the settings of a host into a directory of its own below `folder`, with one source for each of these
/// behaviors; each has the secret. Returns that directory.
fn write_settings_with_secret(folder: &TempDir, behaviors: &[&str]) -> PathBuf {
    let component = compile_scripted(folder.path(), "none");
    fs::write(folder.path().join("outside"), SECRET).unwrap();
    let secret = format!(
        "secret = {{ file = \"{}\" }}\n",
        folder.path().join("outside").display()
    );
    let mut text = "state_dir = \"state\"\n".to_owned();
    for behavior in behaviors {
        text.push_str(&source(&behavior.replace(' ', "-"), &component, behavior));
        text.push_str(&secret);
    }
    text.push_str("[[output]]\ntype = \"file\"\npath = \"events.ndjson\"\n");
    let host_dir = folder.path().join("host");
    fs::create_dir(&host_dir).unwrap();
    fs::write(host_dir.join("host.toml"), text).unwrap();
    host_dir
}

/// Every file below a folder, with its bytes.
fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            let bytes = fs::read(&path).unwrap();
            found.push((path, bytes));
        }
    }
    found
}

#[test]
fn no_text_of_a_component_shows_a_secret_or_forges_a_line() {
    const ALL: [&str; 5] = [
        "secrets",
        "secret stream",
        "secret counts",
        "secret error",
        "secret checkpoint",
    ];
    let folder = TempDir::new().unwrap();
    let host_dir = write_settings_with_secret(&folder, &ALL);
    let host = |verb: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_source-host"));
        command.arg(verb).arg("host.toml").current_dir(&host_dir);
        command
    };
    let mut running = HostProcess::start(host("run"));
    for behavior in ALL {
        let field = format!("source={}", behavior.replace(' ', "-"));
        let is_polled = |line: &str| {
            !line.contains("started") && line.split_whitespace().any(|word| word == field)
        };
        while !running.log.lines().any(is_polled) {
            running.wait_for(&field);
        }
    }
    let state = host_dir.join("state/secrets.checkpoint.json");
    wait_until("stored", || state.exists());
    let (_, log) = running.stop();
    let status = host("status").output().unwrap();
    let status_json = host("status").arg("--json").output().unwrap();

    let mut shown = files(&host_dir);
    shown.push(("the log".into(), log.clone().into_bytes()));
    shown.push(("status".into(), status.stdout));
    shown.push(("status --json".into(), status_json.stdout));
    let in_json = json!(SECRET).to_string();
    for (path, bytes) in &shown {
        for form in [SECRET, in_json.trim_matches('"')] {
            let found = memchr::memmem::find(bytes, form.as_bytes());
            assert!(found.is_none(), "the secret is in {}", path.display());
        }
        if path.extension().is_none_or(|kind| kind != "cwasm") {
            for character in [
                "\u{1b}", "\r", "\u{202e}", "\u{2066}", "\u{200f}", "\u{2028}",
            ] {
                let found = memchr::memmem::find(bytes, character.as_bytes());
                assert!(found.is_none(), "{character:?} is in {}", path.display());
            }
        }
    }
    assert!(log.contains("forged1 "), "it is shown: {log}");
    for line in log.lines() {
        let is_own = line.contains(" source=") && !line.starts_with("2026-01-01");
        assert!(is_own, "a line of a component's making: {line}");
    }
    assert!(
        log.contains("the checkpoint contains a secret of the source"),
        "{log}"
    );
    let rejected = fs::read_to_string(host_dir.join("state/secrets.rejected.ndjson")).unwrap();
    let rejected: Value = serde_json::from_str(rejected.lines().next().unwrap()).unwrap();
    let expected = "a [redacted]\\r\\n2026-01-01T00:00:00.000000Z  INFO forged";
    for text in ["locator", "reason"] {
        assert!(
            rejected[text].as_str().unwrap().starts_with(expected),
            "{rejected}"
        );
    }
}

#[test]
fn a_new_log_file_is_closed_to_others() {
    let setup = Setup::new(small_config(), "");
    let mut shell = Command::new("sh");
    shell.args(["-c", "umask 0; exec \"$@\"", "sh"]);
    shell.arg(env!("CARGO_BIN_EXE_source-host"));
    shell.args(["status", "host.toml", "--log-file", "log"]);
    let output = shell.current_dir(setup.folder.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(3), "nothing runs: {output:?}");
    let mode = fs::metadata(setup.path("log"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o640);
}

/// The host with a limit of its address space in KiB.
fn run_with_address_space(setup: &Setup, kib: u64) -> Output {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("ulimit -v {kib}; exec \"$@\""), "sh"]);
    shell.arg(env!("CARGO_BIN_EXE_source-host"));
    shell.args(["run", "--once", "host.toml"]);
    shell.current_dir(setup.folder.path()).output().unwrap()
}

#[test]
fn a_limit_of_the_address_space_is_no_fault_of_the_settings() {
    let setup = Setup::new(small_config(), "");
    let output = run_with_address_space(&setup, 4 * 1024 * 1024);
    assert_success(&output);
    setup.assert_exactly_once(&setup.events());

    // More than the limit leaves for one memory.
    setup.delete_checkpoint_and_events();
    let text = fs::read_to_string(setup.path("host.toml")).unwrap();
    let text = text.replace("[source.settings]", "memory_mib = 4096\n[source.settings]");
    fs::write(setup.path("host.toml"), text).unwrap();
    let output = run_with_address_space(&setup, 4 * 1024 * 1024);
    let output_text = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{output_text}");
    assert!(
        output_text.contains("no address space for an instance"),
        "{output_text}"
    );
    assert!(
        output_text.contains("this process may have 4096 MiB"),
        "{output_text}"
    );
    assert!(output_text.contains("lower memory_mib"), "{output_text}");
}

#[test]
fn base_url_needs_no_entry_and_the_printed_line_allows_what_was_refused() {
    let setup = Setup::new(small_config(), "");
    let text = fs::read_to_string(setup.path("host.toml")).unwrap();
    let (before, rest) = text.split_once("allow = ").unwrap();
    let (_, after) = rest.split_once('\n').unwrap();
    let other = "https://files.example.com";
    let with = |allow: &str| format!("{before}{allow}\n{after}");
    for entry in [
        "",
        "allow = [\"https://files.example.com\"]",
        "allow_only = []",
    ] {
        setup.delete_checkpoint_and_events();
        fs::write(setup.path("host.toml"), with(entry)).unwrap();
        let run = setup.run_once();
        let output_text = stderr(&run);
        assert_eq!(run.status.code(), Some(1), "{output_text}");
        assert!(
            !setup.events().is_empty(),
            "the API is reached: {output_text}"
        );
        let key = if entry.starts_with("allow_only") {
            "allow_only = ["
        } else {
            "allow = ["
        };
        let line = output_text
            .lines()
            .find(|line| line.contains("request denied"))
            .unwrap();
        let at = line.find(key).unwrap();
        let end = line[at..].find(']').unwrap();
        let printed = &line[at..=at + end];
        assert_eq!(printed.contains(other), entry.contains(other), "{printed}");
        let checked = setup.command("check").output().unwrap();
        let found = String::from_utf8_lossy(&checked.stdout).into_owned();
        assert!(found.contains(printed), "{printed}: {found}");
        fs::write(setup.path("host.toml"), with(printed)).unwrap();
        // From the start, since what was set aside is fetched again only after minutes.
        setup.delete_checkpoint_and_events();
        assert_success(&setup.run_once());
        setup.assert_complete(&setup.events());
    }
    let both = with("allow = []\nallow_only = []");
    fs::write(setup.path("host.toml"), both).unwrap();
    let validated = setup.command("validate").output().unwrap();
    assert_eq!(validated.status.code(), Some(78));
    assert!(stderr(&validated).contains("`allow_only` cannot be combined with `allow`"));
}

#[test]
fn a_state_file_that_lost_its_checkpoint_is_no_fresh_start() {
    let setup = Setup::new(small_config(), "");
    assert_success(&setup.run_once());
    let path = setup.path("state/acme.checkpoint.json");
    let mut stored: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    stored["checkpoint"] = Value::Null;
    fs::write(&path, stored.to_string()).unwrap();
    let events = count_lines(&setup.path("events.ndjson"));
    let run = setup.run_once();
    assert_eq!(run.status.code(), Some(78), "{}", stderr(&run));
    assert_eq!(count_lines(&setup.path("events.ndjson")), events);
    assert!(stderr(&run).contains("counts records but has no checkpoint"));
}
