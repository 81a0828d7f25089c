//! Authorization of calls: date, request id and signature.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::NaiveDateTime;
use hmac::digest::InvalidLength;
use hmac::{Hmac, Mac as _};
use sha1::Sha1;

use super::LegacyCredentials;
use crate::random::Random;

/// The credentials, and the request ids so far.
#[derive(Debug)]
pub(super) struct Auth {
    pub(super) credentials: LegacyCredentials,
    secret: Vec<u8>,
    seen_request_ids: BTreeSet<String>,
}

/// The headers of a call.
#[derive(Debug, Default)]
pub(super) struct CallHeaders {
    pub(super) app_id: String,
    pub(super) date: String,
    pub(super) request_id: String,
    pub(super) authorization: String,
}

/// Why a call is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AuthRefusal {
    /// The application is not known: HTTP 200, as recorded from the real API.
    App,
    /// The request id was used before or is malformed.
    RequestId,
    /// The date or the signature is wrong; the response does not distinguish them.
    Signature,
}

impl Auth {
    pub(super) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed, "legacy keys", &[]);
        let secret = random.hex(64);
        let credentials = LegacyCredentials {
            app_id: random.uuid(),
            app_key: random.uuid(),
            access_key: random.token(80),
            secret_key: STANDARD.encode(&secret),
            email: "collector@harbour.example".to_owned(),
        };
        Self {
            credentials,
            secret: secret.into_bytes(),
            seen_request_ids: BTreeSet::new(),
        }
    }

    /// Returns why a call is refused; `None` where it is allowed. `signed_path` is `None` for unsigned discovery.
    pub(super) fn check_call(
        &mut self,
        headers: &CallHeaders,
        signed_path: Option<&str>,
        (now_ms, tolerance_ms): (i64, i64),
    ) -> Option<AuthRefusal> {
        let is_new = headers.request_id.len() == 36
            && self.seen_request_ids.insert(headers.request_id.clone());
        if !is_new {
            return Some(AuthRefusal::RequestId);
        }
        if headers.app_id != self.credentials.app_id {
            return Some(AuthRefusal::App);
        }
        let path = signed_path?;
        let is_date_wrong = parse_date(&headers.date)
            .is_none_or(|date_ms| date_ms.abs_diff(now_ms) > tolerance_ms.unsigned_abs());
        let text = format!(
            "{}:{}:{path}:{}",
            headers.date, headers.request_id, self.credentials.app_key
        );
        let Ok(signature) = hmac_sha1(&self.secret, text.as_bytes()) else {
            return Some(AuthRefusal::Signature);
        };
        let signature = STANDARD.encode(signature);
        let expected = format!("MC {}:{signature}", self.credentials.access_key);
        (is_date_wrong || headers.authorization != expected).then_some(AuthRefusal::Signature)
    }
}

/// Parses `Fri, 31 May 2024 10:15:30 UTC` to milliseconds since the epoch.
fn parse_date(text: &str) -> Option<i64> {
    let form = "%a, %d %b %Y %H:%M:%S UTC";
    let time = NaiveDateTime::parse_from_str(text, form).ok()?;
    // chrono also reads other spellings, such as a day of one digit.
    (time.format(form).to_string() == text).then(|| time.and_utc().timestamp_millis())
}

/// Computes HMAC with SHA-1 (RFC 2104).
fn hmac_sha1(key: &[u8], message: &[u8]) -> Result<[u8; 20], InvalidLength> {
    let mut mac = Hmac::<Sha1>::new_from_slice(key)?;
    mac.update(message);
    Ok(mac.finalize().into_bytes().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vector of the documentation's format.
    #[test]
    fn a_known_signature_is_worked_out() {
        let text = "Fri, 31 May 2024 10:15:30 UTC:6f9619ff-8b86-d011-b42d-00cf4fc964ff:/api/audit/get-siem-logs:11111111-2222-3333-4444-555555555555";
        let signature = hmac_sha1(b"0123456789abcdef0123456789abcdef", text.as_bytes()).unwrap();
        assert_eq!(STANDARD.encode(signature), "DnQ2UqGYClBrhT8rLOc6QzyRHC8=");
    }

    #[test]
    fn only_the_documented_date_is_a_date() {
        let good = "Fri, 31 May 2024 10:15:30 UTC";
        assert_eq!(parse_date(good), Some(1_717_150_530_000));
        for bad in [
            "Thu, 31 May 2024 10:15:30 UTC",
            "Fri, 31 May 2024 10:15:30 GMT",
            "Fri, 31 May 2024 10:15:3 UTC",
            "fri, 31 may 2024 10:15:30 UTC",
            "2024-05-31T10:15:30Z",
            "",
        ] {
            assert_eq!(parse_date(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_request_id_is_accepted_once() {
        let mut auth = Auth::new(1);
        let headers = CallHeaders {
            app_id: auth.credentials.app_id.clone(),
            request_id: "6f9619ff-8b86-4011-b42d-00cf4fc964ff".to_owned(),
            ..CallHeaders::default()
        };
        assert_eq!(auth.check_call(&headers, None, (0, 0)), None);
        assert_eq!(
            auth.check_call(&headers, None, (0, 0)),
            Some(AuthRefusal::RequestId)
        );
    }
}
