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
    let told: Vec<&String> = host
        .delivered
        .iter()
        .filter(|key| key.starts_with("gone/"))
        .collect();
    assert_eq!(told.len(), 3);
    assert_eq!(told.into_iter().cloned().collect::<BTreeSet<_>>(), gone);
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

#[test]
fn a_list_that_is_too_long_to_remember_is_said_and_repeats_with_the_same_ids() {
    let mut upstream = Upstream::new();
    upstream.tenant.page_records = 500;
    let now = upstream.now;
    for n in 0..2000 {
        let id = format!("eNoVzb0NwiAUQOGd3tgCwgPKG-{n:04}");
        upstream.tenant.add(Stream::HeldMessages, &id, (now, now));
    }
    let mut host = Host::new(r#","streams":["held-messages"]"#);
    host.limits.max_events = 500;
    host.collect(&mut upstream);
    assert_eq!(host.delivered.len(), 2000);
    assert!(host.checkpoint.as_ref().unwrap().len() <= CHECKPOINT_BYTES_MAX);
    assert!(
        host.notices[0].detail.contains("longer than a checkpoint"),
        "{:?}",
        host.notices
    );
    upstream.now = upstream.now.plus_ms(61 * 60_000);
    host.collect(&mut upstream);
    assert!(
        (2100..3900).contains(&host.delivered.len()),
        "{}",
        host.delivered.len()
    );
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
