//! What `forward` does beside the promises that all outputs share.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use source_outputs::OutputError;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::forward_receiver::{
    ForwardReceiver, ForwardReceiverConfig, acknowledge, start_silent_receiver,
};
use crate::receiver::{Treatment, listen_again};
use crate::test_delivery::{TestDelivery, accept, deliver, open, refusal};

const KEY: &str = "shared_key = \"a key\"\n";

async fn keyed(config: ForwardReceiverConfig) -> ForwardReceiver {
    ForwardReceiver::start(ForwardReceiverConfig {
        shared_key: Some("a key"),
        ..config
    })
    .await
}

async fn error_with(receiver: &ForwardReceiver, settings: &str) -> OutputError {
    let mut output = open(&receiver.settings(settings)).await;
    accept(&mut *output, &TestDelivery::new(0..1))
        .await
        .unwrap_err()
}

#[tokio::test]
async fn a_refused_frame_comes_again_with_the_same_chunk() {
    let receiver = ForwardReceiver::start(ForwardReceiverConfig::default()).await;
    receiver.state.script([Treatment::Refuse, Treatment::Reset]);
    let mut output = open(&receiver.settings("")).await;
    deliver(&mut *output, &TestDelivery::new(0..10)).await;
    let chunks = receiver.state.requests();
    assert_eq!(chunks.len(), 3);
    assert!(chunks.iter().all(|chunk| *chunk == chunks[0]), "{chunks:?}");
    assert_eq!(receiver.state.numbers().len(), 10);
}

#[tokio::test]
async fn what_was_acknowledged_is_not_sent_again_with_the_rest() {
    let receiver = ForwardReceiver::start(ForwardReceiverConfig::default()).await;
    receiver
        .state
        .script([Treatment::Accept, Treatment::Refuse]);
    let mut output = open(&receiver.settings("connections = 1\nframe_kib = 1")).await;
    deliver(&mut *output, &TestDelivery::new(0..30)).await;
    let expected: Vec<usize> = (0..30).collect();
    assert_eq!(receiver.state.numbers(), expected);
}

#[tokio::test]
async fn a_receiver_that_pauses_gets_everything_when_it_goes_on() {
    let receiver = ForwardReceiver::start(ForwardReceiverConfig::default()).await;
    let mut output = open(&receiver.settings("connections = 1\nack_timeout_secs = 1")).await;
    accept(&mut *output, &TestDelivery::new(0..5))
        .await
        .unwrap();
    receiver.pause(true);
    let test_delivery = TestDelivery::new(5..10);
    // The open connection is reset; the next is never answered.
    let mut reasons = Vec::new();
    for _ in 0..2 {
        let error = accept(&mut *output, &test_delivery).await.unwrap_err();
        assert!(matches!(error, OutputError::Retry(_)), "{error:?}");
        reasons.push(error.to_string());
    }
    assert!(reasons[1].contains("no acknowledgement"), "{reasons:?}");
    receiver.pause(false);
    deliver(&mut *output, &test_delivery).await;
    assert_eq!(receiver.state.distinct(), (0..10).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_frame_that_was_read_in_part_comes_again_whole() {
    let receiver = ForwardReceiver::start(ForwardReceiverConfig::default()).await;
    receiver.state.script([Treatment::ResetMidRequest]);
    let mut output = open(&receiver.settings("connections = 1")).await;
    let test_delivery = TestDelivery::new(0..50);
    let error = accept(&mut *output, &test_delivery).await.unwrap_err();
    assert!(matches!(error, OutputError::Retry(_)), "{error:?}");
    assert_eq!(receiver.state.count(), 0);
    deliver(&mut *output, &test_delivery).await;
    assert_eq!(receiver.state.numbers(), (0..50).collect::<Vec<_>>());
}

#[tokio::test]
async fn half_an_acknowledgement_is_none() {
    let receiver = ForwardReceiver::start(ForwardReceiverConfig::default()).await;
    receiver.state.script([Treatment::RespondHalf]);
    let mut output = open(&receiver.settings("connections = 1")).await;
    let error = accept(&mut *output, &TestDelivery::new(0..5))
        .await
        .unwrap_err();
    assert!(
        matches!(&error, OutputError::Retry(said) if said.contains("closed the connection")),
        "{error:?}"
    );
}

#[tokio::test]
async fn no_acknowledgement_in_time_is_no_acceptance() {
    let (address, _open) = start_silent_receiver().await;
    let settings = format!("type = \"forward\"\naddress = \"{address}\"\nack_timeout_secs = 1");
    let mut output = open(&settings).await;
    let begun = Instant::now();
    let error = accept(&mut *output, &TestDelivery::new(0..1))
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("no acknowledgement has come in 1 s"),
        "{error}"
    );
    assert!(begun.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn a_server_without_a_greeting_is_named() {
    let (address, _open) = start_silent_receiver().await;
    let settings =
        format!("type = \"forward\"\naddress = \"{address}\"\nhandshake_timeout_secs = 1\n{KEY}");
    let mut output = open(&settings).await;
    let error = accept(&mut *output, &TestDelivery::new(0..1))
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("no HELO has come in 1 s"),
        "{error}"
    );
    assert!(error.to_string().contains("Vector"), "{error}");
}

/// Starts a receiver that sends a HELO without options to each connection, reads the PING, and
/// responds with these bytes. It leaves the connections open.
async fn start_greeting_receiver(response: &'static [u8]) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            stream.write_all(b"\x92\xa4HELO\x80").await.unwrap();
            drop(stream.read(&mut [0; 1_024]).await);
            stream.write_all(response).await.unwrap();
            open.push(stream);
        }
    });
    (address, task)
}

