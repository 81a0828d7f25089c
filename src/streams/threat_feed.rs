//! Feeds of threat indicators: one file after another, by token (`mimecast-api.md` §5.11).
//!
//! The token of the feed is the position. A file is STIX or CSV, zipped or not; its format is detected
//! from its content, whatever was requested.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::batch::{Builder, NoticeKind, OfferResult, RawRecord, RecordProcessor};
use crate::checkpoint::{StreamPosition, ThreatFeedPosition};
use crate::decode::json::{self, Kind, Member};
use crate::decode::lines::BYTE_ORDER_MARK;
use crate::decode::{csv, zip};
use crate::encode::push_quoted;
use crate::request::Call;
use crate::response::Head;
use crate::seen_ids::SeenIds;
use crate::settings;
use crate::stream::Stream;
use crate::streams::paged::{
    Cursor, EmptyPagePolicy, FinishedPage, PageRecord, PagingStrategy, ProcessResult,
};
use crate::streams::pages::{Page, page_progress, ranges};
use crate::streams::retention::Retention;
use crate::streams::{Context, InvalidResponse};
use crate::time::Timestamp;

/// The poll interval of a caught-up feed: indicators are lists for firewalls, not alerts.
const POLL_INTERVAL_MS: i64 = 15 * 60_000;

/// The most bytes that an archive may inflate to, so that it fits into the memory of the component
/// beside its records.
const INFLATED_BYTES_MAX: usize = 24 * 1024 * 1024;

/// The header with the token of the next file.
const NEXT_TOKEN: &str = "x-mc-threat-feed-next-token";

/// The type of the objects that are records.
const INDICATOR: &str = "indicator";

/// The paging strategy of one feed.
pub struct ThreatFeed {
    stream: Stream,
    feed_type: &'static str,
    position: ThreatFeedPosition,
    seen_ids: SeenIds,
    /// The files of the page in memory.
    files: Vec<File>,
    /// Why the file in memory is rejected as a whole.
    rejection_reason: Option<String>,
}

#[derive(Deserialize)]
struct Bundle<'a> {
    #[serde(borrow)]
    objects: Option<Vec<&'a RawValue>>,
    /// The data of the envelope that other endpoints answer with.
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

/// The members of an object of a bundle that show what it is, as they are in JSON.
#[derive(Default)]
struct Object<'a> {
    kind: Option<&'a str>,
    id: Option<&'a str>,
    name: Option<&'a str>,
    source: Option<&'a str>,
    target: Option<&'a str>,
}

impl<'a> Object<'a> {
    fn read(object: &'a RawValue) -> Self {
        let (text, mut members) = (object.get(), Vec::new());
        if json::scan_object(text, &mut members).is_err() {
            return Self::default();
        }
        let of = |name: &str| {
            let is_it = |member: &&Member| member.key.of(text) == name;
            let member = members.iter().rfind(is_it);
            let member = member.filter(|member| member.kind == Kind::String)?;
            Some(member.value.of(text))
        };
        Self {
            kind: of("type"),
            id: of("id"),
            name: of("name"),
            source: of("source_ref"),
            target: of("target_ref"),
        }
    }
}

/// A body: one file or several, and where the records of all are.
struct Body {
    bytes: Vec<u8>,
    records: Vec<Range<usize>>,
    files: Vec<File>,
}

/// One file of a body.
struct File {
    /// The number of records in the body up to the end of this file.
    records_end: usize,
    record_context: RecordContext,
}

/// What the records of a file need beside their own bytes.
enum RecordContext {
    /// Rows are converted to JSON one at a time.
    Csv(csv::Header),
    /// Members from other objects of the file for each of its records, as JSON.
    Stix(Vec<String>),
}

impl Body {
    /// Creates a body that is one record as a whole.
    fn of_one_record(bytes: Vec<u8>) -> Self {
        Self {
            records: core::iter::once(0..bytes.len()).collect(),
            bytes,
            files: Vec::new(),
        }
    }
}

