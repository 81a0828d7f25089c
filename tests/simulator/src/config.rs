//! The configuration of a simulated tenant.

use crate::event_type::EventType;
use crate::fault::FailShape;
use crate::permissions::StreamRefusal;

/// The tenant to simulate. The same value gives the same tenant, given the same `now_ms`.
#[derive(Clone, Debug)]
pub struct Config {
    /// The seed that everything else is derived from.
    pub seed: u64,
    /// The event types that have files. The others answer with empty pages.
    pub types: Vec<EventType>,
    /// How many pages of files each event type has at the start.
    pub pages: u32,
    /// How many files are on a page, when the request does not ask for fewer.
    pub files_per_page: u32,
    /// How many records are in a file.
    pub records_per_file: u32,
    /// How many audit events there are at the start.
    pub audit_events: u32,
    /// How many records each of the other POST logs and lists has at the start.
    pub log_records: u32,
    /// The upstream's time at the start, before the skew; the wall clock when not given.
    pub now_ms: Option<i64>,
    /// By how much the upstream's clock is ahead of `now_ms`: `Date` and everything else.
    pub skew_ms: i64,
    /// Over how much time before the start the records are spread.
    pub history_ms: i64,
    /// How many calls of the batch endpoint are answered in one window, over all event types.
    pub batch_quota_calls: u32,
    /// The length of that window.
    pub batch_quota_window_ms: u64,
    /// How many calls of the event endpoint are answered in one window, over all event types.
    pub events_quota_calls: u32,
    /// The length of that window.
    pub events_quota_window_ms: u64,
    /// How many calls of the other endpoints are answered in one window.
    pub general_quota_calls: u32,
    /// The length of that window.
    pub general_quota_window_ms: u64,
    /// How long an access token is good.
    pub token_lifetime_s: u64,
    /// How many items a page of a POST log has at most.
    pub page_records_max: u32,
    /// How many records a file of a threat feed has at most.
    pub feed_file_records: u32,
    /// How long a page token of a POST log is good.
    pub page_token_lifetime_ms: u64,
    /// How long a link to a file is good.
    pub link_lifetime_ms: u64,
    /// How long a receipt or process record is on average.
    pub record_bytes: u32,
    /// The streams that the application may read, as in `siem.receipt`; all when not given.
    pub permissions: Option<Vec<String>>,
    /// How the API refuses a stream that may not be read.
    pub refusal: StreamRefusal,
    /// How many malformed lines come with a thousand records.
    pub malformed_per_mille: u32,
    /// Whether a file is listed twice on some pages.
    pub files_listed_twice: bool,
    /// How many records of the last file of a page come again at the start of the next page,
    /// with another `_offset`, and with odd shapes mostly in another order of keys.
    pub repeated_records: u32,
    /// Whether the odd shapes occur that the API is known for; otherwise all records are plain.
    pub odd_shapes: bool,
    /// Maximum number of faults per file, not counting faults of its page.
    pub faults_per_file_max: u64,
    /// The receipt stream has one more file, that inflates to this size.
    pub huge_file_mib: Option<u32>,
    /// How hard the files are compressed, from 0 to 9.
    pub gzip_level: u32,
    /// When the files are generated.
    pub generate: Generate,
    /// The form of the refusals of credentials, tokens and streams, and of the response for an endpoint that
    /// does not exist; other errors have a fixed form.
    pub fail_shape: FailShape,
    /// The client id of the application; made from the seed when empty.
    pub client_id: String,
    /// The client secret of the application; made from the seed when empty.
    pub client_secret: String,
    /// The port of the API origin; 0 takes a free one.
    pub api_port: u16,
    /// The port of the storage origin; 0 takes a free one.
    pub storage_port: u16,
}

/// When the batch files are generated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generate {
    /// Before [`Simulator::start`](crate::Simulator::start) returns: for measurements.
    AtStart,
    /// From the start on, in other threads.
    InBackground,
    /// When a file is first listed.
    WhenListed,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            seed: 1,
            types: EventType::gateway(),
            pages: 3,
            files_per_page: 5,
            records_per_file: 2000,
            audit_events: 5000,
            log_records: 0,
            now_ms: None,
            skew_ms: 0,
            history_ms: 24 * 3_600_000,
            batch_quota_calls: 50,
            batch_quota_window_ms: 900_000,
            events_quota_calls: 300,
            events_quota_window_ms: 3_600_000,
            general_quota_calls: 800,
            general_quota_window_ms: 5000,
            token_lifetime_s: 1799,
            page_records_max: 500,
            feed_file_records: 50,
            page_token_lifetime_ms: 600_000,
            link_lifetime_ms: 900_000,
            record_bytes: 820,
            permissions: None,
            refusal: StreamRefusal::Forbidden,
            malformed_per_mille: 0,
            files_listed_twice: true,
            repeated_records: 0,
            odd_shapes: true,
            faults_per_file_max: u64::MAX,
            huge_file_mib: None,
            gzip_level: 6,
            generate: Generate::WhenListed,
            fail_shape: FailShape::Flat,
            client_id: String::new(),
            client_secret: String::new(),
            api_port: 0,
            storage_port: 0,
        }
    }
}
