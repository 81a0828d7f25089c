//! A folder with the settings of a host, `sources_dir` with a file for each tenant, and a simulated
//! upstream for each.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use mimecast_simulator::{Config, Simulator};
use serde_json::Value;
use tempfile::TempDir;

use crate::setup::{HostProcess, WAIT_TIMEOUT, hard_link_machine_code};

pub(crate) const TOKEN: &str = "a-token-for-these-tests";

/// How many audit events a tenant has at the start.
pub(crate) const AUDIT_EVENTS: usize = 60;

/// A tenant with audit events alone.
pub(crate) fn tenant(seed: u64) -> Config {
    Config {
        seed,
        types: Vec::new(),
        audit_events: u32::try_from(AUDIT_EVENTS).unwrap(),
        log_records: 0,
        batch_quota_calls: 100_000,
        general_quota_calls: 100_000,
        ..Config::default()
    }
}

pub(crate) fn simulator(config: Config) -> Simulator {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(Simulator::start(config)).unwrap()
}

pub(crate) struct HostFixture {
    pub(crate) folder: TempDir,
    pub(crate) simulators: BTreeMap<String, Simulator>,
}

impl HostFixture {
    /// A host with these tenants in `sources_dir`.
    pub(crate) fn new(tenants: &[&str]) -> Self {
        let folder = TempDir::new().unwrap();
        fs::create_dir(folder.path().join("sources")).unwrap();
        let mut fixture = Self {
            folder,
            simulators: BTreeMap::new(),
        };
        fixture.write_main("");
        hard_link_machine_code(&fixture.path("state/cache"));
        for tenant in tenants {
            fixture.add(tenant);
        }
        fixture
    }

    /// The settings file, with more lines at its end.
    pub(crate) fn write_main(&self, more: &str) {
        let text = format!(
            "state_dir = \"state\"\nsources_dir = \"sources\"\n\
             [admin]\nlisten = \"127.0.0.1:0\"\ntoken = \"{TOKEN}\"\n\
             [[output]]\nname = \"siem\"\ntype = \"file\"\npath = \"events.ndjson\"\n{more}"
        );
        fs::write(self.path("host.toml"), text).unwrap();
    }

    /// Adds an upstream and the file of its source.
    pub(crate) fn add(&mut self, name: &str) {
        let seed = u64::try_from(self.simulators.len()).unwrap() + 1;
        let simulator = simulator(tenant(seed));
        self.simulators.insert(name.to_owned(), simulator);
        self.write_source(name, "");
    }

    /// Writes the file of a source and that of its secret; `more` are lines at the top.
    pub(crate) fn write_source(&self, name: &str, more: &str) {
        let secret = self.simulators[name].client_secret();
        fs::write(self.path(&format!("sources/{name}.secret")), secret).unwrap();
        self.write_source_text(name, &self.source_text(name, more));
    }

    pub(crate) fn write_source_text(&self, name: &str, text: &str) {
        fs::write(self.source_file(name), text).unwrap();
    }

    pub(crate) fn source_text(&self, name: &str, more: &str) -> String {
        let simulator = &self.simulators[name];
        let (api, id) = (simulator.api_url(), simulator.client_id());
        format!(
            "allow = [\"{api}\", \"{}\"]\n{more}\n[settings]\nbase_url = \"{api}\"\n\
             client_id = \"{id}\"\nclient_secret = {{ file = \"{name}.secret\" }}\n\
             streams = [\"audit\"]\nformat = \"raw\"\n",
            simulator.storage_url()
        )
    }

    pub(crate) fn source_file(&self, name: &str) -> PathBuf {
        self.path(&format!("sources/{name}.toml"))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts the host, with arguments after its settings file.
    pub(crate) fn start(&self, arguments: &[&str]) -> Host<'_> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_source-host"));
        command
            .args(["run", "host.toml"])
            .args(arguments)
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        let mut process = HostProcess::start(command);
        let line = process.wait_for("admin server at http://");
        let address = line.rsplit("http://").next().unwrap().trim().to_owned();
        Host {
            fixture: self,
            process,
            address,
        }
    }

