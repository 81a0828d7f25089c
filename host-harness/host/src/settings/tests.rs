//! Every way a settings file can be wrong, and the line that says so.

use std::path::Path;

use super::*;

const SCHEMA: &str = r#"{
  "type": "object",
  "required": ["client_id"],
  "additionalProperties": false,
  "properties": {
    "client_id": { "type": "string" },
    "client_secret": { "type": "string", "writeOnly": true },
    "base_url": { "type": "string", "format": "origin" },
    "streams": { "type": "array", "items": { "type": "string", "enum": ["siem", "audit"] } },
    "format": { "type": "string", "enum": ["ecs", "ocsf", "raw"] },
    "calls": { "type": "integer" }
  }
}"#;

fn message(text: &str) -> String {
    let failure = Settings::parse(text, Path::new("dir/m.toml")).unwrap_err();
    assert_eq!(failure.exit.code(), 78);
    failure.message
}

fn resolved(settings: &str) -> Result<ResolvedSettings, Failure> {
    let table = SettingsTable {
        table: parse_table(settings),
        lines: KeyLineNumbers::parse(settings),
        ..SettingsTable::default()
    };
    let env = |name: &str| (name == "SET").then(|| "from-the-environment".to_owned());
    resolve(Path::new("m.toml"), "acme", &table, SCHEMA, &env)
}

fn parse_table(text: &str) -> toml::Table {
    text.parse().unwrap()
}

fn resolve_message(settings: &str) -> String {
    let failure = resolved(settings).unwrap_err();
    assert_eq!(failure.exit.code(), 78);
    failure.message
}

const GOOD: &str = "[[source]]\nname = \"acme\"\n[[output]]\ntype = \"stdout\"\n";

#[test]
fn the_least_file_has_a_source_and_an_output() {
    let settings = Settings::parse(GOOD, Path::new("dir/m.toml")).unwrap();
    assert_eq!(settings.state_dir, Path::new("dir/state"));
    assert_eq!(settings.sources.len(), 1);
    assert_eq!(settings.outputs.len(), 1);
    assert_eq!(settings.sources[0].memory_bytes_max, 64 * 1024 * 1024);
    assert_eq!(settings.sources[0].limits.max_events, 1_000);
}

