//! The documented exit codes of commands, and the errors that end them.

use std::fmt;
use std::process::ExitCode;

/// An exit code of `source-host`, most severe last. The codes are a stable interface.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Exit {
    /// The command succeeded.
    Done,
    /// `status` only: no host is running, or a source has not stored anything for hours.
    Unhealthy,
    /// The upstream or an output failed, or another run holds the state
    /// directory.
    Failed,
    /// The upstream refused the credentials.
    Unauthorized,
    /// The settings file, or something it names, cannot be used.
    BadSettings,
}

impl Exit {
    /// Returns the process exit code. Usage errors are 2 and end in the
    /// argument parser.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::BadSettings => 78, // EX_CONFIG
            Self::Done => 0,
            Self::Failed => 1,
            Self::Unhealthy => 3,
            Self::Unauthorized => 77, // EX_NOPERM
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// An error that ends a command, or the start or the run of a source: a message of one line, or of one line
/// for each settings error, and the exit code where it ends a command.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// A lower-case clause that names the thing; never a secret.
    pub message: String,
    /// Whether a retry may succeed without a change of the settings file, for example because a
    /// file that it names appears later.
    pub is_retryable: bool,
}

impl Failure {
    /// Creates a failure for settings that cannot be used.
    pub fn settings(message: impl Into<String>) -> Self {
        Self {
            exit: Exit::BadSettings,
            message: message.into(),
            is_retryable: false,
        }
    }

    /// Creates a failure that may not recur on another try.
    pub fn failed(message: impl Into<String>) -> Self {
        Self {
            exit: Exit::Failed,
            message: message.into(),
            is_retryable: true,
        }
    }

    /// Creates a failure for credentials that the upstream refused.
    pub fn unauthorized(message: impl Into<String>) -> Self {
        Self {
            exit: Exit::Unauthorized,
            message: message.into(),
            is_retryable: false,
        }
    }

    /// Returns the same failure marked retryable, for a cause that may be repaired while the host
    /// runs.
    #[must_use]
    pub fn retryable(self) -> Self {
        Self {
            is_retryable: true,
            ..self
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}
