//! The result of a check for each response of a scripted upstream.

use super::*;
use crate::api::incoming::RESPONSE_BYTES_MAX;
use crate::request::Request;

const NOW: Timestamp = Timestamp::from_millis(1_770_100_000_000);
const TOKEN: &str = r#"{"access_token":"t-1","token_type":"Bearer","expires_in":1800}"#;
const EMPTY: &str = r#"{"meta":{"status":200},"data":[],"value":[],"fail":[]}"#;
const CATEGORIES: &str = r#"{"data":[{"categories":[{"code":"account_logs"},{"code":"case"}]}]}"#;

/// The response of the upstream to a call: status and body.
type MockResponse = Result<(u16, &'static str), TransportError>;

/// Responds to the calls of a check.
type Respond = fn(url: &str, calls: usize) -> MockResponse;

/// A check with these settings beside the credentials.
fn check(more: &str) -> Check {
    let settings = format!(
        r#"{{"base_url":"https://api.test","client_id":"id","client_secret":"hush",{more}}}"#
    );
    Check::new(Settings::parse(&settings).unwrap(), NOW, 1)
}

fn head(status: u16) -> Head {
    let headers = vec![("x-request-id".to_owned(), "r-7".to_owned())];
    Head { status, headers }
}

/// The results of a check whose calls get these responses.
fn drive(check: Check, mut respond: impl FnMut(Request) -> MockResponse) -> Vec<CheckResult> {
    drive_with_heads(check, |request| {
        respond(request).map(|(status, text)| (head(status), text))
    })
}

/// The same for responses with headers of their own.
fn drive_with_heads(
    mut check: Check,
    mut respond: impl FnMut(Request) -> Result<(Head, &'static str), TransportError>,
) -> Vec<CheckResult> {
    let mut body = None;
    loop {
        match check.next(NOW) {
            Action::Continue => {}
            Action::Yield(results) => return results,
            Action::Read => match body.take() {
                Some(chunk) => check.handle_chunk(chunk, NOW),
                None => check.handle_end(NOW),
            },
            Action::Send(request) => match respond(request) {
                Ok((head, text)) => {
                    check.handle_head(head, NOW);
                    body = Some(text.as_bytes().to_vec());
                }
                Err(failure) => check.handle_failure(failure, NOW),
            },
        }
    }
}

/// The results of a check, and how many calls it took.
fn run_check(streams: &str, respond: Respond) -> (Vec<CheckResult>, usize) {
    let mut calls = 0;
    let results = drive(check(&format!(r#""streams":[{streams}]"#)), |request| {
        calls += 1;
        assert!(calls < 50, "a check has an end");
        respond(&request.url, calls)
    });
    (results, calls)
}

fn is_token(url: &str) -> bool {
    url.ends_with("/oauth/token")
}

/// Returns the token for a token request, and `response` for any other.
fn after_token(url: &str, response: (u16, &'static str)) -> (u16, &'static str) {
    if is_token(url) {
        (200, TOKEN)
    } else {
        response
    }
}

/// Runs a check of one stream and returns its result.
fn run_probe(response: Respond) -> CheckResult {
    let (mut results, _) = run_check(r#""dlp""#, response);
    assert_eq!(results.len(), 1);
    results.remove(0)
}

#[test]
fn a_stream_that_answers_can_be_read() {
    let result = run_probe(|url, _| Ok(after_token(url, (200, EMPTY))));
    assert_eq!(result.outcome, CheckOutcome::Readable);
}

#[test]
fn each_refusal_has_an_outcome_of_its_own() {
    let table: [(Respond, &str); 6] = [
        (|url, _| Ok(after_token(url, (403, "{}"))), "NotPermitted"),
        (|url, _| Ok(after_token(url, (401, "{}"))), "Unauthorized"),
        (|url, _| Ok(after_token(url, (429, ""))), "Throttled"),
        (
            |url, _| Ok(after_token(url, (503, "<html>"))),
            "Unavailable",
        ),
        (|url, _| Ok(after_token(url, (400, "{}"))), "Protocol"),
        (
            |url, _| match is_token(url) {
                true => Ok((200, TOKEN)),
                false => Err(TransportError::Denied("https://x.test".to_owned())),
            },
            "Denied",
        ),
    ];
    for (responses, expected) in table {
        let outcome = format!("{:?}", run_probe(responses).outcome);
        assert!(outcome.contains(expected), "{expected}: {outcome}");
    }
}

#[test]
fn the_reset_of_a_quota_is_a_wait_only_where_the_quota_is_used_up() {
    for (status, header, wait_ms) in [
        (429, ("x-ratelimit-reset", "3600000"), 3_600_000),
        (503, ("x-ratelimit-reset", "3600000"), 0),
        (503, ("retry-after", "30"), 30_000),
        (302, ("x-ratelimit-reset", "3600000"), 0),
    ] {
        let results = drive_with_heads(check(r#""streams":["dlp"]"#), |request| {
            if is_token(&request.url) {
                return Ok((head(200), TOKEN));
            }
            let (name, value) = header;
            let headers = vec![(name.to_owned(), value.to_owned())];
            Ok((Head { status, headers }, ""))
        });
        let CheckOutcome::Failed(error) = &results[0].outcome else {
            panic!("{:?}", results[0].outcome);
        };
        let failure = error.failure().unwrap();
        assert_eq!(failure.retry_after_ms, wait_ms, "{status} {header:?}");
    }
}

#[test]
fn streams_with_one_endpoint_and_permission_share_one_probe() {
    for endpoint in ["batch", "events"] {
        let check = check(&format!(r#""siem_endpoint":"{endpoint}""#));
        let streams = check.settings.streams.clone();
        let mut probes = Vec::new();
        let results = drive(check, |request| {
            let response = after_token(&request.url, (200, EMPTY));
            probes.push(request);
            Ok(response)
        });
        let checked: Vec<Stream> = results.iter().map(|result| result.stream).collect();
        assert_eq!(checked, streams);
        assert!(
            results
                .iter()
                .all(|result| result.outcome == CheckOutcome::Readable)
        );
        let listings: Vec<_> = probes
            .iter()
            .filter(|probe| probe.url.contains("/siem/v1/"))
            .collect();
        let of_batch_files = listings.iter().filter(|it| it.url.contains("/batch/"));
        assert_eq!(
            of_batch_files.count(),
            2,
            "one for each of the two products"
        );
        // Collection by the event endpoint begins in batch files.
        let more = if endpoint == "events" { 2 } else { 0 };
        assert_eq!(listings.len(), 2 + more);
        for listing in listings {
            assert!(listing.url.contains("pageSize=1&"), "{}", listing.url);
        }
        let endpoints: std::collections::BTreeSet<_> = streams
            .iter()
            .map(|stream| stream.info().endpoint)
            .collect();
        // Besides, a token and the categories of audit events.
        assert_eq!(probes.len(), endpoints.len() + more + 2);
    }
}

#[test]
fn what_one_call_answers_holds_for_every_stream_that_shares_it() {
    let (results, _) = run_check(r#""siem","audit""#, |url, _| {
        Ok(match url {
            url if url.contains("/siem/v1/") => (403, "{}"),
            url => after_token(url, (200, EMPTY)),
        })
    });
    let refused = results
        .iter()
        .filter(|result| matches!(result.outcome, CheckOutcome::NotPermitted(_)))
        .count();
    assert_eq!((refused, results.len()), (10, 11));
    assert_eq!(results[10].outcome, CheckOutcome::Readable);
}

#[test]
fn the_head_of_one_batch_file_shows_whether_the_storage_can_be_reached() {
    const LISTING: &str = r#"{"value":[{"url":"https://user@x.test/a.gz"},{"url":"https://storage.test/cg/1.gz?sig=s"}],"isCaughtUp":false}"#;
    let listing = |url: &str| after_token(url, (200, LISTING));
    let is_file = |url: &str| url.starts_with("https://storage.test/");
    let table: [(MockResponse, &str); 4] = [
        (Ok((200, "gzip")), "Readable"),
        (Ok((403, "")), "Unavailable"),
        (
            Err(TransportError::Denied("https://storage.test".to_owned())),
            "Denied(\"https://storage.test\")",
        ),
        (
            Err(TransportError::Failed("no route".to_owned())),
            "Unavailable",
        ),
    ];
    let endpoints = ["batch", "events"];
    let cases = endpoints
        .iter()
        .flat_map(|it| table.iter().map(move |row| (it, row)));
    for (endpoint, (response, expected)) in cases {
        let mut files = Vec::new();
        let settings = format!(r#""siem_endpoint":"{endpoint}","streams":["siem"]"#);
        let results = drive(check(&settings), |request| {
            match &request.url {
                url if url.contains("/siem/v1/events/") => {
                    return Ok(after_token(url, (200, EMPTY)));
                }
                url if !is_file(url) => return Ok(listing(url)),
                _ => {}
            }
            files.push(request);
            response.clone()
        });
        assert_eq!(
            (results.len(), files.len()),
            (10, 1),
            "{endpoint}: {expected}"
        );
        assert!(files[0].credentials.is_empty(), "no token for the storage");
        for result in results {
            let outcome = format!("{:?}", result.outcome);
            assert!(outcome.contains(expected), "{expected}: {outcome}");
            assert!(!outcome.contains("sig=s"), "{outcome}");
        }
    }
}

#[test]
fn a_listing_that_is_refused_is_reported_beside_an_event_endpoint_that_is_not() {
    let settings = r#""siem_endpoint":"events","streams":["siem"]"#;
    let results = drive(check(settings), |request| {
        let status = if request.url.contains("/batch/") {
            403
        } else {
            200
        };
        Ok(after_token(&request.url, (status, EMPTY)))
    });
    assert_eq!(results.len(), 10);
    for result in results {
        assert!(matches!(result.outcome, CheckOutcome::NotPermitted(_)));
    }
}

#[test]
fn a_response_that_is_no_json_is_not_taken_for_a_log() {
    let outcome = run_probe(|url, _| Ok(after_token(url, (200, "<html>")))).outcome;
    assert!(
        matches!(&outcome, CheckOutcome::Failed(PollError::Protocol(failure)) if failure.detail.contains("proxy")),
        "{outcome:?}"
    );
}

#[test]
fn a_token_that_is_refused_is_asked_for_once_more() {
    let (results, calls) = run_check(r#""dlp""#, |url, calls| match (is_token(url), calls) {
        (true, _) => Ok((200, TOKEN)),
        (false, 2) => Ok((401, r#"{"fail":[{"code":"token_verification_failed"}]}"#)),
        (false, _) => Ok((200, EMPTY)),
    });
    assert_eq!((&results[0].outcome, calls), (&CheckOutcome::Readable, 4));
}

#[test]
fn a_new_token_that_is_refused_as_well_is_no_reason_to_ask_for_ever() {
    let (results, calls) = run_check(r#""dlp","audit""#, |url, _| {
        Ok(after_token(url, (401, "{}")))
    });
    // A token, a refusal, a new token, a refusal; then the other stream, with the last token first.
    assert_eq!((results.len(), calls), (2, 7));
}

#[test]
fn what_the_token_call_says_concerns_every_stream() {
    let table: [(Respond, &str); 5] = [
        (
            |_, _| Ok((401, r#"{"fail":[{"code":"invalid_client"}]}"#)),
            "Unauthorized",
        ),
        (|_, _| Ok((200, "<html>")), "Protocol"),
        (|_, _| Ok((429, "")), "Throttled"),
        (|_, _| Ok((500, "")), "Unavailable"),
        (
            |_, _| Err(TransportError::Failed("connection refused".to_owned())),
            "Unavailable",
        ),
    ];
    for (responses, expected) in table {
        let (results, calls) = run_check(r#""dlp","audit","ttp""#, responses);
        assert_eq!((results.len(), calls), (5, 1), "{expected}");
        for result in results {
            let outcome = format!("{:?}", result.outcome);
            assert!(outcome.contains(expected), "{expected}: {outcome}");
            assert!(!outcome.contains("hush"));
        }
    }
}

#[test]
fn audit_is_readable_with_its_categories_and_without() {
    let (results, _) = run_check(r#""audit""#, |url, _| match url {
        url if is_token(url) => Ok((200, TOKEN)),
        url if url.ends_with("/get-categories") => Ok((200, CATEGORIES)),
        _ => Ok((200, EMPTY)),
    });
    let remark = results[0].remark.as_deref();
    assert_eq!(remark, Some("categories: account_logs, case"));
    for failure in [false, true] {
        let responses: Respond = if failure {
            |url, _| match url {
                url if is_token(url) => Ok((200, TOKEN)),
                url if url.ends_with("/get-categories") => {
                    Err(TransportError::Failed(String::new()))
                }
                _ => Ok((200, EMPTY)),
            }
        } else {
            |url, _| match url {
                url if is_token(url) => Ok((200, TOKEN)),
                url if url.ends_with("/get-categories") => Ok((403, CATEGORIES)),
                _ => Ok((200, EMPTY)),
            }
        };
        let (results, _) = run_check(r#""audit""#, responses);
        assert_eq!(
            (&results[0].outcome, &results[0].remark),
            (&CheckOutcome::Readable, &None)
        );
    }
}

#[test]
fn a_byte_order_mark_before_a_response_changes_nothing() {
    fn marked(text: &str) -> &'static str {
        format!("\u{feff}{text}").leak()
    }
    let (results, _) = run_check(r#""audit","dlp""#, |url, _| match url {
        url if is_token(url) => Ok((200, marked(TOKEN))),
        url if url.ends_with("/get-categories") => Ok((200, marked(CATEGORIES))),
        _ => Ok((200, marked(EMPTY))),
    });
    assert_eq!(results.len(), 2);
    for result in &results {
        assert_eq!(result.outcome, CheckOutcome::Readable);
    }
    assert!(results.iter().any(|result| result.remark.is_some()));
}

#[test]
fn a_response_without_an_end_is_not_read_to_it() {
    let mut check = check(r#""streams":["dlp"]"#);
    assert!(matches!(check.next(NOW), Action::Send(_)));
    check.handle_head(head(200), NOW);
    let mut chunks = 0;
    while check.next(NOW) == Action::Read {
        check.handle_chunk(vec![b'x'; 64 * 1024], NOW);
        chunks += 1;
    }
    assert_eq!(chunks, RESPONSE_BYTES_MAX / (64 * 1024) + 1);
}
