//! `reset`: collects streams of a source again from a chosen time.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use source_common::exit::{Exit, Failure};
use source_common::timestamp::time_text;
use source_runtime::store::{self, StateDir, epoch_ms};

use super::{cache_dir, print};
use crate::rewind::{RewindError, rewind};
use crate::settings::Settings;
use crate::source;

/// The arguments of `reset`.
#[derive(Debug)]
pub struct ResetArgs {
    /// Name of the source.
    pub source: String,
    /// Its streams; empty means every stream that the settings select.
    pub streams: Vec<String>,
    /// Start time: an RFC 3339 time, or a duration ago, like `24h`.
    pub from: String,
}

/// Rewinds the checkpoint of a source, using the component. Events collected again have
/// the same ids. No host may be running, since it would overwrite the checkpoint.
pub async fn reset(config: &Path, reset: &ResetArgs) -> Result<Exit, Failure> {
    let mut settings = Settings::read_omitting_unresolved(config)?;
    settings.select_source(&reset.source)?;
    let from_ms = parse_from(&reset.from, SystemTime::now())?;
    store::check_same_user(&settings.state_dir)?;
    let state_dir = Arc::new(StateDir::open(&settings.state_dir)?);
    let components = source::component_loader(&settings, cache_dir(&settings))?;
    for source_settings in &settings.sources {
        let name = &source_settings.name;
        rewind(
            &components,
            source_settings,
            &state_dir,
            &reset.streams,
            from_ms,
        )
        .await
        .map_err(|error| match &error {
            RewindError::Failed(failure) if failure.exit == Exit::BadSettings => failure.clone(),
            RewindError::Failed(_) | RewindError::NothingCollected | RewindError::Refused(_) => {
                Failure::failed(format!("source `{name}`: {error}"))
            }
        })?;
        let streams = if reset.streams.is_empty() {
            "all its streams".to_owned()
        } else {
            reset.streams.join(", ")
        };
        print(&format!(
            "source `{name}`: the next run collects {streams} again from {}; events that were \
             delivered before come again with the same ids\n",
            time_text(from_ms.unsigned_abs())
        ))?;
    }
    Ok(Exit::Done)
}

/// Parses an RFC 3339 time or a duration ago into milliseconds since the epoch.
fn parse_from(text: &str, now: SystemTime) -> Result<i64, Failure> {
    let from = match humantime::parse_duration(text) {
        Ok(ago) => now.checked_sub(ago),
        Err(_) => humantime::parse_rfc3339_weak(text).ok(),
    };
    let from = from.filter(|from| *from > SystemTime::UNIX_EPOCH);
    let from = from.and_then(|from| i64::try_from(epoch_ms(from)).ok());
    from.ok_or_else(|| {
        Failure::settings(format!(
            "--from {text:?} is not a time; write one like 2026-11-01T00:00:00Z, or how long ago, like 24h"
        ))
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_time_is_one_of_rfc_3339_or_a_time_ago() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_770_000_000);
        let parsed = |text: &str| parse_from(text, now).ok();
        assert_eq!(parsed("24h"), Some((1_770_000_000 - 86_400) * 1000));
        assert_eq!(parsed("2026-02-01T00:00:00Z"), Some(1_769_904_000_000));
        assert_eq!(parsed("2026-02-01 00:00:00"), Some(1_769_904_000_000));
        for text in [
            "",
            "yesterday",
            "-1h",
            "9000000000h",
            "2026-13-01T00:00:00Z",
        ] {
            let failure = parse_from(text, now).unwrap_err();
            assert!(failure.message.contains("like 24h"), "{text}");
        }
    }
}
