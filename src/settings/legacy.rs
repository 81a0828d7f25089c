//! The settings of API 1.0: keys, discovery, and the form of its SIEM files
//! (`mimecast-api.md` §7).

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

use crate::secret::Secret;

use super::{
    Api, SettingsError, SettingsErrors, SettingsInput, choice, error, parse_origin, required,
    validate_text,
};
use crate::stream::{FetchKind, Stream};

/// The host that knows the region of every address (`mimecast-api.md` §1.2).
pub const DISCOVERY_URL: &str = "https://api.mimecast.com";

/// The hosts of the regions (`mimecast-api.md` §1.2), and the discovery host.
pub const ORIGINS: [&str; 11] = [
    DISCOVERY_URL,
    "https://eu-api.mimecast.com",
    "https://de-api.mimecast.com",
    "https://us-api.mimecast.com",
    "https://usb-api.mimecast.com",
    "https://ca-api.mimecast.com",
    "https://za-api.mimecast.com",
    "https://au-api.mimecast.com",
    "https://je-api.mimecast.com",
    "https://jer-api.mimecast.com",
    "https://uspcom-api.mimecast-pscom-us.com",
];

/// The settings of API 1.0 only.
#[derive(Clone, Debug)]
pub struct LegacySettings {
    /// The origin of the account's region, where the settings name it.
    pub base_url: Option<String>,
    /// The account that the keys should belong to.
    pub account_code: Option<String>,
    /// The application id.
    pub app_id: String,
    /// The application key, which is part of what is signed.
    pub app_key: Secret,
    /// The access key.
    pub access_key: Secret,
    /// The secret key in base64, checked.
    pub secret_key: Secret,
    /// The address whose region is looked up where no base URL is set.
    pub email: Option<String>,
    /// The origin that discovery calls for the region.
    pub discovery_url: String,
    /// The format in which SIEM files are requested.
    pub file_format: FileFormat,
    /// Whether SIEM files are requested as zip archives of several.
    pub compress: bool,
}

/// The formats of SIEM files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileFormat {
    /// One JSON document a file.
    Json,
    /// Lines of `key=value|key=value`.
    KeyValue,
}

impl LegacySettings {
    /// Returns the secret texts.
    #[must_use]
    pub fn secrets(&self) -> [&str; 3] {
        [&self.app_key, &self.access_key, &self.secret_key].map(Secret::expose)
    }

    /// Returns the bytes of the secret key.
    #[must_use]
    pub fn secret_bytes(&self) -> Vec<u8> {
        decode(self.secret_key.expose()).unwrap_or_default()
    }

    /// Parses the settings of API 1.0, and removes them from `raw`.
    pub(super) fn parse(
        raw: &mut SettingsInput,
        base_url: Option<String>,
        is_base_url_set: bool,
    ) -> Result<Self, SettingsError> {
        let mut errors = SettingsErrors::default();
        if raw.email.is_none() && !is_base_url_set {
            errors.add(error(
                "email",
                "is missing; without a base_url it finds the region of the account",
            ));
        }
        let email = raw.email.take();
        let email = errors.note(email.map(|it| validate_text("email", it)).transpose());
        let code = raw.account_code.take();
        let code = errors.note(code.map(|it| validate_text("account_code", it)).transpose());
        let app_id = errors.note(header_safe("app_id", raw.app_id.take()));
        let app_key = errors.note(header_safe("app_key", raw.app_key.take()));
        let access_key = errors.note(header_safe("access_key", raw.access_key.take()));
        let secret_key = errors.note(parse_secret_key(raw.secret_key.take()));
        let discovery = raw.discovery_url.take();
        let discovery = discovery.as_deref().unwrap_or(DISCOVERY_URL);
        let discovery_url = errors.note(parse_origin("discovery_url", discovery));
        let file_format = errors.note(choice(
            "siem_file_format",
            raw.siem_file_format.take(),
            [
                ("json", FileFormat::Json),
                ("key_value", FileFormat::KeyValue),
            ],
        ));
        let legacy = || {
            Some(Self {
                base_url,
                account_code: code?,
                app_id: app_id?,
                app_key: Secret::new(app_key?),
                access_key: Secret::new(access_key?),
                secret_key: Secret::new(secret_key?),
                email: email?,
                discovery_url: discovery_url?,
                file_format: file_format?,
                compress: raw.siem_compress.unwrap_or(true),
            })
        };
        let legacy = legacy();
        errors.take_result(legacy)
    }
}

fn parse_secret_key(text: Option<String>) -> Result<String, SettingsError> {
    let key = required("secret_key", text)?;
    if decode(&key).is_none_or(|bytes| bytes.is_empty()) {
        return Err(error(
            "secret_key",
            "is not base64; copy it whole, with the equals signs at its end",
        ));
    }
    Ok(key)
}

