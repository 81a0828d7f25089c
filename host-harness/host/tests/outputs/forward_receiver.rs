//! A Forward receiver: reads frames as Vector, Fluent Bit and Fluentd do, and
//! acknowledges them, or not, as the script says.

use std::io::{ErrorKind, Read};
use std::net::SocketAddr;
use std::sync::Arc;

use rmpv::Value;
use serde_json::Value as Json;
use sha2::{Digest, Sha512};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use crate::receiver::{ReceiverState, Treatment, listen_again};

/// What the receiver requires before it accepts frames.
#[derive(Clone, Default)]
pub(crate) struct ForwardReceiverConfig {
    pub(crate) shared_key: Option<&'static str>,
    pub(crate) user: Option<(&'static str, &'static str)>,
    /// Whether it proves knowledge of a wrong key.
    pub(crate) impostor: bool,
    /// Whether each connection may carry only one frame.
    pub(crate) one_frame: bool,
    pub(crate) tls: Option<TlsAcceptor>,
}

pub(crate) struct ForwardReceiver {
    pub(crate) state: ReceiverState,
    pub(crate) address: SocketAddr,
    config: ForwardReceiverConfig,
    paused: watch::Sender<bool>,
    /// How many connections there are.
    open_connections: watch::Sender<usize>,
    task: JoinHandle<()>,
}

/// Counts a connection as open until it is dropped.
struct OpenConnection(watch::Sender<usize>);

impl OpenConnection {
    fn new(open_connections: watch::Sender<usize>) -> Self {
        open_connections.send_modify(|count| *count += 1);
        Self(open_connections)
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

/// How a connection ends.
enum End {
    /// In order.
    Closed,
    /// With a reset, which discards what was not read.
    Reset,
}

impl ForwardReceiver {
    pub(crate) async fn start(config: ForwardReceiverConfig) -> Self {
        Self::with(config, ReceiverState::new()).await
    }

    pub(crate) async fn with(config: ForwardReceiverConfig, state: ReceiverState) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (paused, open_connections) = (watch::channel(false).0, watch::channel(0).0);
        let served = serve(
            listener,
            state.clone(),
            config.clone(),
            paused.subscribe(),
            open_connections.clone(),
        );
        Self {
            address,
            task: tokio::spawn(served),
            state,
            config,
            paused,
            open_connections,
        }
    }

    /// Pauses like Fluent Bit at its `mem_buf_limit`: open connections are reset, new
    /// ones are accepted by the kernel only.
    pub(crate) fn pause(&self, on: bool) {
        self.paused.send_replace(on);
    }

    /// Ends like a killed process: every connection breaks.
    pub(crate) async fn kill(&mut self) {
        self.task.abort();
        drop((&mut self.task).await);
        // Each connection has a task of its own, which ends after that.
        let mut open_connections = self.open_connections.subscribe();
        open_connections
            .wait_for(|count| *count == 0)
            .await
            .unwrap();
    }

    /// Restarts at the same address.
    pub(crate) async fn restart(&mut self) {
        let listener = listen_again(self.address).await;
        let (state, config) = (self.state.clone(), self.config.clone());
        let (paused, open_connections) = (self.paused.subscribe(), self.open_connections.clone());
        self.task = tokio::spawn(serve(listener, state, config, paused, open_connections));
    }

    pub(crate) fn settings(&self, more: &str) -> String {
        format!("type = \"forward\"\naddress = \"{}\"\n{more}", self.address)
    }
}

impl Drop for ForwardReceiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    listener: TcpListener,
    state: ReceiverState,
    config: ForwardReceiverConfig,
    mut paused: watch::Receiver<bool>,
    open_connections: watch::Sender<usize>,
) {
    let mut connections = JoinSet::new();
    loop {
        paused.wait_for(|paused| !paused).await.unwrap();
        let (stream, _) = tokio::select! {
            accepted = listener.accept() => accepted.unwrap(),
            _ = paused.wait_for(|paused| *paused) => continue,
        };
        // Responses are written in two pieces; the second is not to wait.
        stream.set_nodelay(true).unwrap();
        let (state, config, paused) = (state.clone(), config.clone(), paused.clone());
        let open_connection = OpenConnection::new(open_connections.clone());
        connections.spawn(async move {
            serve_connection(stream, state, config, paused).await;
            drop(open_connection);
        });
    }
}

