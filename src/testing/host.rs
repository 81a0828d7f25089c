//! A host for tests: it stores the checkpoint and records what was delivered.

use std::collections::{BTreeMap, BTreeSet};

use super::{API, Upstream, key_of};
use crate::batch::{Batch, Limits, NextPoll};
use crate::session::{PollError, Session};
use crate::settings::Settings;

/// How long a host waits after a batch.
pub(crate) fn wait_ms(next: NextPoll) -> i64 {
    match next {
        NextPoll::Now => 0,
        NextPoll::CaughtUp(ms) | NextPoll::Failing(ms) | NextPoll::Throttled(ms) => {
            ms.try_into().unwrap()
        }
    }
}

/// A host for tests: it stores the checkpoint and records what was delivered.
pub(crate) struct Host {
    pub(crate) settings: String,
    pub(crate) limits: Limits,
    pub(crate) checkpoint: Option<String>,
    pub(crate) session: Option<Session>,
    /// The seed of the last session; each session has another one.
    seed: u64,
    /// A session whose poll failed; only the state of its API client is used again.
    failed_session: Option<Session>,
    /// Whether each poll gets a session of its own.
    pub(crate) fresh_each_poll: bool,
    /// Whether the text that a session saves is passed to the next one, as `pipeline:source` says.
    pub(crate) passes_saved_session: bool,
    saved_session: Option<String>,
    /// The keys of the delivered events, as `key_of` makes them, in the order of delivery.
    pub(crate) delivered: Vec<String>,
    /// The `id`s of each delivered record.
    pub(crate) ids: BTreeMap<String, BTreeSet<String>>,
    pub(crate) notices: Vec<crate::batch::Notice>,
    pub(crate) rejected: Vec<crate::batch::Rejected>,
    pub(crate) duplicates: u64,
}

impl Host {
    pub(crate) fn new(settings: &str) -> Self {
        let settings = format!(
            r#"{{"base_url":"{API}","client_id":"id-9","client_secret":"hush-9","format":"raw"{settings}}}"#
        );
        Self::with_settings(settings)
    }

    pub(crate) fn with_settings(settings: String) -> Self {
        Self {
            settings,
            seed: 0,
            limits: Limits {
                max_events: 7,
                max_bytes: 1 << 20,
                max_requests: 5,
            },
            checkpoint: None,
            session: None,
            failed_session: None,
            fresh_each_poll: false,
            passes_saved_session: false,
            saved_session: None,
            delivered: Vec::new(),
            ids: BTreeMap::new(),
            notices: Vec::new(),
            rejected: Vec::new(),
            duplicates: 0,
        }
    }

    /// Polls once, delivers and stores the checkpoint.
    pub(crate) fn poll(&mut self, upstream: &mut Upstream) -> Result<Batch, PollError> {
        let batch = self.poll_without_storing(upstream)?;
        for line in batch.events.lines() {
            let event: serde_json::Value = serde_json::from_str(line).unwrap();
            let key = key_of(line);
            self.ids
                .entry(key.clone())
                .or_default()
                .insert(event["id"].as_str().unwrap().to_owned());
            self.delivered.push(key);
        }
        self.notices.extend(batch.notices.iter().cloned());
        self.rejected.extend(batch.rejected.iter().cloned());
        self.duplicates += batch
            .stats
            .iter()
            .map(|(_, stats)| stats.duplicates)
            .sum::<u64>();
        self.checkpoint = Some(batch.checkpoint.clone());
        Ok(batch)
    }

    /// Polls once and forgets the batch, as a host that is killed before it delivers.
    pub(crate) fn poll_without_storing(
        &mut self,
        upstream: &mut Upstream,
    ) -> Result<Batch, PollError> {
        let now = upstream.host_now();
        let mut session = match self.session.take() {
            Some(session) => session,
            None => {
                upstream.remaining_chunks.clear();
                let settings = Settings::parse(&self.settings).unwrap();
                self.seed += 1;
                let checkpoint = self.checkpoint.as_deref();
                let mut session = Session::open(settings, checkpoint, now, self.seed)?;
                if let Some(failed_session) = self.failed_session.take() {
                    session.inherit(failed_session);
                }
                if let Some(saved) = &self.saved_session {
                    session.restore_session(saved, now);
                }
                session
            }
        };
        session.begin(self.limits, now);
        let result = upstream.drive(&mut session);
        if self.passes_saved_session && result.is_ok() {
            self.saved_session = session.save_session(upstream.host_now());
        }
        match (&result, self.fresh_each_poll) {
            (_, true) => {}
            (Ok(_), false) => self.session = Some(session),
            (Err(_), false) => self.failed_session = Some(session),
        }
        if let Ok(batch) = &result {
            self.check(batch);
        }
        result
    }

