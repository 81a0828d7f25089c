//! Elasticsearch's `_bulk`: each event created under its own identity, so that
//! one that comes again is not stored twice, and each answered for by itself.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::event_id::event_id;
use super::http::{Api, Defaults, HttpPlan, RequestSettings};
use super::lanes::Refusal;
use super::template::Template;
use super::{Event, Plan, Poison};
use crate::exit::Failure;
use crate::settings::Section;

const PATH: &str = "/_bulk";
/// The naming of data streams: type, dataset, namespace.
const INDEX_DEFAULT: &str = "logs-mimecast.{stream}-default";
const REASON_CHARS: usize = 300;

/// Understand `type = "elasticsearch"`.
pub(super) fn plan(mut section: Section<'_>) -> Result<Box<dyn Plan>, Failure> {
    let index = section.string("index")?;
    let index = Template::parse(index.as_deref().unwrap_or(INDEX_DEFAULT))
        .map_err(|reason| section.error("index", &reason))?;
    let defaults = Defaults {
        kind: "elasticsearch",
        path: PATH,
        token: Some("ApiKey"),
    };
    let request = RequestSettings::read(&mut section, &defaults)?;
    section.finish()?;
    Ok(Box::new(HttpPlan::new(request, Bulk { index })))
}

#[derive(Clone, Debug)]
struct Bulk {
    index: Template,
}

#[derive(Serialize)]
struct Action<'a> {
    create: Create<'a>,
}

#[derive(Serialize)]
struct Create<'a> {
    _index: &'a str,
    _id: &'a str,
}

#[derive(Deserialize)]
struct Answer<'a> {
    errors: bool,
    #[serde(borrow, default)]
    items: Vec<Item<'a>>,
}

#[derive(Deserialize)]
struct Item<'a> {
    #[serde(borrow)]
    create: Created<'a>,
}

#[derive(Deserialize)]
struct Created<'a> {
    status: u16,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Cause<'a> {
    #[serde(borrow, rename = "type", default)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    reason: Cow<'a, str>,
}

impl Api for Bulk {
    fn content_type(&self) -> &str {
        "application/x-ndjson"
    }

    fn encode(&self, source: &str, part: &[Event<'_>], body: &mut Vec<u8>) {
        for event in part {
            let action = Action {
                create: Create {
                    _index: &self.index.render(event, source),
                    _id: &event_id(event.body),
                },
            };
            // Texts in a flat structure always serialize.
            drop(serde_json::to_writer(&mut *body, &action));
            body.push(b'\n');
            body.extend_from_slice(event.body.as_bytes());
            body.push(b'\n');
        }
    }

    fn accepted(&self, part: &[Event<'_>], body: &[u8]) -> Result<(), Refusal> {
        let answer: Answer<'_> = serde_json::from_slice(body).map_err(|error| {
            Refusal::Fatal(format!(
                "elasticsearch: the answer is not one of _bulk: {error}"
            ))
        })?;
        if !answer.errors {
            return Ok(());
        }
        if answer.items.len() != part.len() {
            let (items, events) = (answer.items.len(), part.len());
            let reason = format!("elasticsearch answers for {items} of {events} events");
            return Err(Refusal::Retry(reason));
        }
        let mut poison = Vec::new();
        let mut again = Vec::new();
        let mut wait = None;
        for (event, item) in answer.items.iter().enumerate() {
            match item.create.status {
                // 409: it is there already, from a try that was cut off.
                200..=299 | 409 => {}
                429 | 500..=599 => {
                    again.push(event);
                    wait.get_or_insert_with(|| item.create.reason());
                }
                // The whole cannot work, not this event.
                401 | 403 | 404 => return Err(Refusal::Fatal(item.create.reason())),
                _ => poison.push(Poison {
                    event,
                    reason: item.create.reason(),
                }),
            }
        }
        if poison.is_empty() && again.is_empty() {
            return Ok(());
        }
        Err(Refusal::Partly {
            poison,
            again,
            wait,
        })
    }
}

impl Created<'_> {
    fn reason(&self) -> String {
        let cause = self
            .error
            .and_then(|error| serde_json::from_str::<Cause<'_>>(error.get()).ok());
        let (kind, reason) =
            cause.map_or_else(Default::default, |cause| (cause.kind, cause.reason));
        let reason: String = reason.chars().take(REASON_CHARS).collect();
        format!("elasticsearch answers {} {kind}: {reason}", self.status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENTS: [Event<'_>; 3] = {
        let event = Event {
            body: r#"{"event":{"id":"e1"}}"#,
            occurred_at: 0,
            kind: "",
            stream: "siem",
        };
        [event; 3]
    };

    fn bulk() -> Bulk {
        Bulk {
            index: Template::parse(INDEX_DEFAULT).unwrap(),
        }
    }

    #[test]
    fn an_event_is_created_under_its_identity() {
        let mut body = Vec::new();
        bulk().encode("acme", &EVENTS[..1], &mut body);
        assert_eq!(
            String::from_utf8(body).unwrap(),
            "{\"create\":{\"_index\":\"logs-mimecast.siem-default\",\"_id\":\"e1\"}}\n{\"event\":{\"id\":\"e1\"}}\n"
        );
    }

    #[test]
    fn each_event_is_answered_for() {
        let answer = r#"{"took":3,"errors":true,"items":[
            {"create":{"_id":"a","status":409,"error":{"type":"version_conflict_engine_exception","reason":"there"}}},
            {"create":{"_id":"b","status":400,"error":{"type":"document_parsing_exception","reason":"[1:2] \"x\""}}},
            {"create":{"_id":"c","status":429,"error":{"type":"es_rejected_execution_exception","reason":"full"}}}]}"#;
        let Err(Refusal::Partly {
            poison,
            again,
            wait,
        }) = bulk().accepted(&EVENTS, answer.as_bytes())
        else {
            panic!("it is in parts");
        };
        assert_eq!(poison.len(), 1);
        assert_eq!(poison[0].event, 1);
        assert!(
            poison[0]
                .reason
                .contains("document_parsing_exception: [1:2] \"x\"")
        );
        assert_eq!(again, [2]);
        assert!(wait.unwrap().contains("429"));
    }

    #[test]
    fn an_answer_of_another_server_is_not_acceptance() {
        bulk().accepted(&EVENTS, br#"{"errors":false}"#).unwrap();
        assert!(bulk().accepted(&EVENTS, b"OK").is_err());
    }
}
