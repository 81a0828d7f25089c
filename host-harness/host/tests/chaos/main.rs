//! The host as a process under random faults: of the upstream, of the receivers, and of itself.
//!
//! Everything comes from a seed, and what happens is tied to how many events were delivered, so
//! that a run that fails can be reproduced from its seed:
//! `CHAOS_SEED=7 cargo test --release -p source-host --test chaos -- --nocapture`.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "tests may fail fast"
)]

mod bulk_receiver;
#[path = "../../../../tests/host_faults/compile.rs"]
mod compile;
mod faults;
#[expect(dead_code, reason = "the tests of outputs ask for more")]
#[path = "../outputs/forward_receiver.rs"]
mod forward_receiver;
#[expect(dead_code, reason = "the tests of outputs ask for more")]
#[path = "../outputs/http_receiver.rs"]
mod http_receiver;
mod plan;
#[expect(dead_code, reason = "the tests of outputs ask for more")]
#[path = "../outputs/receiver.rs"]
mod receiver;
mod receivers;
mod reconciliation;
mod run;
#[path = "../../../../tests/host_faults/rustc.rs"]
mod rustc;
#[path = "../../../../tests/setup/mod.rs"]
mod setup;
#[expect(dead_code, reason = "the tests of outputs ask for more")]
#[path = "../outputs/test_delivery.rs"]
mod test_delivery;

use std::time::Instant;

use futures_util::{StreamExt as _, stream};

use plan::{Plan, Size};
use reconciliation::Reconciliation;
use run::Run;

/// What a run of the test suite does.
const SHORT_RUN: Size = Size {
    records_min: 6_000,
    upstream_faults: 14,
    kills: 3,
    other_actions: 1,
    faults_min: 7,
};

/// A run of full size.
const LONG_RUN: Size = Size {
    records_min: 100_000,
    upstream_faults: 36,
    kills: 6,
    other_actions: 3,
    faults_min: 20,
};

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap())
}

#[test]
fn whatever_happens_to_the_host_loses_nothing() {
    let requested = ["CHAOS_SEED", "CHAOS_SEEDS", "CHAOS_EVENTS"].map(number);
    let seeds = requested[1].unwrap_or(1);
    let first = requested[0].unwrap_or(1);
    let size = match requested {
        [None, None, None] => SHORT_RUN,
        [_, _, events] => Size {
            records_min: events.map_or(LONG_RUN.records_min, |events| {
                usize::try_from(events).unwrap()
            }),
            ..LONG_RUN
        },
    };
    let at_once = usize::try_from(number("CHAOS_AT_ONCE").unwrap_or(6)).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        // Reading a file or comparing what came takes seconds; receivers are not to wait for it.
        .worker_threads(at_once + 2)
        .enable_all()
        .build()
        .unwrap();
    let begun = Instant::now();
    let mut sum = Reconciliation::default();
    let mut failed = Vec::new();
    runtime.block_on(async {
        let runs = stream::iter(first..first + seeds).map(|seed| async move {
            let begun = Instant::now();
            let run = Run::carry_out(Plan::new(seed, size));
            (seed, begun, tokio::spawn(run).await)
        });
        let mut ended = runs.buffer_unordered(at_once);
        while let Some((seed, begun, reconciliation)) = ended.next().await {
            // The panic has printed the reason.
            let Ok(reconciliation) = reconciliation else {
                println!("seed {seed}: FAILED");
                failed.push(seed);
                continue;
            };
            let seconds = begun.elapsed().as_secs_f64();
            println!("seed {seed}: {} ({seconds:.0} s)", reconciliation.figures());
            assert!(reconciliation.faults() >= size.faults_min);
            assert!(reconciliation.kills() >= u64::try_from(size.kills).unwrap());
            sum.add(reconciliation);
        }
    });
    println!(
        "{seeds} seeds: {} ({:.0} s)",
        sum.figures(),
        begun.elapsed().as_secs_f64()
    );
    for (name, times) in &sum.fault_counts {
        println!("{times:>7}  {name}");
    }
    assert!(failed.is_empty(), "seeds that failed: {failed:?}");
}
