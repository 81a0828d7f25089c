//! A source that is ready to run: its component loaded, its settings resolved,
//! its HTTP client created.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value};
use source_common::delivery::Kind;
use source_common::exit::Failure;
use source_common::proxy::Proxies;
use source_common::secret::{Redactor, Secret};
use tokio::sync::OnceCell;

use crate::allow_list::{AllowList, AllowSetting, Origin};
use crate::bindings::{Batch, Description, Limits, PollError};
use crate::description;
use crate::engine::{
    CallError, CompiledComponent, Instance, InstanceSettings, Sandbox, SourceAccounting,
};
use crate::lease::{Lease, SourceLease};
use crate::outgoing::{ConnectionPools, OutgoingHttp, RequestObserver};
use crate::poll_slots::PollSlots;
use crate::untrusted_text::{DETAIL_BYTES_MAX, Sanitizer};

/// Default memory limit of an instance. A component processes one batch at a time and needs a few
/// MiB, so this is generous.
pub const MEMORY_BYTES_MAX_DEFAULT: usize = 64 * 1024 * 1024;
/// Default time limit of a call. A batch may need several requests, each of up to a minute.
pub const POLL_TIMEOUT_DEFAULT: Duration = Duration::from_secs(300);
/// Default limits of a poll. Events and bytes: large enough for low overhead per call, small enough
/// for the processor's cache. Requests: few enough that a call returns within about a minute, even
/// over a slow network.
pub const LIMITS_DEFAULT: Limits = Limits {
    max_events: 1_000,
    max_bytes: 1024 * 1024,
    max_requests: 50,
};

/// Whether a source may use the network.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NetworkAccess {
    /// As far as its allow-list permits.
    Online,
    /// Not at all.
    Offline,
}

/// Where a component is loaded from.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum ComponentLocation {
    /// Embedded in the program: its name and its bytes.
    BuiltIn(&'static str, &'static [u8]),
    /// In a file.
    File(PathBuf),
}

impl ComponentLocation {
    /// Returns its name in messages.
    fn name(&self) -> String {
        match self {
            Self::BuiltIn(name, _) => (*name).to_owned(),
            Self::File(path) => format!("component {}", path.display()),
        }
    }
}

/// The options of a source.
#[derive(Debug)]
pub struct SourceOptions {
    /// Name of the source, in the names of its files and in logs.
    pub name: String,
    /// The settings in the form that the component gets: a JSON object.
    pub settings: Secret,
    /// Redacts its secrets from text.
    pub redactor: Redactor,
    /// Detects those of its secrets that no checkpoint may contain.
    pub credential_detector: Redactor,
    /// The allowed origins, and whether they extend or replace those that the component describes.
    pub allow: AllowSetting,
    /// Origins that its settings name, such as a `base_url`.
    pub origins: Vec<String>,
    /// The proxies that it is reached through.
    pub proxies: Proxies,
    /// Trust anchors besides the system's.
    pub ca_file: Option<PathBuf>,
    /// Memory limit of an instance. It may not exceed the limit that the
    /// [`ComponentLoader`] was created with.
    pub memory_bytes_max: usize,
    /// Time limit of one call.
    pub poll_timeout: Duration,
    /// The limits of one poll.
    pub limits: Limits,
}

impl SourceOptions {
    /// Creates options with the default limits from settings (a JSON object, as the component
    /// gets it). Credentials and origins are the settings that
    /// the component's schema marks as such, with `writeOnly` and with the
    /// format `origin`. The name is the tenant where the settings have none.
    pub fn new(component: &Component, name: String, settings: Secret) -> Result<Self, Failure> {
        let mut object: Map<String, Value> = serde_json::from_str(settings.expose())
            .map_err(|error| Failure::settings(format!("settings: {error}")))?;
        let schema: Value = serde_json::from_str(&component.description.settings_schema)
            .map_err(|error| Failure::settings(format!("settings schema: {error}")))?;
        let settings = if set_default_tenant(&mut object, &schema, &name) {
            Secret::new(Value::Object(object.clone()).to_string())
        } else {
            settings
        };
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
        let credential_detector = Redactor::new(marked("writeOnly", Value::Bool(true)));
        Ok(Self {
            name,
            redactor: credential_detector.clone(),
            credential_detector,
            allow: AllowSetting::default(),
            origins: marked("format", Value::from("origin")),
            proxies: Proxies::default(),
            ca_file: None,
            memory_bytes_max: MEMORY_BYTES_MAX_DEFAULT,
            poll_timeout: POLL_TIMEOUT_DEFAULT,
            limits: LIMITS_DEFAULT,
            settings,
        })
    }
}

