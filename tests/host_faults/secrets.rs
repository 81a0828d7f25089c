//! A secret leaves the process only to where it belongs.
//!
//! Each secret is a canary, a unique text. Everything that a run leaves behind is searched for each
//! of them, in every encoding that programs use for such texts.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use serde_json::json;
use tempfile::TempDir;

use crate::compile::compile_broken;
use crate::server::{Server, header, response};
use crate::setup::{HostProcess, hard_link_machine_code};

const CLIENT_SECRET: &str = "mark+client/secret=Qz7Kx2Vb9Lm4";
const ACCESS_TOKEN: &str = "mark.access-token.Jw3Ry8Tn5Hd1Gf";
const SIGNATURE: &str = "markSignatureOfALinkPc6Ue0Sv7Ba2";
const BEARER: &str = "mark/receiver+bearer=Xk5Zq1Wn8Ot3";
const PASSWORD: &str = "mark&receiver%password=Yr9Dh4Mj6";
const HEADER: &str = "mark-receiver-header-Ni2Lf7Cs5Eg8";
const SPLUNK: &str = "mark-splunk-token-Tb4Va9Xd1Rk6Uy";
const SHARED_KEY: &str = "mark+shared/key=Gp8Oz3Hm6Qe1Wl5";
const FORWARD: &str = "mark-forward-password-Fc7Jt2Kn0S";
const NATS: &str = "mark-nats-token-Zx6Bv1Ym4Dr9Lh";
const APP_KEY: &str = "mark-app-key-Eu5Iw0Pa8Sg3Hk";
const ACCESS_KEY: &str = "mark-access-key-Od1Cf6Vj9Xb4Tn";
/// The secret key of API 1.0 is base64 of bytes; these are the bytes.
const SECRET_KEY: &str = "mark-secret-key-Ml2Rq7Ky5Zt0Wc";

const ALL: [&str; 13] = [
    CLIENT_SECRET,
    ACCESS_TOKEN,
    SIGNATURE,
    BEARER,
    PASSWORD,
    HEADER,
    SPLUNK,
    SHARED_KEY,
    FORWARD,
    NATS,
    APP_KEY,
    ACCESS_KEY,
    SECRET_KEY,
];

/// Returns the encodings that a text may be hidden in: as it is, for URLs and forms, in hexadecimal
/// digits, as a list of bytes, and in base64 at each of the three offsets at which it may begin.
fn encodings(canary: &str) -> Vec<String> {
    let percent = |keep: &[u8]| -> String {
        let each = canary.bytes().map(|byte| match byte {
            _ if byte.is_ascii_alphanumeric() || keep.contains(&byte) => char::from(byte).into(),
            _ => format!("%{byte:02X}"),
        });
        each.collect()
    };
    let hex: String = canary.bytes().map(|byte| format!("{byte:02x}")).collect();
    let mut encodings = vec![
        canary.to_owned(),
        percent(b"-._~"),
        percent(b""),
        hex.to_uppercase(),
        hex,
    ];
    let list = format!("{:?}", canary.as_bytes());
    encodings.push(list.trim_matches(['[', ']']).to_owned());
    for shift in 0..3 {
        let text = ["x".repeat(shift).as_bytes(), canary.as_bytes()].concat();
        let whole = text.len() / 3 * 4;
        let from = (shift * 4).div_ceil(3);
        encodings.push(STANDARD_NO_PAD.encode(&text)[from..whole].to_owned());
        encodings.push(URL_SAFE_NO_PAD.encode(&text)[from..whole].to_owned());
    }
    encodings
}

/// Asserts that no canaries but these are in the bytes.
fn assert_no_secret_except(allowed: &[&str], place: &str, bytes: &[u8]) {
    for canary in ALL.iter().filter(|canary| !allowed.contains(canary)) {
        for form in encodings(canary) {
            let found = memchr::memmem::find(bytes, form.as_bytes());
            let near = found.map(|at| {
                let near = &bytes[at.saturating_sub(200)..bytes.len().min(at + 100)];
                String::from_utf8_lossy(near).into_owned()
            });
            assert!(near.is_none(), "{canary} is in {place}: {}", near.unwrap());
        }
    }
}

fn contains(bytes: &[u8], text: &str) -> bool {
    memchr::memmem::find(bytes, text.as_bytes()).is_some()
}

