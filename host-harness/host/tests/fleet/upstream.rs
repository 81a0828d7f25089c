//! An audit log for any number of tenants, which watches who asks: each host has an address of its
//! own, and no host may ask for a tenant while another waits for an answer about it.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// Records on a page.
pub(crate) const PAGE: usize = 10;

/// The upstream of a fleet. Clones share it.
#[derive(Clone)]
pub(crate) struct Upstream {
    pub(crate) ports: Vec<u16>,
    watch: Arc<Mutex<Watch>>,
}

#[derive(Default)]
struct Watch {
    tenants: BTreeMap<String, Tenant>,
    /// Tenants of which two hosts may be asked at a time: they were changed, or a NAK was forged.
    excused: BTreeSet<String>,
    violations: Vec<String>,
    /// When each host last asked for anything.
    last_of: BTreeMap<usize, Instant>,
}

#[derive(Default)]
struct Tenant {
    /// Hosts that wait for an answer.
    waiting: Vec<usize>,
    /// Which host asked last, and when.
    last: Option<(usize, Instant)>,
}

impl Upstream {
    /// With an address for each host. Each tenant has `events` events, and an answer about them
    /// takes its time: polls of one tenant that overlap, do so there.
    pub(crate) async fn start(hosts: usize, events: usize, answer_after: Duration) -> Self {
        let watch = Arc::<Mutex<Watch>>::default();
        let mut ports = Vec::new();
        for host in 0..hosts {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            ports.push(listener.local_addr().unwrap().port());
            let watch = Arc::clone(&watch);
            tokio::spawn(async move {
                loop {
                    let Ok((stream, _)) = listener.accept().await else {
                        continue;
                    };
                    let watch = Arc::clone(&watch);
                    tokio::spawn(async move {
                        let service = service_fn(|request| {
                            answer(request, host, (events, answer_after), Arc::clone(&watch))
                        });
                        drop(
                            http1::Builder::new()
                                .serve_connection(TokioIo::new(stream), service)
                                .await,
                        );
                    });
                }
            });
        }
        Self { ports, watch }
    }

    pub(crate) fn violations(&self) -> Vec<String> {
        self.watch.lock().unwrap().violations.clone()
    }

    pub(crate) fn excuse(&self, tenant: &str) {
        let mut watch = self.watch.lock().unwrap();
        watch.excused.insert(tenant.to_owned());
    }

    /// The tenants of which a host waits for an answer.
    pub(crate) fn at_work(&self, host: usize) -> BTreeSet<String> {
        let watch = self.watch.lock().unwrap();
        let tenants = watch.tenants.iter();
        let at_work = tenants.filter(|(_, tenant)| tenant.waiting.contains(&host));
        at_work.map(|(name, _)| name.clone()).collect()
    }

    /// Which host asked for a tenant last, and when.
    pub(crate) fn last(&self, tenant: &str) -> Option<(usize, Instant)> {
        self.watch.lock().unwrap().tenants.get(tenant)?.last
    }

    /// When a host last asked for anything.
    pub(crate) fn last_of(&self, host: usize) -> Option<Instant> {
        self.watch.lock().unwrap().last_of.get(&host).copied()
    }
}

/// A request whose answer is waited for, until it is dropped.
struct Waiting {
    watch: Arc<Mutex<Watch>>,
    tenant: String,
    host: usize,
}

impl Waiting {
    fn begin(watch: &Arc<Mutex<Watch>>, tenant: &str, host: usize) -> Self {
        let mut all = watch.lock().unwrap();
        all.last_of.insert(host, Instant::now());
        let is_excused = all.excused.contains(tenant);
        let entry = all.tenants.entry(tenant.to_owned()).or_default();
        let other = entry.waiting.iter().find(|other| **other != host).copied();
        entry.waiting.push(host);
        entry.last = Some((host, Instant::now()));
        if let Some(other) = other.filter(|_| !is_excused) {
            let said = format!("host {host} asked for {tenant} while host {other} waited");
            all.violations.push(said);
        }
        Self {
            watch: Arc::clone(watch),
            tenant: tenant.to_owned(),
            host,
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut all = self.watch.lock().unwrap();
        if let Some(tenant) = all.tenants.get_mut(&self.tenant)
            && let Some(place) = tenant.waiting.iter().position(|host| *host == self.host)
        {
            tenant.waiting.remove(place);
        }
    }
}

async fn answer(
    request: Request<Incoming>,
    host: usize,
    (events, answer_after): (usize, Duration),
    watch: Arc<Mutex<Watch>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let bearer = request.headers().get("authorization");
    let bearer = bearer.and_then(|value| value.to_str().ok());
    let tenant = bearer.map(|value| value.trim_start_matches("Bearer ").to_owned());
    let body = request.into_body().collect().await;
    let body = body.map(|body| body.to_bytes()).unwrap_or_default();
    let Some(tenant) = tenant else {
        let form = String::from_utf8_lossy(&body);
        let mut fields = form.split('&').filter_map(|field| field.split_once('='));
        let id = fields.find(|(name, _)| *name == "client_id");
        let id = id.map_or("", |(_, id)| id);
        let _waiting = Waiting::begin(&watch, id, host);
        return Ok(respond(
            &json!({ "access_token": id, "token_type": "Bearer", "expires_in": 1799 }),
        ));
    };
    let _waiting = Waiting::begin(&watch, &tenant, host);
    tokio::time::sleep(answer_after).await;
    let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
    Ok(respond(&page(&tenant, events, &asked)))
}

fn respond(body: &Value) -> Response<Full<Bytes>> {
    Response::builder()
        .header("content-type", "application/json")
        .header("date", httpdate::fmt_http_date(SystemTime::now()))
        .body(Full::new(Bytes::from(body.to_string())))
        .unwrap()
}

fn page(tenant: &str, events: usize, asked: &Value) -> Value {
    let from = asked["data"][0]["startDateTime"].as_str().unwrap_or("");
    let event_time = an_hour_ago();
    let token = asked["meta"]["pagination"]["pageToken"].as_str();
    let first: usize = token.map_or(0, |token| token.parse().unwrap());
    let until = asked["data"][0]["endDateTime"].as_str().unwrap_or("");
    let is_in_window = from < event_time.as_str() && event_time.as_str() < until;
    let count = if is_in_window {
        PAGE.min(events.saturating_sub(first))
    } else {
        0
    };
    let records: Vec<Value> = (first..first + count)
        .map(|number| {
            json!({
                "id": format!("{tenant}-{number}"),
                "auditType": "User Logged On",
                "user": format!("user{number}@example.com"),
                "eventTime": event_time,
                "eventInfo": "Successful authentication for user, Date: 2026-11-28, IP: 192.0.2.7, Application: Administration Console",
                "category": "authentication_logs",
            })
        })
        .collect();
    let mut pagination = json!({ "pageSize": PAGE });
    if is_in_window && first + count < events {
        pagination["next"] = Value::from((first + count).to_string());
    }
    json!({ "meta": { "status": 200, "pagination": pagination }, "data": records })
}

/// A whole hour, as the audit log writes it.
fn an_hour_ago() -> String {
    use std::sync::LazyLock;

    // The same during the whole run.
    static TIME: LazyLock<String> = LazyLock::new(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let time = UNIX_EPOCH + Duration::from_secs(since.as_secs() / 3600 * 3600 - 3600);
        let text = humantime::format_rfc3339_seconds(time).to_string();
        text.replace('Z', "+0000")
    });
    TIME.clone()
}
