//! What fails permanently is asked for seldom: the requests of an hour, counted.

use crate::batch::Batch;
use crate::response::TransportError;
use crate::session::PollError;
use crate::testing::legacy::{Legacy, settings};
use crate::testing::{Host, MockResponse, Upstream, gzip, http_date, wait_ms};

/// A failure, and how often what fails may be asked for in an hour.
type FailureCase = (&'static str, &'static str, MockResponse, usize);

fn json(status: u16, body: &str) -> MockResponse {
    MockResponse::json(status, body)
}

/// No response: only the host's error for the connection is known.
fn no_response(why: &str) -> MockResponse {
    MockResponse::TransportError(TransportError::Failed(why.to_owned()))
}

/// A head, and a body that stalls until the host gives it up.
fn stalled() -> MockResponse {
    MockResponse::ConnectionReset(b"{\"value\":[{\"url\":\"".to_vec(), 9)
}

fn html() -> MockResponse {
    json(200, "<html>maintenance</html>")
}

fn throttled(header: &str, value: &str) -> MockResponse {
    MockResponse::with(429, &[(header, value)], "")
}

/// The failures that any request can have for ever, and how often so many streams together may repeat the request.
fn failure_cases(part: &'static str, streams: usize) -> Vec<FailureCase> {
    // As many requests as fit into an hour with the shortest waits of the table of `retry`. A refused
    // token is renewed once each time, and a developer key is tried once more.
    const UNAVAILABLE_MAX: usize = 20;
    const PROTOCOL_MAX: usize = 13;
    const THROTTLED_MAX: usize = 10;
    const NOT_PERMITTED_MAX: usize = 2;
    let at_once = |status, header: &str| MockResponse::with(status, &[(header, "0")], "");
    let location = [("location", "https://elsewhere.test/")];
    let of_one_stream = [
        ("429", json(429, ""), THROTTLED_MAX),
        (
            "429, soon",
            throttled("x-ratelimit-reset", "1000"),
            UNAVAILABLE_MAX,
        ),
        ("429, at once", at_once(429, "retry-after"), UNAVAILABLE_MAX),
        (
            "429, reset at once",
            at_once(429, "x-ratelimit-reset"),
            UNAVAILABLE_MAX,
        ),
        ("500", json(500, ""), UNAVAILABLE_MAX),
        ("502", json(502, "<html>"), UNAVAILABLE_MAX),
        ("503", json(503, ""), UNAVAILABLE_MAX),
        ("503, at once", at_once(503, "retry-after"), UNAVAILABLE_MAX),
        ("504", json(504, ""), UNAVAILABLE_MAX),
        (
            "refused",
            no_response("ErrorCode::ConnectionRefused"),
            UNAVAILABLE_MAX,
        ),
        (
            "no such name",
            no_response("ErrorCode::DnsError"),
            UNAVAILABLE_MAX,
        ),
        (
            "TLS",
            no_response("ErrorCode::TlsCertificateError"),
            UNAVAILABLE_MAX,
        ),
        ("stalled body", stalled(), UNAVAILABLE_MAX),
        ("HTML", html(), PROTOCOL_MAX),
        ("nothing", json(200, ""), PROTOCOL_MAX),
        ("{}", json(200, "{}"), PROTOCOL_MAX),
        ("302", MockResponse::with(302, &location, ""), PROTOCOL_MAX),
        ("400", json(400, ""), PROTOCOL_MAX),
        ("401", json(401, ""), 2 * PROTOCOL_MAX),
        ("403", json(403, ""), NOT_PERMITTED_MAX),
        ("404", json(404, ""), NOT_PERMITTED_MAX),
        ("418", json(418, ""), NOT_PERMITTED_MAX + 1),
    ];
    of_one_stream
        .map(|(fault, response, most)| (fault, part, response, most * streams))
        .to_vec()
}

