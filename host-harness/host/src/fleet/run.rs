//! A host of a fleet: takes tenants that are due, works on each for one lease, and gives them back.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use async_nats::jetstream::Message;
use futures_util::StreamExt as _;
use source_common::backoff::Backoff;
use source_common::exit::Failure;
use source_outputs::Outputs;
use source_runtime::shutdown::{Shutdown, ShutdownTrigger};
use source_runtime::source::{ComponentLoader, NetworkAccess};
use source_runtime::source_loop::{SourceExit, SourceLoop, TurnEnd};
use source_runtime::store::{CheckpointStore, StateDir, StoredSource, epoch_ms};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{debug, error, info, warn};

use super::cache::{PreparedTenant, TenantCache};
use super::client::FleetClient;
use super::clock;
use super::lease::{
    self, ClaimError, ClaimOutcome, CurrentPermit, StoredLease, TenantLease, WorkPermit,
};
use super::tenant::Tenant;
use super::tenant_value::LeaseEpoch;
use crate::admin::{AdminContext, AdminServer};
use crate::dead_letter::DeadLetterSinks;
use crate::descriptor_limit;
use crate::destination::{Destination, RequestReporter};
use crate::heartbeat::HeartbeatWriter;
use crate::hourly::HourlyLog;
use crate::progress::ProgressBars;
use crate::registry::Registry;
use crate::report::{FleetHostReport, FleetReport, PausedBy, RunState};
use crate::run::{Options, StdoutWatch, close};
use crate::service_manager;
use crate::settings::{CACHE_DIR, FleetSettings, InheritedSettings, Settings};
use crate::source;

/// How long a request for tenants waits if none is due.
const FETCH_WAIT_MAX: Duration = Duration::from_secs(1);
/// Number of tenants requested at a time.
const FETCH_MAX: usize = 256;
/// Time after which a tenant that has much to collect is given back, so that others get their turn,
/// and a host that joins gets its part of the tenants.
const TURN_MAX: Duration = Duration::from_secs(10);
/// Number of tenants whose connections and sessions are kept for their next turn.
const TENANTS_CACHED_MAX: NonZeroUsize = NonZeroUsize::MIN.saturating_add(4_095);
/// Delay before a tenant that failed is due again; a change of the tenant takes effect at once.
const FAILED_DELAY: Duration = Duration::from_secs(300);
/// The same for a paused tenant.
const PAUSED_DELAY: Duration = Duration::from_secs(3_600);
/// Delay before a tenant is due again that could not be claimed because NATS failed.
const CLAIM_RETRY_DELAY: Duration = Duration::from_secs(1);
/// Number of claims of a tenant in a row that fail because of a later lease before a warning is
/// logged.
const SUPERSEDED_WARN_MIN: u32 = 3;
/// After this many lease durations without another such claim, the count begins again.
const SUPERSEDED_RESET_LEASE_DURATIONS: u32 = 10;
/// How long a host that stops waits for a tenant to be given back, and for NATS to confirm its end.
const STOP_CONFIRM_MAX: Duration = Duration::from_millis(250);
/// How long work may continue after a stop was requested. The rest of the five seconds in
/// which a stop is documented to end is for giving tenants back.
const STOP_GRACE: Duration = Duration::from_millis(4_200);
/// How often a host reports itself.
const REPORT_INTERVAL: Duration = Duration::from_secs(5);
/// How often a host with an admin server reads what NATS has of all tenants.
const OVERVIEW_INTERVAL: Duration = Duration::from_secs(15);
/// The same without an admin server: then only the hourly log line reports tenants.
const OVERVIEW_INTERVAL_WITHOUT_ADMIN: Duration = Duration::from_secs(300);
/// The pause after a reading is at least this many times as long as the reading took.
const OVERVIEW_PAUSE_FACTOR: u32 = 20;