#[tokio::test]
async fn what_is_missing_in_a_handshake_is_named() {
    for (response, reason) in [
        (&b""[..], "has sent a HELO, but no PONG has come in 1 s"),
        // The first half of a PONG.
        (
            b"\x95\xa4PONG",
            "has sent a HELO, but no PONG has come in 1 s",
        ),
        // Arrays nested more deeply than is read.
        (&[0x91; 2_000], "is it a Forward receiver?"),
    ] {
        let (address, receiver) = start_greeting_receiver(response).await;
        let settings = format!(
            "type = \"forward\"\naddress = \"{address}\"\nconnections = 1\n\
             handshake_timeout_secs = 1\n{KEY}"
        );
        let mut output = open(&settings).await;
        for attempt in 1..=3 {
            let error = accept(&mut *output, &TestDelivery::new(0..1))
                .await
                .unwrap_err()
                .to_string();
            assert!(error.contains(reason), "{attempt}: {error}");
            for untrue in ["no HELO", "shared_key"] {
                assert!(!error.contains(untrue), "{attempt}: {error}");
            }
        }
        receiver.abort();
    }
}

#[tokio::test]
async fn a_server_with_a_key_we_do_not_have_is_named() {
    let receiver = keyed(ForwardReceiverConfig::default()).await;
    let error = error_with(&receiver, "").await;
    assert!(
        matches!(&error, OutputError::ActionRequired(said) if said.contains("set shared_key")),
        "{error}"
    );
}

#[tokio::test]
async fn a_wrong_key_and_a_wrong_password_are_told() {
    let receiver = keyed(ForwardReceiverConfig::default()).await;
    let error = error_with(&receiver, "shared_key = \"wrong\"").await;
    assert!(
        error.to_string().contains("if shared_key is wrong"),
        "{error}"
    );

    let user = Some(("ann", "secret"));
    let receiver = keyed(ForwardReceiverConfig {
        user,
        ..ForwardReceiverConfig::default()
    })
    .await;
    let wrong = format!("{KEY}username = \"ann\"\npassword = \"wrong-one\"");
    let error = error_with(&receiver, &wrong).await;
    assert!(
        matches!(&error, OutputError::ActionRequired(said) if said.contains("username/password mismatch")),
        "{error}"
    );
    assert!(!error.to_string().contains("wrong-one"));
}

#[tokio::test]
async fn a_receiver_that_cannot_prove_the_key_gets_no_events() {
    let receiver = keyed(ForwardReceiverConfig {
        impostor: true,
        ..ForwardReceiverConfig::default()
    })
    .await;
    let error = error_with(&receiver, KEY).await;
    assert!(
        matches!(&error, OutputError::ActionRequired(said) if said.contains("has another shared_key"))
    );
    assert!(receiver.state.requests().is_empty());
}

#[tokio::test]
async fn a_connection_for_one_frame_is_not_used_twice() {
    let receiver = keyed(ForwardReceiverConfig {
        one_frame: true,
        ..ForwardReceiverConfig::default()
    })
    .await;
    let mut output = open(&receiver.settings(KEY)).await;
    for batch in 0..3 {
        accept(&mut *output, &TestDelivery::new(batch..batch + 1))
            .await
            .unwrap();
    }
    assert_eq!(receiver.state.numbers(), [0, 1, 2]);
}

