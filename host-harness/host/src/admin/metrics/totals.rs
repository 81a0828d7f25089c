//! Counters of the whole host. They never go down: what a source has counted stays when it is
//! removed, and is not counted again when it returns.

use std::collections::BTreeMap;

use super::families::{COUNTS, STREAM_COUNTERS};
use crate::report::HostReport;

/// A number for each of [`STREAM_COUNTERS`].
pub(super) type Counts = [u64; COUNTS];

#[derive(Debug, Default)]
pub(super) struct Totals {
    /// Of each source that was ever seen.
    sources: BTreeMap<String, Counts>,
    /// What sources had counted before they began at zero again.
    before: Counts,
}

impl Totals {
    /// Takes a report over and returns the sums.
    pub(super) fn update(&mut self, report: &HostReport) -> Counts {
        for source in &report.sources {
            let counts = STREAM_COUNTERS.map(|counter| source.sum(counter.value));
            let last = self.sources.insert(source.source.clone(), counts);
            if let Some(last) = last
                && last.iter().zip(&counts).any(|(last, now)| now < last)
            {
                add(&mut self.before, &last);
            }
        }
        let mut sums = self.before;
        for counts in self.sources.values() {
            add(&mut sums, counts);
        }
        sums
    }
}

fn add(sums: &mut Counts, counts: &Counts) {
    for (sum, count) in sums.iter_mut().zip(counts) {
        *sum = sum.saturating_add(*count);
    }
}
