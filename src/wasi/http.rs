//! Sends one request at a time through `wasi:http/outgoing-handler` and reads its body in chunks.

use super::bindings::wasi::clocks::monotonic_clock;
use super::bindings::wasi::http::outgoing_handler;
use super::bindings::wasi::http::types::{
    ErrorCode, Fields, FutureIncomingResponse, IncomingBody, IncomingResponse,
    Method as WasiMethod, OutgoingBody, OutgoingRequest, Scheme, http_error_code,
};
use super::bindings::wasi::io::poll::{Pollable, poll};
use super::bindings::wasi::io::streams::{InputStream, StreamError};
use crate::decode::sanitize::{sanitize, sanitize_within};
use crate::request::{Method, Request, origin};
use crate::response::{Head, TransportError};

/// The most bytes of one read: several network frames, and little compared to the memory limit.
const CHUNK_BYTES: u64 = 256 * 1024;

/// How long to wait for more of a response before the machine is called again: it may give up on the
/// response, or end the poll before the host's time limit does.
const WAIT_NS: u64 = 1_000_000_000;

/// The most bytes that `wasi:io` takes in one write.
const WRITE_BYTES: usize = 4096;

/// The most characters of a host's explanation: enough for the names in a certificate.
const EXPLANATION_CHARS_MAX: usize = 1_000;

/// The HTTP client: it has at most one open response.
#[derive(Default)]
pub(crate) struct Http {
    open: Option<OpenResponse>,
}

/// The response to the last request.
enum OpenResponse {
    /// The head has not arrived yet. The text is the origin of the request.
    Awaited(FutureIncomingResponse, String),
    Body(Body),
}

/// An open body. The fields are dropped in this order: a stream is a child of its body.
struct Body {
    stream: InputStream,
    _body: IncomingBody,
    _response: IncomingResponse,
}

/// The next part of a response.
pub(crate) enum ResponsePart {
    Head(Head),
    Chunk(Vec<u8>),
    End,
    /// Nothing arrived within [`WAIT_NS`].
    Nothing,
}

impl Http {
    /// Drops a response that is open or awaited, and with it the connection.
    pub(crate) fn close(&mut self) {
        self.open = None;
    }

    /// Sends a request. [`Http::read`] then waits for its response.
    ///
    /// It sends no request options: hosts on wasmtime-wasi-http keep each of them in the table of
    /// the instance's resources, which is full after some 1,000. The time-outs are the host's.
    pub(crate) fn send(&mut self, request: &Request) -> Result<(), TransportError> {
        self.close();
        let origin = request.shown_origin();
        let outgoing = outgoing(request).ok_or_else(|| {
            TransportError::Failed(format!("a URL of {origin} cannot be used for a request"))
        })?;
        let body = outgoing.body().map_err(|()| unusable())?;
        let handled = outgoing_handler::handle(outgoing, None);
        let future = handled.map_err(|code| error(&code, &origin))?;
        // A host that refuses the request and a server that answers early take no body. The response
        // has the reason, so a body that cannot be written is only dropped.
        if write_body(&body, request).is_ok() {
            let _finish_result = OutgoingBody::finish(body, None);
        } else {
            drop(body);
        }
        self.open = Some(OpenResponse::Awaited(future, origin));
        Ok(())
    }

    /// Returns the next part of the response, or that nothing arrived for a while.
    pub(crate) fn read(&mut self) -> Result<ResponsePart, TransportError> {
        match self.open.take() {
            None => Ok(ResponsePart::End),
            Some(OpenResponse::Awaited(future, origin)) => self.read_head(future, origin),
            Some(OpenResponse::Body(body)) => self.read_body(body),
        }
    }

    fn read_head(
        &mut self,
        future: FutureIncomingResponse,
        origin: String,
    ) -> Result<ResponsePart, TransportError> {
        let outcome = future.get().or_else(|| {
            wait(&future.subscribe());
            future.get()
        });
        let response = match outcome {
            None => {
                self.open = Some(OpenResponse::Awaited(future, origin));
                return Ok(ResponsePart::Nothing);
            }
            Some(Ok(Ok(response))) => response,
            Some(Ok(Err(code))) => return Err(error(&code, &origin)),
            Some(Err(())) => return Err(unusable()),
        };
        let headers = response
            .headers()
            .entries()
            .into_iter()
            .filter_map(|(name, value)| {
                Some((name.to_ascii_lowercase(), String::from_utf8(value).ok()?))
            });
        let head = Head {
            status: response.status(),
            headers: headers.collect(),
        };
        let body = response.consume().map_err(|()| unusable())?;
        let stream = body.stream().map_err(|()| unusable())?;
        self.open = Some(OpenResponse::Body(Body {
            stream,
            _body: body,
            _response: response,
        }));
        Ok(ResponsePart::Head(head))
    }

