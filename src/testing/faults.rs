//! Random faults, from a seed, which replace or change responses of the upstream.

use std::collections::BTreeMap;

use super::{MockResponse, gzip};
use crate::response::TransportError;

/// A generator of random numbers from a seed (SplitMix64).
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Returns a number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(bound.max(1)).unwrap()).unwrap()
    }

    /// Returns `true` with a probability of `per_mille` in a thousand.
    pub(crate) fn chance_per_mille(&mut self, per_mille: usize) -> bool {
        self.below(1000) < per_mille
    }
}

/// A name, and the status, the headers and the body of a response.
type FaultyResponse = (
    &'static str,
    u16,
    &'static [(&'static str, &'static str)],
    &'static str,
);

/// The responses that can replace another one.
const RESPONSES: [FaultyResponse; 15] = [
    (
        "500 with HTML",
        500,
        &[],
        "<html>Internal Server Error</html>",
    ),
    (
        "502 with HTML",
        502,
        &[("content-type", "text/html")],
        "<html>Bad Gateway</html>",
    ),
    ("503 with Retry-After", 503, &[("retry-after", "2")], ""),
    (
        "429 with a reset in milliseconds",
        429,
        &[("x-ratelimit-reset", "4851")],
        "{}",
    ),
    ("429 with Retry-After", 429, &[("retry-after", "7")], "{}"),
    ("429 without a wait", 429, &[], ""),
    (
        "401, the token has expired",
        401,
        &[],
        r#"{"fail":[{"code":"token_expired"}]}"#,
    ),
    (
        "403, not permitted",
        403,
        &[],
        r#"{"fail":[{"code":"app_forbidden","message":"Forbidden"}]}"#,
    ),
    (
        "403 of the storage, the link has expired",
        403,
        &[],
        "<Error><Code>AccessDenied</Code></Error>",
    ),
    (
        "404",
        404,
        &[],
        r#"{"fail":[{"code":"endpoint_evaluation_failed_1"}]}"#,
    ),
    (
        "200 with `fail`",
        200,
        &[],
        r#"{"data":[],"fail":[{"errors":[{"code":"err_unknown"}]}]}"#,
    ),
    ("200 with HTML", 200, &[], "<html>Sign in</html>"),
    ("200 with nothing", 200, &[], ""),
    ("200 with an empty object", 200, &[], "{}"),
    (
        "a redirect to another origin",
        302,
        &[("location", "https://evil.test/")],
        "",
    ),
];

/// The changes that can be made to a response.
const CHANGES: [&str; 8] = [
    "reset before the response",
    "reset in the middle of the body",
    "reset after the body",
    "the checksum is wrong",
    "truncated",
    "garbage after the body",
    "two gzip members",
    "the page token is refused",
];

/// Injects faults, and counts how often each was injected.
pub(crate) struct Faults {
    pub(crate) rng: Rng,
    /// How many responses of a thousand are replaced or changed.
    pub(crate) per_mille: usize,
    pub(crate) injected: BTreeMap<&'static str, u64>,
}

impl Faults {
    pub(crate) fn new(seed: u64, per_mille: usize) -> Self {
        Self {
            rng: Rng::new(seed),
            per_mille,
            injected: BTreeMap::new(),
        }
    }

    /// The names of all faults.
    pub(crate) fn names() -> impl Iterator<Item = &'static str> {
        RESPONSES.iter().map(|response| response.0).chain(CHANGES)
    }

    /// Returns the response, or a fault in its place.
    pub(crate) fn inject_fault(
        &mut self,
        request_text: &str,
        response: MockResponse,
    ) -> MockResponse {
        if !self.rng.chance_per_mille(self.per_mille) {
            return response;
        }
        let at = self.rng.below(RESPONSES.len() + CHANGES.len());
        let (name, response) = match RESPONSES.get(at) {
            Some((name, status, headers, body)) => {
                (*name, MockResponse::with(*status, headers, body))
            }
            None => {
                let name = CHANGES[at - RESPONSES.len()];
                match self.change(name, request_text, response.clone()) {
                    Some(changed) => (name, changed),
                    None => return response,
                }
            }
        };
        *self.injected.entry(name).or_default() += 1;
        response
    }

    /// Changes the response, unless that makes no sense for it.
    fn change(
        &mut self,
        name: &str,
        request_text: &str,
        response: MockResponse,
    ) -> Option<MockResponse> {
        let MockResponse::Complete(status, headers, mut body) = response else {
            return None;
        };
        let at = self.rng.below(body.len());
        let is_gzip = body.starts_with(&[0x1F, 0x8B]);
        match name {
            "reset before the response" => {
                return Some(MockResponse::TransportError(TransportError::Failed(
                    "reset".to_owned(),
                )));
            }
            "reset in the middle of the body" => {
                return Some(MockResponse::ConnectionReset(body, at));
            }
            "reset after the body" => {
                let end = body.len();
                return Some(MockResponse::ConnectionReset(body, end));
            }
            // Lines are passed on before the checksum after them is read: bytes do not change on the
            // way over TLS.
            "the checksum is wrong" if is_gzip => {
                let end = body.len();
                body[end - 1 - self.rng.below(8)] ^= 1 << self.rng.below(8);
            }
            // An early end without a reset is only detected where the format has an end.
            "truncated" if at > 0 && (is_gzip || body.starts_with(b"{")) => body.truncate(at),
            "garbage after the body" if is_gzip => body.extend_from_slice(b"garbage"),
            "two gzip members" if is_gzip => body = in_two_members(&body),
            "the page token is refused"
                if request_text.contains("pageToken") || request_text.contains("nextPage") =>
            {
                return Some(MockResponse::json(
                    400,
                    r#"{"fail":[{"code":"err_invalid_token"}]}"#,
                ));
            }
            _ => return None,
        }
        Some(MockResponse::Complete(status, headers, body))
    }
}

fn in_two_members(body: &[u8]) -> Vec<u8> {
    use std::io::Read as _;
    let mut text = String::new();
    flate2::read::GzDecoder::new(body)
        .read_to_string(&mut text)
        .unwrap();
    let (first, second) = text.split_at(text.len() / 2);
    [gzip(first), gzip(second)].concat()
}
