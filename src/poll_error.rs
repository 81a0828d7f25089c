//! Errors with which a poll fails as a whole.

use crate::checkpoint::CheckpointError;
use crate::settings::SettingsError;

/// Why a poll failed as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PollError {
    /// The host refused an origin.
    Denied(String),
    /// The upstream's response was not in its documented form.
    Protocol(Failure),
    /// The settings cannot be used.
    Settings(SettingsError),
    /// The upstream asked for fewer requests.
    Throttled(Failure),
    /// The upstream refused the credentials.
    Unauthorized(String),
    /// The upstream could not be reached, or returned a server error.
    Unavailable(Failure),
    /// The checkpoint is not one of this component.
    UnusableCheckpoint(CheckpointError),
}

impl PollError {
    /// Returns the failure, where a retry may help.
    #[must_use]
    pub const fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Protocol(failure) | Self::Throttled(failure) | Self::Unavailable(failure) => {
                Some(failure)
            }
            Self::Denied(_)
            | Self::Settings(_)
            | Self::Unauthorized(_)
            | Self::UnusableCheckpoint(_) => None,
        }
    }

    /// Returns the error with another wait, where it has one.
    #[must_use]
    pub fn with_retry_after_ms(mut self, wait_ms: i64) -> Self {
        if let Self::Protocol(failure) | Self::Throttled(failure) | Self::Unavailable(failure) =
            &mut self
        {
            failure.retry_after_ms = u64::try_from(wait_ms).unwrap_or(0);
        }
        self
    }
}

/// A failure and how long to wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// For people, without secrets.
    pub detail: String,
    /// How long to wait before the next poll.
    pub retry_after_ms: u64,
}

impl Failure {
    /// Creates a failure that may be tried again at once.
    #[must_use]
    pub fn new(detail: &str) -> Self {
        Self {
            detail: detail.to_owned(),
            retry_after_ms: 0,
        }
    }
}
