//! What the status of an answer means for the events of the request.

use std::time::{Duration, SystemTime};

use hyper::header::RETRY_AFTER;
use hyper::{HeaderMap, StatusCode};

use crate::output::lanes::Refusal;

/// Nobody is meant to stand still for longer because of one header.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3_600);
/// Enough to say what is wrong, too little to repeat events into a log.
const EXCERPT_CHARS: usize = 200;

/// What any receiver means with a status that is not one of success.
pub(super) fn refusal(
    name: &str,
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    now: SystemTime,
) -> Refusal {
    let said = format!("{name} answers {}", said(status, body));
    match status.as_u16() {
        400 | 413 | 422 => Refusal::Poisoned(said),
        401 | 403 => Refusal::Fatal(format!("the credentials are refused: {said}")),
        408 | 425 | 429 | 500..=599 => match retry_after(headers, now) {
            Some(wait) => Refusal::Throttled { reason: said, wait },
            None => Refusal::Retry(said),
        },
        _ => Refusal::Fatal(format!("{said}; check the endpoint and the format")),
    }
}

/// A status and the beginning of the body.
pub(in crate::output) fn said(status: StatusCode, body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let words: Vec<&str> = text.split_whitespace().collect();
    let excerpt: String = words.join(" ").chars().take(EXCERPT_CHARS).collect();
    match excerpt.as_str() {
        "" => status.as_str().to_owned(),
        excerpt => format!("{} {excerpt}", status.as_str()),
    }
}

/// Seconds, or a date.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => httpdate::parse_http_date(text)
            .ok()?
            .duration_since(now)
            .unwrap_or_default(),
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, after: Option<&str>) -> Refusal {
        let mut headers = HeaderMap::new();
        if let Some(after) = after {
            headers.insert(RETRY_AFTER, after.parse().unwrap());
        }
        let status = StatusCode::from_u16(status).unwrap();
        refusal(
            "http x",
            status,
            &headers,
            b"no\n good",
            SystemTime::UNIX_EPOCH,
        )
    }

    #[test]
    fn each_status_has_its_consequence() {
        assert!(
            matches!(refused(400, None), Refusal::Poisoned(said) if said == "http x answers 400 no good")
        );
        assert!(matches!(refused(413, None), Refusal::Poisoned(_)));
        assert!(matches!(refused(401, None), Refusal::Fatal(said) if said.contains("credentials")));
        assert!(matches!(refused(404, None), Refusal::Fatal(_)));
        assert!(matches!(refused(301, None), Refusal::Fatal(_)));
        for status in [408, 429, 500, 502, 503] {
            assert!(
                matches!(refused(status, None), Refusal::Retry(_)),
                "{status}"
            );
        }
    }

    #[test]
    fn a_receiver_may_say_how_long_to_wait() {
        let asked = |after: &str| {
            let Refusal::Throttled { wait, .. } = refused(429, Some(after)) else {
                panic!("429 asks for patience");
            };
            wait.as_secs()
        };
        assert_eq!(asked("7"), 7);
        assert_eq!(asked("Thu, 01 Jan 1970 00:01:00 GMT"), 60);
        assert_eq!(asked("999999999"), 3_600);
        assert!(matches!(refused(503, Some("soon")), Refusal::Retry(_)));
    }
}
