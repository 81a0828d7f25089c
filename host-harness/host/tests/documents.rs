//! The documentation is complete and leads nowhere that is not there: every message has its entry
//! in `docs/troubleshooting.md`, every relative link and anchor of the pages exists, and every block
//! of commands has a mark that says where it is tested, or that a person has to run it.

#![expect(
    clippy::unwrap_used,
    clippy::string_slice,
    reason = "a test may fail fast"
)]

#[path = "../../../tests/setup/machine_code.rs"]
mod machine_code;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The files below a folder whose names end so.
fn files(folder: &Path, extension: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            let name = path.file_name().unwrap();
            if name != "target" && name != "node_modules" && name != ".git" {
                files(&path, extension, found);
            }
        } else if path.extension().is_some_and(|end| end == extension) {
            found.push(path);
        }
    }
}

mod messages {
    //! The texts from which messages are made, as they stand in the code.

    /// Names that, followed by `(`, create an error or log one.
    const CONSTRUCTORS: [&str; 24] = [
        "AuthError::",
        "DeliveryError::",
        "Err",
        "Failure::failed",
        "Failure::settings",
        "Failure::unauthorized",
        "ForwardError::",
        "OutputError::",
        "PollError::",
        "SendError::",
        "SettingsError::",
        "StoreRejectedError::",
        "TransportError::",
        "Wait::",
        "blocked",
        "error_message",
        "error!",
        "failed",
        "failure",
        "action_required",
        "ok_or_else",
        "refuse",
        "warn!",
        ".error",
    ];
    const MESSAGE_VARIABLES: [&str; 4] = ["let hint", "let message", "let reason", "let why"];

    fn is_constructor(before: &str) -> bool {
        let is_part = |one: char| one.is_alphanumeric() || "_:!.".contains(one);
        let start = before.rfind(|one: char| !is_part(one)).map_or(0, |at| {
            at + before[at..].chars().next().map_or(0, char::len_utf8)
        });
        let name = &before[start..];
        CONSTRUCTORS.iter().any(|one| match one.strip_suffix("::") {
            Some(_) => name.split_inclusive("::").any(|part| part == *one),
            None if one.starts_with('.') => name.ends_with(one),
            None => name == *one || name.ends_with(&format!(".{one}")),
        })
    }

    /// The literals in errors and lines of the log of a file of Rust.
    pub(crate) fn extract(code: &str) -> Vec<String> {
        let code = code.split("#[cfg(test)]\nmod tests").next().unwrap_or(code);
        let mut found = Vec::new();
        // Whether each open bracket is that of a constructor.
        let mut open: Vec<bool> = Vec::new();
        // How deep the assignment to a variable is that holds a message.
        let mut assigned: Option<usize> = None;
        let mut rest = code;
        while let Some(next) = rest.chars().next() {
            let at = code.len() - rest.len();
            let before = &code[..at];
            let length = match next {
                '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
                '"' => {
                    let (text, length) = literal(rest);
                    if open.contains(&true) || assigned.is_some() {
                        found.push(text);
                    }
                    length
                }
                '\'' if rest.starts_with("'\\") => {
                    1 + rest[2..].find('\'').map_or(1, |end| end + 2)
                }
                '\'' if rest.chars().nth(2) == Some('\'') => rest
                    .char_indices()
                    .nth(3)
                    .map_or(rest.len(), |(end, _)| end),
                '(' | '[' | '{' => {
                    open.push(next == '(' && is_constructor(before));
                    1
                }
                ')' | ']' | '}' => {
                    open.pop();
                    1
                }
                ';' => {
                    if assigned.is_some_and(|depth| open.len() <= depth) {
                        assigned = None;
                    }
                    1
                }
                '=' if MESSAGE_VARIABLES
                    .iter()
                    .any(|one| before.trim_end().ends_with(one)) =>
                {
                    assigned = Some(open.len());
                    1
                }
                other => other.len_utf8(),
            };
            rest = &rest[length..];
        }
        found
    }

