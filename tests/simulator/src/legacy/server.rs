//! From a connection to a response.

use std::convert::Infallible;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::auth::{AuthRefusal, CallHeaders};
use super::files::{LogFile, archive};
use super::{LegacyState, lock};
use crate::time::{UtcTime, parse_date_time};

const DISCOVERY: &str = "/api/login/discover-authentication";
const SIEM: &str = "/api/audit/get-siem-logs";
const AUDIT: &str = "/api/audit/get-audit-events";

/// No request of the API comes near this.
const BODY_BYTES_MAX: usize = 1 << 20;

/// What is answered: status, headers and body.
type RawResponse = (u16, Vec<(&'static str, String)>, Vec<u8>);

/// Serves until the sender is dropped.
pub(super) async fn run(
    state: &Arc<Mutex<LegacyState>>,
    listener: TcpListener,
    stopped: oneshot::Receiver<()>,
) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else {
        return;
    };
    tokio::select! {
        never = accept(state, &listener) => match never {},
        // The sender is never used, only dropped.
        _ = stopped => {}
    }
}

async fn accept(state: &Arc<Mutex<LegacyState>>, listener: &tokio::net::TcpListener) -> Infallible {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::task::yield_now().await;
            continue;
        };
        // Small responses must not wait for each other; where this fails they do.
        let _ = stream.set_nodelay(true);
        let state = Arc::clone(state);
        tokio::spawn(async move {
            let service = service_fn(|request| respond(&state, request));
            // A connection that the other side drops is no error.
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn respond(
    state: &Mutex<LegacyState>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = Limited::new(body, BODY_BYTES_MAX).collect().await;
    let body = body.map(|body| body.to_bytes()).unwrap_or_default();
    let header = |name: &str| {
        let value = parts.headers.get(name).map(HeaderValue::as_bytes);
        String::from_utf8_lossy(value.unwrap_or_default()).into_owned()
    };
    let call_headers = CallHeaders {
        app_id: header("x-mc-app-id"),
        date: header("x-mc-date"),
        request_id: header("x-mc-req-id"),
        authorization: header("authorization"),
    };
    let path = parts.uri.path();
    let delay_ms = lock(state).config.delay_ms;
    tokio::time::sleep(Duration::from_millis(delay_ms)).await;
    let mut state = lock(state);
    let (status, headers, body) = state.respond(path, &call_headers, &body);
    let counted = (path.to_owned(), status);
    *state.requests.responses.entry(counted).or_default() += 1;
    let date = UtcTime::new(state.clock.now_ms()).http();
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = hyper::StatusCode::from_u16(status).unwrap_or_default();
    let own = [("date", date), ("x-request-id", state.next_request_id())];
    for (name, value) in headers.into_iter().chain(own) {
        if let Ok(value) = HeaderValue::try_from(value) {
            response
                .headers_mut()
                .insert(HeaderName::from_static(name), value);
        }
    }
    Ok(response)
}

impl LegacyState {
    fn respond(&mut self, path: &str, call_headers: &CallHeaders, body: &[u8]) -> RawResponse {
        let fault = self
            .faults
            .iter()
            .position(|(end, ..)| path.ends_with(end.as_str()));
        if let Some((_, status, code)) = fault.and_then(|at| self.faults.remove(at)) {
            return error_response(status, &code, "scripted");
        }
        let signed = Some(path).filter(|path| *path != DISCOVERY);
        let times = (self.clock.now_ms(), self.config.signature_date_tolerance_ms);
        match self.auth.check_call(call_headers, signed, times) {
            Some(AuthRefusal::App) => {
                let message = format!("App ID is invalid: {}", call_headers.app_id);
                return error_response(200, "err_developer_key", &message);
            }
            Some(refusal) => {
                self.requests.refused_request_ids += u64::from(refusal == AuthRefusal::RequestId);
                self.requests.refused_authorizations += 1;
                return error_response(401, "err_xdk_invalid_signature", "0004 Invalid Signature");
            }
            None => {}
        }
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        match path {
            DISCOVERY => self.discovery(&body),
            SIEM => self.logs(&body),
            AUDIT => self.audit(&body),
            _ => error_response(404, "err_no_such_endpoint", "Endpoint does not exist"),
        }
    }

    fn discovery(&self, body: &Value) -> RawResponse {
        let is_known = text(body, "/data/0/emailAddress") == Some(&self.auth.credentials.email);
        // An unknown address has no region.
        let region = is_known.then(|| json!({"code": "local", "api": self.url}));
        let account = json!({"authenticate": ["Basic-Cloud"], "region": region});
        json_response(&json!({"meta": {"status": 200}, "data": [account], "fail": []}))
    }

    fn logs(&self, body: &Value) -> RawResponse {
        if text(body, "/data/0/type") != Some("MTA") {
            return error_response(400, "err_validation_null", "type");
        }
        let from = match text(body, "/data/0/token") {
            None => Some(0),
            Some(token) => token.split_once('.').and_then(|(token_generation, from)| {
                (token_generation == self.token_generation.to_string())
                    .then(|| from.parse::<usize>().ok())?
            }),
        };
        let Some(from) = from else {
            return error_response(400, "err_audit_siem_invalid_token", "The token is invalid");
        };
        let left = self.files.get(from..).unwrap_or_default();
        let Some(first) = left.first() else {
            return json_response(
                &json!({"meta": {"isLastToken": true, "status": 200}, "data": [], "fail": []}),
            );
        };
        let as_key_value = text(body, "/data/0/fileFormat") != Some("json");
        let compress = body.pointer("/data/0/compress") == Some(&Value::Bool(true));
        let count = if compress {
            self.config.archive_files
        } else {
            1
        };
        let files: Vec<&LogFile> = left.iter().take(count).collect();
        let (name, content) = if compress {
            let pair = |file: &&LogFile| (file.name(as_key_value), file.content(as_key_value));
            let files: Vec<_> = files.iter().map(pair).collect();
            (format!("a7bebfbb-{from:08}.zip"), archive(&files))
        } else {
            (first.name(as_key_value), first.content(as_key_value))
        };
        let headers = vec![
            ("content-type", "application/octet-stream".to_owned()),
            (
                "content-disposition",
                format!("attachment; filename=\"{name}\""),
            ),
            (
                "mc-siem-token",
                format!("{}.{}", self.token_generation, from + files.len()),
            ),
        ];
        (200, headers, content)
    }

    /// Answers with audit events, newest first, page by page.
    fn audit(&self, body: &Value) -> RawResponse {
        let time = |value: &Value, at: &str| text(value, at).and_then(parse_date_time);
        let (Some(from), Some(to)) = (
            time(body, "/data/0/startDateTime"),
            time(body, "/data/0/endDateTime"),
        ) else {
            return error_response(400, "err_validation_null", "startDateTime");
        };
        let size = body
            .pointer("/meta/pagination/pageSize")
            .and_then(Value::as_u64);
        let size = size.unwrap_or(10).min(50);
        let size = usize::try_from(size).unwrap_or(10);
        let offset = text(body, "/meta/pagination/pageToken").and_then(|token| token.parse().ok());
        let offset: usize = offset.unwrap_or(0);
        let inside = self
            .audit
            .iter()
            .filter(|event| time(event, "/eventTime").is_some_and(|at| (from..=to).contains(&at)));
        let page: Vec<&Value> = inside.skip(offset).take(size).collect();
        let next = if page.is_empty() {
            "String".to_owned()
        } else {
            (offset + size).to_string()
        };
        json_response(&json!({
            "meta": {"status": 200, "pagination": {"pageSize": page.len(), "next": next}},
            "data": page,
            "fail": [],
        }))
    }
}

fn text<'a>(value: &'a Value, at: &str) -> Option<&'a str> {
    value.pointer(at)?.as_str()
}

fn json_response(body: &Value) -> RawResponse {
    let media_type = "application/json;charset=utf-8".to_owned();
    (
        200,
        vec![("content-type", media_type)],
        body.to_string().into_bytes(),
    )
}

fn error_response(status: u16, code: &str, message: &str) -> RawResponse {
    let error = json!({"code": code, "message": message, "retryable": false});
    let body = json!({
        "meta": {"status": status},
        "data": [],
        "fail": [{"errors": [error]}],
    });
    let (_, headers, body) = json_response(&body);
    (status, headers, body)
}
