//! Every log of API 2.0 through one session, against the scripted upstream.

use crate::batch::{Limits, NoticeKind};
use crate::checkpoint::CHECKPOINT_BYTES_MAX;
use crate::stream::{FetchKind, STREAMS, Stream, StreamInfo, UNDOCUMENTED_PERMISSION};
use crate::testing::{Host, MockResponse, Upstream};

/// The streams of API 2.0.
fn streams() -> impl Iterator<Item = &'static StreamInfo> {
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
    match (stream, stream.info().fetch) {
        (Stream::Audit, _) => upstream.add_audit(&format!("a{n}"), at),
        (_, FetchKind::Files { event_type, .. }) => upstream.add_file(event_type, n % 4 + 1),
        (_, _) => upstream
            .other_streams
            .add(stream, &format!("{n}"), (at, now)),
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
        host.limits.max_requests = 15;
        host.collect(&mut upstream);
        host.assert_exactly_once(&upstream);
    }
}

#[test]
fn a_run_that_is_killed_after_any_poll_misses_and_repeats_nothing() {
    for kill_at in (0..90).step_by(4) {
        let (mut upstream, mut host) = (upstream(), host());
        host.limits.max_requests = 2;
        host.collect_after_a_kill(&mut upstream, kill_at);
        host.assert_exactly_once(&upstream);
    }
}

#[test]
fn each_stream_in_turn_can_be_forbidden_while_the_others_complete() {
    let forbidden = [
        MockResponse::json(
            403,
            r#"{"fail":[{"code":"app_forbidden","message":"Forbidden"}]}"#,
        ),
        MockResponse::json(
            200,
            r#"{"data":[],"fail":[{"errors":[{"code":"app_forbidden"}]}]}"#,
        ),
        MockResponse::json(404, r#"{"fail":[{"code":"endpoint_evaluation_failed_1"}]}"#),
    ];
    for (row, response) in streams().zip(forbidden.iter().cycle()) {
        let (mut upstream, mut host) = (upstream(), host());
        let request_part = match row.fetch {
            FetchKind::Files { event_type, .. } => {
                format!("type={}&", event_type.replace(' ', "%20"))
            }
            FetchKind::ThreatFeed { feed_type } => feed_type.to_owned(),
            FetchKind::Campaigns { .. }
            | FetchKind::List { .. }
            | FetchKind::LogFiles
            | FetchKind::Windows(_) => row.endpoint.to_owned(),
        };
        upstream.always.push((request_part, response.clone()));
        host.collect(&mut upstream);
        if let FetchKind::Files { event_type, .. } = row.fetch {
            upstream.files.remove(event_type);
        }
        if row.stream == Stream::Audit {
            upstream.audit.clear();
        }
        upstream.other_streams.logs.remove(&row.stream);
        upstream.other_streams.lists.remove(&row.stream);
        host.assert_exactly_once(&upstream);
        let [notice] = host.notices.as_slice() else {
            panic!("{}: {:?}", row.name, host.notices);
        };
        assert_eq!(
            (notice.stream, notice.kind),
            (row.stream, NoticeKind::NotPermitted)
        );
        assert!(notice.detail.contains(row.product), "{}", notice.detail);
        let named =
            row.permission == UNDOCUMENTED_PERMISSION || notice.detail.contains(row.permission);
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
        let refused = MockResponse::json(400, r#"{"fail":[{"code":"err_invalid_token"}]}"#);
        for part in ["pageToken", "nextPage", "\"token\""] {
            upstream
                .script
                .push_back((part.to_owned(), refused.clone()));
        }
        host.collect(&mut upstream);
        // A window or list is read again, and what was delivered is recognized by its identity.
        match row.fetch {
            FetchKind::Files { .. } => host.assert_at_least_once(&upstream),
            FetchKind::Campaigns { .. }
            | FetchKind::ThreatFeed { .. }
            | FetchKind::List { .. }
            | FetchKind::LogFiles
            | FetchKind::Windows(_) => {
                host.assert_exactly_once(&upstream);
            }
        }
        let adjusted = host
            .notices
            .iter()
            .filter(|n| n.kind == NoticeKind::Adjusted);
        assert_eq!(adjusted.count(), 1, "{}: {:?}", row.name, host.notices);
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
fn an_outage_of_a_feed_that_is_longer_than_the_retention_is_a_gap_with_its_bounds() {
    for (days, gaps) in [(6, 0), (9, 1)] {
        let mut upstream = Upstream::new();
        let mut host = Host::new(r#","streams":["threat-intel.grid"]"#);
        add(&mut upstream, Stream::ThreatIntelGrid, 0);
        host.collect(&mut upstream);
        let before = upstream.now;
        host.session = None;
        upstream.now = upstream.now.plus_ms(days * 86_400_000);
        add(&mut upstream, Stream::ThreatIntelGrid, 1);
        host.collect(&mut upstream);
        host.assert_exactly_once(&upstream);
        let notices = &host.notices;
        assert_eq!(notices.len(), gaps, "{notices:?}");
        for notice in notices {
            assert_eq!(notice.kind, NoticeKind::Gap);
            let day = |at: crate::time::Timestamp| at.to_day();
            let oldest = upstream.now.plus_ms(-7 * 86_400_000);
            for bound in [day(before), day(oldest)] {
                assert!(notice.detail.contains(&bound), "{}", notice.detail);
            }
        }
    }
}

#[test]
fn a_checkpoint_of_all_streams_stays_within_its_bound() {
    let mut upstream = Upstream::new();
    upstream.other_streams.page_records = 100;
    upstream.page_files = 100;
    let now = upstream.now;
    for row in streams() {
        for n in 0..600 {
            let at = now.plus_ms(-1000 - n * 500);
            let id = format!("eNoVzb0NwiAUQOGd3tgCwgPKG-eNoVzb0NwiAUQOGd3tgCwgPKG-{n}");
            match (row.stream, row.fetch) {
                (Stream::Audit, _) => upstream.add_audit(&id, at),
                (_, FetchKind::Files { event_type, .. }) if n % 4 == 0 => {
                    upstream.add_file(event_type, 1)
                }
                (_, FetchKind::Files { .. }) => {}
                (_, _) => upstream.other_streams.add(row.stream, &id, (at, now)),
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
