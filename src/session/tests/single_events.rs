//! The event endpoint, through a session against the scripted upstream.

use crate::batch::NoticeKind;
use crate::testing::{Answer, Host, Upstream};
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
        let back_h = [("30m", 1), ("24h", 24), ("3d", 72)]
            .iter()
            .find(|s| s.0 == start);
        let from = end.plus_ms(-back_h.unwrap().1 * 3_600_000 / if start == "30m" { 2 } else { 1 });
        retain_since(&mut upstream, from);
        host.assert_exactly_once(&upstream);
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

/// Forgets the lines that happened before.
fn retain_since(upstream: &mut Upstream, from: Timestamp) {
    for file in upstream.files.values_mut().flatten() {
        let kept = |line: &&str| {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            value["timestamp"].as_i64().unwrap() >= from.millis()
        };
        let lines: Vec<&str> = file.lines().filter(kept).collect();
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
    let listings = &upstream.listings;
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
        let refused = Answer::json(400, r#"{"fail":[{"code":"err_invalid_token"}]}"#);
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
