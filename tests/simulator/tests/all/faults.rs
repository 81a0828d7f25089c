//! A scripted fault takes effect, and nothing else goes wrong.

use std::time::Duration;

use crate::client::{file, inflate, links, list, send, small_config, token};
use mimecast_simulator::{Effect, Endpoint, FailShape, Fault, Matcher, Simulator, When};
use serde_json::json;

fn fault(endpoint: Endpoint, when: When, effect: Effect) -> Fault {
    Fault {
        matcher: Matcher {
            endpoint,
            stream: None,
            when,
        },
        effect,
    }
}

#[tokio::test]
async fn a_response_can_be_replaced() {
    let simulator = Simulator::start(small_config()).await.unwrap();
    let token = token(&simulator).await;
    for (effect, status) in [
        (Effect::throttled(Some(7)), 429),
        (Effect::html(502), 502),
        (Effect::token_expired(), 401),
        (Effect::app_forbidden(), 403),
        (
            Effect::fail(
                200,
                FailShape::Nested,
                "err_developer_key",
                "App ID is invalid",
            ),
            200,
        ),
    ] {
        simulator.clear_faults();
        simulator.script(fault(Endpoint::Batch, When::Nth(2), effect));
        assert!(links(&list(&simulator, &token, "av").await).len() > 1);
        let response = list(&simulator, &token, "av").await;
        assert_eq!(response.status, status);
        assert!(response.json().get("value").is_none());
        assert_eq!(
            response.header("retry-after"),
            if status == 429 { "7" } else { "" }
        );
        assert!(links(&list(&simulator, &token, "av").await).len() > 1);
    }
}

#[tokio::test]
async fn a_fault_can_concern_one_stream() {
    let simulator = Simulator::start(small_config()).await.unwrap();
    let token = token(&simulator).await;
    let mut fault = fault(Endpoint::Batch, When::Always, Effect::html(500));
    fault.matcher.stream = Some("siem.av".to_owned());
    simulator.script(fault);
    assert_eq!(list(&simulator, &token, "av").await.status, 500);
    assert_eq!(list(&simulator, &token, "spam").await.status, 200);
    assert_eq!(simulator.requests().answered(500), 1);
}

#[tokio::test]
async fn a_page_can_be_changed_by_a_fault() {
    let simulator = Simulator::start(small_config()).await.unwrap();
    let token = token(&simulator).await;
    let whole = list(&simulator, &token, "av").await.json();
    let mut changed = Vec::new();
    for effect in [
        Effect::EmptyPage,
        Effect::NoPageToken,
        Effect::PageRepeated,
        Effect::FilesListedTwice,
        Effect::ExpiredLinks,
    ] {
        simulator.clear_faults();
        simulator.script(fault(Endpoint::Batch, When::First(1), effect));
        changed.push(list(&simulator, &token, "av").await);
    }
    let [empty, tokenless, repeated, twice, expired] = changed.try_into().unwrap();
    assert_eq!(
        (&empty.json()["value"], &empty.json()["isCaughtUp"]),
        (&json!([]), &json!(false))
    );
    for page in [&empty, &repeated] {
        let next = page.json()["@nextPage"]
            .as_str()
            .unwrap()
            .replace('=', "%3D");
        let again = list(&simulator, &token, &format!("av&nextPage={next}")).await;
        assert_eq!(again.json()["@nextPage"], whole["@nextPage"]);
    }
    assert!(tokenless.json().get("@nextPage").is_none());
    assert_eq!(links(&twice).len(), 6);
    assert_eq!(file(&links(&expired)[0]).await.status, 403);
    simulator.clear_faults();
    simulator.script(fault(
        Endpoint::Batch,
        When::Always,
        Effect::PageTokenRefused,
    ));
    let next = whole["@nextPage"].as_str().unwrap().replace('=', "%3D");
    assert_eq!(
        list(&simulator, &token, &format!("av&nextPage={next}"))
            .await
            .status,
        400
    );
    assert_eq!(list(&simulator, &token, "av").await.status, 200);
}

