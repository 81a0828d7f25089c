use crate::batch::{Limits, NextPoll, NoticeKind};
use crate::response::TransportError;
use crate::session::PollError;
use crate::stream::Stream;
use crate::testing::{Host, MockResponse, Upstream, gzip, wait_ms};
use crate::time::Timestamp;

mod all_streams;
mod clocks;
mod legacy;
mod lists;
mod notices;
mod page_loops;
mod reconcile;
mod regressions;
mod requests_per_hour;
mod resumption;
mod set_aside;
mod simulation;
mod single_events;
mod slow;
mod windows;

/// Two types with three pages each, and a day of audit events.
fn upstream() -> Upstream {
    let mut upstream = Upstream::new();
    for event_type in ["receipt", "url protect"] {
        for file in 0..5 {
            upstream.add_file(event_type, 3 + 4 * file);
        }
    }
    for n in 0..40 {
        // Three of them share each second, over the boundary of the pages.
        let at = upstream.now.plus_ms(-20 * 3_600_000 + (n / 3) * 1_800_000);
        upstream.add_audit(&format!("a{n}"), at);
    }
    upstream
}

fn host() -> Host {
    Host::new(r#","streams":["siem.receipt","siem.url-protect","audit"]"#)
}

#[test]
fn every_record_is_delivered_exactly_once() {
    let (mut upstream, mut host) = (upstream(), host());
    host.collect(&mut upstream);
    host.assert_exactly_once(&upstream);
    assert!(host.notices.is_empty(), "{:?}", host.notices);
}

#[test]
fn a_fresh_session_for_each_poll_delivers_the_same() {
    let (mut upstream, mut host) = (upstream(), host());
    host.fresh_each_poll = true;
    host.collect(&mut upstream);
    host.assert_exactly_once(&upstream);
}

#[test]
fn a_fresh_session_for_each_poll_whose_batch_ends_inside_files_makes_progress() {
    let mut upstream = Upstream::new();
    let types = ["receipt", "process", "delivery", "av", "spam", "journal"];
    for event_type in types {
        for _ in 0..4 {
            upstream.add_file(event_type, 5);
        }
    }
    let mut host = Host::new(r#","streams":["siem"],"siem_calls_per_15_min":1000000"#);
    host.fresh_each_poll = true;
    host.limits.max_events = 7;
    host.limits.max_requests = 100;
    host.collect(&mut upstream);
    host.assert_exactly_once(&upstream);
}

#[test]
fn a_host_killed_after_any_poll_misses_nothing_and_repeats_only_that_poll() {
    for kill_at in 0..40 {
        let (mut upstream, mut host) = (upstream(), host());
        host.collect_after_a_kill(&mut upstream, kill_at);
        host.assert_exactly_once(&upstream);
    }
}

#[test]
fn limits_of_one_event_and_one_request_still_make_progress() {
    let (mut upstream, mut host) = (upstream(), host());
    host.limits = Limits {
        max_events: 1,
        max_bytes: 400,
        max_requests: 1,
    };
    host.collect(&mut upstream);
    host.assert_exactly_once(&upstream);
}

#[test]
fn a_poll_without_requests_only_checks_settings_and_checkpoint() {
    let (mut upstream, mut host) = (upstream(), host());
    host.limits.max_requests = 0;
    let batch = host.poll(&mut upstream).unwrap();
    assert!(batch.events.is_empty() && upstream.requests.is_empty());
    host.session = None;
    host.checkpoint = Some("{\"v\":1,\"str".to_owned());
    assert!(matches!(
        host.poll(&mut upstream),
        Err(PollError::UnusableCheckpoint(_))
    ));
    let mut future = Host::new(r#","start":"2999-01-01T00:00:00Z""#);
    assert!(matches!(
        future.poll(&mut upstream),
        Err(PollError::Settings(_))
    ));
    assert!(upstream.requests.is_empty());
}

#[test]
fn new_files_are_found_with_the_token_that_was_kept_when_caught_up() {
    let (mut upstream, mut host) = (upstream(), host());
    host.collect(&mut upstream);
    let before = upstream.requests.len();
    for _ in 0..3 {
        upstream.now = upstream.now.plus_ms(10 * 60_000);
        host.collect(&mut upstream);
    }
    let listings = &upstream.requests[before..];
    assert!(
        listings
            .iter()
            .filter(|url| url.contains("/cg?"))
            .all(|url| url.contains("nextPage=5"))
    );
    upstream.add_file("receipt", 9);
    let now = upstream.now;
    upstream.add_audit("late", now);
    upstream.now = upstream.now.plus_ms(10 * 60_000);
    host.collect(&mut upstream);
    host.assert_exactly_once(&upstream);
}

#[test]
fn a_refused_token_is_renewed_once_and_the_call_repeated() {
    for (call, status, body) in [
        (
            "/cg?",
            401,
            r#"{"fail":[{"code":"token_expired","message":"m"}]}"#,
        ),
        (
            "/cg?",
            401,
            r#"{"fail":[{"errors":[{"code":"token_verification_failed","message":"m"}]}]}"#,
        ),
        ("/cg?", 401, "<html>"),
        ("get-audit", 200, r#"{"fail":[{"code":"token_expired"}]}"#),
    ] {
        let (mut upstream, mut host) = (upstream(), host());
        upstream
            .script
            .push_back((call.to_owned(), MockResponse::json(status, body)));
        host.collect(&mut upstream);
        host.assert_exactly_once(&upstream);
        let tokens = upstream.count_requests("/oauth/token");
        assert_eq!(tokens, 2, "{call} {body}");
        assert!(
            upstream.script.is_empty() && host.notices.is_empty(),
            "{call} {body}"
        );
    }
}

#[test]
fn a_missing_permission_stops_one_stream_and_names_what_to_grant() {
    for response in [
        MockResponse::json(
            403,
            r#"{"fail":[{"code":"app_forbidden","message":"Forbidden to perform the requested operation"}]}"#,
        ),
        MockResponse::json(
            200,
            r#"{"meta":{"status":200},"data":[],"fail":[{"errors":[{"code":"app_forbidden"}]}]}"#,
        ),
        MockResponse::json(404, r#"{"fail":[{"code":"endpoint_evaluation_failed_1"}]}"#),
    ] {
        let (mut upstream, mut host) = (upstream(), host());
        upstream
            .always
            .push(("get-audit-events".to_owned(), response));
        host.collect(&mut upstream);
        upstream.audit.clear();
        host.assert_exactly_once(&upstream);
        let notice = &host.notices[0];
        assert_eq!(
            (notice.stream.name(), notice.kind),
            ("audit", NoticeKind::NotPermitted)
        );
        assert!(
            notice.detail.contains("Account | Logs | Read"),
            "{}",
            notice.detail
        );
        assert!(
            notice.detail.contains("request id req-7"),
            "{}",
            notice.detail
        );
    }
}

#[test]
fn a_throttled_stream_waits_as_long_as_requested_while_the_others_continue() {
    let (mut upstream, mut host) = (upstream(), host());
    let reset = MockResponse::with(
        429,
        &[("x-ratelimit-reset", "90000")],
        r#"{"detail":"Over throttling limit"}"#,
    );
    upstream.script.push_back(("/cg?".to_owned(), reset));
    let began = upstream.now;
    while host.poll(&mut upstream).unwrap().next == NextPoll::Now {}
    assert_eq!(host.delivered.len(), 40, "audit is collected meanwhile");
    assert!(upstream.quota_calls.is_empty());
    host.collect(&mut upstream);
    let first = upstream.quota_calls[0].0.millis() - began.millis();
    assert!((90_000..92_000).contains(&first), "{first}");
    host.assert_exactly_once(&upstream);
}

#[test]
fn failures_of_connection_and_server_are_waited_out() {
    let (mut upstream, mut host) = (upstream(), host());
    let reset =
        || MockResponse::TransportError(TransportError::Failed("connection reset".to_owned()));
    for part in [
        "/oauth/token",
        "/cg?",
        "get-audit",
        "files.test/receipt/1",
        "files.test/url+protect/0",
    ] {
        upstream.script.push_back((part.to_owned(), reset()));
        upstream.script.push_back((
            part.to_owned(),
            MockResponse::json(502, "<html>bad gateway</html>"),
        ));
    }
    let text = upstream.files["receipt"][4].clone();
    let body = gzip(&text);
    let half = body.len() / 2;
    upstream.script.push_back((
        "files.test/receipt/4".to_owned(),
        MockResponse::ConnectionReset(body, half),
    ));
    host.collect(&mut upstream);
    host.assert_exactly_once(&upstream);
    assert!(
        host.notices
            .iter()
            .all(|notice| notice.kind == NoticeKind::Postponed)
    );
}

#[test]
fn a_link_that_is_refused_is_listed_again_and_a_file_that_is_gone_is_a_gap() {
    let (mut upstream, mut host) = (upstream(), host());
    let expired = || MockResponse::json(403, "<Error><Code>AccessDenied</Code></Error>");
    upstream
        .script
        .push_back(("files.test/receipt/1".to_owned(), expired()));
    host.collect(&mut upstream);
    host.assert_exactly_once(&upstream);

    let (mut upstream, mut host) = (self::upstream(), self::host());
    upstream.always.push((
        "files.test/receipt/1".to_owned(),
        MockResponse::json(404, "<Error/>"),
    ));
    host.collect(&mut upstream);
    upstream.files.get_mut("receipt").unwrap()[1].clear();
    host.assert_exactly_once(&upstream);
    let gaps: Vec<_> = host
        .notices
        .iter()
        .filter(|n| n.kind == NoticeKind::Gap)
        .collect();
    assert_eq!(gaps.len(), 1, "{gaps:?}");
    assert!(
        gaps[0].detail.contains("/receipt/1 from line 1"),
        "{}",
        gaps[0].detail
    );
}

#[test]
fn a_broken_file_is_fetched_again_and_then_rejected_after_what_could_be_read() {
    let (mut upstream, mut host) = (upstream(), host());
    let whole = gzip(&upstream.files["receipt"][2]);
    let cut = MockResponse::Complete(200, Vec::new(), whole[..whole.len() - 4].to_vec());
    upstream
        .script
        .push_back(("files.test/receipt/2".to_owned(), cut.clone()));
    host.collect(&mut upstream);
    host.assert_exactly_once(&upstream);
    assert!(host.rejected.is_empty());

    let (mut upstream, mut host) = (self::upstream(), self::host());
    upstream
        .always
        .push(("files.test/receipt/2".to_owned(), cut));
    upstream.always.push((
        "files.test/receipt/3".to_owned(),
        MockResponse::json(200, "<html>"),
    ));
    host.collect(&mut upstream);
    assert_eq!(host.rejected.len(), 2);
    assert!(
        host.rejected[0].locator.contains("/receipt/2 after line"),
        "{:?}",
        host.rejected
    );
    assert_eq!(
        host.rejected[1].reason,
        "the rest of the file is rejected: the body is neither gzip nor lines of records"
    );
}

#[test]
fn bad_lines_are_rejected_with_their_place_and_the_rest_is_delivered() {
    let (mut upstream, mut host) = (upstream(), host());
    upstream.files.get_mut("receipt").unwrap()[0] =
        "{\"type\":\"receipt\",\"aggregateId\":\"x\",\"timestamp\":1}\n\nnot json\n{\"a\":"
            .to_owned();
    host.collect(&mut upstream);
    let places: Vec<&str> = host.rejected.iter().map(|r| r.locator.as_str()).collect();
    assert_eq!(
        places,
        [
            "siem.receipt /receipt/0 line 3",
            "siem.receipt /receipt/0 line 4"
        ]
    );
    assert_eq!(host.rejected[0].original, b"not json");
    assert!(host.delivered.contains(&"receipt/x".to_owned()));
}

#[test]
fn a_file_that_is_listed_twice_is_read_once() {
    let (mut upstream, mut host) = (upstream(), host());
    let twice = r#"{"value":[{"url":"https://files.test/receipt/0?X-Amz-Signature=sig-A","size":1},{"url":"https://files.test/receipt/0?X-Amz-Signature=sig-B","size":1},{"url":"https://files.test/receipt/1?X-Amz-Signature=sig-C","size":1}],"@nextPage":"1","isCaughtUp":false}"#;
    upstream
        .script
        .push_back(("type=receipt".to_owned(), MockResponse::json(200, twice)));
    host.collect(&mut upstream);
    host.assert_exactly_once(&upstream);
}

#[test]
fn an_empty_page_is_not_the_end_and_a_missing_token_keeps_the_old_one() {
    let (mut upstream, mut host) = (upstream(), host());
    let empty = r#"{"value":[],"@nextPage":"0","isCaughtUp":false}"#;
    upstream
        .script
        .push_back(("type=receipt".to_owned(), MockResponse::json(200, empty)));
    let none = r#"{"value":[]}"#;
    upstream.script.push_back((
        "type=url%20protect".to_owned(),
        MockResponse::json(200, none),
    ));
    host.collect(&mut upstream);
    upstream.now = upstream.now.plus_ms(10 * 60_000);
    host.collect(&mut upstream);
    host.assert_exactly_once(&upstream);
}

#[test]
fn a_page_token_that_is_refused_begins_again_by_date_and_says_so() {
    let (mut upstream, mut host) = (upstream(), host());
    let refused = || {
        MockResponse::json(
            400,
            r#"{"fail":[{"code":"err_invalid_page_token","message":"m"}]}"#,
        )
    };
    upstream
        .script
        .push_back(("type=receipt&pageSize=100&nextPage=2".to_owned(), refused()));
    upstream
        .script
        .push_back(("\"pageToken\":\"3\"".to_owned(), refused()));
    host.collect(&mut upstream);
    host.assert_at_least_once(&upstream);
    let adjusted = host
        .notices
        .iter()
        .filter(|n| n.kind == NoticeKind::Adjusted)
        .count();
    assert_eq!(adjusted, 2, "{:?}", host.notices);
    assert!(
        host.duplicates > 0,
        "the window that was read again repeats nothing"
    );
}

#[test]
fn the_quota_of_listings_holds_in_every_15_minutes_and_is_shared_fairly() {
    let mut upstream = Upstream::new();
    upstream.page_files = 1;
    for file in 0..60 {
        for event_type in ["receipt", "process", "delivery"] {
            upstream.add_file(event_type, 1 + file % 2);
        }
    }
    let mut host = Host::new(r#","streams":["siem"]"#);
    host.collect(&mut upstream);
    host.assert_exactly_once(&upstream);
    let listings = &upstream.quota_calls;
    for (index, (from, _)) in listings.iter().enumerate() {
        let until = from.plus_ms(15 * 60_000);
        let inside = listings[index..]
            .iter()
            .take_while(|(at, _)| *at < until)
            .count();
        assert!(inside <= 50, "{inside} listings in 15 minutes");
    }
    for event_type in ["receipt", "process", "delivery"] {
        let early = listings
            .iter()
            .take(100)
            .filter(|(_, listed)| listed == event_type)
            .count();
        assert!(
            (20..40).contains(&early),
            "{event_type} got {early} of the first 100 listings"
        );
    }
}

#[test]
fn an_outage_longer_than_the_retention_is_a_gap_with_its_bounds() {
    let (mut upstream, mut host) = (upstream(), host());
    host.collect(&mut upstream);
    host.session = None;
    upstream.now = upstream.now.plus_ms(61 * 86_400_000);
    host.collect(&mut upstream);
    let gaps: Vec<_> = host
        .notices
        .iter()
        .filter(|n| n.kind == NoticeKind::Gap)
        .collect();
    assert_eq!(gaps.len(), 3, "{gaps:?}");
    assert!(
        gaps.iter()
            .all(|gap| gap.detail.contains("between 2026-02-0")),
        "{gaps:?}"
    );
}

/// Lets all requests whose URL has `path` fail until `days` after now, and then collects. Asserts that the
/// gaps that are reported lie next to each other, and end where the retention of a week begins.
fn assert_outage_is_reported_as_adjoining_gaps(
    host: &mut Host,
    upstream: &mut Upstream,
    stream: Stream,
    path: &str,
    days: i64,
) {
    let begin = upstream.now;
    let end = begin.plus_ms(days * 86_400_000);
    let unavailable = MockResponse::json(503, "");
    upstream.always.push((path.to_owned(), unavailable));
    while upstream.now < end {
        let batch = host.poll(upstream).unwrap();
        upstream.now = upstream.now.plus_ms(wait_ms(batch.next).max(3_600_000));
    }
    upstream.always.clear();
    host.collect(upstream);
    let mut gaps = Vec::new();
    for notice in host.notices.iter().filter(|notice| notice.stream == stream) {
        assert!(!notice.detail.contains("begins at"), "{notice:?}");
        if notice.kind == NoticeKind::Gap {
            let words: Vec<&str> = notice.detail.split(' ').collect();
            let bound = |word: &str| {
                let at = words.iter().position(|it| *it == word).unwrap();
                Timestamp::parse(words[at + 1]).unwrap()
            };
            gaps.push((bound("between"), bound("and")));
        }
    }
    assert!(gaps.len() > 1, "{gaps:?}");
    assert!(gaps[0].0 <= begin, "{gaps:?}");
    for pair in gaps.windows(2) {
        assert!(pair[1].0 <= pair[0].1, "{pair:?}");
    }
    let retained = upstream.now.plus_ms(-7 * 86_400_000);
    let last = gaps.last().unwrap().1;
    assert!(last > retained.plus_ms(-7_200_000), "{last}, {retained}");
}

#[test]
fn an_outage_while_polls_fail_is_reported_to_its_end() {
    let (stream, path) = (Stream::SiemReceipt, "/siem/v1/batch");
    let mut upstream = Upstream::new();
    let mut host = Host::new(&format!(r#","streams":["{stream}"]"#));
    host.collect(&mut upstream);
    assert_outage_is_reported_as_adjoining_gaps(&mut host, &mut upstream, stream, path, 12);
}

#[test]
fn a_start_beyond_the_retention_is_adjusted_and_reported() {
    let mut upstream = upstream();
    let mut host = Host::new(r#","streams":["siem.receipt","audit"],"start":"90d""#);
    host.collect(&mut upstream);
    let kinds: Vec<_> = host.notices.iter().map(|notice| notice.kind).collect();
    assert_eq!(kinds, [NoticeKind::Adjusted, NoticeKind::Adjusted]);
    let listed = upstream
        .requests
        .iter()
        .find(|url| url.contains("type=receipt"))
        .unwrap();
    assert!(listed.contains("dateRangeStartsAt=2026-01-27"), "{listed}");
}

#[test]
fn refused_credentials_end_the_poll_and_say_what_to_check() {
    for (status, body) in [
        (
            401,
            r#"{"fail":[{"code":"InvalidClientIdentifier","message":"Client credentials are invalid"}]}"#,
        ),
        (
            401,
            r#"{"fail":[{"errors":[{"code":"invalid_client_identifier","message":"m"}]}]}"#,
        ),
        (200, r#"{"fail":[{"code":"InvalidClientIdentifier"}]}"#),
    ] {
        let (mut upstream, mut host) = (upstream(), host());
        upstream
            .always
            .push(("/oauth/token".to_owned(), MockResponse::json(status, body)));
        let error = host.poll(&mut upstream).unwrap_err();
        let PollError::Unauthorized(detail) = error else {
            panic!("{error:?}")
        };
        assert!(
            detail.contains("client_secret") && detail.contains("req-7"),
            "{detail}"
        );
        assert!(!detail.contains("hush-9"));
    }
}

#[test]
fn an_origin_that_the_host_refuses_is_named() {
    let (mut upstream, mut host) = (upstream(), host());
    let denied =
        MockResponse::TransportError(TransportError::Denied("https://files.test".to_owned()));
    upstream.always.push(("files.test".to_owned(), denied));
    for _ in 0..20 {
        host.poll(&mut upstream).unwrap();
    }
    assert_eq!(host.delivered.len(), 40, "audit needs no storage");
    assert!(
        host.notices
            .iter()
            .any(|n| n.detail.contains("https://files.test"))
    );
    let (mut upstream, mut host) = (self::upstream(), self::host());
    let denied =
        MockResponse::TransportError(TransportError::Denied("https://api.test".to_owned()));
    upstream.always.push(("api.test".to_owned(), denied));
    assert_eq!(
        host.poll(&mut upstream).unwrap_err(),
        PollError::Denied("https://api.test".to_owned())
    );
}

#[test]
fn a_clock_that_is_set_back_does_not_stop_a_stream() {
    let (mut upstream, mut host) = (upstream(), host());
    host.collect(&mut upstream);
    upstream.host_ahead_ms = -30 * 86_400_000;
    upstream.add_file("receipt", 4);
    upstream.now = upstream.now.plus_ms(11 * 60_000);
    host.session = None;
    for _ in 0..3 {
        host.collect(&mut upstream);
        upstream.now = upstream.now.plus_ms(11 * 60_000);
    }
    host.assert_at_least_once(&upstream);
}
