//! Open Cybersecurity Schema Framework 1.8.0: which tables belong to which stream.

pub mod actions;
mod audit;
pub mod classes;
mod convert;
mod findings;
mod inventory;
mod logs;
mod messages;

use crate::field::{self, FieldName};
pub use classes::Variant;
pub(super) use messages::NO_THREAT;

use super::convert::{tenant, verbatim};
use super::table::{Computed, FieldMapping, UnmappedOutput, by_row, computed, constant, row, text};
use crate::stream::Stream;
use convert::original_time;

/// Returns the variants of a stream: the first whose tests all hold makes the event. The last
/// has no tests.
#[must_use]
pub const fn variants(stream: Stream) -> &'static [Variant] {
    match stream {
        Stream::ArchiveSearch | Stream::ArchiveSearchLog => logs::ARCHIVE_SEARCH,
        Stream::ArchiveView => logs::ARCHIVE_VIEW,
        Stream::Audit => audit::AUDIT,
        Stream::CiEntities => messages::CI_ENTITIES,
        Stream::CiMailflow => messages::CI_MAILFLOW,
        Stream::CiUrlclick => findings::CI_URLCLICK,
        Stream::Dlp => logs::DLP,
        Stream::HeldMessages => logs::HELD_MESSAGES,
        Stream::HeldRelease => logs::HELD_RELEASE,
        Stream::Rejections => logs::REJECTIONS,
        Stream::Remediation => logs::REMEDIATION,
        Stream::Siem => messages::UNKNOWN,
        Stream::SiemAttachmentProtect => findings::ATTACHMENT_PROTECT,
        Stream::SiemAv => findings::AV,
        Stream::SiemDelivery => messages::DELIVERY,
        Stream::SiemImpersonationProtect => findings::IMPERSONATION_PROTECT,
        Stream::SiemInternalEmailProtect => findings::INTERNAL_EMAIL_PROTECT,
        Stream::SiemJournal => messages::JOURNAL,
        Stream::SiemProcess => messages::PROCESS,
        Stream::SiemReceipt => messages::RECEIPT,
        Stream::SiemSpam => messages::SPAM,
        Stream::SiemUrlProtect => findings::URL_PROTECT,
        Stream::ThreatIntelCustomer | Stream::ThreatIntelGrid => inventory::THREAT_INTEL,
        Stream::TrainingPerformance | Stream::TrainingSafeScore | Stream::TrainingWatchlist => {
            inventory::TRAINING
        }
        Stream::TrainingPhishing => inventory::TRAINING_PHISHING,
        Stream::TtpAttachment => logs::TTP_ATTACHMENT,
        Stream::TtpImpersonation => logs::TTP_IMPERSONATION,
        Stream::TtpUrl => logs::TTP_URL,
    }
}

/// The paths of observables, and their `type_id`. Observables below `email.files`, `email.urls`,
/// `evidences[].file` and `evidences[].url`, `osint[].value` and the addresses in `resources` are
/// recorded where they are written.
#[rustfmt::skip]
pub const OBSERVABLES: &[(&str, u8)] = &[
    ("actor.user.email_addr",         5),
    ("actor.user.name",               4),
    ("dst_endpoint.hostname",         1),
    ("dst_endpoint.ip",               2),
    ("email.from",                    5),
    ("email.message_uid",            42),
    ("email.subject",                40),
    ("email.to",                      5),
    ("evidences[].email.from",        5),
    ("evidences[].email.message_uid",42),
    ("evidences[].email.subject",    40),
    ("evidences[].email.to",          5),
    ("evidences[].src_endpoint.ip",   2),
    ("evidences[].user.email_addr",   5),
    ("from",                          5),
    ("src_endpoint.ip",               2),
    ("to",                            5),
    ("user.email_addr",               5),
    ("user.name",                     4),
];

pub(super) fn observable_type(path: &str) -> u8 {
    let found = OBSERVABLES.iter().find(|(known, _)| *known == path);
    found.map_or(0, |(_, type_id)| *type_id)
}

