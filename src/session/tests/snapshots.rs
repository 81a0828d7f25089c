//! Lists of what is there now, through a session against the scripted upstream.

use std::collections::BTreeSet;

use crate::checkpoint::CHECKPOINT_BYTES_MAX;
use crate::stream::Stream;
use crate::testing::{Host, Upstream};

#[test]
fn held_messages_are_told_when_they_appear_and_when_they_are_gone() {
    let mut upstream = Upstream::new();
    let now = upstream.now;
    for n in 0..8 {
        upstream
            .tenant
            .add(Stream::HeldMessages, &format!("h{n}"), (now, now));
    }
    let mut host = Host::new(r#","streams":["held-messages"]"#);
    host.fresh_each_poll = true;
    host.limits.max_events = 3;
    host.collect(&mut upstream);
    host.assert_exactly_once(&upstream);
    upstream
        .tenant
        .lists
        .get_mut(&Stream::HeldMessages)
        .unwrap()
        .drain(2..5);
    let at = upstream.now;
    upstream.tenant.add(Stream::HeldMessages, "new", (at, at));
    for _ in 0..4 {
        upstream.now = upstream.now.plus_ms(6 * 60_000);
        host.collect(&mut upstream);
    }
    let first_id = |n: usize| {
        host.ids[&format!("held-messages/h{n}")]
            .first()
            .unwrap()
            .clone()
    };
    let gone: BTreeSet<String> = (2..5).map(|n| format!("gone/{}", first_id(n))).collect();
    let emitted: Vec<&String> = host
        .delivered
        .iter()
        .filter(|key| key.starts_with("gone/"))
        .collect();
    assert_eq!(emitted.len(), 3);
    assert_eq!(emitted.into_iter().cloned().collect::<BTreeSet<_>>(), gone);
    assert_eq!(host.delivered.len(), 8 + 3 + 1);
}

#[test]
fn a_message_that_one_reading_misses_has_not_left() {
    let mut upstream = Upstream::new();
    let now = upstream.now;
    upstream.tenant.add(Stream::HeldMessages, "h", (now, now));
    let mut host = Host::new(r#","streams":["held-messages"]"#);
    host.collect(&mut upstream);
    let list = upstream.tenant.lists.remove(&Stream::HeldMessages).unwrap();
    upstream.now = upstream.now.plus_ms(6 * 60_000);
    host.collect(&mut upstream);
    upstream.tenant.lists.insert(Stream::HeldMessages, list);
    for _ in 0..3 {
        upstream.now = upstream.now.plus_ms(6 * 60_000);
        host.collect(&mut upstream);
    }
    assert_eq!(host.delivered, ["held-messages/h"]);
}

#[test]
fn the_whole_list_is_told_each_time_where_that_is_asked_for() {
    let mut upstream = Upstream::new();
    let now = upstream.now;
    for n in 0..5 {
        upstream
            .tenant
            .add(Stream::HeldMessages, &format!("h{n}"), (now, now));
    }
    let mut host = Host::new(r#","streams":["held-messages"],"snapshot":"full""#);
    host.fresh_each_poll = true;
    host.limits.max_events = 2;
    host.collect(&mut upstream);
    upstream.now = upstream.now.plus_ms(6 * 60_000);
    host.collect(&mut upstream);
    assert_eq!(host.delivered.len(), 10);
    host.assert_at_least_once(&upstream);
}

fn held(upstream: &mut Upstream, ids: core::ops::Range<usize>) {
    let now = upstream.now;
    for n in ids {
        let id = format!("eNoVzb0NwiAUQOGd3tgCwgPKG-{n:06}");
        upstream.tenant.add(Stream::HeldMessages, &id, (now, now));
    }
}

/// The keys of releases that were reported, and those of the messages that were released.
fn releases(host: &Host, released: &BTreeSet<usize>) -> (Vec<String>, BTreeSet<String>) {
    let reported = host.delivered.iter().filter(|key| key.starts_with("gone/"));
    let first_id = |n: &usize| {
        let key = format!("held-messages/eNoVzb0NwiAUQOGd3tgCwgPKG-{n:06}");
        format!("gone/{}", host.ids[&key].first().unwrap())
    };
    (
        reported.cloned().collect(),
        released.iter().map(first_id).collect(),
    )
}

#[test]
fn twenty_thousand_held_messages_are_remembered_beside_all_other_streams() {
    const HELD: usize = 20_000;
    let mut upstream = Upstream::new();
    upstream.tenant.page_records = 500;
    held(&mut upstream, 0..HELD);
    // All streams: the room of the checkpoint is shared with every other list and log.
    let mut host = Host::new("");
    host.limits.max_events = 2_000;
    host.limits.max_requests = 100;
    host.collect(&mut upstream);
    assert_eq!(host.delivered.len(), HELD);
    let mut released = BTreeSet::new();
    let mut next = HELD;
    for round in 0..4 {
        let list = upstream
            .tenant
            .lists
            .get_mut(&Stream::HeldMessages)
            .unwrap();
        let mut at = 0;
        list.retain(|item| {
            at += 1;
            let leaves = at % 100 == round;
            if leaves {
                let digits = item.split("G-").nth(1).unwrap();
                let digits: String = digits.chars().take_while(char::is_ascii_digit).collect();
                released.insert(digits.parse().unwrap());
            }
            !leaves
        });
        held(&mut upstream, next..next + 190);
        next += 190;
        host.session = None;
        for _ in 0..2 {
            upstream.now = upstream.now.plus_ms(6 * 60_000);
            host.collect(&mut upstream);
        }
    }
    upstream.now = upstream.now.plus_ms(6 * 60_000);
    host.collect(&mut upstream);
    let (reported, expected) = releases(&host, &released);
    assert!(released.len() > 700);
    assert_eq!(
        reported.len(),
        expected.len(),
        "a release was repeated or lost"
    );
    assert_eq!(reported.into_iter().collect::<BTreeSet<_>>(), expected);
    assert_eq!(host.delivered.len(), next + released.len());
    assert!(host.notices.is_empty(), "{:?}", host.notices);
    let bytes = host.checkpoint.as_ref().unwrap().len();
    assert!(bytes <= CHECKPOINT_BYTES_MAX, "{bytes}");
}

#[test]
fn a_list_that_is_too_long_to_remember_is_reported_and_repeats_with_the_same_ids() {
    const HELD: usize = 30_000;
    let mut upstream = Upstream::new();
    upstream.tenant.page_records = 500;
    held(&mut upstream, 0..HELD);
    let mut host = Host::new(r#","streams":["held-messages"]"#);
    host.limits.max_events = 2_000;
    host.limits.max_requests = 100;
    host.collect(&mut upstream);
    assert_eq!(host.delivered.len(), HELD);
    assert!(host.checkpoint.as_ref().unwrap().len() <= CHECKPOINT_BYTES_MAX);
    assert!(
        host.notices[0]
            .detail
            .contains("held-messages has more than 28"),
        "{:?}",
        host.notices
    );
    upstream.now = upstream.now.plus_ms(61 * 60_000);
    host.collect(&mut upstream);
    let again = host.delivered.len() - HELD;
    assert!((1_000..3_000).contains(&again), "{again}");
    host.assert_at_least_once(&upstream);
}

#[test]
fn a_changed_row_of_the_training_is_told_and_an_unchanged_one_is_not() {
    let mut upstream = Upstream::new();
    let row = |grade: &str| format!(r#"{{"type":"t","id":"ann {grade}","risk":"{grade}"}}"#);
    let list = |grade| vec![row(grade), r#"{"type":"t","id":"bob"}"#.to_owned()];
    upstream
        .tenant
        .lists
        .insert(Stream::TrainingSafeScore, list("A"));
    let mut host = Host::new(r#","streams":["training"]"#);
    for grade in ["A", "B", "B"] {
        upstream
            .tenant
            .lists
            .insert(Stream::TrainingSafeScore, list(grade));
        host.collect(&mut upstream);
        upstream.now = upstream.now.plus_ms(7 * 3_600_000);
    }
    assert_eq!(host.delivered, ["t/ann A", "t/bob", "t/ann B"]);
}