/// Returns a record as JSON, with the members that other objects of its file add to it.
fn record_in<'a>(files: &'a [File], found: &PageRecord<'a>) -> (Cow<'a, [u8]>, &'a str) {
    let at = found.number.saturating_sub(1);
    let file = files.partition_point(|file| file.records_end <= at);
    match files
        .get(file)
        .map(|file| (&file.record_context, file.records_end))
    {
        Some((RecordContext::Csv(header), _)) => {
            (Cow::Owned(header.object(found.bytes).into_bytes()), "")
        }
        Some((RecordContext::Stix(extra_members), end)) => {
            let first = end.saturating_sub(extra_members.len());
            let extra_members = extra_members.get(at.saturating_sub(first));
            let extra_members = extra_members.map_or("", String::as_str);
            (Cow::Borrowed(found.bytes), extra_members)
        }
        None => (Cow::Borrowed(found.bytes), ""),
    }
}

impl ThreatFeed {
    /// Creates the reading of a stream, from its position or from `start`.
    #[must_use]
    pub fn open(
        stream: Stream,
        feed_type: &'static str,
        position: Option<&ThreatFeedPosition>,
        (start, capacity): (Timestamp, usize),
    ) -> Self {
        let fresh = || ThreatFeedPosition {
            since: start,
            ..ThreatFeedPosition::default()
        };
        let position = position.cloned().unwrap_or_else(fresh);
        let seen_ids = SeenIds::from_text(&position.seen_ids, capacity);
        Self {
            stream,
            feed_type,
            position,
            seen_ids: seen_ids.unwrap_or_else(|| SeenIds::new(capacity)),
            files: Vec::new(),
            rejection_reason: None,
        }
    }

    /// Moves `since` to what the feed still has, with a notice about what is lost: after an outage longer than the retention,
    /// or at a start that lies before it.
    fn skip_expired(&mut self, context: Context<'_>, batch: &mut Builder) {
        let position = &mut self.position;
        // A time in the future comes from a wrong clock.
        let since = position.since.min(context.earliest_now());
        let Some(retention) = Retention::of(self.stream, context) else {
            position.since = since;
            return;
        };
        match position.last_response_at {
            Some(last_response_at) if last_response_at < retention.oldest => {
                retention.add_gap_notice("indicators", last_response_at, batch);
                position.last_response_at = Some(retention.oldest);
            }
            None if position.token.is_none() && position.since < retention.oldest => {
                retention.add_start_notice("the feed", position.since, batch);
            }
            Some(_) | None => {}
        }
        position.since = since.max(retention.oldest);
    }
}

impl PagingStrategy for ThreatFeed {
    /// A page is a file, and a file without an indicator counts like any other.
    const EMPTY_PAGES: EmptyPagePolicy = EmptyPagePolicy::Count;

    fn stream(&self) -> Stream {
        self.stream
    }

