//! The SIEM logs of API 1.0: files of all types, one answer after another by token
//! (`mimecast-api.md` §7.3).
//!
//! The token that an answer is asked for with is the position, and how many of its files and of
//! the records of the next one are done. A resumed answer is asked for again; if other files
//! stand in it, it is read from its beginning, and what comes again has the same id.

mod account;
mod call;

pub use account::account;
use account::add_account_notice;
pub use call::probe;
use call::{call, file_name};

use crate::batch::{Builder, NoticeKind, OfferResult, RecordLine, RecordProcessor};
use crate::checkpoint::{LogAnswerProgress, LogFilesPosition, StreamPosition};
use crate::decode::fail;
use crate::decode::log_files::{LogFileReader, ReadResult};
use crate::record::legacy;
use crate::response::Head;
use crate::seen_ids::{Deduplication, SeenIds};
use crate::stall::{Stall, StallDetector};
use crate::stream::Stream;
use crate::streams::done_files::{DoneFiles, key};
use crate::streams::pages::check_length;
use crate::streams::retention::Retention;
use crate::streams::{
    Context, InvalidResponse, ReaderAction, StreamReader, add_unreadable_notice, hours_ms,
};
use crate::time::Timestamp;

/// A caught-up stream is asked again after this. New files appear every 30 minutes; nothing is
/// published about a quota that a call every 5 minutes could reach (`mimecast-api.md` §6.3).
const POLL_INTERVAL_MS: i64 = 5 * 60_000;

/// Files whose names are remembered: 16 KiB of a checkpoint, and four days at one file of each
/// type every half hour.
const DONE_FILES_MAX: usize = 1536;

/// Tries of an answer, before what is broken in it is rejected. Files that are malformed stay so
/// for the days that they are kept, so a second try only tells them from a bad connection.
const TRIES_MAX: u32 = 2;

/// Tokens go into the checkpoint, so they are bounded.
const TOKEN_BYTES_MAX: usize = 4096;

/// The header with the position after an answer.
const NEXT_TOKEN: &str = "mc-siem-token";

/// The log files.
pub struct LogFiles {
    stream: Stream,
    position: LogFilesPosition,
    done: DoneFiles,
    seen_ids: SeenIds,
    answer: Option<Answer>,
    stall: Option<(Stall, u32)>,
}

/// The answer that is being read. A checkpoint holds only how far.
struct Answer {
    next_token: Option<String>,
    /// How many files were begun.
    begun: u32,
    /// How many of them came to their end, and the hash over their names.
    ended: u32,
    names_hasher: blake3::Hasher,
    file: File,
    /// Whether a record of it became an event.
    has_new_records: bool,
    /// Whether the account was checked.
    account_seen: bool,
}

/// The current file.
#[derive(Default)]
struct File {
    name: String,
    /// It was done before this answer was asked for again.
    past: bool,
    /// The type of its records, where its name says it.
    kind: Option<Stream>,
    /// How many of its records were seen.
    records: u64,
    /// How many of them were done before.
    skip: u64,
    /// It was done before the token was refused.
    known: bool,
}

/// The result of reading an answer.
#[derive(Debug, PartialEq, Eq)]
pub enum LogFilesResult {
    /// The answer is done, or is to be asked for again.
    Done,
    /// More of the body is needed.
    NeedsInput,
    /// The batch is full.
    BatchFull,
}

