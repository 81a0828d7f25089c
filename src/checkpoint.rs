//! The position of all streams of a source as versioned text.
//!
//! Nothing here is a secret: a storage URL is stored without its signature, and an access token is not
//! stored at all.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::decode::parse_json;
use crate::retry::Wait;
use crate::stall::StallDetector;
use crate::time::Timestamp;

/// The version this release writes. It reads this one and all before it.
const VERSION: u32 = 2;

/// The longest checkpoint that `pipeline:source` allows.
pub const CHECKPOINT_BYTES_MAX: usize = 768 * 1024;

/// Why a text is not a checkpoint of this component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckpointError {
    /// It was written by a newer release. The payload is its version.
    Newer(u32),
    /// It is not a checkpoint, or it was cut.
    Unreadable,
}

impl CheckpointError {
    /// Returns what happened and what to do, as a clause for people.
    #[must_use]
    pub fn detail(&self) -> String {
        match self {
            Self::Newer(version) => format!(
                "it has version {version} and this release reads up to {VERSION}; run the newer release"
            ),
            Self::Unreadable => {
                "it is not a checkpoint of this component or is truncated; restore it from a copy, or \
                 remove it to begin at `start`"
                    .to_owned()
            }
        }
    }
}

/// The position of one source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    #[serde(rename = "v")]
    version: u32,
    /// How many lines with items of lists follow, so that a text that was cut is not read.
    #[serde(default, skip_serializing_if = "is_zero")]
    item_lines: usize,
    /// When the last calls of the SIEM batch endpoints were made, in seconds since the epoch: the quota
    /// outlives a restart.
    #[serde(rename = "siem_calls", default, skip_serializing_if = "Vec::is_empty")]
    pub batch_file_call_times_s: Vec<i64>,
    /// The same for calls of the event endpoint.
    #[serde(rename = "event_calls", default, skip_serializing_if = "Vec::is_empty")]
    pub event_endpoint_call_times_s: Vec<i64>,
    /// Until when the upstream allows no call of the SIEM batch endpoints.
    #[serde(
        rename = "siem_blocked",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub batch_files_quota_wait: Option<Wait>,
    /// The same for the event endpoint.
    #[serde(
        rename = "events_blocked",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub event_endpoint_quota_wait: Option<Wait>,
    /// The stream that was scheduled last: the next session continues with the one after it, so that
    /// none waits for ever where each poll has a session of its own.
    #[serde(rename = "last_turn", default, skip_serializing_if = "Option::is_none")]
    pub last_stream: Option<String>,
    /// The base URL of the account's region, where discovery found it (API 1.0).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// One entry per stream that was ever collected, by its name. Entries of streams that the settings
    /// no longer select stay, so that collection continues when they are selected again.
    pub streams: BTreeMap<String, StreamPosition>,
}

/// The position of one stream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamPosition {
    /// Until when the stream backs off, and why.
    #[serde(rename = "rest", default, skip_serializing_if = "Option::is_none")]
    pub backoff: Option<Backoff>,
    /// How many sessions in a row ended in the middle of a response of the stream. A new session cannot
    /// read the rest of the last one.
    #[serde(rename = "lost_answers", default, skip_serializing_if = "is_zero_u32")]
    pub interrupted_responses: u32,
    /// The position of a SIEM batch stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<FilesPosition>,
    /// The position of a stream that is read by windows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<WindowPosition>,
    /// The position in the event endpoint; `files` is set as well while batch files come first,
    /// or while some of them are set aside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<EventsPosition>,
    /// The position of a threat feed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feed: Option<ThreatFeedPosition>,
    /// The position in a list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list: Option<ListPosition>,
    /// The position in the log files of API 1.0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_files: Option<LogFilesPosition>,
}

/// A wait of one stream after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backoff {
    /// When it began, by the host's clock; checkpoints of older releases do not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// When the stream may be tried again.
    pub until: Timestamp,
    /// What it backs off from.
    pub cause: BackoffCause,
    /// How often it has failed in a row.
    pub tries: u32,
}

