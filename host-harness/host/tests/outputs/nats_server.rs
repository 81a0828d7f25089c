//! A real nats-server, which `NATS_SERVER` names or the path has.

#![allow(
    dead_code,
    clippy::allow_attributes,
    reason = "each test uses what it needs"
)]

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use async_nats::jetstream;
use serde_json::Value;
use tokio::net::TcpStream;

/// It does not take this long to start, however busy the machine is.
const START_MAX: Duration = Duration::from_secs(60);

/// A nats-server with an account, and JetStream in a directory.
pub(crate) struct Server {
    process: Child,
    pub(crate) port: u16,
}

impl Server {
    /// Starts at a free port, or at a port that was used before. `None` where there is no program.
    pub(crate) async fn start(directory: &Path, port: Option<u16>) -> Option<Self> {
        Self::start_with(directory, port, &[]).await
    }

    /// Starts with more arguments.
    pub(crate) async fn start_with(
        directory: &Path,
        port: Option<u16>,
        more: &[String],
    ) -> Option<Self> {
        let program = program()?;
        let begun = Instant::now();
        while begun.elapsed() < START_MAX {
            if let Some(server) = Self::try_to_start(&program, directory, port, more).await {
                return Some(server);
            }
        }
        panic!("nats-server does not start");
    }

    /// Starts three servers that replicate, one in each directory, and waits until they are ready.
    pub(crate) async fn start_cluster(directories: [&Path; 3]) -> Option<Vec<Self>> {
        let free = || TcpListener::bind("127.0.0.1:0").unwrap();
        let routes = [free(), free(), free()];
        let routes = routes.map(|route| format!("nats://{}", route.local_addr().unwrap()));
        let mut servers = Vec::new();
        for (place, directory) in directories.into_iter().enumerate() {
            let name = format!("server-{place}");
            let more = [
                ["--name", &name],
                ["--cluster_name", "fleet"],
                ["--cluster", &routes[place]],
                ["--routes", &routes.join(",")],
            ];
            let more: Vec<String> = more.concat().into_iter().map(str::to_owned).collect();
            servers.push(Self::start_with(directory, None, &more).await?);
        }
        let begun = Instant::now();
        for server in &servers {
            while !server.has_jetstream().await {
                assert!(
                    begun.elapsed() < START_MAX,
                    "the servers do not find each other"
                );
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        Some(servers)
    }

    /// Whether JetStream answers.
    async fn has_jetstream(&self) -> bool {
        let options = async_nats::ConnectOptions::new();
        let options = options.user_and_password("ann".to_owned(), "secret".to_owned());
        let address = format!("nats://127.0.0.1:{}", self.port);
        match options.connect(address).await {
            Ok(client) => jetstream::new(client).query_account().await.is_ok(),
            Err(_) => false,
        }
    }

    /// `None` where it has ended: another process has the port for a moment,
    /// for a connection of its own.
    async fn try_to_start(
        program: &Path,
        directory: &Path,
        port: Option<u16>,
        more: &[String],
    ) -> Option<Self> {
        let wanted = port.map_or_else(|| "-1".to_owned(), |port| port.to_string());
        let mut process = Command::new(program)
            .args(["-a", "127.0.0.1", "-p", &wanted, "-js", "-sd"])
            .arg(directory)
            .arg("--ports_file_dir")
            .arg(directory)
            .args(["--user", "ann", "--pass", "secret"])
            .args(more)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let ports = directory.join(format!("nats-server_{}.ports", process.id()));
        let begun = Instant::now();
        while process.try_wait().unwrap().is_none() {
            // The file comes before its content.
            let text = std::fs::read_to_string(&ports).unwrap_or_default();
            if let Some(port) = listening_port(&text)
                && TcpStream::connect(("127.0.0.1", port)).await.is_ok()
            {
                return Some(Self { process, port });
            }
            assert!(begun.elapsed() < START_MAX, "nats-server does not listen");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        None
    }

    pub(crate) fn signal(&self, name: &'static str) {
        let process = self.process.id().to_string();
        let sent = Command::new("kill").args([name, &process]).status();
        assert!(sent.unwrap().success());
    }

    pub(crate) fn settings(&self, more: &str) -> String {
        format!(
            "type = \"nats\"\nservers = [\"nats://127.0.0.1:{}\"]\nusername = \"ann\"\n{more}",
            self.port
        )
    }

    /// Suspends it, and waits until it is suspended.
    pub(crate) async fn suspend(&self) {
        self.signal("-STOP");
        let path = format!("/proc/{}/stat", self.process.id());
        // Not every system has such a file.
        while let Ok(stat) = std::fs::read_to_string(&path)
            && !stat.contains(") T ")
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
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

fn program() -> Option<PathBuf> {
    let named = std::env::var_os("NATS_SERVER").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    let found = directories.map(|directory| directory.join("nats-server"));
    named.into_iter().chain(found).find(|path| path.exists())
}

/// Parses the port that the server listens on: `{"nats":["nats://127.0.0.1:4222"]}`.
fn listening_port(text: &str) -> Option<u16> {
    let ports: Value = serde_json::from_str(text).ok()?;
    let address = ports["nats"][0].as_str()?;
    address.rsplit_once(':')?.1.parse().ok()
}
