//! Pages that lead nowhere, empty pages on the way, and equal entries of one page.

use std::collections::BTreeSet;

use super::requests_per_hour::wait_after;
use crate::batch::NoticeKind;
use crate::checkpoint::CHECKPOINT_BYTES_MAX;
use crate::stream::{FetchKind, STREAMS, Stream};
use crate::testing::other_streams::record;
use crate::testing::{Host, MockResponse, Upstream};
use proptest::prelude::*;

const HOUR_MS: i64 = 3_600_000;

fn page(records: &[&str], next: &str) -> MockResponse {
    let next = if next.is_empty() {
        String::new()
    } else {
        format!(r#","next":"{next}""#)
    };
    MockResponse::json(
        200,
        &format!(
            r#"{{"meta":{{"status":200,"pagination":{{"pageSize":1{next}}}}},"data":[{}],"fail":[]}}"#,
            records.join(",")
        ),
    )
}

fn audit(id: &str) -> String {
    format!(r#"{{"id":"{id}","auditType":"T","eventTime":"2026-02-03T03:00:00+0000"}}"#)
}

/// Polls for an hour as the host is asked to.
fn poll_for_an_hour(upstream: &mut Upstream, host: &mut Host) {
    let end = upstream.now.plus_ms(HOUR_MS);
    while upstream.now < end {
        let wait_ms = wait_after(host.poll(upstream), "pages");
        upstream.now = upstream.now.plus_ms(wait_ms);
    }
}

#[test]
fn page_tokens_that_lead_in_a_circle_or_nowhere_are_followed_seldom_and_cost_no_record() {
    let cycle = |upstream: &mut Upstream| {
        let record = audit("loop");
        for (request_part, next) in [
            (r#""pageToken":"A""#, "B"),
            (r#""pageToken":"B""#, "A"),
            ("get-audit", "A"),
        ] {
            let response = page(&[&record], next);
            upstream.always.push((request_part.to_owned(), response));
        }
    };
    let long_cycle = |upstream: &mut Upstream| {
        // More records than are remembered: each page looks new whenever it comes again.
        for n in 0..40 {
            let records: Vec<String> = (0..50).map(|m| audit(&format!("{n}-{m}"))).collect();
            let records: Vec<&str> = records.iter().map(String::as_str).collect();
            let request_part = format!(r#""pageToken":"L{n}""#);
            let response = page(&records, &format!("L{}", (n + 1) % 40));
            upstream.always.push((request_part, response));
        }
        upstream
            .always
            .push(("get-audit".to_owned(), page(&[&audit("first")], "L0")));
    };
    let endless = |upstream: &mut Upstream| {
        for n in 0..5_000 {
            let response = page(&[&audit("same")], &format!("T{n}"));
            upstream
                .script
                .push_back(("get-audit".to_owned(), response));
        }
    };
    let nothing_new = |upstream: &mut Upstream| {
        for n in 0..5_000 {
            let records = [
                audit(&format!("r{}", n % 7)),
                audit(&format!("s{}", n % 11)),
            ];
            let response = page(&[&records[0], &records[1]], &format!("T{n}"));
            upstream
                .script
                .push_back(("get-audit".to_owned(), response));
        }
    };
    type InstallFault<'a> = &'a dyn Fn(&mut Upstream);
    let faults: [(&str, InstallFault<'_>, usize); 4] = [
        ("circle", &cycle, 160),
        ("long circle", &long_cycle, 2_500),
        ("endless", &endless, 160),
        ("nothing new", &nothing_new, 200),
    ];
    for (fault, install_fault, most) in faults {
        for fresh in [false, true] {
            let mut upstream = Upstream::new();
            let mut host = Host::new(r#","streams":["audit","dlp"]"#);
            host.fresh_each_poll = fresh;
            host.limits.max_events = 500;
            host.limits.max_requests = 50;
            upstream.add_audit("real", upstream.now.plus_ms(-2 * HOUR_MS));
            let at = upstream.now.plus_ms(-1000);
            upstream.other_streams.add(Stream::Dlp, "d", (at, at));
            install_fault(&mut upstream);
            poll_for_an_hour(&mut upstream, &mut host);
            let request_count = upstream
                .requests
                .iter()
                .filter(|it| it.contains("get-audit"));
            let request_count = request_count.count();
            assert!(
                (4..=most).contains(&request_count),
                "{fault}, {fresh}: {request_count} calls"
            );
            assert!(host.delivered.contains(&"dlp/d".to_owned()), "{fault}");
            let is_reported = |notice: &crate::batch::Notice| {
                notice.kind == NoticeKind::Postponed && notice.detail.contains("next try in")
            };
            assert!(
                host.notices.iter().any(is_reported),
                "{fault}: {:?}",
                host.notices
            );
            // The upstream works again.
            upstream.always.clear();
            upstream.script.clear();
            upstream.now = upstream.now.plus_ms(HOUR_MS);
            host.fresh_each_poll = false;
            host.collect(&mut upstream);
            host.assert_at_least_once(&upstream);
        }
    }
}

#[test]
fn empty_pages_on_the_way_are_followed_and_a_row_of_them_ends_the_window() {
    let mut upstream = Upstream::new();
    let (first, last) = (audit("1"), audit("2"));
    for (request_part, response) in [
        (r#""pageToken":"b""#, page(&[], "c")),
        (r#""pageToken":"c""#, page(&[], "d")),
        (r#""pageToken":"d""#, page(&[&last], "")),
        ("get-audit", page(&[&first], "b")),
    ] {
        upstream.always.push((request_part.to_owned(), response));
    }
    for fresh in [false, true] {
        let mut host = Host::new(r#","streams":["audit"]"#);
        host.fresh_each_poll = fresh;
        host.collect(&mut upstream);
        assert_eq!(host.delivered, ["audit/1", "audit/2"]);
        assert!(host.notices.is_empty(), "{:?}", host.notices);
    }
    let mut upstream = Upstream::new();
    for n in 0..100 {
        let response = page(&[], &format!("e{n}"));
        upstream
            .script
            .push_back(("get-audit".to_owned(), response));
    }
    let mut host = Host::new(r#","streams":["audit"]"#);
    poll_for_an_hour(&mut upstream, &mut host);
    let notice = &host.notices[0];
    assert_eq!(notice.kind, NoticeKind::Adjusted);
    assert!(notice.detail.contains("empty pages in a row"), "{notice:?}");
    let request_count = upstream.requests.len();
    assert!(request_count < 300, "{request_count} requests");
}

#[test]
fn a_token_of_an_empty_page_that_the_upstream_refuses_ends_the_window_without_a_notice() {
    let mut upstream = Upstream::new();
    let refused = MockResponse::json(400, r#"{"fail":[{"code":"err_invalid_token"}]}"#);
    upstream
        .always
        .push((r#""pageToken":"String""#.to_owned(), refused));
    for n in 0..5 {
        let at = upstream.now.plus_ms(-n * HOUR_MS);
        upstream.add_audit(&format!("a{n}"), at);
        upstream
            .other_streams
            .add(Stream::HeldMessages, &format!("h{n}"), (at, at));
    }
    let mut host = Host::new(r#","streams":["audit","held-messages"]"#);
    for _ in 0..5 {
        host.collect(&mut upstream);
        upstream.now = upstream.now.plus_ms(20 * 60_000);
    }
    host.assert_exactly_once(&upstream);
    assert!(host.notices.is_empty(), "{:?}", host.notices);
}

#[test]
fn a_token_of_an_empty_page_that_expires_during_a_backoff_costs_no_record() {
    let refused = || MockResponse::json(400, r#"{"fail":[{"code":"err_invalid_token"}]}"#);
    let unavailable = || MockResponse::with(503, &[("retry-after", "300")], "");
    let request_part = r#""pageToken":"c""#;
    for fresh in [false, true] {
        for times in [1, 50] {
            let mut upstream = Upstream::new();
            for (request_part, response) in [
                (r#""pageToken":"b""#, page(&[], "c")),
                (request_part, page(&[&audit("2")], "")),
                ("get-audit", page(&[&audit("1")], "b")),
            ] {
                upstream.always.push((request_part.to_owned(), response));
            }
            for _ in 0..times {
                for response in [unavailable(), refused()] {
                    upstream
                        .script
                        .push_back((request_part.to_owned(), response));
                }
            }
            let mut host = Host::new(r#","streams":["audit"]"#);
            host.fresh_each_poll = fresh;
            host.collect(&mut upstream);
            let adjusted = host
                .notices
                .iter()
                .filter(|notice| notice.kind == NoticeKind::Adjusted);
            let adjusted = adjusted.count();
            if times == 1 {
                // These responses come in every window, also in those after their time.
                let delivered: BTreeSet<&str> = host.delivered.iter().map(String::as_str).collect();
                assert_eq!(delivered, BTreeSet::from(["audit/1", "audit/2"]), "{fresh}");
                assert_eq!(adjusted, 1, "{:?}", host.notices);
            } else {
                // It is always refused: each window is read twice at most.
                assert_eq!(adjusted, 2, "{:?}", host.notices);
                let requests = upstream.requests.len();
                assert!(requests < 60, "{requests} requests");
            }
        }
    }
}

#[test]
fn equal_entries_of_one_page_are_events_of_their_own_and_found_again_they_are_duplicates() {
    for (max_events, fresh) in [(1, false), (1, true), (2, true), (7, false)] {
        let mut upstream = Upstream::new();
        upstream.other_streams.page_records = 20;
        let mut host = Host::new(r#","streams":["ttp.url"]"#);
        host.limits.max_events = max_events;
        host.fresh_each_poll = fresh;
        host.collect(&mut upstream);
        let clicks = |upstream: &mut Upstream, id: &str, count: usize| {
            let at = upstream.now.plus_ms(-30_000);
            for _ in 0..count {
                upstream.other_streams.add(Stream::TtpUrl, id, (at, at));
            }
        };
        clicks(&mut upstream, "a", 1);
        clicks(&mut upstream, "b", 3);
        clicks(&mut upstream, "c", 2);
        for _ in 0..6 {
            upstream.now = upstream.now.plus_ms(120_000);
            host.collect(&mut upstream);
        }
        let counts = ["a", "b", "c"].map(|id| {
            let key = format!("ttp.url/{id}");
            let delivered = host.delivered.iter().filter(|it| **it == key).count();
            (delivered, host.ids[&key].len())
        });
        assert_eq!(counts, [(1, 1), (3, 3), (2, 2)], "{max_events}, {fresh}");
        assert!(host.duplicates >= 6, "the overlap finds nothing again");
        // The first one keeps the id that it would have alone.
        let mut alone = Host::new(r#","streams":["ttp.url"]"#);
        let mut other = Upstream::new();
        other.other_streams = std::mem::take(&mut upstream.other_streams);
        other.now = upstream.now;
        for log in other.other_streams.logs.values_mut() {
            log.dedup_by(|a, b| a.text == b.text);
        }
        alone.collect(&mut other);
        for id in ["a", "b", "c"] {
            let key = format!("ttp.url/{id}");
            assert!(alone.ids[&key].is_subset(&host.ids[&key]), "{id}");
        }
    }
}

/// A response of the endpoint of that stream with this token, and a name of a file.
fn hostile_response(stream: Stream, token: &str, name: &str) -> MockResponse {
    let quoted = serde_json::Value::from(token).to_string();
    let url = serde_json::Value::from(format!("https://files.test/{name}")).to_string();
    let item = record(stream, "x", Upstream::new().now);
    match stream.info().fetch {
        FetchKind::Files { .. } | FetchKind::LogFiles => MockResponse::json(
            200,
            &format!(
                r#"{{"value":[{{"url":{url},"size":1}}],"@nextPage":{quoted},"isCaughtUp":false}}"#
            ),
        ),
        FetchKind::ThreatFeed { .. } => {
            let body = format!(r#"{{"type":"bundle","objects":[{item}]}}"#);
            MockResponse::with(200, &[("x-mc-threat-feed-next-token", token)], &body)
        }
        // The same row is a campaign and a person.
        FetchKind::Campaigns { people_post, .. } => {
            let row = item.replacen('{', r#"{"launchDate":"2026-01-20T00:00:00+0000","#, 1);
            let list = people_post.records_member;
            let data = format!(r#"[{row},{{"{list}":[{item}]}}]"#);
            let meta = format!(r#"{{"pagination":{{"next":{quoted}}}}}"#);
            MockResponse::json(200, &format!(r#"{{"meta":{meta},"data":{data}}}"#))
        }
        FetchKind::List { post, .. } | FetchKind::Windows(post) => {
            let data = if post.records_member.is_empty() {
                format!("[{item}]")
            } else {
                format!(r#"[{{"{}":[{item}]}}]"#, post.records_member)
            };
            let meta = format!(r#"{{"pagination":{{"next":{quoted}}}}}"#);
            MockResponse::json(200, &format!(r#"{{"meta":{meta},"data":{data}}}"#))
        }
    }
}

/// Texts that take much room in a checkpoint.
fn long_text() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        Just("\u{1}".to_owned()),
        Just("\"".to_owned()),
        Just("\\".to_owned()),
        Just("\u{7f}".to_owned()),
        Just("\u{1F600}".to_owned()),
        Just("é".to_owned()),
        Just("x".to_owned()),
    ];
    (
        part,
        prop_oneof![0..2200_usize, 300..350_usize, 1000..2060_usize],
    )
        .prop_map(|(part, count)| part.repeat(count))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn no_response_makes_a_checkpoint_too_large(
        token in long_text(),
        name in long_text(),
        events in any::<bool>(),
    ) {
        let mut upstream = Upstream::new();
        let endpoint = if events { "events" } else { "batch" };
        let mut host = Host::new(&format!(r#","siem_endpoint":"{endpoint}""#));
        host.limits.max_requests = 50;
        host.limits.max_events = 50;
        for row in STREAMS.iter().filter(|row| row.stream != Stream::Siem) {
            let request_part = match row.fetch {
                FetchKind::ThreatFeed { feed_type } => feed_type.to_owned(),
                FetchKind::Files { event_type, .. } => {
                    format!("={}&", event_type.replace(' ', "%20"))
                }
                FetchKind::Campaigns { .. } => "/phishing/campaign/".to_owned(),
                FetchKind::List { .. } | FetchKind::LogFiles | FetchKind::Windows(_) => row.endpoint.to_owned(),
            };
            upstream.always.push((request_part, hostile_response(row.stream, &token, &name)));
        }
        upstream.always.push(("files.test".to_owned(), MockResponse::json(503, "")));
        for _ in 0..30 {
            let batch = host.poll(&mut upstream);
            if let Ok(batch) = batch {
                prop_assert!(batch.checkpoint.len() <= CHECKPOINT_BYTES_MAX);
            }
            upstream.now = upstream.now.plus_ms(30_000);
        }
    }
}
