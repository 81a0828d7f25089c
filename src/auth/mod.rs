//! Credentials: what has to be asked before the API can be, and what each call carries.

pub mod hmac;
pub mod oauth2;

use crate::decode::fail::{self, UpstreamError};
use crate::request::Request;
use crate::settings::{Credentials, Settings};
use crate::time::Timestamp;
use hmac::Hmac;
use oauth2::OAuth2;

/// The credentials of a source at work: tokens for API 2.0, signatures for API 1.0.
#[derive(Clone, Debug)]
pub enum Auth {
    /// API 1.0.
    Hmac(Hmac),
    /// API 2.0.
    OAuth2(OAuth2),
}

/// What a call is stamped with, from outside.
#[derive(Clone, Copy, Debug)]
pub struct Stamp {
    /// The host's clock.
    pub now: Timestamp,
    /// The upstream's clock.
    pub upstream_now: Timestamp,
    /// Random, and another for each attempt.
    pub nonce: u128,
}

/// Shorter ones would be found in innocent words.
const REDACTED_BYTES_MIN: usize = 6;

/// Why an answer does not let the API be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AskError {
    /// The answer is not what the documentation says.
    Protocol(String),
    /// The credentials were refused. The payload is the upstream's code and message.
    Refused(String),
}

/// What is said of the credentials.
#[derive(Clone, Copy, Debug)]
pub struct Words {
    /// What is asked for before the first call.
    pub asks: &'static str,
    /// What to look at when that is refused.
    pub advice: &'static str,
    /// How a call was repeated that was refused.
    pub repeated: &'static str,
}

impl Auth {
    /// The credentials of these settings.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        match settings.credentials {
            Credentials::Client { .. } => Self::OAuth2(OAuth2::default()),
            Credentials::Keys(_) => Self::Hmac(Hmac),
        }
    }

    /// Whether the API can be called, or something has to be asked first.
    #[must_use]
    pub fn is_ready(&self, settings: &Settings, now: Timestamp) -> bool {
        match self {
            Self::Hmac(_) => !settings.base_url.is_empty(),
            Self::OAuth2(tokens) => tokens.token(now).is_some(),
        }
    }

    /// What has to be asked first: for a token, or for the region.
    #[must_use]
    pub fn ask(&self, settings: &Settings, stamp: Stamp) -> Request {
        match self {
            Self::Hmac(_) => hmac::discovery(settings, stamp),
            Self::OAuth2(_) => OAuth2::request(settings),
        }
    }

    /// Takes the successful answer to [`Auth::ask`].
    ///
    /// # Errors
    ///
    /// The answer names a failure or does not hold what was asked for.
    pub fn handle_answer(
        &mut self,
        settings: &mut Settings,
        body: &[u8],
        now: Timestamp,
    ) -> Result<(), AskError> {
        match self {
            Self::Hmac(_) => {
                settings.base_url = hmac::region(body)?;
                Ok(())
            }
            Self::OAuth2(tokens) => tokens.handle_answer(body, now),
        }
    }

    /// Gives a call what shows who makes it.
    pub fn authorize(&self, request: &mut Request, settings: &Settings, stamp: Stamp) {
        request.credentials = match self {
            Self::Hmac(_) => hmac::sign(request, settings, stamp),
            Self::OAuth2(tokens) => tokens.header(stamp.now),
        };
    }

    /// Reads the error that a body names, without the credentials where the upstream repeats them.
    #[must_use]
    pub fn read_error(&self, settings: &Settings, body: &[u8]) -> Option<UpstreamError> {
        fail::read(body)?;
        // Before it is read: what is read is cut, and a part of a secret would not be found.
        let token = match self {
            Self::Hmac(_) => None,
            Self::OAuth2(tokens) => tokens.any_token(),
        };
        let mut text = String::from_utf8_lossy(body).into_owned();
        for secret in settings.secrets().into_iter().chain(token) {
            if secret.len() >= REDACTED_BYTES_MIN {
                text = text.replace(secret, "[redacted]");
            }
        }
        fail::read(text.as_bytes())
    }

    /// The access token and the time until which it may be used, where there is one.
    #[must_use]
    pub fn export_token(&self, now: Timestamp) -> Option<(String, Timestamp)> {
        match self {
            Self::Hmac(_) => None,
            Self::OAuth2(tokens) => tokens.export(now),
        }
    }

    /// Takes over the access token of an earlier session.
    pub fn import_token(&mut self, (text, use_until): (String, Timestamp), now: Timestamp) {
        match self {
            Self::Hmac(_) => {}
            Self::OAuth2(tokens) => tokens.import(text, use_until, now),
        }
    }

    /// Forgets what was refused.
    pub fn forget(&mut self) {
        match self {
            Self::Hmac(_) => {}
            Self::OAuth2(tokens) => tokens.forget(),
        }
    }

    /// What is said of the credentials.
    #[must_use]
    pub const fn words(&self) -> Words {
        match self {
            Self::Hmac(_) => Words {
                asks: "discovery",
                advice: "check email and app_id, or set base_url to the host of the account's region",
                repeated: "twice in a row",
            },
            Self::OAuth2(_) => Words {
                asks: "token",
                advice: "check client_id and client_secret, and that the application is active",
                repeated: "with a fresh token",
            },
        }
    }
}
