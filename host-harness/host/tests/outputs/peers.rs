//! The peer of each output, with the operations that the conformance tests need.

use std::fs;
use std::io::{self, PipeWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use source_outputs::{Output, ndjson_output};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::unix::pipe::Receiver;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::forward_receiver::ForwardReceiver;
use crate::http_receiver::HttpReceiver;
use crate::nats;
use crate::nats_server::Server;
use crate::receiver::{ReceiverState, Treatment};
use crate::test_delivery::{DEADLINE, number, open};

/// What a test opens an output for.
#[derive(Clone, Copy)]
pub(crate) enum Purpose {
    /// Delivery, one thing after the other.
    Order,
    /// A peer that temporarily does not answer.
    Hold,
    /// Faults of the peer.
    Faults,
}

/// How an output reports that its peer is gone.
pub(crate) enum AfterKill {
    /// The delivery is retryable; the same output continues when the peer is back.
    Retry,
    /// The host ends, and is started again when the peer is back.
    Closed,
}

/// The other end of an output.
#[async_trait]
pub(crate) trait Peer: Send + Sync {
    /// Opens an output that delivers to it.
    async fn open(&mut self, purpose: Purpose) -> Box<dyn Output>;

    /// Returns the numbers of the events that it has accepted, in order.
    async fn numbers(&self) -> Vec<usize>;

    /// Holds back all responses; returns `false` if it cannot.
    async fn hold(&mut self) -> bool;

    /// Releases the responses.
    async fn release(&mut self);

    /// Returns how many parts of deliveries have arrived; `None` where there are no
    /// parts.
    async fn parts(&self) -> Option<usize> {
        None
    }

    /// Waits until this many parts have arrived, where there are any.
    async fn wait_for_parts(&self, _: usize) {}

    /// Returns and resets the maximum number of parts in flight;
    /// `None` where there are no parts.
    async fn take_in_flight_max(&self) -> Option<usize> {
        None
    }

    /// Causes some faults in a row, from now on.
    async fn fail(&mut self);

    /// Ends a lasting fault, after it has affected the output.
    async fn recover(&mut self) {}

    /// Closes all connections and stops.
    async fn kill(&mut self) -> AfterKill;

    /// Restarts at the same place.
    async fn restart(&mut self);
}

/// A receiver of these tests, which follows a script.
pub(crate) struct Scripted<R> {
    pub(crate) receiver: R,
    pub(crate) kind: &'static str,
    pub(crate) more: &'static str,
}

/// What the receivers of these tests have in common.
#[async_trait]
pub(crate) trait ScriptedReceiver: Send + Sync {
    /// The setting for the smallest parts, so that there are several.
    const SMALL_PARTS: &str;
    fn state(&self) -> &ReceiverState;
    fn settings(&self, kind: &str, more: &str) -> String;
    async fn kill(&mut self);
    async fn restart(&mut self);
}

/// Connections of an output, where it has several.
pub(crate) const CONNECTIONS: usize = 3;

#[async_trait]
impl<R: ScriptedReceiver> Peer for Scripted<R> {
    async fn open(&mut self, purpose: Purpose) -> Box<dyn Output> {
        let more = match purpose {
            Purpose::Order => "connections = 1".to_owned(),
            Purpose::Hold => format!("connections = {CONNECTIONS}\n{}", R::SMALL_PARTS),
            Purpose::Faults => String::new(),
        };
        let more = format!("{more}\n{}", self.more);
        open(&self.receiver.settings(self.kind, &more)).await
    }

    async fn numbers(&self) -> Vec<usize> {
        self.receiver.state().numbers()
    }

    async fn hold(&mut self) -> bool {
        self.receiver.state().hold(true);
        true
    }

    async fn release(&mut self) {
        self.receiver.state().hold(false);
    }

    async fn parts(&self) -> Option<usize> {
        Some(self.receiver.state().requests().len())
    }

    async fn wait_for_parts(&self, count: usize) {
        self.receiver.state().wait_for_requests(count).await;
    }

    async fn take_in_flight_max(&self) -> Option<usize> {
        Some(self.receiver.state().take_in_flight_max())
    }

    async fn fail(&mut self) {
        self.receiver.state().script([
            Treatment::Refuse,
            Treatment::Reset,
            Treatment::ResetMidRequest,
            Treatment::RespondHalf,
            Treatment::AcceptAndReset,
            Treatment::Late(Duration::from_millis(50)),
            Treatment::Reset,
        ]);
    }

    async fn kill(&mut self) -> AfterKill {
        self.receiver.kill().await;
        AfterKill::Retry
    }

    async fn restart(&mut self) {
        self.receiver.restart().await;
    }
}

#[async_trait]
impl ScriptedReceiver for ForwardReceiver {
    const SMALL_PARTS: &str = "frame_kib = 1";

    fn state(&self) -> &ReceiverState {
        &self.state
    }

    fn settings(&self, _: &str, more: &str) -> String {
        self.settings(more)
    }

    async fn kill(&mut self) {
        self.kill().await;
    }

    async fn restart(&mut self) {
        self.restart().await;
    }
}

#[async_trait]
impl ScriptedReceiver for HttpReceiver {
    const SMALL_PARTS: &str = "request_kib = 1";

    fn state(&self) -> &ReceiverState {
        &self.state
    }

    fn settings(&self, kind: &str, more: &str) -> String {
        self.settings(kind, more)
    }

    async fn kill(&mut self) {
        self.kill().await;
    }

    async fn restart(&mut self) {
        self.restart().await;
    }
}

/// A directory. Another program moves the file away or puts something else in
/// the place of the directory. Nothing makes a write to a disk stall.
pub(crate) struct Directory {
    root: TempDir,
    moved: usize,
}

impl Directory {
    pub(crate) fn new() -> Self {
        Self {
            root: tempfile::tempdir().unwrap(),
            moved: 0,
        }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }
}

#[async_trait]
impl Peer for Directory {
    async fn open(&mut self, _: Purpose) -> Box<dyn Output> {
        let path = self.at("events/e.ndjson");
        open(&format!("type = \"file\"\npath = \"{}\"", path.display())).await
    }

    async fn numbers(&self) -> Vec<usize> {
        // Files that were moved away have the numbers 0, 1 and so on.
        let moved = (0..self.moved).map(|number| self.at(&format!("events/{number}")));
        let files = moved.chain([self.at("events/e.ndjson")]);
        let text: String = files
            .map(|path| fs::read_to_string(path).unwrap())
            .collect();
        text.lines()
            .map(|line| number(&serde_json::from_str(line).unwrap()))
            .collect()
    }

    async fn hold(&mut self) -> bool {
        false
    }

    async fn release(&mut self) {}

    async fn fail(&mut self) {
        let to = self.at(&format!("events/{}", self.moved));
        fs::rename(self.at("events/e.ndjson"), to).unwrap();
        self.moved += 1;
    }

    async fn kill(&mut self) -> AfterKill {
        fs::rename(self.at("events"), self.at("away")).unwrap();
        fs::write(self.at("events"), "no directory").unwrap();
        AfterKill::Retry
    }

    async fn restart(&mut self) {
        fs::remove_file(self.at("events")).unwrap();
        fs::rename(self.at("away"), self.at("events")).unwrap();
    }
}

/// The reader of a pipe. A new one for each start of the host.
pub(crate) struct Pipe {
    /// How many bytes have gone into the pipes.
    written: Arc<AtomicUsize>,
    taken: watch::Sender<Taken>,
    held: watch::Sender<bool>,
    reader: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Taken {
    bytes: usize,
    numbers: Vec<usize>,
}

/// The end of a pipe that the host writes to.
struct CountingPipe {
    pipe: PipeWriter,
    written: Arc<AtomicUsize>,
}

impl Write for CountingPipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.pipe.write_all(bytes)?;
        self.written.fetch_add(bytes.len(), Ordering::SeqCst);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.pipe.flush()
    }
}

