//! The examples are good, as far as this machine can tell: every settings file
//! as `validate` sees it, every YAML file as a parser does, the unit as systemd
//! does. Fluentd's configuration and the container file are only read.

#![expect(clippy::unwrap_used, reason = "tests may fail fast")]

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// What the examples expect in the environment.
const VARIABLES: [&str; 8] = [
    "ELASTICSEARCH_API_KEY",
    "FORWARD_PASSWORD",
    "FORWARD_SHARED_KEY",
    "MIMECAST_CLIENT_ID",
    "MIMECAST_CLIENT_SECRET",
    "NATS_PASSWORD",
    "SPLUNK_HEC_TOKEN",
    "VECTOR_PASSWORD",
];

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples")
}

fn files(extension: &str) -> Vec<PathBuf> {
    fs::read_dir(examples())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Past what the harness captures.
fn left_out(why: &str) {
    let mut stderr = std::io::stderr();
    writeln!(stderr, "LEFT OUT: {why}").unwrap();
}

#[test]
fn every_settings_file_is_valid() {
    let directory = tempfile::tempdir().unwrap();
    let examples = files("toml");
    assert!(examples.len() >= 10, "{examples:?}");
    for path in examples {
        // Their own state directory is that of a service.
        let text = fs::read_to_string(&path).unwrap();
        let text = text.replace("/var/lib/source-host", directory.path().to_str().unwrap());
        let copy = directory.path().join(path.file_name().unwrap());
        fs::write(&copy, text).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_source-host"))
            .arg("validate")
            .arg(&copy)
            .env("XDG_CACHE_HOME", directory.path())
            .envs(VARIABLES.map(|name| (name, "example-value")))
            .output()
            .unwrap();
        let said = said(&output);
        assert!(output.status.success(), "{}: {said}", path.display());
        assert!(!said.contains("WARN"), "{}: {said}", path.display());
    }
}

#[test]
fn every_receiver_has_its_settings_file_and_listens_where_that_sends() {
    let receivers = [files("yaml"), files("conf")].concat();
    assert!(receivers.len() >= 8, "{receivers:?}");
    for path in receivers {
        let receiver = fs::read_to_string(&path).unwrap();
        let settings = fs::read_to_string(path.with_extension("toml")).unwrap();
        let port = settings
            .lines()
            .filter_map(|line| line.split_once("127.0.0.1:"))
            .map(|(_, rest)| rest.split(|mark: char| !mark.is_ascii_digit()).next());
        let ports: BTreeSet<&str> = port.flatten().collect();
        assert!(
            ports.iter().all(|port| receiver.contains(port)),
            "{}: {ports:?}",
            path.display()
        );
    }
}

#[test]
fn every_yaml_file_is_yaml() {
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let import = Command::new(&python).args(["-c", "import yaml"]).output();
    if !import.is_ok_and(|output| output.status.success()) {
        return left_out("no Python with PyYAML, as PYTHON may name one: YAML is not parsed");
    }
    let parse = "import sys, yaml; [yaml.safe_load(open(path)).items() for path in sys.argv[1:]]";
    let output = Command::new(&python)
        .args(["-c", parse])
        .args(files("yaml"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
fn the_unit_is_one_that_systemd_takes() {
    if Command::new("systemd-analyze")
        .arg("--version")
        .output()
        .is_err()
    {
        return left_out("no systemd-analyze: the unit is not verified");
    }
    let directory = tempfile::tempdir().unwrap();
    let unit = fs::read_to_string(examples().join("systemd/source-host.service")).unwrap();
    // It asks for a program that is there.
    let program = env!("CARGO_BIN_EXE_source-host");
    assert!(unit.contains("/usr/local/bin/source-host"));
    let unit = unit.replace("/usr/local/bin/source-host", program);
    let copy = directory.path().join("source-host.service");
    fs::write(&copy, unit).unwrap();
    let output = Command::new("systemd-analyze")
        .args(["verify", "--man=no", "--recursive-errors=no"])
        .arg(&copy)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(said(&output), "", "systemd has remarks");
}
