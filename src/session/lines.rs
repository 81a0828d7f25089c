//! Reads the lines of a batch file while it arrives.

use super::{BodyReader, Purpose, Session, Step};
use crate::batch::{OfferResult, RawRecord};
use crate::checkpoint::FileFailureCause;
use crate::decode::lines::Line;
use crate::streams::Context;
use crate::streams::siem_events::LineSelection;

/// The number of bytes of lines that become events before the clock is checked.
const BYTES_PER_STEP: usize = 256 * 1024;

impl Session {
    /// Makes events of lines until more of the body is needed or the batch is full.
    pub(super) fn offer_lines(&mut self) -> Step {
        let context = Context::new(&self.settings, &self.client);
        let (Some(in_flight), Some(poll)) = (&mut self.in_flight, &mut self.poll) else {
            return Step::Stop;
        };
        let (Purpose::File { slot_index: index }, BodyReader::Lines(lines)) =
            (in_flight.purpose, &mut in_flight.body_reader)
        else {
            return Step::Stop;
        };
        let Some(slot) = self.slots.get_mut(index) else {
            return Step::Stop;
        };
        let stream = slot.stream;
        let Some((batch_files, filter)) = slot.reader.batch_files() else {
            return Step::Stop;
        };
        // The end of a file may be in bytes that came in an earlier poll.
        poll.batch.include_stats(stream);
        let mut bytes_left = BYTES_PER_STEP;
        while poll.batch.has_room() {
            match lines.reader.next_line() {
                Line::Whole(_) | Line::TooLong(_) if lines.skip > 0 => {
                    lines.skip = lines.skip.saturating_sub(1);
                }
                Line::Whole(bytes) => {
                    if bytes_left == 0 {
                        lines.reader.put_back();
                        return Step::ReturnToDriver;
                    }
                    bytes_left = bytes_left.saturating_sub(bytes.len().saturating_add(1));
                    let record = RawRecord::new(stream, bytes);
                    let selection = filter.select(record, &mut self.processor);
                    let mut occurred_at = None;
                    if selection == LineSelection::Duplicate {
                        poll.batch.count_duplicate(stream);
                    } else if selection == LineSelection::BeforeStart {
                        poll.batch.count_before_start(stream);
                    } else if !bytes.is_empty() {
                        let events_before = poll.batch.event_count();
                        let name = &lines.name;
                        let line = batch_files.lines_done();
                        let locator = || format!("{stream} {name} line {}", line.saturating_add(1));
                        let processor = &mut self.processor;
                        let now = context.upstream_now;
                        let offer = poll.batch.offer(processor, record, None, now, &locator);
                        if offer == OfferResult::BatchFull {
                            lines.reader.put_back();
                            return Step::Stop;
                        }
                        occurred_at = poll.batch.last_occurred_at(events_before, now);
                    }
                    batch_files.finish_line(occurred_at);
                }
                Line::TooLong(start) => {
                    let line = batch_files.lines_done().saturating_add(1);
                    let locator = format!("{stream} {} line {line}", lines.name);
                    let why = "the line is longer than 1 MiB".to_owned();
                    poll.batch.reject(stream, locator, why, start);
                    batch_files.finish_line(None);
                }
                Line::NeedsInput => return Step::Read,
                Line::End if lines.skip > 0 => {
                    self.in_flight = None;
                    // This is another response of the storage, and the file may come again.
                    let why = "the storage sent fewer lines than before";
                    let cause = FileFailureCause::Unavailable;
                    self.handle_broken_file(index, (cause, why, Vec::new()));
                    return Step::LoopAgain;
                }
                Line::End => {
                    batch_files.finish_file(context);
                    slot.backoff = None;
                    slot.interrupted_responses = 0;
                    self.in_flight = None;
                    return Step::LoopAgain;
                }
                Line::Broken(broken) => {
                    let original = lines.reader.unreadable_bytes().to_vec();
                    self.in_flight = None;
                    let cause = FileFailureCause::Unreadable;
                    self.handle_broken_file(index, (cause, broken.reason(), original));
                    return Step::LoopAgain;
                }
            }
        }
        Step::Stop
    }
}
