//! Creates a runnable source from a `[[source]]` of the settings file.

use std::path::{Path, PathBuf};

use source_common::exit::Failure;
use source_common::secret::Secret;
use source_runtime::bindings::PollError;
use source_runtime::engine::CallError;
use source_runtime::source::{
    Component, ComponentLocation, Components, NetworkAccess, Source, SourceOptions,
};
use source_runtime::source_loop::settings_error;
use tracing::warn;

use crate::settings::{Resolved, Settings, SourceSettings, resolve};

/// The component that this program was built with.
pub const BUILT_IN: &[u8] = include_bytes!(env!("SOURCE_HOST_COMPONENT"));

/// Returns the location of the component at a path; the built-in one if `None`.
#[must_use]
pub fn component_at(path: Option<&Path>) -> ComponentLocation {
    match path {
        None => ComponentLocation::BuiltIn("the built-in component", BUILT_IN),
        Some(path) => ComponentLocation::File(path.to_owned()),
    }
}

/// Creates the component loader for a settings file, with the memory limit that
/// its sources need.
pub fn components(settings: &Settings, cache_dir: Option<PathBuf>) -> Result<Components, Failure> {
    let sizes = settings
        .sources
        .iter()
        .map(|source| source.memory_bytes_max);
    Components::new(cache_dir, sizes.max().unwrap_or_default())
}

/// Prepares a source: loads its component, resolves its settings, creates its
/// HTTP client.
pub async fn ready(
    components: &Components,
    source: &SourceSettings,
    access: NetworkAccess,
) -> Result<Source, Failure> {
    let (component, resolved) = load(components, source).await?;
    for warning in &resolved.warnings {
        warn!("{warning}");
    }
    make(&component, source, resolved, access)
}

/// Makes a source ready with what its settings refer to now; `None` where that has not changed.
pub(crate) async fn ready_again(
    components: &Components,
    source: &SourceSettings,
    access: NetworkAccess,
    current: &Secret,
) -> Result<Option<Source>, Failure> {
    let (component, resolved) = load(components, source).await?;
    if resolved.json == *current {
        return Ok(None);
    }
    make(&component, source, resolved, access).map(Some)
}

/// Checks whether a source can be run with its settings, without the network.
pub(crate) async fn validate(
    components: &Components,
    source: &SourceSettings,
) -> Result<(), Failure> {
    let (component, resolved) = load(components, source).await?;
    let ready = make(&component, source, resolved, NetworkAccess::Offline)?;
    // A component that fails in another way is tried again by its loop.
    let _ = try_settings(&ready, &source.file, 0).await?;
    Ok(())
}

/// The component of a source, and its settings as that gets them.
async fn load(
    components: &Components,
    source: &SourceSettings,
) -> Result<(Component, Resolved), Failure> {
    let component = components
        .get(&component_at(source.component.as_deref()))
        .await?;
    let resolved = resolve(
        &source.file,
        &source.name,
        &source.settings,
        &component.description().settings_schema,
        &|name| std::env::var(name).ok(),
    )?;
    Ok((component, resolved))
}

fn make(
    component: &Component,
    source: &SourceSettings,
    resolved: Resolved,
    access: NetworkAccess,
) -> Result<Source, Failure> {
    let ready = || {
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
    ready().map_err(|failure: Failure| Failure {
        message: format!(
            "{}: [[source]] `{}`: {failure}",
            source.file.display(),
            source.name
        ),
        ..failure
    })
}

/// Has the component check its settings, by an offline poll: components do
/// so before their first request, and with one request allowed the error names the origin of
/// that request. A failure of the component is not an error of the settings.
pub(crate) async fn try_settings(
    source: &Source,
    config: &Path,
    requests_max: u32,
) -> Result<Result<(), CallError>, Failure> {
    let file = config.display();
    let fault = |error: &dyn std::fmt::Display| {
        Failure::settings(format!("{file}: source `{}`: {error}", source.name))
    };
    let answer = match source.try_poll(requests_max).await {
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
