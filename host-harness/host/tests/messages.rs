//! What `validate` says of settings files that are wrong: every mistake at once, with file and line,
//! and what to write instead.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "tests may fail fast"
)]

use std::fs;
use std::path::Path;
use std::process::Command;

/// A settings file with mistakes, and every line that is printed of them.
struct Case {
    name: String,
    file: &'static str,
    settings: String,
    errors: Vec<String>,
}

fn case(name: impl Into<String>, settings: impl Into<String>, errors: &[&str]) -> Case {
    Case {
        name: name.into(),
        file: "host.toml",
        settings: settings.into(),
        errors: errors.iter().map(|error| (*error).to_owned()).collect(),
    }
}

const STDOUT: &str = "[[output]]\ntype = \"stdout\"\n";

/// A settings file with one source and one output. `keys` start at line 3; `settings` start at
/// line 6 if `keys` is empty.
fn source(keys: &str, settings: &str) -> String {
    with_output(keys, settings, STDOUT)
}

fn with_output(keys: &str, settings: &str, output: &str) -> String {
    format!(
        "[[source]]\nname = \"acme\"\n{keys}[source.settings]\nclient_id = \"id\"\n\
         client_secret = {{ file = \"good.secret\" }}\n{settings}{output}"
    )
}

/// An output in line 6.
fn output(output: &str) -> String {
    with_output("", "", &format!("[[output]]\n{output}\n"))
}

/// A source of API 1.0, with settings in line 9.
fn legacy(settings: &str) -> String {
    let key = "{ file = \"base64.secret\" }";
    format!(
        "[[source]]\nname = \"acme\"\n[source.settings]\napi = \"1.0\"\napp_id = \"a-b\"\n\
         app_key = {key}\naccess_key = {key}\nsecret_key = {key}\n{settings}\n{STDOUT}"
    )
}

/// What is there beside the settings file.
fn prepare(directory: &Path) {
    for (name, text) in [
        ("good.secret", "a-secret-of-some-length\n"),
        ("base64.secret", "c2VjcmV0LWtleQ==\n"),
        ("empty.secret", ""),
        ("blank.secret", "a-secret-of-some-length \n"),
        ("a-file", "x"),
        ("text.wasm", "hello"),
        ("text.pem", "hello"),
    ] {
        fs::write(directory.join(name), text).unwrap();
    }
    fs::write(directory.join("module.wasm"), b"\0asm\x01\0\0\0").unwrap();
    fs::create_dir(directory.join("a-directory")).unwrap();
}

/// What `validate` prints of a file: its exit code, its errors and its warnings.
fn validate(
    directory: &Path,
    file: &str,
    settings: &str,
) -> (Option<i32>, Vec<String>, Vec<String>) {
    fs::write(directory.join(file), settings).unwrap();
    let ended = Command::new(env!("CARGO_BIN_EXE_source-host"))
        .args(["validate", file])
        .current_dir(directory)
        .env("MESSAGES_EMPTY", "")
        .env("NO_COLOR", "1")
        .env_remove("MESSAGES_UNSET")
        .env_remove("HTTPS_PROXY")
        .env_remove("https_proxy")
        .output()
        .expect("the program is built");
    let text = String::from_utf8(ended.stderr).unwrap();
    let errors = text.lines().filter_map(|line| line.strip_prefix("error: "));
    let warnings = text
        .lines()
        .filter_map(|line| Some(line.split_once(" WARN ")?.1));
    (
        ended.status.code(),
        errors.map(str::to_owned).collect(),
        warnings.map(str::to_owned).collect(),
    )
}