impl Backoff {
    /// Returns the backoff at `now`, corrected for a clock that was set back.
    #[must_use]
    pub fn adjusted_to(self, now: Timestamp) -> Self {
        let wait = Wait {
            since: self.since,
            until: self.until,
        };
        let Wait { since, until } = wait.adjusted_to(now);
        Self {
            since,
            until,
            ..self
        }
    }
}

/// What a stream backs off from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BackoffCause {
    /// It failed.
    Failing,
    /// It is not permitted.
    NotPermitted,
    /// The upstream asked for fewer requests.
    Throttled,
}

/// The position in pages of batch files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilesPosition {
    /// The time, by the upstream's clock, up to which everything was known to be collected when a page was
    /// last listed, whether or not the stream was caught up.
    #[serde(rename = "read_to", default, skip_serializing_if = "Option::is_none")]
    pub collected_until: Option<Timestamp>,
    /// The token of the page to list; none before the first page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page_token: Option<String>,
    /// Where listing began, or begins where there is no token.
    pub since: Timestamp,
    /// When the page was last listed, by the host's clock. After a gap its end, so that the next gap begins
    /// there; after a refused token the time of the refusal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listed_at: Option<Timestamp>,
    /// When the token is refused, listing begins again an hour before this: the newest of the times of the
    /// oldest events of all files read. One record with a wrong time does not move it.
    #[serde(rename = "newest", default, skip_serializing_if = "Option::is_none")]
    pub relist_from: Option<Timestamp>,
    /// Whether the page was the last one and all its files are done.
    #[serde(default)]
    pub caught_up: bool,
    /// The file being read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<FilePosition>,
    /// How often the storage failed for it, could not be reached or was too slow.
    #[serde(default, skip_serializing_if = "is_zero_u32")]
    pub unavailable_tries: u32,
    /// Listings in a row that lacked it.
    #[serde(rename = "unlisted", default, skip_serializing_if = "is_zero_u32")]
    pub listings_without_file: u32,
    /// The files of this page and of some before it that are done: 8 bytes each, in base64.
    #[serde(rename = "done", default, skip_serializing_if = "String::is_empty")]
    pub done_files: String,
    /// The files that could not be fetched or read and are tried again, by the page that lists
    /// them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub set_aside: Vec<SetAsidePage>,
    /// No page with files that are set aside is listed again before this, so that the quota is left to what
    /// is new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<Timestamp>,
    /// Listings in a row of the page that had files without a usable link.
    #[serde(rename = "unlinked", default, skip_serializing_if = "is_zero_u32")]
    pub listings_without_link: u32,
}

/// A page with files that were set aside.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetAsidePage {
    /// The token that lists the page; none where it is listed by its day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page_token: Option<String>,
    /// The day from which it is listed where there is no token, or the token is refused.
    #[serde(rename = "since")]
    pub list_from: Timestamp,
    /// Whether the token was refused: then the pages from the day on are searched for the files.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub searching: bool,
    /// When the page is listed again.
    pub next_try: Timestamp,
    /// How often its files were tried again, listings that failed included.
    #[serde(default)]
    pub tries: u32,
    /// Its files.
    pub files: Vec<SetAsideFile>,
}

/// A file that could not be fetched or read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "SerializedSetAsideFile")]
pub struct SetAsideFile {
    /// How far it was read, and how often it has failed for its present cause since it was set aside.
    #[serde(flatten)]
    pub position: FilePosition,
    /// When it was set aside.
    pub since: Timestamp,
    /// The cause of its last failure.
    pub cause: FileFailureCause,
    /// The same for people, as a short clause.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub why: String,
}

/// The text form of [`SetAsideFile`]: parsing with `serde(flatten)` is 6 KiB more of the component.
#[derive(Deserialize)]
struct SerializedSetAsideFile {
    name: String,
    line: u64,
    #[serde(default)]
    tries: u32,
    oldest: Option<Timestamp>,
    since: Timestamp,
    cause: FileFailureCause,
    #[serde(default)]
    why: String,
}

