//! Splunk's HTTP Event Collector: each event in its own envelope, several
//! in a request.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use source_common::exit::Failure;
use source_common::section::{Section, SettingsErrors};

use super::http::{
    HttpOutputConfig, HttpOutputType, ReceiverProtocol, ReceiverResponse, RequestSettings,
};
use super::template::Template;
use super::worker_pool::SendError;
use super::{Event, OutputConfig};

const PATH: &str = "/services/collector/event";

/// Parses the settings of `type = "splunk"`.
pub(super) fn parse(mut section: Section<'_>) -> Result<Box<dyn OutputConfig>, Failure> {
    let mut errors = SettingsErrors::default();
    let mut template = |key| errors.ok_or_push(Template::read_optional(&mut section, key));
    let templates = [template("index"), template("sourcetype"), template("host")];
    let output_type = HttpOutputType {
        name: "splunk",
        default_path: PATH,
        token_scheme: Some("Splunk"),
    };
    let request = errors.ok_or_push(RequestSettings::parse(&mut section, &output_type));
    errors.ok_or_push(section.finish());
    let [index, sourcetype, host] = templates.map(Option::flatten);
    let protocol = HecProtocol {
        index,
        sourcetype,
        host,
    };
    errors.into_value(request.map(|request| -> Box<dyn OutputConfig> {
        Box::new(HttpOutputConfig::new(request, protocol))
    }))
}

#[derive(Clone, Debug)]
struct HecProtocol {
    index: Option<Template>,
    sourcetype: Option<Template>,
    host: Option<Template>,
}

#[derive(Serialize)]
struct Envelope<'a> {
    time: &'a RawValue,
    source: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sourcetype: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<String>,
    event: &'a RawValue,
}

/// The body of every response of the collector, whatever its status.
#[derive(Deserialize)]
struct HecResponse {
    code: u32,
    /// Zero-based index of the event.
    #[serde(default, rename = "invalid-event-number")]
    invalid_event_number: Option<usize>,
}

impl ReceiverProtocol for HecProtocol {
    type RequestContext = ();

    fn content_type(&self) -> &str {
        "application/json"
    }

    fn encode(&self, source: &str, part: &[Event<'_>], body: &mut Vec<u8>) {
        let render = |template: &Option<Template>, event: &Event<'_>| {
            template
                .as_ref()
                .map(|template| template.render(event, source))
        };
        for event in part {
            let millis = event.occurred_at.max(0);
            let time = format!("{}.{:03}", millis / 1_000, millis % 1_000);
            let (Ok(time), Ok(body_json)) = (
                serde_json::from_str::<&RawValue>(&time),
                serde_json::from_str::<&RawValue>(event.body),
            ) else {
                // Sent as it is; the collector refuses the request and names this event's number.
                body.extend_from_slice(event.body.as_bytes());
                body.push(b'\n');
                continue;
            };
            let envelope = Envelope {
                time,
                source: event.kind,
                sourcetype: render(&self.sourcetype, event),
                index: render(&self.index, event),
                host: render(&self.host, event),
                event: body_json,
            };
            // Serializing strings in a flat struct cannot fail.
            drop(serde_json::to_writer(&mut *body, &envelope));
            body.push(b'\n');
        }
    }

    fn check_success(&self, (): &(), response: &ReceiverResponse<'_>) -> Result<(), SendError> {
        match HecResponse::read(response) {
            Some(HecResponse { code: 0, .. }) => Ok(()),
            Some(hec_response) => Err(hec_response
                .to_error(response)
                .unwrap_or_else(|| response.retry_error(response.message()))),
            None => Err(response.unexpected_body_error("a response of the HTTP Event Collector")),
        }
    }

    fn classify_error(&self, response: &ReceiverResponse<'_>) -> Option<SendError> {
        HecResponse::read(response)?.to_error(response)
    }
}

impl HecResponse {
    fn read(response: &ReceiverResponse<'_>) -> Option<Self> {
        serde_json::from_slice(response.body).ok()
    }

