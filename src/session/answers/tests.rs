//! What becomes of each answer.

use super::*;

fn verdict(status: u16, body: &str) -> Verdict {
    Verdict::of(status, fail::read(body.as_bytes()).as_ref())
}

#[test]
fn status_and_code_decide_together() {
    let fail = |code: &str| format!(r#"{{"fail":[{{"code":"{code}"}}]}}"#);
    assert_eq!(verdict(200, "{}"), Verdict::Good);
    assert_eq!(verdict(200, &fail("app_forbidden")), Verdict::NotPermitted);
    assert_eq!(verdict(200, &fail("err_validation_null")), Verdict::Refused);
    assert_eq!(verdict(403, &fail("app_forbidden")), Verdict::NotPermitted);
    assert_eq!(
        verdict(404, &fail("endpoint_evaluation_failed_1")),
        Verdict::NotPermitted
    );
    assert_eq!(verdict(401, "<html>"), Verdict::TokenRefused);
    assert_eq!(verdict(200, &fail("token_expired")), Verdict::TokenRefused);
    assert_eq!(
        verdict(401, &fail("Unauthorized Request")),
        Verdict::TokenRefused
    );
    assert_eq!(verdict(400, &fail("err_x")), Verdict::Refused);
    assert_eq!(
        verdict(429, r#"{"detail":"Over throttling limit"}"#),
        Verdict::Throttled
    );
    assert_eq!(verdict(502, "<html>"), Verdict::Unavailable);
    assert_eq!(
        verdict(500, &fail("internal_server_error_1")),
        Verdict::Unavailable
    );
    assert_eq!(verdict(302, ""), Verdict::Refused);
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
