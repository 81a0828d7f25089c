//! Elastic Common Schema 9.4.0: which tables belong to which stream.

pub(super) mod audit;
mod convert;
mod integrated;
pub(super) mod inventory;
pub(super) mod logs;
pub(super) mod messages;
pub(super) mod threats;

use super::convert::tenant;
use super::table::{Computed, EcsTables, FieldMapping, Related, by_row, computed, constant, row};
use crate::stream::Stream;

/// Returns the tables of a stream.
#[must_use]
pub const fn tables(stream: Stream) -> &'static EcsTables {
    match stream {
        Stream::Audit => &audit::TABLES,
        Stream::Siem => &messages::UNKNOWN,
        Stream::SiemAttachmentProtect => &threats::ATTACHMENT_PROTECT,
        Stream::SiemAv => &threats::AV,
        Stream::SiemDelivery => &messages::DELIVERY,
        Stream::SiemImpersonationProtect => &threats::IMPERSONATION_PROTECT,
        Stream::SiemInternalEmailProtect => &threats::INTERNAL_EMAIL_PROTECT,
        Stream::SiemJournal => &messages::JOURNAL,
        Stream::SiemProcess => &messages::PROCESS,
        Stream::SiemReceipt => &messages::RECEIPT,
        Stream::SiemSpam => &messages::SPAM,
        Stream::SiemUrlProtect => &threats::URL_PROTECT,
        Stream::ArchiveSearch => &logs::ARCHIVE_SEARCH,
        Stream::ArchiveSearchLog => &logs::ARCHIVE_SEARCH_LOG,
        Stream::ArchiveView => &logs::ARCHIVE_VIEW,
        Stream::CiEntities => &integrated::ENTITIES,
        Stream::CiMailflow => &integrated::MAILFLOW,
        Stream::CiUrlclick => &integrated::URLCLICK,
        Stream::Dlp => &logs::DLP,
        Stream::HeldMessages => &logs::HELD_MESSAGES,
        Stream::HeldRelease => &logs::HELD_RELEASE,
        Stream::Rejections => &logs::REJECTIONS,
        Stream::Remediation => &logs::REMEDIATION,
        Stream::ThreatIntelCustomer => &inventory::THREAT_INTEL_CUSTOMER,
        Stream::ThreatIntelGrid => &inventory::THREAT_INTEL_GRID,
        Stream::TrainingPerformance => &inventory::TRAINING_PERFORMANCE,
        Stream::TrainingPhishing => &inventory::TRAINING_PHISHING,
        Stream::TrainingSafeScore => &inventory::TRAINING_SAFE_SCORE,
        Stream::TrainingWatchlist => &inventory::TRAINING_WATCHLIST,
        Stream::TtpAttachment => &logs::TTP_ATTACHMENT,
        Stream::TtpImpersonation => &logs::TTP_IMPERSONATION,
        Stream::TtpUrl => &logs::TTP_URL,
    }
}

/// Every event begins with this.
#[rustfmt::skip]
const HEAD: &[FieldMapping] = &[
    computed("@timestamp",     Computed::Occurred),
    constant("ecs.version",    "\"9.4.0\""),
    computed("event.id",       Computed::Id),
    computed("event.created",  Computed::Collected),
    constant("event.module",   "\"mimecast\""),
    computed("event.",         Computed::Classification),
    computed("event.original", Computed::Original),
    computed("message",        Computed::Message),
];

/// Every event ends with this.
#[rustfmt::skip]
const TAIL: &[FieldMapping] = &[
    computed("threat.",       Computed::Techniques),
    row("organization.name",  &[], by_row(tenant)),
    computed("mimecast.",     Computed::Unmapped),
    computed("related.hash",  Computed::Related(Related::Hash)),
    computed("related.hosts", Computed::Related(Related::Hosts)),
    computed("related.ip",    Computed::Related(Related::Ip)),
    computed("related.user",  Computed::Related(Related::User)),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::normalize::table::RowOutput;
    use crate::stream::STREAMS;
    use std::collections::BTreeSet;

    #[test]
    fn no_table_writes_a_path_twice() {
        for stream in STREAMS {
            let tables = tables(stream.stream);
            let mut paths = BTreeSet::new();
            for row in tables.rows.iter().copied().flatten() {
                let is_computed_message =
                    matches!(row.output, RowOutput::Computed(Computed::Message));
                assert!(
                    is_computed_message || paths.insert(row.path),
                    "{}: {} twice",
                    stream.name,
                    row.path
                );
            }
            assert!(tables.rules.last().is_some_and(|rule| rule.when.is_empty()));
        }
    }
}
