//! What the allow-list lets through, and its errors for entries that it
//! cannot use.

use super::*;

fn origin(text: &str) -> Origin {
    let (scheme, rest) = text.split_once("://").unwrap();
    let (host, port) = split_authority(rest).unwrap();
    Origin::new(scheme, &host, port).unwrap()
}

fn allows(entries: &[&str], wanted: &str) -> bool {
    AllowList::parse(entries).unwrap().allows(&origin(wanted))
}

fn refusal(entry: &str) -> String {
    entry.parse::<Pattern>().unwrap_err()
}

#[test]
fn an_empty_list_allows_nothing() {
    assert!(!allows(&[], "https://api.example.com"));
}

#[test]
fn an_entry_allows_its_own_origin_and_no_other() {
    let list = ["https://api.example.com"];
    assert!(allows(&list, "https://api.example.com"));
    assert!(!allows(&list, "https://example.com"));
    assert!(!allows(&list, "https://evil.api.example.com"));
    assert!(!allows(&list, "https://api.example.com.evil.net"));
    assert!(!allows(&list, "https://apiXexample.com"));
}

#[test]
fn the_scheme_must_be_named() {
    assert!(!allows(
        &["https://api.example.com"],
        "http://api.example.com"
    ));
    assert!(!allows(
        &["http://api.example.com"],
        "https://api.example.com"
    ));
    assert!(allows(
        &["http://api.example.com"],
        "http://api.example.com"
    ));
}

#[test]
fn the_port_must_be_named_unless_it_is_the_schemes_own() {
    let list = ["https://api.example.com:8443", "http://plain.example.com"];
    assert!(allows(&list, "https://api.example.com:8443"));
    assert!(!allows(&list, "https://api.example.com"));
    assert!(allows(&list, "http://plain.example.com:80"));
    assert!(!allows(&list, "http://plain.example.com:443"));
    assert!(allows(
        &["https://a.example.com:443"],
        "https://a.example.com"
    ));
}

#[test]
fn a_star_stands_for_one_or_more_labels_and_not_for_none() {
    let list = ["https://*.example.com"];
    assert!(allows(&list, "https://a.example.com"));
    assert!(allows(&list, "https://a.b.example.com"));
    assert!(!allows(&list, "https://example.com"));
    assert!(!allows(&list, "https://evilexample.com"));
    assert!(!allows(&list, "https://example.com.evil.net"));
}

#[test]
fn case_and_a_final_dot_do_not_matter() {
    let list = ["HTTPS://API.Example.COM"];
    assert!(allows(&list, "https://api.example.com"));
    assert!(allows(&list, "https://api.EXAMPLE.com."));
}

#[test]
fn a_final_slash_is_accepted() {
    assert!(allows(
        &["https://api.example.com/"],
        "https://api.example.com"
    ));
}

#[test]
fn addresses_are_compared_by_value() {
    assert!(allows(&["http://[0:0:0::1]:8080"], "http://[::1]:8080"));
    assert!(!allows(&["http://[::1]:8080"], "http://[::2]:8080"));
    assert!(allows(&["http://127.0.0.1:8080"], "http://127.0.0.1:8080"));
}

#[test]
fn a_path_is_refused() {
    assert_eq!(
        refusal("https://api.example.com/v1"),
        "`https://api.example.com/v1` has a path; an entry is an origin, as in `https://api.example.com`"
    );
    assert!(refusal("https://api.example.com?x").contains("has a path"));
    assert!(refusal("https://api.example.com#x").contains("has a path"));
}

#[test]
fn a_bare_star_is_refused() {
    assert!(refusal("*").contains("would allow every origin"));
    assert!(refusal("https://*").contains("too wide"));
    assert!(refusal("https://*.com").contains("too wide"));
    assert!(refusal("https://a.*.example.com").contains("too wide"));
    assert!(refusal("https://api*.example.com").contains("too wide"));
    assert!(refusal("https://*.127.0.0.1").contains("too wide"));
}

#[test]
fn a_missing_scheme_is_refused_with_the_entry_that_was_meant() {
    assert_eq!(
        refusal("api.example.com"),
        "`api.example.com` has no scheme; write `https://api.example.com`"
    );
    assert!(refusal("ftp://api.example.com").contains("neither https nor http"));
}

#[test]
fn a_user_name_a_bad_port_and_an_empty_host_are_refused() {
    assert!(refusal("https://a:b@api.example.com").contains("user name"));
    assert!(refusal("https://api.example.com:").contains("port"));
    assert!(refusal("https://api.example.com:0").contains("port"));
    assert!(refusal("https://api.example.com:65536").contains("port"));
    assert!(refusal("https://api.example.com:+80").contains("port"));
    assert!(allows(
        &["https://api.example.com:00443"],
        "https://api.example.com"
    ));
    assert!(refusal("https://").contains("no valid host"));
    assert!(refusal("https://a..b").contains("no valid host"));
    assert!(refusal("https://a b").contains("no valid host"));
    assert!(refusal("http://[::1").contains("no valid host"));
}

