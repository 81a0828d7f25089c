//! An HTTP receiver that understands every body format of this host, distinguished by
//! the path: an array or NDJSON, `_bulk`, the event collector, OTLP.

use std::io::{self, Read};
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::AnyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use prost::Message as _;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

use crate::receiver::{ReceiverState, Treatment, listen_again};

pub(crate) struct HttpReceiver {
    pub(crate) state: ReceiverState,
    pub(crate) address: SocketAddr,
    server: HttpServer,
}

impl HttpReceiver {
    pub(crate) async fn start() -> Self {
        Self::with(ReceiverState::new()).await
    }

    pub(crate) async fn with(state: ReceiverState) -> Self {
        let answering = state.clone();
        let server =
            HttpServer::start(move |request| respond(request, answering.clone()).boxed()).await;
        Self {
            address: server.address,
            server,
            state,
        }
    }

    pub(crate) async fn kill(&mut self) {
        self.server.kill().await;
    }

    pub(crate) async fn restart(&mut self) {
        self.server.restart().await;
    }

    pub(crate) fn settings(&self, kind: &str, more: &str) -> String {
        format!(
            "type = \"{kind}\"\nendpoint = \"http://{}\"\n{more}",
            self.address
        )
    }
}

/// A server that can be killed and restarted at its address.
pub(crate) struct HttpServer {
    pub(crate) address: SocketAddr,
    handler: Arc<Handler>,
    task: JoinHandle<()>,
}

type Handler = dyn Fn(Request<Incoming>) -> BoxFuture<'static, HttpResult> + Send + Sync;

/// An error resets the connection.
pub(crate) type HttpResult = io::Result<Response<ResponseBody>>;

/// The body of a response. An error resets the connection within it.
pub(crate) type ResponseBody = UnsyncBoxBody<Bytes, io::Error>;

impl HttpServer {
    pub(crate) async fn start(
        handler: impl Fn(Request<Incoming>) -> BoxFuture<'static, HttpResult> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let handler: Arc<Handler> = Arc::new(handler);
        Self {
            address: listener.local_addr().unwrap(),
            task: tokio::spawn(serve(listener, Arc::clone(&handler))),
            handler,
        }
    }

    pub(crate) async fn kill(&mut self) {
        self.task.abort();
        // Its sockets are closed when it is gone.
        drop((&mut self.task).await);
    }

    pub(crate) async fn restart(&mut self) {
        let listener = listen_again(self.address).await;
        self.task = tokio::spawn(serve(listener, Arc::clone(&self.handler)));
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, handler: Arc<Handler>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let handler = Arc::clone(&handler);
        connections.spawn(async move {
            let service = service_fn(|request| handler(request));
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service);
            // A reset is how some of these connections are meant to end.
            drop(connection.await);
        });
    }
}

async fn respond(request: Request<Incoming>, state: ReceiverState) -> HttpResult {
    let path = request.uri().path().to_owned();
    let header = |name| {
        let value = request.headers().get(name)?;
        Some(value.to_str().unwrap().to_owned())
    };
    let content_type = header(CONTENT_TYPE).unwrap();
    let encoding = header(CONTENT_ENCODING);
    let _in_flight = state.begin_request(format!(
        "{path} {content_type} {}",
        header(AUTHORIZATION).unwrap_or_default()
    ));
    let reset = || Err(io::Error::other("reset"));
    let mut body = request.into_body();
    if state.take_mid_request_reset() {
        body.frame().await;
        return reset();
    }
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let body = decompress(encoding.as_deref(), &body);
    state.wait_until_released().await;
    let treatment = state.next_treatment();
    let is_cut = matches!(treatment, Treatment::RespondHalf);
    match treatment {
        Treatment::Accept | Treatment::RespondHalf => {}
        Treatment::Late(wait) => tokio::time::sleep(wait).await,
        Treatment::Refuse => return Ok(text_response(500, "no")),
        Treatment::ResetMidRequest | Treatment::Reset => return reset(),
        Treatment::AcceptAndReset => {
            state.record_accepted(events(&path, &content_type, &body));
            return reset();
        }
        Treatment::Respond(status, headers, text) => {
            let mut response = text_response(status, text);
            for (name, value) in headers {
                response.headers_mut().insert(name, value.parse().unwrap());
            }
            return Ok(response);
        }
    }
    let events = events(&path, &content_type, &body);
    // As Vector: one event that it cannot use, and it takes none of them.
    if events.iter().any(|event| event.get("poison").is_some()) {
        return Ok(text_response(400, "cannot decode"));
    }
    let created = created(&events);
    state.record_accepted(events);
    let (status, text) = match path.as_str() {
        "/_bulk" => (200, Bytes::from(created)),
        "/services/collector/event" => (200, "{\"text\":\"Success\",\"code\":0}".into()),
        // As Fluent Bit: 201, and nothing in it.
        "/v1/logs" => (201, Bytes::new()),
        _ => (200, Bytes::new()),
    };
    Ok(if is_cut {
        half_response(status, &text)
    } else {
        text_response(status, text)
    })
}

