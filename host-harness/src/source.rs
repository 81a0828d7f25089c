//! A source that is ready to run: its component loaded, its settings resolved,
//! its way to the network open.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OnceCell;
use tracing::warn;

use crate::allow_list::{AllowList, Origin};
use crate::bindings::{Description, Limits};
use crate::description;
use crate::engine::{
    BUILT_IN, CallError, Instance, InstanceSettings, Loaded, Sandbox, SourceShare,
};
use crate::exit::Failure;
use crate::outgoing::Outgoing;
use crate::secret::{Redactor, Secret};
use crate::settings::{Settings, SourceSettings, resolve};
use crate::untrusted_text::{DETAIL_BYTES_MAX, Sanitizer};

/// Whether a source may reach the network.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reach {
    /// As far as its allow-list goes.
    Network,
    /// Not at all.
    Offline,
}

/// Components that are loaded, so that sources share one. Clones share them
/// too. Different components are loaded side by side: one whose `describe`
/// does not return holds up the sources that name it and no other.
#[derive(Clone)]
pub struct Components {
    shared: Arc<Shared>,
}

struct Shared {
    sandbox: Sandbox,
    cache_dir: Option<PathBuf>,
    /// By path; a load that fails leaves its cell empty for the next try.
    loaded: Mutex<BTreeMap<Option<PathBuf>, Arc<OnceCell<Component>>>>,
}

type Component = (Loaded, Arc<Description>);

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
    /// Finds those of its secrets that no checkpoint may contain.
    pub credentials: Redactor,
    allow: AllowList,
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
        Self::with_memory(cache_dir, OFFLINE_MEMORY_BYTES_MAX)
    }

    /// No component yet, with the memory that the sources of a settings file
    /// may have.
    pub fn of(settings: &Settings, cache_dir: Option<PathBuf>) -> Result<Self, Failure> {
        let sizes = settings
            .sources
            .iter()
            .map(|source| source.memory_bytes_max);
        Self::with_memory(cache_dir, sizes.fold(OFFLINE_MEMORY_BYTES_MAX, usize::max))
    }

    fn with_memory(cache_dir: Option<PathBuf>, bytes_max: usize) -> Result<Self, Failure> {
        let sandbox = Sandbox::new(bytes_max).map_err(Failure::failed)?;
        Ok(Self {
            shared: Arc::new(Shared {
                sandbox,
                cache_dir,
                loaded: Mutex::default(),
            }),
        })
    }

    /// A component and what it says of itself; the built-in one without a
    /// path.
    pub async fn get(&self, path: Option<&Path>) -> Result<Component, Failure> {
        let path = path.map(Path::to_owned);
        let cell = {
            let mut loaded = self
                .shared
                .loaded
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            Arc::clone(loaded.entry(path.clone()).or_default())
        };
        let component = cell.get_or_try_init(|| self.load(path)).await?;
        Ok(component.clone())
    }

    async fn load(&self, path: Option<PathBuf>) -> Result<Component, Failure> {
        let name = path.as_ref().map_or_else(
            || "the built-in component".to_owned(),
            |path| format!("component {}", path.display()),
        );
        let bad = |reason: &dyn fmt::Display| {
            // What is wrong with a component may be told in its own words.
            let reason = Sanitizer::default().text(&reason.to_string(), DETAIL_BYTES_MAX);
            Failure::settings(format!("{name}: {reason}")).that_may_pass()
        };
        let shared = Arc::clone(&self.shared);
        // Compiling takes seconds of a processor.
        let compiled = tokio::task::spawn_blocking(move || shared.load(path.as_deref())).await;
        let loaded = compiled
            .map_err(|error| bad(&error))?
            .map_err(|error| bad(&error))?;
        let described = describe(&loaded).await.map_err(|error| match error {
            CallError::NoAddressSpace(_) => {
                Failure::failed(format!("{name}: {error}; {}", error.advice()))
            }
            CallError::OutOfMemory { .. } | CallError::TimedOut(_) | CallError::Trapped(_) => {
                bad(&error)
            }
        })?;
        description::verify(&described).map_err(|reason| bad(&reason))?;
        Ok((loaded, Arc::new(described)))
    }

    /// Make a source ready.
    pub async fn source(
        &self,
        settings: &Settings,
        source: &SourceSettings,
        reach: Reach,
    ) -> Result<Source, Failure> {
        self.ready(&settings.file, source, reach).await
    }

    /// Make a source of the settings file at `file` ready.
    pub(crate) async fn ready(
        &self,
        file: &Path,
        source: &SourceSettings,
        reach: Reach,
    ) -> Result<Source, Failure> {
        let (loaded, description) = self.get(source.component.as_deref()).await?;
        let resolved = resolve(
            file,
            &source.name,
            &source.settings,
            &description.settings_schema,
            &|name| std::env::var(name).ok(),
        )?;
        for warning in &resolved.warnings {
            warn!("{warning}");
        }
        let place = format!("{}: [[source]] `{}`", file.display(), source.name);
        let bad = |reason: String| Failure::settings(format!("{place}: {reason}"));
        let allow = AllowList::new(
            source.allow.clone(),
            &resolved.origins,
            &description.origins,
        )
        .map_err(bad)?;
        let outgoing = match reach {
            Reach::Network => Outgoing::new(&source.name, allow.clone(), source.ca_file.as_deref())
                .map_err(|reason| bad(reason).that_may_pass())?,
            Reach::Offline => Outgoing::offline(&source.name, allow.clone()),
        };
        Ok(Source {
            name: source.name.clone(),
            description,
            limits: source.limits,
            redactor: resolved.redactor.clone(),
            credentials: resolved.credentials,
            allow,
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

impl Shared {
    fn load(&self, path: Option<&Path>) -> Result<Loaded, String> {
        let cache_dir = self.cache_dir.as_deref();
        match path {
            None => self.sandbox.load(BUILT_IN, cache_dir),
            Some(path) => {
                let wasm = fs::read(path).map_err(|error| error.to_string())?;
                self.sandbox.load(&wasm, cache_dir)
            }
        }
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

    /// What to do about an origin of which the component says that its host
    /// refused it, as a clause.
    #[must_use]
    pub fn denied(&self, origin: &str) -> String {
        let name = &self.name;
        match Origin::parse(origin) {
            None => format!("the component says that `{origin}` was refused, which is no origin"),
            Some(parsed) if self.allow.allows(&parsed) => format!(
                "{origin} is on the allow-list of `{name}`, but the name resolves to an address \
                 that is not public; the log has the line that would allow it"
            ),
            Some(parsed) => format!(
                "{origin} is not on the allow-list of `{name}`; write in its [[source]]: {}",
                self.allow.line_that_allows(&parsed)
            ),
        }
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
