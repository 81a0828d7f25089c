//! The settings that all outputs over HTTP share.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::Uri;
use hyper::header::{AUTHORIZATION, HeaderName, HeaderValue, InvalidHeaderValue};
use source_common::exit::Failure;
use source_common::proxy::Proxies;
use source_common::reloadable_secret::ReloadableSecret;
use source_common::secret::{Redactor, Secret};
use source_common::section::{Section, SettingsErrors};

use crate::Event;
use crate::compress::Encoding;
use crate::parts::PartSettings;
use crate::template::Template;
use crate::tls::Tls;

/// Request timeout. A receiver with end-to-end acknowledgements responds only after its sinks have
/// written the batch, so this is longer than common sinks wait.
const TIMEOUT_SECS_DEFAULT: u64 = 190;
/// More than one, because Vector and Fluent Bit handle one request per connection at a time.
const CONNECTIONS_DEFAULT: u64 = 2;
const CONNECTIONS_MAX: u64 = 64;
/// Well below every receiver's limit, and large enough for low overhead.
const REQUEST_KIB_DEFAULT: u64 = 1_024;
const REQUEST_KIB_MAX: u64 = 102_400; // 100 MiB, Vector's limit
const REQUEST_EVENTS_MAX: u64 = 100_000;

/// What differs between the types of outputs that send over HTTP.
#[derive(Clone, Debug)]
pub(crate) struct HttpOutputType {
    /// The word for it in the setting `type`, also for its name in logs.
    pub(crate) name: &'static str,
    /// Path that is appended to an endpoint without one.
    pub(crate) default_path: &'static str,
    /// Authorization scheme of the key `token`; `None` if the output has no such key.
    pub(crate) token_scheme: Option<&'static str>,
}

impl HttpOutputType {
    pub(crate) fn new(name: &'static str) -> Self {
        Self {
            name,
            default_path: "/",
            token_scheme: None,
        }
    }
}

/// The destination and parameters of requests.
#[derive(Clone, Debug)]
pub(crate) struct RequestSettings {
    pub(super) name: String,
    pub(super) endpoint: Template,
    headers: Vec<(HeaderName, Arc<ReloadableSecret>)>,
    /// The credential of the header `Authorization`, which is sent besides `headers`.
    credential: Option<Credential>,
    /// Redacts from responses those parts of the endpoint that may be secret.
    redactor: Redactor,
    pub(super) encoding: Encoding,
    pub(super) timeout: Duration,
    pub(super) connections: usize,
    pub(super) part_settings: PartSettings,
    pub(super) proxies: Arc<Proxies>,
    pub(super) tls: Tls,
}

impl RequestSettings {
    /// Parses the keys that all HTTP outputs share.
    pub(crate) fn parse(
        section: &mut Section<'_>,
        output_type: &HttpOutputType,
    ) -> Result<Self, Failure> {
        let mut errors = SettingsErrors::default();
        let endpoint = errors.ok_or_push(read_endpoint(section, output_type));
        let headers = errors.ok_or_push(read_headers(section)).unwrap_or_default();
        let credential = errors
            .ok_or_push(read_credential(section, output_type))
            .flatten();
        let mut number = |key, range| errors.ok_or_push(section.number(key, range)).flatten();
        let timeout = number("timeout_secs", 1..=3_600);
        let connections = number("connections", 1..=CONNECTIONS_MAX);
        let kib = number("request_kib", 1..=REQUEST_KIB_MAX);
        let events = number("request_events", 1..=REQUEST_EVENTS_MAX);
        let encoding = errors.ok_or_push(Encoding::read(section));
        let proxies = errors.ok_or_push(section.proxies());
        let tls = errors.ok_or_push(Tls::read(section));
        let count = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        let parts = endpoint.zip(encoding).zip(proxies).zip(tls);
        errors.into_value(parts.map(
            |((((endpoint, origin), encoding), (proxies, _)), tls)| Self {
                name: format!("{} {origin}", output_type.name),
                redactor: Redactor::new(endpoint_secrets(&endpoint, output_type)),
                headers,
                credential,
                encoding,
                timeout: Duration::from_secs(timeout.unwrap_or(TIMEOUT_SECS_DEFAULT)),
                connections: count(connections.unwrap_or(CONNECTIONS_DEFAULT)),
                part_settings: PartSettings {
                    bytes_max: count(kib.unwrap_or(REQUEST_KIB_DEFAULT)).saturating_mul(1_024),
                    events_max: count(events.unwrap_or(REQUEST_EVENTS_MAX)),
                    partition_by: Some(endpoint.clone()),
                },
                endpoint,
                proxies: Arc::new(proxies),
                tls,
            },
        ))
    }
}

