//! A host under a service manager, or started by a pipeline: what it reports, and that it ends
//! when its reader does.

use std::fs;
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _};
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Output, Stdio};

use crate::setup::{
    HostProcess, Process, Setup, WAIT_TIMEOUT, assert_success, small_config, wait_until,
};

const AUDIT: &str = "format = \"raw\"\nstreams = [\"audit\"]";

/// The next message to the service manager.
fn next_message(manager: &UnixDatagram) -> String {
    let mut buffer = [0; 1_024];
    match manager.recv(&mut buffer) {
        Ok(count) => String::from_utf8_lossy(&buffer[..count]).trim().to_owned(),
        Err(error) => panic!("no message to the service manager: {error}"),
    }
}

#[test]
fn the_service_manager_is_notified_of_the_start_the_watchdog_and_the_stop() {
    let setup = Setup::new(small_config(), AUDIT);
    let socket = setup.path("notify");
    let manager = UnixDatagram::bind(&socket).unwrap();
    manager.set_read_timeout(Some(WAIT_TIMEOUT)).unwrap();
    let mut command = setup.command("run");
    command
        .env("NOTIFY_SOCKET", &socket)
        .env("WATCHDOG_USEC", "400000");
    let host = HostProcess::start(command);
    assert_eq!(next_message(&manager), "READY=1");
    for _ in 0..3 {
        assert_eq!(next_message(&manager), "WATCHDOG=1");
    }
    let stopper = std::thread::spawn(|| host.stop());
    let mut messages = Vec::new();
    while messages.last().is_none_or(|last| last != "STOPPING=1") {
        messages.push(next_message(&manager));
    }
    messages.pop();
    assert!(
        messages.iter().all(|one| one == "WATCHDOG=1"),
        "{messages:?}"
    );
    let (status, log) = stopper.join().unwrap();
    assert_eq!(status.code(), Some(0), "{log}");
}

/// `ExecReload` of the unit sends it.
#[test]
fn a_hangup_is_a_reload_of_which_the_service_manager_is_notified() {
    let setup = Setup::new(small_config(), AUDIT);
    let socket = setup.path("notify");
    let manager = UnixDatagram::bind(&socket).unwrap();
    manager.set_read_timeout(Some(WAIT_TIMEOUT)).unwrap();
    let mut command = setup.command("run");
    command.env("NOTIFY_SOCKET", &socket);
    let mut host = HostProcess::start(command);
    assert_eq!(next_message(&manager), "READY=1");
    host.wait_for("started");
    host.signal("-HUP");
    let line = host.wait_for("settings read again");
    assert!(line.contains("unchanged=1"), "{line}");
    let reloading = next_message(&manager);
    let (word, since) = reloading.split_once("\nMONOTONIC_USEC=").unwrap();
    assert_eq!(word, "RELOADING=1");
    assert!(since.parse::<u64>().is_ok(), "{reloading}");
    assert_eq!(next_message(&manager), "READY=1");
    assert!(host.is_running());
    let (status, log) = host.stop();
    assert_eq!(status.code(), Some(0), "{log}");
}

/// SIGUSR1 would end the process by default, and logrotate is often set up to send it.
#[test]
fn a_log_file_that_is_rotated_is_closed_at_sigusr1() {
    let setup = Setup::new(small_config(), AUDIT);
    let (log, moved) = (setup.path("log"), setup.path("log.1"));
    let mut command = setup.command("run");
    command.arg("--log-file").arg(&log);
    let mut host = HostProcess::start(command);
    let has = |path: &std::path::Path, words: &str| {
        fs::read_to_string(path).is_ok_and(|text| text.contains(words))
    };
    wait_until("the log of the start", || has(&log, "started"));
    fs::rename(&log, &moved).unwrap();
    host.signal("-USR1");
    wait_until("the new log file", || has(&log, "SIGUSR1"));
    assert!(!has(&moved, "SIGUSR1"));
    assert!(host.is_running());
    host.signal("-TERM");
    assert_eq!(host.wait_for_exit().0.code(), Some(0));
    assert!(has(&log, "stopped"));
}

#[test]
fn a_log_file_is_closed_at_sigusr1_also_where_only_warnings_are_logged() {
    let setup = Setup::new(small_config(), AUDIT);
    let (log, moved) = (setup.path("log"), setup.path("log.1"));
    let mut command = setup.command("run");
    command.arg("-q").arg("--log-file").arg(&log);
    let mut host = HostProcess::start(command);
    let events = setup.path("events.ndjson");
    wait_until("the first events", || {
        fs::metadata(&events).is_ok_and(|file| file.len() > 0)
    });
    fs::rename(&log, &moved).unwrap();
    host.signal("-USR1");
    wait_until("the new log file", || log.exists());
    host.signal("-TERM");
    assert_eq!(host.wait_for_exit().0.code(), Some(0));
}

#[test]
fn no_watchdog_message_is_sent_unless_the_service_manager_asks() {
    let setup = Setup::new(small_config(), AUDIT);
    let socket = setup.path("notify");
    let manager = UnixDatagram::bind(&socket).unwrap();
    let mut command = setup.command("run");
    command.arg("--once").env("NOTIFY_SOCKET", &socket);
    assert_success(&command.output().unwrap());
    manager.set_nonblocking(true).unwrap();
    assert_eq!(next_message(&manager), "READY=1");
    let more = manager.recv(&mut [0; 64]).unwrap_err();
    assert_eq!(more.kind(), ErrorKind::WouldBlock);
}

