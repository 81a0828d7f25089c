//! Bodies: a response that fails if no data arrives for too long, and a request that is not sent
//! once the lease of its source has ended.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep};
use wasmtime_wasi_http::{Error as HttpError, WasiBody};

use super::errors;
use super::limits::Permit;
use crate::lease::SourceLease;

/// A body with a time-out between frames.
pub(super) struct IdleTimeoutBody {
    incoming: Incoming,
    idle_timeout: Duration,
    /// Created at the first wait and restarted at each later one: to set a timer for every frame would
    /// cost more than handling most frames.
    idle_timer: Option<Pin<Box<Sleep>>>,
    is_waiting: bool,
    /// Permit of the request, held until its response is complete.
    permit: Option<Permit>,
}

impl IdleTimeoutBody {
    pub(super) fn new(incoming: Incoming, idle_timeout: Duration, permit: Permit) -> Self {
        Self {
            permit: (!incoming.is_end_stream()).then_some(permit),
            incoming,
            idle_timeout,
            idle_timer: None,
            is_waiting: false,
        }
    }

    fn poll_idle_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let idle_timeout = self.idle_timeout;
        let idle_timer = self
            .idle_timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(idle_timeout)));
        if !self.is_waiting {
            self.is_waiting = true;
            idle_timer.as_mut().reset(Instant::now() + idle_timeout);
        }
        idle_timer.as_mut().poll(cx)
    }
}

impl Body for IdleTimeoutBody {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        match Pin::new(&mut self.incoming).poll_frame(cx) {
            Poll::Ready(frame) => {
                self.is_waiting = false;
                if !matches!(frame, Some(Ok(_))) || self.incoming.is_end_stream() {
                    self.permit = None;
                }
                Poll::Ready(frame.map(|frame| frame.map_err(|error| errors::from_body(&error))))
            }
            Poll::Pending => self
                .poll_idle_timer(cx)
                .map(|()| Some(Err(HttpError::ConnectionReadTimeout))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

/// A request body that returns an error in place of its first frame if the lease has ended. Connecting, or
/// a suspension of the machine, may take longer than the lease, and hyper asks for the first frame
/// before it writes the head: nothing of the request is sent.
pub(super) struct LeaseCheckedBody {
    body: WasiBody,
    lease: SourceLease,
    /// Whether the first frame was ready. The lease is checked until then.
    has_polled_first_frame: bool,
}

impl LeaseCheckedBody {
    pub(super) fn new(body: WasiBody, lease: SourceLease) -> Self {
        Self {
            body,
            lease,
            has_polled_first_frame: false,
        }
    }
}

impl Body for LeaseCheckedBody {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        if !self.has_polled_first_frame && !self.lease.permits_work() {
            return Poll::Ready(Some(Err(errors::lease_ended())));
        }
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        self.has_polled_first_frame |= polled.is_ready();
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.has_polled_first_frame && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
