//! The host as a process of its own, killed as it delivers, and its receivers
//! with it: nothing is lost, and nothing that was rejected.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mimecast_simulator::{Config, Ledger, Simulator};
use serde_json::Value;

use crate::forward_receiver::{ForwardReceiver, ForwardReceiverConfig};
use crate::http_receiver::HttpReceiver;
use crate::machine_code::hard_link_machine_code;
use crate::receiver::{ReceiverState, Treatment};
use crate::test_delivery::DEADLINE;

const KILLS: u32 = 30;
/// What a host may have at most.
const MEMORY_MIB_MAX: u64 = 128;

fn tenant() -> Config {
    Config {
        pages: 3,
        files_per_page: 3,
        records_per_file: 150,
        audit_events: 500,
        batch_quota_calls: 1_000_000,
        ..Config::default()
    }
}

fn small_tenant() -> Config {
    Config {
        pages: 1,
        files_per_page: 1,
        records_per_file: 5,
        audit_events: 20,
        ..tenant()
    }
}

/// Small batches, so that there are many instants between two of them.
fn write_settings(directory: &Path, simulator: &Simulator, outputs: &str) -> PathBuf {
    let (api, storage) = (simulator.api_url(), simulator.storage_url());
    let (id, secret) = (simulator.client_id(), simulator.client_secret());
    std::fs::write(directory.join("secret"), secret).unwrap();
    let text = format!(
        "state_dir = \"state\"\n\n[[source]]\nname = \"acme\"\nmax_events = 100\n\
         allow = [\"{api}\", \"{storage}\"]\n[source.settings]\nbase_url = \"{api}\"\n\
         client_id = \"{id}\"\nclient_secret = {{ file = \"secret\" }}\n\
         streams = [\"siem\", \"audit\"]\nformat = \"raw\"\nsiem_calls_per_15_min = 100000\n\n{outputs}\n"
    );
    let file = directory.join("host.toml");
    std::fs::write(&file, text).unwrap();
    hard_link_machine_code(&directory.join("state/cache"));
    file
}

fn host(file: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_source-host"));
    command.arg("run").arg(file);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// Runs to the end, without a kill.
fn finish(file: &Path) {
    let mut command = host(file);
    let output = tokio::task::block_in_place(|| command.arg("--once").output()).unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{said}", output.status);
}

/// Asserts that every expected event has arrived. Returns how many events there are beside
/// these: of malformed lines, those that can be read all the same.
fn assert_complete(ledger: &Ledger, receiver: &ReceiverState) -> usize {
    let accepted = receiver.distinct_at(["/stream", "/id"]);
    let mut expected = BTreeSet::new();
    for stream in ledger.streams() {
        let ids = ledger.expected(stream).iter();
        expected.extend(ids.map(|id| [stream.to_owned(), id.clone()]));
    }
    let missing = expected.difference(&accepted).count();
    assert_eq!(missing, 0, "of {} events", expected.len());
    accepted.len() - expected.len()
}

/// Reads the events of an output file and of the files that were closed before it.
fn read_output_files(directory: &Path) -> ReceiverState {
    let state = ReceiverState::new();
    let mut closed = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        if path.extension().is_some_and(|extension| extension == "zst") {
            bytes = zstd::stream::decode_all(bytes.as_slice()).unwrap();
            closed += 1;
        }
        let lines = std::str::from_utf8(&bytes).unwrap().lines();
        state.record_accepted(
            lines
                .map(|line| serde_json::from_str(line).unwrap())
                .collect(),
        );
    }
    assert!(closed > 5, "{closed} files were closed");
    state
}

