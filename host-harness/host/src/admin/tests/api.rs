use super::*;

#[tokio::test]
async fn probes_answer_without_a_token_and_by_any_name() {
    let running = start_with(&format!("listen = \"0.0.0.0:0\"\ntoken = \"{TOKEN}\"")).await;
    let local = SocketAddr::from(([127, 0, 0, 1], running.address().port()));
    let probe = |path: &'static str| request(local, "GET", path, &[("host", "any.test")], "");
    assert_eq!(probe("/livez").await.status, 200);
    let unready = probe("/readyz").await;
    assert_eq!(
        (unready.status, unready.error().contains("not loaded yet")),
        (503, true)
    );
    running.registry.set_ready(true);
    assert_eq!(probe("/readyz").await.status, 200);
    // Nothing else is there for those who have no token.
    assert_eq!(get(local, "/metrics").await.status, 401);
    assert_eq!(get(local, "/api/v1/status").await.status, 401);
    assert_eq!(get(local, "/").await.status, 200);
    let token = format!("Bearer {TOKEN}");
    let with = request(local, "GET", "/metrics", &[("authorization", &token)], "").await;
    assert_eq!(with.status, 200);
}

#[tokio::test]
async fn a_host_that_cannot_store_checkpoints_is_not_ready() {
    let running = start().await;
    running.registry.set_ready(true);
    std::fs::remove_dir_all(running.state_dir.path()).unwrap();
    let unready = get(running.address(), "/readyz").await;
    assert_eq!(unready.status, 503);
    assert!(unready.error().contains("state directory"), "{unready:?}");
    let path = running.state_dir.path().to_string_lossy();
    assert!(!unready.body.contains(&*path), "{unready:?}");
}

#[tokio::test]
async fn status_is_what_the_registry_reports() {
    let running = start().await;
    add(&running.registry, "acme", State::Active);
    let response = get(running.address(), "/api/v1/status").await;
    assert_eq!(response.headers["content-type"], "application/json");
    assert_eq!(response.headers["cache-control"], "no-store");
    let status = response.json();
    assert_eq!(status["host"]["running"], true);
    assert_eq!(status["sources"][0]["source"], "acme");
    assert_eq!(status["sources"][0]["streams"]["audit"]["events"], 7);
    let source = get(running.address(), "/api/v1/sources/acme").await.json();
    assert_eq!(source["streams"], status["sources"][0]["streams"]);
    running.registry.set_ready(true);
    let none = get(running.address(), "/api/v1/sources/none").await;
    assert_eq!(none.status, 404);
    assert!(none.error().contains("\"none\""), "{none:?}");
}

#[tokio::test]
async fn a_source_is_missing_only_after_all_sources_are_loaded() {
    let running = start().await;
    let address = running.address();
    add(&running.registry, "acme", State::Starting);
    let no_source = ControlError::NotFound("no source".to_owned());
    for (is_ready, expected) in [(false, 503), (true, 404)] {
        running.registry.set_ready(is_ready);
        for path in ["/api/v1/sources/none", "/api/v1/sources/none/history"] {
            assert_eq!(get(address, path).await.status, expected, "{path}");
        }
        running.control.fail_with(no_source.clone());
        let path = "/api/v1/sources/none/pause";
        let refused = change(address, "POST", path, "").await;
        assert_eq!(refused.status, expected, "{refused:?}");
        // What is known already, and a path that never exists.
        let known = get(address, "/api/v1/sources/acme").await;
        assert_eq!(known.status, 200, "{known:?}");
        assert_eq!(get(address, "/api/v1/nothing").await.status, 404);
    }
}

#[tokio::test]
async fn ten_thousand_sources_are_searched_filtered_and_paged() {
    let running = start().await;
    for number in 0..10_000 {
        let state = if number % 100 == 0 {
            State::Failing
        } else {
            State::Active
        };
        add(&running.registry, &format!("tenant-{number:05}"), state);
    }
    let address = running.address();
    let page = get(address, "/api/v1/sources").await;
    assert!(page.body.len() < 200_000, "{}", page.body.len());
    let page = page.json();
    assert_eq!(
        (page["total"].as_u64(), page["limit"].as_u64()),
        (Some(10_000), Some(100))
    );
    assert_eq!(page["states"], json!({ "active": 9_900, "failing": 100 }));
    assert_eq!(page["sources"].as_array().unwrap().len(), 100);
    let row = &page["sources"][0];
    assert_eq!(
        (row["events"].as_u64(), row.get("streams")),
        (Some(7), None)
    );
    assert!(Time::parse(page["at"].as_str().unwrap()).is_some());

    let second = get(address, "/api/v1/sources?state=failing&limit=30&offset=90")
        .await
        .json();
    assert_eq!(second["total"], 100);
    let names = second["sources"].as_array().unwrap();
    assert_eq!(
        (names.len(), &names[9]["source"]),
        (10, &json!("tenant-09900"))
    );
    let found = get(address, "/api/v1/sources?search=TENANT-0123")
        .await
        .json();
    assert_eq!(found["total"], 10);
    assert_eq!(found["states"], json!({ "active": 10 }));
    let most = get(address, "/api/v1/sources?limit=99999&search=tenant")
        .await
        .json();
    assert_eq!(most["sources"].as_array().unwrap().len(), 1_000);
    for (query, message) in [
        ("state=broken", "not-permitted"),
        ("limit=x", "limit"),
        ("page=2", "offset"),
    ] {
        let refused = get(address, &format!("/api/v1/sources?{query}")).await;
        assert_eq!(refused.status, 400, "{query}");
        assert!(refused.error().contains(message), "{refused:?}");
    }
    let none = get(address, "/api/v1/sources?search=zzz&offset=5")
        .await
        .json();
    assert_eq!(
        (
            none["total"].as_u64(),
            none["sources"].as_array().unwrap().len()
        ),
        (Some(0), 0)
    );
}

