//! What can go wrong upstream, by name: a row for each fault that the simulated tenant can make
//! and that passes by itself within seconds.
//!
//! What takes longer is left to the session in virtual time: an API call that is forbidden or not
//! found pauses its stream for an hour, a page without its token for five minutes, and a body that
//! stalls is ended after one. An empty page of a log by time is its end, whatever its `next`
//! says: as a fault it could not be detected.

use mimecast_simulator::{Effect, Endpoint, FailShape};

const DAY_MS: i64 = 86_400_000;

/// A fault: its name, its endpoint, and its effect.
pub(crate) type EndpointFault = (&'static str, Endpoint, fn() -> Effect);

/// A fault without its endpoint: its name, and its effect.
type NamedEffect = (&'static str, fn() -> Effect);

const API_CALL_ENDPOINTS: [Endpoint; 2] = [Endpoint::Batch, Endpoint::Post];
const FAULTED_ENDPOINTS: [Endpoint; 4] = [
    Endpoint::Batch,
    Endpoint::File,
    Endpoint::Post,
    Endpoint::Token,
];

/// Returns every fault, once for each endpoint to which it can apply.
pub(crate) fn endpoint_faults() -> Vec<EndpointFault> {
    let at = |endpoints: &[Endpoint], name, effect| {
        let faults = endpoints.iter().map(|endpoint| (name, *endpoint, effect));
        faults.collect::<Vec<EndpointFault>>()
    };
    let mut faults = FILES
        .iter()
        .map(|(name, effect)| (*name, Endpoint::File, *effect))
        .chain(PAGES.iter().copied())
        .collect::<Vec<EndpointFault>>();
    for (name, effect) in RESPONSES {
        faults.extend(at(&FAULTED_ENDPOINTS, name, effect));
    }
    for (name, effect) in CALLS {
        faults.extend(at(&API_CALL_ENDPOINTS, name, effect));
    }
    faults.push(("credentials refused", Endpoint::Token, || {
        Effect::fail(401, FailShape::Flat, "InvalidClientIdentifier", "Invalid")
    }));
    faults
}

/// What anything can be answered with.
const RESPONSES: [NamedEffect; 14] = [
    ("a Date a month ahead", || Effect::DateAhead {
        ms: 30 * DAY_MS,
    }),
    ("a Date a month behind", || Effect::DateAhead {
        ms: -30 * DAY_MS,
    }),
    ("a Date that is none", || Effect::DateText("soon")),
    ("a slow body", || Effect::Slow {
        bytes_per_s: 2_000,
        for_ms: 1_500,
    }),
    ("503 with a Retry-After of 4 s", || {
        response(503, &[("retry-after", "4")], "")
    }),
    ("503 with a Retry-After that is a date", || {
        Effect::RetryAfterDate {
            status: 503,
            ms: 3_000,
        }
    }),
    ("500 with HTML", || Effect::html(500)),
    ("502 with HTML", || Effect::html(502)),
    ("503 with Retry-After", || {
        response(503, &[("retry-after", "1")], "")
    }),
    ("429 with Retry-After", || Effect::throttled(Some(1))),
    ("no response", || Effect::CloseBeforeHeaders),
    ("a reset in the body", || Effect::CloseMidBody),
    ("a late response", || Effect::Stall { ms: 900 }),
    ("a body that stalls", || Effect::StallMidBody { ms: 700 }),
];

/// What a call of the API can be answered with.
const CALLS: [NamedEffect; 6] = [
    ("429 with a reset in milliseconds", || {
        // Every response of the API has one.
        response(429, &[], "{}")
    }),
    ("401, the token has expired", Effect::token_expired),
    ("200 with HTML", || Effect::html(200)),
    ("200 with nothing", || response(200, &[], "")),
    ("200 with an empty object", || response(200, &[], "{}")),
    ("200 with `fail`", || {
        Effect::fail(200, FailShape::Nested, "err_unknown", "Try again")
    }),
];

/// What can be wrong with a page.
const PAGES: [EndpointFault; 6] = [
    ("an empty page", Endpoint::Batch, || Effect::EmptyPage),
    ("a page twice", Endpoint::Batch, || Effect::PageRepeated),
    ("a page twice", Endpoint::Post, || Effect::PageRepeated),
    ("files listed twice", Endpoint::Batch, || {
        Effect::FilesListedTwice
    }),
    ("page token refused", Endpoint::Batch, || {
        Effect::PageTokenRefused
    }),
    ("page token refused", Endpoint::Post, || {
        Effect::PageTokenRefused
    }),
];

/// What can be wrong with a file.
const FILES: [NamedEffect; 14] = [
    ("403 for a file", || Effect::ExpiredLinks),
    ("404 for a file", Effect::file_gone),
    ("410 for a file", || response(410, &[], "")),
    ("200 with HTML for a file", || Effect::html(200)),
    ("an empty file", || Effect::EmptyFile),
    ("not gzip", || Effect::NotGzip),
    ("truncated gzip", || Effect::TruncatedGzip),
    ("a wrong checksum", || Effect::WrongChecksum),
    ("garbage after gzip", || Effect::TrailingGarbage),
    ("two gzip members", || Effect::TwoGzipMembers),
    ("a line that is not UTF-8", || Effect::InvalidUtf8Line),
    ("a line of 1.2 MB", || Effect::LongLine),
    ("a malformed line", || Effect::MalformedLine),
    ("a record without a timestamp", || Effect::UntimedLine),
];

fn response(status: u16, headers: &[(&'static str, &str)], body: &str) -> Effect {
    let headers = headers
        .iter()
        .map(|(name, value)| (*name, (*value).to_owned()));
    Effect::Respond {
        status,
        headers: headers.collect(),
        body: body.to_owned(),
    }
}
