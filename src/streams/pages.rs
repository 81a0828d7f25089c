//! Pages of the POST endpoints: the request, and where the records are in the response
//! (`mimecast-api.md` §5.1).

use core::ops::Range;
use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::checkpoint::PageProgress;
use crate::decode::json::repair_response;
use crate::decode::lenient::{self, Optional};
use crate::decode::parse_json;
use crate::encode::push_quoted;
use crate::request::Call;
use crate::stream::{PostEndpoint, Stream};
use crate::streams::{Context, InvalidResponse};
use crate::time::Timestamp;

/// A page token goes into the checkpoint, so it is bounded.
pub const PAGE_TOKEN_BYTES_MAX: usize = 2048;

/// A page in memory. A checkpoint does not hold it, only how much of it is done.
pub struct Page {
    body: Vec<u8>,
    records: Vec<Range<usize>>,
    /// The index of the current record.
    current: usize,
    /// The token of the page after this one, where there is one.
    pub next_token: Option<String>,
    /// The names of optional members beside the records that cannot be read.
    pub unreadable_members: [Option<&'static str>; 2],
}

#[derive(Deserialize)]
struct Response<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    data: Option<&'a RawValue>,
    #[serde(borrow, default)]
    meta: Option<&'a RawValue>,
}

/// Deserializes a member that is present, even if it is `null`.
fn present<'de, D: Deserializer<'de>>(value: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(value).map(Some)
}

#[derive(Deserialize)]
struct Meta<'a> {
    #[serde(borrow, default)]
    pagination: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Pagination {
    #[serde(default, deserialize_with = "lenient::optional_text")]
    next: Optional<String>,
}

/// Returns the pagination of a page, and the name of the member that cannot be read. A member beside
/// the records that cannot be read counts as absent: the records are used.
fn pagination(meta: Option<&RawValue>) -> (Option<Pagination>, Option<&'static str>) {
    let Some(meta) = meta.filter(|meta| meta.get() != "null") else {
        return (None, None);
    };
    let Ok(meta) = parse_json::<Meta<'_>>(meta.get()) else {
        return (None, Some("meta"));
    };
    let Some(pagination) = meta.pagination.filter(|it| it.get() != "null") else {
        return (None, None);
    };
    match parse_json::<Pagination>(pagination.get()) {
        Ok(pagination) => {
            let unreadable_member = pagination.next.name_if_unreadable("next");
            (Some(pagination), unreadable_member)
        }
        Err(_) => (None, Some("pagination")),
    }
}

impl Page {
    /// Parses a response to [`call`]. `token` is the one that was sent.
    ///
    /// # Errors
    ///
    /// The body is not a page.
    pub fn read(
        body: Vec<u8>,
        records_member: &str,
        token: Option<&str>,
    ) -> Result<Self, InvalidResponse> {
        let broken = || InvalidResponse("the page is not the documented JSON".to_owned());
        let body = repair_response(body);
        let response: Response<'_> = serde_json::from_slice(&body).map_err(|_| broken())?;
        let (pagination, unreadable_member) = pagination(response.meta);
        // `{}` is not an empty page: records that it leaves out would be lost.
        let records = match response.data {
            Some(data) => records_in(data, records_member),
            None => pagination.as_ref().map(|_| Vec::new()),
        };
        let records = ranges(&body, &records.ok_or_else(broken)?);
        // A token that does not move ends the list (`mimecast-api.md` §5.1).
        let next = pagination
            .and_then(|page| page.next.value())
            .filter(|next| !next.is_empty() && Some(next.as_str()) != token);
        Ok(Self::of(body, records, next)?.with_unreadable_members([unreadable_member, None]))
    }

    /// Sets the names of members that cannot be read.
    #[must_use]
    pub fn with_unreadable_members(self, unreadable_members: [Option<&'static str>; 2]) -> Self {
        Self {
            unreadable_members,
            ..self
        }
    }

    /// Creates a page of records that another parser found.
    ///
    /// # Errors
    ///
    /// The token is too long for a checkpoint.
    pub fn of(
        body: Vec<u8>,
        records: Vec<Range<usize>>,
        next_token: Option<String>,
    ) -> Result<Self, InvalidResponse> {
        check_token_length(next_token.as_deref(), PAGE_TOKEN_BYTES_MAX)?;
        Ok(Self {
            body,
            records,
            current: 0,
            next_token,
            unreadable_members: [None; 2],
        })
    }

    /// Returns the current record, byte for byte.
    #[must_use]
    pub fn current_record(&self) -> Option<&[u8]> {
        self.bytes(self.current)
    }

    fn bytes(&self, at: usize) -> Option<&[u8]> {
        self.body.get(self.records.get(at)?.clone())
    }

    /// Returns the records that are done.
    pub fn done_records(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.current).filter_map(|at| self.bytes(at))
    }

