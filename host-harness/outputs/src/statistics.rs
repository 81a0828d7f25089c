//! Statistics of each output, for reports.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// The status of one output.
#[derive(Clone, Debug, PartialEq)]
pub struct OutputStatus {
    /// Name of the output in the settings.
    pub name: String,
    /// Type of the output, such as `http`.
    pub kind: String,
    /// Why the output does not accept; `None` while it does.
    pub blocked: Option<String>,
    /// Since when it has something to take and has neither accepted nor refused anything; `None`
    /// if it has nothing to take, or is blocked.
    pub unanswered_since: Option<SystemTime>,
    /// When the output last accepted a delivery.
    pub last_success_at: Option<SystemTime>,
    /// Number of deliveries that were retried.
    pub retries: u64,
    /// Total time during which it did not accept.
    pub blocked_for: Duration,
    /// Number of accepted events.
    pub events: u64,
    /// Number of accepted deliveries.
    pub batches: u64,
    /// Number of sources that wait for it to accept.
    pub waiting_sources: usize,
}

/// The statistics of one output, which its deliveries share.
#[derive(Debug, Default)]
pub(super) struct Statistics {
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    last_success_at: Option<SystemTime>,
    retries: u64,
    events: u64,
    batches: u64,
    /// The waiting sources, each with the reason.
    waiting: BTreeMap<String, String>,
    /// The last of these reasons.
    reason: String,
    /// The sources that fetch nothing because the output has no room for more undelivered bytes, and
    /// how many of their polls wait.
    held_back: BTreeMap<String, usize>,
    /// The sources of the current deliveries, which the output accepts one after the other, and how
    /// many each has.
    delivering: BTreeMap<String, usize>,
    /// Since when there are some, or when it last accepted or refused one of them.
    unanswered_since: Option<SystemTime>,
    /// Whether it has accepted nothing since it refused a try.
    has_refused: bool,
    blocked_since: Option<Instant>,
    /// Total time of earlier blockages.
    blocked_for: Duration,
}

/// A source that waits for room in an output, for as long as this lives.
pub(super) struct HeldBack<'a> {
    statistics: &'a Statistics,
    source: &'a str,
}

/// One delivery to an output, from its first try to its end, however it ends.
pub(super) struct DeliveryStatistics<'a> {
    statistics: &'a Statistics,
    source: &'a str,
}

impl Statistics {
    /// Starts a delivery.
    pub(super) fn begin<'a>(&'a self, source: &'a str) -> DeliveryStatistics<'a> {
        let mut counts = self.lock();
        increment(&mut counts.delivering, source);
        counts.unanswered_since.get_or_insert_with(SystemTime::now);
        drop(counts);
        DeliveryStatistics {
            statistics: self,
            source,
        }
    }

    /// Records that a source waits until the output has accepted more.
    pub(super) fn hold_back<'a>(&'a self, source: &'a str) -> HeldBack<'a> {
        let mut counts = self.lock();
        increment(&mut counts.held_back, source);
        drop(counts);
        HeldBack {
            statistics: self,
            source,
        }
    }

    pub(super) fn report(&self, name: &str, kind: &str) -> OutputStatus {
        let counts = self.lock();
        let blocked_now = counts.blocked_since.map(|since| since.elapsed());
        OutputStatus {
            name: name.to_owned(),
            kind: kind.to_owned(),
            blocked: blocked_now.map(|_| counts.reason.clone()),
            unanswered_since: counts.unanswered_since(),
            last_success_at: counts.last_success_at,
            retries: counts.retries,
            blocked_for: counts
                .blocked_for
                .saturating_add(blocked_now.unwrap_or_default()),
            events: counts.events,
            batches: counts.batches,
            waiting_sources: counts.waiting_sources(),
        }
    }

    /// Returns why the output does not accept what a source delivers; `None` while it does.
    pub(super) fn blocking_reason(&self, source: &str) -> Option<String> {
        let counts = self.lock();
        let is_blocked = counts.blocked_since.is_some();
        let is_held_back = is_blocked && counts.held_back.contains_key(source);
        let is_queued = counts.holds_up_deliveries() && counts.delivering.contains_key(source);
        let held_up = (is_held_back || is_queued).then_some(&counts.reason);
        counts.waiting.get(source).or(held_up).cloned()
    }

