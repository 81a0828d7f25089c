//! One lease of a tenant: claimed, renewed, fenced, and given back.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime};

use async_nats::Subject;
use async_nats::client::Request;
use async_nats::jetstream::kv::{Entry, Operation, UpdateErrorKind};
use async_nats::jetstream::stream::LastRawMessageErrorKind;
use async_nats::jetstream::{AckKind, Message};
use async_trait::async_trait;
use bytes::Bytes;
use source_runtime::lease::Lease;
use source_runtime::store::{CheckpointStore, StoreError, StoredSource, epoch_ms};
use tokio::sync::{Mutex, Notify};
use tokio::time::sleep;
use tracing::{debug, warn};

use super::client::FleetClient;
use super::clock;
use super::tenant_value::{LeaseEpoch, TenantValue};

/// Interval at which a deadline is checked: a timer does not advance while the machine is
/// suspended.
const DEADLINE_CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// Maximum number of tries to claim a tenant: a read may be answered by a server that lags behind.
const CLAIM_TRIES_MAX: u32 = 3;

/// Whether, and until when, this host may work on a tenant. Each lease has its own: that of a lease which is
/// given back may end when the next lease of the tenant has begun.
#[derive(Debug)]
pub(crate) struct WorkPermit {
    /// In milliseconds of [`clock::now`]; zero: ended.
    until_ms: AtomicU64,
    /// Whether the work should stop earlier.
    is_stop_requested: AtomicBool,
    changed: Notify,
}

fn bounded_ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl WorkPermit {
    /// Grants the tenant to this host until `until`.
    pub(crate) fn new(until: Duration) -> Self {
        Self {
            until_ms: AtomicU64::new(bounded_ms(until)),
            is_stop_requested: AtomicBool::new(false),
            changed: Notify::new(),
        }
    }

    /// Extends a lease that has not ended. Returns whether it has not.
    fn extend(&self, until: Duration) -> bool {
        let extended = |now: u64| (now > 0).then_some(bounded_ms(until));
        let order = Ordering::Relaxed;
        self.until_ms.fetch_update(order, order, extended).is_ok()
    }

    /// Requests that the work stop now. The tenant can still be given back.
    pub(crate) fn request_stop(&self) {
        self.is_stop_requested.store(true, Ordering::Relaxed);
        self.changed.notify_waiters();
    }

    /// Ends the lease: nothing may be sent for it any more.
    pub(crate) fn end(&self) {
        self.until_ms.store(0, Ordering::Relaxed);
        self.changed.notify_waiters();
    }

    /// Returns how long it is until the deadline.
    fn remaining(&self) -> Duration {
        Duration::from_millis(self.until_ms.load(Ordering::Relaxed)).saturating_sub(clock::now())
    }

    /// Returns whether the deadline has not passed: the server has given the tenant to no other
    /// host.
    pub(crate) fn has_time_left(&self) -> bool {
        !self.remaining().is_zero()
    }
}

#[async_trait]
impl Lease for WorkPermit {
    fn permits_work(&self) -> bool {
        !self.is_stop_requested.load(Ordering::Relaxed) && self.has_time_left()
    }

    async fn revoked(&self) {
        loop {
            let changed = self.changed.notified();
            if !self.permits_work() {
                return;
            }
            tokio::select! {
                () = sleep(self.remaining().min(DEADLINE_CHECK_INTERVAL)) => {}
                () = changed => {}
            }
        }
    }
}

/// The permit of the lease for which a prepared tenant is worked on, or was last. Its source, which several
/// leases use in turn, holds this as its lease.
#[derive(Debug)]
pub(crate) struct CurrentPermit(std::sync::Mutex<Arc<WorkPermit>>);

impl CurrentPermit {
    pub(crate) fn new(permit: Arc<WorkPermit>) -> Self {
        Self(std::sync::Mutex::new(permit))
    }

    /// Replaces the permit, before a turn of another lease begins.
    pub(crate) fn replace(&self, permit: Arc<WorkPermit>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = permit;
    }

