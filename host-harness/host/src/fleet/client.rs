//! The objects of a fleet in NATS: the stream of tenants, its consumer, and the buckets of the
//! checkpoints and of the hosts.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::Client;
use async_nats::connection::State;
use async_nats::jetstream::consumer::{AckPolicy, PullConsumer, pull};
use async_nats::jetstream::stream::{DiscardPolicy, RetentionPolicy, Stream};
use async_nats::jetstream::{self, Context, kv};
use source_common::exit::Failure;
use source_common::peer_certificate::actionable_cause;
use tracing::{debug, info, warn};

use super::clock;
use crate::report::FleetHostReport;
use crate::settings::FleetSettings;

/// The durable consumer that all hosts share.
const CONSUMER: &str = "hosts";
/// Tenants that wait for their next poll count as not acknowledged, so this bounds the tenants.
const TENANTS_MAX: i64 = 1_000_000;
/// A tenant's message holds settings and no secrets.
const TENANT_BYTES_MAX: i32 = 64 * 1024;
/// A host that has not reported for this long, or for the duration of a lease if that is longer, is taken
/// to be stopped.
const HOST_REPORT_TTL_MIN: Duration = Duration::from_secs(30);

/// A connection to the servers, and the objects there.
#[derive(Clone, Debug)]
pub(crate) struct FleetClient {
    pub(crate) client: Client,
    pub(crate) context: Context,
    /// One message for each tenant.
    pub(crate) tenants: Stream,
    pub(crate) consumer: PullConsumer,
    pub(crate) checkpoints: kv::Store,
    /// What each host reports about itself.
    pub(crate) hosts: kv::Store,
    /// Prefix of the subjects of tenants, without the dot.
    pub(crate) subject_prefix: String,
    /// How long a host has a tenant without renewing the lease, as the consumer is configured.
    pub(crate) lease_duration: Duration,
    /// When the stream was made, in milliseconds since the epoch.
    pub(crate) stream_created_ms: u64,
    reconnect_state: Arc<Mutex<ReconnectState>>,
}

/// How often the connection was established so far, and since when this host has held off.
#[derive(Clone, Copy, Debug)]
struct ReconnectState {
    connections: u64,
    /// When the last reconnection was noticed, or this host found that others run or may run, by
    /// [`clock::now`]; `None` means never.
    hold_off_since: Option<Duration>,
}

impl FleetClient {
    /// Connects, and creates the objects that are missing. Every failure is retryable.
    pub(crate) async fn open(settings: &FleetSettings) -> Result<Self, Failure> {
        let servers = &settings.connection;
        let failed = |what: &str, error: &dyn std::fmt::Display| {
            Failure::failed(format!("fleet: {servers}: {what}: {error}")).retryable()
        };
        let options = servers
            .options()
            .map_err(|reason| Failure::failed(format!("fleet: {reason}")).retryable())?;
        let client = options
            // A connection that is cut without a sign is noticed well before a lease ends.
            .ping_interval(settings.lease_duration / 5)
            .event_callback(move |event| {
                log_event(&event);
                std::future::ready(())
            })
            .connect(servers.addresses())
            .await
            .map_err(|error| {
                let reason = actionable_cause(&error).unwrap_or_else(|| error.to_string());
                failed("no connection", &reason)
            })?;
        let mut context = jetstream::new(client.clone());
        context.set_timeout(settings.lease_duration / 3);
        let tenants = context
            .get_or_create_stream(jetstream::stream::Config {
                name: settings.stream.clone(),
                subjects: vec![format!("{}.*", settings.subject)],
                retention: RetentionPolicy::WorkQueue,
                max_messages_per_subject: 1,
                discard: DiscardPolicy::Old,
                max_message_size: TENANT_BYTES_MAX,
                num_replicas: settings.replicas,
                allow_direct: true,
                ..Default::default()
            })
            .await
            .map_err(|error| failed(&format!("stream {}", settings.stream), &error))?;
        let consumer: PullConsumer = tenants
            .get_or_create_consumer(
                CONSUMER,
                pull::Config {
                    durable_name: Some(CONSUMER.to_owned()),
                    ack_policy: AckPolicy::Explicit,
                    ack_wait: settings.lease_duration,
                    max_deliver: -1,
                    max_ack_pending: TENANTS_MAX,
                    ..Default::default()
                },
            )
            .await
            .map_err(|error| failed(&format!("consumer {CONSUMER}"), &error))?;
        let lease_duration = consumer.cached_info().config.ack_wait;
        if lease_duration != settings.lease_duration {
            let (there, here) = (lease_duration.as_secs(), settings.lease_duration.as_secs());
            warn!(
                "fleet: leases last {there} s, as set in the consumer {CONSUMER}, not \
                 the `lease_secs` of {here}; to change it, stop all hosts and delete the consumer"
            );
        }
        let checkpoints = open_bucket(
            &context,
            &settings.bucket,
            Duration::ZERO,
            settings.replicas,
        );
        let checkpoints = checkpoints
            .await
            .map_err(|error| failed(&format!("bucket {}", settings.bucket), &error))?;
        let hosts = format!("{}-hosts", settings.bucket);
        // Longer than any lease of a host that is cut off.
        let report_ttl = HOST_REPORT_TTL_MIN.max(lease_duration);
        let hosts = open_bucket(&context, &hosts, report_ttl, settings.replicas)
            .await
            .map_err(|error| failed(&format!("bucket {hosts}"), &error))?;
        let created = tenants.cached_info().created.unix_timestamp_nanos() / 1_000_000;
        let reconnect_state = ReconnectState {
            connections: 1,
            hold_off_since: None,
        };
        Ok(Self {
            client,
            context,
            consumer,
            checkpoints,
            hosts,
            subject_prefix: settings.subject.clone(),
            lease_duration,
            stream_created_ms: u64::try_from(created).unwrap_or_default(),
            reconnect_state: Arc::new(Mutex::new(reconnect_state)),
            tenants,
        })
    }

