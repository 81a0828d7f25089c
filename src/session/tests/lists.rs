//! Lists of what is there now, through a session against the scripted upstream.

use std::collections::BTreeSet;

use crate::batch::NoticeKind;
use crate::checkpoint::CHECKPOINT_BYTES_MAX;
use crate::stream::Stream;
use crate::testing::{Host, MockResponse, Upstream};

#[test]
fn held_messages_are_reported_when_they_appear_and_when_they_are_gone() {
    let mut upstream = Upstream::new();
    let now = upstream.now;
    for n in 0..8 {
        upstream
            .other_streams
            .add(Stream::HeldMessages, &format!("h{n}"), (now, now));
    }
    let mut host = Host::new(r#","streams":["held-messages"]"#);
    host.fresh_each_poll = true;
    host.limits.max_events = 3;
    host.collect(&mut upstream);
    host.assert_exactly_once(&upstream);
    upstream
        .other_streams
        .lists
        .get_mut(&Stream::HeldMessages)
        .unwrap()
        .drain(2..5);
    let at = upstream.now;
    upstream
        .other_streams
        .add(Stream::HeldMessages, "new", (at, at));
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
    upstream
        .other_streams
        .add(Stream::HeldMessages, "h", (now, now));
    let mut host = Host::new(r#","streams":["held-messages"]"#);
    host.collect(&mut upstream);
    let list = upstream
        .other_streams
        .lists
        .remove(&Stream::HeldMessages)
        .unwrap();
    upstream.now = upstream.now.plus_ms(6 * 60_000);
    host.collect(&mut upstream);
    upstream
        .other_streams
        .lists
        .insert(Stream::HeldMessages, list);
    for _ in 0..3 {
        upstream.now = upstream.now.plus_ms(6 * 60_000);
        host.collect(&mut upstream);
    }
    assert_eq!(host.delivered, ["held-messages/h"]);
}

#[test]
fn the_whole_list_is_emitted_each_time_where_that_is_asked_for() {
    let mut upstream = Upstream::new();
    let now = upstream.now;
    for n in 0..5 {
        upstream
            .other_streams
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

/// Adds held messages with these numbers.
fn add_held_messages(upstream: &mut Upstream, ids: core::ops::Range<usize>) {
    let now = upstream.now;
    for n in ids {
        let id = format!("eNoVzb0NwiAUQOGd3tgCwgPKG-{n:06}");
        upstream
            .other_streams
            .add(Stream::HeldMessages, &id, (now, now));
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
    upstream.other_streams.page_records = 500;
    add_held_messages(&mut upstream, 0..HELD);
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
            .other_streams
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
        add_held_messages(&mut upstream, next..next + 190);
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
    upstream.other_streams.page_records = 500;
    add_held_messages(&mut upstream, 0..HELD);
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
fn a_changed_row_of_the_training_is_emitted_and_an_unchanged_one_is_not() {
    let mut upstream = Upstream::new();
    let row = |grade: &str| format!(r#"{{"type":"t","id":"ann {grade}","risk":"{grade}"}}"#);
    let list = |grade| vec![row(grade), r#"{"type":"t","id":"bob"}"#.to_owned()];
    upstream
        .other_streams
        .lists
        .insert(Stream::TrainingSafeScore, list("A"));
    let mut host = Host::new(r#","streams":["training"]"#);
    for grade in ["A", "B", "B"] {
        upstream
            .other_streams
            .lists
            .insert(Stream::TrainingSafeScore, list(grade));
        host.collect(&mut upstream);
        upstream.now = upstream.now.plus_ms(7 * 3_600_000);
    }
    assert_eq!(host.delivered, ["t/ann A", "t/bob", "t/ann B"]);
}

#[test]
fn incidents_that_change_are_emitted_again_and_an_outage_leaves_no_gap() {
    const DAY_MS: i64 = 24 * 3_600_000;
    let mut upstream = Upstream::new();
    let begun = upstream.now;
    let add = |upstream: &mut Upstream, id: &str| {
        let at = upstream.now;
        upstream
            .other_streams
            .add(Stream::Remediation, id, (at, at));
    };
    add(&mut upstream, "first");
    let mut host = Host::new(r#","streams":["remediation"]"#);
    host.collect(&mut upstream);
    // An incident of the first day of an outage that is longer than the window.
    upstream.now = begun.plus_ms(DAY_MS);
    add(&mut upstream, "second");
    upstream.now = begun.plus_ms(50 * DAY_MS);
    host.session = None;
    host.collect(&mut upstream);
    let incidents = upstream
        .other_streams
        .lists
        .get_mut(&Stream::Remediation)
        .unwrap();
    for incident in incidents.iter_mut() {
        *incident = incident.replacen('{', r#"{"restored":1,"#, 1);
    }
    upstream.now = begun.plus_ms(51 * DAY_MS);
    host.collect(&mut upstream);
    // The window no longer reaches back to them.
    assert_eq!(host.delivered, ["remediation/first", "remediation/second"]);
    add(&mut upstream, "third");
    host.session = None;
    upstream.now = upstream.now.plus_ms(DAY_MS);
    host.collect(&mut upstream);
    let incidents = upstream
        .other_streams
        .lists
        .get_mut(&Stream::Remediation)
        .unwrap();
    incidents[2] = incidents[2].replacen('{', r#"{"restored":1,"#, 1);
    upstream.now = upstream.now.plus_ms(DAY_MS);
    host.collect(&mut upstream);
    assert_eq!(host.delivered[2..], ["remediation/third"; 2]);
}

#[test]
fn codes_that_restore_messages_are_in_no_event_and_no_rejected_record() {
    let mut upstream = Upstream::new();
    let incidents = [
        r#"{"id":"a","type":"t","searchCriteria":{"unremediateCode":"UN-7","restoreCode":"RE-7"}}"#,
        r#"[{"restoreCode":"RE-8"}]"#,
    ];
    upstream
        .other_streams
        .lists
        .insert(Stream::Remediation, incidents.map(str::to_owned).to_vec());
    for format in ["raw", "ecs", "ocsf"] {
        let mut host = Host::with_settings(format!(
            r#"{{"base_url":"https://api.test","client_id":"id","client_secret":"s","format":"{format}",
                "include_original":true,"streams":["remediation"]}}"#
        ));
        let batch = host.poll_without_storing(&mut upstream).unwrap();
        assert_eq!(
            (batch.index.len(), batch.rejected.len()),
            (1, 1),
            "{format}"
        );
        let rejected = String::from_utf8(batch.rejected[0].original.clone()).unwrap();
        for text in [&batch.events, &rejected] {
            assert!(text.contains("[redacted]"), "{text}");
            assert!(!text.contains("UN-") && !text.contains("RE-"), "{text}");
        }
    }
}

/// A campaign and its people, who have this status.
fn campaign(id: &str, launched: &str, people: usize, status: &str) -> (String, Vec<String>) {
    let row = format!(
        r#"{{"id":"{id}","name":"C {id}","launchDate":"{launched}","numSent":{people},"numClicked":"{}"}}"#,
        status.len()
    );
    let person = |n: usize| {
        format!(r#"{{ "type":"{id}","id":"p{n}","email":"p{n}@example.com","status":"{status}"}}"#)
    };
    (row, (0..people).map(person).collect())
}

/// How often the first page of the people of a campaign was asked for since the last call.
fn take_request_count(upstream: &mut Upstream, id: &str) -> usize {
    let part = format!(r#""data":[{{"id":"{id}"}}]"#);
    let requests = upstream.requests.iter();
    let is_first = |request: &&String| request.contains(&part) && !request.contains("pageToken");
    let count = requests.filter(is_first).count();
    upstream.requests.clear();
    count
}

const YOUNG: &str = "2026-01-25T00:00:00+0000";
const OLD: &str = "2025-11-01T00:00:00+0000";

#[test]
fn people_of_campaigns_are_emitted_with_their_campaign_whatever_instance_reads_them() {
    for fresh in [false, true] {
        let mut upstream = Upstream::new();
        upstream.other_streams.page_records = 4;
        upstream.other_streams.campaigns = vec![
            campaign("young", YOUNG, 11, "sent"),
            campaign("empty", YOUNG, 0, "sent"),
            campaign("none", YOUNG, 0, ""),
            campaign("old", OLD, 3, "sent"),
            (
                r#"{"id":"pending","name":"not launched"}"#.to_owned(),
                vec![],
            ),
            campaign("to-come", "2026-03-01T00:00:00+0000", 2, "sent"),
            campaign("odd", "some day", 2, "sent"),
        ];
        let mut host = Host::new(r#","streams":["training.phishing"]"#);
        host.fresh_each_poll = fresh;
        host.limits.max_events = 3;
        host.collect(&mut upstream);
        let mut delivered = host.delivered.clone();
        delivered.sort();
        let mut expected: Vec<String> = (0..11).map(|n| format!("young/p{n}")).collect();
        expected.extend(["odd/p0".to_owned(), "odd/p1".to_owned()]);
        expected.sort();
        assert_eq!(delivered, expected, "fresh: {fresh}");
        assert!(host.notices.is_empty(), "{:?}", host.notices);
        let mut host = Host::new(r#","streams":["training.phishing"]"#);
        host.limits.max_requests = 20;
        let batch = host.poll_without_storing(&mut upstream).unwrap();
        let event: serde_json::Value =
            serde_json::from_str(batch.events.lines().next().unwrap()).unwrap();
        assert_eq!(event["record"]["campaignId"], "young");
        assert_eq!(event["record"]["campaignName"], "C young");
        assert_eq!(event["record"]["launchDate"], YOUNG);
    }
}

#[test]
fn a_campaign_is_read_again_while_it_is_young_or_when_its_totals_change() {
    let mut upstream = Upstream::new();
    let hour_ms = 61 * 60_000;
    upstream.other_streams.campaigns = vec![
        campaign("young", YOUNG, 2, "sent"),
        campaign("old", OLD, 2, "sent"),
    ];
    let mut host = Host::new(r#","streams":["training.phishing"],"start":"180d""#);
    host.collect(&mut upstream);
    assert_eq!(host.delivered.len(), 4);
    assert_eq!(take_request_count(&mut upstream, "old"), 1);
    for _ in 0..3 {
        upstream.now = upstream.now.plus_ms(hour_ms);
        host.session = None;
        host.collect(&mut upstream);
    }
    assert_eq!(host.delivered.len(), 4);
    assert_eq!(take_request_count(&mut upstream, "young"), 3);
    upstream.other_streams.campaigns[1] = campaign("old", OLD, 2, "clicked");
    upstream.now = upstream.now.plus_ms(hour_ms);
    host.collect(&mut upstream);
    assert_eq!(host.delivered[4..], ["old/p0", "old/p1"]);
    upstream.now = upstream.now.plus_ms(hour_ms);
    upstream.requests.clear();
    host.collect(&mut upstream);
    assert_eq!(take_request_count(&mut upstream, "old"), 0);
    // A person changes in a young campaign without a change of the totals: a report.
    let people = &mut upstream.other_streams.campaigns[0].1;
    people[1] = people[1].replace("sent", "reported");
    upstream.now = upstream.now.plus_ms(hour_ms);
    host.collect(&mut upstream);
    assert_eq!(host.delivered[6..], ["young/p1"]);
}

#[test]
fn a_campaign_that_is_refused_does_not_hold_up_the_others() {
    let mut upstream = Upstream::new();
    upstream.other_streams.campaigns = vec![
        campaign("one", YOUNG, 2, "sent"),
        campaign("gone", YOUNG, 2, "sent"),
        campaign("two", YOUNG, 2, "sent"),
    ];
    let refused = MockResponse::json(400, r#"{"fail":[{"code":"err_validation_invalid_id"}]}"#);
    upstream
        .script
        .push_back((r#""data":[{"id":"gone"}]"#.to_owned(), refused));
    let mut host = Host::new(r#","streams":["training.phishing"]"#);
    host.collect(&mut upstream);
    host.delivered.sort();
    assert_eq!(host.delivered, ["one/p0", "one/p1", "two/p0", "two/p1"]);
    assert!(
        host.notices[0].detail.contains("phishing campaign"),
        "{:?}",
        host.notices
    );
    upstream.now = upstream.now.plus_ms(61 * 60_000);
    host.collect(&mut upstream);
    assert_eq!(host.delivered[4..], ["gone/p0", "gone/p1"]);
}

#[test]
fn campaigns_that_may_not_be_read_do_not_hold_up_the_others() {
    for status in [400, 403, 404] {
        let mut upstream = Upstream::new();
        let mut campaigns = vec![campaign("good", YOUNG, 2, "sent")];
        for id in ["a", "b", "c", "d"] {
            campaigns.push(campaign(id, YOUNG, 2, "sent"));
            let response = MockResponse::json(status, r#"{"fail":[{"code":"err_no"}]}"#);
            upstream
                .always
                .push((format!(r#""data":[{{"id":"{id}"}}]"#), response));
        }
        upstream.other_streams.campaigns = campaigns;
        let mut host = Host::new(r#","streams":["training.phishing"]"#);
        host.collect(&mut upstream);
        host.delivered.sort();
        assert_eq!(host.delivered, ["good/p0", "good/p1"], "{status}");
        assert!(
            host.notices
                .iter()
                .all(|notice| notice.kind != NoticeKind::NotPermitted),
            "{:?}",
            host.notices
        );
    }
}
