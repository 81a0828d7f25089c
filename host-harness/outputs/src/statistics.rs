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
    pub output_type: String,
    /// Why the output does not accept; `None` while it does.
    pub blocked: Option<String>,
    /// Since when it has something to take and has neither accepted nor refused anything; `None`
    /// if it has nothing to take, or is blocked.
    pub unresponsive_since: Option<SystemTime>,
    /// When the output was last done with a delivery of which it accepted at least one event.
    pub last_success_at: Option<SystemTime>,
    /// Number of retries of deliveries.
    pub retries: u64,
    /// Total time during which it did not accept.
    pub blocked_for: Duration,
    /// Number of accepted events.
    pub events: u64,
    /// Number of deliveries of which it accepted at least one event.
    pub batches: u64,
    /// Number of sources that wait for it to accept.
    pub waiting_sources: usize,
}

/// The statistics of one output, which its deliveries share.
#[derive(Debug, Default)]
pub(super) struct Statistics {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    last_success_at: Option<SystemTime>,
    retries: u64,
    events: u64,
    batches: u64,
    /// The deliveries to retry, by their numbers.
    retrying: BTreeMap<u64, Retry>,
    /// The last of these reasons.
    reason: String,
    /// The sources that fetch nothing because the output has no room for more undelivered bytes, and
    /// how many of their polls wait.
    waiting_for_capacity: BTreeMap<String, usize>,
    /// The sources of the current deliveries, which the output accepts one after the other, and how
    /// many each has.
    delivering: BTreeMap<String, usize>,
    /// The number of the next delivery.
    next_delivery: u64,
    /// Since when there are current deliveries; later, when it last accepted or refused one.
    awaiting_response_since: Option<SystemTime>,
    /// Whether it has completed no delivery since it refused a try.
    last_try_failed: bool,
    /// Since when a delivery is retried, for whatever reason.
    retrying_since: Option<Instant>,
    /// Total time of earlier blockages.
    blocked_for: Duration,
}

/// Which source a delivery to retry is of, and why it is retried.
#[derive(Debug)]
struct Retry {
    source: String,
    reason: String,
}

/// The wait of a source for room in an output, which ends when this is dropped.
pub(super) struct CapacityWait<'a> {
    statistics: &'a Statistics,
    source: &'a str,
}

/// One delivery to an output, from its first try to its end, however it ends.
pub(super) struct ActiveDelivery<'a> {
    statistics: &'a Statistics,
    source: &'a str,
    /// Distinguishes it from the other deliveries of the source.
    number: u64,
}

impl Statistics {
    /// Starts a delivery.
    pub(super) fn begin<'a>(&'a self, source: &'a str) -> ActiveDelivery<'a> {
        let mut inner = self.lock();
        increment(&mut inner.delivering, source);
        inner
            .awaiting_response_since
            .get_or_insert_with(SystemTime::now);
        let number = inner.next_delivery;
        inner.next_delivery = number.wrapping_add(1);
        drop(inner);
        ActiveDelivery {
            statistics: self,
            source,
            number,
        }
    }

    /// Records that a source waits until the output has accepted more.
    pub(super) fn begin_capacity_wait<'a>(&'a self, source: &'a str) -> CapacityWait<'a> {
        let mut inner = self.lock();
        increment(&mut inner.waiting_for_capacity, source);
        drop(inner);
        CapacityWait {
            statistics: self,
            source,
        }
    }

    pub(super) fn report(&self, name: &str, output_type: &str) -> OutputStatus {
        let inner = self.lock();
        let blocked_now = inner.retrying_since.map(|since| since.elapsed());
        OutputStatus {
            name: name.to_owned(),
            output_type: output_type.to_owned(),
            blocked: blocked_now.map(|_| inner.reason.clone()),
            unresponsive_since: inner.unresponsive_since(),
            last_success_at: inner.last_success_at,
            retries: inner.retries,
            blocked_for: inner
                .blocked_for
                .saturating_add(blocked_now.unwrap_or_default()),
            events: inner.events,
            batches: inner.batches,
            waiting_sources: inner.waiting_sources(),
        }
    }

    /// Returns why the output does not accept what a source delivers; `None` while it does.
    pub(super) fn blocking_reason(&self, source: &str) -> Option<String> {
        let inner = self.lock();
        let is_blocked = inner.retrying_since.is_some();
        let waits_for_capacity = is_blocked && inner.waiting_for_capacity.contains_key(source);
        let is_queued = inner.blocks_queued_deliveries() && inner.delivering.contains_key(source);
        let last_reason = (waits_for_capacity || is_queued).then_some(&inner.reason);
        let retry = inner.retrying.values().find(|retry| retry.source == source);
        let reason = retry.map(|retry| &retry.reason);
        reason.or(last_reason).cloned()
    }

    /// Returns since when the output has answered nothing, if a delivery of the source waits for it.
    pub(super) fn unresponsive_since(&self, source: &str) -> Option<SystemTime> {
        let inner = self.lock();
        let since = inner.unresponsive_since();
        since.filter(|_| inner.delivering.contains_key(source))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Returns whether all current deliveries, including those that are queued, wait for the output: it
    /// is blocked, and has accepted none since it refused one. A receiver that never responds keeps
    /// each of them waiting for as long as one try takes.
    fn blocks_queued_deliveries(&self) -> bool {
        self.retrying_since.is_some() && self.last_try_failed
    }

    fn unresponsive_since(&self) -> Option<SystemTime> {
        let since = self.awaiting_response_since;
        since.filter(|_| self.retrying_since.is_none())
    }

    fn waiting_sources(&self) -> usize {
        let retrying = self.retrying.values().map(|retry| &retry.source);
        let waiting = retrying.chain(self.waiting_for_capacity.keys());
        let mut sources: BTreeSet<&String> = waiting.collect();
        if self.blocks_queued_deliveries() {
            sources.extend(self.delivering.keys());
        }
        sources.len()
    }
}

impl<'a> ActiveDelivery<'a> {
    /// Returns the source of the delivery.
    pub(super) const fn source(&self) -> &'a str {
        self.source
    }

