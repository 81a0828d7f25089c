//! `nats` against a real nats-server, which `NATS_SERVER` names or the path
//! has; left out with a line where there is none.

use std::task::Poll;

use async_nats::jetstream;
use async_nats::jetstream::stream::{Config, Stream};
use serde_json::Value;
use source_outputs::OutputError;

use crate::nats_server::Server;
use crate::test_delivery::{
    DEADLINE, TestDelivery, accept, body, deliver, number, open, report_skipped_test,
};

async fn context(port: u16) -> jetstream::Context {
    let client = async_nats::ConnectOptions::new()
        .user_and_password("ann".to_owned(), "secret".to_owned())
        .connect(format!("nats://127.0.0.1:{port}"))
        .await
        .unwrap();
    jetstream::new(client)
}

fn stream_config() -> Config {
    Config {
        name: "MIMECAST".to_owned(),
        subjects: vec!["mimecast.>".to_owned()],
        ..Config::default()
    }
}

/// Creates the stream of these tests, without messages.
pub(crate) async fn create_stream(port: u16) {
    let context = context(port).await;
    context.create_stream(stream_config()).await.unwrap();
    assert_eq!(message_count(port).await, 0);
}

async fn stream(port: u16) -> Stream {
    let context = context(port).await;
    context.get_stream("MIMECAST").await.unwrap()
}

pub(crate) async fn message_count(port: u16) -> u64 {
    let mut stream = stream(port).await;
    stream.info().await.unwrap().state.messages
}

/// The numbers of the events that are stored, in order.
pub(crate) async fn numbers(port: u16) -> Vec<usize> {
    let stream = stream(port).await;
    let mut numbers = Vec::new();
    for sequence in 1..=message_count(port).await {
        let message = stream.get_raw_message(sequence).await.unwrap();
        let event: Value = serde_json::from_slice(&message.payload).unwrap();
        numbers.push(number(&event));
    }
    numbers
}

#[tokio::test]
async fn jetstream_takes_every_event_once() {
    let directory = tempfile::tempdir().unwrap();
    let Some(mut server) = Server::start(directory.path(), None).await else {
        return report_skipped_test("nats-server is not installed");
    };
    let port = server.port;
    let settings = server.settings("password = \"secret\"\nack_timeout_secs = 2");
    let mut output = open(&settings).await;
    let error = accept(&mut *output, &TestDelivery::new(0..1))
        .await
        .unwrap_err();
    assert!(
        matches!(&error, OutputError::Retry(said) if said.contains("no JetStream stream")),
        "{error}"
    );

    create_stream(port).await;
    let test_delivery = TestDelivery::new(0..700);
    deliver(&mut *output, &test_delivery).await;
    assert_eq!(message_count(port).await, 700);
    // A new run repeats what it does not know to be accepted.
    let mut again = open(&settings).await;
    deliver(&mut *again, &test_delivery).await;
    assert_eq!(message_count(port).await, 700);

    let mut large = TestDelivery::new(700..701);
    large.push(&format!("{{\"long\":\"{}\"}}", "x".repeat(1_200_000)));
    large.push(&body(701));
    let error = accept(&mut *output, &large).await.unwrap_err();
    assert!(
        matches!(&error, OutputError::Undeliverable(undeliverable_events) if undeliverable_events[0].index == 1),
        "{error}"
    );
    assert_eq!(message_count(port).await, 702);

    server.kill();
    let test_delivery = TestDelivery::new(702..800);
    let error = accept(&mut *output, &test_delivery).await.unwrap_err();
    assert!(matches!(error, OutputError::Retry(_)), "{error}");
    let restarted = Server::start(directory.path(), Some(port)).await;
    deliver(&mut *output, &test_delivery).await;
    assert_eq!(message_count(port).await, 800);
    drop(restarted);
}

#[tokio::test]
async fn a_server_that_is_killed_ends_the_wait_for_its_acknowledgements() {
    let directory = tempfile::tempdir().unwrap();
    let Some(mut server) = Server::start(directory.path(), None).await else {
        return report_skipped_test("nats-server is not installed");
    };
    let port = server.port;
    create_stream(port).await;
    // Longer than any test waits.
    let settings = server.settings("password = \"secret\"\nack_timeout_secs = 3600");
    let mut output = open(&settings).await;
    accept(&mut *output, &TestDelivery::new(0..1))
        .await
        .unwrap();
    // It takes no event, and its connections are open.
    server.suspend().await;
    let test_delivery = TestDelivery::new(1..100);
    let delivery = test_delivery.delivery();
    let mut waiting = output.accept(&delivery);
    // Polled once, so that the events are on their way.
    let is_waiting =
        std::future::poll_fn(|cx| Poll::Ready(waiting.as_mut().poll(cx).is_pending())).await;
    assert!(is_waiting);
    server.kill();
    let result = tokio::time::timeout(DEADLINE, &mut waiting).await;
    let error = result.expect("the wait ends").unwrap_err();
    assert!(
        matches!(&error, OutputError::Retry(said) if said.contains("connection was lost")),
        "{error:?}"
    );
    drop(waiting);
    let restarted = Server::start(directory.path(), Some(port)).await;
    deliver(&mut *output, &test_delivery).await;
    assert_eq!(message_count(port).await, 100);
    drop(restarted);
}

#[tokio::test]
async fn refused_credentials_block_the_output() {
    let directory = tempfile::tempdir().unwrap();
    let Some(server) = Server::start(directory.path(), None).await else {
        return report_skipped_test("nats-server is not installed");
    };
    let mut output = open(&server.settings("password = \"wrong\"")).await;
    let error = accept(&mut *output, &TestDelivery::new(0..1))
        .await
        .unwrap_err();
    assert!(
        matches!(&error, OutputError::ActionRequired(_)),
        "{error:?}"
    );
}

#[tokio::test]
async fn an_event_above_the_limit_of_the_stream_is_rejected_and_the_others_are_stored() {
    let directory = tempfile::tempdir().unwrap();
    let Some(server) = Server::start(directory.path(), None).await else {
        return report_skipped_test("nats-server is not installed");
    };
    let config = Config {
        max_message_size: 1_000,
        ..stream_config()
    };
    let context = context(server.port).await;
    context.create_stream(config).await.unwrap();
    let mut output = open(&server.settings("password = \"secret\"")).await;
    let mut test_delivery = TestDelivery::new(0..1);
    test_delivery.push(&format!("{{\"long\":\"{}\"}}", "x".repeat(2_000)));
    test_delivery.push(&body(1));
    let error = accept(&mut *output, &test_delivery).await.unwrap_err();
    let OutputError::Undeliverable(undeliverable_events) = error else {
        panic!("{error:?}");
    };
    assert_eq!(undeliverable_events.len(), 1);
    assert_eq!(undeliverable_events[0].index, 1);
    let reason = &undeliverable_events[0].reason;
    assert!(reason.contains("`max_msg_size`"), "{reason}");
    assert_eq!(numbers(server.port).await, [0, 1]);
}