    /// A string literal, unescaped, and how long it is in the code.
    fn literal(rest: &str) -> (String, usize) {
        let mut text = String::new();
        let mut chars = rest.char_indices().skip(1);
        while let Some((at, one)) = chars.next() {
            match one {
                '"' => return (text, at + 1),
                '\\' => match chars.next().map(|(_, escaped)| escaped) {
                    Some('n') => text.push(' '),
                    // A line that goes on without the blanks before its text.
                    Some('\n') => {
                        let next = rest[at + 2..].find(|one: char| !one.is_whitespace());
                        for _ in 0..next.unwrap_or(0) {
                            chars.next();
                        }
                    }
                    Some(escaped) => text.push(escaped),
                    None => {}
                },
                one => text.push(one),
            }
        }
        (text, rest.len())
    }

    /// A text with `…` in place of what is filled in, without quotation marks.
    pub(crate) fn pattern(text: &str) -> String {
        let mut pattern = String::new();
        let mut depth = 0;
        for one in text.replace("{{", "{").replace("}}", "}").chars() {
            match one {
                '{' => {
                    if depth == 0 {
                        pattern.push('…');
                    }
                    depth += 1;
                }
                '}' => depth = (depth - 1).max(0),
                '`' => {}
                one if depth == 0 => pattern.push(one),
                _ => {}
            }
        }
        let words: Vec<&str> = pattern.split_whitespace().collect();
        let pattern = words.join(" ");
        let edge = |one: char| one.is_whitespace() || "…:;,(".contains(one);
        pattern.trim_matches(edge).to_owned()
    }
}

/// Files whose messages need no entry in `docs/troubleshooting.md`, each with the reason.
const NEEDS_NO_ENTRY: [(&str, &str); 21] = [
    (
        "outputs/src/otlp/any_value.rs",
        "ends the reading in one pass; the event is then read as a tree",
    ),
    (
        "host/src/admin/access.rs",
        "a response of the API, which says what to do",
    ),
    (
        "host/src/admin/response.rs",
        "a response of the API, which says what to do",
    ),
    (
        "host/src/admin/api.rs",
        "a response of the API, which says what to do",
    ),
    (
        "host/src/admin/editable_settings.rs",
        "a response of the API, which says what to do",
    ),
    (
        "host/src/source_file.rs",
        "a response of the API, which says what to do",
    ),
    ("host/src/cli.rs", "names the option of the command line"),
    ("host/src/command/status.rs", "`status` only"),
    ("host/src/report.rs", "`status` only"),
    (
        "src/decode/json.rs",
        "part of the reason of a rejected record",
    ),
    ("src/rewind.rs", "`reset` only, which says what to do"),
    (
        "host/src/command/reset.rs",
        "`reset` only, which says what to do",
    ),
    ("host/src/command/normalize.rs", "`normalize` only"),
    ("host/src/command/fields.rs", "`fields` only"),
    ("host/src/command/describe.rs", "`describe` only"),
    (
        "host/src/command/fleet.rs",
        "`fleet` only, which says what to do",
    ),
    ("host/src/command/migrate.rs", "`migrate` only"),
    (
        "host/src/command/export.rs",
        "what is written into a file of the user's choice",
    ),
    ("host/src/demo.rs", "`demo` only"),
    ("host/src/log.rs", "names the option of the command line"),
    (
        "src/checkpoint.rs",
        "the host adds what to do, which has its entry",
    ),
];

/// String literals in calls of `messages::CONSTRUCTORS` that are not messages.
const NOT_MESSAGES: [&str; 6] = [
    "a response of _bulk",
    "how a receiver of events accepts a request",
    "no poll was begun",
    "is not set here",
    "application/json, */*",
    "is not the end of a line",
];

#[test]
fn every_message_has_an_entry_in_troubleshooting() {
    let page = fs::read_to_string(root().join("docs/troubleshooting.md")).unwrap();
    let page = messages::pattern(&page.replace("\\|", "|"));
    let mut sources = Vec::new();
    for folder in ["src", "host-harness"] {
        files(&root().join(folder), "rs", &mut sources);
    }
    let (mut found, mut missing) = (0, BTreeSet::new());
    for path in sources {
        let name = path.strip_prefix(root()).unwrap().display().to_string();
        let is_product =
            !name.contains("test") && !name.contains("bench") && !name.contains("build.rs");
        if !is_product || NEEDS_NO_ENTRY.iter().any(|(file, _)| name.ends_with(file)) {
            continue;
        }
        for text in messages::extract(&fs::read_to_string(&path).unwrap()) {
            let pattern = messages::pattern(&text);
            if !pattern.contains(' ') || NOT_MESSAGES.iter().any(|one| pattern.contains(one)) {
                continue;
            }
            found += 1;
            if !page.contains(&pattern) {
                missing.insert(format!("{name}: {pattern}"));
            }
        }
    }
    assert!(found > 200, "only {found} messages were found");
    let missing: Vec<String> = missing.into_iter().collect();
    assert!(
        missing.is_empty(),
        "docs/troubleshooting.md has no entry for {} of {found} messages; add each to the row of its cause:\n{}",
        missing.len(),
        missing.join("\n")
    );
}

