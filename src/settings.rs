//! The settings of one source, parsed once into types that only hold valid values.

pub mod legacy;
mod start;

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::decode::parse_json;
use crate::normalize::Format;
use crate::normalize::severity::{self, Severities};
use crate::request::origin;
use crate::secret::Secret;
use crate::stream::{STREAMS, Stream};
use crate::time::Timestamp;
use legacy::LegacySettings;
pub use start::Start;
use start::{parse_duration, parse_start};

/// The API host that routes to a healthy region (`mimecast-api.md` §1.1).
pub const DEFAULT_BASE_URL: &str = "https://api.services.mimecast.com";

/// The origins of API 2.0: its hosts, those of the regions included (`mimecast-api.md` §1.1), and
/// where presigned batch files come from (`mimecast-api.md` §3.1).
pub const ORIGINS: [&str; 3] = [
    DEFAULT_BASE_URL,
    "https://*.services.mimecast.com",
    "https://*.amazonaws.com",
];

/// The documented quota of the SIEM batch endpoints, shared over all types
/// (`mimecast-api.md` §3.1).
const SIEM_CALLS_PER_15_MIN: u32 = 50;

/// The names of the formats, the default first.
pub const FORMATS: [&str; 3] = ["ecs", "ocsf", "raw"];

/// The overlap without a setting: see [`Settings::overlap_ms`]. Records that the upstream wrote up to this
/// late are still found.
const DEFAULT_OVERLAP_MS: i64 = 15 * 60_000;

/// A version of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// API 1.0: signed calls.
    V1,
    /// API 2.0: bearer tokens.
    V2,
}

/// The credentials and API version of a source.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// API 2.0.
    Client {
        /// The API's origin.
        base_url: String,
        /// The application's client id.
        id: String,
        /// The application's client secret.
        secret: Secret,
    },
    /// API 1.0.
    Legacy(Box<LegacySettings>),
}

impl Credentials {
    /// Returns the secret texts; those that this API does not have are empty.
    #[must_use]
    pub fn secrets(&self) -> [&str; 3] {
        match self {
            Self::Client { secret, .. } => [secret.expose(), "", ""],
            Self::Legacy(keys) => keys.secrets(),
        }
    }
}

/// Checked settings of one source.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The credentials, and with them the version and the origin of the API.
    pub credentials: Credentials,
    /// The streams to collect, each once, in the order of [`STREAMS`].
    pub streams: Vec<Stream>,
    /// The format of the events.
    pub format: Format,
    /// The name of the tenant, which is in every event and part of its id.
    pub tenant: Option<String>,
    /// Whether an event contains the upstream record as text.
    pub include_original: bool,
    /// Whether events name the techniques of MITRE ATT&CK.
    pub attack: bool,
    /// Whether records about one message get members of earlier ones.
    pub correlate: bool,
    /// The severities that replace those of the tables.
    pub severities: Severities,
    /// Where collection begins without a checkpoint.
    pub start: Start,
    /// The quota of the SIEM batch endpoints.
    pub siem_calls_per_15_min: u32,
    /// How far a reading reaches back into what was read before, in milliseconds.
    pub overlap_ms: i64,
    /// From which endpoints SIEM records are read.
    pub siem_endpoint: SiemEndpoint,
    /// What is emitted for lists.
    pub snapshot: SnapshotMode,
    /// The format of the threat feeds.
    pub threat_feed: ThreatFeedFormat,
}

/// From which endpoints SIEM records are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SiemEndpoint {
    /// Batch files: everything, some minutes late.
    Batch,
    /// The event endpoint: at once, as far as its quota reaches.
    Events,
}

/// What is emitted for lists of what is there now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotMode {
    /// What is new in a list, and what has left it.
    Changes,
    /// The whole list, each time it is read.
    Full,
}

/// The format of the threat feeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThreatFeedFormat {
    /// Comma-separated values.
    Csv,
    /// STIX 2.0.
    Stix,
}

/// An error in the settings. Neither text contains a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsError {
    /// The name of the setting, or the empty text.
    pub setting: String,
    /// What is wrong, and what to write instead.
    pub detail: String,
}

