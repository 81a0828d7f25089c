//! A fleet of two `source-host` and one nats-server on one machine, with tenants whose upstream has
//! nothing: how long the first round takes, what the tenants cost at rest, and how late they are
//! polled. Without a nats-server it is left out. A number is the count of tenants. `SOURCE_HOST`
//! names another program than the one that was built with it.

#![expect(
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark that cannot run should panic with the reason"
)]

#[expect(dead_code, reason = "the other benchmarks print rows of costs")]
#[path = "../measure.rs"]
mod measure;
#[expect(dead_code, reason = "its tenants have no audit events")]
#[path = "../../tests/mock_upstream/mod.rs"]
mod mock_upstream;
#[path = "../../host-harness/host/tests/outputs/nats_server.rs"]
mod nats_server;
#[path = "../../tests/program.rs"]
mod program;
mod upstream;
#[path = "../upstream_process.rs"]
mod upstream_process;

use std::fs;
use std::path::Path;
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use nats_server::Server;
use program::program;
use serde_json::Value;

use crate::measure::to_f64;
use crate::upstream_process::UpstreamProcess;

const HOSTS: usize = 2;
/// The period of `USER_HZ`, which Linux has fixed at 100 a second.
const TICK: Duration = Duration::from_millis(10);
/// Beyond this a run has failed.
const RUN_MAX: Duration = Duration::from_secs(3_600);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if upstream_process::is_upstream() {
        return upstream::serve();
    }
    let wanted = arguments.iter().find_map(|argument| argument.parse().ok());
    let (tenants, watch_time) = if measure::is_smoke_test() {
        (100, Duration::from_secs(2))
    } else {
        // Each is due every five minutes.
        (wanted.unwrap_or(100_000), Duration::from_secs(330))
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let nats = folder.path().join("nats");
    fs::create_dir(&nats).unwrap();
    let Some(server) = runtime.block_on(Server::start(&nats, None)) else {
        println!("LEFT OUT: the benchmark of a fleet: no nats-server");
        return;
    };
    let mut upstream = UpstreamProcess::start();
    let folders: Vec<_> = (0..HOSTS)
        .map(|place| folder.path().join(format!("h{place}")))
        .collect();
    for host in &folders {
        write_settings(host, server.port);
    }
    compile_component(&folders[0]);
    for host in &folders[1..] {
        let copied = Command::new("cp")
            .arg("-r")
            .arg(folders[0].join("state"))
            .arg(host)
            .status();
        assert!(copied.unwrap().success());
    }
    run(&folders[0], &["fleet", "list", "fleet.toml"]);
    let begun = Instant::now();
    runtime.block_on(publish(server.port, tenants, &upstream.url));
    println!(
        "| tenants | what | time | CPU of hosts | CPU of NATS | RSS of hosts, MiB | RSS of NATS, MiB | |"
    );
    println!("|--:|---|--:|--:|--:|--:|--:|---|");
    let none = [Usage::default(); HOSTS];
    print_row(
        tenants,
        "published",
        begun.elapsed(),
        (&none, &none),
        server_used(&server),
        "",
    );

    let before = server_used(&server);
    let mut hosts: Vec<Host> = folders.iter().map(|folder| Host::start(folder)).collect();
    let started = Instant::now();
    while upstream_report(&mut upstream)["tenants"] != tenants {
        assert!(started.elapsed() < RUN_MAX, "{}", hosts[0].log());
        hosts.iter_mut().for_each(Host::assert_runs);
        thread::sleep(Duration::from_millis(100));
    }
    let took = started.elapsed();
    let now = sample_usage(&hosts);
    let note = format!(
        "{:.0} tenants a second",
        to_f64(tenants) / took.as_secs_f64()
    );
    print_row(
        tenants,
        "first round",
        took,
        (&none, &now),
        server_used(&server).since(before),
        &note,
    );

    let (before, server_before) = (sample_usage(&hosts), server_used(&server));
    let watched = Instant::now();
    thread::sleep(watch_time);
    hosts.iter_mut().for_each(Host::assert_runs);
    let now = sample_usage(&hosts);
    let used = server_used(&server).since(server_before);
    let report = upstream_report(&mut upstream);
    let note = format!(
        "{} polls again; later than five minutes: median {}, 99 of 100 {}, worst {} s",
        report["repeat_polls"], report["p50"], report["p99"], report["max"]
    );
    print_row(
        tenants,
        "at rest",
        watched.elapsed(),
        (&before, &now),
        used,
        &note,
    );
}

