//! Changes by files and SIGHUP.

use std::fs;
use std::os::unix::fs::symlink;

use mimecast_simulator::Endpoint;

use crate::host_fixture::{AUDIT_EVENTS, DeliveredCounts, HostFixture};
use crate::setup::wait_until;

#[test]
fn a_tenant_is_added_changed_paused_renamed_and_removed_while_another_is_left_alone() {
    let mut fixture = HostFixture::new(&["other"]);
    fixture.simulators.insert(
        "acme".to_owned(),
        crate::host_fixture::simulator(crate::host_fixture::tenant(7)),
    );
    let mut host = fixture.start(&[]);
    host.wait_for_events("other", AUDIT_EVENTS);
    let other_before = host.wait_for_source("other", "caught up", |source| {
        source["next_poll_at"].is_string()
    });

    fixture.write_source("acme", "");
    let line = host.reload();
    assert!(
        line.contains("added=1") && line.contains("unchanged=1"),
        "{line}"
    );
    host.wait_for_events("acme", AUDIT_EVENTS);
    let acme = &fixture.simulators["acme"];
    let tokens = || acme.requests().finished_count(Endpoint::Token);
    host.wait_for_state("acme", "active");
    assert_eq!(tokens(), 1);

    // The same again changes nothing.
    let line = host.reload();
    assert!(line.contains("unchanged=2"), "{line}");
    assert_eq!(tokens(), 1);

    let text = fixture
        .source_text("acme", "")
        .replace("\"raw\"", "\"ocsf\"");
    fixture.write_source_text("acme", &text);
    let line = host.reload();
    assert!(line.contains("changed=1"), "{line}");
    wait_until("a token for the changed source", || tokens() == 2);
    fixture.write_source("acme", "enabled = false");
    host.reload();
    let paused = host.wait_for_state("acme", "paused");
    assert_eq!(paused["paused_by"], "settings", "{paused:#}");
    assert_eq!(paused["has_checkpoint"], true, "{paused:#}");
    acme.add_audit(5, acme.now_ms());

    fs::rename(
        fixture.path("sources/acme.secret"),
        fixture.path("sources/new.secret"),
    )
    .unwrap();
    fs::remove_file(fixture.source_file("acme")).unwrap();
    let text = fixture
        .source_text("acme", "renamed_from = \"acme\"")
        .replace("acme.secret", "new.secret")
        .replace("[settings]", "[settings]\ntenant = \"acme\"");
    fixture.write_source_text("new", &text);
    let line = host.reload();
    assert!(
        line.contains("added=1") && line.contains("removed=1"),
        "{line}"
    );
    host.wait_for_state("new", "active");
    // The position is that of the former name: only what is new since comes.
    host.wait_for_events("acme", AUDIT_EVENTS + 5);
    assert_eq!(
        fixture.delivered("acme"),
        DeliveredCounts {
            distinct: AUDIT_EVENTS + 5,
            total: AUDIT_EVENTS + 5
        }
    );
    assert_eq!(host.ask("GET", "sources/acme", "").0, 404);
    assert!(!fixture.path("state/acme.checkpoint.json").exists());
    assert!(fixture.path("state/new.checkpoint.json").exists());

    fs::remove_file(fixture.source_file("new")).unwrap();
    let line = host.reload();
    assert!(line.contains("removed=1"), "{line}");
    assert_eq!(host.ask("GET", "sources/new", "").0, 404);
    assert!(fixture.path("state/new.checkpoint.json").exists());

    // The changes did not affect it.
    let other_after = host.source("other");
    for key in ["stored_at", "last_poll_at", "next_poll_at"] {
        let is_due = other_before["next_poll_at"].as_str() <= other_after["last_poll_at"].as_str();
        assert!(
            is_due || other_after[key] == other_before[key],
            "{key}: {other_after:#}"
        );
    }
    assert_eq!(
        fixture.simulators["other"]
            .requests()
            .finished_count(Endpoint::Token),
        1
    );
    assert_eq!(
        fixture.delivered("other"),
        DeliveredCounts {
            distinct: AUDIT_EVENTS,
            total: AUDIT_EVENTS
        }
    );
    let (status, log) = host.process.stop();
    assert_eq!(status.code(), Some(0), "{log}");
}

