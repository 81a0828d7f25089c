//! Slow and silent responses delay only their own stream.

use crate::batch::Limits;
use crate::session::PollError;
use crate::testing::{Host, Upstream, wait_ms};

/// A stream of files and 50 audit events.
fn upstream() -> Upstream {
    let mut upstream = Upstream::new();
    upstream.page_records = 100;
    for n in 0..50 {
        let at = upstream.now.plus_ms(-n * 60_000 - 3_600_000);
        upstream.add_audit(&format!("a{n}"), at);
    }
    upstream.add_file("receipt", 3);
    upstream
}

fn host() -> Host {
    let mut host = Host::new(r#","streams":["siem.receipt","audit"]"#);
    host.limits = Limits {
        max_events: 10_000,
        max_bytes: 1 << 24,
        max_requests: 100,
    };
    host
}

/// Polls for `ms` like a host that aborts each poll after `timeout_ms` and restarts from the last
/// checkpoint.
fn run_for(host: &mut Host, upstream: &mut Upstream, (ms, timeout_ms): (i64, i64)) {
    let end = upstream.now.plus_ms(ms);
    while upstream.now < end {
        let began = upstream.now;
        let checkpoint = host.checkpoint.clone();
        let delivered = host.delivered.len();
        let polled = host.poll(upstream);
        if upstream.now > began.plus_ms(timeout_ms) {
            // The host has ended the call before it returned.
            host.session = None;
            host.checkpoint = checkpoint;
            host.delivered.truncate(delivered);
            upstream.now = began.plus_ms(timeout_ms + 1_000);
            continue;
        }
        let pause_ms = match polled {
            Ok(batch) => wait_ms(batch.next),
            Err(PollError::Unavailable(failure)) => failure.retry_after_ms.try_into().unwrap(),
            Err(other) => panic!("{other:?}"),
        };
        upstream.now = upstream.now.plus_ms(pause_ms);
    }
}

fn audit_events(host: &Host) -> usize {
    let audit = host.delivered.iter();
    audit.filter(|key| key.starts_with("audit/")).count()
}

#[test]
fn a_page_at_a_byte_a_second_does_not_stop_the_other_streams() {
    for fresh_each_poll in [false, true] {
        for part in ["/cg?", "files.test"] {
            let (mut upstream, mut host) = (upstream(), host());
            host.fresh_each_poll = fresh_each_poll;
            upstream.slow_responses.push((part.to_owned(), 1, 1_000));
            run_for(&mut host, &mut upstream, (60_000, 8_000));
            let asked = &upstream.requests;
            assert_eq!(
                audit_events(&host),
                50,
                "{part} {fresh_each_poll}: {asked:#?}"
            );
            upstream.slow_responses.clear();
            run_for(&mut host, &mut upstream, (1_200_000, 8_000));
            host.collect(&mut upstream);
            host.assert_exactly_once(&upstream);
        }
    }
}

#[test]
fn the_stream_of_a_slow_page_backs_off_with_growing_waits() {
    let (mut upstream, mut host) = (upstream(), host());
    upstream.slow_responses.push(("/cg?".to_owned(), 1, 1_000));
    run_for(&mut host, &mut upstream, (3_600_000, 300_000));
    let asked = upstream.requests.iter().filter(|it| it.contains("/cg?"));
    let asked = asked.count();
    assert!((8..=25).contains(&asked), "{asked}");
    let text = format!("{:?}", host.notices);
    assert!(text.contains("less than 1 KiB/s"), "{text}");
}

#[test]
fn a_silent_body_does_not_stop_the_other_streams() {
    for fresh_each_poll in [false, true] {
        let (mut upstream, mut host) = (upstream(), host());
        host.fresh_each_poll = fresh_each_poll;
        upstream
            .slow_responses
            .push(("/cg?".to_owned(), 1, 3_600_000));
        run_for(&mut host, &mut upstream, (120_000, 8_000));
        assert_eq!(audit_events(&host), 50, "{fresh_each_poll}");
    }
}

#[test]
fn a_response_that_takes_longer_than_a_poll_is_still_read() {
    for fresh_each_poll in [false, true] {
        let (mut upstream, mut host) = (upstream(), host());
        host.fresh_each_poll = fresh_each_poll;
        // Some 5 KiB in 20 s, and no poll may end inside it before that.
        upstream
            .slow_responses
            .push(("get-audit".to_owned(), 250, 900));
        run_for(&mut host, &mut upstream, (900_000, 60_000));
        host.collect(&mut upstream);
        host.assert_exactly_once(&upstream);
    }
}

#[test]
fn a_slow_file_is_resumed_at_its_line() {
    let (mut upstream, mut host) = (upstream(), host());
    upstream.add_file("receipt", 5_000);
    upstream
        .slow_responses
        .push(("files.test/receipt/1".to_owned(), 100, 1_000));
    run_for(&mut host, &mut upstream, (240_000, 8_000));
    assert_eq!(audit_events(&host), 50);
    let read = host.delivered.len();
    assert!((54..5_000).contains(&read), "{read}");
    upstream.slow_responses.clear();
    run_for(&mut host, &mut upstream, (1_200_000, 8_000));
    host.collect(&mut upstream);
    host.assert_exactly_once(&upstream);
}

#[test]
fn a_large_chunk_of_lines_is_read_in_slices() {
    use crate::machine::{Action, Machine};
    let (mut upstream, mut host) = (upstream(), host());
    host.limits.max_events = 100_000;
    host.collect(&mut upstream);
    upstream.add_file("receipt", 20_000);
    let text = upstream.files["receipt"][1].clone();
    assert!(text.len() > 1 << 20);
    let mut session = host.session.take().unwrap();
    let now = upstream.now.plus_ms(600_000);
    session.begin(host.limits, now);
    let mut continued = 0;
    let mut body = None;
    loop {
        match session.next(now) {
            Action::Continue => continued += 1,
            Action::Send(request) => {
                let is_file = request.url.contains("files.test");
                let listing = r#"{"value":[{"url":"https://files.test/receipt/1","size":1}],"@nextPage":"2","isCaughtUp":true}"#;
                body = Some(if is_file {
                    crate::testing::gzip(&text)
                } else {
                    listing.as_bytes().to_vec()
                });
                let head = crate::response::Head {
                    status: 200,
                    headers: Vec::new(),
                };
                session.handle_head(head, now);
            }
            Action::Read => match body.take() {
                Some(body) => session.handle_chunk(body, now),
                None => session.handle_end(now),
            },
            Action::Yield(_) => break,
        }
    }
    assert!(continued >= 4, "{continued}");
}