/// Serves a connection, with TLS where that is required, until it ends or the receiver pauses.
async fn serve_connection(
    mut stream: TcpStream,
    state: ReceiverState,
    config: ForwardReceiverConfig,
    mut paused: watch::Receiver<bool>,
) {
    let served = async {
        match &config.tls {
            None => serve_stream(&mut stream, &state, &config).await,
            Some(acceptor) => match acceptor.accept(&mut stream).await {
                Ok(stream) => serve_stream(stream, &state, &config).await,
                Err(_) => End::Closed,
            },
        }
    };
    let end = tokio::select! {
        end = served => end,
        _ = paused.wait_for(|paused| *paused) => End::Reset,
    };
    if let End::Reset = end {
        stream.set_zero_linger().unwrap();
    }
}

/// Reads frames and treats each as the script has it.
async fn serve_stream(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    state: &ReceiverState,
    config: &ForwardReceiverConfig,
) -> End {
    let mut unread = Vec::new();
    if let Some(key) = config.shared_key
        && handshake(&mut stream, &mut unread, key, config)
            .await
            .is_none()
    {
        return End::Closed;
    }
    loop {
        if state.take_mid_request_reset() {
            drop(stream.read(&mut [0; 100]).await);
            return End::Reset;
        }
        let Some(frame) = next_value(&mut stream, &mut unread).await else {
            return End::Closed;
        };
        let (events, chunk) = unpack(&frame);
        let _in_flight = state.begin_request(chunk.clone());
        state.wait_until_released().await;
        let ack = Value::Map(vec![("ack".into(), chunk.into())]);
        match state.next_treatment() {
            Treatment::Accept => state.record_accepted(events),
            Treatment::RespondHalf => {
                state.record_accepted(events);
                let bytes = encoded(&ack);
                drop(stream.write_all(&bytes[..bytes.len() / 2]).await);
                return End::Closed;
            }
            Treatment::Late(wait) => {
                state.record_accepted(events);
                tokio::time::sleep(wait).await;
            }
            Treatment::Refuse | Treatment::Respond(..) => {
                write(&mut stream, &Value::Map(Vec::new())).await;
                return End::Closed;
            }
            Treatment::ResetMidRequest | Treatment::Reset => return End::Reset,
            Treatment::AcceptAndReset => {
                state.record_accepted(events);
                return End::Reset;
            }
        }
        if write(&mut stream, &ack).await.is_none() || config.one_frame {
            return End::Closed;
        }
    }
}

async fn handshake(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    unread: &mut Vec<u8>,
    key: &str,
    config: &ForwardReceiverConfig,
) -> Option<()> {
    let (nonce, auth) = (b"\x01nonce\xff".to_vec(), b"\xfeauth".to_vec());
    let options = vec![
        ("nonce".into(), Value::Binary(nonce.clone())),
        ("auth".into(), Value::Binary(auth.clone())),
        ("keepalive".into(), (!config.one_frame).into()),
    ];
    let hello = Value::Array(vec!["HELO".into(), Value::Map(options)]);
    write(stream, &hello).await?;
    let ping = next_value(stream, unread).await?;
    let part = |at: usize| {
        // As Fluent Bit: a salt in bytes is refused.
        let text = ping[at].as_str().expect("every part of PING is text");
        text.as_bytes()
    };
    let (client, salt) = (part(1), part(2));
    let proven = part(3) == digest(&[salt, client, &nonce, key.as_bytes()]).as_bytes();
    if !proven && config.user.is_none() {
        // As Fluent Bit: no PONG at all.
        return None;
    }
    let known = config.user.is_none_or(|(user, password)| {
        let wanted = digest(&[&auth, user.as_bytes(), password.as_bytes()]);
        part(4) == user.as_bytes() && part(5) == wanted.as_bytes()
    });
    let own_key = if config.impostor { "another" } else { key };
    let proof = digest(&[salt, b"receiver", &nonce, own_key.as_bytes()]);
    let (reason, success) = match (proven, known) {
        (false, _) => ("shared_key mismatch", false),
        (true, false) => ("username/password mismatch", false),
        (true, true) => ("", true),
    };
    let pong = Value::Array(vec![
        "PONG".into(),
        success.into(),
        reason.into(),
        "receiver".into(),
        proof.into(),
    ]);
    write(stream, &pong).await?;
    success.then_some(())
}

