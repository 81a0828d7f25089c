//! The state of the simulated tenant, from which every request is answered.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::auth::{Auth, Quota};
use crate::batch_file::BatchFile;
use crate::config::Config;
use crate::counters::Counters;
use crate::event_type::EventType;
use crate::fault::{Effect, Faults};
use crate::feed::IdentityMapping;
use crate::identity::Identity;
use crate::items;
use crate::ledger::Ledger;
use crate::line::LineKind;
use crate::permissions::{Permissions, StreamRefusal};
use crate::post;
use crate::post_log::{Log, RequestContext};
use crate::random::Random;
use crate::siem::FileList;
use crate::storage::LinkSigner;
use crate::time::Clock;

/// The tenant and everything that changes about it.
#[derive(Debug)]
pub(crate) struct TenantState {
    pub(crate) config: Config,
    pub(crate) clock: Clock,
    pub(crate) link_signer: LinkSigner,
    pub(crate) counters: Counters,
    /// Set when the simulator is dropped.
    pub(crate) stopped: AtomicBool,
    auth: Mutex<Auth>,
    batch_quota: Mutex<Quota>,
    events_quota: Mutex<Quota>,
    general_quota: Mutex<Quota>,
    faults: Mutex<Faults>,
    file_lists: Mutex<BTreeMap<EventType, FileList>>,
    logs: Mutex<BTreeMap<&'static str, Log>>,
    /// How many records of each log were ever created.
    record_counts: Mutex<BTreeMap<&'static str, u64>>,
    permissions: Mutex<Permissions>,
    /// Records sent in another form, with their original identity and how often they were sent.
    rewritten_records: Mutex<RewrittenRecords>,
    response_count: AtomicU64,
}