impl From<SerializedSetAsideFile> for SetAsideFile {
    fn from(file: SerializedSetAsideFile) -> Self {
        Self {
            position: FilePosition {
                name: file.name,
                line: file.line,
                tries: file.tries,
                oldest: file.oldest,
            },
            since: file.since,
            cause: file.cause,
            why: file.why,
        }
    }
}

/// Why a file failed; it decides how long the file is retried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileFailureCause {
    /// It is not there (404, 410), or no longer listed.
    Gone,
    /// The storage refused it.
    Refused,
    /// The storage failed, could not be reached, or was too slow.
    #[default]
    #[serde(rename = "unreachable")]
    Unavailable,
    /// It was fetched and could not be read.
    Unreadable,
}

/// The position in one batch file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilePosition {
    /// The path of the file and those parameters of its query that are no signature.
    pub name: String,
    /// How many lines are done.
    pub line: u64,
    /// How often the file was refused, broken or not there; where it is set aside, how often it failed
    /// again since, for its present cause.
    #[serde(default)]
    pub tries: u32,
    /// The time of the oldest event that was read from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest: Option<Timestamp>,
}

/// The position in windows of time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowPosition {
    /// Everything before this is collected.
    #[serde(rename = "bound")]
    pub collected_until: Timestamp,
    /// The end of the window being read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Timestamp>,
    /// The token of the page to read next within the window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page_token: Option<String>,
    /// When the last window was completed, where it reached up to that time or was begun by a wrong clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_at: Option<Timestamp>,
    /// Whether no window has been completed yet: the first one does not overlap with one before.
    #[serde(rename = "first", default)]
    pub is_first: bool,
    /// How much of the page to read next is done.
    #[serde(rename = "page_done", default, skip_serializing_if = "Option::is_none")]
    pub page_progress: Option<PageProgress>,
    /// The upstream's clock at the latest response of the window being read.
    #[serde(
        rename = "answered_at",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub last_response_at: Option<Timestamp>,
    /// The host's clock when the window being read was begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begun_at: Option<Timestamp>,
    /// The token of an empty page that led nowhere, and is not followed again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_token: Option<String>,
    /// When the page token came, by the host's clock, where an empty page gave it.
    #[serde(rename = "empty_at", default, skip_serializing_if = "Option::is_none")]
    pub empty_page_at: Option<Timestamp>,
    /// Whether the window is read a second time, because a token of an empty page was refused.
    #[serde(
        rename = "read_twice",
        default,
        skip_serializing_if = "core::ops::Not::not"
    )]
    pub is_second_reading: bool,
    /// The time up to which everything is collected by both clocks, while they disagree.
    #[serde(rename = "certain", default, skip_serializing_if = "Option::is_none")]
    pub confirmed_until: Option<Timestamp>,
    /// Whether the last window was empty because a wrong clock set its beginning, far from the
    /// upstream's time. It is tried again.
    #[serde(
        rename = "behind",
        default,
        skip_serializing_if = "core::ops::Not::not"
    )]
    pub began_by_wrong_clock: bool,
    /// How many records of the last window will come again and could not be remembered.
    #[serde(rename = "forgotten", default, skip_serializing_if = "is_zero_u32")]
    pub evicted_overlap_id_count: u32,
    /// Detects pages that bring nothing new.
    #[serde(
        rename = "paging",
        default,
        skip_serializing_if = "StallDetector::is_default"
    )]
    pub stall_detector: StallDetector,
    /// The identities that may come again, as `SeenIds` writes them.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[serde(rename = "remembered")]
    pub seen_ids: String,
}

/// How much of a page is done, by a digest of its records and not only by their number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageProgress {
    /// How many records are done.
    pub records: u32,
    /// A hash over them.
    pub digest: String,
}

