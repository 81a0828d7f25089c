//! The systems around the host on the scripted day: an upstream for all tenants, which refuses
//! a request before its time and says how long to wait, and two receivers, one of which can be down.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::mock_upstream::{
    audit_event, bearer, json_response, parse_page_token, serve, token_response,
    window_contains_events,
};

/// Records on a page.
const PAGE_RECORDS: usize = 2;
/// How long a tenant must wait before its next request; the wait after the first page differs by tenant.
const PAGE_INTERVAL: Duration = Duration::from_secs(10);

/// The upstream and the receivers, while this lives.
pub(crate) struct DayEnvironment {
    pub(crate) port: u16,
    state: Arc<Mutex<State>>,
    _runtime: Runtime,
}

#[derive(Default)]
struct State {
    tenants: BTreeMap<String, Tenant>,
    /// When a record first came to a receiver.
    received: BTreeMap<String, Instant>,
    is_receiver_down: bool,
    begun: Option<Instant>,
    /// Whether the page that is asked for next is the last one of its tenant.
    is_last_page: bool,
}

#[derive(Default)]
struct Tenant {
    /// How often its secret was replaced.
    rotations: u32,
    is_unavailable: bool,
    /// When each page was answered first.
    answered: BTreeMap<usize, Instant>,
    /// How many polls were due since the day began.
    due_polls: u32,
    /// When it may be asked for a page again.
    due: Option<Instant>,
    /// How much later it was asked, at most.
    late_max: Duration,
    is_caught_up: bool,
}

/// The polls of a tenant that were due.
pub(crate) struct PollLateness {
    pub(crate) poll_count: u32,
    /// The greatest delay of one.
    pub(crate) delay_max: Duration,
}

impl DayEnvironment {
    pub(crate) fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let state = Arc::<Mutex<State>>::default();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::clone(&state);
        runtime.spawn(serve(listener, move |request| {
            std::future::ready(respond(&request, &shared))
        }));
        Self {
            port,
            state,
            _runtime: runtime,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn change(&self, tenant: &str, change: impl FnOnce(&mut Tenant)) {
        change(self.lock().tenants.entry(tenant.to_owned()).or_default());
    }

    /// The secret that a tenant has now.
    pub(crate) fn secret(&self, tenant: &str) -> String {
        let state = self.lock();
        let rotations = state.tenants.get(tenant).map_or(0, |it| it.rotations);
        secret(tenant, rotations)
    }

    /// Gives a tenant another secret. The former one and its tokens are refused.
    pub(crate) fn rotate(&self, tenant: &str) {
        self.change(tenant, |it| it.rotations += 1);
    }

    /// Makes the upstream of a tenant unavailable for every page, or available again.
    pub(crate) fn set_unavailable(&self, tenant: &str, is_unavailable: bool) {
        self.change(tenant, |it| it.is_unavailable = is_unavailable);
    }

    /// Makes one of the receivers fail, or work again.
    pub(crate) fn set_receiver_down(&self, is_down: bool) {
        self.lock().is_receiver_down = is_down;
    }

    /// Begins the day: what was due before does not count.
    pub(crate) fn begin(&self) {
        let mut state = self.lock();
        state.begun = Some(Instant::now());
        for tenant in state.tenants.values_mut() {
            (tenant.due_polls, tenant.late_max) = (0, Duration::ZERO);
        }
    }

    /// Ends the day: the next page of every tenant is its last one.
    pub(crate) fn end(&self) {
        self.lock().is_last_page = true;
    }

    pub(crate) fn are_caught_up(&self, mut tenants: impl Iterator<Item = String>) -> bool {
        let state = self.lock();
        tenants.all(|name| state.tenants.get(&name).is_some_and(|it| it.is_caught_up))
    }

    /// Returns the polls of a tenant that were due.
    pub(crate) fn poll_lateness(&self, tenant: &str) -> PollLateness {
        let tenant = &self.lock().tenants[tenant];
        PollLateness {
            poll_count: tenant.due_polls,
            delay_max: tenant.late_max,
        }
    }

    /// Returns whether all records of a tenant that were answered have come to its receiver.
    pub(crate) fn has_received_all(&self, tenant: &str) -> bool {
        let state = self.lock();
        let pages = state.tenants[tenant].answered.keys();
        let mut records = pages.flat_map(|page| records_of(*page));
        records.all(|number| state.received.contains_key(&id(tenant, number)))
    }

    /// Returns the longest time from the response with a record of the day to its receipt.
    pub(crate) fn delivery_delay_max(&self, tenant: &str) -> Option<Duration> {
        let state = self.lock();
        let answered = state.tenants[tenant].answered.iter();
        let pages_of_day = answered.filter(|(_, at)| Some(**at) > state.begun);
        let records =
            pages_of_day.flat_map(|(page, at)| records_of(*page).map(move |number| (number, *at)));
        let delays = records.filter_map(|(number, at)| {
            let received = state.received.get(&id(tenant, number))?;
            Some(received.saturating_duration_since(at))
        });
        delays.max()
    }

    /// Returns whether no page of a tenant was left out before the last one that was answered.
    pub(crate) fn answered_every_page(&self, tenant: &str) -> bool {
        let state = self.lock();
        let answered = &state.tenants[tenant].answered;
        answered.keys().copied().eq(0..answered.len())
    }
}

fn secret(tenant: &str, rotations: u32) -> String {
    format!("secret-{rotations}-of-{tenant}")
}

/// The numbers of the records of a page.
fn records_of(page: usize) -> Range<usize> {
    page * PAGE_RECORDS..(page + 1) * PAGE_RECORDS
}

fn id(tenant: &str, number: usize) -> String {
    format!("{tenant}-{number}")
}

fn respond(request: &Request<Bytes>, state: &Mutex<State>) -> Response<Full<Bytes>> {
    let mut state = state.lock().unwrap();
    let body = request.body();
    match (request.uri().path(), bearer(request)) {
        (path @ ("/main" | "/second"), _) => state.receive(path, body),
        (_, None) => state.token(body),
        (_, Some(token)) => state.page(&token, body),
    }
}

impl State {
    fn receive(&mut self, path: &str, body: &[u8]) -> Response<Full<Bytes>> {
        if self.is_receiver_down && path == "/second" {
            return json_response(StatusCode::SERVICE_UNAVAILABLE, &json!({}));
        }
        let text = std::str::from_utf8(body).unwrap();
        for line in text.lines() {
            let event: Value = serde_json::from_str(line).unwrap();
            let id = event["record"]["id"].as_str().unwrap().to_owned();
            self.received.entry(id).or_insert_with(Instant::now);
        }
        json_response(StatusCode::OK, &json!({}))
    }

