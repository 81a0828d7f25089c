//! API 1.0, end to end: the built component under the real host, against a simulated tenant that
//! checks signatures and serves log files.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "helpers of tests fail fast"
)]

mod setup;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use mimecast_simulator::{LegacyConfig, LegacySimulator, legacy_record_id};
use serde_json::Value;
use tempfile::TempDir;

use setup::{Process, WAIT_TIMEOUT};

const HOST: &str = env!("CARGO_BIN_EXE_source-host");

/// A simulated tenant and a folder with the settings of a host that collects from it.
struct LegacySetup {
    simulator: LegacySimulator,
    folder: TempDir,
}

impl LegacySetup {
    fn new(config: LegacyConfig, settings: &str) -> Self {
        let setup = Self {
            simulator: LegacySimulator::start(config).unwrap(),
            folder: TempDir::new().unwrap(),
        };
        let (url, credentials) = (setup.simulator.url(), setup.simulator.credentials());
        for (name, secret) in [
            ("app-key", &credentials.app_key),
            ("access-key", &credentials.access_key),
            ("secret-key", &credentials.secret_key),
        ] {
            std::fs::write(setup.path(name), secret).unwrap();
        }
        let (app_id, email) = (credentials.app_id, credentials.email);
        let text = format!(
            "state_dir = \"state\"\n\n[[source]]\nname = \"acme\"\nallow = [\"{url}\"]\nmax_events = 300\n\
             [source.settings]\napi = \"1.0\"\ndiscovery_url = \"{url}\"\nemail = \"{email}\"\n\
             app_id = \"{app_id}\"\napp_key = {{ file = \"app-key\" }}\n\
             access_key = {{ file = \"access-key\" }}\nsecret_key = {{ file = \"secret-key\" }}\n\
             streams = [\"siem\", \"audit\"]\nformat = \"raw\"\n{settings}\n\
             [[output]]\ntype = \"file\"\npath = \"events.ndjson\"\n"
        );
        std::fs::write(setup.path("host.toml"), text).unwrap();
        setup::hard_link_machine_code(&setup.path("state/cache"));
        setup
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(HOST);
        command
            .arg(verb)
            .arg(self.path("host.toml"))
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        command
    }

