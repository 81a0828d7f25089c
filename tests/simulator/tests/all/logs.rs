//! The logs, lists and feeds behind POST endpoints.

use std::collections::BTreeSet;
use std::io::Read as _;

use crate::client::{Response, list, post, small_config, token};
use mimecast_simulator::{
    Config, Effect, Endpoint, EventType, Fault, Matcher, Simulator, StreamRefusal, When, identity,
    streams,
};
use serde_json::{Value, json};

/// Each log and list: its stream, path, bounds of the window, list in the response.
const LOGS: &[(&str, &str, [&str; 2], &str)] = &[
    (
        "audit",
        "/api/audit/get-audit-events",
        ["startDateTime", "endDateTime"],
        "",
    ),
    ("dlp", "/api/dlp/get-logs", ["from", "to"], "/0/dlpLogs"),
    (
        "ttp.url",
        "/api/ttp/url/get-logs",
        ["from", "to"],
        "/0/clickLogs",
    ),
    (
        "ttp.attachment",
        "/api/ttp/attachment/get-logs",
        ["from", "to"],
        "/0/attachmentLogs",
    ),
    (
        "ttp.impersonation",
        "/api/ttp/impersonation/get-logs",
        ["from", "to"],
        "/0/impersonationLogs",
    ),
    (
        "held-messages",
        "/api/gateway/get-hold-message-list",
        ["start", "end"],
        "",
    ),
    (
        "held-release",
        "/api/gateway/get-held-release-logs",
        ["start", "end"],
        "/0/heldReleaseLogs",
    ),
    (
        "rejections",
        "/api/gateway/get-rejections",
        ["start", "end"],
        "/rejections",
    ),
    (
        "archive.search",
        "/api/archive/get-archive-search-logs",
        ["", ""],
        "/0/logs",
    ),
    (
        "archive.search-log",
        "/api/archive/get-search-logs",
        ["start", "end"],
        "/0/logs",
    ),
    (
        "remediation",
        "/api/ttp/remediation/find-incidents",
        ["start", "end"],
        "/0/incidents",
    ),
    (
        "archive.view",
        "/api/archive/get-view-logs",
        ["start", "end"],
        "",
    ),
    (
        "training.performance",
        "/api/awareness-training/company/get-performance-details",
        ["", ""],
        "",
    ),
    (
        "training.safe-score",
        "/api/awareness-training/company/get-safe-score-details",
        ["", ""],
        "",
    ),
    (
        "training.watchlist",
        "/api/awareness-training/company/get-watchlist-details",
        ["", ""],
        "",
    ),
];

const CAMPAIGNS: &str = "/api/awareness-training/phishing/campaign/get-campaign";
const PEOPLE: &str = "/api/awareness-training/phishing/campaign/get-user-data";
const FEED: &str = "/api/ttp/threat-intel/get-feed";
const START: &str = "2026-11-21T00:00:00+0000";
const END: &str = "2026-11-22T08:00:00+0000";

fn with_logs() -> Config {
    Config {
        log_records: 47,
        ..small_config()
    }
}

/// The `data` of a request for everything.
fn window([from, to]: [&str; 2]) -> Value {
    let mut data = json!({"admin": true, "oldestFirst": true});
    if !from.is_empty() {
        data[from] = START.into();
        data[to] = END.into();
    }
    json!([data])
}

/// Every item of a log, page by page.
async fn pull(
    simulator: &Simulator,
    token: &str,
    path: &str,
    bounds: [&str; 2],
    at: &str,
) -> Vec<Value> {
    let mut body = json!({"data": window(bounds), "meta": {"pagination": {"pageSize": 10}}});
    let mut items = Vec::new();
    for _ in 0..20 {
        let response = post(simulator, token, path, &body).await;
        assert_eq!(response.status, 200, "{path} {response:?}");
        let response = response.json();
        let page = response["data"].pointer(at).unwrap().as_array().unwrap();
        assert!(page.len() <= 10);
        items.extend(page.iter().cloned());
        match response["meta"]["pagination"].get("next") {
            Some(next) if !page.is_empty() => {
                body["meta"]["pagination"]["pageToken"] = next.clone()
            }
            _ => return items,
        }
    }
    panic!("{path} has no end");
}

