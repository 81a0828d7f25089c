//! What the admin server may change. Each change is completed even if its client has
//! disconnected.

use std::future::Future;
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use source_common::exit::Failure;
use source_common::line_numbers::KeyLineNumbers;
use tokio::task::spawn_blocking;

use super::files::{LoadedSettings, SettingsManager};
use super::{RunSettings, SourceChange};
use crate::admin::{Control, ControlError, PutMode};
use crate::connection_check::test_connection;
use crate::description::schema;
use crate::rewind::{RewindError, rewind};
use crate::settings::{SourceSettings, check_source_name, read_source_file, source_file_path};
use crate::source::component_location;
use crate::source_file::{Draft, SourceFile};

/// How long a change waits for its source to stop, which takes seconds unless its disk hangs.
const STOP_MAX: Duration = Duration::from_secs(20);

/// Changes the sources of a host whose settings are in files.
pub(crate) struct FileControl {
    settings_manager: Arc<SettingsManager>,
}

impl FileControl {
    pub(crate) fn new(settings_manager: Arc<SettingsManager>) -> Self {
        Self { settings_manager }
    }
}

#[async_trait]
impl Control for FileControl {
    async fn pause(&self, source: &str) -> Result<(), ControlError> {
        let (settings_manager, name) = (Arc::clone(&self.settings_manager), source.to_owned());
        run_uncancelled(async move { set_pause(&settings_manager, &name, true).await }).await
    }

    async fn resume(&self, source: &str) -> Result<(), ControlError> {
        let (settings_manager, name) = (Arc::clone(&self.settings_manager), source.to_owned());
        run_uncancelled(async move { set_pause(&settings_manager, &name, false).await }).await
    }

    async fn reset(
        &self,
        source: &str,
        streams: &[String],
        from_ms: i64,
    ) -> Result<(), ControlError> {
        let (settings_manager, name) = (Arc::clone(&self.settings_manager), source.to_owned());
        let streams = streams.to_vec();
        run_uncancelled(async move { reset(&settings_manager, &name, &streams, from_ms).await })
            .await
    }

    async fn check(&self, source: &str) -> Result<Value, ControlError> {
        let run_settings = usable_settings(&self.settings_manager, source)?;
        let components = &self.settings_manager.supervisor().context().components;
        let report = test_connection(components, &run_settings.settings).await;
        serde_json::to_value(report).map_err(|error| ControlError::Failed(error.to_string()))
    }

    async fn put(&self, source: &str, body: Value, mode: PutMode) -> Result<(), ControlError> {
        let (settings_manager, name) = (Arc::clone(&self.settings_manager), source.to_owned());
        run_uncancelled(async move { put(&settings_manager, &name, body, mode).await }).await
    }

    async fn delete(&self, source: &str) -> Result<(), ControlError> {
        let (settings_manager, name) = (Arc::clone(&self.settings_manager), source.to_owned());
        run_uncancelled(async move { delete(&settings_manager, &name).await }).await
    }

    async fn settings_file(&self, source: &str) -> Result<PathBuf, ControlError> {
        match self.settings_manager.supervisor().run_settings(source) {
            None => Err(no_source(source)),
            Some(Ok(run_settings)) => Ok(run_settings.settings.file.clone()),
            Some(Err(_)) => {
                let loaded = self.settings_manager.lock().await;
                if loaded.main_file_sources.contains(source) {
                    return Ok(self.settings_manager.main_file().to_owned());
                }
                let directory = loaded.sources_dir.as_ref();
                directory
                    .map(|directory| source_file_path(directory, source))
                    .ok_or_else(|| no_source(source))
            }
        }
    }
}

/// Carries out a change even if the request is cancelled.
async fn run_uncancelled<T: Send + 'static>(
    change: impl Future<Output = Result<T, ControlError>> + Send + 'static,
) -> Result<T, ControlError> {
    let changed = tokio::spawn(change).await;
    changed.unwrap_or_else(|error| Err(ControlError::Failed(error.to_string())))
}

