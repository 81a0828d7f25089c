//! The event endpoint, through a session against the scripted upstream.

use crate::batch::{NextPoll, NoticeKind};
use crate::testing::{Host, MockResponse, Upstream};
use crate::time::Timestamp;

#[test]
fn the_event_endpoint_takes_over_from_batch_files_without_a_hole_or_a_repeat() {
    for start in ["30m", "24h", "3d"] {
        let mut upstream = Upstream::new();
        let end = upstream.now;
        upstream.now = end.plus_ms(-100 * 3_600_000);
        while upstream.now < end {
            upstream.add_file("receipt", 2);
            upstream.now = upstream.now.plus_ms(1_700_000);
        }
        upstream.now = end;
        let settings = r#","streams":["siem.receipt"],"siem_endpoint":"events","start":"#;
        let mut host = Host::new(&format!("{settings}\"{start}\""));
        host.collect(&mut upstream);
        for _ in 0..3 {
            upstream.now = upstream.now.plus_ms(20 * 60_000);
            upstream.add_file("receipt", 2);
            host.collect(&mut upstream);
        }
        let start_ago = [("30m", 30), ("24h", 24 * 60), ("3d", 72 * 60)]
            .iter()
            .find(|s| s.0 == start);
        let from = end.plus_ms(-start_ago.unwrap().1 * 60_000);
        retain_since(&mut upstream, from);
        host.assert_exactly_once(&upstream);
        // Files are listed by whole days, so the first ones may have records from before the start.
        host.notices
            .retain(|notice| !notice.detail.starts_with("records older than `start`"));
        // An outage longer than the endpoint serves: batch files fill the hole.
        host.session = None;
        for _ in 0..60 {
            upstream.now = upstream.now.plus_ms(3_600_000);
            upstream.add_file("receipt", 3);
        }
        host.collect(&mut upstream);
        host.assert_exactly_once(&upstream);
        assert!(host.notices.is_empty(), "{:?}", host.notices);
    }
}

/// Removes the lines of events before that time.
fn retain_since(upstream: &mut Upstream, from: Timestamp) {
    for file in upstream.files.values_mut().flatten() {
        let is_recent = |line: &&str| {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            value["timestamp"].as_i64().unwrap() >= from.millis()
        };
        let lines: Vec<&str> = file.lines().filter(is_recent).collect();
        *file = lines.join("\n");
    }
}

#[test]
fn the_quota_of_the_event_endpoint_holds_in_every_hour() {
    let mut upstream = Upstream::new();
    for event_type in ["receipt", "entities"] {
        for _ in 0..300 {
            upstream.add_file(event_type, 3);
        }
    }
    let settings = r#","streams":["siem.receipt","ci"],"siem_endpoint":"events","start":"1h""#;
    let mut host = Host::new(settings);
    host.limits.max_requests = 50;
    host.limits.max_events = 500;
    host.collect(&mut upstream);
    host.assert_exactly_once(&upstream);
    let listings = &upstream.quota_calls;
    for (index, (from, _)) in listings.iter().enumerate() {
        let until = from.plus_ms(3_600_000);
        let inside = listings[index..]
            .iter()
            .take_while(|(at, _)| *at < until)
            .count();
        assert!(inside <= 300, "{inside} calls in an hour");
    }
}

