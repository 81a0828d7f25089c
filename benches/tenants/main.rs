//! Many tenants in one `source-host`: what they cost while nothing happens, what they cost while
//! they collect, and what a slow, a failing and a huge one cost the others.
//!
//! The host runs as people run it, against an upstream in another process on loopback. Without
//! arguments everything is measured; `idle`, `busy` or `neighbours` choose a part, and a number
//! the count of tenants.

#![expect(
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark that cannot run should panic with the reason"
)]

#[expect(dead_code, reason = "the other benchmarks print rows of costs")]
#[path = "../measure.rs"]
mod measure;
#[path = "../../tests/mock_upstream/mod.rs"]
mod mock_upstream;
mod upstream;
#[path = "../upstream_process.rs"]
mod upstream_process;

use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use crate::measure::to_f64;
use crate::upstream_process::UpstreamProcess;

const SAMPLE_INTERVAL: Duration = Duration::from_millis(20);
/// The period of `USER_HZ`, which Linux has fixed at 100 a second.
const TICK: Duration = Duration::from_millis(10);
/// Beyond this a run has failed.
const RUN_MAX: Duration = Duration::from_secs(600);

/// How much is measured.
#[derive(Clone, Copy, Debug)]
struct Size {
    idle_tenants: [usize; 2],
    /// How long idle tenants are watched.
    watch_time: Duration,
    busy_tenants: usize,
    events_per_busy_tenant: usize,
    honest_tenants: usize,
    events_per_honest_tenant: usize,
}

const FULL: Size = Size {
    idle_tenants: [1_000, 10_000],
    watch_time: Duration::from_secs(120),
    busy_tenants: 2_000,
    events_per_busy_tenant: 1_000,
    honest_tenants: 20,
    events_per_honest_tenant: 20_000,
};

const SMOKE: Size = Size {
    idle_tenants: [20, 40],
    watch_time: Duration::from_secs(2),
    busy_tenants: 10,
    events_per_busy_tenant: 600,
    honest_tenants: 3,
    events_per_honest_tenant: 1_000,
};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if upstream_process::is_upstream() {
        return upstream::serve();
    }
    let parts = ["idle", "busy", "neighbours"];
    let is_named = |argument: &String| parts.contains(&argument.as_str());
    let wants = |part: &str| {
        !arguments.iter().any(is_named) || arguments.iter().any(|argument| argument == part)
    };
    let mut size = if measure::is_smoke_test() {
        SMOKE
    } else {
        FULL
    };
    let count = arguments.iter().find_map(|argument| argument.parse().ok());
    if let Some(count) = count {
        (size.idle_tenants, size.busy_tenants) = ([count, count], count);
    }
    println!("| tenants | what | time | CPU | RSS, MiB | threads | mappings | files | |");
    println!("|--:|---|--:|--:|--:|--:|--:|--:|---|");
    if wants("idle") {
        idle(size.idle_tenants[0], size.watch_time);
        if size.idle_tenants[1] != size.idle_tenants[0] {
            idle(size.idle_tenants[1], size.watch_time);
        }
    }
    if wants("busy") {
        busy(size.busy_tenants, size.events_per_busy_tenant);
    }
    if wants("neighbours") {
        neighbours(size);
    }
}

/// Tenants whose upstream has nothing: from the start until all are caught up, then at rest.
fn idle(tenants: usize, watch_time: Duration) {
    let upstream = UpstreamProcess::start();
    let names = (0..tenants).map(|number| format!("idle-{number}"));
    let host = Host::start(&upstream, names, &[]);
    let begun = Instant::now();
    host.wait_until(|host| host.checkpoint_count() >= tenants);
    let caught_up = begun.elapsed();
    let used = host.sample_usage();
    print_row(tenants, "started and caught up", caught_up, used, "");
    let before = host.sample_usage();
    let watched = Instant::now();
    let mut peak = before;
    while watched.elapsed() < watch_time {
        thread::sleep(Duration::from_millis(200));
        peak = peak.max(host.sample_usage());
    }
    let spent = peak.cpu.saturating_sub(before.cpu);
    let hourly = spent.as_secs_f64() * 3600.0 / watched.elapsed().as_secs_f64();
    let note = format!(
        "{:.0} CPU-s an hour for 1,000 tenants",
        hourly * 1000.0 / to_f64(tenants)
    );
    let shown = Usage { cpu: spent, ..peak };
    print_row(tenants, "at rest, peak", watched.elapsed(), shown, &note);
    host.stop();
}

/// Tenants that collect all at once.
fn busy(tenants: usize, events: usize) {
    let upstream = UpstreamProcess::start();
    let names = (0..tenants).map(|number| format!("busy-{events}-{number}"));
    let host = Host::start(&upstream, names, &["--once"]);
    let (time, used) = host.wait_for_end();
    let (delivered, expected) = (host.line_counter("").count(), tenants * events);
    let note = format!(
        "{:.0} events a CPU-second, {}",
        to_f64(expected) / used.cpu.as_secs_f64(),
        describe_difference(delivered, expected)
    );
    print_row(tenants, &format!("{events} events each"), time, used, &note);
    assert_eq!(delivered, expected, "{note}");
}

