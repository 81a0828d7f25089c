//! Pages of records in memory: the part that all ways of paging share.
//!
//! A page is requested and parsed, and its records become events until it is done or the batch is full;
//! the page that it names is next. What differs (the request, the end of the reading, and what is
//! remembered) is a [`PagingStrategy`] with a file of its own.

use crate::batch::{Builder, NoticeKind, OfferResult, RecordProcessor};
use crate::checkpoint::{PageProgress, StreamPosition};
use crate::request::Call;
use crate::response::Head;
use crate::stall::{AfterEmptyPage, Stall, StallDetector, too_many_empty_pages_detail};
use crate::stream::Stream;
use crate::streams::pages::Page;
use crate::streams::{Context, InvalidResponse, ReaderAction, StreamReader, add_unreadable_notice};
use crate::time::Timestamp;

/// How an empty page is handled that names a further one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmptyPagePolicy {
    /// Follow a few in a row, then end the reading. The payload is what notices call the reading, such
    /// as a window or a list.
    Follow(&'static str),
    /// Count them like other pages.
    Count,
    /// Ignore them: a quota bounds their number.
    Ignore,
}

/// The result of processing a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessResult {
    /// The batch is full.
    BatchFull,
    /// It is consumed. Where it became an event, the page has something new.
    Consumed,
    /// It is consumed, and this reading had not found it before.
    FirstInReading,
}

/// A record of the current page.
#[derive(Clone, Copy)]
pub struct PageRecord<'a> {
    /// Its bytes.
    pub bytes: &'a [u8],
    /// Its number on the page, counted from 1.
    pub number: usize,
}

/// A page whose records are done.
pub struct FinishedPage {
    /// Whether it had no record.
    pub is_empty: bool,
    /// The token of the page after it, where it names one.
    pub next_token: Option<String>,
}

/// The part that all positions of paged readings have in common.
pub struct Cursor<'a> {
    /// The token of the page to request.
    pub token: &'a mut Option<String>,
    /// The progress in that page.
    pub page_progress: &'a mut Option<PageProgress>,
    /// Detects pages of the reading that bring nothing new.
    pub stall_detector: &'a mut StallDetector,
}

/// One way of paging.
pub trait PagingStrategy {
    /// How an empty page is handled that names a further one.
    const EMPTY_PAGES: EmptyPagePolicy;

    /// Returns the stream that is read.
    fn stream(&self) -> Stream;

    /// Returns the common part of the position.
    fn cursor(&mut self) -> Cursor<'_>;