    /// Returns the error for a code; `None` for a code without a rule here: 0, or one that is not
    /// known; the caller then decides.
    fn to_error(&self, response: &ReceiverResponse<'_>) -> Option<SendError> {
        let reason = response.message();
        Some(match self.code {
            // Token missing, disabled, invalid, or not accepted in the query.
            1..=4 | 16 | 21 | 22 => {
                SendError::ActionRequired(format!("the credentials are refused: {reason}").into())
            }
            // Invalid format, missing or empty field, indexed field.
            6 | 12 | 13 | 15 => SendError::PartRejected {
                reason,
                suspect: self.invalid_event_number,
            },
            // Incorrect index, or data channel missing, invalid or disabled.
            7 | 10 | 11 | 14 => {
                SendError::ActionRequired(format!("{reason}; check the token's settings").into())
            }
            // No data, internal error, busy, unhealthy, shutting down.
            5 | 8 | 9 | 18..=20 | 23 => response.retry_error(reason),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use hyper::{HeaderMap, StatusCode};

    use super::*;
    use source_common::secret::Redactor;

    fn collector() -> HecProtocol {
        HecProtocol {
            index: Some(Template::parse("mail-{source}").unwrap()),
            sourcetype: None,
            host: None,
        }
    }

    #[test]
    fn an_event_is_sent_in_its_envelope() {
        let event = Event {
            body: "{\"a\":1}",
            occurred_at: 1_770_091_506_070,
            kind: "email.receipt",
            stream: "",
            namespace: "test",
        };
        let mut body = Vec::new();
        collector().encode("acme", &[event], &mut body);
        assert_eq!(
            String::from_utf8(body).unwrap(),
            "{\"time\":1770091506.070,\"source\":\"email.receipt\",\"index\":\"mail-acme\",\"event\":{\"a\":1}}\n"
        );
    }

    fn with_response<T>(
        status: u16,
        body: &str,
        inspect: impl Fn(&ReceiverResponse<'_>) -> T,
    ) -> T {
        let mut headers = HeaderMap::new();
        if body.contains("busy") {
            headers.insert("retry-after", "7".parse().unwrap());
        }
        inspect(&ReceiverResponse {
            name: "splunk http://x",
            status: StatusCode::from_u16(status).unwrap(),
            headers: &headers,
            body: body.as_bytes(),
            redactor: &Redactor::default(),
            received_at: SystemTime::UNIX_EPOCH,
        })
    }

    fn check_response(body: &str) -> Result<(), SendError> {
        with_response(200, body, |response| {
            collector().check_success(&(), response)
        })
    }

    fn refused(body: &str) -> Option<SendError> {
        with_response(400, body, |response| collector().classify_error(response))
    }

    #[test]
    fn only_code_0_accepts() {
        check_response(r#"{"text":"Success","code":0}"#).unwrap();
        check_response(r#"{"text":"Success","code":0,"ackId":3}"#).unwrap();
        for code in 1..=30 {
            let body = format!(r#"{{"text":"no","code":{code}}}"#);
            assert!(check_response(&body).is_err(), "{code}");
        }
        for body in [
            "",
            "{}",
            "OK",
            "0",
            "<html>log in</html>",
            r#"{"text":"Success"}"#,
            r#"{"text":"Success","code":"0"}"#,
            r#"{"text":"Success","code":-1}"#,
        ] {
            assert!(
                matches!(check_response(body), Err(SendError::Retry(_))),
                "{body}"
            );
        }
    }

    #[test]
    fn a_code_means_the_same_with_every_status() {
        let by_code = |code: u32| {
            let body = format!(r#"{{"text":"no","code":{code},"invalid-event-number":3}}"#);
            (check_response(&body).unwrap_err(), refused(&body))
        };
        for code in [1, 2, 3, 4, 16, 21, 22] {
            let (success, error) = by_code(code);
            for refusal in [success, error.unwrap()] {
                let is_blocked = matches!(&refusal, SendError::ActionRequired(reason) if reason.contains("credentials"));
                assert!(is_blocked, "{code}: {refusal:?}");
            }
        }
        for code in [6, 12, 13, 15] {
            let (success, error) = by_code(code);
            for refusal in [success, error.unwrap()] {
                let named = matches!(
                    refusal,
                    SendError::PartRejected {
                        suspect: Some(3),
                        ..
                    }
                );
                assert!(named, "{code}");
            }
        }
        // A wrong index is no fault of an event.
        for code in [7, 10, 11, 14] {
            let (success, error) = by_code(code);
            assert!(matches!(success, SendError::ActionRequired(_)), "{code}");
            assert!(
                matches!(error, Some(SendError::ActionRequired(_))),
                "{code}"
            );
        }
        for code in [5, 8, 9, 18, 19, 20, 23] {
            let (success, error) = by_code(code);
            assert!(matches!(success, SendError::Retry(_)), "{code}");
            assert!(matches!(error, Some(SendError::Retry(_))), "{code}");
        }
        // By the status alone.
        assert!(refused(r#"{"text":"new","code":99}"#).is_none());
        assert!(refused("<html>").is_none());
    }

    #[test]
    fn a_busy_collector_may_ask_for_a_wait() {
        let busy = check_response(r#"{"text":"Server is busy","code":9}"#);
        assert!(
            matches!(busy, Err(SendError::Throttled { wait, .. }) if wait.as_secs() == 7),
            "{busy:?}"
        );
    }
}
