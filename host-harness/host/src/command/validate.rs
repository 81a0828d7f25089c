//! `validate`: checks a settings file without the network.

use std::fmt::Write;
use std::path::Path;

use source_common::exit::{Exit, Failure};
use source_common::section::at;
use source_common::trust_anchors;
use source_runtime::engine::CallError;
use source_runtime::source::{Components, NetworkAccess, Source};

use super::{cache_dir, print};
use crate::settings::{DeadLetterSettings, Settings, SourceSettings};
use crate::source::{self, try_settings};

/// Checks a settings file, including by its components. Every source
/// is checked; the failure has one line for each invalid one.
pub async fn validate(config: &Path) -> Result<Exit, Failure> {
    let settings = Settings::read(config)?;
    let components = source::components(&settings, cache_dir(&settings))?;
    let mut text = String::new();
    let faulty = settings
        .faulty_sources
        .iter()
        .map(|one| one.failure.clone());
    let mut failures: Vec<Failure> = faulty.collect();
    failures.extend(check_files(&settings));
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
        message: messages.join("\n"),
        is_retryable: false,
    })
}

/// Looks at the files and directories that a run would use, apart from those of the components'
/// settings.
fn check_files(settings: &Settings) -> Vec<Failure> {
    let mut failures = Vec::new();
    let mut note = |place: String, reason: String| {
        failures.push(Failure::settings(format!("{place}: {reason}")));
    };
    let state_dir = &settings.state_dir;
    if state_dir.exists() && !state_dir.is_dir() {
        let shown = state_dir.display();
        note(
            at(&settings.file, settings.state_dir_line),
            format!("`state_dir` is {shown}, which is a file; name a directory"),
        );
    }
    for source in &settings.sources {
        let checked = source.ca_file.as_deref().map(trust_anchors::check);
        if let Some(Err(reason)) = checked {
            note(source.place("ca_file"), reason);
        }
    }
    let outputs = settings.outputs.iter();
    let mut configs: Vec<_> = outputs
        .map(|output| (output.place.as_str(), &output.lines, &output.config))
        .collect();
    if let Some(DeadLetterSettings::Output(config)) = &settings.dead_letter {
        configs.push(("[dead_letter]", &settings.dead_letter_lines, config));
    }
    for (place, lines, config) in configs {
        if let Err(reason) = config.check_files() {
            let key = reason.split(' ').next().unwrap_or_default();
            note(
                format!("{}: {place}", at(&settings.file, lines.line(key))),
                reason,
            );
        }
    }
    failures
}

async fn check(components: &Components, settings: &SourceSettings) -> Result<Source, Failure> {
    let source = source::prepare(components, settings, NetworkAccess::Offline).await?;
    let asked = try_settings(&source, settings, 1).await?;
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
