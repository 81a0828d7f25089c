//! An instance of a component: its state, and calls that are limited in time and
//! memory.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use source_common::secret::{Redactor, Secret};
use wasmtime::component::{HasData, ResourceTable};
use wasmtime::{Store, Trap, UpdateDeadline};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use super::CompiledComponent;
use super::guest_log::GuestLog;
use super::limits::MemoryLimit;
use super::scheduler::{CallState, Scheduler, VirtualRuntime};
use super::source_accounting::SourceAccounting;
use crate::bindings::{
    Batch, CheckResult, Description, EventSource, Limits, NormalizeError, Normalized, PollError,
    SettingsError,
};
use crate::outgoing::OutgoingHttp;
use crate::untrusted_text::{DETAIL_BYTES_MAX, Sanitizer};

/// Maximum number of live requests, bodies, streams and pollables.
const RESOURCES_MAX: usize = 1_000;
/// Maximum size of the headers of a request, in memory.
const HEADERS_BYTES_MAX: usize = 32 * 1024;
/// Extra bytes that a component may return in one call besides the batch itself.
const CALL_RESULT_BYTES_ALLOWANCE: usize = 32 * 1024 * 1024;
/// Maximum number of random bytes per call of `wasi:random`.
const RANDOM_BYTES_MAX: u64 = 64 * 1024;

/// The parameters of an instance.
#[derive(Clone, Debug)]
pub struct InstanceSettings {
    /// Name of the source, for logs.
    pub source: String,
    /// Its outgoing HTTP.
    pub outgoing: OutgoingHttp,
    /// Memory limit.
    pub memory_bytes_max: usize,
    /// Time limit of one call.
    pub call_timeout: Duration,
    /// Redacts secrets from its diagnostics and from every text that it returns.
    pub redactor: Redactor,
    /// The charged CPU time and the rate limit that all instances of the source share.
    pub accounting: SourceAccounting,
}

/// An instance of a component. After a [`CallError`] it must be dropped.
pub struct Instance {
    store: Store<HostState>,
    exports: EventSource,
    sanitizer: Sanitizer,
    runner: CallRunner,
}

/// Runs the calls of an instance.
struct CallRunner {
    scheduler: Arc<Scheduler>,
    virtual_runtime: Arc<VirtualRuntime>,
    state: Arc<CallState>,
    log: GuestLog,
    call_timeout: Duration,
}

/// What an instance is doing, for observers while a call borrows the instance.
#[derive(Clone, Debug)]
pub(crate) struct Activity(Arc<CallState>);

impl Activity {
    /// Returns whether its call waits for the host, such as for a response of its upstream.
    pub(crate) fn waits_for_host(&self) -> bool {
        self.0.waits_for_host()
    }

    /// The activity of a call that waits for its upstream.
    #[cfg(test)]
    pub(crate) fn waiting() -> Self {
        let state = CallState::default();
        state.set_waits_for_host();
        Self(Arc::new(state))
    }

    /// The activity of a call that is executing.
    #[cfg(test)]
    pub(crate) fn executing() -> Self {
        Self(Arc::default())
    }
}

/// Why a call returned no result. It implies nothing about the upstream.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum CallError {
    /// The system has no address space left for an instance; the clause is
    /// the system's.
    NoAddressSpace(String),
    /// The instance exceeded its memory limit.
    OutOfMemory {
        /// The limit.
        bytes_max: usize,
    },
    /// The call exceeded its time limit.
    TimedOut(Duration),
    /// The component trapped; the clause says how, and quotes its last line of output.
    Trapped(String),
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAddressSpace(reason) => {
                write!(f, "no address space for an instance: {reason}")?;
                match super::address_space_bytes_max() {
                    None => Ok(()),
                    Some(bytes) => {
                        let mib = bytes / (1024 * 1024);
                        write!(f, " (this process may have {mib} MiB, see `ulimit -v`)")
                    }
                }
            }
            Self::OutOfMemory { bytes_max } => write!(
                f,
                "the component needs more than its {} MiB of memory",
                bytes_max / (1024 * 1024)
            ),
            Self::TimedOut(limit) => write!(
                f,
                "the component did not return within {}",
                humantime::format_duration(*limit)
            ),
            Self::Trapped(reason) => write!(f, "the component trapped: {reason}"),
        }
    }
}

impl std::error::Error for CallError {}

impl CallError {
    /// Returns advice on the settings of the source.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        match self {
            Self::NoAddressSpace(_) => {
                "raise the limit of the address space, or lower memory_mib of the sources"
            }
            Self::OutOfMemory { .. } => "raise its memory_mib, or lower its max_bytes",
            Self::TimedOut(_) => {
                "raise its poll_timeout_secs, or report this to the author of the component"
            }
            Self::Trapped(_) => "report this to the author of the component",
        }
    }
}