/// A folder with settings; the secrets are beside it.
struct SecretFixture {
    folder: TempDir,
    secrets: TempDir,
}

impl SecretFixture {
    /// Writes the settings, in which `<CANARY>` stands for a reference to the file with that secret.
    fn new(settings: &str) -> Self {
        let fixture = Self {
            folder: TempDir::new().unwrap(),
            secrets: TempDir::new().unwrap(),
        };
        for canary in ALL {
            fs::write(fixture.secrets.path().join(file_name_of(canary)), canary).unwrap();
        }
        let secret_key = STANDARD_NO_PAD.encode(SECRET_KEY);
        fs::write(
            fixture.secrets.path().join(file_name_of(SECRET_KEY)),
            secret_key,
        )
        .unwrap();
        let mut text = settings.to_owned();
        for canary in ALL {
            let file = fixture.secrets.path().join(file_name_of(canary));
            let secret = format!("{{ file = \"{}\" }}", file.display());
            text = text.replace(&format!("<{canary}>"), &secret);
        }
        fs::write(fixture.folder.path().join("host.toml"), text).unwrap();
        hard_link_machine_code(&fixture.folder.path().join("state/cache"));
        fixture
    }

    /// Returns a command of the host with the most detailed log level.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_source-host"));
        command
            .args(arguments)
            .arg(self.folder.path().join("host.toml"))
            .current_dir(self.folder.path())
            .env("SOURCE_HOST_LOG", "trace")
            .env("RUST_BACKTRACE", "full");
        command
    }

    /// Runs a command to its end, and asserts that its output has no canary.
    fn run(&self, arguments: &[&str]) -> Output {
        let output = self.command(arguments).output().unwrap();
        let place = arguments.join(" ");
        assert_no_secret_except(&[], &format!("stdout of {place}"), &output.stdout);
        assert_no_secret_except(&[], &format!("stderr of {place}"), &output.stderr);
        output
    }

    /// Runs until the log has these words, then stops the host, and asserts that its log has no canary.
    /// Returns the log.
    fn run_until(&self, arguments: &[&str], words: &[&str]) -> String {
        let mut host = HostProcess::start(self.command(arguments));
        for words in words {
            if !host.log.contains(words) {
                host.wait_for(words);
            }
        }
        let (_, log) = host.stop();
        assert_no_secret_except(&[], "the log", log.as_bytes());
        log
    }

    /// Asserts that no file has a canary: state, output and rejected records. [`Self::run`] and
    /// [`Self::run_until`] check the log.
    fn assert_no_secret_in_files(&self) {
        assert!(
            assert_no_secret_below(self.folder.path()) > 3,
            "there are files"
        );
    }
}

fn file_name_of(canary: &str) -> String {
    canary.replace(|c: char| !c.is_ascii_alphanumeric(), "")
}

/// Searches all files below a folder; returns how many there are.
fn assert_no_secret_below(folder: &Path) -> usize {
    let mut files = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files += assert_no_secret_below(&path);
        } else {
            let bytes = fs::read(&path).unwrap();
            assert_no_secret_except(&[], &path.display().to_string(), &bytes);
            files += 1;
        }
    }
    files
}

/// A Mimecast that has one file, and repeats in an error what it was sent.
fn mimecast(storage: String) -> Server {
    Server::start(move |head| {
        if head.contains(" /oauth/token ") {
            let token = json!({"access_token": ACCESS_TOKEN, "expires_in": 1799});
            return response(200, token.to_string());
        }
        if head.contains("type=receipt") {
            let link = format!("{storage}/f/1.json.gz?X-Amz-Signature={SIGNATURE}&X-Amz-Expires=9");
            let page = json!({
                "value": [{"url": link, "size": 90}], "@nextPage": "p2", "isCaughtUp": true
            });
            return response(200, page.to_string());
        }
        let message = format!(
            "not good: {}",
            header(head, "authorization").unwrap_or("nothing")
        );
        let fail = json!({"fail": [{"code": "err_echo", "message": message}]});
        response(400, fail.to_string())
    })
}

fn storage() -> Server {
    Server::start(|_| {
        let lines = "{\"type\":\"receipt\",\"aggregateId\":\"a\",\"timestamp\":1770000000000}\n{malformed\n";
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut encoder, lines.as_bytes()).unwrap();
        response(200, encoder.finish().unwrap())
    })
}

