//! A source that is ready to run: its component loaded, its settings resolved,
//! its way to the network open.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value};
use source_common::delivery::Kind;
use source_common::exit::Failure;
use source_common::secret::{Redactor, Secret};
use tokio::sync::OnceCell;

use crate::allow_list::{AllowList, AllowSetting, Origin};
use crate::bindings::{Description, Limits};
use crate::description;
use crate::engine::{
    CallError, CompiledComponent, Instance, InstanceSettings, Sandbox, SourceBudget,
};
use crate::lease::{Lease, SourceLease};
use crate::outgoing::{Outgoing, RequestObserver};
use crate::untrusted_text::{DETAIL_BYTES_MAX, Sanitizer};

/// Generous: a component works on one batch at a time and needs a few MiB.
pub const MEMORY_BYTES_MAX_DEFAULT: usize = 64 * 1024 * 1024;
/// A batch may need several requests that each may take a minute.
pub const POLL_TIMEOUT_DEFAULT: Duration = Duration::from_secs(300);
/// Events and bytes: large enough that a call costs little, small enough to
/// stay in the cache of a processor. Requests: one call shall return within a
/// minute or so, also over a slow line.
pub const LIMITS_DEFAULT: Limits = Limits {
    max_events: 1_000,
    max_bytes: 1024 * 1024,
    max_requests: 50,
};

/// Whether a source may reach the network.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NetworkAccess {
    /// As far as its allow-list goes.
    Online,
    /// Not at all.
    Offline,
}

/// Where the bytes of a component are.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum ComponentLocation {
    /// In the program, which calls it by this name.
    BuiltIn(&'static str, &'static [u8]),
    /// In a file.
    File(PathBuf),
}

/// What a source is, besides its component.
#[derive(Debug)]
pub struct SourceOptions {
    /// Its name: that of its files, and of it in logs.
    pub name: String,
    /// Its settings as the component gets them: a JSON object.
    pub settings: Secret,
    /// Takes its secrets out of text.
    pub redactor: Redactor,
    /// Finds those of its secrets that no checkpoint may contain.
    pub checkpoint_secrets: Redactor,
    /// Which origins it may reach, besides those that the component describes.
    pub allow: AllowSetting,
    /// Origins that its settings name, such as a `base_url`.
    pub origins: Vec<String>,
    /// Trust anchors besides the system's.
    pub ca_file: Option<PathBuf>,
    /// The memory of an instance. It may not be more than what the
    /// [`Components`] were made for.
    pub memory_bytes_max: usize,
    /// How long one call may take.
    pub poll_timeout: Duration,
    /// The limits of one poll.
    pub limits: Limits,
}

impl SourceOptions {
    /// Settings (a JSON object, as the component gets it) with the limits that
    /// most sources need. Its credentials and origins are the settings that
    /// the component's schema marks as such, with `writeOnly` and with the
    /// format `origin`.
    pub fn new(component: &Component, name: String, settings: Secret) -> Result<Self, Failure> {
        let object: Map<String, Value> = serde_json::from_str(settings.expose())
            .map_err(|error| Failure::settings(format!("settings: {error}")))?;
        let schema: Value = serde_json::from_str(&component.description.settings_schema)
            .map_err(|error| Failure::settings(format!("settings schema: {error}")))?;
        let marked = |mark: &str, wanted: Value| -> Vec<String> {
            let has_mark = |key: &str| {
                let property = schema.get("properties").and_then(|all| all.get(key));
                property.and_then(|property| property.get(mark)) == Some(&wanted)
            };
            let marked = object.iter().filter(|(key, _)| has_mark(key));
            marked
                .filter_map(|(_, value)| value.as_str().map(str::to_owned))
                .collect()
        };
        let credentials = Redactor::new(marked("writeOnly", Value::Bool(true)));
        Ok(Self {
            name,
            redactor: credentials.clone(),
            checkpoint_secrets: credentials,
            allow: AllowSetting::default(),
            origins: marked("format", Value::from("origin")),
            ca_file: None,
            memory_bytes_max: MEMORY_BYTES_MAX_DEFAULT,
            poll_timeout: POLL_TIMEOUT_DEFAULT,
            limits: LIMITS_DEFAULT,
            settings,
        })
    }
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
    /// A load that fails leaves its cell empty for the next try.
    loaded: Mutex<BTreeMap<ComponentLocation, Arc<OnceCell<Component>>>>,
}

/// A component that is loaded, and what it says of itself.
#[derive(Clone)]
pub struct Component {
    loaded: CompiledComponent,
    description: Arc<Description>,
    kinds: Arc<[Kind]>,
}

impl Component {
    /// What the component says of itself.
    #[must_use]
    pub fn description(&self) -> &Arc<Description> {
        &self.description
    }

    /// An instance that can be described and can normalize, and reaches nothing.
    pub async fn offline_instance(&self) -> Result<Instance, CallError> {
        offline_instance(&self.loaded).await
    }
}

/// A source with all that its calls need.
pub struct Source {
    /// Its name.
    pub name: String,
    /// What its component says of itself.
    pub description: Arc<Description>,
    /// The kinds of its events.
    pub kinds: Arc<[Kind]>,
    /// The limits of one poll.
    pub limits: Limits,
    /// Takes its secrets out of text.
    pub redactor: Redactor,
    /// Finds those of its secrets that no checkpoint may contain.
    pub checkpoint_secrets: Redactor,
    allow: AllowList,
    loaded: CompiledComponent,
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
    /// No component yet. Machine code is kept in `cache_dir`; no instance may
    /// have more memory than `memory_bytes_max`, or than
    /// [`OFFLINE_MEMORY_BYTES_MAX`] where that is more.
    pub fn new(cache_dir: Option<PathBuf>, memory_bytes_max: usize) -> Result<Self, Failure> {
        let memory_bytes_max = memory_bytes_max.max(OFFLINE_MEMORY_BYTES_MAX);
        let sandbox = Sandbox::new(memory_bytes_max).map_err(Failure::failed)?;
        Ok(Self {
            shared: Arc::new(Shared {
                sandbox,
                cache_dir,
                loaded: Mutex::default(),
            }),
        })
    }