impl Pipe {
    pub(crate) fn new() -> Self {
        Self {
            written: Arc::default(),
            taken: watch::channel(Taken::default()).0,
            held: watch::channel(false).0,
            reader: None,
        }
    }
}

async fn read(pipe: Receiver, taken: watch::Sender<Taken>, mut held: watch::Receiver<bool>) {
    let mut lines = BufReader::new(pipe).lines();
    while let Some(line) = lines.next_line().await.unwrap() {
        let event = serde_json::from_str(&line).unwrap();
        taken.send_modify(|taken| {
            taken.bytes += line.len() + 1;
            taken.numbers.push(number(&event));
        });
        held.wait_for(|held| !held).await.unwrap();
    }
}

#[async_trait]
impl Peer for Pipe {
    async fn open(&mut self, _: Purpose) -> Box<dyn Output> {
        let (reader, writer) = io::pipe().unwrap();
        let reader = Receiver::from_owned_fd(reader.into()).unwrap();
        let read = read(reader, self.taken.clone(), self.held.subscribe());
        self.reader = Some(tokio::spawn(read));
        let written = Arc::clone(&self.written);
        let pipe = CountingPipe {
            pipe: writer,
            written,
        };
        ndjson_output(pipe, None).unwrap()
    }

    async fn numbers(&self) -> Vec<usize> {
        // What is in the pipe has been taken, and is on its way to the reader.
        let written = self.written.load(Ordering::SeqCst);
        let mut taken = self.taken.subscribe();
        let all = taken.wait_for(|taken| taken.bytes >= written);
        let taken = tokio::time::timeout(DEADLINE, all).await.unwrap().unwrap();
        taken.numbers.clone()
    }

