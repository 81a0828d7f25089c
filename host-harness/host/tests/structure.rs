//! What depends on what: the packages of the host, and the modules in each.

#![expect(
    clippy::unwrap_used,
    clippy::string_slice,
    reason = "a test may fail fast"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Each package of the workspace with those that it depends on.
const PACKAGES: [(&str, &[&str]); 8] = [
    ("embed-rust", &["source-common", "source-runtime"]),
    ("mimecast-filter", &["mimecast-source"]),
    ("mimecast-simulator", &[]),
    ("mimecast-source", &[]),
    ("source-common", &[]),
    (
        "source-host",
        &[
            "mimecast-simulator",
            "source-common",
            "source-outputs",
            "source-runtime",
        ],
    ),
    ("source-outputs", &["source-common"]),
    ("source-runtime", &["source-common"]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .args(arguments)
        .args(["--offline", "--locked"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn packages_depend_on_each_other_in_one_direction() {
    let metadata = cargo(&["metadata", "--no-deps", "--format-version", "1"]);
    let metadata: serde_json::Value = serde_json::from_str(&metadata).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let found: BTreeMap<&str, BTreeSet<&str>> = packages
        .iter()
        .map(|package| {
            let dependencies = package["dependencies"].as_array().unwrap().iter();
            let ours = dependencies
                .filter(|one| one["kind"].is_null() && one.get("path").is_some())
                .map(|one| one["name"].as_str().unwrap());
            (package["name"].as_str().unwrap(), ours.collect())
        })
        .collect();
    let wanted =
        PACKAGES.map(|(name, dependencies)| (name, dependencies.iter().copied().collect()));
    assert_eq!(found, BTreeMap::from(wanted));
}

#[test]
fn outputs_need_no_sandbox_and_the_runtime_no_output() {
    let dependencies = |package: &str| {
        let tree = cargo(&["tree", "-p", package, "-e", "normal", "--prefix", "none"]);
        let names = tree
            .lines()
            .filter_map(|line| line.split(' ').next().map(str::to_owned));
        names.collect::<BTreeSet<String>>()
    };
    assert!(!dependencies("source-outputs").contains("wasmtime"));
    let runtime = dependencies("source-runtime");
    assert!(runtime.contains("wasmtime"));
    for other in ["async-nats", "opentelemetry-proto", "rmp", "clap"] {
        assert!(!runtime.contains(other), "{other}");
    }
}

/// The Rust files of a package, with their text.
fn sources(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|end| end == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            files.push((path, text));
        }
    }
    files
}

/// What a source is and offers comes from its `describe`.
#[test]
fn nothing_but_the_program_knows_a_vendor() {
    for package in ["common", "outputs", "runtime"] {
        let files = sources(&root().join("host-harness").join(package));
        assert!(files.len() > 5, "{package}");
        for (path, text) in files {
            let named = text.to_lowercase().contains("mimecast");
            assert!(!named, "{} names a vendor", path.display());
        }
    }
    let may_name = ["demo.rs", "migrate.rs", "cli.rs"];
    for (path, text) in sources(&root().join("host-harness/host/src")) {
        let name = path.file_name().unwrap().to_string_lossy();
        let named = text.to_lowercase().contains("mimecast");
        assert!(
            !named || may_name.contains(&&*name),
            "{} names a vendor",
            path.display()
        );
    }
}

/// Returns the names in the code that follow this path, also those of a list in braces.
fn named_after(code: &str, path: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (at, _) in code.match_indices(path) {
        // `super::super::x` is looked at where its last `super::` is.
        if code[..at].ends_with("::") {
            continue;
        }
        let rest = &code[at + path.len()..];
        // What stands in a list in a list is no name that follows the path.
        let mut depth = 0;
        let items: Vec<&str> = match rest.strip_prefix('{') {
            Some(list) => {
                let is_over = |mark: char| {
                    depth += i32::from(mark == '{') - i32::from(mark == '}');
                    depth < 0
                };
                let list = list.split(is_over).next().unwrap();
                let mut depth = 0;
                let separates = |mark: char| {
                    depth += i32::from(mark == '{') - i32::from(mark == '}');
                    depth == 0 && mark == ','
                };
                list.split(separates).collect()
            }
            None => rest
                .split([';', ',', ')', '(', ' ', '\n'])
                .take(1)
                .collect(),
        };
        for item in items {
            let name = item.trim().split("::").next().unwrap();
            let is_name = |it: char| it.is_alphanumeric() || it == '_';
            names.push(name.chars().take_while(|it| is_name(*it)).collect());
        }
    }
    names
}

/// The modules of a package that each module at its top uses, without tests.
fn uses(folder: &Path) -> BTreeMap<String, BTreeSet<String>> {
    let mut uses: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (path, text) in sources(folder) {
        let relative = path.strip_prefix(folder).unwrap();
        let module = relative.iter().next().unwrap().to_string_lossy();
        let module = module.trim_end_matches(".rs").to_owned();
        if ["lib", "main", "testing"].contains(&&*module)
            || path.to_string_lossy().contains("tests")
        {
            continue;
        }
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        let lines = code.lines().map(|line| line.split("//").next().unwrap());
        let code: String = lines.collect::<Vec<_>>().join("\n");
        let mut used = named_after(&code, "crate::");
        // The parent of a file at the top, and of the `mod.rs` of a folder there, is the package.
        let depth = relative.iter().count();
        if depth == 1 || (depth == 2 && relative.ends_with("mod.rs")) {
            used.extend(named_after(&code, "super::"));
        }
        used.retain(|other| *other != module);
        uses.entry(module).or_default().extend(used);
    }
    uses
}

/// Returns a path of uses that ends at a module that is on it already, if there is a cycle.
fn cycle(uses: &BTreeMap<String, BTreeSet<String>>) -> Option<Vec<String>> {
    fn follow(
        uses: &BTreeMap<String, BTreeSet<String>>,
        path: &mut Vec<String>,
        done: &mut BTreeSet<String>,
    ) -> bool {
        let module = path.last().unwrap().clone();
        for next in uses.get(&module).into_iter().flatten() {
            if path.contains(next) {
                path.push(next.clone());
                return true;
            }
            if !done.contains(next) {
                path.push(next.clone());
                if follow(uses, path, done) {
                    return true;
                }
                path.pop();
            }
        }
        done.insert(module);
        false
    }
    let mut done = BTreeSet::new();
    uses.keys().find_map(|module| {
        let mut path = vec![module.clone()];
        follow(uses, &mut path, &mut done).then_some(path)
    })
}

#[test]
fn no_module_leads_back_to_itself() {
    let folders = [
        "host-harness/common/src",
        "host-harness/outputs/src",
        "host-harness/runtime/src",
        "host-harness/host/src",
        "src",
    ];
    for folder in folders {
        let uses = uses(&root().join(folder));
        assert!(uses.len() > 3, "{folder}");
        assert_eq!(cycle(&uses), None, "{folder}");
    }
}

#[test]
fn a_circle_is_found() {
    let uses = |pairs: &[(&str, &str)]| {
        let mut uses: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (one, other) in pairs {
            let used = uses.entry((*one).to_owned()).or_default();
            used.insert((*other).to_owned());
        }
        uses
    };
    assert_eq!(cycle(&uses(&[("a", "b"), ("a", "c"), ("b", "c")])), None);
    let found = cycle(&uses(&[("a", "b"), ("b", "c"), ("c", "b")])).unwrap();
    assert_eq!(found, ["a", "b", "c", "b"]);
}
