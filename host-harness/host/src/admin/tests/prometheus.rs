//! Prometheus itself, from Debian's package, where it is installed.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::metrics::{report_skipped_test, root};
use super::*;

const DEADLINE: Duration = Duration::from_secs(120);

/// Whether a program is there.
fn is_installed_or_report_skip(program: &str) -> bool {
    let version = Command::new(program).arg("--version").output();
    let found = version.is_ok_and(|output| output.status.success());
    if !found {
        report_skipped_test(&format!("no {program} (Debian package prometheus)"));
    }
    found
}

#[test]
fn promtool_accepts_the_examples_and_their_alerts_fire_in_time() {
    if !is_installed_or_report_skip("promtool") {
        return;
    }
    for arguments in [
        ["check", "config", "prometheus.yml"],
        ["check", "rules", "alerts.yml"],
        ["test", "rules", "alerts.test.yml"],
    ] {
        let output = Command::new("promtool")
            .args(arguments)
            .current_dir(root().join("examples/prometheus"))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && said.contains("SUCCESS"),
            "{said}"
        );
    }
}

/// Ends with the test.
struct Prometheus(Child);

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The example's alerts without the time that they wait, and a scrape several times a second.
fn configure(directory: &Path, host: SocketAddr, token: &Path) {
    let examples = root().join("examples/prometheus");
    let config = fs::read_to_string(examples.join("prometheus.yml")).unwrap();
    let target = format!(
        "[\"{host}\"]\n    authorization:\n      credentials_file: {}",
        token.display()
    );
    let config = config
        .replace("interval: 30s", "interval: 200ms")
        .replace("[\"127.0.0.1:9600\"]", &target);
    assert!(
        config.contains(&host.to_string()) && config.contains("200ms"),
        "{config}"
    );
    fs::write(directory.join("prometheus.yml"), config).unwrap();
    let rules = fs::read_to_string(examples.join("alerts.yml")).unwrap();
    let at_once = rules
        .lines()
        .filter(|line| !line.trim_start().starts_with("for: "));
    fs::write(
        directory.join("alerts.yml"),
        at_once.collect::<Vec<_>>().join("\n"),
    )
    .unwrap();
}

/// Waits until Prometheus answers a path in a way that is wanted.
async fn wait_for(address: SocketAddr, path: &str, is_wanted: impl Fn(&Value) -> bool) -> Value {
    let begun = Instant::now();
    let mut last = Value::Null;
    while begun.elapsed() < DEADLINE {
        if TcpStream::connect(address).await.is_ok() {
            let response = get(address, path).await;
            last = serde_json::from_str(&response.body).unwrap_or_default();
            if is_wanted(&last) {
                return last;
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{path}: {last:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alert_fires_when_a_source_stops() {
    if !is_installed_or_report_skip("prometheus") {
        return;
    }
    // As where others reach it: a scrape needs the token.
    let running = start_with(&format!("listen = \"0.0.0.0:0\"\ntoken = \"{TOKEN}\"")).await;
    let host = SocketAddr::from((Ipv4Addr::LOCALHOST, running.address().port()));
    let acme = add(&running.registry, "acme", State::Active);
    add(&running.registry, "beta", State::Active);
    let directory = running.state_dir.path();
    fs::write(directory.join("token"), TOKEN).unwrap();
    configure(directory, host, &directory.join("token"));
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let prometheus = Command::new("prometheus")
        .arg(format!(
            "--config.file={}",
            directory.join("prometheus.yml").display()
        ))
        .arg(format!(
            "--storage.tsdb.path={}",
            directory.join("data").display()
        ))
        .arg(format!("--web.listen-address={address}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _prometheus = Prometheus(prometheus);

    let query = "/api/v1/query?query=source_host_events_total";
    let results = |response: &Value| response["data"]["result"].as_array().map_or(0, Vec::len);
    let found = wait_for(address, query, |response| results(response) == 2).await;
    let first = &found["data"]["result"][0];
    assert_eq!(first["metric"]["source"], "acme", "{found}");
    assert_eq!(first["value"][1], "7", "{found}");
    let targets = wait_for(address, "/api/v1/targets", |response| {
        response["data"]["activeTargets"][0]["health"] == "up"
    });
    targets.await;
    let firing = |response: &Value, name: &str, source: &str| {
        let alerts = response["data"]["alerts"].as_array();
        alerts.is_some_and(|alerts| {
            alerts.iter().any(|alert| {
                alert["labels"]["alertname"] == name
                    && alert["labels"]["source"] == source
                    && alert["state"] == "firing"
            })
        })
    };
    let before = wait_for(address, "/api/v1/alerts", |response| {
        response["status"] == "success"
    })
    .await;
    assert!(!firing(&before, "SourceHostStopped", "acme"), "{before}");

    acme.set_run_state(RunState::Ended);
    let after = wait_for(address, "/api/v1/alerts", |response| {
        firing(response, "SourceHostStopped", "acme")
    });
    let after = after.await;
    assert!(!firing(&after, "SourceHostStopped", "beta"), "{after}");
}
