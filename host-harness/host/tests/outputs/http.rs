//! What `http` and its relatives do beside the promises that all share.

use std::time::Duration;

use source_outputs::OutputError;

use crate::http_receiver::HttpReceiver;
use crate::receiver::Treatment;
use crate::test_delivery::{TestDelivery, accept, body, deliver, open, refusal};

#[tokio::test]
async fn an_event_that_makes_the_request_bad_is_found_and_the_others_are_accepted() {
    let receiver = HttpReceiver::start().await;
    let mut output = open(&receiver.settings("http", "connections = 1")).await;
    let mut test_delivery = TestDelivery::empty();
    for id in 0..100 {
        match id {
            13 | 77 => test_delivery.push("{\"poison\":true}"),
            _ => test_delivery.push(&body(id)),
        }
    }
    let error = accept(&mut *output, &test_delivery).await.unwrap_err();
    let OutputError::Undeliverable(undeliverable_events) = error else {
        panic!("{error}");
    };
    let places: Vec<usize> = undeliverable_events
        .iter()
        .map(|undeliverable| undeliverable.index)
        .collect();
    assert_eq!(places, [13, 77]);
    assert!(
        undeliverable_events[0].reason.contains("400 cannot decode"),
        "{}",
        undeliverable_events[0].reason
    );
    let expected: Vec<usize> = (0..100).filter(|id| *id != 13 && *id != 77).collect();
    assert_eq!(receiver.state.numbers(), expected);
}

#[tokio::test]
async fn refused_credentials_block_the_output_until_they_are_accepted() {
    let receiver = HttpReceiver::start().await;
    let login = "username = \"ann\"\npassword = \"secret\"";
    let mut output = open(&receiver.settings("http", login)).await;
    let test_delivery = TestDelivery::new(0..2);
    for status in [401, 403, 407] {
        receiver
            .state
            .script([Treatment::Respond(status, Vec::new(), "who are you")]);
        let error = accept(&mut *output, &test_delivery).await.unwrap_err();
        assert!(
            matches!(&error, OutputError::ActionRequired(said) if said.contains("credentials are refused")),
            "{error:?}"
        );
    }
    accept(&mut *output, &test_delivery).await.unwrap();
    assert_eq!(receiver.state.numbers(), [0, 1]);
    assert_eq!(
        receiver.state.requests()[0],
        "/ application/json Basic YW5uOnNlY3JldA=="
    );
}

/// None of it counts: the events come again.
#[tokio::test]
async fn a_success_that_is_not_of_the_documented_form_accepts_nothing() {
    let page = "<!DOCTYPE html><html><title>Log in</title></html>";
    for (kind, status, body) in [
        ("elasticsearch", 200, page),
        ("elasticsearch", 200, ""),
        ("elasticsearch", 200, "{\"errors\":false}"),
        ("elasticsearch", 200, "{\"errors\":false,\"items\":[]}"),
        (
            "elasticsearch",
            200,
            "{\"errors\":false,\"items\":[{\"index\":{\"_id\":\"id-0\",\"status\":201}},{\"index\":{\"_id\":\"id-1\",\"status\":201}}]}",
        ),
        ("http", 200, page),
        ("http", 207, ""),
        ("otlp", 200, page),
        ("otlp", 200, "OK"),
        ("splunk", 200, page),
        ("splunk", 200, ""),
        ("splunk", 200, "{\"text\":\"Server is busy\",\"code\":9}"),
        ("splunk", 200, "{\"text\":\"Success\"}"),
    ] {
        let receiver = HttpReceiver::start().await;
        receiver
            .state
            .script([Treatment::Respond(status, Vec::new(), body)]);
        let mut output = open(&receiver.settings(kind, "connections = 1")).await;
        let test_delivery = TestDelivery::new(0..2);
        let error = accept(&mut *output, &test_delivery).await.unwrap_err();
        assert!(
            matches!(error, OutputError::Retry(_)),
            "{kind} {body}: {error:?}"
        );
        accept(&mut *output, &test_delivery).await.unwrap();
        assert_eq!(receiver.state.numbers(), [0, 1], "{kind} {body}");
    }
}