    fn get(&self) -> Arc<WorkPermit> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl Lease for CurrentPermit {
    fn permits_work(&self) -> bool {
        self.get().permits_work()
    }

    async fn revoked(&self) {
        self.get().revoked().await;
    }
}

/// The lease of a tenant that this host has.
#[derive(Debug)]
pub(crate) struct TenantLease {
    pub(crate) tenant: String,
    fleet_client: Arc<FleetClient>,
    /// The number of the connection through which its message came.
    connection_number: u64,
    /// The subject for acknowledgements of its message.
    reply: Subject,
    epoch: LeaseEpoch,
    host: Arc<str>,
    pub(crate) permit: Arc<WorkPermit>,
    /// The last revision of its key that this host knows.
    revision: Mutex<u64>,
}

/// The outcome of claiming a tenant.
pub(crate) enum ClaimOutcome {
    /// The tenant belongs to this host; contains its stored state.
    Claimed(Box<StoredSource>),
    /// The bucket already holds a later lease of it.
    Superseded(StoredLease),
    /// This lease ended before the tenant was claimed, or others were faster.
    TooLate,
    /// The tenant was removed.
    Removed,
}

/// A lease in the bucket that prevents an earlier one from claiming the tenant.
#[derive(Debug)]
pub(crate) struct StoredLease {
    /// The host that has the lease, or had it last.
    pub(crate) host: String,
    /// How long ago it was written.
    pub(crate) age: Duration,
}

/// Why a tenant could not be claimed. The caller gives the tenant back with a delay.
#[derive(Debug)]
pub(crate) enum ClaimError {
    /// NATS did not answer, or answered with an error.
    Unavailable(String),
    /// The value of the tenant in the bucket cannot be used.
    Unusable(String),
    /// The value of the tenant in the bucket is intact, but cannot be written again.
    TooLarge(String),
}

impl ClaimError {
    /// Formats it for the log, with what to do. `discard_advice` is how to do without the value in the
    /// bucket.
    pub(crate) fn message(&self, discard_advice: &str) -> String {
        match self {
            Self::Unavailable(reason) => format!("fleet: the tenant was not claimed: {reason}"),
            Self::Unusable(reason) => format!(
                "fleet: the entry of the tenant in the bucket {reason}; restore it from a copy, or \
                 {discard_advice} to begin again at `start`"
            ),
            Self::TooLarge(reason) => {
                format!("fleet: the tenant cannot be claimed, its position is kept: {reason}")
            }
        }
    }
}

/// Returns how long before the end of the lease a host stops, to allow for clocks that run
/// differently and for work that takes time to stop.
fn margin(lease_duration: Duration) -> Duration {
    lease_duration / 10
}

/// Returns until when a message that was requested at `requested_at` belongs to this host.
pub(crate) fn deadline(requested_at: Duration, lease_duration: Duration) -> Duration {
    let end = requested_at.saturating_add(lease_duration);
    end.saturating_sub(margin(lease_duration))
}

/// Returns how long ago a value was written, by the clocks of NATS and of this machine.
fn age(entry: &Entry) -> Duration {
    let written_ms = entry.created.unix_timestamp_nanos() / 1_000_000;
    let written_ms = u64::try_from(written_ms).unwrap_or_default();
    Duration::from_millis(epoch_ms(SystemTime::now()).saturating_sub(written_ms))
}

/// Returns whether the lease of this host is later than the lease in the bucket, which was written
/// `stored_age` ago. Only a later lease may claim the tenant.
///
/// A lease with a greater epoch is later. The epoch alone is not enough: it starts again with a new
/// consumer, and decreases with a stream that was restored from an older backup or created while the
/// clock was behind. So the age counts as well: the lease of this host was requested less than
/// `lease_duration` ago, so a value that was written before that belongs to an earlier lease,
/// whatever its epoch. If the clocks disagree, the earlier lease may claim the tenant;
/// compare-and-set still lets only one of the two commit.
///
/// A lease with an equal epoch is never later, and the tenant waits for the next delivery of its
/// message: a commit recognizes the values of its own lease by their epoch.
fn is_later(
    own: LeaseEpoch,
    stored: LeaseEpoch,
    stored_age: Duration,
    lease_duration: Duration,
) -> bool {
    own > stored || (own != stored && stored_age > lease_duration)
}

impl TenantLease {
    /// Creates the lease that comes with a message, which was requested on that connection.
    /// `permit` is of no other lease. The error is a clause.
    pub(crate) fn new(
        fleet_client: Arc<FleetClient>,
        connection_number: u64,
        message: &Message,
        tenant: &str,
        host: Arc<str>,
        permit: Arc<WorkPermit>,
    ) -> Result<Self, String> {
        let info = message.info().map_err(|error| error.to_string())?;
        let epoch = LeaseEpoch {
            stream_created_ms: fleet_client.stream_created_ms,
            sequence: info.stream_sequence,
            deliveries: u64::try_from(info.delivered).unwrap_or_default(),
        };
        let reply = message.reply.clone();
        Ok(Self {
            tenant: tenant.to_owned(),
            fleet_client,
            connection_number,
            reply: reply.ok_or_else(|| "it has no reply subject".to_owned())?,
            epoch,
            host,
            permit,
            revision: Mutex::new(0),
        })
    }

