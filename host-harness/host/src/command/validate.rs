//! `validate`: checks a settings file without the network.

use std::fmt::Write;
use std::path::Path;

use source_common::exit::{Exit, Failure};
use source_runtime::engine::CallError;
use source_runtime::source::{Components, NetworkAccess, Source};

use super::{cache_dir, print};
use crate::settings::{Settings, SourceSettings};
use crate::source::{self, try_settings};

/// Checks a settings file, including by its components. Every source
/// is checked; the failure has one line for each invalid one.
pub async fn validate(config: &Path) -> Result<Exit, Failure> {
    let settings = Settings::read(config)?;
    let components = source::components(&settings, cache_dir(&settings))?;
    let mut text = String::new();
    let faulty = settings.faulty.iter().map(|one| one.failure.clone());
    let mut failures: Vec<Failure> = faulty.collect();
    for source in &settings.sources {
        // Writing to a `String` cannot fail.
        match check(&components, source).await {
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
        is_retryable: false,
    })
}

async fn check(components: &Components, settings: &SourceSettings) -> Result<Source, Failure> {
    let source = source::ready(components, settings, NetworkAccess::Offline).await?;
    let asked = try_settings(&source, &settings.file, 1).await?;
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
