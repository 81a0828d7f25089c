//! NATS JetStream: each event is published with its event id, and accepted when
//! the server acknowledges that a stream has stored it.

use std::collections::BTreeSet;
use std::error::Error;
use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream::context::{PublishAckFuture, PublishErrorKind};
use async_nats::jetstream::{self, Context, ErrorCode};
use async_nats::{Client, ConnectError, ConnectErrorKind, HeaderMap};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use source_common::exit::Failure;
use source_common::peer_certificate::actionable_cause;
use source_common::section::{Section, SettingsErrors};
use tokio::sync::watch;
use tracing::{debug, warn};

use super::event_id::event_id;
use super::nats_connection::NatsConnectionSettings;
use super::parts::PartSettings;
use super::template::Template;
use super::worker_pool::{RetryCause, SendError, Worker, WorkerPool};
use super::{Event, Output, OutputConfig, OutputError, UndeliverableEvent};

const SUBJECT_DEFAULT: &str = "{namespace}.{stream}";
/// The header by which the server deduplicates messages.
const ID_HEADER: &str = "Nats-Msg-Id";
const ACK_TIMEOUT_SECS_DEFAULT: u64 = 30;
/// Maximum number of events awaiting acknowledgement.
const UNACKED_EVENTS_MAX: usize = 500;
const UNACKED_BYTES_MAX: usize = 1_024 * 1_024;

#[derive(Clone, Debug)]
struct NatsOutputConfig {
    name: String,
    connection: NatsConnectionSettings,
    subject: Template,
    ack_timeout: Duration,
}

/// Parses the settings of `type = "nats"`.
pub(super) fn parse(mut section: Section<'_>) -> Result<Box<dyn OutputConfig>, Failure> {
    let mut errors = SettingsErrors::default();
    let connection = errors.ok_or_push(NatsConnectionSettings::read(&mut section));
    let subject = errors.ok_or_push(Template::read(&mut section, "subject", SUBJECT_DEFAULT));
    let ack_timeout = errors.ok_or_push(section.number("ack_timeout_secs", 1..=3_600));
    let ack_timeout = ack_timeout.flatten().unwrap_or(ACK_TIMEOUT_SECS_DEFAULT);
    errors.ok_or_push(section.finish());
    let config = connection.zip(subject);
    errors.into_value(
        config.map(|(connection, subject)| -> Box<dyn OutputConfig> {
            Box::new(NatsOutputConfig {
                name: format!("nats {connection}"),
                connection,
                subject,
                ack_timeout: Duration::from_secs(ack_timeout),
            })
        }),
    )
}

#[async_trait]
impl OutputConfig for NatsOutputConfig {
    async fn open(&self) -> Result<Box<dyn Output>, Failure> {
        // Reports missing files now, and not with the first event.
        self.connection
            .options()
            .map_err(|reason| Failure::failed(format!("{}: {reason}", self.name)))?;
        let worker = NatsWorker {
            config: self.clone(),
            client: None,
        };
        let part_settings = PartSettings {
            bytes_max: UNACKED_BYTES_MAX,
            events_max: UNACKED_EVENTS_MAX,
            partition_by: None,
        };
        Ok(Box::new(WorkerPool::new(
            self.name.clone(),
            vec![worker],
            part_settings,
        )))
    }

    async fn test(&self) -> Result<String, OutputError> {
        let failed = |reason: String| OutputError::Retry(format!("{}: {reason}", self.name).into());
        let options = self.connection.options().map_err(failed)?;
        let connected = options.connect(self.connection.addresses()).await;
        connected.map_err(|error| failed(connect_error_message(&error)))?;
        Ok(self.name.clone())
    }

    fn check_files(&self) -> Result<(), String> {
        self.connection.options().map(drop)
    }
}

/// Returns why there is no connection.
fn connect_error_message(error: &ConnectError) -> String {
    actionable_cause(error).unwrap_or_else(|| error.to_string())
}

