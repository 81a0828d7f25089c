//! `nats` against a real nats-server; left out with a line where there is
//! none.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use async_nats::jetstream;
use async_nats::jetstream::stream::{Config, Stream};
use host_harness::output::OutputError;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};

use crate::feed::{Feed, accept, body, deliver, left_out, number, open};

/// A nats-server with an account, and JetStream in a directory.
pub(crate) struct Server {
    process: Child,
    pub(crate) port: u16,
}

impl Server {
    pub(crate) async fn start(directory: &Path, port: u16) -> Option<Self> {
        let program = [
            "/usr/sbin/nats-server",
            "/usr/bin/nats-server",
            "/usr/local/bin/nats-server",
        ]
        .into_iter()
        .find(|path| Path::new(path).exists())?;
        let process = Command::new(program)
            .args(["-a", "127.0.0.1", "-p", &port.to_string(), "-js", "-sd"])
            .arg(directory)
            .args(["--user", "ann", "--pass", "secret"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self { process, port };
        for _ in 0..500 {
            if TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
                return Some(server);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("nats-server does not listen");
    }

    pub(crate) fn settings(&self, more: &str) -> String {
        format!(
            "type = \"nats\"\nservers = [\"nats://127.0.0.1:{}\"]\nusername = \"ann\"\n{more}",
            self.port
        )
    }

    pub(crate) fn signal(&self, name: &'static str) {
        self.signaller(name)();
    }

    /// What sends a signal, to be called later.
    pub(crate) fn signaller(&self, name: &'static str) -> impl FnOnce() + Send + 'static {
        let process = self.process.id().to_string();
        move || {
            let sent = Command::new("kill").args([name, &process]).status();
            assert!(sent.unwrap().success());
        }
    }

    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

pub(crate) async fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().port()
}

async fn stream(port: u16, create: bool) -> Stream {
    let client = async_nats::ConnectOptions::new()
        .user_and_password("ann".to_owned(), "secret".to_owned())
        .connect(format!("nats://127.0.0.1:{port}"))
        .await
        .unwrap();
    let context = jetstream::new(client);
    if create {
        let config = Config {
            name: "MIMECAST".to_owned(),
            subjects: vec!["mimecast.>".to_owned()],
            ..Config::default()
        };
        context.create_stream(config).await.unwrap();
    }
    context.get_stream("MIMECAST").await.unwrap()
}

pub(crate) async fn messages(port: u16, create: bool) -> u64 {
    let mut stream = stream(port, create).await;
    stream.info().await.unwrap().state.messages
}

/// The numbers of the events that are stored, in order.
pub(crate) async fn numbers(port: u16) -> Vec<usize> {
    let stream = stream(port, false).await;
    let mut numbers = Vec::new();
    for sequence in 1..=messages(port, false).await {
        let message = stream.get_raw_message(sequence).await.unwrap();
        let event: Value = serde_json::from_slice(&message.payload).unwrap();
        numbers.push(number(&event));
    }
    numbers
}

#[tokio::test]
async fn jetstream_takes_every_event_once() {
    let directory = tempfile::tempdir().unwrap();
    let port = free_port().await;
    let Some(mut server) = Server::start(directory.path(), port).await else {
        return left_out("nats-server is not installed");
    };
    let settings = server.settings("password = \"secret\"\nack_timeout_secs = 2");
    let mut output = open(&settings).await;
    let error = accept(&mut *output, &Feed::new(0..1)).await.unwrap_err();
    assert!(
        matches!(&error, OutputError::Retry(said) if said.contains("no JetStream stream")),
        "{error}"
    );

    assert_eq!(messages(port, true).await, 0);
    let feed = Feed::new(0..700);
    deliver(&mut *output, &feed).await;
    assert_eq!(messages(port, false).await, 700);
    // A new run repeats what it does not know to be accepted.
    let mut again = open(&settings).await;
    deliver(&mut *again, &feed).await;
    assert_eq!(messages(port, false).await, 700);

    let mut large = Feed::new(700..701);
    large.push(&format!("{{\"long\":\"{}\"}}", "x".repeat(1_200_000)));
    large.push(&body(701));
    let error = accept(&mut *output, &large).await.unwrap_err();
    assert!(
        matches!(&error, OutputError::Poison(poison) if poison[0].event == 1),
        "{error}"
    );
    assert_eq!(messages(port, false).await, 702);

    server.kill();
    let feed = Feed::new(702..800);
    let error = accept(&mut *output, &feed).await.unwrap_err();
    assert!(matches!(error, OutputError::Retry(_)), "{error}");
    let restarted = Server::start(directory.path(), port).await;
    deliver(&mut *output, &feed).await;
    assert_eq!(messages(port, false).await, 800);
    drop(restarted);
}

#[tokio::test]
async fn refused_credentials_stop_the_output() {
    let directory = tempfile::tempdir().unwrap();
    let Some(server) = Server::start(directory.path(), free_port().await).await else {
        return left_out("nats-server is not installed");
    };
    let mut output = open(&server.settings("password = \"wrong\"")).await;
    let error = accept(&mut *output, &Feed::new(0..1)).await.unwrap_err();
    assert!(matches!(&error, OutputError::Fatal(_)), "{error:?}");
}
