//! An audit log for any number of tenants: each is known by its client id, which determines how its
//! upstream behaves.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, StatusCode};
use serde_json::{Value, json};

use crate::mock_upstream::{audit_page, bearer, client_id, json_response, token_response};
use crate::upstream_process;

/// Records on a page.
const PAGE_RECORDS: usize = 500;
/// How long a slow upstream takes for a response.
const SLOW: Duration = Duration::from_secs(20);

/// When each idle tenant was last polled, and the greatest time between two polls of one.
#[derive(Debug, Default)]
struct Polls {
    last: BTreeMap<String, SystemTime>,
    poll_interval_max: Duration,
}

/// Serves, and reports the greatest time between two polls of an idle tenant in milliseconds.
pub(crate) fn serve() {
    let polls = Arc::<Mutex<Polls>>::default();
    let shared = Arc::clone(&polls);
    upstream_process::serve(
        move |request| respond(request, Arc::clone(&shared)),
        || {
            polls
                .lock()
                .unwrap()
                .poll_interval_max
                .as_millis()
                .to_string()
        },
    );
}

async fn respond(request: Request<Bytes>, polls: Arc<Mutex<Polls>>) -> Response<Full<Bytes>> {
    let Some(tenant) = bearer(&request) else {
        return token_response(&client_id(request.body()));
    };
    let kind = tenant.split('-').next().unwrap_or_default();
    match kind {
        "slow" => tokio::time::sleep(SLOW).await,
        "failing" => return json_response(StatusCode::SERVICE_UNAVAILABLE, &json!({ "fail": [] })),
        "idle" => note_poll(&polls, &tenant),
        _ => {}
    }
    // `busy-1000-7` has 1,000 events that all happened at one time.
    let total: usize = match kind {
        "busy" | "huge" => tenant.split('-').nth(1).unwrap().parse().unwrap(),
        _ => 0,
    };
    let query: Value = serde_json::from_slice(request.body()).unwrap_or_default();
    json_response(
        StatusCode::OK,
        &audit_page(&tenant, total, PAGE_RECORDS, &query),
    )
}

fn note_poll(polls: &Mutex<Polls>, tenant: &str) {
    let now = SystemTime::now();
    let mut polls = polls.lock().unwrap();
    if let Some(before) = polls.last.insert(tenant.to_owned(), now) {
        let poll_interval = now.duration_since(before).unwrap_or_default();
        polls.poll_interval_max = polls.poll_interval_max.max(poll_interval);
    }
}
