//! Sender and receiver are killed at random instants, and nothing is lost.

use std::time::Duration;

use source_outputs::OutputError;

use crate::forward_receiver::{ForwardReceiver, ForwardReceiverConfig};
use crate::http_receiver::HttpReceiver;
use crate::receiver::{ReceiverState, Treatment};
use crate::test_delivery::{TestDelivery, open};

const KILLS: u32 = 30;
const EVENTS_PER_BATCH: usize = 60;

enum Receiver {
    Forward(ForwardReceiver),
    Http(HttpReceiver),
}

impl Receiver {
    fn state(&self) -> ReceiverState {
        match self {
            Self::Forward(receiver) => receiver.state.clone(),
            Self::Http(receiver) => receiver.state.clone(),
        }
    }

    fn settings(&self) -> String {
        match self {
            Self::Forward(receiver) => receiver.settings("frame_kib = 4"),
            Self::Http(receiver) => receiver.settings("http", "request_kib = 4"),
        }
    }

    async fn restart(&mut self) {
        match self {
            Self::Forward(receiver) => {
                receiver.kill().await;
                receiver.restart().await;
            }
            Self::Http(receiver) => {
                receiver.kill().await;
                receiver.restart().await;
            }
        }
    }
}

/// What the host does: a batch again and again until it is accepted, then the
/// next. Killed, it begins again with the batch that was not accepted yet. It
/// is killed when the receiver has taken a number of events, so that a busy
/// machine makes it slower and nothing else.
async fn run(mut receiver: Receiver) {
    let state = receiver.state();
    let mut random = fastrand::Rng::with_seed(7);
    let mut output = open(&receiver.settings()).await;
    let mut accepted = 0;
    let mut kills = 0;
    while kills < KILLS || accepted < 40 {
        let begin = accepted * EVENTS_PER_BATCH;
        let test_delivery = TestDelivery::new(begin..begin + EVENTS_PER_BATCH);
        let delivery = test_delivery.delivery();
        // Responses that take a while, so that there are instants to be hit.
        state.script((0..5).map(|_| Treatment::Late(Duration::from_millis(random.u64(0..6)))));
        let requests = state.requests().len() + random.usize(0..3);
        let events = state.count() + random.usize(0..EVENTS_PER_BATCH * 2);
        let killed = async {
            state.wait_for_requests(requests).await;
            state.wait_for_events(events).await;
        };
        tokio::select! {
            biased;
            () = killed => {
                kills += 1;
                if random.bool() {
                    output = open(&receiver.settings()).await;
                }
                if random.bool() {
                    receiver.restart().await;
                }
            }
            result = output.accept(&delivery) => match result {
                Ok(()) => {
                    accepted += 1;
                    let numbers = state.distinct();
                    let expected: Vec<usize> = (0..begin + EVENTS_PER_BATCH).collect();
                    assert_eq!(numbers, expected, "accepted before it was taken");
                }
                Err(OutputError::RetryAfterProgress(_) | OutputError::Retry(_) | OutputError::Throttled { .. }) => {}
                Err(error) => panic!("{error}"),
            },
        }
    }
}

#[tokio::test]
async fn forward_loses_nothing() {
    run(Receiver::Forward(
        ForwardReceiver::start(ForwardReceiverConfig::default()).await,
    ))
    .await;
}

#[tokio::test]
async fn http_loses_nothing() {
    run(Receiver::Http(HttpReceiver::start().await)).await;
}
