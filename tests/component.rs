//! The built component, called as any host would call it.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "helpers of tests fail fast"
)]

use std::collections::BTreeSet;

use host_harness::bindings::{Batch, Limits, NextPoll};
use host_harness::settings::Settings;
use host_harness::source::{Components, Reach, Source};
use mimecast_simulator::{Config, Simulator};

const LIMITS: Limits = Limits {
    max_events: 1000,
    max_bytes: 4 * 1024 * 1024,
    max_requests: 100,
};

async fn source(simulator: &Simulator, more: &str) -> Source {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("host.toml");
    let (api, storage) = (simulator.api_url(), simulator.storage_url());
    let (id, secret) = (simulator.client_id(), simulator.client_secret());
    let text = format!(
        "state_dir = \"state\"\n[[source]]\nname = \"acme\"\nallow = [\"{api}\", \"{storage}\"]\n\
         [source.settings]\nbase_url = \"{api}\"\nclient_id = \"{id}\"\nclient_secret = \"{secret}\"\n\
         siem_calls_per_15_min = 1000000\n{more}\n[[output]]\ntype = \"stdout\"\n"
    );
    std::fs::write(&file, text).unwrap();
    let settings = Settings::read(&file).unwrap();
    let components = Components::new(None).unwrap();
    components
        .source(&settings, &settings.sources[0], Reach::Network)
        .await
        .unwrap()
}

/// Polls to the end of what there is. Returns the event lines and the greatest memory of an
/// instance.
async fn collect(source: &Source, fresh_each_poll: bool) -> (Vec<String>, usize) {
    let mut instance = source.instance().await.unwrap();
    let mut resume: Option<String> = None;
    let mut lines = Vec::new();
    let mut peak = 0;
    loop {
        if fresh_each_poll {
            instance = source.instance().await.unwrap();
        }
        let batch: Batch = instance
            .poll(source.settings(), resume.as_deref(), LIMITS)
            .await
            .unwrap()
            .unwrap();
        peak = peak.max(instance.memory_bytes_peak());
        lines.extend(batch.events.lines().map(str::to_owned));
        assert_eq!(
            batch
                .index
                .last()
                .map_or(0, |e| usize::try_from(e.end).unwrap()),
            batch.events.len()
        );
        resume = Some(batch.checkpoint);
        match batch.next {
            NextPoll::Now => {}
            NextPoll::CaughtUp(_) => return (lines, peak),
            NextPoll::Failing(ms) | NextPoll::Throttled(ms) => {
                panic!("waits {ms} ms: {:?}", batch.notices)
            }
        }
    }
}

#[tokio::test]
async fn one_instance_and_a_fresh_one_for_each_poll_give_the_same_events() {
    let config = Config {
        pages: 2,
        files_per_page: 2,
        records_per_file: 300,
        audit_events: 900,
        quota_calls: 1_000_000,
        general_quota_calls: 1_000_000,
        ..Config::default()
    };
    let simulator = Simulator::start(config).await.unwrap();
    let source = source(
        &simulator,
        "streams = [\"siem\", \"audit\"]\nformat = \"raw\"",
    )
    .await;
    let (kept, _) = collect(&source, false).await;
    let (fresh, _) = collect(&source, true).await;
    let sets: [BTreeSet<&String>; 2] = [kept.iter().collect(), fresh.iter().collect()];
    assert_eq!(kept.len(), 10 * 2 * 2 * 300 + 900);
    assert_eq!(kept.len(), fresh.len());
    assert_eq!(sets[0].len(), kept.len(), "one instance repeats nothing");
    assert!(sets[0] == sets[1], "the events differ");
}

#[tokio::test]
async fn a_file_of_200_mib_is_read_in_16_mib_of_memory() {
    let config = Config {
        pages: 1,
        files_per_page: 1,
        records_per_file: 10,
        audit_events: 0,
        huge_file_mib: Some(200),
        gzip_level: 1,
        ..Config::default()
    };
    let simulator = Simulator::start(config).await.unwrap();
    let source = source(&simulator, "streams = [\"siem.receipt\"]").await;
    let (lines, peak) = collect(&source, false).await;
    println!(
        "{} events, greatest memory {} KiB",
        lines.len(),
        peak / 1024
    );
    assert!(lines.len() > 200_000, "{}", lines.len());
    assert!(peak <= 16 * 1024 * 1024, "{peak} bytes");
}
