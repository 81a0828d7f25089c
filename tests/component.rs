//! The built component, called as any host would call it.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "helpers of tests fail fast"
)]

#[path = "setup/machine_code.rs"]
mod machine_code;

use std::collections::BTreeSet;
use std::time::Duration;

use mimecast_simulator::{Config, Endpoint, Simulator};
use serde_json::Value;
use source_common::secret::Secret;
use source_host::settings::Settings;
use source_host::source::{component_loader, component_location, prepare};
use source_runtime::bindings::{Batch, Limits, NextPoll};
use source_runtime::source::{ComponentLoader, NetworkAccess, Source};

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
    let components = component_loader(&settings, Some(machine_code::cache_dir())).unwrap();
    prepare(&components, &settings.sources[0], NetworkAccess::Online)
        .await
        .unwrap()
}

/// The state that a host keeps between two polls, beside an instance.
#[derive(Default)]
struct HostState {
    checkpoint: Option<String>,
    session: Option<Secret>,
    polls: u64,
}

/// Polls to the end of what there is. Returns the event lines and the greatest memory of an
/// instance.
async fn collect(source: &Source, fresh_each_poll: bool) -> (Vec<String>, usize) {
    collect_from(&mut HostState::default(), source, fresh_each_poll).await
}

async fn collect_from(
    state: &mut HostState,
    source: &Source,
    fresh_each_poll: bool,
) -> (Vec<String>, usize) {
    let mut instance = source.new_instance().await.unwrap();
    let mut lines = Vec::new();
    let mut peak = 0;
    loop {
        if fresh_each_poll {
            instance = source.new_instance().await.unwrap();
        }
        let (checkpoint, session) = (state.checkpoint.as_deref(), state.session.as_ref());
        let batch: Batch = instance
            .poll(source.settings(), checkpoint, session, LIMITS)
            .await
            .unwrap()
            .unwrap();
        state.polls += 1;
        peak = peak.max(instance.memory_bytes_peak());
        lines.extend(batch.events.lines().map(str::to_owned));
        assert_eq!(
            batch
                .index
                .last()
                .map_or(0, |e| usize::try_from(e.end).unwrap()),
            batch.events.len()
        );
        state.checkpoint = Some(batch.checkpoint);
        state.session = batch.session.map(Secret::new);
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
        batch_quota_calls: 1_000_000,
        general_quota_calls: 1_000_000,
        ..Config::default()
    };
    let simulator = Simulator::start(config).await.unwrap();
    let source = source(
        &simulator,
        "streams = [\"siem\", \"audit\"]\nformat = \"raw\"",
    )
    .await;
    let (one, _) = collect(&source, false).await;
    let (fresh, _) = collect(&source, true).await;
    let sets: [BTreeSet<&String>; 2] = [one.iter().collect(), fresh.iter().collect()];
    assert_eq!(one.len(), 10 * 2 * 2 * 300 + 900);
    assert_eq!(one.len(), fresh.len());
    assert_eq!(sets[0].len(), one.len(), "one instance repeats nothing");
    assert!(sets[0] == sets[1], "the events differ");
}

#[tokio::test]
async fn a_host_that_drops_each_instance_asks_for_one_token_per_lifetime() {
    let config = Config {
        pages: 2,
        files_per_page: 2,
        records_per_file: 300,
        audit_events: 2_000,
        batch_quota_calls: 1_000_000,
        general_quota_calls: 1_000_000,
        odd_shapes: false, // which add records of their own
        ..Config::default()
    };
    let simulator = Simulator::start(config).await.unwrap();
    let source = source(&simulator, "streams = [\"siem\", \"audit\"]").await;
    let tokens = || simulator.requests().finished_count(Endpoint::Token);
    let mut state = HostState::default();
    let (first, _) = collect_from(&mut state, &source, true).await;
    assert!(state.polls > 10, "{} polls", state.polls);
    assert_eq!(tokens(), 1, "over {} polls", state.polls);
    // The lifetime ends: one more.
    simulator.expire_tokens();
    simulator.add_audit(100, simulator.now_ms() - 1_000);
    // By less than the overlap, so that records read again are known as duplicates.
    move_times_back(&mut state, Duration::from_secs(600));
    let (second, _) = collect_from(&mut state, &source, true).await;
    assert_eq!(second.len(), 100);
    assert_eq!(tokens(), 2, "over {} polls", state.polls);
    // A host that also drops the session loses nothing but the requests.
    let mut without_session = HostState::default();
    let mut lines_without_session = Vec::new();
    loop {
        let mut instance = source.new_instance().await.unwrap();
        let checkpoint = without_session.checkpoint.as_deref();
        let polled = instance.poll(source.settings(), checkpoint, None, LIMITS);
        let batch = polled.await.unwrap().unwrap();
        lines_without_session.extend(batch.events.lines().map(str::to_owned));
        without_session.checkpoint = Some(batch.checkpoint);
        without_session.polls += 1;
        if matches!(batch.next, NextPoll::CaughtUp(_)) {
            break;
        }
    }
    assert_eq!(tokens(), 2 + without_session.polls);
    assert_eq!(lines_without_session.len(), first.len() + second.len());
}

