//! Files that cannot be fetched or read are set aside and fetched later, while everything else
//! continues.

use crate::batch::{NextPoll, NoticeKind};
use crate::checkpoint::{CHECKPOINT_BYTES_MAX, Checkpoint};
use crate::response::TransportError;
use crate::testing::{Host, MockResponse, Upstream, gzip, wait_ms};

const HOUR_MS: i64 = 3_600_000;

fn upstream() -> Upstream {
    let mut upstream = Upstream::new();
    for file in 0..5 {
        upstream.add_file("receipt", 3 + file);
    }
    upstream
}

fn host() -> Host {
    let mut host = Host::new(r#","streams":["siem.receipt"]"#);
    host.limits.max_events = 500;
    host.limits.max_requests = 50;
    host
}

fn failing(part: &str, response: MockResponse) -> (Upstream, Host) {
    let mut upstream = upstream();
    upstream.always.push((part.to_owned(), response));
    (upstream, host())
}

fn refused(status: u16) -> MockResponse {
    MockResponse::json(status, "<Error><Code>AccessDenied</Code></Error>")
}

/// Polls until nothing but files that are set aside is left, and returns the wait.
fn collect_others(host: &mut Host, upstream: &mut Upstream) -> i64 {
    for _ in 0..100 {
        match host.poll(upstream).unwrap().next {
            NextPoll::Failing(ms) if ms > 60_000 => return i64::try_from(ms).unwrap(),
            NextPoll::CaughtUp(_) => panic!("nothing is set aside"),
            NextPoll::Now => {}
            NextPoll::Failing(ms) | NextPoll::Throttled(ms) => {
                upstream.now = upstream.now.plus_ms(i64::try_from(ms).unwrap());
            }
        }
    }
    panic!("the others are never collected");
}

/// Polls for `ms`, as often as the host is asked to.
fn run_for(host: &mut Host, upstream: &mut Upstream, ms: i64) {
    let end = upstream.now.plus_ms(ms);
    while upstream.now < end {
        let next = host.poll(upstream).unwrap().next;
        upstream.now = upstream.now.plus_ms(wait_ms(next));
    }
}

fn gaps(host: &Host) -> Vec<&str> {
    let gaps = host.notices.iter();
    let gaps = gaps.filter(|notice| notice.kind == NoticeKind::Gap);
    gaps.map(|notice| notice.detail.as_str()).collect()
}

fn request_count(upstream: &Upstream, part: &str) -> usize {
    let requests = upstream.requests.iter().filter(|it| it.contains(part));
    requests.count()
}

#[test]
fn a_file_that_is_refused_is_set_aside_while_the_others_are_read() {
    for response in [
        refused(400),
        refused(403),
        refused(404),
        refused(410),
        refused(302),
        MockResponse::json(200, "<html>"),
        MockResponse::json(200, ""),
        MockResponse::ConnectionReset(gzip("{}"), 5),
        MockResponse::TransportError(TransportError::Failed("connection refused".to_owned())),
        refused(503),
        refused(429),
    ] {
        let (mut upstream, mut host) = failing("files.test/receipt/1", response.clone());
        let began = upstream.now;
        collect_others(&mut host, &mut upstream);
        assert!(upstream.now < began.plus_ms(10 * 60_000), "{response:?}");
        assert_eq!(host.delivered.len(), 25 - 4, "{response:?}");
        assert!(gaps(&host).is_empty() && host.rejected.is_empty());
        let last = &host.notices.last().unwrap().detail;
        assert!(last.contains("1 file is set aside"), "{last}");
        assert!(last.contains("/receipt/1 from line 1 on"), "{last}");
        // It can be fetched again, and a later process does so.
        upstream.always.clear();
        host.session = None;
        host.collect(&mut upstream);
        host.assert_exactly_once(&upstream);
    }
}

#[test]
fn each_kind_of_failure_of_a_file_has_a_limit_of_its_own() {
    let unavailable =
        || MockResponse::TransportError(TransportError::Failed("connection refused".to_owned()));
    let without_files = || MockResponse::json(200, r#"{"value":[],"@nextPage":"2"}"#);
    // Unavailable, refused or a listing that lacks the file, one after the other.
    for (failures, is_set_aside) in [
        ("uuuu", true),
        ("rr", true),
        ("lll", true),
        ("uul", false),
        ("uull", false),
        ("llr", false),
        ("lluuu", false),
        ("lulul", false),
        ("uuur", false),
        ("ruuu", false),
        // Failures that alternate come to an end.
        ("rur", true),
        ("llulluuu", true),
    ] {
        let (mut upstream, mut host) = (upstream(), host());
        // A part of the file is read.
        host.limits.max_events = 5;
        host.poll(&mut upstream).unwrap();
        host.session = None;
        host.limits.max_events = 500;
        host.limits.max_requests = 1;
        for (at, failure) in failures.chars().enumerate() {
            let (part, response) = match failure {
                'u' => ("files.test/receipt/1", unavailable()),
                'r' => ("files.test/receipt/1", refused(403)),
                _ => ("/cg?", without_files()),
            };
            if failure == 'l' {
                host.session = None;
            }
            upstream.script.push_back((part.to_owned(), response));
            while !upstream.script.is_empty() {
                let next = host.poll(&mut upstream).unwrap().next;
                upstream.now = upstream.now.plus_ms(wait_ms(next));
            }
            let checkpoint = host.checkpoint.as_deref().unwrap();
            let is_last = at + 1 == failures.len();
            assert_eq!(
                checkpoint.contains("\"set_aside\""),
                is_set_aside && is_last,
                "{failures} {at}"
            );
        }
        host.limits.max_requests = 50;
        host.collect(&mut upstream);
        host.assert_exactly_once(&upstream);
    }
}

#[test]
fn a_file_is_tried_with_growing_waits_for_seven_days_and_is_lost_only_then() {
    let (mut upstream, mut host) = failing("files.test/receipt/1", refused(403));
    run_for(&mut host, &mut upstream, 24 * HOUR_MS);
    let first_day = request_count(&upstream, "files.test/receipt/1");
    assert!((8..=12).contains(&first_day), "{first_day}");
    run_for(&mut host, &mut upstream, (6 * 24 - 5) * HOUR_MS);
    assert!(gaps(&host).is_empty(), "{:?}", gaps(&host));
    let tries = request_count(&upstream, "files.test/receipt/1");
    assert!((40..=60).contains(&tries), "{tries}");
    run_for(&mut host, &mut upstream, 10 * HOUR_MS);
    let gaps = gaps(&host);
    assert_eq!(gaps.len(), 1, "{gaps:?}");
    assert!(
        gaps[0].contains("1 file is lost: /receipt/1 from line 1 on"),
        "{gaps:?}"
    );
    assert!(gaps[0].contains("HTTP 403"), "{gaps:?}");
    host.collect(&mut upstream);
}

#[test]
fn a_file_that_can_be_fetched_after_days_is_delivered() {
    let (mut upstream, mut host) = failing("files.test/receipt/3", refused(403));
    host.fresh_each_poll = true;
    run_for(&mut host, &mut upstream, 6 * 24 * HOUR_MS);
    upstream.always.clear();
    run_for(&mut host, &mut upstream, 5 * HOUR_MS);
    host.collect(&mut upstream);
    host.assert_exactly_once(&upstream);
    assert!(gaps(&host).is_empty());
}

#[test]
fn a_file_that_is_not_there_is_tried_a_few_times_over_hours() {
    for status in [404, 410] {
        let (mut upstream, mut host) = failing("files.test/receipt/1", refused(status));
        run_for(&mut host, &mut upstream, 2 * HOUR_MS);
        assert!(gaps(&host).is_empty());
        run_for(&mut host, &mut upstream, 2 * HOUR_MS);
        assert_eq!(gaps(&host).len(), 1);
        assert!(request_count(&upstream, "files.test/receipt/1") <= 6);
        host.collect(&mut upstream);
    }
}

#[test]
fn a_broken_file_is_rejected_with_its_first_bytes_after_spaced_tries() {
    let page = "<html>not a file</html>";
    let (mut upstream, mut host) = failing("files.test/receipt/1", MockResponse::json(200, page));
    run_for(&mut host, &mut upstream, HOUR_MS);
    assert_eq!(host.rejected.len(), 1);
    let rejected = &host.rejected[0];
    assert_eq!(rejected.original, page.as_bytes());
    assert_eq!(rejected.locator, "siem.receipt /receipt/1 after line 0");
    // What is complete of a file that is cut is delivered, and the rest is shown.
    let (mut upstream, mut host) = (self::upstream(), self::host());
    let whole = gzip(&upstream.files["receipt"][2]);
    let cut = MockResponse::Complete(200, Vec::new(), whole[..whole.len() - 4].to_vec());
    upstream
        .always
        .push(("files.test/receipt/2".to_owned(), cut));
    run_for(&mut host, &mut upstream, HOUR_MS);
    assert_eq!(host.rejected.len(), 1);
    let original = String::from_utf8_lossy(&host.rejected[0].original);
    assert!(original.contains("\"aggregateId\":\"2-4\""), "{original}");
    assert_eq!(host.delivered.len(), 25 - 1);
}

#[test]
fn a_file_that_is_half_read_is_resumed_at_its_line() {
    let mut upstream = upstream();
    upstream.add_file("receipt", 400);
    let body = gzip(&upstream.files["receipt"][5]);
    let half = MockResponse::ConnectionReset(body.clone(), body.len() / 2);
    upstream
        .always
        .push(("files.test/receipt/5".to_owned(), half));
    let mut host = host();
    collect_others(&mut host, &mut upstream);
    assert!(host.delivered.len() > 25 + 50, "{}", host.delivered.len());
    upstream.always.clear();
    host.collect(&mut upstream);
    host.assert_exactly_once(&upstream);
}

#[test]
fn a_file_that_has_fewer_lines_than_were_read_is_not_done() {
    let mut upstream = upstream();
    upstream.add_file("receipt", 400);
    let text = upstream.files["receipt"][5].clone();
    let body = gzip(&text);
    let half = MockResponse::ConnectionReset(body.clone(), body.len() / 2);
    let part = "files.test/receipt/5".to_owned();
    upstream.always.push((part.clone(), half));
    let mut host = host();
    collect_others(&mut host, &mut upstream);
    assert!(host.delivered.len() > 25 + 50, "{}", host.delivered.len());
    // Another response of the storage may look like a file of one line.
    let first = text.split_inclusive('\n').next().unwrap();
    for short in [gzip(first), first.as_bytes().to_vec()] {
        upstream.always = vec![(part.clone(), MockResponse::Complete(200, Vec::new(), short))];
        run_for(&mut host, &mut upstream, 10 * HOUR_MS);
        assert!(gaps(&host).is_empty());
    }
    upstream.always.clear();
    run_for(&mut host, &mut upstream, 5 * HOUR_MS);
    host.collect(&mut upstream);
    host.assert_exactly_once(&upstream);
}

#[test]
fn a_stream_waits_at_its_page_when_there_is_no_room_to_set_more_aside() {
    let mut upstream = Upstream::new();
    upstream.page_files = 100;
    for _ in 0..600 {
        upstream.add_file("receipt", 1);
    }
    upstream
        .always
        .push(("files.test".to_owned(), refused(403)));
    let mut host = host();
    run_for(&mut host, &mut upstream, 2 * HOUR_MS);
    assert!(gaps(&host).is_empty());
    let checkpoint = host.checkpoint.clone().unwrap();
    assert!(
        checkpoint.len() < CHECKPOINT_BYTES_MAX,
        "{}",
        checkpoint.len()
    );
    let text = format!("{:?}", host.notices);
    assert!(text.contains("no room for more files that are set aside"));
    let listed = request_count(&upstream, "/cg?");
    assert!(listed < 100, "{listed} listings in two hours");
    upstream.always.clear();
    host.session = None;
    run_for(&mut host, &mut upstream, 24 * HOUR_MS);
    host.collect(&mut upstream);
    host.assert_exactly_once(&upstream);
}

#[test]
fn retries_leave_the_quota_to_new_files() {
    let mut upstream = Upstream::new();
    upstream.page_files = 1;
    for file in 0..300 {
        upstream.add_file("receipt", 1);
        if file < 40 {
            let part = format!("files.test/receipt/{file}?");
            upstream.always.push((part, refused(403)));
        }
    }
    let mut host = host();
    run_for(&mut host, &mut upstream, 3 * HOUR_MS);
    assert_eq!(host.delivered.len(), 260);
    // Without retries it takes 340 listings at 50 in 15 minutes.
    let quota_calls = upstream.quota_calls.iter();
    let taken = quota_calls
        .filter(|(at, _)| *at < upstream.now.plus_ms(-HOUR_MS))
        .count();
    assert!(taken >= 340, "{taken}");
}

#[test]
fn files_whose_page_token_is_refused_are_searched_for_by_day() {
    let mut upstream = upstream();
    upstream
        .always
        .push(("files.test/receipt/3".to_owned(), refused(403)));
    let mut host = host();
    collect_others(&mut host, &mut upstream);
    upstream.always.clear();
    let token_ended = MockResponse::json(400, r#"{"fail":[{"code":"err_invalid_page_token"}]}"#);
    upstream
        .script
        .push_back(("nextPage=2".to_owned(), token_ended));
    host.collect(&mut upstream);
    host.assert_exactly_once(&upstream);
    assert!(gaps(&host).is_empty());
}

#[test]
fn a_retry_whose_listing_fails_does_not_hold_the_stream_back() {
    let mut upstream = upstream();
    upstream
        .always
        .push(("files.test/receipt/3".to_owned(), refused(403)));
    let mut host = host();
    collect_others(&mut host, &mut upstream);
    upstream
        .always
        .push(("nextPage=2".to_owned(), MockResponse::json(500, "")));
    for _ in 0..4 {
        run_for(&mut host, &mut upstream, HOUR_MS);
        upstream.add_file("receipt", 2);
    }
    run_for(&mut host, &mut upstream, HOUR_MS);
    assert_eq!(host.delivered.len(), 25 - 6 + 8);
}

#[test]
fn files_with_the_same_path_and_another_query_are_two() {
    let mut upstream = Upstream::new();
    let page = r#"{"value":[{"url":"https://files.test/download?file=0&sig=sig-a"},{"url":"https://files.test/download?file=1&sig=sig-b"}],"@nextPage":"0","isCaughtUp":true}"#;
    upstream
        .script
        .push_back(("/cg?".to_owned(), MockResponse::json(200, page)));
    for file in 0..2 {
        let line = format!(r#"{{"type":"receipt","aggregateId":"f{file}","timestamp":1}}"#);
        let response = MockResponse::Complete(200, Vec::new(), gzip(&line));
        upstream
            .always
            .push((format!("download?file={file}"), response));
    }
    let mut host = host();
    host.collect(&mut upstream);
    assert_eq!(host.delivered, ["receipt/f0", "receipt/f1"]);
}

#[test]
fn a_body_that_was_inflated_on_the_way_is_read_as_lines() {
    for (mark, gzipped) in [
        ("", false),
        ("\u{feff}", false),
        ("\n", false),
        ("\u{feff}", true),
    ] {
        let mut upstream = upstream();
        let text = format!("{mark}{}", upstream.files["receipt"][1]);
        let body = if gzipped {
            gzip(&text)
        } else {
            text.into_bytes()
        };
        upstream.always.push((
            "files.test/receipt/1".to_owned(),
            MockResponse::Complete(200, Vec::new(), body),
        ));
        let mut host = host();
        host.collect(&mut upstream);
        host.assert_exactly_once(&upstream);
        assert!(host.rejected.is_empty(), "{:?}", host.rejected);
    }
}

#[test]
fn a_byte_order_mark_before_a_page_is_skipped() {
    let mut upstream = Upstream::new();
    upstream.add_audit("a1", upstream.now.plus_ms(-HOUR_MS));
    let at = upstream.now.plus_ms(-2 * HOUR_MS).to_iso8601_with_offset();
    let page = format!(
        "\u{feff}{{\"meta\":{{\"status\":200,\"pagination\":{{}}}},\"data\":[{{\"id\":\"a2\",\"auditType\":\"T\",\"eventTime\":\"{at}\"}}],\"fail\":[]}}"
    );
    upstream
        .script
        .push_back(("get-audit".to_owned(), MockResponse::json(200, &page)));
    let mut host = Host::new(r#","streams":["audit"]"#);
    host.collect(&mut upstream);
    assert!(
        host.delivered.contains(&"audit/a2".to_owned()),
        "{:?}",
        host.notices
    );
}

#[test]
fn a_page_of_many_thousand_files_is_one_response_of_linear_work() {
    let mut upstream = Upstream::new();
    let item = |n: usize| format!(r#"{{"url":"https://files.test/receipt/{n}"}}"#);
    let items: Vec<String> = (0..150_000).map(item).collect();
    let page = format!(r#"{{"value":[{}],"@nextPage":"0"}}"#, items.join(","));
    assert!(page.len() < 8 * 1024 * 1024);
    upstream
        .always
        .push(("/cg?".to_owned(), MockResponse::json(200, &page)));
    upstream
        .always
        .push(("files.test".to_owned(), refused(403)));
    upstream
        .slow_responses
        .push(("/cg?".to_owned(), 1 << 20, 0));
    let mut host = host();
    host.limits.max_requests = 2;
    let began = std::time::Instant::now();
    host.poll(&mut upstream).unwrap();
    // Work by the square of the number takes minutes.
    assert_eq!(request_count(&upstream, "/cg?"), 1);
    assert!(began.elapsed().as_secs() < 60, "{:?}", began.elapsed());
}

/// A checkpoint of version 1 whose position is in the middle of a file.
const VERSION_1: &str = r#"{"v":1,"siem_calls":[1770091500],"last_turn":"siem.receipt","streams":{"siem.receipt":{"files":{"page_token":"2","since":1770005106000,"listed_at":1770091500000,"caught_up":false,"file":{"name":"/receipt/3","line":2,"tries":0},"done":"AAAAAAAAAAA"}}}}"#;

/// A checkpoint as version 2 writes it, with a file that is set aside.
const VERSION_2: &str = r#"{"v":2,"siem_calls":[1770091500],"last_turn":"siem.receipt","streams":{"siem.receipt":{"files":{"page_token":"4","since":1770005106000,"listed_at":1770091500000,"caught_up":false,"set_aside":[{"page_token":"2","since":1770087906000,"next_try":1770091626000,"tries":0,"files":[{"name":"/receipt/3","line":2,"tries":0,"since":1770091506000,"cause":"refused","why":"HTTP 403"}]}]}}}}"#;

#[test]
fn checkpoints_of_every_version_are_resumed() {
    for (text, records) in [(VERSION_1, 5 + 6 - 2 + 7), (VERSION_2, 6 - 2 + 7)] {
        let mut upstream = upstream();
        let mut host = host();
        host.checkpoint = Some(text.to_owned());
        host.collect(&mut upstream);
        assert_eq!(host.delivered.len(), records, "{text}");
        assert!(gaps(&host).is_empty());
        let checkpoint = host.checkpoint.unwrap();
        assert!(checkpoint.starts_with("{\"v\":2,"), "{checkpoint}");
        assert!(Checkpoint::parse(&checkpoint).is_ok());
    }
}
