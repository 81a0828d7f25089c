//! Changes by files and SIGHUP.

use std::fs;
use std::os::unix::fs::symlink;

use mimecast_simulator::Endpoint;

use crate::place::{ALL, HostFixture};
use crate::setup::wait_until;

#[test]
fn a_tenant_is_added_changed_paused_renamed_and_removed_while_another_is_left_alone() {
    let mut place = HostFixture::new(&["other"]);
    place.simulators.insert(
        "acme".to_owned(),
        crate::place::simulator(crate::place::tenant(7)),
    );
    let mut host = place.start(&[]);
    host.wait_for_events("other", ALL);
    let undisturbed = host.wait_for_source("other", "caught up", |source| {
        source["next_poll_at"].is_string()
    });

    place.write("acme", "");
    let said = host.reload();
    assert!(
        said.contains("added=1") && said.contains("unchanged=1"),
        "{said}"
    );
    host.wait_for_events("acme", ALL);
    let acme = &place.simulators["acme"];
    let tokens = || acme.requests().finished_at(Endpoint::Token);
    host.wait_for_state("acme", "active");
    assert_eq!(tokens(), 1);

    // The same again changes nothing.
    let said = host.reload();
    assert!(said.contains("unchanged=2"), "{said}");
    assert_eq!(tokens(), 1);

    let text = place.text("acme", "").replace("\"raw\"", "\"ocsf\"");
    place.write_text("acme", &text);
    let said = host.reload();
    assert!(said.contains("changed=1"), "{said}");
    wait_until("a token for the changed source", || tokens() == 2);
    place.write("acme", "enabled = false");
    host.reload();
    let paused = host.wait_for_state("acme", "paused");
    assert_eq!(paused["paused_by"], "settings", "{paused:#}");
    assert_eq!(paused["has_checkpoint"], true, "{paused:#}");
    acme.add_audit(5, acme.now_ms());

    fs::rename(
        place.path("sources/acme.secret"),
        place.path("sources/new.secret"),
    )
    .unwrap();
    fs::remove_file(place.source_file("acme")).unwrap();
    let text = place
        .text("acme", "renamed_from = \"acme\"")
        .replace("acme.secret", "new.secret")
        .replace("[settings]", "[settings]\ntenant = \"acme\"");
    place.write_text("new", &text);
    let said = host.reload();
    assert!(
        said.contains("added=1") && said.contains("removed=1"),
        "{said}"
    );
    host.wait_for_state("new", "active");
    // The position is that of the former name: only what is new since comes.
    host.wait_for_events("acme", ALL + 5);
    assert_eq!(place.delivered("acme"), (ALL + 5, ALL + 5));
    assert_eq!(host.ask("GET", "sources/acme", "").0, 404);
    assert!(!place.path("state/acme.checkpoint.json").exists());
    assert!(place.path("state/new.checkpoint.json").exists());

    fs::remove_file(place.source_file("new")).unwrap();
    let said = host.reload();
    assert!(said.contains("removed=1"), "{said}");
    assert_eq!(host.ask("GET", "sources/new", "").0, 404);
    assert!(place.path("state/new.checkpoint.json").exists());

    // It was asked for nothing, and did nothing but what it would have done.
    let now = host.source("other");
    for key in ["stored_at", "last_poll_at", "next_poll_at"] {
        let is_due = undisturbed["next_poll_at"].as_str() <= now["last_poll_at"].as_str();
        assert!(is_due || now[key] == undisturbed[key], "{key}: {now:#}");
    }
    assert_eq!(place.simulators["other"].requests().finished_at(Endpoint::Token), 1);
    assert_eq!(place.delivered("other"), (ALL, ALL));
    let (status, log) = host.running.stop();
    assert_eq!(status.code(), Some(0), "{log}");
}

#[test]
fn a_bad_file_is_an_error_of_its_own_source_which_goes_on_with_its_last_good_version() {
    let mut place = HostFixture::new(&["acme", "other"]);
    place.simulators.insert(
        "late".to_owned(),
        crate::place::simulator(crate::place::tenant(9)),
    );
    let mut host = place.start(&[]);
    host.wait_for_state("acme", "active");
    let good = place.text("acme", "");
    for (bad, reason) in [
        ("enabled = ", "acme.toml:1: "),
        ("enabeld = true", "did you mean `enabled`?"),
        ("outputs = [\"sime\"]", "did you mean `siem`?"),
    ] {
        place.write_text("acme", &format!("{bad}\n{good}"));
        let said = host.reload();
        assert!(
            said.contains("with_errors=1") && said.contains("unchanged=1"),
            "{said}"
        );
        let source = host.source("acme");
        assert_eq!(source["state"], "active", "{source:#}");
        let error = source["settings_error"].as_str().unwrap();
        assert!(error.contains(reason), "{error}");
    }
    // What only the component can tell.
    place.write_text("acme", &good.replace("\"audit\"", "\"audti\""));
    host.reload();
    let error = host.source("acme")["settings_error"].clone();
    assert!(error.as_str().unwrap().contains("audti"), "{error}");
    assert_eq!(host.source("acme")["state"], "active");
    let log = host.running.said.clone();
    assert!(
        log.contains("it goes on with its last good settings"),
        "{log}"
    );
    host.wait_for_status("acme", |source| {
        source["state"] == "active" && source["settings_error"].is_string()
    });

    // One that never had a good version.
    place.write("late", "enabeld = true");
    host.reload();
    let late = host.wait_for_state("late", "failing");
    assert!(
        late["detail"].as_str().unwrap().contains("enabeld"),
        "{late:#}"
    );
    let metrics = host.metrics();
    assert!(
        metrics.contains("source_host_sources{state=\"failing\"} 1"),
        "{metrics}"
    );

    for name in ["acme", "late"] {
        place.write(name, "");
    }
    let said = host.reload();
    assert!(said.contains("with_errors=0"), "{said}");
    for name in ["acme", "late"] {
        let source = host.wait_for_state(name, "active");
        assert!(source["settings_error"].is_null(), "{source:#}");
    }
    assert_eq!(place.simulators["acme"].requests().finished_at(Endpoint::Token), 1);
    host.wait_for_events("late", ALL);
}