#[tokio::test]
async fn every_log_and_list_returns_the_records_of_the_ledger() {
    let config = Config {
        audit_events: 47,
        ..with_logs()
    };
    let simulator = Simulator::start(config).await.unwrap();
    let token = token(&simulator).await;
    for (stream, path, bounds, at) in LOGS {
        let items = pull(&simulator, &token, path, *bounds, at).await;
        let ids: BTreeSet<String> = items
            .iter()
            .filter_map(|item| identity(stream, item))
            .collect();
        assert_eq!((items.len(), ids.len()), (47, 47), "{stream}");
        assert_eq!(&ids, simulator.ledger().expected(stream), "{stream}");
    }
    let known: BTreeSet<&str> = LOGS.iter().map(|log| log.0).collect();
    let others = streams()
        .into_iter()
        .filter(|stream| !known.contains(stream));
    let others: Vec<&str> = others.collect();
    assert_eq!(others.len(), EventType::ALL.len() + 3, "{others:?}");
}

#[tokio::test]
async fn every_campaign_lists_its_people_without_the_members_of_the_campaign() {
    let simulator = Simulator::start(with_logs()).await.unwrap();
    let token = token(&simulator).await;
    let all = json!({"data": [], "meta": {"pagination": {"pageSize": 10}}});
    let response = post(&simulator, &token, CAMPAIGNS, &all).await.json();
    let campaigns = response["data"].as_array().unwrap();
    assert!(campaigns.len() > 1, "{campaigns:?}");
    let mut ids = BTreeSet::new();
    // One without a date is still to be launched.
    let launched = |campaign: &&Value| campaign.get("launchDate").is_some();
    for campaign in campaigns.iter().filter(launched) {
        let mut body =
            json!({"data": [{"id": campaign["id"]}], "meta": {"pagination": {"pageSize": 10}}});
        let mut people = 0;
        loop {
            let response = post(&simulator, &token, PEOPLE, &body).await;
            assert_eq!(response.status, 200, "{response:?}");
            let response = response.json();
            let page = response["data"][0]["items"].as_array().unwrap();
            people += page.len();
            for person in page {
                let mut person = person.clone();
                assert!(person.get("campaignId").is_none(), "{person}");
                person["campaignId"] = campaign["id"].clone();
                person["campaignName"] = campaign["name"].clone();
                person["launchDate"] = campaign["launchDate"].clone();
                ids.extend(identity("training.phishing", &person));
            }
            match response["meta"]["pagination"].get("next") {
                Some(next) if !page.is_empty() => {
                    body["meta"]["pagination"]["pageToken"] = next.clone();
                }
                _ => break,
            }
        }
        assert_eq!(campaign["numSent"], people, "{campaign}");
    }
    assert_eq!(&ids, simulator.ledger().expected("training.phishing"));
    let unknown = json!({"data": [{"id": "no such campaign"}]});
    assert_eq!(post(&simulator, &token, PEOPLE, &unknown).await.status, 400);
}

#[tokio::test]
async fn only_the_logs_with_from_and_to_can_be_requested_in_ascending_order() {
    let simulator = Simulator::start(Config {
        odd_shapes: false,
        ..with_logs()
    })
    .await
    .unwrap();
    let token = token(&simulator).await;
    for (stream, path, bounds, at) in LOGS {
        let name = match *stream {
            "dlp" | "ttp.impersonation" => "eventTime",
            "ttp.url" | "ttp.attachment" => "date",
            "archive.view" => "viewed",
            "rejections" => "created",
            "archive.search" => "createTime",
            _ => continue,
        };
        let items = pull(&simulator, &token, path, *bounds, at).await;
        let times: Vec<&str> = items
            .iter()
            .map(|item| item[name].as_str().unwrap())
            .collect();
        let ascending = bounds[0] == "from";
        assert_eq!(times.is_sorted(), ascending, "{stream}");
        assert_eq!(times.iter().rev().is_sorted(), !ascending, "{stream}");
        // A page ends within a second.
        assert_eq!(times[9], times[10], "{stream}");
    }
}

#[tokio::test]
async fn held_messages_are_seen_by_administrators_and_leave_when_they_are_released() {
    let simulator = Simulator::start(with_logs()).await.unwrap();
    let token = token(&simulator).await;
    let path = "/api/gateway/get-hold-message-list";
    let own = json!({"data": [{"start": START, "end": END}]});
    assert_eq!(
        post(&simulator, &token, path, &own).await.json()["data"],
        json!([])
    );
    let before = pull(&simulator, &token, path, ["start", "end"], "").await;
    simulator.remove_newest("held-messages", 5);
    let after = pull(&simulator, &token, path, ["start", "end"], "").await;
    assert_eq!((before.len(), after.len()), (47, 42));
    // A released item that was served stays expected; one that never was does not.
    assert_eq!(simulator.ledger().expected("held-messages").len(), 47);
}

