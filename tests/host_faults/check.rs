//! What `check` reports, and its exit codes.

use std::fs;

use crate::requests::CommandFixture;
use crate::server::{Server, response};
use crate::setup::{Setup, assert_success, small_config};

const TOKEN: &str = r#"{"access_token":"t","token_type":"Bearer","expires_in":1800}"#;
const EMPTY: &str = r#"{"meta":{"status":200},"data":[],"value":[],"fail":[]}"#;

fn is_token(head: &str) -> bool {
    head.contains("/oauth/token")
}

#[test]
fn a_quota_that_is_used_up_is_no_failure_of_a_check() {
    let api = Server::start(|head| match head {
        head if is_token(head) => response(200, TOKEN),
        head if head.contains("/siem/v1/") => response(429, ""),
        _ => response(200, EMPTY),
    });
    let url = api.url();
    let fixture = CommandFixture::new(&url, &format!("\"{url}\""), "");
    let (output, output_text) = fixture.run(&["check"]);
    assert_success(&output);
    assert_eq!(
        output_text.matches("the rate limit is used up").count(),
        13,
        "{output_text}"
    );
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let last = text.lines().last().unwrap_or_default();
    assert!(
        last.starts_with("Connection successful 20"),
        "{output_text}"
    );
    let received = String::from_utf8_lossy(&api.received()).into_owned();
    assert_eq!(received.matches("GET /siem/v1/").count(), 2, "{received}");
}

#[test]
fn a_storage_that_is_not_allowed_is_named_by_check() {
    let setup = Setup::new(small_config(), "");
    let storage = setup.simulator.storage_url();
    let text = fs::read_to_string(setup.path("host.toml")).unwrap();
    let without = text.replace(&format!(", \"{storage}\""), "");
    assert_ne!(text, without);
    fs::write(setup.path("host.toml"), without).unwrap();
    let check = setup.command("check").output().unwrap();
    let output_text = String::from_utf8_lossy(&check.stdout).into_owned();
    assert_eq!(check.status.code(), Some(78), "{output_text}");
    assert!(output_text.contains(&storage), "{output_text}");
}

#[test]
fn a_stream_that_is_named_and_not_permitted_is_a_failure() {
    let setup = Setup::new(small_config(), "");
    setup.simulator.set_permitted("dlp", false);
    let check = |arguments: &[&str]| {
        let output = setup.command("check").args(arguments).output().unwrap();
        let output_text = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.code(), output_text)
    };
    let (code, output_text) = check(&[]);
    assert_eq!(code, Some(0), "{output_text}");
    let (code, output_text) = check(&["--stream", "dlp"]);
    assert_eq!(code, Some(1), "{output_text}");
    assert!(
        output_text.contains("grant: Monitoring | Data Leak Prevention | Read"),
        "{output_text}"
    );
    assert!(!output_text.contains("audit"), "{output_text}");
    assert!(
        output_text.contains("Connection failed 20"),
        "{output_text}"
    );
    let (code, output_text) = check(&["--stream", "audit", "--source", "acme"]);
    assert_eq!(code, Some(0), "{output_text}");
    let (code, _) = check(&["--source", "acne"]);
    assert_eq!(code, Some(78));
    setup.write_settings(
        "streams = [\"audit\", \"dlp\"]",
        "type = \"file\"\npath = \"events.ndjson\"",
    );
    let (code, output_text) = check(&[]);
    assert_eq!(code, Some(1), "{output_text}");
}

#[test]
fn an_application_without_any_permission_fails_a_check() {
    let setup = Setup::new(small_config(), "");
    let run = |arguments: &[&str]| {
        let output = setup.command("check").args(arguments).output().unwrap();
        (output.status.code(), output.stdout)
    };
    let report = |json: &[u8]| -> serde_json::Value { serde_json::from_slice(json).unwrap() };
    let (code, json) = run(&["--json"]);
    assert_eq!(code, Some(0));
    let streams = report(&json)["sources"][0]["streams"].clone();
    for stream in streams.as_array().unwrap() {
        let stream = stream["stream"].as_str().unwrap();
        setup.simulator.set_permitted(stream, false);
    }
    let (code, text) = run(&[]);
    let text = String::from_utf8_lossy(&text).into_owned();
    assert_eq!(code, Some(1), "{text}");
    assert_eq!(text.matches("grant: ").count(), 31, "{text}");
    assert!(text.contains("31 of 31 streams cannot be read"), "{text}");
    assert!(text.contains("\nConnection failed 20"), "{text}");
    let (code, json) = run(&["--json"]);
    assert_eq!(code, Some(1));
    let source = &report(&json)["sources"][0];
    assert_eq!(source["successful"], false, "{source}");
    let online = setup.command("describe --online").output().unwrap();
    assert_eq!(online.status.code(), Some(1), "{online:?}");
}

