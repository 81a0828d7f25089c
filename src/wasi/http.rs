//! Sends one request at a time through `wasi:http/outgoing-handler` and reads its body in chunks.

use super::bindings::wasi::http::outgoing_handler;
use super::bindings::wasi::http::types::{
    ErrorCode, Fields, IncomingBody, IncomingResponse, Method as WasiMethod, OutgoingBody,
    OutgoingRequest, RequestOptions, Scheme,
};
use super::bindings::wasi::io::streams::{InputStream, StreamError};
use crate::request::{Method, Request, origin};
use crate::response::{Head, TransportError};

/// How long a connection may take, until an answer begins, and between two parts of a body.
const CONNECT_NS: u64 = 10_000_000_000;
const FIRST_BYTE_NS: u64 = 60_000_000_000;
const BETWEEN_BYTES_NS: u64 = 60_000_000_000;

/// Read at most this much at once: several network frames, and little against the memory limit.
const CHUNK_BYTES: u64 = 256 * 1024;

/// A request body is written in pieces of what `wasi:io` takes in one call.
const WRITE_BYTES: usize = 4096;

/// The connection's state: at most one open body.
#[derive(Default)]
pub(crate) struct Http {
    open: Option<Open>,
}

/// An open body. The fields are dropped in this order: a stream is a child of its body.
struct Open {
    stream: InputStream,
    _body: IncomingBody,
    _response: IncomingResponse,
}

impl Http {
    /// Drops an open body, and with it the connection.
    pub(crate) fn close(&mut self) {
        self.open = None;
    }

    /// Sends a request and waits for the head of its answer.
    pub(crate) fn send(&mut self, request: &Request) -> Result<Head, TransportError> {
        self.close();
        let outgoing = outgoing(request).ok_or_else(|| {
            TransportError::Failed(format!("{} is not a usable URL", request.origin()))
        })?;
        let body = outgoing.body().map_err(|()| unusable())?;
        let handled = outgoing_handler::handle(outgoing, Some(options()));
        let future = handled.map_err(|code| error(&code, request))?;
        write_body(&body, request)?;
        OutgoingBody::finish(body, None).map_err(|code| error(&code, request))?;
        let response = loop {
            match future.get() {
                Some(Ok(Ok(response))) => break response,
                Some(Ok(Err(code))) => return Err(error(&code, request)),
                Some(Err(())) => return Err(unusable()),
                None => future.subscribe().block(),
            }
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
        self.open = Some(Open {
            stream,
            _body: body,
            _response: response,
        });
        Ok(head)
    }

    /// The next chunk of the open body, or `None` at its end.
    pub(crate) fn read(&mut self) -> Result<Option<Vec<u8>>, TransportError> {
        let Some(open) = &self.open else {
            return Ok(None);
        };
        loop {
            match open.stream.blocking_read(CHUNK_BYTES) {
                Ok(chunk) if chunk.is_empty() => {}
                Ok(chunk) => return Ok(Some(chunk)),
                Err(StreamError::Closed) => {
                    self.close();
                    return Ok(None);
                }
                Err(StreamError::LastOperationFailed(problem)) => {
                    let why = format!("the body broke off: {}", problem.to_debug_string());
                    drop(problem);
                    self.close();
                    return Err(TransportError::Failed(why));
                }
            }
        }
    }
}

fn unusable() -> TransportError {
    TransportError::Failed("the host's HTTP resource is not usable".to_owned())
}

/// The request as `wasi:http` wants it.
fn outgoing(request: &Request) -> Option<OutgoingRequest> {
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
        // A file is gzip by itself; nothing on the way may pack or unpack it (§3.2).
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

fn options() -> RequestOptions {
    let options = RequestOptions::new();
    // A host that does not support a time-out has its own.
    let _ = options.set_connect_timeout(Some(CONNECT_NS));
    let _ = options.set_first_byte_timeout(Some(FIRST_BYTE_NS));
    let _ = options.set_between_bytes_timeout(Some(BETWEEN_BYTES_NS));
    options
}

fn write_body(body: &OutgoingBody, request: &Request) -> Result<(), TransportError> {
    let Some(content) = &request.body else {
        return Ok(());
    };
    let stream = body.write().map_err(|()| unusable())?;
    for piece in content.bytes.expose().as_bytes().chunks(WRITE_BYTES) {
        stream
            .blocking_write_and_flush(piece)
            .map_err(|_| TransportError::Failed("the request could not be written".to_owned()))?;
    }
    Ok(())
}

/// A host's error code. Its debug form names no header and no URL.
fn error(code: &ErrorCode, request: &Request) -> TransportError {
    let denied = matches!(
        code,
        ErrorCode::HttpRequestDenied | ErrorCode::DestinationIpProhibited
    );
    if denied {
        return TransportError::Denied(request.origin().to_owned());
    }
    let advice = if matches!(code, ErrorCode::DnsError(_) | ErrorCode::DnsTimeout) {
        "its name does not resolve; check it, and this machine's name server: "
    } else {
        ""
    };
    let origin = request.origin();
    TransportError::Failed(format!("{origin} cannot be reached: {advice}{code:?}"))
}