fn digest(parts: &[&[u8]]) -> String {
    let digest = Sha512::digest(parts.concat());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn encoded(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    rmpv::encode::write_value(&mut bytes, value).unwrap();
    bytes
}

async fn write(stream: &mut (impl AsyncWrite + Unpin), value: &Value) -> Option<()> {
    let bytes = encoded(value);
    // In two pieces, as a network may deliver it.
    let (first, second) = bytes.split_at(bytes.len() / 2);
    stream.write_all(first).await.ok()?;
    stream.flush().await.ok()?;
    tokio::task::yield_now().await;
    stream.write_all(second).await.ok()?;
    stream.flush().await.ok()
}

async fn next_value(stream: &mut (impl AsyncRead + Unpin), unread: &mut Vec<u8>) -> Option<Value> {
    loop {
        let mut rest = unread.as_slice();
        match rmpv::decode::read_value(&mut rest) {
            Ok(value) => {
                let read = unread.len() - rest.len();
                unread.drain(..read);
                return Some(value);
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::UnexpectedEof),
        }
        let mut buffer = vec![0; 64 * 1024];
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return None,
            Ok(count) => unread.extend_from_slice(&buffer[..count]),
        }
    }
}

/// The events of a frame, whole, and its chunk.
fn unpack(frame: &Value) -> (Vec<Json>, String) {
    let [tag, entries, option] = frame.as_array().expect("a frame").as_slice() else {
        panic!("not packed forward: {frame}");
    };
    assert!(tag.as_str().unwrap().starts_with("mimecast."), "{tag}");
    let packed = entries.as_slice().unwrap();
    let mut plain = Vec::new();
    if option["compressed"].as_str() == Some("gzip") {
        flate2::read::GzDecoder::new(packed)
            .read_to_end(&mut plain)
            .unwrap();
    } else {
        plain.extend_from_slice(packed);
    }
    assert!(plain.len() < 6_144_000, "Fluent Bit resets the connection");
    let mut rest = plain.as_slice();
    let mut events = Vec::new();
    while !rest.is_empty() {
        let entry = rmpv::decode::read_value(&mut rest).expect("no entry is cut off");
        let (kind, time) = entry[0].as_ext().expect("an event time");
        assert_eq!((kind, time.len()), (0, 8));
        events.push(json(&entry[1]));
    }
    assert_eq!(option["size"].as_u64(), u64::try_from(events.len()).ok());
    (
        events,
        option["chunk"].as_str().expect("a chunk").to_owned(),
    )
}

fn json(value: &Value) -> Json {
    match value {
        Value::Array(values) => values.iter().map(json).collect(),
        Value::Binary(_) | Value::Ext(..) | Value::F32(_) => panic!("{value} is not of JSON"),
        Value::Boolean(on) => (*on).into(),
        Value::F64(number) => (*number).into(),
        Value::Integer(number) => match number.as_u64() {
            Some(number) => number.into(),
            None => number.as_i64().into(),
        },
        Value::Map(pairs) => pairs
            .iter()
            .map(|(key, value)| (key.as_str().unwrap().to_owned(), json(value)))
            .collect(),
        Value::Nil => Json::Null,
        Value::String(text) => text.as_str().unwrap().into(),
    }
}

/// Reads one frame and acknowledges it.
pub(crate) async fn acknowledge(stream: &mut TcpStream) {
    let frame = next_value(stream, &mut Vec::new()).await.unwrap();
    let (_, chunk) = unpack(&frame);
    let ack = Value::Map(vec![("ack".into(), chunk.into())]);
    write(stream, &ack).await.unwrap();
}

/// Starts a receiver that accepts connections and never replies.
pub(crate) async fn start_silent_receiver() -> (SocketAddr, Arc<JoinHandle<Vec<TcpStream>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            open.push(stream);
        }
        open
    });
    (address, Arc::new(task))
}
