//! The exchange with the API: credentials, the region of the account, the two clocks, and how a
//! response is classified.
//!
//! A session and a check both talk to the API through an [`ApiClient`]. Whoever uses it sets its time
//! first, with [`ApiClient::set_now`]; it makes no request itself and changes no settings.

pub mod incoming;
pub mod response_kind;
mod skew;
mod transfer;

use crate::auth::hmac::SKEW_MS_MAX;
use crate::auth::{Auth, AuthError, SigningContext};
use crate::poll_error::{Failure, PollError};
use crate::request::{Call, Request};
use crate::response::{Head, TransportError};
use crate::retry::{self, RetryPolicy, Wait};
use crate::settings::Credentials;
use crate::time::Timestamp;
use incoming::RESPONSE_BYTES_MAX;
use response_kind::{ResponseKind, credentials_advice, describe};
use skew::ClockSkew;

/// The seed of the random numbers where the driver has none: from zero the generator would never leave
/// zero, and request ids are made from its numbers.
const DEFAULT_SEED: u64 = 0x9E37_79B9_7F4A_7C15;

/// The state of the exchange between one source and the API.
pub struct ApiClient {
    auth: Auth,
    skew: ClockSkew,
    /// The state of a small generator.
    random: u64,
    /// The time by the host's clock, as last set by [`ApiClient::set_now`].
    now: Timestamp,
    /// How far the host's clock was taken to be ahead when the last call was signed.
    skew_ms_at_signing: i64,
    /// How often in a row the preflight request (token or region) failed.
    preflight_failures: u32,
    /// Until when the preflight request is not retried, and the failure that caused the wait.
    preflight_backoff: Option<(Wait, PollError)>,
}

/// The outcome of a call.
pub struct CallOutcome {
    /// What it means.
    pub kind: ResponseKind,
    /// The call and what is known of the response (status, Mimecast's code and message, request id), with
    /// advice where credentials were refused; for people.
    pub detail: String,
    /// Whether one retry of the call may succeed.
    pub may_retry: bool,
}

impl ApiClient {
    /// Creates a client with these credentials. `random` seeds request ids and the spread of waits.
    #[must_use]
    pub fn new(credentials: &Credentials, now: Timestamp, random: u64) -> Self {
        Self {
            auth: Auth::new(credentials),
            skew: ClockSkew::default(),
            random: if random == 0 { DEFAULT_SEED } else { random },
            now,
            skew_ms_at_signing: 0,
            preflight_failures: 0,
            preflight_backoff: None,
        }
    }

    /// Takes over the state of another client with the same credentials, except its clock and random
    /// numbers.
    pub fn inherit(&mut self, other: Self) {
        *self = Self {
            random: self.random,
            now: self.now,
            ..other
        };
    }

    /// Sets the time by the host's clock. Everything that follows uses it.
    pub const fn set_now(&mut self, now: Timestamp) {
        self.now = now;
    }

    /// Returns the host's clock.
    #[must_use]
    pub const fn now(&self) -> Timestamp {
        self.now
    }

    /// Returns the upstream's clock, estimated from several responses.
    #[must_use]
    pub fn upstream_now(&self) -> Timestamp {
        self.now.plus_ms(self.skew.ms().saturating_neg())
    }

    /// Returns the upstream's clock, estimated from its last response alone.
    #[must_use]
    pub fn upstream_now_by_last_response(&self) -> Timestamp {
        let skew_ms = self.skew.last_ms().unwrap_or_else(|| self.skew.ms());
        self.now.plus_ms(skew_ms.saturating_neg())
    }

    /// Returns how far the host's clock is ahead by the last response, in milliseconds.
    #[must_use]
    pub fn last_skew_ms(&self) -> Option<i64> {
        self.skew.last_ms()
    }

    /// Returns how far the host's clock is ahead, where more than one response has shown it.
    #[must_use]
    pub fn confirmed_skew_ms(&self) -> Option<i64> {
        self.skew.confirmed_ms()
    }

    /// Restores a skew that an earlier client has measured.
    pub fn restore_skew(&mut self, skew_ms: i64) {
        self.skew = ClockSkew::known(skew_ms);
    }

    /// Returns the access token and the time until which it may be used, where there is one.
    #[must_use]
    pub fn export_token(&self) -> Option<(String, Timestamp)> {
        self.auth.export_token(self.now)
    }