fn source_2_0(api: &Server, storage: &Server) -> String {
    let (api, storage) = (api.url(), storage.url());
    format!(
        "state_dir = \"state\"\n[[source]]\nname = \"acme\"\nallow = [\"{api}\", \"{storage}\"]\n\
         [source.settings]\nbase_url = \"{api}\"\nclient_id = \"id-1\"\n\
         client_secret = <{CLIENT_SECRET}>\nstreams = [\"siem.receipt\", \"audit\"]\n"
    )
}

#[test]
fn no_secret_of_api_2_0_or_of_a_receiver_leaves_the_process_but_to_whom_it_belongs() {
    let storage = storage();
    let api = mimecast(storage.url());
    let receivers =
        [(); 3].map(|()| Server::start(|_| response(200, "{\"text\":\"Success\",\"code\":0}")));
    let [bearer, password, splunk] = &receivers;
    let settings = format!(
        "{}[[output]]\ntype = \"http\"\nendpoint = \"{}\"\nbearer_token = <{BEARER}>\n\
         [[output]]\ntype = \"http\"\nendpoint = \"{}\"\nusername = \"u\"\npassword = <{PASSWORD}>\n\
         headers = {{ X-Key = <{HEADER}> }}\n\
         [[output]]\ntype = \"splunk\"\nendpoint = \"{}\"\ntoken = <{SPLUNK}>\n\
         [[output]]\ntype = \"file\"\npath = \"events.ndjson\"\n",
        source_2_0(&api, &storage),
        bearer.url(),
        password.url(),
        splunk.url(),
    );
    let fixture = SecretFixture::new(&settings);
    fixture.run(&["validate"]);
    let check = fixture.run(&["check"]);
    assert!(contains(&check.stdout, "err_echo"), "the echo is shown");
    fixture.run(&["describe", "--online"]);
    fixture.run_until(&["run"], &["err_echo", "polled"]);
    fixture.run_until(&["run", "--log-format", "json"], &["err_echo"]);
    let status = fixture.run(&["status", "--json"]);
    assert!(contains(&status.stdout, "err_echo"));
    fixture.run(&["status"]);
    fixture.run(&["migrate"]);
    fixture.assert_no_secret_in_files();
    for file in ["events.ndjson", "state/acme.rejected.ndjson"] {
        assert!(fixture.folder.path().join(file).exists(), "{file}");
    }

    let base64 = STANDARD_NO_PAD.encode(format!("u:{PASSWORD}"));
    for (place, server, own, sent) in [
        (
            "the API",
            &api,
            vec![CLIENT_SECRET, ACCESS_TOKEN],
            ACCESS_TOKEN,
        ),
        ("the storage", &storage, vec![SIGNATURE], SIGNATURE),
        ("the first receiver", bearer, vec![BEARER], BEARER),
        (
            "the second receiver",
            password,
            vec![PASSWORD, HEADER],
            base64.as_str(),
        ),
        ("the third receiver", splunk, vec![SPLUNK], SPLUNK),
    ] {
        let received = server.received();
        assert!(contains(&received, sent), "{place} was sent its own");
        assert_no_secret_except(&own, place, &received);
    }
}