    /// Returns whether the servers can be reached, as far as is known. A message that is published
    /// while they cannot would be sent later, when it may do harm.
    pub(crate) fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// Notices a reconnection, which starts the hold-off, and returns the number of the present connection.
    /// A lease is renewed only by the connection by which it came: a server that crashed has lost its last
    /// changes, and may not know of the lease, while it accepts the renewal.
    pub(crate) fn connection_number(&self) -> u64 {
        self.note_reconnect().connections
    }

    /// Notices a reconnection, which starts the hold-off, and returns how long no tenant may be taken: a
    /// server that crashed may hand out a tenant that a host still works on. After the duration of one
    /// lease, every lease from before the reconnection has ended.
    pub(crate) fn hold_off_remaining(&self) -> Duration {
        let hold_off_since = self.note_reconnect().hold_off_since;
        hold_off_since.map_or(Duration::ZERO, |since| {
            since
                .saturating_add(self.lease_duration)
                .saturating_sub(clock::now())
        })
    }

    /// Starts a hold-off of one lease duration if other hosts run, or if that is unknown: this one may have
    /// been started after a crash of the server, of which it cannot know. When this host reopens the
    /// connection, its own earlier report counts too, because its earlier leases may not have ended.
    pub(crate) async fn hold_off_if_others_run(&self) {
        let reported = self.reported_hosts().await;
        let Some(reason) = hold_off_reason(&reported) else {
            return;
        };
        let wait_s = self.lease_duration.as_secs();
        let message = format!("{reason}; this one starts to take tenants in {wait_s} s");
        if reported.is_ok() {
            info!("{message}");
        } else {
            warn!("{message}");
        }
        let noted = self.reconnect_state.lock();
        noted.unwrap_or_else(PoisonError::into_inner).hold_off_since = Some(clock::now());
    }

    /// Starts the hold-off after a reconnection that has not been noticed before. Returns the state.
    fn note_reconnect(&self) -> ReconnectState {
        let connections = self.client.statistics().connects.load(Ordering::Relaxed);
        let noted = self.reconnect_state.lock();
        let mut noted = noted.unwrap_or_else(PoisonError::into_inner);
        if connections > noted.connections {
            *noted = ReconnectState {
                connections,
                hold_off_since: Some(clock::now()),
            };
        }
        *noted
    }

    /// Returns the subject of a tenant.
    pub(crate) fn subject_of(&self, tenant: &str) -> String {
        format!("{}.{tenant}", self.subject_prefix)
    }
}

/// Returns why this host waits before it takes tenants; `None` if no host, not even this one earlier,
/// has reported.
fn hold_off_reason(reported: &Result<Vec<FleetHostReport>, Failure>) -> Option<String> {
    match reported {
        Ok(hosts) if hosts.is_empty() => None,
        Ok(_) => Some("fleet: other hosts are running".to_owned()),
        Err(failure) => Some(format!(
            "{failure}; whether other hosts are running is unknown"
        )),
    }
}

async fn open_bucket(
    context: &Context,
    name: &str,
    max_age: Duration,
    replicas: usize,
) -> Result<kv::Store, String> {
    match context.get_key_value(name).await {
        Ok(bucket) => Ok(bucket),
        Err(_) => context
            .create_key_value(kv::Config {
                bucket: name.to_owned(),
                history: 1,
                max_age,
                num_replicas: replicas,
                ..Default::default()
            })
            .await
            .map_err(|error| error.to_string()),
    }
}

fn log_event(event: &async_nats::Event) {
    match event {
        async_nats::Event::Connected => debug!("fleet: connected"),
        async_nats::Event::Disconnected => {
            warn!("fleet: the connection to NATS is lost; connecting again");
        }
        async_nats::Event::ClientError(_)
        | async_nats::Event::Closed
        | async_nats::Event::Draining
        | async_nats::Event::LameDuckMode
        | async_nats::Event::ServerError(_)
        | async_nats::Event::SlowConsumer(_) => debug!("fleet: {event}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_to_hold_off_is_other_hosts_or_that_they_cannot_be_read() {
        assert_eq!(hold_off_reason(&Ok(Vec::new())), None);
        let host = FleetHostReport {
            host: "a".to_owned(),
            version: "1".to_owned(),
            started_at_ms: 0,
            written_at_ms: 0,
            leases: 0,
            leases_max: 1,
            taken: 0,
            expired: 0,
            fenced: 0,
            late_ms: 0,
        };
        assert_eq!(
            hold_off_reason(&Ok(vec![host])).as_deref(),
            Some("fleet: other hosts are running")
        );
        let failure = Failure::failed("fleet: bucket hosts: NATS does not answer; try again");
        assert_eq!(
            hold_off_reason(&Err(failure)).as_deref(),
            Some(
                "fleet: bucket hosts: NATS does not answer; try again; whether other hosts are \
                 running is unknown"
            )
        );
    }
}