#[test]
fn a_permanent_failure_is_never_asked_in_a_tight_loop() {
    let mut rows = failure_cases("/oauth/token", 1);
    rows.extend(failure_cases("/cg?", 2));
    rows.extend(failure_cases("get-audit", 1));
    let endless = r#"{"value":[],"@nextPage":"9","isCaughtUp":false}"#;
    // Each of ten files is tried twice and then after 2, 8 and 32 minutes.
    rows.extend([
        ("never caught up", "/cg?", json(200, endless), 40),
        ("403", "files.test", json(403, "<Error/>"), 50),
        ("404", "files.test", json(404, "<Error/>"), 50),
        ("410", "files.test", json(410, "<Error/>"), 50),
        ("not gzip", "files.test", json(200, "no gzip"), 40),
        ("empty", "files.test", json(200, ""), 40),
        ("429", "files.test", json(429, ""), 70),
        ("503", "files.test", json(503, ""), 70),
        ("refused", "files.test", no_response("refused"), 70),
        (
            "stalled body",
            "files.test",
            MockResponse::ConnectionReset(gzip("{}"), 5),
            70,
        ),
    ]);
    for row in rows {
        assert_requests_per_hour(row, &mut upstream(), &mut host());
    }
}

#[test]
fn a_permanent_failure_of_api_1_0_is_never_asked_in_a_tight_loop() {
    let mut rows = failure_cases("discover-authentication", 1);
    rows.extend(failure_cases("get-siem-logs", 1));
    rows.extend(failure_cases("get-audit", 1));
    rows.push(("not zip", "get-siem-logs", json(200, "no zip"), 13));
    for row in rows {
        assert_requests_per_hour(row, &mut legacy_upstream(), &mut legacy_host());
    }
}

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

/// An HTTP date `ms` after the upstream's start time.
fn date_in(ms: i64) -> String {
    http_date(Upstream::new().now.plus_ms(ms))
}

/// Every value that a wait can have, and the shortest wait that it asks for.
fn waits() -> Vec<(&'static str, String, Option<i64>)> {
    let after = |text: &str, wait_ms| ("retry-after", text.to_owned(), wait_ms);
    let reset = |text: &str, wait_ms| ("x-ratelimit-reset", text.to_owned(), wait_ms);
    // The upstream's clock advances until the response.
    let around = |ms: i64| ("retry-after", date_in(ms), Some(ms - 60_000));
    vec![
        after("0", None),
        after("1", Some(1_000)),
        after("7200", Some(2 * HOUR_MS)),
        after("7300", Some(7_300_000)),
        after("86400", Some(DAY_MS)),
        after("604799", Some(7 * DAY_MS - 1_000)),
        after("2592000", Some(7 * DAY_MS)),
        after("9223372036854775807", Some(7 * DAY_MS)),
        after("99999999999999999999999999", Some(7 * DAY_MS)),
        after("-5", None),
        after("", None),
        after("tomorrow", None),
        after("12 parsecs", None),
        around(2 * HOUR_MS),
        around(DAY_MS),
        ("retry-after", date_in(30 * DAY_MS), Some(7 * DAY_MS)),
        ("retry-after", date_in(-1), None),
        ("retry-after", date_in(-30 * DAY_MS), None),
        after("Fri, 31 Dec 9999 23:59:59 GMT", Some(7 * DAY_MS)),
        after("Thu, 01 Jan 1970 00:00:00 GMT", None),
        after("Thu, 99 Jan 2026 00:00:00 GMT", None),
        reset("0", None),
        reset("1000", Some(1_000)),
        reset("7200000", Some(2 * HOUR_MS)),
        reset("86400000", Some(DAY_MS)),
        reset("2592000000", None),
        reset("1769900000", None),
        reset("1769900000000", None),
        reset("99999999999999999999999999", None),
        reset("-5", None),
        reset("soon", None),
    ]
}