    fn output(&self, verb: &str, more: &[&str]) -> Output {
        let output = self.command(verb).args(more).output().unwrap();
        assert!(
            output.status.success(),
            "{verb}: {}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        output
    }

    /// How many whole lines are in the output file.
    fn line_count(&self) -> usize {
        let text = std::fs::read(self.path("events.ndjson")).unwrap_or_default();
        memchr::memchr_iter(b'\n', &text).count()
    }

    fn wait_for_lines(&self, count: usize) {
        let begun = Instant::now();
        while self.line_count() < count {
            assert!(begun.elapsed() < WAIT_TIMEOUT, "not {count} events");
            std::thread::park_timeout(Duration::from_millis(10));
        }
    }

    /// Waits until the token of a log file is stored and in use: a batch has at most 300 events, so
    /// that with 400 delivered the first one, and the token in its checkpoint, are stored.
    fn wait_for_stored_log_token(&self) {
        let begun = Instant::now();
        while self.delivered().len() < 400 {
            assert!(begun.elapsed() < WAIT_TIMEOUT, "too few events");
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }

    /// Every record that was delivered, with the ids it was delivered under.
    fn delivered(&self) -> BTreeMap<String, BTreeSet<String>> {
        let mut delivered: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        let text = std::fs::read_to_string(self.path("events.ndjson")).unwrap_or_default();
        // The last line may be half written while the host runs.
        let whole = text.rfind('\n').map_or(0, |at| at + 1);
        for line in text[..whole].lines() {
            let event: Value = serde_json::from_str(line).unwrap();
            let key = legacy_record_id(&event["record"]).expect("a record of the tenant");
            let id = event["id"].as_str().unwrap().to_owned();
            delivered.entry(key).or_default().insert(id);
        }
        delivered
    }

    fn assert_complete(&self) {
        let delivered = self.delivered();
        let keys: BTreeSet<String> = delivered.keys().cloned().collect();
        let expected = self.simulator.expected();
        let missing: Vec<_> = expected.difference(&keys).collect();
        assert!(missing.is_empty(), "{} missing: {missing:?}", missing.len());
        assert_eq!(keys.len(), expected.len(), "something was invented");
        for (key, ids) in delivered {
            assert_eq!(ids.len(), 1, "{key} has {ids:?}");
        }
    }
}

const FORMS: [(&str, bool); 4] = [
    ("json", true),
    ("json", false),
    ("key_value", true),
    ("key_value", false),
];

/// One file in ten is malformed, the host's clock is three hours off, five kills for each form,
/// and in the middle the token becomes invalid.
#[test]
fn nothing_is_missing_in_any_form_whatever_happens() {
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for (number, (format, compress)) in FORMS.into_iter().enumerate() {
        let config = LegacyConfig {
            files: 60,
            records_per_file: 120,
            malformed_percent: 10,
            archive_files: 2,
            delay_ms: 25,
            skew_ms: if number % 2 == 0 {
                10_800_000
            } else {
                -10_800_000
            },
            ..LegacyConfig::default()
        };
        let settings = format!("siem_file_format = \"{format}\"\nsiem_compress = {compress}");
        let setup = LegacySetup::new(config, &settings);
        setup.output("check", &[]);
        for kill in 0..5 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let written = setup.line_count();
            let mut host = Process(setup.command("run").stderr(Stdio::null()).spawn().unwrap());
            if kill == 2 {
                setup.wait_for_stored_log_token();
                setup.simulator.invalidate_tokens();
            }
            setup.wait_for_lines(written + 1 + usize::try_from(random % 300).unwrap());
            host.kill().unwrap();
            host.wait().unwrap();
        }
        setup.output("run", &["--once"]);
        setup.assert_complete();
        let malformed = setup.simulator.malformed();
        assert!(malformed.len() >= 3, "{malformed:?}");
        let status = setup.command("status").arg("--json").output().unwrap();
        let status: Value = serde_json::from_slice(&status.stdout).unwrap();
        let rejected = &status["sources"][0]["streams"]["siem"]["rejected"];
        let rejected = rejected.as_u64().unwrap();
        assert!(
            rejected >= u64::try_from(malformed.len()).unwrap(),
            "{status}"
        );
        let requests = setup.simulator.requests();
        assert_eq!(requests.refused_request_ids, 0);
        let refused = requests
            .responses
            .get(&("/api/audit/get-siem-logs".to_owned(), 400));
        assert!(refused.is_some(), "the token was refused: {requests:?}");
    }
}

#[test]
fn refused_keys_exit_77_and_say_what_to_do() {
    let setup = LegacySetup::new(LegacyConfig::default(), "");
    let siem = "get-siem-logs";
    let assert_refused = |verb: &str, expected: &str| {
        let mut command = setup.command(verb);
        if verb == "run" {
            command.arg("--once");
        }
        let output = command.output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        assert_eq!(output.status.code(), Some(77), "{verb}: {text}");
        assert!(text.contains(expected), "{verb}: {text}");
        assert!(text.contains("request id"), "{verb}: {text}");
    };
    setup
        .simulator
        .fail_next(siem, 418, "err_xdk_binding_expired");
    assert_refused("check", "the access key has expired");
    std::fs::write(setup.path("secret-key"), "d3JvbmctMQ==").unwrap();
    for verb in ["check", "run"] {
        assert_refused(verb, "app_key, access_key and secret_key");
    }
    let credentials = setup.simulator.credentials();
    std::fs::write(setup.path("secret-key"), credentials.secret_key).unwrap();
    setup.simulator.fail_next(siem, 200, "err_developer_key");
    let check = setup.output("check", &[]).stdout;
    let check = String::from_utf8(check).unwrap();
    assert!(check.contains("account: C0A0"), "{check}");
    setup.output("run", &["--once"]);
    setup.assert_complete();
    let migrated = setup.output("migrate", &[]).stdout;
    let migrated = String::from_utf8(migrated).unwrap();
    assert!(migrated.contains("api = \"2.0\""), "{migrated}");
    assert!(migrated.contains("two hours before it"), "{migrated}");
}
