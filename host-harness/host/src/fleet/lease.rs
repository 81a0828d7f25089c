//! One lease of a tenant: claimed, renewed, fenced, and given back.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
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
use super::tenant_value::{Epoch, TenantValue};

/// Interval at which a deadline is checked: a timer does not advance while the machine is suspended.
const DEADLINE_CHECK: Duration = Duration::from_secs(1);
/// A read that was answered by a server that lags behind is tried again so often.
const CLAIM_TRIES_MAX: u32 = 3;

/// Until when this host may work on a tenant.
#[derive(Debug, Default)]
pub(crate) struct Deadline {
    /// In milliseconds of [`clock::now`]; zero: never had, or over.
    until_ms: AtomicU64,
    /// Whether the work shall end before that.
    is_recalled: AtomicBool,
    changed: Notify,
}

impl Deadline {
    /// Has the tenant until `until`.
    pub(crate) fn grant(&self, until: Duration) {
        self.is_recalled.store(false, Ordering::Relaxed);
        self.extend(until);
    }

    fn extend(&self, until: Duration) {
        let until_ms = u64::try_from(until.as_millis()).unwrap_or(u64::MAX);
        self.until_ms.store(until_ms, Ordering::Relaxed);
    }

    /// Has the work end now.
    pub(crate) fn recall(&self) {
        self.is_recalled.store(true, Ordering::Relaxed);
        self.changed.notify_waiters();
    }

    /// Ends for good: nothing may be sent for it any more.
    pub(crate) fn end(&self) {
        self.until_ms.store(0, Ordering::Relaxed);
        self.changed.notify_waiters();
    }

    /// How long it is until the deadline.
    fn remaining(&self) -> Duration {
        Duration::from_millis(self.until_ms.load(Ordering::Relaxed)).saturating_sub(clock::now())
    }

    /// Whether the server has not given the tenant to another host yet.
    pub(crate) fn is_in_time(&self) -> bool {
        !self.remaining().is_zero()
    }
}

#[async_trait]
impl Lease for Deadline {
    fn is_held(&self) -> bool {
        !self.is_recalled.load(Ordering::Relaxed) && self.is_in_time()
    }

    async fn ended(&self) {
        loop {
            let changed = self.changed.notified();
            if !self.is_held() {
                return;
            }
            tokio::select! {
                () = sleep(self.remaining().min(DEADLINE_CHECK)) => {}
                () = changed => {}
            }
        }
    }
}

/// A tenant that this host has.
#[derive(Debug)]
pub(crate) struct TenantLease {
    pub(crate) tenant: String,
    fleet_client: Arc<FleetClient>,
    /// The connection by which it came.
    connection: u64,
    /// Where answers for its message go.
    reply: Subject,
    epoch: Epoch,
    host: Arc<str>,
    pub(crate) deadline: Arc<Deadline>,
    /// The last revision of its key that this host knows.
    revision: Mutex<u64>,
}

/// The outcome of claiming a tenant.
pub(crate) enum ClaimOutcome {
    /// The tenant is this host's, with its stored state.
    Held(Box<StoredSource>),
    /// A later lease of it was there already.
    Superseded(StandingLease),
    /// This one was over before it began, or others were faster.
    Late,
    /// The tenant was removed.
    Removed,
}

/// A lease in the bucket that keeps an earlier one from claiming the tenant.
#[derive(Debug)]
pub(crate) struct StandingLease {
    /// The host that has it, or had it last.
    pub(crate) host: String,
    /// How long ago it was written.
    pub(crate) age: Duration,
}

/// Why a tenant could not be claimed. Its lease ends by itself.
#[derive(Debug)]
pub(crate) enum ClaimError {
    /// NATS did not answer as it should.
    Unavailable(String),
    /// What the bucket holds for it cannot be used.
    Unusable(String),
}

/// How long before the lease ends a host stops, for clocks that do not run alike and for what takes
/// its time to stop.
fn margin(lease: Duration) -> Duration {
    lease / 10
}

/// Until when a message that was asked for at `asked` is this host's.
pub(crate) fn deadline(asked: Duration, lease: Duration) -> Duration {
    asked.saturating_add(lease).saturating_sub(margin(lease))
}

/// Returns how long ago a value was written, by the clocks of NATS and of this machine.
fn age(entry: &Entry) -> Duration {
    let written_ms = entry.created.unix_timestamp_nanos() / 1_000_000;
    let written_ms = u64::try_from(written_ms).unwrap_or_default();
    Duration::from_millis(epoch_ms(SystemTime::now()).saturating_sub(written_ms))
}

/// Returns whether a lease that is held is later than the one that the bucket holds since
/// `stored_age`, and may claim the tenant.
///
/// Numbers begin anew with a new consumer, and go back with a stream that was restored from an older
/// backup or made by a clock that is behind. But a lease that is held was asked for less than the
/// time of a lease ago, so what was written before that is of an earlier one whatever its number.
/// Where the clocks do not agree, the earlier one may win; compare-and-set still lets only one of the
/// two commit. Equal numbers wait for the next delivery: by its number a commit knows its own value.
fn is_later(own: Epoch, stored: Epoch, stored_age: Duration, lease: Duration) -> bool {
    own > stored || (own != stored && stored_age > lease)
}

