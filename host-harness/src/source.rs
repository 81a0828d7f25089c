//! A source that is ready to run: its component loaded, its settings resolved,
//! its way to the network open.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracing::warn;

use crate::allow_list::AllowList;
use crate::bindings::{Description, Limits};
use crate::engine::{
    BUILT_IN, CallError, Instance, InstanceSettings, Loaded, Sandbox, SourceShare,
};
use crate::exit::Failure;
use crate::outgoing::Outgoing;
use crate::secret::{Redactor, Secret};
use crate::settings::{Settings, SourceSettings, resolve};

/// Whether a source may reach the network.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reach {
    /// As far as its allow-list goes.
    Network,
    /// Not at all.
    Offline,
}

/// Components that are loaded, so that sources share one.
pub struct Components {
    sandbox: Sandbox,
    cache_dir: Option<PathBuf>,
    loaded: BTreeMap<Option<PathBuf>, (Loaded, Arc<Description>)>,
}

/// A source with all that its calls need.
pub struct Source {
    /// Its name.
    pub name: String,
    /// What its component says of itself.
    pub description: Arc<Description>,
    /// The limits of one poll.
    pub limits: Limits,
    /// Takes its secrets out of text.
    pub redactor: Redactor,
    loaded: Loaded,
    settings: Secret,
    instance: InstanceSettings,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Components {
    /// No component yet. Machine code is kept in `cache_dir`.
    pub fn new(cache_dir: Option<PathBuf>) -> Result<Self, Failure> {
        let sandbox = Sandbox::new().map_err(Failure::failed)?;
        Ok(Self {
            sandbox,
            cache_dir,
            loaded: BTreeMap::new(),
        })
    }

    /// A component and what it says of itself; the built-in one without a
    /// path.
    pub async fn get(
        &mut self,
        path: Option<&Path>,
    ) -> Result<(Loaded, Arc<Description>), Failure> {
        let key = path.map(Path::to_owned);
        if let Some((loaded, description)) = self.loaded.get(&key) {
            return Ok((loaded.clone(), Arc::clone(description)));
        }
        let name = path.map_or_else(
            || "the built-in component".to_owned(),
            |path| format!("component {}", path.display()),
        );
        let bad = |reason: &dyn fmt::Display| Failure::settings(format!("{name}: {reason}"));
        let loaded = match path {
            None => self.sandbox.load(BUILT_IN, self.cache_dir.as_deref()),
            Some(path) => {
                let wasm = fs::read(path).map_err(|error| bad(&error))?;
                self.sandbox.load(&wasm, self.cache_dir.as_deref())
            }
        }
        .map_err(|error| bad(&error))?;
        let description = describe(&loaded).await.map_err(|error| bad(&error))?;
        let description = Arc::new(description);
        self.loaded
            .insert(key, (loaded.clone(), Arc::clone(&description)));
        Ok((loaded, description))
    }

    /// Make a source ready.
    pub async fn source(
        &mut self,
        settings: &Settings,
        source: &SourceSettings,
        reach: Reach,
    ) -> Result<Source, Failure> {
        let (loaded, description) = self.get(source.component.as_deref()).await?;
        let resolved = resolve(
            &settings.file,
            &source.name,
            &source.settings,
            &description.settings_schema,
            &|name| std::env::var(name).ok(),
        )?;
        for warning in &resolved.warnings {
            warn!("{warning}");
        }
        let place = format!("{}: [[source]] `{}`", settings.file.display(), source.name);
        let entries = source.allow.as_ref().unwrap_or(&description.origins);
        let allow = AllowList::parse(entries)
            .map_err(|reason| Failure::settings(format!("{place}: `allow`: {reason}")))?;
        let outgoing = match reach {
            Reach::Network => Outgoing::new(&source.name, allow, source.ca_file.as_deref())
                .map_err(|reason| Failure::settings(format!("{place}: {reason}")))?,
            Reach::Offline => Outgoing::offline(&source.name, allow),
        };
        Ok(Source {
            name: source.name.clone(),
            description,
            limits: source.limits,
            redactor: resolved.redactor.clone(),
            loaded,
            settings: resolved.json,
            instance: InstanceSettings {
                source: source.name.clone(),
                outgoing,
                memory_bytes_max: source.memory_bytes_max,
                call_timeout: source.poll_timeout,
                redactor: resolved.redactor,
                share: SourceShare::default(),
            },
        })
    }
}

impl Source {
    /// A fresh instance of its component.
    pub async fn instance(&self) -> Result<Instance, CallError> {
        Instance::new(&self.loaded, &self.instance).await
    }

    /// One whose calls wait for nothing, and so need little time.
    pub async fn brief_instance(&self) -> Result<Instance, CallError> {
        let settings = InstanceSettings {
            call_timeout: self.instance.call_timeout.min(OFFLINE_CALL_TIMEOUT),
            ..self.instance.clone()
        };
        Instance::new(&self.loaded, &settings).await
    }

    /// Its settings as the component gets them.
    #[must_use]
    pub fn settings(&self) -> &Secret {
        &self.settings
    }
}

/// An instance that can be described and can normalize, and reaches nothing.
pub async fn offline_instance(loaded: &Loaded) -> Result<Instance, CallError> {
    let settings = InstanceSettings {
        source: "component".to_owned(),
        outgoing: Outgoing::offline("component", AllowList::default()),
        memory_bytes_max: OFFLINE_MEMORY_BYTES_MAX,
        call_timeout: OFFLINE_CALL_TIMEOUT,
        redactor: Redactor::default(),
        share: SourceShare::default(),
    };
    Instance::new(loaded, &settings).await
}

async fn describe(loaded: &Loaded) -> Result<Description, CallError> {
    offline_instance(loaded).await?.describe().await
}

/// As for sources.
const OFFLINE_MEMORY_BYTES_MAX: usize = 64 * 1024 * 1024;
/// These calls wait for nothing.
const OFFLINE_CALL_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(30);
