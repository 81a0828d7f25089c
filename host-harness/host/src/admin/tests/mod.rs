//! Tests the server over a socket, with its own registry and a recording control.

mod api;
mod connections;
mod metrics;
mod prometheus;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use async_trait::async_trait;
use serde_json::{Value, json};
use source_runtime::source::ComponentLoader;
use source_runtime::store::{State, StoredSource, StoredStream, epoch_ms};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{AdminContext, AdminServer, Control, ControlError, PutMode, RunningAdminServer};
use crate::registry::{Registry, SourceEntry};
use crate::report::{RunState, Time};
use crate::settings::{AdminSettings, Settings};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// Records its calls, and fails with the configured error.
#[derive(Default)]
struct RecordingControl {
    calls: Mutex<Vec<String>>,
    error: Mutex<Option<ControlError>>,
}

impl RecordingControl {
    fn record_call(&self, call: String) -> Result<(), ControlError> {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.push(call);
        let error = self.error.lock().unwrap_or_else(PoisonError::into_inner);
        error.clone().map_or(Ok(()), Err)
    }

    fn fail_with(&self, error: ControlError) {
        *self.error.lock().unwrap() = Some(error);
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.calls.lock().unwrap())
    }
}

#[async_trait]
impl Control for RecordingControl {
    async fn pause(&self, source: &str) -> Result<(), ControlError> {
        self.record_call(format!("pause {source}"))
    }

    async fn resume(&self, source: &str) -> Result<(), ControlError> {
        self.record_call(format!("resume {source}"))
    }

    async fn reset(
        &self,
        source: &str,
        streams: &[String],
        from_ms: i64,
    ) -> Result<(), ControlError> {
        self.record_call(format!("reset {source} {streams:?} {from_ms}"))
    }

    async fn check(&self, source: &str) -> Result<Value, ControlError> {
        self.record_call(format!("check {source}"))?;
        Ok(json!({ "successful": true }))
    }

    async fn put(&self, source: &str, body: Value, mode: PutMode) -> Result<(), ControlError> {
        self.record_call(format!("put {source} {body} {mode:?}"))
    }

    async fn delete(&self, source: &str) -> Result<(), ControlError> {
        self.record_call(format!("delete {source}"))
    }

    async fn settings_file(&self, source: &str) -> Result<PathBuf, ControlError> {
        self.record_call(format!("settings {source}"))?;
        Ok(PathBuf::from("host.toml"))
    }
}

/// A server that runs.
struct Running {
    server: RunningAdminServer,
    registry: Registry,
    control: Arc<RecordingControl>,
    state_dir: tempfile::TempDir,
}

impl Running {
    fn address(&self) -> SocketAddr {
        self.server.address()
    }
}

/// `[admin]` with these lines.
fn settings(lines: &str, directory: &Path) -> AdminSettings {
    let text =
        format!("[[source]]\nname = \"acme\"\n[[output]]\ntype = \"stdout\"\n[admin]\n{lines}\n");
    let settings = Settings::parse(&text, &directory.join("host.toml"));
    settings.unwrap().admin.unwrap()
}

async fn start_with(lines: &str) -> Running {
    let state_dir = tempfile::tempdir().unwrap();
    let server = AdminServer::bind(&settings(lines, state_dir.path()))
        .await
        .unwrap();
    start_bound(server, state_dir)
}

fn start_bound(server: AdminServer, state_dir: tempfile::TempDir) -> Running {
    let (registry, control) = (Registry::new(), Arc::new(RecordingControl::default()));
    let server = server.start(AdminContext {
        registry: registry.clone(),
        control: Some(Arc::<RecordingControl>::clone(&control)),
        components: ComponentLoader::new(None, 0).unwrap(),
        settings_file: PathBuf::from("host.toml"),
        state_dir: state_dir.path().to_owned(),
    });
    Running {
        server,
        registry,
        control,
        state_dir,
    }
}

/// On loopback, with a token.
async fn start() -> Running {
    start_with(&format!("listen = \"127.0.0.1:0\"\ntoken = \"{TOKEN}\"")).await
}

/// A source that collects one stream.
fn add(registry: &Registry, name: &str, state: State) -> SourceEntry {
    let entry = registry.add_source(name, vec!["siem".to_owned()]);
    entry.set_run_state(RunState::Running);
    entry.update(&stored_source(name, state, 7));
    entry
}

fn stored_source(name: &str, state: State, events: u64) -> StoredSource {
    let now = SystemTime::now();
    let mut source_state = StoredSource::new(name);
    source_state.stored_at = Time::of(now).to_string();
    source_state.checkpoint = Some("{}".to_owned());
    source_state.component = "collector 0.2.0".to_owned();
    source_state.succeeded_at_ms = Some(epoch_ms(now));
    let stream = StoredStream {
        state,
        received: events,
        events,
        collected_until_ms: i64::try_from(epoch_ms(now)).ok(),
        ..StoredStream::default()
    };
    source_state.streams.insert("audit".to_owned(), stream);
    source_state
}

/// A response of the server.
#[derive(Debug)]
struct TestResponse {
    status: u16,
    /// By their names in lower case.
    headers: BTreeMap<String, String>,
    body: String,
}

impl TestResponse {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    fn error(&self) -> String {
        self.json()["error"].as_str().unwrap().to_owned()
    }
}

async fn get(address: SocketAddr, path: &str) -> TestResponse {
    request(address, "GET", path, &[], "").await
}

/// With the token, and a body that is JSON where there is one.
async fn change(address: SocketAddr, method: &str, path: &str, body: &str) -> TestResponse {
    let token = format!("Bearer {TOKEN}");
    let json = ("content-type", "application/json");
    let headers = [("authorization", token.as_str()), json];
    request(address, method, path, &headers, body).await
}

async fn request(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> TestResponse {
    let stream = TcpStream::connect(address).await.unwrap();
    exchange(stream, address, method, path, headers, body).await
}

async fn exchange(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> TestResponse {
    let mut text = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\n");
    if !headers.iter().any(|(name, _)| *name == "host") {
        text.push_str(&format!("host: {address}\r\n"));
    }
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() {
        text.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    text.push_str("\r\n");
    text.push_str(body);
    // A server that refuses early may not read the body.
    let _ = stream.write_all(text.as_bytes()).await;
    let mut response = Vec::new();
    let _ = stream.read_to_end(&mut response).await;
    parse(&String::from_utf8(response).unwrap())
}

fn parse(response: &str) -> TestResponse {
    let (head, body) = response
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("no response: {response:?}"));
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap();
    let headers = lines.map(|line| {
        let (name, value) = line.split_once(':').unwrap();
        (name.to_lowercase(), value.trim().to_owned())
    });
    TestResponse {
        status: status.parse().unwrap(),
        headers: headers.collect(),
        body: body.to_owned(),
    }
}