impl TenantLease {
    /// The lease that comes with a message, which was asked for by that connection. `deadline` has
    /// been granted. The error is a clause.
    pub(crate) fn new(
        fleet_client: Arc<FleetClient>,
        connection: u64,
        message: &Message,
        tenant: &str,
        host: Arc<str>,
        deadline: Arc<Deadline>,
    ) -> Result<Self, String> {
        let info = message.info().map_err(|error| error.to_string())?;
        let epoch = Epoch {
            stream_created_ms: fleet_client.stream_created_ms,
            sequence: info.stream_sequence,
            deliveries: u64::try_from(info.delivered).unwrap_or_default(),
        };
        let reply = message.reply.clone();
        Ok(Self {
            tenant: tenant.to_owned(),
            fleet_client,
            connection,
            reply: reply.ok_or_else(|| "there is no place for its answer".to_owned())?,
            epoch,
            host,
            deadline,
            revision: Mutex::new(0),
        })
    }

    /// Takes over the tenant, with its stored state.
    pub(crate) async fn claim(&self) -> Result<ClaimOutcome, ClaimError> {
        let unavailable = |error: &dyn fmt::Display| ClaimError::Unavailable(error.to_string());
        let (tenant, bucket) = (&*self.tenant, &self.fleet_client.checkpoints);
        for _ in 0..CLAIM_TRIES_MAX {
            let found = bucket.entry(tenant).await;
            let found = found.map_err(|error| unavailable(&error))?;
            let (revision, entry) = match &found {
                None => (0, None),
                Some(entry) => match entry.operation {
                    Operation::Delete | Operation::Purge => (entry.revision, None),
                    Operation::Put => {
                        let decoded = TenantValue::decode(&entry.value);
                        (entry.revision, Some(decoded.map_err(ClaimError::Unusable)?))
                    }
                },
            };
            if !self.deadline.is_held() {
                return Ok(ClaimOutcome::Late);
            }
            if let (Some(found), Some(stored)) = (&found, &entry) {
                let age = age(found);
                if !is_later(self.epoch, stored.epoch, age, self.fleet_client.lease) {
                    return Ok(ClaimOutcome::Superseded(StandingLease {
                        host: stored.host.clone(),
                        age,
                    }));
                }
                if self.epoch < stored.epoch {
                    debug!(
                        source = %tenant,
                        "the bucket holds a lease with a greater number, which is over"
                    );
                }
            }
            let is_first = entry.is_none();
            let is_paused = entry.as_ref().is_some_and(|entry| entry.is_paused);
            let state = entry.map_or_else(|| StoredSource::new(tenant), |entry| entry.state);
            let claimed = TenantValue {
                epoch: self.epoch,
                host: self.host.to_string(),
                is_paused,
                state,
            };
            let value = claimed.encode().map_err(ClaimError::Unusable)?;
            let revision = match bucket.update(tenant, value.into(), revision).await {
                Ok(revision) => revision,
                // Another server of the cluster was asked, and is behind.
                Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => continue,
                Err(error) => return Err(unavailable(&error)),
            };
            if is_first && !self.is_there().await? {
                // Removed since the message came. Nothing may be left of it.
                let purged = bucket.purge_expect_revision(tenant, Some(revision));
                purged.await.map_err(|error| unavailable(&error))?;
                return Ok(ClaimOutcome::Removed);
            }
            *self.revision.lock().await = revision;
            return Ok(ClaimOutcome::Held(Box::new(claimed.state)));
        }
        Ok(ClaimOutcome::Late)
    }