/// None of it counts, although the receiver has the events: they come again.
#[tokio::test]
async fn a_response_that_ends_within_its_body_accepts_nothing() {
    for kind in ["elasticsearch", "http", "otlp", "splunk"] {
        let receiver = HttpReceiver::start().await;
        receiver.state.script([Treatment::RespondHalf]);
        let mut output = open(&receiver.settings(kind, "connections = 1")).await;
        let test_delivery = TestDelivery::new(0..2);
        let error = accept(&mut *output, &test_delivery).await.unwrap_err();
        let reason = "end of file before message length reached";
        assert!(
            matches!(&error, OutputError::Retry(said) if said.contains(reason)),
            "{kind}: {error:?}"
        );
        accept(&mut *output, &test_delivery).await.unwrap();
        assert_eq!(receiver.state.numbers(), [0, 1, 0, 1], "{kind}");
    }
}

#[tokio::test]
async fn half_a_bulk_response_accepts_half_of_the_events() {
    let receiver = HttpReceiver::start().await;
    let items = r#"{"took":1,"errors":false,"items":[{"create":{"_id":"id-3","status":201}},{"create":{"_id":"id-1","status":503}},{"create":{"_id":"id-0","status":409}},{"create":{"_id":"of-another-request","status":201}}]}"#;
    receiver
        .state
        .script([Treatment::Respond(200, Vec::new(), items)]);
    let mut output = open(&receiver.settings("elasticsearch", "")).await;
    let test_delivery = TestDelivery::new(0..4);
    let error = accept(&mut *output, &test_delivery).await.unwrap_err();
    assert!(
        matches!(error, OutputError::RetryAfterProgress(_)),
        "{error:?}"
    );
    accept(&mut *output, &test_delivery).await.unwrap();
    assert_eq!(receiver.state.numbers(), [1, 2]);
}

#[tokio::test]
async fn an_event_that_the_collector_names_is_rejected_and_the_others_are_accepted() {
    let receiver = HttpReceiver::start().await;
    let invalid = r#"{"text":"Invalid data format","code":6,"invalid-event-number":3}"#;
    // With a status of success, as for the whole; then for the one alone.
    receiver.state.script([
        Treatment::Respond(200, Vec::new(), invalid),
        Treatment::Respond(400, Vec::new(), invalid),
    ]);
    let mut output = open(&receiver.settings("splunk", "connections = 1")).await;
    let error = accept(&mut *output, &TestDelivery::new(0..6))
        .await
        .unwrap_err();
    assert!(
        matches!(&error, OutputError::Undeliverable(undeliverable_events) if undeliverable_events.len() == 1 && undeliverable_events[0].index == 3),
        "{error:?}"
    );
    assert_eq!(receiver.state.numbers(), [0, 1, 2, 4, 5]);
    assert_eq!(receiver.state.requests().len(), 3);
}

#[tokio::test]
async fn a_retry_after_is_respected() {
    let receiver = HttpReceiver::start().await;
    let headers = vec![("retry-after", "7")];
    receiver
        .state
        .script([Treatment::Respond(429, headers, "slow down")]);
    let mut output = open(&receiver.settings("http", "bearer_token = \"t0ken\"")).await;
    let test_delivery = TestDelivery::new(0..2);
    let error = accept(&mut *output, &test_delivery).await.unwrap_err();
    assert!(
        matches!(error, OutputError::Throttled { wait, .. } if wait == Duration::from_secs(7)),
        "{error:?}"
    );
    deliver(&mut *output, &test_delivery).await;
    assert_eq!(
        receiver.state.requests()[1],
        "/ application/json Bearer t0ken"
    );
}

