//! A scripted upstream and an in-memory driver for tests: no network, and time is a field.

#![expect(clippy::unwrap_in_result, reason = "helpers of tests fail fast")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::Write as _;

pub(crate) mod faults;
mod host;
pub(crate) mod legacy;
pub(crate) mod other_streams;

use crate::machine::{Action, Machine};
use crate::request::{Request, origin, path};
use crate::response::{Head, TransportError};
use crate::stream::{FetchKind, STREAMS};
use crate::time::Timestamp;
pub(crate) use host::{Host, wait_ms};
use other_streams::OtherStreams;

pub(crate) const API: &str = "https://api.test";
pub(crate) const STORAGE: &str = "https://files.test";

/// The longest that a driver waits for a chunk before it calls the machine again.
const READ_TIMEOUT_MS: i64 = 1_000;

/// How the upstream answers one request.
#[derive(Clone, Debug)]
pub(crate) enum MockResponse {
    /// A complete response: status, headers, body.
    Complete(u16, Vec<(String, String)>, Vec<u8>),
    /// A response whose connection is reset after this many bytes of the body.
    ConnectionReset(Vec<u8>, usize),
    /// No response, because of this error.
    TransportError(TransportError),
}

impl MockResponse {
    pub(crate) fn json(status: u16, body: &str) -> Self {
        Self::Complete(status, Vec::new(), body.as_bytes().to_vec())
    }

    pub(crate) fn with(status: u16, headers: &[(&str, &str)], body: &str) -> Self {
        let headers = headers
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        Self::Complete(status, headers, body.as_bytes().to_vec())
    }
}

pub(crate) fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

/// A simulated Mimecast: files by type, audit events by time, and scripted faults.
pub(crate) struct Upstream {
    pub(crate) now: Timestamp,
    /// How far the host's clock is ahead of the upstream's.
    pub(crate) host_ahead_ms: i64,
    /// How long a response takes.
    pub(crate) response_ms: i64,
    /// How far the `Date` of every response is ahead of the upstream's clock.
    pub(crate) dates_ahead_ms: i64,
    /// How far the `Date` of the response to the request of that number is ahead; `None` for a
    /// response without one.
    pub(crate) date_ahead_ms_by_request: BTreeMap<usize, Option<i64>>,
    /// Files by event type, in order; each is the text before compression.
    pub(crate) files: BTreeMap<String, Vec<String>>,
    pub(crate) page_files: usize,
    /// The greatest page of the audit log.
    pub(crate) page_records: usize,
    pub(crate) audit: Vec<(Timestamp, String)>,
    pub(crate) other_streams: OtherStreams,
    /// Requests whose URL or body contains the text get the response, once each, in order.
    pub(crate) script: VecDeque<(String, MockResponse)>,
    /// Requests whose URL or body contains the text always get the response.
    pub(crate) always: Vec<(String, MockResponse)>,
    /// When each call of the SIEM quotas came, and for which event type.
    pub(crate) quota_calls: Vec<(Timestamp, String)>,
    pub(crate) requests: Vec<String>,
    /// Requests whose URL or body contains the text get their responses slowly: in chunks of this many
    /// bytes, each after this many milliseconds.
    pub(crate) slow_responses: Vec<(String, usize, i64)>,
    /// The faults that replace or change some responses.
    pub(crate) faults: Option<faults::Faults>,
    /// How often the next action of a machine was requested.
    pub(crate) steps: u64,
    /// The API 1.0 part of this upstream, if it has one.
    pub(crate) legacy: Option<legacy::Legacy>,
    tokens: u32,
    signed_listings: u32,
    remaining_chunks: VecDeque<Result<Vec<u8>, TransportError>>,
    /// How long each chunk of the open body takes.
    chunk_ms: i64,
    /// How long the next chunk still takes.
    next_chunk_ms: i64,
}

impl Upstream {
    pub(crate) fn new() -> Self {
        Self {
            now: Timestamp::parse("2026-02-03T04:05:06Z").unwrap(),
            host_ahead_ms: 0,
            response_ms: 50,
            dates_ahead_ms: 0,
            date_ahead_ms_by_request: BTreeMap::new(),
            files: BTreeMap::new(),
            page_files: 2,
            page_records: 3,
            audit: Vec::new(),
            other_streams: OtherStreams {
                page_records: 3,
                ..OtherStreams::default()
            },
            script: VecDeque::new(),
            always: Vec::new(),
            quota_calls: Vec::new(),
            requests: Vec::new(),
            slow_responses: Vec::new(),
            chunk_ms: 0,
            next_chunk_ms: 0,
            faults: None,
            steps: 0,
            legacy: None,
            tokens: 0,
            signed_listings: 0,
            remaining_chunks: VecDeque::new(),
        }
    }

