//! What a state machine that talks HTTP and its driver say to each other.

use crate::request::Request;
use crate::response::{Head, TransportError};
use crate::time::Timestamp;

/// What the driver has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action<T> {
    /// Read the open body, then call `handle_chunk`, `handle_end` or `handle_failure`.
    Read,
    /// Send the request, then call `handle_head` or `handle_failure`. An open body is dropped.
    Send(Request),
    /// Return this. Where [`Machine::keeps_body`] says so the body stays open.
    Yield(T),
}

/// A state machine that talks HTTP. It makes no request and reads no clock: a driver does, and
/// hands over the outcome.
pub trait Machine {
    /// What it returns in the end.
    type Output;

    /// What to do next.
    fn next(&mut self, now: Timestamp) -> Action<Self::Output>;

    /// Takes the status and the headers of an answer.
    fn handle_head(&mut self, head: Head, now: Timestamp);

    /// Takes the next chunk of the open body.
    fn handle_chunk(&mut self, chunk: Vec<u8>);

    /// The open body is complete.
    fn handle_end(&mut self);

    /// No answer, or no whole answer, came.
    fn handle_failure(&mut self, failure: TransportError, now: Timestamp);

    /// Whether the open body is to be kept after a yield.
    fn keeps_body(&self) -> bool;
}

/// How far `now` is ahead of the `Date` of an answer, in milliseconds.
#[must_use]
pub fn skew_ms(head: &Head, now: Timestamp) -> Option<i64> {
    let date = Timestamp::parse_http(head.header("date")?)?;
    // `Date` has whole seconds; on average it is half a second behind.
    Some(
        now.millis()
            .saturating_sub(date.millis())
            .saturating_sub(500),
    )
}