    /// Claims the tenant, and returns its stored state.
    pub(crate) async fn claim(&self) -> Result<ClaimOutcome, ClaimError> {
        let unavailable = |error: &dyn fmt::Display| ClaimError::Unavailable(error.to_string());
        let (tenant, bucket) = (&*self.tenant, &self.fleet_client.checkpoints);
        for _ in 0..CLAIM_TRIES_MAX {
            let entry = bucket.entry(tenant).await;
            let entry = entry.map_err(|error| unavailable(&error))?;
            let (revision, stored_value) = match &entry {
                None => (0, None),
                Some(entry) => match entry.operation {
                    Operation::Delete | Operation::Purge => (entry.revision, None),
                    Operation::Put => {
                        let decoded = TenantValue::decode(&entry.value);
                        (entry.revision, Some(decoded.map_err(ClaimError::Unusable)?))
                    }
                },
            };
            if !self.permit.permits_work() {
                return Ok(ClaimOutcome::TooLate);
            }
            if let (Some(entry), Some(stored)) = (&entry, &stored_value) {
                let age = age(entry);
                if !is_later(
                    self.epoch,
                    stored.epoch,
                    age,
                    self.fleet_client.lease_duration,
                ) {
                    return Ok(ClaimOutcome::Superseded(StoredLease {
                        host: stored.host.clone(),
                        age,
                    }));
                }
                if self.epoch < stored.epoch {
                    debug!(
                        source = %tenant,
                        "the bucket holds a lease with a greater epoch, which has ended"
                    );
                }
            }
            let is_first = stored_value.is_none();
            let is_paused = stored_value.as_ref().is_some_and(|stored| stored.is_paused);
            let state =
                stored_value.map_or_else(|| StoredSource::new(tenant), |stored| stored.state);
            let claimed = TenantValue {
                epoch: self.epoch,
                host: self.host.to_string(),
                is_paused,
                state,
            };
            let value = claimed.encode().map_err(ClaimError::TooLarge)?;
            let revision = match bucket.update(tenant, value.into(), revision).await {
                Ok(revision) => revision,
                // The read was answered by another server of the cluster, which lags behind.
                Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => continue,
                Err(error) => return Err(unavailable(&error)),
            };
            if is_first && !self.message_exists().await? {
                // Removed since the message came. Nothing of it may remain.
                let purged = bucket.purge_expect_revision(tenant, Some(revision));
                purged.await.map_err(|error| unavailable(&error))?;
                return Ok(ClaimOutcome::Removed);
            }
            *self.revision.lock().await = revision;
            return Ok(ClaimOutcome::Claimed(Box::new(claimed.state)));
        }
        Ok(ClaimOutcome::TooLate)
    }

    /// Returns whether the message of the tenant is still in the stream.
    async fn message_exists(&self) -> Result<bool, ClaimError> {
        let subject = self.fleet_client.subject_of(&self.tenant);
        let tenants = &self.fleet_client.tenants;
        match tenants.get_last_raw_message_by_subject(&subject).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(false),
            Err(error) => Err(ClaimError::Unavailable(error.to_string())),
        }
    }

    /// Returns the epoch of the lease.
    pub(crate) fn epoch(&self) -> LeaseEpoch {
        self.epoch
    }