impl NatsOutputConfig {
    async fn connect(&self) -> Result<NatsClient, SendError> {
        let blocked = |reason| SendError::ActionRequired(format!("{}: {reason}", self.name).into());
        let (disconnects, disconnect_count) = watch::channel(0);
        let name = self.name.clone();
        let options = self
            .connection
            .options()
            .map_err(blocked)?
            .event_callback(move |event| {
                handle_connection_event(&name, &event, &disconnects);
                std::future::ready(())
            });
        let client =
            options
                .connect(self.connection.addresses())
                .await
                .map_err(|error| match error.kind() {
                    ConnectErrorKind::Authentication
                    | ConnectErrorKind::AuthorizationViolation
                    | ConnectErrorKind::ServerParse => {
                        SendError::ActionRequired(format!("{}: {error}", self.name).into())
                    }
                    ConnectErrorKind::Dns
                    | ConnectErrorKind::Io
                    | ConnectErrorKind::MaxReconnects
                    | ConnectErrorKind::TimedOut
                    | ConnectErrorKind::Tls => {
                        let message = connect_error_message(&error);
                        SendError::Retry(format!("{}: {message}", self.name).into())
                    }
                })?;
        let context = self.context(client);
        Ok(NatsClient {
            context,
            disconnect_count,
        })
    }

    fn context(&self, client: Client) -> Context {
        let mut context = jetstream::new(client);
        context.set_timeout(self.ack_timeout);
        context
    }
}

/// Logs connection events, and counts lost connections. The
/// client's own log lines would name neither the output nor the server.
fn handle_connection_event(
    name: &str,
    event: &async_nats::Event,
    disconnects: &watch::Sender<u64>,
) {
    match event {
        async_nats::Event::Disconnected => {
            disconnects.send_modify(|count| *count = count.wrapping_add(1));
            warn!(output = %name, "the connection is lost; connecting again");
        }
        // A failed attempt to connect is one of many, and `Disconnected`
        // is in the log already.
        async_nats::Event::ClientError(_)
        | async_nats::Event::Closed
        | async_nats::Event::Connected
        | async_nats::Event::Draining
        | async_nats::Event::LameDuckMode
        | async_nats::Event::ServerError(_)
        | async_nats::Event::SlowConsumer(_) => debug!(output = %name, "{event}"),
    }
}

/// A connected client.
#[derive(Clone)]
struct NatsClient {
    context: Context,
    /// Number of lost connections so far.
    disconnect_count: watch::Receiver<u64>,
}

struct NatsWorker {
    config: NatsOutputConfig,
    client: Option<NatsClient>,
}

#[async_trait]
impl Worker for NatsWorker {
    async fn send(&mut self, source: &str, part: &[Event<'_>]) -> Result<(), SendError> {
        let NatsClient {
            context,
            mut disconnect_count,
        } = match &self.client {
            Some(client) => client.clone(),
            None => self.client.insert(self.config.connect().await?).clone(),
        };
        disconnect_count.mark_unchanged();
        if context.client().connection_state() != State::Connected {
            // Otherwise published messages would pile up until the connection is back.
            let name = &self.config.name;
            return Err(SendError::Retry(format!("{name}: not connected").into()));
        }
        let mut outcomes = EventOutcomes::default();
        let mut waiting: Vec<(usize, PublishAckFuture)> = Vec::with_capacity(part.len());
        for (index, event) in part.iter().enumerate() {
            let subject = self.config.subject.render(event, source);
            let mut headers = HeaderMap::new();
            headers.insert(ID_HEADER, event_id(event.body));
            let body = Bytes::copy_from_slice(event.body.as_bytes());
            match context.publish_with_headers(subject, headers, body).await {
                Ok(ack_future) => waiting.push((index, ack_future)),
                Err(error) => outcomes.note(index, error.kind(), &error),
            }
        }
        let mut unacknowledged: BTreeSet<usize> = waiting.iter().map(|(index, _)| *index).collect();
        // Concurrently, since each has its own timeout.
        let mut acks: FuturesUnordered<_> = waiting
            .into_iter()
            .map(|(index, ack_future)| async move { (index, ack_future.await) })
            .collect();
        loop {
            tokio::select! {
                biased;
                ack = acks.next() => match ack {
                    None => break,
                    Some((index, ack)) => {
                        unacknowledged.remove(&index);
                        if let Err(error) = ack {
                            outcomes.note(index, error.kind(), &error);
                        }
                    }
                },
                // Acknowledgements never arrive on a lost connection;
                // stored events are published again under the same id.
                Ok(()) = disconnect_count.changed() => {
                    outcomes.retry_unacknowledged(unacknowledged);
                    // Abandoned acknowledgements count against the limit
                    // of their context until they time out.
                    let context = self.config.context(context.client());
                    self.client = Some(NatsClient { context, disconnect_count });
                    break;
                }
            }
        }
        outcomes.into_result(&self.config.name)
    }

    async fn close(&mut self) {
        self.client = None;
    }
}

/// The outcome of each event of a part.
#[derive(Default)]
struct EventOutcomes {
    undeliverable_events: Vec<UndeliverableEvent>,
    /// How many of those the client has not sent.
    unsent_count: usize,
    retry_events: Vec<usize>,
    cause: Option<String>,
}

impl EventOutcomes {
    fn note(&mut self, index: usize, kind: PublishErrorKind, error: &dyn Error) {
        let reason = match kind {
            PublishErrorKind::MaxPayloadExceeded => {
                self.unsent_count = self.unsent_count.saturating_add(1);
                self.reject(index, format!("nats: {error}"));
                return;
            }
            PublishErrorKind::Other if exceeds_stream_limit(error) => {
                let reason =
                    format!("nats: the event is larger than `max_msg_size` of the stream: {error}");
                self.reject(index, reason);
                return;
            }
            PublishErrorKind::StreamNotFound => {
                "no JetStream stream matches the subject; add one for it".to_owned()
            }
            PublishErrorKind::BrokenPipe
            | PublishErrorKind::MaxAckPending
            | PublishErrorKind::Other
            | PublishErrorKind::TimedOut
            | PublishErrorKind::WrongLastMessageId
            | PublishErrorKind::WrongLastSequence => error.to_string(),
        };
        self.retry_events.push(index);
        self.cause.get_or_insert(reason);
    }

