//! The SIEM logs of API 1.0: files of all types, one response after another by token
//! (`mimecast-api.md` §7.3).
//!
//! The position is the token with which a response is requested, the number of its files that are
//! done, and the number of records of the next file that are done. A resumed response is requested
//! again; if it holds other files, it is read from its beginning, and repeated records have the same
//! ids.

mod account;
mod call;

pub use account::account_in_response;
use account::add_account_notice;
pub use call::probe;
use call::{call, file_name};

use crate::batch::{Builder, NoticeKind, OfferResult, RawRecord, RecordProcessor};
use crate::checkpoint::{LogFilesPosition, LogResponseProgress, StreamPosition};
use crate::decode::log_files::{LogFileDecoder, ReadResult};
use crate::decode::sanitize::sanitize;
use crate::record::legacy;
use crate::response::Head;
use crate::seen_ids::{Deduplication, SeenIds};
use crate::stall::{Stall, StallDetector};
use crate::stream::Stream;
use crate::streams::done_files::{DoneFiles, key};
use crate::streams::pages::check_token_length;
use crate::streams::retention::Retention;
use crate::streams::{
    Context, InvalidResponse, ReaderAction, StreamReader, add_unreadable_notice, hours_ms,
};
use crate::time::Timestamp;

/// The poll interval of a caught-up stream. New files appear every 30 minutes; nothing is
/// published about a quota that a call every 5 minutes could reach (`mimecast-api.md` §6.3).
const POLL_INTERVAL_MS: i64 = 5 * 60_000;

/// Files whose names are remembered: 16 KiB of a checkpoint, and four days at one file of each
/// type every half hour.
const DONE_FILES_MAX: usize = 1536;

/// Tries of a response before its broken part is rejected. Files that are malformed stay so
/// for the days that they are retained, so a second try only distinguishes them from a bad connection.
const TRIES_MAX: u32 = 2;

/// Tokens go into the checkpoint, so they are bounded.
const TOKEN_BYTES_MAX: usize = 4096;

/// The header with the token of the next response.
const NEXT_TOKEN: &str = "mc-siem-token";

/// The reader of the log files of API 1.0.
pub struct LogFilesReader {
    stream: Stream,
    position: LogFilesPosition,
    done: DoneFiles,
    seen_ids: SeenIds,
    response: Option<OpenResponse>,
    stall: Option<(Stall, u32)>,
}

/// The response that is being read. A checkpoint holds only its progress.
struct OpenResponse {
    next_token: Option<String>,
    /// How many files were begun.
    files_begun: u32,
    /// How many of them were read to their end.
    files_ended: u32,
    /// The hash over the names of those.
    names_hasher: blake3::Hasher,
    file: File,
    /// Whether a record of the response became an event.
    has_new_records: bool,
    /// Whether the account was checked.
    is_account_checked: bool,
}

/// The current file.
#[derive(Default)]
struct File {
    name: String,
    /// Whether it was done before this response was requested again.
    is_done: bool,
    /// The type of its records, where its name says it.
    stream: Option<Stream>,
    /// How many of its records were seen.
    records: u64,
    /// How many of them were done before.
    skip: u64,
    /// Whether it was done before the token was refused.
    is_replayed: bool,
}

impl File {
    /// Returns whether the current record was done before this response was requested again.
    const fn is_record_done(&self) -> bool {
        self.is_done || self.records < self.skip
    }
}

/// The result of reading a response.
#[derive(Debug, PartialEq, Eq)]
pub enum LogFilesResult {
    /// The response is done, or is to be requested again.
    CloseResponse,
    /// More of the body is needed.
    NeedsInput,
    /// The batch is full.
    BatchFull,
}

impl LogFilesReader {
    /// Creates the reader, from its position or from `start`.
    #[must_use]
    pub fn open(
        stream: Stream,
        position: Option<&LogFilesPosition>,
        (start, capacity): (Timestamp, usize),
    ) -> Self {
        let fresh = || LogFilesPosition {
            since: start,
            ..LogFilesPosition::default()
        };
        let position = position.cloned().unwrap_or_else(fresh);
        let done = DoneFiles::from_text(&position.done_files, DONE_FILES_MAX);
        let seen_ids = SeenIds::from_text(&position.seen_ids, capacity);
        Self {
            stream,
            position,
            done,
            seen_ids: seen_ids.unwrap_or_else(|| SeenIds::new(capacity)),
            response: None,
            stall: None,
        }
    }