/// By stream and by the identity of a rewritten record: its original identity, and how often it
/// was sent.
type RewrittenRecords = BTreeMap<(&'static str, Identity), (Identity, u64)>;

impl TenantState {
    /// Creates the tenant at the start.
    pub(crate) fn new(config: Config, storage_origin: String) -> Self {
        let clock = Clock::new(config.now_ms, config.skew_ms);
        let now_ms = clock.start_ms();
        let file_lists = EventType::ALL
            .iter()
            .map(|event_type| (*event_type, FileList::new(&config, *event_type, now_ms)));
        let file_lists = file_lists.collect();
        let known = EventType::ALL.iter().map(|event_type| event_type.stream());
        let known = known.chain(
            post::POST_ENDPOINTS
                .iter()
                .map(|post_endpoint| post_endpoint.stream),
        );
        let permissions = Permissions::new(&config, known);
        let (logs, record_counts) = first_logs(&config, now_ms);
        Self {
            clock,
            link_signer: LinkSigner::new(storage_origin, config.seed),
            counters: Counters::default(),
            stopped: AtomicBool::new(false),
            auth: Mutex::new(Auth::new(&config)),
            batch_quota: Mutex::new(Quota::new(
                config.batch_quota_calls,
                config.batch_quota_window_ms,
            )),
            events_quota: Mutex::new(Quota::new(
                config.events_quota_calls,
                config.events_quota_window_ms,
            )),
            general_quota: Mutex::new(Quota::new(
                config.general_quota_calls,
                config.general_quota_window_ms,
            )),
            faults: Mutex::new(Faults::new(config.seed)),
            file_lists: Mutex::new(file_lists),
            logs: Mutex::new(logs),
            record_counts: Mutex::new(record_counts),
            permissions: Mutex::new(permissions),
            rewritten_records: Mutex::new(BTreeMap::new()),
            response_count: AtomicU64::new(0),
            config,
        }
    }

    pub(crate) fn auth(&self) -> MutexGuard<'_, Auth> {
        lock(&self.auth)
    }

    pub(crate) fn batch_quota(&self) -> MutexGuard<'_, Quota> {
        lock(&self.batch_quota)
    }

    pub(crate) fn events_quota(&self) -> MutexGuard<'_, Quota> {
        lock(&self.events_quota)
    }

    pub(crate) fn general_quota(&self) -> MutexGuard<'_, Quota> {
        lock(&self.general_quota)
    }

    pub(crate) fn faults(&self) -> MutexGuard<'_, Faults> {
        lock(&self.faults)
    }

    pub(crate) fn file_lists(&self) -> MutexGuard<'_, BTreeMap<EventType, FileList>> {
        lock(&self.file_lists)
    }

    pub(crate) fn logs(&self) -> MutexGuard<'_, BTreeMap<&'static str, Log>> {
        lock(&self.logs)
    }

    /// Returns the state of the tenant for a request to a POST endpoint.
    pub(crate) fn request_context<'a>(&self, effect: Option<&'a Effect>) -> RequestContext<'a> {
        let life_ms = i64::try_from(self.config.page_token_lifetime_ms);
        RequestContext {
            now_ms: self.clock.now_ms(),
            odd_shapes: self.config.odd_shapes,
            page_records_max: usize::try_from(self.config.page_records_max).unwrap_or(usize::MAX),
            feed_file_records: usize::try_from(self.config.feed_file_records).unwrap_or(usize::MAX),
            page_token_lifetime_ms: life_ms.unwrap_or(i64::MAX),
            effect,
        }
    }

    pub(crate) fn permissions(&self) -> MutexGuard<'_, Permissions> {
        lock(&self.permissions)
    }

    /// Revokes the permission to read a stream, or grants it again.
    pub(crate) fn set_refusal(&self, stream: &str, refusal: Option<StreamRefusal>) {
        self.permissions().set_refusal(stream, refusal);
    }

    /// Notes records that are served in another form.
    pub(crate) fn note_rewritten(&self, stream: &'static str, rewritten: Vec<IdentityMapping>) {
        let mut known = lock(&self.rewritten_records);
        for (rewritten, original) in rewritten {
            known.entry((stream, rewritten)).or_insert((original, 0)).1 += 1;
        }
    }

    /// Returns the file at that path.
    pub(crate) fn file(&self, path: &str) -> Option<Arc<BatchFile>> {
        let file_lists = self.file_lists();
        file_lists
            .values()
            .flat_map(|list| &list.files)
            .find(|file| file.path == path)
            .cloned()
    }

    /// Returns every file, in the order in which they are first listed.
    pub(crate) fn files(&self) -> Vec<Arc<BatchFile>> {
        let file_lists = self.file_lists();
        let mut files: Vec<_> = file_lists
            .values()
            .flat_map(|list| list.files.iter().cloned())
            .collect();
        files.sort_by_key(|file| file.spec.index);
        files
    }

    /// Appends files to a list.
    pub(crate) fn add_files(&self, event_type: EventType, files: u32) {
        let now_ms = self.clock.now_ms();
        if let Some(list) = self.file_lists().get_mut(&event_type) {
            list.append(&self.config, files, (now_ms - ADDED_FILE_SPAN_MS, now_ms));
        }
    }

    /// Deletes one of the files that were never sent, the one at `index` modulo their number.
    pub(crate) fn delete_file(&self, index: usize) -> Option<String> {
        let is_deletable = |file: &Arc<BatchFile>| !file.is_content_fixed() && !file.is_deleted();
        let files: Vec<_> = self.files().into_iter().filter(is_deletable).collect();
        let file = files.get(index.checked_rem(files.len())?)?;
        file.delete();
        Some(file.path.clone())
    }

    /// Adds records of that time to a POST log, list or threat feed.
    pub(crate) fn add_records(&self, stream: &str, count: u32, at_ms: i64) {
        let Some(post_endpoint) = post::post_endpoint_of_stream(stream) else {
            return;
        };
        let first = {
            let mut record_counts = lock(&self.record_counts);
            let record_count = record_counts.entry(post_endpoint.stream).or_default();
            let first = *record_count;
            *record_count += u64::from(count);
            first
        };
        let seed_and_shapes = (self.config.seed, self.config.odd_shapes);
        let numbers = first..first + u64::from(count);
        let items =
            numbers.map(|number| items::item(post_endpoint, seed_and_shapes, number, at_ms));
        self.logs()
            .entry(post_endpoint.stream)
            .or_default()
            .add(items);
    }

    /// Removes items from a list.
    pub(crate) fn remove_newest(&self, stream: &str, count: usize) {
        if let Some(log) = self.logs().get_mut(stream) {
            log.remove_newest(count);
        }
    }

    /// Changes rows of a list: removes the old ones, and adds changed ones in their place.
    pub(crate) fn change_rows(&self, stream: &str, count: usize) {
        let Some(post_endpoint) = post::post_endpoint_of_stream(stream) else {
            return;
        };
        if let Some(log) = self.logs().get_mut(stream) {
            let item_count = log.items().len();
            let removed = log.remove_newest(count);
            log.add(removed.into_iter().map(|item| {
                let mut record = item.record;
                if let Some(fields) = record.as_object_mut() {
                    // No two changes of a row are the same.
                    let department = format!("Quay {item_count}");
                    fields.insert("department".to_owned(), department.into());
                }
                items::Item::new(post_endpoint.stream, item.at_ms, record)
            }));
        }
    }

    /// Returns what exists and what was served. Generates every file that was not generated yet.
    pub(crate) fn ledger(&self) -> Ledger {
        let mut ledger = Ledger::default();
        for file in self.files() {
            let stream = file.record_generator.event_type.stream();
            let content = file.content();
            for identity in &content.identities {
                ledger.add(stream, identity, file.served_count());
            }
            if file.is_deleted() {
                ledger.add_deleted(stream, &file.path, &content.identities);
                continue;
            }
            ledger.add_malformed(stream, content.malformed, content.invalid_utf8);
            match file.injected_line() {
                None => {}
                Some(LineKind::Malformed) => ledger.add_malformed(stream, 1, 0),
                Some(LineKind::InvalidUtf8) => ledger.add_malformed(stream, 1, 1),
                Some(LineKind::Untimed(identity)) => ledger.add_untimed(stream, identity.clone()),
            }
        }
        for (stream, log) in self.logs().iter() {
            let exists = |item: &&items::Item| !item.is_removed || item.served > 0;
            for item in log.items().iter().filter(exists) {
                ledger.add(stream, &item.identity, item.served);
            }
        }
        for ((stream, rewritten), (original, served)) in lock(&self.rewritten_records).iter() {
            ledger.add_rewritten(stream, rewritten, original, *served);
        }
        ledger
    }

    /// Returns the id of the next response.
    pub(crate) fn next_request_id(&self) -> String {
        let number = self.response_count.fetch_add(1, Ordering::SeqCst);
        Random::new(self.config.seed, "request", &[number]).uuid()
    }
}

/// Returns the POST logs at the start, and how many records each one has.
fn first_logs(
    config: &Config,
    now_ms: i64,
) -> (BTreeMap<&'static str, Log>, BTreeMap<&'static str, u64>) {
    let window = (now_ms - config.history_ms, now_ms);
    let (mut logs, mut record_counts) = (BTreeMap::new(), BTreeMap::new());
    for post_endpoint in post::record_endpoints() {
        let count = if post_endpoint.stream == "audit" {
            config.audit_events
        } else {
            config.log_records
        };
        let mut log = Log::default();
        log.add(items::generate_spread(
            post_endpoint,
            (config.seed, config.odd_shapes),
            count,
            window,
        ));
        logs.insert(post_endpoint.stream, log);
        record_counts.insert(post_endpoint.stream, u64::from(count));
    }
    (logs, record_counts)
}

/// Locks a mutex, also after a thread that held it has panicked.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Over how much time before now the records of an added file are spread.
const ADDED_FILE_SPAN_MS: i64 = 15 * 60_000;