impl LogFiles {
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
        let done = DoneFiles::from_text(&position.done, DONE_FILES_MAX);
        let seen_ids = SeenIds::from_text(&position.seen_ids, capacity);
        Self {
            stream,
            position,
            done,
            seen_ids: seen_ids.unwrap_or_else(|| SeenIds::new(capacity)),
            answer: None,
            stall: None,
        }
    }

    /// Adds a notice about what lies before the oldest data that the upstream keeps.
    fn add_expiry_notice(&mut self, context: Context<'_>, batch: &mut Builder) {
        let Some(retention) = Retention::of(self.stream, context) else {
            return;
        };
        let since = self.position.since;
        match self.position.asked_at {
            Some(asked_at) if asked_at < retention.oldest => {
                retention.add_gap_notice("records", asked_at, batch);
                self.position.asked_at = Some(context.now);
            }
            None if since < retention.oldest => {
                retention.add_start_notice("collection", since, batch);
                self.position.since = retention.oldest;
            }
            Some(_) | None => {}
        }
    }

    fn catch_up(&mut self, context: Context<'_>) {
        self.position.read_at = Some(context.now);
        self.position.read_to = Some(context.upstream_now);
        self.position.asked_at = Some(context.now);
        self.position.replaying = false;
        self.position.stall_detector = StallDetector::default();
    }

    /// Creates the reader for the body, where the head says that it holds files. Returns
    /// nothing where its token is too long, which is an error.
    pub fn begin(&mut self, head: &Head) -> Option<LogFileReader> {
        let name = file_name(head)?;
        let token = next_token(head);
        check_length(token, TOKEN_BYTES_MAX).ok()?;
        self.answer = Some(Answer {
            next_token: token.map(str::to_owned),
            begun: 0,
            ended: 0,
            names_hasher: blake3::Hasher::new(),
            file: File::default(),
            has_new_records: false,
            account_seen: false,
        });
        Some(LogFileReader::new(&name))
    }

    /// Makes events of what the reader has until it needs more, or the batch is full.
    pub fn take(
        &mut self,
        reader: &mut LogFileReader,
        processor: &mut RecordProcessor,
        context: Context<'_>,
        batch: &mut Builder,
    ) -> LogFilesResult {
        while batch.has_room() {
            match reader.read() {
                ReadResult::End => {
                    self.finish_answer(context);
                    return LogFilesResult::Done;
                }
                ReadResult::File(name) => {
                    if !self.begin_file(fail::sanitize(name)) {
                        return LogFilesResult::Done;
                    }
                }
                ReadResult::FileBroken(why) => {
                    if !self.is_past() {
                        if self.try_again() {
                            return LogFilesResult::Done;
                        }
                        let why = format!("the rest of the file is rejected: {why}");
                        self.reject(&why, reader.unread(), batch);
                    }
                    self.finish_file();
                }
                ReadResult::FileEnd => self.finish_file(),
                ReadResult::NeedsInput => return LogFilesResult::NeedsInput,
                ReadResult::NotARecord(line) => {
                    if self.is_wanted(batch) {
                        self.reject("the line is not key=value", line, batch);
                    }
                    self.finish_record();
                }
                ReadResult::Record(bytes) => {
                    if self.is_wanted(batch)
                        && self.offer(bytes, processor, context, batch) == OfferResult::BatchFull
                    {
                        reader.put_back();
                        return LogFilesResult::BatchFull;
                    }
                    self.finish_record();
                }
                ReadResult::TooLong(start) => {
                    if self.is_wanted(batch) {
                        self.reject("the record is longer than 1 MiB", start, batch);
                    }
                    self.finish_record();
                }
                ReadResult::Broken(why) => {
                    if !self.try_again() {
                        let why = format!("the rest of the answer is rejected: {why}");
                        self.reject(&why, reader.unread(), batch);
                        self.finish_answer(context);
                    }
                    return LogFilesResult::Done;
                }
            }
        }
        LogFilesResult::BatchFull
    }

    /// Returns how far the answer is read, for a checkpoint.
    fn at(&self) -> Option<LogAnswerProgress> {
        let resumed = self.position.at.as_ref();
        let Some(answer) = &self.answer else {
            return resumed.cloned();
        };
        let behind = resumed.is_some_and(|at| answer.ended < at.files);
        if behind || answer.begun == 0 {
            return resumed.cloned();
        }
        let inside = answer.begun > answer.ended;
        let file = Some(&answer.file).filter(|_| inside);
        Some(LogAnswerProgress {
            files: answer.ended,
            names_digest: answer.names_digest(),
            name: file.map(|file| file.name.clone()).unwrap_or_default(),
            records: file.map_or(0, |file| file.records.max(file.skip)),
            tries: resumed
                .filter(|at| at.files == answer.ended)
                .map_or(0, |at| at.tries),
        })
    }

    /// Checks the name of the next file. Returns whether reading can go on: not if the answer has
    /// other files than when it was read before.
    fn begin_file(&mut self, name: String) -> bool {
        let Some(answer) = &mut self.answer else {
            return false;
        };
        let resumed = self.position.at.as_ref();
        let past = resumed.is_some_and(|at| answer.begun < at.files);
        let here = resumed.filter(|at| at.files == answer.begun);
        if let Some(at) = here {
            let same =
                at.names_digest == answer.names_digest() && (at.name.is_empty() || at.name == name);
            if !same {
                self.position.at = None;
                self.answer = None;
                return false;
            }
        }
        let known = self.position.replaying && self.done.contains(&key(&name));
        answer.begun = answer.begun.saturating_add(1);
        answer.file = File {
            kind: legacy::type_of_file(&name),
            records: 0,
            skip: here.map_or(0, |at| at.records),
            past,
            known,
            name,
        };
        true
    }

    fn is_past(&self) -> bool {
        self.answer.as_ref().is_some_and(|answer| answer.file.past)
    }

    /// Returns whether the current record was not done before.
    fn is_wanted(&self, batch: &mut Builder) -> bool {
        let Some(file) = self.answer.as_ref().map(|answer| &answer.file) else {
            return false;
        };
        let done = file.past || file.records < file.skip;
        if !done && file.known {
            batch.count_duplicate(self.stream);
        }
        !done && !file.known
    }

    fn finish_record(&mut self) {
        if let Some(answer) = &mut self.answer {
            answer.file.records = answer.file.records.saturating_add(1);
        }
    }

    fn finish_file(&mut self) {
        let Some(answer) = &mut self.answer else {
            return;
        };
        answer.names_hasher.update(answer.file.name.as_bytes());
        answer.names_hasher.update(b"\n");
        answer.ended = answer.begun;
        let key = key(&answer.file.name);
        let is_news = !answer.file.past && !answer.file.known && answer.file.kind.is_some();
        if is_news && !self.done.contains(&key) {
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
        let Some(answer) = &mut self.answer else {
            return OfferResult::Counted;
        };
        let kind = answer.file.kind;
        let record = RecordLine::new(kind.unwrap_or_else(|| legacy::type_of_record(bytes)), bytes);
        // A week after the start nothing older can come any more, and no time has to be read.
        let hours = self.stream.row().retention_hours.unwrap_or(0);
        let may_be_older = context.now < self.position.since.plus_ms(hours_ms(hours));
        if may_be_older
            && processor
                .time(record)
                .is_some_and(|at| at < self.position.since)
        {
            batch.exclude(self.stream);
            return OfferResult::Counted;
        }
        if !core::mem::replace(&mut answer.account_seen, true) {
            add_account_notice(self.stream, record, processor, context, batch);
        }
        let (name, number) = (&answer.file.name, answer.file.records.saturating_add(1));
        let stream = self.stream;
        let locator = || format!("{stream} {name} record {number}");
        let known = Deduplication {
            seen_ids: Some(&mut self.seen_ids),
            occurrences: None,
        };
        let events_before = batch.stats(stream).events;
        let now = context.upstream_now;
        let offer = batch.offer_as(stream, processor, record, known, now, &locator);
        answer.has_new_records |= batch.stats(stream).events > events_before;
        offer
    }

    fn reject(&self, why: &str, original: &[u8], batch: &mut Builder) {
        let file = self.answer.as_ref().map(|answer| &answer.file);
        let name = file.map_or("", |file| file.name.as_str());
        let number = file.map_or(0, |file| file.records.saturating_add(1));
        let locator = format!("{} {name} record {number}", self.stream);
        batch.reject(self.stream, locator, why.to_owned(), original);
    }

    /// Returns whether the broken answer is to be requested once more.
    fn try_again(&mut self) -> bool {
        let mut at = self.at().unwrap_or_default();
        at.tries = at.tries.saturating_add(1);
        let again = at.tries < TRIES_MAX;
        if again {
            if at.names_digest.is_empty() {
                at.names_digest = no_names();
            }
            self.position.at = Some(at);
            self.answer = None;
        }
        again
    }

    /// Moves the position past the answer, whose files are all done.
    fn finish_answer(&mut self, context: Context<'_>) {
        let at = self.at();
        let Some(answer) = self.answer.take() else {
            return;
        };
        let missing = self
            .position
            .at
            .as_ref()
            .is_some_and(|at| answer.ended < at.files);
        self.position.asked_at = Some(context.now);
        if missing {
            self.position.at = None;
            return;
        }
        let digest = answer.names_digest();
        let moved = answer
            .next_token
            .filter(|next| self.position.token.as_ref() != Some(next));
        match moved {
            Some(next) => {
                // Everything that is still there comes again where the token was refused.
                let has_new_records = answer.has_new_records || self.position.replaying;
                let stall_detector = &mut self.position.stall_detector;
                let stall = stall_detector.follow(&digest, has_new_records);
                self.stall = stall.map(|stall| (stall, stall_detector.tries()));
                self.position.token = Some(next);
                self.position.at = None;
                self.position.read_at = None;
            }
            // Without a further token the same files come again: they are done.
            None => {
                self.position.at = at;
                self.catch_up(context);
            }
        }
    }
}

