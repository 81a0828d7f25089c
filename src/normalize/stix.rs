//! The pattern of a threat indicator: `[file:hashes.'SHA-256' = '…']` and similar.

use super::address::endpoint;
use super::objects::algorithm;

/// What can be found in the pattern of a threat indicator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StixPart {
    /// The MD5 hash of a file.
    Md5,
    /// The SHA-1 hash of a file.
    Sha1,
    /// The SHA-256 hash of a file.
    Sha256,
    /// The type of the indicator, in the words of ECS.
    EcsType,
    /// The IP address.
    Ip,
    /// The e-mail address.
    Email,
    /// The URL.
    Url,
    /// The domain.
    Domain,
}

/// The objects that a pattern can name, with the type in ECS's words and OCSF's `osint.type_id`.
const OBJECTS: &[(&str, &str, i64)] = &[
    ("file:hashes", "file", 4),
    ("url:value", "url", 5),
    ("domain-name:value", "domain-name", 2),
    ("ipv4-addr:value", "ipv4-addr", 1),
    ("ipv6-addr:value", "ipv6-addr", 1),
    ("email-addr:value", "email-addr", 9),
];

/// Returns that part of the pattern.
pub(super) fn find(pattern: &str, part: StixPart) -> Option<&str> {
    let word = |name| {
        let (value, _) = comparison(pattern, name)?;
        Some(value)
    };
    match part {
        StixPart::EcsType if is_hash(pattern) => Some("file"),
        StixPart::EcsType => {
            let object = OBJECTS
                .iter()
                .find(|(name, ..)| comparison(pattern, name).is_some())?;
            Some(object.1)
        }
        StixPart::Md5 => hash(pattern, 32),
        StixPart::Sha1 => hash(pattern, 40),
        StixPart::Sha256 => hash(pattern, 64),
        StixPart::Domain => word("domain-name:value"),
        StixPart::Email => word("email-addr:value"),
        StixPart::Ip => word("ipv4-addr:value")
            .or_else(|| word("ipv6-addr:value"))
            .and_then(endpoint)
            .map(|(ip, _)| ip),
        StixPart::Url => word("url:value"),
    }
}

/// Returns the type and the value as `osint` has them.
pub(super) fn osint(pattern: &str) -> Option<(i64, &str)> {
    if is_hash(pattern) {
        return Some((4, pattern));
    }
    OBJECTS.iter().find_map(|(name, _, type_id)| {
        let (value, _) = comparison(pattern, name)?;
        Some((*type_id, value))
    })
}

/// Returns the text in quotes behind the name and an equals sign, and what follows it.
fn comparison<'p>(pattern: &'p str, name: &str) -> Option<(&'p str, &'p str)> {
    let (_, rest) = pattern.split_once(name)?;
    let (_, rest) = rest.split_once('=')?;
    let (_, rest) = rest.split_once('\'')?;
    let (value, rest) = rest.split_once('\'')?;
    let value = value.trim();
    (!value.is_empty() && !super::values::is_placeholder(value)).then_some((value, rest))
}

/// Returns whether the text is a bare hash.
fn is_hash(text: &str) -> bool {
    algorithm(text).is_some()
}

/// Returns the hash of that many digits: names of algorithms are spelt in several ways.
fn hash(pattern: &str, digits: usize) -> Option<&str> {
    if pattern.len() == digits && is_hash(pattern) {
        return Some(pattern);
    }
    let mut rest = pattern;
    loop {
        let (value, behind) = comparison(rest, "file:hashes")?;
        if value.len() == digits && value.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Some(value);
        }
        rest = behind;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_patterns() {
        let md5 = "0123456789abcdef0123456789abcdef";
        let pattern =
            format!("[file:hashes.MD5 = '{md5}' OR file:hashes.'SHA-1' = '{md5}01234567']");
        assert_eq!(find(&pattern, StixPart::Md5), Some(md5));
        assert_eq!(find(&pattern, StixPart::Sha1).unwrap().len(), 40);
        assert_eq!(find(&pattern, StixPart::Sha256), None);
        assert_eq!(find(&pattern, StixPart::EcsType), Some("file"));
        assert_eq!(osint(&pattern), Some((4, md5)));
        let pattern = "[url:value='https://bad.example.test/a']";
        assert_eq!(
            find(pattern, StixPart::Url),
            Some("https://bad.example.test/a")
        );
        assert_eq!(osint(pattern).unwrap().0, 5);
        assert_eq!(osint("[x:y = 'z']"), None);
        assert_eq!(osint("file:hashes = ''"), None);
    }
}
