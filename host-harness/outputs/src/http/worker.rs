//! Sends one request and interprets the response.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::header::{
    CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue, PROXY_AUTHORIZATION, USER_AGENT,
};
use hyper::{HeaderMap, Method, Request, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use source_common::exit::Failure;
use source_common::peer_certificate::actionable_cause;
use source_common::proxy::{Dial, DialResult, Proxy, ProxyConnector, ProxyError};
use source_common::secret::Secret;
use tokio::time::timeout;
use tower_service::Service as _;

use super::response::ReceiverResponse;
use super::settings::{RequestSettings, sensitive_header_value};
use crate::worker_pool::{SendError, Worker, WorkerPool};
use crate::{Event, Output, OutputConfig, OutputError, UndeliverableEvent};

/// TCP connect timeout.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Shorter than the idle timeouts of common receivers.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(45);
/// Maximum size of a response: enough for a thousand events, with a reason for each of them.
const RESPONSE_MIB_MAX: usize = 16;

type HttpClient = Client<Connector, Full<Bytes>>;
type Connector = HttpsConnector<ProxyConnector<TcpDial>>;

/// Connects over TCP to receivers and to proxies.
#[derive(Clone, Debug)]
struct TcpDial(HttpConnector);

impl TcpDial {
    async fn connect(&self, uri: Uri) -> DialResult<()> {
        Ok((self.0.clone().call(uri).await?.into_inner(), ()))
    }
}

impl Dial for TcpDial {
    type Guard = ();

    async fn connect_to_origin(&self, uri: &Uri) -> DialResult<()> {
        self.connect(uri.clone()).await
    }

    async fn connect_to_proxy(&self, proxy: &Proxy) -> DialResult<()> {
        let connected = self.connect(proxy.to_string().parse()?).await;
        connected
            .map_err(|error| ProxyError::Unreachable(proxy.clone(), error_chain(&*error)).into())
    }
}

/// The format of the requests to a type of receiver, and the meaning of its responses.
pub(crate) trait ReceiverProtocol: Clone + fmt::Debug + Send + Sync + 'static {
    /// Data of a request that is needed to interpret its response.
    type RequestContext: Send;

    /// The value of `Content-Type`.
    fn content_type(&self) -> &str;

    /// Appends the body for these events.
    fn encode(&self, source: &str, part: &[Event<'_>], body: &mut Vec<u8>) -> Self::RequestContext;

    /// Checks whether a response with a success status accepts every event.
    /// An undocumented body accepts none.
    fn check_success(
        &self,
        context: &Self::RequestContext,
        response: &ReceiverResponse<'_>,
    ) -> Result<(), SendError>;

    /// Returns the error for another status, if this receiver has its own rule.
    fn classify_error(&self, response: &ReceiverResponse<'_>) -> Option<SendError> {
        let _ = response;
        None
    }
}

/// The configuration of an HTTP output.
#[derive(Clone, Debug)]
pub(crate) struct HttpOutputConfig<P> {
    request: RequestSettings,
    protocol: P,
}

impl<P: ReceiverProtocol> HttpOutputConfig<P> {
    pub(crate) fn new(request: RequestSettings, protocol: P) -> Self {
        Self { request, protocol }
    }
}

#[async_trait]
impl<P: ReceiverProtocol> OutputConfig for HttpOutputConfig<P> {
    async fn open(&self) -> Result<Box<dyn Output>, Failure> {
        let settings = &self.request;
        let connector = self
            .connector()
            .map_err(|reason| Failure::failed(format!("{}: {reason}", settings.name)))?;
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE_TIMEOUT)
            .build(connector);
        let worker = || HttpWorker {
            client: client.clone(),
            config: self.clone(),
        };
        let workers = (0..settings.connections).map(|_| worker()).collect();
        let output = WorkerPool::new(
            settings.name.clone(),
            workers,
            settings.part_settings.clone(),
        );
        Ok(Box::new(output))
    }

    /// Connects without sending a request, because the effect of an empty request is
    /// unknown.
    async fn test(&self) -> Result<String, OutputError> {
        let name = &self.request.name;
        let failed =
            |reason: &dyn fmt::Display| OutputError::Retry(format!("{name}: {reason}").into());
        let event = Event {
            body: "",
            occurred_at: 0,
            kind: "",
            stream: "",
            namespace: "test",
        };
        let endpoint = self.request.endpoint.render(&event, "");
        let uri: Uri = endpoint.parse().map_err(|error| failed(&error))?;
        let mut connector = self.connector().map_err(|reason| failed(&reason))?;
        match timeout(CONNECT_TIMEOUT, connector.call(uri)).await {
            Ok(Ok(_)) => Ok(name.clone()),
            Ok(Err(error)) => Err(failed(&error_chain(&*error))),
            Err(_) => Err(failed(&"no connection in time")),
        }
    }

    fn check_files(&self) -> Result<(), String> {
        self.request.tls.config().map(drop)
    }
}

impl<P> HttpOutputConfig<P> {
    fn connector(&self) -> Result<Connector, String> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        Ok(HttpsConnectorBuilder::new()
            .with_tls_config(self.request.tls.config()?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(ProxyConnector::new(
                TcpDial(tcp),
                Arc::clone(&self.request.proxies),
            )))
    }
}

struct HttpWorker<P> {
    client: HttpClient,
    config: HttpOutputConfig<P>,
}

#[async_trait]
impl<P: ReceiverProtocol> Worker for HttpWorker<P> {
    async fn send(&mut self, source: &str, part: &[Event<'_>]) -> Result<(), SendError> {
        let settings = &self.config.request;
        let secret_headers = settings.secret_headers();
        let (request, context) = self.request(source, part, &secret_headers)?;
        let (status, headers, body) =
            match timeout(settings.timeout, self.send_request(request)).await {
                Ok(response) => response?,
                Err(_) => {
                    let seconds = settings.timeout.as_secs();
                    let reason = format!("{} has not answered in {seconds} s", settings.name);
                    return Err(SendError::Retry(reason.into()));
                }
            };
        let body = match body {
            Some(body) => body,
            None if status.is_success() => {
                return Err(self
                    .too_long_response_error(part)
                    .with_status(status.as_u16()));
            }
            // Any other status is sufficient without a body.
            None => Bytes::new(),
        };
        let response = ReceiverResponse {
            name: &settings.name,
            status,
            headers: &headers,
            body: &body,
            redactor: &settings.redactor(&secret_headers),
            received_at: SystemTime::now(),
        };
        if status.is_success() {
            let checked = self.config.protocol.check_success(&context, &response);
            return checked.map_err(|error| error.with_status(status.as_u16()));
        }
        let refused = self.config.protocol.classify_error(&response);
        let error = refused.unwrap_or_else(|| response.status_error());
        Err(error.with_status(status.as_u16()))
    }
}

impl<P: ReceiverProtocol> HttpWorker<P> {
    fn request(
        &self,
        source: &str,
        part: &[Event<'_>],
        secret_headers: &[(HeaderName, Secret)],
    ) -> Result<(Request<Full<Bytes>>, P::RequestContext), SendError> {
        let settings = &self.config.request;
        let blocked = |error: &dyn fmt::Display| {
            SendError::ActionRequired(format!("{}: {error}", settings.name).into())
        };
        let Some(first) = part.first() else {
            return Err(blocked(&"a request without events"));
        };
        // All events of a part have the same endpoint, so an invalid URI rejects all of them.
        let uri: Uri = settings
            .endpoint
            .render(first, source)
            .parse()
            .map_err(|error| {
                let reason = format!(
                    "{}: its kind or stream makes the URL invalid: {error}",
                    settings.name
                );
                unsent_events_error(part.len(), &reason)
            })?;
        let bytes: usize = part.iter().map(|event| event.body.len() + 1).sum();
        let mut body = Vec::with_capacity(bytes.saturating_add(16));
        let context = self.config.protocol.encode(source, part, &mut body);
        let body = settings
            .encoding
            .encode(body)
            .map_err(|error| blocked(&error))?;
        let content_type = HeaderValue::from_str(self.config.protocol.content_type())
            .map_err(|error| blocked(&error))?;
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(uri)
            .header(CONTENT_TYPE, content_type)
            .header(
                USER_AGENT,
                concat!("source-host/", env!("CARGO_PKG_VERSION")),
            );
        if let Some(encoding) = settings.encoding.header() {
            request = request.header(CONTENT_ENCODING, encoding);
        }
        for (name, value) in secret_headers {
            let value = sensitive_header_value(value).map_err(|_| {
                blocked(&format_args!(
                    "the secret for `{name}` that is now in its file has characters that no header \
                     may have"
                ))
            })?;
            request = request.header(name, value);
        }
        let request = request
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| blocked(&error))?;
        Ok((request, context))
    }

    /// Returns the error for a response to these events that is too long. The response to half of
    /// them is shorter. A single event is not the cause of it, and is retried.
    fn too_long_response_error(&self, part: &[Event<'_>]) -> SendError {
        let name = &self.config.request.name;
        let reason = format!(
            "{name}: the response is larger than {RESPONSE_MIB_MAX} MiB; check the endpoint"
        );
        if part.len() > 1 {
            return SendError::PartRejected {
                reason,
                suspect: None,
            };
        }
        SendError::Retry(reason.into())
    }

    /// Sends a request. Returns status, headers and body of the response; no body where that is too
    /// long.
    async fn send_request(
        &self,
        mut request: Request<Full<Bytes>>,
    ) -> Result<(StatusCode, HeaderMap, Option<Bytes>), SendError> {
        let settings = &self.config.request;
        let name = &settings.name;
        // A proxy sees the requests themselves only without TLS.
        let is_plain = request.uri().scheme_str() == Some("http");
        let proxy = settings.proxies.proxy_for_uri(request.uri());
        let proxy = proxy.filter(|_| is_plain).cloned();
        if let Some(authorization) = proxy.as_ref().and_then(Proxy::authorization) {
            let headers = request.headers_mut();
            headers.insert(PROXY_AUTHORIZATION, authorization.clone());
        }
        let response =
            self.client.request(request).await.map_err(|error| {
                SendError::Retry(format!("{name}: {}", error_chain(&error)).into())
            })?;
        if response.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED
            && let Some(refusal) = proxy
                .as_ref()
                .and_then(|proxy| proxy.refusal(name, response.status(), response.headers()))
        {
            return Err(SendError::ActionRequired(
                format!("{name}: {refusal}").into(),
            ));
        }
        let (head, body) = response.into_parts();
        let limited = Limited::new(body, RESPONSE_MIB_MAX * 1024 * 1024);
        let body = match limited.collect().await {
            Ok(body) => Some(body.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => None,
            Err(error) => {
                let reason = format!("{name}: {}", error_chain(&*error));
                return Err(SendError::Retry(reason.into()));
            }
        };
        Ok((head.status, head.headers, body))
    }
}

/// Returns the error for a part of `count` events that cannot be sent.
fn unsent_events_error(count: usize, reason: &str) -> SendError {
    let undeliverable = |index| UndeliverableEvent {
        index,
        reason: reason.to_owned(),
    };
    SendError::EventErrors {
        undeliverable_events: (0..count).map(undeliverable).collect(),
        unsent_count: count,
        retry_events: Vec::new(),
        cause: None,
    }
}

/// Formats an error and its causes, each once; only the cause that says what to do, where there is one.
fn error_chain(error: &(dyn Error + 'static)) -> String {
    if let Some(problem) = actionable_cause(error) {
        return problem;
    }
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        if !text.contains(&message) {
            text = format!("{text}: {message}");
        }
        cause = error.source();
    }
    text
}
