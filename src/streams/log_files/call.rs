//! The call for log files, and parsers for the head of the response and for a body without files.

use serde::Deserialize;

use crate::decode::lenient::{self, Optional};
use crate::encode::push_quoted;
use crate::request::Call;
use crate::response::Head;
use crate::settings::legacy::FileFormat;
use crate::stream::Stream;
use crate::streams::{Context, InvalidResponse};

#[derive(Deserialize)]
struct Envelope {
    #[serde(default)]
    meta: Meta,
}

#[derive(Default, Deserialize)]
struct Meta {
    #[serde(
        rename = "isLastToken",
        default,
        deserialize_with = "lenient::optional_boolean"
    )]
    is_last_token: Optional<bool>,
}

/// Parses the body of a response without files. Returns the name of an optional member
/// that cannot be read.
pub(super) fn parse_response_without_files(
    body: &[u8],
) -> Result<Option<&'static str>, InvalidResponse> {
    let response: Envelope = serde_json::from_slice(body)
        .map_err(|_| InvalidResponse("the response is neither a file nor JSON".to_owned()))?;
    if response.meta.is_last_token == Optional::Present(false) {
        return Err(InvalidResponse(
            "the response holds no file but says that there are more".to_owned(),
        ));
    }
    Ok(response
        .meta
        .is_last_token
        .name_if_unreadable("isLastToken"))
}

/// Returns the file name in the head of a response that is a file; empty where it is not named. The
/// name of an archive has no meaning.
pub(super) fn file_name(head: &Head) -> Option<String> {
    let given = head.header("content-disposition").and_then(|text| {
        let (_, name) = text.split_once("filename=")?;
        let name = name.trim_start_matches('"').split(['"', ';']).next()?;
        Some(name.trim().to_owned())
    });
    let media_type = head.header("content-type").unwrap_or_default();
    let media_type = media_type.split(';').next().unwrap_or_default().trim();
    let is_file = ["application/octet-stream", "application/zip"]
        .iter()
        .any(|known| media_type.eq_ignore_ascii_case(known));
    given.or_else(|| is_file.then(String::new))
}

/// Returns the smallest call: one file.
#[must_use]
pub fn probe(stream: Stream, context: Context<'_>) -> Call {
    call_with(stream, context, false, None)
}

pub(super) fn call(stream: Stream, context: Context<'_>, token: Option<&str>) -> Call {
    let compress = context
        .settings
        .legacy()
        .is_none_or(|legacy| legacy.compress);
    call_with(stream, context, compress, token)
}

fn call_with(stream: Stream, context: Context<'_>, compress: bool, token: Option<&str>) -> Call {
    let format = match context.settings.legacy().map(|legacy| legacy.file_format) {
        Some(FileFormat::KeyValue) => "key_value",
        Some(FileFormat::Json) | None => "json",
    };
    let mut body = format!(
        "{{\"data\":[{{\"type\":\"MTA\",\"fileFormat\":\"{format}\",\"compress\":{compress}"
    );
    if let Some(token) = token {
        body.push_str(",\"token\":");
        push_quoted(&mut body, token);
    }
    body.push_str("}]}");
    Call::post(stream.info().endpoint.to_owned(), body)
}
