//! What a new session does with what a checkpoint remembers, and when the next request follows.

use crate::batch::{Limits, NextPoll, NoticeKind};
use crate::stream::Stream;
use crate::streams::quota::{BATCH_FILES_QUOTA_WINDOW_S, EVENT_ENDPOINT_QUOTA_WINDOW_S};
use crate::testing::{Host, MockResponse, Upstream, wait_ms};
use crate::time::Timestamp;

const AUDIT: &str = "get-audit-events";

fn host(settings: &str) -> Host {
    Host::new(&format!(",{settings}"))
}

/// Polls once and returns the requests that it made, without those for a token.
fn requests_of_a_poll(host: &mut Host, upstream: &mut Upstream) -> Vec<String> {
    upstream.requests.clear();
    host.poll(upstream).unwrap();
    let is_token = |request: &String| request.contains("/oauth/token");
    upstream.requests.retain(|request| !is_token(request));
    upstream.requests.clone()
}

/// Polls every `step_ms` until a request contains `part`; when that was.
fn time_of_next_request(
    part: &str,
    step_ms: i64,
    host: &mut Host,
    upstream: &mut Upstream,
) -> Timestamp {
    for _ in 0..10_000 {
        let now = upstream.now;
        let requests = requests_of_a_poll(host, upstream);
        if requests.iter().any(|request| request.contains(part)) {
            return now;
        }
        upstream.now = now.plus_ms(step_ms);
    }
    panic!("no request contains {part}");
}