#[test]
fn a_bad_file_is_an_error_of_its_own_source_which_keeps_its_last_good_version() {
    let mut fixture = HostFixture::new(&["acme", "other"]);
    fixture.simulators.insert(
        "late".to_owned(),
        crate::host_fixture::simulator(crate::host_fixture::tenant(9)),
    );
    let mut host = fixture.start(&[]);
    host.wait_for_state("acme", "active");
    let good = fixture.source_text("acme", "");
    for (bad, reason) in [
        ("enabled = ", "acme.toml:1: "),
        ("enabeld = true", "did you mean `enabled`?"),
        ("outputs = [\"sime\"]", "did you mean `siem`?"),
    ] {
        fixture.write_source_text("acme", &format!("{bad}\n{good}"));
        let line = host.reload();
        assert!(
            line.contains("with_errors=1") && line.contains("unchanged=1"),
            "{line}"
        );
        let source = host.source("acme");
        assert_eq!(source["state"], "active", "{source:#}");
        let error = source["settings_error"].as_str().unwrap();
        assert!(error.contains(reason), "{error}");
    }
    // A mistake that only the component can find.
    fixture.write_source_text("acme", &good.replace("\"audit\"", "\"audti\""));
    host.reload();
    let error = host.source("acme")["settings_error"].clone();
    assert!(error.as_str().unwrap().contains("audti"), "{error}");
    assert_eq!(host.source("acme")["state"], "active");
    let log = host.process.log.clone();
    assert!(log.contains("it keeps its last good settings"), "{log}");
    host.wait_for_status("acme", |source| {
        source["state"] == "active" && source["settings_error"].is_string()
    });

    // One that never had a good version.
    fixture.write_source("late", "enabeld = true");
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
        fixture.write_source(name, "");
    }
    let line = host.reload();
    assert!(line.contains("with_errors=0"), "{line}");
    for name in ["acme", "late"] {
        let source = host.wait_for_state(name, "active");
        assert!(source["settings_error"].is_null(), "{source:#}");
    }
    assert_eq!(
        fixture.simulators["acme"]
            .requests()
            .finished_count(Endpoint::Token),
        1
    );
    host.wait_for_events("late", AUDIT_EVENTS);
}

#[test]
fn a_bad_settings_file_changes_nothing_and_what_needs_a_restart_is_named() {
    let fixture = HostFixture::new(&["acme"]);
    let mut host = fixture.start(&[]);
    host.wait_for_state("acme", "active");
    fixture.write_main("statedir = 1\n");
    host.process.signal("-HUP");
    host.process
        .wait_for("every source keeps its last good settings");
    let source = host.source("acme");
    assert_eq!(source["state"], "active", "{source:#}");
    assert!(
        source["settings_error"]
            .as_str()
            .unwrap()
            .contains("statedir")
    );

    fixture.write_main("[[output]]\nname = \"new\"\ntype = \"file\"\npath = \"new.ndjson\"\n");
    fixture.write_source("acme", "outputs = [\"new\"]");
    host.process.signal("-HUP");
    host.process
        .wait_for("`output` has changed; restart source-host to apply it");
    host.process
        .wait_for("a new output is used after a restart");
    host.process.wait_for("settings read again");
    assert_eq!(
        fixture.simulators["acme"]
            .requests()
            .finished_count(Endpoint::Token),
        1
    );

    // After a restart it is.
    let (status, log) = host.process.stop();
    assert_eq!(status.code(), Some(0), "{log}");
    let acme = &fixture.simulators["acme"];
    acme.add_audit(3, acme.now_ms());
    let host = fixture.start(&[]);
    wait_until("events in the new output", || {
        let text = fs::read_to_string(fixture.path("new.ndjson")).unwrap_or_default();
        text.lines().count() == 3
    });
    assert_eq!(host.source("acme")["outputs"][0], "new");
}