fn print_row(
    tenants: usize,
    what: &str,
    time: Duration,
    (before, now): (&[Usage], &[Usage]),
    server: Usage,
    note: &str,
) {
    let hosts = now
        .iter()
        .zip(before)
        .map(|(now, before)| now.since(*before));
    let hosts: Vec<Usage> = hosts.collect();
    let cpu: Duration = hosts.iter().map(|host| host.cpu).sum();
    let rss: Vec<String> = hosts
        .iter()
        .map(|host| (host.rss_kib / 1024).to_string())
        .collect();
    println!(
        "| {tenants} | {what} | {:.1} s | {:.1} s | {:.1} s | {} | {} | {note} |",
        time.as_secs_f64(),
        cpu.as_secs_f64(),
        server.cpu.as_secs_f64(),
        rss.join(", "),
        server.rss_kib / 1024,
    );
}

/// What a process uses.
#[derive(Clone, Copy, Debug, Default)]
struct Usage {
    cpu: Duration,
    rss_kib: u64,
}

impl Usage {
    fn of(process: u32) -> Self {
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        let after_name = stat.rsplit(')').next().unwrap_or_default();
        let fields: Vec<&str> = after_name.split_whitespace().collect();
        let ticks = |place: usize| -> u32 {
            let field = fields.get(place);
            field.and_then(|field| field.parse().ok()).unwrap_or(0)
        };
        let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
        let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let rss = rss.and_then(|value| value.split_whitespace().next());
        Self {
            cpu: TICK * (ticks(11) + ticks(12)),
            rss_kib: rss.and_then(|number| number.parse().ok()).unwrap_or(0),
        }
    }

    /// The processor time since, and the memory now.
    fn since(self, before: Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(before.cpu),
            rss_kib: self.rss_kib,
        }
    }
}

fn server_used(server: &Server) -> Usage {
    Usage::of(server.id())
}

/// What each host has used so far.
fn sample_usage(hosts: &[Host]) -> Vec<Usage> {
    hosts
        .iter()
        .map(|host| Usage::of(host.child.id()))
        .collect()
}

/// A `source-host run`.
struct Host {
    child: Child,
    log: std::path::PathBuf,
}

impl Host {
    fn start(folder: &Path) -> Self {
        let log = folder.join("log");
        let child = Command::new(program())
            .args(["run", "fleet.toml"])
            .current_dir(folder)
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Self { child, log }
    }

    fn assert_runs(&mut self) {
        let ended = self.child.try_wait().unwrap();
        assert!(ended.is_none(), "{}", self.log());
    }

    fn log(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap();
        let lines: Vec<&str> = log.lines().rev().take(5).collect();
        lines.join("\n")
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Returns what the upstream has seen.
fn upstream_report(upstream: &mut UpstreamProcess) -> Value {
    serde_json::from_str(&upstream.report()).unwrap()
}

fn write_settings(folder: &Path, nats: u16) {
    fs::create_dir_all(folder).unwrap();
    let text = format!(
        "[fleet]\nservers = [\"nats://127.0.0.1:{nats}\"]\nusername = \"ann\"\n\
         password = {{ file = \"password\" }}\n[[output]]\ntype = \"file\"\npath = \"events.ndjson\"\n"
    );
    fs::write(folder.join("fleet.toml"), text).unwrap();
    fs::write(folder.join("password"), "secret\n").unwrap();
    fs::write(folder.join("secret"), "0123456789abcdef\n").unwrap();
}

/// Puts the machine code of the component into the state directory, before the clock runs.
fn compile_component(folder: &Path) {
    fs::create_dir_all(folder.join("state")).unwrap();
    let one = [
        "[[source]]\nname = \"one\"\n[source.settings]\nclient_id = \"x\"\n",
        "client_secret = \"0123456789abcdef\"\n[[output]]\ntype = \"stdout\"\n",
    ];
    fs::write(folder.join("compile.toml"), one.concat()).unwrap();
    run(folder, &["validate", "compile.toml"]);
}

fn run(folder: &Path, arguments: &[&str]) {
    let output = Command::new(program())
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// Adds the tenants, as `fleet add` does.
async fn publish(nats: u16, tenants: usize, url: &str) {
    let options = async_nats::ConnectOptions::new();
    let options = options.user_and_password("ann".to_owned(), "secret".to_owned());
    let client = options
        .connect(format!("nats://127.0.0.1:{nats}"))
        .await
        .unwrap();
    let context = async_nats::jetstream::new(client);
    let mut acks = Vec::new();
    for number in 0..tenants {
        let name = format!("t{number:06}");
        let message = serde_json::json!({
            "allow": [url],
            "settings": {
                "base_url": url,
                "client_id": name,
                "client_secret": { "file": "secret" },
                "streams": ["siem.receipt"],
                "format": "ecs",
            },
        });
        let publish = context.publish(format!("tenant.{name}"), message.to_string().into());
        acks.push(publish.await.unwrap());
        if acks.len() >= 500 || number + 1 == tenants {
            for ack in acks.drain(..) {
                ack.await.unwrap();
            }
        }
    }
}
