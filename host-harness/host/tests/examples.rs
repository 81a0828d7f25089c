//! The examples work, as far as this machine can find out: every settings file
//! passes `validate`, every configuration of a receiver avoids the traps that
//! its receiver is known for, and systemd and rsyslog accept theirs.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may fail fast"
)]

#[path = "../../../tests/setup/machine_code.rs"]
mod machine_code;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

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

fn stderr_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Prints that a test was skipped, bypassing the harness's capture.
fn report_skipped_test(why: &str) {
    let mut stderr = std::io::stderr();
    writeln!(stderr, "LEFT OUT: {why}").unwrap();
}

#[test]
fn every_settings_file_is_valid() {
    let directory = tempfile::tempdir().unwrap();
    machine_code::hard_link_machine_code(&directory.path().join("cache"));
    let examples = files("toml");
    assert!(examples.len() >= 13, "{examples:?}");
    for path in examples {
        // Their own state directory is that of a service.
        let text = fs::read_to_string(&path).unwrap();
        let text = text.replace("/var/lib/source-host", directory.path().to_str().unwrap());
        let copy = directory.path().join(path.file_name().unwrap());
        fs::write(&copy, text).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_source-host"))
            .arg("validate")
            .arg(&copy)
            .env("XDG_CACHE_HOME", machine_code::cache_home())
            .envs(VARIABLES.map(|name| (name, "example-value")))
            .output()
            .unwrap();
        let said = stderr_of(&output);
        assert!(output.status.success(), "{}: {said}", path.display());
        assert!(!said.contains("WARN"), "{}: {said}", path.display());
    }
}

#[test]
fn every_receiver_has_its_settings_file_and_listens_where_that_sends() {
    let receivers = [files("yaml"), files("conf")].concat();
    assert!(receivers.len() >= 10, "{receivers:?}");
    for path in receivers {
        let receiver = fs::read_to_string(&path).unwrap();
        let settings = fs::read_to_string(path.with_extension("toml")).unwrap();
        // These receivers start the host, or read its standard output.
        let name = path.file_stem().unwrap().to_str().unwrap();
        let reads_stdout = ["fluent-bit-exec", "rsyslog", "vector-exec"].contains(&name);
        let port = settings
            .lines()
            .filter_map(|line| line.split_once("127.0.0.1:"))
            .map(|(_, rest)| rest.split(|mark: char| !mark.is_ascii_digit()).next());
        let ports: BTreeSet<&str> = port.flatten().collect();
        assert!(
            ports.is_empty() == reads_stdout && ports.iter().all(|port| receiver.contains(port)),
            "{}: {ports:?}",
            path.display()
        );
    }
}

