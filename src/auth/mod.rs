//! Credentials: the preflight request, and the headers that authorize a call.

pub mod hmac;
pub mod oauth2;

use crate::decode::upstream_error::{self, UpstreamError};
use crate::request::{Call, Request};
use crate::settings::Credentials;
use crate::time::Timestamp;
use hmac::LegacyAuth;
use oauth2::OAuth2;

/// The credentials of a source: tokens for API 2.0, signatures for API 1.0.
#[derive(Clone, Debug)]
pub enum Auth {
    /// API 1.0.
    Legacy(LegacyAuth),
    /// API 2.0.
    OAuth2(OAuth2),
}

/// The inputs of a signature besides the keys.
#[derive(Clone, Copy, Debug)]
pub struct SigningContext {
    /// The host's clock.
    pub now: Timestamp,
    /// The upstream's clock.
    pub upstream_now: Timestamp,
    /// A random number, different for each attempt.
    pub nonce: u128,
}

/// The shortest secret that is redacted: shorter ones would match unrelated text.
const REDACTED_BYTES_MIN: usize = 6;

/// Why a preflight response cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthError {
    /// The response cannot be used; the next one may differ. The payload is the reason, for people.
    Protocol(String),
    /// The credentials or the address were refused. The payload is the reason, for people.
    Refused(String),
}

/// Texts for errors about the credentials.
#[derive(Clone, Copy, Debug)]
pub struct AuthMessages {
    /// What messages call the preflight request.
    pub request_name: &'static str,
    /// Which settings to check when it is refused.
    pub advice: &'static str,
    /// How a call came to be refused again, as the end of its error: after its one retry.
    pub retry_description: &'static str,
}

impl Auth {
    /// Creates the state of fresh credentials.
    #[must_use]
    pub fn new(credentials: &Credentials) -> Self {
        match credentials {
            Credentials::Client {
                base_url,
                id,
                secret,
            } => Self::OAuth2(OAuth2::new(base_url, id, secret)),
            Credentials::Legacy(keys) => Self::Legacy(LegacyAuth::new(keys)),
        }
    }

    /// Returns whether the API can be called without a preflight request.
    #[must_use]
    pub fn is_ready(&self, now: Timestamp) -> bool {
        match self {
            Self::Legacy(legacy) => legacy.base_url().is_some(),
            Self::OAuth2(application) => application.token(now).is_some(),
        }
    }

    /// Returns the preflight request: for a token, or for the region.
    #[must_use]
    pub fn preflight_request(&self, context: SigningContext) -> Request {
        match self {
            Self::Legacy(legacy) => legacy.discovery(context),
            Self::OAuth2(application) => application.request(),
        }
    }

    /// Handles the successful response to [`Auth::preflight_request`]. Returns the name of an optional member
    /// that cannot be read.
    ///
    /// # Errors
    ///
    /// The response names a failure or does not hold what was asked for.
    pub fn handle_response(
        &mut self,
        body: &[u8],
        now: Timestamp,
    ) -> Result<Option<&'static str>, AuthError> {
        match self {
            Self::Legacy(legacy) => legacy.handle_response(body).map(|()| None),
            Self::OAuth2(application) => application.handle_response(body, now),
        }
    }

    /// Returns the request of a call, with its credentials; `None` where the origin is not known yet. See
    /// [`Auth::is_ready`].
    #[must_use]
    pub fn authorize(&self, call: Call, context: SigningContext) -> Option<Request> {
        let (origin, credentials) = match self {
            Self::Legacy(legacy) => (
                legacy.base_url()?,
                hmac::sign(&call, legacy.settings(), context),
            ),
            Self::OAuth2(application) => (application.base_url(), application.header(context.now)),
        };
        let mut request = call.at(origin);
        request.credentials = credentials;
        Some(request)
    }

    /// Parses the error in a body, and redacts the credentials where the upstream repeats them.
    #[must_use]
    pub fn read_error(&self, body: &[u8]) -> Option<UpstreamError> {
        upstream_error::read(body)?;
        // Redacted before parsing, because parsing cuts texts, and a part of a secret would not be found.
        let text = self.redact(String::from_utf8_lossy(body).into_owned());
        let error = upstream_error::read(text.as_bytes())?;
        // And redacted after it, because a secret may have been escaped.
        Some(UpstreamError {
            code: self.redact(error.code),
            message: self.redact(error.message),
        })
    }

    fn redact(&self, text: String) -> String {
        match self {
            Self::Legacy(legacy) => redacted(text, &legacy.settings().secrets()),
            Self::OAuth2(application) => redacted(text, &application.secrets()),
        }
    }

    /// Returns the region that discovery found.
    #[must_use]
    pub fn discovered_base_url(&self) -> Option<&str> {
        match self {
            Self::Legacy(legacy) => legacy.discovered_base_url(),
            Self::OAuth2(_) => None,
        }
    }

    /// Uses the region that discovery found earlier, unless the settings name one.
    pub fn restore_region(&mut self, origin: Option<&str>) {
        if let Self::Legacy(legacy) = self {
            legacy.restore_region(origin);
        }
    }

    /// Forgets the region that discovery found. Returns whether discovery can be repeated.
    pub fn forget_region(&mut self) -> bool {
        match self {
            Self::Legacy(legacy) => legacy.forget_region(),
            Self::OAuth2(_) => false,
        }
    }

    /// Returns the access token and the time until which it may be used, where there is one.
    #[must_use]
    pub fn export_token(&self, now: Timestamp) -> Option<(String, Timestamp)> {
        match self {
            Self::Legacy(_) => None,
            Self::OAuth2(application) => application.export_token(now),
        }
    }

    /// Restores the access token of an earlier session.
    pub fn restore_token(&mut self, (text, use_until): (String, Timestamp), now: Timestamp) {
        match self {
            Self::Legacy(_) => {}
            Self::OAuth2(application) => application.restore_token(text, use_until, now),
        }
    }

    /// Drops the token after the API refused it.
    pub fn forget_token(&mut self) {
        match self {
            Self::Legacy(_) => {}
            Self::OAuth2(application) => application.forget_token(),
        }
    }

    /// Returns the texts for errors about the credentials.
    #[must_use]
    pub const fn messages(&self) -> AuthMessages {
        match self {
            Self::Legacy(_) => AuthMessages {
                request_name: "discovery",
                advice: "check email and app_id, or set base_url to the host of the account's region",
                retry_description: "twice in a row",
            },
            Self::OAuth2(_) => AuthMessages {
                request_name: "token",
                advice: "check client_id and client_secret, and that the application is active",
                retry_description: "with a fresh token",
            },
        }
    }
}

/// Returns the text without these secrets.
fn redacted(mut text: String, secrets: &[&str]) -> String {
    for secret in secrets {
        if secret.len() >= REDACTED_BYTES_MIN {
            text = text.replace(secret, "[redacted]");
        }
    }
    text
}
