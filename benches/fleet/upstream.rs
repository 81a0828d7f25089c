//! Batch files of any number of tenants, of which there are none, and when each tenant was polled.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::BufRead as _;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// How often a tenant that is caught up is polled.
const DUE_EVERY: Duration = Duration::from_secs(300);

#[derive(Debug, Default)]
struct Polls {
    last: BTreeMap<String, Instant>,
    /// How much later than due tenants were polled again.
    late: Vec<Duration>,
}

/// Serves until standard input ends. Prints its address first, and what it has seen for each line.
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
    let polls = Arc::<Mutex<Polls>>::default();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    println!("{}", listener.local_addr().unwrap());
    let shared = Arc::clone(&polls);
    runtime.spawn(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                continue;
            };
            let polls = Arc::clone(&shared);
            tokio::spawn(async move {
                let service = service_fn(|request| answer(request, Arc::clone(&polls)));
                let served = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                drop(served.await);
            });
        }
    });
    for _ in std::io::stdin().lock().lines() {
        println!("{}", polls.lock().unwrap().report());
    }
}

impl Polls {
    fn note(&mut self, tenant: String) {
        let now = Instant::now();
        if let Some(before) = self.last.insert(tenant, now) {
            self.late.push((now - before).saturating_sub(DUE_EVERY));
        }
    }

    fn report(&mut self) -> Value {
        self.late.sort();
        let of_100 = |part: usize| {
            let place = (self.late.len() * part / 100).min(self.late.len().saturating_sub(1));
            let late = self.late.get(place).copied().unwrap_or_default();
            (late.as_secs_f64() * 10.0).round() / 10.0
        };
        json!({
            "tenants": self.last.len(),
            "again": self.late.len(),
            "p50": of_100(50),
            "p99": of_100(99),
            "max": of_100(100),
        })
    }
}

async fn answer(
    request: Request<Incoming>,
    polls: Arc<Mutex<Polls>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let bearer = request.headers().get("authorization");
    let bearer = bearer.and_then(|value| value.to_str().ok());
    let tenant = bearer.map(|value| value.trim_start_matches("Bearer ").to_owned());
    let body = request.into_body().collect().await;
    let body = body.map(|body| body.to_bytes()).unwrap_or_default();
    let answer = match tenant {
        Some(tenant) => {
            polls.lock().unwrap().note(tenant);
            json!({ "value": [], "@nextPage": "page-1", "isCaughtUp": true })
        }
        None => {
            let form = String::from_utf8_lossy(&body);
            let mut fields = form.split('&').filter_map(|field| field.split_once('='));
            let id = fields.find(|(name, _)| *name == "client_id");
            let id = id.map_or("", |(_, id)| id);
            json!({ "access_token": id, "token_type": "Bearer", "expires_in": 1799 })
        }
    };
    let response = Response::builder()
        .header("content-type", "application/json")
        .header("date", httpdate::fmt_http_date(SystemTime::now()));
    Ok(response
        .body(Full::new(Bytes::from(answer.to_string())))
        .unwrap())
}
