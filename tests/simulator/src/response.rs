//! Responses, and how their bodies are sent: whole, only half, slowly, or late.

use std::convert::Infallible;
use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::Response;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{CONTENT_LENGTH, HeaderValue};
use serde_json::Value;
use tokio::time::{Instant, Sleep};

use crate::batch_file::BatchFile;

/// The response to one request.
#[derive(Debug)]
pub(crate) struct SimulatedResponse {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Bytes,
    pub(crate) transfer: BodyTransfer,
    /// The file that counts as served once the body is sent.
    pub(crate) file: Option<Arc<BatchFile>>,
}

/// How the body is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyTransfer {
    /// The connection closes after half of it.
    CloseAfterHalf,
    /// It is sent slowly for a time, and then as fast as possible.
    Slow {
        /// How slowly.
        bytes_per_s: u64,
        /// For how long.
        for_ms: u64,
    },
    /// The second half is sent after this many milliseconds.
    StallAfterHalf(u64),
    /// It is sent whole and at once.
    Whole,
}

impl SimulatedResponse {
    /// Creates a response without headers of its own.
    pub(crate) fn new(status: u16, body: impl Into<Bytes>) -> Self {
        let headers = Vec::new();
        Self {
            status,
            headers,
            body: body.into(),
            transfer: BodyTransfer::Whole,
            file: None,
        }
    }

    /// Creates a response in JSON.
    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self::new(status, body.to_string()).with("content-type", "application/json")
    }

    /// Adds a header.
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Returns the response as HTTP.
    pub(crate) fn into_response(self) -> Response<Payload> {
        let length = self.body.len();
        let half = match self.transfer {
            BodyTransfer::CloseAfterHalf | BodyTransfer::StallAfterHalf(_) => Some(length / 2),
            BodyTransfer::Slow { .. } | BodyTransfer::Whole => None,
        };
        let mut response = Response::new(Payload {
            rest: self.body,
            bytes_until_half: half,
            transfer: self.transfer,
            slow_until: None,
            sleep: None,
            file: self.file,
        });
        *response.status_mut() = hyper::StatusCode::from_u16(self.status).unwrap_or_default();
        let headers = response.headers_mut();
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        for (name, value) in self.headers {
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(name, value);
            }
        }
        response
    }
}

/// A body that is being sent.
#[derive(Debug)]
pub(crate) struct Payload {
    rest: Bytes,
    bytes_until_half: Option<usize>,
    transfer: BodyTransfer,
    /// Until when the body is sent slowly; set when it begins.
    slow_until: Option<Instant>,
    sleep: Option<Pin<Box<Sleep>>>,
    file: Option<Arc<BatchFile>>,
}

/// The error that closes the connection regardless of the promised length.
#[derive(Debug)]
pub(crate) struct Closed;

impl std::fmt::Display for Closed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("closed on purpose")
    }
}

impl std::error::Error for Closed {}

impl From<Infallible> for Closed {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

impl Body for Payload {
    type Data = Bytes;
    type Error = Closed;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Closed>>> {
        let this = &mut *self;
        if this.bytes_until_half == Some(0) {
            let pause_ms = match this.transfer {
                BodyTransfer::CloseAfterHalf => FLUSH_MS,
                BodyTransfer::StallAfterHalf(ms) => ms,
                BodyTransfer::Slow { .. } | BodyTransfer::Whole => 0,
            };
            let sleep = this.sleep.get_or_insert_with(|| {
                Box::pin(tokio::time::sleep(Duration::from_millis(pause_ms)))
            });
            if sleep.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            if this.transfer == BodyTransfer::CloseAfterHalf {
                return Poll::Ready(Some(Err(Closed)));
            }
            this.bytes_until_half = None;
        }
        let mut chunk_bytes_max = CHUNK_BYTES;
        if let BodyTransfer::Slow {
            bytes_per_s,
            for_ms,
        } = this.transfer
        {
            let now = Instant::now();
            let until = *this
                .slow_until
                .get_or_insert_with(|| now + Duration::from_millis(for_ms));
            let tick = Duration::from_millis(1000 / SLOW_CHUNKS_PER_S);
            let sleep = this
                .sleep
                .get_or_insert_with(|| Box::pin(tokio::time::sleep(tick)));
            if sleep.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            this.sleep = None;
            if now < until {
                let chunk_bytes = (bytes_per_s / SLOW_CHUNKS_PER_S).max(1);
                chunk_bytes_max = usize::try_from(chunk_bytes).unwrap_or(CHUNK_BYTES);
            } else {
                this.transfer = BodyTransfer::Whole;
            }
        }
        let chunk_bytes = chunk_bytes_max
            .min(this.rest.len())
            .min(this.bytes_until_half.unwrap_or(usize::MAX));
        if chunk_bytes == 0 {
            this.note_served();
            return Poll::Ready(None);
        }
        let chunk = this.rest.split_to(chunk_bytes);
        this.bytes_until_half = this.bytes_until_half.map(|until| until - chunk_bytes);
        if this.rest.is_empty() {
            this.note_served();
        }
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.file.is_none() && self.bytes_until_half.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(u64::try_from(self.rest.len()).unwrap_or(u64::MAX))
    }
}

impl Payload {
    fn note_served(&mut self) {
        if let Some(file) = self.file.take() {
            file.note_served();
        }
    }
}

/// Delay before the connection is closed, so that pending bytes are sent first.
const FLUSH_MS: u64 = 10;
/// How many pieces of a slow body come in a second.
const SLOW_CHUNKS_PER_S: u64 = 10;
/// Large enough to be fast, small enough that the reader sees a stream.
const CHUNK_BYTES: usize = 64 * 1024;