#[test]
fn every_reason_why_mimecast_cannot_be_reached_has_an_entry() {
    let page = fs::read_to_string(root().join("docs/troubleshooting.md")).unwrap();
    let code = fs::read_to_string(root().join("src/wasi/http.rs")).unwrap();
    let (_, reasons) = code.split_once("fn reason(").unwrap();
    let (reasons, _) = reasons.split_once("\n}\n").unwrap();
    let reasons: Vec<&str> = reasons.split('"').skip(1).step_by(2).collect();
    // Without the one that joins a reason and its detail.
    let is_reason = |text: &&&str| text.contains(' ') && !text.contains('{');
    let reasons: Vec<&&str> = reasons.iter().filter(is_reason).collect();
    assert!(reasons.len() > 15, "{reasons:?}");
    for reason in reasons {
        assert!(page.contains(*reason), "docs/troubleshooting.md: {reason}");
    }
}

#[test]
fn every_error_code_that_is_mapped_has_an_entry() {
    let page = fs::read_to_string(root().join("docs/troubleshooting.md")).unwrap();
    let page = page.to_lowercase();
    let code = fs::read_to_string(root().join("src/api/response_kind.rs")).unwrap();
    let (_, codes) = code.split_once("const CODES").unwrap();
    let (codes, _) = codes.split_once("];").unwrap();
    let codes: Vec<&str> = codes.split('"').skip(1).step_by(2).collect();
    assert!(codes.len() >= 15, "{codes:?}");
    for code in codes {
        assert!(page.contains(code), "docs/troubleshooting.md: {code}");
    }
    for remedy in literals_in_function(&code, "fn credentials_advice(") {
        let remedy = remedy.trim_start_matches("; ");
        assert!(
            page.contains(&remedy.to_lowercase()),
            "docs/troubleshooting.md: {remedy}"
        );
    }
}

/// Returns the literals of several words in a function.
fn literals_in_function<'a>(code: &'a str, function: &str) -> Vec<&'a str> {
    let (_, rest) = code.split_once(function).unwrap();
    let (body, _) = rest.split_once("\n}\n").unwrap();
    let literals = body.split('"').skip(1).step_by(2);
    literals.filter(|text| text.contains(' ')).collect()
}

#[test]
fn a_message_is_found_wherever_it_is_made() {
    let code = r#"
        fn one() -> Result<(), Failure> {
            // Err("a comment")
            let other = "no message at all";
            let reason = format!("is `{text}`; it must be \
                                  one of: {}", names.join(", "));
            Err(section.error("key of settings", &reason))?;
            warn!(output = %name, "the file was moved; next try in {seconds:.1} s");
            let character = '"';
            Err(Failure::failed("{}: cannot be read: {error}"))
        }
        #[cfg(test)]
mod tests { fn two() { Err("in a test") } }
    "#;
    let patterns: Vec<String> = messages::extract(code)
        .iter()
        .map(|text| messages::pattern(text))
        .filter(|pattern| pattern.contains(' '))
        .collect();
    let wanted = [
        "is …; it must be one of",
        "key of settings",
        "the file was moved; next try in … s",
        "cannot be read",
    ];
    assert_eq!(patterns, wanted);
}

/// Returns whether a page mentions a name as code.
fn mentions(page: &str, name: &str) -> bool {
    let is_part = |one: char| one.is_alphanumeric() || one == '_' || one == '-';
    let mut code = page.split('`').skip(1).step_by(2);
    code.any(|span| span.split(|one| !is_part(one)).any(|word| word == name))
}

