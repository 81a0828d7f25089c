//! What happens to the component's requests where a host or a server refuses them, and to
//! thousands of them.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use tempfile::TempDir;

use crate::server::{Server, response};
use crate::setup::hard_link_machine_code;

const TOKEN: &str = r#"{"access_token":"t","token_type":"Bearer","expires_in":1800}"#;

/// A folder with a settings file, and a host that is run there.
pub(crate) struct CommandFixture {
    pub(crate) folder: TempDir,
}

impl CommandFixture {
    /// A source of that API; `allow` is the content of the `allow` list.
    pub(crate) fn new(api: &str, allow: &str, settings: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let text = format!(
            "state_dir = \"state\"\n[[source]]\nname = \"acme\"\nallow = [{allow}]\n\
             [source.settings]\nbase_url = \"{api}\"\nclient_id = \"id\"\n\
             client_secret = \"hush-4711\"\n{settings}\n\
             [[output]]\ntype = \"file\"\npath = \"events.ndjson\"\n"
        );
        fs::write(folder.path().join("host.toml"), text).unwrap();
        hard_link_machine_code(&folder.path().join("state/cache"));
        Self { folder }
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> (Output, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_source-host"))
            .args(arguments)
            .arg("host.toml")
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let output_text = [&*output.stdout, &*output.stderr].concat();
        let output_text = String::from_utf8_lossy(&output_text).into_owned();
        (output, output_text)
    }
}

/// A URL at which nothing listens. A port that was free a moment ago may be another test's by now.
const UNREACHABLE_URL: &str = "http://127.0.0.1:1";

#[test]
fn the_reason_of_a_refused_request_is_that_of_the_host_at_every_try() {
    let api = UNREACHABLE_URL;
    let refused = CommandFixture::new(api, &format!("\"{api}\""), "streams = [\"audit\", \"dlp\"]");
    // `allow_only` replaces the component's own list, which contains the API.
    let denied = CommandFixture::new(api, "\"https://other.invalid\"", "");
    let settings = denied.folder.path().join("host.toml");
    let text = fs::read_to_string(&settings).unwrap();
    let text = text.replace(&format!("base_url = \"{api}\"\n"), "");
    fs::write(&settings, text.replace("allow = ", "allow_only = ")).unwrap();
    let tries = 10;
    for _ in 0..tries {
        let (output, output_text) = refused.run(&["check"]);
        assert_eq!(output.status.code(), Some(1), "{output_text}");
        let reason = "connection refused; is there a firewall or proxy in between?";
        assert_eq!(output_text.matches(reason).count(), 1, "{output_text}");
        assert!(!output_text.contains("ErrorCode"), "{output_text}");
    }
    for verb in ["check", "validate"] {
        for _ in 0..tries {
            let (output, output_text) = denied.run(&[verb]);
            assert_eq!(output.status.code(), Some(78), "{verb}: {output_text}");
            let reason = "https://api.services.mimecast.com is not on the allow-list of `acme`";
            assert!(output_text.contains(reason), "{verb}: {output_text}");
        }
    }
}

#[test]
fn a_response_that_comes_before_the_request_body_was_read_is_read() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let api = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut first = [0; 1];
            if stream.read(&mut first).unwrap_or(0) == 0 {
                continue;
            }
            let body = r#"{"fail":[{"code":"invalid_client","message":"early"}]}"#;
            let head = format!(
                "HTTP/1.1 400 Bad\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            let _ = stream.write_all(head.as_bytes());
            // What is left of the request is read, so that nothing resets the connection.
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        }
    });
    let fixture = CommandFixture::new(&api, &format!("\"{api}\""), "streams = [\"audit\"]");
    for _ in 0..5 {
        let (_, output_text) = fixture.run(&["check"]);
        assert!(
            output_text.contains("HTTP 400 invalid_client early"),
            "{output_text}"
        );
    }
}

#[test]
fn four_thousand_requests_are_made_by_one_instance() {
    const PAGES: usize = 4_000;
    let pages = AtomicUsize::new(0);
    let api = Server::start(move |head| {
        if head.contains("/oauth/token") {
            return response(200, TOKEN);
        }
        let page = pages.fetch_add(1, Ordering::SeqCst) + 1;
        let next = match page {
            ..PAGES => format!("\"next\":\"page-{page}\""),
            _ => String::new(),
        };
        let data = match page {
            ..=PAGES => format!(
                "{{\"id\":\"e{page}\",\"auditType\":\"T\",\"user\":\"a@example.com\",\"eventTime\":\"2026-02-03T04:05:06+0000\"}}"
            ),
            _ => String::new(),
        };
        response(
            200,
            format!(
                "{{\"meta\":{{\"status\":200,\"pagination\":{{{next}}}}},\"data\":[{data}],\"fail\":[]}}"
            ),
        )
    });
    let url = api.url();
    let settings = "streams = [\"audit\"]\nstart = \"1h\"";
    let fixture = CommandFixture::new(&url, &format!("\"{url}\""), settings);
    let (output, output_text) = fixture.run(&["run", "--once"]);
    assert_eq!(output.status.code(), Some(0), "{output_text}");
    assert!(
        !output_text.contains("trap") && !output_text.contains("resource table"),
        "{output_text}"
    );
    let events = fs::read_to_string(fixture.folder.path().join("events.ndjson")).unwrap();
    assert_eq!(events.lines().count(), PAGES);
}
