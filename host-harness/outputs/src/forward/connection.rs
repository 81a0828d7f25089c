//! A connection to a Forward receiver: dial, handshake, and one acknowledgement
//! per frame.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use rmpv::Value;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use source_common::dial::connect_any;
use source_common::peer_certificate::actionable_cause;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::lookup_host;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;

use super::frame::Frame;
use super::handshake::{self, HandshakeCredentials};

/// Timeout of TCP and TLS together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an idle connection is kept. Firewalls silently drop connections that are idle for
/// some minutes, and the next frame would wait for
/// an acknowledgement that never comes.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Maximum size of a response. An acknowledgement has some 40 bytes, a greeting some 200.
const RESPONSE_BYTES_MAX: usize = 64 * 1024;
/// Maximum nesting of a response, of which each level takes stack. A greeting has a map in an array.
const RESPONSE_DEPTH_MAX: usize = 16;
const READ_BYTES: usize = 4 * 1024;

/// The address of a receiver.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Address {
    /// Host and port, as in `logs.example.com:24224`.
    Tcp(String, u16),
    /// A socket in the file system.
    Unix(PathBuf),
}

/// The parameters of a connection.
#[derive(Clone)]
pub(super) struct Connector {
    pub(super) address: Address,
    pub(super) tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    pub(super) credentials: Option<Arc<HandshakeCredentials>>,
    pub(super) handshake_timeout: Duration,
}

/// Why an operation failed, by whether a retry may help.
#[derive(Debug)]
pub(super) enum ForwardError {
    /// A retry may help.
    Retry(String),
    /// The receiver ended the handshake without a reason, or did not complete it in time: it does
    /// not know the shared key, or it is stopping.
    HandshakeIncomplete(String),
    /// A retry does not help until an operator changes something.
    ActionRequired(String),
}

/// Why no whole value could be read.
#[derive(Debug)]
pub(super) enum ReadError {
    /// The connection has ended.
    Ended(String),
    /// What the receiver has sent is not part of the protocol.
    Malformed(&'static str),
}

impl From<ReadError> for ForwardError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Ended(reason) => Self::Retry(reason),
            ReadError::Malformed(reason) => Self::Retry(reason.to_owned()),
        }
    }
}

impl From<io::Error> for ForwardError {
    fn from(error: io::Error) -> Self {
        Self::Retry(error.to_string())
    }
}

/// The transport: TCP, TLS or a Unix socket.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection to the receiver, during and after the handshake.
pub(super) struct Connection {
    stream: Pin<Box<dyn Stream>>,
    /// Received bytes that are not yet a whole value.
    unread: Vec<u8>,
    keepalive: bool,
}

impl Connector {
    pub(super) async fn connect(&self) -> Result<Connection, ForwardError> {
        let stream = timeout(CONNECT_TIMEOUT, self.dial())
            .await
            .map_err(|_| ForwardError::Retry("no connection in time".to_owned()))?
            .map_err(|error| {
                let problem = actionable_cause(&error).unwrap_or_else(|| error.to_string());
                ForwardError::Retry(format!("no connection: {problem}"))
            })?;
        let mut connection = Connection {
            stream,
            unread: Vec::new(),
            keepalive: true,
        };
        if let Some(credentials) = &self.credentials {
            let limit = self.handshake_timeout;
            connection.keepalive =
                handshake::perform_handshake(&mut connection, credentials, limit).await?;
        }
        Ok(connection)
    }

    async fn dial(&self) -> io::Result<Pin<Box<dyn Stream>>> {
        let stream = match &self.address {
            Address::Tcp(host, port) => {
                let addresses = lookup_host((host.as_str(), *port)).await?;
                let addresses: Vec<SocketAddr> = addresses.collect();
                let stream = connect_any(&addresses, CONNECT_TIMEOUT).await?;
                stream.set_nodelay(true)?;
                stream
            }
            #[cfg(unix)]
            Address::Unix(path) => {
                return Ok(Box::pin(tokio::net::UnixStream::connect(path).await?));
            }
            #[cfg(not(unix))]
            Address::Unix(_) => return Err(ErrorKind::Unsupported.into()),
        };
        Ok(match &self.tls {
            None => Box::pin(stream),
            Some((config, name)) => {
                let connector = TlsConnector::from(Arc::clone(config));
                Box::pin(connector.connect(name.clone(), stream).await?)
            }
        })
    }
}

impl Connection {
    /// Sends a frame and waits until it is acknowledged.
    pub(super) async fn send(&mut self, frame: &Frame) -> Result<(), ForwardError> {
        self.write(&frame.bytes).await?;
        let response = self.read().await?;
        if let Value::Array(greeting) = &response
            && greeting.first().and_then(Value::as_str) == Some("HELO")
        {
            let reason = "the receiver asks for a shared key; set shared_key";
            return Err(ForwardError::ActionRequired(reason.to_owned()));
        }
        match member(&response, "ack").and_then(text) {
            Some(ack) if ack == frame.chunk_id => Ok(()),
            Some(_) => Err(ForwardError::Retry(
                "the receiver acknowledges a frame other than the one it was sent".to_owned(),
            )),
            None => Err(ForwardError::Retry(
                "the receiver rejected the frame".to_owned(),
            )),
        }
    }

    /// Returns whether the connection may carry another frame.
    fn is_reusable(&self) -> bool {
        self.keepalive && self.unread.is_empty()
    }

