//! Elasticsearch's `_bulk` API: each event is created with its event id as document id, so that
//! a retry does not store it twice, and each event has its own result.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use source_common::exit::Failure;
use source_common::section::{Section, SettingsErrors};

use super::event_id::event_id;
use super::http::{
    HttpOutputConfig, HttpOutputType, ReceiverProtocol, ReceiverResponse, RequestSettings,
};
use super::template::Template;
use super::worker_pool::{RetryCause, SendError};
use super::{Event, OutputConfig, UndeliverableEvent};

const PATH: &str = "/_bulk";
/// Data stream naming scheme: type, dataset, namespace.
const INDEX_DEFAULT: &str = "logs-{namespace}.{stream}-default";
const REASON_CHARS: usize = 300;

/// Parses the settings of `type = "elasticsearch"`.
pub(super) fn parse(mut section: Section<'_>) -> Result<Box<dyn OutputConfig>, Failure> {
    let mut errors = SettingsErrors::default();
    let index = errors.ok_or_push(Template::read(&mut section, "index", INDEX_DEFAULT));
    let output_type = HttpOutputType {
        name: "elasticsearch",
        default_path: PATH,
        token_scheme: Some("ApiKey"),
    };
    let request = errors.ok_or_push(RequestSettings::parse(&mut section, &output_type));
    errors.ok_or_push(section.finish());
    let config = request.zip(index);
    errors.into_value(config.map(|(request, index)| -> Box<dyn OutputConfig> {
        Box::new(HttpOutputConfig::new(request, BulkProtocol { index }))
    }))
}

#[derive(Clone, Debug)]
struct BulkProtocol {
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

/// The body of a response. Each item is parsed separately, so that an item in an undocumented
/// form leaves only its own event unaccepted.
#[derive(Deserialize)]
struct BulkResponse<'a> {
    #[serde(rename = "errors")]
    _errors: bool,
    #[serde(borrow)]
    items: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Item<'a> {
    #[serde(borrow)]
    create: ItemResult<'a>,
}

#[derive(Deserialize)]
struct ItemResult<'a> {
    #[serde(borrow, rename = "_id")]
    id: Cow<'a, str>,
    status: u16,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
struct ErrorCause<'a> {
    #[serde(borrow, rename = "type", default)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    reason: Cow<'a, str>,
}

impl ReceiverProtocol for BulkProtocol {
    /// The ids of the events, in order.
    type RequestContext = Vec<String>;

    fn content_type(&self) -> &str {
        "application/x-ndjson"
    }

    fn encode(&self, source: &str, part: &[Event<'_>], body: &mut Vec<u8>) -> Vec<String> {
        let mut ids = Vec::with_capacity(part.len());
        for event in part {
            let id = event_id(event.body);
            let action = Action {
                create: Create {
                    _index: &self.index.render(event, source),
                    _id: &id,
                },
            };
            // Serializing strings in a flat struct cannot fail.
            drop(serde_json::to_writer(&mut *body, &action));
            body.push(b'\n');
            body.extend_from_slice(event.body.as_bytes());
            body.push(b'\n');
            ids.push(id);
        }
        ids
    }

    fn check_success(
        &self,
        sent: &Vec<String>,
        response: &ReceiverResponse<'_>,
    ) -> Result<(), SendError> {
        let Ok(bulk_response) = serde_json::from_slice::<BulkResponse<'_>>(response.body) else {
            return Err(response.unexpected_body_error("a response of _bulk"));
        };
        let mut results = EventOutcomes::new(sent);
        for item in &bulk_response.items {
            if let Ok(item) = serde_json::from_str::<Item<'_>>(item.get()) {
                results.note(&item.create, response);
            }
        }
        results.into_result(response)
    }
}

/// Collects the result of each event of a request. The response's `errors` flag is
/// ignored: only an item with the id of an event accepts it.
struct EventOutcomes<'a> {
    /// Events without a result yet, by id, in order.
    pending: BTreeMap<&'a str, VecDeque<usize>>,
    undeliverable_events: Vec<UndeliverableEvent>,
    retry_events: Vec<usize>,
    cause: Option<RetryCause>,
}

