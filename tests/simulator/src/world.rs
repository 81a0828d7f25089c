//! The whole tenant: what every request is answered from.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::audit;
use crate::batch_file::BatchFile;
use crate::config::Config;
use crate::counters::Counters;
use crate::door::{Door, Quota};
use crate::event_type::EventType;
use crate::fault::{Added, Effect, Faults};
use crate::ledger::Ledger;
use crate::post::{self, Log};
use crate::random::Random;
use crate::siem::Feed;
use crate::storage::Bucket;
use crate::time::Clock;

/// The tenant and everything that changes about it.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) config: Config,
    pub(crate) clock: Clock,
    pub(crate) bucket: Bucket,
    pub(crate) counters: Counters,
    /// Set when the simulator is dropped.
    pub(crate) stopped: AtomicBool,
    door: Mutex<Door>,
    batch_quota: Mutex<Quota>,
    general_quota: Mutex<Quota>,
    faults: Mutex<Faults>,
    feeds: Mutex<BTreeMap<EventType, Feed>>,
    logs: Mutex<BTreeMap<&'static str, Log>>,
    audit_events: AtomicU64,
    denied: Mutex<BTreeSet<String>>,
    /// The lines that faults have put into files: stream, path with fault, and what it adds.
    added: Mutex<BTreeMap<(&'static str, String), Added>>,
    answers: AtomicU64,
}

impl World {
    /// The tenant at the start.
    pub(crate) fn new(config: Config, storage_origin: String) -> Self {
        let clock = Clock::new(config.now_ms, config.skew_ms);
        let now_ms = clock.start_ms();
        let feeds = EventType::ALL
            .iter()
            .map(|event_type| (*event_type, Feed::new(&config, *event_type, now_ms)));
        let feeds = feeds.collect();
        let window = (now_ms - config.history_ms, now_ms);
        let mut log = Log::default();
        log.add(audit::history(
            config.seed,
            config.traps,
            config.audit_events,
            window,
        ));
        let known = EventType::ALL.iter().map(|event_type| event_type.stream());
        let known = known.chain(post::ROWS.iter().map(|row| row.stream));
        let denied = known.filter(|stream| {
            config
                .permissions
                .as_ref()
                .is_some_and(|may| !may.iter().any(|one| one == stream))
        });
        let denied = denied.map(str::to_owned).collect();
        Self {
            clock,
            bucket: Bucket::new(storage_origin, config.seed),
            counters: Counters::default(),
            stopped: AtomicBool::new(false),
            door: Mutex::new(Door::new(&config)),
            batch_quota: Mutex::new(Quota::new(config.quota_calls, config.quota_window_ms)),
            general_quota: Mutex::new(Quota::new(
                config.general_quota_calls,
                config.general_quota_window_ms,
            )),
            faults: Mutex::new(Faults::new(config.seed)),
            feeds: Mutex::new(feeds),
            logs: Mutex::new(BTreeMap::from([("audit", log)])),
            audit_events: AtomicU64::new(u64::from(config.audit_events)),
            denied: Mutex::new(denied),
            added: Mutex::new(BTreeMap::new()),
            answers: AtomicU64::new(0),
            config,
        }
    }

    pub(crate) fn door(&self) -> MutexGuard<'_, Door> {
        lock(&self.door)
    }

    pub(crate) fn batch_quota(&self) -> MutexGuard<'_, Quota> {
        lock(&self.batch_quota)
    }

    pub(crate) fn general_quota(&self) -> MutexGuard<'_, Quota> {
        lock(&self.general_quota)
    }

    pub(crate) fn faults(&self) -> MutexGuard<'_, Faults> {
        lock(&self.faults)
    }

    pub(crate) fn feeds(&self) -> MutexGuard<'_, BTreeMap<EventType, Feed>> {
        lock(&self.feeds)
    }

    pub(crate) fn logs(&self) -> MutexGuard<'_, BTreeMap<&'static str, Log>> {
        lock(&self.logs)
    }

    /// Whether the application may read a stream.
    pub(crate) fn permits(&self, stream: &str) -> bool {
        !lock(&self.denied).contains(stream)
    }

    /// Gives or takes the permission to read a stream.
    pub(crate) fn permit(&self, stream: &str, may: bool) {
        let mut denied = lock(&self.denied);
        if may {
            denied.remove(stream);
        } else {
            denied.insert(stream.to_owned());
        }
    }

    /// The file at that path.
    pub(crate) fn file(&self, path: &str) -> Option<Arc<BatchFile>> {
        let feeds = self.feeds();
        feeds
            .values()
            .flat_map(|feed| &feed.files)
            .find(|file| file.path == path)
            .cloned()
    }

    /// Every file, in the order in which they are first listed.
    pub(crate) fn files(&self) -> Vec<Arc<BatchFile>> {
        let feeds = self.feeds();
        let mut files: Vec<_> = feeds
            .values()
            .flat_map(|feed| feed.files.iter().cloned())
            .collect();
        files.sort_by_key(|file| file.plan.index);
        files
    }

    /// Appends files to a feed.
    pub(crate) fn add_files(&self, event_type: EventType, files: u32) {
        let now_ms = self.clock.now_ms();
        if let Some(feed) = self.feeds().get_mut(&event_type) {
            feed.append(&self.config, files, (now_ms - LATE_MS, now_ms));
        }
    }

    /// Adds audit events of that time.
    pub(crate) fn add_audit(&self, count: u32, at_ms: i64) {
        let first = self
            .audit_events
            .fetch_add(u64::from(count), Ordering::SeqCst);
        let numbers = first..first + u64::from(count);
        let (seed, traps) = (self.config.seed, self.config.traps);
        let events = numbers.map(|number| audit::event(seed, traps, number, at_ms));
        self.logs().entry("audit").or_default().add(events);
    }

    /// Notes a line that a fault has put into a file.
    pub(crate) fn note_added(&self, file: &BatchFile, effect: &Effect, added: Added) {
        if added != Added::Nothing {
            let key = (
                file.maker.event_type.stream(),
                format!("{} {effect:?}", file.path),
            );
            lock(&self.added).insert(key, added);
        }
    }

    /// What exists and what has gone out. Generates every file that was not yet.
    pub(crate) fn ledger(&self) -> Ledger {
        let mut ledger = Ledger::default();
        for file in self.files() {
            let stream = file.maker.event_type.stream();
            let content = file.content();
            for identity in &content.identities {
                ledger.add(stream, identity, file.served());
            }
            ledger.add_malformed(stream, content.malformed);
        }
        for (stream, log) in self.logs().iter() {
            for item in log.items() {
                ledger.add(stream, &item.identity, item.served);
            }
        }
        for ((stream, _), added) in lock(&self.added).iter() {
            match added {
                Added::Malformed => ledger.add_malformed(stream, 1),
                Added::Nothing => {}
                Added::Untimed(identity) => ledger.add_untimed(stream, identity.clone()),
            }
        }
        ledger
    }

    /// The id of the next answer.
    pub(crate) fn request_id(&self) -> String {
        let number = self.answers.fetch_add(1, Ordering::SeqCst);
        Random::new(self.config.seed, "request", &[number]).uuid()
    }
}

/// What is behind a lock, also after a thread that held it has panicked.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How old the records of a file are that arrives later.
const LATE_MS: i64 = 15 * 60_000;