    /// Waits until the receiver closes the connection or sends something unexpected
    /// between two frames.
    async fn wait_until_ended(&mut self) {
        let mut buffer = [0; 1];
        std::future::poll_fn(|cx| {
            let mut read_buf = ReadBuf::new(&mut buffer);
            self.stream
                .as_mut()
                .poll_read(cx, &mut read_buf)
                .map(|_| ())
        })
        .await;
    }

    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<(), ForwardError> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await?;
        Ok(())
    }

    /// Reads the next whole value from the receiver.
    pub(super) async fn read(&mut self) -> Result<Value, ReadError> {
        loop {
            if let Some(value) = self.take_value()? {
                return Ok(value);
            }
            if self.unread.len() > RESPONSE_BYTES_MAX {
                return Err(ReadError::Malformed("its response is too long"));
            }
            let mut buffer = [0; READ_BYTES];
            let count = self.stream.read(&mut buffer).await;
            let count = count.map_err(|error| ReadError::Ended(error.to_string()))?;
            if count == 0 {
                let reason = "the receiver has closed the connection without a response";
                return Err(ReadError::Ended(reason.to_owned()));
            }
            self.unread
                .extend_from_slice(buffer.get(..count).unwrap_or_default());
        }
    }

    fn take_value(&mut self) -> Result<Option<Value>, ReadError> {
        let mut rest = self.unread.as_slice();
        match rmpv::decode::read_value_with_max_depth(&mut rest, RESPONSE_DEPTH_MAX) {
            Ok(value) => {
                let read = self.unread.len() - rest.len();
                self.unread.drain(..read);
                Ok(Some(value))
            }
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(None),
            Err(_) => Err(ReadError::Malformed(
                "its response is not MessagePack; is it a Forward receiver?",
            )),
        }
    }

    pub(super) async fn close(&mut self) {
        // Every frame is acknowledged, so errors on close do not matter.
        drop(self.stream.shutdown().await);
    }
}

/// A connection between two frames. A task watches it and closes it as soon as
/// the receiver does: a receiver that stops waits for that, Vector for 30 s.
pub(super) struct IdleConnection {
    reclaim: oneshot::Sender<()>,
    task: JoinHandle<Option<Connection>>,
}

impl IdleConnection {
    /// Starts watching. Returns `None` if the connection cannot carry another frame.
    pub(super) fn watch(connection: Connection) -> Option<Self> {
        if !connection.is_reusable() {
            return None;
        }
        let (reclaim, reclaimed) = oneshot::channel();
        let task = tokio::spawn(watch(connection, reclaimed));
        Some(Self { reclaim, task })
    }

    /// Returns the connection unless it has been closed meanwhile.
    pub(super) async fn reclaim(self) -> Option<Connection> {
        // Fails if the task has ended, which its result shows as well.
        let _ = self.reclaim.send(());
        self.task.await.ok().flatten()
    }
}

async fn watch(mut connection: Connection, reclaimed: oneshot::Receiver<()>) -> Option<Connection> {
    let is_reclaimed = tokio::select! {
        biased;
        () = connection.wait_until_ended() => false,
        reclaimed = reclaimed => reclaimed.is_ok(),
        () = sleep(IDLE_TIMEOUT) => false,
    };
    if is_reclaimed {
        return Some(connection);
    }
    connection.close().await;
    None
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Returns the value at a key of a map.
pub(super) fn member<'a>(map: &'a Value, key: &str) -> Option<&'a Value> {
    map.as_map()?
        .iter()
        .find(|(name, _)| text(name) == Some(key))
        .map(|(_, value)| value)
}

/// Returns the text of a value, also from bytes, as older receivers send it.
pub(super) fn text(value: &Value) -> Option<&str> {
    match value.as_str() {
        Some(text) => Some(text),
        None => std::str::from_utf8(value.as_slice()?).ok(),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::DuplexStream;
    use tokio::time::Instant;

    use super::*;

    /// An idle connection, and the end of the receiver.
    fn idle() -> (IdleConnection, DuplexStream) {
        let (ours, receiver) = tokio::io::duplex(64);
        let connection = Connection {
            stream: Box::pin(ours),
            unread: Vec::new(),
            keepalive: true,
        };
        (IdleConnection::watch(connection).unwrap(), receiver)
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_is_closed_as_soon_as_the_receiver_closes_its_half() {
        let (idle, mut receiver) = idle();
        let begun = Instant::now();
        receiver.shutdown().await.unwrap();
        assert_eq!(receiver.read(&mut [0; 1]).await.unwrap(), 0);
        assert_eq!(begun.elapsed(), Duration::ZERO);
        assert!(idle.reclaim().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_is_closed_before_a_firewall_forgets_it() {
        let (idle, mut receiver) = idle();
        let begun = Instant::now();
        assert_eq!(receiver.read(&mut [0; 1]).await.unwrap(), 0);
        assert!(begun.elapsed() >= IDLE_TIMEOUT, "{:?}", begun.elapsed());
        assert!(idle.reclaim().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_is_still_open_carries_the_next_frame() {
        let (idle, mut receiver) = idle();
        let mut connection = idle.reclaim().await.unwrap();
        connection.write(b"frame").await.unwrap();
        let mut frame = [0; 5];
        receiver.read_exact(&mut frame).await.unwrap();
        assert_eq!(&frame, b"frame");
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_whose_output_is_dropped_is_closed() {
        let (idle, mut receiver) = idle();
        let begun = Instant::now();
        drop(idle);
        assert_eq!(receiver.read(&mut [0; 1]).await.unwrap(), 0);
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }
}
