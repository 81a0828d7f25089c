//! The interface by which the admin server changes the running host.

use std::path::PathBuf;

use async_trait::async_trait;
use serde_json::Value;

/// Changes sources and tests their connections. Each method takes the name of a source.
#[async_trait]
pub trait Control: Send + Sync {
    /// Pauses a source until it is resumed, also across a restart.
    async fn pause(&self, source: &str) -> Result<(), ControlError>;

    /// Resumes a source that was paused by [`Self::pause`].
    async fn resume(&self, source: &str) -> Result<(), ControlError>;

    /// Resets streams (all of them if empty), so that they are collected again from a time on, in
    /// milliseconds since the epoch.
    async fn reset(
        &self,
        source: &str,
        streams: &[String],
        from_ms: i64,
    ) -> Result<(), ControlError>;

    /// Tests the connection of a source, and returns the result for each stream.
    async fn check(&self, source: &str) -> Result<Value, ControlError>;

    /// Adds a source, or replaces its settings if `mode` allows it.
    async fn put(&self, source: &str, body: Value, mode: PutMode) -> Result<(), ControlError>;

    /// Removes a source; its checkpoint is kept.
    async fn delete(&self, source: &str) -> Result<(), ControlError>;

    /// Returns the path of the file with a source's settings.
    async fn settings_file(&self, source: &str) -> Result<PathBuf, ControlError>;
}

/// Whether a source that exists may be replaced.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PutMode {
    /// Only a new source is added.
    Create,
    /// A source of that name is replaced.
    CreateOrReplace,
}

/// Why a request was not carried out. Each text says what to do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ControlError {
    /// There is no such source.
    NotFound(String),
    /// The source's current state does not allow it.
    Conflict(String),
    /// The request is invalid; one text for each error.
    Invalid(Vec<String>),
    /// The operation failed.
    Failed(String),
}

impl ControlError {
    /// Returns the error of [`PutMode::Create`] where there is such a source.
    #[must_use]
    pub fn already_exists(source: &str) -> Self {
        Self::Conflict(format!(
            "there is a source {source:?} already; choose another name, or edit that source"
        ))
    }
}