#[test]
fn a_host_that_is_longer_than_a_name_may_be_is_refused() {
    let longest = format!("{}a", "a.".repeat(126));
    assert!(Origin::new("https", &longest, None).is_some());
    assert!(Origin::new("https", &format!("a{longest}"), None).is_none());
    assert!(refusal(&format!("https://a{longest}")).contains("no valid host"));
}

#[test]
fn only_a_literal_entry_names_an_address() {
    let list = AllowList::parse(&[
        "http://127.0.0.1:8080",
        "https://internal.example.com",
        "http://localhost:9000",
    ])
    .unwrap();
    let loopback: IpAddr = "127.0.0.1".parse().unwrap();
    assert!(list.names_address(loopback, 8080));
    assert!(!list.names_address(loopback, 443));
    assert!(!list.names_address("127.0.0.2".parse().unwrap(), 8080));
    assert!(list.names_address(loopback, 9000));
    assert!(list.names_address("::1".parse().unwrap(), 9000));
    assert!(!list.names_address("10.0.0.1".parse().unwrap(), 9000));
}

fn texts(entries: &[&str]) -> Vec<String> {
    entries.iter().map(|entry| (*entry).to_owned()).collect()
}

#[test]
fn what_a_component_describes_is_allowed_and_opens_no_address() {
    let described = texts(&["http://127.0.0.1:8080", "https://*.example.com"]);
    let list = AllowList::new(AllowSetting::default(), &[], &described).unwrap();
    let loopback: IpAddr = "127.0.0.1".parse().unwrap();
    assert!(list.allows(&origin("http://127.0.0.1:8080")));
    assert!(list.allows(&origin("https://a.example.com")));
    assert!(!list.names_address(loopback, 8080));
    assert!(crate::address_gate::check(&list, loopback, 8080).is_err());

    for opened in [
        AllowList::new(
            AllowSetting::Extend(texts(&["http://127.0.0.1:8080"])),
            &[],
            &described,
        ),
        AllowList::new(
            AllowSetting::Replace(texts(&["http://127.0.0.1:8080"])),
            &[],
            &described,
        ),
        AllowList::new(
            AllowSetting::default(),
            &texts(&["http://127.0.0.1:8080/"]),
            &described,
        ),
    ] {
        assert!(opened.unwrap().names_address(loopback, 8080));
    }
}

#[test]
fn allow_adds_and_allow_only_replaces_all_but_the_settings() {
    let described = texts(&["https://api.example.com"]);
    let settings = texts(&[
        "https://eu.example.com",
        "no origin",
        "https://*.example.org",
    ]);
    let entries = texts(&["https://files.example.com"]);
    let also =
        AllowList::new(AllowSetting::Extend(entries.clone()), &settings, &described).unwrap();
    let only = AllowList::new(AllowSetting::Replace(entries), &settings, &described).unwrap();
    for (wanted, by_also, by_only) in [
        ("https://api.example.com", true, false),
        ("https://eu.example.com", true, true),
        ("https://files.example.com", true, true),
        ("https://a.example.org", false, false),
    ] {
        assert_eq!(also.allows(&origin(wanted)), by_also, "{wanted}");
        assert_eq!(only.allows(&origin(wanted)), by_only, "{wanted}");
    }
}

#[test]
fn the_line_that_allows_an_origin_keeps_the_entries_that_are_there() {
    let wanted = origin("https://new.example.com");
    let line = |written| {
        AllowList::new(written, &[], &texts(&["https://api.example.com"]))
            .unwrap()
            .suggested_setting(&wanted)
    };
    assert_eq!(
        line(AllowSetting::default()),
        r#"allow = ["https://new.example.com"]"#
    );
    assert_eq!(
        line(AllowSetting::Extend(texts(&["https://a.example"]))),
        r#"allow = ["https://a.example", "https://new.example.com"]"#
    );
    assert_eq!(
        line(AllowSetting::Replace(texts(&["https://new.example.com"]))),
        r#"allow_only = ["https://new.example.com"]"#
    );
}

#[test]
fn an_entry_that_cannot_be_used_says_where_it_is_from() {
    let bad = texts(&["*"]);
    let error_of =
        |written, described: &[String]| AllowList::new(written, &[], described).unwrap_err();
    assert!(error_of(AllowSetting::Extend(bad.clone()), &[]).starts_with("`allow`: `*` would"));
    assert!(
        error_of(AllowSetting::Replace(bad.clone()), &[]).starts_with("`allow_only`: `*` would")
    );
    assert!(error_of(AllowSetting::default(), &bad).contains("the component describes: `*` would"));
}

#[test]
fn an_origin_prints_as_the_entry_that_would_allow_it() {
    for text in [
        "https://api.example.com",
        "https://api.example.com:8443",
        "http://127.0.0.1:8080",
        "http://[::1]:8080",
    ] {
        let origin = origin(text);
        assert_eq!(origin.to_string(), text);
        assert!(
            AllowList::parse(&[origin.to_string()])
                .unwrap()
                .allows(&origin)
        );
    }
}