    fn read_body(&mut self, body: Body) -> Result<ResponsePart, TransportError> {
        let mut read = body.stream.read(CHUNK_BYTES);
        if read.as_ref().is_ok_and(Vec::is_empty) {
            wait(&body.stream.subscribe());
            read = body.stream.read(CHUNK_BYTES);
        }
        match read {
            Ok(chunk) => {
                self.open = Some(OpenResponse::Body(body));
                Ok(if chunk.is_empty() {
                    ResponsePart::Nothing
                } else {
                    ResponsePart::Chunk(chunk)
                })
            }
            Err(StreamError::Closed) => Ok(ResponsePart::End),
            Err(StreamError::LastOperationFailed(problem)) => {
                let code = http_error_code(&problem);
                drop(problem);
                let reason = code
                    .as_ref()
                    .map_or_else(|| "the connection was lost".to_owned(), reason);
                let why = format!("the response broke off before its end: {reason}");
                Err(TransportError::Failed(why))
            }
        }
    }
}

/// Waits until something arrives, for at most [`WAIT_NS`].
fn wait(pollable: &Pollable) {
    let timer = monotonic_clock::subscribe_duration(WAIT_NS);
    poll(&[pollable, &timer]);
}

fn unusable() -> TransportError {
    TransportError::Failed("the host's HTTP resource is not usable".to_owned())
}

/// Converts the request to that of `wasi:http`.
fn outgoing(request: &Request) -> Option<OutgoingRequest> {
    if !request.is_usable() {
        return None;
    }
    let (scheme, authority) = origin(&request.url).split_once("://")?;
    let scheme = match scheme {
        "https" => Scheme::Https,
        "http" => Scheme::Http,
        other => Scheme::Other(other.to_owned()),
    };
    let path = request
        .url
        .get(origin(&request.url).len()..)
        .filter(|path| !path.is_empty());
    let outgoing = OutgoingRequest::new(headers(request)?);
    let method = match request.method {
        Method::Get => WasiMethod::Get,
        Method::Post => WasiMethod::Post,
    };
    outgoing.set_method(&method).ok()?;
    outgoing.set_scheme(Some(&scheme)).ok()?;
    outgoing.set_authority(Some(authority)).ok()?;
    outgoing
        .set_path_with_query(Some(path.unwrap_or("/")))
        .ok()?;
    Some(outgoing)
}

fn headers(request: &Request) -> Option<Fields> {
    let user_agent = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));
    let mut entries = vec![
        ("accept".to_owned(), b"application/json, */*".to_vec()),
        // A file is itself gzip; no proxy may compress or decompress it (`mimecast-api.md`
        // §3.2).
        ("accept-encoding".to_owned(), b"identity".to_vec()),
        ("user-agent".to_owned(), user_agent.as_bytes().to_vec()),
    ];
    for (name, value) in &request.credentials {
        entries.push(((*name).to_owned(), value.expose().as_bytes().to_vec()));
    }
    if let Some(body) = &request.body {
        let length = body.bytes.expose().len().to_string();
        entries.push((
            "content-type".to_owned(),
            body.media_type.as_bytes().to_vec(),
        ));
        entries.push(("content-length".to_owned(), length.into_bytes()));
    }
    Fields::from_list(&entries).ok()
}

/// The error of a request body that the host no longer accepts.
struct BodyRejected;

fn write_body(body: &OutgoingBody, request: &Request) -> Result<(), BodyRejected> {
    let Some(content) = &request.body else {
        return Ok(());
    };
    let stream = body.write().map_err(|()| BodyRejected)?;
    for piece in content.bytes.expose().as_bytes().chunks(WRITE_BYTES) {
        stream
            .blocking_write_and_flush(piece)
            .map_err(|_| BodyRejected)?;
    }
    Ok(())
}