/// A YAML file of the examples, parsed.
fn yaml(name: &str) -> Value {
    let text = fs::read_to_string(examples().join(name)).unwrap();
    serde_norway::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The first output of a settings file, parsed.
fn first_output_table(name: &str) -> toml::Table {
    let text = fs::read_to_string(examples().join(name)).unwrap();
    let table: toml::Table = text.parse().unwrap();
    table["output"][0].as_table().unwrap().clone()
}

fn list(value: &Value) -> Vec<Value> {
    value.as_array().unwrap().clone()
}

#[test]
fn every_example_states_what_it_guarantees() {
    let receivers = [files("yaml"), files("conf")].concat();
    let alone = [
        "nats.toml",
        "elasticsearch.toml",
        "splunk.toml",
        "fluent-bit/filter.yaml",
    ]
    .map(|name| examples().join(name));
    for path in receivers.iter().chain(&alone) {
        let text = fs::read_to_string(path).unwrap();
        let head: Vec<&str> = text
            .lines()
            .take_while(|line| line.starts_with('#'))
            .collect();
        let head = head.join(" ");
        assert!(head.contains("Guarantees: "), "{}", path.display());
    }
}

const FLUENT_BIT: [&str; 5] = [
    "fluent-bit/filter.yaml",
    "fluent-bit-exec.yaml",
    "fluent-bit-forward.yaml",
    "fluent-bit-http.yaml",
    "fluent-bit-otlp.yaml",
];

#[test]
fn fluent_bit_drops_no_chunk_after_one_retry() {
    for name in FLUENT_BIT {
        for output in list(&yaml(name)["pipeline"]["outputs"]) {
            assert_eq!(output["retry_limit"], "no_limits", "{name}");
        }
    }
}

#[test]
fn fluent_bit_makes_the_directory_of_its_file_output() {
    for name in FLUENT_BIT {
        for output in list(&yaml(name)["pipeline"]["outputs"]) {
            assert_eq!(output["name"], "file", "{name}: which other output is it?");
            assert_eq!(output["mkdir"], true, "{name}");
        }
    }
}

#[test]
fn fluent_bit_keeps_what_it_has_acknowledged_on_the_disk() {
    for name in FLUENT_BIT {
        let file = yaml(name);
        assert!(file["service"]["storage.path"].is_string(), "{name}");
        assert_eq!(file["service"]["storage.sync"], "full", "{name}");
        for input in list(&file["pipeline"]["inputs"]) {
            assert_eq!(input["storage.type"], "filesystem", "{name}");
        }
    }
}

#[test]
fn fluent_bit_reads_whole_lines_of_a_program_in_a_thread_of_its_own() {
    let file = yaml("fluent-bit-exec.yaml");
    let input = &file["pipeline"]["inputs"][0];
    assert_eq!(input["threaded"], true, "it would do nothing else");
    assert_eq!(input["oneshot"], true);
    assert_eq!(input["exit_after_oneshot"], true);
    let command = input["command"].as_str().unwrap();
    assert!(
        command.starts_with("exec "),
        "the shell would get the signals"
    );
    let parser = &file["parsers"][0];
    assert_eq!(input["parser"], parser["name"]);
    assert_eq!(parser["time_key"], "@timestamp");
    assert_eq!(parser["time_keep"], true);
    assert_eq!(input["buf_size"], "1M");
    let longest = first_output_table("fluent-bit-exec.toml")["max_line_bytes"].as_integer();
    assert!(longest.unwrap() < 1_000_000, "longer lines would be cut");
}

#[test]
fn fluent_bit_routes_forward_by_the_tags_of_the_streams() {
    let file = yaml("fluent-bit-forward.yaml");
    let input = &file["pipeline"]["inputs"][0];
    assert!(input.get("tag").is_none() && input.get("tag_prefix").is_none());
    let settings = first_output_table("fluent-bit-forward.toml");
    assert_eq!(settings["tag"].as_str(), Some("mimecast.{stream}"));
    assert_eq!(file["pipeline"]["outputs"][0]["match"], "mimecast.*");
    assert!(settings["frame_kib"].as_integer().unwrap() <= 900);
}

#[test]
fn fluent_bit_gets_over_http_what_it_takes() {
    let settings = first_output_table("fluent-bit-http.toml");
    assert_eq!(settings["format"].as_str(), Some("array"));
    assert!(settings.get("content_type").is_none());
    let endpoint = settings["endpoint"].as_str().unwrap();
    assert!(endpoint.ends_with("/mimecast.{stream}"), "{endpoint}");
    // The comment beside the endpoint and the one of the receiver name the spelling.
    for name in ["fluent-bit-http.toml", "fluent-bit-http.yaml"] {
        let text = fs::read_to_string(examples().join(name)).unwrap();
        assert!(text.contains("mimecast.siem.url_protect"), "{name}");
    }
}

#[test]
fn fluent_bit_gives_the_streams_of_otlp_a_tag() {
    let file = yaml("fluent-bit-otlp.yaml");
    let input = &file["pipeline"]["inputs"][0];
    assert_eq!(input["tag"], file["pipeline"]["outputs"][0]["match"]);
}

const VECTOR: [&str; 3] = ["vector-exec.yaml", "vector-fluent.yaml", "vector-http.yaml"];

#[test]
fn vector_keeps_the_time_of_the_event_and_types_it() {
    for name in VECTOR {
        let file = yaml(name);
        assert_eq!(file["log_schema"]["timestamp_key"], "@timestamp", "{name}");
        let remap = file["transforms"]["tidy"]["source"].as_str().unwrap();
        let typed = r#"."@timestamp" = parse_timestamp!(."@timestamp", "%+")"#;
        assert!(remap.lines().any(|line| line == typed), "{name}: {remap}");
    }
}

#[test]
fn vector_adds_no_key_of_its_own_to_the_events() {
    let own = [
        ("vector-exec.yaml", "command host pid source_type stream"),
        ("vector-fluent.yaml", "host source_type tag"),
        ("vector-http.yaml", "path source_type"),
    ];
    for (name, keys) in own {
        let file = yaml(name);
        let tidy = &file["transforms"]["tidy"];
        assert_eq!(tidy["inputs"], serde_json::json!(["mimecast"]), "{name}");
        let remap = tidy["source"].as_str().unwrap();
        for key in keys.split(' ') {
            let line = format!("del(.{key})");
            assert!(remap.lines().any(|one| one == line), "{name}: {key}");
        }
        for sink in file["sinks"].as_object().unwrap().values() {
            assert_eq!(sink["inputs"], serde_json::json!(["tidy"]), "{name}");
        }
    }
}

#[test]
fn vector_acknowledges_when_its_sink_has_delivered() {
    for name in ["vector-fluent.yaml", "vector-http.yaml"] {
        for sink in yaml(name)["sinks"].as_object().unwrap().values() {
            assert_eq!(sink["acknowledgements"]["enabled"], true, "{name}");
        }
        let text = fs::read_to_string(examples().join(name)).unwrap();
        assert!(
            text.contains("acknowledges an event before it is on the"),
            "{name}"
        );
    }
    for name in ["vector-fluent.toml", "vector-http.toml"] {
        let settings = first_output_table(name);
        let wait = settings
            .get("ack_timeout_secs")
            .or_else(|| settings.get("timeout_secs"));
        assert!(wait.unwrap().as_integer().unwrap() >= 190, "{name}");
    }
}

#[test]
fn vector_reads_its_secret_without_the_newline() {
    let file = yaml("vector-http.yaml");
    let source = &file["sources"]["mimecast"];
    let secret = source["auth"]["password"].as_str().unwrap();
    let name = secret.strip_prefix("SECRET[").unwrap();
    let (backend, _) = name.trim_end_matches(']').split_once('.').unwrap();
    let backend = &file["secret"][backend];
    assert_eq!(backend["type"], "directory");
    assert_eq!(backend["remove_trailing_whitespace"], true);
    let settings = first_output_table("vector-http.toml");
    assert_eq!(
        source["auth"]["username"].as_str(),
        settings["username"].as_str()
    );
    assert_eq!(settings["format"].as_str(), Some("ndjson"));
}

/// It is off by default since 0.57.
#[test]
fn vector_needs_no_interpolation_of_variables() {
    fn texts(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Array(values) => values.iter().for_each(|one| texts(one, found)),
            Value::Object(members) => members.values().for_each(|one| texts(one, found)),
            Value::String(text) => found.push(text.clone()),
            Value::Bool(_) | Value::Null | Value::Number(_) => {}
        }
    }
    for name in VECTOR {
        let mut found = Vec::new();
        texts(&yaml(name), &mut found);
        assert!(found.len() > 8, "{name}: {found:?}");
        assert!(found.iter().all(|text| !text.contains("${")), "{name}");
    }
}

