//! The log files of API 1.0, read record by record as their bytes come.

use crate::session::{Purpose, Reader, Session, Step};
use crate::streams::log_files::Progress;
use crate::streams::{Context, StreamReader as _};

impl Session {
    /// Makes events of records until more of the body is needed or the batch is full.
    pub(super) fn take_log_files(&mut self) -> Step {
        let context = Context::new(&self.settings, &self.client);
        let (Some(in_flight), Some(poll)) = (&mut self.in_flight, &mut self.poll) else {
            return Step::Stop;
        };
        let (Purpose::Call { slot: index, .. }, Reader::LogFiles(reader)) =
            (in_flight.purpose, &mut in_flight.reader)
        else {
            return Step::Stop;
        };
        let Some(slot) = self.slots.get_mut(index) else {
            return Step::Stop;
        };
        let Some(feed) = slot.reader.log_files() else {
            return Step::Stop;
        };
        match feed.take(reader, &mut self.processor, context, &mut poll.batch) {
            Progress::Done => {
                slot.backoff = None;
                slot.lost_answers = 0;
                let stall = feed.take_stall();
                self.in_flight = None;
                self.back_off_if_stalled(index, stall);
                Step::LoopAgain
            }
            Progress::NeedsInput => Step::Read,
            Progress::BatchFull => Step::Stop,
        }
    }
}
