//! The items behind one POST endpoint, and the pages in which they go out.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::fault::{Effect, FailShape, fail_body, page_token_refused};
use crate::history::Item;
use crate::post::{Place, Row};
use crate::random::Random;
use crate::time::parse_date_time;

/// The items of one endpoint, newest first.
#[derive(Debug, Default)]
pub(crate) struct Log {
    items: Vec<Item>,
}

/// The state of the tenant at the time of a request.
#[derive(Debug)]
pub(crate) struct RequestContext<'a> {
    pub(crate) now_ms: i64,
    pub(crate) odd_shapes: bool,
    pub(crate) page_records_max: usize,
    pub(crate) page_token_lifetime_ms: i64,
    pub(crate) effect: Option<&'a Effect>,
}

/// Which items an answer has, and how it shows their records.
pub(crate) struct View<'a> {
    pub(crate) is_asked: &'a dyn Fn(&Item) -> bool,
    pub(crate) show: &'a dyn Fn(&Value) -> Value,
}

/// What a request asks for.
struct Query {
    from_ms: i64,
    to_ms: i64,
    size: usize,
    offset: usize,
    after_end: bool,
    oldest_first: bool,
    /// Whether the caller sees only their own items, of which there are none.
    own_only: bool,
}

impl Log {
    /// Adds items at their place in time.
    pub(crate) fn add(&mut self, items: impl IntoIterator<Item = Item>) {
        let mut items: Vec<Item> = items.into_iter().collect();
        items.sort_by_key(|item| item.at_ms);
        for mut item in items {
            item.arrived = self.items.len();
            self.items.push(item);
        }
        self.items.sort_by_key(|item| std::cmp::Reverse(item.at_ms));
    }

    /// Returns all items.
    pub(crate) fn items(&self) -> &[Item] {
        &self.items
    }

    /// Returns all items, in the order in which they came to be.
    pub(crate) fn by_arrival(&mut self) -> Vec<&mut Item> {
        let mut items: Vec<&mut Item> = self.items.iter_mut().collect();
        items.sort_by_key(|item| item.arrived);
        items
    }

    /// Lets items leave a list, the newest first, and says which.
    pub(crate) fn release(&mut self, count: usize) -> Vec<Item> {
        let there = self.items.iter_mut().filter(|item| !item.gone);
        let mut released = Vec::new();
        for item in there.take(count) {
            item.gone = true;
            released.push(item.clone());
        }
        released
    }

    /// Answers a request for a page. With odd shapes, some windows end in an empty page with a
    /// `next` that leads nowhere.
    pub(crate) fn answer(
        &mut self,
        row: &Row,
        body: &[u8],
        context: &RequestContext<'_>,
    ) -> Answer {
        let all = View {
            is_asked: &|_| true,
            show: &Value::clone,
        };
        self.answer_for(row, body, context, &all)
    }

    /// The same for some of the items, of which each is shown in another form.
    pub(crate) fn answer_for(
        &mut self,
        row: &Row,
        body: &[u8],
        context: &RequestContext<'_>,
        view: &View<'_>,
    ) -> Answer {
        let query = match Query::parse(row, body, context) {
            Ok(query) => query,
            Err(answer) => return answer,
        };
        let mut inside = self.matching_items(&query);
        inside.retain(|item| (view.is_asked)(item));
        let total = inside.len();
        let take = match context.effect {
            Some(Effect::EmptyPage) => 0,
            _ if query.after_end => 0,
            _ => query.size,
        };
        let mut items = Vec::new();
        for item in inside.into_iter().skip(query.offset).take(take) {
            item.served += 1;
            items.push((view.show)(&item.record));
        }
        // The count varies from page to page.
        let wrong = context.odd_shapes && query.offset % 3 == 1;
        let mut pagination =
            json!({"pageSize": items.len(), "totalCount": total + usize::from(wrong)});
        let next = query.next(items.len(), total, context);
        if let (Some(next), Some(pagination)) = (next, pagination.as_object_mut()) {
            pagination.insert("next".to_owned(), Value::String(next));
        }
        let data = match row.place {
            Place::Data => Value::Array(items),
            Place::ListInData(list) => json!([{ list: items, "resultCount": total }]),
            Place::ListInObject(list) => json!({ list: items }),
        };
        let meta = json!({"status": 200, "pagination": pagination});
        Answer::json(200, &json!({"meta": meta, "data": data, "fail": []}))
    }