#[test]
fn no_call_goes_without_a_token_when_an_outage_ends_between_files_and_events() {
    let mut upstream = Upstream::new();
    let mut host = Host::new(r#","streams":["siem.receipt"],"siem_endpoint":"events""#);
    host.limits.max_requests = 2;
    host.collect(&mut upstream);
    for hours in [25, 21, 30] {
        upstream.now = upstream.now.plus_ms(hours * 3_600_000);
        upstream.add_file("receipt", 2);
        // Token and listing; the scripted upstream takes no call without a token.
        host.poll(&mut upstream).unwrap();
    }
    host.collect(&mut upstream);
    host.assert_exactly_once(&upstream);
}

#[test]
fn late_events_are_delivered_after_the_page_token_was_refused() {
    let mut upstream = Upstream::new();
    let hours = |hours: i64| hours * 3_600_000;
    let end = upstream.now;
    for back in (0..10).rev() {
        upstream.now = end.plus_ms(-hours(back));
        upstream.add_file("receipt", 2);
    }
    let settings = r#","streams":["siem.receipt"],"siem_endpoint":"events","start":"12h""#;
    let mut host = Host::new(settings);
    host.collect(&mut upstream);
    for late_by in [1, 5, 11] {
        upstream.now = upstream.now.plus_ms(hours(1) / 3);
        let now = upstream.now;
        upstream.add_file("receipt", 2);
        // Published last, and older than all that is listed again by date.
        upstream.now = now.plus_ms(-hours(late_by));
        upstream.add_file("receipt", 2);
        upstream.now = now;
        let refused = MockResponse::json(400, r#"{"fail":[{"code":"err_invalid_token"}]}"#);
        let request = "/siem/v1/events/cg".to_owned();
        upstream.script.push_back((request, refused));
        host.collect(&mut upstream);
        host.assert_exactly_once(&upstream);
    }
    let adjusted = host
        .notices
        .iter()
        .filter(|notice| notice.kind == NoticeKind::Adjusted);
    assert_eq!(adjusted.count(), 3, "{:?}", host.notices);
}

/// A host that reads one type from that endpoint.
fn host(endpoint: &str, start: &str) -> Host {
    let mut host = Host::new(&format!(
        r#","streams":["siem.receipt"],"siem_endpoint":"{endpoint}","start":"{start}""#
    ));
    host.limits.max_requests = 20;
    host
}

/// Restarts the host with another endpoint.
fn change_endpoint(host: &mut Host, from: &str, to: &str) {
    host.session = None;
    host.settings = host.settings.replace(
        &format!(r#""siem_endpoint":"{from}""#),
        &format!(r#""siem_endpoint":"{to}""#),
    );
}

/// Lets the time pass, with a file every 15 minutes whose records are 20 minutes old.
fn run_with_late_files(host: &mut Host, upstream: &mut Upstream, hours: i64) {
    for _ in 0..hours * 4 {
        let now = upstream.now.plus_ms(15 * 60_000);
        upstream.now = now.plus_ms(-20 * 60_000);
        upstream.add_file("receipt", 2);
        upstream.now = now;
        host.collect(upstream);
    }
}

/// An upstream with files of so many hours.
fn upstream_of(hours: i64) -> Upstream {
    let mut upstream = Upstream::new();
    let end = upstream.now;
    for back in (1..=hours * 2).rev() {
        upstream.now = end.plus_ms(-back * 1_800_000);
        upstream.add_file("receipt", 2);
    }
    upstream.now = end;
    upstream
}

#[test]
fn nothing_is_lost_where_the_endpoint_is_changed_at_any_time() {
    for (from, to) in [("batch", "events"), ("events", "batch")] {
        // In the middle of the files, at their end, and hours after that.
        for polls in [1, 2, 5, 12, 20, 27, 30, 33, 60] {
            let mut upstream = upstream_of(30);
            let mut host = host(from, "3d");
            for _ in 0..polls {
                let wait_ms = match host.poll(&mut upstream).unwrap().next {
                    NextPoll::Now => 0,
                    NextPoll::CaughtUp(ms) | NextPoll::Failing(ms) | NextPoll::Throttled(ms) => ms,
                };
                upstream.now = upstream.now.plus_ms(wait_ms.try_into().unwrap());
            }
            change_endpoint(&mut host, from, to);
            run_with_late_files(&mut host, &mut upstream, 4);
            host.assert_at_least_once(&upstream);
            change_endpoint(&mut host, to, from);
            run_with_late_files(&mut host, &mut upstream, 4);
            host.assert_at_least_once(&upstream);
            assert!(host.notices.is_empty(), "{:?}", host.notices);
        }
    }
}

#[test]
fn a_record_has_one_id_whichever_endpoint_it_comes_from() {
    let mut upstream = upstream_of(3);
    let mut host = host("events", "1h");
    run_with_late_files(&mut host, &mut upstream, 3);
    let of_endpoint = host.delivered.clone();
    assert!(of_endpoint.len() > 20);
    // All of it comes once more, from the files.
    host.checkpoint = None;
    host.delivered.clear();
    change_endpoint(&mut host, "events", "batch");
    host.collect(&mut upstream);
    assert!(of_endpoint.iter().all(|key| host.delivered.contains(key)));
    host.assert_one_id_each();
}

#[test]
fn a_file_that_is_set_aside_does_not_hold_the_event_endpoint_back() {
    let refused = MockResponse::json(403, "<Error><Code>AccessDenied</Code></Error>");
    let mut upstream = upstream_of(30);
    let file = "files.test/receipt/20?".to_owned();
    upstream.always.push((file, refused));
    let mut host = host("events", "3d");
    let run_for_minutes = |host: &mut Host, upstream: &mut Upstream, minutes: i64| {
        let end = upstream.now.plus_ms(minutes * 60_000);
        while upstream.now < end {
            let wait_ms = match host.poll(upstream).unwrap().next {
                NextPoll::Now => 0,
                NextPoll::CaughtUp(ms) | NextPoll::Failing(ms) | NextPoll::Throttled(ms) => ms,
            };
            upstream.now = upstream.now.plus_ms(wait_ms.try_into().unwrap());
        }
    };
    run_for_minutes(&mut host, &mut upstream, 20);
    let others = upstream.expected().len() - 2;
    assert_eq!(host.delivered.len(), others);
    for hour in 1..=30 {
        upstream.add_file("receipt", 2);
        run_for_minutes(&mut host, &mut upstream, 60);
        // Each comes within the hour, also where the process is another one.
        assert_eq!(host.delivered.len(), others + 2 * hour);
        host.session = None;
    }
    // After an outage that the endpoint does not cover, and a reset, the file is not forgotten.
    upstream.now = upstream.now.plus_ms(30 * 3_600_000);
    upstream.add_file("receipt", 2);
    run_for_minutes(&mut host, &mut upstream, 60);
    let checkpoint = host.checkpoint.as_deref().unwrap();
    let now = upstream.host_now();
    let rewound = crate::rewind::rewind(&host.settings, checkpoint, &[], now, now);
    host.checkpoint = Some(rewound.unwrap());
    host.session = None;
    run_for_minutes(&mut host, &mut upstream, 60);
    upstream.always.clear();
    host.collect(&mut upstream);
    host.assert_at_least_once(&upstream);
    let gaps = host.notices.iter().map(|notice| notice.kind);
    assert_eq!(gaps.filter(|kind| *kind == NoticeKind::Gap).count(), 0);
}

#[test]
fn a_quiet_type_without_page_tokens_asks_for_no_day_that_the_endpoint_does_not_serve() {
    let mut upstream = Upstream::new();
    let empty = MockResponse::json(200, r#"{"value":[],"isCaughtUp":true}"#);
    upstream.always.push(("/siem/v1/events".to_owned(), empty));
    let mut host = host("events", "1h");
    for _ in 0..60 {
        host.collect(&mut upstream);
        let request = upstream.requests.last().unwrap();
        let (_, start) = request.split_once("dateRangeStartsAt=").unwrap();
        let start = start.split(['&', ' ']).next().unwrap().replace("%3A", ":");
        let start = Timestamp::parse(&start).unwrap();
        assert!(start > upstream.now.plus_ms(-24 * 3_600_000), "{start}");
        upstream.now = upstream.now.plus_ms(3_600_000);
    }
    assert!(host.notices.is_empty(), "{:?}", host.notices);
}

#[test]
fn lines_from_before_the_start_are_left_out_and_are_no_duplicates() {
    let run = |start: &str| {
        let mut upstream = upstream_of(30);
        let mut host = host("events", start);
        host.collect(&mut upstream);
        (upstream.expected().len() - host.delivered.len(), host)
    };
    let (left_out, all) = run("3d");
    assert_eq!((left_out, all.notices), (0, Vec::new()));
    // Files are listed by whole days, and the start is in the middle of the first one.
    let (left_out, host) = run("26h");
    assert!(left_out > 0);
    assert_eq!(host.duplicates, all.duplicates);
    let counted = host.notices.iter().map(|notice| {
        let count = notice.detail.strip_prefix("records older than `start` ");
        let count = count.unwrap().rsplit(' ').next().unwrap();
        count.parse::<usize>().unwrap()
    });
    assert_eq!(counted.sum::<usize>(), left_out);
}
