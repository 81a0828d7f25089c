//! What every output that sends promises, whatever it speaks.

use std::time::Duration;

use host_harness::output::OutputError;

use crate::feed::{Feed, SOON, accept, deliver, open};
use crate::forward_receiver::{Demands, ForwardReceiver};
use crate::http_receiver::HttpReceiver;
use crate::receiver::{Ledger, Treatment};

enum Receiver {
    Forward(ForwardReceiver),
    Http(HttpReceiver),
}

impl Receiver {
    async fn forward() -> Self {
        Self::Forward(ForwardReceiver::start(Demands::default()).await)
    }

    async fn http() -> Self {
        Self::Http(HttpReceiver::start().await)
    }

    fn ledger(&self) -> Ledger {
        match self {
            Self::Forward(receiver) => receiver.ledger.clone(),
            Self::Http(receiver) => receiver.ledger.clone(),
        }
    }

    fn settings(&self, kind: &str, more: &str) -> String {
        match self {
            Self::Forward(receiver) => receiver.settings(more),
            Self::Http(receiver) => receiver.settings(kind, more),
        }
    }

    async fn kill(&mut self) {
        match self {
            Self::Forward(receiver) => receiver.kill().await,
            Self::Http(receiver) => receiver.kill().await,
        }
    }

    async fn restart(&mut self) {
        match self {
            Self::Forward(receiver) => receiver.restart().await,
            Self::Http(receiver) => receiver.restart().await,
        }
    }
}

/// All promises of one output with some settings.
async fn conforms(mut receiver: Receiver, kind: &str, more: &str) {
    accepts_in_order(&receiver, kind, more).await;
    never_accepts_early_and_bounds_what_is_under_way(&receiver, kind, more).await;
    survives_faults(&receiver, kind, more).await;
    survives_a_restart(&mut receiver, kind, more).await;
    close_leaves_nothing_behind(&receiver, kind, more).await;
}

async fn accepts_in_order(receiver: &Receiver, kind: &str, more: &str) {
    let mut output = open(&receiver.settings(kind, &format!("connections = 1\n{more}"))).await;
    for batch in 0..5 {
        let feed = Feed::new(batch * 40..(batch + 1) * 40);
        accept(&mut *output, &feed).await.unwrap();
    }
    let expected: Vec<usize> = (0..200).collect();
    assert_eq!(receiver.ledger().numbers(), expected, "{kind}: order");
}

async fn never_accepts_early_and_bounds_what_is_under_way(
    receiver: &Receiver,
    kind: &str,
    more: &str,
) {
    let size = match receiver {
        Receiver::Forward(_) => "frame_kib = 1",
        Receiver::Http(_) => "request_kib = 1",
    };
    let settings = receiver.settings(kind, &format!("connections = 3\n{size}\n{more}"));
    let mut output = open(&settings).await;
    let ledger = receiver.ledger();
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

async fn survives_faults(receiver: &Receiver, kind: &str, more: &str) {
    let ledger = receiver.ledger();
    let mut output = open(&receiver.settings(kind, more)).await;
    ledger.expect([
        Treatment::Refuse,
        Treatment::Reset,
        Treatment::BreakOff,
        Treatment::HalfAnswer,
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

async fn survives_a_restart(receiver: &mut Receiver, kind: &str, more: &str) {
    let ledger = receiver.ledger();
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

async fn close_leaves_nothing_behind(receiver: &Receiver, kind: &str, more: &str) {
    let mut output = open(&receiver.settings(kind, more)).await;
    deliver(&mut *output, &Feed::new(600..601)).await;
    output.close().await.unwrap();
    drop(output);
    assert_eq!(receiver.ledger().distinct().last(), Some(&600), "{kind}");
}

#[tokio::test]
async fn elasticsearch_keeps_every_promise() {
    conforms(Receiver::http().await, "elasticsearch", "").await;
}

#[tokio::test]
async fn forward_keeps_every_promise() {
    conforms(Receiver::forward().await, "forward", "").await;
}

#[tokio::test]
async fn forward_keeps_every_promise_compressed() {
    conforms(
        Receiver::forward().await,
        "forward",
        "compression = \"gzip\"",
    )
    .await;
}

#[tokio::test]
async fn forward_keeps_every_promise_with_a_login() {
    let demands = Demands {
        shared_key: Some("a key"),
        user: Some(("ann", "secret")),
        ..Demands::default()
    };
    let receiver = Receiver::Forward(ForwardReceiver::start(demands).await);
    let login = "shared_key = \"a key\"\nusername = \"ann\"\npassword = \"secret\"";
    conforms(receiver, "forward", login).await;
}

#[tokio::test]
async fn http_keeps_every_promise() {
    conforms(Receiver::http().await, "http", "").await;
}

#[tokio::test]
async fn http_keeps_every_promise_as_compressed_ndjson() {
    let more = "format = \"ndjson\"\ncompression = \"zstd\"";
    conforms(Receiver::http().await, "http", more).await;
}

#[tokio::test]
async fn otlp_keeps_every_promise() {
    conforms(Receiver::http().await, "otlp", "compression = \"gzip\"").await;
}

#[tokio::test]
async fn splunk_keeps_every_promise() {
    conforms(Receiver::http().await, "splunk", "").await;
}
