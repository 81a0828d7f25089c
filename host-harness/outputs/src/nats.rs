//! NATS JetStream: each event published under its identity, and accepted with
//! the server's acknowledgement that a stream has stored it.

use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream::context::{PublishAckFuture, PublishErrorKind};
use async_nats::jetstream::{self, Context};
use async_nats::{ConnectErrorKind, ConnectOptions, HeaderMap};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::join_all;
use source_common::exit::Failure;
use source_common::secret::Secret;
use source_common::section::Section;

use super::event_id::event_id;
use super::parts::BatchLimits;
use super::template::Template;
use super::tls::Tls;
use super::worker_pool::{SendError, Wait, Worker, WorkerPool};
use super::{Event, Output, OutputConfig, OutputError, RejectedEvent};

const SUBJECT_DEFAULT: &str = "{namespace}.{stream}";
/// The server drops what comes twice under the same id.
const ID_HEADER: &str = "Nats-Msg-Id";
const ACK_TIMEOUT_SECS_DEFAULT: u64 = 30;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Events that wait for their acknowledgement at a time.
const UNACKED_EVENTS_MAX: usize = 500;
const UNACKED_BYTES_MAX: usize = 1_024 * 1_024;

#[derive(Clone, Debug)]
struct NatsOutputConfig {
    name: String,
    servers: Vec<String>,
    subject: Template,
    ack_timeout: Duration,
    login: Login,
    tls: Tls,
    require_tls: bool,
}

#[derive(Clone, Debug)]
enum Login {
    Nobody,
    Token(Secret),
    User(String, Secret),
}

/// Understand `type = "nats"`.
pub(super) fn config(mut section: Section<'_>) -> Result<Box<dyn OutputConfig>, Failure> {
    let servers = section
        .strings("servers")?
        .filter(|servers| !servers.is_empty())
        .ok_or_else(|| section.error("servers", "is missing; as in [\"nats://127.0.0.1:4222\"]"))?;
    if servers.iter().any(|server| server.contains('@')) {
        let reason = "has credentials in it, which would be in logs; use username and password";
        return Err(section.error("servers", reason));
    }
    let subject = section.string("subject")?;
    let subject = Template::parse(subject.as_deref().unwrap_or(SUBJECT_DEFAULT))
        .map_err(|reason| section.error("subject", &reason))?;
    let ack_timeout = section.number("ack_timeout_secs", 1..=3_600)?;
    let login = read_login(&mut section)?;
    let require_tls = section.switch("tls")?.unwrap_or(false);
    let tls = Tls::read(&mut section)?;
    section.finish()?;
    Ok(Box::new(NatsOutputConfig {
        name: format!("nats {}", servers.join(",")),
        servers,
        subject,
        ack_timeout: Duration::from_secs(ack_timeout.unwrap_or(ACK_TIMEOUT_SECS_DEFAULT)),
        login,
        require_tls: require_tls || tls.is_set(),
        tls,
    }))
}

fn read_login(section: &mut Section<'_>) -> Result<Login, Failure> {
    let token = section.secret("token")?;
    let username = section.string("username")?;
    let password = section.secret("password")?;
    match (token, username, password) {
        (None, None, None) => Ok(Login::Nobody),
        (Some(token), None, None) => Ok(Login::Token(token)),
        (None, Some(user), Some(password)) => Ok(Login::User(user, password)),
        _ => Err(section.error(
            "username",
            "and password belong together, and exclude token",
        )),
    }
}

#[async_trait]
impl OutputConfig for NatsOutputConfig {
    async fn open(&self) -> Result<Box<dyn Output>, Failure> {
        // Files that are missing show themselves now, not with the first event.
        self.options()
            .map_err(|reason| Failure::failed(format!("{}: {reason}", self.name)))?;
        let worker = NatsWorker {
            config: self.clone(),
            context: None,
        };
        let limits = BatchLimits {
            bytes_max: UNACKED_BYTES_MAX,
            events_max: UNACKED_EVENTS_MAX,
            by: None,
        };
        Ok(Box::new(WorkerPool::new(
            self.name.clone(),
            vec![worker],
            limits,
        )))
    }

    async fn test(&self) -> Result<String, OutputError> {
        let failed = |reason: String| OutputError::Retry(format!("{}: {reason}", self.name));
        let options = self.options().map_err(failed)?;
        let connected = options.connect(self.servers.clone()).await;
        connected.map_err(|error| failed(error.to_string()))?;
        Ok(self.name.clone())
    }
}