    /// Returns when the next page is due, and whether everything is collected until then. `has_page` is
    /// whether a page is in memory.
    fn due(&self, has_page: bool, context: Context<'_>) -> (Timestamp, bool);

    /// Returns the time, by the upstream's clock, up to which the records are known to be
    /// collected; nothing where the position does not say where it begins.
    fn collected_until(&self, context: Context<'_>) -> Option<Timestamp>;

    /// Returns the call for the next page.
    fn call(&mut self, context: Context<'_>, batch: &mut Builder) -> Call;

    /// Parses the response to that call.
    ///
    /// # Errors
    ///
    /// The body is not a page.
    fn read(
        &mut self,
        response: (&Head, Vec<u8>),
        context: Context<'_>,
    ) -> Result<Page, InvalidResponse>;

    /// Prepares the strategy for the next records of the page.
    fn prepare(&mut self, _page: &Page, _processor: &mut RecordProcessor, _context: Context<'_>) {}

    /// Makes an event of a record, or counts it as rejected or duplicate.
    fn process(
        &mut self,
        record: PageRecord<'_>,
        processor: &mut RecordProcessor,
        context: Context<'_>,
        batch: &mut Builder,
    ) -> ProcessResult;

    /// Moves the position past a page. Returns whether there is another one to read.
    fn advance(&mut self, page: FinishedPage, context: Context<'_>) -> bool;

    /// Finishes the reading after its last page.
    fn handle_last_page(&mut self, _context: Context<'_>, _batch: &mut Builder) {}

    /// Handles the end of an empty page that another one follows.
    fn handle_empty_page(&mut self, _context: Context<'_>) {}

    /// Restarts the reading, because its pages form a cycle.
    fn restart_reading(&mut self) {}

    /// Handles a call that was refused as such. Returns whether the reader goes on at once; otherwise the
    /// stream backs off.
    fn handle_refusal(&mut self, context: Context<'_>, batch: &mut Builder) -> bool;

    /// Returns whether the current call is for one of several parts that the endpoint has listed.
    fn is_call_for_listed_item(&self) -> bool {
        false
    }

    /// Returns whether all pages are read and the reading is still to be completed, which may emit events.
    fn is_awaiting_completion(&self) -> bool {
        false
    }

    /// Completes a reading whose pages are all read, and emits the events that remain.
    fn complete_reading(
        &mut self,
        _processor: &mut RecordProcessor,
        _context: Context<'_>,
        _batch: &mut Builder,
    ) -> OfferResult {
        OfferResult::Consumed
    }

    /// Writes the position, with the progress in the page in memory.
    fn save(&self, page: Option<&Page>, position: &mut StreamPosition);
}

/// A reader of pages by a [`PagingStrategy`].
pub struct PagedReader<S> {
    pub(super) strategy: S,
    page: Option<Page>,
    /// Whether a record of the page became an event, or was one that the strategy reports as first in its
    /// reading.
    has_new_records: bool,
    stall: Option<(Stall, u32)>,
}

impl<S: PagingStrategy> PagedReader<S> {
    /// Creates a reader at the strategy's position.
    #[must_use]
    pub const fn new(strategy: S) -> Self {
        Self {
            strategy,
            page: None,
            has_new_records: false,
            stall: None,
        }
    }

    /// Finishes a page whose records are done: continues with the next page, or ends the reading.
    fn finish_page(&mut self, page: Page, context: Context<'_>, batch: &mut Builder) {
        let is_empty = page.is_empty();
        // Pages without a readable record differ by their bodies.
        let digest = if is_empty {
            page.body_digest()
        } else {
            page.records_digest()
        };
        *self.strategy.cursor().page_progress = None;
        let done = FinishedPage {
            is_empty,
            next_token: page.next_token,
        };
        if !self.strategy.advance(done, context) {
            *self.strategy.cursor().stall_detector = StallDetector::default();
            return self.strategy.handle_last_page(context, batch);
        }
        match S::EMPTY_PAGES {
            EmptyPagePolicy::Follow(reading) if is_empty => {
                let after = self.strategy.cursor().stall_detector.note_empty_page();
                if after == AfterEmptyPage::Follow {
                    return self.strategy.handle_empty_page(context);
                }
                *self.strategy.cursor().token = None;
                let stream = self.strategy.stream();
                batch.notice(
                    stream,
                    NoticeKind::Adjusted,
                    too_many_empty_pages_detail(reading),
                );
                self.strategy.handle_last_page(context, batch);
            }
            EmptyPagePolicy::Ignore if is_empty => {}
            EmptyPagePolicy::Follow(_) | EmptyPagePolicy::Count | EmptyPagePolicy::Ignore => {
                let stall_detector = self.strategy.cursor().stall_detector;
                let stall = stall_detector.note_page(&digest, self.has_new_records);
                self.stall = stall.map(|stall| (stall, stall_detector.previous_stalls()));
                if stall == Some(Stall::Cycle) {
                    self.strategy.restart_reading();
                }
            }
        }
    }
}

impl<S: PagingStrategy> StreamReader for PagedReader<S> {
    fn next(&mut self, context: Context<'_>, batch: &mut Builder) -> ReaderAction {
        if self.has_records() {
            return ReaderAction::Records;
        }
        let (due, _) = self.due(context);
        if due > context.now {
            return ReaderAction::Idle(due);
        }
        ReaderAction::Call(self.strategy.call(context, batch))
    }

    fn due(&self, context: Context<'_>) -> (Timestamp, bool) {
        self.strategy.due(self.page.is_some(), context)
    }

    fn collected_until(&self, context: Context<'_>) -> Option<Timestamp> {
        self.strategy.collected_until(context)
    }

    fn wants_call(&self, _context: Context<'_>) -> bool {
        !self.has_records()
    }

    fn has_records(&self) -> bool {
        self.page.is_some() || self.strategy.is_awaiting_completion()
    }

    fn handle_response(
        &mut self,
        response: (&Head, Vec<u8>),
        context: Context<'_>,
        batch: &mut Builder,
    ) -> Result<(), InvalidResponse> {
        let mut page = self.strategy.read(response, context)?;
        add_unreadable_notice(self.strategy.stream(), &page.unreadable_members, batch);
        page.resume(self.strategy.cursor().page_progress.as_ref());
        self.has_new_records = false;
        self.page = Some(page);
        Ok(())
    }

    fn handle_refusal(&mut self, context: Context<'_>, batch: &mut Builder) -> bool {
        self.strategy.handle_refusal(context, batch)
    }

    fn offer_records(
        &mut self,
        processor: &mut RecordProcessor,
        context: Context<'_>,
        batch: &mut Builder,
    ) -> OfferResult {
        if let Some(mut page) = self.page.take() {
            self.strategy.prepare(&page, processor, context);
            let events_before = batch.event_count();
            while let Some(bytes) = page.current_record() {
                let number = page.record_number();
                let record = PageRecord { bytes, number };
                let result = if batch.has_room() {
                    self.strategy.process(record, processor, context, batch)
                } else {
                    ProcessResult::BatchFull
                };
                match result {
                    ProcessResult::Consumed => {}
                    ProcessResult::FirstInReading => self.has_new_records = true,
                    ProcessResult::BatchFull => {
                        self.has_new_records |= batch.event_count() > events_before;
                        self.page = Some(page);
                        return OfferResult::BatchFull;
                    }
                }
                page.advance();
            }
            self.has_new_records |= batch.event_count() > events_before;
            self.finish_page(page, context, batch);
        }
        if self.strategy.is_awaiting_completion() {
            return self.strategy.complete_reading(processor, context, batch);
        }
        OfferResult::Consumed
    }

    fn is_call_for_listed_item(&self) -> bool {
        self.strategy.is_call_for_listed_item()
    }

    fn take_stall(&mut self) -> Option<(Stall, u32)> {
        self.stall.take()
    }

    fn save(&self, position: &mut StreamPosition) {
        self.strategy.save(self.page.as_ref(), position);
    }
}
