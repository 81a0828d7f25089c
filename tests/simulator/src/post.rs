//! The POST endpoints that answer by window: one row each, newest first, page by page.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::fault::{Effect, FailShape, fail_body, page_token_refused};
use crate::identity::Identity;
use crate::random::Random;
use crate::time::parse_date_time;

/// What is known about one endpoint.
#[derive(Debug)]
pub(crate) struct Row {
    /// The name of the stream.
    pub(crate) stream: &'static str,
    /// The path.
    pub(crate) path: &'static str,
    /// The names of the bounds of the window, in `data[0]` of the request.
    window: (&'static str, &'static str),
    /// The list in `data[0]` of the answer; the items stand in `data` itself when not given.
    list: Option<&'static str>,
    /// How many items a page has when the request does not say.
    page_size_default: usize,
    /// How many it has at most.
    page_size_max: usize,
}

/// The endpoints.
pub(crate) const ROWS: &[Row] = &[Row {
    stream: "audit",
    path: "/api/audit/get-audit-events",
    window: ("startDateTime", "endDateTime"),
    list: None,
    page_size_default: 10,
    page_size_max: 500,
}];

/// The row of a path.
pub(crate) fn row(path: &str) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.path == path)
}

/// The items of one endpoint, newest first.
#[derive(Debug, Default)]
pub(crate) struct Log {
    items: Vec<Item>,
}

/// One item of a log.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) at_ms: i64,
    pub(crate) record: Value,
    pub(crate) identity: Identity,
    pub(crate) served: u64,
}

/// What a request asks for.
struct Query {
    from_ms: i64,
    to_ms: i64,
    size: usize,
    offset: usize,
    after_end: bool,
}

impl Log {
    /// Adds items at their place in time.
    pub(crate) fn add(&mut self, items: impl IntoIterator<Item = Item>) {
        self.items.extend(items);
        self.items.sort_by_key(|item| std::cmp::Reverse(item.at_ms));
    }

    /// All items.
    pub(crate) fn items(&self) -> &[Item] {
        &self.items
    }

    /// Answers a request. With traps, some windows end in an empty page with a `next` that is
    /// none.
    pub(crate) fn answer(
        &mut self,
        row: &Row,
        body: &[u8],
        traps: bool,
        effect: Option<&Effect>,
    ) -> Answer {
        let query = match Query::parse(row, body) {
            Ok(query) => query,
            Err(answer) => return answer,
        };
        let window = query.from_ms..=query.to_ms;
        let in_window = |item: &&mut Item| window.contains(&item.at_ms);
        let total = self
            .items
            .iter()
            .filter(|item| window.contains(&item.at_ms))
            .count();
        let take = match effect {
            Some(Effect::EmptyPage) => 0,
            _ if query.after_end => 0,
            _ => query.size,
        };
        let mut items = Vec::new();
        for item in self
            .items
            .iter_mut()
            .filter(in_window)
            .skip(query.offset)
            .take(take)
        {
            item.served += 1;
            items.push(item.record.clone());
        }
        let next_offset = match effect {
            Some(Effect::PageRepeated) => query.offset,
            _ => query.offset + items.len(),
        };
        let bogus_end =
            traps && Random::new(0, "end", &[bits(query.from_ms), bits(query.to_ms)]).chance(500);
        let more = next_offset < total && !query.after_end;
        let ends_here = items.is_empty() && !matches!(effect, Some(Effect::EmptyPage));
        let next = match effect {
            Some(Effect::NoPageToken) => None,
            _ if more && !ends_here => Some(token(next_offset)),
            _ if bogus_end && ends_here => Some("String".to_owned()),
            _ if bogus_end => Some(token(next_offset)),
            _ => None,
        };
        // The count wanders from page to page.
        let total = if traps && query.offset % 3 == 1 {
            total + 1
        } else {
            total
        };
        let mut pagination = json!({"pageSize": items.len(), "totalCount": total});
        if let (Some(next), Some(pagination)) = (next, pagination.as_object_mut()) {
            pagination.insert("next".to_owned(), Value::String(next));
        }
        let data = match row.list {
            Some(list) => json!([{ list: items }]),
            None => Value::Array(items),
        };
        let meta = json!({"status": 200, "pagination": pagination});
        Answer::json(200, &json!({"meta": meta, "data": data, "fail": []}))
    }
}

impl Query {
    fn parse(row: &Row, body: &[u8]) -> Result<Self, Answer> {
        let body: Value = serde_json::from_slice(body).map_err(|_| invalid("body"))?;
        let data = body
            .get("data")
            .and_then(Value::as_array)
            .map(Vec::as_slice);
        let Some([data]) = data else {
            return Err(invalid("data"));
        };
        let bound = |name| {
            let text = data.get(name).and_then(Value::as_str);
            text.and_then(parse_date_time).ok_or_else(|| invalid(name))
        };
        let pagination = body.get("meta").and_then(|meta| meta.get("pagination"));
        let size = match pagination.and_then(|pagination| pagination.get("pageSize")) {
            None => row.page_size_default,
            Some(size) => number(size)
                .filter(|size| *size > 0)
                .ok_or_else(|| invalid("pageSize"))?,
        };
        let token = pagination.and_then(|pagination| pagination.get("pageToken"));
        let token = token.and_then(Value::as_str);
        let after_end = token == Some("String");
        let offset = match token {
            None | Some("String") => 0,
            Some(token) => offset(token).ok_or_else(page_token_refused)?,
        };
        Ok(Self {
            from_ms: bound(row.window.0)?,
            to_ms: bound(row.window.1)?,
            size: size.min(row.page_size_max),
            offset,
            after_end,
        })
    }
}

/// A number, or the text of one: both are taken.
fn number(value: &Value) -> Option<usize> {
    match value.as_str() {
        Some(text) => text.parse().ok(),
        None => value
            .as_u64()
            .and_then(|number| usize::try_from(number).ok()),
    }
}

fn invalid(field: &str) -> Answer {
    let message = format!("{field} is missing or not valid");
    Answer::json(
        400,
        &fail_body(400, FailShape::Nested, "err_validation_null", &message),
    )
}

fn token(offset: usize) -> String {
    STANDARD.encode(format!("after={offset}"))
}

fn offset(token: &str) -> Option<usize> {
    let text = String::from_utf8(STANDARD.decode(token).ok()?).ok()?;
    text.strip_prefix("after=")?.parse().ok()
}

fn bits(ms: i64) -> u64 {
    u64::from_le_bytes(ms.to_le_bytes())
}