/// The setting with the tenant's name.
const TENANT: &str = "tenant";

/// Sets the tenant to the name of the source where the component's schema has that setting and
/// the settings do not, as the contract requires of a host. Returns whether it did.
pub fn set_default_tenant(settings: &mut Map<String, Value>, schema: &Value, name: &str) -> bool {
    let properties = schema.get("properties");
    let is_missing = properties.is_some_and(|properties| properties.get(TENANT).is_some())
        && !settings.contains_key(TENANT);
    if is_missing {
        settings.insert(TENANT.to_owned(), Value::from(name));
    }
    is_missing
}

/// Loads components, and caches them so that sources share one. Clones share the
/// cache. Different components load concurrently: one whose `describe`
/// does not return delays only the sources that use it.
#[derive(Clone)]
pub struct ComponentLoader {
    shared: Arc<Shared>,
}

struct Shared {
    sandbox: Sandbox,
    poll_slots: PollSlots,
    cache_dir: Option<PathBuf>,
    /// A load that fails leaves its cell empty for the next try.
    loaded: Mutex<BTreeMap<ComponentLocation, Arc<OnceCell<Component>>>>,
}

/// A loaded component and its description.
#[derive(Clone)]
pub struct Component {
    compiled: CompiledComponent,
    poll_slots: PollSlots,
    connection_pools: ConnectionPools,
    description: Arc<Description>,
    kinds: Arc<[Kind]>,
}

impl Component {
    /// Returns the component's description.
    #[must_use]
    pub fn description(&self) -> &Arc<Description> {
        &self.description
    }

    /// Creates an instance for `describe` and `normalize`, without network access.
    pub async fn offline_instance(&self) -> Result<Instance, CallError> {
        offline_instance(&self.compiled).await
    }
}

