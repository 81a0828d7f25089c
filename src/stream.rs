//! The streams: one upstream log each, with its own position, permission and failure.
//!
//! Everything that is a fact about a stream and not a decision stands in one row of [`STREAMS`].

use core::fmt;

/// Declares the [`Stream`] enum and its table from one list, so that neither can miss a row.
macro_rules! streams {
    ($($(#[doc = $summary:literal])+ $variant:ident = $row:expr;)+) => {
        /// One upstream log. The discriminant is the index into [`STREAMS`] and into the kinds
        /// of the `pipeline:source` description.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Stream {
            $($(#[doc = $summary])+ $variant,)+
        }

        /// One row per stream, in the order of the enum.
        pub static STREAMS: &[Row] = &[$(Row {
            stream: Stream::$variant,
            summary: concat!($($summary),+),
            ..$row
        },)+];
    };
}

/// What is known about a stream. Sources: `mimecast-api.md` §2.2 to §5.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The stream this row describes.
    pub stream: Stream,
    /// The name in settings, logs and events.
    pub name: &'static str,
    /// One sentence that says what is in it.
    pub summary: &'static str,
    /// The path it is read from, below the base URL.
    pub endpoint: &'static str,
    /// The value of the `type` parameter, for the SIEM endpoints.
    pub event_type: &'static str,
    /// The role permission, in the words of the Administration Console.
    pub permission: &'static str,
    /// The API product to select for the application.
    pub product: &'static str,
    /// How far back the upstream answers, in hours.
    pub retention_hours: u32,
    /// The order in which records come.
    pub order: Order,
    /// By what two records are told apart.
    pub identity: &'static str,
}

/// In which order a stream's records come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Descending by time within one window.
    NewestFirst,
    /// As the upstream wrote them into its files.
    AsWritten,
}

const WHOLE_RECORD: &str = "hash of the whole record without _offset and _partition";

/// A SIEM batch stream of the Cloud Gateway (`mimecast-api.md` §3.1, §3.5).
const fn siem(name: &'static str, event_type: &'static str) -> Row {
    Row {
        stream: Stream::SiemReceipt,
        name,
        summary: "",
        endpoint: "/siem/v1/batch/events/cg",
        event_type,
        permission: "Security Events and Data Retrieval | Threat and Security Events (SIEM) | Read",
        product: "Threats, Security Events and Data for CG",
        retention_hours: 7 * 24,
        order: Order::AsWritten,
        identity: WHOLE_RECORD,
    }
}

streams! {
    /// Messages at the moment they are accepted or rejected.
    SiemReceipt = siem("siem.receipt", "receipt");
    /// What the gateway did with a message: accepted, held, sandboxed.
    SiemProcess = siem("siem.process", "process");
    /// Attempts to deliver a message to its next hop.
    SiemDelivery = siem("siem.delivery", "delivery");
    /// Viruses found in messages.
    SiemAv = siem("siem.av", "av");
    /// Messages found to be spam.
    SiemSpam = siem("siem.spam", "spam");
    /// Threats found in internal and outbound messages.
    SiemInternalEmailProtect = siem("siem.internal-email-protect", "internal email protect");
    /// Messages that impersonate somebody.
    SiemImpersonationProtect = siem("siem.impersonation-protect", "impersonation protect");
    /// Malicious links found or clicked.
    SiemUrlProtect = siem("siem.url-protect", "url protect");
    /// Malicious attachments.
    SiemAttachmentProtect = siem("siem.attachment-protect", "attachment protect");
    /// Messages taken into the journal.
    SiemJournal = siem("siem.journal", "journal");
    /// What administrators and users changed, and who logged on.
    Audit = Row {
        stream: Stream::Audit,
        name: "audit",
        summary: "",
        endpoint: "/api/audit/get-audit-events",
        event_type: "",
        permission: "Account | Logs | Read",
        product: "Audit Events",
        retention_hours: 60 * 24,
        order: Order::NewestFirst,
        identity: "hash of the whole record",
    };
}

impl Stream {
    /// The row of this stream.
    #[must_use]
    pub fn row(self) -> &'static Row {
        // The macro writes one row per variant in the same order; the fallback is never taken.
        STREAMS.get(self.index()).unwrap_or(&FALLBACK)
    }

    /// The name in settings, logs and events.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// The position in [`STREAMS`].
    #[must_use]
    #[expect(
        clippy::as_conversions,
        reason = "a field-less enum has no other way to its number"
    )]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The stream of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        STREAMS
            .iter()
            .find(|row| row.name == name)
            .map(|row| row.stream)
    }

    /// Whether the stream is read from batch files.
    #[must_use]
    pub fn is_batch(self) -> bool {
        !self.row().event_type.is_empty()
    }

    /// The first word of the name: `siem` of `siem.receipt`.
    #[must_use]
    pub fn family(self) -> &'static str {
        self.name().split('.').next().unwrap_or_default()
    }
}

static FALLBACK: Row = siem("siem.receipt", "receipt");

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_stands_at_the_index_of_its_stream() {
        for (index, row) in STREAMS.iter().enumerate() {
            assert_eq!(row.stream.index(), index);
            assert_eq!(Stream::from_name(row.name), Some(row.stream));
            assert!(!row.summary.is_empty());
        }
    }
}