#[tokio::test]
async fn actions_are_passed_on_and_their_errors_say_what_to_do() {
    let running = start().await;
    let address = running.address();
    let bare = request(address, "POST", "/api/v1/sources/acme/pause", &[], "").await;
    assert_eq!(bare.status, 401);
    assert!(
        bare.headers["www-authenticate"].starts_with("Bearer"),
        "{bare:?}"
    );
    assert_eq!(running.control.take(), Vec::<String>::new());

    for (method, path, call) in [
        ("POST", "/pause", "pause acme"),
        ("POST", "/resume", "resume acme"),
        ("POST", "/check", "check acme"),
        ("DELETE", "", "delete acme"),
    ] {
        let path = format!("/api/v1/sources/acme{path}");
        assert_eq!(
            change(address, method, &path, "").await.status,
            200,
            "{path}"
        );
        assert_eq!(running.control.take(), [call]);
    }
    running.registry.set_ready(true);
    for (error, status) in [
        (ControlError::NotFound("no source".to_owned()), 404),
        (ControlError::Conflict("is paused".to_owned()), 409),
        (
            ControlError::Invalid(vec!["first".to_owned(), "second".to_owned()]),
            422,
        ),
        (ControlError::Failed("disk full".to_owned()), 500),
    ] {
        running.control.fail_with(error);
        let refused = change(address, "POST", "/api/v1/sources/acme/resume", "").await;
        assert_eq!(refused.status, status);
        if status == 422 {
            assert_eq!(refused.json()["errors"], json!(["first", "second"]));
        }
        assert!(!refused.error().is_empty());
    }
}

#[tokio::test]
async fn a_reset_names_streams_and_a_time_before_now() {
    let running = start().await;
    let address = running.address();
    let path = "/api/v1/sources/acme/reset";
    let body = "{\"streams\": [\"audit\"], \"from\": \"2026-11-01T00:00:00Z\"}";
    assert_eq!(change(address, "POST", path, body).await.status, 200);
    let body = "{\"from\": \"2026-11-01T00:00:00Z\"}";
    assert_eq!(change(address, "POST", path, body).await.status, 200);
    let calls = [
        "reset acme [\"audit\"] 1793491200000",
        "reset acme [] 1793491200000",
    ];
    assert_eq!(running.control.take(), calls);
    for body in [
        "{}",
        "{\"from\": \"yesterday\"}",
        "{\"from\": \"2999-01-01T00:00:00Z\"}",
        "{\"from\": \"2026-11-01T00:00:00Z\", \"stream\": \"audit\"}",
        "[]",
    ] {
        let refused = change(address, "POST", path, body).await;
        assert_eq!(refused.status, 422, "{body}");
        assert!(
            refused.error().contains("2026-11-01T00:00:00Z"),
            "{refused:?}"
        );
    }
    assert_eq!(running.control.take(), Vec::<String>::new());
}

#[tokio::test]
async fn settings_are_written_only_from_json_of_a_bounded_size() {
    let running = start().await;
    let address = running.address();
    let path = "/api/v1/sources/acme";
    let token = format!("Bearer {TOKEN}");
    let authorized = ("authorization", token.as_str());
    let body = "{\"settings\":{}}";
    let form = ("content-type", "application/x-www-form-urlencoded");
    for headers in [vec![authorized], vec![authorized, form]] {
        assert_eq!(
            request(address, "PUT", path, &headers, body).await.status,
            415
        );
    }
    assert_eq!(change(address, "PUT", path, "{").await.status, 400);
    assert_eq!(change(address, "PUT", path, "[1]").await.status, 422);
    let large = format!("{{\"a\":\"{}\"}}", "x".repeat(300_000));
    assert_eq!(change(address, "PUT", path, &large).await.status, 413);
    let json = ("content-type", "application/json");
    let chunked = ("transfer-encoding", "chunked");
    let mut chunks = format!("{:x}\r\n{large}\r\n0\r\n\r\n", large.len());
    let stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "PUT {path} HTTP/1.1\r\nconnection: close\r\nhost: localhost\r\n{}: {}\r\n{}: {}\r\n{}: {}\r\n\r\n",
        authorized.0, authorized.1, json.0, json.1, chunked.0, chunked.1
    );
    chunks.insert_str(0, &head);
    assert_eq!(send(stream, &chunks).await.status, 413);
    assert_eq!(running.control.take(), Vec::<String>::new());

    assert_eq!(change(address, "PUT", path, body).await.status, 200);
    assert_eq!(
        running.control.take(),
        ["put acme {\"settings\":{}} CreateOrReplace"]
    );
    add(&running.registry, "acme", State::Active);
    let headers = [authorized, json, ("if-none-match", "*")];
    let refused = request(address, "PUT", path, &headers, body).await;
    assert_eq!((refused.status, running.control.take().len()), (409, 0));
    let other = request(address, "PUT", "/api/v1/sources/new", &headers, body).await;
    assert_eq!(other.status, 200);
    assert_eq!(running.control.take(), ["put new {\"settings\":{}} Create"]);
}

