//! What the simulation has found, each as a test of its own.

use crate::stream::Stream;
use crate::testing::{Answer, Host, Upstream};

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
            .push_back((part.to_owned(), Answer::json(status, &body)));
    }
    let batch = host.poll(&mut upstream).unwrap();
    let said = &batch.notices[0].detail;
    assert!(
        said.contains("[redacted] of [redacted] [redacted]"),
        "{said}"
    );
}

#[test]
fn an_answer_without_its_members_is_no_empty_page() {
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
        let empty = (stream.row().endpoint.to_owned(), Answer::json(200, "{}"));
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
    // Where the empty answer counts as read, the token's refusal goes on after it.
    let refused = Answer::json(400, r#"{"fail":[{"code":"err_invalid_token"}]}"#);
    for answer in [Answer::json(200, "{}"), refused] {
        upstream.script.push_back(("nextPage".to_owned(), answer));
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
            .push_back(("/receipt/0".to_owned(), Answer::json(200, "")));
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
        .push(("/receipt/0".to_owned(), Answer::json(200, "")));
    host.collect(&mut upstream);
    let [rejected] = host.rejected.as_slice() else {
        panic!("{:?}", host.rejected);
    };
    assert!(rejected.locator.contains("/receipt/0"), "{rejected:?}");
    assert!(rejected.reason.contains("empty"), "{rejected:?}");
}

#[test]
fn an_empty_answer_does_not_end_a_feed_that_began_again_by_date() {
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
        let refused = Answer::json(400, r#"{"fail":[{"code":"err_invalid_token"}]}"#);
        upstream.script.push_back(("\"token\"".to_owned(), refused));
        upstream
            .script
            .push_back(("\"start\"".to_owned(), Answer::json(200, nothing)));
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
    let failure = Answer::with(502, &quota, "<html>Bad Gateway</html>");
    let endpoint = Stream::SiemReceipt.row().endpoint.to_owned();
    upstream.script.push_back((endpoint, failure));
    let before = upstream.now;
    host.collect(&mut upstream);
    host.assert_exactly_once(&upstream);
    assert!(upstream.now < before.plus_ms(60_000), "it waited too long");
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
    let refused = Answer::json(400, r#"{"fail":[{"code":"err_invalid_page_token"}]}"#);
    upstream
        .script
        .push_back(("nextPage=1".to_owned(), refused));
    upstream.requests.clear();
    host.collect(&mut upstream);
    host.assert_at_least_once(&upstream);
    let again = upstream
        .requests
        .iter()
        .rfind(|request| request.contains("dateRangeStartsAt="))
        .expect("it begins again by date");
    assert!(again.contains(&first.to_day()), "{again}");
}

#[test]
fn an_optional_member_that_cannot_be_read_is_named_and_costs_no_record() {
    for (stream, endpoint, answer, member) in [
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
        let scripted = (endpoint.to_owned(), Answer::json(200, answer));
        upstream.script.push_back(scripted);
        host.collect(&mut upstream);
        let details: Vec<&str> = host.notices.iter().map(|it| it.detail.as_str()).collect();
        let named = format!("a member {member} that cannot be read");
        assert!(details.iter().any(|it| it.contains(&named)), "{details:?}");
    }
}