impl<'a> EventOutcomes<'a> {
    fn new(sent: &'a [String]) -> Self {
        let mut pending: BTreeMap<&str, VecDeque<usize>> = BTreeMap::new();
        for (index, id) in sent.iter().enumerate() {
            pending.entry(id).or_default().push_back(index);
        }
        Self {
            pending,
            undeliverable_events: Vec::new(),
            retry_events: Vec::new(),
            cause: None,
        }
    }

    fn note(&mut self, item: &ItemResult<'_>, response: &ReceiverResponse<'_>) {
        let indexes = self.pending.get_mut(item.id.as_ref());
        let Some(index) = indexes.and_then(VecDeque::pop_front) else {
            return;
        };
        match item.status {
            // 409: already stored by an earlier try that was interrupted.
            200..=299 | 409 => {}
            // Concerns the index or the permission, not this event.
            401 | 403 | 404 => self.block(index, item.reason(response)),
            400..=499 if item.status != 429 && item.error_cause().concerns_every_event() => {
                self.block(index, item.reason(response));
            }
            400 | 402..=428 | 430..=499 => self.undeliverable_events.push(UndeliverableEvent {
                index,
                reason: item.reason(response),
            }),
            // 429, a server error, or an unknown status.
            _ => {
                self.retry_events.push(index);
                self.cause
                    .get_or_insert_with(|| RetryCause::Retry(item.reason(response).into()));
            }
        }
    }

    fn block(&mut self, index: usize, reason: String) {
        self.retry_events.push(index);
        if !matches!(self.cause, Some(RetryCause::ActionRequired(_))) {
            self.cause = Some(RetryCause::ActionRequired(reason.into()));
        }
    }

    fn into_result(mut self, response: &ReceiverResponse<'_>) -> Result<(), SendError> {
        let missing: Vec<usize> = self.pending.into_values().flatten().collect();
        if !missing.is_empty() {
            let (name, count) = (response.name, missing.len());
            self.cause.get_or_insert_with(|| {
                RetryCause::Retry(
                    format!(
                        "{name} gives no result for {count} of the events; they are sent again"
                    )
                    .into(),
                )
            });
            self.retry_events.extend(missing);
        }
        if self.undeliverable_events.is_empty() && self.retry_events.is_empty() {
            return Ok(());
        }
        self.retry_events.sort_unstable();
        Err(SendError::EventErrors {
            undeliverable_events: self.undeliverable_events,
            unsent_count: 0,
            retry_events: self.retry_events,
            cause: self.cause,
        })
    }
}

impl ErrorCause<'_> {
    /// Returns whether it concerns the index, the cluster or the settings, and so every event, although
    /// the status is that of an invalid event.
    fn concerns_every_event(&self) -> bool {
        match &*self.kind {
            "illegal_argument_exception" => {
                self.reason.starts_with("pipeline with id [")
                    && self.reason.ends_with("does not exist")
            }
            "index_closed_exception" => true,
            // Maximum number of shards: of normal or frozen ones, or of OpenSearch.
            "validation_exception" => self
                .reason
                .contains("shards, but this cluster currently has"),
            _ => false,
        }
    }
}

