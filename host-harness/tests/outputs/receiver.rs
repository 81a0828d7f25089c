//! What all receivers of these tests have in common: what they have taken,
//! and a script of how they treat the next requests.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;

/// How a receiver treats one request.
#[derive(Clone, Debug)]
pub(crate) enum Treatment {
    /// Take it and say so.
    Accept,
    /// Take it and say so late.
    Late(Duration),
    /// Take nothing, and say so in the way of the protocol.
    Refuse,
    /// Take nothing and reset the connection, as when paused.
    Reset,
    /// Take it, and break off before the answer.
    TakeAndReset,
    /// Answer with this, and take nothing.
    Answer(u16, Vec<(&'static str, &'static str)>, &'static str),
}

/// Shared by a test and its receiver.
#[derive(Clone)]
pub(crate) struct Ledger {
    taken: Arc<Mutex<Vec<Value>>>,
    script: Arc<Mutex<VecDeque<Treatment>>>,
    requests: Arc<Mutex<Vec<String>>>,
    held: watch::Sender<bool>,
}

impl Ledger {
    pub(crate) fn new() -> Self {
        Self {
            taken: Arc::default(),
            script: Arc::default(),
            requests: Arc::default(),
            held: watch::channel(false).0,
        }
    }

    pub(crate) fn expect(&self, treatments: impl IntoIterator<Item = Treatment>) {
        self.script.lock().unwrap().extend(treatments);
    }

    pub(crate) fn next_treatment(&self) -> Treatment {
        let next = self.script.lock().unwrap().pop_front();
        next.unwrap_or(Treatment::Accept)
    }

    /// Note a request by something that tells it from others.
    pub(crate) fn note(&self, request: String) {
        self.requests.lock().unwrap().push(request);
    }

    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    pub(crate) fn take(&self, events: Vec<Value>) {
        self.taken.lock().unwrap().extend(events);
    }

    /// The numbers of the events taken, in order.
    pub(crate) fn numbers(&self) -> Vec<usize> {
        let taken = self.taken.lock().unwrap();
        let number = |event: &Value| usize::try_from(event["n"].as_u64().unwrap()).unwrap();
        taken.iter().map(number).collect()
    }

    /// Each number once, in order.
    pub(crate) fn distinct(&self) -> Vec<usize> {
        let mut numbers = self.numbers();
        numbers.sort_unstable();
        numbers.dedup();
        numbers
    }

    /// Keep every answer back, or no longer.
    pub(crate) fn hold(&self, on: bool) {
        self.held.send_replace(on);
    }

    pub(crate) async fn released(&self) {
        let mut held = self.held.subscribe();
        held.wait_for(|held| !held).await.unwrap();
    }

    /// Wait until so many requests have come.
    pub(crate) async fn has_requests(&self, count: usize) {
        for _ in 0..2_000 {
            if self.requests.lock().unwrap().len() >= count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("fewer than {count} requests");
    }
}