    /// Returns a hash over all records of the page.
    #[must_use]
    pub fn records_digest(&self) -> String {
        self.digest(self.records.len())
    }

    /// Returns a hash over the whole body, with what is beside the records.
    #[must_use]
    pub fn body_digest(&self) -> String {
        digest_text(&blake3::hash(&self.body))
    }

    /// Returns the number of the current record, counted from 1.
    #[must_use]
    pub const fn record_number(&self) -> usize {
        self.current.saturating_add(1)
    }

    /// Moves to the next record.
    pub const fn advance(&mut self) {
        self.current = self.current.saturating_add(1);
    }

    /// Returns whether there is no record on it.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Returns the progress in the page, for a checkpoint.
    #[must_use]
    pub fn progress(&self) -> Option<PageProgress> {
        let records = u32::try_from(self.current)
            .ok()
            .filter(|records| *records > 0)?;
        let digest = self.digest(self.current);
        Some(PageProgress { records, digest })
    }

    /// Skips the records that were done when the page was read before. Where the page now has other
    /// records, it is read from its beginning: repeated records have the same ids.
    pub fn resume(&mut self, done: Option<&PageProgress>) {
        let count = done.and_then(|done| Some((usize::try_from(done.records).ok()?, done)));
        if let Some((count, done)) = count
            && count <= self.records.len()
            && self.digest(count) == done.digest
        {
            self.current = count;
        }
    }

    /// Returns 64 bits of a hash over the first records: enough to notice that a page has changed.
    fn digest(&self, count: usize) -> String {
        let mut hasher = blake3::Hasher::new();
        for at in 0..count {
            hasher.update(self.bytes(at).unwrap_or_default());
            hasher.update(b"\n");
        }
        digest_text(&hasher.finalize())
    }
}

/// Returns the progress in the page to request: that of the page in memory, or `before` where there is
/// none.
#[must_use]
pub fn page_progress(page: Option<&Page>, before: Option<&PageProgress>) -> Option<PageProgress> {
    match page {
        Some(page) => page.progress(),
        None => before.cloned(),
    }
}

fn digest_text(hash: &blake3::Hash) -> String {
    hash.to_hex().chars().take(16).collect()
}

/// Checks that a page token takes at most so many bytes of a checkpoint, where control characters are
/// escaped to six times their length.
///
/// # Errors
///
/// It takes more.
pub fn check_token_length(token: Option<&str>, bytes_max: usize) -> Result<(), InvalidResponse> {
    if token.is_none_or(|token| escaped_len(token) <= bytes_max) {
        return Ok(());
    }
    Err(InvalidResponse(format!(
        "the page token is longer than {bytes_max} bytes"
    )))
}

/// Returns how many bytes a text takes between its quotes in a checkpoint.
#[must_use]
fn escaped_len(text: &str) -> usize {
    serde_json::to_string(text).map_or(usize::MAX, |json| json.len().saturating_sub(2))
}

/// Returns the records in `data`: its own elements, or those of one member of its elements.
fn records_in<'a>(data: &'a RawValue, records_member: &str) -> Option<Vec<&'a RawValue>> {
    let text = data.get();
    if text == "null" {
        return Some(Vec::new());
    }
    // Some endpoints answer with one object where the others have a list of one.
    let outer: Vec<&RawValue> = if text.starts_with('[') {
        parse_json(text).ok()?
    } else {
        vec![data]
    };
    if records_member.is_empty() {
        let mut records = outer;
        records.retain(|record| !is_empty_envelope(record));
        return Some(records);
    }
    let mut records = Vec::new();
    for element in outer {
        let members: BTreeMap<Cow<'_, str>, &RawValue> = parse_json(element.get()).ok()?;
        let inner = members
            .get(records_member)
            .filter(|inner| inner.get() != "null");
        if let Some(inner) = inner {
            records.extend(parse_json::<Vec<&RawValue>>(inner.get()).ok()?);
        }
    }
    Some(records)
}