impl Instance {
    /// Creates an instance with its own memory and resource table.
    pub async fn new(
        loaded: &CompiledComponent,
        settings: &InstanceSettings,
    ) -> Result<Self, CallError> {
        let sanitizer = Sanitizer::new(settings.redactor.clone());
        let log = GuestLog::new(
            &settings.source,
            sanitizer.clone(),
            settings.accounting.clone(),
        );
        let mut table = ResourceTable::new();
        table.set_max_capacity(RESOURCES_MAX);
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(HEADERS_BYTES_MAX);
        let wasi = WasiCtx::builder()
            .stderr(log.clone())
            .max_random_size(RANDOM_BYTES_MAX)
            .build();
        let state = HostState {
            wasi,
            http,
            table,
            outgoing: settings.outgoing.clone(),
            memory: MemoryLimit::new(settings.memory_bytes_max),
        };
        let mut store = Store::new(loaded.pre.engine(), state);
        store.limiter(|state| &mut state.memory);
        store.set_hostcall_fuel(CALL_RESULT_BYTES_ALLOWANCE);
        let runner = CallRunner {
            scheduler: Arc::clone(&loaded.scheduler),
            virtual_runtime: Arc::clone(&settings.accounting.virtual_runtime),
            state: Arc::default(),
            log,
            call_timeout: settings.call_timeout,
        };
        let call_state = Arc::clone(&runner.state);
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(move |_| {
            call_state.note_interrupted();
            Ok(UpdateDeadline::Yield(1))
        });
        // Instantiation runs code of the component too.
        let result = runner.drive(loaded.pre.instantiate_async(&mut store)).await;
        let exports = runner.finish_call(result, &store, &sanitizer)?;
        Ok(Self {
            store,
            exports,
            sanitizer,
            runner,
        })
    }

    /// Calls `describe`: what the component is and offers.
    pub async fn describe(&mut self) -> Result<Description, CallError> {
        let call = self
            .exports
            .pipeline_source_source()
            .call_describe(&mut self.store);
        let result = self.runner.drive(call).await;
        let mut description = self
            .runner
            .finish_call(result, &self.store, &self.sanitizer)?;
        self.sanitizer.description(&mut description);
        Ok(description)
    }

    /// Calls `check`: whether each stream can be read with these settings.
    pub async fn check(
        &mut self,
        settings: &Secret,
    ) -> Result<Result<Vec<CheckResult>, SettingsError>, CallError> {
        let call = self
            .exports
            .pipeline_source_source()
            .call_check(&mut self.store, settings.expose());
        let result = self.runner.drive(call).await;
        let mut checked = self
            .runner
            .finish_call(result, &self.store, &self.sanitizer)?;
        match &mut checked {
            Ok(results) => results
                .iter_mut()
                .for_each(|result| self.sanitizer.check_result(result)),
            Err(error) => self.sanitizer.settings_error(error),
        }
        Ok(checked)
    }

    /// Fetches the next batch after `checkpoint`. `session` is that of the previous poll, if the host
    /// still has it.
    pub async fn poll(
        &mut self,
        settings: &Secret,
        checkpoint: Option<&str>,
        session: Option<&Secret>,
        limits: Limits,
    ) -> Result<Result<Batch, PollError>, CallError> {
        // The text, its index and the originals, and the same size again for the
        // rest of the batch.
        let batch = usize::try_from(limits.max_bytes).unwrap_or(usize::MAX);
        let fuel = batch
            .saturating_mul(2)
            .saturating_add(CALL_RESULT_BYTES_ALLOWANCE);
        self.store.set_hostcall_fuel(fuel);
        let checkpoint = checkpoint.map(str::to_owned);
        let session = session.map(|session| session.expose().to_owned());
        let call = self.exports.pipeline_source_source().call_poll(
            &mut self.store,
            settings.expose(),
            checkpoint.as_ref(),
            session.as_ref(),
            limits,
        );
        let result = self.runner.drive(call).await;
        let mut polled = self
            .runner
            .finish_call(result, &self.store, &self.sanitizer)?;
        match &mut polled {
            Ok(batch) => self.sanitizer.batch(batch),
            Err(error) => self.sanitizer.poll_error(error),
        }
        Ok(polled)
    }

    /// Returns a checkpoint from which `streams` are collected again from `from_ms` on; with no
    /// stream, all that the settings select.
    pub async fn rewind(
        &mut self,
        settings: &Secret,
        checkpoint: &str,
        streams: &[String],
        from_ms: i64,
    ) -> Result<Result<String, String>, CallError> {
        let checkpoint = checkpoint.to_owned();
        let call = self.exports.pipeline_source_source().call_rewind(
            &mut self.store,
            settings.expose(),
            &checkpoint,
            streams,
            from_ms,
        );
        let result = self.runner.drive(call).await;
        let rewound = self
            .runner
            .finish_call(result, &self.store, &self.sanitizer)?;
        Ok(rewound.map_err(|reason| self.sanitizer.text(&reason, DETAIL_BYTES_MAX)))
    }

