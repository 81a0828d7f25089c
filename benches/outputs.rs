//! One million events through each output to a receiver on loopback, each in a process of its own: what
//! they cost the sender, and the most memory that it had.
//!
//! Names of outputs as arguments choose. `nats` needs a nats-server, which `NATS_SERVER` names or the
//! path has.

#![expect(
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark that cannot run should panic with the reason"
)]

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use async_nats::jetstream;
use serde_json::Value;
use source_common::section::Section;
use source_outputs::{self as output, Delivery, Output};
use source_outputs::{Entry, Kind};

use crate::measure::{Cost, is_smoke_test, print_header, print_row};

#[expect(dead_code, reason = "the other benchmarks measure in one process")]
mod measure;

const OUTPUTS: [&str; 8] = [
    "elasticsearch",
    "file",
    "forward",
    "http",
    "nats",
    "otlp",
    "splunk",
    "stdout",
];
/// The arguments by which this program becomes the receiver or the sender of another copy of itself.
const RECEIVE: &str = "receive";
const SEND: &str = "send";
const EVENTS_PER_BATCH: usize = 1_000;
const BATCHES: usize = 1_000;
const BATCHES_SMOKE: usize = 10;
/// What a host may have at most.
const MEMORY_MIB_MAX: u64 = 128;
/// Much longer than a server takes to start.
const STARTED_WITHIN: Duration = Duration::from_secs(60);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        [RECEIVE, kind] => return receive(kind),
        [SEND, settings, batches] => return send(settings, batches.parse().unwrap()),
        _ => {}
    }
    let named = OUTPUTS.iter().any(|kind| arguments.contains(kind));
    print_header();
    for kind in OUTPUTS {
        if !named || arguments.contains(&kind) {
            measure(
                kind,
                if is_smoke_test() {
                    BATCHES_SMOKE
                } else {
                    BATCHES
                },
            );
        }
    }
}

/// Runs a sender, and prints what it reports about itself.
fn measure(kind: &str, batches: usize) {
    let directory = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(kind, directory.path());
    let Some((_receiver, receiver_settings)) = receiver else {
        eprintln!("LEFT OUT: `nats`, since nats-server is not installed");
        return;
    };
    let settings = format!("type = \"{kind}\"\n{receiver_settings}");
    let sender = Command::new(std::env::current_exe().unwrap())
        .args([SEND, &settings, &batches.to_string()])
        .stdout(Stdio::null())
        .output()
        .unwrap();
    let figures = String::from_utf8(sender.stderr).unwrap();
    assert!(sender.status.success(), "{kind}: {figures}");
    let mut figures = figures
        .split_whitespace()
        .map(|number| number.parse().unwrap());
    let (nanoseconds, bytes) = (figures.next().unwrap(), figures.next().unwrap());
    let memory: u64 = figures.next().unwrap();
    let cost = Cost {
        events: batches * EVENTS_PER_BATCH,
        bytes: usize::try_from(bytes).unwrap(),
        time: Duration::from_nanos(nanoseconds),
    };
    print_row(
        &format!("output `{kind}`"),
        cost,
        &format!("{} events, at most {memory} MiB", cost.events),
    );
    assert!(memory <= MEMORY_MIB_MAX, "{memory} MiB");
}

/// Delivers, and writes to standard error what it cost: nanoseconds, bytes, MiB.
fn send(settings: &str, batches: usize) {
    let section = Section::new(
        Path::new("bench.toml"),
        String::new(),
        settings.parse().unwrap(),
    );
    let config = output::parse_output(section).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let batch = ReceiptBatch::new();
    let before = process_cpu();
    runtime.block_on(async { deliver(&mut *config.open().await.unwrap(), &batch, batches).await });
    let time = process_cpu() - before;
    let bytes = batches * batch.events.len();
    eprintln!("{} {bytes} {}", time.as_nanos(), memory_mib_peak());
}

/// The processor time of all threads of this process: files are written by some of their own. Its
/// resolution is a hundredth of a second. Linux only.
fn process_cpu() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    // The 14th and 15th of all; the name in brackets is the second.
    let ticks = fields.split(' ').skip(11).take(2);
    let ticks: u64 = ticks.map(|field| field.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}

