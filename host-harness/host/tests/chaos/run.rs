//! One run: the host as a process, the faults that are applied to it, and its regular end.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mimecast_simulator::{Fault, Matcher, Simulator, When};
use serde_json::Value;
use tempfile::TempDir;

use crate::compile::compile_broken;
use crate::faults::EndpointFault;
use crate::plan::{Action, Plan};
use crate::receivers::Receiver;
use crate::reconciliation::Reconciliation;
use crate::setup::{Setup, hard_link_machine_code};

/// How long no event may come before the run counts as stalled.
const STALL_MAX: Duration = Duration::from_secs(120);
/// After how long without an event the log is checked for refused credentials.
const LOG_CHECK_AFTER: Duration = Duration::from_secs(1);
/// How often `run --once` may be started until every record is delivered.
const FINAL_RUNS_MAX: u32 = 6;

/// A run under way.
pub(crate) struct Run {
    plan: Plan,
    pub(crate) setup: Setup,
    pub(crate) receivers: Vec<Receiver>,
    host: Option<Child>,
    /// The faults of the upstream, in the order of scripting.
    scripted: Vec<EndpointFault>,
    /// How often the log has reported refused credentials.
    refusals: usize,
    /// How often each fault was applied, by name.
    pub(crate) fault_counts: BTreeMap<String, u64>,
}

impl Run {
    /// Carries out a plan.
    pub(crate) async fn carry_out(plan: Plan) -> Reconciliation {
        let setup = Setup {
            simulator: Simulator::start(plan.tenant.clone()).await.unwrap(),
            folder: TempDir::new().unwrap(),
        };
        let cache = setup.path("state/cache");
        tokio::task::spawn_blocking(move || hard_link_machine_code(&cache))
            .await
            .unwrap();
        let mut receivers = Vec::new();
        for kind in plan.receivers {
            receivers.push(Receiver::start(*kind, setup.folder.path(), plan.seed).await);
        }
        let mut run = Self {
            plan,
            setup,
            receivers,
            host: None,
            scripted: Vec::new(),
            refusals: 0,
            fault_counts: BTreeMap::new(),
        };
        run.write_settings();
        if let Some(fault) = run.plan.broken {
            run.add_broken(fault).await;
        }
        run.drive().await;
        // Without the broken source the run can end with code 0.
        run.write_settings();
        run.finish().await
    }

    fn write_settings(&self) {
        let outputs: Vec<String> = self.receivers.iter().map(Receiver::settings).collect();
        self.setup.write_source(
            &self.plan.source,
            &self.plan.settings,
            &outputs.join("\n[[output]]\n"),
        );
    }

    /// Adds a source whose component does not return, traps, or takes all memory.
    async fn add_broken(&mut self, fault: &'static str) {
        let folder = self.setup.folder.path().to_owned();
        let component = tokio::task::spawn_blocking(move || compile_broken(&folder, fault))
            .await
            .unwrap();
        let path = self.setup.path("host.toml");
        let mut text = std::fs::read_to_string(&path).unwrap();
        text.push_str(&format!(
            "[[source]]\nname = \"broken\"\ncomponent = \"{}\"\npoll_timeout_secs = 1\nmemory_mib = 16\n",
            component.display()
        ));
        std::fs::write(path, text).unwrap();
        self.count_fault(&format!("a component beside it: {fault}"));
    }

    async fn drive(&mut self) {
        for (at, action) in std::mem::take(&mut self.plan.actions) {
            self.wait_for_events(at).await;
            self.perform(action).await;
        }
        self.terminate().await;
    }

    /// Waits until `count` events have come, repeats included.
    async fn wait_for_events(&mut self, count: usize) {
        let (mut begun, mut before) = (Instant::now(), 0);
        loop {
            self.keep_running();
            let now = self.receivers[0].count();
            if now >= count {
                return;
            }
            if now > before {
                (begun, before) = (Instant::now(), now);
            }
            if begun.elapsed() > LOG_CHECK_AFTER && self.take_new_refusals() {
                self.terminate().await;
                self.count_fault("begun again after refused credentials");
                begun = Instant::now();
                continue;
            }
            if begun.elapsed() > STALL_MAX {
                panic!(
                    "{}: {now} of {count} events, and no more:\n{}",
                    self.name(),
                    self.log_end()
                );
            }
            tokio::time::sleep(Duration::from_millis(4)).await;
        }
    }