#[test]
fn the_page_of_settings_names_every_setting_of_the_component() {
    let page = fs::read_to_string(root().join("docs/settings.md")).unwrap();
    let schema = fs::read_to_string(root().join("src/settings/schema.json")).unwrap();
    let schema: serde_json::Value = serde_json::from_str(&schema).unwrap();
    let properties = schema["properties"].as_object().unwrap();
    assert!(properties.len() > 20);
    for name in properties.keys() {
        let row = format!("`{name}`");
        let in_table = page
            .lines()
            .any(|line| line.starts_with('|') && line.split('|').nth(1).unwrap().contains(&row));
        assert!(in_table, "docs/settings.md has no row for {name}");
    }
}

/// Returns the names of the functions and closures of the code that read the key they are passed.
fn key_readers(code: &str) -> impl Iterator<Item = &str> {
    let functions = code.split("fn ").skip(1).filter(|function| {
        let signature = function.split('{').next().unwrap();
        signature.contains("key: &'static str")
    });
    let closures = code.split("let mut ").skip(1);
    let closures = closures.filter(|rest| {
        let (_, assigned) = rest.split_once(" = ").unwrap_or_default();
        assigned.starts_with("|key")
    });
    let is_part = |one: char| one.is_alphanumeric() || one == '_';
    functions
        .chain(closures)
        .map(move |rest| rest.split(|one| !is_part(one)).next().unwrap())
}

/// Returns the keys that calls of these readers pass: a literal or a constant, which may follow the
/// section.
fn keys_read<'a>(code: &'a str, readers: &BTreeSet<&str>) -> BTreeSet<&'a str> {
    let literal = |text: &'a str| text.strip_prefix('"')?.strip_suffix('"');
    let value_of = |argument: &'a str| {
        let constant = format!("const {argument}: &str = \"");
        let constant = || Some(code.split_once(&constant)?.1.split('"').next().unwrap());
        literal(argument).or_else(constant)
    };
    let is_part = |one: char| one.is_alphanumeric() || one == '_';
    let mut keys = BTreeSet::new();
    for (open, _) in code.match_indices('(') {
        let called = code[..open].rsplit(|one| !is_part(one)).next().unwrap();
        let arguments = code[open + 1..].split([')', '(']).next().unwrap();
        if readers.contains(called) {
            let mut arguments = arguments.split(',').map(str::trim).take(2);
            keys.extend(arguments.find_map(value_of));
        }
    }
    keys
}

#[test]
fn every_way_to_read_a_key_is_found() {
    let code = r#"
        const TLS: &str = "tls";
        pub fn path(&mut self, key: &'static str) -> Result<Option<PathBuf>, Failure> {
            self.string(key)
        }
        fn count<T>(
            section: &mut Section<'_>,
            key: &'static str,
            default: &str,
        ) -> Result<T, Failure> {
            let tls = root.path(TLS)?;
            let mut number = |key, range| errors.ok_or_push(section.count(key, range)).flatten();
            let most = number("max_events", 1..=5);
            section.error("not read", "is missing");
            section
                .path(
                    "ca_file",
                )
        }
        fn all() {
            count(&mut section, "replicas", DEFAULT);
            section.discount("other")
        }
    "#;
    let readers: BTreeSet<&str> = key_readers(code).collect();
    assert_eq!(readers, BTreeSet::from(["count", "number", "path"]));
    let keys = keys_read(code, &readers);
    let wanted = ["ca_file", "max_events", "replicas", "tls"];
    assert_eq!(keys, BTreeSet::from(wanted));
}

#[test]
fn every_key_of_the_settings_file_is_documented() {
    let pages = ["docs/admin.md", "docs/settings.md", "docs/outputs.md"]
        .map(|name| fs::read_to_string(root().join(name)).unwrap())
        .join("\n");
    let mut sources = vec![root().join("host-harness/common/src/section.rs")];
    for folder in ["host-harness/outputs/src", "host-harness/host/src/settings"] {
        files(&root().join(folder), "rs", &mut sources);
    }
    sources.retain(|path| !path.display().to_string().contains("tests"));
    let codes = sources.iter().map(|path| {
        let code = fs::read_to_string(path).unwrap();
        let code = code.split("#[cfg(test)]\nmod tests").next().unwrap();
        code.to_owned()
    });
    let codes: Vec<String> = codes.collect();
    let readers: BTreeSet<&str> = codes.iter().flat_map(|code| key_readers(code)).collect();
    let keys = codes.iter().flat_map(|code| keys_read(code, &readers));
    let keys: BTreeSet<&str> = keys.collect();
    assert!(keys.len() > 60, "{keys:?}");
    let missing: Vec<&&str> = keys.iter().filter(|key| !mentions(&pages, key)).collect();
    assert!(
        missing.is_empty(),
        "in neither docs/admin.md, docs/settings.md nor docs/outputs.md: {missing:?}"
    );
}

