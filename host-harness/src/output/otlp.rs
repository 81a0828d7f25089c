//! OTLP over HTTP, as protobuf: an OpenTelemetry collector, and whatever else
//! speaks it.

use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList,
};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs, SeverityNumber};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message as _;
use serde_json::Value;

use super::http::{Api, Defaults, HttpPlan, RequestSettings};
use super::lanes::Refusal;
use super::{Event, Plan};
use crate::exit::Failure;
use crate::settings::Section;

const PATH: &str = "/v1/logs";

/// Understand `type = "otlp"`.
pub(super) fn plan(mut section: Section<'_>) -> Result<Box<dyn Plan>, Failure> {
    let defaults = Defaults {
        kind: "otlp",
        path: PATH,
        token: None,
    };
    let request = RequestSettings::read(&mut section, &defaults)?;
    section.finish()?;
    Ok(Box::new(HttpPlan::new(request, Otlp)))
}

#[derive(Clone, Debug)]
struct Otlp;

impl Api for Otlp {
    fn content_type(&self) -> &str {
        // With parameters, Vector does not know it.
        "application/x-protobuf"
    }

    fn encode(&self, source: &str, part: &[Event<'_>], body: &mut Vec<u8>) {
        body.extend(request(source, part, SystemTime::now()).encode_to_vec());
    }

    fn accepted(&self, part: &[Event<'_>], body: &[u8]) -> Result<(), Refusal> {
        // Some receivers answer with nothing, or with something else.
        let Ok(answer) = ExportLogsServiceResponse::decode(body) else {
            return Ok(());
        };
        match answer.partial_success {
            Some(partial) if partial.rejected_log_records > 0 => {
                let (count, all) = (partial.rejected_log_records, part.len());
                let said = partial.error_message;
                // It does not say which, so they are found by halves. Others
                // of the same request may arrive twice, with the same id.
                Err(Refusal::Poisoned(format!(
                    "otlp: {count} of {all} events rejected: {said}"
                )))
            }
            _ => Ok(()),
        }
    }
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

/// What asks for attention is a warning.
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
    use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsPartialSuccess;

    use super::*;

    fn event(body: &str) -> Event<'_> {
        Event {
            body,
            occurred_at: 1_770_091_506_789,
            kind: "email.receipt",
            stream: "siem.receipt",
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

    #[test]
    fn a_partial_success_is_none() {
        let events = [event("{}"), event("{}")];
        let answer = |rejected| ExportLogsServiceResponse {
            partial_success: Some(ExportLogsPartialSuccess {
                rejected_log_records: rejected,
                error_message: "too old".to_owned(),
            }),
        };
        let accepted = |rejected| Otlp.accepted(&events, &answer(rejected).encode_to_vec());
        accepted(0).unwrap();
        assert!(matches!(accepted(1), Err(Refusal::Poisoned(said)) if said.contains("too old")));
        Otlp.accepted(&events, b"").unwrap();
    }
}
