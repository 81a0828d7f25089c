//! The batch endpoint: pages of files, one list per event type.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::batch_file::{BatchFile, FileSpec, RecordRange};
use crate::config::Config;
use crate::event_type::EventType;
use crate::fault::{Effect, FailShape, apply_to_page, fail_body, page_token_refused};
use crate::random::Random;
use crate::records::RecordGenerator;
use crate::request::Request;
use crate::response::SimulatedResponse;
use crate::storage::LinkSigner;
use crate::time::{DAY_MS, UtcTime, parse_date};

/// The files of one event type, oldest first.
#[derive(Debug)]
pub(crate) struct FileList {
    pub(crate) files: Vec<Arc<BatchFile>>,
    pub(crate) record_generator: RecordGenerator,
    token_base: u64,
    next_record: u64,
}

/// One response of the endpoint, before it is written.
#[derive(Debug)]
pub(crate) struct Page {
    /// The files in the order of listing.
    pub(crate) files: Vec<Arc<BatchFile>>,
    /// The index in the list of the page's first file.
    pub(crate) position: u64,
    /// The index at which the next page begins, if the response has one.
    pub(crate) next: Option<u64>,
    /// Whether there is no more now.
    pub(crate) caught_up: bool,
    /// How long the links are good.
    pub(crate) link_lifetime_ms: i64,
    token_base: u64,
}

impl FileList {
    /// Creates the list at the start.
    pub(crate) fn new(config: &Config, event_type: EventType, now_ms: i64) -> Self {
        // The purpose is a part of the seed: with another one all tokens would change.
        let mut random = Random::new(config.seed, "feed", &[event_type.index()]);
        let generator = record_generator(config, event_type);
        let token_base = 1000 + random.below(8000);
        let mut list = Self {
            files: Vec::new(),
            record_generator: generator,
            token_base,
            next_record: 0,
        };
        if config.types.contains(&event_type) {
            let files = config.pages.saturating_mul(config.files_per_page);
            list.append(config, files, (now_ms - config.history_ms, now_ms));
        }
        if let (Some(mib), EventType::Receipt) = (config.huge_file_mib, event_type) {
            let range = RecordRange {
                first: HUGE_FILE_FIRST_RECORD,
                records: 0,
                from_ms: now_ms,
                to_ms: now_ms,
            };
            let index = list.len();
            list.push(
                config.seed,
                FileSpec {
                    index,
                    range,
                    repeats: None,
                    malformed_per_mille: 0,
                    huge_mib: Some(mib),
                    gzip_level: config.gzip_level,
                },
            );
        }
        list
    }

    /// Appends files whose records are spread over a time.
    pub(crate) fn append(&mut self, config: &Config, files: u32, (from_ms, to_ms): (i64, i64)) {
        let step_ms = (to_ms - from_ms) / i64::from(files.max(1));
        for number in 0..i64::from(files) {
            let from_ms = from_ms + step_ms * number;
            let range = RecordRange {
                first: self.next_record,
                records: config.records_per_file,
                from_ms,
                to_ms: from_ms + step_ms,
            };
            self.next_record = range.end();
            let index = self.len();
            let starts_page = index.is_multiple_of(u64::from(config.files_per_page.max(1)));
            let before = self.files.last().map(|file| file.spec.range);
            let repeats = before.filter(|_| starts_page && config.repeated_records > 0);
            self.push(
                config.seed,
                FileSpec {
                    index,
                    range,
                    repeats: repeats.map(|before| (before, config.repeated_records)),
                    malformed_per_mille: config.malformed_per_mille,
                    huge_mib: None,
                    gzip_level: config.gzip_level,
                },
            );
        }
    }

    fn push(&mut self, seed: u64, spec: FileSpec) {
        let labels = [self.record_generator.event_type.index(), spec.index];
        let name = Random::new(seed, "path", &labels).uuid();
        let path = format!(
            "/siem-batch-{}/{}/{}/{}/{}/{name}.json.gz",
            Random::new(seed, "bucket", &[]).hex(6),
            self.record_generator.account_id,
            self.record_generator.event_type.product(),
            self.record_generator.event_type.name().replace(' ', "-"),
            UtcTime::new(spec.range.to_ms).date(),
        );
        self.files.push(Arc::new(BatchFile::new(
            path,
            spec,
            self.record_generator.clone(),
        )));
    }

    fn len(&self) -> u64 {
        u64::try_from(self.files.len()).unwrap_or(u64::MAX)
    }

    /// Returns the page that a request asks for; otherwise why not.
    pub(crate) fn page(
        &self,
        config: &Config,
        request: &Request,
        now_ms: i64,
    ) -> Result<Page, SimulatedResponse> {
        let (from_ms, to_ms) = (
            day(request, "dateRangeStartsAt")?,
            day(request, "dateRangeEndsAt")?,
        );
        let size = page_size(request, config.files_per_page)?;
        let oldest_ms = now_ms - RETENTION_MS;
        let from_ms = from_ms.unwrap_or(oldest_ms).max(oldest_ms - DAY_MS);
        let position = match request.parameter("nextPage") {
            Some(token) => self.position(token).ok_or_else(page_token_refused)?,
            None => self.first_since(from_ms),
        };
        let end = to_ms.map_or(self.len(), |to_ms| self.first_since(to_ms + DAY_MS));
        let next = position.saturating_add(size).min(end).max(position);
        let (skip, take) = (usize::try_from(position), usize::try_from(next - position));
        let files = self
            .files
            .iter()
            .skip(skip.unwrap_or(0))
            .take(take.unwrap_or(0));
        Ok(Page {
            files: files.cloned().collect(),
            position,
            next: Some(next),
            caught_up: next >= end,
            link_lifetime_ms: i64::try_from(config.link_lifetime_ms).unwrap_or(i64::MAX),
            token_base: self.token_base,
        })
    }

