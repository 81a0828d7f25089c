//! From batch files to events: the code alone, the component in its sandbox, and `source-host`
//! as people run it.
//!
//! Without arguments everything is measured; `native`, `sandbox` or `host` choose a part.

#![expect(
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a benchmark that cannot run should panic with the reason"
)]

mod host;
#[path = "../measure.rs"]
mod measure;
mod native;
mod sandbox;
mod upstream;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
struct Size {
    /// Batch files of each event type.
    files: u32,
    /// Runs, of which the cheapest counts.
    runs: u32,
}

const FULL: Size = Size { files: 50, runs: 5 };
const SMOKE: Size = Size { files: 2, runs: 1 };

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [first, files] = arguments.as_slice()
        && first == upstream::SERVE
    {
        return upstream::serve(files.parse().unwrap());
    }
    let wants = |part: &str| {
        let parts = ["native", "sandbox", "host"];
        let named = |argument: &String| parts.contains(&argument.as_str());
        !arguments.iter().any(named) || arguments.iter().any(|argument| argument == part)
    };
    let size = if measure::is_smoke_test() {
        SMOKE
    } else {
        FULL
    };
    measure::print_header();
    if wants("native") || wants("sandbox") {
        let native = native::measure(size);
        if wants("sandbox") {
            sandbox::measure(size, &native);
        }
    }
    if wants("host") {
        host::measure(size);
    }
}
