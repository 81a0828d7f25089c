//! The sandbox: compiles a component once, and runs its calls within limits of
//! memory, time and I/O.

mod cache;
mod guest_log;
mod instance;
mod limits;
mod scheduler;
mod source_accounting;
mod ticker;

use std::path::Path;
use std::sync::Arc;

use wasmtime::component::{Component, Linker};
use wasmtime::{Config, Engine};
use wasmtime_wasi::cli::{WasiCli, WasiCliView as _};
use wasmtime_wasi::clocks::{WasiClocks, WasiClocksView as _};
use wasmtime_wasi::p2::bindings::{cli, clocks, io, random};
use wasmtime_wasi::random::WasiRandom;

pub(crate) use self::instance::Activity;
pub use self::instance::{CallError, Instance, InstanceSettings};
use self::instance::{HostState, Io};
use self::scheduler::Scheduler;
pub(crate) use self::scheduler::processors;
pub use self::scheduler::worker_threads;
pub use self::source_accounting::SourceAccounting;
use self::ticker::{ExecutingTimeSlices, Ticker};
use crate::bindings::EventSourcePre;

/// The version of `pipeline:source` that this host implements.
pub const WIT_VERSION: &str = "0.2.0";

/// The wasmtime engine, shared by all sources of a process.
pub struct Sandbox {
    engine: Engine,
    scheduler: Arc<Scheduler>,
    _ticker: Ticker,
}

/// A compiled component, linked and ready to be instantiated any number of
/// times.
#[derive(Clone)]
pub struct CompiledComponent {
    pre: EventSourcePre<HostState>,
    scheduler: Arc<Scheduler>,
}

impl Sandbox {
    /// Creates the engine and the epoch ticker that makes busy components yield. The
    /// caller gives no instance more memory than `memory_bytes_max`.
    pub fn new(memory_bytes_max: usize) -> Result<Self, String> {
        let mut config = Config::new();
        if address_space_bytes_max().is_some() {
            limit_reservation(&mut config, memory_bytes_max);
        }
        config.epoch_interruption(true);
        // Only WASI 0.2 is offered; without it a call is cheaper.
        config.concurrency_support(false);
        config.wasm_relaxed_simd(false);
        let engine = Engine::new(&config).map_err(|error| one_line(&error))?;
        let slices = Arc::new(ExecutingTimeSlices::default());
        let ticker = Ticker::start(&engine, &slices)
            .map_err(|error| format!("cannot start the epoch thread: {error}"))?;
        let scheduler = Arc::new(Scheduler::new(engine.weak(), slices));
        Ok(Self {
            engine,
            scheduler,
            _ticker: ticker,
        })
    }

    /// Compiles a component, or loads its machine code from `cache_dir` if
    /// it is cached there.
    pub fn load(&self, wasm: &[u8], cache_dir: Option<&Path>) -> Result<CompiledComponent, String> {
        let component = cache::load_or_compile(&self.engine, wasm, cache_dir)
            .map_err(|error| one_line(&error))?;
        if let Some(version) = self.unsupported_wit_version(&component) {
            return Err(format!(
                "it implements pipeline:source {version}, and this host pipeline:source \
                 {WIT_VERSION}; use a release of the component for {WIT_VERSION}"
            ));
        }
        let pre = self.link(&component).map_err(|error| one_line(&error))?;
        Ok(CompiledComponent {
            pre,
            scheduler: Arc::clone(&self.scheduler),
        })
    }

    /// Returns the component's `pipeline:source` version, if it is not [`WIT_VERSION`].
    fn unsupported_wit_version(&self, component: &Component) -> Option<String> {
        let of_component = component.component_type();
        let mut names = of_component.exports(&self.engine).map(|(name, _)| name);
        let version = names.find_map(|name| name.strip_prefix("pipeline:source/source@"))?;
        (version != WIT_VERSION).then(|| version.to_owned())
    }

    /// Links HTTP, clocks, random numbers and the parts of `wasi:cli` that Rust's
    /// std imports. File system and sockets are not linked, so a component that imports
    /// them fails to link.
    fn link(&self, component: &Component) -> wasmtime::Result<EventSourcePre<HostState>> {
        let mut linker: Linker<HostState> = Linker::new(&self.engine);
        let l = &mut linker;
        io::error::add_to_linker::<HostState, Io>(l, |state| &mut state.table)?;
        io::poll::add_to_linker::<HostState, Io>(l, |state| &mut state.table)?;
        io::streams::add_to_linker::<HostState, Io>(l, |state| &mut state.table)?;
        clocks::wall_clock::add_to_linker::<HostState, WasiClocks>(l, HostState::clocks)?;
        clocks::monotonic_clock::add_to_linker::<HostState, WasiClocks>(l, HostState::clocks)?;
        random::random::add_to_linker::<HostState, WasiRandom>(l, |state| state.wasi.random())?;
        random::insecure::add_to_linker::<HostState, WasiRandom>(l, |state| state.wasi.random())?;
        random::insecure_seed::add_to_linker::<HostState, WasiRandom>(l, |state| {
            state.wasi.random()
        })?;
        cli::environment::add_to_linker::<HostState, WasiCli>(l, HostState::cli)?;
        cli::exit::add_to_linker::<HostState, WasiCli>(l, HostState::cli)?;
        cli::stdin::add_to_linker::<HostState, WasiCli>(l, HostState::cli)?;
        cli::stdout::add_to_linker::<HostState, WasiCli>(l, HostState::cli)?;
        cli::stderr::add_to_linker::<HostState, WasiCli>(l, HostState::cli)?;
        cli::terminal_input::add_to_linker::<HostState, WasiCli>(l, HostState::cli)?;
        cli::terminal_output::add_to_linker::<HostState, WasiCli>(l, HostState::cli)?;
        cli::terminal_stdin::add_to_linker::<HostState, WasiCli>(l, HostState::cli)?;
        cli::terminal_stdout::add_to_linker::<HostState, WasiCli>(l, HostState::cli)?;
        cli::terminal_stderr::add_to_linker::<HostState, WasiCli>(l, HostState::cli)?;
        wasmtime_wasi_http::p2::add_only_http_to_linker_async(l)?;
        EventSourcePre::new(linker.instantiate_pre(component)?)
    }
}

/// Returns the limit of this process's address space (`ulimit -v`), if it has one.
#[cfg(unix)]
fn address_space_bytes_max() -> Option<u64> {
    use rustix::process::{Resource, getrlimit};

    getrlimit(Resource::As).current
}

#[cfg(not(unix))]
fn address_space_bytes_max() -> Option<u64> {
    None
}

/// Reserves only as much address space per memory as it may grow to. By default wasmtime
/// reserves 4 GiB, which saves bounds checks in compiled code and costs no physical memory,
/// but fails where address space is limited.
fn limit_reservation(config: &mut Config, bytes: usize) {
    config.memory_reservation(u64::try_from(bytes).unwrap_or(u64::MAX));
    config.memory_reservation_for_growth(0);
    config.memory_guard_size(0);
}

/// Formats an error with its causes on one line.
fn one_line(error: &wasmtime::Error) -> String {
    format!("{error:#}").replace('\n', " ")
}