/// The position in the event endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventsPosition {
    /// Records before this time are left out, of batch files and of the endpoint (see `accept_from`); 1970
    /// where files that are set aside are still to be read. Once the endpoint is read, reading begins here
    /// where there is no token.
    pub since: Timestamp,
    /// Whether reading goes on after an outage, so that records from before `since` were delivered.
    #[serde(
        rename = "continues",
        default,
        skip_serializing_if = "core::ops::Not::not"
    )]
    pub earlier_records_delivered: bool,
    /// Records of the endpoint before this time are left out; `since` where there is none.
    #[serde(rename = "begin", default, skip_serializing_if = "Option::is_none")]
    pub accept_from: Option<Timestamp>,
    /// The time up to which batch files are read first: there the endpoint takes over.
    #[serde(rename = "until", default, skip_serializing_if = "Option::is_none")]
    pub handover: Option<Timestamp>,
    /// Whether the endpoint has taken over. Then the only batch files left to read are those that are
    /// set aside.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub handed_over: bool,
    /// The token of the page to read next; it stays when the stream is caught up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page_token: Option<String>,
    /// How much of that page is done.
    #[serde(rename = "page_done", default, skip_serializing_if = "Option::is_none")]
    pub page_progress: Option<PageProgress>,
    /// When the endpoint was last read, by the host's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_at: Option<Timestamp>,
    /// Whether there are more pages, according to the last response.
    #[serde(
        rename = "behind",
        default,
        skip_serializing_if = "core::ops::Not::not"
    )]
    pub has_more: bool,
    /// The time, by the upstream's clock, up to which everything is collected.
    #[serde(rename = "covered", default, skip_serializing_if = "Option::is_none")]
    pub collected_until: Option<Timestamp>,
    /// What `collected_until` becomes when the page is done.
    #[serde(
        rename = "covered_next",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub next_collected_until: Option<Timestamp>,
    /// Detects pages that bring nothing new.
    #[serde(
        rename = "paging",
        default,
        skip_serializing_if = "StallDetector::is_default"
    )]
    pub stall_detector: StallDetector,
    /// The identities that may come again, as `SeenIds` writes them.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[serde(rename = "remembered")]
    pub seen_ids: String,
}

/// The position in a threat feed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThreatFeedPosition {
    /// The time, by the upstream's clock, up to which everything was collected when the stream was
    /// last caught up.
    #[serde(rename = "read_to", default, skip_serializing_if = "Option::is_none")]
    pub collected_until: Option<Timestamp>,
    /// Where the feed begins where there is no token.
    pub since: Timestamp,
    /// The token of the file to read next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// How much of that file is done.
    #[serde(rename = "page_done", default, skip_serializing_if = "Option::is_none")]
    pub page_progress: Option<PageProgress>,
    /// When the feed was last read to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_at: Option<Timestamp>,
    /// When the feed last responded, by the earlier of the host's clock and the upstream's. After a gap its
    /// end, so that the next gap begins there.
    #[serde(rename = "asked_at", default, skip_serializing_if = "Option::is_none")]
    pub last_response_at: Option<Timestamp>,
    /// The newest time of an indicator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest: Option<Timestamp>,
    /// How often the file at the token could not be read.
    #[serde(default, skip_serializing_if = "is_zero_u32")]
    pub tries: u32,
    /// Detects pages that bring nothing new.
    #[serde(
        rename = "paging",
        default,
        skip_serializing_if = "StallDetector::is_default"
    )]
    pub stall_detector: StallDetector,
    /// The identities that may come again, as `SeenIds` writes them.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[serde(rename = "remembered")]
    pub seen_ids: String,
}

/// The position in the log files of API 1.0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogFilesPosition {
    /// The time, by the upstream's clock, up to which everything was collected when the stream was
    /// last caught up.
    #[serde(rename = "read_to", default, skip_serializing_if = "Option::is_none")]
    pub collected_until: Option<Timestamp>,
    /// Older records are left out: files cannot be requested by date.
    pub since: Timestamp,
    /// The token of the response to read next; it stays when the stream is caught up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// How far that response is read.
    #[serde(rename = "at", default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<LogResponseProgress>,
    /// When the files were last read to their end, by the host's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_at: Option<Timestamp>,
    /// When the files were last requested and answered, by the host's clock. After a gap its end, so that
    /// the next gap begins there.
    #[serde(rename = "asked_at", default, skip_serializing_if = "Option::is_none")]
    pub last_response_at: Option<Timestamp>,
    /// Whether the token was refused: what was read before comes again, recognized by its name.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub replaying: bool,
    /// Detects pages that bring nothing new.
    #[serde(
        rename = "paging",
        default,
        skip_serializing_if = "StallDetector::is_default"
    )]
    pub stall_detector: StallDetector,
    /// The names of the last files that are done: 8 bytes each, in base64.
    #[serde(rename = "done", default, skip_serializing_if = "String::is_empty")]
    pub done_files: String,
    /// The identities that may come again, as `SeenIds` writes them.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[serde(rename = "remembered")]
    pub seen_ids: String,
}