/// Counts of the leases of this host.
#[derive(Debug, Default)]
pub(crate) struct LeaseCounts {
    pub(crate) held: AtomicUsize,
    pub(crate) taken: AtomicU64,
    /// Ended before the work did.
    pub(crate) expired: AtomicU64,
    /// Superseded by a later lease, or over, before this host could claim the tenant.
    pub(crate) fenced: AtomicU64,
    /// The longest delay with which a due tenant was taken in the present interval.
    late_ms: AtomicU64,
}

/// The settings of a host of a fleet, and what it has opened.
struct FleetContext {
    settings: FleetSettings,
    settings_file: PathBuf,
    components: ComponentLoader,
    outputs: Arc<Outputs>,
    inherited: InheritedSettings,
    dead_letters: DeadLetterSinks,
    registry: Registry,
    has_admin: bool,
    shutdown_trigger: ShutdownTrigger,
    shutdown: Shutdown,
}

/// A running host: what its tasks share.
struct RunningHost {
    context: FleetContext,
    name: Arc<str>,
    counts: Arc<LeaseCounts>,
    cache: Mutex<TenantCache>,
    /// The leases of the tenants that are worked on, by tenant.
    active_leases: Mutex<BTreeMap<String, (LeaseEpoch, Arc<WorkPermit>)>>,
    /// When this host last took each tenant that it reports.
    last_taken_at: Mutex<BTreeMap<String, Duration>>,
    /// How often in a row the claim of a tenant failed because of a later lease, and when last.
    superseded: Mutex<BTreeMap<String, (u32, Duration)>>,
}

/// Works on the tenants of a fleet until a stop is requested.
pub(crate) async fn run(
    settings: &Settings,
    fleet: &FleetSettings,
    options: Options,
) -> Result<(), Failure> {
    let file = settings.file.display();
    if options.once {
        return Err(Failure::settings(format!(
            "{file}: --once ends when every source is caught up, but the tenants of a fleet \
             catch up at different times; leave it out"
        )));
    }
    if options.watch_since.is_some() {
        return Err(Failure::settings(format!(
            "{file}: --watch-config watches the files of sources, but the tenants of a fleet are in \
             NATS; leave it out"
        )));
    }
    // Each tenant may reach origins of its own.
    descriptor_limit::warn_if_limit_is_low(&vec![1; fleet.leases_max], settings.outputs.len());
    let state_dir = Arc::new(StateDir::open(&settings.state_dir)?);
    let registry = Registry::new();
    registry.update_fleet(|status| status.leases_max = fleet.leases_max);
    let _heartbeat_writer = HeartbeatWriter::start(Arc::clone(&state_dir), registry.clone());
    let _hourly = HourlyLog::start(registry.clone());
    let admin = match &settings.admin {
        Some(admin) => Some(AdminServer::bind(admin).await?),
        None => None,
    };
    let components = source::component_loader(settings, Some(state_dir.path().join(CACHE_DIR)))?;
    let outputs = Arc::new(Outputs::open(settings.named_outputs(), None).await?);
    registry.add_outputs(Arc::clone(&outputs));
    let dead_letters = DeadLetterSinks::open(settings, &state_dir, None).await?;
    let rejected_records_output = dead_letters.output.clone();
    if let Some(output) = &rejected_records_output {
        registry.add_outputs(Arc::clone(output));
    }
    let admin = admin.map(|server| {
        server.start(AdminContext {
            registry: registry.clone(),
            control: None,
            components: components.clone(),
            settings_file: settings.file.clone(),
            state_dir: state_dir.path().to_owned(),
        })
    });
    let _notifier = service_manager::Notifier::start(options.shutdown.clone());
    let stdout = StdoutWatch::start(Arc::clone(&outputs), options.shutdown_trigger.clone());
    let context = FleetContext {
        settings: fleet.clone(),
        settings_file: settings.file.clone(),
        components,
        outputs: Arc::clone(&outputs),
        inherited: settings.inherited(),
        dead_letters,
        registry,
        has_admin: settings.admin.is_some(),
        shutdown_trigger: options.shutdown_trigger,
        shutdown: options.shutdown,
    };
    context.run_until_shutdown().await;
    let is_stdout_closed = stdout.finish();
    close(&outputs, rejected_records_output.as_deref(), admin).await?;
    if is_stdout_closed {
        return Err(Failure::failed("standard output was closed by its reader"));
    }
    Ok(())
}