    /// Restores the access token of an earlier client.
    pub fn restore_token(&mut self, token: (String, Timestamp)) {
        self.auth.restore_token(token, self.now);
    }

    /// Drops the token after the API refused it.
    pub fn forget_token(&mut self) {
        self.auth.forget_token();
    }

    /// Returns the region that discovery found.
    #[must_use]
    pub fn discovered_base_url(&self) -> Option<&str> {
        self.auth.discovered_base_url()
    }

    /// Uses the region that discovery found earlier, unless the settings name one.
    pub fn restore_region(&mut self, origin: Option<&str>) {
        self.auth.restore_region(origin);
    }

    /// Returns how a call came to be refused again, as the end of its error.
    #[must_use]
    pub const fn retry_description(&self) -> &'static str {
        self.auth.messages().retry_description
    }

    /// Returns the next random number.
    pub const fn next_random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    /// Returns the clocks and the random number for the next request.
    fn signing_context(&mut self) -> SigningContext {
        let skew_ms = self.skew.signing_ms();
        self.skew_ms_at_signing = skew_ms;
        SigningContext {
            now: self.now,
            upstream_now: self.now.plus_ms(skew_ms.saturating_neg()),
            nonce: u128::from(self.next_random()) << 64 | u128::from(self.next_random()),
        }
    }

    /// Returns whether the API can be called without a preflight request.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.auth.is_ready(self.now)
    }

    /// Returns the preflight request: for a token, or for the region.
    ///
    /// # Errors
    ///
    /// The last preflight request failed, and the wait after it is not over.
    pub fn preflight_request(&mut self) -> Result<Request, PollError> {
        if let Some((wait, error)) = &self.preflight_backoff
            && wait.since.is_none_or(|since| since <= self.now)
            && self.now < wait.until
        {
            let left_ms = wait.until.millis().saturating_sub(self.now.millis());
            return Err(error.clone().with_retry_after_ms(left_ms));
        }
        let context = self.signing_context();
        Ok(self.auth.preflight_request(context))
    }

    /// Returns the request of a call; `None` where the origin is not known yet. Without a token it has no
    /// credentials, so it is of use only when [`ApiClient::is_ready`].
    pub fn authorize(&mut self, call: Call) -> Option<Request> {
        let context = self.signing_context();
        self.auth.authorize(call, context)
    }

    /// Notes the upstream's clock in a response.
    pub fn handle_head(&mut self, head: &Head) {
        self.skew.note(head, self.now);
    }

    /// Returns how long the upstream asks to wait before the next call, in milliseconds.
    #[must_use]
    pub fn rate_limit_wait_ms(&self, head: &Head) -> Option<i64> {
        head.rate_limit_wait_ms(self.upstream_now())
    }

    /// Returns how long a failing upstream asks to wait, in milliseconds.
    #[must_use]
    pub fn retry_after_ms(&self, head: &Head) -> Option<i64> {
        head.retry_after_ms(self.upstream_now())
    }

    /// Handles the response to [`ApiClient::preflight_request`]. Returns the name of an optional member that
    /// cannot be read. `Ok` without a token or region means that the request is to be sent once more.
    ///
    /// # Errors
    ///
    /// The token or region was refused, or is not available now.
    pub fn handle_preflight(
        &mut self,
        head: &Head,
        body: &[u8],
    ) -> Result<Option<&'static str>, PollError> {
        let error = self.auth.read_error(body);
        let messages = self.auth.messages();
        let detail = describe(messages.request_name, head, error.as_ref());
        let error = match ResponseKind::of(head.status, error.as_ref()) {
            ResponseKind::Success => match self.auth.handle_response(body, self.now) {
                Ok(unreadable) => {
                    self.preflight_failures = 0;
                    self.preflight_backoff = None;
                    return Ok(unreadable);
                }
                Err(AuthError::Refused(why)) => {
                    PollError::Unauthorized(format!("{detail}: {why}; {}", messages.advice))
                }
                Err(AuthError::Protocol(why)) => {
                    let what = format!("{detail}: {why}");
                    let requested_ms = self.retry_after_ms(head);
                    PollError::Protocol(self.count_preflight_failure(
                        what,
                        RetryPolicy::Protocol,
                        requested_ms,
                    ))
                }
            },
            // Known to be transient (`mimecast-api.md` §6.1).
            ResponseKind::UnknownApplication if self.preflight_failures == 0 => {
                self.preflight_failures = 1;
                return Ok(None);
            }
            // Not from the endpoint that knows the credentials: a redirect, for one.
            ResponseKind::Refused if !matches!(head.status, 200 | 400) => {
                let requested_ms = self.retry_after_ms(head);
                PollError::Protocol(self.count_preflight_failure(
                    detail,
                    RetryPolicy::Protocol,
                    requested_ms,
                ))
            }
            ResponseKind::AccessKeyExpired
            | ResponseKind::UnknownApplication
            | ResponseKind::NotPermitted
            | ResponseKind::Refused
            | ResponseKind::SignatureRefused
            | ResponseKind::TokenRefused
            | ResponseKind::TooLong
            | ResponseKind::WrongRegion => {
                PollError::Unauthorized(format!("{detail}; {}", messages.advice))
            }
            ResponseKind::Throttled => {
                let requested_ms = self.rate_limit_wait_ms(head);
                PollError::Throttled(self.count_preflight_failure(
                    detail,
                    RetryPolicy::Throttled,
                    requested_ms,
                ))
            }
            ResponseKind::Unavailable => {
                let requested_ms = self.retry_after_ms(head);
                PollError::Unavailable(self.count_preflight_failure(
                    detail,
                    RetryPolicy::Unavailable,
                    requested_ms,
                ))
            }
        };
        self.remember_failure(&error);
        Err(error)
    }

    /// Handles a missing response to [`ApiClient::preflight_request`].
    #[must_use]
    pub fn handle_preflight_failure(&mut self, why: TransportError) -> PollError {
        let why = match why {
            TransportError::Denied(origin) => return PollError::Denied(origin),
            TransportError::Failed(why) => why,
        };
        let what = format!("{}: {why}", self.auth.messages().request_name);
        let error = PollError::Unavailable(self.count_preflight_failure(
            what,
            RetryPolicy::Unavailable,
            None,
        ));
        self.remember_failure(&error);
        error
    }

    /// Stores the failure, so that every preflight request fails until its wait is over.
    fn remember_failure(&mut self, error: &PollError) {
        if let Some(failure) = error.failure() {
            let wait_ms = i64::try_from(failure.retry_after_ms).unwrap_or(i64::MAX);
            self.preflight_backoff = Some((Wait::begin(self.now, wait_ms), error.clone()));
        }
    }

    /// Counts a failure of a preflight request. Returns it with its wait: that of the retry table, or that
    /// the upstream asks for.
    fn count_preflight_failure(
        &mut self,
        detail: String,
        retry_policy: RetryPolicy,
        requested_ms: Option<i64>,
    ) -> Failure {
        let random = self.next_random();
        let wait_ms = retry::wait_ms(retry_policy, self.preflight_failures, requested_ms, random);
        self.preflight_failures = self.preflight_failures.saturating_add(1);
        Failure {
            detail,
            retry_after_ms: u64::try_from(wait_ms).unwrap_or(0),
        }
    }

    /// Classifies the response to a call, and makes the change that a retry of it needs. `what` names the
    /// call in messages. A call that was retried is not retried again.
    pub fn process_call_response(
        &mut self,
        what: &str,
        (head, body): (&Head, &[u8]),
        is_retry: bool,
    ) -> CallOutcome {
        if head.status == 200 && body.len() > RESPONSE_BYTES_MAX {
            return CallOutcome {
                kind: ResponseKind::TooLong,
                detail: format!("{what}: the response is longer than {RESPONSE_BYTES_MAX} bytes"),
                may_retry: false,
            };
        }
        let error = self.auth.read_error(body);
        let kind = ResponseKind::of(head.status, error.as_ref());
        CallOutcome {
            kind,
            detail: describe(what, head, error.as_ref()) + credentials_advice(kind),
            may_retry: !is_retry && self.prepare_retry(kind),
        }
    }

    /// Makes the change that a retry of a refused call needs. Returns whether the retry may succeed.
    fn prepare_retry(&mut self, kind: ResponseKind) -> bool {
        match kind {
            ResponseKind::UnknownApplication => true,
            // The response has the upstream's clock, which differs from the time of the signature.
            ResponseKind::SignatureRefused => {
                let differs =
                    |skew_ms: i64| skew_ms.abs_diff(self.skew_ms_at_signing) > SKEW_MS_MAX;
                let was_off = self.skew.last_ms().is_some_and(differs);
                if was_off {
                    self.skew.trust_last();
                }
                was_off
            }
            ResponseKind::TokenRefused => {
                self.auth.forget_token();
                true
            }
            ResponseKind::WrongRegion => self.auth.forget_region(),
            ResponseKind::AccessKeyExpired
            | ResponseKind::Success
            | ResponseKind::NotPermitted
            | ResponseKind::Refused
            | ResponseKind::Throttled
            | ResponseKind::TooLong
            | ResponseKind::Unavailable => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::secret::Secret;

    const NOW: Timestamp = Timestamp::from_millis(1_770_100_000_000);

    fn client(random: u64) -> ApiClient {
        let credentials = Credentials::Client {
            base_url: "https://api.test".to_owned(),
            id: "id".to_owned(),
            secret: Secret::new("hush-9".to_owned()),
        };
        ApiClient::new(&credentials, NOW, random)
    }

    fn head(status: u16) -> Head {
        Head {
            status,
            headers: Vec::new(),
        }
    }

    #[test]
    fn a_driver_without_randomness_still_gives_each_request_an_id_of_its_own() {
        let mut client = client(0);
        let nonces: BTreeSet<u128> = (0..100).map(|_| client.signing_context().nonce).collect();
        assert_eq!(nonces.len(), 100);
    }

    #[test]
    fn a_call_needs_a_token_which_is_not_asked_for_again_before_the_wait_is_over() {
        let mut client = client(1);
        assert!(!client.is_ready());
        assert!(
            client
                .preflight_request()
                .unwrap()
                .url
                .ends_with("/oauth/token")
        );
        let error = client.handle_preflight(&head(503), b"").unwrap_err();
        assert_eq!(client.preflight_request(), Err(error.clone()));
        let wait_ms = error.failure().unwrap().retry_after_ms.try_into().unwrap();
        client.set_now(NOW.plus_ms(wait_ms));
        client.preflight_request().unwrap();
        let body = br#"{"access_token":"t-1","expires_in":1800}"#;
        client.handle_preflight(&head(200), body).unwrap();
        assert!(client.is_ready());
        let request = client.authorize(Call::get("/a?b=1".to_owned())).unwrap();
        assert_eq!(request.url, "https://api.test/a?b=1");
        assert_eq!(request.credentials[0].1.expose(), "Bearer t-1");
    }

    #[test]
    fn a_refused_token_is_worth_one_retry() {
        let mut client = client(1);
        let body = br#"{"access_token":"t-1","expires_in":1800}"#;
        client.handle_preflight(&head(200), body).unwrap();
        let outcome = client.process_call_response("audit", (&head(401), b""), false);
        assert_eq!(
            (outcome.kind, outcome.may_retry),
            (ResponseKind::TokenRefused, true)
        );
        assert!(!client.is_ready(), "the token is forgotten");
        let outcome = client.process_call_response("audit", (&head(401), b""), true);
        assert!(!outcome.may_retry);
    }

    #[test]
    fn a_response_that_repeats_a_secret_or_is_too_long_is_reported_without_it() {
        let mut client = client(1);
        let body = br#"{"fail":[{"errors":[{"code":"err","message":"hush-9 is wrong"}]}]}"#;
        let outcome = client.process_call_response("audit", (&head(400), body), false);
        assert_eq!(outcome.detail, "audit: HTTP 400 err [redacted] is wrong");
        let escaped = br#"{"fail":[{"errors":[{"code":"err","message":"hu\u0073h-9 is wrong"}]}]}"#;
        let outcome = client.process_call_response("audit", (&head(400), escaped), false);
        assert_eq!(outcome.detail, "audit: HTTP 400 err [redacted] is wrong");
        let long = vec![b'x'; RESPONSE_BYTES_MAX + 1];
        let outcome = client.process_call_response("audit", (&head(200), &long), false);
        assert_eq!(outcome.kind, ResponseKind::TooLong);
        assert!(!outcome.may_retry && outcome.detail.contains("8388608 bytes"));
    }
}