    /// Asserts what every batch must fulfil.
    fn check(&self, batch: &Batch) {
        let lines = batch.events.lines().count();
        assert_eq!(lines, batch.index.len());
        assert!(lines + batch.rejected.len() <= usize::try_from(self.limits.max_events).unwrap());
        let mut sum = 0;
        for (stream, stats) in &batch.stats {
            assert_eq!(
                stats.received,
                stats.events + stats.rejected + stats.duplicates,
                "{stream}"
            );
            sum += usize::try_from(stats.events).unwrap();
        }
        assert_eq!(sum, lines);
        let ends: Vec<usize> = batch
            .events
            .match_indices('\n')
            .map(|(at, _)| at + 1)
            .collect();
        let index: Vec<usize> = batch
            .index
            .iter()
            .map(|entry| entry.end.try_into().unwrap())
            .collect();
        assert_eq!(ends, index);
        assert!(batch.checkpoint.len() <= crate::checkpoint::CHECKPOINT_BYTES_MAX);
        for secret in ["hush-9", "sig-", "Signature", "tok-", "aHVzaC05"] {
            assert!(!batch.checkpoint.contains(secret), "{}", batch.checkpoint);
            assert!(
                !format!("{:?}", batch.notices).contains(secret),
                "{:?}",
                batch.notices
            );
        }
    }

    /// Polls until everything is caught up, waiting in virtual time.
    pub(crate) fn collect(&mut self, upstream: &mut Upstream) {
        for _ in 0..20_000 {
            let wait_ms = match self.poll(upstream) {
                Ok(batch) => match batch.next {
                    NextPoll::Now => 0,
                    NextPoll::CaughtUp(_) => return,
                    NextPoll::Failing(ms) | NextPoll::Throttled(ms) => ms,
                },
                Err(PollError::Unavailable(failure) | PollError::Throttled(failure)) => {
                    failure.retry_after_ms
                }
                Err(other) => panic!("{other:?}"),
            };
            upstream.now = upstream.now.plus_ms(wait_ms.try_into().unwrap());
        }
        let last = &upstream.requests[upstream.requests.len().saturating_sub(9)..];
        panic!("the streams are never caught up: {last:#?}");
    }

    /// Polls `polls` times, is killed in the next poll before anything is stored, and collects
    /// what is left.
    pub(crate) fn collect_after_a_kill(&mut self, upstream: &mut Upstream, polls: usize) {
        for _ in 0..polls {
            self.poll(upstream).unwrap();
        }
        let _ = self.poll_without_storing(upstream).unwrap();
        self.session = None;
        self.collect(upstream);
    }

    /// Asserts that everything expected was delivered, each record once and under one id.
    pub(crate) fn assert_exactly_once(&self, upstream: &Upstream) {
        let distinct: BTreeSet<String> = self.delivered.iter().cloned().collect();
        let missing: Vec<_> = upstream.expected().difference(&distinct).cloned().collect();
        assert!(missing.is_empty(), "missing: {missing:?}");
        assert_eq!(
            distinct.len(),
            self.delivered.len(),
            "something was repeated"
        );
        self.assert_one_id_each();
    }

    /// Asserts that everything expected was delivered, and that repeats carry the same id.
    pub(crate) fn assert_at_least_once(&self, upstream: &Upstream) {
        let distinct: BTreeSet<String> = self.delivered.iter().cloned().collect();
        let missing: Vec<_> = upstream.expected().difference(&distinct).cloned().collect();
        assert!(missing.is_empty(), "missing: {missing:?}");
        self.assert_one_id_each();
    }

    /// Asserts that repeats carry the same id, and nothing else does.
    pub(crate) fn assert_one_id_each(&self) {
        let mut all = BTreeSet::new();
        for (key, ids) in &self.ids {
            assert_eq!(ids.len(), 1, "{key} has {ids:?}");
            assert!(
                all.insert(ids.first().unwrap().clone()),
                "{key} shares an id"
            );
        }
    }
}
