//! The items behind one POST endpoint, and the pages in which they are served.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::fault::{Effect, FailShape, fail_body, page_token_refused};
use crate::items::Item;
use crate::post::{ItemsLocation, PostEndpoint};
use crate::random::Random;
use crate::response::SimulatedResponse;
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
    pub(crate) feed_file_records: usize,
    pub(crate) page_token_lifetime_ms: i64,
    pub(crate) effect: Option<&'a Effect>,
}

/// Which items a response has, and how it shows their records.
pub(crate) struct View<'a> {
    pub(crate) includes: &'a dyn Fn(&Item) -> bool,
    pub(crate) show: &'a dyn Fn(&Value) -> Value,
}

/// What a request asks for.
struct Query {
    from_ms: i64,
    to_ms: i64,
    size: usize,
    offset: usize,
    /// Whether the token is the bogus one of an empty last page.
    after_end: bool,
    oldest_first: bool,
    /// Whether the caller sees only their own items, of which there are none.
    own_only: bool,
}

impl Log {
    /// Adds items, sorted by time.
    pub(crate) fn add(&mut self, items: impl IntoIterator<Item = Item>) {
        let mut items: Vec<Item> = items.into_iter().collect();
        items.sort_by_key(|item| item.at_ms);
        for mut item in items {
            item.arrival_index = self.items.len();
            self.items.push(item);
        }
        self.items.sort_by_key(|item| std::cmp::Reverse(item.at_ms));
    }

    /// Returns all items.
    pub(crate) fn items(&self) -> &[Item] {
        &self.items
    }

    /// Returns all items, in the order in which they were added.
    pub(crate) fn by_arrival(&mut self) -> Vec<&mut Item> {
        let mut items: Vec<&mut Item> = self.items.iter_mut().collect();
        items.sort_by_key(|item| item.arrival_index);
        items
    }

    /// Removes items from a list, the newest first, and returns them.
    pub(crate) fn remove_newest(&mut self, count: usize) -> Vec<Item> {
        let present = self.items.iter_mut().filter(|item| !item.is_removed);
        let mut removed = Vec::new();
        for item in present.take(count) {
            item.is_removed = true;
            removed.push(item.clone());
        }
        removed
    }

    /// Answers a request for a page. With odd shapes, some windows end in an empty page with a
    /// `next` that leads nowhere.
    pub(crate) fn respond(
        &mut self,
        post_endpoint: &PostEndpoint,
        body: &[u8],
        context: &RequestContext<'_>,
    ) -> SimulatedResponse {
        let all = View {
            includes: &|_| true,
            show: &Value::clone,
        };
        self.response_for(post_endpoint, body, context, &all)
    }

    /// Answers a request for a page of some of the items, each in another form.
    pub(crate) fn response_for(
        &mut self,
        post_endpoint: &PostEndpoint,
        body: &[u8],
        context: &RequestContext<'_>,
        view: &View<'_>,
    ) -> SimulatedResponse {
        let query = match Query::parse(post_endpoint, body, context) {
            Ok(query) => query,
            Err(response) => return response,
        };
        let mut matching = self.matching_items(&query);
        matching.retain(|item| (view.includes)(item));
        let total = matching.len();
        let take = match context.effect {
            Some(Effect::EmptyPage) => 0,
            _ if query.after_end => 0,
            _ => query.size,
        };
        let mut items = Vec::new();
        for item in matching.into_iter().skip(query.offset).take(take) {
            item.served += 1;
            items.push((view.show)(&item.record));
        }
        // The count varies from page to page.
        let is_count_wrong = context.odd_shapes && query.offset % 3 == 1;
        let mut pagination =
            json!({"pageSize": items.len(), "totalCount": total + usize::from(is_count_wrong)});
        let next = query.next(items.len(), total, context);
        if let (Some(next), Some(pagination)) = (next, pagination.as_object_mut()) {
            pagination.insert("next".to_owned(), Value::String(next));
        }
        let data = match post_endpoint.items_location {
            ItemsLocation::Data => Value::Array(items),
            ItemsLocation::ListInData(list) => json!([{ list: items, "resultCount": total }]),
            ItemsLocation::ListInObject(list) => json!({ list: items }),
        };
        let meta = json!({"status": 200, "pagination": pagination});
        SimulatedResponse::json(200, &json!({"meta": meta, "data": data, "fail": []}))
    }