impl StreamReader for LogFiles {
    fn next(&mut self, context: Context<'_>, batch: &mut Builder) -> ReaderAction {
        let (due, caught_up) = self.due(context);
        if caught_up && due > context.now {
            return ReaderAction::Idle(due);
        }
        self.add_expiry_notice(context, batch);
        // An answer that broke off is asked for again, and read on from where it broke.
        self.position.at = self.at();
        self.answer = None;
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
        Some(context.read_until(position.since, position.read_at, position.read_to))
    }

    fn wants_call(&self, _context: Context<'_>) -> bool {
        true
    }

    /// Takes an answer without files: there are no more for now.
    fn handle_answer(
        &mut self,
        (head, body): (&Head, Vec<u8>),
        context: Context<'_>,
        batch: &mut Builder,
    ) -> Result<(), InvalidResponse> {
        check_length(next_token(head), TOKEN_BYTES_MAX)?;
        let unreadable = call::read_end(&body)?;
        add_unreadable_notice(self.stream, &[unreadable], batch);
        self.catch_up(context);
        Ok(())
    }

    /// Starts over: reads everything that is still there, except what is known.
    fn handle_refusal(&mut self, _context: Context<'_>, batch: &mut Builder) -> bool {
        if self.position.token.take().is_none() {
            return false;
        }
        self.position.at = None;
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

    fn log_files(&mut self) -> Option<&mut LogFiles> {
        Some(self)
    }

    fn save(&self, position: &mut StreamPosition) {
        position.log_files = Some(LogFilesPosition {
            at: self.at(),
            done: self.done.to_text(),
            seen_ids: self.seen_ids.to_text(),
            ..self.position.clone()
        });
    }
}

impl Answer {
    fn names_digest(&self) -> String {
        short(&self.names_hasher)
    }
}

/// Returns whether an answer is a file.
#[must_use]
pub fn is_file(head: &Head) -> bool {
    file_name(head).is_some()
}

/// Returns the token of the next answer, where there is one.
fn next_token(head: &Head) -> Option<&str> {
    let token = head.header(NEXT_TOKEN).map(str::trim);
    token.filter(|token| !token.is_empty())
}

/// Returns 64 bits of a hash in hexadecimal: enough to notice that an answer has changed.
fn short(names: &blake3::Hasher) -> String {
    names.finalize().to_hex().chars().take(16).collect()
}

fn no_names() -> String {
    short(&blake3::Hasher::new())
}
