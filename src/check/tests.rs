//! What a check says of each answer, against a scripted upstream.

use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_770_100_000_000);
const TOKEN: &str = r#"{"access_token":"t-1","token_type":"Bearer","expires_in":1800}"#;
const EMPTY: &str = r#"{"meta":{"status":200},"data":[],"value":[],"fail":[]}"#;
const CATEGORIES: &str = r#"{"data":[{"categories":[{"code":"account_logs"},{"code":"case"}]}]}"#;

/// What the upstream answers a call.
type Answers = fn(url: &str, calls: usize) -> Result<(u16, &'static str), TransportError>;

/// The results of a check, and how many calls it took.
fn checked(streams: &str, answers: Answers) -> (Vec<CheckResult>, usize) {
    let settings = format!(
        r#"{{"base_url":"https://api.test","client_id":"id","client_secret":"hush","streams":[{streams}]}}"#
    );
    let mut check = Check::new(Settings::parse(&settings).unwrap(), 1);
    let mut calls = 0;
    let mut body = None;
    loop {
        match check.next(NOW) {
            Action::Yield(results) => return (results, calls),
            Action::Read => match body.take() {
                Some(chunk) => check.handle_chunk(chunk),
                None => check.handle_end(),
            },
            Action::Send(request) => {
                calls += 1;
                assert!(calls < 50, "a check has an end");
                match answers(&request.url, calls) {
                    Ok((status, text)) => {
                        let headers = vec![("x-request-id".to_owned(), "r-7".to_owned())];
                        check.handle_head(Head { status, headers }, NOW);
                        body = Some(text.as_bytes().to_vec());
                    }
                    Err(failure) => check.handle_failure(failure, NOW),
                }
            }
        }
    }
}

fn is_token(url: &str) -> bool {
    url.ends_with("/oauth/token")
}

/// A token, and behind it this.
fn behind_token(url: &str, answer: (u16, &'static str)) -> (u16, &'static str) {
    if is_token(url) { (200, TOKEN) } else { answer }
}

/// The result of the only stream, after a token.
fn probed(answer: Answers) -> CheckResult {
    let (mut results, _) = checked(r#""dlp""#, answer);
    assert_eq!(results.len(), 1);
    results.remove(0)
}

#[test]
fn a_stream_that_answers_can_be_read() {
    let result = probed(|url, _| Ok((200, if is_token(url) { TOKEN } else { EMPTY })));
    assert_eq!(result.outcome, Outcome::Readable);
}

#[test]
fn each_refusal_is_told_by_what_to_do_about_it() {
    let table: [(Answers, &str); 6] = [
        (|url, _| Ok(behind_token(url, (403, "{}"))), "NotPermitted"),
        (|url, _| Ok(behind_token(url, (401, "{}"))), "Unauthorized"),
        (|url, _| Ok(behind_token(url, (429, ""))), "Throttled"),
        (
            |url, _| Ok(behind_token(url, (503, "<html>"))),
            "Unavailable",
        ),
        (|url, _| Ok(behind_token(url, (400, "{}"))), "Protocol"),
        (
            |url, _| match is_token(url) {
                true => Ok((200, TOKEN)),
                false => Err(TransportError::Denied("https://x.test".to_owned())),
            },
            "Denied",
        ),
    ];
    for (answers, expected) in table {
        let outcome = format!("{:?}", probed(answers).outcome);
        assert!(outcome.contains(expected), "{expected}: {outcome}");
    }
}

#[test]
fn every_stream_is_probed_with_the_smallest_call_there_is() {
    for endpoint in ["batch", "events"] {
        let settings = format!(
            r#"{{"base_url":"https://api.test","client_id":"id","client_secret":"hush","siem_endpoint":"{endpoint}"}}"#
        );
        let settings = Settings::parse(&settings).unwrap();
        let streams = settings.streams.clone();
        let mut check = Check::new(settings, 1);
        let mut probes = Vec::new();
        let results = loop {
            match check.next(NOW) {
                Action::Yield(results) => break results,
                Action::Read => check.handle_end(),
                Action::Send(request) => {
                    let text = if is_token(&request.url) { TOKEN } else { EMPTY };
                    probes.push(request);
                    let headers = Vec::new();
                    check.handle_head(
                        Head {
                            status: 200,
                            headers,
                        },
                        NOW,
                    );
                    check.handle_chunk(text.as_bytes().to_vec());
                }
            }
        };
        assert_eq!(results.len(), streams.len());
        assert!(
            results
                .iter()
                .all(|result| result.outcome == Outcome::Readable)
        );
        let listings = probes
            .iter()
            .filter(|probe| probe.url.contains("/siem/v1/"));
        for listing in listings {
            assert_eq!(listing.url.contains("/batch/"), endpoint == "batch");
            assert!(listing.url.contains("pageSize=1&"), "{}", listing.url);
        }
    }
}

#[test]
fn a_token_that_is_refused_is_asked_for_once_more() {
    let (results, calls) = checked(r#""dlp""#, |url, calls| match (is_token(url), calls) {
        (true, _) => Ok((200, TOKEN)),
        (false, 2) => Ok((401, r#"{"fail":[{"code":"token_verification_failed"}]}"#)),
        (false, _) => Ok((200, EMPTY)),
    });
    assert_eq!((&results[0].outcome, calls), (&Outcome::Readable, 4));
}

#[test]
fn a_new_token_that_is_refused_as_well_is_no_reason_to_ask_for_ever() {
    let (results, calls) = checked(r#""dlp","audit""#, |url, _| {
        Ok(if is_token(url) {
            (200, TOKEN)
        } else {
            (401, "{}")
        })
    });
    // A token, a refusal, a new token, a refusal; then the other stream, with the last token first.
    assert_eq!((results.len(), calls), (2, 7));
}

#[test]
fn what_the_token_call_says_concerns_every_stream() {
    let table: [(Answers, &str); 5] = [
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
    for (answers, expected) in table {
        let (results, calls) = checked(r#""dlp","audit","ttp""#, answers);
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
    let (results, _) = checked(r#""audit""#, |url, _| match url {
        url if is_token(url) => Ok((200, TOKEN)),
        url if url.ends_with("/get-categories") => Ok((200, CATEGORIES)),
        _ => Ok((200, EMPTY)),
    });
    let remark = results[0].remark.as_deref();
    assert_eq!(remark, Some("categories: account_logs, case"));
    for failure in [false, true] {
        let answers: Answers = if failure {
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
        let (results, _) = checked(r#""audit""#, answers);
        assert_eq!(
            (&results[0].outcome, &results[0].remark),
            (&Outcome::Readable, &None)
        );
    }
}

#[test]
fn an_answer_without_an_end_is_not_read_to_it() {
    let settings = r#"{"base_url":"https://api.test","client_id":"id","client_secret":"hush","streams":["dlp"]}"#;
    let mut check = Check::new(Settings::parse(settings).unwrap(), 1);
    assert!(matches!(check.next(NOW), Action::Send(_)));
    let headers = Vec::new();
    check.handle_head(
        Head {
            status: 200,
            headers,
        },
        NOW,
    );
    let mut chunks = 0;
    while check.next(NOW) == Action::Read {
        check.handle_chunk(vec![b'x'; 64 * 1024]);
        chunks += 1;
    }
    assert_eq!(chunks, ANSWER_BYTES_MAX / (64 * 1024) + 1);
}
