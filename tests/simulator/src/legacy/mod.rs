//! A tenant of API 1.0: signed calls, discovery, SIEM log files and audit events.
//!
//! ```text
//!   POST /api/login/discover-authentication ─┐
//!   POST /api/audit/get-siem-logs ───────────┤ one origin   (auth: dates, ids and signatures)
//!   POST /api/audit/get-audit-events ────────┘              (files: JSON or key=value, zip or not)
//! ```

mod auth;
mod files;
mod records;
mod server;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use serde_json::Value;
use tokio::sync::oneshot;

use crate::random::Random;
use crate::time::Clock;
use auth::Auth;
use files::LogFile;

/// The tenant to simulate.
#[derive(Clone, Debug)]
pub struct LegacyConfig {
    /// The seed that everything else is derived from.
    pub seed: u64,
    /// How many log files there are, of all types in turn.
    pub files: u32,
    /// How many records are in a file.
    pub records_per_file: u32,
    /// How many files an archive holds.
    pub archive_files: usize,
    /// How many of a hundred files are malformed.
    pub malformed_percent: u32,
    /// How many audit events there are.
    pub audit_events: u32,
    /// By how much the upstream's clock is ahead.
    pub skew_ms: i64,
    /// By how much the date of a signature may be off.
    pub signature_date_tolerance_ms: i64,
    /// How long each response takes.
    pub delay_ms: u64,
}

impl Default for LegacyConfig {
    fn default() -> Self {
        Self {
            seed: 1,
            files: 40,
            records_per_file: 25,
            archive_files: 4,
            malformed_percent: 0,
            audit_events: 120,
            skew_ms: 0,
            signature_date_tolerance_ms: 15 * 60_000,
            delay_ms: 0,
        }
    }
}

/// The credentials of an application of API 1.0.
#[derive(Clone, Debug)]
pub struct LegacyCredentials {
    /// The application id.
    pub app_id: String,
    /// The application key.
    pub app_key: String,
    /// The access key.
    pub access_key: String,
    /// The secret key, in base64.
    pub secret_key: String,
    /// The address that discovery knows.
    pub email: String,
}

/// The requests so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LegacyRequests {
    /// How many responses had each path and status.
    pub responses: BTreeMap<(String, u16), u64>,
    /// Calls whose request id was used before or is malformed. Must stay 0.
    pub refused_request_ids: u64,
    /// Calls refused with 401: request id, date or signature.
    pub refused_authorizations: u64,
}

/// A running simulator of API 1.0. It has a thread of its own and stops when it is dropped.
#[derive(Debug)]
pub struct LegacySimulator {
    state: Arc<Mutex<LegacyState>>,
    url: String,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// The tenant and everything that changes about it.
#[derive(Debug)]
struct LegacyState {
    config: LegacyConfig,
    url: String,
    clock: Clock,
    auth: Auth,
    files: Vec<LogFile>,
    audit: Vec<Value>,
    /// Tokens of another generation are refused.
    token_generation: u32,
    /// Scripted errors, each for the next call whose path has this end: path, status, code.
    faults: VecDeque<(String, u16, String)>,
    requests: LegacyRequests,
    response_count: u64,
}

impl LegacySimulator {
    /// Starts a simulator on a port of 127.0.0.1.
    ///
    /// # Errors
    ///
    /// When no port or no thread is available.
    pub fn start(config: LegacyConfig) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let url = format!("http://{}", listener.local_addr()?);
        let state = Arc::new(Mutex::new(LegacyState::new(config, &url)));
        let (stop, stopped) = oneshot::channel();
        let served = Arc::clone(&state);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let thread = std::thread::Builder::new()
            .name("mimecast-simulator-legacy".to_owned())
            .spawn(move || runtime.block_on(server::run(&served, listener, stopped)))?;
        Ok(Self {
            state,
            url,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Returns the origin of the API and of discovery.
    #[must_use]
    pub fn url(&self) -> String {
        self.url.clone()
    }

    /// Returns the credentials that are accepted.
    #[must_use]
    pub fn credentials(&self) -> LegacyCredentials {
        lock(&self.state).auth.credentials.clone()
    }

    /// Returns the id of each record that exists: see [`legacy_record_id`].
    #[must_use]
    pub fn expected(&self) -> BTreeSet<String> {
        let state = lock(&self.state);
        let whole = state.files.iter().filter(|file| !file.malformed);
        let records = whole.flat_map(|file| &file.records).chain(&state.audit);
        records.filter_map(legacy_record_id).collect()
    }

    /// Returns the names, without extension, of the files that are malformed.
    #[must_use]
    pub fn malformed(&self) -> BTreeSet<String> {
        let state = lock(&self.state);
        let malformed = state.files.iter().filter(|file| file.malformed);
        malformed.map(|file| file.stem.clone()).collect()
    }

    /// Appends files of the types in turn.
    pub fn add_files(&self, files: u32) {
        lock(&self.state).add_files(files);
    }

    /// Makes every token that was handed out so far invalid.
    pub fn invalidate_tokens(&self) {
        lock(&self.state).token_generation += 1;
    }

    /// Answers the next call to a path that ends with `path` with an error.
    pub fn fail_next(&self, path: &str, status: u16, code: &str) {
        let fault = (path.to_owned(), status, code.to_owned());
        lock(&self.state).faults.push_back(fault);
    }

    /// Returns the requests so far.
    #[must_use]
    pub fn requests(&self) -> LegacyRequests {
        lock(&self.state).requests.clone()
    }
}

impl Drop for LegacySimulator {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A thread that has panicked has stopped as well.
            let _ = thread.join();
        }
    }
}

impl LegacyState {
    fn new(config: LegacyConfig, url: &str) -> Self {
        let clock = Clock::new(None, config.skew_ms);
        let now_ms = clock.now_ms();
        let audit =
            (0..config.audit_events).map(|number| records::audit(config.seed, number, now_ms));
        let mut state = Self {
            auth: Auth::new(config.seed),
            audit: audit.collect(),
            url: url.to_owned(),
            clock,
            files: Vec::new(),
            token_generation: 0,
            faults: VecDeque::new(),
            requests: LegacyRequests::default(),
            response_count: 0,
            config,
        };
        state.add_files(state.config.files);
        state
    }

    fn add_files(&mut self, files: u32) {
        let now_ms = self.clock.now_ms();
        for _ in 0..files {
            let number = u64::try_from(self.files.len()).unwrap_or(u64::MAX);
            let file = LogFile::new(&self.config, number, now_ms);
            self.files.push(file);
        }
    }

    /// Returns the id of the next response.
    fn next_request_id(&mut self) -> String {
        self.response_count += 1;
        Random::new(self.config.seed, "legacy request", &[self.response_count]).uuid()
    }
}

/// Returns the id that identifies a record of this tenant: the first that it has.
#[must_use]
pub fn legacy_record_id(record: &Value) -> Option<String> {
    let names = ["aCode", "MsgId", "msgid", "id"];
    let found = names.iter().find_map(|name| record.get(name)?.as_str());
    found.map(str::to_owned)
}

fn lock(state: &Mutex<LegacyState>) -> MutexGuard<'_, LegacyState> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