#[test]
fn vector_starts_the_host_again_and_keeps_its_log_apart_from_the_events() {
    let file = yaml("vector-exec.yaml");
    let source = &file["sources"]["mimecast"];
    assert_eq!(source["mode"], "streaming");
    assert_eq!(source["include_stderr"], false, "log lines would be events");
    assert_eq!(source["streaming"]["respawn_on_exit"], true);
    let command = list(&source["command"]);
    let log = command.iter().filter_map(Value::as_str);
    assert_eq!(log.filter(|one| one.starts_with("--log-file=")).count(), 1);
    // Vector copies the arguments into every event.
    for argument in &command {
        let argument = argument.as_str().unwrap().to_lowercase();
        assert!(!argument.contains("secret"), "{argument}");
    }
    let settings = first_output_table("vector-exec.toml");
    assert!(settings["max_line_bytes"].as_integer().unwrap() < 1_000_000);
}

/// Vector's fluent source has no handshake, and reads gzip only.
#[test]
fn vector_is_asked_for_no_shared_key_and_sent_no_zstd() {
    let settings = first_output_table("vector-fluent.toml");
    assert!(settings.get("shared_key").is_none());
    let compression = settings.get("compression").and_then(toml::Value::as_str);
    assert!(matches!(compression, None | Some("gzip")));
}

