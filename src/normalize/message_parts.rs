//! The parts of the sentence that describes an event for people.

use crate::field::{self, FieldName};

/// The parts of a sentence after the feature: the words before a value, and the fields that the value
/// may come from. Free text such as a subject is not among them.
pub(super) const MESSAGE_PARTS: &[(&str, &[FieldName])] = &[
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
