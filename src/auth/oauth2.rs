//! OAuth2 client credentials of API 2.0 (`mimecast-api.md` §2).

use serde::Deserialize;

use super::AuthError;
use crate::decode::lenient::{self, Optional};
use crate::decode::upstream_error;
use crate::request::Request;
use crate::secret::Secret;
use crate::time::Timestamp;

/// The lifetime of a token when the response does not give one.
const DEFAULT_LIFETIME_S: u32 = 1800;

/// The longest lifetime that is accepted: a day.
const LIFETIME_S_MAX: u32 = 86_400;

/// A token is renewed a minute before it expires, so that none expires in flight.
const RENEWAL_MARGIN_MS: i64 = 60_000;

/// An access token and when to stop using it.
#[derive(Clone, Debug)]
struct Token {
    secret: Secret,
    use_until: Timestamp,
}

/// The application of one source and its token, which is in the saved session and never in a
/// checkpoint.
#[derive(Clone, Debug)]
pub struct OAuth2 {
    base_url: String,
    id: String,
    secret: Secret,
    token: Option<Token>,
}

/// The response to a request for a token.
#[derive(Deserialize)]
struct TokenResponse {
    #[serde(default, deserialize_with = "lenient::text_or_absent")]
    access_token: Option<String>,
    /// An unreadable lifetime counts as the default: that costs a request, and a refusal
    /// would cost everything.
    #[serde(default, deserialize_with = "lenient::optional_number")]
    expires_in: Optional<f64>,
}

impl OAuth2 {
    /// Creates the application with this id and secret, at an API with this origin.
    #[must_use]
    pub fn new(base_url: &str, id: &str, secret: &Secret) -> Self {
        Self {
            base_url: base_url.to_owned(),
            id: id.to_owned(),
            secret: secret.clone(),
            token: None,
        }
    }

    /// Returns the origin of the API.
    #[must_use]
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// Returns the application's secret and the token, even where it has expired.
    #[must_use]
    pub fn secrets(&self) -> [&str; 2] {
        let token = self.token.as_ref().map(|token| token.secret.expose());
        [self.secret.expose(), token.unwrap_or_default()]
    }

    /// Returns the token, where there is one that may still be used at `now`.
    #[must_use]
    pub fn token(&self, now: Timestamp) -> Option<&Secret> {
        self.token
            .as_ref()
            .filter(|token| now < token.use_until)
            .map(|token| &token.secret)
    }

    /// Returns the token, for the saved session, with the time until which it may be used.
    #[must_use]
    pub fn export_token(&self, now: Timestamp) -> Option<(String, Timestamp)> {
        let token = self.token.as_ref().filter(|token| now < token.use_until)?;
        Some((token.secret.expose().to_owned(), token.use_until))
    }

    /// Restores the token of an earlier session. A clock that was set back does not make it
    /// last longer than a new one.
    pub fn restore_token(&mut self, text: String, use_until: Timestamp, now: Timestamp) {
        let longest = now.plus_ms(i64::from(LIFETIME_S_MAX).saturating_mul(1000));
        if is_header_safe(&text) && now < use_until && use_until <= longest {
            self.token = Some(Token {
                secret: Secret::new(text),
                use_until,
            });
        }
    }

    /// Drops the token after the API refused it.
    pub fn forget_token(&mut self) {
        self.token = None;
    }

    /// Returns the request for a new token.
    #[must_use]
    pub fn request(&self) -> Request {
        Request::post_form(
            format!("{}/oauth/token", self.base_url),
            &[
                ("client_id", &self.id),
                ("client_secret", self.secret.expose()),
                ("grant_type", "client_credentials"),
            ],
        )
    }

    /// Returns the header of a call with the token.
    #[must_use]
    pub fn header(&self, now: Timestamp) -> Vec<(&'static str, Secret)> {
        let token = self.token(now);
        let header = token.map(|token| {
            let value = format!("Bearer {}", token.expose());
            ("authorization", Secret::new(value))
        });
        header.into_iter().collect()
    }

