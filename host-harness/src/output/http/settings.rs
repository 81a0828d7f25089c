//! What all outputs over HTTP have in common in the settings file.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::Uri;
use hyper::header::{AUTHORIZATION, HeaderName, HeaderValue};

use crate::exit::Failure;
use crate::output::Event;
use crate::output::compress::Encoding;
use crate::output::parts::Cut;
use crate::output::template::Template;
use crate::output::tls::Tls;
use crate::secret::{Redactor, Secret};
use crate::settings::Section;

/// Above the longest time that usual sinks hold a batch back: a receiver that
/// acknowledges end to end answers only after that.
const TIMEOUT_SECS_DEFAULT: u64 = 190;
/// Vector and Fluent Bit handle one request of a connection at a time.
const CONNECTIONS_DEFAULT: u64 = 2;
const CONNECTIONS_MAX: u64 = 64;
/// Well below every receiver's limit, and large enough to cost little.
const REQUEST_KIB_DEFAULT: u64 = 1_024;
const REQUEST_KIB_MAX: u64 = 102_400; // 100 MiB, Vector's limit
const REQUEST_EVENTS_MAX: u64 = 100_000;

/// What differs from output to output.
#[derive(Clone, Debug)]
pub(in crate::output) struct Defaults {
    /// The type, for the name in logs.
    pub(in crate::output) kind: &'static str,
    /// What is put after an endpoint that names no path.
    pub(in crate::output) path: &'static str,
    /// The scheme of the credential in `token`, if there is such a key.
    pub(in crate::output) token: Option<&'static str>,
}

impl Defaults {
    pub(in crate::output) fn new(kind: &'static str) -> Self {
        Self {
            kind,
            path: "/",
            token: None,
        }
    }
}

/// Where requests go, and how.
#[derive(Clone, Debug)]
pub(in crate::output) struct RequestSettings {
    pub(super) name: String,
    pub(super) endpoint: Template,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    /// Takes the credentials out of what a receiver says.
    pub(super) redactor: Redactor,
    pub(super) encoding: Encoding,
    pub(super) timeout: Duration,
    pub(super) connections: usize,
    pub(super) cut: Cut,
    pub(super) tls: Tls,
}

impl RequestSettings {
    /// Read the keys that all have.
    pub(in crate::output) fn read(
        section: &mut Section<'_>,
        defaults: &Defaults,
    ) -> Result<Self, Failure> {
        let (endpoint, shown) = read_endpoint(section, defaults)?;
        let mut headers = read_headers(section)?;
        headers.extend(read_credentials(section, defaults)?);
        let timeout = section.number("timeout_secs", 1..=3_600)?;
        let connections = section.number("connections", 1..=CONNECTIONS_MAX)?;
        let kib = section.number("request_kib", 1..=REQUEST_KIB_MAX)?;
        let events = section.number("request_events", 1..=REQUEST_EVENTS_MAX)?;
        let count = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        Ok(Self {
            name: format!("{} {shown}", defaults.kind),
            redactor: redactor(&headers),
            headers,
            encoding: Encoding::read(section)?,
            timeout: Duration::from_secs(timeout.unwrap_or(TIMEOUT_SECS_DEFAULT)),
            connections: count(connections.unwrap_or(CONNECTIONS_DEFAULT)),
            cut: Cut {
                bytes_max: count(kib.unwrap_or(REQUEST_KIB_DEFAULT)).saturating_mul(1_024),
                events_max: count(events.unwrap_or(REQUEST_EVENTS_MAX)),
                by: Some(endpoint.clone()),
            },
            endpoint,
            tls: Tls::read(section)?,
        })
    }
}

