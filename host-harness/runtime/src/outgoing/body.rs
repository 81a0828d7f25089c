//! A response body that fails if no data arrives for too long.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep};
use wasmtime_wasi_http::Error as HttpError;

use super::errors;
use super::limits::Permit;

/// A body with a time-out between frames.
pub(super) struct IdleTimeoutBody {
    incoming: Incoming,
    limit: Duration,
    /// Set only while the reader waits: setting a timer
    /// for every frame would cost more than handling most frames.
    idle_timer: Option<Pin<Box<Sleep>>>,
    waiting: bool,
    /// Permit of the request, held until its response is complete.
    permit: Option<Permit>,
}

impl IdleTimeoutBody {
    pub(super) fn new(incoming: Incoming, limit: Duration, permit: Permit) -> Self {
        Self {
            permit: (!incoming.is_end_stream()).then_some(permit),
            incoming,
            limit,
            idle_timer: None,
            waiting: false,
        }
    }

    fn poll_idle_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let limit = self.limit;
        let idle_timer = self
            .idle_timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        if !self.waiting {
            self.waiting = true;
            idle_timer.as_mut().reset(Instant::now() + limit);
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
                self.waiting = false;
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