    /// Returns since when it has answered nothing, if a delivery of the source waits for it.
    pub(super) fn unanswered_for_source(&self, source: &str) -> Option<SystemTime> {
        let counts = self.lock();
        let since = counts.unanswered_since();
        since.filter(|_| counts.delivering.contains_key(source))
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    /// Returns whether all current deliveries, including those that are queued, wait for the output: it
    /// is blocked, and has accepted none since it refused one. A receiver that never responds keeps
    /// each of them waiting for as long as one try takes.
    fn holds_up_deliveries(&self) -> bool {
        self.blocked_since.is_some() && self.has_refused
    }

    fn unanswered_since(&self) -> Option<SystemTime> {
        let since = self.unanswered_since;
        since.filter(|_| self.blocked_since.is_none())
    }

    fn waiting_sources(&self) -> usize {
        let waiting = self.waiting.keys().chain(self.held_back.keys());
        let mut sources: BTreeSet<&String> = waiting.collect();
        if self.holds_up_deliveries() {
            sources.extend(self.delivering.keys());
        }
        sources.len()
    }
}

impl<'a> DeliveryStatistics<'a> {
    /// Returns the source of the delivery.
    pub(super) const fn source(&self) -> &'a str {
        self.source
    }

    /// Records a retry, with the reason. The output is blocked until no delivery waits.
    pub(super) fn retry(&self, reason: &str) {
        let mut counts = self.statistics.lock();
        counts.retries = counts.retries.saturating_add(1);
        counts.has_refused = true;
        counts.unanswered_since = Some(SystemTime::now());
        reason.clone_into(&mut counts.reason);
        let source = self.source.to_owned();
        counts.waiting.insert(source, reason.to_owned());
        counts.blocked_since.get_or_insert_with(Instant::now);
    }

    /// Records that the output has accepted a number of its events.
    pub(super) fn accepted(&self, events: usize) {
        let mut counts = self.statistics.lock();
        let events = u64::try_from(events).unwrap_or(u64::MAX);
        counts.events = counts.events.saturating_add(events);
        counts.batches = counts.batches.saturating_add(1);
        counts.has_refused = false;
        let now = Some(SystemTime::now());
        counts.last_success_at = now;
        counts.unanswered_since = now;
    }
}

impl Drop for HeldBack<'_> {
    fn drop(&mut self) {
        let mut counts = self.statistics.lock();
        decrement(&mut counts.held_back, self.source);
    }
}

impl Drop for DeliveryStatistics<'_> {
    fn drop(&mut self) {
        let mut counts = self.statistics.lock();
        decrement(&mut counts.delivering, self.source);
        if counts.delivering.is_empty() {
            counts.unanswered_since = None;
        }
        counts.waiting.remove(self.source);
        if counts.waiting.is_empty()
            && let Some(since) = counts.blocked_since.take()
        {
            counts.blocked_for = counts.blocked_for.saturating_add(since.elapsed());
        }
    }
}

/// Counts one more for a source.
fn increment(counts: &mut BTreeMap<String, usize>, source: &str) {
    let count = counts.entry(source.to_owned()).or_default();
    *count = count.saturating_add(1);
}

/// Counts one less for a source, and removes it at zero.
fn decrement(counts: &mut BTreeMap<String, usize>, source: &str) {
    if let Some(count) = counts.get_mut(source) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(source);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deliveries_that_queue_wait_for_a_blocked_output_and_not_for_one_that_is_busy() {
        let statistics = Statistics::default();
        let waiting = || statistics.report("siem", "http").waiting_sources;
        let acme = statistics.begin("acme");
        let beta = statistics.begin("beta");
        assert_eq!((statistics.blocking_reason("beta"), waiting()), (None, 0));

        // It has not answered the first one, and now takes as long for the second one.
        acme.retry("no answer in time");
        for source in ["acme", "beta"] {
            let reason = statistics.blocking_reason(source);
            assert_eq!(reason.as_deref(), Some("no answer in time"), "{source}");
        }
        assert_eq!((statistics.blocking_reason("gamma"), waiting()), (None, 2));

        // It refuses one source, and accepts what the others deliver.
        statistics.begin("gamma").accepted(1);
        assert!(statistics.blocking_reason("acme").is_some());
        assert_eq!((statistics.blocking_reason("beta"), waiting()), (None, 1));
        acme.retry("no answer in time");
        assert_eq!(waiting(), 2);
        drop(acme);
        assert_eq!((statistics.blocking_reason("beta"), waiting()), (None, 0));
        drop(beta);
        let counts = statistics.lock();
        assert!(counts.delivering.is_empty());
    }

    #[test]
    fn an_output_that_has_not_answered_reports_since_when_it_has_had_something_to_take() {
        let statistics = Statistics::default();
        let since = || statistics.report("siem", "http").unanswered_since;
        assert_eq!(since(), None);
        let acme = statistics.begin("acme");
        let first = since().unwrap();
        assert_eq!(statistics.unanswered_for_source("acme"), Some(first));
        assert_eq!(statistics.unanswered_for_source("beta"), None);
        // One that queues has to wait for as long.
        let beta = statistics.begin("beta");
        assert_eq!(statistics.unanswered_for_source("beta"), Some(first));
        while SystemTime::now() <= first {}
        beta.accepted(1);
        drop(beta);
        assert!(since().unwrap() > first, "it answers");
        acme.retry("no answer in time");
        assert_eq!(since(), None, "it is reported as blocked");
        drop(acme);
        assert_eq!(since(), None);
    }
}
