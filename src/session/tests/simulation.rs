//! A long run of one session in virtual time, with random faults.
//!
//! Everything comes from a seed, so that a run that fails can be reproduced:
//! `SIMULATION_SEED=7 SIMULATION_STEPS=1000000 cargo test -p mimecast-source --lib simulation`.

#![expect(clippy::print_stderr, reason = "a run reports what it did")]

use std::collections::BTreeSet;

use crate::batch::{Limits, NextPoll, NoticeKind};
use crate::session::PollError;
use crate::stream::{FetchKind, STREAMS, Stream};
use crate::testing::faults::{Faults, Rng};
use crate::testing::{Host, Upstream};

/// One run.
struct Run {
    upstream: Upstream,
    host: Host,
    rng: Rng,
    /// How many records and files were added; their ids have this number.
    added_count: usize,
    /// Malformed lines that were put into files.
    malformed: usize,
    kills: u32,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let mut pick = |words: [&'static str; 2]| words[rng.below(2)];
        let settings = format!(
            r#","siem_endpoint":"{}","threat_feed":"{}","siem_calls_per_15_min":100000"#,
            pick(["batch", "events"]),
            pick(["stix", "csv"])
        );
        let mut run = Self {
            upstream: Upstream::new(),
            host: Host::new(&settings),
            rng,
            added_count: 0,
            malformed: 0,
            kills: 0,
        };
        // A first reading of nothing: all that follows is after the start.
        run.host.collect(&mut run.upstream);
        run.upstream.faults = Some(Faults::new(seed, 150));
        run
    }

    /// Something new in a stream, perhaps late.
    fn add(&mut self) {
        self.added_count += 1;
        let row = &STREAMS[self.rng.below(STREAMS.len())];
        let late_ms = i64::try_from(self.rng.below(14)).unwrap() * 60_000;
        let (now, at) = (self.upstream.now, self.upstream.now.plus_ms(-late_ms));
        let id = format!("s{}", self.added_count);
        match (row.stream, row.fetch) {
            (Stream::Audit, _) => self.upstream.add_audit(&id, at),
            (_, FetchKind::Files { event_type, .. }) => self.add_file(event_type),
            // API 2.0 has no such files.
            (_, FetchKind::LogFiles) => {}
            (stream, _) => self.upstream.other_streams.add(stream, &id, (at, now)),
        }
        // Lists that are longer than a checkpoint remembers are read less often.
        for list in self.upstream.other_streams.lists.values_mut() {
            list.drain(..list.len().saturating_sub(40));
        }
    }

    fn add_file(&mut self, event_type: &str) {
        let lines = self.rng.below(12);
        self.upstream.add_file(event_type, lines);
        let is_batch = !self.host.settings.contains("\"events\"");
        if is_batch && self.rng.chance_per_mille(100) {
            let file = self
                .upstream
                .files
                .get_mut(event_type)
                .unwrap()
                .last_mut()
                .unwrap();
            file.push_str("\n{\"type\":\"cut");
            self.malformed += 1;
        }
    }

    /// Polls once, or is killed before anything is stored, and waits as the batch asks.
    fn poll(&mut self) {
        let result = if self.rng.chance_per_mille(30) {
            self.kills += 1;
            let result = self.host.poll_without_storing(&mut self.upstream);
            self.host.session = None;
            result
        } else {
            self.host.poll(&mut self.upstream)
        };
        let wait_ms = match result {
            Ok(batch) => match batch.next {
                NextPoll::Now => 0,
                NextPoll::CaughtUp(ms) | NextPoll::Failing(ms) | NextPoll::Throttled(ms) => ms,
            },
            Err(
                PollError::Unavailable(failure)
                | PollError::Throttled(failure)
                | PollError::Protocol(failure),
            ) => failure.retry_after_ms,
            Err(PollError::Unauthorized(_)) => 60_000,
            Err(other) => panic!("{other:?}"),
        };
        let wait_ms = i64::try_from(wait_ms).unwrap();
        self.upstream.now = self.upstream.now.plus_ms(wait_ms.min(600_000));
    }