#[test]
fn no_secret_is_in_reports_about_an_upstream_and_receivers_that_refuse_and_repeat_it() {
    let storage = storage();
    let refuses = |also: &'static str| {
        Server::start(move |head| {
            let credential = header(head, "authorization").unwrap_or("nothing");
            response(
                401,
                format!("{{\"error\":\"bad credential {credential} {also}\"}}"),
            )
        })
    };
    let api = refuses(CLIENT_SECRET);
    let output = "[[output]]\ntype = \"file\"\npath = \"events.ndjson\"\n";
    let refused = SecretFixture::new(&format!("{}{output}", source_2_0(&api, &storage)));
    for arguments in [&["check"][..], &["run", "--once"]] {
        let status = refused.run(arguments).status;
        assert_eq!(status.code(), Some(77), "{arguments:?}");
    }
    refused.run(&["status"]);
    refused.assert_no_secret_in_files();

    let api = mimecast(storage.url());
    // Each repeats the header, and one also what it has made of it.
    let receivers = ["", "", PASSWORD].map(refuses);
    let [bearer, splunk, password] = receivers.each_ref().map(Server::url);
    let silent = Server::start(|_| Vec::new());
    let address = silent.address;
    let user = "username = \"u\"";
    for (output, reason) in [
        (
            format!("type = \"http\"\nendpoint = \"{bearer}\"\nbearer_token = <{BEARER}>"),
            "output blocked",
        ),
        (
            format!("type = \"splunk\"\nendpoint = \"{splunk}\"\ntoken = <{SPLUNK}>"),
            "output blocked",
        ),
        (
            format!(
                "type = \"elasticsearch\"\nendpoint = \"{password}\"\nindex = \"i\"\n{user}\npassword = <{PASSWORD}>"
            ),
            "output blocked",
        ),
        (
            format!(
                "type = \"forward\"\naddress = \"{address}\"\nhandshake_timeout_secs = 1\nshared_key = <{SHARED_KEY}>\n{user}\npassword = <{FORWARD}>"
            ),
            "cannot deliver to",
        ),
        (
            format!(
                "type = \"nats\"\nservers = [\"nats://{address}\"]\nsubject = \"s\"\nack_timeout_secs = 1\ntoken = <{NATS}>"
            ),
            "cannot deliver to",
        ),
    ] {
        let settings = format!("{}[[output]]\n{output}\n", source_2_0(&api, &storage));
        let fixture = SecretFixture::new(&settings);
        fixture.run_until(&["run"], &[reason]);
        assert_no_secret_below(fixture.folder.path());
    }
    assert_no_secret_except(&[CLIENT_SECRET, ACCESS_TOKEN], "the API", &api.received());
    // It has not authenticated itself.
    assert_no_secret_except(&[], "a receiver that says nothing", &silent.received());
}

#[test]
fn no_key_of_api_1_0_leaves_the_process_but_the_one_that_names_the_account() {
    let api = Server::start(|head| {
        let authorization = header(head, "authorization").unwrap_or("nothing");
        if head.contains("get-siem-logs") {
            return response(
                200,
                "acc=C0|aCode=x|datetime=2026-02-02T06:00:00+0000\nno pairs\n",
            );
        }
        let fail = json!({"fail": [{"errors": [{"code": "err_echo", "message": authorization}]}]});
        response(400, fail.to_string())
    });
    let url = api.url();
    let settings = format!(
        "state_dir = \"state\"\n[[source]]\nname = \"acme\"\nallow = [\"{url}\"]\n\
         [source.settings]\napi = \"1.0\"\nbase_url = \"{url}\"\napp_id = \"app-1\"\n\
         app_key = <{APP_KEY}>\naccess_key = <{ACCESS_KEY}>\nsecret_key = <{SECRET_KEY}>\n\
         streams = [\"siem\", \"audit\"]\n[[output]]\ntype = \"file\"\npath = \"events.ndjson\"\n"
    );
    let fixture = SecretFixture::new(&settings);
    fixture.run(&["validate"]);
    fixture.run(&["check"]);
    fixture.run_until(&["run"], &["err_echo"]);
    fixture.run(&["status", "--json"]);
    let migrated = fixture.run(&["migrate"]);
    assert!(migrated.status.success());
    fixture.assert_no_secret_in_files();
    let received = api.received();
    assert!(contains(&received, ACCESS_KEY));
    assert_no_secret_except(&[ACCESS_KEY], "the API", &received);
}

#[test]
fn a_component_that_reports_its_settings_shows_no_secret() {
    let folder = TempDir::new().unwrap();
    let component = compile_broken(folder.path(), "reports settings");
    let settings = format!(
        "state_dir = \"state\"\n[[source]]\nname = \"acme\"\ncomponent = \"{}\"\n\
         [source.settings]\none = <{CLIENT_SECRET}>\ntwo = <{APP_KEY}>\n\
         [[output]]\ntype = \"file\"\npath = \"events.ndjson\"\n",
        component.display()
    );
    let fixture = SecretFixture::new(&settings);
    let log = fixture.run_until(&["run"], &["next try"]);
    assert!(log.contains("[redacted]"), "{log}");
    fixture.run(&["status", "--json"]);
    fixture.assert_no_secret_in_files();
}
