//! HTTP requests as plain values.

use crate::decode::sanitize::{is_invisible, sanitize};
use crate::secret::Secret;

/// An HTTP request. The driver adds the connection and the headers that every request has (`Accept`,
/// `Accept-Encoding: identity`, `User-Agent`, and the type and length of a body), and no credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// `GET` or `POST`.
    pub method: Method,
    /// An absolute URL. A storage URL carries a signature, so a URL is never logged.
    pub url: String,
    /// The headers that identify the caller: a token, or the application id with a signature. Only
    /// [`crate::auth`] writes them, and only for the API's origin (`mimecast-api.md` §3.2); discovery gets
    /// the application id without a signature.
    pub credentials: Vec<(&'static str, Secret)>,
    /// The body, where there is one.
    pub body: Option<Body>,
}

/// The HTTP methods that the API uses.
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

/// A call of the API, without what only [`crate::api::ApiClient`] knows: the origin and the
/// credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The path and the query.
    path_and_query: String,
    /// The JSON text of a `POST`; a `GET` has none.
    json: Option<String>,
}

impl Call {
    /// Creates a `GET` of this path and query.
    #[must_use]
    pub const fn get(path_and_query: String) -> Self {
        Self {
            path_and_query,
            json: None,
        }
    }

    /// Creates a `POST` of a JSON text.
    #[must_use]
    pub const fn post(path_and_query: String, json: String) -> Self {
        Self {
            path_and_query,
            json: Some(json),
        }
    }

    /// Returns the path, which a signature covers.
    #[must_use]
    pub fn path_without_query(&self) -> &str {
        path(&self.path_and_query)
    }

    /// Returns the request at this origin, without credentials.
    #[must_use]
    pub fn at(self, origin: &str) -> Request {
        let url = format!("{origin}{}", self.path_and_query);
        match self.json {
            None => Request::get(url),
            Some(json) => Request::post_json(url, json),
        }
    }
}

impl Request {
    /// Creates a `GET` without credentials.
    #[must_use]
    pub const fn get(url: String) -> Self {
        Self {
            method: Method::Get,
            url,
            credentials: Vec::new(),
            body: None,
        }
    }

    /// Creates a `POST` of a JSON text without credentials.
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

    /// Creates a `POST` of form fields without credentials.
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

    /// Returns the scheme and the host of the URL as they may be shown: without user information,
    /// on one line.
    #[must_use]
    pub fn shown_origin(&self) -> String {
        let origin = origin(&self.url);
        let (scheme, authority) = origin.split_once("://").unwrap_or(("", origin));
        let host = authority.rsplit('@').next().unwrap_or_default();
        sanitize(&format!("{scheme}://{host}"))
    }

    /// Returns whether it may be sent; see [`is_usable`].
    #[must_use]
    pub fn is_usable(&self) -> bool {
        is_usable(&self.url)
    }
}

/// Returns whether a URL may be requested: it has a scheme and a host, no user information and no
/// invisible character.
#[must_use]
pub fn is_usable(url: &str) -> bool {
    let origin = origin(url);
    let (scheme, authority) = origin.split_once("://").unwrap_or_default();
    !scheme.is_empty()
        && !authority.is_empty()
        && !authority.contains(['@', '\\'])
        && !url.contains(|c: char| is_invisible(c) || c.is_whitespace())
}

/// Returns the scheme and authority of an absolute URL, or the empty text where it is not one.
#[must_use]
pub fn origin(url: &str) -> &str {
    let Some((scheme, rest)) = url.split_once("://") else {
        return "";
    };
    let authority = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    url.get(..scheme.len().saturating_add(3).saturating_add(authority))
        .unwrap_or_default()
}

/// Returns the path of an absolute URL, without query and fragment: what stays the same when a
/// storage URL is signed anew (`mimecast-api.md` §3.1).
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
    fn a_link_with_user_information_or_unseen_characters_is_not_usable_and_shows_neither() {
        for (url, is_usable, shown) in [
            (
                "https://b.s3.amazonaws.com/a.gz?x=%0A",
                true,
                "https://b.s3.amazonaws.com",
            ),
            ("https://h.test/a@b.gz", true, "https://h.test"),
            (
                "http://KEY:SECRET@127.0.0.1:1/c.gz",
                false,
                "http://127.0.0.1:1",
            ),
            ("http://a@b@h.test/", false, "http://h.test"),
            (
                "http://h\n2026-01-01 INFO caught up/a",
                false,
                "http://h 2026-01-01 INFO caught up",
            ),
            ("http://h.test/a\r\nb", false, "http://h.test"),
            ("http://h\u{202e}.test/", false, "http://h .test"),
            ("http://h.test/\u{2066}a", false, "http://h.test"),
            ("http://h.test\\@x/", false, "http://x"),
            ("http:///a", false, "http://"),
            ("nowhere", false, "://"),
        ] {
            let request = Request::get(url.to_owned());
            assert_eq!(request.is_usable(), is_usable, "{url:?}");
            assert_eq!(request.shown_origin(), shown, "{url:?}");
        }
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