    /// Records a retry, with the reason. The output is blocked until no delivery waits.
    pub(super) fn record_retry(&self, reason: &str) {
        let mut inner = self.statistics.lock();
        inner.retries = inner.retries.saturating_add(1);
        inner.last_try_failed = true;
        inner.awaiting_response_since = Some(SystemTime::now());
        reason.clone_into(&mut inner.reason);
        let retry = Retry {
            source: self.source.to_owned(),
            reason: reason.to_owned(),
        };
        inner.retrying.insert(self.number, retry);
        inner.retrying_since.get_or_insert_with(Instant::now);
    }

    /// Records that the output is done with the delivery, of which it has accepted a number of events:
    /// none if it can never accept any of them.
    pub(super) fn record_completed(&self, events: usize) {
        let mut inner = self.statistics.lock();
        inner.last_try_failed = false;
        let now = Some(SystemTime::now());
        inner.awaiting_response_since = now;
        if events > 0 {
            let events = u64::try_from(events).unwrap_or(u64::MAX);
            inner.events = inner.events.saturating_add(events);
            inner.batches = inner.batches.saturating_add(1);
            inner.last_success_at = now;
        }
    }
}

impl Drop for CapacityWait<'_> {
    fn drop(&mut self) {
        let mut inner = self.statistics.lock();
        decrement(&mut inner.waiting_for_capacity, self.source);
    }
}

impl Drop for ActiveDelivery<'_> {
    fn drop(&mut self) {
        let mut inner = self.statistics.lock();
        decrement(&mut inner.delivering, self.source);
        if inner.delivering.is_empty() {
            inner.awaiting_response_since = None;
        }
        inner.retrying.remove(&self.number);
        if inner.retrying.is_empty()
            && let Some(since) = inner.retrying_since.take()
        {
            inner.blocked_for = inner.blocked_for.saturating_add(since.elapsed());
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
        acme.record_retry("no response in time");
        for source in ["acme", "beta"] {
            let reason = statistics.blocking_reason(source);
            assert_eq!(reason.as_deref(), Some("no response in time"), "{source}");
        }
        assert_eq!((statistics.blocking_reason("gamma"), waiting()), (None, 2));

        // It refuses one source, and accepts what the others deliver.
        statistics.begin("gamma").record_completed(1);
        assert!(statistics.blocking_reason("acme").is_some());
        assert_eq!((statistics.blocking_reason("beta"), waiting()), (None, 1));
        acme.record_retry("no response in time");
        assert_eq!(waiting(), 2);
        drop(acme);
        assert_eq!((statistics.blocking_reason("beta"), waiting()), (None, 0));
        drop(beta);
        let inner = statistics.lock();
        assert!(inner.delivering.is_empty());
    }

    #[test]
    fn an_output_that_completes_a_delivery_without_accepting_any_of_it_has_answered() {
        let statistics = Statistics::default();
        let acme = statistics.begin("acme");
        let beta = statistics.begin("beta");
        acme.record_retry("no response in time");
        assert!(statistics.blocking_reason("beta").is_some());
        let gamma = statistics.begin("gamma");
        gamma.record_completed(0);
        assert_eq!(statistics.blocking_reason("beta"), None);
        assert!(statistics.blocking_reason("acme").is_some());
        drop((acme, gamma));
        let before = statistics.unresponsive_since("beta").unwrap();
        while SystemTime::now() <= before {}
        beta.record_completed(0);
        assert!(statistics.unresponsive_since("beta").unwrap() > before);
    }

    #[test]
    fn a_source_is_blocked_until_the_last_of_its_deliveries_to_retry_has_ended() {
        let statistics = Statistics::default();
        let first = statistics.begin("acme");
        let second = statistics.begin("acme");
        let third = statistics.begin("acme");
        first.record_retry("refused");
        third.record_retry("refused");
        for ended in [second, third] {
            drop(ended);
            let reason = statistics.blocking_reason("acme");
            assert_eq!(reason.as_deref(), Some("refused"));
            let report = statistics.report("siem", "http");
            assert_eq!(report.blocked.as_deref(), Some("refused"));
            assert_eq!(report.waiting_sources, 1);
        }
        drop(first);
        assert_eq!(statistics.blocking_reason("acme"), None);
        assert_eq!(statistics.report("siem", "http").blocked, None);
    }

    #[test]
    fn an_output_that_has_not_answered_reports_since_when_it_has_had_something_to_take() {
        let statistics = Statistics::default();
        let since = || statistics.report("siem", "http").unresponsive_since;
        assert_eq!(since(), None);
        let acme = statistics.begin("acme");
        let first = since().unwrap();
        assert_eq!(statistics.unresponsive_since("acme"), Some(first));
        assert_eq!(statistics.unresponsive_since("beta"), None);
        // One that queues has to wait for as long.
        let beta = statistics.begin("beta");
        assert_eq!(statistics.unresponsive_since("beta"), Some(first));
        while SystemTime::now() <= first {}
        beta.record_completed(1);
        drop(beta);
        assert!(since().unwrap() > first, "it answers");
        acme.record_retry("no response in time");
        assert_eq!(since(), None, "it is reported as blocked");
        drop(acme);
        assert_eq!(since(), None);
    }
}