/// How far one response with log files is read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogResponseProgress {
    /// How many files of the response are done.
    pub files: u32,
    /// A hash over their names.
    #[serde(rename = "names")]
    pub names_digest: String,
    /// The name of the file being read; empty before its first record.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// How many records of it are done.
    #[serde(default)]
    pub records: u64,
    /// How often it could not be read.
    #[serde(default)]
    pub tries: u32,
}

/// The items that were on a list, and the position of the current reading.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListPosition {
    /// When the list was last read to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_at: Option<Timestamp>,
    /// Whether the last reading was of a window that a wrong clock gave.
    #[serde(
        rename = "behind",
        default,
        skip_serializing_if = "core::ops::Not::not"
    )]
    pub began_by_wrong_clock: bool,
    /// The end of the window of the current reading.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Timestamp>,
    /// When the current reading began, by the host's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begun_at: Option<Timestamp>,
    /// The token of the page to read next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page_token: Option<String>,
    /// How much of that page is done.
    #[serde(rename = "page_done", default, skip_serializing_if = "Option::is_none")]
    pub page_progress: Option<PageProgress>,
    /// Whether all pages are read, but events for items that have left are not yet emitted.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub pages_done: bool,
    /// Whether the last reading found more items than can be remembered.
    #[serde(
        rename = "overflow",
        default,
        skip_serializing_if = "core::ops::Not::not"
    )]
    pub last_reading_overflowed: bool,
    /// Whether the current reading has found more items than can be remembered.
    #[serde(
        rename = "overflow_now",
        default,
        skip_serializing_if = "core::ops::Not::not"
    )]
    pub current_reading_overflows: bool,
    /// Detects pages that bring nothing new.
    #[serde(
        rename = "paging",
        default,
        skip_serializing_if = "StallDetector::is_default"
    )]
    pub stall_detector: StallDetector,
    /// The items, as `ListItems` writes them. The text form of a checkpoint has them in lines of
    /// their own, which are copied and not parsed; in version 1 they are here.
    #[serde(default, skip_serializing)]
    pub items: String,
    /// The position in the campaigns, whose people are the items.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub campaigns: Option<CampaignsPosition>,
}

/// The position in phishing campaigns.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CampaignsPosition {
    /// Campaigns that were launched before this time and are older than 30 days are left out of the first
    /// reading, and read later when their totals change.
    pub since: Timestamp,
    /// The identity of the campaign that is being read: a hash of its id and totals.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<String>,
    /// The token of the page of the list that is being read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list_token: Option<String>,
    /// Detects pages of the list that bring nothing new.
    #[serde(
        rename = "list_paging",
        default,
        skip_serializing_if = "StallDetector::is_default"
    )]
    pub list_stall_detector: StallDetector,
    /// The campaigns that were read, with their totals, as `ListItems` writes them.
    #[serde(rename = "read", default, skip_serializing_if = "String::is_empty")]
    pub read_campaigns: String,
}

impl Checkpoint {
    /// Reads a checkpoint that this or an older release wrote.
    ///
    /// # Errors
    ///
    /// The text is not a checkpoint.
    pub fn parse(text: &str) -> Result<Self, CheckpointError> {
        #[derive(Deserialize)]
        struct Version {
            v: u32,
        }
        let mut lines = text.split('\n');
        let head = lines.next().unwrap_or_default();
        let Version { v } = parse_json(head).map_err(|_| CheckpointError::Unreadable)?;
        if v > VERSION {
            return Err(CheckpointError::Newer(v));
        }
        let mut checkpoint: Self = parse_json(head).map_err(|_| CheckpointError::Unreadable)?;
        if lines.clone().count() != checkpoint.item_lines {
            return Err(CheckpointError::Unreadable);
        }
        for line in lines {
            let (items, list) = line
                .strip_suffix(ITEM_LINE_END_MARKER)
                .and_then(|line| line.split_once(' '))
                .and_then(|(name, items)| {
                    Some((items, checkpoint.streams.get_mut(name)?.list.as_mut()?))
                })
                .ok_or(CheckpointError::Unreadable)?;
            list.items = items.to_owned();
        }
        Ok(checkpoint)
    }

