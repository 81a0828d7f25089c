//! All tenants and hosts of a fleet: tenants are added, changed, removed and listed, and both are
//! summarized.

use std::collections::BTreeMap;
use std::process;
use std::time::SystemTime;

use async_nats::HeaderMap;
use async_nats::header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE;
use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::kv::{self, Operation, UpdateErrorKind};
use async_nats::jetstream::stream::LastRawMessageErrorKind;
use futures_util::StreamExt as _;
use source_common::exit::Failure;
use source_runtime::store::{Heartbeat, State, StoredSource, epoch_ms};
use tokio::time::timeout;

use super::client::FleetClient;
use super::tenant::Tenant;
use super::tenant_value::{LeaseEpoch, TenantValue};
use crate::report::{
    FleetHostReport, FleetOverview, HostSnapshot, OldestDue, PausedBy, SourceReport,
    SourceRuntimeState, Time,
};

/// A tenant and the sequence number of its message in the stream.
pub(crate) struct StoredTenant {
    pub(crate) tenant: Tenant,
    sequence: u64,
}

impl FleetClient {
    /// Returns the tenant of that name.
    pub(crate) async fn tenant(&self, name: &str) -> Result<Option<StoredTenant>, Failure> {
        let subject = self.subject_of(name);
        match self.tenants.get_last_raw_message_by_subject(&subject).await {
            Ok(message) => Ok(Some(StoredTenant {
                tenant: Tenant::decode(name, &message.payload)?,
                sequence: message.sequence,
            })),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(failed(name, &error)),
        }
    }