async fn deliver(output: &mut dyn Output, batch: &ReceiptBatch, batches: usize) {
    for _ in 0..batches {
        output.accept(&batch.delivery()).await.unwrap();
    }
    output.close().await.unwrap();
}

/// A batch of receipts as the component writes them, of about 800 bytes.
struct ReceiptBatch {
    events: String,
    index: Vec<Entry>,
    kinds: Vec<Kind>,
}

impl ReceiptBatch {
    fn new() -> Self {
        let mut batch = Self {
            events: String::new(),
            index: Vec::new(),
            kinds: vec![Kind {
                name: "email.receipt".to_owned(),
                stream: "siem.receipt".to_owned(),
            }],
        };
        for event in 0..EVENTS_PER_BATCH {
            writeln!(
                batch.events,
                r#"{{"@timestamp":"2026-02-03T04:05:06.789Z","ecs":{{"version":"9.4.0"}},"event":{{"id":"{event:032x}","module":"mimecast","kind":"event","category":["email"],"type":["info"],"outcome":"success","severity":1,"dataset":"mimecast.siem","provider":"receipt","action":"Acc"}},"observer":{{"vendor":"Mimecast","product":"Mimecast Email Security","type":"email-gateway"}},"organization":{{"id":"CTEST1A1"}},"email":{{"message_id":"20260203.1@mail.example.com","from":{{"address":["ann@example.com"]}},"to":{{"address":["bob@example.test"]}},"subject":"Quarterly figures","direction":"inbound"}},"source":{{"ip":"198.51.100.7"}},"tls":{{"version":"1.3","cipher":"TLS_AES_256_GCM_SHA384"}},"mimecast":{{"subtype":"Acc","numberAttachments":1,"spamScore":2}},"related":{{"ip":["198.51.100.7"],"user":["ann@example.com","bob@example.test"]}}}}"#
            )
            .unwrap();
            batch.index.push(Entry {
                end: u32::try_from(batch.events.len()).unwrap(),
                occurred_at: 1_770_091_506_789,
                kind: 0,
            });
        }
        batch
    }

    fn delivery(&self) -> Delivery<'_> {
        Delivery {
            source: "acme",
            namespace: "mimecast",
            events: &self.events,
            index: &self.index,
            kinds: &self.kinds,
        }
    }
}

/// A process that receives, which ends with this value.
struct Receiver(Child);

impl Receiver {
    /// Starts what an output delivers to. Returns it with the settings that name it, and `None` where
    /// it is not installed.
    fn start(kind: &str, directory: &Path) -> Option<(Option<Self>, String)> {
        match kind {
            "file" => {
                let path = directory.join("events.ndjson");
                Some((None, format!("path = \"{}\"", path.display())))
            }
            "nats" => nats(directory),
            "stdout" => Some((None, String::new())),
            _ => {
                let (receiver, address) = Self::spawn_self(kind);
                let more = match kind {
                    "forward" => format!("address = \"{address}\""),
                    "splunk" => format!("endpoint = \"http://{address}\"\ntoken = \"t\""),
                    _ => format!("endpoint = \"http://{address}\""),
                };
                Some((Some(receiver), more))
            }
        }
    }

