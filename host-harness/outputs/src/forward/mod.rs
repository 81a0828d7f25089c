//! Fluent Forward protocol, version 1: packed frames, each acknowledged by Vector,
//! Fluent Bit or Fluentd before it counts as accepted.

mod connection;
mod frame;
mod handshake;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rustls::pki_types::ServerName;
use source_common::authority::split_authority;
use source_common::exit::Failure;
use source_common::section::{Section, SettingsErrors};
use tokio::time::timeout;

use self::connection::{Address, Connection, Connector, ForwardError, IdleConnection};
use self::handshake::HandshakeCredentials;
use super::parts::PartSettings;
use super::template::Template;
use super::tls::Tls;
use super::worker_pool::{SendError, Worker, WorkerPool};
use super::{Event, Output, OutputConfig, OutputError, UndeliverableEvent};

const PORT_DEFAULT: u16 = 24_224;
const TAG_DEFAULT: &str = "{namespace}.{stream}";
/// More connections help, because a receiver handles one frame of a connection at a time.
const CONNECTIONS_DEFAULT: u64 = 2;
const CONNECTIONS_MAX: u64 = 64;
/// Large enough for low overhead, small enough to be acknowledged soon.
const FRAME_KIB_DEFAULT: u64 = 256;
const FRAME_KIB_MAX: u64 = 900; // below what Fluent Bit reads at once
/// Fluentd's default; end-to-end acknowledgements may arrive late.
const ACK_TIMEOUT_SECS_DEFAULT: u64 = 190;
const HANDSHAKE_TIMEOUT_SECS_DEFAULT: u64 = 10;
/// How many handshakes in a row may remain incomplete, if none has succeeded yet, before an
/// operator has to look at the shared key and the receiver.
const INCOMPLETE_HANDSHAKES_MAX: u32 = 3;
/// Fluent Bit closes the connection if a frame exceeds 6,144,000 bytes.
const EVENT_KIB_DEFAULT: u64 = 5_900;
const EVENT_KIB_MAX: u64 = 102_400; // 100 MiB, Vector's limit