    /// Stores a tenant in place of `former`; without `former`, there must be no tenant of that
    /// name.
    pub(crate) async fn put(
        &self,
        tenant: &Tenant,
        former: Option<&StoredTenant>,
    ) -> Result<(), Failure> {
        let name = &tenant.name;
        let mut headers = HeaderMap::new();
        let sequence = former.map_or(0, |former| former.sequence);
        headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, sequence.to_string());
        let (subject, message) = (self.subject_of(name), tenant.encode());
        let published = self
            .context
            .publish_with_headers(subject, headers, message.into());
        let stored = match published.await {
            Ok(stored) => stored.await,
            Err(error) => Err(error),
        };
        match stored {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => {
                Err(Failure::failed(match former {
                    None => {
                        format!("tenant `{name}`: already exists; change it with `fleet change`")
                    }
                    Some(_) => {
                        format!(
                            "tenant `{name}`: was changed by someone else in the meantime; try again"
                        )
                    }
                }))
            }
            Err(error) => Err(failed(name, &error)),
        }
    }

    /// Removes a tenant and its checkpoint, even if only one of them exists. Returns whether one
    /// did.
    pub(crate) async fn remove(&self, name: &str) -> Result<bool, Failure> {
        let purged = self.tenants.purge().filter(self.subject_of(name));
        let purged = purged.await.map_err(|error| failed(name, &error))?;
        // Checked only if there was no tenant: a server of a cluster may lag behind.
        if purged.purged == 0 {
            let entry = self.checkpoints.entry(name).await;
            let entry = entry.map_err(|error| failed(name, &error))?;
            if entry.is_none_or(|entry| entry.operation != Operation::Put) {
                return Ok(false);
            }
        }
        let checkpoint = self.checkpoints.purge(name).await;
        checkpoint.map_err(|error| failed(name, &error))?;
        Ok(true)
    }

    /// Imports the state of a tenant from a state directory, unless a host has worked on the
    /// tenant. May be repeated. Returns whether the state was imported.
    pub(crate) async fn import(&self, state: StoredSource) -> Result<bool, Failure> {
        let name = state.source.clone();
        let entry = self.checkpoints.entry(&*name).await;
        let revision = match entry.map_err(|error| failed(&name, &error))? {
            None => 0,
            Some(entry) => match entry.operation {
                Operation::Delete | Operation::Purge => entry.revision,
                Operation::Put => {
                    let is_imported =
                        TenantValue::decode(&entry.value).is_ok_and(|value| value.is_imported());
                    if !is_imported {
                        return Ok(false);
                    }
                    entry.revision
                }
            },
        };
        let imported = TenantValue {
            epoch: LeaseEpoch::default(),
            host: String::new(),
            is_paused: false,
            state,
        };
        let value = imported.encode().map_err(|reason| failed(&name, &reason))?;
        let stored = self.checkpoints.update(&name, value.into(), revision);
        match stored.await {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => Ok(false),
            Err(error) => Err(failed(&name, &error)),
        }
    }

    /// Returns the names of all tenants.
    pub(crate) async fn tenant_names(&self) -> Result<Vec<String>, Failure> {
        let prefix = format!("{}.", self.subject_prefix);
        let failure =
            |error: &dyn std::fmt::Display| Failure::failed(format!("fleet: the tenants: {error}"));
        let info = self.tenants.info_with_subjects(format!("{prefix}*")).await;
        let mut subjects = info.map_err(|error| failure(&error))?;
        let mut names = Vec::new();
        while let Some(subject) = subjects.next().await {
            let (subject, _) = subject.map_err(|error| failure(&error))?;
            names.extend(subject.strip_prefix(&*prefix).map(str::to_owned));
        }
        names.sort();
        Ok(names)
    }

    /// Reads all hosts and tenants. Calls `each` with the report of every tenant and the host that
    /// last had it, if any. If a tenant changes meanwhile, it is passed again; the last call counts.
    pub(crate) async fn overview(
        &self,
        now: SystemTime,
        mut each: impl FnMut(SourceReport, Option<&str>) + Send,
    ) -> Result<FleetOverview, Failure> {
        let hosts = self.reported_hosts().await?;
        let first = hosts.iter().map(|host| host.started_at_ms).min();
        let fleet_snapshot = HostSnapshot {
            heartbeat: first.map(|started_at_ms| Heartbeat {
                pid: process::id(),
                started_at_ms,
                written_at_ms: epoch_ms(now),
                has_ended: false,
            }),
            is_ready: true,
            version: None,
            now,
        };
        let names = self.tenant_names().await?;
        // Of each tenant only what is counted: a fleet may have a hundred thousand.
        let mut tenants: BTreeMap<String, Option<(State, Option<u64>)>> =
            names.into_iter().map(|name| (name, None)).collect();
        self.for_each_value(&self.checkpoints, |key, value| {
            // A tenant that was removed meanwhile is skipped.
            let Some(seen) = tenants.get_mut(key) else {
                return;
            };
            let Some(value) = value else {
                *seen = None;
                return;
            };
            let mut runtime_state = SourceRuntimeState::default();
            let mut due_ms = None;
            let mut host = None;
            let report = match TenantValue::decode(value) {
                Err(reason) => {
                    SourceReport::unusable(key, &reason, &runtime_state, &fleet_snapshot)
                }
                Ok(stored_value) => {
                    if stored_value.is_paused {
                        runtime_state.paused_by = Some(PausedBy::Settings);
                    } else {
                        due_ms = stored_value.state.next_poll_at_ms;
                    }
                    let checkpoint = stored_value.state.checkpoint.as_ref().map(String::len);
                    host = Some(stored_value.host).filter(|host| !host.is_empty());
                    SourceReport::new(
                        key,
                        Some(&stored_value.state),
                        checkpoint,
                        &runtime_state,
                        &fleet_snapshot,
                    )
                }
            };
            *seen = Some((report.state, due_ms));
            each(report, host.as_deref());
        })
        .await?;
        let mut states = BTreeMap::new();
        let mut never_polled = 0;
        let mut oldest: Option<(u64, &str)> = None;
        for (name, seen) in &tenants {
            let state = match seen {
                None => {
                    never_polled += 1;
                    let runtime_state = SourceRuntimeState::default();
                    let report =
                        SourceReport::new(name, None, None, &runtime_state, &fleet_snapshot);
                    let state = report.state;
                    each(report, None);
                    state
                }
                Some((state, due_ms)) => {
                    if let Some(due_ms) = due_ms
                        && oldest.is_none_or(|(oldest, _)| *due_ms < oldest)
                    {
                        oldest = Some((*due_ms, name));
                    }
                    *state
                }
            };
            *states.entry(state.name()).or_insert(0) += 1;
        }
        let oldest_due = oldest.map(|(epoch_ms, tenant)| {
            let since = Time { epoch_ms };
            OldestDue {
                tenant: tenant.to_owned(),
                since,
                seconds: since.age(now).as_secs(),
            }
        });
        Ok(FleetOverview {
            at: Time::of(now),
            tenants: tenants.len(),
            states,
            never_polled,
            leases: hosts.iter().map(|host| host.leases).sum(),
            oldest_due: oldest_due.filter(|oldest| oldest.seconds > 0),
            hosts,
        })
    }

    /// Returns what the hosts have reported recently, by name.
    pub(crate) async fn reported_hosts(&self) -> Result<Vec<FleetHostReport>, Failure> {
        let mut reports = BTreeMap::new();
        self.for_each_value(&self.hosts, |key, value| {
            match value.and_then(|value| serde_json::from_slice(value).ok()) {
                Some(report) => drop(reports.insert(key.to_owned(), report)),
                None => drop(reports.remove(key)),
            }
        })
        .await?;
        Ok(reports.into_values().collect())
    }

    /// Calls `each` with every key of a bucket and its value; `None` if it was deleted. A key that
    /// changes meanwhile may come again.
    async fn for_each_value(
        &self,
        bucket: &kv::Store,
        mut each: impl FnMut(&str, Option<&[u8]>) + Send,
    ) -> Result<(), Failure> {
        let failure = |error: &dyn std::fmt::Display| {
            Failure::failed(format!("fleet: bucket {}: {error}", bucket.name))
        };
        let watch = bucket.watch_with_history(">").await;
        let mut watch = watch.map_err(|error| failure(&error))?;
        let info = bucket.stream.get_info().await;
        if info.map_err(|error| failure(&error))?.state.messages == 0 {
            return Ok(());
        }
        loop {
            // The last value may expire before it comes.
            let entry = timeout(self.lease_duration, watch.next()).await;
            let entry = entry.map_err(|_| failure(&"NATS does not answer; try again"))?;
            let Some(entry) = entry else { return Ok(()) };
            let entry = entry.map_err(|error| failure(&error))?;
            let value = match entry.operation {
                Operation::Put => Some(&*entry.value),
                Operation::Delete | Operation::Purge => None,
            };
            each(&entry.key, value);
            if entry.delta == 0 {
                return Ok(());
            }
        }
    }
}

fn failed(tenant: &str, error: &dyn std::fmt::Display) -> Failure {
    Failure::failed(format!("tenant `{tenant}`: NATS: {error}"))
}
