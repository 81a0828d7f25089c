//! A simulated tenant, a folder with the settings of a host that collects from it, and what is
//! found in that folder afterwards.

#![allow(
    clippy::panic,
    dead_code,
    clippy::allow_attributes,
    reason = "each test uses what it needs"
)]

pub(crate) mod machine_code;

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use mimecast_simulator::{Config, EventType, Ledger, Simulator};
use serde_json::Value;
use tempfile::TempDir;

pub(crate) use machine_code::hard_link_machine_code;

/// A process that does not outlive its test, which may fail at any place.
pub(crate) struct Process(pub(crate) Child);

impl Deref for Process {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.0
    }
}

impl DerefMut for Process {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Neither fails for a process that has ended.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A host that runs as a process, and its log.
pub(crate) struct HostProcess {
    child: Process,
    lines: Receiver<String>,
    /// What has been read of the log.
    pub(crate) log: String,
}

impl HostProcess {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in log.lines() {
                // The receiver may be gone.
                drop(sender.send(line.unwrap()));
            }
        });
        Self {
            child: Process(child),
            lines,
            log: String::new(),
        }
    }

    /// Waits for the next line of the log with these words, and returns it.
    pub(crate) fn wait_for(&mut self, words: &str) -> String {
        let deadline = Instant::now() + WAIT_TIMEOUT;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else {
                panic!("the log of the host has no `{words}`:\n{}", self.log);
            };
            self.log.push_str(&line);
            self.log.push('\n');
            if line.contains(words) {
                return line;
            }
        }
    }

    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args([name, &self.child.id().to_string()])
            .status();
        assert!(sent.unwrap().success());
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Asks it to stop, and returns its exit status and its log.
    pub(crate) fn stop(mut self) -> (ExitStatus, String) {
        self.signal("-TERM");
        self.wait_for_exit()
    }

    /// Waits for its exit. Returns its exit status and its log.
    pub(crate) fn wait_for_exit(&mut self) -> (ExitStatus, String) {
        let status = self.child.wait().unwrap();
        for line in self.lines.iter() {
            self.log.push_str(&line);
            self.log.push('\n');
        }
        (status, std::mem::take(&mut self.log))
    }
}

/// What a test waits for takes a few seconds on an idle machine.
pub(crate) const WAIT_TIMEOUT: Duration = Duration::from_secs(120);

const HOST: &str = env!("CARGO_BIN_EXE_source-host");

/// A simulated tenant and a folder with the settings of a host that collects from it.
pub(crate) struct Setup {
    pub(crate) simulator: Simulator,
    pub(crate) folder: TempDir,
}

impl Setup {
    /// A host that writes events into a file; `settings` are lines of `[source.settings]`.
    pub(crate) fn new(config: Config, settings: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let simulator = runtime.block_on(Simulator::start(config)).unwrap();
        let setup = Self {
            simulator,
            folder: TempDir::new().unwrap(),
        };
        setup.write_settings(settings, "type = \"file\"\npath = \"events.ndjson\"");
        hard_link_machine_code(&setup.path("state/cache"));
        setup
    }

    /// Writes the settings file anew, with the source `acme` and one output, and the file of its secret with the
    /// right one.
    pub(crate) fn write_settings(&self, settings: &str, output: &str) {
        self.write_source("", settings, output);
    }

    /// The same as [`Self::write_settings`], with more lines of `[[source]]`.
    pub(crate) fn write_source(&self, source: &str, settings: &str, output: &str) {
        let (api, storage) = (self.simulator.api_url(), self.simulator.storage_url());
        let (id, secret) = (self.simulator.client_id(), self.simulator.client_secret());
        std::fs::write(self.path("secret"), secret).unwrap();
        let text = format!(
            "state_dir = \"state\"\n\n[[source]]\nname = \"acme\"\nallow = [\"{api}\", \"{storage}\"]\n{source}\n\
             [source.settings]\nbase_url = \"{api}\"\nclient_id = \"{id}\"\n\
             client_secret = {{ file = \"secret\" }}\n{settings}\n[[output]]\n{output}\n"
        );
        std::fs::write(self.path("host.toml"), text).unwrap();
    }

    /// The `[[source]]` of the settings file, for a source of another name.
    pub(crate) fn source_table_renamed(&self, name: &str) -> String {
        let text = std::fs::read_to_string(self.path("host.toml")).unwrap();
        let (_, source) = text.split_once("[[source]]").unwrap();
        let (source, _) = source.split_once("[[output]]").unwrap();
        format!("\n[[source]]{}", source.replace("acme", name))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The host with a verb, and perhaps flags, and the settings file.
    pub(crate) fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(HOST);
        command
            .args(verb.split(' '))
            .arg(self.path("host.toml"))
            .current_dir(self.folder.path());
        command.stdin(Stdio::null());
        command
    }

    /// Starts the host with a verb, and perhaps flags; its log goes nowhere.
    pub(crate) fn start(&self, verb: &str) -> Process {
        let mut command = self.command(verb);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        Process(command.spawn().unwrap())
    }

    pub(crate) fn run_once(&self) -> Output {
        self.command("run").arg("--once").output().unwrap()
    }

    /// Returns the streams in `status --json`.
    pub(crate) fn stream_status(&self) -> Value {
        let (code, source) = self.source_status();
        assert!(matches!(code, Some(0 | 3)), "{source:#}");
        source["streams"].clone()
    }

