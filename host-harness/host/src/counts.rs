//! Sums of the counts of the streams of a source.

use source_runtime::store::StoredSource;

use crate::report::SourceReport;

/// Sums of the counts of streams.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Counts {
    pub(crate) received: u64,
    pub(crate) events: u64,
    pub(crate) rejected: u64,
    pub(crate) duplicates: u64,
    pub(crate) requests: u64,
    pub(crate) gaps: u64,
}

impl Counts {
    /// Sums the counts in the stored state of a source.
    pub(crate) fn of_source_state(source_state: &StoredSource) -> Self {
        source_state
            .streams
            .values()
            .fold(Self::default(), |sum, stream| {
                sum.plus(Self {
                    received: stream.received,
                    events: stream.events,
                    rejected: stream.rejected,
                    duplicates: stream.duplicates,
                    requests: stream.requests,
                    gaps: stream.gaps,
                })
            })
    }

    /// Sums the counts in the report of a source.
    pub(crate) fn of_report(source: &SourceReport) -> Self {
        Self {
            received: source.sum(|stream| stream.received),
            events: source.sum(|stream| stream.events),
            rejected: source.sum(|stream| stream.rejected),
            duplicates: source.sum(|stream| stream.duplicates),
            requests: source.sum(|stream| stream.requests),
            gaps: source.sum(|stream| stream.gaps),
        }
    }

    fn combine(self, other: Self, join: fn(u64, u64) -> u64) -> Self {
        Self {
            received: join(self.received, other.received),
            events: join(self.events, other.events),
            rejected: join(self.rejected, other.rejected),
            duplicates: join(self.duplicates, other.duplicates),
            requests: join(self.requests, other.requests),
            gaps: join(self.gaps, other.gaps),
        }
    }

    /// Adds other counts.
    pub(crate) fn plus(self, other: Self) -> Self {
        self.combine(other, u64::saturating_add)
    }

    /// Returns the counts since `before`. If the counts began at zero again, these are all of them.
    pub(crate) fn since(self, before: Self) -> Self {
        if self.received < before.received || self.requests < before.requests {
            self
        } else {
            self.combine(before, u64::saturating_sub)
        }
    }
}
