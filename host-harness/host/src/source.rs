//! Creates a runnable source from a `[[source]]` of the settings file.

use std::path::{Path, PathBuf};

use source_common::exit::Failure;
use source_common::secret::Secret;
use source_common::section::file_location;
use source_runtime::allow_list::AllowSetting;
use source_runtime::bindings::PollError;
use source_runtime::engine::CallError;
use source_runtime::source::{
    Component, ComponentLoader, ComponentLocation, NetworkAccess, Source, SourceOptions,
};
use source_runtime::source_loop::settings_error;
use tracing::warn;

use crate::settings::{ResolvedSettings, Settings, SourceSettings, resolve};

/// The component that this program was built with.
pub const BUILT_IN_COMPONENT: &[u8] = include_bytes!(env!("SOURCE_HOST_COMPONENT"));

/// Returns the location of the component at a path; the built-in one if `None`.
#[must_use]
pub fn component_location(path: Option<&Path>) -> ComponentLocation {
    match path {
        None => ComponentLocation::BuiltIn("the built-in component", BUILT_IN_COMPONENT),
        Some(path) => ComponentLocation::File(path.to_owned()),
    }
}

/// Creates the component loader for a settings file, with the memory limit that
/// its sources need.
pub fn component_loader(
    settings: &Settings,
    cache_dir: Option<PathBuf>,
) -> Result<ComponentLoader, Failure> {
    let sizes = settings
        .sources
        .iter()
        .map(|source| source.memory_bytes_max);
    ComponentLoader::new(cache_dir, sizes.max().unwrap_or_default())
}

/// Prepares a source: loads its component, resolves its settings, creates its
/// HTTP client.
pub async fn prepare(
    components: &ComponentLoader,
    source: &SourceSettings,
    access: NetworkAccess,
) -> Result<Source, Failure> {
    let (component, resolved) = load(components, source).await?;
    for warning in &resolved.warnings {
        warn!("{warning}");
    }
    build_source(&component, source, resolved, access)
}

/// Prepares a source with the present values that its settings refer to; `None` if they result in
/// `current_settings`, those that it has now.
pub(crate) async fn prepare_if_changed(
    components: &ComponentLoader,
    source: &SourceSettings,
    access: NetworkAccess,
    current_settings: &Secret,
) -> Result<Option<Source>, Failure> {
    let (component, resolved) = load(components, source).await?;
    if resolved.json == *current_settings {
        return Ok(None);
    }
    build_source(&component, source, resolved, access).map(Some)
}

/// Checks whether a source can be run with its settings, without the network.
pub(crate) async fn validate(
    components: &ComponentLoader,
    source: &SourceSettings,
) -> Result<(), Failure> {
    let (component, resolved) = load(components, source).await?;
    let prepared = build_source(&component, source, resolved, NetworkAccess::Offline)?;
    // Other failures of a component are retried by the source's loop.
    let _ = try_settings(&prepared, source, 0).await?;
    Ok(())
}

/// Loads the component of a source, and resolves the settings that it gets.
async fn load(
    components: &ComponentLoader,
    source: &SourceSettings,
) -> Result<(Component, ResolvedSettings), Failure> {
    let component = components
        .get_or_load(&component_location(source.component.as_deref()))
        .await
        .map_err(|failure| match &source.component {
            None => failure,
            Some(_) => Failure {
                message: format!("{}: {failure}", source.location("component")),
                ..failure
            },
        })?;
    let resolved = resolve(
        &source.file,
        &source.name,
        &source.component_settings,
        &component.description().settings_schema,
        &|name| std::env::var(name).ok(),
    )?;
    Ok((component, resolved))
}

fn build_source(
    component: &Component,
    source: &SourceSettings,
    resolved: ResolvedSettings,
    access: NetworkAccess,
) -> Result<Source, Failure> {
    let build = || {
        let options = SourceOptions {
            redactor: resolved.redactor,
            allow: source.allow.clone(),
            proxies: source.proxies.clone(),
            ca_file: source.ca_file.clone(),
            memory_bytes_max: source.memory_bytes_max,
            poll_timeout: source.poll_timeout,
            limits: source.limits,
            ..SourceOptions::new(component, source.name.clone(), resolved.json)?
        };
        Source::new(component, options, access)
    };
    build().map_err(|failure: Failure| Failure {
        message: format!(
            "{}: {failure}",
            source.location(leading_key(&failure.message))
        ),
        ..failure
    })
}

/// Returns the setting that a message begins with, to find its line.
fn leading_key(message: &str) -> &str {
    let word = message.split([' ', ':', '`']).find(|word| !word.is_empty());
    word.unwrap_or_default()
}

/// Splits the settings error of a component into one for each setting. The component has the
/// further errors in the detail of the first, each as ``; `setting`: detail``.
fn split_settings_error<'a>(setting: &'a str, detail: &'a str) -> Vec<(&'a str, String)> {
    let mut pieces = detail.split("; `");
    let first = pieces.next().unwrap_or_default();
    let mut errors = vec![(setting, first.to_owned())];
    for piece in pieces {
        match (piece.split_once("`: "), errors.last_mut()) {
            (Some((setting, detail)), _) if !setting.contains('`') => {
                errors.push((setting, detail.to_owned()));
            }
            (_, Some((_, last))) => {
                last.push_str("; `");
                last.push_str(piece);
            }
            (_, None) => {}
        }
    }
    errors
}

/// Has the component check its settings with a poll that reaches nothing: it checks them before it
/// uses the network, and with one request allowed it names the origin that it would connect to. The
/// inner error is a failure of the component itself, not an error in the settings file.
pub(crate) async fn try_settings(
    source: &Source,
    settings: &SourceSettings,
    requests_max: u32,
) -> Result<Result<(), CallError>, Failure> {
    let response = match source.test_poll(requests_max).await {
        Ok(response) => response,
        Err(error) => return Ok(Err(error)),
    };
    match response {
        Err(PollError::Settings(error)) => {
            let errors = split_settings_error(&error.setting, &error.detail);
            let lines = errors.into_iter().map(|(setting, detail)| {
                let at = file_location(
                    &settings.file,
                    settings.component_settings.lines.line(setting),
                );
                format!("{at}: {}", settings_error(&source.name, setting, &detail))
            });
            let message: Vec<String> = lines.collect();
            Err(Failure::settings(message.join("\n")))
        }
        Err(PollError::Denied(origin)) if !source.allows(&origin) => {
            let key = match settings.allow {
                AllowSetting::Extend(_) => "allow",
                AllowSetting::Replace(_) => "allow_only",
            };
            let (location, reason) = (settings.location(key), source.denial_advice(&origin));
            Err(Failure::settings(format!("{location}: {reason}")))
        }
        Ok(_)
        | Err(
            PollError::Denied(_)
            | PollError::Internal(_)
            | PollError::Protocol(_)
            | PollError::Throttled(_)
            | PollError::Unauthorized(_)
            | PollError::Unavailable(_)
            | PollError::UnusableCheckpoint(_),
        ) => Ok(Ok(())),
    }
}
