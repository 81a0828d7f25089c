//! The shapes of the endpoints.

use std::collections::BTreeSet;

use crate::client::{audit, file, inflate, links, list, send, small_config, token};
use mimecast_simulator::{Config, EventType, FailShape, Simulator};
use serde_json::{Value, json};

#[tokio::test]
async fn a_token_is_given_for_the_right_secret_only() {
    for (shape, code) in [
        (FailShape::Flat, "/fail/0/code"),
        (FailShape::Nested, "/fail/0/errors/0/code"),
    ] {
        let simulator = Simulator::start(Config {
            fail_shape: shape,
            ..small_config()
        })
        .await
        .unwrap();
        let url = format!("{}/oauth/token", simulator.api_url());
        let form = "grant_type=client_credentials&client_id=x&client_secret=y";
        let refused = send("POST", &url, &[], form).await.unwrap();
        assert_eq!(refused.status, 401);
        assert!(refused.json().pointer(code).unwrap().is_string());
        let (one, two) = (token(&simulator).await, token(&simulator).await);
        assert_ne!(one, two);
        assert_eq!(list(&simulator, &one, "av").await.status, 200);
        assert_eq!(list(&simulator, &two, "av").await.status, 200);
    }
}

#[tokio::test]
async fn a_token_ends_after_its_life() {
    let simulator = Simulator::start(small_config()).await.unwrap();
    let token = token(&simulator).await;
    simulator.advance_ms(1_799_000);
    let response = list(&simulator, &token, "av").await;
    assert_eq!(
        (response.status, response.code().as_str()),
        (401, "token_expired")
    );
    assert_eq!(
        list(&simulator, "nonsense", "av").await.code(),
        "token_verification_failed"
    );
}

#[tokio::test]
async fn every_response_has_the_headers_of_the_api() {
    let simulator = Simulator::start(Config {
        skew_ms: 3_600_000,
        ..small_config()
    })
    .await
    .unwrap();
    let token = token(&simulator).await;
    let response = list(&simulator, &token, "receipt").await;
    assert!(
        response
            .header("date")
            .starts_with("Sun, 22 Nov 2026 08:05:"),
        "{response:?}"
    );
    assert_eq!(response.header("x-request-id").len(), 36);
    assert_eq!(response.header("x-ratelimit-limit"), "50");
    assert_eq!(response.header("x-ratelimit-remaining"), "49");
    let reset_ms: u64 = response.header("x-ratelimit-reset").parse().unwrap();
    assert!((800_000..=900_000).contains(&reset_ms));
}

#[tokio::test]
async fn pages_follow_each_other_to_the_end_and_the_last_token_stays_good() {
    let simulator = Simulator::start(small_config()).await.unwrap();
    let token = token(&simulator).await;
    let first = list(&simulator, &token, "internal+email+protect").await;
    // The first file is listed twice, by the same link.
    let urls = links(&first);
    assert_eq!((urls.len(), &urls[0]), (3, &urls[2]));
    assert_eq!(first.json()["isCaughtUp"], false);
    let next = first.json()["@nextPage"]
        .as_str()
        .unwrap()
        .replace('=', "%3D");
    let query = format!("internal%20email%20protect&nextPage={next}");
    let second = list(&simulator, &token, &query).await;
    assert_eq!(
        (links(&second).len(), &second.json()["isCaughtUp"]),
        (2, &Value::Bool(true))
    );
    let next = second.json()["@nextPage"]
        .as_str()
        .unwrap()
        .replace('=', "%3D");
    let query = format!("internal+email+protect&nextPage={next}");
    let third = list(&simulator, &token, &query).await.json();
    assert_eq!(
        (&third["value"], &third["isCaughtUp"]),
        (&json!([]), &Value::Bool(true))
    );
    assert_eq!(
        third["@nextPage"].as_str().unwrap().replace('=', "%3D"),
        next
    );
    simulator.add_files(EventType::InternalEmailProtect, 1);
    let fourth = list(&simulator, &token, &query).await;
    let new: BTreeSet<String> = links(&fourth).into_iter().collect();
    assert_eq!(
        (new.len(), &fourth.json()["isCaughtUp"]),
        (1, &Value::Bool(true))
    );
}

#[tokio::test]
async fn the_parameters_of_the_batch_endpoint_are_checked() {
    let simulator = Simulator::start(small_config()).await.unwrap();
    let token = token(&simulator).await;
    for (query, status) in [
        ("", 400),
        ("nonsense", 400),
        ("av&dateRangeStartsAt=2026-11-22T00:00:00Z", 400),
        ("av&dateRangeStartsAt=2026-11-31", 400),
        ("av&pageSize=0", 400),
        ("av&pageSize=101", 400),
        ("av&nextPage=bm9uc2Vuc2U%3D", 400),
        (
            "av&dateRangeStartsAt=2026-11-21&dateRangeEndsAt=2026-11-22&pageSize=100",
            200,
        ),
    ] {
        assert_eq!(
            list(&simulator, &token, query).await.status,
            status,
            "{query}"
        );
    }
    assert_eq!(
        links(&list(&simulator, &token, "av&pageSize=1").await).len(),
        1
    );
    let today = list(&simulator, &token, "av&dateRangeStartsAt=2026-11-22").await;
    let all = list(&simulator, &token, "av&dateRangeStartsAt=2026-11-20").await;
    assert_ne!(today.json()["@nextPage"], all.json()["@nextPage"]);
}

