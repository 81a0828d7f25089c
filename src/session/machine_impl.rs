//! Implements [`Machine`] for a poll of a session.

use crate::batch::Batch;
use crate::decode::lines::LineReader;
use crate::machine::{Action, Machine};
use crate::response::{Head, TransportError};
use crate::session::{
    BodyReader, Lines, POLL_MS_MAX, PollAction, PollError, Purpose, Session, Step,
};
use crate::time::Timestamp;

impl Machine for Session {
    type Output = Result<Batch, PollError>;

    fn next(&mut self, now: Timestamp) -> PollAction {
        self.client.set_now(now);
        loop {
            let Some(poll) = &self.poll else {
                return self.finish();
            };
            let is_over_time = now >= poll.began_at.plus_ms(POLL_MS_MAX) && self.may_stop_here();
            if poll.error.is_some() || !poll.batch.has_room() || is_over_time {
                return self.finish();
            }
            let step = if self.in_flight.is_some() {
                self.continue_in_flight()
            } else {
                self.start_next()
            };
            match step {
                Step::LoopAgain => {}
                Step::ReturnToDriver => return Action::Continue,
                Step::Read => {
                    self.begin_wait();
                    return Action::Read;
                }
                Step::Send(request) => {
                    self.begin_wait();
                    return Action::Send(request);
                }
                Step::Stop => return self.finish(),
            }
        }
    }

    fn handle_head(&mut self, head: Head, now: Timestamp) {
        self.client.set_now(now);
        let Some(in_flight) = &mut self.in_flight else {
            return;
        };
        if !matches!(in_flight.purpose, Purpose::File { .. }) {
            self.client.handle_head(&head);
        }
        match (in_flight.purpose, head.status) {
            (Purpose::Call { slot_index, .. }, 200) => {
                if let Some(slot) = self.slots.get_mut(slot_index) {
                    let reader = slot
                        .reader
                        .log_files()
                        .and_then(|files| files.begin_response(&head));
                    in_flight.body_reader = reader.map_or(BodyReader::Whole, BodyReader::LogFiles);
                }
            }
            (Purpose::File { slot_index }, 200) => {
                if let Some((batch_files, _)) = self
                    .slots
                    .get_mut(slot_index)
                    .and_then(|slot| slot.reader.batch_files())
                {
                    let file = batch_files.begin_or_resume_file();
                    let reader = if batch_files.may_be_empty() {
                        LineReader::new()
                    } else {
                        LineReader::new_non_empty()
                    };
                    in_flight.body_reader = BodyReader::Lines(Lines {
                        reader,
                        skip: file.line,
                        name: file.name,
                    });
                }
            }
            (Purpose::Preflight | Purpose::Call { .. } | Purpose::File { .. }, _) => {}
        }
        in_flight.incoming.handle_head(head, now);
    }

    fn handle_chunk(&mut self, chunk: Vec<u8>, now: Timestamp) {
        self.client.set_now(now);
        let Some(in_flight) = &mut self.in_flight else {
            return;
        };
        in_flight.incoming.end_wait(now, chunk.len());
        if let (Some(poll), Purpose::Call { slot_index, .. } | Purpose::File { slot_index }) =
            (&mut self.poll, in_flight.purpose)
            && let Some(slot) = self.slots.get(slot_index)
        {
            let bytes = u64::try_from(chunk.len()).unwrap_or(u64::MAX);
            poll.batch.update_stats(slot.stream, |stats| {
                stats.received_bytes = stats.received_bytes.saturating_add(bytes);
            });
        }
        match &mut in_flight.body_reader {
            BodyReader::Lines(lines) => lines.reader.push(chunk),
            BodyReader::LogFiles(files) => files.push(chunk),
            BodyReader::Whole => in_flight.incoming.push(&chunk),
        }
    }

    fn handle_end(&mut self, now: Timestamp) {
        self.client.set_now(now);
        let Some(in_flight) = &mut self.in_flight else {
            return;
        };
        in_flight.incoming.finish();
        match &mut in_flight.body_reader {
            BodyReader::Lines(lines) => lines.reader.finish(),
            BodyReader::LogFiles(files) => files.finish(),
            BodyReader::Whole => {}
        }
    }

    fn handle_failure(&mut self, failure: TransportError, now: Timestamp) {
        self.client.set_now(now);
        self.handle_no_response(failure);
    }

    fn keeps_response_open(&self) -> bool {
        self.in_flight
            .as_ref()
            .is_some_and(|in_flight| !in_flight.incoming.has_ended())
    }
}

impl Session {
    /// Starts a wait for more of the response.
    const fn begin_wait(&mut self) {
        if let Some(in_flight) = &mut self.in_flight {
            in_flight.incoming.begin_wait(self.client.now());
        }
    }
}
