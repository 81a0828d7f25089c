//! Classifies responses, by one table from status and code to kind.

use crate::decode::sanitize::sanitize;
use crate::decode::upstream_error::UpstreamError;
use crate::response::Head;
use crate::settings::Api;
use crate::stream::{Stream, UNDOCUMENTED_PERMISSION};

/// The meaning of an API response (`mimecast-api.md` §2, §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseKind {
    /// The access key has expired.
    AccessKeyExpired,
    /// The call succeeded.
    Success,
    /// The application is unknown; known to be transient.
    UnknownApplication,
    /// The credentials do not permit this.
    NotPermitted,
    /// The call as such was refused, for example for its page token.
    Refused,
    /// The signature does not match.
    SignatureRefused,
    /// The token was refused; a fresh one may be accepted.
    TokenRefused,
    /// There were too many calls.
    Throttled,
    /// The response is longer than the limit for one that is buffered.
    TooLong,
    /// The server failed.
    Unavailable,
    /// The account is in another region.
    WrongRegion,
}

/// Codes that decide, whatever the status (`mimecast-api.md` §2, §6.1). The first that is a part
/// of the response's code in lower case counts.
const CODES: [(&str, ResponseKind); 15] = [
    ("app_forbidden", ResponseKind::NotPermitted),
    ("binding_expired", ResponseKind::AccessKeyExpired),
    ("developer_key", ResponseKind::UnknownApplication),
    ("invalid_signature", ResponseKind::SignatureRefused),
    ("incorrect_region", ResponseKind::WrongRegion),
    ("siem_invalid_token", ResponseKind::Refused),
    ("client_unauthorized", ResponseKind::NotPermitted),
    ("operation_forbidden", ResponseKind::NotPermitted),
    ("endpoint_evaluation_failed", ResponseKind::NotPermitted),
    ("token_expired", ResponseKind::TokenRefused),
    ("token_verification_failed", ResponseKind::TokenRefused),
    ("invalid_access_token", ResponseKind::TokenRefused),
    ("invalidclientidentifier", ResponseKind::TokenRefused),
    ("unauthorized", ResponseKind::TokenRefused),
    ("internal_server_error", ResponseKind::Unavailable),
];

impl ResponseKind {
    /// Classifies a response. A 200 can be an error (`mimecast-api.md` §6.1).
    #[must_use]
    pub fn of(status: u16, error: Option<&UpstreamError>) -> Self {
        if let Some(error) = error {
            let code = error.code.to_ascii_lowercase();
            if let Some((_, kind)) = CODES.iter().find(|(part, _)| code.contains(part)) {
                return *kind;
            }
        }
        match (status, error) {
            (200, None) => Self::Success,
            (401, _) => Self::TokenRefused,
            (418, _) => Self::AccessKeyExpired,
            (403 | 404, _) => Self::NotPermitted,
            (429, _) => Self::Throttled,
            (408 | 500.., _) => Self::Unavailable,
            (_, _) => Self::Refused,
        }
    }
}

/// Returns what was called, the status, Mimecast's code and message, and its request id, in one clause.
#[must_use]
pub fn describe(what: &str, head: &Head, error: Option<&UpstreamError>) -> String {
    let mut text = format!("{what}: HTTP {}", head.status);
    if let Some(error) = error {
        for part in [&error.code, &error.message] {
            if !part.is_empty() {
                text.push(' ');
                text.push_str(part);
            }
        }
    }
    if let Some(id) = head.header("x-request-id") {
        text.push_str(", request id ");
        text.push_str(&sanitize(id));
    }
    text
}

/// Returns what to do about refused credentials, where the response shows which part of them is refused.
#[must_use]
pub fn credentials_advice(kind: ResponseKind) -> &'static str {
    match kind {
        ResponseKind::AccessKeyExpired => {
            "; the access key has expired: create new keys, for a user whose authentication profile lets them never expire"
        }
        ResponseKind::UnknownApplication => {
            "; check app_id: Mimecast does not know the application"
        }
        ResponseKind::SignatureRefused => {
            "; check app_key, access_key and secret_key: Mimecast does not say which of the three is wrong, and new ones work after about 30 minutes"
        }
        ResponseKind::WrongRegion => {
            "; the account is in another region: remove base_url and set email, or set base_url to the host of the region"
        }
        ResponseKind::Success
        | ResponseKind::NotPermitted
        | ResponseKind::Refused
        | ResponseKind::Throttled
        | ResponseKind::TokenRefused
        | ResponseKind::TooLong
        | ResponseKind::Unavailable => "",
    }
}

/// Returns which permission to grant so that a stream can be read, as a clause for people.
#[must_use]
pub fn permission_advice(stream: Stream, api: Api) -> String {
    let info = stream.info();
    if api == Api::V1 {
        return format!(
            "grant the permission \"{}\" to the role of the user whose keys these are",
            info.permission
        );
    }
    let product = format!("select the product \"{}\"", info.product);
    if info.permission == UNDOCUMENTED_PERMISSION {
        return product;
    }
    format!(
        "grant the role permission \"{}\" and {product}",
        info.permission
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::upstream_error;

    fn kind_of(status: u16, body: &str) -> ResponseKind {
        ResponseKind::of(status, upstream_error::read(body.as_bytes()).as_ref())
    }

    #[test]
    fn status_and_code_decide_together() {
        let fail = |code: &str| format!(r#"{{"fail":[{{"code":"{code}"}}]}}"#);
        assert_eq!(kind_of(200, "{}"), ResponseKind::Success);
        assert_eq!(
            kind_of(200, &fail("app_forbidden")),
            ResponseKind::NotPermitted
        );
        assert_eq!(
            kind_of(200, &fail("err_validation_null")),
            ResponseKind::Refused
        );
        assert_eq!(
            kind_of(403, &fail("app_forbidden")),
            ResponseKind::NotPermitted
        );
        assert_eq!(
            kind_of(404, &fail("endpoint_evaluation_failed_1")),
            ResponseKind::NotPermitted
        );
        assert_eq!(kind_of(401, "<html>"), ResponseKind::TokenRefused);
        assert_eq!(
            kind_of(200, &fail("token_expired")),
            ResponseKind::TokenRefused
        );
        assert_eq!(
            kind_of(401, &fail("Unauthorized Request")),
            ResponseKind::TokenRefused
        );
        assert_eq!(kind_of(400, &fail("err_x")), ResponseKind::Refused);
        assert_eq!(
            kind_of(429, r#"{"detail":"Over throttling limit"}"#),
            ResponseKind::Throttled
        );
        assert_eq!(kind_of(502, "<html>"), ResponseKind::Unavailable);
        assert_eq!(
            kind_of(500, &fail("internal_server_error_1")),
            ResponseKind::Unavailable
        );
        assert_eq!(kind_of(302, ""), ResponseKind::Refused);
    }

    #[test]
    fn a_description_names_status_code_and_request_id() {
        let headers = vec![("x-request-id".to_owned(), "r-1".to_owned())];
        let head = Head {
            status: 403,
            headers,
        };
        let error = UpstreamError {
            code: "app_forbidden".into(),
            message: "Forbidden".into(),
        };
        assert_eq!(
            describe("audit", &head, Some(&error)),
            "audit: HTTP 403 app_forbidden Forbidden, request id r-1"
        );
    }
}