    /// Returns the items that a request may see, in its order.
    fn matching_items(&mut self, query: &Query) -> Vec<&mut Item> {
        let window = query.from_ms..=query.to_ms;
        let is_visible =
            |item: &&mut Item| window.contains(&item.at_ms) && !item.is_removed && !query.own_only;
        let mut matching: Vec<&mut Item> = self.items.iter_mut().filter(is_visible).collect();
        if query.oldest_first {
            matching.reverse();
        }
        matching
    }
}

impl Query {
    fn parse(
        post_endpoint: &PostEndpoint,
        body: &[u8],
        context: &RequestContext<'_>,
    ) -> Result<Self, SimulatedResponse> {
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
            None => post_endpoint.page_size_default,
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
        let ascending = post_endpoint
            .window_members
            .is_some_and(|window| window.0 == "from");
        Ok(Self {
            from_ms: post_endpoint
                .window_members
                .map_or(Ok(i64::MIN), |window| bound(window.0))?,
            to_ms: post_endpoint
                .window_members
                .map_or(Ok(i64::MAX), |window| bound(window.1))?,
            oldest_first: ascending && is_true("oldestFirst"),
            own_only: post_endpoint.for_admin && !is_true("admin"),
            size: size.min(context.page_records_max),
            offset,
            after_end,
        })
    }

    /// Returns the token of the page after this one, which has `items` items.
    fn next(&self, items: usize, total: usize, context: &RequestContext<'_>) -> Option<String> {
        let (from, to) = (bits(self.from_ms), bits(self.to_ms));
        let has_bogus_end = context.odd_shapes && Random::new(0, "end", &[from, to]).chance(500);
        let next_offset = match context.effect {
            Some(Effect::PageRepeated) => self.offset,
            _ => self.offset + items,
        };
        let has_more = next_offset < total && !self.after_end;
        let ends_here = items == 0 && !matches!(context.effect, Some(Effect::EmptyPage));
        match context.effect {
            Some(Effect::NoPageToken) => None,
            _ if ends_here => has_bogus_end.then(|| "String".to_owned()),
            _ if has_more || has_bogus_end => Some(token(next_offset, context.now_ms)),
            _ => None,
        }
    }
}

/// Parses a number, or the text of one: both are accepted.
fn number(value: &Value) -> Option<usize> {
    match value.as_str() {
        Some(text) => text.parse().ok(),
        None => value
            .as_u64()
            .and_then(|number| usize::try_from(number).ok()),
    }
}

pub(crate) fn invalid(field: &str) -> SimulatedResponse {
    let message = format!("{field} is missing or not valid");
    SimulatedResponse::json(
        400,
        &fail_body(400, FailShape::Nested, "err_validation_null", &message),
    )
}

/// Returns a token for the items after the first `offset`, created at `now_ms`.
fn token(offset: usize, now_ms: i64) -> String {
    STANDARD.encode(format!("after={offset}&at={now_ms}"))
}

/// Returns the offset that a token stands for, while it is valid.
fn offset(token: &str, context: &RequestContext<'_>) -> Option<usize> {
    let text = String::from_utf8(STANDARD.decode(token).ok()?).ok()?;
    let (offset, at_ms) = text.strip_prefix("after=")?.split_once("&at=")?;
    let at_ms: i64 = at_ms.parse().ok()?;
    let is_valid = context.now_ms < at_ms.saturating_add(context.page_token_lifetime_ms);
    offset.parse().ok().filter(|_| is_valid)
}

fn bits(ms: i64) -> u64 {
    u64::from_le_bytes(ms.to_le_bytes())
}
