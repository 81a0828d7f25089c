//! A receiver of Elasticsearch's `_bulk` that answers for each event by itself: most are created,
//! some were there before, and now and then some of a request are refused for the moment.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex};

use fastrand::Rng;
use futures_util::FutureExt as _;
use http_body_util::BodyExt as _;
use hyper::Request;
use hyper::body::Incoming;
use serde_json::{Value, json};

use crate::http_receiver::{Answer, HttpServer, reply};
use crate::receiver::{ReceiverState, Treatment};

/// One request in this many is answered in parts.
const PARTLY: u8 = 40;

pub(crate) struct BulkReceiver {
    pub(crate) state: ReceiverState,
    pub(crate) server: HttpServer,
    store: Arc<Mutex<Store>>,
}

/// What outlives the process of the receiver, as an index does.
struct Store {
    ids: BTreeSet<String>,
    random: Rng,
    /// Requests of which some events were refused for the moment.
    partly: u64,
}

impl BulkReceiver {
    pub(crate) async fn with(state: ReceiverState, seed: u64) -> Self {
        let store = Arc::new(Mutex::new(Store {
            ids: BTreeSet::new(),
            random: Rng::with_seed(seed),
            partly: 0,
        }));
        let answering = (state.clone(), Arc::clone(&store));
        let server = HttpServer::start(move |request| {
            let (state, store) = answering.clone();
            answer(request, state, store).boxed()
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

    pub(crate) fn answered_partly(&self) -> u64 {
        self.store.lock().unwrap().partly
    }
}

async fn answer(
    request: Request<Incoming>,
    state: ReceiverState,
    store: Arc<Mutex<Store>>,
) -> Answer {
    let reset = || Err(io::Error::other("reset"));
    let mut body = request.into_body();
    if state.take_break_off() {
        body.frame().await;
        return reset();
    }
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    state.wait_until_released().await;
    let treatment = state.next_treatment();
    match treatment {
        Treatment::Accept | Treatment::HalfAnswer | Treatment::TakeAndReset => {}
        Treatment::Late(wait) => tokio::time::sleep(wait).await,
        Treatment::Refuse => return Ok(reply(500, "no")),
        Treatment::BreakOff | Treatment::Reset => return reset(),
        Treatment::Answer(status, headers, text) => {
            let mut answer = reply(status, text);
            for (name, value) in headers {
                answer.headers_mut().insert(name, value.parse().unwrap());
            }
            return Ok(answer);
        }
    }
    let answered = store.lock().unwrap().take(&body, &state);
    if matches!(treatment, Treatment::HalfAnswer | Treatment::TakeAndReset) {
        return reset();
    }
    Ok(reply(200, answered.to_string()))
}

impl Store {
    /// Answers for each event of a request, in order.
    fn take(&mut self, body: &[u8], state: &ReceiverState) -> Value {
        let text = std::str::from_utf8(body).unwrap();
        assert!(text.ends_with('\n'), "a body ends with a whole line");
        let lines: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let partly = self.random.u8(..PARTLY) == 0;
        let (mut created, mut items) = (Vec::new(), Vec::new());
        let (mut errors, mut refused) = (false, false);
        for pair in lines.chunks(2) {
            let id = pair[0]["create"]["_id"].as_str().unwrap();
            let index = pair[0]["create"]["_index"].as_str().unwrap();
            let key = format!("{index} {id}");
            let (status, kind) = if self.ids.contains(&key) {
                (409, "version_conflict_engine_exception")
            } else if partly && self.random.bool() {
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
        self.partly += u64::from(refused);
        state.take(created);
        json!({"took": 1, "errors": errors, "items": items})
    }
}
