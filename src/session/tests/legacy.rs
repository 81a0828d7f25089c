//! API 1.0 through one session, against the scripted upstream.

use crate::batch::{Limits, NoticeKind};
use crate::check::{Check, CheckOutcome};
use crate::checkpoint::Checkpoint;
use crate::decode::zip::tests::{END_OF_ZIP, zip_entry};
use crate::machine::Machine as _;
use crate::response::TransportError;
use crate::session::PollError;
use crate::settings::Settings;
use crate::stream::Stream;
use crate::testing::legacy::{Legacy, settings};
use crate::testing::{Host, MockResponse, Upstream};

mod keys;

const FORMS: [&str; 4] = [
    r#","siem_file_format":"json","siem_compress":true"#,
    r#","siem_file_format":"json","siem_compress":false"#,
    r#","siem_file_format":"key_value","siem_compress":true"#,
    r#","siem_file_format":"key_value","siem_compress":false"#,
];

/// Files of several types, an empty one among them, and a day of audit events.
fn upstream() -> Upstream {
    let mut upstream = Upstream::new();
    let mut legacy = Legacy::new();
    let at = upstream.now.plus_ms(-3_600_000);
    for n in 0..4 {
        for (prefix, records) in [("receipt", 4 + n), ("process", 3), ("ttp_url", n)] {
            legacy.add_file(prefix, records, at);
        }
    }
    upstream.legacy = Some(legacy);
    for n in 0..10 {
        let at = upstream.now.plus_ms(-20 * 3_600_000 + n * 1_800_000);
        upstream.add_audit(&format!("a{n}"), at);
    }
    upstream
}

