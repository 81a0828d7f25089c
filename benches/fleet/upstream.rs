//! Responds to every listing of any tenant with no batch files, and records when each was polled.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, StatusCode};
use serde_json::{Value, json};

use crate::mock_upstream::{bearer, client_id, json_response, token_response};
use crate::upstream_process;

/// How often a tenant that is caught up is polled.
const DUE_EVERY: Duration = Duration::from_secs(300);

#[derive(Debug, Default)]
struct Polls {
    last: BTreeMap<String, Instant>,
    /// How much later than due tenants were polled again.
    delays: Vec<Duration>,
}

/// Serves, and reports what it has seen as JSON.
pub(crate) fn serve() {
    let polls = Arc::<Mutex<Polls>>::default();
    let shared = Arc::clone(&polls);
    upstream_process::serve(
        move |request| std::future::ready(respond(&request, &shared)),
        || polls.lock().unwrap().report().to_string(),
    );
}

impl Polls {
    fn note(&mut self, tenant: String) {
        let now = Instant::now();
        if let Some(before) = self.last.insert(tenant, now) {
            self.delays.push((now - before).saturating_sub(DUE_EVERY));
        }
    }

    fn report(&mut self) -> Value {
        self.delays.sort();
        let percentile = |percent: usize| {
            let place =
                (self.delays.len() * percent / 100).min(self.delays.len().saturating_sub(1));
            let delay = self.delays.get(place).copied().unwrap_or_default();
            (delay.as_secs_f64() * 10.0).round() / 10.0
        };
        json!({
            "tenants": self.last.len(),
            "repeat_polls": self.delays.len(),
            "p50": percentile(50),
            "p99": percentile(99),
            "max": percentile(100),
        })
    }
}

fn respond(request: &Request<Bytes>, polls: &Mutex<Polls>) -> Response<Full<Bytes>> {
    let Some(tenant) = bearer(request) else {
        return token_response(&client_id(request.body()));
    };
    polls.lock().unwrap().note(tenant);
    let nothing = json!({ "value": [], "@nextPage": "page-1", "isCaughtUp": true });
    json_response(StatusCode::OK, &nothing)
}
