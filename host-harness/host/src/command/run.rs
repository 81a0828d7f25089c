//! `run`: collects and delivers until stopped or, with `--once`, until
//! caught up.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use source_common::exit::{Exit, Failure};
use source_runtime::shutdown;
use tracing::error;

use crate::fleet;
use crate::log;
use crate::run::{self, Options};
use crate::settings::Settings;

/// Runs the sources of a settings file.
pub async fn run(config: &Path, once: bool, watch: bool) -> Result<Exit, Failure> {
    let watch_since = watch.then(SystemTime::now);
    let settings = Settings::read(config)?;
    let (shutdown_trigger, shutdown) = shutdown::channel();
    let reload = (!once).then(Arc::default);
    let signals = tokio::spawn(shutdown::on_signal(
        shutdown_trigger.clone(),
        reload.clone(),
    ));
    let rotation = tokio::spawn(log::reopen_at_signal());
    let options = Options {
        once,
        progress: true,
        cache_dir: None,
        reload,
        watch_since,
        shutdown_trigger,
        shutdown,
    };
    let exit = match &settings.fleet {
        Some(fleet) => {
            fleet::run::run(&settings, fleet, options).await?;
            Exit::Done
        }
        None => run::run(settings, options).await?.exit(),
    };
    if signals.is_finished()
        && let Ok(Err(error)) = signals.await
    {
        error!("signals cannot be received: {error}");
    }
    rotation.abort();
    Ok(exit)
}