    fn reject(&mut self, index: usize, reason: String) {
        self.undeliverable_events
            .push(UndeliverableEvent { index, reason });
    }

    /// Records events whose connection was lost before they were acknowledged.
    fn retry_unacknowledged(&mut self, events: BTreeSet<usize>) {
        self.retry_events.extend(events);
        self.cause
            .get_or_insert_with(|| "the connection was lost".to_owned());
    }

    fn into_result(self, name: &str) -> Result<(), SendError> {
        if self.undeliverable_events.is_empty() && self.retry_events.is_empty() {
            return Ok(());
        }
        Err(SendError::EventErrors {
            undeliverable_events: self.undeliverable_events,
            unsent_count: self.unsent_count,
            retry_events: self.retry_events,
            cause: self
                .cause
                .map(|reason| RetryCause::Retry(format!("{name}: {reason}").into())),
        })
    }
}

/// Returns whether the stream takes no message of this size. The client knows the limit of the
/// server only, so this is recognized by the error of the server.
fn exceeds_stream_limit(error: &dyn Error) -> bool {
    let refusal = error.source();
    let refusal = refusal.and_then(|refusal| refusal.downcast_ref::<jetstream::Error>());
    refusal.is_some_and(|it| it.error_code() == ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM)
}

#[cfg(test)]
mod tests {
    use async_nats::jetstream::context::PublishError;

    use super::*;

    /// The error that the client makes from the server's response.
    fn refused(code: u64, description: &str) -> PublishError {
        let ack = format!("{{\"code\":400,\"err_code\":{code},\"description\":\"{description}\"}}");
        let refusal: jetstream::Error = serde_json::from_str(&ack).unwrap();
        PublishError::with_source(PublishErrorKind::Other, refusal)
    }

    #[test]
    fn an_event_above_the_limit_of_its_stream_is_undeliverable_and_other_refusals_are_retried() {
        let mut outcomes = EventOutcomes::default();
        for (event, error) in [
            refused(10_077, "store failed"),
            refused(10_054, "message size exceeds maximum allowed"),
            PublishErrorKind::Other.into(),
        ]
        .iter()
        .enumerate()
        {
            outcomes.note(event, error.kind(), error);
        }
        assert_eq!(outcomes.retry_events, [0, 2]);
        assert_eq!(outcomes.undeliverable_events.len(), 1);
        let undeliverable = &outcomes.undeliverable_events[0];
        assert_eq!(undeliverable.index, 1);
        assert!(
            undeliverable.reason.contains("`max_msg_size`"),
            "{}",
            undeliverable.reason
        );
    }
}