/// A pipeline that starts the host may show nothing of it but its log file.
#[test]
fn every_failure_that_ends_the_process_is_in_its_log_file() {
    let setup = Setup::new(small_config(), AUDIT);
    let good = fs::read_to_string(setup.path("host.toml")).unwrap();
    let run_to_end = |settings: &str, command: &mut Command| -> (Output, String) {
        fs::write(setup.path("host.toml"), settings).unwrap();
        let _ = fs::remove_file(setup.path("log"));
        let output = command.args(["--log-file", "log"]).output().unwrap();
        let log = fs::read_to_string(setup.path("log")).unwrap();
        (output, log)
    };
    let assert_logged = |(output, log): &(Output, String), code: i32, words: &str| {
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        assert!(log.contains("ERROR"), "{words}: {log}");
        assert!(log.contains(words), "{words}: {log}");
    };

    let bad = format!("unknown_key = 1\n{good}");
    let run = || setup.command("run");
    let ended = run_to_end(&bad, &mut run());
    assert_logged(&ended, 78, "unknown_key");
    let stderr = String::from_utf8_lossy(&ended.0.stderr);
    assert!(stderr.starts_with("error: "), "{stderr}");

    let unset = good.replace("{ file = \"secret\" }", "{ env = \"NO_SUCH_VARIABLE\" }");
    assert_logged(&run_to_end(&unset, &mut run()), 78, "NO_SUCH_VARIABLE");

    fs::write(setup.path("host.toml"), &good).unwrap();
    let mut first = HostProcess::start(setup.command("run"));
    first.wait_for("started");
    assert_logged(&run_to_end(&good, &mut run()), 1, "state directory");
    let (status, log) = first.stop();
    assert_eq!(status.code(), Some(0), "{log}");

    // The JSON log on standard error is the only line there.
    let mut json = run();
    json.arg("--log-format=json");
    fs::write(setup.path("host.toml"), &bad).unwrap();
    let output = json.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<serde_json::Value> = stderr
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 1, "{stderr}");
    assert_eq!(lines[0]["level"], "ERROR");
}

/// Vector starts the next host; if this one did not end, it would still hold the lock on the state
/// directory.
#[test]
fn an_idle_host_ends_when_the_reader_of_its_events_is_gone() {
    let setup = Setup::new(small_config(), AUDIT);
    setup.write_settings(AUDIT, "type = \"stdout\"");
    let mut command = setup.command("run");
    let file = fs::File::create(setup.path("stderr")).unwrap();
    command
        .args(["--log-file", "log"])
        .stdout(Stdio::piped())
        .stderr(file);
    let mut host = Process(command.spawn().unwrap());
    let mut events = BufReader::new(host.stdout.take().unwrap());
    // All that it has to write; it is idle after that.
    let reading = std::thread::spawn(move || {
        let lines = events.by_ref().lines().take(300).count();
        (lines, events)
    });
    wait_until("all events", || reading.is_finished());
    let (lines, events) = reading.join().unwrap();
    assert_eq!(lines, 300, "the host has ended");
    let checkpoint_file = setup.path("state/acme.checkpoint.json");
    wait_until("that the source is caught up", || {
        let stored = fs::read_to_string(&checkpoint_file).unwrap_or_default();
        stored.contains("\"caught_up\": true")
    });
    assert!(host.try_wait().unwrap().is_none());
    drop(events);
    wait_until("that it ends", || host.try_wait().unwrap().is_some());
    assert_eq!(host.wait().unwrap().code(), Some(1));
    let log = fs::read_to_string(setup.path("log")).unwrap();
    assert!(
        log.contains("standard output was closed by its reader"),
        "{log}"
    );
}

fn host(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_source-host"));
    command.args(arguments).output().unwrap()
}

#[test]
fn an_installation_gets_the_component_manual_pages_and_completions() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mimecast.wasm");
    assert_success(&host(&["component", "--output", path.to_str().unwrap()]));
    assert!(fs::read(&path).unwrap() == source_host::source::BUILT_IN_COMPONENT);

    let pages = folder.path().join("man/man1");
    assert_success(&host(&["man", pages.to_str().unwrap()]));
    for name in ["source-host.1", "source-host-run.1", "source-host-status.1"] {
        let page = fs::read_to_string(pages.join(name)).unwrap();
        assert!(page.contains(".TH"), "{name}: {page}");
    }

    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = host(&["completions", shell]);
        assert_success(&script);
        let script = String::from_utf8(script.stdout).unwrap();
        assert!(script.contains("validate"), "{shell}");
    }
    // A shell reads it without a complaint.
    let script = folder.path().join("source-host.bash");
    fs::write(&script, host(&["completions", "bash"]).stdout).unwrap();
    assert_success(
        &Command::new("bash")
            .arg("-n")
            .arg(&script)
            .output()
            .unwrap(),
    );
}

#[test]
fn the_version_names_the_built_in_component_as_describe_does() {
    let version = String::from_utf8(host(&["--version"]).stdout).unwrap();
    let described: serde_json::Value =
        serde_json::from_slice(&host(&["describe", "--json"]).stdout).unwrap();
    let name = described["name"].as_str().unwrap();
    let component = described["version"].as_str().unwrap();
    let line = format!("built-in component: {name} {component}");
    assert!(version.lines().any(|one| one == line), "{version}");
}
