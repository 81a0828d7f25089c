//! Why a receiver has not accepted events, for logs.

use std::fmt;
use std::ops::Deref;

/// The reason of an [`OutputError`](crate::OutputError).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reason {
    text: String,
    /// HTTP status of the response, where there was one.
    pub status: Option<u16>,
}

impl From<String> for Reason {
    fn from(text: String) -> Self {
        Self { text, status: None }
    }
}

impl Deref for Reason {
    type Target = str;

    fn deref(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
