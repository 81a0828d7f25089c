//! The streams of the scripted upstream beside batch files and audit events, with the oddities of each.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{MockResponse, key_of};
use crate::decode::zip::tests::{END_OF_ZIP, zip_entry};
use crate::stream::{FetchKind, Order, PostEndpoint, Stream};
use crate::time::Timestamp;

/// One record of a log, and the time from which it can be read.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) at: Timestamp,
    pub(crate) visible_from: Timestamp,
    pub(crate) text: String,
}

/// Objects of a bundle that are no records.
const NON_RECORDS: [&str; 2] = [
    r#"{"type":"malware","id":"malware--1","name":"Dropper"}"#,
    r#"{"type":"relationship","id":"relationship--1","source_ref":"indicator--1","target_ref":"malware--1"}"#,
];

/// Records by stream.
#[derive(Default)]
pub(crate) struct OtherStreams {
    pub(crate) logs: BTreeMap<Stream, Vec<Entry>>,
    /// What is on the lists now.
    pub(crate) lists: BTreeMap<Stream, Vec<String>>,
    /// Phishing campaigns and their people. If empty, one campaign has everybody in `lists`.
    pub(crate) campaigns: Vec<(String, Vec<String>)>,
    /// How many records a page has at most.
    pub(crate) page_records: usize,
    /// How often the threat feeds were requested.
    pub(crate) feed_requests: usize,
}

/// A record of that stream.
pub(crate) fn record(stream: Stream, id: &str, at: Timestamp) -> String {
    let mut record = match stream.info().fetch {
        // Only these objects of a feed are records.
        FetchKind::ThreatFeed { .. } => {
            json!({ "type": "indicator", "id": format!("{stream}:{id}") })
        }
        FetchKind::Campaigns { .. }
        | FetchKind::Files { .. }
        | FetchKind::List { .. }
        | FetchKind::LogFiles
        | FetchKind::Windows(_) => {
            json!({ "type": stream.name(), "id": id })
        }
    };
    if let Some(name) = stream.info().time_fields.first() {
        record[name.spelling()] = at.to_iso8601_with_offset().into();
    }
    record.to_string()
}

impl OtherStreams {
    /// Adds a record that happened at `at` and can be read from `visible_from` on.
    pub(crate) fn add(
        &mut self,
        stream: Stream,
        id: &str,
        (at, visible_from): (Timestamp, Timestamp),
    ) {
        let text = record(stream, id, at);
        if matches!(
            stream.info().fetch,
            FetchKind::Campaigns { .. } | FetchKind::List { .. }
        ) {
            self.lists.entry(stream).or_default().push(text);
        } else {
            let entry = Entry {
                at,
                visible_from,
                text,
            };
            self.logs.entry(stream).or_default().push(entry);
        }
    }

    /// The keys of everything that can be read now.
    pub(crate) fn expected(&self, now: Timestamp) -> BTreeSet<String> {
        let logs = self.logs.values().flatten();
        let visible = logs.filter(|entry| entry.visible_from <= now);
        let lists = self.lists.values().flatten();
        visible
            .map(|entry| entry.text.as_str())
            .chain(lists.map(String::as_str))
            .map(key_of)
            .collect()
    }

    /// Answers a POST of that stream.
    pub(crate) fn respond(&mut self, stream: Stream, body: &str, now: Timestamp) -> MockResponse {
        let body: Value = serde_json::from_str(body).unwrap();
        match &stream.info().fetch {
            FetchKind::Campaigns { people_post, .. } => self.campaigns(stream, people_post, &body),
            FetchKind::ThreatFeed { .. } => self.feed(stream, &body, now),
            FetchKind::Files { .. } | FetchKind::LogFiles => {
                panic!("{stream} is answered elsewhere")
            }
            FetchKind::List { post, .. } => {
                let mut items = self.lists.entry(stream).or_default().clone();
                let is_inside = window_filter(stream, post, &body);
                items.retain(|item| is_inside(item));
                page(post, &body, &items, self.page_records)
            }
            FetchKind::Windows(post) => {
                let items = self.records_in_window(stream, post, &body, now);
                page(post, &body, &items, self.page_records)
            }
        }
    }