    /// Starts the host if it is not running. It must not end by itself.
    fn keep_running(&mut self) {
        let ended = self.host.as_mut().map(|host| host.try_wait().unwrap());
        match ended {
            None => self.host = Some(self.command(&[]).spawn().unwrap()),
            Some(None) => {}
            Some(Some(ended)) => panic!("{}: {ended}:\n{}", self.name(), self.log_end()),
        }
    }

    /// Whether the log has reported refused credentials since the last call. A source then waits
    /// for five minutes or for another secret; here the secret was right.
    fn take_new_refusals(&mut self) -> bool {
        let refusals = self.log().matches(" unauthorized: ").count();
        let before = std::mem::replace(&mut self.refusals, refusals);
        refusals > before
    }

    fn command(&self, more: &[&str]) -> Command {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.setup.path("log"));
        let mut command = self.setup.command("run");
        command
            .args(more)
            .stdout(Stdio::null())
            .stderr(log.unwrap());
        command
    }

    async fn perform(&mut self, action: Action) {
        match action {
            Action::Advance(ms) => {
                self.setup.simulator.advance_ms(ms);
                self.count_fault("the upstream's clock goes ahead");
            }
            Action::Delete(pick) => {
                if self.setup.simulator.delete_file(pick).is_some() {
                    self.count_fault("a file is deleted");
                }
            }
            Action::Down(receiver, wait, with_host) => {
                self.take_down(receiver, wait, with_host).await
            }
            Action::ExpireTokens => {
                self.setup.simulator.expire_tokens();
                self.count_fault("all access tokens end");
            }
            Action::Hold(wait) => {
                if self
                    .receivers
                    .iter()
                    .filter(|receiver| receiver.hold(true))
                    .count()
                    > 0
                {
                    tokio::time::sleep(wait).await;
                    self.count_fault("the receivers stall");
                }
                for receiver in &self.receivers {
                    receiver.hold(false);
                }
            }
            Action::Kill(wait) => {
                tokio::time::sleep(wait).await;
                self.kill();
            }
            Action::Pause(wait) => {
                self.signal("-STOP");
                tokio::time::sleep(wait).await;
                self.signal("-CONT");
                self.count_fault("SIGSTOP and SIGCONT");
            }
            Action::Terminate => self.terminate().await,
            Action::Treat(treatment) => {
                let treated = self
                    .receivers
                    .iter()
                    .filter(|receiver| receiver.treat(&treatment));
                let treated = treated.count();
                let name = format!("{treatment:?}");
                let name = name.split(['(', ',']).next().unwrap();
                if treated > 0 {
                    self.count_fault(&format!("receiver: {name}"));
                }
            }
            Action::Upstream(row) => {
                let (_, endpoint, effect) = row;
                let matcher = Matcher {
                    endpoint,
                    stream: None,
                    when: When::First(1),
                };
                self.setup.simulator.script(Fault {
                    matcher,
                    effect: effect(),
                });
                self.scripted.push(row);
            }
        }
    }

    async fn take_down(&mut self, receiver: usize, wait: Duration, with_host: bool) {
        if !self.receivers[receiver].kill().await {
            return;
        }
        self.count_fault("receiver: killed and begun again");
        tokio::time::sleep(wait).await;
        if with_host {
            self.kill();
        }
        self.receivers[receiver].restart().await;
    }

    fn kill(&mut self) {
        if let Some(mut host) = self.host.take() {
            host.kill().unwrap();
            host.wait().unwrap();
            self.count_fault("SIGKILL");
            self.assert_counts();
        }
    }

    /// Stops the host with SIGTERM.
    async fn terminate(&mut self) {
        let Some(mut host) = self.host.take() else {
            return;
        };
        signal(&host, "-TERM");
        let begun = Instant::now();
        let ended = loop {
            if let Some(ended) = host.try_wait().unwrap() {
                break ended;
            }
            assert!(
                begun.elapsed() < Duration::from_secs(20),
                "{}: goes on",
                self.name()
            );
            tokio::time::sleep(Duration::from_millis(4)).await;
        };
        // A signal that comes before the host handles it ends it as well.
        let is_stopped = ended.success() || ended.signal() == Some(15);
        assert!(is_stopped, "{ended}:\n{}", self.log_end());
        self.count_fault("SIGTERM");
        self.assert_counts();
    }

    fn signal(&self, name: &str) {
        if let Some(host) = &self.host {
            signal(host, name);
        }
    }

    /// Ends the faults, and runs the host until it is caught up.
    async fn finish(mut self) -> Reconciliation {
        for (row, count) in self
            .scripted
            .iter()
            .zip(self.setup.simulator.fault_counts())
        {
            let name = format!("{:?}: {}", row.1, row.0).to_lowercase();
            *self.fault_counts.entry(name).or_default() += count;
        }
        let partly = self.receivers.iter().map(Receiver::partial_refusals).sum();
        self.fault_counts.insert(
            "receiver: refused some events of a request".to_owned(),
            partly,
        );
        self.fault_counts.retain(|_, times| *times > 0);
        self.setup.simulator.clear_faults();
        for _ in 0..FINAL_RUNS_MAX {
            let mut command = self.command(&["--once"]);
            let ended = tokio::task::spawn_blocking(move || command.status().unwrap()).await;
            let ended = ended.unwrap();
            self.assert_counts();
            let reconciliation = Reconciliation::of(&self);
            // A file that was deleted is set aside, and tried again for hours before it is a gap.
            let is_set_aside = ended.code() == Some(1) && reconciliation.deleted_upstream > 0;
            if ended.success() || (is_set_aside && reconciliation.missing.is_empty()) {
                reconciliation.assert_good(&self.name());
                return reconciliation;
            }
            if ended.code() == Some(1) {
                // A file that failed twice in a row is tried again after two minutes.
                tokio::time::sleep(Duration::from_secs(30)).await;
            }
        }
        let reconciliation = Reconciliation::of(&self);
        println!("{}", self.log_end());
        reconciliation.assert_good(&self.name());
        panic!("{}: no run ends in order:\n{}", self.name(), self.log_end());
    }

    /// The counts of each stream in the stored state.
    pub(crate) fn streams(&self) -> BTreeMap<String, Value> {
        let stored_state = std::fs::read_to_string(self.setup.path("state/acme.checkpoint.json"));
        let Ok(stored_state) = stored_state else {
            return BTreeMap::new();
        };
        let stored_state: Value = serde_json::from_str(&stored_state).unwrap();
        serde_json::from_value(stored_state["streams"].clone()).unwrap()
    }

    /// `received = events + rejected + duplicates`, in each stream and at every end.
    fn assert_counts(&self) {
        for (stream, counts) in self.streams() {
            let count = |name: &str| counts[name].as_u64().unwrap();
            let sum = count("events") + count("rejected") + count("duplicates");
            assert_eq!(count("received"), sum, "{}: {stream}", self.name());
        }
    }

    fn count_fault(&mut self, name: &str) {
        *self.fault_counts.entry(name.to_owned()).or_default() += 1;
    }

    pub(crate) fn name(&self) -> String {
        format!("seed {} {:?}", self.plan.seed, self.plan.receivers)
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.setup.path("log")).unwrap_or_default()
    }

    fn log_end(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().rev().take(40).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let copy = Path::new(env!("CARGO_TARGET_TMPDIR"))
                .join(format!("chaos-{}.log", self.plan.seed));
            println!("{}: the log is {}", self.name(), copy.display());
            let _ = std::fs::copy(self.setup.path("log"), copy);
        }
        if let Some(host) = &mut self.host {
            // It may have ended.
            let _ = host.kill();
            let _ = host.wait();
        }
    }
}

fn signal(process: &Child, name: &str) {
    let pid = process.id().to_string();
    let status = Command::new("kill")
        .args([name, &pid])
        .stderr(Stdio::null())
        .status();
    status.unwrap();
}