#[test]
fn an_output_that_cannot_be_reached_fails_a_check_and_a_check_makes_no_file() {
    let setup = Setup::new(small_config(), "");
    let check_output = |output: &str| {
        setup.write_settings("streams = [\"audit\"]", output);
        let check = setup.command("check").output().unwrap();
        let output_text = String::from_utf8_lossy(&check.stdout).into_owned();
        (check.status.code(), output_text)
    };
    let (code, text) = check_output("type = \"file\"\npath = \"sub/events.ndjson\"");
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("events.ndjson: reachable"), "{text}");
    let checkpoint = setup.path("state/acme.checkpoint.json");
    assert!(!setup.path("sub").exists() && !checkpoint.exists());
    let (code, text) = check_output("type = \"file\"\npath = \"host.toml/events.ndjson\"");
    assert_eq!(code, Some(1), "{text}");
    let receiver = Server::start(|_| response(200, ""));
    let url = receiver.url();
    let (code, text) = check_output(&format!("type = \"http\"\nendpoint = \"{url}/in\""));
    assert_eq!(code, Some(0), "{text}");
    assert!(receiver.received().is_empty(), "nothing is sent");
    // Nothing listens at port 1.
    for output in [
        "type = \"http\"\nendpoint = \"http://127.0.0.1:1/in\"",
        "type = \"forward\"\naddress = \"127.0.0.1:1\"",
        "type = \"nats\"\nservers = [\"nats://127.0.0.1:1\"]",
    ] {
        let (code, text) = check_output(output);
        assert_eq!(code, Some(1), "{output}: {text}");
        assert!(
            text.contains("outputs\n") && text.contains("127.0.0.1:1"),
            "{text}"
        );
    }
}

#[test]
fn an_output_of_rejected_records_that_cannot_be_reached_fails_a_check() {
    let setup = Setup::new(small_config(), "");
    let check_dead_letter = |dead_letter: &str| {
        let output =
            format!("type = \"file\"\npath = \"events.ndjson\"\n[dead_letter]\n{dead_letter}");
        setup.write_settings("streams = [\"audit\"]", &output);
        let run = |verb: &str| {
            let check = setup.command(verb).output().unwrap();
            let output_text = String::from_utf8_lossy(&check.stdout).into_owned();
            (check.status.code(), output_text)
        };
        let (code, json) = run("check --json");
        let report: serde_json::Value = serde_json::from_str(&json).unwrap();
        let (text_code, text) = run("check");
        assert_eq!(code, text_code, "{json}{text}");
        (code, report["outputs"].clone(), text)
    };
    // Nothing listens at port 1.
    let (code, outputs, text) =
        check_dead_letter("type = \"http\"\nendpoint = \"http://127.0.0.1:1/in\"");
    assert_eq!(code, Some(1), "{text}");
    assert_eq!(outputs.as_array().unwrap().len(), 2, "{outputs}");
    assert_eq!(outputs[0]["outcome"], "reachable", "{outputs}");
    assert_eq!(outputs[1]["output"], "dead_letter", "{outputs}");
    assert_eq!(outputs[1]["type"], "http", "{outputs}");
    assert_eq!(outputs[1]["outcome"], "failing", "{outputs}");
    assert!(text.contains("\ndead_letter: unavailable: "), "{text}");
    let (code, outputs, text) = check_dead_letter("type = \"file\"\npath = \"rejected.ndjson\"");
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(outputs[1]["outcome"], "reachable", "{outputs}");
    assert!(text.contains("rejected.ndjson: reachable"), "{text}");
    // A plain file is no output.
    let (code, outputs, text) = check_dead_letter("path = \"rejected.ndjson\"");
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(outputs.as_array().unwrap().len(), 1, "{outputs}");
}

#[test]
fn a_source_that_cannot_be_checked_keeps_no_other_from_being_checked() {
    let setup = Setup::new(small_config(), "streams = [\"audit\"]");
    let good = fs::read_to_string(setup.path("host.toml")).unwrap();
    let bad = setup.source_table_renamed("aaa");
    let bad = bad.replace("{ file = \"secret\" }", "{ env = \"NO_SUCH_VARIABLE_7\" }");
    let text = good.replace("[[source]]", &format!("{bad}\n[[source]]"));
    fs::write(setup.path("host.toml"), text).unwrap();
    let check = setup.command("check").output().unwrap();
    let output_text = String::from_utf8_lossy(&check.stdout).into_owned();
    assert_eq!(check.status.code(), Some(78), "{output_text}");
    assert!(output_text.contains("NO_SUCH_VARIABLE_7"), "{output_text}");
    assert!(output_text.contains("readable"), "{output_text}");
}