/// Says how many events were lost or repeated.
fn describe_difference(delivered: usize, expected: usize) -> String {
    match delivered.checked_sub(expected) {
        None => format!("{} lost", expected.abs_diff(delivered)),
        Some(0) => "none lost or repeated".to_owned(),
        Some(repeated) => format!("{repeated} repeated"),
    }
}

/// The throughput of honest tenants alone and beside others, and the delays of idle ones.
fn neighbours(size: Size) {
    let (tenants, events) = (size.honest_tenants, size.events_per_honest_tenant);
    let mut alone = None;
    let cases = [
        ("alone", None),
        ("beside a slow one", Some("slow-0".to_owned())),
        ("beside a failing one", Some("failing-0".to_owned())),
        ("beside a huge one", Some("huge-10000000-0".to_owned())),
    ];
    for (what, other) in cases {
        let mut upstream = UpstreamProcess::start();
        let honest = (0..tenants).map(|number| format!("busy-{events}-{number}"));
        let idle = (0..tenants).map(|number| format!("idle-{number}"));
        let host = Host::start(&upstream, honest.chain(idle).chain(other), &[]);
        let begun = Instant::now();
        let mut honest_lines = host.line_counter("\"busy-");
        host.wait_until(|_| honest_lines.count() >= tenants * events);
        let time = begun.elapsed();
        let rate = to_f64(tenants * events) / time.as_secs_f64();
        let ratio = rate / *alone.get_or_insert(rate);
        // Idle tenants are polled every minute: two more polls of each.
        let waited = (!measure::is_smoke_test()).then(|| {
            thread::sleep(Duration::from_secs(130).saturating_sub(begun.elapsed()));
        });
        let used = host.sample_usage();
        host.stop();
        // The greatest time between two polls of an idle tenant.
        let poll_interval_max = Duration::from_millis(upstream.report().trim().parse().unwrap());
        let note = match waited {
            Some(()) => format!(
                "{ratio:.2} of the pace alone; at most {:.1} s between two polls of an idle tenant",
                poll_interval_max.as_secs_f64()
            ),
            None => format!("{ratio:.2} of the pace alone"),
        };
        print_row(tenants, what, time, used, &note);
    }
}

fn print_row(tenants: usize, what: &str, time: Duration, used: Usage, note: &str) {
    println!(
        "| {tenants} | {what} | {:.1} s | {:.1} s | {} | {} | {} | {} | {note} |",
        time.as_secs_f64(),
        used.cpu.as_secs_f64(),
        used.rss_kib / 1024,
        used.threads,
        used.mappings,
        used.files
    );
}

/// What a process uses.
#[derive(Clone, Copy, Debug, Default)]
struct Usage {
    cpu: Duration,
    rss_kib: u64,
    threads: u64,
    mappings: usize,
    files: usize,
}

impl Usage {
    /// The greatest of each.
    fn max(self, other: Self) -> Self {
        Self {
            cpu: self.cpu.max(other.cpu),
            rss_kib: self.rss_kib.max(other.rss_kib),
            threads: self.threads.max(other.threads),
            mappings: self.mappings.max(other.mappings),
            files: self.files.max(other.files),
        }
    }
}

/// A `source-host run`.
struct Host {
    child: Child,
    directory: tempfile::TempDir,
}

impl Host {
    fn start(
        upstream: &UpstreamProcess,
        names: impl Iterator<Item = String>,
        options: &[&str],
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let settings = write_settings(&upstream.url, names, directory.path());
        compile_component(directory.path());
        let log = fs::File::create(directory.path().join("log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_source-host"))
            .args(["--log-format", "json", "run"])
            .args(options)
            .arg(&settings)
            .stderr(log)
            .spawn()
            .unwrap();
        Self { child, directory }
    }

    fn wait_until(&self, mut is_done: impl FnMut(&Self) -> bool) {
        let begun = Instant::now();
        while !is_done(self) {
            assert!(begun.elapsed() < RUN_MAX, "{}", self.log());
            assert!(!self.has_ended(), "{}", self.log());
            thread::sleep(SAMPLE_INTERVAL);
        }
    }

    /// Waits for the end of a run with `--once`. Returns its time and the peak of its use.
    fn wait_for_end(&self) -> (Duration, Usage) {
        let begun = Instant::now();
        let mut peak = Usage::default();
        while !self.has_ended() {
            peak = peak.max(self.sample_usage());
            assert!(begun.elapsed() < RUN_MAX, "{}", self.log());
            thread::sleep(SAMPLE_INTERVAL);
        }
        peak.cpu = peak.cpu.max(self.sample_usage().cpu);
        (begun.elapsed(), peak)
    }

