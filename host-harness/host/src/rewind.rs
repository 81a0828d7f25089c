//! Moves the checkpoint of a source back, as its component does it. What is collected again has the
//! same ids.

use std::fmt;
use std::sync::Arc;

use source_common::disk::blocking;
use source_common::exit::Failure;
use source_runtime::source::{Components, NetworkAccess};
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

/// Has the streams, or all where none is named, collected again from a time on, in milliseconds
/// since the epoch. The source must not run: it would store its own checkpoint over this one.
pub(crate) async fn rewind(
    components: &Components,
    settings: &SourceSettings,
    state: &Arc<StateDir>,
    streams: &[String],
    from_ms: i64,
) -> Result<(), RewindError> {
    let failed =
        |reason: &dyn fmt::Display| RewindError::Failed(Failure::failed(reason.to_string()));
    let mut record = state.load(&settings.name).map_err(RewindError::Failed)?;
    let checkpoint = record.checkpoint.as_ref();
    let checkpoint = checkpoint.ok_or(RewindError::NothingCollected)?;
    let source = source::ready(components, settings, NetworkAccess::Offline).await;
    let source = source.map_err(RewindError::Failed)?;
    let instance = source.short_timeout_instance().await;
    let rewound = instance
        .map_err(|error| failed(&error))?
        .rewind(source.settings(), checkpoint, streams, from_ms)
        .await
        .map_err(|error| failed(&error))?
        .map_err(RewindError::Refused)?;
    record.checkpoint = Some(rewound);
    let state = Arc::clone(state);
    let stored = blocking(move || state.store(&record)).await;
    stored.map_err(|error| failed(&format!("its checkpoint cannot be stored: {error}")))
}