    /// Returns the items that a request may see, in its order.
    fn matching_items(&mut self, query: &Query) -> Vec<&mut Item> {
        let window = query.from_ms..=query.to_ms;
        let seen = |item: &&mut Item| window.contains(&item.at_ms) && !item.gone && !query.own_only;
        let mut inside: Vec<&mut Item> = self.items.iter_mut().filter(seen).collect();
        if query.oldest_first {
            inside.reverse();
        }
        inside
    }
}

impl Query {
    fn parse(row: &Row, body: &[u8], context: &RequestContext<'_>) -> Result<Self, Answer> {
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
            Some(token) => offset(token, context).ok_or_else(page_token_refused)?,
        };
        let is_true = |name| data.get(name) == Some(&Value::Bool(true));
        let ascending = row.window.is_some_and(|window| window.0 == "from");
        Ok(Self {
            from_ms: row.window.map_or(Ok(i64::MIN), |window| bound(window.0))?,
            to_ms: row.window.map_or(Ok(i64::MAX), |window| bound(window.1))?,
            oldest_first: ascending && is_true("oldestFirst"),
            own_only: row.for_admin && !is_true("admin"),
            size: size.min(context.page_records_max),
            offset,
            after_end,
        })
    }

    /// Returns the token of the page after this one, which has `items` items.
    fn next(&self, items: usize, total: usize, context: &RequestContext<'_>) -> Option<String> {
        let (from, to) = (bits(self.from_ms), bits(self.to_ms));
        let bogus_end = context.odd_shapes && Random::new(0, "end", &[from, to]).chance(500);
        let behind = match context.effect {
            Some(Effect::PageRepeated) => self.offset,
            _ => self.offset + items,
        };
        let more = behind < total && !self.after_end;
        let ends_here = items == 0 && !matches!(context.effect, Some(Effect::EmptyPage));
        match context.effect {
            Some(Effect::NoPageToken) => None,
            _ if ends_here => bogus_end.then(|| "String".to_owned()),
            _ if more || bogus_end => Some(token(behind, context.now_ms)),
            _ => None,
        }
    }
}

/// Returns a number, or the text of one: both are taken.
fn number(value: &Value) -> Option<usize> {
    match value.as_str() {
        Some(text) => text.parse().ok(),
        None => value
            .as_u64()
            .and_then(|number| usize::try_from(number).ok()),
    }
}

pub(crate) fn invalid(field: &str) -> Answer {
    let message = format!("{field} is missing or not valid");
    Answer::json(
        400,
        &fail_body(400, FailShape::Nested, "err_validation_null", &message),
    )
}

/// Returns a token for what follows the first `offset` items, given out at `now_ms`.
fn token(offset: usize, now_ms: i64) -> String {
    STANDARD.encode(format!("after={offset}&at={now_ms}"))
}

/// Returns what a token stands for, while it is good.
fn offset(token: &str, context: &RequestContext<'_>) -> Option<usize> {
    let text = String::from_utf8(STANDARD.decode(token).ok()?).ok()?;
    let (offset, at_ms) = text.strip_prefix("after=")?.split_once("&at=")?;
    let at_ms: i64 = at_ms.parse().ok()?;
    let good = context.now_ms < at_ms.saturating_add(context.page_token_lifetime_ms);
    offset.parse().ok().filter(|_| good)
}

fn bits(ms: i64) -> u64 {
    u64::from_le_bytes(ms.to_le_bytes())
}
