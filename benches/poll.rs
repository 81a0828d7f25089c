//! What a large list costs the polls of other streams: a new session from a checkpoint that
//! remembers no or 20,000 held messages, in which only `audit` is due.

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark fails fast, and is no library"
)]
use std::hint::black_box;

use mimecast_source::batch::{Batch, Limits};
use mimecast_source::checkpoint::{Checkpoint, ListPosition, StreamPosition};
use mimecast_source::identity::RecordId;
use mimecast_source::machine::{Action, Machine};
use mimecast_source::response::Head;
use mimecast_source::session::Session;
use mimecast_source::settings::Settings;
use mimecast_source::stream::Stream;
use mimecast_source::streams::list_items::{Item, ListItems};
use mimecast_source::time::Timestamp;

#[path = "measure.rs"]
mod measure;

use measure::{Cost, cheapest_run, is_smoke_test, measure_cpu_time, print_header, print_row};

const NOW: Timestamp = Timestamp::from_millis(1_770_100_000_000);
const SETTINGS: &str =
    r#"{"client_id":"id","client_secret":"secret","streams":["audit","held-messages"]}"#;
const HELD: u32 = 20_000;

fn main() {
    let (runs, polls) = if is_smoke_test() { (1, 2) } else { (5, 200) };
    print_header();
    for (name, held) in [("no held message", 0), ("20,000 held messages", HELD)] {
        let text = checkpoint(held);
        let run = || {
            measure_cpu_time(|| {
                for _ in 0..polls {
                    let batch = poll(&text);
                    assert_eq!(batch.checkpoint.lines().count(), text.lines().count());
                    black_box(batch);
                }
            })
        };
        let cost = Cost {
            events: polls,
            bytes: text.len().saturating_mul(polls),
            time: cheapest_run(runs, run, |time| *time),
        };
        print_row(
            &format!("a poll of audit beside {name}"),
            cost,
            "a poll counts as an event",
        );
    }
}

/// A checkpoint whose list was just read.
fn checkpoint(held: u32) -> String {
    let mut items = ListItems::new(16, 600 * 1024);
    for n in 0..held {
        let id = RecordId::hash_bytes(Stream::HeldMessages, &n.to_le_bytes());
        assert!(items.add(&id, Item::default()));
    }
    let list = ListPosition {
        read_at: Some(NOW),
        items: items.to_text(),
        ..ListPosition::default()
    };
    let position = StreamPosition {
        list: Some(list),
        ..StreamPosition::default()
    };
    let mut checkpoint = Checkpoint::default();
    checkpoint
        .streams
        .insert(Stream::HeldMessages.name().to_owned(), position);
    checkpoint.into_bounded_text()
}

/// One poll of a session of its own, which asks for a token and for one empty page.
fn poll(checkpoint: &str) -> Batch {
    let settings = Settings::parse(SETTINGS).unwrap();
    let mut session = Session::open(settings, Some(checkpoint), NOW, 1).unwrap();
    let limits = Limits {
        max_events: 1000,
        max_bytes: 1 << 24,
        max_requests: 10,
    };
    session.begin(limits, NOW);
    let mut body = None;
    loop {
        match session.next(NOW) {
            Action::Send(request) => {
                let is_token = request.url.ends_with("/oauth/token");
                body = Some(if is_token {
                    br#"{"access_token":"token","expires_in":1799}"#.to_vec()
                } else {
                    br#"{"meta":{"status":200},"data":[]}"#.to_vec()
                });
                let response = Head {
                    status: 200,
                    headers: Vec::new(),
                };
                session.handle_head(response, NOW);
            }
            Action::Continue => {}
            Action::Read => match body.take() {
                Some(chunk) => session.handle_chunk(chunk, NOW),
                None => session.handle_end(NOW),
            },
            Action::Yield(result) => return result.unwrap(),
        }
    }
}
