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
    BreakOff,
    /// Accepts it, and resets the connection before the answer.
    TakeAndReset,
    /// Accepts it, and ends the connection within the answer.
    HalfAnswer,
    /// Answers with this, and accepts nothing.
    Answer(u16, Vec<(&'static str, &'static str)>, &'static str),
}

/// What a receiver has accepted, and how it treats the next requests. Shared by a test and its
/// receiver.
#[derive(Clone)]
pub(crate) struct ReceiverState {
    taken: Arc<Mutex<Vec<Value>>>,
    script: Arc<Mutex<VecDeque<Treatment>>>,
    requests: Arc<Mutex<Vec<String>>>,
    /// How many requests are not answered, and the most there have been.
    under_way: Arc<Mutex<(usize, usize)>>,
    /// Something of the above has changed.
    changed: watch::Sender<()>,
    held: watch::Sender<bool>,
    dawdles: bool,
    /// What is kept of an event that was taken.
    keep: fn(Value) -> Value,
}

impl ReceiverState {
    pub(crate) fn new() -> Self {
        Self {
            taken: Arc::default(),
            script: Arc::default(),
            requests: Arc::default(),
            under_way: Arc::default(),
            changed: watch::channel(()).0,
            held: watch::channel(false).0,
            dawdles: false,
            keep: |event| event,
        }
    }

    /// Keeps only `keep(event)` of each event.
    #[allow(
        dead_code,
        clippy::allow_attributes,
        reason = "only the chaos run takes more than can be kept"
    )]
    pub(crate) fn keeping(keep: fn(Value) -> Value) -> Self {
        Self {
            keep,
            ..Self::new()
        }
    }

    /// Acknowledges each request after a random delay.
    pub(crate) fn slow() -> Self {
        Self {
            dawdles: true,
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
            None if self.dawdles => Treatment::Late(Duration::from_millis(fastrand::u64(0..30))),
            None => Treatment::Accept,
        }
    }

    /// Takes the next treatment from the script if it is to break off, which is decided before a
    /// request is read. Returns whether it was.
    pub(crate) fn take_break_off(&self) -> bool {
        let mut script = self.script.lock().unwrap();
        let next = script.front();
        let breaks_off = matches!(next, Some(Treatment::BreakOff));
        if breaks_off {
            script.pop_front();
        }
        breaks_off
    }

    /// Notes a request by something that tells it from others. It is under way
    /// for as long as what is returned lives.
    pub(crate) fn note(&self, request: String) -> UnderWay {
        self.requests.lock().unwrap().push(request);
        let mut under_way = self.under_way.lock().unwrap();
        under_way.0 += 1;
        under_way.1 = under_way.1.max(under_way.0);
        drop(under_way);
        self.changed.send_replace(());
        UnderWay(self.clone())
    }

    /// The most requests that were under way at a time, since this was asked.
    pub(crate) fn take_under_way_max(&self) -> usize {
        let mut under_way = self.under_way.lock().unwrap();
        let now = under_way.0;
        std::mem::replace(&mut under_way.1, now)
    }

    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    pub(crate) fn take(&self, events: Vec<Value>) {
        let kept: Vec<Value> = events.into_iter().map(self.keep).collect();
        self.taken.lock().unwrap().extend(kept);
        self.changed.send_replace(());
    }

    /// What is at these places of the events taken, each once.
    pub(crate) fn distinct_at<const N: usize>(&self, places: [&str; N]) -> BTreeSet<[String; N]> {
        let taken = self.taken.lock().unwrap();
        let text =
            |event: &Value, place| event.pointer(place).unwrap().as_str().unwrap().to_owned();
        taken
            .iter()
            .map(|event| places.map(|place| text(event, place)))
            .collect()
    }

    pub(crate) fn taken(&self) -> Vec<Value> {
        self.taken.lock().unwrap().clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.taken.lock().unwrap().len()
    }

    /// The numbers of the events taken, in order.
    pub(crate) fn numbers(&self) -> Vec<usize> {
        self.taken.lock().unwrap().iter().map(number).collect()
    }

    /// Each number once, in order.
    pub(crate) fn distinct(&self) -> Vec<usize> {
        let mut numbers = self.numbers();
        numbers.sort_unstable();
        numbers.dedup();
        numbers
    }

    /// Holds back every answer, or releases them.
    pub(crate) fn hold(&self, on: bool) {
        self.held.send_replace(on);
    }

    pub(crate) async fn wait_until_released(&self) {
        let mut held = self.held.subscribe();
        held.wait_for(|held| !held).await.unwrap();
    }

    /// Waits until `count` requests have arrived.
    pub(crate) async fn wait_for_requests(&self, count: usize) {
        self.until("requests", || self.requests.lock().unwrap().len() >= count)
            .await;
    }

    /// Waits until `count` events have been accepted.
    pub(crate) async fn wait_for_events(&self, count: usize) {
        self.until("events", || self.count() >= count).await;
    }

    async fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        let mut changes = self.changed.subscribe();
        let waited = tokio::time::timeout(DEADLINE, async {
            while !is_so() {
                changes.changed().await.unwrap();
            }
        });
        assert!(waited.await.is_ok(), "fewer {what} than there should be");
    }
}

/// A request that is not answered yet.
pub(crate) struct UnderWay(ReceiverState);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.lock().unwrap().0 -= 1;
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
