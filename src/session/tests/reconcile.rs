//! A week and random runs against a reference model: what is delivered is what was served, for
//! every kind of position.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a test names the streams that differ and treats the others alike"
)]

use std::collections::BTreeSet;

use proptest::prelude::*;

use crate::stream::{FetchKind, Stream};
use crate::testing::{Host, MockResponse, Upstream};

/// Files or event pages, windows in both orders, the list that is remembered, the list of what is
/// there, the token of a feed.
const TESTED_STREAMS: [Stream; 7] = [
    Stream::SiemReceipt,
    Stream::Audit,
    Stream::Dlp,
    Stream::HeldRelease,
    Stream::ArchiveSearch,
    Stream::HeldMessages,
    Stream::ThreatIntelGrid,
];

/// The reference model: what was served, and what was removed from the list.
#[derive(Default)]
struct Model {
    served: BTreeSet<String>,
    /// The list may not have been read while these were on it.
    removed: BTreeSet<String>,
}

impl Model {
    /// Adds a record of that stream, that is `late_ms` old when it appears.
    fn add(&mut self, upstream: &mut Upstream, stream: Stream, id: &str, late_ms: i64) {
        let (now, at) = (upstream.now, upstream.now.plus_ms(-late_ms));
        match stream {
            Stream::SiemReceipt => {
                upstream.add_file("receipt", 1);
                let file = upstream.files["receipt"].len() - 1;
                self.served.insert(format!("receipt/{file}-0"));
            }
            Stream::Audit => {
                upstream.add_audit(id, at);
                self.served.insert(format!("audit/{id}"));
            }
            _ => {
                upstream.other_streams.add(stream, id, (at, now));
                self.served.insert(format!("{stream}/{id}"));
            }
        }
    }

    /// Removes the oldest held message from the list.
    fn remove_oldest(&mut self, upstream: &mut Upstream) {
        let list = upstream
            .other_streams
            .lists
            .entry(Stream::HeldMessages)
            .or_default();
        if !list.is_empty() {
            self.removed.insert(crate::testing::key_of(&list.remove(0)));
        }
    }

    /// Delivered is what was served; reported as gone is what was emitted and was removed.
    fn check(&self, host: &Host) {
        let delivered: BTreeSet<String> = host.delivered.iter().cloned().collect();
        let (gone, emitted): (BTreeSet<_>, BTreeSet<_>) = delivered
            .into_iter()
            .partition(|key| key.starts_with("gone/"));
        let missing: Vec<_> = self.served.difference(&emitted).collect();
        let unseen: Vec<_> = missing
            .into_iter()
            .filter(|key| !self.removed.contains(*key))
            .collect();
        assert!(unseen.is_empty(), "missing: {unseen:?}");
        assert!(emitted.is_subset(&self.served), "something was invented");
        let first_id = |key: &String| host.ids[key].first().unwrap().clone();
        let departed = self
            .removed
            .intersection(&emitted)
            .map(|key| format!("gone/{}", first_id(key)));
        assert_eq!(gone, departed.collect());
        assert!(
            host.ids.values().all(|ids| ids.len() == 1),
            "a record has two ids"
        );
    }
}

fn host(events: bool) -> Host {
    let names: Vec<String> = TESTED_STREAMS
        .iter()
        .map(|stream| format!("\"{stream}\""))
        .collect();
    let endpoint = if events { "events" } else { "batch" };
    Host::new(&format!(
        r#","siem_endpoint":"{endpoint}","streams":[{}]"#,
        names.join(",")
    ))
}

/// Collects three times, 20 minutes apart: two readings of the list are needed after the last change,
/// and late records have come by then.
fn settle(host: &mut Host, upstream: &mut Upstream) {
    for _ in 0..3 {
        upstream.now = upstream.now.plus_ms(20 * 60_000);
        host.collect(upstream);
    }
}

#[test]
fn a_week_with_outages_late_events_and_skew_reconciles() {
    for (ahead_ms, events) in [(-7_200_000, true), (0, false), (7_200_000, true)] {
        let (mut upstream, mut model) = (Upstream::new(), Model::default());
        upstream.host_ahead_ms = ahead_ms;
        (upstream.page_records, upstream.other_streams.page_records) = (20, 20);
        let mut host = host(events);
        host.limits.max_events = 100;
        host.limits.max_requests = 20;
        let end = upstream.now.plus_ms(7 * 86_400_000);
        let mut number: u32 = 0;
        while upstream.now < end {
            number += 1;
            for (at, stream) in TESTED_STREAMS.iter().enumerate() {
                if number % 5 == u32::try_from(at % 5).unwrap() {
                    let late_ms = i64::from(number * 37 % 14) * 60_000;
                    model.add(&mut upstream, *stream, &format!("w{number}"), late_ms);
                }
            }
            if number % 5 == 3 && number > 40 {
                model.remove_oldest(&mut upstream);
            }
            // The host is down for half a day and for longer than the event endpoint serves, and
            // is killed now and then.
            if !(100..160).contains(&number) && !(450..585).contains(&number) {
                if number.is_multiple_of(25) {
                    let _ = host.poll_without_storing(&mut upstream);
                    host.session = None;
                }
                host.collect(&mut upstream);
            }
            upstream.now = upstream.now.plus_ms(12 * 60_000);
        }
        settle(&mut host, &mut upstream);
        model.check(&host);
        assert_eq!(
            host.delivered.len(),
            host.ids.len(),
            "something was repeated"
        );
        assert!(host.notices.is_empty(), "{:?}", host.notices);
    }
}