impl ItemResult<'_> {
    fn error_cause(&self) -> ErrorCause<'_> {
        self.error
            .and_then(|error| serde_json::from_str(error.get()).ok())
            .unwrap_or_default()
    }

    fn reason(&self, response: &ReceiverResponse<'_>) -> String {
        let ErrorCause { kind, reason } = self.error_cause();
        let reason = response.excerpt(&format!("{kind}: {reason}"), REASON_CHARS);
        format!("{} answers {} {reason}", response.name, self.status)
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use hyper::{HeaderMap, StatusCode};

    use super::*;
    use source_common::secret::Redactor;

    const EVENT: Event<'_> = Event {
        body: r#"{"event":{"id":"e1"}}"#,
        occurred_at: 0,
        kind: "",
        stream: "siem",
        namespace: "test",
    };

    fn bulk() -> BulkProtocol {
        BulkProtocol {
            index: Template::parse(INDEX_DEFAULT).unwrap(),
        }
    }

    /// Returns the result of a response with this body to events with these ids.
    fn check_response(ids: &[&str], body: &str) -> Result<(), SendError> {
        let sent: Vec<String> = ids.iter().map(|id| (*id).to_owned()).collect();
        let response = ReceiverResponse {
            name: "elasticsearch http://x",
            status: StatusCode::OK,
            headers: &HeaderMap::new(),
            body: body.as_bytes(),
            redactor: &Redactor::default(),
            received_at: SystemTime::UNIX_EPOCH,
        };
        bulk().check_success(&sent, &response)
    }

    fn response(errors: bool, items: &[(&str, u16)]) -> String {
        let items: Vec<String> = items
            .iter()
            .map(|(id, status)| {
                let error = if *status < 300 {
                    ""
                } else {
                    r#","error":{"type":"t","reason":"r"}"#
                };
                format!(r#"{{"create":{{"_index":"i","_id":"{id}","status":{status}{error}}}}}"#)
            })
            .collect();
        let items = items.join(",");
        format!(r#"{{"took":3,"errors":{errors},"items":[{items}]}}"#)
    }

    /// Returns the indexes of the rejected events and of those to be sent again.
    fn rejected_and_retried(result: Result<(), SendError>) -> (Vec<usize>, Vec<usize>) {
        match result {
            Ok(()) => (Vec::new(), Vec::new()),
            Err(SendError::EventErrors {
                undeliverable_events,
                retry_events,
                ..
            }) => (
                undeliverable_events
                    .iter()
                    .map(|undeliverable| undeliverable.index)
                    .collect(),
                retry_events,
            ),
            Err(refusal) => panic!("{refusal:?}"),
        }
    }

    #[test]
    fn an_event_is_created_under_its_identity() {
        let mut body = Vec::new();
        let sent = bulk().encode("acme", &[EVENT], &mut body);
        assert_eq!(
            String::from_utf8(body).unwrap(),
            "{\"create\":{\"_index\":\"logs-test.siem-default\",\"_id\":\"e1\"}}\n{\"event\":{\"id\":\"e1\"}}\n"
        );
        assert_eq!(sent, ["e1"]);
    }

    #[test]
    fn each_event_has_a_result_of_its_own() {
        let body = r#"{"took":3,"errors":true,"items":[
            {"create":{"_id":"a","status":409,"error":{"type":"version_conflict_engine_exception","reason":"there"}}},
            {"create":{"_id":"b","status":400,"error":{"type":"document_parsing_exception","reason":"[1:2]\n\"x\""}}},
            {"create":{"_id":"c","status":429,"error":{"type":"es_rejected_execution_exception","reason":"full"}}}]}"#;
        let Err(SendError::EventErrors {
            undeliverable_events,
            retry_events,
            cause,
            ..
        }) = check_response(&["a", "b", "c"], body)
        else {
            panic!("it is not accepted in part");
        };
        assert_eq!(undeliverable_events.len(), 1);
        assert_eq!(undeliverable_events[0].index, 1);
        assert_eq!(
            undeliverable_events[0].reason,
            "elasticsearch http://x answers 400 document_parsing_exception: [1:2]\\n\"x\""
        );
        assert_eq!(retry_events, [2]);
        assert!(matches!(cause, Some(RetryCause::Retry(reason)) if reason.contains("429")));
    }

    #[test]
    fn items_are_matched_by_identity_and_not_by_position() {
        let body = response(true, &[("c", 201), ("b", 201), ("a", 400)]);
        assert_eq!(
            rejected_and_retried(check_response(&["a", "b", "c"], &body)),
            (vec![0], vec![])
        );
    }

    #[test]
    fn the_status_of_an_item_counts_whatever_errors_says() {
        let body = response(false, &[("a", 201), ("b", 503), ("c", 201), ("d", 503)]);
        let ids = ["a", "b", "c", "d"];
        assert_eq!(
            rejected_and_retried(check_response(&ids, &body)),
            (vec![], vec![1, 3])
        );
        let body = response(true, &[("a", 201), ("b", 409)]);
        check_response(&["a", "b"], &body).unwrap();
    }

    #[test]
    fn an_event_without_an_item_is_sent_again() {
        let half = response(false, &[("a", 201), ("c", 201)]);
        let ids = ["a", "b", "c", "d"];
        assert_eq!(
            rejected_and_retried(check_response(&ids, &half)),
            (vec![], vec![1, 3])
        );
        let none = r#"{"errors":false,"items":[]}"#;
        assert_eq!(
            rejected_and_retried(check_response(&["a"], none)),
            (vec![], vec![0])
        );
    }

    #[test]
    fn an_item_of_another_event_accepts_none() {
        let body = response(false, &[("a", 201), ("x", 201)]);
        assert_eq!(
            rejected_and_retried(check_response(&["a", "b"], &body)),
            (vec![], vec![1])
        );
        // More items for an identity than there are events with it.
        let body = response(false, &[("a", 201), ("a", 201)]);
        assert_eq!(
            rejected_and_retried(check_response(&["a", "b"], &body)),
            (vec![], vec![1])
        );
    }

    #[test]
    fn two_events_of_one_identity_need_two_items() {
        let body = response(true, &[("a", 201), ("b", 201), ("a", 409)]);
        check_response(&["a", "a", "b"], &body).unwrap();
        let body = response(false, &[("a", 201), ("b", 201)]);
        assert_eq!(
            rejected_and_retried(check_response(&["a", "a", "b"], &body)),
            (vec![], vec![1])
        );
    }

    #[test]
    fn an_item_that_is_not_of_the_documented_form_accepts_none() {
        for item in [
            r#"{"index":{"_id":"b","status":201}}"#,
            r#"{"create":{"status":201}}"#,
            r#"{"create":{"_id":"b"}}"#,
            r#"{"create":{"_id":"b","status":"201"}}"#,
            r#"{"create":{"_id":"b","status":0}}"#,
            r#"{"create":{"_id":"b","status":302}}"#,
            r#"{"create":{"_id":7,"status":201}}"#,
            "null",
            "[]",
        ] {
            let body = format!(
                r#"{{"errors":false,"items":[{{"create":{{"_id":"a","status":201}}}},{item}]}}"#
            );
            let result = rejected_and_retried(check_response(&["a", "b"], &body));
            assert_eq!(result, (vec![], vec![1]), "{item}");
        }
    }

    #[test]
    fn an_index_that_cannot_be_written_blocks_and_rejects_no_event() {
        let body = response(true, &[("a", 503), ("b", 403), ("c", 201)]);
        let Err(SendError::EventErrors {
            undeliverable_events,
            retry_events,
            cause,
            ..
        }) = check_response(&["a", "b", "c"], &body)
        else {
            panic!("it is not accepted in part");
        };
        assert!(undeliverable_events.is_empty());
        assert_eq!(retry_events, [0, 1]);
        assert!(
            matches!(cause, Some(RetryCause::ActionRequired(reason)) if reason.contains("403"))
        );
    }

    #[test]
    fn a_condition_of_the_cluster_blocks_and_rejects_no_event() {
        let item = |kind: &str, reason: &str| {
            format!(
                r#"{{"errors":true,"items":[{{"create":{{"_id":"a","status":400,"error":{{"type":"{kind}","reason":"{reason}"}}}}}}]}}"#
            )
        };
        for (kind, reason) in [
            (
                "validation_exception",
                "Validation Failed: 1: this action would add [2] shards, but this cluster \
                 currently has [1000]/[1000] maximum normal shards open;",
            ),
            ("index_closed_exception", "closed"),
            (
                "illegal_argument_exception",
                "pipeline with id [events] does not exist",
            ),
        ] {
            let Err(SendError::EventErrors {
                undeliverable_events,
                retry_events,
                cause: Some(RetryCause::ActionRequired(blocked)),
                ..
            }) = check_response(&["a"], &item(kind, reason))
            else {
                panic!("{kind}");
            };
            assert!(undeliverable_events.is_empty(), "{kind}");
            assert_eq!(retry_events, [0], "{kind}");
            assert!(blocked.contains(reason), "{blocked}");
        }
        for (kind, reason) in [
            ("validation_exception", "the document is wrong"),
            ("illegal_argument_exception", "mapper [a] cannot be changed"),
        ] {
            let result = rejected_and_retried(check_response(&["a"], &item(kind, reason)));
            assert_eq!(result, (vec![0], vec![]), "{kind}");
        }
    }

    #[test]
    fn a_response_of_another_server_is_not_acceptance() {
        for body in [
            "",
            "OK",
            "<html>log in</html>",
            "{}",
            r#"{"errors":false}"#,
            r#"{"items":[]}"#,
            r#"{"errors":"no","items":[]}"#,
            r#"{"error":{"type":"x"},"status":200}"#,
            r#"{"took":1,"errors":false,"items":[{"create":{"_id":"a","status":201}}"#,
        ] {
            let refused = check_response(&["a"], body);
            assert!(matches!(refused, Err(SendError::Retry(_))), "{body}");
        }
    }
}
