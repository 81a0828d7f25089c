//! What never gets better is asked for seldom: the requests of an hour, counted.

use crate::batch::Next;
use crate::response::TransportError;
use crate::session::PollError;
use crate::testing::legacy::{Legacy, settings};
use crate::testing::{Answer, Host, Upstream, gzip};

/// A failure, and how often what fails may be asked for in an hour.
type Row = (&'static str, &'static str, Answer, usize);

fn json(status: u16, body: &str) -> Answer {
    Answer::json(status, body)
}

/// No response: what the host says of the connection is all that is known.
fn nothing(why: &str) -> Answer {
    Answer::Nothing(TransportError::Failed(why.to_owned()))
}

/// A head, and a body that stands still until the host gives it up.
fn stalled() -> Answer {
    Answer::Cut(b"{\"value\":[{\"url\":\"".to_vec(), 9)
}

fn html() -> Answer {
    json(200, "<html>maintenance</html>")
}

fn throttled(header: &str, value: &str) -> Answer {
    Answer::with(429, &[(header, value)], "")
}

/// What can fail for ever wherever the API is asked, and how often one stream asks for it then.
fn everywhere(part: &'static str, streams: usize) -> Vec<Row> {
    // By the table of `retry`: the waits of an hour that are shortest. A refused token is renewed
    // once each time, and a developer key is tried once more.
    const BROKEN: usize = 20;
    const ODD: usize = 13;
    const THROTTLED: usize = 10;
    const FORBIDDEN: usize = 2;
    let at_once = |status, header: &str| Answer::with(status, &[(header, "0")], "");
    let location = [("location", "https://elsewhere.test/")];
    let of_one_stream = [
        ("429", json(429, ""), THROTTLED),
        ("429, soon", throttled("x-ratelimit-reset", "1000"), BROKEN),
        ("429, at once", at_once(429, "retry-after"), BROKEN),
        (
            "429, reset at once",
            at_once(429, "x-ratelimit-reset"),
            BROKEN,
        ),
        ("500", json(500, ""), BROKEN),
        ("502", json(502, "<html>"), BROKEN),
        ("503", json(503, ""), BROKEN),
        ("503, at once", at_once(503, "retry-after"), BROKEN),
        ("504", json(504, ""), BROKEN),
        ("refused", nothing("ErrorCode::ConnectionRefused"), BROKEN),
        ("no such name", nothing("ErrorCode::DnsError"), BROKEN),
        ("TLS", nothing("ErrorCode::TlsCertificateError"), BROKEN),
        ("stalled body", stalled(), BROKEN),
        ("HTML", html(), ODD),
        ("nothing", json(200, ""), ODD),
        ("{}", json(200, "{}"), ODD),
        ("302", Answer::with(302, &location, ""), ODD),
        ("400", json(400, ""), ODD),
        ("401", json(401, ""), 2 * ODD),
        ("403", json(403, ""), FORBIDDEN),
        ("404", json(404, ""), FORBIDDEN),
        ("418", json(418, ""), FORBIDDEN + 1),
    ];
    of_one_stream
        .map(|(fault, answer, most)| (fault, part, answer, most * streams))
        .to_vec()
}

#[test]
fn a_permanent_failure_is_never_asked_in_a_tight_loop() {
    let mut rows = everywhere("/oauth/token", 1);
    rows.extend(everywhere("/cg?", 2));
    rows.extend(everywhere("get-audit", 1));
    let endless = r#"{"value":[],"@nextPage":"9","isCaughtUp":false}"#;
    // Of ten files, each is tried three times and then given up.
    rows.extend([
        ("never caught up", "/cg?", json(200, endless), 40),
        ("403", "files.test", json(403, "<Error/>"), 30),
        ("404", "files.test", json(404, "<Error/>"), 30),
        ("410", "files.test", json(410, "<Error/>"), 30),
        ("not gzip", "files.test", json(200, "no gzip"), 30),
        ("empty", "files.test", json(200, ""), 30),
        ("429", "files.test", json(429, ""), 20),
        ("503", "files.test", json(503, ""), 40),
        ("refused", "files.test", nothing("refused"), 40),
        ("stalled body", "files.test", Answer::Cut(gzip("{}"), 5), 40),
    ]);
    for row in rows {
        assert_seldom(row, &mut upstream(), &mut host());
    }
}

#[test]
fn a_permanent_failure_of_api_1_0_is_never_asked_in_a_tight_loop() {
    let mut rows = everywhere("discover-authentication", 1);
    rows.extend(everywhere("get-siem-logs", 1));
    rows.extend(everywhere("get-audit", 1));
    rows.push(("not zip", "get-siem-logs", json(200, "no zip"), 13));
    for row in rows {
        assert_seldom(row, &mut legacy_upstream(), &mut legacy_host());
    }
}

/// Runs for an hour, or until the host would end.
fn assert_seldom((fault, part, answer, most): Row, upstream: &mut Upstream, host: &mut Host) {
    upstream.always.push((part.to_owned(), answer));
    let end = upstream.now.plus_ms(3_600_000);
    while upstream.now < end {
        let wait_ms = match host.poll(upstream) {
            Ok(batch) => match batch.next {
                Next::Now => 0,
                Next::CaughtUp(ms) | Next::Failing(ms) | Next::Throttled(ms) => ms,
            },
            Err(PollError::Unavailable(f) | PollError::Throttled(f) | PollError::Protocol(f)) => {
                assert!(f.retry_after_ms > 0, "{part} {fault}");
                f.retry_after_ms
            }
            Err(PollError::Unauthorized(_)) => break,
            Err(other) => panic!("{part} {fault}: {other:?}"),
        };
        upstream.now = upstream.now.plus_ms(wait_ms.try_into().unwrap());
    }
    let asked = upstream.requests.iter().filter(|it| it.contains(part));
    let asked = asked.count();
    assert!((1..=most).contains(&asked), "{part} {fault}: {asked} times");
    // With the other streams, and the tokens that were renewed.
    let all = upstream.requests.len();
    assert!(all < 200, "{part} {fault}: {all} requests");
}

/// Two types, and a day of audit events.
fn upstream() -> Upstream {
    let mut upstream = Upstream::new();
    for event_type in ["receipt", "url protect"] {
        for file in 0..5 {
            upstream.add_file(event_type, 3 + 4 * file);
        }
    }
    add_audit(&mut upstream);
    upstream
}

fn host() -> Host {
    Host::new(r#","streams":["siem.receipt","siem.url-protect","audit"]"#)
}

fn legacy_upstream() -> Upstream {
    let mut upstream = Upstream::new();
    let mut legacy = Legacy::new();
    let at = upstream.now.plus_ms(-3_600_000);
    for _ in 0..4 {
        legacy.add_file("receipt", 4, at);
    }
    upstream.legacy = Some(legacy);
    add_audit(&mut upstream);
    upstream
}

fn legacy_host() -> Host {
    Host::with_settings(settings(r#","streams":["siem","audit"]"#))
}

fn add_audit(upstream: &mut Upstream) {
    for n in 0..10 {
        let at = upstream.now.plus_ms(-20 * 3_600_000 + n * 1_800_000);
        upstream.add_audit(&format!("a{n}"), at);
    }
}