#[test]
fn every_wait_that_is_asked_for_is_kept_and_none_makes_a_tight_loop() {
    for status in [429, 503] {
        for (header, value, wait_ms) in waits() {
            // How long a quota lasts says nothing about when a server works again.
            let wait_ms = wait_ms.filter(|_| status == 429 || header == "retry-after");
            let response = MockResponse::with(status, &[(header, &value)], "");
            for part in ["/oauth/token", "/cg?", "get-audit", "files.test"] {
                // With an instance for each poll there is only the checkpoint to go by.
                for fresh in [false, true].iter().take(if status == 429 { 2 } else { 1 }) {
                    let fresh = *fresh;
                    let mut host = host();
                    host.fresh_each_poll = fresh;
                    let what = format!("{status} {header}: {value:?}, {part}, {fresh}");
                    assert_wait_is_kept(
                        &what,
                        (part, &response),
                        wait_ms,
                        (&mut upstream(), &mut host),
                    );
                }
            }
            for part in ["discover-authentication", "get-siem-logs"] {
                let what = format!("{status} {header}: {value:?}, {part}");
                let (mut upstream, mut host) = (legacy_upstream(), legacy_host());
                assert_wait_is_kept(
                    &what,
                    (part, &response),
                    wait_ms,
                    (&mut upstream, &mut host),
                );
            }
        }
    }
}

/// Polls as the host is asked to, until what fails was asked for four times or eight days are over.
/// What fails has to be left alone for the wait, and to be asked for again after it.
fn assert_wait_is_kept(
    what: &str,
    (part, response): (&str, &MockResponse),
    wait_ms: Option<i64>,
    (upstream, host): (&mut Upstream, &mut Host),
) {
    upstream.always.push((part.to_owned(), response.clone()));
    let end = upstream.now.plus_ms(8 * DAY_MS);
    let mut request_times_ms: Vec<i64> = Vec::new();
    let mut polls = 0;
    while upstream.now < end && request_times_ms.len() < 4 {
        let before = upstream.requests.len();
        let poll_ms = wait_after(host.poll(upstream), what);
        for request in &upstream.requests[before..] {
            if request.contains(part) {
                // Count only one of the two streams.
                let of_other = request.contains("url%20protect") || request.contains("url+protect");
                if !of_other {
                    request_times_ms.push(upstream.now.millis());
                }
            }
        }
        polls += 1;
        assert!(polls < 20_000, "{what}: {polls} polls");
        // Polls that come in between would only take time.
        let step_ms = poll_ms.max(1).max((wait_ms.unwrap_or(0) / 50).min(HOUR_MS));
        upstream.now = upstream.now.plus_ms(step_ms);
    }
    assert!(!request_times_ms.is_empty(), "{what}: never asked");
    // One poll may ask for several files.
    let least_without_wait = if part == "files.test" { 0 } else { 900 };
    let least = (wait_ms.unwrap_or(0) - 1_000).max(least_without_wait);
    for (number, pair) in request_times_ms.windows(2).enumerate() {
        let pause = pair[1] - pair[0];
        // A date that was far away comes nearer.
        let is_date = what.contains("GMT") && number > 0;
        let least = if is_date { least_without_wait } else { least };
        assert!(pause >= least, "{what}: again after {pause} ms");
    }
    let expected = if wait_ms.is_some_and(|ms| ms > 4 * DAY_MS) {
        1
    } else {
        3
    };
    assert!(
        request_times_ms.len() >= expected,
        "{what}: asked {} times",
        request_times_ms.len()
    );
}

/// How long the host waits after a poll.
pub(super) fn wait_after(result: Result<Batch, PollError>, what: &str) -> i64 {
    match result {
        Ok(batch) => wait_ms(batch.next),
        Err(PollError::Unavailable(f) | PollError::Throttled(f) | PollError::Protocol(f)) => {
            assert!(f.retry_after_ms > 0, "{what}");
            f.retry_after_ms.try_into().unwrap()
        }
        Err(other) => panic!("{what}: {other:?}"),
    }
}

