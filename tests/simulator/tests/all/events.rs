//! The event endpoint.

use crate::client::{events, list, small_config, token};
use mimecast_simulator::{Config, EventType, Simulator, identity};
use serde_json::Value;

/// The record as a batch file has it.
fn as_batch_file_record(event: &Value) -> Value {
    let mut record = event.clone();
    let members = record.as_object_mut().unwrap();
    for (name, batch_name) in [("eventType", "type"), ("subType", "subtype")] {
        if let Some(value) = members.remove(name) {
            members.insert(batch_name.to_owned(), value);
        }
    }
    record
}

#[tokio::test]
async fn the_event_endpoint_has_the_records_of_the_files_of_the_last_day_with_other_field_names() {
    let simulator = Simulator::start(Config {
        odd_shapes: false,
        ..small_config()
    })
    .await
    .unwrap();
    let token = token(&simulator).await;
    for (name, product) in [("impersonation%20protect", "cg"), ("entities", "ci")] {
        let stream = EventType::from_name(&name.replace("%20", " "))
            .unwrap()
            .stream();
        let mut query = format!(
            "{product}?types={name}&pageSize=50&dateRangeStartsAt=2026-11-21T07:30:00.000Z"
        );
        let mut ids = Vec::new();
        loop {
            let response = events(&simulator, &token, &query).await.json();
            let value = response["value"].as_array().unwrap();
            assert!(value.iter().all(|event| event["type"].is_null()));
            let records = value.iter().map(as_batch_file_record);
            ids.extend(records.filter_map(|record| identity(stream, &record)));
            if response["isCaughtUp"] == true {
                break;
            }
            let next = response["@nextPage"].as_str().unwrap().replace('=', "%3D");
            query = format!("{product}?types={name}&pageSize=50&nextPage={next}");
        }
        let ledger = simulator.ledger();
        assert_eq!(ledger.expected(stream).len(), 160);
        // The window leaves out twenty-five minutes of the day.
        let missing = ledger.missing(stream, &ids);
        assert!((1..=5).contains(&missing.len()), "{}", missing.len());
        assert_eq!(ids.len() + missing.len(), 160);
        assert!(ledger.unexpected(stream, &ids).is_empty());
    }
    let old = "cg?types=av&dateRangeStartsAt=2026-11-21T07:00:00.000Z";
    let response = events(&simulator, &token, old).await;
    assert_eq!(response.status, 400);
    assert!(response.json()["error"]["message"].is_string());
    for wrong in [
        "cg?types=entities",
        "ci?types=av",
        "cg?type=av",
        "cg?types=av&pageSize=101",
    ] {
        assert_eq!(
            events(&simulator, &token, wrong).await.status,
            400,
            "{wrong}"
        );
    }
}

#[tokio::test]
async fn the_event_endpoint_has_a_quota_of_its_own() {
    let simulator = Simulator::start(Config {
        events_quota_calls: 2,
        ..small_config()
    })
    .await
    .unwrap();
    let token = token(&simulator).await;
    for status in [200, 200, 429] {
        assert_eq!(
            events(&simulator, &token, "cg?types=av").await.status,
            status
        );
    }
    assert_eq!(list(&simulator, &token, "av").await.status, 200);
    simulator.advance_ms(1_500_000);
    assert_eq!(
        events(&simulator, &token, "ci?types=entities").await.status,
        429
    );
}