#[tokio::test]
async fn twenty_thousand_held_messages_are_followed_beside_all_streams() {
    const HELD: usize = 20_000;
    let config = Config {
        pages: 1,
        files_per_page: 1,
        records_per_file: 10,
        audit_events: 50,
        log_records: 20,
        batch_quota_calls: 1_000_000,
        general_quota_calls: 1_000_000,
        odd_shapes: false,
        ..Config::default()
    };
    let simulator = Simulator::start(config).await.unwrap();
    let source = source(&simulator, "format = \"raw\"").await;
    let held = u32::try_from(HELD - 20).unwrap();
    simulator.add_records("held-messages", held, simulator.now_ms() - 60_000);
    let mut state = HostState::default();
    let mut ids = BTreeSet::new();
    let mut releases = BTreeSet::new();
    let mut released = 0;
    for round in 0..4 {
        if round > 0 {
            simulator.remove_newest("held-messages", 150);
            released += 150;
            simulator.add_records("held-messages", 140, simulator.now_ms() - 1_000);
        }
        // An item has left when two readings in a row did not find it.
        for _ in 0..2 {
            move_times_back(&mut state, Duration::from_secs(7 * 3_600));
            let (lines, _) = collect_from(&mut state, &source, true).await;
            for line in lines {
                let event: Value = serde_json::from_str(&line).unwrap();
                if event["stream"] != "held-messages" {
                    continue;
                }
                let first = &event["record"]["firstEventId"];
                let (set, id) = match first.as_str() {
                    Some(first) => (&mut releases, first),
                    None => (&mut ids, event["id"].as_str().unwrap()),
                };
                assert!(set.insert(id.to_owned()), "twice: {event}");
            }
        }
    }
    let bytes = state.checkpoint.as_ref().unwrap().len();
    println!("a checkpoint of {bytes} bytes after {} polls", state.polls);
    assert!(bytes <= 768 * 1024, "{bytes}");
    let ledger = simulator.ledger().with_event_ids("acme");
    assert_eq!(&ids, ledger.expected("held-messages"));
    assert_eq!(ids.len(), HELD + 3 * 140);
    assert_eq!(releases.len(), released);
    assert!(releases.is_subset(&ids), "a release of what was never held");
}

/// Moves the times of the last reads in a checkpoint back, so that streams are due.
fn move_times_back(state: &mut HostState, by: Duration) {
    const TIMES: [&str; 3] = ["read_at", "listed_at", "asked_at"];
    let Some(checkpoint) = &mut state.checkpoint else {
        return;
    };
    let (head, lists) = checkpoint.split_once('\n').unwrap_or((checkpoint, ""));
    let mut head: Value = serde_json::from_str(head).unwrap();
    let streams = head["streams"].as_object_mut().unwrap().values_mut();
    let positions = streams.flat_map(|stream| stream.as_object_mut().unwrap().values_mut());
    for position in positions.filter_map(Value::as_object_mut) {
        for (name, time) in position {
            if let (true, Some(at)) = (TIMES.contains(&name.as_str()), time.as_i64()) {
                *time = Value::from(at - i64::try_from(by.as_millis()).unwrap());
            }
        }
    }
    let separator = if lists.is_empty() { "" } else { "\n" };
    *checkpoint = format!("{head}{separator}{lists}");
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

/// A file that needs more than the 64 MiB of a component would be read again and again.
#[tokio::test]
async fn a_feed_of_many_mib_is_read_within_the_memory_of_a_component() {
    let config = Config {
        pages: 0,
        audit_events: 0,
        log_records: 0,
        feed_file_records: 1_000_000,
        ..Config::default()
    };
    let simulator = Simulator::start(config).await.unwrap();
    let added_at = simulator.now_ms() - 3_600_000;
    simulator.add_records("threat-intel.grid", 60_000, added_at);
    for form in ["csv", "stix"] {
        let source = feed_source(&simulator, form).await;
        let (lines, peak) = collect(&source, false).await;
        println!("{form}: greatest memory {} KiB", peak / 1024);
        let distinct: BTreeSet<&String> = lines.iter().collect();
        assert_eq!([lines.len(), distinct.len()], [60_000; 2], "{form}");
    }
}

async fn feed_source(simulator: &Simulator, form: &str) -> Source {
    let settings = format!("streams = [\"threat-intel.grid\"]\nthreat_feed = \"{form}\"");
    source(simulator, &settings).await
}

/// A request that waits for a component is given up after some seconds, and compiling takes longer
/// on a busy machine: the next request must not begin it again.
#[tokio::test]
async fn a_component_is_loaded_though_each_caller_gives_up_before() {
    let components = ComponentLoader::new(None, 0).unwrap();
    let location = component_location(None);
    // Much less than compiling takes.
    let request_timeout = Duration::from_millis(100);
    let callers = async {
        loop {
            let load = components.get_or_load(&location);
            if let Ok(loaded) = tokio::time::timeout(request_timeout, load).await {
                break loaded;
            }
        }
    };
    let loaded = tokio::time::timeout(Duration::from_secs(120), callers).await;
    loaded.expect("each caller began to compile again").unwrap();
}
