//! The host as a process of its own, killed as it delivers, and its receivers
//! with it: nothing is lost, and nothing that was rejected.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use mimecast_simulator::{Config, Ledger as Owed, Simulator};
use serde_json::Value;

use crate::forward_receiver::{Demands, ForwardReceiver};
use crate::http_receiver::HttpReceiver;
use crate::receiver::Ledger;

const KILLS: u32 = 30;
/// What a host may have at most.
const MEMORY_MIB_MAX: u64 = 128;

fn tenant() -> Config {
    Config {
        pages: 3,
        files_per_page: 3,
        records_per_file: 150,
        audit_events: 500,
        quota_calls: 1_000_000,
        ..Config::default()
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
    file
}

fn host(file: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_source-host"));
    command.arg("run").arg(file);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// Run to the end, as a host does that nobody kills.
fn finish(file: &Path) {
    let mut command = host(file);
    let output = tokio::task::block_in_place(|| command.arg("--once").output()).unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{said}", output.status);
}

/// Everything that the tenant owes is there. Returns how many events there are
/// beside it: of malformed lines, those that can be read all the same.
fn assert_complete(owed: &Owed, receiver: &Ledger) -> usize {
    let taken = receiver.distinct_at(["/stream", "/id"]);
    let mut expected = BTreeSet::new();
    for stream in owed.streams() {
        let ids = owed.expected(stream).iter();
        expected.extend(ids.map(|id| [stream.to_owned(), id.clone()]));
    }
    let missing = expected.difference(&taken).count();
    assert_eq!(missing, 0, "of {} events", expected.len());
    taken.len() - expected.len()
}

/// The events of a file and of those that were closed before it.
fn kept(directory: &Path) -> Ledger {
    let ledger = Ledger::new();
    let mut closed = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        if path.extension().is_some_and(|extension| extension == "zst") {
            bytes = zstd::stream::decode_all(bytes.as_slice()).unwrap();
            closed += 1;
        }
        let lines = std::str::from_utf8(&bytes).unwrap().lines();
        ledger.take(
            lines
                .map(|line| serde_json::from_str(line).unwrap())
                .collect(),
        );
    }
    assert!(closed > 5, "{closed} files were closed");
    ledger
}

/// Each record that the host says it rejected has come, with its place and
/// what it was.
fn assert_rejected(file: &Path, letters: &Ledger) {
    let names = ["original", "original_base64"];
    let has_original = |letter: &Value| names.iter().any(|name| letter.get(name).is_some());
    assert!(letters.taken().iter().all(has_original));
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
    let taken = letters.distinct_at(["/stream", "/locator"]);
    assert_eq!(u64::try_from(taken.len()).unwrap(), rejected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thirty_kills_of_the_host_and_of_its_receivers_lose_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let tenant = Config {
        malformed_per_mille: 10,
        ..tenant()
    };
    let simulator = Simulator::start(tenant).await.unwrap();
    let mut forward = ForwardReceiver::with(Demands::default(), Ledger::dawdling()).await;
    let mut http = HttpReceiver::with(Ledger::dawdling()).await;
    let letters = HttpReceiver::with(Ledger::dawdling()).await;
    let outputs = format!(
        "[[output]]\n{}\n[[output]]\n{}\n[[output]]\ntype = \"file\"\n\
         path = \"kept/events.ndjson\"\nrotate_mib = 1\ncompression = \"zstd\"\n\
         [dead_letter]\n{}",
        forward.settings("frame_kib = 16"),
        http.settings("http", "request_kib = 16"),
        letters.settings("http", ""),
    );
    let file = write_settings(directory.path(), &simulator, &outputs);
    let random = |millis| Duration::from_millis(fastrand::u64(millis));
    for kill in 0..KILLS {
        let before = http.ledger.count();
        let mut process = host(&file).stderr(Stdio::null()).spawn().unwrap();
        // Two of three at an instant in the midst of deliveries.
        if kill % 3 < 2 {
            http.ledger.has_taken(before + 1).await;
        }
        tokio::time::sleep(random(0..300)).await;
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
    let owed = simulator.ledger();
    let read = assert_complete(&owed, &forward.ledger);
    assert_eq!(assert_complete(&owed, &http.ledger), read);
    let kept = kept(&directory.path().join("kept"));
    assert_eq!(assert_complete(&owed, &kept), read);
    assert_rejected(&file, &letters.ledger);
    println!(
        "{KILLS} kills: {} events through forward, {} through http, for {} records",
        forward.ledger.count(),
        http.ledger.count(),
        owed.total(),
    );
}

/// The most memory that a process has had so far. Linux only.
fn memory_mib_peak(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kib = line.unwrap().split_whitespace().nth(1).unwrap();
    kib.parse::<u64>().unwrap() / 1_024
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_stands_still_holds_the_source_back_in_little_memory() {
    let directory = tempfile::tempdir().unwrap();
    let simulator = Simulator::start(tenant()).await.unwrap();
    let receiver = ForwardReceiver::start(Demands::default()).await;
    let output = receiver.settings("connections = 1");
    let file = write_settings(
        directory.path(),
        &simulator,
        &format!("[[output]]\n{output}"),
    );
    receiver.ledger.hold(true);
    let mut process = host(&file)
        .arg("--once")
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    receiver.ledger.has_requests(1).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(receiver.ledger.requests().len(), 1, "one frame under way");
    assert_eq!(receiver.ledger.count(), 0);
    receiver.ledger.hold(false);
    let owed = simulator.ledger();
    receiver.ledger.has_taken(owed.total()).await;
    let memory = memory_mib_peak(process.id());
    let ended = tokio::task::block_in_place(|| process.wait()).unwrap();
    assert!(ended.success(), "{ended}");
    assert_eq!(assert_complete(&owed, &receiver.ledger), 0);
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
    let first = tokio::task::block_in_place(|| lines.next())
        .unwrap()
        .unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    // What the pipe holds, and the batch that waits for room in it.
    let so_far = simulator.ledger();
    let fetched: usize = so_far
        .streams()
        .map(|stream| so_far.served(stream).count())
        .sum();
    assert!(fetched < so_far.total() / 4, "{fetched} records");
    let ledger = Ledger::new();
    let rest = tokio::task::block_in_place(|| lines.map(|line| line.unwrap()).collect::<Vec<_>>());
    let events = std::iter::once(first).chain(rest);
    ledger.take(
        events
            .map(|line| serde_json::from_str(&line).unwrap())
            .collect(),
    );
    assert!(process.wait().unwrap().success());
    assert_eq!(assert_complete(&simulator.ledger(), &ledger), 0);
}
