//! Phishing campaigns: the list of all, and the people of each.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::items::Item;
use crate::post::PostEndpoint;
use crate::post_log::{Log, RequestContext, View, invalid};
use crate::response::SimulatedResponse;

/// The members of a campaign that a collector adds to a person's row; responses do not have them.
const CAMPAIGN_FIELDS: [&str; 3] = ["campaignId", "campaignName", "launchDate"];

/// Answers with all campaigns on one page: no paging is documented. With odd shapes one is still to
/// be launched.
pub(crate) fn list(log: &Log, context: &RequestContext<'_>) -> SimulatedResponse {
    let mut campaigns: BTreeMap<&str, Value> = BTreeMap::new();
    for item in log.items().iter().filter(|item| !item.is_removed) {
        let Some(id) = campaign_id(item) else {
            continue;
        };
        let campaign = campaigns.entry(id).or_insert_with(|| {
            json!({
                "id": id, "name": item.record.get("campaignName"), "launchDate": item.record.get("launchDate"),
                "sender": {"name": "Parcels", "email": "parcels@example.net"}, "locale": "en",
                "templates": [{"id": "template-1", "displayTitle": "Parcel"}], "locked": false,
                "timeSlotSelected": "TZ1", "numSent": 0, "numOpened": 0, "numClicked": 0,
                "numSubmitted": 0,
            })
        });
        for (total, time) in [
            ("numSent", "timeScheduled"),
            ("numOpened", "timeOpened"),
            ("numClicked", "timeClicked"),
            ("numSubmitted", "timeSubmitted"),
        ] {
            if item.record.get(time).is_some()
                && let Some(count) = campaign.get_mut(total)
            {
                *count = json!(count.as_u64().unwrap_or_default() + 1);
            }
        }
    }
    let mut data: Vec<Value> = campaigns.into_values().collect();
    if context.odd_shapes {
        data.push(json!({"id": "campaign-pending", "name": "Not yet", "numSent": 0}));
    }
    let meta = json!({"status": 200, "pagination": {"pageSize": data.len()}});
    SimulatedResponse::json(200, &json!({"meta": meta, "data": data, "fail": []}))
}

/// Answers with a page of the people of one campaign.
pub(crate) fn people(
    log: &mut Log,
    post_endpoint: &PostEndpoint,
    body: &[u8],
    context: &RequestContext<'_>,
) -> SimulatedResponse {
    let request: Value = serde_json::from_slice(body).unwrap_or_default();
    let id = request.pointer("/data/0/id").and_then(Value::as_str);
    let includes = |item: &Item| id.is_some() && campaign_id(item) == id;
    if !log.items().iter().any(includes) {
        return invalid("id");
    }
    let show = |record: &Value| {
        let mut record = record.clone();
        if let Some(record) = record.as_object_mut() {
            record.retain(|key, _| !CAMPAIGN_FIELDS.contains(&key.as_str()));
        }
        record
    };
    let view = View {
        includes: &includes,
        show: &show,
    };
    log.response_for(post_endpoint, body, context, &view)
}

fn campaign_id(item: &Item) -> Option<&str> {
    item.record.get("campaignId").and_then(Value::as_str)
}