#[test]
fn the_readme_names_every_command() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let help = Command::new(env!("CARGO_BIN_EXE_source-host"))
        .arg("--help")
        .output()
        .unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let (_, commands) = help.split_once("Commands:\n").unwrap();
    let names = commands
        .lines()
        .take_while(|line| line.starts_with("  "))
        .filter_map(|line| line.split_whitespace().next());
    let named: Vec<&str> = names.filter(|name| *name != "help").collect();
    assert!(named.len() > 10, "{help}");
    for name in named {
        assert!(
            readme.contains(&format!("`{name}")),
            "README.md does not name {name}"
        );
    }
}

/// A block of a page between two fences.
struct Block {
    /// `README.md: 18`.
    place: String,
    /// What follows the first fence: the language, and a mark.
    language: String,
    mark: String,
    text: String,
}

/// All blocks of a page.
fn blocks(page: &Path) -> Vec<Block> {
    let text = fs::read_to_string(page).unwrap();
    let name = page.strip_prefix(root()).unwrap().display();
    let mut blocks = Vec::new();
    let mut lines = text.lines().zip(1..);
    while let Some((line, number)) = lines.next() {
        let indent = line.len() - line.trim_start().len();
        let Some(info) = line.trim_start().strip_prefix("```") else {
            continue;
        };
        let body: Vec<&str> = lines
            .by_ref()
            .map(|(line, _)| line)
            .take_while(|line| line.trim() != "```")
            .map(|line| line.get(indent..).unwrap_or_default())
            .collect();
        let (language, mark) = info.split_once(' ').unwrap_or((info, ""));
        blocks.push(Block {
            place: format!("{name}: {number}"),
            language: language.to_owned(),
            mark: mark.trim().to_owned(),
            text: body.join("\n") + "\n",
        });
    }
    blocks
}

/// All blocks of all pages in a language.
fn blocks_in(language: &str) -> Vec<Block> {
    let blocks = pages().into_iter().flat_map(|page| blocks(&page));
    blocks.filter(|block| block.language == language).collect()
}

/// What the mark of a block of commands says about who runs them. All but the last are tested.
const MARKS: [&str; 6] = ["run", "ci", "release", "embed", "wasmtime", "manual"];

/// Blocks that need hours, a person or a service manager.
const MANUAL_MAX: usize = 6;

#[test]
fn every_block_has_a_language_and_every_command_a_mark_that_says_who_runs_it() {
    let all: Vec<Block> = pages().iter().flat_map(|page| blocks(page)).collect();
    let nameless = all.iter().filter(|block| block.language.is_empty());
    let nameless: Vec<&str> = nameless.map(|block| block.place.as_str()).collect();
    assert!(nameless.is_empty(), "without a language: {nameless:?}");
    let commands: Vec<&Block> = all.iter().filter(|block| block.language == "sh").collect();
    assert!(commands.len() >= 15, "only {} blocks", commands.len());
    for block in &commands {
        let is_known = MARKS.contains(&block.mark.as_str());
        assert!(is_known, "{}: `sh` needs a mark: {MARKS:?}", block.place);
    }
    let manual = commands.iter().filter(|block| block.mark == "manual");
    assert!(manual.count() <= MANUAL_MAX, "more commands are untested");
    for language in ["bash", "shell", "console"] {
        assert!(all.iter().all(|block| block.language != language));
    }
}

#[test]
fn every_block_of_settings_is_toml_and_every_block_of_json_is_json() {
    for block in blocks_in("toml") {
        let parsed = block.text.parse::<toml::Table>();
        assert!(parsed.is_ok(), "{}: {parsed:?}", block.place);
    }
    for block in blocks_in("json") {
        let parsed = serde_json::from_str::<serde_json::Value>(&block.text);
        assert!(parsed.is_ok(), "{}: {parsed:?}", block.place);
    }
}