#[test]
fn a_bad_settings_file_changes_nothing_and_what_needs_a_restart_is_named() {
    let place = HostFixture::new(&["acme"]);
    let mut host = place.start(&[]);
    host.wait_for_state("acme", "active");
    place.write_main("statedir = 1\n");
    host.running.signal("-HUP");
    host.running
        .wait_for("every source goes on with its last good settings");
    let source = host.source("acme");
    assert_eq!(source["state"], "active", "{source:#}");
    assert!(
        source["settings_error"]
            .as_str()
            .unwrap()
            .contains("statedir")
    );

    place.write_main("[[output]]\nname = \"new\"\ntype = \"file\"\npath = \"new.ndjson\"\n");
    place.write("acme", "outputs = [\"new\"]");
    host.running.signal("-HUP");
    host.running
        .wait_for("`output` has changed; restart source-host to use that");
    host.running
        .wait_for("a new output is used after a restart");
    host.running.wait_for("settings read again");
    assert_eq!(place.simulators["acme"].requests().finished_at(Endpoint::Token), 1);

    // After a restart it is.
    let (status, log) = host.running.stop();
    assert_eq!(status.code(), Some(0), "{log}");
    let acme = &place.simulators["acme"];
    acme.add_audit(3, acme.now_ms());
    let host = place.start(&[]);
    wait_until("events in the new output", || {
        let text = fs::read_to_string(place.path("new.ndjson")).unwrap_or_default();
        text.lines().count() == 3
    });
    assert_eq!(host.source("acme")["outputs"][0], "new");
}

#[test]
fn a_new_secret_is_used_at_once_where_the_old_one_was_refused() {
    let place = HostFixture::new(&["acme", "other"]);
    let secret = place.path("sources/acme.secret");
    let good = fs::read_to_string(&secret).unwrap();
    fs::write(&secret, "a wrong one").unwrap();
    let host = place.start(&[]);
    host.wait_for_state("acme", "unauthorized");
    assert_eq!(place.delivered("acme").0, 0);
    fs::write(&secret, good).unwrap();
    host.wait_for_state("acme", "active");
    host.wait_for_events("acme", ALL);
    assert_eq!(place.simulators["other"].requests().finished_at(Endpoint::Token), 1);
}

#[test]
fn a_host_without_sources_waits_for_the_first() {
    let mut place = HostFixture::new(&[]);
    place.simulators.insert(
        "acme".to_owned(),
        crate::place::simulator(crate::place::tenant(3)),
    );
    let mut host = place.start(&[]);
    wait_until("readiness", || {
        host.get("/readyz").starts_with("HTTP/1.1 200")
    });
    place.write("acme", "");
    host.reload();
    host.wait_for_events("acme", ALL);
    assert!(host.running.is_running());
}

#[test]
fn with_watch_config_a_file_that_changes_is_read_again_without_a_signal() {
    let mut place = HostFixture::new(&["other"]);
    place.simulators.insert(
        "acme".to_owned(),
        crate::place::simulator(crate::place::tenant(7)),
    );
    let mut host = place.start(&["--watch-config"]);
    host.wait_for_state("other", "active");
    let secret = place.simulators["acme"].client_secret();

    // The secret is a link through another one, which is replaced, as Kubernetes mounts secrets.
    for (version, text) in [("v1", secret.clone()), ("v2", format!("{secret}\n"))] {
        fs::create_dir(place.path(version)).unwrap();
        fs::write(place.path(version).join("acme.secret"), text).unwrap();
    }
    let data = place.path("sources/..data");
    symlink(place.path("v1"), &data).unwrap();
    symlink("..data/acme.secret", place.path("sources/acme.secret")).unwrap();
    place.write_text("acme", &place.text("acme", ""));
    host.wait_for_events("acme", ALL);
    host.wait_for_state("acme", "active");
    let aside = place.path("sources/..aside");
    symlink(place.path("v2"), &aside).unwrap();
    fs::rename(aside, data).unwrap();
    let said = host.running.wait_for("changed=1");
    assert!(said.contains("settings read again"), "{said}");

    place.write_text("acme", "enabeld = true");
    host.running.wait_for("did you mean `enabled`?");
    host.running.wait_for("settings read again");
    assert_eq!(host.source("acme")["state"], "active");
    fs::remove_file(place.source_file("acme")).unwrap();
    host.running.wait_for("removed; its checkpoint is kept");

    // The settings file is watched as well.
    place.write_main("[[source]]\nname = \"late\"\nenabled = false\n[source.settings]\nclient_id = \"a\"\nclient_secret = \"b\"\n");
    host.wait_for_state("late", "paused");
    assert_eq!(place.simulators["other"].requests().finished_at(Endpoint::Token), 1);
    let (status, log) = host.running.stop();
    assert_eq!(status.code(), Some(0), "{log}");
}