/// Returns whether a value is an object whose members are all empty. Some endpoints answer
/// with an empty envelope where there is no record.
fn is_empty_envelope(value: &RawValue) -> bool {
    let is_nothing = |value: &&RawValue| matches!(value.get(), "null" | "[]" | "{}");
    parse_json::<BTreeMap<Cow<'_, str>, &RawValue>>(value.get())
        .is_ok_and(|members| members.values().all(is_nothing))
}

/// Returns the ranges of values within the body that they were parsed from.
#[must_use]
pub fn ranges(body: &[u8], values: &[&RawValue]) -> Vec<Range<usize>> {
    let start = body.as_ptr().addr();
    let range = |value: &&RawValue| {
        let from = value.get().as_ptr().addr().saturating_sub(start);
        from..from.saturating_add(value.get().len())
    };
    values.iter().map(range).collect()
}

/// The parameters of the request for one page.
pub struct PageRequest<'a> {
    /// The window, for endpoints that take dates.
    pub window: (Timestamp, Timestamp),
    /// How many records the page is to have.
    pub page_records: u32,
    /// The token of the page; `None` for the first.
    pub token: Option<&'a str>,
}

/// Returns the call for the smallest page of a stream.
#[must_use]
pub fn probe(stream: Stream, post: &PostEndpoint, context: Context<'_>) -> Call {
    let request = PageRequest {
        window: (context.upstream_now.plus_ms(-60_000), context.upstream_now),
        page_records: 1,
        token: None,
    };
    call(stream, post, &request)
}

/// Returns the call for one page. The window is sent again with the token
/// (`mimecast-api.md` §5.1).
#[must_use]
pub fn call(stream: Stream, post: &PostEndpoint, request: &PageRequest<'_>) -> Call {
    let mut body = request_prefix(request.page_records, request.token);
    body.push_str(",\"data\":[{");
    body.push_str(post.request_members);
    if let Some((from, to)) = post.window_members {
        for (name, at) in [(from, request.window.0), (to, request.window.1)] {
            body.push_str(&format!("\"{name}\":\"{}\",", at.to_iso8601_with_offset()));
        }
    }
    if body.ends_with(',') {
        body.pop();
    }
    body.push_str("}]}");
    Call::post(stream.info().endpoint.to_owned(), body)
}