/// Runs a block in a folder that is thrown away, with `source-host` on the path.
fn run_block(block: &Block, folder: &Path, more_on_the_path: &[PathBuf]) {
    let program = Path::new(env!("CARGO_BIN_EXE_source-host"));
    let before = std::env::var_os("PATH").unwrap();
    let on_the_path = [program.parent().unwrap().to_owned()].into_iter();
    let on_the_path = on_the_path
        .chain(more_on_the_path.iter().cloned())
        .chain(std::env::split_paths(&before));
    let output = Command::new("sh")
        .args(["-euc", &block.text])
        .current_dir(folder)
        .env("PATH", std::env::join_paths(on_the_path).unwrap())
        .env("XDG_CACHE_HOME", machine_code::cache_home())
        .env("MIMECAST_CLIENT_SECRET", "example-value")
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    let (place, text) = (&block.place, &block.text);
    assert!(output.status.success(), "{place}: {text}{stderr}");
}

/// A block of `toml file=NAME` is written into a folder, and one of `sh run` is executed there.
#[test]
fn the_commands_that_are_marked_as_runnable_succeed() {
    let mut ran = 0;
    for page in pages() {
        let folder = tempfile::tempdir().unwrap();
        for block in blocks(&page) {
            match (block.language.as_str(), block.mark.as_str()) {
                ("toml", mark) => {
                    if let Some(name) = mark.strip_prefix("file=") {
                        fs::write(folder.path().join(name), block.text).unwrap();
                    }
                }
                ("sh", "run") => {
                    run_block(&block, folder.path(), &[]);
                    ran += 1;
                }
                _ => {}
            }
        }
    }
    assert!(ran > 0, "no command is marked");
}

/// Compares each line without its comment. `.ci/run` may quote the command with single quotes.
#[test]
fn the_commands_that_ci_runs_stand_in_its_script() {
    let script = fs::read_to_string(root().join(".ci/run")).unwrap();
    let script = script.replace('\'', "\"");
    let mut found = 0;
    for block in blocks_in("sh") {
        if block.mark != "ci" {
            continue;
        }
        for line in block.text.lines() {
            let command = line.split("  #").next().unwrap_or(line).trim();
            let is_run = script.lines().any(|line| {
                let line = line.trim();
                line == command || line.ends_with(&format!("=\"{command}\""))
            });
            assert!(is_run, "{}: .ci/run does not run: {command}", block.place);
            found += 1;
        }
    }
    assert!(found > 10, "only {found} commands");
}

#[test]
fn the_commands_of_the_packages_and_of_the_examples_are_read_by_their_tests() {
    for (mark, script) in [
        ("release", "ci/release"),
        ("embed", "examples/embed/compare"),
    ] {
        let marked = blocks_in("sh");
        let pages: BTreeSet<String> = marked
            .iter()
            .filter(|block| block.mark == mark)
            .map(|block| block.place.split(':').next().unwrap().to_owned())
            .collect();
        assert_eq!(pages.len(), 1, "{mark}: {pages:?}");
        let script = fs::read_to_string(root().join(script)).unwrap();
        for page in pages {
            let name = Path::new(&page).file_name().unwrap().to_str().unwrap();
            assert!(script.contains(name), "{page} is not read");
        }
    }
}

/// Returns the folder of the wasmtime program: one on the path, or `target/tools/bin`, where `.ci/run`
/// installs it.
fn wasmtime_folder() -> Option<PathBuf> {
    let tools = Path::new(env!("CARGO_BIN_EXE_source-host"))
        .ancestors()
        .nth(2)?
        .join("tools/bin");
    let path = std::env::var_os("PATH")?;
    let folders = std::env::split_paths(&path).chain([tools]);
    let mut found = folders.filter(|folder| folder.join("wasmtime").is_file());
    found.next()
}

