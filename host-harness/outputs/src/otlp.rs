//! OTLP over HTTP, as protobuf: an OpenTelemetry collector, and whatever else
//! speaks it.

use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsPartialSuccess, ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList,
};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs, SeverityNumber};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message as _;
use serde::Deserialize;
use serde_json::Value;
use source_common::exit::Failure;
use source_common::section::Section;

use super::http::{Answer, Defaults, HttpOutputConfig, ReceiverProtocol, RequestSettings};
use super::worker_pool::SendError;
use super::{Event, OutputConfig, RejectedEvent};

const PATH: &str = "/v1/logs";
const REASON_CHARS: usize = 300;

/// Parses the settings of `type = "otlp"`.
pub(super) fn config(mut section: Section<'_>) -> Result<Box<dyn OutputConfig>, Failure> {
    let defaults = Defaults {
        kind: "otlp",
        path: PATH,
        token: None,
    };
    let request = RequestSettings::read(&mut section, &defaults)?;
    section.finish()?;
    Ok(Box::new(HttpOutputConfig::new(request, Otlp)))
}

#[derive(Clone, Debug)]
struct Otlp;

impl ReceiverProtocol for Otlp {
    /// The number of events.
    type RequestContext = usize;

    fn content_type(&self) -> &str {
        // Vector does not recognize the type with parameters.
        "application/x-protobuf"
    }

    fn encode(&self, source: &str, part: &[Event<'_>], body: &mut Vec<u8>) -> usize {
        body.extend(request(source, part, SystemTime::now()).encode_to_vec());
        part.len()
    }

    fn accepted(&self, sent: &usize, answer: &Answer<'_>) -> Result<(), SendError> {
        let partial = partial_success(answer.body).filter(|_| answer.is_plain_success());
        let Some(partial) = partial else {
            return Err(answer.undocumented("an ExportLogsServiceResponse"));
        };
        let rejected = match usize::try_from(partial.rejected_log_records) {
            Ok(0) => return Ok(()),
            Ok(rejected) if rejected <= *sent => rejected,
            _ => return Err(answer.undocumented("a count of rejected records of this request")),
        };
        let message = answer.excerpt(&partial.error_message, REASON_CHARS);
        let reason = format!(
            "{}: {rejected} of {sent} events rejected: {message}",
            answer.name
        );
        if rejected == *sent {
            let rejected_events = |event| RejectedEvent {
                event,
                reason: reason.clone(),
            };
            return Err(SendError::PartiallyAccepted {
                rejected_events: (0..*sent).map(rejected_events).collect(),
                again: Vec::new(),
                wait: None,
            });
        }
        // The response does not say which, so the part is bisected. Others of the
        // same request may arrive twice, with the same id.
        Err(SendError::BatchRejected {
            reason,
            suspect: None,
        })
    }
}

/// The same response in OTLP's JSON encoding, which some servers use.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonResponse {
    partial_success: Option<JsonPartialSuccess>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct JsonPartialSuccess {
    /// A 64-bit number, which protobuf's JSON mapping writes as a string.
    rejected_log_records: Value,
    error_message: String,
}

/// Parses what a response rejects: nothing for an empty body, as
/// Fluent Bit sends; `None` for another message.
fn partial_success(body: &[u8]) -> Option<ExportLogsPartialSuccess> {
    if !body.starts_with(b"{") {
        let response = ExportLogsServiceResponse::decode(body).ok()?;
        return Some(response.partial_success.unwrap_or_default());
    }
    let response: JsonResponse = serde_json::from_slice(body).ok()?;
    let partial = response.partial_success.unwrap_or_default();
    let rejected_log_records = match &partial.rejected_log_records {
        Value::Null => 0,
        Value::String(text) => text.parse().ok()?,
        Value::Array(_) | Value::Bool(_) | Value::Object(_) => return None,
        Value::Number(number) => number.as_i64()?,
    };
    Some(ExportLogsPartialSuccess {
        rejected_log_records,
        error_message: partial.error_message,
    })
}

fn request(source: &str, part: &[Event<'_>], now: SystemTime) -> ExportLogsServiceRequest {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
    let logs = part.iter().map(|event| log_record(event, now)).collect();
    ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            resource: Some(Resource {
                attributes: vec![
                    attribute("service.name", "source-host"),
                    attribute("service.instance.id", source),
                ],
                ..Resource::default()
            }),
            scope_logs: vec![ScopeLogs {
                scope: Some(InstrumentationScope {
                    name: "source-host".to_owned(),
                    version: env!("CARGO_PKG_VERSION").to_owned(),
                    ..InstrumentationScope::default()
                }),
                log_records: logs,
                schema_url: String::new(),
            }],
            schema_url: String::new(),
        }],
    }
}

fn log_record(event: &Event<'_>, now: u64) -> LogRecord {
    let body: Value = serde_json::from_str(event.body).unwrap_or_else(|_| event.body.into());
    let (severity, severity_text) = severity(&body);
    let millis = u64::try_from(event.occurred_at).unwrap_or(0);
    LogRecord {
        time_unix_nano: millis.saturating_mul(1_000_000),
        observed_time_unix_nano: now,
        severity_number: severity.into(),
        severity_text: severity_text.to_owned(),
        body: Some(any(body)),
        // Vector loses `event_name`, so the kind is an attribute as well.
        attributes: vec![
            attribute("event.name", event.kind),
            attribute("event.stream", event.stream),
        ],
        event_name: event.kind.to_owned(),
        ..LogRecord::default()
    }
}