    /// Renews the lease while it is held and this future is awaited.
    pub(crate) async fn keep_alive(&self) {
        let lease_duration = self.fleet_client.lease_duration;
        loop {
            let granted = lease_duration.saturating_sub(margin(lease_duration));
            let elapsed = granted.saturating_sub(self.permit.remaining());
            sleep((lease_duration / 3).saturating_sub(elapsed)).await;
            if !self.permit.permits_work() {
                return self.permit.revoked().await;
            }
            if !self.renew().await {
                sleep(lease_duration / 20).await;
            }
        }
    }

    /// Requests an extension from the server. Only a response that came before the deadline counts:
    /// after it, the server would extend the lease of the host that has the tenant by then.
    async fn renew(&self) -> bool {
        let is_same_connection = || self.fleet_client.connection_number() == self.connection_number;
        if !self.fleet_client.is_connected() || !is_same_connection() {
            return false;
        }
        let requested_at = clock::now();
        let timeout = self
            .permit
            .remaining()
            .min(self.fleet_client.lease_duration / 3);
        let request = Request::new()
            .payload(Bytes::from(AckKind::Progress))
            .timeout(Some(timeout));
        match self
            .fleet_client
            .client
            .send_request(self.reply.clone(), request)
            .await
        {
            Ok(_) if self.permit.has_time_left() && is_same_connection() => {
                let until = deadline(requested_at, self.fleet_client.lease_duration);
                self.permit.extend(until)
            }
            Ok(_) => false,
            Err(error) => {
                debug!(source = %self.tenant, "its lease was not renewed: {error}");
                false
            }
        }
    }

    /// Gives the tenant back to the server; it is due again after `delay`. Sends nothing after the
    /// deadline.
    pub(crate) async fn give_back(&self, delay: Duration) {
        let delay = delay.max(Duration::from_millis(1)); // without one, the server waits `ack_wait`
        if self.permit.has_time_left() && self.fleet_client.is_connected() {
            let payload = Bytes::from(AckKind::Nak(Some(delay)));
            let sent = self
                .fleet_client
                .client
                .publish(self.reply.clone(), payload)
                .await;
            if let Err(error) = sent {
                debug!(source = %self.tenant, "it was not given back: {error}");
            }
        }
        self.permit.end();
    }

    /// Stores the state of the tenant, unless another host has it.
    pub(crate) async fn commit(
        &self,
        source_state: &StoredSource,
        is_paused: bool,
    ) -> Result<(), StoreError> {
        let unavailable = |error: &dyn fmt::Display| {
            StoreError::Unavailable(format!("the fleet's bucket: {error}"))
        };
        let tenant_value = TenantValue {
            epoch: self.epoch,
            host: self.host.to_string(),
            is_paused,
            state: source_state.clone(),
        };
        let value = Bytes::from(tenant_value.encode().map_err(|error| unavailable(&error))?);
        let mut revision = self.revision.lock().await;
        loop {
            if !self.permit.has_time_left() {
                return Err(StoreError::Superseded);
            }
            if !self.fleet_client.is_connected() {
                return Err(unavailable(&"NATS is not connected"));
            }
            let bucket = &self.fleet_client.checkpoints;
            match bucket.update(&self.tenant, value.clone(), *revision).await {
                Ok(stored) => {
                    *revision = stored;
                    return Ok(());
                }
                Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => {}
                Err(error) => return Err(unavailable(&error)),
            }
            // The revision in the bucket may be of a commit of this host whose response was lost.
            let found = bucket.entry(&*self.tenant).await;
            let Some(found) = found.map_err(|error| unavailable(&error))? else {
                return Err(StoreError::Superseded);
            };
            let is_own = TenantValue::decode(&found.value)
                .is_ok_and(|stored| stored.epoch == self.epoch && *stored.host == *self.host);
            if !is_own || found.revision <= *revision {
                // Anything that is sent now would apply to the lease of another host.
                self.permit.end();
                warn!(
                    source = %self.tenant,
                    "another host has taken the tenant, or it was changed or removed, or its lease \
                     ended; the last batch is not counted and is collected again"
                );
                return Err(StoreError::Superseded);
            }
            *revision = found.revision;
        }
    }
}

#[async_trait]
impl CheckpointStore for TenantLease {
    async fn store(self: Arc<Self>, source_state: Arc<StoredSource>) -> Result<(), StoreError> {
        self.commit(&source_state, false).await
    }

