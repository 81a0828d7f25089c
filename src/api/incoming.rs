//! The answer to the request in flight, while it arrives.

use super::transfer::Transfer;
use crate::decode::lines::strip_byte_order_mark;
use crate::response::Head;
use crate::time::Timestamp;

/// The greatest answer that is kept in memory as a whole. A page of 500 records is far below.
pub const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;

/// How much of an error body is read.
const ERROR_BYTES_MAX: usize = 64 * 1024;

/// The part of an answer that has arrived.
#[derive(Debug, Default)]
pub struct IncomingResponse {
    head: Option<Head>,
    body: Vec<u8>,
    ended: bool,
    transfer: Transfer,
}

impl IncomingResponse {
    /// Status and headers, once they have arrived.
    #[must_use]
    pub const fn head(&self) -> Option<&Head> {
        self.head.as_ref()
    }

    /// Returns whether nothing more of it is needed.
    #[must_use]
    pub const fn has_ended(&self) -> bool {
        self.ended
    }

    /// Starts the clock of a wait for more bytes.
    pub const fn begin_wait(&mut self, now: Timestamp) {
        self.transfer.begin_wait(now);
    }

    /// Ends a wait that brought this many bytes.
    pub fn end_wait(&mut self, now: Timestamp, bytes: usize) {
        self.transfer.end_wait(now, bytes);
    }

    /// Takes status and headers.
    pub fn handle_head(&mut self, head: Head, now: Timestamp) {
        self.transfer.handle_head(now);
        self.head = Some(head);
    }

    /// Keeps a chunk of the body. Enough of an error is known after some kilobytes; the length of
    /// an answer that is too large is still counted.
    pub fn push(&mut self, chunk: &[u8]) {
        let is_good = self.head.as_ref().is_some_and(|head| head.status == 200);
        let most = if is_good {
            ANSWER_BYTES_MAX
        } else {
            ERROR_BYTES_MAX
        };
        self.body.extend_from_slice(chunk);
        self.ended = self.body.len() > most;
    }

    /// Marks the body as complete.
    pub fn finish(&mut self) {
        self.ended = true;
        strip_byte_order_mark(&mut self.body);
    }

    /// Returns why the transfer is given up, as a clause; `None` if it is not.
    #[must_use]
    pub fn too_slow(&self, is_streamed: bool) -> Option<String> {
        self.transfer.too_slow(is_streamed).filter(|_| !self.ended)
    }

    /// Returns the answer as a whole.
    #[must_use]
    pub fn into_parts(self) -> (Head, Vec<u8>) {
        (self.head.unwrap_or_default(), self.body)
    }
}