/// The response of `_bulk` that every event was created.
fn created(events: &[Value]) -> String {
    let items: Vec<Value> = events
        .iter()
        .map(|event| json!({ "create": { "_id": event["event"]["id"], "status": 201 } }))
        .collect();
    json!({ "took": 1, "errors": false, "items": items }).to_string()
}

pub(crate) fn text_response(status: u16, text: impl Into<Bytes>) -> Response<ResponseBody> {
    let body = Full::new(text.into());
    response(status, body.map_err(|never| match never {}).boxed_unsync())
}

/// Returns a response whose connection is reset after its head and half of its body. Where it has no
/// body, its head announces one.
pub(crate) fn half_response(status: u16, text: &Bytes) -> Response<ResponseBody> {
    let half = text.slice(..text.len() / 2);
    let reset = async {
        // Has what precedes it sent first.
        tokio::task::yield_now().await;
        Err(io::Error::other("reset"))
    };
    let frames = stream::iter([Ok(Frame::data(half))]).chain(stream::once(reset));
    let mut response = response(status, StreamBody::new(frames).boxed_unsync());
    let length = text.len().max(1).into();
    response.headers_mut().insert(CONTENT_LENGTH, length);
    response
}

fn response(status: u16, body: ResponseBody) -> Response<ResponseBody> {
    let mut response = Response::new(body);
    *response.status_mut() = status.try_into().unwrap();
    response
}

fn decompress(encoding: Option<&str>, body: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    match encoding {
        None => plain.extend_from_slice(body),
        Some("gzip") => {
            let mut reader = flate2::read::GzDecoder::new(body);
            reader.read_to_end(&mut plain).unwrap();
        }
        Some("zstd") => plain = zstd::stream::decode_all(body).unwrap(),
        Some(other) => panic!("{other}"),
    }
    plain
}

fn events(path: &str, content_type: &str, body: &[u8]) -> Vec<Value> {
    if path == "/v1/logs" {
        assert_eq!(content_type, "application/x-protobuf");
        let request = ExportLogsServiceRequest::decode(body).unwrap();
        let scopes = request
            .resource_logs
            .into_iter()
            .flat_map(|logs| logs.scope_logs);
        let records = scopes.flat_map(|scope| scope.log_records);
        return records.map(|record| plain(record.body.unwrap())).collect();
    }
    let text = std::str::from_utf8(body).unwrap();
    assert!(text.ends_with('\n'), "a body ends with a whole line");
    if content_type == "application/json" && text.starts_with('[') {
        assert_eq!(text.matches('\n').count(), 1, "an array is one line");
        return serde_json::from_str(text).unwrap();
    }
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    match path {
        "/_bulk" => lines
            .chunks(2)
            .map(|pair| {
                assert_eq!(pair[0]["create"]["_id"], pair[1]["event"]["id"]);
                pair[1].clone()
            })
            .collect(),
        "/services/collector/event" => lines.iter().map(|line| line["event"].clone()).collect(),
        _ => lines,
    }
}

fn plain(value: AnyValue) -> Value {
    match value.value {
        Some(Any::KvlistValue(list)) => list
            .values
            .into_iter()
            .map(|pair| (pair.key, plain(pair.value.unwrap())))
            .collect(),
        Some(Any::StringValue(text)) => text.into(),
        Some(Any::IntValue(number)) => number.into(),
        other => panic!("{other:?}"),
    }
}
