//! The columns of a threat feed as CSV (`mimecast-api.md` §5.11): no sample of Mimecast's own is
//! public, so they are known by their letters and digits, whatever their case and separators.

use super::Name;

/// A column in lower case without separators, and the known name of the same.
const COLUMNS: &[(&str, &str)] = &[
    ("filename", "fileName"),
    ("md5", "md5"),
    ("recipientaddress", "recipientAddress"),
    ("senderaddress", "senderAddress"),
    ("sha1", "sha1"),
    ("sha256", "sha256"),
    ("timestamp", "timestamp"),
];

/// No column is longer.
const BYTES_MAX: usize = 32;

/// The known name of a column.
pub(super) fn look_up(key: &str) -> Option<Name> {
    if key.len() > BYTES_MAX {
        return None;
    }
    let letters = key.chars().filter(char::is_ascii_alphanumeric);
    let plain: String = letters.map(|letter| letter.to_ascii_lowercase()).collect();
    let (_, name) = COLUMNS.iter().find(|(column, _)| *column == plain)?;
    Name::new(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_known_in_every_spelling() {
        for key in ["SHA256", "sha-256", "SHA 256", "Sha_256"] {
            assert_eq!(look_up(key), Name::new("sha256"), "{key}");
        }
        assert_eq!(look_up("File Name"), Name::new("fileName"));
        assert_eq!(look_up("Hash"), None);
        for (_, name) in COLUMNS {
            assert!(Name::new(name).is_some(), "{name}");
        }
    }
}