fn no_source(name: &str) -> ControlError {
    ControlError::NotFound(format!(
        "there is no source {name:?}; GET /api/v1/sources lists them"
    ))
}

/// Returns the settings that a source runs with, or would run with.
fn usable_settings(
    settings_manager: &SettingsManager,
    name: &str,
) -> Result<Arc<RunSettings>, ControlError> {
    match settings_manager.supervisor().run_settings(name) {
        None => Err(no_source(name)),
        Some(Ok(run_settings)) => Ok(run_settings),
        Some(Err(failure)) => Err(ControlError::Conflict(format!(
            "the settings of source {name:?} cannot be used; correct them first: {failure}"
        ))),
    }
}

async fn set_pause(
    settings_manager: &SettingsManager,
    name: &str,
    is_paused: bool,
) -> Result<(), ControlError> {
    let supervisor = settings_manager.supervisor();
    let run_settings = supervisor
        .run_settings(name)
        .ok_or_else(|| no_source(name))?;
    if let Ok(run_settings) = run_settings
        && !run_settings.settings.enabled
    {
        return Err(ControlError::Conflict(format!(
            "source {name:?} is paused by `enabled = false` in {}; set `enabled = true` there to \
             resume it",
            run_settings.settings.file.display()
        )));
    }
    supervisor
        .set_pause(name, is_paused)
        .await
        .map_err(|error| {
            let directory = supervisor.context().state_dir.path().display();
            ControlError::Failed(format!(
                "the pause cannot be stored in {directory}: {error}; fix that, then try again"
            ))
        })
}

async fn reset(
    settings_manager: &SettingsManager,
    name: &str,
    streams: &[String],
    from_ms: i64,
) -> Result<(), ControlError> {
    usable_settings(settings_manager, name)?;
    let supervisor = settings_manager.supervisor();
    // Otherwise another reset of the source could change the checkpoint that is read here.
    let suspension = supervisor.suspend(name, STOP_MAX).await;
    let _suspension = suspension.map_err(|_| {
        ControlError::Failed(format!(
            "source {name:?} does not stop; check the log of the host, then try again"
        ))
    })?;
    // It may have been changed or removed meanwhile.
    let run_settings = usable_settings(settings_manager, name)?;
    let context = supervisor.context();
    let components = &context.components;
    let rewound = rewind(
        components,
        &run_settings.settings,
        &context.state_dir,
        streams,
        from_ms,
    )
    .await;
    rewound.map_err(|error| {
        let text = format!("source {name:?}: {error}");
        match error {
            RewindError::NothingCollected => ControlError::Conflict(text),
            RewindError::Refused(_) => ControlError::Invalid(vec![text]),
            RewindError::Failed(_) => ControlError::Failed(text),
        }
    })
}

/// Returns `sources_dir`, where the admin API writes sources.
fn directory(
    settings_manager: &SettingsManager,
    loaded: &LoadedSettings,
) -> Result<PathBuf, ControlError> {
    loaded.sources_dir.clone().ok_or_else(|| {
        ControlError::Conflict(format!(
            "{} has no `sources_dir`, where a source would be written; make a directory, set \
             `sources_dir` to it, and reload source-host",
            settings_manager.main_file().display()
        ))
    })
}

/// Refuses to change a source that the settings file describes.
fn refuse_main_file_source(
    settings_manager: &SettingsManager,
    loaded: &LoadedSettings,
    name: &str,
) -> Result<(), ControlError> {
    if loaded.main_file_sources.contains(name) {
        return Err(ControlError::Conflict(format!(
            "source {name:?} is in {}; change it there, then reload source-host",
            settings_manager.main_file().display()
        )));
    }
    Ok(())
}

