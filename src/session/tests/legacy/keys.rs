//! Keys that are refused, and the region that discovery finds.

use super::*;

#[test]
fn a_wrong_key_fails_the_poll_and_says_which_keys_it_may_be() {
    for (key, wrong) in [
        ("hush-9-app", "other-app"),
        ("hush-9-access", "other-access"),
        ("aHVzaC05", "b3RoZXI="),
    ] {
        let (mut upstream, _) = (upstream(), ());
        let all = settings(r#","streams":["siem"]"#).replace(key, wrong);
        let mut host = Host::with_settings(all);
        let Err(PollError::Unauthorized(detail)) = host.poll(&mut upstream) else {
            panic!("{key}");
        };
        for part in [
            "siem",
            "401",
            "err_xdk_invalid_signature",
            "req-7",
            "app_key, access_key and secret_key",
        ] {
            assert!(detail.contains(part), "{detail}");
        }
        assert_eq!(
            legacy(&mut upstream).refused_signatures,
            1,
            "no useless try"
        );
    }
}

#[test]
fn refusals_of_the_keys_say_what_to_do() {
    for (status, code, word) in [
        (418, "err_xdk_binding_expired", "the access key has expired"),
        (418, "err_other", "the access key has expired"),
        (200, "err_developer_key", "check app_id"),
    ] {
        let (mut upstream, mut host) = (upstream(), host(""));
        upstream
            .always
            .push(("get-siem-logs".to_owned(), refusal(status, code)));
        upstream
            .always
            .push(("get-audit".to_owned(), refusal(status, code)));
        let Err(PollError::Unauthorized(detail)) = host.poll(&mut upstream) else {
            panic!("{code}");
        };
        assert!(detail.contains(word), "{detail}");
    }
}

#[test]
fn an_unknown_application_is_asked_once_more() {
    let (mut upstream, mut host) = (upstream(), host(""));
    for part in ["get-siem-logs", "get-audit", "discover"] {
        let response = refusal(200, "err_developer_key");
        upstream.script.push_back((part.to_owned(), response));
    }
    host.collect(&mut upstream);
    host.assert_exactly_once(&upstream);
    assert!(host.notices.is_empty(), "{:?}", host.notices);
}

#[test]
fn an_account_that_moved_is_found_in_its_new_region() {
    let (mut upstream, mut host) = (upstream(), host(""));
    legacy(&mut upstream).region = "https://old.test".to_owned();
    host.limits.max_requests = 1;
    host.poll(&mut upstream).unwrap();
    let region = |host: &Host| {
        Checkpoint::parse(host.checkpoint.as_ref().unwrap())
            .unwrap()
            .region
    };
    assert_eq!(region(&host).as_deref(), Some("https://old.test"));
    legacy(&mut upstream).region = crate::testing::API.to_owned();
    host.limits.max_requests = 5;
    host.collect(&mut upstream);
    host.assert_exactly_once(&upstream);
    assert_eq!(region(&host).as_deref(), Some("https://api.test"));
    assert_eq!(legacy(&mut upstream).discoveries, 2);
    assert!(host.notices.is_empty(), "{:?}", host.notices);
}

#[test]
fn a_fixed_region_that_is_wrong_says_what_to_change() {
    let (mut upstream, mut host) = (upstream(), host(r#","base_url":"https://wrong.test""#));
    host.poll(&mut upstream).unwrap();
    assert_eq!(legacy(&mut upstream).discoveries, 0);
    for notice in &host.notices {
        assert_eq!(notice.kind, NoticeKind::Postponed);
        assert!(
            notice.detail.contains("remove base_url"),
            "{}",
            notice.detail
        );
    }
    assert_eq!(host.notices.len(), 2);
}
