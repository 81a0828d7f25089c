//! Handles batch files that could not be fetched or read.

use crate::checkpoint::{Backoff, FileFailureCause};
use crate::response::{Head, TransportError};
use crate::session::{Session, StreamFailure};
use crate::streams::Context;
use crate::streams::batch_files::{AfterFailure, FileFailure};

impl Session {
    /// Handles a status other than success from the storage (`mimecast-api.md` §3.2).
    pub(super) fn handle_file_error_status(&mut self, index: usize, head: &Head) {
        let cause = match head.status {
            404 | 410 => FileFailureCause::Gone,
            408 | 429 | 500.. => FileFailureCause::Unavailable,
            _ => FileFailureCause::Refused,
        };
        let failure = FileFailure {
            cause,
            why: format!("HTTP {}", head.status),
            original: Vec::new(),
        };
        let what = format!("the storage answered HTTP {}", head.status);
        let (requested_ms, after_ms) = (
            self.client.rate_limit_wait_ms(head),
            self.client.retry_after_ms(head),
        );
        let stream_failure = |detail| match head.status {
            429 => StreamFailure::throttled(detail, requested_ms),
            _ => StreamFailure::unavailable(detail, after_ms),
        };
        self.set_aside_or_back_off(index, &failure, (&what, stream_failure));
    }

    /// Handles a missing or truncated response.
    pub(super) fn handle_file_transport_error(&mut self, index: usize, error: &TransportError) {
        let failure = FileFailure {
            cause: FileFailureCause::Unavailable,
            why: match error {
                TransportError::Denied(_) => "the host refused its origin",
                TransportError::Failed(_) => "the storage failed or was too slow",
            }
            .to_owned(),
            original: Vec::new(),
        };
        let stream_failure = |detail| StreamFailure::unavailable(detail, None);
        self.set_aside_or_back_off(index, &failure, (&error.to_string(), stream_failure));
    }

    /// Handles a file that arrived and could not be read.
    pub(super) fn handle_broken_file(
        &mut self,
        index: usize,
        (cause, why, original): (FileFailureCause, &str, Vec<u8>),
    ) {
        let failure = FileFailure {
            cause,
            why: why.to_owned(),
            original,
        };
        let stream_failure = |detail| StreamFailure::unavailable(detail, None);
        self.set_aside_or_back_off(index, &failure, (why, stream_failure));
    }

    /// Sets the file aside where that is due, or backs off before the next try.
    fn set_aside_or_back_off(
        &mut self,
        index: usize,
        failure: &FileFailure,
        (what, stream_failure): (&str, impl FnOnce(String) -> StreamFailure),
    ) {
        let context = Context::new(&self.settings, &self.client);
        let (Some(slot), Some(poll)) = (self.slots.get_mut(index), &mut self.poll) else {
            return;
        };
        let stream = slot.stream;
        let Some((batch_files, _)) = slot.reader.batch_files() else {
            return;
        };
        poll.batch.include_stats(stream);
        let after = batch_files.handle_failure(failure, context, &mut poll.batch);
        let mut stream_failure = stream_failure(format!("{stream}: {what}"));
        let tries = match after {
            // A wait that the storage asks for applies to the next file as well.
            AfterFailure::Continue
                if failure.cause == FileFailureCause::Unavailable
                    && stream_failure
                        .requested_wait_ms
                        .is_some_and(|wait_ms| wait_ms > 0) =>
            {
                1
            }
            AfterFailure::Continue => return,
            AfterFailure::BackOff(tries) => tries,
            AfterFailure::BackOffWithoutRoom(tries) => {
                stream_failure.detail.push_str(
                    "; the checkpoint has no room for more files that are set aside, so the stream waits at this one",
                );
                tries
            }
        };
        // A successful listing in between does not shorten the backoff.
        let before = slot.backoff.map_or(0, |backoff| backoff.tries);
        slot.backoff = Some(Backoff {
            since: Some(context.now),
            until: context.now,
            cause: stream_failure.backoff_cause,
            tries: before.max(tries.saturating_sub(1)),
        });
        self.back_off(index, stream_failure);
    }
}