    /// Handles a successful response. Even that may hold a `fail` (`mimecast-api.md` §2). Returns the
    /// name of an optional member that cannot be read.
    ///
    /// # Errors
    ///
    /// The response names a failure or holds no token.
    pub fn handle_response(
        &mut self,
        body: &[u8],
        now: Timestamp,
    ) -> Result<Option<&'static str>, AuthError> {
        if let Some(error) = upstream_error::read(body) {
            // A refusal has its own status, so this response may differ next time.
            return Err(AuthError::Protocol(format!(
                "{} {}",
                error.code, error.message
            )));
        }
        let response: TokenResponse = serde_json::from_slice(body).map_err(|_| {
            AuthError::Protocol("the token response is not a JSON object".to_owned())
        })?;
        let Some(text) = response.access_token.filter(|text| is_header_safe(text)) else {
            return Err(AuthError::Protocol(
                "the token response holds no usable token".to_owned(),
            ));
        };
        let unreadable = response.expires_in.name_if_unreadable("expires_in");
        let lifetime_s = response
            .expires_in
            .value()
            .map_or(DEFAULT_LIFETIME_S, bounded_lifetime_s);
        let lifetime_ms = i64::from(lifetime_s).saturating_mul(1000);
        // A short lifetime is halved instead of being used up by the early renewal.
        let early_ms = RENEWAL_MARGIN_MS.min(lifetime_ms / 2);
        let use_until = now.plus_ms(lifetime_ms.saturating_sub(early_ms));
        self.token = Some(Token {
            secret: Secret::new(text),
            use_until,
        });
        Ok(unreadable)
    }
}

/// Returns a lifetime in whole seconds between one second and a day.
#[expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to a range that fits"
)]
fn bounded_lifetime_s(seconds: f64) -> u32 {
    seconds.clamp(1.0, f64::from(LIFETIME_S_MAX)) as u32
}

/// Returns whether a token can stand in a header as it is.
fn is_header_safe(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn application() -> OAuth2 {
        OAuth2::new("https://api.test", "id", &Secret::new("hush".to_owned()))
    }

    #[test]
    fn a_token_is_renewed_a_minute_before_its_end() {
        let mut auth = application();
        assert!(auth.token(T0).is_none());
        auth.handle_response(
            br#"{"access_token":"t","token_type":"Bearer","expires_in":1799}"#,
            T0,
        )
        .unwrap();
        assert_eq!(auth.token(T0.plus_ms(1_738_999)).unwrap().expose(), "t");
        assert!(auth.token(T0.plus_ms(1_739_000)).is_none());
    }

    #[test]
    fn a_lifetime_that_is_missing_short_or_absurd_still_gives_a_token() {
        for (body, usable_ms) in [
            (r#"{"access_token":"t"}"#, 1_739_999),
            (r#"{"access_token":"t","expires_in":10}"#, 4_999),
            (r#"{"access_token":"t","expires_in":-1e300}"#, 499),
            (r#"{"access_token":"t","expires_in":"1799"}"#, 1_738_999),
            (r#"{"access_token":"t","expires_in":" 10 "}"#, 4_999),
            (r#"{"access_token":"t","expires_in":true}"#, 1_739_999),
            (r#"{"access_token":"t","expires_in":"soon"}"#, 1_739_999),
            (r#"{"access_token":"t","expires_in":{"s":1}}"#, 1_739_999),
            (r#"{"access_token":"t","expires_in":1e999}"#, 1_739_999),
            (r#"{"access_token":"t","expires_in":null}"#, 1_739_999),
        ] {
            let mut auth = application();
            auth.handle_response(body.as_bytes(), T0).unwrap();
            assert!(auth.token(T0.plus_ms(usable_ms)).is_some(), "{body}");
            assert!(auth.token(T0.plus_ms(usable_ms + 1)).is_none(), "{body}");
        }
    }

    #[test]
    fn a_failure_in_a_successful_response_is_a_protocol_error() {
        let body = br#"{"fail":[{"errors":[{"code":"invalid_client_identifier","message":"m"}]}]}"#;
        let error = application().handle_response(body, T0).unwrap_err();
        assert_eq!(
            error,
            AuthError::Protocol("invalid_client_identifier m".to_owned())
        );
    }

    #[test]
    fn a_response_without_a_usable_token_is_a_protocol_error() {
        for body in [
            "<html>",
            "{}",
            r#"{"access_token":""}"#,
            r#"{"access_token":"a\nb"}"#,
            r#"{"access_token":["t"]}"#,
        ] {
            let error = application()
                .handle_response(body.as_bytes(), T0)
                .unwrap_err();
            assert!(matches!(error, AuthError::Protocol(_)), "{body}");
        }
    }
}
