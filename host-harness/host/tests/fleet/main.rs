//! A fleet against a real nats-server: hosts that die, are suspended, stop and lose their way to
//! NATS, while tenants are added, changed and removed. `FLEET_TENANTS=300` for the long
//! form, for which `SOURCE_HOST` should name a release build: hundreds of tenants go on at a time.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests may fail fast"
)]

mod commands;
mod deliveries;
mod host;
#[path = "../../../../tests/mock_upstream/mod.rs"]
mod mock_upstream;
#[path = "../outputs/nats_server.rs"]
mod nats_server;
#[path = "../../../../tests/program.rs"]
mod program;
mod proxy;
#[path = "../../../../tests/setup/mod.rs"]
mod setup;
mod upstream;

use std::cell::{Ref, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::time::{Duration, Instant};

use deliveries::Deliveries;
use futures_util::StreamExt as _;
use host::{Host, tenant_file};
use nats_server::Server;
use proxy::Proxy;
use serde_json::Value;
use setup::hard_link_machine_code;
use tempfile::TempDir;
use tokio::time::sleep;
use upstream::{RECORDS_PER_PAGE, Upstream};

const LEASE_DURATION: Duration = Duration::from_secs(5);
/// How long after its host was lost a tenant is worked on elsewhere, at most.
const RESUMED_MAX: Duration = Duration::from_secs(7);
/// Longer than anything takes, however busy the machine is.
const DEADLINE: Duration = Duration::from_secs(240);
/// How often a test looks whether what it waits for has happened.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(20);
/// How long the collection of a tenant takes without interruptions.
const COLLECTION_DURATION: Duration = Duration::from_secs(60);
/// Shorter than a lease, as a real response of the upstream is.
const RESPONSE_AFTER_MAX: Duration = Duration::from_secs(2);
const HOSTS: usize = 3;

fn report_skipped_test(what: &str) {
    let mut stderr = std::io::stderr();
    writeln!(stderr, "LEFT OUT: {what}: no nats-server").unwrap();
}

/// Returns how many tenants a test has: `default`, unless the environment sets the number.
fn tenant_count(default: usize) -> usize {
    let count = std::env::var("FLEET_TENANTS").ok();
    count.map_or(default, |count| count.parse().unwrap())
}

/// Hosts, tenants, and where they are.
struct Fleet {
    folder: TempDir,
    upstream: Upstream,
    hosts: Vec<Host>,
    /// Tenants that must be delivered completely.
    tenants: BTreeSet<String>,
    events_per_tenant: usize,
    delivered: RefCell<Deliveries>,
    begun: Instant,
    /// How often the work on any tenant may have been cut off so far.
    interruptions: usize,
    /// Additional interruptions, per tenant.
    interruptions_of: BTreeMap<String, usize>,
}

impl Fleet {
    /// `nats_ports` are the ports by which each host reaches NATS. Each tenant has as many pages as
    /// are answered within `work`, and takes longer with each interruption. `lines` are more lines of
    /// `[fleet]`.
    async fn start(
        nats_ports: [Vec<u16>; HOSTS],
        tenants: usize,
        work: Duration,
        lines: &str,
    ) -> Self {
        let folder = TempDir::new().unwrap();
        // One machine answers some pages a second, and a response takes only a part of a lease.
        let response_after = Duration::from_secs(1) * u32::try_from(tenants).unwrap() / 60;
        let response_after = response_after.min(RESPONSE_AFTER_MAX);
        let pages = work.as_millis() / response_after.as_millis();
        let events_per_tenant = usize::try_from(pages).unwrap() * RECORDS_PER_PAGE;
        let upstream = Upstream::start(HOSTS, events_per_tenant, response_after).await;
        // Two hosts can have all of them, and one more, so that none waits for its turn.
        let leases = (tenants + 1).div_ceil(2);
        let lines = format!("leases = {leases}\n{lines}");
        let hosts = nats_ports.iter().zip(&upstream.ports).enumerate();
        let mut hosts: Vec<Host> = hosts
            .map(|(index, (nats, port))| {
                Host::new(
                    &folder.path().join(format!("h{index}")),
                    nats,
                    *port,
                    &lines,
                )
            })
            .collect();
        let sources = folder.path().join("sources");
        fs::create_dir(&sources).unwrap();
        let names: BTreeSet<String> = (0..tenants)
            .map(|number| format!("tenant-{number}"))
            .collect();
        for name in &names {
            let text = tenant_file(name, &upstream.ports, "");
            fs::write(sources.join(format!("{name}.toml")), text).unwrap();
        }
        let files: Vec<_> = hosts
            .iter()
            .map(|host| host.path("events.ndjson"))
            .collect();
        for host in &hosts {
            hard_link_machine_code(&host.path("state/cache"));
        }
        let imported = hosts[0].fleet(&["import", sources.to_str().unwrap()]);
        assert!(imported.contains(&format!("{tenants} added")), "{imported}");
        for host in &mut hosts {
            host.start();
        }
        Self {
            folder,
            upstream,
            hosts,
            tenants: names,
            events_per_tenant,
            delivered: RefCell::new(Deliveries::new(files.into_iter())),
            begun: Instant::now(),
            interruptions: 0,
            interruptions_of: BTreeMap::new(),
        }
    }

    /// Notes that something is about to happen by which a batch of any tenant may come twice.
    fn expect_interruption(&mut self) {
        self.assert_repeats_bounded();
        self.interruptions += 1;
    }

    /// Notes the same for one tenant, for which two hosts may then ask at a time.
    fn expect_interruption_of(&mut self, tenant: &str) {
        self.upstream.allow_overlap(tenant);
        *self.interruptions_of.entry(tenant.to_owned()).or_default() += 1;
    }

    /// Checks that no more than one batch of a tenant came twice for each time that its work was
    /// cut off.
    fn assert_repeats_bounded(&self) {
        let repeated = self.deliveries().repeated_batches();
        let batches: usize = repeated.values().map(BTreeSet::len).sum();
        self.log_progress(&format!(
            "{batches} batches of {} tenants came twice",
            repeated.len()
        ));
        for (tenant, batches) in &repeated {
            let interruptions =
                self.interruptions + self.interruptions_of.get(tenant).unwrap_or(&0);
            assert!(
                batches.len() <= interruptions,
                "{tenant}: batches {batches:?} came twice after {interruptions} interruptions"
            );
        }
    }

    fn log_progress(&self, what: &str) {
        let at = self.begun.elapsed().as_secs_f64();
        let mut stderr = std::io::stderr();
        writeln!(stderr, "{at:6.1} s: {what}").unwrap();
    }

    /// What has come, up to now.
    fn deliveries(&self) -> Ref<'_, Deliveries> {
        self.delivered.borrow_mut().update();
        self.delivered.borrow()
    }

    /// How many events have come, repeats included.
    fn event_count(&self) -> usize {
        self.deliveries().event_count
    }

    /// Waits until this percentage of all events has come.
    async fn wait_for_percent(&self, percent: usize) {
        let wanted = self.tenants.len() * self.events_per_tenant * percent / 100;
        let begun = Instant::now();
        while self.event_count() < wanted {
            self.assert_healthy_before_deadline(begun);
            sleep(SAMPLE_INTERVAL * 10).await;
        }
        self.log_progress(&format!("{percent} % delivered"));
    }

    /// Waits until a condition holds.
    async fn wait_until(&self, what: &str, condition: impl Fn() -> bool) {
        let begun = Instant::now();
        while !condition() {
            assert!(
                begun.elapsed() < DEADLINE,
                "{what}: not after {DEADLINE:?}:\n{}",
                self.logs()
            );
            sleep(SAMPLE_INTERVAL).await;
        }
    }

    /// Returns the tenants whose events are not all delivered.
    fn incomplete(&self) -> Vec<String> {
        self.deliveries()
            .incomplete(&self.tenants, self.events_per_tenant)
    }

    /// Checks that the upstream saw no violation, and fails after the deadline.
    fn assert_healthy_before_deadline(&self, since: Instant) {
        let violations = self.upstream.violations();
        assert!(violations.is_empty(), "{violations:#?}\n{}", self.logs());
        if since.elapsed() > DEADLINE {
            let missing = self.incomplete();
            panic!("nothing goes on: {missing:#?}\n{}", self.logs());
        }
    }

    fn logs(&self) -> String {
        let logs = self.hosts.iter().map(|host| {
            let log = host.log();
            let lines: Vec<&str> = log.lines().rev().take(20).collect();
            lines.into_iter().rev().collect::<Vec<_>>().join("\n")
        });
        logs.collect::<Vec<_>>().join("\n--\n")
    }

    /// Returns how often a host logged that it stopped work on a tenant because another has it or
    /// may have it.
    fn stopped_work_count(&self, tenant: &str) -> usize {
        let messages = [
            "another host has taken the tenant",
            "lease of the tenant has ended",
        ];
        let is_of_tenant = |line: &&str| {
            let mut words = line.split(|char: char| !char.is_ascii_alphanumeric() && char != '-');
            messages.iter().any(|text| line.contains(text)) && words.any(|word| word == tenant)
        };
        let logs = self.hosts.iter().map(Host::log);
        logs.map(|log| log.lines().filter(is_of_tenant).count())
            .sum()
    }

    /// Waits until other hosts ask for the tenants of a host that was lost. Returns how long that
    /// took for the last of them.
    async fn wait_until_resumed(
        &self,
        lost_host: usize,
        tenants: &BTreeSet<String>,
        at: Instant,
    ) -> Duration {
        let resumed_at = |tenant: &String| {
            let last = self.upstream.last_request_for(tenant);
            last.filter(|(host, when)| *host != lost_host && *when > at)
                .map(|(_, when)| when)
        };
        let begun = Instant::now();
        let mut last = Duration::ZERO;
        let mut waiting = tenants.clone();
        while !waiting.is_empty() {
            waiting.retain(|tenant| match resumed_at(tenant) {
                None => true,
                Some(when) => {
                    last = last.max(when - at);
                    false
                }
            });
            if begun.elapsed() > DEADLINE {
                panic!("{waiting:?} are not worked on again:\n{}", self.logs());
            }
            sleep(SAMPLE_INTERVAL).await;
        }
        last
    }

    /// Waits until a host works on some tenants. Returns them.
    async fn wait_until_working(&self, host: usize) -> BTreeSet<String> {
        self.wait_until("a host works", || self.upstream.tenants_of(host).len() > 1)
            .await;
        self.upstream.tenants_of(host)
    }

    /// Waits until a host asks for something after a moment.
    async fn wait_until_works_again(&self, host: usize, since: Instant) {
        let asked = || {
            self.upstream
                .last_request_by(host)
                .is_some_and(|at| at > since)
        };
        self.wait_until("a host works again", asked).await;
    }

    /// Waits for all events, ends the hosts, and compares.
    async fn finish(mut self) {
        let begun = Instant::now();
        let wanted = self.tenants.len() * self.events_per_tenant;
        while self.event_count() < wanted || !self.incomplete().is_empty() {
            self.assert_healthy_before_deadline(begun);
            sleep(SAMPLE_INTERVAL * 10).await;
        }
        self.log_progress("all delivered");
        for host in &mut self.hosts {
            let (code, took) = host.terminate();
            assert_eq!(code, Some(0), "{}", host.log());
            assert!(took < Duration::from_secs(6), "{took:?}");
        }
        self.assert_healthy_before_deadline(Instant::now());
        assert_eq!(self.incomplete(), Vec::<String>::new());
        self.assert_repeats_bounded();
        self.deliveries().check_repeats();
        let secret = "0123456789abcdef";
        for host in &self.hosts {
            assert!(!host.log().contains(secret));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tenants_go_on_elsewhere_whatever_happens_to_a_host_or_its_way_to_nats() {
    let nats = TempDir::new().unwrap();
    let Some(mut server) = Server::start(nats.path(), None).await else {
        return report_skipped_test("the tests of a fleet");
    };
    let proxy = Proxy::start(server.port).await;
    let nats_ports = [vec![server.port], vec![proxy.port], vec![server.port]];
    let mut fleet = Fleet::start(nats_ports, tenant_count(12), COLLECTION_DURATION, "").await;

    add_tenant(&mut fleet).await;
    fleet.wait_for_percent(5).await;
    let affected_tenants = fleet.wait_until_working(2).await;
    fleet.expect_interruption();
    fleet.hosts[2].kill();
    let took = fleet
        .wait_until_resumed(2, &affected_tenants, Instant::now())
        .await;
    fleet.log_progress(&format!(
        "killed: {} tenants went on after {took:?}",
        affected_tenants.len()
    ));
    assert!(took <= RESUMED_MAX, "{took:?}");
    fleet.hosts[2].start();

    fleet.wait_for_percent(15).await;
    let affected_tenants = fleet.wait_until_working(0).await;
    fleet.expect_interruption();
    fleet.hosts[0].signal("-STOP");
    let stopped = Instant::now();
    let took = fleet
        .wait_until_resumed(0, &affected_tenants, stopped)
        .await;
    // Until the lease has certainly expired: a suspended host reports nothing.
    sleep((LEASE_DURATION * 2).saturating_sub(stopped.elapsed())).await;
    fleet.hosts[0].signal("-CONT");
    fleet.wait_until_works_again(0, Instant::now()).await;
    fleet.log_progress(&format!(
        "suspended: {} tenants went on after {took:?}",
        affected_tenants.len()
    ));
    assert!(took <= RESUMED_MAX, "{took:?}");

    fleet.wait_for_percent(30).await;
    let affected_tenants = fleet.wait_until_working(2).await;
    fleet.expect_interruption();
    let asked = Instant::now();
    let (code, ended) = fleet.hosts[2].terminate();
    let took = fleet.wait_until_resumed(2, &affected_tenants, asked).await;
    fleet.log_progress(&format!(
        "stopped in {ended:?}: {} tenants went on after {took:?}",
        affected_tenants.len()
    ));
    assert_eq!(code, Some(0), "{}", fleet.hosts[2].log());
    assert!(took < LEASE_DURATION, "{took:?}");
    fleet.hosts[2].start();

    fleet.wait_for_percent(40).await;
    let port = server.port;
    fleet.expect_interruption();
    server.kill();
    server = Server::start(nats.path(), Some(port)).await.unwrap();
    let restarted = Instant::now();
    for host in 0..HOSTS {
        fleet
            .wait_until_works_again(host, restarted + Duration::from_secs(1))
            .await;
    }
    fleet.log_progress("NATS was killed and started again");

    fleet.wait_for_percent(50).await;
    let affected_tenants = fleet.wait_until_working(1).await;
    fleet.expect_interruption();
    proxy.cut(true);
    let cut = Instant::now();
    let took = fleet.wait_until_resumed(1, &affected_tenants, cut).await;
    fleet.log_progress(&format!(
        "cut off: {} tenants went on after {took:?}",
        affected_tenants.len()
    ));
    assert!(took <= RESUMED_MAX, "{took:?}");
    // The same for a host that is cut off.
    sleep((LEASE_DURATION * 2).saturating_sub(cut.elapsed())).await;
    let mended = Instant::now();
    assert!(
        fleet
            .upstream
            .last_request_by(1)
            .is_some_and(|last| last < cut + LEASE_DURATION),
        "a host that has lost NATS works on"
    );
    proxy.cut(false);
    fleet.wait_until_works_again(1, mended).await;
    fleet.log_progress(&format!(
        "mended: it works again after {:?}",
        mended.elapsed()
    ));

    fleet.wait_for_percent(60).await;
    change_tenants(&mut fleet).await;
    forge_nak(&mut fleet, server.port).await;
    fleet.finish().await;
}

/// A tenant is added while hosts work.
async fn add_tenant(fleet: &mut Fleet) {
    let file = fleet.folder.path().join("tenant-900.toml");
    fs::write(&file, tenant_file("tenant-900", &fleet.upstream.ports, "")).unwrap();
    let file = file.to_str().unwrap();
    let first_host = &fleet.hosts[0];
    assert_eq!(
        first_host.fleet(&["add", file]),
        "tenant `tenant-900`: added\n"
    );
    let again = first_host.fleet_output(&["add", file]);
    assert_eq!(again.status.code(), Some(1), "{again:?}");
    let is_asked = || fleet.upstream.last_request_for("tenant-900").is_some();
    fleet
        .wait_until("the new tenant is worked on", is_asked)
        .await;
    fleet.tenants.insert("tenant-900".to_owned());
}

/// Tenants are changed, paused, resumed and removed while hosts work.
async fn change_tenants(fleet: &mut Fleet) {
    let file = fleet.folder.path().join("tenant-900.toml");
    let ports = fleet.upstream.ports.clone();
    let file = file.to_str().unwrap();
    let first_host = fleet.hosts[0].without_process();
    fleet.expect_interruption_of("tenant-900");
    fs::write(file, tenant_file("tenant-900", &ports, "max_requests = 40")).unwrap();
    assert_eq!(
        first_host.fleet(&["change", file]),
        "tenant `tenant-900`: changed\n"
    );

    let removed = "tenant-1";
    first_host.fleet(&["remove", removed]);
    fleet.tenants.remove(removed);
    let names = first_host.fleet(&["list"]);
    assert!(
        names.contains("tenant-900\n") && !names.contains("tenant-1\n"),
        "{names}"
    );

    let paused = "tenant-2";
    fleet.expect_interruption_of(paused);
    first_host.fleet(&["pause", paused]);
    let status = || -> Value {
        let status = first_host.fleet_output(&["status", "--json"]);
        serde_json::from_slice(&status.stdout).unwrap()
    };
    // The report of a host that stopped is purged; a NATS server that is killed soon after may
    // restore it, until it expires.
    let hosts = || status()["hosts"].as_array().unwrap().len();
    fleet
        .wait_until("the hosts that stopped are gone", || hosts() == HOSTS)
        .await;
    let status = status();
    assert_eq!(status["tenants"], fleet.tenants.len(), "{status:#}");
    sleep(LEASE_DURATION).await; // a lease that it had is over
    let quiet = Instant::now();
    sleep(LEASE_DURATION / 2).await; // no request is expected, so only time can show it
    for gone in [paused, removed] {
        let last = fleet.upstream.last_request_for(gone);
        assert!(last.is_none_or(|(_, at)| at < quiet), "{gone} is polled");
    }
    fleet.expect_interruption_of(paused);
    first_host.fleet(&["resume", paused]);
    fleet.log_progress("tenants were changed, removed, paused and resumed");
}

/// Sends a NAK for a tenant that a host works on, as another host would after its lease.
async fn forge_nak(fleet: &mut Fleet, port: u16) {
    let client = async_nats::ConnectOptions::new()
        .user_and_password("ann".to_owned(), "secret".to_owned())
        .connect(format!("nats://127.0.0.1:{port}"))
        .await
        .unwrap();
    let mut responses = client.subscribe("$JS.ACK.TENANTS.hosts.>").await.unwrap();
    let context = async_nats::jetstream::new(client.clone());
    let stream = context.get_stream("TENANTS").await.unwrap();
    let begun = Instant::now();
    // The host may have given the tenant back before the NAK comes.
    while begun.elapsed() < DEADLINE {
        // A renewal: its tenant is being worked on.
        let response = responses.next().await.unwrap();
        if &*response.payload != b"+WPI" {
            continue;
        }
        let sequence = response.subject.split('.').nth(5).unwrap().parse().unwrap();
        let Ok(message) = stream.get_raw_message(sequence).await else {
            continue; // it was changed
        };
        let tenant = message.subject.strip_prefix("tenant.").unwrap().to_owned();
        fleet.expect_interruption_of(&tenant);
        let before = fleet.stopped_work_count(&tenant);
        client
            .publish(response.subject, "-NAK".into())
            .await
            .unwrap();
        client.flush().await.unwrap();
        let sent = Instant::now();
        while sent.elapsed() < LEASE_DURATION {
            if fleet.stopped_work_count(&tenant) > before {
                fleet.log_progress(&format!(
                    "a NAK was forged: the old host of {tenant} stopped"
                ));
                return;
            }
            sleep(SAMPLE_INTERVAL).await;
        }
    }
    panic!("no host lost its tenant by a NAK:\n{}", fleet.logs());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_of_three_servers_may_lose_one() {
    let folders: Vec<TempDir> = (0..3).map(|_| TempDir::new().unwrap()).collect();
    let directories = [folders[0].path(), folders[1].path(), folders[2].path()];
    let Some(mut servers) = Server::start_cluster(directories).await else {
        return report_skipped_test("the test of a cluster");
    };
    let ports: Vec<u16> = servers.iter().map(|server| server.port).collect();
    let nats_ports = [ports.clone(), ports.clone(), ports.clone()];
    let mut fleet = Fleet::start(
        nats_ports,
        tenant_count(12),
        COLLECTION_DURATION / 2,
        "replicas = 3",
    )
    .await;
    fleet.wait_for_percent(20).await;
    fleet.expect_interruption();
    servers[0].kill();
    let killed = Instant::now();
    fleet.log_progress("a server of three was killed");
    for host in 0..HOSTS {
        fleet
            .wait_until_works_again(host, killed + LEASE_DURATION)
            .await;
    }
    fleet.finish().await;
}