impl RequestSettings {
    /// Returns the headers of the settings with their current values.
    pub(super) fn secret_headers(&self) -> Vec<(HeaderName, Secret)> {
        let headers = self.headers.iter();
        let headers = headers.map(|(name, value)| (name.clone(), value.current()));
        let credential = self.credential.as_ref();
        let authorization = credential.map(|it| (AUTHORIZATION, it.authorization()));
        headers.chain(authorization).collect()
    }

    /// Returns a redactor for the response to a request with these headers.
    pub(super) fn redactor(&self, headers: &[(HeaderName, Secret)]) -> Redactor {
        let values = headers.iter().map(|(_, value)| value);
        self.redactor
            .with(values.flat_map(|value| secrets_of(value.expose())))
    }
}

/// A credential. One that is stored in a file is read again when the file changes.
#[derive(Clone, Debug)]
struct Credential {
    scheme: &'static str,
    /// The user name, if the secret is a password.
    username: Option<String>,
    secret: Arc<ReloadableSecret>,
}

impl Credential {
    /// Returns the current value of the header.
    fn authorization(&self) -> Secret {
        let secret = self.secret.current();
        let (scheme, secret) = (self.scheme, secret.expose());
        Secret::new(match &self.username {
            Some(name) => {
                let pair = Secret::new(format!("{name}:{secret}"));
                format!("{scheme} {}", STANDARD.encode(pair.expose()))
            }
            None => format!("{scheme} {secret}"),
        })
    }
}

/// Parses the endpoint, and returns its origin for messages: the path and query of
/// some receivers contain the credential.
fn read_endpoint(
    section: &mut Section<'_>,
    output_type: &HttpOutputType,
) -> Result<(Template, String), Failure> {
    let endpoint = section.resolved_text("endpoint")?;
    let refuse = |reason: &str| section.error("endpoint", reason);
    let endpoint = endpoint.ok_or_else(|| refuse("is missing"))?;
    let text = endpoint.expose();
    let template = Template::parse(text).map_err(|_| {
        refuse("may have {kind}, {namespace}, {source} and {stream}, and no other braces")
    })?;
    let example = Event {
        body: "",
        occurred_at: 0,
        kind: "kind",
        stream: "stream",
        namespace: "test",
    };
    let uri: Uri = template
        .render(&example, "source")
        .parse()
        .map_err(|error| refuse(&format!("is not a URL: {error}")))?;
    let authority = uri
        .authority()
        .filter(|authority| !authority.host().is_empty());
    let (Some(scheme @ ("http" | "https")), Some(authority)) = (uri.scheme_str(), authority) else {
        return Err(refuse("must begin with http:// or https:// and a host"));
    };
    if authority.as_str().contains('@') {
        return Err(refuse(
            "has credentials in it, which would be in logs; use username and password",
        ));
    }
    let origin = format!("{scheme}://{authority}");
    let bare = uri.path() == "/" && uri.query().is_none() && !text.ends_with("//");
    if bare && output_type.default_path != "/" {
        let whole = format!("{}{}", text.trim_end_matches('/'), output_type.default_path);
        let template = Template::parse(&whole).map_err(|reason| refuse(&reason))?;
        return Ok((template, origin));
    }
    Ok((template, origin))
}

fn read_headers(
    section: &mut Section<'_>,
) -> Result<Vec<(HeaderName, Arc<ReloadableSecret>)>, Failure> {
    let mut headers = Vec::new();
    for (name, value) in section.reloadable_secrets("headers")? {
        let name: HeaderName = name.parse().map_err(|_| {
            section.error(
                "headers",
                &format!("has `{name}`, which is not a header name"),
            )
        })?;
        let reserved = ["content-encoding", "content-length", "content-type", "host"];
        if reserved.contains(&name.as_str()) {
            let reason = format!("has `{name}`, which the output sets itself");
            return Err(section.error("headers", &reason));
        }
        check_header_value(section, name.as_str(), &value.current())?;
        headers.push((name, Arc::new(value)));
    }
    Ok(headers)
}

