//! An audit log for any number of tenants, which monitors the hosts that request it: each host has
//! an address of its own, and no host may send a request for a tenant while another waits for a
//! response.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, StatusCode};
use serde_json::Value;
use tokio::net::TcpListener;

use crate::mock_upstream::{audit_page, bearer, client_id, json_response, serve, token_response};

/// Records on a page.
pub(crate) const RECORDS_PER_PAGE: usize = 10;

/// The upstream of a fleet. Clones share it.
#[derive(Clone)]
pub(crate) struct Upstream {
    pub(crate) ports: Vec<u16>,
    monitor: Arc<Mutex<OverlapMonitor>>,
}

#[derive(Default)]
struct OverlapMonitor {
    tenants: BTreeMap<String, Tenant>,
    /// Tenants for which two hosts may ask at a time: they were changed, or a NAK was forged.
    overlap_allowed: BTreeSet<String>,
    violations: Vec<String>,
    /// When each host last sent a request.
    last_request_at: BTreeMap<usize, Instant>,
}

#[derive(Default)]
struct Tenant {
    /// Hosts that wait for a response.
    waiting: Vec<usize>,
    /// Which host sent the last request, and when.
    last_request: Option<(usize, Instant)>,
}

impl Upstream {
    /// Starts the upstream with an address for each host. Each tenant has `events` events, and a
    /// response about them takes `response_after`, so that polls of one tenant by two hosts would
    /// overlap here.
    pub(crate) async fn start(hosts: usize, events: usize, response_after: Duration) -> Self {
        let monitor = Arc::<Mutex<OverlapMonitor>>::default();
        let mut ports = Vec::new();
        for host in 0..hosts {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            ports.push(listener.local_addr().unwrap().port());
            let monitor = Arc::clone(&monitor);
            tokio::spawn(serve(listener, move |request| {
                respond(
                    request,
                    host,
                    (events, response_after),
                    Arc::clone(&monitor),
                )
            }));
        }
        Self { ports, monitor }
    }

    pub(crate) fn violations(&self) -> Vec<String> {
        self.monitor.lock().unwrap().violations.clone()
    }

    /// Lets two hosts ask for a tenant at a time.
    pub(crate) fn allow_overlap(&self, tenant: &str) {
        let mut monitor = self.monitor.lock().unwrap();
        monitor.overlap_allowed.insert(tenant.to_owned());
    }

    /// Returns the tenants for which a host waits for a response.
    pub(crate) fn tenants_of(&self, host: usize) -> BTreeSet<String> {
        let monitor = self.monitor.lock().unwrap();
        let tenants = monitor.tenants.iter();
        let waiting = tenants.filter(|(_, tenant)| tenant.waiting.contains(&host));
        waiting.map(|(name, _)| name.clone()).collect()
    }

    /// Returns which host sent the last request for a tenant, and when.
    pub(crate) fn last_request_for(&self, tenant: &str) -> Option<(usize, Instant)> {
        self.monitor
            .lock()
            .unwrap()
            .tenants
            .get(tenant)?
            .last_request
    }

    /// Returns when a host last sent a request.
    pub(crate) fn last_request_by(&self, host: usize) -> Option<Instant> {
        self.monitor
            .lock()
            .unwrap()
            .last_request_at
            .get(&host)
            .copied()
    }
}

/// A request whose response is waited for, until it is dropped.
struct PendingRequest {
    monitor: Arc<Mutex<OverlapMonitor>>,
    tenant: String,
    host: usize,
}

impl PendingRequest {
    fn begin(monitor: &Arc<Mutex<OverlapMonitor>>, tenant: &str, host: usize) -> Self {
        let mut all = monitor.lock().unwrap();
        all.last_request_at.insert(host, Instant::now());
        let may_overlap = all.overlap_allowed.contains(tenant);
        let entry = all.tenants.entry(tenant.to_owned()).or_default();
        let other = entry.waiting.iter().find(|other| **other != host).copied();
        entry.waiting.push(host);
        entry.last_request = Some((host, Instant::now()));
        if let Some(other) = other.filter(|_| !may_overlap) {
            let violation = format!("host {host} asked for {tenant} while host {other} waited");
            all.violations.push(violation);
        }
        Self {
            monitor: Arc::clone(monitor),
            tenant: tenant.to_owned(),
            host,
        }
    }
}

impl Drop for PendingRequest {
    fn drop(&mut self) {
        let mut all = self.monitor.lock().unwrap();
        if let Some(tenant) = all.tenants.get_mut(&self.tenant)
            && let Some(index) = tenant.waiting.iter().position(|host| *host == self.host)
        {
            tenant.waiting.remove(index);
        }
    }
}

async fn respond(
    request: Request<Bytes>,
    host: usize,
    (events, response_after): (usize, Duration),
    monitor: Arc<Mutex<OverlapMonitor>>,
) -> Response<Full<Bytes>> {
    let Some(tenant) = bearer(&request) else {
        let id = client_id(request.body());
        let _waiting = PendingRequest::begin(&monitor, &id, host);
        return token_response(&id);
    };
    let _waiting = PendingRequest::begin(&monitor, &tenant, host);
    tokio::time::sleep(response_after).await;
    let body: Value = serde_json::from_slice(request.body()).unwrap_or_default();
    json_response(
        StatusCode::OK,
        &audit_page(&tenant, events, RECORDS_PER_PAGE, &body),
    )
}