fn host(extra: &str) -> Host {
    let all = format!(r#","streams":["siem","audit"]{extra}"#);
    Host::with_settings(settings(&all))
}

fn siem_host(extra: &str) -> Host {
    let all = format!(r#","streams":["siem"]{extra}"#);
    Host::with_settings(settings(&all))
}

fn legacy(upstream: &mut Upstream) -> &mut Legacy {
    upstream.legacy.as_mut().unwrap()
}

fn refusal(status: u16, code: &str) -> MockResponse {
    let body = format!(
        r#"{{"meta":{{"status":{status}}},"data":[],"fail":[{{"errors":[{{"code":"{code}","message":"m"}}]}}]}}"#
    );
    MockResponse::json(status, &body)
}

#[test]
fn every_record_is_delivered_exactly_once_in_every_form() {
    for form in FORMS {
        let (mut upstream, mut host) = (upstream(), host(form));
        host.collect(&mut upstream);
        host.assert_exactly_once(&upstream);
        assert!(host.notices.is_empty(), "{:?}", host.notices);
        assert!(host.rejected.is_empty(), "{:?}", host.rejected);
    }
}

#[test]
fn a_fresh_session_for_each_poll_delivers_the_same() {
    for form in FORMS {
        let (mut upstream, mut host) = (upstream(), host(form));
        host.fresh_each_poll = true;
        host.limits.max_events = 3;
        host.collect(&mut upstream);
        host.assert_exactly_once(&upstream);
        assert_eq!(legacy(&mut upstream).discoveries, 1, "the region is kept");
    }
}

#[test]
fn a_run_that_is_killed_after_any_poll_misses_and_repeats_nothing() {
    for form in FORMS {
        for kill_at in 0..25 {
            let (mut upstream, mut host) = (upstream(), host(form));
            host.limits.max_events = 4;
            host.collect_after_a_kill(&mut upstream, kill_at);
            host.assert_exactly_once(&upstream);
        }
    }
}

#[test]
fn limits_of_one_event_and_one_request_still_make_progress() {
    let (mut upstream, mut host) = (upstream(), host(""));
    host.limits = Limits {
        max_events: 1,
        max_bytes: 500,
        max_requests: 1,
    };
    host.collect(&mut upstream);
    host.assert_exactly_once(&upstream);
}

#[test]
fn new_files_are_found_with_the_token_that_was_kept() {
    let (mut upstream, mut host) = (upstream(), siem_host(""));
    upstream.audit.clear();
    host.collect(&mut upstream);
    for _ in 0..3 {
        upstream.now = upstream.now.plus_ms(20 * 60_000);
        let at = upstream.now;
        legacy(&mut upstream).add_file("delivery", 5, at);
        host.collect(&mut upstream);
        host.assert_exactly_once(&upstream);
    }
    assert_eq!(host.duplicates, 0);
}

#[test]
fn a_malformed_file_is_rejected_with_its_name_and_the_token_moves_on() {
    for form in FORMS {
        let (mut upstream, mut host) = (upstream(), host(form));
        for n in [0, 4, 11] {
            legacy(&mut upstream).files[n].malformed = true;
        }
        host.collect(&mut upstream);
        host.assert_exactly_once(&upstream);
        assert_eq!(host.rejected.len(), 3, "{form}: {:?}", host.rejected);
        for (rejected, n) in host.rejected.iter().zip([0, 4, 11]) {
            let name = &legacy(&mut upstream).files[n].name;
            assert!(rejected.locator.contains(name.as_str()), "{rejected:?}");
            assert!(
                rejected.reason.contains("in the middle of its JSON"),
                "{rejected:?}"
            );
            assert!(rejected.original.starts_with(b"{"), "{rejected:?}");
        }
    }
}

#[test]
fn a_malformed_file_is_rejected_once_where_the_token_is_refused_afterwards() {
    let (mut upstream, mut host) = (upstream(), host(""));
    legacy(&mut upstream).files[4].malformed = true;
    host.collect(&mut upstream);
    legacy(&mut upstream).token_generation += 1;
    upstream.now = upstream.now.plus_ms(10 * 60_000);
    host.collect(&mut upstream);
    host.assert_exactly_once(&upstream);
    assert!(host.duplicates > 0, "the files were read again");
    assert_eq!(host.rejected.len(), 1, "{:?}", host.rejected);
}

#[test]
fn an_archive_that_is_cut_is_asked_for_again_and_then_rejected() {
    for times in [1, 2] {
        let (mut upstream, mut host) = (upstream(), host(""));
        let mut part = b"PK\x03\x04\x14\0".to_vec();
        part.extend([0; 9]);
        for _ in 0..times {
            let headers = vec![
                ("content-type".to_owned(), "application/zip".to_owned()),
                ("mc-siem-token".to_owned(), "0-6".to_owned()),
            ];
            upstream.script.push_back((
                "\"token\":\"0-3\"".to_owned(),
                MockResponse::Complete(200, headers, part.clone()),
            ));
        }
        host.collect(&mut upstream);
        if times == 1 {
            host.assert_exactly_once(&upstream);
            assert!(host.rejected.is_empty());
        } else {
            legacy(&mut upstream).files.drain(3..6);
            host.assert_exactly_once(&upstream);
            let [rejected] = host.rejected.as_slice() else {
                panic!("{:?}", host.rejected);
            };
            assert!(
                rejected.reason.contains("the archive ends early"),
                "{rejected:?}"
            );
            assert_eq!(rejected.original, part);
        }
    }
}

/// What an archive holds that nobody should send, and why it is rejected.
#[test]
fn hostile_archives_are_rejected_with_the_reason_and_the_next_file_is_collected() {
    let json = br#"{"type":"MTA","data":[]}"#;
    let whole = |files: &[Vec<u8>]| [files.concat(), END_OF_ZIP.to_vec()].concat();
    for (body, why) in [
        (
            whole(&[zip_entry("receipt_1.json", &vec![b'x'; 64 << 20], true)]),
            "inflates beyond",
        ),
        (
            whole(&vec![zip_entry("receipt_1.json", json, false); 10_001]),
            "more than 10000 files",
        ),
        (
            whole(&[zip_entry("../../receipt_1.json", json, true)]),
            "leads out of the archive",
        ),
    ] {
        let (mut upstream, mut host) = (upstream(), host(""));
        for _ in 0..2 {
            let headers = vec![
                (
                    "content-type".to_owned(),
                    "application/octet-stream".to_owned(),
                ),
                ("mc-siem-token".to_owned(), "0-6".to_owned()),
            ];
            upstream.script.push_back((
                "\"token\":\"0-3\"".to_owned(),
                MockResponse::Complete(200, headers, body.clone()),
            ));
        }
        host.collect(&mut upstream);
        legacy(&mut upstream).files.drain(3..6);
        host.assert_exactly_once(&upstream);
        let last = host.rejected.last().unwrap();
        assert!(last.reason.contains(why), "{last:?}");
    }
}

#[test]
fn a_connection_that_breaks_inside_a_file_is_retried() {
    let (mut upstream, mut host) = (upstream(), host(r#","siem_compress":false"#));
    let text = br#"{"type":"MTA","data":[{"aCode":"#;
    for _ in 0..2 {
        upstream.script.push_back((
            "\"0-5\"".to_owned(),
            MockResponse::ConnectionReset(text.to_vec(), 20),
        ));
        upstream.script.push_back((
            "\"0-6\"".to_owned(),
            MockResponse::TransportError(TransportError::Failed("reset".to_owned())),
        ));
        upstream
            .script
            .push_back(("\"0-7\"".to_owned(), MockResponse::json(502, "<html>")));
    }
    host.collect(&mut upstream);
    host.assert_exactly_once(&upstream);
    assert!(host.rejected.is_empty());
}

#[test]
fn a_token_that_is_refused_in_the_middle_starts_over_and_repeats_nothing() {
    for form in FORMS {
        for after in [4, 6, 7] {
            let (mut upstream, mut host) = (upstream(), siem_host(form));
            upstream.audit.clear();
            host.limits.max_requests = 2;
            for _ in 0..after {
                host.poll(&mut upstream).unwrap();
            }
            legacy(&mut upstream).token_generation += 1;
            upstream.now = upstream.now.plus_ms(10 * 60_000);
            host.collect(&mut upstream);
            host.assert_exactly_once(&upstream);
            let adjusted: Vec<_> = host.notices.iter().collect();
            assert_eq!(adjusted.len(), 1, "{form}: {adjusted:?}");
            assert_eq!(adjusted[0].kind, NoticeKind::Adjusted);
            assert!(host.duplicates > 0);
        }
    }
}

#[test]
fn a_response_whose_files_changed_is_read_again_from_its_beginning() {
    let (mut upstream, mut host) = (upstream(), siem_host(""));
    upstream.audit.clear();
    host.fresh_each_poll = true;
    host.limits.max_events = 5;
    host.poll(&mut upstream).unwrap();
    assert_eq!(host.delivered.len(), 5);
    // A file stands before those that were read.
    let at = upstream.now;
    let legacy = legacy(&mut upstream);
    legacy.add_file("journal", 2, at);
    let new = legacy.files.pop().unwrap();
    legacy.files.insert(0, new);
    host.collect(&mut upstream);
    host.assert_at_least_once(&upstream);
}

#[test]
fn a_clock_that_is_hours_off_costs_one_call_at_most() {
    for base in ["", r#","base_url":"https://api.test""#] {
        for ahead_ms in [3 * 3_600_000, -3 * 3_600_000] {
            let (mut upstream, mut host) = (upstream(), host(base));
            upstream.host_ahead_ms = ahead_ms;
            host.fresh_each_poll = true;
            host.collect(&mut upstream);
            host.assert_exactly_once(&upstream);
            assert!(host.notices.is_empty(), "{:?}", host.notices);
            assert!(legacy(&mut upstream).refused_signatures > 0);
            // With a session that lives on, only the first call can be wrong.
            let (mut upstream, mut host) = (self::upstream(), self::host(base));
            upstream.host_ahead_ms = ahead_ms;
            host.collect(&mut upstream);
            host.assert_exactly_once(&upstream);
            let refused = legacy(&mut upstream).refused_signatures;
            assert_eq!(
                refused,
                u32::from(!base.is_empty()),
                "discovery shows the time"
            );
        }
    }
}

#[test]
fn a_missing_permission_stops_one_stream_and_names_what_to_grant() {
    for code in [
        "err_xdk_operation_forbidden_for_address",
        "err_xdk_client_unauthorized",
    ] {
        let (mut upstream, mut host) = (upstream(), host(""));
        upstream
            .always
            .push(("get-siem-logs".to_owned(), refusal(403, code)));
        host.collect(&mut upstream);
        legacy(&mut upstream).files.clear();
        host.assert_exactly_once(&upstream);
        let [notice] = host.notices.as_slice() else {
            panic!("{:?}", host.notices);
        };
        assert_eq!(
            (notice.stream, notice.kind),
            (Stream::Siem, NoticeKind::NotPermitted)
        );
        assert!(
            notice.detail.contains("Gateway | Tracking | Read"),
            "{}",
            notice.detail
        );
    }
}

#[test]
fn records_from_before_the_start_are_left_out_and_their_number_is_reported() {
    let (mut upstream, mut host) = (upstream(), host(r#","start":"2h""#));
    let old = upstream.now.plus_ms(-5 * 3_600_000);
    legacy(&mut upstream).add_file("spam", 3, old);
    host.collect(&mut upstream);
    let notice = &host.notices[0];
    assert_eq!(
        (notice.kind, notice.detail.as_str()),
        (
            NoticeKind::Adjusted,
            "records older than `start` that were left out, and are not counted as received: 3"
        )
    );
    assert_eq!(host.notices.len(), 1, "{:?}", host.notices);
    legacy(&mut upstream).files.pop();
    upstream.audit.clear();
    host.delivered.retain(|key| key.starts_with("v1/"));
    host.ids.retain(|key, _| key.starts_with("v1/"));
    host.assert_exactly_once(&upstream);
}

#[test]
fn a_week_without_a_poll_is_reported_as_a_gap() {
    let (mut upstream, mut host) = (upstream(), host(""));
    host.collect(&mut upstream);
    upstream.now = upstream.now.plus_ms(10 * 86_400_000);
    host.collect(&mut upstream);
    let gaps = host
        .notices
        .iter()
        .filter(|n| n.stream == Stream::Siem && n.kind == NoticeKind::Gap);
    assert_eq!(gaps.count(), 1, "{:?}", host.notices);
}

#[test]
fn an_outage_while_calls_fail_is_reported_to_its_end() {
    let (mut upstream, mut host) = (upstream(), host(""));
    host.collect(&mut upstream);
    let path = "get-siem-logs";
    super::assert_outage_is_reported_as_adjoining_gaps(
        &mut host,
        &mut upstream,
        Stream::Siem,
        path,
        12,
    );
}

#[test]
fn another_account_than_expected_is_reported() {
    let (mut upstream, mut host) = (upstream(), host(r#","account_code":"CUSA1A1""#));
    host.collect(&mut upstream);
    host.assert_exactly_once(&upstream);
    assert!(
        host.notices[0].detail.contains("C0A0"),
        "{:?}",
        host.notices
    );
    let (mut upstream, mut host) = (self::upstream(), self::host(r#","account_code":"c0a0""#));
    host.collect(&mut upstream);
    assert!(host.notices.is_empty());
}

#[test]
fn a_check_names_account_skew_and_what_is_wrong() {
    let check = |extra: &str, upstream: &mut Upstream| {
        let all = settings(&format!(r#","streams":["siem","audit"]{extra}"#));
        let mut check = Check::new(Settings::parse(&all).unwrap(), upstream.host_now(), 7);
        let results = upstream.drive(&mut check);
        assert!(!check.keeps_response_open());
        results
    };
    let mut first = upstream();
    first.host_ahead_ms = 3 * 3_600_000;
    let results = check("", &mut first);
    // The order is that of the table of streams.
    assert_eq!(results[0].stream, Stream::Audit);
    assert_eq!(results[1].account.as_deref(), Some("C0A0"));
    for result in &results {
        assert_eq!(result.outcome, CheckOutcome::Readable);
        assert!(result.clock_skew_ms.unwrap().abs_diff(3 * 3_600_000) < 2000);
    }
    let results = check(r#","account_code":"X1""#, &mut upstream());
    assert!(matches!(
        &results[1].outcome,
        CheckOutcome::Failed(PollError::Settings(_))
    ));
    let results = check(r#","base_url":"https://wrong.test""#, &mut upstream());
    let CheckOutcome::Failed(PollError::Protocol(failure)) = &results[0].outcome else {
        panic!("{results:?}");
    };
    assert!(
        failure.detail.contains("remove base_url"),
        "{}",
        failure.detail
    );
    let mut third = upstream();
    third.script.push_back((
        "discover".to_owned(),
        MockResponse::json(200, r#"{"data":[]}"#),
    ));
    for result in check("", &mut third) {
        assert!(matches!(
            result.outcome,
            CheckOutcome::Failed(PollError::Unauthorized(_))
        ));
    }
}