/// Every event begins with this.
#[rustfmt::skip]
const HEAD: &[FieldMapping] = &[
    computed("",                              Computed::Classification),
    computed("time",                          Computed::OccurredMillis),
    constant("timezone_offset",               "0"),
    constant("metadata.version",              "\"1.8.0\""),
    computed("metadata.uid",                  Computed::Id),
    constant("metadata.product.vendor_name",  "\"Mimecast\""),
    computed("metadata.product.feature.name", Computed::Feature),
    computed("metadata.logged_time",          Computed::CollectedMillis),
    constant("metadata.log_provider",         "\"Mimecast\""),
    computed("metadata.log_name",             Computed::Stream),
    computed("message",                       Computed::Message),
];

/// Every event ends with this.
#[rustfmt::skip]
const TAIL: &[FieldMapping] = &[
    computed("attacks",        Computed::Techniques),
    row("metadata.tenant_uid", &[field::ACCOUNT_ID], by_row(tenant)),
    computed("raw_data",       Computed::Original),
    computed("unmapped.",      Computed::Unmapped),
    computed("observables",    Computed::Observables),
];

/// The gateway.
#[rustfmt::skip]
const GATEWAY_PRODUCT: &[FieldMapping] = &[
    constant("metadata.product.name", "\"Mimecast Email Security\""),
];

/// The product that works beside another gateway.
#[rustfmt::skip]
const INTEGRATED_PRODUCT: &[FieldMapping] = &[
    constant("metadata.product.name", "\"Mimecast Email Security Cloud Integrated\""),
];

/// The profile of events about what a security control did.
#[rustfmt::skip]
const SECURITY_CONTROL_PROFILE: &[FieldMapping] = &[
    constant("metadata.profiles", "[\"security_control\"]"),
];

/// The profiles of events about what a security control did, with the one that `actor` needs.
#[rustfmt::skip]
const SECURITY_CONTROL_AND_HOST_PROFILES: &[FieldMapping] = &[
    constant("metadata.profiles", "[\"security_control\",\"host\"]"),
];

/// What every SIEM record has.
#[rustfmt::skip]
const SIEM: &[FieldMapping] = &[
    row("metadata.event_code",      &[field::TYPE, field::EVENT_TYPE, field::LOG_TYPE_CAPITAL, field::LOG_TYPE], text(verbatim)),
    row("metadata.original_time",   &[field::TIMESTAMP],    by_row(original_time)),
    row("metadata.correlation_uid", &[field::AGGREGATE_ID], text(verbatim)),
];

/// How these fields are written where no row of a variant uses them, in place of what the lists for ECS
/// say.
const UNMAPPED_OVERRIDES: &[(FieldName, UnmappedOutput)] = &[
    (field::ATTACHMENTS, UnmappedOutput::Json),
    (field::RECIPIENTS, UnmappedOutput::Json),
    (field::SIZE_ATTACHMENT, UnmappedOutput::Long),
    (field::EMAIL_SIZE, UnmappedOutput::Long),
    (field::TLS_USED, UnmappedOutput::Boolean),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::normalize::table::RowOutput;
    use crate::stream::STREAMS;
    use std::collections::BTreeSet;

    #[test]
    fn no_variant_writes_a_path_twice() {
        for stream in STREAMS {
            let variants = variants(stream.stream);
            assert!(
                variants
                    .last()
                    .is_some_and(|variant| variant.when.is_empty())
            );
            for variant in variants {
                let mut paths = BTreeSet::new();
                for row in variant.rows.iter().copied().flatten() {
                    let is_new = matches!(row.output, RowOutput::Computed(Computed::Message))
                        || row.path.is_empty()
                        || row.path.ends_with(['.', '}'])
                        || paths.insert(row.path);
                    assert!(is_new, "{}: {} twice", stream.name, row.path);
                }
                assert!(
                    variant
                        .rules
                        .last()
                        .is_some_and(|rule| rule.when.is_empty())
                );
            }
        }
    }
}