#[derive(Clone, Debug)]
struct ForwardOutputConfig {
    name: String,
    address: Address,
    tag: Template,
    connections: usize,
    part_settings: PartSettings,
    event_bytes_max: usize,
    compress: bool,
    ack_timeout: Duration,
    handshake_timeout: Duration,
    credentials: Option<Arc<HandshakeCredentials>>,
    tls: Option<(Tls, ServerName<'static>)>,
}

/// Parses the settings of `type = "forward"`.
pub(super) fn parse(mut section: Section<'_>) -> Result<Box<dyn OutputConfig>, Failure> {
    let mut errors = SettingsErrors::default();
    let address = errors.ok_or_push(read_address(&mut section));
    let tag = errors.ok_or_push(Template::read(&mut section, "tag", TAG_DEFAULT));
    let mut number = |key, range| errors.ok_or_push(section.number(key, range)).flatten();
    let connections = number("connections", 1..=CONNECTIONS_MAX);
    let frame_kib = number("frame_kib", 1..=FRAME_KIB_MAX);
    let event_kib = number("event_kib_max", 1..=EVENT_KIB_MAX);
    let ack_timeout = number("ack_timeout_secs", 1..=3_600);
    let handshake_timeout = number("handshake_timeout_secs", 1..=600);
    // Uncompressed by default: Vector and older Fluentd accept nothing else, and report no error.
    let words = [("none", false), ("gzip", true)];
    let compress = errors.ok_or_push(section.choice("compression", &words));
    let credentials = errors.ok_or_push(read_credentials(&mut section));
    let tls = errors.ok_or_push(read_tls(&mut section, address.as_ref()));
    errors.ok_or_push(section.finish());
    let count = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let parts = address.zip(tag).zip(credentials).zip(tls);
    let config = parts.map(|(((address, tag), credentials), tls)| ForwardOutputConfig {
        name: format!("forward {address}"),
        address,
        connections: count(connections.unwrap_or(CONNECTIONS_DEFAULT)),
        part_settings: PartSettings {
            bytes_max: count(frame_kib.unwrap_or(FRAME_KIB_DEFAULT)).saturating_mul(1_024),
            events_max: usize::MAX,
            partition_by: Some(tag.clone()),
        },
        tag,
        event_bytes_max: count(event_kib.unwrap_or(EVENT_KIB_DEFAULT)).saturating_mul(1_024),
        compress: compress.flatten().unwrap_or(false),
        ack_timeout: Duration::from_secs(ack_timeout.unwrap_or(ACK_TIMEOUT_SECS_DEFAULT)),
        handshake_timeout: Duration::from_secs(
            handshake_timeout.unwrap_or(HANDSHAKE_TIMEOUT_SECS_DEFAULT),
        ),
        credentials: credentials.map(Arc::new),
        tls,
    });
    errors.into_value(config.map(|config| -> Box<dyn OutputConfig> { Box::new(config) }))
}

fn read_address(section: &mut Section<'_>) -> Result<Address, Failure> {
    let text = section.required_string("address")?;
    let refuse = || {
        let reason = format!("is `{text}`; it must be host:port or unix:/path/to/socket");
        section.error("address", &reason)
    };
    if let Some(path) = text.strip_prefix("unix:") {
        let path = PathBuf::from(path);
        return if path.is_absolute() {
            Ok(Address::Unix(path))
        } else {
            Err(refuse())
        };
    }
    let (host, port) = split_authority(&text).ok_or_else(refuse)?;
    // A socket's address has no brackets.
    let host = host.trim_start_matches('[').trim_end_matches(']');
    Ok(Address::Tcp(host.to_owned(), port.unwrap_or(PORT_DEFAULT)))
}

fn read_credentials(section: &mut Section<'_>) -> Result<Option<HandshakeCredentials>, Failure> {
    // All keys are read before an error ends this: one that was not read would count as unknown.
    let mut errors = SettingsErrors::default();
    let shared_key = errors
        .ok_or_push(section.reloadable_secret("shared_key"))
        .flatten();
    let username = errors.ok_or_push(section.string("username")).flatten();
    let password = errors
        .ok_or_push(section.reloadable_secret("password"))
        .flatten();
    let hostname = errors.ok_or_push(section.string("hostname")).flatten();
    errors.into_result()?;
    let user = match (username, password) {
        (None, None) => None,
        (Some(username), Some(password)) => Some((username, password)),
        (Some(_), None) => return Err(section.error("username", "needs password as well")),
        (None, Some(_)) => return Err(section.error("password", "needs username as well")),
    };
    match shared_key {
        Some(shared_key) => Ok(Some(HandshakeCredentials {
            shared_key,
            user,
            hostname: hostname.unwrap_or_else(|| "source-host".to_owned()),
        })),
        None if user.is_some() => Err(section.error("username", "needs shared_key as well")),
        None => Ok(None),
    }
}

fn read_tls(
    section: &mut Section<'_>,
    address: Option<&Address>,
) -> Result<Option<(Tls, ServerName<'static>)>, Failure> {
    // All keys are read before an error ends this: one that was not read would count as unknown.
    let mut errors = SettingsErrors::default();
    let wanted = errors.ok_or_push(section.boolean("tls")).flatten();
    let server_name = errors.ok_or_push(section.string("server_name")).flatten();
    let tls = errors.ok_or_push(Tls::read(section));
    let tls = errors.into_value(tls)?;
    if wanted != Some(true) {
        if tls.is_set() || server_name.is_some() {
            let reason = "must be true where certificates or a server_name are set";
            return Err(section.error("tls", reason));
        }
        return Ok(None);
    }
    let name = match (server_name, address) {
        (Some(name), _) => name,
        (None, Some(Address::Tcp(host, _))) => host.clone(),
        (None, None) => return Ok(None),
        (None, Some(Address::Unix(_))) => {
            return Err(section.error("tls", "needs server_name over a Unix socket"));
        }
    };
    let name = ServerName::try_from(name)
        .map_err(|_| section.error("server_name", "must be a host name or an IP address"))?;
    Ok(Some((tls, name)))
}

#[async_trait]
impl OutputConfig for ForwardOutputConfig {
    async fn open(&self) -> Result<Box<dyn Output>, Failure> {
        let connector = self
            .connector()
            .map_err(|reason| Failure::failed(format!("{}: {reason}", self.name)))?;
        let worker = || ForwardWorker {
            config: self.clone(),
            connector: connector.clone(),
            connection: None,
            handshakes: Handshakes::default(),
        };
        let workers = (0..self.connections).map(|_| worker()).collect();
        Ok(Box::new(WorkerPool::new(
            self.name.clone(),
            workers,
            self.part_settings.clone(),
        )))
    }

    /// Connects and, if there is a shared key, performs the handshake.
    async fn test(&self) -> Result<String, OutputError> {
        let failed = |reason: String| OutputError::Retry(format!("{}: {reason}", self.name).into());
        let connector = self.connector().map_err(failed)?;
        match connector.connect().await {
            Ok(mut connection) => {
                connection.close().await;
                Ok(self.name.clone())
            }
            Err(
                ForwardError::HandshakeIncomplete(reason)
                | ForwardError::ActionRequired(reason)
                | ForwardError::Retry(reason),
            ) => Err(failed(reason)),
        }
    }

