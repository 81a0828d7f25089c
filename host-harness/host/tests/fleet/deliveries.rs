//! What the hosts have delivered, against what there was.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::upstream::RECORDS_PER_PAGE;

/// Events of one batch at most: `max_events` of the tenants.
pub(crate) const EVENTS_PER_BATCH_MAX: usize = 3 * RECORDS_PER_PAGE;

/// What has been delivered of the tenants. The files grow: each is read on where it was left.
#[derive(Debug)]
pub(crate) struct Deliveries {
    files: Vec<(PathBuf, u64)>,
    /// By tenant and number: how often the event came.
    events: BTreeMap<String, BTreeMap<usize, usize>>,
    /// How many events have come, repeats included.
    pub(crate) event_count: usize,
}

impl Deliveries {
    pub(crate) fn new(files: impl Iterator<Item = PathBuf>) -> Self {
        Self {
            files: files.map(|file| (file, 0)).collect(),
            events: BTreeMap::new(),
            event_count: 0,
        }
    }

    /// Reads what has come since.
    pub(crate) fn update(&mut self) {
        let Self {
            files,
            events,
            event_count,
        } = self;
        for (file, offset) in files {
            *offset += for_each_line(file, *offset, |line| {
                let (tenant, number) = identity(line);
                let tenant = events.entry(tenant).or_default();
                *tenant.entry(number).or_default() += 1;
                *event_count += 1;
            });
        }
    }

    /// Returns the tenants whose events are not all delivered.
    pub(crate) fn incomplete(&self, tenants: &BTreeSet<String>, events: usize) -> Vec<String> {
        let missing = tenants.iter().filter_map(|tenant| {
            let there = self.events.get(tenant).map_or(0, BTreeMap::len);
            (there < events).then(|| format!("{tenant}: {there} of {events}"))
        });
        missing.collect()
    }

    /// The batches of each tenant of which something came twice.
    pub(crate) fn repeated_batches(&self) -> BTreeMap<String, BTreeSet<usize>> {
        let mut repeated: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
        for (tenant, events) in &self.events {
            for (number, count) in events {
                if *count > 1 {
                    let batches = repeated.entry(tenant.clone()).or_default();
                    batches.insert(number / EVENTS_PER_BATCH_MAX);
                }
            }
        }
        repeated
    }

    /// Checks that repeated events are equal except for the time when they were created.
    pub(crate) fn check_repeats(&self) {
        let mut first: BTreeMap<(String, usize), Value> = BTreeMap::new();
        for (file, _) in &self.files {
            for_each_line(file, 0, |line| {
                let (tenant, number) = identity(line);
                if self.events[&tenant][&number] > 1 {
                    let mut event: Value = serde_json::from_str(line).unwrap();
                    let created = event["event"].as_object_mut().unwrap().remove("created");
                    assert!(created.is_some_and(|created| created.is_string()), "{line}");
                    assert!(event["event"]["id"].is_string(), "{line}");
                    let former = first
                        .entry((tenant, number))
                        .or_insert_with(|| event.clone());
                    assert_eq!(*former, event, "a repeat is another event");
                }
            });
        }
    }
}

/// Calls `each` with every whole line from `offset` on that is an event. Returns how many bytes
/// the whole lines have. A host that was killed may have left the beginning of a line.
fn for_each_line(file: &Path, offset: u64, mut each: impl FnMut(&str)) -> u64 {
    let Ok(mut file) = File::open(file) else {
        return 0; // no event has come
    };
    file.seek(SeekFrom::Start(offset)).unwrap();
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).unwrap();
    let end = memchr::memrchr(b'\n', &bytes).map_or(0, |end| end + 1);
    let text = std::str::from_utf8(&bytes[..end]).unwrap();
    for line in text.lines() {
        if serde_json::from_str::<serde::de::IgnoredAny>(line).is_ok() {
            each(line);
        }
    }
    u64::try_from(end).unwrap()
}

/// The tenant of an event and its number: the id of its record, as in `tenant-7-1200`.
fn identity(line: &str) -> (String, usize) {
    let ids = line.split("\"tenant-").skip(1).filter_map(|rest| {
        let (id, _) = rest.split_once('"')?;
        let (tenant, number) = id.split_once('-')?;
        Some((format!("tenant-{tenant}"), number.parse().ok()?))
    });
    let mut ids = ids;
    ids.next().unwrap()
}