async fn send(mut stream: TcpStream, text: &str) -> TestResponse {
    let _ = stream.write_all(text.as_bytes()).await;
    let mut response = Vec::new();
    let _ = stream.read_to_end(&mut response).await;
    parse(&String::from_utf8(response).unwrap())
}

#[tokio::test]
async fn unknown_paths_and_methods_are_refused_as_json() {
    let running = start().await;
    let address = running.address();
    let none = get(address, "/api/v2").await;
    assert_eq!(none.status, 404);
    assert!(none.error().contains("/api/v1"), "{none:?}");
    let method = change(address, "DELETE", "/api/v1/status", "").await;
    assert_eq!(method.status, 405);
    assert!(method.headers["allow"].contains("GET"), "{method:?}");
    assert!(method.error().contains("`Allow`"), "{method:?}");
    let head = request(address, "HEAD", "/api/v1/status", &[], "").await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    let rebound = request(
        address,
        "GET",
        "/api/v1/status",
        &[("host", "evil.test")],
        "",
    )
    .await;
    assert_eq!(rebound.status, 421);
    assert!(rebound.error().contains("[admin] hosts"), "{rebound:?}");
}

#[tokio::test]
async fn files_of_the_page_are_served_with_what_protects_them() {
    let running = start().await;
    let address = running.address();
    for (path, content_type, bytes) in super::super::page::ASSETS {
        let file = get(address, path).await;
        assert_eq!(file.status, 200, "{path}");
        assert_eq!(file.body.as_bytes(), *bytes, "{path}");
        assert_eq!(file.headers["content-type"], *content_type, "{path}");
        assert_eq!(file.headers["x-content-type-options"], "nosniff");
        assert_eq!(file.headers["referrer-policy"], "no-referrer");
        assert_eq!(file.headers["cache-control"], "no-cache");
        let policy = &file.headers["content-security-policy"];
        assert!(
            policy.starts_with("default-src 'none'; script-src 'self'"),
            "{policy}"
        );
        assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
        let known = ("if-none-match", file.headers["etag"].as_str());
        let again = request(address, "GET", path, &[known], "").await;
        assert_eq!((again.status, again.body.as_str()), (304, ""), "{path}");
    }
    let api = get(address, "/api/v1/status").await;
    assert!(api.headers["content-security-policy"].starts_with("default-src 'none'"));
    assert!(!api.headers.contains_key("set-cookie"));
}

#[tokio::test]
async fn the_history_of_a_source_is_a_list_of_points_and_an_unknown_source_has_none() {
    let running = start().await;
    let address = running.address();
    running.registry.set_ready(true);
    assert_eq!(
        get(address, "/api/v1/sources/acme/history").await.status,
        404
    );
    add(&running.registry, "acme", State::Active);
    let history = get(address, "/api/v1/sources/acme/history").await;
    assert_eq!(history.status, 200);
    assert!(history.json()["points"].is_array());
}

#[tokio::test]
async fn a_new_token_is_accepted_without_a_restart_and_the_old_one_no_longer() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("admin.token");
    std::fs::write(&path, TOKEN).unwrap();
    let lines = "listen = \"127.0.0.1:0\"\ntoken = { file = \"admin.token\" }";
    let server = AdminServer::bind(&settings(lines, directory.path()))
        .await
        .unwrap();
    let running = start_bound(server, directory);
    let pause = "/api/v1/sources/acme/pause";
    assert_eq!(
        change(running.address(), "POST", pause, "").await.status,
        200
    );
    let other = "another-token-of-more-characters-than-the-first";
    std::fs::write(&path, other).unwrap();
    assert_eq!(
        change(running.address(), "POST", pause, "").await.status,
        401
    );
    let headers = [("authorization", &*format!("Bearer {other}"))];
    let accepted = request(running.address(), "POST", pause, &headers, "").await;
    assert_eq!(accepted.status, 200);
}