/// Runs the cases, and reports all that differ.
fn assert_messages(cases: &[Case]) {
    let directory = tempfile::tempdir().unwrap();
    prepare(directory.path());
    let mut wrong = Vec::new();
    for case in cases {
        let (code, errors, _) = validate(directory.path(), case.file, &case.settings);
        if code != Some(78) || errors != case.errors {
            let (found, wanted) = (errors.join("\n  "), case.errors.join("\n  "));
            wrong.push(format!(
                "{} ({code:?}):\n  {found}\nwanted:\n  {wanted}",
                case.name
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn keys_and_words_are_named_with_the_nearest_right_one() {
    let settings = "host.toml:6: [source.settings] of `acme`:";
    assert_messages(&[
        case(
            "a key of the component",
            source("", "formatt = \"ecs\"\n"),
            &[&format!(
                "{settings} unknown key `formatt`; did you mean `format`?"
            )],
        ),
        case(
            "a stream",
            source("", "streams = [\"siem\", \"audti\"]\n"),
            &[&format!(
                "{settings} `streams` is \"audti\"; did you mean `audit`?"
            )],
        ),
        case(
            "a format that is like none",
            source("", "format = \"cef\"\n"),
            &[&format!(
                "{settings} `format` is \"cef\"; it must be one of: ecs, ocsf, raw"
            )],
        ),
        case(
            "a severity",
            source("", "severity_overrides = { \"siem.av\" = \"critcal\" }\n"),
            &[&format!(
                "{settings} `severity_overrides`: the severity of siem.av is one of informational, \
                 low, medium, high, critical, fatal or 1 to 6, and not \"critcal\""
            )],
        ),
        case(
            "a key of an output",
            output("type = \"file\"\npaht = \"x\""),
            &[
                "host.toml:6: [[output]]: `path` is missing",
                "host.toml:8: [[output]]: unknown key `paht`; did you mean `path`?",
            ],
        ),
        case(
            "a type of output",
            output("type = \"elastic\""),
            &["host.toml:7: [[output]]: `type` is `elastic`; did you mean `elasticsearch`?"],
        ),
        case(
            "a type of output that is like none",
            output("type = \"kafka\""),
            &[
                "host.toml:7: [[output]]: `type` is `kafka`; it must be one of: elasticsearch, file, \
               forward, http, nats, otlp, splunk, stdout",
            ],
        ),
        case(
            "a compression",
            output("type = \"file\"\npath = \"x\"\nrotate_mib = 1\ncompression = \"gzipp\""),
            &["host.toml:10: [[output]]: `compression` is \"gzipp\"; did you mean \"gzip\"?"],
        ),
        case(
            "a compression that is like none",
            output("type = \"http\"\nendpoint = \"http://a\"\ncompression = \"lz4\""),
            &[
                "host.toml:9: [[output]]: `compression` is \"lz4\"; it must be one of: none, gzip, zstd",
            ],
        ),
        case(
            "the name of an output",
            source("outputs = [\"stdot\"]\n", ""),
            &[
                "host.toml:3: `outputs` of source `acme`: there is no output `stdot`; did you mean \
               `stdout`?",
            ],
        ),
        case(
            "an output that there is not",
            source("outputs = [\"siem\"]\n", ""),
            &[
                "host.toml:3: `outputs` of source `acme`: there is no output `siem`; there are: stdout",
            ],
        ),
        case(
            "outputs that are no tables",
            format!(
                "output = 1\n{}",
                with_output("outputs = [\"siem\"]\n", "", "")
            ),
            &["host.toml:1: `output` must be written as [[output]], not a whole number"],
        ),
        case(
            "no output, and a source that names one",
            with_output("outputs = [\"siem\"]\n", "", ""),
            &[
                "host.toml: no [[output]]; for NDJSON on standard output write [[output]] and type = \
               \"stdout\"",
            ],
        ),
        case(
            "an output whose name is no string",
            with_output(
                "outputs = [\"siem\"]\n",
                "",
                "[[output]]\nname = 1\ntype = \"file\"\npath = \"a\"\n\
                 [[output]]\nname = \"file\"\ntype = \"file\"\npath = \"b\"\n",
            ),
            &[
                "host.toml:8: [[output]] number 1: `name` must be a string in quotes, not a whole number",
            ],
        ),
        case(
            "an output without a name whose type is no string",
            with_output("outputs = [\"file\"]\n", "", "[[output]]\ntype = 1\n"),
            &["host.toml:8: [[output]]: `type` must be a string in quotes, not a whole number"],
        ),
        case(
            "a table",
            format!("{}[dead_leter]\npath = \"x\"\n", source("", "")),
            &["host.toml:8: unknown key `dead_leter`; did you mean `dead_letter`?"],
        ),
        case(
            "one source where there can be several",
            source("", "").replace("[[source]]", "[source]"),
            &["host.toml:1: `source` must be written as [[source]], not a table"],
        ),
        case(
            "a setting of the component in the source",
            source("base_url = \"https://x\"\n", ""),
            &[
                "host.toml:3: [[source]] `acme`: unknown key `base_url`; settings of the \
               component belong below [source.settings]; the keys are: name, memory_mib, \
               poll_timeout_secs, outputs, renamed_from, allow, allow_only, proxy, max_events, \
               max_bytes, max_requests, component, ca_file, enabled, settings",
            ],
        ),
        case(
            "a placeholder",
            output("type = \"file\"\npath = \"{tenant}/{stream}.ndjson\""),
            &[
                "host.toml:8: [[output]]: `path` has `{tenant}`; it may have {kind}, {namespace}, \
               {source} and {stream}",
            ],
        ),
        case(
            "a placeholder of an index",
            output("type = \"splunk\"\nendpoint = \"https://a\"\nindex = \"mail-{day}\""),
            &[
                "host.toml:9: [[output]]: `index` has `{day}`; it may have {kind}, {namespace}, \
               {source} and {stream}",
            ],
        ),
        case(
            "a placeholder that has no end",
            output("type = \"nats\"\nservers = [\"nats://a\"]\nsubject = \"a.{stream\""),
            &["host.toml:9: [[output]]: `subject` has a `{` whose `}` is missing"],
        ),
    ]);
}

#[test]
fn wrong_types_and_ranges_say_what_is_right_with_an_example() {
    let settings = "host.toml:6: [source.settings] of `acme`:";
    assert_messages(&[
        case(
            "a text for a list",
            source("", "streams = \"audit\"\n"),
            &[&format!(
                "{settings} `streams` must be a list, such as [\"siem\"], not a string"
            )],
        ),
        case(
            "a number for a duration",
            source("", "overlap = 15\n"),
            &[&format!(
                "{settings} `overlap` must be a string in quotes, such as \"15m\", not a number"
            )],
        ),
        case(
            "a text for a switch",
            source("", "correlate = \"yes\"\n"),
            &[&format!(
                "{settings} `correlate` must be true or false, not a string"
            )],
        ),
        case(
            "a text for a number",
            source("", "siem_calls_per_15_min = \"many\"\n"),
            &[&format!(
                "{settings} `siem_calls_per_15_min` must be a number, such as 50, not a string"
            )],
        ),
        case(
            "a list for a table",
            source("", "severity_overrides = [\"siem.av\"]\n"),
            &[&format!(
                "{settings} `severity_overrides` must be a table, such as {{ name = \"value\" }}, \
                 not a list"
            )],
        ),
        case(
            "no quota",
            source("", "siem_calls_per_15_min = 0\n"),
            &[&format!(
                "{settings} `siem_calls_per_15_min`: must be at least 1"
            )],
        ),
        case(
            "no stream",
            source("", "streams = []\n"),
            &[&format!(
                "{settings} `streams`: is empty; leave it out to collect every stream"
            )],
        ),
        case(
            "a start in the future",
            source("", "start = \"2999-01-01T00:00:00Z\"\n"),
            &[&format!(
                "{settings} `start`: lies in the future; use a past time or a duration like \"24h\""
            )],
        ),
        case(
            "a start that is no time",
            source("", "start = \"yesterday\"\n"),
            &[&format!(
                "{settings} `start`: must be a duration like \"24h\" or a time like \
                 \"2026-01-31T00:00:00Z\""
            )],
        ),
        case(
            "a number outside its range",
            source("memory_mib = 0\npoll_timeout_secs = 100000\n", ""),
            &[
                "host.toml:3: [[source]] `acme`: `memory_mib` is 0; it must be from 1 to 4096",
                "host.toml:4: [[source]] `acme`: `poll_timeout_secs` is 100000; it must be from 1 \
                 to 86400",
            ],
        ),
        case(
            "a text for the switch of a source",
            source("enabled = \"no\"\n", ""),
            &["host.toml:3: [[source]] `acme`: `enabled` must be true or false, not a string"],
        ),
        case(
            "a duration of an output",
            output("type = \"http\"\nendpoint = \"http://a\"\ntimeout_secs = \"30s\""),
            &["host.toml:9: [[output]]: `timeout_secs` must be a whole number, not a string"],
        ),
        case(
            "a list for a path",
            source("ca_file = [\"a\"]\n", ""),
            &["host.toml:3: [[source]] `acme`: `ca_file` must be a string in quotes, not a list"],
        ),
        case(
            "one server for a list of them",
            output("type = \"nats\"\nservers = \"nats://a\""),
            &["host.toml:8: [[output]]: `servers` must be a list of strings, not a string"],
        ),
    ]);
}

#[test]
fn what_is_missing_or_there_twice_is_named() {
    assert_messages(&[
        case(
            "no name",
            source("", "").replace("name = \"acme\"\n", ""),
            &["host.toml:1: [[source]] number 1: `name` is missing"],
        ),
        case(
            "a name that is no file name",
            source("", "").replace("acme", "a/b"),
            &[
                "host.toml:2: [[source]] `a/b`: `name` may have letters, digits, `-`, `_` and `.` only, \
               as it names files; at most 100 characters, and no `.` as the first",
            ],
        ),
        case(
            "no output",
            with_output("", "", ""),
            &[
                "host.toml: no [[output]]; for NDJSON on standard output write [[output]] and type = \
               \"stdout\"",
            ],
        ),
        case(
            "no source",
            STDOUT,
            &[
                "host.toml: no [[source]]; a source needs a name and [source.settings], or \
               `sources_dir` names a directory with a file for each source",
            ],
        ),
        case(
            "two sources of one name",
            format!("{}{}", source("", ""), with_output("", "", "")),
            &[
                "host.toml:9: two sources are named `acme`; each has its own checkpoint and needs its \
               own name",
            ],
        ),
        case(
            "two outputs that write to standard output",
            format!("{}{STDOUT}", source("", "")),
            &["host.toml: two outputs of type `stdout`; what they write would be mixed"],
        ),
        case(
            "two outputs with one file",
            with_output(
                "",
                "",
                "[[output]]\ntype = \"file\"\npath = \"out/{source}\"\n\
                 [[output]]\ntype = \"file\"\npath = \"./out/acme\"\n",
            ),
            &[
                "host.toml:8: [[output]] number 1: `path` is out/{source}, which can be the file of \
               [[output]] number 2, for source `acme`; give each a file of its own",
            ],
        ),
        case(
            "no credentials",
            source("", "").replace("client_id = \"id\"\n", ""),
            &["host.toml:3: [source.settings] of `acme`: `client_id`: is missing"],
        ),
        case(
            "no type of output",
            output("path = \"x\""),
            &["host.toml:6: [[output]]: `type` is missing"],
        ),
        case(
            "no endpoint",
            output("type = \"splunk\"\ntoken = { file = \"good.secret\" }"),
            &["host.toml:6: [[output]]: `endpoint` is missing"],
        ),
        case(
            "no address",
            output("type = \"forward\""),
            &["host.toml:6: [[output]]: `address` is missing"],
        ),
        case(
            "a password without a name",
            output(
                "type = \"http\"\nendpoint = \"http://a\"\npassword = { file = \"good.secret\" }",
            ),
            &["host.toml:9: [[output]]: `password` needs username as well"],
        ),
        case(
            "compression of files that are never closed",
            output("type = \"file\"\npath = \"x\"\ncompression = \"gzip\""),
            &[
                "host.toml:9: [[output]]: `compression` applies to closed files; set rotate_mib or \
               rotate_hours as well",
            ],
        ),
    ]);
}

#[test]
fn secrets_and_hosts_are_refused_with_what_to_write() {
    let settings = "host.toml:5: [source.settings] of `acme`:";
    let at_6 = "host.toml:6: [source.settings] of `acme`:";
    let secret = |text: &str| source("", "").replace("{ file = \"good.secret\" }", text);
    assert_messages(&[
        case(
            "a secret's file that is missing",
            secret("{ file = \"nosuch.secret\" }"),
            &[&format!(
                "{settings} `client_secret` needs the file nosuch.secret, which cannot be read: No \
                 such file or directory (os error 2)"
            )],
        ),
        case(
            "a secret's file that is empty",
            secret("{ file = \"empty.secret\" }"),
            &[&format!(
                "{settings} `client_secret` needs the file empty.secret, which cannot be read: it \
                 is empty"
            )],
        ),
        case(
            "a variable that is not set",
            secret("{ env = \"MESSAGES_UNSET\" }"),
            &[&format!(
                "{settings} `client_secret` needs the environment variable MESSAGES_UNSET, which is \
                 not set"
            )],
        ),
        case(
            "a variable that is empty",
            secret("{ env = \"MESSAGES_EMPTY\" }"),
            &[&format!(
                "{settings} `client_secret` needs the environment variable MESSAGES_EMPTY, which is \
                 empty"
            )],
        ),
        case(
            "a variable as a shell has it",
            secret("\"${CLIENT_SECRET}\""),
            &[&format!(
                "{settings} `client_secret` is \"${{CLIENT_SECRET}}\", which is not expanded; write \
                 client_secret = {{ env = \"CLIENT_SECRET\" }}"
            )],
        ),
        case(
            "the same of an output",
            output("type = \"splunk\"\nendpoint = \"https://a\"\ntoken = \"${TOKEN}\""),
            &[
                "host.toml:9: [[output]]: `token` is \"${TOKEN}\", which is not expanded; write token \
               = { env = \"TOKEN\" }",
            ],
        ),
        case(
            "blanks around an id",
            source("", "").replace("\"id\"", "\" id \""),
            &[
                "host.toml:4: [source.settings] of `acme`: `client_id`: begins or ends with a space, or \
               contains a line break or another control character",
            ],
        ),
        case(
            "a blank after a secret",
            secret("{ file = \"blank.secret\" }"),
            &[&format!(
                "{settings} `client_secret`: begins or ends with a space, or contains a line break \
                 or another control character"
            )],
        ),
        case(
            "keys of both APIs",
            source("", "app_id = \"x\"\n"),
            &[&format!(
                "{at_6} `app_id`: belongs to API 1.0; remove it, or set api = \"1.0\""
            )],
        ),
        case(
            "a key that is not base64",
            legacy("email = \"a@example.com\"").replace(
                "secret_key = { file = \"base64.secret\" }",
                "secret_key = { file = \"good.secret\" }",
            ),
            &[
                "host.toml:8: [source.settings] of `acme`: `secret_key`: is not base64; copy it whole, \
               with the equals signs at its end",
            ],
        ),
        case(
            "API 1.0 with a host of API 2.0",
            legacy("base_url = \"https://eu-api.services.mimecast.com\""),
            &[
                "host.toml:9: [source.settings] of `acme`: `base_url`: is a host of API 2.0, and api is \
               \"1.0\"; write a host such as \"https://eu-api.mimecast.com\", or remove base_url and \
               set email",
            ],
        ),
        case(
            "API 2.0 with a host of API 1.0",
            source("", "base_url = \"eu-api.mimecast.com\"\n"),
            &[&format!(
                "{at_6} `base_url`: is a host of API 1.0, and api is \"2.0\"; remove base_url, or \
                 write \"https://api.services.mimecast.com\" or a host of your region; with keys of \
                 API 1.0, set api = \"1.0\""
            )],
        ),
        case(
            "a base_url with a path",
            source(
                "",
                "base_url = \"https://eu-api.services.mimecast.com/siem\"\n",
            ),
            &[&format!(
                "{at_6} `base_url`: must be an origin like \"https://api.services.mimecast.com\", \
                 without a path"
            )],
        ),
        case(
            "an origin that is not allowed",
            source("allow_only = [\"https://files.example.com\"]\n", ""),
            &[
                "host.toml:3: [[source]] `acme`: https://api.services.mimecast.com is not on the \
               allow-list of `acme`; write in its [[source]]: allow_only = \
               [\"https://files.example.com\", \"https://api.services.mimecast.com\"]",
            ],
        ),
        case(
            "an origin without a scheme",
            source("allow = [\"files.example.com\"]\n", ""),
            &[
                "host.toml:3: [[source]] `acme`: `allow`: `files.example.com` has no scheme; write \
               `https://files.example.com`",
            ],
        ),
        case(
            "an endpoint without a scheme",
            output("type = \"http\"\nendpoint = \"receiver:8080\""),
            &["host.toml:8: [[output]]: `endpoint` must begin with http:// or https:// and a host"],
        ),
        case(
            "credentials in an endpoint",
            output("type = \"http\"\nendpoint = \"http://ann:secret@receiver:8080\""),
            &[
                "host.toml:8: [[output]]: `endpoint` has credentials in it, which would be in logs; use \
               username and password",
            ],
        ),
        case(
            "an address without a port that is a number",
            output("type = \"forward\"\naddress = \"receiver:fluent\""),
            &[
                "host.toml:8: [[output]]: `address` is `receiver:fluent`; it must be host:port or \
               unix:/path/to/socket",
            ],
        ),
        case(
            "a server of another protocol",
            output("type = \"nats\"\nservers = [\"http://receiver:4222\"]"),
            &[
                "host.toml:8: [[output]]: `servers` has `http://receiver:4222`; write it as in \
               \"nats://127.0.0.1:4222\"",
            ],
        ),
        case(
            "a proxy of another protocol, once",
            format!("proxy = \"socks5://proxy:1080\"\n{}", source("", "")),
            &[
                "host.toml:1: `proxy` begins with socks5://; only HTTP proxies can be used, as in \
               `http://proxy.example.com:3128`",
            ],
        ),
        case(
            "a proxy without a port",
            source("proxy = \"http://proxy\"\n", ""),
            &[
                "host.toml:3: [[source]] `acme`: `proxy` has no port; write one, as in \
               `http://proxy.example.com:3128`",
            ],
        ),
    ]);
}

/// Of every table that may name files with certificates.
#[test]
fn files_with_certificates_are_looked_at() {
    let tables = [
        ("elasticsearch", "endpoint = \"https://a\""),
        ("forward", "address = \"a\"\ntls = true"),
        ("http", "endpoint = \"https://a\""),
        ("nats", "servers = [\"nats://a:4222\"]\nsubject = \"s\""),
        ("otlp", "endpoint = \"https://a\""),
        (
            "splunk",
            "endpoint = \"https://a\"\ntoken = \"a-token-of-some-length\"",
        ),
    ]
    .map(|(output_type, settings)| format!("[[output]]\ntype = \"{output_type}\"\n{settings}"));
    let of_output = |table: &String| (table.clone(), "[[output]]", with_output("", "", table));
    let mut tables: Vec<_> = tables.iter().map(of_output).collect();
    let dead_letter = "[dead_letter]\ntype = \"nats\"\nservers = [\"nats://a:4222\"]";
    let fleet = "[fleet]\nservers = [\"nats://a:4222\"]";
    tables.push((
        "dead_letter".to_owned(),
        "[dead_letter]",
        format!("{}{dead_letter}", source("", "")),
    ));
    tables.push(("fleet".to_owned(), "[fleet]", format!("{STDOUT}{fleet}")));
    let no_file = "No such file or directory (os error 2)";
    let mut cases = Vec::new();
    for (name, location, settings) in &tables {
        let line = settings.lines().count() + 1;
        let mut add = |line: usize, files: &str, reason: &str| {
            let error = format!("host.toml:{line}: {location}: {reason}");
            let settings = format!("{settings}\n{files}\n");
            cases.push((format!("{name}, {files}"), settings, error));
        };
        add(
            line,
            "ca_file = \"nosuch.pem\"",
            &format!("ca_file nosuch.pem: {no_file}"),
        );
        add(
            line,
            "ca_file = \"text.pem\"",
            "ca_file text.pem: no certificate in PEM form in it",
        );
        add(
            line + 1,
            "key_file = \"nosuch.key\"\ncert_file = \"nosuch.pem\"",
            &format!("cert_file nosuch.pem: {no_file}"),
        );
    }
    let admin = "[admin]\nlisten = \"127.0.0.1:0\"\n\
                 tls = { cert_file = \"nosuch.pem\", key_file = \"nosuch.key\" }\n";
    cases.push((
        "admin".to_owned(),
        format!("{admin}{}", source("", "")),
        format!("host.toml:3: [admin] tls: cert_file nosuch.pem: {no_file}"),
    ));
    let cases: Vec<Case> = cases
        .into_iter()
        .map(|(name, settings, error)| case(name, settings, &[&error]))
        .collect();
    assert_messages(&cases);
}

#[test]
fn files_and_directories_are_looked_at() {
    assert_messages(&[
        case(
            "a ca_file that is missing",
            source("ca_file = \"/nowhere/ca.pem\"\n", ""),
            &[
                "host.toml:3: [[source]] `acme`: ca_file /nowhere/ca.pem: No such file or directory (os \
               error 2)",
            ],
        ),
        case(
            "a ca_file without a certificate",
            source("ca_file = \"text.pem\"\n", ""),
            &["host.toml:3: [[source]] `acme`: ca_file text.pem: no certificate in PEM form in it"],
        ),
        case(
            "a ca_file of an output",
            output("type = \"http\"\nendpoint = \"https://a\"\nca_file = \"nosuch.pem\""),
            &[
                "host.toml:9: [[output]]: ca_file nosuch.pem: No such file or directory (os error 2)",
            ],
        ),
        case(
            "a certificate without its key",
            output("type = \"http\"\nendpoint = \"https://a\"\ncert_file = \"a.pem\""),
            &["host.toml:9: [[output]]: `cert_file` needs key_file as well"],
        ),
        case(
            "a component that is missing",
            source("component = \"nosuch.wasm\"\n", ""),
            &[
                "host.toml:3: [[source]] `acme`: component nosuch.wasm: No such file or directory (os \
               error 2)",
            ],
        ),
        case(
            "a component that is a text",
            source("component = \"text.wasm\"\n", ""),
            &[
                "host.toml:3: [[source]] `acme`: component text.wasm: it is not a WebAssembly component",
            ],
        ),
        case(
            "a component that is a module",
            source("component = \"module.wasm\"\n", ""),
            &[
                "host.toml:3: [[source]] `acme`: component module.wasm: it is a core module and not a \
               component; build it for wasm32-wasip2",
            ],
        ),
        case(
            "an output in a directory that nobody made",
            output("type = \"file\"\npath = \"/nowhere/events.ndjson\""),
            &[
                "host.toml:8: [[output]]: path /nowhere/events.ndjson: its first directory does not \
               exist; make it, or correct the path",
            ],
        ),
        case(
            "the same of a template",
            output("type = \"file\"\npath = \"/nowhere/{source}.ndjson\""),
            &[
                "host.toml:8: [[output]]: path /nowhere/: its first directory does not exist; make it, \
               or correct the path",
            ],
        ),
        case(
            "an output that is a directory",
            output("type = \"file\"\npath = \"a-directory\""),
            &[
                "host.toml:8: [[output]]: path a-directory: Is a directory (os error 21); name a file in \
               that directory",
            ],
        ),
        case(
            "an output below a file",
            output("type = \"file\"\npath = \"a-file/events.ndjson\""),
            &[
                "host.toml:8: [[output]]: path a-file/events.ndjson: Not a directory (os error 20); part of the path is a \
               file, not a directory: choose another path in the settings file",
            ],
        ),
        case(
            "a state directory that is a file",
            format!("state_dir = \"a-file\"\n{}", source("", "")),
            &["host.toml:1: `state_dir` is a-file, which is a file; name a directory"],
        ),
        case(
            "a directory of sources that is not there",
            format!("sources_dir = \"nosuch\"\n{}", source("", "")),
            &[
                "host.toml: `sources_dir` is nosuch, which cannot be read: No such file or directory \
               (os error 2)",
            ],
        ),
    ]);
}

#[test]
fn what_is_not_toml_is_told_by_line_and_column() {
    let yaml = Case {
        file: "host.yaml",
        ..case(
            "YAML",
            "sources:\n  - name: acme\n",
            &["host.yaml is not TOML; the settings file is TOML, as in docs/settings.md"],
        )
    };
    assert_messages(&[
        yaml,
        case(
            "a text without quotes",
            source("", "format = ecs\n"),
            &["host.toml:6: column 10: string values must be quoted, expected literal string"],
        ),
        case(
            "a key twice",
            source("", "format = \"ecs\"\nformat = \"raw\"\n"),
            &["host.toml:7: column 1: duplicate key"],
        ),
    ]);
}

#[test]
fn every_mistake_is_reported_at_once() {
    let settings = "state_dri = \"x\"\n[[source]]\nname = \"acme\"\nmemory_mib = \"much\"\n\
                    ca_fiel = \"x\"\n[source.settings]\nclient_id = \"id\"\n\
                    [[output]]\ntype = \"http\"\nendpoint = \"receiver\"\nformat = \"csv\"\n\
                    timeout_secs = 0\nheadres = {}\n\
                    [[output]]\ntype = \"file\"\npath = \"{x}\"\nkeep = \"all\"\n\
                    [admin]\nlisten = \"9600\"\n";
    let component = "client_id = \" id\"\nformatt = \"ecs\"\nstreams = \"audit\"\noverlap = 15\n";
    assert_messages(&[
        case(
            "in every table",
            settings,
            &[
                "host.toml:1: unknown key `state_dri`; did you mean `state_dir`?",
                "host.toml:4: [[source]] `acme`: `memory_mib` must be a whole number, not a string",
                "host.toml:5: [[source]] `acme`: unknown key `ca_fiel`; did you mean `ca_file`?",
                "host.toml:11: [[output]] number 1: `format` is \"csv\"; it must be one of: array, \
                 ndjson",
                "host.toml:10: [[output]] number 1: `endpoint` must begin with http:// or https:// and \
                 a host",
                "host.toml:12: [[output]] number 1: `timeout_secs` is 0; it must be from 1 to 3600",
                "host.toml:13: [[output]] number 1: unknown key `headres`; did you mean `headers`?",
                "host.toml:16: [[output]] number 2: `path` has `{x}`; it may have {kind}, {namespace}, \
                 {source} and {stream}",
                "host.toml:17: [[output]] number 2: `keep` must be a whole number, not a string",
                "host.toml:19: [admin]: `listen` is \"9600\"; it must be an IP address and a port, such \
                 as 127.0.0.1:9600",
            ],
        ),
        case(
            "in the settings of the component",
            with_output("", "", STDOUT).replace("client_id = \"id\"\n", component),
            &[
                "host.toml:5: [source.settings] of `acme`: unknown key `formatt`; did you mean `format`?",
                "host.toml:6: [source.settings] of `acme`: `streams` must be a list, such as [\"siem\"], \
                 not a string",
                "host.toml:7: [source.settings] of `acme`: `overlap` must be a string in quotes, such as \
                 \"15m\", not a number",
            ],
        ),
        case(
            "in names of sources",
            format!(
                "[[source]]\nname = \"one\"\nrenamed_from = \"two\"\n[[source]]\nname = \"two\"\n\
                 renamed_from = \"one\"\n{STDOUT}{STDOUT}"
            ),
            &[
                "host.toml: two outputs of type `stdout`; what they write would be mixed",
                "host.toml: source `one`: `renamed_from` is `two`, which is a source too; remove that \
                 one, or leave `renamed_from` out",
                "host.toml: source `two`: `renamed_from` is `one`, which is a source too; remove that \
                 one, or leave `renamed_from` out",
            ],
        ),
        case(
            "in the logins and the TLS of outputs",
            with_output(
                "",
                "",
                "[[output]]\ntype = \"stdout\"\nmax_line_bytes = \"x\"\nfoo = 1\n\
                 [[output]]\ntype = \"http\"\nendpoint = \"http://a\"\nusername = 1\n\
                 password = 2\nbearer_token = 3\n\
                 [[output]]\ntype = \"nats\"\nservers = [\"nats://a\"]\ntoken = 1\n\
                 username = 2\npassword = 3\n\
                 [[output]]\ntype = \"forward\"\naddress = \"a:1\"\nshared_key = 1\nusername = 2\n\
                 password = 3\nhostname = 4\ntls = \"yes\"\nserver_name = 5\nca_file = 6\n",
            ),
            &[
                "host.toml:8: [[output]] number 1: `max_line_bytes` must be a whole number, not a string",
                "host.toml:9: [[output]] number 1: unknown key `foo`; the keys are: name, type, max_line_bytes",
                "host.toml:13: [[output]] number 2: `username` must be a string in quotes, \
                 not a whole number",
                "host.toml:14: [[output]] number 2: `password` must be a string, { env = \"..\" } or { file = \"..\" }, \
                 not a whole number",
                "host.toml:15: [[output]] number 2: `bearer_token` must be a string, { env = \"..\" } or { file = \"..\" }, \
                 not a whole number",
                "host.toml:19: [[output]] number 3: `token` must be a string, { env = \"..\" } or { file = \"..\" }, \
                 not a whole number",
                "host.toml:20: [[output]] number 3: `username` must be a string in quotes, \
                 not a whole number",
                "host.toml:21: [[output]] number 3: `password` must be a string, { env = \"..\" } or { file = \"..\" }, \
                 not a whole number",
                "host.toml:25: [[output]] number 4: `shared_key` must be a string, { env = \"..\" } or { file = \"..\" }, \
                 not a whole number",
                "host.toml:26: [[output]] number 4: `username` must be a string in quotes, \
                 not a whole number",
                "host.toml:27: [[output]] number 4: `password` must be a string, { env = \"..\" } or { file = \"..\" }, \
                 not a whole number",
                "host.toml:28: [[output]] number 4: `hostname` must be a string in quotes, \
                 not a whole number",
                "host.toml:29: [[output]] number 4: `tls` must be true or false, not a string",
                "host.toml:30: [[output]] number 4: `server_name` must be a string in quotes, \
                 not a whole number",
                "host.toml:31: [[output]] number 4: `ca_file` must be a string in quotes, \
                 not a whole number",
            ],
        ),
        case(
            "in two keys that belong together",
            source("allow = \"a\"\nallow_only = \"b\"\n", ""),
            &[
                "host.toml:3: [[source]] `acme`: `allow` must be a list of strings, not a string",
                "host.toml:4: [[source]] `acme`: `allow_only` must be a list of strings, not a string",
            ],
        ),
        case(
            "that only the component finds",
            source("", "overlap = \"2 days\"\nstart = \"soon\"\nstreams = []\n"),
            &[
                "host.toml:8: [source.settings] of `acme`: `streams`: is empty; leave it out to collect \
                 every stream",
                "host.toml:7: [source.settings] of `acme`: `start`: must be a duration like \"24h\" or a \
                 time like \"2026-01-31T00:00:00Z\"",
                "host.toml:6: [source.settings] of `acme`: `overlap`: must be a duration of at most 24h, \
                 like \"15m\"",
            ],
        ),
    ]);
}

#[test]
fn secrets_in_the_file_are_one_warning_and_good_files_have_none() {
    let directory = tempfile::tempdir().unwrap();
    prepare(directory.path());
    let literal = legacy("email = \"a@example.com\"")
        .replace("{ file = \"base64.secret\" }", "\"c2VjcmV0LWtleQ==\"");
    let (code, errors, warnings) = validate(directory.path(), "host.toml", &literal);
    assert_eq!((code, errors), (Some(0), Vec::new()));
    assert_eq!(
        warnings,
        [
            "host.toml:6: [source.settings] of `acme`: `app_key`, `access_key` and `secret_key` are \
             in plain text in the file; better: { env = \"..\" } or { file = \"..\" } for each"
        ]
    );
    for good in [
        source("", "base_url = \"eu-api.services.mimecast.com\"\n"),
        legacy("base_url = \"eu-api.mimecast.com\""),
        source("proxy = \"http://ann:secret@proxy:3128\"\n", ""),
        format!(
            "proxy = \"proxy:3128\"\n{}",
            source("proxy = \"none\"\n", "")
        ),
        output("type = \"file\"\npath = \"out/{source}/{stream}-{kind}.ndjson\""),
        output("type = \"splunk\"\nendpoint = \"https://a\"\nindex = \"mail-{source}\""),
    ] {
        let (code, errors, warnings) = validate(directory.path(), "host.toml", &good);
        assert_eq!(
            (code, errors, warnings),
            (Some(0), Vec::new(), Vec::new()),
            "{good}"
        );
    }
}

/// Returns the exit code of a run with these settings, and what it writes to standard error at this
/// level of the log.
fn run(settings: &str, level: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let directory = tempfile::tempdir().unwrap();
    prepare(directory.path());
    fs::write(directory.path().join("host.toml"), settings).unwrap();
    let ended = Command::new(env!("CARGO_BIN_EXE_source-host"))
        .args(arguments)
        .args(["run", "--once", "host.toml"])
        .current_dir(directory.path())
        .env("SOURCE_HOST_LOG", level)
        .output()
        .expect("the program is built");
    (
        ended.status.code(),
        String::from_utf8(ended.stderr).unwrap(),
    )
}

#[test]
fn the_reason_of_an_exit_is_on_standard_error_at_every_level_of_the_log() {
    let bad_key = "unknown key `stat_dir`; did you mean `state_dir`?";
    let not_a_component = "text.wasm: ";
    let json = ["--log-format", "json"];
    for (settings, reason) in [
        ("stat_dir = \"x\"\n", bad_key),
        (&source("component = \"text.wasm\"\n", ""), not_a_component),
    ] {
        for level in [
            "off",
            "source_runtime::outgoing=debug",
            "source_host=off,info",
            "error",
        ] {
            for arguments in [&json[..], &["--log-format", "text"]] {
                let (code, stderr) = run(settings, level, arguments);
                assert_eq!(code, Some(78), "{stderr}");
                let lines = stderr.lines().filter(|line| line.contains(reason));
                assert_eq!(lines.count(), 1, "{level} {arguments:?}: {stderr}");
            }
        }
    }
    // For what reads the log, where that is possible.
    let (_, stderr) = run("stat_dir = \"x\"\n", "error", &json);
    for line in stderr.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["level"], "ERROR");
    }
}