    /// How many events of a tenant are in the output file.
    pub(crate) fn delivered(&self, tenant: &str) -> DeliveredCounts {
        let text = fs::read(self.path("events.ndjson")).unwrap_or_default();
        let whole = memchr::memrchr(b'\n', &text).map_or(0, |at| at + 1);
        let text = std::str::from_utf8(&text[..whole]).unwrap();
        let events = text.lines().map(|line| {
            let event: Value = serde_json::from_str(line).unwrap();
            (event["tenant"].clone(), event["id"].to_string())
        });
        let ids: Vec<String> = events
            .filter(|(event_tenant, _)| event_tenant == tenant)
            .map(|(_, id)| id)
            .collect();
        DeliveredCounts {
            distinct: ids.iter().collect::<BTreeSet<_>>().len(),
            total: ids.len(),
        }
    }
}

/// The events of a tenant that came to the output.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct DeliveredCounts {
    /// Without repeated ones.
    pub(crate) distinct: usize,
    pub(crate) total: usize,
}

/// A host that runs.
pub(crate) struct Host<'a> {
    pub(crate) fixture: &'a HostFixture,
    pub(crate) process: HostProcess,
    pub(crate) address: String,
}

impl Host<'_> {
    /// Sends SIGHUP, and waits until the settings were read.
    pub(crate) fn reload(&mut self) -> String {
        self.process.signal("-HUP");
        self.process.wait_for("settings read again")
    }

    /// A response of the admin server to a request with its token: status and body.
    pub(crate) fn ask(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let request = format!(
            "{method} /api/v1/{path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\
             Authorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap())
    }

    /// A response of the admin server, with its head.
    pub(crate) fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let host = &self.address;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        response
    }

    pub(crate) fn metrics(&self) -> String {
        self.get("/metrics")
    }

    /// Waits until the report of a source in `status --json` meets a condition. The command reads a
    /// file that the host writes every few seconds.
    pub(crate) fn wait_for_status(&self, name: &str, condition: impl Fn(&Value) -> bool) {
        let deadline = Instant::now() + WAIT_TIMEOUT;
        loop {
            let output = Command::new(env!("CARGO_BIN_EXE_source-host"))
                .args(["status", "host.toml", "--json"])
                .current_dir(self.fixture.folder.path())
                .output()
                .unwrap();
            let status: Value = serde_json::from_slice(&output.stdout).unwrap();
            let mut sources = status["sources"].as_array().unwrap().iter();
            let source = sources.find(|source| source["source"] == name);
            if source.is_some_and(&condition) {
                return;
            }
            assert!(Instant::now() < deadline, "{name}: {status:#}");
            std::thread::park_timeout(std::time::Duration::from_millis(100));
        }
    }

    /// The report of a source.
    pub(crate) fn source(&self, name: &str) -> Value {
        self.ask("GET", &format!("sources/{name}"), "").1
    }

    /// Waits until the report of a source meets a condition, and returns it.
    pub(crate) fn wait_for_source(
        &self,
        name: &str,
        what: &str,
        condition: impl Fn(&Value) -> bool,
    ) -> Value {
        let deadline = Instant::now() + WAIT_TIMEOUT;
        loop {
            let source = self.source(name);
            if condition(&source) {
                return source;
            }
            assert!(Instant::now() < deadline, "not {what}: {source:#}");
            std::thread::park_timeout(std::time::Duration::from_millis(20));
        }
    }

    pub(crate) fn wait_for_state(&self, name: &str, state: &str) -> Value {
        self.wait_for_source(name, state, |source| source["state"] == state)
    }

    /// Waits until a source has delivered `count` different events.
    pub(crate) fn wait_for_events(&self, tenant: &str, count: usize) {
        crate::setup::wait_until(&format!("{count} events of {tenant}"), || {
            self.fixture.delivered(tenant).distinct >= count
        });
    }
}
