//! The signature of API 1.0, and the search for the region of an account
//! (`mimecast-api.md` §7.1, §7.2).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::Mac as _;
use hmac::digest::InvalidLength;
use serde::Deserialize;
use serde_json::value::RawValue;
use sha1::Sha1;

use super::{AuthError, SigningContext};
use crate::decode::parse_json;
use crate::decode::sanitize::sanitize;
use crate::decode::{lenient, upstream_error};
use crate::encode::push_quoted;
use crate::request::{Call, Request};
use crate::secret::Secret;
use crate::settings::legacy::LegacySettings;
use crate::settings::parse_origin;

/// The keys of one source, and the region that was found for its account.
#[derive(Clone, Debug)]
pub struct LegacyAuth {
    settings: Box<LegacySettings>,
    /// The origin that discovery found, where the settings name no base URL.
    discovered_base_url: Option<String>,
}

/// The path that finds the region of an address.
const DISCOVERY_PATH: &str = "/api/login/discover-authentication";

/// A call whose signature was refused and whose time was off by more than this is signed once more with
/// the right time. The tolerance of Mimecast is not published.
pub const SKEW_MS_MAX: u64 = 60_000;

impl LegacyAuth {
    /// Creates the credentials with these keys.
    #[must_use]
    pub fn new(settings: &LegacySettings) -> Self {
        Self {
            settings: Box::new(settings.clone()),
            discovered_base_url: None,
        }
    }

    /// Returns the settings of API 1.0, which have the keys.
    #[must_use]
    pub fn settings(&self) -> &LegacySettings {
        &self.settings
    }

    /// Returns the origin of the API, where it is known.
    #[must_use]
    pub fn base_url(&self) -> Option<&str> {
        self.settings
            .base_url
            .as_deref()
            .or(self.discovered_base_url.as_deref())
    }

    /// Returns the origin that discovery found.
    #[must_use]
    pub fn discovered_base_url(&self) -> Option<&str> {
        self.discovered_base_url.as_deref()
    }

    /// Uses the origin that discovery found earlier, unless the settings name a base URL.
    pub fn restore_region(&mut self, origin: Option<&str>) {
        let origin = origin.filter(|_| self.settings.base_url.is_none());
        self.discovered_base_url = origin.and_then(|text| parse_origin("region", text).ok());
    }

    /// Forgets the origin that discovery found. Returns whether discovery can be repeated.
    pub fn forget_region(&mut self) -> bool {
        self.discovered_base_url = None;
        self.settings.base_url.is_none()
    }

    /// Returns the request that finds the region.
    #[must_use]
    pub fn discovery(&self, context: SigningContext) -> Request {
        discovery(&self.settings, context)
    }

    /// Handles the response to [`LegacyAuth::discovery`].
    ///
    /// # Errors
    ///
    /// The response names a failure, or no region that can be used.
    pub fn handle_response(&mut self, body: &[u8]) -> Result<(), AuthError> {
        self.discovered_base_url = Some(region(body)?);
        Ok(())
    }
}

/// Returns the headers of a signed call. The body is not signed.
#[must_use]
pub fn sign(
    call: &Call,
    settings: &LegacySettings,
    context: SigningContext,
) -> Vec<(&'static str, Secret)> {
    let (date, id) = (
        context.upstream_now.to_signature_date(),
        uuid(context.nonce),
    );
    let uri = call.path_without_query();
    let text = format!("{date}:{id}:{uri}:{}", settings.app_key.expose());
    let Ok(signature) = hmac_sha1(&settings.secret_bytes(), text.as_bytes()) else {
        return Vec::new();
    };
    let signature = STANDARD.encode(signature);
    let authorization = format!("MC {}:{signature}", settings.access_key.expose());
    vec![
        ("authorization", Secret::new(authorization)),
        ("x-mc-app-id", Secret::new(settings.app_id.clone())),
        ("x-mc-date", Secret::new(date)),
        ("x-mc-req-id", Secret::new(id)),
    ]
}

/// Returns the request that finds the region. It carries no signature.
fn discovery(settings: &LegacySettings, context: SigningContext) -> Request {
    let mut body = String::from("{\"data\":[{\"emailAddress\":");
    push_quoted(&mut body, settings.email.as_deref().unwrap_or_default());
    body.push_str("}]}");
    let mut request = Call::post(DISCOVERY_PATH.to_owned(), body).at(&settings.discovery_url);
    request.credentials = vec![
        ("x-mc-app-id", Secret::new(settings.app_id.clone())),
        (
            "x-mc-date",
            Secret::new(context.upstream_now.to_signature_date()),
        ),
        ("x-mc-req-id", Secret::new(uuid(context.nonce))),
    ];
    request
}