#[tokio::test]
async fn a_connection_that_was_closed_meanwhile_is_opened_again_at_once() {
    let mut receiver = ForwardReceiver::start(ForwardReceiverConfig::default()).await;
    let mut output = open(&receiver.settings("connections = 1")).await;
    accept(&mut *output, &TestDelivery::new(0..1))
        .await
        .unwrap();
    receiver.kill().await;
    receiver.restart().await;
    // The runtime looks at the socket, which is closed at the other end.
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    accept(&mut *output, &TestDelivery::new(1..2))
        .await
        .unwrap();
    assert_eq!(receiver.state.numbers(), [0, 1]);
}

/// Vector waits up to 30 s for that when it stops.
#[tokio::test]
async fn a_receiver_that_closes_its_half_gets_the_end_of_an_idle_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let settings = format!("type = \"forward\"\naddress = \"{address}\"\nconnections = 1");
    let mut output = open(&settings).await;
    let receiver = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        acknowledge(&mut stream).await;
        stream.shutdown().await.unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.unwrap();
        rest.len()
    });
    accept(&mut *output, &TestDelivery::new(0..1))
        .await
        .unwrap();
    // Below the time after which an idle connection is closed in any case.
    let ended = tokio::time::timeout(Duration::from_secs(30), receiver).await;
    assert_eq!(ended.expect("the connection ends").unwrap(), 0);
}

#[tokio::test]
async fn a_receiver_that_ends_every_handshake_is_blocked_and_one_that_stops_is_not() {
    let mut receiver = keyed(ForwardReceiverConfig::default()).await;
    let mut output = open(&receiver.settings("connections = 1\nshared_key = \"wrong\"")).await;
    let test_delivery = TestDelivery::new(0..1);
    for attempt in 1..=4 {
        let error = accept(&mut *output, &test_delivery).await.unwrap_err();
        let blocked = matches!(error, OutputError::ActionRequired(_));
        assert_eq!(blocked, attempt >= 3, "{attempt}: {error:?}");
    }

    let mut output = open(&receiver.settings(&format!("connections = 1\n{KEY}"))).await;
    accept(&mut *output, &test_delivery).await.unwrap();
    receiver.kill().await;
    let listener = listen_again(receiver.address).await;
    let ends_handshakes = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            // A HELO with an empty map of options, and nothing after it.
            stream.write_all(b"\x92\xa4HELO\x80").await.unwrap();
            drop(stream.read(&mut [0; 1_024]).await);
        }
    });
    for attempt in 1..=4 {
        let error = accept(&mut *output, &test_delivery).await.unwrap_err();
        assert!(
            matches!(&error, OutputError::Retry(reason) if reason.contains("shared_key")),
            "{attempt}: {error:?}"
        );
    }
    ends_handshakes.abort();
}

#[tokio::test]
async fn what_no_receiver_takes_is_undeliverable_and_the_rest_is_accepted() {
    let receiver = ForwardReceiver::start(ForwardReceiverConfig::default()).await;
    let mut output = open(&receiver.settings("event_kib_max = 1")).await;
    let mut test_delivery = TestDelivery::new(0..3);
    test_delivery.push("[\"no\", \"object\"]");
    test_delivery.push(&format!("{{\"n\":4,\"long\":\"{}\"}}", "x".repeat(300_000)));
    test_delivery.push("{\"n\":5}");
    // In one frame with others.
    for id in 6..8 {
        test_delivery.push(&format!(
            "{{\"n\":{id},\"long\":\"{}\"}}",
            "x".repeat(1_024)
        ));
    }
    let error = accept(&mut *output, &test_delivery).await.unwrap_err();
    let OutputError::Undeliverable(undeliverable_events) = error else {
        panic!("{error}");
    };
    let places: Vec<usize> = undeliverable_events
        .iter()
        .map(|undeliverable| undeliverable.index)
        .collect();
    assert_eq!(places, [3, 4, 6, 7]);
    assert_eq!(receiver.state.distinct(), [0, 1, 2, 5]);
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let refuse = |more: &str| refusal(&format!("type = \"forward\"\n{more}"));
    assert!(refuse("").contains("`address` is missing"));
    assert!(refuse("address = \"http://x\"").contains("host:port"));
    let at = |more: &str| refuse(&format!("address = \"localhost\"\n{more}"));
    assert!(at("compression = \"zstd\"").contains("none, gzip"));
    assert!(at("tag = \"a.{x}\"").contains("{x}"));
    assert!(at("username = \"a\"").contains("needs password"));
    assert!(at("ca_file = \"x\"").contains("`tls` must be true"));
    assert!(at("conections = 1").contains("did you mean `connections`?"));
}
