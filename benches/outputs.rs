//! One million events through an output to a receiver on loopback, in a process of its own: what
//! they cost the sender, and the most memory that it had.
//!
//! Without arguments `forward` and `http` are measured; their names choose.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark that cannot run has nothing better to do than to say so"
)]

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use source_common::section::Section;
use source_outputs::{self as output, Delivery, Output};
use source_outputs::{Entry, Kind};

use crate::measure::{Cost, best, head, is_smoke, row, timed};

mod measure;

const OUTPUTS: [&str; 2] = ["forward", "http"];
/// The argument by which this program becomes the receiver of another copy of itself.
const RECEIVE: &str = "receive";
const EVENTS_PER_BATCH: usize = 1_000;
const BATCHES: usize = 1_000;
const BATCHES_SMOKE: usize = 10;
/// What a host may have at most.
const MEMORY_MIB_MAX: u64 = 128;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [role, kind] = arguments.as_slice()
        && role == RECEIVE
    {
        return receive(kind);
    }
    let is_named = |kind: &str| arguments.iter().any(|argument| argument == kind);
    let named = OUTPUTS.iter().any(|kind| is_named(kind));
    head();
    for kind in OUTPUTS {
        if !named || is_named(kind) {
            measure(kind, if is_smoke() { BATCHES_SMOKE } else { BATCHES });
        }
    }
}

fn measure(kind: &str, batches: usize) {
    let receiver = Receiver::start(kind);
    let settings = match kind {
        "forward" => format!("type = \"forward\"\naddress = \"{}\"", receiver.address),
        _ => format!(
            "type = \"http\"\nendpoint = \"http://{}\"",
            receiver.address
        ),
    };
    let section = Section::new(
        Path::new("bench.toml"),
        String::new(),
        settings.parse().unwrap(),
    );
    let plan = output::config(section).unwrap();
    // One thread, whose time is all of the time.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let feed = Feed::new();
    let cost = best(
        1,
        || Cost {
            events: batches * EVENTS_PER_BATCH,
            bytes: batches * feed.events.len(),
            time: timed(|| {
                runtime.block_on(async {
                    deliver(&mut *plan.open().await.unwrap(), &feed, batches).await
                });
            }),
        },
        |cost| cost.time,
    );
    let memory = memory_mib_peak();
    row(
        &format!("output `{kind}`"),
        cost,
        &format!("{} events, at most {memory} MiB", cost.events),
    );
    assert!(memory <= MEMORY_MIB_MAX, "{memory} MiB");
}

async fn deliver(output: &mut dyn Output, feed: &Feed, batches: usize) {
    for _ in 0..batches {
        output.accept(&feed.delivery()).await.unwrap();
    }
    output.close().await.unwrap();
}

/// A batch of receipts as the component writes them, of about 800 bytes.
struct Feed {
    events: String,
    index: Vec<Entry>,
    kinds: Vec<Kind>,
}

impl Feed {
    fn new() -> Self {
        let mut feed = Self {
            events: String::new(),
            index: Vec::new(),
            kinds: vec![Kind {
                name: "email.receipt".to_owned(),
                stream: "siem.receipt".to_owned(),
            }],
        };
        for event in 0..EVENTS_PER_BATCH {
            writeln!(
                feed.events,
                r#"{{"@timestamp":"2026-02-03T04:05:06.789Z","ecs":{{"version":"9.4.0"}},"event":{{"id":"{event:032x}","module":"mimecast","kind":"event","category":["email"],"type":["info"],"outcome":"success","severity":1,"dataset":"mimecast.siem","provider":"receipt","action":"Acc"}},"observer":{{"vendor":"Mimecast","product":"Mimecast Email Security","type":"email-gateway"}},"organization":{{"id":"CTEST1A1"}},"email":{{"message_id":"20260203.1@mail.example.com","from":{{"address":["ann@example.com"]}},"to":{{"address":["bob@example.test"]}},"subject":"Quarterly figures","direction":"inbound"}},"source":{{"ip":"198.51.100.7"}},"tls":{{"version":"1.3","cipher":"TLS_AES_256_GCM_SHA384"}},"mimecast":{{"subtype":"Acc","numberAttachments":1,"spamScore":2}},"related":{{"ip":["198.51.100.7"],"user":["ann@example.com","bob@example.test"]}}}}"#
            )
            .unwrap();
            feed.index.push(Entry {
                end: u32::try_from(feed.events.len()).unwrap(),
                occurred_at: 1_770_091_506_789,
                kind: 0,
            });
        }
        feed
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

struct Receiver {
    process: Child,
    address: String,
}

impl Receiver {
    fn start(kind: &str) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args([RECEIVE, kind])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut address = String::new();
        BufReader::new(process.stdout.take().unwrap())
            .read_line(&mut address)
            .unwrap();
        Self {
            process,
            address: address.trim().to_owned(),
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// Reads and acknowledges, and does nothing else.
fn receive(kind: &str) {
    let take = match kind {
        "forward" => take_frames,
        _ => take_requests,
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    println!("{}", listener.local_addr().unwrap());
    std::io::stdout().flush().unwrap();
    for stream in listener.incoming() {
        let stream = stream.unwrap();
        stream.set_nodelay(true).unwrap();
        // It ends when the sender has closed.
        std::thread::spawn(move || take(stream));
    }
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

fn take_requests(mut stream: TcpStream) -> Option<()> {
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
        std::io::copy(&mut (&mut reader).take(length), &mut std::io::sink()).ok()?;
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            .ok()?;
    }
}

/// The most memory that this process had. Linux only.
fn memory_mib_peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
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