    async fn hold(&mut self) -> bool {
        self.held.send_replace(true);
        true
    }

    async fn release(&mut self) {
        self.held.send_replace(false);
    }

    /// A pipe does not fail: it stalls, or it is closed.
    async fn fail(&mut self) {}

    async fn kill(&mut self) -> AfterKill {
        drop(self.numbers().await);
        let reader = self.reader.take().unwrap();
        reader.abort();
        // The pipe is closed when it is gone.
        drop(reader.await);
        AfterKill::Closed
    }

    /// The host gets a new pipe when it is started again.
    async fn restart(&mut self) {}
}

/// A real nats-server, with a stream.
pub(crate) struct Nats {
    server: Server,
    directory: TempDir,
}

impl Nats {
    /// `None` where there is no nats-server.
    pub(crate) async fn start() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let server = Server::start(directory.path(), None).await?;
        nats::create_stream(server.port).await;
        Some(Self { server, directory })
    }
}

#[async_trait]
impl Peer for Nats {
    async fn open(&mut self, purpose: Purpose) -> Box<dyn Output> {
        let seconds = match purpose {
            Purpose::Order | Purpose::Hold => 20,
            Purpose::Faults => 1,
        };
        let more = format!("password = \"secret\"\nack_timeout_secs = {seconds}");
        open(&self.server.settings(&more)).await
    }

    async fn numbers(&self) -> Vec<usize> {
        nats::numbers(self.server.port).await
    }

    async fn hold(&mut self) -> bool {
        self.server.suspend().await;
        true
    }

    async fn release(&mut self) {
        self.server.signal("-CONT");
    }

    /// It does not answer until the output has stopped waiting.
    async fn fail(&mut self) {
        self.server.suspend().await;
    }

    async fn recover(&mut self) {
        self.server.signal("-CONT");
    }

    async fn kill(&mut self) -> AfterKill {
        self.server.kill();
        AfterKill::Retry
    }

    async fn restart(&mut self) {
        let again = Server::start(self.directory.path(), Some(self.server.port)).await;
        self.server = again.unwrap();
    }
}
