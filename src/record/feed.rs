//! The columns of a threat feed as CSV (`mimecast-api.md` §5.11). No sample of Mimecast's own is
//! public, so they are recognized by their letters and digits, whatever their case and separators.

use crate::field::{self, FieldName};

/// The columns in lower case without separators, and the known name of each.
const COLUMNS: &[(&str, FieldName)] = &[
    ("filename", field::FILE_NAME),
    ("md5", field::MD5),
    ("recipientaddress", field::RECIPIENT_ADDRESS),
    ("senderaddress", field::SENDER_ADDRESS),
    ("sha1", field::SHA1),
    ("sha256", field::SHA256),
    ("timestamp", field::TIMESTAMP),
];

/// The greatest length of a column's name.
const BYTES_MAX: usize = 32;

/// Returns the known name of a column.
pub(super) fn look_up(key: &str) -> Option<FieldName> {
    if key.len() > BYTES_MAX {
        return None;
    }
    let letters = key.chars().filter(char::is_ascii_alphanumeric);
    let plain: String = letters.map(|letter| letter.to_ascii_lowercase()).collect();
    let (_, name) = COLUMNS.iter().find(|(column, _)| *column == plain)?;
    Some(*name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_known_in_every_spelling() {
        for key in ["SHA256", "sha-256", "SHA 256", "Sha_256"] {
            assert_eq!(look_up(key), Some(field::SHA256), "{key}");
        }
        assert_eq!(look_up("File Name"), Some(field::FILE_NAME));
        assert_eq!(look_up("Hash"), None);
    }
}
