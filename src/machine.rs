//! The interface between a state machine that talks HTTP and its driver.

use crate::request::Request;
use crate::response::{Head, TransportError};
use crate::time::Timestamp;

/// The next action of the driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action<T> {
    /// Call `next` again. Some work is done and some time has passed.
    Continue,
    /// Wait for more of the response, then call `handle_head`, `handle_chunk`, `handle_end` or
    /// `handle_failure`. Where nothing arrives within about a second, call `next` again at once, so
    /// that the machine can give up on the response.
    Read,
    /// Send the request, then call `handle_head` or `handle_failure` where the outcome is known,
    /// or `next` where it is not yet. A response that is still open is dropped.
    Send(Request),
    /// Return this output. The response stays open if [`Machine::keeps_response_open`] returns `true`.
    Yield(T),
}

/// A state machine that talks HTTP. It makes no request and reads no clock: a driver does, and passes
/// the outcomes to it.
pub trait Machine {
    /// The output of the machine.
    type Output;

    /// Returns the next action.
    fn next(&mut self, now: Timestamp) -> Action<Self::Output>;

    /// Handles the status and the headers of a response.
    fn handle_head(&mut self, head: Head, now: Timestamp);

    /// Handles the next chunk of the open body.
    fn handle_chunk(&mut self, chunk: Vec<u8>, now: Timestamp);

    /// Handles the end of the open body.
    fn handle_end(&mut self, now: Timestamp);

    /// Handles a missing or truncated response.
    fn handle_failure(&mut self, failure: TransportError, now: Timestamp);

    /// Returns whether the response that is open or awaited is to stay open after a yield.
    fn keeps_response_open(&self) -> bool;
}
