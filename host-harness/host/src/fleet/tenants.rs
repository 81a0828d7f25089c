//! The tenants of a fleet as commands see them: added, changed, removed and listed.

use std::collections::BTreeMap;

use async_nats::HeaderMap;
use async_nats::header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE;
use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::kv::{self, Operation, UpdateErrorKind};
use async_nats::jetstream::stream::LastRawMessageErrorKind;
use futures_util::StreamExt as _;
use source_common::exit::Failure;
use source_runtime::store::SourceState;

use super::engine::Engine;
use super::entry::{Entry, Epoch};
use super::run::HostStatus;
use super::tenant::Tenant;

/// A tenant and the place of its message in the stream.
pub(crate) struct Placed {
    pub(crate) tenant: Tenant,
    sequence: u64,
}

impl Engine {
    /// The tenant of that name.
    pub(crate) async fn tenant(&self, name: &str) -> Result<Option<Placed>, Failure> {
        let subject = self.subject_of(name);
        match self.tenants.get_last_raw_message_by_subject(&subject).await {
            Ok(message) => Ok(Some(Placed {
                tenant: Tenant::decode(name, &message.payload)?,
                sequence: message.sequence,
            })),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(failed(name, &error)),
        }
    }

    /// Adds a tenant in the place of `former`; none may be there without one.
    pub(crate) async fn put(
        &self,
        tenant: &Tenant,
        former: Option<&Placed>,
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
                        format!("tenant `{name}`: is there already; change it with `fleet change`")
                    }
                    Some(_) => {
                        format!("tenant `{name}`: was changed by another meanwhile; try again")
                    }
                }))
            }
            Err(error) => Err(failed(name, &error)),
        }
    }

    /// Removes a tenant with its checkpoint. Returns whether there was one.
    pub(crate) async fn remove(&self, name: &str) -> Result<bool, Failure> {
        let purged = self.tenants.purge().filter(self.subject_of(name));
        let purged = purged.await.map_err(|error| failed(name, &error))?;
        let checkpoint = self.checkpoints.purge(name).await;
        checkpoint.map_err(|error| failed(name, &error))?;
        Ok(purged.purged > 0)
    }

    /// Takes over what a state directory has of a tenant that no host has had. Returns whether it
    /// was taken.
    pub(crate) async fn import(&self, state: SourceState) -> Result<bool, Failure> {
        let name = state.source.clone();
        let entry = Entry {
            epoch: Epoch::default(),
            host: String::new(),
            is_paused: false,
            state,
        };
        let value = entry.encode().map_err(|reason| failed(&name, &reason))?;
        match self.checkpoints.update(&name, value.into(), 0).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => Ok(false),
            Err(error) => Err(failed(&name, &error)),
        }
    }

    /// The names of all tenants.
    pub(crate) async fn names(&self) -> Result<Vec<String>, Failure> {
        let prefix = format!("{}.", self.subject);
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

    /// What is kept of all tenants that a host has had.
    pub(crate) async fn entries(&self) -> Result<BTreeMap<String, Result<Entry, String>>, Failure> {
        let values = values(&self.checkpoints).await?;
        let entries = values.into_iter();
        Ok(entries
            .map(|(key, value)| (key, Entry::decode(&value)))
            .collect())
    }

    /// What the hosts have reported lately.
    pub(crate) async fn host_statuses(&self) -> Result<Vec<HostStatus>, Failure> {
        let values = values(&self.hosts).await?;
        let statuses = values.into_values();
        Ok(statuses
            .filter_map(|value| serde_json::from_slice(&value).ok())
            .collect())
    }
}

/// All keys of a bucket with their values.
async fn values(bucket: &kv::Store) -> Result<BTreeMap<String, bytes::Bytes>, Failure> {
    let failure = |error: &dyn std::fmt::Display| {
        Failure::failed(format!("fleet: bucket {}: {error}", bucket.name))
    };
    let watch = bucket.watch_with_history(">").await;
    let mut watch = watch.map_err(|error| failure(&error))?;
    let mut values = BTreeMap::new();
    if bucket
        .stream
        .get_info()
        .await
        .map_err(|error| failure(&error))?
        .state
        .messages
        == 0
    {
        return Ok(values);
    }
    while let Some(entry) = watch.next().await {
        let entry = entry.map_err(|error| failure(&error))?;
        let is_last = entry.delta == 0;
        match entry.operation {
            Operation::Put => drop(values.insert(entry.key, entry.value)),
            Operation::Delete | Operation::Purge => drop(values.remove(&entry.key)),
        }
        if is_last {
            break;
        }
    }
    Ok(values)
}

fn failed(tenant: &str, error: &dyn std::fmt::Display) -> Failure {
    Failure::failed(format!("tenant `{tenant}`: NATS: {error}"))
}
