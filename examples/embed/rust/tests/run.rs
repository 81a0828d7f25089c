//! The example collects everything from a simulated tenant, once.

#![expect(clippy::unwrap_used, reason = "a test may fail fast")]

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use mimecast_simulator::{Config, Simulator};
use serde_json::Value;
use source_host::source::BUILT_IN_COMPONENT;

fn run(directory: &Path, state: &str, simulator: &Simulator, settings: &Value) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_embed-rust"))
        .arg(directory.join("component.wasm"))
        .arg(directory.join(state))
        .args([simulator.api_url(), simulator.storage_url()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(settings.to_string().as_bytes()).unwrap();
    drop(stdin);
    child.wait_with_output().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_prints_every_event_once_and_continues_where_it_was() {
    let config = Config {
        records_per_file: 50,
        audit_events: 500,
        ..Config::default()
    };
    let simulator = Simulator::start(config).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("component.wasm"), BUILT_IN_COMPONENT).unwrap();
    let mut settings = serde_json::json!({
        "base_url": simulator.api_url(),
        "client_id": simulator.client_id(),
        "client_secret": simulator.client_secret(),
    });

    let output = run(directory.path(), "state", &simulator, &settings);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let events = String::from_utf8(output.stdout).unwrap();
    let ids: BTreeSet<String> = events
        .lines()
        .map(|event| {
            let event: Value = serde_json::from_str(event).unwrap();
            event["event"]["id"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(ids.len(), events.lines().count(), "an event came twice");
    // Where the settings name no tenant, it is the name of the source.
    let ledger = simulator.ledger().with_event_ids("embedded");
    let expected: BTreeSet<String> = ledger
        .streams()
        .flat_map(|stream| ledger.expected(stream).iter().cloned())
        .collect();
    assert!(expected.len() > 100);
    assert_eq!(ids, expected);

    let output = run(directory.path(), "state", &simulator, &settings);
    assert!(output.status.success() && output.stdout.is_empty());

    // The machine code is that of the first run.
    let another = directory.path().join("another");
    std::fs::create_dir(&another).unwrap();
    std::fs::rename(directory.path().join("state/cache"), another.join("cache")).unwrap();
    settings["client_secret"] = "another-secret".into();
    let output = run(directory.path(), "another", &simulator, &settings);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(77), "{errors}");
    assert!(!errors.contains("another-secret"), "{errors}");
}
