//! Notices and rejected records for data that is missing, too large or not as asked, by sessions
//! against the scripted upstream.

use crate::batch::NoticeKind;
use crate::testing::legacy::{Legacy, settings};
use crate::testing::{Host, MockResponse, STORAGE, Upstream};

/// The notices of a host after it has collected everything: kind and text of each.
fn notices_after_collecting(host: &mut Host, upstream: &mut Upstream) -> Vec<(NoticeKind, String)> {
    host.collect(upstream);
    let notices = core::mem::take(&mut host.notices).into_iter();
    notices.map(|notice| (notice.kind, notice.detail)).collect()
}

#[test]
fn a_file_that_is_listed_without_a_usable_url_is_a_gap_after_three_listings() {
    for (bad_listings, is_lost) in [(1, false), (2, false), (3, true)] {
        let mut upstream = Upstream::new();
        upstream.add_file("receipt", 2);
        let listing =
            r#"{"value":[{"url":"nowhere","size":7}],"@nextPage":"0","isCaughtUp":false}"#;
        for _ in 0..bad_listings {
            let response = MockResponse::json(200, listing);
            upstream
                .script
                .push_back(("/siem/v1/batch".to_owned(), response));
        }
        let mut host = Host::new(r#","streams":["siem.receipt"]"#);
        let notices = notices_after_collecting(&mut host, &mut upstream);
        let gaps: Vec<_> = notices
            .iter()
            .filter(|(kind, _)| *kind == NoticeKind::Gap)
            .collect();
        if is_lost {
            assert!(
                matches!(&gaps[..], [(_, text)] if text.contains("1 file is lost") && text.contains("usable url")),
                "{notices:?}"
            );
        } else {
            assert!(gaps.is_empty(), "{notices:?}");
        }
        host.assert_exactly_once(&upstream);
    }
}

#[test]
fn the_other_files_of_a_page_do_not_wait_for_one_without_a_usable_url() {
    let mut upstream = Upstream::new();
    upstream.add_file("receipt", 2);
    upstream.add_file("receipt", 2);
    let listing = format!(
        r#"{{"value":[{{"url":"{STORAGE}/receipt/0?X-Amz-Signature=a","size":1}},{{"url":"nowhere","size":1}}],"@nextPage":"2","isCaughtUp":true}}"#
    );
    upstream.script.push_back((
        "/siem/v1/batch".to_owned(),
        MockResponse::json(200, &listing),
    ));
    let mut host = Host::new(r#","streams":["siem.receipt"]"#);
    let notices = notices_after_collecting(&mut host, &mut upstream);
    assert!(
        notices.iter().all(|(kind, _)| *kind != NoticeKind::Gap),
        "{notices:?}"
    );
    host.assert_exactly_once(&upstream);
}

#[test]
fn a_page_token_that_does_not_fit_into_a_checkpoint_is_refused_and_asked_again() {
    let mut upstream = Upstream::new();
    upstream.add_file("receipt", 2);
    let token = "x".repeat(20_000);
    let listing = format!(r#"{{"value":[],"@nextPage":"{token}","isCaughtUp":false}}"#);
    let response = MockResponse::json(200, &listing);
    upstream
        .script
        .push_back(("/siem/v1/batch".to_owned(), response));
    let mut host = Host::new(r#","streams":["siem.receipt"]"#);
    let failure = host.poll(&mut upstream).unwrap();
    let text = format!("{:?}", failure.notices);
    assert!(text.contains("the page token is longer than"), "{text}");
    upstream.now = upstream.now.plus_ms(3_600_000);
    host.collect(&mut upstream);
    host.assert_exactly_once(&upstream);
}

#[test]
fn single_events_that_nobody_keeps_any_more_are_a_gap() {
    let mut upstream = Upstream::new();
    upstream.add_file("receipt", 2);
    let mut host = Host::new(r#","streams":["siem.receipt"],"siem_endpoint":"events""#);
    assert_eq!(notices_after_collecting(&mut host, &mut upstream), []);
    upstream.now = upstream.now.plus_ms(20 * 24 * 3_600_000);
    upstream.add_file("receipt", 2);
    let notices = notices_after_collecting(&mut host, &mut upstream);
    assert!(
        matches!(&notices[..], [(NoticeKind::Gap, text), ..] if text.contains("are no longer available")),
        "{notices:?}"
    );
}

#[test]
fn a_start_before_what_is_kept_is_adjusted() {
    let mut upstream = Upstream::new();
    let mut host = Host::new(r#","streams":["threat-intel.customer"],"start":"300d""#);
    let notices_of_feed = notices_after_collecting(&mut host, &mut upstream);
    upstream.legacy = Some(Legacy::new());
    let mut host = Host::with_settings(settings(r#","streams":["siem"],"start":"300d""#));
    let notices_of_files = notices_after_collecting(&mut host, &mut upstream);
    for notices in [notices_of_feed, notices_of_files] {
        assert!(
            matches!(&notices[..], [(NoticeKind::Adjusted, text)] if text.contains("because Mimecast keeps")),
            "{notices:?}"
        );
    }
}

#[test]
fn a_line_longer_than_a_mebibyte_is_rejected_and_the_next_is_read() {
    let mut upstream = Upstream::new();
    upstream.add_file("receipt", 1);
    let file = &mut upstream.files.get_mut("receipt").unwrap()[0];
    let whole = file.clone();
    *file = format!("{{\"subject\":\"{}\"}}\n{whole}", "x".repeat(1_100_000));
    let mut host = Host::new(r#","streams":["siem.receipt"]"#);
    host.collect(&mut upstream);
    assert_eq!((host.delivered.len(), host.rejected.len()), (1, 1));
    let rejected = &host.rejected[0];
    assert!(rejected.locator.ends_with("line 1"), "{}", rejected.locator);
    assert!(rejected.reason.contains("longer than 1 MiB"));
    assert!(rejected.original.starts_with(b"{\"subject\":\"xx"));
}

#[test]
fn a_file_that_is_no_longer_listed_when_it_is_half_read_is_a_gap_after_tries_over_hours() {
    for (hours, gaps) in [(0, 0), (1, 0), (6, 1)] {
        let mut upstream = Upstream::new();
        upstream.add_file("receipt", 20);
        let mut host = Host::new(r#","streams":["siem.receipt"]"#);
        let batch = host.poll(&mut upstream).unwrap();
        assert!((1..20).contains(&batch.index.len()));
        // The host starts again, and the page has no file in that place for so long.
        host.session = None;
        let listing = r#"{"value":[],"@nextPage":"0","isCaughtUp":true}"#;
        let response = MockResponse::json(200, listing);
        upstream
            .always
            .push(("/siem/v1/batch".to_owned(), response));
        let end = upstream.now.plus_ms(hours * 3_600_000);
        while upstream.now < end {
            host.poll(&mut upstream).unwrap();
            upstream.now = upstream.now.plus_ms(60_000);
        }
        upstream.always.clear();
        upstream.now = upstream.now.plus_ms(5 * 3_600_000);
        let notices = notices_after_collecting(&mut host, &mut upstream);
        let lost = |(kind, text): &&(NoticeKind, String)| {
            *kind == NoticeKind::Gap && text.contains("it is no longer listed")
        };
        assert_eq!(notices.iter().filter(lost).count(), gaps, "{notices:?}");
        if gaps == 0 {
            host.assert_exactly_once(&upstream);
        }
    }
}

#[test]
fn an_event_larger_than_a_batch_may_be_is_rejected_and_others_wait_for_the_next_batch() {
    let mut upstream = Upstream::new();
    upstream.add_file("receipt", 6);
    let file = &mut upstream.files.get_mut("receipt").unwrap()[0];
    let large = format!("{{\"subject\":\"{}\"}}", "x".repeat(2_000));
    *file = format!("{file}\n{large}\n{{\"aggregateId\":\"last\"}}");
    let mut host = Host::new(r#","streams":["siem.receipt"]"#);
    host.limits.max_bytes = 700;
    host.limits.max_events = 100;
    let first = host.poll(&mut upstream).unwrap();
    assert!(first.events.len() <= 700 && (1..6).contains(&first.index.len()));
    host.collect(&mut upstream);
    assert_eq!((host.delivered.len(), host.rejected.len()), (7, 1));
    assert!(host.rejected[0].reason.contains("larger than 700 bytes"));
    assert_eq!(host.duplicates, 0);
}

#[test]
fn a_record_with_more_members_than_any_real_one_is_rejected() {
    let mut upstream = Upstream::new();
    upstream.add_file("receipt", 1);
    let file = &mut upstream.files.get_mut("receipt").unwrap()[0];
    let members: Vec<String> = (0..10_001).map(|n| format!("\"m{n}\":1")).collect();
    *file = format!("{{{}}}\n{file}", members.join(","));
    let mut host = Host::new(r#","streams":["siem.receipt"]"#);
    host.collect(&mut upstream);
    assert_eq!((host.delivered.len(), host.rejected.len()), (1, 1));
    assert!(host.rejected[0].reason.contains("more than 10000 members"));
}

#[test]
fn a_response_without_an_end_is_not_read_to_it() {
    let mut upstream = Upstream::new();
    upstream.add_audit("a1", upstream.now.plus_ms(-3_600_000));
    let endless = MockResponse::json(200, &"x".repeat(9_000_000));
    upstream
        .script
        .push_back(("/api/audit".to_owned(), endless));
    let mut host = Host::new(r#","streams":["audit"]"#);
    host.limits.max_requests = 50;
    let batch = host.poll(&mut upstream).unwrap();
    let notices = format!("{:?}", batch.notices);
    assert!(notices.contains("the response is longer than"), "{notices}");
}

#[test]
fn an_empty_log_response_that_says_there_are_more_is_noticed() {
    let mut upstream = Upstream::new();
    upstream.legacy = Some(Legacy::new());
    let more = r#"{"meta":{"status":200,"isLastToken":false},"data":[],"fail":[]}"#;
    let response = MockResponse::json(200, more);
    upstream
        .script
        .push_back(("get-siem-logs".to_owned(), response));
    let mut host = Host::with_settings(settings(r#","streams":["siem"]"#));
    let batch = host.poll(&mut upstream).unwrap();
    let notices = format!("{:?}", batch.notices);
    assert!(notices.contains("says that there are more"), "{notices}");
}