/// Refuses settings of the other API, so that no setting is ignored silently.
pub(super) fn refuse_settings_of_other_api(
    raw: &SettingsInput,
    api: Api,
) -> Result<(), SettingsError> {
    let of_v1 = [
        ("account_code", raw.account_code.is_some()),
        ("app_id", raw.app_id.is_some()),
        ("app_key", raw.app_key.is_some()),
        ("access_key", raw.access_key.is_some()),
        ("secret_key", raw.secret_key.is_some()),
        ("email", raw.email.is_some()),
        ("discovery_url", raw.discovery_url.is_some()),
        ("siem_file_format", raw.siem_file_format.is_some()),
        ("siem_compress", raw.siem_compress.is_some()),
    ];
    let of_v2 = [
        ("client_id", raw.client_id.is_some()),
        ("client_secret", raw.client_secret.is_some()),
        ("siem_endpoint", raw.siem_endpoint.is_some()),
        ("siem_calls_per_15_min", raw.siem_calls_per_15_min.is_some()),
    ];
    let (others, detail): (&[(&str, bool)], &str) = match api {
        Api::V1 => (
            &of_v2,
            "belongs to API 2.0; remove it, or set api = \"2.0\"",
        ),
        Api::V2 => (
            &of_v1,
            "belongs to API 1.0; remove it, or set api = \"1.0\"",
        ),
    };
    match others.iter().find(|(_, is_set)| *is_set) {
        Some((name, _)) => Err(error(name, detail)),
        None => Ok(()),
    }
}

/// Returns whether the API has the stream. API 1.0 has one log of all SIEM types.
pub(super) fn offers(api: Api, stream: Stream) -> bool {
    match stream.info().fetch {
        FetchKind::Files { .. } => api == Api::V2,
        FetchKind::LogFiles => api == Api::V1,
        FetchKind::Campaigns { .. }
        | FetchKind::ThreatFeed { .. }
        | FetchKind::List { .. }
        | FetchKind::Windows(_) => true,
    }
}

fn decode(text: &str) -> Option<Vec<u8>> {
    let text = text.trim();
    let decoded = STANDARD
        .decode(text)
        .or_else(|_| STANDARD_NO_PAD.decode(text));
    decoded.ok()
}

/// Checks that a text can be used in a header or in a signed line as it is.
#[inline(never)]
fn header_safe(name: &str, value: Option<String>) -> Result<String, SettingsError> {
    let value = required(name, value)?;
    let value = value.trim();
    if value.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(value.to_owned());
    }
    Err(error(
        name,
        "contains a space or a character that is not ASCII",
    ))
}

#[cfg(test)]
mod tests {
    use super::super::Settings;
    use crate::stream::Stream;

    fn parse(extra: &str) -> Result<Settings, super::SettingsError> {
        Settings::parse(&format!(
            r#"{{"api":"1.0","app_id":"i","app_key":"k-1","access_key":"a-1","secret_key":"c2VjcmV0LWtleQ=="{extra}}}"#
        ))
    }

    #[test]
    fn the_least_settings_find_the_region_and_collect_everything_there_is() {
        let settings = parse(r#","email":"a@example.com""#).unwrap();
        let legacy = settings.legacy().unwrap();
        assert_eq!(legacy.base_url, None);
        assert_eq!(legacy.secret_bytes(), b"secret-key");
        assert!(legacy.compress);
        assert!(settings.streams.contains(&Stream::Siem));
        assert!(settings.streams.contains(&Stream::TtpUrl));
        assert!(!settings.streams.contains(&Stream::SiemReceipt));
    }

    #[test]
    fn each_bad_setting_is_named() {
        let mail = r#","email":"a@example.com""#;
        for (extra, setting) in [
            ("", "email"),
            (r#","email":" ""#, "email"),
            (r#","base_url":"eu-api.mimecast.com/x""#, "base_url"),
            (
                r#","base_url":"https://eu-api.mimecast.com","discovery_url":"x/y""#,
                "discovery_url",
            ),
            (r#","email":"a@b","client_id":"x""#, "client_id"),
            (
                r#","email":"a@b","siem_file_format":"xml""#,
                "siem_file_format",
            ),
            (r#","email":"a@b","streams":["siem.receipt"]"#, "streams"),
            (r#","email":"a@b","account_code":"""#, "account_code"),
        ] {
            assert_eq!(parse(extra).unwrap_err().setting, setting, "{extra}");
        }
        for key in ["app_id", "app_key", "access_key", "secret_key"] {
            let all = r#"{"api":"1.0","app_id":"i","app_key":"k","access_key":"a","secret_key":"c2VjcmV0LWtleQ=="}"#;
            let all = all.replace('}', &format!("{mail}}}"));
            let mut without: serde_json::Value = serde_json::from_str(&all).unwrap();
            without.as_object_mut().unwrap().remove(key);
            let error = Settings::parse(&without.to_string()).unwrap_err();
            assert_eq!(error.setting, key);
            let broken = all.replace(&format!("\"{key}\":\""), &format!("\"{key}\":\"é "));
            assert_eq!(Settings::parse(&broken).unwrap_err().setting, key);
        }
        let v2 = r#"{"client_id":"i","client_secret":"s","app_key":"k"}"#;
        assert_eq!(Settings::parse(v2).unwrap_err().setting, "app_key");
    }

    #[test]
    fn no_key_is_shown() {
        let settings = parse(r#","email":"a@example.com""#).unwrap();
        let shown = format!("{settings:?}");
        for secret in ["k-1", "a-1", "c2VjcmV0LWtleQ"] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
}
