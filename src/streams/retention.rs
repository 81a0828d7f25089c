//! Notices about data that Mimecast no longer has: after an outage longer than the retention, or with a
//! start before the oldest data.

use crate::batch::{Builder, NoticeKind};
use crate::stream::Stream;
use crate::streams::{Context, hours_ms};
use crate::time::Timestamp;

/// The oldest data that Mimecast has of a stream.
#[derive(Clone, Copy)]
pub struct Retention {
    stream: Stream,
    /// Nothing before this is available.
    pub oldest: Timestamp,
    days: u32,
}

impl Retention {
    /// Returns the retention of a stream, where one is documented.
    #[must_use]
    pub fn of(stream: Stream, context: Context<'_>) -> Option<Self> {
        let hours = stream.info().retention_hours?;
        // By the clock that is behind: data that a wrong one counts as expired may still be there.
        let oldest = context
            .earliest_now()
            .plus_ms(hours_ms(hours).saturating_neg());
        Some(Self {
            stream,
            oldest,
            days: hours / 24,
        })
    }

    /// Adds a notice that the data between `collected_until`, up to which the stream is collected, and the oldest
    /// data is lost.
    pub fn add_gap_notice(self, what: &str, collected_until: Timestamp, batch: &mut Builder) {
        let Self { oldest, days, .. } = self;
        let detail = format!(
            "{what} between {collected_until} and {oldest} are older than the {days} days that Mimecast keeps and are no longer available"
        );
        batch.notice(self.stream, NoticeKind::Gap, detail);
    }

    /// Adds a notice that collection begins later than the settings ask for.
    pub fn add_start_notice(self, what: &str, start: Timestamp, batch: &mut Builder) {
        let Self { oldest, days, .. } = self;
        let detail = format!(
            "{what} begins at {oldest}, because Mimecast keeps {days} days, and not at {start}"
        );
        batch.notice(self.stream, NoticeKind::Adjusted, detail);
    }
}
