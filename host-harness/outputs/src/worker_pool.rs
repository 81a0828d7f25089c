//! Common part of outputs that send and wait for a response: a delivery is
//! split into parts, several workers send them concurrently, and results are
//! kept until the whole delivery is done.
//!
//! ```text
//! delivery ─► PartLimits ─► parts ─► worker 1 ─► accepted
//!                      ▲  └─► worker 2 ─► refused for now: kept for the next try
//!                      └── halves ◄──── refused for good: until the event is alone
//! ```

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;

use super::parts::{Part, PartLimits};
use super::{Delivery, Event, Output, OutputError, Reason, UndeliverableEvent};

/// A connection to the receiver, with at most one part in flight.
#[async_trait]
pub(super) trait Worker: Send {
    /// Sends events and waits until they are accepted. The future may be
    /// dropped; the worker must then reconnect.
    async fn send(&mut self, source: &str, part: &[Event<'_>]) -> Result<(), SendError>;

    /// Closes the connection to the receiver.
    async fn close(&mut self) {}
}

/// Why a part has not been accepted as a whole.
#[derive(Debug)]
pub(super) enum SendError {
    /// Nothing is accepted until an operator changes something.
    Blocked(Reason),
    /// The receiver has judged each event; indexes are within the part. All
    /// events that are not named were accepted.
    PartiallyAccepted {
        /// Events that can never be accepted.
        undeliverable_events: Vec<UndeliverableEvent>,
        /// How many of those were not sent: the receiver had no part in it.
        unsent: usize,
        /// Events to send again.
        retry_events: Vec<usize>,
        /// Why to wait before that; `None` to send at once.
        cause: Option<RetryCause>,
    },
    /// No event was accepted, because at least one of them never
    /// will be, or because the part is too large.
    PartRejected {
        /// The reason the receiver gave.
        reason: String,
        /// Index in the part of the event that the receiver names. It is
        /// sent alone before it is considered the cause.
        suspect: Option<usize>,
    },
    /// It is unknown whether any event was accepted; a retry may help.
    Retry(Reason),
    /// As `Retry`, with a minimum wait that the receiver asked for.
    Throttled {
        /// The reason the receiver gave.
        reason: Reason,
        /// The minimum wait.
        wait: Duration,
    },
}

impl SendError {
    /// Adds the HTTP status of the response, which is that of the request as a whole.
    #[cfg(feature = "http")]
    pub(super) fn with_status(mut self, status: u16) -> Self {
        match &mut self {
            Self::Blocked(reason) | Self::Retry(reason) | Self::Throttled { reason, .. } => {
                reason.status = Some(status);
            }
            Self::PartiallyAccepted { .. } | Self::PartRejected { .. } => {}
        }
        self
    }
}

/// Why to wait before some events of a part are sent again.
#[derive(Debug)]
pub(super) enum RetryCause {
    /// Until an operator changes something.
    Blocked(Reason),
    /// The cause may pass.
    Retry(Reason),
}

impl From<RetryCause> for OutputError {
    fn from(cause: RetryCause) -> Self {
        match cause {
            RetryCause::Blocked(reason) => Self::Blocked(reason),
            RetryCause::Retry(reason) => Self::Retry(reason),
        }
    }
}

/// An output that sends with several workers.
pub(super) struct WorkerPool<W> {
    name: String,
    workers: Vec<W>,
    limits: PartLimits,
    /// Remainders of deliveries that are to be retried, by source.
    unfinished: BTreeMap<String, PendingDelivery>,
    /// Sources of which an event has been accepted since the output was opened.
    accepted: BTreeSet<String>,
    /// Whether a delivery of which every event is refused blocks.
    blocks_on_refusal: bool,
}

struct PendingDelivery {
    digest: blake3::Hash,
    parts: VecDeque<Part>,
    undeliverable_events: Vec<UndeliverableEvent>,
    unsent: usize,
}

/// State of a delivery that the workers share.
#[derive(Default)]
struct DeliveryProgress {
    parts: VecDeque<Part>,
    undeliverable_events: Vec<UndeliverableEvent>,
    /// How many of those were not sent.
    unsent: usize,
    stop: Option<OutputError>,
    /// Number of undecided events at the start of this try.
    undecided_before: usize,
}

impl<W: Worker> WorkerPool<W> {
    pub(super) fn new(name: String, workers: Vec<W>, limits: PartLimits) -> Self {
        Self {
            name,
            workers,
            limits,
            unfinished: BTreeMap::new(),
            accepted: BTreeSet::new(),
            blocks_on_refusal: true,
        }
    }

    /// Returns the remainder of this delivery if it is a retry, otherwise all of
    /// it.
    fn begin(&mut self, delivery: &Delivery<'_>, events: &[Event<'_>]) -> DeliveryProgress {
        if let Some(unfinished) = self.unfinished.remove(delivery.source)
            && unfinished.digest == blake3::hash(delivery.events.as_bytes())
        {
            return DeliveryProgress::begin(unfinished);
        }
        DeliveryProgress {
            parts: self.limits.parts(events).into(),
            undecided_before: events.len(),
            ..DeliveryProgress::default()
        }
    }

    fn end(
        &mut self,
        delivery: &Delivery<'_>,
        count: usize,
        work: DeliveryProgress,
    ) -> Result<(), OutputError> {
        let open = work.undecided();
        if open.saturating_add(work.undeliverable_events.len()) < count
            && !self.accepted.contains(delivery.source)
        {
            self.accepted.insert(delivery.source.to_owned());
        }
        let DeliveryProgress {
            parts,
            mut undeliverable_events,
            unsent,
            stop,
            undecided_before: open_before,
        } = work;
        let stop = match stop {
            Some(OutputError::Retry(reason)) if open < open_before => {
                Some(OutputError::RetryAfterProgress(reason))
            }
            stop => stop,
        };
        match stop {
            Some(
                error @ (OutputError::Blocked(_)
                | OutputError::RetryAfterProgress(_)
                | OutputError::Retry(_)
                | OutputError::Throttled { .. }),
            ) => {
                let unfinished = PendingDelivery {
                    digest: blake3::hash(delivery.events.as_bytes()),
                    parts,
                    undeliverable_events,
                    unsent,
                };
                self.unfinished
                    .insert(delivery.source.to_owned(), unfinished);
                Err(error)
            }
            Some(error) => Err(error),
            None if undeliverable_events.is_empty() => Ok(()),
            None => {
                undeliverable_events.sort_by_key(|undeliverable| undeliverable.event);
                let refused = undeliverable_events.len().saturating_sub(unsent);
                match undeliverable_events.first() {
                    // The settings are probably wrong, and not all of the events. Other sources
                    // prove nothing: this one may have a component that makes no valid
                    // event at all.
                    Some(first)
                        if self.blocks_on_refusal
                            && refused > 1
                            && undeliverable_events.len() == count
                            && !self.accepted.contains(delivery.source) =>
                    {
                        Err(OutputError::Blocked(
                            format!(
                                "{} refuses every event of this source: {}",
                                self.name, first.reason
                            )
                            .into(),
                        ))
                    }
                    _ => Err(OutputError::Undeliverable(undeliverable_events)),
                }
            }
        }
    }
}

#[async_trait]
impl<W: Worker> Output for WorkerPool<W> {
    fn name(&self) -> &str {
        &self.name
    }