    fn spawn_self(kind: &str) -> (Self, String) {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args([RECEIVE, kind])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut address = String::new();
        BufReader::new(process.stdout.take().unwrap())
            .read_line(&mut address)
            .unwrap();
        (Self(process), address.trim().to_owned())
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Starts a nats-server with a stream in memory that takes the events.
fn nats(directory: &Path) -> Option<(Option<Receiver>, String)> {
    let named = std::env::var_os("NATS_SERVER").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|directory| directory.join("nats-server"));
    let program = named
        .into_iter()
        .chain(on_path)
        .find(|path| path.exists())?;
    let server = Command::new(program)
        .args(["-a", "127.0.0.1", "-p", "-1", "-js", "-sd"])
        .arg(directory)
        .arg("--ports_file_dir")
        .arg(directory)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let ports = directory.join(format!("nats-server_{}.ports", server.id()));
    let server = Receiver(server);
    let begun = Instant::now();
    let url = loop {
        let text = fs::read_to_string(&ports).unwrap_or_default();
        let ports: Value = serde_json::from_str(&text).unwrap_or_default();
        if let Some(url) = ports["nats"][0].as_str() {
            break url.to_owned();
        }
        assert!(
            begun.elapsed() < STARTED_WITHIN,
            "nats-server does not listen"
        );
        std::thread::sleep(Duration::from_millis(10));
    };
    let config = jetstream::stream::Config {
        name: "MIMECAST".to_owned(),
        subjects: vec!["mimecast.>".to_owned()],
        max_bytes: 64 << 20,
        storage: jetstream::stream::StorageType::Memory,
        ..jetstream::stream::Config::default()
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let client = async_nats::connect(&url).await.unwrap();
        jetstream::new(client).create_stream(config).await.unwrap();
    });
    Some((Some(server), format!("servers = [\"{url}\"]")))
}

/// Reads and acknowledges, and does nothing else.
fn receive(kind: &str) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    println!("{}", listener.local_addr().unwrap());
    std::io::stdout().flush().unwrap();
    for stream in listener.incoming() {
        let stream = stream.unwrap();
        stream.set_nodelay(true).unwrap();
        let respond = match kind {
            "elasticsearch" => bulk_response,
            "splunk" => |_: &[u8]| r#"{"text":"Success","code":0}"#.to_owned(),
            _ => |_: &[u8]| String::new(),
        };
        let is_forward = kind == "forward";
        // It ends when the sender has closed.
        std::thread::spawn(move || {
            if is_forward {
                take_frames(stream)
            } else {
                take_requests(stream, respond)
            }
        });
    }
}

/// The response of `_bulk` that every event was created.
fn bulk_response(body: &[u8]) -> String {
    let mut items = Vec::new();
    for action in body.split(|byte| *byte == b'\n').step_by(2) {
        if let Ok(action) = serde_json::from_slice::<Value>(action) {
            let id = &action["create"]["_id"];
            items.push(format!(r#"{{"create":{{"_id":{id},"status":201}}}}"#));
        }
    }
    let items = items.join(",");
    format!(r#"{{"took":1,"errors":false,"items":[{items}]}}"#)
}

fn take_frames(mut stream: TcpStream) -> Option<()> {
    let mut reader = BufReader::with_capacity(512 * 1_024, stream.try_clone().ok()?);
    loop {
        let frame = rmpv::decode::read_value(&mut reader).ok()?;
        let chunk = frame[2]["chunk"].as_str()?.to_owned();
        let ack = rmpv::Value::Map(vec![("ack".into(), chunk.into())]);
        let mut bytes = Vec::new();
        rmpv::encode::write_value(&mut bytes, &ack).ok()?;
        stream.write_all(&bytes).ok()?;
    }
}

fn take_requests(mut stream: TcpStream, respond: fn(&[u8]) -> String) -> Option<()> {
    let mut reader = BufReader::with_capacity(512 * 1_024, stream.try_clone().ok()?);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let line = line.trim().to_ascii_lowercase();
            if let Some(number) = line.strip_prefix("content-length:") {
                length = number.trim().parse().ok()?;
            }
            if line.is_empty() {
                break;
            }
        }
        let mut body = Vec::new();
        (&mut reader).take(length).read_to_end(&mut body).ok()?;
        let response = respond(&body);
        let length = response.len();
        let kind = "content-type: application/json";
        let head = format!("HTTP/1.1 200 OK\r\n{kind}\r\ncontent-length: {length}\r\n\r\n");
        stream.write_all((head + &response).as_bytes()).ok()?;
    }
}

/// The most memory that this process had. Linux only.
fn memory_mib_peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kib: u64 = line
        .unwrap()
        .split_whitespace()
        .nth(1)
        .unwrap()
        .parse()
        .unwrap();
    kib / 1_024
}