    /// Returns the exit code of `status --json`, and its report of the source.
    pub(crate) fn source_status(&self) -> (Option<i32>, Value) {
        let output = self.command("status").arg("--json").output().unwrap();
        let status: Value = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.code(), status["sources"][0].clone())
    }

    /// Deletes the checkpoint and the output file, and keeps the machine code, which takes long to compile.
    pub(crate) fn delete_checkpoint_and_events(&self) {
        let _ = std::fs::remove_file(self.path("state/acme.checkpoint.json"));
        let _ = std::fs::remove_file(self.path("events.ndjson"));
    }

    /// The events in the output file, with the stream and the id of each.
    pub(crate) fn events(&self) -> Vec<(String, String)> {
        events_of(&self.path("events.ndjson"))
    }

    /// How many lines are in the output file; none before there is a file.
    pub(crate) fn line_count(&self) -> usize {
        count_lines(&self.path("events.ndjson"))
    }

    /// Returns the ledger of all records that exist, by the ids that they have as events of the source.
    pub(crate) fn ledger(&self) -> Ledger {
        self.simulator.ledger().with_event_ids("acme")
    }

    /// How many records there are.
    pub(crate) fn expected_count(&self) -> usize {
        self.ledger().expected_count()
    }

    /// Asserts that no record of the tenant is missing and nothing is invented.
    pub(crate) fn assert_complete(&self, events: &[(String, String)]) {
        self.assert_complete_without("", events);
    }

    /// The same, where one stream is left out.
    pub(crate) fn assert_complete_without(&self, without: &str, events: &[(String, String)]) {
        let ledger = self.ledger();
        let mut expected_count = 0;
        for stream in ledger.streams().filter(|stream| *stream != without) {
            let ids = ids_of_stream(events, stream).map(|id| ledger.original(stream, id));
            let ids: BTreeSet<&str> = ids.collect();
            let missing = ledger.missing(stream, ids.iter().copied());
            assert!(
                missing.is_empty(),
                "{stream}: {} of its {} records are missing",
                missing.len(),
                ledger.expected(stream).len()
            );
            assert_eq!(
                ids.len(),
                ledger.expected(stream).len(),
                "{stream}: unknown identities"
            );
            expected_count += ids.len();
        }
        assert_eq!(self.distinct_count(events), expected_count);
    }

    /// How many different records the events are of.
    pub(crate) fn distinct_count(&self, events: &[(String, String)]) -> usize {
        let ledger = self.ledger();
        let records = events
            .iter()
            .map(|(stream, id)| (stream, ledger.original(stream, id)));
        records.collect::<BTreeSet<_>>().len()
    }

    /// The same as [`Self::assert_complete`], and nothing came twice.
    pub(crate) fn assert_exactly_once(&self, events: &[(String, String)]) {
        self.assert_complete(events);
        assert_eq!(
            self.distinct_count(events),
            events.len(),
            "something was repeated"
        );
    }
}

/// The ids of the events of a stream.
pub(crate) fn ids_of_stream<'a>(
    events: &'a [(String, String)],
    stream: &'a str,
) -> impl Iterator<Item = &'a str> {
    events
        .iter()
        .filter(move |(name, _)| name == stream)
        .map(|(_, id)| id.as_str())
}

pub(crate) fn events_of(path: &Path) -> Vec<(String, String)> {
    let file = BufReader::new(std::fs::File::open(path).unwrap());
    file.lines()
        .map(|line| stream_and_id(&line.unwrap()))
        .collect()
}

/// The events of the whole lines of a file that a host may be writing; none where there is no file.
pub(crate) fn events_so_far(path: &Path) -> Vec<(String, String)> {
    let text = std::fs::read(path).unwrap_or_default();
    let whole = memchr::memrchr(b'\n', &text).map_or(0, |at| at + 1);
    let text = std::str::from_utf8(&text[..whole]).unwrap();
    text.lines().map(stream_and_id).collect()
}

/// The stream and the id of an event in the format `raw` or `ecs`.
pub(crate) fn stream_and_id(line: &str) -> (String, String) {
    stream_and_id_of(&serde_json::from_str(line).unwrap())
}

pub(crate) fn stream_and_id_of(event: &Value) -> (String, String) {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    if let Some(id) = event.get("id") {
        return (text(&event["stream"]), text(id));
    }
    let dataset = text(&event["event"]["dataset"]);
    let provider = text(&event["event"]["provider"]);
    let stream = match dataset.as_str() {
        "mimecast.siem" | "mimecast.ci" => EventType::from_name(&provider).unwrap().stream(),
        other => mimecast_simulator::streams()
            .into_iter()
            .find(|stream| format!("mimecast.{}", stream.replace(['.', '-'], "_")) == other)
            .unwrap(),
    };
    (stream.to_owned(), text(&event["event"]["id"]))
}

/// How many whole lines a file has; none where there is no file.
pub(crate) fn count_lines(path: &Path) -> usize {
    let text = std::fs::read(path).unwrap_or_default();
    memchr::memchr_iter(b'\n', &text).count()
}

/// Polls a condition until it holds, so that tests do not depend on machine speed.
///
/// # Panics
///
/// When it does not hold by [`WAIT_TIMEOUT`].
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(
            begun.elapsed() < WAIT_TIMEOUT,
            "not yet after {WAIT_TIMEOUT:?}: {what}"
        );
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

pub(crate) fn assert_success(output: &Output) {
    assert!(
        output.status.success(),
        "{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A tenant with every stream, small enough to be collected in a second or two.
pub(crate) fn small_config() -> Config {
    Config {
        types: EventType::ALL.to_vec(),
        pages: 2,
        files_per_page: 2,
        records_per_file: 100,
        audit_events: 300,
        log_records: 60,
        page_records_max: 25,
        batch_quota_calls: 100_000,
        ..Config::default()
    }
}
