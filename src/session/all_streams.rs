//! Every log of API 2.0 through one session, against the scripted upstream.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a test names the streams that differ and treats the others alike"
)]

use std::collections::BTreeSet;

use proptest::prelude::*;

use crate::batch::{Limits, NoticeKind};
use crate::checkpoint::CHECKPOINT_BYTES_MAX;
use crate::stream::{NO_PERMISSION, Row, STREAMS, Stream, Way};
use crate::testing::{Answer, Host, Upstream};
use crate::time::Timestamp;

/// The streams of API 2.0.
fn streams() -> impl Iterator<Item = &'static Row> {
    STREAMS.iter().filter(|row| row.stream != Stream::Siem)
}

/// Records in all streams: several of the same second on a page boundary, windows with exactly
/// one page, and streams with nothing.
fn upstream() -> Upstream {
    let mut upstream = Upstream::new();
    for row in streams() {
        let records = row.stream.index() % 5 * 3;
        for n in 0..records {
            add(&mut upstream, row.stream, n);
        }
    }
    upstream
}

/// Adds the record of that number, on the last day.
fn add(upstream: &mut Upstream, stream: Stream, n: usize) {
    let back_ms = i64::try_from(n / 4).unwrap() * 7_000_000 + 60_000;
    let at = upstream.now.plus_ms(-back_ms);
    let now = upstream.now;
    match (stream, stream.row().way) {
        (Stream::Audit, _) => upstream.add_audit(&format!("a{n}"), at),
        (_, Way::Files { event_type, .. }) => upstream.add_file(event_type, n % 4 + 1),
        (_, _) => upstream.tenant.add(stream, &format!("{n}"), (at, now)),
    }
}

fn host() -> Host {
    Host::new("")
}

#[test]
fn all_streams_together_deliver_every_record_exactly_once() {
    let (mut upstream, mut host) = (upstream(), host());
    host.collect(&mut upstream);
    host.assert_exactly_once(&upstream);
    assert!(host.notices.is_empty(), "{:?}", host.notices);
    assert!(host.rejected.is_empty(), "{:?}", host.rejected);
}

#[test]
fn a_fresh_session_for_each_poll_delivers_the_same() {
    for max_events in [3, 7] {
        let (mut upstream, mut host) = (upstream(), host());
        host.fresh_each_poll = true;
        host.limits.max_events = max_events;
        host.collect(&mut upstream);
        host.assert_exactly_once(&upstream);
    }
}

#[test]
fn a_run_that_is_killed_after_any_poll_misses_and_repeats_nothing() {
    for kill_at in (0..90).step_by(4) {
        let (mut upstream, mut host) = (upstream(), host());
        host.limits.max_requests = 2;
        for _ in 0..kill_at {
            host.poll(&mut upstream).unwrap();
        }
        let _ = host.poll_without_storing(&mut upstream).unwrap();
        host.session = None;
        host.collect(&mut upstream);
        host.assert_exactly_once(&upstream);
    }
}