/// The errors in several settings, joined into the first one.
#[derive(Default)]
struct SettingsErrors(Option<SettingsError>);

impl SettingsErrors {
    /// Returns the value, or adds the error.
    fn note<T>(&mut self, result: Result<T, SettingsError>) -> Option<T> {
        result.map_err(|problem| self.add(problem)).ok()
    }

    #[inline(never)]
    fn add(&mut self, problem: SettingsError) {
        match &mut self.0 {
            None => self.0 = Some(problem),
            Some(first) => {
                let SettingsError { setting, detail } = problem;
                first.detail.push_str(&format!("; `{setting}`: {detail}"));
            }
        }
    }

    /// Returns the value, or all errors.
    fn take_result<T>(&mut self, value: Option<T>) -> Result<T, SettingsError> {
        match (self.0.take(), value) {
            (Some(errors), _) => Err(errors),
            (None, Some(value)) => Ok(value),
            (None, None) => Err(error("", "the settings cannot be used")),
        }
    }
}

fn error(setting: &str, detail: impl Into<String>) -> SettingsError {
    SettingsError {
        setting: setting.to_owned(),
        detail: detail.into(),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SettingsInput {
    account_code: Option<String>,
    app_id: Option<String>,
    app_key: Option<String>,
    access_key: Option<String>,
    secret_key: Option<String>,
    email: Option<String>,
    discovery_url: Option<String>,
    siem_file_format: Option<String>,
    siem_compress: Option<bool>,
    api: Option<String>,
    base_url: Option<String>,
    client_id: Option<String>,
    client_secret: Option<String>,
    streams: Option<Vec<String>>,
    format: Option<String>,
    tenant: Option<String>,
    include_original: Option<bool>,
    attack: Option<bool>,
    correlate: Option<bool>,
    severity_overrides: Option<BTreeMap<String, String>>,
    start: Option<String>,
    siem_calls_per_15_min: Option<u32>,
    overlap: Option<String>,
    siem_endpoint: Option<String>,
    snapshot: Option<String>,
    threat_feed: Option<String>,
}

/// The settings that shape events, however the records were collected.
#[derive(Clone, Debug)]
pub struct EventSettings {
    /// Whether an event contains the upstream record as text.
    pub include_original: bool,
    /// Whether events name the techniques of MITRE ATT&CK.
    pub attack: bool,
    /// The severities that replace those of the tables.
    pub severities: Severities,
    /// The name of the tenant.
    pub tenant: Option<String>,
}

impl EventSettings {
    /// Parses the settings of a source, and checks the values only of those that shape events; `{}` is valid.
    ///
    /// # Errors
    ///
    /// The first setting that is unknown, has a value of another type, or shapes events and cannot be used.
    pub fn parse(json: &str) -> Result<Self, SettingsError> {
        let raw: SettingsInput =
            parse_json(json).map_err(|problem| error("", describe_parse_error(&problem)))?;
        Ok(Self {
            include_original: raw.include_original.unwrap_or(false),
            attack: raw.attack.unwrap_or(true),
            severities: parse_severities(&raw.severity_overrides.unwrap_or_default())?,
            tenant: parse_tenant(raw.tenant)?,
        })
    }
}

/// The words of the settings with two choices; the first is the default.
const SIEM_ENDPOINTS: [(&str, SiemEndpoint); 2] = [
    ("batch", SiemEndpoint::Batch),
    ("events", SiemEndpoint::Events),
];
const SNAPSHOTS: [(&str, SnapshotMode); 2] = [
    ("changes", SnapshotMode::Changes),
    ("full", SnapshotMode::Full),
];
const THREAT_FEEDS: [(&str, ThreatFeedFormat); 2] = [
    ("stix", ThreatFeedFormat::Stix),
    ("csv", ThreatFeedFormat::Csv),
];

impl Settings {
    /// Parses the JSON object that a host hands over.
    ///
    /// # Errors
    ///
    /// All settings that are missing or unusable, the first in `setting`, the others in `detail`. An
    /// unknown key or a value of another type is reported alone with an empty `setting`, and a bad `api`
    /// alone under its name. Of those that belong to the other API, only the first is named.
    #[cold]
    pub fn parse(json: &str) -> Result<Self, SettingsError> {
        let mut raw: SettingsInput =
            parse_json(json).map_err(|problem| error("", describe_parse_error(&problem)))?;
        let mut errors = SettingsErrors::default();
        let api = errors.note(choice(
            "api",
            raw.api.take(),
            [("2.0", Api::V2), ("1.0", Api::V1)],
        ));
        // The other checks depend on it.
        let api = errors.take_result(api)?;
        errors.note(legacy::refuse_settings_of_other_api(&raw, api));
        let base_url = raw.base_url.take();
        let is_set = base_url.is_some();
        let base_url = base_url.map(|url| parse_base_url(&url, api));
        let base_url = errors.note(base_url.transpose()).flatten();
        let credentials = match api {
            Api::V1 => errors
                .note(LegacySettings::parse(&mut raw, base_url, is_set))
                .map(|legacy| Credentials::Legacy(Box::new(legacy))),
            Api::V2 => {
                let id = errors.note(required("client_id", raw.client_id));
                let secret = errors.note(required("client_secret", raw.client_secret));
                id.zip(secret).map(|(id, secret)| Credentials::Client {
                    base_url: base_url.unwrap_or_else(|| DEFAULT_BASE_URL.to_owned()),
                    id,
                    secret: Secret::new(secret),
                })
            }
        };
        let calls = raw.siem_calls_per_15_min.unwrap_or(SIEM_CALLS_PER_15_MIN);
        if calls == 0 {
            errors.add(error("siem_calls_per_15_min", "must be at least 1"));
        }
        let streams = errors.note(parse_streams(raw.streams, api));
        let format = errors.note(parse_format(raw.format.as_deref()));
        let tenant = errors.note(parse_tenant(raw.tenant));
        let severities = parse_severities(&raw.severity_overrides.unwrap_or_default());
        let severities = errors.note(severities);
        let start = errors.note(parse_start(raw.start.as_deref().unwrap_or("24h")));
        let overlap_ms = errors.note(parse_overlap(raw.overlap.as_deref()));
        let siem_endpoint = choice("siem_endpoint", raw.siem_endpoint, SIEM_ENDPOINTS);
        let siem_endpoint = errors.note(siem_endpoint);
        let snapshot = errors.note(choice("snapshot", raw.snapshot, SNAPSHOTS));
        let threat_feed = errors.note(choice("threat_feed", raw.threat_feed, THREAT_FEEDS));
        let settings = || {
            Some(Self {
                credentials: credentials?,
                streams: streams?,
                format: format?,
                tenant: tenant?,
                include_original: raw.include_original.unwrap_or(false),
                attack: raw.attack.unwrap_or(true),
                correlate: raw.correlate.unwrap_or(false),
                severities: severities?,
                start: start?,
                siem_calls_per_15_min: calls,
                overlap_ms: overlap_ms?,
                siem_endpoint: siem_endpoint?,
                snapshot: snapshot?,
                threat_feed: threat_feed?,
            })
        };
        let settings = settings();
        errors.take_result(settings)
    }

    /// Returns the version of the API.
    #[must_use]
    pub const fn api(&self) -> Api {
        match self.credentials {
            Credentials::Client { .. } => Api::V2,
            Credentials::Legacy(_) => Api::V1,
        }
    }

    /// Returns the settings of API 1.0, where it is used.
    #[must_use]
    pub fn legacy(&self) -> Option<&LegacySettings> {
        match &self.credentials {
            Credentials::Client { .. } => None,
            Credentials::Legacy(legacy) => Some(legacy),
        }
    }

    /// Returns whether the stream is read from batch files alone.
    #[must_use]
    pub fn reads_only_batch_files(&self, stream: Stream) -> bool {
        stream.has_batch_files() && self.siem_endpoint == SiemEndpoint::Batch
    }

    /// Checks the start, which depends on the current time.
    ///
    /// # Errors
    ///
    /// A `start` that lies in the future.
    pub fn check_start(&self, now: Timestamp) -> Result<(), SettingsError> {
        match self.start {
            Start::At(at) if at > now => Err(error(
                "start",
                "lies in the future; use a past time or a duration like \"24h\"",
            )),
            Start::Ago(_) | Start::At(_) => Ok(()),
        }
    }
}

/// Returns the parser's message without its quotation of the text, which could hold a secret.
fn describe_parse_error(problem: &serde_json::Error) -> String {
    let text = problem.to_string();
    // `unknown field` names a key; other errors may quote values, so they are cut.
    if text.starts_with("unknown field") {
        return text;
    }
    format!(
        "the settings are not the expected JSON object (line {}, column {})",
        problem.line(),
        problem.column()
    )
}

/// Returns a text that must be set.
fn required(name: &str, value: Option<String>) -> Result<String, SettingsError> {
    validate_text(name, value.ok_or_else(|| error(name, "is missing"))?)
}

/// Refuses a text that is empty, has spaces around it or contains control characters.
#[inline(never)]
fn validate_text(name: &str, value: String) -> Result<String, SettingsError> {
    if value.trim().is_empty() {
        return Err(error(name, "is empty"));
    }
    if value.trim() != value || value.contains(|c: char| c.is_control()) {
        return Err(error(
            name,
            "begins or ends with a space, or contains a line break or another control character",
        ));
    }
    Ok(value)
}

/// Parses one of two words.
fn choice<T: Copy>(
    name: &str,
    word: Option<String>,
    choices: [(&str, T); 2],
) -> Result<T, SettingsError> {
    let [first, second] = choices;
    let is_second = is_second_word(name, word, [first.0, second.0])?;
    Ok(if is_second { second.1 } else { first.1 })
}

/// Not generic, unlike [`choice`], so that its code exists only once.
#[inline(never)]
fn is_second_word(
    name: &str,
    word: Option<String>,
    [first, second]: [&str; 2],
) -> Result<bool, SettingsError> {
    match word.as_deref() {
        None => Ok(false),
        Some(word) if word == first || word == second => Ok(word == second),
        Some(word) => {
            let detail = format!("{word:?} is neither {first:?} nor {second:?}");
            Err(error(name, detail))
        }
    }
}

fn parse_overlap(text: Option<&str>) -> Result<i64, SettingsError> {
    let Some(text) = text else {
        return Ok(DEFAULT_OVERLAP_MS);
    };
    parse_duration(text)
        .filter(|ms| *ms <= 24 * 3_600_000)
        .ok_or_else(|| error("overlap", "must be a duration of at most 24h, like \"15m\""))
}

/// Parses the origin of the API, and refuses hosts of its other version.
fn parse_base_url(text: &str, api: Api) -> Result<String, SettingsError> {
    let url = parse_origin("base_url", text)?;
    let is_v1 = legacy::ORIGINS.contains(&url.as_str());
    let is_v2 = url == DEFAULT_BASE_URL || url.ends_with(".services.mimecast.com");
    match api {
        Api::V1 if is_v2 => Err(error(
            "base_url",
            "is a host of API 2.0, and api is \"1.0\"; write a host such as \
             \"https://eu-api.mimecast.com\", or remove base_url and set email",
        )),
        Api::V2 if is_v1 => Err(error(
            "base_url",
            "is a host of API 1.0, and api is \"2.0\"; remove base_url, or write \
             \"https://api.services.mimecast.com\" or a host of your region; with keys of API 1.0, \
             set api = \"1.0\"",
        )),
        Api::V1 | Api::V2 => Ok(url),
    }
}

/// Parses an origin, without a slash at the end; where it has no scheme, it gets `https`.
///
/// # Errors
///
/// The text is not an origin.
#[inline(never)]
pub fn parse_origin(setting: &str, text: &str) -> Result<String, SettingsError> {
    let detail = "must be an origin like \"https://api.services.mimecast.com\", without a path";
    let url = text.trim_end_matches('/');
    let url = if text.contains("://") {
        url.to_owned()
    } else {
        format!("https://{url}")
    };
    let found = origin(&url);
    let host = found
        .strip_prefix("https://")
        .or_else(|| found.strip_prefix("http://"));
    match host {
        Some(host)
            if found == url
                && !host.is_empty()
                && !host.starts_with(':')
                && !host.contains(|c: char| c == '@' || c.is_whitespace() || c.is_control()) =>
        {
            Ok(url)
        }
        _ => Err(error(setting, detail)),
    }
}

/// The longest name of a tenant, which is in every event.
const TENANT_BYTES_MAX: usize = 256;

/// Parses the tenant's name; an empty one means that there is no tenant.
fn parse_tenant(name: Option<String>) -> Result<Option<String>, SettingsError> {
    let Some(name) = name.filter(|name| !name.is_empty()) else {
        return Ok(None);
    };
    if name.len() > TENANT_BYTES_MAX {
        let detail = format!("is longer than {TENANT_BYTES_MAX} bytes");
        return Err(error("tenant", detail));
    }
    if name.trim() != name || name.contains(char::is_control) {
        return Err(error(
            "tenant",
            "begins or ends with a space, or contains a line break or another control character",
        ));
    }
    Ok(Some(name))
}

fn parse_streams(names: Option<Vec<String>>, api: Api) -> Result<Vec<Stream>, SettingsError> {
    let available: Vec<&crate::stream::StreamInfo> = STREAMS
        .iter()
        .filter(|row| legacy::offers(api, row.stream))
        .collect();
    let Some(names) = names else {
        return Ok(available.iter().map(|row| row.stream).collect());
    };
    if names.is_empty() {
        return Err(error(
            "streams",
            "is empty; leave it out to collect every stream",
        ));
    }
    for name in &names {
        if !available
            .iter()
            .any(|row| row.name == name || row.stream.family() == name)
        {
            let known: Vec<&str> = available.iter().map(|row| row.name).collect();
            return Err(error(
                "streams",
                format!(
                    "there is no stream {name:?}; there are the families {} and the streams {}",
                    families(&available).join(", "),
                    known.join(", ")
                ),
            ));
        }
    }
    let wanted = |row: &&&crate::stream::StreamInfo| {
        names
            .iter()
            .any(|name| row.name == name || row.stream.family() == name)
    };
    Ok(available
        .iter()
        .filter(wanted)
        .map(|row| row.stream)
        .collect())
}

/// Returns the names of families, each of which selects several of the streams.
fn families(rows: &[&crate::stream::StreamInfo]) -> Vec<&'static str> {
    let mut names: Vec<&str> = Vec::new();
    for row in rows {
        let family = row.stream.family();
        if family != row.name && !names.contains(&family) {
            names.push(family);
        }
    }
    names
}

fn parse_severities(overrides: &BTreeMap<String, String>) -> Result<Severities, SettingsError> {
    let pairs = overrides.iter();
    Severities::new(pairs.map(|(name, severity)| (name.as_str(), severity.as_str())))
        .map_err(|problem| error("severity_overrides", problem))
}

fn parse_format(name: Option<&str>) -> Result<Format, SettingsError> {
    let Some(name) = name else {
        return Ok(Format::Ecs);
    };
    Format::from_name(name).ok_or_else(|| {
        error(
            "format",
            format!("{name:?} is not one of {}", FORMATS.join(", ")),
        )
    })
}

/// Returns the JSON Schema of the settings, as `describe` returns it.
#[must_use]
pub fn schema() -> String {
    let mut names = families(&STREAMS.iter().collect::<Vec<_>>());
    let streams = STREAMS.iter().map(|row| row.name);
    names.extend(streams.filter(|name| *name != Stream::Siem.name()));
    let streams = serde_json::json!(names).to_string();
    let severities = serde_json::json!(severity::NAMES.get(1..)).to_string();
    include_str!("settings/schema.json")
        .replace("\"@STREAMS@\"", &streams)
        .replace("\"@SEVERITIES@\"", &severities)
}

#[cfg(test)]
mod tests;
