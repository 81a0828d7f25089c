//! Counts of the requests that the simulator received.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::fault::Endpoint;
use crate::tenant_state::lock;

/// The requests so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    /// How many requests to each endpoint are finished: answered, or closed without a response.
    pub finished_by_endpoint: BTreeMap<Endpoint, u64>,
    /// How many requests have come to each endpoint, also those that are not finished.
    pub begun_by_endpoint: BTreeMap<Endpoint, u64>,
    /// How many were answered with each status.
    pub by_status: BTreeMap<u16, u64>,
    /// How many came to the storage origin with an `Authorization` header. Must stay 0.
    pub bearer_violations: u64,
    /// How many connections were open at once, at most.
    pub connections_peak: u64,
    /// Every finished request, in the order of finishing: endpoint, stream and status; 0 where no response was sent.
    pub log: Vec<(Endpoint, String, u16)>,
}

impl Requests {
    /// Returns how many requests to an endpoint are finished: answered, or closed without a
    /// response.
    #[must_use]
    pub fn finished_count(&self, endpoint: Endpoint) -> u64 {
        self.finished_by_endpoint
            .get(&endpoint)
            .copied()
            .unwrap_or(0)
    }

    /// Returns how many requests have come to an endpoint, also those that are not finished.
    #[must_use]
    pub fn begun_count(&self, endpoint: Endpoint) -> u64 {
        self.begun_by_endpoint.get(&endpoint).copied().unwrap_or(0)
    }

    /// Returns how many were answered with a status.
    #[must_use]
    pub fn answered(&self, status: u16) -> u64 {
        self.by_status.get(&status).copied().unwrap_or(0)
    }
}

/// The counters of a running simulator.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    requests: Mutex<Requests>,
    open_connections: AtomicU64,
    connections_peak: AtomicU64,
}

impl Counters {
    pub(crate) fn note_begun(&self, endpoint: Endpoint) {
        let mut requests = lock(&self.requests);
        *requests.begun_by_endpoint.entry(endpoint).or_default() += 1;
    }

    pub(crate) fn note_finished(&self, endpoint: Endpoint, stream: &str, status: u16) {
        let mut requests = lock(&self.requests);
        *requests.finished_by_endpoint.entry(endpoint).or_default() += 1;
        if status > 0 {
            *requests.by_status.entry(status).or_default() += 1;
        }
        requests.log.push((endpoint, stream.to_owned(), status));
    }

    pub(crate) fn note_bearer_violation(&self) {
        lock(&self.requests).bearer_violations += 1;
    }

    pub(crate) fn note_connection_opened(&self) {
        let open = self.open_connections.fetch_add(1, Ordering::SeqCst) + 1;
        self.connections_peak.fetch_max(open, Ordering::SeqCst);
    }

    pub(crate) fn note_connection_closed(&self) {
        self.open_connections.fetch_sub(1, Ordering::SeqCst);
    }

    pub(crate) fn snapshot(&self) -> Requests {
        let mut requests = lock(&self.requests).clone();
        requests.connections_peak = self.connections_peak.load(Ordering::SeqCst);
        requests
    }
}