#[derive(Deserialize)]
struct Response<'a> {
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Account<'a> {
    #[serde(borrow, default)]
    region: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Region {
    #[serde(default, deserialize_with = "lenient::text_or_absent")]
    api: Option<String>,
}

/// Returns the origin of the region of an account, where the account names one.
fn region_api(account: &RawValue) -> Option<String> {
    let account: Account<'_> = parse_json(account.get()).ok()?;
    let region: Region = parse_json(account.region?.get()).ok()?;
    region.api
}

/// Parses the base URL in the response to [`discovery`]. It fails where the response names a failure, or no
/// usable region.
fn region(body: &[u8]) -> Result<String, AuthError> {
    if let Some(error) = upstream_error::read(body) {
        let why = format!("{} {}", error.code, error.message);
        return Err(AuthError::Refused(why));
    }
    let response: Response<'_> = serde_json::from_slice(body)
        .map_err(|_| AuthError::Protocol("the discovery response is not JSON".to_owned()))?;
    let data = response
        .data
        .ok_or_else(|| AuthError::Protocol("the discovery response has no data".to_owned()))?;
    let region = lenient::elements(data).into_iter().find_map(region_api);
    let Some(region) = region else {
        let why = "Mimecast knows no region for the address in email".to_owned();
        return Err(AuthError::Refused(why));
    };
    parse_origin("base_url", &region).map_err(|_| {
        let shown = sanitize(&region);
        AuthError::Protocol(format!(
            "the discovery response names {shown:?}, which is not an origin"
        ))
    })
}

/// Returns a UUID of version 4 (RFC 9562).
fn uuid(nonce: u128) -> String {
    let builder = uuid::Builder::from_random_bytes(nonce.to_be_bytes());
    builder.into_uuid().to_string()
}

