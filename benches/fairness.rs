//! The throughput of an honest source beside hostile ones: `source-host run` collects from an upstream
//! in another process, alone and beside components that take more than their share.
//!
//! Runs alone and runs beside others alternate, and the median ratio counts: on a shared machine
//! the neighbours slow down both. The table shows the smallest and the largest ratio.
//!
//! It fails where a required ratio is missed, except in a smoke test, and always where a run does not
//! deliver everything in time.

#![expect(
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark that cannot run should panic with the reason"
)]

#[path = "../tests/host_faults/hostile.rs"]
#[expect(dead_code, reason = "the tests look at more of it")]
mod hostile;
#[expect(dead_code, reason = "the other benchmarks print rows of costs")]
mod measure;
#[path = "../tests/host_faults/rustc.rs"]
mod rustc;
#[path = "pipeline/upstream.rs"]
#[expect(dead_code, reason = "the benchmark of the pipeline takes files apart")]
mod upstream;

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::hostile::SilentServer;
use crate::measure::to_f64;

const SAMPLE_INTERVAL: Duration = Duration::from_millis(5);
/// Maximum time for the measured source to finish.
const RUN_MAX: Duration = Duration::from_secs(300);

/// What the measured source has beside it, and the minimum required ratio on two processors, where
/// one is enforced.
const CASES: [(&str, &str, usize, Option<f64>); 7] = [
    ("1 busy loop", "loops", 1, None),
    ("3 busy loops", "loops", 3, Some(0.5)),
    ("8 busy loops", "loops", 8, Some(0.25)),
    (
        "3 components at the limit of their memory",
        "memory",
        3,
        None,
    ),
    ("3 floods of standard error", "stderr", 3, None),
    ("3 floods of notices", "notices", 3, None),
    ("3 components with 901 requests each", "sockets", 3, None),
];

/// How much is measured.
#[derive(Clone, Copy, Debug)]
struct Size {
    /// Batch files of each of two event types.
    files: u32,
    /// Pairs of runs.
    rounds: usize,
}

const FULL: Size = Size {
    files: 25,
    rounds: 5,
};
const SMOKE: Size = Size {
    files: 2,
    rounds: 1,
};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [first, files] = arguments.as_slice()
        && first == upstream::SERVE
    {
        upstream::serve(files.parse().unwrap());
        return ExitCode::SUCCESS;
    }
    let size = if measure::is_smoke_test() {
        SMOKE
    } else {
        FULL
    };
    let named = |what: &str| arguments.iter().any(|argument| what == argument);
    let all = !CASES.iter().any(|(_, behavior, ..)| named(behavior));

    let folder = tempfile::tempdir().unwrap();
    let component = hostile::compile(folder.path());
    let silent = SilentServer::start();
    let (mut upstream, connection_details) = upstream::start(size.files);
    let honest = MeasuredSource {
        connection_details,
        folder: folder.path(),
        events: 2 * usize::try_from(size.files).unwrap() * upstream::RECORDS_PER_FILE,
    };
    honest.measure_throughput(""); // compiles the component
    println!("| beside | events a second alone | beside | ratio | min to max | required |");
    println!("|---|--:|--:|--:|---|--:|");
    let mut missed = Vec::new();
    for (what, behavior, count, ratio_min) in CASES {
        if !all && !named(behavior) {
            continue;
        }
        let hostile: String = (0..count)
            .map(|number| {
                let name = format!("hostile-{number}");
                hostile::source(&name, &component, behavior, &silent.authority)
            })
            .collect();
        let rounds: Vec<Round> = (0..size.rounds)
            .map(|_| Round {
                alone: honest.measure_throughput(""),
                beside: honest.measure_throughput(&hostile),
            })
            .collect();
        if !print_row(what, &rounds, ratio_min) {
            missed.push(what);
        }
    }
    drop(upstream.stdin.take());
    upstream.wait().unwrap();
    // So little is measured in a smoke test that its ratios mean nothing.
    if missed.is_empty() || measure::is_smoke_test() {
        return ExitCode::SUCCESS;
    }
    eprintln!("the required ratio is missed beside {}", missed.join(", "));
    ExitCode::FAILURE
}

/// Events a second, alone and then beside others.
#[derive(Clone, Copy, Debug)]
struct Round {
    alone: f64,
    beside: f64,
}