    /// Skips what the upstream no longer retains, with a notice.
    fn skip_expired(&mut self, context: Context<'_>, batch: &mut Builder) {
        let Some(retention) = Retention::of(self.stream, context) else {
            return;
        };
        let since = self.position.since;
        match self.position.last_response_at {
            Some(last_response_at) if last_response_at < retention.oldest => {
                retention.add_gap_notice("records", last_response_at, batch);
                self.position.last_response_at = Some(retention.oldest);
            }
            None if since < retention.oldest => {
                retention.add_start_notice("collection", since, batch);
                self.position.since = retention.oldest;
            }
            Some(_) | None => {}
        }
    }

    /// Moves the position to the end of the files that there are now.
    fn mark_caught_up(&mut self, context: Context<'_>) {
        self.position.read_at = Some(context.now);
        self.position.collected_until = Some(context.upstream_now);
        self.position.last_response_at = Some(context.now);
        self.position.replaying = false;
        self.position.stall_detector = StallDetector::default();
    }

    /// Begins a response and creates its decoder. `None` where the head names no file, or its token is
    /// too long; `handle_response` then reports the latter.
    pub fn begin_response(&mut self, head: &Head) -> Option<LogFileDecoder> {
        let name = file_name(head)?;
        let token = next_token(head);
        check_token_length(token, TOKEN_BYTES_MAX).ok()?;
        self.response = Some(OpenResponse {
            next_token: token.map(str::to_owned),
            files_begun: 0,
            files_ended: 0,
            names_hasher: blake3::Hasher::new(),
            file: File::default(),
            has_new_records: false,
            is_account_checked: false,
        });
        Some(LogFileDecoder::new(&name))
    }

    /// Makes events of the records in the decoder until it needs more bytes, or the batch is full.
    pub fn read_records(
        &mut self,
        decoder: &mut LogFileDecoder,
        processor: &mut RecordProcessor,
        context: Context<'_>,
        batch: &mut Builder,
    ) -> LogFilesResult {
        while batch.has_room() {
            match decoder.read() {
                ReadResult::End => {
                    self.finish_response(context);
                    return LogFilesResult::CloseResponse;
                }
                ReadResult::File(name) => {
                    if !self.begin_file(sanitize(name)) {
                        return LogFilesResult::CloseResponse;
                    }
                }
                ReadResult::FileBroken(why) => {
                    if self.is_file_replayed() {
                        batch.count_duplicate(self.stream);
                    } else if !self.is_file_done() {
                        if self.prepare_retry() {
                            return LogFilesResult::CloseResponse;
                        }
                        let why = format!("the rest of the file is rejected: {why}");
                        self.reject(&why, decoder.unreadable_bytes(), batch);
                    }
                    self.finish_file();
                }
                ReadResult::FileEnd => self.finish_file(),
                ReadResult::NeedsInput => return LogFilesResult::NeedsInput,
                ReadResult::NotARecord(line) => {
                    if self.is_new_record() {
                        self.reject("the line is not key=value", line, batch);
                    }
                    self.finish_record(batch);
                }
                ReadResult::Record(bytes) => {
                    if self.is_new_record()
                        && self.offer(bytes, processor, context, batch) == OfferResult::BatchFull
                    {
                        decoder.put_back();
                        return LogFilesResult::BatchFull;
                    }
                    self.finish_record(batch);
                }
                ReadResult::TooLong(start) => {
                    if self.is_new_record() {
                        self.reject("the record is longer than 1 MiB", start, batch);
                    }
                    self.finish_record(batch);
                }
                ReadResult::Broken(why) => {
                    if !self.prepare_retry() {
                        let why = format!("the rest of the response is rejected: {why}");
                        self.reject(&why, decoder.unreadable_bytes(), batch);
                        self.finish_response(context);
                    }
                    return LogFilesResult::CloseResponse;
                }
            }
        }
        LogFilesResult::BatchFull
    }

    /// Returns the progress in the response, for a checkpoint.
    fn progress(&self) -> Option<LogResponseProgress> {
        let stored_progress = self.position.progress.as_ref();
        let Some(response) = &self.response else {
            return stored_progress.cloned();
        };
        let behind = stored_progress.is_some_and(|stored| response.files_ended < stored.files);
        if behind || response.files_begun == 0 {
            return stored_progress.cloned();
        }
        let inside = response.files_begun > response.files_ended;
        let file = Some(&response.file).filter(|_| inside);
        Some(LogResponseProgress {
            files: response.files_ended,
            names_digest: response.names_digest(),
            name: file.map(|file| file.name.clone()).unwrap_or_default(),
            records: file.map_or(0, |file| file.records.max(file.skip)),
            tries: stored_progress
                .filter(|stored| stored.files == response.files_ended)
                .map_or(0, |stored| stored.tries),
        })
    }