#[test]
fn streams_take_turns_although_each_poll_has_a_session_of_its_own() {
    let mut upstream = Upstream::new();
    for event_type in ["receipt", "url protect"] {
        for _ in 0..9 {
            upstream.add_file(event_type, 9);
        }
    }
    for n in 0..30 {
        let at = upstream.now.plus_ms(-n * 60_000);
        upstream.add_audit(&format!("a{n}"), at);
    }
    let mut host = host(r#""streams":["siem.receipt","siem.url-protect","audit"]"#);
    host.fresh_each_poll = true;
    // A token and one call.
    host.limits.max_requests = 2;
    let mut served: Vec<String> = Vec::new();
    for _ in 0..3 {
        served.extend(requests_of_a_poll(&mut host, &mut upstream));
    }
    let parts = ["type=receipt", "type=url%20protect", AUDIT];
    assert_eq!(served.len(), parts.len(), "{served:?}");
    for (request, part) in served.iter().zip(parts) {
        assert!(request.contains(part), "{served:?}");
    }
}

#[test]
fn the_quota_of_batch_files_counts_the_calls_of_the_session_before() {
    let mut upstream = Upstream::new();
    upstream.page_files = 1;
    for _ in 0..9 {
        upstream.add_file("receipt", 1);
    }
    let mut host = host(r#""streams":["siem.receipt"],"siem_calls_per_15_min":3"#);
    while upstream.quota_calls.len() < 3 {
        host.poll(&mut upstream).unwrap();
    }
    let first = upstream.quota_calls[0].0;
    host.session = None;
    upstream.now = upstream.now.plus_ms(60_000);
    let next = time_of_next_request("type=receipt", 5_000, &mut host, &mut upstream);
    let allowed = first.plus_ms(BATCH_FILES_QUOTA_WINDOW_S * 1000);
    assert!(next >= allowed, "{next} is before {allowed}");
    assert!(next <= allowed.plus_ms(10_000), "{next} is late");
}

#[test]
fn the_quota_of_the_event_endpoint_counts_the_calls_of_the_session_before() {
    let mut upstream = Upstream::new();
    for _ in 0..400 {
        upstream.add_file("receipt", 3);
    }
    let mut host = host(r#""streams":["siem.receipt"],"siem_endpoint":"events","start":"1h""#);
    host.limits = Limits {
        max_events: 10_000,
        max_bytes: 1 << 24,
        max_requests: 1_000,
    };
    while !matches!(
        host.poll(&mut upstream).unwrap().next,
        NextPoll::Throttled(_)
    ) {}
    assert_eq!(
        upstream.quota_calls.len(),
        300,
        "the documented quota is used"
    );
    let first = upstream.quota_calls[0].0;
    host.session = None;
    upstream.now = upstream.now.plus_ms(60_000);
    let next = time_of_next_request("types=receipt", 5_000, &mut host, &mut upstream);
    let allowed = first.plus_ms(EVENT_ENDPOINT_QUOTA_WINDOW_S * 1000);
    assert!(next >= allowed, "{next} is before {allowed}");
}

#[test]
fn a_backoff_and_its_count_of_tries_outlive_the_session() {
    let mut upstream = Upstream::new();
    let mut host = host(r#""streams":["audit"]"#);
    let ask = [("retry-after", "600")];
    for response in [
        MockResponse::with(503, &ask, ""),
        MockResponse::json(503, ""),
    ] {
        upstream.script.push_back((AUDIT.to_owned(), response));
    }
    let failed_at = upstream.now;
    host.poll(&mut upstream).unwrap();

    host.session = None;
    upstream.now = upstream.now.plus_ms(10_000);
    let next = time_of_next_request(AUDIT, 5_000, &mut host, &mut upstream);
    assert!(next >= failed_at.plus_ms(600_000), "{next} is too early");
    assert!(next <= failed_at.plus_ms(606_000), "{next} is late");

    // That was the second failure in a row: its wait is the second of the table, with jitter.
    host.session = None;
    let batch = host.poll(&mut upstream).unwrap();
    let wait_ms = wait_ms(batch.next);
    assert!((1_900..2_500).contains(&wait_ms), "{wait_ms} ms");
}

#[test]
fn a_failing_server_is_not_asked_again_before_its_retry_after() {
    let mut upstream = Upstream::new();
    let mut host = host(r#""streams":["audit"]"#);
    let failure = MockResponse::with(503, &[("retry-after", "120")], "");
    upstream.script.push_back((AUDIT.to_owned(), failure));
    let failed_at = upstream.now;
    let batch = host.poll(&mut upstream).unwrap();
    assert!(
        (119_000..=120_000).contains(&wait_ms(batch.next)),
        "{:?}",
        batch.next
    );
    let next = time_of_next_request(AUDIT, 1_000, &mut host, &mut upstream);
    assert!(next >= failed_at.plus_ms(120_000), "{next} is too early");
    assert!(next <= failed_at.plus_ms(122_000), "{next} is late");
}

#[test]
fn a_listing_that_used_the_last_call_holds_back_every_siem_stream_and_no_other() {
    let mut upstream = Upstream::new();
    let mut host = host(r#""streams":["siem.receipt","siem.url-protect","audit"]"#);
    let last = [
        ("x-ratelimit-remaining", "0"),
        ("x-ratelimit-reset", "30000"),
    ];
    let empty = r#"{"value":[],"@nextPage":"0","isCaughtUp":true}"#;
    let listing = MockResponse::with(200, &last, empty);
    upstream
        .script
        .push_back(("type=receipt".to_owned(), listing));
    let begun_at = upstream.now;
    let requests = requests_of_a_poll(&mut host, &mut upstream);
    assert!(requests[0].contains("type=receipt"), "{requests:?}");
    assert!(requests[1].contains(AUDIT), "{requests:?}");
    let next = time_of_next_request("type=url", 1_000, &mut host, &mut upstream);
    assert!(next >= begun_at.plus_ms(30_000), "{next} is too early");
    assert!(next <= begun_at.plus_ms(32_000), "{next} is late");
}

#[test]
fn a_call_that_is_retried_waits_for_its_quota() {
    const RECEIPT: &str = "type=receipt";
    let last = [
        ("x-ratelimit-remaining", "0"),
        ("x-ratelimit-reset", "600000"),
    ];
    for (calls_max, headers, wait_s) in [
        (1, &[][..], BATCH_FILES_QUOTA_WINDOW_S),
        (50, &last[..], 600),
    ] {
        let mut upstream = Upstream::new();
        upstream.add_file("receipt", 3);
        upstream.add_audit("a1", upstream.now.plus_ms(-3_600_000));
        let settings =
            format!(r#""streams":["siem.receipt","audit"],"siem_calls_per_15_min":{calls_max}"#);
        let mut host = host(&settings);
        let refusal = r#"{"fail":[{"code":"token_verification_failed"}]}"#;
        let refusal = MockResponse::with(401, headers, refusal);
        upstream.script.push_back((RECEIPT.to_owned(), refusal));
        let refused_at = upstream.now;
        let requests = requests_of_a_poll(&mut host, &mut upstream);
        let of_receipt = requests.iter().filter(|it| it.contains(RECEIPT));
        assert_eq!(of_receipt.count(), 1, "{requests:?}");
        assert!(requests.iter().any(|it| it.contains(AUDIT)), "{requests:?}");
        let detail = &host.notices.first().unwrap().detail;
        assert!(
            detail.contains("401") && detail.contains("next try in"),
            "{detail}"
        );
        let next = time_of_next_request(RECEIPT, 1_000, &mut host, &mut upstream);
        let allowed = refused_at.plus_ms(wait_s * 1000);
        assert!(next >= allowed, "{next} is before {allowed}");
        assert!(next <= allowed.plus_ms(3_000), "{next} is late");
        host.collect(&mut upstream);
        host.assert_exactly_once(&upstream);
    }
}

#[test]
fn a_page_without_a_token_is_the_last_one() {
    let mut upstream = Upstream::new();
    upstream.add_file("receipt", 3);
    let mut host = host(r#""streams":["siem.receipt"]"#);
    let page =
        r#"{"value":[{"url":"https://files.test/receipt/0?X-Amz-Signature=sig-1","size":1}]}"#;
    let listing = ("type=receipt".to_owned(), MockResponse::json(200, page));
    upstream.always.push(listing);
    let listed_at = upstream.now;
    let batch = host.poll(&mut upstream).unwrap();
    let listings = |upstream: &Upstream| {
        let requests = upstream.requests.iter();
        requests.filter(|it| it.contains("type=receipt")).count()
    };
    assert_eq!(listings(&upstream), 1, "{:?}", upstream.requests);
    let (_, stats) = batch
        .stats
        .iter()
        .find(|(stream, _)| *stream == Stream::SiemReceipt)
        .unwrap();
    assert_eq!((stats.events, stats.caught_up), (3, true), "{stats:?}");
    assert!(
        matches!(batch.next, NextPoll::CaughtUp(_)),
        "{:?}",
        batch.next
    );
    let next = time_of_next_request("type=receipt", 5_000, &mut host, &mut upstream);
    assert!(next >= listed_at.plus_ms(5 * 60_000), "{next} is too early");
    host.assert_exactly_once(&upstream);
}

#[test]
fn an_event_of_the_second_at_which_the_endpoint_takes_over_is_delivered() {
    let mut upstream = Upstream::new();
    let end = upstream.now;
    upstream.now = end.plus_ms(-40 * 3_600_000);
    upstream.add_file("receipt", 2);
    upstream.now = end;
    let mut host = host(r#""streams":["siem.receipt"],"siem_endpoint":"events","start":"48h""#);
    host.limits.max_requests = 2;
    host.poll(&mut upstream).unwrap();
    // Batch files are read up to here, the event endpoint from here.
    let checkpoint: serde_json::Value =
        serde_json::from_str(host.checkpoint.as_deref().unwrap()).unwrap();
    let events = &checkpoint["streams"]["siem.receipt"]["events"];
    let until = Timestamp::from_millis(events["until"].as_i64().unwrap());
    upstream.now = until;
    upstream.add_file("receipt", 2);
    upstream.now = end;
    host.limits.max_requests = 5;
    host.collect(&mut upstream);
    host.assert_exactly_once(&upstream);
}

#[test]
fn a_refused_page_token_lists_again_from_an_hour_before_the_newest_event() {
    let mut upstream = Upstream::new();
    upstream.page_files = 1;
    let read_at = upstream.now;
    // Files appear on the third of the month; the events of the last are of 00:20.
    upstream.now = Timestamp::parse("2026-02-03T00:20:00Z").unwrap();
    upstream.add_file("receipt", 3);
    upstream.add_file("receipt", 3);
    upstream.now = read_at;
    let mut host = host(r#""streams":["siem.receipt"],"start":"3d""#);
    let refused = MockResponse::json(400, r#"{"fail":[{"code":"err_invalid_page_token"}]}"#);
    upstream
        .script
        .push_back(("nextPage=1".to_owned(), refused));
    host.collect(&mut upstream);
    let begun_again = upstream
        .requests
        .iter()
        .rfind(|request| request.contains("dateRangeStartsAt="))
        .unwrap();
    assert!(begun_again.contains("=2026-02-02"), "{begun_again}");
    assert!(host.notices.iter().any(|n| n.kind == NoticeKind::Adjusted));
    host.assert_at_least_once(&upstream);
}

#[test]
fn a_poll_of_a_slow_upstream_ends_after_5_seconds_with_what_it_has() {
    let mut upstream = Upstream::new();
    upstream.response_ms = 1_000;
    for n in 0..300 {
        let at = upstream.now.plus_ms(-n * 280_000);
        upstream.add_audit(&format!("a{n}"), at);
    }
    let mut host = host(r#""streams":["audit"]"#);
    host.limits = Limits {
        max_events: 10_000,
        max_bytes: 1 << 24,
        max_requests: 1_000,
    };
    let begun_at = upstream.now;
    let batch = host.poll(&mut upstream).unwrap();
    let lasted_ms = upstream.now.millis() - begun_at.millis();
    assert!((5_000..=6_000).contains(&lasted_ms), "{lasted_ms} ms");
    assert!(batch.events.lines().count() >= 5, "it has what was read");
    assert_eq!(batch.next, NextPoll::Now);
    host.collect(&mut upstream);
    host.assert_exactly_once(&upstream);
}

#[test]
fn a_success_ends_a_backoff_and_its_count_of_tries() {
    let mut upstream = Upstream::new();
    let mut host = host(r#""streams":["audit"]"#);
    for _ in 0..2 {
        let failure = (AUDIT.to_owned(), MockResponse::json(503, ""));
        upstream.script.push_back(failure.clone());
        let failed = host.poll(&mut upstream).unwrap();
        assert!(
            matches!(failed.next, NextPoll::Failing(1_000..1_250)),
            "{:?}",
            failed.next
        );
        upstream.now = upstream.now.plus_ms(wait_ms(failed.next));
        let good = host.poll(&mut upstream).unwrap();
        assert!(good.stats.iter().all(|(_, stats)| stats.caught_up));
        assert!(
            matches!(good.next, NextPoll::CaughtUp(_)),
            "{:?}",
            good.next
        );
        upstream.now = upstream.now.plus_ms(wait_ms(good.next));
    }
}

#[test]
fn no_more_of_a_response_is_read_than_its_bound() {
    for (status, bytes, bytes_max) in [(503, 1 << 20, 64 * 1024), (200, 9 << 20, 8 * 1024 * 1024)] {
        let mut upstream = Upstream::new();
        let mut host = host(r#""streams":["audit"]"#);
        let response = MockResponse::json(status, &" ".repeat(bytes));
        upstream.script.push_back((AUDIT.to_owned(), response));
        let batch = host.poll(&mut upstream).unwrap();
        let read: u64 = batch
            .stats
            .iter()
            .map(|(_, stats)| stats.received_bytes)
            .sum();
        assert!(
            (bytes_max..bytes_max + 100).contains(&read),
            "{status}: {read} bytes"
        );
        assert_eq!(batch.notices.len(), 1, "{status}: {:?}", batch.notices);
    }
}