    fn discard_advice(&self, source: &str) -> String {
        format!("remove the tenant with `source-host fleet remove`, and add `{source}` again")
    }
}

#[cfg(test)]
mod tests {
    use source_runtime::store::StoredStream;

    use super::*;

    const LEASE_DURATION: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn a_lease_ends_by_itself_and_counts_from_before_the_tenant_was_requested() {
        let requested_at = clock::now();
        assert_eq!(
            deadline(requested_at, LEASE_DURATION),
            requested_at + Duration::from_secs(27)
        );
        let permit = WorkPermit::new(requested_at + Duration::from_millis(200));
        assert!(permit.permits_work());
        permit.revoked().await;
        assert!(clock::now() >= requested_at + Duration::from_millis(200));
        assert!(!permit.permits_work() && !permit.has_time_left());
        // A machine that was suspended for longer than the lease.
        let permit = WorkPermit::new(requested_at.saturating_sub(LEASE_DURATION));
        assert!(!permit.permits_work());
    }

    #[tokio::test]
    async fn work_stops_on_request_while_the_tenant_can_still_be_given_back() {
        let permit = Arc::new(WorkPermit::new(deadline(clock::now(), LEASE_DURATION)));
        let waiting = tokio::spawn({
            let permit = Arc::clone(&permit);
            async move { permit.revoked().await }
        });
        permit.request_stop();
        waiting.await.unwrap();
        assert!(!permit.permits_work() && permit.has_time_left());
        permit.end();
        assert!(!permit.has_time_left());
    }

    #[tokio::test]
    async fn a_lease_that_ends_late_does_not_end_the_next_one_of_its_tenant() {
        let permit = || Arc::new(WorkPermit::new(deadline(clock::now(), LEASE_DURATION)));
        let (given_back, next) = (permit(), permit());
        let current = CurrentPermit::new(Arc::clone(&given_back));
        given_back.request_stop();
        assert!(!current.permits_work());
        current.revoked().await;
        current.replace(Arc::clone(&next));
        given_back.end();
        assert!(current.permits_work());
        next.end();
        assert!(!current.permits_work());
        current.revoked().await;
    }

    #[test]
    fn numbers_that_went_back_hold_a_tenant_for_one_lease_only() {
        let epoch = |stream_created_ms, sequence, deliveries| LeaseEpoch {
            stream_created_ms,
            sequence,
            deliveries,
        };
        let own = epoch(5, 7, 2);
        let (fresh, old) = (LEASE_DURATION, LEASE_DURATION + Duration::from_millis(1));
        assert!(is_later(
            own,
            epoch(5, 7, 1),
            Duration::ZERO,
            LEASE_DURATION
        ));
        // A new consumer, a restored stream, and one that was made by a clock that is behind.
        for stored in [epoch(5, 7, 1_440), epoch(5, 900, 1), epoch(6, 1, 1)] {
            assert!(!is_later(own, stored, fresh, LEASE_DURATION), "{stored:?}");
            assert!(is_later(own, stored, old, LEASE_DURATION), "{stored:?}");
        }
        // The two values could not be distinguished.
        assert!(!is_later(own, own, old, LEASE_DURATION));
    }

    #[test]
    fn only_a_value_that_cannot_be_used_is_to_be_replaced() {
        let message = |error: ClaimError| error.message("remove it");
        let unusable = message(ClaimError::Unusable("is not a checkpoint".to_owned()));
        assert!(unusable.contains("bucket is not a checkpoint; restore it"));
        assert!(unusable.contains(", or remove it to begin again"));
        for error in [ClaimError::TooLarge, ClaimError::Unavailable] {
            let message = message(error("the reason".to_owned()));
            assert!(message.ends_with(": the reason"), "{message}");
        }

        let mut state = StoredSource::new("acme");
        for number in 0..2_000 {
            state
                .streams
                .insert(format!("stream-{number}"), StoredStream::default());
        }
        let value = TenantValue {
            epoch: LeaseEpoch::default(),
            host: "host".to_owned(),
            is_paused: false,
            state,
        };
        let error = value.encode().map_err(ClaimError::TooLarge).unwrap_err();
        let message = message(error);
        assert!(message.contains("its position is kept: its status has "));
        assert!(message.ends_with("; select fewer streams"), "{message}");
    }
}