#[test]
fn a_syntax_error_names_its_line() {
    let text = message("state_dir = \"x\"\n\nname = ");
    assert!(text.starts_with("dir/m.toml:3: "), "{text}");
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_name() {
    assert_eq!(
        message(&format!("state_dri = \"x\"\n{GOOD}")),
        "dir/m.toml:1: unknown key `state_dri`; did you mean `state_dir`?"
    );
    assert_eq!(
        message("[[source]]\nname = \"acme\"\nalow = []\n[[output]]\ntype = \"stdout\"\n"),
        "dir/m.toml:3: [[source]] `acme`: unknown key `alow`; did you mean `allow`?"
    );
    assert_eq!(
        message(
            "[[source]]\nname = \"a\"\n[[output]]\ntype = \"file\"\npaht = \"x\"\npath = \"y\"\n"
        ),
        "dir/m.toml:5: [[output]]: unknown key `paht`; did you mean `path`?"
    );
    assert_eq!(
        message(&format!("{GOOD}[dead_letter]\nfile = \"x\"\n")),
        "dir/m.toml:6: [dead_letter]: unknown key `file`; the keys are: type, path"
    );
}

#[test]
fn an_output_has_another_name_than_that_of_the_rejected_records() {
    let text = |more: &str| {
        format!(
            "[[source]]\nname = \"a\"\n[[output]]\nname = \"dead_letter\"\ntype = \"stdout\"\n\
             [dead_letter]\n{more}path = \"x\"\n"
        )
    };
    assert_eq!(
        message(&text("type = \"file\"\n")),
        "dir/m.toml:4: [[output]]: `name` is `dead_letter`, which is the name of the output of \
         [dead_letter]; give it another name"
    );
    Settings::parse(&text(""), Path::new("dir/m.toml")).unwrap();
}

#[test]
fn every_mistake_is_reported_with_its_line() {
    let text = "state_dri = \"x\"\n[[source]]\nname = \"a\"\nmemory_mib = 0\n\
                [[source]]\nalow = []\nname = \"b\"\nallov = []\n\
                [[source]]\n[[output]]\ntype = \"stdot\"\n\
                [[output]]\ntype = \"file\"\n[dead_letter]\npath = 1\n";
    let message = message(text);
    let places: Vec<&str> = message
        .lines()
        .map(|line| line.split_once(": ").unwrap().0)
        .collect();
    let lines = [1, 4, 6, 8, 9, 11, 12, 15];
    let expected = lines.map(|line| format!("dir/m.toml:{line}"));
    assert_eq!(places, expected, "{message}");
}

#[test]
fn an_unknown_type_of_output_is_refused_with_the_nearest_name() {
    let text = message("[[source]]\nname = \"a\"\n[[output]]\ntype = \"stdot\"\n");
    assert!(
        text.contains("`type` is `stdot`; did you mean `stdout`?"),
        "{text}"
    );
}

#[test]
fn a_file_without_a_source_or_an_output_is_refused() {
    assert!(message("state_dir = \"x\"").contains("no [[source]]"));
    assert!(message("[[source]]\nname = \"a\"").contains("no [[output]]"));
}

#[test]
fn sources_need_different_names_that_can_name_files() {
    assert!(message(&format!("{GOOD}[[source]]\nname = \"acme\"\n")).contains("two sources"));
    assert!(message("[[source]]\nname = \"../x\"\n").contains("`name` may have letters"));
    assert!(message("[[source]]\nname = \"\"\n").contains("`name` may have letters"));
    assert!(message("[[source]]\n").contains("[[source]] number 1: `name` is missing"));
}

#[test]
fn a_value_of_the_wrong_type_or_size_is_refused() {
    assert!(
        message("[[source]]\nname = 1\n")
            .contains("`name` must be a string in quotes, not a whole number")
    );
    assert!(message("[source]\nname = \"a\"\n").contains("`source` must be written as [[source]]"));
    let text = message("[[source]]\nname = \"a\"\nmemory_mib = 0\n");
    assert!(
        text.contains("`memory_mib` is 0; it must be from 1 to 4096"),
        "{text}"
    );
    assert!(message("[[source]]\nname = \"a\"\nallow = [1]\n").contains("a list of strings"));
}

#[test]
fn an_unknown_setting_is_refused_with_the_nearest_name() {
    assert_eq!(
        resolve_message("client_id = \"a\"\nclient_secert = \"b\""),
        "m.toml:2: [source.settings] of `acme`: unknown key `client_secert`; did you mean `client_secret`?"
    );
}

#[test]
fn a_missing_setting_is_named() {
    assert_eq!(
        resolve_message("format = \"ecs\""),
        "m.toml: [source.settings] of `acme`: `client_id` is missing"
    );
}

#[test]
fn a_setting_of_the_wrong_type_or_choice_is_refused() {
    assert!(
        resolve_message("client_id = 1")
            .contains("`client_id` must be a string in quotes, not a number")
    );
    let text = resolve_message("client_id = \"a\"\nformat = \"esc\"");
    assert!(
        text.contains("`format` is \"esc\"; did you mean `ecs`?"),
        "{text}"
    );
    let text = resolve_message("client_id = \"a\"\nstreams = [\"siem\", \"x\"]");
    assert!(
        text.contains("`streams` is \"x\"; it must be one of: siem, audit"),
        "{text}"
    );
}

#[test]
fn a_missing_variable_is_named_and_its_key_too() {
    assert_eq!(
        resolve_message("client_id = \"a\"\nclient_secret = { env = \"UNSET\" }"),
        "m.toml:2: [source.settings] of `acme`: `client_secret` needs the environment variable UNSET, which is not set"
    );
}

#[test]
fn an_unreadable_or_empty_file_is_named_and_its_key_too() {
    let text = resolve_message("client_id = \"a\"\nclient_secret = { file = \"/nowhere/secret\" }");
    assert!(
        text.contains("`client_secret` needs the file /nowhere/secret, which cannot be read"),
        "{text}"
    );

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("empty");
    fs::write(&path, "\n").unwrap();
    let settings = format!(
        "client_id = \"a\"\nclient_secret = {{ file = \"{}\" }}",
        path.display()
    );
    assert!(resolve_message(&settings).contains("it is empty"));
}

#[test]
fn any_setting_may_be_kept_elsewhere() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("secret");
    fs::write(&path, "from-a-file\r\n").unwrap();
    let settings = format!(
        "client_id = {{ env = \"SET\" }}\nclient_secret = {{ file = \"{}\" }}",
        path.display()
    );
    let resolved = resolved(&settings).unwrap();
    assert_eq!(
        resolved.json.expose(),
        r#"{"client_id":"from-the-environment","client_secret":"from-a-file"}"#
    );
    assert!(resolved.warnings.is_empty());
    assert_eq!(resolved.redactor.redact("x from-a-file"), "x [redacted]");
    assert!(!format!("{resolved:?}").contains("from-a-file"));
}

