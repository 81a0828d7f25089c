//! OTLP over HTTP, as protobuf: for an OpenTelemetry collector, and every other
//! receiver of OTLP.

use std::time::SystemTime;

use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsPartialSuccess, ExportLogsServiceResponse,
};
use prost::Message as _;
use serde::Deserialize;
use serde_json::Value;
use source_common::exit::Failure;
use source_common::section::{Section, SettingsErrors};

use super::http::{
    HttpOutputConfig, HttpOutputType, ReceiverProtocol, ReceiverResponse, RequestSettings,
};
use super::worker_pool::SendError;
use super::{Event, OutputConfig, UndeliverableEvent};

mod any_value;
mod request;

const PATH: &str = "/v1/logs";
const REASON_CHARS: usize = 300;

/// Parses the settings of `type = "otlp"`.
pub(super) fn parse(mut section: Section<'_>) -> Result<Box<dyn OutputConfig>, Failure> {
    let output_type = HttpOutputType {
        name: "otlp",
        default_path: PATH,
        token_scheme: None,
    };
    let mut errors = SettingsErrors::default();
    let request = errors.ok_or_push(RequestSettings::parse(&mut section, &output_type));
    errors.ok_or_push(section.finish());
    errors.into_value(request.map(|request| -> Box<dyn OutputConfig> {
        Box::new(HttpOutputConfig::new(request, OtlpProtocol))
    }))
}

#[derive(Clone, Debug)]
struct OtlpProtocol;

impl ReceiverProtocol for OtlpProtocol {
    /// The number of events.
    type RequestContext = usize;

    fn content_type(&self) -> &str {
        // Vector does not recognize the type with parameters.
        "application/x-protobuf"
    }

    fn encode(&self, source: &str, part: &[Event<'_>], body: &mut Vec<u8>) -> usize {
        request::write(source, part, SystemTime::now(), body);
        part.len()
    }

    fn check_success(
        &self,
        sent: &usize,
        response: &ReceiverResponse<'_>,
    ) -> Result<(), SendError> {
        let partial = partial_success(response.body).filter(|_| response.is_plain_success());
        let Some(partial) = partial else {
            return Err(response.unexpected_body_error("an ExportLogsServiceResponse"));
        };
        let rejected = match usize::try_from(partial.rejected_log_records) {
            Ok(0) => return Ok(()),
            Ok(rejected) if rejected <= *sent => rejected,
            _ => {
                return Err(
                    response.unexpected_body_error("a count of rejected records of this request")
                );
            }
        };
        let message = response.excerpt(&partial.error_message, REASON_CHARS);
        let reason = format!(
            "{}: {rejected} of {sent} events rejected: {message}",
            response.name
        );
        if rejected == *sent {
            let undeliverable = |index| UndeliverableEvent {
                index,
                reason: reason.clone(),
            };
            return Err(SendError::EventErrors {
                undeliverable_events: (0..*sent).map(undeliverable).collect(),
                unsent_count: 0,
                retry_events: Vec::new(),
                cause: None,
            });
        }
        // The response does not say which, so the part is bisected. Others of the
        // same request may arrive twice, with the same id.
        Err(SendError::PartRejected {
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

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use hyper::{HeaderMap, StatusCode};

    use super::*;
    use source_common::secret::Redactor;

    fn check_response(status: StatusCode, body: &[u8]) -> Result<(), SendError> {
        let response = ReceiverResponse {
            name: "otlp http://x",
            status,
            headers: &HeaderMap::new(),
            body,
            redactor: &Redactor::default(),
            received_at: UNIX_EPOCH,
        };
        OtlpProtocol.check_success(&2, &response)
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
    fn a_partial_success_is_an_error() {
        // A warning: nothing is rejected.
        check_response(StatusCode::OK, &rejecting(0)).unwrap();
        let json = br#"{"partialSuccess":{"rejectedLogRecords":"1","errorMessage":"too old"}}"#;
        for body in [rejecting(1), json.to_vec()] {
            assert!(
                matches!(check_response(StatusCode::OK, &body), Err(SendError::PartRejected { reason, .. }) if reason.contains("too old"))
            );
        }
        let all = check_response(StatusCode::OK, &rejecting(2));
        assert!(
            matches!(&all, Err(SendError::EventErrors { undeliverable_events, retry_events, .. }) if undeliverable_events.len() == 2 && retry_events.is_empty()),
            "{all:?}"
        );
    }

    #[test]
    fn only_the_documented_message_accepts() {
        check_response(StatusCode::OK, b"").unwrap();
        // Fluent Bit.
        check_response(StatusCode::CREATED, b"").unwrap();
        check_response(StatusCode::OK, b"{}").unwrap();
        check_response(StatusCode::OK, br#"{"partialSuccess":{}}"#).unwrap();
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
            let refused = check_response(status, &body);
            assert!(matches!(refused, Err(SendError::Retry(_))), "{body:?}");
        }
    }
}
