//! Common part of the receivers of these tests: what they have accepted,
//! and a script of how they treat the next requests.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::test_delivery::{DEADLINE, number};

/// How a receiver treats one request.
#[derive(Clone, Debug)]
pub(crate) enum Treatment {
    /// Accepts it and answers.
    Accept,
    /// Accepts it and answers late, as with end-to-end acknowledgements.
    Late(Duration),
    /// Accepts nothing, and answers like Vector: `{}` and the end of the
    /// connection, or 500.
    Refuse,
    /// Accepts nothing and resets the connection, like Fluent Bit when it pauses.
    Reset,
    /// Reads a part of it and resets the connection.
    ResetMidRequest,
    /// Accepts it, and resets the connection before the response.
    AcceptAndReset,
    /// Accepts it, and ends the connection within the response.
    RespondHalf,
    /// Answers with this, and accepts nothing.
    Respond(u16, Vec<(&'static str, &'static str)>, &'static str),
}

/// What a receiver has accepted, and how it treats the next requests. Shared by a test and its
/// receiver.
#[derive(Clone)]
pub(crate) struct ReceiverState {
    accepted: Arc<Mutex<Vec<Value>>>,
    script: Arc<Mutex<VecDeque<Treatment>>>,
    requests: Arc<Mutex<Vec<String>>>,
    /// The number of requests that are not answered, and its maximum.
    in_flight: Arc<Mutex<(usize, usize)>>,
    /// Notified when a request has begun or ended, and when events were accepted.
    changed: watch::Sender<()>,
    held: watch::Sender<bool>,
    is_slow: bool,
    /// Reduces an accepted event to the part that is stored.
    reduce: fn(Value) -> Value,
}

impl ReceiverState {
    pub(crate) fn new() -> Self {
        Self {
            accepted: Arc::default(),
            script: Arc::default(),
            requests: Arc::default(),
            in_flight: Arc::default(),
            changed: watch::channel(()).0,
            held: watch::channel(false).0,
            is_slow: false,
            reduce: |event| event,
        }
    }

    /// Stores only `reduce(event)` of each event.
    #[allow(
        dead_code,
        clippy::allow_attributes,
        reason = "only the chaos run accepts more than fits into memory"
    )]
    pub(crate) fn reducing(reduce: fn(Value) -> Value) -> Self {
        Self {
            reduce,
            ..Self::new()
        }
    }

    /// Acknowledges each request after a random delay.
    pub(crate) fn slow() -> Self {
        Self {
            is_slow: true,
            ..Self::new()
        }
    }

    /// Queues treatments for the next requests.
    pub(crate) fn script(&self, treatments: impl IntoIterator<Item = Treatment>) {
        self.script.lock().unwrap().extend(treatments);
    }

    pub(crate) fn next_treatment(&self) -> Treatment {
        let next = self.script.lock().unwrap().pop_front();
        match next {
            Some(treatment) => treatment,
            None if self.is_slow => Treatment::Late(Duration::from_millis(fastrand::u64(0..30))),
            None => Treatment::Accept,
        }
    }

    /// Removes the next treatment if it is `ResetMidRequest`, and returns whether it was. Called
    /// before the request is read.
    pub(crate) fn take_mid_request_reset(&self) -> bool {
        let mut script = self.script.lock().unwrap();
        let next = script.front();
        let is_reset = matches!(next, Some(Treatment::ResetMidRequest));
        if is_reset {
            script.pop_front();
        }
        is_reset
    }

    /// Records a request by a text that identifies it. It counts as in flight until the returned
    /// value is dropped.
    pub(crate) fn begin_request(&self, request: String) -> InFlightRequest {
        self.requests.lock().unwrap().push(request);
        let mut in_flight = self.in_flight.lock().unwrap();
        in_flight.0 += 1;
        in_flight.1 = in_flight.1.max(in_flight.0);
        drop(in_flight);
        self.changed.send_replace(());
        InFlightRequest(self.clone())
    }

    /// Returns the maximum number of requests in flight since the last call.
    pub(crate) fn take_in_flight_max(&self) -> usize {
        let mut in_flight = self.in_flight.lock().unwrap();
        let now = in_flight.0;
        std::mem::replace(&mut in_flight.1, now)
    }

    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    pub(crate) fn record_accepted(&self, events: Vec<Value>) {
        let reduced: Vec<Value> = events.into_iter().map(self.reduce).collect();
        self.accepted.lock().unwrap().extend(reduced);
        self.changed.send_replace(());
    }

    /// Returns the distinct values at these JSON pointers of the accepted events.
    pub(crate) fn distinct_at<const N: usize>(&self, pointers: [&str; N]) -> BTreeSet<[String; N]> {
        let accepted = self.accepted.lock().unwrap();
        let text =
            |event: &Value, pointer| event.pointer(pointer).unwrap().as_str().unwrap().to_owned();
        accepted
            .iter()
            .map(|event| pointers.map(|pointer| text(event, pointer)))
            .collect()
    }

    pub(crate) fn accepted(&self) -> Vec<Value> {
        self.accepted.lock().unwrap().clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.accepted.lock().unwrap().len()
    }

    /// Returns the numbers of the accepted events, in order.
    pub(crate) fn numbers(&self) -> Vec<usize> {
        self.accepted.lock().unwrap().iter().map(number).collect()
    }

    /// Returns the distinct numbers of the accepted events, sorted.
    pub(crate) fn distinct(&self) -> Vec<usize> {
        let mut numbers = self.numbers();
        numbers.sort_unstable();
        numbers.dedup();
        numbers
    }

    /// Holds back every response, or releases them.
    pub(crate) fn hold(&self, on: bool) {
        self.held.send_replace(on);
    }

    pub(crate) async fn wait_until_released(&self) {
        let mut held = self.held.subscribe();
        held.wait_for(|held| !held).await.unwrap();
    }

    /// Waits until `count` requests have arrived.
    pub(crate) async fn wait_for_requests(&self, count: usize) {
        self.wait_until("requests", || self.requests.lock().unwrap().len() >= count)
            .await;
    }

    /// Waits until `count` events have been accepted.
    pub(crate) async fn wait_for_events(&self, count: usize) {
        self.wait_until("events", || self.count() >= count).await;
    }

    async fn wait_until(&self, what: &str, condition: impl Fn() -> bool) {
        let mut changes = self.changed.subscribe();
        let waited = tokio::time::timeout(DEADLINE, async {
            while !condition() {
                changes.changed().await.unwrap();
            }
        });
        assert!(waited.await.is_ok(), "fewer {what} than there should be");
    }
}

/// A request that is not answered yet.
pub(crate) struct InFlightRequest(ReceiverState);

impl Drop for InFlightRequest {
    fn drop(&mut self) {
        self.0.in_flight.lock().unwrap().0 -= 1;
        self.0.changed.send_replace(());
    }
}

/// Listens again where a receiver listened before. Another process may have the
/// port for a moment, for a connection of its own.
pub(crate) async fn listen_again(address: SocketAddr) -> TcpListener {
    let begun = Instant::now();
    while begun.elapsed() < DEADLINE {
        if let Ok(listener) = TcpListener::bind(address).await {
            return listener;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{address} is taken");
}