#[test]
fn a_wait_of_the_quota_outlives_a_restart() {
    // A refusal, and a response that says that it was the last one.
    let quota = [
        ("x-ratelimit-remaining", "0"),
        ("x-ratelimit-reset", "600000"),
    ];
    let empty = r#"{"value":[],"@nextPage":"0","isCaughtUp":true}"#;
    for response in [
        throttled("retry-after", "600"),
        MockResponse::with(200, &quota, empty),
    ] {
        let (mut upstream, mut host) = (upstream(), host());
        host.fresh_each_poll = true;
        upstream.script.push_back(("/cg?".to_owned(), response));
        host.limits.max_requests = 2;
        host.poll(&mut upstream).unwrap();
        assert_eq!(upstream.quota_calls.len(), 0);
        let end = upstream.now.plus_ms(590_000);
        while upstream.now < end {
            let wait_ms = wait_after(host.poll(&mut upstream), "quota");
            upstream.now = upstream.now.plus_ms(wait_ms.max(1_000));
            assert!(upstream.now >= end || upstream.quota_calls.is_empty());
        }
        upstream.now = upstream.now.plus_ms(60_000);
        host.limits.max_requests = 50;
        host.poll(&mut upstream).unwrap();
        assert!(!upstream.quota_calls.is_empty(), "no call after the wait");
    }
}

#[test]
fn a_clock_that_is_set_back_does_not_make_a_wait_longer_than_it_was() {
    for (back_ms, most_ms) in [(DAY_MS, 700_000), (300 * DAY_MS, 700_000)] {
        let (mut upstream, mut host) = (upstream(), host());
        let response = throttled("retry-after", "600");
        upstream
            .script
            .push_back(("get-audit".to_owned(), response));
        host.collect(&mut upstream);
        let before = upstream.now;
        upstream.script.push_back((
            "get-audit".to_owned(),
            MockResponse::with(503, &[("retry-after", "600")], ""),
        ));
        upstream.now = upstream.now.plus_ms(120_000);
        host.poll(&mut upstream).unwrap();
        host.session = None;
        upstream.host_ahead_ms = -back_ms;
        let at = upstream.now.plus_ms(-1_000);
        upstream.add_audit("late", at);
        while !host.delivered.contains(&"audit/late".to_owned()) {
            let wait_ms = wait_after(host.poll(&mut upstream), "set back");
            upstream.now = upstream.now.plus_ms(wait_ms.max(1));
            let passed_ms = upstream.now.millis() - before.millis();
            assert!(passed_ms < most_ms + 300_000, "{passed_ms} ms");
        }
    }
}

/// Runs for an hour, or until the host would end.
fn assert_requests_per_hour(
    (fault, part, response, most): FailureCase,
    upstream: &mut Upstream,
    host: &mut Host,
) {
    upstream.always.push((part.to_owned(), response));
    let end = upstream.now.plus_ms(3_600_000);
    while upstream.now < end {
        let result = host.poll(upstream);
        if matches!(result, Err(PollError::Unauthorized(_))) {
            break;
        }
        let wait_ms = wait_after(result, fault);
        upstream.now = upstream.now.plus_ms(wait_ms);
    }
    let asked = upstream.requests.iter().filter(|it| it.contains(part));
    let asked = asked.count();
    assert!((1..=most).contains(&asked), "{part} {fault}: {asked} times");
    // With the other streams, and the tokens that were renewed.
    let all = upstream.requests.len();
    assert!(all < 200, "{part} {fault}: {all} requests");
}

/// Two types, and a day of audit events.
fn upstream() -> Upstream {
    let mut upstream = Upstream::new();
    for event_type in ["receipt", "url protect"] {
        for file in 0..5 {
            upstream.add_file(event_type, 3 + 4 * file);
        }
    }
    add_audit(&mut upstream);
    upstream
}

fn host() -> Host {
    Host::new(r#","streams":["siem.receipt","siem.url-protect","audit"]"#)
}

fn legacy_upstream() -> Upstream {
    let mut upstream = Upstream::new();
    let mut legacy = Legacy::new();
    let at = upstream.now.plus_ms(-3_600_000);
    for _ in 0..4 {
        legacy.add_file("receipt", 4, at);
    }
    upstream.legacy = Some(legacy);
    add_audit(&mut upstream);
    upstream
}

fn legacy_host() -> Host {
    Host::with_settings(settings(r#","streams":["siem","audit"]"#))
}

fn add_audit(upstream: &mut Upstream) {
    for n in 0..10 {
        let at = upstream.now.plus_ms(-20 * 3_600_000 + n * 1_800_000);
        upstream.add_audit(&format!("a{n}"), at);
    }
}