    fn cursor(&mut self) -> Cursor<'_> {
        Cursor {
            token: &mut self.position.token,
            page_progress: &mut self.position.page_progress,
            stall_detector: &mut self.position.stall_detector,
        }
    }

    fn due(&self, has_page: bool, context: Context<'_>) -> (Timestamp, bool) {
        let Some(read_at) = self.position.read_at.filter(|_| !has_page) else {
            return (context.now, false);
        };
        (context.due_again(read_at, POLL_INTERVAL_MS), true)
    }

    fn collected_until(&self, context: Context<'_>) -> Option<Timestamp> {
        let position = &self.position;
        Some(context.collected_until(position.since, position.read_at, position.collected_until))
    }

    fn call(&mut self, context: Context<'_>, batch: &mut Builder) -> Call {
        self.skip_expired(context, batch);
        let from = match &self.position.token {
            Some(token) => CallStart::Token(token),
            None => CallStart::Time(self.position.since),
        };
        call(self.stream, self.feed_type, context, &from)
    }

    /// Parses the whole body as one page: a STIX or CSV file, or an archive of several.
    fn read(
        &mut self,
        (head, body): (&Head, Vec<u8>),
        context: Context<'_>,
    ) -> Result<Page, InvalidResponse> {
        self.rejection_reason = None;
        let token = self.position.token.as_deref();
        let next = head.header(NEXT_TOKEN).map(str::trim);
        let next = next.filter(|next| !next.is_empty() && Some(*next) != token);
        let next = next.map(str::to_owned);
        if body.is_empty() && next.is_none() {
            return Err(InvalidResponse(
                "there is neither a file nor a token".to_owned(),
            ));
        }
        // A file that cannot be read is fetched once more, and then rejected as a whole where a
        // further one follows. The last file is fetched until it can be read, or names a further one.
        let body_to_reject = (self.position.tries > 0 && next.is_some()).then(|| body.clone());
        let body = match (read_body(body), body_to_reject) {
            (Ok(body), _) => body,
            (Err(why), Some(bytes)) => {
                self.rejection_reason = Some(why.0);
                Body::of_one_record(bytes)
            }
            (Err(why), None) => {
                self.position.tries = self.position.tries.saturating_add(1);
                return Err(why);
            }
        };
        self.position.tries = 0;
        let page = Page::of(body.bytes, body.records, next)?;
        self.position.last_response_at = Some(context.earliest_now());
        self.files = body.files;
        Ok(page)
    }

    fn process(
        &mut self,
        found: PageRecord<'_>,
        processor: &mut RecordProcessor,
        context: Context<'_>,
        batch: &mut Builder,
    ) -> ProcessResult {
        let stream = self.stream;
        let locator = || format!("{stream} file record {}", found.number);
        if let Some(why) = self.rejection_reason.take() {
            let why = format!("the file is rejected: {why}");
            batch.reject(stream, locator(), why, found.bytes);
            return ProcessResult::Consumed;
        }
        let (bytes, extra_members) = record_in(&self.files, &found);
        let record = RawRecord {
            stream,
            bytes: &bytes,
            extra_members,
            id_override: None,
        };
        let seen_ids = Some(&mut self.seen_ids);
        let now = context.upstream_now;
        if batch.offer(processor, record, seen_ids, now, &locator) == OfferResult::BatchFull {
            return ProcessResult::BatchFull;
        }
        // An indicator with a time in the future does not change it.
        let at = processor.time(record).filter(|at| *at < now);
        self.position.newest = self.position.newest.max(at);
        ProcessResult::Consumed
    }

    fn advance(&mut self, page: FinishedPage, context: Context<'_>) -> bool {
        let Some(token) = page.next_token else {
            // There are no more for now, and the same token is sent again.
            self.position.read_at = Some(context.now);
            self.position.collected_until = Some(context.upstream_now);
            // Indicators may be written late, as events are.
            if let (None, Some(last_response_at)) =
                (&self.position.token, self.position.last_response_at)
            {
                let overlap_ms = context.settings.overlap_ms;
                let from = last_response_at.plus_ms(overlap_ms.saturating_neg());
                self.position.since = self.position.since.max(from);
            }
            return false;
        };
        self.position.read_at = None;
        self.position.token = Some(token);
        true
    }

    /// Restarts the feed by date after a refused token. Returns `false` if the call had no token.
    fn handle_refusal(&mut self, context: Context<'_>, batch: &mut Builder) -> bool {
        if self.position.token.take().is_none() {
            return false;
        }
        // The token was near the newest indicator; an hour back costs only repeats.
        let newest = self.position.newest;
        let newest = newest.filter(|newest| *newest < context.upstream_now);
        let newest = newest.unwrap_or(self.position.since);
        self.position.since = newest
            .plus_ms(-3_600_000)
            .max(self.position.since)
            .min(context.earliest_now());
        self.position.page_progress = None;
        let detail = format!(
            "Mimecast refused the token of the feed; it begins again at {} and may repeat indicators with the same ids",
            self.position.since
        );
        batch.notice(self.stream, NoticeKind::Adjusted, detail);
        true
    }

    fn save(&self, page: Option<&Page>, position: &mut StreamPosition) {
        position.feed = Some(ThreatFeedPosition {
            seen_ids: self.seen_ids.to_text(),
            page_progress: page_progress(page, self.position.page_progress.as_ref()),
            ..self.position.clone()
        });
    }
}