    /// Returns the position of the first file with records at that time or later.
    fn first_since(&self, at_ms: i64) -> u64 {
        let before = self
            .files
            .iter()
            .take_while(|file| file.spec.range.to_ms < at_ms);
        u64::try_from(before.count()).unwrap_or(u64::MAX)
    }

    fn position(&self, token: &str) -> Option<u64> {
        let text = String::from_utf8(STANDARD.decode(token).ok()?).ok()?;
        let number: u64 = text.strip_suffix(":null").unwrap_or(&text).parse().ok()?;
        number
            .checked_sub(self.token_base)
            .filter(|position| *position <= self.len())
    }
}

impl Page {
    /// Lists the first file once more, as happens on some pages.
    pub(crate) fn repeat_first_file(&mut self, config: &Config, requested_size: Option<usize>) {
        let page = self.position / u64::from(config.files_per_page.max(1));
        let room = requested_size.is_none_or(|size| self.files.len() < size);
        if config.files_listed_twice && page.is_multiple_of(2) && room {
            self.files.extend(self.files.first().cloned());
        }
    }

    /// Returns the page as the endpoint writes it. Generates the files that are listed.
    pub(crate) fn response(&self, link_signer: &LinkSigner, now_ms: i64) -> SimulatedResponse {
        let expiry_ms = now_ms.saturating_add(self.link_lifetime_ms);
        let expiry = UtcTime::new(expiry_ms).iso_ms();
        let mut urls: Vec<(&str, String)> = Vec::new();
        let mut value = Vec::new();
        for file in &self.files {
            let known = urls.iter().find(|(path, _)| *path == file.path);
            let url = known.map_or_else(
                || link_signer.sign(&file.path, now_ms, expiry_ms),
                |(_, url)| url.clone(),
            );
            urls.push((&file.path, url.clone()));
            value.push(json!({"url": url, "expiry": expiry, "size": file.content().gzip.len()}));
        }
        let mut body = Map::new();
        body.insert("value".to_owned(), Value::Array(value));
        if let Some(next) = self.next {
            body.insert("@nextPage".to_owned(), Value::String(self.token(next)));
        }
        body.insert("isCaughtUp".to_owned(), Value::Bool(self.caught_up));
        SimulatedResponse::json(200, &Value::Object(body))
    }

    fn token(&self, position: u64) -> String {
        let number = self.token_base + position;
        // Both forms have been seen.
        let text = if number.is_multiple_of(2) {
            number.to_string()
        } else {
            format!("{number}:null")
        };
        STANDARD.encode(text)
    }

    /// Applies the effect of a fault.
    pub(crate) fn apply_effect(&mut self, effect: Option<&Effect>) {
        if let Some(effect) = effect {
            apply_to_page(effect, self);
        }
    }
}

/// Returns what makes the records of an event type.
pub(crate) fn record_generator(config: &Config, event_type: EventType) -> RecordGenerator {
    let account = Random::new(config.seed, "account", &[]).below(90) + 10;
    RecordGenerator {
        seed: config.seed,
        event_type,
        odd_shapes: config.odd_shapes,
        record_bytes: config.record_bytes,
        account_id: format!("CSIM{account}"),
    }
}

/// Returns the event type that a request is about: one of the product that the path names.
pub(crate) fn event_type(request: &Request) -> Option<EventType> {
    // The two endpoints have two names for it.
    let name = if request.path.contains("/batch/") {
        "type"
    } else {
        "types"
    };
    let event_type = EventType::from_name(request.parameter(name)?)?;
    let product = request.path.rsplit('/').next();
    Some(event_type).filter(|event_type| Some(event_type.product()) == product)
}

/// Returns the error response for a parameter.
pub(crate) fn bad_parameter(name: &str) -> SimulatedResponse {
    let message = format!("Parameter {name} is not valid");
    SimulatedResponse::json(
        400,
        &fail_body(400, FailShape::Flat, "bad_request", &message),
    )
}

fn day(request: &Request, name: &str) -> Result<Option<i64>, SimulatedResponse> {
    let Some(text) = request.parameter(name) else {
        return Ok(None);
    };
    parse_date(text)
        .map(Some)
        .ok_or_else(|| bad_parameter(name))
}

fn page_size(request: &Request, files_per_page: u32) -> Result<u64, SimulatedResponse> {
    let Some(text) = request.parameter("pageSize") else {
        return Ok(u64::from(files_per_page));
    };
    let size = text
        .parse::<u32>()
        .ok()
        .filter(|size| (1..=100).contains(size));
    size.map(|size| u64::from(size.min(files_per_page)))
        .ok_or_else(|| bad_parameter("pageSize"))
}

/// How long files are kept.
const RETENTION_MS: i64 = 7 * DAY_MS;
/// The number of the first record of a huge file, beyond those of all other records of a list.
const HUGE_FILE_FIRST_RECORD: u64 = 1 << 40;