#[tokio::test]
async fn a_wrong_endpoint_or_format_does_not_reject_the_events() {
    let receiver = HttpReceiver::start().await;
    let wrong_type = || Treatment::Respond(400, Vec::new(), "invalid 'Content-Type'");
    receiver.state.script((0..20).map(|_| wrong_type()));
    let mut output = open(&receiver.settings("http", "format = \"ndjson\"")).await;
    let error = accept(&mut *output, &TestDelivery::new(0..4))
        .await
        .unwrap_err();
    assert!(
        matches!(&error, OutputError::ActionRequired(said) if said.contains("refuses every event")),
        "{error}"
    );
    // Repaired there.
    let state = &receiver.state;
    while matches!(state.next_treatment(), Treatment::Respond(..)) {}
    accept(&mut *output, &TestDelivery::new(0..4))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_request_whose_response_is_too_long_is_sent_again_in_halves() {
    let receiver = HttpReceiver::start().await;
    let long: &'static str = "x".repeat(17 * 1024 * 1024).leak();
    let response = |status| [Treatment::Respond(status, Vec::new(), long)];
    let mut output = open(&receiver.settings("elasticsearch", "connections = 1")).await;
    receiver.state.script(response(200));
    accept(&mut *output, &TestDelivery::new(0..4))
        .await
        .unwrap();
    assert_eq!(receiver.state.numbers(), [0, 1, 2, 3]);
    assert_eq!(receiver.state.requests().len(), 3);
    // A single event has no halves, and is not to blame.
    let single = TestDelivery::new(4..5);
    receiver.state.script(response(200));
    let error = accept(&mut *output, &single).await.unwrap_err();
    assert!(
        matches!(&error, OutputError::Retry(said) if said.contains("larger than 16 MiB")),
        "{error:?}"
    );
    // Where it is no success, the status decides.
    receiver.state.script(response(401));
    let error = accept(&mut *output, &single).await.unwrap_err();
    assert!(
        matches!(&error, OutputError::ActionRequired(said) if said.contains("credentials are refused")),
        "{error:?}"
    );
    accept(&mut *output, &single).await.unwrap();
    assert_eq!(receiver.state.numbers(), [0, 1, 2, 3, 4]);
}

#[tokio::test]
async fn the_path_may_name_the_stream() {
    let receiver = HttpReceiver::start().await;
    let endpoint = format!("http://{}/mimecast.{{stream}}", receiver.address);
    let mut output = open(&format!("type = \"http\"\nendpoint = \"{endpoint}\"")).await;
    accept(&mut *output, &TestDelivery::new(0..2))
        .await
        .unwrap();
    assert_eq!(
        receiver.state.requests(),
        ["/mimecast.siem.receipt application/json "]
    );
}

#[tokio::test]
async fn events_that_bulk_refuses_one_by_one_are_told_apart() {
    let receiver = HttpReceiver::start().await;
    let items = r#"{"took":1,"errors":true,"items":[{"create":{"_id":"id-0","status":201}},{"create":{"_id":"id-1","status":400,"error":{"type":"document_parsing_exception","reason":"bad"}}},{"create":{"_id":"id-2","status":429,"error":{"type":"es_rejected_execution_exception","reason":"full"}}}]}"#;
    receiver
        .state
        .script([Treatment::Respond(200, Vec::new(), items)]);
    let mut output = open(&receiver.settings("elasticsearch", "token = \"key\"")).await;
    let test_delivery = TestDelivery::new(0..3);
    let error = accept(&mut *output, &test_delivery).await.unwrap_err();
    assert!(
        matches!(&error, OutputError::RetryAfterProgress(said) if said.contains("429")),
        "{error}"
    );
    let error = accept(&mut *output, &test_delivery).await.unwrap_err();
    assert!(
        matches!(&error, OutputError::Undeliverable(undeliverable_events) if undeliverable_events[0].index == 1),
        "{error}"
    );
    // Only the one that was to come again.
    assert_eq!(receiver.state.numbers(), [2]);
    assert!(receiver.state.requests()[0].ends_with("ApiKey key"));
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let refuse = |more: &str| refusal(&format!("type = \"http\"\n{more}"));
    assert!(refuse("").contains("`endpoint` is missing"));
    assert!(refuse("endpoint = \"localhost:80\"").contains("must begin with http://"));
    assert!(refuse("endpoint = \"http://a:b@c\"").contains("use username and password"));
    let at = |more: &str| refuse(&format!("endpoint = \"http://localhost\"\n{more}"));
    assert!(at("compression = \"lz4\"").contains("none, gzip, zstd"));
    assert!(at("username = \"a\"").contains("needs password"));
    let both = "bearer_token = \"a\"\nusername = \"b\"\npassword = \"c\"";
    assert!(at(both).contains("exclude each other"));
    assert!(at("headers = { \"Content-Type\" = \"x\" }").contains("content-type"));
    assert!(at("key_file = \"x\"").contains("needs cert_file"));
}