    async fn accept(&mut self, delivery: &Delivery<'_>) -> Result<(), OutputError> {
        let events: Vec<Event<'_>> = delivery.iter().collect();
        let work = Mutex::new(self.begin(delivery, &events));
        let driven = self
            .workers
            .iter_mut()
            .map(|worker| drive(worker, delivery.source, &events, &work));
        join_all(driven).await;
        let work = work.into_inner().unwrap_or_else(PoisonError::into_inner);
        self.end(delivery, events.len(), work)
    }

    fn return_refused(&mut self) {
        self.blocks_on_refusal = false;
    }

    async fn close(&mut self) -> Result<(), OutputError> {
        for worker in &mut self.workers {
            worker.close().await;
        }
        Ok(())
    }
}

/// Sends parts with one worker until none are left or an error occurs.
async fn drive<W: Worker>(
    worker: &mut W,
    source: &str,
    events: &[Event<'_>],
    work: &Mutex<DeliveryProgress>,
) {
    loop {
        let part = {
            let mut work = lock(work);
            if work.stop.is_some() {
                return;
            }
            match work.parts.pop_front() {
                Some(part) => part,
                None => return,
            }
        };
        let chosen: Vec<Event<'_>> = part
            .iter()
            .filter_map(|place| events.get(*place).copied())
            .collect();
        if let Err(refusal) = worker.send(source, &chosen).await {
            lock(work).handle_error(part, refusal);
        }
    }
}

fn lock(work: &Mutex<DeliveryProgress>) -> MutexGuard<'_, DeliveryProgress> {
    work.lock().unwrap_or_else(PoisonError::into_inner)
}

impl DeliveryProgress {
    /// Goes on with the remainder of a delivery.
    fn begin(unfinished: PendingDelivery) -> Self {
        let mut work = Self {
            parts: unfinished.parts,
            undeliverable_events: unfinished.undeliverable_events,
            unsent: unfinished.unsent,
            ..Self::default()
        };
        work.undecided_before = work.undecided();
        work
    }

