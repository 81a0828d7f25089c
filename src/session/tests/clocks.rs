//! Clocks that are wrong: an odd `Date`, none, all of them odd, and a host that is hours off.

use crate::batch::NoticeKind;
use crate::stream::Stream;
use crate::testing::{Host, Upstream};

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

/// A day of audit events.
fn upstream() -> Upstream {
    let mut upstream = Upstream::new();
    for n in 0..10 {
        let at = upstream.now.plus_ms(-20 * HOUR_MS + n * 1_800_000);
        upstream.add_audit(&format!("a{n}"), at);
    }
    upstream
}

fn host() -> Host {
    let mut host = Host::new(r#","streams":["audit"]"#);
    host.limits.max_requests = 50;
    host.limits.max_events = 50;
    host
}

/// Adds events one, two and three hours from now, and runs the host again later, as a program that
/// is started anew each time.
fn run_later(upstream: &mut Upstream, host: &mut Host) {
    let begin = upstream.now;
    for hours in 1..=3 {
        upstream.add_audit(&format!("later{hours}"), begin.plus_ms(hours * HOUR_MS));
    }
    for half_hours in [7, 12, 24, 60] {
        upstream.now = begin.plus_ms(half_hours * HOUR_MS / 2).max(upstream.now);
        host.session = None;
        host.collect(upstream);
    }
}

#[test]
fn one_odd_date_never_marks_time_as_read() {
    for date_error_ms in [DAY_MS, 400 * DAY_MS, 5 * HOUR_MS, -DAY_MS, -400 * DAY_MS] {
        for ahead_ms in [0, -3 * HOUR_MS, 3 * HOUR_MS] {
            for number in 0..10 {
                let (mut upstream, mut host) = (upstream(), host());
                upstream.host_ahead_ms = ahead_ms;
                upstream
                    .date_ahead_ms_by_request
                    .insert(number, Some(date_error_ms));
                host.collect(&mut upstream);
                run_later(&mut upstream, &mut host);
                let what =
                    format!("response {number} off by {date_error_ms} ms, host by {ahead_ms} ms");
                let missing: Vec<String> = upstream
                    .expected()
                    .into_iter()
                    .filter(|key| !host.delivered.contains(key))
                    .collect();
                assert!(missing.is_empty(), "{what}: {missing:?}");
                let gaps = host.notices.iter().filter(|it| it.kind == NoticeKind::Gap);
                assert_eq!(gaps.count(), 0, "{what}: {:?}", host.notices);
                if ahead_ms == 0 {
                    host.assert_exactly_once(&upstream);
                    assert!(host.notices.is_empty(), "{what}: {:?}", host.notices);
                }
            }
        }
    }
}

#[test]
fn time_that_was_marked_as_read_while_every_date_was_odd_is_read_again() {
    for date_error_ms in [2 * HOUR_MS, 6 * HOUR_MS, DAY_MS, -DAY_MS, -50 * DAY_MS] {
        // The dates are right again in the same session, or when the program is started anew.
        for minutes in [0, 10, 600] {
            let (mut upstream, mut host) = (upstream(), host());
            upstream.dates_ahead_ms = date_error_ms;
            host.collect(&mut upstream);
            let late = upstream.now.plus_ms(30_000);
            upstream.add_audit("soon", late);
            for _ in 0..minutes {
                upstream.now = upstream.now.plus_ms(60_000);
                host.collect(&mut upstream);
            }
            upstream.dates_ahead_ms = 0;
            run_later(&mut upstream, &mut host);
            host.assert_at_least_once(&upstream);
            let gaps = host.notices.iter().filter(|it| it.kind == NoticeKind::Gap);
            assert_eq!(gaps.count(), 0, "{date_error_ms}: {:?}", host.notices);
            let adjusted = host
                .notices
                .iter()
                .any(|it| it.kind == NoticeKind::Adjusted);
            assert!(
                adjusted || date_error_ms < 0,
                "{date_error_ms}, {minutes}: {:?}",
                host.notices
            );
        }
    }
}

#[test]
fn an_upstream_without_a_date_is_followed_by_the_hosts_clock() {
    let (mut upstream, mut host) = (upstream(), host());
    for number in 0..1000 {
        upstream.date_ahead_ms_by_request.insert(number, None);
    }
    host.collect(&mut upstream);
    run_later(&mut upstream, &mut host);
    host.assert_exactly_once(&upstream);
    assert!(host.notices.is_empty(), "{:?}", host.notices);
}

#[test]
fn a_host_whose_clock_is_corrected_loses_nothing() {
    for ahead_ms in [-3 * HOUR_MS, 3 * HOUR_MS, -40 * DAY_MS, 40 * DAY_MS] {
        let (mut upstream, mut host) = (upstream(), host());
        upstream.host_ahead_ms = ahead_ms;
        host.collect(&mut upstream);
        for n in 0..100 {
            let at = upstream.now;
            upstream.add_audit(&format!("b{n}"), at);
            upstream.now = upstream.now.plus_ms(HOUR_MS / 2);
            host.collect(&mut upstream);
        }
        let before = host.delivered.len();
        upstream.host_ahead_ms = 0;
        run_later(&mut upstream, &mut host);
        host.assert_at_least_once(&upstream);
        let repeats = host.delivered.len() - before - 3;
        // What lies between the two clocks may not have been read, and a day at most after that.
        let most = if ahead_ms < -DAY_MS { 110 } else { 55 };
        assert!(repeats <= most, "{ahead_ms}: {repeats} repeats");
    }
}

#[test]
fn an_odd_date_on_any_response_loses_no_single_event_and_no_indicator() {
    for date_error_ms in [2 * DAY_MS, 40 * DAY_MS, -2 * DAY_MS] {
        for number in 0..6 {
            let (mut upstream, mut host) = (
                Upstream::new(),
                Host::new(
                    r#","streams":["siem.receipt","threat-intel.grid"],"siem_endpoint":"events""#,
                ),
            );
            host.limits.max_requests = 50;
            upstream
                .date_ahead_ms_by_request
                .insert(number, Some(date_error_ms));
            host.collect(&mut upstream);
            for hours in 1..9 {
                upstream.now = upstream.now.plus_ms(HOUR_MS);
                upstream.add_file("receipt", 2);
                let at = upstream.now;
                let id = format!("i{hours}");
                upstream
                    .other_streams
                    .add(Stream::ThreatIntelGrid, &id, (at, at));
                if hours % 3 == 0 {
                    host.session = None;
                }
                host.collect(&mut upstream);
            }
            upstream.now = upstream.now.plus_ms(6 * HOUR_MS);
            host.collect(&mut upstream);
            host.assert_at_least_once(&upstream);
        }
    }
}

#[test]
fn a_host_that_jumps_days_ahead_keeps_its_place_in_the_batch_files() {
    // In one session, after a restart, and with the saved session of the poll before.
    for (fresh, saves_session) in [(false, false), (true, false), (true, true)] {
        for days in [8, 30, 400] {
            let mut upstream = Upstream::new();
            for _ in 0..5 {
                upstream.add_file("receipt", 3);
            }
            let mut host = Host::new(r#","streams":["siem.receipt"]"#);
            host.fresh_each_poll = fresh;
            host.passes_saved_session = saves_session;
            host.collect(&mut upstream);
            for round in 0..8 {
                upstream.host_ahead_ms = if round < 6 { days * DAY_MS } else { 0 };
                upstream.now = upstream.now.plus_ms(10 * 60_000);
                upstream.add_file("receipt", 2);
                host.collect(&mut upstream);
            }
            let what = format!("{days} days, {fresh}, {saves_session}");
            let listings = upstream.requests.iter().filter(|it| it.contains("/cg?"));
            let by_day = listings.filter(|it| it.contains("dateRangeStartsAt"));
            assert_eq!(by_day.count(), 1, "{what}: {:?}", upstream.requests);
            assert!(host.notices.is_empty(), "{what}: {:?}", host.notices);
            host.assert_exactly_once(&upstream);
        }
    }
}

#[test]
fn a_stream_is_caught_up_only_when_everything_was_read_whichever_dates_are_odd() {
    let streams = [
        (Stream::Audit, ""),
        (Stream::Dlp, ""),
        (Stream::HeldMessages, ""),
        (Stream::ThreatIntelGrid, ""),
        (Stream::SiemReceipt, ""),
        (Stream::SiemReceipt, r#","siem_endpoint":"events""#),
    ];
    let wrong_date_responses: [&[usize]; 8] = [
        &[0],
        &[1],
        &[0, 1],
        &[1, 2],
        &[0, 2],
        &[0, 1, 2],
        &[0, 1, 3],
        &[2, 3, 4],
    ];
    for (stream, more) in streams {
        for date_error_ms in [5 * HOUR_MS, 30 * DAY_MS, -5 * HOUR_MS, -300 * DAY_MS] {
            for numbers in wrong_date_responses {
                for ahead_ms in [0, -2 * HOUR_MS, 18 * HOUR_MS] {
                    let settings = format!(r#","streams":["{stream}"],"start":"40h"{more}"#);
                    let (mut upstream, mut host) = (Upstream::new(), Host::new(&settings));
                    let end = upstream.now;
                    for hours in (1..20).rev() {
                        let at = end.plus_ms(-hours * HOUR_MS - 1000);
                        upstream.now = at;
                        let id = format!("{stream}-{hours}");
                        if stream == Stream::Audit {
                            upstream.add_audit(&id, at);
                        } else if stream == Stream::SiemReceipt {
                            upstream.add_file("receipt", 2);
                        } else {
                            upstream.other_streams.add(stream, &id, (at, at));
                        }
                    }
                    upstream.now = end;
                    upstream.host_ahead_ms = ahead_ms;
                    for number in numbers {
                        upstream
                            .date_ahead_ms_by_request
                            .insert(*number, Some(date_error_ms));
                    }
                    host.collect(&mut upstream);
                    let missing: Vec<String> = upstream
                        .expected()
                        .into_iter()
                        .filter(|key| !host.delivered.contains(key))
                        .collect();
                    let what = format!(
                        "{stream}{more}: responses {numbers:?} off by {date_error_ms} ms, host by {ahead_ms} ms"
                    );
                    assert!(missing.is_empty(), "{what}: {missing:?}");
                }
            }
        }
    }
}