    /// Whether the message of a tenant is still in the stream.
    async fn is_there(&self) -> Result<bool, ClaimError> {
        let subject = self.fleet_client.subject_of(&self.tenant);
        let tenants = &self.fleet_client.tenants;
        match tenants.get_last_raw_message_by_subject(&subject).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(false),
            Err(error) => Err(ClaimError::Unavailable(error.to_string())),
        }
    }

    /// The epoch of the lease.
    pub(crate) fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Renews the lease for as long as it is polled and held.
    pub(crate) async fn keep_alive(&self) {
        let lease = self.fleet_client.lease;
        loop {
            let full = lease.saturating_sub(margin(lease));
            let used = full.saturating_sub(self.deadline.remaining());
            sleep((lease / 3).saturating_sub(used)).await;
            if !self.deadline.is_held() {
                return self.deadline.ended().await;
            }
            if !self.renew().await {
                sleep(lease / 20).await;
            }
        }
    }

    /// Asks the server for more time. Only an answer that came before the deadline counts: after
    /// it, the server would extend the lease of whoever has the tenant by then.
    async fn renew(&self) -> bool {
        let is_same = || self.fleet_client.connection() == self.connection;
        if !self.fleet_client.is_connected() || !is_same() {
            return false;
        }
        let asked = clock::now();
        let within = self.deadline.remaining().min(self.fleet_client.lease / 3);
        let request = Request::new()
            .payload(Bytes::from(AckKind::Progress))
            .timeout(Some(within));
        match self
            .fleet_client
            .client
            .send_request(self.reply.clone(), request)
            .await
        {
            Ok(_) if self.deadline.is_in_time() && is_same() => {
                self.deadline
                    .extend(deadline(asked, self.fleet_client.lease));
                true
            }
            Ok(_) => false,
            Err(error) => {
                debug!(source = %self.tenant, "its lease is not renewed: {error}");
                false
            }
        }
    }

    /// Gives the tenant back; it is due after `delay`. Does nothing after the deadline.
    pub(crate) async fn give_back(&self, delay: Duration) {
        let delay = delay.max(Duration::from_millis(1)); // without one, the server waits `ack_wait`
        if self.deadline.is_in_time() && self.fleet_client.is_connected() {
            let payload = Bytes::from(AckKind::Nak(Some(delay)));
            let sent = self
                .fleet_client
                .client
                .publish(self.reply.clone(), payload)
                .await;
            if let Err(error) = sent {
                debug!(source = %self.tenant, "it is not given back: {error}");
            }
        }
        self.deadline.end();
    }

    /// Stores what is kept of the tenant, if no other host has it.
    pub(crate) async fn commit(
        &self,
        source_state: &StoredSource,
        is_paused: bool,
    ) -> Result<(), StoreError> {
        let unavailable = |error: &dyn fmt::Display| {
            StoreError::Unavailable(format!("the fleet's bucket: {error}"))
        };
        let entry = TenantValue {
            epoch: self.epoch,
            host: self.host.to_string(),
            is_paused,
            state: source_state.clone(),
        };
        let value = Bytes::from(entry.encode().map_err(|error| unavailable(&error))?);
        let mut revision = self.revision.lock().await;
        loop {
            if !self.deadline.is_in_time() {
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
            // Whose is the revision that is there? A commit whose answer was lost is this host's.
            let found = bucket.entry(&*self.tenant).await;
            let Some(found) = found.map_err(|error| unavailable(&error))? else {
                return Err(StoreError::Superseded);
            };
            let own = TenantValue::decode(&found.value)
                .is_ok_and(|entry| entry.epoch == self.epoch && *entry.host == *self.host);
            if !own || found.revision <= *revision {
                // Whatever is sent now would be for the lease of another.
                self.deadline.end();
                warn!(
                    source = %self.tenant,
                    "another host has the tenant, which was changed or removed, or whose lease \
                     ended; the last batch is not counted and comes again"
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
    use super::*;

    const LEASE: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn a_deadline_ends_by_itself_and_counts_from_before_the_tenant_was_asked_for() {
        let asked = clock::now();
        assert_eq!(deadline(asked, LEASE), asked + Duration::from_secs(27));
        let held = Deadline::default();
        assert!(!held.is_held());
        held.grant(asked + Duration::from_millis(200));
        assert!(held.is_held());
        held.ended().await;
        assert!(clock::now() >= asked + Duration::from_millis(200));
        assert!(!held.is_held() && !held.is_in_time());
        // A machine that was suspended for longer than the lease.
        held.grant(asked.saturating_sub(LEASE));
        assert!(!held.is_held());
    }

    #[tokio::test]
    async fn work_that_is_recalled_ends_while_the_tenant_can_still_be_given_back() {
        let held = Arc::new(Deadline::default());
        held.grant(deadline(clock::now(), LEASE));
        let waiting = tokio::spawn({
            let held = Arc::clone(&held);
            async move { held.ended().await }
        });
        held.recall();
        waiting.await.unwrap();
        assert!(!held.is_held() && held.is_in_time());
        held.end();
        assert!(!held.is_in_time());
        held.grant(deadline(clock::now(), LEASE));
        assert!(held.is_held());
    }

    #[test]
    fn numbers_that_went_back_hold_a_tenant_for_one_lease_only() {
        let epoch = |stream_created_ms, sequence, deliveries| Epoch {
            stream_created_ms,
            sequence,
            deliveries,
        };
        let own = epoch(5, 7, 2);
        let (fresh, old) = (LEASE, LEASE + Duration::from_millis(1));
        assert!(is_later(own, epoch(5, 7, 1), Duration::ZERO, LEASE));
        // A new consumer, a restored stream, and one that was made by a clock that is behind.
        for stored in [epoch(5, 7, 1_440), epoch(5, 900, 1), epoch(6, 1, 1)] {
            assert!(!is_later(own, stored, fresh, LEASE), "{stored:?}");
            assert!(is_later(own, stored, old, LEASE), "{stored:?}");
        }
        // The two values could not be distinguished.
        assert!(!is_later(own, own, old, LEASE));
    }
}
