//! Hosts of a fleet as processes, each with a folder and an address of the upstream of its own.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::deliveries::EVENTS_PER_BATCH_MAX;
use crate::program::program;

/// A host that may run.
pub(crate) struct Host {
    folder: PathBuf,
    child: Option<Child>,
    upstream_port: u16,
}

impl Host {
    /// A host in a folder of its own. `nats_ports` are those of the servers, `fleet` more lines of
    /// `[fleet]`.
    pub(crate) fn new(folder: &Path, nats_ports: &[u16], upstream_port: u16, fleet: &str) -> Self {
        fs::create_dir_all(folder).unwrap();
        let servers = nats_ports
            .iter()
            .map(|port| format!("\"nats://127.0.0.1:{port}\""));
        let servers: Vec<String> = servers.collect();
        let text = format!(
            "[fleet]\nservers = [{}]\nusername = \"ann\"\npassword = {{ file = \"password\" }}\n\
             lease_secs = 5\n{fleet}\n[[output]]\ntype = \"file\"\npath = \"events.ndjson\"\n",
            servers.join(", ")
        );
        fs::write(folder.join("fleet.toml"), text).unwrap();
        fs::write(folder.join("password"), "secret\n").unwrap();
        fs::write(folder.join("secret"), "0123456789abcdef\n").unwrap();
        Self {
            folder: folder.to_owned(),
            child: None,
            upstream_port,
        }
    }

    /// Returns a handle for commands in the same folder, while the host runs there.
    pub(crate) fn without_process(&self) -> Self {
        Self {
            folder: self.folder.clone(),
            child: None,
            upstream_port: self.upstream_port,
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Runs the program to its end.
    pub(crate) fn output(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program());
        command
            .args(arguments)
            .current_dir(&self.folder)
            .env(
                "BASE_URL",
                format!("http://127.0.0.1:{}", self.upstream_port),
            )
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn start(&mut self) {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.path("log"))
            .unwrap();
        let mut command = self.command(&["run", "fleet.toml"]);
        command.stdout(Stdio::null()).stderr(log);
        self.child = Some(command.spawn().unwrap());
    }

    /// A command of `fleet`, which has to succeed. Returns what it prints.
    pub(crate) fn fleet(&self, arguments: &[&str]) -> String {
        let output = self.fleet_output(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    pub(crate) fn fleet_output(&self, arguments: &[&str]) -> Output {
        let (verb, rest) = arguments.split_first().unwrap();
        let mut all = vec!["fleet", verb, "fleet.toml"];
        all.extend(rest);
        self.output(&all)
    }

    pub(crate) fn signal(&self, name: &str) {
        let process = self.child.as_ref().unwrap().id().to_string();
        let sent = Command::new("kill").args([name, &process]).status();
        assert!(sent.unwrap().success());
    }

    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Asks it to stop, and waits for it. Returns its exit code and how long that took.
    pub(crate) fn terminate(&mut self) -> (Option<i32>, Duration) {
        let asked = Instant::now();
        self.signal("-TERM");
        let ended = self.child.take().unwrap().wait().unwrap();
        (ended.code(), asked.elapsed())
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// The file of a tenant.
pub(crate) fn tenant_file(name: &str, upstream: &[u16], more: &str) -> String {
    let origins = upstream
        .iter()
        .map(|port| format!("\"http://127.0.0.1:{port}\""));
    let origins: Vec<String> = origins.collect();
    format!(
        "allow = [{}]\nmax_events = {EVENTS_PER_BATCH_MAX}\n{more}\n[settings]\nbase_url = {{ env = \"BASE_URL\" }}\n\
         client_id = \"{name}\"\nclient_secret = {{ file = \"secret\" }}\nstreams = [\"audit\"]\n\
         format = \"ecs\"\nstart = \"3h\"\n",
        origins.join(", ")
    )
}
