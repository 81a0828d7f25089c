//! Functions that the benchmarks share: they measure processor time, choose the cheapest of several runs,
//! and print the rows of one table.

use std::fs;
use std::time::{Duration, Instant};

/// Returns whether each benchmark is only to be tried: `cargo bench -- --test`.
pub(crate) fn is_smoke_test() -> bool {
    std::env::args().any(|argument| argument == "--test")
}

/// How much a run handled, and the time it took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    pub(crate) events: usize,
    /// Bytes that were handled; for files, inflated.
    pub(crate) bytes: usize,
    pub(crate) time: Duration,
}

impl Cost {
    pub(crate) fn ns_per_event(self) -> f64 {
        self.time.as_secs_f64() * 1e9 / to_f64(self.events)
    }
}

/// Returns the result of the cheapest of `runs` runs: on a shared machine the others include what its
/// neighbours cost.
pub(crate) fn cheapest_run<T>(
    runs: u32,
    mut run: impl FnMut() -> T,
    cost: impl Fn(&T) -> Duration,
) -> T {
    let mut cheapest = run();
    for _ in 1..runs {
        let next = run();
        if cost(&next) < cost(&cheapest) {
            cheapest = next;
        }
    }
    cheapest
}

/// Returns what `act` costs this thread: processor time where the system reports it, otherwise elapsed
/// time.
pub(crate) fn measure_cpu_time(act: impl FnOnce()) -> Duration {
    let begun = Instant::now();
    let before = thread_cpu();
    act();
    match (before, thread_cpu()) {
        (Some(before), Some(after)) => after.saturating_sub(before),
        _ => begun.elapsed(),
    }
}

/// The processor time of this thread. Linux only.
fn thread_cpu() -> Option<Duration> {
    let text = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let ns = text.split_whitespace().next()?.parse().ok()?;
    Some(Duration::from_nanos(ns))
}

/// Prints the header of the table. All lines of the table begin with `|`, by which `ci/bench` finds them.
#[expect(clippy::print_stdout, reason = "figures are what a benchmark is for")]
pub(crate) fn print_header() {
    println!("| what | ns of CPU an event | events a CPU-second | MB/s | |");
    println!("|---|--:|--:|--:|---|");
}

/// Prints one row of the table.
#[expect(clippy::print_stdout, reason = "figures are what a benchmark is for")]
pub(crate) fn print_row(what: &str, cost: Cost, note: &str) {
    let seconds = cost.time.as_secs_f64();
    println!(
        "| {what} | {:.0} | {:.0} | {:.0} | {note} |",
        cost.ns_per_event(),
        to_f64(cost.events) / seconds,
        to_f64(cost.bytes) / seconds / 1e6,
    );
}

/// Converts a count, so that it can be divided.
pub(crate) fn to_f64(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