#[test]
fn the_commands_for_wasmtime_succeed() {
    let Some(folder_of_wasmtime) = wasmtime_folder() else {
        let mut stderr = std::io::stderr();
        writeln!(stderr, "LEFT OUT: no wasmtime: its commands in the pages").unwrap();
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let component = Command::new(env!("CARGO_BIN_EXE_source-host"))
        .args(["component", "--output", "mimecast_source.wasm"])
        .current_dir(folder.path())
        .status()
        .unwrap();
    assert!(component.success());
    let marked = blocks_in("sh").into_iter();
    let marked: Vec<Block> = marked.filter(|block| block.mark == "wasmtime").collect();
    assert!(!marked.is_empty());
    for block in marked {
        let on_the_path = std::slice::from_ref(&folder_of_wasmtime);
        run_block(&block, folder.path(), on_the_path);
    }
}

/// What is written in the text as `source-host …`, without the brackets of optional parts.
fn inline_commands(page: &Path) -> Vec<Vec<String>> {
    let text = fs::read_to_string(page).unwrap();
    let mut commands = Vec::new();
    let mut is_code = false;
    for line in text.lines() {
        is_code ^= line.trim_start().starts_with("```");
        if is_code {
            continue;
        }
        for span in line.split('`').skip(1).step_by(2) {
            let words = span.split_whitespace();
            let mut words = words.map(|word| word.trim_matches(['[', ']']).to_owned());
            let is_command = words.next().is_some_and(|word| word == "source-host");
            // The one placeholder whose value the program knows.
            let words = words.map(|word| match word.as_str() {
                "SHELL" => "bash".to_owned(),
                _ => word,
            });
            let words: Vec<String> = words.filter(|word| word != "…" && word != "|").collect();
            if is_command && !words.is_empty() {
                commands.push(words);
            }
        }
    }
    commands
}

/// The program reads the command and its options up to `--help`, and refuses what it does not know.
#[test]
fn every_command_in_the_text_is_one_of_the_program() {
    let mut found = BTreeSet::new();
    for page in pages() {
        for words in inline_commands(&page) {
            found.insert((words, page.clone()));
        }
    }
    assert!(found.len() > 30, "only {} commands", found.len());
    for (words, page) in found {
        let output = Command::new(env!("CARGO_BIN_EXE_source-host"))
            .args(&words)
            .arg("--help")
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        let page = page.display();
        assert!(output.status.success(), "{page}: {words:?}: {stderr}");
    }
}

/// The pages a reader may open.
fn pages() -> Vec<PathBuf> {
    let mut pages = Vec::new();
    files(&root(), "md", &mut pages);
    pages
}

/// Text without blocks and spans of code.
fn prose(text: &str) -> String {
    let mut prose = String::new();
    let mut is_code = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        } else if !is_code {
            let outside = line.split('`').step_by(2);
            prose.extend(outside);
            prose.push('\n');
        }
    }
    prose
}

/// The anchors of a page, as GitHub makes them from its headings.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut is_code = false;
    let mut anchors = BTreeSet::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        }
        if is_code || !line.starts_with('#') {
            continue;
        }
        let heading = line.trim_start_matches('#').trim().to_lowercase();
        let allowed = heading
            .chars()
            .filter(|one| one.is_alphanumeric() || "-_ ".contains(*one));
        let anchor: String = allowed
            .map(|one| if one == ' ' { '-' } else { one })
            .collect();
        let copies = (1..).map(|copy| format!("{anchor}-{copy}"));
        let mut names = std::iter::once(anchor.clone()).chain(copies);
        anchors.insert(names.find(|name| !anchors.contains(name)).unwrap());
    }
    anchors
}

#[test]
fn no_page_has_a_dead_link_or_anchor() {
    let (mut found, mut dead) = (0, Vec::new());
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for link in prose(&text).split("](").skip(1) {
            let Some((target, _)) = link.split_once(')') else {
                continue;
            };
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            found += 1;
            let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
            let file = if path.is_empty() {
                page.clone()
            } else {
                page.parent().unwrap().join(path)
            };
            let name = page.strip_prefix(root()).unwrap().display().to_string();
            if !file.exists() {
                dead.push(format!("{name}: {target}: no such file"));
            } else if !anchor.is_empty()
                && !anchors(&fs::read_to_string(&file).unwrap()).contains(anchor)
            {
                dead.push(format!("{name}: {target}: no such heading"));
            }
        }
    }
    assert!(found > 30, "only {found} links were found");
    assert!(dead.is_empty(), "{}", dead.join("\n"));
}
