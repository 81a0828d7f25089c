//! The admin server of a host that runs.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::time::Instant;

use serde_json::Value;

use crate::compile::compile_file;
use crate::requests::CommandFixture;
use crate::server::{Server, response};
use crate::setup::{HostProcess, WAIT_TIMEOUT};

const TOKEN: &str = r#"{"access_token":"t","token_type":"Bearer","expires_in":1800}"#;
const EMPTY: &str = r#"{"meta":{"status":200},"data":[],"value":[],"fail":[]}"#;

/// A host with an admin server, and the address of that.
fn start(fixture: &CommandFixture) -> (HostProcess, String) {
    let path = fixture.folder.path().join("host.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("{text}[admin]\nlisten = \"127.0.0.1:0\"\n")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_source-host"));
    command
        .args(["run", "host.toml"])
        .current_dir(fixture.folder.path());
    let mut host = HostProcess::start(command);
    let line = host.wait_for("admin server at http://");
    let address = line.rsplit("http://").next().unwrap().trim().to_owned();
    (host, address)
}

pub(crate) fn get(address: &str, path: &str) -> Value {
    serde_json::from_str(&get_text(address, path)).unwrap()
}

pub(crate) fn get_text(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    let (_, body) = response.split_once("\r\n\r\n").unwrap();
    body.to_owned()
}

/// The source, as soon as it is in that state.
fn wait_for_state(address: &str, state: &str) -> Value {
    let deadline = Instant::now() + WAIT_TIMEOUT;
    loop {
        let source = get(address, "/api/v1/sources/acme");
        if source["state"] == state {
            return source;
        }
        assert!(Instant::now() < deadline, "not {state}: {source:#}");
        std::thread::yield_now();
    }
}

#[test]
fn the_first_poll_makes_a_source_active_before_the_second_one_is_due() {
    let api = Server::start(|head| match head {
        head if head.contains("/oauth/token") => response(200, TOKEN),
        _ => response(200, EMPTY),
    });
    let url = api.url();
    let fixture = CommandFixture::new(&url, &format!("\"{url}\""), "streams = [\"audit\"]");
    let (_host, address) = start(&fixture);
    let source = wait_for_state(&address, "active");
    assert_eq!(source["has_checkpoint"], true, "{source:#}");
    for time in ["stored_at", "last_poll_at"] {
        assert!(source[time].is_string(), "{time}: {source:#}");
    }
    assert_eq!(source["streams"]["audit"]["state"], "active");
    // Known as soon as the source waits.
    let deadline = Instant::now() + WAIT_TIMEOUT;
    while get(&address, "/api/v1/sources/acme")["next_poll_at"].is_null() {
        assert!(Instant::now() < deadline, "no next poll: {source:#}");
        std::thread::yield_now();
    }
}

#[test]
fn a_source_whose_credentials_are_refused_is_unauthorized_at_once() {
    let refusal = r#"{"fail":[{"code":"InvalidClientIdentifier","message":"no"}]}"#;
    let api = Server::start(move |_| response(401, refusal));
    let url = api.url();
    let fixture = CommandFixture::new(&url, &format!("\"{url}\""), "streams = [\"audit\"]");
    let (_host, address) = start(&fixture);
    let source = wait_for_state(&address, "unauthorized");
    assert_eq!(source["last_error"]["kind"], "unauthorized", "{source:#}");
}

#[test]
fn a_secret_of_a_faulty_source_with_a_component_of_its_own_is_stored_apart() {
    let folder = tempfile::tempdir().unwrap();
    let component = compile_file("scripted_component.rs", folder.path(), "none");
    let sources = folder.path().join("sources");
    fs::create_dir(&sources).unwrap();
    let file = sources.join("acme.toml");
    // The source cannot run, so that only its file says which component it has.
    let text = format!(
        "component = {component:?}\nenabeld = true\n[settings]\nbehavior = \"nothing\"\n\
         secret = \"hush-first\"\n"
    );
    fs::write(&file, text).unwrap();
    let settings = "state_dir = \"state\"\nsources_dir = \"sources\"\n[[output]]\ntype = \"stdout\"\n\
                    [admin]\nlisten = \"127.0.0.1:0\"\ntoken = \"a-token-of-this-test-0123456789\"\n";
    fs::write(folder.path().join("host.toml"), settings).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_source-host"));
    let command_line = ["run", "host.toml"];
    command.args(command_line).current_dir(folder.path());
    let mut host = HostProcess::start(command);
    let line = host.wait_for("admin server at http://");
    let address = line.rsplit("http://").next().unwrap().trim().to_owned();
    let body = r#"{"settings":{"behavior":"nothing","secret":"hush-second"}}"#;
    let length = body.len();
    let head = format!(
        "PUT /api/v1/sources/acme HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
         Authorization: Bearer a-token-of-this-test-0123456789\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    );
    let mut stream = TcpStream::connect(&address).unwrap();
    stream.write_all((head + body).as_bytes()).unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    assert!(response.starts_with("HTTP/1.1 2"), "{response}");
    let text = fs::read_to_string(&file).unwrap();
    assert!(!text.contains("hush"), "{text}");
    let stored = fs::read_dir(&sources).unwrap().filter(|entry| {
        let path = entry.as_ref().unwrap().path();
        fs::read_to_string(path).is_ok_and(|text| text.contains("hush-second"))
    });
    assert_eq!(stored.count(), 1, "{text}");
}