/// Computes HMAC with SHA-1 (RFC 2104).
///
/// # Errors
///
/// None today: HMAC takes keys of any length, but the trait of the crate is also for those that
/// do not.
fn hmac_sha1(key: &[u8], message: &[u8]) -> Result<[u8; 20], InvalidLength> {
    let mut mac = hmac::Hmac::<Sha1>::new_from_slice(key)?;
    mac.update(message);
    Ok(mac.finalize().into_bytes().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;
    use crate::time::Timestamp;

    fn settings() -> LegacySettings {
        let settings = Settings::parse(
            r#"{"api":"1.0","email":"a\"b@example.com","app_id":"app-1",
                "app_key":"11111111-2222-3333-4444-555555555555",
                "access_key":"mYtEsTaCcEsSkEy",
                "secret_key":"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="}"#,
        );
        settings.unwrap().legacy().unwrap().clone()
    }

    fn signing_context() -> SigningContext {
        let at = Timestamp::parse("2024-05-31T10:15:30Z").unwrap();
        SigningContext {
            now: at.plus_ms(10_800_000),
            upstream_now: at,
            nonce: 0x6f96_19ff_8b86_d011_b42d_00cf_4fc9_64ff,
        }
    }

    fn signed(uri: &str) -> Vec<(&'static str, String)> {
        let call = Call::post(uri.to_owned(), "{}".to_owned());
        let headers = sign(&call, &settings(), signing_context());
        let shown = |(name, value): (&'static str, Secret)| (name, value.expose().to_owned());
        headers.into_iter().map(shown).collect()
    }

    /// The two vectors of `mimecast-api.md` §7.2, with the request id that they were made with.
    #[test]
    fn the_signatures_are_those_of_the_known_test_vectors() {
        for (uri, signature) in [
            ("/api/audit/get-siem-logs", "DnQ2UqGYClBrhT8rLOc6QzyRHC8="),
            (
                "/api/audit/get-audit-events",
                "jR8RQ8qaaFzsVbXd7v+hMUkm1Gg=",
            ),
        ] {
            let text = format!(
                "Fri, 31 May 2024 10:15:30 UTC:6f9619ff-8b86-d011-b42d-00cf4fc964ff:{uri}:11111111-2222-3333-4444-555555555555"
            );
            let key = settings().secret_bytes();
            let made = hmac_sha1(&key, text.as_bytes()).unwrap();
            assert_eq!(STANDARD.encode(made), signature);
        }
    }

    #[test]
    fn a_signed_call_says_who_when_and_which_attempt() {
        let headers = signed("/api/audit/get-siem-logs");
        let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
        assert_eq!(
            names,
            ["authorization", "x-mc-app-id", "x-mc-date", "x-mc-req-id"]
        );
        assert_eq!(headers[1].1, "app-1");
        assert_eq!(
            headers[2].1, "Fri, 31 May 2024 10:15:30 UTC",
            "the server's clock"
        );
        // Version and variant are set in an id that is otherwise the nonce.
        assert_eq!(headers[3].1, "6f9619ff-8b86-4011-b42d-00cf4fc964ff");
        let text = format!(
            "{}:{}:/api/audit/get-siem-logs:11111111-2222-3333-4444-555555555555",
            headers[2].1, headers[3].1
        );
        let key = b"0123456789abcdef0123456789abcdef";
        let expected = STANDARD.encode(hmac_sha1(key, text.as_bytes()).unwrap());
        assert_eq!(headers[0].1, format!("MC mYtEsTaCcEsSkEy:{expected}"));
        assert_eq!(
            signed("/api/audit/get-siem-logs?x=1")[0],
            headers[0],
            "only the path"
        );
        assert_ne!(signed("/api/audit/get-audit-events")[0], headers[0]);
    }

    /// Cases 1, 2 and 6 of RFC 2202.
    #[test]
    fn the_keyed_hash_is_that_of_the_rfc() {
        let long = b"Test Using Larger Than Block-Size Key - Hash Key First";
        let cases: [(&[u8], &[u8], &str); 3] = [
            (
                &[0x0b; 20],
                b"Hi There",
                "b617318655057264e28bc0b6fb378c8ef146be00",
            ),
            (
                b"Jefe",
                b"what do ya want for nothing?",
                "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79",
            ),
            (
                &[0xaa; 80],
                long,
                "aa4ae5e15272d00e95705637ce8a3b55ed402112",
            ),
        ];
        for (key, message, expected) in cases {
            let mac = hmac_sha1(key, message).unwrap();
            let hex: String = mac.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hex, expected);
        }
    }

    #[test]
    fn discovery_asks_without_a_signature_and_finds_the_region() {
        let request = discovery(&settings(), signing_context());
        assert_eq!(
            request.url,
            "https://api.mimecast.com/api/login/discover-authentication"
        );
        let body = request.body.unwrap();
        assert_eq!(
            body.bytes.expose(),
            r#"{"data":[{"emailAddress":"a\"b@example.com"}]}"#
        );
        assert!(
            request
                .credentials
                .iter()
                .all(|(name, _)| *name != "authorization")
        );
        let found = br#"{"meta":{"status":200},"data":[{"authenticate":["Basic-Cloud"],"region":{"code":"eu","api":"https://eu-api.mimecast.com"}}],"fail":[]}"#;
        assert_eq!(region(found), Ok("https://eu-api.mimecast.com".to_owned()));
    }

    #[test]
    fn members_of_other_types_do_not_hide_the_region() {
        let region_of = |data: &str| region(format!(r#"{{"data":{data}}}"#).as_bytes());
        let good = r#"{"region":{"code":4,"api":"https://eu-api.mimecast.com"},"authenticate":7}"#;
        for data in [
            good.to_owned(),
            format!("[{good}]"),
            format!("[null,{good}]"),
            format!(r#"[{{"region":null}},{good}]"#),
            format!(r#"[{{"region":"eu"}},{good}]"#),
            format!(r#"[{{"region":{{"api":null}}}},{good}]"#),
            format!(r#"[7,{{"region":{{"api":[]}}}},{good}]"#),
        ] {
            let found = region_of(&data);
            assert_eq!(
                found,
                Ok("https://eu-api.mimecast.com".to_owned()),
                "{data}"
            );
        }
    }

    #[test]
    fn a_response_without_a_region_that_can_be_used_says_so() {
        for (body, refused) in [
            (r#"{"data":[{"authenticate":[]}]}"#, true),
            (r#"{"data":[]}"#, true),
            (
                r#"{"fail":[{"errors":[{"code":"err_developer_key"}]}]}"#,
                true,
            ),
            ("<html>", false),
            ("[]", false),
            ("{}", false),
            (r#"{"data":null}"#, false),
            (r#"{"data":[{"region":{"code":7}}]}"#, true),
            (
                r#"{"data":[{"region":{"api":"eu-api.mimecast.com/x"}}]}"#,
                false,
            ),
        ] {
            let error = region(body.as_bytes()).unwrap_err();
            assert_eq!(matches!(error, AuthError::Refused(_)), refused, "{body}");
        }
    }
}