#[tokio::test]
async fn a_changed_row_of_the_training_is_another_record() {
    let simulator = Simulator::start(with_logs()).await.unwrap();
    let token = token(&simulator).await;
    let path = "/api/awareness-training/company/get-watchlist-details";
    let before = pull(&simulator, &token, path, ["", ""], "").await;
    for _ in 0..2 {
        simulator.change_rows("training.watchlist", 3);
        let after = pull(&simulator, &token, path, ["", ""], "").await;
        assert_eq!(after.len(), 47);
        assert!(after.iter().filter(|row| !before.contains(row)).count() >= 3);
    }
    assert!(simulator.ledger().expected("training.watchlist").len() > 50);
}

#[tokio::test]
async fn a_page_token_ends_after_its_life() {
    let simulator = Simulator::start(Config {
        odd_shapes: false,
        ..with_logs()
    })
    .await
    .unwrap();
    let token = token(&simulator).await;
    let mut body =
        json!({"data": window(["from", "to"]), "meta": {"pagination": {"pageSize": 10}}});
    let first = post(&simulator, &token, "/api/dlp/get-logs", &body)
        .await
        .json();
    body["meta"]["pagination"]["pageToken"] = first["meta"]["pagination"]["next"].clone();
    let second = post(&simulator, &token, "/api/dlp/get-logs", &body).await;
    assert_eq!(second.status, 200);
    simulator.advance_ms(600_000);
    let late = post(&simulator, &token, "/api/dlp/get-logs", &body).await;
    assert_eq!(
        (late.status, late.code().as_str()),
        (400, "invalid_page_token")
    );
}

#[tokio::test]
async fn a_window_of_exactly_one_page_ends_with_nothing_or_with_a_next_that_leads_nowhere() {
    let mut ends = BTreeSet::new();
    for records in 11..=30 {
        let config = Config {
            log_records: records,
            page_records_max: records,
            ..with_logs()
        };
        let simulator = Simulator::start(config).await.unwrap();
        let token = token(&simulator).await;
        let from = format!("2026-11-20T00:00:{records}+0000");
        let data = json!([{"start": from, "end": END}]);
        let mut body = json!({"data": data, "meta": {"pagination": {"pageSize": 500}}});
        let path = "/api/archive/get-view-logs";
        let page = post(&simulator, &token, path, &body).await.json();
        assert_eq!(
            page["data"].as_array().unwrap().len(),
            usize::try_from(records).unwrap()
        );
        let Some(next) = page["meta"]["pagination"].get("next") else {
            ends.insert("nothing");
            continue;
        };
        body["meta"]["pagination"]["pageToken"] = next.clone();
        let page = post(&simulator, &token, path, &body).await.json();
        assert_eq!(page["data"], json!([]));
        assert_eq!(page["meta"]["pagination"]["next"], "String");
        ends.insert("nowhere");
    }
    assert_eq!(ends.len(), 2, "{ends:?}");
}

/// How many indicators are in a file, zipped or not, STIX or CSV.
fn indicator_count(response: &Response) -> usize {
    let mut plain = response.body.clone();
    if plain.starts_with(b"PK") {
        let name = usize::from(u16::from_le_bytes([plain[26], plain[27]]));
        let data = &response.body[30 + name..];
        plain.clear();
        flate2::read::DeflateDecoder::new(data)
            .read_to_end(&mut plain)
            .unwrap();
    }
    match serde_json::from_slice::<Value>(&plain) {
        Ok(bundle) => {
            let objects = bundle["objects"].as_array().unwrap().iter();
            // Malware and relationships stand beside them.
            objects.filter(|it| it["type"] == "indicator").count()
        }
        Err(_) => String::from_utf8(plain).unwrap().lines().count() - 1,
    }
}

