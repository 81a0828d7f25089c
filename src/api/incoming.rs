//! The response to the request in flight, while it arrives.

use super::transfer::Transfer;
use crate::decode::lines::strip_byte_order_mark;
use crate::response::Head;
use crate::time::Timestamp;

/// The longest response that is buffered as a whole. A page of 500 records is much shorter.
pub const RESPONSE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The most bytes of an error body that are read.
const ERROR_BYTES_MAX: usize = 64 * 1024;

/// The part of a response that has arrived.
#[derive(Debug, Default)]
pub struct IncomingResponse {
    head: Option<Head>,
    body: Vec<u8>,
    ended: bool,
    transfer: Transfer,
}

impl IncomingResponse {
    /// Returns the status and headers, once they have arrived.
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

    /// Stores the status and headers.
    pub fn handle_head(&mut self, head: Head, now: Timestamp) {
        self.transfer.handle_head(now);
        self.head = Some(head);
    }

    /// Appends a chunk of the body. Reading ends where the body is longer than its limit, which is lower
    /// for an error; the chunk that exceeds it is still appended, so that the excess is visible.
    pub fn push(&mut self, chunk: &[u8]) {
        let is_good = self.head.as_ref().is_some_and(|head| head.status == 200);
        let bytes_max = if is_good {
            RESPONSE_BYTES_MAX
        } else {
            ERROR_BYTES_MAX
        };
        self.body.extend_from_slice(chunk);
        self.ended = self.body.len() > bytes_max;
    }

    /// Marks the body as complete, and removes a byte order mark from its beginning: parsers expect none.
    pub fn finish(&mut self) {
        self.ended = true;
        strip_byte_order_mark(&mut self.body);
    }

    /// Returns why the transfer is given up, as a clause; `None` if it is not.
    #[must_use]
    pub fn timeout_reason(&self, is_streamed: bool) -> Option<String> {
        self.transfer
            .timeout_reason(is_streamed)
            .filter(|_| !self.ended)
    }

    /// Returns the response as a whole.
    #[must_use]
    pub fn into_parts(self) -> (Head, Vec<u8>) {
        (self.head.unwrap_or_default(), self.body)
    }
}