    /// Stops a host, which must still run: otherwise what was measured means nothing.
    fn stop(mut self) {
        assert!(!self.has_ended(), "{}", self.log());
        let id = self.child.id().to_string();
        let kill = Command::new("kill").arg(id).status().unwrap();
        assert!(kill.success());
        self.child.wait().unwrap();
    }

    fn has_ended(&self) -> bool {
        self.stat().is_none_or(|fields| fields[0] == "Z")
    }

    fn log(&self) -> String {
        let log = fs::read_to_string(self.directory.path().join("log")).unwrap();
        let lines: Vec<&str> = log.lines().rev().take(5).collect();
        lines.join("\n")
    }

    /// The delivered events that contain a text.
    fn line_counter(&self, text: &'static str) -> LineCounter {
        LineCounter {
            path: self.directory.path().join("events.ndjson"),
            text,
            offset: 0,
            count: 0,
        }
    }

    fn checkpoint_count(&self) -> usize {
        let entries = fs::read_dir(self.directory.path().join("state")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name());
        names
            .filter(|name| name.to_string_lossy().ends_with(".checkpoint.json"))
            .count()
    }

    fn stat(&self) -> Option<Vec<String>> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).ok()?;
        let after_name = stat.rsplit(')').next()?;
        Some(after_name.split_whitespace().map(str::to_owned).collect())
    }

    /// Returns what it uses now. Of a process that has ended only the processor time is known.
    fn sample_usage(&self) -> Usage {
        let id = self.child.id();
        let stat = self.stat().unwrap_or_default();
        let ticks = |place: usize| -> u32 {
            stat.get(place)
                .and_then(|field| field.parse().ok())
                .unwrap_or(0)
        };
        let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
        let value = |name: &str| -> u64 {
            status
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .and_then(|value| value.split_whitespace().next())
                .and_then(|number| number.parse().ok())
                .unwrap_or(0)
        };
        let maps = fs::read_to_string(format!("/proc/{id}/maps")).unwrap_or_default();
        let files = fs::read_dir(format!("/proc/{id}/fd"));
        Usage {
            cpu: TICK * (ticks(11) + ticks(12)),
            rss_kib: value("VmRSS:"),
            threads: value("Threads:"),
            mappings: maps.lines().count(),
            files: files.map_or(0, Iterator::count),
        }
    }
}

/// Counts lines of a file that grows. Each is read once: reading all of them again and again would
/// take the processor from what is measured.
struct LineCounter {
    path: PathBuf,
    text: &'static str,
    offset: u64,
    count: usize,
}

impl LineCounter {
    fn count(&mut self) -> usize {
        let Ok(mut file) = fs::File::open(&self.path) else {
            return 0;
        };
        let mut new = Vec::new();
        file.seek(SeekFrom::Start(self.offset)).unwrap();
        file.read_to_end(&mut new).unwrap();
        let whole = memchr::memrchr(b'\n', &new).map_or(0, |last| last + 1);
        let finder = memchr::memmem::Finder::new(self.text);
        let lines = new[..whole].split_inclusive(|byte| *byte == b'\n');
        self.count += lines.filter(|line| finder.find(line).is_some()).count();
        self.offset += u64::try_from(whole).unwrap();
        self.count
    }
}

/// Puts the machine code of the component into the state directory, before the clock runs.
fn compile_component(directory: &Path) {
    fs::create_dir_all(directory.join("state")).unwrap();
    let settings = directory.join("compile.toml");
    let one = [
        "[[source]]\nname = \"one\"\n[source.settings]\nclient_id = \"x\"\n",
        "client_secret = \"0123456789abcdef\"\n[[output]]\ntype = \"stdout\"\n",
    ];
    fs::write(&settings, one.concat()).unwrap();
    let validated = Command::new(env!("CARGO_BIN_EXE_source-host"))
        .arg("validate")
        .arg(&settings)
        .output()
        .unwrap();
    assert!(validated.status.success(), "{validated:?}");
}

/// The settings of a run. The tenant's name is its client id.
fn write_settings(url: &str, names: impl Iterator<Item = String>, directory: &Path) -> PathBuf {
    let mut text = "[[output]]\ntype = \"file\"\npath = \"events.ndjson\"\n".to_owned();
    for name in names {
        write!(
            text,
            "[[source]]\nname = \"{name}\"\nallow = [\"{url}\"]\n[source.settings]\n\
             base_url = \"{url}\"\nclient_id = \"{name}\"\nclient_secret = \"0123456789abcdef\"\n\
             streams = [\"audit\"]\nformat = \"ecs\"\nstart = \"24h\"\n"
        )
        .unwrap();
    }
    let path = directory.join("bench.toml");
    fs::write(&path, text).unwrap();
    path
}