/// From where a call reads the feed.
enum CallStart<'a> {
    Token(&'a str),
    Time(Timestamp),
}

/// Returns the smallest call for a stream.
#[must_use]
pub fn probe(stream: Stream, feed_type: &str, context: Context<'_>) -> Call {
    let from = CallStart::Time(context.upstream_now.plus_ms(-60_000));
    call(stream, feed_type, context, &from)
}

fn call(stream: Stream, feed_type: &str, context: Context<'_>, from: &CallStart<'_>) -> Call {
    let file_type = match context.settings.threat_feed {
        settings::ThreatFeedFormat::Csv => "csv",
        settings::ThreatFeedFormat::Stix => "stix",
    };
    let mut body = format!(
        "{{\"data\":[{{\"feedType\":\"{feed_type}\",\"fileType\":\"{file_type}\",\"compress\":true,"
    );
    match from {
        // The token stands for the dates (`mimecast-api.md` §5.11).
        CallStart::Token(token) => {
            body.push_str("\"token\":");
            push_quoted(&mut body, token);
        }
        CallStart::Time(from) => {
            let (from, to) = (
                from.to_iso8601_with_offset(),
                context.upstream_now.to_iso8601_with_offset(),
            );
            body.push_str(&format!("\"start\":\"{from}\",\"end\":\"{to}\""));
        }
    }
    body.push_str("}]}");
    Call::post(stream.info().endpoint.to_owned(), body)
}

/// Reads a body: one file, or an archive of some.
fn read_body(body: Vec<u8>) -> Result<Body, InvalidResponse> {
    let (bytes, ranges) = if zip::is_zip(&body) {
        zip::extract(body, INFLATED_BYTES_MAX)
            .map_err(|error| InvalidResponse(error.0.to_owned()))?
    } else {
        let whole = 0..body.len();
        (body, vec![whole])
    };
    let (mut records, mut files) = (Vec::new(), Vec::new());
    for range in ranges {
        let file = bytes.get(range.clone()).unwrap_or_default();
        let (found, record_context) = read_file(file)?;
        let shift = |at: usize| at.saturating_add(range.start);
        records.extend(found.iter().map(|it| shift(it.start)..shift(it.end)));
        files.push(File {
            records_end: records.len(),
            record_context,
        });
    }
    Ok(Body {
        bytes,
        records,
        files,
    })
}

/// Reads one file: STIX, CSV, or the envelope of a response without a file. Returns where its records
/// are.
fn read_file(file: &[u8]) -> Result<(Vec<Range<usize>>, RecordContext), InvalidResponse> {
    let error = |text: &str| InvalidResponse(text.to_owned());
    let text = file.strip_prefix(BYTE_ORDER_MARK).unwrap_or(file);
    let first = text.iter().find(|byte| !byte.is_ascii_whitespace());
    if first == Some(&b'{') {
        let bundle: Bundle<'_> = serde_json::from_slice(text)
            .map_err(|_| error("the file is not the documented STIX"))?;
        if bundle.objects.is_none() && bundle.data.is_none() {
            return Err(error("the file has no objects"));
        }
        let (indicators, extra_members) = indicators(&bundle.objects.unwrap_or_default());
        return Ok((
            ranges(file, &indicators),
            RecordContext::Stix(extra_members),
        ));
    }
    if matches!(first, Some(b'<' | b'[')) {
        return Err(error("the file is neither STIX nor CSV"));
    }
    let (header, rows) = csv::scan(file).ok_or_else(|| error("the file has too many rows"))?;
    Ok((rows, RecordContext::Csv(header)))
}