impl FleetContext {
    async fn run_until_shutdown(self) {
        let mut shutdown = self.shutdown.clone();
        let Some(fleet_client) = open_with_retries(&self.settings, &mut shutdown).await else {
            return;
        };
        self.registry.set_ready(true);
        let name: Arc<str> = host_name().into();
        info!(
            "fleet: host {name} works on up to {} tenants at a time, with leases of {} s",
            self.settings.leases_max,
            fleet_client.lease_duration.as_secs()
        );
        let running = Arc::new(RunningHost {
            name,
            counts: Arc::default(),
            cache: Mutex::new(TenantCache::new(TENANTS_CACHED_MAX)),
            active_leases: Mutex::default(),
            last_taken_at: Mutex::default(),
            superseded: Mutex::default(),
            context: self,
        });
        // Before it has any tenant, because hosts that start later check for it.
        report(&running, &fleet_client).await;
        let fleet_client = Arc::new(Mutex::new(fleet_client));
        let mut reports = JoinSet::new();
        reports.spawn(report_periodically(
            Arc::clone(&running),
            Arc::clone(&fleet_client),
        ));
        reports.spawn(refresh_overview(
            Arc::clone(&running),
            Arc::clone(&fleet_client),
        ));
        let mut tasks = JoinSet::new();
        take_tenants(&running, &fleet_client, &mut tasks).await;

        // A stop was requested: running polls may finish within a grace period; then tenants are
        // given back.
        let all_done = async { while tasks.join_next().await.is_some() {} };
        tokio::select! {
            () = all_done => {}
            () = shutdown.grace_elapsed(STOP_GRACE) => {
                for (_, permit) in running.active_leases().values() {
                    permit.request_stop();
                }
            }
        }
        while let Ok(Some(_)) = timeout(STOP_CONFIRM_MAX, tasks.join_next()).await {}
        reports.abort_all();
        let fleet_client = lock(&fleet_client).clone();
        let own_key = format!("{}{}", fleet_client.hosts.prefix, running.name);
        let purge = fleet_client.hosts.stream.purge().filter(own_key);
        // Flushed, so that all messages are sent before the process ends.
        let flushed = async { purge.await.is_ok() && fleet_client.client.flush().await.is_ok() };
        if !timeout(STOP_CONFIRM_MAX, flushed).await.unwrap_or_default() {
            warn!(
                "fleet: NATS did not answer at shutdown; tenants are released when their leases end"
            );
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Connects, and retries until it succeeds. Returns `None` when a stop is requested.
async fn open_with_retries(
    settings: &FleetSettings,
    shutdown: &mut Shutdown,
) -> Option<Arc<FleetClient>> {
    let mut backoff = Backoff::default();
    loop {
        let opened = tokio::select! {
            opened = FleetClient::open(settings) => opened,
            _ = shutdown.requested() => return None,
        };
        let failure = match opened {
            Ok(fleet_client) => {
                fleet_client.hold_off_if_others_run().await;
                return Some(Arc::new(fleet_client));
            }
            Err(failure) => failure,
        };
        backoff.fail();
        let wait = backoff.delay().min(settings.lease_duration / 2);
        error!("{failure}; next try in {:.1} s", wait.as_secs_f64());
        tokio::select! {
            () = sleep(wait) => {}
            _ = shutdown.requested() => return None,
        }
    }
}

/// Returns the name of this process among the hosts.
fn host_name() -> String {
    let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let machine = machine.trim().replace(
        |char: char| !char.is_ascii_alphanumeric() && char != '-',
        "_",
    );
    let machine = if machine.is_empty() { "host" } else { &machine };
    // Distinguishes processes of one machine, also successive ones with the same process id.
    let started = epoch_ms(SystemTime::now());
    format!("{machine}-{}-{started:x}", std::process::id())
}

/// Takes due tenants whenever this host may work on more, until a stop is requested.
async fn take_tenants(
    running: &Arc<RunningHost>,
    shared: &Mutex<Arc<FleetClient>>,
    tasks: &mut JoinSet<()>,
) {
    let mut shutdown = running.context.shutdown.clone();
    let semaphore = Arc::new(Semaphore::new(running.context.settings.leases_max));
    let mut backoff = Backoff::default();
    while !shutdown.is_requested() {
        let first = tokio::select! {
            first = Arc::clone(&semaphore).acquire_owned() => first,
            _ = shutdown.requested() => return,
        };
        let Ok(first) = first else { return };
        let mut permits = vec![first];
        while permits.len() < FETCH_MAX
            && let Ok(more) = Arc::clone(&semaphore).try_acquire_owned()
        {
            permits.push(more);
        }
        let fleet_client = Arc::clone(&lock(shared));
        if !fleet_client.hold_off_remaining().is_zero() {
            drop(permits);
            tokio::select! {
                () = sleep(fleet_client.hold_off_remaining().min(FETCH_WAIT_MAX / 5)) => continue,
                _ = shutdown.requested() => return,
            }
        }
        let taken = take_due_tenants(running, &fleet_client, &mut permits, tasks).await;
        while tasks.try_join_next().is_some() {}
        match taken {
            Ok(()) => backoff.reset(),
            Err(_) if !fleet_client.is_connected() => {
                // The client connects again by itself.
                tokio::select! {
                    () = sleep(FETCH_WAIT_MAX / 5) => {}
                    _ = shutdown.requested() => return,
                }
            }
            Err(reason) => {
                backoff.fail();
                warn!("fleet: no tenants from NATS: {reason}; opening the stream again");
                tokio::select! {
                    () = sleep(backoff.delay().min(fleet_client.lease_duration / 2)) => {}
                    _ = shutdown.requested() => return,
                }
                match open_with_retries(&running.context.settings, &mut shutdown).await {
                    Some(fleet_client) => *lock(shared) = fleet_client,
                    None => return,
                }
            }
        }
    }
}

/// Requests as many tenants as there are permits, and starts to work on each that comes.
async fn take_due_tenants(
    running: &Arc<RunningHost>,
    fleet_client: &Arc<FleetClient>,
    permits: &mut Vec<tokio::sync::OwnedSemaphorePermit>,
    tasks: &mut JoinSet<()>,
) -> Result<(), String> {
    if !fleet_client.is_connected() {
        return Err("not connected".to_owned());
    }
    let wait = FETCH_WAIT_MAX.min(fleet_client.lease_duration / 10);
    // The leases of these tenants begin after this.
    let request = FetchRequest {
        sent_at: clock::now(),
        connection_number: fleet_client.connection_number(),
    };
    let fetch = fleet_client.consumer.fetch();
    let fetch = fetch.max_messages(permits.len()).expires(wait).messages();
    let fetched = timeout(fleet_client.lease_duration / 3, fetch).await;
    let mut messages = fetched
        .map_err(|_| "no response".to_owned())?
        .map_err(|error| error.to_string())?;
    // The server ends its response, unless it was restarted.
    let until = tokio::time::Instant::now() + wait + wait;
    while let Ok(Some(message)) = tokio::time::timeout_at(until, messages.next()).await {
        let message = message.map_err(|error| error.to_string())?;
        let Some(permit) = permits.pop() else { break };
        let (running, fleet_client) = (Arc::clone(running), Arc::clone(fleet_client));
        tasks.spawn(async move {
            running.counts.held.fetch_add(1, Ordering::Relaxed);
            running
                .handle_message(fleet_client, &message, request)
                .await;
            running.counts.held.fetch_sub(1, Ordering::Relaxed);
            drop(permit);
        });
    }
    Ok(())
}

/// When and by which connection tenants were requested.
#[derive(Clone, Copy)]
struct FetchRequest {
    sent_at: Duration,
    connection_number: u64,
}

impl RunningHost {
    fn active_leases(&self) -> MutexGuard<'_, BTreeMap<String, (LeaseEpoch, Arc<WorkPermit>)>> {
        lock(&self.active_leases)
    }

    /// Works on the tenant of a message for one lease.
    async fn handle_message(
        &self,
        fleet_client: Arc<FleetClient>,
        message: &Message,
        request: FetchRequest,
    ) {
        let prefix = format!("{}.", fleet_client.subject_prefix);
        let Some(tenant) = message.subject.strip_prefix(&*prefix) else {
            return;
        };
        let lease_duration = fleet_client.lease_duration;
        let cached = lock(&self.cache).take(tenant);
        let deadline = lease::deadline(request.sent_at, lease_duration);
        let permit = Arc::new(WorkPermit::new(deadline));
        let host = Arc::clone(&self.name);
        let lease = TenantLease::new(
            fleet_client,
            request.connection_number,
            message,
            tenant,
            host,
            Arc::clone(&permit),
        );
        let lease = match lease {
            Ok(lease) => Arc::new(lease),
            Err(reason) => {
                warn!(source = %tenant, "fleet: a message cannot be used: {reason}");
                return;
            }
        };
        self.end_lease_of_same_epoch(tenant, lease.epoch());
        let state = match lease.claim().await {
            Ok(ClaimOutcome::Claimed(state)) => *state,
            Ok(ClaimOutcome::Superseded(stored_lease)) => {
                self.counts.fenced.fetch_add(1, Ordering::Relaxed);
                return self.note_superseded(tenant, &stored_lease, lease_duration);
            }
            Ok(ClaimOutcome::TooLate) => {
                debug!(source = %tenant, "the lease of the tenant expired, or another host was faster");
                self.counts.fenced.fetch_add(1, Ordering::Relaxed);
                return;
            }
            Ok(ClaimOutcome::Removed) => return,
            Err(error) => {
                let message = error.message(&lease.discard_advice(tenant));
                let delay = if matches!(error, ClaimError::Unavailable(_)) {
                    warn!(source = %tenant, "{message}");
                    CLAIM_RETRY_DELAY
                } else {
                    error!(source = %tenant, "{message}");
                    FAILED_DELAY
                };
                return lease.give_back(delay).await;
            }
        };
        self.note_taken(&state);
        lock(&self.superseded).remove(tenant);
        // Set before the lease is active, so that an overview that was read earlier does not remove
        // the tenant.
        lock(&self.last_taken_at).insert(tenant.to_owned(), clock::now());
        let previous = self
            .active_leases()
            .insert(tenant.to_owned(), (lease.epoch(), Arc::clone(&permit)));
        if let Some((_, previous)) = previous {
            // The tenant was changed, which replaced its message.
            previous.end();
        }
        self.run_turn(&lease, message, cached, state).await;
        let mut active_leases = self.active_leases();
        if active_leases
            .get(tenant)
            .is_some_and(|(epoch, active)| *epoch == lease.epoch() && Arc::ptr_eq(active, &permit))
        {
            active_leases.remove(tenant);
        }
    }

    /// Ends the active lease of a tenant if it has this epoch. This is done before another lease with
    /// the same epoch is claimed, as there may be when the consumer was created again and counts from
    /// one. Both leases would recognize values in the bucket by that epoch, so the old one would take
    /// those of the new one for its own.
    fn end_lease_of_same_epoch(&self, tenant: &str, epoch: LeaseEpoch) {
        if let Some((active, previous)) = self.active_leases().get(tenant)
            && *active == epoch
        {
            previous.end();
        }
    }

    /// Logs that a tenant was not claimed. A single failure is harmless; repeated failures may mean
    /// that no host works on the tenant.
    fn note_superseded(&self, tenant: &str, stored_lease: &StoredLease, lease_duration: Duration) {
        let now = clock::now();
        let times = {
            let mut superseded = lock(&self.superseded);
            let (times, last) = superseded.entry(tenant.to_owned()).or_default();
            if now.saturating_sub(*last)
                > lease_duration.saturating_mul(SUPERSEDED_RESET_LEASE_DURATIONS)
            {
                *times = 0;
            }
            *last = now;
            *times = times.saturating_add(1);
            *times
        };
        if times < SUPERSEDED_WARN_MIN {
            debug!(source = %tenant, "a later lease of the tenant already exists");
            return;
        }
        warn!(
            source = %tenant,
            times,
            "fleet: the tenant cannot be claimed: the bucket holds a later \
             lease, of host {}, written {} s ago; if that host is not working on it, compare the clocks of \
             this machine and of NATS",
            stored_lease.host,
            stored_lease.age.as_secs()
        );
    }

    fn note_taken(&self, state: &StoredSource) {
        self.counts.taken.fetch_add(1, Ordering::Relaxed);
        if let Some(due_ms) = state.next_poll_at_ms {
            let late_ms = epoch_ms(SystemTime::now()).saturating_sub(due_ms);
            self.counts.late_ms.fetch_max(late_ms, Ordering::Relaxed);
        }
    }

    /// Prepares a tenant, collects from it for one turn, and gives it back.
    async fn run_turn(
        &self,
        lease: &Arc<TenantLease>,
        message: &Message,
        cached: Option<PreparedTenant>,
        mut state: StoredSource,
    ) {
        let name = &lease.tenant;
        let sequence = lease.epoch().sequence;
        let cached = cached.filter(|cached| cached.sequence == sequence);
        let mut tenant = match cached {
            Some(cached) => {
                cached.permit.replace(Arc::clone(&lease.permit));
                cached
            }
            None => match self.prepare(lease, &message.payload, &state).await {
                Ok(Some(prepared)) => prepared,
                Ok(None) => {
                    if let Err(error) = lease.commit(&state, true).await {
                        debug!(source = %name, "its pause was not stored: {error:?}");
                    }
                    return lease.give_back(PAUSED_DELAY).await;
                }
                Err(failure) => {
                    error!(source = %name, "{failure}");
                    state.note_start_error(&failure.message);
                    let registry = &self.context.registry;
                    let entry = registry.entry(name);
                    let entry = entry.unwrap_or_else(|| registry.add_source(name, Vec::new()));
                    entry.set_paused(None);
                    entry.set_run_state(RunState::Starting);
                    entry.update(&state);
                    if let Err(error) = lease.commit(&state, false).await {
                        debug!(source = %name, "its failure was not stored: {error:?}");
                    }
                    return lease.give_back(FAILED_DELAY).await;
                }
            },
        };
        self.context.registry.restore_source(&tenant.entry);
        tenant.entry.update(&state);
        tenant.entry.set_run_state(RunState::Running);
        let store: Arc<dyn CheckpointStore> = lease.clone();
        let end = {
            let turn = tenant.source_loop.run_turn(state, store, TURN_MAX);
            tokio::pin!(turn);
            tokio::select! {
                end = &mut turn => end,
                () = lease.keep_alive() => turn.await,
            }
        };
        let wait = self.handle_turn_end(lease, &tenant, end);
        // Not cached after refused credentials, so that they are read again.
        let last_error = tenant.source_loop.source_state().last_error.as_ref();
        let is_unauthorized = last_error.is_some_and(|error| error.kind == "unauthorized");
        let evicted = if is_unauthorized {
            None
        } else {
            lock(&self.cache).put(name.clone(), tenant)
        };
        if let Some(evicted) = evicted {
            lock(&self.last_taken_at).remove(&evicted);
            self.context.registry.remove_source(&evicted);
        }
        // This is the last step, because another host, or this one, may take the tenant immediately.
        lease.give_back(wait).await;
    }

    /// Stops reporting the tenants that another host has taken or that were removed. If such a tenant is
    /// still worked on, and was taken longer ago than a lease lasts, ends its permit instead. `own` are the
    /// tenants of this host, as NATS had them at `requested_at` or later.
    fn reconcile_tenants(
        &self,
        own: &BTreeSet<String>,
        requested_at: Duration,
        lease_duration: Duration,
    ) {
        lock(&self.last_taken_at).retain(|tenant, taken_at| {
            if *taken_at >= requested_at || own.contains(tenant) {
                return true;
            }
            if let Some((_, permit)) = self.active_leases().get(tenant) {
                // Its turn still waits for an output, so it has not noticed that the lease is lost. Its
                // checkpoint would be refused.
                if requested_at.saturating_sub(*taken_at) > lease_duration {
                    permit.end();
                }
                return true;
            }
            self.context.registry.remove_source(tenant);
            false
        });
        let reset_after = lease_duration.saturating_mul(SUPERSEDED_RESET_LEASE_DURATIONS);
        let now = clock::now();
        lock(&self.superseded).retain(|_, (_, last)| now.saturating_sub(*last) <= reset_after);
    }

    /// Handles the end of a turn: logs and counts it, and stops the host if the output is closed. Returns
    /// how long it is until the tenant is due again.
    fn handle_turn_end(
        &self,
        lease: &TenantLease,
        tenant: &PreparedTenant,
        end: TurnEnd,
    ) -> Duration {
        let name = &lease.tenant;
        match end {
            TurnEnd::Due(wait) => wait,
            TurnEnd::Ended(SourceExit::LeaseLost) => {
                if self.context.shutdown.is_requested() {
                    debug!(source = %name, "its work is abandoned, as the host stops");
                } else {
                    self.counts.expired.fetch_add(1, Ordering::Relaxed);
                    warn!(
                        source = %name,
                        "fleet: the lease of the tenant has ended; another host takes it over"
                    );
                }
                Duration::ZERO
            }
            TurnEnd::Ended(SourceExit::Stopped | SourceExit::CaughtUp) => Duration::ZERO,
            TurnEnd::Ended(SourceExit::OutputClosed) => {
                self.context.shutdown_trigger.stop();
                Duration::ZERO
            }
            TurnEnd::Ended(SourceExit::Failed(failure) | SourceExit::OutputFailed(failure)) => {
                error!(source = %name, "{failure}");
                // The tenant is tried again. Its reported state follows from its last error if the loop
                // has noted one; otherwise it is reported as ended.
                if tenant.source_loop.source_state().last_error.is_none() {
                    tenant.entry.set_run_state(RunState::Ended);
                }
                FAILED_DELAY
            }
        }
    }

    /// Prepares a tenant. Returns `None` if it is paused.
    async fn prepare(
        &self,
        lease: &Arc<TenantLease>,
        payload: &[u8],
        state: &StoredSource,
    ) -> Result<Option<PreparedTenant>, Failure> {
        let context = &self.context;
        let tenant = Tenant::decode(&lease.tenant, payload)?;
        let settings = tenant.settings(&context.settings_file, &context.inherited)?;
        let outputs = settings.outputs.clone();
        let outputs = outputs.unwrap_or_else(|| context.inherited.outputs.clone());
        let entry = context.registry.add_source(&lease.tenant, outputs);
        entry.update(state);
        if !settings.enabled {
            entry.set_paused(Some(PausedBy::Settings));
            return Ok(None);
        }
        let source = source::prepare(&context.components, &settings, NetworkAccess::Online).await?;
        let permit = Arc::new(CurrentPermit::new(Arc::clone(&lease.permit)));
        source.require_lease(permit.clone());
        source.observe_requests(Arc::new(RequestReporter {
            entry: entry.clone(),
            registry: context.registry.clone(),
        }));
        let destination = Destination {
            progress: ProgressBars::new(false, 0).add_source(&source.name, state),
            outputs: Arc::clone(&context.outputs),
            output_names: settings.outputs,
            namespace: source.description.namespace.clone(),
            dead_letter: context.dead_letters.sink_for(&source.name),
            entry: entry.clone(),
            registry: context.registry.clone(),
        };
        let source_loop = SourceLoop {
            source: Arc::new(source),
            source_state: StoredSource::new(&lease.tenant),
            store: lease.clone(),
            sink: Arc::new(destination),
            once: false,
            wake: Arc::default(),
            reloader: None,
            shutdown: context.shutdown.clone(),
        };
        Ok(Some(PreparedTenant {
            sequence: lease.epoch().sequence,
            permit,
            source_loop: source_loop.into_resumable(),
            entry,
        }))
    }
}

/// Updates what the admin server reports of the fleet. Counts that NATS does not return now are
/// zero.
async fn update_fleet_status(
    registry: &Registry,
    fleet_client: &FleetClient,
    host_report: &FleetHostReport,
) {
    let (hosts, tenants) = if fleet_client.is_connected() {
        (
            fleet_client.hosts.stream.get_info().await.ok(),
            fleet_client.tenants.get_info().await.ok(),
        )
    } else {
        (None, None)
    };
    registry.update_fleet(|status| {
        *status = FleetReport {
            host: host_report.host.clone(),
            hosts: hosts.map_or(0, |info| info.state.messages),
            tenants: tenants.map_or(0, |info| info.state.messages),
            leases: host_report.leases,
            leases_max: host_report.leases_max,
            taken: host_report.taken,
            expired: host_report.expired,
            fenced: host_report.fenced,
            late_seconds: host_report.late_ms / 1_000,
            overview: status.overview.take(),
        };
    });
}

/// Repeatedly reads hosts and tenants of the whole fleet for the admin server, and which of the
/// tenants this host still has; ends the work on those that it has lost.
async fn refresh_overview(running: Arc<RunningHost>, fleet_client: Arc<Mutex<Arc<FleetClient>>>) {
    let interval = if running.context.has_admin {
        OVERVIEW_INTERVAL
    } else {
        OVERVIEW_INTERVAL_WITHOUT_ADMIN
    };
    loop {
        let fleet_client = Arc::clone(&lock(&fleet_client));
        let started_at = clock::now();
        if fleet_client.is_connected() {
            let mut own = BTreeSet::new();
            let overview = fleet_client.overview(SystemTime::now(), |tenant, host| {
                if host == Some(&*running.name) {
                    own.insert(tenant.source);
                } else {
                    own.remove(&tenant.source);
                }
            });
            match overview.await {
                Ok(overview) => {
                    let registry = &running.context.registry;
                    registry.update_fleet(|status| status.overview = Some(overview));
                    running.reconcile_tenants(&own, started_at, fleet_client.lease_duration);
                }
                Err(failure) => debug!("fleet: no overview: {failure}"),
            }
        }
        let took = clock::now().saturating_sub(started_at);
        sleep(interval.max(took.saturating_mul(OVERVIEW_PAUSE_FACTOR))).await;
    }
}

/// Reports this host to the fleet, and the state of the fleet to the admin server.
async fn report(running: &RunningHost, fleet_client: &FleetClient) {
    let counts = &running.counts;
    let host_report = FleetHostReport {
        host: running.name.to_string(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started_at_ms: epoch_ms(running.context.registry.started_at()),
        written_at_ms: epoch_ms(SystemTime::now()),
        leases: counts.held.load(Ordering::Relaxed),
        leases_max: running.context.settings.leases_max,
        taken: counts.taken.load(Ordering::Relaxed),
        expired: counts.expired.load(Ordering::Relaxed),
        fenced: counts.fenced.load(Ordering::Relaxed),
        late_ms: counts.late_ms.swap(0, Ordering::Relaxed),
    };
    update_fleet_status(&running.context.registry, fleet_client, &host_report).await;
    if fleet_client.is_connected()
        && let Ok(value) = serde_json::to_vec(&host_report)
        && let Err(error) = fleet_client.hosts.put(&*running.name, value.into()).await
    {
        debug!("fleet: the status of this host was not stored: {error}");
    }
}

/// Reports this host again and again.
async fn report_periodically(
    running: Arc<RunningHost>,
    fleet_client: Arc<Mutex<Arc<FleetClient>>>,
) {
    loop {
        sleep(REPORT_INTERVAL).await;
        let fleet_client = Arc::clone(&lock(&fleet_client));
        report(&running, &fleet_client).await;
    }
}