    /// Returns the text form: JSON, and a line for the items of each list. Sets the members that describe
    /// the form. [`Self::into_bounded_text`] gives the text to store.
    #[must_use]
    pub fn to_unbounded_text(&mut self) -> String {
        let items_len = |position: &StreamPosition| {
            let list = position.list.as_ref();
            list.map_or(0, |list| list.items.len())
        };
        self.version = VERSION;
        self.item_lines = self
            .streams
            .values()
            .filter(|position| items_len(position) > 0)
            .count();
        let mut text = serde_json::to_string(self).unwrap_or_default();
        text.reserve(
            self.streams
                .values()
                .map(|position| items_len(position) + ITEM_LINE_OVERHEAD_BYTES)
                .sum(),
        );
        for (name, position) in &self.streams {
            if let Some(list) = position.list.as_ref().filter(|_| items_len(position) > 0) {
                for part in ["\n", name, " ", &list.items, ITEM_LINE_END_MARKER] {
                    text.push_str(part);
                }
            }
        }
        text
    }

    /// Returns the text form within [`CHECKPOINT_BYTES_MAX`]. Where it is too long, remembered
    /// identities and done files are dropped, the oldest first, and at last the items of lists. Their records may come again with the same ids.
    #[must_use]
    pub fn into_bounded_text(mut self) -> String {
        for _ in 0..16 {
            let text = self.to_unbounded_text();
            if text.len() <= CHECKPOINT_BYTES_MAX {
                return text;
            }
            for position in self.streams.values_mut() {
                position.drop_older_entries();
            }
        }
        // The items come again as events, with the same ids.
        for list in self.streams.values_mut().filter_map(|at| at.list.as_mut()) {
            list.items.clear();
        }
        self.to_unbounded_text()
    }
}

