//! The events of a batch, as the outputs get them, and the room reserved for them.

use std::ops::Range;

use tokio::sync::OwnedSemaphorePermit;

/// The index entry of one event: where it ends in the text of its batch, and its kind and time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Entry {
    /// Offset just past the event's `\n`.
    pub end: u32,
    /// When the event happened, in milliseconds since the epoch.
    pub occurred_at: i64,
    /// Index into [`Delivery::kinds`].
    pub kind: u16,
}

/// A kind of event.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Kind {
    /// The name, such as `siem.receipt`.
    pub name: String,
    /// The stream that events of this kind come from.
    pub stream: String,
}

/// The events of one batch of one source.
#[derive(Clone, Copy, Debug)]
pub struct Delivery<'a> {
    /// The name of the source.
    pub source: &'a str,
    /// The namespace that its component describes, a lower-case word with which default tags,
    /// subjects and indexes begin.
    pub namespace: &'a str,
    /// One JSON object a line, each line ended by `\n`; never empty.
    pub events: &'a str,
    /// One entry for each line, in the same order.
    pub index: &'a [Entry],
    /// The kinds that `Entry::kind` indexes.
    pub kinds: &'a [Kind],
}

/// One event of a delivery.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// The JSON object, without the trailing `\n`.
    pub body: &'a str,
    /// When the event happened, in milliseconds since the epoch.
    pub occurred_at: i64,
    /// The kind, such as `siem.receipt`; empty where the delivery has no kind of that index.
    pub kind: &'a str,
    /// The stream it comes from.
    pub stream: &'a str,
    /// The namespace of the component.
    pub namespace: &'a str,
}

impl<'a> Delivery<'a> {
    /// Iterates over the events.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Event<'a>> + use<'a> {
        let delivery = *self;
        let mut begin = 0;
        self.index.iter().map(move |entry| {
            let range = begin..to_usize(entry.end);
            begin = range.end;
            delivery.event(entry, range)
        })
    }

    /// Returns the text of the events in a range of the index, each with its `\n`.
    #[must_use]
    pub fn text(&self, entries: Range<usize>) -> &'a str {
        let offset = |count: usize| match count.checked_sub(1) {
            None => 0,
            Some(last) => self
                .index
                .get(last)
                .map_or(self.events.len(), |entry| to_usize(entry.end)),
        };
        self.events
            .get(offset(entries.start)..offset(entries.end))
            .unwrap_or_default()
    }

    fn event(&self, entry: &Entry, range: Range<usize>) -> Event<'a> {
        let line = self.events.get(range).unwrap_or_default();
        let kind = self.kinds.get(usize::from(entry.kind));
        Event {
            body: line.strip_suffix('\n').unwrap_or(line),
            occurred_at: entry.occurred_at,
            kind: kind.map_or("", |kind| kind.name.as_str()),
            stream: kind.map_or("", |kind| kind.stream.as_str()),
            namespace: self.namespace,
        }
    }
}

/// Room in outputs for events that are not delivered yet, with a permit for each byte, so that the
/// undelivered bytes of an output are bounded. It is reserved before a poll; a slow poll releases it, and
/// the room is reserved again before the delivery. The part of each output is released when that output
/// accepts.
#[derive(Debug, Default)]
pub struct Reservation {
    parts: Vec<(usize, OwnedSemaphorePermit)>,
}

impl Reservation {
    /// Adds the permits of an output, which is identified by its number.
    pub fn add(&mut self, output: usize, permits: OwnedSemaphorePermit) {
        self.parts.push((output, permits));
    }

    /// Removes and returns the permits of an output, which the caller drops when the output accepts.
    pub fn take(&mut self, output: usize) -> Option<OwnedSemaphorePermit> {
        let place = self
            .parts
            .iter()
            .position(|(number, _)| *number == output)?;
        Some(self.parts.swap_remove(place).1)
    }

    /// Releases the permits beyond `bytes` bytes in each output.
    pub fn shrink_to(&mut self, bytes: usize) {
        for (_, permits) in &mut self.parts {
            drop(permits.split(permits.num_permits().saturating_sub(bytes)));
        }
    }
}

/// An event that an output can never accept.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UndeliverableEvent {
    /// Index of the event in the delivery.
    pub index: usize,
    /// Why the output cannot accept it.
    pub reason: String,
}

/// Why a delivery ended without being accepted.
#[derive(Debug)]
pub enum DeliveryError {
    /// Standard output is closed, so that nothing can be delivered any more.
    Closed,
    /// The retry limit was reached; the payload is the last reason.
    Failed(String),
}

/// Converts a `u32` to `usize`, which is lossless on every supported platform.
#[must_use]
pub fn to_usize(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_returns_its_events_and_their_text() {
        let kinds = [Kind {
            name: "siem.receipt".to_owned(),
            stream: "siem".to_owned(),
        }];
        let entry = |end, kind| Entry {
            end,
            occurred_at: 7,
            kind,
        };
        let index = [entry(3, 0), entry(8, 9)];
        let delivery = Delivery {
            source: "acme",
            namespace: "test",
            events: "{}\n{\"a\"\n",
            index: &index,
            kinds: &kinds,
        };
        let bodies: Vec<_> = delivery
            .iter()
            .map(|event| (event.body, event.kind))
            .collect();
        assert_eq!(bodies, [("{}", "siem.receipt"), ("{\"a\"", "")]);
        assert_eq!(delivery.text(0..1), "{}\n");
        assert_eq!(delivery.text(1..2), "{\"a\"\n");
        assert_eq!(delivery.text(0..2), delivery.events);
        assert_eq!(delivery.text(1..1), "");
    }
}
