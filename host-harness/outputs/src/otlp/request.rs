//! Encodes a request: a resource, a scope, and a log record for each event.

use std::time::{SystemTime, UNIX_EPOCH};

use prost::bytes::BufMut as _;
use prost::encoding::{WireType, encode_key, encode_varint};

use super::any_value::{self, KEY, VALUE, message, string_field};
use crate::Event;

/// The values of `SeverityNumber` for `INFO` and `WARN`, with their texts.
const INFO: (u64, &str) = (9, "INFO");
const WARN: (u64, &str) = (13, "WARN");

/// Appends an `ExportLogsServiceRequest`.
pub(super) fn write(source: &str, part: &[Event<'_>], now: SystemTime, body: &mut Vec<u8>) {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
    // An event takes somewhat less than its text.
    body.reserve(part.iter().map(|event| event.body.len() + 128).sum());
    let resource_logs = 1;
    message(body, resource_logs, |body| {
        let resource = 1;
        message(body, resource, |body| {
            let attributes = 1;
            attribute(body, attributes, "service.name", "source-host");
            attribute(body, attributes, "service.instance.id", source);
        });
        let scope_logs = 2;
        message(body, scope_logs, |body| {
            let scope = 1;
            message(body, scope, |body| {
                let (name, version) = (1, 2);
                string_field(body, name, "source-host");
                string_field(body, version, env!("CARGO_PKG_VERSION"));
            });
            let log_records = 2;
            for event in part {
                message(body, log_records, |body| log_record(body, event, now));
            }
        });
    });
}

// The fields of `LogRecord`.
const TIME: u32 = 1;
const SEVERITY_NUMBER: u32 = 2;
const SEVERITY_TEXT: u32 = 3;
const BODY: u32 = 5;
const ATTRIBUTES: u32 = 6;
const OBSERVED_TIME: u32 = 11;
const EVENT_NAME: u32 = 12;

fn log_record(body: &mut Vec<u8>, event: &Event<'_>, now: u64) {
    let millis = u64::try_from(event.occurred_at).unwrap_or(0);
    time(body, TIME, millis.saturating_mul(1_000_000));
    time(body, OBSERVED_TIME, now);
    let is_alert = any_value::write_event(body, BODY, event.body);
    // An alert needs attention, so it is a warning.
    let (number, word) = if is_alert { WARN } else { INFO };
    encode_key(SEVERITY_NUMBER, WireType::Varint, body);
    encode_varint(number, body);
    string_field(body, SEVERITY_TEXT, word);
    // Vector loses `event_name`, so the kind is an attribute as well.
    attribute(body, ATTRIBUTES, "event.name", event.kind);
    attribute(body, ATTRIBUTES, "event.stream", event.stream);
    string_field(body, EVENT_NAME, event.kind);
}

fn time(body: &mut Vec<u8>, tag: u32, nanos: u64) {
    encode_key(tag, WireType::SixtyFourBit, body);
    body.put_u64_le(nanos);
}

/// Appends a `KeyValue` with a text.
fn attribute(body: &mut Vec<u8>, tag: u32, key: &str, value: &str) {
    message(body, tag, |body| {
        string_field(body, KEY, key);
        message(body, VALUE, |body| any_value::string_value(body, value));
    });
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
    use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
    use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
    use opentelemetry_proto::tonic::logs::v1::{LogRecord, ScopeLogs, SeverityNumber};
    use opentelemetry_proto::tonic::resource::v1::Resource;
    use prost::Message as _;

    use super::*;

    fn pair(key: &str, value: &str) -> KeyValue {
        KeyValue {
            key: key.to_owned(),
            value: Some(AnyValue {
                value: Some(Any::StringValue(value.to_owned())),
            }),
            ..KeyValue::default()
        }
    }

    #[test]
    fn a_request_is_the_message_that_the_protocol_defines() {
        let event = |body| Event {
            body,
            occurred_at: 1_770_091_506_789,
            kind: "email.receipt",
            stream: "siem.receipt",
            namespace: "test",
        };
        let part = [r#"{"event":{"kind":"alert"}}"#, "\"text\""].map(event);
        let mut body = Vec::new();
        write(
            "acme",
            &part,
            UNIX_EPOCH + Duration::from_nanos(7),
            &mut body,
        );
        let request = ExportLogsServiceRequest::decode(body.as_slice()).unwrap();
        let [logs] = request.resource_logs.as_slice() else {
            panic!("one resource");
        };
        let resource = Resource {
            attributes: vec![
                pair("service.name", "source-host"),
                pair("service.instance.id", "acme"),
            ],
            ..Resource::default()
        };
        assert_eq!(logs.resource, Some(resource));
        let [
            ScopeLogs {
                scope, log_records, ..
            },
        ] = logs.scope_logs.as_slice()
        else {
            panic!("one scope");
        };
        let expected = InstrumentationScope {
            name: "source-host".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..InstrumentationScope::default()
        };
        assert_eq!(*scope, Some(expected));
        let record = |number: SeverityNumber, word: &str, body| LogRecord {
            time_unix_nano: 1_770_091_506_789_000_000,
            observed_time_unix_nano: 7,
            severity_number: number.into(),
            severity_text: word.to_owned(),
            body,
            attributes: vec![
                pair("event.name", "email.receipt"),
                pair("event.stream", "siem.receipt"),
            ],
            event_name: "email.receipt".to_owned(),
            ..LogRecord::default()
        };
        let [alert, other] = log_records.as_slice() else {
            panic!("a record for each event");
        };
        assert_eq!(
            *alert,
            record(SeverityNumber::Warn, "WARN", alert.body.clone())
        );
        assert_eq!(
            *other,
            record(SeverityNumber::Info, "INFO", pair("", "text").value)
        );
    }
}
