//! `validate`: is the settings file good? Without the network.

use std::fmt::Write;
use std::path::Path;

use super::{cache_dir, print};
use crate::bindings::{Limits, PollError};
use crate::engine::CallError;
use crate::exit::{Exit, Failure};
use crate::settings::Settings;
use crate::source::{Components, Reach, Source};
use crate::source_loop::settings_error;

/// Check a settings file, and what its components say about it.
pub async fn validate(config: &Path) -> Result<Exit, Failure> {
    let settings = Settings::read(config)?;
    let mut components = Components::new(cache_dir(&settings))?;
    let mut text = String::new();
    for source in &settings.sources {
        let source = components.source(&settings, source, Reach::Offline).await?;
        ask(&source, config, 1).await?.map_err(|error| {
            let file = config.display();
            let advice = error.advice();
            Failure::settings(format!(
                "{file}: source `{}`: {error}; {advice}",
                source.name
            ))
        })?;
        // Writing to a `String` cannot fail.
        let _ = writeln!(
            text,
            "source `{}`: settings are good ({} {})",
            source.name, source.description.name, source.description.version
        );
    }
    let _ = writeln!(text, "{} is valid", config.display());
    print(&text)?;
    Ok(Exit::Done)
}

/// A poll that reaches nothing: the component checks its settings before it
/// asks for the network, and with one request allowed it names the origin it
/// would go to. What is wrong with the component is not wrong with the file.
pub(crate) async fn ask(
    source: &Source,
    config: &Path,
    requests_max: u32,
) -> Result<Result<(), CallError>, Failure> {
    let file = config.display();
    let fault = |error: &dyn std::fmt::Display| {
        Failure::settings(format!("{file}: source `{}`: {error}", source.name))
    };
    let limits = Limits {
        max_requests: requests_max,
        ..source.limits
    };
    let polled = match source.brief_instance().await {
        Ok(mut instance) => instance.poll(source.settings(), None, limits).await,
        Err(error) => Err(error),
    };
    let answer = match polled {
        Ok(answer) => answer,
        Err(error) => return Ok(Err(error)),
    };
    match answer {
        Err(PollError::Settings(error)) => {
            let detail = source.redactor.redact(&error.detail);
            let reason = settings_error(&source.name, &error.setting, &detail);
            Err(Failure::settings(format!("{file}: {reason}")))
        }
        Err(PollError::Denied(origin)) => {
            let origin = source.redactor.redact(&origin);
            Err(fault(&format!(
                "{origin} is not on its allow-list; add allow = [\"{origin}\"]"
            )))
        }
        Ok(_)
        | Err(
            PollError::Internal(_)
            | PollError::Protocol(_)
            | PollError::Throttled(_)
            | PollError::Unauthorized(_)
            | PollError::Unavailable(_)
            | PollError::UnusableCheckpoint(_),
        ) => Ok(Ok(())),
    }
}
