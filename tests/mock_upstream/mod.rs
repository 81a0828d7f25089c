//! What the upstreams of tests and benchmarks with many tenants have in common: HTTP, the access token,
//! and the audit log. A tenant's access token is its client id unless an upstream decides otherwise.

use std::convert::Infallible;
use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use source_common::timestamp::time_text;
use tokio::net::TcpListener;

/// A whole hour that is past, as the audit log writes it. It is the same during the whole run: an event
/// whose time changes between two polls would be another event.
static EVENT_TIME: LazyLock<String> = LazyLock::new(|| {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let text = time_text((since.as_secs() / 3600 * 3600 - 3600) * 1_000);
    text.replace('Z', "+0000")
});

/// Answers the requests of all connections. The future of a response is dropped with its connection.
pub(crate) async fn serve<Respond, ResponseFuture>(listener: TcpListener, respond: Respond)
where
    Respond: Fn(Request<Bytes>) -> ResponseFuture + Clone + Send + Sync + 'static,
    ResponseFuture: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let respond = respond.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let respond = &respond;
                async move {
                    let (head, body) = Request::into_parts(request);
                    let body = hyper::body::Incoming::collect(body).await;
                    let body = body.map(|body| body.to_bytes()).unwrap_or_default();
                    Ok::<_, Infallible>(respond(Request::from_parts(head, body)).await)
                }
            });
            let served = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            // The host may close a connection at any time.
            drop(served.await);
        });
    }
}

/// Returns the access token of a request; `None` for one that asks for a token.
pub(crate) fn bearer(request: &Request<Bytes>) -> Option<String> {
    let value = request.headers().get("authorization")?.to_str().ok()?;
    Some(value.trim_start_matches("Bearer ").to_owned())
}

/// Returns the client id in the form of a request for a token.
pub(crate) fn client_id(form: &[u8]) -> String {
    let mut fields = form_urlencoded::parse(form);
    let id = fields.find(|(name, _)| name == "client_id");
    id.map(|(_, id)| id.into_owned()).unwrap_or_default()
}

/// Returns the response to a request for a token.
pub(crate) fn token_response(token: &str) -> Response<Full<Bytes>> {
    let body = json!({ "access_token": token, "token_type": "Bearer", "expires_in": 1799 });
    json_response(StatusCode::OK, &body)
}

/// Returns a response with a JSON body and the present time.
pub(crate) fn json_response(status: StatusCode, body: &Value) -> Response<Full<Bytes>> {
    Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .header("date", httpdate::fmt_http_date(SystemTime::now()))
        .body(Full::new(Bytes::from(body.to_string())))
        .unwrap()
}

/// Returns whether the requested window contains `EVENT_TIME`, the time of every event.
pub(crate) fn window_contains_events(request_body: &Value) -> bool {
    let bound = |name: &str| request_body["data"][0][name].as_str().unwrap_or_default();
    (bound("startDateTime")..bound("endDateTime")).contains(&EVENT_TIME.as_str())
}

/// Returns the number that a page token stands for; zero for the first page.
pub(crate) fn parse_page_token(request_body: &Value) -> usize {
    let token = request_body["meta"]["pagination"]["pageToken"].as_str();
    token.map_or(0, |token| token.parse().unwrap())
}

/// Returns an audit event.
pub(crate) fn audit_event(id: &str, number: usize) -> Value {
    json!({
        "id": id,
        "auditType": "User Logged On",
        "user": format!("user{number}@example.com"),
        "eventTime": EVENT_TIME.as_str(),
        "eventInfo": "Successful authentication for user, Date: 2026-11-28, IP: 192.0.2.7, Application: Administration Console",
        "category": "authentication_logs",
    })
}

/// Returns the page of the audit log that is asked for, of a tenant with `total` events.
pub(crate) fn audit_page(
    tenant: &str,
    total: usize,
    page_size: usize,
    request_body: &Value,
) -> Value {
    let first = parse_page_token(request_body);
    let window_contains_events = window_contains_events(request_body);
    let count = if window_contains_events {
        page_size.min(total.saturating_sub(first))
    } else {
        0
    };
    let events: Vec<Value> = (first..first + count)
        .map(|number| audit_event(&format!("{tenant}-{number}"), number))
        .collect();
    let mut pagination = json!({ "pageSize": page_size });
    if window_contains_events && first + count < total {
        pagination["next"] = Value::from((first + count).to_string());
    }
    json!({ "meta": { "status": 200, "pagination": pagination }, "data": events })
}
