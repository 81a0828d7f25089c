//! Threat feeds: one file after another, by token; STIX or CSV, zipped or not.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::fault::{Effect, page_token_refused};
use crate::identity::Identity;
use crate::items::{Item, record_identity};
use crate::post_log::{Log, RequestContext};
use crate::response::SimulatedResponse;
use crate::time::{DAY_MS, UtcTime, parse_date_time};
use crate::zip;

/// The identity of a record in another form in which it is sent, and its original identity.
pub(crate) type IdentityMapping = (Identity, Identity);

/// Answers a request for the next file.
pub(crate) fn respond(
    log: &mut Log,
    stream: &str,
    body: &[u8],
    context: &RequestContext<'_>,
) -> (SimulatedResponse, Vec<IdentityMapping>) {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let request = body.pointer("/data/0").cloned().unwrap_or_default();
    let mut items = log.by_arrival();
    let from = match request.get("token").and_then(Value::as_str) {
        Some(token) => match position(token).filter(|from| *from <= items.len()) {
            Some(from) => from,
            None => return (page_token_refused(), Vec::new()),
        },
        None => first_since(&items, &request, context.now_ms),
    };
    let text = |name: &str| {
        request
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let mut file = Vec::new();
    let take = if matches!(context.effect, Some(Effect::EmptyPage)) {
        0
    } else {
        context.feed_file_records
    };
    let is_stix = text("fileType") == "stix";
    for item in items.iter_mut().skip(from).take(take) {
        // Those of CSV are counted as records in another form.
        item.served += u64::from(is_stix);
        file.push(&**item);
    }
    let to = from + file.len();
    let feed_type = text("feedType").to_owned();
    let (extension, content, rewritten) = if is_stix {
        ("stix", stix(&file), Vec::new())
    } else {
        ("csv", csv(&file), rewritten(stream, &file))
    };
    let stamp = UtcTime::new(context.now_ms).basic();
    let name = format!("{feed_type}_{extension}_{stamp}");
    // Plain files have been seen even where a zip was requested.
    let is_zip_requested = request.get("compress") == Some(&Value::Bool(true));
    let (name, bytes) = if is_zip_requested && !(context.odd_shapes && from % 2 == 1) {
        let entry = format!("{name}.{extension}");
        (
            format!("{name}.zip"),
            zip::archive(&entry, content.as_bytes()),
        )
    } else {
        (format!("{name}.{extension}"), content.into_bytes())
    };
    let disposition = format!("attachment; filename=\"{name}\"");
    let response = SimulatedResponse::new(200, bytes)
        .with("content-type", "application/octet-stream")
        .with("content-disposition", disposition);
    // Without anything new the token stays the same; with odd shapes it is then sometimes omitted.
    let omits_token = context.odd_shapes && to == from && from % 2 == 1;
    let is_repeated = matches!(context.effect, Some(Effect::PageRepeated));
    let next = token(if is_repeated { from } else { to });
    match context.effect {
        Some(Effect::NoPageToken) => (response, rewritten),
        _ if omits_token => (response, rewritten),
        _ => (
            response.with("x-mc-threat-feed-next-token", next),
            rewritten,
        ),
    }
}

/// Returns where a feed without a token begins: at `start`, or seven days ago.
fn first_since(items: &[&mut Item], request: &Value, now_ms: i64) -> usize {
    let start = request.get("start").and_then(Value::as_str);
    let since_ms = start
        .and_then(parse_date_time)
        .unwrap_or(now_ms - 7 * DAY_MS);
    let before = |item: &&&mut Item| item.at_ms < since_ms;
    items.iter().take_while(before).count()
}

/// Returns a bundle of the indicators, and of the malware that some of them are related to. Malware
/// and relationships are objects, but no records.
fn stix(file: &[&Item]) -> String {
    let mut objects: Vec<Value> = Vec::new();
    for (number, item) in file.iter().enumerate() {
        let indicator = item.record.clone();
        let id = indicator.get("id").cloned().unwrap_or_default();
        objects.push(indicator);
        if number % 3 == 1 {
            let malware = format!("malware--{number}");
            objects.push(json!({"type": "malware", "id": malware, "name": "Dropper.X", "labels": ["trojan"]}));
            objects.push(json!({
                "type": "relationship", "id": format!("relationship--{number}"),
                "relationship_type": "indicates", "source_ref": id, "target_ref": malware,
            }));
        }
    }
    json!({"type": "bundle", "id": "bundle--1", "spec_version": "2.0", "objects": objects})
        .to_string()
}

/// Formats a CSV file. No sample of the CSV is public; it has the values of the STIX objects.
fn csv(file: &[&Item]) -> String {
    let mut text = COLUMNS.map(|(name, _)| name).join(",");
    text.push_str("\r\n");
    for item in file {
        let fields =
            COLUMNS.map(|(_, member)| format!("\"{}\"", field(item, member).replace('"', "\"\"")));
        text.push_str(&fields.join(","));
        text.push_str("\r\n");
    }
    text
}

/// Returns, for each row of a CSV file, the identity of the record that a reader makes of it, and the
/// original identity.
fn rewritten(stream: &str, file: &[&Item]) -> Vec<IdentityMapping> {
    let rewrite = |item: &&Item| {
        let row: serde_json::Map<String, Value> = COLUMNS
            .iter()
            .map(|(name, member)| ((*name).to_owned(), Value::from(field(item, member))))
            .collect();
        (record_identity(stream, &Value::Object(row)), item.identity)
    };
    file.iter().map(rewrite).collect()
}

fn field(item: &Item, member: &str) -> String {
    let value = item.record.get(member).and_then(Value::as_str);
    value.unwrap_or_default().to_owned()
}

/// The names of the columns, and the members that they contain.
const COLUMNS: [(&str, &str); 5] = [
    ("CreationDate", "created"),
    ("ObjectType", "type"),
    ("Id", "id"),
    ("Pattern", "pattern"),
    ("MalwareType", "name"),
];

fn token(position: usize) -> String {
    URL_SAFE_NO_PAD.encode(format!("feed:{position}"))
}

fn position(token: &str) -> Option<usize> {
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
    text.strip_prefix("feed:")?.parse().ok()
}