fn read_credential(
    section: &mut Section<'_>,
    output_type: &HttpOutputType,
) -> Result<Option<Credential>, Failure> {
    // All keys are read before an error ends this: one that was not read would count as unknown.
    let mut errors = SettingsErrors::default();
    let username = errors.ok_or_push(section.string("username")).flatten();
    let password = errors
        .ok_or_push(section.reloadable_secret("password"))
        .flatten();
    let bearer = errors
        .ok_or_push(section.reloadable_secret("bearer_token"))
        .flatten();
    let token = output_type.token_scheme.and_then(|scheme| {
        let token = errors.ok_or_push(section.reloadable_secret("token"));
        Some((scheme, token.flatten()?))
    });
    errors.into_result()?;
    let credential = |scheme, username, secret| Credential {
        scheme,
        username,
        secret: Arc::new(secret),
    };
    let mut credentials = Vec::new();
    match (username, password) {
        (None, None) => {}
        (Some(name), Some(password)) => credentials.push(credential("Basic", Some(name), password)),
        (Some(_), None) => return Err(section.error("username", "needs password as well")),
        (None, Some(_)) => return Err(section.error("password", "needs username as well")),
    }
    credentials.extend(bearer.map(|secret| credential("Bearer", None, secret)));
    credentials.extend(token.map(|(scheme, secret)| credential(scheme, None, secret)));
    if credentials.len() > 1 {
        return Err(section.error(
            "username",
            "and tokens exclude each other; a request has one credential",
        ));
    }
    let credential = credentials.pop();
    if let Some(credential) = &credential {
        check_header_value(section, "credentials", &credential.authorization())?;
    }
    Ok(credential)
}

/// Returns what is secret in the value of a header: all of it, a credential also without its scheme,
/// and the password of a pair.
fn secrets_of(value: &str) -> Vec<String> {
    let mut secrets = vec![value.to_owned()];
    let Some((scheme, credential)) = value.split_once(' ') else {
        return secrets;
    };
    secrets.push(credential.to_owned());
    let pair = STANDARD
        .decode(credential)
        .ok()
        .filter(|_| scheme == "Basic");
    let pair = pair.and_then(|pair| String::from_utf8(pair).ok());
    let password = pair.as_deref().and_then(|pair| pair.split_once(':'));
    secrets.extend(password.map(|(_, password)| password.to_owned()));
    secrets
}

/// Returns each part of the path and query separately, because receivers may repeat only one.
/// Excludes the documented path.
fn endpoint_secrets(endpoint: &Template, output_type: &HttpOutputType) -> Vec<String> {
    let mut texts = endpoint.texts();
    let first = texts.next().unwrap_or_default();
    let after_scheme = first.split_once("://").map_or(first, |(_, rest)| rest);
    let first = after_scheme
        .find(['/', '?'])
        .map(|at| after_scheme.split_at(at).1);
    let parts = first.into_iter().chain(texts);
    let parts = parts.flat_map(|text| text.split(['/', '?', '&', '=', '#']));
    let known: Vec<&str> = output_type.default_path.split('/').collect();
    let mut secrets: Vec<String> = parts
        .filter(|part| !known.contains(part))
        .map(str::to_owned)
        .collect();
    // Longest first, so that none is redacted inside another.
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    secrets
}

/// Converts a secret to the value of a header, marked as sensitive, so that it is not shown.
pub(super) fn sensitive_header_value(value: &Secret) -> Result<HeaderValue, InvalidHeaderValue> {
    let mut value = HeaderValue::from_str(value.expose())?;
    value.set_sensitive(true);
    Ok(value)
}