/// The endpoint, and what of it is shown in logs.
fn read_endpoint(
    section: &mut Section<'_>,
    defaults: &Defaults,
) -> Result<(Template, String), Failure> {
    let text = section.required_string("endpoint")?;
    let refuse = |reason: &str| section.error("endpoint", reason);
    let template = Template::parse(&text).map_err(|reason| refuse(&reason))?;
    let example = Event {
        body: "",
        occurred_at: 0,
        kind: "kind",
        stream: "stream",
    };
    let uri: Uri = template
        .render(&example, "source")
        .parse()
        .map_err(|error| refuse(&format!("is not a URL: {error}")))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none_or(str::is_empty) {
        return Err(refuse("must begin with http:// or https:// and a host"));
    }
    if uri
        .authority()
        .is_some_and(|authority| authority.as_str().contains('@'))
    {
        return Err(refuse(
            "has credentials in it, which would be in logs; use username and password",
        ));
    }
    let shown = text.split_once('?').map_or(text.as_str(), |(path, _)| path);
    let shown = shown.to_owned();
    let bare = uri.path() == "/" && uri.query().is_none() && !text.ends_with("//");
    let template = if bare && defaults.path != "/" {
        let whole = format!("{}{}", text.trim_end_matches('/'), defaults.path);
        Template::parse(&whole).map_err(|reason| refuse(&reason))?
    } else {
        template
    };
    Ok((template, shown))
}

fn read_headers(section: &mut Section<'_>) -> Result<Vec<(HeaderName, HeaderValue)>, Failure> {
    let mut headers = Vec::new();
    for (name, value) in section.secrets("headers")? {
        let name: HeaderName = name.parse().map_err(|_| {
            section.error("headers", &format!("has `{name}`, which names no header"))
        })?;
        let reserved = ["content-encoding", "content-length", "content-type", "host"];
        if reserved.contains(&name.as_str()) {
            let reason = format!("has `{name}`, which the output sets itself");
            return Err(section.error("headers", &reason));
        }
        headers.push((
            name.clone(),
            sensitive(section, name.as_str(), value.reveal())?,
        ));
    }
    Ok(headers)
}

fn read_credentials(
    section: &mut Section<'_>,
    defaults: &Defaults,
) -> Result<Option<(HeaderName, HeaderValue)>, Failure> {
    let username = section.string("username")?;
    let password = section.secret("password")?;
    let bearer = section.secret("bearer_token")?;
    let token = match defaults.token {
        Some(scheme) => section.secret("token")?.map(|token| (scheme, token)),
        None => None,
    };
    let mut values: Vec<String> = Vec::new();
    match (username, password) {
        (None, None) => {}
        (Some(name), Some(password)) => {
            let pair = Secret::new(format!("{name}:{}", password.reveal()));
            values.push(format!("Basic {}", STANDARD.encode(pair.reveal())));
        }
        (Some(_), None) => return Err(section.error("username", "needs password as well")),
        (None, Some(_)) => return Err(section.error("password", "needs username as well")),
    }
    values.extend(bearer.map(|token| format!("Bearer {}", token.reveal())));
    values.extend(token.map(|(scheme, token)| format!("{scheme} {}", token.reveal())));
    match values.as_slice() {
        [] => Ok(None),
        [value] => Ok(Some((
            AUTHORIZATION,
            sensitive(section, "credentials", value)?,
        ))),
        _ => Err(section.error(
            "username",
            "and tokens exclude each other; a request has one credential",
        )),
    }
}

/// Takes the values of headers out of what a receiver says; of a credential also without its
/// scheme, and the password of a pair.
fn redactor(headers: &[(HeaderName, HeaderValue)]) -> Redactor {
    let mut secrets = Vec::new();
    for value in headers.iter().filter_map(|(_, value)| value.to_str().ok()) {
        secrets.push(value.to_owned());
        let Some((scheme, credential)) = value.split_once(' ') else {
            continue;
        };
        secrets.push(credential.to_owned());
        let pair = STANDARD
            .decode(credential)
            .ok()
            .filter(|_| scheme == "Basic");
        let pair = pair.and_then(|pair| String::from_utf8(pair).ok());
        let password = pair.as_deref().and_then(|pair| pair.split_once(':'));
        secrets.extend(password.map(|(_, password)| password.to_owned()));
    }
    Redactor::new(secrets)
}

fn sensitive(section: &Section<'_>, name: &str, value: &str) -> Result<HeaderValue, Failure> {
    let mut value = HeaderValue::from_str(value)
        .map_err(|_| section.error(name, "has characters that no header may have"))?;
    value.set_sensitive(true);
    Ok(value)
}