#[test]
fn a_new_secret_is_used_at_once_where_the_old_one_was_refused() {
    let fixture = HostFixture::new(&["acme", "other"]);
    let secret = fixture.path("sources/acme.secret");
    let good = fs::read_to_string(&secret).unwrap();
    fs::write(&secret, "a wrong one").unwrap();
    let host = fixture.start(&[]);
    host.wait_for_state("acme", "unauthorized");
    assert_eq!(fixture.delivered("acme").distinct, 0);
    fs::write(&secret, good).unwrap();
    host.wait_for_state("acme", "active");
    host.wait_for_events("acme", AUDIT_EVENTS);
    assert_eq!(
        fixture.simulators["other"]
            .requests()
            .finished_count(Endpoint::Token),
        1
    );
}

#[test]
fn a_host_without_sources_waits_for_the_first() {
    let mut fixture = HostFixture::new(&[]);
    fixture.simulators.insert(
        "acme".to_owned(),
        crate::host_fixture::simulator(crate::host_fixture::tenant(3)),
    );
    let mut host = fixture.start(&[]);
    wait_until("readiness", || {
        host.get("/readyz").starts_with("HTTP/1.1 200")
    });
    fixture.write_source("acme", "");
    host.reload();
    host.wait_for_events("acme", AUDIT_EVENTS);
    assert!(host.process.is_running());
}

#[test]
fn with_watch_config_a_file_that_changes_is_read_again_without_a_signal() {
    let mut fixture = HostFixture::new(&["other"]);
    fixture.simulators.insert(
        "acme".to_owned(),
        crate::host_fixture::simulator(crate::host_fixture::tenant(7)),
    );
    let mut host = fixture.start(&["--watch-config"]);
    host.wait_for_state("other", "active");
    let secret = fixture.simulators["acme"].client_secret();

    // The secret is a link through another one, which is replaced, as Kubernetes mounts secrets.
    for (version, text) in [("v1", secret.clone()), ("v2", format!("{secret}\n"))] {
        fs::create_dir(fixture.path(version)).unwrap();
        fs::write(fixture.path(version).join("acme.secret"), text).unwrap();
    }
    let data = fixture.path("sources/..data");
    symlink(fixture.path("v1"), &data).unwrap();
    symlink("..data/acme.secret", fixture.path("sources/acme.secret")).unwrap();
    fixture.write_source_text("acme", &fixture.source_text("acme", ""));
    host.wait_for_events("acme", AUDIT_EVENTS);
    host.wait_for_state("acme", "active");
    let aside = fixture.path("sources/..aside");
    symlink(fixture.path("v2"), &aside).unwrap();
    fs::rename(aside, data).unwrap();
    let line = host.process.wait_for("changed=1");
    assert!(line.contains("settings read again"), "{line}");

    fixture.write_source_text("acme", "enabeld = true");
    host.process.wait_for("did you mean `enabled`?");
    host.process.wait_for("settings read again");
    assert_eq!(host.source("acme")["state"], "active");
    fs::remove_file(fixture.source_file("acme")).unwrap();
    host.process.wait_for("removed; its checkpoint is kept");

    // The settings file is watched as well.
    fixture.write_main("[[source]]\nname = \"late\"\nenabled = false\n[source.settings]\nclient_id = \"a\"\nclient_secret = \"b\"\n");
    host.wait_for_state("late", "paused");
    assert_eq!(
        fixture.simulators["other"]
            .requests()
            .finished_count(Endpoint::Token),
        1
    );
    let (status, log) = host.process.stop();
    assert_eq!(status.code(), Some(0), "{log}");
}