/// Returns the severity: `WARN` for events that ask for attention.
fn severity(body: &Value) -> (SeverityNumber, &'static str) {
    match body.pointer("/event/kind").and_then(Value::as_str) {
        Some("alert") => (SeverityNumber::Warn, "WARN"),
        _ => (SeverityNumber::Info, "INFO"),
    }
}

fn attribute(key: &str, value: &str) -> KeyValue {
    pair(key.to_owned(), Value::String(value.to_owned()))
}

fn pair(key: String, value: Value) -> KeyValue {
    KeyValue {
        key,
        value: Some(any(value)),
        ..KeyValue::default()
    }
}

fn any(value: Value) -> AnyValue {
    let value = match value {
        Value::Array(values) => Some(Any::ArrayValue(ArrayValue {
            values: values.into_iter().map(any).collect(),
        })),
        Value::Bool(on) => Some(Any::BoolValue(on)),
        Value::Null => None,
        Value::Number(number) => Some(match number.as_i64() {
            Some(whole) => Any::IntValue(whole),
            None => Any::DoubleValue(number.as_f64().unwrap_or(f64::NAN)),
        }),
        Value::Object(members) => Some(Any::KvlistValue(KeyValueList {
            values: members
                .into_iter()
                .map(|(key, value)| pair(key, value))
                .collect(),
        })),
        Value::String(text) => Some(Any::StringValue(text)),
    };
    AnyValue { value }
}

#[cfg(test)]
mod tests {
    use hyper::{HeaderMap, StatusCode};

    use super::*;
    use source_common::secret::Redactor;

    fn event(body: &str) -> Event<'_> {
        Event {
            body,
            occurred_at: 1_770_091_506_789,
            kind: "email.receipt",
            stream: "siem.receipt",
            namespace: "test",
        }
    }

    #[test]
    fn an_event_is_a_record_with_its_time_kind_and_members() {
        let body = r#"{"event":{"kind":"alert"},"n":[1,2.5,null,true,18446744073709551615]}"#;
        let record = log_record(&event(body), 7);
        assert_eq!(record.time_unix_nano, 1_770_091_506_789_000_000);
        assert_eq!(record.severity_number, 13);
        assert_eq!(record.event_name, "email.receipt");
        assert_eq!(
            record.attributes[0],
            attribute("event.name", "email.receipt")
        );
        let Some(Any::KvlistValue(list)) = record.body.unwrap().value else {
            panic!("the body is a list of keys and values");
        };
        assert_eq!(list.values[1].key, "n");
        let Some(Any::ArrayValue(numbers)) = list.values[1].value.clone().unwrap().value else {
            panic!("a list stays a list");
        };
        let numbers: Vec<_> = numbers
            .values
            .into_iter()
            .map(|number| number.value)
            .collect();
        assert_eq!(
            numbers,
            [
                Some(Any::IntValue(1)),
                Some(Any::DoubleValue(2.5)),
                None,
                Some(Any::BoolValue(true)),
                Some(Any::DoubleValue(18_446_744_073_709_551_615.0)),
            ]
        );
    }

    fn accepted(status: StatusCode, body: &[u8]) -> Result<(), SendError> {
        let answer = Answer {
            name: "otlp http://x",
            status,
            headers: &HeaderMap::new(),
            body,
            redactor: &Redactor::default(),
            now: UNIX_EPOCH,
        };
        Otlp.accepted(&2, &answer)
    }

    fn rejecting(count: i64) -> Vec<u8> {
        let response = ExportLogsServiceResponse {
            partial_success: Some(ExportLogsPartialSuccess {
                rejected_log_records: count,
                error_message: "too old".to_owned(),
            }),
        };
        response.encode_to_vec()
    }

    #[test]
    fn a_partial_success_is_none() {
        // A warning: nothing is rejected.
        accepted(StatusCode::OK, &rejecting(0)).unwrap();
        let json = br#"{"partialSuccess":{"rejectedLogRecords":"1","errorMessage":"too old"}}"#;
        for body in [rejecting(1), json.to_vec()] {
            assert!(
                matches!(accepted(StatusCode::OK, &body), Err(SendError::BatchRejected { reason, .. }) if reason.contains("too old"))
            );
        }
        let all = accepted(StatusCode::OK, &rejecting(2));
        assert!(
            matches!(&all, Err(SendError::PartiallyAccepted { rejected_events, again, .. }) if rejected_events.len() == 2 && again.is_empty()),
            "{all:?}"
        );
    }

    #[test]
    fn only_the_documented_message_accepts() {
        accepted(StatusCode::OK, b"").unwrap();
        // Fluent Bit.
        accepted(StatusCode::CREATED, b"").unwrap();
        accepted(StatusCode::OK, b"{}").unwrap();
        accepted(StatusCode::OK, br#"{"partialSuccess":{}}"#).unwrap();
        for (status, body) in [
            (StatusCode::OK, b"OK".to_vec()),
            (StatusCode::OK, b"<html>log in</html>".to_vec()),
            (StatusCode::OK, b"{\"error\":".to_vec()),
            (
                StatusCode::OK,
                br#"{"partialSuccess":{"rejectedLogRecords":"many"}}"#.to_vec(),
            ),
            (StatusCode::OK, rejecting(3)),
            (StatusCode::OK, rejecting(-1)),
            (StatusCode::PARTIAL_CONTENT, Vec::new()),
        ] {
            let refused = accepted(status, &body);
            assert!(matches!(refused, Err(SendError::Retry(_))), "{body:?}");
        }
    }
}