#[test]
fn the_name_of_the_source_is_the_tenant_where_the_component_has_one_and_none_is_set() {
    let schema = r#"{"properties":{"tenant":{"type":"string"}}}"#;
    let tenant = |settings: &str| {
        let table = SettingsTable {
            table: parse_table(settings),
            lines: KeyLineNumbers::default(),
            ..SettingsTable::default()
        };
        let resolved = resolve(Path::new("m.toml"), "acme", &table, schema, &|_| None);
        resolved.unwrap().json.expose().to_owned()
    };
    assert_eq!(tenant(""), r#"{"tenant":"acme"}"#);
    assert_eq!(tenant("tenant = \"other\""), r#"{"tenant":"other"}"#);
    assert_eq!(tenant("tenant = \"\""), r#"{"tenant":""}"#);
    let without = resolved("client_id = \"a\"").unwrap();
    assert!(!without.json.expose().contains("tenant"));
}

#[test]
fn a_number_may_be_kept_elsewhere_too() {
    let env = |_: &str| Some("50".to_owned());
    let table = SettingsTable {
        table: parse_table("client_id = \"a\"\ncalls = { env = \"N\" }"),
        lines: KeyLineNumbers::default(),
        ..SettingsTable::default()
    };
    let resolved = resolve(Path::new("m.toml"), "acme", &table, SCHEMA, &env).unwrap();
    assert_eq!(resolved.json.expose(), r#"{"calls":50,"client_id":"a"}"#);
}

#[test]
fn a_secret_written_out_is_accepted_with_a_warning_that_does_not_show_it() {
    let resolved = resolved("client_id = \"a\"\nclient_secret = \"hunter22\"").unwrap();
    assert_eq!(resolved.warnings.len(), 1);
    assert!(resolved.warnings[0].contains("`client_secret` is in plain text"));
    assert!(!resolved.warnings[0].contains("hunter22"));
    assert_eq!(resolved.redactor.redact("hunter22"), "[redacted]");
}

#[test]
fn outputs_have_names_by_which_sources_choose_them() {
    let parse = |outputs: &str, source: &str| {
        let text = format!("[[source]]\nname = \"a\"\n{source}\n{outputs}");
        Settings::parse(&text, Path::new("m.toml"))
    };
    let http = |name: &str| {
        format!("[[output]]\n{name}\ntype = \"http\"\nendpoint = \"http://127.0.0.1:1/\"\n")
    };
    let stdout = "[[output]]\ntype = \"stdout\"\n";
    let settings = parse(&(http("") + &http("name = \"siem\"") + stdout), "").unwrap();
    assert_eq!(settings.output_names(), ["http", "siem", "stdout"]);
    assert!(settings.sources[0].uses_output("siem"), "all by default");
    let settings = parse(&(http("") + &http("") + stdout), "outputs = [\"http-2\"]").unwrap();
    assert_eq!(settings.output_names(), ["http-1", "http-2", "stdout"]);
    let source = &settings.sources[0];
    assert!(source.uses_output("http-2") && !source.uses_output("stdout"));
    for (outputs, source, reason) in [
        (
            stdout.to_owned(),
            "outputs = [\"stdot\"]",
            "m.toml:3: `outputs` of source `a`: there is no output `stdot`; did you mean `stdout`?",
        ),
        (
            http("name = \"a\"") + &http("name = \"a\""),
            "",
            "`name` is `a`, which is the name of another output",
        ),
        (
            http("name = \"http\"") + &http(""),
            "",
            "`name` is `http`, which is the name of another output",
        ),
        (http("name = \"a/b\""), "", "`name` may have letters"),
    ] {
        let failure = parse(&outputs, source).unwrap_err();
        assert!(failure.message.contains(reason), "{failure}");
    }
}

#[test]
fn settings_that_run_the_same_are_distinguished_from_others() {
    let parse = |text: &str| {
        let text = format!("[[source]]\nname = \"a\"\n{text}\n[[output]]\ntype = \"stdout\"\n");
        Settings::parse(&text, Path::new("m.toml")).unwrap()
    };
    let plain = parse("[source.settings]\nx = 1");
    let same = parse("# comment\nenabled = false\n[source.settings]\nx = 1");
    assert!(plain.sources[0].is_equivalent(&same.sources[0]));
    for text in [
        "[source.settings]\nx = 2",
        "max_events = 5\n[source.settings]\nx = 1",
        "outputs = [\"stdout\"]\n[source.settings]\nx = 1",
        "allow = [\"https://a.example\"]\n[source.settings]\nx = 1",
    ] {
        assert!(
            !plain.sources[0].is_equivalent(&parse(text).sources[0]),
            "{text}"
        );
    }
    assert_eq!(
        plain.restart_only.changed_keys(&same.restart_only),
        Vec::<String>::new()
    );
    let text =
        "state_dir = \"s\"\n[[source]]\nname = \"a\"\n[[output]]\ntype = \"stdout\"\nx = 1\n";
    let text = text.replace("x = 1\n", "");
    let other = Settings::parse(&text, Path::new("m.toml")).unwrap();
    assert_eq!(
        plain.restart_only.changed_keys(&other.restart_only),
        ["state_dir"]
    );
}

#[test]
fn settings_may_be_as_long_as_the_contract_allows() {
    // {"client_id":"…"}
    let settings = |length: usize| format!("client_id = \"{}\"", "a".repeat(length - 16));
    let longest = resolved(&settings(256 * 1024)).unwrap();
    assert_eq!(longest.json.expose().len(), 256 * 1024);
    let message = resolve_message(&settings(256 * 1024 + 1));
    assert!(
        message.starts_with("m.toml: [source.settings] of `acme`: the settings take 262145 bytes"),
        "{message}"
    );
}

/// As for a user who has neither the environment of the service nor its files.
#[test]
fn what_the_host_alone_can_resolve_is_left_out_for_a_command_about_sources() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("m.toml");
    let text = "proxy = { file = \"none.url\" }\nsources_dir = \"sources\"\n\
                [[source]]\nname = \"acme\"\nproxy = { env = \"NO_SUCH_VARIABLE_8\" }\n\
                [source.settings]\nclient_secret = { env = \"NO_SUCH_VARIABLE_8\" }\n\
                [[output]]\ntype = \"splunk\"\nendpoint = \"https://127.0.0.1:8088\"\n\
                token = { env = \"NO_SUCH_VARIABLE_8\" }\n\
                [[output]]\nname = \"files\"\ntype = \"file\"\npath = \"events.ndjson\"\n\
                [dead_letter]\ntype = \"splunk\"\nendpoint = \"https://127.0.0.1:8088\"\n\
                token = { env = \"NO_SUCH_VARIABLE_8\" }\n\
                [admin]\nlisten = \"127.0.0.1:9600\"\ntoken = { file = \"none.token\" }\n";
    fs::write(&file, text).unwrap();
    fs::create_dir(directory.path().join("sources")).unwrap();
    let other = "outputs = [\"splunk\"]\nproxy = { env = \"NO_SUCH_VARIABLE_8\" }\n";
    fs::write(directory.path().join("sources/other.toml"), other).unwrap();
    // Relative to its own directory, where the file is.
    let third = "proxy = { file = \"proxy.url\" }\n";
    fs::write(directory.path().join("sources/third.toml"), third).unwrap();
    let url = "http://127.0.0.1:3128\n";
    fs::write(directory.path().join("sources/proxy.url"), url).unwrap();
    let faulty = "proxy = 3128\n";
    fs::write(directory.path().join("sources/faulty.toml"), faulty).unwrap();
    assert!(Settings::read(&file).is_err());
    let settings = Settings::read_omitting_unresolved(&file).unwrap();
    let names: Vec<&str> = settings.sources.iter().map(|s| s.name.as_str()).collect();
    let faulty = &settings.faulty_sources;
    assert_eq!(names, ["acme", "other", "third"], "{faulty:?}");
    let faulty: Vec<&str> = faulty.iter().map(|faulty| faulty.name.as_str()).collect();
    assert_eq!(faulty, ["faulty"]);
    let sources = settings.sources.iter();
    let with_proxy: Vec<bool> = sources.map(|source| source.proxy_file.is_some()).collect();
    assert_eq!(with_proxy, [false, false, true]);
    assert_eq!(settings.output_names(), ["splunk", "files"]);
    assert_eq!(settings.sources[0].component_settings.table.len(), 1);
    assert!(settings.admin.is_none() && settings.dead_letter.is_none());

    // Other mistakes are refused.
    fs::write(&file, format!("state_dri = \"x\"\n{text}")).unwrap();
    let failure = Settings::read_omitting_unresolved(&file).unwrap_err();
    assert!(failure.message.contains("`state_dri`"), "{failure}");

    // A fleet needs no source.
    let token = "token = { env = \"NO_SUCH_VARIABLE_8\" }";
    let fleet = format!(
        "[fleet]\nservers = [\"nats://127.0.0.1:4222\"]\n{token}\n[[output]]\ntype = \"stdout\"\n"
    );
    fs::write(&file, fleet).unwrap();
    assert!(Settings::read_omitting_unresolved(&file).is_ok());
}
