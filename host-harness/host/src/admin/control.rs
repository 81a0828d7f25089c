//! What the admin server asks of the running host.

use std::path::PathBuf;

use async_trait::async_trait;
use serde_json::Value;

/// Changes sources and asks about them. Each method takes the name of a source.
#[async_trait]
pub trait Control: Send + Sync {
    /// Pauses a source until it is resumed, also across a restart.
    async fn pause(&self, source: &str) -> Result<(), ControlError>;

    /// Resumes a source that was paused by [`Self::pause`].
    async fn resume(&self, source: &str) -> Result<(), ControlError>;

    /// Has streams, or with none all, collected again from a time on, in milliseconds since the
    /// epoch.
    async fn reset(
        &self,
        source: &str,
        streams: &[String],
        from_ms: i64,
    ) -> Result<(), ControlError>;

    /// Tests the connection of a source, and returns what was found of each stream.
    async fn check(&self, source: &str) -> Result<Value, ControlError>;

    /// Adds a source or replaces its settings.
    async fn put(&self, source: &str, body: Value) -> Result<(), ControlError>;

    /// Removes a source; its position is kept.
    async fn delete(&self, source: &str) -> Result<(), ControlError>;

    /// Returns the file that has the settings of a source.
    async fn settings_file(&self, source: &str) -> Result<PathBuf, ControlError>;
}

/// Why something that was asked for was not done. Each text says what to do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ControlError {
    /// There is no such source.
    NotFound(String),
    /// It cannot be done in the present state of the source.
    Conflict(String),
    /// What was given cannot be used: each mistake.
    Invalid(Vec<String>),
    /// It was tried and failed.
    Failed(String),
}
