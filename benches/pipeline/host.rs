//! `source-host run --once` against an upstream in another process: requests, events in ECS,
//! a file that is synced, and a checkpoint for every batch.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::Size;
use crate::measure::{Cost, cheapest_run, print_row, to_f64};
use crate::upstream;

const SAMPLE_INTERVAL: Duration = Duration::from_millis(5);

pub(crate) fn measure(size: Size) {
    let (mut upstream, connection_details) = upstream::start(size.files);
    let directory = tempfile::tempdir().unwrap();
    let settings =
        upstream::write_settings(&connection_details, &upstream::STREAMS, directory.path());
    run(&settings); // compiles the component
    let run = || {
        for name in ["events.ndjson", "state/bench.checkpoint.json"] {
            fs::remove_file(directory.path().join(name)).unwrap();
        }
        run(&settings)
    };
    let used = cheapest_run(size.runs, run, |used| used.user + used.system);
    let events = fs::read(directory.path().join("events.ndjson")).unwrap();
    let stored_state = fs::read(directory.path().join("state/bench.checkpoint.json")).unwrap();
    let stored_state: Value = serde_json::from_slice(&stored_state).unwrap();
    let lines = memchr::memchr_iter(b'\n', &events).count();
    let files = usize::try_from(size.files).unwrap();
    assert_eq!(lines, 2 * files * upstream::RECORDS_PER_FILE);
    let cost = Cost {
        events: lines,
        bytes: lines * 820,
        time: used.user + used.system,
    };
    print_row(
        "source-host run --once, file output",
        cost,
        &format!(
            "{:.0} events a second of {:.1} s; {:.2} s user, {:.2} s system; peak RSS {} MiB, \
             of it the component's memory {:.1} MiB; {} bytes an event",
            to_f64(lines) / used.elapsed.as_secs_f64(),
            used.elapsed.as_secs_f64(),
            used.user.as_secs_f64(),
            used.system.as_secs_f64(),
            used.rss_kib_peak / 1024,
            stored_state["memory_bytes_peak"].as_f64().unwrap() / f64::from(1 << 20),
            events.len() / lines,
        ),
    );
    drop(upstream.stdin.take());
    upstream.wait().unwrap();
}

/// What a process has used.
#[derive(Clone, Copy, Debug, Default)]
struct Usage {
    user: Duration,
    system: Duration,
    elapsed: Duration,
    rss_kib_peak: u64,
}

/// Runs the host to its end. Its processor time is read after the process has ended and
/// before it is waited for, its memory in the last sample before that.
fn run(settings: &Path) -> Usage {
    let begun = Instant::now();
    let child = Command::new(env!("CARGO_BIN_EXE_source-host"))
        .args(["--log-format", "json", "run", "--once"])
        .arg(settings)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut used = Usage::default();
    loop {
        let ended = read_usage(child.id(), &mut used);
        if ended {
            break;
        }
        thread::sleep(SAMPLE_INTERVAL);
    }
    used.elapsed = begun.elapsed();
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    used
}

/// Reads what a process has used so far. Returns whether it has ended.
fn read_usage(id: u32, used: &mut Usage) -> bool {
    /// The period of `USER_HZ`, which Linux has fixed at 100 a second.
    const TICK: Duration = Duration::from_millis(10);

    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|value| value.split_whitespace().next())
        .and_then(|number| number.parse().ok());
    used.rss_kib_peak = peak.unwrap_or(used.rss_kib_peak);

    let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks = |place: usize| -> u32 {
        let field = fields.get(place).copied().unwrap_or_default();
        field.parse().unwrap_or(0)
    };
    let (state, user, system) = (fields.first(), ticks(11), ticks(12));
    used.user = TICK * user;
    used.system = TICK * system;
    state.is_none_or(|state| *state == "Z")
}
