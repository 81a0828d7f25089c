//! Components with faults.

use std::fs;

use serde_json::Value;

use crate::compile::compile_broken;
use crate::setup::{Setup, small_config};

/// The faults, and what the host reports about each.
const FAULTS: [(&str, &str); 3] = [
    (
        "traps",
        "the component trapped: wasm trap: wasm `unreachable` instruction executed; report this",
    ),
    (
        "loops",
        "the component did not return within 1s; raise its poll_timeout_secs",
    ),
    (
        "grows",
        "the component needs more than its 16 MiB of memory; raise its memory_mib",
    ),
];

/// Adds a source for each fault to the settings file.
fn add_sources(setup: &Setup, faults: &[&str], more: &str) {
    let mut text = fs::read_to_string(setup.path("host.toml")).unwrap();
    for fault in faults {
        let component = compile_broken(setup.folder.path(), fault);
        text.push_str(&format!(
            "[[source]]\nname = \"{}\"\ncomponent = \"{}\"\n{more}\n",
            fault.replace(' ', "-"),
            component.display()
        ));
    }
    fs::write(setup.path("host.toml"), text).unwrap();
}

#[test]
fn a_component_that_traps_loops_or_uses_up_its_memory_stops_no_other_source() {
    let setup = Setup::new(small_config(), "");
    add_sources(
        &setup,
        &FAULTS.map(|(name, _)| name),
        "poll_timeout_secs = 1\nmemory_mib = 16",
    );
    let run = setup.run_once();
    let output_text = String::from_utf8_lossy(&run.stderr).into_owned();
    assert_eq!(run.status.code(), Some(1), "{output_text}");
    setup.assert_exactly_once(&setup.events());

    let status = setup.command("status").arg("--json").output().unwrap();
    let status: Value = serde_json::from_slice(&status.stdout).unwrap();
    for (name, reason) in FAULTS {
        let end = output_text
            .lines()
            .find(|line| line.contains(&format!("source `{name}`: component: ")));
        let end = end.unwrap_or_else(|| panic!("{name}: {output_text}"));
        assert!(end.contains(reason), "{end}");
        assert!(end.contains("(given up after 5 tries)"), "{end}");
        let sources = status["sources"].as_array().unwrap().iter();
        let mut sources = sources.filter(|source| source["source"] == name);
        let source = sources.next().unwrap();
        assert_eq!(source["last_error"]["kind"], "component", "{status}");
        let stored = fs::read(setup.path(&format!("state/{name}.checkpoint.json"))).unwrap();
        let stored: Value = serde_json::from_slice(&stored).unwrap();
        assert_eq!(stored["checkpoint"], "c", "{name}: it has moved");
    }
}

/// A run does not wait for it, and `validate` reports it.
#[test]
fn a_component_that_never_works_stops_no_other_source() {
    let setup = Setup::new(small_config(), "");
    add_sources(&setup, &["never works"], "");
    let validated = setup.command("validate").output().unwrap();
    let output_text = String::from_utf8_lossy(&validated.stderr).into_owned();
    assert_eq!(validated.status.code(), Some(78), "{output_text}");
    assert!(
        output_text.contains("source `never-works`: the component trapped"),
        "{output_text}"
    );
    let run = setup.run_once();
    assert_eq!(run.status.code(), Some(1));
    setup.assert_exactly_once(&setup.events());
}