impl NatsOutputConfig {
    fn options(&self) -> Result<ConnectOptions, String> {
        let options = ConnectOptions::new()
            .name("source-host")
            .connection_timeout(CONNECT_TIMEOUT)
            .require_tls(self.require_tls)
            .tls_client_config(self.tls.config()?);
        Ok(match &self.login {
            Login::Nobody => options,
            Login::Token(token) => options.token(token.expose().to_owned()),
            Login::User(user, password) => {
                options.user_and_password(user.clone(), password.expose().to_owned())
            }
        })
    }

    async fn connect(&self) -> Result<Context, SendError> {
        let blocked = |reason| SendError::Blocked(format!("{}: {reason}", self.name));
        let options = self.options().map_err(blocked)?;
        let client = options
            .connect(self.servers.clone())
            .await
            .map_err(|error| match error.kind() {
                ConnectErrorKind::Authentication
                | ConnectErrorKind::AuthorizationViolation
                | ConnectErrorKind::ServerParse => {
                    SendError::Blocked(format!("{}: {error}", self.name))
                }
                ConnectErrorKind::Dns
                | ConnectErrorKind::Io
                | ConnectErrorKind::MaxReconnects
                | ConnectErrorKind::TimedOut
                | ConnectErrorKind::Tls => SendError::Retry(format!("{}: {error}", self.name)),
            })?;
        let mut context = jetstream::new(client);
        context.set_timeout(self.ack_timeout);
        Ok(context)
    }
}

struct NatsWorker {
    config: NatsOutputConfig,
    context: Option<Context>,
}

#[async_trait]
impl Worker for NatsWorker {
    async fn send(&mut self, source: &str, part: &[Event<'_>]) -> Result<(), SendError> {
        let context = match &self.context {
            Some(context) => context.clone(),
            None => self.context.insert(self.config.connect().await?).clone(),
        };
        if context.client().connection_state() != State::Connected {
            // Otherwise what is published would pile up until it is.
            let name = &self.config.name;
            return Err(SendError::Retry(format!("{name}: not connected")));
        }
        let mut outcomes = EventOutcomes::default();
        let mut waiting: Vec<(usize, PublishAckFuture)> = Vec::with_capacity(part.len());
        for (place, event) in part.iter().enumerate() {
            let subject = self.config.subject.render(event, source);
            let mut headers = HeaderMap::new();
            headers.insert(ID_HEADER, event_id(event.body));
            let body = Bytes::copy_from_slice(event.body.as_bytes());
            match context.publish_with_headers(subject, headers, body).await {
                Ok(acknowledged) => waiting.push((place, acknowledged)),
                Err(error) => outcomes.note(place, error.kind(), &error),
            }
        }
        // All at once: each waits for its own time only.
        let answers = waiting
            .into_iter()
            .map(|(place, acknowledged)| async move { (place, acknowledged.await) });
        for (place, answer) in join_all(answers).await {
            if let Err(error) = answer {
                outcomes.note(place, error.kind(), &error);
            }
        }
        outcomes.verdict(&self.config.name)
    }

    async fn close(&mut self) {
        self.context = None;
    }
}

/// What has become of the events of a part.
#[derive(Default)]
struct EventOutcomes {
    rejected_events: Vec<RejectedEvent>,
    again: Vec<usize>,
    wait: Option<String>,
}

impl EventOutcomes {
    fn note(&mut self, event: usize, kind: PublishErrorKind, error: &dyn std::error::Error) {
        let reason = match kind {
            PublishErrorKind::MaxPayloadExceeded => {
                let reason = format!("nats: {error}");
                self.rejected_events.push(RejectedEvent { event, reason });
                return;
            }
            PublishErrorKind::StreamNotFound => {
                "no JetStream stream takes the subject; add one for it".to_owned()
            }
            PublishErrorKind::BrokenPipe
            | PublishErrorKind::MaxAckPending
            | PublishErrorKind::Other
            | PublishErrorKind::TimedOut
            | PublishErrorKind::WrongLastMessageId
            | PublishErrorKind::WrongLastSequence => error.to_string(),
        };
        self.again.push(event);
        self.wait.get_or_insert(reason);
    }

    fn verdict(self, name: &str) -> Result<(), SendError> {
        if self.rejected_events.is_empty() && self.again.is_empty() {
            return Ok(());
        }
        Err(SendError::PartiallyAccepted {
            rejected_events: self.rejected_events,
            again: self.again,
            wait: self
                .wait
                .map(|reason| Wait::Retry(format!("{name}: {reason}"))),
        })
    }
}
