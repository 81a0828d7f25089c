//! Common part of outputs that send and wait for a response: a delivery is
//! split into parts, several workers send them concurrently, and results are
//! kept until the whole delivery is done.
//!
//! ```text
//! delivery ─► PartSettings ─► parts ─┬─► worker 1 ─► accepted
//!                               ▲    └─► worker 2 ─► refused for now: kept for the next try
//!                               └─ halves ◄───────── refused for good: until the event is alone
//! ```

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;

use super::parts::{Part, PartSettings};
use super::{Delivery, Event, Output, OutputError, Reason, UndeliverableEvent};

/// Sends parts, one at a time: over a connection to the receiver, or to files.
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
    ActionRequired(Reason),
    /// Each event has a result of its own; indexes are within the part. All
    /// events that are not listed were accepted.
    EventErrors {
        /// Events that can never be accepted.
        undeliverable_events: Vec<UndeliverableEvent>,
        /// How many of those were not sent, and so were not refused by the receiver.
        unsent_count: usize,
        /// Events to send again.
        retry_events: Vec<usize>,
        /// Why to wait before that; `None` to send at once.
        cause: Option<RetryCause>,
    },
    /// The part as a whole does not count as accepted, because at least
    /// one event never will be, or because the part or its response is
    /// too large. Some of it may have arrived.
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
            Self::ActionRequired(reason) | Self::Retry(reason) | Self::Throttled { reason, .. } => {
                reason.status = Some(status);
            }
            Self::EventErrors { .. } | Self::PartRejected { .. } => {}
        }
        self
    }
}

/// Why to wait before some events of a part are sent again.
#[derive(Debug)]
pub(super) enum RetryCause {
    /// Until an operator changes something.
    ActionRequired(Reason),
    /// The cause may pass.
    Retry(Reason),
}

impl From<RetryCause> for OutputError {
    fn from(cause: RetryCause) -> Self {
        match cause {
            RetryCause::ActionRequired(reason) => Self::ActionRequired(reason),
            RetryCause::Retry(reason) => Self::Retry(reason),
        }
    }
}

/// An output that sends with several workers.
pub(super) struct WorkerPool<W> {
    name: String,
    workers: Vec<W>,
    part_settings: PartSettings,
    /// Remainders of deliveries that are to be retried, by source.
    unfinished: BTreeMap<String, PendingDelivery>,
    /// Sources of which an event has been accepted since the output was opened.
    accepted_sources: BTreeSet<String>,
    /// Whether the output blocks if every event of a delivery is refused.
    blocks_on_refusal: bool,
}

struct PendingDelivery {
    digest: blake3::Hash,
    parts: VecDeque<Part>,
    undeliverable_events: Vec<UndeliverableEvent>,
    unsent_count: usize,
}

/// State of a delivery that the workers share.
#[derive(Default)]
struct DeliveryProgress {
    parts: VecDeque<Part>,
    undeliverable_events: Vec<UndeliverableEvent>,
    /// How many of those were not sent.
    unsent_count: usize,
    stop: Option<OutputError>,
    /// Number of undecided events at the start of this try.
    undecided_before: usize,
}

impl<W: Worker> WorkerPool<W> {
    pub(super) fn new(name: String, workers: Vec<W>, part_settings: PartSettings) -> Self {
        Self {
            name,
            workers,
            part_settings,
            unfinished: BTreeMap::new(),
            accepted_sources: BTreeSet::new(),
            blocks_on_refusal: true,
        }
    }