/// A source with everything that its calls need.
pub struct Source {
    /// Name of the source.
    pub name: String,
    /// Description of its component.
    pub description: Arc<Description>,
    /// The kinds of its events.
    pub kinds: Arc<[Kind]>,
    /// The limits of one poll.
    pub limits: Limits,
    /// Redacts its secrets from text.
    pub redactor: Redactor,
    /// Detects those of its secrets that no checkpoint may contain.
    pub credential_detector: Redactor,
    allow: AllowList,
    compiled: CompiledComponent,
    poll_slots: PollSlots,
    settings: Secret,
    instance_settings: InstanceSettings,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl ComponentLoader {
    /// Creates a loader with an empty cache. Machine code is cached in `cache_dir`; no instance may
    /// have more memory than `memory_bytes_max`, or than
    /// [`OFFLINE_MEMORY_BYTES_MAX`] where that is more.
    pub fn new(cache_dir: Option<PathBuf>, memory_bytes_max: usize) -> Result<Self, Failure> {
        let memory_bytes_max = memory_bytes_max.max(OFFLINE_MEMORY_BYTES_MAX);
        let sandbox = Sandbox::new(memory_bytes_max).map_err(Failure::failed)?;
        Ok(Self {
            shared: Arc::new(Shared {
                sandbox,
                poll_slots: PollSlots::new(),
                cache_dir,
                loaded: Mutex::default(),
            }),
        })
    }

    /// Loads a component, or returns it if it is loaded already.
    pub async fn get_or_load(&self, location: &ComponentLocation) -> Result<Component, Failure> {
        let cell = {
            let mut loaded = self
                .shared
                .loaded
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            Arc::clone(loaded.entry(location.clone()).or_default())
        };
        if let Some(component) = cell.get() {
            return Ok(component.clone());
        }
        let (loader, wanted) = (self.clone(), location.clone());
        // In a task, which continues when the caller gives up, such as a request that takes too long;
        // otherwise the next caller would compile from the beginning.
        let loading = tokio::spawn(async move {
            let component = cell.get_or_try_init(|| loader.load(&wanted)).await?;
            Ok(component.clone())
        });
        loading.await.unwrap_or_else(|_| {
            let name = location.name();
            Err(Failure::failed(format!("{name}: internal error")))
        })
    }

    async fn load(&self, location: &ComponentLocation) -> Result<Component, Failure> {
        let name = location.name();
        let bad = |reason: &dyn fmt::Display| {
            // An error about a component may quote untrusted text.
            let reason = Sanitizer::default().text(&reason.to_string(), DETAIL_BYTES_MAX);
            Failure::settings(format!("{name}: {reason}")).retryable()
        };
        let (shared, location) = (Arc::clone(&self.shared), location.clone());
        // Compiling takes seconds of CPU time, so it must not block a worker.
        let compiled = tokio::task::spawn_blocking(move || shared.load(&location)).await;
        let compiled = compiled
            .map_err(|error| bad(&error))?
            .map_err(|error| bad(&error))?;
        let described = describe(&compiled).await.map_err(|error| match error {
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
            compiled,
            poll_slots: self.shared.poll_slots.clone(),
            connection_pools: ConnectionPools::default(),
            kinds: kinds.collect(),
            description: Arc::new(described),
        })
    }
}

/// Rejects a file that is not a component by its first bytes, since a parser error would not help.
fn check_is_component(bytes: &[u8]) -> Result<(), String> {
    let reason = match bytes {
        [b'\0', b'a', b's', b'm', _, _, 1, 0, ..] => return Ok(()),
        [b'\0', b'a', b's', b'm', ..] => {
            "it is a core module and not a component; build it for wasm32-wasip2"
        }
        _ => "it is not a WebAssembly component",
    };
    Err(reason.to_owned())
}

impl Shared {
    fn load(&self, location: &ComponentLocation) -> Result<CompiledComponent, String> {
        let cache_dir = self.cache_dir.as_deref();
        match location {
            ComponentLocation::BuiltIn(_, wasm) => self.sandbox.load(wasm, cache_dir),
            ComponentLocation::File(path) => {
                let wasm = fs::read(path).map_err(|error| error.to_string())?;
                check_is_component(&wasm)?;
                self.sandbox.load(&wasm, cache_dir)
            }
        }
    }
}

impl Source {
    /// Creates a source of a component. The error is a clause about the
    /// source; a retryable one is about a file that it names.
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
                let ca_file = options.ca_file.as_deref();
                let (name, connection_pools) = (&options.name, &component.connection_pools);
                OutgoingHttp::new(
                    name,
                    connection_pools,
                    allow.clone(),
                    options.proxies,
                    ca_file,
                )
                .map_err(|reason| Failure::settings(reason).retryable())?
            }
            NetworkAccess::Offline => OutgoingHttp::offline(&options.name, allow.clone()),
        };
        outgoing.set_redactor(&options.redactor);
        Ok(Self {
            name: options.name.clone(),
            description,
            kinds: Arc::clone(&component.kinds),
            limits: options.limits,
            redactor: options.redactor.clone(),
            credential_detector: options.credential_detector,
            allow,
            compiled: component.compiled.clone(),
            poll_slots: component.poll_slots.clone(),
            settings: options.settings,
            instance_settings: InstanceSettings {
                source: options.name,
                outgoing,
                memory_bytes_max: options.memory_bytes_max,
                call_timeout: options.poll_timeout,
                redactor: options.redactor,
                accounting: SourceAccounting::default(),
            },
        })
    }

    /// Returns the slots that the polls of all sources share.
    pub(crate) fn poll_slots(&self) -> &PollSlots {
        &self.poll_slots
    }

    /// Creates an instance of its component.
    pub async fn new_instance(&self) -> Result<Instance, CallError> {
        Instance::new(&self.compiled, &self.instance_settings).await
    }

    /// Creates an instance with a short time limit, and the network access of the source.
    pub async fn short_call_instance(&self) -> Result<Instance, CallError> {
        let settings = InstanceSettings {
            call_timeout: self.instance_settings.call_timeout.min(SHORT_CALL_TIMEOUT),
            ..self.instance_settings.clone()
        };
        Instance::new(&self.compiled, &settings).await
    }

    /// Polls with at most `requests_max` requests, to see if the component accepts its settings.
    pub async fn test_poll(
        &self,
        requests_max: u32,
    ) -> Result<Result<Batch, PollError>, CallError> {
        let limits = Limits {
            max_requests: requests_max,
            ..self.limits
        };
        let _slot = self.poll_slots.acquire().await;
        let mut instance = self.short_call_instance().await?;
        instance.poll(&self.settings, None, None, limits).await
    }

    /// Returns what to do about an origin that the component reports as refused by its host, as a
    /// clause.
    #[must_use]
    pub fn denial_advice(&self, origin: &str) -> String {
        let name = &self.name;
        match Origin::parse(origin) {
            None => {
                format!("the component says that `{origin}` was refused, which is not an origin")
            }
            Some(parsed) if self.allow.allows(&parsed) => format!(
                "{origin} is on the allow-list of `{name}`, but the name resolves to an address \
                 that is not public; the log has the line that would allow it"
            ),
            Some(parsed) => format!(
                "{origin} is not on the allow-list of `{name}`; write in its [[source]]: {}",
                self.allow.suggested_setting(&parsed)
            ),
        }
    }

    /// Returns whether an origin is on the allow-list. If such an origin was refused, its name has no
    /// public address at present, and a retry may help.
    #[must_use]
    pub fn allows(&self, origin: &str) -> bool {
        Origin::parse(origin).is_some_and(|origin| self.allow.allows(&origin))
    }

    /// Sets the observer of its requests. Later calls are ignored.
    pub fn observe_requests(&self, observer: Arc<dyn RequestObserver>) {
        self.instance_settings.outgoing.set_observer(observer);
    }

    /// From now on, the source works only while this lease is held. Later calls are ignored.
    pub fn require_lease(&self, lease: Arc<dyn Lease>) {
        self.instance_settings.outgoing.lease().set(lease);
    }

    /// Requires the same lease as another source.
    pub(crate) fn require_same_lease(&self, other: &Self) {
        if let Some(lease) = other.lease().get() {
            self.require_lease(lease);
        }
    }

    pub(crate) fn lease(&self) -> SourceLease {
        self.instance_settings.outgoing.lease().clone()
    }

    /// Returns its settings in the form that the component gets.
    #[must_use]
    pub fn settings(&self) -> &Secret {
        &self.settings
    }
}

async fn offline_instance(compiled: &CompiledComponent) -> Result<Instance, CallError> {
    let settings = InstanceSettings {
        source: "component".to_owned(),
        outgoing: OutgoingHttp::offline("component", AllowList::default()),
        memory_bytes_max: OFFLINE_MEMORY_BYTES_MAX,
        call_timeout: SHORT_CALL_TIMEOUT,
        redactor: Redactor::default(),
        accounting: SourceAccounting::default(),
    };
    Instance::new(compiled, &settings).await
}

async fn describe(compiled: &CompiledComponent) -> Result<Description, CallError> {
    offline_instance(compiled).await?.describe().await
}

/// Memory limit of an instance that only describes or normalizes.
pub const OFFLINE_MEMORY_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Time limit of calls that have little to do, or no network.
const SHORT_CALL_TIMEOUT: Duration = Duration::from_secs(30);