#[test]
fn each_stream_in_turn_can_be_forbidden_while_the_others_complete() {
    let forbidden = [
        Answer::json(
            403,
            r#"{"fail":[{"code":"app_forbidden","message":"Forbidden"}]}"#,
        ),
        Answer::json(
            200,
            r#"{"data":[],"fail":[{"errors":[{"code":"app_forbidden"}]}]}"#,
        ),
        Answer::json(404, r#"{"fail":[{"code":"endpoint_evaluation_failed_1"}]}"#),
    ];
    for (row, answer) in streams().zip(forbidden.iter().cycle()) {
        let (mut upstream, mut host) = (upstream(), host());
        let asked = match row.way {
            Way::Files { event_type, .. } => format!("type={}&", event_type.replace(' ', "%20")),
            Way::Feed { feed_type } => feed_type.to_owned(),
            Way::List { .. } | Way::LogFiles | Way::Windows(_) => row.endpoint.to_owned(),
        };
        upstream.always.push((asked, answer.clone()));
        host.collect(&mut upstream);
        if let Way::Files { event_type, .. } = row.way {
            upstream.files.remove(event_type);
        }
        if row.stream == Stream::Audit {
            upstream.audit.clear();
        }
        upstream.tenant.logs.remove(&row.stream);
        upstream.tenant.lists.remove(&row.stream);
        host.assert_exactly_once(&upstream);
        let [notice] = host.notices.as_slice() else {
            panic!("{}: {:?}", row.name, host.notices);
        };
        assert_eq!(
            (notice.stream, notice.kind),
            (row.stream, NoticeKind::NotPermitted)
        );
        assert!(notice.detail.contains(row.product), "{}", notice.detail);
        let named = row.permission == NO_PERMISSION || notice.detail.contains(row.permission);
        assert!(named, "{}", notice.detail);
    }
}

#[test]
fn a_page_token_that_expires_in_the_middle_costs_no_record() {
    for row in streams() {
        let mut upstream = Upstream::new();
        for n in 0..40 {
            add(&mut upstream, row.stream, n);
        }
        let mut host = Host::new(&format!(r#","streams":["{}"]"#, row.name));
        host.limits.max_requests = 2;
        for _ in 0..5 {
            host.poll(&mut upstream).unwrap();
        }
        let refused = Answer::json(400, r#"{"fail":[{"code":"err_invalid_token"}]}"#);
        for part in ["pageToken", "nextPage", "\"token\""] {
            upstream
                .script
                .push_back((part.to_owned(), refused.clone()));
        }
        host.collect(&mut upstream);
        host.assert_at_least_once(&upstream);
        let adjusted = host
            .notices
            .iter()
            .filter(|n| n.kind == NoticeKind::Adjusted);
        assert_eq!(adjusted.count(), 1, "{}: {:?}", row.name, host.notices);
    }
}

#[test]
fn held_messages_are_told_when_they_appear_and_when_they_are_gone() {
    let mut upstream = Upstream::new();
    let now = upstream.now;
    for n in 0..8 {
        upstream
            .tenant
            .add(Stream::HeldMessages, &format!("h{n}"), (now, now));
    }
    let mut host = Host::new(r#","streams":["held-messages"]"#);
    host.fresh_each_poll = true;
    host.limits.max_events = 3;
    host.collect(&mut upstream);
    host.assert_exactly_once(&upstream);
    upstream
        .tenant
        .lists
        .get_mut(&Stream::HeldMessages)
        .unwrap()
        .drain(2..5);
    let at = upstream.now;
    upstream.tenant.add(Stream::HeldMessages, "new", (at, at));
    for _ in 0..4 {
        upstream.now = upstream.now.plus_ms(6 * 60_000);
        host.collect(&mut upstream);
    }
    let first_id = |n: usize| {
        host.ids[&format!("held-messages/h{n}")]
            .first()
            .unwrap()
            .clone()
    };
    let gone: BTreeSet<String> = (2..5).map(|n| format!("gone/{}", first_id(n))).collect();
    let told: Vec<&String> = host
        .delivered
        .iter()
        .filter(|key| key.starts_with("gone/"))
        .collect();
    assert_eq!(told.len(), 3);
    assert_eq!(told.into_iter().cloned().collect::<BTreeSet<_>>(), gone);
    assert_eq!(host.delivered.len(), 8 + 3 + 1);
}

#[test]
fn a_message_that_one_reading_misses_has_not_left() {
    let mut upstream = Upstream::new();
    let now = upstream.now;
    upstream.tenant.add(Stream::HeldMessages, "h", (now, now));
    let mut host = Host::new(r#","streams":["held-messages"]"#);
    host.collect(&mut upstream);
    let list = upstream.tenant.lists.remove(&Stream::HeldMessages).unwrap();
    upstream.now = upstream.now.plus_ms(6 * 60_000);
    host.collect(&mut upstream);
    upstream.tenant.lists.insert(Stream::HeldMessages, list);
    for _ in 0..3 {
        upstream.now = upstream.now.plus_ms(6 * 60_000);
        host.collect(&mut upstream);
    }
    assert_eq!(host.delivered, ["held-messages/h"]);
}

#[test]
fn the_whole_list_is_told_each_time_where_that_is_asked_for() {
    let mut upstream = Upstream::new();
    let now = upstream.now;
    for n in 0..5 {
        upstream
            .tenant
            .add(Stream::HeldMessages, &format!("h{n}"), (now, now));
    }
    let mut host = Host::new(r#","streams":["held-messages"],"snapshot":"full""#);
    host.fresh_each_poll = true;
    host.limits.max_events = 2;
    host.collect(&mut upstream);
    upstream.now = upstream.now.plus_ms(6 * 60_000);
    host.collect(&mut upstream);
    assert_eq!(host.delivered.len(), 10);
    host.assert_at_least_once(&upstream);
}

#[test]
fn a_list_that_is_too_long_to_remember_is_said_and_repeats_with_the_same_ids() {
    let mut upstream = Upstream::new();
    upstream.tenant.page_records = 500;
    let now = upstream.now;
    for n in 0..2000 {
        let id = format!("eNoVzb0NwiAUQOGd3tgCwgPKG-{n:04}");
        upstream.tenant.add(Stream::HeldMessages, &id, (now, now));
    }
    let mut host = Host::new(r#","streams":["held-messages"]"#);
    host.limits.max_events = 500;
    host.collect(&mut upstream);
    assert_eq!(host.delivered.len(), 2000);
    assert!(host.checkpoint.as_ref().unwrap().len() <= CHECKPOINT_BYTES_MAX);
    assert!(
        host.notices[0].detail.contains("longer than a checkpoint"),
        "{:?}",
        host.notices
    );
    upstream.now = upstream.now.plus_ms(61 * 60_000);
    host.collect(&mut upstream);
    assert!(
        (2100..3900).contains(&host.delivered.len()),
        "{}",
        host.delivered.len()
    );
    host.assert_at_least_once(&upstream);
}

#[test]
fn a_changed_row_of_the_training_is_told_and_an_unchanged_one_is_not() {
    let mut upstream = Upstream::new();
    let row = |grade: &str| format!(r#"{{"type":"t","id":"ann {grade}","risk":"{grade}"}}"#);
    let list = |grade| vec![row(grade), r#"{"type":"t","id":"bob"}"#.to_owned()];
    upstream
        .tenant
        .lists
        .insert(Stream::TrainingSafeScore, list("A"));
    let mut host = Host::new(r#","streams":["training"]"#);
    for grade in ["A", "B", "B"] {
        upstream
            .tenant
            .lists
            .insert(Stream::TrainingSafeScore, list(grade));
        host.collect(&mut upstream);
        upstream.now = upstream.now.plus_ms(7 * 3_600_000);
    }
    assert_eq!(host.delivered, ["t/ann A", "t/bob", "t/ann B"]);
}

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
fn threat_feeds_are_read_as_stix_and_as_csv_zipped_or_not() {
    for form in ["stix", "csv"] {
        let mut upstream = Upstream::new();
        let mut host = Host::new(&format!(
            r#","streams":["threat-intel"],"threat_feed":"{form}""#
        ));
        host.fresh_each_poll = true;
        host.limits.max_events = 1;
        for n in 0..9 {
            add(&mut upstream, Stream::ThreatIntelGrid, n);
            add(&mut upstream, Stream::ThreatIntelCustomer, n);
            host.collect(&mut upstream);
            upstream.now = upstream.now.plus_ms(16 * 60_000);
        }
        host.collect(&mut upstream);
        host.assert_exactly_once(&upstream);
        assert!(host.notices.is_empty(), "{:?}", host.notices);
    }
}

#[test]
fn a_checkpoint_of_all_streams_stays_within_its_bound() {
    let mut upstream = Upstream::new();
    upstream.tenant.page_records = 100;
    upstream.page_files = 100;
    let now = upstream.now;
    for row in streams() {
        for n in 0..600 {
            let at = now.plus_ms(-1000 - n * 500);
            let id = format!("eNoVzb0NwiAUQOGd3tgCwgPKG-eNoVzb0NwiAUQOGd3tgCwgPKG-{n}");
            match (row.stream, row.way) {
                (Stream::Audit, _) => upstream.add_audit(&id, at),
                (_, Way::Files { event_type, .. }) if n % 4 == 0 => {
                    upstream.add_file(event_type, 1)
                }
                (_, Way::Files { .. }) => {}
                (_, _) => upstream.tenant.add(row.stream, &id, (at, now)),
            }
        }
    }
    let mut host = host();
    host.limits = Limits {
        max_events: 400,
        max_bytes: 1 << 22,
        max_requests: 50,
    };
    host.collect(&mut upstream);
    host.assert_at_least_once(&upstream);
    let bytes = host.checkpoint.unwrap().len();
    assert!((20_000..=CHECKPOINT_BYTES_MAX).contains(&bytes), "{bytes}");
}

/// The streams that the week and the random runs use: one of each kind of position.
const KINDS: [Stream; 6] = [
    Stream::SiemReceipt,
    Stream::Audit,
    Stream::Dlp,
    Stream::HeldRelease,
    Stream::ArchiveSearch,
    Stream::ThreatIntelGrid,
];

fn kinds_host(more: &str) -> Host {
    let names: Vec<String> = KINDS.iter().map(|stream| format!("\"{stream}\"")).collect();
    Host::new(&format!(r#","streams":[{}]{more}"#, names.join(",")))
}

/// Adds one record of that stream that is `late_ms` old when it appears.
fn add_late(upstream: &mut Upstream, stream: Stream, id: &str, late_ms: i64) {
    let (now, at) = (upstream.now, upstream.now.plus_ms(-late_ms));
    match stream {
        Stream::SiemReceipt => upstream.add_file("receipt", 2),
        Stream::Audit => upstream.add_audit(id, at),
        _ => upstream.tenant.add(stream, id, (at, now)),
    }
}

#[test]
fn a_week_with_outages_late_events_and_skew_reconciles() {
    for ahead_ms in [-7_200_000, 0, 7_200_000] {
        let mut upstream = Upstream::new();
        upstream.host_ahead_ms = ahead_ms;
        let mut host = kinds_host("");
        host.limits.max_events = 100;
        host.limits.max_requests = 20;
        let end = upstream.now.plus_ms(7 * 86_400_000);
        let mut number: u32 = 0;
        while upstream.now < end {
            number += 1;
            for (at, stream) in KINDS.iter().enumerate() {
                if number % 5 == u32::try_from(at % 5).unwrap() {
                    let late_ms = i64::from(number * 37 % 14) * 60_000;
                    add_late(&mut upstream, *stream, &format!("w{number}"), late_ms);
                }
            }
            // The host is down for half a day twice, and is killed now and then.
            if !(200..320).contains(&number) && !(900..1020).contains(&number) {
                if number.is_multiple_of(50) {
                    let _ = host.poll_without_storing(&mut upstream);
                    host.session = None;
                }
                host.collect(&mut upstream);
            }
            upstream.now = upstream.now.plus_ms(6 * 60_000);
        }
        upstream.now = upstream.now.plus_ms(30 * 60_000);
        host.collect(&mut upstream);
        host.assert_exactly_once(&upstream);
        assert!(host.notices.is_empty(), "{:?}", host.notices);
    }
}

/// What happens in a random run.
#[derive(Clone, Debug)]
enum Happening {
    Add(usize, i64),
    Crash,
    Fail(usize, usize),
    Poll,
    Restart,
    Wait(i64),
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        4 => (0..KINDS.len(), 0..14_i64).prop_map(|(kind, late)| Happening::Add(kind, late)),
        1 => Just(Happening::Crash),
        1 => (0..KINDS.len(), 0..5_usize).prop_map(|(kind, fault)| Happening::Fail(kind, fault)),
        4 => Just(Happening::Poll),
        1 => Just(Happening::Restart),
        2 => (1..90_i64).prop_map(Happening::Wait),
    ]
}

/// The answer of a fault.
fn fault(number: usize) -> Answer {
    match number {
        0 => Answer::json(500, "<html>"),
        1 => Answer::with(429, &[("x-ratelimit-reset", "30000")], "{}"),
        2 => Answer::json(401, r#"{"fail":[{"code":"token_expired"}]}"#),
        3 => Answer::json(400, r#"{"fail":[{"code":"err_page_token"}]}"#),
        _ => Answer::json(200, "{\"data\":[{\"cut\":"),
    }
}

/// The part of a request by which the stream is told.
fn asked(stream: Stream) -> &'static str {
    match stream.row().way {
        Way::Files { .. } => "type=receipt",
        Way::Feed { feed_type } => feed_type,
        Way::List { .. } | Way::LogFiles | Way::Windows(_) => stream.row().endpoint,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// The reference model is the set of what was added: it is what is delivered, each record
    /// under one id, whatever fails and whenever the host is killed.
    #[test]
    fn what_is_delivered_is_what_was_served(
        happenings in prop::collection::vec(happening(), 1..80),
        max_events in 1..9_u32,
        max_requests in 1..6_u32,
    ) {
        let mut upstream = Upstream::new();
        let mut host = kinds_host("");
        host.limits.max_events = max_events;
        host.limits.max_requests = max_requests;
        // A first reading of nothing, so that all that follows lies behind the start.
        host.collect(&mut upstream);
        for (number, happening) in happenings.into_iter().enumerate() {
            match happening {
                Happening::Add(kind, late) => {
                    add_late(&mut upstream, KINDS[kind], &format!("r{number}"), late * 60_000);
                }
                Happening::Crash => {
                    let _ = host.poll_without_storing(&mut upstream);
                    host.session = None;
                }
                Happening::Fail(kind, number) => {
                    upstream.script.push_back((asked(KINDS[kind]).to_owned(), fault(number)));
                }
                Happening::Poll => {
                    let _ = host.poll(&mut upstream);
                }
                Happening::Restart => host.session = None,
                Happening::Wait(minutes) => upstream.now = upstream.now.plus_ms(minutes * 60_000),
            }
        }
        upstream.script.clear();
        for _ in 0..3 {
            upstream.now = upstream.now.plus_ms(20 * 60_000);
            host.collect(&mut upstream);
        }
        host.assert_at_least_once(&upstream);
        let delivered: BTreeSet<String> = host.delivered.iter().cloned().collect();
        prop_assert_eq!(delivered, upstream.owed());
    }
}