/// What happens in a random run.
#[derive(Clone, Debug)]
enum Step {
    Add(usize, i64),
    Crash,
    Fail(usize, usize),
    RemoveHeldMessage,
    Outage(i64),
    Poll,
    Restart,
    Wait(i64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (0..TESTED_STREAMS.len(), 0..14_i64).prop_map(|(stream_index, late)| Step::Add(stream_index, late)),
        1 => Just(Step::Crash),
        1 => (0..TESTED_STREAMS.len(), 0..5_usize).prop_map(|(stream_index, fault)| Step::Fail(stream_index, fault)),
        1 => Just(Step::RemoveHeldMessage),
        1 => (2..50_i64).prop_map(Step::Outage),
        4 => Just(Step::Poll),
        1 => Just(Step::Restart),
        2 => (1..90_i64).prop_map(Step::Wait),
    ]
}

/// Advances the time, but not beyond the retention of records that are not read yet.
fn advance_time(upstream: &mut Upstream, by_ms: i64) {
    let last = Upstream::new().now.plus_ms(6 * 86_400_000);
    upstream.now = upstream.now.plus_ms(by_ms).min(last.max(upstream.now));
}

/// The response of a fault.
fn fault(number: usize) -> MockResponse {
    match number {
        0 => MockResponse::json(500, "<html>"),
        1 => MockResponse::with(429, &[("x-ratelimit-reset", "30000")], "{}"),
        2 => MockResponse::json(401, r#"{"fail":[{"code":"token_expired"}]}"#),
        3 => MockResponse::json(400, r#"{"fail":[{"code":"err_page_token"}]}"#),
        _ => MockResponse::json(200, "{\"data\":[{\"cut\":"),
    }
}

/// The part of a request that identifies the stream.
fn request_part(stream: Stream) -> &'static str {
    match stream.info().fetch {
        FetchKind::Files { event_type, .. } => event_type,
        FetchKind::ThreatFeed { feed_type } => feed_type,
        FetchKind::Campaigns { .. }
        | FetchKind::List { .. }
        | FetchKind::LogFiles
        | FetchKind::Windows(_) => stream.info().endpoint,
    }
}

#[test]
fn what_comes_while_a_window_is_read_that_ends_in_the_future_is_not_missed() {
    let (mut upstream, mut model) = (Upstream::new(), Model::default());
    upstream.host_ahead_ms = 3_600_000;
    let mut host = Host::new(r#","streams":["held-release"]"#);
    host.collect(&mut upstream);
    advance_time(&mut upstream, 20 * 60_000);
    model.add(&mut upstream, Stream::HeldRelease, "a", 0);
    // A session that knows nothing of the upstream's clock begins a window by the host's, which
    // is an hour ahead.
    host.session = None;
    host.limits.max_requests = 2;
    host.poll(&mut upstream).unwrap();
    // The second record moves the first one to the page that is read next.
    model.add(&mut upstream, Stream::HeldRelease, "b", 0);
    settle(&mut host, &mut upstream);
    model.check(&host);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn what_is_delivered_is_what_was_served(
        steps in prop::collection::vec(step(), 1..80),
        max_events in 1..9_u32,
        max_requests in 1..6_u32,
        (events, skew_hours) in (any::<bool>(), -2..=2_i64),
    ) {
        let (mut upstream, mut model) = (Upstream::new(), Model::default());
        upstream.host_ahead_ms = skew_hours * 3_600_000;
        let mut host = host(events);
        host.limits.max_events = max_events;
        host.limits.max_requests = max_requests;
        // A first reading of nothing, so that all that follows is after the start.
        host.collect(&mut upstream);
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Add(stream_index, late) => {
                    model.add(&mut upstream, TESTED_STREAMS[stream_index], &format!("r{number}"), late * 60_000);
                }
                Step::Crash => {
                    let _ = host.poll_without_storing(&mut upstream);
                    host.session = None;
                }
                Step::Fail(stream_index, number) => {
                    let part = request_part(TESTED_STREAMS[stream_index]).to_owned();
                    upstream.script.push_back((part, fault(number)));
                }
                Step::RemoveHeldMessage => model.remove_oldest(&mut upstream),
                Step::Outage(hours) => advance_time(&mut upstream, hours * 3_600_000),
                Step::Poll => {
                    let _ = host.poll(&mut upstream);
                }
                Step::Restart => host.session = None,
                Step::Wait(minutes) => advance_time(&mut upstream, minutes * 60_000),
            }
        }
        upstream.script.clear();
        settle(&mut host, &mut upstream);
        model.check(&host);
    }
}
