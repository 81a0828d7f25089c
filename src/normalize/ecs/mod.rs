//! Elastic Common Schema 9.4.0: which tables belong to which stream.

mod audit;
mod messages;
mod threats;

use super::table::{Computed, Related, Row, Tables, computed, constant};
use crate::stream::Stream;

/// The tables of a stream.
#[must_use]
pub const fn tables(stream: Stream) -> &'static Tables {
    match stream {
        Stream::Audit => &audit::TABLES,
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
    }
}

/// Every event begins with this.
#[rustfmt::skip]
const HEAD: &[Row] = &[
    computed("@timestamp",          Computed::Occurred),
    constant("ecs.version",         "\"9.4.0\""),
    computed("event.id",            Computed::Id),
    constant("event.module",        "\"mimecast\""),
    computed("event.",              Computed::Class),
    computed("event.original",      Computed::Original),
];

/// Every event ends with this.
#[rustfmt::skip]
const TAIL: &[Row] = &[
    computed("mimecast.",           Computed::Kept),
    computed("related.hash",        Computed::Related(Related::Hash)),
    computed("related.hosts",       Computed::Related(Related::Hosts)),
    computed("related.ip",          Computed::Related(Related::Ip)),
    computed("related.user",        Computed::Related(Related::User)),
];