    /// The list of campaigns, or the people of one.
    fn campaigns(&self, stream: Stream, people: &PostEndpoint, body: &Value) -> MockResponse {
        let listed = self.lists.get(&stream).cloned().unwrap_or_default();
        let all = if self.campaigns.is_empty() && !listed.is_empty() {
            let campaign = json!({
                "id": "c", "name": "C", "launchDate": "2026-01-20T00:00:00+0000", "numSent": listed.len(),
            });
            vec![(campaign.to_string(), listed)]
        } else {
            self.campaigns.clone()
        };
        let Some(id) = body["data"][0]["id"].as_str() else {
            let rows: Vec<String> = all.into_iter().map(|(row, _)| row).collect();
            return page(
                &PostEndpoint {
                    records_member: "",
                    ..*people
                },
                body,
                &rows,
                self.page_records,
            );
        };
        let is_asked = |row: &str| serde_json::from_str::<Value>(row).unwrap()["id"] == id;
        match all.iter().find(|(row, _)| is_asked(row)) {
            Some((_, rows)) => page(people, body, rows, self.page_records),
            None => MockResponse::json(400, r#"{"fail":[{"code":"err_unknown_campaign"}]}"#),
        }
    }

    /// The records of the window, in the order of the endpoint.
    fn records_in_window(
        &self,
        stream: Stream,
        post: &PostEndpoint,
        body: &Value,
        now: Timestamp,
    ) -> Vec<String> {
        let time = |name: &str| Timestamp::parse(body["data"][0][name].as_str().unwrap()).unwrap();
        let bounds = post.window_members.map(|(from, to)| time(from)..=time(to));
        let none = Vec::new();
        let log = self.logs.get(&stream).unwrap_or(&none).iter();
        let mut inside: Vec<&Entry> = log
            .filter(|entry| entry.visible_from <= now)
            .filter(|entry| {
                bounds
                    .as_ref()
                    .is_none_or(|bounds| bounds.contains(&entry.at.floor_second()))
            })
            .collect();
        inside.sort_by_key(|entry| entry.at);
        if stream.info().order == Order::NewestFirst {
            inside.reverse();
        } else {
            assert_eq!(body["data"][0]["oldestFirst"], true);
        }
        inside.iter().map(|entry| entry.text.clone()).collect()
    }

    /// Two records a file; STIX or CSV, every other file zipped.
    fn feed(&mut self, stream: Stream, body: &Value, now: Timestamp) -> MockResponse {
        let request_data = &body["data"][0];
        let FetchKind::ThreatFeed { feed_type } = stream.info().fetch else {
            panic!("{stream} is no feed");
        };
        assert_eq!(request_data["feedType"], feed_type);
        assert_ne!(
            request_data["token"].is_null(),
            request_data["start"].is_null()
        );
        let none = Vec::new();
        let log = self.logs.get(&stream).unwrap_or(&none).iter();
        let end = request_data["end"].as_str().and_then(Timestamp::parse);
        let mut visible: Vec<&Entry> = log
            .filter(|entry| {
                entry.visible_from <= now && end.is_none_or(|end| entry.visible_from <= end)
            })
            .collect();
        visible.sort_by_key(|entry| entry.visible_from);
        let from = match request_data["token"].as_str() {
            Some(token) => token.trim_start_matches('f').parse().unwrap(),
            None => {
                let start = Timestamp::parse(request_data["start"].as_str().unwrap()).unwrap();
                visible.iter().take_while(|entry| entry.at < start).count()
            }
        };
        let file: Vec<&str> = visible
            .iter()
            .skip(from)
            .take(2)
            .map(|e| e.text.as_str())
            .collect();
        let text = if request_data["fileType"] == "csv" {
            csv(&file)
        } else {
            let objects = [&NON_RECORDS[..], &file].concat().join(",\n");
            format!(r#"{{"type":"bundle","objects":[{objects}]}}"#)
        };
        self.feed_requests += 1;
        let body = if self.feed_requests.is_multiple_of(2) {
            let file = zip_entry(
                "f.stix",
                text.as_bytes(),
                self.feed_requests.is_multiple_of(4),
            );
            [file, END_OF_ZIP.to_vec()].concat()
        } else {
            text.into_bytes()
        };
        let next = format!("f{}", from + file.len());
        MockResponse::Complete(
            200,
            vec![("x-mc-threat-feed-next-token".to_owned(), next)],
            body,
        )
    }
}

/// Returns a predicate for the items of a list in the requested window.
fn window_filter(stream: Stream, post: &PostEndpoint, body: &Value) -> impl Fn(&str) -> bool {
    let time = |text: &str| Timestamp::parse(text).unwrap();
    let requested_time = |name: &str| time(body["data"][0][name].as_str().unwrap());
    let window = post
        .window_members
        .map(|(from, to)| requested_time(from)..=requested_time(to));
    let name = stream
        .info()
        .time_fields
        .first()
        .map_or("", |name| name.spelling());
    let before = format!("\"{name}\":\"");
    move |item| {
        // Found by its text: a list may have 20,000 items.
        let at = item
            .split_once(&before)
            .and_then(|(_, at)| at.split('"').next());
        let (Some(at), Some(window)) = (at, &window) else {
            return true;
        };
        window.contains(&time(at))
    }
}

fn csv(records: &[&str]) -> String {
    let mut text = "type,id,modified\r\n".to_owned();
    for record in records {
        let record: Value = serde_json::from_str(record).unwrap();
        let field = |name: &str| record[name].as_str().unwrap().to_owned();
        text += &format!(
            "{},\"{}\",{}\r\n",
            field("type"),
            field("id"),
            field("modified")
        );
    }
    text
}

/// One page, with a `next` that leads nowhere after the last one, and a count that varies.
fn page(post: &PostEndpoint, body: &Value, items: &[String], page_records: usize) -> MockResponse {
    let pagination = &body["meta"]["pagination"];
    let offset = pagination["pageToken"].as_str().map_or(0, |token| {
        let offset = token.trim_start_matches('p').parse();
        offset.unwrap_or(usize::MAX / 2)
    });
    let size = usize::try_from(pagination["pageSize"].as_u64().unwrap()).unwrap();
    let size = size.min(page_records);
    let page: Vec<&str> = items
        .iter()
        .skip(offset)
        .take(size)
        .map(String::as_str)
        .collect();
    let next = if page.is_empty() {
        "String".to_owned()
    } else {
        format!("p{}", offset + page.len())
    };
    let total = items.len() + offset % 2;
    let data = match (post.records_member, offset % 2) {
        ("", _) => format!("[{}]", page.join(" , ")),
        (list, 0) => format!(r#"[{{"resultCount":1,"{list}":[{}]}}]"#, page.join(",")),
        (list, _) => format!(r#"{{"{list}":[{}]}}"#, page.join(",")),
    };
    MockResponse::json(
        200,
        &format!(
            r#"{{"meta":{{"status":200,"pagination":{{"pageSize":{},"totalCount":{total},"next":"{next}"}}}},"data":{data},"fail":[]}}"#,
            page.len()
        ),
    )
}
