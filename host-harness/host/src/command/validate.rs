//! `validate`: checks a settings file without the network.

use std::fmt::Write;
use std::path::Path;

use source_common::exit::{Exit, Failure};
use source_common::section::file_location;
use source_common::trust_anchors;
use source_runtime::engine::CallError;
use source_runtime::source::{ComponentLoader, NetworkAccess, Source};

use super::{cache_dir, print};
use crate::admin;
use crate::settings::{DeadLetterSettings, Settings, SourceSettings};
use crate::source::{self, try_settings};

/// Checks a settings file, also with its components. Every source is checked; the failure has one
/// line for each invalid one.
pub async fn validate(config: &Path) -> Result<Exit, Failure> {
    let settings = Settings::read(config)?;
    let components = source::component_loader(&settings, cache_dir(&settings))?;
    let mut text = String::new();
    let faulty_sources = settings
        .faulty_sources
        .iter()
        .map(|faulty| faulty.failure.clone());
    let mut failures: Vec<Failure> = faulty_sources.collect();
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
    let joined = join_failures(failures);
    if joined.is_none() {
        let _ = writeln!(text, "{} is valid", config.display());
    }
    print(&text)?;
    joined.map_or(Ok(Exit::Done), Err)
}

/// Returns one failure with the messages of all and the gravest exit code; `None` if there are none.
pub(super) fn join_failures(failures: Vec<Failure>) -> Option<Failure> {
    let gravest = failures.iter().map(|failure| failure.exit).max()?;
    let messages: Vec<String> = failures
        .into_iter()
        .map(|failure| failure.message)
        .collect();
    Some(Failure {
        exit: gravest,
        message: messages.join("\n"),
        is_retryable: false,
    })
}

/// Checks the files and directories that a run would use, except those of the components' settings.
fn check_files(settings: &Settings) -> Vec<Failure> {
    let mut failures = Vec::new();
    let mut note = |location: String, reason: String| {
        failures.push(Failure::settings(format!("{location}: {reason}")));
    };
    let state_dir = &settings.state_dir;
    if state_dir.exists() && !state_dir.is_dir() {
        let shown = state_dir.display();
        note(
            file_location(&settings.file, settings.lines.line("state_dir")),
            format!("`state_dir` is {shown}, which is a file; name a directory"),
        );
    }
    for source in &settings.sources {
        let checked = source.ca_file.as_deref().map(trust_anchors::check);
        if let Some(Err(reason)) = checked {
            note(source.location("ca_file"), reason);
        }
    }
    let lines = &settings.lines;
    let outputs = settings.outputs.iter().map(|output| {
        let location = output.location.as_str();
        (location, output.lines.clone(), output.config.check_files())
    });
    let mut checked: Vec<_> = outputs.collect();
    if let Some(DeadLetterSettings::Output { config, .. }) = &settings.dead_letter {
        let lines = lines.table("dead_letter");
        checked.push(("[dead_letter]", lines, config.check_files()));
    }
    if let Some(tls) = settings.admin.as_ref().and_then(|admin| admin.tls.as_ref()) {
        let lines = lines.table("admin").table("tls");
        checked.push(("[admin] tls", lines, admin::check_certificate(tls)));
    }
    if let Some(fleet) = &settings.fleet {
        let options = fleet.connection.options();
        checked.push(("[fleet]", lines.table("fleet"), options.map(drop)));
    }
    for (location, lines, checked) in checked {
        // The reason begins with the key.
        if let Err(reason) = checked {
            let key = reason.split(' ').next().unwrap_or_default();
            let at = file_location(&settings.file, lines.line(key));
            note(format!("{at}: {location}"), reason);
        }
    }
    failures
}

async fn check(components: &ComponentLoader, settings: &SourceSettings) -> Result<Source, Failure> {
    let source = source::prepare(components, settings, NetworkAccess::Offline).await?;
    let tried = try_settings(&source, settings, 1).await?;
    tried.map_err(|error| {
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
