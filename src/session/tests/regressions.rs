//! Faults that the simulation has found, each with a test of its own.

use crate::batch::{NextPoll, NoticeKind};
use crate::session::PollError;
use crate::stream::Stream;
use crate::testing::{Host, MockResponse, Upstream};

/// A host that collects one stream and has read nothing yet but the empty log.
fn caught_up(stream: Stream) -> (Upstream, Host) {
    let mut upstream = Upstream::new();
    let mut host = Host::new(&format!(r#","streams":["{stream}"]"#));
    host.collect(&mut upstream);
    upstream.now = upstream.now.plus_ms(20 * 60_000);
    (upstream, host)
}

#[test]
fn an_error_that_repeats_the_credentials_is_shown_without_them() {
    let mut upstream = Upstream::new();
    let mut host = Host::new(r#","streams":["audit"]"#);
    let token = "a-token-0123456789";
    let grant = format!(r#"{{"access_token":"{token}","expires_in":1799}}"#);
    let error = format!(r#"{{"error":{{"message":"{token} of hush-9 {token}"}}}}"#);
    for (part, status, body) in [("/oauth/token", 200, grant), ("get-audit", 400, error)] {
        upstream
            .script
            .push_back((part.to_owned(), MockResponse::json(status, &body)));
    }
    let batch = host.poll(&mut upstream).unwrap();
    let detail = &batch.notices[0].detail;
    assert!(
        detail.contains("[redacted] of [redacted] [redacted]"),
        "{detail}"
    );
}

#[test]
fn a_response_without_its_members_is_no_empty_page() {
    for stream in [
        Stream::SiemReceipt,
        Stream::Audit,
        Stream::TtpUrl,
        Stream::HeldRelease,
    ] {
        let (mut upstream, mut host) = caught_up(stream);
        // Older than the next window reaches back.
        let at = upstream.now.plus_ms(-18 * 60_000);
        if stream == Stream::SiemReceipt {
            upstream.add_file("receipt", 3);
        } else if stream == Stream::Audit {
            upstream.add_audit("a", at);
        } else {
            upstream.other_streams.add(stream, "a", (at, at));
        }
        let empty = (
            stream.info().endpoint.to_owned(),
            MockResponse::json(200, "{}"),
        );
        upstream.script.push_back(empty);
        host.collect(&mut upstream);
        upstream.now = upstream.now.plus_ms(60 * 60_000);
        host.collect(&mut upstream);
        host.assert_exactly_once(&upstream);
    }
}

#[test]
fn a_page_of_events_without_its_members_is_no_empty_page() {
    let mut upstream = Upstream::new();
    let settings = r#","streams":["siem.receipt"],"siem_endpoint":"events","start":"1h""#;
    let mut host = Host::new(settings);
    host.collect(&mut upstream);
    upstream.now = upstream.now.plus_ms(60_000);
    upstream.add_file("receipt", 3);
    upstream.now = upstream.now.plus_ms(20 * 60_000);
    // If the empty response counted as read, reading would continue after it when the token is
    // refused.
    let refused = MockResponse::json(400, r#"{"fail":[{"code":"err_invalid_token"}]}"#);
    for response in [MockResponse::json(200, "{}"), refused] {
        upstream.script.push_back(("nextPage".to_owned(), response));
    }
    host.collect(&mut upstream);
    upstream.now = upstream.now.plus_ms(60 * 60_000);
    host.collect(&mut upstream);
    host.assert_exactly_once(&upstream);
}

#[test]
fn a_file_that_comes_empty_is_fetched_again() {
    let (mut upstream, mut host) = caught_up(Stream::SiemReceipt);
    upstream.add_file("receipt", 3);
    for _ in 0..2 {
        upstream
            .script
            .push_back(("/receipt/0".to_owned(), MockResponse::json(200, "")));
    }
    host.collect(&mut upstream);
    host.assert_exactly_once(&upstream);
    assert!(host.rejected.is_empty(), "{:?}", host.rejected);
}

#[test]
fn a_file_that_stays_empty_is_rejected_by_its_name() {
    let (mut upstream, mut host) = caught_up(Stream::SiemReceipt);
    upstream.add_file("receipt", 3);
    upstream
        .always
        .push(("/receipt/0".to_owned(), MockResponse::json(200, "")));
    host.collect(&mut upstream);
    let [rejected] = host.rejected.as_slice() else {
        panic!("{:?}", host.rejected);
    };
    assert!(rejected.locator.contains("/receipt/0"), "{rejected:?}");
    assert!(rejected.reason.contains("empty"), "{rejected:?}");
}

#[test]
fn an_empty_response_does_not_end_a_feed_that_began_again_by_date() {
    for nothing in ["{}", ""] {
        let (mut upstream, mut host) = caught_up(Stream::ThreatIntelGrid);
        for n in 0..5 {
            let at = upstream.now.plus_ms(-60_000);
            upstream
                .other_streams
                .add(Stream::ThreatIntelGrid, &format!("i{n}"), (at, at));
        }
        host.collect(&mut upstream);
        for n in 5..9 {
            let at = upstream.now.plus_ms(-60_000);
            upstream
                .other_streams
                .add(Stream::ThreatIntelGrid, &format!("i{n}"), (at, at));
        }
        upstream.now = upstream.now.plus_ms(20 * 60_000);
        let refused = MockResponse::json(400, r#"{"fail":[{"code":"err_invalid_token"}]}"#);
        upstream.script.push_back(("\"token\"".to_owned(), refused));
        upstream
            .script
            .push_back(("\"start\"".to_owned(), MockResponse::json(200, nothing)));
        host.collect(&mut upstream);
        upstream.now = upstream.now.plus_ms(60 * 60_000);
        host.collect(&mut upstream);
        host.assert_exactly_once(&upstream);
    }
}

#[test]
fn the_reset_of_the_quota_does_not_delay_a_retry_after_a_server_error() {
    let (mut upstream, mut host) = caught_up(Stream::SiemReceipt);
    upstream.add_file("receipt", 3);
    let quota = [
        ("x-ratelimit-remaining", "40"),
        ("x-ratelimit-reset", "890000"),
    ];
    let failure = MockResponse::with(502, &quota, "<html>Bad Gateway</html>");
    let endpoint = Stream::SiemReceipt.info().endpoint.to_owned();
    upstream.script.push_back((endpoint, failure));
    let before = upstream.now;
    host.collect(&mut upstream);
    host.assert_exactly_once(&upstream);
    assert!(upstream.now < before.plus_ms(60_000), "it waited too long");
}

/// The last request that lists files by a date.
fn last_listing_by_date(upstream: &Upstream) -> &str {
    let mut requests = upstream.requests.iter();
    let listing = requests.rfind(|request| request.contains("dateRangeStartsAt="));
    listing.expect("it begins again by date")
}

#[test]
fn a_record_without_a_time_does_not_move_where_a_refused_page_token_begins_again() {
    let (mut upstream, mut host) = caught_up(Stream::SiemReceipt);
    let first = upstream.now;
    upstream.page_files = 1;
    for _ in 0..3 {
        upstream.add_file("receipt", 3);
    }
    let file = &mut upstream.files.get_mut("receipt").unwrap()[0];
    file.push_str("\n{\"type\":\"receipt\",\"aggregateId\":\"0-untimed\"}");
    // They are read two days later, and the token of the second page is refused.
    upstream.now = upstream.now.plus_ms(2 * 24 * 60 * 60_000);
    let refused = MockResponse::json(400, r#"{"fail":[{"code":"err_invalid_page_token"}]}"#);
    upstream
        .script
        .push_back(("nextPage=1".to_owned(), refused));
    upstream.requests.clear();
    host.collect(&mut upstream);
    host.assert_at_least_once(&upstream);
    let again = last_listing_by_date(&upstream);
    assert!(again.contains(&first.to_day()), "{again}");
}

#[test]
fn an_optional_member_that_cannot_be_read_is_named_and_costs_no_record() {
    for (stream, endpoint, response, member) in [
        (
            "audit",
            "/oauth/token",
            r#"{"access_token":"tok-1-0123456789","expires_in":[1799]}"#,
            "expires_in",
        ),
        (
            "siem.receipt",
            "/siem/v1/batch/",
            r#"{"value":[],"isCaughtUp":"perhaps"}"#,
            "isCaughtUp",
        ),
        (
            "siem.receipt",
            "/siem/v1/batch/",
            r#"{"value":[],"@nextPage":{"a":1},"isCaughtUp":true}"#,
            "@nextPage",
        ),
        (
            "audit",
            "get-audit-events",
            r#"{"meta":{"pagination":{"next":["t"]}},"data":[]}"#,
            "next",
        ),
        (
            "audit",
            "get-audit-events",
            r#"{"meta":{"pagination":7},"data":[]}"#,
            "pagination",
        ),
        (
            "audit",
            "get-audit-events",
            r#"{"meta":"?","data":[]}"#,
            "meta",
        ),
    ] {
        let mut upstream = Upstream::new();
        let mut host = Host::new(&format!(r#","streams":["{stream}"]"#));
        let scripted = (endpoint.to_owned(), MockResponse::json(200, response));
        upstream.script.push_back(scripted);
        host.collect(&mut upstream);
        let details: Vec<&str> = host.notices.iter().map(|it| it.detail.as_str()).collect();
        let named = format!("a member {member} that cannot be read");
        assert!(details.iter().any(|it| it.contains(&named)), "{details:?}");
    }
}

#[test]
fn a_busy_log_is_not_repeated_by_every_window() {
    let (mut upstream, mut host) = caught_up(Stream::Audit);
    upstream.page_records = 500;
    host.limits.max_events = 5_000;
    for n in 0..1_500 {
        let at = upstream.now.plus_ms(-400 * n);
        upstream.add_audit(&format!("a{n}"), at);
    }
    let end = upstream.now.plus_ms(40 * 60_000);
    while upstream.now < end {
        host.collect(&mut upstream);
        upstream.now = upstream.now.plus_ms(60_000);
    }
    host.assert_at_least_once(&upstream);
    // What does not fit is 500 records, and they come again in a few windows only.
    assert!(host.delivered.len() <= 3_000, "{}", host.delivered.len());
    let adjusted = |notice: &&crate::batch::Notice| notice.kind == NoticeKind::Adjusted;
    assert_eq!(host.notices.iter().filter(adjusted).count(), 1);
}

#[test]
fn a_feed_continues_after_a_file_that_cannot_be_read() {
    for malformed in ["{ no STIX", "PK\u{3}\u{4} no archive", "<html>"] {
        let (mut upstream, mut host) = caught_up(Stream::ThreatIntelGrid);
        for n in 0..6 {
            let at = upstream.now.plus_ms(-60_000);
            let (stream, id) = (Stream::ThreatIntelGrid, format!("i{n}"));
            upstream.other_streams.add(stream, &id, (at, at));
        }
        let next = [("x-mc-threat-feed-next-token", "f2")];
        let endpoint = Stream::ThreatIntelGrid.info().endpoint;
        for _ in 0..2 {
            let response = MockResponse::with(200, &next, malformed);
            upstream.script.push_back((endpoint.to_owned(), response));
        }
        host.collect(&mut upstream);
        assert_eq!(host.delivered.len(), 4);
        let [rejected] = host.rejected.as_slice() else {
            panic!("{:?}", host.rejected);
        };
        assert!(malformed.as_bytes().starts_with(&rejected.original));
        assert!(rejected.reason.starts_with("the file is rejected"));
        host.assert_one_id_each();
    }
}

#[test]
fn an_indicator_of_a_time_to_come_does_not_move_where_a_feed_begins_again() {
    let (mut upstream, mut host) = caught_up(Stream::ThreatIntelGrid);
    let add = |upstream: &mut Upstream, id: &str, at: crate::time::Timestamp| {
        let visible = upstream.now;
        let stream = Stream::ThreatIntelGrid;
        upstream.other_streams.add(stream, id, (at, visible));
    };
    let now = upstream.now;
    add(&mut upstream, "i0", now.plus_ms(-60_000));
    add(&mut upstream, "i1", now.plus_ms(400 * 86_400_000));
    host.collect(&mut upstream);
    upstream.now = upstream.now.plus_ms(6 * 3_600_000);
    for n in 2..9 {
        let at = upstream.now.plus_ms(-3 * 3_600_000);
        add(&mut upstream, &format!("i{n}"), at);
    }
    let refused = MockResponse::json(400, r#"{"fail":[{"code":"err_invalid_token"}]}"#);
    upstream.script.push_back(("\"token\"".to_owned(), refused));
    host.collect(&mut upstream);
    host.assert_at_least_once(&upstream);
}

#[test]
fn a_response_of_a_proxy_is_no_refusal_of_a_page_token() {
    for status in [302, 405, 407, 409, 413] {
        let (mut upstream, mut host) = caught_up(Stream::SiemReceipt);
        for _ in 0..9 {
            upstream.add_file("receipt", 2);
        }
        let response = MockResponse::json(status, "<html>");
        upstream.script.push_back(("nextPage".to_owned(), response));
        let listings = upstream.quota_calls.len();
        host.collect(&mut upstream);
        host.assert_exactly_once(&upstream);
        let adjusted = |notice: &crate::batch::Notice| notice.kind == NoticeKind::Adjusted;
        assert!(!host.notices.iter().any(adjusted), "{:?}", host.notices);
        assert!(upstream.quota_calls.len() - listings <= 8);
    }
}

#[test]
fn a_day_that_is_no_longer_kept_is_not_asked_for() {
    let mut upstream = Upstream::new();
    upstream.add_file("receipt", 2);
    let mut host = Host::new(r#","streams":["siem.receipt"]"#);
    host.collect(&mut upstream);
    for _ in 0..20 {
        upstream.now = upstream.now.plus_ms(86_400_000);
        host.collect(&mut upstream);
    }
    let refused = MockResponse::json(400, r#"{"fail":[{"code":"err_invalid_token"}]}"#);
    upstream.script.push_back(("nextPage".to_owned(), refused));
    upstream.now = upstream.now.plus_ms(3_600_000);
    host.collect(&mut upstream);
    let by_day = upstream.requests.iter().rev();
    let mut by_day = by_day.filter_map(|request| request.split_once("dateRangeStartsAt="));
    let (_, day) = by_day.next().unwrap();
    let kept_from = upstream.now.plus_ms(-8 * 86_400_000).to_day();
    // Both begin with a date.
    assert!(day >= kept_from.as_str(), "{day} {kept_from}");
}

#[test]
fn a_start_that_is_to_come_does_not_matter_where_there_is_a_checkpoint() {
    let mut upstream = Upstream::new();
    let start = upstream.now.plus_ms(-3_600_000).to_rfc3339();
    let mut host = Host::new(&format!(r#","streams":["audit"],"start":"{start}""#));
    host.collect(&mut upstream);
    host.session = None;
    upstream.host_ahead_ms = -400 * 86_400_000;
    host.collect(&mut upstream);
    host.checkpoint = None;
    host.session = None;
    let error = host.poll(&mut upstream).unwrap_err();
    assert!(matches!(error, PollError::Settings(_)), "{error:?}");
}

#[test]
fn a_redirect_of_the_token_endpoint_says_nothing_about_the_credentials() {
    for status in [302, 405, 409] {
        let mut upstream = Upstream::new();
        let mut host = Host::new(r#","streams":["audit"]"#);
        let response = MockResponse::json(status, "<html>");
        upstream
            .script
            .push_back(("/oauth/token".to_owned(), response));
        let error = host.poll(&mut upstream).unwrap_err();
        assert!(matches!(error, PollError::Protocol(_)), "{error:?}");
    }
}

#[test]
fn one_record_with_a_wrong_time_does_not_move_where_a_refused_page_token_begins_again() {
    let (mut upstream, mut host) = caught_up(Stream::SiemReceipt);
    host.limits.max_events = 100;
    upstream.page_files = 1;
    let mut last = upstream.now;
    for _ in 0..3 {
        upstream.now = upstream.now.plus_ms(24 * 60 * 60_000);
        last = upstream.now;
        upstream.add_file("receipt", 3);
    }
    let file = &mut upstream.files.get_mut("receipt").unwrap()[0];
    file.push_str("\n{\"type\":\"receipt\",\"aggregateId\":\"0-old\",\"timestamp\":1600000000000}");
    // All are read in one poll, and the token after them is refused.
    host.limits.max_requests = 20;
    host.collect(&mut upstream);
    let refused = MockResponse::json(400, r#"{"fail":[{"code":"err_invalid_page_token"}]}"#);
    upstream
        .script
        .push_back(("nextPage=3".to_owned(), refused));
    upstream.now = upstream.now.plus_ms(20 * 60_000);
    upstream.requests.clear();
    host.collect(&mut upstream);
    host.assert_at_least_once(&upstream);
    let again = last_listing_by_date(&upstream);
    assert!(again.contains(&last.to_day()), "{again}");
}

#[test]
fn a_file_of_a_feed_that_could_not_be_rejected_does_not_reject_the_next_one() {
    let (mut upstream, mut host) = caught_up(Stream::ThreatIntelGrid);
    upstream.now = upstream.now.plus_ms(20 * 60_000);
    let path = Stream::ThreatIntelGrid.info().endpoint.to_owned();
    // The second response is refused for its token, after the reason for a rejection is known.
    for token in ["f2".to_owned(), "x".repeat(5_000)] {
        let headers = [("x-mc-threat-feed-next-token", token.as_str())];
        let unreadable = MockResponse::with(200, &headers, "<html>");
        upstream.script.push_back((path.clone(), unreadable));
    }
    let at = upstream.now.plus_ms(-60_000);
    let stream = Stream::ThreatIntelGrid;
    upstream.other_streams.add(stream, "good", (at, at));
    for _ in 0..20 {
        host.collect(&mut upstream);
        upstream.now = upstream.now.plus_ms(60_000);
    }
    assert!(upstream.script.is_empty());
    assert!(host.rejected.is_empty(), "{:?}", host.rejected);
    host.assert_exactly_once(&upstream);
}

#[test]
fn a_stream_whose_last_poll_had_no_record_is_reported_as_caught_up() {
    for stream in [Stream::SiemReceipt, Stream::Audit] {
        let mut upstream = Upstream::new();
        let mut host = Host::new(&format!(r#","streams":["{stream}"]"#));
        // The batch is full with the last record, so the next poll only finds the end, in bytes that came
        // with it.
        let at = upstream.now.plus_ms(-60_000);
        let records = u32::try_from(upstream.page_records).unwrap();
        (0..records).for_each(|n| upstream.add_audit(&format!("a{n}"), at));
        upstream.add_file("receipt", upstream.page_records);
        host.limits.max_events = records;
        let at_once = (String::new(), 1 << 20, 0);
        upstream.slow_responses.push(at_once);
        let mut caught_up = None;
        loop {
            let batch = host.poll(&mut upstream).unwrap();
            let found = batch.stats.iter().find(|(of, _)| *of == stream);
            caught_up = found.map(|(_, stats)| stats.caught_up).or(caught_up);
            if batch.next != NextPoll::Now {
                break;
            }
        }
        assert_eq!(host.delivered.len(), upstream.page_records, "{stream}");
        assert_eq!(caught_up, Some(true), "{stream}");
    }
}