/// The settings of each section of a Fluentd configuration, by its path.
fn fluentd() -> Vec<(String, String, String)> {
    let text = fs::read_to_string(examples().join("fluentd.conf")).unwrap();
    let mut path: Vec<String> = Vec::new();
    let mut found = Vec::new();
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if line.starts_with("</") {
            path.pop().unwrap();
        } else if let Some(section) = line.strip_prefix('<') {
            let name = section.trim_end_matches('>').split(' ').next().unwrap();
            path.push(name.to_owned());
        } else {
            let (key, value) = line.split_once(' ').unwrap();
            found.push((path.join("/"), key.to_owned(), value.trim().to_owned()));
        }
    }
    assert!(path.is_empty(), "{path:?} is not closed");
    found
}

#[test]
fn fluentd_keeps_what_it_has_acknowledged_and_answers_every_frame() {
    let settings = fluentd();
    let at = |path: &str, key: &str| {
        let mut found = settings
            .iter()
            .filter(|(at, name, _)| at == path && name == key);
        found.next().map(|(_, _, value)| value.as_str())
    };
    assert_eq!(at("match/buffer", "@type"), Some("file"));
    assert_eq!(at("match/buffer", "retry_forever"), Some("true"));
    assert_eq!(at("source", "chunk_size_limit"), None);
    assert_eq!(at("source/security", "user_auth"), Some("true"));
    let login = first_output_table("fluentd.toml");
    assert_eq!(
        at("source/security/user", "username"),
        login["username"].as_str()
    );
    assert_eq!(
        login["compression"].as_str(),
        Some("gzip"),
        "zstd is garbage to it"
    );
}

#[test]
fn the_collector_answers_when_its_exporter_has_delivered() {
    let file = yaml("otel-collector.yaml");
    let pipeline = &file["service"]["pipelines"]["logs"];
    assert!(
        pipeline.get("processors").is_none(),
        "a batch is kept in memory"
    );
    for name in list(&pipeline["exporters"]) {
        let exporter = &file["exporters"][name.as_str().unwrap()];
        assert_eq!(exporter["sending_queue"]["enabled"], false, "{name}");
        assert_eq!(
            exporter["retry_on_failure"]["max_elapsed_time"], 0,
            "{name}"
        );
    }
}

#[test]
fn rsyslog_reads_closed_files_and_whole_lines() {
    let text = fs::read_to_string(examples().join("rsyslog.conf")).unwrap();
    let input = text
        .lines()
        .find(|line| line.starts_with("input("))
        .unwrap();
    let pattern = input.split('"').nth(3).unwrap();
    let settings = first_output_table("rsyslog.toml");
    let path = settings["path"].as_str().unwrap();
    let (stem, extension) = path.rsplit_once('.').unwrap();
    assert_eq!(pattern, format!("{stem}*.{extension}"));
    assert!(
        settings.get("compression").is_none(),
        "it reads no compressed file"
    );
    let global = text
        .lines()
        .find(|line| line.starts_with("global("))
        .unwrap();
    assert!(global.contains("maxMessageSize=\"1m\""), "{global}");
}

#[test]
fn rsyslog_accepts_its_configuration() {
    let program = Path::new("/usr/sbin/rsyslogd");
    if !program.exists() {
        return report_skipped_test("rsyslog is not installed: its configuration is only read");
    }
    let directory = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(examples().join("rsyslog.conf")).unwrap();
    let here = directory.path().to_str().unwrap();
    let copy = directory.path().join("rsyslog.conf");
    fs::write(&copy, text.replace("/var/lib/rsyslog", here)).unwrap();
    let output = Command::new(program)
        .args(["-N1", "-f"])
        .arg(&copy)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr_of(&output));
}

#[test]
fn no_event_is_lost_that_elasticsearch_cannot_index() {
    let text = fs::read_to_string(examples().join("elasticsearch.toml")).unwrap();
    let table: toml::Table = text.parse().unwrap();
    assert!(table.contains_key("dead_letter"));
    let index = table["output"][0]["index"].as_str().unwrap();
    assert!(
        index.starts_with("logs-"),
        "a data stream creates each id once"
    );
}

#[test]
fn the_unit_is_one_that_systemd_takes() {
    if Command::new("systemd-analyze")
        .arg("--version")
        .output()
        .is_err()
    {
        return report_skipped_test("no systemd-analyze: the unit is not verified");
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
    assert!(output.status.success(), "{}", stderr_of(&output));
    assert_eq!(stderr_of(&output), "", "systemd has remarks");
    // Of 100, as systemd rates what a service may do.
    let output = Command::new("systemd-analyze")
        .args(["security", "--offline=yes", "--threshold=25"])
        .arg(&copy)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr_of(&output));
}

