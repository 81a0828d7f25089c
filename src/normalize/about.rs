//! What each stream is about, for people: the feature of the product, and one sentence.

use crate::field::{self, Name};
use crate::stream::Stream;

/// The feature of the product that writes the records of a stream.
#[must_use]
pub const fn feature(stream: Stream) -> &'static str {
    match stream {
        Stream::ArchiveSearch => "Archive Search",
        Stream::ArchiveView => "Archive Message View",
        Stream::Audit => "Audit Events",
        Stream::CiEntities => "Threat Detection",
        Stream::CiMailflow => "Mail Flow",
        Stream::CiUrlclick | Stream::SiemUrlProtect | Stream::TtpUrl => "URL Protect",
        Stream::Dlp => "Data Leak Prevention",
        Stream::HeldMessages => "Held Messages",
        Stream::HeldRelease => "Held Message Release",
        Stream::Rejections => "Message Rejection",
        Stream::Siem => "Message Logs",
        Stream::SiemAttachmentProtect | Stream::TtpAttachment => "Attachment Protect",
        Stream::SiemAv => "Anti-Virus",
        Stream::SiemDelivery => "Message Delivery",
        Stream::SiemImpersonationProtect | Stream::TtpImpersonation => "Impersonation Protect",
        Stream::SiemInternalEmailProtect => "Internal Email Protect",
        Stream::SiemJournal => "Journaling",
        Stream::SiemProcess => "Message Processing",
        Stream::SiemReceipt => "Message Receipt",
        Stream::SiemSpam => "Spam Detection",
        Stream::ThreatIntelCustomer | Stream::ThreatIntelGrid => "Threat Intelligence",
        Stream::TrainingPerformance | Stream::TrainingSafeScore | Stream::TrainingWatchlist => {
            "Awareness Training"
        }
    }
}

/// What a sentence says after the feature: the words before a value, and the fields that it may
/// come from. Free text such as a subject is not among them.
pub(super) const PIECES: &[(&str, &[Name])] = &[
    (
        ": ",
        &[
            field::ACTION,
            field::ACTION_TRIGGERED,
            field::EVENT,
            field::THREAT_STATE,
            field::STATUS,
            field::RESULT,
        ],
    ),
    (
        ", from ",
        &[
            field::SENDER_ENVELOPE,
            field::SENDER_HEADER,
            field::SENDER_ADDRESS,
            field::FROM_ENV,
            field::FROM_ADDRESS,
            field::FROM_USER_EMAIL_ADDRESS,
            field::FROM,
            field::FROM_HEADER,
        ],
    ),
    (
        ", to ",
        &[
            field::RECIPIENTS,
            field::RECIPIENT,
            field::RECIPIENT_ADDRESS,
            field::TO_ADDRESS,
            field::TO,
        ],
    ),
    (
        ", by ",
        &[
            field::USER_EMAIL_ADDRESS,
            field::OPERATOR,
            field::VIEWER,
            field::EMAIL_ADDRESS,
            field::EMAIL,
        ],
    ),
];

/// A value that is longer is left out of the sentence.
pub(super) const VALUE_BYTES_MAX: usize = 200;
