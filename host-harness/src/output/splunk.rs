//! Splunk's HTTP Event Collector: each event in its envelope, several of them
//! in a request.

use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::http::{Api, Defaults, HttpPlan, RequestSettings, said};
use super::lanes::Refusal;
use super::{Event, Plan};
use crate::exit::Failure;
use crate::settings::Section;

const PATH: &str = "/services/collector/event";

/// Understand `type = "splunk"`.
pub(super) fn plan(mut section: Section<'_>) -> Result<Box<dyn Plan>, Failure> {
    let api = Collector {
        index: section.string("index")?,
        sourcetype: section.string("sourcetype")?,
        host: section.string("host")?,
    };
    let defaults = Defaults {
        kind: "splunk",
        path: PATH,
        token: Some("Splunk"),
    };
    let request = RequestSettings::read(&mut section, &defaults)?;
    section.finish()?;
    Ok(Box::new(HttpPlan::new(request, api)))
}

#[derive(Clone, Debug)]
struct Collector {
    index: Option<String>,
    sourcetype: Option<String>,
    host: Option<String>,
}

#[derive(Serialize)]
struct Envelope<'a> {
    time: &'a RawValue,
    source: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sourcetype: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<&'a str>,
    event: &'a RawValue,
}

#[derive(Deserialize)]
struct Answer {
    code: u32,
}

impl Api for Collector {
    fn content_type(&self) -> &str {
        "application/json"
    }

    fn encode(&self, _: &str, part: &[Event<'_>], body: &mut Vec<u8>) {
        for event in part {
            let millis = event.occurred_at.max(0);
            let time = format!("{}.{:03}", millis / 1_000, millis % 1_000);
            let (Ok(time), Ok(body_json)) = (
                serde_json::from_str::<&RawValue>(&time),
                serde_json::from_str::<&RawValue>(event.body),
            ) else {
                // The collector names it as the event that it cannot read.
                body.extend_from_slice(event.body.as_bytes());
                body.push(b'\n');
                continue;
            };
            let envelope = Envelope {
                time,
                source: event.kind,
                sourcetype: self.sourcetype.as_deref(),
                index: self.index.as_deref(),
                host: self.host.as_deref(),
                event: body_json,
            };
            // Texts in a flat structure always serialize.
            drop(serde_json::to_writer(&mut *body, &envelope));
            body.push(b'\n');
        }
    }

    fn refused(&self, status: StatusCode, body: &[u8]) -> Option<Refusal> {
        let code = serde_json::from_slice::<Answer>(body).ok()?.code;
        let reason = || format!("splunk answers {}", said(status, body));
        match code {
            // A wrong index, and a channel that is missing or wrong.
            7 | 10 | 11 => Some(Refusal::Fatal(reason())),
            // No token, a disabled or a wrong one.
            1..=4 => Some(Refusal::Fatal(format!(
                "the credentials are refused: {}",
                reason()
            ))),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collector() -> Collector {
        Collector {
            index: Some("mail".to_owned()),
            sourcetype: None,
            host: None,
        }
    }

    #[test]
    fn an_event_travels_in_its_envelope() {
        let event = Event {
            body: "{\"a\":1}",
            occurred_at: 1_770_091_506_070,
            kind: "email.receipt",
            stream: "",
        };
        let mut body = Vec::new();
        collector().encode("acme", &[event], &mut body);
        assert_eq!(
            String::from_utf8(body).unwrap(),
            "{\"time\":1770091506.070,\"source\":\"email.receipt\",\"index\":\"mail\",\"event\":{\"a\":1}}\n"
        );
    }

    #[test]
    fn a_wrong_index_is_nobodys_poison() {
        let refused = |body: &str| collector().refused(StatusCode::BAD_REQUEST, body.as_bytes());
        let wrong_index = r#"{"text":"Incorrect index","code":7,"invalid-event-number":1}"#;
        assert!(matches!(refused(wrong_index), Some(Refusal::Fatal(_))));
        let bad_event = r#"{"text":"Invalid data format","code":6,"invalid-event-number":1}"#;
        assert!(refused(bad_event).is_none());
        assert!(refused("<html>").is_none());
    }
}
