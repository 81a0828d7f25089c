//! The built component under the host's engine, in one thread of this program.

use std::hint::black_box;

use mimecast_simulator::Simulator;
use source_common::secret::Secret;
use source_host::settings::Settings;
use source_host::source::{component_location, prepare};
use source_runtime::bindings::{Limits, NextPoll};
use source_runtime::source::{ComponentLoader, NetworkAccess, OFFLINE_MEMORY_BYTES_MAX, Source};

use crate::Size;
use crate::measure::{Cost, cheapest_run, measure_cpu_time, print_row};
use crate::native::{NativeCosts, NormalizeCost};
use crate::upstream::{self, RECORDS_PER_FILE};

pub(crate) fn measure(size: Size, native: &NativeCosts) {
    let runtime = upstream::runtime();
    let cache = tempfile::tempdir().unwrap();
    let cache_dir = cache.path().join("cache");
    let components = ComponentLoader::new(Some(cache_dir), OFFLINE_MEMORY_BYTES_MAX).unwrap();
    let component = runtime
        .block_on(components.get_or_load(&component_location(None)))
        .unwrap();
    let mut instance = runtime.block_on(component.offline_instance()).unwrap();
    let empty_settings = Secret::new("{}".to_owned());
    for NormalizeCost { file, format, cost } in &native.normalize {
        let mut run = || {
            measure_cpu_time(|| {
                for _ in 0..size.files {
                    let call =
                        instance.normalize(file.stream.name(), format, &empty_settings, &file.text);
                    let normalized = runtime.block_on(call).unwrap().unwrap();
                    assert_eq!(black_box(normalized).index.len(), RECORDS_PER_FILE);
                }
            })
        };
        let time = cheapest_run(size.runs, &mut run, |time| *time);
        let inside = Cost { time, ..*cost };
        let ratio = inside.ns_per_event() / cost.ns_per_event();
        print_row(
            &format!("{} to {format}, sandbox: normalize", file.stream),
            inside,
            &format!("{ratio:.2} times native"),
        );
    }

    let simulator = runtime
        .block_on(Simulator::start(upstream::config(size.files)))
        .unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = upstream::write_settings(
        &upstream::connection_details(&simulator),
        &[native.polled_stream],
        directory.path(),
    );
    let settings = Settings::read(&path).unwrap();
    let source = prepare(&components, &settings.sources[0], NetworkAccess::Online);
    let source = runtime.block_on(source).unwrap();
    let mut events = 0;
    let run = || measure_cpu_time(|| events = runtime.block_on(collect(&source)));
    let time = cheapest_run(size.runs, run, |time| *time);
    assert_eq!(events, native.poll.events, "not the same records");
    let cost = Cost {
        events,
        bytes: events * (native.poll.bytes / native.poll.events),
        time,
    };
    let ratio = cost.ns_per_event() / native.poll.ns_per_event();
    print_row(
        "a file, sandbox: request to batch",
        cost,
        &format!("{ratio:.2} times native, with the HTTP client"),
    );
}

/// Polls until caught up, a file a poll. The upstream has threads of its own.
async fn collect(source: &Source) -> usize {
    let limits = Limits {
        max_events: u32::try_from(RECORDS_PER_FILE).unwrap(),
        max_bytes: 16 << 20,
        max_requests: 50,
    };
    let mut instance = source.new_instance().await.unwrap();
    let mut checkpoint: Option<String> = None;
    let mut events = 0;
    loop {
        let call = instance.poll(source.settings(), checkpoint.as_deref(), None, limits);
        let batch = call.await.unwrap().unwrap();
        events += black_box(&batch).index.len();
        checkpoint = Some(batch.checkpoint);
        match batch.next {
            NextPoll::Now => {}
            NextPoll::CaughtUp(_) => return events,
            other => panic!("{other:?}"),
        }
    }
}
