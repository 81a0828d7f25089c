//! Host-wide counters. They never decrease: the counts of a removed source are kept, and not
//! added again when the source returns.

use std::collections::BTreeMap;

use super::families::{STREAM_COUNTER_COUNT, STREAM_COUNTERS};
use crate::report::HostReport;

/// One value for each of [`STREAM_COUNTERS`].
pub(super) type CounterValues = [u64; STREAM_COUNTER_COUNT];

#[derive(Debug, Default)]
pub(super) struct Totals {
    /// The last counts of each source ever seen.
    sources: BTreeMap<String, CounterValues>,
    /// Sum of the counts that sources had before they restarted at zero.
    carried_over: CounterValues,
}

impl Totals {
    /// Applies a report and returns the totals.
    pub(super) fn update(&mut self, report: &HostReport) -> CounterValues {
        // A source that has just returned has no counts until its state is read.
        let counted = report.sources.iter();
        for source in counted.filter(|source| !source.streams.is_empty()) {
            let counts = STREAM_COUNTERS.map(|counter| source.sum(counter.value));
            let last = self.sources.insert(source.source.clone(), counts);
            if let Some(last) = last
                && last.iter().zip(&counts).any(|(last, now)| now < last)
            {
                add(&mut self.carried_over, &last);
            }
        }
        let mut sums = self.carried_over;
        for counts in self.sources.values() {
            add(&mut sums, counts);
        }
        sums
    }
}

fn add(sums: &mut CounterValues, counts: &CounterValues) {
    for (sum, count) in sums.iter_mut().zip(counts) {
        *sum = sum.saturating_add(*count);
    }
}