/// Each record that the host says it rejected has come, with its place and
/// what it was.
fn assert_rejected(file: &Path, rejected_receiver: &ReceiverState) {
    let names = ["original", "original_base64"];
    let has_original =
        |rejected_record: &Value| names.iter().any(|name| rejected_record.get(name).is_some());
    assert!(rejected_receiver.accepted().iter().all(has_original));
    let status = Command::new(env!("CARGO_BIN_EXE_source-host"))
        .args([Path::new("status"), Path::new("--json"), file])
        .output()
        .unwrap();
    let status: Value = serde_json::from_slice(&status.stdout).unwrap();
    let streams = status.pointer("/sources/0/streams").unwrap();
    let rejected = streams.as_object().unwrap().values();
    let rejected: u64 = rejected
        .map(|stream| stream["rejected"].as_u64().unwrap())
        .sum();
    assert!(rejected > 20, "{rejected}");
    let accepted = rejected_receiver.distinct_at(["/stream", "/locator"]);
    assert_eq!(u64::try_from(accepted.len()).unwrap(), rejected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thirty_kills_of_the_host_and_of_its_receivers_lose_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let tenant = Config {
        malformed_per_mille: 10,
        ..tenant()
    };
    let simulator = Simulator::start(tenant).await.unwrap();
    let mut forward =
        ForwardReceiver::with(ForwardReceiverConfig::default(), ReceiverState::slow()).await;
    let mut http = HttpReceiver::with(ReceiverState::slow()).await;
    let rejected_receiver = HttpReceiver::with(ReceiverState::slow()).await;
    let outputs = format!(
        "[[output]]\n{}\n[[output]]\n{}\n[[output]]\ntype = \"file\"\n\
         path = \"kept/events.ndjson\"\nrotate_mib = 1\ncompression = \"zstd\"\n\
         [dead_letter]\n{}",
        forward.settings("frame_kib = 16"),
        http.settings("http", "request_kib = 16"),
        rejected_receiver.settings("http", ""),
    );
    let file = write_settings(directory.path(), &simulator, &outputs);
    let random = |millis| Duration::from_millis(fastrand::u64(millis));
    for kill in 0..KILLS {
        let before = http.state.count();
        let mut process = host(&file).stderr(Stdio::null()).spawn().unwrap();
        // Two of three in the midst of deliveries, of which there are enough
        // for all; one at a random instant, also before the first.
        if kill % 3 < 2 {
            http.state
                .wait_for_events(before + fastrand::usize(1..200))
                .await;
        } else {
            tokio::time::sleep(random(0..300)).await;
        }
        if kill % 2 == 0 {
            forward.kill().await;
        } else {
            http.kill().await;
        }
        tokio::time::sleep(random(0..100)).await;
        process.kill().unwrap();
        process.wait().unwrap();
        if kill % 2 == 0 {
            forward.restart().await;
        } else {
            http.restart().await;
        }
    }
    finish(&file);
    let ledger = simulator.ledger().with_event_ids("acme");
    let extra = assert_complete(&ledger, &forward.state);
    assert_eq!(assert_complete(&ledger, &http.state), extra);
    let from_files = read_output_files(&directory.path().join("kept"));
    assert_eq!(assert_complete(&ledger, &from_files), extra);
    assert_rejected(&file, &rejected_receiver.state);
    println!(
        "{KILLS} kills: {} events through forward, {} through http, for {} records",
        forward.state.count(),
        http.state.count(),
        ledger.expected_count(),
    );
}

/// A host that runs until it is stopped, and its log.
struct HostProcess {
    process: Child,
    log: PathBuf,
}

impl HostProcess {
    fn start(file: &Path) -> Self {
        let log = file.with_extension("log");
        let process = host(file)
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Self { process, log }
    }

    /// Waits until the log contains a text.
    async fn wait_for_log(&mut self, text: &str) {
        wait_until(text, || {
            let log = self.log();
            assert!(
                self.process.try_wait().unwrap().is_none(),
                "it has ended: {log}"
            );
            log.contains(text)
        })
        .await;
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Returns its peak memory. Linux only.
    fn memory_mib_peak(&self) -> u64 {
        // It is there until it is waited for, and has this as long as it runs.
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()));
        let status = status.unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:"));
        let kib = line.unwrap().split_whitespace().nth(1).unwrap();
        kib.parse::<u64>().unwrap() / 1_024
    }

    /// Stops it as a service manager does.
    fn stop(mut self) {
        let process = self.process.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &process]).status();
        assert!(sent.unwrap().success());
        let ended = tokio::task::block_in_place(|| self.process.wait()).unwrap();
        assert!(ended.success(), "{ended}: {}", self.log());
    }
}

