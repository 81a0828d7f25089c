//! How a command ends: the documented exit codes, and the sentence that goes
//! with each.

use std::fmt;
use std::process::ExitCode;

/// An exit code of `source-host`, the gravest last. They are a contract with whoever starts it.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Exit {
    /// What was asked for has been done.
    Done,
    /// Nothing collects, or nothing has for a long time: for `status`.
    NotRunning,
    /// The upstream or an output failed, or another run holds the state
    /// directory.
    Failed,
    /// The upstream refused the credentials.
    Unauthorized,
    /// The settings file, or something it names, cannot be used.
    BadSettings,
}

impl Exit {
    /// The number that the shell sees. Usage errors are 2 and end in the
    /// argument parser.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::BadSettings => 78, // EX_CONFIG
            Self::Done => 0,
            Self::Failed => 1,
            Self::NotRunning => 3,
            Self::Unauthorized => 77, // EX_NOPERM
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// A reason to end, as one line for people, with the code that belongs to it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Failure {
    /// How the process ends.
    pub exit: Exit,
    /// A lower-case clause that names the thing; never a secret.
    pub message: String,
    /// Whether another try may work without a change of the settings file:
    /// what it names, such as a file, may be there by then.
    pub is_retryable: bool,
}

impl Failure {
    /// Settings that cannot be used.
    pub fn settings(message: impl Into<String>) -> Self {
        Self {
            exit: Exit::BadSettings,
            message: message.into(),
            is_retryable: false,
        }
    }

    /// Something that failed and may work another time.
    pub fn failed(message: impl Into<String>) -> Self {
        Self {
            exit: Exit::Failed,
            message: message.into(),
            is_retryable: true,
        }
    }

    /// Credentials that the upstream refused.
    pub fn unauthorized(message: impl Into<String>) -> Self {
        Self {
            exit: Exit::Unauthorized,
            message: message.into(),
            is_retryable: false,
        }
    }

    /// The same failure, of something that may be repaired while the host
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