    /// Returns how many of the requests so far contain `part`.
    pub(crate) fn count_requests(&self, part: &str) -> usize {
        let requests = self.requests.iter();
        requests.filter(|request| request.contains(part)).count()
    }

    pub(crate) fn host_now(&self) -> Timestamp {
        self.now.plus_ms(self.host_ahead_ms)
    }

    /// Adds a file of `lines` records, all different.
    pub(crate) fn add_file(&mut self, event_type: &str, lines: usize) {
        let files = self.files.entry(event_type.to_owned()).or_default();
        let file = files.len();
        let at = self.now.millis();
        let line = |n: usize| {
            format!(
                r#"{{"type":"{event_type}","aggregateId":"{file}-{n}","timestamp":{at},"_offset":{n}}}"#
            )
        };
        let text: Vec<String> = (0..lines).map(line).collect();
        files.push(text.join("\n"));
    }

    pub(crate) fn add_audit(&mut self, id: &str, at: Timestamp) {
        let event = format!(
            r#"{{"id":"{id}","auditType":"T","eventTime":"{}"}}"#,
            at.to_iso8601_with_offset()
        );
        self.audit.push((at, event));
    }

    /// The keys, as `key_of` makes them, of all records that can be read now.
    pub(crate) fn expected(&self) -> BTreeSet<String> {
        let lines = self.files.values().flatten().flat_map(|file| file.lines());
        let lines = lines.filter(|line| line.ends_with('}'));
        let records = lines.chain(self.audit.iter().map(|(_, event)| event.as_str()));
        let mut expected: BTreeSet<String> = records.map(key_of).collect();
        expected.extend(self.other_streams.expected(self.now));
        expected.extend(self.legacy.iter().flat_map(legacy::Legacy::expected));
        expected
    }

    fn respond(&mut self, request: &Request) -> MockResponse {
        let response = self.serve(request);
        match &mut self.faults {
            Some(faults) => faults.inject_fault(self.requests.last().unwrap(), response),
            None => response,
        }
    }

    fn serve(&mut self, request: &Request) -> MockResponse {
        let body = request
            .body
            .as_ref()
            .map(|body| body.bytes.expose())
            .unwrap_or_default();
        let request_text = format!("{} {body}", request.url);
        self.requests.push(request_text.clone());
        if let Some(at) = self
            .script
            .iter()
            .position(|(part, _)| request_text.contains(part))
        {
            return self.script.remove(at).unwrap().1;
        }
        if let Some((_, response)) = self
            .always
            .iter()
            .find(|(part, _)| request_text.contains(part))
        {
            return response.clone();
        }
        if origin(&request.url) == STORAGE {
            assert!(
                request.credentials.is_empty(),
                "credentials went to the storage"
            );
            return self.file(path(&request.url));
        }
        if let Some(legacy) = &mut self.legacy
            && let Some(response) = legacy.respond(request, body, self.now)
        {
            return response;
        }
        assert_eq!(origin(&request.url), API, "an unknown origin was asked");
        let route = path(&request.url).to_owned();
        if route == "/oauth/token" {
            self.tokens += 1;
            return MockResponse::json(
                200,
                &format!(
                    r#"{{"access_token":"tok-{}","expires_in":1799}}"#,
                    self.tokens
                ),
            );
        }
        assert!(!request.credentials.is_empty(), "no token came to the API");
        match route.as_str() {
            "/siem/v1/batch/events/cg" | "/siem/v1/batch/events/ci" => self.listing(&request.url),
            "/siem/v1/events/cg" | "/siem/v1/events/ci" => self.events(&request.url),
            "/api/audit/get-audit-events" => self.audit_page(body),
            _ => {
                let matches_feed = |row: &&crate::stream::StreamInfo| match row.fetch {
                    FetchKind::ThreatFeed { feed_type } => body.contains(feed_type),
                    FetchKind::Campaigns { .. }
                    | FetchKind::Files { .. }
                    | FetchKind::List { .. }
                    | FetchKind::LogFiles
                    | FetchKind::Windows(_) => true,
                };
                let row = STREAMS
                    .iter()
                    .filter(|row| {
                        let is_people =
                            matches!(row.fetch, FetchKind::Campaigns { people_endpoint, .. } if people_endpoint == route);
                        row.endpoint == route || is_people
                    })
                    .find(matches_feed);
                let stream = row.expect("a path of the table").stream;
                self.other_streams.respond(stream, body, self.now)
            }
        }
    }

