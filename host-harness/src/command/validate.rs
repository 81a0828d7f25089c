//! `validate`: is the settings file good? Without the network.

use std::fmt::Write;
use std::path::Path;

use super::{cache_dir, print};
use crate::bindings::{Limits, PollError};
use crate::engine::CallError;
use crate::exit::{Exit, Failure};
use crate::settings::{Settings, SourceSettings};
use crate::source::{Components, Reach, Source};
use crate::source_loop::settings_error;

/// Check a settings file, and what its components say about it. Every source
/// is checked; the failure has a line for each that cannot be used.
pub async fn validate(config: &Path) -> Result<Exit, Failure> {
    let settings = Settings::read(config)?;
    let components = Components::of(&settings, cache_dir(&settings))?;
    let mut text = String::new();
    let mut failures = Vec::new();
    for source in &settings.sources {
        // Writing to a `String` cannot fail.
        match check(&components, &settings, source).await {
            Ok(source) => {
                let _ = writeln!(
                    text,
                    "source `{}`: settings are good ({} {})",
                    source.name, source.description.name, source.description.version
                );
            }
            Err(failure) => failures.push(failure),
        }
    }
    let Some(gravest) = failures.iter().map(|failure| failure.exit).max() else {
        let _ = writeln!(text, "{} is valid", config.display());
        print(&text)?;
        return Ok(Exit::Done);
    };
    print(&text)?;
    let messages: Vec<String> = failures.into_iter().map(|one| one.message).collect();
    Err(Failure {
        exit: gravest,
        message: messages.join("\nerror: "),
        may_pass: false,
    })
}

async fn check(
    components: &Components,
    settings: &Settings,
    source: &SourceSettings,
) -> Result<Source, Failure> {
    let source = components.source(settings, source, Reach::Offline).await?;
    let asked = ask(&source, &settings.file, 1).await?;
    asked.map_err(|error| {
        let file = settings.file.display();
        let advice = error.advice();
        let message = format!("{file}: source `{}`: {error}; {advice}", source.name);
        match error {
            CallError::NoAddressSpace(_) => Failure::failed(message),
            CallError::OutOfMemory { .. } | CallError::TimedOut(_) | CallError::Trapped(_) => {
                Failure::settings(message)
            }
        }
    })?;
    Ok(source)
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
        Ok(mut instance) => instance.poll(source.settings(), None, None, limits).await,
        Err(error) => Err(error),
    };
    let answer = match polled {
        Ok(answer) => answer,
        Err(error) => return Ok(Err(error)),
    };
    match answer {
        Err(PollError::Settings(error)) => {
            let reason = settings_error(&source.name, &error.setting, &error.detail);
            Err(Failure::settings(format!("{file}: {reason}")))
        }
        Err(PollError::Denied(origin)) => Err(fault(&source.denied(&origin))),
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
