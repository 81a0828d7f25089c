//! Access to the API: tokens and quotas.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::config::Config;
use crate::fault::{FailShape, fail_body};
use crate::random::Random;
use crate::request::{Request, find, parse_form};
use crate::response::SimulatedResponse;

/// The credentials of the application, and the tokens granted.
#[derive(Debug)]
pub(crate) struct Auth {
    pub(crate) client_id: String,
    pub(crate) client_secret: String,
    shape: FailShape,
    token_lifetime_s: u64,
    random: Random,
    /// When each token that was ever granted expires.
    tokens: BTreeMap<String, i64>,
}

impl Auth {
    pub(crate) fn new(config: &Config) -> Self {
        // The purpose is a part of the seed: with another one all credentials would change.
        let mut random = Random::new(config.seed, "door", &[]);
        let or_random = |given: &str, made: String| {
            if given.is_empty() {
                made
            } else {
                given.to_owned()
            }
        };
        Self {
            client_id: or_random(&config.client_id, random.token(24)),
            client_secret: or_random(&config.client_secret, random.token(48)),
            shape: config.fail_shape,
            token_lifetime_s: config.token_lifetime_s,
            random,
            tokens: BTreeMap::new(),
        }
    }

    /// Answers a request for an access token.
    pub(crate) fn grant(&mut self, request: &Request, now_ms: i64) -> SimulatedResponse {
        let form = parse_form(&String::from_utf8_lossy(&request.body));
        let (id, secret) = basic(request.authorization.as_deref()).unwrap_or_else(|| {
            let value = |name| find(&form, name).unwrap_or_default().to_owned();
            (value("client_id"), value("client_secret"))
        });
        if find(&form, "grant_type") != Some("client_credentials") {
            let body = fail_body(
                400,
                self.shape,
                "unsupported_grant_type",
                "Grant type is not valid",
            );
            return SimulatedResponse::json(400, &body);
        }
        if id != self.client_id || secret != self.client_secret {
            let code = match self.shape {
                FailShape::Flat => "InvalidClientIdentifier",
                FailShape::Nested => "invalid_client_identifier",
            };
            let body = fail_body(401, self.shape, code, "Client credentials are invalid");
            return SimulatedResponse::json(401, &body);
        }
        let token = self.random.token(64);
        let lifetime_ms =
            i64::try_from(self.token_lifetime_s.saturating_mul(1000)).unwrap_or(i64::MAX);
        self.tokens
            .insert(token.clone(), now_ms.saturating_add(lifetime_ms));
        SimulatedResponse::json(
            200,
            &json!({"access_token": token, "token_type": "Bearer", "expires_in": self.token_lifetime_s,
                "scope": ""}),
        )
    }

    /// Returns the refusal of a request without a valid access token.
    pub(crate) fn refusal(&self, request: &Request, now_ms: i64) -> Option<SimulatedResponse> {
        let token = request
            .authorization
            .as_deref()
            .and_then(|value| value.strip_prefix("Bearer "));
        let (code, message) = match token.map(|token| self.tokens.get(token)) {
            Some(Some(end_ms)) if *end_ms > now_ms => return None,
            Some(Some(_)) => ("token_expired", "Access token has expired"),
            Some(None) => (
                "token_verification_failed",
                "Access token could not be verified",
            ),
            None => ("unauthorized", "Access token is missing"),
        };
        Some(SimulatedResponse::json(
            401,
            &fail_body(401, self.shape, code, message),
        ))
    }

    /// Expires every token that was granted so far.
    pub(crate) fn expire_all(&mut self) {
        for end_ms in self.tokens.values_mut() {
            *end_ms = i64::MIN;
        }
    }
}

/// Parses id and secret of HTTP Basic authentication.
fn basic(authorization: Option<&str>) -> Option<(String, String)> {
    let text = STANDARD
        .decode(authorization?.strip_prefix("Basic ")?)
        .ok()?;
    let text = String::from_utf8(text).ok()?;
    let (id, secret) = text.split_once(':')?;
    Some((id.to_owned(), secret.to_owned()))
}

/// A quota of calls per window; a window begins with its first call.
#[derive(Debug)]
pub(crate) struct Quota {
    limit: u32,
    window_ms: i64,
    window_start_ms: i64,
    used: u32,
    refused_count: u32,
}

impl Quota {
    pub(crate) fn new(limit: u32, window_ms: u64) -> Self {
        let window_ms = i64::try_from(window_ms).unwrap_or(i64::MAX);
        Self {
            limit,
            window_ms,
            window_start_ms: i64::MIN,
            used: 0,
            refused_count: 0,
        }
    }

    /// Counts a call. Returns the headers of its response, and the refusal if it exceeds the quota.
    pub(crate) fn count_call(
        &mut self,
        now_ms: i64,
    ) -> (Vec<(&'static str, String)>, Option<SimulatedResponse>) {
        if now_ms.saturating_sub(self.window_start_ms) >= self.window_ms {
            self.window_start_ms = now_ms;
            self.used = 0;
        }
        let is_refused = self.used >= self.limit;
        self.used = self.used.saturating_add(1).min(self.limit);
        let reset_ms = self
            .window_start_ms
            .saturating_add(self.window_ms)
            .saturating_sub(now_ms)
            .max(0);
        let headers = vec![
            ("x-ratelimit-limit", self.limit.to_string()),
            (
                "x-ratelimit-remaining",
                (self.limit - self.used).to_string(),
            ),
            ("x-ratelimit-reset", reset_ms.to_string()),
        ];
        (headers, is_refused.then(|| self.refusal(reset_ms)))
    }

    /// Refuses a call in one of several forms, in turn.
    fn refusal(&mut self, reset_ms: i64) -> SimulatedResponse {
        self.refused_count = self.refused_count.wrapping_add(1);
        let text = json!({"detail": format!("Over throttling limit ({} per window)", self.limit)});
        let fail = fail_body(
            429,
            FailShape::Flat,
            "too_many_requests",
            "Rate limit is exceeded",
        );
        let response = SimulatedResponse::json(
            429,
            if self.refused_count.is_multiple_of(2) {
                &fail
            } else {
                &text
            },
        );
        if self.refused_count.is_multiple_of(3) {
            return response;
        }
        response.with("retry-after", (reset_ms / 1000 + 1).to_string())
    }
}