    /// Returns the number of events that are neither accepted nor rejected.
    fn undecided(&self) -> usize {
        self.parts.iter().map(Vec::len).sum()
    }

    fn handle_error(&mut self, mut part: Part, refusal: SendError) {
        match refusal {
            SendError::Blocked(reason) => self.stop_with(part, OutputError::Blocked(reason)),
            SendError::PartiallyAccepted {
                undeliverable_events,
                unsent,
                retry_events,
                cause,
            } => {
                self.unsent = self.unsent.saturating_add(unsent);
                let place = |at: usize| part.get(at).copied();
                let found = undeliverable_events
                    .into_iter()
                    .filter_map(|undeliverable| {
                        Some(UndeliverableEvent {
                            event: place(undeliverable.event)?,
                            ..undeliverable
                        })
                    });
                self.undeliverable_events.extend(found);
                let again: Part = retry_events.into_iter().filter_map(place).collect();
                match cause {
                    Some(cause) => self.stop_with(again, cause.into()),
                    None => self.put_back(again),
                }
            }
            SendError::PartRejected { reason, suspect } => match part.as_slice() {
                [] => {}
                [event] => self.undeliverable_events.push(UndeliverableEvent {
                    event: *event,
                    reason,
                }),
                _ => {
                    let rest = match suspect.filter(|at| *at < part.len()) {
                        Some(at) => {
                            let suspect = part.remove(at);
                            std::mem::replace(&mut part, vec![suspect])
                        }
                        None => part.split_off(part.len() / 2),
                    };
                    self.put_back(rest);
                    self.put_back(part);
                }
            },
            SendError::Retry(reason) => self.stop_with(part, OutputError::Retry(reason)),
            SendError::Throttled { reason, wait } => {
                self.stop_with(part, OutputError::Throttled { reason, wait });
            }
        }
    }

    fn put_back(&mut self, part: Part) {
        if !part.is_empty() {
            self.parts.push_front(part);
        }
    }

    fn stop_with(&mut self, part: Part, error: OutputError) {
        self.put_back(part);
        let graver = match (&self.stop, &error) {
            (None, _) => true,
            (Some(OutputError::Blocked(_)), _) => false,
            (Some(_), OutputError::Blocked(_) | OutputError::Throttled { .. }) => true,
            (
                Some(_),
                OutputError::Closed
                | OutputError::RetryAfterProgress(_)
                | OutputError::Undeliverable(_)
                | OutputError::Retry(_),
            ) => false,
        };
        if graver {
            self.stop = Some(error);
        }
    }
}

#[cfg(test)]
mod tests;
