//! Moves the checkpoint of a source back, as its component does it. What is collected again has the
//! same ids.

use std::fmt;
use std::sync::Arc;

use source_common::disk::blocking;
use source_common::exit::Failure;
use source_runtime::source::{ComponentLoader, NetworkAccess};
use source_runtime::store::StateDir;

use crate::settings::SourceSettings;
use crate::source;

/// Why a checkpoint was not moved.
#[derive(Debug)]
pub(crate) enum RewindError {
    /// There is none.
    NothingCollected,
    /// The component does not accept the streams or the time.
    Refused(String),
    /// It was tried and failed.
    Failed(Failure),
}

impl fmt::Display for RewindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NothingCollected => f.write_str(
                "has collected nothing yet; set `start` in its settings to begin earlier",
            ),
            Self::Refused(reason) => f.write_str(reason),
            Self::Failed(failure) => write!(f, "{failure}"),
        }
    }
}

/// Moves the checkpoint back so that the given streams (all if `streams` is empty) are collected
/// again from `from_ms`, in milliseconds since the epoch. The source must not run until this
/// returns, because it would overwrite the new checkpoint, and nothing else may change the
/// checkpoint meanwhile.
pub(crate) async fn rewind(
    components: &ComponentLoader,
    settings: &SourceSettings,
    state_dir: &Arc<StateDir>,
    streams: &[String],
    from_ms: i64,
) -> Result<(), RewindError> {
    let failed =
        |reason: &dyn fmt::Display| RewindError::Failed(Failure::failed(reason.to_string()));
    let mut source_state = state_dir
        .load(&settings.name)
        .map_err(RewindError::Failed)?;
    let checkpoint = source_state.checkpoint.as_ref();
    let checkpoint = checkpoint.ok_or(RewindError::NothingCollected)?;
    let source = source::prepare(components, settings, NetworkAccess::Offline).await;
    let source = source.map_err(RewindError::Failed)?;
    let instance = source.short_call_instance().await;
    let rewound = instance
        .map_err(|error| failed(&error))?
        .rewind(source.settings(), checkpoint, streams, from_ms)
        .await
        .map_err(|error| failed(&error))?
        .map_err(RewindError::Refused)?;
    source_state.checkpoint = Some(rewound);
    let state_dir = Arc::clone(state_dir);
    let stored = blocking(move || state_dir.store(&source_state)).await;
    stored.map_err(|error| failed(&format!("its checkpoint cannot be stored: {error}")))
}