/// Returns the beginning of a request up to its `data`.
#[must_use]
pub fn request_prefix(page_records: u32, token: Option<&str>) -> String {
    let mut body = format!("{{\"meta\":{{\"pagination\":{{\"pageSize\":{page_records}");
    if let Some(token) = token {
        body.push_str(",\"pageToken\":");
        push_quoted(&mut body, token);
    }
    body.push_str("}}");
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(body: &str, records_member: &str) -> Vec<String> {
        let mut page = Page::read(body.as_bytes().to_vec(), records_member, Some("t")).unwrap();
        let mut records = Vec::new();
        while let Some(record) = page.current_record() {
            records.push(String::from_utf8(record.to_vec()).unwrap());
            page.advance();
        }
        records
    }

    #[test]
    fn records_are_found_wherever_they_stand_and_keep_their_bytes() {
        let odd = r#"{ "a" : "\u00e9" }"#;
        assert_eq!(
            records(&format!(r#"{{"data":[{odd},{{"b":0}}]}}"#), ""),
            [odd, r#"{"b":0}"#]
        );
        for nothing in [
            "{}",
            "[{}]",
            r#"[{"auditEvents":null}]"#,
            r#"[{"auditEvents":[]},{ }]"#,
        ] {
            let body = format!(r#"{{"data":{nothing}}}"#);
            assert_eq!(records(&body, ""), [""; 0], "{nothing}");
        }
        for data in [
            format!(r#"[{{"logs":[{odd}],"resultCount":1}}]"#),
            format!(r#"{{"logs":[{odd}]}}"#),
            format!(r#"[{{}},{{"logs":null}},{{"logs":[{odd}]}}]"#),
        ] {
            assert_eq!(
                records(&format!(r#"{{"data":{data}}}"#), "logs"),
                [odd],
                "{data}"
            );
        }
        for data in ["null", "[]", "[{}]"] {
            assert!(records(&format!(r#"{{"data":{data}}}"#), "logs").is_empty());
        }
        assert!(records(r#"{"meta":{"pagination":{}},"fail":[]}"#, "").is_empty());
        for nothing in ["{}", r#"{"fail":[]}"#, r#"{"meta":{"status":200}}"#] {
            assert!(Page::read(nothing.into(), "", None).is_err(), "{nothing}");
        }
    }

    #[test]
    fn a_page_with_a_bad_string_is_read_and_keeps_the_others() {
        for (bad, expected) in [
            (&b"one\ttwo"[..], r#"{"a":"one\ttwo"}"#),
            (b"caf\xe9", "{\"a\":\"caf\u{fffd}\"}"),
            (b"\\ud83d", r#"{"a":"\ud83d"}"#),
        ] {
            for mark in [&b""[..], b"\xef\xbb\xbf"] {
                let body = [mark, b"{\"data\":[{\"a\":\"", bad, b"\"},{\"b\":1}]}"].concat();
                let mut page = Page::read(body, "", None).unwrap();
                if mark.is_empty() || !bad.starts_with(b"\\") {
                    assert_eq!(page.current_record().unwrap(), expected.as_bytes());
                }
                page.advance();
                assert_eq!(page.current_record().unwrap(), br#"{"b":1}"#);
            }
        }
    }

    #[test]
    fn a_token_that_does_not_move_is_the_end_and_one_of_another_type_is_no_error() {
        let next = |body: &str| {
            let page = Page::read(body.as_bytes().to_vec(), "", Some("t")).unwrap();
            page.next_token
        };
        let page = |data: &str, next: &str| {
            format!(r#"{{"meta":{{"pagination":{{"next":"{next}"}}}},"data":[{data}]}}"#)
        };
        assert_eq!(next(&page(r#"{"a":1}"#, "u")).as_deref(), Some("u"));
        assert_eq!(next(&page("", "u")).as_deref(), Some("u"));
        for (meta, token) in [
            (
                r#"{"pagination":{"next":4554,"totalCount":"9"}}"#,
                Some("4554"),
            ),
            (r#"{"pagination":{"next":{"a":1}}}"#, None),
            (r#"{"pagination":[]}"#, None),
            (r#"{"pagination":null,"status":"200"}"#, None),
            ("[]", None),
            ("null", None),
        ] {
            let body = format!(r#"{{"meta":{meta},"data":[{{"a":1}}]}}"#);
            assert_eq!(next(&body).as_deref(), token, "{meta}");
        }
        assert_eq!(next(&page(r#"{"a":1}"#, "t")), None);
        assert_eq!(next(&page(r#"{"a":1}"#, "")), None);
        for (token, fits) in [
            ("x".repeat(PAGE_TOKEN_BYTES_MAX), true),
            ("x".repeat(PAGE_TOKEN_BYTES_MAX + 1), false),
            ("\\u0001".repeat(PAGE_TOKEN_BYTES_MAX / 6), true),
            ("\\u0001".repeat(PAGE_TOKEN_BYTES_MAX / 6 + 1), false),
        ] {
            let page = Page::read(page(r#"{"a":1}"#, &token).into_bytes(), "", None);
            assert_eq!(page.is_ok(), fits, "{}", token.len());
        }
    }

    #[test]
    fn a_page_is_resumed_where_it_was_left_unless_it_changed() {
        let read = |body: &str| Page::read(body.as_bytes().to_vec(), "", None).unwrap();
        let mut page = read(r#"{"data":[{"a":1},{"a":2},{"a":3}]}"#);
        assert_eq!(page.progress(), None);
        page.advance();
        page.advance();
        let done = page.progress();
        let mut same = read(r#"{"data":[{"a":1},{"a":2},{"a":3},{"a":4}]}"#);
        same.resume(done.as_ref());
        assert_eq!(same.record_number(), 3);
        let mut other = read(r#"{"data":[{"a":0},{"a":1},{"a":2}]}"#);
        other.resume(done.as_ref());
        assert_eq!(other.record_number(), 1);
    }
}
