//! What the hosts have delivered, against what there was.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::host::Host;

/// Events of one batch at most: `max_events` of the tenants.
const BATCH: usize = 60;

/// What has been delivered of the tenants.
#[derive(Debug, Default)]
pub(crate) struct Account {
    /// By tenant and number: the event without when it was made, and how often it came.
    events: BTreeMap<String, BTreeMap<usize, (String, usize)>>,
}

impl Account {
    pub(crate) fn of(hosts: &[Host]) -> Self {
        let mut account = Self::default();
        for line in hosts.iter().flat_map(Host::events) {
            // A host that was killed may have left the beginning of a line.
            let Ok(mut event) = serde_json::from_str::<Value>(&line) else {
                continue;
            };
            event["event"].as_object_mut().unwrap().remove("created");
            let (tenant, number) = identity(&line);
            let events = account.events.entry(tenant).or_default();
            let text = event.to_string();
            let (first, count) = events.entry(number).or_insert_with(|| (text.clone(), 0));
            assert_eq!(*first, text, "a repeat is another event");
            *count += 1;
        }
        account
    }

    /// The tenants that have not all of their events.
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
            for (number, (_, count)) in events {
                if *count > 1 {
                    let batches = repeated.entry(tenant.clone()).or_default();
                    batches.insert(number / BATCH);
                }
            }
        }
        repeated
    }
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