async fn put(
    settings_manager: &Arc<SettingsManager>,
    name: &str,
    body: Value,
    mode: PutMode,
) -> Result<(), ControlError> {
    check_source_name(name).map_err(|reason| {
        ControlError::Invalid(vec![format!(
            "the name of a source {reason}; it is {name:?}"
        )])
    })?;
    let loaded = settings_manager.lock().await;
    let directory = directory(settings_manager, &loaded)?;
    refuse_main_file_source(settings_manager, &loaded, name)?;
    let inherited = settings_manager.inherited(&loaded);
    let file = SourceFile::new(&directory, name);
    let path = file.path().to_owned();
    // It may not be loaded yet.
    if mode == PutMode::Create && path.symlink_metadata().is_ok() {
        return Err(ControlError::already_exists(name));
    }
    let is_secret = secret_predicate(settings_manager, file.component()).await?;
    let drafted = spawn_blocking(move || file.draft(&body, &*is_secret)).await;
    let draft = drafted
        .map_err(|error| ControlError::Failed(error.to_string()))?
        .map_err(ControlError::Invalid)?;
    let table = draft.with_secrets();
    let settings =
        SourceSettings::from_table(&path, name, table, &KeyLineNumbers::default(), &inherited);
    let settings = settings.map_err(invalid)?;
    settings_manager
        .refuse_conflicts_with_others(&settings)
        .await
        .map_err(invalid)?;
    settings_manager
        .validate(&settings)
        .await
        .map_err(invalid)?;
    write(draft, mode).await.map_err(|error| {
        if mode == PutMode::Create && error.kind() == ErrorKind::AlreadyExists {
            return ControlError::already_exists(name);
        }
        ControlError::Failed(format!(
            "{}: cannot be written: {error}; fix that, then save again",
            path.display()
        ))
    })?;
    // As it will be read from now on, with references in place of secrets.
    let written = read_source_file(&path, name, &inherited);
    let settings = written.map_err(|failure| ControlError::Failed(failure.message))?;
    settings_manager
        .supervisor()
        .apply(SourceChange::Set(Box::new(settings)));
    Ok(())
}

fn invalid(failure: Failure) -> ControlError {
    ControlError::Invalid(vec![failure.message])
}

async fn write(draft: Draft, mode: PutMode) -> io::Result<()> {
    source_common::disk::blocking(move || match mode {
        PutMode::Create => draft.write_new(),
        PutMode::CreateOrReplace => draft.write(),
    })
    .await
}

type IsSecret = Box<dyn Fn(&str) -> bool + Send>;

/// Returns a function that reports whether a setting of a component is secret.
async fn secret_predicate(
    settings_manager: &SettingsManager,
    component: Option<PathBuf>,
) -> Result<IsSecret, ControlError> {
    let components = &settings_manager.supervisor().context().components;
    let failed = |failure: Failure| ControlError::Failed(failure.message);
    let component = components
        .get_or_load(&component_location(component.as_deref()))
        .await
        .map_err(failed)?;
    let schema = schema(component.description()).map_err(failed)?;
    Ok(Box::new(move |key| {
        let pointer = format!("/properties/{key}/writeOnly");
        schema.pointer(&pointer) == Some(&Value::Bool(true))
    }))
}

async fn delete(settings_manager: &SettingsManager, name: &str) -> Result<(), ControlError> {
    let supervisor = settings_manager.supervisor();
    if supervisor.run_settings(name).is_none() {
        return Err(no_source(name));
    }
    let loaded = settings_manager.lock().await;
    refuse_main_file_source(settings_manager, &loaded, name)?;
    let file = SourceFile::new(&directory(settings_manager, &loaded)?, name);
    let path = file.path().to_owned();
    let removed = source_common::disk::blocking(move || file.remove()).await;
    removed.map_err(|error| {
        ControlError::Failed(format!(
            "{}: cannot be removed: {error}; remove it by hand",
            path.display()
        ))
    })?;
    supervisor.apply(SourceChange::Remove(name.to_owned()));
    supervisor.forget_pause(name).await;
    Ok(())
}