/// Returns the indicators among the objects of a bundle, and for each the member `malwareName` as JSON
/// with a comma after it; empty where no relationship links malware to it. Malware and relationships are not records: they match nothing. An object
/// without a type counts as an indicator, so that nothing is left out silently.
fn indicators<'a>(objects: &[&'a RawValue]) -> (Vec<&'a RawValue>, Vec<String>) {
    let read: Vec<Object<'a>> = objects.iter().map(|object| Object::read(object)).collect();
    let mut names: BTreeMap<&str, &str> = BTreeMap::new();
    for object in &read {
        if let (Some("malware"), Some(id), Some(name)) = (object.kind, object.id, object.name) {
            names.insert(id, name);
        }
    }
    let mut malware: BTreeMap<&str, &str> = BTreeMap::new();
    for object in &read {
        let ends = (object.kind, object.source, object.target);
        let (Some("relationship"), Some(source), Some(target)) = ends else {
            continue;
        };
        for (one, other) in [(source, target), (target, source)] {
            if let Some(name) = names.get(other) {
                malware.entry(one).or_insert(name);
            }
        }
    }
    let (mut indicators, mut extra_members) = (Vec::new(), Vec::new());
    for (object, read) in objects.iter().zip(&read) {
        if read.kind.is_some_and(|kind| kind != INDICATOR) {
            continue;
        }
        let mut members = String::new();
        if let Some(name) = read.id.and_then(|id| malware.get(id)) {
            for piece in ["\"malwareName\":\"", name, "\","] {
                members.push_str(piece);
            }
        }
        indicators.push(*object);
        extra_members.push(members);
    }
    (indicators, extra_members)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{Limits, NextPoll};
    use crate::decode::zip::tests::{END_OF_ZIP, zip_entry};
    use crate::normalize::{Format, Options};

    const BUNDLE: &str = r#"{"type":"bundle","objects":[
        {"type":"malware","id":"malware--1","name":"Dropper \"X\""},
        {"type":"relationship","id":"relationship--1","relationship_type":"indicates","source_ref":"indicator--1","target_ref":"malware--1"},
        {"type":"indicator","id":"indicator--1","pattern":"[url:value='https://bad.example.test/a']","modified":"2026-03-01T10:20:30Z"},
        {"type":"indicator","id":"indicator--2","pattern":"[domain-name:value='bad.example.test']","modified":"2026-03-01T10:20:30Z"},
        {"type":"identity","id":"identity--1"},
        {"id":"of no type"},
        7]}"#;

    /// Returns each record as JSON, with its extra members.
    fn records(body: &Body) -> Vec<(String, &str)> {
        let record = |(at, range): (usize, &Range<usize>)| {
            let found = PageRecord {
                number: at + 1,
                bytes: &body.bytes[range.clone()],
            };
            let (json, extra_members) = record_in(&body.files, &found);
            (String::from_utf8(json.into_owned()).unwrap(), extra_members)
        };
        body.records.iter().enumerate().map(record).collect()
    }

    #[test]
    fn only_indicators_are_records_and_what_has_no_type_is_not_left_out() {
        let body = read_body(BUNDLE.into()).unwrap();
        let found = records(&body);
        assert_eq!(found.len(), 4, "{found:?}");
        let name = r#""malwareName":"Dropper \"X\"","#;
        for ((text, extra_members), (start, expected)) in found.iter().zip([
            (r#"{"type":"indicator","id":"indicator--1""#, name),
            (r#"{"type":"indicator","id":"indicator--2""#, ""),
            (r#"{"id":"of no type"}"#, ""),
            ("7", ""),
        ]) {
            assert!(text.starts_with(start), "{text}");
            assert_eq!(*extra_members, expected, "{text}");
        }
    }

    #[test]
    fn the_files_of_an_archive_are_read_each_in_its_own_form() {
        let archive = [
            ("a.stix", BUNDLE),
            ("a.csv", "Id,Pattern\r\na,b\r\nc,d"),
            ("empty.csv", "Id\n"),
            ("b.csv", "Hash|Name\n1|2\n"),
            ("b.stix", BUNDLE),
        ];
        let archive = archive.map(|(name, text)| zip_entry(name, text.as_bytes(), false));
        let body = read_body([archive.concat(), END_OF_ZIP.to_vec()].concat()).unwrap();
        let found = records(&body);
        let bundle = read_body(BUNDLE.into()).unwrap();
        let bundle = records(&bundle);
        assert_eq!(found.len(), 2 * bundle.len() + 3, "{found:?}");
        assert_eq!(found[..4], bundle[..]);
        let rows = [
            r#"{"Id":"a","Pattern":"b"}"#,
            r#"{"Id":"c","Pattern":"d"}"#,
            r#"{"Hash":"1","Name":"2"}"#,
        ];
        assert!(found[4..7].iter().map(|it| &it.0).eq(&rows), "{found:?}");
        assert_eq!(found[7..], bundle[..]);
    }

    #[test]
    fn a_byte_order_mark_before_a_file_changes_nothing() {
        let bundle = read_body(BUNDLE.into()).unwrap();
        let marked = format!("\u{feff}{BUNDLE}");
        let body = read_body(marked.clone().into()).unwrap();
        assert_eq!(records(&body), records(&bundle));
        let archive = [("a.stix", &*marked), ("a.csv", "\u{feff}Id,Pattern\na,b")];
        let archive = archive.map(|(name, text)| zip_entry(name, text.as_bytes(), false));
        let body = read_body([archive.concat(), END_OF_ZIP.to_vec()].concat()).unwrap();
        let found = records(&body);
        let (row, indicators) = found.split_last().unwrap();
        assert_eq!(indicators, records(&bundle));
        assert_eq!(row.0, r#"{"Id":"a","Pattern":"b"}"#);
        assert!(read_body("\u{feff}<html>".into()).is_err());
    }

    #[test]
    fn an_indicator_has_the_name_of_its_malware_and_keeps_its_identity_and_its_original() {
        let body = read_body(BUNDLE.into()).unwrap();
        let (text, malware) = records(&body).swap_remove(0);
        let bytes = text.as_bytes();
        let event = |format, extra_members: &str| {
            let options = Options {
                include_original: true,
                ..Options::default()
            };
            let mut processor = RecordProcessor::new(format, options);
            let mut batch = Builder::new(Limits {
                max_events: 9,
                max_bytes: 1 << 20,
                max_requests: 1,
            });
            let record = RawRecord {
                stream: Stream::ThreatIntelGrid,
                bytes,
                extra_members,
                id_override: None,
            };
            let now = Timestamp::from_millis(1_772_360_430_000);
            let offer = batch.offer(&mut processor, record, None, now, &String::new);
            assert_eq!(offer, OfferResult::Consumed);
            let batch = batch.finish(String::new(), NextPoll::Now);
            serde_json::from_str::<serde_json::Value>(&batch.events).unwrap()
        };
        let (ecs, alone) = (event(Format::Ecs, malware), event(Format::Ecs, ""));
        assert_eq!(ecs["threat"]["software"]["name"], "Dropper \"X\"");
        assert_eq!(ecs["event"]["id"], alone["event"]["id"]);
        assert_eq!(ecs["event"]["original"], alone["event"]["original"]);
        let ocsf = event(Format::Ocsf, malware);
        assert_eq!(ocsf["osint"][0]["malware"][0]["name"], "Dropper \"X\"");
        assert_eq!(event(Format::Raw, malware), event(Format::Raw, ""));
    }
}
