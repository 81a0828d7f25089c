//! Changes through the admin server.

use std::fs;

use mimecast_simulator::Endpoint;
use serde_json::{Value, json};

use crate::host_fixture::{AUDIT_EVENTS, DeliveredCounts, HostFixture, simulator, tenant};

#[test]
fn a_pause_by_the_api_survives_a_restart_until_it_is_taken_back() {
    let fixture = HostFixture::new(&["acme", "other"]);
    let host = fixture.start(&[]);
    host.wait_for_events("acme", AUDIT_EVENTS);
    host.wait_for_state("acme", "active");
    assert_eq!(host.ask("POST", "sources/acme/pause", ""), (200, json!({})));
    let paused = host.source("acme");
    assert_eq!(
        (&paused["state"], &paused["paused_by"]),
        (&json!("paused"), &json!("api"))
    );
    let (status, log) = host.process.stop();
    assert_eq!(status.code(), Some(0), "{log}");

    let tokens = fixture.simulators["acme"]
        .requests()
        .finished_count(Endpoint::Token);
    let mut host = fixture.start(&[]);
    host.wait_for_state("other", "active");
    assert_eq!(host.source("acme")["paused_by"], "api");
    // A reload does not end it.
    host.reload();
    assert_eq!(host.source("acme")["state"], "paused");
    host.wait_for_status("acme", |source| source["paused_by"] == "api");
    assert_eq!(
        fixture.simulators["acme"]
            .requests()
            .finished_count(Endpoint::Token),
        tokens
    );

    let acme = &fixture.simulators["acme"];
    acme.add_audit(4, acme.now_ms());
    assert_eq!(host.ask("POST", "sources/acme/resume", "").0, 200);
    host.wait_for_state("acme", "active");
    host.wait_for_events("acme", AUDIT_EVENTS + 4);
    assert_eq!(
        fixture.delivered("acme"),
        DeliveredCounts {
            distinct: AUDIT_EVENTS + 4,
            total: AUDIT_EVENTS + 4
        }
    );
}

#[test]
fn what_cannot_be_done_says_what_to_do() {
    let fixture = HostFixture::new(&["acme"]);
    fixture.write_source("acme", "enabled = false");
    fixture.write_source_text("bad", "enabeld = true");
    let host = fixture.start(&[]);
    // The admin server listens before the sources are read.
    for name in ["acme", "bad"] {
        host.wait_for_source(name, "known", |source| source["state"].is_string());
    }
    let assert_refused = |method: &str, path: &str, body: &str, status: u16, words: &str| {
        let (found, response) = host.ask(method, path, body);
        let error = response["error"].as_str().unwrap_or_default();
        assert_eq!(found, status, "{method} {path}: {response}");
        assert!(error.contains(words), "{method} {path}: {error}");
    };
    let from = "{\"from\": \"2026-01-01T00:00:00Z\"}";
    for action in ["pause", "resume", "check"] {
        let path = format!("sources/none/{action}");
        assert_refused("POST", &path, "", 404, "there is no source \"none\"");
    }
    assert_refused("DELETE", "sources/none", "", 404, "there is no source");
    for action in ["pause", "resume"] {
        let path = format!("sources/acme/{action}");
        assert_refused("POST", &path, "", 409, "set `enabled = true` there");
    }
    assert_refused(
        "POST",
        "sources/acme/reset",
        from,
        409,
        "set `start` in its settings",
    );
    assert_refused(
        "POST",
        "sources/bad/check",
        "",
        409,
        "did you mean `enabled`?",
    );
    let bad = json!({"enabeld": true, "settings": {}}).to_string();
    assert_refused("PUT", "sources/new", &bad, 422, "did you mean `enabled`?");
    let bad = json!({"settings": {"client_id": "x"}}).to_string();
    assert_refused("PUT", "sources/new", &bad, 422, "`client_secret`");
    let bad = json!({"outputs": ["sime"], "settings": {}}).to_string();
    assert_refused("PUT", "sources/new", &bad, 422, "did you mean `siem`?");
    for name in ["..%2Fescape", ".hidden", "a%20b"] {
        assert_refused(
            "PUT",
            &format!("sources/{name}"),
            "{}",
            422,
            "the name of a source",
        );
    }
    let names: Vec<_> = fs::read_dir(fixture.path("sources")).unwrap().collect();
    assert_eq!(names.len(), 3, "nothing was written: {names:?}");
}

#[test]
fn a_source_of_the_settings_file_is_changed_there() {
    let fixture = HostFixture::new(&["acme"]);
    let (table, settings) = fixture
        .source_text("acme", "")
        .split_once("[settings]")
        .map(|(a, b)| {
            (
                a.to_owned(),
                b.replace("acme.secret", "sources/acme.secret"),
            )
        })
        .unwrap();
    fs::remove_file(fixture.source_file("acme")).unwrap();
    fixture.write_main(&format!(
        "[[source]]\nname = \"acme\"\n{table}[source.settings]{settings}"
    ));
    let host = fixture.start(&[]);
    host.wait_for_state("acme", "active");
    for (method, body) in [("PUT", "{}"), ("DELETE", "")] {
        let (status, response) = host.ask(method, "sources/acme", body);
        assert_eq!(status, 409, "{response}");
        assert!(
            response["error"]
                .as_str()
                .unwrap()
                .contains("change it there"),
            "{response}"
        );
    }
    assert_eq!(host.ask("POST", "sources/acme/pause", "").0, 200);
    host.wait_for_state("acme", "paused");
}

