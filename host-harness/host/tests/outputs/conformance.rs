//! Promises that every output keeps, whatever its protocol.

use source_outputs::OutputError;

use crate::forward_receiver::{ForwardReceiver, ForwardReceiverConfig};
use crate::http_receiver::HttpReceiver;
use crate::peers::{AfterKill, CONNECTIONS, Directory, Nats, Peer, Pipe, Purpose, Scripted};
use crate::test_delivery::{DEADLINE, TestDelivery, accept, deliver, report_skipped_test};

/// All promises of one output with some settings.
async fn conforms(mut peer: impl Peer) {
    accepts_in_order(&mut peer).await;
    never_accepts_early_and_bounds_what_is_in_flight(&mut peer).await;
    survives_faults(&mut peer).await;
    survives_a_restart(&mut peer).await;
    close_leaves_nothing_behind(&mut peer).await;
}

async fn accepts_in_order(peer: &mut impl Peer) {
    let mut output = peer.open(Purpose::Order).await;
    for batch in 0..5 {
        let test_delivery = TestDelivery::new(batch * 40..(batch + 1) * 40);
        accept(&mut *output, &test_delivery).await.unwrap();
    }
    let expected: Vec<usize> = (0..200).collect();
    assert_eq!(peer.numbers().await, expected);
}

async fn never_accepts_early_and_bounds_what_is_in_flight(peer: &mut impl Peer) {
    let mut output = peer.open(Purpose::Hold).await;
    let before = peer.parts().await.unwrap_or(0);
    let _ = peer.take_in_flight_max().await;
    // More than a pipe holds.
    let test_delivery = TestDelivery::new(200..600);
    let delivery = test_delivery.delivery();
    let is_held = peer.hold().await;
    let mut accepting = output.accept(&delivery);
    if is_held {
        let early = async {
            // As many as there can be: no response has been given.
            peer.wait_for_parts(before + CONNECTIONS).await;
            // Everything that can go on without a response does so.
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            result = &mut accepting => panic!("accepted too early: {result:?}"),
            () = early => {}
        }
    }
    peer.release().await;
    tokio::time::timeout(DEADLINE, accepting)
        .await
        .unwrap()
        .unwrap();
    if let Some(max) = peer.take_in_flight_max().await {
        assert_eq!(max, CONNECTIONS, "one part for each connection");
    }
    assert_has_all(peer, 600).await;
}

async fn survives_faults(peer: &mut impl Peer) {
    let mut output = peer.open(Purpose::Faults).await;
    for begin in (600..800).step_by(50) {
        if begin % 100 == 0 {
            peer.fail().await;
        }
        let test_delivery = TestDelivery::new(begin..begin + 50);
        let first = accept(&mut *output, &test_delivery).await;
        peer.recover().await;
        if first.is_err() {
            deliver(&mut *output, &test_delivery).await;
        }
        assert_has_all(peer, begin + 50).await;
    }
}

async fn survives_a_restart(peer: &mut impl Peer) {
    let mut output = peer.open(Purpose::Faults).await;
    deliver(&mut *output, &TestDelivery::new(800..850)).await;
    let gone = peer.kill().await;
    let test_delivery = TestDelivery::new(850..900);
    let error = accept(&mut *output, &test_delivery).await.unwrap_err();
    match gone {
        AfterKill::Retry => assert!(matches!(error, OutputError::Retry(_)), "{error:?}"),
        AfterKill::Closed => {
            assert!(matches!(error, OutputError::Closed), "{error:?}");
            output = peer.open(Purpose::Faults).await;
        }
    }
    peer.restart().await;
    deliver(&mut *output, &test_delivery).await;
    assert_has_all(peer, 900).await;
}

async fn close_leaves_nothing_behind(peer: &mut impl Peer) {
    let mut output = peer.open(Purpose::Faults).await;
    deliver(&mut *output, &TestDelivery::new(900..901)).await;
    output.close().await.unwrap();
    drop(output);
    assert_has_all(peer, 901).await;
}

/// Nothing that was accepted is missing; it may be there again.
async fn assert_has_all(peer: &impl Peer, count: usize) {
    let mut numbers = peer.numbers().await;
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers, (0..count).collect::<Vec<_>>());
}

async fn forward(config: ForwardReceiverConfig, more: &'static str) {
    let receiver = ForwardReceiver::start(config).await;
    let kind = "forward";
    conforms(Scripted {
        receiver,
        kind,
        more,
    })
    .await;
}

async fn http(kind: &'static str, more: &'static str) {
    let receiver = HttpReceiver::start().await;
    conforms(Scripted {
        receiver,
        kind,
        more,
    })
    .await;
}

#[tokio::test]
async fn elasticsearch_keeps_every_promise() {
    http("elasticsearch", "").await;
}

#[tokio::test]
async fn file_keeps_every_promise() {
    conforms(Directory::new()).await;
}

#[tokio::test]
async fn forward_keeps_every_promise() {
    forward(ForwardReceiverConfig::default(), "").await;
}

#[tokio::test]
async fn forward_keeps_every_promise_compressed() {
    forward(ForwardReceiverConfig::default(), "compression = \"gzip\"").await;
}

#[tokio::test]
async fn forward_keeps_every_promise_with_a_login() {
    let config = ForwardReceiverConfig {
        shared_key: Some("a key"),
        user: Some(("ann", "secret")),
        ..ForwardReceiverConfig::default()
    };
    let login = "shared_key = \"a key\"\nusername = \"ann\"\npassword = \"secret\"";
    forward(config, login).await;
}

#[tokio::test]
async fn http_keeps_every_promise() {
    http("http", "").await;
}

#[tokio::test]
async fn http_keeps_every_promise_as_compressed_ndjson() {
    http("http", "format = \"ndjson\"\ncompression = \"zstd\"").await;
}

#[tokio::test]
async fn nats_keeps_every_promise() {
    match Nats::start().await {
        Some(peer) => conforms(peer).await,
        None => report_skipped_test("nats-server is not installed"),
    }
}

#[tokio::test]
async fn otlp_keeps_every_promise() {
    http("otlp", "compression = \"gzip\"").await;
}

#[tokio::test]
async fn splunk_keeps_every_promise() {
    http("splunk", "").await;
}

#[tokio::test]
async fn stdout_keeps_every_promise() {
    conforms(Pipe::new()).await;
}