    /// Loads a component, or returns the one that is.
    pub async fn get(&self, wasm: &ComponentLocation) -> Result<Component, Failure> {
        let cell = {
            let mut loaded = self
                .shared
                .loaded
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            Arc::clone(loaded.entry(wasm.clone()).or_default())
        };
        let component = cell.get_or_try_init(|| self.load(wasm)).await?;
        Ok(component.clone())
    }

    async fn load(&self, wasm: &ComponentLocation) -> Result<Component, Failure> {
        let name = match wasm {
            ComponentLocation::BuiltIn(name, _) => (*name).to_owned(),
            ComponentLocation::File(path) => format!("component {}", path.display()),
        };
        let bad = |reason: &dyn fmt::Display| {
            // An error about a component may quote its text.
            let reason = Sanitizer::default().text(&reason.to_string(), DETAIL_BYTES_MAX);
            Failure::settings(format!("{name}: {reason}")).retryable()
        };
        let (shared, wasm) = (Arc::clone(&self.shared), wasm.clone());
        // Compiling takes seconds of a processor.
        let compiled = tokio::task::spawn_blocking(move || shared.load(&wasm)).await;
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
        let kinds = described.kinds.iter().map(|kind| Kind {
            name: kind.name.clone(),
            stream: kind.stream.clone(),
        });
        Ok(Component {
            loaded,
            kinds: kinds.collect(),
            description: Arc::new(described),
        })
    }
}

impl Shared {
    fn load(&self, wasm: &ComponentLocation) -> Result<CompiledComponent, String> {
        let cache_dir = self.cache_dir.as_deref();
        match wasm {
            ComponentLocation::BuiltIn(_, wasm) => self.sandbox.load(wasm, cache_dir),
            ComponentLocation::File(path) => {
                let wasm = fs::read(path).map_err(|error| error.to_string())?;
                self.sandbox.load(&wasm, cache_dir)
            }
        }
    }
}

impl Source {
    /// Makes a source of a component ready. The error is a clause about the
    /// source; one that may pass is about a file that it names.
    pub fn new(
        component: &Component,
        options: SourceOptions,
        access: NetworkAccess,
    ) -> Result<Self, Failure> {
        let description = Arc::clone(&component.description);
        let allow = AllowList::new(options.allow, &options.origins, &description.origins)
            .map_err(Failure::settings)?;
        let outgoing = match access {
            NetworkAccess::Online => {
                Outgoing::new(&options.name, allow.clone(), options.ca_file.as_deref())
                    .map_err(|reason| Failure::settings(reason).retryable())?
            }
            NetworkAccess::Offline => Outgoing::offline(&options.name, allow.clone()),
        };
        Ok(Self {
            name: options.name.clone(),
            description,
            kinds: Arc::clone(&component.kinds),
            limits: options.limits,
            redactor: options.redactor.clone(),
            checkpoint_secrets: options.checkpoint_secrets,
            allow,
            loaded: component.loaded.clone(),
            settings: options.settings,
            instance: InstanceSettings {
                source: options.name,
                outgoing,
                memory_bytes_max: options.memory_bytes_max,
                call_timeout: options.poll_timeout,
                redactor: options.redactor,
                share: SourceBudget::default(),
            },
        })
    }

    /// A fresh instance of its component.
    pub async fn instance(&self) -> Result<Instance, CallError> {
        Instance::new(&self.loaded, &self.instance).await
    }

    /// One whose calls wait for nothing, and so need little time.
    pub async fn short_timeout_instance(&self) -> Result<Instance, CallError> {
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

    /// Has its requests observed from now on. Only the first observer is taken.
    pub fn observe_requests(&self, observer: Arc<dyn RequestObserver>) {
        self.instance.outgoing.observe(observer);
    }

    /// Works only while this lease is held, from now on. Only the first lease is taken.
    pub fn require_lease(&self, lease: Arc<dyn Lease>) {
        self.instance.outgoing.lease().set(lease);
    }

    /// Needs the lease that another source needs.
    pub(crate) fn take_lease_of(&self, other: &Self) {
        if let Some(lease) = other.lease().get() {
            self.require_lease(lease);
        }
    }

    pub(crate) fn lease(&self) -> SourceLease {
        self.instance.outgoing.lease().clone()
    }

    /// Its settings as the component gets them.
    #[must_use]
    pub fn settings(&self) -> &Secret {
        &self.settings
    }
}

async fn offline_instance(loaded: &CompiledComponent) -> Result<Instance, CallError> {
    let settings = InstanceSettings {
        source: "component".to_owned(),
        outgoing: Outgoing::offline("component", AllowList::default()),
        memory_bytes_max: OFFLINE_MEMORY_BYTES_MAX,
        call_timeout: OFFLINE_CALL_TIMEOUT,
        redactor: Redactor::default(),
        share: SourceBudget::default(),
    };
    Instance::new(loaded, &settings).await
}

async fn describe(loaded: &CompiledComponent) -> Result<Description, CallError> {
    offline_instance(loaded).await?.describe().await
}

/// What an instance has that is asked what it is, or to normalize.
pub const OFFLINE_MEMORY_BYTES_MAX: usize = 64 * 1024 * 1024;
/// These calls wait for nothing.
const OFFLINE_CALL_TIMEOUT: Duration = Duration::from_secs(30);
