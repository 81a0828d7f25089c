//! The event endpoint: the records of the batch files of the last 24 hours, one by one, with the
//! field names of the documentation.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::batch_file::RecordRange;
use crate::fault::{Effect, page_token_refused};
use crate::feed::IdentityMapping;
use crate::identity::is_transport_key;
use crate::items::record_identity;
use crate::request::Request;
use crate::response::SimulatedResponse;
use crate::siem::{FileList, bad_parameter};
use crate::time::{DAY_MS, parse_date_time};

/// Answers a request for a page of events.
pub(crate) fn respond(
    list: &FileList,
    request: &Request,
    (now_ms, odd_shapes): (i64, bool),
    effect: Option<&Effect>,
) -> (SimulatedResponse, Vec<IdentityMapping>) {
    let refused = |response| (response, Vec::new());
    let size = match request.parameter("pageSize").map(str::parse::<usize>) {
        None => PAGE_EVENTS_MAX,
        Some(Ok(size)) if (1..=PAGE_EVENTS_MAX).contains(&size) => size,
        Some(_) => return refused(bad_parameter("pageSize")),
    };
    let records = all(list);
    let (from, since_ms) = match request.parameter("nextPage") {
        Some(token) => match position(token).filter(|from| *from <= records.len()) {
            // A page repeats the last event of the page before, now and then.
            Some(from) if odd_shapes && from % 5 == 3 => (from - 1, i64::MIN),
            Some(from) => (from, i64::MIN),
            None => return refused(page_token_refused()),
        },
        None => match since(request, now_ms) {
            Ok(since_ms) => (lower_bound(&records, since_ms), since_ms),
            Err(response) => return refused(response),
        },
    };
    let mut page = Page::default();
    let mut to = from;
    let take = if matches!(effect, Some(Effect::EmptyPage)) {
        0
    } else {
        size
    };
    for (number, range) in records.iter().skip(from) {
        if page.events.len() >= take {
            break;
        }
        to += 1;
        page.add(list, *number, range, since_ms);
    }
    let next = match effect {
        Some(Effect::NoPageToken) => None,
        Some(Effect::PageRepeated) => Some(from),
        _ => Some(to),
    };
    let mut body = Map::new();
    body.insert("value".to_owned(), Value::Array(page.events));
    if let Some(next) = next {
        body.insert("@nextPage".to_owned(), json!(token(next)));
        let link = format!("{}?nextPage={}", request.path, token(next));
        body.insert("@nextLink".to_owned(), json!(link));
    }
    body.insert("pageSize".to_owned(), json!(size));
    body.insert("isCaughtUp".to_owned(), json!(to >= records.len()));
    (
        SimulatedResponse::json(200, &Value::Object(body)),
        page.rewritten,
    )
}

/// A page under construction.
#[derive(Default)]
struct Page {
    events: Vec<Value>,
    rewritten: Vec<IdentityMapping>,
}

impl Page {
    /// Adds a record with the field names of this endpoint, unless it is older than `since_ms`.
    fn add(&mut self, list: &FileList, number: u64, range: &RecordRange, since_ms: i64) {
        let record = list.record_generator.record(number, range);
        let time_ms = record.value("timestamp").and_then(Value::as_i64);
        if time_ms.is_some_and(|time_ms| time_ms < since_ms) {
            return;
        }
        let stream = list.record_generator.event_type.stream();
        let original = record.identity(stream);
        // The identity is computed with the field names of batch files. A few records of the files use
        // those of this endpoint; their original identity differs.
        let (mut event, mut batch_record) = (Map::new(), Map::new());
        for (key, value) in record.fields().filter(|(key, _)| !is_transport_key(key)) {
            let (key, batch_key) = match key {
                "subtype" | "subType" => ("subType", "subtype"),
                "type" | "eventType" => ("eventType", "type"),
                other => (other, other),
            };
            event.insert(key.to_owned(), value.clone());
            batch_record.insert(batch_key.to_owned(), value.clone());
        }
        let identity = record_identity(stream, &Value::Object(batch_record));
        self.rewritten.push((identity, original));
        self.events.push(Value::Object(event));
    }
}

/// Returns every record of a list, by number and file; except those of huge files.
fn all(list: &FileList) -> Vec<(u64, RecordRange)> {
    let ranges = list.files.iter().map(|file| file.spec.range);
    ranges
        .flat_map(|range| (range.first..range.end()).map(move |number| (number, range)))
        .collect()
}

/// Returns the position of the first record that may be of `since_ms` or later: a record can be a
/// little later than its position suggests.
fn lower_bound(records: &[(u64, RecordRange)], since_ms: i64) -> usize {
    let before = |(number, range): &&(u64, RecordRange)| {
        range.at_ms(*number) < since_ms - RECORD_DELAY_MS_MAX
    };
    records.iter().take_while(before).count()
}

/// Returns the start of the window; the last 24 hours are served.
fn since(request: &Request, now_ms: i64) -> Result<i64, SimulatedResponse> {
    let Some(text) = request.parameter("dateRangeStartsAt") else {
        return Ok(now_ms - DAY_MS);
    };
    let since_ms = parse_date_time(text).ok_or_else(|| bad_parameter("dateRangeStartsAt"))?;
    if since_ms < now_ms - DAY_MS {
        let message = "dateRangeStartsAt must be within the last 24 hours";
        let error = json!({"error": {"code": "bad_request", "message": message}});
        return Err(SimulatedResponse::json(400, &error));
    }
    Ok(since_ms)
}

fn token(position: usize) -> String {
    STANDARD.encode(format!("event-{position}"))
}

fn position(token: &str) -> Option<usize> {
    let text = String::from_utf8(STANDARD.decode(token).ok()?).ok()?;
    text.strip_prefix("event-")?.parse().ok()
}

/// How many events a page has at most.
const PAGE_EVENTS_MAX: usize = 100;
/// By how much a record's time may be later than its position among the others suggests.
const RECORD_DELAY_MS_MAX: i64 = 120_000;