/// Prints a row. Returns whether the ratio is as high as it must be.
fn print_row(what: &str, rounds: &[Round], ratio_min: Option<f64>) -> bool {
    // Minimum, median and maximum.
    let spread = |value: fn(&Round) -> f64| {
        let mut values: Vec<f64> = rounds.iter().map(value).collect();
        values.sort_by(f64::total_cmp);
        (
            values[0],
            values[values.len() / 2],
            values[values.len() - 1],
        )
    };
    let (_, alone, _) = spread(|round| round.alone);
    let (_, beside, _) = spread(|round| round.beside);
    let (worst, ratio, best) = spread(|round| round.beside / round.alone);
    let is_met = ratio_min.is_none_or(|ratio_min| ratio >= ratio_min);
    let result = if is_met { "met" } else { "missed" };
    let required =
        ratio_min.map_or_else(String::new, |ratio_min| format!("{ratio_min:.2}, {result}"));
    println!(
        "| {what} | {alone:.0} | {beside:.0} | {ratio:.2} | {worst:.2} to {best:.2} | {required} |"
    );
    is_met
}

/// The source whose throughput is measured.
struct MeasuredSource<'a> {
    connection_details: Value,
    folder: &'a Path,
    events: usize,
}

impl MeasuredSource<'_> {
    /// Collects everything, with the `other_sources` beside it. Returns its events a second, from when
    /// there was none yet to the last, and panics where they do not all come.
    fn measure_throughput(&self, other_sources: &str) -> f64 {
        let settings = self.write_settings(other_sources);
        let log = File::create(self.folder.join("host.log")).unwrap();
        let mut host = Command::new(env!("CARGO_BIN_EXE_source-host"))
            .arg("run")
            .arg(&settings)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let throughput = self.measure_rate(&mut host);
        if throughput.is_some() {
            stop(&mut host);
        } else {
            // It may have ended by itself, which is why not everything came.
            drop(host.kill());
            host.wait().unwrap();
        }
        throughput.unwrap_or_else(|| {
            let log = fs::read_to_string(self.folder.join("host.log")).unwrap();
            let tail_start = log.len().saturating_sub(2_000);
            let log = log.get(tail_start..).unwrap_or_default();
            panic!("not everything came within {RUN_MAX:?}: {log}");
        })
    }

    /// Deletes the events and the stored state of the run before, not the machine code, and writes the settings.
    fn write_settings(&self, other_sources: &str) -> PathBuf {
        for entry in fs::read_dir(self.folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|end| end == "ndjson") {
                fs::remove_file(path).unwrap();
            }
        }
        if let Ok(state) = fs::read_dir(self.folder.join("state")) {
            let files = state.map(|entry| entry.unwrap().path());
            files
                .filter(|path| path.is_file())
                .for_each(|path| fs::remove_file(path).unwrap());
        }
        let settings =
            upstream::write_settings(&self.connection_details, &upstream::STREAMS, self.folder);
        let honest = fs::read_to_string(&settings).unwrap();
        fs::write(&settings, honest + other_sources).unwrap();
        settings
    }

    /// Returns the events a second, and nothing where the host ends or takes too long.
    fn measure_rate(&self, host: &mut Child) -> Option<f64> {
        let begun = Instant::now();
        let mut line_counter = LineCounter::default();
        // When there was no event yet. They may all come before the next sample.
        let mut last_empty = begun;
        while begun.elapsed() < RUN_MAX && host.try_wait().unwrap().is_none() {
            let sampled_at = Instant::now();
            let count = line_counter.count(&self.folder.join("events.ndjson"));
            if count == 0 {
                last_empty = sampled_at;
            }
            if count >= self.events {
                let rate = to_f64(count) / last_empty.elapsed().as_secs_f64();
                assert!(rate.is_finite() && rate > 0.0, "{rate} events a second");
                return Some(rate);
            }
            thread::sleep(SAMPLE_INTERVAL);
        }
        None
    }
}

/// Counts the lines of a file that grows.
#[derive(Debug, Default)]
struct LineCounter {
    file: Option<BufReader<File>>,
    count: usize,
}

impl LineCounter {
    fn count(&mut self, path: &Path) -> usize {
        if self.file.is_none() {
            self.file = File::open(path).ok().map(BufReader::new);
        }
        if let Some(file) = &mut self.file {
            loop {
                let bytes = file.fill_buf().unwrap();
                if bytes.is_empty() {
                    break;
                }
                self.count += memchr::memchr_iter(b'\n', bytes).count();
                let read = bytes.len();
                file.consume(read);
            }
        }
        self.count
    }
}

fn stop(host: &mut Child) {
    let sent = Command::new("kill").arg(host.id().to_string()).status();
    assert!(sent.unwrap().success());
    host.wait().unwrap();
}