    /// The event endpoint: the same records in another form, of the last day only.
    fn events(&mut self, url: &str) -> MockResponse {
        let query: BTreeMap<&str, &str> = url
            .split_once('?')
            .unwrap()
            .1
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .collect();
        let event_type = query["types"].replace("%20", " ");
        self.quota_calls
            .push((self.host_now(), format!("event {event_type}")));
        let lines = self.files.get(&event_type).into_iter().flatten();
        let lines: Vec<&str> = lines.flat_map(|file| file.lines()).collect();
        let time = |line: &&str| {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            Timestamp::from_millis(value["timestamp"].as_i64().unwrap())
        };
        let from = match query.get("nextPage") {
            Some(token) => token.parse().unwrap(),
            None => {
                let start = query["dateRangeStartsAt"].replace("%3A", ":");
                let start = Timestamp::parse(&start).unwrap();
                if start < self.now.plus_ms(-86_400_000) {
                    return MockResponse::json(
                        400,
                        r#"{"error":{"message":"more than 24 hours"}}"#,
                    );
                }
                lines.iter().take_while(|line| time(line) < start).count()
            }
        };
        let page: Vec<String> = lines
            .iter()
            .skip(from)
            .take(3)
            .map(|line| line.replace("\"type\":", "\"eventType\":"))
            .collect();
        let next = from + page.len();
        MockResponse::json(
            200,
            &format!(
                r#"{{"value":[{}],"@nextPage":"{next}","isCaughtUp":{}}}"#,
                page.join(","),
                next >= lines.len()
            ),
        )
    }

    fn file(&self, path: &str) -> MockResponse {
        let mut parts = path.trim_start_matches('/').split('/');
        let event_type = parts.next().unwrap().replace('+', " ");
        let index: usize = parts.next().unwrap().parse().unwrap();
        match self
            .files
            .get(&event_type)
            .and_then(|files| files.get(index))
        {
            Some(text) => MockResponse::Complete(200, Vec::new(), gzip(text)),
            None => MockResponse::json(404, "<Error/>"),
        }
    }

    fn listing(&mut self, url: &str) -> MockResponse {
        let query: BTreeMap<&str, &str> = url
            .split_once('?')
            .unwrap()
            .1
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .collect();
        let event_type = query["type"].replace("%20", " ");
        self.quota_calls.push((self.host_now(), event_type.clone()));
        let from: usize = query
            .get("nextPage")
            .map_or(0, |token| token.parse().unwrap());
        assert!(query.contains_key("nextPage") != query.contains_key("dateRangeStartsAt"));
        let files = self.files.get(&event_type).map_or(0, Vec::len);
        let to = files.min(from + self.page_files);
        self.signed_listings += 1;
        let item = |n: usize| {
            let name = event_type.replace(' ', "+");
            format!(
                r#"{{"url":"{STORAGE}/{name}/{n}?X-Amz-Signature=sig-{}","size":1}}"#,
                self.signed_listings
            )
        };
        let value: Vec<String> = (from..to).map(item).collect();
        MockResponse::json(
            200,
            &format!(
                r#"{{"value":[{}],"@nextPage":"{to}","isCaughtUp":{}}}"#,
                value.join(","),
                to == files
            ),
        )
    }

    fn audit_page(&self, body: &str) -> MockResponse {
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        let time = |name: &str| Timestamp::parse(body["data"][0][name].as_str().unwrap()).unwrap();
        let (from, to) = (time("startDateTime"), time("endDateTime"));
        let pagination = &body["meta"]["pagination"];
        let offset: usize = pagination["pageToken"]
            .as_str()
            .map_or(0, |token| token.parse().unwrap_or(usize::MAX / 2));
        let size = usize::try_from(pagination["pageSize"].as_u64().unwrap())
            .unwrap()
            .min(self.page_records);
        let mut inside: Vec<_> = self
            .audit
            .iter()
            .filter(|(at, _)| (from..=to).contains(&at.floor_second()))
            .collect();
        inside.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
        let page: Vec<&str> = inside
            .iter()
            .skip(offset)
            .take(size)
            .map(|(_, event)| event.as_str())
            .collect();
        // An empty page with a token that leads nowhere ends a window (`mimecast-api.md` §5.1).
        let next = if page.is_empty() {
            "String".to_owned()
        } else {
            (offset + size).to_string()
        };
        let total = inside.len() + offset % 2;
        MockResponse::json(
            200,
            &format!(
                r#"{{"meta":{{"status":200,"pagination":{{"pageSize":{},"totalCount":{total},"next":"{next}"}}}},"data":[{}],"fail":[]}}"#,
                page.len(),
                page.join(",")
            ),
        )
    }