    /// Returns the remainder of this delivery if it is a retry, otherwise all of
    /// it.
    fn begin(&mut self, delivery: &Delivery<'_>, events: &[Event<'_>]) -> DeliveryProgress {
        if let Some(unfinished) = self.unfinished.remove(delivery.source)
            && unfinished.digest == blake3::hash(delivery.events.as_bytes())
        {
            return DeliveryProgress::resume(unfinished);
        }
        DeliveryProgress {
            parts: self.part_settings.split(events).into(),
            undecided_before: events.len(),
            ..DeliveryProgress::default()
        }
    }

    /// Ends a try of a delivery of so many events: keeps what is left of it for the next one.
    fn end(
        &mut self,
        delivery: &Delivery<'_>,
        event_count: usize,
        progress: DeliveryProgress,
    ) -> Result<(), OutputError> {
        let undecided = progress.undecided();
        if undecided.saturating_add(progress.undeliverable_events.len()) < event_count
            && !self.accepted_sources.contains(delivery.source)
        {
            self.accepted_sources.insert(delivery.source.to_owned());
        }
        let DeliveryProgress {
            parts,
            mut undeliverable_events,
            unsent_count,
            stop,
            undecided_before,
        } = progress;
        let stop = match stop {
            Some(OutputError::Retry(reason)) if undecided < undecided_before => {
                Some(OutputError::RetryAfterProgress(reason))
            }
            stop => stop,
        };
        match stop {
            Some(
                error @ (OutputError::ActionRequired(_)
                | OutputError::RetryAfterProgress(_)
                | OutputError::Retry(_)
                | OutputError::Throttled { .. }),
            ) => {
                let unfinished = PendingDelivery {
                    digest: blake3::hash(delivery.events.as_bytes()),
                    parts,
                    undeliverable_events,
                    unsent_count,
                };
                self.unfinished
                    .insert(delivery.source.to_owned(), unfinished);
                Err(error)
            }
            Some(error) => Err(error),
            None if undeliverable_events.is_empty() => Ok(()),
            None => {
                undeliverable_events.sort_by_key(|undeliverable| undeliverable.index);
                let refused = undeliverable_events.len().saturating_sub(unsent_count);
                match undeliverable_events.first() {
                    // Probably the settings are wrong, rather than all of the events. Events of other
                    // sources that were accepted prove nothing: the component of this one may make no
                    // valid event at all.
                    Some(first)
                        if self.blocks_on_refusal
                            && refused > 1
                            && undeliverable_events.len() == event_count
                            && !self.accepted_sources.contains(delivery.source) =>
                    {
                        Err(OutputError::ActionRequired(
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
        let progress = Mutex::new(self.begin(delivery, &events));
        let sends = self
            .workers
            .iter_mut()
            .map(|worker| send_parts(worker, delivery.source, &events, &progress));
        join_all(sends).await;
        let progress = progress
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        self.end(delivery, events.len(), progress)
    }

    fn disable_blocking_on_refusal(&mut self) {
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
async fn send_parts<W: Worker>(
    worker: &mut W,
    source: &str,
    events: &[Event<'_>],
    progress: &Mutex<DeliveryProgress>,
) {
    loop {
        let part = {
            let mut progress = lock(progress);
            if progress.stop.is_some() {
                return;
            }
            match progress.parts.pop_front() {
                Some(part) => part,
                None => return,
            }
        };
        let part_events: Vec<Event<'_>> = part
            .iter()
            .filter_map(|index| events.get(*index).copied())
            .collect();
        if let Err(error) = worker.send(source, &part_events).await {
            lock(progress).handle_error(part, error);
        }
    }
}

fn lock(progress: &Mutex<DeliveryProgress>) -> MutexGuard<'_, DeliveryProgress> {
    progress.lock().unwrap_or_else(PoisonError::into_inner)
}

impl DeliveryProgress {
    /// Continues with the remainder of a delivery.
    fn resume(unfinished: PendingDelivery) -> Self {
        let mut progress = Self {
            parts: unfinished.parts,
            undeliverable_events: unfinished.undeliverable_events,
            unsent_count: unfinished.unsent_count,
            ..Self::default()
        };
        progress.undecided_before = progress.undecided();
        progress
    }

    /// Returns the number of events that are neither accepted nor rejected.
    fn undecided(&self) -> usize {
        self.parts.iter().map(Vec::len).sum()
    }

    fn handle_error(&mut self, mut part: Part, error: SendError) {
        match error {
            SendError::ActionRequired(reason) => {
                self.stop_with(part, OutputError::ActionRequired(reason));
            }
            SendError::EventErrors {
                undeliverable_events,
                unsent_count,
                retry_events,
                cause,
            } => {
                self.unsent_count = self.unsent_count.saturating_add(unsent_count);
                let event_index = |at: usize| part.get(at).copied();
                let found = undeliverable_events
                    .into_iter()
                    .filter_map(|undeliverable| {
                        Some(UndeliverableEvent {
                            index: event_index(undeliverable.index)?,
                            ..undeliverable
                        })
                    });
                self.undeliverable_events.extend(found);
                let again: Part = retry_events.into_iter().filter_map(event_index).collect();
                match cause {
                    Some(cause) => self.stop_with(again, cause.into()),
                    None => self.put_back(again),
                }
            }
            SendError::PartRejected { reason, suspect } => match part.as_slice() {
                [] => {}
                [index] => self.undeliverable_events.push(UndeliverableEvent {
                    index: *index,
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
        let is_more_severe = match (&self.stop, &error) {
            (None, _) => true,
            (Some(OutputError::ActionRequired(_)), _) => false,
            (Some(_), OutputError::ActionRequired(_) | OutputError::Throttled { .. }) => true,
            (
                Some(_),
                OutputError::Closed
                | OutputError::RetryAfterProgress(_)
                | OutputError::Undeliverable(_)
                | OutputError::Retry(_),
            ) => false,
        };
        if is_more_severe {
            self.stop = Some(error);
        }
    }
}

#[cfg(test)]
mod tests;