fn check_header_value(section: &Section<'_>, name: &str, value: &Secret) -> Result<(), Failure> {
    sensitive_header_value(value)
        .map(drop)
        .map_err(|_| section.error(name, "has characters that no header may have"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn table(settings: &str) -> toml::Table {
        settings.parse().unwrap()
    }

    fn read(output_type: &HttpOutputType, settings: &str) -> Result<RequestSettings, Failure> {
        let table = table(settings);
        let mut section = Section::new(Path::new("test.toml"), "[[output]]".to_owned(), table);
        RequestSettings::parse(&mut section, output_type)
    }

    fn http() -> HttpOutputType {
        HttpOutputType::new("http")
    }

    #[test]
    fn every_header_value_is_sensitive_and_is_not_shown() {
        let splunk = HttpOutputType {
            token_scheme: Some("Splunk"),
            ..HttpOutputType::new("splunk")
        };
        for credential in [
            "username = \"ann\"\npassword = \"s3cr3t-mark\"",
            "bearer_token = \"s3cr3t-mark\"",
            "token = \"s3cr3t-mark\"",
        ] {
            let text = format!(
                "endpoint = \"http://x\"\nheaders = {{ X-Key = \"s3cr3t-mark\", X-Other = \"another-mark\" }}\n{credential}"
            );
            let settings = read(&splunk, &text).unwrap();
            let headers = settings.secret_headers();
            assert_eq!(headers.len(), 3);
            let redactor = settings.redactor(&headers);
            for (_, value) in &headers {
                assert_eq!(redactor.redact(value.expose()), "[redacted]");
                assert!(sensitive_header_value(value).unwrap().is_sensitive());
            }
            let shown = format!("{settings:?}");
            for secret in ["s3cr3t-mark", "another-mark", "YW5uOnMzY3IzdC1tYXJr"] {
                assert!(!shown.contains(secret), "{shown}");
            }
        }
    }

    #[test]
    fn of_an_endpoint_only_the_origin_is_shown() {
        for endpoint in [
            "http://10.0.0.1:8080/receiver/ZaVnC4dhaV1?key=QueryMark",
            "http://10.0.0.1:8080?key=QueryMark&x=ZaVnC4dhaV1",
            "http://10.0.0.1:8080/ZaVnC4dhaV1/{stream}/QueryMark",
        ] {
            let settings = read(&http(), &format!("endpoint = \"{endpoint}\"")).unwrap();
            assert_eq!(settings.name, "http http://10.0.0.1:8080");
            let shown = format!("{settings:?}");
            assert!(
                !shown.contains("ZaVnC4dhaV1") && !shown.contains("QueryMark"),
                "{shown}"
            );
            // A receiver that repeats it.
            let text = settings
                .redactor(&[])
                .redact("no ZaVnC4dhaV1, no QueryMark");
            assert_eq!(text, "no [redacted], no [redacted]");
        }
        let splunk = HttpOutputType {
            default_path: "/services/collector/event",
            ..HttpOutputType::new("splunk")
        };
        let documented = "endpoint = \"http://x/services/collector/event\"";
        let settings = read(&splunk, documented).unwrap();
        let text = "see /services/collector/event";
        assert_eq!(settings.redactor(&[]).redact(text), text);
    }

    #[test]
    fn an_endpoint_may_be_kept_elsewhere() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("endpoint");
        std::fs::write(&path, "https://hooks.example.com/ZaVnC4dhaV1\n").unwrap();
        let text = format!("endpoint = {{ file = \"{}\" }}", path.display());
        let settings = read(&http(), &text).unwrap();
        assert_eq!(settings.name, "http https://hooks.example.com");
        let event = Event {
            body: "",
            occurred_at: 0,
            kind: "",
            stream: "",
            namespace: "test",
        };
        assert_eq!(
            settings.endpoint.render(&event, "acme"),
            "https://hooks.example.com/ZaVnC4dhaV1"
        );
        let unset = read(&http(), "endpoint = { env = \"NO_SUCH_VARIABLE\" }").unwrap_err();
        assert!(
            unset.message.contains("NO_SUCH_VARIABLE, which is not set"),
            "{unset}"
        );
    }

    #[test]
    fn a_wrong_endpoint_is_refused_without_showing_it() {
        for wrong in [
            "http://x/ZaVnC4dhaV1/{stream",
            "http://x/{ZaVnC4dhaV1}",
            "http://x/ZaVnC4dhaV1 y",
            "ftp://x/ZaVnC4dhaV1",
            "x/ZaVnC4dhaV1",
            "http:///ZaVnC4dhaV1",
            "http://ann:ZaVnC4dhaV1@x",
        ] {
            let failure = read(&http(), &format!("endpoint = \"{wrong}\"")).unwrap_err();
            assert!(failure.message.contains("`endpoint` "), "{failure}");
            assert!(!failure.message.contains("ZaVnC4dhaV1"), "{failure}");
        }
    }
}
