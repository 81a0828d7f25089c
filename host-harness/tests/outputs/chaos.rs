//! Sender and receiver are killed at random instants, and nothing is lost.

use std::time::Duration;

use host_harness::output::OutputError;

use crate::feed::{Feed, open};
use crate::http_receiver::HttpReceiver;
use crate::receiver::Treatment;

const KILLS: u32 = 30;
const EVENTS_PER_BATCH: usize = 60;

/// What the host does: a batch again and again until it is accepted, then the
/// next. Killed, it begins again with the batch that was not accepted yet.
async fn run(mut receiver: HttpReceiver) {
    let ledger = receiver.ledger.clone();
    let mut random = fastrand::Rng::with_seed(7);
    let mut output = open(&receiver.settings("http", "request_kib = 4")).await;
    let mut accepted = 0;
    let mut kills = 0;
    while kills < KILLS || accepted < 40 {
        let begin = accepted * EVENTS_PER_BATCH;
        let feed = Feed::new(begin..begin + EVENTS_PER_BATCH);
        let delivery = feed.delivery();
        // Answers that take a while, so that there are instants to be hit.
        ledger.expect((0..5).map(|_| Treatment::Late(Duration::from_millis(random.u64(0..6)))));
        let limit = Duration::from_micros(random.u64(100..20_000));
        match tokio::time::timeout(limit, output.accept(&delivery)).await {
            Ok(Ok(())) => {
                accepted += 1;
                let numbers = ledger.distinct();
                let expected: Vec<usize> = (0..begin + EVENTS_PER_BATCH).collect();
                assert_eq!(numbers, expected, "accepted before it was taken");
            }
            Ok(Err(OutputError::Retry(_) | OutputError::Throttled { .. })) => {}
            Ok(Err(error)) => panic!("{error}"),
            Err(_) => {
                kills += 1;
                if random.bool() {
                    output = open(&receiver.settings("http", "request_kib = 4")).await;
                }
                if random.bool() {
                    receiver.kill().await;
                    receiver.restart().await;
                }
            }
        }
    }
}

#[tokio::test]
async fn http_loses_nothing() {
    run(HttpReceiver::start().await).await;
}