    fn check_files(&self) -> Result<(), String> {
        self.connector().map(drop)
    }
}

impl ForwardOutputConfig {
    fn connector(&self) -> Result<Connector, String> {
        let tls = match &self.tls {
            None => None,
            Some((tls, name)) => Some((Arc::new(tls.config()?), name.clone())),
        };
        Ok(Connector {
            address: self.address.clone(),
            tls,
            credentials: self.credentials.clone(),
            handshake_timeout: self.handshake_timeout,
        })
    }
}

struct ForwardWorker {
    config: ForwardOutputConfig,
    connector: Connector,
    /// `None` while a frame is in flight, and after one was cancelled, since its outcome
    /// is unknown.
    connection: Option<IdleConnection>,
    handshakes: Handshakes,
}

/// Tracks handshake results, to detect a wrong shared key or receiver.
#[derive(Default)]
struct Handshakes {
    has_succeeded: bool,
    /// Consecutive handshakes that the receiver did not complete.
    incomplete: u32,
}

impl Handshakes {
    /// Records a failed handshake, and classifies its error. A receiver that is stopping does not
    /// complete one either. If none has ever succeeded and several were incomplete, a retry does not
    /// help: the key or the receiver is wrong.
    fn record_failure(&mut self, error: ForwardError) -> ForwardError {
        match error {
            ForwardError::HandshakeIncomplete(reason) => {
                self.incomplete = self.incomplete.saturating_add(1);
                if !self.has_succeeded && self.incomplete >= INCOMPLETE_HANDSHAKES_MAX {
                    ForwardError::ActionRequired(reason)
                } else {
                    ForwardError::Retry(reason)
                }
            }
            ForwardError::ActionRequired(_) | ForwardError::Retry(_) => error,
        }
    }

    fn record_success(&mut self) {
        self.has_succeeded = true;
        self.incomplete = 0;
    }
}

#[async_trait]
impl Worker for ForwardWorker {
    async fn send(&mut self, source: &str, part: &[Event<'_>]) -> Result<(), SendError> {
        let Some(first) = part.first() else {
            return Ok(());
        };
        let config = &self.config;
        let tag = config.tag.render(first, source);
        let packed = frame::pack(&tag, part, config.event_bytes_max, config.compress);
        let (frame, undeliverable_events) = packed.map_err(|error| {
            SendError::ActionRequired(format!("{}: {error}", config.name).into())
        })?;
        if undeliverable_events.len() < part.len() {
            self.transfer(&frame)
                .await
                .map_err(|error| self.to_send_error(error))?;
        }
        if undeliverable_events.is_empty() {
            return Ok(());
        }
        Err(unsent_events_error(undeliverable_events))
    }

    async fn close(&mut self) {
        if let Some(mut connection) = self.usable_connection().await {
            connection.close().await;
        }
    }
}

/// Returns the error for events that were left out. All others of the part were accepted.
fn unsent_events_error(undeliverable_events: Vec<UndeliverableEvent>) -> SendError {
    SendError::EventErrors {
        unsent_count: undeliverable_events.len(),
        undeliverable_events,
        retry_events: Vec::new(),
        cause: None,
    }
}

impl ForwardWorker {
    async fn transfer(&mut self, frame: &frame::Frame) -> Result<(), ForwardError> {
        let mut connection = match self.usable_connection().await {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let limit = self.config.ack_timeout;
        timeout(limit, connection.send(frame)).await.map_err(|_| {
            let seconds = limit.as_secs();
            ForwardError::Retry(format!("no acknowledgement has come in {seconds} s"))
        })??;
        self.connection = IdleConnection::watch(connection);
        Ok(())
    }

    async fn connect(&mut self) -> Result<Connection, ForwardError> {
        let connected = self.connector.connect().await;
        if connected.is_ok() {
            self.handshakes.record_success();
        }
        connected.map_err(|error| self.handshakes.record_failure(error))
    }

    async fn usable_connection(&mut self) -> Option<Connection> {
        self.connection.take()?.reclaim().await
    }

    fn to_send_error(&self, error: ForwardError) -> SendError {
        let name = &self.config.name;
        match error {
            ForwardError::ActionRequired(reason) => {
                SendError::ActionRequired(format!("{name}: {reason}").into())
            }
            ForwardError::HandshakeIncomplete(reason) | ForwardError::Retry(reason) => {
                SendError::Retry(format!("{name}: {reason}").into())
            }
        }
    }
}