#[tokio::test]
async fn a_file_can_be_corrupted_by_a_fault() {
    let simulator = Simulator::start(small_config()).await.unwrap();
    let token = token(&simulator).await;
    let url = links(&list(&simulator, &token, "spam").await)[0].clone();
    let good = file(&url).await.body;
    let plain = inflate(&good).unwrap();
    let file_with = async |effect| {
        simulator.clear_faults();
        simulator.script(fault(Endpoint::File, When::Always, effect));
        file(&url).await.body
    };
    assert_eq!(file_with(Effect::EmptyFile).await, b"");
    assert!(inflate(&file_with(Effect::NotGzip).await).is_err());
    assert!(inflate(&file_with(Effect::TruncatedGzip).await).is_err());
    assert!(file_with(Effect::TrailingGarbage).await.starts_with(&good));
    assert_eq!(
        inflate(&file_with(Effect::TwoGzipMembers).await).unwrap(),
        plain
    );
    assert!(inflate(&file_with(Effect::WrongChecksum).await).is_err());
    assert_eq!(
        file_with(Effect::MalformedLine).await,
        good,
        "it was read before"
    );
    assert_eq!(simulator.ledger().malformed("siem.spam"), 0);
    simulator.clear_faults();
    simulator.script(fault(Endpoint::File, When::Always, Effect::file_gone()));
    assert_eq!(file(&url).await.status, 404);
}

#[tokio::test]
async fn a_line_that_is_put_into_a_file_stays_there() {
    let simulator = Simulator::start(small_config()).await.unwrap();
    let token = token(&simulator).await;
    for (name, effect, malformed, invalid_utf8, untimed) in [
        ("spam", Effect::MalformedLine, 1, 0, 0),
        ("av", Effect::InvalidUtf8Line, 1, 1, 0),
        ("receipt", Effect::LongLine, 1, 0, 0),
        ("process", Effect::UntimedLine, 0, 0, 1),
    ] {
        let url = links(&list(&simulator, &token, name).await)[0].clone();
        simulator.script(fault(Endpoint::File, When::First(1), effect));
        let longer = inflate(&file(&url).await.body).unwrap();
        simulator.clear_faults();
        assert_eq!(inflate(&file(&url).await.body).unwrap(), longer);
        let (ledger, stream) = (simulator.ledger(), format!("siem.{name}"));
        assert_eq!(ledger.malformed(&stream), malformed, "{name}");
        assert_eq!(ledger.invalid_utf8(&stream), invalid_utf8, "{name}");
        assert_eq!(ledger.untimed(&stream).len(), untimed, "{name}");
        assert_eq!(ledger.expected(&stream).len(), 160, "{name}");
    }
}

#[tokio::test]
async fn a_file_can_be_taken_away_and_faults_on_it_be_bounded() {
    let config = mimecast_simulator::Config {
        faults_per_file_max: 1,
        ..small_config()
    };
    let simulator = Simulator::start(config).await.unwrap();
    let token = token(&simulator).await;
    let url = links(&list(&simulator, &token, "spam").await)[0].clone();
    simulator.script(fault(Endpoint::File, When::Always, Effect::file_gone()));
    assert_eq!(file(&url).await.status, 404);
    assert_eq!(file(&url).await.status, 200);
    assert_eq!(simulator.fault_counts(), [1]);
    let path = simulator.delete_file(7).unwrap();
    let ledger = simulator.ledger();
    let deleted: Vec<_> = ledger
        .streams()
        .flat_map(|stream| ledger.deleted(stream))
        .collect();
    assert_eq!(deleted.len(), 1);
    assert_eq!(
        (deleted[0].0, deleted[0].1.is_empty()),
        (path.as_str(), false)
    );
    assert!(!url.contains(&path));
}

#[tokio::test]
async fn a_connection_can_break() {
    let simulator = Simulator::start(small_config()).await.unwrap();
    let token = token(&simulator).await;
    let url = links(&list(&simulator, &token, "receipt").await)[0].clone();
    simulator.script(fault(
        Endpoint::File,
        When::Nth(1),
        Effect::CloseBeforeHeaders,
    ));
    simulator.script(fault(Endpoint::File, When::Nth(2), Effect::CloseMidBody));
    simulator.script(fault(
        Endpoint::File,
        When::Nth(3),
        Effect::StallMidBody { ms: 20 },
    ));
    assert!(send("GET", &url, &[], "").await.is_none());
    assert!(!file(&url).await.whole);
    assert!(file(&url).await.whole);
    let served = |ledger: mimecast_simulator::Ledger| {
        ledger.served("siem.receipt").map(|(_, times)| times).max()
    };
    assert_eq!(served(simulator.ledger()), Some(1));
    simulator.clear_faults();
    simulator.script(fault(
        Endpoint::File,
        When::Always,
        Effect::Stall { ms: 600_000 },
    ));
    let stalled = tokio::time::timeout(Duration::from_millis(50), file(&url)).await;
    assert!(stalled.is_err());
}