impl StreamPosition {
    /// Drops the older half of the remembered identities and of the files that are done.
    fn drop_older_entries(&mut self) {
        if let Some(window) = &mut self.window {
            drop_older_half(&mut window.seen_ids, SEEN_ID_CHARS);
        }
        if let Some(files) = &mut self.files {
            // Three entries of 8 bytes end together with a character of base64.
            drop_older_half(&mut files.done_files, 32);
        }
        if let Some(events) = &mut self.events {
            drop_older_half(&mut events.seen_ids, SEEN_ID_CHARS);
        }
        if let Some(log_files) = &mut self.log_files {
            drop_older_half(&mut log_files.done_files, 32);
            drop_older_half(&mut log_files.seen_ids, SEEN_ID_CHARS);
        }
        if let Some(feed) = &mut self.feed {
            drop_older_half(&mut feed.seen_ids, SEEN_ID_CHARS);
        }
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
const fn is_zero(count: &usize) -> bool {
    *count == 0
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
const fn is_zero_u32(count: &u32) -> bool {
    *count == 0
}

/// The end of a line of items, by which a line that was cut is recognized.
const ITEM_LINE_END_MARKER: &str = " .";

/// The length of the name of a stream and of the separators in its line of items.
const ITEM_LINE_OVERHEAD_BYTES: usize = 40;

/// The characters of one entry of `SeenIds`: 18 bytes in base64.
const SEEN_ID_CHARS: usize = 24;

/// Drops the first half of the entries of a text, and all of them where there is only one.
fn drop_older_half(text: &mut String, entry_chars: usize) {
    let entries = text.len() / entry_chars;
    let from = entries.div_ceil(2).saturating_mul(entry_chars);
    *text = match text.get(from..) {
        Some(rest) if entries > 1 => rest.to_owned(),
        Some(_) | None => String::new(),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_survives_a_round_trip() {
        let mut checkpoint = Checkpoint {
            batch_file_call_times_s: vec![1, 2],
            ..Checkpoint::default()
        };
        let files = FilesPosition {
            page_token: Some("NDU1NA==".into()),
            file: Some(FilePosition {
                name: "/a/1.json.gz".into(),
                line: 7,
                tries: 1,
                oldest: Some(Timestamp::from_millis(1)),
            }),
            ..FilesPosition::default()
        };
        let position = StreamPosition {
            files: Some(files),
            ..StreamPosition::default()
        };
        checkpoint.streams.insert("siem.receipt".into(), position);
        let text = checkpoint.clone().to_unbounded_text();
        checkpoint.version = VERSION;
        assert_eq!(Checkpoint::parse(&text), Ok(checkpoint));
    }

    /// Every key that a release has written. A renamed field that loses its key would be read as
    /// missing, and the stream would begin again.
    const EVERY_KEY: &str = r#"
        {"v":VERSION,"item_lines":1,"siem_calls":[1],"event_calls":[2],"siem_blocked":{"since":1,
        "until":2},"events_blocked":{"since":1,"until":2},"last_turn":"audit",
        "region":"https://r","streams":{"all":{"rest":{"since":1,"until":2,
        "cause":"not-permitted","tries":1},"lost_answers":1,
        "files":{"read_to":1,"page_token":"t","since":2,"listed_at":3,"newest":4,
        "caught_up":true,"file":{"name":"f","line":1,"tries":1,"oldest":1},
        "unavailable_tries":1,"unlisted":1,"done":"n",
        "set_aside":[{"page_token":"t","since":1,"searching":true,"next_try":2,"tries":1,
        "files":[{"name":"f","line":1,"tries":1,"oldest":1,"since":1,"cause":"gone",
        "why":"w"}]}],"retry_after":5,"unlinked":1},
        "window":{"bound":1,"to":2,"page_token":"t","read_at":3,"first":true,
        "page_done":DONE,"answered_at":4,"begun_at":5,"dead_token":"t","empty_at":6,
        "read_twice":true,"certain":7,"behind":true,"forgotten":8,"paging":STALLS,"remembered":"r"},
        "events":{"since":1,"continues":true,"begin":1,"until":2,"handed_over":true,"page_token":"t",
        "page_done":DONE,"read_at":3,
        "behind":true,"covered":4,"covered_next":5,"paging":STALLS,"remembered":"r"},
        "feed":{"read_to":1,"since":2,"token":"t","page_done":DONE,"read_at":3,"asked_at":4,
        "newest":5,"tries":1,"paging":STALLS,"remembered":"r"},
        "list":{"read_at":1,"behind":true,"to":2,"begun_at":3,"page_token":"t",
        "page_done":DONE,"pages_done":true,"overflow":true,"overflow_now":true,
        "paging":STALLS,"campaigns":{"since":1,"current":"c","list_token":"t",
        "list_paging":STALLS,"read":"r"}},
        "log_files":{"read_to":1,"since":2,"token":"t","at":{"files":1,"names":"n",
        "name":"f","records":1,"tries":1},"read_at":3,"asked_at":4,"replaying":true,
        "paging":STALLS,"done":"n","remembered":"r"}}}}
    "#;

    #[test]
    fn every_stored_key_is_read_and_written_as_it_was() {
        let text: String = EVERY_KEY.split_whitespace().collect();
        let text = text
            .replace("VERSION", &VERSION.to_string())
            .replace("DONE", r#"{"records":1,"digest":"d"}"#)
            .replace(
                "STALLS",
                r#"{"empty":1,"old":2,"pages":3,"repeats":1,"anchor":"a","stalls":1}"#,
            );
        let text = text + "\nall i .";
        let mut read = Checkpoint::parse(&text).unwrap();
        assert_eq!(read.to_unbounded_text(), text);
    }

    #[test]
    fn items_of_version_1_are_read() {
        let text = r#"{"v":1,"streams":{"all":{"list":{"items":"i"}}}}"#;
        let read = Checkpoint::parse(text).unwrap();
        assert_eq!(read.streams["all"].list.as_ref().unwrap().items, "i");
    }

    #[test]
    fn every_stored_cause_is_read_and_written_as_it_was() {
        let backoff = [
            BackoffCause::Failing,
            BackoffCause::NotPermitted,
            BackoffCause::Throttled,
        ];
        let text = r#"["failing","not-permitted","throttled"]"#;
        assert_eq!(serde_json::to_string(&backoff).unwrap(), text);
        assert_eq!(
            serde_json::from_str::<[BackoffCause; 3]>(text).unwrap(),
            backoff
        );
        let file = [
            FileFailureCause::Gone,
            FileFailureCause::Refused,
            FileFailureCause::Unavailable,
            FileFailureCause::Unreadable,
        ];
        let text = r#"["gone","refused","unreachable","unreadable"]"#;
        assert_eq!(serde_json::to_string(&file).unwrap(), text);
        assert_eq!(
            serde_json::from_str::<[FileFailureCause; 4]>(text).unwrap(),
            file
        );
    }

    #[test]
    fn a_checkpoint_that_is_too_long_drops_remembered_ids() {
        let mut checkpoint = Checkpoint::default();
        for name in ["siem.receipt", "audit", "dlp"] {
            let mut position = StreamPosition::default();
            let files = FilesPosition {
                page_token: Some(name.into()),
                done_files: "d".repeat(32 * 8_000),
                ..FilesPosition::default()
            };
            position.files = Some(files);
            position.list = Some(ListPosition {
                items: "i".repeat(CHECKPOINT_BYTES_MAX / 4),
                ..ListPosition::default()
            });
            checkpoint.streams.insert(name.into(), position);
        }
        assert!(checkpoint.to_unbounded_text().len() > CHECKPOINT_BYTES_MAX);
        let text = checkpoint.into_bounded_text();
        assert!(text.len() <= CHECKPOINT_BYTES_MAX);
        let read = Checkpoint::parse(&text).unwrap();
        for (name, position) in &read.streams {
            let files = position.files.as_ref().unwrap();
            assert_eq!(files.page_token.as_ref(), Some(name));
            assert_eq!(files.done_files.len() % 32, 0);
            assert!(!files.done_files.is_empty());
            let items = &position.list.as_ref().unwrap().items;
            assert_eq!(items.len(), CHECKPOINT_BYTES_MAX / 4);
        }
    }

    #[test]
    fn items_of_lists_are_carried_and_a_text_that_was_cut_is_refused() {
        let mut checkpoint = Checkpoint::default();
        for name in ["audit", "held-messages", "training.watchlist"] {
            let list = ListPosition {
                items: format!("16 {} AAA 0:n", name.repeat(9)),
                ..ListPosition::default()
            };
            let position = StreamPosition {
                list: (name != "audit").then_some(list),
                ..StreamPosition::default()
            };
            checkpoint.streams.insert(name.into(), position);
        }
        let text = checkpoint.to_unbounded_text();
        assert_eq!(Checkpoint::parse(&text), Ok(checkpoint.clone()));
        assert_eq!(Checkpoint::parse(&text).unwrap().to_unbounded_text(), text);
        for length in 0..text.len() {
            let cut = text.get(..length).unwrap();
            assert_eq!(Checkpoint::parse(cut), Err(CheckpointError::Unreadable));
        }
        assert!(Checkpoint::parse(&format!("{text}\n")).is_err());
        assert!(Checkpoint::parse(&text.replace("\nheld-messages", "\ndlp")).is_err());
    }

    #[test]
    fn what_is_newer_cut_or_something_else_is_refused() {
        assert_eq!(
            Checkpoint::parse(r#"{"v":99,"x":1}"#),
            Err(CheckpointError::Newer(99))
        );
        for text in ["", "{}", r#"{"v":1,"str"#, "null", r#"{"v":1}"#] {
            assert_eq!(
                Checkpoint::parse(text),
                Err(CheckpointError::Unreadable),
                "{text}"
            );
        }
    }
}
