//! Streams that are read by windows of time.

use super::{host, upstream};
use crate::batch::Limits;
use crate::testing::{Host, Upstream};

#[test]
fn windows_follow_the_upstreams_clock() {
    for ahead_ms in [-3 * 3_600_000, 3 * 3_600_000] {
        let (mut upstream, mut host) = (upstream(), host());
        upstream.host_ahead_ms = ahead_ms;
        let newest = upstream.now.plus_ms(-1000);
        upstream.add_audit("newest", newest);
        host.collect(&mut upstream);
        assert!(
            host.delivered.contains(&"audit/newest".to_owned()),
            "host ahead by {ahead_ms} ms"
        );
    }
}

#[test]
fn audit_events_that_are_written_late_are_found_by_the_overlap() {
    let (mut upstream, mut host) = (upstream(), host());
    host.collect(&mut upstream);
    for n in 0..30 {
        let late = upstream.now.plus_ms(-14 * 60_000);
        upstream.add_audit(&format!("late{n}"), late);
        upstream.now = upstream.now.plus_ms(70_000);
        host.collect(&mut upstream);
    }
    host.assert_exactly_once(&upstream);
    assert!(host.duplicates > 0, "the overlap finds nothing again");
}

#[test]
fn windows_with_more_records_than_are_remembered_still_overlap_without_repeats() {
    let mut upstream = Upstream::new();
    upstream.page_records = 500;
    for n in 0..5000 {
        let at = upstream.now.plus_ms(-n * 17_280);
        upstream.add_audit(&format!("a{n}"), at);
    }
    for fresh_each_poll in [false, true] {
        let mut host = Host::new(r#","streams":["audit"]"#);
        host.fresh_each_poll = fresh_each_poll;
        host.limits = Limits {
            max_events: 1000,
            max_bytes: 1 << 20,
            max_requests: 50,
        };
        host.collect(&mut upstream);
        host.assert_exactly_once(&upstream);
        assert!(host.duplicates >= 3 * 52, "{}", host.duplicates);
    }
}

#[test]
fn a_record_that_is_rejected_is_rejected_once_although_the_overlap_finds_it_again() {
    let (mut upstream, mut host) = (upstream(), host());
    host.limits.max_bytes = 2_000;
    host.collect(&mut upstream);
    let at = upstream.now.plus_ms(-1000);
    upstream.audit.push((at, "7".to_owned()));
    upstream.audit.push((at, "7".to_owned()));
    let time = at.to_iso8601_with_offset();
    let large = format!(
        r#"{{"id":"large","auditType":"T","eventTime":"{time}","eventInfo":"{}"}}"#,
        "x".repeat(3_000)
    );
    upstream.audit.push((at, large));
    for _ in 0..10 {
        upstream.now = upstream.now.plus_ms(70_000);
        host.collect(&mut upstream);
    }
    let mut reasons: Vec<&str> = host.rejected.iter().map(|it| it.reason.as_str()).collect();
    reasons.sort_unstable();
    assert_eq!(reasons.len(), 3, "{reasons:?}");
    assert!(reasons[0].starts_with("not a JSON object"), "{reasons:?}");
    assert_eq!(reasons[2], "the event is larger than 2000 bytes");
    assert!(host.duplicates > 10, "the overlap finds them again");
}