/// Converts a host's error code to the error of a request.
fn error(code: &ErrorCode, origin: &str) -> TransportError {
    if matches!(
        code,
        ErrorCode::HttpRequestDenied | ErrorCode::DestinationIpProhibited
    ) {
        return TransportError::Denied(origin.to_owned());
    }
    let reason = reason(code);
    TransportError::Failed(format!("{origin} cannot be reached: {reason}"))
}

/// Returns a host's error code in plain words, with advice where there is some.
fn reason(code: &ErrorCode) -> String {
    let (what, detail) = match code {
        ErrorCode::ConfigurationError => ("the host's HTTP client is not configured", None),
        ErrorCode::ConnectionLimitReached => ("the host has too many connections open", None),
        ErrorCode::ConnectionReadTimeout | ErrorCode::HttpResponseTimeout => (
            "no response in time; is the service slow, or a firewall or proxy in between?",
            None,
        ),
        ErrorCode::ConnectionRefused => (
            "connection refused; is there a firewall or proxy in between?",
            None,
        ),
        ErrorCode::ConnectionTerminated => (
            "the connection was closed; is there a firewall or proxy in between?",
            None,
        ),
        ErrorCode::ConnectionTimeout => (
            "no connection in time; is there a firewall or proxy in between?",
            None,
        ),
        ErrorCode::ConnectionWriteTimeout => ("the request could not be sent in time", None),
        ErrorCode::DestinationIpProhibited | ErrorCode::HttpRequestDenied => {
            ("the host does not allow it", None)
        }
        ErrorCode::DestinationIpUnroutable => (
            "there is no route to its address; check this machine's network",
            None,
        ),
        ErrorCode::DestinationNotFound | ErrorCode::DestinationUnavailable => {
            ("the host cannot reach it", None)
        }
        ErrorCode::DnsError(problem) => (
            "its name does not resolve; check it, and this machine's name server",
            problem.rcode.as_deref(),
        ),
        ErrorCode::DnsTimeout => (
            "its name does not resolve in time; check this machine's name server",
            None,
        ),
        ErrorCode::HttpProtocolError
        | ErrorCode::HttpResponseContentCoding(_)
        | ErrorCode::HttpResponseTransferCoding(_)
        | ErrorCode::HttpUpgradeFailed => (
            "the response is not valid HTTP; is there a proxy in between?",
            None,
        ),
        ErrorCode::HttpRequestBodySize(_)
        | ErrorCode::HttpRequestHeaderSectionSize(_)
        | ErrorCode::HttpRequestHeaderSize(_)
        | ErrorCode::HttpRequestLengthRequired
        | ErrorCode::HttpRequestMethodInvalid
        | ErrorCode::HttpRequestTrailerSectionSize(_)
        | ErrorCode::HttpRequestTrailerSize(_)
        | ErrorCode::HttpRequestUriInvalid
        | ErrorCode::HttpRequestUriTooLong => ("the host does not send such a request", None),
        ErrorCode::HttpResponseBodySize(_)
        | ErrorCode::HttpResponseHeaderSectionSize(_)
        | ErrorCode::HttpResponseHeaderSize(_)
        | ErrorCode::HttpResponseTrailerSectionSize(_)
        | ErrorCode::HttpResponseTrailerSize(_) => {
            ("the response is larger than the host accepts", None)
        }
        ErrorCode::HttpResponseIncomplete => (
            "the connection was closed before the end of the response",
            None,
        ),
        // A host explains here what no other code can say, such as what is wrong with a certificate.
        ErrorCode::InternalError(problem) => match problem.as_deref() {
            Some(problem) if !problem.is_empty() => {
                return sanitize_within(problem, EXPLANATION_CHARS_MAX);
            }
            _ => ("the host failed", None),
        },
        ErrorCode::LoopDetected => ("the request loops between proxies", None),
        ErrorCode::TlsAlertReceived(alert) => (
            "it refuses the TLS connection; is there a proxy in between?",
            alert.alert_message.as_deref(),
        ),
        ErrorCode::TlsCertificateError => (
            "its TLS certificate is not trusted; if a proxy in between inspects TLS, add its CA to the trust anchors (ca_file)",
            None,
        ),
        ErrorCode::TlsProtocolError => (
            "the TLS connection fails; is it TLS 1.2 or newer, or is there a proxy in between?",
            None,
        ),
    };
    match detail.filter(|detail| !detail.is_empty()) {
        Some(detail) => format!("{what} ({})", sanitize(detail)),
        None => what.to_owned(),
    }
}
