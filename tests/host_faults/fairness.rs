//! Components that take more than their share of processors, descriptors and log, beside an
//! honest source.

use std::fs;
use std::time::Instant;

use crate::hostile::{self, SilentServer};
use crate::setup::{HostProcess, Setup, small_config, wait_until};

const HIGH_CALL_RATE: &str = "siem_calls_per_15_min = 100000";

/// Adds hostile sources to the settings file.
fn add_hostile_sources(setup: &Setup, behavior: &str, count: usize, authority: &str) {
    let component = hostile::compile(setup.folder.path());
    let mut text = fs::read_to_string(setup.path("host.toml")).unwrap();
    for number in 0..count {
        let name = format!("{behavior}-{number}");
        text.push_str(&hostile::source(&name, &component, behavior, authority));
    }
    fs::write(setup.path("host.toml"), text).unwrap();
}

#[test]
fn busy_loops_and_memory_at_its_limit_let_an_honest_source_complete() {
    let setup = Setup::new(small_config(), HIGH_CALL_RATE);
    add_hostile_sources(&setup, "loops", 4, "127.0.0.1:9");
    add_hostile_sources(&setup, "memory", 2, "127.0.0.1:9");
    let mut host = HostProcess::start(setup.command("run --once"));
    host.wait_for("caught up source=acme");
    let (status, log) = host.stop();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(!log.contains("did not return"), "{log}");
    setup.assert_exactly_once(&setup.events());
}

/// Without a limit each of them has 901 connections, and there are 128 descriptors for all.
#[test]
fn sources_that_hold_requests_open_leave_descriptors_for_the_others() {
    let setup = Setup::new(small_config(), HIGH_CALL_RATE);
    let server = SilentServer::start();
    add_hostile_sources(&setup, "sockets", 2, &server.authority);
    let run = setup.command("run --once");
    let mut limited = std::process::Command::new("sh");
    limited
        .args(["-c", "ulimit -n 128 && exec \"$0\" \"$@\""])
        .arg(run.get_program())
        .args(run.get_args())
        .current_dir(setup.folder.path());
    let mut host = HostProcess::start(limited);
    host.wait_for("caught up source=acme");
    wait_until("open", || server.connections() >= 32);
    let (status, log) = host.stop();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(!log.contains("Too many open files"), "{log}");
    setup.assert_exactly_once(&setup.events());
}

#[test]
fn a_flood_on_standard_error_is_suppressed_and_counted() {
    const RATE_BYTES_PER_SECOND: u64 = 40 * 1024;
    const BURST_SECONDS: u64 = 5;
    let setup = Setup::new(small_config(), HIGH_CALL_RATE);
    add_hostile_sources(&setup, "stderr", 1, "127.0.0.1:9");
    let mut run = setup.command("run --once");
    run.args(["--log-file", "host.log"]);
    let begun = Instant::now();
    let host = HostProcess::start(run);
    let log = || fs::read_to_string(setup.path("host.log")).unwrap_or_default();
    wait_until("complete", || log().contains("caught up source=acme"));
    wait_until("reported", || {
        log().contains(" suppressed by the rate limit")
    });
    let (status, stderr) = host.stop();
    assert_eq!(status.code(), Some(0), "{stderr}");
    let log = log();
    let flood: usize = log
        .lines()
        .filter(|line| line.contains("component: xxx"))
        .map(str::len)
        .sum();
    let most = RATE_BYTES_PER_SECOND * (BURST_SECONDS + begun.elapsed().as_secs() + 2);
    assert!(u64::try_from(flood).unwrap() < most, "{flood} of {most}");
    setup.assert_exactly_once(&setup.events());
}

/// The limit is reported before it causes failures.
#[test]
fn a_limit_of_descriptors_that_is_low_for_the_sources_is_named() {
    let setup = Setup::new(small_config(), HIGH_CALL_RATE);
    let run = setup.command("run");
    let output = std::process::Command::new("sh")
        .args(["-c", "ulimit -n 64 && exec \"$0\" \"$@\" --once"])
        .arg(run.get_program())
        .args(run.get_args())
        .current_dir(setup.folder.path())
        .output()
        .unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{log}");
    assert!(
        log.contains(
            "the limit of 64 open files is low for 1 sources and 1 outputs: set it to 132"
        ),
        "{log}"
    );
    setup.assert_exactly_once(&setup.events());
}