    /// Changes the session, the clock or the limits of the host, or the lists of the upstream, at random.
    fn apply_random_change(&mut self) {
        match self.rng.below(4) {
            0 => self.host.session = None,
            1 => {
                let hours = i64::try_from(self.rng.below(7)).unwrap() - 3;
                self.upstream.host_ahead_ms = hours * 3_600_000;
            }
            2 => {
                self.host.limits = Limits {
                    max_events: u32::try_from(self.rng.below(40) + 1).unwrap(),
                    max_bytes: 1 << 20,
                    max_requests: u32::try_from(self.rng.below(12) + 1).unwrap(),
                };
            }
            _ => {
                let lists = &mut self.upstream.other_streams.lists;
                for list in lists.values_mut().filter(|list| !list.is_empty()) {
                    list.remove(self.rng.below(list.len()));
                }
            }
        }
    }

    /// Ends the faults and collects what is left.
    fn finish(&mut self) -> Faults {
        let faults = self.upstream.faults.take().unwrap();
        self.upstream.host_ahead_ms = 0;
        self.host.limits.max_events = 500;
        self.host.limits.max_requests = 50;
        // The training is read every six hours.
        for _ in 0..3 {
            self.upstream.now = self.upstream.now.plus_ms(7 * 3_600_000);
            self.host.collect(&mut self.upstream);
        }
        faults
    }

    /// Returns the records that are missing and not reported as lost, of which there must be none.
    fn unexplained_losses(&self) -> Vec<String> {
        let gaps = self
            .host
            .notices
            .iter()
            .filter(|notice| notice.kind == NoticeKind::Gap);
        let named: Vec<&str> = gaps
            .map(|notice| notice.detail.as_str())
            .chain(
                self.host
                    .rejected
                    .iter()
                    .map(|rejected| rejected.locator.as_str()),
            )
            .collect();
        let lost = |event_type: &str, file: usize| {
            let name = format!("/{}/{file} ", event_type.replace(' ', "+"));
            named.iter().any(|text| text.contains(&name))
        };
        let delivered: BTreeSet<&String> = self.host.delivered.iter().collect();
        let expected = self.upstream.expected();
        let missing = expected.iter().filter(|key| !delivered.contains(key));
        let is_lost = |key: &str| {
            key.split_once('/').is_some_and(|(event_type, id)| {
                let file = id.split_once('-').and_then(|(file, _)| file.parse().ok());
                file.is_some_and(|file| lost(event_type, file))
            })
        };
        missing.filter(|key| !is_lost(key)).cloned().collect()
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

#[test]
fn a_simulation_with_random_faults_loses_nothing() {
    let seeds = number("SIMULATION_SEEDS", 4);
    let first = number("SIMULATION_SEED", 1);
    let steps = number("SIMULATION_STEPS", 12_000);
    let mut injected_faults = BTreeSet::new();
    for seed in first..first + seeds {
        let mut run = Run::new(seed);
        while run.upstream.steps < steps {
            match run.rng.below(10) {
                0..4 => run.add(),
                4 if run.rng.chance_per_mille(200) => run.apply_random_change(),
                _ => run.poll(),
            }
        }
        let faults = run.finish();
        let delivered = run.host.delivered.len();
        eprintln!(
            "seed {seed}: {} steps, {} requests, {} faults, {} kills, {delivered} delivered, {} rejected, {} duplicates",
            run.upstream.steps,
            run.upstream.requests.len(),
            faults.injected.values().sum::<u64>(),
            run.kills,
            run.host.rejected.len(),
            run.host.duplicates,
        );
        assert_eq!(run.unexplained_losses(), [""; 0], "seed {seed}");
        run.host.assert_one_id_each();
        assert!(run.host.rejected.len() >= run.malformed, "seed {seed}");
        injected_faults.extend(faults.injected.into_keys());
    }
    if seeds < 4 {
        return;
    }
    let all: BTreeSet<_> = Faults::names().collect();
    let never: Vec<_> = all.difference(&injected_faults).collect();
    assert!(never.is_empty(), "never made: {never:?}");
}
