//! What every output that sends promises, whatever it speaks.

use std::time::Duration;

use host_harness::output::OutputError;

use crate::feed::{Feed, SOON, accept, deliver, open};
use crate::http_receiver::HttpReceiver;
use crate::receiver::Treatment;

/// All promises of one output with some settings.
async fn conforms(mut receiver: HttpReceiver, kind: &str, more: &str) {
    accepts_in_order(&receiver, kind, more).await;
    never_accepts_early_and_bounds_what_is_under_way(&receiver, kind, more).await;
    survives_faults(&receiver, kind, more).await;
    survives_a_restart(&mut receiver, kind, more).await;
    close_leaves_nothing_behind(&receiver, kind, more).await;
}

async fn accepts_in_order(receiver: &HttpReceiver, kind: &str, more: &str) {
    let mut output = open(&receiver.settings(kind, &format!("connections = 1\n{more}"))).await;
    for batch in 0..5 {
        let feed = Feed::new(batch * 40..(batch + 1) * 40);
        accept(&mut *output, &feed).await.unwrap();
    }
    let expected: Vec<usize> = (0..200).collect();
    assert_eq!(receiver.ledger.numbers(), expected, "{kind}: order");
}

async fn never_accepts_early_and_bounds_what_is_under_way(
    receiver: &HttpReceiver,
    kind: &str,
    more: &str,
) {
    let size = "request_kib = 1";
    let settings = receiver.settings(kind, &format!("connections = 3\n{size}\n{more}"));
    let mut output = open(&settings).await;
    let ledger = receiver.ledger.clone();
    let before = ledger.requests().len();
    ledger.hold(true);
    let feed = Feed::new(200..300);
    let delivery = feed.delivery();
    let mut accepting = output.accept(&delivery);
    let early = async {
        ledger.has_requests(before + 3).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    tokio::select! {
        result = &mut accepting => panic!("{kind}: accepted too early: {result:?}"),
        () = early => {}
    }
    let under_way = ledger.requests().len() - before;
    assert_eq!(under_way, 3, "{kind}: one part for each connection");
    ledger.hold(false);
    tokio::time::timeout(SOON, accepting)
        .await
        .unwrap()
        .unwrap();
    let expected: Vec<usize> = (0..300).collect();
    assert_eq!(ledger.distinct(), expected, "{kind}");
}

async fn survives_faults(receiver: &HttpReceiver, kind: &str, more: &str) {
    let ledger = receiver.ledger.clone();
    let mut output = open(&receiver.settings(kind, more)).await;
    ledger.expect([
        Treatment::Refuse,
        Treatment::Reset,
        Treatment::TakeAndReset,
        Treatment::Late(Duration::from_millis(50)),
        Treatment::Reset,
    ]);
    for batch in 0..4 {
        let begin = 300 + batch * 50;
        deliver(&mut *output, &Feed::new(begin..begin + 50)).await;
        let expected: Vec<usize> = (0..begin + 50).collect();
        assert_eq!(ledger.distinct(), expected, "{kind}: faults");
    }
}

async fn survives_a_restart(receiver: &mut HttpReceiver, kind: &str, more: &str) {
    let ledger = receiver.ledger.clone();
    let mut output = open(&receiver.settings(kind, more)).await;
    deliver(&mut *output, &Feed::new(500..550)).await;
    receiver.kill().await;
    let feed = Feed::new(550..600);
    let error = accept(&mut *output, &feed).await.unwrap_err();
    assert!(matches!(error, OutputError::Retry(_)), "{kind}: {error:?}");
    receiver.restart().await;
    deliver(&mut *output, &feed).await;
    let expected: Vec<usize> = (0..600).collect();
    assert_eq!(ledger.distinct(), expected, "{kind}: restart");
}

async fn close_leaves_nothing_behind(receiver: &HttpReceiver, kind: &str, more: &str) {
    let mut output = open(&receiver.settings(kind, more)).await;
    deliver(&mut *output, &Feed::new(600..601)).await;
    output.close().await.unwrap();
    drop(output);
    assert_eq!(receiver.ledger.distinct().last(), Some(&600), "{kind}");
}

#[tokio::test]
async fn elasticsearch_keeps_every_promise() {
    conforms(HttpReceiver::start().await, "elasticsearch", "").await;
}

#[tokio::test]
async fn http_keeps_every_promise() {
    conforms(HttpReceiver::start().await, "http", "").await;
}

#[tokio::test]
async fn http_keeps_every_promise_as_compressed_ndjson() {
    let more = "format = \"ndjson\"\ncompression = \"zstd\"";
    conforms(HttpReceiver::start().await, "http", more).await;
}