    /// Begins the next file. Returns whether reading can continue: not if the response has other files
    /// than when it was read before.
    fn begin_file(&mut self, name: String) -> bool {
        let Some(response) = &mut self.response else {
            return false;
        };
        let stored_progress = self.position.progress.as_ref();
        let is_done = stored_progress.is_some_and(|stored| response.files_begun < stored.files);
        let progress_in_file =
            stored_progress.filter(|stored| stored.files == response.files_begun);
        if let Some(stored) = progress_in_file {
            let same = stored.names_digest == response.names_digest()
                && (stored.name.is_empty() || stored.name == name);
            if !same {
                self.position.progress = None;
                self.response = None;
                return false;
            }
        }
        let is_replayed = self.position.replaying && self.done.contains(&key(&name));
        response.files_begun = response.files_begun.saturating_add(1);
        response.file = File {
            stream: legacy::stream_of_file(&name),
            records: 0,
            skip: progress_in_file.map_or(0, |stored| stored.records),
            is_done,
            is_replayed,
            name,
        };
        true
    }

    fn is_file_done(&self) -> bool {
        self.response
            .as_ref()
            .is_some_and(|response| response.file.is_done)
    }

    /// Returns whether the current file was done before the token was refused, and comes again since; not
    /// where it was done in this response.
    fn is_file_replayed(&self) -> bool {
        let file = self.response.as_ref().map(|response| &response.file);
        file.is_some_and(|file| file.is_replayed && !file.is_done)
    }

    /// Returns whether the current record is new: neither done before nor in a file that is replayed.
    fn is_new_record(&self) -> bool {
        let file = self.response.as_ref().map(|response| &response.file);
        file.is_some_and(|file| !file.is_record_done() && !file.is_replayed)
    }

    /// Finishes the current record, which is a duplicate where its file is replayed.
    fn finish_record(&mut self, batch: &mut Builder) {
        if let Some(OpenResponse { file, .. }) = &mut self.response {
            if file.is_replayed && !file.is_record_done() {
                batch.count_duplicate(self.stream);
            }
            file.records = file.records.saturating_add(1);
        }
    }

    fn finish_file(&mut self) {
        let Some(response) = &mut self.response else {
            return;
        };
        response.names_hasher.update(response.file.name.as_bytes());
        response.names_hasher.update(b"\n");
        response.files_ended = response.files_begun;
        let key = key(&response.file.name);
        let is_newly_done =
            !response.file.is_done && !response.file.is_replayed && response.file.stream.is_some();
        if is_newly_done && !self.done.contains(&key) {
            self.done.push(key);
        }
    }

    /// Makes an event of a record.
    fn offer(
        &mut self,
        bytes: &[u8],
        processor: &mut RecordProcessor,
        context: Context<'_>,
        batch: &mut Builder,
    ) -> OfferResult {
        let Some(response) = &mut self.response else {
            return OfferResult::Consumed;
        };
        let stream = response.file.stream;
        let stream = stream.unwrap_or_else(|| legacy::stream_of_record(bytes));
        let record = RawRecord::new(stream, bytes);
        // A week after the start nothing older can come any more, and no time has to be read.
        let hours = self.stream.info().retention_hours.unwrap_or(0);
        let may_be_older = context.now < self.position.since.plus_ms(hours_ms(hours));
        if may_be_older
            && processor
                .time(record)
                .is_some_and(|at| at < self.position.since)
        {
            batch.count_before_start(self.stream);
            return OfferResult::Consumed;
        }
        if !core::mem::replace(&mut response.is_account_checked, true) {
            add_account_notice(self.stream, record, processor, context, batch);
        }
        let (name, number) = (&response.file.name, response.file.records.saturating_add(1));
        let stream = self.stream;
        let locator = || format!("{stream} {name} record {number}");
        let deduplication = Deduplication {
            seen_ids: Some(&mut self.seen_ids),
            occurrences: None,
        };
        let events_before = batch.event_count();
        let now = context.upstream_now;
        let offer = batch.offer_as(stream, processor, record, deduplication, now, &locator);
        response.has_new_records |= batch.event_count() > events_before;
        offer
    }

    fn reject(&self, why: &str, original: &[u8], batch: &mut Builder) {
        let file = self.response.as_ref().map(|response| &response.file);
        let name = file.map_or("", |file| file.name.as_str());
        let number = file.map_or(0, |file| file.records.saturating_add(1));
        let locator = format!("{} {name} record {number}", self.stream);
        batch.reject(self.stream, locator, why.to_owned(), original);
    }

    /// Counts a try of the broken response. Returns whether it is to be requested once more; then its
    /// progress is stored.
    fn prepare_retry(&mut self) -> bool {
        let mut progress = self.progress().unwrap_or_default();
        progress.tries = progress.tries.saturating_add(1);
        let again = progress.tries < TRIES_MAX;
        if again {
            if progress.names_digest.is_empty() {
                progress.names_digest = empty_names_digest();
            }
            self.position.progress = Some(progress);
            self.response = None;
        }
        again
    }