#[tokio::test]
async fn a_feed_continues_after_its_token_as_stix_and_as_csv() {
    let simulator = Simulator::start(Config {
        log_records: 120,
        ..with_logs()
    })
    .await
    .unwrap();
    let token = token(&simulator).await;
    for (kind, zipped) in [
        ("stix", true),
        ("stix", false),
        ("csv", true),
        ("csv", false),
    ] {
        let mut body = json!({"data": [{"feedType": "malware_grid", "fileType": kind,
            "compress": zipped, "start": START, "end": END}]});
        let mut counts = Vec::new();
        for _ in 0..4 {
            let response = post(&simulator, &token, FEED, &body).await;
            assert!(
                response
                    .header("content-disposition")
                    .contains("malware_grid")
            );
            counts.push(indicator_count(&response));
            let next = response.header("x-mc-threat-feed-next-token");
            body = json!({"data": [{"feedType": "malware_grid", "fileType": kind,
                "compress": zipped, "token": next}]});
        }
        assert_eq!(counts, [50, 50, 20, 0], "{kind}");
    }
    let ledger = simulator.ledger();
    assert_eq!(ledger.expected("threat-intel.grid").len(), 120);
    assert_eq!(
        ledger
            .served("threat-intel.grid")
            .filter(|(_, times)| *times == 4)
            .count(),
        120
    );
    assert_eq!(ledger.served("threat-intel.customer").count(), 0);
    let bad = json!({"data": [{"feedType": "malware_grid", "token": "nonsense"}]});
    assert_eq!(post(&simulator, &token, FEED, &bad).await.status, 400);
}

#[tokio::test]
async fn every_stream_can_be_refused_in_each_of_three_ways() {
    let simulator = Simulator::start(Config {
        general_quota_calls: 10_000,
        batch_quota_calls: 10_000,
        ..with_logs()
    })
    .await
    .unwrap();
    let token = token(&simulator).await;
    let refusals = [
        (StreamRefusal::Forbidden, 403, "app_forbidden"),
        (StreamRefusal::FailWithStatus200, 200, "app_forbidden"),
        (
            StreamRefusal::EndpointMissing,
            404,
            "endpoint_evaluation_failed_1",
        ),
    ];
    for stream in streams() {
        for (refusal, status, code) in refusals {
            simulator.refuse(stream, refusal);
            let response = ask(&simulator, &token, stream).await;
            assert_eq!(
                (response.status, response.code().as_str()),
                (status, code),
                "{stream}"
            );
        }
        simulator.set_permitted(stream, true);
        let response = ask(&simulator, &token, stream).await;
        assert_eq!(
            (response.status, response.code().as_str()),
            (200, ""),
            "{stream}"
        );
    }
}

/// Asks a stream for something.
async fn ask(simulator: &Simulator, token: &str, stream: &str) -> Response {
    if let Some(event_type) = EventType::from_stream(stream) {
        return list(simulator, token, &event_type.name().replace(' ', "+")).await;
    }
    if let Some((_, path, bounds, _)) = LOGS.iter().find(|log| log.0 == stream) {
        return post(simulator, token, path, &json!({"data": window(*bounds)})).await;
    }
    if stream == "training.phishing" {
        return post(simulator, token, CAMPAIGNS, &json!({"data": []})).await;
    }
    let feed = stream.replace("threat-intel.", "malware_");
    let mut response = post(
        simulator,
        token,
        FEED,
        &json!({"data": [{"feedType": feed}]}),
    )
    .await;
    // A file is no envelope.
    if response.body.starts_with(b"Creation") {
        response.body = b"{}".to_vec();
    }
    response
}

#[tokio::test]
async fn the_categories_of_audit_events_are_listed() {
    let simulator = Simulator::start(small_config()).await.unwrap();
    let token = token(&simulator).await;
    let path = "/api/audit/get-categories";
    let response = post(&simulator, &token, path, &json!({"data": []}))
        .await
        .json();
    let categories = response["data"][0]["categories"].as_array().unwrap();
    assert!(categories.len() >= 9);
    assert!(
        categories
            .iter()
            .any(|one| one["code"] == "authentication_logs")
    );
    simulator.set_permitted("audit.categories", false);
    assert_eq!(
        post(&simulator, &token, path, &json!({"data": []}))
            .await
            .status,
        403
    );
}

#[tokio::test]
async fn faults_concern_one_log_alone() {
    let simulator = Simulator::start(with_logs()).await.unwrap();
    let token = token(&simulator).await;
    simulator.script(Fault {
        matcher: Matcher {
            endpoint: Endpoint::Post,
            stream: Some("ttp.url".to_owned()),
            when: When::Always,
        },
        effect: Effect::html(502),
    });
    assert_eq!(ask(&simulator, &token, "ttp.url").await.status, 502);
    assert_eq!(ask(&simulator, &token, "ttp.attachment").await.status, 200);
}