    fn head(&self, status: u16, mut headers: Vec<(String, String)>) -> Head {
        let number = self.requests.len().saturating_sub(1);
        let date_ahead_ms = self.date_ahead_ms_by_request.get(&number).copied();
        if let Some(ahead_ms) = date_ahead_ms.unwrap_or(Some(self.dates_ahead_ms)) {
            let date = http_date(self.now.plus_ms(ahead_ms));
            headers.push(("date".to_owned(), date));
        }
        headers.push(("x-request-id".to_owned(), "req-7".to_owned()));
        Head { status, headers }
    }

    fn next_chunk(&mut self) -> Option<Result<Vec<u8>, TransportError>> {
        let next = self.remaining_chunks.pop_front();
        if next.is_some() {
            self.now = self.now.plus_ms(self.next_chunk_ms);
            self.next_chunk_ms = self.chunk_ms;
        }
        next
    }

    /// Runs a machine until it yields.
    pub(crate) fn drive<M: Machine>(&mut self, machine: &mut M) -> M::Output {
        loop {
            self.steps += 1;
            match machine.next(self.host_now()) {
                Action::Continue => {}
                Action::Read
                    if self.next_chunk_ms > READ_TIMEOUT_MS
                        && !self.remaining_chunks.is_empty() =>
                {
                    self.now = self.now.plus_ms(READ_TIMEOUT_MS);
                    self.next_chunk_ms -= READ_TIMEOUT_MS;
                }
                Action::Read => match self.next_chunk() {
                    Some(Ok(chunk)) => machine.handle_chunk(chunk, self.host_now()),
                    Some(Err(error)) => machine.handle_failure(error, self.host_now()),
                    None => machine.handle_end(self.host_now()),
                },
                Action::Send(request) => {
                    self.now = self.now.plus_ms(self.response_ms);
                    let (status, headers, body, cut) = match self.respond(&request) {
                        MockResponse::Complete(status, headers, body) => {
                            (status, headers, body, None)
                        }
                        MockResponse::ConnectionReset(body, at) => {
                            (200, Vec::new(), body, Some(at))
                        }
                        MockResponse::TransportError(error) => {
                            machine.handle_failure(error, self.host_now());
                            continue;
                        }
                    };
                    let sent = &body[..cut.unwrap_or(body.len()).min(body.len())];
                    let request_text = self.requests.last().cloned().unwrap_or_default();
                    let slow_response = self
                        .slow_responses
                        .iter()
                        .find(|(part, ..)| request_text.contains(part));
                    let (bytes, chunk_ms) =
                        slow_response.map_or((97, 0), |(_, bytes, ms)| (*bytes, *ms));
                    (self.chunk_ms, self.next_chunk_ms) = (chunk_ms, chunk_ms);
                    self.remaining_chunks =
                        sent.chunks(bytes).map(|chunk| Ok(chunk.to_vec())).collect();
                    if cut.is_some() {
                        self.remaining_chunks
                            .push_back(Err(TransportError::Failed("connection reset".to_owned())));
                    }
                    machine.handle_head(self.head(status, headers), self.host_now());
                }
                Action::Yield(output) => {
                    if !machine.keeps_response_open() {
                        self.remaining_chunks.clear();
                    }
                    return output;
                }
            }
        }
    }
}

/// An HTTP date.
pub(crate) fn http_date(at: Timestamp) -> String {
    at.to_signature_date().replace("UTC", "GMT")
}

/// A key for a record of this upstream, or for its raw event, by the ids in it: `receipt/0-1`. Tests compare by
/// it, independently of [`crate::identity`].
pub(crate) fn key_of(record: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(record).unwrap();
    let value = value.get("record").unwrap_or(&value);
    if let Some(code) = value.get("aCode") {
        return format!("v1/{}", code.as_str().unwrap());
    }
    if let Some(first_event_id) = value.get("firstEventId") {
        return format!("gone/{}", first_event_id.as_str().unwrap());
    }
    let key = value
        .get("id")
        .unwrap_or_else(|| &value["aggregateId"])
        .as_str()
        .unwrap_or_else(|| panic!("a record without a key: {record}"));
    let kind = value
        .get("type")
        .or_else(|| value.get("eventType"))
        .and_then(|kind| kind.as_str())
        .unwrap_or("audit");
    // The type of an indicator does not identify its stream, so its id does.
    let (kind, key) = key.split_once(':').unwrap_or((kind, key));
    format!("{kind}/{key}")
}