#[tokio::test]
async fn a_link_changes_each_time_and_its_path_does_not() {
    let simulator = Simulator::start(small_config()).await.unwrap();
    let token = token(&simulator).await;
    let page = list(&simulator, &token, "receipt").await;
    let (one, two) = (
        links(&page)[0].clone(),
        links(&list(&simulator, &token, "receipt").await)[0].clone(),
    );
    assert_ne!(one, two);
    assert_eq!(one.split('?').next(), two.split('?').next());
    assert!(one.starts_with(&simulator.storage_url()));
    assert_ne!(simulator.storage_url(), simulator.api_url());
    let response = file(&one).await;
    assert_eq!((response.status, response.whole), (200, true));
    assert_eq!(page.json()["value"][0]["size"], response.body.len());
    assert!(inflate(&response.body).unwrap().len() > 40 * 400);
}

#[tokio::test]
async fn storage_refuses_what_it_should() {
    let simulator = Simulator::start(small_config()).await.unwrap();
    let token = token(&simulator).await;
    let url = links(&list(&simulator, &token, "receipt").await)[0].clone();
    let bearer = format!("Bearer {token}");
    assert_eq!(simulator.requests().bearer_violations, 0);
    let response = send("GET", &url, &[("authorization", &bearer)], "")
        .await
        .unwrap();
    assert_eq!(response.status, 400);
    assert_eq!(simulator.requests().bearer_violations, 1);
    let unknown = file(&url.replace(".json.gz?", ".gone.gz?")).await;
    assert_eq!(unknown.status, 404);
    let unsigned = file(&url.replace("X-Amz-Signature=", "X-Amz-Signature=0")).await;
    assert_eq!(unsigned.status, 403);
    simulator.advance_ms(900_000);
    let response = file(&url).await;
    assert_eq!(response.status, 403);
    assert!(String::from_utf8_lossy(&response.body).contains("Request has expired"));
}

#[tokio::test]
async fn the_quota_is_shared_by_all_event_types() {
    let simulator = Simulator::start(Config {
        batch_quota_calls: 3,
        ..small_config()
    })
    .await
    .unwrap();
    let token = token(&simulator).await;
    for name in ["av", "spam", "journal"] {
        assert_eq!(list(&simulator, &token, name).await.status, 200);
    }
    let response = list(&simulator, &token, "receipt").await;
    assert_eq!(
        (response.status, response.header("x-ratelimit-remaining")),
        (429, "0")
    );
    assert!(response.header("x-ratelimit-reset").parse::<u64>().unwrap() > 800_000);
    let day = json!({"data": [{"startDateTime": "2026-11-22T00:00:00Z", "endDateTime": "2026-11-22T07:00:00Z"}]});
    assert_eq!(audit(&simulator, &token, &day).await.status, 200);
    simulator.advance_ms(900_000);
    assert_eq!(list(&simulator, &token, "receipt").await.status, 200);
}

#[tokio::test]
async fn a_missing_permission_concerns_one_stream() {
    let permitted = vec!["siem.receipt".to_owned()];
    let simulator = Simulator::start(Config {
        permissions: Some(permitted),
        ..small_config()
    })
    .await
    .unwrap();
    let token = token(&simulator).await;
    assert_eq!(list(&simulator, &token, "receipt").await.status, 200);
    let response = list(&simulator, &token, "process").await;
    assert_eq!(
        (response.status, response.code().as_str()),
        (403, "app_forbidden")
    );
    assert_eq!(audit(&simulator, &token, &json!({})).await.status, 403);
    simulator.set_permitted("siem.process", true);
    assert_eq!(list(&simulator, &token, "process").await.status, 200);
}

#[tokio::test]
async fn audit_events_come_newest_first_and_all_of_them() {
    let simulator = Simulator::start(small_config()).await.unwrap();
    let token = token(&simulator).await;
    for (start, end) in [
        ("2026-11-21T00:00:00+0000", "2026-11-22T08:00:00+0000"),
        ("2026-11-21T00:00:00Z", "2026-11-22T09:00:00Z"),
        ("2026-11-20T23:00:00-01:00", "2026-11-22T10:00:00+00:00"),
    ] {
        let data = json!([{"startDateTime": start, "endDateTime": end}]);
        let mut body = json!({"data": data});
        let mut ids = BTreeSet::new();
        let mut last = "9".to_owned();
        for page in 0..20 {
            let response = audit(&simulator, &token, &body).await.json();
            assert_eq!(response["fail"], json!([]));
            let items = response["data"].as_array().unwrap();
            assert!(items.len() <= if page == 0 { 10 } else { 50 });
            for item in items {
                let time = item["eventTime"].as_str().unwrap().replace("T7:", "T07:");
                ids.insert(item["id"].as_str().unwrap().to_owned());
                if !time.contains("T0") && !time.contains("T1") && !time.contains("T2") {
                    continue;
                }
                if time.len() == last.len() {
                    assert!(time <= last, "{time} after {last}");
                }
                last = time;
            }
            let next = &response["meta"]["pagination"]["next"];
            if items.is_empty() || next.is_null() {
                break;
            }
            body = json!({"data": data, "meta": {"pagination": {"pageToken": next, "pageSize": "50"}}});
        }
        assert_eq!(ids.len(), 120);
    }
}

#[tokio::test]
async fn a_window_of_audit_events_has_both_its_ends() {
    let simulator = Simulator::start(Config {
        audit_events: 0,
        ..small_config()
    })
    .await
    .unwrap();
    simulator.add_audit(3, 1_795_331_131_250);
    let token = token(&simulator).await;
    let second = "2026-11-22T07:05:31+0000";
    let body = json!({"data": [{"startDateTime": second, "endDateTime": second}]});
    let response = audit(&simulator, &token, &body).await.json();
    assert_eq!(response["data"].as_array().unwrap().len(), 3);
    assert_eq!(simulator.ledger().expected("audit").len(), 3);
    let bad = json!({"data": [{"startDateTime": "yesterday", "endDateTime": second}]});
    assert_eq!(audit(&simulator, &token, &bad).await.status, 400);
}
