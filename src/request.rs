//! HTTP requests as plain values.

use crate::settings::Secret;

/// What to send. The driver adds nothing but the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// `GET` or `POST`.
    pub method: Method,
    /// An absolute URL. A storage URL carries a signature, so a URL is never logged.
    pub url: String,
    /// The headers that show who calls: a token or a signature. Only [`crate::auth`] writes them,
    /// and only for the API's own origin (`mimecast-api.md` §3.2).
    pub credentials: Vec<(&'static str, Secret)>,
    /// The body, where there is one.
    pub body: Option<Body>,
}

/// The methods the API knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// `GET`.
    Get,
    /// `POST`.
    Post,
}

/// A request body with its media type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    /// The `Content-Type`.
    pub media_type: &'static str,
    /// The bytes; they may hold the client secret.
    pub bytes: Secret,
}

impl Request {
    /// A `GET` without credentials.
    #[must_use]
    pub const fn get(url: String) -> Self {
        Self {
            method: Method::Get,
            url,
            credentials: Vec::new(),
            body: None,
        }
    }

    /// A `POST` of a JSON text without credentials.
    #[must_use]
    pub const fn post_json(url: String, json: String) -> Self {
        let body = Body {
            media_type: "application/json",
            bytes: Secret::new(json),
        };
        Self {
            method: Method::Post,
            url,
            credentials: Vec::new(),
            body: Some(body),
        }
    }

    /// A `POST` of form fields without credentials.
    #[must_use]
    pub fn post_form(url: String, fields: &[(&str, &str)]) -> Self {
        let mut form = String::new();
        for (name, value) in fields {
            if !form.is_empty() {
                form.push('&');
            }
            form.push_str(name);
            form.push('=');
            percent_encode(value, &mut form);
        }
        let body = Body {
            media_type: "application/x-www-form-urlencoded",
            bytes: Secret::new(form),
        };
        Self {
            method: Method::Post,
            url,
            credentials: Vec::new(),
            body: Some(body),
        }
    }

    /// The scheme and authority of the URL, which may be named in logs.
    #[must_use]
    pub fn origin(&self) -> &str {
        origin(&self.url)
    }
}

/// The scheme and authority of an absolute URL, or the empty text where it is not one.
#[must_use]
pub fn origin(url: &str) -> &str {
    let Some((scheme, rest)) = url.split_once("://") else {
        return "";
    };
    let authority = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    url.get(..scheme.len().saturating_add(3).saturating_add(authority))
        .unwrap_or_default()
}

/// The path of an absolute URL, without query and fragment: what stays the same when a storage
/// URL is signed anew (`mimecast-api.md` §3.1).
#[must_use]
pub fn path(url: &str) -> &str {
    let rest = url.get(origin(url).len()..).unwrap_or_default();
    let end = rest.find(['?', '#']).unwrap_or(rest.len());
    rest.get(..end).unwrap_or_default()
}

/// Appends `text`, with everything but unreserved characters percent-encoded (RFC 3986 §2.3).
pub fn percent_encode(text: &str, out: &mut String) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push('%');
            for nibble in [byte >> 4, byte & 15] {
                out.push(char::from(
                    HEX.get(usize::from(nibble)).copied().unwrap_or(b'0'),
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart_without_its_signature() {
        let url = "https://b.s3.amazonaws.com/cg/receipt/1.json.gz?X-Amz-Signature=s#f";
        assert_eq!(origin(url), "https://b.s3.amazonaws.com");
        assert_eq!(path(url), "/cg/receipt/1.json.gz");
        assert_eq!(origin("no url"), "");
        assert_eq!(path("https://host"), "");
    }

    #[test]
    fn form_fields_are_percent_encoded() {
        let request = Request::post_form("https://a/t".into(), &[("id", "a b&c"), ("g", "é~")]);
        let body = request.body.unwrap();
        assert_eq!(body.bytes.expose(), "id=a%20b%26c&g=%C3%A9~");
    }

    #[test]
    fn the_debug_form_of_a_request_shows_no_secret() {
        let mut request = Request::post_form("https://a/t".into(), &[("secret", "hunter2")]);
        request.credentials = vec![("authorization", Secret::new("tok-123".to_owned()))];
        let shown = format!("{request:?}");
        assert!(
            !shown.contains("hunter2") && !shown.contains("tok-123"),
            "{shown}"
        );
    }
}
