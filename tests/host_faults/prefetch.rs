//! One batch is fetched ahead while the one before it is delivered, and no more than one.

use std::collections::BTreeMap;
use std::sync::{Mutex, mpsc};

use mimecast_simulator::{Config, Endpoint};

use crate::server::{Server, response};
use crate::setup::{Setup, assert_success, small_config, stream_and_id, wait_until};

const EVENTS_PER_BATCH_MAX: usize = 25;

#[test]
fn one_batch_is_fetched_ahead_and_does_not_count_before_the_one_before_it_is_accepted() {
    let (release, released) = mpsc::channel::<()>();
    let first = Mutex::new(Some(released));
    let server = Server::start(move |_| {
        let first = first.lock().unwrap().take();
        if let Some(released) = first {
            // Nothing is sent: this returns an error when the test drops the sender.
            let _ = released.recv();
        }
        response(200, "")
    });
    // One window, whose first pages have records.
    let config = Config {
        audit_events: 0,
        odd_shapes: false,
        ..small_config()
    };
    let setup = Setup::new(config, "");
    let a_minute_ago = setup.simulator.now_ms() - 60_000;
    setup.simulator.add_audit(100, a_minute_ago);
    setup.write_source(
        &format!("max_events = {EVENTS_PER_BATCH_MAX}\nmax_requests = 1"),
        "streams = [\"audit\"]\nstart = \"1h\"",
        &format!(
            "type = \"http\"\nformat = \"ndjson\"\nendpoint = \"{}\"",
            server.url()
        ),
    );
    let pages = || setup.simulator.requests().begun_count(Endpoint::Post);
    let mut host = setup.start("run");
    wait_until("a batch is fetched ahead", || pages() == 2);
    wait_until("a batch is delivered", || !events(&server).is_empty());
    host.kill().unwrap();
    host.wait().unwrap();
    assert_eq!(pages(), 2);
    assert_eq!(events(&server).len(), EVENTS_PER_BATCH_MAX);

    assert_success(&setup.run_once());
    let events = events(&server);
    let ledger = setup.ledger();
    let ids = events.iter().map(|(_, id)| ledger.original("audit", id));
    let missing = ledger.missing("audit", ids);
    assert!(missing.is_empty(), "{missing:?}");
    let mut times = BTreeMap::<_, usize>::new();
    for event in events {
        *times.entry(event).or_default() += 1;
    }
    let repeated = times.values().filter(|times| **times > 1).count();
    assert_eq!(repeated, EVENTS_PER_BATCH_MAX, "{times:?}");
    assert!(times.values().all(|times| *times <= 2), "{times:?}");
    drop(release);
}

/// The stream and id of each event that the server has received.
fn events(server: &Server) -> Vec<(String, String)> {
    let received = server.received();
    let text = String::from_utf8_lossy(&received);
    let lines = text.lines().filter(|line| line.starts_with('{'));
    lines.map(stream_and_id).collect()
}