impl Drop for HostProcess {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// Checks a condition again and again until it holds: nothing notifies of changes to files, which most
/// conditions read.
async fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < DEADLINE, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// How many records the tenant has handed out.
fn served(simulator: &Simulator) -> usize {
    let ledger = simulator.ledger().with_event_ids("acme");
    ledger
        .streams()
        .map(|stream| ledger.served(stream).count())
        .sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_stands_still_holds_the_source_back_in_little_memory() {
    let directory = tempfile::tempdir().unwrap();
    let simulator = Simulator::start(tenant()).await.unwrap();
    let receiver =
        ForwardReceiver::with(ForwardReceiverConfig::default(), ReceiverState::slow()).await;
    let output = receiver.settings("connections = 1\nframe_kib = 16");
    let file = write_settings(
        directory.path(),
        &simulator,
        &format!("[[output]]\n{output}"),
    );
    receiver.state.hold(true);
    let running = HostProcess::start(&file);
    receiver.state.wait_for_requests(1).await;
    assert_eq!(receiver.state.count(), 0);
    receiver.state.hold(false);
    // What was fetched is at most some batches ahead of what was accepted, at
    // every instant.
    let total = simulator.ledger().with_event_ids("acme").expected_count();
    for count in (500..total).step_by(500) {
        let fetched = served(&simulator);
        let accepted = receiver.state.count();
        assert!(
            fetched <= accepted + total / 4,
            "{fetched} records fetched, {accepted} events accepted"
        );
        receiver.state.wait_for_events(count).await;
    }
    receiver.state.wait_for_events(total).await;
    // It waits for more, so that it is still there.
    let memory = running.memory_mib_peak();
    running.stop();
    assert_eq!(
        assert_complete(&simulator.ledger().with_event_ids("acme"), &receiver.state),
        0
    );
    println!("at most {memory} MiB");
    // In the development profile, and with the component compiled in it.
    assert!(memory <= MEMORY_MIB_MAX, "{memory} MiB");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pipe_that_nobody_reads_holds_the_source_back() {
    let directory = tempfile::tempdir().unwrap();
    let simulator = Simulator::start(tenant()).await.unwrap();
    let file = write_settings(
        directory.path(),
        &simulator,
        "[[output]]\ntype = \"stdout\"",
    );
    let mut command = host(&file);
    command
        .arg("--once")
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut process = command.spawn().unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let state = ReceiverState::new();
    let total = simulator.ledger().with_event_ids("acme").expected_count();
    let mut read = 0;
    while let Some(line) = tokio::task::block_in_place(|| lines.next()) {
        state.record_accepted(vec![serde_json::from_str(&line.unwrap()).unwrap()]);
        read += 1;
        if read % 250 == 1 {
            // What the pipe holds, and the batch that waits for room in it.
            let fetched = served(&simulator);
            assert!(
                fetched <= read + total / 4,
                "{fetched} records fetched, {read} lines read"
            );
        }
    }
    assert!(process.wait().unwrap().success());
    assert_eq!(
        assert_complete(&simulator.ledger().with_event_ids("acme"), &state),
        0
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_credentials_block_the_output_and_end_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let simulator = Simulator::start(small_tenant()).await.unwrap();
    let receiver = HttpReceiver::start().await;
    receiver.state.script([
        Treatment::Respond(401, Vec::new(), "no"),
        Treatment::Respond(403, Vec::new(), "no"),
    ]);
    let output = receiver.settings("http", "connections = 1\nbearer_token = \"a-token\"");
    let file = write_settings(
        directory.path(),
        &simulator,
        &format!("[[output]]\n{output}"),
    );
    let mut running = HostProcess::start(&file);
    running.wait_for_log("output blocked").await;
    receiver
        .state
        .wait_for_events(simulator.ledger().with_event_ids("acme").expected_count())
        .await;
    running.wait_for_log("the output accepts again").await;
    running.stop();
    assert_eq!(
        assert_complete(&simulator.ledger().with_event_ids("acme"), &receiver.state),
        0
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_credentials_end_a_run_with_once_with_1_and_the_reason() {
    let directory = tempfile::tempdir().unwrap();
    let simulator = Simulator::start(small_tenant()).await.unwrap();
    let receiver = HttpReceiver::start().await;
    let refused = || Treatment::Respond(401, Vec::new(), "no");
    receiver.state.script((0..100).map(|_| refused()));
    let output = format!(
        "[[output]]\ntype = \"http\"\nendpoint = \"http://{}/hook/ZaVnC4dhaV1?key=QueryMark\"\nconnections = 1",
        receiver.address
    );
    let file = write_settings(directory.path(), &simulator, &output);
    let mut command = host(&file);
    command.arg("--once").env("SOURCE_HOST_LOG", "trace");
    let ended = tokio::task::block_in_place(|| command.output()).unwrap();
    let log = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{log}");
    let reason = format!("http http://{} answers 401 no", receiver.address);
    assert!(log.contains(&reason), "{log}");
    // The path and the query of an endpoint are as secret as a token.
    for secret in ["ZaVnC4dhaV1", "QueryMark"] {
        assert!(receiver.state.requests()[0].contains("/hook/ZaVnC4dhaV1"));
        assert!(!log.contains(secret), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_of_the_json_log_has_kind_and_status_of_what_an_output_did_not_accept() {
    let directory = tempfile::tempdir().unwrap();
    let simulator = Simulator::start(small_tenant()).await.unwrap();
    let receiver = HttpReceiver::start().await;
    let response = |status| Treatment::Respond(status, Vec::new(), "no");
    let throttled = Treatment::Respond(429, vec![("retry-after", "1")], "no");
    receiver
        .state
        .script([response(401), response(503), throttled, Treatment::Reset]);
    let output = receiver.settings("http", "connections = 1");
    let output = format!("[[output]]\n{output}");
    let file = write_settings(directory.path(), &simulator, &output);
    let mut command = host(&file);
    command.args(["--once", "--log-format", "json"]);
    let ended = tokio::task::block_in_place(|| command.output()).unwrap();
    let log = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{log}");
    let lines = log.lines().map(|line| serde_json::from_str(line).unwrap());
    let lines: Vec<Value> = lines
        .filter(|line: &Value| line.get("kind").is_some())
        .collect();
    let seen: Vec<_> = lines
        .iter()
        .map(|line| (line["kind"].as_str().unwrap(), line["status"].as_u64()))
        .collect();
    let expected = [
        ("blocked", Some(401)),
        ("unavailable", Some(503)),
        ("throttled", Some(429)),
        ("unavailable", None),
    ];
    assert_eq!(seen, expected, "{log}");
    for line in &lines {
        assert_eq!(
            (&line["source"], &line["output"]),
            (&"acme".into(), &"http".into())
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_secret_in_the_file_of_an_output_is_used_at_its_next_try() {
    assert_used_at_next_try("bearer_token = { file = \"token\" }", "").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_value_in_the_file_of_a_header_is_used_at_the_next_try() {
    let header = "headers = { Authorization = { file = \"token\" } }";
    assert_used_at_next_try(header, "Bearer ").await;
}

/// Asserts that the file that `setting` names is read again at the next try: it is replaced when
/// its first secret has been refused. The file has `scheme` before each secret.
async fn assert_used_at_next_try(setting: &str, scheme: &str) {
    let directory = tempfile::tempdir().unwrap();
    let simulator = Simulator::start(small_tenant()).await.unwrap();
    let receiver = HttpReceiver::start().await;
    let refused = || Treatment::Respond(401, Vec::new(), "no");
    receiver.state.script([refused()]);
    let token = directory.path().join("token");
    std::fs::write(&token, format!("{scheme}the-first-secret\n")).unwrap();
    let output = receiver.settings("http", &format!("connections = 1\n{setting}"));
    let file = write_settings(
        directory.path(),
        &simulator,
        &format!("[[output]]\n{output}"),
    );
    let mut running = HostProcess::start(&file);
    running.wait_for_log("answers 401 no").await;
    std::fs::write(&token, format!("{scheme}the-second-secret\n")).unwrap();
    let total = simulator.ledger().with_event_ids("acme").expected_count();
    wait_until("every event", || {
        receiver.state.distinct_at(["/stream", "/id"]).len() >= total
    })
    .await;
    let requests = receiver.state.requests();
    assert!(
        requests[0].ends_with("Bearer the-first-secret"),
        "{requests:?}"
    );
    let rest = &requests[1..];
    let is_second = |request: &String| request.ends_with("Bearer the-second-secret");
    assert!(
        !rest.is_empty() && rest.iter().all(is_second),
        "{requests:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hosts_do_not_write_to_one_file() {
    let simulator = Simulator::start(small_tenant()).await.unwrap();
    let shared = tempfile::tempdir().unwrap();
    let path = shared.path().join("events.ndjson");
    let output = format!("[[output]]\ntype = \"file\"\npath = \"{}\"", path.display());
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let first = write_settings(one.path(), &simulator, &output);
    let second = write_settings(other.path(), &simulator, &output);
    let mut running = HostProcess::start(&first);
    running.wait_for_log("started").await;
    let mut command = host(&second);
    let ended = tokio::task::block_in_place(|| command.arg("--once").output()).unwrap();
    let log = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{log}");
    assert!(
        log.contains("another source-host or another output is writing to it"),
        "{log}"
    );
    // The first one has not noticed.
    let total = simulator.ledger().with_event_ids("acme").expected_count();
    let lines = || std::fs::read_to_string(&path).unwrap().lines().count();
    wait_until("lines of events", || lines() >= total).await;
    running.stop();
    finish(&second);
    assert_eq!(lines(), 2 * total);
}

/// The other source waits for minutes, for the reset of its quota.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closed_standard_output_ends_every_source() {
    let directory = tempfile::tempdir().unwrap();
    let (simulator, waiting) = (
        Simulator::start(tenant()).await.unwrap(),
        Simulator::start(small_tenant()).await.unwrap(),
    );
    let file = write_settings(
        directory.path(),
        &simulator,
        "[[output]]\ntype = \"stdout\"",
    );
    let (api, storage) = (waiting.api_url(), waiting.storage_url());
    let (id, secret) = (waiting.client_id(), waiting.client_secret());
    let mut text = std::fs::read_to_string(&file).unwrap();
    text.push_str(&format!(
        "\n[[source]]\nname = \"waiting\"\nallow = [\"{api}\", \"{storage}\"]\n\
         [source.settings]\nbase_url = \"{api}\"\nclient_id = \"{id}\"\n\
         client_secret = \"{secret}\"\nstreams = [\"audit\"]\nformat = \"raw\"\n"
    ));
    std::fs::write(&file, text).unwrap();
    let mut process = host(&file)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    // So slowly that the first source is not at its end before the other one,
    // whose next poll is minutes away.
    let state_file = directory.path().join("state/waiting.checkpoint.json");
    wait_until("the other source to be caught up", || {
        let line = tokio::task::block_in_place(|| lines.next());
        line.unwrap().unwrap();
        let state_file = std::fs::read_to_string(&state_file).unwrap_or_default();
        state_file.contains("\"caught_up\": true")
    })
    .await;
    drop(lines);
    let closed = Instant::now();
    let ended = tokio::task::block_in_place(|| process.wait_with_output()).unwrap();
    let log = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{log}");
    assert!(log.contains("standard output was closed"), "{log}");
    println!("ended after {:.1} s", closed.elapsed().as_secs_f64());
    assert!(closed.elapsed() < DEADLINE, "{log}");
}