#[test]
fn the_unit_reports_to_systemd_and_is_not_started_again_with_bad_settings() {
    let unit = fs::read_to_string(examples().join("systemd/source-host.service")).unwrap();
    let value = |key: &str| {
        let mut lines = unit.lines().filter_map(|line| line.split_once('='));
        lines.find(|(name, _)| *name == key).map(|(_, value)| value)
    };
    assert_eq!(value("Type"), Some("notify"));
    assert!(value("WatchdogSec").unwrap().parse::<u32>().unwrap() >= 10);
    assert_eq!(value("ExecReload"), Some("/bin/kill -HUP $MAINPID"));
    assert!(value("LimitNOFILE").unwrap().parse::<u32>().unwrap() >= 65_536);
    // It concerns the main process; a command before it would be started again for ever.
    assert_eq!(value("RestartPreventExitStatus"), Some("78"));
    assert_eq!(value("ExecStartPre"), None);
    assert!(value("TimeoutStopSec").unwrap().parse::<u32>().unwrap() > 5);
}

/// The manifests for Kubernetes, by their kind.
fn manifest(kind: &str) -> Value {
    let text = fs::read_to_string(examples().join("kubernetes/source-host.yaml")).unwrap();
    let documents = text.split("\n---\n");
    let mut parsed = documents.map(|one| serde_norway::from_str::<Value>(one).unwrap());
    parsed.find(|one| one["kind"] == kind).unwrap()
}

#[test]
fn kubernetes_runs_one_host_with_its_state_its_probes_and_few_rights() {
    let set = manifest("StatefulSet");
    assert_eq!(set["spec"]["replicas"], 1, "a state directory has one host");
    let pod = &set["spec"]["template"]["spec"];
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    // Otherwise the directory of machine code is the group's from the second start on, and refused.
    let policy = &pod["securityContext"]["fsGroupChangePolicy"];
    assert_eq!(policy, "OnRootMismatch");
    let container = &pod["containers"][0];
    assert_eq!(container["livenessProbe"]["httpGet"]["path"], "/livez");
    assert_eq!(container["readinessProbe"]["httpGet"]["path"], "/readyz");
    let rights = &container["securityContext"];
    assert_eq!(rights["readOnlyRootFilesystem"], true);
    assert_eq!(rights["allowPrivilegeEscalation"], false);
    assert_eq!(rights["capabilities"]["drop"][0], "ALL");
    // Each mount has its volume.
    let mut volumes: Vec<Value> = list(&pod["volumes"]);
    for claim in list(&set["spec"]["volumeClaimTemplates"]) {
        volumes.push(claim["metadata"].clone());
    }
    let mounts = list(&container["volumeMounts"]);
    let path = |name: &str| {
        let mount = mounts.iter().find(|mount| mount["name"] == name).unwrap();
        assert!(
            volumes.iter().any(|volume| volume["name"] == name),
            "{name}"
        );
        mount["mountPath"].as_str().unwrap().to_owned()
    };
    let settings = manifest("ConfigMap")["data"]["source-host.toml"].clone();
    let settings: toml::Table = settings.as_str().unwrap().parse().unwrap();
    assert_eq!(settings["state_dir"].as_str(), Some(path("state").as_str()));
    let secrets = path("secrets");
    let secret = &settings["source"][0]["settings"]["client_secret"]["file"];
    assert!(secret.as_str().unwrap().starts_with(&secrets));
    let port = &container["ports"][0];
    let listen = settings["admin"]["listen"].as_str().unwrap();
    assert!(
        listen.ends_with(&format!(":{}", port["containerPort"])),
        "{listen}"
    );
    assert!(
        settings["admin"]["token"]["file"]
            .as_str()
            .unwrap()
            .starts_with(&secrets)
    );
}

/// The files that an image brings and those that the examples name are at the same places.
#[test]
fn the_paths_of_the_container_are_those_of_the_examples() {
    let text = fs::read_to_string(examples().join("container/Containerfile")).unwrap();
    for example in files("toml") {
        let settings: toml::Table = fs::read_to_string(&example).unwrap().parse().unwrap();
        let state = settings["state_dir"].as_str().unwrap();
        assert!(
            text.contains(&format!("VOLUME {state}\n")),
            "{}",
            example.display()
        );
    }
    assert!(text.contains("ENTRYPOINT [\"/usr/local/bin/source-host\"]"));
    assert!(text.contains("\"/etc/source-host/source-host.toml\""));
}