    /// Moves the position past the response, whose files are done or rejected. Where it has fewer files than when
    /// it was read before, it is requested again and read from its beginning.
    fn finish_response(&mut self, context: Context<'_>) {
        let progress = self.progress();
        let Some(response) = self.response.take() else {
            return;
        };
        let has_fewer_files = self
            .position
            .progress
            .as_ref()
            .is_some_and(|stored| response.files_ended < stored.files);
        self.position.last_response_at = Some(context.now);
        if has_fewer_files {
            self.position.progress = None;
            return;
        }
        let digest = response.names_digest();
        let new_token = response
            .next_token
            .filter(|next| self.position.token.as_ref() != Some(next));
        match new_token {
            Some(next) => {
                // Everything that is still there comes again where the token was refused.
                let has_new_records = response.has_new_records || self.position.replaying;
                let stall_detector = &mut self.position.stall_detector;
                let stall = stall_detector.note_page(&digest, has_new_records);
                self.stall = stall.map(|stall| (stall, stall_detector.previous_stalls()));
                self.position.token = Some(next);
                self.position.progress = None;
                self.position.read_at = None;
            }
            // Without a further token the same files come again: they are done.
            None => {
                self.position.progress = progress;
                self.mark_caught_up(context);
            }
        }
    }
}

impl StreamReader for LogFilesReader {
    fn next(&mut self, context: Context<'_>, batch: &mut Builder) -> ReaderAction {
        let (due, caught_up) = self.due(context);
        if caught_up && due > context.now {
            return ReaderAction::Idle(due);
        }
        self.skip_expired(context, batch);
        // A truncated response is requested again, and reading continues after its last record.
        self.position.progress = self.progress();
        self.response = None;
        ReaderAction::Call(call(self.stream, context, self.position.token.as_deref()))
    }

    fn due(&self, context: Context<'_>) -> (Timestamp, bool) {
        match self.position.read_at {
            Some(read_at) => (context.due_again(read_at, POLL_INTERVAL_MS), true),
            None => (context.now, false),
        }
    }

    fn collected_until(&self, context: Context<'_>) -> Option<Timestamp> {
        let position = &self.position;
        Some(context.collected_until(position.since, position.read_at, position.collected_until))
    }

    fn wants_call(&self, _context: Context<'_>) -> bool {
        true
    }

    /// Handles a response without files: there are no more for now.
    fn handle_response(
        &mut self,
        (head, body): (&Head, Vec<u8>),
        context: Context<'_>,
        batch: &mut Builder,
    ) -> Result<(), InvalidResponse> {
        check_token_length(next_token(head), TOKEN_BYTES_MAX)?;
        let unreadable = call::parse_response_without_files(&body)?;
        add_unreadable_notice(self.stream, &[unreadable], batch);
        self.mark_caught_up(context);
        Ok(())
    }

    /// Restarts from the oldest file, and leaves out the files that are known.
    fn handle_refusal(&mut self, _context: Context<'_>, batch: &mut Builder) -> bool {
        if self.position.token.take().is_none() {
            return false;
        }
        self.position.progress = None;
        self.position.read_at = None;
        self.position.replaying = true;
        let detail = "Mimecast refused the token; its files are read again from the oldest, and what \
                      was delivered is left out or repeated with the same ids";
        batch.notice(self.stream, NoticeKind::Adjusted, detail.to_owned());
        true
    }

    fn take_stall(&mut self) -> Option<(Stall, u32)> {
        self.stall.take()
    }

    fn log_files(&mut self) -> Option<&mut LogFilesReader> {
        Some(self)
    }

    fn save(&self, position: &mut StreamPosition) {
        position.log_files = Some(LogFilesPosition {
            progress: self.progress(),
            done_files: self.done.to_text(),
            seen_ids: self.seen_ids.to_text(),
            ..self.position.clone()
        });
    }
}

impl OpenResponse {
    fn names_digest(&self) -> String {
        digest_text(&self.names_hasher)
    }
}

/// Returns whether a response is a file.
#[must_use]
pub fn is_file(head: &Head) -> bool {
    file_name(head).is_some()
}

/// Returns the token of the next response, where there is one.
fn next_token(head: &Head) -> Option<&str> {
    let token = head.header(NEXT_TOKEN).map(str::trim);
    token.filter(|token| !token.is_empty())
}

/// Returns 64 bits of a hash in hexadecimal: enough to notice that a response has changed.
fn digest_text(names: &blake3::Hasher) -> String {
    names.finalize().to_hex().chars().take(16).collect()
}

fn empty_names_digest() -> String {
    digest_text(&blake3::Hasher::new())
}
