//! Reads the log files of API 1.0, record by record, while they arrive.

use crate::session::{BodyReader, Purpose, Session, Step};
use crate::streams::log_files::LogFilesResult;
use crate::streams::{Context, StreamReader as _};

impl Session {
    /// Makes events of records until more of the body is needed or the batch is full.
    pub(super) fn offer_log_files(&mut self) -> Step {
        let context = Context::new(&self.settings, &self.client);
        let (Some(in_flight), Some(poll)) = (&mut self.in_flight, &mut self.poll) else {
            return Step::Stop;
        };
        let (
            Purpose::Call {
                slot_index: index, ..
            },
            BodyReader::LogFiles(reader),
        ) = (in_flight.purpose, &mut in_flight.body_reader)
        else {
            return Step::Stop;
        };
        let Some(slot) = self.slots.get_mut(index) else {
            return Step::Stop;
        };
        let Some(log_files) = slot.reader.log_files() else {
            return Step::Stop;
        };
        match log_files.read_records(reader, &mut self.processor, context, &mut poll.batch) {
            LogFilesResult::CloseResponse => {
                slot.backoff = None;
                slot.interrupted_responses = 0;
                let stall = log_files.take_stall();
                self.in_flight = None;
                self.back_off_if_stalled(index, stall);
                Step::LoopAgain
            }
            LogFilesResult::NeedsInput => Step::Read,
            LogFilesResult::BatchFull => Step::Stop,
        }
    }
}