    /// Normalizes records that were not collected by `poll`. Of the settings, a JSON object, only those
    /// that shape events are used.
    pub async fn normalize(
        &mut self,
        stream: &str,
        format: &str,
        settings: &Secret,
        records: &[u8],
    ) -> Result<Result<Normalized, NormalizeError>, CallError> {
        let call = self.exports.pipeline_source_normalizer().call_normalize(
            &mut self.store,
            stream,
            format,
            settings.expose(),
            records,
        );
        let result = self.runner.drive(call).await;
        let mut normalized = self
            .runner
            .finish_call(result, &self.store, &self.sanitizer)?;
        match &mut normalized {
            Ok(normalized) => self.sanitizer.normalized(normalized),
            Err(NormalizeError::UnknownFormat(known) | NormalizeError::UnknownStream(known)) => {
                *known = self.sanitizer.text(known, DETAIL_BYTES_MAX);
            }
            Err(NormalizeError::Settings(error)) => self.sanitizer.settings_error(error),
        }
        Ok(normalized)
    }

    /// Returns a handle that shows what it is doing while a call borrows it.
    pub(crate) fn activity(&self) -> Activity {
        Activity(Arc::clone(&self.runner.state))
    }

    /// Returns the peak memory of this instance.
    #[must_use]
    pub fn memory_bytes_peak(&self) -> usize {
        self.store.data().memory.bytes_peak()
    }
}

impl CallRunner {
    /// Runs a call to completion, within its time limit and scheduled with other calls.
    /// Returns `None` if it took too long.
    async fn drive<T>(
        &self,
        call: impl Future<Output = wasmtime::Result<T>>,
    ) -> Option<wasmtime::Result<T>> {
        self.log.begin_call();
        self.scheduler
            .run(&self.virtual_runtime, &self.state, self.call_timeout, call)
            .await
    }

    /// Ends a call: logs its incomplete line, and converts its outcome.
    fn finish_call<T>(
        &self,
        result: Option<wasmtime::Result<T>>,
        store: &Store<HostState>,
        sanitizer: &Sanitizer,
    ) -> Result<T, CallError> {
        let last_line = self.log.end_call();
        match result {
            Some(Ok(value)) => Ok(value),
            Some(Err(error)) => Err(to_call_error(&error, store, sanitizer, last_line)),
            None => Err(CallError::TimedOut(self.call_timeout)),
        }
    }
}

fn to_call_error(
    error: &wasmtime::Error,
    store: &Store<HostState>,
    sanitizer: &Sanitizer,
    last_line: Option<String>,
) -> CallError {
    let memory = &store.data().memory;
    if memory.was_exceeded() {
        return CallError::OutOfMemory {
            bytes_max: memory.bytes_max(),
        };
    }
    if let Some(reason) = no_address_space(error) {
        return CallError::NoAddressSpace(reason);
    }
    let cause = match error.downcast_ref::<Trap>() {
        Some(trap) => trap.to_string(),
        None => error.root_cause().to_string(),
    };
    let cause = sanitizer.text(&cause, DETAIL_BYTES_MAX);
    CallError::Trapped(match last_line {
        Some(line) => format!("{cause}; its last line of output: {line}"),
        None => cause,
    })
}

/// Returns the system's message if memory could not be mapped.
#[cfg(unix)]
fn no_address_space(error: &wasmtime::Error) -> Option<String> {
    use rustix::io::Errno;

    let mut causes = error.chain();
    causes.find_map(|cause| {
        let of_std = cause.downcast_ref::<std::io::Error>();
        let of_std = of_std.and_then(Errno::from_io_error);
        let errno = cause.downcast_ref::<Errno>().copied().or(of_std);
        (errno == Some(Errno::NOMEM)).then(|| cause.to_string())
    })
}

#[cfg(not(unix))]
fn no_address_space(_: &wasmtime::Error) -> Option<String> {
    None
}

/// The host state of a store.
pub(super) struct HostState {
    pub(super) wasi: WasiCtx,
    http: WasiHttpCtx,
    pub(super) table: ResourceTable,
    outgoing: OutgoingHttp,
    memory: MemoryLimit,
}

impl WasiView for HostState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

impl WasiHttpView for HostState {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView {
            ctx: &mut self.http,
            table: &mut self.table,
            hooks: &mut self.outgoing,
        }
    }
}

/// `HasData` for `wasi:io`, which needs only the resource table.
pub(super) struct Io;

impl HasData for Io {
    type Data<'a> = &'a mut ResourceTable;
}
