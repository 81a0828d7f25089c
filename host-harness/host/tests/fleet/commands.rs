//! The commands of `source-host fleet`, and what `status`, metrics, API and page show of a fleet.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_nats::jetstream::Context;
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::sleep;

use crate::host::{Host, tenant_file};
use crate::nats_server::Server;
use crate::setup::hard_link_machine_code;
use crate::upstream::Upstream;
use crate::{DEADLINE, SAMPLE_INTERVAL, report_skipped_test};

const EVENTS: usize = 5;
const TENANTS: [&str; 3] = ["tenant-1", "tenant-2", "tenant-3"];
const TOKEN: &str = "fedcba9876543210-admin";
/// `[fleet]` of a host with an admin server.
const WITH_ADMIN: &str =
    "leases = 8\n[admin]\nlisten = \"127.0.0.1:0\"\ntoken = { file = \"admin.token\" }";

/// A host of a fleet, its upstream, and the files of its tenants.
struct FleetFixture {
    host: Host,
    upstream: Upstream,
}

impl FleetFixture {
    /// A host on the NATS server at `port`, with more lines in `[fleet]`, that does not run yet.
    async fn new(folder: &TempDir, port: u16, more: &str) -> Self {
        let upstream = Upstream::start(1, EVENTS, Duration::ZERO).await;
        let host = Host::new(&folder.path().join("h"), &[port], upstream.ports[0], more);
        fs::write(host.path("admin.token"), TOKEN).unwrap();
        Self { host, upstream }
    }

    /// Adds all tenants, starts the host, and waits until each was polled.
    async fn start_with_tenants(&mut self) {
        hard_link_machine_code(&self.host.path("state/cache"));
        for tenant in TENANTS {
            let file = format!("{tenant}.toml");
            self.write(&file, tenant, "");
            self.host.fleet(&["add", &file]);
        }
        self.host.start();
        let are_active = |status: &Value| status["states"]["active"] == TENANTS.len();
        self.wait_until("all are polled", are_active).await;
    }

    fn write(&self, file: &str, tenant: &str, more: &str) {
        let text = tenant_file(tenant, &self.upstream.ports, more);
        fs::write(self.host.path(file), text).unwrap();
    }

