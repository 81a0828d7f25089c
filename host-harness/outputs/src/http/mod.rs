//! Events over HTTP: a JSON array per request, the one body format that Vector,
//! Fluent Bit and Fluentd all accept, or NDJSON.

mod response;
mod settings;
mod worker;

use source_common::exit::Failure;
use source_common::section::{Section, SettingsErrors};

pub(super) use self::response::ReceiverResponse;
pub(super) use self::settings::{HttpOutputType, RequestSettings};
pub(super) use self::worker::{HttpOutputConfig, ReceiverProtocol};
use super::worker_pool::SendError;
use super::{Event, OutputConfig};

/// Parses the settings of `type = "http"`.
pub(super) fn parse(mut section: Section<'_>) -> Result<Box<dyn OutputConfig>, Failure> {
    let mut errors = SettingsErrors::default();
    let words = [("array", Format::Array), ("ndjson", Format::Ndjson)];
    let format = errors
        .ok_or_push(section.choice("format", &words))
        .flatten();
    let format = format.unwrap_or(Format::Array);
    let content_type = errors.ok_or_push(section.string("content_type")).flatten();
    let content_type = content_type.unwrap_or_else(|| format.content_type().to_owned());
    let request = errors.ok_or_push(RequestSettings::parse(
        &mut section,
        &HttpOutputType::new("http"),
    ));
    errors.ok_or_push(section.finish());
    let protocol = JsonEventsProtocol {
        format,
        content_type,
    };
    errors.into_value(request.map(|request| -> Box<dyn OutputConfig> {
        Box::new(HttpOutputConfig::new(request, protocol))
    }))
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Format {
    Array,
    Ndjson,
}

impl Format {
    fn content_type(self) -> &'static str {
        match self {
            Self::Array => "application/json",
            Self::Ndjson => "application/x-ndjson",
        }
    }
}

/// Sends the event bodies unchanged.
#[derive(Clone, Debug)]
struct JsonEventsProtocol {
    format: Format,
    content_type: String,
}

impl ReceiverProtocol for JsonEventsProtocol {
    type RequestContext = ();

    fn content_type(&self) -> &str {
        &self.content_type
    }

    fn encode(&self, _: &str, part: &[Event<'_>], body: &mut Vec<u8>) {
        let (begin, between, end): (&[u8], u8, &[u8]) = match self.format {
            Format::Array => (b"[", b',', b"]\n"),
            Format::Ndjson => (b"", b'\n', b"\n"),
        };
        body.extend_from_slice(begin);
        for (index, event) in part.iter().enumerate() {
            if index > 0 {
                body.push(between);
            }
            body.extend_from_slice(event.body.as_bytes());
        }
        body.extend_from_slice(end);
    }

    fn check_success(&self, (): &(), response: &ReceiverResponse<'_>) -> Result<(), SendError> {
        if response.is_plain_success() {
            Ok(())
        } else {
            Err(response.unexpected_body_error("how a receiver of events accepts a request"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(format: Format) -> String {
        let protocol = JsonEventsProtocol {
            format,
            content_type: String::new(),
        };
        let event = |body| Event {
            body,
            occurred_at: 0,
            kind: "",
            stream: "",
            namespace: "test",
        };
        let mut text = Vec::new();
        protocol.encode("acme", &[event("{\"a\":1}"), event("{}")], &mut text);
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn a_body_ends_with_a_whole_line() {
        assert_eq!(body(Format::Array), "[{\"a\":1},{}]\n");
        assert_eq!(body(Format::Ndjson), "{\"a\":1}\n{}\n");
    }
}