    fn token(&mut self, form: &[u8]) -> Response<Full<Bytes>> {
        let form: BTreeMap<String, String> = form_urlencoded::parse(form).into_owned().collect();
        let tenant = &form["client_id"];
        let rotations = self.tenants.entry(tenant.clone()).or_default().rotations;
        if form["client_secret"] != secret(tenant, rotations) {
            return unauthorized();
        }
        let token = format!("{tenant}.{rotations}");
        token_response(&token)
    }

    fn page(&mut self, token: &str, body: &[u8]) -> Response<Full<Bytes>> {
        let (name, rotations) = token.split_once('.').unwrap();
        let is_last_page = self.is_last_page;
        let tenant = self.tenants.get_mut(name).unwrap();
        if rotations != tenant.rotations.to_string() {
            return unauthorized();
        }
        if tenant.is_unavailable {
            let unavailable = json!({"fail": [{"code": "unavailable", "message": "maintenance"}]});
            return json_response(StatusCode::SERVICE_UNAVAILABLE, &unavailable);
        }
        let query: Value = serde_json::from_slice(body).unwrap();
        if !window_contains_events(&query) {
            let nothing = json!({"meta": {"status": 200}, "data": []});
            return json_response(StatusCode::OK, &nothing);
        }
        let now = Instant::now();
        if let Some(due) = tenant.due {
            if now < due {
                return too_early(due - now);
            }
            tenant.due_polls += 1;
            tenant.late_max = tenant.late_max.max(now - due);
        }
        let page = parse_page_token(&query);
        let records: Vec<Value> = records_of(page)
            .map(|number| audit_event(&id(name, number), number))
            .collect();
        let mut pagination = json!({ "pageSize": PAGE_RECORDS });
        if is_last_page {
            tenant.is_caught_up = true;
            tenant.due = None;
        } else {
            pagination["next"] = json!((page + 1).to_string());
            tenant.due = Some(now + interval_after(name, page));
        }
        tenant.answered.entry(page).or_insert(now);
        let body = json!({"meta": {"status": 200, "pagination": pagination}, "data": records});
        json_response(StatusCode::OK, &body)
    }
}

/// Returns how long a tenant must wait before its next request. The wait after the first page differs by
/// tenant: those that were started together do not stay together.
fn interval_after(tenant: &str, page: usize) -> Duration {
    let spread = tenant
        .bytes()
        .fold(0, |sum, byte| (sum * 31 + u32::from(byte)) % 1_009);
    match page {
        0 => PAGE_INTERVAL / 4 + PAGE_INTERVAL * (spread % 100) / 100,
        _ => PAGE_INTERVAL,
    }
}

/// The refusal of a call before it is due.
fn too_early(left: Duration) -> Response<Full<Bytes>> {
    let body = json!({"fail": [{"code": "too_many_requests", "message": "slow down"}]});
    let mut response = json_response(StatusCode::TOO_MANY_REQUESTS, &body);
    let left_ms = (left.as_millis() + 1).to_string();
    let headers = response.headers_mut();
    headers.insert("x-ratelimit-reset", left_ms.parse().unwrap());
    response
}

fn unauthorized() -> Response<Full<Bytes>> {
    let body = json!({"fail": [{"code": "InvalidClientIdentifier", "message": "no"}]});
    json_response(StatusCode::UNAUTHORIZED, &body)
}