/// What the page sends for a new connector.
fn body(fixture: &HostFixture, name: &str) -> Value {
    let simulator = &fixture.simulators[name];
    json!({
        "enabled": true,
        "allow": [simulator.api_url(), simulator.storage_url()],
        "settings": {
            "base_url": simulator.api_url(),
            "client_id": simulator.client_id(),
            "client_secret": simulator.client_secret(),
            "streams": ["audit"],
            "format": "raw",
        },
    })
}

#[test]
fn a_source_is_put_tested_changed_reset_and_removed() {
    let mut fixture = HostFixture::new(&["other"]);
    fixture
        .simulators
        .insert("acme".to_owned(), simulator(tenant(5)));
    let host = fixture.start(&[]);
    let mut settings = body(&fixture, "acme");
    settings["settings"]["client_secret"] = json!("a wrong secret");
    assert_eq!(
        host.ask("PUT", "sources/acme", &settings.to_string()).0,
        200
    );
    host.wait_for_state("acme", "unauthorized");
    let (status, report) = host.ask("POST", "sources/acme/check", "");
    assert_eq!(
        (status, &report["successful"]),
        (200, &json!(false)),
        "{report:#}"
    );
    assert_eq!(
        report["streams"][0]["outcome"], "unauthorized",
        "{report:#}"
    );
    let file = fs::read_to_string(fixture.source_file("acme")).unwrap();
    assert!(!file.contains("a wrong secret"), "{file}");
    assert!(file.contains("acme.client_secret.secret"), "{file}");

    // A new secret takes effect at once, although the file of the source stays as it is.
    let settings = body(&fixture, "acme").to_string();
    assert_eq!(host.ask("PUT", "sources/acme", &settings).0, 200);
    assert_eq!(
        fs::read_to_string(fixture.source_file("acme")).unwrap(),
        file
    );
    host.wait_for_state("acme", "active");
    host.wait_for_events("acme", AUDIT_EVENTS);
    let (status, report) = host.ask("POST", "sources/acme/check", "");
    assert_eq!(
        (status, &report["successful"]),
        (200, &json!(true)),
        "{report:#}"
    );
    assert!(report["at"].as_str().unwrap().ends_with('Z'), "{report:#}");
    let (status, form) = host.ask("GET", "sources/acme/settings", "");
    assert_eq!((status, &form["editable"]), (200, &json!(true)), "{form:#}");
    let secret = fixture.simulators["acme"].client_secret();
    assert!(!form.to_string().contains(&secret), "{form}");

    // A reset starts the source again from that time, and its events keep their ids.
    let tokens = fixture.simulators["acme"]
        .requests()
        .finished_count(Endpoint::Token);
    host.wait_for_source("acme", "caught up", |source| {
        source["next_poll_at"].is_string()
    });
    assert_eq!(
        host.ask(
            "POST",
            "sources/acme/reset",
            "{\"from\": \"2020-01-01T00:00:00Z\"}"
        )
        .0,
        200
    );
    crate::setup::wait_until("the same events again", || {
        fixture.delivered("acme")
            == DeliveredCounts {
                distinct: AUDIT_EVENTS,
                total: 2 * AUDIT_EVENTS,
            }
    });
    assert!(
        fixture.simulators["acme"]
            .requests()
            .finished_count(Endpoint::Token)
            > tokens
    );
    let bad = "{\"streams\": [\"none\"], \"from\": \"2020-01-01T00:00:00Z\"}";
    let (status, response) = host.ask("POST", "sources/acme/reset", bad);
    assert_eq!(status, 422, "{response}");
    host.wait_for_state("acme", "active");

    assert_eq!(host.ask("DELETE", "sources/acme", "").0, 200);
    assert_eq!(host.ask("GET", "sources/acme", "").0, 404);
    let mut names: Vec<_> = fs::read_dir(fixture.path("sources"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["other.secret", "other.toml"]);
    assert!(fixture.path("state/acme.checkpoint.json").exists());

    // It returns where it was.
    assert_eq!(host.ask("PUT", "sources/acme", &settings).0, 200);
    host.wait_for_state("acme", "active");
    host.wait_for_source("acme", "caught up", |source| {
        source["next_poll_at"].is_string()
    });
    assert_eq!(
        fixture.delivered("acme"),
        DeliveredCounts {
            distinct: AUDIT_EVENTS,
            total: 2 * AUDIT_EVENTS
        }
    );
    assert_eq!(
        fixture.simulators["other"]
            .requests()
            .finished_count(Endpoint::Token),
        1
    );
}

#[test]
fn a_source_that_is_put_after_a_reload_uses_the_proxy_of_the_settings_by_then() {
    let mut fixture = HostFixture::new(&["other"]);
    fixture
        .simulators
        .insert("acme".to_owned(), simulator(tenant(5)));
    let mut host = fixture.start(&[]);
    host.wait_for_events("other", AUDIT_EVENTS);
    // Nothing listens there, and each source says through which proxy it fails.
    let text = fs::read_to_string(fixture.path("host.toml")).unwrap();
    let text = format!("proxy = \"http://127.0.0.1:1\"\n{text}");
    fs::write(fixture.path("host.toml"), text).unwrap();
    host.process.signal("-HUP");
    host.process
        .wait_for("`proxy` has changed: sources use it from now on, outputs after a restart");
    host.process.wait_for("settings read again");
    let settings = body(&fixture, "acme").to_string();
    assert_eq!(host.ask("PUT", "sources/acme", &settings).0, 200);
    let acme = host.wait_for_state("acme", "failing");
    let detail = acme["detail"].as_str().unwrap();
    assert!(detail.contains("127.0.0.1:1"), "{detail}");
    assert_eq!(
        fixture.simulators["acme"]
            .requests()
            .finished_count(Endpoint::Token),
        0
    );
}