    /// Runs a command of `fleet` that fails with this exit code. Returns its error message.
    fn run_refused(&self, arguments: &[&str], code: i32) -> String {
        let output = self.host.fleet_output(arguments);
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    fn status(&self) -> Value {
        let output = self.host.fleet_output(&["status", "--json"]);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
    }

    /// Waits until `status` is as wanted. Returns it.
    async fn wait_until(&self, what: &str, condition: impl Fn(&Value) -> bool) -> Value {
        let begun = Instant::now();
        loop {
            let status = self.status();
            if condition(&status) {
                return status;
            }
            let waited = begun.elapsed();
            assert!(waited < DEADLINE, "{what}: {status:#}\n{}", self.host.log());
            sleep(SAMPLE_INTERVAL * 10).await;
        }
    }

    /// What the fleet has delivered, as lines.
    fn events(&self) -> Vec<String> {
        let text = fs::read_to_string(self.host.path("events.ndjson")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// The address of the admin server, as the log has it.
    fn admin_address(&self) -> String {
        let log = self.host.log();
        let (_, after) = log.rsplit_once("admin server at http://").unwrap();
        after.split_whitespace().next().unwrap().to_owned()
    }

    /// A request to the admin server. Returns the status and the body.
    fn request(&self, method: &str, path: &str) -> (u16, String) {
        let address = self.admin_address();
        let mut stream = TcpStream::connect(&address).unwrap();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\
             authorization: Bearer {TOKEN}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, body.to_owned())
    }

    /// Waits until the page lists sources in these states. Returns its rows.
    async fn wait_until_rows(&self, states: &[&str]) -> Value {
        let begun = Instant::now();
        loop {
            let page = self.get("/api/v1/sources?limit=100&offset=0");
            let rows = page["sources"].as_array().unwrap().iter();
            if rows
                .map(|row| row["state"].as_str().unwrap())
                .eq(states.iter().copied())
            {
                return page["sources"].clone();
            }
            let waited = begun.elapsed();
            assert!(waited < DEADLINE, "{page:#}\n{}", self.host.log());
            sleep(SAMPLE_INTERVAL * 10).await;
        }
    }

    fn get(&self, path: &str) -> Value {
        let (status, body) = self.request("GET", path);
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_change_the_fleet_that_status_metrics_api_and_page_show() {
    let nats = TempDir::new().unwrap();
    let Some(server) = Server::start(nats.path(), None).await else {
        return report_skipped_test("the test of the commands of a fleet");
    };
    let folder = TempDir::new().unwrap();
    let mut fixture = FleetFixture::new(&folder, server.port, WITH_ADMIN).await;

    let collected_at = collect_on_one_machine(&fixture);
    import_and_remove_after_interruption(&fixture, server.port).await;
    import(&fixture);
    assert_refusals(&fixture);
    let status = fixture.status();
    assert_eq!(status["hosts"].as_array().unwrap().len(), 0, "{status:#}");
    let output = fixture.host.fleet_output(&["status"]);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains("hosts: none is running; start one with"),
        "{text}"
    );
    // Its position says that it was due an hour ago.
    assert!(text.contains("oldest due: `tenant-1`, since "), "{text}");
    assert_eq!(status["oldest_due"]["tenant"], "tenant-1", "{status:#}");
    let overdue = status["oldest_due"]["seconds"].as_u64().unwrap();
    assert!((3_600..7_200).contains(&overdue), "{overdue}");

    hard_link_machine_code(&fixture.host.path("state/cache"));
    fixture.host.start();
    let is_active = |count: u64| move |status: &Value| status["states"]["active"] == count;
    let is_polled = |tenant: &&str| {
        fixture
            .upstream
            .last_request_for(tenant)
            .is_some_and(|(_, at)| at > collected_at)
    };
    let names = ["tenant-1", "tenant-2", "tenant-3"];
    let all_polled = |status: &Value| names.iter().all(is_polled) && is_active(3)(status);
    let status = fixture.wait_until("all are polled", all_polled).await;
    assert_eq!(status["tenants"], 3, "{status:#}");
    assert_eq!(status["oldest_due"], Value::Null, "{status:#}");
    // Those that were imported went on where they were.
    let events = fixture.events();
    assert_eq!(events.len(), EVENTS, "{events:#?}");
    assert!(events.iter().all(|event| event.contains("tenant-3-")));

    assert_admin_shows_fleet(&fixture).await;

    assert_eq!(
        fixture.host.fleet(&["pause", "tenant-1"]),
        "tenant `tenant-1`: paused\n"
    );
    let is_paused = |status: &Value| status["states"]["paused"] == 1;
    fixture.wait_until("one is paused", is_paused).await;
    let again = fixture.host.fleet(&["pause", "tenant-1"]);
    assert_eq!(again, "tenant `tenant-1`: was paused already\n");
    assert_eq!(
        fixture.host.fleet(&["resume", "tenant-1"]),
        "tenant `tenant-1`: resumed\n"
    );
    fixture.wait_until("it is resumed", is_active(3)).await;

    // A change takes effect at once: the secret is that of another file, which is not there.
    fixture.write("tenant-3.toml", "tenant-3", "");
    let file = fixture.host.path("tenant-3.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("file = \"secret\"", "file = \"none\"")).unwrap();
    let changed = fixture.host.fleet(&["change", "tenant-3.toml"]);
    assert!(
        changed.contains("its settings can be checked only by the hosts"),
        "{changed}"
    );
    assert!(
        changed.ends_with("tenant `tenant-3`: changed\n"),
        "{changed}"
    );
    let fails = |status: &Value| status["states"]["failing"] == 1;
    let status = fixture
        .wait_until("the host has no such secret", fails)
        .await;
    let tenants = status["sources"].as_array().unwrap();
    let tenant = tenants
        .iter()
        .find(|it| it["source"] == "tenant-3")
        .unwrap();
    assert!(
        tenant["detail"].as_str().unwrap().contains("none"),
        "{tenant:#}"
    );
    let output = fixture.host.fleet_output(&["status"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("tenants: 3 (2 active, 1 failing)"), "{text}");
    fixture.write("tenant-3.toml", "tenant-3", "max_requests = 40");
    fixture.host.fleet(&["change", "tenant-3.toml"]);
    fixture
        .wait_until("the secret is there", is_active(3))
        .await;

    let removed = fixture.host.fleet(&["remove", "tenant-3"]);
    assert_eq!(removed, "tenant `tenant-3`: removed, with its position\n");
    assert_eq!(fixture.host.fleet(&["list"]), "tenant-1\ntenant-2\n");
    let status = fixture.wait_until("one is removed", is_active(2)).await;
    assert_eq!(status["tenants"], 2, "{status:#}");
    // Nothing is left of it: added again, it begins at `start`.
    fixture.host.fleet(&["add", "tenant-3.toml"]);
    fixture.wait_until("it is added again", is_active(3)).await;
    assert_eq!(fixture.events().len(), 2 * EVENTS);
    let (code, _) = fixture.host.terminate();
    assert_eq!(code, Some(0), "{}", fixture.host.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tenants_go_on_with_a_new_consumer_whatever_the_number_of_their_last_lease() {
    let nats = TempDir::new().unwrap();
    let Some(server) = Server::start(nats.path(), None).await else {
        return report_skipped_test("the test of a new consumer of a fleet");
    };
    let folder = TempDir::new().unwrap();
    let mut fixture = FleetFixture::new(&folder, server.port, "leases = 8").await;
    fixture.start_with_tenants().await;
    let (code, _) = fixture.host.terminate();
    assert_eq!(code, Some(0), "{}", fixture.host.log());
    assert_eq!(fixture.events().len(), TENANTS.len() * EVENTS);

    // As days of polls leave them, a stream before it is restored from an older backup, and a clock
    // that is ahead.
    let context = jetstream(server.port).await;
    let checkpoints = context.get_key_value("checkpoints").await.unwrap();
    let numbers = [
        ("deliveries", 100_000_u64),
        ("sequence", 1_000),
        ("stream_created_ms", 86_400_000),
    ];
    for (tenant, (number, more)) in TENANTS.into_iter().zip(numbers) {
        let entry = checkpoints.entry(tenant).await.unwrap().unwrap();
        let text = std::str::from_utf8(&entry.value).unwrap();
        let (head, checkpoint) = text.split_once('\n').unwrap();
        let mut head: Value = serde_json::from_str(head).unwrap();
        let before: u64 = head["epoch"][number].as_u64().unwrap();
        head["epoch"][number] = Value::from(before + more);
        let value = format!("{head}\n{checkpoint}");
        checkpoints.put(tenant, value.into()).await.unwrap();
    }
    let tenants = context.get_stream("TENANTS").await.unwrap();
    tenants.delete_consumer("hosts").await.unwrap();

    let begun = Instant::now();
    fixture.host.start();
    let is_polled = |tenant: &&str| {
        fixture
            .upstream
            .last_request_for(tenant)
            .is_some_and(|(_, at)| at > begun)
    };
    let are_polled = |_: &Value| TENANTS.iter().all(is_polled);
    fixture.wait_until("all are polled again", are_polled).await;
    let (code, _) = fixture.host.terminate();
    assert_eq!(code, Some(0), "{}", fixture.host.log());
    // They went on where they were.
    assert_eq!(fixture.events().len(), TENANTS.len() * EVENTS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_that_another_host_has_leaves_the_page_and_the_metrics_until_it_is_back() {
    let nats = TempDir::new().unwrap();
    let Some(server) = Server::start(nats.path(), None).await else {
        return report_skipped_test("the test of tenants that leave a host");
    };
    let folder = TempDir::new().unwrap();
    let mut fixture = FleetFixture::new(&folder, server.port, WITH_ADMIN).await;
    fixture.start_with_tenants().await;
    fixture.wait_until_rows(&["active"; 3]).await;
    let metric_lines = |tenant: &str| {
        let (_, metrics) = fixture.request("GET", "/metrics");
        let label = format!("source=\"{tenant}\"");
        let lines = metrics.lines().filter(|line| line.contains(&label));
        let lines: Vec<String> = lines.map(str::to_owned).collect();
        lines
    };
    assert!(!metric_lines("tenant-1").is_empty());

    // Another host takes one tenant, and an operator removes one.
    let context = jetstream(server.port).await;
    let checkpoints = context.get_key_value("checkpoints").await.unwrap();
    let entry = checkpoints.entry("tenant-1").await.unwrap().unwrap();
    let text = std::str::from_utf8(&entry.value).unwrap();
    let (head, checkpoint) = text.split_once('\n').unwrap();
    let mut head: Value = serde_json::from_str(head).unwrap();
    head["host"] = Value::from("another-host");
    let value = format!("{head}\n{checkpoint}");
    checkpoints.put("tenant-1", value.into()).await.unwrap();
    fixture.host.fleet(&["remove", "tenant-2"]);
    let left = fixture.wait_until_rows(&["active"]).await;
    assert_eq!(left[0]["source"], "tenant-3", "{left:#}");
    for gone in ["tenant-1", "tenant-2"] {
        assert_eq!(metric_lines(gone), Vec::<String>::new());
        let (status, _) = fixture.request("GET", &format!("/api/v1/sources/{gone}"));
        assert_eq!(status, 404, "{gone}");
    }

    // It is due at once when it is changed, and only this host is there.
    fixture.write("tenant-1.toml", "tenant-1", "max_requests = 40");
    fixture.host.fleet(&["change", "tenant-1.toml"]);
    let back = fixture.wait_until_rows(&["active"; 2]).await;
    assert_eq!(back[0]["source"], "tenant-1", "{back:#}");
    assert_eq!(back[0]["events"], EVENTS, "{back:#}");
    let events = metric_lines("tenant-1");
    let events = events
        .iter()
        .find(|line| line.starts_with("source_host_events_total"));
    assert!(
        events.unwrap().ends_with(&format!(" {EVENTS}")),
        "{events:?}"
    );

    // A tenant that cannot be started is reported as failing.
    let file = fixture.host.path("tenant-1.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("file = \"secret\"", "file = \"none\"")).unwrap();
    fixture.host.fleet(&["change", "tenant-1.toml"]);
    let failing = fixture.wait_until_rows(&["failing", "active"]).await;
    assert!(
        failing[0]["detail"].as_str().unwrap().contains("none"),
        "{failing:#}"
    );
    let (code, _) = fixture.host.terminate();
    assert_eq!(code, Some(0), "{}", fixture.host.log());
}

/// Two sources of one machine collect what there is. Then sets the next poll of `tenant-1` to an hour ago.
/// Returns when they had collected.
fn collect_on_one_machine(fixture: &FleetFixture) -> Instant {
    let settings = "sources_dir = \"sources\"\nstate_dir = \"single\"\n[[output]]\ntype = \"file\"\n\
                    path = \"single.ndjson\"\n";
    fs::write(fixture.host.path("single.toml"), settings).unwrap();
    fs::create_dir(fixture.host.path("sources")).unwrap();
    fs::copy(
        fixture.host.path("secret"),
        fixture.host.path("sources/secret"),
    )
    .unwrap();
    for tenant in ["tenant-1", "tenant-2"] {
        fixture.write(&format!("sources/{tenant}.toml"), tenant, "");
    }
    hard_link_machine_code(&fixture.host.path("single/cache"));
    let output = fixture.host.output(&["run", "--once", "single.toml"]);
    assert!(output.status.success(), "{output:?}");
    let text = fs::read_to_string(fixture.host.path("single.ndjson")).unwrap();
    assert_eq!(text.lines().count(), 2 * EVENTS, "{text}");
    let file = fixture.host.path("single/tenant-1.checkpoint.json");
    let mut stored_state: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    stored_state["next_poll_ms"] = Value::from((now.as_secs() - 3_600) * 1_000);
    fs::write(file, stored_state.to_string()).unwrap();
    Instant::now()
}

/// Connects to the JetStream of a server.
async fn jetstream(port: u16) -> Context {
    let client = async_nats::ConnectOptions::new()
        .user_and_password("ann".to_owned(), "secret".to_owned())
        .connect(format!("nats://127.0.0.1:{port}"))
        .await
        .unwrap();
    async_nats::jetstream::new(client)
}

/// An import or removal that was interrupted does not prevent the next one.
async fn import_and_remove_after_interruption(fixture: &FleetFixture, port: u16) {
    let arguments = ["import", "sources", "--state-dir", "single"];
    let pauses = fixture.host.path("single/paused.json");
    fs::write(&pauses, "[\"tenant-1\"]").unwrap();
    fixture.host.fleet(&arguments);
    let context = jetstream(port).await;
    let tenants = context.get_stream("TENANTS").await.unwrap();
    let purged = tenants.purge().filter("tenant.*").await.unwrap();
    assert_eq!(purged.purged, 2);
    // Both positions are there, and no tenant: as an import or a removal that is interrupted leaves
    // them.
    let imported = fixture.host.fleet(&arguments);
    let again = "2 tenants: 2 added, 0 changed, 0 as before; 2 positions taken over\n";
    assert_eq!(imported, again);
    // What the machine had paused stays so.
    let resume = |tenant| fixture.host.fleet(&["resume", tenant]);
    assert_eq!(resume("tenant-1"), "tenant `tenant-1`: resumed\n");
    let said = resume("tenant-2");
    assert_eq!(said, "tenant `tenant-2`: was resumed already\n");
    fs::remove_file(pauses).unwrap();
    tenants.purge().filter("tenant.*").await.unwrap();
    let said = fixture.run_refused(&["remove", "*"], 1);
    assert!(said.contains("there is no tenant `*`"), "{said}");
    for tenant in ["tenant-1", "tenant-2"] {
        let removed = format!("tenant `{tenant}`: removed, with its position\n");
        assert_eq!(fixture.host.fleet(&["remove", tenant]), removed);
        let said = fixture.run_refused(&["remove", tenant], 1);
        assert!(said.contains("there is no tenant"), "{said}");
    }
}

/// Imports two tenants, and again with one changed and paused, which stays paused; then resumes it and adds
/// `tenant-3`.
fn import(fixture: &FleetFixture) {
    let arguments = ["import", "sources", "--state-dir", "single"];
    let imported = fixture.host.fleet(&arguments);
    let first = "2 tenants: 2 added, 0 changed, 0 as before; 2 positions taken over\n";
    assert_eq!(imported, first);
    // New settings do not resume it.
    fixture.host.fleet(&["pause", "tenant-2"]);
    fixture.write("sources/tenant-2.toml", "tenant-2", "max_requests = 40");
    let imported = fixture.host.fleet(&arguments);
    let second = "2 tenants: 0 added, 1 changed, 1 as before; 0 positions taken over\n";
    assert_eq!(imported, second);
    let changed = fixture.host.fleet(&["change", "sources/tenant-2.toml"]);
    let paused = "tenant `tenant-2`: changed; it is paused: `fleet resume` continues it\n";
    assert_eq!(changed, paused);
    let resumed = fixture.host.fleet(&["resume", "tenant-2"]);
    assert_eq!(resumed, "tenant `tenant-2`: resumed\n");
    fixture.write("tenant-3.toml", "tenant-3", "");
    let added = fixture.host.fleet(&["add", "tenant-3.toml"]);
    assert_eq!(added, "tenant `tenant-3`: added\n");
    assert_eq!(
        fixture.host.fleet(&["list"]),
        "tenant-1\ntenant-2\ntenant-3\n"
    );
}

/// Needs no NATS: a tenant is checked first.
#[test]
fn a_tenant_with_the_login_of_a_proxy_is_refused_and_the_login_not_shown() {
    let folder = TempDir::new().unwrap();
    // Nothing listens at port 1.
    let host = Host::new(folder.path(), &[1], 1, "");
    hard_link_machine_code(&host.path("state/cache"));
    let proxy = "proxy = \"http://ann:hunter22@127.0.0.1:1\"";
    fs::write(host.path("acme.toml"), tenant_file("acme", &[1], proxy)).unwrap();
    fs::create_dir(host.path("sources")).unwrap();
    fs::copy(host.path("acme.toml"), host.path("sources/acme.toml")).unwrap();
    for arguments in [
        ["add", "acme.toml"],
        ["change", "acme.toml"],
        ["import", "sources"],
    ] {
        let output = host.fleet_output(&arguments);
        assert_eq!(output.status.code(), Some(78), "{output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            said.contains("the login in `proxy` is in plain text"),
            "{said}"
        );
        assert!(!said.contains("hunter22"), "{said}");
    }
}

/// Needs no NATS: the command says so before it connects.
#[test]
fn a_proxy_that_only_the_hosts_can_resolve_is_left_to_them_as_a_secret_is() {
    let folder = TempDir::new().unwrap();
    // Nothing listens at port 1.
    let host = Host::new(folder.path(), &[1], 1, "");
    hard_link_machine_code(&host.path("state/cache"));
    let without_proxy = tenant_file("acme", &[1], "");
    let with_proxy = tenant_file("acme", &[1], "proxy = { env = \"NO_SUCH_VARIABLE_8\" }");
    let secret = "{ file = \"secret\" }";
    for text in [
        with_proxy,
        without_proxy.replace(secret, "{ env = \"NO_SUCH_VARIABLE_8\" }"),
    ] {
        fs::write(host.path("acme.toml"), &text).unwrap();
        let output = host.fleet_output(&["add", "acme.toml"]);
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(
            said,
            "tenant `acme`: its settings can be checked only by the hosts: here, a setting needs the \
             environment variable NO_SUCH_VARIABLE_8, which is not set\n",
            "{text}: {output:?}"
        );
        // Only NATS is missing.
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("nats://127.0.0.1:1"), "{said}");
    }
}

/// A command that refuses says how to do it right, and changes nothing.
fn assert_refusals(fixture: &FleetFixture) {
    let said = fixture.run_refused(&["add", "tenant-3.toml"], 1);
    assert!(said.contains("change it with `fleet change`"), "{said}");
    for verb in ["pause", "resume", "remove"] {
        let said = fixture.run_refused(&[verb, "tenant-33"], 1);
        assert!(said.contains("did you mean `tenant-3`?"), "{said}");
    }
    fixture.write("tenant-9.toml", "tenant-9", "");
    let said = fixture.run_refused(&["change", "tenant-9.toml"], 1);
    assert!(said.contains("there is no tenant `tenant-9`"), "{said}");
    let file = fixture.host.path("tenant-9.toml");
    let text = fs::read_to_string(&file).unwrap();
    let written_out = text.replace("{ file = \"secret\" }", "\"hunter22-hunter22\"");
    fs::write(&file, written_out).unwrap();
    let said = fixture.run_refused(&["add", "tenant-9.toml"], 78);
    assert!(said.contains("`client_secret` is in plain text"), "{said}");
    assert!(!said.contains("hunter22"), "{said}");
    let said = fixture.run_refused(&["import", "nowhere"], 78);
    assert!(said.contains("nowhere: cannot be read"), "{said}");
    assert_eq!(
        fixture.host.fleet(&["list"]),
        "tenant-1\ntenant-2\ntenant-3\n"
    );
}

/// The admin server of a host shows the whole fleet.
async fn assert_admin_shows_fleet(fixture: &FleetFixture) {
    let begun = Instant::now();
    let status = loop {
        let status = fixture.get("/api/v1/status");
        let overview = &status["fleet"]["overview"];
        if overview["states"]["active"] == 3 && overview["hosts"][0]["taken"] != 0 {
            break status;
        }
        assert!(begun.elapsed() < DEADLINE, "{status:#}");
        sleep(SAMPLE_INTERVAL * 10).await;
    };
    let fleet = &status["fleet"];
    assert_eq!(fleet["overview"]["tenants"], 3, "{fleet:#}");
    assert_eq!(fleet["overview"]["never_polled"], 0, "{fleet:#}");
    assert_eq!(fleet["overview"]["hosts"].as_array().unwrap().len(), 1);
    assert_eq!(fleet["overview"]["hosts"][0]["host"], fleet["host"]);
    assert_eq!(
        (&fleet["hosts"], &fleet["tenants"]),
        (&Value::from(1), &Value::from(3))
    );
    assert_eq!(fleet["leases_max"], 8);
    // What the page reads.
    let rows = fixture.get("/api/v1/sources?limit=100&offset=0");
    assert_eq!(rows["fleet"]["overview"]["tenants"], 3, "{rows:#}");
    assert_eq!(rows["total"], 3);
    for (path, part) in [("/", "/assets/app.js"), ("/assets/fleet.js", "overview")] {
        let (status, text) = fixture.request("GET", path);
        assert!(status == 200 && text.contains(part), "{path}: {text}");
    }
    let (_, metrics) = fixture.request("GET", "/metrics");
    let state = |word: &str| format!("source_host_fleet_tenant_states{{state=\"{word}\"}}");
    for (name, wanted) in [
        ("source_host_fleet_hosts{}", 1.0),
        ("source_host_fleet_tenants{}", 3.0),
        ("source_host_fleet_leases_max{}", 8.0),
        (&state("active"), 3.0),
        (&state("failing"), 0.0),
        ("source_host_fleet_never_polled{}", 0.0),
        ("source_host_fleet_oldest_due_seconds{}", 0.0),
    ] {
        let line = metrics.lines().find(|line| line.starts_with(name));
        let value = line.and_then(|line| line.rsplit_once(' ')?.1.parse().ok());
        assert_eq!(value, Some(wanted), "{name}: {metrics}");
    }
    assert!(metrics.contains("\nsource_host_fleet_leases_taken_total{} "));
    let (status, refused) = fixture.request("POST", "/api/v1/sources/tenant-1/pause");
    assert_eq!(status, 409, "{refused}");
    assert!(
        refused.contains("are changed with `source-host fleet`"),
        "{refused}"
    );
}
