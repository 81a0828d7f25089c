//! A receiver of Elasticsearch's `_bulk`, which has a result for each event: most are created, some
//! existed before, and sometimes a part of a request is refused temporarily.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use fastrand::Rng;
use futures_util::FutureExt as _;
use http_body_util::BodyExt as _;
use hyper::Request;
use hyper::body::Incoming;
use serde_json::{Value, json};

use crate::http_receiver::{HttpResult, HttpServer, half_response, text_response};
use crate::receiver::{ReceiverState, Treatment};

/// One request in this many is refused in part.
const PARTIAL_REFUSAL_INTERVAL: u8 = 40;

pub(crate) struct BulkReceiver {
    pub(crate) state: ReceiverState,
    pub(crate) server: HttpServer,
    store: Arc<Mutex<Store>>,
}

/// The state that outlives the process of the receiver, as an index does.
struct Store {
    ids: BTreeSet<String>,
    random: Rng,
    /// Number of requests of which some events were refused temporarily.
    partial_refusals: u64,
}

impl BulkReceiver {
    pub(crate) async fn with(state: ReceiverState, seed: u64) -> Self {
        let store = Arc::new(Mutex::new(Store {
            ids: BTreeSet::new(),
            random: Rng::with_seed(seed),
            partial_refusals: 0,
        }));
        let answering = (state.clone(), Arc::clone(&store));
        let server = HttpServer::start(move |request| {
            let (state, store) = answering.clone();
            respond(request, state, store).boxed()
        });
        Self {
            server: server.await,
            state,
            store,
        }
    }

    pub(crate) fn settings(&self) -> String {
        format!(
            "type = \"elasticsearch\"\nendpoint = \"http://{}\"\nrequest_kib = 64\ntimeout_secs = 2",
            self.server.address
        )
    }

    pub(crate) fn partial_refusals(&self) -> u64 {
        self.store.lock().unwrap().partial_refusals
    }
}

async fn respond(
    request: Request<Incoming>,
    state: ReceiverState,
    store: Arc<Mutex<Store>>,
) -> HttpResult {
    let reset = || Err(io::Error::other("reset"));
    let mut body = request.into_body();
    if state.take_mid_request_reset() {
        body.frame().await;
        return reset();
    }
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    state.wait_until_released().await;
    let treatment = state.next_treatment();
    match treatment {
        Treatment::Accept | Treatment::RespondHalf | Treatment::AcceptAndReset => {}
        Treatment::Late(wait) => tokio::time::sleep(wait).await,
        Treatment::Refuse => return Ok(text_response(500, "no")),
        Treatment::ResetMidRequest | Treatment::Reset => return reset(),
        Treatment::Respond(status, headers, text) => {
            let mut response = text_response(status, text);
            for (name, value) in headers {
                response.headers_mut().insert(name, value.parse().unwrap());
            }
            return Ok(response);
        }
    }
    let answered = store.lock().unwrap().store_events(&body, &state);
    let answered = Bytes::from(answered.to_string());
    if matches!(treatment, Treatment::AcceptAndReset) {
        return reset();
    }
    Ok(if matches!(treatment, Treatment::RespondHalf) {
        half_response(200, &answered)
    } else {
        text_response(200, answered)
    })
}

impl Store {
    /// Stores the events of a request that are new, but for those that it refuses temporarily, and returns the response, which has each event of
    /// the request in order.
    fn store_events(&mut self, body: &[u8], state: &ReceiverState) -> Value {
        let text = std::str::from_utf8(body).unwrap();
        assert!(text.ends_with('\n'), "a body ends with a whole line");
        let lines: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let is_partial = self.random.u8(..PARTIAL_REFUSAL_INTERVAL) == 0;
        let (mut created, mut items) = (Vec::new(), Vec::new());
        let (mut errors, mut refused) = (false, false);
        for pair in lines.chunks(2) {
            let id = pair[0]["create"]["_id"].as_str().unwrap();
            let index = pair[0]["create"]["_index"].as_str().unwrap();
            let key = format!("{index} {id}");
            let (status, kind) = if self.ids.contains(&key) {
                (409, "version_conflict_engine_exception")
            } else if is_partial && self.random.bool() {
                refused = true;
                (
                    self.random.choice([429, 503]).unwrap(),
                    "es_rejected_execution_exception",
                )
            } else {
                self.ids.insert(key);
                created.push(pair[1].clone());
                (201, "")
            };
            let mut item = json!({"_index": index, "_id": id, "status": status});
            if status != 201 {
                errors = true;
                item["error"] = json!({"type": kind, "reason": "as this test has it"});
            }
            items.push(json!({"create": item}));
        }
        self.partial_refusals += u64::from(refused);
        state.record_accepted(created);
        json!({"took": 1, "errors": errors, "items": items})
    }
}
