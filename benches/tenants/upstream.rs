//! An audit log for any number of tenants: each is known by its client id, which says how its
//! upstream behaves.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::Read as _;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

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
const PAGE: usize = 500;
/// How long a slow upstream takes for an answer.
const SLOW: Duration = Duration::from_secs(20);

/// When each idle tenant was last polled, and the greatest time between two polls of one.
#[derive(Debug, Default)]
struct Polls {
    last: BTreeMap<String, SystemTime>,
    gap_max: Duration,
}

/// Serves until standard input ends, and prints its address first and the greatest gap between two
/// polls of an idle tenant last.
#[expect(
    clippy::print_stdout,
    reason = "the other copy of this program reads it"
)]
pub(crate) fn serve() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let polls = Arc::new(Mutex::new(Polls::default()));
    // Fixed once: an event whose time changes between two polls would be another event.
    let event_time: Arc<str> = Arc::from(an_hour_ago());
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    println!("{}", listener.local_addr().unwrap());
    let shared = Arc::clone(&polls);
    runtime.spawn(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                continue;
            };
            let polls = Arc::clone(&shared);
            let event_time = Arc::clone(&event_time);
            tokio::spawn(async move {
                let service = service_fn(|request| {
                    answer(request, Arc::clone(&polls), Arc::clone(&event_time))
                });
                drop(
                    http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await,
                );
            });
        }
    });
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    println!("{}", polls.lock().unwrap().gap_max.as_millis());
}

async fn answer(
    request: Request<Incoming>,
    polls: Arc<Mutex<Polls>>,
    event_time: Arc<str>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let bearer = request
        .headers()
        .get("authorization")
        .and_then(|value| value.to_str().ok())
        .map(|value| value.trim_start_matches("Bearer ").to_owned());
    let body = request
        .into_body()
        .collect()
        .await
        .map(|body| body.to_bytes())
        .unwrap_or_default();
    let Some(tenant) = bearer else {
        return Ok(token(&body));
    };
    let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
    let kind = tenant.split('-').next().unwrap_or_default();
    match kind {
        "slow" => tokio::time::sleep(SLOW).await,
        "failing" => return Ok(respond(503, &json!({ "fail": [] }))),
        "idle" => note_poll(&polls, &tenant),
        _ => {}
    }
    Ok(respond(200, &page(&tenant, kind, &event_time, &asked)))
}

/// The token of a tenant is its client id.
fn token(form: &[u8]) -> Response<Full<Bytes>> {
    let form = String::from_utf8_lossy(form);
    let mut fields = form.split('&').filter_map(|field| field.split_once('='));
    let id = fields.find(|(name, _)| *name == "client_id");
    let id = id.map_or("", |(_, id)| id);
    let body = json!({ "access_token": id, "token_type": "Bearer", "expires_in": 1799 });
    respond(200, &body)
}

fn respond(status: u16, body: &Value) -> Response<Full<Bytes>> {
    Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .header("date", httpdate::fmt_http_date(SystemTime::now()))
        .body(Full::new(Bytes::from(body.to_string())))
        .unwrap()
}

fn note_poll(polls: &Mutex<Polls>, tenant: &str) {
    let now = SystemTime::now();
    let mut polls = polls.lock().unwrap();
    if let Some(before) = polls.last.insert(tenant.to_owned(), now) {
        let gap = now.duration_since(before).unwrap_or_default();
        polls.gap_max = polls.gap_max.max(gap);
    }
}

/// A page of the audit log: `busy-1000-7` has 1,000 events that all happened at one time.
fn page(tenant: &str, kind: &str, event_time: &str, asked: &Value) -> Value {
    let total: usize = match kind {
        "busy" | "huge" => tenant.split('-').nth(1).unwrap().parse().unwrap(),
        _ => 0,
    };
    let bound = |name: &str| asked["data"][0][name].as_str().unwrap();
    let token = asked["meta"]["pagination"]["pageToken"].as_str();
    let first: usize = token.map_or(0, |token| token.parse().unwrap());
    // One of the windows has the events, as in the real log.
    let is_in_window = (bound("startDateTime")..bound("endDateTime")).contains(&event_time);
    let count = if is_in_window {
        PAGE.min(total.saturating_sub(first))
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
    if is_in_window && first + count < total {
        pagination["next"] = Value::from((first + count).to_string());
    }
    json!({ "meta": { "status": 200, "pagination": pagination }, "data": records })
}

/// The whole second an hour before now, as the audit log writes it.
fn an_hour_ago() -> String {
    let time = SystemTime::now() - Duration::from_secs(3600);
    humantime::format_rfc3339_seconds(time)
        .to_string()
        .replace('Z', "+0000")
}
