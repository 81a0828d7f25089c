//! Requests as plain values.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::header::AUTHORIZATION;

use crate::fault::Endpoint;

/// One request, read whole.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: Vec<(String, String)>,
    pub(crate) authorization: Option<String>,
    pub(crate) body: Bytes,
}

impl Request {
    /// Reads a request. A body that is too long counts as none.
    pub(crate) async fn read(request: hyper::Request<Incoming>) -> Self {
        let (parts, body) = request.into_parts();
        let body = Limited::new(body, BODY_BYTES_MAX).collect().await;
        let authorization = parts.headers.get(AUTHORIZATION);
        Self {
            method: parts.method.to_string(),
            path: parts.uri.path().to_owned(),
            query: parse_form(parts.uri.query().unwrap_or_default()),
            authorization: authorization
                .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()),
            body: body
                .map(http_body_util::Collected::to_bytes)
                .unwrap_or_default(),
        }
    }

    /// Returns a parameter of the query.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        find(&self.query, name)
    }

    /// Returns what the request asks of the API origin.
    pub(crate) fn endpoint(&self) -> Endpoint {
        match (self.method.as_str(), self.path.as_str()) {
            ("POST", "/oauth/token") => Endpoint::Token,
            ("GET", "/siem/v1/batch/events/cg" | "/siem/v1/batch/events/ci") => Endpoint::Batch,
            ("GET", "/siem/v1/events/cg" | "/siem/v1/events/ci") => Endpoint::Events,
            ("POST", path) if crate::post::find_post_endpoint(path, &self.body).is_some() => {
                Endpoint::Post
            }
            _ => Endpoint::Other,
        }
    }
}

/// Returns the value of a name in a parsed form.
pub(crate) fn find<'a>(form: &'a [(String, String)], name: &str) -> Option<&'a str> {
    form.iter()
        .find(|(other, _)| other == name)
        .map(|(_, value)| value.as_str())
}

/// Returns the pairs of `a=b&c=d`, with `+` and `%20` for a space.
pub(crate) fn parse_form(text: &str) -> Vec<(String, String)> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (unescape(name), unescape(value))
        })
        .collect()
}

fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        let escaped = tail.split_at_checked(2).filter(|_| byte == b'%');
        let escaped = escaped.and_then(|(digits, tail)| {
            let digits = std::str::from_utf8(digits).ok()?;
            // The parser also takes a sign.
            let digits = (!digits.starts_with('+')).then_some(digits)?;
            Some((u8::from_str_radix(digits, 16).ok()?, tail))
        });
        match (byte, escaped) {
            (_, Some((value, tail))) => {
                bytes.push(value);
                rest = tail;
            }
            (b'+', None) => bytes.push(b' '),
            (other, None) => bytes.push(other),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// No request of the API comes near this.
const BODY_BYTES_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_space_in_a_parameter_has_two_forms() {
        for text in [
            "a=1&type=internal+email+protect",
            "type=internal%20email%20protect",
        ] {
            assert_eq!(
                find(&parse_form(text), "type"),
                Some("internal email protect")
            );
        }
        assert_eq!(find(&parse_form("a=100%&b=%zz"), "a"), Some("100%"));
        assert_eq!(find(&parse_form("a=%+7"), "a"), Some("% 7"));
    }
}
